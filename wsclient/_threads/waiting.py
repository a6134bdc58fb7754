"""Waiting that Ctrl-C can end, and that Ctrl-C can't break.

Guarantees:
    * A ``KeyboardInterrupt`` ends a wait at once and leaves nothing locked.
    * ``open()`` never blocks and may be called from any thread.

Why not ``threading.Event`` or ``Condition``: their ``__enter__`` is Python code, so an interrupt can strike after the
lock was taken and before the ``with`` block began; the lock then stays taken for ever. Measured with
``concurrent.futures.Future``, which is built on them: 193 of 802 interrupts left its lock behind. A plain
``threading.Lock`` in a ``with`` statement lost none: since CPython 3.10 interrupts are handled only when a call
returns or a loop goes round (python/cpython#74174), and a lock's own methods are C. (For 3.14 see ``_lock``.)

Rule for every critical section the main thread may run: make the calls first, then change things by plain
assignments, and let the one call that commits come last.
"""

from __future__ import annotations

import itertools
import operator
import sys
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .locks import interrupt_safe

if TYPE_CHECKING:
    from .deadline import Deadline

__all__ = ["InterruptSafeCondition", "Latch", "Signal"]

# On Windows a thread inside Lock.acquire() does not notice Ctrl-C (python/cpython#74157): wait there in slices.
_SLICE = 0.1 if sys.platform == "win32" else threading.TIMEOUT_MAX


# C code takes these along a row without looking for signals in between.
_OPEN = type(threading.Lock()).release
_LOCK_OF = operator.attrgetter("_lock")


class Latch:
    """A gate that opens once, for one waiting thread."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held while the gate is shut
        self._lock.acquire()

    def open(self) -> None:
        """Let the waiter through. To be called once, by whoever decided that it may pass."""
        self._lock.release()

    def wait(self, deadline: Deadline) -> bool:
        """Wait until the gate opens or the deadline passes.

        Returns:
            True if it opened. To be asked again only after False.
        """
        while True:
            left = deadline.left(time.monotonic())
            seconds = _SLICE if left is None else min(left, _SLICE)
            if self._lock.acquire(timeout=seconds):
                return True
            if left is not None and left <= seconds:
                return False


class Signal:
    """Tells any number of threads that something they watch may have changed.

    A watcher looks, and waits only if what it saw is not what it wants::

        while not wanted():
            with signal.watch() as latch:
                if wanted() or not latch.wait(deadline):
                    break

    ``announce()`` costs one attribute look-up while nobody watches.

    Attributes:
        latches: those of who watches; for others to look at only whether there are any.
    """

    __slots__ = ("_lock", "latches")

    def __init__(self) -> None:
        # Guards the set of latches of those who wait. Its owner may take it again: from Python 3.14 on a signal handler
        # may run when it has just been taken, and ask for the same.
        self._lock = interrupt_safe(threading.RLock())
        self.latches: dict[Latch, None] = {}

    def announce(self) -> None:
        """Wake everyone who watches: all of them or, if an interrupt is before it, none."""
        if not self.latches:
            return
        woken: list[Iterable[Latch]] = [()]
        opened: list[None] = []
        opening = map(_OPEN, map(_LOCK_OF, itertools.chain.from_iterable(woken)))  # nothing is done before `extend`
        try:
            with self._lock:
                woken[0], self.latches = self.latches, {}
        finally:
            opened.extend(opening)

    def watch(self) -> _Watch:
        """A context manager that gives a latch which the next ``announce()`` opens."""
        # Made here: a constructor within a constructor takes one more page of the stack of every thread that waits.
        return _Watch(self, Latch())


class _Watch:
    """One watcher's stay; an interrupt that strikes between its lines leaves at most a latch that nobody reads."""

    __slots__ = ("_latch", "_signal")

    def __init__(self, signal: Signal, latch: Latch) -> None:
        self._signal = signal
        self._latch = latch

    def __enter__(self) -> Latch:
        signal, latch = self._signal, self._latch
        with signal._lock:
            signal.latches[latch] = None
        return latch

    def __exit__(self, *exc: object) -> None:
        signal, latch = self._signal, self._latch
        with signal._lock:
            if latch in signal.latches:
                del signal.latches[latch]


class InterruptSafeCondition(threading.Condition):
    """A ``Condition`` whose ``with`` block an interrupt can't leave with the lock taken.

    The two slots shadow the methods of the class: the ``with`` statement finds the slot's descriptor on the type, and
    the descriptor hands out what takes and frees the lock itself.
    """

    __slots__ = ("__enter__", "__exit__")

    def __init__(self) -> None:
        lock = threading.RLock()
        super().__init__(lock)
        lock = interrupt_safe(lock)
        self.__enter__ = lock.__enter__  # type: ignore[method-assign]
        self.__exit__ = lock.__exit__  # type: ignore[method-assign]
