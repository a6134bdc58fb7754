"""The limit on messages per second: one token bucket for each connection. Pure arithmetic, without a clock.

Callers pass ``now``, always from ``time.monotonic()``.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["TokenBucket"]

_TOLERANCE: Final = 1e-6
"""The part of a token that may be missing: it absorbs the rounding of sums of times."""


class TokenBucket:
    """Allows ``burst`` messages at once, and ``rate`` messages per second after them (a token bucket; the arithmetic is
    that of the generic cell rate algorithm, ITU-T I.371).

    In each span of ``t`` seconds at most ``burst + rate * t`` messages are allowed, and no message has to wait although
    this limit would allow it. The bucket is full at its start.

    Only the writer calls ``take``. Any thread may read ``ready_at``, which changes by one assignment.

    Attributes:
        ready_at: the time from which on the next message is allowed.
    """

    __slots__ = ("_interval", "_slack", "ready_at")

    def __init__(self, rate: float, burst: int) -> None:
        """
        Args:
            rate: messages per second.
            burst: messages at once.
        """
        self._interval = 1.0 / rate
        self._slack = (burst - 1 + _TOLERANCE) * self._interval
        self.ready_at = -math.inf

    def take(self, now: float) -> None:
        """Count a message that is sent now; the caller has checked that ``now >= ready_at``."""
        self.ready_at = max(self.ready_at, now - self._slack) + self._interval
