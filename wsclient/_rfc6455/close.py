"""Close frames (RFC 6455 §5.5.1, §7.4): the codes, and the conversion between a payload and its code and reason."""

from __future__ import annotations

import enum
import struct
from typing import Final, NamedTuple

__all__ = [
    "MAX_CONTROL_PAYLOAD",
    "SENDABLE_CLOSE_CODES",
    "Close",
    "CloseCode",
    "build_close_payload",
    "check_close",
    "parse_close",
]

MAX_CONTROL_PAYLOAD: Final = 125
"""Largest payload of a ping, pong or close frame, in bytes (RFC 6455 §5.5)."""


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
SENDABLE_CLOSE_CODES: Final = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, *_APPLICATION_CODES})
"""Codes that ``close()`` accepts: those of RFC 6455 §7.4.1 that a client may need, and 3000-4999 (§7.4.2).

The answer to a close frame of the server may have other codes, see ``Close.answer``."""


class Close(NamedTuple):
    """A received close frame.

    Attributes:
        code: its code, even if it is not a valid one; 1005 if the frame has no code (RFC 6455 §7.1.5).
        reason: its text.
        answer: the code to answer with: the same code, 1000 for an empty frame, or the code of the error if the frame
            is malformed.
    """

    code: int
    reason: str
    answer: int


def parse_close(payload: bytes) -> Close:
    """Parse the payload of a close frame. A malformed payload raises no error: ``Close.answer`` is then the close code
    for it.
    """
    if not payload:
        return Close(CloseCode.NO_STATUS, "", CloseCode.NORMAL)
    if len(payload) == 1:
        return Close(CloseCode.NO_STATUS, "", CloseCode.PROTOCOL_ERROR)
    (code,) = struct.unpack_from("!H", payload)
    try:
        reason = payload[2:].decode()
    except UnicodeDecodeError:
        return Close(code, payload[2:].decode(errors="replace"), CloseCode.INVALID_DATA)
    # Some servers send reserved codes (NATS sends 1006). The connection is closed in this case too.
    return Close(code, reason, code if code in _CODES_ON_THE_WIRE else CloseCode.PROTOCOL_ERROR)


def build_close_payload(code: int, reason: str) -> bytes:
    """Build the payload of a close frame (RFC 6455 §5.5.1).

    Args:
        code: the close code.
        reason: the text; at most 123 bytes of UTF-8, which is not checked here.
    """
    return struct.pack("!H", code) + reason.encode()


def check_close(code: int, reason: str) -> None:
    """Check the code and reason that a caller wants to close the connection with.

    Raises:
        TypeError: the reason is not a ``str``.
        ValueError: a client may not send this code, or the reason is longer than 123 bytes of UTF-8.
    """
    if not isinstance(reason, str):
        raise TypeError(f"reason must be a str, not {type(reason).__name__}.")
    if not isinstance(code, int) or code not in SENDABLE_CLOSE_CODES:
        raise ValueError(f"code must be 1000-1003, 1007-1011 or 3000-4999, not {code!r} (RFC 6455 §7.4).")
    size = len(reason.encode())
    if size > MAX_CONTROL_PAYLOAD - 2:
        raise ValueError(f"reason must have at most 123 bytes of UTF-8, not {size} (RFC 6455 §5.5).")
