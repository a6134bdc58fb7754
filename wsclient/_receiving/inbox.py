"""A bounded queue of incoming items, for the hook thread, for workers, or for the readers of one stream.

Guarantees:
    * Only the I/O thread calls ``put``, which never waits for room. While there is room it takes no lock, except with
      the policy ``"latest"``: only ``put`` changes the counts of what was added, and a reader that removes an item
      meanwhile only makes more room. (With the lock, an incoming message costs a quarter more.)
    * With the policy ``"block"``, reading pauses when the queue is full. There are two cases. Usually nothing is
      dropped: the items of the last read are added too, so the queue may exceed its limits by all of them. But reading
      may have to continue although the queue is full (``must_keep_reading``: a request waits for its reply, for
      example). Then items beyond the byte limit are dropped. In both cases a queue with room left keeps an item of any
      size, so it may exceed its byte limit by one item.
    * ``get_several`` returns at most 16 items at once, of 64 KiB together. They no longer count for the limits. While
      the queue is full or is dropping items, it returns one item.
    * With ``"latest"``, a newer item replaces an older one with the same key. The older one is counted as dropped, but
      its replacement is not reported as a loss.
    * A series of losses is reported once: ``put`` returns ``FIRST_LOSS`` for its first loss, then ``LOSS``. The series
      ends when the reader has, twice since the last loss, taken an item and left the queue at most half full. (With
      ``"latest"``, the queue must be empty instead of half full: it contains one item per key, so its length does not
      show whether the reader is fast enough.)
    * ``end`` takes no lock if it is called inside a critical section (see ``_threads.sections``). If the items must be
      discarded, the next ``put`` or ``get`` does this.
    * An interrupt in ``get`` may lose the one item that was being returned, but the count stays correct.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Final

from .._threads.locks import make_lock
from .._threads.sections import this_thread
from .._threads.waiting import Notifier

if TYPE_CHECKING:
    from .._options import Overflow
    from .._threads.waiting import Deadline

__all__ = ["EMPTY", "ITEM_BYTES", "Inbox", "Put"]


ITEM_BYTES: Final = 256
"""The estimated memory, in bytes, of an item without its payload. Measured: 200 for a message to a hook."""


_BATCH_ITEMS: Final = 16
"""Items that the reader takes at once. They no longer count against the limits of the queue."""

_BATCH_FROM: Final = 4 * _BATCH_ITEMS
"""Items that must be queued before the reader takes several at once."""

_BATCH_BYTES: Final = 64 * 1024
"""Bytes of items that the reader takes at once. Larger items are taken one by one: for them the call costs little."""

_NONE: Final = 0
_LOSING: Final = 2
"""The lowest and the highest value of ``_episode``. A loss sets it to the highest value. It decreases by 1 when an item
was taken and the queue is at most half full. At 0 the series of losses is over: the next loss is a ``FIRST_LOSS``."""


class _Empty:
    """The type of ``EMPTY``."""


EMPTY: Final[Any] = _Empty()
"""What ``get`` returns when there is no item."""


class Put(enum.Enum):
    """The result of ``put``."""

    KEPT = enum.auto()
    """Nothing was lost; with ``"latest"``, the item may have replaced an older one with its key."""
    FIRST_LOSS = enum.auto()
    """This item, or an older one instead of it, was dropped, and the loss must be reported."""
    LOSS = enum.auto()
    """One more item was dropped."""


_Cell = tuple[Any, int, Hashable, bool]
"""An item, its bytes, its key, and whether it counts. With ``"latest"``, item and bytes are in ``_latest``, by key."""

_KEPT: Final = Put.KEPT
"""Looked up once: access to an enum member costs more than the comparison that uses it."""


class Inbox:
    """Items in the order of their arrival; see ``Queue`` for the policies.

    Attributes:
        dropped: items lost so far.
        full: whether reading should pause: the policy is ``"block"``, and a limit is reached.
        ended: whether no more items are accepted.
        error: the error that ended it; None if it ended without one.
    """

    __slots__ = (
        "_added", "_added_bytes", "_bounds", "_cells", "_episode", "_filled", "_is_discarded", "_latest", "_lock",
        "_on_room", "_removed", "_removed_bytes", "dropped", "ended", "error", "full",
    )  # fmt: skip

    def __init__(
        self, max_items: int, max_bytes: int, overflow: Overflow, on_room: Callable[[], object] | None = None
    ) -> None:
        """
        Args:
            max_items: the limit on the number of items.
            max_bytes: the limit on their bytes together.
            overflow: the policy at the limits.
            on_room: called on the reader's thread when a full queue has room again, and by ``end`` on any thread.
        """
        # Guards `_removed`, `_removed_bytes`, `_latest`, `_episode`, `dropped`, `full`, `ended` and `error`, and each
        # change of the cells. Two exceptions use no lock: `put` appends a cell, and inside a critical section `end`
        # sets `ended` and `error`.
        self._lock = make_lock()
        self._filled = Notifier()
        self._bounds = (max_items, max_bytes, overflow)
        self._on_room = on_room
        self._cells: deque[_Cell] = deque()
        self._latest: dict[Hashable, tuple[Any, int]] = {}  # with "latest" only: the item and its bytes, by key
        # The items that count for the limits, and their bytes, are the difference of two totals: of all that were added
        # so far (changed by `put` only), and of all that were removed so far (changed under the lock).
        self._added = self._added_bytes = 0
        self._removed = self._removed_bytes = 0
        self._episode = _NONE
        self._is_discarded = False  # whether `put` and `get` must discard the items; not guarded
        self.dropped = 0
        self.full = False
        self.ended = False
        self.error: BaseException | None = None

    @property
    def overflow(self) -> Overflow:
        """The policy."""
        return self._bounds[2]

    def __len__(self) -> int:
        return self._added - self._removed

    def put(self, item: Any, size: int, key: Hashable = None, must_keep_reading: bool = False) -> Put:
        """Add an item; one that comes after the end is ignored. I/O thread only.

        Args:
            item: the item.
            size: its bytes.
            key: with ``"latest"``, only the newest item of each key is kept.
            must_keep_reading: whether reading continues although the queue is full.
        """
        max_items, max_bytes, overflow = self._bounds
        added, added_bytes = self._added + 1, self._added_bytes + size
        if (
            added - self._removed < max_items
            and added_bytes - self._removed_bytes < max_bytes
            and overflow != "latest"
            and not self.ended
        ):  # the common case, kept short
            self._added = added
            self._added_bytes = added_bytes
            self._cells.append((item, size, None, True))
            verdict = _KEPT
        else:
            with this_thread.section, self._lock:
                if self.ended:
                    if self._is_discarded:
                        self._discard()
                    return _KEPT
                verdict = self._put_at_limit(item, size, key, must_keep_reading)
                if len(self) >= max_items or self._bytes >= max_bytes:
                    self.full = overflow == "block"
        if self._filled.latches:
            self._filled.announce()
        return verdict

    def put_extra(self, item: Any) -> bool:
        """Add an item that does not count for the limits and is never dropped; False after the end."""
        with this_thread.section, self._lock:
            if self.ended:
                return False
            self._cells.append((item, 0, None, False))
        self._filled.announce()
        return True

    def get(self, deadline: Deadline) -> Any:
        """Remove and return the oldest item; ``EMPTY`` if none came before the deadline, or the queue has ended."""
        while (item := self._pop()) is EMPTY and not self.ended:
            with self._filled.watch() as latch:
                if not self._cells and not self.ended and not latch.wait(deadline):
                    break
        return self._pop() if item is EMPTY else item

    def get_several(self, deadline: Deadline) -> list[Any]:
        """Remove and return the oldest items, the oldest last in the list.

        Several if many are queued, usually one; an empty list if ``get`` returns ``EMPTY``. The reader must take them
        out of the list one by one, on a thread on which no interrupt occurs.
        """
        if self._added - self._removed > _BATCH_FROM and self._bounds[2] == "block":
            several = self._pop_several()
            if several:
                return several
        item = self.get(deadline)
        return [] if item is EMPTY else [item]

    def end(self, error: BaseException | None = None, *, discard: bool = False) -> None:
        """Accept no more items. Queued ones can be taken, unless discarded. Only the first call sets the error."""
        if this_thread.inside():
            if not self.ended:
                self.error = error
                self.ended = True
            self._is_discarded |= discard
        else:
            with this_thread.section, self._lock:
                if not self.ended:
                    self.ended = True
                    self.error = error
                if discard:
                    self._is_discarded = True  # `put` may append an item after `_discard`; then the reader discards it
                    self._discard()
        self._filled.announce()
        if self._on_room is not None:
            self._on_room()

    def _discard(self) -> None:
        self._cells.clear()
        self._latest.clear()
        self._removed = self._added
        self._removed_bytes = self._added_bytes
        self.full = False

    def _put_at_limit(self, item: Any, size: int, key: Hashable, must_keep_reading: bool) -> Put:
        dropped = self.dropped + (key in self._latest)  # a replaced item is counted, but it is no loss to report
        if self._admits(item, size, key, must_keep_reading):
            if self._bounds[2] == "latest":
                self._latest[key] = item, size
                item = None
            self._added += 1
            self._added_bytes += size
            self._cells.append((item, size, key, True))
        if self.dropped == dropped:
            return _KEPT
        verdict = Put.LOSS if self._episode else Put.FIRST_LOSS
        self._episode = _LOSING
        return verdict

    def _admits(self, item: Any, size: int, key: Hashable, must_keep_reading: bool) -> bool:
        """Apply the policy: make room for the item, or drop it. Return whether to append it."""
        _, max_bytes, overflow = self._bounds
        if overflow == "block":
            # Each item beyond the limit on their number also counts for ITEM_BYTES; otherwise empty messages would cost
            # nothing.
            excess = max(0, len(self) - self._bounds[0]) * ITEM_BYTES
            lost = must_keep_reading and self.full and self._bytes + size + excess > max_bytes
            self.dropped += lost
            return not lost
        if overflow == "latest" and (older := self._latest.get(key)) is not None:
            self._added_bytes += size - older[1]
            self._latest[key] = item, size
            self.dropped += 1
            while self._bytes > max_bytes and len(self) > 1:
                self._drop_oldest(spared=key)
            return False
        if overflow in ("raise", "drop_newest"):
            lost = self._lacks_room(size)
            self.dropped += lost
            return not lost
        while len(self) and self._lacks_room(size):
            self._drop_oldest()
        return True

    @property
    def _bytes(self) -> int:
        return self._added_bytes - self._removed_bytes

    def _has_recovered(self) -> bool:
        """Return whether the queue is at most half full (with ``"latest"``: empty)."""
        max_items, max_bytes, overflow = self._bounds
        if overflow == "latest":
            return not len(self)
        return 2 * len(self) <= max_items and 2 * self._bytes <= max_bytes

    def _lacks_room(self, size: int) -> bool:
        max_items, max_bytes, _ = self._bounds
        return len(self) >= max_items or self._bytes + size > max_bytes

    def _drop_oldest(self, spared: Hashable = EMPTY) -> None:
        for index, (_, size, key, counted) in enumerate(self._cells):  # pragma: no branch  (there is one)
            if counted and key is not spared and key != spared:
                del self._cells[index]
                self._removed += 1
                self._removed_bytes += self._latest.pop(key)[1] if self._latest else size
                self.dropped += 1
                return

    def _pop_several(self) -> list[Any]:
        """Remove and return several items if many are queued, the oldest last; none if the queue is full or is
        dropping items.
        """
        with this_thread.section, self._lock:
            if len(self) <= _BATCH_FROM or self.full or self._episode:
                return []
            cells = self._cells
            oldest = [cells[index] for index in range(_BATCH_ITEMS)]  # no iterator: `put` may append meanwhile
            items, sizes, _, counted = zip(*oldest, strict=True)
            size = sum(sizes)
            if size > _BATCH_BYTES:
                return []
            for _ in oldest:
                del cells[0]
            self._removed += sum(counted)
            self._removed_bytes += size
        return list(reversed(items))

    def _pop(self) -> Any:
        max_items, max_bytes, _ = self._bounds
        with this_thread.section, self._lock:
            if self._is_discarded:
                self._discard()
            if not self._cells:
                return EMPTY
            was_full = self.full
            # Subscripts and assignments only, so that no interrupt occurs between the removal of the item and the
            # change of the counters.
            item, size, key, counted = self._cells[0]
            if counted and self._latest:
                item, size = self._latest[key]
                del self._latest[key]
            del self._cells[0]
            if counted:
                self._removed += 1
                self._removed_bytes += size
                if was_full:
                    count, size = self._added - self._removed, self._added_bytes - self._removed_bytes
                    self.full = count >= max_items or size >= max_bytes
                if self._episode and self._has_recovered():
                    self._episode -= 1
        if was_full and not self.full and self._on_room is not None:
            self._on_room()
        return item
