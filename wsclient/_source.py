"""What one connection's way out takes from the client, and whom of the client it tells.

Any thread that owns the way out calls this, one at a time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from . import _departing

if TYPE_CHECKING:
    from ._core import Core
    from ._events import Disconnect
    from ._frames import Opcode
    from ._outgoing import Outgoing
    from ._recording import Recorder

__all__ = ["RecordedSource", "Source"]


class Source:
    """The client as the way out of its connection sees it."""

    __slots__ = ("_core", "number")

    def __init__(self, core: Core, number: int) -> None:
        """
        Args:
            core: the client.
            number: the connection's number.
        """
        self._core = core
        self.number = number

    def ready(self) -> bool:
        """Whether there may be something to take."""
        return self._core.outbox.ready(self._room())

    def take(self, max_bytes: int) -> list[Outgoing]:
        """What goes out next."""
        return self._core.outbox.take(max_bytes, self._room())

    def payload(self, entry: Outgoing) -> bytes | None:
        """The payload of an entry, at the moment it is taken; None if nobody wants it any more, and for mere marks."""
        return _departing.payload_of(self._core, self.number, entry)

    def written(self, batch: list[Outgoing]) -> None:
        """The operating system has all of these."""
        counters = self._core.counters
        for entry in batch:
            if entry.counted:
                counters.messages_sent += 1
                counters.bytes_sent += entry.size
            if not entry.requests:
                entry.payload = None

    def progressed(self) -> None:
        """More bytes have gone out."""
        self._core.progress.announce()

    def wake(self) -> None:
        """The I/O thread is needed."""
        self._core.orders.wake()

    def is_wanted(self) -> bool:
        """Whether there is time left to send anything: not once the time for closing is over."""
        close = self._core.orders.close
        return close is None or not close.deadline.passed(time.monotonic())

    def _room(self) -> int | None:
        """How many more requests may be in flight; None for any number."""
        most = self._core.protocol.max_in_flight
        return None if most is None else most - self._core.pending.in_flight


class RecordedSource(Source):
    """The same where the client records: it also notes what crosses the wire (a ``_wire.Tape``)."""

    __slots__ = ("_recorder", "_recording_number", "_taken")

    def __init__(self, core: Core, number: int, recorder: Recorder, recording_number: int) -> None:
        """
        Args:
            core: the client.
            number: the connection's number.
            recorder: who writes the notes down.
            recording_number: the connection's number there.
        """
        super().__init__(core, number)
        self._recorder = recorder
        self._recording_number = recording_number
        self._taken: dict[Outgoing, bytes] = {}  # what each was framed with, until the system has it; owner of the line

    def payload(self, entry: Outgoing) -> bytes | None:
        payload = super().payload(entry)
        if payload is not None:
            self._taken[entry] = payload
        return payload

    def handed_over(self, batch: list[Outgoing]) -> bool:
        """The operating system has more of these: note those it has whole. False if no more should go out now."""
        for entry in batch:
            if entry.written() and (payload := self._taken.pop(entry, None)) is not None:
                self._recorder.sent(self._recording_number, entry.opcode, payload)
        return not self._recorder.full

    def received(self, opcode: Opcode, payload: Any) -> None:
        """A message or control frame has come. I/O thread."""
        self._recorder.received(self._recording_number, opcode, payload)

    def lost(self, disconnect: Disconnect) -> None:
        """The connection is over. I/O thread."""
        self._recorder.lost(self._recording_number, disconnect)
