"""A background thread: started at most once, waited for safely, whoever is interrupted meanwhile.

Guarantees:
    * ``start`` and ``seal`` exclude each other: the first one counts.
    * An interrupt in ``start`` leaves the thread started or not started, never in between. ``Thread.start()`` waits on
      an ``Event``, which an interrupt could leave locked, with the new thread standing before it for ever; so it is
      called on a short-lived helper thread, where no interrupt strikes.
    * ``join`` may be called by any number of threads, and ended by an interrupt at any point. ``Thread.join()`` may
      not: on CPython below 3.13 an interrupt in it declares a running thread dead (python/cpython#90882), and two at
      once can trip over an assertion. So the wait is our own, and ``Thread.join()`` sees off a thread that has done its
      work.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from .deadline import Deadline
from .locks import make_lock
from .waiting import Latch, Signal

__all__ = ["Worker", "shielded"]

_LAST_STEPS: Final = 1.0
"""Seconds for a thread that has done its work to be gone; it takes microseconds."""


class Worker:
    """A daemon thread.

    Attributes:
        starter: whoever ``start`` was first called for; None while nobody has.
    """

    __slots__ = ("_changed", "_done", "_lock", "_sealed", "_thread", "_work", "starter")

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        """
        Args:
            name: the thread's name.
            work: what it runs.
        """
        # Guards the decision to start or to seal, and Thread.join().
        self._lock = make_lock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._work = work
        self._done = False
        self._changed = Signal()
        self._sealed = False
        self.starter: object = None

    def start(self, starter: object) -> None:
        """Start the thread, unless it was started or sealed.

        Args:
            starter: anything but None, to recognise oneself by in ``starter``.

        Raises:
            RuntimeError: the system gives no more threads.
        """
        shielded(partial(self._start, starter))

    def seal(self) -> bool:
        """From now on ``start`` does nothing; False if the thread was started before."""
        with self._lock:
            if self.starter is None:
                self._sealed = True
            return self._sealed

    def here(self) -> bool:
        """Whether the caller is this thread."""
        return self._thread is threading.current_thread()

    def join(self, deadline: Deadline) -> bool:
        """Wait until the thread is gone; False if the deadline passed first. True at once if it was never started."""
        while self.starter is not None and not self._done:
            with self._changed.watch() as latch:
                if not self._done and not latch.wait(deadline):
                    return False
        if self.starter is not None:
            with self._lock:  # alone, see above; the thread needs it no more
                if self._thread.ident is not None:
                    self._thread.join(_LAST_STEPS)
        return True

    def _start(self, starter: object) -> None:
        with self._lock:
            first = self.starter is None and not self._sealed
            if first:
                self.starter = starter
        if first:
            try:
                self._thread.start()
            except BaseException:
                self._finish()
                raise

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._finish()

    def _finish(self) -> None:
        self._done = True
        self._changed.announce()


def shielded(call: Callable[[], None]) -> None:
    """Call a short function where no interrupt can strike, and wait for it; an interrupt may end the wait only.

    Raises:
        Whatever the function raises.
    """
    if threading.get_ident() != threading.main_thread().ident:
        call()
        return
    errors: list[BaseException] = []
    done = Latch()
    _thread.start_new_thread(_call, (call, done, errors))
    done.wait(Deadline(None))
    if errors:
        raise errors[0]


def _call(call: Callable[[], None], done: Latch, errors: list[BaseException]) -> None:
    try:
        call()
    except BaseException as error:  # handed to the caller, who raises it
        errors.append(error)
    finally:
        done.open()
