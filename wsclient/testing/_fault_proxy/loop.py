"""The thread of a ``FaultProxy``: accepts connections, forwards bytes and applies the faults.

Guarantees:
    * One thread owns all sockets, flows and faults. Other threads give it *commands* (through a deque and a wake-up)
      and wait until a command is executed, so its effect is visible when their call returns.
    * This thread blocks only in ``select``: all sockets are non-blocking, and the target's name is looked up before it
      starts.
    * If the thread fails, the error is logged, and each further command raises an error.
"""

from __future__ import annotations

import logging
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from ..._network.poller import READ
from ..._threads.waiting import Latch, Notifier
from ..._threads.wakeup import Wakeup
from .._servers.sockets import WAITING
from .linger import Linger
from .listener import Listener
from .pipe import Address
from .proxy_stats import ProxyStats
from .relay import Relay
from .shaping import Shape

__all__ = ["Command", "Loop"]

_AT_ONCE: Final = 64
"""How many clients are accepted in one turn."""

_log = logging.getLogger("wsclient.testing")


class Command:
    """A function that the proxy's thread must call for another thread.

    Attributes:
        call: the function.
        done: a latch that is opened after the call.
        error: the exception that the function raised, or None.
    """

    __slots__ = ("call", "done", "error")

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call
        self.done = Latch()
        self.error: BaseException | None = None


class Loop:
    """The proxy's loop. ``run`` is the body of its thread; only ``submit`` and ``stats`` may run on other threads.

    Attributes:
        relay: the connections and their faults; other threads change them only through commands.
        changed: notifies threads when a count may have changed.
        failure: the exception that ended the thread; None if there is none.
    """

    __slots__ = (
        "_commands",
        "_linger",
        "_listener",
        "_running",
        "_selector",
        "_wakeup",
        "changed",
        "failure",
        "relay",
    )  # fmt: skip

    def __init__(self, listener: socket.socket, addresses: list[Address], shape: Shape, seed: int) -> None:
        """
        Args:
            listener: the listening socket; closed at the end.
            addresses: the target's addresses, tried in order.
            shape: the initial latency, jitter and bandwidth.
            seed: the seed of the jitter's random numbers.
        """
        self.changed = Notifier()
        self.failure: Exception | None = None
        self._commands: deque[Command] = deque()
        self._running = True
        self._wakeup = Wakeup()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wakeup, READ)
        self._listener = Listener(listener, self._selector)
        self._linger = Linger(self._selector)
        self.relay = Relay(self._selector, self._linger, addresses, shape, seed)

    def submit(self, command: Command) -> None:
        """Give a command to the proxy's thread. Thread-safe."""
        self._commands.append(command)
        self._wakeup.wake()
        if not self._running:  # the thread may have checked its commands for the last time
            self._run_commands()

    def stats(self) -> ProxyStats:
        """The counts. Thread-safe."""
        return self.relay.stats()

    def run(self) -> None:
        """Run the loop until ``stop`` is called."""
        try:
            while self._running:
                self._turn()
        except Exception as error:
            self.failure = error
            _log.exception("The thread of a FaultProxy failed.")
        finally:
            self._running = False
            self._release_all()
            self._run_commands()
            self.changed.announce()

    def stop(self) -> None:
        """End the loop after this turn."""
        self._running = False

    def cut(self) -> None:
        """End all connections with a FIN, including those that wait to be accepted."""
        self._accept_clients(WAITING)
        self.relay.cut(self.relay.pipes())

    def reset(self) -> None:
        """End all connections with a RST, including those that wait to be accepted."""
        self._accept_clients(WAITING)
        self.relay.reset(self.relay.pipes())

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._next_wait(time.monotonic())):
            if key.fileobj is self._wakeup:
                self._wakeup.clear()
            elif self._listener.is_listener(key.fileobj):
                self._accept_clients(_AT_ONCE)
            elif key.data is not None:
                self.relay.handle_event(key.data, key.fd)
            else:
                self._linger.discard(key.fileobj)  # type: ignore[arg-type]
        self._run_commands()
        now = time.monotonic()
        self.relay.move(now)
        self._linger.expire(now)
        self._listener.resume(now)
        self.relay.watch()
        self.changed.announce()

    def _next_wait(self, now: float) -> float | None:
        moments = (self._listener.next_at(), self._linger.next_at(), self.relay.next_at(now))
        soonest = min((at for at in moments if at is not None), default=None)
        return None if soonest is None else max(0.0, soonest - now)

    def _accept_clients(self, most: int) -> None:
        for near in self._listener.take(most):
            self.relay.add(near)

    def _run_commands(self) -> None:
        while self._commands:
            try:
                command = self._commands.popleft()
            except IndexError:  # the loop has ended, and submit() on another thread has taken the command
                return
            try:
                if not self._running:
                    raise RuntimeError("The FaultProxy is closed, or its thread has failed.") from self.failure
                command.call()
            except Exception as error:  # the thread that gave the command raises it
                command.error = error
            command.done.open()

    def _release_all(self) -> None:
        self.relay.cut(self.relay.pipes())
        self._linger.close()
        self._selector.close()
        self._listener.close()
        self._wakeup.close()
