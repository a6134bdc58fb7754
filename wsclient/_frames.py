"""RFC 6455 frames: bytes to messages, and messages to bytes. No I/O, no clock, no thread.

A ``MessageReader`` takes whatever bytes came and gives whole messages; one ``feed`` may give none or thousands. It
stores a byte once and joins the pieces of a message once, so its time is linear in what it is fed, and its memory is
bounded by the limits it was made with. Text is checked while it comes in: a wrong byte fails the connection before
the rest of the message is there (RFC 6455 §8.1).
"""

from __future__ import annotations

import codecs
import enum
import struct
from typing import Any, Final, NamedTuple

from ._errors import MessageTooBig, ProtocolError
from ._masking import apply_mask

__all__ = [
    "CLOSE_CODES_WE_MAY_SEND",
    "MAX_CONTROL_PAYLOAD",
    "Close",
    "CloseCode",
    "Failure",
    "MessageReader",
    "Opcode",
    "build_close_payload",
    "build_frame",
    "check_close",
]

MAX_CONTROL_PAYLOAD: Final = 125
"""Bytes a ping, pong or close frame may carry (RFC 6455 §5.5)."""

MAX_FRAGMENTS: Final = 2**17
"""Fragments one message may come in. Autobahn's 9.3.1 sends 65 536 of them; nobody known sends more."""


class Opcode(enum.IntEnum):
    """What a frame is (RFC 6455 §5.2)."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class CloseCode(enum.IntEnum):
    """Why a connection is closed (RFC 6455 §7.4.1 and the IANA registry)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS = 1005
    ABNORMAL = 1006
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014


_APPLICATION_CODES: Final = range(3000, 5000)
_CODES_ON_THE_WIRE: Final = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015), *_APPLICATION_CODES})
CLOSE_CODES_WE_MAY_SEND: Final = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, *_APPLICATION_CODES})
"""Codes ``close()`` accepts: those of RFC 6455 §7.4.1 that a client has a use for, and 3000-4999; echoes may be any."""

_FIN: Final = 0x80
_RSV: Final = 0x70
_MASKED: Final = 0x80
_WHOLE_TEXT: Final = _FIN | Opcode.TEXT
_WHOLE_BINARY: Final = _FIN | Opcode.BINARY
_TEXT, _BINARY = Opcode.TEXT, Opcode.BINARY
_OPCODES: Final = {int(opcode): opcode for opcode in Opcode}
_CONTROL_BIT: Final = 0x8
_new_utf8_decoder = codecs.getincrementaldecoder("utf-8")


class Close(NamedTuple):
    """A close frame as it came.

    Attributes:
        code: its code, whatever it was; 1005 for an empty frame (RFC 6455 §7.1.5).
        reason: its text.
        answer: the code to answer with: the same, or the fault if the frame was malformed.
    """

    code: int
    reason: str
    answer: int


class Failure(NamedTuple):
    """The peer broke the rules: the code to close with, and the error to tell."""

    code: CloseCode
    error: ProtocolError | MessageTooBig


Received = tuple[Opcode, Any, int]
"""A message or control frame, and its payload's bytes: ``(TEXT, str, size)``, ``(BINARY, bytes, size)``, ``(PING or
PONG, bytes, size)``, ``(CLOSE, Close, size)``."""


class _Message:
    """A message that comes in pieces."""

    __slots__ = ("_decoder", "_pieces", "fragments", "opcode", "size")

    def __init__(self, opcode: Opcode) -> None:
        self.opcode = opcode
        self.size = 0
        self.fragments = 0
        self._pieces: list[str | bytes] = []
        self._decoder = _new_utf8_decoder() if opcode is Opcode.TEXT else None

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece if self._decoder is None else self._decoder.decode(piece))

    def whole(self) -> Received:
        if self._decoder is None:
            return _BINARY, b"".join(self._pieces), self.size  # type: ignore[arg-type]
        self._pieces.append(self._decoder.decode(b"", True))  # raises if the text ends within a character
        return _TEXT, "".join(self._pieces), self.size  # type: ignore[arg-type]


