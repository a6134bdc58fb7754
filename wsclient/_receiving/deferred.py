"""Messages that cannot be delivered yet, with a limit on their number and a limit on their bytes.

Three buffers are of this class. They contain messages that arrive before a connection is set up, calls of the server
that arrive during the set-up, and messages with a subscription key that is not known yet.

Guarantees:
    * A buffer with room left keeps a message of any size, so it may exceed its byte limit by one message.
    * A buffer at a limit is ``full``. It keeps further messages up to its byte limit, and rejects the others. Two rules
      are stricter: the router drops early calls as soon as their buffer is full, and with ``on_session`` the set-up of
      a connection fails as soon as the number or the bytes of the early messages exceed their limit (``is_exceeded``).
    * If the buffer of messages with unknown keys is full, reading pauses, unless it must continue (because a request
      waits for its reply, for example). During the set-up of a connection, reading continues although a buffer is full.
    * There is no lock: only the I/O thread uses it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from .inbox import ITEM_BYTES, Put

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .._options import Queue

__all__ = ["DeferredMessages"]

_T = TypeVar("_T")


class DeferredMessages(Generic[_T]):
    """A bounded buffer of messages in the order of their arrival.

    Attributes:
        full: whether a limit is reached.
        items: the messages and their bytes; other classes only check whether it is empty.
        lost: messages rejected so far.
    """

    __slots__ = ("_bounds", "_bytes", "_is_losing", "full", "items", "lost")

    def __init__(self, bounds: Queue) -> None:
        """
        Args:
            bounds: how many messages it holds, and how many bytes of them.
        """
        self._bounds = bounds
        self.items: deque[tuple[_T, int]] = deque()
        self._bytes = 0
        self._is_losing = False
        self.full = False
        self.lost = 0

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[_T]:
        return iter([item for item, _ in self.items])

    @property
    def is_exceeded(self) -> bool:
        """Whether more messages arrived than a limit permits."""
        bounds = self._bounds
        return len(self.items) > bounds.max_messages or self._bytes > bounds.max_bytes or self.lost > 0

    def add(self, item: _T, size: int) -> Put:
        """Keep a message, or reject it.

        Args:
            item: the message, with what is needed to deliver it later.
            size: its bytes.

        Returns:
            ``KEPT`` if the message is kept. ``FIRST_LOSS`` for the first message that is rejected since the buffer was
            last empty, ``LOSS`` for further ones.
        """
        bounds = self._bounds
        if self.full:
            # Each message beyond `max_messages` also counts for ITEM_BYTES; otherwise empty messages would cost
            # nothing.
            excess = max(0, len(self.items) - bounds.max_messages) * ITEM_BYTES
            if self._bytes + size + excess > bounds.max_bytes:
                self.lost += 1
                verdict = Put.LOSS if self._is_losing else Put.FIRST_LOSS
                self._is_losing = True
                return verdict
        self.items.append((item, size))
        self._count_bytes(size)
        return Put.KEPT

    def take(self) -> _T:
        """Remove and return the oldest message; there must be one."""
        item, size = self.items.popleft()
        self._count_bytes(-size)
        return item

    def take_all(self) -> list[_T]:
        """Remove and return every message, the oldest first."""
        items = list(self)
        self.items.clear()
        self._count_bytes(-self._bytes)
        return items

    def take_if(self, test: Callable[[_T], bool]) -> list[_T]:
        """Remove and return the messages that pass a test, the oldest first."""
        taken = [one for one in self.items if test(one[0])]
        if taken:
            self.items = deque(one for one in self.items if not test(one[0]))
            self._count_bytes(-sum(size for _, size in taken))
        return [item for item, _ in taken]

    def _count_bytes(self, more: int) -> None:
        self._bytes += more
        self.full = len(self.items) >= self._bounds.max_messages or self._bytes >= self._bounds.max_bytes
        self._is_losing = self._is_losing and bool(self.items)
