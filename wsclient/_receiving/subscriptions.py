"""The subscriptions of a client: which of them a message belongs to, and what happened to them on other threads.

Guarantees:
    * There is no lock, since the garbage collector may close a subscription at any point of any thread. Any thread adds
      a member, or posts an event, by one atomic operation; iteration goes over a copy. The I/O thread alone applies the
      events, in their order, and changes subscription keys. (``apply_events`` may also run on the thread that ends a
      client whose I/O thread is stuck: each event is taken once.)
    * A message that overtakes the reply which holds its subscription key waits for that reply, within the bounds of
      ``receive_queue``.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .._errors import SlowConsumer
from .deferred import DeferredMessages
from .inbox import Put

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from .._errors import ConnectionLost
    from .._options import Queue
    from .._sending.writer import Writer

__all__ = ["Member", "Subscriptions", "Unrouted"]


class Member(Protocol):
    """A subscription, as this table uses it. I/O thread only."""

    @property
    def awaits_key(self) -> bool:
        """Whether a reply is awaited that may hold its subscription key."""

    def wants(self, message: Any) -> bool:
        """Whether the caller's ``match`` claims the message."""

    def item(self, message: Any, size: int, must_keep_reading: bool) -> None:
        """Deliver a message."""

    def on_lost(self, error: ConnectionLost) -> None:
        """The present connection is over."""

    def ask_again(self, writer: Writer, number: int) -> None:
        """Ask for it on a connection that is about to open."""


class Unrouted(NamedTuple):
    """A message under a subscription key that is not known yet."""

    subscription_key: Any
    message: Any
    topic: str | None
    size: int


class Subscriptions:
    """The subscriptions of one client.

    Attributes:
        members: those that have not been closed and have not ended; empty where there are none.
        events: what happened to subscriptions on other threads, as a method of the subscription and its argument; for
            the I/O thread to apply.
        unrouted: messages that wait for a subscription key; bounded as ``receive_queue`` is.
    """

    __slots__ = ("_has_new_keys", "_owners", "_report", "_wake", "events", "members", "unrouted")

    def __init__(self, bounds: Queue, report: Callable[[BaseException], object], wake: Callable[[], object]) -> None:
        """
        Args:
            bounds: how many messages, and how many bytes of them, may wait for a subscription key.
            report: called with the error if more come. On the I/O thread.
            wake: wakes the I/O thread.
        """
        self._wake = wake
        self._report = report
        self.members: dict[Member, None] = {}
        self.events: deque[tuple[Callable[[Any], object], Any]] = deque()
        self.unrouted: DeferredMessages[Unrouted] = DeferredMessages(bounds)
        # The next two belong to the I/O thread.
        self._owners: dict[Hashable, tuple[Member, ...]] = {}  # of each subscription key
        self._has_new_keys = False  # since ``take_routed`` looked

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self.members))

    # --- any thread --------------------------------------------------------------------------------------------------

    def add(self, member: Member) -> None:
        """Add a subscription."""
        self.members[member] = None

    def post(self, function: Callable[[Any], object], argument: Any) -> None:
        """Have the I/O thread call a function with an argument, behind all events that were posted before."""
        self.events.append((function, argument))
        self._wake()

    # --- the I/O thread ----------------------------------------------------------------------------------------------

    def apply_events(self) -> None:
        """Apply what happened to subscriptions on other threads, in the order in which it was posted."""
        events = self.events
        while events:
            try:
                function, argument = events.popleft()
            except IndexError:  # the thread that ends the client took it
                return
            function(argument)

    def remove(self, member: Member) -> None:
        """Remove a subscription; it keeps its key until ``drop_key``."""
        self.members.pop(member, None)

    def set_key(self, member: Member, key: Hashable) -> None:
        """From now on messages under this key belong to the member.

        Raises:
            TypeError: the key is not hashable.
        """
        self._owners[key] = (*self._owners.get(key, ()), member)
        self._has_new_keys = True

    def drop_key(self, member: Member, key: Hashable) -> None:
        """From now on messages under this key do not belong to the member."""
        owners = tuple(one for one in self._owners.get(key, ()) if one is not member)
        if owners:
            self._owners[key] = owners
        else:
            self._owners.pop(key, None)

    def offer(self, message: Any, topic: str | None, key: Any, size: int, *, must_keep_reading: bool) -> bool:
        """Give a message to every subscription that it belongs to.

        Args:
            message: the message.
            topic: its topic, for a message that must wait.
            key: its subscription key; None if it has none.
            size: its bytes.
            must_keep_reading: see ``Inbox.put``.

        Returns:
            False if it belongs to none.
        """
        if self.events:
            self.apply_events()
        owners = () if key is None else self._owners_of(key)
        if not owners and key is not None and self._awaits_key() and self._defer(Unrouted(key, message, topic, size)):
            return True
        claimed = [*owners, *[member for member in self if member not in owners and member.wants(message)]]
        for member in claimed:
            member.item(message, size, must_keep_reading)
        return bool(claimed)

    def take_routed(self, *, everything: bool = False) -> list[Unrouted]:
        """Remove and return messages whose key is known by now, or will never be.

        Args:
            everything: the connection is over, so no further key will be known.
        """
        if self.events:
            self.apply_events()
        if not self.unrouted.items:
            return []
        if everything or not self._awaits_key():
            return self.unrouted.take_all()
        if not self._has_new_keys:  # since the last look, which none of them passed
            return []
        self._has_new_keys = False
        return self.unrouted.take_if(self._is_routed)

    def connection_lost(self, error: ConnectionLost) -> None:
        """The present connection is over."""
        self.apply_events()
        for member in self:
            member.on_lost(error)

    def ask_again(self, writer: Writer, number: int) -> None:
        """Ask for every subscription on a connection that is about to open, before anything else is sent on it.

        Args:
            writer: the connection's writer.
            number: the connection's number.
        """
        self.apply_events()
        for member in self:
            member.ask_again(writer, number)

    def _defer(self, message: Unrouted) -> bool:
        verdict = self.unrouted.add(message, message.size)
        if verdict is Put.FIRST_LOSS:
            self._report(SlowConsumer(
                f"More than {len(self.unrouted)} messages came under subscription keys that are not known yet, since "
                "the reply to a subscribe request is awaited. receive_queue= has no room for more, so further ones go "
                "to on_message and listen(). Give receive_queue= more room."
            ))  # fmt: skip
        return verdict is Put.KEPT

    def _is_routed(self, message: Unrouted) -> bool:
        return bool(self._owners_of(message.subscription_key))

    def _awaits_key(self) -> bool:
        return any(member.awaits_key for member in self)

    def _owners_of(self, key: Any) -> tuple[Member, ...]:
        try:
            return self._owners.get(key, ())
        except TypeError:  # a key that is not hashable: it belongs to no subscription
            return ()
