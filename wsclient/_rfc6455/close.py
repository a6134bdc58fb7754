"""Close frames (RFC 6455 §5.5.1, §7.4): which codes there are, and payload ⇄ code and reason. Pure."""

from __future__ import annotations

import enum
import struct
from typing import Final, NamedTuple

__all__ = [
    "CLOSE_CODES_WE_MAY_SEND",
    "MAX_CONTROL_PAYLOAD",
    "Close",
    "CloseCode",
    "build_close_payload",
    "check_close",
    "parse_close",
]

MAX_CONTROL_PAYLOAD: Final = 125
"""Bytes a ping, pong or close frame may carry (RFC 6455 §5.5)."""


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


def parse_close(payload: bytes) -> Close:
    """What a close frame says, however malformed it is."""
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
