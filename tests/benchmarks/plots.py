"""The curves of the scaling measurements, a panel for each figure. With ``matplotlib``, loaded when it draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from .chart import save, styled
from .palette import INK, LINES
from .scaling import Scaling


class Panel(NamedTuple):
    """One set of axes.

    Attributes:
        grows: what is varied, as in ``Scaling``.
        figures: which figures are drawn.
        title: their description, with the unit.
        across: the unit of the sizes.
    """

    grows: str
    figures: tuple[str, ...]
    title: str
    across: str


PANELS = (
    Panel("threads", ("cpu",), "CPU of a request, µs", "threads on one client"),
    Panel("idle", ("kib",), "memory of an idle client, KiB", "clients"),
    Panel("idle", ("threads",), "threads of an idle client", "clients"),
    Panel("idle", ("idle_percent",), "CPU of all idle clients, %", "clients"),
    Panel("in_flight", ("begin", "round_trip", "time_out", "reply"), "CPU of a request, µs", "requests in flight"),
    Panel("in_flight", ("kib",), "memory of a request in flight, KiB", "requests in flight"),
    Panel("queue", ("put", "drain"), "CPU of a message, µs", "messages in the queue"),
    Panel("queue", ("kib",), "memory of a message that waits, KiB", "messages in the queue"),
)
COLUMNS = 4
STYLES = ("-", "--", ":", "-.")
HEADROOM = 1.7
"""The axes are this many times as high as the highest point, so that the legend is above the lines."""


def curves(scaling: Scaling, panel: Panel) -> dict[str, list[tuple[float, float]]]:
    """The points of each curve; it is named after its peer, or after its figure if a panel has several."""
    return {
        figure.replace("_", " ") if len(panel.figures) > 1 else peer:
            [(entry["size"], entry[figure]) for entry in entries if entry.get(figure) is not None]
        for peer, entries in scaling.get(panel.grows, {}).items()
        for figure in panel.figures
    }  # fmt: skip


def draw(scaling: Scaling, path: Path) -> None:
    """Draw all panels. Sizes are on a logarithmic axis; costs begin at zero, so that constant costs are level."""
    lines = len(PANELS) // COLUMNS
    with styled() as figure:
        drawing = figure.Figure(figsize=(12, 2.6 * lines), layout="constrained")
        for axes, panel in zip(drawing.subplots(lines, COLUMNS).flat, PANELS, strict=True):
            _panel(axes, panel, curves(scaling, panel))
        save(drawing, path)


def _panel(axes: Any, panel: Panel, lines: dict[str, list[tuple[float, float]]]) -> None:
    for number, (name, points) in enumerate(lines.items()):
        colour = LINES[number % len(LINES)]
        across, up = [size for size, _ in points], [cost for _, cost in points]
        axes.plot(across, up, STYLES[number % len(STYLES)], label=name, color=colour, marker="o", markersize=3)
    axes.set_title(panel.title, fontsize=9, loc="left", color=INK)
    sizes = sorted({size for points in lines.values() for size, _ in points})
    axes.set_xscale("log")
    axes.set_xticks(sizes, [short(size) for size in sizes])
    axes.set_xticks([], minor=True)
    axes.set_xlabel(panel.across)
    axes.set_ylim(0, HEADROOM * max((cost for points in lines.values() for _, cost in points), default=1))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if len(lines) > 1:
        axes.legend(fontsize=7, loc="upper left")


def short(size: float) -> str:
    """A size for the labels of an axis: ``500``, ``10k``, ``1M``."""
    if size >= 1_000_000:
        return f"{size / 1_000_000:g}M"
    return f"{size / 1000:g}k" if size >= 1000 else f"{size:g}"
