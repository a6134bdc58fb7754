"""Writes the messages of one connection: from the queue to the socket.

Guarantees:
    * One thread at a time holds the write lock. Senders do not wait for it, except in ``flush_under_pressure``. A
      thread that fails to acquire the lock leaves its message queued, and the writer checks the queue again after it
      has released the lock. So every queued message is written.
    * Any thread may write, but only one at a time, so the byte order is well defined. Ids are assigned here, so they
      increase in the order of writing.
    * A message is written without the queue only if the queue is empty (``write_now``), so the messages of a thread
      keep their order.
    * A full socket stops all writes (``blocked``) and wakes the I/O thread, which writes again when there is room.
    * With ``SendQueue(rate=)`` each message, but no control frame, takes a token (``bucket``). No thread waits for a
      token: the message stays queued, and the I/O thread wakes and writes it at the time of the next token. The same
      holds for messages that ``pause_sending()`` holds back: the I/O thread writes them at the end of the pause.
    * After ``end`` nothing more is written, and no thread is writing.

``flush`` must not run in the main thread: a KeyboardInterrupt during it could leave the write lock acquired, or bytes
written and not counted. So the main thread leaves its messages queued and wakes the I/O thread. The exception is a
message that was not queued and may be written alone (see ``Sender``). The code that writes it (``_write_alone``) leaves
valid data after an interrupt. An interrupt can be raised when a call of C code returns, and the result of the call
is then lost. So results that must not be lost are stored by C code (``list.extend(map(...))``). Related values change
by assignments, between which no interrupt occurs. The next thread that holds the write lock completes what an interrupt
left undone.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol

from .._rfc6455.deflate import CompressionStopped
from .._rfc6455.frames import RSV1, Opcode, build_frame
from .._threads.locks import make_lock
from .._threads.sections import this_thread
from .._threads.waiting import Deadline
from .message import Mark, Outgoing, PayloadTarget, WriteProgress
from .pings import MAX_PINGS, Answered, Pings
from .priority import MAX_ANSWERS, Urgent

if TYPE_CHECKING:
    from .._models import Disconnect
    from .._network.transport import Transport
    from .._rfc6455.deflate import Deflater
    from .._stats import Counters
    from .._threads.waiting import Notifier
    from ..protocols import Protocol as MessageProtocol
    from .pacing import Pause, TokenBucket
    from .queue import MessageQueue

__all__ = ["WireTap", "Writer", "WriterBackend"]

JOINED_BYTES: Final = 64 * 1024
"""How many payload bytes are joined into one write. A higher limit would only copy more bytes, and on a slow connection
urgent messages would wait longer."""

_ROUNDS: Final = 16
"""After this many writes a caller's thread leaves the other messages to the I/O thread and returns."""

_MOMENT: Final = 0.05
"""How many seconds a sender waits for the write lock if the queue is more than half full: ten switch intervals of the
interpreter, of 5 ms each."""

_PING: Final = Opcode.PING
_CLOSE: Final = Opcode.CLOSE
"""Looked up once: access to an enum member costs more than the comparison that uses it."""

_NEVER: Final = 2**63
"""An offset that no connection reaches."""

_NOTHING: Final = memoryview(b"")
"""What is left of a frame that was sent completely. An empty slice of the frame would keep the frame in memory."""


class WriterBackend(PayloadTarget, Protocol):
    """The part of the client that a writer uses; see ``_connection.backend.ClientBackend`` for the attributes."""

    queue: MessageQueue
    pause: Pause
    bucket: TokenBucket | None
    changes: Notifier
    counters: Counters
    protocol: MessageProtocol
    nudge: Callable[[bytes], object]

    def ready(self) -> bool:
        """For a queue that is not empty: return whether ``max_in_flight`` permits to write its first message. Takes no
        lock, so the result is only a hint.
        """

    def take(self, max_bytes: int, messages: int | None = None) -> list[Outgoing]:
        """Take the messages that are written next; the arguments are those of ``MessageQueue.take``."""

    def has_room_for(self, entry: Outgoing) -> bool:
        """Return whether ``max_in_flight`` permits the requests of a message to be in flight."""

    def wake(self) -> None:
        """Wake the I/O thread."""

    def wake_by(self, deadline: Deadline) -> None:
        """Wake the I/O thread if its present wait would end after this deadline."""

    def is_wanted(self) -> bool:
        """Return whether a message can still be sent. False after the deadline of ``close()``; compressing a message
        would then be useless.
        """


