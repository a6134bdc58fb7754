"""The client of a feed in ``examples/services/``."""

import threading

import pytest
from binance_client import open_feed, subscribe
from binance_server import Feed

from ..support import LONG, eventually
from ..support.services import printed


@pytest.fixture
def start(run):
    """``start(rules, ...)`` returns a feed with these rules and a client with these options."""
    clients = []

    def start(rules, **options):
        feed = Feed(**rules)
        clients.append(open_feed(run(feed.handle, judge=feed.judge), **options))
        return feed, clients[-1]

    yield start
    for client in clients:
        client.close()


@pytest.mark.slow
def test_it_runs():
    assert printed("binance_client.py") == [
        "btcusdt: 100 trades, complete: True, 0 gaps",
        "ethusdt: 100 trades, complete: True, 0 gaps",
        "bnbusdt: 100 trades, complete: True, 0 gaps",
        "1 renewal, last disconnect: None",
    ]


def test_many_subscriptions_are_not_too_many_messages(start):
    feed, client = start({"per": 0.1}, rate=20)
    streams = [subscribe(client, f"coin{number}") for number in range(12)]
    assert client.stats.connections == 1
    feed.trade("coin11", "1.0")
    assert streams[11].get(LONG)["data"]["s"] == "COIN11"


def test_a_closed_subscription_leaves_its_stream(start):
    feed, client = start({"per": 0.1}, rate=20)
    with subscribe(client, "btcusdt"):
        (subscriber,) = feed.subscribers
        assert subscriber.names == {"btcusdt@trade"}
    eventually(lambda: not subscriber.names)


def test_the_connection_is_renewed_before_its_lifetime_ends(start):
    feed, client = start({"lifetime": LONG}, lifetime=0.8)
    stream = subscribe(client, "btcusdt")
    eventually(lambda: client.stats.renewals)
    eventually(lambda: len(feed.subscribers) == 1)
    assert client.last_disconnect is None
    feed.trade("btcusdt", "1.0")
    assert stream.get(LONG)["data"]["t"] == 1
    assert stream.gaps == 0


class SlowFeed(Feed):
    """Takes a moment until a subscription is active, as a server far away does."""

    def reply(self, subscriber, request):
        if request["method"] == "SUBSCRIBE":
            threading.Event().wait(0.1)
        return super().reply(subscriber, request)


def test_the_old_connection_serves_until_the_new_one_has_subscribed(run):
    feed = SlowFeed(per=0.1)
    with open_feed(run(feed.handle, judge=feed.judge), rate=20) as client, subscribe(client, "btcusdt") as stream:
        feed.shut_down()
        while not client.stats.renewals or len(feed.subscribers) > 1:
            feed.trade("btcusdt", "1.0")
            threading.Event().wait(0.002)
        feed.trade("btcusdt", "last")
        received = [stream.get(LONG)["data"]["t"] for _ in range(feed.trades)]
        assert sorted(received) == list(range(1, feed.trades + 1))
