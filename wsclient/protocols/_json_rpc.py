"""JSON-RPC 2.0 (jsonrpc.org/specification), and its variant in the Chrome DevTools Protocol."""

from __future__ import annotations

from typing import Any, Final, Literal

from .._errors import RemoteError
from ._incoming import Request
from ._json_id import JsonId
from ._paths import Path

__all__ = ["JsonRpc"]

_METHOD_NOT_FOUND: Final = -32601


class JsonRpc(JsonId):
    """JSON-RPC: ``client.call("method", params)`` returns the result, or raises the error as a ``RemoteError``.

    Params may be a list or a dict. ``request([...])`` sends a list of messages as one batch. A call of the server is
    answered by the handler that ``client.handle()`` registered for its method; a call without a handler is answered
    with the error -32601 (method not found). Notifications are events whose topic is their method. Subscriptions in the
    form of Ethereum nodes need no options. In this form the reply to a method ``<prefix>_subscribe`` (such as
    ``eth_subscribe``) is the subscription's key. Its events have this key in ``params.subscription``. The method
    ``<prefix>_unsubscribe`` ends the subscription.

    Args:
        version: the value of the member ``"jsonrpc"`` of every message; None to leave this member out, as the Chrome
            DevTools Protocol does.
        topic: the member of a notification that ``client.on()`` compares with its topic, or a path to it, such as
            ``("params", "channel")``; None if there is no such member.
        binary: whether the server's JSON is in binary messages, see ``JsonId``.
    """

    def __init__(
        self, version: Literal["2.0"] | None = "2.0", *, topic: Path | None = "method", binary: bool = False
    ) -> None:
        if version not in ("2.0", None):
            raise ValueError(f"version must be '2.0' or None, not {version!r}.")
        super().__init__(
            result="result", error="error", batch=True, topic=topic, stream=("params", "subscription"), binary=binary
        )
        self._version = version

    def unsubscribe(self, request: Any, id: Any, reply: Any) -> Any | Request | None:
        """For a request ``<prefix>_subscribe``: a call ``<prefix>_unsubscribe`` with the key in the server's reply."""
        method = request.get("method") if isinstance(request, dict) else None
        if reply is None or not isinstance(method, str) or not method.endswith("_subscribe"):
            return None
        return Request(self.build(f"{method.removesuffix('subscribe')}unsubscribe", [reply], False))

    def _without_result(self, message: dict[str, Any]) -> Any:
        return None  # JSON-RPC has no acknowledgements; some servers leave out a result that is null

    def _with_fixed_members(self, message: Any) -> Any:
        if isinstance(message, list):
            return [self._with_fixed_members(one) for one in message]
        if self._version is None or not isinstance(message, dict) or "jsonrpc" in message:
            return message
        return {"jsonrpc": self._version, **message}

    def _echoes(self, message: Any, payload: bytes | None, size: int) -> bool:
        return False  # a message with a method is a request (JSON-RPC 2.0 §4)

    def _refusal(self, id: Any, method: str) -> str | bytes | None:
        return self.encode_error(id, RemoteError(_METHOD_NOT_FOUND, f"Method not found: {method}"))
