"""``subscribe(..., quiet_after=)``: a subscription that brings no messages any more is renewed, then its connection."""

import threading
import time

import pytest

import wsclient
from wsclient import JsonId, JsonRpc, Quiet

from ..support import AMPLE, LONG, SHORT, eventually
from ..support.peers import (
    ASK,
    Acknowledged,
    await_processed,
    cut,
    event,
    has_no_entries,
    many,
    open_against,
    put,
    reply,
    results,
    start_call,
    subscribed,
    subscribing,
    taken,
)

SOON = SHORT / 8


class Market:
    """The function ``active=``: for each ``allow()`` one subscription may be found quiet, and no other one before it.

    So no test depends on its own speed. The client takes the first true result after a false one as the beginning.
    """

    def __init__(self):
        self._allowed = []
        self._was_active = True

    def allow(self):
        self._allowed.append(True)

    def __call__(self):
        if self._allowed and self._was_active:
            return self._allowed.pop()
        self._was_active = bool(self._allowed)
        return self._was_active


def open_feed(raw, **options):
    """A client, its peer, the market, and the arguments of ``on_quiet``."""
    market, quiets = Market(), []
    options.setdefault("protocol", JsonRpc())
    client, peer, _ = open_against(
        raw, quiet=Quiet(LONG, active=market), on_quiet=lambda _, seconds: quiets.append(seconds), **options
    )
    return client, peer, market, quiets


def asked_again(peer):
    """The message that subscribes again, behind the one that unsubscribes, which is answered."""
    asked = taken(peer)
    assert asked["method"] == "eth_unsubscribe"
    put(peer, reply(asked, True))
    again = taken(peer)
    assert again["method"] == "eth_subscribe"
    return again


# --- on the same connection ------------------------------------------------------------------------------------------


def test_a_quiet_subscription_is_renewed_on_the_same_connection_without_disturbing_others(raw):
    client, peer, market, quiets = open_feed(raw)
    gaps = []
    other = subscribed(client, peer, "0xother")
    quiet = subscribed(client, peer, "0x1", quiet_after=SOON, on_gap=gaps.append)
    put(peer, event("0x1", 1))
    assert results(quiet, 1) == [1]
    market.allow()
    again = asked_again(peer)
    assert again["params"] == ASK["params"]
    put(peer, event("0xother", "meanwhile"))
    assert results(other, 1) == ["meanwhile"]
    put(peer, reply(again, "0x2"), event("0x2", 2), event("0x1", "of the old one"))
    assert results(quiet, 1) == [2]
    assert quiet.reply == "0x2"
    assert (quiet.gaps, gaps, other.gaps) == (1, [quiet], 0)
    await_processed(peer)
    assert client.stats.connections == 1
    assert quiets == []
    client.close(timeout=0)


def test_after_a_message_it_is_renewed_again_and_the_connection_stays(raw):
    client, peer, market, quiets = open_feed(raw)
    quiet = subscribed(client, peer, "0x0", quiet_after=SOON)
    for number in range(1, 4):
        market.allow()
        put(peer, reply(asked_again(peer), f"0x{number}"), event(f"0x{number}", number))
        assert results(quiet, 1) == [number]
    assert (quiet.gaps, client.stats.connections, quiets) == (3, 1, [])
    client.close(timeout=0)


def test_the_message_function_is_called_again(raw):
    client, peer, market, _ = open_feed(raw)
    numbers = iter(range(10))
    make = lambda: {"method": "eth_subscribe", "params": [next(numbers)]}  # noqa: E731
    future = subscribing(client, make, quiet_after=SOON)
    first = taken(peer)
    put(peer, reply(first, "0x1"))
    quiet = future.result(LONG)
    market.allow()
    assert (first["params"], asked_again(peer)["params"]) == ([0], [1])
    assert quiet.gaps == 0  # before the first message after the gap
    client.close(timeout=0)


def test_messages_that_match_selects_are_renewed_without_a_reply(raw):
    client, peer, market, _ = open_feed(raw, protocol=JsonId())
    asks, stops = {"op": "subscribe", "channel": "trades"}, {"op": "unsubscribe", "channel": "trades"}
    quiet = client.subscribe(
        asks, match=lambda message: message.get("channel") == "trades", unsubscribe=stops, quiet_after=SOON
    )
    assert taken(peer)["op"] == "subscribe"
    market.allow()
    assert [taken(peer)["op"], taken(peer)["op"]] == ["unsubscribe", "subscribe"]
    put(peer, {"channel": "trades", "price": 5})
    assert quiet.get(LONG)["price"] == 5
    assert quiet.gaps == 1
    client.close(timeout=0)


