"""Carries out the plan: begins and ends each fault at its time, and measures the client's recovery after it."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from wsclient._client.client import Client
from wsclient._errors import ClientClosed
from wsclient._models import State
from wsclient.testing._fault_proxy.proxy import FaultProxy

from .asking import Log, send, timed
from .client import QUIET, RECOVERY, SoakClient
from .history import Asked, Disturbance, Hushed, Recovered
from .plan import HARMLESS, Fault
from .server import SoakServer

__all__ = ["FaultSchedule"]

PATIENCE: Final = 10.0
"""Seconds after which a recovery is recorded as failed."""

CUT_PATIENCE: Final = 3.0
"""Longest wait for the bytes after which a connection is cut, in seconds; under load they pass within milliseconds."""

BURSTS: Final = ("narrow, then cut", "frozen", "cut inside a burst")
"""Faults during which many messages are sent at once."""

BURST: Final = 250
BURST_SIZES: Final = (200, 12_000)
"""Number of messages, and range of their bytes: one write joins several of them."""

BACKLOG_SIZES: Final = (200, 6_000)
BACKLOG: Final = 2 * 2**20
BACKLOG_BY_URL: Final = 10 * 2**20
"""Range of the bytes of a message, and bytes of all messages that wait for the connection. They are more than the
buffers of the proxy and the kernel, which take up to 10 MiB unless a socket's buffers are limited (tcp(7),
``tcp_wmem`` and ``tcp_rmem``)."""

BEGUN: Final = 30_000
"""Bytes of a backlog after which nothing comes back any more: the log-in is complete, and batches are being sent."""

DEAF_PATIENCE: Final = 3.0
"""Longest wait, in seconds, until the client connects and then notices that nothing comes back: two ping intervals and
its longest pause between attempts."""

LOOK: Final = 0.01
"""Seconds between two checks of a state that has no notification."""

STILL: Final = 0.15
"""After so many seconds without a byte, everything that was written has arrived."""

DRAINING: Final = 3.0
"""Longest wait for that, in seconds."""


class FaultSchedule:
    """Carries out the faults of one round.

    Attributes:
        faults: the faults that have begun.
        now: the kind of the present fault; empty if there is none.
        recovered: how long each recovery took.
        hushed: the times in which the server was quiet.
        disturbances: the time of each fault that has ended.
    """

    def __init__(
        self, faults: list[Fault], proxy: FaultProxy, server: SoakServer, client: SoakClient, log: Log
    ) -> None:
        self.faults: list[Fault] = []
        self.now = ""
        self.recovered: list[Recovered] = []
        self.hushed: list[Hushed] = []
        self.disturbances: list[Disturbance] = []
        self._plan = faults
        self._proxy = proxy
        self._server = server
        self._client = client
        self._log = log

    def run(self, began: float, stopping: threading.Event) -> None:
        """Carry out the plan, until its end or until ``stopping`` is set.

        Args:
            began: the beginning of the plan, on the monotonic clock.
            stopping: ends the plan early.
        """
        for fault in self._plan:
            if stopping.wait(max(0.0, began + fault.at - time.monotonic())):
                return
            self.now = fault.kind
            self.faults.append(fault)
            cuts, begun = self._proxy.stats.cut, time.monotonic()
            self._begin(fault)
            stopping.wait(max(0.0, began + fault.at + fault.seconds - time.monotonic()))
            sound = self._end(fault, cuts)
            self.now = ""
            ended = time.monotonic() if sound else math.inf
            self.disturbances.append(Disturbance(fault.kind, begun, ended, fault.kind not in HARMLESS))
            if sound and fault.spared > RECOVERY:
                self._measure(fault)

    def _begin(self, fault: Fault) -> None:
        begin: dict[str, Callable[[], Any]] = {
            "cut": self._proxy.cut,
            "reset": self._proxy.reset,
            "cut inside what goes up": partial(self._proxy.cut_after, fault.amount, "up"),
            "cut inside what comes down": partial(self._proxy.cut_after, fault.amount, "down"),
            "server closes": partial(self._server.close_all, fault.amount),
            "client reconnects": partial(self._client.reconnect, "requested by the soak"),
            "client renews": partial(self._client.renew, "requested by the soak"),
            "client renews, then cut": partial(self._client.renew, "requested by the soak"),
            "no listener": self._lose_host,
            "frozen": self._proxy.freeze,
            "nothing goes up": partial(self._proxy.drop_direction, "up"),
            "nothing comes down": partial(self._proxy.drop_direction, "down"),
            "slow": partial(self._proxy.latency, fault.amount / 1000),
            "slow, then cut": partial(self._proxy.latency, fault.amount / 1000),
            "narrow": partial(self._proxy.bandwidth, float(fault.amount)),
            "narrow, then cut": partial(self._proxy.bandwidth, float(fault.amount)),
            "cut inside a burst": partial(self._proxy.cut_after, fault.amount, "up"),
            "sending paused": partial(self._client.pause_sending, fault.seconds),
            "server goes quiet": self._go_quiet,
            "backlog, then deaf": partial(self._meet_backlog, float(fault.amount)),
        }
        begin[fault.kind]()
        if fault.kind in BURSTS:
            self._burst()

    def _end(self, fault: Fault, cuts: int) -> bool:
        """End the fault. False if it has not happened yet, and may still happen."""
        if fault.kind.startswith("cut inside"):
            try:
                self._proxy.wait_for(CUT_PATIENCE, cut=cuts + 1)
            except TimeoutError:
                return False
        elif fault.kind == "no listener":
            self._proxy.accept()
        elif fault.kind == "frozen":
            self._proxy.thaw()
        elif fault.kind.startswith("nothing"):
            # Bytes of this direction are lost. TCP never delivers such a stream, so the connection must end.
            self._lose_host()
            self._proxy.drop_direction(None)
            self._proxy.accept()
        elif fault.kind == "slow":
            self._proxy.latency(0.0)
        elif fault.kind == "slow, then cut":
            self._proxy.cut()
            self._proxy.latency(0.0)
        elif fault.kind == "client renews, then cut":
            self._proxy.cut()  # before, during or after the switch
        elif fault.kind == "narrow, then cut":
            self._proxy.cut()
            self._proxy.bandwidth(None)
        elif fault.kind == "narrow":
            self._proxy.bandwidth(None)
        elif fault.kind == "backlog, then deaf":
            self._proxy.bandwidth(None)
            self._drain()
            self._proxy.refuse()
            self._proxy.cut()
            self._proxy.drop_direction(None)
            self._proxy.accept()
        return True

    def _burst(self, count: int = BURST, sizes: tuple[int, int] = BURST_SIZES) -> None:
        """Send more than the buffers of proxy and kernel take, so that the connection ends inside messages."""
        for _ in range(count):
            try:
                send(self._log, self._client, self._log.chance.randint(*sizes))
            except ClientClosed:
                return

    def _meet_backlog(self, bandwidth: float) -> None:
        """Let messages queue while there is no server, send them on a slow connection, then let nothing come back.

        The client then ends the connection in the middle of a batch.
        """
        self._lose_host()
        size = BACKLOG_BY_URL if self._client.dialing.by_url else BACKLOG
        self._burst(2 * size // sum(BACKLOG_SIZES), BACKLOG_SIZES)
        self._proxy.bandwidth(bandwidth)
        self._proxy.accept()
        with contextlib.suppress(TimeoutError):  # _measure reports a client that does not connect
            self._proxy.wait_for(DEAF_PATIENCE, bytes_up=self._proxy.stats.bytes_up + BEGUN)
        before = self._client.last_disconnect
        self._proxy.drop_direction("down")
        until = time.monotonic() + DEAF_PATIENCE
        while self._client.last_disconnect is before and time.monotonic() < until:
            threading.Event().wait(LOOK)

    def _go_quiet(self) -> None:
        """Let the server send no messages of subscriptions until the client has replaced its connection."""
        one = Hushed(QUIET + RECOVERY, math.inf, was_reported=False)
        self.hushed.append(one)
        began = time.monotonic()
        self._server.hush()
        until = began + PATIENCE
        while self._client.fed_by < (self._server.resumed_by or math.inf) and time.monotonic() < until:
            threading.Event().wait(LOOK)
        if self._server.resume() is not None and time.monotonic() < until:
            one.took = time.monotonic() - began
        until = time.monotonic() + PATIENCE  # the hook thread may still run hooks that wait for requests
        while not one.was_reported and time.monotonic() < until:
            threading.Event().wait(LOOK)
            one.was_reported = len(self._client.reported_quiet) >= len(self._client.found_quiet)

    def _drain(self) -> None:
        """Wait until the server has everything that the client has written, also on connections that have ended."""
        until = time.monotonic() + DRAINING
        while time.monotonic() < until:
            try:
                self._proxy.wait_for(STILL, bytes_up=self._proxy.stats.bytes_up + 1)
            except TimeoutError:
                return

    def _lose_host(self) -> None:
        self._proxy.refuse()
        self._proxy.reset()

    def _measure(self, fault: Fault) -> None:
        """Make an idempotent request, and record how long it took until it was answered and the client was open."""
        probe = Asked(self._log.sender, self._log.next(), idempotent=True)
        self._log.asked.append(probe)
        fact = Recovered(fault.kind, RECOVERY, float("inf"))
        self.recovered.append(fact)
        began = time.monotonic()
        reply = timed(
            self._log,
            f"request({probe.key})",
            PATIENCE,
            partial(_ask, self._client, {"op": "echo", "key": probe.key}),
        )
        if self._client.state is not State.OPEN and not self._client.wait_until(State.OPEN, PATIENCE):
            reply = None
        if reply is None:
            probe.outcomes.append("timeout waiting")
            return
        fact.took = time.monotonic() - began
        probe.reply = reply["key"]
        probe.outcomes.append("answered")


def _ask(client: Client, message: dict[str, Any]) -> Any:
    try:
        return client.request(message, timeout=PATIENCE, idempotent=True)
    except TimeoutError:
        return None
