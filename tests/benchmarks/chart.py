"""The bar chart: a panel for each case, a bar of CPU time for each peer. With ``matplotlib``, loaded when it draws."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .cases import CASES
from .goals import OURS, spelled
from .palette import ASYNCHRONOUS as ASYNCHRONOUS_COLOUR
from .palette import INK
from .palette import OURS as OUR_COLOUR
from .palette import SYNCHRONOUS as SYNCHRONOUS_COLOUR
from .peers import ASYNCHRONOUS
from .reporting import Report

COLUMNS = 3
LONGEST = 6
"""A bar longer than this many of ours is cut, so that one slow peer does not make all others look equal."""
CUT = "\N{RIGHT-POINTING DOUBLE ANGLE QUOTATION MARK}"

STYLE = {
    "svg.hashsalt": "wsclient",  # the same figures make the same file
    "svg.fonttype": "none",  # text remains text, in the reader's font
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana"],  # of equal width; the list is repeated for every word in the file
    "font.size": 8,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


@contextmanager
def styled() -> Iterator[Any]:
    """``matplotlib``'s module of figures, in the style of this project and without a window."""
    import matplotlib as mpl
    from matplotlib import figure

    with mpl.rc_context(STYLE):
        yield figure


def save(drawing: Any, path: Path) -> None:
    """Write an SVG file, which is identical for the same drawing."""
    drawing.savefig(path, format="svg", transparent=True, metadata={"Date": None, "Creator": None})


def draw(report: Report, path: Path) -> None:
    """Draw the cases of a report.

    Each panel has a separate axis, which begins at zero; the labels of the bars have the figures.
    """
    cases = {case: peers for case, peers in report["cases"].items() if peers}
    lines = math.ceil(len(cases) / COLUMNS)
    with styled() as figure:
        drawing = figure.Figure(figsize=(10, 1.75 * lines + 0.6), layout="constrained")
        title = f"CPU time of one operation: shorter is better ({CUT} longer than shown)"
        drawing.suptitle(title, color=INK, fontsize=11)
        slots = max(map(len, cases.values()))
        panels = drawing.subplots(lines, COLUMNS, squeeze=False).flat
        for panel, (case, peers) in zip(panels, cases.items(), strict=False):
            _panel(panel, CASES[case].title if case in CASES else case, peers, slots)
        for panel in list(drawing.axes)[len(cases) :]:
            panel.set_axis_off()
        save(drawing, path)


def lengths(peers: dict[str, dict[str, float]]) -> dict[str, tuple[float, str]]:
    """The length of each peer's bar, in microseconds, and its label."""
    times = {peer: figures["cpu"] for peer, figures in peers.items()}
    longest = LONGEST * times[OURS] if OURS in times else max(times.values())
    return {
        peer: (time, spelled(time)) if time <= longest else (longest, f"{CUT} {spelled(time)}")
        for peer, time in times.items()
    }


def _panel(panel: Any, title: str, peers: dict[str, dict[str, float]], slots: int) -> None:
    bars_of = lengths(peers)
    longs = [long for long, _ in bars_of.values()]
    panel.set_title(title, fontsize=9, loc="left", color=INK)
    bars = panel.barh(list(peers), longs, color=[_colour(peer) for peer in peers], height=0.75)
    panel.bar_label(bars, [label for _, label in bars_of.values()], padding=2, color=INK, fontsize=7)
    panel.set_ylim(slots - 0.5, -0.5)  # the first at the top, and all bars of equal height
    panel.set_xlim(0, 1.4 * max(longs))
    panel.set_xticks([])
    panel.tick_params(axis="y", length=0, labelsize=7)
    for side in ("top", "right", "bottom"):
        panel.spines[side].set_visible(False)
    for label in panel.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() == OURS else "normal")


def _colour(peer: str) -> str:
    if peer == OURS:
        return OUR_COLOUR
    return ASYNCHRONOUS_COLOUR if peer in ASYNCHRONOUS else SYNCHRONOUS_COLOUR
