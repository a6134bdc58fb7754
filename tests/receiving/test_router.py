"""Routing of replies, events, calls and unmatched messages, by id and in order."""

import json
import select
import threading
import time
import zlib

import pytest

import wsclient
from wsclient import Fifo
from wsclient._receiving.router import SLICE
from wsclient._rfc6455.read_size import READ_SIZE
from wsclient._threads.waiting import Deadline, Waiter
from wsclient.protocols import Control, Event, Reply
from wsclient.protocols._incoming import ABSENT

from ..support import AMPLE, LONG, SHORT, Server, eventually
from ..support.peers import await_processed, event, open_against, put, reply, start_call, subscribing, taken
from ..support.raw import frame


def test_replies_out_of_order_reach_their_requests(raw):
    client, peer, seen = open_against(raw)
    futures = [client.submit({"n": n}) for n in range(5)]
    ids = [json.loads(peer.receive_text())["id"] for _ in futures]
    for id in reversed(ids):
        peer.send_text(json.dumps({"id": id, "echo": id}))
    assert [future.result(LONG)["echo"] for future in futures] == ids
    assert seen == []
    client.close(timeout=0)


def test_an_unmatched_reply_completes_no_request(raw):
    client, peer, seen = open_against(raw)
    stream = client.listen()
    future = client.submit({"a": 1})
    peer.receive_text()
    unmatched = [
        {"id": 2, "unknown": True},
        {"id": "1", "another": "type"},
        {"id": True},
        {"id": [1]},
        {"id": {"a": 1}},
        {"id": None, "no": "id"},
        {"id": 1, "method": "a call of the server's"},
    ]
    for message in unmatched:
        peer.send_text(json.dumps(message))
    eventually(lambda: seen == unmatched)
    assert not future.done()
    assert client.stats.requests_late == 5
    assert [stream.get(LONG) for _ in unmatched] == unmatched
    peer.send_text('{"id": 1.0}')
    assert future.result(LONG) == {"id": 1}
    client.close(timeout=0)


def test_a_reply_that_no_request_awaits_may_announce_a_renewal(raw):
    heard = []
    client, peer, seen = open_against(raw, renew=wsclient.Renew(on=heard.append))
    put(peer, {"id": 5, "leaving": True})
    await_processed(peer)
    assert heard == [{"id": 5, "leaving": True}]
    eventually(lambda: seen == heard)
    client.close(timeout=0)


def test_a_late_reply_goes_to_on_message_alone(raw):
    client, peer, seen = open_against(raw)
    with client.listen() as stream:
        future = client.submit({"a": 1})
        late = {"id": taken(peer)["id"], "a": 1}
        future.cancel()
        put(peer, late)
        put(peer, {"id": 1000, "broadcast": True})
        eventually(lambda: len(seen) == 2)
        assert seen == [late, {"id": 1000, "broadcast": True}]
        assert stream.get(LONG) == {"id": 1000, "broadcast": True}
        assert client.stats.requests_late == 2
    client.close(timeout=0)


def test_an_event_with_the_id_of_an_old_request_is_not_a_reply(raw):
    client, peer, seen = open_against(raw)
    first = client.submit({"a": 1})
    peer.receive_text()
    peer.send_text('{"id": 1}')
    first.result(LONG)
    second = client.submit({"a": 2})
    peer.receive_text()
    peer.send_text('{"id": 1, "event": "late news"}')
    eventually(lambda: seen == [{"id": 1, "event": "late news"}])
    assert not second.done()
    client.close(timeout=0)


def test_match_receives_messages_that_look_like_unmatched_replies(raw):
    client, peer, seen = open_against(raw)
    future = client.submit({"watch": "trades"}, match=lambda m: m.get("trade"))
    peer.receive_text()
    peer.send_text('{"id": 977, "trade": true}')
    assert future.result(LONG) == {"id": 977, "trade": True}
    assert seen == []
    assert client.stats.requests_late == 0
    client.close(timeout=0)


def test_match_does_not_receive_messages_that_came_before_its_request_was_written(raw):
    client, peer, seen = open_against(raw)
    peer.send_text('{"news": 1}')
    eventually(lambda: seen == [{"news": 1}])
    future = client.submit({"watch": 1}, match=lambda m: "news" in m)
    peer.receive_text()
    peer.send_text('{"news": 2}')
    assert future.result(LONG) == {"news": 2}
    client.close(timeout=0)


