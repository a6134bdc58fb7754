"""``wsclient bench``: requests on many connections, and how long their replies take."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from .._settings import REQUEST_TIMEOUT
from .._threads.waiting import NEVER
from ..protocols import Fifo, JsonId, Protocol
from ..protocols._codec import JSON
from .exits import CommandError, ExitCode
from .latencies import Latencies
from .load import Load, clock
from .options import CLOSE_TIMEOUT, FOREVER, ClientCommand, Connection
from .report import Second, Summary, Traffic, as_csv, as_json, as_text
from .schedule import SECOND, make_schedule
from .values import data_of, items

if TYPE_CHECKING:
    from .._client.client import Client
    from .bench_screen import BenchScreen
    from .output import Output

__all__ = ["command"]

_CONNECTIONS: Final = 10
"""Default of ``--connections``; as in wrk and autocannon."""

_SECONDS: Final = 10.0
"""Default of ``--time``; as in wrk and autocannon."""

_DEPTH_OF_RATE: Final = 1000
"""Default of ``--pipeline`` with ``--rate``: requests at a fixed rate should not wait for replies to earlier ones."""

_DEEPEST: Final = 5000
"""The largest ``--pipeline``. It is half of the messages that the client's send queue holds."""

_TOGETHER: Final = 32
"""Connections that are opened at the same time: a few dozen fit into the backlog of every server."""

_POLL: Final = 0.05
"""Seconds after which the main thread checks again whether the load has ended."""

_SWITCH_INTERVAL: Final = 0.05
"""Seconds, for ``sys.setswitchinterval``. A thread that waits for the GIL wakes after each interval, to request it. The
I/O threads release the GIL with each system call anyway, and with many threads the wake-ups take most of the time.
Measured with 400 connections: 990 requests per second with Python's default (5 ms), 2400 with this value."""

_DESCRIPTORS: Final = 4
"""File descriptors for each connection: its socket, the two of its client's wake-up, and a spare one (several sockets
are open at once while several addresses of the server are tried)."""

_CODES: Final = {
    "error reply": ExitCode.SERVER_ERROR,
    "timeout": ExitCode.TIMEOUT,
    "connection lost": ExitCode.CONNECTION_LOST,
}
"""The exit code if no request was answered, by the most frequent error."""

_EPILOG: Final = """\b
Examples:
  wsclient bench localhost:8765 --data '{"n":1}' -c 50 -t 10
  wsclient bench localhost:8765 --data '"hello"' -n 10000 --rate 500 --json
  wsclient bench localhost:8765 --call add a:=1 b:=2 -t 30 --warmup 5 --svg out.svg

\b
Without --call and --protocol, each message that arrives on a connection is the reply to the
oldest message that has none yet.
With --rate, a latency is counted from the time at which the request was due, not from when it was sent.
"""


