"""The machine that measures, and how a process gets a core of its own."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

CLIENT_CORE = 0
SERVER_CORE = 1

PACKAGES = ("websocket-client", "websockets", "python-socketio", "aiohttp", "picows", "uvloop", "tenacity")


def pin(core: int) -> None:
    """Keep this process on one core, where the system can do that and has so many."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > core:
        os.sched_setaffinity(0, {core})


def description() -> dict[str, str]:
    """Processor, system, Python, and the versions of all that is compared."""
    facts = {"processor": _processor(), "system": f"{platform.system()} {platform.release()}",
             "python": f"{platform.python_implementation()} {platform.python_version()}"}  # fmt: skip
    for package in PACKAGES:
        try:
            facts[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            facts[package] = "missing"
    return facts


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.machine()
