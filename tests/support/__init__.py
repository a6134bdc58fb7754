"""What the tests share: servers, faults, and two time-outs with a purpose each."""

import sys

from wsclient.testing import FaultProxy

from .raw import Peer, RawServer
from .server import Server, json_handler

__all__ = [
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
"""Seconds to give something that must *not* happen; a test that waits this long proves little more with more."""

LONG = 15.0
"""Seconds to give something that must happen, on a machine under load; a test that passes never waits this long."""

SLACK = 5.0
"""Seconds by which a busy machine may exceed a bound of the contract: ten times what it takes there."""


def eventually(condition, timeout=LONG):
    """Wait for what another thread is about to do and gives no event for."""
    import threading
    import time

    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"{condition} did not come true within {timeout} s"
        pause.wait(0.005)