class MessageReader:
    """Turns the server's bytes into messages. Owned by one thread.

    Attributes:
        failure: set once the peer broke the rules; what was fed from then on is ignored.
        closed: set once a close frame came; what follows it is ignored (RFC 6455 §5.5.1).
    """

    __slots__ = (
        "_at_once",
        "_fin",
        "_max_fragments",
        "_max_size",
        "_message",
        "_missing",
        "_tail",
        "closed",
        "failure",
    )

    def __init__(self, max_message_size: int, max_fragments: int = MAX_FRAGMENTS) -> None:
        """
        Args:
            max_message_size: bytes a message may have, over all its fragments.
            max_fragments: frames a message may come in.
        """
        self._max_size = max_message_size
        self._max_fragments = max_fragments
        self._at_once = min(max_message_size, 2**16 - 1)
        self._tail = b""  # an incomplete header or control frame
        self._message: _Message | None = None  # the one that is coming in, in one frame or several
        self._missing = 0  # payload bytes of its present frame that are yet to come
        self._fin = True  # whether that frame is its last
        self.failure: Failure | None = None
        self.closed = False

    def feed(self, data: bytes) -> list[Received]:
        """Take bytes as they came from the line.

        Args:
            data: any number of bytes.

        Returns:
            The messages and control frames completed by them, in order. Look at ``failure`` afterwards: messages
            that came before the fault are still given.
        """
        received: list[Received] = []
        if self.failure is not None or self.closed:
            return received
        if self._tail:
            data = self._tail + data
            self._tail = b""
        try:
            self._parse(data, received)
        except UnicodeDecodeError as error:
            text = f"The server sent a text message that is no UTF-8 ({error.reason})."
            self.failure = _Broken(CloseCode.INVALID_DATA, text).failure
        except _Broken as broken:
            self.failure = broken.failure
        return received

    def _parse(self, data: bytes, received: list[Received]) -> None:
        position, size = 0, len(data)
        while position < size:
            if self._missing:
                position = self._take_payload(data, position, received)
                continue
            if size - position < 2:
                break
            # The common case, kept short: a whole message of less than 64 KiB in one frame.
            first, length = data[position], data[position + 1]
            start = position + 2
            if length == 126 and start + 2 <= size:
                length = data[start] << 8 | data[start + 1]
                start += 2
            end = start + length
            if end <= size and length <= self._at_once and self._message is None and data[position + 1] < 127:
                if first == _WHOLE_TEXT:
                    received.append((_TEXT, data[start:end].decode(), length))
                    position = end
                    continue
                if first == _WHOLE_BINARY:
                    received.append((_BINARY, data[start:end], length))
                    position = end
                    continue
            header = _parse_header(data, position)
            if header is None:
                break
            opcode, fin, length, start = header
            if opcode & _CONTROL_BIT:
                if size - start < length:
                    break
                position = start + length
                received.append((opcode, self._control(opcode, data[start:position]), length))
                if self.closed:
                    return
            else:
                self._begin_frame(opcode, fin, length)
                position = start
                if not length:
                    self._end_frame(received)
        self._tail = data[position:]

    def _begin_frame(self, opcode: Opcode, fin: bool, length: int) -> None:
        message = self._message
        if message is None:
            if opcode is Opcode.CONTINUATION:
                raise _Broken(
                    CloseCode.PROTOCOL_ERROR, "The server sent a continuation frame with nothing to continue."
                )
            message = self._message = _Message(opcode)
        elif opcode is not Opcode.CONTINUATION:
            raise _Broken(CloseCode.PROTOCOL_ERROR, "The server began a message inside another one.")
        self._fin = fin
        self._missing = length
        message.size += length
        message.fragments += 1
        if message.size > self._max_size:
            raise _Broken(
                CloseCode.MESSAGE_TOO_BIG,
                f"The server sent a message of {message.size} bytes or more, over the limit of {self._max_size}; "
                "raise max_message_size= if it is wanted.",
            )
        if message.fragments > self._max_fragments:
            raise _Broken(
                CloseCode.MESSAGE_TOO_BIG,
                f"The server sent a message in more than {self._max_fragments} fragments.",
            )

    def _take_payload(self, data: bytes, position: int, received: list[Received]) -> int:
        assert self._message is not None
        end = min(len(data), position + self._missing)
        self._message.add(data[position:end])
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
        return _parse_close(payload)


