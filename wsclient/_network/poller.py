"""Waiting for sockets and for the wake-up at the same time.

``poll`` is used where the system has it. With two descriptors it is as fast as ``epoll``, it needs no additional
descriptor, and it shares no state with a forked child. The poll object is used directly and not through ``selectors``,
which takes two Python calls and about 70 bytecodes more for each wait.
"""

from __future__ import annotations

import errno
import math
import os
import select
import selectors
import socket
import sys
from collections.abc import Callable
from typing import Any, Final, Protocol

from .._threads.waiting import Deadline
from .._threads.wakeup import Wakeup

__all__ = ["READ", "WRITE", "Poller", "Watch"]

READ: Final = selectors.EVENT_READ
WRITE: Final = selectors.EVENT_WRITE
_IN: Final[int] = getattr(select, "POLLIN", 1)
_OUT: Final[int] = getattr(select, "POLLOUT", 4)

_MAX_WAIT: Final = 3600.0
_MAX_WAIT_MS: Final = 3_600_000
"""Longest single wait, in seconds and in milliseconds; ``poll`` counts milliseconds in a C int."""


class _SelectPoll:
    """Has the methods of a poll object that ``Poller`` uses, and calls ``select.select``.

    For Windows, which has no ``poll``, and for programs with eventlet, which removes it: eventlet's own ``select`` is
    the only wait that lets other green threads run.
    """

    def __init__(self) -> None:
        self._masks: dict[int, int] = {}

    def register(self, descriptor: int, mask: int) -> None:
        self._masks[descriptor] = mask

    def unregister(self, descriptor: int) -> None:
        del self._masks[descriptor]

    def poll(self, milliseconds: int) -> list[tuple[int, int]]:
        reads = [descriptor for descriptor, mask in self._masks.items() if mask & _IN]
        writes = [descriptor for descriptor, mask in self._masks.items() if mask & _OUT]
        # Windows reports a failed attempt to connect only in the third list.
        readable, writable, failed = select.select(reads, writes, writes, milliseconds / 1000)
        ready = dict.fromkeys(readable, _IN)
        for descriptor in {*writable, *failed}:
            ready[descriptor] = ready.get(descriptor, 0) | _OUT
        return list(ready.items())


# `platform` is checked too, for mypy: on Windows `select` has no `poll`.
_make_poll: Callable[[], Any] = _SelectPoll
if sys.platform != "win32" and hasattr(select, "poll"):  # pragma: no branch  (see `_SelectPoll`)
    _make_poll = select.poll


