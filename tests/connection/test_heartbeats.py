"""``heartbeat=``, the heartbeat of a client whose protocol has none, and ``session.heartbeat()``, its interval."""

import functools
import json
import threading
import time
import types

import hypothesis
import hypothesis.strategies as st
import pytest

import wsclient
from wsclient import Fifo, GraphQLTransportWs, Heartbeat, JsonId, JsonRpc, Request
from wsclient._connection.keepalive import Heartbeats
from wsclient.testing import Replay

from ..support import LONG, SHORT, Server, eventually
from ..support.peers import SOON, open_against, start_call

URL = "ws://localhost:1/"
OFTEN = SHORT / 4


class Beating(JsonId):
    """A protocol with a heartbeat of its own."""

    def __init__(self, seconds=OFTEN):
        super().__init__()
        self.heartbeat = (seconds, lambda: "beat of the protocol")


# --- what is sent ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [JsonId, JsonRpc, Fifo, wsclient.Protocol, Beating])
def test_the_message_is_sent_repeatedly_with_any_protocol(raw, protocol):
    client, peer, _ = open_against(raw, protocol=protocol(), heartbeat=Heartbeat({"op": "ping"}, OFTEN))
    assert [json.loads(peer.receive_text())["op"] for _ in range(3)] == ["ping"] * 3
    client.close(timeout=0)


def test_text_and_bytes_are_sent_as_they_are(raw):
    made = iter(["ping", b"\x09", bytearray(b"\x0a")])
    client, peer, _ = open_against(raw, heartbeat=Heartbeat(lambda: next(made, "more"), OFTEN))
    assert [peer.receive_frame() for _ in range(4)] == [(1, b"ping"), (2, b"\x09"), (2, b"\x0a"), (1, b"more")]
    client.close(timeout=0)


@pytest.mark.parametrize("data", [bytearray(b"ping"), memoryview(b"ping"), {"n": [1]}])
def test_a_heartbeat_keeps_a_copy_of_its_message(data):
    heartbeat = Heartbeat(data, 1)
    if isinstance(data, dict):
        data["n"].append(2)
        assert heartbeat.message == {"n": [1]}
    else:
        assert (type(heartbeat.message), heartbeat.message) == (bytes, b"ping")


def test_a_function_that_raises_is_reported_and_the_connection_stays_open(raw):
    errors = []

    def broken():
        raise SystemExit("no heartbeat today")

    client, peer, _ = open_against(
        raw, heartbeat=Heartbeat(broken, OFTEN), on_error=lambda _, error: errors.append(error)
    )
    eventually(lambda: len(errors) >= 2)
    assert isinstance(errors[0], wsclient.ProtocolError)
    assert isinstance(errors[0].__cause__, SystemExit)
    client.send("alive")
    assert peer.receive_text() == "alive"
    client.close(timeout=0)


# --- heartbeats with an answer ---------------------------------------------------------------------------------------

ASKING = {
    "JsonId": (JsonId, {"op": "ping"}, lambda beat: {"id": beat["id"], "op": "pong"}),
    "JsonRpc": (JsonRpc, {"method": "ping"}, lambda beat: {"jsonrpc": "2.0", "id": beat["id"], "result": "pong"}),
    "Fifo": (
        functools.partial(Fifo, event=lambda message: "method" in message),
        {"op": "ping"},
        lambda beat: {"op": "pong"},
    ),
    "an echo server": (JsonId, {"method": "ping"}, lambda beat: beat),
}


@pytest.mark.parametrize(("protocol", "message", "answer"), ASKING.values(), ids=ASKING)
def test_the_answer_to_a_request_is_not_delivered(raw, protocol, message, answer):
    heartbeat = Heartbeat(Request(message), OFTEN)
    client, peer, seen = open_against(raw, protocol=protocol(), heartbeat=heartbeat)
    for _ in range(3):
        peer.send_text(json.dumps(answer(json.loads(peer.receive_text()))))
    peer.send_text('{"jsonrpc": "2.0", "method": "mark"}')
    eventually(lambda: seen)
    assert [message["method"] for message in seen] == ["mark"]
    assert client.stats.connections == 1
    client.close(timeout=0)


@pytest.mark.parametrize("protocol", [JsonId, JsonRpc, Fifo])
def test_a_request_without_an_answer_ends_the_connection(raw, protocol):
    heartbeat = Heartbeat(Request({"op": "ping"}), OFTEN)
    client, peer, _ = open_against(raw, protocol=protocol(), heartbeat=heartbeat, ping_timeout=SHORT)
    peer.receive_text()
    again = raw.accept().upgrade()
    eventually(lambda: client.stats.connections == 2)
    assert (client.last_disconnect.initiator, client.last_disconnect.code) == ("keepalive", None)
    assert "heartbeat" in client.last_disconnect.reason
    assert json.loads(again.receive_text())["op"] == "ping"
    client.close(timeout=0)


