"""The records of one run: the results that callers got, and what the server received. The ledger checks them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

__all__ = [
    "FINAL",
    "HOOKS",
    "Asked",
    "Called",
    "Connection",
    "Disturbance",
    "FoundQuiet",
    "Heard",
    "History",
    "Hushed",
    "Recovered",
    "Sent",
]

HOOKS: Final = "hooks"
"""The sender of what hooks send: some of it belongs to one connection (``on_open``), and ends with that."""

FINAL: Final = frozenset({"confirmed", "unknown", "lost", "expired", "cancelled"})
"""States in which a delivery ends."""


@dataclass
class Asked:
    """One request.

    Attributes:
        sender: the name of the thread that made it.
        number: the thread's number of this message.
        idempotent: whether the client may send it again.
        outcomes: all its outcomes: ``answered``, ``lost sent``, ``lost unsent``, ``timeout queued``, … There should be
            one.
        reply: the key in its reply.
        renewed_at: when it was seen that it had failed with the initiator ``renewal``; None if it did not.
    """

    sender: str
    number: int
    idempotent: bool = False
    outcomes: list[str] = field(default_factory=list)
    reply: str | None = None
    renewed_at: float | None = None

    @property
    def key(self) -> str:
        """The key in the message, which the server returns in its reply."""
        return f"{self.sender}:{self.number}"


@dataclass
class Sent:
    """One message that has no answer.

    Attributes:
        sender: the name of the thread that sent it.
        number: the thread's number of this message.
        state: the state of its delivery at the end of the run.
        earlier: a final state that its delivery had before; None if there was none.
        expires: the earliest and the latest moment at which its time may have passed: begin and end of the call of
            ``send()``, plus ``expires``; None if it never expires.
        expired_by: the first moment at which its delivery was seen ``expired``; None if it was not.
    """

    sender: str
    number: int
    state: str
    earlier: str | None = None
    expires: tuple[float, float] | None = None
    expired_by: float | None = None

    @property
    def key(self) -> str:
        """The key in the message."""
        return f"{self.sender}:{self.number}"


@dataclass
class Connection:
    """One connection, as the server recorded it.

    Attributes:
        number: its number, which the client sends with the log-in; None if there was no log-in.
        keys: the keys of all messages, in order; ``login`` is the log-in, ``subscribe:NAME`` a subscription.
        logged_in_at: when the log-in came, on the monotonic clock of this process; infinity if it never came.
        began: when the client began to log in, on the same clock; infinity if no log-in came.
        times: when each message came.
    """

    number: int | None
    keys: list[str]
    logged_in_at: float = float("inf")
    began: float = float("inf")
    times: list[float] = field(default_factory=list)


@dataclass
class Heard:
    """One message of a subscription.

    Attributes:
        subscriber: the name of the thread that received it.
        connection: the number of its connection.
        number: 0, 1, 2 … on each connection.
        total: its number on the server, the same on all connections. It is the identity of a subscription with
            ``identity=``.
        has_identity: whether the subscription has ``identity=``.
        at: when the client read it.
        losses: how many connections had been lost then, as ``last_disconnect`` showed when messages came.
        gaps: ``gaps`` of the subscription when it was returned.
    """

    subscriber: str
    connection: int
    number: int
    total: int = 0
    has_identity: bool = False
    at: float = 0.0
    losses: int = 0
    gaps: int = 0


@dataclass
class Called:
    """One call that has a time limit.

    Attributes:
        what: the call.
        bound: the limit that the contract promises, in seconds.
        took: seconds it took; infinity if it never returned.
    """

    what: str
    bound: float
    took: float


@dataclass
class Recovered:
    """The recovery after a fault. It is measured only if the next fault leaves enough time.

    Attributes:
        fault: the kind of the fault.
        bound: the time limit in seconds: the longest pause between attempts plus 1 s.
        took: seconds from the end of the fault until the client was open and a request was answered; infinity for
            never.
    """

    fault: str
    bound: float
    took: float


@dataclass
class FoundQuiet:
    """A connection that the client found quiet.

    Attributes:
        connection: its number.
        at: when it was found.
        seconds: how long no message of a subscription had been read on it.
    """

    connection: int
    at: float
    seconds: float


@dataclass
class Hushed:
    """One time in which the server sent no messages of subscriptions, until a further connection subscribed.

    Attributes:
        bound: the time limit in seconds: ``quiet`` plus that of a recovery.
        took: seconds until such a message came on a further connection; infinity for never.
        was_reported: whether ``on_quiet`` was called as often as the client had found a quiet connection.
    """

    bound: float
    took: float
    was_reported: bool


@dataclass
class Disturbance:
    """The time of a fault, or the time after the end of the load.

    Attributes:
        kind: the kind of the fault.
        begin: its begin.
        end: its end; infinity if it is not known.
        may_lose: whether what the server has sent may be lost.
    """

    kind: str
    begin: float
    end: float
    may_lose: bool


@dataclass
class History:
    """All records of one run.

    Attributes:
        quiet: the client's option ``quiet``, in seconds.
        renews: whether the client renews its connections.
        overlap: the client's ``Renew.overlap``, in seconds.
        pace: the client's limits on each connection: messages per second, and messages at once; None for no limits.
        surprises: a sentence for each event that must not happen, such as a logged error.
        slack: seconds that a call may return late because of other load on the machine, as measured.
    """

    asked: list[Asked] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    called: list[Called] = field(default_factory=list)
    recovered: list[Recovered] = field(default_factory=list)
    found_quiet: list[FoundQuiet] = field(default_factory=list)
    hushed: list[Hushed] = field(default_factory=list)
    disturbances: list[Disturbance] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)
    slack: float = 0.5
    quiet: float = 0.0
    renews: bool = False
    overlap: float = 0.0
    pace: tuple[float, int] | None = None
