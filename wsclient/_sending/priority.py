"""What goes out ahead of the queue: control frames, and messages while a connection is set up.

Guarantees:
    * The I/O thread puts, whoever owns the way out takes. Each step is one operation of a ``list`` or one assignment
      by a single writer, so there is no lock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from .._rfc6455.frames import Opcode

if TYPE_CHECKING:
    from .message import Outgoing

__all__ = ["MAX_ANSWERS", "Urgent"]

MAX_URGENT: Final = 128
"""Pongs that may wait; a peer that pings and reads nothing must not fill our memory (RFC 6455 §5.5.3 lets us skip)."""

MAX_ANSWERS: Final = 2**20
"""Bytes of answers that may wait for a full socket before no more is read that might want another."""


class Urgent:
    """Those of one connection.

    Attributes:
        entries: what waits; to look at only.
    """

    __slots__ = ("_put", "_taken", "entries")

    def __init__(self) -> None:
        self.entries: list[Outgoing] = []
        self._put = 0  # bytes ever put, by the I/O thread
        self._taken = 0  # bytes ever taken, by the owner of the way out

    def put(self, entry: Outgoing) -> None:
        """One more, behind the others; a pong too many is let go. I/O thread only."""
        if entry.opcode is Opcode.PONG and len(self.entries) >= MAX_URGENT:
            return
        self._put += entry.size
        self.entries.append(entry)

    def take(self) -> list[Outgoing]:
        """All of them, in their order. Owner of the way out only."""
        entries = self.entries[:]
        del self.entries[: len(entries)]  # the I/O thread may have put one more behind them
        self._taken += sum(entry.size for entry in entries)
        return entries

    def put_back(self, entries: Iterable[Outgoing]) -> None:
        """These were taken, and are not sent after all. Owner of the way out only."""
        entries = list(entries)
        self._taken -= sum(entry.size for entry in entries)
        self.entries[:0] = entries

    @property
    def bytes(self) -> int:
        """Bytes that wait. Exact on the I/O thread, but for what the owner is taking this moment."""
        return self._put - self._taken
