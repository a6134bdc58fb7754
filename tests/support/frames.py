"""Frames that a server sends: close frames and compressed messages."""

import itertools
import struct
import zlib

from wsclient._rfc6455.deflate import Agreement
from wsclient._rfc6455.frames import Opcode

from .raw import frame

KEPT = Agreement(client_bits=15, server_bits=15, client_resets=False, server_resets=False)
RSV1 = 4


def close(code, reason=b""):
    return frame(Opcode.CLOSE, struct.pack("!H", code) + reason)


class Compressor:
    """The server's side of permessage-deflate."""

    def __init__(self):
        self._compressor = zlib.compressobj(wbits=-15)

    def __call__(self, data):
        return (self._compressor.compress(data) + self._compressor.flush(zlib.Z_SYNC_FLUSH))[:-4] or b"\x00"

    def frames(self, opcode, data, *cuts):
        """The frames of a compressed message, split at these positions of its compressed bytes."""
        compressed = self(data)
        bounds = [0, *(min(cut, len(compressed)) for cut in sorted(cuts)), len(compressed)]
        pieces = [compressed[a:b] for a, b in itertools.pairwise(bounds)]
        last = len(pieces) - 1
        return b"".join(
            frame(Opcode.CONTINUATION if n else opcode, piece, fin=n == last, rsv=0 if n else RSV1)
            for n, piece in enumerate(pieces)
        )
