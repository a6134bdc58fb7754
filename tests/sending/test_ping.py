"""``client.ping()``: the round trip time of a separate ping."""

import json
import threading
import time

import pytest
import tenacity

import wsclient
from wsclient import State

from ..support import AMPLE, LONG, SHORT, FaultProxy, eventually
from ..support.peers import close_now, open_pair, start_call, taken
from ..support.threads import BlockingCall

QUIET = {"ping_interval": None}


def receive_ping(peer):
    """The payload of the client's next ping frame."""
    while True:
        opcode, payload = peer.receive_frame()
        if opcode == 9:
            return payload


def is_pending(call):
    """Whether a call is still running after a period in which it must not return."""
    threading.Event().wait(SHORT)
    return not call.done()


@pytest.mark.parametrize("interval", [None, 3600, 0.01])
def test_a_ping_returns_the_round_trip(server, interval):
    with wsclient.connect(server.url, ping_interval=interval) as client:
        assert client.latency is None or interval == 0.01
        began = time.monotonic()
        seconds = client.ping(LONG)
        assert type(seconds) is float
        assert 0.0 < seconds <= time.monotonic() - began
        assert client.stats.rtt_min <= seconds
        assert client.latency is not None


def test_the_round_trip_ends_when_the_pong_arrives(raw):
    client, peer = open_pair(raw, **QUIET)
    call = start_call(client.ping)
    payload = receive_ping(peer)
    began = time.monotonic()
    threading.Event().wait(SHORT)
    took = time.monotonic() - began
    peer.send_frame(10, payload)
    assert call.result(LONG) >= took
    assert client.latency == call.result()
    client.close(timeout=0)


def test_only_the_pong_of_its_own_ping_ends_it(raw):
    client, peer = open_pair(raw, **QUIET)
    call = start_call(client.ping)
    payload = receive_ping(peer)
    future = client.submit({"a": 1})
    peer.send_text(json.dumps({"id": taken(peer)["id"]}))  # confirms that the ping has arrived; it is not the pong
    future.result(LONG)
    peer.send_frame(10, b"another")
    assert is_pending(call)
    peer.send_frame(10, payload)
    assert call.result(LONG) >= SHORT
    client.close(timeout=0)


def test_the_pong_of_a_later_ping_answers_the_earlier_ones(raw):
    client, peer = open_pair(raw, **QUIET)
    first = start_call(client.ping)
    receive_ping(peer)
    second = start_call(client.ping)
    last = receive_ping(peer)
    third = start_call(client.ping)
    receive_ping(peer)
    peer.send_frame(10, last)
    assert first.result(LONG) >= second.result(LONG) > 0.0
    assert is_pending(third)
    client.close(timeout=0)


def test_its_pong_confirms_deliveries(raw):
    client, peer = open_pair(raw, **QUIET)
    delivery = client.send("x")
    eventually(lambda: delivery.state == "written")
    call = start_call(client.ping)
    peer.send_frame(10, receive_ping(peer))
    call.result(LONG)
    assert delivery.state == "confirmed"
    client.close(timeout=0)


def test_many_threads_can_ping_at_the_same_time(server):
    with wsclient.connect(server.url, ping_interval=0.01) as client:
        askings = [BlockingCall(lambda: [client.ping(LONG) for _ in range(5)]) for _ in range(20)]
        assert all(seconds > 0.0 for asking in askings for seconds in asking.result())
        assert client.stats.connections == 1


def test_it_is_written_before_queued_requests(raw):
    client, peer = open_pair(raw, protocol=wsclient.Fifo(max_in_flight=1), **QUIET)
    first, second = client.submit("a", timeout=None), client.submit("b", timeout=None)
    assert peer.receive_text() == "a"
    call = start_call(client.ping)
    peer.send_frame(10, receive_ping(peer))
    assert call.result(LONG) > 0.0
    peer.send_text("A")
    assert first.result(LONG) == "A"
    assert peer.receive_text() == "b"
    peer.send_text("B")
    assert second.result(LONG) == "B"
    client.close(timeout=0)


def test_a_hook_can_ping_while_it_blocks_reading(raw):
    results = []

    def on_message(client, message):
        if message == "first":
            results.append(client.ping(LONG))

    client, peer = open_pair(raw, on_message=on_message, receive_queue=wsclient.ReceiveQueue(max_messages=2), **QUIET)
    for text in ("first", *"23456"):
        peer.send_text(text)
    peer.send_frame(10, receive_ping(peer))
    eventually(lambda: results)
    assert results[0] > 0.0
    client.close(timeout=0)


# --- no pong ---------------------------------------------------------------------------------------------------------


def test_a_ping_without_a_pong_reports_at_its_timeout_in_which_phase_it_was(raw):
    client, _ = open_pair(raw, **QUIET)
    with pytest.raises(wsclient.RequestTimeout, match=r"ping\(\) got no pong within 1\.5 s") as caught:
        client.ping(AMPLE)
    assert caught.value.phase == "waiting"
    for _ in range(16):
        client.send(b"x" * 2**20)
    eventually(lambda: client._wsclient.context.sender.writer.blocked)
    with pytest.raises(wsclient.RequestTimeout, match="could not be written") as caught:
        client.ping(SHORT)
    assert caught.value.phase == "queued"
    assert not client._wsclient.context.facts.awaited_marks
    client.close(timeout=0)


@pytest.mark.parametrize("end", ["reset", "close"])
def test_a_connection_that_ends_during_a_ping_ends_the_ping(raw, end):
    client, peer = open_pair(raw, **QUIET)
    call = start_call(lambda: client.ping(LONG))
    receive_ping(peer)
    peer.reset() if end == "reset" else close_now(client)
    with pytest.raises(wsclient.ConnectionLost, match="before the pong came") as caught:
        call.result(LONG)
    assert caught.value.disconnect.initiator == {"reset": "network", "close": "local"}[end]
    client.close(timeout=0)