class Poller:
    """Waits for sockets and the wake-up together: ``wait`` for one socket, ``wait_any`` for several.

    Only the I/O thread may use it; a forked child calls ``sockets``.

    Attributes:
        is_broken: whether a wait has failed, since other code has closed a descriptor. Then the poller and its wake-up
            must be replaced.
    """

    __slots__ = ("_descriptor", "_events", "_poll", "_registered", "_sock", "_wakeup", "_wakeup_descriptor",
                 "is_broken")  # fmt: skip

    def __init__(self, wakeup: Wakeup) -> None:
        self._wakeup = wakeup
        self._wakeup_descriptor = wakeup.fileno()
        self.is_broken = False
        self._poll = _make_poll()
        self._poll.register(self._wakeup_descriptor, _IN)
        self._registered: dict[int, socket.socket] = {}  # by descriptor
        # The socket of `wait`, its descriptor, and the events for which it is registered; 0 if it is not.
        self._sock: socket.socket | None = None
        self._descriptor = -1
        self._events = 0

    def wait(self, sock: socket.socket | None, events: int, seconds: float | None) -> int:
        """Wait until the socket is ready, another thread wakes this one, or the time has passed.

        Args:
            sock: the socket, or None to wait only for the wake-up.
            events: ``READ``, ``WRITE``, both, or 0 for none.
            seconds: the longest wait, not negative; None for no limit. No wait is longer than ``_MAX_WAIT``, so callers
                wait in a loop.

        Returns:
            Which of the events are ready; 0 if none is (after a wake-up, or at the end of the time).

        Raises:
            OSError: other code has closed the socket or the wake-up.
        """
        if sock is not self._sock or events != self._events:
            self._watch(sock, events)
        ready = 0
        try:
            for descriptor, mask in self._poll.poll(
                _MAX_WAIT_MS if seconds is None or seconds > _MAX_WAIT else math.ceil(seconds * 1000)
            ):
                if descriptor == self._wakeup_descriptor:
                    self._wakeup.clear()
                else:
                    ready = READ if mask == _IN else _events_of(mask) & events
        except OSError:
            self.is_broken = True
            raise
        except ValueError as error:
            self.is_broken = True
            raise _closed() from error
        return ready

    def wait_any(self, socks: dict[socket.socket, int], seconds: float | None) -> list[socket.socket]:
        """Wait for any of several sockets, each with its events; return those that are ready. See ``wait_each``."""
        return list(self.wait_each(socks, seconds))

    def wait_each(self, socks: dict[socket.socket, int], seconds: float | None) -> dict[socket.socket, int]:
        """Wait for any of several sockets, each with its events.

        Returns:
            For each socket that is ready, which of the events are.

        Raises:
            OSError: other code has closed a socket or the wake-up.
        """
        self._watch(None, 0)
        added: list[int] = []
        ready: dict[socket.socket, int] = {}
        try:
            for sock, events in socks.items():
                added.append(self._register(sock, events))
            for descriptor, mask in self._poll.poll(
                _MAX_WAIT_MS if seconds is None or seconds > _MAX_WAIT else math.ceil(seconds * 1000)
            ):
                if descriptor == self._wakeup_descriptor:
                    self._wakeup.clear()
                else:
                    sock = self._registered[descriptor]
                    ready[sock] = _events_of(mask) & socks[sock]
        except OSError:
            self.is_broken = True
            raise
        except ValueError as error:
            self.is_broken = True
            raise _closed() from error
        finally:
            for descriptor in added:
                self._unregister(descriptor)
        return ready

    def sockets(self) -> list[socket.socket]:
        """Return the sockets that are registered."""
        return list(self._registered.values())

    def forget(self) -> None:
        """Stop watching the socket. Must be called before the socket is closed."""
        self._watch(None, 0)

    def _watch(self, sock: socket.socket | None, events: int) -> None:
        """Make this the only socket that is registered; with events 0 none is."""
        if self._events:
            self._unregister(self._descriptor)
        self._sock, self._events = None, 0
        if sock is not None and events:
            self._descriptor = self._register(sock, events)
        self._sock, self._events = sock, events

    def _register(self, sock: socket.socket, events: int) -> int:
        """Register a socket; return its descriptor.

        Raises:
            OSError: the socket is closed.
        """
        descriptor = sock.fileno()
        if descriptor < 0:
            raise _closed()
        self._poll.register(descriptor, (_IN if events & READ else 0) | (_OUT if events & WRITE else 0))
        self._registered[descriptor] = sock
        return descriptor

    def _unregister(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        del self._registered[descriptor]


def _events_of(mask: int) -> int:
    """Return the events of a mask of ``poll``. An error of the descriptor counts as both, since the next ``recv()`` or
    ``send()`` reports it.
    """
    return (READ if mask & ~_OUT else 0) | (WRITE if mask & ~_IN else 0)


def _closed() -> OSError:
    return OSError(errno.EBADF, os.strerror(errno.EBADF))


class Watch(Protocol):
    """The waits of the I/O thread while it opens a connection. Each of the three waits raises ``Interrupted`` if
    ``close()`` or ``reconnect()`` was called; during a renewal, also if ``drain()`` was called.
    """

    def wait(self, sock: socket.socket, events: int, deadline: Deadline) -> None:
        """Wait until the socket is ready; raise ``TimeoutError`` at the deadline."""

    def wait_any(self, socks: dict[socket.socket, int], deadline: Deadline) -> list[socket.socket]:
        """Wait until some of the sockets are ready, and return those; an empty list at the deadline."""

    def wait_until(self, happened: Callable[[], bool], deadline: Deadline) -> None:
        """Wait until the condition is true; raise ``TimeoutError`` at the deadline.

        Args:
            happened: whether the condition is true. It is called again after each ``wake()``.
            deadline: when to stop waiting.
        """

    @property
    def wake(self) -> Callable[[], None]:
        """A function with which any thread ends the present wait; it has no reference to the client."""
