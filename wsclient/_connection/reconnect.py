"""Whether to connect again, and when. The only importer of tenacity.

tenacity's ``wait`` and ``stop`` strategies decide. They receive the same ``RetryCallState`` as from tenacity's own
loop. That loop is not used: its wait can't be ended without one more attempt; it counts only failed attempts, and can't
treat the loss of an open connection differently. So nothing here sleeps or recurses: for each ended attempt or
connection there is one call, which returns one decision.

Not thread-safe: the I/O thread owns the ``ReconnectState``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tenacity import RetryCallState, Retrying, stop_never, wait_random_exponential
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from .._errors import ConnectError, ConnectionLost, HandshakeError, SessionError, text_of
from .._threads.imports import import_lock
from .._validation import check_callable, check_seconds

if TYPE_CHECKING:
    from .._threads.log import ClientLog

__all__ = ["Reconnect", "ReconnectState", "RetryDecision", "check_reconnect", "is_fatal", "retry_after"]

FIRST_DELAY: Final = 0.5
"""Seconds within which the first retry is made; the limit doubles with each failure."""

MAX_DELAY: Final = 10.0
"""The longest delay in seconds: a client makes an attempt at most this long after its server is available. Each
delay is random, from 0 to its limit, which spreads the retries of many clients ("full jitter": AWS Architecture Blog,
"Exponential Backoff And Jitter")."""

MIN_UPTIME: Final = 5.0
"""Seconds after which an open connection resets the count of failed attempts; gRPC's back-off has a similar rule."""

GRACE: Final = 300.0
"""Seconds after the loss of a healthy connection in which fatal errors are retried. Kubernetes uses the same time for
two limits. It delays the restart of a container by at most 300 s (``CrashLoopBackOff``). If a node has not answered for
300 s, it moves the pods of this node."""

MAX_RETRY_AFTER: Final = 300.0
"""The longest ``Retry-After`` of a server that is obeyed, in seconds."""

FATAL_CLOSES: Final = frozenset({1002, 1003, 1007, 1008, 1010})
"""Close codes with which a server reports an error of the client that a retry would repeat (RFC 6455 §7.4.1)."""

_ORDERLY_CLOSES: Final = frozenset({1000, 1001, 1005})
_CREDENTIAL_STATUSES: Final = frozenset({401, 403})
_RETRY_AFTER_STATUSES: Final = frozenset({429, 503})
_RETRYING: Final = Retrying()


@dataclass(frozen=True, kw_only=True, eq=False)
class Reconnect:
    """How to connect again after a loss.

    It can be pickled if its parts can. Two are equal if all their values are equal; two strategies count as equal if
    they have the same class and the same values.

    Args:
        wait: seconds before each attempt: any tenacity wait strategy, e.g. ``tenacity.wait_fixed(1)``.
        stop: when to stop trying: any tenacity stop strategy, e.g. ``tenacity.stop_after_attempt(10)``. Attempts and
            time count from the loss of the last healthy connection.
        min_uptime: seconds after which a connection counts as healthy, so that the count of attempts starts again. With
            the client's option ``quiet``, a message that counts must also have been received on it.
        should_retry: called with the error of each failed attempt or lost connection; True or False decides, None
            leaves the decision to the built-in rules. Runs on the I/O thread: it must be short.
        grace: seconds in which fatal errors are retried like others, counted from the loss of the last connection that
            was open for ``min_uptime``: the server accepted this client, so a 404 or a wrong certificate may be
            temporary (a deployment, a certificate that is replaced). After that, and before the first such connection,
            a fatal error ends the client, with one exception: if ``url`` or ``headers`` is a function, one more attempt
            follows a refused login (401, 403), since the function may return new credentials. (The first attempt of a
            client without ``retry_first`` is not repeated.) With ``grace=0``, a fatal error always ends the client,
            with the same exception. These errors are retried only if ``should_retry`` returns True: a
            ``SessionError(retry=False)`` that ``on_session`` raises, a close code in ``fatal_codes`` of the protocol,
            and any fatal error if ``sock=`` is a socket, since a socket serves only one connection. ``stop`` may end
            the attempts earlier. During ``grace``, refused logins are retried like other fatal errors; ``url`` and
            ``headers`` are called again before each attempt. If the server still refuses the login when ``grace`` is
            over, the client ends without a further attempt. The default is that of Kubernetes, which delays the restart
            of a container that fails by at most 300 s.
    """

    wait: Any = None
    stop: Any = None
    min_uptime: float = MIN_UPTIME
    should_retry: Callable[[BaseException], bool | None] | None = None
    grace: float = GRACE

    def __post_init__(self) -> None:
        wait = _strategy("wait", self.wait, wait_random_exponential(multiplier=FIRST_DELAY, max=MAX_DELAY))
        object.__setattr__(self, "wait", wait)
        object.__setattr__(self, "stop", _strategy("stop", self.stop, stop_never))
        object.__setattr__(self, "min_uptime", check_seconds("min_uptime", self.min_uptime, zero=True))
        check_callable("should_retry", self.should_retry)
        object.__setattr__(self, "grace", check_seconds("grace", self.grace, zero=True))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Reconnect):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self.wait), type(self.stop), self.min_uptime, self.grace))

    def _values(self) -> tuple[Any, ...]:
        strategies = _values_of(self.wait), _values_of(self.stop)
        return type(self), *strategies, self.min_uptime, self.should_retry, self.grace


