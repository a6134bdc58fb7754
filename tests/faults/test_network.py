"""The real network: two hosts in network namespaces, and the effect of cables, packet loss, latency and NATs.

The servers are real ones of ``websockets``; every packet goes through the kernel's TCP and over a veth pair. This needs
root, iproute2 and nftables; without them these tests are skipped with a reason.
"""

import concurrent.futures
import json
import os
import socket
import threading
import time

import pytest
import tenacity

import wsclient
from wsclient import State

from ..support import LONG, SLACK, Server, eventually
from ..support.peers import start_call
from .namespaces import SERVER, DelayedCable, Network, inside, unavailable_because

pytestmark = pytest.mark.network

SOON = wsclient.Reconnect(wait=tenacity.wait_fixed(0.1))
PATIENT = 60.0
"""Seconds for packets that TCP must send many times: its timeouts double, from 0.2 s."""


@pytest.fixture(scope="module")
def namespaces_available():
    """Skips where namespaces are not available."""
    reason = unavailable_because(("ip", "iproute2"), ("nft", "nftables"))
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture
def network(namespaces_available):
    network = Network()
    yield network
    network.remove()


@pytest.fixture
def remote_server(network):
    with inside(network.server):
        server = Server(host=SERVER)
    with server:
        yield server


def connect(network, server, **options):
    """A client whose threads, and therefore whose sockets, are on the client's host."""
    client = wsclient.Client(server.url, **{"reconnect": SOON, "proxy": None, **options})
    with inside(network.client):
        return client.start()


def add(*numbers):
    return {"method": "add", "params": numbers}


def threads():
    """Background threads of clients."""
    return [thread for thread in threading.enumerate() if thread.name.endswith("-io")]


# --- the cable -------------------------------------------------------------------------------------------------------


def test_a_cable_unplugged_for_five_seconds_only_delays_messages(network, remote_server):
    """TCP sends lost packets again; the keepalive pings every second, and its timeout, the default, is longer."""
    with connect(network, remote_server, ping_interval=1.0) as client:
        client.request(add(1, 1))
        network.pull()
        pulled = time.monotonic()
        pending = [client.submit(add(n, n), timeout=PATIENT) for n in range(5)]
        for n in range(20):
            client.send(f"message {n}")
        done, _ = concurrent.futures.wait(pending, timeout=5)
        assert not done, "a request ended although the cable was unplugged"
        assert time.monotonic() - pulled >= 5
        network.plug()
        assert [future.result(PATIENT) for future in pending] == [{"id": n + 2, "result": 2 * n} for n in range(5)]
        remote_server.wait_for(26, PATIENT)
        assert [json.loads(one)["params"] for one in remote_server.received[:6]] == [
            [1, 1],
            *([n, n] for n in range(5)),
        ]
        assert remote_server.received[6:] == [f"message {n}" for n in range(20)]
        assert client.stats.connections == 1
        assert client.last_disconnect is None


def test_a_cable_unplugged_for_longer_than_the_keepalive_is_detected_and_the_client_reconnects(network, remote_server):
    interval = timeout = back_off = 1.0
    failed = threading.Event()
    options = {
        "ping_interval": interval, "ping_timeout": timeout, "open_timeout": 0.5,
        "reconnect": wsclient.Reconnect(wait=tenacity.wait_fixed(back_off)),
        "on_connect_error": lambda *_: failed.set(),
    }  # fmt: skip
    with connect(network, remote_server, **options) as client:
        client.request(add(1, 1))
        network.pull()
        pulled = time.monotonic()
        sent = client.submit(add(2, 2), timeout=PATIENT)
        again = client.submit(add(3, 3), timeout=PATIENT, idempotent=True)
        with pytest.raises(wsclient.ConnectionLost) as lost:
            sent.result(PATIENT)
        assert time.monotonic() - pulled < interval + timeout + SLACK, "found, but late"
        assert lost.value.sent is True
        assert lost.value.disconnect.initiator == client.last_disconnect.initiator == "keepalive"
        waiting = client.submit(add(4, 4), timeout=PATIENT)
        assert failed.wait(LONG), "an attempt without a cable does not end"
        assert not again.done()
        assert not waiting.done()
        network.plug()  # while the client backs off
        plugged = time.monotonic()
        assert again.result(PATIENT)["result"] == 6
        assert waiting.result(PATIENT)["result"] == 8
        assert time.monotonic() - plugged < back_off + SLACK, "back, but late"
        assert client.stats.connections == 2
    assert [json.loads(one)["params"][0] for one in remote_server.received if '"method"' in one].count(2) <= 1


