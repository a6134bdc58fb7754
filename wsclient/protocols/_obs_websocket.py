"""obs-websocket 5, the remote control of OBS Studio."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Any, Final

from .._errors import RemoteError, SessionError, text_of
from .._validation import check_bool
from ._commands import Commands
from ._incoming import Event, Failure, Incoming, Reply
from ._session import Session

__all__ = ["ObsWebSocket"]

_HELLO: Final = 0
_IDENTIFY: Final = 1
_IDENTIFIED: Final = 2
_EVENT: Final = 5
_REQUEST: Final = 6
_RESPONSE: Final = 7
_BATCH: Final = 8
_BATCH_RESPONSE: Final = 9
"""Op codes ("Message Types (OpCodes)")."""

_RPC_VERSION: Final = 1
"""The only version of the protocol that exists; the server refuses others with 4010."""


class ObsWebSocket(Commands):
    """OBS Studio's obs-websocket 5: ``client.call("RequestType", data)`` returns the response data, None if there are
    none::

        obs = wsclient.connect("ws://127.0.0.1:4455", protocol=ObsWebSocket("password", events=1 << 2))
        obs.on("CurrentProgramSceneChanged", lambda event: show(event["eventData"]["sceneName"]))
        obs.call("SetCurrentProgramScene", {"sceneName": "Break"})
        results = obs.request(ObsWebSocket.batch(["GetStats", ("GetSceneItemList", {"sceneName": "Break"})]))

    The client identifies itself on each connection, with the password if OBS asks for it. It does not reconnect after
    4009 (wrong password), 4010 (OBS has no version 1 of the protocol) and 4011 (a person pressed "Kick"; the protocol
    forbids to reconnect). An unsuccessful request is raised as a ``RemoteError`` with the code of its status.

    The message of an event is an object with ``eventType``, ``eventIntent`` and ``eventData``; ``eventType`` is its
    topic. ``client.send({"op": 3, "d": {"eventSubscriptions": mask}})`` changes the mask of this connection; OBS
    answers it with a message ``{"op": 2, ...}``, which goes to ``on_message``.

    The rules are those of github.com/obsproject/obs-websocket, ``docs/generated/protocol.md`` ("Connection steps",
    "Creating an authentication string", "Message Types", "WebSocketCloseCode"). The tests use a server of their own
    that follows these rules, and OBS Studio 29 (obs-websocket 5.1).

    Args:
        password: the password of the server; None if it asks for none.
        events: the categories of events that OBS sends, as a bit mask (``EventSubscription`` in the document: 1 is
            General, 4 Scenes, 8 Inputs …); 0 for none. None for OBS's default: all but those of high volume.
    """

    subprotocols = ("obswebsocket.json",)
    fatal_codes = frozenset({4009, 4010, 4011})

    def __init__(self, password: str | None = None, *, events: int | None = None) -> None:
        if password is not None and not isinstance(password, str):
            raise TypeError(f"password must be a str or None, not {type(password).__name__}.")
        if events is not None and (isinstance(events, bool) or not isinstance(events, int)):
            raise TypeError(f"events must be a bit mask (an int) or None, not {type(events).__name__}.")
        if events is not None and events < 0:
            raise ValueError(f"events must be a bit mask, so at least 0, not {events}.")
        super().__init__(("d", "requestId"), ids=str, method=("d", "requestType"))
        self._password = password
        self._has_secret = password is not None
        self._events = events

    @staticmethod
    def batch(
        requests: Iterable[str | tuple[str, dict[str, Any] | None]],
        *,
        halt_on_failure: bool = False,
        execution: int | None = None,
    ) -> dict[str, Any]:
        """A message for ``client.request()``: requests that OBS executes in their order.

        The reply is a list. For each request it contains the response data, or a ``RemoteError``, which is not raised.

        Args:
            requests: each is a request type, or a pair of a request type and its data.
            halt_on_failure: whether OBS stops after the first failure; then the list ends with it.
            execution: ``RequestBatchExecutionType``; 0 (the default of OBS) as fast as possible, 1 synchronized with
                the video frames, 2 in parallel.
        """
        members = []
        for one in requests:
            name, data = (one, None) if isinstance(one, str) else one
            members.append({"requestType": name} if data is None else {"requestType": name, "requestData": data})
        batch: dict[str, Any] = {"haltOnFailure": check_bool("halt_on_failure", halt_on_failure), "requests": members}
        if execution is not None:
            batch["executionType"] = execution
        return {"op": _BATCH, "d": batch}

    def on_session(self, session: Session) -> None:
        """Answer ``Hello`` with ``Identify``, and wait for ``Identified``.

        Raises:
            SessionError: OBS requires a password and none was given (fatal), or it sent another message.
        """
        hello = session.recv()
        data = _data(hello, _HELLO)
        identify: dict[str, Any] = {"rpcVersion": _RPC_VERSION}
        if self._events is not None:
            identify["eventSubscriptions"] = self._events
        challenge = data.get("authentication")
        if challenge is not None:
            if self._password is None:
                raise SessionError("OBS asks for a password; give it to ObsWebSocket(password).", retry=False)
            identify["authentication"] = _authentication(self._password, challenge["salt"], challenge["challenge"])
        session.send({"op": _IDENTIFY, "d": identify})
        _data(session.recv(), _IDENTIFIED)

    def _command(self, method: str, params: dict[str, Any] | None) -> dict[str, Any]:
        data = {"requestType": method} if params is None else {"requestType": method, "requestData": params}
        return {"op": _REQUEST, "d": data}

    def _meaning(self, message: Any) -> Incoming:
        data = message.get("d") if isinstance(message, dict) else None
        if not isinstance(data, dict):
            return Event(message)
        code, id = message.get("op"), data.get("requestId")
        if code == _EVENT:
            topic = data.get("eventType")
            return Event(data, topic if isinstance(topic, str) else None)
        if code == _RESPONSE and id is not None:
            value = _outcome(data)
            return Failure(id, value, message) if isinstance(value, RemoteError) else Reply(id, value, message)
        if code == _BATCH_RESPONSE and id is not None:
            results = data.get("results")
            outcomes = [_outcome(one) for one in results] if isinstance(results, list) else results
            return Reply(id, outcomes, message)
        return Event(message)


def _data(message: Any, code: int) -> dict[str, Any]:
    """The data of a message that must have this op code.

    Raises:
        SessionError: it has another one.
    """
    data = message.get("d") if isinstance(message, dict) and message.get("op") == code else None
    if not isinstance(data, dict):
        raise SessionError(f"OBS must send a message with the op code {code} now, but it sent {text_of(message)}.")
    return data


def _outcome(response: Any) -> Any:
    """The response data of a request; a ``RemoteError`` if it was not successful."""
    status = response.get("requestStatus") if isinstance(response, dict) else None
    if not isinstance(status, dict):
        return RemoteError(None, "", response)
    if status.get("result") is True:
        return response.get("responseData")
    return RemoteError(status.get("code"), str(status.get("comment", "")), response)


def _authentication(password: str, salt: str, challenge: str) -> str:
    """The proof that the client knows the password ("Creating an authentication string")."""
    secret = base64.b64encode(hashlib.sha256(f"{password}{salt}".encode()).digest()).decode()
    return base64.b64encode(hashlib.sha256(f"{secret}{challenge}".encode()).digest()).decode()
