"""The kit's raw server, and what a handshake is made of (RFC 6455 §1.3)."""

from wsclient.testing import Peer, RawServer, frame
from wsclient.testing._peer import GUID

__all__ = ["GUID", "Peer", "RawServer", "frame"]
