"""JSON-RPC 2.0 (jsonrpc.org/specification), and what Chrome DevTools makes of it."""

from __future__ import annotations

from typing import Any, Final, Literal

from .._errors import RemoteError
from ._incoming import Request
from ._json_id import JsonId

__all__ = ["JsonRpc"]

_METHOD_NOT_FOUND: Final = -32601


class JsonRpc(JsonId):
    """JSON-RPC: ``client.call("method", params)`` returns the result, or raises the error as a ``RemoteError``.

    Params may be a list or a dict. A list of messages, ``request([...])``, goes out as one batch. Calls of the server's
    go to ``client.handle()``; what nobody handles is answered with -32601. Notifications are events whose topic is
    their method. Subscriptions as Ethereum's nodes have them (a reply that is the subscription's name, events with
    ``params.subscription``, ``x_unsubscribe`` for ``x_subscribe``) work as they are.

    Args:
        version: goes into every message as ``"jsonrpc"``; None for peers that know no such member (Chrome DevTools).
    """

    def __init__(self, version: Literal["2.0"] | None = "2.0") -> None:
        if version not in ("2.0", None):
            raise ValueError(f"version must be '2.0' or None, not {version!r}.")
        super().__init__(result="result", error="error", batch=True, stream=("params", "subscription"))
        self._version = version

    def unsubscribe(self, request: Any, id: Any, reply: Any) -> Any | Request | None:
        """``eth_unsubscribe`` for ``eth_subscribe``, with the name that the server gave."""
        method = request.get("method") if isinstance(request, dict) else None
        if reply is None or not isinstance(method, str) or not method.endswith("_subscribe"):
            return None
        return Request(self.build(f"{method.removesuffix('subscribe')}unsubscribe", [reply], False))

    def _dressed(self, message: Any) -> Any:
        if isinstance(message, list):
            return [self._dressed(one) for one in message]
        if self._version is None or not isinstance(message, dict) or "jsonrpc" in message:
            return message
        return {"jsonrpc": self._version, **message}

    def _refusal(self, id: Any, method: str) -> str | bytes | None:
        return self.encode_error(id, RemoteError(_METHOD_NOT_FOUND, f"Method not found: {method}"))
