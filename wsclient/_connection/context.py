"""What the threads of one client share.

Nothing here does anything of its own; each part guards itself and calls none of the others while it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._receiving.receivers import Receivers
from .._requests.requests import Requests
from .._requests.table import RequestTable
from .._sending.link import Link
from .._sending.queue import MessageQueue
from .._sending.sender import Sender
from .._stats import Counters
from .._threads.commands import Commands
from .._threads.guard import Guard
from .._threads.imports import importing
from .._threads.state import StateCell

if TYPE_CHECKING:
    from .._recording.recorder import Recorder, Recording
    from .._settings import Settings
    from ..protocols import Protocol

__all__ = ["Core"]


class Core:
    """The shared parts of one client.

    Attributes:
        settings: the options.
        protocol: the message protocol.
        guard: who may call what.
        state: where the client stands.
        commands: what others want of the background thread.
        link: the present connection.
        queue: messages to send.
        sender: which thread writes them.
        table: requests that wait.
        requests: how they begin and end.
        receivers: all that incoming messages go to.
        hooks, handlers, streams, subscriptions: the parts of ``receivers``.
        counters: numbers for the statistics.
        recorder: writes down what crosses the wire; None where that is not wanted.
        progress: tells those who wait for a delivery or a flush to look again.
    """

    __slots__ = (
        "commands",
        "counters",
        "guard",
        "handlers",
        "hooks",
        "link",
        "progress",
        "protocol",
        "queue",
        "receivers",
        "recorder",
        "requests",
        "sender",
        "settings",
        "state",
        "streams",
        "subscriptions",
        "table",
    )  # fmt: skip

    def __init__(self, settings: Settings, protocol: Protocol) -> None:
        self.settings = settings
        self.protocol = protocol
        self.guard = Guard(settings.name)
        self.state = StateCell()
        self.commands = Commands()
        self.link = Link()
        self.queue = MessageQueue(settings.bounds.send_queue)
        self.sender = Sender(self.queue, self.commands, self.guard, replies_in_order=protocol._by_order)
        self.table = RequestTable(by_order=protocol._by_order)
        self.requests = Requests(protocol, self.table, self.sender, self.commands, settings)
        self.receivers = Receivers(settings, self.link, self.commands)
        self.hooks = self.receivers.hooks
        self.handlers = self.receivers.handlers
        self.streams = self.receivers.streams
        self.subscriptions = self.receivers.subscriptions
        self.counters = Counters()
        self.progress = self.sender.progress
        self.recorder = None if settings.recording is None else self._recorder(settings.recording)

    def _recorder(self, recording: Recording) -> Recorder:
        with importing:
            from .._recording.recorder import Recorder  # few clients have one: spares the others 3 ms

        return Recorder(recording, self.settings.name, self.commands.wake, self.hooks.post_error)
