"""Functions that servers and the proxy share: to listen, and to end a TCP connection in several ways."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Final

__all__ = ["BACKLOG", "abort", "listen", "make_reset", "shut"]

BACKLOG: Final = 512
"""How many connections may wait to be accepted: a test may start hundreds of clients at the same time."""

_NO_LINGER: Final = struct.pack("ii", 1, 0)
"""``SO_LINGER`` with a time of 0: ``close()`` sends a RST (socket(7))."""


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket.

    Args:
        host: the address; IPv6 if it contains a colon.
        port: the port; 0 for a free one. Except on Windows, it may have been in use immediately before.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def shut(sock: socket.socket) -> None:
    """End both directions: the peer receives a FIN, and a thread that reads from the socket wakes."""
    with contextlib.suppress(OSError):  # the connection has ended
        sock.shutdown(socket.SHUT_RDWR)


def make_reset(sock: socket.socket) -> None:
    """Wake a thread that reads from the socket, and make its ``close()`` send a RST."""
    with contextlib.suppress(OSError):  # the connection has ended
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        sock.shutdown(socket.SHUT_RD)


def abort(sock: socket.socket) -> None:
    """Close the socket with a RST."""
    with contextlib.suppress(OSError):  # the connection has ended
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    sock.close()
