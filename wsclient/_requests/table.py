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
from typing import Any

from .._threads.locks import make_lock
from ..protocols._incoming import OLDEST
from .request import CANCELLED, FAILED, OK, TIMED_OUT, Request, key_of

__all__ = ["Clash", "Pending"]

_SLACK = 64
"""Timers of ended requests that may stay in the heap before it is rebuilt without them."""


class Clash(ValueError):
    """Another request has this id."""


def _taken(id: Any) -> ValueError:
    return ValueError(f"A request with the id {id!r} is in flight already; use another id.")


def _key_in_flight(request: Request) -> Any:
    """Under what it stands among the requests in flight: its id, or itself where ``match`` finds the reply."""
    return request.key if request.match is None else request


class Pending:
    """Every request that waits.

    Attributes:
        by_order: whether replies are told apart by their order alone.
        counts: requests that have ended, by outcome.
        live: those that wait for their reply; to look at only.
        matches: those in flight that have a match function. I/O thread reads.
        timers: a heap of deadlines, of requests that have ended too; for others to look at only whether it is empty.
    """

    __slots__ = ("_calm", "_in_flight", "_lock", "_numbers", "_own", "_standing", "by_order", "counts",
                 "live", "matches", "timers")  # fmt: skip

    def __init__(self, *, by_order: bool = False) -> None:
        """
        Args:
            by_order: replies are told apart by their order alone. A request that was written and then withdrawn keeps
                its place in the row, so that its reply is not taken for another's.
        """
        # Guards all tables below and every request's `outcome`.
        self._lock = make_lock()
        self.by_order = by_order
        self.live: dict[Request, None] = {}
        self._calm: dict[Request, None] = {}  # those whose answers may come or not: nobody waits, no time is over
        # In the order they were taken to the line. Where the first is asked for again and again it is an OrderedDict: a
        # dict looks for it past all that have left.
        self._in_flight: dict[Any, Request] = OrderedDict() if by_order else {}
        self._standing: dict[Request, None] = {}  # those in flight that are calm and have no end: they use up no room
        self._own: dict[Any, Request] = {}  # ids the callers chose, queued or in flight
        self.timers: list[tuple[float, int, Request]] = []
        self._numbers = itertools.count()
        self.matches: dict[Request, None] = {}
        self.counts = {OK: 0, FAILED: 0, TIMED_OUT: 0, CANCELLED: 0}

    def keep_order(self) -> None:
        """Replies are told apart by their order, as it turns out."""
        with self._lock:
            self.by_order = True
            self._in_flight = OrderedDict(self._in_flight)

    @property
    def waiting(self) -> bool:
        """Whether any request waits."""
        return bool(self.live)

    @property
    def in_flight(self) -> int:
        """How many requests are on the line and unanswered. A subscription whose first answer came, or that awaits
        none, is not counted: it may stay for ever, and would leave no room for others where their number is bounded.
        """
        return len(self._in_flight) - len(self._standing)

    @property
    def unfinished(self) -> bool:
        """Whether a drain has to wait: for a reply, or for the end of answers that have one."""
        return bool(self.live) or any(not request.feed.endless for request in list(self._calm))

    def add(self, request: Request, *, timed: bool, calm: bool = False) -> None:
        """A request begins to wait.

        Args:
            request: the request.
            timed: whether ``expire`` ends it; False where the caller's own wait does.
            calm: whether nobody waits for its first answer.

        Raises:
            ValueError: its id is the caller's and waits for a reply already.
        """
        timer = self._timer(request) if timed else None
        with self._lock:
            known = request.own is not None and (request.own in self._own or request.own in self._in_flight)
            if not known:
                if request.own is not None:
                    self._own[request.own] = request
                (self._calm if calm else self.live)[request] = None
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
            known = key_of(id) in self._own or key_of(id) in self._in_flight
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
            calm = request in self._calm
            if not calm and request not in self.live:
                return False
            clash = self._in_flight.get(key, request) is not request or self._own.get(key, request) is not request
            if not clash:
                request.id = id
                request.departed = True
                if key is request:
                    self.matches[request] = None
                else:  # it would hold itself
                    request.key = key
                self._in_flight[key] = request
                if calm and self._may_stand(request):
                    self._standing[request] = None
        if clash:
            raise Clash(f"The id {id!r} is in flight already.")
        return True

    def find(self, id: Any) -> Request | None:
        """The request a reply with this id is for; the reply stays unused. I/O thread only."""
        if id is OLDEST:
            with self._lock:
                return next(iter(self._in_flight.values()), None)
        try:
            return self._in_flight.get((bool, id) if type(id) is bool else id)
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
            key = request.key if request.match is None else request
            flying = self._in_flight.get(key) is request
            live = request in self.live
            if not live and (outcome is TIMED_OUT or request not in self._calm):
                return False
            waiting = self.live if live else self._calm
            if request.own is not None and request.own in self._own:
                del self._own[request.own]
            if request in self.matches:
                del self.matches[request]
            if request in self._standing:
                del self._standing[request]
            if flying and not keeps_place:
                del self._in_flight[key]
            # Last, so that whoever was interrupted before may take it anew.
            request.outcome = outcome
            self.counts[outcome] += live
            del waiting[request]
            if self.timers and len(self.timers) > 2 * (len(self.live) + len(self._in_flight)) + _SLACK:
                self._rebuild_timers()
            if flying and timer is not None:
                heapq.heappush(self.timers, timer)
        return True

    def is_calm(self, request: Request) -> bool:
        """Whether nobody waits for its first answer."""
        return request in self._calm

    def calm(self, request: Request) -> None:
        """The first of many answers has come: nobody waits any more, and time plays no part."""
        with self._lock:
            if request in self.live:
                del self.live[request]
                self._calm[request] = None
                self.counts[OK] += 1
                if request.departed and self._may_stand(request):
                    self._standing[request] = None

    def drop_place(self, request: Request) -> None:
        """The reply of a request that was given up has come; its place in the row is free."""
        with self._lock:
            key = _key_in_flight(request)
            if self._in_flight.get(key) is request:
                del self._in_flight[key]
            if request in self.matches:
                del self.matches[request]

    def end_connection(self) -> list[Request]:
        """The connection is over: the requests that were in flight on it, in order; none is from now on."""
        with self._lock:
            flown = list(self._in_flight.values())
            self._in_flight.clear()
            self.matches.clear()
            self._standing.clear()
        return flown

    def everything(self) -> list[Request]:
        """Every request that has not ended, in the order they began; those with many answers last."""
        with self._lock:
            return [*self.live, *self._calm]

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
        return request.outcome is not None and self._in_flight.get(_key_in_flight(request)) is request

    def _may_stand(self, request: Request) -> bool:
        """Whether it uses up no room once it is calm; by order, what is behind it in the row must wait for its end."""
        return request.feed.endless and not self.by_order

    def _timer(self, request: Request) -> tuple[float, int, Request] | None:
        at = request.deadline.at
        return None if at is None else (at, next(self._numbers), request)  # the number keeps equal times apart

    def _rebuild_timers(self) -> None:
        timers = [timer for timer in self.timers if timer[2] in self.live or self.holds_place(timer[2])]
        heapq.heapify(timers)
        self.timers = timers
