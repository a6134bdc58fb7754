"""Jupyter kernels, through the WebSocket of a Jupyter server.

Rules: "Messaging in Jupyter", version 5.3 (https://jupyter-client.readthedocs.io/en/stable/messaging.html), and
"WebSocket kernel wire protocols", v1
(https://jupyter-server.readthedocs.io/en/latest/developers/websocket-protocols.html); tested
with jupyter-server 2.21 and ipykernel 7.4.
"""

from __future__ import annotations

import itertools
import struct
from typing import Any, Final

from .._errors import RemoteError
from . import _codec
from ._base import Protocol
from ._incoming import Call, Control, End, Event, Failure, Incoming, Item
from ._json_id import _new_uuid

__all__ = ["JupyterKernel"]

_VERSION: Final = "5.3"
_PARTS: Final = ("header", "parent_header", "metadata", "content")
_CHANNELS: Final = {
    "debug_request": "control",
    "interrupt_request": "control",
    "shutdown_request": "control",
    "input_reply": "stdin",
}
"""The channel of each message type that does not belong to ``shell``."""

_END_OF_FILE: Final = "\x04"
"""As an answer to ``input()`` it raises ``EOFError`` in ipykernel (``Kernel._input_request``)."""

_IDLE: Final = "idle"


class JupyterKernel(Protocol):
    """A request is a message to the kernel, whose answers end when the kernel has sent its reply and is idle again.

    ``client.call("execute_request", {"code": "1 + 1"})`` returns the reply, after all outputs. With
    ``client.stream({"msg_type": "execute_request", "content": {"code": "1 + 1"}})`` the outputs (``stream``,
    ``execute_result``, ``display_data``, ``error``…) are iterated, and the reply comes last. Members of a message are
    ``msg_type``, ``content`` and optionally ``metadata``, ``buffers`` (a list of bytes) and ``channel``; those of the
    kernel also have ``header`` and ``parent_header``. A reply whose status is not ``ok`` is raised as a ``RemoteError``
    with the name and the text of the exception; ``data`` is the content of the reply. If the server reports that the
    kernel died or is restarted, all requests without a reply fail with the code ``dead`` or ``restarting``.
    A request that is sent before the next kernel runs may be lost (seen with Jupyter Server); so first repeat
    ``kernel_info_request``, with a short ``timeout``, until it is answered.

    Messages that answer no request of this client (outputs of other clients of the same kernel, comm messages) are
    events; their topic is the message type. ``client.notify("comm_msg", {...})`` sends a message without an answer.

    If code reads a line (``input()``), and the content of the request has ``"allow_stdin": True``, the kernel makes a
    call. The function of ``client.handle("input_request", ...)`` receives ``{"prompt": ..., "password": ...}`` and
    returns the line. If it raises, or if there is no such function, the kernel receives an end of file.

    The URL is ``ws://HOST:PORT/api/kernels/KERNEL_ID/channels?token=TOKEN``; with ``&session_id=ID`` the server stores
    the messages that a kernel sends while the client is not connected.

    Args:
        username: the user's name in the messages.
    """

    subprotocols = ("v1.kernel.websocket.jupyter.org",)

    def __init__(self, *, username: str = "") -> None:
        if not isinstance(username, str):
            raise TypeError(f"username must be a string, not {username!r}.")
        self._username = username
        self._session = _new_uuid()
        self.reset()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._session = _new_uuid()  # each client has its own

    def reset(self) -> None:
        """Forget the requests of the previous connection."""
        # A request ends when both its reply and the status "idle" were received. They come from different sockets of
        # the kernel, so in any order. For each request that has not ended: the one that was received, the reply or
        # `_IDLE`; None if neither was received.
        self._asked: dict[str, Any] = {}

    def new_id(self) -> str:
        """A random UUID, since the outputs of a kernel are sent to all its clients."""
        return _new_uuid()

    def build(self, method: str, params: Any, notify: bool) -> Any:
        """A message of this type with the params as its content."""
        return {"msg_type": method, "content": {} if params is None else params}

    def encode(self, message: Any) -> str | bytes:
        """Encode a message that expects no answer, with an id of its own."""
        if not isinstance(message, dict):
            return super().encode(message)
        return self._packed(message, _new_uuid(), {})

    def encode_request(self, message: Any, id: Any) -> str | bytes:
        """Encode a message with this id.

        Raises:
            TypeError: the message is not a ``dict`` with a ``msg_type``, or a part of it can't be encoded.
        """
        payload = self._packed(message, id, {})
        if id != self._sample_id:
            self._asked[id] = None
        return payload

    def _packed(self, message: Any, id: str, parent: dict[str, Any]) -> bytes:
        kind = message.get("msg_type") if isinstance(message, dict) else None
        if not isinstance(kind, str):
            raise TypeError(f"A message to a kernel must be a dict with a 'msg_type', not {message!r}.")
        header = {"msg_id": id, "msg_type": kind, "session": self._session, "username": self._username}
        parts = ({**header, "version": _VERSION}, parent, message.get("metadata", {}), message.get("content", {}))
        codec = self.json or _codec.JSON
        channel = message.get("channel") or _CHANNELS.get(kind, "shell")
        segments = [channel.encode(), *(_codec.to_json(part, codec).encode() for part in parts)]
        segments += [bytes(buffer) for buffer in message.get("buffers", ())]
        offsets = [8 * (len(segments) + 2)]
        for segment in segments:
            offsets.append(offsets[-1] + len(segment))
        return b"".join((struct.pack(f"<{len(offsets) + 1}Q", len(offsets), *offsets), *segments))

    def _unpacked(self, payload: bytes) -> dict[str, Any]:
        count = int.from_bytes(payload[:8], "little")
        if not len(_PARTS) + 2 <= count < len(payload) // 8:
            raise ValueError(
                "The message does not begin with the table of offsets that v1.kernel.websocket.jupyter.org requires."
            )
        offsets = struct.unpack_from(f"<{count}Q", payload, 8)
        channel, *parts = (payload[start:end] for start, end in itertools.pairwise(offsets))
        codec = self.json or _codec.JSON
        message = {name: codec.loads(part.decode()) for name, part in zip(_PARTS, parts, strict=False)}
        buffers = parts[len(_PARTS) :]
        return {"channel": channel.decode(), "msg_type": message["header"]["msg_type"], **message, "buffers": buffers}

    def decode(self, payload: str | bytes) -> Incoming | list[Incoming]:
        """The meaning of a message of the kernel.

        Raises:
            ValueError, LookupError: its form is not that of the protocol.
        """
        if isinstance(payload, str):
            return Event(_codec.decode(payload, self.json))
        message = self._unpacked(payload)
        kind, content, id = message["msg_type"], message["content"], message["parent_header"].get("msg_id")
        if kind == "input_request":
            return Call(tuple(message["header"].items()), kind, content, message)
        state = content.get("execution_state") if kind == "status" else None
        if state in ("restarting", "dead"):
            ended = [_ended(one, self._asked.pop(one), state) for one in list(self._asked)]
            return [*ended, Event(message, kind)]
        if id not in self._asked:
            return Event(message, kind)
        if message["channel"] == "iopub" and state is None:
            return Item(id, message)
        return self._half(id, message, state)

    def _half(self, id: str, message: dict[str, Any], state: Any) -> Incoming:
        """The meaning of the reply to a request, or of a status of the kernel; see ``_asked``."""
        if state is not None and state != _IDLE:
            return Control()  # busy
        other, this = self._asked[id], message if state is None else _IDLE
        if other is None or (other == _IDLE) == (this == _IDLE):
            self._asked[id] = this
            return Control()
        del self._asked[id]
        return _ended(id, other if this == _IDLE else message)

    def encode_result(self, id: Any, value: Any) -> str | bytes:
        """The answer to ``input_request``.

        Raises:
            TypeError: the value is not a string.
        """
        if not isinstance(value, str):
            raise TypeError(f"The handler of input_request must return the line as a string, not {value!r}.")
        return self._packed({"msg_type": "input_reply", "content": {"value": value}}, _new_uuid(), dict(id))

    def encode_error(self, id: Any, error: BaseException) -> str | bytes:
        """The answer to ``input_request`` that means the end of the input."""
        return self.encode_result(id, _END_OF_FILE)

    def _refusal(self, id: Any, method: str) -> str | bytes | None:
        return self.encode_result(id, _END_OF_FILE)


def _ended(id: str, reply: Any, state: str = "") -> Incoming:
    """The end of a request.

    Args:
        id: the request's id.
        reply: the kernel's reply; something else if it did not come.
        state: ``dead`` or ``restarting`` if the kernel has ended; else empty.
    """
    if not isinstance(reply, dict):
        return Failure(id, RemoteError(state, "The kernel ended before it answered."))
    content = reply["content"]
    if content.get("status", "ok") == "ok":
        return End(id, reply)
    error = RemoteError(content.get("ename", content["status"]), str(content.get("evalue", "")), content)
    return Failure(id, error, reply)
