"""Locks that Ctrl-C can't leave taken.

Guarantees:
    * Wherever an interrupt strikes in ``with make_lock():``, the lock is free once the block is left.
    * It costs nothing where the interpreter gives that by itself.

CPython 3.10 to 3.13 does: it looks for signals when a call returns and when a loop goes round, and entering a ``with``
block is neither. Since 3.14 ``__enter__`` is called like any function, so where it is a lock's own, in C, an interrupt
can strike when the lock is taken and the block has not begun (python/cpython#74174). For a function in Python it looks
before the first line, and not as the function returns; so there the lock is taken within one, and what C code keeps of
it tells whether it was.
"""

from __future__ import annotations

import os
import sys
import threading
from _thread import get_ident
from typing import Any, Final, TypeVar, cast

__all__ = ["InterruptSafeLock", "interrupt_safe", "make_lock"]

_ENTRY_IS_SAFE: Final = sys.version_info < (3, 14)

_ONCE: Final = (True,)
"""Arguments of the one call that takes a lock: wait for it."""

AnyLock = TypeVar("AnyLock")


class _MainThread:
    """The one thread that signal handlers run on."""

    __slots__ = ("ident",)

    def __init__(self) -> None:
        self.note()

    def note(self) -> None:
        """Look who it is: in the child of a fork it is whoever forked."""
        self.ident = threading.main_thread().ident


_main: Final = _MainThread()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_main.note)


class InterruptSafeLock:
    """A lock whose ``with`` block can be entered wherever interrupts strike. The block is left in C."""

    __slots__ = ("__exit__", "acquire", "locked", "release")

    def __init__(self, lock: Any) -> None:
        """
        Args:
            lock: a ``Lock`` or ``RLock`` of ``threading``.
        """
        self.acquire = lock.acquire
        self.release = lock.release
        self.locked = getattr(lock, "locked", None)  # an RLock has none before 3.14
        self.__exit__ = lock.__exit__

    def __enter__(self) -> None:
        if get_ident() != _main.ident:
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
    """The lock itself, or what takes it safely, for those who use no more of a lock than that class has."""
    return lock if _ENTRY_IS_SAFE else cast("AnyLock", InterruptSafeLock(lock))


def make_lock() -> threading.Lock:
    """A ``threading.Lock``, or what does the same."""
    return interrupt_safe(threading.Lock())
