"""What the threads of one client share.

Nothing here does anything of its own; each part guards itself and calls none of the others while it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._receiving.handlers import Handlers
from .._receiving.hooks import Hooks
from .._receiving.streams import Streams
from .._receiving.subscriptions import Subscriptions
from .._requests.requests import Requests
from .._requests.table import Pending
from .._sending.link import Link
from .._sending.queue import Outbox
from .._sending.sender import Sender
from .._stats import Counters
from .._threads.commands import Orders
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
        orders: what others want of the background thread.
        link: the present connection.
        outbox: messages to send.
        sender: which thread writes them.
        pending: requests that wait.
        requests: how they begin and end.
        hooks: the user's hooks and their thread.
        handlers: who answers the server's calls and hears of its events.
        streams: open streams.
        subscriptions: what is subscribed to.
        counters: numbers for the statistics.
        recorder: writes down what crosses the wire; None where that is not wanted.
        progress: tells those who wait for a delivery or a flush to look again.
    """

    __slots__ = ("counters", "guard", "handlers", "hooks", "link", "orders", "outbox", "pending", "progress",
                 "protocol", "recorder", "requests", "sender", "settings", "state", "streams",
                 "subscriptions")  # fmt: skip

    def __init__(self, settings: Settings, protocol: Protocol) -> None:
        self.settings = settings
        self.protocol = protocol
        self.guard = Guard(settings.name)
        self.state = StateCell()
        self.orders = Orders()
        self.link = Link()
        self.outbox = Outbox(settings.bounds.send_queue)
        self.sender = Sender(self.outbox, self.orders, self.guard, replies_in_order=protocol._by_order)
        self.pending = Pending(by_order=protocol._by_order)
        self.requests = Requests(protocol, self.pending, self.sender, self.orders, settings)
        self.hooks = Hooks(settings.name, settings.bounds.receive_queue, self.resume_reading)
        self.handlers = Handlers(settings.name, settings.bounds.receive_queue, self.hooks, self.resume_reading)
        self.streams = Streams()
        self.subscriptions = Subscriptions(settings.bounds.receive_queue, self.hooks.post_error)
        self.counters = Counters()
        self.progress = self.sender.progress
        self.recorder = None if settings.recording is None else self._recorder(settings.recording)

    def _recorder(self, recording: Recording) -> Recorder:
        with importing:
            from .._recording.recorder import Recorder  # few clients have one: spares the others 3 ms

        return Recorder(recording, self.settings.name, self.orders.wake, self.hooks.post_error)

    @property
    def full(self) -> bool:
        """Whether what comes in finds a queue at its bound, so that reading should pause."""
        streams, handlers = self.streams, self.handlers
        return (
            self.hooks.inbox.full
            or bool((streams.listening or streams.fed) and streams.full)
            or bool(handlers.pools and handlers.full)
            or self.subscriptions.unrouted.full
        )

    def resume_reading(self) -> None:
        """A queue that was full has room again."""
        if self.link.paused:
            self.orders.wake()
