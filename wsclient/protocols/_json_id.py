"""Correlation by an id in the JSON object; the default protocol."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, Final, Literal

from .._errors import RemoteError
from .._rfc6455.frames import Opcode
from .._validation import check_bool, check_callable
from . import _codec
from ._base import Encoder, Protocol
from ._batch import Answers, BatchCall, batch_too_big
from ._incoming import Call, Event, Failure, Incoming, Item, Reply
from ._numbers import Numbers
from ._paths import NOTHING, Path, checked_path, found, placed

__all__ = ["READABLE", "JsonId"]

_TEXT: Final = Opcode.TEXT
_BINARY: Final = Opcode.BINARY

READABLE: Final = 4096
"""A request of more bytes is not decoded to find its method for the text of an error."""

_MOST_LONGER: Final = 8
"""A received message is compared with a request only if the request is at most this many times as long as the message,
in bytes. An echo may be shorter than the request, since a server may send ``é`` (two bytes) for ``\\u00e9`` (six)."""

_INTERNAL_ERROR: Final = -32603
"""JSON-RPC's code for an internal error (JSON-RPC 2.0 §5.1), used for an error that has no code."""


class JsonId(Protocol):
    """A request is a JSON object with an id; its reply is a JSON object with the same id.

    A message without an id gets one from a counter; a message with an id keeps it. Ids from the counter are never used
    twice, and rise in the order of writing. An incoming object with an id *and* a method is a call, not a reply. There
    is one exception: if it equals the request in flight that has this id, the server is an echo server, and the object
    is the reply.

    Each argument that is a member's name may also be a path into nested objects, as a tuple: ``("header", "msg_id")``.

    Args:
        key: the member that contains the id.
        reply_key: the member of a reply that contains the id; by default ``key``.
        ids: ``int`` for a counter, ``str`` for a counter as strings, ``"uuid"`` for random UUIDs, or a function that
            returns an id that this client has not used before. Use ``"uuid"`` if the server sends each reply to several
            clients (Jupyter kernels, chat rooms, a bus of devices): two clients with counters use the same ids, so each
            would accept replies to the other's requests. Use it too if an id must be hard to guess.
        result: the member of a reply that ``request()`` returns; None to return the whole reply.
        error: the member that a reply has only if it is an error; or a function that takes the reply and returns its
            error, or None if there is none. ``code``, ``message`` (or ``reason``) and ``data`` of the error become
            those of a ``RemoteError``. None if replies are never errors.
        item: a function that takes a reply and returns True if it is one of several answers; ``stream()`` and
            ``subscribe()`` return these.
        final: a function that takes a request and the value of a reply and returns False if the reply only
            acknowledges the request, and the answer follows.
        batch: whether a message may be an array of requests or replies; then ``request([...])`` sends an array.
        method: the member that only calls and events have; None if there is no such member.
        topic: the member of an event that ``client.on()`` compares with its topic; None if there is no such member.
        stream: the member of an event that contains the key of its subscription; None if there is no such member.
        name: in the reply to a subscribe request, the member with the subscription's key; None if the reply itself is
            the key.
        binary: whether the server's JSON is in binary messages. Then all JSON is sent in binary messages, and binary
            messages that are JSON objects or arrays are decoded. Text messages are decoded as usual.
    """

    def __init__(
        self,
        key: Path = "id",
        *,
        reply_key: Path | None = None,
        ids: type[int | str] | Literal["uuid"] | Callable[[], Any] = int,
        result: Path | None = None,
        error: Path | Callable[[Any], Any] | None = None,
        item: Callable[[Any], bool] | None = None,
        final: Callable[[Any, Any], bool] | None = None,
        batch: bool = False,
        method: Path | None = "method",
        topic: Path | None = "method",
        stream: Path | None = None,
        name: Path | None = None,
        binary: bool = False,
    ) -> None:
        self._key = checked_path("key", key)
        self._reply_key = self._key if reply_key is None else checked_path("reply_key", reply_key)
        if ids != "uuid" and not callable(ids):
            raise TypeError(f"ids must be int, str, 'uuid' or a function that makes an id, not {ids!r}.")
        self._ids = _new_uuid if ids == "uuid" else ids
        self._result = _optional("result", result)
        self._find_error = check_callable("error", error) if callable(error) else None
        self._error = None if callable(error) else _optional("error", error)
        self._knows_errors = error is not None
        self._is_item = check_callable("item", item)
        self._final = check_callable("final", final)
        self._batches = check_bool("batch", batch)
        self._method = _optional("method", method)
        self._topic = _optional("topic", topic)
        self._stream = _optional("stream", stream)
        self._name = _optional("name", name)
        self._binary = check_bool("binary", binary)
        self._opcode = _BINARY if binary else _TEXT
        self._is_flat = len(self._key) == len(self._reply_key) == 1
        self._head = f"{{{json.dumps(self._key[0])}:".encode()
        self._numbers = Numbers()
        self._needs_id_first = self._encodes_by_id()
        kind = type(self)
        # Set if each object with an id and no method is a reply whose value is the object: the name of the method.
        self._plain_method = (
            self._method[0]
            if self._method is not None
            and len(self._method) == 1
            and self._is_flat
            and result is None
            and error is None
            and item is None
            and not batch
            and kind._meaning is JsonId._meaning
            else None
        )
        self._is_fast = (
            not self._needs_id_first
            and kind.id_of is JsonId.id_of
            and kind._encoder is JsonId._encoder
            and kind._with_fixed_members is JsonId._with_fixed_members
        )

    # --- ids ---------------------------------------------------------------------------------------------------------

    def new_id(self) -> Any:
        """The highest id sent so far, including the callers' own ids, plus one; or the result of ``ids()``."""
        if self._ids is int:  # as Numbers.next, with one call less
            numbers = self._numbers
            number = numbers.given = (numbers.given if numbers.given > numbers.passed else numbers.passed) + 1  # noqa: FURB136
            return number
        return str(self._numbers.next()) if self._ids is str else self._ids()

    def id_of(self, message: Any) -> Any | None:
        """The id of a request.

        Returns:
            The id; None if the message has none.

        Raises:
            TypeError: the message is not a ``dict``, so it can't have an id.
            ValueError: the id is neither a string nor a number.
        """
        if not isinstance(message, dict):
            raise TypeError(
                f"A request must be a dict, so that its reply can be found by its {self._key[-1]!r}; it is "
                f"{type(message).__name__}. Give match=, or choose another protocol= (such as Fifo)."
            )
        id = message.get(self._key[0]) if self._is_flat else found(message, self._key)
        if id is None or id is NOTHING:
            return None
        if isinstance(id, bool) or not isinstance(id, (int, float, str)):
            raise ValueError(f"The request's {self._key[-1]!r} must be a string or a number, not {id!r}.")
        return id

    def _reserve_id(self, id: Any) -> None:
        if isinstance(id, str) and self._ids is str and id.isdecimal() and id.isascii():
            id = int(id[:17])  # 17 digits suffice: longer numbers exceed `LARGEST_SAFE_INTEGER`
        if isinstance(id, (int, float)):
            self._numbers.step_over(id)

    def _ids_in(self, message: Any) -> tuple[Any, ...]:
        if self._batches and isinstance(message, list):
            return tuple(id for one in message for id in self._ids_in(one))
        ids = super()._ids_in(message) if isinstance(message, dict) else ()
        return () if ids and self._is_answer(message) else ids

    def _is_answer(self, message: dict[str, Any]) -> bool:
        """Whether the message looks like an answer to a call of the server, so that the server chose its id."""
        if self._method is None or found(message, self._method) is not NOTHING:
            return False
        members = (self._result or ("result",), self._error or ("error",))
        return any(found(message, member) is not NOTHING for member in members)

    # --- outgoing ----------------------------------------------------------------------------------------------------

    def encode(self, message: Any) -> str | bytes:
        """Encode a message that expects no answer."""
        payload = _codec.encode(self._with_fixed_members(message), self.json)
        return self._as_binary(message, payload) if self._binary else payload

    def encode_request(self, message: Any, id: Any) -> str | bytes:
        """Encode the message with this id; the other members are unchanged."""
        whole = placed(self._with_fixed_members(message), self._key, id)
        payload = _codec.encode(whole, self.json)
        return self._as_binary(whole, payload) if self._binary else payload

    def build(self, method: str, params: Any, notify: bool) -> Any:
        """An object with the method and, if they are not None, the params."""
        if self._method is None:
            return super().build(method, params, notify)
        message = placed({}, self._method, method)
        return message if params is None else {**message, "params": params}

    def encode_result(self, id: Any, value: Any) -> str | bytes:
        """An object with the call's id and the result."""
        return self.encode(placed(placed({}, self._reply_key, id), self._result or ("result",), value))

    def encode_error(self, id: Any, error: BaseException) -> str | bytes:
        """An object with the call's id and an error: ``code``, ``message`` and, unless it is None, ``data``."""
        if isinstance(error, RemoteError):
            details = {"code": _INTERNAL_ERROR if error.code is None else error.code, "message": error.message}
            if error.data is not None:
                details["data"] = error.data
        else:
            details = {"code": _INTERNAL_ERROR, "message": f"{type(error).__name__}: {error}"}
        return self.encode(placed(placed({}, self._reply_key, id), self._error or ("error",), details))

    def _with_fixed_members(self, message: Any) -> Any:
        """The message with the members that every message of this protocol has."""
        return message

    def _answered(self, call: Call, payload: str | bytes | None) -> str | bytes | None:
        """The payload to send when a call has been answered; for a batch, the array once its last call is answered."""
        if not isinstance(call, BatchCall):
            return payload
        whole: str | None = call.answers.add(payload)
        return whole.encode() if self._binary and whole is not None else whole

    def _as_binary(self, message: Any, payload: str | bytes) -> str | bytes:
        """The payload of a message as bytes, unless the message is a text of the caller."""
        return payload.encode() if isinstance(payload, str) and not isinstance(message, str) else payload

    # --- incoming ----------------------------------------------------------------------------------------------------

    def decode(self, payload: str | bytes) -> Incoming | list[Incoming]:
        """An object with an id and no method is a reply; one with both is a call (the client recognises an echo later);
        any other message is an event.
        """
        codec = self.json
        if type(payload) is str and payload[:1] == "{" and codec is _codec.JSON:  # as _codec.decode, with fewer calls
            try:
                message, end = codec.scan(payload, 0)
                is_whole = end == len(payload) or payload[end:] == "\n"
            except Exception:  # text that is not JSON, or too deep
                is_whole = False
            if not is_whole:
                message = _codec.decode(payload, codec)
            elif self._plain_method is not None and self._plain_method not in message:
                # As _meaning, with one call less.
                id = message.get(self._reply_key[0])
                if id is not None:
                    return Reply(id, message, message)
        elif self._batches and codec is _codec.JSON and type(payload) is str and len(payload) > _codec.LARGE_ARRAY:
            message = _codec.decode_array(payload, self._max_batch)
        elif self._binary:
            message = _codec.decode_binary(payload, codec, self._max_batch if self._batches else None)
        else:
            message = _codec.decode(payload, codec)
        if self._batches and isinstance(message, list) and message:
            return self._batch(message)
        return self._meaning(message)

    def _meaning(self, message: Any) -> Incoming:
        if not isinstance(message, dict):
            return Event(message)
        if self._method is not None and self._method[0] in message:
            method = found(message, self._method)
            if method is not NOTHING:
                return self._call_or_event(message, method)
        id = message.get(self._reply_key[0]) if self._is_flat else found(message, self._reply_key)
        if id is None or id is NOTHING:
            return self._event(message)
        if self._knows_errors:
            error = self._error_in(message)
            if error is not None:
                return Failure(id, error, message)
        value = message if self._result is None else found(message, self._result)
        if value is NOTHING:
            value = self._without_result(message)
        if self._is_item is not None and self._is_item(message):
            return Item(id, value, message)
        return Reply(id, value, message)

    def _without_result(self, message: dict[str, Any]) -> Any:
        """The value of a reply without the member ``result``: the whole reply, which may be an acknowledgement."""
        return message

    def _call_or_event(self, message: dict[str, Any], method: Any) -> Incoming:
        id = found(message, self._key)
        if id is None or id is NOTHING or not isinstance(method, str):
            return self._event(message)
        return Call(id, method, message.get("params"), message)

    def _event(self, message: Any) -> Event:
        topic = NOTHING if self._topic is None else found(message, self._topic)
        stream = None if self._stream is None else found(message, self._stream)
        return Event(message, topic if isinstance(topic, str) else None, None if stream is NOTHING else stream)

    def _batch(self, messages: list[Any]) -> list[Incoming]:
        if len(messages) > self._max_batch:
            raise batch_too_big(f"more than {self._max_batch}", self._max_batch)
        meanings = [self._meaning(message) for message in messages]
        answers = Answers(sum(isinstance(meaning, Call) for meaning in meanings))
        return [BatchCall.of(one, answers) if isinstance(one, Call) else one for one in meanings]

    def _error_in(self, message: dict[str, Any]) -> RemoteError | None:
        if self._find_error is not None:
            details = self._find_error(message)
        else:
            details = None if self._error is None else found(message, self._error)
        if details is None or details is NOTHING:
            return None
        if not isinstance(details, dict):
            return RemoteError(None, details) if isinstance(details, str) else RemoteError(None, "", details)
        text = details.get("message", details.get("reason", ""))
        return RemoteError(details.get("code"), text if isinstance(text, str) else str(text), details.get("data"))

    def _echoes(self, message: Any, payload: bytes | None, size: int) -> bool:
        # Without the limit a server could make the client decode a large request again for each small message.
        if payload is None or len(payload) > _MOST_LONGER * size:
            return False
        try:
            return bool(_codec.decode(payload.decode(), self.json) == message)
        except (UnicodeDecodeError, RecursionError):  # it was sent as a binary message, or is nested too deeply
            return False

    def _method_of(self, payload: bytes | None, encoder: Encoder | None) -> Any:
        if payload is None and isinstance(encoder, _Splice) and encoder.size <= READABLE:
            payload = encoder.encode(0)[1]
        if self._method is None or payload is None or len(payload) > READABLE:
            return None
        message = _codec.decode(payload.decode(), self.json)
        method = found(message, self._method) if isinstance(message, dict) else NOTHING
        return method if isinstance(method, str) else None

    # --- more than one answer ----------------------------------------------------------------------------------------

    def final(self, request: Any, value: Any) -> bool:
        """The result of the function ``final``; True if there is no such function."""
        return self._final is None or bool(self._final(request, value))

    def stream_of(self, request: Any, id: Any, reply: Any = None) -> Any | None:
        """The request's id if replies are items (``item=``); else the key that the reply contains."""
        if self._is_item is not None:
            return id
        if self._stream is None or reply is None:
            return None
        name = reply if self._name is None else found(reply, self._name)
        return name if isinstance(name, (str, int, float)) and not isinstance(name, bool) else None

    def _overrides_final(self) -> bool:
        return self._final is not None or type(self).final is not JsonId.final

    # --- encoded before the id is known ------------------------------------------------------------------------------

    def _encodes_by_id(self) -> bool:
        kind = type(self)  # a subclass may override the encoding
        return (
            len(self._key) > 1
            or kind.encode_request is not JsonId.encode_request
            or kind.encode is not JsonId.encode
        )  # fmt: skip

    def _id_and_encoder(self, message: Any) -> tuple[Any, Encoder | None]:
        codec = self.json
        if (
            not self._is_fast
            or type(message) is not dict
            or self._key[0] in message
            or codec is not _codec.JSON
            or "id_of" in self.__dict__
        ):
            return super()._id_and_encoder(message)
        try:
            text = "".join(codec.pieces(message, 0))  # as _encoder, with fewer calls
        except BaseException as error:
            codec.renew()
            if not isinstance(error, Exception):  # such as a KeyboardInterrupt
                raise
            text = ""
        if not text:  # _encoder raises the error, without this one as its context
            return super()._id_and_encoder(message)
        return None, _Splice(self._head, "}" if text == "{}" else f",{text[1:]}", codec, self._opcode)

    def _encoder(self, message: Any) -> Encoder:
        """Encode the message once, without its id; the id is inserted as the first member when it is assigned."""
        if self._needs_id_first:
            return super()._encoder(message)
        key = self._key[0]
        others = self._with_fixed_members(message)
        if key in others:
            others = {name: value for name, value in others.items() if name != key}
        text = _codec.to_json(others, self.json)
        if text[:1] != "{" or text[-1:] != "}":  # some codecs add white space around the object
            text = text.strip()
            if not text.startswith("{") or not text.endswith("}"):
                raise TypeError(
                    f"The json= codec must encode a dict as a JSON object; what it returned begins with {text[:1]!r}."
                )
        rest = text[1:].lstrip()
        return _Splice(self._head, rest if rest == "}" else f",{rest}", self.json, self._opcode)


class _Splice(Encoder):
    """A JSON object, encoded except for its first member, the id."""

    __slots__ = ("_codec", "_head", "_opcode", "_tail")

    def __init__(self, head: bytes, tail: str, codec: Any, opcode: Opcode) -> None:
        self._opcode = opcode
        self._head = head
        self._tail = tail.encode()
        self._codec = codec
        self.size = len(head) + len(self._tail)

    def encode(self, id: Any) -> tuple[Opcode, bytes]:
        if type(id) is int:
            return self._opcode, b"%b%d%b" % (self._head, id, self._tail)
        text = str(_codec.encode([id], self._codec)).strip()[1:-1]
        return self._opcode, b"".join((self._head, text.encode(), self._tail))


def _new_uuid() -> str:
    """A random UUID (version 4, RFC 9562 §5.4), without an import of ``uuid``."""
    bits = int.from_bytes(os.urandom(16), "big") & ~(0xF000 << 64 | 0xC000 << 48) | 0x4000 << 64 | 0x8000 << 48
    digits = f"{bits:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _optional(name: str, path: Any) -> tuple[str, ...] | None:
    return None if path is None else checked_path(name, path)
