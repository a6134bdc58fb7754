"""Several requests that are sent as one message, an array (JSON-RPC 2.0 §6), and have one result.

Guarantees:
    * Each request of a batch ends separately, on any thread. When the last one ends, the batch's waiter is completed,
      once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .._errors import WebSocketClientError, copy_exception
from .._rfc6455.frames import Opcode
from .._sending.message import LOST, Outgoing, PayloadTarget
from .._threads.locks import make_lock
from .._threads.sections import this_thread
from .request import CANCELLED, Completable, Request

if TYPE_CHECKING:
    from .._sending.message import WriteProgress
    from .._threads.waiting import Deadline

__all__ = ["Batch", "BatchMember", "BatchResult"]


class Batch(Outgoing):
    """Several requests that are sent as one message, and share its position on the connection.

    Attributes:
        members: the requests.
        deadline: the deadline of all of them.
    """

    __slots__ = ("deadline", "members")

    ends_at_first_reply = False

    def __init__(self, members: list[Request], *, deadline: Deadline, connection_number: int | None) -> None:
        super().__init__(
            Opcode.TEXT, None, sum(member.size + 1 for member in members) + 1, connection_number=connection_number
        )
        self.members = members
        self.deadline = deadline

    @property
    def outcome(self) -> str | None:
        """``"cancelled"`` once the caller has withdrawn the batch; None otherwise."""
        return CANCELLED if any(one.outcome is CANCELLED for one in self.members) else None

    @property
    def requests(self) -> int:  # type: ignore[override]
        """The number of expected replies."""
        return len(self.members)

    @property
    def has_ended(self) -> bool:
        """Whether all its requests have ended."""
        # In reverse order: requests usually end in their order, so while some have not ended, the last one has not.
        return all(one.outcome is not None for one in reversed(self.members))

    def set_waiter(self, waiter: Completable) -> None:
        """Set the waiter that is completed with the results of all members, when the last of them has ended."""
        result = BatchResult(len(self.members), waiter)
        for index, member in enumerate(self.members):
            member.waiter = BatchMember(result, index)
            member.batch = self

    def reply_requests(self) -> Sequence[Request]:
        """Return the members."""
        return self.members

    def put_on(self, progress: WriteProgress, end: int) -> None:
        """Record the position of the batch and of its members on a connection. Only the writer calls this."""
        super().put_on(progress, end)
        for member in self.members:
            member.put_on(progress, end)

    def payload_for(self, connection: PayloadTarget) -> bytes | None:
        """Return the array of the members that have not ended; None if all have. See ``Outgoing.payload_for``."""
        if self.connection_number is not None and self.connection_number != connection.number:
            self.discarded_as = LOST
        members = []
        for one in self.members:
            payload = one.payload_for(connection)
            if payload is not None:
                members.append(payload)
                self.opcode = one.opcode
        return b"[%b]" % b",".join(members) if members else None


class BatchResult:
    """Collects how the requests of a batch end."""

    __slots__ = ("_first", "_lock", "_missing", "_results", "_waiter")

    def __init__(self, size: int, waiter: Completable) -> None:
        """
        Args:
            size: the number of requests.
            waiter: completed when all have ended, with the list of their results or with an error.
        """
        # Guards everything below.
        self._lock = make_lock()
        self._missing = size
        self._results: list[Any] = [None] * size
        self._first: int | None = None  # the lowest index of an error
        self._waiter = waiter

    def add(self, index: int, value: Any, error: BaseException | None) -> None:
        """Store the outcome of the request at this index; complete the waiter after the last one."""
        with this_thread.section, self._lock:
            self._results[index] = value if error is None else error
            if error is not None and (self._first is None or index < self._first):
                self._first = index
            self._missing -= 1
            whole = not self._missing
        if whole:
            self._complete()

    def _complete(self) -> None:
        if self._first is None:
            self._waiter.complete(self._results, None)
            return
        error = copy_exception(self._results[self._first])
        if isinstance(error, WebSocketClientError):
            error.results = self._results
        self._waiter.complete(None, error)


class BatchMember:
    """The waiter of one request of a batch; passes the outcome to the ``BatchResult``."""

    __slots__ = ("_index", "_result")

    def __init__(self, result: BatchResult, index: int) -> None:
        """
        Args:
            result: the result of the batch.
            index: the request's index in the batch.
        """
        self._result = result
        self._index = index

    def complete(self, value: Any, error: BaseException | None) -> None:
        """Store the outcome of the request."""
        self._result.add(self._index, value, error)
