"""A thousand clients lose one server at the same moment and reconnect to it.

``test_reconnect.py`` tests how the back-off spreads their attempts; here each client has to follow its delays.
"""

import collections
import time

import pytest

from ..scripts.herd import PATIENCE
from ..support import LONG
from ..support.children import Script
from ..support.figures import needs_proc
from ..support.program import free_port

resource = pytest.importorskip("resource", reason="the limit of descriptors is known on Unix only")

CLIENTS = 1000
BUCKET = 0.1
"""Seconds per row of the table of measurements."""


@pytest.mark.slow
@needs_proc
@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 5 * CLIENTS, reason=f"{CLIENTS} clients need more descriptors"
)
def test_a_thousand_clients_reconnect_to_a_server_that_restarts(figures):
    port = free_port()
    server = Script("lean_server", port)
    server.read_value()
    with Script("herd", f"ws://127.0.0.1:{port}/", CLIENTS) as herd:
        began = herd.read_value(PATIENCE)
        server.end()
        killed = time.monotonic()
        with Script("lean_server", port) as server:
            server.read_value()
            up = time.monotonic()
            facts = herd.read_value(PATIENCE)
            assert herd.read_value(PATIENCE) == {"closed": True}
            assert herd.process.wait(LONG) == 0
    assert facts["answered"] == CLIENTS
    assert facts["threads"] == began["threads"] == CLIENTS + 1

    drawn = histogram(delays[0] for delays in facts["delays"])
    waited = [tries[0] - losses[0] for tries, losses in zip(facts["attempts"], facts["losses"], strict=True)]
    first = histogram(attempts[0] - killed for attempts in facts["attempts"])
    every = histogram(moment - killed for attempts in facts["attempts"] for moment in attempts)
    figures(
        f"{CLIENTS} clients, server killed and up again after {up - killed:.2f} s; all open after "
        f"{facts['back'] - killed:.2f} s; {sum(every.values())} attempts, "
        f"at most {max(map(len, facts['attempts']))} of one client; {began['resident'] >> 20} MiB",
        "  100 ms   delay drawn   first retry begun   every attempt",
        *(f"  {n * BUCKET:6.1f}   {drawn[n]:11}   {first[n]:17}   {every[n]:13}" for n in range(max(every) + 1)),
    )
    assert all(wait >= delays[0] for wait, delays in zip(waited, facts["delays"], strict=True))


def histogram(moments):
    return collections.Counter(int(moment / BUCKET) for moment in moments)
