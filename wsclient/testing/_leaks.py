"""Finds resources that a test did not release: open clients, their threads, file descriptors."""

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
from .._threads.waiting import Deadline, Latch

__all__ = ["Resources", "close_clients", "describe", "left_since"]

GRACE: Final = 2.0
"""Seconds that the threads of a client closed with ``wait=False``, or of a test's server, may take to end."""

_PAUSE: Final = 0.01
"""Seconds between two checks while resources are about to be released."""

_THREADS: Final = re.compile(r"-(io|hooks|worker-\d+-\d+)$")
"""The end of the names of a client's threads; they begin with the client's name."""

_LOOKUP: Final = "-lookup"
"""The end of the name of the thread of a name look-up. Such a thread is not a leak: it ends when the operating system's
function returns, and ``close()`` does not wait for that. Until then this function may keep a socket open."""

_FOLDERS: Final = ("/proc/self/fd", "/dev/fd")
"""Folders that list the file descriptors of this process: Linux, macOS. On other systems they are not checked."""

_KINDS: Final = ("socket:", "pipe:", "anon_inode:[eventpoll]")
"""Kinds of file descriptors that a client, server or proxy opens. Files are not checked: logging, output capturing and
imports open some."""


@dataclass
class Resources:
    """The resources that exist at one moment.

    Attributes:
        clients: clients that were started and not closed.
        threads: threads of clients.
        descriptors: sockets, pipes and pollers: the number of the file descriptor and the object it refers to.
    """

    clients: set[Any] = field(default_factory=set)
    threads: set[threading.Thread] = field(default_factory=set)
    descriptors: set[tuple[int, str]] = field(default_factory=set)

    @classmethod
    def now(cls) -> Resources:
        """The resources of this process now."""
        resources = cls.of_clients()
        resources.descriptors = set(_descriptors())
        return resources

    @classmethod
    def of_clients(cls) -> Resources:
        """Only clients and their threads, for test suites that leave sockets to the garbage collector."""
        threads = {thread for thread in threading.enumerate() if _THREADS.search(thread.name)}
        return cls(set(processes._running_clients.values()), threads)

    def without(self, others: Resources) -> Resources:
        """The resources that are new since ``others``, except new threads of clients that existed then."""
        theirs = tuple(f"{client.name}-" for client in others.clients)
        threads = {thread for thread in self.threads - others.threads if not thread.name.startswith(theirs)}
        return Resources(self.clients - others.clients, threads, self.descriptors - others.descriptors)

    def add(self, others: Resources) -> None:
        """Add these resources."""
        self.clients |= others.clients
        self.threads |= others.threads
        self.descriptors |= others.descriptors

    def __bool__(self) -> bool:
        return bool(self.clients or self.threads or self.descriptors)


def left_since(before: Resources, grace: float = GRACE, now: Callable[[], Resources] = Resources.now) -> Resources:
    """The resources that exist now and did not exist before, after a wait for those that are about to be released.

    Three kinds of resources may be about to be released: clients whose ``close()`` was called, threads of closed
    clients, and sockets of a server's threads (``websockets`` before 17 does not wait for these threads). If
    ``close()`` was not called on an open client, there is no wait.

    Args:
        before: the resources at the earlier moment.
        grace: the longest wait, in seconds.
        now: lists the resources, in the same way as for ``before``.

    Returns:
        The remaining resources; empty if there is no leak.
    """
    left = now().without(before)
    if not left:
        return left
    gc.collect()  # a socket without references is not a leak, although it should have been closed
    deadline = Deadline.after(grace, time.monotonic())
    never = Latch()  # never opened; its waits are pauses between checks, since no event reports a closed descriptor
    left = now().without(before)
    while left and all(client.is_ending for client in left.clients) and not deadline.passed(time.monotonic()):
        never.wait(deadline.sooner(Deadline.after(_PAUSE, time.monotonic())))
        left = now().without(before)
    if left.descriptors and any(thread.name.endswith(_LOOKUP) for thread in threading.enumerate()):
        left.descriptors.clear()
    return left


def close_clients(clients: Iterable[Any]) -> None:
    """Close the clients that a test left open, so that they do not affect the next test."""
    for client in clients:
        client.close(1000, "", 0, wait=True)


def describe(left: Resources) -> str:
    """The text of the failure: for each remaining resource one sentence, which says how to release it."""
    lines = ["The test did not clean up:"]
    lines += [f"  {client!r} is open: close() it, or use it in a with block." for client in left.clients]
    lines += [f"  The thread {thread.name!r} of a client still runs: close(wait=True) waits for it." for thread in
              sorted(left.threads, key=operator.attrgetter("name"))]  # fmt: skip
    lines += [f"  The file descriptor {number} is open: {target}." for number, target in sorted(left.descriptors)]
    return "\n".join(lines)


def _descriptors() -> Iterable[tuple[int, str]]:
    folder = next((folder for folder in _FOLDERS if os.path.isdir(folder)), None)
    for name in () if folder is None else os.listdir(folder):
        with contextlib.suppress(OSError):  # the descriptor that listed the folder is closed by now
            target = os.readlink(f"{folder}/{name}") if folder == _FOLDERS[0] else _shown(int(name))
            if target.startswith(_KINDS):
                yield int(name), target


def _shown(number: int) -> str:
    """The object that a file descriptor refers to, where the folder contains no symbolic links to these objects
    (``/dev/fd`` on macOS).
    """
    status = os.fstat(number)
    kind = "socket" if stat.S_ISSOCK(status.st_mode) else "pipe" if stat.S_ISFIFO(status.st_mode) else "other"
    return f"{kind}:[{status.st_ino}]"
