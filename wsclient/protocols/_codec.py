"""Conversion between the messages of callers and the payloads on the wire.

Outgoing: ``str`` becomes a text message; ``bytes``, ``bytearray``, ``memoryview`` and ``array.array`` become binary
messages; every other object becomes a text message of JSON. Incoming: text that is a JSON object or array is decoded;
other text is returned as ``str``, a binary message as ``bytes``.

Thread-safe: the functions and ``StandardJson`` keep no state between calls.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

__all__ = [
    "JSON",
    "LARGE_ARRAY",
    "StandardJson",
    "checked_json",
    "decode",
    "decode_array",
    "decode_binary",
    "encode",
    "to_json",
]

_JSON_OPENERS = ("{", "[")
_JSON_SPACE = " \t\r\n"
_SPACE = re.compile(f"[{_JSON_SPACE}]*")

LARGE_ARRAY = 2**18
"""An array whose text has more characters than this is decoded element by element, so that decoding stops at the limit
on elements: to decode 16 MiB of numbers takes 1 s. For shorter texts this would only cost time."""


class StandardJson:
    """The standard library's JSON, without NaN, infinities (RFC 8259 §6) and optional spaces in outgoing text.

    In incoming text, NaN and infinities are accepted and decoded as floats: many Python servers send them, and a reply
    that is not decoded could not be correlated with its request.

    ``dumps`` uses one C encoder of CPython's ``json`` for all calls. ``JSONEncoder.encode`` makes a new one for each
    call, which takes twice as long for a small message (measured). The encoder stores each object that it is encoding,
    to recognise a reference of an object to itself. After an error, or if two threads encode one object at the same
    time, it may report such a reference where there is none. So after each error ``JSONEncoder.encode`` decides.

    Attributes:
        pieces: encodes a value as pieces of text; its second argument must be 0. After an error of any kind, the caller
            must call ``renew``.
        scan: decodes the value at an index of a text, and returns the value and the index after it. Raises
            StopIteration or ValueError if there is no value.
    """

    def __init__(self) -> None:
        self._encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        self.pieces: Callable[[Any, int], Iterable[str]] = self._make_pieces()
        decoder = json.JSONDecoder()
        self._decode = decoder.decode
        self.scan = getattr(decoder, "scan_once", decoder.raw_decode)  # scan_once of CPython saves one Python call

    def __reduce__(self) -> str:
        return "JSON"  # pickle refers to the only instance: its C part can't be pickled

    def dumps(self, value: Any) -> str:
        """Encode a value as JSON text.

        Raises:
            ValueError: the value contains NaN, an infinity or a reference to itself.
            TypeError: JSON can't represent the value.
        """
        try:
            return "".join(self.pieces(value, 0))
        except BaseException as error:
            self.renew()
            if not isinstance(error, Exception):  # such as a KeyboardInterrupt
                raise
        return self._encoder.encode(value)

    def renew(self) -> None:
        """Make a new encoder after an error: the old one still stores the objects that it was encoding."""
        self.pieces = self._make_pieces()

    def _make_pieces(self) -> Any:
        encoder: Any = self._encoder
        make = getattr(json.encoder, "c_make_encoder", None)
        if make is None:  # pragma: no cover  (PyPy)
            return encoder.iterencode
        escape = json.encoder.encode_basestring
        return make({}, encoder.default, escape, None, ":", ",", False, False, False)

    def loads(self, text: str | bytes) -> Any:
        """Decode JSON text.

        Raises:
            ValueError: the text is not JSON, or the bytes are not UTF-8.
        """
        if not isinstance(text, str):
            text = text.decode()
        try:
            value, end = self.scan(text, 0)
        except (StopIteration, ValueError):  # the text may begin with white space
            return self._decode(text)
        # Many servers end each message with a line feed; such a message need not be decoded a second time.
        return value if end == len(text) or not text[end:].strip(_JSON_SPACE) else self._decode(text)


JSON = StandardJson()
"""The default of the ``json=`` option."""


def checked_json(codec: Any) -> Any:
    """Validate the ``json=`` option.

    Args:
        codec: None, an object with ``dumps`` and ``loads``, or one with ``encode`` and ``decode`` (``msgspec.json``).

    Returns:
        None, or an object with ``dumps`` and ``loads``.

    Raises:
        TypeError: it is none of these.
    """
    if codec is None or _has(codec, "dumps", "loads"):
        return codec
    if _has(codec, "encode", "decode"):
        return SimpleNamespace(dumps=codec.encode, loads=codec.decode)
    raise TypeError(
        f"json must be None or an object with dumps() and loads(), or encode() and decode(), not {codec!r}."
    )


def _has(thing: Any, *names: str) -> bool:
    return all(callable(getattr(thing, name, None)) for name in names)


def encode(message: Any, codec: Any) -> str | bytes:
    """Encode a message.

    Args:
        message: the caller's message; it is neither changed nor stored.
        codec: the client's ``json=`` option.

    Returns:
        ``str`` for a text message, ``bytes`` for a binary one.

    Raises:
        TypeError: JSON can't represent the message, or the client was made with ``json=None``.
        ValueError: the message contains NaN, an infinity or a reference to itself.
    """
    if isinstance(message, (str, bytes)):
        return message
    if isinstance(message, (bytearray, memoryview, array)):
        return bytes(message)
    return to_json(message, codec)


def to_json(value: Any, codec: Any) -> str:
    """Encode a value as JSON text; arguments and errors as in ``encode``."""
    if codec is None:
        raise TypeError(
            f"This client was made with json=None, so a message must be str or bytes, not {type(value).__name__}."
        )
    text = codec.dumps(value)
    return text if isinstance(text, str) else bytes(text).decode()


def decode(payload: str | bytes, codec: Any) -> Any:
    """Decode a payload.

    Args:
        payload: ``str`` of a text message, ``bytes`` of a binary one.
        codec: the client's ``json=`` option.

    Returns:
        The decoded object or array; the payload itself if it is not JSON text of an object or array.
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
    except Exception:  # each codec has its own exceptions; all of them mean that the text is not JSON
        return payload


