"""The table of a client's requests. It contains the requests that have not ended, with the connection on which each is
in flight, and ends each request once. Replies are looked up in the ``WrittenRequests`` of their connection.

Guarantees:
    * A request ends exactly once. Reply, timeout, cancel, loss and close may race: ``end`` returns True to the first
      of them, whose outcome counts, and False to the others.
    * No callback is called while the lock is held. Three steps do not scan the requests: look-up, end, and reading the
      next deadline. So their cost does not depend on the number of requests in flight. Only rare steps scan:
      ``everything``, ``unfinished`` (during a drain), ``is_busy`` (while a renewal replaces a connection),
      ``keep_order`` (once), the end of a connection, and ``_rebuild_timers`` (only while more than half of the timers
      are of ended requests).
    * ``hand_over`` takes no lock, for calls inside a critical section, as by a finalizer (see ``_threads.sections``).
      The next call of ``add``, ``assign_id``, ``end``, ``everything`` or ``take_handed_over`` first adds the request.
    * An interrupt leaves every table consistent. In a critical section, the last steps, which end or add the request,
      are assignments, and no interrupt occurs between these. Only the heap of timers is changed after them.
"""

from __future__ import annotations

import heapq
import itertools
from typing import Any, Final

from .._threads.locks import make_lock
from .._threads.sections import this_thread
from .request import CANCELLED, ENDED, FAILED, NEW, OK, STREAMING, TIMED_OUT, TRANSITIONS, WAITING, Request, key_of
from .written import WrittenRequests

__all__ = ["Clash", "RequestTable"]

_SLACK: Final = 64
"""The number of timers of ended requests that may stay in the heap before it is rebuilt without them."""

_GIVEN_UP: Final = 1000
"""The number of requests without a reply whose ids are remembered, to recognise their late replies."""


class Clash(ValueError):
    """Another request has this id."""


def _taken(id: Any) -> ValueError:
    return ValueError(f"A request with the id {id!r} is in flight already; use another id.")


