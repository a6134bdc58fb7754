"""The server that follows the rules of Binance's market streams, rule by rule."""

import contextlib
import threading
import time

import pytest
from binance_server import Feed
from websockets.exceptions import ConnectionClosed

from ..support import eventually
from ..support.services import closing, guest, put, take

TOO_FAST = (1008, "Too many requests")


@pytest.fixture
def start(run):
    """``start(lifetime=...)`` returns a feed and the URL of its server."""

    def start(**rules):
        feed = Feed(**rules)
        return feed, run(feed.handle, judge=feed.judge)

    return start


def ask(connection, method, *names, id=1):
    put(connection, {"method": method, "params": list(names), "id": id})
    return take(connection)


def test_streams_are_subscribed_to_and_listed_and_left(start):
    feed, url = start(rate=9)
    with guest(f"{url}/ws") as connection:
        assert ask(connection, "SUBSCRIBE", "btcusdt@trade", "ethusdt@trade", id=7) == {"result": None, "id": 7}
        feed.trade("btcusdt", "1.0")
        feed.trade("bnbusdt", "2.0")
        feed.trade("ethusdt", "3.0")
        first, second = take(connection), take(connection)
        assert (first["s"], first["t"], first["p"]) == ("BTCUSDT", 1, "1.0")
        assert (second["s"], second["t"], second["p"]) == ("ETHUSDT", 3, "3.0")
        assert ask(connection, "UNSUBSCRIBE", "ethusdt@trade", id="a") == {"result": None, "id": "a"}
        assert ask(connection, "LIST_SUBSCRIPTIONS") == {"result": ["btcusdt@trade"], "id": 1}
        assert ask(connection, "UNKNOWN")["code"] == 2
        put(connection, {"method": "LIST_SUBSCRIPTIONS"})
        assert take(connection)["code"] == 2  # no id


@pytest.mark.parametrize("path", ["/ws/btcusdt@trade", "/stream?streams=btcusdt@trade/ethusdt@trade"])
def test_streams_are_named_in_the_url(start, path):
    feed, url = start()
    with guest(url + path) as connection:
        ask(connection, "LIST_SUBSCRIPTIONS")  # the server has registered the connection
        feed.trade("btcusdt", "1.0")
        event = take(connection)
        if path.startswith("/stream"):
            assert event["stream"] == "btcusdt@trade"
            event = event["data"]
        assert (event["e"], event["t"]) == ("trade", 1)


def test_a_connection_has_a_limit_of_streams(start):
    _, url = start(streams=2)
    with guest(f"{url}/ws") as connection:
        assert ask(connection, "SUBSCRIBE", "a", "b")["result"] is None
        put(connection, {"method": "SUBSCRIBE", "params": ["c"], "id": 2})
        assert closing(connection)[0] == 1008


def test_five_messages_are_accepted_and_a_sixth_in_the_same_second_is_not(start):
    _, url = start()
    with guest(f"{url}/ws") as connection:
        assert [ask(connection, "LIST_SUBSCRIPTIONS", id=n)["id"] for n in range(5)] == [0, 1, 2, 3, 4]
        with contextlib.suppress(ConnectionClosed):  # it may be closed before the last one is sent
            put(connection, *[{"method": "LIST_SUBSCRIPTIONS", "id": n} for n in range(6)])
        assert closing(connection) == TOO_FAST


@pytest.mark.parametrize("send", ["ping", "pong"])
def test_pings_and_pongs_count(start, send):
    _, url = start()
    with guest(f"{url}/ws") as connection:
        for _ in range(6):
            getattr(connection, send)()
        assert closing(connection) == TOO_FAST


def test_the_limit_is_one_of_messages_in_a_time(start):
    _, url = start(rate=1, per=0.1)
    with guest(f"{url}/ws") as connection:
        for _ in range(3):
            ask(connection, "LIST_SUBSCRIPTIONS")
            threading.Event().wait(0.12)  # the time that the rule is about


def test_a_connection_ends_after_its_lifetime_whatever_it_does(start):
    began = time.monotonic()
    feed, url = start(lifetime=0.2)
    with guest(f"{url}/ws/btcusdt@trade") as connection:
        with contextlib.suppress(ConnectionClosed):  # on a busy machine it may end before
            ask(connection, "LIST_SUBSCRIPTIONS")
            feed.trade("btcusdt", "1.0")
        assert closing(connection)[0] == 1001
        assert time.monotonic() - began > 0.19
    eventually(lambda: not feed.subscribers)


@pytest.mark.parametrize("path", ["/ws", "/stream"])
def test_a_restart_is_announced(start, path):
    feed, url = start()
    with guest(url + path) as connection:
        ask(connection, "LIST_SUBSCRIPTIONS")
        feed.shut_down()
        event = take(connection)
        assert (event["data"] if path == "/stream" else event)["e"] == "serverShutdown"
        assert event.get("stream") == ("!serverShutdown" if path == "/stream" else None)
