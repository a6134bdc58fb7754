"""What a test left behind: open clients, their threads, descriptors."""

from __future__ import annotations

import contextlib
import gc
import operator
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from .._threads import processes
from .._threads.deadline import Deadline
from .._threads.waiting import Latch

__all__ = ["Belongings", "close_clients", "left_since", "told"]

GRACE: Final = 2.0
"""Seconds the threads of a client that was closed with ``wait=False``, or of a test's server, get to end."""

_PAUSE: Final = 0.01
"""Seconds between two looks at what is about to end."""

_THREADS: Final = re.compile(r"-(io|hooks|worker-\d+-\d+)$")
"""Names of a client's threads: they begin with the client's own."""

_FOLDERS: Final = ("/proc/self/fd", "/dev/fd")
"""Where the descriptors of this process are listed: Linux, macOS. Elsewhere they are not looked at."""

_KINDS: Final = ("socket:", "pipe:", "anon_inode:[eventpoll]")
"""Descriptors that a client, server or proxy opens. Files are left alone: logging, capturing and imports open some."""


@dataclass
class Belongings:
    """What there is at one moment.

    Attributes:
        clients: those that were started and not closed.
        threads: threads of clients.
        descriptors: sockets, pipes and pollers, by number and what stands behind it.
    """

    clients: set[Any] = field(default_factory=set)
    threads: set[threading.Thread] = field(default_factory=set)
    descriptors: set[tuple[int, str]] = field(default_factory=set)

    @classmethod
    def now(cls) -> Belongings:
        """Those of this process."""
        belongings = cls.of_clients()
        belongings.descriptors = set(_descriptors())
        return belongings

    @classmethod
    def of_clients(cls) -> Belongings:
        """Clients and their threads alone; for suites whose own tests leave sockets to the garbage collector."""
        threads = {thread for thread in threading.enumerate() if _THREADS.search(thread.name)}
        return cls(set(processes._residents.values()), threads)

    def without(self, others: Belongings) -> Belongings:
        """What came since those were taken down; a client that was there may have started its other thread since."""
        theirs = tuple(f"{client.name}-" for client in others.clients)
        threads = {thread for thread in self.threads - others.threads if not thread.name.startswith(theirs)}
        return Belongings(self.clients - others.clients, threads, self.descriptors - others.descriptors)

    def add(self, others: Belongings) -> None:
        """These are to be there as well."""
        self.clients |= others.clients
        self.threads |= others.threads
        self.descriptors |= others.descriptors

    def __bool__(self) -> bool:
        return bool(self.clients or self.threads or self.descriptors)


def left_since(before: Belongings, grace: float = GRACE, now: Callable[[], Belongings] = Belongings.now) -> Belongings:
    """What is there now and was not before; what is about to end gets a moment for it.

    A client that is open will not end by itself. One that was told to close will, and so may threads of closed ones,
    and the sockets of a server's threads (``websockets`` before 17 does not wait for them).

    Args:
        before: what there was.
        grace: seconds they get.
        now: takes down what there is, as it did for ``before``.
    """
    left = now().without(before)
    if not left:
        return left
    gc.collect()  # a socket that nobody holds any more is no leak, though it should have been closed
    deadline = Deadline.after(grace, time.monotonic())
    never = Latch()  # nothing tells when a descriptor is closed, so one looks again and again
    left = now().without(before)
    while left and all(client.ends for client in left.clients) and not deadline.passed(time.monotonic()):
        never.wait(deadline.sooner(Deadline.after(_PAUSE, time.monotonic())))
        left = now().without(before)
    return left


def close_clients(clients: Iterable[Any]) -> None:
    """Close forgotten clients, so that the next test does not suffer for it."""
    for client in clients:
        client.close(1000, "", 0, wait=True)


def told(left: Belongings) -> str:
    """A sentence about each thing left behind, and what to do."""
    lines = ["The test leaves something behind:"]
    lines += [f"  {client!r} is open: close() it, or use it in a with block." for client in left.clients]
    lines += [f"  The thread {thread.name!r} of a client still runs: close(wait=True) waits for it." for thread in
              sorted(left.threads, key=operator.attrgetter("name"))]  # fmt: skip
    lines += [f"  Descriptor {number} is open: {target}." for number, target in sorted(left.descriptors)]
    return "\n".join(lines)


def _descriptors() -> Iterable[tuple[int, str]]:
    folder = next((folder for folder in _FOLDERS if os.path.isdir(folder)), None)
    for name in () if folder is None else os.listdir(folder):
        with contextlib.suppress(OSError):  # the one that lists them is closed again
            target = os.readlink(f"{folder}/{name}") if folder == _FOLDERS[0] else _shown(int(name))
            if target.startswith(_KINDS):
                yield int(name), target


def _shown(number: int) -> str:
    """A descriptor of a system that has no links to what stands behind one."""
    status = os.fstat(number)
    kind = "socket" if stat.S_ISSOCK(status.st_mode) else "pipe" if stat.S_ISFIFO(status.st_mode) else "other"
    return f"{kind}:[{status.st_ino}]"
