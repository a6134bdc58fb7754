"""The shared parts of the client that this room uses. Types only: the module is not loaded when a client runs."""

from __future__ import annotations

from typing import Protocol

from .._network.options import NetworkOptions
from .._threads.commands import Commands
from .._threads.guard import Guard
from .._threads.state import StateCell
from .._threads.waiting import Notifier
from .link import Link
from .queue import MessageQueue
from .sender import Sender

__all__ = ["SendingContext", "SendingSettings"]


class SendingSettings(Protocol):
    """The options that matter for sending."""

    @property
    def name(self) -> str:
        """The client's name."""

    @property
    def line(self) -> NetworkOptions:
        """How a connection is opened and kept alive."""


class SendingContext(Protocol):
    """The client's parts as deliveries see them; ``Core`` has them."""

    guard: Guard
    state: StateCell
    commands: Commands
    link: Link
    sender: Sender
    queue: MessageQueue
    progress: Notifier

    @property
    def settings(self) -> SendingSettings:
        """The options."""
