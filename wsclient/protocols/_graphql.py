"""GraphQL over WebSocket: the subprotocol ``graphql-transport-ws`` (github.com/enisdenjo/graphql-ws, PROTOCOL.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._errors import RemoteError, SessionError, text_of
from .._validation import check_callable
from . import _codec
from ._base import Protocol
from ._incoming import Control, End, Event, Failure, Incoming, Item
from ._numbers import Numbers
from ._session import Session

__all__ = ["GraphQLTransportWs"]


class GraphQLTransportWs(Protocol):
    """A request is a GraphQL operation, ``{"query": ..., "variables": ...}``, which has any number of results.

    ``request()`` returns the last result; ``stream()`` and ``subscribe()`` return all of them. A result is the payload
    of a ``next`` message: ``{"data": ..., "errors": ...}``. A ``complete`` message ends the operation. An ``error``
    message is raised as a ``RemoteError`` whose data is the list of errors.

    Args:
        params: the payload of ``connection_init``, or a function that returns it, called on the I/O thread for each
            connection.
    """

    subprotocols = ("graphql-transport-ws",)
    fatal_codes = frozenset({4400, 4401, 4406, 4409, 4429})

    def __init__(self, params: Any | Callable[[], Any] = None) -> None:
        self._params = check_callable("params", params) if callable(params) else params
        self._has_secret = params is not None  # it usually contains a token
        self._numbers = Numbers()

    def on_session(self, session: Session) -> None:
        """Send ``connection_init`` and wait for ``connection_ack``.

        Raises:
            SessionError: the server answered with something else.
        """
        params = self._params() if callable(self._params) else self._params
        session.send({"type": "connection_init"} if params is None else {"type": "connection_init", "payload": params})
        answer = session.recv()
        if not isinstance(answer, dict) or answer.get("type") != "connection_ack":
            raise SessionError(f"The GraphQL server answered connection_init with {text_of(answer)}.")

    def new_id(self) -> str:
        """A number as a string: the protocol requires ids to be strings."""
        return str(self._numbers.next())

    def encode_request(self, message: Any, id: Any) -> str | bytes:
        """A ``subscribe`` message that contains the operation.

        Raises:
            TypeError: the operation is not a ``dict``.
        """
        if not isinstance(message, dict):
            raise TypeError(f"A GraphQL operation must be a dict with a 'query', not {type(message).__name__}.")
        return _codec.encode({"id": id, "type": "subscribe", "payload": message}, self.json)

    def decode(self, payload: str | bytes) -> Incoming | None:
        """The meaning of one message: ``next``, ``error``, ``complete``, ``ping``, ``pong``, or an event."""
        message = _codec.decode(payload, self.json)
        if not isinstance(message, dict):
            return Event(message)
        kind, id, content = message.get("type"), message.get("id"), message.get("payload")
        if kind == "next":
            return Item(id, content, message)
        if kind == "error":
            return Failure(id, _error(content), message)
        if kind == "complete":
            return End(id)
        if kind == "ping":
            pong = {"type": "pong"} if content is None else {"type": "pong", "payload": content}
            return Control(_codec.encode(pong, self.json))
        return Control() if kind == "pong" else Event(message)

    def stream_of(self, request: Any, id: Any, reply: Any = None) -> Any | None:
        """The operation's id: its results have this id, and the server sends no acknowledgement before them."""
        return id

    def _reserve_id(self, id: Any) -> None:
        if isinstance(id, str) and id.isdecimal() and id.isascii():
            self._numbers.step_over(int(id[:17]))  # 17 digits suffice: longer numbers exceed `LARGEST_SAFE_INTEGER`

    def _ids_in(self, message: Any) -> tuple[Any, ...]:
        is_operation = isinstance(message, dict) and message.get("type") == "subscribe" and "id" in message
        return (message["id"],) if is_operation else ()

    def unsubscribe(self, request: Any, id: Any, reply: Any) -> Any:
        """A ``complete`` message with the operation's id."""
        return {"id": id, "type": "complete"}


def _error(errors: Any) -> RemoteError:
    first = errors[0] if isinstance(errors, list) and errors else errors
    if not isinstance(first, dict):
        return RemoteError(None, "" if first is None else str(first), errors)
    extensions = first.get("extensions")
    code = extensions.get("code") if isinstance(extensions, dict) else None
    return RemoteError(code, str(first.get("message", "")), errors)
