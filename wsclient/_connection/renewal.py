"""When a connection is renewed: the triggers, and the state of a renewal. Nothing here waits or reads a clock.

A renewal opens a second connection while the first one is still served, and lets the second one take over. With
``overlap=0`` it closes the first one before it opens the next. ``Renewal`` decides when an attempt begins.
``Supervisor`` makes the attempt, and reports each event to the ``Renewal``.

Guarantees:
    * A trigger during a renewal is merged into it: there is one attempt at a time. While a replaced connection is still
      served, a further trigger waits for its end, so there are never more than two connections.
    * ``jitter`` never delays the renewal before an expiry; it only makes this renewal earlier.

Not thread-safe: the I/O thread owns the ``Renewal``. ``RenewalCalls`` is for any thread.
"""

from __future__ import annotations

import enum
import logging
import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from .._options import LATEST, Renew
from .._threads.waiting import Waiter

if TYPE_CHECKING:
    from .._threads.log import ClientLog

__all__ = ["TRANSITIONS", "Event", "Renewal", "RenewalCalls", "RenewalPhase"]

_ASK_AGAIN: Final = 1.0
"""Seconds between two calls of ``Renew.when``."""


class RenewalPhase(enum.Enum):
    """The states of a renewal."""

    IDLE = enum.auto()
    """No renewal is due."""
    PENDING = enum.auto()
    """A trigger has occurred; the attempt begins when ``Renew.when`` returns True, at the latest at ``latest``."""
    ATTEMPT = enum.auto()
    """A second connection is being opened and set up."""
    BACKING_OFF = enum.auto()
    """An attempt has failed; the next one follows after a delay."""
    REFUSED = enum.auto()
    """An attempt has failed, and no further one is made for this connection, unless ``renew()`` is called."""
    OVERLAP = enum.auto()
    """The new connection has taken over; the replaced one is still served."""
    REPLACING = enum.auto()
    """With ``overlap=0``: requests in flight are awaited, then the connection is closed, and another one opened."""


class Event(enum.Enum):
    """The causes of transitions."""

    TRIGGERED = enum.auto()
    """A timer is due, ``Renew.on`` has accepted a message, the connection is quiet, or ``renew()`` was called."""
    BEGUN = enum.auto()
    """An attempt begins."""
    CLOSING = enum.auto()
    """The renewal begins, with ``overlap=0``."""
    FAILED = enum.auto()
    """An attempt failed, and another one is made."""
    REFUSED = enum.auto()
    """An attempt failed, and no other one is made."""
    SWITCHED = enum.auto()
    """The new connection has taken over."""
    OVERLAP_ENDED = enum.auto()
    """The replaced connection has ended."""
    CANCELLED = enum.auto()
    """``reconnect()``, ``close()`` or ``drain()`` was called."""
    OPENED = enum.auto()
    """A connection opened while there was no other: the first, one after a loss, or the next with ``overlap=0``."""
    LOST = enum.auto()
    """The present connection has ended. An attempt that runs continues as a reconnect."""


TRANSITIONS: Final[dict[RenewalPhase, dict[Event, RenewalPhase]]] = {
    RenewalPhase.IDLE: {
        Event.TRIGGERED: RenewalPhase.PENDING,
        Event.CANCELLED: RenewalPhase.IDLE,
        Event.OPENED: RenewalPhase.IDLE,
        Event.LOST: RenewalPhase.IDLE,
    },
    RenewalPhase.PENDING: {
        Event.TRIGGERED: RenewalPhase.PENDING,
        Event.BEGUN: RenewalPhase.ATTEMPT,
        Event.CLOSING: RenewalPhase.REPLACING,
        Event.CANCELLED: RenewalPhase.IDLE,
        Event.OPENED: RenewalPhase.IDLE,
        Event.LOST: RenewalPhase.IDLE,
    },
    RenewalPhase.ATTEMPT: {
        Event.TRIGGERED: RenewalPhase.ATTEMPT,
        Event.FAILED: RenewalPhase.BACKING_OFF,
        Event.REFUSED: RenewalPhase.REFUSED,
        Event.SWITCHED: RenewalPhase.OVERLAP,
        Event.CANCELLED: RenewalPhase.IDLE,
        Event.LOST: RenewalPhase.IDLE,
    },
    RenewalPhase.BACKING_OFF: {
        Event.TRIGGERED: RenewalPhase.BACKING_OFF,
        Event.BEGUN: RenewalPhase.ATTEMPT,
        Event.CANCELLED: RenewalPhase.IDLE,
        Event.OPENED: RenewalPhase.IDLE,
        Event.LOST: RenewalPhase.IDLE,
    },
    RenewalPhase.REFUSED: {
        Event.TRIGGERED: RenewalPhase.PENDING,
        Event.CANCELLED: RenewalPhase.IDLE,
        Event.OPENED: RenewalPhase.IDLE,
        Event.LOST: RenewalPhase.IDLE,
    },
    RenewalPhase.OVERLAP: {
        Event.TRIGGERED: RenewalPhase.OVERLAP,
        Event.OVERLAP_ENDED: RenewalPhase.IDLE,
        Event.CANCELLED: RenewalPhase.OVERLAP,
        Event.OPENED: RenewalPhase.OVERLAP,
        Event.LOST: RenewalPhase.OVERLAP,
    },
    RenewalPhase.REPLACING: {
        Event.TRIGGERED: RenewalPhase.REPLACING,
        Event.CANCELLED: RenewalPhase.IDLE,
        Event.OPENED: RenewalPhase.IDLE,
        Event.LOST: RenewalPhase.REPLACING,
    },
}
"""For each state, the state that follows each event; any other pair is a defect of this package."""


