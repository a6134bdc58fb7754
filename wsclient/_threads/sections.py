"""Critical sections, and the check whether a call has interrupted one on its own thread.

The garbage collector runs finalizers, and the interpreter runs signal handlers and trace functions, between any two
steps of a thread, so also while this thread holds a lock of this package. If such a function calls the client, the call
must not wait for a lock, since two deadlocks are possible:

    * The interrupted code of this thread holds the lock. It continues only when the function has returned.
    * Another thread holds the lock. That thread was interrupted too, and the function that interrupted it waits for a
      lock that this thread holds.

Guarantees:
    * ``this_thread.inside()`` is True while the calling thread holds a lock of this package (except ``import_lock``),
      just before it acquires one, and just after it has released it. It takes no lock and may be called anywhere.
    * A thread inside a section does not wait for a second lock. Exception: a thread that holds a write lock acquires
      other locks, one at a time, and writes to the socket. No thread waits for a write lock while it holds one of the
      other locks. So no circle of waiting threads is possible.

The rule for each public call inside a section: A call that does not wait adds its work to a container by one atomic
operation, and wakes the I/O thread. ``MessageQueue.handed_over`` and ``RequestTable.handed_over`` are emptied by the
next thread that acquires the lock of the queue or of the table, ``Subscriptions.events`` by the I/O thread. A call that
waits raises ``WouldDeadlock`` (see ``Guard``). ARCHITECTURE.md ("Locks") lists all calls.

Each section is written ``with this_thread.section, self._lock:``, except in ``RequestTable.assign_id``, which is called
inside the section of the write lock. ``section`` is a reentrant lock of the thread, which no other thread uses, so
entering it never waits. Both locks are made interrupt-safe by ``locks``, so an interrupt can't leave one of them
locked. The section costs 0.3 µs (measured), about as much as the lock itself.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any, Final

from .locks import interrupt_safe

__all__ = ["this_thread"]


class _ThisThread(threading.local):
    """The section of each thread.

    Attributes:
        section: a context manager, which is entered while the thread holds a lock of this package.
        inside: a C function that returns whether ``section`` is entered.
    """

    # Used if a function interrupts `__init__` and calls the client. The thread is then not inside a section.
    section: Any = contextlib.nullcontext()
    inside: Callable[[], Any] = staticmethod(bool)

    def __init__(self) -> None:
        lock: Any = threading.RLock()
        self.section = interrupt_safe(lock)
        # Not public, but `threading.Condition` calls it too. The public method `locked()` exists only since 3.14.
        self.inside = lock._is_owned


this_thread: Final = _ThisThread()
