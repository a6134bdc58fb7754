"""The thread of a ``FaultProxy``: accepts connections, forwards bytes and applies the faults.

Guarantees:
    * One thread owns all sockets, flows and faults. Other threads give it *orders* (through a deque and a wake-up) and
      wait until an order is carried out, so its effect is visible when their call returns.
    * This thread blocks only in ``select``: all sockets are non-blocking, and the target's name is looked up before.
    * If the thread fails, the error is logged, and each further order raises.
"""

from __future__ import annotations

import logging
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable

from ..._network.poller import READ
from ..._threads.waiting import Latch, Notifier
from ..._threads.wakeup import Wakeup
from .linger import Linger
from .listener import Listener
from .pipe import Address
from .proxy_stats import ProxyStats
from .relay import Relay
from .shaping import Shape

__all__ = ["Loop", "Order"]

_log = logging.getLogger("wsclient.testing")


class Order:
    """A function that another thread wants the proxy's thread to call.

    Attributes:
        call: the function.
        done: opened after the call.
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
        relay: the connections and their faults; other threads change them through orders only.
        changed: announced when a count may have changed.
        failure: the exception that ended the thread; None if there is none.
    """

    __slots__ = (
        "_linger",
        "_listener",
        "_orders",
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
        self._orders: deque[Order] = deque()
        self._running = True
        self._wakeup = Wakeup()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wakeup, READ)
        self._listener = Listener(listener, self._selector)
        self._linger = Linger(self._selector)
        self.relay = Relay(self._selector, self._linger, addresses, shape, seed)

    def submit(self, order: Order) -> None:
        """Give an order to the proxy's thread. Any thread."""
        self._orders.append(order)
        self._wakeup.wake()
        if not self._running:  # the thread may have checked its orders for the last time
            self._carry_out_orders()

    def stats(self) -> ProxyStats:
        """The counts. Any thread."""
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
            self._give_everything_back()
            self._carry_out_orders()
            self.changed.announce()

    def stop(self) -> None:
        """End the loop after this turn."""
        self._running = False

    def cut(self) -> None:
        """End every connection with a FIN, including those that wait to be accepted."""
        self._let_in()
        self.relay.cut(self.relay.pipes())

    def reset(self) -> None:
        """End every connection with a RST, including those that wait to be accepted."""
        self._let_in()
        self.relay.reset(self.relay.pipes())

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._patience(time.monotonic())):
            if key.fileobj is self._wakeup:
                self._wakeup.clear()
            elif self._listener.is_behind(key.fileobj):
                self._let_in()
            elif key.data is not None:
                self.relay.look_at(key.data, key.fd)
            else:
                self._linger.throw_away(key.fileobj)  # type: ignore[arg-type]
        self._carry_out_orders()
        now = time.monotonic()
        self.relay.move(now)
        self._linger.expire(now)
        self._listener.resume(now)
        self.relay.watch()
        self.changed.announce()

    def _patience(self, now: float) -> float | None:
        moments = (self._listener.next_at(), self._linger.next_at(), self.relay.next_at(now))
        soonest = min((at for at in moments if at is not None), default=None)
        return None if soonest is None else max(0.0, soonest - now)

    def _let_in(self) -> None:
        for near in self._listener.take():
            self.relay.welcome(near)

    def _carry_out_orders(self) -> None:
        while self._orders:
            try:
                order = self._orders.popleft()
            except IndexError:  # the loop has ended, and submit() on another thread has taken the order
                return
            try:
                if not self._running:
                    raise RuntimeError("The FaultProxy is closed, or its thread has failed.") from self.failure
                order.call()
            except Exception as error:  # the thread that gave the order raises it
                order.error = error
            order.done.open()

    def _give_everything_back(self) -> None:
        self.relay.cut(self.relay.pipes())
        self._linger.close()
        self._selector.close()
        self._listener.close()
        self._wakeup.close()
