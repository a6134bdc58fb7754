"""The public calls with a real server: send, request, submit, request_many, reconnect, stats."""

import concurrent.futures
import contextlib
import gc
import json
import math
import threading
import time
import weakref

import pytest

import wsclient
from wsclient import State
from wsclient._threads.waiting import Deadline, Waiter

from ..support import AMPLE, LONG, SHORT, Server, eventually
from ..support.peers import cut, open_against, open_pair, start_call


@pytest.fixture
def client(server):
    with wsclient.connect(server.url) as client:
        yield client


# --- request ---------------------------------------------------------------------------------------------------------


def test_a_request_returns_the_reply_with_its_id(client):
    assert client.request({"method": "add", "params": [1, 2]}, timeout=LONG) == {"id": 1, "result": 3}


def test_the_callers_message_is_neither_changed_nor_referenced(client, server):
    message = {"method": "echo", "params": [1]}
    future = client.submit(message)
    message["params"].append(2)
    assert future.result(LONG)["result"] == [1]
    assert message == {"method": "echo", "params": [1, 2]}


def test_requests_from_many_threads_get_their_own_replies(client):
    def ask(n):
        return [client.request({"method": "echo", "params": [n, i]}, timeout=LONG)["result"] for i in range(50)]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for n, replies in enumerate(pool.map(ask, range(16))):
            assert replies == [[n, i] for i in range(50)]


def test_ids_increase_on_the_connection_with_requests_from_all_threads(server):
    with wsclient.connect(server.url) as client, concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: client.request({"method": "echo", "params": n}, timeout=LONG), range(400)))
    ids = [json.loads(message)["id"] for message in server.received]
    assert ids == sorted(set(ids))


def test_an_id_of_the_caller_is_kept_and_later_ids_are_greater(client, server):
    assert client.request({"id": 70, "method": "echo", "params": 1}, timeout=LONG)["id"] == 70
    assert client.request({"id": "seven", "method": "echo", "params": 1}, timeout=LONG)["id"] == "seven"
    assert client.request({"method": "echo", "params": 1}, timeout=LONG)["id"] == 71


def test_an_id_that_is_in_flight_is_refused_and_nothing_is_sent(client, server):
    first = client.submit({"id": 5, "method": "silence"})
    server.wait_for(1)
    with pytest.raises(ValueError, match="5"):
        client.request({"id": 5, "method": "silence"}, timeout=LONG)
    first.cancel()
    assert client.request({"id": 5, "method": "echo", "params": 1}, timeout=LONG)["result"] == 1
    assert len(server.received) == 2


def test_a_message_with_the_id_of_a_request_in_flight_is_refused(raw):
    """The server may answer it, and the answer would be matched to the request."""
    client, peer, _ = open_against(raw)
    future = client.submit({"id": 7, "method": "slow"})
    auto = client.submit({"method": "slow"})
    own, given = (json.loads(peer.receive_text())["id"] for _ in range(2))
    for id in (own, given, float(own)):
        with pytest.raises(ValueError, match="in flight already"):
            client.send({"id": id, "method": "other"})
    client.send({"id": str(own), "method": "other"})  # another id
    client.send({"id": own, "result": 1})  # an answer to a call of the server, which has its own ids
    assert [json.loads(peer.receive_text())["id"] for _ in range(2)] == ["7", 7]
    for id in (own, given):
        peer.send_text(json.dumps({"id": id, "result": 1}))
    assert [future.result(LONG)["id"], auto.result(LONG)["id"]] == [own, given]
    client.send({"id": 7, "method": "other"})
    assert json.loads(peer.receive_text())["id"] == 7
    client.close(timeout=0)


def test_no_request_gets_the_id_of_a_message_that_was_sent(raw):
    client, peer, seen = open_against(raw)
    client.send({"id": 3, "method": "mine"})
    futures = [client.submit({"method": "ours"}) for _ in range(3)]
    mine, *ours = (json.loads(peer.receive_text())["id"] for _ in range(4))
    assert (mine, ours) == (3, [4, 5, 6])
    peer.send_text(json.dumps({"id": mine, "result": "to no request"}))
    eventually(lambda: [message["id"] for message in seen] == [3])
    assert not any(future.done() for future in futures)
    client.close(timeout=0)


