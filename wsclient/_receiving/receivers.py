"""All that incoming messages go to: hooks, handlers, streams and subscriptions, as one.

Guarantees:
    * Any thread may ask. There is no lock: each part guards itself, and none is called under a lock of another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .handlers import Handlers
from .hooks import Hooks
from .streams import Streams
from .subscriptions import Subscriptions

if TYPE_CHECKING:
    from .._errors import ConnectionLost
    from .._sending.link import Link
    from .._settings import Settings
    from .._threads.commands import Commands

__all__ = ["Receivers"]


class Receivers:
    """The receivers of one client.

    Attributes:
        hooks: the user's hooks and their thread.
        handlers: functions for the server's calls and its events by topic.
        streams: open streams.
        subscriptions: the subscriptions, and messages under a key that is not known yet.
    """

    __slots__ = ("_commands", "_link", "handlers", "hooks", "streams", "subscriptions")

    def __init__(self, settings: Settings, link: Link, commands: Commands) -> None:
        """
        Args:
            settings: the client's options; ``receive_queue`` bounds each queue.
            link: the present connection, where the I/O thread notes that it paused reading.
            commands: wake the I/O thread.
        """
        bounds = settings.bounds.receive_queue
        self._link = link
        self._commands = commands
        self.hooks = Hooks(settings.name, bounds, self.resume_reading)
        self.handlers = Handlers(settings.name, bounds, self.hooks, self.resume_reading)
        self.streams = Streams()
        self.subscriptions = Subscriptions(bounds, self.hooks.post_error, commands.wake)

    # --- any thread --------------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether a queue is at its bound, so that reading should pause."""
        streams, handlers = self.streams, self.handlers
        return (
            self.hooks.inbox.full
            or bool((streams.listening or streams.fed) and streams.full)
            or bool(handlers.pools and handlers.full)
            or self.subscriptions.unrouted.full
        )

    @property
    def dropped(self) -> int:
        """Messages dropped so far, by all queues together."""
        return self.hooks.dropped + self.handlers.dropped + self.streams.dropped

    def resume_reading(self) -> None:
        """Have the I/O thread read again if it paused: a queue has room, or the caller waits for a reply."""
        if self._link.paused:
            self._commands.wake()

    def end(self, error: BaseException | None) -> None:
        """Deliver no more messages: the client has ended. Hooks that wait are still run.

        The I/O thread calls it, or the thread that closes a client whose I/O thread is stuck.

        Args:
            error: the cause, for readers of streams; None if the client was closed.
        """
        self.streams.end(error)
        self.subscriptions.apply_events()
        self.hooks.end()
        self.handlers.end()

    # --- the I/O thread ----------------------------------------------------------------------------------------------

    def connection_lost(self, error: ConnectionLost, *, was_open: bool) -> None:
        """A connection is over: subscriptions survive it or end, and messages may be missing in streams.

        Args:
            error: the error for subscriptions that end with their connection.
            was_open: whether it was set up; else no message can be missing.
        """
        self.subscriptions.connection_lost(error)
        if was_open:
            self.streams.gap()
