"""What a process holds, counted: descriptors, sockets, threads, memory, stack. All but the last need ``/proc``."""

import os
import sys

import pytest

HAS_PROC = os.path.isdir("/proc/self/fd")

needs_proc = pytest.mark.skipif(not HAS_PROC, reason="descriptors, threads and memory are counted in /proc")


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def sockets():
    """The sockets this process holds, by the names the system gives them; a copy has the same name everywhere."""
    names = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink(f"/proc/self/fd/{number}")
        except OSError:  # the one the listing itself was read through
            continue
        if name.startswith("socket:"):
            names.add(name)
    return names


def threads():
    """As the system counts them, Python's own and others."""
    return len(os.listdir("/proc/self/task"))


def resident():
    """Bytes of memory in use (RSS)."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def depth():
    """Frames on the caller's stack."""
    frame, count = sys._getframe(1), 0
    while frame is not None:
        frame, count = frame.f_back, count + 1
    return count