def test_a_message_with_the_id_of_a_queued_request_is_refused(raw):
    client, peer, _ = open_against(raw)
    peer.reset()
    raw.accept()
    eventually(lambda: client.state is not State.OPEN)
    client.submit({"id": 9, "method": "slow"})
    with pytest.raises(ValueError, match="in flight already"):
        client.send({"id": 9, "method": "other"})
    assert client.stats.queue_depth == 1
    client.close(timeout=0)


def test_a_request_queued_before_a_message_does_not_get_its_id(raw):
    client, peer, _ = open_against(raw)
    peer.reset()
    waiting = raw.accept()
    client.submit({"method": "queued"})
    client.send({"id": 1, "method": "mine"})
    waiting.upgrade()
    assert [json.loads(waiting.receive_text())["id"] for _ in range(2)] == [2, 1]
    client.close(timeout=0)


def test_a_request_without_a_reply_times_out_and_reports_that_it_was_sent(client, server):
    with pytest.raises(wsclient.RequestTimeout) as caught:
        client.request({"method": "silence"}, timeout=AMPLE)
    assert caught.value.phase == "waiting"
    assert isinstance(caught.value, TimeoutError)
    assert client.stats.requests_timed_out == 1


def test_a_late_reply_goes_to_on_message_and_is_counted():
    answer = threading.Event()

    def handler(connection, message):
        call = json.loads(message)
        if call["method"] == "slow":
            assert answer.wait(LONG)
        connection.send(json.dumps({"id": call["id"], "result": call["method"]}))

    seen = []
    with (
        Server(handler) as server,
        wsclient.connect(server.url, on_message=lambda _, message: seen.append(message)) as client,
    ):
        with pytest.raises(wsclient.RequestTimeout):
            client.request({"method": "slow"}, timeout=AMPLE)
        answer.set()
        assert client.request({"method": "quick"}, timeout=LONG)["result"] == "quick"
        eventually(lambda: seen == [{"id": 1, "result": "slow"}])
        assert client.stats.requests_late == 1


def test_match_returns_the_first_message_it_accepts_and_adds_no_id(client, server):
    reply = client.request(
        {"method": "event", "params": "ready"}, match=lambda m: m.get("event") == "ready", timeout=LONG
    )
    assert reply == {"event": "ready"}
    assert json.loads(server.received[0]) == {"method": "event", "params": "ready"}


def test_match_works_for_text_messages(client):
    assert client.request("hello", match=lambda m: m == "hello", timeout=LONG) == "hello"


def test_a_text_request_needs_match(client, server):
    with pytest.raises(TypeError, match="match="):
        client.request("hello", timeout=LONG)
    assert server.received == []


def test_until_skips_an_acknowledgement():
    def handler(connection, message):
        call = json.loads(message)
        connection.send(json.dumps({"id": call["id"], "ack": True}))
        connection.send(json.dumps({"id": call["id"], "result": 9}))

    with Server(handler) as server, wsclient.connect(server.url) as client:
        assert client.request({"method": "x"}, until=lambda r: "result" in r, timeout=LONG)["result"] == 9
        assert client.stats.requests_late == 0


@pytest.mark.parametrize("option", ["match", "until"])
def test_an_error_in_a_function_of_the_caller_ends_only_its_request(client, option):
    def broken(message):
        raise LookupError("no such thing")

    with pytest.raises(LookupError, match="no such thing"):
        client.request({"method": "echo", "params": 1}, timeout=LONG, **{option: broken})
    assert client.request({"method": "echo", "params": 2}, timeout=LONG)["result"] == 2


def test_a_request_before_start_or_after_close_raises(server):
    client = wsclient.Client(server.url)
    with pytest.raises(wsclient.ClientClosed, match="start"):
        client.request({"method": "echo"}, timeout=LONG)
    client.start()
    client.close()
    with pytest.raises(wsclient.ClientClosed, match="closed"):
        client.request({"method": "echo"}, timeout=LONG)


