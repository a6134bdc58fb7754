"""The I/O thread: it connects, serves the connection, decides whether to connect again, and waits.

This thread changes the client's state. There are two exceptions, both in ``lifecycle``: another thread ends a client
that was never started, or a client whose I/O thread is blocked.

Everything here runs on that thread, except ``abort``, ``cut`` and ``sockets``.
"""

from __future__ import annotations

import copy
import logging
import math
import socket
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .._errors import ConnectError, ConnectionLost, SessionError, WebSocketClientError, printable, text_of
from .._models import Attempt, Initiator, State
from .._rfc6455.close import CloseCode
from .._threads.commands import Interrupted
from .._threads.log import FINISH_TIMEOUT
from .._threads.waiting import NEVER, Deadline
from .opener import Opener, check_not_closed
from .overdue import EndingOverdue
from .reconnect import ReconnectState, is_fatal
from .renewal import Event, Renewal, RenewalPhase
from .served import QUICK_CLOSE, ServedConnections
from .session import set_up
from .shutdown import begin_closing, finish
from .waits import Waits
from .websocket_app import AppRunner

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._models import Disconnect
    from .connection import Connection
    from .context import ClientContext
    from .reconnect import Reconnect, RetryDecision

__all__ = ["Supervisor"]

_DRAIN_CHECK: Final = 0.1
"""Seconds between two checks whether a drain is complete; needed because some work ends without waking the I/O thread,
such as a queued message that expires."""

DRAINED_CLOSE: Final = 3.0
"""Seconds for the closing handshake after a complete drain."""


_EXPECTED: Final = (OSError, WebSocketClientError)
"""The classes of errors with which an attempt may fail although no code has a defect."""


