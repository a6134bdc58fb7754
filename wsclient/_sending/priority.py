"""Urgent messages, which are sent before the messages of the send queue: control frames, messages of the set-up of a
connection, requests of subscriptions, and answers and heartbeats of the message protocol.

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
"""Bytes of answers that may be queued while the socket is full, or while ``rate=`` delays messages. Each answer counts
for ``MESSAGE_BYTES`` more than its payload. Beyond this limit, reading pauses, since messages that are read may need
further answers. At twice this limit, handlers wait."""


class Urgent:
    """The urgent messages of one connection.

    If ``rate=`` or ``pause_sending()`` delays messages, control frames are sent before all others. The requests of
    subscriptions, of which there may be thousands, are sent last, after the heartbeats and answers of the message
    protocol.

    Attributes:
        entries: the queued messages; other classes only read it.
    """

    __slots__ = ("_controls_put", "_controls_taken", "_put", "_subscriptions_put", "_subscriptions_taken", "_taken",
                 "entries")  # fmt: skip

    def __init__(self) -> None:
        self.entries: list[Outgoing] = []
        # In each pair, the I/O thread counts what it has added so far, and the holder of the write lock what it has
        # removed so far:
        self._put = self._taken = 0  # bytes of answers
        self._controls_put = self._controls_taken = 0  # control frames
        self._subscriptions_put = self._subscriptions_taken = 0  # requests of subscriptions

    def put(self, entry: Outgoing) -> None:
        """Append a message; a pong beyond ``MAX_URGENT`` control frames is dropped. I/O thread only."""
        if entry.opcode is Opcode.PONG and self._controls_put - self._controls_taken >= MAX_URGENT:
            return
        if not entry.requests:
            self._put += entry.size + MESSAGE_BYTES
        if not entry.counted:
            self._controls_put += 1
        elif entry.feed is not None:
            self._subscriptions_put += 1
        self.entries.append(entry)

    def take(self) -> list[Outgoing]:
        """Remove and return all messages, in order. Only the thread that holds the write lock calls this."""
        entries = self.entries[:]
        del self.entries[: len(entries)]  # the I/O thread may have put one more behind them
        self._count_taken(entries, 1)
        return entries

    def has_next(self, *, has_token: bool, is_paused: bool) -> bool:
        """Return whether ``take_next`` would return something. Takes no lock, so the result is only a hint."""
        controls = self._controls_put - self._controls_taken
        subscriptions = self._subscriptions_put - self._subscriptions_taken
        return controls > 0 or (has_token and len(self.entries) > (subscriptions if is_paused else 0))

    def take_next(self, *, has_token: bool, is_paused: bool) -> list[Outgoing]:
        """Remove and return the control frames, in order; if there are none, the next message that may be sent. Only
        the thread that holds the write lock calls this.

        Args:
            has_token: whether a message may be sent.
            is_paused: whether requests of subscriptions may not be sent.
        """
        entries: list[Outgoing] = []
        if self._controls_put != self._controls_taken:
            entries = [entry for entry in self.entries if not entry.counted]
        elif has_token:
            others = [entry for entry in self.entries if entry.feed is None]
            entries = (others or ([] if is_paused else self.entries))[:1]
        for entry in entries:
            self.entries.remove(entry)
        self._count_taken(entries, 1)
        return entries

    def take_subscriptions(self) -> list[Outgoing]:
        """Remove and return the requests of subscriptions. Only the thread that holds the write lock calls this."""
        entries = [entry for entry in self.entries if entry.feed is not None]
        for entry in entries:
            self.entries.remove(entry)
        self._count_taken(entries, 1)
        return entries

    def put_back(self, entries: Iterable[Outgoing]) -> None:
        """Put back messages that were taken and not sent. Only the thread that holds the write lock calls this."""
        entries = list(entries)
        self._count_taken(entries, -1)
        self.entries[:0] = entries

    @property
    def bytes(self) -> int:
        """The bytes of the queued messages that may be answers to the peer, with ``MESSAGE_BYTES`` more for each.

        On the I/O thread the number is exact, except for messages that the writer is removing at this moment. Requests
        do not count: if many requests of subscriptions wait, reading must continue.
        """
        return self._put - self._taken

    def _count_taken(self, entries: Iterable[Outgoing], sign: int) -> None:
        for entry in entries:
            if not entry.requests:
                self._taken += sign * (entry.size + MESSAGE_BYTES)
            if not entry.counted:
                self._controls_taken += sign
            elif entry.feed is not None:
                self._subscriptions_taken += sign
