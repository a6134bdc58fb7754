"""Commands from other threads to the I/O thread: close, drain, reconnect, drop a connection.

Guarantees:
    * A command is one assignment and one wake-up. It takes no lock and never blocks, so a signal handler may give one.
    * The I/O thread sees a command after the wake-up that belongs to it, in each of its waits: connecting, the TLS
      handshake, back-off, reading. The only exception is user code on the I/O thread, which it can't interrupt.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .._errors import WebSocketClientError
from .deadline import Deadline
from .wakeup import Wakeup

__all__ = ["CloseCommand", "Commands", "Interrupted"]


class Interrupted(WebSocketClientError):
    """Raised on the I/O thread to end a wait (for a connection, for a reply) because of a command.

    Internal: the public calls never raise it.
    """


class CloseCommand:
    """A command to close the client.

    Attributes:
        code: the close code of the close frame (RFC 6455 §7.4).
        reason: the text of the close frame.
        deadline: when to stop waiting for the peer's close frame and cut the connection. Another close command can only
            move it to an earlier moment.
    """

    __slots__ = ("code", "deadline", "reason")

    def __init__(self, code: int, reason: str, deadline: Deadline) -> None:
        self.code = code
        self.reason = reason
        self.deadline = deadline


class Commands:
    """The commands of one client. Any thread writes them; the I/O thread reads them and resets what it has carried out.

    Attributes:
        given: whether there was ever a command; while it is False, the other attributes need no look. It is set before
            the command itself, since a KeyboardInterrupt may strike between the two assignments.
        close: close the client, finally. The code and reason of the first close command are used.
        drain: close the client once all work is finished, or at this deadline.
        reconnect: end the connection, or the wait for one, and connect at once; the text is the reason.
        drop: end the connection with this number because of this error.
        nudge: ``Wakeup.nudge`` of the attached wake-up; a function without effect while none is attached.
        sleeps_until: when the I/O thread looks at everything again at the latest if it is not woken, on the monotonic
            clock; infinity while it is about to find out. The I/O thread assigns it.
    """

    __slots__ = ("_wakeup", "close", "drain", "drop", "given", "nudge", "reconnect", "sleeps_until")

    def __init__(self) -> None:
        self._wakeup: Wakeup | None = None
        self.given = False
        self.close: CloseCommand | None = None
        self.drain: Deadline | None = None
        self.drop: tuple[int, WebSocketClientError] | None = None
        self.reconnect: str | None = None
        self.nudge: Callable[[bytes], object] = bytes
        self.sleeps_until = math.inf

    def attach(self, wakeup: Wakeup | None) -> None:
        """From now on, commands wake the thread that waits on this wake-up; None: the I/O thread has ended."""
        self._wakeup = wakeup
        self.nudge = bytes if wakeup is None else wakeup.nudge

    def close_descriptors(self) -> None:
        """Close the wake-up's file descriptors; called in a forked child, which has copies of them."""
        if self._wakeup is not None:
            self._wakeup.close()

    def wake(self) -> None:
        """Wake the I/O thread, so that it checks its commands and queues again."""
        wakeup = self._wakeup
        if wakeup is not None:
            wakeup.wake()

    def wake_by(self, deadline: Deadline) -> None:
        """Have the I/O thread look at everything again by this deadline."""
        if deadline.at is not None and deadline.at < self.sleeps_until:
            self.wake()

    def order_close(self, code: int, reason: str, deadline: Deadline) -> None:
        """Close the client, finally; see ``CloseCommand``."""
        self.given = True
        command = self.close
        if command is None:
            self.close = CloseCommand(code, reason, deadline)
        else:
            command.deadline = command.deadline.sooner(deadline)
        self.wake()

    def order_drain(self, deadline: Deadline) -> None:
        """Close the client when all work is finished, at the latest at the deadline."""
        self.given = True
        self.drain = deadline if self.drain is None else self.drain.sooner(deadline)
        self.wake()

    def order_reconnect(self, reason: str) -> None:
        """End the connection and open another one."""
        self.given = True
        self.reconnect = reason
        self.wake()

    def order_drop(self, number: int, error: WebSocketClientError) -> None:
        """End the connection with this number; without effect if it has already ended."""
        self.given = True
        self.drop = (number, error)
        self.wake()
