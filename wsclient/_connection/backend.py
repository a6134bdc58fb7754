"""The interface between the writer of one connection and the client with its recording.

Guarantees:
    * ``take``, ``has_room_for``, ``is_wanted``, ``RecordingTap.taken`` and ``RecordingTap.accepted`` are called only by
      the thread that holds the write lock.
    * ``ready``, ``wake``, ``wake_by``, ``nudge``, ``queue`` and ``changes`` are also used without the write lock; each
      is safe for any thread.
    * ``RecordingTap.received`` and ``RecordingTap.lost`` are called only by the I/O thread; they change no attribute.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .._models import Disconnect
    from .._recording.recorder import Recorder
    from .._requests.requests import Requests
    from .._requests.written import WrittenRequests
    from .._rfc6455.frames import Opcode
    from .._sending.message import Outgoing
    from .._sending.sender import Sender
    from .._stats import Counters
    from .._threads.commands import Commands
    from ..protocols import Protocol

__all__ = ["ClientBackend", "RecordingTap"]


class ClientBackend:
    """The part of the client that the writer of one connection uses.

    Attributes:
        number: the connection's number.
        queue: the send queue.
        pause: the pause of ``pause_sending()``.
        bucket: limits the messages per second of this connection; None if there is no limit.
        changes: notifies the threads that wait for written bytes.
        protocol: the message protocol, whose ``max_in_flight`` may limit the requests.
        nudge: wakes the I/O thread, see ``Wakeup``.
        counters: count what was sent.
        requests: the requests of the client.
        written: the requests in flight on the connection.
    """

    __slots__ = (
        "_commands", "_sender", "bucket", "changes", "counters", "nudge", "number", "pause", "protocol", "queue",
        "requests", "wake", "wake_by", "written",
    )  # fmt: skip

    def __init__(
        self,
        written: WrittenRequests,
        *,
        sender: Sender,
        requests: Requests,
        protocol: Protocol,
        counters: Counters,
        commands: Commands,
    ) -> None:
        """
        Args:
            written: the requests in flight on the connection, which ``max_in_flight`` limits.
            sender: holds the send queue, and the writer of a retiring connection.
            requests: assigns requests their ids.
            protocol: the message protocol, with its ``max_in_flight``.
            counters: count the sent messages and bytes.
            commands: wakes the I/O thread.
        """
        self.requests = requests
        self.written = written
        self.protocol = protocol
        self.counters = counters
        self._commands = commands
        self._sender = sender
        self.number = written.number
        self.queue = sender.queue
        self.pause = sender.pause
        self.bucket = sender.queue.make_bucket()
        self.changes = sender.changes
        # Bound methods, not wrappers: this saves one Python call for each message.
        self.wake = commands.wake
        self.wake_by = commands.wake_by
        self.nudge = commands.nudge

    def ready(self) -> bool:
        """Return whether ``max_in_flight`` permits to write the first message of the queue, which must not be empty.

        The result is only a hint, since it is computed without a lock.
        """
        return self.protocol.max_in_flight is None or self.queue.ready(self._room())

    def take(self, max_bytes: int, messages: int | None = None) -> list[Outgoing]:
        """Take the messages that are written next; the arguments are those of ``MessageQueue.take``."""
        room = None if self.protocol.max_in_flight is None else self._room()
        batch = self.queue.take(max_bytes, room, messages)
        return batch if self._sender.retiring is None else self._sender.without_those_for_retiring(batch, self.number)

    def has_room_for(self, entry: Outgoing) -> bool:
        """Return whether ``max_in_flight``, which is not None here, permits the requests of a message."""
        return entry.requests <= self._room()

    def is_wanted(self) -> bool:
        """Return whether a message can still be sent: False after the deadline of ``close()``."""
        close = self._commands.close
        return close is None or not close.deadline.passed(time.monotonic())

    def _room(self) -> int:
        """Return how many more requests ``max_in_flight`` permits to be in flight."""
        return (self.protocol.max_in_flight or 0) - self.written.in_flight


class RecordingTap:
    """Records the messages and control frames of one connection, for a client with ``record=``."""

    __slots__ = ("_heartbeats", "_number", "_recorder", "_taken")

    def __init__(self, recorder: Recorder, number: int) -> None:
        """
        Args:
            recorder: writes the recording.
            number: the connection's number in the recording.
        """
        self._recorder = recorder
        self._number = number
        # Heartbeats that are not yet written. The I/O thread adds each before it is sent, the writer removes it.
        self._heartbeats: dict[Outgoing, None] = {}
        self._taken: dict[Outgoing, bytes] = {}  # payloads of what is being written; guarded by the write lock

    def heartbeat(self, entry: Outgoing) -> None:
        """Called with a heartbeat that is about to be sent. I/O thread only."""
        self._heartbeats[entry] = None

    def taken(self, entry: Outgoing, payload: bytes) -> None:
        """Called with a message that is being framed, under the write lock."""
        self._taken[entry] = payload

    def accepted(self, batch: list[Outgoing]) -> bool:
        """Record the messages that were written completely. False if the recorder is full: writing must pause."""
        for entry in batch:
            if entry.is_written() and (payload := self._taken.pop(entry, None)) is not None:
                is_heartbeat = self._heartbeats.pop(entry, 0) is None
                self._recorder.sent(self._number, entry.opcode, payload, is_heartbeat=is_heartbeat)
        return not self._recorder.is_full

    def received(self, opcode: Opcode, payload: Any) -> None:
        """Record a message or control frame that was received. I/O thread only."""
        self._recorder.received(self._number, opcode, payload)

    def lost(self, disconnect: Disconnect) -> None:
        """Record that the connection has ended. I/O thread only."""
        self._recorder.lost(self._number, disconnect)
