"""permessage-deflate (RFC 7692): what is offered, what a server may answer, and both directions of the bytes. No I/O.

zlib of the standard library does the work. Memory: a ``Deflater`` takes 32 KiB and an ``Inflater`` about 40 KiB, each
made when the first compressed message passes; inflating never holds more than the room that is left plus one piece.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from .._validation import check_bool, check_count
from .http11 import NAME_PATTERN

__all__ = ["Agreement", "Deflate", "Deflater", "GaveUp", "Inflater", "TooMuch", "agree", "offer"]

THRESHOLD: Final = 1024
"""Bytes below which a message goes out as it is: it would cost more time than it saves. ``ws`` (npm) has the same."""

LEVEL: Final = 3
"""Of zlib's 1-9. Measured on JSON of 8 KiB: 60 µs for 24.5 % of the size; level 6 takes 108 µs for 23.0 %."""

MEMORY_LEVEL: Final = 5
WINDOW_BITS: Final = 12
"""Together 32 KiB a connection instead of the 256 KiB of zlib's own defaults (8 and 15), and as small in the end on
messages of a few KiB; ``websockets`` has the same."""

MAX_RESTARTS: Final = 64
"""Last blocks that may stand in what is inflated at once. A sender that marks them has one or two a message; thousands,
each of which begins anew, would cost us a second for every few bytes."""

PIECE: Final = 256 * 1024
"""Bytes inflated at a time; what a bomb may cost beyond the room that is left."""

_NAME: Final = "permessage-deflate"
_TAIL: Final = b"\x00\x00\xff\xff"  # taken off by the sender, put back by the receiver (RFC 7692 §7.2.1, §7.2.2)
_LARGEST_WINDOW: Final = 15
_BITS: Final = {str(bits): bits for bits in range(8, _LARGEST_WINDOW + 1)}
_EXTENSION: Final = re.compile(rf"[ \t]*({NAME_PATTERN})((?:[ \t]*;[^,;]*)*)[ \t]*")  # RFC 6455 §9.1
_PARAMETER: Final = re.compile(
    rf"[ \t]*({NAME_PATTERN})(?:[ \t]*=[ \t]*(?:({NAME_PATTERN})|\"({NAME_PATTERN})\"))?[ \t]*"
)


@dataclass(frozen=True, kw_only=True)
class Deflate:
    """How messages are compressed; ``compression="deflate"`` stands for ``Deflate()``.

    Args:
        threshold: bytes below which a message goes out uncompressed.
        level: zlib's effort, from 1 (fast) to 9 (small).
        memory_level: zlib's memory, from 1 to 9; ``2 ** (memory_level + 9)`` bytes.
        client_max_window_bits: what we look back, from 9 to 15 bits (8 is beyond zlib); None leaves it to the server,
            with 12 at most. Takes ``2 ** (bits + 2)`` bytes.
        server_max_window_bits: what the server may look back, from 8 to 15 bits; None leaves it to the server. A
            server that can't do it goes without compression.
        client_no_context_takeover: compress each message by itself: less memory, larger messages.
        server_no_context_takeover: have the server do so.
    """

    threshold: int = THRESHOLD
    level: int = LEVEL
    memory_level: int = MEMORY_LEVEL
    client_max_window_bits: int | None = None
    server_max_window_bits: int | None = None
    client_no_context_takeover: bool = False
    server_no_context_takeover: bool = False

    def __post_init__(self) -> None:
        check_count("threshold", self.threshold)
        _check_within("level", self.level, 1, 9)
        _check_within("memory_level", self.memory_level, 1, 9)
        if self.client_max_window_bits is not None:
            _check_within("client_max_window_bits", self.client_max_window_bits, 9, _LARGEST_WINDOW)
        if self.server_max_window_bits is not None:
            _check_within("server_max_window_bits", self.server_max_window_bits, 8, _LARGEST_WINDOW)
        check_bool("client_no_context_takeover", self.client_no_context_takeover)
        check_bool("server_no_context_takeover", self.server_no_context_takeover)


class Agreement(NamedTuple):
    """What client and server have agreed on (RFC 7692 §7.1).

    Attributes:
        client_bits: how many bits we may look back.
        server_bits: how many the server may.
        client_resets: whether each of our messages is compressed by itself.
        server_resets: whether each of the server's is.
    """

    client_bits: int
    server_bits: int
    client_resets: bool
    server_resets: bool


