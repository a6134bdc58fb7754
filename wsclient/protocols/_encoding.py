"""The encoded form of a message: opcode and bytes; for a request, a form without the id."""

from __future__ import annotations

from typing import Any, Final

from .._rfc6455.frames import Opcode

__all__ = ["Encoder", "encoded"]

_TEXT: Final = Opcode.TEXT
_BINARY: Final = Opcode.BINARY
"""Both are looked up once here, since reading an attribute of an enum class is slow and this is a hot path."""


def encoded(payload: str | bytes) -> tuple[Opcode, bytes]:
    """Opcode and bytes of a payload.

    Raises:
        ValueError: the text contains a lone surrogate, which UTF-8 can't encode.
        TypeError: it is neither text nor bytes: a method of a user-defined protocol returned something else.
    """
    if isinstance(payload, str):
        return _TEXT, payload.encode()
    if not isinstance(payload, (bytes, bytearray, memoryview)):
        raise TypeError(f"A message protocol must encode a message as str or bytes, not {type(payload).__name__}.")
    return _BINARY, payload


class Encoder:
    """A request that is encoded except for its id.

    Attributes:
        size: the size of the payload in bytes: without the id, or with a sample id if the protocol can't encode a
            request without one.
    """

    __slots__ = ("size",)

    size: int

    def encode(self, id: Any) -> tuple[Opcode, bytes]:
        """Opcode and bytes of the request with this id."""
        raise NotImplementedError
