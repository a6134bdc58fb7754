"""Servers that are killed and restarted, and servers that disconnect as soon as they have accepted."""

import os
import threading

import pytest
import tenacity

import wsclient

from ..support import LONG, RawServer, eventually
from ..support.children import Script
from ..support.figures import needs_proc
from ..support.program import free_port

SOON = wsclient.Reconnect(wait=tenacity.wait_fixed(0.02))
KILLS = 5
STARTING = 60
"""Seconds that the start of an interpreter may take beside others; the client promises nothing about it."""

AWAY = 60 if os.environ.get("CI") or os.environ.get("FAULTS_LONG") else 10
"""Seconds for which the server accepts no connection."""


def ask(client, thread, done, outcomes):
    """Sends one request after the other, each with a different answer; keeps the outcome of each."""
    n = 0
    while not done.is_set():
        n += 1
        idempotent = n % 2 == 0
        try:
            reply = client.request({"method": "echo", "params": [thread, n]}, timeout=LONG, idempotent=idempotent)
            outcomes.append("answered" if reply["result"] == [thread, n] else f"the reply of another request: {reply}")
        except wsclient.ConnectionLost as error:
            outcomes.append("lost" if error.sent is True and not idempotent else f"lost in vain: {error!r}")


@pytest.mark.slow
def test_a_server_killed_and_restarted_under_load_loses_only_written_requests_that_are_not_idempotent():
    done, outcomes = threading.Event(), []
    port = free_port()
    server = Script("lean_server", port)
    try:
        server.read_value()
        with wsclient.connect(f"ws://127.0.0.1:{port}/", reconnect=SOON) as client:
            threads = [threading.Thread(target=ask, args=(client, thread, done, outcomes)) for thread in range(8)]
            for thread in threads:
                thread.start()
            for kill in range(KILLS):
                before = client.stats.requests_ok
                eventually(lambda before=before: client.stats.requests_ok > before + 50)
                server.end()
                server = Script("lean_server", port)
                server.read_value(STARTING)
                eventually(lambda kill=kill: client.stats.connections == kill + 2)
            before = client.stats.requests_ok
            eventually(lambda: client.stats.requests_ok > before + 50)
            done.set()
            for thread in threads:
                thread.join(LONG)
                assert not thread.is_alive()
            stats = client.stats
        assert set(outcomes) <= {"answered", "lost"}
        assert outcomes.count("answered") == stats.requests_ok
        assert outcomes.count("lost") == stats.requests_failed <= 8 * KILLS
    finally:
        done.set()
        server.end()


def test_a_request_taken_by_the_killed_server_fails_at_once_or_is_answered_by_the_next_one():
    port = free_port()
    server = Script("lean_server", port)
    try:
        server.read_value()
        with wsclient.connect(f"ws://127.0.0.1:{port}/", reconnect=SOON) as client:
            once = client.submit({"method": "held", "params": 1}, timeout=None)
            again = client.submit({"method": "held", "params": 2}, timeout=None, idempotent=True)
            client.request({"method": "echo"}, timeout=LONG)  # the server has received both
            server.end()
            with pytest.raises(wsclient.ConnectionLost) as caught:
                once.result(LONG)  # while no server is running
            assert caught.value.sent is True
            assert caught.value.disconnect.initiator == "network"
            eventually(lambda: client.stats.failed_attempts > 0)
            assert not again.done()
            later = client.submit({"method": "echo", "params": 3}, timeout=LONG)
            server = Script("lean_server", port, "answers-held")
            server.read_value(STARTING)
            assert again.result(LONG)["result"] == 2
            assert later.result(LONG)["result"] == 3
            assert client.stats.connections == 2
    finally:
        server.end()


def upgrade_and_hang_up(peer):
    peer.upgrade()


@pytest.mark.slow
@needs_proc
def test_servers_that_close_at_once_are_tried_less_and_less_often_without_a_cost(figures):
    """One closes before the handshake, one after it: there ``min_uptime`` prevents counting the attempts from zero.

    The delays of the first ten attempts are drawn from 0 to 0.5, 1, 2, 4, 8, 16, 30, 30 s...: as many attempts as are
    refused here occur in one of ten million runs.
    """
    with RawServer(lambda peer: None) as deaf, RawServer(upgrade_and_hang_up) as rude:
        with Script("turned_away", AWAY, deaf.url, rude.url) as clients:
            facts = clients.read_value(AWAY + LONG)
            assert clients.process.wait(LONG) == 0
    assert not rude.errors
    figures(
        f"servers that close at once, {AWAY} s: {facts['attempts'][0]} attempts where the line was closed, "
        f"{facts['attempts'][1]} where the connection was; {facts['cpu']:.2f} s of CPU, "
        f"{facts['grown'] >> 10} KiB more, {facts['threads']} threads, {facts['descriptors']} descriptors"
    )
    closed, opened = facts["attempts"]
    assert facts["connections"][0] == 0
    assert facts["connections"][1] == opened
    for attempts in closed, opened:
        assert 3 <= attempts <= 15 + AWAY // 6
    assert facts["cpu"] < 0.1 * AWAY
    assert facts["grown"] < 1 << 20
