"""Start and end of a client, called by other threads: start, drain, close.

Guarantees:
    * ``start`` returns when the client is open, or raises. (A hook may have closed the client when ``start`` returns.)
      If it raises, the client is closed, with two exceptions: if another thread has started the client, the client
      continues to run after a timeout of this call; and a call that is not permitted (``WouldDeadlock``,
      ``ForkedClient``) changes nothing.
    * ``close`` and ``drain`` return in bounded time, whatever the peer, the network or the user's code does: an I/O
      thread that does not respond is abandoned, its connection is cut, and every wait for the client ends.
    * A KeyboardInterrupt in the ``start`` that started the client closes the client, but ``start`` does not wait for
      its end; a KeyboardInterrupt in ``close`` does not stop the closing.
"""

from __future__ import annotations

import _thread
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from .._errors import ClientClosed, ConnectError, copy_exception
from .._models import State
from .._rfc6455.close import check_close
from .._threads import processes
from .._threads.log import FINISH_TIMEOUT
from .._threads.sections import this_thread
from .._threads.state import FINAL
from .._threads.thread import BackgroundThread, call_uninterrupted
from .._threads.waiting import Deadline
from .._validation import check_seconds
from .shutdown import finish
from .supervisor import Supervisor

if TYPE_CHECKING:
    from .context import ClientContext
    from .reconnect import Reconnect

__all__ = ["Lifecycle"]

EXTRA_WAIT: Final = 0.5
"""``close`` waits until the client has ended, at most this many seconds beyond the timeout of the call. Then it waits
until the I/O thread and the hook thread have ended, at most until 0.9 s after the timeout."""

LOG_TIMEOUT: Final = 0.02
"""Seconds for which ``close`` waits until its own warning is logged; it may log two, and must return within 1 s beyond
its timeout."""

LAST_HOOKS: Final = 3.0
"""Seconds for which ``wait_closed`` and ``run_forever`` wait for the last hooks, at most until their own deadline."""

_RUNNING: Final = frozenset(set(State) - FINAL)
_NOT_OPEN: Final = frozenset({State.NEW, State.CONNECTING, State.WAITING})


