"""``on_session``: the set-up of a connection before anything else is sent on it.

The user's code and the connection's loop share the I/O thread here: each call on the session runs turns of the loop
until its result is available.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .._errors import ClientClosed, ConnectionLost, SessionError, WebSocketClientError, WouldDeadlock, text_of
from .._options import DEFAULT
from .._threads.commands import Interrupted
from .._threads.sections import this_thread
from .._threads.waiting import Deadline, Waiter
from .._validation import check_seconds
from ..protocols import Protocol
from ..protocols._session import Session
from .overdue import EndingOverdue
from .reconnect import is_fatal

if TYPE_CHECKING:
    from .._models import ConnectionInfo, Disconnect
    from .connection import Connection
    from .context import ClientContext

__all__ = ["ConnectionSession", "set_up"]


class ConnectionSession(Session):
    """The session of one connection."""

    __slots__ = ("_connection", "_context", "_deadline", "_is_cancelled", "_is_waiting", "_run_turn")

    def __init__(
        self,
        context: ClientContext,
        connection: Connection,
        deadline: Deadline,
        run_turn: Callable[[Deadline], object],
        is_cancelled: Callable[[], bool],
    ) -> None:
        """
        Args:
            context: the client.
            connection: the connection that is set up.
            deadline: from ``session_timeout``.
            run_turn: waits until something happens on this connection or others, and handles it.
            is_cancelled: whether the connection is not needed any more.
        """
        self._run_turn = run_turn
        self._is_cancelled = is_cancelled
        self._context = context
        self._connection: Connection | None = connection
        self._deadline = deadline
        self._is_waiting = False  # inside `request` or `recv`

    @property
    def number(self) -> int:
        """See ``Session``."""
        return self._valid_connection().number

    @property
    def subprotocol(self) -> str | None:
        """See ``Session``."""
        return self._valid_connection().opened.subprotocol

    @property
    def headers(self) -> Mapping[str, str]:
        """See ``Session``."""
        return self._valid_connection().opened.headers

    @property
    def connection(self) -> ConnectionInfo:
        """See ``Session``."""
        return self._valid_connection().info

    @property
    def memo(self) -> dict[str, Any]:
        """See ``Session``."""
        self._valid_connection()
        return self._context.memo

    @memo.setter
    def memo(self, memo: dict[str, Any]) -> None:
        self._valid_connection()
        self._context.check_memo(memo)

    @property
    def previous(self) -> Disconnect | None:
        """See ``Session``."""
        self._valid_connection()
        return self._context.facts.last

    def heartbeat(self, every: float) -> None:
        """See ``Session``."""
        heartbeats = self._valid_connection().heartbeats
        seconds = check_seconds("every", every)
        if heartbeats.interval is None:
            raise TypeError(
                "session.heartbeat() changes the interval of a heartbeat, but there is none: neither the option "
                f"heartbeat= nor {type(self._context.protocol).__name__} defines one."
            )
        heartbeats.every = seconds

    def send(self, message: Any) -> None:
        """See ``Session``."""
        connection = self._usable_connection()
        entry = self._context.requests.encode_one_way(
            message, connection_number=connection.number, protocol=connection.protocol
        )
        connection.writer.send_first(entry)

    def request(
        self, message: Any, *, timeout: float | None = DEFAULT, match: Callable[[Any], bool] | None = None
    ) -> Any:
        """See ``Session``."""
        connection = self._usable_connection()
        self._check_may_wait()
        deadline = self._deadline_for(self._context.settings.bounds.request_timeout if timeout is DEFAULT else timeout)
        request = self._context.requests.make(
            message, deadline, match=match, connection_number=connection.number, protocol=connection.protocol
        )
        request.waiter = waiter = Waiter()
        self._is_waiting = True
        try:
            self._context.table.add(request, timed=False)
            connection.writer.send_first(request)
            while request.outcome is None:
                if deadline.passed(time.monotonic()):
                    self._check_time(self._context.requests.timeout_of(request))
                    self._context.requests.time_out(request)
                else:
                    self._turn(deadline)
        except BaseException:
            self._context.requests.cancel(request, interrupted=True)
            raise
        finally:
            self._is_waiting = False
        try:
            if waiter.error is not None:
                raise waiter.error
            return waiter.value
        finally:
            del request, waiter  # otherwise the error, its traceback, this frame and the waiter form a cycle

    def call(self, method: str, params: Any = None, *, timeout: float | None = DEFAULT) -> Any:
        """See ``Session``."""
        return self.request(self._usable_connection().protocol.build(method, params, False), timeout=timeout)

    def recv(self, timeout: float | None = None) -> Any:
        """See ``Session``."""
        early_messages = self._valid_connection().router.early_messages
        deadline = self._deadline_for(timeout)
        assert early_messages is not None
        self._check_may_wait()
        self._is_waiting = True
        try:
            while not early_messages:
                self._turn(deadline)
                if not early_messages and deadline.passed(time.monotonic()):
                    self._check_time(TimeoutError("session.recv() got no message."))
                    raise TimeoutError(f"session.recv() got no message within {timeout} s.")
        finally:
            self._is_waiting = False
        return early_messages.take().message  # also if the connection has ended since then

    # --- called by `set_up`, and checks ------------------------------------------------------------------------------

    def _end(self) -> None:
        """End the session after ``on_session``.

        Raises:
            SessionError: ``session_timeout`` has passed, also if it passed in the user's code, or too many messages
                came.
            WebSocketClientError: the connection has ended, or a command ends the set-up.
        """
        connection, self._connection = self._valid_connection(), None
        self._check(connection)
        early_messages = connection.router.early_messages
        if early_messages is not None and early_messages.lost:
            self._refuse_more()

    def _valid_connection(self) -> Connection:
        """Return the connection, if the session has not ended and this is its thread."""
        if self._connection is None:
            raise SessionError("The session has ended: it is valid only inside on_session.")
        if not self._context.guard.on_io_thread():
            raise WouldDeadlock(
                "A session can be used only on the thread that called on_session; don't pass it to another thread."
            )
        return self._connection

    def _usable_connection(self) -> Connection:
        """Return the connection, if messages can be sent and awaited on it now."""
        connection = self._valid_connection()
        if this_thread.inside():
            raise WouldDeadlock(
                "A function that interrupted this thread inside the client (such as a finalizer) used the session. "
                "This call might have to wait for the interrupted code. Use the session in on_session itself."
            )
        self._check(connection)
        return connection

    def _check(self, connection: Connection) -> None:
        """Raise an error if the connection, the time or the client has ended."""
        commands = self._context.commands
        if commands.close is not None:
            raise ClientClosed("The client was closed while on_session was running.")
        if commands.reconnect is not None:
            raise ConnectionLost("reconnect() was called while on_session was running.", sent=None)
        if self._is_cancelled():
            raise ClientClosed("The client is draining, so the connection is not renewed.")
        if connection.ending is not None:
            ending = connection.ending
            how = f"code {ending.code}" if ending.code is not None else ending.reason
            disconnect = connection.disconnect(time.monotonic())
            raise ConnectionLost(f"The connection ended while on_session was running ({how}).", disconnect=disconnect)
        self._check_time()

    def _check_time(self, waited: TimeoutError | None = None) -> None:
        """Raise a ``SessionError`` if ``session_timeout`` has passed. Its cause is ``waited``, the error of the wait in
        which the time passed; None if the session did not wait.
        """
        if self._deadline.passed(time.monotonic()):
            seconds = self._context.settings.network.session_timeout
            details = "" if waited is None else f" {waited}"
            raise SessionError(f"on_session took longer than session_timeout={seconds:g} s.{details}") from waited

    def _deadline_for(self, timeout: float | None) -> Deadline:
        return Deadline.after(timeout, time.monotonic()).sooner(self._deadline)

    def _turn(self, deadline: Deadline) -> None:
        connection = self._usable_connection()
        early_messages = connection.router.early_messages
        if early_messages is not None and early_messages.is_exceeded:
            self._refuse_more()
        self._run_turn(deadline)

    def _check_may_wait(self) -> None:
        """Refuse a wait inside a function that interrupted another wait of this session: the new wait could receive the
        reply of the interrupted one.
        """
        if self._is_waiting:
            raise WouldDeadlock(
                "A function that interrupted the wait of a session (such as a finalizer, match= or a protocol) called "
                "a method of the session that also waits. Use session.send(), or wait in on_session."
            )

    def _refuse_more(self) -> None:
        bounds = self._context.settings.bounds.receive_queue
        raise SessionError(
            f"More than {bounds.max_messages} messages or {bounds.max_bytes} bytes arrived during on_session; "
            "receive them with session.recv(), or raise the limits of receive_queue=."
        )


def set_up(
    context: ClientContext,
    connection: Connection,
    run_turn: Callable[[Deadline], object],
    is_cancelled: Callable[[], bool] = bool,
) -> None:
    """Run ``on_session`` of the protocol, then the user's ``on_session``.

    Args: see ``ConnectionSession``.

    Raises:
        SessionError: the set-up failed; if ``on_session`` raised another error, ``last`` is that error.
        Interrupted: a command ended the set-up.
    """
    steps = _steps(context, connection.protocol)
    if not steps:
        return
    deadline = Deadline(time.monotonic() + context.settings.network.session_timeout)
    session = ConnectionSession(context, connection, deadline, run_turn, is_cancelled)
    context.guard.setting_up = True
    try:
        with EndingOverdue(context):
            for step in steps:
                step(session)
        session._end()
    except SessionError:
        raise
    except BaseException as error:
        if context.commands.close is not None or context.commands.reconnect is not None or is_cancelled():
            raise Interrupted("close(), reconnect() or drain() ended on_session.") from error
        raise _failure(context, error) from error
    finally:
        context.guard.setting_up = False


def _steps(context: ClientContext, protocol: Protocol) -> list[Callable[[Session], object]]:
    """Return the functions that set up a connection: first the protocol's, then the user's."""
    ours = type(protocol).on_session is not Protocol.on_session
    hook = context.hooks.get("on_session")
    return [*([protocol.on_session] if ours else []), *([hook] if hook is not None else [])]


def _failure(context: ClientContext, error: BaseException) -> SessionError:
    ours = isinstance(error, WebSocketClientError)
    if not ours:  # probably a defect of the user's code: log the traceback, since retries may hide it
        context.log.write(logging.ERROR, "on_session raised %s.", type(error).__name__, error=error)
    retry = not is_fatal(error, context.protocol.fatal_codes)
    # The `repr` of a UnicodeError contains the whole text that could not be encoded or decoded, perhaps a password.
    text = text_of(error, 1000) if ours or isinstance(error, UnicodeError) else repr(error)
    failure = SessionError(f"The connection could not be set up: {text}", retry=retry)
    failure.last = error
    return failure
