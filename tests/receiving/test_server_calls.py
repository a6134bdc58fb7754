"""Answers to calls of the server: the result or exception of the handler, sent only to the connection that called."""

import json
import logging
import re
import threading

import pytest

import wsclient
from wsclient import JsonId, JsonRpc
from wsclient.protocols import Call, Control, Event

from ..support import LONG, SHORT, eventually
from ..support.peers import Numbered, open_against


def ask(peer, id, method, params=None):
    peer.send_text(json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))


def answer_of(peer):
    return json.loads(peer.receive_text())


def fail(params):
    raise LookupError("no such thing")


def refuse(params):
    raise wsclient.RemoteError(42, "not you", {"why": params})


def test_the_result_of_a_handler_is_sent_as_the_answer(raw):
    client, peer, seen = open_against(raw, protocol=JsonRpc(), handlers={"double": lambda params: params * 2})
    ask(peer, "x", "double", [1])
    assert answer_of(peer) == {"jsonrpc": "2.0", "id": "x", "result": [1, 1]}
    assert seen == []
    client.close(timeout=0)


def test_a_handler_can_be_added_by_a_decorator_that_returns_the_function(raw):
    client, peer, _ = open_against(raw)

    @client.handle("half")
    def half(params):
        return params / 2

    assert half(4) == 2
    peer.send_text('{"id": 9, "method": "half", "params": 5}')
    assert answer_of(peer) == {"id": 9, "result": 2.5}
    client.close(timeout=0)


def test_a_remote_error_is_sent_as_the_answer_and_not_reported(raw, caplog):
    errors = []
    client, peer, _ = open_against(
        raw, protocol=JsonRpc(), handlers={"x": refuse}, on_error=lambda _, error: errors.append(error)
    )
    ask(peer, 1, "x", 5)
    assert answer_of(peer)["error"] == {"code": 42, "message": "not you", "data": {"why": 5}}
    client.close(timeout=SHORT)  # the peer does not answer the close frame
    assert errors == []
    assert "RemoteError" not in caplog.text


@pytest.mark.parametrize("workers", [0, 1])
def test_any_other_exception_is_answered_and_logged_and_passed_to_on_error(raw, caplog, workers):
    errors = []
    client, peer, _ = open_against(raw, protocol=JsonRpc(), on_error=lambda _, error: errors.append(error))
    client.handle("x", workers=workers)(fail)
    with caplog.at_level(logging.ERROR, "wsclient"):
        ask(peer, 1, "x")
        answer = answer_of(peer)
        assert answer["error"]["code"] == -32603
        assert "no such thing" in answer["error"]["message"]
        eventually(lambda: errors)
    assert isinstance(errors[0], LookupError)
    assert "Traceback" in caplog.text
    ask(peer, 2, "x")
    assert answer_of(peer)["id"] == 2  # the client continues
    client.close(timeout=0)


def test_a_result_that_cannot_be_encoded_is_answered_with_an_error(raw):
    errors = []
    client, peer, _ = open_against(
        raw, protocol=JsonRpc(), handlers={"x": lambda _: object()}, on_error=lambda _, error: errors.append(error)
    )
    ask(peer, 1, "x")
    assert answer_of(peer)["error"]["code"] == -32603
    eventually(lambda: errors)
    client.close(timeout=0)


