"""The output of the soak on a terminal: a progress bar, and a table that changes in place."""

from __future__ import annotations

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from .screen import Shown

__all__ = ["LiveScreen"]


class LiveScreen:
    """A screen drawn by rich. Only one thread may use it."""

    def __init__(self) -> None:
        self._console = Console()
        self._bar = Progress(
            TextColumn("soak"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn()
        )
        self._task = self._bar.add_task("soak", total=None)
        self._live = Live(Group(self._bar), console=self._console, refresh_per_second=5)
        self._live.start()

    def note(self, text: str) -> None:
        """Print the text above the table."""
        self._console.print(text, markup=False, highlight=False)

    def progress(self, done: float, total: float, rows: Shown) -> None:
        """Move the bar and change the table."""
        self._bar.update(self._task, completed=min(done, total), total=total)
        self._live.update(Group(self._bar, _table("", rows)))

    def table(self, title: str, rows: Shown) -> None:
        """Draw the rows."""
        self._console.print()
        self._console.print(_table(title, rows))

    def close(self) -> None:
        """Draw the last time."""
        self._live.stop()


def _table(title: str, rows: Shown) -> Table:
    table = Table(title=title or None, title_justify="left", title_style="bold", show_header=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(justify="right", style="bold")
    for row in rows:
        table.add_row(*row)
    return table
