"""Frames of RFC 6455 and RFC 7692: parses bytes into messages, and builds frames. No I/O, no clock, no thread.

``MessageReader.feed`` takes any number of bytes and returns the messages that they complete: none, one or thousands.
It stops after the message at which the number of inflated bytes reaches ``max_inflated``; the rest stays compressed
until the next call. Each byte is stored once, and the pieces of a message are joined once (from 1024 pieces on, twice),
so the time is linear in the number of bytes. The limits bound the memory. Text is checked as it arrives: an invalid
byte fails the connection before the rest of the message is received (RFC 6455 §8.1).
"""

from __future__ import annotations

import enum
import struct
import zlib
from codecs import utf_8_decode
from typing import Any, Final, NamedTuple

from .._errors import MessageTooBig, ProtocolError
from .._options import DEFAULT_LIMITS
from . import masking
from .close import MAX_CONTROL_PAYLOAD, Close, CloseCode, parse_close
from .deflate import InflatedTooLarge, Inflater
from .read_size import READ_SIZE, next_read_size

__all__ = ["RSV1", "Failure", "MessageReader", "Opcode", "Received", "build_frame"]

RSV1: Final = 0x40
"""The bit that marks a compressed message, on its first frame (RFC 7692 §6)."""


class Opcode(enum.IntEnum):
    """The opcode of a frame (RFC 6455 §5.2)."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


_FIN: Final = 0x80
_RSV: Final = 0x70
_MASKED: Final = 0x80
_WHOLE_TEXT: Final = _FIN | Opcode.TEXT
_WHOLE_BINARY: Final = _FIN | Opcode.BINARY
_WHOLE_DEFLATED: Final = {_WHOLE_TEXT | RSV1: Opcode.TEXT, _WHOLE_BINARY | RSV1: Opcode.BINARY}
_TEXT, _BINARY = Opcode.TEXT, Opcode.BINARY
_OPCODES: Final = {int(opcode): opcode for opcode in Opcode}
_CONTROL_BIT: Final = 0x8
# When a message has this many pieces, they are joined into one: each piece takes 50 bytes in addition to its content.
_PIECES_TO_JOIN: Final = 1024


class Failure(NamedTuple):
    """A violation of the protocol or of a limit by the peer.

    Attributes:
        code: the close code to send.
        error: the error to report.
    """

    code: CloseCode
    error: ProtocolError | MessageTooBig


Received = tuple[Opcode, Any, int]
"""A message or control frame with the size of its payload in bytes: ``(TEXT, str, size)``, ``(BINARY, bytes, size)``,
``(PING or PONG, bytes, size)``, ``(CLOSE, Close, size)``."""


class _Message:
    """A message that is not completely received yet.

    Attributes:
        fragments: number of its frames so far.
        on_the_wire: payload bytes of these frames, according to their headers.
        size: payload bytes; of a compressed message, the bytes inflated so far.
    """

    __slots__ = ("_chunks", "_cut", "_inflater", "_is_text", "_limit", "_pieces", "fragments", "on_the_wire", "size")

    def __init__(self, opcode: Opcode, limit: int, inflater: Inflater | None) -> None:
        self._limit = limit
        self._inflater = inflater
        self._is_text = opcode is _TEXT
        self._cut = b""  # the first bytes of a character whose last byte is not received yet
        self._chunks: list[str | bytes] = []
        self._pieces: list[str | bytes] = []
        self.fragments = 0
        self.on_the_wire = 0
        self.size = 0

    def begin_frame(self, length: int, max_fragments: int) -> None:
        """Count another frame of the message, and check the limits.

        Args:
            length: payload bytes of the frame, according to its header.
            max_fragments: how many frames the message may have.

        Raises:
            _Broken: the message exceeds a limit.
        """
        self.fragments += 1
        self.on_the_wire += length
        most = self._limit
        if self._inflater is None:
            self.size = self.on_the_wire
            if self.size > most:
                raise _too_big(
                    f"The server sent a message of {self.size} bytes or more, over the limit of {most}; raise "
                    "max_message_size= to accept it."
                )
        else:
            # Compression makes incompressible data a little larger, and adds a few bytes per fragment. The compressed
            # size needs a limit too, since an endless deflate stream may inflate to no bytes at all.
            most += most // 8 + 8 * self.fragments + 64
            if self.on_the_wire > most:
                raise _too_big(
                    f"The server sent a message of {self.on_the_wire} compressed bytes or more, over the limit of "
                    f"{most}, which max_message_size={self._limit} permits; raise max_message_size= to accept it."
                )
        if self.fragments > max_fragments:
            raise _Broken(
                CloseCode.MESSAGE_TOO_BIG,
                f"The server sent a message in more than {max_fragments} fragments; raise max_fragments of limits= "
                "to accept it.",
            )

    def add(self, data: bytes, start: int, end: int) -> None:
        """Add payload bytes: those of ``data`` from ``start`` to ``end``."""
        if self._inflater is not None:
            self._keep_all(self._inflater.inflate(data[start:end], self._limit - self.size))
        elif self._is_text:
            self._keep_text(memoryview(data)[start:end])
        else:
            self._keep(data[start:end])

    def whole(self) -> Received:
        """The whole message, after its last byte was added."""
        # An empty message should be compressed to one byte (RFC 7692 §7.2.3.6), but some peers send none.
        if self._inflater is not None and self.on_the_wire:
            self._keep_all(self._inflater.finish(self._limit - self.size))
        if self._cut:
            utf_8_decode(self._cut, "strict", True)  # raises: the text ends within a character
        parts: list[Any] = [*self._chunks, *self._pieces]
        if self._is_text:
            return _TEXT, "".join(parts), self.size
        return _BINARY, b"".join(parts), self.size

    def _keep_all(self, inflated: list[bytes]) -> None:
        for piece in inflated:
            self.size += len(piece)
            if self._is_text:
                self._keep_text(piece)
            else:
                self._keep(piece)

    def _keep_text(self, piece: bytes | memoryview) -> None:
        if self._cut:
            piece = self._cut + piece
        text, decoded = utf_8_decode(piece)
        self._cut = bytes(piece[decoded:])
        self._keep(text)

    def _keep(self, piece: str | bytes) -> None:
        self._pieces.append(piece)
        if len(self._pieces) == _PIECES_TO_JOIN:
            parts: list[Any] = self._pieces
            self._chunks.append("".join(parts) if self._is_text else b"".join(parts))
            self._pieces = []


class MessageReader:
    """Parses the server's bytes into messages. Only one thread may use it.

    Attributes:
        read_size: the largest number of bytes that should be read for the next ``feed``.
        failure: the peer's first violation of the protocol, or its first message beyond a limit; None if there is none.
            Bytes fed after it are ignored.
        closed: whether a close frame was received; bytes after it are ignored (RFC 6455 §5.5.1).
        is_held: whether the last ``feed`` stopped before the end of its bytes. Then ``feed(b"")`` continues; it must be
            called before ``feed`` gets more bytes.
    """

    __slots__ = (
        "_fin", "_inflater", "_is_idle", "_max_fast_size", "_max_fragments", "_max_inflated", "_max_size", "_message",
        "_missing", "_tail", "closed", "failure", "is_held", "read_size",
    )  # fmt: skip

    def __init__(
        self,
        max_message_size: int,
        max_fragments: int = DEFAULT_LIMITS.max_fragments,
        inflater: Inflater | None = None,
        max_inflated: int = DEFAULT_LIMITS.max_inflated_bytes,
    ) -> None:
        """
        Args:
            max_message_size: largest size of a message in bytes, over all its fragments, after decompression.
            max_fragments: largest number of frames of a message.
            inflater: decompresses messages; None if compression was not negotiated.
            max_inflated: how many bytes one ``feed`` inflates; the message that exceeds it is completed.
        """
        self._max_inflated = max_inflated
        self._max_size = max_message_size
        self._max_fragments = max_fragments
        self._inflater = inflater
        self._max_fast_size = min(max_message_size, 2**16 - 1)  # largest payload of the common case in `feed`
        self._tail = b""  # an incomplete header or control frame
        self._message: _Message | None = None  # the message that is not completely received yet
        self._missing = 0  # payload bytes of its present frame that are not received yet
        self._fin = True  # whether the present frame is the last one of the message
        self.read_size = next_read_size(0, 0, 0)
        # Whether the next byte begins a message, nothing is left of earlier bytes, and `read_size` is `READ_SIZE`.
        self._is_idle = True
        self.failure: Failure | None = None
        self.closed = False
        self.is_held = False

    def feed(self, data: bytes) -> list[Received]:
        """Parse received bytes.

        Args:
            data: any number of bytes.

        Returns:
            The messages and control frames that these bytes complete, in order; see ``is_held``. The caller must check
            ``failure`` after each call; messages before a violation of the protocol are still returned.
        """
        size = len(data)
        if self._is_idle and 1 < size < READ_SIZE and data[0] == _WHOLE_TEXT:
            # The most common case, with the fewest steps: these bytes are one text message in one frame.
            start = 2 if size < 128 else 4
            length = size - start
            if length <= self._max_fast_size and length == (
                data[1] if size < 128 else data[1] == 126 and data[2] << 8 | data[3]
            ):
                try:
                    return [(_TEXT, data[start:].decode(), length)]
                except UnicodeDecodeError:  # reported below
                    pass
        received: list[Received] = []
        self.is_held = False
        if self.failure is not None or self.closed:
            return received
        inflater = self._inflater
        stop = 0 if inflater is None else inflater.produced + self._max_inflated
        arrived = len(data)
        if self._tail:
            data = self._tail + data
            self._tail = b""
        try:
            position, size = 0, len(data)
            if self._missing:
                position = self._take_payload(data, position, received)
            max_fast_size = self._max_fast_size if self._message is None else -1
            while size - position > 1:
                # The common case, with the fewest calls: a whole message of less than 64 KiB in one frame.
                first = data[position]
                length = second = data[position + 1]
                start = position + 2
                if second == 126 and start + 2 <= size:
                    length = data[start] << 8 | data[start + 1]
                    start += 2
                end = start + length
                if end <= size and second < 127 and length <= max_fast_size:
                    if first == _WHOLE_TEXT:
                        received.append((_TEXT, data[start:end].decode(), length))
                        position = end
                        continue
                    if first == _WHOLE_BINARY:
                        received.append((_BINARY, data[start:end], length))
                        position = end
                        continue
                    if first in _WHOLE_DEFLATED and inflater is not None and length:
                        received.append(self._inflated(_WHOLE_DEFLATED[first], data[start:end]))
                        position = end
                        if inflater.produced < stop:
                            continue
                        self.is_held = position < size
                        break
                after = self._parse_frame(data, position, received)
                if after is None or self.closed:
                    break
                position = after
                if inflater is not None and inflater.produced >= stop and position < size:
                    self.is_held = True
                    break
                max_fast_size = self._max_fast_size if self._message is None else -1
            self._tail = data[position:]
        except UnicodeDecodeError as error:
            self._fail(CloseCode.INVALID_DATA, f"The server sent a text message that is not UTF-8 ({error.reason}).")
        except zlib.error as error:
            self._fail(CloseCode.INVALID_DATA, f"The server sent a message that can't be decompressed ({error}).")
        except InflatedTooLarge:
            self._fail(
                CloseCode.MESSAGE_TOO_BIG,
                f"The server sent a message that inflates to more than the limit of {self._max_size} bytes; "
                "raise max_message_size= to accept it.",
            )
        except _Broken as broken:
            self.failure = broken.failure
        if arrived >= READ_SIZE or (arrived and self.read_size != READ_SIZE):  # otherwise `read_size` stays READ_SIZE
            self.read_size = next_read_size(arrived, len(received), self._missing)
        self._is_idle = (
            not (self._tail or self.is_held or self.closed)
            and self._message is None
            and self.failure is None
            and self.read_size == READ_SIZE
        )
        return received

    def _fail(self, code: CloseCode, text: str) -> None:
        self.failure = _Broken(code, text).failure

    def _parse_frame(self, data: bytes, position: int, received: list[Received]) -> int | None:
        """Parse a frame of any kind, or the beginning of a frame of a message.

        Returns:
            Where the next frame begins; None if the header, or a control frame, is not complete.
        """
        header = _parse_header(data, position, RSV1 if self._inflater is not None else 0)
        if header is None:
            return None
        first = data[position]
        opcode, fin, length, start = header
        end = start + length
        if opcode & _CONTROL_BIT:
            if end > len(data):
                return None
            received.append((opcode, self._control(opcode, data[start:end]), length))
        elif self._message is None and fin and end <= len(data) and self._is_simple(opcode, first, length):
            received.append((opcode, _whole_payload(opcode, data, start, end), length))  # a large message
        else:
            self._begin_frame(opcode, fin, length, bool(first & RSV1))
            return self._take_payload(data, start, received)
        return end

    def _is_simple(self, opcode: Opcode, first: int, length: int) -> bool:
        """Whether a final frame is a whole, uncompressed message within the limit."""
        return opcode is not Opcode.CONTINUATION and not first & RSV1 and length <= self._max_size

    def _inflated(self, opcode: Opcode, payload: bytes) -> Received:
        assert self._inflater is not None
        whole = self._inflater.whole(payload, self._max_size)
        return opcode, whole.decode() if opcode is _TEXT else whole, len(whole)

    def _begin_frame(self, opcode: Opcode, fin: bool, length: int, deflated: bool) -> None:
        message = self._message
        if message is None:
            if opcode is Opcode.CONTINUATION:
                raise _Broken(
                    CloseCode.PROTOCOL_ERROR, "The server sent a continuation frame with nothing to continue."
                )
            message = self._message = _Message(opcode, self._max_size, self._inflater if deflated else None)
        elif opcode is not Opcode.CONTINUATION:
            raise _Broken(CloseCode.PROTOCOL_ERROR, "The server began a message inside another one.")
        self._fin = fin
        self._missing = length
        message.begin_frame(length, self._max_fragments)

    def _take_payload(self, data: bytes, position: int, received: list[Received]) -> int:
        assert self._message is not None
        end = min(len(data), position + self._missing)
        if end > position:
            self._message.add(data, position, end)
            self._missing -= end - position
        if not self._missing:
            self._end_frame(received)
        return end

    def _end_frame(self, received: list[Received]) -> None:
        if self._fin and self._message is not None:
            received.append(self._message.whole())
            self._message = None

    def _control(self, opcode: Opcode, payload: bytes) -> bytes | Close:
        if opcode is not Opcode.CLOSE:
            return payload
        self.closed = True
        return parse_close(payload)


class _Broken(Exception):
    """Ends the parsing; ``MessageReader.feed`` catches it.

    Attributes:
        failure: the violation of the protocol or of a limit.
    """

    def __init__(self, code: CloseCode, text: str) -> None:
        super().__init__(text)
        kind = MessageTooBig if code is CloseCode.MESSAGE_TOO_BIG else ProtocolError
        self.failure = Failure(code, kind(text))


def _whole_payload(opcode: Opcode, data: bytes, start: int, end: int) -> str | bytes:
    """The payload of a large message in one frame. Text is decoded without a copy of its bytes."""
    return utf_8_decode(memoryview(data)[start:end], "strict", True)[0] if opcode is _TEXT else data[start:end]


def _too_big(text: str) -> _Broken:
    return _Broken(CloseCode.MESSAGE_TOO_BIG, text)


def _parse_header(data: bytes, position: int, allowed: int) -> tuple[Opcode, bool, int, int] | None:
    """Parse the header of a frame.

    Args:
        data: received bytes.
        position: where the frame begins; at least two of its bytes must be there.
        allowed: the reserved bits that a negotiated extension uses, in the first frame of a message.

    Returns:
        Opcode, FIN bit, payload length and start of the payload; None if the header is not complete.

    Raises:
        _Broken: the header violates the protocol.
    """
    first, second = data[position], data[position + 1]
    opcode = _OPCODES.get(first & 0x0F)
    fin = bool(first & _FIN)
    if first & _RSV & ~(allowed if opcode is _TEXT or opcode is _BINARY else 0):
        raise _Broken(CloseCode.PROTOCOL_ERROR, "The server set a reserved bit that no negotiated extension uses.")
    if opcode is None:
        raise _Broken(CloseCode.PROTOCOL_ERROR, f"The server sent a frame of unknown opcode {first & 0x0F}.")
    if second & _MASKED:
        raise _Broken(CloseCode.PROTOCOL_ERROR, "The server sent a masked frame; only a client may mask frames.")
    if opcode & _CONTROL_BIT and (not fin or second > MAX_CONTROL_PAYLOAD):
        raise _Broken(
            CloseCode.PROTOCOL_ERROR, f"The server sent a {opcode.name} frame in fragments or over 125 bytes."
        )
    length = second
    start = position + 2
    if length == 126:
        if len(data) - start < 2:
            return None
        (length,) = struct.unpack_from("!H", data, start)
        start += 2
    elif length == 127:
        if len(data) - start < 8:
            return None
        (length,) = struct.unpack_from("!Q", data, start)
        start += 8
        if length >= 2**63:
            raise _Broken(CloseCode.PROTOCOL_ERROR, "The server sent a frame length with its highest bit set.")
    return opcode, fin, length, start


_SHORT_TEXT: Final = [bytes((_FIN | _TEXT, _MASKED | size)) for size in range(126)]
"""For each size of a short text message, the header up to the key."""

_MEDIUM: Final = struct.Struct("!BBH4s")
_LARGE: Final = struct.Struct("!BBQ4s")


def build_frame(opcode: int, payload: bytes, key: bytes | None = None) -> bytes:
    """Build a final, masked frame (RFC 6455 §5.2).

    Args:
        opcode: the frame's opcode, with ``RSV1`` if the payload is compressed.
        payload: its payload, unmasked.
        key: the masking key: four unpredictable bytes, used for this frame only (RFC 6455 §5.3); by default a new one.
    """
    if key is None:
        try:
            key = masking.keys.pop()
        except IndexError:
            key = masking.new_key()
    size = len(payload)
    if size < 126 and opcode is _TEXT:
        header = _SHORT_TEXT[size] + key
    elif size < 126:
        header = b"%c%c%b" % (_FIN | opcode, _MASKED | size, key)
    elif size < 2**16:
        header = _MEDIUM.pack(_FIN | opcode, _MASKED | 126, size, key)
    else:
        header = _LARGE.pack(_FIN | opcode, _MASKED | 127, size, key)
    return header + masking.apply_mask(payload, key)