@click.command(cls=ClientCommand, epilog=_EPILOG, help="Send requests on many connections, and measure the replies.")
@click.argument("url", required=False)
@click.argument("arguments", nargs=-1, metavar="[NAME=TEXT | NAME:=JSON]...")
@click.option(
    "-c",
    "--connections",
    type=click.IntRange(min=1),
    default=_CONNECTIONS,
    metavar="N",
    help="Number of connections (default: 10).",
)
@click.option("-n", "--count", type=click.IntRange(min=1), metavar="N", help="End after N requests.")
@click.option(
    "-t",
    "--time",
    "seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="End after this time (default: 10, unless -n is given).",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="R",
    help="Requests per second on all connections together, even if replies are late.",
)
@click.option(
    "--warmup",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Send requests for this time before the measurement begins.",
)
@click.option(
    "--pipeline",
    type=click.IntRange(1, _DEEPEST),
    metavar="N",
    help="Most requests in flight on a connection (default: 1; with --rate: 1000).",
)
@click.option("-d", "--data", metavar="JSON|@FILE", help="The message, or with --call its parameters.")
@click.option("--call", "method", metavar="METHOD", help="Call a method; its parameters follow as items.")
@click.option("--json", "wants_json", is_flag=True, help="Print the result as one JSON object.")
@click.option("--csv", "wants_csv", is_flag=True, help="Print one line for each second.")
@click.option("--svg", type=click.Path(dir_okay=False), metavar="FILE", help="Write a chart.")
def command(
    connection: Connection,
    url: str | None,
    arguments: tuple[str, ...],
    connections: int,
    count: int | None,
    seconds: float | None,
    rate: float | None,
    warmup: float,
    pipeline: int | None,
    data: str | None,
    method: str | None,
    wants_json: bool,
    wants_csv: bool,
    svg: str | None,
) -> int:
    """Run the command."""
    url, arguments = connection.arguments(url, arguments)
    if wants_json and wants_csv:
        raise CommandError("Write --json or --csv, not both.")
    output = connection.output()
    message = _Message(method, arguments, data, is_raw=method is None and connection.protocol is None)
    if svg is not None:
        with Path(svg).open("a", encoding="utf-8"):  # a wrong path is an error now, and not after the measurement
            pass
    if seconds is None and count is None:
        seconds = _SECONDS
    depth = pipeline or (1 if rate is None else _DEPTH_OF_RATE)
    timeout = REQUEST_TIMEOUT if connection.timeout is None else connection.timeout
    clients = _open(connection, url, output, message, connections)
    try:
        message.check(clients[0], depth)
        schedule = make_schedule(
            clock(), warmup=warmup, seconds=seconds, count=count, rate=rate, connections=connections
        )
        load = Load(clients, schedule, message.made_by, depth=depth, timeout=timeout)
        summary = _Measurement(load, depth, rate, count).run()
    finally:
        _close(clients)
    if svg is not None:
        from .bench_chart import as_svg

        Path(svg).write_text(as_svg(summary), encoding="utf-8")
    _print(summary, output, wants_json=wants_json, wants_csv=wants_csv)
    return _exit_code(summary)


class _Message:
    """What is sent.

    Args:
        method: ``--call``.
        parameters: its items.
        data: ``--data``.
        is_raw: whether replies are correlated by order. The message is then encoded once, and replies are not decoded.

    Raises:
        CommandError: there is nothing to send, or too much.
    """

    def __init__(self, method: str | None, parameters: tuple[str, ...], data: str | None, *, is_raw: bool) -> None:
        if parameters and (method is None or data is not None):
            what = "--call METHOD" if method is None else "either --data or parameters"
            raise CommandError(f"{parameters[0]!r} is one argument too many; parameters need {what}.")
        if method is None and data is None:
            raise CommandError("What is to be sent? Write --data with a message, or --call with a METHOD.")
        value = items(parameters) if data is None else data_of(data, "--data")
        self._method = method
        self._value = value if not is_raw or isinstance(value, (str, bytes)) else JSON.dumps(value)
        self._is_raw = is_raw

    def protocol(self) -> Protocol:
        """Return a new protocol object, used without ``--protocol``."""
        return Fifo() if self._is_raw else JsonId()

    def options(self) -> dict[str, Any]:
        """Return options of the clients."""
        return {"json": None} if self._is_raw else {}

    def made_by(self, client: Client) -> Any:
        """Return the message for a client."""
        return self._value if self._method is None else client.protocol.build(self._method, self._value, False)

    def check(self, client: Client, depth: int) -> None:
        """Make the request once, so that an error is found before the load begins.

        Raises:
            CommandError: the message contains an id, and ``depth`` is more than 1: requests in flight need different
                ids.
            TypeError, ValueError: the protocol can't send it.
        """
        request = client._wsclient.context.requests.make(self.made_by(client), NEVER)
        if request.id is not None and depth > 1:
            raise CommandError("The message has an id of its own, so only one can be in flight: leave the id out.")


# --- the connections -------------------------------------------------------------------------------------------------


