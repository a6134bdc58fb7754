"""The client of an API with the limits of Amazon API Gateway, in ``examples/services/``."""

import threading
import time

import pytest
from aws_client import open_api
from aws_server import Gateway

from ..support import LONG, eventually
from ..support.services import printed


@pytest.mark.slow
def test_it_runs():
    assert printed("aws_client.py") == [
        "sum, from the first connection: 3",
        "sum, from the second one: 7",
        "tokens: token-1 token-2",
        "1 renewal, last disconnect: None",
    ]


def test_heartbeats_keep_an_idle_connection_open_and_pings_would_not(run):
    beats = threading.Semaphore(0)
    gateway = Gateway({"heartbeat": lambda me, body: beats.release()}, idle=1.5)
    with open_api(run(gateway.handle), str, idle=0.3, ping_interval=0.1) as client:
        began = time.monotonic()
        while time.monotonic() < began + 2.0:
            assert beats.acquire(timeout=LONG)
        assert client.stats.connections == 1


def test_the_connection_is_renewed_before_its_lifetime_ends(run):
    gateway = Gateway({"heartbeat": lambda me, body: None, "echo": lambda me, body: body}, lifetime=LONG)
    with open_api(run(gateway.handle), str, lifetime=0.5) as client:
        eventually(lambda: client.stats.renewals)
        assert client.request({"action": "echo"}, timeout=LONG)["action"] == "echo"
        assert client.last_disconnect is None