def open_graphql(raw, **options):
    """An open client of a GraphQL server, and its peer."""
    client = wsclient.Client(raw.url, protocol=GraphQLTransportWs(), reconnect=SOON, ping_interval=None, **options)
    starting = start_call(client.start)
    peer = raw.accept().upgrade("Sec-WebSocket-Protocol: graphql-transport-ws")
    assert json.loads(peer.receive_text()) == {"type": "connection_init"}
    peer.send_text('{"type": "connection_ack"}')
    return starting.result(LONG), peer


def test_a_ping_message_of_graphql_is_answered_by_a_pong_message_that_reaches_no_hook(raw):
    seen = []
    client, peer = open_graphql(
        raw, heartbeat=Heartbeat({"type": "ping"}, OFTEN), on_message=lambda _, message: seen.append(message)
    )
    for _ in range(3):
        assert json.loads(peer.receive_text()) == {"type": "ping"}
        peer.send_text('{"type": "pong"}')
    peer.send_text('{"type": "mark"}')
    eventually(lambda: seen)
    assert seen == [{"type": "mark"}]
    client.close(timeout=0)


# --- only if idle ----------------------------------------------------------------------------------------------------

EVERY = 8.0


class Line:
    """Heartbeats of a client, with the time of a test: ``sent`` has the times of heartbeats and of other messages."""

    def __init__(self, every=EVERY, **options):
        self.client = wsclient.Client(URL)
        context = self.client._wsclient.context
        self.counters = context.counters
        self.heartbeats = Heartbeats(
            Heartbeat("beat", every, **options),
            protocol=context.protocol,
            requests=context.requests,
            table=context.table,
            hooks=context.hooks,
            counters=context.counters,
            answer_timeout=None,
        )
        self.sent = [("open", 0.0)]
        self.now = 0.0
        self.tap = None
        self.write_progress = types.SimpleNamespace(number=1)
        self.urgent = types.SimpleNamespace(entries=[])  # each message is written at once
        self.heartbeats.begin(0.0)

    def send_first(self, beat):
        """Called with a heartbeat, like ``Writer.send_first``."""
        self.sent.append(("beat", self.now))
        self.counters.messages_sent += 1

    def send(self, at):
        """A thread sends a message at this time."""
        self.run(at)
        self.sent.append(("message", at))
        self.counters.messages_sent += 1

    def run(self, until):
        """Look whenever the heartbeats ask for it, like the I/O thread."""
        while self.heartbeats.next_at <= until:
            self.now = self.heartbeats.next_at
            self.heartbeats.send_if_due(self, self.now)
        self.now = until


@hypothesis.given(gaps=st.lists(st.floats(0.01, 3 * EVERY), max_size=30))
def test_a_heartbeat_that_is_sent_only_if_idle_is_never_late_and_at_most_a_quarter_early(gaps):
    line = Line(only_if_idle=True)
    for gap in gaps:
        line.send(line.now + gap)
    line.run(line.now + 3 * EVERY)
    assert len([what for what, _ in line.sent if what == "beat"]) >= 3
    for (_, before), (what, at) in zip(line.sent, line.sent[1:], strict=False):
        assert at - before <= EVERY * 1.0001
        assert what != "beat" or at - before >= EVERY * 0.7499


def test_without_only_if_idle_a_heartbeat_is_sent_at_each_interval():
    line = Line()
    for at in range(1, 20):
        line.send(at)
    assert [at for what, at in line.sent if what == "beat"] == [8, 16]


def test_a_busy_client_sends_no_heartbeat_until_it_is_idle(raw):
    """A busy machine may stop the test between two messages; then the client is idle for that time."""
    before = time.monotonic()
    client, peer, _ = open_against(raw, heartbeat=Heartbeat("beat", SHORT, only_if_idle=True))
    beats = allowed = 0
    for _ in range(40):
        sending = time.monotonic()
        client.send("message")
        while peer.receive_text() == "beat":
            beats += 1
        allowed += int((time.monotonic() - before) / (0.7 * SHORT))
        before = sending
        threading.Event().wait(SHORT / 15)
    assert beats <= allowed
    assert peer.receive_text() == "beat"
    client.close(timeout=0)


def test_an_idle_client_checks_seldom_whether_messages_were_sent():
    line = Line(every=40.0, only_if_idle=True)
    checks = 0
    while line.heartbeats.next_at < 400.0:
        checks += 1
        line.now = line.heartbeats.next_at
        line.heartbeats.send_if_due(line, line.now)
    assert checks <= 4 * 400.0 / 40.0


