"""``subscribe()`` through the public API, against a peer that sends exactly what the test specifies."""

import concurrent.futures
import gc
import itertools
import sys
import threading
import time
import weakref
from functools import partial

import pytest

import wsclient
from wsclient import Fifo, JsonId, JsonRpc, State
from wsclient._client import stream_operations
from wsclient._receiving import reply_stream
from wsclient._receiving import subscription as _subscribing
from wsclient._receiving import subscriptions as _subscriptions
from wsclient._threads.waiting import Deadline, Latch

from ..support import AMPLE, LONG, SHORT, eventually
from ..support.peers import (
    ASK,
    Acknowledged,
    Ticks,
    cut,
    event,
    has_no_entries,
    many,
    put,
    reply,
    results,
    start_call,
    subscribed,
    subscribing,
    taken,
)
from ..support.raw import frame

# --- subscribe(): its messages ---------------------------------------------------------------------------------------


def test_a_subscription_by_id_receives_its_items_and_no_other_receiver_does(against):
    client, peer, seen = against(protocol=many())
    heard = client.listen()
    a, b = client.subscribe({"ask": "a"}), client.subscribe({"ask": "b"})
    ids = [taken(peer)["id"], taken(peer)["id"]]
    put(peer, *({"id": ids[n % 2], "v": n, "more": True} for n in range(4)), {"news": 1})
    assert [a.get(LONG), a.get(LONG)] == [0, 2]
    assert [b.get(LONG), b.get(LONG)] == [1, 3]
    assert heard.get(LONG) == {"news": 1}
    eventually(lambda: seen == [{"news": 1}])


def test_a_subscription_by_name_has_a_reply_and_receives_the_messages_with_its_name(against):
    client, peer, seen = against(protocol=JsonRpc())
    a, b = subscribed(client, peer, "0xa"), subscribed(client, peer, "0xb")
    assert (a.reply, b.reply) == ("0xa", "0xb")
    put(peer, event("0xb", 1), event("0xa", 2), event("0xstranger", 3), event("0xb", 4))
    assert results(b, 2) == [1, 4]
    assert results(a, 1) == [2]
    eventually(lambda: seen == [event("0xstranger", 3)])


def test_a_subscription_by_match_receives_the_messages_it_accepts_and_expects_no_reply(against):
    client, peer, seen = against()
    trades = client.subscribe({"op": "sub"}, match=lambda message: "trade" in message)
    every = client.subscribe({"op": "sub"}, match=lambda message: "news" not in message)
    ids = [taken(peer)["id"], taken(peer)["id"]]
    put(peer, {"trade": 1}, {"news": 1}, {"quote": 1})
    assert trades.get(LONG) == {"trade": 1}
    assert [every.get(LONG), every.get(LONG)] == [{"trade": 1}, {"quote": 1}]
    eventually(lambda: seen == [{"news": 1}])
    put(peer, {"id": ids[0], "ok": True}, {"trade": 2})
    assert trades.get(LONG) == {"trade": 2}
    assert trades.reply == {"id": ids[0], "ok": True}


def test_a_plain_text_message_can_subscribe_with_match(against):
    client, peer, _ = against()
    future = subscribing(client, "SUB ticks", match=lambda message: message.startswith("TICK"))
    subscription = future.result(LONG)
    assert peer.receive_text() == "SUB ticks"
    peer.send_text("TICK 1")
    assert subscription.get(LONG) == "TICK 1"


def test_a_match_that_raises_ends_only_its_own_subscription(against):
    client, peer, seen = against()
    broken = client.subscribe({"n": 1}, match=lambda message: 1 / message["n"], unsubscribe={"stop": 1})
    sound = client.subscribe({"n": 2}, match=lambda message: message["n"] == 5)
    taken(peer), taken(peer)
    put(peer, {"n": 0}, {"n": 5})
    assert taken(peer) == {"stop": 1}
    with pytest.raises(ZeroDivisionError):
        broken.get(LONG)
    assert sound.get(LONG) == {"n": 5}
    eventually(lambda: seen == [{"n": 0}])
    assert client.state is State.OPEN


def test_events_that_arrive_before_the_reply_are_not_lost(against):
    client, peer, seen = against(protocol=JsonRpc())
    future = subscribing(client)
    asked = taken(peer)
    put(peer, event("0xa", 1), event("0xother", "not ours"), event("0xa", 2), reply(asked, "0xa"), event("0xa", 3))
    assert results(future.result(LONG), 3) == [1, 2, 3]
    eventually(lambda: seen == [event("0xother", "not ours")])


def test_an_event_before_the_reply_stays_before_an_event_in_the_same_array_as_the_reply(against):
    client, peer, _ = against(protocol=JsonRpc())
    future = subscribing(client)
    asked = taken(peer)
    put(peer, event("0xa", 1), [reply(asked, "0xa"), event("0xa", 2)])
    assert results(future.result(LONG), 2) == [1, 2]


def test_an_event_deferred_for_a_reply_that_never_comes_is_delivered_when_that_is_known(against):
    client, peer, seen = against(protocol=JsonRpc())
    future = subscribing(client, timeout=AMPLE)
    taken(peer)
    put(peer, event("0xother", 1))
    with pytest.raises(wsclient.RequestTimeout):
        future.result(LONG)
    eventually(lambda: seen == [event("0xother", 1)])  # no further message comes


def test_an_event_deferred_on_a_lost_connection_is_not_delivered_on_the_next_one(against, raw):
    client, peer, _ = against(protocol=JsonRpc())
    future = subscribing(client)
    taken(peer)
    put(peer, event("0x1", "of the old connection"))
    eventually(lambda: client._wsclient.context.subscriptions.unrouted)
    peer = cut(client, peer, raw)
    put(peer, reply(taken(peer), "0x1"), event("0x1", "of the new one"))
    assert results(future.result(LONG), 1) == ["of the new one"]


def test_two_subscriptions_with_the_same_name_both_receive_its_events(against):
    client, peer, _ = against(protocol=JsonRpc())
    a, b = subscribed(client, peer, "ticker"), subscribed(client, peer, "ticker")
    put(peer, event("ticker", 1))
    assert results(b, 1) == [1]
    assert a.get(3)["params"]["result"] == 1


