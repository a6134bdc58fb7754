"""Commands from other threads to the I/O thread: close, drain, reconnect, drop a connection.

Guarantees:
    * A command consists of assignments and one wake-up. It takes no lock and never blocks, so a signal handler may
      issue one.
    * The wake-up ends each wait of the I/O thread (name look-up, connecting, the TLS handshake, back-off, reading),
      and the I/O thread then reads the command. A command can't interrupt user code that runs on the I/O thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .._errors import WebSocketClientError
from .waiting import Deadline
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
        deadline: when to stop waiting for the peer's close frame and abort the connection. A further close command can
            make it earlier, but not later.
    """

    __slots__ = ("code", "deadline", "reason")

    def __init__(self, code: int, reason: str, deadline: Deadline) -> None:
        self.code = code
        self.reason = reason
        self.deadline = deadline


class Commands:
    """The commands of one client. Any thread writes them; the I/O thread executes and resets them.

    Attributes:
        given: whether a command was ever issued; while it is False, the commands below need not be checked. It is set
            before the command itself, since a KeyboardInterrupt may occur between the two assignments.
        close: close the client permanently. The code and reason of the first close command are used.
        drain: close the client when all its work is finished, at the latest at this deadline.
        reconnect: end the present connection, or the wait before the next attempt, and connect at once; the text is the
            reason.
        drop: for each number of a connection that must end, the error that is the reason.
        nudge: ``Wakeup.nudge`` of the attached wake-up; a function without effect while no wake-up is attached.
        sleeps_until: the time on the monotonic clock at which the present wait of the I/O thread ends without a
            wake-up; infinity while the I/O thread computes that time. Only the I/O thread assigns it.
    """

    __slots__ = ("_wakeup", "close", "drain", "drop", "given", "nudge", "reconnect", "sleeps_until")

    def __init__(self) -> None:
        self._wakeup: Wakeup | None = None
        self.given = False
        self.close: CloseCommand | None = None
        self.drain: Deadline | None = None
        self.drop: dict[int, WebSocketClientError] = {}  # each step is one atomic operation
        self.reconnect: str | None = None
        self.nudge: Callable[[bytes], object] = bytes
        self.sleeps_until = math.inf

    def attach(self, wakeup: Wakeup | None) -> None:
        """Set the wake-up that commands use; None after the I/O thread has ended."""
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
        """Wake the I/O thread if its present wait would end after this deadline."""
        if deadline.at is not None and deadline.at < self.sleeps_until:
            self.wake()

    def order_close(self, code: int, reason: str, deadline: Deadline) -> None:
        """Close the client permanently; see ``CloseCommand``."""
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
        """End the connection with this number; no effect if it has already ended."""
        self.given = True
        self.drop[number] = error
        self.wake()
