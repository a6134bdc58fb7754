"""The meanings of incoming messages: the classes of the objects that ``Protocol.decode`` returns.

One WebSocket message may have no meaning, one, or several in order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

__all__ = [
    "ABSENT",
    "KINDS",
    "OLDEST",
    "Call",
    "Control",
    "End",
    "Event",
    "Failure",
    "Incoming",
    "Item",
    "Reply",
    "Request",
]


class _Oldest:
    """The type of ``OLDEST``."""

    def __repr__(self) -> str:
        return "OLDEST"

    def __reduce__(self) -> str:
        return "OLDEST"


OLDEST: Final[Any] = _Oldest()
"""An id for replies: the reply answers the oldest unanswered request that was written on this connection."""


class _Absent:
    """The type of ``ABSENT``."""

    def __repr__(self) -> str:
        return "..."

    def __reduce__(self) -> str:
        return "ABSENT"


ABSENT: Final[Any] = _Absent()
"""Stands for a missing value where None is a possible value."""


@dataclass(slots=True)
class Reply:
    """The answer to a request.

    Attributes:
        id: the request's id.
        value: what ``request()`` returns.
        message: what ``on_message`` and ``listen()`` receive if no request has this id; by default the value.
    """

    id: Any
    value: Any
    message: Any = field(default=ABSENT, repr=False, compare=False)


@dataclass(slots=True)
class Failure:
    """An error that answers a request.

    Attributes:
        id: the request's id.
        error: what ``request()`` raises.
        message: what ``on_message`` and ``listen()`` receive if no request has this id; by default the error.
    """

    id: Any
    error: BaseException
    message: Any = field(default=ABSENT, repr=False, compare=False)


@dataclass(slots=True)
class Item:
    """One of several answers to a request.

    Attributes:
        id: the request's id.
        value: what the iterators of ``stream()`` and ``subscribe()`` return.
        message: what ``on_message`` and ``listen()`` receive if no request has this id; by default the value.
    """

    id: Any
    value: Any
    message: Any = field(default=ABSENT, repr=False, compare=False)


@dataclass(slots=True)
class End:
    """The end of the answers to a request.

    Attributes:
        id: the request's id.
        value: the last answer: ``request()`` returns it, and a stream returns it last. If it is left out,
            ``request()`` returns the value of the last ``Item``.
        message: what ``on_message`` and ``listen()`` receive if no request has this id; by default the value. If
            both are left out, ``on_message`` is not called.
    """

    id: Any
    value: Any = ABSENT
    message: Any = field(default=ABSENT, repr=False, compare=False)


@dataclass(slots=True)
class Event:
    """A message that is not an answer.

    Attributes:
        message: what streams and ``on_message`` receive.
        topic: the topic that ``client.on(topic, ...)`` selects it by; None if it has none.
        stream: the key of the subscription that it belongs to, see ``Protocol.stream_of``; None if it has none.
    """

    message: Any
    topic: str | None = None
    stream: Any = None


@dataclass(slots=True)
class Call:
    """A call that the server makes; the handler registered with ``client.handle(method)`` answers it.

    Attributes:
        id: the call's id; the answer has the same id.
        method: the method's name.
        params: what the handler receives.
        message: what ``on_message`` and ``listen()`` receive if the method has no handler; by default the call itself.
    """

    id: Any
    method: str
    params: Any
    message: Any = ABSENT


@dataclass(slots=True)
class Control:
    """A message that only the protocol uses. It reaches no stream and no hook.

    Attributes:
        answer: a payload that is sent at once, before the messages in the queue; None for no answer.
    """

    answer: str | bytes | None = None


@dataclass(slots=True)
class Request:
    """Wraps a message that needs an id: a heartbeat, an unsubscribe message or a goodbye. Its answer reaches no stream
    and no hook.

    Attributes:
        message: the message to send as a request.
    """

    message: Any


Incoming = Reply | Failure | Item | End | Event | Call | Control
KINDS: Final = (Reply, Failure, Item, End, Event, Call, Control)
"""All classes that ``Protocol.decode`` may return objects of."""
