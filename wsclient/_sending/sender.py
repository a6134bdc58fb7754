"""Decides which thread writes a message: the thread that sends it, or the I/O thread.

Guarantees:
    * Any thread may call a ``Sender``. It has no lock: the queue and each ``Writer`` have their own.
    * A message that is not written at once stays in the queue. The I/O thread is woken to write it, or writes it when
      the connection opens or the socket has room.
    * ``Pace`` may allow two threads to write where one write would be enough. The only cost is one more write.
"""

from __future__ import annotations

import time
from threading import get_ident
from typing import TYPE_CHECKING, Final

from .._threads.waiting import Notifier
from .pacing import Pause

if TYPE_CHECKING:
    from .._threads.commands import Commands
    from .._threads.guard import Guard
    from .message import Outgoing
    from .queue import MessageQueue
    from .writer import Writer

__all__ = ["BURST", "SMALL", "WINDOW", "Pace", "Sender"]

BURST: Final = 4
"""How many messages are written immediately in each window of time (``WINDOW``). Not the ``burst`` of ``SendQueue``."""

WINDOW: Final = 0.001
"""The length of a window of time, in seconds. 4 writes of about 10 µs in 1 ms take at most 5 % of a thread's time."""

SMALL: Final = 4 * 1024
"""A message with at most this many bytes is small. For larger ones, the copy that the operating system makes costs more
than the call of ``send()``."""


class Pace:
    """Allows a few writes in every window of time. Beyond that, the I/O thread joins small messages into a few large
    writes, which cost less.
    """

    __slots__ = ("_left", "_until")

    def __init__(self) -> None:
        self._left = 0
        self._until = 0.0

    def allows(self, now: float) -> bool:
        """Return whether the caller should write its message now; otherwise the I/O thread writes it a moment later.

        Args:
            now: the time on the monotonic clock, in seconds.
        """
        if now >= self._until:
            self._until = now + WINDOW
            self._left = BURST
        self._left -= 1
        return self._left >= 0


