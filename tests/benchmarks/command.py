"""The command line: selects the measurements, the output, and the exit code."""

from __future__ import annotations

import argparse
import functools
import shutil
import sys
from collections.abc import Callable, Collection
from pathlib import Path

from rich.console import Console
from rich.text import Text

from . import baseline, chart, flames, machine, markdown, plots, reporting, scaling
from .cases import CASES, Case
from .goals import OURS, judge_growth
from .peers import MODULES
from .reporting import Report
from .running import ROOT, Failed, Results, compare
from .screen import Watcher, show, show_growth

HERE = Path(__file__).parent
FOLDER = ROOT / "build" / "benchmarks"

ROUNDS = 7
QUICK_ROUNDS = 1
SCALING_ROUNDS = 3

WIDTH = 150
"""Columns of the output if it is not a terminal: enough for the table."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        0, or 1 if something failed or became too slow.
    """
    options = _parser().parse_args(arguments)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    try:
        if options.check is not None or options.record is not None:
            return _short(options, console)
        return _full(options, console)
    except Failed as error:
        console.print(Text(f"FAILED: {error}", "bold red"))
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m tests.benchmarks", description="Measures this library beside others, in one run on this machine."
    )
    add = parser.add_argument
    add("--cases", type=_names(CASES), default=list(CASES), metavar="A,B", help="by default all: " + ", ".join(CASES))
    add("--peers", type=_names(MODULES), default=list(MODULES), metavar="A,B",
        help="by default all: " + ", ".join(MODULES))  # fmt: skip
    add("--rounds", type=int, help=f"measured rounds of each case, by default {ROUNDS}; one more warms up")
    add("--quick", action="store_true", help="one round, and small sizes for --scaling: to see whether it works")
    add("--out", type=Path, default=FOLDER, metavar="FOLDER", help="where to write to, by default build/benchmarks")
    add("--from", dest="source", type=Path, metavar="REPORT", help="measure no case, take this report.json")
    add("--scaling", action="store_true", help="measure how cost grows, too (some fifteen minutes)")
    add("--flames", action="store_true", help="record where the time goes, too; with py-spy")
    add("--publish", action="store_true",
        help="put the table into examples/COMPARISON.md and the charts beside this package")  # fmt: skip
    add("--check", type=Path, metavar="BASELINE", help="the short run for CI: compare ratios with this file")
    add("--record", type=Path, metavar="BASELINE", help="the short run, to write this file")
    return parser


def _names(known: Collection[str]) -> Callable[[str], list[str]]:
    return functools.partial(_split, known)


def _split(known: Collection[str], text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")
    return names


def _measure(cases: dict[str, Case], peers: Collection[str], rounds: int, console: Console) -> tuple[Results, Watcher]:
    """Run cases with this library first, since all ratios refer to it."""
    peers = [OURS, *(peer for peer in peers if peer != OURS)]
    with Watcher(console, len(cases) * (rounds + 1)) as watcher:
        return compare(cases, peers, rounds, watcher), watcher


def _full(options: argparse.Namespace, console: Console) -> int:
    options.out.mkdir(parents=True, exist_ok=True)
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    if options.source is not None:
        report = reporting.load(options.source)
    else:
        cases = {case: CASES[case] for case in options.cases}
        results, watcher = _measure(cases, options.peers, rounds, console)
        report = reporting.build(
            results, machine.description(), rounds=rounds, accelerated=machine.accelerated(), left_out=watcher.absent
        )
    reporting.save(report, options.out / "report.json")  # now, so that a later failure does not lose the results
    show(report, console)
    if options.scaling:
        report["scaling"] = scaling.measure(min(rounds, SCALING_ROUNDS), console.print, quick=options.quick)
        report["goals"] += [verdict._asdict() for verdict in judge_growth(report["scaling"])]
        reporting.save(report, options.out / "report.json")
        show_growth(report, console)
    for drawing in _draw(report, options.out):
        if options.publish:
            shutil.copy(drawing, HERE)
    if options.publish:
        markdown.write(report, ROOT / "examples" / "COMPARISON.md")
    if options.flames:
        flames.record(options.out, console.print)
    console.print(f"{options.out}: " + ", ".join(sorted(path.name for path in options.out.iterdir())))
    return 0


def _draw(report: Report, folder: Path) -> list[Path]:
    drawings = [folder / "report.svg"]
    chart.draw(report, drawings[0])
    if "scaling" in report:
        drawings.append(folder / "scaling.svg")
        plots.draw(report["scaling"], drawings[1])
    return drawings


def _short(options: argparse.Namespace, console: Console) -> int:
    """The subset of CI: write the baseline, or compare new ratios with it."""
    rounds = options.rounds or baseline.ROUNDS
    results, _ = _measure(baseline.CASES, baseline.PEERS, rounds, console)
    if options.record is not None:
        reporting.save(baseline.recorded(results, machine.description()), options.record)
        console.print(f"{options.record} is written.")
    if options.check is None:
        return 0
    known = reporting.load(options.check)
    for sentence in baseline.unmatched(known, results):
        console.print(Text(f"NOT COMPARED: {sentence}", "bold red"))
    suspects = baseline.worse(known, results)
    for _ in range(baseline.LOOKS - 1):
        if suspects:
            console.print(f"Once more, to be sure: {', '.join(suspects)}")
            cases = {case: baseline.CASES[case] for case in suspects}
            again, _ = _measure(cases, baseline.PEERS, rounds, console)
            suspects = {case: text for case, text in baseline.worse(known, again).items() if case in suspects}
    for sentence in suspects.values():
        console.print(Text(f"TOO SLOW: {sentence}", "bold red"))
    compared = sum(len(peers) for peers in baseline.ratios(results).values())
    console.print(f"{compared} ratios looked at, {len(suspects)} cases too slow.")
    return 1 if suspects or not compared else 0
