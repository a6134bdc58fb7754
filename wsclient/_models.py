"""What callers see of a client: its state, words with a fixed set of values, and frozen records of what happened."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Attempt", "DeliveryState", "Disconnect", "Initiator", "Phase", "State"]


class State(enum.Enum):
    """The state of a client. ``RECONNECTING`` is another name of ``WAITING``."""

    NEW = "new"
    """Made, not started; ``send()`` and ``submit()`` queue."""
    CONNECTING = "connecting"
    """Opening a connection: DNS, TCP, proxy, TLS, upgrade, ``on_session``."""
    OPEN = "open"
    """Connected and set up."""
    WAITING = "waiting"
    """Disconnected, backing off before the next attempt."""
    RECONNECTING = WAITING
    CLOSING = "closing"
    """``close()`` or the end of ``drain()`` is under way."""
    CLOSED = "closed"
    """Closed on request, or the first attempt failed. Final."""
    FAILED = "failed"
    """A fatal error, or the retries are used up. Final."""


class _Word(str, enum.Enum):
    """A word of a fixed set. It is equal to the plain ``str``, has its hash, and prints as it, on every Python."""

    def __str__(self) -> str:
        return str.__str__(self)

    def __format__(self, spec: str) -> str:
        return str.__format__(self, spec)


class DeliveryState(_Word):
    """The state of a message given to ``send()``; each member equals its value and prints as it."""

    QUEUED = "queued"
    """Not yet written, or cut off before its last byte: it can't have arrived."""
    WRITTEN = "written"
    """All of it was handed to the operating system."""
    CONFIRMED = "confirmed"
    """A later pong or reply proves that the peer's WebSocket layer has it. Final."""
    EXPIRED = "expired"
    """Its ``expires=`` passed while it was queued; it is not sent. Final."""
    LOST = "lost"
    """It certainly never arrived, and is not sent any more. Final."""
    UNKNOWN = "unknown"
    """Written whole, and the connection ended before a proof. Final."""


class Phase(_Word):
    """How far a request had come when its time ended; each member equals its value and prints as it."""

    QUEUED = "queued"
    """The message was not sent, and will not be."""
    WAITING = "waiting"
    """The message was sent, and the answer did not come."""


class Initiator(_Word):
    """What ended a connection; each member equals its value and prints as it."""

    LOCAL = "local"
    """This client closed it."""
    REMOTE = "remote"
    """The server sent a close frame."""
    NETWORK = "network"
    """The transport ended without a close frame."""
    KEEPALIVE = "keepalive"
    """The peer did not answer a ping or a heartbeat in time."""


@dataclass(frozen=True)
class Disconnect:
    """How a connection ended.

    Attributes:
        initiator: what ended it: ``"local"``, ``"remote"``, ``"network"`` or ``"keepalive"``; see ``Initiator``.
        code: the close code (RFC 6455 §7.4); 1005 for a close frame without one, None where no close frame came.
        reason: the text of the close frame, or a few words of ours.
        error: the error behind it, if there was one.
        uptime: seconds from open to end.
        idle: seconds between the last byte received and the end.
    """

    initiator: Initiator
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