def test_an_acknowledgement_before_the_name_is_skipped(against):
    protocol = JsonId(
        result="result", stream=("params", "subscription"), final=lambda request, value: value != "accepted"
    )
    client, peer, _ = against(protocol=protocol)
    future = subscribing(client)
    asked = taken(peer)
    put(peer, reply(asked, "accepted"), reply(asked, "0xa"), event("0xa", 1))
    subscription = future.result(LONG)
    assert subscription.reply == "0xa"
    assert results(subscription, 1) == [1]


def test_a_reply_without_a_name_is_an_error_that_explains_what_to_do(against):
    client, peer, _ = against()
    future = subscribing(client, {"ask": 1})
    put(peer, {"id": taken(peer)["id"], "ok": True})
    with pytest.raises(ValueError, match="match="):
        future.result(LONG)
    assert has_no_entries(client)


def test_a_refused_subscription_raises_the_error_of_the_server_and_leaves_nothing(against):
    client, peer, _ = against(protocol=JsonRpc())
    future = subscribing(client)
    put(peer, {"id": taken(peer)["id"], "error": {"code": -5, "message": "no such channel"}})
    with pytest.raises(wsclient.RemoteError, match="no such channel"):
        future.result(LONG)
    assert has_no_entries(client)
    client.send({"mark": 1})
    assert taken(peer)["mark"] == 1


def test_a_subscription_without_a_reply_times_out_and_leaves_nothing(against):
    client, peer, seen = against(protocol=JsonRpc())
    future = subscribing(client, {"id": 50, **ASK}, timeout=AMPLE)
    asked = taken(peer)
    with pytest.raises(wsclient.RequestTimeout) as caught:
        future.result(LONG)
    assert caught.value.phase == "waiting"
    eventually(lambda: has_no_entries(client))
    put(peer, reply(asked, "0xlate"), event("0xlate", 1))
    eventually(lambda: seen == [reply(asked, "0xlate"), event("0xlate", 1)])


@pytest.mark.parametrize("kind", ["item", "end"])
def test_subscribe_ends_in_time_with_any_message_in_place_of_a_reply(against, kind):
    client, peer, _ = against(protocol=Acknowledged())
    future = subscribing(client, "x", timeout=1)
    put(peer, [taken(peer)[0], kind, 5])
    future.exception(5)  # the test checks that it ends, not how


def test_a_later_error_ends_the_subscription(against):
    client, peer, _ = against(protocol=many())
    subscription = client.subscribe({"ask": 1})
    id = taken(peer)["id"]
    put(peer, {"id": id, "v": 1, "more": True}, {"id": id, "error": "gone"})
    assert next(subscription) == 1
    with pytest.raises(wsclient.RemoteError, match="gone"):
        next(subscription)
    assert has_no_entries(client)


# --- subscribe(): the end --------------------------------------------------------------------------------------------


def test_closing_sends_the_unsubscribe_of_the_protocol_and_its_answer_is_not_delivered(against):
    client, peer, seen = against(protocol=JsonRpc())
    with subscribed(client, peer, "0xa"):
        pass
    asked = taken(peer)
    assert (asked["method"], asked["params"]) == ("eth_unsubscribe", ["0xa"])
    put(peer, event("0xa", "still on its way"), reply(asked, True), {"mark": 1})
    eventually(lambda: seen == [event("0xa", "still on its way"), {"mark": 1}])
    assert client.stats.requests_late == 0
    assert has_no_entries(client)


@pytest.mark.parametrize(
    ("option", "sent"),
    [
        ({"stop": 1}, {"stop": 1}),
        (wsclient.Request({"stop": 2}), {"stop": 2, "id": 3}),
        (lambda message, reply: {"stop": message["params"], "of": reply}, {"stop": ["newHeads"], "of": "0xa"}),
        (lambda message, reply: wsclient.Request({"stop": reply}), {"stop": "0xa", "id": 3}),
        (lambda message, reply, id: {"stop": reply, "asked": id}, {"stop": "0xa", "asked": 1}),
        (lambda message, reply, id=None: {"stop": reply, "asked": id}, {"stop": "0xa", "asked": 1}),
        (lambda message, reply, topic="t": {"stop": reply, "topic": topic}, {"stop": "0xa", "topic": "t"}),
        (lambda *facts: {"stop": facts[1], "asked": facts[2]}, {"stop": "0xa", "asked": 1}),
        (lambda message, reply, *, more=None: {"stop": reply}, {"stop": "0xa"}),
    ],
)
def test_the_unsubscribe_option_takes_precedence_over_the_protocol(against, option, sent):
    client, peer, _ = against(protocol=JsonRpc(version=None))
    subscribed(client, peer, "0xa", unsubscribe=option).close()
    got = taken(peer)
    assert got.pop("id", None) is not None if "id" in sent else "id" not in got
    sent.pop("id", None)
    assert got == sent


def test_a_message_that_can_have_no_id_needs_match(against):
    client, _, _ = against()
    with pytest.raises(TypeError, match="Give match="):
        client.subscribe("plain text")
    assert has_no_entries(client)


def test_a_protocol_that_finds_no_key_in_a_reply_because_it_raises_ends_the_subscription(against):
    class Broken(JsonRpc):
        def stream_of(self, request, id, reply=None):
            if reply is not None:
                raise LookupError("no such thing")

    client, peer, _ = against(protocol=Broken())
    future = subscribing(client)
    put(peer, reply(taken(peer), "name"))
    assert isinstance(future.exception(LONG), LookupError)
    assert has_no_entries(client)


def test_an_unsubscribe_function_that_raises_leaves_no_subscription_open(against):
    def fails(message, reply):
        raise RuntimeError("a bug of the user's")

    client, peer, _ = against(protocol=JsonRpc())
    subscription = subscribed(client, peer, "0xa", unsubscribe=fails)
    try:
        subscription.close()
    except RuntimeError:
        pass
    with pytest.raises(wsclient.ClientClosed):
        subscription.get(SHORT)


def test_an_unsubscribe_function_that_raises_on_the_io_thread_does_not_end_the_connection(against):
    def fails(message, reply):
        raise RuntimeError("a bug of the user's")

    errors = []
    client, peer, seen = against(protocol=JsonRpc(), on_error=lambda _, error: errors.append(str(error)))
    subscription = subscribed(client, peer, "0xa", unsubscribe=fails, maxsize=1, overflow="raise")
    put(peer, event("0xa", 1), event("0xa", 2), {"news": 1})
    eventually(lambda: seen == [{"news": 1}])
    assert client.stats.connections == 1
    assert errors == ["a bug of the user's"]
    assert results(subscription, 1) == [1]
    with pytest.raises(wsclient.SlowConsumer):
        subscription.get(LONG)


