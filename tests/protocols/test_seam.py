"""The interface for user-defined protocols: every meaning that a protocol may return, and what the client does."""

import json

import pytest

import wsclient
from wsclient import Control, End, Event, Failure, Item, Protocol, Reply
from wsclient._requests import requests

from ..support import AMPLE, LONG, SHORT, eventually
from ..support.peers import open_against
from ..support.threads import BlockingCall, on_thread


class Lines(Protocol):
    """``<id> <text>`` in lines, answered by ``<id> ok <text>``; a frame may hold many lines, or half of one."""

    def __init__(self):
        self.last = -1  # 0 is used by the trial encoding
        self.half = ""
        self.resets = 0

    def reset(self):
        self.half, self.resets = "", self.resets + 1

    def new_id(self):
        self.last += 1
        return str(self.last)

    def encode_request(self, message, id):
        return f"{id} {message}\n"

    def decode(self, payload):
        *lines, self.half = (self.half + payload).split("\n")
        for line in lines:
            id, _, rest = line.partition(" ")
            kind, _, text = rest.partition(" ")
            yield Reply(id, text) if kind == "ok" else Event(line)


def test_several_messages_in_one_frame_and_half_of_one_are_decoded(raw):
    client, peer, seen = open_against(raw, protocol=Lines())
    futures = [client.submit(text) for text in ("a", "b", "c")]
    assert [peer.receive_text() for _ in futures] == ["1 a\n", "2 b\n", "3 c\n"]
    peer.send_text("2 ok B\nnews\n1 ok A\n3 o")
    assert [futures[0].result(LONG), futures[1].result(LONG)] == ["A", "B"]
    eventually(lambda: seen == ["news"])
    assert not futures[2].done()
    peer.send_text("k C\n")
    assert futures[2].result(LONG) == "C"
    client.close(timeout=0)


def test_half_a_message_is_not_continued_on_the_next_connection(raw):
    protocol = Lines()
    client, peer, seen = open_against(raw, protocol=protocol)
    peer.send_text("whole\nhalf of ")
    eventually(lambda: seen == ["whole"])
    assert protocol.resets == 1
    peer.reset()
    again = raw.accept().upgrade()
    again.send_text("fresh\n")
    eventually(lambda: len(seen) == 2)
    assert seen == ["whole", "fresh"]
    assert protocol.resets == 2
    client.close(timeout=0)


class Scripted(Protocol):
    """The test sets the meaning of each message; ``<id>:<message>`` is sent."""

    def __init__(self, meanings=None):
        self.meanings = meanings or {}
        self.last = -1  # 0 is used by the trial encoding

    def new_id(self):
        self.last += 1
        return self.last

    def encode_request(self, message, id):
        return f"{id}:{message}"

    def decode(self, payload):
        meaning = self.meanings.get(payload, Event(payload))
        if isinstance(meaning, Exception):
            raise meaning
        return meaning


def scripted(raw, meanings, kind=Scripted, **options):
    """An open client whose protocol returns this meaning, its ``on_error`` errors, and the rest of ``open_against``."""
    errors = []
    protocol = kind(meanings)
    client, peer, seen = open_against(raw, protocol=protocol, on_error=lambda _, error: errors.append(error), **options)
    return client, peer, seen, errors


def asked(client, peer, message, **options):
    """A request that the peer has received, with its id."""
    future = client.submit(message, **options)
    return future, int(peer.receive_text().partition(":")[0])


def test_a_frame_that_cannot_be_decoded_is_skipped_and_reported(raw):
    client, peer, seen, errors = scripted(raw, {"bad": LookupError("what is this?")})
    for text in ("before", "bad", "after"):
        peer.send_text(text)
    eventually(lambda: seen == ["before", "after"])
    eventually(lambda: errors)
    (error,) = errors
    assert isinstance(error, wsclient.ProtocolError)
    assert error.payload == "bad"
    assert isinstance(error.__cause__, LookupError)
    assert client.stats.connections == 1
    client.close(timeout=0)


class Careless(Scripted):
    def decode(self, payload):
        if payload == "bad":
            {}[payload]  # raises KeyError, whose text is only the key
        return super().decode(payload)


@pytest.mark.parametrize("in_order", [False, True])
def test_the_error_of_a_decoder_is_logged_with_its_class_and_its_traceback(raw, caplog, in_order):
    kind = type("Ordered", (Careless,), {"replies_in_order": True}) if in_order else Careless
    client, peer, _, errors = scripted(raw, {}, kind)
    peer.send_text("bad")
    eventually(lambda: errors)
    client.close(timeout=0)
    (record,) = [record for record in caplog.records if "could not be decoded" in record.getMessage()]
    assert "(KeyError: 'bad')" in record.getMessage()
    assert "{}[payload]" in caplog.text
    assert "(KeyError: 'bad')" in str(errors[0])


