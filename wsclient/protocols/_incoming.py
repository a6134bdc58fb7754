"""What an incoming message can mean, as ``Protocol.decode`` says it.

One frame may hold none of these, one, or several in their order.
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
"""As the id of a reply: it answers the oldest request written on this connection and unanswered."""


class _Absent:
    """The type of ``ABSENT``."""

    def __repr__(self) -> str:
        return "..."

    def __reduce__(self) -> str:
        return "ABSENT"


ABSENT: Final[Any] = _Absent()
"""No value at all, where None could be one."""


@dataclass(slots=True)
class Reply:
    """The answer to the request with this id; ``value`` is what ``request()`` returns.

    Attributes:
        id: the request's.
        value: see above.
        message: what ``on_message`` gets where nobody waits for it; the value if it is left out.
    """

    id: Any
    value: Any
    message: Any = field(default=ABSENT, repr=False, compare=False)


@dataclass(slots=True)
class Failure:
    """An error that answers the request with this id; ``error`` is what ``request()`` raises.

    Attributes:
        id: the request's.
        error: see above.
        message: what ``on_message`` gets where nobody waits for it; the error if it is left out.
    """

    id: Any
    error: BaseException
    message: Any = field(default=ABSENT, repr=False, compare=False)


@dataclass(slots=True)
class Item:
    """One of many answers to the request with this id; ``stream()`` and ``subscribe()`` hand each of them out.

    Attributes:
        id: the request's.
        value: see above.
        message: what ``on_message`` gets where nobody waits for it; the value if it is left out.
    """

    id: Any
    value: Any
    message: Any = field(default=ABSENT, repr=False, compare=False)


@dataclass(slots=True)
class End:
    """There are no more answers to the request with this id.

    Without a value ``request()`` returns the last ``Item``; with one, that, and a stream hands it out as its last.

    Attributes:
        id: the request's.
        value: see above.
        message: what ``on_message`` gets where nobody waits for it; the value if it is left out.
    """

    id: Any
    value: Any = ABSENT
    message: Any = field(default=ABSENT, repr=False, compare=False)


@dataclass(slots=True)
class Event:
    """A message that answers nothing.

    Attributes:
        message: what streams and ``on_message`` get.
        topic: what ``client.on(topic, ...)`` knows it by.
        stream: the name of the subscription it belongs to; None if to none by name.
    """

    message: Any
    topic: str | None = None
    stream: Any = None


@dataclass(slots=True)
class Call:
    """The server asks us; ``client.handle(method)`` answers with the same id.

    Attributes:
        id: goes back with the answer.
        method: what is asked.
        params: what the handler gets.
        message: what ``on_message`` gets where nobody handles the method; the call itself if it is left out.
    """

    id: Any
    method: str
    params: Any
    message: Any = ABSENT


@dataclass(slots=True)
class Control:
    """A message of the protocol's own, which nobody sees; ``answer`` goes out at once, before what is queued."""

    answer: str | bytes | None = None


@dataclass(slots=True)
class Request:
    """Wraps a heartbeat or an unsubscribe that wants an id and an answer; nobody sees that answer."""

    message: Any


Incoming = Reply | Failure | Item | End | Event | Call | Control
KINDS: Final = (Reply, Failure, Item, End, Event, Call, Control)
