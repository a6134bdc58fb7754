"""The future of a request, as ``submit()`` returns it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout  # a TimeoutError since Python 3.11
from functools import partial
from typing import TYPE_CHECKING, Any

from .._threads.deadline import Deadline
from .._threads.waiting import InterruptSafeCondition, Notifier
from .request import CANCELLED, Request

if TYPE_CHECKING:
    from .batches import Batch

__all__ = ["RequestFuture"]


class RequestFuture(Future[Any]):
    """What ``submit()`` returns: a ``Future`` whose ``cancel()`` withdraws the request.

    Thread-safe. Done-callbacks run on the client's hook thread.
    """

    _ended: Notifier | None = None
    """Notifies the threads that wait; made by the first of them."""

    def __init__(
        self,
        request: Request | Batch,
        withdraw: Callable[[Any], None],
        post: Callable[[Callable[[], object]], None],
    ) -> None:
        """
        Args:
            request: what it stands for.
            withdraw: ends the request as cancelled, if it has not ended.
            post: runs a function on the hook thread.
        """
        super().__init__()
        # Measured: with the standard one, a quarter of the interrupts that struck here left it locked for ever.
        self._condition = InterruptSafeCondition()
        self._request = request
        self._withdraw = withdraw
        self._post = post
        self._is_cancel_notified = False

    def cancel(self) -> bool:
        """Withdraw the request: it is not sent any more if it was queued, and its reply counts as late.

        Returns:
            True if the future is cancelled; False if an outcome was there first.
        """
        try:
            self._withdraw(self._request)
        finally:  # an interrupt may have struck after the request was taken: finish what was decided
            if self._request.outcome is CANCELLED:
                try:
                    super().cancel()
                    self._notify_of_cancel()
                finally:
                    try:
                        self._wake()
                    except BaseException:  # an interrupt may have struck at its first line
                        self._wake()
                        raise
        return self.cancelled()

    def result(self, timeout: float | None = None) -> Any:
        """The reply; waits up to ``timeout`` seconds, None for as long as it takes.

        Raises:
            TimeoutError: there was no outcome within the timeout. The request goes on.
            CancelledError: the future was cancelled.
            WebSocketClientError: the request failed.
        """
        try:
            self._await_outcome(timeout)
            return super().result(0)
        finally:
            del self  # or the traceback of the error would keep the future, and so the error

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The error the request failed with, None if it did not fail; waits and raises as ``result`` does."""
        self._await_outcome(timeout)
        return super().exception(0)

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """Have ``fn(future)`` called on the hook thread once the outcome is there."""
        super().add_done_callback(partial(self._post_callback, fn))

    def complete(self, value: Any, error: BaseException | None) -> None:
        """Keep the outcome, and wake the threads that wait for it."""
        try:
            if error is not None:
                self.set_exception(error)
            else:
                self.set_result(value)
        finally:
            self._wake()

    def _await_outcome(self, timeout: float | None) -> None:
        """Wait, not as the base class does: an interrupt as ``Condition.wait()`` has just given its lock back comes
        out as a ``RuntimeError``, since the block gives it back once more.
        """
        if self.done():
            return
        ended: Notifier = self.__dict__.setdefault("_ended", Notifier())  # in one step: others may come to wait, too
        deadline = Deadline.after(timeout, time.monotonic())
        while not self.done():
            with ended.watch() as latch:
                if not self.done() and not latch.wait(deadline):
                    raise FutureTimeout

    def _wake(self) -> None:
        """Wake the threads that wait here."""
        if self._ended is not None:
            self._ended.announce()

    def _post_callback(self, fn: Callable[[Future[Any]], object], future: Future[Any]) -> None:
        self._post(partial(fn, future))

    def _notify_of_cancel(self) -> None:
        """Wake ``concurrent.futures.wait()``, which does not notice ``cancel()`` alone. Once only."""
        with self._condition:
            if not self._is_cancel_notified:
                self._is_cancel_notified = True
                self.set_running_or_notify_cancel()
