"""How often those who send write for themselves: a flood of small messages is cheaper in a few large writes.

Guarantees:
    * Any thread may ask. Two at once may be let through where one should: a write more than needed, and no harm.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BURST", "SMALL", "WINDOW", "Pace"]

BURST: Final = 4
"""Writes in one window: a few messages in a row go out as they come, as every other client does it."""

WINDOW: Final = 0.001
"""Seconds. A write costs some 10 µs, mostly in the system: at this pace at most a twentieth of the time goes there."""


SMALL: Final = 4 * 1024
"""Bytes up to which a message is small: what the system does with larger ones costs more than the call itself."""


class Pace:
    """Lets a few writes through in every window of time."""

    __slots__ = ("_left", "_until")

    def __init__(self) -> None:
        self._left = 0
        self._until = 0.0

    def allows(self, now: float) -> bool:
        """Whether the caller, who has a message, should write it now; if not, others will in a moment.

        Args:
            now: the time on the monotonic clock, in seconds.
        """
        if now >= self._until:
            self._until = now + WINDOW
            self._left = BURST
        self._left -= 1
        return self._left >= 0
