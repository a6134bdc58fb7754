"""``quiet=`` and ``quiet_after=``: find a connection or a subscription on which no messages are received any more,
although the peer answers pings.

``Quiet`` defines which messages count. ``QuietClock`` does not read the time: callers pass ``now``, from
``time.monotonic()``. ``QuietWatch`` belongs to one client; it has the next moment at which a clock may be due, like the
keepalive. I/O thread only.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..protocols import ABSENT

if TYPE_CHECKING:
    from .._options import Quiet
    from .._receiving.hooks import Hooks
    from .._receiving.subscriptions import Subscriptions
    from .._sending.pacing import Pause
    from .._threads.log import ClientLog

__all__ = ["QuietClock", "QuietWatch", "SubscriptionClock"]


class QuietClock:
    """Measures for how long no message that counts has come. It does not run before ``start``, nor while it is paused.

    It is due when no message that counts has come for ``after`` seconds.

    Attributes:
        has_heard: whether a message that counts has come since the clock was made.
        next_at: the moment at which it is due; infinity while it does not run, and after ``wait_for_message``.
    """

    __slots__ = ("_after", "_last", "_paused", "_was_inactive", "has_heard", "next_at")

    def __init__(self, after: float) -> None:
        """
        Args:
            after: the seconds without a message after which it is due.
        """
        self._after = after
        self._last: float | None = None  # the last message, or the start; None before `start` and after `stop`
        self._paused: tuple[float, float] | None = None  # when it was paused, and `next_at` before that
        self._was_inactive = False
        self.has_heard = False
        self.next_at = math.inf

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped; also True during a pause."""
        return self._last is not None

    def start(self, now: float) -> None:
        """Run from now on: the connection is open."""
        self.stop()
        self._was_inactive = False
        self._begin(now)

    def stop(self) -> None:
        """Do not run any more: the connection has ended."""
        self._last = self._paused = None
        self.next_at = math.inf

    def heard(self, now: float) -> None:
        """Called when a message that counts has come."""
        self.has_heard = True
        if self._last is not None:
            self._begin(now)

    def pause(self, now: float) -> None:
        """Stand still from now on: reading is paused."""
        if self._last is not None and self._paused is None:
            self._paused = now, self.next_at
            self.next_at = math.inf

    def resume(self, now: float) -> None:
        """Run again; the time of the pause does not count."""
        if self._last is not None and self._paused is not None:
            paused_at, next_at = self._paused
            self._paused = None
            self._last += now - paused_at
            self.next_at = next_at + (now - paused_at)

    def check_due(self, now: float, is_active: bool) -> bool:
        """Return whether the clock is due and messages were expected during all of the measured time.

        If it is due while messages are not expected, the measurement starts again. It also starts again when the clock
        is due for the first time after that, even if messages are expected then: they may have been expected during a
        part of the measured time only.

        Args:
            now: the present time.
            is_active: whether messages are expected now.
        """
        if now < self.next_at:
            return False
        if is_active and not self._was_inactive:
            return True
        self._was_inactive = not is_active
        self._begin(now)
        return False

    def silence(self, now: float) -> float:
        """Return the seconds since the last message that counts, or since the start, without pauses."""
        if self._last is None:
            return 0.0
        return (now if self._paused is None else self._paused[0]) - self._last

    def wait_again(self, now: float) -> None:
        """Make the clock due again after the same time without a message. ``silence`` is not reset."""
        if self._paused is None:
            self.next_at = now + self._after
        else:
            paused_at = self._paused[0]
            self._paused = paused_at, paused_at + self._after

    def wait_for_message(self) -> None:
        """Make the clock not due any more, until the next message that counts starts it again."""
        self.next_at = math.inf

    def _begin(self, now: float) -> None:
        self._last = now
        if self._paused is None:
            self.next_at = now + self._after
        else:
            self._paused = now, now + self._after


