"""From a host name to a connected socket.

All sockets are non-blocking, and every wait is a call of the ``Watch``. One deadline covers the name look-up and all
attempts. A command to close ends the wait at once.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from .._errors import ConnectError
from .._options import DEFAULT_LIMITS
from .._threads.waiting import Deadline
from .poller import WRITE, Watch

if TYPE_CHECKING:
    from .lookup import Lookups

__all__ = ["Address", "connect", "connect_unix", "resolve"]

_FULL_BACKLOG_DELAY: Final = 0.02
"""Seconds between two attempts to connect to a ``unix://`` server whose backlog is full: no event reports that the
backlog has room."""

Address = tuple[int, Any]
"""Address family and socket address."""

_IN_PROGRESS: Final = frozenset({0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", 0)})


def resolve(host: str, port: int, lookups: Lookups, deadline: Deadline) -> list[Address]:
    """Look up the addresses of a host, and sort them so that the address families alternate (RFC 8305 §4).

    Raises:
        ConnectError: the look-up found no address, or did not end in time.
    """
    try:
        found = lookups.find(host, port, deadline)
    except ConnectError:
        raise
    except (OSError, UnicodeError) as error:
        raise ConnectError(f"The name {host!r} has no address: {error}.", last=error) from error
    families: dict[int, list[Address]] = {}
    for family, _, _, _, address in found:
        families.setdefault(family, []).append((family, address))
    turns = itertools.chain.from_iterable(itertools.zip_longest(*families.values()))
    return list(dict.fromkeys(address for address in turns if address is not None))


def connect(
    addresses: list[Address],
    source: tuple[str, int] | None,
    watch: Watch,
    deadline: Deadline,
    attempt_delay: float = DEFAULT_LIMITS.attempt_delay,
) -> socket.socket:
    """Connect to the first address that answers (RFC 8305 §5).

    Args:
        addresses: the addresses to try, in order.
        source: the local address and port to connect from; None for any.
        watch: waits for sockets.
        deadline: when all attempts end.
        attempt_delay: seconds after which the next address is tried too, while the attempts for the earlier ones
            continue.

    Returns:
        A connected, non-blocking socket.

    Raises:
        OSError: no attempt succeeded; the error of the last one. ``TimeoutError`` at the deadline.
    """
    race = _Race(addresses, source)
    try:
        while race.waiting or race.trying:
            if race.waiting:
                race.start_next()
            turn = Deadline.after(attempt_delay, time.monotonic()).sooner(deadline) if race.waiting else deadline
            winner = race.run(watch, turn)
            if winner is not None:
                return winner
            if deadline.passed(time.monotonic()):
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        raise race.last
    finally:
        race.close()


def connect_unix(path: str, watch: Watch, deadline: Deadline) -> socket.socket:
    """Connect to a server that listens on a path of this machine.

    Returns:
        A connected, non-blocking socket.

    Raises:
        OSError: no server listens there. ``TimeoutError`` at the deadline, if the server's backlog stays full.
    """
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            code = sock.connect_ex(path)
            if not code:
                return sock
            if code not in _IN_PROGRESS:
                raise OSError(code, os.strerror(code))
        except BaseException:
            sock.close()
            raise
        sock.close()
        if deadline.passed(time.monotonic()):
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        watch.wait_any({}, Deadline.after(_FULL_BACKLOG_DELAY, time.monotonic()).sooner(deadline))


class _Race:
    """Concurrent attempts to connect to several addresses, each started some time after the previous one."""

    def __init__(self, addresses: list[Address], source: tuple[str, int] | None) -> None:
        self.waiting = deque(addresses)
        self.trying: dict[socket.socket, int] = {}
        self.last: OSError = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        self._source = source

    def start_next(self) -> None:
        """Start an attempt with the next address. If it fails at once, its error is kept in ``last``."""
        try:
            self.trying[_begin(*self.waiting.popleft(), self._source)] = WRITE
        except OSError as error:
            self.last = error

    def run(self, watch: Watch, turn: Deadline) -> socket.socket | None:
        """Wait for a connected socket and return it; None if an attempt fails or the deadline ``turn`` passes first."""
        while self.trying and not turn.passed(time.monotonic()):
            for sock in watch.wait_any(self.trying, turn):
                del self.trying[sock]
                error = _outcome(sock)
                if error is None:
                    return sock
                sock.close()
                self.last = error
                return None
        return None

    def close(self) -> None:
        """Close the sockets of the attempts that have not ended."""
        for sock in self.trying:
            sock.close()


def _begin(family: int, address: Any, source: tuple[str, int] | None) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if source is not None:
            sock.bind(source)
        code = sock.connect_ex(address)
        if code not in _IN_PROGRESS:
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock


def _outcome(sock: socket.socket) -> OSError | None:
    """Return None if the attempt succeeded, else the error. A socket connected to itself counts as refused."""
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        return OSError(code, os.strerror(code))
    try:
        if sock.getsockname() != sock.getpeername():
            return None
    except OSError as error:
        return error
    # On loopback the system may assign the port that the socket connects to; the socket is then connected to itself.
    return ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
