"""The machine that measures, and the assignment of a process to a core."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path

CLIENT_CORE = 0
SERVER_CORE = 1
"""The index of the server's core among those that this process may use."""

PACKAGES = ("websocket-client", "websockets", "python-socketio", "aiohttp", "picows", "uvloop", "tenacity")

_SPEED = re.compile(r"""([A-Za-z0-9._-]+).*extra\s*==\s*["']speed["']""")


def pin(core: int) -> None:
    """Keep this process on one core, if the system supports that and has enough cores."""
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > core:
        os.sched_setaffinity(0, {cores[core]})


def allow_many_descriptors() -> None:
    """Let this process open as many files as the system allows: two thousand clients need more than the usual 1024."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows, which has no such limit
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def resident_memory() -> int | None:
    """Bytes of memory that this process has in use; None if that is unknown."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def description() -> dict[str, str]:
    """Processor, system, Python, and the versions of all compared libraries."""
    facts = {"processor": _processor(), "system": f"{platform.system()} {platform.release()}",
             "python": f"{platform.python_implementation()} {platform.python_version()}"}  # fmt: skip
    facts.update({package: _version(package) for package in PACKAGES})
    speed = [f"{package} {_version(package)}" for package in speed_packages()]
    facts["[speed]"] = ", ".join(speed) or "none"
    return facts


def speed_packages() -> list[str]:
    """The packages of the extra ``[speed]`` of the installed distribution."""
    try:
        wanted = importlib.metadata.requires("wsclient-sdk") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [found[1] for found in map(_SPEED.match, wanted) if found]


def accelerated() -> bool:
    """Whether all of the extra ``[speed]`` is installed."""
    packages = speed_packages()
    return bool(packages) and all(_version(package) != "missing" for package in packages)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.machine()
