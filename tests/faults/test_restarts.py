"""Servers that are killed and come again, and servers that hang up as soon as they have accepted."""

import os
import threading

import pytest
import tenacity

import wsclient

from ..support import LONG, RawServer, eventually
from ..support.children import Script
from ..support.figures import needs_proc

SOON = wsclient.Reconnect(wait=tenacity.wait_fixed(0.02))
KILLS = 5
STARTING = 60
"""Seconds an interpreter may take to start beside others; no part of what the client promises."""

AWAY = 60 if os.environ.get("CI") or os.environ.get("FAULTS_LONG") else 10
"""Seconds of a server that takes nobody."""


def ask(client, thread, done, outcomes):
    """Request after request, each with an answer of its own; keeps what became of each."""
    n = 0
    while not done.is_set():
        n += 1
        idempotent = n % 2 == 0
        try:
            reply = client.request({"method": "echo", "params": [thread, n]}, timeout=LONG, idempotent=idempotent)
            outcomes.append("answered" if reply["result"] == [thread, n] else f"a stranger's reply: {reply}")
        except wsclient.ConnectionLost as error:
            outcomes.append("lost" if error.sent is True and not idempotent else f"lost in vain: {error!r}")


def test_a_server_that_is_killed_and_restarted_under_load_costs_only_what_was_written_and_may_not_be_sent_again():
    done, outcomes = threading.Event(), []
    server = Script("lean_server", 0)
    try:
        port = server.said()["port"]
        with wsclient.connect(f"ws://127.0.0.1:{port}/", reconnect=SOON) as client:
            threads = [threading.Thread(target=ask, args=(client, thread, done, outcomes)) for thread in range(8)]
            for thread in threads:
                thread.start()
            for kill in range(KILLS):
                before = client.stats.requests_ok
                eventually(lambda before=before: client.stats.requests_ok > before + 50)
                server.end()
                server = Script("lean_server", port)
                server.said(STARTING)
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


def test_a_request_the_killed_server_had_taken_is_told_at_once_or_answered_by_the_next_one():
    server = Script("lean_server", 0)
    try:
        port = server.said()["port"]
        with wsclient.connect(f"ws://127.0.0.1:{port}/", reconnect=SOON) as client:
            once = client.submit({"method": "held", "params": 1}, timeout=None)
            again = client.submit({"method": "held", "params": 2}, timeout=None, idempotent=True)
            client.request({"method": "echo"}, timeout=LONG)  # the server has both
            server.end()
            with pytest.raises(wsclient.ConnectionLost) as caught:
                once.result(LONG)  # while no server is there
            assert caught.value.sent is True
            assert caught.value.disconnect.initiator == "network"
            eventually(lambda: client.stats.failed_attempts > 0)
            assert not again.done()
            later = client.submit({"method": "echo", "params": 3}, timeout=LONG)
            server = Script("lean_server", port, "answers-held")
            server.said(STARTING)
            assert again.result(LONG)["result"] == 2
            assert later.result(LONG)["result"] == 3
            assert client.stats.connections == 2
    finally:
        server.end()


def upgrade_and_hang_up(peer):
    peer.upgrade()


@pytest.mark.slow
@needs_proc
def test_servers_that_accept_and_close_at_once_are_tried_ever_more_rarely_at_no_cost(figures):
    """One closes before the handshake, one behind it: there ``min_uptime`` keeps the attempts from counting anew.

    The delays of the first ten attempts are drawn from 0 to 0.5, 1, 2, 4, 8, 16, 30, 30 s...: so many as are refused
    here come in one of ten million runs.
    """
    with RawServer(lambda peer: None) as deaf, RawServer(upgrade_and_hang_up) as rude:
        with Script("turned_away", AWAY, deaf.url, rude.url) as clients:
            facts = clients.said(AWAY + LONG)
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
