"""The subscriptions of a client: assigns messages to them, and applies the events that other threads post for them.

Guarantees:
    * There is no lock, since the garbage collector may close a subscription at any point of any thread. Any thread adds
      a member, or posts an event, by one atomic operation; iteration uses a copy. Only the I/O thread applies the
      events, in order, and changes subscription keys. (``apply_events`` may also run on the thread that ends a
      client whose I/O thread is blocked: each event is applied once.)
    * A message that arrives before the reply that contains its subscription key is kept until that reply, within the
      limits of ``receive_queue``.
"""

from __future__ import annotations

from collections import deque
from functools import partial
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
    """The part of a subscription that ``Subscriptions`` uses. I/O thread only.

    Attributes:
        number: the number of the connection on which its request was written; 0 while there is none.
    """

    number: int

    @property
    def is_unconfirmed(self) -> bool:
        """Whether the server has not confirmed it yet on its present connection."""

    @property
    def quiet(self) -> Any:
        """The clock of ``quiet_after=``; None without this option."""

    @property
    def awaits_key(self) -> bool:
        """Whether a reply is expected that may contain its subscription key."""

    def wants(self, message: Any) -> bool:
        """Return whether the caller's ``match`` accepts the message."""

    def item(self, message: Any, size: int, must_keep_reading: bool) -> None:
        """Deliver a message."""

    def on_lost(self, error: ConnectionLost) -> None:
        """Handle the end of the present connection."""

    def resubscribe(self, writer: Writer, number: int) -> None:
        """Subscribe again on a connection that is about to open."""

    def begin_overlap(self) -> None:
        """Called when a second connection is about to be opened."""

    def end_overlap(self, *, has_taken_over: bool) -> None:
        """Called when the second connection could not be opened, or is now the only one (``has_taken_over``)."""

    def succeed(self) -> Member | None:
        """Return a new member that continues the subscription on the connection that is about to take over. None if no
        new member is made; see ``SubscriptionFeed.succeed``.
        """


class Unrouted(NamedTuple):
    """A message under a subscription key that is not known yet, and the number of its connection."""

    number: int
    subscription_key: Any
    message: Any
    topic: str | None
    size: int


