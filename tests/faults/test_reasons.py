"""The errors of calls that waited in vain: they name the request, the time, and why it did not succeed."""

import contextlib
import json
import pickle
import re
import socket
import threading

import pytest
import tenacity

import wsclient
import wsclient.testing
from wsclient import JsonId, JsonRpc, State

from ..support import AMPLE, LONG, SHORT, Server, eventually
from ..support.peers import await_processed, open_pair, start_call
from ..support.stage import PLENTY
from ..support.threads import on_thread


def refused_port():
    """A port that refuses connections: it was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


QUICK = wsclient.Reconnect(wait=tenacity.wait_fixed(0.01))
REFUSED = "there was no connection: {} to connect failed, the last one with: Could not connect to ws://127.0.0.1"


@pytest.fixture
def unreachable():
    """A client whose server refuses each attempt; two have failed already."""
    client = wsclient.Client(f"ws://127.0.0.1:{refused_port()}/", retry_first=True, reconnect=QUICK)
    thread = threading.Thread(target=start, args=(client,))
    thread.start()
    eventually(lambda: client.stats.failed_attempts >= 2)
    yield client
    client.close()
    thread.join(LONG)


def start(client):
    with contextlib.suppress(wsclient.ClientClosed, wsclient.ConnectError):
        client.start()


def timed_out(call, *args, **options):
    with pytest.raises(wsclient.RequestTimeout) as caught:
        call(*args, **options)
    return caught.value


def reason(client, future):
    """The text of the error that the request would end with now, without the wait for its deadline."""
    return str(client._wsclient.context.requests.timeout_of(future._request))


# --- no connection ---------------------------------------------------------------------------------------------------


def test_a_start_that_times_out_after_refusals_has_their_number_and_the_last_error(unreachable):
    with pytest.raises(wsclient.ConnectError) as caught:
        unreachable.start(timeout=SHORT)
    error = caught.value
    assert 2 <= error.attempts <= unreachable.stats.failed_attempts
    assert re.match(
        rf"The client was not open within 0\.2 s, .*: {REFUSED.format(f'{error.attempts} attempts?')}", str(error)
    )
    assert isinstance(error.last, wsclient.ConnectError)
    assert isinstance(error.last.last, ConnectionRefusedError)
    assert error.__cause__ is error.last
    assert str(unreachable.last_error) == str(error.last)
    again = pickle.loads(pickle.dumps(error))
    assert (again.attempts, str(again.last)) == (error.attempts, str(error.last))


def test_the_error_of_a_start_that_times_out_in_the_first_attempt_names_the_attempt(raw):
    with pytest.raises(wsclient.ConnectError, match=r"not open within 0\.2 s, .*: the first attempt has not ended;"):
        wsclient.Client(raw.url).start(timeout=SHORT)


def test_the_error_of_a_start_that_times_out_in_on_session_names_on_session(mute_server):
    begun = threading.Event()

    def set_up(client, session):
        begun.set()
        session.recv()

    client = wsclient.Client(mute_server.url, on_session=set_up)
    thread = threading.Thread(target=start, args=(client,))
    thread.start()
    assert begun.wait(LONG)
    with pytest.raises(wsclient.ConnectError, match=r"start.*: on_session has not returned; give it more time"):
        client.start(timeout=SHORT)
    client.close(timeout=0)
    thread.join(LONG)


@pytest.mark.parametrize("call", [
    lambda client: client.request({"method": "add"}, timeout=SHORT),
    lambda client: client.submit({"method": "add"}, timeout=SHORT).result(LONG),
    lambda client: client.request_many([{"method": "add"}], timeout=SHORT),
    lambda client: client.call("add", timeout=SHORT),
    lambda client: client.stream({"method": "add"}, timeout=SHORT).get(LONG),
    lambda client: client.ping(SHORT),
    lambda client: client.flush(SHORT),
])  # fmt: skip
def test_a_call_that_waits_for_a_connection_has_the_error_of_the_last_attempt_as_its_cause(unreachable, call):
    error = timed_out(call, unreachable)
    assert error.phase == "queued"
    assert re.search(rf"0\.2 s.*{REFUSED.format('[0-9]+ attempts?')}.*refused", str(error))
    assert isinstance(error.__cause__, wsclient.ConnectError)
    assert isinstance(error.__cause__.last, ConnectionRefusedError)


def test_the_error_of_a_full_queue_says_that_there_is_no_connection():
    options = {"retry_first": True, "reconnect": QUICK, "send_queue": wsclient.SendQueue(max_messages=1)}
    client = wsclient.Client(f"ws://127.0.0.1:{refused_port()}/", **options)
    client.send("fills the queue")
    error = timed_out(client.submit, {"method": "add"}, timeout=SHORT)
    assert "The request 'add' could not be sent within 0.2 s" in str(error)
    assert "the send queue had no room, and there was no connection: no attempt to connect has" in str(error)
    assert isinstance(error.__cause__, wsclient.SendQueueFull)
    client.close()


def test_the_error_of_a_send_that_finds_the_queue_full_says_that_there_is_no_connection():
    options = {"retry_first": True, "reconnect": QUICK, "send_queue": wsclient.SendQueue(max_messages=1)}
    client = wsclient.Client(f"ws://127.0.0.1:{refused_port()}/", **options)
    client.send("fills the queue")
    with pytest.raises(
        wsclient.SendQueueFull, match=r"is full.* since there was no connection: no attempt to connect has"
    ):
        client.send("x", timeout=0)
    thread = threading.Thread(target=start, args=(client,))
    thread.start()
    eventually(lambda: client.stats.failed_attempts >= 2)
    with pytest.raises(wsclient.SendQueueFull, match=REFUSED.format("[0-9]+ attempts?")) as caught:
        client.send("x", timeout=0)
    assert isinstance(caught.value.__cause__, wsclient.ConnectError)
    client.close()
    thread.join(LONG)


def test_the_last_error_is_that_of_the_last_failed_attempt_until_a_connection_is_open(server):
    server.reject(503, times=2)
    client = wsclient.Client(server.url, retry_first=True, reconnect=QUICK)
    errors = []
    client.on_connect_error = lambda client, attempt: errors.append(client.last_error)
    assert client.last_error is None
    client.start(LONG)
    assert client.last_error is None
    eventually(lambda: len(errors) == 2)
    assert all(isinstance(error, wsclient.HandshakeError) or error is None for error in errors)
    client.close()


def test_the_last_error_of_a_failed_client_is_the_reason_why_it_failed(server):
    server.reject(403)
    client = wsclient.Client(server.url, retry_first=True)
    with pytest.raises(wsclient.HandshakeError):
        client.start(LONG)
    assert client.state is State.FAILED
    assert client.last_error.status == 403


def test_the_error_of_a_request_whose_connection_was_lost_says_that_it_could_not_be_sent_again():
    with Server() as server:
        client = wsclient.connect(server.url, reconnect=QUICK)
        future = client.submit({"method": "silence"}, timeout=LONG, idempotent=True)
        server.wait_for(1)
    eventually(lambda: client.stats.failed_attempts >= 2)
    assert re.search(
        rf"30 s; .* It could not be sent again: {REFUSED.format('[0-9]+ attempts?')}", reason(client, future)
    )
    client.close()


@pytest.mark.parametrize("option", ["url", "headers", "sock", "ssl_context"])
def test_the_error_of_a_function_that_is_called_for_each_attempt_is_logged_with_its_traceback(option, caplog):
    def broken():
        return {}["token"]

    options = {"url": "wss://localhost:9/", "reconnect": QUICK, option: broken}
    client = wsclient.Client(retry_first=True, **options)
    thread = threading.Thread(target=start, args=(client,))
    thread.start()
    eventually(lambda: client.stats.failed_attempts >= 2)
    client.close()
    thread.join(LONG)
    records = [record for record in caplog.records if "KeyError" in record.getMessage()]
    assert [record.levelname for record in records[:2]] == ["ERROR", "ERROR"]
    assert 'return {}["token"]' in caplog.text
    assert isinstance(client.last_error.__cause__, KeyError)


# --- no reply --------------------------------------------------------------------------------------------------------


def test_a_request_without_a_reply_is_named_by_its_method_and_its_id(mute_server):
    with wsclient.connect(mute_server.url, protocol=JsonRpc()) as client:
        first = start_call(lambda: client.call("add", [1, "secret"], timeout=AMPLE))
        mute_server.wait_for(1)
        messages = (
            {"id": "mine", "method": "x" * 500},
            {"op": "x"},
            {"method": "add", "params": "x" * 10_000},
            [{"method": "a"}, {"method": "b"}],
        )
        futures = [client.submit(message, timeout=AMPLE) for message in messages]
        expected = (
            "The request 'add' with the id 1 got no reply within 1.5 s; the server may still act on it. "
            "Meanwhile no message came."
        )
        assert str(first.exception(LONG)) == expected
        mine, second, third, batch = (future.exception(LONG) for future in futures)
        assert str(mine).startswith(f"The request 'x{'x' * 98}… with the id 'mine' got no reply within 1.5 s")
        assert str(second).startswith("The request with the id 2 got no reply")
        assert str(third).startswith("The request with the id 3 got no reply")
        assert [str(one)[:29] for one in batch.results] == [
            f"The request '{m}' with the id {n}" for m, n in ("a4", "b5")
        ]


def test_the_error_counts_the_other_messages_that_came(raw):
    client, peer = open_pair(raw)
    for match in (None, lambda message: False):
        future = client.submit({"op": "x"}, timeout=LONG, match=match)
        peer.receive_text()
        peer.send_text('{"req_id": 1}')
        peer.send_text("[1]")
        await_processed(peer)
        words = "had its id" if match is None else "was accepted by match="
        assert f"Meanwhile 2 other messages came, of which none {words}." in reason(client, future)
    client.close(timeout=0)


def test_the_error_says_that_replies_came_which_until_rejected(server):
    with wsclient.connect(server.url) as client:
        future = client.submit({"method": "x"}, until=lambda reply: False, timeout=LONG)
        words = "Replies came, but none was accepted as the last one (until=, or the protocol)."
        eventually(lambda: words in reason(client, future))


@pytest.mark.parametrize(("ids", "id"), [(int, 1), (str, "1"), (int, 10**18), (str, str(10**18))])
def test_the_error_says_that_a_reply_came_under_an_id_of_another_type(ids, id):
    other = str if ids is int else int

    def reply(connection, message):
        connection.send(json.dumps({"id": other(json.loads(message)["id"])}))

    with Server(reply) as server, wsclient.connect(server.url, protocol=JsonId(ids=ids)) as client:
        future = client.submit({"op": "x", "id": id}, timeout=LONG)
        shown = f"{other(id)!r} instead of {id!r}"
        words = f"Meanwhile a reply came with the id {shown}: a number and a string are different ids"
        eventually(lambda: words in reason(client, future))
        assert client.stats.requests_late == 1


@pytest.mark.parametrize("protocol", [JsonId, JsonRpc])
def test_the_error_says_that_json_came_in_a_binary_message(protocol):
    def reply(connection, message):
        connection.send(message.encode())

    with Server(reply) as server, wsclient.connect(server.url, protocol=protocol()) as client:
        future = client.submit({"method": "add"}, timeout=LONG)
        words = "Meanwhile a binary message came that looks like JSON; this protocol decodes JSON in text messages only"
        eventually(lambda: words in reason(client, future))
        assert "JsonId(binary=True)" in reason(client, future)


@pytest.mark.parametrize("protocol", [JsonId, JsonRpc])
def test_the_error_says_that_json_in_a_binary_message_is_not_valid(protocol):
    def reply(connection, message):
        connection.send(b'{"id": 1,}')

    with Server(reply) as server, wsclient.connect(server.url, protocol=protocol(binary=True)) as client:
        future = client.submit({"method": "add"}, timeout=LONG)
        words = "Meanwhile a binary message came that begins like JSON, but is not valid JSON"
        eventually(lambda: words in reason(client, future))


def test_the_error_says_that_a_message_came_which_could_not_be_decoded(raw):
    class Careless(JsonId):
        def decode(self, payload):
            return {}[payload] if payload == "bad" else super().decode(payload)

    client, peer = open_pair(raw, protocol=Careless())
    future = client.submit({"op": "x"}, timeout=LONG)
    peer.receive_text()
    peer.send_text('{"id": 1,}')
    eventually(
        lambda: "Meanwhile a text message came that begins like JSON, but is not valid" in reason(client, future)
    )
    peer.send_text("bad")
    eventually(lambda: "a message came that could not be decoded (KeyError: 'bad')." in reason(client, future))
    client.close(timeout=0)


def test_the_error_of_a_request_that_is_answered_by_order_has_no_id(mute_server):
    with wsclient.connect(mute_server.url, protocol=wsclient.Fifo()) as client:
        error = timed_out(client.request, "x", timeout=AMPLE)
    assert str(error).startswith("The request got no reply within 1.5 s; ")


def test_the_error_of_a_flush_without_a_pong_says_that_no_pong_came(raw):
    client, _ = open_pair(raw)
    with pytest.raises(wsclient.FlushTimeout, match=r"^flush\(\) did not finish within 1\.5 s: no pong came"):
        client.flush(AMPLE)
    client.close(timeout=0)


def test_the_error_names_max_in_flight_if_that_is_why_a_request_was_not_sent(mute_server):
    protocol = type("OneAtATime", (JsonId,), {"max_in_flight": 1})()
    with wsclient.connect(mute_server.url, protocol=protocol) as client:
        first = client.submit({"method": "first"}, timeout=None)
        mute_server.wait_for(1)
        error = timed_out(client.request, {"method": "second"}, timeout=SHORT)
        assert str(error).startswith(
            "The request 'second' could not be sent within 0.2 s, and will not be sent: max_in_fl"
        )
        first.cancel()


def test_the_error_of_a_set_up_that_takes_too_long_names_what_it_waited_for(mute_server):
    client = wsclient.Client(
        mute_server.url, session_timeout=AMPLE, on_session=lambda _, session: session.request({"method": "login"})
    )
    with pytest.raises(wsclient.SessionError) as caught:
        client.start(LONG)
    assert "session_timeout=1.5 s. The request 'login' with the id 1 got no reply before its deadline" in str(
        caught.value
    )
    assert isinstance(caught.value.__cause__, wsclient.RequestTimeout)


def test_the_error_of_a_lost_connection_has_the_close_code(raw):
    client, peer = open_pair(raw)
    for text, shown in ((b"", r"\(code 4000\)"), (b"logged out", r"\(code 4000: logged out\)")):
        future = client.submit({"op": "x"}, timeout=LONG)
        peer.receive_text()
        peer.send_frame(8, (4000).to_bytes(2, "big") + text)
        with pytest.raises(wsclient.ConnectionLost, match=f"The connection ended {shown} before the reply came"):
            future.result(LONG)
        peer = raw.accept().upgrade()
    client.close(timeout=0)


# --- echo servers ----------------------------------------------------------------------------------------------------

ADD = {"method": "add", "params": [1, 2]}


@pytest.fixture(scope="module")
def echo():
    with wsclient.testing.Server() as server:
        yield server


def test_the_echo_of_a_request_is_its_reply(echo):
    with wsclient.connect(echo.url) as client:
        assert client.request(ADD, timeout=LONG) == {"id": 1, **ADD}
        assert client.request({"id": "mine", "method": "é", "params": [None, 1.5]}, timeout=LONG)["id"] == "mine"
        assert client.call("add", [1], timeout=LONG) == {"id": 2, "method": "add", "params": [1]}
        assert [one["id"] for one in client.request_many([ADD, ADD], timeout=LONG)] == [3, 4]
        assert client.stats.requests_late == 0


def test_the_echo_of_a_request_of_another_protocol_with_ids_is_its_reply(echo):
    protocol = JsonId(("head", "id"), method=("head", "op"), ids=str, result="result", batch=True)
    with wsclient.connect(
        echo.url, protocol=protocol, on_session=lambda _, s: s.request({"head": {"op": "a"}})
    ) as client:
        assert client.request({"head": {"op": "b"}}, timeout=LONG)["head"]["op"] == "b"
        batch = [{"head": {"op": "c"}}, {"head": {"op": "d"}}]
        assert [one["head"]["op"] for one in client.request(batch, timeout=LONG)] == ["c", "d"]
        with client.stream({"head": {"op": "e"}}, until=lambda reply: True, timeout=LONG) as stream:
            assert stream.get(LONG)["head"]["op"] == "e"


def test_a_call_of_the_server_under_the_id_of_a_request_is_still_a_call(raw):
    client, peer = open_pair(raw, handlers={"add": lambda params: sum(params)})
    future = client.submit(ADD, timeout=LONG)
    peer.receive_text()
    peer.send_text(json.dumps({"id": 1, "method": "add", "params": [1, 3]}))
    assert json.loads(peer.receive_text()) == {"id": 1, "result": 4}
    words = (
        "Meanwhile a message with this id came that has a method ('add'), so it was taken for a call of the server's"
    )
    assert words in reason(client, future)
    client.close(timeout=0)


def test_an_array_with_an_echo_and_a_call_gives_a_reply_and_the_answer_to_the_call(raw):
    client, peer = open_pair(raw, protocol=JsonId(batch=True), handlers={"add": lambda params: sum(params)})
    future = client.submit(ADD, timeout=LONG)
    peer.receive_text()
    peer.send_text(json.dumps([{"id": 1, **ADD}, {"id": 9, "method": "add", "params": [2]}]))
    assert future.result(LONG) == {"id": 1, **ADD}
    assert json.loads(peer.receive_text()) == [{"id": 9, "result": 2}]
    client.close(timeout=0)


def test_a_small_call_is_not_compared_with_a_large_request(raw):
    """Otherwise a server could make the client decode the request again for each small message."""
    client, peer = open_pair(raw)
    client.submit({"method": "add", "params": "x" * 10_000}, timeout=LONG)
    peer.receive_text()
    codec = Counting()
    client.protocol.json = codec
    peer.send_text('{"id":1,"method":"add"}')
    peer.send_text('{"id":1,"method":"add"}')
    await_processed(peer)
    assert codec.loaded == ['{"id":1,"method":"add"}'] * 2
    client.close(timeout=0)


class Counting:
    """A codec that keeps what it decodes."""

    def __init__(self):
        self.loaded = []
        self.dumps = json.dumps

    def loads(self, text):
        self.loaded.append(text)
        return json.loads(text)


def test_with_json_rpc_an_echo_is_a_call_of_the_server(raw):
    client, peer = open_pair(raw, protocol=JsonRpc())
    future = client.submit(ADD, timeout=LONG)
    peer.send_text(peer.receive_text())
    assert json.loads(peer.receive_text())["error"]["code"] == -32601
    assert "Meanwhile a message with this id came that has a method ('add'), so it was" in reason(client, future)
    client.close(timeout=0)


class Latin(JsonId):
    """Its requests can't be read again for the text of an error."""

    def encode_request(self, message, id):
        return json.dumps({**message, "id": id}, ensure_ascii=False).encode("latin-1")


