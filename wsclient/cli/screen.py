"""The output of the demonstration: a live display on a terminal, lines of text elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from .._models import State
from .._threads.locks import make_lock

__all__ = ["LiveScreen", "PlainScreen", "Screen"]

Rows = Sequence[tuple[str, str, str]]
"""Rows of a table: name, number, meaning."""

_COLOURS = {
    State.NEW: "white",
    State.CONNECTING: "yellow",
    State.OPEN: "green",
    State.WAITING: "red",
    State.CLOSING: "yellow",
    State.CLOSED: "white",
    State.FAILED: "red",
}
_LINES = 12
"""Events that the live display shows."""


class Screen(Protocol):
    """The output of the demonstration."""

    def note(self, text: str) -> None:
        """Show an event."""

    def state(self, state: State, counts: str) -> None:
        """Show the client's state, and how many requests had each outcome."""

    def table(self, title: str, rows: Rows) -> None:
        """Show a table, at the end."""

    def close(self) -> None:
        """End the live part; only tables may follow."""


class PlainScreen:
    """One line for each event, with the seconds since the beginning."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._shown: State | None = None
        # Guards the state shown last.
        self._lock = make_lock()

    def note(self, text: str) -> None:
        """Print the event."""
        print(f"{time.monotonic() - self._began:5.2f} s  {text}", flush=True)

    def state(self, state: State, counts: str) -> None:
        """Print the state if it has changed."""
        with self._lock:
            fresh = state is not self._shown
            self._shown = state
        if fresh:
            self.note(f"[{state.value}] {counts}")

    def table(self, title: str, rows: Rows) -> None:
        """Print the rows in columns."""
        width = max(len(what) for what, _, _ in rows)
        print(f"\n{title}")
        for what, count, meaning in rows:
            print(f"  {what:<{width}}  {count:>8}  {meaning}".rstrip())

    def close(self) -> None:
        """Nothing to do."""


class LiveScreen:
    """A state line that changes in place, and the last events below it."""

    def __init__(self) -> None:
        self._console = Console()
        self._began = time.monotonic()
        self._events: deque[Text] = deque(maxlen=_LINES)
        self._state = Text("starting")
        # Guards the events and the state line, which rich's thread draws and other threads change.
        self._lock = make_lock()
        self._live = Live(get_renderable=self._draw, console=self._console, refresh_per_second=20)
        self._live.start()

    def note(self, text: str) -> None:
        """Add the event to the list."""
        line = Text(f"{time.monotonic() - self._began:5.2f} s  ", style="dim")
        line.append(text, style="default")
        with self._lock:
            self._events.append(line)

    def state(self, state: State, counts: str) -> None:
        """Change the state line."""
        line = Text("● ", style=_COLOURS[state])
        line.append(f"{state.name:<11}", style=f"bold {_COLOURS[state]}")
        line.append(counts)
        with self._lock:
            self._state = line

    def table(self, title: str, rows: Rows) -> None:
        """Draw the rows as a table."""
        table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", show_header=False)
        table.add_column(style="cyan", no_wrap=True)
        table.add_column(justify="right", style="bold")
        table.add_column(style="dim")
        for row in rows:
            table.add_row(*row)
        self._console.print()
        self._console.print(table)

    def close(self) -> None:
        """Draw once more, then stop."""
        self._live.stop()

    def _draw(self) -> Panel:
        with self._lock:
            lines = [self._state, Text(), *self._events]
        lines += [Text()] * (_LINES + 2 - len(lines))
        return Panel(Group(*lines), title="wsclient demo", title_align="left", border_style="dim")
