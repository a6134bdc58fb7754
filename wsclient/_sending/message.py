"""One outgoing message, from the queue to the proof that it arrived.

Guarantees:
    * The state of a message is not stored, unless it was discarded (``discarded_as``). It is computed, when code reads
      it, from one number: the offset of the message's last byte in the byte stream of its connection.
    * ``position`` and ``discarded_as`` change by a single assignment each, so readers need no lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

from .._models import DeliveryState
from .._rfc6455.frames import Opcode

__all__ = [
    "CANCELLED", "EXPIRED", "LOST", "MESSAGE_BYTES", "Answer", "Mark", "Outgoing", "PayloadTarget", "RequestKeeper",
    "WriteProgress",
]  # fmt: skip

_CLOSE: Final = Opcode.CLOSE
"""Looked up once: access to an enum member costs more than the comparison that uses it."""

MESSAGE_BYTES: Final = 256
"""The estimated memory, in bytes, of a queued message without its payload. Measured: 290."""

QUEUED: Final = DeliveryState.QUEUED
WRITTEN: Final = DeliveryState.WRITTEN
CONFIRMED: Final = DeliveryState.CONFIRMED
UNKNOWN: Final = DeliveryState.UNKNOWN
EXPIRED: Final = DeliveryState.EXPIRED
LOST: Final = DeliveryState.LOST
CANCELLED: Final = DeliveryState.CANCELLED


class WriteProgress:
    """The write progress of one connection; offsets count from its first frame.

    The writer assigns ``taken`` and ``sent``, the I/O thread assigns ``confirmed`` and ``ended``; any thread may read.
    If the I/O thread does not respond, ``Supervisor.abort`` assigns ``ended`` on another thread. These values only
    increase, so a stale value gives a state that was true a moment ago.

    Attributes:
        number: the connection's number.
        taken: the offset of the end of the newest frame; the frame may not be sent yet.
        sent: bytes the operating system has accepted.
        confirmed: bytes that the peer's WebSocket layer has received, as a pong or a reply proves.
        ended: whether the connection has ended.
    """

    __slots__ = ("confirmed", "ended", "number", "sent", "taken")

    def __init__(self, number: int) -> None:
        self.number = number
        self.taken = 0
        self.sent = 0
        self.confirmed = 0
        self.ended = False

    def confirm(self, end: int) -> None:
        """Record that everything up to ``end`` has arrived. I/O thread only."""
        self.confirmed = max(self.confirmed, end)


class RequestKeeper(Protocol):
    """The part of ``Requests`` that ``Outgoing.payload_for`` uses. ``written`` are the requests in flight on the
    connection that writes the message.
    """

    def assign_id(self, written: Any, request: Any) -> bool:
        """Assign a request its id, just before it is written; return False if the request has ended."""

    def refuse(self, request: Any, error: BaseException) -> None:
        """End a request that can't be written, with an error."""

    def is_free(self, written: Any, ids: Iterable[Any]) -> bool:
        """Return whether no request in flight has one of these ids."""


class PayloadTarget(Protocol):
    """The part of a connection that ``Outgoing.payload_for`` uses.

    Attributes:
        number: the connection's number.
        written: the requests in flight on this connection.
    """

    number: int
    written: Any

    @property
    def requests(self) -> RequestKeeper:
        """The requests of the client."""


