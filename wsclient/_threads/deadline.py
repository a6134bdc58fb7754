"""Time as pure arithmetic: one deadline for a whole call.

Nothing here reads a clock. Callers pass ``now`` in, always from ``time.monotonic()``: no change of the wall clock,
no daylight saving and no NTP step can lengthen or cut a wait.
"""

from __future__ import annotations

from typing import Final

__all__ = ["NEVER", "Deadline"]


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


NEVER: Final = Deadline(None)
"""The deadline of what waits as long as it takes."""
