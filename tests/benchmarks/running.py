"""Runs the cases: servers and peers in separate processes, rounds in turn, so that other load affects all of them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from .cases import CASES, Case

ROOT = Path(__file__).resolve().parents[2]

SOCKETIO = "python-socketio"
"""The only peer whose protocol needs a different server."""

Results = dict[str, dict[str, dict[str, float]]]
"""Case, peer, figure."""


class Failed(RuntimeError):
    """A peer or a server failed."""


class Listener:
    """Is notified of the progress; does nothing by default."""

    def round(self, case: str, number: int) -> None:
        """A round begins; the one with the number 0 warms up."""

    def left_out(self, case: str, peer: str, reason: str, missing: bool) -> None:
        """A peer is omitted from a case: it does not support it, or (``missing``) its package is not installed."""


@contextlib.contextmanager
def program(module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A module of this package, running; ends with its standard input."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


@contextlib.contextmanager
def server(module: str = "server") -> Iterator[str]:
    """One of our servers, running; returns its address."""
    with program(module) as process:
        port = process.stdout.readline().strip()
        if not port:
            raise Failed(f"The {module} did not start, see above. It needs the extra: pip install '.[bench]'.")
        yield f"127.0.0.1:{port}/"


def answer(process: subprocess.Popen[str], line: str) -> dict[str, Any]:
    """Request a round from a worker."""
    with contextlib.suppress(BrokenPipeError):  # it has no answer then
        process.stdin.write(line + "\n")
        process.stdin.flush()
    reply = process.stdout.readline()
    if not reply:
        raise Failed(f"{' '.join(process.args[2:])} ended with {process.wait()} in {line}")
    return json.loads(reply)


def measure(
    cases: list[str], peers: list[str], rounds: int, told: Callable[[str, int], object] | None = None
) -> Results:
    """Run cases by their names; like ``compare``, with a function that is called for each round."""
    listener = Listener()
    if told is not None:
        listener.round = told
    return compare({name: CASES[name] for name in cases}, peers, rounds, listener)


def compare(cases: Mapping[str, Case], peers: list[str], rounds: int, listener: Listener) -> Results:
    """Run every case with every peer.

    Args:
        cases: the cases, by name.
        peers: names of peers.
        rounds: how many rounds; one more before them warms up.
        listener: is notified of each round, and of omitted peers.

    Returns:
        For each case and each peer that supports it: the medians of ``wall``, ``cpu`` and ``p50``, in microseconds, and
        ``ratio``: the median over the rounds of its CPU time divided by that of the first peer in the same round.

    Raises:
        Failed: a server or a peer failed.
    """
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(server())
        workers = {}
        for peer in peers:
            url = f"ws://{address}" if peer != SOCKETIO else _socketio_url(stack)
            if url is None:
                for case in cases:
                    listener.left_out(case, peer, "its server did not start, see above", True)
            else:
                workers[peer] = stack.enter_context(program("worker", peer, url))
        return {name: _case(name, case, workers, rounds, listener) for name, case in cases.items()}


def _socketio_url(stack: contextlib.ExitStack) -> str | None:
    try:
        return f"http://{stack.enter_context(server('socketio_server'))}"
    except Failed:
        return None


def _case(
    name: str, case: Case, workers: dict[str, subprocess.Popen[str]], rounds: int, listener: Listener
) -> dict[str, dict[str, float]]:
    found: dict[str, list[dict[str, Any]]] = {peer: [] for peer in workers}
    line = json.dumps(case._asdict())
    for number in range(rounds + 1):
        listener.round(name, number)
        for peer in list(found):
            figures = answer(workers[peer], line)
            if "error" in figures:
                raise Failed(f"{peer} failed in {name}: {figures['error']}")
            if "unable" in figures or "missing" in figures:
                del found[peer]
                reason = figures.get("missing") or figures["unable"]
                listener.left_out(name, peer, reason, "missing" in figures)
            elif number:
                found[peer].append(figures)
    first = next(iter(found.values()), [])
    return {peer: _summary(figures, first) for peer, figures in found.items()}


def _summary(rounds: list[dict[str, Any]], first: list[dict[str, Any]]) -> dict[str, float]:
    summary = {
        key: median(figures[key] for figures in rounds) for key in ("wall", "cpu", "p50") if rounds[0][key] is not None
    }
    summary["ratio"] = median(mine["cpu"] / theirs["cpu"] for mine, theirs in zip(rounds, first, strict=True))
    return summary
