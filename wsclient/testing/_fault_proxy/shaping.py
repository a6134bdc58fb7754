"""What a slow line does to bytes, as pure arithmetic: when they come out, and how many at a time. No socket, no clock.

A ``Flow`` is one direction of one connection. Bytes go in by ``feed(data, now)`` and are handed out by ``due(now)``, in
order, each exactly once. ``next_at(now)`` says when to ask again. One thread owns a flow.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from typing import Final

__all__ = ["BUFFER_SIZE", "PLAIN", "Flow", "Shape"]

BUFFER_SIZE: Final = 256 * 1024
"""Bytes under way in one direction of one connection, after which nothing more is read: the sender feels it, as he
would on a real line. At a latency of 0.1 s it still lets 2.5 MB/s through."""

_BURST: Final = 0.02
"""Seconds' worth of bytes that a bandwidth hands out at once, so that a fast line does not wake for each byte."""


@dataclass(frozen=True)
class Shape:
    """How slow a line is.

    Attributes:
        latency: seconds each byte is under way.
        jitter: seconds by which the latency varies, up or down, evenly distributed; never so that bytes overtake.
        bandwidth: bytes per second in each direction of each connection; None for no bound.
    """

    latency: float = 0.0
    jitter: float = 0.0
    bandwidth: float | None = None


PLAIN: Final = Shape()
"""A line that does nothing to its bytes."""


class Flow:
    """The bytes under way in one direction.

    Attributes:
        shape: how slow the line is; may be assigned. A new latency counts for the bytes that come in from then on, a
            new bandwidth at once.
        size: bytes under way.
    """

    __slots__ = ("_credit", "_credited_at", "_ended", "_limit", "_pieces", "_random", "_released_at", "shape", "size")

    def __init__(self, shape: Shape, chance: random.Random, limit: int = BUFFER_SIZE) -> None:
        """
        Args:
            shape: how slow the line is.
            chance: draws the jitter; seeded, so that a run can be repeated.
            limit: bytes that may be under way.
        """
        self.shape = shape
        self.size = 0
        self._random = chance
        self._limit = limit
        self._pieces: deque[tuple[float, memoryview]] = deque()
        self._released_at = float("-inf")  # when the newest piece comes out
        self._ended = False
        self._credit = 0.0  # bytes the bandwidth allows
        self._credited_at = float("-inf")

    @property
    def room(self) -> int:
        """Bytes that may come in; 0 behind the end."""
        return 0 if self._ended else max(0, self._limit - self.size)

    def feed(self, data: bytes, now: float) -> None:
        """Bytes came in."""
        self._pieces.append((self._release(now), memoryview(data)))
        self.size += len(data)

    def end(self, now: float) -> None:
        """The sender has ended his stream; the end takes as long as a byte."""
        self._release(now)
        self._ended = True

    def due(self, now: float) -> memoryview | None:
        """What may come out now; None if there is nothing. It stays here until it was ``taken``."""
        if not self._pieces or self._pieces[0][0] > now:
            return None
        piece = self._pieces[0][1]
        if self.shape.bandwidth is None:
            return piece
        allowed = int(self._credit_at(now, self.shape.bandwidth) + 1e-6)  # what rounding took off a whole byte
        return piece[:allowed] if allowed else None

    def taken(self, count: int, now: float) -> None:
        """So many bytes of what was due have come out."""
        released_at, piece = self._pieces[0]
        if count == len(piece):
            self._pieces.popleft()
        else:
            self._pieces[0] = (released_at, piece[count:])
        self.size -= count
        if self.shape.bandwidth is not None:
            self._credit = max(0.0, self._credit_at(now, self.shape.bandwidth) - count)
            self._credited_at = now

    def over(self, now: float) -> bool:
        """Whether the end has come out, behind every byte."""
        return self._ended and not self._pieces and now >= self._released_at

    def next_at(self, now: float) -> float | None:
        """When to ask ``due`` or ``over`` again; in the past if there is something by now, None if only bytes that come
        in can change anything.
        """
        if not self._pieces:
            return self._released_at if self._ended else None
        released_at, piece = self._pieces[0]
        rate = self.shape.bandwidth
        if released_at > now or rate is None:
            return released_at
        wanted = min(float(len(piece)), max(1.0, rate * _BURST / 2))
        credit = self._credit_at(now, rate)
        return now + max(0.0, wanted - credit) / rate

    def _release(self, now: float) -> float:
        shape = self.shape
        delay = shape.latency
        if shape.jitter:
            delay += self._random.uniform(-shape.jitter, shape.jitter)
        self._released_at = max(self._released_at, now + max(0.0, delay))
        return self._released_at

    def _credit_at(self, now: float, rate: float) -> float:
        if self._credited_at == float("-inf"):
            self._credited_at = now  # an idle line has saved nothing up to its first byte
        most = max(1.0, rate * _BURST)
        return min(most, self._credit + max(0.0, now - self._credited_at) * rate)