class Lifecycle:
    """Starts and ends the I/O thread of one client."""

    __slots__ = ("_abandoned", "_context", "_supervisor", "_worker")

    def __init__(self, context: ClientContext, reconnect: Reconnect | None) -> None:
        self._context = context
        self._supervisor = Supervisor(context, reconnect)
        self._worker = BackgroundThread(f"{context.settings.name}-io", self._run)
        self._abandoned = False

    def __repr__(self) -> str:
        return f"<wsclient.Client {self._context.settings.name!r}>"

    @property
    def name(self) -> str:
        """The client's name."""
        return self._context.settings.name

    @property
    def is_ending(self) -> bool:
        """Whether the command to close was given, for example by ``close()``: the client ends without further calls."""
        return self._context.commands.close is not None

    # --- start -------------------------------------------------------------------------------------------------------

    def start(self, timeout: float | None) -> None:
        """Start the I/O thread unless it runs already, and wait until the client is open.

        Raises:
            ConnectError: the first attempt failed, the timeout passed, or the thread can't be started.
            ClientClosed: the client is closed, or was closed during the call.
        """
        context = self._context
        context.guard.check_may_wait("start()", "Start the client on another thread.")
        deadline = Deadline.after(timeout, time.monotonic())
        if context.state.current in FINAL:
            raise context.guard.closed_error("start()")
        starter = object()
        try:
            self._start_thread(starter)
            self._wait_for_open(deadline, timeout, first=self._worker.starter is starter)
        except Exception:
            if self._worker.starter is starter:
                context.commands.order_close(1000, "", Deadline(time.monotonic()))
                self._await_end(Deadline(time.monotonic()))
            raise
        except BaseException:  # after an interrupt, do not wait for the end of the thread
            if self._worker.starter is starter or self._close_unstarted():
                context.commands.order_close(1000, "", Deadline(time.monotonic()))
            raise

    def _start_thread(self, starter: object) -> None:
        try:
            self._worker.start(starter)
        except RuntimeError as error:
            text = f"The client's I/O thread can't be started ({error}); try again with a new client."
            failure = ConnectError(text, attempts=0, last=error)
            if self._close_unstarted(failure):  # otherwise another thread has started it meanwhile
                raise failure from error

    def _wait_for_open(self, deadline: Deadline, timeout: float | None, *, first: bool) -> None:
        context = self._context
        state = context.state.wait_while(_NOT_OPEN, deadline)
        if state is State.OPEN:
            return
        if state in _NOT_OPEN:
            raise self._not_open(0.0 if timeout is None else timeout)
        error = context.state.error
        if first and error is None and context.sender.connection_number > 0:
            return  # it was open, and a hook closed it before this thread checked
        if isinstance(error, ConnectError) and context.sender.connection_number == 0:
            raise copy_exception(error)
        raise context.guard.closed_error("start()")

    def _not_open(self, timeout: float) -> ConnectError:
        """Return the error of a ``start()`` whose timeout has passed: with the last attempt's error, if one failed."""
        failure = self._context.facts.failure
        if failure is None:
            step = (
                "on_session has not returned" if self._context.guard.setting_up else "the first attempt has not ended"
            )
            return ConnectError(
                f"The client was not open within {timeout:g} s, the timeout of start(): {step}; give it more time with "
                "timeout=.",
                last=TimeoutError("start() timed out"),
            )
        error, attempts = failure
        reason, _ = self._context.facts.why_not_open()
        last = copy_exception(error)
        text = f"The client was not open within {timeout:g} s, the timeout of start(): {reason}."
        result = ConnectError(text, attempts=attempts, last=last)
        result.__cause__ = last
        return result

    def _run(self) -> None:
        processes.register(self)
        try:
            self._supervisor.run()
        finally:
            processes.unregister(self)

    # --- end ---------------------------------------------------------------------------------------------------------

    def close(self, code: int, reason: str, timeout: float, *, wait: bool) -> None:
        """Close the client; see ``Client.close``."""
        context = self._context
        check_close(code, reason)
        context.guard.check_fork("close()")
        deadline = Deadline.after(check_seconds("timeout", timeout, zero=True), time.monotonic())
        if not wait:
            context.commands.order_close(code, reason, deadline)
            if self._worker.starter is None:
                self._close_unstarted_later()
            return
        if this_thread.inside():
            context.commands.order_close(code, reason, deadline)  # also on the I/O thread, where the check below raises
            if not context.guard.on_io_thread():
                self._close_inside(deadline)
                return
        context.guard.check_may_wait("close()", "Call close(wait=False).")
        context.commands.order_close(code, reason, deadline)
        self._close_unstarted()
        self._await_end(deadline)

    def _close_unstarted_later(self) -> None:
        """Close a client that was never started, on a new thread, since the calling thread must not acquire a lock."""
        try:
            _thread.start_new_thread(self._close_unstarted, ())
        except RuntimeError as error:  # a later call that may acquire the lock ends the client
            text = "the thread that closes the client could not be started (%s); call close() again."
            self._context.log.queue(logging.WARNING, text, error)

    def _close_inside(self, deadline: Deadline) -> None:
        """Implement ``close()`` for a thread that is inside a critical section: wait until the client has ended.

        The I/O thread may itself wait until this thread has left the section. So if the client has not ended in time,
        only its connection is cut; the I/O thread ends the client later.
        """
        if self._worker.starter is None:
            self._close_unstarted_later()
        elif self._context.state.wait_while(_RUNNING, Deadline.after(EXTRA_WAIT, deadline.at or 0.0)) in _RUNNING:
            self._supervisor.cut()

    def drain(self, timeout: float, *, wait: bool) -> bool:
        """Finish the queued and unanswered work, then close; see ``Client.drain``."""
        context = self._context
        deadline = Deadline.after(check_seconds("timeout", timeout, zero=True), time.monotonic())
        context.guard.check_fork("drain()")
        if wait:
            context.guard.check_may_wait("drain()", "Call drain(wait=False).")
        if context.state.current is State.FAILED:
            raise context.guard.closed_error("drain()")
        if context.state.current is State.CLOSED:
            return self._supervisor.drained
        if this_thread.inside():  # this thread must not acquire a lock, so a new thread does it
            try:
                _thread.start_new_thread(self._begin_drain, (deadline,))
            except RuntimeError as error:
                text = "the thread that begins the drain could not be started (%s); call drain() again."
                context.log.queue(logging.WARNING, text, error)
            return False
        if self._begin_drain(deadline):
            return self._supervisor.drained
        if wait:
            self._await_end(deadline)
        return self._supervisor.drained

    def _begin_drain(self, deadline: Deadline) -> bool:
        """Refuse new work and give the command. True if the client was never started; it has then ended."""
        context = self._context
        refusal = ClientClosed("The client is draining and takes no new work.")
        context.queue.seal(refusal, takes_marks=True)  # a thread may still wait for a delivery
        context.commands.order_drain(deadline)
        return self._close_unstarted()

    def join(self, deadline: Deadline) -> bool:
        """Wait until the client has ended; False if the deadline passed first. Then wait for the last hooks: at most
        ``LAST_HOOKS``, and only up to the deadline.
        """
        if self.is_ending:
            self._close_unstarted()  # for a close(wait=False) that could not start a thread
        if self._context.state.wait_while(_RUNNING, deadline) in _RUNNING:
            return False
        self._join_threads(Deadline.after(LAST_HOOKS, time.monotonic()).sooner(deadline))
        return True

    def _close_unstarted(self, error: ConnectError | None = None) -> bool:
        """Close a client that was never started; False if it was started. An interrupt does not stop it.

        Args:
            error: why it can't be started.
        """
        try:
            return self._seal_and_finish(error)
        except BaseException:  # an interrupt may have come before the uninterrupted call began
            self._seal_and_finish(error)
            raise

    def _seal_and_finish(self, error: ConnectError | None) -> bool:
        if not self._worker.seal():
            return False
        call_uninterrupted(partial(self._finish_unstarted, error))
        return True

    def _finish_unstarted(self, error: ConnectError | None) -> None:
        if self._context.state.move(State.CLOSED, error):
            self._supervisor.drained = not self._context.queue.messages and not self._context.table.waiting
        finish(self._context, State.CLOSED, error)
        self._context.log.flush(Deadline.after(FINISH_TIMEOUT, time.monotonic()))

    def _await_end(self, deadline: Deadline) -> None:
        until = Deadline.after(EXTRA_WAIT, deadline.at or 0.0)
        if self._context.state.wait_while(_RUNNING, until) in _RUNNING:
            self._abandon()
        self._join_threads(Deadline.after(EXTRA_WAIT * 0.8, until.at or 0.0))

    def _join_threads(self, until: Deadline) -> None:
        """Wait until both threads have ended or the deadline passed; the caller may be one of them."""
        if not self._abandoned and not self._worker.here():
            self._worker.join(until)
        if not self._context.hooks.join(until):
            self._warn("a hook does not return; its thread is abandoned.")

    def _abandon(self) -> None:
        """End the client without its I/O thread, which is blocked in the user's code."""
        self._warn(
            "the I/O thread does not respond to close(): it is blocked in a function of the program, such as "
            "on_session, match, until, key, url, headers, sock, ssl_context, should_retry, a function given to "
            "subscribe(), or a protocol. Its connection is cut, and the thread is abandoned."
        )
        self._abandoned = True
        self._supervisor.abort()
        finish(self._context, State.CLOSED, None)
        processes.unregister(self)

    def _warn(self, text: str) -> None:
        """Log a warning without waiting for long: the hook or the I/O thread may be blocked in a logging handler."""
        self._context.log.queue(logging.WARNING, text)
        self._context.log.flush(Deadline.after(LOG_TIMEOUT, time.monotonic()))

    # --- processes ---------------------------------------------------------------------------------------------------

    def after_fork(self) -> None:
        """Close a forked child's copies of the descriptors (this sends nothing to the server), and make every call
        raise.
        """
        self._context.guard.forked = True
        self._context.commands.close_descriptors()
        if self._context.recorder is not None:
            self._context.recorder.after_fork()
        for sock in self._supervisor.sockets():
            sock.close()

    def at_exit(self, timeout: float) -> None:
        """Close the client, since the interpreter exits."""
        try:
            self.close(1001, "", timeout, wait=True)
        finally:
            # If no thread can be started for the last records, this thread handles them. Otherwise the I/O thread has
            # waited for them.
            self._context.log.finish(Deadline(time.monotonic()))
