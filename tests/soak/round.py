"""One run from its start to its result: a server, a proxy, a client with its load, and the faults of one seed."""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Final

from wsclient._errors import WebSocketClientError
from wsclient._models import State
from wsclient._options import Renew
from wsclient._stats import Stats
from wsclient.testing._fault_proxy.proxy import FaultProxy
from wsclient.testing._servers.certificates import certificate_for

from .asking import timed
from .client import PACE, QUIET, RENEWING, SoakClient
from .fault_schedule import FaultSchedule
from .history import Disturbance, History
from .ledger import Verdict, judge
from .plan import Dialing, dialing, plan
from .scheduler_lag import LagMeter
from .server import SoakServer
from .workload import Workload

__all__ = ["Result", "Round"]

ENDINGS: Final = ("flush and close", "drain", "close under load")
"""The ways in which a run ends; its seed selects one."""

FLUSH_TIMEOUT: Final = 10.0
CLOSE_TIMEOUT: Final = 3.0
DRAIN_TIMEOUT: Final = 10.0
"""Timeouts in seconds: the defaults of the calls, except for drain."""

CLOSE_GRACE: Final = 1.0
"""Seconds by which ``close()`` may exceed its timeout, according to the contract."""


@dataclass(frozen=True)
class Result:
    """The result of one run.

    Attributes:
        seed: its seed.
        dialing: its kind of connection.
        ending: how it ended, one of ``ENDINGS``.
        verdict: the result of the ledger's checks.
        outcomes: how many requests had each outcome.
        states: how many deliveries ended in each state.
        faults: how many faults of each kind there were.
        connections: how many connections the server accepted.
        arrived: how many messages the server received.
        heard: how many messages of subscriptions were received.
        renewals: how many connections were renewed.
        quiet: how often a connection was found quiet.
        slack: the tolerance for late calls, in seconds, as measured.
        slowest_recovery: the longest recovery in seconds; None if none was measured.
    """

    seed: int
    dialing: Dialing
    ending: str
    verdict: Verdict
    outcomes: Counter[str]
    states: Counter[str]
    faults: Counter[str]
    connections: int
    arrived: int
    heard: int
    renewals: int
    quiet: int
    slack: float
    slowest_recovery: float | None


class Round:
    """One run. ``play`` blocks; another thread may use the other methods at the same time."""

    def __init__(self, seed: int, seconds: float, tls: bool | None = None) -> None:
        """
        Args:
            seed: decides the faults, the load, the kind of connection and the ending.
            seconds: how long the load lasts.
            tls: with or without TLS; None if the seed decides.
        """
        self.seed = seed
        self.seconds = seconds
        self.ending = random.Random(f"{seed} ending").choice(ENDINGS)
        self.dialing = dialing(seed, tls)
        certificate = certificate_for(self.dialing.tls, "127.0.0.1")
        self._server = SoakServer(None if certificate is None else certificate.server_context)
        self._proxy = FaultProxy(f"ws://127.0.0.1:{self._server.port}/", seed=seed)
        self._workload = Workload(seed)
        chance = random.Random(f"{seed} waits")
        trusting = None if certificate is None else certificate.client_context
        self._client = SoakClient(self._proxy.port, self.dialing, trusting, chance, self._workload.ask_in_hook)
        self._log = self._workload.log("weather")
        self._schedule = FaultSchedule(plan(seed, seconds), self._proxy, self._server, self._client, self._log)
        self._stopping = threading.Event()

    @property
    def now(self) -> str:
        """The kind of the present fault; empty if there is none."""
        return self._schedule.now

    @property
    def faults(self) -> int:
        """How many faults have begun."""
        return len(self._schedule.faults)

    @property
    def state(self) -> State:
        """The client's state."""
        return self._client.state

    @property
    def stats(self) -> Stats:
        """The client's statistics."""
        return self._client.stats

    @property
    def quiet(self) -> int:
        """How often a connection was found quiet."""
        return len(self._client.found_quiet)

    def counts(self) -> tuple[int, int, int]:
        """The numbers of requests, of sent messages and of received subscription messages so far."""
        return self._workload.counts()

    def stop(self) -> None:
        """End the load early. Any thread."""
        self._stopping.set()

    def play(self) -> Result:
        """Run the load and the faults, and check the records."""
        history = History()
        alarm = _Alarm()
        logger = logging.getLogger("wsclient")
        logger.addHandler(alarm)
        try:
            with LagMeter() as meter:
                self._run(history)
                history.slack = meter.slack()
        finally:
            logger.removeHandler(alarm)
        history.surprises += alarm.reported
        return self._judged(history)

    def _run(self, history: History) -> None:
        try:
            self._client.start()
            began = time.monotonic()
            self._workload.start(self._client)
            self._schedule.run(began, self._stopping)
            self._stopping.wait(max(0.0, began + self.seconds - time.monotonic()))
            if self._client.state is State.FAILED:
                history.surprises.append("the client is in the state FAILED.")
            history.disturbances.append(Disturbance("the end", time.monotonic(), math.inf, may_lose=True))
            self._end(history)
        finally:
            self._workload.stopping.set()
            self._client.close(timeout=0)
            self._proxy.close()
            self._server.close()
        history.pace = PACE if self.dialing.by_url else None
        self._workload.hand_over(history)
        history.connections = list(self._server.connections)
        history.recovered = list(self._schedule.recovered)
        history.hushed = list(self._schedule.hushed)
        history.disturbances += self._schedule.disturbances
        history.found_quiet = list(self._client.found_quiet)
        history.quiet = QUIET
        history.renews = self.dialing.renews
        history.overlap = RENEWING.overlap if self.dialing.renews else Renew().overlap

    def _end(self, history: History) -> None:
        if self.ending != "close under load":
            self._workload.stop()
        if self.ending == "drain":
            done = timed(self._log, "drain()", DRAIN_TIMEOUT + CLOSE_GRACE, partial(self._client.drain, DRAIN_TIMEOUT))
            if not done:
                history.surprises.append("drain() without a fault did not finish all work.")
        elif self.ending == "flush and close":
            self._flush(history)
        close = partial(self._client.close, timeout=CLOSE_TIMEOUT)
        timed(self._log, "close()", CLOSE_TIMEOUT + CLOSE_GRACE, close)
        self._workload.stop()

    def _flush(self, history: History) -> None:
        """Flush the queue, while there is no fault."""
        try:
            timed(self._log, "flush()", FLUSH_TIMEOUT, partial(self._client.flush, FLUSH_TIMEOUT))
        except WebSocketClientError as error:
            history.surprises.append(f"flush() without a fault raised {error!r}.")
            return
        history.surprises += self._workload.unproven()

    def _judged(self, history: History) -> Result:
        took = [one.took for one in history.recovered]
        return Result(
            seed=self.seed,
            dialing=self.dialing,
            ending=self.ending,
            verdict=judge(history),
            outcomes=Counter(outcome for asked in history.asked for outcome in asked.outcomes),
            states=Counter(sent.state for sent in history.sent),
            faults=Counter(fault.kind for fault in self._schedule.faults),
            connections=len(history.connections),
            arrived=sum(len(connection.keys) for connection in history.connections),
            heard=len(history.heard),
            renewals=self.stats.renewals,
            quiet=self.quiet,
            slack=history.slack,
            slowest_recovery=max(took, default=None),
        )


class _Alarm(logging.Handler):
    """Records what the client logs as an error: it logs one only for a defect or an exception in user code."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.reported: list[str] = []
        self._text = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        """Store the record's text."""
        self.reported.append(f"logged: {self._text.format(record)}")
