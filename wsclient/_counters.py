"""The numbers behind ``client.stats``.

Guarantees:
    * Each counter has one writer at a time (named below), so plain additions lose nothing and need no lock.
    * A reader may see one counter a moment earlier than another; each by itself is right.
"""

from __future__ import annotations

__all__ = ["Counters"]


class Counters:
    """Counters that belong to no other object.

    Attributes:
        messages_sent: text and binary messages wholly handed to the operating system. Owner of the line.
        bytes_sent: their payload bytes. Owner of the line.
        messages_received: text and binary messages. I/O thread, as all below.
        bytes_received: their payload bytes.
        connections: connections that were opened and set up.
        failed_attempts: attempts that failed.
        late: replies for which no request waited.
    """

    __slots__ = (
        "_rtt_count", "_rtt_sum", "bytes_received", "bytes_sent", "connections", "failed_attempts", "late",
        "messages_received", "messages_sent", "rtt_last", "rtt_min",
    )  # fmt: skip

    def __init__(self) -> None:
        self.messages_sent = 0
        self.bytes_sent = 0
        self.messages_received = 0
        self.bytes_received = 0
        self.connections = 0
        self.failed_attempts = 0
        self.late = 0
        self.rtt_last: float | None = None
        self.rtt_min: float | None = None
        self._rtt_sum = 0.0
        self._rtt_count = 0

    def add_round_trip(self, seconds: float) -> None:
        """A pong matched its ping."""
        self._rtt_sum += seconds
        self._rtt_count += 1
        self.rtt_last = seconds
        self.rtt_min = seconds if self.rtt_min is None else min(seconds, self.rtt_min)

    @property
    def rtt_mean(self) -> float | None:
        """The mean round trip; None before the first."""
        return self._rtt_sum / self._rtt_count if self._rtt_count else None
