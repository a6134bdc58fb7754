"""The send queue: bounded, ordered, shared by every thread.

Guarantees:
    * Messages leave in the order they came in; what a connection could not finish returns to the front.
    * A message is in the queue or it is not: an interrupt at any point of ``put`` leaves no half of it.
    * Who withdraws a message that is still queued can rely on it never being sent.
    * ``ready`` is a hint without a lock: True may be stale, and ``take`` then gives nothing; False is not, for whoever
      has just put something in.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .._errors import MessageTooBig, SendQueueFull, WebSocketClientError, copy_exception
from .._models import DeliveryState
from .._threads.deadline import Deadline
from .._threads.locks import make_lock
from .._threads.waiting import Notifier
from .message import EXPIRED, LOST, Mark, Outgoing

if TYPE_CHECKING:
    from .._options import Queue

__all__ = ["MessageQueue"]

_SLACK = 64
"""Withdrawn messages that may stay in the queue, emptied, before it is rebuilt without them."""


class MessageQueue:
    """Messages that wait for the line.

    Attributes:
        largest: bytes of the largest message that is let in; -1 once no more are. To look at only, like the next.
        entries: the row of them, those included that were withdrawn; for others to look at only whether it is empty.
        messages: how many wait.
        bytes: their payload bytes.
        dropped: messages lost to a full queue.
    """

    __slots__ = ("_bounds", "_lock", "_next_expiry", "_refusal", "_room", "_takes_marks", "bytes", "dropped", "entries",
                 "largest", "messages")  # fmt: skip

    def __init__(self, bounds: Queue) -> None:
        # Guards everything below but `_room`, and every entry's `queued` and `discarded_as`.
        self._lock = make_lock()
        self._room = Notifier()
        self._bounds = bounds
        self.entries: deque[Outgoing] = deque()
        self._refusal: WebSocketClientError | None = None
        self.largest = bounds.max_bytes
        self._takes_marks = True
        self._next_expiry: float | None = None  # no message expires before that
        self.messages = 0
        self.bytes = 0
        self.dropped = 0

    def ready(self, requests: int) -> bool:
        """Whether there may be something to take.

        Args:
            requests: how many of what is taken may be requests.
        """
        try:
            head = self.entries[0]
        except IndexError:
            return False
        return not (head.requests > max(requests, 0) and head.queued)

    @property
    def may_block(self) -> bool:
        """Whether a thread waits for room where the queue is full, by its policy."""
        return self._bounds.overflow == "block"

    @property
    def filling(self) -> bool:
        """Whether more than half of the room is taken."""
        return 2 * self.messages > self._bounds.max_messages or 2 * self.bytes > self._bounds.max_bytes

    def put(self, entry: Outgoing, deadline: Deadline, evicted: list[Outgoing], *, may_wait: bool = True) -> None:
        """Queue a message.

        Args:
            entry: the message.
            deadline: until when to wait for room where the policy is ``"block"``.
            evicted: receives the messages that ``"drop_oldest"`` threw out; an argument and not a result, so that an
                interrupt can't lose them.
            may_wait: False on the thread that empties the queue.

        Raises:
            MessageTooBig: it would not fit into an empty queue.
            SendQueueFull: no room, and the policy or the deadline forbids to wait (longer).
            ClientClosed: the queue takes no more.
        """
        if entry.size > self._bounds.max_bytes:
            raise MessageTooBig(
                f"The message has {entry.size} bytes and the send queue holds {self._bounds.max_bytes}; "
                "raise max_bytes of send_queue=."
            )
        while not self._try_put(entry, evicted):
            if self._bounds.overflow == "drop_newest":
                return
            if self._bounds.overflow == "raise" or not may_wait or deadline.passed(time.monotonic()):
                raise self._full()
            with self._room.watch() as latch:
                if self._refusal is None and self._is_full(entry):
                    latch.wait(deadline.sooner(Deadline(self._next_expiry)))

    def put_first(self, mark: Mark) -> None:
        """Queue a mark ahead of everything that is queued. It takes no room.

        Raises:
            ClientClosed: the queue takes no more, not even marks.
        """
        with self._lock:
            refusal = None if self._takes_marks else self._refusal
            if refusal is None:
                mark.queued = True
                self.entries.appendleft(mark)
                return
        raise copy_exception(refusal) from refusal.__cause__

    def _try_put(self, entry: Outgoing, evicted: list[Outgoing]) -> bool:
        with self._lock:
            if self._refusal is None or (self._takes_marks and not entry.counted):
                if not entry.counted:
                    entry.queued = True
                    self.entries.append(entry)
                    return True
                if not self._is_full(entry) or self._makes_room(entry, evicted):
                    if entry.expires_at is not None:
                        self._note_expiry(entry)
                    self.messages += 1
                    self.bytes += entry.size
                    entry.queued = True
                    self.entries.append(entry)
                    return True
                if self._bounds.overflow == "drop_newest":
                    self.dropped += 1
                    entry.discarded_as = LOST
                return False
            refusal = self._refusal
        raise copy_exception(refusal) from refusal.__cause__

    def _is_full(self, entry: Outgoing) -> bool:
        return self.messages >= self._bounds.max_messages or self.bytes + entry.size > self._bounds.max_bytes

    def _note_expiry(self, entry: Outgoing) -> None:
        at = entry.expires_at
        if at is not None and (self._next_expiry is None or at < self._next_expiry):
            self._next_expiry = at

    def _makes_room(self, entry: Outgoing, evicted: list[Outgoing]) -> bool:
        """Whether there is room at the cost of others."""
        self._expire_old()
        if self._is_full(entry) and self._bounds.overflow == "drop_oldest":
            self._evict(entry, evicted)
        return not self._is_full(entry)

    def _expire_old(self) -> None:
        """Make room at the cost of what would not be sent any more."""
        now = time.monotonic()
        if self._next_expiry is None or now < self._next_expiry:
            return
        waiting = [entry for entry in self.entries if entry.queued and entry.counted and entry.expires_at is not None]
        for entry in waiting:
            if entry.expires_at is not None and now >= entry.expires_at:
                self._drop(entry, EXPIRED)
        self._next_expiry = min((entry.expires_at or 0.0 for entry in waiting if entry.queued), default=None)
        self.entries = deque([kept for kept in self.entries if kept.queued])

    def _evict(self, entry: Outgoing, evicted: list[Outgoing]) -> None:
        """Make room at the cost of the oldest. Marks stay: they take no room, and somebody waits for their pong."""
        passed = 0
        for victim in self.entries:
            if not self._is_full(entry):
                break
            if victim.queued and victim.counted:
                evicted.append(victim)
                self._drop(victim, LOST)
                self.dropped += 1
            passed += not victim.queued
        while self.entries and not self.entries[0].queued:
            del self.entries[0]
            passed -= 1
        if passed > _SLACK:
            self.entries = deque([kept for kept in self.entries if kept.queued])

    def _full(self) -> SendQueueFull:
        return SendQueueFull(
            f"The send queue is full: {self.messages} messages, {self.bytes} bytes. Send less, wait longer with "
            "timeout=, or give send_queue= more room."
        )

    def take(self, max_bytes: int, requests: int | None) -> list[Outgoing]:
        """Remove messages from the front, for the owner of the line.

        Args:
            max_bytes: stop at this many payload bytes; a single larger message comes alone.
            requests: how many of them may be requests; None for any number.
        """
        batch: list[Outgoing] = []
        total = 0
        with self._lock:
            entries = self.entries
            while entries:
                entry = entries[0]
                if batch and total + entry.size > max_bytes:
                    break
                if entry.queued and requests is not None:
                    if entry.requests > max(requests, 0):
                        break
                    requests -= entry.requests
                entries.popleft()
                if not entry.queued:
                    continue
                if entry.expires_at is not None and time.monotonic() >= entry.expires_at:
                    self._drop(entry, EXPIRED)
                    continue
                entry.queued = False
                entry.discarded_as = None
                if entry.counted:
                    self.messages -= 1
                    self.bytes -= entry.size
                batch.append(entry)
                total += entry.size
        self._room.announce()
        return batch

    def withdraw(self, entry: Outgoing) -> bool:
        """Take a message back; True if it was still queued, so that it will never be sent."""
        with self._lock:
            if not entry.queued:
                return False
            self._drop(entry, LOST)
            if len(self.entries) > 2 * self.messages + _SLACK:
                self.entries = deque([kept for kept in self.entries if kept.queued])
        self._room.announce()
        return True

    def expire(self, entry: Outgoing) -> None:
        """If the message is still queued and past its time, it is ``expired`` from now on."""
        if entry.expires_at is None or not entry.queued:
            return
        with self._lock:
            if entry.queued and time.monotonic() >= entry.expires_at:
                self._drop(entry, EXPIRED)
        self._room.announce()

    def restore(self, entries: Iterable[Outgoing]) -> None:
        """Put messages that a connection did not finish back to the front, in their order. May exceed the bounds."""
        with self._lock:
            for entry in reversed(list(entries)):
                self.messages += entry.counted
                self.bytes += entry.size if entry.counted else 0
                entry.position = None
                entry.queued = True
                self._note_expiry(entry)
                self.entries.appendleft(entry)

    def sweep(self, number: int | None) -> list[Outgoing]:
        """Remove what no connection will ever take, as ``lost``.

        Args:
            number: the connection that ended; messages that belong to it are removed. None removes everything.

        Returns:
            The messages removed.
        """
        with self._lock:
            gone = [
                entry
                for entry in self.entries
                if entry.queued and (number is None or entry.connection_number == number)
            ]
            for entry in gone:
                self._drop(entry, LOST)
            self.entries = deque([kept for kept in self.entries if kept.queued])
        self._room.announce()
        return gone

    def seal(self, error: WebSocketClientError, last: Outgoing | None = None, *, takes_marks: bool = False) -> None:
        """From now on ``put`` raises this error, also for those who wait for room; a later seal replaces the error.

        Args:
            error: the error.
            last: goes out behind everything that is queued.
            takes_marks: whether our own marks may still be queued.
        """
        with self._lock:
            self._takes_marks = takes_marks
            self._refusal = error
            self.largest = -1
            if last is not None:
                last.queued = True
                self.entries.append(last)
        self._room.announce()

    def _drop(self, entry: Outgoing, discarded_as: DeliveryState) -> None:
        """The entry leaves the queue unsent. Assignments only: an interrupt finds all of it done or nothing."""
        entry.queued = False
        entry.discarded_as = discarded_as
        entry.payload = None
        if entry.counted:
            self.messages -= 1
            self.bytes -= entry.size
