"""``client.stats``, and the counters that its values come from.

Guarantees:
    * Only one thread at a time changes each counter (see below), so no addition is lost and no lock is needed.
    * A reader may get the values of two counters from slightly different moments; each value is correct. ``rtt_mean``
      is computed from two counters, so it may mix two moments.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Counters", "Stats"]


class Counters:
    """The counters that are not kept by the queues, inboxes or request table.

    Attributes:
        messages_sent: text and binary messages whose last byte the operating system has accepted. Changed only under
            the write lock of a connection (see ARCHITECTURE.md, "Accepted races").
        bytes_sent: their payload bytes. Changed as ``messages_sent``.
        messages_received: text and binary messages. Changed by the I/O thread, as all counters below.
        bytes_received: their payload bytes.
        last_message: a pair: the number of messages received until the end of a turn of the I/O thread, and the time of
            this turn on the monotonic clock. It is assigned once in each turn that received messages, after these were
            processed. During the processing, the number in the pair is smaller than ``messages_received``.
        connections: connections that were opened and set up.
        renewals: those of them that replaced another one, see ``Renew``.
        failed_attempts: attempts to connect that failed, except those of renewals.
        unmatched_replies: replies for which no request was waiting.
        unrecognised: a pair that describes the last message that was not recognised as a reply, but may be one: the
            value of ``messages_received`` at that message, and a sentence with the reason. Assigned as one pair.
    """

    __slots__ = (
        "_rtt_count", "_rtt_sum", "bytes_received", "bytes_sent", "connections", "failed_attempts",
        "last_message", "messages_received", "messages_sent", "renewals", "rtt_last", "rtt_min",
        "unmatched_replies", "unrecognised",
    )  # fmt: skip

    def __init__(self) -> None:
        self.messages_sent = 0
        self.bytes_sent = 0
        self.messages_received = 0
        self.bytes_received = 0
        self.last_message = 0, 0.0
        self.connections = 0
        self.renewals = 0
        self.failed_attempts = 0
        self.unmatched_replies = 0
        self.unrecognised = 0, ""
        self.rtt_last: float | None = None
        self.rtt_min: float | None = None
        self._rtt_sum = 0.0
        self._rtt_count = 0

    def add_round_trip(self, seconds: float) -> None:
        """Record the round trip of a ping, in seconds."""
        self._rtt_sum += seconds
        self._rtt_count += 1
        self.rtt_last = seconds
        self.rtt_min = seconds if self.rtt_min is None else min(seconds, self.rtt_min)

    def last_message_age(self, now: float) -> float | None:
        """Return the seconds since the last message was received; None before the first."""
        received, at = self.last_message
        if self.messages_received != received:
            return 0.0  # messages are being processed
        return max(0.0, now - at) if received else None  # the I/O thread may have received a message after `now`

    @property
    def rtt_mean(self) -> float | None:
        """The mean round trip; None before the first pong."""
        return self._rtt_sum / self._rtt_count if self._rtt_count else None


@dataclass(frozen=True)
class Stats:
    """Counters since the client was created, and a few present values.

    Sizes are bytes of message payloads, not of frames. Times are in seconds.

    Attributes:
        messages_sent: messages whose last byte the operating system has accepted.
        messages_received: text and binary messages received.
        bytes_sent: payload bytes of the messages sent.
        bytes_received: payload bytes of the messages received.
        connections: connections that reached ``State.OPEN``.
        failed_attempts: attempts to connect that failed, except those of renewals.
        requests_ok: requests that were answered.
        requests_failed: requests that ended with an error other than a timeout, including cancelled ones.
        requests_timed_out: requests whose deadline passed.
        requests_late: replies, not requests: those for which no request was waiting (late, or with an unknown id).
        requests_in_flight: requests that were assigned to an open connection and have no final reply yet. Queued
            requests and established subscriptions do not count. If replies are correlated by their order, a request
            that timed out or was cancelled counts until its reply is received.
        queue_depth: messages waiting to be sent.
        queue_bytes: their payload bytes.
        queue_head_age: seconds since the oldest of them was queued; 0.0 if there is none. A message that returns to the
            queue after a loss of its connection keeps its age.
        dropped: outgoing and incoming messages that full queues dropped.
        last_message_age: seconds since the last text or binary message was received, on any connection; None before
            the first.
        rtt_last: round trip of the last answered ping; None before the first pong.
        rtt_min: the shortest round trip so far.
        rtt_mean: the mean round trip so far.
        uptime: how long the present connection has been open; 0.0 while there is none.
        renewals: renewals in which a new connection took over, see ``Renew``.
    """

    messages_sent: int = 0
    messages_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    connections: int = 0
    failed_attempts: int = 0
    requests_ok: int = 0
    requests_failed: int = 0
    requests_timed_out: int = 0
    requests_late: int = 0
    requests_in_flight: int = 0
    queue_depth: int = 0
    queue_bytes: int = 0
    queue_head_age: float = 0.0
    dropped: int = 0
    last_message_age: float | None = None
    rtt_last: float | None = None
    rtt_min: float | None = None
    rtt_mean: float | None = None
    uptime: float = 0.0
    renewals: int = 0