def test_an_answer_of_a_protocol_that_cannot_be_sent_is_reported_with_the_class_of_its_error(raw):
    client, peer, _, errors = scripted(raw, {"bad": Control(object())})
    peer.send_text("bad")
    eventually(lambda: errors)
    assert "can't be sent (TypeError: " in str(errors[0])
    client.close(timeout=0)


def test_a_frame_whose_decoding_raises_in_the_middle_is_skipped_completely(raw):
    class Breaking(Scripted):
        def decode(self, payload):
            yield Event(payload)
            if payload == "bad":
                raise LookupError("in the middle")

    client, peer, seen, errors = scripted(raw, {}, Breaking)
    peer.send_text("bad")
    peer.send_text("good")
    eventually(lambda: seen == ["good"])
    eventually(lambda: errors)
    assert errors[0].payload == "bad"
    client.close(timeout=0)


def test_a_protocol_error_drops_the_connection_and_the_client_reconnects(raw):
    client, peer, _, errors = scripted(raw, {"bad": wsclient.ProtocolError("out of step", payload="bad")})
    future, _ = asked(client, peer, "ask")
    peer.send_text("bad")
    opcode, payload = peer.receive_frame()
    assert (opcode, payload[:2]) == (8, (1002).to_bytes(2, "big"))
    with pytest.raises(wsclient.ConnectionLost):
        future.result(LONG)
    peer.close()
    raw.accept().upgrade()
    eventually(lambda: client.stats.connections == 2)
    eventually(lambda: errors)
    assert str(errors[0]) == "out of step"
    assert client.last_disconnect.initiator == "local"
    client.close(timeout=0)


def test_a_message_can_have_no_meaning(raw):
    client, peer, seen, errors = scripted(raw, {"a": None, "b": [], "c": iter(())})
    for text in ("a", "b", "c", "d"):
        peer.send_text(text)
    eventually(lambda: seen == ["d"])
    assert errors == []
    client.close(timeout=0)


def test_oldest_answers_the_oldest_request_in_flight(raw):
    client, peer, seen, _ = scripted(
        raw, {"reply": Reply(wsclient.OLDEST, "R"), "no": Failure(wsclient.OLDEST, OSError())}
    )
    peer.send_text("reply")
    eventually(lambda: seen == ["R"])  # no request was in flight
    first, second = asked(client, peer, "a")[0], asked(client, peer, "b")[0]
    peer.send_text("reply")
    assert first.result(LONG) == "R"
    assert not second.done()
    peer.send_text("no")
    assert isinstance(second.exception(LONG), OSError)
    client.close(timeout=0)


def test_a_reply_can_be_matched_by_the_content_of_the_request(raw):
    class Named(Protocol):
        def id_of(self, message):
            return message["name"]

        def encode_request(self, message, id):
            return json.dumps(message)

        def decode(self, payload):
            message = json.loads(payload)
            return Reply(message["name"], message["value"])

    client, peer, _ = open_against(raw, protocol=Named())
    futures = {name: client.submit({"name": name}) for name in ("temperature", "pressure")}
    with pytest.raises(ValueError, match="in flight"):
        client.submit({"name": "pressure"})
    assert [json.loads(peer.receive_text())["name"] for _ in futures] == list(futures)
    peer.send_text('{"name": "pressure", "value": 2}')
    peer.send_text('{"name": "temperature", "value": 1}')
    assert [future.result(LONG) for future in futures.values()] == [1, 2]
    client.submit({"name": "pressure"})
    assert json.loads(peer.receive_text()) == {"name": "pressure"}
    client.close(timeout=0)


def test_ids_that_repeat_skip_those_in_flight(raw):
    class Few(Scripted):
        def new_id(self):
            self.last = self.last % 3 + 1
            return self.last

    client, peer, _, _ = scripted(raw, {"1": Reply(1, "one"), "2": Reply(2, "two"), "3": Reply(3, "three")}, Few)
    slow, slow_id = asked(client, peer, "slow")
    ids = []
    for _ in range(5):
        quick, id = asked(client, peer, "quick")
        ids.append(id)
        peer.send_text(str(id))
        assert quick.result(LONG) == {1: "one", 2: "two", 3: "three"}[id]
    assert slow_id not in ids
    assert not slow.done()
    peer.send_text(str(slow_id))
    slow.result(LONG)
    client.close(timeout=0)


