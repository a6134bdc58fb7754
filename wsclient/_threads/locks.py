"""Locks that are always released when a KeyboardInterrupt ends their ``with`` block.

Guarantees:
    * Wherever an interrupt occurs in ``with make_lock():``, the lock is released when the block has been left.
    * Where the interpreter itself guarantees this, ``make_lock()`` returns a plain lock, at no extra cost.

CPython handles signals when a call of C code returns, when a loop jumps back, and before the first line of a Python
function. CPython 3.10 to 3.13 does not handle them when a ``with`` block is entered, so a plain lock is safe there.
Since 3.14 ``__enter__`` is called like any other function. If it is the lock's own method, which is C code, signals are
handled when it returns: an interrupt can occur after the lock was acquired and before the block begins
(python/cpython#74174). If ``__enter__`` is a Python function, signals are handled before its first line, and not when
it returns. So on 3.14 a Python function acquires the lock, and C code appends the result of ``acquire()`` to a list;
after an interrupt that list shows whether the lock was acquired.
"""

from __future__ import annotations

import os
import sys
import threading
from _thread import get_ident
from typing import Any, Final, TypeVar, cast

__all__ = ["InterruptSafeLock", "interrupt_safe", "main_thread", "make_lock", "make_reentrant_lock"]

_ENTRY_IS_SAFE: Final = sys.version_info < (3, 14)

_ONCE: Final = (True,)
"""The arguments of the single call of ``acquire()``: ``blocking=True``."""

AnyLock = TypeVar("AnyLock")


class _MainThread:
    """The identity of the main thread, the one thread that runs signal handlers.

    Attributes:
        ident: as ``threading.get_ident()`` returns it on that thread.
    """

    __slots__ = ("ident",)

    def __init__(self) -> None:
        self.update()

    def update(self) -> None:
        """Read the identity again: in a forked child, the main thread is the thread that called ``os.fork()``."""
        self.ident = threading.main_thread().ident


main_thread: Final = _MainThread()
"""The main thread of this process."""

if hasattr(os, "register_at_fork"):  # pragma: no branch  (Windows has no fork)
    os.register_at_fork(after_in_child=main_thread.update)


class InterruptSafeLock:
    """A lock that is released even if an interrupt occurs on entering its ``with`` block (Python 3.14 and later).

    ``__enter__`` is Python code; the docstring of this module explains why. ``__exit__`` is the lock's own method,
    which is C code.
    """

    __slots__ = ("__exit__", "acquire", "locked", "release")

    def __init__(self, lock: Any) -> None:
        """
        Args:
            lock: a ``Lock`` or ``RLock`` of ``threading``.
        """
        self.acquire = lock.acquire
        self.release = lock.release
        self.locked = getattr(lock, "locked", None)  # RLock has this method since 3.14
        self.__exit__ = lock.__exit__

    def __enter__(self) -> None:
        if get_ident() != main_thread.ident:
            self.acquire()
            return
        taken: list[bool] = []
        try:
            taken.extend(map(self.acquire, _ONCE))
        except BaseException:
            if taken:
                self.release()
            raise


def interrupt_safe(lock: AnyLock) -> AnyLock:
    """The lock itself where the interpreter makes it safe, else the lock wrapped in an ``InterruptSafeLock``.

    Args:
        lock: a ``Lock`` or ``RLock`` of ``threading``.

    Returns:
        An object to use only through the methods that ``InterruptSafeLock`` has.
    """
    return lock if _ENTRY_IS_SAFE else cast("AnyLock", InterruptSafeLock(lock))


def make_lock() -> threading.Lock:
    """A new lock for ``with`` statements: a ``threading.Lock``, made interrupt-safe."""
    return interrupt_safe(threading.Lock())


def make_reentrant_lock() -> Any:
    """A new lock that its holder can acquire again: a ``threading.RLock``, made interrupt-safe."""
    return interrupt_safe(threading.RLock())
