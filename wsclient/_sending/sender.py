"""The present connection as callers see it, and how often a caller's thread writes.

A flood of small messages is cheaper in a few large writes, which the I/O thread makes.

Guarantees:
    * Any thread may ask. Two at once may be let through where one should: a write more than needed, and no harm.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .._models import Disconnect
    from .message import Outgoing
    from .writer import Wire

__all__ = ["BURST", "SMALL", "WINDOW", "Link", "Pace"]

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


class Link:
    """The present connection, as other threads see it. Written by the I/O thread, one assignment at a time.

    Attributes:
        wire: the way out; None while there is no connection.
        number: connections opened so far, which is the present one's number.
        opened_at: since when the present one is open; None if it is not.
        paused: whether reading waits for slow hooks or streams.
        sleeps_until: the moment the I/O thread will look around at the latest, if nobody wakes it; infinity while it is
            about to find out.
        last: how the last one ended.
        proofs: marks whose pong somebody waits for; whoever waits puts its own in and takes it out.
    """

    __slots__ = ("last", "number", "opened_at", "paused", "proofs", "sleeps_until", "wire")

    def __init__(self) -> None:
        self.wire: Wire | None = None
        self.number = 0
        self.opened_at: float | None = None
        self.paused = False
        self.sleeps_until = math.inf
        self.last: Disconnect | None = None
        self.proofs: dict[Outgoing, None] = {}