def test_new_id_is_called_again_if_its_result_is_a_queued_id_of_the_caller(raw):
    class Own(Scripted):
        def id_of(self, message):
            return message if isinstance(message, int) else None

    client, peer, _, _ = scripted(raw, {}, Own)
    peer.reset()
    waiting = raw.accept()
    client.submit("asked for")
    client.submit(1)
    waiting.upgrade()
    assert [waiting.receive_text(), waiting.receive_text()] == ["2:asked for", "1:1"]
    client.close(timeout=0)


def test_a_protocol_without_a_free_id_is_called_a_limited_number_of_times(raw, monkeypatch):
    class Same(Scripted):
        def new_id(self):
            return 7

    monkeypatch.setattr(requests, "_MAX_ID_TRIES", 100)
    client, peer, _, _ = scripted(raw, {"reply": Reply(7, "R")}, Same)
    first, _ = asked(client, peer, "a")
    error = client.submit("b").exception(LONG)
    assert isinstance(error, wsclient.ProtocolError)
    assert "Same.new_id()" in str(error)
    peer.send_text("reply")
    assert first.result(LONG) == "R"
    client.close(timeout=0)


class BadIds(Scripted):
    """``new_id`` raises when it is called for the second request."""

    def new_id(self):
        if super().new_id() == 2:
            raise LookupError("not this one")
        return self.last


class BadText(Scripted):
    """``encode_request`` raises for the second request."""

    def encode_request(self, message, id):
        if id == 2:
            raise LookupError("not this one")
        return super().encode_request(message, id)


def error_of_submit(client, message):
    return client.submit(message).exception(LONG)


def error_of_request(client, message):
    with pytest.raises(LookupError) as caught:
        client.request(message, timeout=LONG)
    return caught.value


def error_of_request_on_another_thread(client, message):
    return on_thread(lambda: error_of_request(client, message))


@pytest.mark.parametrize("error_of", [error_of_submit, error_of_request, error_of_request_on_another_thread])
@pytest.mark.parametrize("kind", [BadIds, BadText])
def test_an_error_of_the_protocol_while_a_request_is_sent_ends_only_that_request(raw, kind, error_of):
    client, peer, _, _ = scripted(raw, {"1": Reply(1, "one"), "3": Reply(3, "three")}, kind)
    first, _ = asked(client, peer, "a")
    assert isinstance(error_of(client, "b"), LookupError)
    assert (client.stats.requests_in_flight, client.stats.requests_failed) == (1, 1)
    third, id = asked(client, peer, "c")
    assert id == 3
    for text in ("1", "3"):
        peer.send_text(text)
    assert [first.result(LONG), third.result(LONG)] == ["one", "three"]
    assert client.stats.connections == 1
    client.close(timeout=0)


def test_in_fifo_order_a_request_that_could_not_be_encoded_has_no_position(raw):
    class Fussy(wsclient.Fifo):
        def encode_request(self, message, id):
            if message == "bad" and id > 1:  # the first is the trial encoding
                raise LookupError("not this one")
            return message

    client, peer, _ = open_against(raw, protocol=Fussy())
    first = client.submit("first")
    assert isinstance(client.submit("bad").exception(LONG), LookupError)
    last = client.submit("last")
    assert [peer.receive_text(), peer.receive_text()] == ["first", "last"]
    for text in ("to the first", "to the last"):
        peer.send_text(text)
    assert [first.result(LONG), last.result(LONG)] == ["to the first", "to the last"]
    client.close(timeout=0)


def test_a_message_that_uses_the_id_of_a_request_at_the_moment_it_is_assigned_is_lost_and_logged(raw, caplog):
    class Late(wsclient.JsonId):
        def new_id(self):
            id = super().new_id()
            if deliveries == []:
                deliveries.append(client.send({"id": id, "method": "mine"}))
            return id

    deliveries = None
    client, peer, _ = open_against(raw, protocol=Late("id"))
    deliveries = []
    future = client.submit({"method": "ours"})
    assert json.loads(peer.receive_text())["method"] == "ours"
    client.send("mark")
    assert peer.receive_text() == "mark"
    assert deliveries[0].state == "lost"
    eventually(lambda: "a request with the id 1, which the message contains, is in flight" in caplog.text)
    peer.send_text('{"id": 1, "result": "its own"}')
    assert future.result(LONG)["result"] == "its own"
    client.close(timeout=0)


