"""The I/O thread: it connects, serves the connection, decides whether to connect again, and waits.

This thread changes the client's state. There are two exceptions, both in ``lifecycle``: another thread ends a client
that was never started, or a client whose I/O thread is blocked.

Everything here runs on that thread, except ``abort``, ``cut`` and ``sockets``.
"""

from __future__ import annotations

import logging
import math
import socket
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .._errors import ConnectError, ConnectionLost, SessionError, WebSocketClientError, printable, text_of
from .._models import Attempt, Initiator, State
from .._network.connector import Connector
from .._network.poller import Poller
from .._rfc6455 import url as _url
from .._rfc6455.close import CloseCode
from .._rfc6455.deflate import Deflater
from .._rfc6455.handshake import check_headers
from .._sending.writer import Writer
from .._threads.commands import Interrupted
from .._threads.deadline import NEVER, Deadline
from .._threads.log import FINISH_TIMEOUT
from .._threads.waiting import Latch
from .._threads.wakeup import Wakeup
from .backend import RecordingTap
from .connection import Connection
from .overdue import EndingOverdue, ending_overdue
from .reconnect import ReconnectState
from .session import set_up
from .shutdown import begin_closing, finish
from .websocket_app import Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .._models import Disconnect
    from .._network.connector import UpgradedConnection
    from .._requests.written import WrittenRequests
    from .context import ClientContext
    from .reconnect import Reconnect, RetryDecision

__all__ = ["Supervisor"]

QUICK_CLOSE: Final = 0.5
"""Seconds for the closing handshake of a connection that is replaced, or could not be set up."""

_DRAIN_CHECK: Final = 0.1
"""Seconds between two checks whether a drain is complete; needed because some work ends without waking the I/O thread,
such as a queued message that expires."""

_NO_WAKEUP_CHECK: Final = 0.1
"""Seconds between two checks of the commands while the process has no file descriptor left for a wake-up."""

DRAINED_CLOSE: Final = 3.0
"""Seconds for the closing handshake after a complete drain."""


_EXPECTED: Final = (OSError, WebSocketClientError)
"""The classes of errors with which an attempt may fail although no code has a defect."""


