"""A background thread that starts at most once, and whose start and join are safe against interrupts.

Guarantees:
    * Of ``start``, ``run_here`` and ``seal`` only the first call takes effect. A ``start`` that raised had no effect,
      so a later one may succeed.
    * A KeyboardInterrupt in ``start`` leaves the thread either started or not started. ``Thread.start()`` waits on an
      ``Event``; an interrupt could leave that event's lock locked, and the new thread would wait for it forever. So
      ``Thread.start()`` is called on a short-lived helper thread, where no interrupt is raised.
    * Any number of threads may call ``join``, and an interrupt may end it at any point. ``Thread.join()`` is not safe
      in either case: on CPython below 3.13 two concurrent calls can fail an assertion, and an interrupt inside it marks
      a running thread as ended (python/cpython#90882). So ``join`` first waits, by other means, for the end of the
      thread's work, and only then calls ``Thread.join()``: one thread at a time, and without waiting inside it.
"""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from .locks import make_lock
from .sections import this_thread
from .waiting import Deadline, Latch, Notifier

__all__ = ["BackgroundThread", "call_uninterrupted"]

_EXIT_TIMEOUT: Final = 1.0
"""Longest wait, in seconds, for the end of a thread that has finished its work; normally it takes microseconds."""

_EXIT_CHECK: Final = 0.001
"""Seconds between two checks whether such a thread has ended."""


class BackgroundThread:
    """A daemon thread. All methods are thread-safe.

    Attributes:
        starter: the argument of the ``start()`` that has started the thread, or this object if ``run_here()`` does the
            work; None before that.
    """

    __slots__ = ("_changed", "_done", "_lock", "_name", "_sealed", "_thread", "_work", "starter")

    is_reported = True
    """For ``ThreadStarter``: a failure to start the thread is reported to ``on_error``."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        """
        Args:
            name: the thread's name.
            work: the function that it runs.
        """
        # Guards the decision between start and seal, and serializes the calls of Thread.join().
        self._lock = make_lock()
        self._name = name
        self._thread: threading.Thread | None = None
        self._work = work
        self._done = False
        self._changed = Notifier()
        self._sealed = False
        self.starter: object = None

    def start(self, starter: object) -> None:
        """Start the thread, unless ``start`` or ``seal`` was called before.

        Args:
            starter: any object but None. The caller compares it with ``self.starter`` to see whether its own call
                started the thread.

        Raises:
            RuntimeError: the operating system can't create another thread.
        """
        call_uninterrupted(partial(self._start, starter))

    def run_here(self) -> None:
        """Do the work on the caller's thread, unless ``start`` or ``seal`` was called before."""
        with this_thread.section, self._lock:
            first = self.starter is None and not self._sealed
            if first:
                self.starter = self
        if first:
            self._run()

    def seal(self) -> bool:
        """Prevent a start: from now on ``start`` has no effect.

        Returns:
            False if the thread was started before.
        """
        with this_thread.section, self._lock:
            if self.starter is None:
                self._sealed = True
            return self._sealed

    def here(self) -> bool:
        """Whether the caller is this thread."""
        return self._thread is threading.current_thread()

    def join(self, deadline: Deadline) -> bool:
        """Wait until the thread has ended.

        Returns:
            True if the thread has ended or was never started; False if the deadline passed before the end of its work,
            or if the thread has not ended within ``_EXIT_TIMEOUT`` after that.
        """
        while self.starter is not None and not self._done:
            with self._changed.watch() as latch:
                if self.starter is not None and not self._done and not latch.wait(deadline):
                    return False
        if self.starter is None:
            return True
        until = Deadline.after(_EXIT_TIMEOUT, time.monotonic())
        while not self._has_ended():
            now = time.monotonic()
            if until.passed(now):
                return False
            Latch().wait(Deadline.after(_EXIT_CHECK, now))
        return True

    def _has_ended(self) -> bool:
        """Return whether a thread that has finished its work has ended."""
        with this_thread.section, self._lock:  # one Thread.join() at a time, see above
            thread = self._thread
            if thread is None or thread.ident is None:
                return True
            thread.join(0.0)
            return not thread.is_alive()

    def _start(self, starter: object) -> None:
        with this_thread.section, self._lock:
            first = self.starter is None and not self._sealed
            if first:
                self.starter = starter
        if first:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                self._thread.start()
            except BaseException:
                self._thread = self.starter = None
                self._changed.announce()  # ends the wait of join() on other threads
                raise

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._finish()

    def _finish(self) -> None:
        self._done = True
        self._changed.announce()


def call_uninterrupted(call: Callable[[], None]) -> None:
    """Call a short function on a thread where no interrupt is raised, and wait for its return.

    A KeyboardInterrupt ends the wait; the function itself runs to its end, unless the interrupt came before its thread
    was started. If the caller is not on the main thread, or no further thread can be started (as at the interpreter's
    exit), the function is called directly.

    Args:
        call: the function.

    Raises:
        BaseException: the exception that the function raised.
    """
    if threading.get_ident() != threading.main_thread().ident:
        call()
        return
    errors: list[BaseException] = []
    done = Latch()
    try:
        _thread.start_new_thread(_call, (call, done, errors))
    except RuntimeError:
        call()
        return
    done.wait(Deadline(None))
    if errors:
        raise errors[0]


def _call(  # pragma: no cover  (on a thread that is not traced)
    call: Callable[[], None], done: Latch, errors: list[BaseException]
) -> None:
    try:
        call()
    except BaseException as error:  # the waiting thread raises it
        errors.append(error)
    finally:
        done.open()
