"""Waiting for sockets, in a way that any thread can end.

Guarantees:
    * ``Wakeup.wake`` takes no lock, never blocks, and is legal in a signal handler.
    * A wake-up is never lost: whatever its caller wrote down before ``wake()`` is seen by the waiter after ``wait()``.
    * The descriptors live as long as the client's background thread, not as long as one connection, since writers
      outlive connections.

``poll`` and ``socketpair``, and ``select`` on Windows. ``poll`` is preferred to ``epoll``: with two descriptors it is
as fast, needs no descriptor of its own, and has nothing a forked child could disturb. It is called without
``selectors``, whose layer costs as much as the call.
"""

from __future__ import annotations

import math
import select
import socket
from typing import Any, Final

__all__ = ["READ", "WRITE", "Poller", "Wakeup"]

READ: Final = 1
WRITE: Final = 2

_IN: Final = getattr(select, "POLLIN", 1)
_OUT: Final = getattr(select, "POLLOUT", 4)
_FLAGS: Final = (0, _IN, _OUT, _IN | _OUT)
"""What ``poll`` knows our events by, and combinations of them."""

_MAX_WAIT: Final = 3600.0
"""Seconds one wait may last; ``poll`` counts milliseconds in a C int."""


class Wakeup:
    """A pair of connected sockets: a byte in the one wakes who waits on the other."""

    __slots__ = ("_inner", "_outer", "_pending")

    def __init__(self) -> None:
        self._inner, self._outer = socket.socketpair()
        self._inner.setblocking(False)
        self._outer.setblocking(False)
        self._pending = False  # a hint that a byte is under way; two wakers may both send one, which does no harm

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._inner.fileno()

    def wake(self) -> None:
        """End the wait, or the next one if nobody waits now."""
        if self._pending:
            return
        try:
            self._pending = True
            self._outer.send(b"\0")
        except OSError:
            pass  # full: a byte is there anyway; closed: nobody waits any more
        except BaseException:  # a KeyboardInterrupt: the byte may not be under way, so the next wake-up must send one
            self._pending = False
            raise

    def clear(self) -> None:
        """The waiter has woken. It looks at what it was woken for after this, so that no later wake-up is lost."""
        try:
            while len(self._inner.recv(64)) == 64:
                pass
        except BlockingIOError:
            pass
        self._pending = False

    def close(self) -> None:
        """Give the descriptors back; ``wake`` does nothing from now on."""
        self._pending = True
        self._inner.close()
        self._outer.close()


class _Select:
    """``select`` with the face of ``poll``, for Windows."""

    def __init__(self) -> None:
        self._flags: dict[int, int] = {}

    def register(self, fd: int, flags: int) -> None:
        self._flags[fd] = flags

    def unregister(self, fd: int) -> None:
        del self._flags[fd]

    def poll(self, milliseconds: int) -> list[tuple[int, int]]:
        readers = [fd for fd, flags in self._flags.items() if flags & _IN]
        writers = [fd for fd, flags in self._flags.items() if flags & _OUT]
        # A connection that could not be made shows up among the exceptions there.
        readable, writable, broken = select.select(readers, writers, writers, milliseconds / 1000)
        found = dict.fromkeys(readable, _IN)
        for fd in {*writable, *broken}:
            found[fd] = found.get(fd, 0) | _OUT
        return list(found.items())


_Poll: Final[Any] = getattr(select, "poll", _Select)


class Poller:
    """Waits for one socket and the wake-up together. Owned by the I/O thread."""

    __slots__ = ("_events", "_fd", "_others", "_poll", "_sock", "_wakeup", "_wakeup_fd")

    def __init__(self, wakeup: Wakeup) -> None:
        self._wakeup = wakeup
        self._wakeup_fd = wakeup.fileno()
        self._poll = _Poll()
        self._poll.register(self._wakeup_fd, _IN)
        self._sock: socket.socket | None = None
        self._fd = -1  # its descriptor; the socket has none any more when it was closed under us
        self._events = 0
        self._others: list[socket.socket] = []  # those that `wait_any` is waiting for

    def wait(self, sock: socket.socket | None, events: int, seconds: float | None) -> int:
        """Wait until the socket is ready, somebody wakes us, or the time is over.

        Args:
            sock: the socket, or None to wait for the wake-up alone.
            events: ``READ``, ``WRITE``, both, or 0 for none.
            seconds: how long at most; None for as long as it takes.

        Returns:
            Those of the events that are ready; 0 on a wake-up or at the end of the time.
        """
        if sock is not self._sock or events != self._events:
            self._watch(sock, events)
        ready = 0
        for fd, flags in self._poll.poll(_milliseconds(seconds)):
            if fd == self._wakeup_fd:
                self._wakeup.clear()
            else:
                ready = _events_in(flags) & events
        return ready

    def wait_any(self, socks: dict[socket.socket, int], seconds: float | None) -> list[socket.socket]:
        """Wait for any of several sockets, each with its events; gives those that are ready."""
        poll = _Poll()
        poll.register(self._wakeup_fd, _IN)
        known = {sock.fileno(): sock for sock in socks}
        for fd, sock in known.items():
            poll.register(fd, _FLAGS[socks[sock]])
        self._others = list(socks)
        try:
            ready = [fd for fd, _ in poll.poll(_milliseconds(seconds))]
        finally:
            self._others = []
        if self._wakeup_fd in ready:
            self._wakeup.clear()
        return [known[fd] for fd in ready if fd in known]

    def sockets(self) -> list[socket.socket]:
        """The sockets that are being waited for."""
        sock = self._sock
        return self._others if sock is None else [sock, *self._others]

    def forget(self) -> None:
        """The socket is about to be closed."""
        self._watch(None, 0)

    def close(self) -> None:
        """Nothing is waited for any more."""
        self._watch(None, 0)

    def _watch(self, sock: socket.socket | None, events: int) -> None:
        if self._sock is not None:
            self._poll.unregister(self._fd)
        self._sock, self._fd, self._events = None, -1, 0
        if sock is not None and events:
            fd = sock.fileno()
            self._poll.register(fd, _FLAGS[events])
            self._sock, self._fd, self._events = sock, fd, events


def _milliseconds(seconds: float | None) -> int:
    """Rounded up: a wait that ends a little too early would go round once more."""
    if seconds is None or seconds >= _MAX_WAIT:
        return int(_MAX_WAIT * 1000)
    return math.ceil(seconds * 1000) if seconds > 0 else 0


def _events_in(flags: int) -> int:
    """A broken or closed line counts as ready for both: whoever reads or writes finds out."""
    return (READ if flags & ~_OUT else 0) | (WRITE if flags & ~_IN else 0)
