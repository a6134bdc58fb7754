"""``JupyterKernel``: the binary form of messages, and which messages end a request."""

import itertools
import pickle
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wsclient
from wsclient import Call, Control, End, Event, Failure, Item, ProtocolError, RemoteError
from wsclient.protocols import JupyterKernel

from ..support import LONG, eventually
from ..support.peers import await_processed, close_now, start_call

V1 = "v1.kernel.websocket.jupyter.org"
EXECUTE = {"msg_type": "execute_request", "content": {"code": "1"}}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
objects = st.dictionaries(texts, st.none() | st.integers(-9, 9) | texts, max_size=3)
messages = st.fixed_dictionaries(
    {"msg_type": texts, "content": objects},
    optional={
        "metadata": objects,
        "buffers": st.lists(st.binary(max_size=5), max_size=3),
        "channel": texts.filter(bool),
    },
)


def answer(id, kind, content=None, *, channel="iopub", of=None):
    """What a kernel sends because of a request, encoded by another protocol object."""
    return JupyterKernel()._packed(
        {"msg_type": kind, "content": content or {}, "channel": channel}, of or "m", {"msg_id": id} if id else {}
    )


def status(id, state):
    return answer(id, "status", {"execution_state": state})


def reply(id, **content):
    return answer(id, "execute_reply", {"status": "ok", **content}, channel="shell")


def asked(*ids):
    protocol = JupyterKernel()
    for id in ids:
        protocol.encode_request(EXECUTE, id)
    return protocol


# --- the binary form -------------------------------------------------------------------------------------------------


@given(message=messages)
def test_a_message_is_decoded_as_it_was_encoded(message):
    read = JupyterKernel(username="Ann")._unpacked(JupyterKernel(username="Ann").encode_request(message, "7"))
    assert read.pop("parent_header") == {}
    header = read.pop("header")
    assert header.pop("session")
    assert header == {"msg_id": "7", "msg_type": message["msg_type"], "username": "Ann", "version": "5.3"}
    assert read == {"metadata": {}, "buffers": [], "channel": "shell", **message}


def test_the_bytes_are_those_of_the_rules():
    payload = JupyterKernel().encode({"msg_type": "t", "content": {"a": 1}, "buffers": [b"xyz"]})
    (count,) = struct.unpack_from("<Q", payload)
    offsets = struct.unpack_from(f"<{count}Q", payload, 8)
    assert offsets[0] == 8 * (count + 1)
    assert offsets[-1] == len(payload)
    parts = [payload[start:end] for start, end in itertools.pairwise(offsets)]
    assert parts[0] == b"shell"
    assert parts[2:] == [b"{}", b"{}", b'{"a":1}', b"xyz"]


@given(payload=st.binary(max_size=80))
def test_other_bytes_raise_an_error_that_the_client_reports(payload):
    with pytest.raises((ValueError, LookupError, struct.error)):
        JupyterKernel().decode(payload)


def test_a_table_of_offsets_that_does_not_fit_is_refused_without_memory_for_it():
    with pytest.raises(ValueError, match="table"):
        JupyterKernel().decode((2**61).to_bytes(8, "little") + bytes(64))


def test_text_is_an_event():
    assert JupyterKernel().decode('{"a": 1}') == Event({"a": 1})
    assert JupyterKernel().encode("text") == "text"


@pytest.mark.parametrize("kind", ["interrupt_request", "shutdown_request", "debug_request"])
def test_some_requests_use_the_control_channel(kind):
    protocol = JupyterKernel()
    assert protocol._unpacked(protocol.encode(protocol.build(kind, None, True)))["channel"] == "control"


@pytest.mark.parametrize("message", [{}, {"header": {"msg_type": "x"}}, "text", b"x", None, {"msg_type": 1}])
def test_a_request_needs_a_message_type(message):
    with pytest.raises(TypeError, match="msg_type"):
        JupyterKernel().encode_request(message, "1")


def test_the_username_is_checked():
    with pytest.raises(TypeError, match="username"):
        JupyterKernel(username=b"x")


def test_a_pickled_protocol_has_a_session_of_its_own():
    protocol = JupyterKernel(username="Ann")
    copies = [pickle.loads(pickle.dumps(protocol)) for _ in range(2)]
    sent = [one._unpacked(one.encode(EXECUTE))["header"] for one in (protocol, *copies)]
    assert [header["username"] for header in sent] == ["Ann"] * 3
    assert len({header["session"] for header in sent}) == 3


# --- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [("reply", "idle"), ("idle", "reply")])
def test_a_request_ends_with_the_second_of_reply_and_idle(order):
    protocol = asked("1")
    assert protocol.decode(status("1", "busy")) == Control()
    assert isinstance(protocol.decode(answer("1", "stream", {"text": "a"})), Item)
    end = {"reply": reply("1", n=5), "idle": status("1", "idle")}
    assert protocol.decode(end[order[0]]) == Control()
    ended = protocol.decode(end[order[1]])
    assert type(ended) is End
    assert ended.id == "1"
    assert ended.value["content"] == {"status": "ok", "n": 5}
    assert isinstance(protocol.decode(answer("1", "stream", {"text": "late"})), Event)