# --- invalid input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [{"x": math.nan}, {"x": {1, 2}}, {"x": "\ud800"}, "\ud800"])
def test_a_message_that_cannot_be_encoded_is_refused_and_nothing_is_queued(client, server, message):
    with pytest.raises((TypeError, ValueError)):
        client.send(message)
    if isinstance(message, dict):
        with pytest.raises((TypeError, ValueError)):
            client.request(message, timeout=LONG)
    assert client.stats.queue_depth == 0
    client.flush(LONG)
    assert server.received == []


@pytest.mark.parametrize(
    ("timeout", "error"),
    [
        (-1, ValueError), (-0.5, ValueError), (math.nan, ValueError), (math.inf, ValueError),
        ("5", TypeError), (True, TypeError),
    ],
)  # fmt: skip
def test_an_invalid_timeout_is_refused_and_nothing_is_sent(client, server, timeout, error):
    for call in (client.request, client.submit):
        with pytest.raises(error, match="timeout"):
            call({"method": "echo"}, timeout=timeout)
    with pytest.raises(error, match="timeout"):
        client.request_many([{"method": "echo"}], timeout=timeout)
    with pytest.raises(error, match="timeout"):
        client.flush(timeout)
    client.flush(LONG)
    assert server.received == []


def test_request_timeout_is_the_default_timeout(server):
    with wsclient.connect(server.url, request_timeout=SHORT) as client:
        requested = start_call(lambda: client.request({"method": "silence"}))
        for future in (requested, client.submit({"method": "silence"})):
            assert isinstance(future.exception(LONG), wsclient.RequestTimeout)
        own = client.submit({"method": "silence"}, timeout=LONG)
        with pytest.raises(wsclient.RequestTimeout):
            client.request({"method": "silence"}, timeout=0)
        assert not own.done()
        assert own.cancel()


def test_a_message_larger_than_the_queue_is_refused(server):
    with wsclient.connect(server.url, send_queue=wsclient.SendQueue(max_bytes=100)) as client:
        with pytest.raises(wsclient.MessageTooBig, match="101"):
            client.send("x" * 101)
        client.send("x" * 100)
        assert server.wait_for(1) == ["x" * 100]


# --- submit ----------------------------------------------------------------------------------------------------------


def test_a_request_lost_after_it_was_sent_reports_that_it_was_sent(raw):
    client, peer, _ = open_against(raw)
    future = client.submit({"method": "pay"})
    peer.receive_text()
    peer.reset()
    error = future.exception(LONG)
    assert isinstance(error, wsclient.ConnectionLost)
    assert error.sent is True
    assert "idempotent=True" in str(error)
    assert error.disconnect.initiator == "network"
    assert error.__cause__ is error.disconnect.error
    raw.accept().upgrade()
    eventually(lambda: client.stats.connections == 2)
    assert client.last_disconnect == error.disconnect
    client.close(timeout=0)


def test_idempotent_requests_are_sent_again_before_queued_ones_and_keep_an_id_of_the_caller(raw):
    client, peer, _ = open_against(raw)
    own = client.submit({"id": 40, "method": "own"}, idempotent=True)
    given = client.submit({"method": "given"}, idempotent=True)
    assert [json.loads(peer.receive_text())["id"] for _ in range(2)] == [40, 41]
    peer.reset()
    second = raw.accept()
    waiting = client.submit({"method": "waiting"})
    second.upgrade()
    sent = [json.loads(second.receive_text()) for _ in range(3)]
    assert [message["method"] for message in sent] == ["own", "given", "waiting"]
    assert [message["id"] for message in sent] == [40, 42, 43]
    for message in sent:
        second.send_text(json.dumps({"id": message["id"], "result": message["method"]}))
    assert [future.result(LONG)["result"] for future in (own, given, waiting)] == ["own", "given", "waiting"]
    client.close(timeout=0)


