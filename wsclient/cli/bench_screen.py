"""The live screen of ``bench``, on stderr."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .latencies import PERCENTILES, Latencies
from .report import Second, duration, name_of

if TYPE_CHECKING:
    from .._typing import Self

__all__ = ["BenchScreen", "spark_line"]

_INTERVAL: Final = 0.25
"""Seconds between two drawings."""

_STEPS: Final = "▁▂▃▄▅▆▇█"


class BenchScreen:
    """The progress of a measurement. Only the main thread draws; no thread of rich runs.

    Args:
        url: the server, without secrets.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._console = Console(stderr=True)
        self._live = Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, vertical_overflow="crop"
        )
        self._drawn_at = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Remove the screen from the terminal."""
        self._live.stop()

    def show(self, progress: Mapping[str, Any], latencies: Latencies, rows: Sequence[Second]) -> None:
        """Draw, unless the last drawing is less than a quarter of a second old.

        Args:
            progress: the present numbers, from ``bench._Measurement._progress``.
            latencies: those until the end of the last row.
            rows: the intervals of a second that have ended.
        """
        now = time.monotonic()
        if now - self._drawn_at < _INTERVAL:
            return
        self._drawn_at = now
        self._live.update(self._drawing(progress, latencies, rows), refresh=True)

    def _drawing(self, progress: Mapping[str, Any], latencies: Latencies, rows: Sequence[Second]) -> Group:
        elapsed = progress["elapsed"]
        status = f"{elapsed:.1f} s" if elapsed >= 0 else f"warm-up, {-elapsed:.1f} s left"
        if progress["is_over"]:
            status = f"waiting for {progress['in_flight']:,} replies"
        head = Text(self._url, style="bold", no_wrap=True, overflow="ellipsis")
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_column(ratio=1)
        bar.add_column(justify="right", no_wrap=True)
        bar.add_row(ProgressBar(total=1.0, completed=progress["part"]), status)
        failed = sum(progress["errors"].values())
        counts = Text(no_wrap=True, overflow="ellipsis")
        counts.append(f"{rows[-1].requests / rows[-1].seconds:,.0f} requests/s" if rows else "… requests/s", "bold")
        counts.append(f"   {progress['answered']:,} answered   {progress['in_flight']:,} in flight   ")
        counts.append(f"{failed:,} failed", "red" if failed else "dim")
        times = Text(no_wrap=True, overflow="ellipsis")
        for percent, value in zip(PERCENTILES, latencies.percentiles(PERCENTILES), strict=True):
            times.append(f"{name_of(percent)} ", "dim")
            times.append(f"{duration(value)}   " if latencies.count else "…   ")
        times.append("max ", "dim")
        times.append(duration(latencies.most) if latencies.count else "…")
        rates = [row.requests / row.seconds for row in rows]
        width = max(10, min(60, self._console.width - 2))
        return Group(head, bar, counts, times, Text(spark_line(rates[-width:]), style="blue", no_wrap=True))


def spark_line(values: Sequence[float]) -> str:
    """Return a line of blocks whose heights are the values."""
    most = max(values, default=0)
    return "".join(_STEPS[round(value / most * 7) if most else 0] for value in values)