@given(order=st.permutations([(id, what) for id in "abc" for what in ("reply", "idle", "output")]))
def test_each_request_ends_once_in_any_order_of_the_messages(order):
    protocol, seen, ended = asked(*"abc"), {id: set() for id in "abc"}, []
    for id, what in order:
        message = {"reply": reply(id, of=id), "idle": status(id, "idle"), "output": answer(id, "stream")}[what]
        meaning = protocol.decode(message)
        seen[id].add(what)
        if isinstance(meaning, End):
            assert seen[id] >= {"reply", "idle"}
            assert meaning.id == meaning.value["content"]["of"] == id
            ended.append(id)
    assert sorted(ended) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("content", "code", "text"),
    [
        ({"status": "error", "ename": "ValueError", "evalue": "bad"}, "ValueError", "bad"),
        ({"status": "aborted"}, "aborted", ""),
        ({"status": "abort"}, "abort", ""),
    ],
)
def test_a_reply_that_is_not_ok_is_an_error(content, code, text):
    protocol = asked("1")
    protocol.decode(status("1", "idle"))
    failure = protocol.decode(reply("1", **content))
    assert type(failure) is Failure
    assert (failure.error.code, failure.error.message, failure.error.data) == (code, text, content)


def test_messages_of_other_clients_are_events_with_their_type_as_topic():
    protocol = asked("1")
    for message in (status("2", "idle"), reply("2"), answer("2", "stream"), answer(None, "comm_msg")):
        meaning = protocol.decode(message)
        assert type(meaning) is Event
        assert meaning.topic == meaning.message["msg_type"]
    protocol.reset()
    assert type(protocol.decode(answer("1", "stream"))) is Event


@pytest.mark.parametrize("state", ["restarting", "dead"])
def test_the_end_of_the_kernel_ends_its_requests(state):
    protocol = asked("1", "2", "3", "4")
    protocol.decode(reply("3"))
    protocol.decode(status("2", "idle"))
    first, second, third, fourth, event = protocol.decode(status(None, state))
    assert [(one.id, one.error.code) for one in (first, second, fourth)] == [("1", state), ("2", state), ("4", state)]
    assert (type(third), third.id, third.value["content"]) == (End, "3", {"status": "ok"})
    assert event.topic == "status"
    assert protocol.decode(status(None, state))[:-1] == []


def test_input_is_requested_by_a_call_and_the_answer_names_its_header():
    protocol = asked("1")
    request = answer("1", "input_request", {"prompt": "?"}, channel="stdin", of="9")
    call = protocol.decode(request)
    assert type(call) is Call
    assert (call.method, call.params) == ("input_request", {"prompt": "?"})
    hash(call.id)
    for payload, value in [
        (protocol.encode_result(call.id, "line"), "line"),
        (protocol.encode_error(call.id, ValueError()), "\x04"),
        (protocol._refusal(call.id, call.method), "\x04"),
    ]:
        sent = protocol._unpacked(payload)
        assert (sent["channel"], sent["msg_type"], sent["content"]) == ("stdin", "input_reply", {"value": value})
        assert sent["parent_header"] == protocol._unpacked(request)["header"]
    with pytest.raises(TypeError, match="string"):
        protocol.encode_result(call.id, None)


# --- with a client ---------------------------------------------------------------------------------------------------


def id_of(payload):
    return JupyterKernel()._unpacked(payload)["header"]["msg_id"]


def test_a_request_is_answered_and_the_end_of_the_kernel_ends_those_that_are_not(raw):
    errors = []
    client = wsclient.Client(
        raw.url, protocol=JupyterKernel(), ping_interval=None, on_error=lambda _, error: errors.append(error)
    )
    first = client.submit(EXECUTE)  # encoded before the first connection
    start = start_call(client.start)
    peer = raw.accept().upgrade(f"Sec-WebSocket-Protocol: {V1}")
    start.result(LONG)
    id = id_of(peer.receive_frame()[1])
    peer.send_frame(2, b"nonsense")
    peer.send_frame(2, status(id, "idle"))
    peer.send_frame(2, reply(id))
    assert first.result(LONG)["content"]["status"] == "ok"
    eventually(lambda: [type(error) for error in errors] == [ProtocolError])
    second = client.submit(EXECUTE)
    id = id_of(peer.receive_frame()[1])
    peer.send_frame(2, status(id, "idle"))
    await_processed(peer)
    assert not second.done()
    peer.send_frame(2, status(None, "dead"))
    with pytest.raises(RemoteError, match="ended"):
        second.result(LONG)
    close_now(client)


def test_a_server_without_the_binary_protocol_is_refused(raw):
    client = wsclient.Client(raw.url, protocol=JupyterKernel())
    start = start_call(client.start)
    peer = raw.accept().upgrade()
    assert peer.header("Sec-WebSocket-Protocol") == V1
    with pytest.raises(wsclient.HandshakeError, match=V1):
        start.result(LONG)
