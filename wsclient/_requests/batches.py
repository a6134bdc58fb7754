"""Several requests that go out as one message, an array (JSON-RPC 2.0 §6), and come back as one outcome.

Guarantees:
    * Each request of a batch ends by itself, on whatever thread; the last to end tells whoever waits for all of them,
      once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._errors import WebSocketClientError, again
from .._sending.message import LOST, Batch
from .._threads.locks import make_lock
from . import requests as _requests
from .request import Settled

if TYPE_CHECKING:
    from .._threads.deadline import Deadline
    from .context import RequestContext

__all__ = ["begin", "make"]


class Gathering:
    """Collects the outcomes of a batch."""

    __slots__ = ("_first", "_lock", "_missing", "_results", "_waiter")

    def __init__(self, size: int, waiter: Settled) -> None:
        """
        Args:
            size: how many outcomes there will be.
            waiter: told when all are there: the list of results, or an error.
        """
        # Guards everything below.
        self._lock = make_lock()
        self._missing = size
        self._results: list[Any] = [None] * size
        self._first: int | None = None  # the foremost place that holds an error
        self._waiter = waiter

    def add(self, place: int, value: Any, error: BaseException | None) -> None:
        """One more outcome, for this place of the batch."""
        with self._lock:
            self._results[place] = value if error is None else error
            if error is not None and (self._first is None or place < self._first):
                self._first = place
            self._missing -= 1
            whole = not self._missing
        if whole:
            self._tell()

    def _tell(self) -> None:
        if self._first is None:
            self._waiter.settle(self._results, None)
            return
        error = again(self._results[self._first])
        if isinstance(error, WebSocketClientError):
            error.results = self._results
        self._waiter.settle(None, error)


class Share:
    """The waiter of one request of a batch."""

    __slots__ = ("_gathering", "_place")

    def __init__(self, gathering: Gathering, place: int) -> None:
        self._gathering = gathering
        self._place = place

    def settle(self, value: Any, error: BaseException | None) -> None:
        """It has ended."""
        self._gathering.add(self._place, value, error)


def make(
    core: RequestContext,
    messages: list[Any],
    deadline: Deadline,
    *,
    bound: int | None,
    match: Any,
    until: Any,
    idempotent: bool,
) -> Batch:
    """Encode a batch; nothing is kept of the messages themselves.

    Raises:
        TypeError, ValueError: one of them can't be encoded, or they can't be a batch.
    """
    most = core.protocol.max_in_flight
    if match is not None or until is not None:
        raise ValueError("match= and until= are for one request, not for a batch of them.")
    if not messages:
        raise ValueError("A batch must hold at least one request (JSON-RPC 2.0 §6).")
    if most is not None and len(messages) > most:
        raise ValueError(f"A batch of {len(messages)} requests never has room: max_in_flight is {most}.")
    requests = [
        _requests.make(core.protocol, message, deadline, idempotent=idempotent, bound=bound) for message in messages
    ]
    return Batch(requests, deadline=deadline, bound=bound)


def begin(core: RequestContext, batch: Batch, waiter: Settled) -> None:
    """The requests begin to wait, and are queued as one message. An error here has told the waiter nothing.

    Raises:
        As ``requests.begin``.
    """
    gathering = Gathering(len(batch.members), waiter)
    for place, request in enumerate(batch.members):
        request.waiter = Share(gathering, place)
        request.batch = batch
    try:
        for request in batch.members:
            core.pending.add(request, timed=True)
        _requests.queue(core, batch, batch.deadline)
    except BaseException:
        _requests.withdraw(core, batch, interrupted=True)
        raise
    if batch.fate is LOST:
        for request in batch.members:
            _requests.fail(core, request, _requests.refused(core, batch))
    core.sender.write_queued()
