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
"""A pong is dropped if this many control frames are queued. It limits the memory used for a peer that sends pings but
does not read (RFC 6455 §5.5.3 permits an endpoint to skip pongs)."""

MAX_ANSWERS: Final = 2**20
"""Bytes of answers that may be queued while the socket is full, or while ``rate=`` delays messages, with
``MESSAGE_BYTES`` for each. Beyond that, reading pauses, since messages that are read may need further answers. At twice
this limit, handlers wait."""


class Urgent:
    """The urgent messages of one connection.

    Attributes:
        entries: the queued messages; other classes only read it.
    """

    __slots__ = ("_controls_put", "_controls_taken", "_put", "_taken", "entries")

    def __init__(self) -> None:
        self.entries: list[Outgoing] = []
        # Added so far, by the I/O thread; and removed so far, by the thread that holds the write lock:
        self._put = self._taken = 0  # bytes of answers
        self._controls_put = self._controls_taken = 0  # control frames

    def put(self, entry: Outgoing) -> None:
        """Append a message; a pong beyond ``MAX_URGENT`` control frames is dropped. I/O thread only."""
        if entry.opcode is Opcode.PONG and self._controls_put - self._controls_taken >= MAX_URGENT:
            return
        self._put += _answer_bytes(entry)
        self._controls_put += not entry.counted
        self.entries.append(entry)

    def take(self) -> list[Outgoing]:
        """Remove and return all messages, in order. Only the thread that holds the write lock calls this."""
        entries = self.entries[:]
        del self.entries[: len(entries)]  # the I/O thread may have put one more behind them
        self._count_taken(entries, 1)
        return entries

    def has_next(self, *, has_token: bool, is_paused: bool) -> bool:
        """Return whether ``take_next`` would return something. A hint without a lock."""
        if not self.entries or self._controls_put != self._controls_taken:
            return bool(self.entries)
        return has_token and not (is_paused and all(entry.feed is not None for entry in self.entries[:]))

    def take_next(self, *, has_token: bool, is_paused: bool) -> list[Outgoing]:
        """Remove and return the control frames, in order; if there are none, the first message that may be sent. Only
        the thread that holds the write lock calls this.

        Args:
            has_token: whether a message may be sent.
            is_paused: whether requests of subscriptions may not be sent.
        """
        entries: list[Outgoing] = []
        if self._controls_put != self._controls_taken:
            entries = [entry for entry in self.entries if not entry.counted]
        elif has_token:
            entries = [entry for entry in self.entries if not is_paused or entry.feed is None][:1]
        for entry in entries:
            self.entries.remove(entry)
        self._count_taken(entries, 1)
        return entries

    def put_back(self, entries: Iterable[Outgoing]) -> None:
        """Put back messages that were taken and not sent. Only the thread that holds the write lock calls this."""
        entries = list(entries)
        self._count_taken(entries, -1)
        self.entries[:0] = entries

    def _count_taken(self, entries: list[Outgoing], sign: int) -> None:
        self._taken += sign * sum(map(_answer_bytes, entries))
        self._controls_taken += sign * sum(not entry.counted for entry in entries)

    @property
    def bytes(self) -> int:
        """The bytes of queued answers to the peer, with ``MESSAGE_BYTES`` for each. Exact on the I/O thread, except for
        messages that the writer is just removing.
        """
        return self._put - self._taken


def _answer_bytes(entry: Outgoing) -> int:
    """Return the size of a message that may be an answer to the peer. A request is none: many subscriptions that wait
    for their turn must not stop the client from reading.
    """
    return 0 if entry.requests else entry.size + MESSAGE_BYTES