def test_futures_work_with_concurrent_futures(client):
    futures = [client.submit({"method": "add", "params": [n, 1]}) for n in range(20)]
    done, rest = concurrent.futures.wait(futures, LONG)
    assert not rest
    assert sorted(future.result()["result"] for future in done) == list(range(1, 21))
    assert len(list(concurrent.futures.as_completed(futures, LONG))) == 20


def test_done_callbacks_run_on_the_hook_thread(client):
    names = []
    called = threading.Event()

    def note(future):
        names.append((threading.current_thread().name, future.result()["result"]))
        called.set()

    client.submit({"method": "add", "params": [1, 1]}).add_done_callback(note)
    assert called.wait(LONG)
    ((name, result),) = names
    assert name.endswith("-hooks")
    assert result == 2


def test_a_future_times_out_without_a_waiting_caller(client):
    future = client.submit({"method": "silence"}, timeout=SHORT)
    with pytest.raises(wsclient.RequestTimeout):
        future.result(LONG)


def test_a_short_timeout_set_after_a_long_one_is_effective(client):
    long = client.submit({"method": "silence"}, timeout=LONG * 10)
    short = client.submit({"method": "silence"}, timeout=SHORT)
    with pytest.raises(wsclient.RequestTimeout):
        short.result(LONG)
    assert not long.done()
    assert long.cancel()


def test_a_cancelled_future_is_withdrawn(client, server):
    future = client.submit({"method": "silence"})
    server.wait_for(1)
    assert future.cancel()
    assert future.cancelled()
    assert concurrent.futures.wait([future], LONG).done == {future}
    assert client._wsclient.context.table.in_flight == 0


def test_requests_submitted_before_start_are_sent_in_order(server):
    client = wsclient.Client(server.url)
    first = client.submit({"method": "echo", "params": 1})
    client.send("between")
    second = client.submit({"method": "echo", "params": 2})
    with client:
        assert [first.result(LONG)["result"], second.result(LONG)["result"]] == [1, 2]
    assert [json.loads(m)["params"] if m.startswith("{") else m for m in server.received] == [1, "between", 2]


# --- request_many ----------------------------------------------------------------------------------------------------


def test_request_many_returns_replies_in_the_order_of_the_messages(client):
    replies = client.request_many(({"method": "echo", "params": n} for n in range(500)), timeout=LONG)
    assert [reply["result"] for reply in replies] == list(range(500))


def test_request_many_sends_more_requests_than_the_queue_holds(server):
    queue = wsclient.SendQueue(max_messages=3)
    with wsclient.connect(server.url, send_queue=queue) as client:
        replies = client.request_many([{"method": "echo", "params": n} for n in range(100)], timeout=LONG)
    assert [reply["result"] for reply in replies] == list(range(100))


def test_request_many_can_return_errors_in_place_of_replies(client):
    messages = [{"method": "echo", "params": 1}, {"method": "silence"}, {"method": "echo", "params": 3}]
    first, second, third = client.request_many(messages, timeout=AMPLE, return_exceptions=True)
    assert (first["result"], third["result"]) == (1, 3)
    assert isinstance(second, wsclient.RequestTimeout)
    with pytest.raises(wsclient.RequestTimeout):
        client.request_many(messages, timeout=SHORT)
    assert not client._wsclient.context.table.waiting


# --- send ------------------------------------------------------------------------------------------------------------


def test_messages_are_sent_as_text_or_binary_by_their_type(client, server):
    for message in ("text", b"bytes", bytearray(b"array"), memoryview(b"view"), {"a": 1}, [1, None], 5, "ümlaut"):
        client.send(message)
    client.flush(LONG)
    assert server.wait_for(8) == ["text", b"bytes", b"array", b"view", '{"a":1}', "[1,null]", "5", "ümlaut"]


def test_the_messages_of_each_thread_keep_their_order(client, server):
    def talk(n):
        for i in range(200):
            client.send(f"{n} {i}")

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(talk, range(8)))
    client.flush(LONG)
    received = server.wait_for(1600)
    for n in range(8):
        assert [m for m in received if m.startswith(f"{n} ")] == [f"{n} {i}" for i in range(200)]


