"""Keepalive: when to ping and when a peer counts as dead, and the heartbeat of the message protocol.

``Heartbeat`` reads no clock: callers pass ``now`` in, from ``time.monotonic()``. I/O thread only.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .._errors import ProtocolError, RequestTimeout
from .._threads.deadline import Deadline
from ..protocols import Request as Wrapped

if TYPE_CHECKING:
    from .._sending.writer import Wire
    from .context import Core

__all__ = ["Beat", "Heartbeat"]


class Heartbeat:
    """When to ping, and when to call the peer dead (RFC 6455 §5.5.2).

    A ping falls due every ``interval`` seconds. From the moment the oldest unanswered one fell due, the peer is dead
    once nothing at all has been heard for ``timeout`` seconds. A ping counts from when it *fell due*, not from when
    it could be written: a peer that reads no more keeps our own writes stuck, and must be found all the same. So a
    half-open peer is found at most ``interval + timeout`` after its last byte.

    Any byte is a sign of life, so a pong that queues behind a large message is not missed. Not thread-safe: the
    I/O thread owns it.

    Attributes:
        last_heard: when bytes came last.
        next_at: the next moment at which ``ping_due`` or ``dead`` may change; infinity if never.
    """

    __slots__ = ("_interval", "_next_ping", "_timeout", "_unanswered", "last_heard", "next_at")

    def __init__(self, interval: float | None, timeout: float | None, now: float) -> None:
        """
        Args:
            interval: seconds between pings; None sends none.
            timeout: seconds of silence after a ping that mean death; None never calls a peer dead.
            now: the moment the connection opened.
        """
        self._interval = interval
        self._timeout = timeout
        self._next_ping = math.inf if interval is None else now + interval
        self._unanswered: list[tuple[bytes, float]] = []
        self.last_heard = now
        self.next_at = self._next_ping

    def heard(self, now: float) -> None:
        """Bytes came in, of whatever kind."""
        self.last_heard = now
        if self._unanswered:
            self._reckon()

    def ping_due(self, now: float) -> bool:
        """Whether it is time for a ping."""
        return now >= self._next_ping

    def pinged(self, payload: bytes, now: float) -> None:
        """The ping that was due is on its way; ``payload`` will identify its pong."""
        if self._interval is not None:
            self._next_ping = now + self._interval
        if self._timeout is not None:  # else nobody asks, and a peer that never answers would make it grow
            self._unanswered.append((payload, now))
        self._reckon()

    def answered(self, payload: bytes) -> None:
        """A pong came; it answers its ping and every earlier one (RFC 6455 §5.5.3)."""
        if any(known == payload for known, _ in self._unanswered):
            while self._unanswered.pop(0)[0] != payload:
                pass
            self._reckon()

    def dead(self, now: float) -> bool:
        """Whether the peer has been silent for too long."""
        return now >= self._dies_at()

    def _reckon(self) -> None:
        self.next_at = min(self._next_ping, self._dies_at())

    def _dies_at(self) -> float:
        if self._timeout is None or not self._unanswered:
            return math.inf
        return max(self._unanswered[0][1], self.last_heard) + self._timeout


class Beat:
    """The heartbeat of one connection.

    Attributes:
        next_at: when the next one is due; infinity if there is none.
        missed: whether an answer did not come in time.
    """

    __slots__ = ("_core", "missed", "next_at")

    def __init__(self, core: Core) -> None:
        """
        Args:
            core: the client.
        """
        self._core = core
        self.next_at = math.inf
        self.missed = False

    def begin(self, now: float) -> None:
        """The connection is open."""
        if self._core.protocol.heartbeat is not None:
            self.next_at = now + self._core.protocol.heartbeat[0]

    def look(self, wire: Wire, now: float) -> None:
        """Send one if it is due."""
        heartbeat = self._core.protocol.heartbeat
        if heartbeat is None or now < self.next_at:
            return
        seconds, make = heartbeat
        self.next_at = now + seconds
        try:
            self._send(wire, make(), now)
        except Exception as cause:
            error = ProtocolError(f"A heartbeat of the message protocol could not be made: {cause}.")
            error.__cause__ = cause
            self._core.hooks.post_error(error)

    def complete(self, value: Any, error: BaseException | None) -> None:
        """An answer came, or none."""
        self.missed = self.missed or isinstance(error, RequestTimeout)

    def _send(self, wire: Wire, message: Any, now: float) -> None:
        protocol, number = self._core.protocol, wire.write_progress.number
        if not isinstance(message, Wrapped):
            wire.send_first(self._core.requests.encode_one_way(message, connection_number=number))
            return
        assert protocol.heartbeat is not None
        patience = self._core.settings.line.ping_timeout or protocol.heartbeat[0]
        request = self._core.requests.make(message.message, Deadline.after(patience, now), connection_number=number)
        request.waiter = self
        self._core.pending.add(request, timed=True)
        wire.send_first(request)
