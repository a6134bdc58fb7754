"""All receivers of incoming messages: hooks, handlers, streams and subscriptions.

Guarantees:
    * Any thread may read the properties. There is no lock: each part is safe for several threads, and no part is called
      while a lock of another part is held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .handlers import Handlers
from .hooks import Hooks
from .streams import Streams
from .subscriptions import Subscriptions

if TYPE_CHECKING:
    from .._errors import ConnectionLost
    from .._sending.connection_facts import ConnectionFacts
    from .._settings import Settings
    from .._threads.commands import Commands
    from .._threads.log import ClientLog
    from .._threads.starter import ThreadStarter

__all__ = ["Receivers"]


class Receivers:
    """The receivers of one client.

    Attributes:
        hooks: the user's hooks and their thread.
        handlers: functions for the server's calls and its events by topic.
        streams: open streams.
        subscriptions: the subscriptions, and messages under a key that is not known yet.
    """

    __slots__ = ("_commands", "_facts", "handlers", "hooks", "streams", "subscriptions")

    def __init__(
        self, settings: Settings, facts: ConnectionFacts, commands: Commands, log: ClientLog, starter: ThreadStarter
    ) -> None:
        """
        Args:
            settings: the client's options; ``receive_queue`` limits each queue.
            facts: the present connection; the I/O thread records there that it has paused reading.
            commands: wakes the I/O thread.
            log: the client's log.
            starter: starts the threads of hooks and handlers.
        """
        bounds = settings.bounds.receive_queue
        self._facts = facts
        self._commands = commands
        self.hooks = Hooks(log, starter, bounds, self.resume_reading)
        self.streams = Streams()
        self.subscriptions = Subscriptions(bounds, self.hooks.post_error, commands.wake)
        self.handlers = Handlers(settings.name, bounds, self.hooks, self.resume_reading, self.subscriptions.post)

    # --- any thread --------------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether a queue is at its limit, so that reading should pause."""
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
        """Wake the I/O thread if reading is paused. Called when a queue has room again or has ended, and when a request
        was made, since its reply must be read.
        """
        if self._facts.paused:
            self._commands.wake()

    def end(self, error: BaseException | None) -> None:
        """Deliver no more messages, since the client has ended. Queued hooks are still run.

        Called by the I/O thread, or by the thread that closes a client whose I/O thread is blocked.

        Args:
            error: the cause, for readers of streams; None if the client was closed.
        """
        self.streams.end(error)
        self.subscriptions.apply_events()
        self.hooks.end()
        self.handlers.end()

    # --- the I/O thread ----------------------------------------------------------------------------------------------

    def connection_lost(self, error: ConnectionLost, number: int, *, is_gap: bool) -> None:
        """Report a lost connection to its subscriptions, which resume later or end. If there is a gap, count it in the
        streams.

        Args:
            error: the error for subscriptions that end with their connection.
            number: the connection's number.
            is_gap: whether messages may be missing. False if the connection was never open, or if a renewal had
                replaced it.
        """
        self.subscriptions.connection_lost(error, number)
        if is_gap:
            self.streams.gap()
