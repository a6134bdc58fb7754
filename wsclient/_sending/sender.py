"""Who writes a message: the thread that sends it, or the I/O thread.

Guarantees:
    * Any thread may call a ``Sender``. It has no lock: the queue and the writer have their own.
    * A message that no thread writes at once stays in the queue, and the I/O thread is woken, or will write it as soon
      as the connection opens or the socket takes more.
    * Two threads may both be allowed to write where one would do (``Pace``). That costs a write more, and no more.
"""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING, Final

from .._threads.waiting import Notifier

if TYPE_CHECKING:
    from .._threads.commands import Commands
    from .._threads.guard import Guard
    from .message import Outgoing
    from .queue import MessageQueue
    from .writer import Writer

__all__ = ["BURST", "SMALL", "WINDOW", "Pace", "Sender"]

BURST: Final = 4
"""Writes in one window: a few messages in a row are written as they come, as every other client does it."""

WINDOW: Final = 0.001
"""Seconds. A write costs some 10 µs, mostly in the system: at this pace at most a twentieth of the time goes there."""

SMALL: Final = 4 * 1024
"""Bytes up to which a message is small: what the system does with larger ones costs more than the call itself."""


class Pace:
    """Allows a few writes in every window of time. A flood of small messages is cheaper in a few large writes, which
    the I/O thread makes.
    """

    __slots__ = ("_left", "_until")

    def __init__(self) -> None:
        self._left = 0
        self._until = 0.0

    def allows(self, now: float) -> bool:
        """Whether the caller, which has a message, should write it now; else the I/O thread will in a moment.

        Args:
            now: the time on the monotonic clock, in seconds.
        """
        if now >= self._until:
            self._until = now + WINDOW
            self._left = BURST
        self._left -= 1
        return self._left >= 0


class Sender:
    """Decides which thread writes, and holds the writer of the present connection.

    Who writes:

    =====================================================  ==================  =====================================
    situation                                              written by          method
    =====================================================  ==================  =====================================
    no connection is open                                  stays queued        each; ``Connection.open`` writes it
    the socket is full                                     stays queued        each; the I/O thread writes it
    another thread holds the write lock                    that thread         each; it looks at the queue again
    the message expires or belongs to one connection       goes by the queue   ``write_now`` returns False
    nothing is queued, any thread but the main one         this thread         ``write_now``
    nothing is queued, the main thread, over TCP without   this thread         ``write_now``
    compression or recording; the message stands alone
    nothing is queued, the main thread, all other cases    the I/O thread      ``write_now`` returns False, then
                                                                               ``write_queued``
    the message is queued, any thread but the main one     this thread         ``write_queued``
    the message is queued, the main thread                 the I/O thread      ``write_queued``
    a small message of a flood (``pace``)                  the I/O thread      ``defer_write``
    the same, and the queue is more than half full         as for              ``defer_write``
                                                           ``write_queued``
    the message goes before the queue                      the I/O thread      ``Writer.send_first``
    =====================================================  ==================  =====================================

    The main thread writes less than others: a KeyboardInterrupt may strike there, see ``Writer``. A message stands
    alone where its departure changes only the table of requests (``Outgoing.takes_any``), and where replies are not
    found by their order.

    Attributes:
        queue: the send queue.
        writer: the writer of the present connection; None while there is no open one. The I/O thread assigns it.
        connection_number: how many connections were set up so far, which is the number of the present one. The I/O
            thread assigns it.
        pace: how often a thread writes its own small messages.
        progress: notifies those that wait for a delivery or a flush to look again.
        replies_in_order: whether replies are found by their order alone, so that a gap in the order of requests costs
            the connection.
    """

    __slots__ = ("_commands", "_guard", "connection_number", "pace", "progress", "queue", "replies_in_order",
                 "writer")  # fmt: skip

    def __init__(
        self, queue: MessageQueue, commands: Commands, guard: Guard, *, replies_in_order: bool = False
    ) -> None:
        """
        Args:
            queue: the send queue.
            commands: wakes the I/O thread.
            guard: knows which thread calls.
            replies_in_order: see above.
        """
        self._commands = commands
        self._guard = guard
        self.queue = queue
        self.writer: Writer | None = None
        self.connection_number = 0
        self.pace = Pace()
        self.progress = Notifier()
        self.replies_in_order = replies_in_order

    def write_now(self, entry: Outgoing) -> bool:
        """Write a message past the empty queue, where this thread may. False if it is to be queued."""
        writer = self.writer
        if writer is None or entry.expires_at is not None or entry.connection_number is not None:
            return False  # the queue checks the time at the last moment; the message may be too late for its connection
        in_main = self._guard.main_ident == get_ident()
        # What must be noted as it departs, or leaves a gap in an order, must not be interrupted as it departs.
        alone = entry.takes_any and writer.is_uncompressed_tcp and not self.replies_in_order
        try:
            return (alone or not in_main) and writer.write_now(entry, alone=alone, in_main=in_main)
        finally:
            if self._commands.drain is not None:
                self._commands.wake()  # this may have been the last message

    def write_queued(self) -> None:
        """Something may be in the queue: write it in this thread, or have the I/O thread write it."""
        writer = self.writer
        if writer is None:
            return
        if writer.has_work():
            if self._guard.on_main_thread():
                self._commands.wake()
                return
            writer.flush()
        if self._commands.drain is not None:
            self._commands.wake()  # this may have been the last message

    def defer_write(self) -> None:
        """Something may be in the queue: have the I/O thread write it, unless the queue is more than half full."""
        writer = self.writer
        if writer is None or writer.blocked:  # the I/O thread will write as soon as it can
            return
        if not self.queue.filling:
            self._commands.wake()
            return
        self.write_queued()
        if self.queue.filling and not self._guard.on_main_thread():
            writer.flush_under_pressure()  # the I/O thread writes, and waits for the interpreter, which we keep busy

    def make_room(self) -> bool:
        """The queue is full: whether the caller may wait for room. If it may, what fills the queue is being written."""
        if not self.queue.may_block or self._guard.on_io_thread():
            return False
        self.write_queued()  # no thread may have been asked yet to write what fills the queue
        return True

    def is_too_late(self, entry: Outgoing) -> bool:
        """Whether the one connection that may take the message is over."""
        return entry.connection_number is not None and (
            self.writer is None or self.connection_number != entry.connection_number
        )
