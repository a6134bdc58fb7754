"""permessage-deflate (RFC 7692): its negotiation, compression and decompression. No I/O.

The standard library's zlib does the work. Memory: a ``Deflater`` takes 32 KiB and an ``Inflater`` about 40 KiB, both
allocated with the first compressed message. Inflated pieces never take more memory than the caller's limit plus
``PIECE``. Then the pieces of an accepted message are joined, which makes a second copy, so the peak is twice the limit.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from .._validation import check_bool, check_count
from .http11 import NAME_PATTERN

__all__ = [
    "Agreement", "CompressionStopped", "Deflate", "Deflater", "InflatedTooLarge", "Inflater", "negotiate", "offer",
]  # fmt: skip

THRESHOLD: Final = 1024
"""Messages of fewer bytes are not compressed: it would cost more time than it saves. ``ws`` (npm) has this default."""

LEVEL: Final = 3
"""zlib's level, 1 to 9. Measured on 8 KiB of JSON: level 3 takes 60 µs and compresses to 24.5 % of the size; level 6
takes 108 µs and compresses to 23.0 %."""

MEMORY_LEVEL: Final = 5
WINDOW_BITS: Final = 12
"""With these two values, a compressor takes 32 KiB; with zlib's defaults (8 and 15) it takes 256 KiB. Messages of a few
KiB are compressed equally well. ``websockets`` has the same defaults."""

MAX_RESTARTS: Final = 64
"""Largest number of blocks marked as "last" that one call of ``Inflater.inflate`` accepts. A sender that sets the mark
sends one or two such blocks per message. Each of them requires a new decompressor, so a peer could make the client
create thousands of decompressors with few bytes."""

PIECE: Final = 256 * 1024
"""Bytes inflated at a time: the most memory that a decompression bomb can take beyond the limit."""

_NAME: Final = "permessage-deflate"
_TAIL: Final = b"\x00\x00\xff\xff"  # removed by the sender, appended by the receiver (RFC 7692 §7.2.1, §7.2.2)
_LARGEST_WINDOW: Final = 15
_BITS: Final = {str(bits): bits for bits in range(8, _LARGEST_WINDOW + 1)}
_EXTENSION: Final = re.compile(rf"[ \t]*({NAME_PATTERN})((?:[ \t]*;[^,;]*)*)[ \t]*")  # RFC 6455 §9.1
_PARAMETER: Final = re.compile(
    rf"[ \t]*({NAME_PATTERN})(?:[ \t]*=[ \t]*(?:({NAME_PATTERN})|\"({NAME_PATTERN})\"))?[ \t]*"
)


@dataclass(frozen=True, kw_only=True)
class Deflate:
    """How messages are compressed; ``compression="deflate"`` means ``Deflate()``.

    Args:
        threshold: messages of fewer bytes are sent uncompressed.
        level: zlib's level, from 1 (fastest) to 9 (smallest result).
        memory_level: zlib's memory level, from 1 to 9; it takes ``2 ** (memory_level + 9)`` bytes.
        client_max_window_bits: the window of the client's compressor has ``2 ** bits`` bytes, with bits from 9 to 15
            (zlib does not support 8). The compressor takes ``2 ** (bits + 2)`` bytes of memory. None for as many bits
            as the server allows, at most 12.
        server_max_window_bits: the same for the server's compressor: the largest number of bits, from 8 to 15; None for
            no limit. Servers that do not support it fall back to uncompressed messages.
        client_no_context_takeover: the client compresses each message independently: less memory, larger messages.
        server_no_context_takeover: the server must compress each message independently.
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
    """The negotiated parameters of permessage-deflate (RFC 7692 §7.1).

    Attributes:
        client_bits: the window of the client's compressor has at most ``2 ** client_bits`` bytes.
        server_bits: the window of the server's compressor has at most ``2 ** server_bits`` bytes.
        client_resets: whether the client compresses each message independently.
        server_resets: whether the server compresses each message independently.
    """

    client_bits: int
    server_bits: int
    client_resets: bool
    server_resets: bool


class InflatedTooLarge(Exception):
    """A message inflates to more bytes than the limit. Internal: the public calls never raise it."""


class CompressionStopped(Exception):
    """The compression of a message was stopped, because the connection has ended."""


class Deflater:
    """Compresses outgoing messages. Only the thread that holds the write lock may use it."""

    __slots__ = ("_compressor", "_resets", "_settings", "threshold")

    def __init__(self, settings: Deflate, agreement: Agreement) -> None:
        """
        Args:
            settings: the client's options.
            agreement: the negotiated parameters.
        """
        bits = min(agreement.client_bits, settings.client_max_window_bits or WINDOW_BITS)
        self._settings = (settings.level, zlib.DEFLATED, -bits, settings.memory_level)
        self._resets = agreement.client_resets
        self._compressor: Any = None
        # zlib does not support 8 bits. If the server demands 8, every message is sent uncompressed, which it must
        # accept.
        self.threshold: float = settings.threshold if bits > 8 else float("inf")

    def compress(self, payload: bytes, wanted: Callable[[], bool] | None = None) -> bytes:
        """Compress a message.

        Args:
            payload: the message.
            wanted: returns whether the result is still needed. It is called before each ``PIECE`` bytes; the
                compression stops if it returns False. Compressing a large message takes seconds.

        Returns:
            The payload of a frame with the bit ``RSV1``.

        Raises:
            CompressionStopped: ``wanted`` returned False. The next call begins with a new compressor.
        """
        # None until the message is complete: after an exception the compressor contains a part of a message, and must
        # not be used again.
        compressor, self._compressor = self._compressor, None
        if compressor is None:
            compressor = zlib.compressobj(*self._settings)
        pieces = []
        for start in range(0, len(payload), PIECE):
            if wanted is not None and not wanted():
                raise CompressionStopped
            pieces.append(compressor.compress(payload[start : start + PIECE]))
        pieces.append(compressor.flush(zlib.Z_SYNC_FLUSH))
        if not self._resets:
            self._compressor = compressor
        return b"".join(pieces)[:-4]


