"""The public client class: its representation, and its state before, during and after its run."""

import pickle

import pytest

import wsclient
from tests.support import AMPLE, LONG, eventually
from tests.support.peers import SOON, close_now, open_against, start_call
from wsclient import State


def test_the_repr_of_a_client_has_its_class_its_name_and_its_state_but_no_secret():
    class Feed(wsclient.Client):
        pass

    client = Feed("wss://joe:hunter2@example.org/ws?token=hunter2", name="prices")
    assert repr(client) == "<Feed 'prices' new wss://***@example.org/ws?token=***>"
    client.close()
    assert " closed " in repr(client)


def test_a_client_cannot_be_pickled():
    client = wsclient.Client("ws://localhost/")
    with pytest.raises(TypeError):
        pickle.dumps(client)
    client.close()


def test_start_returns_the_client_itself_and_so_does_with(server):
    client = wsclient.Client(server.url)
    assert client.start() is client
    with client as same:
        assert same is client
        assert client.state is State.OPEN
    assert client.state is State.CLOSED


def test_an_exception_in_the_with_block_closes_the_client_and_is_raised(server):
    with pytest.raises(ZeroDivisionError), wsclient.connect(server.url) as client:
        _ = 1 / 0
    assert client.state is State.CLOSED


def test_attributes_before_the_start():
    client = wsclient.Client("ws://localhost/")
    assert client.latency is None
    assert client.last_disconnect is None
    assert (client.stats.connections, client.stats.messages_sent, client.stats.uptime) == (0, 0, 0.0)
    client.close()


def test_attributes_after_the_end(server):
    with wsclient.connect(server.url) as client:
        client.request({"method": "add", "params": [1, 2]})
        client.flush()
    stats = client.stats
    assert (stats.connections, stats.requests_ok, stats.messages_sent, stats.messages_received) == (1, 1, 1, 1)
    assert stats.bytes_sent > 0
    assert client.latency > 0
    assert (client.last_disconnect.initiator, client.last_disconnect.code) == ("local", 1000)


def test_before_start_sending_is_allowed_and_waiting_is_refused(server):
    client = wsclient.Client(server.url)
    with pytest.raises(wsclient.WebSocketClientError, match="start"):
        client.request({"method": "add", "params": [1, 2]})
    early = client.submit({"method": "add", "params": [1, 2]})
    delivery = client.send("early")
    with client:
        assert early.result(LONG)["result"] == 3
        assert delivery.wait(LONG)


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.request({}),
        lambda client: client.submit({}),
        lambda client: client.request_many([{}]),
        lambda client: client.send("x"),
        lambda client: client.flush(),
        lambda client: client.reconnect(),
        lambda client: client.start(),
    ],
    ids=["request", "submit", "request_many", "send", "flush", "reconnect", "start"],
)
def test_after_close_every_call_raises_client_closed(call):
    client = wsclient.Client("ws://localhost/", name="feed")
    client.close()
    with pytest.raises(wsclient.ClientClosed, match=r"'feed' is closed; make a new one\.$"):
        call(client)


def test_close_and_drain_and_wait_accept_a_closed_client():
    client = wsclient.Client("ws://localhost/")
    client.close()
    client.close()
    client.close(wait=False)
    assert client.drain()
    assert client.wait_closed(0)
    assert client.wait_until(State.CLOSED, 0)
    assert not client.wait_until(State.OPEN, 0)


CALLS = {
    "request": lambda client: client.request({"a": 1}),
    "call": lambda client: client.call("add"),
    "request_many": lambda client: client.request_many([{"a": 1}]),
    "stream": lambda client: client.stream({"a": 1}),
    "subscribe": lambda client: client.subscribe({"a": 1}),
    "reconnect": lambda client: client.reconnect(),
    "flush": lambda client: client.flush(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_before_start_and_a_call_after_close_raise_different_errors(call):
    client = wsclient.Client("ws://localhost/", protocol=wsclient.JsonRpc())
    with pytest.raises(wsclient.ClientNotStarted, match=r"does not run yet; call start\(\)"):
        call(client)
    client.close()
    with pytest.raises(wsclient.ClientClosed) as caught:
        call(client)
    assert type(caught.value) is wsclient.ClientClosed


def test_states_phases_and_initiators_are_members_of_their_enums(raw):
    client, _, _ = open_against(raw)
    delivery = client.send("x")
    close_now(client)
    assert delivery.state is wsclient.DeliveryState.UNKNOWN
    assert repr(delivery) == "<Delivery unknown>"
    assert client.last_disconnect.initiator is wsclient.Initiator.LOCAL
    client, peer, _ = open_against(raw, reconnect=None)
    with pytest.raises(wsclient.RequestTimeout) as caught:
        client.request({"a": 1}, timeout=AMPLE)
    assert caught.value.phase is wsclient.Phase.WAITING
    peer.reset()
    assert client.wait_closed(LONG)
    assert client.last_disconnect.initiator is wsclient.Initiator.NETWORK


def test_on_reconnect_of_the_base_class_calls_on_open(raw):
    calls = []

    class Both(wsclient.Client):
        def on_open(self):
            calls.append("open")

        def on_reconnect(self):
            calls.append("reconnect")
            super().on_reconnect()

    class Second(wsclient.Client):
        def on_reconnect(self):
            super().on_reconnect()
            calls.append("no on_open")

    for kind, expected in ((Both, ["open", "reconnect", "open"]), (Second, ["no on_open"])):
        calls.clear()
        client = kind(raw.url, reconnect=SOON, ping_interval=None)
        starting = start_call(client.start)
        peer = raw.accept().upgrade()
        starting.result(LONG)
        peer.reset()
        raw.accept().upgrade()
        eventually(lambda expected=expected: calls == expected)
        client.close(timeout=0)
