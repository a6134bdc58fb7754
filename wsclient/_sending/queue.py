"""The send queue: bounded, ordered, shared by every thread.

Guarantees:
    * Messages are taken in the order in which they were put; messages that a connection did not write completely
      return to the front.
    * ``put`` is atomic: an interrupt at any point of it leaves the message either queued or not queued.
    * A message that ``withdraw`` removes from the queue is never sent.
    * ``ready`` takes no lock, so it is only a hint. After True, ``take`` may still return nothing. A False may be out
      of date, but not for a thread that has just put a message in.
    * Answers to calls of the server have a separate limit: they do not count for the limits of the user's messages, and
      no message of the user is dropped because of them.
    * ``hand_over`` takes no lock, for calls inside a critical section, as by a finalizer (see ``_threads.sections``).
      The next thread that acquires the lock (except in ``restore``) moves the message into the queue, before it adds or
      removes others.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .._errors import MessageTooBig, SendQueueFull, WebSocketClientError, copy_exception
from .._models import DeliveryState
from .._options import SendQueue
from .._threads.locks import make_lock
from .._threads.sections import this_thread
from .._threads.waiting import NEVER, Deadline, Notifier
from .message import CANCELLED, EXPIRED, LOST, MESSAGE_BYTES, Mark, Outgoing
from .pacing import TokenBucket
from .priority import MAX_ANSWERS

if TYPE_CHECKING:
    from .._options import Queue
    from .message import Answer

__all__ = ["MessageQueue"]

_SLACK = 64
"""Withdrawn messages that may stay in the queue, without their payload, before it is rebuilt without them."""


class MessageQueue:
    """Messages that wait to be written.

    They are taken in order, with one exception: if ``max_in_flight`` holds a request back, the answers to the server's
    calls behind this request are taken before it.

    Attributes:
        largest: the size in bytes of the largest message that is accepted; -1 if none is. Other classes only read it.
        entries: the messages in order, withdrawn ones included; other classes only check whether it is empty.
        handed_over: messages that were added without the lock, in order; they belong behind ``entries``. Other classes
            only check whether it is empty.
        answer_bytes: bytes of the queued answers to calls of the server, with ``MESSAGE_BYTES`` for each. The I/O
            thread reads it without the lock, so it may be stale.
        dropped: messages dropped because the queue was full.
    """

    __slots__ = ("_answers", "_bounds", "_lock", "_next_expiry", "_refusal", "_room", "_takes_marks", "_user_bytes",
                 "_user_messages", "answer_bytes", "dropped", "entries", "handed_over", "largest")  # fmt: skip

    def __init__(self, bounds: Queue) -> None:
        # Guards `queued` of every entry, and changes of all attributes below except `_room` and `handed_over`.
        # (`discarded_as` of an entry that is not in the queue is also assigned without this lock.)
        self._lock = make_lock()
        self._room = Notifier()
        self._bounds = bounds
        self.entries: deque[Outgoing] = deque()
        self.handed_over: dict[Outgoing, None] = {}  # a dict: a message is added, or taken out, by one atomic operation
        self._refusal: WebSocketClientError | None = None
        self.largest = bounds.max_bytes
        self._takes_marks = True
        self._next_expiry: float | None = None  # no message expires before this time
        self._user_messages = 0  # the queued messages that count for the limits: all but answers
        self._user_bytes = 0  # their payload bytes
        self._answers = 0
        self.answer_bytes = 0
        self.dropped = 0

    @property
    def messages(self) -> int:
        """The number of queued messages, answers included."""
        return self._user_messages + self._answers

    @property
    def bytes(self) -> int:
        """The payload bytes of the queued messages, answers included. Takes no lock, so the result is only a hint."""
        return self._user_bytes + max(0, self.answer_bytes - MESSAGE_BYTES * self._answers)

    def ready(self, requests: int) -> bool:
        """Return whether there may be something to take.

        Args:
            requests: how many requests may be taken.
        """
        try:
            head = self.entries[0]
        except IndexError:
            return bool(self.handed_over)
        return not (head.requests > max(requests, 0) and head.queued) or self._answers > 0

    @property
    def rate(self) -> float | None:
        """How many messages per second a connection sends at most; None for no limit."""
        return self._bounds.rate if isinstance(self._bounds, SendQueue) else None

    def make_bucket(self) -> TokenBucket | None:
        """Make the token bucket of a new connection; None if there is no limit."""
        bounds = self._bounds
        if not isinstance(bounds, SendQueue) or bounds.rate is None:
            return None
        return TokenBucket(bounds.rate, bounds.burst)

    def has_next(self, *, may_send: bool) -> bool:
        """Return whether ``take`` would remove something from the queue. Takes no lock, so the result is only a hint.

        Args:
            may_send: whether ``take`` may return a message. If not, it can remove only marks, the close frame,
                withdrawn messages and expired ones.
        """
        try:
            head = self.entries[0]
        except IndexError:
            return bool(self.handed_over)
        if may_send or not (head.counted and head.queued):
            return True
        return head.expires_at is not None and time.monotonic() >= head.expires_at

    def head_expiry(self) -> float:
        """Return when the oldest message expires, by the monotonic clock; infinity if it does not. Takes no lock, so
        the result is only a hint.
        """
        try:
            at = self.entries[0].expires_at
        except IndexError:
            return math.inf
        return math.inf if at is None else at

    def head_age(self, now: float) -> float:
        """Return the seconds since the oldest message was first queued; 0.0 if there is none. Takes no lock.

        Args:
            now: the time on the monotonic clock.
        """
        while True:
            try:
                for entry in self.entries:
                    if entry.queued and entry.counted:
                        return max(0.0, now - entry.queued_at)
                return max((now - entry.queued_at for entry in self.handed_over), default=0.0)
            except RuntimeError:  # another thread has changed the queue meanwhile
                continue

    @property
    def may_block(self) -> bool:
        """Whether a thread waits for room if the queue is full, according to its policy."""
        return self._bounds.overflow == "block"

    @property
    def over_half_full(self) -> bool:
        """Whether the queue is more than half full."""
        bounds = self._bounds
        return 2 * self._user_messages > bounds.max_messages or 2 * self._user_bytes > bounds.max_bytes

    def put(self, entry: Outgoing, deadline: Deadline, evicted: list[Outgoing], *, may_wait: bool = True) -> None:
        """Queue a message.

        Args:
            entry: the message.
            deadline: until when to wait for room where the policy is ``"block"``.
            evicted: receives the messages that ``"drop_oldest"`` removed; an argument and not a result, so that an
                interrupt can't lose them.
            may_wait: if False, raise ``SendQueueFull`` instead of waiting for room.

        Raises:
            MessageTooBig: it would not fit into an empty queue.
            SendQueueFull: there is no room, and the policy or ``may_wait`` permits no wait, or the deadline has passed.
            ClientClosed: the queue accepts no more messages.
        """
        if entry.size > self._bounds.max_bytes:
            raise self._too_big(entry)
        while not self._try_put(entry, evicted):
            if self._bounds.overflow == "drop_newest":
                return
            if self._bounds.overflow == "raise" or not may_wait or deadline.passed(time.monotonic()):
                raise self._full()
            with self._room.watch() as latch:
                if self._refusal is None and self._is_full(entry):
                    latch.wait(deadline.sooner(Deadline(self._next_expiry)))

    def hand_over(self, entry: Outgoing) -> None:
        """Queue a message without the lock, for calls inside a critical section (see ``_threads.sections``).

        If several threads hand over messages at the same moment, the limits may be exceeded by these messages.

        Args:
            entry: the message. If there is no room, the policy decides. With ``"drop_newest"`` the message becomes
                ``lost``. With ``"drop_oldest"`` it is added to ``handed_over``, which has limits of the same size as
                those of the queue, and the next ``put`` drops older messages.

        Raises:
            MessageTooBig, ClientClosed: as ``put``.
            SendQueueFull: no room, also with the policy ``"block"``; with ``"drop_newest"`` and ``"drop_oldest"`` only
                if ``handed_over`` has reached its own limits.
        """
        bounds, handed = self._bounds, list(self.handed_over)
        if entry.size > bounds.max_bytes:
            raise self._too_big(entry)
        size = sum(one.size for one in handed) + entry.size
        messages = self._user_messages + len(handed)
        is_full = messages >= bounds.max_messages or self._user_bytes + size > bounds.max_bytes
        is_flooded = len(handed) >= bounds.max_messages or size > bounds.max_bytes
        if is_flooded or (is_full and bounds.overflow in ("block", "raise")):
            raise self._full()
        if is_full and self._bounds.overflow == "drop_newest":
            entry.discarded_as = LOST
        entry.queued_at = time.monotonic()
        self.handed_over[entry] = None
        # Checked after the assignment, since ``seal`` first sets the refusal and then takes what was handed over. Each
        # value of ``handed_over`` is None, so ``pop`` returns None only if no other thread has taken the entry.
        if self._refusal is not None and self.handed_over.pop(entry, self) is None:
            self.check_open()

    def check_open(self) -> None:
        """Check, without the lock, that the queue accepts messages.

        Raises:
            ClientClosed: it does not.
        """
        refusal = self._refusal
        if refusal is not None:
            raise copy_exception(refusal) from refusal.__cause__

    def put_answer(self, entry: Answer) -> None:
        """Queue an answer to a call of the server; wait while answers of ``2 * MAX_ANSWERS`` bytes are queued.

        Raises:
            MessageTooBig, ClientClosed: as ``put``.
        """
        if entry.size > self._bounds.max_bytes:
            raise self._too_big(entry)
        while not self._try_put(entry, []):
            with self._room.watch() as latch:
                if self._refusal is None and self._is_full(entry):
                    latch.wait(NEVER)  # until answers are sent, the connection ends, or the client ends

    def put_first(self, mark: Mark, *, behind_own: bool = False) -> None:
        """Queue a mark before everything that is queued. It does not count for the limits.

        Args:
            mark: the mark.
            behind_own: queue it behind the messages that only the connection of this mark may send, if there are any.

        Raises:
            ClientClosed: the queue accepts no more messages, and no marks.
        """
        with this_thread.section, self._lock:
            if self.handed_over:
                self._take_handed_over()
            refusal = None if self._takes_marks else self._refusal
            if refusal is None:
                numbers = [entry.connection_number for entry in self.entries] if behind_own else []
                numbers.reverse()
                own = mark.connection_number
                place = len(numbers) - numbers.index(own) if own in numbers else 0
                mark.queued = True
                self.entries.insert(place, mark)
                return
        raise copy_exception(refusal) from refusal.__cause__

    def _try_put(self, entry: Outgoing, evicted: list[Outgoing]) -> bool:
        """Queue a message; with ``"drop_oldest"``, drop older ones if there is no room. Return False if there is still
        no room; with ``"drop_newest"`` the message is then ``lost``.
        """
        with this_thread.section, self._lock:
            if self.handed_over:
                self._take_handed_over()
            if self._refusal is None or (self._takes_marks and not entry.counted):
                if not entry.counted:
                    entry.queued = True
                    self.entries.append(entry)
                    return True
                if not self._is_full(entry) or (not entry.is_answer and self._makes_room(entry, evicted)):
                    if entry.expires_at is not None:
                        self._note_expiry(entry)
                    entry.queued_at = time.monotonic()
                    # Of the next steps only the last one is a call, so an interrupt leaves correct counts.
                    if entry.is_answer:
                        self._answers += 1
                        self.answer_bytes += entry.size + MESSAGE_BYTES
                    else:
                        self._user_messages += 1
                        self._user_bytes += entry.size
                    entry.queued = True
                    self.entries.append(entry)
                    return True
                if self._bounds.overflow == "drop_newest" and not entry.is_answer:
                    self.dropped += 1
                    entry.discarded_as = LOST
                return False
            refusal = self._refusal
        raise copy_exception(refusal) from refusal.__cause__

    def _take_handed_over(self) -> None:
        """Move the messages that were handed over into the queue. After an interrupt, each message is either in
        ``handed_over`` or in the queue, never in both.
        """
        for entry in list(self.handed_over):
            if entry.discarded_as is not None:
                del self.handed_over[entry]
                self.dropped += 1
                continue
            self._note_expiry(entry)
            # The next lines call nothing, so an interrupt occurs before or after them.
            self.entries += (entry,)
            del self.handed_over[entry]
            entry.queued = True
            self._user_messages += 1
            self._user_bytes += entry.size

    def _too_big(self, entry: Outgoing) -> MessageTooBig:
        return MessageTooBig(
            f"The message has {entry.size} bytes and the send queue takes at most {self._bounds.max_bytes}; "
            "raise max_bytes of send_queue=."
        )

    def _is_full(self, entry: Outgoing) -> bool:
        if entry.is_answer:
            return self._answers > 0 and self.answer_bytes + entry.size > 2 * MAX_ANSWERS
        bounds = self._bounds
        return self._user_messages >= bounds.max_messages or self._user_bytes + entry.size > bounds.max_bytes

    def _note_expiry(self, entry: Outgoing) -> None:
        at = entry.expires_at
        if at is not None and (self._next_expiry is None or at < self._next_expiry):
            self._next_expiry = at

    def _makes_room(self, entry: Outgoing, evicted: list[Outgoing]) -> bool:
        """Drop other messages as the policy permits; return whether there is room then."""
        self._expire_old()
        if self._is_full(entry) and self._bounds.overflow == "drop_oldest":
            self._evict(entry, evicted)
        return not self._is_full(entry)

    def _expire_old(self) -> None:
        """Drop the messages that have expired."""
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
        """Drop the oldest messages until there is room. Marks and answers stay, since the limits do not count them."""
        unqueued = 0
        for older in self.entries:
            if not self._is_full(entry):
                break
            if older.queued and older.counted and not older.is_answer:
                evicted.append(older)
                self._drop(older, LOST)
                self.dropped += 1
            unqueued += not older.queued
        while self.entries and not self.entries[0].queued:
            del self.entries[0]
            unqueued -= 1
        if unqueued > _SLACK:
            self.entries = deque([kept for kept in self.entries if kept.queued])

    def _full(self) -> SendQueueFull:
        return SendQueueFull(
            f"The send queue is full: {self.messages} messages, {self.bytes} bytes. Send less, wait longer with "
            "timeout=, or give send_queue= more room."
        )

    def take(self, max_bytes: int, requests: int | None, messages: int | None = None) -> list[Outgoing]:
        """Remove and return messages from the front, for the writer.

        Args:
            max_bytes: stop at this many payload bytes; a single larger message is returned alone.
            requests: how many of them may be requests; None for any number.
            messages: how many messages to take at most; marks and the close frame do not count. None for any number.
        """
        batch: list[Outgoing] = []
        total = 0
        with this_thread.section, self._lock:
            if self.handed_over:
                self._take_handed_over()
            entries = self.entries
            while entries:
                entry = entries[0]
                if batch and total + entry.size > max_bytes:
                    break
                if entry.expires_at is not None and entry.queued and time.monotonic() >= entry.expires_at:
                    entries.popleft()
                    self._drop(entry, EXPIRED)
                    continue
                if entry.queued and requests is not None and entry.requests > max(requests, 0):
                    if self._answers and (messages is None or messages > 0):
                        batch += self._take_answers(max_bytes - total, messages)
                    break
                if messages is not None and entry.queued and entry.counted:
                    if messages < 1:
                        break
                    messages -= 1
                entries.popleft()
                if not entry.queued:
                    continue
                if requests is not None:
                    requests -= entry.requests
                entry.queued = False
                entry.discarded_as = None
                if entry.is_answer:
                    self._answers -= 1
                    self.answer_bytes -= entry.size + MESSAGE_BYTES
                elif entry.counted:
                    self._user_messages -= 1
                    self._user_bytes -= entry.size
                batch.append(entry)
                total += entry.size
        self._room.announce()
        return batch

    def _take_answers(self, max_bytes: int, messages: int | None) -> list[Outgoing]:
        """Remove and return answers from behind a request that ``max_in_flight`` holds back, since the server may wait
        for these answers before it replies to a request in flight. The caller holds the lock.

        Args:
            max_bytes: stop at this many payload bytes, but not before the first answer.
            messages: how many; None for any number.
        """
        taken: list[Outgoing] = []
        for entry in self.entries:
            if not entry.queued or not entry.is_answer:
                continue
            if taken and (entry.size > max_bytes or len(taken) == messages):
                break
            max_bytes -= entry.size
            entry.queued = False
            entry.discarded_as = None
            self._answers -= 1
            self.answer_bytes -= entry.size + MESSAGE_BYTES
            taken.append(entry)
        gone = set(taken)
        self.entries = deque([kept for kept in self.entries if kept not in gone])
        return taken

    def withdraw(self, entry: Outgoing, discarded_as: DeliveryState = LOST) -> bool:
        """Remove a message from the queue; True if it was still queued, so that it will never be sent.

        Args:
            entry: the message.
            discarded_as: its final state.
        """
        with this_thread.section, self._lock:
            if self.handed_over:
                self._take_handed_over()
            if not entry.queued:
                return False
            self._drop(entry, discarded_as)
            if len(self.entries) > 2 * self.messages + _SLACK:
                self.entries = deque([kept for kept in self.entries if kept.queued])
        self._room.announce()
        return True

    def clear(self, removed: list[Outgoing]) -> None:
        """Remove all messages; they become ``cancelled``. Marks, the close frame, and answers to calls of the server
        stay.

        Args:
            removed: receives the messages; an argument and not a result, so that an interrupt can't lose them.
        """
        with this_thread.section, self._lock:
            if self.handed_over:
                self._take_handed_over()
            self._expire_old()
            for entry in self.entries:
                if entry.queued and entry.counted and not entry.is_answer:
                    removed.append(entry)
                    self._drop(entry, CANCELLED)
            self.entries = deque([kept for kept in self.entries if kept.queued])
        self._room.announce()

    def expire(self, entry: Outgoing) -> None:
        """Drop a message as ``expired`` if it is still queued and its time has passed."""
        if entry.expires_at is None or not (entry.queued or entry in self.handed_over):
            return
        with this_thread.section, self._lock:
            if self.handed_over:
                self._take_handed_over()
            if entry.queued and time.monotonic() >= entry.expires_at:
                self._drop(entry, EXPIRED)
        self._room.announce()

    def restore(self, entries: Iterable[Outgoing]) -> None:
        """Put messages that were not written completely back to the front, in order. May exceed the limits."""
        now = time.monotonic()
        with this_thread.section, self._lock:
            for entry in reversed(list(entries)):
                entry.queued_at = entry.queued_at or now
                self._user_messages += entry.counted
                self._user_bytes += entry.size if entry.counted else 0
                entry.position = None
                entry.queued = True
                self._note_expiry(entry)
                self.entries.appendleft(entry)

    def has_message_of(self, number: int) -> bool:
        """Return whether a message is queued that only the connection with this number may send."""
        with this_thread.section, self._lock:
            if self.handed_over:
                self._take_handed_over()
            return any(entry.queued and entry.connection_number == number for entry in self.entries)

    def remove_unsendable(self, number: int | None) -> list[Outgoing]:
        """Remove the messages that no connection will send; they are ``lost``.

        Args:
            number: the number of the connection that ended; its messages are removed. None removes all messages.

        Returns:
            The messages removed.
        """
        with this_thread.section, self._lock:
            if self.handed_over:
                self._take_handed_over()
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

    def seal(self, error: WebSocketClientError, *last: Outgoing, takes_marks: bool = False) -> None:
        """Close the queue: ``put`` raises this error, also in threads that wait for room. A later call replaces the
        error.

        Args:
            error: the error.
            last: messages to queue behind all others, in this order.
            takes_marks: whether the client's own marks may still be queued.
        """
        with this_thread.section, self._lock:
            self._takes_marks = takes_marks
            self._refusal = error
            self.largest = -1
            if self.handed_over:
                self._take_handed_over()
            for entry in last:
                if entry.counted:
                    self._user_messages += 1
                    self._user_bytes += entry.size
                entry.queued_at = time.monotonic()
                entry.queued = True
                self.entries.append(entry)
        self._room.announce()

    def _drop(self, entry: Outgoing, discarded_as: DeliveryState) -> None:
        """Record that an entry is removed and not sent. It only assigns, so an interrupt can't leave it half done."""
        entry.queued = False
        entry.discarded_as = discarded_as
        entry.payload = None
        if entry.is_answer:
            self._answers -= 1
            self.answer_bytes -= entry.size + MESSAGE_BYTES
        elif entry.counted:
            self._user_messages -= 1
            self._user_bytes -= entry.size