class Outgoing:
    """A message that is to be sent.

    Attributes:
        opcode: TEXT or BINARY for a message; PING, PONG or CLOSE for a control frame. In the queue: PING for a
            ``Mark``, CLOSE for the close frame that is queued behind all messages.
        payload: its bytes; None once they are no longer needed.
        size: the number of payload bytes; the queue's limit in bytes counts this number.
        expires_at: the time after which it is not sent; None if it does not expire.
        connection_number: the number of the one connection it may be sent on; None for any.
        counted: whether it counts for the queue's limits; a ``Mark`` and the close frame do not.
        queued: whether it is in the queue now. Guarded by the queue's lock.
        queued_at: when it was first queued, by the monotonic clock; 0.0 before that.
        position: the write progress of the connection that frames the message, and the offset there at which the
            message ends; None before that.
        discarded_as: ``"expired"``, ``"lost"`` or ``"cancelled"`` once that is certain.
        ids: the ids that the caller's message contains, if it is no request. The server may send a reply with such an
            id.
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
        "queued_at",
        "size",
    )

    requests = 0
    """The number of expected replies."""

    members: Sequence[Any] = ()
    """The requests of a batch, which share its position; empty for any other message."""

    is_answer = False
    """Whether it answers a call of the server, so that it does not count for the limits of ``SendQueue``."""

    feed: Any = None
    """Receives each of many replies; None if this message is not the request of a stream or subscription."""

    ends_at_first_reply = True
    """True if no reply is expected, or if the first reply ends the request, whatever that reply contains.

    The main thread may write only such messages (see ``Sender``). A message for which this is True has no ``feed``. So
    no code of a feed is called when the message gets its id, and an interrupt can't stop such code half-way."""

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
        self.queued_at = 0.0
        self.position: tuple[WriteProgress, int] | None = None
        self.discarded_as: DeliveryState | None = None
        self.ids: tuple[Any, ...] = ()

    @property
    def state(self) -> DeliveryState:
        """``queued``, ``written``, ``confirmed``, ``expired``, ``lost``, ``unknown`` or ``cancelled``."""
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

    def is_written(self) -> bool:
        """Return whether all of it was passed to the operating system."""
        position = self.position
        return position is not None and position[1] <= position[0].sent

    def put_on(self, progress: WriteProgress, end: int) -> None:
        """Record its position: the connection, and the offset of its end there. Only the writer calls this."""
        self.position = (progress, end)

    def reply_requests(self) -> Sequence[Any]:
        """Return the requests that it contains."""
        return ()

    def payload_for(self, connection: PayloadTarget) -> bytes | None:
        """Return the payload that the connection is about to write. Only the writer calls this.

        Args:
            connection: the connection.

        Returns:
            None if the message must not be written, for one of three reasons. It belongs to another connection: it may
            have been queued after the messages of that connection were removed from the queue. Or it is a request or
            batch that has ended. Or a request in flight has one of its ``ids``. Also None for a mark without a ping.
        """
        if self.connection_number is not None and self.connection_number != connection.number:
            self.discarded_as = LOST
        elif not self.ids or connection.requests.is_free(connection.written, self.ids):
            return self.payload
        else:
            self.discarded_as = LOST
        return None


class Answer(Outgoing):
    """The answer of a handler to a call of the server. The queue has a separate limit for such messages."""

    __slots__ = ()

    is_answer = True


class Mark(Outgoing):
    """A position in the send queue for which a caller waits. When the writer reaches it, it sends a ping, unless
    ``payload`` is None.

    Attributes:
        key: the payload of the ping, which its pong repeats; None if pings are off.
        round_trip: seconds from the ping to the pong that answered it; None before that. The I/O thread sets it.
        spans: whether the caller also waits for the messages that were written on a connection that a renewal has
            replaced meanwhile.
        twin: a second mark, on the replaced connection; None if there is none. It is set when the new connection takes
            over, or by ``flush()`` if this mark is made later.
    """

    __slots__ = ("key", "round_trip", "spans", "twin")

    def __init__(self, payload: bytes | None, connection_number: int | None, *, spans: bool = False) -> None:
        """
        Args:
            payload: the payload of the ping, 125 bytes at most; None if pings are off.
            connection_number: the number of the one connection on which the mark may be sent; None for any.
            spans: see above.
        """
        super().__init__(Opcode.PING, payload, 0, connection_number=connection_number)
        self.key = payload
        self.round_trip: float | None = None
        self.spans = spans
        self.twin: Mark | None = None
