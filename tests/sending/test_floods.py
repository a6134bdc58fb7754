"""Many small messages in quick succession: which thread writes them, their order, and the effect on a small queue."""

import contextlib
import json
import sys
import threading

import pytest

import wsclient
from tests.support import LONG, eventually
from tests.support.peers import open_against, start_call
from wsclient._sending.message import QUEUED, WRITTEN
from wsclient._sending.sender import BURST, SMALL

MANY = 200


@contextlib.contextmanager
def busy(client, peer):
    """While this runs, the I/O thread executes a user's function, and writes nothing."""
    reached, go_on = threading.Event(), threading.Event()

    def match(message):
        reached.set()
        return go_on.wait(LONG)

    future = client.submit("hold", match=match)
    assert peer.receive_text() == "hold"
    peer.send_text("held")
    assert reached.wait(LONG)
    try:
        yield
    finally:
        go_on.set()
        assert future.result(LONG) == "held"


def texts(peer, count):
    return [peer.receive_text() for _ in range(count)]


def flood(client, count=MANY, **options):
    """Send this many messages in a separate thread; return the result of each ``send``."""
    return start_call(lambda: [client.send(str(n), **options) for n in range(count)]).result(LONG)


@pytest.fixture
def slow_switching():
    """A thread holds the interpreter for a long time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.05)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def pair(raw):
    client, peer, _ = open_against(raw)
    yield client, peer
    client.close(timeout=0)


def test_the_sender_writes_the_first_few_messages_and_leaves_the_others_queued(pair):
    client, peer = pair
    with busy(client, peer):
        sent = flood(client)
        assert texts(peer, BURST) == [str(n) for n in range(BURST)]
        assert sent[BURST - 1].state == WRITTEN
        assert client.stats.queue_depth > MANY / 2  # a slow machine may take more than one window for them
        assert sent[-1].state == QUEUED
    assert texts(peer, MANY - BURST) == [str(n) for n in range(BURST, MANY)]


def test_queued_messages_are_written_although_no_thread_sends_any_more(pair):
    client, peer = pair
    flood(client)
    assert texts(peer, MANY) == [str(n) for n in range(MANY)]


def test_later_messages_do_not_overtake_queued_ones(pair):
    client, peer = pair
    with busy(client, peer):
        flood(client)
        asked = start_call(lambda: client.request({"ask": 1}, timeout=LONG))
        received = texts(
            peer, MANY + 1
        )  # the caller of request() is waiting already, and writes what the other threads left queued
    assert received[:-1] == [str(n) for n in range(MANY)]
    peer.send_text(received[-1])
    assert asked.result(LONG) == json.loads(received[-1])


@pytest.mark.parametrize("message", ["x" * (SMALL + 1), b"x" * (SMALL + 1)], ids=["text", "binary"])
def test_a_large_message_is_written_together_with_the_queued_ones(pair, message):
    client, peer = pair
    with busy(client, peer):
        flood(client)
        assert start_call(lambda: client.send(message)).result(LONG).state == WRITTEN
        assert texts(peer, MANY) == [str(n) for n in range(MANY)]


def test_a_message_with_an_expiry_is_not_left_queued(pair):
    client, peer = pair
    with busy(client, peer):
        assert flood(client, expires=LONG)[-1].state == WRITTEN
        assert texts(peer, MANY) == [str(n) for n in range(MANY)]


@pytest.mark.parametrize(
    "bounds", [{"max_messages": 8}, {"max_messages": 10**6, "max_bytes": 64}], ids=["messages", "bytes"]
)
@pytest.mark.parametrize("overflow", ["raise", "drop_newest", "drop_oldest"])
def test_the_sender_writes_a_small_queue_before_it_is_full(raw, bounds, overflow):
    client, peer, _ = open_against(raw, send_queue=wsclient.SendQueue(**bounds, overflow=overflow))
    with busy(client, peer):
        flood(client)
    assert texts(peer, MANY) == [str(n) for n in range(MANY)]
    assert client.stats.dropped == 0
    client.close(timeout=0)


def test_a_small_queue_does_not_overflow_while_the_io_thread_waits_for_the_interpreter(raw, slow_switching):
    """The I/O thread holds the write lock, and cannot continue while the sender holds the interpreter."""
    client, peer, _ = open_against(raw, send_queue=wsclient.SendQueue(max_messages=8, overflow="raise"))
    received = start_call(lambda: texts(peer, 20 * MANY))
    flood(client, 20 * MANY)
    assert received.result(LONG) == [str(n) for n in range(20 * MANY)]
    client.close(timeout=0)


def test_a_message_that_expires_while_it_is_encoded_is_not_sent(raw):
    class Slow(wsclient.JsonId):
        def encode(self, message):
            threading.Event().wait(0.05)  # longer than the expiry of the message
            return super().encode(message)

    client, peer, _ = open_against(raw, protocol=Slow())
    sent = start_call(lambda: client.send("late", expires=0.001)).result(LONG)
    assert sent.state == "expired"
    client.send("in time")
    assert peer.receive_text() == "in time"
    client.close(timeout=0)


def test_the_messages_of_each_thread_keep_their_order(pair):
    client, peer = pair
    received = start_call(lambda: [tuple(map(int, text.split())) for text in texts(peer, 8 * MANY)])
    senders = [
        start_call(lambda name=name: [client.send(f"{name} {n}") for n in range(MANY)]) for name in range(8)
    ]  # fmt: skip
    for sender in senders:
        sender.result(LONG)
    for name in range(8):
        assert [n for who, n in received.result(LONG) if who == name] == list(range(MANY))


def test_messages_sent_without_a_connection_wait_for_the_next_one(pair, raw):
    client, peer = pair
    peer.reset()
    eventually(lambda: client.state is not wsclient.State.OPEN)
    flood(client)
    assert texts(raw.accept().upgrade(), MANY) == [str(n) for n in range(MANY)]