class Supervisor:
    """Keeps one client connected, until it is closed or ``ReconnectState`` decides against a further attempt."""

    __slots__ = ("_announced", "_app_runner", "_context", "_decision", "_has_raised", "_has_successor", "_opener",
                 "_reconnect", "_reconnect_state", "_renewal", "_renewal_state", "_served", "_should_retry", "_waits",
                 "drained")  # fmt: skip

    def __init__(self, context: ClientContext, reconnect: Reconnect | None) -> None:
        """
        Args:
            context: the client.
            reconnect: how to connect again; None never connects again.
        """
        settings = context.settings
        self._context = context
        self._reconnect = reconnect
        self._should_retry = None if reconnect is None else reconnect.should_retry
        self._reconnect_state = self._new_reconnect_state()
        self._served = ServedConnections(context, self._other_ended)
        self._renewal = Renewal(settings.renew, context.log)
        # The attempts of a renewal have their own back-off, which does not affect the back-off of reconnects.
        self._renewal_state: ReconnectState | None = None
        # A message on a connection that is not open yet has announced a renewal: the number of this connection, and the
        # URL that `Renew.on` returned (None if it returned True).
        self._announced: tuple[int, str | None] | None = None
        self._has_raised = False  # whether `Renew.on` has raised
        self._has_successor = False  # whether a renewal has opened a connection that the app must run next
        # If the present connection was lost during a renewal, and the renewal then failed: what to do next.
        self._decision: RetryDecision | None = None
        self._waits = Waits(context, self._served, self._is_interrupted)
        self._opener = Opener(context, self._waits, self._renewal, self._heard)
        self._app_runner = AppRunner()
        self.drained = False
        context.quiet.replace = self._replace

    def _new_reconnect_state(self) -> ReconnectState:
        context, settings = self._context, self._context.settings
        return ReconnectState(
            self._reconnect,
            retry_first=settings.retry_first,
            urls=max(1, len(settings.urls)),
            credentials_are_fresh=settings.url_function is not None or callable(settings.handshake.headers),
            fatal_codes=context.protocol.fatal_codes,
            log=context.log,
            one_connection=isinstance(settings.network.sock, socket.socket),
            report=partial(context.hooks.post_event, "on_error"),
        )

    def run(self) -> None:
        """The main function of the I/O thread."""
        context = self._context
        context.guard.io_ident = threading.get_ident()
        context.state.move(State.CONNECTING)
        final: State = State.FAILED
        error: BaseException | None = None
        try:
            if context.recorder is not None:
                context.recorder.begin()
            final, error = self._run_connections()
            self._end_retiring()
        except BaseException as bug:
            final = State.FAILED if context.commands.close is None else State.CLOSED
            error = bug
            context.log.write(logging.ERROR, "the I/O thread failed; please report this.", error=bug)
        finally:
            try:
                self._drop_others()
                if context.recorder is not None:
                    context.recorder.close()  # first, since another thread may read the file when the client is closed
            finally:
                finish(context, final, error)
            self._opener.connector.close()
            self._waits.close()
            context.guard.io_ident = None
            context.log.finish(Deadline.after(FINISH_TIMEOUT, time.monotonic()))
            context.starter.finish()  # last, since a hook may take any time; all waits have ended

    def cut(self) -> None:
        """Cut all connections, also one that is being opened. Any thread; takes no lock."""
        self._opener.connector.abort()
        for connection in self._served.all():
            connection.opened.transport.abort()

    def abort(self) -> None:
        """Cut all connections from another thread, since the I/O thread does not respond, and post ``on_close``.

        A connection that is still being opened is cut as well, since the opening may block too. For example, the I/O
        thread has connected to a SOCKS proxy, and looks the server's name up itself, since no thread could be started.
        """
        self.cut()
        for connection in self._served.all():
            facts = self._context.facts  # normally assigned by the I/O thread, which is blocked
            facts.connection = facts.opened_at = None
            connection.writer.write_progress.ended = True  # no proof can come any more, so no thread must wait for it
            if connection.was_open and connection.claim_on_close():
                self._context.hooks.post("on_close", None, None)

    def sockets(self) -> list[socket.socket]:
        """Return the sockets of all connections, also of one that is being opened, for a forked child to close."""
        found = self._waits.sockets()
        if self._opener.connector.sock is not None:
            found.append(self._opener.connector.sock)
        return [*found, *[connection.opened.transport.sock for connection in self._served.all()]]

    # --- successive connections --------------------------------------------------------------------------------------

    def _run_connections(self) -> tuple[State, BaseException | None]:
        """Run successive connections; return the final state, and the error that caused it."""
        context = self._context
        while context.commands.close is None:
            context.state.move(State.CONNECTING)
            context.commands.reconnect = None
            decision = self._connect_once()
            if decision is None:
                continue
            if decision.delay is None:
                return State.CLOSED if decision.orderly else State.FAILED, decision.error
            context.log.write(logging.INFO, "next attempt in %.2f s.", decision.delay)
            context.state.move(State.WAITING)
            self._waits.back_off(Deadline.after(decision.delay, time.monotonic()))
        begin_closing(context)
        return State.CLOSED, None

    def _connect_once(self) -> RetryDecision | None:
        """Run one connection, and those that renewals put in its place, until the last one has ended.

        Return the decision about the next attempt; None if the next attempt follows at once, or the client ends.
        """
        context, served = self._context, self._served
        self._decision = None
        error = self._app_runner.run(self._open, self._serve)
        while self._has_successor:
            self._has_successor = False
            error = self._app_runner.run(self._present_socket, self._serve_open)
        self._waits.forget_sockets()
        connection = served.present
        if error is not None and connection is not None and connection.was_open:  # a defect
            self._drop_others()
        disconnect = None if connection is None else connection.finish()
        # After finish(), which may wait for a thread that runs user code under the write lock: `abort()` needs
        # `present` to end that wait.
        served.present = None
        now = time.monotonic()
        if connection is None and error is None:  # it was lost during a renewal, which failed as well
            return self._decision
        if connection is None or disconnect is None or not connection.was_open:
            failure = None if error is None or isinstance(error, Interrupted) else _as_connect_error(error)
            return None if failure is None or context.commands.close is not None else self._attempt_failed(failure, now)
        if self._renewal.phase is RenewalPhase.REPLACING and disconnect.initiator is not Initiator.RENEWAL:
            self._renewal.move(Event.CANCELLED)  # it was lost before it could be replaced
        lost = self._report_end(connection, disconnect)
        if error is not None:
            context.log.write(logging.ERROR, "a connection ended because of a defect; please report this.", error=error)
            context.hooks.post("on_error", error)
        if context.commands.close is not None:
            return None
        was_useless = connection.was_useless
        if disconnect.initiator is Initiator.RENEWAL:
            self._reconnect_state.start_over(disconnect.uptime, now, was_useless=was_useless)
            return None
        if context.commands.reconnect is not None:
            self._reconnect_state.start_over(disconnect.uptime, now)
            return None
        return self._decide(partial(self._reconnect_state.connection_lost, lost, now, was_useless=was_useless))

    def _report_end(self, connection: Connection, disconnect: Disconnect) -> ConnectionLost:
        """Call ``on_close`` for a connection that was open, and log its end; return the error for it."""
        if connection.claim_on_close():
            reason = disconnect.reason if disconnect.code is not None else None
            self._context.hooks.post("on_close", disconnect.code, reason)
        lost = _lost(disconnect)
        self._context.log.write(logging.INFO, "%s", lost)
        return lost

    def _attempt_failed(self, failure: ConnectError, now: float) -> RetryDecision:
        self._context.counters.failed_attempts += 1
        decision = self._decide(partial(self._reconnect_state.attempt_failed, failure, now))
        self._report_failure(failure, decision, "attempt")
        return decision

    def _report_failure(self, failure: ConnectError, decision: RetryDecision, what: str) -> None:
        """Record, log and report a failed attempt; ``what`` names it in the log."""
        context = self._context
        context.facts.failure = failure, decision.number
        if context.recorder is not None:
            context.recorder.failed(failure, decision.number)
        # A function of the user (url, headers, sock ...) has probably raised. What on_session raised is logged already.
        is_defect = not isinstance(failure, SessionError) and not isinstance(failure.last, _EXPECTED)
        level, cause = (logging.ERROR, failure.last) if is_defect else (logging.INFO, None)
        context.log.write(level, "%s %d failed: %s", what, decision.number, failure, error=cause)
        context.hooks.post("on_connect_error", Attempt(failure, decision.number, decision.delay))

    def _decide(self, decide: Callable[[], RetryDecision]) -> RetryDecision:
        """Return the result of ``decide``, which may call ``should_retry``; requests end in time meanwhile."""
        if self._should_retry is None:
            return decide()
        with EndingOverdue(self._context):
            return decide()

    def _open(self) -> socket.socket:
        """Open a connection, and return its socket for ``websocket``."""
        try:
            poller = self._waits.prepare()
        except OSError as error:
            raise ConnectError(
                f"The client could not begin to connect: {error.strerror or text_of(error)}. If too many files are "
                "open, close some, or raise the limit of the process.",
                last=error,
            ) from error
        self._announced = None  # forget an announcement in a failed attempt, which had the same connection number
        # No user code runs between the upgrade and this assignment: `abort()` finds an upgraded connection only here.
        self._served.present = connection = self._opener.open(poller, self._context.protocol)
        return connection.opened.transport.sock

    def _present_socket(self) -> socket.socket:
        """Return the socket of a connection that was opened while another one was served."""
        connection = self._served.present
        assert connection is not None
        return connection.opened.transport.sock

    def _serve(self) -> None:
        """Set the connection up, open it, and serve it until it ends."""
        context, connection = self._context, self._served.present
        assert connection is not None
        connection.protocol.reset()
        try:
            connection.take_early()
            check_not_closed(context)
            set_up(context, connection, partial(self._served.turn, connection))
        except BaseException:
            self._close_failed(connection)
            raise
        self._make_present(connection)
        self._serve_open()

    def _make_present(self, connection: Connection) -> None:
        """Open a connection that has been set up, while there is no other."""
        context, renewal = self._context, self._renewal
        context.sender.connection_number = connection.number
        context.use_protocol(connection.protocol)
        context.counters.connections += 1
        self._reconnect_state.opened()
        if context.subscriptions.members:
            with EndingOverdue(context):  # if a message is a function of the user, it is called now
                context.subscriptions.resubscribe(connection.writer, connection.number)
        context.renew_calls.take()  # this connection is newer than these calls of `renew()`
        connection.open()
        context.subscriptions.apply_events()
        context.state.move(State.OPEN)
        if renewal.phase is RenewalPhase.REPLACING:
            context.counters.renewals += 1
            self._post_renewed(connection)
        else:
            first = connection.number == 1 or context.hooks.get("on_reconnect") is None
            context.hooks.post("on_open" if first else "on_reconnect", connection_number=connection.number)
        renewal.move(Event.OPENED)
        self._set_timers(connection)
        context.renew_calls.complete(True)
        connection.router.release()

    def _serve_open(self) -> None:
        """Serve the present connection until it ends or is replaced."""
        context, served, renewal = self._context, self._served, self._renewal
        connection = served.present
        assert connection is not None
        while not connection.over:
            until = self._carry_out(connection) if context.commands.given else NEVER
            if not renewal.is_used:
                connection.turn(until)
                continue
            until = until.sooner(self._look_at_renewal(connection))
            if served.present is not connection:
                return
            served.turn(connection, until)

    # --- renewal -----------------------------------------------------------------------------------------------------

    def _look_at_renewal(self, connection: Connection) -> Deadline:
        """Renew the connection if that is due; return the latest moment for the next call."""
        commands, renewal, now = self._context.commands, self._renewal, time.monotonic()
        is_over = connection.ending is not None or commands.close is not None or commands.drain is not None
        if not is_over and self._served.retiring is None and renewal.is_due(now):
            if renewal.options.overlap:
                self._renew(connection)
                return Deadline(now)  # do not wait: the wake-up of a command that was given meanwhile is already used
            renewal.move(Event.CLOSING)
            connection.writer.is_open = False  # from now on messages wait in the queue for the next connection
        if renewal.phase is RenewalPhase.REPLACING and not is_over and renewal.trigger is not None:
            if now < renewal.trigger.latest and self._context.table.is_busy(connection.written):
                return Deadline(min(renewal.trigger.latest, now + _DRAIN_CHECK))
            soon = Deadline.after(QUICK_CLOSE, now)
            connection.close(CloseCode.NORMAL, renewal.trigger.reason, soon, initiator=Initiator.RENEWAL)
        at = math.inf if is_over else renewal.next_at()
        return NEVER if at == math.inf else Deadline(at)

    def _renew(self, present: Connection) -> None:
        """Open a second connection and let it take over, or report why that failed."""
        served, renewal = self._served, self._renewal
        if renewal.phase is RenewalPhase.PENDING:
            self._renewal_state = self._new_reconnect_state()
            self._renewal_state.opened()  # the rules for a first attempt do not apply
        renewal.move(Event.BEGUN)
        self._context.subscriptions.begin_overlap()
        try:
            self._open_candidate(present)
        except BaseException as error:
            self._renewal_failed(error)
            return
        candidate = served.candidate
        assert candidate is not None
        if served.present is None:  # it was lost meanwhile, so this attempt has become the reconnect
            served.present = candidate
            self._context.subscriptions.end_overlap(has_taken_over=True)
            self._make_present(candidate)
        else:
            self._switch(present, candidate)
        served.candidate = None
        self._has_successor = True

    def _open_candidate(self, present: Connection) -> None:
        """Open and set up the second connection. All other connections are served meanwhile."""
        context, served = self._context, self._served
        context.requests.share_ids()
        present.writer.wait_for_writer()  # see `share_ids`
        protocol = copy.copy(context.protocol)
        assert served.poller is not None
        self._announced = None  # forget an announcement in a failed attempt, which had the same connection number
        served.candidate = candidate = self._opener.open(served.poller, protocol)
        protocol.reset()
        candidate.take_early()
        check_not_closed(context)
        set_up(context, candidate, partial(served.turn, candidate), self._is_cancelled)
        while served.present is not None and served.present.ending is not None and not candidate.over:
            served.turn(candidate, NEVER)  # the present connection is about to be lost
            check_not_closed(context)
        if candidate.ending is not None:
            lost = _lost(candidate.disconnect(time.monotonic()))
            text = f"The new connection ended before it took over. {lost}"
            failure = SessionError(text, retry=not is_fatal(lost, context.protocol.fatal_codes))
            failure.last = lost
            raise failure

    def _switch(self, old: Connection, new: Connection) -> None:
        """Let the new connection take over the messages of the queue. The old connection is still served."""
        context, renewal = self._context, self._renewal
        old.writer.is_open = False
        old.writer.wait_for_writer()  # afterwards no thread writes a message of the queue on it
        for request in old.writer.take_subscriptions():  # they wait for a token, or for the end of a pause
            context.requests.withdraw(request)  # each subscription is requested on the new connection instead
        new.share_on_close(old)
        context.sender.retiring = old.writer
        context.sender.connection_number = new.number
        context.acknowledgements.span(old.number, new.number)
        context.use_protocol(new.protocol)
        if context.subscriptions.members:
            with EndingOverdue(context):  # if a message is a function of the user, it is called now
                context.subscriptions.renew(new.writer, new.number)
        new.open()
        context.subscriptions.apply_events()
        context.counters.connections += 1
        context.counters.renewals += 1
        # If the new connection is soon lost, the old one still shows that the server accepts this client.
        self._reconnect_state.start_over(old.info.uptime, time.monotonic(), was_useless=old.was_useless)
        self._reconnect_state.opened()
        trigger = renewal.trigger
        reason = "" if trigger is None else trigger.reason
        self._served.present = new
        self._served.retire(old, renewal.options.overlap, reason)
        context.log.write(logging.INFO, "the connection was renewed.")
        self._post_renewed(new)
        renewal.move(Event.SWITCHED)
        self._set_timers(new)
        context.renew_calls.take()  # calls during the attempt
        context.renew_calls.complete(True)
        new.router.release()

    def _post_renewed(self, connection: Connection) -> None:
        hooks, trigger = self._context.hooks, self._renewal.trigger
        if hooks.get("on_renew") is not None:
            hooks.post("on_renew", "" if trigger is None else trigger.reason, connection_number=connection.number)
        else:
            name = "on_open" if hooks.get("on_reconnect") is None else "on_reconnect"
            hooks.post(name, connection_number=connection.number)

    def _set_timers(self, connection: Connection) -> None:
        """Set the timers of renewals for a connection that has just opened."""
        now = time.monotonic()
        self._renewal.opened(now, self._opener.lifetimes)
        announced, self._announced = self._announced, None
        if announced is not None and announced[0] == connection.number:
            self._renewal.order("on", now, url=announced[1])

    def _renewal_failed(self, error: BaseException) -> None:
        """Close the second connection, report the failed attempt, and decide about the next one."""
        context, served, renewal = self._context, self._served, self._renewal
        context.subscriptions.end_overlap(has_taken_over=False)
        candidate = served.candidate
        if candidate is not None:
            self._close_failed(candidate)
            candidate.finish()
            served.candidate = None
        now = time.monotonic()
        failure = None if isinstance(error, Interrupted) else _as_connect_error(error)
        if served.present is None:  # it was lost meanwhile
            if failure is not None and context.commands.close is None:
                self._decision = self._attempt_failed(failure, now)
            return
        if failure is None:
            renewal.move(Event.CANCELLED)
            if context.commands.reconnect is None and context.commands.close is None:  # `drain()` was called
                context.renew_calls.take()
                context.renew_calls.complete(False)
            return
        state = self._renewal_state
        assert state is not None
        decision = self._decide(partial(state.attempt_failed, failure, now))
        self._report_failure(failure, decision, "renewal")
        if decision.delay is None:
            renewal.move(Event.REFUSED)
            context.renew_calls.take()  # calls during the attempt
            context.renew_calls.complete(False)
        else:
            renewal.retry_at = time.monotonic() + decision.delay
            renewal.move(Event.FAILED)

    def _is_interrupted(self) -> bool:
        """Close a client whose drain is complete; return whether a command ends the present wait."""
        self._check_drain(self._served.present)
        commands = self._context.commands
        return commands.close is not None or commands.reconnect is not None or self._is_cancelled()

    def _is_cancelled(self) -> bool:
        """Whether a renewal must end before the new connection takes over, since ``drain()`` was called."""
        return (
            self._context.commands.drain is not None
            and self._renewal.phase is RenewalPhase.ATTEMPT
            and self._served.present is not None
        )

    def _other_ended(self, connection: Connection) -> None:
        """Handle the end of a connection while the thread waited on behalf of another one."""
        context, served = self._context, self._served
        disconnect = connection.finish()
        if connection is served.retiring:
            served.retiring = None
            context.log.write(logging.INFO, "the replaced connection: %s", _lost(disconnect))
            self._renewal.move(Event.OVERLAP_ENDED)
            if served.present is not None:
                served.present.writer.flush()  # write the messages that have returned to the queue
            return
        served.present = None
        self._report_end(connection, disconnect)
        self._renewal.move(Event.LOST)
        self._reconnect_state.start_over(disconnect.uptime, time.monotonic(), was_useless=connection.was_useless)
        if context.commands.close is None:
            context.state.move(State.CONNECTING)

    def _drop_others(self) -> None:
        """Cut and finish the candidate and the replaced connection, if there are any: after a defect, or at the end."""
        served, renewal = self._served, self._renewal
        for connection in {served.candidate, served.retiring} - {None, served.present}:
            assert connection is not None
            connection.opened.transport.abort()
            connection.finish()
        served.candidate = served.retiring = None
        if renewal.phase is RenewalPhase.OVERLAP:
            renewal.move(Event.OVERLAP_ENDED)
        elif renewal.phase is RenewalPhase.ATTEMPT:
            renewal.move(Event.CANCELLED)

    def _end_retiring(self) -> None:
        """Close the connection that a renewal has replaced, since the client ends."""
        served, close = self._served, self._context.commands.close
        if served.retiring is not None:
            soon = Deadline.after(QUICK_CLOSE, time.monotonic())
            served.retiring.close(CloseCode.NORMAL, "", soon if close is None else soon.sooner(close.deadline))
        while served.retiring is not None:
            served.wait({}, NEVER)

    def _heard(self, number: int, message: Any) -> None:
        """Call ``Renew.on`` with a message; if it returns True or a URL, order a renewal."""
        renewal, served = self._renewal, self._served
        retiring = served.retiring
        if renewal.options.on is None or (retiring is not None and retiring.number == number):
            return
        try:
            answer = renewal.options.on(message)
        except BaseException as error:  # SystemExit too: the fault concerns only this message
            if not self._has_raised:
                self._has_raised = True
                self._context.log.write(logging.ERROR, "Renew.on raised %s.", type(error).__name__, error=error)
                self._context.hooks.post_event("on_error", error)
            return
        if not answer:
            return
        url = answer if isinstance(answer, str) else None
        if self._context.sender.connection_number == number and served.present is not None:
            self._order("on", url)
        else:
            self._announced = number, url  # the connection is not open yet

    def _order(self, reason: str, url: str | None = None) -> None:
        """Order a renewal of the present connection, unless an attempt was refused: then only ``renew()`` does."""
        if self._renewal.phase is not RenewalPhase.REFUSED:
            self._renewal.order(reason, time.monotonic(), url=url)

    def _replace(self, reason: str) -> None:
        """Replace the present connection, since no messages are received on it any more; see ``QuietWatch.replace``.

        If the option ``renew`` is set, a renewal is ordered. Otherwise the connection is dropped, and the next one is
        opened as after any loss.
        """
        connection = self._served.present
        assert connection is not None  # this is called only in a turn of the present connection
        if self._context.settings.renew is not None:
            self._order("quiet")
        else:
            soon = Deadline.after(QUICK_CLOSE, time.monotonic())
            connection.close(CloseCode.NORMAL, reason, soon, initiator=Initiator.QUIET)

    def _close_failed(self, connection: Connection) -> None:
        """Close a connection whose set-up failed."""
        soon = Deadline.after(QUICK_CLOSE, time.monotonic())
        if self._context.commands.close is not None:
            soon = soon.sooner(self._context.commands.close.deadline)
        connection.close(CloseCode.NORMAL, "", soon)
        while not connection.over:
            present = self._served.present
            if present is not None and present is not connection and self._context.commands.given:
                self._carry_out(present)  # a command to close is carried out meanwhile, not after this loop
            self._served.turn(connection, soon)

    def _carry_out(self, connection: Connection) -> Deadline:
        """Carry out the commands of other threads; return the latest moment for the next check."""
        context, commands = self._context, self._context.commands
        retiring = self._served.retiring
        for reason in context.renew_calls.take() if context.renew_calls.new else ():
            self._renewal.order(reason, time.monotonic())
        if commands.drain is not None:
            self._stop_replacing(connection)
            self._check_drain(connection)
        if commands.close is not None:
            close = commands.close
            self._stop_replacing(connection)
            refusal = begin_closing(context)
            connection.close(close.code, close.reason, close.deadline, behind_queue=refusal)
            if retiring is not None:
                retiring.close(close.code, close.reason, close.deadline)
        elif commands.reconnect is not None:
            soon = Deadline.after(QUICK_CLOSE, time.monotonic())
            connection.close(CloseCode.NORMAL, commands.reconnect, soon)
            if retiring is not None:
                retiring.close(CloseCode.NORMAL, commands.reconnect, soon, initiator=Initiator.RENEWAL)
        elif commands.drop:
            self._served.carry_out_drops()
        if commands.drain is None or commands.close is not None:
            return NEVER
        return commands.drain.sooner(Deadline.after(_DRAIN_CHECK, time.monotonic()))

    def _stop_replacing(self, connection: Connection) -> None:
        """Cancel a renewal with ``overlap=0``, since the client ends. The renewal has stopped the sending of queued
        messages and waits until it can close the connection. The sending continues on this connection.
        """
        if self._renewal.phase is RenewalPhase.REPLACING and connection.ending is None:
            self._renewal.move(Event.CANCELLED)
            connection.writer.is_open = True
            connection.writer.flush()

    def _check_drain(self, connection: Connection | None) -> None:
        """Close a client that is draining when everything is finished, or the deadline has passed."""
        context = self._context
        drain = context.commands.drain
        if drain is None or context.commands.close is not None:
            return
        now = time.monotonic()
        quick = Deadline.after(QUICK_CLOSE / 2, now)
        done = not (context.queue.messages or context.queue.handed_over or context.table.unfinished)
        # Check the writer last: a message may move from the queue to the writer between the two checks.
        if done and all(one.writer.idle() for one in (connection, self._served.retiring) if one is not None):
            self.drained = True
            usual = Deadline.after(DRAINED_CLOSE, now).sooner(drain)
            # The later of the two deadlines: the closing handshake gets the time until `quick`, even if the deadline of
            # the drain is nearer.
            context.commands.order_close(CloseCode.NORMAL, "", quick if quick.sooner(usual) is usual else usual)
        elif drain.passed(now):
            context.commands.order_close(CloseCode.NORMAL, "", quick)


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
