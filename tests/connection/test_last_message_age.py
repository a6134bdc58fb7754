"""``Stats.last_message_age``: the time since the last message was received."""

import time

import wsclient
from wsclient._stats import Counters

from ..support import LONG, eventually
from ..support.peers import await_processed, open_pair, start_call
from ..support.raw import frame


def at(client):
    """When the last message was received, or a moment earlier."""
    return time.monotonic() - client.stats.last_message_age


def test_the_age_is_none_before_the_first_message_and_pings_do_not_count(raw):
    client, peer = open_pair(raw, ping_interval=0.05)
    await_processed(peer)
    assert client.stats.last_message_age is None
    peer.send_text("first")
    await_processed(peer)
    assert 0.0 <= client.stats.last_message_age < LONG
    client.close(timeout=0)


def test_the_age_grows_until_the_next_message_also_without_a_connection(raw):
    client, peer = open_pair(raw)
    peer.send_text("first")
    await_processed(peer)
    eventually(lambda: client.stats.last_message_age > 0.05)
    first_at = at(client)
    peer.send_frame(2, b"second")
    eventually(lambda: at(client) > first_at + 0.04)
    peer.reset()
    raw.accept().upgrade()
    eventually(lambda: client.stats.connections == 2 and client.stats.last_message_age > 0.05)
    client.close()
    before = client.stats.last_message_age
    eventually(lambda: client.stats.last_message_age > before)


def test_a_message_that_comes_together_with_the_upgrade_has_an_age(raw):
    client = wsclient.Client(raw.url)
    starting = start_call(client.start)
    peer = raw.accept().upgrade(then=frame(1, b"hello"))
    starting.result(LONG)
    eventually(lambda: client.stats.last_message_age > 0.05)
    peer.finish()
    client.close(timeout=0)


def test_a_message_that_is_read_at_the_end_of_a_connection_has_an_age(raw):
    client, peer = open_pair(raw, reconnect=None)
    peer.send(frame(1, b"last") + frame(8, b"\x03\xe8"))
    assert client.wait_closed(LONG)
    eventually(lambda: client.stats.last_message_age > 0.05)


def test_while_messages_are_processed_the_age_is_zero():
    counters = Counters()
    assert counters.last_message_age(5.0) is None
    counters.messages_received = 1
    assert counters.last_message_age(5.0) == 0.0
    counters.last_message = 1, 5.0
    assert counters.last_message_age(7.5) == 2.5


def test_the_age_is_never_negative():
    """A message may come while another thread makes the statistics, and has already read the clock."""
    counters = Counters()
    counters.messages_received = 1
    counters.last_message = 1, 5.0
    assert counters.last_message_age(4.9) == 0.0
