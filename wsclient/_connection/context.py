"""What the threads of one client share.

Nothing here does anything of its own; each part guards itself and calls none of the others while it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._receiving.handlers import Handlers
from .._receiving.hooks import Hooks
from .._receiving.streams import Streams
from .._receiving.subscriptions import Subscriptions
from .._requests.request import Request
from .._requests.table import Pending
from .._sending.queue import Outbox
from .._sending.sender import Link, Pace
from .._stats import Counters
from .._threads.commands import Orders
from .._threads.guard import Guard
from .._threads.imports import importing
from .._threads.state import StateCell
from .._threads.waiting import Signal

if TYPE_CHECKING:
    from .._recording.recorder import Recorder, Recording
    from .._sending.message import Outgoing
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
        pending: requests that wait.
        hooks: the user's hooks and their thread.
        handlers: who answers the server's calls and hears of its events.
        streams: open streams.
        subscriptions: what is subscribed to.
        counters: numbers for the statistics.
        recorder: writes down what crosses the wire; None where that is not wanted.
        pace: how often senders write for themselves.
        progress: tells those who wait for a delivery or a flush to look again.
    """

    __slots__ = ("counters", "guard", "handlers", "hooks", "link", "orders", "outbox", "pace", "pending",
                 "progress", "protocol", "recorder", "settings", "state", "streams", "subscriptions")  # fmt: skip

    def __init__(self, settings: Settings, protocol: Protocol) -> None:
        self.settings = settings
        self.protocol = protocol
        self.guard = Guard(settings.name)
        self.state = StateCell()
        self.orders = Orders()
        self.link = Link()
        self.outbox = Outbox(settings.bounds.send_queue)
        self.pending = Pending(by_order=protocol._by_order)
        self.hooks = Hooks(settings.name, settings.bounds.receive_queue, self.resume_reading)
        self.handlers = Handlers(settings.name, settings.bounds.receive_queue, self.hooks, self.resume_reading)
        self.streams = Streams()
        self.subscriptions = Subscriptions()
        self.counters = Counters()
        self.pace = Pace()
        self.progress = Signal()
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
        )

    def resume_reading(self) -> None:
        """A queue that was full has room again."""
        if self.link.paused:
            self.orders.wake()

    def kick(self) -> None:
        """Something may be sent: write it here and now, or have the I/O thread do so (see ``Wire.pump``)."""
        wire = self.link.wire
        if wire is None:
            return
        if wire.has_work():
            if self.guard.on_main_thread():
                self.orders.wake()
                return
            wire.pump()
        if self.orders.drain is not None:
            self.orders.wake()  # this may have been the last of it

    def leave(self) -> None:
        """Something may be sent, and the I/O thread is to do it, unless the queue fills up meanwhile."""
        wire = self.link.wire
        if wire is None or wire.blocked:  # it will, as soon as it can
            return
        if not self.outbox.filling:
            self.orders.wake()
            return
        self.kick()
        if self.outbox.filling and not self.guard.on_main_thread():
            wire.relieve()  # the I/O thread writes already, and waits for the interpreter that we keep busy

    def write_now(self, entry: Outgoing) -> bool:
        """Write a message past the empty queue, where this thread may. False if it is to be queued."""
        wire = self.link.wire
        if wire is None or entry.expires_at is not None or entry.bound is not None:
            return False  # the queue looks at the time at the last moment; what is bound may be too late for this one
        in_main = self.guard.on_main_thread()
        # What is to be told of its departure, or leaves a gap in an order, must not be interrupted as it departs.
        alone = wire.is_plain and not self.pending.by_order and (not isinstance(entry, Request) or entry.takes_any)
        try:
            return (alone or not in_main) and wire.write_now(entry, alone=alone, in_main=in_main)
        finally:
            if self.orders.drain is not None:
                self.orders.wake()  # this may have been the last of it
