"""The wake-up, with which any thread can end the wait of the I/O thread.

Guarantees:
    * ``Wakeup.wake`` takes no lock, never blocks, and may be called in a signal handler or a trace function, even if
      that function has interrupted a ``wake`` on the same thread.
    * No wake-up is lost: everything that a thread wrote before its call of ``wake()`` is visible to the I/O thread when
      it runs.
    * The file descriptors stay open as long as the client's I/O thread runs, not only during a connection: a thread
      that sends a message wakes the I/O thread even if there is no connection. If other code closes one of them,
      ``clear`` raises, and the I/O thread makes another pair.

The wake-up is a ``socketpair``, since Linux, macOS and Windows all have this function.
"""

from __future__ import annotations

import errno
import socket
from _thread import get_ident
from typing import Final

__all__ = ["CLOSED_BY_OTHER_CODE", "Wakeup", "close_socket"]

CLOSED_BY_OTHER_CODE: Final = frozenset({errno.EBADF, errno.ENOTSOCK, getattr(errno, "WSAENOTSOCK", errno.ENOTSOCK)})
"""Error numbers which show that other code of the program has closed a descriptor of this package."""


class Wakeup:
    """A pair of connected sockets: a byte written to one wakes the thread that waits for the other to be readable.

    Attributes:
        nudge: a C function; called with one byte, it has the effect of ``wake``. It is for callers that must not be
            interrupted before the byte is sent. Raises OSError if the buffer is full (harmless: the unread bytes in the
            buffer wake the I/O thread anyway) or the pair is closed.
    """

    __slots__ = ("_inner", "_outer", "_pending", "_sender", "nudge")

    def __init__(self) -> None:
        self._inner, self._outer = socket.socketpair()
        self._inner.setblocking(False)
        self._outer.setblocking(False)
        self.nudge = self._outer.send
        # Whether a byte was sent and not read, or is about to be sent. If it is False too early, a second byte is sent,
        # which does no harm. It is True too long only inside `clear`; the I/O thread checks its commands after that.
        self._pending = False
        self._sender: int | None = None  # a thread that is about to send a byte; None if there is none

    def fileno(self) -> int:
        """The file descriptor to wait for: it is readable after ``wake()``."""
        return self._inner.fileno()

    def wake(self) -> None:
        """End the present wait of the I/O thread or, if it does not wait now, its next one."""
        me = get_ident()
        # If this call has interrupted another `wake` of its own thread, that call may not have sent its byte yet.
        if self._pending and self._sender != me:
            return
        sent: list[int] = []
        sending = map(self._outer.send, (b"\0",))
        try:
            self._sender = me
            self._pending = True
            sent.extend(sending)
            self._sender = None
        except BaseException as error:
            if sent:
                self._sender = None
                raise  # a signal handler has raised the exception, after the byte was sent
            # If the buffer is full, the unread bytes in it wake the I/O thread anyway. After a KeyboardInterrupt, or if
            # the system had no memory, the next wake-up must send a byte. If the pair is closed, the I/O thread has
            # ended.
            self._sender = None
            self._pending = isinstance(error, BlockingIOError)
            if not isinstance(error, OSError):  # such as a KeyboardInterrupt on the main thread
                raise

    def clear(self) -> None:
        """Read all bytes. The woken thread must call this before it checks its commands, so that no wake-up is lost.

        Raises:
            OSError: other code of the program has closed one of the descriptors, so no wake-up works any more.
        """
        try:
            while (size := len(self._inner.recv(64))) == 64:
                pass
            if not size:  # the end of the stream, which would be reported again and again
                raise OSError(errno.EBADF, "other code has closed a socket that wakes the client's I/O thread")
        except BlockingIOError:
            pass
        self._pending = False

    def close(self) -> None:
        """Close the file descriptors; from now on ``wake`` has no effect."""
        self._pending = True
        close_socket(self._inner)
        close_socket(self._outer)


def close_socket(sock: socket.socket) -> None:
    """Close a socket. If other code has closed its descriptor, close nothing: the same descriptor number may already
    belong to another file.
    """
    try:
        sock.getsockname()
    except OSError as error:
        if error.errno in CLOSED_BY_OTHER_CODE:
            sock.detach()
            return
    sock.close()