class _Broken(Exception):
    """Ends the parse; carries the failure to the reader's face."""

    def __init__(self, code: CloseCode, text: str) -> None:
        super().__init__(text)
        kind = MessageTooBig if code is CloseCode.MESSAGE_TOO_BIG else ProtocolError
        self.failure = Failure(code, kind(text))


def _parse_header(data: bytes, position: int) -> tuple[Opcode, bool, int, int] | None:
    """Opcode, FIN, payload length and start of the payload; None while the header is not complete."""
    first, second = data[position], data[position + 1]
    opcode = _OPCODES.get(first & 0x0F)
    fin = bool(first & _FIN)
    if first & _RSV:
        raise _Broken(CloseCode.PROTOCOL_ERROR, "The server set a reserved bit that no extension gave a meaning.")
    if opcode is None:
        raise _Broken(CloseCode.PROTOCOL_ERROR, f"The server sent a frame of unknown opcode {first & 0x0F}.")
    if second & _MASKED:
        raise _Broken(CloseCode.PROTOCOL_ERROR, "The server sent a masked frame, which only a client may.")
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


def _parse_close(payload: bytes) -> Close:
    if not payload:
        return Close(CloseCode.NO_STATUS, "", CloseCode.NORMAL)
    if len(payload) == 1:
        return Close(CloseCode.NO_STATUS, "", CloseCode.PROTOCOL_ERROR)
    (code,) = struct.unpack_from("!H", payload)
    try:
        reason = payload[2:].decode()
    except UnicodeDecodeError:
        return Close(code, payload[2:].decode(errors="replace"), CloseCode.INVALID_DATA)
    # Some servers send codes that must not be on the wire (NATS: 1006); they mean "closed" all the same.
    return Close(code, reason, code if code in _CODES_ON_THE_WIRE else CloseCode.PROTOCOL_ERROR)


def build_frame(opcode: int, payload: bytes, key: bytes) -> bytes:
    """One whole, masked frame (RFC 6455 §5.2).

    Args:
        opcode: what the frame is.
        payload: its payload, unmasked.
        key: four unpredictable bytes, used for this frame only.
    """
    size = len(payload)
    if size < 126:
        header = bytes((_FIN | opcode, _MASKED | size))
    elif size < 2**16:
        header = struct.pack("!BBH", _FIN | opcode, _MASKED | 126, size)
    else:
        header = struct.pack("!BBQ", _FIN | opcode, _MASKED | 127, size)
    return b"".join((header, key, apply_mask(payload, key)))


def build_close_payload(code: int, reason: str) -> bytes:
    """The payload of a close frame (RFC 6455 §5.5.1)."""
    return struct.pack("!H", code) + reason.encode()


def check_close(code: int, reason: str) -> None:
    """Refuse what a client must not say when it closes of its own accord.

    Raises:
        TypeError: the reason is no ``str``.
        ValueError: the code is not one a client may choose, or the reason is longer than 123 bytes of UTF-8.
    """
    if not isinstance(reason, str):
        raise TypeError(f"reason must be a str, not {type(reason).__name__}.")
    if not isinstance(code, int) or code not in CLOSE_CODES_WE_MAY_SEND:
        raise ValueError(f"code must be 1000-1003, 1007-1011 or 3000-4999, not {code!r} (RFC 6455 §7.4).")
    size = len(reason.encode())
    if size > MAX_CONTROL_PAYLOAD - 2:
        raise ValueError(f"reason must have at most 123 bytes of UTF-8, not {size} (RFC 6455 §5.5).")
