"""A TCP proxy that breaks the line in the ways networks do, between any client and any server.

Guarantees:
    * Every method may be called from any thread, and what it orders is in force when it returns: no test needs to
      sleep. It raises ``TimeoutError`` rather than wait longer than 10 s.
    * Bytes are never changed, doubled or reordered; TLS passes through untouched.
    * One thread, however many connections there are (``_fault_proxy.loop``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ..._threads.deadline import Deadline
from ..._validation import check_choice, check_count, check_seconds
from .._servers.sockets import listen
from .loop import Order, Switch
from .pipe import DOWN, UP
from .proxy_stats import ProxyStats
from .shaping import Shape
from .targets import parse_target

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["FaultProxy"]

ORDER_TIMEOUT: Final = 10.0
"""Seconds the proxy's thread may take to put something into force; it takes less than a millisecond."""

WAIT: Final = 15.0
"""Seconds ``wait_for`` gives by default; the same as ``Server.wait_for``."""

_DIRECTIONS: Final = {UP: frozenset({UP}), DOWN: frozenset({DOWN}), "both": frozenset({UP, DOWN}), None: frozenset()}


class FaultProxy:
    """Forwards connections to a server, and breaks them when it is told to.

        with Server() as server, FaultProxy(server.url) as proxy:
            with wsclient.connect(proxy.url, ping_interval=0.5, ping_timeout=0.5) as client:
                proxy.freeze()                     # half-open: the client's keepalive finds it
                proxy.wait_for(accepted=2)         # and connects anew, into the frozen line
                proxy.thaw()

    ``"up"`` is the direction from client to server, ``"down"`` the other. Each fault concerns all connections.
    """

    def __init__(
        self,
        target: str | int,
        *,
        port: int = 0,
        latency: float = 0.0,
        jitter: float = 0.0,
        bandwidth: float | None = None,
        seed: int = 0,
    ) -> None:
        """
        Args:
            target: the server: its URL, ``"host:port"``, or a port on this machine. Any protocol over TCP will do.
            port: TCP port to listen at, on loopback; 0 takes a free one.
            latency: see ``latency()``.
            jitter: see ``latency()``.
            bandwidth: see ``bandwidth()``.
            seed: what the jitter is drawn with; the same seed and the same traffic give the same delays.

        Raises:
            ValueError: the target can't be read.
            OSError: its host name is not known, or the port is taken.
        """
        self._target = parse_target(target)
        host = "::1" if self._target.host == "::1" else "127.0.0.1"
        shape = _shape(latency, jitter, bandwidth)
        addresses = self._target.addresses()
        listener = listen(host, port)
        self._host = host
        self.port: int = listener.getsockname()[1]
        self._switch = Switch(listener, addresses, shape, seed)
        self._thread = threading.Thread(target=self._switch.run, name="wsclient-testing-proxy", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The target's URL, through the proxy: same scheme, path and query. ``localhost`` stays ``localhost``, so that
        its certificate is still the right one; a host elsewhere becomes ``127.0.0.1``.
        """
        return self._target.url_through(self._host, self.port)

    @property
    def stats(self) -> ProxyStats:
        """What was counted up to now."""
        return self._switch.stats()

    def wait_for(self, timeout: float = WAIT, **figures: int) -> ProxyStats:
        """Wait until figures of ``stats`` are at least so high: ``proxy.wait_for(cut=1)``, ``wait_for(bytes_up=100)``.

        Args:
            timeout: seconds.
            figures: names of ``ProxyStats``' attributes, and numbers.

        Raises:
            TimeoutError: they were not within the timeout; the sentence shows what they are.
        """
        deadline = Deadline.after(check_seconds("timeout", timeout, zero=True), time.monotonic())
        while True:
            with self._switch.changed.watch() as latch:
                stats = self.stats
                if all(getattr(stats, name) >= least for name, least in figures.items()):
                    return stats
                if not latch.wait(deadline):
                    raise TimeoutError(f"Not within {timeout:g} s: {figures}. The proxy stands at {stats}.")

    # --- ends --------------------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """End every connection with a FIN on both sides. What is under way in the proxy is lost."""
        self._order(self._switch.cut)

    def reset(self) -> None:
        """End every connection with a RST on both sides."""
        self._order(self._switch.reset)

    def cut_after(self, count: int, direction: str) -> None:
        """Let so many more bytes pass in one direction, then cut (FIN) the connection that carried the last of them.

        Exact to the byte: the receiver gets these and no more. It happens once; the bytes count from this call on, over
        all connections together, and what the client does next meets a sound line. ``wait_for(cut=1)`` waits for it.

        Args:
            count: at least 1; ``cut()`` is for 0.
            direction: ``"up"`` or ``"down"``.
        """
        check_count("count", count)
        check_choice("direction", direction, (UP, DOWN))
        self._order(partial(self._switch.traffic.faults.cut_after.__setitem__, direction, count))

    def refuse(self) -> None:
        """Take no new connection: each is reset at once, as by a host that has gone; those that are open stay.

        (A listener that is gone would refuse them a step earlier, but its port could be taken meanwhile, and nobody
        would count.)
        """
        self._order(partial(setattr, self._switch.traffic.faults, "refusing", True))

    def accept(self) -> None:
        """Take new connections again, after ``refuse()``."""
        self._order(partial(setattr, self._switch.traffic.faults, "refusing", False))

    # --- silences ----------------------------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Nothing moves any more and nobody is told: half-open, as with a pulled cable.

        Not even the end of a connection is handed on. New connections are accepted (their operating system can't tell)
        and hear nothing.
        """
        self._order(partial(setattr, self._switch.traffic.faults, "frozen", True))

    def thaw(self) -> None:
        """Everything that was held goes on, in order; after ``freeze()``. What ``drop_direction`` does stays."""
        self._order(partial(setattr, self._switch.traffic.faults, "frozen", False))

    def drop_direction(self, direction: str | None = "up") -> None:
        """Swallow whatever goes one way; the connections stay, and the other way works.

        The end of a stream is swallowed as well, and handed on after ``drop_direction(None)``; bytes never.

        Args:
            direction: ``"up"``, ``"down"``, ``"both"``; None swallows nothing any more.
        """
        if direction not in _DIRECTIONS:
            raise ValueError(f"direction must be 'up', 'down', 'both' or None, not {direction!r}.")
        self._order(partial(setattr, self._switch.traffic.faults, "dropping", _DIRECTIONS[direction]))

    # --- slowness ----------------------------------------------------------------------------------------------------

    def latency(self, seconds: float, jitter: float = 0.0) -> None:
        """Delay every byte that comes in from now on, in both directions; in order.

        Args:
            seconds: how long; 0 not at all.
            jitter: seconds by which the delay varies up and down, evenly distributed.
        """
        checked = _shape(seconds, jitter, None)
        self._order(partial(self._reshape, latency=checked.latency, jitter=checked.jitter))

    def bandwidth(self, bytes_per_second: float | None) -> None:
        """Let no more than so many bytes a second through each direction of each connection; None: as many as come."""
        self._order(partial(self._reshape, bandwidth=_shape(0.0, 0.0, bytes_per_second).bandwidth))

    # --- life --------------------------------------------------------------------------------------------------------

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Wait until ``close()`` was called elsewhere.

        Args:
            timeout: seconds; None waits for as long as it takes.

        Returns:
            False if the timeout passed first.
        """
        self._thread.join(None if timeout is None else check_seconds("timeout", timeout, zero=True))
        return not self._thread.is_alive()

    def close(self) -> None:
        """Cut every connection and listen no more. Idempotent.

        Raises:
            RuntimeError: the proxy's thread had failed before.
        """
        if self._thread.is_alive():
            self._switch.submit(Order(self._switch.stop))
            self._thread.join(ORDER_TIMEOUT)
        if self._switch.failure is not None:
            raise RuntimeError("The thread of the FaultProxy has failed.") from self._switch.failure

    stop = close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _order(self, call: Callable[[], Any]) -> None:
        order = Order(call)
        self._switch.submit(order)
        if not order.done.wait(Deadline.after(ORDER_TIMEOUT, time.monotonic())):
            raise TimeoutError(f"The thread of the FaultProxy has not come round within {ORDER_TIMEOUT:g} s.")
        if order.error is not None:
            raise order.error

    def _reshape(self, **changes: Any) -> None:
        self._switch.traffic.reshape(replace(self._switch.traffic.faults.shape, **changes))


def _shape(latency: float, jitter: float, bandwidth: float | None) -> Shape:
    shape = Shape(
        check_seconds("latency", latency, zero=True),
        check_seconds("jitter", jitter, zero=True),
        None if bandwidth is None else _checked_bandwidth(bandwidth),
    )
    if shape.jitter > shape.latency:
        raise ValueError(f"jitter must be at most the latency, which it varies, not {jitter!r} with {latency!r}.")
    return shape


def _checked_bandwidth(value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"bandwidth must be a number of bytes per second or None, not {value!r}.")
    if not 0 < value < float("inf"):
        raise ValueError(f"bandwidth must be a finite number of bytes per second above 0, not {value!r}.")
    return float(value)