def test_a_subscription_with_many_answers_to_its_request_is_renewed(raw):
    client, peer, market, _ = open_feed(raw, protocol=many())
    future = subscribing(client, {"ask": "ticks"}, quiet_after=SOON)
    first = taken(peer)["id"]
    put(peer, {"id": first, "v": 1, "more": True})
    quiet = future.result(LONG)
    assert quiet.get(LONG) == 1
    market.allow()
    second = taken(peer)["id"]
    assert second > first
    put(peer, {"id": first, "v": "old", "more": True}, {"id": second, "v": 2, "more": True})
    assert quiet.get(LONG) == 2
    assert client.stats.connections == 1
    client.close(timeout=0)


def test_a_subscription_whose_messages_come_without_a_reply_is_renewed(raw):
    client, peer, market, quiets = open_feed(raw, protocol=Acknowledged())
    future = subscribing(client, "ticks", quiet_after=SOON)
    for value in range(3):
        put(peer, [taken(peer)[0], "item", value])
        quiet = future.result(LONG)
        assert quiet.get(LONG) == value
        market.allow()
    assert taken(peer)[1] == "ticks"  # the last renewal that the market allowed on this connection
    peer = cut(client, peer, raw)
    for value in range(2):
        put(peer, [taken(peer)[0], "item", value])
        assert quiet.get(LONG) == value
        market.allow()
    assert taken(peer)[1] == "ticks"
    assert quiets == []
    client.close(timeout=0)


def test_an_operation_of_graphql_is_completed_and_begins_again(raw):
    market = Market()
    client = wsclient.Client(
        raw.url, protocol=wsclient.GraphQLTransportWs(), quiet=Quiet(LONG, active=market), ping_interval=None
    )
    starting = start_call(client.start)
    peer = raw.accept().upgrade("Sec-WebSocket-Protocol: graphql-transport-ws")
    taken(peer)
    put(peer, {"type": "connection_ack"})
    starting.result(LONG)
    quiet = client.subscribe({"query": "subscription { price }"}, quiet_after=SOON)
    first = taken(peer)
    market.allow()
    assert taken(peer) == {"id": first["id"], "type": "complete"}
    second = taken(peer)
    assert second["payload"] == first["payload"]
    put(peer, {"id": second["id"], "type": "next", "payload": {"data": 1}})
    assert quiet.get(LONG) == {"data": 1}
    client.close(timeout=0)


def test_replies_in_order_renew_a_subscription_too(raw):
    market = Market()
    protocol = wsclient.Fifo(event=lambda message: "price" in message)
    client, peer, _ = open_against(raw, protocol=protocol, quiet=Quiet(LONG, active=market))
    future = subscribing(client, {"op": "subscribe"}, match=lambda message: "price" in message, quiet_after=SOON)
    assert taken(peer) == {"op": "subscribe"}
    put(peer, {"ok": 1})
    quiet = future.result(LONG)
    market.allow()
    assert taken(peer) == {"op": "subscribe"}
    put(peer, {"ok": 2}, {"price": 5})
    assert quiet.get(LONG) == {"price": 5}
    assert (quiet.reply, client.stats.connections) == ({"ok": 2}, 1)
    client.close(timeout=0)


def test_a_refused_renewal_ends_the_subscription_with_the_error(raw):
    client, peer, market, _ = open_feed(raw)
    quiet = subscribed(client, peer, "0x1", quiet_after=SOON)
    market.allow()
    put(peer, {"jsonrpc": "2.0", "id": asked_again(peer)["id"], "error": {"code": 1, "message": "no"}})
    with pytest.raises(wsclient.RemoteError, match="no"):
        quiet.get(LONG)
    await_processed(peer)
    assert has_no_entries(client)
    assert client.stats.connections == 1
    client.close(timeout=0)


def test_a_message_function_that_raises_ends_only_its_subscription(raw):
    client, peer, market, _ = open_feed(raw)
    asks = [ASK]
    quiet = subscribed(client, peer, "0x1", lambda: asks.pop(), quiet_after=SOON)
    market.allow()
    with pytest.raises(IndexError):
        quiet.get(LONG)
    assert taken(peer)["method"] == "eth_unsubscribe"
    await_processed(peer)
    assert client.stats.connections == 1
    client.close(timeout=0)


