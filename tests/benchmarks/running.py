"""Runs the cases: servers and peers in processes of their own, rounds in turn, so that a busy moment hits everybody."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

Results = dict[str, dict[str, dict[str, float]]]
"""Case, peer, figure."""


class Failed(RuntimeError):
    """A peer or a server did not do what it should."""


@contextlib.contextmanager
def program(module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A module of this package, running; ends with its standard input."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.stdin.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def answer(process: subprocess.Popen[str], line: str) -> dict[str, Any]:
    """Ask a worker for a round."""
    process.stdin.write(line + "\n")
    process.stdin.flush()
    reply = process.stdout.readline()
    if not reply:
        raise Failed(f"{process.args[-2]} ended with {process.wait()} in {line}")
    return json.loads(reply)


def measure(
    cases: list[str], peers: list[str], rounds: int, told: Callable[[str, int], object] = lambda case, number: None
) -> Results:
    """Run every case with every peer.

    Args:
        cases: names of cases.
        peers: names of peers.
        rounds: how often each; one more before them warms up.
        told: called before each round.

    Returns:
        For each case and each peer who can do it: the medians of ``wall``, ``cpu`` and ``p50``, in microseconds, and
        ``ratio``: the median over the rounds of its CPU time divided by that of the first peer in the same round.
    """
    with contextlib.ExitStack() as stack:
        urls = {}
        for module in ("server", "socketio_server"):
            process = stack.enter_context(program(module))
            urls[module] = f"127.0.0.1:{process.stdout.readline().strip()}/"
        workers = {}
        for peer in peers:
            url = f"http://{urls['socketio_server']}" if peer == "python-socketio" else f"ws://{urls['server']}"
            workers[peer] = stack.enter_context(program("worker", peer, url))
        return {case: _case(case, workers, rounds, told) for case in cases}


def _case(
    case: str, workers: dict[str, subprocess.Popen[str]], rounds: int, told: Callable[[str, int], object]
) -> dict[str, dict[str, float]]:
    found: dict[str, list[dict[str, Any]]] = {peer: [] for peer in workers}
    for number in range(rounds + 1):
        told(case, number)
        for peer in list(found):
            figures = answer(workers[peer], case)
            if "error" in figures:
                raise Failed(f"{peer} failed in {case}: {figures['error']}")
            if "unsupported" in figures:
                del found[peer]
            elif number:
                found[peer].append(figures)
    first = next(iter(found.values()))
    return {peer: _summary(figures, first) for peer, figures in found.items()}


def _summary(rounds: list[dict[str, Any]], first: list[dict[str, Any]]) -> dict[str, float]:
    summary = {
        key: median(figures[key] for figures in rounds) for key in ("wall", "cpu", "p50") if rounds[0][key] is not None
    }
    summary["ratio"] = median(mine["cpu"] / theirs["cpu"] for mine, theirs in zip(rounds, first, strict=True))
    return summary