def test_a_full_queue_follows_its_policy():
    url = "ws://127.0.0.1:9/"

    def client(policy):
        return wsclient.Client(url, send_queue=wsclient.SendQueue(max_messages=2, overflow=policy))

    raising = client("raise")
    raising.send("1"), raising.send("2")
    with pytest.raises(wsclient.SendQueueFull):
        raising.send("3")

    blocking = client("block")
    blocking.send("1"), blocking.send("2")
    with pytest.raises(wsclient.SendQueueFull):
        blocking.send("3", timeout=SHORT)
    with pytest.raises(wsclient.RequestTimeout) as caught:
        blocking.submit({"a": 1}, timeout=SHORT)
    assert caught.value.phase == "queued"

    oldest = client("drop_oldest")
    first = oldest.send("1")
    future = oldest.submit({"a": 1})
    third = oldest.send("3")
    assert (first.state, third.state) == ("lost", "queued")
    oldest.send("4")
    with pytest.raises(wsclient.SendQueueFull):
        future.result(LONG)
    assert oldest.stats.dropped == 2

    future = oldest.submit({"a": 1})
    start_call(lambda: [oldest.send("5"), oldest.send("6")]).result(LONG)  # on another thread than the main one
    with pytest.raises(wsclient.SendQueueFull):
        future.result(LONG)

    newest = client("drop_newest")
    newest.send("1"), newest.send("2")
    assert newest.send("3").state == "lost"
    with pytest.raises(wsclient.SendQueueFull):
        newest.submit({"a": 1})


# --- renew ------------------------------------------------------------------------------------------------------------


class EndsTheClient:
    """A wake-up; the I/O thread that it wakes has just ended its client, and does not see the command any more."""

    nudge = bytes

    def __init__(self, context):
        self._context = context

    def wake(self):
        self._context.state.move(State.CLOSED)


def test_renew_at_the_end_of_the_client_does_not_wait():
    client = wsclient.Client("ws://127.0.0.1:9/", renew=wsclient.Renew())
    context = client._wsclient.context
    context.state.move(State.CONNECTING)
    context.commands.attach(EndsTheClient(context))
    renewing = start_call(lambda: client.renew(wait=True, timeout=100 * LONG))
    with pytest.raises(wsclient.ClientClosed):
        renewing.result(LONG)
    client.close()


# --- json -------------------------------------------------------------------------------------------------------------


def test_json_none_leaves_messages_unchanged(server):
    with wsclient.connect(server.url, json=None) as client, client.listen() as stream:
        client.send('{"a": 1}')
        assert stream.get(LONG) == '{"a": 1}'
        with pytest.raises(TypeError, match="json=None"):
            client.send({"a": 1})


def test_another_json_codec(server):
    orjson = pytest.importorskip("orjson")
    with wsclient.connect(server.url, json=orjson) as client:
        assert client.request({"method": "add", "params": [2, 3]}, timeout=LONG)["result"] == 5


# --- reconnect, states, statistics ------------------------------------------------------------------------------------


def test_reconnect_drops_the_connection_and_calls_the_url_and_headers_functions_again(server):
    asked = []

    def url():
        asked.append("url")
        return server.url

    def headers():
        asked.append("headers")
        return {"X-Try": str(len(asked))}

    with wsclient.connect(url, headers=headers) as client:
        first = server.opened.get(timeout=LONG)
        client.reconnect("moving")
        second = server.opened.get(timeout=LONG)
        assert client.wait_until(State.OPEN, LONG)
        eventually(lambda: first.close_code is not None)
        assert (first.close_code, first.close_reason) == (1000, "moving")
        assert client.last_disconnect.initiator == "local"
        assert client.last_disconnect.reason == "moving"
        assert asked == ["url", "headers"] * 2
        assert second.request.headers["X-Try"] == "4"
        assert client.stats.failed_attempts == 0


