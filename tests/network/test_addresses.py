"""A host with an address of each family, one of which never answers: the client connects to the other."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid

import pytest
from websockets.sync.server import serve

import wsclient
from wsclient import ConnectError, Limits

from ..support import LONG, SHORT

ROOT = pathlib.Path(__file__).parents[2]

LOOPBACK = {socket.AF_INET6: "::1", socket.AF_INET: "127.0.0.1"}

HEAD_START = 0.25
"""The delay in seconds before the next address is tried in parallel, as in RFC 8305."""

NO_HURRY = Limits(attempt_delay=4 * LONG)
"""The next address is tried only after the one before it has failed."""

FAMILIES = [(socket.AF_INET6, socket.AF_INET), (socket.AF_INET, socket.AF_INET6)]
"""The family of the first address, and that of the second."""


def bound(family, port=0):
    sock = socket.socket(family)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((LOOPBACK[family], port))
    except BaseException:
        sock.close()
        raise
    return sock


def bound_twice():
    """A socket of each family, bound to the same port."""
    for _ in range(20):
        four = bound(socket.AF_INET)
        with contextlib.suppress(OSError):
            return {socket.AF_INET: four, socket.AF_INET6: bound(socket.AF_INET6, four.getsockname()[1])}
        four.close()
    raise AssertionError("no port is free in both families")


class Host:
    """``two.example``, a name of this machine, with the same port of both loopback addresses.

    Attributes:
        port: the port.
        attempts: the addresses that were tried, in order, with their times.
    """

    def __init__(self):
        self._socks = bound_twice()
        self._callers = []
        self._servers = []
        self.port = self._socks[socket.AF_INET].getsockname()[1]
        self.attempts = []

    @property
    def url(self):
        return f"ws://two.example:{self.port}/"

    @property
    def tried(self):
        return [address for address, _ in self.attempts]

    def answer(self, family):
        """A server accepts at this address, and echoes each message."""
        sock = self._socks.pop(family)
        sock.listen()
        server = serve(echo, sock=sock)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self._servers.append((server, thread))

    def keep_silent(self, family):
        """This address does not answer: its backlog is full."""
        sock = self._socks[family]
        sock.listen(0)
        for _ in range(20):
            caller = socket.socket(family)
            caller.settimeout(SHORT)
            self._callers.append(caller)
            try:
                caller.connect(sock.getsockname())
            except TimeoutError:
                return
        pytest.skip("a listener's backlog has no end here, so no address can be kept from answering")

    def close(self):
        for server, thread in self._servers:
            server.shutdown()
            thread.join(LONG)
        for sock in [*self._callers, *self._socks.values()]:
            sock.close()


def echo(connection):
    for message in connection:
        connection.send(message)


@pytest.fixture
def host(monkeypatch):
    try:
        bound(socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"this machine has no IPv6 loopback: {error}")
    host = Host()
    begin = socket.socket.connect_ex

    def connect_ex(sock, address):
        host.attempts.append((address[0], time.monotonic()))
        return begin(sock, address)

    monkeypatch.setattr(socket.socket, "connect_ex", connect_ex)
    yield host
    host.close()


@pytest.fixture
def resolved(monkeypatch):
    """``resolved(family, family)`` sets the order in which the name server returns the addresses of two.example."""
    look_up = socket.getaddrinfo

    def give(*families):
        def getaddrinfo(name, port, **options):
            assert name == "two.example"
            return [found for family in families for found in look_up(LOOPBACK[family], port, **options)]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    return give


@pytest.mark.parametrize(("first", "second"), FAMILIES, ids=["IPv6 first", "IPv4 first"])
def test_if_one_address_never_answers_the_client_connects_to_the_one_of_the_other_family(host, resolved, first, second):
    resolved(first, second)
    host.keep_silent(first)
    host.answer(second)
    with wsclient.connect(host.url, open_timeout=LONG) as client:
        assert client.request("hello", match=lambda m: True, timeout=LONG) == "hello"
        assert client.stats.failed_attempts == 0
    assert host.tried == [LOOPBACK[first], LOOPBACK[second]]
    (_, began), (_, followed) = host.attempts
    assert HEAD_START <= followed - began < LONG / 2, "the second was tried too early or too late"


@pytest.mark.parametrize(("first", "second"), FAMILIES, ids=["IPv6 first", "IPv4 first"])
def test_if_the_first_address_answers_no_other_one_is_tried(host, resolved, first, second):
    resolved(first, second)
    host.answer(first)
    host.answer(second)
    with wsclient.connect(host.url, limits=NO_HURRY) as client:  # under load, more than 250 ms may pass
        assert client.request("hello", match=lambda m: True, timeout=LONG) == "hello"
    assert host.tried == [LOOPBACK[first]]


@pytest.mark.parametrize(("first", "second"), FAMILIES, ids=["IPv6 first", "IPv4 first"])
def test_if_one_address_refuses_the_next_one_is_tried_at_once(host, resolved, first, second):
    resolved(first, second)
    host.answer(second)  # the port of the first one is bound, without a listener
    with wsclient.connect(host.url, open_timeout=LONG, limits=NO_HURRY) as client:
        assert client.request("hello", match=lambda m: True, timeout=LONG) == "hello"
    assert host.tried == [LOOPBACK[first], LOOPBACK[second]]


@pytest.mark.parametrize(("first", "second"), FAMILIES, ids=["IPv6 first", "IPv4 first"])
def test_if_no_address_answers_the_open_timeout_ends_the_attempt(host, resolved, first, second):
    resolved(first, second)
    host.keep_silent(first)
    host.keep_silent(second)
    began = time.monotonic()
    with pytest.raises(ConnectError, match=rf"{host.url} was not open within 1 s\.") as caught:
        wsclient.connect(host.url, open_timeout=1)
    assert 1 <= time.monotonic() - began < LONG / 2
    assert isinstance(caught.value.last, TimeoutError)
    assert host.tried == [LOOPBACK[first], LOOPBACK[second]]


# --- over a real network ---------------------------------------------------------------------------------------------

SERVER = """
import socket, threading
from websockets.sync.server import serve