class RetryDecision(NamedTuple):
    """What to do after an attempt failed or a connection was lost.

    Attributes:
        error: the error to report.
        number: failed attempts in a row.
        delay: seconds until the next attempt; None if there is none.
        orderly: whether the client becomes CLOSED, not FAILED, if there is no next attempt.
    """

    error: BaseException
    number: int
    delay: float | None
    orderly: bool = False


class ReconnectState:
    """The state of one client's attempts to connect, and the decisions based on it.

    Attributes:
        failures: failed attempts since the last healthy connection.
    """

    __slots__ = ("_credentials_are_fresh", "_fatal_codes", "_fatal_in_a_row", "_first_round", "_grace", "_grace_ends",
                 "_last_fatal_was_close", "_log", "_opened", "_reconnect", "_report", "_retry_first", "_state", "_urls",
                 "failures")  # fmt: skip

    def __init__(
        self,
        reconnect: Reconnect | None,
        *,
        retry_first: bool,
        urls: int,
        credentials_are_fresh: bool,
        fatal_codes: frozenset[int],
        log: ClientLog,
        one_connection: bool = False,
        report: Callable[[BaseException], object] | None = None,
    ) -> None:
        """
        Args:
            reconnect: the option; None never connects again.
            retry_first: whether the client continues after the first round of attempts has failed.
            urls: the number of servers that are tried in turn; the first round over all servers counts as one
                first attempt.
            credentials_are_fresh: whether a function returns the URL or the headers for each attempt, so that a retry
                after a refused login may succeed.
            fatal_codes: close codes of the message protocol after which a retry can't succeed.
            log: the client's log.
            one_connection: whether no second connection can be opened, so that no fatal error is temporary.
            report: called with each error that ``should_retry`` or a strategy raises; it is logged already.
        """
        self._reconnect = reconnect
        self._report = report
        self._retry_first = retry_first
        self._urls = urls
        self._first_round = urls
        self._credentials_are_fresh = credentials_are_fresh
        self._fatal_codes = fatal_codes
        self._log = log
        self._opened = False
        self._fatal_in_a_row = 0
        self._last_fatal_was_close = False
        self._grace = 0.0 if reconnect is None or one_connection else reconnect.grace
        self._grace_ends = -math.inf
        self._state: RetryCallState | None = None
        self.failures = 0

    def opened(self) -> None:
        """Called when an attempt has led to an open connection."""
        self._opened = True
        # A handshake has succeeded, so an earlier refused handshake no longer counts. If the last fatal error was a
        # close code, it still counts: the server may send it again on this connection.
        if not self._last_fatal_was_close:
            self._fatal_in_a_row = 0

    def attempt_failed(self, error: BaseException, now: float) -> RetryDecision:
        """Return the decision after an attempt to connect failed."""
        self.failures += 1
        self._first_round -= 1
        if not self._opened and self._first_round > 0:
            self._is_refused_by_all(error)  # only counts the error; the decision is made after the last server
            return RetryDecision(error, self.failures, 0.0)
        if not self._opened and not self._retry_first:
            final = error if self.failures == 1 else self._gave_up(error)
            return RetryDecision(final, self.failures, None, orderly=True)
        return self._decide(error, now)

    def connection_lost(self, error: ConnectionLost, now: float, *, was_useless: bool = False) -> RetryDecision:
        """Return the decision after an open connection ended without a call of ``close()`` or ``reconnect()``.

        Args:
            error: how it ended.
            now: when.
            was_useless: with ``quiet=``: whether no message that counts was received on it. If so, it is a failed
                attempt, however long it was open.
        """
        disconnect = error.disconnect
        assert disconnect is not None
        if self._reconnect is None:
            orderly = disconnect.initiator == "remote" and disconnect.code in _ORDERLY_CLOSES
            return RetryDecision(error, self.failures, None, orderly=orderly)
        if self._begin_grace(disconnect.uptime, now) and not was_useless:
            self.reset_count()
        else:
            self.failures += 1
        return self._decide(error, now)

    def reset_count(self) -> None:
        """Reset the count of failed attempts, after a healthy connection."""
        self.failures = 0
        self._state = None

    def start_over(self, uptime: float, now: float, *, was_useless: bool = False) -> None:
        """Reset all failures, refusals by servers included: ``reconnect()`` was called, a renewal has replaced a
        connection, or a connection was lost during a renewal.

        Args:
            uptime: seconds for which the replaced connection was open.
            now: when it ended.
            was_useless: with ``quiet=``: whether no message that counts was received on it. If so, the count of failed
                attempts is not reset.
        """
        self._begin_grace(uptime, now)
        if not was_useless:
            self.reset_count()
        self._fatal_in_a_row = 0

    def _begin_grace(self, uptime: float, now: float) -> bool:
        """Begin ``Reconnect.grace`` if the connection that has ended was healthy; return whether it was."""
        if self._reconnect is None or uptime < self._reconnect.min_uptime:
            return False
        self._grace_ends = now + self._grace
        return True

    def _decide(self, error: BaseException, now: float) -> RetryDecision:
        """Decide about the next attempt: first ``should_retry``, then the rules for fatal errors, then ``stop``."""
        if self._reconnect is None:
            return RetryDecision(error, self.failures, None)
        should_retry = self._reconnect.should_retry
        answer = None if should_retry is None else self._ask("should_retry", should_retry, error, None)
        if answer is True:
            self._fatal_in_a_row = 0
        if answer is False or (answer is None and self._is_refused_by_all(error) and not self._is_in_grace(error, now)):
            return RetryDecision(error, self.failures, None)
        state = self._retry_state(error, now)
        delay = max(0.0, self._ask("wait", _seconds_of, (self._reconnect.wait, state), MAX_DELAY), retry_after(error))
        state.upcoming_sleep = delay
        state.attempt_number = self.failures  # 0 after the loss of a healthy connection: only later attempts count
        if self._ask("stop", self._reconnect.stop, state, False):
            return RetryDecision(self._gave_up(error), self.failures, None)
        state.idle_for += delay
        return RetryDecision(error, self.failures, delay)

    def _is_refused_by_all(self, error: BaseException) -> bool:
        """Count a fatal error. Return whether a retry can't succeed, because every server has refused the client.

        If the last error is a refused login, and a function returns the credentials, the result is True only after one
        further refusal: the next attempt has new credentials.
        """
        if not is_fatal(error, self._fatal_codes):
            self._fatal_in_a_row = 0
            return False
        self._fatal_in_a_row += 1
        self._last_fatal_was_close = isinstance(error, ConnectionLost)
        refused_login = isinstance(error, HandshakeError) and error.status in _CREDENTIAL_STATUSES
        attempts = self._urls + (refused_login and self._credentials_are_fresh)
        return self._fatal_in_a_row >= attempts

    def _is_in_grace(self, error: BaseException, now: float) -> bool:
        """Return whether ``Reconnect.grace`` covers a fatal error: the server accepted this client not long ago."""
        if now >= self._grace_ends:
            return False
        cause = error.last if isinstance(error, SessionError) else error  # the server may close during on_session
        if isinstance(cause, ConnectionLost):
            return cause.disconnect is None or cause.disconnect.code not in self._fatal_codes
        return not isinstance(error, SessionError)

    def _retry_state(self, error: BaseException, now: float) -> RetryCallState:
        """Return the state that a tenacity strategy reads. Its attempt number is at least 1, also if a connection was
        lost and no attempt has failed yet.
        """
        if self._state is None:
            self._state = RetryCallState(retry_object=_RETRYING, fn=None, args=(), kwargs={})
            self._state.start_time = now
        state = self._state
        state.attempt_number = max(1, self.failures)
        state.set_exception((type(error), error, None))
        state.outcome_timestamp = now
        return state

    def _ask(self, name: str, function: Callable[[Any], Any], argument: Any, default: Any) -> Any:
        """Return the result of a function of the user; the default if it raises."""
        try:
            return function(argument)
        except BaseException as error:  # SystemExit too: it must not end the client
            text = "Reconnect.%s raised %s; the default rule is used."
            self._log.write(logging.ERROR, text, name, type(error).__name__, error=error)
            if self._report is not None:
                self._report(error)
            return default

    def _gave_up(self, error: BaseException) -> ConnectError:
        times = f"{self.failures} attempts" if self.failures != 1 else "1 attempt"
        final = ConnectError(
            f"Gave up after {times}; the last error: {text_of(error, 1000)}", attempts=self.failures, last=error
        )
        final.__cause__ = error
        return final