@pytest.mark.parametrize(("protocol", "refused"), [(JsonRpc, True), (JsonId, False)])
def test_a_call_without_a_handler_goes_to_on_message_and_json_rpc_answers_with_an_error(raw, protocol, refused):
    client, peer, seen = open_against(raw, protocol=protocol())
    ask(peer, 1, "nope", 5)
    eventually(lambda: seen)
    assert seen == [{"jsonrpc": "2.0", "id": 1, "method": "nope", "params": 5}]
    if refused:
        answer = answer_of(peer)
        assert (answer["id"], answer["error"]["code"]) == (1, -32601)
    client.send({"mark": 1})
    assert answer_of(peer)["mark"] == 1
    client.close(timeout=0)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_answer_goes_only_to_the_connection_of_its_call(raw, workers):
    asked, go_on = threading.Event(), threading.Event()

    def slow(params):
        asked.set()
        assert go_on.wait(LONG)
        return "late"

    client, peer, _ = open_against(raw, protocol=JsonRpc(), handlers={"quick": lambda _: "in time"})
    client.handle("slow", workers=workers)(slow)
    ask(peer, 1, "slow")
    assert asked.wait(LONG)
    peer.reset()
    again = raw.accept().upgrade()
    assert client.wait_until(wsclient.State.OPEN, LONG)
    eventually(lambda: client.stats.connections == 2)
    ask(again, 2, "quick")
    go_on.set()
    assert answer_of(again) == {"jsonrpc": "2.0", "id": 2, "result": "in time"}
    client.close(timeout=0)


def test_calls_that_arrive_during_on_session_are_answered_when_the_connection_is_open(raw):
    asked = []
    arrived, go_on = threading.Event(), threading.Event()

    def set_up(client, session):
        session.recv(timeout=LONG)
        arrived.set()
        assert go_on.wait(LONG)

    client = wsclient.Client(
        raw.url,
        protocol=JsonRpc(),
        on_session=set_up,
        handlers={"echo": lambda params: asked.append(params) or params},
        ping_interval=None,
    )
    starter = threading.Thread(target=client.start)
    starter.start()
    peer = raw.accept().upgrade()
    ask(peer, 1, "echo", "early")
    ask(peer, 2, "nope")
    peer.send_text('{"go": 1}')
    assert arrived.wait(LONG)
    peer.sock.settimeout(SHORT)
    with pytest.raises(TimeoutError):
        peer.receive_text()
    peer.sock.settimeout(LONG)
    go_on.set()
    answers = {answer["id"]: answer for answer in (answer_of(peer), answer_of(peer))}
    starter.join(LONG)
    client.send({"mark": 1})
    assert answer_of(peer)["mark"] == 1  # each was answered once
    assert answers[1]["result"] == "early"
    assert asked == ["early"]
    assert answers[2]["error"]["code"] == -32601
    client.close(timeout=0)


def test_workers_run_at_the_same_time(raw):
    meeting = threading.Barrier(3)
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    client.handle("meet", workers=3)(lambda params: meeting.wait(LONG) >= 0)
    for id in range(3):
        ask(peer, id, "meet")
    assert sorted(answer_of(peer)["id"] for _ in range(3)) == [0, 1, 2]
    client.close(timeout=0)
    eventually(lambda: not [thread for thread in threading.enumerate() if "-worker-" in thread.name])


def test_a_worker_can_send_requests_to_the_server(raw):
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    client.handle("outer", workers=1)(lambda params: client.call("inner", timeout=LONG) + 1)
    ask(peer, "o", "outer")
    inner = answer_of(peer)
    assert inner["method"] == "inner"
    peer.send_text(json.dumps({"id": inner["id"], "result": 4}))
    assert answer_of(peer) == {"jsonrpc": "2.0", "id": "o", "result": 5}
    client.close(timeout=0)


def test_a_second_handler_for_a_method_is_refused():
    client = wsclient.Client("ws://localhost", handlers={"x": refuse})
    client.handle("y")(refuse)
    for method in "xy":
        with pytest.raises(ValueError, match="has a handler"):
            client.handle(method)(fail)
    client.close()


