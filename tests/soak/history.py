"""What callers and the server saw: facts, as the ledger judges them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

__all__ = ["FINAL", "Asked", "Called", "Connection", "Heard", "History", "Recovered", "Sent"]

FINAL: Final = frozenset({"confirmed", "unknown", "lost", "expired"})
"""States in which a delivery ends."""


@dataclass
class Asked:
    """One request.

    Attributes:
        sender: which thread made it.
        number: counts what that thread sent.
        idempotent: whether the client may send it again.
        outcomes: how it ended, each time it did: ``answered``, ``lost sent``, ``lost unsent``, ``timeout queued``, …
        reply: the key that its reply carried.
    """

    sender: str
    number: int
    idempotent: bool = False
    outcomes: list[str] = field(default_factory=list)
    reply: str | None = None

    @property
    def key(self) -> str:
        """What the message carries, and the server gives back."""
        return f"{self.sender}:{self.number}"


@dataclass
class Sent:
    """One message for which no answer comes.

    Attributes:
        sender: which thread sent it.
        number: counts what that thread sent.
        state: of its delivery at the end, when the line had been sound and all was flushed or closed.
        earlier: a final state that its delivery had shown before; None if it had shown none.
        expires: the earliest and the latest moment at which its time may have passed: both ends of the call, and
            ``expires`` later; None if it never expires.
        expired_by: the earliest moment by which its delivery was seen ``expired``; None if that was not looked at.
    """

    sender: str
    number: int
    state: str
    earlier: str | None = None
    expires: tuple[float, float] | None = None
    expired_by: float | None = None

    @property
    def key(self) -> str:
        """What the message carries."""
        return f"{self.sender}:{self.number}"


@dataclass
class Connection:
    """One connection, as the server saw it.

    Attributes:
        number: the client's own count of its log-ins; None where it never logged in.
        keys: of all messages, in order; ``login`` is the log-in, ``subscribe:NAME`` a subscription.
        logged_in_at: when the log-in came, on the monotonic clock, which client and server share; infinity for never.
    """

    number: int | None
    keys: list[str]
    logged_in_at: float = float("inf")


@dataclass
class Heard:
    """One message of a subscription.

    Attributes:
        subscriber: who heard it.
        connection: the client's count of the connection it came on, as the server was told.
        number: 0, 1, 2 … on each connection.
    """

    subscriber: str
    connection: int
    number: int


@dataclass
class Called:
    """One call that has a bound.

    Attributes:
        what: which call.
        bound: seconds it may take by its promise.
        took: seconds it took; infinity if it never came back.
    """

    what: str
    bound: float
    took: float


@dataclass
class Recovered:
    """What came after a fault that left time enough.

    Attributes:
        fault: which.
        bound: seconds: the longest back-off and 1 s.
        took: seconds from its end until the client was open, and the line sound; infinity for never.
    """

    fault: str
    bound: float
    took: float


@dataclass
class History:
    """All facts of one run.

    Attributes:
        surprises: sentences: what nobody may see, such as an error that was logged.
        slack: seconds that a call may come back late because the machine was busy, as measured.
    """

    asked: list[Asked] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    called: list[Called] = field(default_factory=list)
    recovered: list[Recovered] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)
    slack: float = 0.5
