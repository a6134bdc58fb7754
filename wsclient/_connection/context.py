"""The objects that the threads of one client share, and how they are connected with each other.

Guarantees:
    * Each object protects its own data. A thread that holds the lock of one object calls no other object. The holder of
      the write lock is the exception (ARCHITECTURE.md, "Locks").
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from .._receiving.definition import SubscriptionDefinition
from .._receiving.duplicates import Duplicates
from .._receiving.receivers import Receivers
from .._receiving.router import Router
from .._receiving.server_calls import ServerCalls
from .._receiving.subscription import SubscriptionFeed
from .._receiving.watched_router import WatchedRouter
from .._requests.requests import Requests
from .._requests.table import RequestTable
from .._sending.connection_facts import ConnectionFacts
from .._sending.delivery import Acknowledgements
from .._sending.queue import MessageQueue
from .._sending.sender import Sender
from .._stats import Counters
from .._threads.commands import Commands
from .._threads.guard import Guard
from .._threads.imports import import_lock
from .._threads.log import ClientLog
from .._threads.starter import ThreadStarter
from .._threads.state import StateCell
from .backend import ClientBackend
from .quiet import QuietWatch, SubscriptionClock
from .renewal import RenewalCalls

if TYPE_CHECKING:
    from .._recording.options import Recording
    from .._recording.recorder import Recorder
    from .._requests.written import WrittenRequests
    from .._sending.writer import Writer
    from .._settings import Settings
    from .._threads.waiting import Waiter
    from ..protocols import Protocol
    from .keepalive import Heartbeats
    from .quiet import QuietClock

__all__ = ["ClientContext"]


class ClientContext:
    """Builds the shared objects of one client and holds them, for the public calls and the I/O thread.

    The objects do not refer to it: the constructor of each object receives the other objects that it uses.

    Attributes:
        settings: the options.
        protocol: the message protocol of the present connection, or of the next one.
        guard: raises for calls that can't work in this state or on this thread.
        state: the client's state.
        commands: commands for the I/O thread.
        starter: starts the threads of hooks and handlers, and tries again if that fails.
        log: writes the client's log records.
        memo: values of the program that live as long as the client.
        facts: the state of the present connection that other threads read.
        queue: messages to send.
        sender: decides which thread writes a message.
        table: requests that have not ended.
        requests: begins, sends and ends requests.
        receivers: all receivers of incoming messages.
        hooks, handlers, streams, subscriptions: the parts of ``receivers``.
        counters: numbers for the statistics.
        quiet: finds connections on which no messages are received any more.
        recorder: writes the recording; None if there is none.
        renew_calls: the calls of ``renew()``.
        acknowledgements: waits for the proof that messages arrived.
        changes: notifies the threads that wait for a delivery or a flush.
    """

    __slots__ = (
        "acknowledgements", "changes", "commands", "counters", "facts", "guard", "handlers", "hooks", "log", "memo",
        "protocol", "queue", "quiet", "receivers", "recorder", "renew_calls", "requests", "sender", "settings",
        "starter", "state", "streams", "subscriptions", "table",
    )  # fmt: skip

    def __init__(self, settings: Settings, protocol: Protocol) -> None:
        """
        Args:
            settings: the options.
            protocol: the message protocol.
        """
        self.settings = settings
        self.protocol = protocol
        self.state = StateCell()
        self.guard = Guard(settings.name, self.state)
        self.commands = Commands()
        self.renew_calls = RenewalCalls()
        self.starter = ThreadStarter(self.commands.wake)
        self.log = ClientLog(self.guard, self.starter)
        self.memo: dict[str, Any] = {}
        self.facts = ConnectionFacts()
        self.queue = MessageQueue(settings.bounds.send_queue)
        self.sender = Sender(self.queue, self.commands, self.guard, replies_in_order=protocol.replies_in_order)
        self.table = RequestTable(by_order=protocol.replies_in_order)
        self.counters = Counters()
        self.requests = Requests(
            protocol, self.table, self.sender, self.commands, settings, self.log, self.facts, self.counters
        )
        self.receivers = Receivers(settings, self.facts, self.commands, self.log, self.starter)
        self.hooks = self.receivers.hooks
        self.handlers = self.receivers.handlers
        self.streams = self.receivers.streams
        self.subscriptions = self.receivers.subscriptions
        self.acknowledgements = Acknowledgements(
            self.sender,
            self.facts,
            self.guard,
            self.commands,
            self.subscriptions.post,
            has_pings=settings.network.ping_interval is not None,
        )
        self.quiet = QuietWatch(
            settings.quiet,
            hooks=self.hooks,
            subscriptions=self.subscriptions,
            pause=self.sender.pause,
            log=self.log,
        )
        self.changes = self.sender.changes
        self.recorder = None if settings.recording is None else self._recorder(settings.recording)

    def use_protocol(self, protocol: Protocol) -> None:
        """Encode all messages with this protocol object from now on. I/O thread only.

        Args:
            protocol: the protocol object of the connection that takes new messages; after a renewal this is a copy.
        """
        if protocol is not self.protocol:
            protocol._take_over(self.protocol)  # it encodes the requests in the queue, too
        self.protocol = protocol
        self.requests.protocol = protocol

    def check_memo(self, memo: dict[str, Any]) -> None:
        """Refuse another dict as ``memo``. The same dict may be assigned, since ``client.memo |= {...}`` assigns it.

        Raises:
            AttributeError: it is another dict.
        """
        if memo is not self.memo:
            raise AttributeError(
                "memo can't be replaced, since client and session have the same dict; change the dict."
            )

    def renew(self, reason: str, waiter: Waiter | None = None) -> None:
        """Begin a renewal, see ``Client.renew``. Any thread, the I/O thread too; it takes no lock.

        Args:
            reason: passed to ``on_renew``.
            waiter: receives whether a new connection has taken over; None if no thread waits.
        """
        self.renew_calls.add(reason, waiter)
        self.commands.given = True
        self.commands.wake()

    def make_backend(self, written: WrittenRequests, protocol: Protocol | None = None) -> ClientBackend:
        """Make the backend of a connection's writer.

        Args:
            written: the requests in flight on the connection.
            protocol: the message protocol of the connection; None for the present one of the client.
        """
        return ClientBackend(
            written,
            sender=self.sender,
            requests=self.requests,
            protocol=protocol or self.protocol,
            counters=self.counters,
            commands=self.commands,
        )

    def make_router(
        self,
        writer: Writer,
        written: WrittenRequests,
        protocol: Protocol | None = None,
        clock: QuietClock | None = None,
        heartbeats: Heartbeats | None = None,
    ) -> Router:
        """Make the router of a connection.

        Args:
            writer: the connection's writer.
            written: the requests in flight on the connection.
            protocol: the message protocol of the connection, which decodes its messages; None for the present one of
                the client.
            clock: measures the time since the last message that counts; None without ``quiet=``.
            heartbeats: its heartbeats, whose answers do not count.
        """
        protocol = protocol or self.protocol
        make: Callable[..., Router] = Router
        if clock is not None:
            make = partial(WatchedRouter, heard=partial(self.quiet.heard, clock), heartbeats=heartbeats)
        return make(
            writer,
            self.settings.bounds.receive_queue,
            written,
            protocol=protocol,
            requests=self.requests,
            receivers=self.receivers,
            server_calls=ServerCalls(protocol, self.sender, self.log),
            facts=self.facts,
            counters=self.counters,
            max_batch=self.settings.network.limits.max_batch,
        )

    def make_subscription(
        self,
        message: Any,
        *,
        match: Callable[[Any], bool] | None,
        unsubscribe: Any,
        resume: bool,
        quiet_after: float | None = None,
        identity: Callable[[Any], Any] | None = None,
    ) -> SubscriptionFeed:
        """Make a subscription, which is not yet in ``subscriptions``; see ``SubscriptionDefinition`` for the arguments.

        ``quiet_after`` is the number of seconds without a message after which it is requested again; None for no limit.
        ``identity`` returns the identity of a message, see ``Duplicates``.
        """
        definition = SubscriptionDefinition(
            message,
            match=match,
            unsubscribe=unsubscribe,
            resume=resume,
            request_timeout=self.settings.bounds.request_timeout,
        )
        return SubscriptionFeed(
            definition,
            quiet=None if quiet_after is None else SubscriptionClock(quiet_after, self.quiet),
            duplicates=None if identity is None else Duplicates(identity),
            requests=self.requests,
            table=self.table,
            receivers=self.receivers,
            sender=self.sender,
            guard=self.guard,
            log=self.log,
        )

    def _recorder(self, recording: Recording) -> Recorder:
        with import_lock:
            from .._recording.recorder import Recorder  # few clients record; this saves the others 3 ms

        return Recorder(recording, self.settings.name, self.commands.wake, self.hooks.post_error)