def test_a_batch_of_calls_is_answered_with_one_array(raw):
    client, peer, seen = open_against(raw, protocol=JsonRpc(), handlers={"good": lambda p: p, "bad": refuse})
    client.handle("slow", workers=1)(lambda params: "slow")
    calls = [
        {"id": 1, "method": "good", "params": [1]},
        {"method": "note"},
        {"id": "2", "method": "bad"},
        {"id": 3, "method": "nope"},
        {"id": 4, "method": "slow"},
    ]
    peer.send_text(json.dumps(calls))
    answers = {answer["id"]: answer for answer in answer_of(peer)}
    assert sorted(answers, key=str) == [1, "2", 3, 4]
    assert (answers[1]["result"], answers[4]["result"]) == ([1], "slow")
    assert (answers["2"]["error"]["code"], answers[3]["error"]["code"]) == (42, -32601)
    eventually(lambda: len(seen) == 2)
    client.send("mark")
    assert peer.receive_text() == "mark"  # and nothing else was sent
    client.close(timeout=0)


def test_a_batch_of_notifications_is_not_answered(raw):
    client, peer, seen = open_against(raw, protocol=JsonRpc())
    peer.send_text('[{"method": "a"}, {"method": "b"}]')
    eventually(lambda: seen == [{"method": "a"}, {"method": "b"}])
    client.send("mark")
    assert peer.receive_text() == "mark"
    client.close(timeout=0)


# --- calls that can't be answered ------------------------------------------------------------------------------------


def deep():
    """A list that is nested too deeply to be encoded or printed."""
    nested = []
    for _ in range(100_000):
        nested = [nested]
    return nested


class DeepJson:
    """A codec that decodes the string ``deep`` as such a list, which the decoders of some versions of Python accept."""

    dumps = staticmethod(json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode)

    @staticmethod
    def loads(text):
        return json.loads(
            text, object_hook=lambda found: {**found, "id": deep()} if found.get("id") == "deep" else found
        )


def open_and_collect_errors(raw, **options):
    """An open client, its peer, the messages of ``on_message``, and the errors of ``on_error``."""
    errors = []
    options = {"protocol": JsonRpc(), "json": DeepJson, **options}
    return *open_against(raw, on_error=lambda _, error: errors.append(error), **options), errors


def assert_connection_continues(client, peer):
    future = client.submit({"method": "x"})
    peer.send_text(json.dumps({"jsonrpc": "2.0", "id": answer_of(peer)["id"], "result": "y"}))
    assert future.result(LONG) == "y"
    assert client.stats.connections == 1
    client.close(timeout=0)


UNANSWERABLE = [
    '{"jsonrpc": "2.0", "id": NaN, "method": "x"}',
    '{"jsonrpc": "2.0", "id": Infinity, "method": "x"}',
    '{"jsonrpc": "2.0", "id": "\\ud800", "method": "x"}',
    '{"jsonrpc": "2.0", "id": {"\\udfff": [1]}, "method": "x"}',
    '{"jsonrpc": "2.0", "id": "deep", "method": "x"}',
]


@pytest.mark.parametrize("message", [*UNANSWERABLE, '{"jsonrpc": "2.0", "id": 1, "method": "\\ud800"}'])
def test_a_call_without_handler_that_cannot_be_answered_is_reported_once(raw, message, caplog):
    client, peer, seen, errors = open_and_collect_errors(raw)
    peer.send_text(message)
    eventually(lambda: errors and seen)
    assert_connection_continues(client, peer)
    (error,) = errors
    assert isinstance(error, wsclient.ProtocolError)
    assert "was not answered" in str(error)
    assert isinstance(error.__cause__, (ValueError, RecursionError))
    assert error.payload is seen[0]
    assert "was not answered" in caplog.text
    assert "defect" not in caplog.text


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("message", UNANSWERABLE)
def test_a_call_with_a_handler_that_cannot_be_answered_is_reported_once(raw, message, workers, caplog):
    client, peer, _, errors = open_and_collect_errors(raw)
    called = []
    client.handle("x", workers=workers)(called.append)
    peer.send_text(message)
    eventually(lambda: errors)
    assert_connection_continues(client, peer)
    (error,) = errors
    assert isinstance(error, wsclient.ProtocolError)
    assert "was not answered" in str(error)
    assert called == [None]
    assert "Traceback" in caplog.text