def test_a_request_that_can_not_be_read_again_is_named_by_its_id(mute_server):
    with wsclient.connect(mute_server.url, protocol=Latin()) as client:
        error = timed_out(client.request, {"id": "mine", "method": "gr\u00fcn"}, timeout=SHORT)
    assert str(error).startswith("The request with the id 'mine' ")


def test_the_error_of_a_full_queue_of_an_open_client_names_no_connection(raw):
    client, peer = open_pair(raw, ping_interval=None, compression=None, send_queue=wsclient.SendQueue(max_messages=1))
    client.send(bytes(PLENTY))
    eventually(lambda: client._wsclient.context.sender.writer.blocked)
    client.send("fills the queue")
    error = timed_out(client.request, {"method": "add"}, timeout=SHORT)
    assert "the send queue had no room" in str(error)
    assert "connection" not in str(error)
    client.close(timeout=0)
    peer.finish()


def test_a_request_with_an_id_of_the_caller_that_was_never_sent_is_named_by_its_id():
    client = wsclient.Client(f"ws://127.0.0.1:{refused_port()}/")
    future = client.submit({"id": "mine", "method": "add"}, timeout=SHORT)
    error = on_thread(future.exception)
    assert str(error).startswith("The request with the id 'mine' could not be sent")
    client.close()
