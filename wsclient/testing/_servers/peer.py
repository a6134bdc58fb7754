"""The server's side of one connection, which a test controls byte by byte.

Only one thread may use a peer, except that any thread may call ``release()`` and ``close()``.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import struct
import time
from typing import Final

from ..._rfc6455 import masking
from ..._threads.waiting import Deadline, Notifier
from .sockets import close_with_reset

__all__ = ["GUID", "Peer", "frame"]

GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""The constant from which ``Sec-WebSocket-Accept`` is computed (RFC 6455 §1.3)."""

RECEIVE_TIMEOUT: Final = 15.0
"""Seconds that a peer waits for bytes of the client before it raises ``TimeoutError``."""


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """Build an unmasked frame, as servers send them (RFC 6455 §5.2). Nothing is checked, so it may be invalid.

    Args:
        opcode: 1 text, 2 binary, 0 continuation, 8 close, 9 ping, 10 pong, or an invalid one.
        payload: its payload.
        fin: whether it is the last frame of its message.
        rsv: the three reserved bits, as a number from 0 to 7; 4 marks a compressed message (RFC 7692 §6).
    """
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


class Peer:
    """One connection of a ``RawServer``.

    Attributes:
        sock: the socket, with a time-out of 15 s, so that no test waits forever.
        request: the head of the client's upgrade request; empty until it was received.
    """

    __slots__ = ("_buffer", "_notifier", "_released", "request", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.request = b""
        sock.settimeout(RECEIVE_TIMEOUT)
        self._buffer = b""
        self._released = False
        self._notifier = Notifier()

    # --- the handshake -----------------------------------------------------------------------------------------------

    def receive_head(self) -> bytes:
        """Receive the client's upgrade request up to the empty line.

        Returns:
            The head, without the empty line; also in ``request``.

        Raises:
            ConnectionError: the client closed the connection before its request was complete.
            TimeoutError: the request was not received within 15 s.
        """
        while b"\r\n\r\n" not in self._buffer:
            self._receive("The client closed the connection before its request was complete.")
        self.request, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return self.request

    def header(self, name: str) -> str | None:
        """The value of a header of the request; None if it is missing. The name is not case-sensitive."""
        for line in self.request.decode("latin-1").split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return None

    def accept(self) -> str:
        """The correct ``Sec-WebSocket-Accept`` for the request (RFC 6455 §4.2.2)."""
        key = (self.header("Sec-WebSocket-Key") or "").encode()
        return base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()  # noqa: S324 - the protocol requires it

    def upgrade(self, *lines: str, accept: str | None = None, then: bytes = b"") -> Peer:
        """Receive the request and answer with 101.

        Args:
            lines: further header lines: ``"Sec-WebSocket-Protocol: chat"``.
            accept: the value of ``Sec-WebSocket-Accept``; None for the correct one.
            then: bytes to send after the response, in the same call of ``send``.

        Returns:
            The peer.
        """
        self.receive_head()
        head = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {self.accept() if accept is None else accept}",
            *lines,
        ]
        self.send("\r\n".join([*head, "", ""]).encode("latin-1") + then)
        return self

    def respond(self, status: str, *lines: str, body: bytes = b"") -> None:
        """Receive the request and answer with another status: ``peer.respond("503 Busy", "Retry-After: 2")``.

        Args:
            status: status code and reason phrase.
            lines: further header lines.
            body: the body.
        """
        self.receive_head()
        head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines]
        self.send("\r\n".join([*head, "", ""]).encode("latin-1") + body)

    # --- sending -----------------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send exactly these bytes."""
        self.sock.sendall(data)

    def send_frame(self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> None:
        """Send a frame; see ``frame``."""
        self.send(frame(opcode, payload, fin=fin, rsv=rsv))

    def send_text(self, text: str) -> None:
        """Send a text message."""
        self.send_frame(1, text.encode())

    def send_half(self, opcode: int, payload: bytes = b"") -> bytes:
        """Send the first half of a frame.

        Returns:
            The second half, for a later ``send()``.
        """
        whole = frame(opcode, payload)
        half = (len(whole) + 1) // 2
        self.send(whole[:half])
        return whole[half:]

    def trickle(self, data: bytes, seconds_between: float) -> None:
        """Send byte by byte.

        Args:
            data: the bytes.
            seconds_between: the pause between two bytes.

        Raises:
            ConnectionError: ``release()`` was called.
        """
        for at in range(len(data)):
            if at and self.silence(seconds_between):
                raise ConnectionError("release() was called before trickle() had sent all bytes.")
            self.send(data[at : at + 1])

    def silence(self, seconds: float | None = None) -> bool:
        """Wait without sending and without reading.

        Args:
            seconds: how long at most; None to wait until ``release()`` is called or the server ends.

        Returns:
            Whether ``release()`` was called.
        """
        deadline = Deadline.after(seconds, time.monotonic())
        while not self._released:
            with self._notifier.watch() as latch:
                if not self._released and not latch.wait(deadline):
                    return False
        return True

    def release(self) -> None:
        """End the present and each later ``silence()``. Any thread."""
        self._released = True
        self._notifier.announce()

    # --- receiving ---------------------------------------------------------------------------------------------------

    def exactly(self, size: int) -> bytes:
        """Receive the next ``size`` bytes.

        Raises:
            ConnectionError: the client closed the connection before it had sent them.
            TimeoutError: no byte was received for 15 s.
        """
        while len(self._buffer) < size:
            self._receive("The client closed the connection.")
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def receive_frame(self) -> tuple[int, bytes]:
        """Receive the client's next frame.

        Returns:
            Its opcode, and its payload without the mask.

        Raises:
            AssertionError: the frame is not masked.
            ConnectionError, TimeoutError: as for ``exactly``.
        """
        first, second = self.exactly(2)
        if not second & 0x80:
            raise AssertionError("The client sent an unmasked frame (RFC 6455 §5.1 forbids it).")
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", self.exactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self.exactly(8))
        key = self.exactly(4)
        return first & 0x0F, bytes(masking.apply_mask(self.exactly(size), key))

    def receive_text(self) -> str:
        """Receive the client's next text message, which must be one frame; other frames are skipped."""
        while True:
            opcode, payload = self.receive_frame()
            if opcode == 1:
                return payload.decode()

    def until_closed(self) -> bytes:
        """Receive until the client closes the connection.

        Returns:
            All bytes that were received.
        """
        with contextlib.suppress(ConnectionError):
            while True:
                self._receive("The client closed the connection.")
        data, self._buffer = self._buffer, b""
        return data

    # --- the end -----------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """End the outgoing stream with a FIN, without a close frame. Bytes of the client can still be received."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End the connection with a RST."""
        close_with_reset(self.sock)

    def close(self) -> None:
        """Close the socket, and end a ``silence()``. Any thread."""
        self.release()
        self.sock.close()

    def _receive(self, error_text: str) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError(error_text)
        self._buffer += data