class Trigger(NamedTuple):
    """Why a renewal is due.

    Attributes:
        reason: passed to ``on_renew``.
        latest: the time at which the attempt begins in any case.
        url: the URL of the first attempt; None for the client's own.
    """

    reason: str
    latest: float
    url: str | None = None


class Timer(NamedTuple):
    """A trigger that occurs at a certain time.

    Attributes:
        at: the time.
        reason: passed to ``on_renew``.
        expires_at: when the connection can't be used any more; infinity if nothing expires.
    """

    at: float
    reason: str
    expires_at: float


class Renewal:
    """The renewals of one client.

    Attributes:
        options: the option ``renew``; its defaults if it was not given.
        phase: the state.
        trigger: why the present renewal takes place; None in IDLE.
        is_used: whether a timer or a trigger has existed; while it is False, nothing here needs to be called.
        retry_at: when the next attempt follows, in BACKING_OFF.
    """

    __slots__ = ("_asked_at", "_has_raised", "_later", "_log", "_random", "_timers", "is_used", "options", "phase",
                 "retry_at", "trigger")  # fmt: skip

    def __init__(
        self, renew: Renew | None, log: ClientLog, random_fraction: Callable[[], float] = random.random
    ) -> None:
        """
        Args:
            renew: the option; None renews only when ``renew()`` is called.
            log: the client's log.
            random_fraction: returns a random number from 0 to below 1, for ``jitter``.
        """
        self.options = Renew() if renew is None else renew
        self.phase = RenewalPhase.IDLE
        self.trigger: Trigger | None = None
        self.is_used = False
        self.retry_at = math.inf
        self._log = log
        self._random = random_fraction
        self._timers: list[Timer] = []  # of the present connection
        self._later: Trigger | None = None  # a trigger in OVERLAP
        self._asked_at = -math.inf
        self._has_raised = False

    def opened(self, now: float, lifetimes: list[tuple[float, float]]) -> None:
        """Set the timers of a connection that has just opened.

        Args:
            now: the time on the monotonic clock.
            lifetimes: for each value that expires, when it was returned, and for how many seconds it is valid.
        """
        options = self.options
        self._timers = []
        if options.every is not None:
            factor = 1.0 + options.jitter * (2.0 * self._random() - 1.0)
            self._timers.append(Timer(now + options.every * factor, "every", math.inf))
        for returned_at, expires_in in lifetimes:
            seconds = expires_in - min(options.before_expiry, expires_in / 2.0)
            seconds *= 1.0 - options.jitter * self._random()
            self._timers.append(Timer(returned_at + seconds, "expiry", returned_at + expires_in))
        self.is_used = self.is_used or bool(self._timers)

    def order(self, reason: str, now: float, *, expires_at: float = math.inf, url: str | None = None) -> None:
        """Begin a renewal, unless one has begun. While a renewal waits for ``Renew.when``, a further order may end this
        wait sooner; if the order has a URL, the first attempt uses it. While a replaced connection is served, store the
        order for later.

        Args:
            reason: passed to ``on_renew``.
            now: the time on the monotonic clock.
            expires_at: the time after which the connection can't be used any more.
            url: the URL of the first attempt.
        """
        latest = self.options.latest
        if latest is None:
            latest = LATEST if expires_at == math.inf else max(0.0, expires_at - now)
        trigger = Trigger(reason, now + latest, url)
        self.is_used = True
        if self.phase is RenewalPhase.OVERLAP:
            self._later = self._later or trigger
        elif self.phase in (RenewalPhase.IDLE, RenewalPhase.REFUSED):
            self.trigger = trigger
            self._asked_at = -math.inf
        elif self.phase is RenewalPhase.PENDING and self.trigger is not None:
            sooner = min(self.trigger.latest, trigger.latest)
            self.trigger = self.trigger._replace(latest=sooner, url=self.trigger.url if url is None else url)
        self.move(Event.TRIGGERED)

    def is_due(self, now: float) -> bool:
        """Return whether an attempt is to begin now. It may call ``Renew.when``."""
        if self.phase in (RenewalPhase.IDLE, RenewalPhase.PENDING):
            due = min(self._timers, default=None)
            if due is not None and now >= due.at:
                self._timers.remove(due)
                self.order(due.reason, now, expires_at=due.expires_at)
        if self.phase is RenewalPhase.BACKING_OFF:
            return now >= self.retry_at
        if self.phase is not RenewalPhase.PENDING or self.trigger is None:
            return False
        if self.options.when is None or now >= self.trigger.latest:
            return True
        if now < self._asked_at + _ASK_AGAIN:
            return False
        self._asked_at = now
        return self._may_begin(self.options.when)

    def next_at(self) -> float:
        """Return when ``is_due`` may become true, or must be called again; infinity for never."""
        if self.phase is RenewalPhase.IDLE:
            return min(self._timers).at if self._timers else math.inf
        if self.phase is RenewalPhase.BACKING_OFF:
            return self.retry_at
        if self.phase is RenewalPhase.PENDING and self.trigger is not None:
            timers = [timer.at for timer in self._timers]
            return min(self.trigger.latest, self._asked_at + _ASK_AGAIN, *timers)
        return math.inf

    def take_url(self) -> str | None:
        """Return the URL that ``Renew.on`` returned for the next attempt, once; None if there is none."""
        trigger = self.trigger
        if trigger is None or trigger.url is None:
            return None
        self.trigger = trigger._replace(url=None)
        return trigger.url

    def move(self, event: Event) -> None:
        """Make the transition of an event.

        Raises:
            RuntimeError: the table has no such transition; a defect of this package.
        """
        after = TRANSITIONS[self.phase].get(event)
        if after is None:
            raise RuntimeError(f"A renewal can't leave {self.phase.name} at {event.name}; please report this.")
        self.phase = after
        if event is Event.OVERLAP_ENDED and self._later is not None:
            self.trigger, self._later = self._later, None
            self.phase = TRANSITIONS[after][Event.TRIGGERED]
        elif event in (Event.LOST, Event.CANCELLED, Event.OPENED):
            self._timers = []
            self._later = None
        if self.phase is RenewalPhase.IDLE:
            self.trigger = None

    def _may_begin(self, when: Callable[[], bool]) -> bool:
        """Return the result of ``Renew.when``; True if it raises."""
        try:
            return bool(when())
        except BaseException as error:  # SystemExit too: it must not end the client
            if not self._has_raised:
                self._has_raised = True
                self._log.write(
                    logging.ERROR, "Renew.when raised %s; it counts as True.", type(error).__name__, error=error
                )
            return True


