"""The report: the results of a run, as one object that can be stored as JSON. Pure but for the file.

``date`` (UTC), ``machine``, ``rounds``, ``cases`` (case, peer, figure: microseconds, and ``ratio`` to this library),
``left_out`` (case, peer, why), ``goals`` (each a ``goals.RetryDecision``); and ``scaling``, if that was measured.
"""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

from .goals import judge
from .running import Results

Report = dict[str, Any]


def build(
    cases: Results, machine: dict[str, str], *, rounds: int, accelerated: bool, left_out: dict[str, dict[str, str]]
) -> Report:
    """Combine the results of this run."""
    return {
        "date": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine,
        "rounds": rounds,
        "cases": cases,
        "left_out": left_out,
        "goals": [verdict._asdict() for verdict in judge(cases, accelerated=accelerated)],
    }


def peers_of(cases: Results) -> list[str]:
    """All peers that were measured in any case, in the order of the first case that has them."""
    return list(dict.fromkeys(peer for of_case in cases.values() for peer in of_case))


def save(report: Report, path: Path) -> None:
    """Write it as JSON."""
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load(path: Path) -> Report:
    """Read one."""
    return json.loads(path.read_text(encoding="utf-8"))
