"""When ``bench`` sends its requests. Pure: callers pass the time, in nanoseconds of one monotonic clock.

Without ``--rate`` the model is *closed*: a connection sends the next request when a reply has arrived. If the server
stops for a second, the client sends nothing meanwhile, so only the few requests in flight get a long latency. This is
named coordinated omission (Gil Tene, "How NOT to Measure Latency", Strange Loop 2015).

With ``--rate`` the model is *open*: the rate determines the time of each request in advance. The latency is counted
from that time, even if the request was sent later because the connection or this process was busy. wrk2 counts in the
same way (https://github.com/giltene/wrk2, "Acknowledging Coordinated Omission").
"""

from __future__ import annotations

import itertools
from typing import Final, NamedTuple

__all__ = ["ClosedSchedule", "OpenSchedule", "Schedule", "Start", "make_schedule"]

SECOND: Final = 1_000_000_000
"""Nanoseconds in one second."""


class Start(NamedTuple):
    """A request that is to be sent now.

    Attributes:
        at: when it should be sent; its latency is counted from here.
        counts: False during the warm-up.
    """

    at: int
    counts: bool


class Schedule:
    """What all schedules have in common.

    Attributes:
        begin: when the load begins.
        measured_from: when the warm-up ends.
        end: when no request is sent any more; None for no limit.
        stopped_at: when ``stop`` was called; None before.
    """

    def __init__(self, begin: int, *, warmup: float, seconds: float | None, count: int | None) -> None:
        """
        Args:
            begin: when the load begins.
            warmup: seconds before the measurement.
            seconds: length of the measurement; None for no limit.
            count: how many requests to measure; None for no limit.
        """
        self.begin = begin
        self.measured_from = begin + int(warmup * SECOND)
        self.end = None if seconds is None else self.measured_from + int(seconds * SECOND)
        self.stopped_at: int | None = None
        self._count = count

    def stop(self, now: int) -> None:
        """Send no more requests."""
        if self.stopped_at is None:
            self.stopped_at = now

    def next(self, connection: int, sent: int, now: int) -> Start | None:
        """Return the next request of a connection that has room for one; None if there is none now.

        Args:
            connection: the number of the connection, from 0.
            sent: how many requests it has sent.
            now: the time.
        """
        raise NotImplementedError

    def is_over(self, now: int) -> bool:
        """Return whether no request follows."""
        return self.stopped_at is not None or (self.end is not None and now >= self.end)

    def planned(self, now: int) -> int | None:
        """Return how many measured requests were due until now; None if they have no times."""
        return None

    def due(self, number: int) -> int | None:
        """Return when the request with this number is due; None if the requests have no times."""
        return None


class ClosedSchedule(Schedule):
    """A connection sends as soon as it has room."""

    def __init__(self, begin: int, *, warmup: float, seconds: float | None, count: int | None) -> None:
        super().__init__(begin, warmup=warmup, seconds=seconds, count=count)
        self._tickets = itertools.count()  # several threads share it, since `next()` on it is atomic
        self._is_used_up = False

    def next(self, connection: int, sent: int, now: int) -> Start | None:
        """Return a request that is due now, until the end."""
        if self.stopped_at is not None or (self.end is not None and now >= self.end):
            return None
        counts = now >= self.measured_from
        if counts and self._count is not None and next(self._tickets) >= self._count:
            self._is_used_up = True
            return None
        return Start(now, counts)

    def is_over(self, now: int) -> bool:
        """Return whether no request follows."""
        return self._is_used_up or super().is_over(now)


class OpenSchedule(Schedule):
    """Requests at a fixed rate, the connections in turns.

    Request ``n`` is due ``n / rate`` seconds after the beginning, and belongs to connection ``n % connections``.
    """

    def __init__(
        self,
        begin: int,
        *,
        warmup: float,
        seconds: float | None,
        count: int | None,
        rate: float,
        connections: int,
    ) -> None:
        """
        Args:
            begin, warmup, seconds, count: as for ``Schedule``.
            rate: requests per second on all connections together.
            connections: how many there are.
        """
        super().__init__(begin, warmup=warmup, seconds=seconds, count=count)
        self._rate = rate
        self._connections = connections
        self._first = self._numbers_until(self.measured_from)
        last = None if self.end is None else self._numbers_until(self.end)
        if count is not None:
            last = self._first + count if last is None else min(last, self._first + count)
        self._last = last

    def due(self, number: int) -> int | None:
        """Return when a request is due; None after the last one."""
        if self._last is not None and number >= self._last:
            return None
        return self._time_of(number)

    def next(self, connection: int, sent: int, now: int) -> Start | None:
        """Return the next request of the connection if it is due."""
        number = connection + sent * self._connections
        at = self.due(number)
        if at is None or at > now or super().is_over(now):
            return None
        return Start(at, number >= self._first)

    def is_over(self, now: int) -> bool:
        """Return whether no request becomes due any more. A request that is due may still wait to be sent."""
        last = None if self._last is None else self._time_of(self._last - 1)
        return (last is not None and now > last) or super().is_over(now)

    def planned(self, now: int) -> int:
        """Return how many measured requests were due until now."""
        until = now if self.stopped_at is None else min(now, self.stopped_at)
        numbers = self._numbers_until(until + 1)
        return max(0, (numbers if self._last is None else min(numbers, self._last)) - self._first)

    def _time_of(self, number: int) -> int:
        return self.begin + int(number / self._rate * SECOND)

    def _numbers_until(self, time: int) -> int:
        """How many requests are due before a time."""
        number = max(0, int((time - self.begin) * self._rate / SECOND))  # rounded down, so never too large
        while self._time_of(number) < time:
            number += 1
        return number


def make_schedule(
    begin: int,
    *,
    warmup: float,
    seconds: float | None,
    count: int | None,
    rate: float | None,
    connections: int,
) -> Schedule:
    """Return the schedule for the options of the command; see the classes."""
    if rate is None:
        return ClosedSchedule(begin, warmup=warmup, seconds=seconds, count=count)
    return OpenSchedule(begin, warmup=warmup, seconds=seconds, count=count, rate=rate, connections=connections)