def test_a_handler_that_raises_for_a_call_that_cannot_be_answered_is_reported_with_its_error(raw):
    client, peer, _, errors = open_and_collect_errors(raw, handlers={"x": fail})
    peer.send_text(UNANSWERABLE[0])
    eventually(lambda: errors)
    assert_connection_continues(client, peer)
    (error,) = errors
    assert isinstance(error, wsclient.ProtocolError)
    assert "no such thing" in str(error.__cause__)


def raise_surrogate(params):
    raise LookupError(f"no {params}")


def exit_program(params):
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("handler", "reported"), [(lambda params: params, UnicodeEncodeError), (raise_surrogate, LookupError)]
)
def test_an_answer_with_a_lone_surrogate_becomes_an_error_with_an_escape(raw, handler, reported, monkeypatch):
    monkeypatch.setattr(logging.getLogger("wsclient"), "propagate", False)  # pytest-xdist can't send a log with it
    client, peer, _, errors = open_and_collect_errors(raw, handlers={"x": handler})
    peer.send_text('{"jsonrpc": "2.0", "id": 1, "method": "x", "params": "\\ud800"}')
    assert "\\ud800" in answer_of(peer)["error"]["message"]
    eventually(lambda: errors)
    assert [type(error) for error in errors] == [reported]
    assert_connection_continues(client, peer)


def test_a_handler_that_raises_system_exit_is_answered_with_an_error(raw):
    client, peer, _, errors = open_and_collect_errors(raw, handlers={"x": exit_program})
    ask(peer, 1, "x")
    assert answer_of(peer)["error"]["code"] == -32603
    eventually(lambda: errors)
    assert isinstance(errors[0], SystemExit)
    assert_connection_continues(client, peer)


@pytest.mark.parametrize("bad", ['{"id": NaN, "method": "nope"}', '{"id": "\\ud800", "method": "good"}'])
def test_a_call_that_cannot_be_answered_does_not_hold_back_the_other_answers_of_its_batch(raw, bad):
    client, peer, _, errors = open_and_collect_errors(raw, handlers={"good": lambda params: "yes"})
    peer.send_text(f'[{{"id": 1, "method": "good"}}, {bad}, {{"id": 2, "method": "nope"}}]')
    answers = answer_of(peer)
    assert sorted(answer["id"] for answer in answers) == [1, 2]
    eventually(lambda: errors)
    assert_connection_continues(client, peer)
    assert len(errors) == 1


class Odd(wsclient.Protocol):
    """A protocol of which each message names a fault of a user-defined protocol."""

    def new_id(self):
        return 1

    def encode_request(self, message, id):
        return message

    def encode_result(self, id, value):
        return {"not": "encoded"}

    encode_error = encode_result

    def decode(self, payload):
        return {
            "control": Control("\ud800"),
            "control of a wrong type": Control({"not": "encoded"}),
            "method": Call(1, ["not", "hashable"], None, "message"),
            "topic": Event("message", topic=["not", "hashable"]),
            "key": Event("message", stream=["not", "hashable"]),
            "topic that raises": Event("message", topic=Unhashable()),
            "key that raises": Event("message", stream=Unhashable()),
            "answer": Call(1, "x", None),
            "kinds": [deep()],
        }.get(payload, Event(payload))


class Unhashable:
    def __hash__(self):
        raise LookupError("no hash today")