def subscribe_and_forget(client, peer):
    subscription = subscribed(client, peer, "0xa")
    assert subscription.reply == "0xa"
    gone = weakref.ref(subscription)
    del subscription
    gc.collect()
    assert gone() is None


def test_a_garbage_collected_subscription_unsubscribes_with_its_name(against):
    client, peer, _ = against(protocol=JsonRpc())
    subscribe_and_forget(client, peer)
    put(peer, event("0xa", 1))
    asked = taken(peer)
    assert (asked["method"], asked["params"]) == ("eth_unsubscribe", ["0xa"])
    put(peer, reply(asked, True))
    eventually(lambda: has_no_entries(client))


def test_a_garbage_collected_subscription_is_not_resumed(against, raw):
    client, peer, _ = against(protocol=JsonRpc())
    subscribe_and_forget(client, peer)
    peer = cut(client, peer, raw)
    client.send({"mark": 1})
    assert taken(peer)["mark"] == 1
    assert has_no_entries(client)


def test_a_subscription_read_too_slowly_ends_with_slow_consumer_and_unsubscribes(against):
    client, peer, _ = against(protocol=JsonRpc())
    subscription = subscribed(client, peer, "0xa", maxsize=1, overflow="raise")
    put(peer, event("0xa", 1), event("0xa", 2))
    assert taken(peer)["params"] == ["0xa"]
    assert results(subscription, 1) == [1]
    with pytest.raises(wsclient.SlowConsumer):
        subscription.get(LONG)


def test_latest_with_a_key_keeps_the_newest_message_of_each_key(against):
    client, peer, seen = against(protocol=many())
    subscription = client.subscribe({"ask": 1}, overflow="latest", key=lambda value: value[0])
    id = taken(peer)["id"]
    put(peer, *({"id": id, "v": v, "more": True} for v in ("a1", "b1", "a2", "b2", "a3")), {"mark": 1})
    eventually(lambda: seen)
    assert [subscription.get(0), subscription.get(0)] == ["a3", "b2"]
    assert subscription.dropped == 3


# --- subscribe(): lost connections -----------------------------------------------------------------------------------


def test_after_a_reconnect_the_same_object_continues_with_the_new_name_and_reports_the_gap(against, raw):
    gaps = []
    client, peer, seen = against(protocol=JsonRpc())
    subscription = subscribed(client, peer, "0xold", on_gap=lambda one: gaps.append((one, one.gaps)))
    put(peer, event("0xold", 1))
    eventually(lambda: len(subscription._inbox) == 1)
    peer = cut(client, peer, raw)
    asked = taken(peer)
    assert asked["params"] == ["newHeads"]
    put(peer, reply(asked, "0xnew"), event("0xold", "of no subscription"), event("0xnew", 2), event("0xnew", 3))
    eventually(lambda: seen == [event("0xold", "of no subscription")])
    assert results(subscription, 1) == [1]
    assert (subscription.gaps, gaps) == (0, [])
    assert results(subscription, 1) == [2]
    assert (subscription.gaps, gaps) == (1, [(subscription, 1)])
    assert results(subscription, 1) == [3]
    assert subscription.gaps == len(gaps) == 1
    assert subscription.reply == "0xnew"


def test_subscriptions_are_resumed_with_new_ids_after_the_session_and_before_the_old_queue(against, raw):
    def set_up(client, session):
        session.send({"set": "up"})

    client, peer, _ = against(protocol=JsonRpc(version=None), on_session=set_up)
    assert taken(peer) == {"set": "up"}
    subscriptions = [subscribed(client, peer, name, {**ASK, "params": [name]}) for name in ("a", "b", "c")]
    before = client.stats.connections
    peer.reset()
    eventually(lambda: client.state is not State.OPEN)
    queued = client.submit({"method": "queued"})
    peer = raw.accept().upgrade()
    got = [taken(peer) for _ in range(5)]
    assert got[0] == {"set": "up"}
    assert [one["params"] for one in got[1:4]] == [["a"], ["b"], ["c"]]
    assert got[4]["method"] == "queued"
    ids = [one["id"] for one in got[1:]]
    assert ids == sorted(set(ids))
    assert min(ids) > 3
    put(peer, *(reply(one, f"{one['params'][0]}2") for one in got[1:4]), reply(got[4], "done"))
    assert queued.result(LONG) == "done"
    put(peer, *(event(f"{name}2", name) for name in "abc"))
    assert [results(one, 1) for one in subscriptions] == [["a"], ["b"], ["c"]]
    assert client.stats.connections == before + 1


def test_a_subscription_survives_two_losses_in_a_row_and_a_loss_before_the_reply(against, raw):
    client, peer, _ = against(protocol=JsonRpc())
    subscription = subscribed(client, peer, "0x1")
    for _ in range(3):
        peer = cut(client, peer, raw)
        assert taken(peer)["params"] == ["newHeads"]  # and no reply
    peer = cut(client, peer, raw)
    put(peer, reply(taken(peer), "0x5"), event("0x5", "here"))
    assert results(subscription, 1) == ["here"]
    assert subscription.gaps >= 1
    subscription.close()
    assert taken(peer)["params"] == ["0x5"]


def test_a_subscription_answered_on_several_connections_ends_none_of_them(against, raw):
    client, peer, _ = against(protocol=JsonRpc())
    subscription = subscribed(client, peer, "0x1")
    for number in range(2, 7):
        peer = cut(client, peer, raw)
        put(peer, reply(taken(peer), f"0x{number}"), event(f"0x{number}", number))
        assert results(subscription, 1) == [number]
        assert subscription.gaps == number - 1
    assert client.stats.connections == 6


def test_a_subscription_by_match_can_be_acknowledged_on_every_connection(against, raw):
    client, peer, _ = against()
    subscription = client.subscribe({"op": "sub"}, match=lambda message: "trade" in message)
    for number in range(1, 4):
        put(peer, {"id": taken(peer)["id"], "ok": number}, {"trade": number})
        assert subscription.get(LONG) == {"trade": number}
        assert subscription.reply["ok"] == number
        if number < 3:
            peer = cut(client, peer, raw)
    assert client.stats.connections == 3


