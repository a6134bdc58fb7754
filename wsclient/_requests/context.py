"""The shared parts of the client that this room uses. Types only: the module is not loaded when a client runs."""

from __future__ import annotations

import typing

from .._sending.context import SendingContext
from .._sending.message import Outgoing
from .._settings import Settings
from ..protocols import Protocol
from .table import Pending

__all__ = ["RequestContext"]


class RequestContext(SendingContext, typing.Protocol):
    """The client's parts as requests see them; ``Core`` has them."""

    protocol: Protocol
    pending: Pending

    @property
    def settings(self) -> Settings:
        """The options."""

    def write_now(self, entry: Outgoing) -> bool:
        """Write a message past the empty queue, where this thread may. False if it is to be queued."""
