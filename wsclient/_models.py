"""The public values of a client: its state, enumerations, and frozen records of connections and attempts."""

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
    """Created, not started; ``send()`` and ``submit()`` queue their messages."""
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
    """Closed on request; or the server closed normally and ``reconnect`` is None; or the first attempt failed and
    ``retry_first`` is False. Final."""
    FAILED = "failed"
    """A fatal error occurred, or no retry is left. Final."""


class _StringEnum(str, enum.Enum):
    """An enumeration of strings. In all Python versions, a member and its value are equal, and have the same hash and
    text.
    """

    def __str__(self) -> str:
        return str.__str__(self)

    def __format__(self, spec: str) -> str:
        return str.__format__(self, spec)


class DeliveryState(_StringEnum):
    """The state of a message of ``send()``. Each member is equal to its value, and ``str()`` returns that value."""

    QUEUED = "queued"
    """Not written, or only partly written: it can't have arrived."""
    WRITTEN = "written"
    """The operating system has accepted the whole message."""
    CONFIRMED = "confirmed"
    """A later pong or reply proves that the peer's WebSocket layer has received the message. Final."""
    EXPIRED = "expired"
    """The time ``expires=`` passed while the message was queued; it is not sent. Final."""
    LOST = "lost"
    """The message did not arrive, and will not be sent again. Final."""
    UNKNOWN = "unknown"
    """The whole message was written, and the connection ended before it was confirmed. Final."""
    CANCELLED = "cancelled"
    """``Delivery.cancel()`` or ``client.clear_queue()`` removed it from the queue; it is not sent. Final."""


class Phase(_StringEnum):
    """How far a request had come when its deadline passed.

    Each member is equal to its value, and ``str()`` returns that value.
    """

    QUEUED = "queued"
    """The message was not sent, and will not be sent."""
    WAITING = "waiting"
    """The message was sent, but no reply was received."""


class Initiator(_StringEnum):
    """What ended a connection. Each member is equal to its value, and ``str()`` returns that value."""

    LOCAL = "local"
    """This client closed it."""
    REMOTE = "remote"
    """The server sent a close frame."""
    NETWORK = "network"
    """The transport ended without a close frame."""
    KEEPALIVE = "keepalive"
    """The peer did not answer a ping or a heartbeat in time."""
    QUIET = "quiet"
    """No message that counts (see ``Quiet``) was received for the time that ``quiet=`` or ``quiet_after=`` allows, so
    this client closed the connection.
    """
    RENEWAL = "renewal"
    """A renewal replaced it by another connection; see ``Renew``."""


class Uptime:
    """A stopwatch that measures how long one connection is open.

    Guarantees:
        * Only the I/O thread starts and stops it, by assignments of single attributes. Any thread may read it.
        * A copy, including one made by ``pickle``, is stopped at the value that the original had: the monotonic clock
          of another process may count from another moment.
    """

    __slots__ = ("_opened_at", "_total")

    def __init__(self, total: float = 0.0) -> None:
        """
        Args:
            total: the value before the start, in seconds.
        """
        self._opened_at: float | None = None
        self._total = total

    def start(self, now: float) -> None:
        """Start at this time (``time.monotonic()``): the connection is open."""
        self._opened_at = now

    def stop(self, now: float) -> None:
        """Stop at this time: the connection has ended. No effect if it was never open."""
        if self._opened_at is not None:
            self._total = now - self._opened_at
            self._opened_at = None

    def seconds(self) -> float:
        """Seconds from the start until now, or until the stop."""
        opened_at = self._opened_at
        return self._total if opened_at is None else time.monotonic() - opened_at

    def __reduce__(self) -> tuple[type[Uptime], tuple[float]]:
        return Uptime, (self.seconds(),)


@dataclass(frozen=True)
class ConnectionInfo:
    """Facts about one connection; the type of ``client.connection`` and ``session.connection``.

    The object is frozen: each attribute keeps its value during the connection and afterwards. The exception is the
    property ``uptime``, which reads the monotonic clock. Any thread may read any attribute at any time.

    Attributes:
        number: 1 for the client's first connection, 2 for the next one, and so on.
        url: the server's URL, after redirects; user info and the values of the query are redacted.
        subprotocol: the negotiated subprotocol, or None. It may contain a secret token, so ``repr()`` omits it.
        headers: the headers of the server's response; names are not case-sensitive. ``repr()`` shows only their names.
        local_address: the address of this side, as ``socket.getsockname()`` returns it; None if the socket had none.
        remote_address: the address of the other side, as ``socket.getpeername()`` returns it: that of the server, that
            of the proxy if there is one, or the path of a ``unix://`` server; None if the connection had already ended.
        compression: ``"deflate"`` (RFC 7692) if the server accepted the option ``compression``, else None.
        tls_version: ``"TLSv1.3"``, ``"TLSv1.2"``...; None without TLS to the server. TLS that ends at an ``https``
            proxy does not count.
        cipher: OpenSSL's name of the TLS cipher suite; None if ``tls_version`` is None.
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
        """How long the connection has been open, in seconds.

        Inside ``on_session``, where the connection is not open yet, it is 0.0. After the connection's end it keeps its
        value. A copy made by ``pickle`` or ``copy.deepcopy`` keeps the value of the moment when it was made.
        """
        return self._uptime.seconds()


@dataclass(frozen=True)
class Disconnect:
    """How a connection ended.

    Attributes:
        initiator: what ended it: ``"local"``, ``"remote"``, ``"network"``, ``"keepalive"``, ``"quiet"`` or
            ``"renewal"``; see ``Initiator``.
        code: the close code (RFC 6455 §7.4); 1005 for a close frame without a code, None if no close frame was
            received.
        reason: the text of the close frame, or a text of this package.
        error: the error that ended it, or None.
        uptime: seconds from the opening to the end.
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
    """One failed attempt to connect; the argument of ``on_connect_error``.

    Attributes:
        error: why it failed.
        number: 1 for the first failed attempt since the last connection that lasted ``Reconnect.min_uptime``.
        next_delay: seconds until the next attempt; None if there will be no further attempt.
    """

    error: BaseException
    number: int
    next_delay: float | None
