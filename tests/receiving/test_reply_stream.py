"""``stream()`` through the public API, against a peer that sends exactly what the test specifies."""

import concurrent.futures
import gc
import time
import weakref

import pytest

import wsclient
from wsclient import Fifo, GraphQLTransportWs, JsonId, JsonRpc, State
from wsclient._receiving.reply_stream import ReplyFeed
from wsclient._sending.message import WriteProgress
from wsclient._threads.waiting import Deadline

from ..support import AMPLE, LONG, SHORT, eventually
from ..support.peers import Ticks, await_processed, has_no_entries, many, put, start_call, subscribed, taken
from ..support.threads import on_thread

# --- stream(): the items ---------------------------------------------------------------------------------------------


def test_a_stream_returns_every_item_in_order_and_ends_with_the_final_reply(against):
    client, peer, seen = against(protocol=many())
    stream = client.stream({"ask": 1})
    id = taken(peer)["id"]
    put(peer, *({"id": id, "v": n, "more": n < 5} for n in range(1, 6)))
    assert list(stream) == [1, 2, 3, 4, 5]
    assert seen == []
    assert client.stats.requests_ok == 1
    assert client.stats.requests_late == 0
    assert has_no_entries(client)


class Operations(GraphQLTransportWs):
    """Without its handshake, which has its own tests."""

    subprotocols = ()

    def on_session(self, session):
        pass


def test_a_stream_that_reaches_its_end_sends_no_unsubscribe(against):
    client, peer, _ = against(protocol=Operations())
    stream = client.stream({"query": "{ n }"})
    id = taken(peer)["id"]
    put(peer, *({"id": id, "type": "next", "payload": {"data": n}} for n in range(3)), {"id": id, "type": "complete"})
    assert list(stream) == [{"data": 0}, {"data": 1}, {"data": 2}]
    stream.close()
    client.send({"type": "mark"})
    assert taken(peer) == {"type": "mark"}


def test_until_ends_a_stream_with_the_item_it_accepts(against):
    client, peer, _ = against(protocol=many())
    stream = client.stream({"ask": 1}, until=lambda value: value == "last")
    id = taken(peer)["id"]
    put(peer, *({"id": id, "v": v, "more": True} for v in ("a", "last", "late")))
    assert list(stream) == ["a", "last"]
    eventually(lambda: client.stats.requests_late == 1)


@pytest.mark.parametrize("verdict", [True, False])
def test_until_overrides_the_decision_of_the_protocol_about_the_last_item(against, verdict):
    client, peer, _ = against(protocol=JsonId(result="v", final=lambda request, value: verdict))
    stream = client.stream({"ask": 1}, until=lambda value: value == "last")
    id = taken(peer)["id"]
    put(peer, {"id": id, "v": "first"}, {"id": id, "v": "last"})
    assert list(stream) == ["first", "last"]


def test_until_that_raises_ends_the_stream_with_that_error(against):
    client, peer, _ = against(protocol=many())
    stream = client.stream({"ask": 1}, until=lambda value: 1 / value)
    id = taken(peer)["id"]
    put(peer, {"id": id, "v": 0, "more": True})
    with pytest.raises(ZeroDivisionError):
        next(stream)
    assert has_no_entries(client)


def test_in_fifo_order_until_that_raises_blocks_no_later_request(against, raw):
    client, peer, _ = against(protocol=Fifo())
    stream = client.stream("a", until=lambda value: 1 / 0)
    later = client.submit("b", timeout=LONG, idempotent=True)
    assert [peer.receive_text(), peer.receive_text()] == ["a", "b"]
    peer.send_text("A")
    with pytest.raises(ZeroDivisionError):
        stream.get(LONG)
    peer = raw.accept(timeout=3).upgrade()  # as for request(): the owner of the next reply is unknown
    assert peer.receive_text() == "b"
    peer.send_text("B")
    assert later.result(LONG) == "B"


def test_a_failure_is_raised_after_the_items_that_came_before_it(against):
    client, peer, _ = against(protocol=many())
    stream = client.stream({"ask": 1})
    id = taken(peer)["id"]
    put(peer, {"id": id, "v": 1, "more": True}, {"id": id, "error": {"code": 7, "message": "enough"}})
    assert next(stream) == 1
    for _ in range(2):
        with pytest.raises(wsclient.RemoteError, match="enough") as caught:
            next(stream)
        assert caught.value.code == 7


def test_a_lost_connection_ends_a_stream_after_the_items_it_has(against, raw):
    client, peer, _ = against(protocol=many())
    stream = client.stream({"ask": 1}, timeout=None)
    put(peer, {"id": taken(peer)["id"], "v": 1, "more": True})
    assert stream.get(LONG) == 1
    peer.send_frame(8, b"\x03\xe9")  # a close frame; the socket stays open
    with pytest.raises(wsclient.ConnectionLost) as caught:
        stream.get(LONG)
    assert caught.value.sent is True
    peer.close()
    raw.accept().upgrade()


