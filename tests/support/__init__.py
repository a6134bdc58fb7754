"""Shared code of the tests: servers, network faults, and time-outs for four purposes."""

import sys

from wsclient.testing import FaultProxy

from .raw import Peer, RawServer
from .server import Server, json_handler

__all__ = [
    "AMPLE",
    "FREE_THREADED",
    "LONG",
    "SHORT",
    "SLACK",
    "FaultProxy",
    "Peer",
    "RawServer",
    "Server",
    "eventually",
    "json_handler",
]

FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()
"""Whether threads run without the GIL."""

SHORT = 0.2
"""Seconds to wait for something that must *not* happen; a longer wait would prove little more."""

LONG = 30.0
"""Timeout, in seconds, of something that must happen; enough on a machine under load. A passing test never needs it."""

AMPLE = 1.5
"""Timeout, in seconds, that must pass in the test, but not before something has happened on a busy machine."""

SLACK = 5.0
"""Seconds by which a time limit of the contract may be exceeded on a busy machine: ten times the measured excess."""


def eventually(condition, timeout=LONG):
    """Wait for an action of another thread that sets no event."""
    import threading
    import time

    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"{condition} did not come true within {timeout} s"
        pause.wait(0.005)
