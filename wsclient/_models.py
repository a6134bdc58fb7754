"""Facts that callers see: the client's state and the frozen records of what happened."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Attempt", "Disconnect", "State"]


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
