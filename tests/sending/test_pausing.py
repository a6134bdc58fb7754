"""``client.pause_sending()``: what it holds back, for how long, and what goes on."""

import contextlib
import json
import math
import signal
import threading
import time

import pytest

import wsclient
from wsclient import State
from wsclient._network.poller import Poller
from wsclient._threads.sections import this_thread

from ..support import LONG, SHORT, SLACK, Server, eventually
from ..support.peers import await_processed, open_pair, put, reply, start_call, subscribed, taken
from ..support.threads import on_thread

HOUR = 3600.0


@contextlib.contextmanager
def opened(raw, **options):
    """A client without pings of its own, and its peer."""
    options.setdefault("ping_interval", None)
    client, peer = open_pair(raw, **options)
    try:
        yield client, peer
    finally:
        client.close(timeout=0)


def nothing_is_sent(client, peer):
    """Whether a ping, which passes all messages that are held back, is the next frame."""
    pinging = start_call(lambda: client.ping(LONG))
    opcode, payload = peer.receive_frame()
    peer.send_frame(10, payload)
    pinging.result(LONG)
    return opcode == 9


def end_pause(client):
    """Let the time of the pause pass."""
    client._wsclient.context.sender.pause.ends[:] = [time.monotonic()]
    client._wsclient.context.commands.wake()


@pytest.mark.parametrize("call", [lambda act: act(), on_thread], ids=["main thread", "another thread"])
@pytest.mark.parametrize("end", [end_pause, lambda client: client.pause_sending(0)], ids=["end", "resume"])
def test_messages_are_held_back_until_the_end_of_the_pause_and_keep_their_order(raw, call, end):
    with opened(raw) as (client, peer):
        client.pause_sending(HOUR)
        deliveries = call(lambda: [client.send(str(n)) for n in range(3)])
        future = call(lambda: client.submit({"a": 1}, timeout=LONG))
        assert nothing_is_sent(client, peer)
        assert [delivery.state for delivery in deliveries] == ["queued"] * 3
        assert client.stats.queue_depth == 4
        end(client)
        assert [peer.receive_text() for _ in range(3)] == ["0", "1", "2"]
        peer.send_text(json.dumps(taken(peer)))
        assert future.result(LONG)["a"] == 1
        assert not client._wsclient.context.sender.pause.ends
        assert call(lambda: client.send("again")).wait(LONG)


@pytest.mark.parametrize("options", [{}, {"protocol": wsclient.JsonRpc}, {"send_queue": wsclient.SendQueue}], ids=str)
def test_a_pause_ends_by_itself(raw, options):
    with opened(raw, **{name: make() for name, make in options.items()}) as (client, peer):
        began = time.monotonic()
        client.pause_sending(0.05)
        client.send("x")
        assert peer.receive_text() == "x"
        assert time.monotonic() - began >= 0.05


def test_the_later_end_of_several_pauses_counts(raw):
    with opened(raw) as (client, peer):
        client.pause_sending(HOUR)
        client.pause_sending(0.001)
        client.send("x")
        eventually(lambda: client.stats.queue_head_age > 0.01)
        assert nothing_is_sent(client, peer)


def test_a_pause_with_a_rate_holds_back_what_has_a_token(raw):
    with opened(raw, send_queue=wsclient.SendQueue(rate=1e-4, burst=2)) as (client, peer):
        client.pause_sending(HOUR)
        for n in range(3):
            client.send(str(n))
        assert nothing_is_sent(client, peer)
        client.pause_sending(0)
        assert [peer.receive_text() for _ in range(2)] == ["0", "1"]
        assert nothing_is_sent(client, peer)


def login(client, session):
    session.send("log in")


def test_a_pause_holds_on_the_next_connections_but_not_for_on_session(raw):
    with opened(raw, on_session=login) as (client, peer):
        assert peer.receive_text() == "log in"
        client.pause_sending(HOUR)
        client.send("x")
        for _ in range(2):
            peer.reset()
            peer = raw.accept().upgrade()
            assert peer.receive_text() == "log in"
            eventually(lambda: client.state is State.OPEN)
            assert nothing_is_sent(client, peer)
        client.pause_sending(0)
        assert peer.receive_text() == "x"


