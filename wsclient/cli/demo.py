"""The demonstration: a client sends requests while its server stops and starts again.

While the server is stopped, the client also sends a few *notes*: messages that need no answer.

The numbers shown are counted during the run. At the end the demonstration checks that there were answers and that each
one was correct, that the server received no request twice unless it was idempotent, that each note arrived once and in
order, and that there were two connections. If a check fails, the exit code is 1.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import click

from .._client.client import Client
from .._connection.reconnect import Reconnect
from .._errors import ClientClosed, ConnectionLost, HandshakeError
from .._models import State
from .screen import LiveScreen, PlainScreen, Screen
from .server import PASSWORD, DemoServer

if TYPE_CHECKING:
    from .._models import Attempt
    from .._sending.delivery import Delivery
    from ..protocols._session import Session

__all__ = ["command", "run"]

THREADS = 6
WORK_BEFORE = 1.5
AWAY = 1.0
WORK_AFTER = 1.5
"""Seconds of the three parts: with the server, without it, and with it again."""

NOTES = ("written while offline, one", "written while offline, two", "written while offline, three")
_PAUSE = 0.005
"""Seconds between two requests of a worker."""


class DemoClient(Client):
    """A client that logs in on every connection, and shows what happens to its connections."""

    def __init__(self, url: str, screen: Screen) -> None:
        super().__init__(url, name="demo", reconnect=Reconnect(wait=_soon), proxy=None)
        self.screen = screen

    def on_session(self, session: Session) -> None:
        """Log in before other messages are sent."""
        reply = session.request({"method": "login", "params": PASSWORD})
        self.screen.note(f"connection {session.number}: logged in, the server says {reply['result']!r}")

    def on_close(self, code: int | None, reason: str | None) -> None:
        """Show how the connection ended."""
        last = self.last_disconnect
        if last is not None and last.initiator != "local":
            self.screen.note(f"connection lost after {last.uptime:.1f} s: {last.reason}")

    def on_connect_error(self, attempt: Attempt) -> None:
        """Show a failed attempt to connect."""
        delay = "no further attempt" if attempt.next_delay is None else f"next one in {attempt.next_delay:.2f} s"
        status = f" (HTTP {attempt.error.status})" if isinstance(attempt.error, HandshakeError) else ""
        self.screen.note(f"an attempt to connect failed{status}, {delay}")


def _soon(state: object) -> float:
    """Seconds until the next attempt: shorter than the default, so that the demonstration is short."""
    return random.uniform(0.2, 0.6)  # noqa: S311


class Worker:
    """A thread that makes one request after another.

    Attributes:
        idempotent: whether its requests may be sent again.
        outcomes: how many requests had each outcome.
        sent_params: the ``params`` of each request as JSON text, in the form of ``DemoServer.seen``.
        thread: the thread.
    """

    def __init__(self, client: Client, number: int, stop: threading.Event) -> None:
        self.idempotent = number % 2 == 0
        self.outcomes: Counter[str] = Counter()
        self.sent_params: list[str] = []
        self._client = client
        self._number = number
        self._stop = stop
        self.thread = threading.Thread(target=self._work, name=f"worker-{number}", daemon=True)
        self.thread.start()

    def _work(self) -> None:
        n = 0
        while not self._stop.wait(_PAUSE):
            n += 1
            params: list[object] = [f"worker {self._number}", n]
            self.sent_params.append(json.dumps(params))
            try:
                self.outcomes[self._ask(params)] += 1
            except ClientClosed:
                return

    def _ask(self, params: list[object]) -> str:
        message = {"method": "echo", "params": params}
        try:
            reply = self._client.request(message, timeout=20, idempotent=self.idempotent)
        except ConnectionLost:
            return "lost"
        return "answered" if reply["result"] == params else "wrong"


_EPILOG = """\b
Examples:
  wsclient demo
  wsclient demo --plain
  wsclient demo --plain | tail -n 12
