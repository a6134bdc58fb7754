"""What the writer of one connection takes from the client, and what it reports to the client and its recording.

Guarantees:
    * Only the thread that holds the write lock calls this, so it needs no lock of its own. Two methods of
      ``RecordingTap`` are for the I/O thread, and change nothing here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .._models import Disconnect
    from .._recording.recorder import Recorder
    from .._requests.requests import Requests
    from .._requests.table import RequestTable
    from .._rfc6455.frames import Opcode
    from .._sending.message import Outgoing
    from .._sending.sender import Sender
    from .._stats import Counters
    from .._threads.commands import Commands
    from ..protocols import Protocol

__all__ = ["ClientBackend", "RecordingTap"]


class ClientBackend:
    """The client as the writer of one connection sees it.

    Attributes:
        number: the connection's number.
        queue: the send queue.
        progress: notifies the threads that wait for written bytes.
        protocol: the message protocol, whose ``max_in_flight`` may limit the requests.
        nudge: wakes the I/O thread, see ``Wakeup``.
        counters: count what was sent.
        depart, refuse, is_free: as in ``Requests``.
    """

    __slots__ = ("_commands", "_table", "counters", "depart", "is_free", "nudge", "number", "progress", "protocol",
                 "queue", "refuse", "wake")  # fmt: skip

    def __init__(
        self,
        number: int,
        *,
        sender: Sender,
        requests: Requests,
        table: RequestTable,
        protocol: Protocol,
        counters: Counters,
        commands: Commands,
    ) -> None:
        """
        Args:
            number: the connection's number.
            sender: holds the send queue.
            requests: gives requests their ids.
            table: knows how many requests are in flight.
            protocol: limits them.
            counters: count what was sent.
            commands: wake the I/O thread.
        """
        self._table = table
        self.protocol = protocol
        self.counters = counters
        self._commands = commands
        self.number = number
        self.queue = sender.queue
        self.progress = sender.progress
        # The methods themselves: one Python call less for each message.
        self.depart: Callable[[Any], bool] = requests.depart
        self.refuse: Callable[[Any, BaseException], None] = requests.refuse
        self.is_free: Callable[[Iterable[Any]], bool] = requests.is_free
        self.wake = commands.wake
        self.nudge = commands.nudge

    def ready(self) -> bool:
        """Whether a queue that is not empty may have something to take."""
        return self.protocol.max_in_flight is None or self.queue.ready(self._room())

    def take(self, max_bytes: int) -> list[Outgoing]:
        """Take the messages that are written next."""
        return self.queue.take(max_bytes, None if self.protocol.max_in_flight is None else self._room())

    def has_room_for(self, entry: Outgoing) -> bool:
        """Whether the requests of a message may be in flight too, where ``max_in_flight`` limits them."""
        return entry.requests <= self._room()

    def is_wanted(self) -> bool:
        """Whether there is time left to send anything: not after the deadline of ``close()``."""
        close = self._commands.close
        return close is None or not close.deadline.passed(time.monotonic())

    def _room(self) -> int:
        """How many more requests may be in flight, where ``max_in_flight`` limits them."""
        return (self.protocol.max_in_flight or 0) - self._table.in_flight


class RecordingTap:
    """Notes what crosses the wire on one connection of a client that records."""

    __slots__ = ("_number", "_recorder", "_taken")

    def __init__(self, recorder: Recorder, number: int) -> None:
        """
        Args:
            recorder: writes the recording.
            number: the connection's number in the recording.
        """
        self._recorder = recorder
        self._number = number
        self._taken: dict[Outgoing, bytes] = {}  # payloads of what is being written; guarded by the write lock

    def taken(self, entry: Outgoing, payload: bytes) -> None:
        """A message is being framed. Under the write lock."""
        self._taken[entry] = payload

    def handed_over(self, batch: list[Outgoing]) -> bool:
        """Record the messages that were written whole. False if the recorder is full, so that writing must pause."""
        for entry in batch:
            if entry.written() and (payload := self._taken.pop(entry, None)) is not None:
                self._recorder.sent(self._number, entry.opcode, payload)
        return not self._recorder.full

    def received(self, opcode: Opcode, payload: Any) -> None:
        """A message or control frame was received. I/O thread."""
        self._recorder.received(self._number, opcode, payload)

    def lost(self, disconnect: Disconnect) -> None:
        """The connection has ended. I/O thread."""
        self._recorder.lost(self._number, disconnect)