def test_a_match_request_ends_with_the_first_message_that_until_accepts_too(raw):
    client, peer, seen = open_against(raw)
    future = client.submit({"watch": 1}, match=lambda m: "news" in m, until=lambda m: m["news"] == "last")
    peer.receive_text()
    put(peer, {"news": "first"}, {"other": "last"}, {"news": "last"})
    assert future.result(LONG) == {"news": "last"}
    eventually(lambda: seen == [{"news": "first"}, {"other": "last"}])
    client.close(timeout=0)


def test_three_thousand_replies_in_one_read(raw):
    client, peer, _ = open_against(raw)
    futures = [client.submit({"n": n}) for n in range(3000)]
    texts = [json.loads(peer.receive_text()) for _ in futures]
    from ..support.raw import frame

    peer.send(b"".join(frame(1, json.dumps({"id": text["id"], "n": text["n"]}).encode()) for text in texts))
    assert [future.result(LONG)["n"] for future in futures] == list(range(3000))
    client.close(timeout=0)


# --- a user-defined protocol -----------------------------------------------------------------------------------------


class Lines(wsclient.Protocol):
    """``<id> <verb> <text>``, several answers in one message; written from the documentation alone."""

    def __init__(self):
        self.last = 0

    def new_id(self):
        self.last += 1
        return self.last

    def encode_request(self, message, id):
        verb, text = message
        return f"{id} {verb} {text}"

    def decode(self, payload):
        for line in payload.splitlines():
            id, kind, text = line.split(" ", 2)
            if kind == "OK":
                yield wsclient.Reply(int(id), text)
            elif kind == "ERR":
                yield wsclient.Failure(int(id), wsclient.RemoteError(None, text))
            else:
                yield wsclient.Event((kind, text))


def test_a_user_defined_protocol_works(raw):
    client, peer, seen = open_against(raw, protocol=Lines())
    request = ["SAY", "hello"]
    good = client.submit(request)
    request.append("changed afterwards, which must not matter")
    bad = client.submit(("SAY", "nothing"))
    ids = [peer.receive_text().split()[0] for _ in range(2)]
    peer.send_text(f"{ids[1]} ERR not allowed\n0 NEWS rain\n{ids[0]} OK hello yourself")
    assert good.result(LONG) == "hello yourself"
    with pytest.raises(wsclient.RemoteError, match="not allowed") as caught:
        bad.result(LONG)
    assert caught.value.code is None
    eventually(lambda: seen == [("NEWS", "rain")])
    with pytest.raises(ValueError, match="unpack"):
        client.request("not a pair", timeout=LONG)
    client.close(timeout=0)


def test_a_protocol_object_serves_one_client():
    protocol = Fifo()
    wsclient.Client("ws://127.0.0.1:9/", protocol=protocol)
    with pytest.raises(ValueError, match="another client"):
        wsclient.Client("ws://127.0.0.1:9/", protocol=protocol)


def test_a_decoder_that_returns_an_invalid_value_is_reported_to_on_error(raw):
    class Nonsense(Lines):
        def decode(self, payload):
            return [5]

    errors = []
    client, peer, _ = open_against(raw, protocol=Nonsense(), on_error=lambda _, error: errors.append(error))
    peer.send_text("x")
    eventually(lambda: errors)
    assert isinstance(errors[0], wsclient.ProtocolError)
    assert errors[0].payload == "x"
    client.close(timeout=0)


def test_a_reply_to_a_subscription_that_expects_none_does_not_end_it(raw):
    protocol = wsclient.JsonId(item=lambda message: "item" in message)
    client, peer, _ = open_against(raw, protocol=protocol)
    subscription = client.subscribe({"subscribe": "all"})
    asked = json.loads(peer.receive_text())
    peer.send_text(json.dumps({"id": asked["id"], "item": 1}))
    peer.send_text(json.dumps({"id": asked["id"], "result": "subscribed"}))
    peer.send_text(json.dumps({"id": asked["id"], "item": 2}))
    assert [subscription.get(LONG)["item"] for _ in range(2)] == [1, 2]
    client.close(timeout=0)


# --- in order --------------------------------------------------------------------------------------------------------


def test_fifo_gives_each_reply_to_the_oldest_request(raw):
    client, peer, _ = open_against(raw, protocol=Fifo())
    futures = [client.submit(text) for text in ("a", "b", "c")]
    assert [peer.receive_text() for _ in futures] == ["a", "b", "c"]
    for text in ("A", "B", "C"):
        peer.send_text(text)
    assert [future.result(LONG) for future in futures] == ["A", "B", "C"]
    client.close(timeout=0)


