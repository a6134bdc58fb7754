"""The goals, and whether they are reached. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .running import Results

OURS = "wsclient"
TIMES = "\N{MULTIPLICATION SIGN}"


class Goal(NamedTuple):
    """A limit for one figure of this library.

    Attributes:
        case: the case.
        bound: microseconds; if ``beside`` names peers, a factor of the lowest of their figures.
        figure: ``cpu`` or ``p50``.
        beside: peers.
    """

    case: str
    bound: float
    figure: str = "cpu"
    beside: tuple[str, ...] = ()


class RetryDecision(NamedTuple):
    """A goal and its measurement.

    Attributes:
        case, figure: of the goal.
        limit: the bound in microseconds.
        value: the measurement, in microseconds.
        words: the goal as text.
        met: whether it is reached.
    """

    case: str
    figure: str
    limit: float
    value: float
    words: str
    met: bool


GOALS = (
    Goal("receive", 2.3),
    Goal("receive-64k", 0.4, beside=("WebSocketApp tuned", "websockets.sync")),
    Goal("receive-1m", 450),
    Goal("send", 3.5),
    Goal("send-1m", 2000),
    Goal("request", 55),
    Goal("request", 1.25, "p50", ("WebSocket (no thread)",)),
    Goal("request-main", 75),
    Goal("request-16", 45),
    Goal("request-many", 14),
)

ACCELERATED = {Goal("send-1m", 2000): Goal("send-1m", 1000)}
"""The goals with the extra ``[speed]``."""


IDLE = {"threads": 2.0, "kib": 60.0}
"""The maximum of an idle client: threads, and KiB of memory."""


def judge_growth(scaling: Mapping[str, Any]) -> list[RetryDecision]:
    """Compare idle clients with their goals, at their largest number; figures in their own units."""
    entries = scaling.get("idle", {}).get(OURS, [])
    return [
        RetryDecision("idle", figure, limit, entries[-1][figure], f"≤ {limit:g}", entries[-1][figure] <= limit)
        for figure, limit in IDLE.items()
        if entries and entries[-1][figure] is not None
    ]


def judge(results: Results, *, accelerated: bool, goals: Sequence[Goal] = GOALS) -> list[RetryDecision]:
    """Compare the figures with the goals; those whose case or whose peers were not measured are omitted."""
    verdicts = []
    for goal in goals:
        if accelerated:
            goal = ACCELERATED.get(goal, goal)
        figures = {peer: of_peer[goal.figure] for peer, of_peer in results.get(goal.case, {}).items()
                   if goal.figure in of_peer}  # fmt: skip
        if OURS not in figures or not all(peer in figures for peer in goal.beside):
            continue
        limit, words = goal.bound, f"≤ {spelled(goal.bound)}"
        if goal.beside:
            limit *= min(figures[peer] for peer in goal.beside)
            words = f"≤ {goal.bound:g} {TIMES} {' and '.join(goal.beside)}"
        value = figures[OURS]
        verdicts.append(RetryDecision(goal.case, goal.figure, limit, value, words, value <= limit))
    return verdicts


def spelled(microseconds: float) -> str:
    """A time with three digits and its unit: ``4.81 µs``, ``1.25 ms``."""
    value, unit = (microseconds / 1000, "ms") if microseconds >= 999.5 else (microseconds, "µs")
    places = 2 if value < 9.995 else 1 if value < 99.95 else 0
    number = f"{value:.{places}f}"
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"
