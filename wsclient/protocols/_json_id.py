"""Replies found by an id in the JSON object: the default."""

from __future__ import annotations

import json
from typing import Any, Final

from .. import _codec
from .._frames import Opcode
from ._base import Draft, Event, Incoming, Protocol, Reply

__all__ = ["JsonId"]

_LARGEST_SAFE_INTEGER: Final = 2**53 - 1
"""Above it a JavaScript peer can't echo an id exactly (RFC 8259 §6)."""


class JsonId(Protocol):
    """A request is a JSON object with an id; the reply is a JSON object with the same id.

    A message without an id gets one from a counter; an id of the caller's own stays. Ids are never used again, and rise
    on the wire. An object with an id *and* a method is a call of the server's, no reply.

    Args:
        key: the name of the member that holds the id.
        method: the name of the member that makes an object a call or an event; None where there is none.
    """

    def __init__(self, key: str = "id", *, method: str | None = "method") -> None:
        if not isinstance(key, str) or not key:
            raise TypeError(f"key must be the name of a member, not {key!r}.")
        if method is not None and not isinstance(method, str):
            raise TypeError(f"method must be the name of a member or None, not {method!r}.")
        self._key = key
        self._method = method
        self._head = f"{{{json.dumps(key)}:"
        self._highest = 0

    def new_id(self) -> int:
        """One more than the highest id that has gone out, the callers' own included."""
        self._highest += 1
        return self._highest

    def id_of(self, message: Any) -> Any | None:
        """The member ``key`` of a ``dict``; None if it has none.

        Raises:
            TypeError: the message is no ``dict``, so no reply could be told to be its own.
            ValueError: its id is neither a string nor a number.
        """
        if not isinstance(message, dict):
            raise TypeError(
                f"A request must be a dict, so that its reply can be found by its {self._key!r}; it is "
                f"{type(message).__name__}. Give match=, or choose another protocol= (such as Fifo)."
            )
        id = message.get(self._key)
        if id is None:
            return None
        if isinstance(id, bool) or not isinstance(id, (int, float, str)):
            raise ValueError(f"The request's {self._key!r} must be a string or a number, not {id!r}.")
        return id

    def encode_request(self, message: Any, id: Any) -> str | bytes:
        """The message with this id, the other members as they are."""
        return _codec.encode({**message, self._key: id}, self.json)

    def decode(self, payload: str | bytes) -> Incoming:
        """A reply if it is an object with an id and no method; else an event."""
        message = _codec.decode(payload, self.json)
        if isinstance(message, dict):
            id = message.get(self._key)
            if id is not None and (self._method is None or self._method not in message):
                return Reply(id, message)
        return Event(message)

    def _passed(self, id: Any) -> None:
        if isinstance(id, (int, float)) and self._highest < id <= _LARGEST_SAFE_INTEGER:  # 7.0 too: its reply may say 7
            self._highest = int(id)

    def _encodes_by_id(self) -> bool:
        kind = type(self)  # a subclass may encode in its own way
        return kind.encode_request is not JsonId.encode_request or kind.encode is not Protocol.encode

    def _draft(self, message: Any) -> Draft:
        """Encoded once; the id is put in front of the other members when it is known."""
        if self._encodes_by_id():
            return super()._draft(message)
        others = message
        if self._key in message:
            others = {name: value for name, value in message.items() if name != self._key}
        text = _codec.encode(others, self.json)
        text = text.strip() if isinstance(text, str) else ""
        if not text.startswith("{") or not text.endswith("}"):
            raise TypeError(f"The json= codec made no JSON object of a dict, but {text[:80]!r}.")
        rest = text[1:].lstrip()
        return _Splice(self._head, rest if rest == "}" else f",{rest}", self.json)


class _Splice(Draft):
    """A JSON object whose first member, the id, is still to come."""

    __slots__ = ("_codec", "_head", "_tail")

    def __init__(self, head: str, tail: str, codec: Any) -> None:
        self._head = head.encode()
        self._tail = tail.encode()
        self._codec = codec
        self.size = len(self._head) + len(self._tail)

    def __call__(self, id: Any) -> tuple[Opcode, bytes]:
        text = str(id) if type(id) is int else str(_codec.encode([id], self._codec)).strip()[1:-1]
        return Opcode.TEXT, b"".join((self._head, text.encode(), self._tail))