def test_a_connection_that_ends_after_a_reply_confirmed_the_ping_ends_the_ping(raw):
    """The peer answers a request that was sent after the ping, but not the ping."""
    client, peer = open_pair(raw, **QUIET)
    call = start_call(lambda: client.ping(LONG))
    receive_ping(peer)
    asked = start_call(lambda: client.request({"method": "x"}, timeout=LONG))
    peer.send_text(json.dumps({"id": taken(peer)["id"], "result": 1}))
    asked.result(LONG)
    peer.reset()
    with pytest.raises(wsclient.ConnectionLost, match="before the pong came"):
        call.result(LONG / 2)
    client.close(timeout=0)


def test_it_waits_for_the_next_connection(server):
    with FaultProxy(server.port) as proxy:
        client = wsclient.connect(proxy.url, reconnect=wsclient.Reconnect(wait=tenacity.wait_fixed(0.05)), **QUIET)
        proxy.refuse()
        proxy.cut()
        eventually(lambda: client.state is State.WAITING)
        with pytest.raises(wsclient.RequestTimeout, match="for a connection") as caught:
            client.ping(SHORT)
        assert caught.value.phase == "queued"
        proxy.accept()
        assert client.ping(LONG) > 0.0
        client.close()


def test_it_needs_a_running_client(server):
    client = wsclient.Client(server.url)
    with pytest.raises(wsclient.ClientClosed, match="start"):
        client.ping()
    with client:
        client.ping(LONG)
    with pytest.raises(wsclient.ClientClosed):
        client.ping()


def test_on_the_io_thread_it_is_refused_since_it_would_deadlock(raw):
    errors = []

    def match(message):
        with pytest.raises(wsclient.WouldDeadlock, match=r"ping\(\).*latency") as caught:
            client.ping()
        errors.append(caught.value)
        return True

    client, peer = open_pair(raw, **QUIET)
    future = client.submit({"a": 1}, match=match)
    peer.receive_text()
    peer.send_text("{}")
    future.result(LONG)
    assert errors
    client.close(timeout=0)


@pytest.mark.parametrize("timeout", [-1, "1", None, float("nan")])
def test_the_timeout_is_checked(server, timeout):
    with wsclient.connect(server.url) as client, pytest.raises((TypeError, ValueError), match="timeout"):
        client.ping(timeout)


def test_a_client_whose_io_thread_hangs_ends_every_wait_for_a_confirmation_at_close(raw):
    entered, leave = threading.Event(), threading.Event()

    def hang(message):
        entered.set()
        leave.wait(4 * LONG)

    client, peer = open_pair(raw)
    client.submit({"a": 1}, match=hang)
    delivery = client.send("x")
    eventually(lambda: delivery.state == "written")
    waits = [start_call(lambda: client.ping(LONG)), start_call(lambda: client.flush(LONG)), start_call(delivery.wait)]
    for _ in waits:
        receive_ping(peer)
    peer.send_text("{}")
    assert entered.wait(LONG)
    client.close(timeout=0)
    for wait in waits[:2]:
        with pytest.raises(wsclient.ConnectionLost):
            wait.result(LONG)
    assert waits[2].result(LONG) is False
    assert delivery.state == "unknown"
    leave.set()


# --- many pings without a pong ---------------------------------------------------------------------------------------


@pytest.fixture
def few_are_recognised(monkeypatch):
    """The limit of unanswered pings, lowered so that a test can reach it."""
    monkeypatch.setattr("wsclient._sending.pings.MAX_PINGS", 3)
    monkeypatch.setattr("wsclient._sending.writer.MAX_PINGS", 3)


def test_a_pong_is_recognised_with_any_number_of_unanswered_pings(raw, few_are_recognised):
    client, peer = open_pair(raw, **QUIET)
    for _ in range(10):
        with pytest.raises(wsclient.RequestTimeout) as caught:
            client.ping(0.02)
        assert caught.value.phase in ("waiting", "queued")
    call = start_call(lambda: client.ping(LONG))
    eventually(lambda: any(mark.state == "written" for mark in list(client._wsclient.context.facts.awaited_marks)))
    client.send("behind it")  # the newest ping is the one before this message
    payload = b""
    while (received := peer.receive_frame()) != (1, b"behind it"):
        payload = received[1]
    peer.send_frame(10, payload)
    assert call.result(LONG) > 0.0
    client.close(timeout=0)


def test_each_of_many_waiting_pings_is_recognised(raw, few_are_recognised):
    client, peer = open_pair(raw, **QUIET)
    calls, payloads = [], []
    for _ in range(10):
        calls.append(start_call(lambda: client.ping(LONG)))
        payloads.append(receive_ping(peer))
    for call, payload in zip(calls, payloads, strict=True):
        assert not call.done()
        peer.send_frame(10, payload)
        assert call.result(LONG) > 0.0
    client.close(timeout=0)


def test_flush_recognises_its_pong_with_any_number_of_unanswered_pings(raw, few_are_recognised):
    client, peer = open_pair(raw)
    delivery = client.send("x")
    eventually(lambda: delivery.state == "written")
    for _ in range(10):
        assert not delivery.wait(0.02)
    call = start_call(lambda: client.flush(LONG))
    eventually(lambda: any(mark.state == "written" for mark in list(client._wsclient.context.facts.awaited_marks)))
    client.send("behind it")
    payload = b""
    while (received := peer.receive_frame()) != (1, b"behind it"):
        payload = received[1]
    assert not call.done()
    peer.send_frame(10, payload)
    call.result(LONG)
    assert delivery.state == "confirmed"
    client.close(timeout=0)