def test_a_subscription_that_was_closed_is_not_renewed(raw):
    client, peer, market, _ = open_feed(raw)
    quiet = subscribed(client, peer, "0x1", quiet_after=SOON)
    quiet.close()
    put(peer, reply(taken(peer), True))
    market.allow()
    await_processed(peer)
    assert has_no_entries(client)
    assert client._wsclient.context.quiet.next_at > 0
    eventually(lambda: len(client._wsclient.context.quiet._clocks()) == 1)
    client.close(timeout=0)


# --- the connection is replaced --------------------------------------------------------------------------------------


def replaced(client, peer, raw):
    """The peer of the next connection, after this one was closed by the client."""
    opcode, payload = peer.receive_frame()
    assert (opcode, payload[:2]) == (8, (1000).to_bytes(2, "big"))
    peer.finish()
    peer = raw.accept().upgrade()
    eventually(lambda: client.stats.connections == 2)
    assert client.last_disconnect.initiator == "quiet"
    assert "a subscription had no message for" in client.last_disconnect.reason
    return peer


@pytest.mark.parametrize("is_answered", [True, False])
def test_a_subscription_that_stays_quiet_has_its_connection_replaced(raw, is_answered):
    client, peer, market, quiets = open_feed(raw, request_timeout=LONG if is_answered else AMPLE)
    quiet = subscribed(client, peer, "0x1", quiet_after=SOON)
    market.allow()
    asked = asked_again(peer)
    if is_answered:
        put(peer, reply(asked, "0x2"))
    else:
        assert not threading.Event().wait(AMPLE + SHORT)  # the time-out of a request does not end the subscription
    await_processed(peer)
    market.allow()
    peer = replaced(client, peer, raw)
    eventually(lambda: quiets)
    assert quiets[0] >= SOON
    put(peer, reply(taken(peer), "0x3"), event("0x3", 3))
    assert results(quiet, 1) == [3]
    assert quiet.gaps >= 1
    client.close(timeout=0)


def test_on_the_next_connection_it_is_renewed_first_again(raw):
    client, peer, market, _ = open_feed(raw)
    quiet = subscribed(client, peer, "0x1", quiet_after=SOON)
    market.allow()
    put(peer, reply(asked_again(peer), "0x2"))
    market.allow()
    peer = replaced(client, peer, raw)
    put(peer, reply(taken(peer), "0x3"))
    market.allow()
    put(peer, reply(asked_again(peer), "0x4"), event("0x4", 4))
    assert results(quiet, 1) == [4]
    assert client.stats.connections == 2
    client.close(timeout=0)


def test_without_resume_it_ends_with_its_connection(raw):
    client, peer, market, _ = open_feed(raw)
    quiet = subscribed(client, peer, "0x1", quiet_after=SOON, resume=False)
    market.allow()
    asked_again(peer)
    market.allow()
    replaced(client, peer, raw)
    with pytest.raises(wsclient.ConnectionLost):
        quiet.get(LONG)
    client.close(timeout=0)


def test_without_the_option_quiet_of_the_client_it_works_too(raw):
    quiets = []
    client, peer, _ = open_against(raw, protocol=JsonRpc(), on_quiet=lambda _, seconds: quiets.append(seconds))
    quiet = subscribed(client, peer, "0x1", quiet_after=SHORT)
    asked_again(peer)
    replaced(client, peer, raw)
    eventually(lambda: quiets)
    assert quiets[0] >= 2 * SHORT
    assert quiet.gaps == 0
    client.close(timeout=0)


# --- messages that count, paused reading -----------------------------------------------------------------------------


def test_only_messages_that_count_for_the_client_count_for_the_subscription(raw):
    client, peer, _ = open_against(
        raw, protocol=JsonRpc(), quiet=Quiet(LONG, counts=lambda message: message["params"]["result"] != "status")
    )
    quiet = subscribed(client, peer, "0x1", quiet_after=LONG)
    (member,) = client._wsclient.context.subscriptions
    clock = member.quiet.clock
    confirmed = clock.next_at
    put(peer, event("0x1", "status"))
    assert results(quiet, 1) == ["status"]
    await_processed(peer)
    assert clock.next_at == confirmed
    put(peer, event("0x1", "trade"))
    await_processed(peer)
    assert clock.next_at > confirmed
    client.close(timeout=0)


def wait_for_silence():
    """Wait until the clock of a subscription may have been due several times."""
    began = time.monotonic()
    eventually(lambda: time.monotonic() > began + 4 * SOON)


