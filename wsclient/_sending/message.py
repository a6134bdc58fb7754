"""One outgoing message, from the queue to the proof that it arrived.

Guarantees:
    * What became of a message is computed when asked, from one number: the offset of its last byte in the stream of
      bytes of its connection. Sending it keeps no record and costs nothing for it.
    * ``position`` and ``discarded_as`` change by a single assignment each, so readers need no lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from .._models import DeliveryState
from .._rfc6455.frames import Opcode

__all__ = ["EXPIRED", "LOST", "Carrier", "Mark", "Outgoing", "WriteProgress"]

_CLOSE: Final = Opcode.CLOSE
"""Looked up once: an attribute of an enum costs more than the comparison it is for."""

QUEUED: Final = DeliveryState.QUEUED
WRITTEN: Final = DeliveryState.WRITTEN
CONFIRMED: Final = DeliveryState.CONFIRMED
UNKNOWN: Final = DeliveryState.UNKNOWN
EXPIRED: Final = DeliveryState.EXPIRED
LOST: Final = DeliveryState.LOST


class WriteProgress:
    """How far the bytes of one connection have come; offsets count from its first frame.

    The owner of the line writes ``taken`` and ``sent``, the I/O thread writes ``confirmed`` and ``ended``; anyone
    reads. Each only grows, so a stale read is a state the message was in a moment ago.

    Attributes:
        number: the connection's number.
        taken: end of the last frame taken from the queue.
        sent: bytes the operating system has accepted.
        confirmed: bytes the peer's WebSocket layer has proven to have (by a pong or a reply).
        ended: whether the connection is over.
    """

    __slots__ = ("confirmed", "ended", "number", "sent", "taken")

    def __init__(self, number: int) -> None:
        self.number = number
        self.taken = 0
        self.sent = 0
        self.confirmed = 0
        self.ended = False

    def confirm(self, end: int) -> None:
        """Everything up to ``end`` has arrived. I/O thread only."""
        self.confirmed = max(self.confirmed, end)


class Carrier(Protocol):
    """A connection as the messages that are about to be written on it see it.

    Attributes:
        number: its number.
        depart: gives a request its id, as it is about to be written; False if the request has ended.
        refuse: ends a request that can't be written with an error.
        is_free: whether no request in flight has one of these ids.
    """

    number: int
    depart: Callable[[Any], bool]
    refuse: Callable[[Any, BaseException], None]
    is_free: Callable[[Iterable[Any]], bool]


class Outgoing:
    """A message that is to be sent.

    Attributes:
        opcode: TEXT or BINARY; PING or CLOSE for our own marks in the queue.
        payload: its bytes; None once they are no longer needed.
        size: payload bytes it counts for in the queue.
        expires_at: the moment after which it is not sent any more; None for never.
        connection_number: the number of the one connection it may go to; None for any.
        counted: whether it takes room in the queue; our own marks do not.
        queued: whether it is in the queue now. Guarded by the queue's lock.
        position: the progress of the connection that took it, and the offset of its end there; None before that.
        discarded_as: ``"expired"`` or ``"lost"`` once that is certain.
        ids: those the caller put into it, under which the server may answer although no request waits.
    """

    __slots__ = (
        "connection_number",
        "counted",
        "discarded_as",
        "expires_at",
        "ids",
        "opcode",
        "payload",
        "position",
        "queued",
        "size",
    )

    requests = 0
    """How many answers are awaited."""

    members: Sequence[Any] = ()
    """The requests that it is made of, where there are several, which share its position."""

    takes_any = True
    """Whether any one answer ends it, where it wants any; its departure then changes only the table of requests."""

    def __init__(
        self,
        opcode: Opcode,
        payload: bytes | None,
        size: int,
        expires_at: float | None = None,
        connection_number: int | None = None,
    ) -> None:
        self.opcode = opcode
        self.payload = payload
        self.size = size
        self.expires_at = expires_at
        self.connection_number = connection_number
        self.counted = opcode < _CLOSE
        self.queued = False
        self.position: tuple[WriteProgress, int] | None = None
        self.discarded_as: DeliveryState | None = None
        self.ids: tuple[Any, ...] = ()

    @property
    def state(self) -> DeliveryState:
        """``queued``, ``written``, ``confirmed``, ``expired``, ``lost`` or ``unknown``."""
        position = self.position
        if self.discarded_as is not None:
            return self.discarded_as
        if position is None:
            return QUEUED
        progress, end = position
        if end <= progress.confirmed:
            return CONFIRMED
        if end <= progress.sent:
            return UNKNOWN if progress.ended else WRITTEN
        return QUEUED

    def written(self) -> bool:
        """Whether all of it was handed to the operating system."""
        position = self.position
        return position is not None and position[1] <= position[0].sent

    def put_on(self, progress: WriteProgress, end: int) -> None:
        """It is the next on this connection and ends at that offset. Owner of the line only."""
        self.position = (progress, end)

    def reply_requests(self) -> Sequence[Any]:
        """The requests that it carries, which await a reply."""
        return ()

    def payload_for(self, connection: Carrier) -> bytes | None:
        """The payload, as a connection is about to write it. Only the thread that holds the write lock.

        Args:
            connection: the connection.

        Returns:
            None if it is not to be written after all: it belongs to another connection, even if it was queued a moment
            too late to be swept out with that one; or nothing waits for it any more. None as well for a mere mark.
        """
        if self.connection_number is not None and self.connection_number != connection.number:
            self.discarded_as = LOST
        elif not self.ids or connection.is_free(self.ids):
            return self.payload
        else:
            self.discarded_as = LOST
        return None


class Mark(Outgoing):
    """A ping that is queued like a message, since a caller waits for the pong.

    Attributes:
        key: the payload that its pong repeats, kept when ``payload`` is not; None where pings are off.
        round_trip: seconds from the ping to the pong that answered it; None before that. The I/O thread sets it.
    """

    __slots__ = ("key", "round_trip")

    def __init__(self, payload: bytes | None, connection_number: int | None) -> None:
        """
        Args:
            payload: of the ping, 125 bytes at most; None where pings are off: it only marks a position in the queue.
            connection_number: the number of the one connection on which it proves something; None for any.
        """
        super().__init__(Opcode.PING, payload, 0, connection_number=connection_number)
        self.key = payload
        self.round_trip: float | None = None