class RenewalCalls:
    """The calls of ``renew()``, and the threads that wait for the result.

    Guarantees:
        * Any thread may call ``add``; it takes no lock, so a signal handler may call it too.
        * Each waiter is completed once: by the thread that removes it from its list.

    Attributes:
        new: the calls that the I/O thread has not taken, each with its reason and its waiter.
    """

    __slots__ = ("_waiters", "new")

    def __init__(self) -> None:
        self.new: list[tuple[str, Waiter | None]] = []
        self._waiters: list[Waiter] = []  # of the calls that were taken

    def add(self, reason: str, waiter: Waiter | None) -> None:
        """Add a call; the caller then wakes the I/O thread.

        Args:
            reason: see ``Client.renew``.
            waiter: receives True or False; None if no thread waits.
        """
        self.new.append((reason, waiter))

    def take(self) -> list[str]:
        """Take the new calls, and return their reasons."""
        reasons = []
        while self.new:
            try:
                reason, waiter = self.new.pop(0)
            except IndexError:  # pragma: no cover  (another thread takes the last one at this moment)
                break
            reasons.append(reason)
            if waiter is not None:
                self._waiters.append(waiter)
        return reasons

    def complete(self, value: bool) -> None:
        """Report the result to each thread whose call was taken."""
        while self._waiters:
            try:
                waiter = self._waiters.pop()
            except IndexError:  # pragma: no cover  (another thread takes the last one at this moment)
                return
            waiter.complete(value, None)
