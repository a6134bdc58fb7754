"""The figures as rows of text, for the terminal and for Markdown. Pure."""

from __future__ import annotations

from typing import NamedTuple

from .cases import CASES
from .goals import OURS, TIMES, spelled
from .reporting import Report, peers_of

NOTHING = "-"


class Row(NamedTuple):
    """One row of the table.

    Attributes:
        title: the case, and the figure if it is not CPU time.
        cells: one for each peer.
        goal: the goal, empty if there is none.
        met: whether it is reached; None if there is none.
    """

    title: str
    cells: list[str]
    goal: str = ""
    met: bool | None = None


def header(report: Report) -> list[str]:
    """The peers, in the order of the columns."""
    return peers_of(report["cases"])


def rows(report: Report) -> list[Row]:
    """CPU time of every case, then the waiting time of single requests.

    A peer's cell has its time and, in brackets, its ratio to this library's.
    """
    found = [_row(report, case, "cpu") for case in report["cases"]]
    timed = [case for case, peers in report["cases"].items() if any("p50" in figures for figures in peers.values())]
    return found + [_row(report, case, "p50") for case in timed]


def _row(report: Report, case: str, figure: str) -> Row:
    peers = report["cases"][case]
    title = CASES[case].title if case in CASES else case
    if figure == "p50":
        title += ": median wait"
    ours = peers.get(OURS, {}).get(figure)
    cells = [_cell(peer, peers.get(peer, {}), figure, ours) for peer in header(report)]
    for verdict in report["goals"]:
        if (verdict["case"], verdict["figure"]) == (case, figure):
            return Row(title, cells, verdict["words"], verdict["met"])
    return Row(title, cells)


def _cell(peer: str, figures: dict[str, float], figure: str, ours: float | None) -> str:
    if figure not in figures:
        return NOTHING
    time = spelled(figures[figure])
    if peer == OURS or ours is None:
        return time
    factor = figures["ratio"] if figure == "cpu" else figures[figure] / ours
    return f"{time} ({times(factor)})"


def times(factor: float) -> str:
    """A factor, with two digits and the sign: 0.95, 2.3, 12."""
    places = 2 if factor < 0.995 else 1 if factor < 9.95 else 0
    return f"{factor:.{places}f}{TIMES}"