def echo(connection):
    for message in connection:
        connection.send(message)

server = serve(echo, sock=socket.create_server(("192.0.2.1", 0)))
print(server.socket.getsockname()[1], flush=True)
server.serve_forever()
"""

CLIENT = """
import socket, sys, time
import wsclient

def getaddrinfo(name, port, **options):
    return [found for address in ("2001:db8::99", "192.0.2.1") for found in look_up(address, port, **options)]

look_up, socket.getaddrinfo = socket.getaddrinfo, getaddrinfo
began = time.monotonic()
with wsclient.connect(f"ws://two.example:{sys.argv[1]}/", open_timeout=15, proxy=None) as client:
    print("late" if time.monotonic() - began >= 0.25 else "early", client.stats.failed_attempts)
    print(client.request("hello", match=lambda m: True, timeout=15))
"""


class Link:
    """Two network namespaces with a cable between them. Packets to 2001:db8::99 arrive, and are dropped silently."""

    def __init__(self):
        self.near, self.far = (f"wsclient-{uuid.uuid4().hex[:12]}-{end}" for end in ("near", "far"))
        self._made = []

    def lay(self):
        for name in (self.near, self.far):
            ip("netns", "add", name)
            self._made.append(name)
        ip("-n", self.near, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", self.far)
        for name, end in ((self.near, 2), (self.far, 1)):
            ip("-n", name, "link", "set", "cable", "address", f"02:00:00:00:00:0{end}", "up")
            ip("-n", name, "address", "add", f"192.0.2.{end}/24", "dev", "cable")
            ip("-n", name, "address", "add", f"2001:db8::{end}/64", "dev", "cable", "nodad")
        # The far end must not announce this address, and does not have it: otherwise it would answer.
        ip("-n", self.near, "neighbour", "add", "2001:db8::99", "lladdr", "02:00:00:00:00:01", "dev", "cable")

    def run(self, name, script, *arguments):
        return subprocess.Popen(
            ["ip", "netns", "exec", name, sys.executable, "-c", script, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def close(self):
        for name in self._made:
            ip("netns", "delete", name)


def ip(*arguments):
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=LONG)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


@pytest.fixture
def link():
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("only root can create a separate network, with the program ip")
    link = Link()
    try:
        link.lay()
    except OSError as error:
        link.close()
        pytest.skip(f"no network namespaces here: {error}")
    yield link
    link.close()


@pytest.mark.network
def test_if_a_network_drops_ipv6_silently_the_client_connects_by_ipv4(link):
    with link.run(link.far, SERVER) as server:
        try:
            port = server.stdout.readline().strip()
            with link.run(link.near, CLIENT, port) as client:
                try:
                    assert client.communicate(timeout=4 * LONG) == ("late 0\nhello\n", "")
                finally:
                    client.kill()
        finally:
            server.kill()