class TooMuch(Exception):
    """A message inflates to more than there is room for. Callers of the library never see it."""


class GaveUp(Exception):
    """A message was not compressed to its end, since the connection is over."""


class Deflater:
    """Compresses outgoing messages. One thread at a time: the owner of the way out."""

    __slots__ = ("_compressor", "_resets", "_settings", "threshold")

    def __init__(self, settings: Deflate, agreement: Agreement) -> None:
        """
        Args:
            settings: the caller's wishes.
            agreement: what the server allows.
        """
        bits = min(agreement.client_bits, settings.client_max_window_bits or WINDOW_BITS)
        self._settings = (settings.level, zlib.DEFLATED, -bits, settings.memory_level)
        self._resets = agreement.client_resets
        self._compressor: Any = None
        # With 8 bits, which zlib can't do, everything goes out as it is: the other side must take that as well.
        self.threshold: float = settings.threshold if bits > 8 else float("inf")

    def compress(self, payload: bytes, wanted: Callable[[], bool] | None = None) -> bytes:
        """The payload of a frame whose first reserved bit is set.

        Args:
            payload: the message.
            wanted: asked now and then whether to go on; a large one takes seconds.

        Raises:
            GaveUp: it said no; nothing more can be compressed on this connection.
        """
        compressor, self._compressor = self._compressor, None  # if it raises, no half a message stays in there
        if compressor is None:
            compressor = zlib.compressobj(*self._settings)
        pieces = []
        for start in range(0, len(payload), PIECE):
            if wanted is not None and not wanted():
                raise GaveUp
            pieces.append(compressor.compress(payload[start : start + PIECE]))
        pieces.append(compressor.flush(zlib.Z_SYNC_FLUSH))
        if not self._resets:
            self._compressor = compressor
        return b"".join(pieces)[:-4]


class Inflater:
    """Decompresses incoming messages. Owned by the I/O thread."""

    __slots__ = ("_bits", "_decompressor", "_resets")

    def __init__(self, agreement: Agreement) -> None:
        """
        Args:
            agreement: what the server may do.
        """
        self._bits = agreement.server_bits
        self._resets = agreement.server_resets
        self._decompressor: Any = None

    def inflate(self, data: bytes, room: int) -> list[bytes]:
        """Decompress the next bytes of a message.

        Args:
            data: bytes of its frames.
            room: how many bytes may come out.

        Returns:
            What came out, in pieces.

        Raises:
            TooMuch: more would come out; no more than a piece of it ever was in memory.
            zlib.error: it is no deflate stream.
        """
        pieces: list[bytes] = []
        restarts = 0
        source = self._decompressor or zlib.decompressobj(-self._bits)
        while True:
            most = min(room + 1, PIECE)
            piece = source.decompress(data, most)
            room -= len(piece)
            if room < 0:
                raise TooMuch
            if piece:
                pieces.append(piece)
            data = source.unconsumed_tail
            if source.eof:  # a block marked as the last: what follows begins anew (RFC 7692 §7.2.3.4)
                data = source.unused_data
                source = zlib.decompressobj(-self._bits)
                restarts += 1
                if restarts > MAX_RESTARTS:
                    raise zlib.error("too many last blocks")
            if not data:  # what a full piece left inside zlib comes with the next bytes, the tail's at the latest
                break
        self._decompressor = source
        return pieces

    def finish(self, room: int) -> list[bytes]:
        """The message ends; gives what was still inside, as ``inflate`` does."""
        pieces = self.inflate(_TAIL, room)
        if self._resets:
            self._decompressor = None
        return pieces

    def whole(self, data: bytes, room: int) -> bytes:
        """Decompress a message that came in one piece, as ``inflate`` does."""
        pieces = self.inflate(data + _TAIL, room)
        if self._resets:
            self._decompressor = None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def offer(settings: Deflate) -> str:
    """The value of ``Sec-WebSocket-Extensions`` in the request (RFC 7692 §7.1)."""
    parts = [_NAME]
    if settings.server_no_context_takeover:
        parts.append("server_no_context_takeover")
    if settings.client_no_context_takeover:
        parts.append("client_no_context_takeover")
    if settings.server_max_window_bits is not None:
        parts.append(f"server_max_window_bits={settings.server_max_window_bits}")
    ours = settings.client_max_window_bits
    parts.append("client_max_window_bits" if ours is None else f"client_max_window_bits={ours}")
    return "; ".join(parts)