def test_the_timeout_of_a_stream_applies_to_its_first_item(against):
    client, peer, _ = against(protocol=many())
    answered, silent = (client.stream({"ask": n}, timeout=AMPLE) for n in range(2))
    id, _ = (taken(peer)["id"] for _ in range(2))
    put(peer, {"id": id, "v": 1, "more": True})
    assert answered.get(LONG) == 1
    with pytest.raises(wsclient.RequestTimeout) as caught:
        silent.get(LONG)
    assert caught.value.phase == "waiting"
    with pytest.raises(TimeoutError, match="No message"):
        answered.get(SHORT)
    put(peer, {"id": id, "v": 2, "more": False})
    assert list(answered) == [2]


def test_closing_a_stream_early_notifies_the_server_and_later_items_are_late_replies(against):
    client, peer, seen = against(protocol=Ticks())
    message = {"ask": ["x"]}
    with client.stream(message) as stream:
        message["ask"].append("changed afterwards")
        id = taken(peer)["id"]
        put(peer, {"id": id, "v": 1, "more": True})
        assert next(stream) == 1
    assert taken(peer) == {"stop": id, "asked": ["x"]}
    put(peer, {"id": id, "v": 2, "more": True})
    eventually(lambda: seen == [{"id": id, "v": 2, "more": True}])
    assert client.stats.requests_late == 1
    assert list(stream) == []
    assert has_no_entries(client)


def test_a_stream_closed_before_it_was_sent_is_never_sent(against):
    client, peer, _ = against(protocol=Ticks())
    with client._wsclient.context.sender.writer._write_lock:  # no thread can write meanwhile
        client.stream({"ask": 1}).close()
    client.send("mark")
    assert peer.receive_text() == "mark"


def test_a_garbage_collected_stream_notifies_the_server_at_its_next_item(against):
    client, peer, _ = against(protocol=Ticks())
    stream = client.stream({"ask": 1})
    id = taken(peer)["id"]
    put(peer, {"id": id, "v": 1, "more": True})
    assert stream.get(LONG) == 1
    gone = weakref.ref(stream)
    del stream
    gc.collect()
    assert gone() is None
    put(peer, {"id": id, "v": 2, "more": True})
    assert taken(peer) == {"stop": id, "asked": 1}
    eventually(lambda: has_no_entries(client))


def test_a_stream_read_too_slowly_ends_with_slow_consumer_and_notifies_the_server(against):
    client, peer, _ = against(protocol=Ticks())
    stream = client.stream({"ask": 1}, maxsize=2, overflow="raise")
    id = taken(peer)["id"]
    put(peer, *({"id": id, "v": n, "more": True} for n in range(4)))
    assert taken(peer) == {"stop": id, "asked": 1}
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(wsclient.SlowConsumer):
        next(stream)


@pytest.mark.parametrize(
    ("overflow", "kept"), [("drop_oldest", [3, 4]), ("drop_newest", [1, 2]), ("latest", [4]), ("block", [1, 2, 3, 4])]
)
def test_the_overflow_policies_apply_to_streams(against, overflow, kept):
    client, peer, _ = against(protocol=many())
    stream = client.stream({"ask": 1}, maxsize=2, overflow=overflow)
    id = taken(peer)["id"]
    put(peer, *({"id": id, "v": n, "more": n < 4} for n in range(1, 5)))
    eventually(lambda: client.stats.messages_received == 4)
    eventually(lambda: has_no_entries(client))
    assert list(stream) == kept
    assert stream.dropped == 4 - len(kept) == client.stats.dropped


def test_a_full_stream_pauses_reading_until_it_is_read(against):
    client, peer, seen = against(protocol=many())
    stream = client.stream({"ask": 1}, maxsize=1)
    id = taken(peer)["id"]
    put(peer, {"id": id, "v": 1, "more": True})
    eventually(lambda: client._wsclient.context.facts.paused)
    put(peer, {"news": 1})
    with pytest.raises(AssertionError):
        eventually(lambda: seen, SHORT)
    assert stream.get(LONG) == 1
    eventually(lambda: seen == [{"news": 1}])


def test_closing_the_client_ends_streams_and_subscriptions_without_an_error(against):
    client, peer, _ = against(protocol=many())
    stream, subscription = client.stream({"ask": 1}), client.subscribe({"ask": 2})
    ids = [taken(peer)["id"], taken(peer)["id"]]
    put(peer, *({"id": id, "v": id, "more": True} for id in ids))
    await_processed(peer)
    rest = [start_call(lambda one=one: list(one)) for one in (stream, subscription)]
    client.close(timeout=0)
    assert [future.result(LONG) for future in rest] == [[ids[0]], [ids[1]]]
    for one in (stream, subscription):
        with pytest.raises(wsclient.ClientClosed):
            one.get(0)
    assert has_no_entries(client)


