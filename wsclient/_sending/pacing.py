"""When messages may be sent: a token bucket for each connection, and the pause of a client. Pure arithmetic, without a
clock.

Callers pass ``now``, always from ``time.monotonic()``.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .._threads.commands import Commands

__all__ = ["Pause", "TokenBucket"]

_TOLERANCE: Final = 1e-6
"""The part of a token that may be missing, because sums of times are rounded."""


class TokenBucket:
    """Allows ``burst`` messages at once, and ``rate`` messages per second after them (a token bucket; the arithmetic is
    that of the generic cell rate algorithm, ITU-T I.371).

    In each span of ``t`` seconds at most ``burst + rate * t`` messages are allowed. A message waits only as long as
    this limit requires. The bucket is full at its start.

    Only the writer calls ``take``. Any thread may read ``ready_at``, which changes by one assignment.

    Attributes:
        ready_at: the next message is allowed at this time or later.
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

    def allowed(self, now: float) -> int:
        """Return how many messages are allowed now.

        Args:
            now: the time on the monotonic clock.
        """
        if now < self.ready_at:
            return 0
        return int((now - max(self.ready_at, now - self._slack)) / self._interval) + 1

    def take(self, now: float) -> None:
        """Count a message that is sent now; the caller has checked that it is allowed."""
        self.ready_at = max(self.ready_at, now - self._slack) + self._interval


class Pause:
    """Until when ``client.pause_sending()`` holds messages back. A client has one, for all its connections.

    It has no lock, since each step is one atomic operation of a list. So any call may use it, also a call by a
    finalizer or a signal handler.

    Attributes:
        ends: the ends of the pauses, normally one; empty if sending is not paused. Other classes only check whether it
            is empty.
    """

    __slots__ = ("_commands", "ends")

    def __init__(self, commands: Commands) -> None:
        """
        Args:
            commands: the commands of the client; a pause has no effect after the command to close or to drain.
        """
        self._commands = commands
        self.ends: list[float] = []

    def begin(self, end: float) -> None:
        """Hold messages back until this time; of several calls, the latest end counts."""
        self.ends.append(end)
        self._forget(end, kept=end)

    def cancel(self) -> None:
        """End the pause now."""
        self.ends.clear()

    def end_or_forget(self, now: float) -> float:
        """Return the same as ``ends_at``. If the pause is over, also remove it from ``ends``.

        Other threads then no longer see that there was a pause, so the caller must make sure that the messages that
        waited are written.

        Args:
            now: the time on the monotonic clock.
        """
        end = self.ends_at(now)
        if end <= now:
            self._forget(now if self._is_allowed() else math.inf)
        return end

    def ends_at(self, now: float) -> float:
        """Return when the pause ends; ``now`` if sending is not paused. For callers that write no messages.

        Args:
            now: the time on the monotonic clock.
        """
        return max([now, *self.ends]) if self._is_allowed() else now

    def _is_allowed(self) -> bool:
        return self._commands.close is None and self._commands.drain is None

    def _forget(self, end: float, kept: float | None = None) -> None:
        """Remove this end and all earlier ones, except ``kept``."""
        for one in self.ends[:]:
            if one <= end and one != kept:
                with contextlib.suppress(ValueError):  # another thread has removed it
                    self.ends.remove(one)
