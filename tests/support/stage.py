"""Objects for tests of connecting: one that waits like the I/O thread, and servers that answer by a script."""

import contextlib
import threading
import time

import pytest

import wsclient
from wsclient._network.poller import WRITE, Poller
from wsclient._threads.commands import Interrupted
from wsclient._threads.waiting import Deadline
from wsclient._threads.wakeup import Wakeup

from . import LONG
from .raw import RawServer

PLENTY = 2**23
"""More bytes than any socket buffer holds."""


def within(seconds):
    return Deadline.after(seconds, time.monotonic())


class Hang:
    """A function of the user that blocks until the test releases it."""

    def __init__(self):
        self.entered = threading.Event()
        self.returned = threading.Event()
        self.result = None
        self._released = threading.Event()

    def __call__(self, *arguments, **options):
        self.entered.set()
        self._released.wait(4 * LONG)  # longer than a peer waits for the end
        self.returned.set()
        return self.result

    def release(self):
        self._released.set()


class Waiter:
    """Waits like the I/O thread; ``order()`` ends its wait like a command."""

    def __init__(self):
        self.waits = threading.Event()
        self.count = 0
        self.tried = 0
        self.deadlines = []
        self._ordered = False
        self._wakeup = Wakeup()
        self._poller = Poller(self._wakeup)

    def order(self):
        self._ordered = True
        self._wakeup.wake()

    def wait(self, sock, events, deadline):
        while True:
            seconds = self._seconds(deadline)
            if seconds == 0.0:
                raise TimeoutError
            if self._poller.wait(sock, events, seconds):
                return

    def wait_any(self, socks, deadline):
        self.tried = max(self.tried, len(socks))
        while True:
            seconds = self._seconds(deadline)
            ready = self._poller.wait_any(socks, seconds)
            if ready or seconds == 0.0:
                return ready

    def wait_until(self, happened, deadline):
        while not happened():
            seconds = self._seconds(deadline)
            if seconds == 0.0:
                raise TimeoutError
            self._poller.wait(None, 0, seconds)

    @property
    def wake(self):
        return self._wakeup.wake

    def _seconds(self, deadline):
        if self._ordered:
            raise Interrupted("An order ends the wait.")
        self.waits.set()
        self.count += 1
        self.deadlines.append(deadline.at)
        return deadline.left(time.monotonic())

    def close(self):
        self._wakeup.close()


class Watcher(Waiter):
    """Records every socket that was waited for; ``full`` is set when one of them takes no more bytes."""

    def __init__(self):
        super().__init__()
        self.full = threading.Event()
        self._seen = {}

    def wait(self, sock, events, deadline):
        self._seen[id(sock)] = sock
        if events & WRITE:
            self.full.set()
        super().wait(sock, events, deadline)

    def wait_any(self, socks, deadline):
        self._seen.update({id(sock): sock for sock in socks})
        return super().wait_any(socks, deadline)

    def open(self):
        """The sockets that are not closed."""
        return [sock for sock in self._seen.values() if sock.fileno() != -1]


class Stage(RawServer):
    """A server that passes the peer of each connection to the next act, a function; ``peers`` has all peers."""

    def __init__(self, *acts, tls=None):
        self.peers = []
        self._acts = iter(acts)
        super().__init__(self._play, tls=tls)

    def _play(self, peer):
        self.peers.append(peer)
        next(self._acts)(peer)

    @property
    def requests(self):
        return [peer.request.decode().partition("\r\n")[0] for peer in self.peers]


def until_the_end(peer):
    """Receive until the client closes the connection."""
    with contextlib.suppress(OSError):
        while peer.sock.recv(65536):
            pass


def hang_up(peer):
    """Close the connection when the first bytes have come."""
    peer.sock.recv(65536)


def upgrade(*lines, then=b""):
    def act(peer):
        peer.upgrade(*lines, then=then)
        until_the_end(peer)

    return act


def respond(status, *lines, body=b""):
    return lambda peer: peer.respond(status, *lines, body=body)


def redirect(location, status="302 Found"):
    return respond(status, f"Location: {location}")


def answer_with_bytes(data):
    """Answer the request with these bytes, and keep the connection open."""

    def act(peer):
        peer.receive_head()
        peer.send(data)
        until_the_end(peer)

    return act


def trickle(peer, data=b"x"):
    """Send the same bytes repeatedly, until the client closes the connection."""
    pause = threading.Event()
    with contextlib.suppress(OSError):
        while True:
            peer.send(data)
            pause.wait(0.01)


class Hangs:
    """An act that calls ``take(peer)``, and then keeps the connection open until the client ends it."""

    def __init__(self, take):
        self.entered, self.over = threading.Event(), threading.Event()
        self._take = take

    def __call__(self, peer):
        self._take(peer)
        self.entered.set()
        until_the_end(peer)
        self.over.set()


def close_while_it_hangs(client, act):
    """Start the client, and close it while it waits for the act."""
    starter = threading.Thread(target=start, args=(client,))
    starter.start()
    assert act.entered.wait(LONG)
    client.close()
    assert act.over.wait(LONG)
    starter.join(LONG)
    assert client.state is wsclient.State.CLOSED


def start(client):
    """Start a client that another thread closes during the call."""
    with pytest.raises(wsclient.ClientClosed):
        client.start()
