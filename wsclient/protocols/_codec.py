"""Messages as callers know them, and payloads as the wire knows them.

A ``str`` goes out as text, ``bytes``-likes as binary, everything else through JSON as text. Coming in, text that is a
JSON object or array arrives decoded, other text as ``str``, binary as ``bytes``.

Thread-safe: a codec keeps no state of its own.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

__all__ = ["JSON", "StandardJson", "checked_json", "decode", "encode", "to_json"]

_JSON_OPENERS = ("{", "[")
_JSON_SPACE = " \t\r\n"


class StandardJson:
    """The standard library's JSON: no NaN, no infinity (RFC 8259 §6) and no needless spaces go out.

    Coming in, NaN and the infinities are read as the floats they are: many a Python server sends them, and a reply that
    would not be decoded could not be told to answer its request.
    """

    def __init__(self) -> None:
        # JSON text of a value; ValueError for NaN, TypeError for what JSON has no form for.
        encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        self._encode = encoder.encode
        self.dumps: Callable[[Any], str] = self._encode
        make = getattr(json.encoder, "c_make_encoder", None)  # CPython's, which `encode` makes again for each message
        if make is not None:
            quote = json.encoder.encode_basestring
            self._pieces = make(None, encoder.default, quote, None, ":", ",", False, False, False)
            self.dumps = self._dumps
        decoder = json.JSONDecoder()
        self._decode = decoder.decode
        self._scan = getattr(decoder, "scan_once", decoder.raw_decode)  # CPython's, which the other one calls

    def _dumps(self, value: Any) -> str:
        """JSON text of a value, by the encoder that is made once. It does not look for values that hold themselves; the
        standard one does, and raises the error that says what is wrong.
        """
        try:
            return "".join(self._pieces(value, 0))
        except Exception:  # noqa: S110 - the standard encoder raises it again
            pass
        return self._encode(value)

    def __reduce__(self) -> str:
        return "JSON"  # the one instance: its C parts can't be pickled

    def loads(self, text: str | bytes) -> Any:
        """The value of JSON text; ``ValueError`` if it is none."""
        if not isinstance(text, str):
            text = text.decode()
        try:
            value, end = self._scan(text, 0)
        except (StopIteration, ValueError):  # there may be space in front
            return self._decode(text)
        # Many servers end each message with a line feed.
        return value if end == len(text) or not text[end:].strip(_JSON_SPACE) else self._decode(text)


JSON = StandardJson()
"""The default of the ``json=`` option."""


def checked_json(codec: Any) -> Any:
    """The ``json=`` option, validated: None, or any object with ``dumps`` and ``loads``.

    An object with ``encode`` and ``decode`` instead, such as ``msgspec.json``, is given these two names.
    """
    if codec is None or _has(codec, "dumps", "loads"):
        return codec
    if _has(codec, "encode", "decode"):
        return SimpleNamespace(dumps=codec.encode, loads=codec.decode)
    raise TypeError(f"json must be None or an object with dumps() and loads(), not {codec!r}.")


def _has(thing: Any, *names: str) -> bool:
    return all(callable(getattr(thing, name, None)) for name in names)


def encode(message: Any, codec: Any) -> str | bytes:
    """The payload of a message: ``str`` for a text message, ``bytes`` for a binary one.

    Args:
        message: what the caller wants to send; it is neither changed nor kept.
        codec: the client's ``json=`` option.

    Raises:
        TypeError: JSON has no form for it, or the client speaks no JSON.
        ValueError: it holds NaN or an infinity, or refers to itself.
    """
    if isinstance(message, (str, bytes)):
        return message
    if isinstance(message, (bytearray, memoryview, array)):
        return bytes(message)
    return to_json(message, codec)


def to_json(value: Any, codec: Any) -> str:
    """JSON text of a value; arguments and errors as for ``encode``."""
    if codec is None:
        raise TypeError(
            f"This client was made with json=None, so a message must be str or bytes, not {type(value).__name__}."
        )
    text = codec.dumps(value)
    return text if isinstance(text, str) else bytes(text).decode()


def decode(payload: str | bytes, codec: Any) -> Any:
    """The message in a payload; text that looks like JSON and is not comes back as the ``str`` it is.

    Args:
        payload: ``str`` of a text message, ``bytes`` of a binary one.
        codec: the client's ``json=`` option.
    """
    if codec is None or not isinstance(payload, str):
        return payload
    first = payload[:1]
    if first not in _JSON_OPENERS and (
        first not in _JSON_SPACE or not payload.lstrip(_JSON_SPACE).startswith(_JSON_OPENERS)
    ):
        return payload
    try:
        return codec.loads(payload)
    except Exception:  # each codec has errors of its own; all mean that this is no JSON, but a text
        return payload
