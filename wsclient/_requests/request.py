"""One request: a message that wants an answer, and what is known of it until it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from .._rfc6455.frames import Opcode
from .._sending.message import LOST, Carrier, Outgoing
from ..protocols._encoding import Encoder
from ..protocols._incoming import ABSENT
from . import failures

if TYPE_CHECKING:
    from .._threads.deadline import Deadline

__all__ = [
    "CANCELLED", "ENDED", "FAILED", "NEW", "OK", "STREAMING", "TIMED_OUT", "TRANSITIONS", "WAITING", "Completable",
    "Request", "key_of",
]  # fmt: skip

_TEXT: Final = Opcode.TEXT
"""Looked up once: an attribute of an enum costs more than the comparison it is for."""

NEW: Final = "new"
WAITING: Final = "waiting"
STREAMING: Final = "streaming"
OK: Final = "ok"
FAILED: Final = "failed"
TIMED_OUT: Final = "timed_out"
CANCELLED: Final = "cancelled"

TRANSITIONS: Final = {
    NEW: frozenset({WAITING, STREAMING}),
    WAITING: frozenset({STREAMING, OK, FAILED, TIMED_OUT, CANCELLED}),
    STREAMING: frozenset({OK, FAILED, CANCELLED}),
    OK: frozenset[str](),
    FAILED: frozenset[str](),
    TIMED_OUT: frozenset[str](),
    CANCELLED: frozenset[str](),
}
"""The states of a request, and those that may follow each.

``NEW``: made, not yet in the table of requests. ``WAITING``: its first answer is awaited, until its deadline.
``STREAMING``: the first of many answers has come, or none is awaited; more may come, and the deadline plays no part.
The other four are final: ``OK``, ``FAILED``, ``TIMED_OUT``, ``CANCELLED``.
"""

ENDED: Final = frozenset(state for state, following in TRANSITIONS.items() if not following)
"""The final states."""


class Completable(Protocol):
    """Whoever is told how a request ended; called once, outside of every lock."""

    def complete(self, value: Any, error: BaseException | None) -> None:
        """Take the reply, or the error if there is one."""


class Request(Outgoing):
    """A message that wants an answer.

    Attributes:
        encoder: makes the payload once the id is known; None where ``payload`` stands already.
        id: the caller's own id, or the one given when the request was taken to the line; None before.
        caller_key: the table's key of the caller's own id, which stays through every re-send; None if it has none.
        match: accepts the reply, instead of correlation by id.
        until: refuses replies that are only an acknowledgement.
        takes_any: whether it waits for one answer, and takes any.
        idempotent: whether it may be sent once more after its connection was lost.
        departed: whether it was taken to the present connection's line, to be written; False again where it was cut
            off. Guarded by the table's lock, until its connection is over.
        deadline: for queue, wire and reply together.
        waiter: who is told the outcome.
        feed: gets each of many answers; None where one is awaited.
        message: a copy of what was asked, for a protocol that wants to see it again; else ``ABSENT``.
        batch: the message it goes out in with others; None where it goes alone.
        last: the last of many answers, where one is awaited; ``ABSENT`` before the first.
        stage: its state, see ``TRANSITIONS``. Guarded by the table's lock.
        counts_in_flight: whether it uses up room where the number of requests in flight is bounded. Guarded likewise.
        sent_before: whether a connection that is over had carried it, so that the server may have it.
    """

    __slots__ = ("batch", "caller_key", "counts_in_flight", "deadline", "departed", "encoder", "feed", "id",
                 "idempotent", "last", "match", "message", "sent_before", "stage", "takes_any", "until",
                 "waiter")  # fmt: skip

    requests = 1

    def __init__(
        self,
        payload: bytes | None,
        size: int,
        deadline: Deadline,
        *,
        opcode: Opcode = _TEXT,
        encoder: Encoder | None = None,
        id: Any = None,
        match: Callable[[Any], bool] | None = None,
        until: Callable[[Any], bool] | None = None,
        idempotent: bool = False,
        connection_number: int | None = None,
    ) -> None:
        # What `Outgoing.__init__` does, without the call: each request() would pay for it.
        self.opcode = opcode
        self.payload = payload
        self.size = size
        self.expires_at = None
        self.connection_number = connection_number
        self.counted = True
        self.queued = False
        self.position = None
        self.discarded_as = None
        self.ids = ()
        self.encoder = encoder
        self.id = id
        self.caller_key = None if id is None else key_of(id)
        self.match = match
        self.until = until
        self.takes_any = until is None
        self.idempotent = idempotent
        self.deadline = deadline
        self.waiter: Completable | None = None
        self.feed: Any = None
        self.batch: Any = None
        self.message: Any = ABSENT
        self.last: Any = ABSENT
        self.stage = NEW
        self.counts_in_flight = True
        self.departed = False
        self.sent_before = False

    @property
    def outcome(self) -> str | None:
        """How it ended; None while it has not."""
        return self.stage if self.stage in ENDED else None

    def reply_requests(self) -> tuple[Request]:
        """Itself."""
        return (self,)

    def payload_for(self, connection: Carrier) -> bytes | None:
        """The payload, as a connection is about to write it; the request gets its id now.

        A request that can't be written ends here. Args and result are those of ``Outgoing.payload_for``.
        """
        if self.connection_number is not None and self.connection_number != connection.number:
            self.discarded_as = LOST
            connection.refuse(self, failures.ended_before())
            return None
        try:
            if not connection.depart(self):
                return None
            if self.feed is not None:
                self.feed.departed(self)
            if self.encoder is not None:
                self.opcode, payload = self.encoder(self.id)
                self.payload = payload
                self.size = len(payload)
                return payload
        except Exception as error:  # raised by a protocol of the user's own
            connection.refuse(self, error)
            return None
        return self.payload


def key_of(id: Any) -> Any:
    """An id as a key of the tables. JSON's ``true`` is no ``1``, though Python's ``True == 1``."""
    return (bool, id) if isinstance(id, bool) else id