def test_reconnect_ends_the_wait_before_the_next_attempt():
    with Server() as server:
        policy = wsclient.Reconnect(wait=lambda state: 3600.0)
        with wsclient.connect(server.url, reconnect=policy) as client:
            server.stop()
            assert client.wait_until(State.WAITING, LONG)
            server.start()
            client.reconnect()
            assert client.wait_until(State.OPEN, LONG)


def test_waiting_for_an_unreachable_state_returns_at_once(server):
    client = wsclient.Client(server.url)
    assert client.wait_until(State.NEW, 0)
    assert not client.wait_until(State.OPEN, 0)
    client.close()
    assert client.state is State.CLOSED
    assert not client.wait_until(State.OPEN)
    assert client.wait_closed()


def test_statistics_are_consistent(client, server):
    client.request({"method": "echo", "params": "ü"}, timeout=LONG)
    client.send("ü")
    client.flush(LONG)
    eventually(lambda: client.stats.messages_received == 2)
    stats = client.stats
    assert stats.messages_sent == 2
    assert stats.bytes_sent == sum(len(message.encode()) for message in server.received)
    assert stats.bytes_received == len('{"id": 1, "result": "\\u00fc"}') + len("ü".encode())
    assert (stats.connections, stats.failed_attempts, stats.requests_ok) == (1, 0, 1)
    assert (stats.queue_depth, stats.queue_bytes, stats.queue_head_age, stats.dropped) == (0, 0, 0, 0)
    assert 0 < stats.rtt_min <= stats.rtt_last
    assert stats.rtt_mean == pytest.approx(stats.rtt_last)
    assert client.latency == stats.rtt_last
    assert stats.uptime > 0
    with pytest.raises(AttributeError):
        stats.connections = 5


def test_the_age_of_the_oldest_queued_message_grows_until_it_is_sent(mute_server):
    client = wsclient.Client(mute_server.url)
    began = time.monotonic()
    client.send("old")
    eventually(lambda: client.stats.queue_head_age > 0.02)
    client.send("new")
    age = client.stats.queue_head_age
    assert 0.02 < age <= time.monotonic() - began
    assert client.stats.queue_head_age >= age
    with client:
        client.flush(LONG)
        assert client.stats.queue_head_age == 0.0


# --- one request in flight -------------------------------------------------------------------------------------------


class OneAtATime(wsclient.JsonId):
    max_in_flight = 1


@pytest.mark.parametrize("give_up", [wsclient.Client.request, wsclient.Client.submit])
def test_the_next_request_is_sent_when_the_one_in_flight_has_timed_out(server, give_up):
    with wsclient.connect(server.url, protocol=OneAtATime(), ping_interval=None) as client:
        first = client.submit({"method": "silence"}, timeout=SHORT) if give_up is wsclient.Client.submit else None
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(give_up, client, {"method": "silence"}, timeout=SHORT)
            assert client.request({"method": "add", "params": [1, 2]}, timeout=LONG)["result"] == 3
            assert isinstance(waiting.exception(LONG), (wsclient.RequestTimeout, type(None)))
        assert first is None or isinstance(first.exception(LONG), wsclient.RequestTimeout)


def test_the_next_request_is_sent_when_the_one_in_flight_was_cancelled(server):
    with wsclient.connect(server.url, protocol=OneAtATime(), ping_interval=None) as client:
        first = client.submit({"method": "silence"}, timeout=None)
        second = client.submit({"method": "add", "params": [1, 2]}, timeout=LONG)
        server.wait_for(1)
        assert first.cancel()
        assert second.result(LONG)["result"] == 3


def test_a_message_behind_a_blocked_request_is_sent_when_that_request_is_withdrawn(mute_server):
    protocol = wsclient.Fifo(max_in_flight=1)
    with wsclient.connect(mute_server.url, protocol=protocol, ping_interval=None) as client:
        client.submit("in flight", timeout=None)
        queued = client.submit("never sent", timeout=None)
        client.send("behind it")
        mute_server.wait_for(1)
        assert queued.cancel()
        assert mute_server.wait_for(2) == ["in flight", "behind it"]
        client.close(timeout=0)