class WireTap(Protocol):
    """Records the messages of one connection; see ``_connection.backend.RecordingTap``."""

    def received(self, opcode: Opcode, payload: Any) -> None:
        """Record a message or control frame that was received."""

    def lost(self, disconnect: Disconnect) -> None:
        """Record that the connection has ended."""

    def heartbeat(self, entry: Outgoing) -> None:
        """Called with a heartbeat that is about to be sent."""

    def taken(self, entry: Outgoing, payload: bytes) -> None:
        """Called with a message that is being framed."""

    def accepted(self, batch: list[Outgoing]) -> bool:
        """Record that the operating system has accepted more bytes of these messages. False if writing must pause
        until the I/O thread has written the recording.
        """


class Writer:
    """Writes the messages of one connection, on the calling thread.

    Attributes:
        write_progress: the write progress of the connection.
        bucket: limits the messages per second; None if there is no limit. Only the writer changes it.
        blocked: whether writing has stopped: the socket is full, and the I/O thread waits for room in it; or the I/O
            thread must first write the recording.
        error: why writing failed; the I/O thread then ends the connection.
        tap: records what is sent and received; None if that is not recorded.
        pause: until when queued messages and the requests of subscriptions are held back.
        is_open: whether queued messages may be written. False before the connection is set up, after a renewal has
            replaced it, after a close frame, and after ``end``.
        is_uncompressed_tcp: whether frames go directly to the socket: without compression, TLS or a recording.
        rest: bytes of the last batch that the operating system has not accepted. Other classes only check whether it
            is empty.
        urgent: messages that are sent before the queue; the I/O thread adds, the writer removes.
    """

    __slots__ = (
        "_backend",
        "_batch",
        "_deflater",
        "_is_closing",
        "_is_ending",
        "_pings",
        "_transport",
        "_write_lock",
        "blocked",
        "bucket",
        "error",
        "is_open",
        "is_uncompressed_tcp",
        "pause",
        "rest",
        "tap",
        "urgent",
        "write_progress",
    )  # fmt: skip

    def __init__(
        self, transport: Transport, backend: WriterBackend, deflater: Deflater | None = None, tap: WireTap | None = None
    ) -> None:
        """
        Args:
            transport: the transport to which bytes are written.
            backend: the client, which supplies messages.
            deflater: compresses them; None if compression was not negotiated.
            tap: records what is sent and received.
        """
        self._is_ending = False  # whether `end` was called; the compression of a large message then stops
        self.write_progress = WriteProgress(backend.number)
        self.pause = backend.pause
        self.bucket = backend.bucket
        self.blocked = False
        self.error: OSError | None = None
        self.is_open = False
        self.is_uncompressed_tcp = transport.is_plain and deflater is None and tap is None
        self.tap = tap
        self._transport = transport
        self._backend = backend
        # Guards all attributes below; `Urgent` and `Pings` also have guarantees of their own. No thread waits for it,
        # except in `end`, `wait_for_writer`, `take_subscriptions` and `flush_under_pressure`.
        self._write_lock = make_lock()
        self._deflater = deflater  # used in the order of writing, since it has state across messages
        self._is_closing = False  # whether a close frame was framed
        self.urgent = Urgent()
        self._batch: list[Outgoing] = []  # the messages whose bytes are being written
        self.rest: bytes | memoryview = _NOTHING
        self._pings = Pings()  # the writer adds, the I/O thread removes

    # --- any thread --------------------------------------------------------------------------------------------------

    def write_now(self, entry: Outgoing, alone: bool, in_main: bool) -> bool:
        """Write a message that was not queued, if nothing must be written before it.

        Args:
            entry: the message.
            alone: whether it may be written alone, see ``Sender``.
            in_main: whether this is the main thread; if it is, ``alone`` is True.

        Returns:
            False if it must be queued. True if it was taken; it may not be written completely yet.
        """
        backend = self._backend
        queue = backend.queue
        owned: list[bool] = []
        try:
            with this_thread.section:
                try:
                    owned.extend(map(self._write_lock.acquire, (False,)))
                    may_write = (
                        owned[0]
                        and self.is_open
                        and not (self.blocked or self.rest or self.urgent.entries)
                        and self.error is None
                        and ((self.bucket is None and not self.pause.ends) or self._may_send())
                        # Messages that other threads queue after this check are not older than this one.
                        and not (queue.entries or queue.handed_over)
                        and entry.size <= queue.largest
                        and (backend.protocol.max_in_flight is None or backend.has_room_for(entry))
                    )
                    if may_write and alone:
                        self._write_alone(entry)
                    elif may_write:
                        self._write_batch(deque((entry,)), MAX_PINGS)
                finally:
                    if owned and owned[0]:
                        self._write_lock.release()
        finally:
            # Another thread may have failed to acquire the write lock and left its message queued; other threads may be
            # waiting in `changes` for bytes to be written.
            left = queue.entries or queue.handed_over or self.rest or self.urgent.entries or backend.changes.latches
            if left and owned and owned[0]:
                if not in_main:
                    backend.changes.announce()
                    self.flush()
                else:
                    try:
                        backend.nudge(b"\0")  # one call of C code, without an interrupt before it
                    except OSError as error:  # a wake-up is pending, so the I/O thread is awake
                        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
                            raise  # it was raised in another function: in a signal handler
        return may_write

    def _write_alone(self, entry: Outgoing) -> None:
        """Frame one message and write it once. An interrupt may occur at any point, see the module's docstring."""
        progress = self.write_progress
        payload = entry.payload_for(self._backend)
        if payload is None:
            return  # it must not be written, see `Outgoing.payload_for`
        frame = build_frame(entry.opcode, payload)
        size = len(frame)
        position = progress, progress.taken + size
        batch = [*self._batch, entry]  # an interrupt may have left messages that are not counted yet
        sent: list[int] = []
        sending = map(self._transport.sock.send, (frame,))
        if self.bucket is not None:
            self.bucket.take(time.monotonic())
        entry.position = position
        progress.taken = position[1]
        self._batch = batch
        self.rest = frame
        try:
            sent.extend(sending)
        except OSError as error:
            if sent:
                raise  # raised by a signal handler
            if isinstance(error, BlockingIOError):
                self.blocked = True
            else:
                self.error = error
            self._backend.wake()
        finally:
            if sent:
                progress.sent += sent[0]
                self.rest = _NOTHING if sent[0] == size else frame[sent[0] :]
        if self.rest is _NOTHING:
            self._count(batch)

    def _count(self, batch: list[Outgoing]) -> None:
        """Count messages that the operating system has accepted completely. Each is removed from the list when it is
        counted, also if a KeyboardInterrupt is raised.
        """
        counters = self._backend.counters
        while batch:
            entry = batch[-1]
            if not entry.requests:
                entry.payload = None
            counters.messages_sent += entry.counted
            counters.bytes_sent += entry.size * entry.counted
            del batch[-1]

    # --- any thread but the main one ---------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what is queued, until the socket is full."""
        for _ in range(_ROUNDS):
            if not self.has_work():
                if self.bucket is not None or self.pause.ends:
                    self.continue_later()
                return
            with this_thread.section:
                if not self._write_lock.acquire(False):
                    return
                try:
                    self._write()
                finally:
                    self._write_lock.release()
            if self._backend.changes.latches:
                self._backend.changes.announce()
        self._backend.wake()

    def flush_under_pressure(self) -> None:
        """Wait a short time for the thread that is writing, then write what is queued."""
        with this_thread.section:
            acquired = self._write_lock.acquire(timeout=_MOMENT)
            if acquired:
                self._write_lock.release()
        if acquired:
            self.flush()

    def has_work(self) -> bool:
        """Return whether there may be something to write now. Takes no lock, so the result is only a hint; see
        ``MessageQueue.ready``.
        """
        backend = self._backend
        queue = backend.queue
        if not (queue.entries or queue.handed_over or self.rest or self.urgent.entries):
            return False
        if self.blocked or self.error is not None or self.write_progress.ended:
            return False
        if self.rest or self._is_closing:
            return bool(self.rest)
        if self.bucket is not None or self.pause.ends:
            has_token, is_paused = self._has_token(), self._is_paused()
            return self.urgent.has_next(has_token=has_token, is_paused=is_paused) or (
                self.is_open and queue.has_next(may_send=has_token and not is_paused) and backend.ready()
            )
        return bool(self.urgent.entries) or (
            self.is_open and bool(queue.entries or queue.handed_over) and backend.ready()
        )

    def _has_token(self) -> bool:
        """Return whether the rate permits a message now."""
        return self.bucket is None or time.monotonic() >= self.bucket.ready_at

    def _is_paused(self) -> bool:
        """Return whether ``pause_sending()`` holds messages back now."""
        now = time.monotonic()
        return self._pause_end(now) > now

    def _pause_end(self, now: float) -> float:
        """Return when the pause ends; ``now`` if sending is not paused. If the pause is over and this connection is
        open, also forget the pause: this writer then writes the queue (see ``Pause.end_or_forget``).
        """
        return self.pause.end_or_forget(now) if self.is_open else self.pause.ends_at(now)

    def _may_send(self) -> bool:
        """Return whether a message of the queue may be written now."""
        return self._has_token() and not self._is_paused()

    def continues_at(self, now: float) -> float:
        """Return when to check whether a message that waits for a token, or for the end of a pause, can be written;
        infinity if none waits. Takes no lock, so the result is only a hint, as for ``has_work``.

        Args:
            now: the time on the monotonic clock.
        """
        bucket, queue = self.bucket, self._backend.queue
        if self.blocked or not (self.urgent.entries or (self.is_open and (queue.entries or queue.handed_over))):
            return math.inf
        later = [at for at in (now if bucket is None else bucket.ready_at, self._pause_end(now)) if at > now]
        # A message that expires before that is dropped at its expiry, since a drain, or the mark behind the message,
        # waits until the message is out of the queue.
        expiry = queue.head_expiry() if later and self.is_open else math.inf
        if later and expiry > now:
            return min(*later, expiry)
        # A thread that holds the write lock checks for work after it has released the lock.
        return now if self.has_work() and not self._write_lock.locked() else min(later, default=math.inf)

    def continue_later(self) -> None:
        """Make sure that the I/O thread continues when a message that waits for a token, or for the end of a pause, can
        be written. A thread that has queued a message calls this if there is no work for it (``has_work``).
        """
        now = time.monotonic()
        at = self.continues_at(now)
        if at <= now:
            # Not `wake_by`: while the I/O thread runs, `Commands.sleeps_until` may still be the end of its last wait, a
            # time in the past, and `wake_by` then does nothing. The next wait could be too long: if this thread has
            # just forgotten the pause (`_pause_end`), the I/O thread no longer ends its wait for it.
            self._backend.wake()
        elif at < math.inf:
            self._backend.wake_by(Deadline(at))

    def _write(self) -> None:
        """Take the next batch if the last one is written, and write once."""
        if self.write_progress.ended:  # it ended between `has_work` and the acquisition of the write lock
            return
        if self.rest:
            self._send()
        else:
            recognised = 2 * MAX_PINGS if self.urgent.entries else MAX_PINGS
            self._write_batch(deque(self._next_entries()), recognised)

    def _write_batch(self, entries: deque[Outgoing], recognised: int) -> None:
        """Frame these messages and write once. If a frame can't be made, the connection fails.

        Args:
            entries: the messages; each one is removed from the deque when it is framed.
            recognised: how many pings may be unanswered. A further ping is sent, but its pong is not recognised, unless
                a thread waits for it (see ``Pings.add``).
        """
        try:
            self._frame(entries, recognised)
        except CompressionStopped:
            self._break("the connection ended while a large message was compressed", entries)
        except BaseException:  # MemoryError, for example: frames are missing, so the byte stream is broken
            self._break("a frame could not be made", entries)
            raise
        else:
            self._send()

    def _send(self) -> None:
        """Write what has been framed, as far as the socket accepts it without waiting."""
        rest = self.rest
        if rest:
            try:
                sent = self._transport.send(rest)
            except OSError as error:
                self.error = error
                self._backend.wake()
                return
            if not sent:
                self.blocked = True
                self._backend.wake()
                return
            self.write_progress.sent += sent
            rest = self.rest = memoryview(rest)[sent:] or _NOTHING
            if self.tap is not None and not self.tap.accepted(self._batch):
                self.blocked = True  # the socket has room, but the I/O thread must first write the recording
                self._backend.wake()
        if not rest:
            self._count(self._batch)

    def _break(self, reason: str, entries: Iterable[Outgoing]) -> None:
        """Fail the connection. ``end`` returns these messages, like each message that was not written completely."""
        for entry in entries:
            entry.put_on(self.write_progress, _NEVER)
            self._batch.append(entry)
        self.error = ConnectionError(reason)
        self._backend.wake()

    def _frame(self, entries: deque[Outgoing], recognised: int) -> None:
        """Make frames of the entries; arguments as for ``_write_batch``."""
        frames: list[bytes] = []
        progress, backend, is_uncompressed = self.write_progress, self._backend, self._deflater is None
        bucket = self.bucket
        while entries:
            entry = entries[0]
            payload = entry.payload_for(backend)
            opcode = entry.opcode
            if payload is not None:
                if self.tap is not None:
                    self.tap.taken(entry, payload)
                if bucket is not None and entry.counted:
                    bucket.take(time.monotonic())
                frame = build_frame(opcode, payload) if is_uncompressed else self._deflated(entry, payload)
                frames.append(frame)
                progress.taken += len(frame)
                if opcode is _PING:
                    mark = entry if type(entry) is Mark else None
                    self._pings.add(payload, progress.taken, time.monotonic(), most=recognised, mark=mark)
            elif entry.counted or entry.discarded_as is not None:
                entries.popleft()
                continue  # it must not be written, see `Outgoing.payload_for`
            if entry.members:
                entry.put_on(progress, progress.taken)
            else:
                entry.position = progress, progress.taken
            self._batch.append(entry)
            entries.popleft()
            if opcode is _CLOSE:  # nothing may follow it (RFC 6455 §5.5.1)
                self.is_open = False
                self._is_closing = True
                self.urgent.put_back(entries)
                break
        self.rest = memoryview(frames[0] if len(frames) == 1 else b"".join(frames))

    def _deflated(self, entry: Outgoing, payload: bytes) -> bytes:
        """Return a frame, compressed if the payload is large enough."""
        deflater, opcode = self._deflater, entry.opcode
        if deflater is not None and len(payload) >= deflater.threshold and opcode < _CLOSE:
            return build_frame(opcode | RSV1, deflater.compress(payload, self._is_wanted))
        return build_frame(opcode, payload)

    def _is_wanted(self) -> bool:
        """Return whether the message that is being compressed can still be sent."""
        return not self._is_ending and self._backend.is_wanted()

    def _next_entries(self) -> list[Outgoing]:
        if self._is_closing:
            return []
        if self.bucket is not None or self.pause.ends:
            allowed = None if self.bucket is None else self.bucket.allowed(time.monotonic())
            is_paused = self._is_paused()
            urgent = self.urgent.take_next(has_token=allowed != 0, is_paused=is_paused)
            if urgent or not self.is_open:
                return urgent
            return self._backend.take(JOINED_BYTES, 0 if is_paused else allowed)
        if not self.urgent.entries:
            return self._backend.take(JOINED_BYTES) if self.is_open else []
        return self.urgent.take()

    # --- the I/O thread ----------------------------------------------------------------------------------------------

    def send_first(self, entry: Outgoing) -> bool:
        """Send a message before the messages of the queue (see ``Urgent``).

        Returns:
            False if the message is dropped, since nothing may follow a close frame.
        """
        if self._is_closing and not entry.requests:
            return False
        self.urgent.put(entry)  # after a close frame a request is not sent, but returned by `end`
        self.flush()
        return True

    @property
    def is_flooded_by_answers(self) -> bool:
        """Whether too many bytes of answers to the peer's messages are queued, since the peer reads too slowly or
        ``rate=`` delays them.
        """
        is_delayed = self.blocked or self.bucket is not None
        return is_delayed and self.urgent.bytes + self._backend.queue.answer_bytes > MAX_ANSWERS

    def unblock(self) -> None:
        """Write again, since the socket has room."""
        self.blocked = False
        self.flush()

    def wait_for_writer(self) -> None:
        """Wait until the thread that is writing has counted what it wrote.

        This takes at most one non-blocking ``send()``, and the encoding and compression of the messages before it.
        """
        with this_thread.section, self._write_lock:
            pass
        self.flush()  # a thread may have failed to acquire the lock meanwhile, and left its message queued

    def take_subscriptions(self) -> list[Outgoing]:
        """Remove and return the requests of subscriptions that no thread has begun to write."""
        with this_thread.section, self._write_lock:
            return self.urgent.take_subscriptions()

    def idle(self) -> bool:
        """Return whether everything that was taken is written, and write what is queued. If another thread is writing,
        do nothing and return False: the I/O thread checks again later.
        """
        with this_thread.section:
            if not self._write_lock.acquire(False):
                return False
            try:
                is_idle = self.write_progress.sent >= self.write_progress.taken
            finally:
                self._write_lock.release()
        self.flush()  # a thread may have failed to acquire the lock just now, and left its message queued
        return is_idle

    def pong(self, payload: bytes, now: float) -> Answered | None:
        """Confirm all messages that were sent before the ping that a pong answers. None if it answers no known ping."""
        answered = self._pings.answer(payload, now)
        if answered is not None:
            self.write_progress.confirm(answered.end)
        return answered

    def forget_ping(self, payload: bytes) -> None:
        """Called when no thread waits for the pong with this payload. Any thread."""
        self._pings.forget(payload)

    def end(self) -> list[Outgoing]:
        """Stop writing permanently.

        Returns:
            The messages that were not written to their last byte, in order; the peer can't have received them.
        """
        self._is_ending = True
        with (
            this_thread.section,
            self._write_lock,
        ):  # a thread holds it for one non-blocking send(), after encoding and compression
            written = [entry for entry in self._batch if entry.is_written()]
            cut = [entry for entry in self._batch if not entry.is_written()] + self.urgent.take()
            self._count(written)
            self.write_progress.ended = True
            self.is_open = False
            self._batch = []
            self.rest = _NOTHING
        return cut
