"""OpenAI's Realtime API over WebSocket.

Rules: the guides "Realtime API with WebSocket" and "Realtime conversations"
(https://platform.openai.com/docs/guides/realtime-websocket, .../realtime-conversations: "The maximum duration of a
Realtime session is 60 minutes"), and the reference of client and server events
(https://platform.openai.com/docs/api-reference/realtime-client-events, .../realtime-server-events).
Only the limit of 60 minutes and the error codes were compared with these pages, on 2026-11-30. The class was not tested
with the service.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from .._errors import RemoteError
from .._options import Renew
from . import _codec
from ._base import Protocol
from ._incoming import End, Event, Failure, Incoming, Item, Reply
from ._numbers import Numbers
from ._paths import NOTHING, found, placed

__all__ = ["OpenAIRealtime"]

_CREATE: Final = "response.create"
_ITEM: Final = "conversation.item.create"

_ANSWERS: Final[dict[str, tuple[str, ...]]] = {
    "session.update": ("session.updated",),
    "input_audio_buffer.commit": ("input_audio_buffer.committed",),
    "input_audio_buffer.clear": ("input_audio_buffer.cleared",),
    _ITEM: ("conversation.item.added", "conversation.item.created"),  # the second one: the API's beta version
    "conversation.item.retrieve": ("conversation.item.retrieved",),
    "conversation.item.delete": ("conversation.item.deleted",),
    "conversation.item.truncate": ("conversation.item.truncated",),
}
"""The server events that answer each client event, except ``response.create``."""


class OpenAIRealtime(Protocol):
    """``client.stream({"type": "response.create"})`` iterates the events of a response, up to ``response.done``.

    ``request()`` of a client event returns the server event that answers it: ``response.done``, ``session.updated``,
    ``conversation.item.added``… ``client.call("session.update", {"session": {...}})`` is the same. An ``error`` event
    that contains the request's id, and a response with the status ``failed``, are raised as a ``RemoteError``. Other
    client events (``input_audio_buffer.append``, ``response.cancel``) have no answer; use ``client.send()`` for them.
    Server events that answer no request, for example those of responses that voice detection has started, are events
    whose topic is their ``type``. The client adds ``event_id`` to each request. It also writes this id into the
    ``metadata`` of a response, and into the ``id`` of an item that has none.

    Some answers, such as ``session.updated``, do not contain this id. The oldest request of the same type gets such an
    answer, also if it has timed out. A client event that was sent with ``send()`` is not counted, so its answer would
    be taken for that of a request: use ``request()`` or ``call()`` for all client events of such a type.

    A session has one response at a time. Until it has ended, the server refuses another ``response.create`` with the
    code ``conversation_already_has_active_response``, except one with ``"conversation": "none"``. Closing the stream
    of a response cancels the response.

    A session ends after 60 minutes. ``renew=OpenAIRealtime.renew`` opens another one after 52 to 58 minutes, and the
    present one serves until its response is complete, at most a minute. The new session has none of the configuration
    and items of the old one: ``on_session`` must configure it, and may create items again::

        def on_session(client, session):
            session.call("session.update", {"session": {"type": "realtime", "instructions": "..."}})

        client = wsclient.connect(
            "wss://api.openai.com/v1/realtime?model=gpt-realtime", headers={"Authorization": f"Bearer {key}"},
            protocol=OpenAIRealtime(), on_session=on_session, renew=OpenAIRealtime.renew,
        )

    Attributes:
        renew: the value for the option ``renew`` of the client.
    """

    renew: ClassVar[Renew] = Renew(every=55 * 60, overlap=60, jitter=0.05)

    def __init__(self) -> None:
        self._numbers = Numbers()
        self.reset()

    def reset(self) -> None:
        """Forget the requests of the previous connection."""
        # What was requested on this connection, in the order of writing: the answers, the item's id or None, and the
        # request's id. The server answers client events in their order.
        self._asked: list[tuple[tuple[str, ...], Any, str]] = []
        self._responses: dict[str, str] = {}  # of each response in progress, the request's id

    def new_id(self) -> str:
        """``event_1``, ``event_2``, …"""
        return f"event_{self._numbers.next()}"

    def build(self, method: str, params: Any, notify: bool) -> Any:
        """A client event of this type; the params are its other members."""
        return {"type": method, **(params or {})}

    def encode_request(self, message: Any, id: Any) -> str | bytes:
        """Encode a client event with this id.

        Raises:
            TypeError: the message, or the member in which the id is stored, is not a ``dict``.
            ValueError: events of this type have no answer, or the message has an ``event_id``.
        """
        if not isinstance(message, dict):
            raise TypeError(f"A request must be a dict with a 'type', not {type(message).__name__}.")
        kind = message.get("type")
        if kind != _CREATE and kind not in _ANSWERS:
            raise ValueError(f"Client events of the type {kind!r} have no answer; use send().")
        if "event_id" in message:
            raise ValueError("A request gets its event_id from the client; use send() to choose one.")
        whole = {"event_id": id, **message}
        if kind == _CREATE:
            whole = placed(whole, ("response", "metadata", "event_id"), id)
        elif kind == _ITEM and found(message, ("item", "id")) in (NOTHING, None, ""):
            whole = placed(whole, ("item", "id"), id)
        payload = _codec.to_json(whole, self.json)
        if kind != _CREATE and id != self._sample_id:
            self._asked.append((_ANSWERS[kind], _item_in(whole), id))
        return payload

    def decode(self, payload: str | bytes) -> Incoming:
        """The answer to a request, one of the events of its response, or another event."""
        message = _codec.decode(payload, self.json)
        kind = message.get("type") if isinstance(message, dict) else None
        if not isinstance(kind, str):
            return Event(message)
        if kind == "error":
            return self._error(message)
        if kind.startswith("response."):
            return self._of_response(kind, message)
        for number, (answers, item, id) in enumerate(self._asked):
            if kind in answers and item in (None, _item_in(message)):
                del self._asked[number]
                return Reply(id, message)
        return Event(message, kind)

    def _error(self, message: dict[str, Any]) -> Incoming:
        details = message.get("error") or {}
        id = details.get("event_id")
        if id is None:
            return Event(message, "error")
        for one in [one for one in self._asked if one[2] == id]:
            self._asked.remove(one)
        return Failure(id, _remote(details), message)

    def _of_response(self, kind: str, message: dict[str, Any]) -> Incoming:
        response = message.get("response") or {}
        key: Any = message.get("response_id") or response.get("id")
        id = (response.get("metadata") or {}).get("event_id") or self._responses.get(key)
        if id is None:
            return Event(message, kind)
        if kind != "response.done":
            self._responses[key] = id
            return Item(id, message)
        self._responses.pop(key, None)
        if response.get("status") != "failed":
            return End(id, message)
        return Failure(id, _remote((response.get("status_details") or {}).get("error") or {}), message)

    def unsubscribe(self, request: Any, id: Any, reply: Any) -> Any:
        """For a stream of a response: the client event that cancels this response."""
        if not isinstance(request, dict) or request.get("type") != _CREATE:
            return None
        known = [key for key, one in self._responses.copy().items() if one == id]
        return {"type": "response.cancel", **({"response_id": known[0]} if known else {})}


def _item_in(message: dict[str, Any]) -> Any:
    """The id of the item that an event is about; None if there is none."""
    item = message.get("item")
    return item.get("id") if isinstance(item, dict) else message.get("item_id")


def _remote(details: dict[str, Any]) -> RemoteError:
    return RemoteError(details.get("code") or details.get("type"), str(details.get("message") or ""), details)
