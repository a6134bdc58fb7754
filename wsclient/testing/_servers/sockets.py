"""The ways to end a TCP connection, and to listen, that servers and the proxy share."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Final

__all__ = ["BACKLOG", "abort", "listen", "make_reset", "shut"]

BACKLOG: Final = 512
"""Connections that may wait to be accepted: a test with hundreds of clients starts them at once."""

_LINGER_NOT: Final = struct.pack("ii", 1, 0)
"""``SO_LINGER`` with no time at all: ``close()`` sends a RST (socket(7))."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. A port that was just in use may be used again, but for Windows."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def shut(sock: socket.socket) -> None:
    """End both directions: the peer sees a FIN, and whoever reads the socket here wakes."""
    with contextlib.suppress(OSError):  # it is over already
        sock.shutdown(socket.SHUT_RDWR)


def make_reset(sock: socket.socket) -> None:
    """Wake whoever reads the socket on another thread, so that his ``close()`` sends a RST."""
    with contextlib.suppress(OSError):  # it is over already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        sock.shutdown(socket.SHUT_RD)


def abort(sock: socket.socket) -> None:
    """Close the socket with a RST."""
    with contextlib.suppress(OSError):  # it is over already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    sock.close()
