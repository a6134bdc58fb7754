"""Finds the replies to the requests of a recording. Pure: the caller passes the messages, in their order."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from .._recording.format import RECEIVED, SENT
from ..testing._replay.matching import ID_KEYS

__all__ = ["Pair", "Pairs", "id_names", "ids_of"]

_MOST_WAITING: Final = 10_000
"""Requests of one connection that may wait for their replies. If there are more, the oldest one counts as not answered.
The limit is needed because a message that has an id may expect no reply."""

_CALL: Final = 2
"""The first element of a call in OCPP-J, see ``protocols.Ocpp``."""

_ANSWERS: Final = (3, 4)
"""The first elements of a result and of an error in OCPP-J (OCPP-J 1.6 §4.2)."""

_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "obs": ("d.requestId",),
    "jupyter": ("parent_header.msg_id", "header.msg_id"),  # a reply contains its request's id and its own id
}
"""The members with the id, for protocols that do not have it at the top of a message."""

_FIFO: Final = "fifo"


def id_names(protocol: str | None) -> tuple[str, ...]:
    """Return the members that may contain an id. A member of an inner object is a path such as ``d.requestId``.

    Args:
        protocol: the value of ``--protocol``.
    """
    if protocol is not None and protocol.startswith("id="):
        return (protocol[3:],)
    return _NAMES.get(protocol or "", ID_KEYS)


class Pair(NamedTuple):
    """A request and its reply.

    Attributes:
        direction: of the request: ``"sent"``, or ``"received"`` for a call of the server.
        at: when the request passed, in seconds since the recording began.
        seconds: until its reply; None if there is none.
        request: the message.
        reply: the message; None if there is none.
    """

    direction: str
    at: float
    seconds: float | None
    request: Any
    reply: Any


class _Request:
    """A message with one id, or with the ids of a batch."""

    __slots__ = ("at", "direction", "ids", "message")

    def __init__(self, direction: str, at: float, message: Any, ids: Iterable[Any]) -> None:
        self.direction = direction
        self.at = at
        self.message = message
        self.ids = tuple(ids)


class Pairs:
    """Finds pairs while messages pass.

    Replies are found by the members that usually contain ids (``id``, ``req_id``, ``seq`` and others), and in lists
    such as ``[2, "id", ...]`` of OCPP or Phoenix by the second element. Of several replies to one request the first
    counts.

    Args:
        protocol: the value of ``--protocol``: ``fifo`` finds replies by their order, ``id=FIELD`` by this member.
    """

    def __init__(self, protocol: str | None = None) -> None:
        self._names = id_names(protocol)
        self._in_order = protocol == _FIFO
        self._waiting: dict[int, OrderedDict[Any, _Request]] = {}
        self._numbers = 0

    @property
    def waiting(self) -> int:
        """How many requests of the client have no reply yet."""
        return sum(
            len({id(one) for one in requests.values() if one.direction == SENT}) for requests in self._waiting.values()
        )

    def has_id(self, message: Any) -> bool:
        """Whether the reply to a message can be found."""
        return self._in_order or bool(ids_of(message, self._names))

    def add(self, connection: int, direction: str, at: float, message: Any) -> list[Pair]:
        """Add the next message.

        Args:
            connection: the number of its connection.
            direction: ``"sent"`` or ``"received"``.
            at: seconds since the recording began.
            message: the decoded JSON, or another message.

        Returns:
            The pairs that this message completes; or, if too many requests wait, the oldest request without a reply.
        """
        waiting = self._waiting.setdefault(connection, OrderedDict())
        if self._in_order:
            return self._next_in_order(waiting, direction, at, message)
        ids = ids_of(message, self._names)
        other = RECEIVED if direction == SENT else SENT
        found = [waiting[other, one] for one in ids if (other, one) in waiting]
        is_call = _is_call(message)
        answered = {id(one): one for one in found if not is_call or one.message == message}  # an echo is a reply too
        if answered:
            return [self._paired(waiting, request, at, message) for request in answered.values()]
        if ids and (is_call or (direction == SENT and not _is_answer(message))):
            request = _Request(direction, at, message, ids)
            waiting.update({(direction, one): request for one in ids})
        return self._dropped(waiting)

    def lost(self, connection: int) -> list[Pair]:
        """Remove the requests of a connection that has ended, and return them as pairs without a reply."""
        waiting = self._waiting.pop(connection, OrderedDict())
        return [_unanswered(request) for request in {id(one): one for one in waiting.values()}.values()]

    def finish(self) -> list[Pair]:
        """As ``lost``, for all connections."""
        return [pair for connection in list(self._waiting) for pair in self.lost(connection)]

    def _next_in_order(
        self, waiting: OrderedDict[Any, _Request], direction: str, at: float, message: Any
    ) -> list[Pair]:
        if direction == SENT:
            self._numbers += 1
            waiting[direction, self._numbers] = _Request(direction, at, message, (self._numbers,))
            return self._dropped(waiting)
        return [self._paired(waiting, next(iter(waiting.values())), at, message)] if waiting else []

    def _dropped(self, waiting: OrderedDict[Any, _Request]) -> list[Pair]:
        if len(waiting) <= _MOST_WAITING:
            return []
        request = next(iter(waiting.values()))
        self._remove(waiting, request)
        return [_unanswered(request)]

    def _paired(self, waiting: OrderedDict[Any, _Request], request: _Request, at: float, message: Any) -> Pair:
        self._remove(waiting, request)
        return Pair(request.direction, request.at, at - request.at, request.message, message)

    @staticmethod
    def _remove(waiting: OrderedDict[Any, _Request], request: _Request) -> None:
        for one in request.ids:
            if waiting.get((request.direction, one)) is request:
                del waiting[request.direction, one]


def _unanswered(request: _Request) -> Pair:
    return Pair(request.direction, request.at, None, request.message, None)


def _is_call(message: Any) -> bool:
    """Whether a message is a call. A call is a reply only if the server is an echo server."""
    if isinstance(message, list):
        return len(message) > 2 and message[0] == _CALL and not isinstance(message[0], bool)
    return isinstance(message, dict) and "method" in message and "result" not in message and "error" not in message


def _is_answer(message: Any) -> bool:
    """Whether a message of the client expects no reply, although it has an id: it answers a call that the recording
    does not contain, or ends a subscription (``complete`` of graphql-transport-ws).

    Args:
        message: an object or a list, since other messages have no id.
    """
    if isinstance(message, list):
        return len(message) > 2 and message[0] in _ANSWERS and isinstance(message[1], str)
    return "method" not in message and ("result" in message or "error" in message or message.get("type") == "complete")


def ids_of(message: Any, names: Iterable[str]) -> list[str | int]:
    """Return the ids in a message, or in all messages of a batch.

    Args:
        message: the decoded JSON, or another message.
        names: see ``id_names``.
    """
    if isinstance(message, list) and len(message) > 1 and not isinstance(message[0], dict):
        found = [message[1]]
    else:
        found = [_member(one, name) for one in (message if isinstance(message, list) else [message]) for name in names]
    return [one for one in found if isinstance(one, (str, int)) and not isinstance(one, bool)]


def _member(message: Any, name: str) -> Any:
    for part in name.split("."):
        message = message.get(part) if isinstance(message, dict) else None
    return message
