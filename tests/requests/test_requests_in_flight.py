"""``Stats.requests_in_flight``: requests on the connection without a final answer."""

import pytest

import wsclient

from ..support import LONG, eventually
from ..support.peers import cut, event, open_pair, put, reply, subscribed, taken

QUIET = {"ping_interval": None}


def in_flight(client):
    return client.stats.requests_in_flight


def test_a_request_counts_from_its_write_to_its_answer(raw):
    client = wsclient.Client(raw.url)
    client.submit({"a": 1}, timeout=None)
    assert in_flight(client) == 0  # it is queued, since the client was not started
    client.close()
    client, peer = open_pair(raw, **QUIET)
    futures = [client.submit({"a": n}, timeout=None) for n in range(3)]
    asked = [taken(peer) for _ in futures]
    assert in_flight(client) == 3
    put(peer, reply(asked[1], "second"))
    assert futures[1].result(LONG)["result"] == "second"
    assert in_flight(client) == 2
    futures[0].cancel()
    assert in_flight(client) == 1
    with pytest.raises(wsclient.RequestTimeout):
        client.request({"a": 4}, timeout=0.01)
    assert in_flight(client) == 1
    client.close(timeout=0)
    assert in_flight(client) == 0


def test_requests_with_a_match_function_and_batches_count(raw):
    client, peer = open_pair(raw, protocol=wsclient.JsonRpc(), **QUIET)
    client.submit({"method": "a"}, match=lambda message: False, timeout=None)
    taken(peer)
    client.submit([{"method": "b"}, {"method": "c"}], timeout=None)
    taken(peer)
    assert in_flight(client) == 3
    client.close(timeout=0)


def test_a_lost_connection_has_no_request_in_flight_and_an_idempotent_one_counts_on_the_next_connection(raw):
    client, peer = open_pair(raw, **QUIET)
    client.submit({"a": 1}, timeout=None)
    client.submit({"a": 2}, timeout=None, idempotent=True)
    taken(peer), taken(peer)
    assert in_flight(client) == 2
    peer = cut(client, peer, raw)
    assert taken(peer)["a"] == 2
    assert in_flight(client) == 1
    client.close(timeout=0)


def test_an_established_subscription_does_not_count(raw):
    client, peer = open_pair(raw, protocol=wsclient.JsonRpc(), **QUIET)
    subscription = subscribed(client, peer, "s-1")
    put(peer, event("s-1", 5))
    subscription.get(LONG)
    assert in_flight(client) == 0
    client.close(timeout=0)


def test_in_fifo_order_a_cancelled_request_counts_until_its_reply(raw):
    client, peer = open_pair(raw, protocol=wsclient.Fifo(), **QUIET)
    future = client.submit("a", timeout=3600)
    peer.receive_text()
    future.cancel()
    assert in_flight(client) == 1
    peer.send_text("A")
    eventually(lambda: in_flight(client) == 0)
    client.close(timeout=0)