def test_a_subclass_of_json_id_can_have_ids_that_are_not_numbers(raw):
    class Sessions(wsclient.JsonId):
        def id_of(self, message):
            return (message["session"], message["id"])

        def encode_request(self, message, id):
            return self.encode(message)

        def decode(self, payload):
            message = json.loads(payload)
            return Reply((message["session"], message["id"]), message["result"])

    client, peer, _ = open_against(raw, protocol=Sessions("id"))
    futures = [client.submit({"session": session, "id": 5}) for session in "ab"]
    assert [json.loads(peer.receive_text()) for _ in futures] == [{"session": s, "id": 5} for s in "ab"]
    for session in "ba":
        peer.send_text(json.dumps({"session": session, "id": 5, "result": session.upper()}))
    assert [future.result(LONG) for future in futures] == ["A", "B"]
    client.close(timeout=0)


# --- several answers -------------------------------------------------------------------------------------------------


class Janus(Scripted):
    """A reply ``ack`` is not the final answer."""

    def final(self, request, value):
        self.reported = request, value
        return value != "ack"


def test_an_acknowledgement_is_skipped(raw):
    client, peer, seen, _ = scripted(raw, {"ack": Reply(1, "ack"), "end": Reply(1, "done")}, Janus)
    message = ["watch"]
    future = client.submit(message)
    message.append("changed afterwards")
    peer.receive_text()
    peer.send_text("ack")
    peer.send_text("mark")
    eventually(lambda: seen == ["mark"])
    assert not future.done()
    assert client.protocol.reported == (["watch"], "ack")
    peer.send_text("end")
    assert future.result(LONG) == "done"
    client.close(timeout=0)


def test_until_overrides_the_final_of_the_protocol(raw):
    meanings = {f"{kind}{id}": Reply(id, kind) for kind in ("ack", "end", "more") for id in (1, 2)}
    client, peer, _, _ = scripted(raw, meanings, Janus)
    early, first = asked(client, peer, "a", until=lambda reply: True)
    peer.send_text(f"ack{first}")
    assert early.result(LONG) == "ack"
    late, second = asked(client, peer, "b", until=lambda reply: reply == "more")
    peer.send_text(f"end{second}")
    peer.send_text(f"more{second}")
    assert late.result(LONG) == "more"
    client.close(timeout=0)


@pytest.mark.parametrize(
    ("meanings", "value"),
    [
        ([Item(1, "a"), Item(1, "b"), End(1)], "b"),
        ([Item(1, "a"), End(1, "last")], "last"),
        ([Item(1, "a"), End(1, None)], None),
        ([End(1)], None),
        ([Item(1, "a"), Reply(1, "reply")], "reply"),
    ],
)
def test_a_request_with_many_answers_returns_the_end_or_the_last_of_them(raw, meanings, value):
    client, peer, seen, _ = scripted(raw, {"all": meanings})
    future, _ = asked(client, peer, "ask")
    peer.send_text("all")
    assert future.result(LONG) == value
    assert seen == []
    client.close(timeout=0)


@pytest.mark.parametrize("options", [{}, {"until": lambda value: False}])
def test_an_end_is_final_for_any_final_and_until(raw, options):
    client, peer, _, _ = scripted(raw, {"end": End(1, "ack")}, Janus)
    future, _ = asked(client, peer, "ask", **options)
    peer.send_text("end")
    assert future.result(LONG) == "ack"
    client.close(timeout=0)


def test_an_item_ends_a_request_only_if_until_accepts_it(raw):
    client, peer, seen, _ = scripted(raw, {str(n): Item(1, n) for n in range(4)})
    future, _ = asked(client, peer, "ask", until=lambda value: value == 2)
    for n in range(4):
        peer.send_text(str(n))
    assert future.result(LONG) == 2
    eventually(lambda: seen == [3])  # after the end: unmatched
    assert client.stats.requests_late == 1
    client.close(timeout=0)


def test_an_item_of_a_stream_that_has_ended_reaches_only_on_message(raw):
    client, peer, seen, _ = scripted(raw, {"a": Item(1, "A"), "end": End(1), "late": Item(1, "LATE"), "again": End(1)})
    stream = client.stream("ask", timeout=LONG)
    peer.receive_text()
    other = client.stream("other", timeout=LONG)
    peer.receive_text()
    for text in ("a", "end", "late", "again", "mark"):
        peer.send_text(text)
    assert list(stream) == ["A"]
    eventually(lambda: seen == ["LATE", "mark"])
    with pytest.raises(TimeoutError):
        other.get(timeout=0)
    client.close(timeout=0)


