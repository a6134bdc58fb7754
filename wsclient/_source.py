"""What one connection's way out takes from the client, and whom of the client it tells.

Any thread that owns the way out calls this, one at a time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from . import _departing

if TYPE_CHECKING:
    from ._core import Core
    from ._outgoing import Outgoing

__all__ = ["Source"]


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
