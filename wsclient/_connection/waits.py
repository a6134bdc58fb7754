"""The waits of the I/O thread while no connection is open, and while one is being opened.

Everything here runs on that thread, except ``sockets`` and ``wake``. All open connections are served during these waits
(a renewal opens a connection while another one is open).
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from .._network.poller import Poller
from .._threads.commands import Interrupted
from .._threads.waiting import Deadline, Latch
from .._threads.wakeup import Wakeup

if TYPE_CHECKING:
    from .context import ClientContext
    from .served import ServedConnections

__all__ = ["Waits"]

_NO_WAKEUP_CHECK: Final = 0.1
"""Seconds between two checks of the commands while the process has no file descriptor left for a wake-up."""


class Waits:
    """Waits for the sockets of a connection that is being opened (see ``_network.poller.Watch``), and before the next
    attempt. It owns the poller and the wake-up of the I/O thread.
    """

    __slots__ = ("_context", "_is_interrupted", "_opening_sockets", "_poller", "_served", "_wakeup")

    def __init__(self, context: ClientContext, served: ServedConnections, is_interrupted: Callable[[], bool]) -> None:
        """
        Args:
            context: the client.
            served: the open connections; they get the poller.
            is_interrupted: called before each wait; returns whether a command ends it.
        """
        self._context = context
        self._served = served
        self._is_interrupted = is_interrupted
        self._poller: Poller | None = None
        self._wakeup: Wakeup | None = None
        self._opening_sockets: list[socket.socket] = []  # for which the connector has waited last

    def sockets(self) -> list[socket.socket]:
        """Return the sockets of the poller, and those for which the connector has waited last. Any thread."""
        poller = self._poller
        return [*self._opening_sockets, *([] if poller is None else poller.sockets())]

    def forget_sockets(self) -> None:
        """Called when no connection is being opened any more."""
        self._opening_sockets = []

    def wait(self, sock: socket.socket, events: int, deadline: Deadline) -> None:
        """Wait until a socket is ready (see ``_network.poller.Watch``)."""
        poller = self._poller
        assert poller is not None
        self._opening_sockets = [sock]
        while True:
            seconds = self._before_wait(deadline)
            if seconds == 0.0 and deadline.passed(time.monotonic()):
                raise TimeoutError
            if self._served.others(None):
                if self._served.wait({sock: events}, Deadline.after(seconds, time.monotonic())):
                    return
            elif poller.wait(sock, events, seconds):
                return

    def wait_any(self, socks: dict[socket.socket, int], deadline: Deadline) -> list[socket.socket]:
        """Wait until some sockets are ready (see ``_network.poller.Watch``)."""
        poller = self._poller
        assert poller is not None
        self._opening_sockets = list(socks)
        while True:
            seconds = self._before_wait(deadline)
            if self._served.others(None):
                ready = self._served.wait(socks, Deadline.after(seconds, time.monotonic()))
            else:
                ready = poller.wait_any(socks, seconds)
            if ready or deadline.passed(time.monotonic()):
                return ready

    def wait_until(self, happened: Callable[[], bool], deadline: Deadline) -> None:
        """Wait until a condition is true (see ``_network.poller.Watch``)."""
        while not happened():
            seconds = self._before_wait(deadline)
            if seconds == 0.0 and deadline.passed(time.monotonic()):
                raise TimeoutError
            self._wait_without_socket(seconds)

    @property
    def wake(self) -> Callable[[], None]:
        """A function that ends the wait (see ``_network.poller.Watch``)."""
        return self._context.commands.wake

    def back_off(self, deadline: Deadline) -> None:
        """Wait before the next attempt; a command ends the wait."""
        try:
            while not deadline.passed(time.monotonic()):
                self._wait_for_wakeup(self._before_wait(deadline))
        except Interrupted:
            pass

    def _wait_for_wakeup(self, seconds: float | None) -> None:
        """Wait at most for this time, while no connection is opened; make the poller if it is missing or broken."""
        try:
            if self._poller is not None and not self._poller.is_broken:
                self._wait_without_socket(seconds)
            else:
                self.prepare()  # then do not wait: a command may have been given before the wake-up was attached
        except OSError:  # other code has closed the wake-up, or the process has no file descriptor left for another one
            longest = _NO_WAKEUP_CHECK if seconds is None else min(seconds, _NO_WAKEUP_CHECK)
            Latch().wait(Deadline.after(longest, time.monotonic()))

    def _wait_without_socket(self, seconds: float | None) -> None:
        """Wait for the wake-up, at most for this time, without a socket of a new connection. Open connections are
        served meanwhile.
        """
        assert self._poller is not None
        if self._served.others(None):
            self._served.wait({}, Deadline.after(seconds, time.monotonic()))
        else:
            self._poller.wait(None, 0, seconds)

    def prepare(self) -> Poller:
        """Return the poller. If there is none that works, make it and its wake-up.

        Raises:
            OSError: the process has no file descriptor left.
        """
        poller = self._poller
        if poller is None or poller.is_broken:
            self.close()
            self._wakeup = Wakeup()
            self._poller = self._served.poller = poller = Poller(self._wakeup)
            self._context.commands.attach(self._wakeup)
        return poller

    def close(self) -> None:
        """Close the poller and its wake-up."""
        self._context.commands.attach(None)
        if self._wakeup is not None:
            self._wakeup.close()
        self._poller = self._served.poller = self._wakeup = None

    def _before_wait(self, deadline: Deadline) -> float | None:
        """Handle commands and timers, then return the seconds for which this thread may wait.

        Raises:
            Interrupted: ``close()`` or ``reconnect()`` was called, or ``drain()`` during a renewal.
        """
        context = self._context
        context.subscriptions.apply_events()
        if context.recorder is not None:
            context.recorder.write()
        if self._is_interrupted():
            raise Interrupted("A command ends the wait.")
        # If another thread sets an earlier timer from now on, it will wake this thread.
        context.commands.sleeps_until = math.inf
        now = time.monotonic()
        if context.table.handed_over:
            context.table.take_handed_over()
        if now >= context.starter.retry_at:
            context.starter.retry()
        context.requests.expire(now)
        context.changes.announce()
        if context.commands.drain is not None:
            deadline = deadline.sooner(context.commands.drain)
        deadline = deadline.sooner(Deadline(context.table.next_deadline()))
        if context.starter.retry_at != math.inf:
            deadline = deadline.sooner(Deadline(context.starter.retry_at))
        if deadline.at is not None:  # pragma: no branch  (each caller has a limit)
            context.commands.sleeps_until = deadline.at
        return deadline.left(now)