class SubscriptionClock:
    """The clock of a subscription with ``quiet_after=``.

    Attributes:
        clock: runs on the present connection, from the reply or the first message on.
        was_resubscribed: whether the subscription was requested again since its last message, because it was quiet.
    """

    __slots__ = ("_after", "_watch", "clock", "was_resubscribed")

    def __init__(self, after: float, watch: QuietWatch) -> None:
        """
        Args:
            after: ``quiet_after``.
            watch: the client's watch.
        """
        self._after = after
        self._watch = watch
        self.clock = QuietClock(after)
        self.was_resubscribed = False

    def confirmed(self) -> None:
        """Called when the subscription is confirmed. If it was requested again, nothing happens: ``written`` has
        started the clock.
        """
        if not self.was_resubscribed:
            now = time.monotonic()
            self.clock.start(now)
            self._watch.started(self.clock, now)

    def written(self) -> None:
        """Called when the subscription's request is written. If the subscription is requested again because it was
        quiet, the clock measures the seconds of ``quiet_after`` for the second time. This begins now, since ``rate=``
        may have delayed the write.
        """
        if self.was_resubscribed:
            now = time.monotonic()
            self.clock.wait_again(now)
            self._watch.started(self.clock, now)

    def heard(self) -> None:
        """Called with each message of the subscription."""
        if self._watch.does_count:
            now = time.monotonic()
            self.was_resubscribed = False
            if self.clock.is_running:
                self.clock.heard(now)
            else:  # messages come instead of the reply
                self.clock.start(now)
                self._watch.started(self.clock, now)

    def stopped(self) -> None:
        """Called when the connection has ended."""
        self.was_resubscribed = False
        self.clock.stop()

    def renewed(self) -> SubscriptionClock:
        """Return a clock for the same subscription on the connection that takes over."""
        return SubscriptionClock(self._after, self._watch)


