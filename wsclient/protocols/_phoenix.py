"""Phoenix Channels, serializer version 2.0.0; Supabase Realtime uses it.

Rules, read on 2026-11-30: "Writing a Channels Client" (https://hexdocs.pm/phoenix/writing_a_channels_client.html),
``lib/phoenix/socket.ex`` and ``lib/phoenix/socket/serializers/v2_json_serializer.ex`` of Phoenix
(https://github.com/phoenixframework/phoenix), and "Realtime Protocol" of Supabase
(https://supabase.com/docs/guides/realtime/protocol).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from .._errors import RemoteError
from .._validation import check_callable, check_seconds
from . import _codec
from ._base import Protocol
from ._incoming import End, Event, Failure, Incoming, Reply, Request
from ._numbers import Numbers, SharedNumbers
from ._session import Session

__all__ = ["Phoenix"]

_MEMBERS: Final = ("join_ref", "ref", "topic", "event", "payload")
_JOIN: Final = "phx_join"
_LEAVE: Final = "phx_leave"
_REPLY: Final = "phx_reply"

_FRAMES: Final = {0: ("join_ref", "topic", "event"), 1: ("join_ref", "ref", "topic", "status"), 2: ("topic", "event")}
"""Binary messages of the server: the first byte, and the strings whose sizes follow it (push, reply, broadcast)."""

_USER_BROADCAST: Final = 4
"""The first byte of a broadcast of Supabase. These follow: the sizes of topic, event and metadata, the encoding of the
payload (``_IS_JSON`` or another number), topic, event and metadata, and the payload."""

_IS_JSON: Final = 1


class Phoenix(Protocol):
    """``client.subscribe({"topic": "room:1", "event": "phx_join", "payload": {...}})`` joins a channel; after each
    reconnect it joins again, and closing the subscription leaves the channel.

    Messages in both directions have ``topic``, ``event`` and ``payload``. ``client.request(message)`` pushes an event,
    and returns the ``response`` of the server's reply; a reply whose status is not ``ok`` is raised as a
    ``RemoteError``. Use ``client.send(message)`` for an event that the server does not reply to. ``ref`` and
    ``join_ref`` are added. A payload that is ``bytes`` makes a binary message.

    ``subscribe()`` does not wait for the server's reply: the iteration raises ``RemoteError`` if the join is refused,
    or later if the channel crashes (``phx_error``), and ends if the server closes the channel (``phx_close``).
    Subscribe again to rejoin. ``subscription.reply`` is the response to the join. The events of a channel without a
    subscription are passed to ``client.on(topic)``.

    The URL must end with ``/websocket?vsn=2.0.0``; further parameters of the connection, such as a token, follow it.

    Supabase: the URL is ``wss://PROJECT.supabase.co/realtime/v1/websocket?apikey=KEY&vsn=2.0.0``, a topic begins with
    ``realtime:``, ``params`` is ``{"config": {...}, "access_token": ...}``, and ``heartbeat`` is at most 25. Renew the
    token with ``client.send({"topic": ..., "event": "access_token", "payload": {"access_token": ...}})``.

    Args:
        params: the payload of joins that have none; or a function that returns it, called on the I/O thread for each
            connection.
        heartbeat: seconds between two heartbeats. The server closes a connection without messages after 60 s (the
            default of Phoenix). A heartbeat that is not answered ends the connection.
    """

    def __init__(self, params: Any | Callable[[], Any] = None, *, heartbeat: float = 30) -> None:
        self._params = check_callable("params", params) if callable(params) else params
        self._payload = {} if params is None or callable(params) else params
        self.heartbeat = (check_seconds("heartbeat", heartbeat), _make_heartbeat)
        self._numbers = Numbers()
        # The counter of the join_refs. It is not `_numbers`: callers' threads encode joins, while another thread calls
        # `new_id`.
        self._join_numbers = SharedNumbers()
        # The join_ref of each topic. It is the same on all connections: a message of send() may be encoded before the
        # connection is lost, and written on the next one. There the server would ignore it if its join_ref differed.
        self._join_refs: dict[str, str] = {}
        self.reset()

    def reset(self) -> None:
        """Forget the channels of the previous connection."""
        self._joins: dict[str, str] = {}  # of each join_ref, the id of the request that joined; I/O thread only

    def on_session(self, session: Session) -> None:
        """Call the function ``params``, if it is one, for the payload of joins."""
        if callable(self._params):
            self._payload = self._params()

    def new_id(self) -> str:
        """A number as a string, as in Phoenix's JavaScript client."""
        return str(self._numbers.next())

    def encode(self, message: Any) -> str | bytes:
        """Encode a push that the server does not reply to."""
        return self._encoded(message, None) if isinstance(message, dict) else super().encode(message)

    def encode_request(self, message: Any, id: Any) -> str | bytes:
        """Encode a join, a leave, or a push that the server replies to.

        Raises:
            TypeError: the message is not a ``dict`` with a ``topic`` and an ``event``.
        """
        return self._encoded(message, id)

    def _encoded(self, message: Any, ref: Any) -> str | bytes:
        topic, event = (message.get("topic"), message.get("event")) if isinstance(message, dict) else (None, None)
        if not isinstance(topic, str) or not isinstance(event, str):
            raise TypeError(f"A message to Phoenix must be a dict with a 'topic' and an 'event', not {message!r}.")
        payload = message.get("payload", self._payload if event == _JOIN else {})
        join_ref = message.get("join_ref") or self._join_ref(topic, event, ref)
        if not isinstance(payload, (bytes, bytearray, memoryview)):
            return _codec.to_json([join_ref, ref, topic, event, payload], self.json)
        strings = [(one or "").encode() for one in (join_ref, ref, topic, event)]
        return b"".join((bytes([0, *map(len, strings)]), *strings, payload))  # bytes() raises if one is over 255

    def _join_ref(self, topic: str, event: str, ref: Any) -> Any:
        """The join_ref of a topic, for a message with this event and ref; None if the topic was not joined.

        A join gets its join_ref before it is sent, so messages that are sent after it contain the same join_ref. A
        leave removes the join_ref.
        """
        if event == _JOIN and topic not in self._join_refs:
            return self._join_refs.setdefault(topic, str(self._join_numbers.next()))
        if event == _LEAVE and (ref is None or ref != self._sample_id):
            return self._join_refs.pop(topic, None)
        return self._join_refs.get(topic)

    def decode(self, payload: str | bytes) -> Incoming:
        """A reply, the end of a channel, or an event of a channel.

        Raises:
            ValueError, LookupError: the form of a binary message is not that of the protocol.
        """
        if isinstance(payload, bytes):
            return self._meaning(self._frame(payload))
        message = _codec.decode(payload, self.json)
        if not isinstance(message, list) or len(message) != len(_MEMBERS):
            return Event(message)
        return self._meaning(dict(zip(_MEMBERS, message, strict=True)))

    def _frame(self, payload: bytes) -> dict[str, Any]:
        """A binary message as if it had come as JSON."""
        kind = payload[0]
        is_user = kind == _USER_BROADCAST
        names = ("topic", "event", "metadata") if is_user else _FRAMES[kind]
        start = 1 + len(names) + is_user
        found: dict[str, Any] = dict.fromkeys(_MEMBERS)
        for name, size in zip(names, payload[1:], strict=False):
            found[name] = payload[start : start + size].decode()
            start += size
        found["payload"] = content = payload[start:]
        if is_user:
            if payload[4] == _IS_JSON:
                content = (self.json or _codec.JSON).loads(content.decode())
            found["payload"] = {"type": "broadcast", "event": found["event"], "payload": content}
            metadata = found.pop("metadata")
            if metadata:
                found["payload"]["meta"] = (self.json or _codec.JSON).loads(metadata)
            found["event"] = "broadcast"
        elif "status" in found:
            found.update(event=_REPLY, payload={"status": found.pop("status"), "response": content})
        return found

    def _meaning(self, message: dict[str, Any]) -> Incoming:
        join_ref, topic, event = message["join_ref"], message["topic"], message["event"]
        if event == _REPLY:
            return self._reply(message)
        if join_ref is not None and event in ("phx_close", "phx_error"):
            id = self._joins.pop(join_ref, join_ref)
            if event == "phx_close":
                return End(id, message=message)
            return Failure(id, RemoteError(event, f"The channel {topic} crashed.", message["payload"]), message)
        key = (topic, self._join_refs.get(topic) if join_ref is None else join_ref)  # a broadcast has no join_ref
        return Event(message, topic if isinstance(topic, str) else None, key)

    def _reply(self, message: dict[str, Any]) -> Incoming:
        join_ref, ref, payload = message["join_ref"], message["ref"], message["payload"]
        status, response = payload.get("status"), payload.get("response")
        if status == "ok":
            if join_ref is not None:
                self._joins.setdefault(join_ref, ref)  # the first reply of a channel is that to the join
            return Reply(ref, response, message)
        reason = response.get("reason", "") if isinstance(response, dict) else response
        return Failure(ref, RemoteError(status, str(reason or ""), response), message)

    def stream_of(self, request: Any, id: Any, reply: Any = None) -> Any | None:
        """For a join: the topic and its join_ref; no reply is awaited, so that the request ends with the channel."""
        if not _is_join(request):
            return None
        topic = request.get("topic", "")
        return topic, self._join_ref(topic, _JOIN, id)

    def unsubscribe(self, request: Any, id: Any, reply: Any) -> Any | Request | None:
        """A message that leaves the channel, if the request was a join."""
        if not _is_join(request):
            return None
        topic = request["topic"]
        return Request({"topic": topic, "event": _LEAVE, "join_ref": self._join_refs.pop(topic, id)})


def _is_join(request: Any) -> bool:
    return isinstance(request, dict) and request.get("event") == _JOIN


def _make_heartbeat() -> Request:
    return Request({"topic": "phoenix", "event": "heartbeat"})
