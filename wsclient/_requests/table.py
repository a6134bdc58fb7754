"""The table of requests that wait for their reply. It assigns replies to requests, and lets each request end once.

Guarantees:
    * A request ends exactly once. Reply, timeout, cancel, loss and close may race: ``take`` returns True to the first
      of them, whose outcome counts, and False to the others.
    * No callback is called while the lock is held, and nothing is scanned: look-up, end and the next deadline cost
      the same with ten requests in flight as with a hundred thousand.
    * An interrupt leaves every table consistent: a critical section consists of assignments, and its last step commits.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from typing import Any, Final

from .._threads.locks import make_lock
from ..protocols._incoming import OLDEST
from .request import CANCELLED, ENDED, FAILED, OK, STREAMING, TIMED_OUT, TRANSITIONS, WAITING, Request, key_of

__all__ = ["Clash", "RequestTable"]

_SLACK: Final = 64
"""The number of timers of ended requests that may stay in the heap before it is rebuilt without them."""


class Clash(ValueError):
    """Another request has this id."""


def _taken(id: Any) -> ValueError:
    return ValueError(f"A request with the id {id!r} is in flight already; use another id.")


class RequestTable:
    """The table of requests: those that have not ended, and those in flight.

    Attributes:
        by_id: the requests in flight, by the key of their id, or by themselves where ``match`` finds the reply. The I/O
            thread looks up replies in it; only this class changes it.
        by_order: whether replies are correlated by their order alone.
        counts: requests that have ended, by their final state; one that is ``STREAMING`` has counted as ``OK``.
        waiting: the number of ``WAITING`` requests; other classes only read it.
        matches: the requests in flight that have a match function. The I/O thread reads it.
        timers: a heap of deadlines, some of requests that have ended; other classes only check whether it is empty.
    """

    __slots__ = ("_begun", "_by_caller_key", "_lock", "_numbers", "_uncounted", "by_id", "by_order", "counts",
                 "matches", "timers", "waiting")  # fmt: skip

    def __init__(self, *, by_order: bool = False) -> None:
        """
        Args:
            by_order: replies are correlated by their order alone. A request that was written and then withdrawn keeps
                its position in the order, so that its reply is not assigned to another request.
        """
        # Guards all tables and counts below, and `stage`, `counts_in_flight` and `departed` of every request.
        self._lock = make_lock()
        self.by_order = by_order
        self._begun: dict[Request, None] = {}  # requests that have begun and not ended, in this order
        self.waiting = 0
        # In the order in which they were taken for writing. If replies come by order, the oldest is looked up for each
        # of them: an OrderedDict finds it at once, a dict first skips all deleted entries.
        self.by_id: dict[Any, Request] = OrderedDict() if by_order else {}
        self._uncounted = 0  # the number of requests in `by_id` with `counts_in_flight` unset
        self._by_caller_key: dict[Any, Request] = {}  # requests with an id from the caller, queued or in flight
        self.matches: dict[Request, None] = {}
        self.timers: list[tuple[float, int, Request]] = []
        self._numbers = itertools.count()
        self.counts = {OK: 0, FAILED: 0, TIMED_OUT: 0, CANCELLED: 0}

    def keep_order(self) -> None:
        """Switch to correlation by order alone, when the protocol first reports it."""
        with self._lock:
            self.by_order = True
            self.by_id = OrderedDict(self.by_id)

    @property
    def in_flight(self) -> int:
        """The number of requests that are written and unanswered. A subscription that is ``STREAMING`` is not counted:
        it may last for ever, and would use up the limit of requests in flight.
        """
        return len(self.by_id) - self._uncounted

    @property
    def unfinished(self) -> bool:
        """Whether a drain has to wait: for a reply, or for the end of a finite stream of replies."""
        return bool(self.waiting) or any(not one.feed.endless for one in list(self._begun) if one.stage is STREAMING)

    def add(self, request: Request, *, timed: bool, streaming: bool = False) -> None:
        """Add a request to the table.

        Args:
            request: the request.
            timed: whether ``expire`` ends it at its deadline; False if the caller's wait does that.
            streaming: whether it starts as ``STREAMING``, without a wait for the first reply.

        Raises:
            ValueError: the caller gave its id, and another request under this id waits for a reply.
        """
        key = request.caller_key
        timer = self._timer(request) if timed else None
        with self._lock:
            known = key is not None and (key in self._by_caller_key or key in self.by_id)
            if not known:
                if key is not None:
                    self._by_caller_key[key] = request
                request.stage = STREAMING if streaming else WAITING
                self.waiting += not streaming
                self._begun[request] = None
                if timer is not None:
                    heapq.heappush(self.timers, timer)
        if known:
            raise _taken(request.id)

    def check_free(self, id: Any) -> None:
        """Check that no request under this id waits for a reply.

        Raises:
            ValueError: a request under this id waits.
        """
        try:
            known = key_of(id) in self._by_caller_key or key_of(id) in self.by_id
        except TypeError:  # an unhashable id: no request has it
            return
        if known:
            raise _taken(id)

    def depart(self, request: Request, id: Any) -> bool:
        """Mark a request as in flight under this id, just before it is written. False if the request has ended.

        Raises:
            Clash: another request has this id.
        """
        key = request if request.match is not None else (bool, id) if type(id) is bool else id
        with self._lock:
            stage = request.stage
            if stage is not WAITING and stage is not STREAMING:
                return False
            clash = self.by_id.get(key, request) is not request or self._by_caller_key.get(key, request) is not request
            if not clash:
                uncounts = stage is STREAMING and request.counts_in_flight and self._is_exempt(request)
                request.id = id
                request.departed = True
                if key is request:
                    self.matches[request] = None
                self.by_id[key] = request
                if uncounts:
                    request.counts_in_flight = False
                    self._uncounted += 1
        if clash:
            raise Clash(f"The id {id!r} is in flight already.")
        return True

    def find(self, id: Any) -> Request | None:
        """Return the request with this id, or None; it stays in flight. I/O thread only."""
        if id is OLDEST:
            with self._lock:
                return next(iter(self.by_id.values()), None)
        try:
            return self.by_id.get((bool, id) if type(id) is bool else id)
        except TypeError:  # an unhashable id: no request has it
            return None

    def matching(self) -> list[Request]:
        """Return the requests in flight that have a match function, oldest first. I/O thread only."""
        return list(self.matches) if self.matches else []

    def take(self, request: Request, outcome: str) -> bool:
        """End a request. True only for the first call for a request; that caller completes the waiter.

        If replies come by order, a request that was written and ends without its reply keeps its position in the order,
        since the reply may still come: until that reply or the end of the connection. ``expire`` returns a cancelled
        one at its deadline.
        """
        keeps_place = self.by_order and outcome is not OK
        timer = self._timer(request) if keeps_place and outcome is CANCELLED else None
        with self._lock:
            stage = request.stage
            if outcome not in TRANSITIONS[stage]:
                return False
            id = request.id
            key = request if request.match is not None else (bool, id) if type(id) is bool else id
            flying = self.by_id.get(key) is request
            if request.caller_key is not None and request.caller_key in self._by_caller_key:
                del self._by_caller_key[request.caller_key]
            if request in self.matches:
                del self.matches[request]
            if not request.counts_in_flight:
                request.counts_in_flight = True
                self._uncounted -= 1
            if flying and not keeps_place:
                del self.by_id[key]
            # The last step commits, without a call: if an interrupt occurs before it, ``take`` can be called again.
            was_waiting = stage is WAITING
            request.stage = outcome
            self.counts[outcome] += was_waiting
            self.waiting -= was_waiting
            del self._begun[request]
            if self.timers and len(self.timers) > 2 * (self.waiting + len(self.by_id)) + _SLACK:
                self._rebuild_timers()
            if flying and timer is not None:
                heapq.heappush(self.timers, timer)
        return True

    def begin_streaming(self, request: Request) -> None:
        """Make a request ``STREAMING`` at the first of many replies: its deadline no longer applies."""
        with self._lock:
            if request.stage is WAITING:
                uncounts = request.departed and request.counts_in_flight and self._is_exempt(request)
                request.stage = STREAMING
                self.waiting -= 1
                self.counts[OK] += 1
                if uncounts:
                    request.counts_in_flight = False
                    self._uncounted += 1

    def drop_place(self, request: Request) -> None:
        """Remove an ended request from the order of replies, because its reply was received or can't come."""
        with self._lock:
            key = _key_in_flight(request)
            if self.by_id.get(key) is request:
                del self.by_id[key]
            if request in self.matches:
                del self.matches[request]

    def end_connection(self) -> list[Request]:
        """Remove all requests from those in flight when the connection has ended, and return them in order."""
        with self._lock:
            removed = list(self.by_id.values())
            self.by_id.clear()
            self.matches.clear()
            for request in removed if self._uncounted else ():
                request.counts_in_flight = True
            self._uncounted = 0
        return removed

    def everything(self) -> list[Request]:
        """Return every request that has not ended, in the order they began; ``STREAMING`` requests last."""
        with self._lock:
            begun = list(self._begun)
        return [one for one in begun if one.stage is WAITING] + [one for one in begun if one.stage is STREAMING]

    def next_deadline(self) -> float | None:
        """Return when ``expire`` should be called next; may be the deadline of a request that has already ended."""
        timers = self.timers
        return timers[0][0] if timers else None

    def expire(self, now: float) -> list[Request]:
        """Return the requests whose deadline has passed, ended or not; each is returned once."""
        due: list[Request] = []
        with self._lock:
            while self.timers and self.timers[0][0] <= now:
                due.append(heapq.heappop(self.timers)[2])
        return due

    def holds_place(self, request: Request) -> bool:
        """Return whether a request that has ended still keeps its position in the order of replies."""
        return request.stage in ENDED and self.by_id.get(_key_in_flight(request)) is request

    def _is_exempt(self, request: Request) -> bool:
        """Return whether it does not count for the limit once it is ``STREAMING``. If replies come by order it always
        counts, since the requests behind it wait for its end.
        """
        return request.feed.endless and not self.by_order

    def _timer(self, request: Request) -> tuple[float, int, Request] | None:
        at = request.deadline.at
        return None if at is None else (at, next(self._numbers), request)  # the number orders equal times

    def _rebuild_timers(self) -> None:
        timers = [timer for timer in self.timers if timer[2].stage is WAITING or self.holds_place(timer[2])]
        heapq.heapify(timers)
        self.timers = timers


def _key_in_flight(request: Request) -> Any:
    """Return the key of a request in ``by_id``: its id, or the request itself if ``match`` finds the reply."""
    return key_of(request.id) if request.match is None else request
