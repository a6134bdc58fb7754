"""Keepalive: when to send a ping, when a peer counts as dead, and the heartbeat of the message protocol.

``PingSchedule`` reads no clock: callers pass ``now``, from ``time.monotonic()``. I/O thread only.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .._errors import ProtocolError, RequestTimeout, text_of
from .._threads.deadline import Deadline
from ..protocols import Request as Wrapped

if TYPE_CHECKING:
    from .._receiving.hooks import Hooks
    from .._requests.requests import Requests
    from .._requests.table import RequestTable
    from .._sending.writer import Writer
    from ..protocols import Protocol

__all__ = ["PingSchedule", "ProtocolHeartbeat"]


class PingSchedule:
    """When to send a WebSocket ping, and when the peer counts as dead (RFC 6455 §5.5.2).

    A ping is due every ``interval`` seconds. The peer counts as dead if a ping is unanswered and no byte has arrived
    for ``timeout`` seconds, counted from the last byte or from the oldest unanswered ping, whichever is later. The time
    of a ping is the moment at which the I/O thread queues it, since its write may be blocked: a peer that no longer
    reads blocks writes, and must be detected too. So a half-open peer is detected at most ``interval + timeout`` after
    its last byte, unless the I/O thread is delayed.

    Any byte shows that the peer is alive, so a pong may be delayed by a large message. Not thread-safe: only the I/O
    thread uses it.

    Attributes:
        last_heard: when bytes arrived last.
        next_at: the next moment at which ``ping_due`` or ``dead`` may change; infinity if never.
        unanswered: payload and time of each ping without a pong; other classes only check whether it is empty.
    """

    __slots__ = ("_interval", "_next_ping", "_timeout", "last_heard", "next_at", "unanswered")

    def __init__(self, interval: float | None, timeout: float | None, now: float) -> None:
        """
        Args:
            interval: seconds between pings; None for no pings.
            timeout: seconds without a byte after which the peer counts as dead; None for no limit.
            now: when the connection opened.
        """
        self._interval = interval
        self._timeout = timeout
        self._next_ping = math.inf if interval is None else now + interval
        self.unanswered: list[tuple[bytes, float]] = []
        self.last_heard = now
        self.next_at = self._next_ping

    def heard(self, now: float) -> None:
        """Called when bytes of any kind have arrived."""
        self.last_heard = now
        if self.unanswered:
            self._reckon()

    def ping_due(self, now: float) -> bool:
        """Return whether a ping is due."""
        return now >= self._next_ping

    def pinged(self, payload: bytes, now: float) -> None:
        """Called when the due ping is being sent; ``payload`` identifies its pong."""
        if self._interval is not None:
            self._next_ping = now + self._interval
        # Without a timeout `unanswered` is never read, and would grow if the peer never answers.
        if self._timeout is not None:
            self.unanswered.append((payload, now))
        self._reckon()

    def answered(self, payload: bytes) -> None:
        """Remove the pings that a pong answers: its own ping and all earlier ones (RFC 6455 §5.5.3)."""
        if any(known == payload for known, _ in self.unanswered):
            while self.unanswered.pop(0)[0] != payload:
                pass
            self._reckon()

    def dead(self, now: float) -> bool:
        """Return whether the peer has been silent for too long."""
        return now >= self._dies_at()

    def _reckon(self) -> None:
        self.next_at = min(self._next_ping, self._dies_at())

    def _dies_at(self) -> float:
        if self._timeout is None or not self.unanswered:
            return math.inf
        return max(self.unanswered[0][1], self.last_heard) + self._timeout


class ProtocolHeartbeat:
    """The message protocol's heartbeat on one connection. I/O thread only.

    Attributes:
        next_at: when the next one is due; infinity if there is none.
        missed: whether an answer was not received in time.
    """

    __slots__ = ("_hooks", "_patience", "_protocol", "_requests", "_table", "missed", "next_at")

    def __init__(
        self, protocol: Protocol, requests: Requests, table: RequestTable, hooks: Hooks, patience: float | None
    ) -> None:
        """
        Args:
            protocol: defines the messages and their interval.
            requests: encodes them.
            table: the requests that have not ended.
            hooks: reports an error of the protocol.
            patience: seconds to wait for an answer; None waits for one interval.
        """
        self._protocol = protocol
        self._requests = requests
        self._table = table
        self._hooks = hooks
        self._patience = patience
        self.next_at = math.inf
        self.missed = False

    def begin(self, now: float) -> None:
        """Start the interval, when the connection opens."""
        if self._protocol.heartbeat is not None:
            self.next_at = now + self._protocol.heartbeat[0]

    def look(self, writer: Writer, now: float) -> None:
        """Send a heartbeat if one is due."""
        heartbeat = self._protocol.heartbeat
        if heartbeat is None or now < self.next_at:
            return
        seconds, make = heartbeat
        self.next_at = now + seconds
        try:
            self._send(writer, make(), now, self._patience or seconds)
        except BaseException as cause:  # SystemExit too: it concerns one heartbeat
            error = ProtocolError(f"The heartbeat of the message protocol could not be created: {text_of(cause)}.")
            error.__cause__ = cause
            self._hooks.post_error(error)

    def complete(self, value: Any, error: BaseException | None) -> None:
        """Store whether the answer to a heartbeat timed out."""
        self.missed = self.missed or isinstance(error, RequestTimeout)

    def _send(self, writer: Writer, message: Any, now: float, patience: float) -> None:
        number = writer.write_progress.number
        if not isinstance(message, Wrapped):
            beat = self._requests.encode_one_way(message, connection_number=number)
            if writer.tap is not None:
                writer.tap.heartbeat(beat)
            writer.send_first(beat)
            return
        request = self._requests.make(message.message, Deadline.after(patience, now), connection_number=number)
        request.waiter = self
        self._table.add(request, timed=True)
        if writer.tap is not None:
            writer.tap.heartbeat(request)
        writer.send_first(request)
