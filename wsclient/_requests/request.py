"""One request: a message that expects a reply, and its state until it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from .._rfc6455.frames import Opcode
from .._sending.message import LOST, Outgoing, PayloadTarget
from ..protocols._encoding import Encoder
from ..protocols._incoming import ABSENT
from . import failures

if TYPE_CHECKING:
    from .._threads.waiting import Deadline

__all__ = [
    "CANCELLED", "ENDED", "FAILED", "NEW", "OK", "STREAMING", "TIMED_OUT", "TRANSITIONS", "WAITING", "Completable",
    "Request", "key_of",
]  # fmt: skip

_TEXT: Final = Opcode.TEXT
"""The default opcode of a request."""

NEW: Final = "new"
WAITING: Final = "waiting"
STREAMING: Final = "streaming"
OK: Final = "ok"
FAILED: Final = "failed"
TIMED_OUT: Final = "timed_out"
CANCELLED: Final = "cancelled"

TRANSITIONS: Final = {
    NEW: frozenset({WAITING, STREAMING, FAILED}),
    WAITING: frozenset({STREAMING, OK, FAILED, TIMED_OUT, CANCELLED}),
    STREAMING: frozenset({OK, FAILED, CANCELLED}),
    OK: frozenset[str](),
    FAILED: frozenset[str](),
    TIMED_OUT: frozenset[str](),
    CANCELLED: frozenset[str](),
}
"""The states of a request, and the states that may follow each.

``NEW``: created, not yet in the table of requests; it fails in this state if it can't be written. A request whose call
is interrupted in this state stays in it, and is not counted.
``WAITING``: waits for its first reply, until its deadline.
``STREAMING``: the first of many replies was received, or none is required; more may follow, and there is no deadline.
The other four are final: ``OK``, ``FAILED``, ``TIMED_OUT``, ``CANCELLED``.
"""

ENDED: Final = frozenset(state for state, following in TRANSITIONS.items() if not following)
"""The final states."""


class Completable(Protocol):
    """Receives the outcome of a request.

    ``complete`` is called once. No lock is held then, except the write lock if the request can't be written.
    """

    def complete(self, value: Any, error: BaseException | None) -> None:
        """Receive the reply, or the error if the request failed."""


class Request(Outgoing):
    """A message that expects a reply.

    Attributes:
        encoder: makes the payload once the id is known; None where ``payload`` is already set.
        id: the caller's id, or the id assigned just before the request is written; None before that.
        caller_key: the key of the caller's id in the table; it does not change when the request is sent again. None if
            the caller gave no id.
        match: returns True for the reply; replaces correlation by id.
        until: returns False for replies that are only an acknowledgement.
        ends_at_first_reply: whether it expects one reply and any reply ends it.
        idempotent: whether it may be sent again after its connection was lost.
        deadline: limits the time in the queue, the time of writing and the time until the reply, together.
        waiter: receives the outcome.
        feed: receives each of many replies; None if one reply is expected.
        message: a copy of the caller's message, if the protocol compares the replies with it; else ``ABSENT``.
        batch: the batch it is sent in; None if it is sent alone.
        last: the latest reply that did not end the request (an ``Item``, or a ``Reply`` that ``until`` rejected);
            ``ABSENT`` before the first. Used only if the request returns a single result.
        stage: its state, see ``TRANSITIONS``. Guarded by the table's lock.
        counts_in_flight: whether it counts for the limit of requests in flight. Guarded by the table's lock.
        written_on: the ``WrittenRequests`` of the connection that writes the request. None before that, and None again
            if the connection ended and the request will be sent again. Guarded by the table's lock until the connection
            has ended; afterwards only the I/O thread changes it, without the lock.
        received_before: how many messages the client had received when the request was written; 0 before that.
        hint: a sentence about a message that may have been meant as its reply, for the error of its timeout. The I/O
            thread sets it.
        sent_before: whether it was written on an earlier connection, so that the server may have received it.
    """

    __slots__ = (
        "batch", "caller_key", "counts_in_flight", "deadline", "encoder", "ends_at_first_reply", "feed", "hint", "id",
        "idempotent", "last", "match", "message", "received_before", "sent_before", "stage", "until", "waiter",
        "written_on",
    )  # fmt: skip

    requests = 1

    def __init__(
        self,
        payload: bytes | None,
        size: int,
        deadline: Deadline,
        encoder: Encoder | None = None,
        until: Callable[[Any], bool] | None = None,
        idempotent: bool = False,
        connection_number: int | None = None,
        opcode: Opcode = _TEXT,
        id: Any = None,
        match: Callable[[Any], bool] | None = None,
    ) -> None:
        # The same as `Outgoing.__init__`, without the call, which would slow down every request().
        self.opcode = opcode
        self.payload = payload
        self.size = size
        self.expires_at = None
        self.connection_number = connection_number
        self.counted = True
        self.queued = False
        self.queued_at = 0.0
        self.position = None
        self.discarded_as = None
        self.ids = ()
        self.encoder = encoder
        self.id = id
        self.caller_key = None if id is None else key_of(id)
        self.match = match
        self.until = until
        self.ends_at_first_reply = until is None
        self.idempotent = idempotent
        self.deadline = deadline
        self.waiter: Completable | None = None
        self.feed: Any = None
        self.batch: Any = None
        self.message: Any = ABSENT
        self.last: Any = ABSENT
        self.stage = NEW
        self.counts_in_flight = True
        self.written_on: Any = None
        self.sent_before = False
        self.received_before = 0
        self.hint: str | None = None

    @property
    def outcome(self) -> str | None:
        """The final state; None while the request has not ended."""
        return self.stage if self.stage in ENDED else None

    def reply_requests(self) -> tuple[Request]:
        """Return the request itself."""
        return (self,)

    def payload_for(self, connection: PayloadTarget) -> bytes | None:
        """Assign the request its id, and return the payload that the connection is about to write.

        If the request can't be written, end it. Args and result are those of ``Outgoing.payload_for``.
        """
        if self.connection_number is not None and self.connection_number != connection.number:
            self.discarded_as = LOST
            connection.requests.refuse(self, failures.ended_before())
            return None
        try:
            if not connection.requests.assign_id(connection.written, self):
                return None
            if self.feed is not None:
                self.feed.id_assigned(self)
            if self.encoder is not None:
                self.opcode, payload = self.encoder.encode(self.id)
                self.payload = payload
                self.size = len(payload)
                return payload
        except Exception as error:  # the user's protocol raised it, no id is free, or the caller's id is in use
            connection.requests.refuse(self, error)
            return None
        return self.payload


def key_of(id: Any) -> Any:
    """Return the table key of an id. It keeps JSON's ``true`` and ``1`` apart, which are equal in Python."""
    return (bool, id) if isinstance(id, bool) else id
