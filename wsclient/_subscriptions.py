"""Which subscription a message belongs to.

Guarantees:
    * There is no lock: each step is one operation of a ``dict``, which is atomic, and readers go over a copy. Any
      thread may add and remove; names are looked up by the I/O thread alone.
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
    """The subscriptions of one client."""

    __slots__ = ("_held", "_members", "_names")

    def __init__(self) -> None:
        self._members: dict[Any, None] = {}
        self._names: dict[Hashable, Any] = {}
        self._held: list[Held] = []

    def __iter__(self) -> Any:
        return iter(list(self._members))

    def add(self, member: Member) -> None:
        """A subscription begins."""
        self._members[member] = None

    def discard(self, member: Member, name: Any) -> None:
        """A subscription is over."""
        self._members.pop(member, None)
        self.forget_name(member, name)

    def set_name(self, member: Member, name: Any) -> None:
        """From now on messages with this name are the member's."""
        self._names[name] = member

    def forget_name(self, member: Member, name: Any) -> None:
        """The name means nothing any more."""
        if name is not None and self._names.get(name) is member:
            self._names.pop(name, None)

    def offer(self, message: Any, topic: str | None, name: Any, size: int, *, pressing: bool) -> bool:
        """Give a message to every subscription it belongs to; False if it belongs to none. I/O thread only."""
        if not self._members:
            return False
        owner = self._owner(name)
        if owner is None and name is not None and len(self._held) < MAX_HELD and self._is_awaited():
            self._held.append(Held(name, message, topic, size))
            return True
        claimed = owner is not None
        if owner is not None:
            owner.item(message, size, pressing)
        for member in self:
            if member is not owner and member.wants(message):
                member.item(message, size, pressing)
                claimed = True
        return claimed

    def take_held(self) -> list[Held]:
        """Messages that waited for a name and need not wait any longer, in their order. I/O thread only."""
        if not self._held:
            return []
        waits = self._is_awaited()
        free = [held for held in self._held if not waits or self._owner(held.name) is not None]
        self._held = [held for held in self._held if held not in free] if waits else []
        return free

    def _is_awaited(self) -> bool:
        return any(member.awaits_name for member in self)

    def _owner(self, name: Any) -> Any:
        try:
            return None if name is None else self._names.get(name)
        except TypeError:  # a name that can't be a key: nobody has it
            return None