class QuietWatch:
    """The clocks of one client, and what happens when one of them is due. I/O thread only.

    Attributes:
        does_count: whether the present message counts.
        next_at: when ``handle_due`` must be called: the earliest moment at which a clock may be due; infinity for
            never. While reading is paused it is minus infinity, so that ``handle_due`` notices the end of the pause.
        replace: replaces the present connection; called with the reason. ``Supervisor`` sets it.
    """

    __slots__ = ("_clock", "_faulty", "_hooks", "_is_paused", "_log", "_option", "_pause", "_subscriptions",
                 "does_count", "next_at", "replace")  # fmt: skip

    def __init__(
        self,
        option: Quiet | None,
        *,
        hooks: Hooks,
        subscriptions: Subscriptions,
        pause: Pause,
        log: ClientLog,
    ) -> None:
        """
        Args:
            option: the client's option ``quiet``; None if it has none.
            hooks: runs ``on_quiet``.
            subscriptions: some of them may have clocks.
            pause: shows whether sending is paused.
            log: the client's log.
        """
        self._option = option
        self._hooks = hooks
        self._subscriptions = subscriptions
        self._pause = pause
        self._log = log
        self._clock: QuietClock | None = None  # of the open connection
        self._faulty: set[str] = set()  # the functions that have raised
        self._is_paused = False
        self.does_count = True
        self.next_at = math.inf
        self.replace: Callable[[str], object] = bool

    def make_clock(self) -> QuietClock | None:
        """Return a clock for a new connection; None without ``quiet=``."""
        return None if self._option is None else QuietClock(self._option.after)

    def opened(self, clock: QuietClock | None, now: float) -> None:
        """Start the clock of a connection that has opened. The clock of the connection that it replaces is stopped."""
        if self._clock is not None:
            self._clock.stop()
        self._clock = clock
        if clock is not None:
            clock.start(now)
            self.started(clock, now)

    def started(self, clock: QuietClock, now: float) -> None:
        """Called when a clock was started. While reading is paused, it stands still at first."""
        if self._is_paused:
            clock.pause(now)
        elif clock.next_at < self.next_at:
            self.next_at = clock.next_at

    def closed(self) -> None:
        """Stop the clock of the present connection, which has ended. The clocks of subscriptions are stopped before."""
        if self._clock is not None:
            self._clock.stop()
        self._clock = None
        self._is_paused = False
        self._plan()

    def heard(self, clock: QuietClock, message: Any) -> None:
        """Called with each message that may count.

        Args:
            clock: the clock of the connection.
            message: the decoded message. It is ``ABSENT`` for an ``End`` that has neither a value nor a message.
                ``counts`` can't be called with ``ABSENT``, so such a message counts only if there is no function
                ``counts``.
        """
        option = self._option
        assert option is not None
        self.does_count = option.counts is None or (
            message is not ABSENT and self._ask("counts", option.counts, message)
        )
        if self.does_count:
            clock.heard(time.monotonic())
            if clock.next_at < self.next_at:  # it was infinity, after `wait_for_message`
                self.next_at = clock.next_at

    def pause(self, now: float) -> None:
        """Called before each wait in which reading is paused."""
        if not self._is_paused:
            self._is_paused = True
            for clock in self._clocks():
                clock.pause(now)
            self._plan()

    def handle_due(self, now: float, *, is_paused: bool) -> list[Any]:
        """Handle what is due.

        Args:
            now: the present time.
            is_paused: whether reading is paused on the present connection.

        Returns:
            The subscriptions that must be requested again.
        """
        clocks = self._clocks()
        if self._is_paused and not is_paused:
            self._is_paused = False
            for clock in clocks:
                clock.resume(now)
        stale = []
        if any(now >= clock.next_at for clock in clocks):
            is_active = self._is_active()
            if not self._look_at_connection(now, is_active):
                stale = self._look_at_subscriptions(now, is_active)
        self._plan()
        return stale

    def _look_at_connection(self, now: float, is_active: bool) -> bool:
        """Call ``on_quiet`` if the connection is quiet. Return whether it was also replaced."""
        clock, option = self._clock, self._option
        if clock is None or option is None or not clock.check_due(now, is_active):
            return False
        seconds = clock.silence(now)
        if option.action == "report":
            clock.wait_for_message()
            self._hooks.post("on_quiet", seconds)
            return False
        clock.wait_again(now)
        self._replace(f"no message that counts came for {seconds:.1f} s", seconds)
        return True

    def _look_at_subscriptions(self, now: float, is_active: bool) -> list[Any]:
        """Return the subscriptions that are quiet. If one was requested again and is still quiet, the connection is
        replaced instead.
        """
        stale = []
        for member in self._subscriptions:
            quiet = member.quiet
            if quiet is None or not quiet.clock.check_due(now, is_active):
                continue
            quiet.clock.wait_again(now)
            if self._pause.ends_at(now) > now:
                continue  # otherwise it would be unsubscribed at once, and requested again only after the pause
            seconds = quiet.clock.silence(now)
            if quiet.was_resubscribed:
                self._replace(
                    f"a subscription had no message for {seconds:.1f} s, although it was requested again", seconds
                )
                return []
            quiet.was_resubscribed = True
            quiet.clock.wait_for_message()  # or until the request is written
            stale.append(member)
            self._log.write(logging.INFO, "a subscription had no message for %.1f s and is requested again.", seconds)
        return stale

    def _replace(self, reason: str, seconds: float) -> None:
        self._hooks.post("on_quiet", seconds)
        self.replace(reason)

    def _clocks(self) -> list[QuietClock]:
        """Return the clocks of the connection and of the subscriptions."""
        clocks = [] if self._clock is None else [self._clock]
        return [*clocks, *[member.quiet.clock for member in self._subscriptions if member.quiet is not None]]

    def _plan(self) -> None:
        """Set ``next_at``."""
        self.next_at = -math.inf if self._is_paused else min((one.next_at for one in self._clocks()), default=math.inf)

    def _is_active(self) -> bool:
        active = None if self._option is None else self._option.active
        return active is None or self._ask("active", active)

    def _ask(self, name: str, function: Callable[..., Any], *arguments: Any) -> bool:
        """Return the result of a function of the user; True if it raises, which is reported once for each function."""
        try:
            return bool(function(*arguments))
        except BaseException as error:  # SystemExit too: it must not end the client
            if name not in self._faulty:
                self._faulty.add(name)
                text = "Quiet.%s raised %s; this counts as True, and is not logged again."
                self._log.write(logging.ERROR, text, name, type(error).__name__, error=error)
                self._hooks.post_event("on_error", error)
            return True
