"""A TCP proxy, placed between any client and any server. It causes the faults of real networks.

Guarantees:
    * All methods may be called from any thread. A fault has taken effect when its method returns, so no test needs to
      sleep; the method raises ``TimeoutError`` if that takes more than 10 s.
    * Bytes are never changed, duplicated or reordered; TLS is forwarded without decryption.
    * One thread serves all connections (``_fault_proxy.loop``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

from ..._threads.waiting import Deadline
from ..._typing import Self
from ..._validation import check_choice, check_count, check_seconds
from .._servers.sockets import listen
from .loop import Command, Loop
from .pipe import DOWN, UP
from .proxy_stats import ProxyStats
from .shaping import Shape
from .targets import parse_target

__all__ = ["FaultProxy"]

COMMAND_TIMEOUT: Final = 10.0
"""Seconds that the proxy's thread may take to execute a command; normally it takes less than a millisecond."""

WAIT: Final = 15.0
"""Default timeout of ``wait_for``, in seconds; ``Server.wait_for`` has the same."""

_DIRECTIONS: Final = {UP: frozenset({UP}), DOWN: frozenset({DOWN}), "both": frozenset({UP, DOWN}), None: frozenset()}


class FaultProxy:
    """Forwards connections to a server, and causes network faults on command::

        with Server() as server, FaultProxy(server.url) as proxy:
            with wsclient.connect(proxy.url, ping_interval=0.5, ping_timeout=0.5) as client:
                proxy.freeze()                     # half-open: the client's keepalive detects this,
                proxy.wait_for(accepted=2)         # and the client connects again; the proxy is still frozen
                proxy.thaw()

    ``"up"`` is the direction from client to server, ``"down"`` the other one. Each fault affects all connections.
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
            target: the server: its URL, ``"host:port"``, or a port on this machine. Any protocol over TCP works.
            port: the TCP port to listen on, on loopback (on the target's address if it is a loopback address); 0 for a
                free one.
            latency: seconds, see ``latency()``.
            jitter: seconds, see ``latency()``.
            bandwidth: bytes per second, see ``bandwidth()``.
            seed: the seed of the jitter's random numbers; the same seed and the same traffic give the same delays.

        Raises:
            ValueError: the target or another argument is not valid.
            OSError: the target's host name can't be resolved, or the port is in use.
        """
        self._target = parse_target(target)
        host = self._target.proxy_host
        shape = _shape(latency, jitter, bandwidth)
        addresses = self._target.addresses()
        listener = listen(host, port)
        self._host = host
        self.port: int = listener.getsockname()[1]
        self._loop = Loop(listener, addresses, shape, seed)
        self._thread = threading.Thread(target=self._loop.run, name="wsclient-testing-proxy", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The URL of the target through the proxy, with the same scheme, path and query.

        A host that is this machine (``localhost`` or a loopback address) does not change, since the target's
        certificate is valid for it. Any other host is replaced by ``127.0.0.1``.
        """
        return self._target.url_through(self._host, self.port)

    @property
    def stats(self) -> ProxyStats:
        """The counts at this moment."""
        return self._loop.stats()

    def wait_for(self, timeout: float = WAIT, **figures: int) -> ProxyStats:
        """Wait until counts of ``stats`` have reached given values: ``wait_for(cut=1)``, ``wait_for(bytes_up=100)``.

        Args:
            timeout: seconds.
            figures: names of attributes of ``ProxyStats``, with the least value of each.

        Returns:
            The counts.

        Raises:
            TimeoutError: the values were not reached within the timeout; the error text shows the counts.
        """
        deadline = Deadline.after(check_seconds("timeout", timeout, zero=True), time.monotonic())
        while True:
            with self._loop.changed.watch() as latch:
                stats = self.stats
                if all(getattr(stats, name) >= least for name, least in figures.items()):
                    return stats
                if not latch.wait(deadline):
                    raise TimeoutError(f"The counts did not reach {figures} within {timeout:g} s; they are {stats}.")

    # --- ended and refused connections -------------------------------------------------------------------------------

    def cut(self) -> None:
        """End all connections with a FIN on both sides. Bytes that are still in the proxy are lost."""
        self._command(self._loop.cut)

    def reset(self) -> None:
        """End all connections with a RST on both sides."""
        self._command(self._loop.reset)

    def cut_after(self, count: int, direction: str) -> None:
        """Forward ``count`` more bytes in one direction, then send a FIN on both sides of the last byte's connection.

        The receiver gets exactly these bytes. They are counted from this call on, over all connections together. The
        fault happens once; later connections work. ``wait_for(cut=1)`` waits for it.

        Args:
            count: bytes, at least 1; for 0 call ``cut()``.
            direction: ``"up"`` or ``"down"``.
        """
        check_count("count", count)
        check_choice("direction", direction, (UP, DOWN))
        self._command(partial(self._loop.relay.faults.cut_after.__setitem__, direction, count))

    def refuse(self) -> None:
        """Refuse new connections, until ``accept()``: each is reset at once. Open connections are not affected.

        The proxy still listens, so that no other program can take its port and each refusal is counted.
        """
        self._command(partial(setattr, self._loop.relay.faults, "refusing", True))

    def accept(self) -> None:
        """Accept new connections again, after ``refuse()``."""
        self._command(partial(setattr, self._loop.relay.faults, "refusing", False))

    # --- bytes that are not forwarded --------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Forward no bytes until ``thaw()``, and end no connection: they are half-open, as with an unplugged cable.

        The end of a connection is not forwarded either. New connections are accepted, and receive nothing.
        """
        self._command(partial(setattr, self._loop.relay.faults, "frozen", True))

    def thaw(self) -> None:
        """Forward again, after ``freeze()``; all stored bytes follow in order. ``drop_direction`` stays set."""
        self._command(partial(setattr, self._loop.relay.faults, "frozen", False))

    def drop_direction(self, direction: str | None = "up") -> None:
        """Discard all bytes of one direction. The connections stay open, and the other direction works.

        Discarded bytes are lost. If a stream of this direction ends, its end is forwarded only after
        ``drop_direction(None)``.

        Args:
            direction: ``"up"``, ``"down"`` or ``"both"``; None to end the fault.
        """
        if direction not in _DIRECTIONS:
            raise ValueError(f"direction must be 'up', 'down', 'both' or None, not {direction!r}.")
        self._command(partial(setattr, self._loop.relay.faults, "dropping", _DIRECTIONS[direction]))

    # --- latency and bandwidth ---------------------------------------------------------------------------------------

    def latency(self, seconds: float, jitter: float = 0.0) -> None:
        """Delay all bytes that are received after this call, in both directions. Their order does not change.

        Args:
            seconds: the delay; 0 for none.
            jitter: largest deviation from the delay, in seconds, uniformly distributed above and below it; at most the
                delay.
        """
        checked = _shape(seconds, jitter, None)
        self._command(partial(self._reshape, latency=checked.latency, jitter=checked.jitter))

    def bandwidth(self, bytes_per_second: float | None) -> None:
        """Limit the bandwidth of each direction of each connection.

        Args:
            bytes_per_second: the limit; None for no limit.
        """
        self._command(partial(self._reshape, bandwidth=_shape(0.0, 0.0, bytes_per_second).bandwidth))

    # --- the end of the proxy ----------------------------------------------------------------------------------------

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Wait until another thread has called ``close()``.

        Args:
            timeout: seconds; None for no limit.

        Returns:
            False if the timeout passed first.
        """
        self._thread.join(None if timeout is None else check_seconds("timeout", timeout, zero=True))
        return not self._thread.is_alive()

    def close(self) -> None:
        """End all connections, and stop listening. Further calls have no effect.

        Raises:
            RuntimeError: the proxy's thread had failed.
            TimeoutError: the thread has not ended within 10 s.
        """
        if self._thread.is_alive():
            self._loop.submit(Command(self._loop.stop))
            if not self.wait_closed(COMMAND_TIMEOUT):
                raise TimeoutError(f"The thread of the FaultProxy has not ended within {COMMAND_TIMEOUT:g} s.")
        if self._loop.failure is not None:
            raise RuntimeError("The thread of the FaultProxy has failed.") from self._loop.failure

    stop = close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _command(self, call: Callable[[], Any]) -> None:
        command = Command(call)
        self._loop.submit(command)
        if not command.done.wait(Deadline.after(COMMAND_TIMEOUT, time.monotonic())):
            raise TimeoutError(f"The thread of the FaultProxy has not executed a command within {COMMAND_TIMEOUT:g} s.")
        if command.error is not None:
            raise command.error

    def _reshape(self, **changes: Any) -> None:
        self._loop.relay.reshape(replace(self._loop.relay.faults.shape, **changes))


def _shape(latency: float, jitter: float, bandwidth: float | None) -> Shape:
    shape = Shape(
        check_seconds("latency", latency, zero=True),
        check_seconds("jitter", jitter, zero=True),
        None if bandwidth is None else _checked_bandwidth(bandwidth),
    )
    if shape.jitter > shape.latency:
        raise ValueError(f"jitter must be at most the latency, not {jitter!r} with a latency of {latency!r}.")
    return shape


def _checked_bandwidth(value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"bandwidth must be a number of bytes per second or None, not {value!r}.")
    if not 0 < value < float("inf"):
        raise ValueError(f"bandwidth must be a finite number of bytes per second above 0, not {value!r}.")
    return float(value)