def test_subscriptions_are_requested_again_after_the_pause_and_before_the_queue(raw):
    with opened(raw, protocol=wsclient.JsonRpc(), on_session=login) as (client, peer):
        assert peer.receive_text() == "log in"
        subscription = subscribed(client, peer, "key")
        client.pause_sending(HOUR)
        client.send("x")
        peer.reset()
        peer = raw.accept().upgrade()
        assert peer.receive_text() == "log in"
        eventually(lambda: client.state is State.OPEN)
        assert nothing_is_sent(client, peer)
        client.pause_sending(0)
        again = taken(peer)
        assert again["method"] == "eth_subscribe"
        put(peer, reply(again, "key 2"))
        assert peer.receive_text() == "x"
        subscription.close()


class Beating(wsclient.JsonId):
    """``decode`` returns the answer to ``{"type": "ping"}``; has a heartbeat that must be answered."""

    def __init__(self):
        super().__init__()
        self.heartbeat = (0.02, lambda: wsclient.Request({"type": "beat"}))

    def decode(self, payload):
        if json.loads(payload) == {"type": "ping"}:
            return wsclient.Control('{"type": "pong"}')
        return super().decode(payload)


def test_control_frames_and_what_the_protocol_sends_by_itself_go_on(raw):
    """Otherwise the server, or the client itself, would end the connection."""
    with opened(raw, protocol=Beating()) as (client, peer):
        client.pause_sending(HOUR)
        client.send("x")
        peer.send_text('{"type": "ping"}')
        seen = set()
        while seen != {"beat", "pong"}:
            message = taken(peer)
            seen.add(message["type"])
            if "id" in message:
                peer.send_text(json.dumps({"id": message["id"]}))
        client._wsclient.context.protocol.heartbeat = None
        client.reconnect("bye")
        while (frame := peer.receive_frame())[0] == 1:
            assert b"beat" in frame[1]
        assert frame == (8, b"\x03\xe8bye")


def test_pings_are_answered_during_a_pause(raw):
    with opened(raw) as (client, peer):
        client.pause_sending(HOUR)
        client.send("x")
        await_processed(peer)


@pytest.mark.parametrize("end", ["drain", "close"])
def test_drain_and_close_end_the_pause_and_send_what_is_queued(end):
    with Server(lambda connection, message: None) as server:
        client = wsclient.connect(server.url)
        client.pause_sending(HOUR)
        for n in range(100):
            client.send(str(n))
        began = time.monotonic()
        if end == "drain":
            client.drain(LONG, wait=False)
        else:
            client.close(timeout=LONG, wait=False)
        with contextlib.suppress(wsclient.ClientClosed):
            client.pause_sending(HOUR)
        assert client.wait_closed(LONG)
        assert time.monotonic() - began < SLACK + 1
        assert server.wait_for(100) == [str(n) for n in range(100)]
        assert client.last_disconnect.code == 1000


def test_a_request_that_times_out_in_a_pause_names_it(raw):
    with opened(raw) as (client, peer):
        client.pause_sending(HOUR)
        with pytest.raises(wsclient.RequestTimeout, match=r"pause_sending\(\)") as caught:
            client.request({"a": 1}, timeout=0.02)
        assert caught.value.phase == "queued"
        client.send("x")
        with pytest.raises(wsclient.FlushTimeout, match=r"pause_sending\(\)"):
            client.flush(0.02)
        assert nothing_is_sent(client, peer)


def test_a_request_of_on_session_does_not_name_the_pause(raw):
    def on_session(client, session):
        with pytest.raises(wsclient.RequestTimeout) as caught:
            session.request({"a": 1}, timeout=0.02)
        texts.append(str(caught.value))

    texts = []
    client = wsclient.Client(raw.url, on_session=on_session)
    client.pause_sending(HOUR)
    starting = start_call(client.start)
    raw.accept().upgrade()
    starting.result(LONG)
    assert "no reply" in texts[0]
    assert "pause" not in texts[0]
    client.close(timeout=0)


def test_messages_expire_and_can_be_removed_during_a_pause(raw):
    with opened(raw) as (client, peer):
        client.pause_sending(HOUR)
        expiring, cancelled, third = client.send("1", expires=0.01), client.send("2"), client.send("3")
        assert cancelled.cancel()
        assert not expiring.wait(LONG)
        assert expiring.state == "expired"
        client.pause_sending(0)
        assert peer.receive_text() == "3"
        assert third.wait(LONG)


