"""The kit's raw server, and what a handshake is made of (RFC 6455 §1.3)."""

from wsclient.testing import Peer, RawServer, frame

__all__ = ["GUID", "Peer", "RawServer", "frame"]

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