def _open(connection: Connection, url: str, output: Output, message: _Message, number: int) -> list[Client]:
    """Open the connections.

    By default, a connection that is lost is opened again, but the first attempt must succeed.
    """
    from .._client.client import Client

    _allow_descriptors(number * _DESCRIPTORS)
    more = message.options()
    if connection.retry is None:
        more["retry_first"] = False
    clients = [connection.client(url, output, retry=FOREVER, protocol=message.protocol(), **more)]
    while len(clients) < number:  # without the notices that `connection.client` prints
        clients.append(Client(url, **{**connection.options(FOREVER, message.protocol()), **more}))
    executor = concurrent.futures.ThreadPoolExecutor(_TOGETHER, "wsclient-bench-open")
    try:
        for opened in concurrent.futures.as_completed([executor.submit(client.start) for client in clients]):
            opened.result()
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        _close(clients)
        raise
    executor.shutdown()
    return clients


def _close(clients: Sequence[Client]) -> None:
    for client in clients:
        client.close(timeout=CLOSE_TIMEOUT, wait=False)
    end = time.monotonic() + CLOSE_TIMEOUT
    for client in clients:
        client.wait_closed(max(0.0, end - time.monotonic()))


def _allow_descriptors(number: int) -> None:
    """Raise the soft limit on open files, if it is too low. On Windows there is none."""
    if sys.platform == "win32":  # pragma: no cover  (coverage is measured on Linux)
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number + 256
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # if that fails, opening the connections fails with the reason
            limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


# --- the measurement -------------------------------------------------------------------------------------------------


class _Counters(NamedTuple):
    """The counters of all clients and of this process at one time."""

    traffic: Traffic
    cpu: float
    opened: int


