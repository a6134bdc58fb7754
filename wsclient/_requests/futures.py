"""The future that ``submit()`` returns for a request."""

from __future__ import annotations

import _thread
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout  # a TimeoutError since Python 3.11
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .._errors import WouldDeadlock
from .._threads.sections import this_thread
from .._threads.waiting import NEVER, Deadline, InterruptSafeCondition, Notifier
from .request import CANCELLED, Request

if TYPE_CHECKING:
    from .batches import Batch

__all__ = ["RequestFuture"]

_CANCELLED: Final = ("CANCELLED", "CANCELLED_AND_NOTIFIED")
_DONE: Final = (*_CANCELLED, "FINISHED")
"""The final values of ``Future._state``; the base class assigns them after the result."""

_WAITS: Final = (
    "result() or exception() of a future was called by a function that interrupted this thread inside the client (such "
    "as a finalizer or a signal handler), so the wait could not end. Use add_done_callback()."
)


class RequestFuture(Future[Any]):
    """What ``submit()`` returns: a ``Future`` whose ``cancel()`` withdraws the request.

    Thread-safe. Done-callbacks run on the client's hook thread; after that thread has ended, on the thread that sets
    the outcome or adds the callback. ``cancel()`` inside a critical section (see ``_threads.sections``) returns False;
    the I/O thread withdraws the request a moment later.
    """

    _ended: Notifier | None = None
    """Notifies the waiting threads; the first thread that waits creates it."""

    def __init__(
        self,
        request: Request | Batch,
        withdraw: Callable[[Any], None],
        post: Callable[[Callable[[], object]], None],
        later: Callable[[Callable[[Any], object], Any], object],
        end_overdue: Callable[[Any], None],
    ) -> None:
        """
        Args:
            request: the request or batch whose outcome the future holds.
            withdraw: ends the request as cancelled, if it has not ended.
            post: runs a function on the hook thread.
            later: calls a function with one argument on the I/O thread.
            end_overdue: ends the request, whose deadline has passed, if it has not ended.
        """
        super().__init__()
        # Measured: a quarter of the interrupts that occurred here left the standard condition locked permanently.
        self._condition = InterruptSafeCondition()
        self._request = request
        self._withdraw = withdraw
        self._post = post
        self._later = later
        self._end_overdue = end_overdue
        self._is_cancel_notified = False

    def cancel(self) -> bool:
        """Withdraw the request. If it is still queued, it is not sent. If it was sent, its reply is treated as late.

        Returns:
            True if the future is cancelled; False if it already had an outcome.
        """
        if this_thread.inside():
            self._later(RequestFuture.cancel, self)
            return self.cancelled()
        try:
            self._withdraw(self._request)
        finally:  # an interrupt may have occurred after the request was ended as cancelled: cancel the future as well
            if self._request.outcome is CANCELLED:
                try:
                    super().cancel()
                    self._notify_of_cancel()
                finally:
                    try:
                        self._wake()
                    except BaseException:  # an interrupt may have occurred before `_wake` did anything
                        self._wake()
                        raise
        return self.cancelled()

    def result(self, timeout: float | None = None) -> Any:
        """Return the reply; wait for it up to ``timeout`` seconds, or without a limit if it is None.

        Raises:
            TimeoutError: there was no outcome within the timeout. The request is not cancelled.
            CancelledError: the future was cancelled.
            WebSocketClientError: the request failed.
        """
        try:
            self._await_outcome(timeout)
            if self.cancelled():
                raise CancelledError
            if self._exception is not None:
                raise self._exception
            return self._result
        finally:
            del self  # otherwise the error's traceback refers to the future, and the future to the error

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the error of the request, None if it did not fail; wait and raise as ``result`` does."""
        self._await_outcome(timeout)
        if self.cancelled():
            raise CancelledError
        return self._exception

    def done(self) -> bool:
        """Return whether the future has an outcome. Takes no lock, unlike the method of the base class."""
        return self._state in _DONE

    def cancelled(self) -> bool:
        """Return whether the future was cancelled. Takes no lock, unlike the method of the base class."""
        return self._state in _CANCELLED

    def running(self) -> bool:
        """Return False: no thread executes the future."""
        return False

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """Call ``fn(future)`` when the future has an outcome; the docstring of the class names the thread."""
        callback = partial(self._post_callback, fn)
        if this_thread.inside():  # no lock may be taken here, so a new thread takes it
            _thread.start_new_thread(super().add_done_callback, (callback,))
        else:
            super().add_done_callback(callback)

    def complete(self, value: Any, error: BaseException | None) -> None:
        """Store the outcome, and wake the threads that wait for it."""
        try:
            if error is not None:
                self.set_exception(error)
            else:
                self.set_result(value)
        finally:
            self._wake()

    def _await_outcome(self, timeout: float | None) -> None:
        """Wait for the outcome. At the request's deadline, end the request, since the I/O thread may be busy in the
        user's code.

        The base class uses ``Condition.wait()``, this method does not: if an interrupt occurs just after that function
        has released the lock of the condition, the ``with`` block releases the lock again and raises ``RuntimeError``.
        """
        if this_thread.inside() and not self.done():
            raise WouldDeadlock(_WAITS)
        if self.done():
            return
        ended: Notifier = self.__dict__.setdefault("_ended", Notifier())  # atomic: other threads may start to wait too
        deadline = Deadline.after(timeout, time.monotonic())
        due = self._request.deadline
        while not self.done():
            with ended.watch() as latch:
                if self.done() or latch.wait(deadline.sooner(due)):
                    continue
            now = time.monotonic()
            if due.passed(now):
                self._end_overdue(self._request)
                due = NEVER
            elif deadline.passed(now):  # pragma: no branch  (a wait may end a moment before its time)
                raise FutureTimeout

    def _wake(self) -> None:
        """Wake the threads that wait for the outcome."""
        if self._ended is not None:
            self._ended.announce()

    def _post_callback(self, fn: Callable[[Future[Any]], object], future: Future[Any]) -> None:
        self._post(partial(fn, future))

    def _notify_of_cancel(self) -> None:
        """Wake ``concurrent.futures.wait()``, once only: ``cancel()`` alone does not notify it."""
        with self._condition:
            if not self._is_cancel_notified:
                self._is_cancel_notified = True
                self.set_running_or_notify_cancel()