def test_a_failure_ends_a_request_that_already_had_answers(raw):
    client, peer, _, _ = scripted(raw, {"a": Item(1, "A"), "no": Failure(1, wsclient.RemoteError(5, "no more"))})
    future, _ = asked(client, peer, "ask")
    peer.send_text("a")
    peer.send_text("no")
    with pytest.raises(wsclient.RemoteError, match="no more"):
        future.result(LONG)
    client.close(timeout=0)


# --- attributes ------------------------------------------------------------------------------------------------------


def test_with_one_in_flight_other_requests_are_queued_and_a_timeout_makes_room(raw):
    class Single(Scripted):
        max_in_flight = 1

    client, peer, _, _ = scripted(raw, {"3": Reply(3, "three")}, Single)
    first, second = client.submit("a", timeout=AMPLE), client.submit("b", timeout=SHORT)
    third = client.submit("c", timeout=LONG)
    client.send("a message is no request")
    assert peer.receive_text() == "1:a"
    eventually(lambda: client.stats.queue_depth >= 1)
    for future, phase in ((second, "queued"), (first, "waiting")):
        with pytest.raises(wsclient.RequestTimeout) as caught:
            future.result(LONG)
        assert caught.value.phase == phase
    came = {peer.receive_text(), peer.receive_text()}
    assert "a message is no request" in came
    (sent,) = came - {"a message is no request"}
    id, _, text = sent.partition(":")
    assert text == "c"
    client.protocol.meanings["reply"] = Reply(int(id), "three")
    peer.send_text("reply")
    assert third.result(LONG) == "three"
    client.close(timeout=0)


@pytest.mark.parametrize(("code", "fatal"), [(4001, True), (4002, False)])
def test_after_a_fatal_close_code_of_the_protocol_the_client_has_failed(raw, code, fatal):
    class Fatal(Scripted):
        fatal_codes = frozenset({4001})

    client, peer, _, _ = scripted(raw, {}, Fatal)
    peer.send_frame(8, code.to_bytes(2, "big") + b"go away")
    peer.receive_frame()
    peer.close()
    if fatal:
        eventually(lambda: client.state is wsclient.State.FAILED)
        with pytest.raises(wsclient.ClientClosed, match="go away"):
            client.request("x")
    else:
        raw.accept().upgrade()
        eventually(lambda: client.stats.connections == 2)
    client.close(timeout=0)


def test_a_protocol_offers_its_subprotocols(raw):
    class Offering(Scripted):
        subprotocols = ("lines.v2", "lines.v1")

    client = wsclient.Client(raw.url, protocol=Offering(), ping_interval=None)
    starting = BlockingCall(client.start)
    peer = raw.accept()
    peer.upgrade("Sec-WebSocket-Protocol: lines.v1")
    starting.result()
    assert peer.header("Sec-WebSocket-Protocol") == "lines.v2, lines.v1"
    client.close(timeout=0)


def test_the_setup_of_a_protocol_comes_before_that_of_the_user(raw):
    steps = []

    class HandshakeOptions(Scripted):
        def on_session(self, session):
            session.send("hello")
            steps.append(session.recv(timeout=LONG))

    client = wsclient.Client(
        raw.url, protocol=HandshakeOptions(), ping_interval=None, on_session=lambda _, session: steps.append("user's")
    )
    client.send("queued")
    starting = BlockingCall(client.start)
    peer = raw.accept().upgrade()
    assert peer.receive_text() == "hello"
    peer.send_text("welcome")
    assert peer.receive_text() == "queued"
    starting.result()
    assert steps == ["welcome", "user's"]
    client.close(timeout=0)


def test_one_protocol_object_serves_one_client_even_after_that_client_has_closed():
    protocol = Scripted()
    wsclient.Client("ws://127.0.0.1:9/", protocol=protocol).close()
    with pytest.raises(ValueError, match="another client"):
        wsclient.Client("ws://127.0.0.1:9/", protocol=protocol)


def test_a_control_message_is_answered_before_the_queue_and_not_delivered(raw):
    class Single(Scripted):
        max_in_flight = 1

    meanings = {"ping": Control("pong"), "quiet": Control(), "both": [Control(b"\x01"), Event("news")]}
    client, peer, seen, _ = scripted(raw, meanings, Single)
    client.submit("first")
    client.submit("waits in the queue")
    assert peer.receive_text() == "1:first"
    with client.listen() as stream:
        for text in ("quiet", "ping", "both"):
            peer.send_text(text)
        assert [peer.receive_frame(), peer.receive_frame()] == [(1, b"pong"), (2, b"\x01")]
        assert stream.get(LONG) == "news"
    eventually(lambda: seen == ["news"])
    client.close(timeout=0)
