"""The WebSocket API of Home Assistant (developers.home-assistant.io/docs/api/websocket)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from .._errors import RemoteError, SessionError, text_of
from ._commands import Commands
from ._incoming import Event, Failure, Incoming, Reply, Request
from ._session import Session

__all__ = ["HomeAssistant"]

_FEATURES: Final = {"type": "supported_features", "features": {"coalesce_messages": 1}}


class HomeAssistant(Commands):
    """Home Assistant's WebSocket API: ``client.call("get_states")`` returns the result of a command::

        home = wsclient.connect("ws://homeassistant.local:8123/api/websocket", protocol=HomeAssistant(token))
        home.call("call_service", {"domain": "light", "service": "turn_on", "target": {"entity_id": "light.kitchen"}})
        with home.subscribe({"type": "subscribe_events", "event_type": "state_changed"}) as changes:
            for event in changes:
                show(event["data"]["entity_id"])

    On each connection the client logs in. A refused token is fatal. (The close code does not show that the token was
    refused: the server closes with 1000, as it does when it restarts.) After the log-in the client permits the server
    to send several messages in one frame.

    Every command has an id, and ids must rise; the client assigns them, so do not choose your own. Commands that
    subscribe (``subscribe_events``, ``subscribe_trigger``, ``render_template`` …) need ``client.subscribe()``: their
    events have the command's id, and ``unsubscribe_events`` ends them. The subscription returns the member ``event`` of
    each of these messages. The events of a subscription that was made with ``call()`` are passed to the functions of
    ``client.on()`` (their topic is their ``event_type``), to ``listen()`` and to ``on_message``.

    An error is raised as a ``RemoteError``: its code is a string such as ``"not_found"``, its data the error object.

    The rules are those of developers.home-assistant.io/docs/api/websocket; the close code, rising ids and
    ``supported_features`` are in github.com/home-assistant/core, ``homeassistant/components/websocket_api``. The tests
    use a server of their own that follows these rules; with Home Assistant itself (2025.4.4) it was tested by hand.

    Args:
        access_token: a long-lived access token, or a function that returns an access token; it is called on the I/O
            thread for each connection.
    """

    _has_secret = True

    def __init__(self, access_token: str | Callable[[], str]) -> None:
        if not isinstance(access_token, str) and not callable(access_token):
            kind = type(access_token).__name__
            raise TypeError(f"access_token must be a str or a function that returns one, not {kind}.")
        super().__init__(method="type", batch=True)
        self._access_token = access_token

    def on_session(self, session: Session) -> None:
        """Log in, then permit several messages per frame.

        Raises:
            SessionError: the server refused the token (fatal), or answered with something else.
        """
        greeting = session.recv()
        if _type_of(greeting) != "auth_required":
            raise SessionError(f"Home Assistant must begin with auth_required, but it sent {text_of(greeting)}.")
        token = self._access_token if isinstance(self._access_token, str) else self._access_token()
        session.send({"type": "auth", "access_token": token})
        answer = session.recv()
        if _type_of(answer) == "auth_invalid":
            reason = answer.get("message")
            raise SessionError(
                f"Home Assistant refused the access token: {text_of(reason)}. Make a new one on the page of your user "
                "profile, under Security.",
                retry=False,
            )
        if _type_of(answer) != "auth_ok":
            raise SessionError(f"Home Assistant answered the access token with {text_of(answer)}.")
        try:
            session.request(_FEATURES)
        except RemoteError as error:
            if error.code != "unknown_command":  # an older server does not know it, and sends single messages
                raise

    def stream_of(self, request: Any, id: Any, reply: Any = None) -> Any | None:
        """The command's id. In the first call the id is the sample 0, which is no id in this API. There is no key then,
        so that the result of the command is awaited.
        """
        return id or None

    def unsubscribe(self, request: Any, id: Any, reply: Any) -> Request:
        """``unsubscribe_events`` with the id of the command."""
        return Request({"type": "unsubscribe_events", "subscription": id})

    def _command(self, method: str, params: dict[str, Any] | None) -> dict[str, Any]:
        return {**(params or {}), "type": method}

    def _meaning(self, message: Any) -> Incoming:
        if not isinstance(message, dict):
            return Event(message)
        kind, id = message.get("type"), message.get("id")
        if id is None:
            return Event(message)
        if kind == "event":
            event = message.get("event")
            topic = event.get("event_type") if isinstance(event, dict) else None
            return Event(event, topic if isinstance(topic, str) else None, id)
        if kind != "result":
            return Reply(id, message) if kind == "pong" else Event(message)
        if message.get("success") is True:
            return Reply(id, message.get("result"), message)
        return Failure(id, _error(message.get("error")), message)


def _type_of(message: Any) -> Any:
    return message.get("type") if isinstance(message, dict) else None


def _error(error: Any) -> RemoteError:
    if not isinstance(error, dict):
        return RemoteError(None, "", error)
    return RemoteError(error.get("code"), str(error.get("message", "")), error)
