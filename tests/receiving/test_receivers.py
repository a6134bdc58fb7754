"""All receivers of a client together: whether a queue is full, what was dropped, a lost connection, the end."""

import select

import pytest

import wsclient
from wsclient._connection.context import ClientContext
from wsclient._receiving.subscriptions import Unrouted
from wsclient._requests import failures
from wsclient._threads.wakeup import Wakeup

from ..support import LONG
from ..support.peers import start_call

LOST = failures.connection_lost(wsclient.Disconnect("network", None, "", None, 1.0, 1.0), sent=True)


@pytest.fixture
def client():
    client = wsclient.Client(
        "ws://localhost", on_message=print, receive_queue=wsclient.ReceiveQueue(max_messages=1, max_bytes=100)
    )
    yield client
    client.close()


@pytest.fixture
def receivers(client):
    context = client._wsclient.context
    assert type(context) is ClientContext
    return context.receivers


def to_a_stream(client, receivers):
    stream = client.listen(maxsize=1)
    return stream.get, lambda: receivers.streams.offer("m", 1, must_keep_reading=False), stream


def to_the_hooks(client, receivers):
    inbox = receivers.hooks.inbox
    return inbox._pop, lambda: inbox.put(("on_message", print, ()), 1), None


def to_workers(client, receivers):
    client.on("topic", print, workers=1)
    inbox = receivers.handlers.pools[0].inbox
    return inbox._pop, lambda: inbox.put(("on", print, ()), 1), None


def to_no_subscription_yet(client, receivers):
    unrouted = receivers.subscriptions.unrouted
    return unrouted.take, lambda: unrouted.add(Unrouted(1, "key", "m", None, 1), 1), None


@pytest.mark.parametrize("way", [to_a_stream, to_the_hooks, to_workers, to_no_subscription_yet])
def test_the_receivers_are_full_while_one_queue_is_full(client, receivers, way):
    take, put, _kept = way(client, receivers)
    assert not receivers.full
    put()
    assert receivers.full
    take()
    assert not receivers.full


def test_dropped_messages_of_all_receivers_are_counted_together(client, receivers):
    stream = client.listen(maxsize=1, overflow="drop_oldest")
    for _ in range(3):
        receivers.streams.offer("m", 1, must_keep_reading=False)
    client.on("topic", print, workers=1)
    for inbox in (receivers.hooks.inbox, receivers.handlers.pools[0].inbox):
        for _ in range(2):
            inbox.put((), 100, must_keep_reading=True)
    assert (stream.dropped, receivers.dropped) == (2, 4)
    assert client.stats.dropped == 4
    for inbox in (receivers.hooks.inbox, receivers.handlers.pools[0].inbox):
        inbox.end(discard=True)


@pytest.mark.parametrize("is_gap", [False, True])
def test_a_lost_connection_is_a_gap_in_a_stream_only_if_messages_may_be_missing(client, receivers, is_gap):
    stream = client.listen()
    receivers.connection_lost(LOST, 1, is_gap=is_gap)
    assert stream.gaps == is_gap


@pytest.mark.parametrize("paused", [False, True])
def test_room_in_a_full_queue_wakes_the_io_thread_only_if_it_paused_reading(client, receivers, paused):
    context, wakeup = client._wsclient.context, Wakeup()
    context.commands.attach(wakeup)
    context.facts.paused = paused
    receivers.resume_reading()
    woken = select.select([wakeup._inner], [], [], 0)[0]
    context.commands.attach(None)
    context.facts.paused = False
    wakeup.close()
    assert bool(woken) == paused


def test_the_end_is_seen_by_every_reader(client, receivers):
    stream = client.listen()
    waiting = start_call(stream.get)
    receivers.end(OSError("the cause"))
    assert isinstance(waiting.exception(LONG), OSError)
    assert receivers.hooks.inbox.ended
