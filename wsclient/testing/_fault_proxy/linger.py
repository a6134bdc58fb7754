"""Sockets of connections that were cut. They are read for some time, so that their peers receive a FIN and no RST.

Only the proxy's thread uses this module.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from typing import Final

from ..._network.poller import READ

__all__ = ["Linger"]

LINGER: Final = 1.0
"""Seconds in which incoming bytes are read and discarded. A socket that is closed with unread bytes sends a RST, which
the peer would receive instead of the FIN (RFC 2525 §2.17)."""

_PIECE: Final = 64 * 1024


class Linger:
    """The sockets that are read until they are closed. They are registered in the selector without data."""

    __slots__ = ("_selector", "_until")

    def __init__(self, selector: selectors.BaseSelector) -> None:
        """
        Args:
            selector: the proxy's selector.
        """
        self._selector = selector
        self._until: dict[socket.socket, float] = {}

    def add(self, sock: socket.socket) -> None:
        """Send a FIN, and close the socket later. The socket must not be in the selector."""
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:  # the peer has ended the connection
            sock.close()
            return
        self._until[sock] = time.monotonic() + LINGER
        self._selector.register(sock, READ)

    def discard(self, sock: socket.socket) -> None:
        """Discard the bytes of a readable socket, and close it at the end of its stream."""
        try:
            over = not sock.recv(_PIECE)
        except (BlockingIOError, InterruptedError):
            over = False
        except OSError:
            over = True
        if over:
            self._forget(sock)

    def next_at(self) -> float | None:
        """When the next socket must be closed (monotonic clock, seconds); None if there is none."""
        return min(self._until.values(), default=None)

    def expire(self, now: float) -> None:
        """Close the sockets that have been read for ``LINGER`` seconds."""
        for sock in [sock for sock, until in self._until.items() if now >= until]:
            self._forget(sock)

    def close(self) -> None:
        """Read the bytes that were received so far, and close all sockets now."""
        for sock in list(self._until):
            with contextlib.suppress(OSError):  # there are no more bytes, or the peer has ended the connection
                while sock.recv(_PIECE):
                    pass
            self._forget(sock)

    def _forget(self, sock: socket.socket) -> None:
        if self._until.pop(sock, None) is not None:
            self._selector.unregister(sock)
            sock.close()