def test_fifo_works_with_the_echo_server_of_the_documentation():
    with Server(lambda connection, message: connection.send(message)) as server:
        with wsclient.connect(server.url, protocol=Fifo()) as client:
            assert client.request("Hello", timeout=LONG) == "Hello"
            assert client.request({"a": [1]}, timeout=LONG) == {"a": [1]}
            assert client.request(b"\x00", timeout=LONG) == b"\x00"
            assert client.request_many([str(n) for n in range(200)], timeout=LONG) == [str(n) for n in range(200)]


def test_fifo_events_and_unrequested_messages_go_to_hooks_and_streams(raw):
    client, peer, seen = open_against(raw, protocol=Fifo(event=lambda m: m.startswith("!")))
    stream = client.listen()
    peer.send_text("unasked")
    eventually(lambda: seen == ["unasked"])
    future = client.submit("a")
    peer.receive_text()
    peer.send_text("!news")
    peer.send_text("A")
    assert future.result(LONG) == "A"
    eventually(lambda: seen == ["unasked", "!news"])
    assert [stream.get(LONG), stream.get(LONG)] == ["unasked", "!news"]
    assert client.stats.requests_late == 0
    client.close(timeout=0)


def test_fifo_supports_until(raw):
    client, peer, _ = open_against(raw, protocol=Fifo())
    future = client.submit("a", until=lambda reply: reply != "wait")
    peer.receive_text()
    for text in ("wait", "wait", "done"):
        peer.send_text(text)
    assert future.result(LONG) == "done"
    client.close(timeout=0)


def test_fifo_refuses_match():
    client = wsclient.Client("ws://127.0.0.1:9/", protocol=Fifo())
    with pytest.raises(ValueError, match="match="):
        client.submit("a", match=lambda m: True)


def test_fifo_sends_expect_no_answer(raw):
    client, peer, _ = open_against(raw, protocol=Fifo())
    client.send("no answer to this")
    future = client.submit("a")
    assert [peer.receive_text(), peer.receive_text()] == ["no answer to this", "a"]
    peer.send_text("A")
    assert future.result(LONG) == "A"
    client.close(timeout=0)


@pytest.mark.parametrize("how", ["timeout", "cancel"])
def test_fifo_closes_the_connection_when_a_written_request_is_cancelled(raw, how):
    client, peer, _ = open_against(raw, protocol=Fifo())
    first = client.submit("a", timeout=AMPLE if how == "timeout" else LONG)
    second = client.submit("b", timeout=LONG, idempotent=True)
    assert [peer.receive_text(), peer.receive_text()] == ["a", "b"]
    if how == "cancel":
        assert first.cancel()
    else:
        with pytest.raises(wsclient.RequestTimeout):
            first.result(LONG)
    again = raw.accept().upgrade()
    assert again.receive_text() == "b"
    again.send_text("B")
    assert second.result(LONG) == "B"
    assert client.last_disconnect.initiator == "local"
    client.close(timeout=0)


def test_fifo_withdraws_a_queued_request_without_closing_the_connection():
    client = wsclient.Client("ws://127.0.0.1:9/", protocol=Fifo())
    future = client.submit("a")
    assert future.cancel()
    assert client.stats.queue_depth == 0


def test_fifo_keeps_the_position_of_an_interrupted_request_until_its_deadline(raw):
    """An interrupt cannot be produced here; the function that handles it is called directly."""

    client, peer, seen = open_against(raw, protocol=Fifo())
    context = client._wsclient.context
    first = client.submit("a", timeout=LONG)
    second = client.submit("b", timeout=LONG)
    assert [peer.receive_text(), peer.receive_text()] == ["a", "b"]
    context.requests.cancel(first._request, interrupted=True)
    peer.send_text("A")
    peer.send_text("B")
    assert second.result(LONG) == "B"
    eventually(lambda: seen == ["A"])
    assert client.stats.requests_late == 1
    assert client.stats.connections == 1

    third = client.submit("c", timeout=AMPLE)
    peer.receive_text()
    context.requests.cancel(third._request, interrupted=True)
    raw.accept()  # no reply came before the deadline
    client.close(timeout=0)


