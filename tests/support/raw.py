"""A server that sends exactly what a test tells it, when it tells it."""

import base64
import hashlib
import queue
import socket
import struct
import threading

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(opcode, payload=b"", *, fin=True, rsv=0):
    """An unmasked frame, as servers send them."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


class Peer:
    """The server's end of one connection, driven by the test."""

    def __init__(self, sock):
        self.sock = sock
        sock.settimeout(15)
        self._buffer = b""
        self.request = b""

    def receive_head(self):
        while b"\r\n\r\n" not in self._buffer:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError("the client closed before its request was whole")
            self._buffer += data
        self.request, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return self.request

    def header(self, name):
        for line in self.request.decode("latin-1").split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return None

    def accept(self):
        return base64.b64encode(hashlib.sha1(self.header("Sec-WebSocket-Key").encode() + GUID).digest()).decode()

    def upgrade(self, *extra, then=b""):
        """Answer the upgrade as it should be, with more header lines, and more bytes right behind."""
        self.receive_head()
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {self.accept()}",
            *extra,
        ]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + then)
        return self

    def respond(self, status, *headers, body=b""):
        """Answer with some other status."""
        self.receive_head()
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def send(self, data):
        self.sock.sendall(data)

    def send_text(self, text):
        self.send(frame(1, text.encode()))

    def send_frame(self, opcode, payload=b"", **options):
        self.send(frame(opcode, payload, **options))

    def exactly(self, size):
        while len(self._buffer) < size:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError("the client closed the line")
            self._buffer += data
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def receive_frame(self):
        """Opcode and unmasked payload of the client's next frame."""
        first, second = self.exactly(2)
        assert second & 0x80, "the client sent an unmasked frame"
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", self.exactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self.exactly(8))
        key = self.exactly(4)
        payload = self.exactly(size)
        mask = (key * (size // 4 + 1))[:size]
        plain = (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")
        return first & 0x0F, plain

    def receive_text(self):
        while True:
            opcode, payload = self.receive_frame()
            if opcode == 1:
                return payload.decode()

    def finish(self):
        """End the stream: a FIN."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        """Drop the line: a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()


class RawServer:
    """Listens on loopback; the test takes each connection with ``accept()`` and drives it from its own thread.

    With a ``script``, each connection is driven by ``script(peer)`` on a thread of the server's instead.
    """

    def __init__(self, script=None, *, tls=None, port=0):
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._tls = tls
        self._peers = []
        self._waiting = queue.Queue()
        self._script = script
        self.errors = []
        self._thread = threading.Thread(target=self._accept, name="test-raw-server", daemon=True)
        self._thread.start()

    @property
    def url(self):
        return f"{'wss' if self._tls else 'ws'}://{'localhost' if self._tls else '127.0.0.1'}:{self.port}/"

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
                if self._tls is not None:
                    sock = self._tls.wrap_socket(sock, server_side=True)
            except OSError:
                if self._listener.fileno() == -1:
                    return
                continue
            peer = Peer(sock)
            self._peers.append(peer)
            if self._script is None:
                self._waiting.put(peer)
            else:
                threading.Thread(target=self._run, args=(peer,), name="test-raw-peer", daemon=True).start()

    def _run(self, peer):
        try:
            self._script(peer)
        except OSError:
            pass
        except Exception as error:
            self.errors.append(error)
            raise
        finally:
            peer.close()

    def accept(self, timeout=15.0):
        """The next connection, before anything was read from it."""
        return self._waiting.get(timeout=timeout)

    def stop(self):
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        self._thread.join(15)
        for peer in self._peers:
            peer.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()
