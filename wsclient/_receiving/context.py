"""The shared parts of the client that this room uses. Types only: the module is not loaded when a client runs."""

from __future__ import annotations

from typing import Protocol

from .._requests.context import RequestContext
from .._stats import Counters
from .handlers import Handlers
from .hooks import Hooks
from .receivers import Receivers
from .streams import Streams
from .subscriptions import Subscriptions

__all__ = ["ReceivingContext"]


class ReceivingContext(RequestContext, Protocol):
    """The client's parts as the router and the streams see them; ``Core`` has them."""

    hooks: Hooks
    handlers: Handlers
    streams: Streams
    subscriptions: Subscriptions
    receivers: Receivers
    counters: Counters