def decode_array(text: str, most: int) -> Any:
    """Decode the text of an array with the standard codec, but no more elements than can be used.

    Args:
        text: the text of a message.
        most: how many elements can be used.

    Returns:
        The result of ``decode(text, JSON)``; for an array with more than ``most`` elements, its first ``most + 1``
        elements.
    """
    values: list[Any] = []
    skip = _SPACE.match
    at = skip(text, 0).end() + 1  # type: ignore[union-attr]  # it matches everywhere
    if text[at - 1 : at] != "[":
        return decode(text, JSON)
    try:
        while len(values) <= most:
            value, at = JSON.scan(text, skip(text, at).end())  # type: ignore[union-attr]
            values.append(value)
            at = skip(text, at).end()  # type: ignore[union-attr]
            if text[at] != ",":
                break
            at += 1
        else:
            return values
    except (StopIteration, ValueError, IndexError, RecursionError):
        return decode(text, JSON)
    is_whole = text[at] == "]" and not text[at + 1 :].strip(_JSON_SPACE)
    return values if is_whole else decode(text, JSON)


def decode_binary(payload: str | bytes, codec: Any, most: int | None = None) -> Any:
    """Decode a payload whose JSON may be in a binary message; arguments and result as in ``decode``.

    Args:
        payload: the payload of a message.
        codec: the codec.
        most: how many elements of an array can be used, see ``decode_array``; None for any number.
    """
    if isinstance(payload, str):
        return decode(payload, codec)
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return payload
    if most is not None and codec is JSON and len(text) > LARGE_ARRAY:
        message = decode_array(text, most)
    else:
        message = decode(text, codec)
    return payload if message is text else message