class _Measurement:
    """Watches a load until its end.

    Args:
        load: the load, not yet started.
        depth: the most requests in flight on each connection.
        rate: ``--rate``.
        count: ``--count``.
    """

    def __init__(self, load: Load, depth: int, rate: float | None, count: int | None) -> None:
        self._load = load
        self._depth = depth
        self._rate = rate
        self._count = count
        self._rows: list[Second] = []
        self._row_began = load.schedule.measured_from
        self._seen = Latencies()
        self._seen_errors = 0
        self._screen = _screen(self._url())

    def run(self) -> Summary:
        """Run the load to its end, or until Ctrl-C."""
        base = self._counters()
        is_warming_up = clock() < self._load.schedule.measured_from
        interrupted = False
        switch_interval = sys.getswitchinterval()
        try:
            sys.setswitchinterval(_SWITCH_INTERVAL)
            with contextlib.nullcontext() if self._screen is None else self._screen:
                self._load.start()
                while not self._load.is_idle():
                    time.sleep(_POLL)
                    self._load.resume()
                    now = clock()
                    if is_warming_up and now >= self._load.schedule.measured_from:
                        base, is_warming_up = self._counters(), False
                    self._look(now)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            sys.setswitchinterval(switch_interval)
        self._load.stop()
        return self._summary(base, interrupted=interrupted)

    def _counters(self) -> _Counters:
        stats = [lane.client.stats for lane in self._load.lanes]
        traffic = Traffic(
            sum(one.messages_sent for one in stats),
            sum(one.messages_received for one in stats),
            sum(one.bytes_sent for one in stats),
            sum(one.bytes_received for one in stats),
        )
        return _Counters(traffic, time.process_time(), sum(one.connections for one in stats))

    def _look(self, now: int) -> None:
        """Take a sample each second until the end, and show the progress."""
        end = self._load.schedule.end
        until = now if end is None else min(now, end)
        if until - self._row_began >= SECOND or (until == end and until > self._row_began):
            self._sample(until)
        if self._screen is not None:
            self._screen.show(self._progress(now), self._seen, self._rows)

    def _sample(self, until: int) -> None:
        """Add a row for the time since the last one."""
        latencies = self._load.latencies()
        errors = sum(self._load.errors().values())
        added = latencies.since(self._seen)
        p50, p90, p99 = added.percentiles((50, 90, 99))
        seconds = max(until - self._row_began, 1000) / SECOND
        at = (until - self._load.schedule.measured_from) / SECOND
        self._rows.append(Second(at, seconds, added.count, errors - self._seen_errors, p50, p90, p99, added.most))
        self._seen, self._seen_errors, self._row_began = latencies, errors, until

    def _progress(self, now: int) -> dict[str, Any]:
        schedule, lanes = self._load.schedule, self._load.lanes
        done = sum(lane.latencies.count for lane in lanes)
        elapsed = (now - schedule.measured_from) / SECOND
        part = 0.0
        if schedule.end is not None:
            part = (now - schedule.measured_from) / (schedule.end - schedule.measured_from)
        if self._count is not None:
            part = max(part, done / self._count)
        return {
            "elapsed": elapsed,
            "part": min(max(part, 0.0), 1.0),
            "answered": done,
            "in_flight": sum(lane.in_flight for lane in lanes),
            "errors": self._load.errors(),
            "is_over": schedule.is_over(now),
        }

    def _summary(self, base: _Counters, *, interrupted: bool) -> Summary:
        load, now = self._load, clock()
        schedule, lanes = load.schedule, load.lanes
        finish = self._finish(now, interrupted=interrupted)
        if finish > self._row_began or not self._rows:
            self._sample(max(finish, self._row_began))
        latencies, errors = load.latencies(), load.errors()
        measured = sum(lane.measured for lane in lanes)
        due = schedule.planned(finish)
        after = self._counters()
        examples: dict[str, str] = {}
        for lane in lanes:
            examples = {**lane.examples, **examples}
        return Summary(
            url=self._url(),
            connections=len(lanes),
            depth=self._depth,
            rate=self._rate,
            seconds=max(finish - schedule.measured_from, 0) / SECOND,
            in_time=sum(row.requests for row in self._rows),
            latencies=latencies,
            errors=errors,
            examples=examples,
            unsent=0 if due is None else max(0, due - measured),
            unanswered=max(0, measured - latencies.count - sum(errors.values())),
            reconnects=max(0, after.opened - base.opened),
            ended=sum(lane.ended is not None for lane in lanes),
            traffic=after.traffic.since(base.traffic),
            cpu=after.cpu - base.cpu,
            rows=self._rows,
            interrupted=interrupted,
        )

    def _finish(self, now: int, *, interrupted: bool) -> int:
        """Return when the measurement ended: at the end of the schedule, if that has passed. Otherwise: when the last
        request ended, or ``now`` if the measurement was interrupted or no request has ended.
        """
        end = self._load.schedule.end
        if end is not None and now >= end:
            return end
        last = max(lane.last for lane in self._load.lanes)
        return now if interrupted or not last else last

    def _url(self) -> str:
        return str(self._load.lanes[0].client._wsclient.context.settings.shown_url)


def _screen(url: str) -> BenchScreen | None:
    """Return the live screen; None if stderr is no terminal, or one that can't move the cursor (``TERM=dumb``).
    ``rich``, which takes 60 ms to import, is then not imported.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return None
    from .bench_screen import BenchScreen

    return BenchScreen(url)


# --- the result ------------------------------------------------------------------------------------------------------


def _print(summary: Summary, output: Output, *, wants_json: bool, wants_csv: bool) -> None:
    if wants_json:
        output.message(as_json(summary))
        return
    lines = as_csv(summary) if wants_csv else as_text(summary, ascii_only=not _shows("█µ▏"))
    for line in lines:
        output.text(line)


def _shows(characters: str) -> bool:
    """Whether stdout can encode some characters. A terminal whose encoding is not UTF-8 often can't; for pipes and
    files, ``app.run`` has set UTF-8.
    """
    try:
        characters.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _exit_code(summary: Summary) -> int:
    if summary.interrupted:
        return ExitCode.INTERRUPTED
    if summary.ended == summary.connections:
        return ExitCode.CONNECTION_LOST
    if summary.latencies.count or not summary.errors:
        return ExitCode.OK
    most: Callable[[str], int] = summary.errors.__getitem__
    return _CODES.get(max(summary.errors, key=most), ExitCode.SERVER_ERROR)