def agree(settings: Deflate | None, lines: Sequence[str]) -> Agreement | None:
    """What a response's ``Sec-WebSocket-Extensions`` lines mean.

    Args:
        settings: what was offered; None for nothing.
        lines: the values of those header lines.

    Returns:
        The agreement; None if the server takes no extension.

    Raises:
        ValueError: the server answers with what was not offered, or what can't be read (RFC 6455 §9.1, RFC 7692 §5.1).
    """
    taken = [extension for line in lines for extension in _parse(line)]
    if not taken:
        return None
    if settings is None or len(taken) > 1 or taken[0][0] != _NAME:
        names = ", ".join(name for name, _ in taken)
        raise ValueError(f"The server uses extensions that were not offered: {names[:80]}.")
    return _checked(settings, _parameters(taken[0][1]))


def _checked(settings: Deflate, parameters: dict[str, str | None]) -> Agreement:
    for name in ("server_no_context_takeover", "client_no_context_takeover"):
        if parameters.get(name) is not None:
            raise ValueError(f"The server gave {_NAME}'s {name} a value, which it does not take.")
    # A server may forbid itself and us to keep the context unasked; what it was asked it must repeat (RFC 7692 §7.1.1).
    if settings.server_no_context_takeover and "server_no_context_takeover" not in parameters:
        raise ValueError(f"The server takes {_NAME} without the server_no_context_takeover that was asked for.")
    agreement = Agreement(
        client_bits=_agreed_bits(parameters, "client_max_window_bits", settings.client_max_window_bits),
        server_bits=_agreed_bits(parameters, "server_max_window_bits", settings.server_max_window_bits),
        client_resets=settings.client_no_context_takeover or "client_no_context_takeover" in parameters,
        server_resets="server_no_context_takeover" in parameters,
    )
    if settings.server_max_window_bits is not None and "server_max_window_bits" not in parameters:
        raise ValueError(f"The server takes {_NAME} without the server_max_window_bits that was asked for.")
    return agreement


def _agreed_bits(parameters: dict[str, str | None], name: str, offered: int | None) -> int:
    """The window of one side: what the server said, else what was offered, else the largest."""
    most = _LARGEST_WINDOW if offered is None else offered
    if name not in parameters:
        return most
    bits = _BITS.get(parameters[name] or "")
    if bits is None:
        raise ValueError(f"The server answered {_NAME} with a {name} that is no number from 8 to 15.")
    if bits > most:
        raise ValueError(f"The server answered {_NAME} with {name}={bits}, where {most} at most was offered.")
    return bits


def _parse(line: str) -> list[tuple[str, str]]:
    """Names of the extensions of a header line, each with its parameters as they stand."""
    found = []
    for part in line.split(","):
        if part.strip(" \t"):  # an empty element of a list means nothing (RFC 9110 §5.6.1.2)
            match = _EXTENSION.fullmatch(part)
            if match is None:
                raise ValueError("The server answered with a Sec-WebSocket-Extensions that can't be read.")
            found.append((match[1], match[2]))
    return found


def _parameters(text: str) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for part in text.split(";")[1:]:
        match = _PARAMETER.fullmatch(part)
        if match is None:
            raise ValueError(f"The server answered {_NAME} with a parameter that can't be read.")
        name = match[1]
        if name not in _KNOWN_PARAMETERS:
            raise ValueError(f"The server answered {_NAME} with the unknown parameter {name[:40]!r}.")
        if name in found:
            raise ValueError(f"The server answered {_NAME} with {name} twice.")
        found[name] = match[2] or match[3]
    return found


_KNOWN_PARAMETERS: Final = frozenset({
    "server_no_context_takeover", "client_no_context_takeover", "server_max_window_bits", "client_max_window_bits",
})  # fmt: skip


def _check_within(name: str, value: Any, least: int, most: int) -> None:
    if check_count(name, value) < least or value > most:
        raise ValueError(f"{name} must be from {least} to {most}, not {value!r}.")