# --- the interval of one connection ----------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["option", "protocol"])
def test_a_session_changes_the_interval_of_its_connection(raw, by):
    def hello(client, session):
        if session.number == 1:
            session.heartbeat(every=session.recv(LONG)["interval"])

    options = {"protocol": Beating(LONG)} if by == "protocol" else {"heartbeat": Heartbeat("beat", LONG)}
    client = wsclient.Client(raw.url, on_session=hello, reconnect=SOON, ping_interval=None, **options)
    starting = start_call(client.start)
    peer = raw.accept().upgrade()
    peer.send_text(json.dumps({"interval": OFTEN}))
    starting.result(LONG)
    assert [peer.receive_text()[:4] for _ in range(3)] == ["beat"] * 3
    peer.reset()
    again = raw.accept().upgrade()
    eventually(lambda: client.stats.connections == 2)
    client.send("the next connection has the configured interval")
    assert again.receive_text().startswith("the next")
    client.close(timeout=0)


@pytest.mark.parametrize(
    ("every", "error", "text"),
    [
        (5, TypeError, r"there is none: neither the option heartbeat= nor JsonId defines one\.$"),
        (0, ValueError, r"^every must be a finite number of seconds above 0, not 0\.$"),
        ("5", TypeError, r"^every must be a number of seconds, not '5'\.$"),
    ],
)
def test_a_session_without_a_heartbeat_or_with_a_wrong_interval_raises(server, every, error, text):
    raised = []

    def hello(client, session):
        with pytest.raises(error, match=text) as caught:
            session.heartbeat(every)
        raised.append(caught.value)

    with wsclient.connect(server.url, on_session=hello):
        assert len(raised) == 1


# --- TLS, recordings -------------------------------------------------------------------------------------------------


def test_heartbeats_are_recorded_and_a_replay_accepts_any_number_of_them(tmp_path, server_tls, trusting):
    path = tmp_path / "session.jsonl"
    beats = []

    def answer(connection, message):
        call = json.loads(message)
        beats.extend([call] if call["op"] == "beat" else [])
        connection.send(json.dumps({"id": call["id"], "result": call["op"]}))

    def script(url, seconds, **options):
        heartbeat = Heartbeat(Request({"op": "beat"}), seconds)
        with wsclient.connect(url, heartbeat=heartbeat, ping_timeout=LONG, **options) as client:
            client.request({"op": "one"}, timeout=LONG)
            eventually(lambda: seconds == LONG or len(beats) >= 3)
            return client.request({"op": "two"}, timeout=LONG)["result"]

    with Server(answer, tls=server_tls) as server:
        assert script(server.url, 0.01, record=path, ssl_context=trusting) == "two"
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    marked = [line for line in lines if line.get("heartbeat")]
    assert len(marked) >= 3
    assert all("beat" in line["text"] for line in marked)
    with Replay(path) as replay:
        assert script(replay.url, LONG) == "two"


# --- checks at construction ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (("ping", 0), ValueError, "every must be a finite number of seconds above 0"),
        (("ping", None), TypeError, "every must be a number of seconds"),
        (("ping", True), TypeError, "every must be a number of seconds"),
        (("ping", 5, True), TypeError, "positional"),
    ],
)
def test_a_heartbeat_is_checked_when_it_is_made(arguments, error, text):
    with pytest.raises(error, match=text):
        Heartbeat(*arguments)


async def asynchronous():
    pass


def test_a_coroutine_function_and_a_number_as_a_flag_are_refused():
    with pytest.raises(TypeError, match="message must be a plain function"):
        Heartbeat(asynchronous, 5)
    with pytest.raises(TypeError, match="only_if_idle must be True or False"):
        Heartbeat("ping", 5, only_if_idle=1)


@pytest.mark.parametrize("value", [30, "ping", (30, dict)])
def test_the_option_must_be_a_heartbeat(value):
    with pytest.raises(TypeError, match=r"^heartbeat must be a wsclient\.Heartbeat or None, not "):
        wsclient.Client(URL, heartbeat=value)


@pytest.mark.parametrize(
    ("protocol", "message", "error"),
    [
        (JsonId, {"at": object()}, TypeError),
        (JsonId, {"at": float("nan")}, ValueError),
        (JsonId, Request({"at": object()}), TypeError),
        (JsonId, Request("text has no id"), TypeError),
        (wsclient.Protocol, Request({"op": "ping"}), TypeError),
        (GraphQLTransportWs, Request("ping"), TypeError),
    ],
)
def test_a_message_that_cannot_be_encoded_is_refused_and_the_protocol_can_be_used_for_another_client(
    protocol, message, error
):
    one = protocol()
    with pytest.raises(error, match=r"^The message of heartbeat= can't be encoded \(\w+Error: .*\)\.$"):
        wsclient.Client(URL, protocol=one, heartbeat=Heartbeat(message, 5))
    assert wsclient.Client(URL, protocol=one, heartbeat=Heartbeat({"op": "ping"}, 5)).protocol is one
