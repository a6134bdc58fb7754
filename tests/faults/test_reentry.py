"""Finalizers and signal handlers that call the client while their own thread is inside it (guarantee 10).

``client/test_sections.py`` interrupts each call at each moment in turn; here the moments are random, on all threads.
"""

import os
import signal

import pytest

from ..support import LONG, Server, eventually
from ..support.children import Script

SECONDS = float(os.environ.get("REENTRY_SECONDS", "1"))

KINDS = ["finalizers"]
if hasattr(signal, "setitimer"):
    KINDS += ["signals", "both"]


@pytest.mark.slow
@pytest.mark.parametrize("overflow", ["block", "raise", "drop_oldest", "drop_newest"])
@pytest.mark.parametrize("kind", KINDS)
def test_calls_inside_calls_hang_nothing_lose_nothing_and_send_nothing_twice(kind, overflow, figures):
    received = []

    def handle(connection, message):
        if message.startswith("message"):
            received.append(int(message.split()[1]))
        elif message.startswith("{"):
            connection.send(message)

    with Server(handle) as server, Script("reentry", server.url, kind, overflow, SECONDS) as script:
        result = script.read_value(SECONDS + 5 * LONG)
        assert script.process.wait(LONG) == 0
        eventually(lambda: len(received) >= len(result["arrived"]))
    counts = f"{result['total']} messages, {len(result['lost'])} dropped, {result['calls']}"
    figures(f"{kind}, {overflow}, {SECONDS:g} s: {counts}")
    assert sorted(received) == result["arrived"]
    assert len(result["arrived"]) + len(result["lost"]) == result["total"] > 0
    assert result["answered"]
    assert not result["lost"] or overflow.startswith("drop")
