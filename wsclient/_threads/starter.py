"""Starts the threads of one client, and tries again later if the operating system refuses a further thread.

A refusal is often temporary: a container has a limit on processes and threads, which all its programs share. So
the start is tried again one second later: by the I/O thread, or by the next ``start`` of the same thread if the I/O
thread has not tried it by then.

Guarantees:
    * The first failure to start a thread is reported. Further failures are not reported until all waiting threads have
      been started; then the next failure is reported again.
    * At the client's end, the I/O thread itself does the work of the threads that could not be started, after it has
      ended all waits. So queued hooks and log records are not lost.
    * ``start_later`` takes no lock and does not wait, so a finalizer, or a thread that holds a lock, may call it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final, Protocol

__all__ = ["ThreadStarter"]

RETRY: Final = 1.0
"""Seconds between two attempts to start a thread. At this rate the attempts cost nearly nothing. When the system
permits the thread, it is started at most one second later."""


class Startable(Protocol):
    """A thread, or an object whose work needs a thread for a short time.

    Attributes:
        is_reported: whether a failure to start it is reported to ``on_error``.
    """

    @property
    def is_reported(self) -> bool:
        """Whether a failure to start it is reported."""

    def start(self, starter: object) -> None:
        """Start it; no effect if it runs.

        Raises:
            RuntimeError: the operating system can't create another thread.
        """

    def run_here(self) -> None:
        """Do its work on the caller's thread, unless it was started."""


class ThreadStarter:
    """Starts threads, and keeps those that could not be started. Thread-safe.

    Attributes:
        retry_at: when the I/O thread must call ``retry``, on the monotonic clock; infinity if there is no need.
        on_failure: called with the error of the first thread that could not be started.
    """

    __slots__ = ("_is_failing", "_waiting", "_wake", "on_failure", "retry_at")

    def __init__(self, wake: Callable[[], object]) -> None:
        """
        Args:
            wake: wakes the I/O thread, so that it checks ``retry_at``.
        """
        self._wake = wake
        self._waiting: dict[Startable, None] = {}  # no lock: each step is one operation of the dict, which is atomic
        self._is_failing = False
        self.retry_at = math.inf
        self.on_failure: Callable[[RuntimeError], object] = repr

    def start(self, thread: Startable) -> None:
        """Start a thread, or let the I/O thread try again later. May be called on any thread."""
        if thread not in self._waiting or time.monotonic() >= self.retry_at:
            self._attempt(thread)

    def start_later(self, thread: Startable) -> None:
        """Let the I/O thread start a thread. May be called anywhere, also in a finalizer or under a lock."""
        if thread not in self._waiting:  # otherwise it is started at `retry_at`
            self._waiting[thread] = None
            self.retry_at = -math.inf
            self._wake()

    def retry(self) -> None:
        """Try again to start what is not started yet. The I/O thread calls this at the time ``retry_at``."""
        self.retry_at = math.inf  # before the loop: a later call of `start_later` sets it again
        for thread in list(self._waiting):
            self._attempt(thread)

    def finish(self) -> None:
        """Start what is not started yet, and run on this thread what can't be started. The I/O thread calls this at its
        end.
        """
        for thread in list(self._waiting):
            self._waiting.pop(thread, None)
            try:
                thread.start(self)
            except RuntimeError:
                thread.run_here()

    def _attempt(self, thread: Startable) -> None:
        self._waiting.pop(thread, None)  # before the start, so that a later call of `start_later` causes another start
        try:
            thread.start(self)
        except RuntimeError as error:
            self._waiting[thread] = None
            self.retry_at = time.monotonic() + RETRY
            self._wake()
            if thread.is_reported and not self._is_failing:
                self._is_failing = True
                self.on_failure(error)
        else:
            if not self._waiting:
                self._is_failing = False