# --- packet loss, and latency ----------------------------------------------------------------------------------------


class NarrowSocket(socket.socket):
    """Takes little at a time; counts the writes, and the partial ones."""

    def __init__(self):
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
        self.writes = self.partial = 0

    def send(self, data, *flags):
        sent = super().send(data, *flags)
        self.writes += 1
        self.partial += sent < len(data)
        return sent


def test_with_thirty_percent_packet_loss_each_request_gets_its_own_reply_and_messages_keep_their_order(
    network, figures
):
    """Three of ten packets are lost in each direction. Most writes are partial."""
    sockets = []

    def dial():
        sockets.append(NarrowSocket())
        sockets[-1].connect((SERVER, remote_server.port))
        return sockets[-1]

    words = "x" * 16_000
    network.shorten_retransmission()
    with inside(network.server):
        remote_server = Server(host=SERVER, ping_interval=None)  # TCP is tested here, and not the keepalive
    options = {"sock": dial, "compression": None, "ping_interval": None}
    with (
        remote_server,
        connect(network, remote_server, **options) as client,
        client.listen(lambda message: "echo" in message) as echoes,
    ):
        network.lose_packets()
        began = time.monotonic()
        asked = [client.submit({"method": "say", "params": f"{n} {words}"}, timeout=PATIENT) for n in range(15)]
        for n in range(100):
            client.send({"echo": n})
        assert [future.result(PATIENT)["result"] for future in asked] == [f"{n} {words}" for n in range(15)]
        assert [echoes.get(PATIENT)["echo"] for _ in range(100)] == list(range(100))
        took = time.monotonic() - began
        lost = [network.caught(host)[0] for host in (network.server, network.client)]
        network.unfilter()
        assert [json.loads(one).get("echo") for one in remote_server.received] == [None] * 15 + list(range(100))
        assert client.stats.connections == 1
        assert client.last_disconnect is None
    narrow = sockets[0]
    figures(
        f"30 % loss: {lost[0]} packets lost on the way there and {lost[1]} on the way back; {took:.1f} s; "
        f"{narrow.partial} of {narrow.writes} writes partial"
    )
    assert min(lost) > 50, "few packets were lost"
    assert narrow.partial > 10, "nearly all writes were complete"


@pytest.mark.skipif(not os.path.exists("/dev/net/tun"), reason="NO DELAY TESTED: there is no /dev/net/tun")
def test_with_three_hundred_milliseconds_latency_the_keepalive_drops_no_connection():
    """A ping every 0.1 s: several are under way at any time."""
    cable = DelayedCable(0.15)
    try:
        with inside(cable.server):
            server = Server(host=SERVER)
        pongs = threading.Semaphore(0)
        options = {"ping_interval": 0.1, "ping_timeout": 2.0, "on_pong": lambda *_: pongs.release()}
        with server, connect(cable, server, **options) as client:
            began = time.monotonic()
            assert client.request(add(1, 2))["result"] == 3
            assert time.monotonic() - began >= 0.3
            replies = client.request_many([add(n, 0) for n in range(50)])
            assert [reply["result"] for reply in replies] == list(range(50))
            for _ in range(8):
                assert pongs.acquire(timeout=LONG)
            assert 0.3 <= client.latency < 1, "not the time in both directions"
            assert 0.3 <= client.stats.rtt_min < 0.3 + 0.2, "a pong was matched to another ping"
            assert client.stats.connections == 1
            assert client.last_disconnect is None
    finally:
        cable.remove()


# --- no answer -------------------------------------------------------------------------------------------------------