def test_a_quiet_subscription_is_not_renewed_while_sending_is_paused(raw):
    """It would be unsubscribed at once, and requested again only after the pause."""
    quiets, gate = [], threading.Event()
    client, peer, _ = open_against(
        raw,
        protocol=JsonRpc(),
        quiet=Quiet(LONG, active=gate.is_set),
        on_quiet=lambda _, seconds: quiets.append(seconds),
    )
    subscription = subscribed(client, peer, "0x1", quiet_after=SOON)
    client.pause_sending(LONG)
    gate.set()
    wait_for_silence()
    await_processed(peer)  # no message of the client comes before this pong
    assert (quiets, subscription.gaps) == ([], 0)
    client.pause_sending(0)
    put(peer, reply(asked_again(peer), "0x2"))
    assert client.stats.connections == 1
    client.close(timeout=0)


def test_the_second_time_of_a_quiet_subscription_begins_when_its_request_is_written(raw):
    quiets = []
    client, peer, _ = open_against(
        raw,
        protocol=JsonRpc(),
        on_quiet=lambda _, seconds: quiets.append(seconds),
        send_queue=wsclient.SendQueue(rate=1 / 3600, burst=2),
    )
    subscription = subscribed(client, peer, "0x1", quiet_after=SOON)
    assert taken(peer)["method"] == "eth_unsubscribe"
    wait_for_silence()
    await_processed(peer)
    assert (client.stats.connections, quiets) == (1, [])
    context = client._wsclient.context
    context.sender.writer.bucket.ready_at = 0.0
    context.commands.wake()
    assert taken(peer)["method"] == "eth_subscribe"
    eventually(lambda: quiets)
    assert peer.receive_frame()[0] == 8
    assert subscription.gaps == 0
    client.close(timeout=0)


def test_messages_of_others_do_not_count_for_a_subscription(raw):
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    _other = subscribed(client, peer, "0xother")
    quiet = subscribed(client, peer, "0x1", quiet_after=LONG)
    clock = [member.quiet for member in client._wsclient.context.subscriptions][1].clock
    confirmed = clock.next_at
    put(peer, event("0xother", 1), {"jsonrpc": "2.0", "method": "news"})
    await_processed(peer)
    assert clock.next_at == confirmed
    assert quiet.gaps == 0
    client.close(timeout=0)


def test_the_clock_of_a_subscription_stands_still_while_reading_is_paused(raw):
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    slow = subscribed(client, peer, "0xslow", maxsize=1)
    quiet = subscribed(client, peer, "0x1", quiet_after=LONG)
    watch = client._wsclient.context.quiet
    confirmed = watch.next_at
    put(peer, event("0xslow", 1))
    eventually(lambda: watch.next_at == float("-inf"))
    assert not threading.Event().wait(SHORT)  # the pause
    assert results(slow, 1) == [1]
    eventually(lambda: watch.next_at != float("-inf"))
    assert watch.next_at >= confirmed + SHORT
    assert quiet.gaps == 0
    client.close(timeout=0)


def test_the_clock_of_a_subscription_that_is_made_while_reading_is_paused_stands_still_at_first(raw):
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    slow = subscribed(client, peer, "0xslow", maxsize=1)
    first = subscribed(client, peer, "0x1", quiet_after=LONG)
    context = client._wsclient.context
    put(peer, event("0xslow", 1))
    eventually(lambda: context.quiet.next_at == float("-inf"))
    second = client.subscribe({"method": "more"}, match=bool, quiet_after=LONG)
    clock = list(context.subscriptions)[-1].quiet.clock
    eventually(lambda: clock._last is not None)
    assert clock.next_at == float("inf")
    assert results(slow, 1) == [1]
    eventually(lambda: clock.next_at < float("inf"))
    assert (first.gaps, second.gaps) == (0, 0)
    client.close(timeout=0)


# --- the option ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "error"), [(0, ValueError), (-1, ValueError), ("5", TypeError), (True, TypeError)])
def test_the_option_is_checked(server, seconds, error):
    with wsclient.connect(server.url) as client, pytest.raises(error, match=r"^quiet_after must be "):
        client.subscribe(ASK, quiet_after=seconds)


def test_without_the_option_a_subscription_has_no_clock(raw):
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    _subscription = subscribed(client, peer, "0x1")
    (member,) = client._wsclient.context.subscriptions
    assert member.quiet is None
    assert client._wsclient.context.quiet.next_at == float("inf")
    client.close(timeout=0)
