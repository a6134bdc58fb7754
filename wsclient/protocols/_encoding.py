"""What a message is made into before it is sent: opcode and bytes, with or without the id of a request."""

from __future__ import annotations

from typing import Any, Final

from .._rfc6455.frames import Opcode

__all__ = ["Draft", "encoded"]

_TEXT: Final = Opcode.TEXT
_BINARY: Final = Opcode.BINARY
"""Looked up once: an attribute of an enum costs more than the comparison it is for."""


def encoded(payload: str | bytes) -> tuple[Opcode, bytes]:
    """Opcode and bytes of a payload.

    Raises:
        ValueError: the text has a lone surrogate, which UTF-8 can't carry.
    """
    if isinstance(payload, str):
        return _TEXT, payload.encode()
    return _BINARY, payload


class Draft:
    """A request that is encoded but for its id.

    Attributes:
        size: bytes it will have, but for the id.
    """

    __slots__ = ("size",)

    size: int

    def __call__(self, id: Any) -> tuple[Opcode, bytes]:
        """The payload with this id."""
        raise NotImplementedError
