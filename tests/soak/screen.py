"""The output of the soak: line by line, or live on a terminal if rich is installed (``live``)."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from .round import Result, Round

__all__ = ["PlainScreen", "Screen", "Shown", "choose", "rows_of", "summary"]

Shown = Sequence[tuple[str, str]]
"""Rows of a table: name and value."""


class Screen(Protocol):
    """The output of the soak."""

    def note(self, text: str) -> None:
        """Show a text permanently."""

    def progress(self, done: float, total: float, rows: Shown) -> None:
        """Show how many of the total seconds have passed, and the present values."""

    def table(self, title: str, rows: Shown) -> None:
        """Show a table, at the end."""

    def close(self) -> None:
        """End the live part; only tables may follow."""


class PlainScreen:
    """Prints a line every ten seconds, and each note."""

    def __init__(self) -> None:
        self._next = 0.0

    def note(self, text: str) -> None:
        """Print the text."""
        print(text, flush=True)

    def progress(self, done: float, total: float, rows: Shown) -> None:
        """Print a line, if the last one was printed ten seconds ago."""
        if done >= self._next:
            self._next = done + 10.0
            facts = ", ".join(f"{what} {count}" for what, count in rows)
            print(f"{done:6.0f} of {total:.0f} s: {facts}", flush=True)

    def table(self, title: str, rows: Shown) -> None:
        """Print the rows in columns."""
        width = max((len(what) for what, _ in rows), default=0)
        print(f"\n{title}")
        for what, count in rows:
            print(f"  {what:<{width}}  {count:>12}")
        sys.stdout.flush()

    def close(self) -> None:
        """Nothing to do."""


def choose(plain: bool) -> Screen:
    """The live screen on a terminal, if rich is installed; else the plain one."""
    if plain or not sys.stdout.isatty():
        return PlainScreen()
    try:
        from .live import LiveScreen
    except ModuleNotFoundError:
        print("For a live table: pip install 'wsclient-sdk[cli]'", file=sys.stderr)
        return PlainScreen()
    return LiveScreen()


def rows_of(round_: Round, broken: int) -> Shown:
    """The present values of a run."""
    asked, sent, heard = round_.counts()
    stats = round_.stats
    return [
        ("seed", str(round_.seed)),
        ("client", round_.state.value),
        ("fault", round_.now or "none"),
        ("faults", str(round_.faults)),
        ("connections", str(stats.connections)),
        ("renewals", str(stats.renewals)),
        ("quiet", str(round_.quiet)),
        ("requests", f"{asked:,}"),
        ("messages sent", f"{sent:,}"),
        ("subscription messages", f"{heard:,}"),
        ("queued", str(stats.queue_depth)),
        ("broken promises", str(broken)),
    ]


def summary(results: Sequence[Result]) -> list[tuple[str, Shown]]:
    """The tables at the end."""
    checked: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    states: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    for result in results:
        checked.update(result.verdict.checked)
        outcomes.update(result.outcomes)
        states.update(result.states)
        faults.update(result.faults)
    recoveries = [one.slowest_recovery for one in results if one.slowest_recovery is not None]
    totals = [
        ("faults", f"{sum(faults.values()):,}"),
        ("connections", f"{sum(one.connections for one in results):,}"),
        ("renewals", f"{sum(one.renewals for one in results):,}"),
        ("connections found quiet", f"{sum(one.quiet for one in results):,}"),
        ("requests", f"{sum(outcomes.values()):,}"),
        ("messages sent", f"{states.total():,}"),
        ("messages received by the server", f"{sum(one.arrived for one in results):,}"),
        ("subscription messages", f"{sum(one.heard for one in results):,}"),
        ("checks", f"{checked.total():,}"),
        ("slowest recovery", f"{max(recoveries):.2f} s" if recoveries else "none measured"),
        ("tolerance, as measured", f"{max((one.slack for one in results), default=0.0):.2f} s"),
        ("broken promises", f"{sum(len(one.verdict.broken) for one in results):,}"),
    ]
    return [
        ("Faults", _counted(faults)),
        ("Requests ended", _counted(outcomes)),
        ("Deliveries ended", _counted(states)),
        ("Promises checked", [(what, f"{count:,}") for what, count in checked.items()]),
        ("Total", totals),
    ]


def _counted(counter: Counter[str]) -> Shown:
    return [(what, f"{count:,}") for what, count in counter.most_common()]
