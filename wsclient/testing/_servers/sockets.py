"""Functions that servers and the proxy share: to listen, and to end a TCP connection in several ways."""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import struct
import threading
from typing import Final

__all__ = [
    "WAITING", "close_with_reset", "listen", "listen_again", "make_reset", "pause_after", "reserve", "shut",
    "start_or_close",
]  # fmt: skip

BACKLOG: Final = 512
"""How many connections may wait to be accepted: a test may start hundreds of clients at the same time."""

WAITING: Final = BACKLOG + 1
"""The largest number of connections that wait to be accepted: Linux lets one more than ``BACKLOG`` wait."""

PAUSE: Final = 1.0
"""Seconds until the next attempt to accept a connection after a lack of file descriptors or memory; the same as in
asyncio (``ACCEPT_RETRY_DELAY``). The connection stays in the backlog, so without a pause a server's loop would not wait
at all."""

_NO_RESOURCES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""The errors of ``accept`` if no file descriptor or no memory is left (accept(2))."""

_log = logging.getLogger("wsclient.testing")

_NO_LINGER: Final = struct.pack("ii", 1, 0)
"""``SO_LINGER`` with a time of 0: ``close()`` sends a RST (socket(7))."""


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket.

    Args:
        host: the address; IPv6 if it contains a colon.
        port: the port; 0 for a free one, which ``reserve()`` can keep. A port that another server has just released can
            be used at once (``SO_REUSEADDR``, which Python does not set on Windows).
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    shared = port == 0 and hasattr(socket, "SO_REUSEPORT")
    return socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=shared)


def reserve(listener: socket.socket) -> socket.socket | None:
    """Keep the port of a listener after the listener is closed. Otherwise another program could get this port.

    Args:
        listener: a socket that ``listen()`` returned; still open.

    Returns:
        A socket that is bound to the same port and does not listen, so connections are refused until
        ``listen_again()``. None in three cases: the caller chose the port; the system is Windows, where two sockets
        can't share a port; the calling thread can't bind the address, for example because it is in another network
        namespace than the listener.
    """
    if not hasattr(socket, "SO_REUSEPORT") or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT):
        return None
    sock = socket.socket(listener.family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if listener.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(listener.getsockname())
    except OSError:
        sock.close()
        return None
    return sock


def listen_again(sock: socket.socket) -> None:
    """Let a socket of ``reserve()`` listen."""
    # Set here and not before: while a socket with this option does not listen, Linux lets other sockets with this
    # option have its port.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.listen(BACKLOG)


def pause_after(error: OSError, server: str) -> float:
    """How long a server must pause after an error of ``accept()``. A pause is logged.

    Args:
        error: the error.
        server: the subject of the log's sentence: ``"A Replay"``.

    Returns:
        Seconds; 0 if there is no need for a pause, for example since the client has disconnected.
    """
    if error.errno not in _NO_RESOURCES:
        return 0.0
    _log.warning(
        "%s can't accept a connection (%s). It tries again in %g s; raise the limit of open files (ulimit -n), or "
        "close other files and sockets.",
        server,
        error,
        PAUSE,
    )
    return PAUSE


def start_or_close(thread: threading.Thread, sock: socket.socket, server: str) -> bool:
    """Start the thread of a connection. If the system has no thread left, close the connection and log the reason.

    Args:
        thread: the thread.
        sock: the connection's socket.
        server: the subject of the log's sentence: ``"A Replay"``.

    Returns:
        Whether the thread was started.
    """
    try:
        thread.start()
    except RuntimeError as error:
        sock.close()
        _log.warning(
            "%s can't start a thread for a connection (%s), so the connection was closed; raise the limit of threads "
            "(ulimit -u), or end other threads.",
            server,
            error,
        )
        return False
    return True


def shut(sock: socket.socket) -> None:
    """End both directions: the peer receives a FIN, and a thread that reads from the socket wakes."""
    with contextlib.suppress(OSError):  # the connection has ended
        sock.shutdown(socket.SHUT_RDWR)


def make_reset(sock: socket.socket) -> None:
    """Wake a thread that reads from the socket, and make its ``close()`` send a RST."""
    with contextlib.suppress(OSError):  # the connection has ended
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        sock.shutdown(socket.SHUT_RD)


def close_with_reset(sock: socket.socket) -> None:
    """Close the socket with a RST."""
    with contextlib.suppress(OSError):  # the connection has ended
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    sock.close()