class Inflater:
    """Decompresses incoming messages. Only the I/O thread may use it.

    Attributes:
        produced: the bytes that it has returned so far.
    """

    __slots__ = ("_bits", "_decompressor", "_resets", "produced")

    def __init__(self, agreement: Agreement) -> None:
        """
        Args:
            agreement: the negotiated parameters.
        """
        self._bits = agreement.server_bits
        self._resets = agreement.server_resets
        self._decompressor: Any = None
        self.produced = 0

    def inflate(self, data: bytes, room: int) -> list[bytes]:
        """Decompress the next bytes of a message.

        Args:
            data: payload bytes of its frames.
            room: the largest number of bytes that may result.

        Returns:
            The decompressed bytes, in pieces.

        Raises:
            InflatedTooLarge: more bytes would result. At most ``PIECE`` bytes beyond the limit were in memory.
            zlib.error: the bytes are not a deflate stream.
        """
        pieces: list[bytes] = []
        restarts, before = 0, room
        source = self._decompressor or zlib.decompressobj(-self._bits)
        while True:
            most = min(room + 1, PIECE)
            piece = source.decompress(data, most)
            room -= len(piece)
            if room < 0:
                raise InflatedTooLarge
            if piece:
                pieces.append(piece)
            data = source.unconsumed_tail
            if source.eof:  # a block with the mark "last": a new deflate stream follows (RFC 7692 §7.2.3.4)
                data = source.unused_data
                source = zlib.decompressobj(-self._bits)
                restarts += 1
                if restarts > MAX_RESTARTS:
                    raise zlib.error('too many blocks marked as "last"')
            # zlib may still hold some bytes; the next call returns them. The last call for a message always ends with
            # `_TAIL`, which makes zlib return everything.
            if not data:
                break
        self._decompressor = source
        self.produced += before - room
        return pieces

    def finish(self, room: int) -> list[bytes]:
        """Decompress the rest of a message after its last byte; arguments, result and errors as in ``inflate``."""
        pieces = self.inflate(_TAIL, room)
        if self._resets:
            self._decompressor = None
        return pieces

    def whole(self, data: bytes, room: int) -> bytes:
        """Decompress a whole message; arguments and errors as in ``inflate``."""
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


def negotiate(settings: Deflate | None, lines: Sequence[str]) -> Agreement | None:
    """Check the server's answer to the offer (RFC 6455 §9.1, RFC 7692 §5.1).

    Args:
        settings: the offered options; None if nothing was offered.
        lines: the values of the response's ``Sec-WebSocket-Extensions`` headers.

    Returns:
        The negotiated parameters; None if the server uses no extension.

    Raises:
        ValueError: the server uses something that was not offered, or the headers can't be parsed.
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
            raise ValueError(f"The server answered {_NAME} with a value for {name}, which has none.")
    # A server may add no_context_takeover for either side without an offer. If it was offered for the server's side,
    # the server must repeat it (RFC 7692 §7.1.1.1); for the client's side it need not (§7.1.1.2).
    if settings.server_no_context_takeover and "server_no_context_takeover" not in parameters:
        raise ValueError(f"The server accepted {_NAME} without the server_no_context_takeover that was requested.")
    agreement = Agreement(
        client_bits=_agreed_bits(parameters, "client_max_window_bits", settings.client_max_window_bits),
        server_bits=_agreed_bits(parameters, "server_max_window_bits", settings.server_max_window_bits),
        client_resets=settings.client_no_context_takeover or "client_no_context_takeover" in parameters,
        server_resets="server_no_context_takeover" in parameters,
    )
    if settings.server_max_window_bits is not None and "server_max_window_bits" not in parameters:
        raise ValueError(f"The server accepted {_NAME} without the server_max_window_bits that was requested.")
    return agreement


def _agreed_bits(parameters: dict[str, str | None], name: str, offered: int | None) -> int:
    """The window size of one side: the server's answer, else the offered size, else the largest."""
    most = _LARGEST_WINDOW if offered is None else offered
    if name not in parameters:
        return most
    bits = _BITS.get(parameters[name] or "")
    if bits is None:
        raise ValueError(f"The server answered {_NAME} with a {name} that is not a number from 8 to 15.")
    if bits > most:
        raise ValueError(f"The server answered {_NAME} with {name}={bits}, but at most {most} was offered.")
    return bits


def _parse(line: str) -> list[tuple[str, str]]:
    """The extensions of a header: for each its name, and its parameters as unparsed text."""
    found = []
    for part in line.split(","):
        if part.strip(" \t"):  # empty list elements are ignored (RFC 9110 §5.6.1.2)
            match = _EXTENSION.fullmatch(part)
            if match is None:
                raise ValueError("The server sent a Sec-WebSocket-Extensions header that can't be parsed.")
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
