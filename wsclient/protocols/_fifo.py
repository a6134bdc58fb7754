"""Replies found by their order: for servers that answer each message with one message, in turn."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from .._rfc6455.frames import Opcode
from .._validation import check_callable, check_count
from . import _codec
from ._base import Draft, Protocol
from ._encoding import encoded
from ._incoming import OLDEST, Event, Incoming, Reply

__all__ = ["Fifo"]


class Fifo(Protocol):
    """A reply answers the oldest request written on this connection.

    ``send()`` expects no answer. A request that times out or is cancelled after it was written drops the connection,
    since the replies after it could no longer be told apart; one whose caller was interrupted keeps its place until
    its deadline.

    Args:
        event: recognises messages that answer nothing; called with each decoded message, on the I/O thread.
        max_in_flight: requests that may be unanswered at once; 1 for a server that can't take a second one meanwhile.
    """

    replies_in_order = True

    def __init__(self, *, event: Callable[[Any], bool] | None = None, max_in_flight: int | None = None) -> None:
        self._event = check_callable("event", event)
        self.max_in_flight = None if max_in_flight is None else check_count("max_in_flight", max_in_flight)
        self._numbers = itertools.count(1)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        del state["_numbers"]  # from Python 3.14 on a count can't be pickled
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._numbers = itertools.count(1)

    def new_id(self) -> int:
        """A number that never goes over the wire."""
        return next(self._numbers)

    def encode_request(self, message: Any, id: Any) -> str | bytes:
        """The message as it is."""
        return self.encode(message)

    def decode(self, payload: str | bytes) -> Incoming:
        """The reply to the oldest request, unless it is an event."""
        message = _codec.decode(payload, self.json)
        if self._event is not None and self._event(message):
            return Event(message)
        return Reply(OLDEST, message)

    def _encodes_by_id(self) -> bool:
        return type(self).encode_request is not Fifo.encode_request  # a subclass encodes in its own way

    def _draft(self, message: Any) -> Draft:
        if self._encodes_by_id():
            return super()._draft(message)
        return _Fixed(self.encode(message))


class _Fixed(Draft):
    """A request in which no id stands."""

    __slots__ = ("_payload",)

    def __init__(self, payload: str | bytes) -> None:
        self._payload = encoded(payload)
        self.size = len(self._payload[1])

    def __call__(self, id: Any) -> tuple[Opcode, bytes]:
        return self._payload
