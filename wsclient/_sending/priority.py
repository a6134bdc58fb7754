"""Messages that are sent before the queue: control frames, and messages while a connection is set up.

Guarantees:
    * The I/O thread adds messages, and the writer removes them. Each step is one ``list`` operation or one assignment
      to an attribute that only one thread assigns, so there is no lock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from .._rfc6455.frames import Opcode
from .message import MESSAGE_BYTES

if TYPE_CHECKING:
    from .message import Outgoing

__all__ = ["MAX_ANSWERS", "Urgent"]

MAX_URGENT: Final = 128
"""A pong is dropped if this many urgent messages are queued. It limits the memory used for a peer that sends pings but
does not read (RFC 6455 §5.5.3 permits an endpoint to skip pongs)."""

MAX_ANSWERS: Final = 2**20
"""Bytes of answers that may be queued while the socket is full, with ``MESSAGE_BYTES`` for each. Beyond that, reading
pauses, since messages that are read may need further answers. At twice this limit, handlers wait."""


class Urgent:
    """The urgent messages of one connection.

    Attributes:
        entries: the queued messages; other classes only read it.
    """

    __slots__ = ("_put", "_taken", "entries")

    def __init__(self) -> None:
        self.entries: list[Outgoing] = []
        self._put = 0  # bytes added so far, by the I/O thread
        self._taken = 0  # bytes removed so far, by the thread that holds the write lock

    def put(self, entry: Outgoing) -> None:
        """Append a message; a pong beyond ``MAX_URGENT`` messages is dropped. I/O thread only."""
        if entry.opcode is Opcode.PONG and len(self.entries) >= MAX_URGENT:
            return
        self._put += entry.size + MESSAGE_BYTES
        self.entries.append(entry)

    def take(self) -> list[Outgoing]:
        """Remove and return all messages, in order. Only the thread that holds the write lock calls this."""
        entries = self.entries[:]
        del self.entries[: len(entries)]  # the I/O thread may have put one more behind them
        self._taken += sum(entry.size + MESSAGE_BYTES for entry in entries)
        return entries

    def put_back(self, entries: Iterable[Outgoing]) -> None:
        """Put back messages that were taken and not sent. Only the thread that holds the write lock calls this."""
        entries = list(entries)
        self._taken -= sum(entry.size + MESSAGE_BYTES for entry in entries)
        self.entries[:0] = entries

    @property
    def bytes(self) -> int:
        """The bytes that are queued, with ``MESSAGE_BYTES`` for each message. Exact on the I/O thread, except for
        messages that the writer is just removing.
        """
        return self._put - self._taken
