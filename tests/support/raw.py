"""``RawServer`` of the testing kit, the constant of the handshake (RFC 6455 §1.3), and clients without a handshake."""

import socket

from wsclient.testing import Peer, RawServer, frame
from wsclient.testing._servers.peer import GUID
from wsclient.testing._servers.sockets import close_with_reset

__all__ = ["GUID", "Peer", "RawServer", "connect_and_reset", "frame"]


def connect_and_reset(port, count=200):
    """Connect ``count`` times and reset each connection at once, in part before the server accepts it."""
    for _ in range(count):
        close_with_reset(socket.create_connection(("127.0.0.1", port)))
