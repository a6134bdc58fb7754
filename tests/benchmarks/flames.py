"""The distribution of Python time: flame graphs of the hot paths, recorded by py-spy while a worker runs them.

On Linux py-spy must be root, or ``kernel.yama.ptrace_scope`` be 0, to read a process it has not started.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from .cases import CASES
from .goals import OURS
from .running import Failed, answer, program, server

PATHS = ("receive", "send", "request")
SECONDS = 8
RATE = 500
"""Samples per second; enough that a path of 2 % of the time gets about eighty of them."""


def record(folder: Path, told: Callable[[str], object]) -> list[Path]:
    """Write ``flame-receive.svg`` and the others.

    Args:
        folder: the folder for the files.
        told: is called with each step.

    Returns:
        The files.

    Raises:
        Failed: py-spy is not installed, or could not record.
    """
    spy = shutil.which("py-spy", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if spy is None:
        raise Failed("py-spy is not installed, so there are no flame graphs: pip install py-spy.")
    return [_record(spy, case, folder / f"flame-{case}.svg", told) for case in PATHS]


def _record(program_of_spy: str, case: str, path: Path, told: Callable[[str], object]) -> Path:
    told(f"flame graph of {case}")
    line = json.dumps(CASES[case]._asdict())
    with server() as address, program("worker", OURS, f"ws://{address}") as worker:
        answer(worker, line)  # warms up
        command = [program_of_spy, "record", "--pid", str(worker.pid), "--duration", str(SECONDS), "--rate", str(RATE),
                   "--format", "flamegraph", "--threads", "--output", str(path)]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as spy:
            while spy.poll() is None:
                answer(worker, line)
            output = spy.stdout.read()
    if spy.returncode or not path.exists():
        raise Failed(f"py-spy could not record {case}: {output.strip()}")
    return path
