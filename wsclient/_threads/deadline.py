"""One deadline for all waits of one call, as pure arithmetic.

Nothing here reads a clock. Callers pass ``now``, always from ``time.monotonic()``, so a change of the wall clock,
daylight saving time or an NTP step can neither lengthen nor shorten a wait.
"""

from __future__ import annotations

from typing import Final

__all__ = ["NEVER", "Deadline"]


class Deadline:
    """The moment at which all waits of one call end. A deadline without a moment sets no time limit.

    Immutable, so any number of threads may share one.

    Attributes:
        at: the moment on the monotonic clock, in seconds; None for never.
        seconds: the timeout of the call, which the texts of errors show; None if unknown.
    """

    __slots__ = ("at", "seconds")

    def __init__(self, at: float | None, seconds: float | None = None) -> None:
        """
        Args:
            at: the moment on the monotonic clock, in seconds; None for never.
            seconds: see the class.
        """
        self.at = at
        self.seconds = seconds

    @classmethod
    def after(cls, seconds: float | None, now: float) -> Deadline:
        """The deadline ``seconds`` after ``now``; with None, a deadline that never passes."""
        return cls(None if seconds is None else now + seconds, seconds)

    def left(self, now: float) -> float | None:
        """Seconds left, never negative; None if the deadline never passes."""
        return None if self.at is None else max(0.0, self.at - now)

    def passed(self, now: float) -> bool:
        """Whether the deadline has passed."""
        return self.at is not None and now >= self.at

    def sooner(self, other: Deadline) -> Deadline:
        """The earlier of two deadlines."""
        if self.at is None:
            return other
        if other.at is None:
            return self
        return self if self.at <= other.at else other


NEVER: Final = Deadline(None)
"""The deadline of waits without a time limit."""
