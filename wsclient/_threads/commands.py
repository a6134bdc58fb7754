"""What other threads want of the background thread.

Guarantees:
    * Giving an order is one assignment and one wake-up: no lock, nothing waits, legal in a signal handler.
    * The background thread sees each order after the wake-up that came with it, in whatever it is doing but the user's
      own code.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .._errors import WebSocketClientError
from .deadline import Deadline
from .wakeup import Wakeup

__all__ = ["CloseOrder", "Interrupted", "Orders"]


class Interrupted(WebSocketClientError):
    """Ends what the background thread is waiting for, because an order wants something else. Callers never see it."""


class CloseOrder:
    """How to close.

    Attributes:
        code: the close code to send.
        reason: the text to send.
        deadline: when to stop being polite. A later, more impatient close only brings it forward.
    """

    __slots__ = ("code", "deadline", "reason")

    def __init__(self, code: int, reason: str, deadline: Deadline) -> None:
        self.code = code
        self.reason = reason
        self.deadline = deadline


class Orders:
    """The orders of one client.

    Attributes:
        given: whether there ever was any; else nobody needs to look at the others. Set first: an interrupt may strike.
        close: close for good. The first one's code and reason count.
        drain: close once everything is finished, or at this deadline.
        reconnect: drop the connection, or the wait for one, and connect at once; its text is the reason.
        drop: end the connection of this number because of this error.
        nudge: see ``Wakeup``; of who listens now.
        sleeps_until: when the background thread looks at everything again at the latest, if it is not woken, on the
            monotonic clock; infinity while it is about to find out. That thread assigns it.
    """

    __slots__ = ("_wakeup", "close", "drain", "drop", "given", "nudge", "reconnect", "sleeps_until")

    def __init__(self) -> None:
        self._wakeup: Wakeup | None = None
        self.given = False
        self.close: CloseOrder | None = None
        self.drain: Deadline | None = None
        self.drop: tuple[int, WebSocketClientError] | None = None
        self.reconnect: str | None = None
        self.nudge: Callable[[bytes], object] = bytes
        self.sleeps_until = math.inf

    def attach(self, wakeup: Wakeup | None) -> None:
        """From now on orders wake whoever waits here; None: nobody listens any more."""
        self._wakeup = wakeup
        self.nudge = bytes if wakeup is None else wakeup.nudge

    def close_descriptors(self) -> None:
        """Give back the wake-up's descriptors, in a forked child."""
        if self._wakeup is not None:
            self._wakeup.close()

    def wake(self) -> None:
        """Have the background thread look at everything anew."""
        wakeup = self._wakeup
        if wakeup is not None:
            wakeup.wake()

    def wake_by(self, deadline: Deadline) -> None:
        """Have the background thread look at everything again by this deadline."""
        if deadline.at is not None and deadline.at < self.sleeps_until:
            self.wake()

    def order_close(self, code: int, reason: str, deadline: Deadline) -> None:
        """Close for good."""
        self.given = True
        order = self.close
        if order is None:
            self.close = CloseOrder(code, reason, deadline)
        else:
            order.deadline = order.deadline.sooner(deadline)
        self.wake()

    def order_drain(self, deadline: Deadline) -> None:
        """Close when all work is done."""
        self.given = True
        self.drain = deadline if self.drain is None else self.drain.sooner(deadline)
        self.wake()

    def order_reconnect(self, reason: str) -> None:
        """Connect anew."""
        self.given = True
        self.reconnect = reason
        self.wake()

    def order_drop(self, number: int, error: WebSocketClientError) -> None:
        """End one connection; nothing happens if it has ended already."""
        self.given = True
        self.drop = (number, error)
        self.wake()
