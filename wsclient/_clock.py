"""Time as pure arithmetic: one deadline for a whole call, and the rules of keepalive.

Nothing here reads a clock. Callers pass ``now`` in, always from ``time.monotonic()``: no change of the wall clock,
no daylight saving and no NTP step can lengthen or cut a wait.
"""

from __future__ import annotations

import math

__all__ = ["Deadline", "Heartbeat"]


class Deadline:
    """A moment that every wait of one call shares, or none at all (it waits for ever).

    Immutable, so any number of threads may share one.
    """

    __slots__ = ("at",)

    def __init__(self, at: float | None) -> None:
        """
        Args:
            at: the moment on the monotonic clock, in seconds; None for never.
        """
        self.at = at

    @classmethod
    def after(cls, seconds: float | None, now: float) -> Deadline:
        """The deadline ``seconds`` from ``now``; None waits for ever."""
        return cls(None if seconds is None else now + seconds)

    def left(self, now: float) -> float | None:
        """Seconds left, never negative; None for ever."""
        return None if self.at is None else max(0.0, self.at - now)

    def passed(self, now: float) -> bool:
        """Whether the moment has come."""
        return self.at is not None and now >= self.at

    def sooner(self, other: Deadline) -> Deadline:
        """The earlier of the two."""
        if self.at is None:
            return other
        if other.at is None:
            return self
        return self if self.at <= other.at else other


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
