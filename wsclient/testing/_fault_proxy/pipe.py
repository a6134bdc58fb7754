"""One connection through the proxy: the client's socket, the target's socket, and the bytes between them.

Only the proxy's thread uses this module. No call blocks. The faults are applied by ``relay``.
"""

from __future__ import annotations

import errno
import random
import socket
from typing import Any, Final

from .._servers.sockets import close_with_reset
from .shaping import Flow, Shape

__all__ = ["DOWN", "UP", "Address", "Pipe"]

UP: Final = "up"
DOWN: Final = "down"

CHUNK: Final = 64 * 1024
"""Bytes per read."""

_IN_PROGRESS: Final = frozenset({0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN})

Address = tuple[socket.AddressFamily, Any]
"""An address family and an address, as ``socket.getaddrinfo`` returns them."""


class Pipe:
    """Two sockets and two flows.

    Attributes:
        near: the client's socket.
        far: the target's socket; None until a connection to the target is begun.
        connected: whether the connection to the target is established.
        flows: the bytes in transit, by direction.
        shut: the directions whose end was forwarded.
        stuck: the directions whose receiving socket did not accept all bytes at the last attempt.
    """

    __slots__ = ("_addresses", "connected", "far", "flows", "near", "shut", "stuck")

    def __init__(
        self, near: socket.socket, addresses: list[Address], shape: Shape, random_numbers: random.Random
    ) -> None:
        near.setblocking(False)
        _send_at_once(near)
        self.near = near
        self.far: socket.socket | None = None
        self.connected = False
        self.flows = {UP: Flow(shape, random_numbers), DOWN: Flow(shape, random_numbers)}
        self.shut: set[str] = set()
        self.stuck: set[str] = set()
        self._addresses = list(addresses)

    def source(self, direction: str) -> socket.socket | None:
        """The socket from which the bytes of a direction are read."""
        return self.near if direction == UP else self.far

    def sink(self, direction: str) -> socket.socket | None:
        """The socket to which the bytes of a direction are written."""
        return self.far if direction == UP else self.near

    def sockets(self) -> list[socket.socket]:
        """The client's socket and, if it exists, the target's."""
        return [self.near] if self.far is None else [self.near, self.far]

    def connect(self) -> bool:
        """Begin to connect to the target's next address.

        Returns:
            False if no address is left.
        """
        while self._addresses:
            family, address = self._addresses.pop(0)
            self.far = socket.socket(family, socket.SOCK_STREAM)
            self.far.setblocking(False)
            _send_at_once(self.far)
            if self.far.connect_ex(address) in _IN_PROGRESS:
                return True
            self.far.close()
            self.far = None
        return False

    def check_connected(self) -> bool:
        """Check, when the target's socket has become writable or failed, whether it is connected."""
        assert self.far is not None
        self.connected = self.far.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        return self.connected

    def drop_far(self) -> None:
        """Close the target's socket before it is connected: the attempt failed, or is given up."""
        if self.far is not None:
            self.far.close()
            self.far = None

    def read(self, direction: str, now: float) -> None:
        """Read from the sender of a direction, at most as many bytes as its flow has room for.

        Raises:
            OSError: the sender has reset the connection.
        """
        source, flow = self.source(direction), self.flows[direction]
        assert source is not None
        try:
            data = source.recv(min(CHUNK, flow.room))
        except (BlockingIOError, InterruptedError):
            return
        if data:
            flow.feed(data, now)
        else:
            flow.end(now)

    def write(self, direction: str, data: memoryview) -> int:
        """Write to the receiver of a direction.

        Returns:
            How many bytes its socket accepted.

        Raises:
            OSError: the receiver has ended the connection.
        """
        sink = self.sink(direction)
        assert sink is not None
        try:
            sent = sink.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        if sent < len(data):
            self.stuck.add(direction)
        else:
            self.stuck.discard(direction)
        return sent

    def forward_end(self, direction: str) -> None:
        """Forward the end of a stream: send a FIN."""
        self.shut.add(direction)
        sink = self.sink(direction)
        assert sink is not None
        sink.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """End both sides with a RST."""
        for sock in self.sockets():
            close_with_reset(sock)

    def close(self) -> None:
        """Close both sides."""
        for sock in self.sockets():
            sock.close()


def _send_at_once(sock: socket.socket) -> None:
    """Turn off Nagle's algorithm, so that pieces of data are forwarded separately."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
