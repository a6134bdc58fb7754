"""The chart of ``bench --svg``: latency by percentile, and throughput over time. Pure.

The colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), which can be distinguished with every kind of
colour blindness; the lines also differ in their dashes and are labelled. A viewer that supports the media query
``prefers-color-scheme`` shows text and background in light or dark colours, as the reader prefers; other viewers show
the light ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

from .latencies import Latencies
from .report import Summary, duration

__all__ = ["as_svg"]

_WIDTH: Final = 760
_LEFT: Final = 78
_RIGHT: Final = 24
_PLOT: Final = _WIDTH - _LEFT - _RIGHT
_HEIGHT: Final = 200
_TOPS: Final = (104, 388)
"""The upper edges of the two plots."""

_TOTAL: Final = 628
_MOST_POINTS: Final = 600
"""The most points of a line. If there are more seconds, one point stands for several."""

_OPENING: Final = (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_TOTAL}" width="{_WIDTH}" height="{_TOTAL}" '
    'role="img" aria-labelledby="title desc">'
)

_STYLE: Final = """
.paper{fill:#ffffff}.ink{fill:#1a1a1a}.soft{fill:#595959}.grid{stroke:#d9d9d9;stroke-width:1}
.axis{stroke:#595959;stroke-width:1}.line{fill:none;stroke-width:2.25;stroke-linejoin:round}
.one{stroke:#0072b2}.two{stroke:#d55e00;stroke-dasharray:7 3}.onedot{fill:#0072b2}.twodot{fill:#d55e00}
text{font:13px system-ui,-apple-system,"Segoe UI",sans-serif}.title{font-size:17px;font-weight:600}
@media (prefers-color-scheme:dark){.paper{fill:#161616}.ink{fill:#f0f0f0}.soft{fill:#b3b3b3}.grid{stroke:#3a3a3a}
.axis{stroke:#b3b3b3}.one{stroke:#56b4e9}.onedot{fill:#56b4e9}.two{stroke:#e69f00}.twodot{fill:#e69f00}}
"""


def as_svg(summary: Summary) -> str:
    """Return the chart as a document of SVG 1.1."""
    rate = summary.per_second(summary.in_time)
    title = f"{rate:,.0f} requests/s on {summary.connections:,} connection{'' if summary.connections == 1 else 's'}"
    failed = sum(summary.errors.values())
    facts = f"{summary.url} · {summary.latencies.count:,} answered in {summary.seconds:,.1f} s · {failed:,} failed"
    return "\n".join([
        _OPENING,
        f'<title id="title">{_text(title)}</title>',
        f'<desc id="desc">{_text(_described(summary))}</desc>',
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{_WIDTH}" height="{_TOTAL}"/>',
        _label(24, 32, title, "ink title"),
        _label(24, 53, facts if len(facts) <= 105 else f"{facts[:104]}…", "soft"),
        *_latency_plot(summary.latencies),
        *_throughput_plot(summary),
        "</svg>",
        "",
    ])  # fmt: skip


def _described(summary: Summary) -> str:
    p50, p99 = summary.latencies.percentiles((50, 99))
    return (
        f"Median latency {duration(p50)}, 99th percentile {duration(p99)}, largest "
        f"{duration(summary.latencies.most)}. Below: requests answered in each second."
    )


# --- latency by percentile -------------------------------------------------------------------------------------------


def _latency_plot(latencies: Latencies) -> list[str]:
    """The horizontal axis is that of HdrHistogram: equal steps from 90 % to 99 % to 99.9 %."""
    top = _TOPS[0]
    parts = [_label(24, top - 18, "Latency by percentile", "ink")]
    if not latencies.count:
        return [*parts, _label(_LEFT, top + _HEIGHT / 2, "no request was answered", "soft")]
    steps = max(2, min(6, math.floor(math.log10(latencies.count)) if latencies.count > 1 else 2))
    percents = [100 * (1 - 10 ** -(steps * place / 200)) for place in range(201)]
    values = latencies.percentiles(percents)
    low = 10 ** math.floor(math.log10(max(values[0], 1)))
    high = 10 ** math.ceil(math.log10(max(latencies.most, low * 1.01)))  # 1.01: at least one decade
    decades = round(math.log10(high / low))
    for number in range(decades + 1):
        parts += _rule(top, number / decades, duration(low * 10**number))
    for step in range(steps + 1):
        x = _LEFT + _PLOT * step / steps
        parts.append(_below(top, step / steps, f"{100 - 100 / 10**step:.10g} %"))
    heights = [math.log10(max(value, low) / low) / decades for value in values]
    parts.append(_line(top, [place / 200 for place in range(201)], heights, "one"))
    for percent in (50, 90, 99, 99.9):
        across = -math.log10(1 - percent / 100) / steps
        if across <= 1:
            value = latencies.percentile(percent)
            x, y = _LEFT + _PLOT * across, _y(top, math.log10(max(value, low) / low) / decades)
            parts.append(f'<circle class="onedot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
            # The line rises to the right, so there is room below it.
            shift, anchor = (6, "start") if across < 0.8 else (-6, "end")
            parts.append(_label(x + shift, y + 18, f"{percent:g} %: {duration(value)}", "ink", anchor))
    return parts


# --- throughput over time --------------------------------------------------------------------------------------------


def _throughput_plot(summary: Summary) -> list[str]:
    top = _TOPS[1]
    rows = summary.rows
    name = "Requests answered per second"
    parts = [_label(24, top - 18, name, "ink")]
    if not rows or summary.seconds <= 0:
        return [*parts, _label(_LEFT, top + _HEIGHT / 2, "no second was measured", "soft")]
    size = -(-len(rows) // _MOST_POINTS)
    groups = [rows[place : place + size] for place in range(0, len(rows), size)]
    times = [group[-1].at for group in groups]
    rates = [sum(row.requests for row in group) / sum(row.seconds for row in group) for group in groups]
    failures = [sum(row.errors for row in group) / sum(row.seconds for row in group) for group in groups]
    high = _round_up(max(*rates, *failures, summary.rate or 0, 1))
    for part in (0, 0.25, 0.5, 0.75, 1):
        parts += _rule(top, part, f"{high * part:,.6g}")
    longest = times[-1]
    for part in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_below(top, part, f"{longest * part:,.4g} s"))
    across = [0.0, *(time / longest for time in times)]
    parts.append(_line(top, across, _from_start([rate / high for rate in rates]), "one"))
    if any(failures):
        parts.append(_line(top, across, _from_start([rate / high for rate in failures]), "two"))
        parts.append(f'<circle class="twodot" cx="{_WIDTH - 150}" cy="{top - 22}" r="5"/>')
        parts.append(_label(_WIDTH - 140, top - 18, "failed (dashed)", "ink"))
    return parts


def _from_start(heights: Sequence[float]) -> list[float]:
    return [heights[0], *heights]


def _round_up(value: float) -> float:
    """Return a round number that is not smaller than the value."""
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(power * factor for factor in (1, 1.5, 2, 3, 4, 6, 8, 10) if power * factor >= value * 0.999999)


# --- parts -----------------------------------------------------------------------------------------------------------


def _y(top: float, part: float) -> float:
    return top + _HEIGHT * (1 - min(max(part, 0), 1))


def _line(top: float, across: Sequence[float], heights: Sequence[float], kind: str) -> str:
    points = " ".join(
        f"{_LEFT + _PLOT * x:.1f},{_y(top, height):.1f}" for x, height in zip(across, heights, strict=True)
    )
    return f'<polyline class="line {kind}" points="{points}"/>'


def _rule(top: float, part: float, name: str) -> list[str]:
    y = _y(top, part)
    kind = "grid" if part else "axis"
    return [
        f'<line class="{kind}" x1="{_LEFT}" x2="{_LEFT + _PLOT}" y1="{y:.1f}" y2="{y:.1f}"/>',
        _label(_LEFT - 8, y + 4, name, "soft", "end"),
    ]


def _below(top: float, part: float, name: str) -> str:
    """Return a name below the horizontal axis. The last name ends where the axis ends, and is not centred there."""
    return _label(_LEFT + _PLOT * part, top + _HEIGHT + 18, name, "soft", "middle" if part < 1 else "end")


def _label(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_text(text)}</text>'


def _text(text: str) -> str:
    """Escape for XML. Characters that are not printable become a question mark; XML 1.0 does not allow some of them."""
    return escape("".join(one if one.isprintable() else "?" for one in text))