def test_max_in_flight_keeps_further_requests_in_the_queue(raw):
    client, peer, _ = open_against(raw, protocol=Fifo(max_in_flight=1))
    futures = [client.submit(text) for text in ("a", "b", "c")]
    for text, future in zip("abc", futures, strict=True):
        assert peer.receive_text() == text
        peer.sock.settimeout(SHORT)
        with pytest.raises(TimeoutError):
            peer.receive_text()
        peer.sock.settimeout(LONG)
        peer.send_text(text.upper())
        assert future.result(LONG) == text.upper()
    client.close(timeout=0)


def test_a_request_that_max_in_flight_keeps_in_the_queue_does_not_delay_the_close_frame(raw):
    client, peer, _ = open_against(raw, protocol=Fifo(max_in_flight=1))
    futures = [client.submit(text) for text in ("a", "b")]
    assert peer.receive_text() == "a"
    closing = start_call(lambda: client.close(timeout=4 * LONG))
    assert peer.receive_frame() == (8, b"\x03\xe8")
    peer.send_frame(8, b"\x03\xe8")
    closing.result(LONG)
    assert all(isinstance(future.exception(0), wsclient.ClientClosed) for future in futures)


# --- start and end of a connection -----------------------------------------------------------------------------------


def test_in_fifo_order_a_closing_connection_gives_the_reply_of_a_lost_request_to_no_other_request(raw):
    client, peer, _ = open_against(raw, protocol=Fifo())
    first = client.submit("first")
    second = client.submit("second", idempotent=True)
    assert [peer.receive_text(), peer.receive_text()] == ["first", "second"]
    client.reconnect()
    assert peer.receive_frame()[0] == 8
    peer.send_text("answer to the first")  # on a connection that is closing, but still read
    peer.send_text("answer to the second")
    with pytest.raises(wsclient.ConnectionLost):
        first.result(LONG)
    assert second.result(LONG) == "answer to the second"
    client.close(timeout=0)


def test_in_fifo_order_a_message_that_arrives_before_the_request_is_complete_answers_nothing(raw):
    client, peer, seen = open_against(raw, protocol=Fifo())
    huge = client.submit("x" * (8 * 2**20))
    eventually(lambda: client._wsclient.context.sender.writer.blocked)  # the peer does not read
    peer.send_text("unasked for")
    eventually(lambda: seen == ["unasked for"])
    assert not huge.done()
    assert peer.receive_text()[:3] == "xxx"
    peer.send_text("the answer")
    assert huge.result(LONG) == "the answer"
    client.close(timeout=0)


def test_a_message_that_came_before_a_match_request_was_sent_does_not_answer_it(raw):
    held, go_on = threading.Event(), threading.Event()

    def set_up(client, session):
        held.set()
        session.recv(timeout=LONG)
        assert go_on.wait(LONG)

    seen = []
    client = wsclient.Client(
        raw.url, on_session=set_up, on_message=lambda _, message: seen.append(message), ping_interval=None
    )
    streamed = client.listen()
    answer = client.submit({"ask": 1}, match=lambda message: "status" in message)
    starter = threading.Thread(target=client.start)
    starter.start()
    peer = raw.accept().upgrade()
    came = ['{"go": 1}', '{"status": "old"}', '{"id": 77, "status": "a late reply of long ago"}']
    peer.send(b"".join(frame(1, text.encode()) for text in came))  # in one piece, so one read returns all of them
    assert held.wait(LONG)
    go_on.set()
    starter.join(LONG)
    assert json.loads(peer.receive_text()) == {"ask": 1}
    peer.send_text('{"status": "new"}')
    assert answer.result(LONG) == {"status": "new"}
    eventually(lambda: len(seen) == 2)
    assert [message["status"] for message in seen] == ["old", "a late reply of long ago"]
    assert streamed.get(LONG) == {"status": "old"}
    assert streamed.get(LONG) == {"id": 77, "status": "a late reply of long ago"}
    client.close(timeout=0)
    assert list(streamed) == []


def test_ids_increase_on_the_connection_although_a_caller_uses_a_higher_one(raw):
    client, peer, _ = open_against(raw)
    with client._wsclient.context.sender.writer._write_lock:  # no thread can write meanwhile
        for message in ({"n": 1}, {"n": 2, "id": 100}, {"n": 3}):
            client.submit(message)
    client.send("done")
    assert [json.loads(peer.receive_text())["id"] for _ in range(3)] == [1, 100, 101]
    client.close(timeout=0)


# --- answers of the protocol itself -----------------------------------------------------------------------------------