class RequestTable:
    """The requests of one client that have not ended. Those in flight are also in the ``WrittenRequests`` of their
    connection, which ``new_connection`` makes.

    Attributes:
        by_order: whether replies are correlated by their order alone.
        counts: requests that have ended, by their final state. A request that becomes ``STREAMING`` is counted as
            ``OK`` at that moment; one that began as ``STREAMING`` is not counted.
        waiting: the number of ``WAITING`` requests; other classes only read it.
        timers: a heap of deadlines, some of requests that have ended; other classes only check whether it is empty.
        handed_over: requests that were added without the lock, each with whether it is timed and whether it starts as
            ``STREAMING``; other classes only check whether it is empty.
    """

    __slots__ = ("_begun", "_by_caller_key", "_connections", "_given_up", "_lock", "_numbers", "by_order", "counts",
                 "handed_over", "timers", "waiting")  # fmt: skip

    def __init__(self, *, by_order: bool = False) -> None:
        """
        Args:
            by_order: replies are correlated by their order alone. A request that was written and then withdrawn keeps
                its position in the order, so that its reply is not assigned to another request.
        """
        # Guards all tables and counts below, every `WrittenRequests`, and `stage`, `counts_in_flight` and `written_on`
        # of every request (`written_on` only until the connection has ended).
        self._lock = make_lock()
        self.by_order = by_order
        self._begun: dict[Request, None] = {}  # requests that have begun and not ended, in this order
        self.waiting = 0
        self._by_caller_key: dict[Any, Request] = {}  # requests with an id from the caller, queued or in flight
        self._given_up: dict[Any, None] = {}  # ids of the latest written requests that have ended without a reply
        self._connections: tuple[WrittenRequests, ...] = ()  # of connections that have not ended; replaced as a whole
        self.timers: list[tuple[float, int, Request]] = []
        self._numbers = itertools.count()
        self.counts = {OK: 0, FAILED: 0, TIMED_OUT: 0, CANCELLED: 0}
        self.handed_over: dict[Request, tuple[bool, bool]] = {}  # not guarded: each step is one atomic operation

    def keep_order(self) -> None:
        """Switch to correlation by order alone.

        Called when the protocol returns the first reply with the id ``OLDEST``.
        """
        with this_thread.section, self._lock:
            self.by_order = True
            for connection in self._connections:
                connection.keep_order()

    def new_connection(self, number: int) -> WrittenRequests:
        """Make the table of the requests that are written on a new connection, until ``end_connection``.

        Args:
            number: the connection's number.
        """
        with this_thread.section, self._lock:
            written = WrittenRequests(number, self._lock, by_order=self.by_order)
            self._connections = (*self._connections, written)
        return written

    @property
    def in_flight(self) -> int:
        """The number of requests that are in flight on all connections, see ``WrittenRequests.in_flight``."""
        return sum(connection.in_flight for connection in self._connections)

    @property
    def unfinished(self) -> bool:
        """Whether a drain has to wait: for a reply, or for the end of a finite stream of replies."""
        return bool(self.waiting or self.handed_over) or any(
            not one.feed.endless for one in list(self._begun) if one.stage is STREAMING
        )

    def add(self, request: Request, *, timed: bool, streaming: bool = False) -> None:
        """Add a request to the table.

        Args:
            request: the request.
            timed: whether ``expire`` returns it at its deadline, to be ended; False if the thread that waits for it
                ends it.
            streaming: whether it starts as ``STREAMING``, without a wait for the first reply.

        Raises:
            ValueError: the caller gave its id, and another request under this id waits for a reply.
        """
        key = request.caller_key
        timer = self._timer(request) if timed else None
        with this_thread.section, self._lock:
            if self.handed_over:
                self._take_handed_over()
            known = key is not None and self._is_known(key)
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

    def start_timer(self, request: Request) -> None:
        """Set the timer of a request whose deadline was set after ``add``, so that ``expire`` returns it."""
        timer = self._timer(request)
        if timer is not None:
            with this_thread.section, self._lock:
                heapq.heappush(self.timers, timer)

    def hand_over(self, request: Request, *, timed: bool, streaming: bool = False) -> None:
        """Add a request without the lock, for calls inside a critical section (see ``_threads.sections``).

        Args: see ``add``.

        Raises:
            ValueError: as ``add``. If another thread adds a request with this id at the same moment, this request ends
                with an error when it is about to be written.
        """
        if request.caller_key is not None and self._is_known(request.caller_key):
            raise _taken(request.id)
        self.handed_over[request] = timed, streaming

    def take_handed_over(self) -> None:
        """Add the requests that were handed over, so that their deadlines are among ``timers``."""
        with this_thread.section, self._lock:
            self._take_handed_over()

    def check_free(self, id: Any) -> None:
        """Check that no request under this id waits for a reply.

        Raises:
            ValueError: a request under this id waits.
        """
        try:
            known = self._is_known(key_of(id))
        except TypeError:  # an unhashable id: no request has it
            return
        if known:
            raise _taken(id)

    def assign_id(self, request: Request, id: Any, written: WrittenRequests) -> bool:
        """Record that a request is in flight on a connection, just before it is written. False if it has ended.

        Args:
            request: the request. If it is not in the table yet, it is added, as ``WAITING`` and without a timer.
            id: the id under which it is written.
            written: the requests in flight on this connection.

        Raises:
            Clash: another request on this connection has this id, or a caller gave it to another request.
        """
        key = request if request.match is not None else (bool, id) if type(id) is bool else id
        with self._lock:  # the writer calls this, inside the section of its write lock
            if self.handed_over:
                self._take_handed_over()
            stage = request.stage
            if stage in ENDED:
                return False
            by_id = written.by_id
            clash = (key in by_id and by_id[key] is not request) or (
                key in self._by_caller_key and self._by_caller_key[key] is not request
            )
            if not clash:
                is_exempt = stage is STREAMING and request.counts_in_flight and self._is_exempt(request)
                is_new = stage is NEW
                counts = request.counts_in_flight and not is_exempt
                stage = WAITING if is_new else stage
                # No conditions between these assignments: Python 3.10 can raise an interrupt where it jumps.
                request.id = id
                request.written_on = written
                by_id[key] = request
                written.uncounted += is_exempt
                request.counts_in_flight = counts
                request.stage = stage
                self.waiting += is_new
                self._begun[request] = None
                if key is request:
                    written.matches[request] = None
        if clash:
            raise Clash(f"Another request with the id {id!r} is in flight.")
        return True

    def end(self, request: Request, outcome: str) -> bool:
        """End a request. True only for the first call for a request; that caller completes the waiter.

        If replies are correlated by order, a request that was written and ends without its reply keeps its position
        until its reply comes or the connection ends. If a cancelled request still keeps its position at its deadline,
        ``expire`` returns it.
        """
        keeps_position = self.by_order and outcome is not OK
        timer = None
        with this_thread.section, self._lock:
            if self.handed_over:
                self._take_handed_over()
            stage = request.stage
            if outcome not in TRANSITIONS[stage]:
                return False
            if request.caller_key is not None and self._by_caller_key.get(request.caller_key) is request:
                del self._by_caller_key[request.caller_key]
            written = request.written_on
            if written is not None:
                id = request.id
                key = request if request.match is not None else (bool, id) if type(id) is bool else id
                by_id = written.by_id
                if key in by_id and by_id[key] is request:
                    if not keeps_position:
                        del by_id[key]
                    elif outcome is CANCELLED:
                        timer = self._timer(request)
                if key is request:
                    written.matches.pop(request, None)
                elif outcome is not OK:
                    self._given_up[key] = None
                    if len(self._given_up) > _GIVEN_UP:
                        del self._given_up[next(iter(self._given_up))]
                if not request.counts_in_flight:
                    request.counts_in_flight = True
                    written.uncounted -= 1
            # The next assignments end the request. If an interrupt occurs before them, ``end`` can be called again.
            request.stage = outcome
            self.counts[outcome] += stage is not STREAMING
            self.waiting -= stage is WAITING
            if stage is not NEW:
                del self._begun[request]
            if self.timers and len(self.timers) > 2 * (self.waiting + (len(written.by_id) if written else 0)) + _SLACK:
                self._rebuild_timers()
            if timer is not None:
                heapq.heappush(self.timers, timer)
        return True

    def is_late(self, id: Any) -> bool:
        """Return whether a reply with this id is late: its request was written and has ended without a reply. Only the
        last ``_GIVEN_UP`` such requests are known. I/O thread only.
        """
        try:
            return key_of(id) in self._given_up
        except TypeError:  # an unhashable id: no request had it
            return False

    def begin_streaming(self, request: Request) -> None:
        """Make a request ``STREAMING`` at the first of many replies: its deadline no longer applies."""
        with this_thread.section, self._lock:
            if request.stage is WAITING:
                written = request.written_on
                is_exempt = written is not None and request.counts_in_flight and self._is_exempt(request)
                request.stage = STREAMING
                self.waiting -= 1
                self.counts[OK] += 1
                if is_exempt:
                    request.counts_in_flight = False
                    written.uncounted += 1

    def drop_position(self, request: Request) -> None:
        """Remove an ended request from the order of replies, because its reply was received or can't come."""
        with this_thread.section, self._lock:
            written, key = request.written_on, _key_in_flight(request)
            if written is not None and written.by_id.get(key) is request:
                del written.by_id[key]
            if written is not None and request in written.matches:
                del written.matches[request]

    def end_connection(self, written: WrittenRequests) -> list[Request]:
        """When a connection has ended, remove its requests from those in flight, and return them in order."""
        with this_thread.section, self._lock:
            self._connections = tuple(one for one in self._connections if one is not written)
            removed = list(written.by_id.values())
            written.by_id.clear()
            written.matches.clear()
            for request in removed if written.uncounted else ():
                request.counts_in_flight = True
            written.uncounted = 0
        return removed

    def is_busy(self, written: WrittenRequests) -> bool:
        """Return whether a request is in flight on this connection, apart from subscriptions that are ``STREAMING``."""
        with this_thread.section, self._lock:
            return any(one.stage is not STREAMING or not one.feed.endless for one in written.by_id.values())

    def everything(self) -> list[Request]:
        """Return every request that has not ended, in the order they began; ``STREAMING`` requests last."""
        with this_thread.section, self._lock:
            if self.handed_over:
                self._take_handed_over()
            begun = list(self._begun)
        return [one for one in begun if one.stage is WAITING] + [one for one in begun if one.stage is STREAMING]

    def next_deadline(self) -> float | None:
        """Return when ``expire`` should be called next; may be the deadline of a request that has already ended."""
        timers = self.timers
        return timers[0][0] if timers else None

    def expire(self, now: float) -> list[Request]:
        """Return the requests whose deadline has passed, ended or not, and remove their timers."""
        due: list[Request] = []
        with this_thread.section, self._lock:
            while self.timers and self.timers[0][0] <= now:
                due.append(heapq.heappop(self.timers)[2])
        return due

    def holds_position(self, request: Request) -> bool:
        """Return whether a request that has ended still keeps its position in the order of replies."""
        written = request.written_on
        return request.stage in ENDED and written is not None and written.by_id.get(_key_in_flight(request)) is request

    def _take_handed_over(self) -> None:
        """Add the requests that were handed over. The caller holds the lock."""
        # list() copies the keys without running the garbage collector. A finalizer could otherwise hand over a further
        # request during the iteration.
        for request in list(self.handed_over):
            timed, streaming = self.handed_over[request]
            key = request.caller_key
            if key is not None and not self._is_known(key):
                self._by_caller_key[key] = request
            timer = self._timer(request) if timed else None
            if timer is not None:
                heapq.heappush(self.timers, timer)  # after an interrupt here it is pushed again, which does no harm
            # The next lines call nothing, so an interrupt occurs before or after them.
            del self.handed_over[request]
            request.stage = STREAMING if streaming else WAITING
            self.waiting += not streaming
            self._begun[request] = None

    def _is_known(self, key: Any) -> bool:
        """Return whether a request with an id from its caller, or one in flight on any connection, has this key."""
        return key in self._by_caller_key or any(key in connection.by_id for connection in self._connections)

    def _is_exempt(self, request: Request) -> bool:
        """Return whether a request does not count for the limit of requests in flight once it is ``STREAMING``. If
        replies are correlated by order it always counts, since the requests behind it wait for its end.
        """
        return request.feed.endless and not self.by_order

    def _timer(self, request: Request) -> tuple[float, int, Request] | None:
        at = request.deadline.at
        # Timers with the same time are sorted by the number.
        return None if at is None else (at, next(self._numbers), request)

    def _rebuild_timers(self) -> None:
        if len(self.timers) <= 2 * (self.waiting + sum(len(one.by_id) for one in self._connections)) + _SLACK:
            return  # not too large: `end` counts the requests of one connection, this line those of all connections
        timers = [timer for timer in self.timers if timer[2].stage is WAITING or self.holds_position(timer[2])]
        heapq.heapify(timers)
        self.timers = timers


def _key_in_flight(request: Request) -> Any:
    """Return its key in ``WrittenRequests.by_id``: its id, or the request itself if ``match`` finds the reply."""
    return key_of(request.id) if request.match is None else request
