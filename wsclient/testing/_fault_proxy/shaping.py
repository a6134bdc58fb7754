"""Latency, jitter and bandwidth as pure arithmetic: when bytes are forwarded, and how many at a time. No socket, no
clock.

A ``Flow`` is one direction of one connection. ``feed(data, now)`` adds bytes. ``due(now)`` returns the bytes to forward
now, in the order in which they were added. ``taken(count, now)`` removes those that were forwarded. ``next_at(now)``
returns when to call ``due`` again. Only one thread may use a flow.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from typing import Final

__all__ = ["BUFFER_SIZE", "Flow", "Shape"]

BUFFER_SIZE: Final = 256 * 1024
"""Limit of the bytes in transit in one direction of one connection. At the limit no more bytes are read, so the sender
has to wait, as on a real network. With a latency of 0.1 s this limit allows 2.5 MB/s."""

_BURST: Final = 0.02
"""Seconds. If the bandwidth is limited, the bytes that it allows in this time may be forwarded at once, so that the
loop does not wake for each byte."""


@dataclass(frozen=True)
class Shape:
    """Latency, jitter and bandwidth of a connection.

    Attributes:
        latency: the delay of each byte, in seconds.
        jitter: largest deviation from the latency, in seconds, uniformly distributed above and below it; the order of
            bytes does not change.
        bandwidth: bytes per second in each direction of each connection; None for no limit.
    """

    latency: float = 0.0
    jitter: float = 0.0
    bandwidth: float | None = None


class Flow:
    """The bytes in transit in one direction.

    Attributes:
        shape: latency, jitter and bandwidth; may be assigned. A new latency applies to bytes that are added later, a
            new bandwidth to all.
        size: the number of bytes in transit.
    """

    __slots__ = (
        "_credit", "_credited_at", "_ended", "_limit", "_pieces", "_random_numbers", "_released_at", "shape", "size",
    )  # fmt: skip

    def __init__(self, shape: Shape, random_numbers: random.Random, limit: int = BUFFER_SIZE) -> None:
        """
        Args:
            shape: latency, jitter and bandwidth.
            random_numbers: for the jitter; seeded, so that a run can be repeated.
            limit: the largest number of bytes in transit.
        """
        self.shape = shape
        self.size = 0
        self._random_numbers = random_numbers
        self._limit = limit
        self._pieces: deque[tuple[float, memoryview]] = deque()
        self._released_at = float("-inf")  # when the newest piece becomes due
        self._ended = False
        self._credit = 0.0  # bytes that the bandwidth allows, at the moment _credited_at
        self._credited_at = float("-inf")

    @property
    def room(self) -> int:
        """How many bytes may be added; 0 after the end."""
        return 0 if self._ended else max(0, self._limit - self.size)

    def feed(self, data: bytes, now: float) -> None:
        """Add bytes that were received at ``now``."""
        self._pieces.append((self._release(now), memoryview(data)))
        self.size += len(data)

    def end(self, now: float) -> None:
        """Add the end of the stream; it is delayed like a byte."""
        self._release(now)
        self._ended = True

    def due(self, now: float) -> memoryview | None:
        """The bytes to forward at ``now``; None if there are none. ``taken`` must be called for the forwarded ones."""
        if not self._pieces or self._pieces[0][0] > now:
            return None
        piece = self._pieces[0][1]
        if self.shape.bandwidth is None:
            return piece
        allowed = int(self._credit_at(now, self.shape.bandwidth) + 1e-6)  # rounding may make 1 byte 0.9999999 bytes
        return piece[:allowed] if allowed else None

    def taken(self, count: int, now: float) -> None:
        """Remove the first ``count`` bytes that ``due`` has returned."""
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
        """Whether all bytes were forwarded and the end of the stream is due."""
        return self._ended and not self._pieces and now >= self._released_at

    def next_at(self, now: float) -> float | None:
        """When to call ``due`` or ``over`` again.

        Returns:
            A moment on the clock of ``now``, in the past if bytes or the end are already due; None if nothing is in
            transit.
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
            delay += self._random_numbers.uniform(-shape.jitter, shape.jitter)
        self._released_at = max(self._released_at, now + max(0.0, delay))
        return self._released_at

    def _credit_at(self, now: float, rate: float) -> float:
        if self._credited_at == float("-inf"):
            self._credited_at = now  # the time before the first byte does not count
        most = max(1.0, rate * _BURST)
        return min(most, self._credit + max(0.0, now - self._credited_at) * rate)