def test_in_fifo_order_a_request_that_times_out_while_it_is_encoded_closes_the_connection(raw):
    """Otherwise its reply would be matched to the next request."""
    go_on = threading.Event()

    class Slow(wsclient.Fifo):
        def encode_request(self, message, id):
            if message == "slow" and id > 1:  # 1 is the trial; the I/O thread encodes requests of the main thread
                go_on.wait(LONG)
            return message

    client, peer, _ = open_against(raw, protocol=Slow())
    with pytest.raises(wsclient.RequestTimeout) as caught:
        client.request("slow", timeout=AMPLE)
    assert caught.value.phase == "waiting"
    go_on.set()
    assert peer.receive_text() == "slow"
    second = raw.accept().upgrade()
    future = client.submit("next")
    assert second.receive_text() == "next"
    second.send_text("the reply to it")
    assert future.result(LONG) == "the reply to it"
    client.close(timeout=0)


def test_a_request_that_close_ends_while_it_waits_for_room_gets_one_outcome(mute_server):
    """``request_many`` would complete its waiter a second time, which has room for one outcome."""
    client = wsclient.Client(mute_server.url, send_queue=wsclient.SendQueue(max_messages=1))
    client.send("fills the queue")
    context = client._wsclient.context
    request = context.requests.make({"method": "add"}, Deadline(None))
    waiter = Waiter()
    raised = []

    def begin():
        try:
            context.requests.begin(request, waiter, timed=False)
        except wsclient.ClientClosed as error:
            raised.append(error)

    waiting = threading.Thread(target=begin)
    waiting.start()
    eventually(lambda: context.table.waiting and context.queue._room.latches)
    client.close()
    waiting.join(LONG)
    assert not waiting.is_alive()
    outcomes = [*raised, waiter.error]  # from the thread that ended it first
    assert [type(error) for error in outcomes if error is not None] == [wsclient.ClientClosed]


def test_an_error_that_was_caught_leaves_no_reference_cycle(mute_server):
    gc.collect()
    gc.disable()
    try:
        with wsclient.connect(mute_server.url) as client:
            try:
                client.request({"method": "add"}, timeout=SHORT)
            except wsclient.RequestTimeout as error:
                gone = weakref.ref(error)
            eventually(lambda: gone() is None)  # the I/O thread may still leave the function that ended the request
            (error,) = client.request_many([{"method": "add"}], timeout=SHORT, return_exceptions=True)
            gone = weakref.ref(error)
            del error
            eventually(lambda: gone() is None)
            client.close(timeout=0)
    finally:
        gc.enable()


def test_requests_of_request_many_that_cannot_be_queued_fail_alone():
    queue = wsclient.SendQueue(max_messages=1, overflow="raise")
    client = wsclient.Client("ws://127.0.0.1:9/", send_queue=queue)
    context = client._wsclient.context
    context.state.move(wsclient.State.CONNECTING)
    calling = start_call(lambda: client.request_many([{"n": 1}, {"n": 2}], timeout=1.5, return_exceptions=True))
    first, second = calling.result(LONG)
    assert isinstance(first, wsclient.RequestTimeout)
    assert isinstance(second, wsclient.SendQueueFull)
    client.close()


def test_submit_in_a_hook_of_an_earlier_connection_gives_a_future_that_has_failed(raw):
    again, futures = threading.Event(), []

    def on_open(client):
        assert again.wait(LONG)
        futures.append(client.submit({"n": 1}))

    client, peer = open_pair(raw, on_open=on_open, on_reconnect=lambda client: None, ping_interval=None)
    cut(client, peer, raw)
    again.set()
    eventually(lambda: futures)
    error = futures[0].exception(LONG)
    assert isinstance(error, wsclient.ConnectionLost)
    assert error.sent is False
    client.close(timeout=0)


def test_wait_until_takes_only_a_state():
    with contextlib.closing(wsclient.Client("ws://127.0.0.1:9/")) as client:
        with pytest.raises(TypeError, match=r"state must be a wsclient\.State, not 'open'"):
            client.wait_until("open")
