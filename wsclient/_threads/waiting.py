"""Deadlines, and waits that a KeyboardInterrupt can end without leaving a lock locked.

All waits of one call share one ``Deadline``. It reads no clock: callers pass ``now``, always from ``time.monotonic()``,
so a change of the wall clock, daylight saving time or an NTP step can neither lengthen nor shorten a wait.

Guarantees:
    * A KeyboardInterrupt ends a wait at once (on Windows within 0.1 s) and leaves no lock locked. An interrupt that
      comes right before the thread blocks, after the interpreter's last check for signals, ends the wait within
      1 s.
    * ``Latch.open()`` never blocks and may be called from any thread.

``threading.Condition``, which ``Event`` uses, can leave its lock locked: its ``__enter__`` is Python code that calls
the lock's ``__enter__``. An interrupt can occur when this call returns: after the lock was acquired and before the
``with`` block begins. The lock then stays locked forever. Measured with ``concurrent.futures.Future``, which uses a
``Condition``: 193 of 802 interrupts left the lock locked. With a plain ``threading.Lock`` in a ``with`` statement:
none, since CPython 3.10 to 3.13 does not handle interrupts when the ``with`` statement calls a lock's own methods,
which are C code (python/cpython#74174). For Python 3.14 see ``locks``.

Rule for each critical section that the main thread may run: First make all calls that prepare the change. Then change
the data by plain assignments. Only the last step makes the change visible to other threads; this step is one assignment
or one call.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from _thread import get_ident
from typing import Any, Final

from .locks import interrupt_safe, main_thread

__all__ = ["NEVER", "Deadline", "InterruptSafeCondition", "Latch", "Notifier", "Waiter"]

# Longest single call of Lock.acquire() on the main thread, in seconds. A longer wait is divided into several calls: on
# Windows Ctrl-C does not end a call (python/cpython#74157), and on other systems it does not end a call that begins
# right after Ctrl-C.
_SLICE = 0.1 if sys.platform == "win32" else 1.0


class Deadline:
    """The moment at which all waits of one call end. A deadline without a moment sets no time limit.

    Immutable, so any number of threads may share one.

    Attributes:
        at: the moment on the monotonic clock, in seconds; None for never.
        seconds: the timeout of the call, which the texts of errors show; None if unknown.
    """

    __slots__ = ("at", "seconds")

    def __init__(self, at: float | None, seconds: float | None = None) -> None:
        """
        Args:
            at: the moment on the monotonic clock, in seconds; None for never.
            seconds: see the class.
        """
        self.at = at
        self.seconds = seconds

    @classmethod
    def after(cls, seconds: float | None, now: float) -> Deadline:
        """The deadline ``seconds`` after ``now``; with None, a deadline that never passes."""
        return cls(None if seconds is None else now + seconds, seconds)

    def left(self, now: float) -> float | None:
        """Seconds left, never negative; None if the deadline never passes."""
        # Comparisons and not `max`, here and in other frequent steps: before Python 3.13 a call of `max` costs 0.3 µs.
        at = self.at
        return None if at is None else at - now if at > now else 0.0

    def passed(self, now: float) -> bool:
        """Whether the deadline has passed."""
        return self.at is not None and now >= self.at

    def sooner(self, other: Deadline) -> Deadline:
        """The earlier of two deadlines."""
        if self.at is None:
            return other
        if other.at is None:
            return self
        return self if self.at <= other.at else other


NEVER: Final = Deadline(None)
"""The deadline of waits without a time limit."""


_OPEN = type(threading.Lock()).release


class Latch:
    """An event that happens once and that one thread waits for."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards no data: it is locked until open() releases it
        self._lock.acquire()

    def open(self) -> None:
        """End the wait. Must be called at most once."""
        self._lock.release()

    def wait(self, deadline: Deadline) -> bool:
        """Wait until ``open()`` is called or the deadline passes.

        Returns:
            True if ``open()`` was called. ``wait()`` may be called again only if it returned False.
        """
        while True:
            left = deadline.left(time.monotonic())
            most = _SLICE if get_ident() == main_thread.ident else threading.TIMEOUT_MAX
            seconds = most if left is None or left > most else left
            if self._lock.acquire(timeout=seconds):
                return True
            if left is not None and left <= seconds:
                return False


class Waiter(Latch):
    """A latch with an outcome: one thread waits for it, another thread completes it.

    Attributes:
        value: the result, if the latch was completed without an error.
        error: the error; None if there is none.
    """

    value: Any = None
    error: BaseException | None = None

    def complete(self, value: Any, error: BaseException | None) -> None:
        """Store the outcome and end the wait. Must be called at most once."""
        self.value = value
        self.error = error
        self._lock.release()


class Notifier:
    """Notifies any number of waiting threads that a condition may have changed. Thread-safe.

    A waiting thread checks its condition after it has registered its latch, so no notification is lost::

        while not wanted():
            with notifier.watch() as latch:
                if wanted() or not latch.wait(deadline):
                    break

    ``announce()`` costs one attribute look-up while no thread waits.

    Attributes:
        latches: the latches of the waiting threads. Other classes may check only whether it is empty.
    """

    __slots__ = ("latches",)

    def __init__(self) -> None:
        # There is no lock: a latch is added, and removed, by one atomic operation of the dict. So the thread that
        # removes a latch is the only one that opens it.
        self.latches: dict[Latch, Any] = {}

    def announce(self) -> None:
        """Wake all waiting threads, or none of them if an interrupt occurs before the first one is woken."""
        latches = self.latches
        if not latches:
            return
        woken: list[None] = []
        waiting = list(latches)
        # Runs in C code as a whole, so that no interrupt occurs between the removal of a latch and its opening.
        woken.extend(map(_OPEN, filter(None, map(latches.pop, waiting, itertools.repeat(None)))))

    def watch(self) -> _Watch:
        """A context manager that registers a new latch, which the next ``announce()`` opens.

        At the end of the block the latch is removed.
        """
        # The latch is created here and not in `_Watch.__init__`: nested constructor calls need a deeper C stack, 4 KiB
        # more for each waiting thread (measured).
        return _Watch(self, Latch())


class _Watch:
    """The registration of one latch. If an interrupt ends one of its methods, at most one unused latch remains."""

    __slots__ = ("_latch", "_notifier")

    def __init__(self, notifier: Notifier, latch: Latch) -> None:
        self._notifier = notifier
        self._latch = latch

    def __enter__(self) -> Latch:
        latch = self._latch
        self._notifier.latches[latch] = latch._lock
        return latch

    def __exit__(self, *exc: object) -> None:
        self._notifier.latches.pop(self._latch, None)


class InterruptSafeCondition(threading.Condition):
    """A ``Condition`` whose lock is released even if an interrupt occurs on entering or leaving its ``with`` block.

    The two slots replace the methods of ``Condition``, which are Python code: the ``with`` statement finds the slot's
    descriptor on the type, and the descriptor returns the lock's own ``__enter__`` and ``__exit__``.
    """

    __slots__ = ("__enter__", "__exit__")

    def __init__(self) -> None:
        lock = threading.RLock()
        super().__init__(lock)
        lock = interrupt_safe(lock)
        self.__enter__ = lock.__enter__  # type: ignore[method-assign]
        self.__exit__ = lock.__exit__  # type: ignore[method-assign]
