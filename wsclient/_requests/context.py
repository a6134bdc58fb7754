"""The shared parts of the client that this room uses. Types only: the module is not loaded when a client runs."""

from __future__ import annotations

import typing

from .._sending.context import SendingContext
from .._settings import Settings
from ..protocols import Protocol
from .requests import Requests
from .table import RequestTable

__all__ = ["RequestContext"]


class RequestContext(SendingContext, typing.Protocol):
    """The client's parts as requests see them; ``Core`` has them."""

    protocol: Protocol
    table: RequestTable
    requests: Requests

    @property
    def settings(self) -> Settings:
        """The options."""
