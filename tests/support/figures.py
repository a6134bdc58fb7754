"""Counts of a process: file descriptors, sockets, threads, memory, stack. All except the last need ``/proc``."""

import gc
import os
import sys
import threading
import time

import pytest

_pause = threading.Event()  # never set
HAS_PROC = os.path.isdir("/proc/self/fd")

needs_proc = pytest.mark.skipif(not HAS_PROC, reason="descriptors, threads and memory are counted in /proc")


def descriptors():
    """How many file descriptors this process has; always 0 on a system that does not list them."""
    gc.collect()  # closes the file descriptors that other tests left
    for path in ("/proc/self/fd", "/dev/fd"):
        if os.path.isdir(path):
            return len(os.listdir(path))
    return 0


def sockets():
    """The names of the sockets of this process; a copy of a socket in another process has the same name."""
    names = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink(f"/proc/self/fd/{number}")
        except OSError:  # the file descriptor that read the folder is closed
            continue
        if name.startswith("socket:"):
            names.add(name)
    return names


def threads():
    """The number of threads, including those that Python did not start."""
    return len(os.listdir("/proc/self/task"))


def threads_that_stay(expected, patience=30):
    """The smallest number of threads seen until it is the expected one, at the latest after ``patience`` seconds.

    Helper threads of the library exist for a moment; a single count, or many within a moment, may include one.
    """
    deadline = time.monotonic() + patience
    fewest = threads()
    while fewest > expected and time.monotonic() < deadline:
        _pause.wait(0.001)  # lets the helper thread continue
        fewest = min(fewest, threads())
    return fewest


def resident():
    """Bytes of memory in use (RSS)."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def depth():
    """The number of frames on the caller's stack."""
    frame, count = sys._getframe(1), 0
    while frame is not None:
        frame, count = frame.f_back, count + 1
    return count
