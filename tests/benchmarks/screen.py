"""The output on a terminal: progress while it runs, the table at the end. With ``rich``."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from .reporting import Report
from .running import Listener
from .table import NOTHING, header, rows

MARKS = {None: Text(""), True: Text("yes", "green"), False: Text("no", "bold red")}


class Watcher(Listener):
    """Shows the rounds as they come, and records the omitted peers.

    Attributes:
        absent: why a peer is missing, by case and peer.
    """

    def __init__(self, console: Console, steps: int) -> None:
        self.absent: dict[str, dict[str, str]] = {}
        self._console = console
        self._missing: set[str] = set()
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        )
        self._task = self._progress.add_task("starting", total=steps)

    def __enter__(self):
        self._progress.start()
        return self

    def __exit__(self, *exc):
        self._progress.stop()

    def round(self, case, number):
        self._progress.update(self._task, advance=1, description=f"{case}, round {number}" if number else case)

    def left_out(self, case, peer, reason, missing):
        self.absent.setdefault(case, {})[peer] = reason
        if missing and peer not in self._missing:
            self._missing.add(peer)
            self._console.print(Text(f"{peer} IS NOT MEASURED: {reason}", "bold red"))


def show(report: Report, console: Console) -> None:
    """Print the table: a row per case, a column per peer, then the goals."""
    title = f"CPU time of one operation, medians of {report['rounds']} rounds; a peer's also as a multiple of ours"
    table = Table("case", title=title, show_lines=True)
    for peer in header(report):
        table.add_column(peer, justify="right")
    table.add_column("goal")
    table.add_column("met")
    for row in rows(report):
        table.add_row(row.title, *(cell.replace(" (", "\n(") for cell in row.cells), row.goal, MARKS[row.met])
    console.print(table)
    met = [goal["met"] for goal in report["goals"] if goal["case"] in report["cases"]]
    console.print(f"{sum(met)} of {len(met)} goals are met.")
    console.print(Text(", ".join(f"{name} {value}" for name, value in report["machine"].items())))


def show_growth(report: Report, console: Console) -> None:
    """Print the scaling results, a table for each, and their goals."""
    for what, peers in report["scaling"].items():
        figures = list(dict.fromkeys(figure for entries in peers.values() for entry in entries for figure in entry))
        table = Table("", title=what)
        for figure in figures:
            table.add_column(figure, justify="right")
        for peer, entries in peers.items():
            for entry in entries:
                values = (entry.get(figure) for figure in figures)
                table.add_row(peer, *(NOTHING if value is None else f"{value:.4g}" for value in values))
        console.print(table)
    for goal in report["goals"]:
        if goal["case"] in report["scaling"]:
            met = MARKS[goal["met"]]
            console.print(f"{goal['case']}, {goal['figure']}: {goal['value']:.3g}, goal {goal['words']}, met:", met)