@pytest.mark.slow
def test_subscriptions_not_written_to_a_full_connection_are_requested_on_the_next_one(against, raw):
    client, peer, _ = against(protocol=JsonRpc())
    huge = "x" * (8 * 2**20)
    subscriptions = [subscribed(client, peer, name, {**ASK, "params": [name, huge]}) for name in "abc"]
    before = client.stats.connections
    peer.reset()
    peer = raw.accept().upgrade()  # does not read
    sender = client._wsclient.context.sender
    eventually(lambda: client.stats.connections > before and sender.writer is not None and sender.writer.blocked)
    peer = cut(client, peer, raw)
    peer.sock.settimeout(3)
    assert [taken(peer)["params"][0] for _ in subscriptions] == ["a", "b", "c"]


class KeysOfOthers(JsonId):
    """Replies are items; an event has the key of another client's subscription."""

    def decode(self, payload):
        message = self.json.loads(payload)
        if "item" in message:
            return wsclient.Item(message["id"], message["item"])
        return wsclient.Event(message, stream=message["key"])


def test_an_item_in_place_of_the_reply_ends_the_wait_for_a_key(against):
    """Messages under other keys are then delivered, and fill no buffer that pauses reading."""
    client, peer, seen = against(protocol=KeysOfOthers(), receive_queue=wsclient.ReceiveQueue(max_messages=10))
    future = subscribing(client, {"ask": 1})
    id = taken(peer)["id"]
    put(peer, {"id": id, "item": "first"})
    subscription = future.result(LONG)
    assert subscription.get(LONG) == "first"
    for n in range(50):
        put(peer, {"key": "other", "n": n})
        eventually(lambda n=n: len(seen) > n)
    put(peer, {"id": id, "item": "second"})
    assert subscription.get(LONG) == "second"
    assert not client._wsclient.context.facts.paused


def test_a_subscription_that_ended_with_its_connection_is_not_requested_on_the_next(against, raw):
    """Its request was cut in the middle, and would otherwise be sent on the next connection."""
    client, _, _ = against(protocol=JsonId(), compression=None)
    message = {"method": "sub", "pad": "x" * (16 * 2**20)}
    subscription = client.subscribe(message, match=lambda message: False, resume=False)
    sender = client._wsclient.context.sender
    eventually(lambda: sender.writer.blocked)
    client.reconnect()
    with pytest.raises(wsclient.ConnectionLost, match="resume=False"):
        subscription.get(LONG)
    peer = raw.accept().upgrade()
    client.send({"mark": 1})
    assert taken(peer) == {"mark": 1}


def test_two_subscriptions_with_the_same_id_of_the_caller_do_not_prevent_a_reconnect(against, raw):
    client, peer, _ = against(protocol=JsonRpc())
    a, b = subscribed(client, peer, "0xa", {"id": 1, **ASK}), subscribed(client, peer, "0xb", {"id": 1, **ASK})
    peer.reset()
    raw.accept().upgrade()
    assert client.wait_until(State.OPEN, 3)
    assert a.gaps == b.gaps == 0


def test_a_subscription_refused_on_the_next_connection_ends_with_that_error(against, raw):
    client, peer, _ = against(protocol=JsonRpc())
    subscription, other = subscribed(client, peer, "0xa"), subscribed(client, peer, "0xb")
    peer = cut(client, peer, raw)
    first, second = taken(peer), taken(peer)
    put(peer, {"id": first["id"], "error": {"code": -5, "message": "no more"}}, reply(second, "0xb2"))
    with pytest.raises(wsclient.RemoteError, match="no more"):
        subscription.get(LONG)
    put(peer, event("0xb2", 1))
    assert results(other, 1) == [1]


def test_a_resumed_subscription_without_a_reply_ends_with_a_timeout(against, raw):
    client, peer, _ = against(protocol=JsonRpc(), request_timeout=AMPLE)
    subscription = subscribed(client, peer, "0xa")
    peer = cut(client, peer, raw)
    taken(peer)
    with pytest.raises(wsclient.RequestTimeout):
        subscription.get(LONG)
    assert has_no_entries(client)


def test_a_resumed_subscription_without_a_time_limit_waits_for_its_reply(against, raw):
    client, peer, _ = against(protocol=JsonRpc(), request_timeout=None)
    subscription = subscribed(client, peer, "0xa")
    peer = cut(client, peer, raw)
    put(peer, reply(taken(peer), "0xb"), event("0xb", 1))
    assert results(subscription, 1) == [1]


def test_a_message_function_is_called_at_each_subscription(against, raw):
    client, peer, _ = against(protocol=JsonRpc())
    tokens = iter("abc")
    subscription = subscribed(client, peer, "0x1", lambda: {**ASK, "params": [next(tokens)]})
    peer = cut(client, peer, raw)
    asked = taken(peer)
    assert asked["params"] == ["b"]
    put(peer, reply(asked, "0x2"), event("0x2", 1))
    assert results(subscription, 1) == [1]


def test_a_message_function_that_raises_on_the_next_connection_ends_only_its_subscription(against, raw):
    def ask():
        if asked:
            raise LookupError("no token")
        asked.append(1)
        return ASK

    asked = []
    client, peer, _ = against(protocol=JsonRpc())
    broken, sound = subscribed(client, peer, "0xa", ask), subscribed(client, peer, "0xb")
    peer = cut(client, peer, raw)
    with pytest.raises(LookupError, match="no token"):
        broken.get(LONG)
    put(peer, reply(taken(peer), "0xb2"), event("0xb2", 1))
    assert results(sound, 1) == [1]


def test_without_resume_a_lost_connection_ends_the_subscription(against, raw):
    client, peer, _ = against(protocol=JsonRpc())
    subscription = subscribed(client, peer, "0xa", resume=False)
    put(peer, event("0xa", 1))
    eventually(lambda: len(subscription._inbox) == 1)
    peer = cut(client, peer, raw)
    assert results(subscription, 1) == [1]
    with pytest.raises(wsclient.ConnectionLost):
        subscription.get(LONG)
    client.send({"mark": 1})
    assert taken(peer)["mark"] == 1
    assert has_no_entries(client)


