"""Which subscription a message belongs to.

Guarantees:
    * There is no lock, since the garbage collector may close a subscription in the middle of anything: members come
      and go by one operation of a ``dict``, which is atomic, and readers go over a copy. Whose a name is may be said
      by any thread, which only notes it; the I/O thread alone takes the notes down, in their order, and looks up.
    * A message that overtakes the reply in which its subscription's name stands waits for that reply.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .._errors import SlowConsumer
from .deferred import DeferredMessages
from .inbox import Put

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._options import Queue

__all__ = ["Member", "Subscriptions", "Unrouted"]


class Member(Protocol):
    """A subscription, as this table sees it."""

    @property
    def awaits_name(self) -> bool:
        """Whether a reply is awaited that may tell its name."""

    def wants(self, message: Any) -> bool:
        """Whether the caller's ``match`` claims the message."""

    def item(self, message: Any, size: int, pressing: bool) -> None:
        """Hand it a message."""


class Unrouted(NamedTuple):
    """A message under a subscription key that is not known yet."""

    subscription_key: Any
    message: Any
    topic: str | None
    size: int


class Subscriptions:
    """The subscriptions of one client.

    Attributes:
        members: all of them; empty where there are none.
        unrouted: messages that wait for a subscription's key; bounded as ``receive_queue`` is.
        notes: names that begin or end, for the I/O thread to take in.
    """

    __slots__ = ("_has_new_keys", "_names", "_report", "members", "notes", "unrouted")

    def __init__(self, bounds: Queue, report: Callable[[BaseException], object]) -> None:
        """
        Args:
            bounds: how many messages, and how many bytes of them, may wait for a subscription's key.
            report: called with the error if more come. I/O thread only.
        """
        self._report = report
        self._has_new_keys = False
        self.members: dict[Any, None] = {}
        self._names: dict[Hashable, tuple[Any, ...]] = {}  # the I/O thread's
        self.notes: list[tuple[Any, Hashable, bool]] = []  # a member, a name, and whether it is the member's
        self.unrouted: DeferredMessages[Unrouted] = DeferredMessages(bounds)

    def __iter__(self) -> Any:
        return iter(list(self.members))

    def add(self, member: Member) -> None:
        """A subscription begins."""
        self.members[member] = None

    def discard(self, member: Member, name: Any) -> None:
        """A subscription is over."""
        self.members.pop(member, None)
        self.forget_name(member, name)

    def set_name(self, member: Member, name: Any) -> None:
        """From now on messages with this name are the member's.

        Raises:
            TypeError: the name can't be a key.
        """
        hash(name)
        self.notes.append((member, name, True))

    def forget_name(self, member: Member, name: Any) -> None:
        """The name means nothing any more."""
        if name is not None:
            self.notes.append((member, name, False))

    def offer(self, message: Any, topic: str | None, name: Any, size: int, *, pressing: bool) -> bool:
        """Give a message to every subscription it belongs to; False if it belongs to none. I/O thread only."""
        owners = self._owners(name)
        if not owners and name is not None and self._is_awaited():
            verdict = self.unrouted.add(Unrouted(name, message, topic, size), size)
            if verdict is Put.KEPT:
                return True
            if verdict is Put.FIRST_LOSS:
                self._report(SlowConsumer(
                    f"More than {len(self.unrouted)} messages came under subscription keys that are not known yet, "
                    "since a reply to a subscribe is awaited; receive_queue= has no room for more, so further ones are "
                    "given to on_message and listen(). Give receive_queue= more room."
                ))  # fmt: skip
        claimed = [*owners, *(member for member in self if member not in owners and member.wants(message))]
        for member in claimed:
            member.item(message, size, pressing)
        return bool(claimed)

    def take_routed(self, *, everything: bool = False) -> list[Unrouted]:
        """Remove and return messages whose key is known by now, or will never be. I/O thread only.

        Args:
            everything: the connection is over, so no further key will be known.
        """
        self._take_notes()
        if not self.unrouted:
            return []
        if everything or not self._is_awaited():
            return self.unrouted.take_all()
        if not self._has_new_keys:  # since the last look, which none of them passed
            return []
        self._has_new_keys = False
        return self.unrouted.take_if(self._is_routed)

    def _is_routed(self, one: Unrouted) -> bool:
        return bool(self._owners(one.subscription_key))

    def _is_awaited(self) -> bool:
        return any(member.awaits_name for member in self)

    def _take_notes(self) -> None:
        if not self.notes:
            return
        notes = self.notes[:]
        for member, name, is_its in notes:
            owners = tuple(one for one in self._names.get(name, ()) if one is not member)
            if is_its:
                self._has_new_keys = True
                self._names[name] = (*owners, member)
            elif owners:
                self._names[name] = owners
            else:
                self._names.pop(name, None)
        del self.notes[: len(notes)]  # once it is done: who looks at both misses nothing

    def _owners(self, name: Any) -> tuple[Any, ...]:
        self._take_notes()
        try:
            return () if name is None else self._names.get(name, ())
        except TypeError:  # a name that can't be a key: nobody has it
            return ()
