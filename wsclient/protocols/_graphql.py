"""GraphQL over WebSocket: the subprotocol ``graphql-transport-ws`` (github.com/enisdenjo/graphql-ws, PROTOCOL.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._errors import RemoteError, SessionError
from .._validation import check_callable
from . import _codec
from ._base import Protocol
from ._incoming import Control, End, Event, Failure, Incoming, Item
from ._numbers import Numbers

if TYPE_CHECKING:
    from ._session import Session

__all__ = ["GraphQLTransportWs"]


class GraphQLTransportWs(Protocol):
    """A request is an operation, ``{"query": ..., "variables": ...}``; each result is an item, ``complete`` the end.

    ``request()`` returns the last result, ``stream()`` and ``subscribe()`` hand out all of them. A result is the
    payload of a ``next`` message: ``{"data": ..., "errors": ...}``. An ``error`` message is raised as a ``RemoteError``
    whose data is the list of errors.

    Args:
        params: the payload of ``connection_init``, or a function that is asked for it on every connection; I/O thread.
    """

    subprotocols = ("graphql-transport-ws",)
    fatal_codes = frozenset({4400, 4401, 4406, 4409, 4429})

    def __init__(self, params: Any | Callable[[], Any] = None) -> None:
        self._params = check_callable("params", params) if callable(params) else params
        self._numbers = Numbers()

    def on_session(self, session: Session) -> None:
        """``connection_init``, and the wait for ``connection_ack``."""
        params = self._params() if callable(self._params) else self._params
        session.send({"type": "connection_init"} if params is None else {"type": "connection_init", "payload": params})
        answer = session.recv()
        if not isinstance(answer, dict) or answer.get("type") != "connection_ack":
            raise SessionError(f"The GraphQL server answered connection_init with {answer!r:.100}.")

    def new_id(self) -> str:
        """A string, as the protocol wants it."""
        return str(self._numbers.next())

    def encode_request(self, message: Any, id: Any) -> str | bytes:
        """A ``subscribe`` message around the operation."""
        if not isinstance(message, dict):
            raise TypeError(f"A GraphQL operation must be a dict with a 'query', not {type(message).__name__}.")
        return _codec.encode({"id": id, "type": "subscribe", "payload": message}, self.json)

    def decode(self, payload: str | bytes) -> Incoming | None:
        """One message of the protocol."""
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
        """Each operation has an id; no acknowledgement comes before its results."""
        return id

    def _passed(self, id: Any) -> None:
        if isinstance(id, str) and id.isdecimal() and id.isascii():
            self._numbers.step_over(int(id[:17]))

    def _ids_in(self, message: Any) -> tuple[Any, ...]:
        is_operation = isinstance(message, dict) and message.get("type") == "subscribe" and "id" in message
        return (message["id"],) if is_operation else ()

    def unsubscribe(self, request: Any, id: Any, reply: Any) -> Any:
        """``complete``, with the operation's id."""
        return {"id": id, "type": "complete"}


def _error(errors: Any) -> RemoteError:
    first = errors[0] if isinstance(errors, list) and errors else errors
    if not isinstance(first, dict):
        return RemoteError(None, "" if first is None else str(first), errors)
    extensions = first.get("extensions")
    code = extensions.get("code") if isinstance(extensions, dict) else None
    return RemoteError(code, str(first.get("message", "")), errors)