def test_a_connection_lost_during_subscribe_is_followed_by_another_request_with_the_same_deadline(against, raw):
    client, peer, _ = against(protocol=JsonRpc())
    answered, unanswered = subscribing(client), subscribing(client, {**ASK, "params": ["logs"]}, timeout=2)
    taken(peer), taken(peer)
    peer = cut(client, peer, raw)
    for asked in (taken(peer), taken(peer)):
        if asked["params"] == ["newHeads"]:
            put(peer, reply(asked, "0xa"), event("0xa", 1))
    subscription = answered.result(LONG)
    assert results(subscription, 1) == [1]
    with pytest.raises(wsclient.RequestTimeout):
        unanswered.result(LONG)
    client.send({"mark": 1})
    assert taken(peer)["mark"] == 1  # nothing was requested twice


def test_a_message_function_is_called_again_while_subscribe_waits_for_its_first_reply(against, raw):
    client, peer, _ = against(protocol=JsonRpc())
    tokens = iter("abc")
    future = subscribing(client, lambda: {**ASK, "params": [next(tokens)]})
    asked = [taken(peer)]
    for _ in range(2):
        peer = cut(client, peer, raw)
        asked.append(taken(peer))
    assert [one["params"] for one in asked] == [["a"], ["b"], ["c"]]
    put(peer, reply(asked[-1], "0xa"), event("0xa", 1))
    subscription = future.result(LONG)
    assert results(subscription, 1) == [1]
    assert subscription.gaps == 0  # it was not active before
    client.send({"mark": 1})
    assert taken(peer)["mark"] == 1


def test_a_loss_directly_after_the_reply_is_a_gap(against, raw):
    client, peer, _ = against(protocol=JsonRpc())
    future = subscribing(client)
    asked = taken(peer)
    put(peer, reply(asked, "0xa"))
    peer.finish()  # reply and end may be read together
    peer = raw.accept().upgrade()
    put(peer, reply(taken(peer), "0xb"), event("0xb", 1))
    subscription = future.result(LONG)
    assert results(subscription, 1) == [1]
    assert subscription.gaps == 1


def test_subscribe_ends_in_time_between_two_connections(against, raw):
    client, peer, _ = against(protocol=JsonRpc())
    future = subscribing(client, timeout=AMPLE)
    taken(peer)
    peer.reset()
    waiting = raw.accept()  # no answer
    error = future.exception(LONG)
    assert isinstance(error, wsclient.RequestTimeout)
    assert error.phase == "waiting"  # the first server may have received it
    eventually(lambda: has_no_entries(client))
    client.send({"mark": 1})
    waiting.upgrade()
    assert taken(waiting)["mark"] == 1  # the subscription is not requested again


def test_a_resumed_subscription_keeps_the_timeout_of_the_caller(against, raw):
    client, peer, _ = against(protocol=JsonRpc(), request_timeout=SHORT)
    future = subscribing(client, timeout=None)
    taken(peer)
    peer = cut(client, peer, raw)
    asked = taken(peer)
    assert not concurrent.futures.wait([future], 2 * SHORT).done
    put(peer, reply(asked, "0xa"))
    future.result(LONG)


def test_a_reply_that_arrives_at_the_timeout_of_subscribe_counts(against):
    client, _, _ = against(protocol=JsonRpc())
    context = client._wsclient.context
    feed = context.make_subscription(ASK, match=None, unsubscribe=None, resume=True)
    request = feed.make(Deadline.after(0, 0), None)
    context.table.add(request, timed=False)
    context.table.assign_id(request, 1, context.table.new_connection(1))
    feed.id_assigned(request)
    context.table.end(request, "ok")  # the I/O thread has the reply, and has not notified the caller yet
    waiting = start_call(feed.wait)
    assert not concurrent.futures.wait([waiting], SHORT).done
    feed.complete("0xa", None)
    waiting.result(LONG)
    assert (feed.caller.value, feed.caller.error) == ("0xa", None)


def test_a_reply_that_is_not_handled_in_time_is_a_timeout(against, monkeypatch):
    monkeypatch.setattr(_subscribing, "_REPLY_GRACE", 0.0)
    client, _, _ = against(protocol=JsonRpc())
    context = client._wsclient.context
    feed = context.make_subscription(ASK, match=None, unsubscribe=None, resume=True)
    request = feed.make(Deadline.after(0, 0), None)
    context.table.add(request, timed=False)
    context.table.end(request, "ok")  # the I/O thread has the reply, and is busy before it notifies the caller
    start_call(feed.wait).result(LONG)
    assert isinstance(feed.caller.error, wsclient.RequestTimeout)
    assert feed.caller.error.phase == "waiting"


def test_a_subscription_closed_before_it_is_resumed_is_neither_requested_nor_unsubscribed(against, raw):
    """The I/O thread is in the setup of the next connection, after which it would resume the subscription."""
    in_set_up, go_on = threading.Event(), threading.Event()

    def set_up(client, session):
        if session.number > 1:
            in_set_up.set()
            assert go_on.wait(LONG)

    client, peer, _ = against(protocol=Ticks(), on_session=set_up)
    subscription = client.subscribe({"ask": 1})
    taken(peer)
    peer.reset()
    peer = raw.accept().upgrade()
    assert in_set_up.wait(LONG)
    subscription.close()
    with pytest.raises(StopIteration):
        next(subscription)  # at once, although the I/O thread is busy
    go_on.set()
    client.send({"mark": 1})
    assert taken(peer) == {"mark": 1}
    assert has_no_entries(client)


@pytest.mark.parametrize("claimed", [False, True])
def test_a_peer_that_accepts_and_closes_at_once_ends_no_subscription(against, raw, claimed):
    """Its close frame is read before the subscription was requested again."""
    client, peer, _ = against(protocol=JsonRpc())
    if claimed:
        subscription = client.subscribe(ASK, match=lambda message: message.get("method") == "eth_subscription")
        taken(peer)
    else:
        subscription = subscribed(client, peer, "0xa")
    peer.reset()
    closing = raw.accept()
    closing.upgrade(then=frame(8, (1013).to_bytes(2, "big")))
    closing.until_closed()
    closing.close()
    peer = raw.accept().upgrade()
    put(peer, reply(taken(peer), "0xb"), event("0xb", 1))
    assert results(subscription, 1) == [1]