def is_fatal(error: BaseException, fatal_codes: frozenset[int]) -> bool:
    """Return whether the error shows that a retry with the same server can't succeed.

    Args:
        error: the ``ConnectError`` of an attempt or the ``ConnectionLost`` of a connection.
        fatal_codes: close codes of the message protocol that are fatal, in addition to ``FATAL_CLOSES``.
    """
    if isinstance(error, ConnectionLost) and error.disconnect is not None:
        code = error.disconnect.code
        return error.disconnect.initiator == "remote" and (code in FATAL_CLOSES or code in fatal_codes)
    return isinstance(error, ConnectError) and not error.retry


def retry_after(error: BaseException) -> float:
    """Return the seconds of a server's ``Retry-After`` (RFC 9110 §10.2.3), at most ``MAX_RETRY_AFTER``; 0.0 if none.

    A date is compared with the response's own ``Date``, since the clock of this machine may differ; without a ``Date``
    it is ignored.
    """
    if not isinstance(error, HandshakeError) or error.status not in _RETRY_AFTER_STATUSES:
        return 0.0
    value = error.headers.get("Retry-After", "").strip()
    if value.isdecimal() and value.isascii():
        return min(float(value[:9]), MAX_RETRY_AFTER)
    with import_lock:
        from email.utils import parsedate_to_datetime  # takes 2 ms, and few servers send a date

    try:
        distance = parsedate_to_datetime(value) - parsedate_to_datetime(error.headers.get("Date", ""))
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return min(max(0.0, distance.total_seconds()), MAX_RETRY_AFTER)


def check_reconnect(name: str, reconnect: Any) -> Reconnect | None:
    """Check the ``reconnect`` option: a ``Reconnect`` or None."""
    if reconnect is not None and not isinstance(reconnect, Reconnect):
        raise TypeError(f"reconnect must be a wsclient.Reconnect or None, not {reconnect!r}.")
    return reconnect


def _values_of(strategy: Any) -> Any:
    """Return comparable values of a strategy, since tenacity compares its own strategies by identity only."""
    if isinstance(strategy, (list, tuple)):
        return [_values_of(one) for one in strategy]
    if isinstance(strategy, (wait_base, stop_base)):
        return type(strategy), {name: _values_of(value) for name, value in vars(strategy).items()}
    return strategy


def _strategy(name: str, value: Any, default: Any) -> Any:
    if value is None:
        return default
    other = stop_base if name == "wait" else wait_base
    if isinstance(value, (type, other)) or not callable(value):
        raise TypeError(f"{name} must be a tenacity {name} strategy such as tenacity.{name}_..., not {value!r}.")
    return value


def _seconds_of(asked: tuple[Callable[[Any], Any], RetryCallState]) -> float:
    wait, state = asked
    return float(wait(state))
