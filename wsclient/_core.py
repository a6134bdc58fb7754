"""What the threads of one client share, and who of them may call what.

Nothing here does anything of its own; each part guards itself and calls none of the others while it does.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

from ._counters import Counters
from ._errors import ClientClosed, ForkedClient, WouldDeadlock, again
from ._events import State
from ._handlers import Handlers
from ._hooks import Hooks
from ._import import importing
from ._latch import Signal
from ._orders import Orders
from ._outbox import Outbox
from ._pace import Pace
from ._pending import Pending, Request
from ._state import StateCell
from ._streams import Streams
from ._subscriptions import Subscriptions

if TYPE_CHECKING:
    from ._config import Settings
    from ._events import Disconnect
    from ._outgoing import Outgoing
    from ._recording import Recorder, Recording
    from ._wire import Wire
    from .protocols import Protocol

__all__ = ["Core", "Guard", "Link", "closed_error"]


class Guard:
    """Keeps calls away from where they would do harm.

    Attributes:
        io_ident: the background thread's identity; None while there is none.
        setting_up: whether the background thread is inside ``on_session``. Written by that thread.
        forked: whether this process is a fork of the one the client belongs to.
    """

    __slots__ = ("_main_ident", "_name", "forked", "io_ident", "setting_up")

    def __init__(self, name: str) -> None:
        self._name = name
        self._main_ident = threading.main_thread().ident
        self.io_ident: int | None = None
        self.setting_up = False
        self.forked = False

    def check_fork(self, call: str) -> None:
        """Refuse a call on the copy of a client that a fork made; it takes no lock, one may be held for ever.

        Raises:
            ForkedClient: the client belongs to the parent process.
        """
        if self.forked:
            raise ForkedClient(
                f"{call}: the client {self._name!r} belongs to the parent process; make a new client in this one."
            )

    def check(self, call: str) -> None:
        """Refuse a call that does not wait.

        Raises:
            ForkedClient: the client belongs to the parent process.
            WouldDeadlock: ``on_session`` must use its session.
        """
        self.check_fork(call)
        if self.setting_up and self.on_io_thread():
            raise WouldDeadlock(
                f"{call} was called on the client inside on_session, before the connection is set up; use the session "
                "that on_session was given."
            )

    def check_may_wait(self, call: str, instead: str) -> None:
        """Refuse a call that waits.

        Args:
            call: its name, for the message.
            instead: the way out.

        Raises:
            ForkedClient: the client belongs to the parent process.
            WouldDeadlock: the caller is on the thread that it would wait for.
        """
        if not self.forked and self.io_ident != threading.get_ident():  # the common case, kept short
            return
        self.check(call)
        if self.on_io_thread():
            raise WouldDeadlock(
                f"{call} was called on the client's own I/O thread (from match, until, url, headers, should_retry or a "
                f"protocol) and would wait for itself. {instead}"
            )

    def on_io_thread(self) -> bool:
        """Whether the caller is on the background thread."""
        return self.io_ident == threading.get_ident()

    def on_main_thread(self) -> bool:
        """Whether a KeyboardInterrupt may strike here."""
        return self._main_ident == threading.get_ident()


class Link:
    """The present connection, as other threads see it. Written by the I/O thread, one assignment at a time.

    Attributes:
        wire: the way out; None while there is no connection.
        number: connections opened so far, which is the present one's number.
        opened_at: since when the present one is open; None if it is not.
        paused: whether reading waits for slow hooks or streams.
        sleeps_until: the moment the I/O thread will look around at the latest, if nobody wakes it; infinity while it is
            about to find out.
        last: how the last one ended.
        proofs: marks whose pong somebody waits for; whoever waits puts its own in and takes it out.
    """

    __slots__ = ("last", "number", "opened_at", "paused", "proofs", "sleeps_until", "wire")

    def __init__(self) -> None:
        self.wire: Wire | None = None
        self.number = 0
        self.opened_at: float | None = None
        self.paused = False
        self.sleeps_until = math.inf
        self.last: Disconnect | None = None
        self.proofs: dict[Outgoing, None] = {}


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
            from ._recording import Recorder  # few clients have one: spares the others 3 ms

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


def closed_error(core: Core, call: str) -> ClientClosed:
    """The error for a call that came too early or too late: how the client stands, and what to do."""
    name, state, cause = core.settings.name, core.state.current, core.state.error
    if state is State.NEW:
        return ClientClosed(f"{call}: the client {name!r} does not run yet; call start() or use it in a with block.")
    how = f"is {state.value}" if cause is None else f"has failed ({cause})"
    error = ClientClosed(f"{call}: the client {name!r} {how}; make a new one.")
    error.__cause__ = None if cause is None else again(cause)
    return error
