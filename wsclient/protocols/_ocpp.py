"""OCPP-J, the JSON form of the Open Charge Point Protocol, for charge points and charging stations.

Rules: "OCPP-J 1.6 Specification" and "OCPP 2.0.1 Part 4 - JSON over WebSockets implementation guide" of the Open Charge
Alliance (https://openchargealliance.org/protocols/open-charge-point-protocol/); tested with the central system of the
package ``ocpp``.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from .._errors import RemoteError
from . import _codec
from ._base import Encoder, Protocol
from ._incoming import Call, Event, Failure, Incoming, Reply
from ._json_id import READABLE, _new_uuid

__all__ = ["Ocpp"]

_CALL: Final = 2
_RESULT: Final = 3
_ERROR: Final = 4

_LONGEST_DESCRIPTION: Final = 255
"""Characters of the description of an error (OCPP-J 1.6 §4.2.3, OCPP 2.0.1 Part 4 §4.2.3)."""


class Ocpp(Protocol):
    """A charge point: ``client.call("BootNotification", {...})`` returns the payload of the central system's answer.

    An error answer is raised as a ``RemoteError`` with its code, description and details.
    ``request([action, payload])`` is the same as ``call``. The central system's calls are answered by the handlers that
    ``client.handle(action)`` registered. A handler takes the payload and returns the payload of its answer (None: an
    empty one), or raises a ``RemoteError(code, description, details)``; another exception is answered with
    ``InternalError``, and a call without a handler with ``NotImplemented`` at once. Payloads are not checked: the
    package ``ocpp`` has classes and schemas for them, see ``examples/ocpp_payloads.py``.

    One call of the client is in flight at a time (OCPP-J 1.6 §4.1.1); the others wait in the send queue. A call that
    was not answered within its ``timeout`` no longer counts. The limit of one call does not delay answers to calls of
    the central system. The central system waits only some seconds for an answer, so use ``workers=1`` for a handler
    that takes longer than a moment: such a handler has its own thread, and does not wait for hooks.

    The interval of ``Heartbeat`` is in the answer to ``BootNotification``. Call ``BootNotification`` from
    ``on_session``. A heartbeat is sent before the queued messages, perhaps while a call is in flight. With
    ``only_if_idle=True`` it is sent only if no message was sent for at least three quarters of the interval. So no call
    is in flight then if the time-outs of calls are shorter than that::

        def on_session(client, session):
            session.heartbeat(session.call("BootNotification", {...})["interval"])

        client = wsclient.connect(
            url + "/CP_1", protocol=Ocpp(), on_session=on_session,
            heartbeat=wsclient.Heartbeat(wsclient.Request(["Heartbeat", {}]), every=300, only_if_idle=True),
        )

    Args:
        version: the version of OCPP; it is offered as the subprotocol ``ocpp1.6`` or ``ocpp2.0.1``.
    """

    max_in_flight = 1

    def __init__(self, version: Literal["1.6", "2.0.1"] = "1.6") -> None:
        if version not in ("1.6", "2.0.1"):
            raise ValueError(f"version must be '1.6' or '2.0.1', not {version!r}.")
        self.subprotocols = (f"ocpp{version}",)

    def new_id(self) -> str:
        """A random UUID: ids must differ from those of earlier connections and programs of the same charge point."""
        return _new_uuid()

    def build(self, method: str, params: Any, notify: bool) -> Any:
        """``[action, payload]``.

        Raises:
            TypeError: for ``notify()``, since every message of OCPP has an answer.
        """
        if notify:
            raise TypeError("Each call of OCPP has an answer, so there is no notify(); use call() or submit().")
        return [method, {} if params is None else params]

    def encode_request(self, message: Any, id: Any) -> str | bytes:
        """``[2, id, action, payload]``.

        Raises:
            TypeError: the message is not ``[action, payload]``.
        """
        if not isinstance(message, (list, tuple)) or len(message) != 2 or not isinstance(message[0], str):
            raise TypeError(
                f"A request of OCPP must be [action, payload], not {message!r}; or use call(action, payload)."
            )
        return _codec.to_json([_CALL, id, *message], self.json)

    def decode(self, payload: str | bytes) -> Incoming:
        """A call of the central system, the answer to one of the client's, or (for anything else) an event."""
        message = _codec.decode(payload, self.json)
        match message:
            case [int(kind), str(id), str(action), *rest] if kind == _CALL:
                return Call(id, action, rest[0] if rest else {}, message)
            case [int(kind), str(id), value, *_] if kind == _RESULT:
                return Reply(id, value, message)
            case [int(kind), str(id), code, *rest] if kind == _ERROR:
                text = rest[0] if rest and isinstance(rest[0], str) else ""
                return Failure(id, RemoteError(code, text, rest[1] if len(rest) > 1 else None), message)
        return Event(message)

    def encode_result(self, id: Any, value: Any) -> str | bytes:
        """``[3, id, payload]``."""
        return _codec.to_json([_RESULT, id, {} if value is None else value], self.json)

    def encode_error(self, id: Any, error: BaseException) -> str | bytes:
        """``[4, id, code, description, details]``; the code of an error that has none is ``InternalError``."""
        code, text, details = "InternalError", f"{type(error).__name__}: {error}", None
        if isinstance(error, RemoteError):
            code, text, details = error.code or code, error.message, error.data
        return _codec.to_json([_ERROR, id, code, text[:_LONGEST_DESCRIPTION], details or {}], self.json)

    def _method_of(self, payload: bytes | None, encoder: Encoder | None) -> Any:
        if payload is None and encoder is not None:
            payload = encoder.encode("")[1]
        if payload is None or len(payload) > READABLE:
            return None
        return _codec.decode(payload.decode(), self.json)[2]

    def _refusal(self, id: Any, method: str) -> str | bytes | None:
        return self.encode_error(id, RemoteError("NotImplemented", f"No handler for {method}."))