class Subscriptions:
    """The subscriptions of one client.

    Attributes:
        members: the subscriptions that were not closed and have not ended.
        events: events that other threads posted, each as a function and its argument; the I/O thread applies them.
            Also used for jobs that have nothing to do with subscriptions, such as changes of the handlers' tables.
        unrouted: messages that wait for a subscription key, with the limits of ``receive_queue``.
    """

    __slots__ = ("_has_new_keys", "_is_asking", "_owners", "_report", "_wake", "events", "members", "unrouted")

    def __init__(self, bounds: Queue, report: Callable[[BaseException], object], wake: Callable[[], object]) -> None:
        """
        Args:
            bounds: the limits on messages, and on their bytes, that wait for a subscription key.
            report: called with the error if more arrive. On the I/O thread.
            wake: wakes the I/O thread.
        """
        self._wake = wake
        self._report = report
        self.members: dict[Member, None] = {}
        self.events: deque[tuple[Callable[[Any], object], Any]] = deque()
        self.unrouted: DeferredMessages[Unrouted] = DeferredMessages(bounds)
        # The next three belong to the I/O thread.
        # By the connection's number and the subscription key: two connections may use the same key.
        self._owners: dict[tuple[int, Hashable], tuple[Member, ...]] = {}
        self._has_new_keys = False  # since the last ``take_routed``
        self._is_asking = False  # whether ``resubscribe`` or ``renew`` runs

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self.members))

    # --- any thread --------------------------------------------------------------------------------------------------

    def add(self, member: Member) -> None:
        """Add a subscription."""
        self.members[member] = None

    def post(self, function: Callable[[Any], object], argument: Any) -> None:
        """Schedule a call of a function on the I/O thread, after all events that were posted before."""
        self.events.append((function, argument))
        self._wake()

    # --- the I/O thread ----------------------------------------------------------------------------------------------

    def apply_events(self) -> None:
        """Apply the events that other threads posted, in order."""
        events = self.events
        while events:
            try:
                function, argument = events.popleft()
            except IndexError:  # pragma: no cover  (the thread that ends the client takes the last one at this moment)
                return
            function(argument)

    def apply(self, function: Callable[[Any], object], argument: Any) -> None:
        """Apply all posted events, then this one. While ``resubscribe`` or ``renew`` runs, only post it."""
        self.events.append((function, argument))
        if not self._is_asking:
            self.apply_events()

    def remove(self, member: Member) -> None:
        """Remove a subscription; it keeps its key until ``drop_key``."""
        self.members.pop(member, None)

    def set_key(self, member: Member, number: int, key: Hashable) -> None:
        """Assign messages of this connection under this key to the member from now on.

        Raises:
            TypeError: the key is not hashable.
        """
        self._owners[number, key] = (*self._owners.get((number, key), ()), member)
        self._has_new_keys = True

    def drop_key(self, member: Member, number: int, key: Hashable) -> None:
        """Stop assigning messages of this connection under this key to the member."""
        owners = tuple(one for one in self._owners.get((number, key), ()) if one is not member)
        if owners:
            self._owners[number, key] = owners
        else:
            self._owners.pop((number, key), None)

    def offer(
        self, number: int, message: Any, topic: str | None, key: Any, size: int, *, must_keep_reading: bool
    ) -> bool:
        """Deliver a message to every subscription that it belongs to.

        Args:
            number: the number of the connection on which it was received.
            message: the message.
            topic: its topic, which is stored if the message must wait until its key is known.
            key: its subscription key; None if it has none.
            size: its bytes.
            must_keep_reading: see ``Inbox.put``.

        Returns:
            False if it belongs to no subscription.
        """
        if self.events:
            self.apply_events()
        owners = () if key is None else self._owners_of(number, key)
        if (
            not owners
            and key is not None
            and self._awaits_key(number)
            and self._defer(Unrouted(number, key, message, topic, size))
        ):
            return True
        claimed = [
            *owners,
            *[one for one in self if one.number == number and one not in owners and one.wants(message)],
        ]
        for member in claimed:
            member.item(message, size, must_keep_reading)
        return bool(claimed)

    def take_routed(self, ended: int | None = None) -> list[Unrouted]:
        """Remove and return the messages whose key is now known, or can't become known.

        Args:
            ended: the number of a connection that has ended, so that no further key of it can become known.
        """
        if self.events:
            self.apply_events()
        if not self.unrouted.items:
            return []
        waiting = {member.number for member in self if member.awaits_key}  # 0: its connection is not known yet
        if ended is not None:
            waiting.discard(ended)
        if waiting and not self._has_new_keys and ended is None:
            return []  # the last call found no key for the messages that are left
        self._has_new_keys = self._has_new_keys and ended is not None
        return self.unrouted.take_if(partial(self._is_routed, ended, waiting))

    def connection_lost(self, error: ConnectionLost, number: int) -> None:
        """Report the end of a connection to each of its subscriptions."""
        self.apply_events()
        for member in self:
            if member.number == number:
                member.on_lost(error)

    def resubscribe(self, writer: Writer, number: int) -> None:
        """Send the subscribe request of every subscription again, on a connection that is about to open: after the
        messages of ``on_session``, before the queue.

        Events that are posted meanwhile are applied when the connection is open (``apply_events``): before that, no
        unsubscribe message can be sent.

        Args:
            writer: the connection's writer.
            number: the connection's number.
        """
        self.apply_events()
        self._is_asking = True
        try:
            for member in self:
                member.resubscribe(writer, number)
        finally:
            self._is_asking = False

    def begin_overlap(self) -> None:
        """Called when a second connection is about to be opened; see ``SubscriptionFeed.begin_overlap``."""
        for member in self:
            member.begin_overlap()

    def end_overlap(self, *, has_taken_over: bool) -> None:
        """Called when the present connection was lost meanwhile, or the second one could not be opened; see
        ``SubscriptionFeed.end_overlap``.
        """
        for member in self:
            member.end_overlap(has_taken_over=has_taken_over)

    def renew(self, writer: Writer, number: int) -> None:
        """Continue every subscription on a second connection, which is about to take over from the present one: send
        the subscribe requests there. The members of the present connection stay until that connection ends. A member
        that has no request on any connection moves to the second one.

        Args: see ``resubscribe``.
        """
        self.apply_events()
        self._is_asking = True
        try:
            for member in self:
                successor = member.succeed()
                if successor is not None:
                    self.members[successor] = None
                (successor or member).resubscribe(writer, number)
        finally:
            self._is_asking = False

    def are_confirmed(self, number: int) -> bool:
        """Return whether the server has confirmed every subscription on this connection, the present one. False if this
        connection is lost and a subscription waits for the next one.
        """
        return not any(member.number in (0, number) and member.is_unconfirmed for member in self)

    def _defer(self, message: Unrouted) -> bool:
        verdict = self.unrouted.add(message, message.size)
        if verdict is Put.FIRST_LOSS:
            self._report(SlowConsumer(
                f"More than {len(self.unrouted)} messages came under subscription keys that are not known yet, since "
                "the reply to a subscribe request has not come. receive_queue= has no room for more, so further ones "
                "go to on_message and listen(). Give receive_queue= more room."
            ))  # fmt: skip
        return verdict is Put.KEPT

    def _is_routed(self, ended: int | None, waiting: set[int], message: Unrouted) -> bool:
        number = message.number
        if number == ended or not (number in waiting or 0 in waiting):
            return True
        return bool(self._owners_of(number, message.subscription_key))

    def _awaits_key(self, number: int) -> bool:
        return any(member.awaits_key for member in self if member.number in (0, number))

    def _owners_of(self, number: int, key: Any) -> tuple[Member, ...]:
        try:
            return self._owners.get((number, key), ())
        except TypeError:  # an unhashable key: it belongs to no subscription
            return ()
