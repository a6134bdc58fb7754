"""Listeners that accept nothing, paths for Unix domain sockets, and the number of open file descriptors."""

import contextlib
import os
import socket
import sys
import tempfile

import pytest

from . import LONG, SHORT

LOOPBACK = "127.0.0.1"

local = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no unix:// sockets")
full_backlogs_wait = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full backlog refuses at once")


def use_all_descriptors():
    """Use all file descriptors that this process may have, and return them."""
    taken = []
    while True:
        try:
            taken.append(os.dup(0))
        except OSError:
            return taken


class Silent:
    """An address that does not answer: a listener whose backlog is full. ``accept_all()`` makes it answer."""

    def __init__(self):
        self._listener = socket.create_server((LOOPBACK, 0), backlog=0)
        self.address = socket.AF_INET, self._listener.getsockname()
        self._callers = []
        while self._queue_another():
            assert len(self._callers) < 20, "the backlog is unlimited here"

    def _queue_another(self):
        sock = socket.socket()
        sock.settimeout(SHORT)
        self._callers.append(sock)
        try:
            sock.connect(self.address[1])
        except TimeoutError:
            return False
        return True

    def accept_all(self):
        """Accept all waiting connections, once."""
        self._listener.settimeout(LONG)
        while self._callers:
            self._callers.pop().close()
            self._listener.accept()[0].close()

    def close(self):
        for sock in self._callers:
            sock.close()
        self._listener.close()


@contextlib.contextmanager
def socket_path():
    """A path that is short enough for a socket's address, which has at most 104 bytes on some systems."""
    with tempfile.TemporaryDirectory(prefix="ws", dir="/tmp" if os.path.isdir("/tmp") else None) as folder:
        yield os.path.join(folder, "s")


def listening(path, backlog=100):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(backlog)
    listener.settimeout(LONG)
    return listener


class Busy:
    """A Unix domain socket whose backlog is full. ``take()`` accepts one connection, which makes room for another."""

    def __init__(self, path):
        self._listener = listening(path, backlog=0)
        self._callers = []
        self.taken = []
        while self._queue_another(path):
            assert len(self._callers) < 20, "the backlog is unlimited here"

    def _queue_another(self, path):
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        self._callers.append(sock)
        return not sock.connect_ex(path)

    def take(self):
        self.taken.append(self._listener.accept()[0])
        return self.taken[-1]

    def close(self):
        for sock in (*self._callers, *self.taken, self._listener):
            sock.close()
