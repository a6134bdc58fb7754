"""What callers see of a client: its state, words with a fixed set of values, and frozen records of what happened."""

from __future__ import annotations

import enum
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Attempt", "ConnectionInfo", "DeliveryState", "Disconnect", "Initiator", "Phase", "State", "Uptime"]


class State(enum.Enum):
    """The state of a client. ``RECONNECTING`` is another name of ``WAITING``."""

    NEW = "new"
    """Created, not started; ``send()`` and ``submit()`` queue."""
    CONNECTING = "connecting"
    """Opening a connection: DNS, TCP, proxy, TLS, upgrade, ``on_session``."""
    OPEN = "open"
    """Connected and set up."""
    WAITING = "waiting"
    """Disconnected, waiting before the next attempt."""
    RECONNECTING = WAITING
    CLOSING = "closing"
    """``close()`` was called, or ``drain()`` is complete; the connection is being closed."""
    CLOSED = "closed"
    """Closed on request, or the first attempt failed. Final."""
    FAILED = "failed"
    """A fatal error occurred, or no retry is left. Final."""


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


class Uptime:
    """A stopwatch: how long one connection has been open.

    Guarantees:
        * The I/O thread alone starts and stops it, each by assignments of one attribute; any thread reads it.
        * A copy, also one made by ``pickle``, is stopped at what the original showed: the monotonic clock of another
          process may count from another moment.
    """

    __slots__ = ("_opened_at", "_total")

    def __init__(self, total: float = 0.0) -> None:
        """
        Args:
            total: seconds that it shows until it is started.
        """
        self._opened_at: float | None = None
        self._total = total

    def start(self, now: float) -> None:
        """The connection is open from now on (``time.monotonic()``)."""
        self._opened_at = now

    def stop(self, now: float) -> None:
        """The connection has ended now; nothing happens if it was never open."""
        if self._opened_at is not None:
            self._total = now - self._opened_at
            self._opened_at = None

    def seconds(self) -> float:
        """Seconds from the opening until now, or until the end."""
        opened_at = self._opened_at
        return self._total if opened_at is None else time.monotonic() - opened_at

    def __reduce__(self) -> tuple[type[Uptime], tuple[float]]:
        return Uptime, (self.seconds(),)


@dataclass(frozen=True)
class ConnectionInfo:
    """Facts about one connection, as ``client.connection`` and ``session.connection`` return them.

    The object is frozen: each attribute keeps its value for the life of the connection and after it. ``uptime`` is the
    exception, a property that reads the monotonic clock. Any thread may read all of it at any time.

    Attributes:
        number: 1 for the client's first connection, 2 for the next one, and so on.
        url: where the connection leads, after redirects; user info and the values of the query are redacted.
        subprotocol: the subprotocol agreed on with the server, or None. It may hold a token, so ``repr()`` omits it.
        headers: the headers of the server's response; look-up ignores case. ``repr()`` shows their names alone.
        local_address: this end of the socket, as ``socket.getsockname()`` returns it; None if the socket had none.
        remote_address: the other end of the socket, as ``socket.getpeername()`` returns it: the server, the proxy if
            there is one, or the path of a ``unix://`` server; None if the peer was gone at once.
        compression: ``"deflate"`` (RFC 7692) if the server accepted the option ``compression``, else None.
        tls_version: ``"TLSv1.3"``, ``"TLSv1.2"``...; None without TLS to the server. TLS that ends at an ``https``
            proxy does not count.
        cipher: OpenSSL's name of the TLS cipher suite; None where ``tls_version`` is None.
    """

    number: int
    url: str
    subprotocol: str | None = field(repr=False)
    headers: Mapping[str, str] = field(compare=False)
    local_address: Any
    remote_address: Any
    compression: str | None
    tls_version: str | None
    cipher: str | None
    _uptime: Uptime = field(repr=False, compare=False)

    @property
    def uptime(self) -> float:
        """Seconds for which the connection has been open, as of now.

        0.0 inside ``on_session``, where it is not open yet. After its end: the seconds it was open. A copy made by
        ``pickle`` or ``copy.deepcopy`` keeps the value it was made with.
        """
        return self._uptime.seconds()


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