def test_attempts_at_a_host_that_disappeared_end_at_their_timeout_and_it_is_found_again(network, remote_server):
    attempts = []
    two = threading.Event()

    def note(client, attempt):
        attempts.append((time.monotonic(), attempt.error))
        if len(attempts) == 2:
            two.set()

    network.filter(network.server, "counter drop")
    began = time.monotonic()
    with pytest.raises(wsclient.ConnectError, match=r"was not open within 0\.5 s") as refused:
        start_call(lambda: connect(network, remote_server, open_timeout=0.5)).result(LONG)
    assert 0.5 <= time.monotonic() - began < 0.5 + SLACK
    assert isinstance(refused.value.last, TimeoutError)
    assert network.caught(network.server)[0] > 0, "no SYN was lost"
    assert not threads(), "a thread is left"
    network.unfilter()
    options = {"open_timeout": 0.5, "ping_interval": 0.3, "ping_timeout": 1.0}
    with connect(network, remote_server, on_connect_error=note, **options) as client:
        network.filter(network.server, "counter drop")
        waiting = client.submit(add(1, 2), timeout=PATIENT, idempotent=True)
        assert two.wait(LONG), "the attempts don't end"
        assert attempts[1][0] - attempts[0][0] >= 0.5
        assert isinstance(attempts[1][1], wsclient.ConnectError), attempts
        network.unfilter()
        assert waiting.result(PATIENT)["result"] == 3
        assert client.state is State.OPEN


def unanswered_syn(network):
    """From now on the server host is gone; returns a function that reports whether a SYN has been lost since."""
    network.filter(network.server, "tcp flags syn counter drop", "counter drop")
    return lambda: network.caught(network.server)[0] > 0


def close_in_time(client):
    """``close()`` ends an attempt whose timeout is far longer."""
    began = time.monotonic()
    client.close(timeout=2)
    took = time.monotonic() - began
    assert not threads(), "a thread is left"
    assert took < 2 + SLACK < PATIENT, "close() waited for the attempt"
    assert client.state is State.CLOSED


def test_close_is_bounded_while_the_syn_of_a_reconnect_has_no_answer(network, remote_server):
    with connect(network, remote_server, open_timeout=PATIENT) as client:
        is_lost = unanswered_syn(network)
        client.reconnect()
        eventually(is_lost)
        assert client.state is State.CONNECTING
        waiting = client.submit(add(1, 2), timeout=PATIENT)
        close_in_time(client)
        with pytest.raises(wsclient.ClientClosed):
            waiting.result(0)


def test_close_is_bounded_while_the_first_syn_has_no_answer_and_start_raises(network, remote_server):
    is_lost = unanswered_syn(network)
    client = wsclient.Client(remote_server.url, proxy=None, open_timeout=PATIENT)

    def start():
        with inside(network.client):
            client.start()

    starting = start_call(start)
    eventually(is_lost)
    close_in_time(client)
    with pytest.raises(wsclient.ClientClosed):
        starting.result(LONG)


def test_a_nat_that_loses_its_table_is_detected_and_the_client_reconnects(network, remote_server):
    """Packets of the old flow are dropped in both directions, without a RST; new flows pass."""
    interval, timeout = 0.5, 1.0
    options = {"ping_interval": interval, "ping_timeout": timeout}
    with connect(network, remote_server, **options) as client:
        client.request(add(1, 1))
        port = remote_server.connections[0].remote_address[1]
        network.filter(network.server, f"tcp sport {port} counter drop")
        network.filter(network.client, f"tcp dport {port} counter drop")
        forgotten = time.monotonic()
        lost = client.submit(add(2, 2), timeout=PATIENT)
        again = client.submit(add(3, 3), timeout=PATIENT, idempotent=True)
        with pytest.raises(wsclient.ConnectionLost) as caught:
            lost.result(LONG)
        assert time.monotonic() - forgotten < interval + timeout + SLACK, "found, but late"
        assert caught.value.sent is True
        assert again.result(LONG)["result"] == 6
        assert client.last_disconnect.initiator == "keepalive"
        eventually(lambda: remote_server.connections and remote_server.connections[-1].remote_address[1] != port)
        assert client.stats.connections == 2
