"""Many renewals: nothing is lost, nothing fails, no resource grows; over TLS, through a proxy, with a recording."""

import collections
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading

import pytest

import wsclient
from wsclient import JsonRpc, Renew, State
from wsclient.testing import Replay

from ..support import LONG, Server, eventually
from ..support.children import Script
from ..support.figures import needs_proc
from ..support.peers import put, start_call, taken
from ..support.proxies import Tunnels
from ..support.renewals import answered_close, await_alone, begin_renewal, open_renewing, renewed


def subscribing_server(connection, message):
    """Answers each request; the reply to "subscribe" contains the key of the subscription."""
    call = json.loads(message)
    if "id" in call:
        connection.send(json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": call.get("params", "key")}))


def check_resources(marks):
    with Server(subscribing_server) as server, Script("renewing", server.url, *marks, is_measured=False) as client:
        measured = [client.read_value(10 * LONG) for _ in marks]
        assert client.process.wait(15) == 0
    early, *later = measured
    for late in later:
        assert late["threads"] == early["threads"] == 3  # the main thread, the I/O thread, the hook thread
        assert abs(late["descriptors"] - early["descriptors"]) <= 1
        assert late["depths"] == early["depths"]
        assert (late["members"], late["owners"], late["gaps"]) == (1, 1, 0)
        assert late["objects"] < early["objects"] + 1000  # timers of ended requests, for example
        assert late["resident"] < early["resident"] + (2 << 20)


@pytest.mark.slow
@needs_proc
def test_dozens_of_renewals_use_no_further_resources():
    check_resources([20, 60])


@pytest.mark.slow
@needs_proc
def test_a_thousand_renewals_use_no_further_resources():
    check_resources([200, 1000])


def test_with_sixteen_requesting_threads_no_request_fails_because_of_a_renewal():
    errors, answered = [], collections.Counter()
    with Server() as server, wsclient.connect(server.url) as client:
        stop = threading.Event()

        def ask(number):
            try:
                while not stop.is_set():
                    n = answered[number]
                    reply = client.request({"method": "add", "params": [number, n]}, timeout=LONG)
                    assert reply["result"] == number + n
                    answered[number] += 1
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for _ in range(10):
            before = sum(answered.values())
            assert client.renew(wait=True, timeout=LONG)
            eventually(lambda before=before: sum(answered.values()) > before + 50 or errors)
        stop.set()
        for thread in threads:
            thread.join(LONG)
        stats = client.stats
    assert errors == []
    assert (stats.renewals, stats.requests_failed, stats.requests_timed_out) == (10, 0, 0)
    assert stats.requests_ok == sum(answered.values())


def test_no_flush_fails_because_of_a_renewal():
    errors, flushed = [], collections.Counter()
    with Server() as server, wsclient.connect(server.url) as client:
        stop = threading.Event()

        def flush(number):
            try:
                while not stop.is_set():
                    delivery = client.send({"method": "notify"})
                    client.flush(LONG)
                    # "unknown": the message was written before a renewal, and flush() called only after it
                    assert delivery.state in ("confirmed", "unknown")
                    flushed[number] += delivery.state == "confirmed"
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=flush, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(10):
            before = sum(flushed.values())
            assert client.renew(wait=True, timeout=LONG)
            eventually(lambda before=before: sum(flushed.values()) > before + 20 or errors)
        stop.set()
        for thread in threads:
            thread.join(2 * LONG)
    assert errors == []


def test_every_event_that_either_connection_brings_is_delivered_and_none_is_a_gap(raw):
    client, peer = open_renewing(raw)
    stream = client.listen()
    sent = []
    for round_number in range(5):
        future, new = begin_renewal(client, raw)
        for n in range(20):
            put(peer, {"event": [round_number, "before", n]})
            sent.append([round_number, "before", n])
        new.upgrade()
        assert future.result(LONG)
        for n in range(20):
            put(new, {"event": [round_number, "new", n]})
            sent.append([round_number, "new", n])
        answered_close(peer)
        await_alone(client)
        peer = new
    received = [stream.get(LONG)["event"] for _ in sent]
    assert sorted(received) == sorted(sent)
    for source in ("before", "new"):
        assert [one for one in received if one[1] == source] == [one for one in sent if one[1] == source]
    assert stream.gaps == 0
    client.close(timeout=0)


def test_a_renewal_over_tls_through_a_proxy(server_tls, authority, tmp_path):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    options = {"ssl_ca": str(tmp_path / "ca.pem"), "compression": "deflate"}
    with Tunnels() as proxy, Server(tls=server_tls) as server:
        with wsclient.connect(server.url, proxy=proxy.url, **options) as client:
            for n in range(3):
                assert client.renew(wait=True, timeout=LONG)
                assert client.request({"method": "add", "params": [n, 1]}, timeout=LONG)["result"] == n + 1
                assert client.connection.tls_version is not None
                await_alone(client)
            assert (client.stats.renewals, client.stats.failed_attempts) == (3, 0)


def test_both_connections_are_kept_alive(raw):
    client, old = open_renewing(raw, ping_interval=0.05, ping_timeout=LONG)
    asked = client.submit({"method": "slow"})
    request = taken(old)
    new = renewed(client, raw)
    for peer in (old, new):
        while (received := peer.receive_frame())[0] != 9:
            pass
        peer.send_frame(10, received[1])
    put(old, {"id": request["id"], "result": 1})
    assert asked.result(LONG)["result"] == 1
    client.close(timeout=0)


def test_a_silent_old_connection_is_dropped_without_an_effect_on_the_new_one(raw):
    client, old = open_renewing(raw, ping_interval=0.05, ping_timeout=1.5)
    asked = client.submit({"method": "never"})
    taken(old)
    new = renewed(client, raw)

    def answer():
        while True:
            opcode, payload = new.receive_frame()
            if opcode == 9:
                new.send_frame(10, payload)
            elif opcode == 8:
                return

    answering = start_call(answer)
    with pytest.raises(wsclient.ConnectionLost) as caught:
        asked.result(LONG)
    assert caught.value.disconnect.initiator == "keepalive"
    assert client.state is State.OPEN
    assert client.last_disconnect is None
    client.close(timeout=0)
    with contextlib.suppress(ConnectionError):
        answering.result(LONG)


def test_the_recording_of_a_renewal_can_be_replayed(tmp_path):
    def script(url, **options):
        with wsclient.connect(url, protocol=JsonRpc(), **options) as client:
            answers = [client.request({"method": "echo", "params": 1}, timeout=LONG)]
            assert client.renew(wait=True, timeout=LONG)
            answers.append(client.request({"method": "echo", "params": 2}, timeout=LONG))
            await_alone(client)
            return answers

    path = tmp_path / "session.jsonl"
    with Server(subscribing_server) as server:
        recorded = script(server.url, record=str(path))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lost = [line for line in lines if "initiator" in str(line)]
    assert any("renewal" in str(line) for line in lost)
    with Replay(path) as replay:
        assert script(replay.url) == recorded == [1, 2]


@pytest.mark.skipif(sys.platform == "win32", reason="signals between threads are POSIX's")
def test_ctrl_c_ends_the_wait_for_a_renewal_and_the_renewal_continues(raw):
    client, _ = open_renewing(raw)
    accepted = start_call(raw.accept)

    def strike():
        accepted.result(LONG)
        os.kill(os.getpid(), signal.SIGINT)

    striker = threading.Thread(target=strike)
    striker.start()
    with pytest.raises(KeyboardInterrupt):
        client.renew(wait=True, timeout=LONG)
    striker.join(LONG)
    accepted.result(LONG).upgrade()
    eventually(lambda: client.stats.renewals == 1)
    client.close(timeout=0)


EXITS = """
import sys, wsclient
client = wsclient.connect(sys.argv[1], on_session=lambda client, session: session.number > 1 and session.recv())
client.renew()
print(sys.stdin.readline().strip(), flush=True)
"""


def test_the_exit_of_the_interpreter_during_a_renewal_is_not_delayed(raw):
    child = subprocess.Popen([sys.executable, "-c", EXITS, raw.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)  # fmt: skip
    old = raw.accept().upgrade()
    raw.accept().upgrade()
    answering = start_call(lambda: answered_close(old))
    out, err = child.communicate("go\n", timeout=LONG)
    assert (child.returncode, out) == (0, "go\n"), err
    assert "Traceback" not in err
    assert answering.result(LONG)[0] == 1001


def test_the_option_works_with_a_prepared_socket_function(server):
    import socket

    made = []

    def make():
        made.append(socket.create_connection(("127.0.0.1", server.port)))
        return made[-1]

    with wsclient.connect(server.url, sock=make, renew=Renew()) as client:
        assert client.renew(wait=True, timeout=LONG)
        assert len(made) == 2
