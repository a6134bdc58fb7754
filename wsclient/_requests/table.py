"""Requests that wait for their reply: whose reply is whose, and who may end a request.

Guarantees:
    * A request ends exactly once. Reply, timeout, cancel, loss and close may race; whoever ``take``s the request
      decides, and everyone else is told that it is gone.
    * Nothing in here calls anybody while the lock is held, and nothing scans: look-up, end and the next deadline cost
      the same with ten requests in flight as with a hundred thousand.
    * An interrupt leaves every table whole: critical sections are assignments, and end with their one commit.
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
"""Timers of ended requests that may stay in the heap before it is rebuilt without them."""


class Clash(ValueError):
    """Another request has this id."""


def _taken(id: Any) -> ValueError:
    return ValueError(f"A request with the id {id!r} is in flight already; use another id.")


class RequestTable:
    """The table of requests: those that have not ended, and those in flight.

    Attributes:
        by_id: the requests in flight, by the key of their id, or by themselves where ``match`` finds the reply. The I/O
            thread looks up replies in it; only this class changes it.
        by_order: whether replies are told apart by their order alone.
        counts: requests that have ended, by their final state; one that is ``STREAMING`` has counted as ``OK``.
        waiting: how many are ``WAITING``; for others to look at only.
        matches: those in flight that have a match function. I/O thread reads.
        timers: a heap of deadlines, of requests that have ended too; for others to look at only whether it is empty.
    """

    __slots__ = ("_begun", "_by_caller_key", "_lock", "_numbers", "_uncounted", "by_id", "by_order", "counts",
                 "matches", "timers", "waiting")  # fmt: skip

    def __init__(self, *, by_order: bool = False) -> None:
        """
        Args:
            by_order: replies are told apart by their order alone. A request that was written and then withdrawn keeps
                its place in the row, so that its reply is not taken for another's.
        """
        # Guards all tables and counts below and, of every request, `stage`, `counts_in_flight` and `departed`.
        self._lock = make_lock()
        self.by_order = by_order
        self._begun: dict[Request, None] = {}  # those that have begun and not ended, in their order
        self.waiting = 0
        # In the order they were taken to the line. Where the first is asked for again and again it is an OrderedDict: a
        # dict looks for it past all that have left.
        self.by_id: dict[Any, Request] = OrderedDict() if by_order else {}
        self._uncounted = 0  # how many of those have `counts_in_flight` unset
        self._by_caller_key: dict[Any, Request] = {}  # those with an id of the caller's, queued or in flight
        self.matches: dict[Request, None] = {}
        self.timers: list[tuple[float, int, Request]] = []
        self._numbers = itertools.count()
        self.counts = {OK: 0, FAILED: 0, TIMED_OUT: 0, CANCELLED: 0}

    def keep_order(self) -> None:
        """Replies are told apart by their order, as it turns out."""
        with self._lock:
            self.by_order = True
            self.by_id = OrderedDict(self.by_id)

    @property
    def in_flight(self) -> int:
        """How many requests are on the line and unanswered. A subscription that is ``STREAMING`` is not counted: it may
        stay for ever, and would leave no room for others where their number is bounded.
        """
        return len(self.by_id) - self._uncounted

    @property
    def unfinished(self) -> bool:
        """Whether a drain has to wait: for a reply, or for the end of answers that have one."""
        return bool(self.waiting) or any(not one.feed.endless for one in list(self._begun) if one.stage is STREAMING)

    def add(self, request: Request, *, timed: bool, streaming: bool = False) -> None:
        """A request begins.

        Args:
            request: the request.
            timed: whether ``expire`` ends it; False where the caller's own wait does.
            streaming: whether its first answer is not awaited.

        Raises:
            ValueError: its id is the caller's and waits for a reply already.
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
        """Make sure that no request waits under an id.

        Raises:
            ValueError: one does.
        """
        try:
            known = key_of(id) in self._by_caller_key or key_of(id) in self.by_id
        except TypeError:  # an id that can't be a key: nobody asked under it
            return
        if known:
            raise _taken(id)

    def depart(self, request: Request, id: Any) -> bool:
        """The request is about to be written, under this id. False if nobody waits for it any more.

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
                uncounts = stage is STREAMING and request.counts_in_flight and self._may_stand(request)
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
        """The request a reply with this id is for; the reply stays unused. I/O thread only."""
        if id is OLDEST:
            with self._lock:
                return next(iter(self.by_id.values()), None)
        try:
            return self.by_id.get((bool, id) if type(id) is bool else id)
        except TypeError:  # an id that can't be a key: nobody asked under it
            return None

    def matching(self) -> list[Request]:
        """Requests in flight that have a match function, oldest first. I/O thread only."""
        return list(self.matches) if self.matches else []

    def take(self, request: Request, outcome: str) -> bool:
        """End a request. True for the one caller who may tell its waiter.

        A request answered by order that was written, and ends without its reply, keeps its place: that reply may still
        come. It leaves with it or with the connection; ``expire`` names a cancelled one at its deadline.
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
            # The last step commits, without a call: a thread that was interrupted before may take it again.
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
        """The first of many answers has come: the deadline plays no part from now on."""
        with self._lock:
            if request.stage is WAITING:
                uncounts = request.departed and request.counts_in_flight and self._may_stand(request)
                request.stage = STREAMING
                self.waiting -= 1
                self.counts[OK] += 1
                if uncounts:
                    request.counts_in_flight = False
                    self._uncounted += 1

    def drop_place(self, request: Request) -> None:
        """The reply of a request that was given up has come; its place in the row is free."""
        with self._lock:
            key = _key_in_flight(request)
            if self.by_id.get(key) is request:
                del self.by_id[key]
            if request in self.matches:
                del self.matches[request]

    def end_connection(self) -> list[Request]:
        """The connection is over: the requests that were in flight on it, in order; none is from now on."""
        with self._lock:
            flown = list(self.by_id.values())
            self.by_id.clear()
            self.matches.clear()
            for request in flown if self._uncounted else ():
                request.counts_in_flight = True
            self._uncounted = 0
        return flown

    def everything(self) -> list[Request]:
        """Every request that has not ended, in the order they began; those with many answers last."""
        with self._lock:
            begun = list(self._begun)
        return [one for one in begun if one.stage is WAITING] + [one for one in begun if one.stage is STREAMING]

    def next_deadline(self) -> float | None:
        """The moment ``expire`` should be called next; may name a request that has ended since."""
        timers = self.timers
        return timers[0][0] if timers else None

    def expire(self, now: float) -> list[Request]:
        """Requests whose deadline has passed, ended or not; each is named once."""
        due: list[Request] = []
        with self._lock:
            while self.timers and self.timers[0][0] <= now:
                due.append(heapq.heappop(self.timers)[2])
        return due

    def holds_place(self, request: Request) -> bool:
        """Whether a request that has ended still keeps its place in the row."""
        return request.stage in ENDED and self.by_id.get(_key_in_flight(request)) is request

    def _may_stand(self, request: Request) -> bool:
        """Whether it uses up no room once it is ``STREAMING``; by order, those behind it wait for its end."""
        return request.feed.endless and not self.by_order

    def _timer(self, request: Request) -> tuple[float, int, Request] | None:
        at = request.deadline.at
        return None if at is None else (at, next(self._numbers), request)  # the number keeps equal times apart

    def _rebuild_timers(self) -> None:
        timers = [timer for timer in self.timers if timer[2].stage is WAITING or self.holds_place(timer[2])]
        heapq.heapify(timers)
        self.timers = timers


def _key_in_flight(request: Request) -> Any:
    """Under what it stands among the requests in flight: its id, or itself where ``match`` finds the reply."""
    return key_of(request.id) if request.match is None else request