class AnswersHello(wsclient.Protocol):
    """Answers ``"hello"``, hides ``"hush"``; all other messages are events."""

    def decode(self, payload):
        if payload == "hello":
            return [Control("hello yourself"), Control(b"\x00")]
        return Control() if payload == "hush" else wsclient.Event(payload)


def test_answers_of_a_protocol_are_sent_at_once_and_their_messages_are_not_delivered(raw):
    client, peer, seen = open_against(raw, protocol=AnswersHello())
    peer.send_text("hush")
    peer.send_text("hello")
    peer.send_text("news")
    assert peer.receive_frame() == (1, b"hello yourself")
    assert peer.receive_frame() == (2, b"\x00")
    eventually(lambda: seen == ["news"])
    client.close(timeout=0)


class AnswersWithMore(wsclient.Protocol):
    """Answers each message with a much larger one."""

    def decode(self, payload):
        return Control("x" * 2**14)


def test_reading_stops_while_the_peer_does_not_accept_answers(raw):
    """Otherwise the answers could fill the memory."""
    client, peer, _ = open_against(raw, protocol=AnswersWithMore())
    peer.sock.setblocking(False)
    writer = client._wsclient.context.sender.writer
    sent, stopped = 0, 0
    until = time.monotonic() + LONG
    while stopped < 20:  # until neither side has made progress for a while
        assert time.monotonic() < until
        assert writer.urgent.bytes < 2**20 + 2 * READ_SIZE * 2**14 // 100
        try:
            sent += peer.sock.send(frame(1, b"x" * 100) * 100)
            stopped = 0
        except BlockingIOError:
            stopped += not select.select([], [peer.sock], [], 0.05)[1]
        if not writer.is_flooded_by_answers:
            stopped = 0  # the client is slow, but has not stopped
    received = client.stats.messages_received
    assert received < sent // 102
    peer.sock.settimeout(LONG)
    for _ in range(received):
        peer.receive_frame()
    peer.receive_frame()  # reading continues
    client.close(timeout=0)


# --- messages that cannot be delivered yet ---------------------------------------------------------------------------


def test_messages_under_unknown_subscription_keys_have_a_byte_limit_and_the_reply_is_still_read(raw):
    """Messages above the limit are delivered like those of no subscription, and this is reported once."""
    errors, size = [], 2**16
    client, peer, seen = open_against(
        raw, protocol=wsclient.JsonRpc(), compression=None, on_error=lambda _, error: errors.append(error),
        receive_queue=wsclient.ReceiveQueue(max_bytes=10 * size),
    )  # fmt: skip
    future = subscribing(client)
    asked = taken(peer)
    for number in range(50):
        put(peer, event("0xa", [number, "x" * size]))
        eventually(lambda number=number: len(seen) >= number - 9)  # one by one: on_message has a limit, too
    put(peer, reply(asked, "0xa"), event("0xa", ["last"]))
    subscription = future.result(LONG)
    got = []
    while got[-1:] != ["last"]:
        got.append(subscription.get(LONG)["params"]["result"][0])
    beyond = [message["params"]["result"][0] for message in seen]
    assert [*got[:-1], *beyond] == list(range(50))
    assert [type(error) for error in errors] == [wsclient.SlowConsumer]
    client.close(timeout=0)


def test_messages_that_arrive_during_on_session_are_limited_within_one_read(raw):
    """A small read inflates to more than the limit: the setup fails, even if on_session ends at that moment."""
    size, failures = 2**20, []

    def log_in(client, session):
        session.request({"log": "in"}, timeout=LONG)

    client = wsclient.Client(
        raw.url, on_session=log_in, reconnect=None, receive_queue=wsclient.ReceiveQueue(max_bytes=4 * size)
    )
    starter = threading.Thread(target=lambda: failures.append(exception_of(client.start)))
    starter.start()
    peer = raw.accept().upgrade("Sec-WebSocket-Extensions: permessage-deflate")
    eventually(lambda: client._wsclient.context.table.in_flight)
    deflater = zlib.compressobj(wbits=-15)
    messages = [b"%d" % n + b"x" * size for n in range(30)]
    texts = [deflater.compress(text) + deflater.flush(zlib.Z_SYNC_FLUSH) for text in [*messages, b'{"id":1}']]
    peer.send(b"".join(frame(1, text[:-4], rsv=4) for text in texts))
    starter.join(LONG)
    assert isinstance(failures[0], wsclient.SessionError)
    assert "receive_queue=" in str(failures[0])


def exception_of(call):
    try:
        call()
    except Exception as error:
        return error


