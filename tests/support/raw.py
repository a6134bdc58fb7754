"""The kit's raw server, what a handshake is made of (RFC 6455 §1.3), and clients that make none."""

import socket

from wsclient.testing import Peer, RawServer, frame
from wsclient.testing._servers.peer import GUID
from wsclient.testing._servers.sockets import abort

__all__ = ["GUID", "Peer", "RawServer", "come_and_go", "frame"]


def come_and_go(port, count=200):
    """So many clients, each of which resets its connection at once; some are gone before they are accepted."""
    for _ in range(count):
        abort(socket.create_connection(("127.0.0.1", port)))
