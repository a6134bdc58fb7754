"""Correlation by order, for servers that answer each message with one message, in the order of the messages."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from .._rfc6455.frames import Opcode
from .._validation import check_callable, check_count
from . import _codec
from ._base import Encoder, Protocol
from ._encoding import encoded
from ._incoming import OLDEST, Event, Incoming, Reply

__all__ = ["Fifo"]


class Fifo(Protocol):
    """Each reply answers the oldest unanswered request that was written on this connection.

    Use ``send()`` only for messages that the server does not answer: otherwise an unanswered request would receive the
    answer to such a message as its reply. A request that times out or is cancelled after it was written ends the
    connection, since later replies could no longer be assigned to their requests. A request whose caller was
    interrupted keeps its position in the order until its deadline.

    Args:
        event: returns True for a message that is no reply; called with each decoded message, on the I/O thread.
        max_in_flight: how many requests may be unanswered at the same time; 1 for a server that accepts a request only
            after it has answered the previous one.
    """

    replies_in_order = True

    def __init__(self, *, event: Callable[[Any], bool] | None = None, max_in_flight: int | None = None) -> None:
        self._event = check_callable("event", event)
        self.max_in_flight = None if max_in_flight is None else check_count("max_in_flight", max_in_flight)
        self._numbers = itertools.count(1)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        del state["_numbers"]  # since Python 3.14 itertools.count can't be pickled
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._numbers = itertools.count(1)

    def new_id(self) -> int:
        """A number that identifies the request inside the client; it is not sent."""
        return next(self._numbers)

    def encode_request(self, message: Any, id: Any) -> str | bytes:
        """Encode the message, without the id."""
        return self.encode(message)

    def decode(self, payload: str | bytes) -> Incoming:
        """A reply to the oldest request, or an event if the function ``event`` accepts the message."""
        message = _codec.decode(payload, self.json)
        if self._event is not None and self._event(message):
            return Event(message)
        return Reply(OLDEST, message)

    def _encodes_by_id(self) -> bool:
        return type(self).encode_request is not Fifo.encode_request  # a subclass may put the id into the payload

    def _encoder(self, message: Any) -> Encoder:
        if self._encodes_by_id():
            return super()._encoder(message)
        return _Fixed(self.encode(message))


class _Fixed(Encoder):
    """A request whose payload contains no id."""

    __slots__ = ("_payload",)

    def __init__(self, payload: str | bytes) -> None:
        self._payload = encoded(payload)
        self.size = len(self._payload[1])

    def encode(self, id: Any) -> tuple[Opcode, bytes]:
        return self._payload