"""


@click.command(
    epilog=_EPILOG, help="Start a server, cut a client's connection during its requests, and show their outcomes."
)
@click.option("--plain", is_flag=True, help="Plain text, as if the output were not a terminal.")
def command(plain: bool) -> int:
    """Run the command."""
    return run(plain=plain)


def run(*, plain: bool = False) -> int:
    """Run the demonstration.

    Args:
        plain: plain text even on a terminal.

    Returns:
        0 if every check succeeded, else 1.
    """
    screen: Screen = PlainScreen() if plain or not sys.stdout.isatty() else LiveScreen()
    server = DemoServer()
    try:
        return _show(screen, server)
    finally:
        screen.close()
        server.stop()


def _show(screen: Screen, server: DemoServer) -> int:
    screen.note(f"a websockets server listens on {server.url}")
    client = DemoClient(server.url, screen)
    stop = threading.Event()
    with client:
        screen.note(f"2 + 3 = {client.request({'method': 'add', 'params': [2, 3]}, timeout=5)['result']}")
        screen.note(f"{THREADS} threads make requests on one client; half of them mark their requests as idempotent")
        workers = [Worker(client, number, stop) for number in range(1, THREADS + 1)]
        _watch(screen, client, workers, WORK_BEFORE)
        screen.note("the server becomes unavailable: it cuts every connection and refuses new ones")
        server.go_away(under_way=THREADS)
        deliveries = _send_offline(screen, client, workers)
        server.come_back()
        screen.note("the server accepts connections again")
        client.wait_until(State.OPEN, 10)
        _watch(screen, client, workers, WORK_AFTER)
        stop.set()
        for worker in workers:
            worker.thread.join()
        client.flush()
        screen.state(client.state, _counts(workers))
        latency = client.latency or 0.0
        client.drain()
        screen.state(client.state, _counts(workers))
    screen.close()
    return _report(screen, server, client, workers, deliveries, latency)


def _send_offline(screen: Screen, client: Client, workers: list[Worker]) -> list[Delivery]:
    """Send messages while there is no server."""
    client.wait_until(State.WAITING, 5)
    deliveries = [client.send(note) for note in NOTES]
    screen.note(f"{len(NOTES)} notes sent while offline; their state: {deliveries[0].state}")
    _watch(screen, client, workers, AWAY)
    return deliveries


def _watch(screen: Screen, client: Client, workers: list[Worker], seconds: float) -> None:
    pause = threading.Event()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        screen.state(client.state, _counts(workers))
        pause.wait(0.05)


def _counts(workers: list[Worker]) -> str:
    outcomes = sum((worker.outcomes for worker in workers), Counter[str]())
    return f"answered {outcomes['answered']:>4}   lost {outcomes['lost']:>2}"


def _report(
    screen: Screen,
    server: DemoServer,
    client: Client,
    workers: list[Worker],
    deliveries: list[Delivery],
    latency: float,
) -> int:
    outcomes = sum((worker.outcomes for worker in workers), Counter[str]())
    twice = Counter({worker: sum(server.seen[sent] > 1 for sent in worker.sent_params) for worker in workers})
    resent = sum(twice[worker] for worker in workers if worker.idempotent)
    doubled = sum(twice[worker] for worker in workers if not worker.idempotent)
    arrived = [note for note in server.notes if note in NOTES]
    order = "arrived in order" if arrived == list(NOTES) else "not all arrived once and in order"
    stats = client.stats
    screen.table(
        "Outcomes",
        [
            ("answered", str(outcomes["answered"]), "each with the reply to its own request"),
            ("re-sent", str(resent), "answered, but in flight at the cut: idempotent, so they were sent again"),
            ("lost", str(outcomes["lost"]), "in flight at the cut, not idempotent: the caller got an error at once"),
            ("sent twice by mistake", str(doubled), "requests that were not idempotent"),
            ("notes sent offline", f"{len(arrived)}/{len(NOTES)}", f"{order}; now {deliveries[0].state}"),
        ],
    )
    screen.table(
        "client.stats",
        [
            ("connections", str(stats.connections), f"{stats.failed_attempts} failed attempts in between"),
            ("requests", str(stats.requests_ok), f"ok; {stats.requests_failed} failed, {stats.requests_late} late"),
            ("messages", str(stats.messages_sent), f"sent, {stats.messages_received} received"),
            ("bytes", str(stats.bytes_sent), f"sent, {stats.bytes_received} received"),
            ("round trip", f"{latency * 1000:.2f}", "ms, the last ping and its pong"),
        ],
    )
    checks = (
        outcomes["wrong"] == 0,
        doubled == 0,
        arrived == list(NOTES),
        stats.connections == 2,
        outcomes["answered"] > 0,
    )
    return 0 if all(checks) else 1
