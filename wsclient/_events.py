"""Facts that callers see: the client's state and the frozen records of what happened."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Attempt", "Disconnect", "State", "Stats"]


class State(enum.Enum):
    """Where a client stands in its life."""

    NEW = "new"
    """Made, not started; ``send()`` and ``submit()`` queue."""
    CONNECTING = "connecting"
    """Opening a connection: DNS, TCP, proxy, TLS, upgrade, ``on_session``."""
    OPEN = "open"
    """Connected and set up."""
    WAITING = "waiting"
    """Disconnected, backing off before the next attempt."""
    CLOSING = "closing"
    """``close()`` or the end of ``drain()`` is under way."""
    CLOSED = "closed"
    """Closed on request, or the first attempt failed. Final."""
    FAILED = "failed"
    """A fatal error, or the retries are used up. Final."""


@dataclass(frozen=True)
class Disconnect:
    """How a connection ended.

    Attributes:
        initiator: ``"local"`` (we closed it), ``"remote"`` (the server sent a close frame), ``"network"`` (the line
            ended without one) or ``"keepalive"`` (the peer fell silent).
        code: the close code (RFC 6455 §7.4); 1005 for a close frame without one, None where no close frame came.
        reason: the text of the close frame, or a few words of ours.
        error: the error behind it, if there was one.
        uptime: seconds from open to end.
        idle: seconds between the last byte received and the end.
    """

    initiator: str
    code: int | None
    reason: str
    error: BaseException | None
    uptime: float
    idle: float


@dataclass(frozen=True)
class Attempt:
    """One failed attempt to connect, as ``on_connect_error`` gets it.

    Attributes:
        error: why it failed.
        number: 1 for the first failed attempt since the last healthy connection.
        next_delay: seconds until the next attempt; None when there will be none.
    """

    error: BaseException
    number: int
    next_delay: float | None


@dataclass(frozen=True)
class Stats:
    """Counters of a client's whole life and a few present facts.

    Sizes are bytes of message payload (not of frames), times are seconds.

    Attributes:
        messages_sent: messages wholly handed to the operating system.
        messages_received: text and binary messages received.
        bytes_sent: payload bytes of the messages sent.
        bytes_received: payload bytes of the messages received.
        connections: connections that reached ``State.OPEN``.
        failed_attempts: attempts to connect that failed.
        requests_ok: requests answered.
        requests_failed: requests that ended with an error other than a timeout, cancelled ones included.
        requests_timed_out: requests whose deadline passed.
        requests_late: replies that came for no waiting request (late or unknown).
        queue_depth: messages waiting to be sent.
        queue_bytes: their payload bytes.
        dropped: messages dropped by a full queue, outgoing or incoming.
        rtt_last: round trip of the last matched ping; None before the first.
        rtt_min: the shortest so far.
        rtt_mean: the mean so far.
        uptime: seconds the present connection has been open; 0.0 while there is none.
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
    queue_depth: int = 0
    queue_bytes: int = 0
    dropped: int = 0
    rtt_last: float | None = None
    rtt_min: float | None = None
    rtt_mean: float | None = None
    uptime: float = 0.0