@pytest.mark.parametrize(
    "fault",
    [
        "control",
        "control of a wrong type",
        "answer",
        "kinds",
        "topic that raises",
        "key that raises",
    ],
)
def test_a_fault_of_a_protocol_is_reported_once_and_the_connection_continues(raw, fault, caplog):
    client, peer, seen, errors = open_and_collect_errors(raw, protocol=Odd(), handlers={"x": lambda params: 1})
    client.on("x", seen.append)
    subscription = client.subscribe("subscribe", match=lambda message: False)
    peer.send_text(fault)
    peer.send_text("next")
    eventually(lambda: errors and seen[-1:] == ["next"])
    assert client.stats.connections == 1
    subscription.close()
    client.close(timeout=0)
    assert [type(error) for error in errors] == [wsclient.ProtocolError]
    assert "defect" not in caplog.text


@pytest.mark.parametrize("fault", ["topic", "key", "method"])
def test_a_message_whose_topic_key_or_method_is_not_hashable_belongs_to_no_handler_or_subscription(raw, fault):
    client, peer, seen, errors = open_and_collect_errors(raw, protocol=Odd())
    client.on("x", seen.append)
    peer.send_text(fault)
    eventually(lambda: seen == ["message"])
    client.close(timeout=0)
    assert errors == []


class OddFifo(wsclient.Fifo):
    def decode(self, payload):
        meaning = super().decode(payload)
        return Event("message", topic=Unhashable()) if payload == "fault" else meaning


def test_a_message_that_cannot_be_processed_ends_the_connection_if_replies_are_correlated_by_order(raw):
    client, peer, _, errors = open_and_collect_errors(raw, protocol=OddFifo())
    client.on("x", print)
    future = client.submit("a")
    peer.receive_text()
    peer.send_text("fault")
    with pytest.raises(wsclient.ConnectionLost):
        future.result(LONG)
    raw.accept().upgrade()
    eventually(lambda: client.stats.connections == 2)
    client.close(timeout=0)
    (error,) = errors
    assert isinstance(error, wsclient.ProtocolError)
    assert isinstance(error.__cause__, LookupError)


def test_an_error_with_data_that_cannot_be_encoded_is_answered_without_them(raw):
    def refuse(params):
        raise wsclient.RemoteError(params, "not you", {"why": object()})

    client, peer, _ = open_against(raw, protocol=JsonRpc(), handlers={"x": refuse})
    ask(peer, 1, "x", 42)
    assert answer_of(peer)["error"] == {"code": 42, "message": "not you"}
    client.close(timeout=0)


def test_an_answer_that_cannot_be_queued_is_logged(raw, caplog):
    client, peer, _ = open_against(
        raw, protocol=JsonRpc(), name="the client", send_queue=wsclient.SendQueue(max_bytes=1000)
    )
    client.handle("large", lambda params: "x" * 2000)
    ask(peer, 1, "large")
    eventually(lambda: "the client: the answer to a call was not sent: The message has 20" in caplog.text)
    client.close(timeout=0)


class Latin(JsonId):
    """Its requests are not in UTF-8."""

    def encode_request(self, message, id):
        return json.dumps({**message, "id": id}, ensure_ascii=False).encode("latin-1")


class Colons(Numbered):
    """``<id>:<method>``; a call and a request look alike."""

    def encode_request(self, message, id):
        return f"{id}:{message['method']}"

    def decode(self, payload):
        id, _, method = payload.partition(":")
        return Call(int(id), method, None, payload)


@pytest.mark.parametrize(
    ("protocol", "text"),
    [(Latin(), '{{"id": {}, "method": "grün"}}'), (Colons(), "{}:grün")],
    ids=["a request that is not in UTF-8", "a protocol without echoes"],
)
def test_a_call_with_the_id_and_the_method_of_a_request_is_a_call_if_it_can_not_be_an_echo(raw, protocol, text):
    called = threading.Event()
    client, peer, _ = open_against(raw, protocol=protocol)
    client.handle("grün", lambda params: called.set())
    future = client.submit({"method": "grün"}, timeout=LONG)
    id = int(re.search(rb"[0-9]+", peer.receive_frame()[1])[0])
    peer.send_text(text.format(id))
    assert called.wait(LONG)
    assert not future.done()
    client.close(timeout=0)
