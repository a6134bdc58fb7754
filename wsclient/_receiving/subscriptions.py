"""Which subscription a message belongs to.

Guarantees:
    * There is no lock, since the garbage collector may close a subscription in the middle of anything: members come
      and go by one operation of a ``dict``, which is atomic, and readers go over a copy. Whose a name is may be said
      by any thread, which only notes it; the I/O thread alone takes the notes down, in their order, and looks up.
    * A message that overtakes the reply in which its subscription's name stands waits for that reply.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final, NamedTuple, Protocol

__all__ = ["Held", "Member", "Subscriptions"]

MAX_HELD: Final = 1000
"""Messages with a name nobody knows yet that may wait for the reply that tells; a few arrive in the same read."""


class Member(Protocol):
    """A subscription, as this table sees it."""

    @property
    def awaits_name(self) -> bool:
        """Whether a reply is awaited that may tell its name."""

    def wants(self, message: Any) -> bool:
        """Whether the caller's ``match`` claims the message."""

    def item(self, message: Any, size: int, pressing: bool) -> None:
        """Hand it a message."""


class Held(NamedTuple):
    """A message whose name nobody knows yet."""

    name: Any
    message: Any
    topic: str | None
    size: int


class Subscriptions:
    """The subscriptions of one client.

    Attributes:
        members: all of them; empty where there are none.
        held: messages that wait for a subscription's name.
        notes: names that begin or end, for the I/O thread to take in.
    """

    __slots__ = ("_names", "held", "members", "notes")

    def __init__(self) -> None:
        self.members: dict[Any, None] = {}
        self._names: dict[Hashable, tuple[Any, ...]] = {}  # the I/O thread's
        self.notes: list[tuple[Any, Hashable, bool]] = []  # a member, a name, and whether it is the member's
        self.held: list[Held] = []

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
        if not owners and name is not None and len(self.held) < MAX_HELD and self._is_awaited():
            self.held.append(Held(name, message, topic, size))
            return True
        claimed = [*owners, *(member for member in self if member not in owners and member.wants(message))]
        for member in claimed:
            member.item(message, size, pressing)
        return bool(claimed)

    def take_held(self, *, everything: bool = False) -> list[Held]:
        """Messages that waited for a name and need not wait any longer, in their order. I/O thread only."""
        self._take_notes()
        if not self.held:
            return []
        waits = not everything and self._is_awaited()
        held, self.held = self.held, []
        if waits:
            self.held = [one for one in held if not self._owners(one.name)]
        return [one for one in held if not waits or self._owners(one.name)]

    def _is_awaited(self) -> bool:
        return any(member.awaits_name for member in self)

    def _take_notes(self) -> None:
        if not self.notes:
            return
        notes = self.notes[:]
        for member, name, is_its in notes:
            owners = tuple(one for one in self._names.get(name, ()) if one is not member)
            if is_its:
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