class Supervisor:
    """Keeps one client connected, until it is closed or ``ReconnectState`` decides against a further attempt."""

    __slots__ = ("_connection", "_connector", "_core", "_poller", "_reconnect_state", "_should_retry", "_transport",
                 "_turn", "_wakeup", "drained")  # fmt: skip

    def __init__(self, core: ClientContext, reconnect: Reconnect | None) -> None:
        """
        Args:
            core: the client.
            reconnect: how to connect again; None never connects again.
        """
        settings = core.settings
        self._core = core
        self._should_retry = None if reconnect is None else reconnect.should_retry
        self._reconnect_state = ReconnectState(
            reconnect,
            retry_first=settings.retry_first,
            urls=max(1, len(settings.urls)),
            credentials_are_fresh=settings.ask_url is not None or callable(settings.greeting.headers),
            fatal_codes=core.protocol.fatal_codes,
            log=core.log,
            one_connection=isinstance(settings.line.sock, socket.socket),
            report=partial(core.hooks.post_event, "on_error"),
        )
        self._poller: Poller | None = None
        self._wakeup: Wakeup | None = None
        greeting = settings.greeting
        self._connector = Connector(
            ending_overdue(core, settings.line),
            greeting.subprotocols or core.protocol.subprotocols,
            self,
            greeting.compression,
            settings.name,
        )
        self._transport = Transport()
        self._connection: Connection | None = None
        self._turn = 0
        self.drained = False
        core.quiet.replace = self._replace

    def run(self) -> None:
        """The main function of the I/O thread."""
        core = self._core
        core.guard.io_ident = threading.get_ident()
        core.state.move(State.CONNECTING)
        final: State = State.FAILED
        error: BaseException | None = None
        try:
            if core.recorder is not None:
                core.recorder.begin()
            final, error = self._live()
        except BaseException as bug:
            final = State.FAILED if core.commands.close is None else State.CLOSED
            error = bug
            core.log.write(logging.ERROR, "the I/O thread failed; please report this.", error=bug)
        finally:
            try:
                if core.recorder is not None:
                    core.recorder.close()  # first, since another thread may read the file when the client is closed
            finally:
                finish(core, final, error)
            self._connector.close()
            self._drop_poller()
            core.guard.io_ident = None
            core.log.finish(Deadline.after(FINISH_TIMEOUT, time.monotonic()))
            core.starter.finish()  # last, since a hook may take any time; all waits have ended

    def cut(self) -> None:
        """Cut the connection, or the one that is being opened, from any thread, without a lock."""
        self._connector.abort()
        connection = self._connection
        if connection is not None:
            connection.opened.line.abort()

    def abort(self) -> None:
        """Cut the connection from another thread, since the I/O thread does not respond, and post ``on_close`` for it.

        A connection that is still being opened is cut as well, since the opening may block too. For example, the I/O
        thread has connected to a SOCKS proxy, and looks the server's name up itself, since no thread could be started.
        """
        self.cut()
        connection = self._connection
        if connection is not None:
            link = self._core.link  # normally assigned by the I/O thread, which is blocked
            link.connection = link.opened_at = None
            connection.writer.write_progress.ended = True  # no proof can come any more, so no thread must wait for it
            if connection.was_open and connection.claim_goodbye():
                self._core.hooks.post("on_close", None, None)

    def sockets(self) -> list[socket.socket]:
        """Return the sockets of the connection, or of one that is being opened, for a forked child to close."""
        connection, poller = self._connection, self._poller
        found = [] if poller is None else poller.sockets()
        if self._connector.sock is not None:
            found.append(self._connector.sock)
        return found if connection is None else [*found, connection.opened.line.sock]

    # --- successive connections --------------------------------------------------------------------------------------

    def _live(self) -> tuple[State, BaseException | None]:
        """Run successive connections; return the final state, and the error that caused it."""
        core = self._core
        while core.commands.close is None:
            core.state.move(State.CONNECTING)
            core.commands.reconnect = core.commands.drop = None
            decision = self._connect_once()
            if decision is None:
                continue
            if decision.delay is None:
                return State.CLOSED if decision.orderly else State.FAILED, decision.error
            core.log.write(logging.INFO, "next attempt in %.2f s.", decision.delay)
            core.state.move(State.WAITING)
            self._sleep(Deadline.after(decision.delay, time.monotonic()))
        begin_closing(core)
        return State.CLOSED, None

    def _connect_once(self) -> RetryDecision | None:
        """Run one connection from its first byte to its last. Return None if a command determines what follows."""
        core = self._core
        error = self._transport.run(self._open, self._serve)
        connection = self._connection
        disconnect = None if connection is None else connection.finish()
        # Not before finish(): it may wait for a thread that runs user code under the write lock, and `abort()` can end
        # this wait only if `_connection` is still set.
        self._connection = None
        now = time.monotonic()
        if connection is None or disconnect is None or not connection.was_open:
            failure = None if error is None or isinstance(error, Interrupted) else _as_connect_error(error)
            return None if failure is None or core.commands.close is not None else self._attempt_failed(failure, now)
        if connection.claim_goodbye():
            reason = disconnect.reason if disconnect.code is not None else None
            core.hooks.post("on_close", disconnect.code, reason)
        lost = _lost(disconnect)
        core.log.write(logging.INFO, "%s", lost)
        if error is not None:
            core.log.write(logging.ERROR, "a connection ended because of a defect; please report this.", error=error)
            core.hooks.post("on_error", error)
        if core.commands.close is not None:
            return None
        if core.commands.reconnect is not None:
            self._reconnect_state.start_over(disconnect.uptime, now)
            return None
        was_useless = connection.was_useless
        return self._decide(partial(self._reconnect_state.connection_lost, lost, now, was_useless=was_useless))

    def _attempt_failed(self, failure: ConnectError, now: float) -> RetryDecision:
        core = self._core
        core.counters.failed_attempts += 1
        decision = self._decide(partial(self._reconnect_state.attempt_failed, failure, now))
        core.link.failure = failure, decision.number
        if core.recorder is not None:
            core.recorder.failed(failure, decision.number)
        # A function of the user (url, headers, sock ...) has probably raised. What on_session raised is logged already.
        is_defect = not isinstance(failure, SessionError) and not isinstance(failure.last, _EXPECTED)
        level, cause = (logging.ERROR, failure.last) if is_defect else (logging.INFO, None)
        core.log.write(level, "attempt %d failed: %s", decision.number, failure, error=cause)
        core.hooks.post("on_connect_error", Attempt(failure, decision.number, decision.delay))
        return decision

    def _decide(self, decide: Callable[[], RetryDecision]) -> RetryDecision:
        if self._should_retry is None:
            return decide()
        with EndingOverdue(self._core):
            return decide()

    def _open(self) -> socket.socket:
        """Open a connection, and return its socket for ``websocket``."""
        try:
            self._make_poller()
        except OSError as error:
            raise ConnectError(
                f"The client could not begin to connect: {error.strerror or text_of(error)}. If too many files are "
                "open, close some, or raise the limit of the process.",
                last=error,
            ) from error
        url, headers = self._next_url(), self._headers()
        self._check_not_closed()
        opened = self._connector.open(url, headers)
        core = self._core
        written = core.table.new_connection(core.sender.connection_number + 1)
        try:
            assert self._poller is not None
            # No user code before this assignment: abort() cuts only a connection that it finds here.
            self._connection = Connection(core, self._poller, opened, self._writer(opened, written), written)
        except BaseException:
            core.table.end_connection(written)
            opened.line.close()
            raise
        return opened.line.sock

    def _writer(self, opened: UpgradedConnection, written: WrittenRequests) -> Writer:
        deflater = self._deflater(opened)
        backend = self._core.make_backend(written)
        recorder, tap = self._core.recorder, None
        if recorder is not None:
            tap = RecordingTap(recorder, recorder.opened(opened.target.url, opened.subprotocol, opened.headers))
        return Writer(opened.line, backend, deflater, tap)

    def _deflater(self, opened: UpgradedConnection) -> Deflater | None:
        compression = self._core.settings.greeting.compression
        if compression is None or opened.agreement is None:
            return None
        return Deflater(compression, opened.agreement)

    def _serve(self) -> None:
        """Set the connection up, open it, and serve it until it ends."""
        core, connection = self._core, self._connection
        assert connection is not None
        core.protocol.reset()
        try:
            connection.take_early()
            self._check_not_closed()
            set_up(core, connection)
        except BaseException:
            self._close_failed(connection)
            raise
        core.sender.connection_number = connection.number
        core.counters.connections += 1
        self._reconnect_state.opened()
        if core.subscriptions.members:
            with EndingOverdue(core):  # a function of the user may return the message
                core.subscriptions.ask_again(connection.writer, connection.number)
        connection.open()
        core.subscriptions.apply_events()
        core.state.move(State.OPEN)
        first = connection.number == 1 or core.hooks.get("on_reconnect") is None
        core.hooks.post("on_open" if first else "on_reconnect", bound=connection.number)
        connection.router.release()
        while not connection.over:
            connection.turn(self._carry_out(connection) if core.commands.given else NEVER)

    def _check_not_closed(self) -> None:
        """End the opening of a connection if the client was closed while user code ran.

        Raises:
            Interrupted: it was closed.
        """
        if self._core.commands.close is not None:
            raise Interrupted("The client was closed while a connection was being opened.")

    def _replace(self, reason: str) -> None:
        """Drop the present connection, since it brings no messages any more; the next one is opened as after any loss.

        See ``QuietWatch.replace``.
        """
        connection = self._connection
        if connection is not None:
            soon = Deadline.after(QUICK_CLOSE, time.monotonic())
            connection.close(CloseCode.NORMAL, reason, soon, initiator=Initiator.QUIET)

    def _close_failed(self, connection: Connection) -> None:
        """Close a connection whose set-up failed."""
        soon = Deadline.after(QUICK_CLOSE, time.monotonic())
        if self._core.commands.close is not None:
            soon = soon.sooner(self._core.commands.close.deadline)
        connection.close(CloseCode.NORMAL, "", soon)
        while not connection.over:
            connection.turn(soon)

    def _carry_out(self, connection: Connection) -> Deadline:
        """Carry out the commands of other threads; return the latest moment for the next check."""
        core, commands = self._core, self._core.commands
        if commands.drain is not None:
            self._check_drain(connection)
        if commands.close is not None:
            close = commands.close
            refusal = begin_closing(core)
            connection.close(close.code, close.reason, close.deadline, behind_queue=refusal)
        elif commands.reconnect is not None:
            connection.close(CloseCode.NORMAL, commands.reconnect, Deadline.after(QUICK_CLOSE, time.monotonic()))
        elif commands.drop is not None:
            number, error = commands.drop
            commands.drop = None
            if number == connection.number:
                soon = Deadline.after(QUICK_CLOSE, time.monotonic())
                connection.close(CloseCode.NORMAL, "", soon, error=error)
        if commands.drain is None or commands.close is not None:
            return NEVER
        return commands.drain.sooner(Deadline.after(_DRAIN_CHECK, time.monotonic()))

    def _check_drain(self, connection: Connection | None) -> None:
        """Close a client that is draining when everything is finished, or the deadline has passed."""
        core = self._core
        drain = core.commands.drain
        if drain is None or core.commands.close is not None:
            return
        now = time.monotonic()
        quick = Deadline.after(QUICK_CLOSE / 2, now)
        done = not (core.queue.messages or core.queue.handed_over or core.table.unfinished)
        # Check the writer last: a message may move from the queue to the writer between the two checks.
        if done and (connection is None or connection.writer.idle()):
            self.drained = True
            politely = Deadline.after(DRAINED_CLOSE, now).sooner(drain)
            # The later of the two deadlines: if nearly no time is left for the drain, the closing handshake still gets
            # that of `quick`.
            core.commands.order_close(CloseCode.NORMAL, "", quick if quick.sooner(politely) is politely else politely)
        elif drain.passed(now):
            core.commands.order_close(CloseCode.NORMAL, "", quick)

    # --- how the connector waits -------------------------------------------------------------------------------------

    def wait(self, sock: socket.socket, events: int, deadline: Deadline) -> None:
        """Wait until a socket is ready (see ``_network.poller.Watch``)."""
        assert self._poller is not None
        while True:
            seconds = self._pause(deadline)
            if seconds == 0.0 and deadline.passed(time.monotonic()):
                raise TimeoutError
            if self._poller.wait(sock, events, seconds):
                return

    def wait_any(self, socks: dict[socket.socket, int], deadline: Deadline) -> list[socket.socket]:
        """Wait until some sockets are ready (see ``_network.poller.Watch``)."""
        assert self._poller is not None
        while True:
            seconds = self._pause(deadline)
            ready = self._poller.wait_any(socks, seconds)
            if ready or deadline.passed(time.monotonic()):
                return ready

    def wait_until(self, happened: Callable[[], bool], deadline: Deadline) -> None:
        """Wait until a condition is true (see ``_network.poller.Watch``)."""
        assert self._poller is not None
        while not happened():
            seconds = self._pause(deadline)
            if seconds == 0.0 and deadline.passed(time.monotonic()):
                raise TimeoutError
            self._poller.wait(None, 0, seconds)

    @property
    def wake(self) -> Callable[[], None]:
        """A function that ends the wait (see ``_network.poller.Watch``)."""
        return self._core.commands.wake

    def _sleep(self, deadline: Deadline) -> None:
        """Wait before the next attempt; a command ends the wait."""
        try:
            while not deadline.passed(time.monotonic()):
                self._rest(self._pause(deadline))
        except Interrupted:
            pass

    def _rest(self, seconds: float | None) -> None:
        """Wait for the wake-up alone, at most for this time."""
        try:
            if self._poller is not None and not self._poller.is_broken:
                self._poller.wait(None, 0, seconds)
            else:
                self._make_poller()  # then do not wait: a command may have been given before the wake-up was attached
        except OSError:  # other code has closed the wake-up, or the process has no file descriptor left for another one
            longest = _NO_WAKEUP_CHECK if seconds is None else min(seconds, _NO_WAKEUP_CHECK)
            Latch().wait(Deadline.after(longest, time.monotonic()))

    def _make_poller(self) -> None:
        """Make the poller and its wake-up, unless they exist and work.

        Raises:
            OSError: the process has no file descriptor left.
        """
        if self._poller is not None and not self._poller.is_broken:
            return
        self._drop_poller()
        self._wakeup = Wakeup()
        self._poller = Poller(self._wakeup)
        self._core.commands.attach(self._wakeup)

    def _drop_poller(self) -> None:
        self._core.commands.attach(None)
        if self._poller is not None:
            self._poller.close()
        if self._wakeup is not None:
            self._wakeup.close()
        self._poller = self._wakeup = None

    def _pause(self, deadline: Deadline) -> float | None:
        """Handle commands and timers, then return the seconds for which this thread may wait.

        Raises:
            Interrupted: ``close()`` or ``reconnect()`` was called.
        """
        core = self._core
        core.subscriptions.apply_events()
        self._check_drain(None)
        if core.recorder is not None:
            core.recorder.write()
        if core.commands.close is not None or core.commands.reconnect is not None:
            raise Interrupted("A command ends the wait.")
        # If another thread sets an earlier timer from now on, it will wake this thread.
        core.commands.sleeps_until = math.inf
        now = time.monotonic()
        if core.table.handed_over:
            core.table.take_handed_over()
        if now >= core.starter.retry_at:
            core.starter.retry()
        core.requests.expire(now)
        core.progress.announce()
        if core.commands.drain is not None:
            deadline = deadline.sooner(core.commands.drain)
        deadline = deadline.sooner(Deadline(core.table.next_deadline()))
        if core.starter.retry_at != math.inf:
            deadline = deadline.sooner(Deadline(core.starter.retry_at))
        if deadline.at is not None:  # pragma: no branch  (each caller has a limit)
            core.commands.sleeps_until = deadline.at
        return deadline.left(now)

    # --- the caller's options ----------------------------------------------------------------------------------------

    def _next_url(self) -> str:
        settings = self._core.settings
        if settings.ask_url is None:
            url = settings.urls[self._turn % len(settings.urls)]
            self._turn += 1
            return url
        url = self._ask("url", settings.ask_url)
        try:
            return _url.parse(url).url
        except (TypeError, ValueError) as error:
            raise ConnectError(
                f"The url function returned a value that can't be used. {error}", last=error, retry=False
            ) from error

    def _headers(self) -> Mapping[str, str]:
        greeting = self._core.settings.greeting
        headers = greeting.headers
        if callable(headers):
            headers = self._ask("headers", headers)
            try:
                check_headers(headers)
            except (TypeError, ValueError) as error:
                text = f"The headers function returned a value that can't be used. {error}"
                raise ConnectError(text, last=error, retry=False) from error
        return {**({} if greeting.origin is None else {"Origin": greeting.origin}), **(headers or {})}

    def _ask(self, option: str, function: Callable[[], Any]) -> Any:
        try:
            with EndingOverdue(self._core, option):
                return function()
        except Exception as error:
            text = f"The {option} function raised {type(error).__name__}: {text_of(error)}"
            raise ConnectError(text, last=error) from error


def _lost(disconnect: Disconnect) -> ConnectionLost:
    code = "" if disconnect.code is None else f", code {disconnect.code}"
    reason = f": {printable(disconnect.reason)}" if disconnect.reason else ""
    text = f"The connection ended ({disconnect.initiator}{code}{reason}) after {disconnect.uptime:.1f} s."
    lost = ConnectionLost(text, disconnect=disconnect)
    lost.__cause__ = disconnect.error
    return lost


def _as_connect_error(error: BaseException) -> ConnectError:
    if isinstance(error, ConnectError):
        return error
    failure = ConnectError(f"The connection could not be opened: {type(error).__name__}: {text_of(error)}", last=error)
    failure.__cause__ = error
    return failure