def test_a_client_that_fails_raises_from_streams_and_subscriptions(against):
    client, peer, _ = against(protocol=JsonRpc())
    subscription, stream = subscribed(client, peer, "0xa"), client.stream({"method": "ask"})
    taken(peer)
    peer.send_frame(8, b"\x03\xf0")  # 1008, which is fatal
    assert client.wait_until(State.FAILED, LONG)
    for one in (subscription, stream):
        with pytest.raises(wsclient.ConnectionLost):
            next(one)


def test_a_drain_waits_for_a_stream_and_not_for_subscriptions(against):
    client, peer, _ = against(protocol=many())
    stream, subscription = client.stream({"ask": 1}), client.subscribe({"ask": 2})
    id = taken(peer)["id"]
    put(peer, {"id": id, "v": 1, "more": True})
    assert stream.get(LONG) == 1
    drained = start_call(lambda: client.drain(LONG))
    with pytest.raises(concurrent.futures.TimeoutError):
        drained.result(SHORT)
    put(peer, {"id": id, "v": 2})
    assert taken(peer)["ask"] == 2
    assert peer.receive_frame()[0] == 8
    peer.send_frame(8, b"\x03\xe8")
    peer.close()
    assert drained.result(LONG) is True
    assert list(stream) == [2]
    assert list(subscription) == []


@pytest.mark.parametrize("call", ["stream", "subscribe"])
def test_stream_and_subscribe_are_refused_before_the_start_and_after_the_end(against, call):
    with pytest.raises(wsclient.ClientClosed, match="start"):
        getattr(wsclient.Client("ws://127.0.0.1:9/"), call)({"ask": 1})
    client, _, _ = against()
    client.close(timeout=0)
    with pytest.raises(wsclient.ClientClosed):
        getattr(client, call)({"ask": 1})


def test_subscribe_on_the_io_thread_is_refused_since_it_would_deadlock(against):
    caught = []

    def match(message):
        with pytest.raises(wsclient.WouldDeadlock) as raised:
            client.subscribe({"ask": 1})
        caught.append(raised.value)
        return True

    client, peer, _ = against()
    stream = client.listen(match)
    put(peer, {"news": 1})
    assert stream.get(LONG) == {"news": 1}
    assert len(caught) == 1


class StopsByRequest(JsonId):
    """An unsubscribe is a request."""

    def __init__(self):
        super().__init__(item=lambda message: message.get("more", False), result="v")

    def unsubscribe(self, request, id, reply):
        return wsclient.protocols.Request({"stop": id})


def test_an_unsubscribe_request_without_a_reply_times_out(against):
    client, peer, _ = against(protocol=StopsByRequest(), request_timeout=AMPLE)
    stream = client.stream({"ask": 1}, timeout=None)
    id = taken(peer)["id"]
    on_thread(stream.close)
    assert taken(peer)["stop"] == id
    eventually(lambda: client.stats.requests_timed_out == 1)
    assert has_no_entries(client)


def test_without_an_unsubscribe_message_the_end_of_a_stream_sends_nothing(against):
    client, peer, _ = against(protocol=many())
    stream = client.stream({"ask": 1})
    taken(peer)
    stream.close()
    client.send({"mark": 1})
    assert taken(peer) == {"mark": 1}


def test_an_unsubscribe_that_raises_is_logged_and_the_stream_is_closed(against, caplog):
    class Broken(Ticks):
        def unsubscribe(self, request, id, reply):
            raise LookupError("no such thing")

    client, peer, _ = against(protocol=Broken())
    stream = client.stream({"ask": 1})
    taken(peer)
    stream.close()
    eventually(lambda: "an unsubscribe message could not be made" in caplog.text)
    assert "LookupError: no such thing" in caplog.text
    assert has_no_entries(client)


@pytest.mark.parametrize("ended", ["connection", "client"])
def test_after_the_end_of_its_connection_or_client_a_stream_is_not_unsubscribed(ended, caplog):
    """The thread that closes the stream has cancelled its request before it could be ended with the connection."""
    caplog.set_level("DEBUG")
    asked = []

    class Counting(Ticks):
        def unsubscribe(self, request, id, reply):
            asked.append(id)
            return super().unsubscribe(request, id, reply)

    client = wsclient.Client("ws://localhost/", protocol=Counting())
    context = client._wsclient.context
    request = context.requests.make({"ask": 1}, Deadline(None))
    context.table.add(request, timed=False)
    written, progress = context.table.new_connection(1), WriteProgress(1)
    assert context.table.assign_id(request, 1, written)
    request.put_on(progress, 0)
    feed = ReplyFeed(
        context.streams, context.protocol, context.requests, context.sender, context.log, context.subscriptions.post
    )
    feed.request = request
    request.message = {"ask": 1}
    if ended == "connection":
        progress.ended = True
    else:
        context.queue.seal(wsclient.ClientClosed("It is closed."))
    feed.reader_closed(None)
    context.log.finish(Deadline(time.monotonic() + LONG))  # the records that were queued are handled
    assert context.queue.messages == 0
    assert asked == ([1] if ended == "client" else [])
    assert ("an unsubscribe message was not sent: It is closed." in caplog.text) == (ended == "client")
    client.close()