class Sender:
    """Decides which thread writes, and holds the ``Writer`` of the present connection.

    Who writes:

    =====================================================  ==================  =======================================
    situation                                              written by            method
    =====================================================  ==================  =======================================
    no connection is open                                  stays queued          every method; see ``Connection.open``
    the socket is full                                     stays queued          every method; the I/O thread writes it
    ``rate=`` allows no message yet, or                    stays queued          every method; the I/O thread writes it
    ``pause_sending()`` was called
    another thread holds the write lock                    that thread           every method; it checks the queue again
    the message expires or belongs to one connection       must be queued        ``write_now`` returns False
    nothing is queued, any thread but the main one         this thread           ``write_now``
    nothing is queued, the main thread; the message may    this thread           ``write_now``
    be written alone (see below)
    nothing is queued, the main thread, all other cases    the I/O thread        ``write_now`` returns False, then
                                                                                 ``write_queued``
    the message is queued, any thread but the main one     this thread           ``write_queued``
    the message is queued, the main thread                 the I/O thread        ``write_queued``
    a small message of ``send()``, if other messages are   the I/O thread        ``defer_write``
    queued or ``pace`` does not allow it
    the same, and the queue is more than half full         see ``write_queued``  ``defer_write``
    the message goes before the queue                      the I/O thread        ``Writer.send_first``
    =====================================================  ==================  =======================================

    The main thread writes less than others, because a KeyboardInterrupt may occur there. It writes a message only if
    the message may be written *alone*, which means: by ``Writer._write_alone``. If an interrupt ends this method, the
    data stays valid. There are three conditions: no code of a feed is called when the message gets its id
    (``Outgoing.ends_at_first_reply``), replies are not correlated by their order, and the connection is TCP without
    TLS, compression or recording (``Writer.is_uncompressed_tcp``).

    Attributes:
        queue: the send queue.
        writer: the ``Writer`` of the present connection; None while no connection is open. The I/O thread assigns it.
        retiring: the ``Writer`` of a connection that a renewal has replaced and that is still served; None if there is
            none. The I/O thread assigns it, before it increases ``connection_number``.
        for_retiring: messages that were taken from the queue, but that only the retiring connection may send, in order.
            The I/O thread passes them to that connection's writer.
        connection_number: how many connections were set up so far; the present connection has this number. The I/O
            thread assigns it.
        pace: limits how often threads write their own small messages.
        pause: until when messages are held back, on every connection.
        changes: notifies the threads that wait for the state of a message to change, or for a pong.
        replies_in_order: whether replies are correlated by their order alone. If so, a request that ends without its
            reply ends the connection.
    """

    __slots__ = (
        "_commands", "_guard", "changes", "connection_number", "for_retiring", "pace", "pause", "queue",
        "replies_in_order", "retiring", "writer",
    )  # fmt: skip

    def __init__(
        self, queue: MessageQueue, commands: Commands, guard: Guard, *, replies_in_order: bool = False
    ) -> None:
        """
        Args:
            queue: the send queue.
            commands: wakes the I/O thread.
            guard: holds the identities of the main thread and the I/O thread.
            replies_in_order: see above.
        """
        self._commands = commands
        self._guard = guard
        self.queue = queue
        self.writer: Writer | None = None
        self.retiring: Writer | None = None
        self.for_retiring: list[Outgoing] = []  # each step is one atomic operation
        self.connection_number = 0
        self.pace = Pace()
        self.pause = Pause(commands)
        self.changes = Notifier()
        self.replies_in_order = replies_in_order

    def write_now(self, entry: Outgoing) -> bool:
        """Write a message directly, if the queue is empty and this thread may write. False if it must be queued."""
        writer = self.writer
        if writer is None or entry.expires_at is not None or entry.connection_number is not None:
            return False  # `MessageQueue` drops such messages when they expire, or when their connection ends
        in_main = self._guard.main_ident == get_ident()
        # The main thread does not write a request with a feed, since an interrupt could stop `feed.id_assigned()`
        # half-way; nor if replies are correlated by order, since an interrupt could remove a request from that order.
        alone = entry.ends_at_first_reply and writer.is_uncompressed_tcp and not self.replies_in_order
        try:
            return (alone or not in_main) and writer.write_now(entry, alone, in_main)
        finally:
            if self._commands.drain is not None:
                self._commands.wake()  # this may have been the last message

    def write_queued(self) -> None:
        """Write the queued messages, if there are any, on this thread. On the main thread, only wake the I/O thread."""
        writer = self.writer
        if writer is None:
            return
        if writer.has_work():
            if self._guard.on_main_thread():
                self._commands.wake()
                return
            writer.flush()
        elif writer.bucket is not None or self.pause.ends:
            writer.continue_later()
        if self._commands.drain is not None:
            self._commands.wake()  # this may have been the last message

    def defer_write(self) -> None:
        """Let the I/O thread write the queued messages, if there are any. If the queue is more than half full, write
        them as ``write_queued`` does.
        """
        writer = self.writer
        if writer is None or writer.blocked:  # the I/O thread will write as soon as it can
            return
        if not self.queue.over_half_full:
            self._commands.wake()
            return
        self.write_queued()
        if self.queue.over_half_full and not self._guard.on_main_thread():
            # The I/O thread may hold the write lock but can't run, because this thread holds the GIL. So wait until the
            # I/O thread has released the write lock, then write.
            writer.flush_under_pressure()

    def message_removed(self) -> None:
        """Called after a message was removed from the queue without being sent. Wake the I/O thread if necessary.

        There are two reasons. A mark that was behind the message may now be written, since a mark needs no token and is
        not held back by a pause. And a drain may now be complete. Any thread may call this, also the main thread.
        """
        writer = self.writer
        is_held = writer is not None and (writer.bucket is not None or self.pause.ends) and self.queue.entries
        if is_held or self._commands.drain is not None:
            self._commands.wake()

    def why_held(self, *, in_session: bool = False) -> str | None:
        """Say why messages may have to wait although there is a connection.

        Args:
            in_session: whether they are messages of ``on_session``, which ``pause_sending()`` does not hold back.

        Returns:
            The end of a sentence; None if there is no such reason.
        """
        now = time.monotonic()
        seconds = self.pause.ends_at(now) - now
        if seconds > 0 and not in_session:
            return f"pause_sending() holds messages back for {seconds:.3g} s more"
        rate = self.queue.rate
        return None if rate is None else f"rate={rate:g} of SendQueue limits the messages per second"

    def make_room(self) -> bool:
        """Return whether the caller may wait for room in the full queue. If so, start to write what is queued."""
        if not self.queue.may_block or self._guard.on_io_thread():
            return False
        self.write_queued()  # the queued messages may not have been scheduled for writing yet
        return True

    def is_too_late(self, entry: Outgoing) -> bool:
        """Return whether the one connection that may send the message has ended."""
        return entry.connection_number is not None and self.writer_of(entry.connection_number) is None

    def writer_of(self, number: int) -> Writer | None:
        """Return the writer of the connection with this number; None if it has ended, or is not open yet."""
        if self.connection_number == number:
            return self.writer
        retiring = self.retiring  # read after `connection_number`, which increases only after this is assigned
        return retiring if retiring is not None and retiring.write_progress.number == number else None

    def without_those_for_retiring(self, batch: list[Outgoing], number: int) -> list[Outgoing]:
        """Return the messages that the present connection may write. Only the retiring connection may send the others:
        pass them to the I/O thread, which writes them there.

        Args:
            batch: messages that were taken from the queue.
            number: the number of the present connection.
        """
        kept = []
        for entry in batch:
            retiring = self.retiring
            if retiring is None or entry.connection_number != retiring.write_progress.number:
                kept.append(entry)
            elif not self._pass_to_retiring(entry):
                kept.append(entry)  # that connection has ended meanwhile; the message becomes `lost` when it is framed
        self._commands.wake()
        return kept

    def _pass_to_retiring(self, entry: Outgoing) -> bool:
        """Pass a message to the retiring connection. False if that has ended."""
        self.for_retiring.append(entry)
        if self.retiring is None:
            try:
                self.for_retiring.remove(entry)
            except ValueError:  # the I/O thread has already taken it
                return True
            return False
        return True

    def pass_on(self) -> None:
        """Write the messages of the retiring connection. I/O thread only."""
        retiring = self.retiring
        if retiring is not None:
            for entry in self.take_for_retiring():
                if not retiring.send_first(entry):
                    self.for_retiring.append(entry)  # the close frame is sent; see `take_for_retiring`

    def take_for_retiring(self) -> list[Outgoing]:
        """Remove and return the messages of the retiring connection that were not passed to its writer. When it has
        ended, they are treated like its other messages that were not written. I/O thread only.
        """
        return [self.for_retiring.pop(0) for _ in range(len(self.for_retiring))]
