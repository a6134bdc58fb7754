"""``Protocol.goodbye()``: the last message of a connection before its close frame."""

import json
import threading
import time

import pytest

import wsclient
from wsclient import JsonId, JsonRpc, ProtocolError, Request

from ..support import LONG, SLACK, RawServer, Server, eventually
from ..support.stage import Hang


class Polite(JsonId):
    """Says goodbye with a message, or as the function says."""

    def __init__(self, goodbye=lambda: {"type": "bye"}):
        super().__init__()
        self.make = goodbye

    def goodbye(self):
        return self.make()


def conversation(server):
    return [json.loads(message) for message in server.received]


@pytest.mark.parametrize("end", ["close", "drain"])
def test_it_is_sent_after_the_queue_and_before_the_close_frame(end):
    with Server(lambda connection, message: None) as server:
        client = wsclient.connect(server.url, protocol=Polite())
        for n in range(3):
            client.send({"n": n})
        getattr(client, end)()
        server.wait_for(4)
        assert conversation(server) == [{"n": 0}, {"n": 1}, {"n": 2}, {"type": "bye"}]
        assert client.last_disconnect.code == 1000


@pytest.mark.parametrize(
    "make", [lambda: {"type": "bye"}, lambda: Request({"type": "bye"})], ids=["message", "request"]
)
def test_the_queue_is_empty_after_it(make):
    with Server(lambda connection, message: None) as server:
        client = wsclient.connect(server.url, protocol=Polite(make))
        client.close()
        assert (client.stats.queue_depth, client.stats.queue_bytes) == (0, 0)


def test_a_request_as_a_goodbye_gets_an_id_and_is_not_waited_for():
    class WebDriver(JsonRpc):
        def goodbye(self):
            return Request({"method": "session.end", "params": {}})

    with Server(lambda connection, message: None) as server:
        client = wsclient.connect(server.url, protocol=WebDriver(version=None))
        began = time.monotonic()
        client.close(timeout=LONG)
        assert time.monotonic() - began < LONG / 2
        server.wait_for(1)
        assert conversation(server) == [{"id": 1, "method": "session.end", "params": {}}]


def test_it_is_not_sent_before_a_reconnect():
    with Server(lambda connection, message: None) as server:
        with wsclient.connect(server.url, protocol=Polite()) as client:
            client.reconnect()
            eventually(lambda: client.stats.connections == 2)
            client.send({"n": 1})
            server.wait_for(1)
            assert conversation(server) == [{"n": 1}]
        server.wait_for(2)
        assert conversation(server) == [{"n": 1}, {"type": "bye"}]


def test_a_goodbye_that_raises_is_reported_and_the_client_closes():
    errors = []
    with Server() as server:
        client = wsclient.connect(
            server.url, protocol=Polite(lambda: 1 / 0), on_error=lambda client, error: errors.append(error)
        )
        client.close()
        assert client.wait_closed(LONG)
        assert client.last_disconnect.code == 1000
    assert isinstance(errors[0], ProtocolError)
    assert "goodbye" in str(errors[0])


def test_a_goodbye_that_hangs_does_not_delay_close_beyond_its_bound():
    hang = Hang()
    with Server() as server:
        client = wsclient.connect(server.url, protocol=Polite(hang))
        began = time.monotonic()
        client.close(timeout=0.1)
        assert time.monotonic() - began < 1.1 + SLACK
        assert client.state is wsclient.State.CLOSED
        hang.release()
        assert hang.returned.wait(LONG)


def test_a_goodbye_to_a_peer_that_does_not_read_does_not_delay_close():
    closed = threading.Event()

    def script(peer):
        peer.upgrade()
        closed.wait(LONG)

    with RawServer(script) as server:
        client = wsclient.connect(server.url, protocol=Polite(lambda: "x" * 2**24))
        began = time.monotonic()
        client.close(timeout=0.1)
        closed.set()
        assert time.monotonic() - began < 1.1 + SLACK
