"""Waiting for sockets and for the wake-up at the same time.

``selectors`` exists on Linux, macOS and Windows. ``poll`` is preferred to ``epoll``: with two descriptors it is as
fast, it needs no additional descriptor, and it shares no state with a forked child.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import sys
from collections.abc import Callable
from typing import Final, Protocol

from .._threads.waiting import Deadline
from .._threads.wakeup import Wakeup

__all__ = ["READ", "WRITE", "Poller", "Watch"]

READ: Final = selectors.EVENT_READ
WRITE: Final = selectors.EVENT_WRITE

_Selector: type[selectors.BaseSelector] = selectors.SelectSelector
if sys.platform != "win32":  # pragma: no branch  (Windows has no poll)
    # eventlet removes PollSelector, since its own select() is the only wait that lets other green threads run.
    _Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)
_MAX_WAIT: Final = 3600.0
"""Longest single wait in seconds; ``poll`` counts milliseconds in a C int."""


class Poller:
    """Waits for sockets and the wake-up together: ``wait`` for one socket, ``wait_any`` for several.

    Only the I/O thread may use it; a forked child calls ``sockets``.

    Attributes:
        is_broken: whether a wait has failed, since other code has closed a descriptor. Then the poller and its wake-up
            must be replaced.
    """

    __slots__ = ("_events", "_selector", "_sock", "_wakeup", "is_broken")

    def __init__(self, wakeup: Wakeup) -> None:
        self._wakeup = wakeup
        self.is_broken = False
        self._selector = _Selector()
        self._selector.register(wakeup, READ)
        self._sock: socket.socket | None = None
        self._events = 0

    def wait(self, sock: socket.socket | None, events: int, seconds: float | None) -> int:
        """Wait until the socket is ready, another thread wakes this one, or the time has passed.

        Args:
            sock: the socket, or None to wait only for the wake-up.
            events: ``READ``, ``WRITE``, both, or 0 for none.
            seconds: the longest wait; None for no limit. No wait is longer than ``_MAX_WAIT``, so callers wait in a
                loop.

        Returns:
            Which of the events are ready; 0 if none is (after a wake-up, or at the end of the time).

        Raises:
            OSError: other code has closed the socket or the wake-up.
        """
        if sock is not self._sock or events != self._events:
            self._watch(sock, events)
        ready = 0
        try:
            for key, mask in self._selector.select(_MAX_WAIT if seconds is None else min(seconds, _MAX_WAIT)):
                if key.fileobj is self._wakeup:
                    self._wakeup.clear()
                else:
                    ready = mask
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
        try:
            for sock, events in socks.items():
                self._selector.register(sock, events)
            ready = self._selector.select(_MAX_WAIT if seconds is None else min(seconds, _MAX_WAIT))
            if any(key.fileobj is self._wakeup for key, _ in ready):
                self._wakeup.clear()
        except OSError:
            self.is_broken = True
            raise
        except ValueError as error:
            self.is_broken = True
            raise _closed() from error
        finally:
            for sock in socks:
                with contextlib.suppress(KeyError, ValueError):  # it was not registered, since it is closed
                    self._selector.unregister(sock)
        return {key.fileobj: mask for key, mask in ready if key.fileobj is not self._wakeup}  # type: ignore[misc]

    def sockets(self) -> list[socket.socket]:
        """Return the sockets that are registered."""
        watched = [key.fileobj for key in (self._selector.get_map() or {}).values()]
        return [sock for sock in watched if isinstance(sock, socket.socket)]

    def forget(self) -> None:
        """Stop watching the socket. Must be called before the socket is closed."""
        self._watch(None, 0)

    def close(self) -> None:
        """Close the selector."""
        self._selector.close()

    def _watch(self, sock: socket.socket | None, events: int) -> None:
        """Make this the only socket that the selector watches; with events 0 it watches none."""
        if self._sock is not None and self._events:
            self._selector.unregister(self._sock)
        self._sock = None
        if sock is not None and events:
            try:
                self._selector.register(sock, events)
            except ValueError as error:
                raise _closed() from error
        self._sock, self._events = sock, events


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