def cancel(client):
    return client.send("x").cancel


def cancel_request(client):
    return client.submit({"a": 1}, timeout=LONG).cancel


def time_out(client):
    call = start_call(lambda: client.request({"a": 1}, timeout=0.05))
    eventually(lambda: client.stats.queue_depth)
    return lambda: call.exception(LONG)


def expire(client):
    delivery = client.send("x", expires=0.05)
    return lambda: delivery  # not its state: reading that drops an expired message


def clear(client):
    client.send("x")
    return client.clear_queue


@pytest.mark.parametrize("queue_message", [cancel, cancel_request, time_out, expire, clear])
@pytest.mark.parametrize("has_rate", [False, True], ids=["pause", "rate"])
def test_flush_returns_when_the_message_before_it_is_removed_from_the_queue(raw, queue_message, has_rate):
    """Its ping takes no token and no pause holds it back, so it is written when it is the first in the queue."""
    options = {"send_queue": wsclient.SendQueue(rate=1 / HOUR)} if has_rate else {}
    with opened(raw, **options, ping_interval=HOUR) as (client, peer):
        if has_rate:
            client.send("takes the token")
            assert peer.receive_text() == "takes the token"
        else:
            client.pause_sending(HOUR)
        remove = queue_message(client)
        flushing = start_call(lambda: client.flush(LONG))
        eventually(lambda: client._wsclient.context.changes.latches)
        assert remove()
        opcode, payload = peer.receive_frame()
        assert opcode == 9
        peer.send_frame(10, payload)
        flushing.result(LONG)


def test_a_full_queue_keeps_its_policy_during_a_pause(raw):
    queue = wsclient.SendQueue(max_messages=2, overflow="drop_oldest")
    with opened(raw, send_queue=queue) as (client, peer):
        client.pause_sending(HOUR)
        for n in range(5):
            client.send(str(n))
        client.pause_sending(0)
        assert [peer.receive_text() for _ in range(2)] == ["3", "4"]


def test_a_pause_before_the_start_holds_too(raw):
    client = wsclient.Client(raw.url, ping_interval=None)
    client.pause_sending(HOUR)
    client.send("x")
    starting = start_call(client.start)
    peer = raw.accept().upgrade()
    starting.result(LONG)
    assert nothing_is_sent(client, peer)
    client.pause_sending(0)
    assert peer.receive_text() == "x"
    client.close(timeout=0)


def test_the_io_thread_sleeps_during_a_pause(raw, monkeypatch):
    waits = []
    wait = Poller.wait

    def counting(poller, *arguments):
        waits.append(arguments)
        return wait(poller, *arguments)

    with opened(raw) as (client, peer):
        client.pause_sending(HOUR)
        for n in range(50):
            client.send(str(n))
        assert nothing_is_sent(client, peer)
        monkeypatch.setattr(Poller, "wait", counting)
        threading.Event().wait(SHORT)
        assert len(waits) < 5


def test_pause_and_resume_complete_inside_a_section(raw):
    """As in a finalizer, or in a signal handler."""
    with opened(raw) as (client, peer):
        with this_thread.section:
            client.pause_sending(HOUR)
        client.send("x")
        assert nothing_is_sent(client, peer)
        with this_thread.section:
            client.pause_sending(0)
        assert peer.receive_text() == "x"


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
def test_a_signal_handler_can_resume(raw):
    with opened(raw) as (client, peer):
        client.pause_sending(HOUR)
        before = signal.signal(signal.SIGALRM, lambda *_: client.pause_sending(0))
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            assert client.send("x").wait(LONG)
        finally:
            signal.signal(signal.SIGALRM, before)
        assert peer.receive_text() == "x"


@pytest.mark.parametrize("seconds", [-1, math.inf, math.nan, "5", None, True])
def test_a_wrong_number_of_seconds_is_refused(seconds):
    client = wsclient.Client("ws://127.0.0.1:9/")
    with pytest.raises((TypeError, ValueError), match="seconds"):
        client.pause_sending(seconds)
    client.close()


def test_a_closed_client_refuses_a_pause():
    client = wsclient.Client("ws://127.0.0.1:9/")
    client.close()
    with pytest.raises(wsclient.ClientClosed, match="pause_sending"):
        client.pause_sending(5)