def test_a_generator_of_meanings_can_drop_the_connection(raw):
    class Strict(wsclient.JsonId):
        def decode(self, payload):
            yield Event("before")
            raise wsclient.ProtocolError("The state is lost.")

    errors = []
    client, peer, seen = open_against(raw, protocol=Strict(), on_error=lambda _, error: errors.append(error))
    peer.send_text("x")
    assert peer.receive_frame() == (8, (1002).to_bytes(2, "big"))
    eventually(lambda: errors)
    assert str(errors[0]) == "The state is lost."
    assert seen == []
    client.close(timeout=0)


def test_a_reply_to_a_request_that_until_has_cancelled_is_late(raw):
    client, peer, seen = open_against(raw)
    futures = []
    futures.append(client.submit({"n": 1}, until=lambda reply: futures[0].cancel()))
    message = {"id": taken(peer)["id"], "n": 1}
    put(peer, message)
    eventually(lambda: seen == [message])
    assert client.stats.requests_late == 1
    assert futures[0].cancelled()
    client.close(timeout=0)


def test_a_final_function_that_raises_fails_its_request(raw):
    client, peer, _ = open_against(raw, protocol=wsclient.JsonId(final=lambda request, value: 1 / 0))
    future = client.submit({"n": 1})
    put(peer, {"id": taken(peer)["id"]})
    assert isinstance(future.exception(LONG), ZeroDivisionError)
    client.close(timeout=0)


class Numbered(Fifo):
    """Requests are answered in order, and a reply has the id of its request; one without a value has ``ABSENT``."""

    def decode(self, payload):
        id, _, text = payload.partition(":")
        return Reply(int(id), text or ABSENT)


def test_a_reply_by_id_to_a_request_that_has_ended_takes_its_position_in_the_order():
    client = wsclient.Client("ws://localhost/", protocol=Numbered())
    context = client._wsclient.context
    written = context.table.new_connection(1)
    router = context.make_router(None, written)
    requests = []
    for _ in range(2):
        request = context.requests.make("ask", Deadline(None))
        request.waiter = Waiter()
        context.table.add(request, timed=False)
        assert request.payload_for(context.make_backend(written)) is not None
        requests.append(request)
    ended, other = requests
    context.requests.time_out(ended)
    assert written.in_flight == 2
    router.receive(f"{ended.id}:late", 1)
    assert written.in_flight == 1
    assert context.counters.unmatched_replies == 1
    # The reply came before the thread that writes the request has noted its position.
    assert other.position is None
    router.receive(f"{other.id}:", 1)
    assert (other.outcome, other.waiter.value) == ("ok", None)
    client.close()


class BadId:
    """An id of a user-defined protocol with a defect."""

    def __hash__(self):
        raise LookupError("a defect")


class Array(wsclient.Protocol):
    """Each payload contains the same long array; one of its messages, behind the first slice, is wrong."""

    def __init__(self, wrong, *, replies_in_order):
        self.replies_in_order = replies_in_order
        self._meanings = [*map(Event, range(2 * SLICE)), wrong, Event("last")]

    def decode(self, payload):
        return self._meanings


def test_a_message_inside_a_long_array_that_cannot_be_processed_is_skipped(against):
    errors = []
    protocol = Array(Reply(BadId(), "x"), replies_in_order=False)
    _, peer, seen = against(protocol=protocol, on_error=lambda _, error: errors.append(error))
    peer.send_text("[]")
    eventually(lambda: seen[-1:] == ["last"])
    assert seen == [*range(2 * SLICE), "last"]
    (error,) = errors
    assert (type(error), type(error.__cause__)) == (wsclient.ProtocolError, LookupError)
    assert error.payload == "[]"


@pytest.mark.parametrize(
    ("wrong", "words"), [(Reply(BadId(), "x"), "could not be processed"), ("not a meaning", "could not be decoded")]
)
def test_a_message_inside_a_long_array_that_may_be_a_reply_in_order_ends_the_connection(against, wrong, words):
    client, peer, seen = against(protocol=Array(wrong, replies_in_order=True))
    peer.send_text("[]")
    opcode, payload = peer.receive_frame()
    assert (opcode, payload[:2]) == (8, (1002).to_bytes(2, "big"))
    peer.finish()
    eventually(lambda: client.last_disconnect)
    assert client.last_disconnect.code == 1002
    assert str(client.last_disconnect.error).startswith(f"A message {words}")
    assert "last" not in seen
