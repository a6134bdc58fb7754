"""JSON in binary messages (``binary=True``), and what JSON-RPC servers leave out."""

import json
import re
import tracemalloc

import pytest

from wsclient import Client, JsonId, JsonRpc, MessageTooBig, RemoteError, connect
from wsclient._options import MAX_BATCH

from ..support import LONG, Server, eventually


class Recorded:
    """A handler that answers in binary messages, and keeps what it received."""

    def __init__(self):
        self.kinds = []

    def __call__(self, connection, message):
        self.kinds.append(type(message))
        calls = json.loads(message)
        if isinstance(calls, list):
            connection.send(json.dumps([{"id": one["id"], "result": one["params"]} for one in calls]).encode())
        elif "method" in calls and "id" in calls:
            connection.send(json.dumps({"id": calls["id"], "result": calls["params"]}).encode())


@pytest.mark.parametrize("protocol", [JsonId(binary=True, result="result"), JsonRpc(binary=True)], ids=["id", "rpc"])
def test_requests_and_replies_are_json_in_binary_messages(protocol):
    handler = Recorded()
    with Server(handler) as server, connect(server.url, protocol=protocol) as client:
        assert client.call("add", [1, 2], timeout=LONG) == [1, 2]
        assert client.request({"id": "own", "method": "add", "params": [3]}, timeout=LONG) == [3]
        client.notify("log", ["ü"])
        client.flush(LONG)
        server.wait_for(3)
    assert handler.kinds == [bytes] * 3


def test_a_batch_is_one_binary_message():
    handler = Recorded()
    batch = [{"method": "a", "params": 1}, {"method": "b", "params": 2}]
    with Server(handler) as server, connect(server.url, protocol=JsonRpc(binary=True)) as client:
        assert client.request(batch, timeout=LONG) == [1, 2]
    assert handler.kinds == [bytes]


def test_answers_to_the_servers_calls_are_binary_too():
    got = []
    call = {"jsonrpc": "2.0", "id": 7, "method": "ask", "params": None}

    def handler(connection, message):
        got.append(message)
        if len(got) == 1:
            connection.send(json.dumps(call).encode())
            connection.send(json.dumps([call, call]).encode())

    with Server(handler) as server:
        with connect(server.url, protocol=JsonRpc(binary=True), handlers={"ask": lambda params: 5}) as client:
            client.notify("go")
            eventually(lambda: len(got) == 3)
    answer = {"jsonrpc": "2.0", "id": 7, "result": 5}
    assert [json.loads(one) for one in got[1:]] in ([answer, [answer, answer]], [[answer, answer], answer])
    assert all(type(one) is bytes for one in got)


@pytest.mark.parametrize("payload", [b"\xff\x00", b"plain", b"", b"[1,", b"7"])
def test_other_binary_messages_stay_bytes(payload):
    protocol = JsonId(binary=True)
    Client("ws://host/", protocol=protocol)
    assert protocol.decode(payload).message == payload


def test_text_is_decoded_with_binary_too_and_messages_of_the_caller_keep_their_kind():
    protocol = JsonId(binary=True)
    Client("ws://host/", protocol=protocol)
    assert protocol.decode('{"a":1}').message == {"a": 1}
    assert protocol.encode("text") == "text"
    assert protocol.encode(b"bytes") == b"bytes"
    assert protocol.encode([1]) == b"[1]"


# --- JSON-RPC --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("members", [{}, {"result": None}, {"error": None}, {"result": None, "error": None}])
def test_a_call_whose_reply_has_neither_result_nor_error_returns_none(members):
    def handler(connection, message):
        connection.send(json.dumps({"jsonrpc": "2.0", "id": json.loads(message)["id"], **members}))

    with Server(handler) as server, connect(server.url, protocol=JsonRpc()) as client:
        assert client.call("save", timeout=LONG) is None


def test_an_error_without_a_result_is_raised_as_before():
    def handler(connection, message):
        connection.send(json.dumps({"id": json.loads(message)["id"], "error": {"code": 3, "message": "no"}}))

    with Server(handler) as server, connect(server.url, protocol=JsonRpc()) as client:
        with pytest.raises(RemoteError, match="no"):
            client.call("save", timeout=LONG)


def test_the_topic_of_a_notification_may_be_in_its_params():
    event = {"jsonrpc": "2.0", "method": "subscription", "params": {"channel": "trades", "data": 1}}
    got = []
    with Server(lambda connection, message: connection.send(json.dumps(event))) as server:
        with connect(server.url, protocol=JsonRpc(topic=("params", "channel"))) as client:
            client.on("trades", got.append)
            client.notify("go")
            eventually(lambda: got)
    assert got == [event]


# --- unguessable ids -------------------------------------------------------------------------------------------------

UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def test_ids_may_be_random_uuids():
    protocol = JsonId(ids="uuid")
    ids = [protocol.new_id() for _ in range(200)]
    assert all(UUID4.fullmatch(id) for id in ids)
    assert len(set(ids)) == 200


def test_two_clients_of_a_server_that_sends_replies_to_all_do_not_take_each_others():
    connections = []

    def broadcast(connection, message):
        if connection not in connections:
            connections.append(connection)
        if len(connections) == 2:  # answer both requests of the two clients, to both
            asked.append(json.loads(message))
            for one in asked:
                for other in connections:
                    other.send(json.dumps({"id": one["id"], "to": one["who"]}))
        else:
            asked.append(json.loads(message))

    asked = []
    with Server(broadcast) as server:
        with (
            connect(server.url, protocol=JsonId(ids="uuid")) as a,
            connect(server.url, protocol=JsonId(ids="uuid")) as b,
        ):
            first = a.submit({"who": "a"}, timeout=LONG)
            eventually(lambda: asked)
            assert b.request({"who": "b"}, timeout=LONG)["to"] == "b"
            assert first.result(LONG)["to"] == "a"


@pytest.mark.parametrize("ids", [None, "counter", 5])
def test_other_values_of_ids_are_refused(ids):
    with pytest.raises(TypeError, match="ids must be int, str, 'uuid' or a function"):
        JsonId(ids=ids)


@pytest.mark.parametrize("space", ["", " "])
def test_a_reply_in_a_text_message_is_decoded_too(space):
    def answer(connection, message):
        connection.send(space + json.dumps({"id": json.loads(message)["id"], "result": 5}))

    with Server(answer) as server, connect(server.url, protocol=JsonRpc(binary=True)) as client:
        assert client.call("five", timeout=LONG) == 5


@pytest.mark.slow
@pytest.mark.parametrize("kind", [str, bytes])
def test_a_large_array_is_decoded_only_up_to_the_limit(kind):
    text = f"[{'[],' * 200_000}[]]"
    payload = text if kind is str else text.encode()
    tracemalloc.start()
    try:
        with pytest.raises(MessageTooBig):
            JsonRpc(binary=True).decode(payload)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 110 * MAX_BATCH  # so many elements take 70 bytes each; all of them, twice as much
