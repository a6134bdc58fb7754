"""How cost grows with the load: threads, idle clients, requests in flight, messages in the queue.

The result has, by the name of the load and by peer, a list of figures, each with its ``size``. Every peer has a
separate process; for requests in flight and messages in the queue, every size has one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from .cases import Case
from .growth.idle import MAKERS, REST
from .running import Failed, Listener, compare, program, server

Scaling = dict[str, dict[str, list[dict[str, float]]]]
"""Load, peer, figures."""

THREADS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
IDLE = (1, 10, 100, 500, 1000, 2000)
IN_FLIGHT = (10, 100, 1_000, 10_000, 100_000)
QUEUED = (1_000, 10_000, 100_000, 1_000_000)

ASKING = ("wsclient", "WebSocketApp tuned", "websockets.sync")
"""The peers with many requesting threads."""
ASKED = 5_000
"""The total number of requests of all threads, at least; each makes twenty or more."""


def measure(rounds: int, told: Callable[[str], object], *, quick: bool = False) -> Scaling:
    """Measure all four.

    Args:
        rounds: of the cases with threads; the others run once for each size.
        told: is called with each step.
        quick: the smaller sizes only, and short idle times.
    """
    kept = slice(0, 3 if quick else None)
    rest = 0.5 if quick else REST
    return {
        "threads": threads(THREADS[kept], rounds, told),
        "idle": {peer: _grown("idle", peer, [IDLE[kept]], told, str(rest)) for peer in MAKERS},
        "in_flight": {"wsclient": _grown("in_flight", "wsclient", [[size] for size in IN_FLIGHT[kept]], told)},
        "queue": {"wsclient": _grown("queue", "wsclient", [[size] for size in QUEUED[kept]], told)},
    }


class _Teller(Listener):
    def __init__(self, told: Callable[[str], object]) -> None:
        self._told = told

    def round(self, case, number):
        self._told(f"{case}, round {number}")

    def left_out(self, case, peer, reason, missing):
        self._told(f"{peer} IS NOT MEASURED in {case}: {reason}")


def threads(sizes: tuple[int, ...], rounds: int, told: Callable[[str], object]) -> dict[str, list[dict[str, float]]]:
    """One client with requests from more and more threads."""
    cases = {
        f"{size} threads": Case(f"request, {size} threads", "parallel", size * max(20, ASKED // size), threads=size)
        for size in sizes
    }
    found = compare(cases, list(ASKING), rounds, _Teller(told))
    return {
        peer: [{"size": size, **found[case][peer]} for size, case in zip(sizes, cases, strict=True)
               if peer in found[case]]
        for peer in ASKING
    }  # fmt: skip


def _grown(
    name: str, peer: str, processes: list[Any], told: Callable[[str], object], *arguments: str
) -> list[dict[str, float]]:
    """Run one of the programs in ``growth``, a process for each list of sizes."""
    found = []
    for sizes in processes:
        told(f"{name}, {peer}: {', '.join(map(str, sizes))}")
        with server() as address:
            listed = ",".join(map(str, sizes))
            with program(f"growth.{name}", peer, f"ws://{address}", listed, *arguments) as process:
                figures = [json.loads(line) for line in process.stdout]
        if len(figures) != len(sizes):
            raise Failed(f"{peer} did not get through {name} {listed}, see above; it ended with {process.returncode}.")
        found += figures
    return found
