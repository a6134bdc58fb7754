"""Ends the wait of the I/O thread, from any thread.

Guarantees:
    * ``Wakeup.wake`` takes no lock, never blocks, and is legal in a signal handler.
    * A wake-up is never lost: whatever its caller wrote down before ``wake()`` is seen by the waiter after ``wait()``.
    * The descriptors live as long as the client's background thread, not as long as one connection, since writers
      outlive connections.

A ``socketpair``: it exists on Linux, macOS and Windows alike.
"""

from __future__ import annotations

import socket

__all__ = ["Wakeup"]


class Wakeup:
    """A pair of connected sockets: a byte in the one wakes who waits on the other.

    Attributes:
        nudge: called with one byte it wakes as well, by C code alone, for where an interrupt must not come before it.
            Raises OSError if the pair is full, which does no harm, or closed.
    """

    __slots__ = ("_inner", "_outer", "_pending", "nudge")

    def __init__(self) -> None:
        self._inner, self._outer = socket.socketpair()
        self._inner.setblocking(False)
        self._outer.setblocking(False)
        self.nudge = self._outer.send
        self._pending = False  # a hint that a byte is under way; two wakers may both send one, which does no harm

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._inner.fileno()

    def wake(self) -> None:
        """End the wait, or the next one if nobody waits now."""
        if self._pending:
            return
        sent: list[int] = []
        sending = map(self._outer.send, (b"\0",))
        try:
            self._pending = True
            sent.extend(sending)
        except BaseException as error:
            if sent:
                raise  # a signal handler's own, whatever it is; the byte is under way
            # Full, a byte is there anyway. Else the next wake-up must send one: after a KeyboardInterrupt, or where the
            # system lacked memory. Closed, nobody waits any more.
            self._pending = isinstance(error, BlockingIOError)
            if not isinstance(error, OSError):
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
