"""A test that hangs fails, and the run continues."""

import contextlib
import signal

import pytest

from .threads import stacks

HANG = 150.0
"""Seconds after which a test counts as hanging, its fixtures included."""

HANG_SLOW = 900.0
"""The same for tests marked ``slow``; less than ``faulthandler_timeout`` in ``pyproject.toml``."""


@contextlib.contextmanager
def fails_if_it_hangs(seconds=HANG):
    """After these seconds, fail inside the block, with the stacks of all threads. Main thread only.

    The handler of SIGALRM raises wherever the main thread waits. Where there is no such signal (Windows), where the
    main thread can't run the handler, and in a test that uses the same timer, ``faulthandler_timeout`` prints the
    stacks and ends the process: a worker of pytest-xdist is replaced, and only its test fails.
    """
    if not hasattr(signal, "setitimer"):
        yield
        return

    def fail(*_):
        pytest.fail(f"The test hangs: it has not ended after {seconds:g} s.\n{stacks()}")

    handler = signal.signal(signal.SIGALRM, fail)
    left, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left)
        signal.signal(signal.SIGALRM, handler)
