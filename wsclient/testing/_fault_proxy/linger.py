"""Sockets of lines that were cut: still read for a moment, so that their peers see a FIN and no RST. One thread's."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from typing import Final

from ..._network.poller import READ

__all__ = ["Lingering"]

LINGER: Final = 1.0
"""Seconds in which what comes is read, and thrown away: a socket that is closed with bytes unread sends a RST, and the
peer would see that instead of the FIN (RFC 2525 §2.17)."""

_PIECE: Final = 64 * 1024


class Lingering:
    """Those sockets. In the selector they stand without data."""

    __slots__ = ("_selector", "_until")

    def __init__(self, selector: selectors.BaseSelector) -> None:
        """
        Args:
            selector: tells when one is readable.
        """
        self._selector = selector
        self._until: dict[socket.socket, float] = {}

    def add(self, sock: socket.socket) -> None:
        """Send a FIN, and close the socket later. It is not in the selector."""
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:  # the peer has ended it
            sock.close()
            return
        self._until[sock] = time.monotonic() + LINGER
        self._selector.register(sock, READ)

    def throw_away(self, sock: socket.socket) -> None:
        """It is readable."""
        try:
            over = not sock.recv(_PIECE)
        except (BlockingIOError, InterruptedError):
            over = False
        except OSError:
            over = True
        if over:
            self._forget(sock)

    def next_at(self) -> float | None:
        """When the next one is to be closed; None if there is none."""
        return min(self._until.values(), default=None)

    def expire(self, now: float) -> None:
        """Close those that have been read for long enough."""
        for sock in [sock for sock, until in self._until.items() if now >= until]:
            self._forget(sock)

    def close(self) -> None:
        """Close all of them now, behind what has come so far."""
        for sock in list(self._until):
            with contextlib.suppress(OSError):  # there is no more, or no peer
                while sock.recv(_PIECE):
                    pass
            self._forget(sock)

    def _forget(self, sock: socket.socket) -> None:
        if self._until.pop(sock, None) is not None:
            self._selector.unregister(sock)
            sock.close()
