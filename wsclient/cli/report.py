"""The result of ``bench`` as text, JSON and CSV. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from .latencies import PERCENTILES, Latencies

__all__ = ["Second", "Summary", "Traffic", "as_csv", "as_json", "as_text", "duration", "name_of"]

_MS: Final = 1e6
"""Nanoseconds of a millisecond."""

_BAR: Final = 40
"""Characters of the longest bar of the histogram."""

_RANGES: Final = 12
"""Lines of the histogram."""

_BUSY: Final = 85
"""Percent of a core. If this process uses more, it may be the limit instead of the server, since with the GIL all its
threads share one core."""

_BLOCKS: Final = " ▏▎▍▌▋▊▉█"


class Traffic(NamedTuple):
    """What all connections have sent and received.

    Attributes:
        sent: messages.
        received: messages.
        bytes_sent: bytes of these messages, without the headers of frames.
        bytes_received: the same.
    """

    sent: int
    received: int
    bytes_sent: int
    bytes_received: int

    def since(self, earlier: Traffic) -> Traffic:
        """Return the difference."""
        return Traffic(*(now - before for now, before in zip(self, earlier, strict=True)))


_NO_TRAFFIC: Final = Traffic(0, 0, 0, 0)


class Second(NamedTuple):
    """One interval of about a second.

    Attributes:
        at: its end, in seconds since the measurement began.
        seconds: its length.
        requests: how many were answered.
        errors: how many failed.
        p50, p90, p99, most: latencies in nanoseconds.
    """

    at: float
    seconds: float
    requests: int
    errors: int
    p50: float
    p90: float
    p99: float
    most: float


@dataclass
class Summary:
    """What was measured.

    Attributes:
        url: the server, without secrets.
        connections: how many.
        depth: requests in flight on each connection, at most.
        rate: requests per second that were asked for; None in the closed model.
        seconds: length of the measurement.
        in_time: replies that arrived before the end of the measurement. ``latencies`` has later ones too.
        latencies: of all replies.
        errors: requests that failed, by kind.
        examples: the text of the first error of each kind.
        unsent: requests that were due but could not be sent in time.
        unanswered: requests in flight when the measurement was interrupted.
        reconnects: how often connections were opened again.
        ended: connections that were lost and not opened again.
        traffic: messages and bytes.
        cpu: seconds of CPU time of this process.
        rows: the intervals.
        interrupted: whether Ctrl-C ended it.
    """

    url: str
    connections: int
    depth: int
    rate: float | None
    seconds: float
    in_time: int
    latencies: Latencies
    errors: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, str] = field(default_factory=dict)
    unsent: int = 0
    unanswered: int = 0
    reconnects: int = 0
    ended: int = 0
    traffic: Traffic = _NO_TRAFFIC
    cpu: float = 0.0
    rows: Sequence[Second] = ()
    interrupted: bool = False

    def per_second(self, count: float) -> float:
        """Return a count divided by the seconds of the measurement."""
        return count / self.seconds if self.seconds > 0 else 0.0


def name_of(percent: float) -> str:
    """Return the name of a percentile: p50, p99.9."""
    return f"p{percent:g}"


def duration(nanoseconds: float) -> str:
    """Return a time with its unit: below one second with three significant digits, above with two decimals."""
    for limit, divisor, unit in ((1e3, 1, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms")):
        if nanoseconds < limit * 0.9995:
            return f"{nanoseconds / divisor:.3g} {unit}"
    return f"{nanoseconds / 1e9:,.2f} s"


def as_json(summary: Summary) -> dict[str, Any]:
    """Return the object of ``--json``. Latencies are in milliseconds."""
    latencies = summary.latencies
    values = latencies.percentiles(PERCENTILES)
    return {
        "url": summary.url,
        "connections": summary.connections,
        "pipeline": summary.depth,
        "model": "closed" if summary.rate is None else "open",
        "rate": summary.rate,
        "seconds": round(summary.seconds, 6),
        "requests": latencies.count,
        "requests_per_second": round(summary.per_second(summary.in_time), 3),
        "messages_sent": summary.traffic.sent,
        "messages_received": summary.traffic.received,
        "messages_per_second": round(summary.per_second(summary.traffic.sent + summary.traffic.received), 3),
        "bytes_sent": summary.traffic.bytes_sent,
        "bytes_received": summary.traffic.bytes_received,
        "latency_ms": {
            "min": _ms(latencies.least),
            "mean": _ms(latencies.mean),
            **{name_of(percent): _ms(value) for percent, value in zip(PERCENTILES, values, strict=True)},
            "max": _ms(latencies.most),
        },
        "histogram_ms": [[_ms(low), _ms(high), count] for low, high, count in latencies.ranges(_RANGES)],
        "errors": dict(summary.errors),
        "unsent": summary.unsent,
        "unanswered": summary.unanswered,
        "reconnects": summary.reconnects,
        "connections_ended": summary.ended,
        "cpu_seconds": round(summary.cpu, 3),
        "interrupted": summary.interrupted,
        "per_second": [
            {"at": round(row.at, 3), "requests_per_second": round(row.requests / row.seconds, 1), "errors": row.errors,
             "p50_ms": _ms(row.p50), "p90_ms": _ms(row.p90), "p99_ms": _ms(row.p99), "max_ms": _ms(row.most)}
            for row in summary.rows
        ],
    }  # fmt: skip


def as_csv(summary: Summary) -> list[str]:
    """Return the lines of ``--csv``: the names of the columns, then a line for each second. Latencies are in
    milliseconds.
    """
    lines = ["second,requests_per_second,errors,p50_ms,p90_ms,p99_ms,max_ms"]
    for row in summary.rows:
        times = ",".join(str(_ms(value)) for value in (row.p50, row.p90, row.p99, row.most))
        lines.append(f"{row.at:.3f},{row.requests / row.seconds:.1f},{row.errors},{times}")
    return lines


def as_text(summary: Summary, *, ascii_only: bool = False) -> list[str]:
    """Return the lines of the summary for people.

    Args:
        summary: what was measured.
        ascii_only: whether the terminal can show only ASCII.
    """
    lines = [*_head(summary), "", *_latencies(summary), "", *_histogram(summary.latencies, ascii_only)]
    lines += _errors(summary)
    text = "\n".join(lines)
    return text.replace("µ", "u").splitlines() if ascii_only else text.splitlines()


def _head(summary: Summary) -> list[str]:
    traffic = summary.traffic
    model = "each connection sends when a reply has come" if summary.rate is None else f"{summary.rate:,g} requests/s"
    in_flight = f", at most {summary.depth:,} in flight each" if summary.depth > 1 else ""
    both = summary.per_second(traffic.sent + traffic.received)
    volume = summary.per_second(traffic.bytes_sent + traffic.bytes_received) / 1e6
    percent = 100 * summary.per_second(summary.cpu)
    limit = "  (so this process may be the limit, and not the server)" if percent >= _BUSY else ""
    how = "  (interrupted)" if summary.interrupted else ""
    return [
        f"{summary.url}",
        f"{_number(summary.connections, 'connection')}{in_flight}; {model}",
        "",
        f"Time          {summary.seconds:,.2f} s{how}",
        f"Requests      {summary.latencies.count:,} answered   {summary.per_second(summary.in_time):,.0f} per second",
        f"Messages      {traffic.sent:,} sent, {traffic.received:,} received   {both:,.0f} per second",
        f"Bytes         {volume:,.2f} MB per second",
        f"Client's CPU  {percent:.0f} % of one core{limit}",
    ]


def _latencies(summary: Summary) -> list[str]:
    latencies = summary.latencies
    if not latencies.count:
        return ["Latency       no request was answered"]
    origin = "" if summary.rate is None else ", from the time at which a request was due"
    names = ["min", "mean", *map(name_of, PERCENTILES), "max"]
    values = [latencies.least, latencies.mean, *latencies.percentiles(PERCENTILES), latencies.most]
    cells = [duration(value) for value in values]
    widths = [max(len(name), len(cell)) for name, cell in zip(names, cells, strict=True)]
    return [
        f"Latency{origin}",
        "  " + "  ".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True)),
        "  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)),
    ]


def _histogram(latencies: Latencies, ascii_only: bool) -> list[str]:
    ranges = latencies.ranges(_RANGES)
    if not ranges:
        return []
    most = max(count for _, _, count in ranges)
    uppers = [duration(high) for _, high, _ in ranges]
    width, digits = max(map(len, uppers)), len(f"{most:,}")
    return ["Histogram"] + [
        f"  up to {upper:>{width}}  {count:>{digits},}  {_bar(count / most, ascii_only)}".rstrip()
        for upper, (_, _, count) in zip(uppers, ranges, strict=True)
    ]


def _bar(part: float, ascii_only: bool) -> str:
    if ascii_only:
        return "#" * round(part * _BAR)
    eighths = max(round(part * _BAR * 8), 1 if part else 0)
    return ("█" * (eighths // 8) + _BLOCKS[eighths % 8]).rstrip()


def _errors(summary: Summary) -> list[str]:
    lines = []
    for kind, count in sorted(summary.errors.items(), key=_count_of, reverse=True):
        example = summary.examples.get(kind, "")
        lines.append(f"  {count:,} {kind}: {example}" if example else f"  {count:,} {kind}")
    for count, text in (
        (summary.unsent, "due, but not sent in time: the rate is too high for the server, or for this process"),
        (summary.unanswered, "without an answer when the measurement was interrupted"),
    ):
        if count:
            lines.append(f"  {count:,} {text}")
    if summary.reconnects:
        lines.append(f"  {_number(summary.reconnects, 'connection')} opened again after a loss")
    if summary.ended:
        lines.append(f"  {_number(summary.ended, 'connection')} lost, not opened again")
    return ["", "Errors", *lines] if lines else []


def _count_of(item: tuple[str, int]) -> int:
    return item[1]


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _ms(nanoseconds: float) -> float:
    return round(nanoseconds / _MS, 6)
