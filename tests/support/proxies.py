"""Proxies that forward bytes."""

import contextlib
import select
import selectors
import socket
import ssl
import struct
import threading

from .http import basic
from .raw import RawServer

GRANTED4 = b"\x00\x5a" + bytes(6)
GRANTED5 = b"\x05\x00\x00\x01" + bytes(6)


class Tunnels(RawServer):
    """An HTTP proxy, or a SOCKS proxy of any version.

    ``asked`` contains each host and port that a client requested. With ``login`` the proxy requires this user and
    password. ``leads_to`` is a port on this machine that it connects to instead of the requested one.
    """

    def __init__(self, scheme="http", *, tls=None, login=None):
        self.asked = []
        self.leads_to = None
        self._scheme = scheme
        self._login = login
        super().__init__(self._serve, tls=tls)

    @property
    def url(self):
        user = "" if self._login is None else "{}:{}@".format(*self._login)
        return f"{self._scheme}://{user}localhost:{self.port}"

    def _serve(self, peer):
        speak = {"http": self._http, "https": self._http, "socks4": self._socks4, "socks4a": self._socks4}
        host, port, granted = speak.get(self._scheme, self._socks5)(peer)
        self.asked.append((host, port))
        with socket.create_connection(("127.0.0.1", self.leads_to or port)) as far:
            peer.send(granted)
            forward(peer.sock, far)

    def _http(self, peer):
        host, _, port = peer.receive_head().decode().split()[1].rpartition(":")
        if self._login is not None:
            assert peer.header("Proxy-Authorization") == basic("{}:{}".format(*self._login))
        return host, int(port), b"HTTP/1.1 200 Connection established\r\n\r\n"

    def _socks4(self, peer):
        _, _, port, address = struct.unpack("!BBH4s", peer.exactly(8))
        assert self._text(peer) == ("" if self._login is None else self._login[0])
        return self._text(peer) if address == b"\0\0\0\1" else socket.inet_ntoa(address), port, GRANTED4

    def _socks5(self, peer):
        methods = peer.exactly(peer.exactly(2)[1])
        assert (b"\2" in methods) is (self._login is not None)
        peer.send(b"\5" + methods[-1:])
        if self._login is not None:
            user = peer.exactly(peer.exactly(2)[1]).decode()
            assert (user, peer.exactly(peer.exactly(1)[0]).decode()) == self._login
            peer.send(b"\1\0")
        kind = peer.exactly(4)[3]
        host = peer.exactly(peer.exactly(1)[0]).decode() if kind == 3 else socket.inet_ntoa(peer.exactly(4))
        return host, *struct.unpack("!H", peer.exactly(2)), GRANTED5

    def _text(self, peer):
        """The text up to the next NUL."""
        return b"".join(iter(lambda: peer.exactly(1), b"\0")).decode()


def forward(near, far):
    """Forward in both directions, until one end closes."""
    other = {near: far, far: near}
    with selectors.DefaultSelector() as selector:
        for sock in other:
            selector.register(sock, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                data = key.fileobj.recv(65536)
                if not data:
                    return
                other[key.fileobj].sendall(data)


class SecureProxy(Tunnels):
    """An ``https`` proxy whose connections can be frozen and cut; ``seen`` has all bytes that it could read."""

    def __init__(self, tls):
        self.seen = bytearray()
        self._pairs = []
        self._thawed = threading.Event()
        self._thawed.set()
        super().__init__("https", tls=tls)

    def _serve(self, peer):
        host, port, granted = self._http(peer)
        self.asked.append((host, port))
        with socket.create_connection(("127.0.0.1", self.leads_to or port)) as far:
            peer.send(granted)
            self._pairs.append((peer.sock, far))
            self._relay(peer.sock, far)

    def _relay(self, near, far):
        """Forward in both directions, without blocking on one of them, until one end closes."""
        other = {near: far, far: near}
        waiting = {near: bytearray(), far: bytearray()}  # for each end, the bytes that must be sent to it
        for sock in other:
            sock.setblocking(False)
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):  # the default buffers grow to dozens of MB
                sock.setsockopt(socket.SOL_SOCKET, option, 65536)
        while True:
            self._thawed.wait()
            moved = 0
            for source, sink in other.items():
                data = taken(source) if len(waiting[sink]) < 65536 else None
                self.seen += data or b""
                waiting[sink] += data or b""
                sent = given(sink, waiting[sink])
                del waiting[sink][:sent]
                moved += sent + len(data or b"")
                if data == b"":
                    return
            if not moved:
                readers = [sock for sock in other if len(waiting[other[sock]]) < 65536]
                select.select(readers, [sock for sock in other if waiting[sock]], [], 0.05)

    def freeze(self):
        """Stop forwarding, and keep the connections open."""
        self._thawed.clear()

    def thaw(self):
        self._thawed.set()

    def cut(self):
        """End every connection, even inside a TLS record."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for sock in pair:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)
        self.thaw()

    def stop(self):
        self.cut()  # a relay whose buffers are full in both directions would not notice the end
        super().stop()


def taken(sock):
    try:
        return sock.recv(65536)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return None


def given(sock, data):
    if not data:
        return 0
    try:
        return sock.send(data)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return 0