def test_a_match_that_raises_while_subscribe_waits_is_raised_by_subscribe(against):
    client, peer, _ = against(protocol=Fifo(event=lambda message: "tick" in message))
    future = subscribing(client, {"op": "sub"}, match=lambda message: 1 / 0)
    taken(peer)
    put(peer, {"tick": 1})
    assert isinstance(future.exception(LONG), ZeroDivisionError)


@pytest.mark.parametrize("at", ["_attach", "_begin_feed"])
def test_an_interrupt_in_subscribe_leaves_no_subscription(against, monkeypatch, at):
    client, peer, _ = against(protocol=JsonRpc())
    original = getattr(stream_operations, at)

    def interrupted(*arguments, **options):
        original(*arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stream_operations, at, interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.subscribe(ASK, timeout=SHORT)
    eventually(lambda: has_no_entries(client))
    put(peer, event("other", 1))
    with client.listen() as heard:
        put(peer, event("other", 2))
        while heard.get(LONG)["params"]["result"] != 2:
            pass


def test_subscribe_ends_with_the_client_between_two_connections(against, raw):
    client, peer, _ = against(protocol=JsonRpc())
    future = subscribing(client, timeout=None)
    taken(peer)
    peer.reset()
    raw.accept()
    client.close(timeout=0)
    assert isinstance(future.exception(LONG), wsclient.ClientClosed)


def test_subscribe_raises_the_error_that_ends_the_client_between_two_connections(against, raw):
    client, peer, _ = against(protocol=JsonRpc())
    future = subscribing(client, timeout=None)
    taken(peer)
    peer.reset()
    raw.accept().respond("403 Forbidden")
    error = future.exception(LONG)
    assert isinstance(error, wsclient.HandshakeError)
    assert error.status == 403


def test_a_subscription_closed_at_the_moment_it_is_written_is_unsubscribed(against):
    """It was taken from the queue, but is not yet recorded as written: the server will receive it."""
    client, peer, _ = against(protocol=Ticks())
    context = client._wsclient.context
    with context.sender.writer._write_lock:  # no thread can write meanwhile
        stream = client.stream({"ask": 1})
        (call,) = context.queue.take(1000, None)
        payload = call.payload_for(context.sender.writer._backend)
        stream.close()
    context.sender.writer.flush()
    assert payload is not None
    assert taken(peer) == {"stop": call.id, "asked": 1}


class ByName(Ticks):
    """Knows the subscription key when the request is written."""

    def stream_of(self, request, id, reply=None):
        return f"s{id}"


def call_and_close_at(step, call, close):
    """Make a call, and let another thread close just before the given source line; return whether that line exists."""
    lines = itertools.count(1)
    closed = []

    def trace(frame, what, argument):
        if frame.f_code.co_filename not in SHARED:
            return None
        if what == "line" and next(lines) == step:
            closed.append(start_call(close))
            closed[0].result(LONG)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        result = call()
    finally:
        sys.settrace(before)
    return bool(closed), result


SHARED = {module.__file__ for module in (_subscribing, _subscriptions, reply_stream)}
"""The source files in which a close by another thread meets a subscription that gets its key."""


def until_mark(client, peer):
    """The messages that the client sends, after its I/O thread has handled every close() so far."""
    context = client._wsclient.context
    latch = Latch()
    context.subscriptions.events.append((Latch.open, latch))
    context.commands.wake()
    assert latch.wait(Deadline.after(LONG, time.monotonic()))
    client.send({"mark": 1})
    return list(itertools.takewhile(lambda message: "mark" not in message, iter(lambda: taken(peer), None)))


def test_closed_while_it_gets_its_key_from_the_reply_a_subscription_is_unsubscribed_once(against):
    client, peer, _ = against(protocol=JsonRpc())
    context = client._wsclient.context
    for step in itertools.count(1):
        subscribing(client)
        asked = taken(peer)
        (feed,) = context.subscriptions
        request, stream = feed.request, feed._stream()
        more, _ = call_and_close_at(step, partial(context.requests.answer, request, "0xa"), stream.close)
        if not more:
            stream.close()
        sent = until_mark(client, peer)
        assert [message["method"] for message in sent] == ["eth_unsubscribe"], f"at line {step}"
        assert sent[0]["params"] == ["0xa"]
        context.table.drop_position(request)
        put(peer, reply(asked, "0xa"), reply(sent[0], True))
        eventually(lambda: has_no_entries(client))
        if not more:
            break
    assert step > 5


def test_closed_while_it_is_written_a_subscription_leaves_no_key_and_is_unsubscribed_once(against):
    client, peer, _ = against(protocol=ByName())
    context = client._wsclient.context
    for step in itertools.count(1):
        with context.sender.writer._write_lock:  # no thread can write meanwhile
            stream = client.subscribe({"ask": step})
            assert len(list(context.subscriptions)) == 1
            (call,) = context.queue.take(1000, None)
            assign_id = partial(call.payload_for, context.sender.writer._backend)
            more, _ = call_and_close_at(step, assign_id, stream.close)
            if not more:
                stream.close()
        context.sender.writer.flush()
        sent = until_mark(client, peer)
        assert sent == [{"stop": call.id, "asked": step}], f"at line {step}"
        for value in (1, 2):
            put(peer, {"id": call.id, "v": value, "more": True})
        assert until_mark(client, peer) == [], "unsubscribed again for each message"
        assert has_no_entries(client), f"at line {step}"
        if not more:
            break
    assert step > 2


class RefusesSome(ByName):
    """One of the requests has a key that is not hashable, so it can't be written."""

    def stream_of(self, request, id, reply=None):
        return [] if request["ask"] == "refused" else super().stream_of(request, id, reply)


def test_closed_while_another_is_requested_again_a_subscription_is_unsubscribed(against, raw):
    client, peer, _ = against(protocol=RefusesSome())
    first = client.subscribe({"ask": 1})
    messages = iter([{"ask": 2}, {"ask": "refused"}])

    def ask():
        message = next(messages)
        if message["ask"] == "refused":
            first.close()
        return message

    second = client.subscribe(ask)
    assert [taken(peer)["ask"] for _ in range(2)] == [1, 2]
    peer = cut(client, peer, raw)
    again = taken(peer)
    assert again["ask"] == 1
    assert taken(peer) == {"stop": again["id"], "asked": 1}
    with pytest.raises(TypeError, match="unhashable"):
        second.get(LONG)
    assert has_no_entries(client)


@pytest.mark.parametrize("named", [False, True])
def test_a_subscription_made_offline_is_requested_once(against, raw, named):
    client, peer, _ = against(protocol=JsonRpc() if named else many())
    peer.reset()
    eventually(lambda: client.state is not State.OPEN)
    future = subscribing(client)
    peer = raw.accept()
    eventually(lambda: client.stats.queue_depth == 1)
    peer.upgrade()
    asked = taken(peer)
    put(peer, *((reply(asked, "0xa"), event("0xa", 1)) if named else ({"id": asked["id"], "v": 1, "more": True},)))
    assert (results(future.result(LONG), 1)[0] if named else future.result(LONG).get(LONG)) == 1
    client.send({"mark": 1})
    assert taken(peer)["mark"] == 1


def test_closing_while_a_resumed_subscription_waits_for_its_reply_does_not_unsubscribe_the_old_name(against, raw):
    client, peer, _ = against(protocol=JsonRpc())
    subscription = subscribed(client, peer, "0xold")
    peer = cut(client, peer, raw)
    asked = taken(peer)
    eventually(lambda: client.state is State.OPEN)
    subscription.close()
    put(peer, reply(asked, "0xnew"))
    got = taken(peer)
    assert (got["method"], got["params"]) == ("eth_unsubscribe", ["0xnew"])  # as soon as its name is known


def test_a_subscription_closed_offline_is_not_resumed(against, raw):
    client, peer, _ = against(protocol=JsonRpc())
    subscription, other = subscribed(client, peer, "0xa"), subscribed(client, peer, "0xb", {**ASK, "params": ["logs"]})
    peer.reset()
    eventually(lambda: client.state is not State.OPEN)
    subscription.close()
    peer = raw.accept().upgrade()
    asked = taken(peer)
    assert asked["params"] == ["logs"]
    put(peer, reply(asked, "0xb2"), event("0xb2", 1))
    assert results(other, 1) == [1]


def test_an_on_gap_that_raises_keeps_the_message_and_close_drops_it(against, raw):
    def on_gap(subscription):
        raise RuntimeError("no back-fill today")

    client, peer, _ = against(protocol=JsonRpc())
    subscription = subscribed(client, peer, "0x1", on_gap=on_gap)
    for name in ("0x2", "0x3"):
        peer = cut(client, peer, raw)
        put(peer, reply(taken(peer), name), event(name, name))
        with pytest.raises(RuntimeError):
            subscription.get(LONG)
        if name == "0x2":
            assert results(subscription, 1) == ["0x2"]
    subscription.close()
    assert list(subscription) == []


def test_on_gap_can_request_the_missed_messages(against, raw):
    missed = []
    client, peer, _ = against(protocol=JsonRpc())
    subscription = subscribed(
        client, peer, "0x1", on_gap=lambda one: missed.append(client.call("eth_getLogs", timeout=LONG))
    )
    peer = cut(client, peer, raw)
    put(peer, reply(taken(peer), "0x2"), event("0x2", 1))
    got = start_call(lambda: results(subscription, 1))
    put(peer, reply(taken(peer), "the logs"))
    assert got.result(LONG) == [1]
    assert missed == ["the logs"]


# --- subscribe() inside hooks ----------------------------------------------------------------------------------------


def test_a_subscription_made_in_on_open_belongs_only_to_its_connection(against, raw):
    made = []
    client, peer, _ = against(
        protocol=JsonRpc(), on_open=lambda client: made.append(client.subscribe(ASK, timeout=LONG))
    )
    for number in (1, 2, 3):
        put(peer, reply(taken(peer), f"0x{number}"), event(f"0x{number}", number))
        eventually(lambda number=number: len(made) == number)
        assert results(made[-1], 1) == [number]
        if number < 3:
            peer = cut(client, peer, raw)
    for subscription in made[:2]:
        with pytest.raises(wsclient.ConnectionLost):
            subscription.get(LONG)
    client.send({"mark": 1})
    assert taken(peer)["mark"] == 1


def test_resume_in_on_open_is_refused_since_it_would_subscribe_twice(against):
    raised = []

    def on_open(client):
        with pytest.raises(ValueError, match="resume=True"):
            client.subscribe(ASK, resume=True)
        raised.append(True)

    client, peer, _ = against(protocol=JsonRpc(), on_open=on_open)
    eventually(lambda: raised)
    client.send({"mark": 1})
    assert taken(peer)["mark"] == 1


# --- many at the same time -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_eight_threads_subscribe_and_close_while_events_arrive(against):
    client, peer, _ = against(protocol=JsonRpc())
    rounds, errors = 50, []

    def serve():
        unsubscribed = 0
        while unsubscribed < 8 * rounds:
            asked = taken(peer)
            if asked["method"] == "eth_subscribe":
                name = f"0x{asked['id']}"
                put(peer, event(name, 0), reply(asked, name), *(event(name, n) for n in range(1, 4)))
            else:
                unsubscribed += 1
                put(peer, event(asked["params"][0], "late"), reply(asked, True))

    def use():
        for _ in range(rounds):
            with client.subscribe(ASK, timeout=LONG) as subscription:
                if results(subscription, 4) != [0, 1, 2, 3]:
                    errors.append(subscription.reply)

    server = start_call(serve)
    users = [start_call(use) for _ in range(8)]
    for user in users:
        user.result(4 * LONG)
    server.result(LONG)
    assert errors == []
    eventually(lambda: has_no_entries(client))


# --- with a limit of requests in flight ------------------------------------------------------------------------------


class OneAtATime(ByName):
    max_in_flight = 1


@pytest.mark.parametrize("way", ["match", "name", "items"])
def test_a_subscription_that_is_never_answered_leaves_room_for_requests(against, raw, way):
    """Its request may stay in flight forever, also on the next connection."""
    protocol = OneAtATime() if way == "name" else many()
    protocol.max_in_flight = 1
    client, peer, _ = against(protocol=protocol)
    asking = subscribing(client, {"ask": 1}, match=(lambda message: "tick" in message) if way == "match" else None)
    for _ in range(2):
        asked = taken(peer)
        if way == "items":
            put(peer, {"id": asked["id"], "v": "item", "more": True})
        subscription = asking.result(LONG)
        for _ in range(2):
            future = client.submit({"ask": "more"}, timeout=LONG)
            put(peer, {"id": taken(peer)["id"], "v": "answer"})
            assert future.result(LONG) == "answer"
        first, second = client.submit({"ask": 2}, timeout=LONG), client.submit({"ask": 3}, timeout=LONG)
        asked = taken(peer)
        assert asked["ask"] == 2
        assert client._wsclient.context.table.in_flight == 1
        assert client.stats.queue_depth == 1, "the limit applies to requests too"
        put(peer, {"id": asked["id"], "v": 2})
        put(peer, {"id": taken(peer)["id"], "v": 3})
        assert [first.result(LONG), second.result(LONG)] == [2, 3]
        peer = cut(client, peer, raw)
    subscription.close()


def test_in_fifo_order_a_subscription_without_a_reply_ends_at_its_deadline_and_closes_the_connection(against, raw):
    """Its reply is expected even with match=, since it may still arrive: no other request may get its position."""
    client, peer, _ = against(protocol=Fifo(event=lambda message: "tick" in message, max_in_flight=1))
    future = subscribing(client, {"op": "sub"}, match=lambda message: "tick" in message, timeout=AMPLE)
    assert taken(peer) == {"op": "sub"}
    waiting = client.submit({"op": "next"}, timeout=LONG)
    assert isinstance(future.exception(LONG), wsclient.RequestTimeout)
    peer = raw.accept().upgrade()
    assert taken(peer) == {"op": "next"}
    put(peer, {"ok": 1})
    assert waiting.result(LONG) == {"ok": 1}
    assert has_no_entries(client)


# --- closed on one thread, unsubscribed on the I/O thread ------------------------------------------------------------


def by_op(message):
    return message.get("tick") == 1


def test_a_subscription_made_after_another_was_closed_is_requested_after_the_unsubscribe(against):
    """Otherwise a server that identifies them by topic would apply the unsubscribe to the new one."""
    entered, go_on = threading.Event(), threading.Event()

    def claim(message):
        entered.set()
        assert go_on.wait(LONG)

    client, peer, _ = against()
    subscription = client.subscribe({"op": "sub"}, match=claim, unsubscribe={"op": "unsub"})
    assert taken(peer)["op"] == "sub"
    put(peer, {"tick": 1})
    assert entered.wait(LONG)  # the I/O thread is busy
    subscription.close()
    future = subscribing(client, {"op": "sub"}, match=by_op)
    assert not concurrent.futures.wait([future], SHORT).done
    go_on.set()
    future.result(LONG)
    assert [taken(peer)["op"] for _ in range(2)] == ["unsub", "sub"]


def test_subscribe_ends_in_time_after_a_close_that_a_busy_io_thread_has_not_handled(against):
    entered, go_on = threading.Event(), threading.Event()

    def claim(message):
        entered.set()
        assert go_on.wait(LONG)

    client, peer, _ = against()
    subscription = client.subscribe({"op": "sub"}, match=claim)
    taken(peer)
    put(peer, {"tick": 1})
    assert entered.wait(LONG)
    subscription.close()
    with pytest.raises(wsclient.RequestTimeout) as caught:
        client.subscribe({"op": "sub"}, match=by_op, timeout=SHORT)
    assert caught.value.phase == "queued"
    go_on.set()
    assert until_mark(client, peer) == []


def test_a_subscription_closed_directly_before_its_client_is_unsubscribed(against):
    client, peer, _ = against()
    subscription = client.subscribe({"op": "sub"}, match=by_op, unsubscribe={"op": "unsub"})
    taken(peer)
    subscription.close()
    start_call(client.close)
    assert taken(peer) == {"op": "unsub"}


@pytest.mark.parametrize("how", ["drain", "full"])
def test_a_subscription_closed_while_nothing_can_be_queued_is_unsubscribed(against, how):
    client, peer, _ = against(send_queue=wsclient.SendQueue(max_messages=1, overflow="raise"))
    subscription = client.subscribe({"op": "sub"}, match=by_op, unsubscribe={"op": "unsub"})
    taken(peer)
    waiting = client.submit({"op": "never answered"}, timeout=None)
    taken(peer)
    if how == "drain":
        client.drain(LONG, wait=False)
        subscription.close()
    else:
        with client._wsclient.context.sender.writer._write_lock:  # no thread can write meanwhile
            client.send({"op": "fills the queue"})
            subscription.close()
            eventually(lambda: has_no_traces(client, subscription))
        client._wsclient.context.commands.wake()
    assert taken(peer) == {"op": "unsub"}
    waiting.cancel()


def has_no_traces(client, subscription):
    return subscription._inbox.ended and not client._wsclient.context.subscriptions.members


def test_an_unsubscribe_function_that_never_returns_does_not_block_close(against):
    """It runs on the I/O thread, and close() is bounded in any case."""
    entered, go_on = threading.Event(), threading.Event()

    def unsubscribe(message, reply):
        entered.set()
        assert go_on.wait(LONG)

    client, peer, _ = against(protocol=JsonRpc())
    subscription = subscribed(client, peer, "0xa", unsubscribe=unsubscribe)
    other = subscribing(client, timeout=None)
    taken(peer)
    subscription.close()
    assert entered.wait(LONG)
    closing = start_call(partial(client.close, timeout=SHORT))
    closing.result(LONG)
    assert isinstance(other.exception(LONG), wsclient.ClientClosed)
    with pytest.raises(wsclient.ClientClosed):
        client.subscribe(ASK)
    go_on.set()


def test_the_timeout_of_subscribe_does_not_wait_for_a_busy_io_thread(against):
    entered, go_on = threading.Event(), threading.Event()

    def claim(message):
        entered.set()
        assert go_on.wait(LONG)

    client, peer, _ = against(protocol=JsonRpc())
    client.subscribe(ASK, match=claim)
    taken(peer)
    future = subscribing(client, timeout=AMPLE)
    taken(peer)
    put(peer, {"tick": 1})
    assert entered.wait(LONG)
    try:
        assert isinstance(future.exception(LONG), wsclient.RequestTimeout)
        assert not go_on.is_set()
    finally:
        go_on.set()
