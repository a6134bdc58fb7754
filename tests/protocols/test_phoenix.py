"""``Phoenix``: channels, on a server with the rules of ``Phoenix.Socket`` and ``Phoenix.Socket.V2.JSONSerializer``."""

import contextlib
import itertools
import json
import pickle
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

import wsclient
from wsclient import End, Event, Failure, RemoteError, Renew, Reply, Request
from wsclient.protocols import Phoenix

from ..support import LONG, eventually
from ..support.peers import SOON, close_now
from ..support.server import Server

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ROOM = {"topic": "room:1", "event": "phx_join"}
VAULT = {"topic": "vault", "event": "phx_join"}


class Channels:
    """The handler of the server. It ignores messages with an outdated join_ref, as Phoenix does since 1.8."""

    def __init__(self):
        self.lock = threading.Lock()
        self.joined = {}  # connection, topic: join_ref
        self.log = []  # what was processed: event, topic, join_ref, payload

    def __call__(self, connection, text):
        join_ref, ref, topic, event, payload = json.loads(text)

        def send(ref, event, payload, join_ref=join_ref):
            connection.send(json.dumps([join_ref, ref, topic, event, payload]))

        def reply(status, response):
            send(ref, "phx_reply", {"status": status, "response": response})

        with self.lock:
            known = self.joined.get((connection, topic))
            if topic == "phoenix":
                reply("ok", {})
            elif event == "phx_join":
                if known is not None:
                    send(known, "phx_close", {}, known)
                if topic.startswith("room:"):
                    self.joined[connection, topic] = join_ref
                    reply("ok", {"welcome": payload})
                else:
                    reply("error", {"reason": "unauthorized"})
            elif known is None:
                reply("error", {"reason": "unmatched topic"})
            elif known == join_ref:
                self.inside(connection, topic, event, payload, send, reply)
            self.log.append((event, topic, join_ref, payload))

    def inside(self, connection, topic, event, payload, send, reply):
        if event == "fail":
            reply("error", payload)
        elif event == "push":
            send(None, "pushed", payload)
        elif event == "shout":
            for other, name in self.joined:
                if name == topic:
                    with contextlib.suppress(ConnectionClosed):  # the connection was lost
                        other.send(json.dumps([None, None, topic, "shouted", payload]))
        elif event in ("phx_leave", "crash", "stop"):
            join_ref = self.joined.pop((connection, topic))
            if event == "phx_leave":
                reply("ok", {})
            send(join_ref, "phx_error" if event == "crash" else "phx_close", {})
        elif event != "no reply":
            reply("ok", payload)

    def count(self, event):
        return sum(one[0] == event for one in self.log)


@pytest.fixture
def channels():
    return Channels()


@pytest.fixture
def phoenix(channels):
    with Server(channels) as server:
        yield server


def connect(server, protocol=None, **options):
    return wsclient.connect(
        f"{server.url}socket/websocket?vsn=2.0.0",
        protocol=protocol or Phoenix(),
        reconnect=SOON,
        request_timeout=LONG,
        **options,
    )


def push(event, payload=None, topic="room:1"):
    return {"topic": topic, "event": event, "payload": {} if payload is None else payload}


# --- against the server ----------------------------------------------------------------------------------------------


def test_a_channel_is_joined_and_left_and_has_replies_pushes_and_broadcasts(phoenix, channels):
    with connect(phoenix) as client, client.subscribe({**ROOM, "payload": {"name": "Ann"}}) as room:
        assert client.request(push("echo", {"a": 1})) == {"a": 1}
        assert room.reply == {"welcome": {"name": "Ann"}}
        with pytest.raises(RemoteError, match="no") as caught:
            client.request(push("fail", {"reason": "no", "why": 1}))
        assert (caught.value.code, caught.value.data) == ("error", {"reason": "no", "why": 1})
        client.send(push("push", {"n": 1}))
        client.send(push("shout", {"n": 2}))
        first, second = room.get(LONG), room.get(LONG)
        assert (first["event"], first["payload"]) == ("pushed", {"n": 1})
        assert (second["event"], second["payload"], second["join_ref"]) == ("shouted", {"n": 2}, None)
        room.close()
        eventually(lambda: channels.joined == {})
        assert list(room) == []
        with pytest.raises(RemoteError, match="unmatched topic"):
            client.request(push("echo"))


def test_a_refused_join_is_raised_by_the_iteration(phoenix):
    with connect(phoenix) as client:
        # By the call, if the answer comes before it returns.
        with pytest.raises(RemoteError, match="unauthorized"), client.subscribe(VAULT) as vault:
            vault.get(LONG)
        with pytest.raises(RemoteError, match="unauthorized"):
            client.request(VAULT)


@pytest.mark.parametrize("end", ["crash", "stop"])
def test_a_channel_that_ends_ends_its_subscription_and_can_be_joined_again(phoenix, end):
    with connect(phoenix) as client:
        room = client.subscribe(ROOM)
        other = client.subscribe({**ROOM, "topic": "room:2"})
        client.send(push("push", {"n": 1}))
        client.send(push(end))
        assert room.get(LONG)["payload"] == {"n": 1}
        if end == "crash":
            with pytest.raises(RemoteError, match="crashed") as caught:
                room.get(LONG)
            assert caught.value.code == "phx_error"
        else:
            assert list(room) == []
        again = client.subscribe(ROOM)
        client.send(push("push", {"n": 2}))
        assert again.get(LONG)["payload"] == {"n": 2}
        client.send(push("push", {"n": 3}, "room:2"))
        assert other.get(LONG)["payload"] == {"n": 3}


def test_after_a_reconnect_channels_are_joined_again_before_what_was_queued(phoenix, channels):
    tokens = itertools.count(1)
    with connect(phoenix, Phoenix(lambda: {"token": next(tokens)})) as client, client.subscribe(ROOM) as room:
        client.request(push("echo"))
        phoenix.stop()
        eventually(lambda: client.state is not wsclient.State.OPEN)
        client.send(push("shout", {"n": 1}))  # encoded before the next join
        waiting = client.submit(push("echo", {"n": 2}))
        phoenix.start()
        assert waiting.result(LONG) == {"n": 2}
        assert room.get(LONG)["payload"] == {"n": 1}
        assert room.gaps == 1
    joins = [payload["token"] for event, _, _, payload in channels.log if event == "phx_join"]
    assert len(joins) == len(set(joins)) > 1


def test_a_renewed_connection_joins_the_channel_while_the_first_one_serves(phoenix, channels):
    with (
        connect(phoenix, renew=Renew()) as client,
        client.subscribe(ROOM, identity=lambda m: m["payload"]["n"]) as room,
    ):
        client.request(push("echo"))
        assert client.renew(wait=True, timeout=LONG)
        assert client.request(push("echo", {"n": 0})) == {"n": 0}
        for number in range(3):
            client.send(push("shout", {"n": number}))
        assert [room.get(LONG)["payload"]["n"] for _ in range(3)] == [0, 1, 2]
        assert channels.count("phx_join") == 2
        assert room.gaps == 0


def test_without_a_subscription_events_have_the_topic_of_their_channel(phoenix):
    heard = []
    with connect(phoenix) as client:
        client.on("room:1", lambda message: heard.append((message["event"], message["payload"])))
        assert client.request(ROOM) == {"welcome": {}}
        client.send(push("push", {"n": 1}))
        client.send(push("shout", {"n": 2}))
        eventually(lambda: heard == [("pushed", {"n": 1}), ("shouted", {"n": 2})])
        assert client.request(push("phx_leave")) == {}
        with pytest.raises(RemoteError, match="unmatched"):
            client.request(push("echo"))


def test_a_second_join_of_a_topic_ends_the_first_one(phoenix):
    with connect(phoenix) as client:
        first, second = client.subscribe(ROOM), client.subscribe(ROOM)
        assert list(first) == []
        client.send(push("push", {"n": 1}))
        assert second.get(LONG)["payload"] == {"n": 1}


def test_heartbeats_are_answered_and_a_missing_answer_ends_the_connection(phoenix, channels):
    with connect(phoenix, Phoenix(heartbeat=0.02), ping_interval=None, ping_timeout=LONG) as client:
        eventually(lambda: channels.count("heartbeat") > 2)
        assert client.stats.connections == 1
    phoenix.handler = lambda connection, text: None
    with connect(phoenix, Phoenix(heartbeat=0.02), ping_interval=None, ping_timeout=0.1) as client:
        eventually(lambda: client.stats.connections > 1)
        assert client.last_disconnect.initiator == "keepalive"


# --- pure ------------------------------------------------------------------------------------------------------------


def encoded(protocol, message, id):
    return json.loads(protocol.encode_request(message, id))


def joined(topic="room:1"):
    """A protocol that has joined a topic with the join_ref 1."""
    protocol = Phoenix()
    assert encoded(protocol, {"topic": topic, "event": "phx_join"}, "10") == ["1", "10", topic, "phx_join", {}]
    ok(protocol, "1", "10", topic)
    return protocol


def ok(protocol, join_ref, ref, topic="room:1"):
    return protocol.decode(json.dumps([join_ref, ref, topic, "phx_reply", {"status": "ok", "response": {}}]))


def test_the_join_ref_of_a_topic_is_that_of_its_join_until_it_is_left():
    protocol = joined()
    assert encoded(protocol, push("x"), "12") == ["1", "12", "room:1", "x", {}]
    assert json.loads(protocol.encode(push("x"))) == ["1", None, "room:1", "x", {}]
    assert encoded(protocol, push("x", topic="room:2"), "13") == [None, "13", "room:2", "x", {}]
    protocol.reset()  # a new connection
    assert encoded(protocol, ROOM, "14") == ["1", "14", "room:1", "phx_join", {}]
    assert protocol.stream_of(ROOM, "14") == ("room:1", "1")
    assert protocol.stream_of(push("x"), "15") is None
    assert protocol.unsubscribe(push("x"), "15", None) is None  # the channel stays
    assert protocol.unsubscribe(ROOM, "14", None) == Request({"topic": "room:1", "event": "phx_leave", "join_ref": "1"})
    assert encoded(protocol, ROOM, "16") == ["2", "16", "room:1", "phx_join", {}]
    assert encoded(protocol, push("phx_leave"), "17") == ["2", "17", "room:1", "phx_leave", {}]
    assert encoded(protocol, push("x"), "18") == [None, "18", "room:1", "x", {}]


def test_a_trial_encoding_of_a_leave_does_not_forget_the_join():
    protocol = joined()
    client = wsclient.Client("ws://localhost:1/", protocol=protocol)
    encoder = protocol._encoder(push("phx_leave"))
    assert encoded(protocol, push("x"), "12")[0] == "1"
    assert json.loads(encoder.encode("13")[1])[0] == "1"
    assert encoded(protocol, push("x"), "14")[0] is None
    client.close()


def test_messages_of_an_earlier_join_are_not_those_of_the_present_one():
    protocol = joined()
    protocol.unsubscribe(ROOM, "10", None)
    encoded(protocol, ROOM, "11")
    ok(protocol, "2", "11")
    assert protocol.decode('["1", null, "room:1", "x", {}]').stream == ("room:1", "1")
    assert protocol.decode('["2", null, "room:1", "x", {}]').stream == ("room:1", "2")
    assert protocol.decode('[null, null, "room:1", "x", {}]').stream == ("room:1", "2")
    assert protocol.decode('["1", "1", "room:1", "phx_close", {}]').id == "10"
    assert protocol.decode('["2", "2", "room:1", "phx_close", {}]').id == "11"


def test_the_end_of_a_channel_ends_the_request_that_joined_it_on_this_connection():
    protocol = joined()
    protocol.reset()
    encoded(protocol, ROOM, "17")
    ok(protocol, "1", "17")
    ok(protocol, "1", "18")  # the reply to a push
    end = protocol.decode('["1", "1", "room:1", "phx_close", {}]')
    assert (type(end), end.id) == (End, "17")
    failure = joined().decode('["1", "1", "room:1", "phx_error", {}]')
    assert (type(failure), failure.id, failure.error.code) == (Failure, "10", "phx_error")


@given(data=st.binary(max_size=20), strings=st.lists(texts, min_size=4, max_size=4))
def test_binary_messages_are_decoded_like_text(data, strings):
    def frame(kind, *strings, payload=data, extra=b""):
        parts = [one.encode() for one in strings]
        return bytes([kind, *map(len, parts)]) + extra + b"".join(parts) + payload

    join_ref, ref, topic, event = strings
    pushed = Phoenix().decode(frame(0, join_ref, topic, event))
    expected = {"join_ref": join_ref, "ref": None, "topic": topic, "event": event, "payload": data}
    if event not in ("phx_close", "phx_error", "phx_reply"):
        assert pushed == Event(expected, topic, (topic, join_ref))
        assert Phoenix().decode(frame(2, topic, event)) == Event({**expected, "join_ref": None}, topic, (topic, None))
    assert Phoenix().decode(frame(1, join_ref, ref, topic, "ok")) == Reply(ref, data)
    assert Phoenix().decode(frame(1, join_ref, ref, topic, "error")).error.data == data
    # a broadcast of Supabase: metadata, and whether the payload is JSON
    user = Phoenix().decode(frame(4, topic, event, "", extra=b"\x00")).message
    assert user["payload"] == {"type": "broadcast", "event": event, "payload": data}
    user = Phoenix().decode(frame(4, topic, event, '{"id":1}', payload=b'{"a":2}', extra=b"\x01")).message
    assert (user["topic"], user["event"]) == (topic, "broadcast")
    assert user["payload"] == {"type": "broadcast", "event": event, "payload": {"a": 2}, "meta": {"id": 1}}


def test_a_binary_push_has_the_form_of_the_rules():
    protocol = joined()
    payload = protocol.encode_request({"topic": "room:1", "event": "file", "payload": b"\x00\xff"}, "12")
    assert payload == b"\x00\x01\x02\x06\x04" + b"1" + b"12" + b"room:1" + b"file" + b"\x00\xff"
    with pytest.raises(ValueError, match="256"):
        protocol.encode_request({"topic": "x" * 256, "event": "file", "payload": b""}, "12")


@given(payload=st.binary(max_size=30))
def test_other_bytes_are_decoded_or_raise_an_error_that_the_client_reports(payload):
    try:
        Phoenix().decode(payload)
    except (ValueError, LookupError, AttributeError):
        pass


@pytest.mark.parametrize("text", ["{}", "[]", "[1, 2]", "text"])
def test_other_text_is_an_event(text):
    assert type(Phoenix().decode(text)) is Event
    assert Phoenix().encode("text") == "text"


@pytest.mark.parametrize("message", [{"topic": "a"}, {"event": "a"}, [1], "text", {"topic": 1, "event": "x"}])
def test_a_message_needs_a_topic_and_an_event(message):
    with pytest.raises(TypeError, match="topic"):
        Phoenix().encode_request(message, "1")


def test_options_are_checked_and_can_be_pickled():
    with pytest.raises(ValueError, match="heartbeat"):
        Phoenix(heartbeat=0)
    read = pickle.loads(pickle.dumps(Phoenix({"a": 1}, heartbeat=25)))
    assert read.heartbeat[0] == 25
    assert read.heartbeat[1]() == Request({"topic": "phoenix", "event": "heartbeat"})
    assert encoded(read, ROOM, "1")[4] == {"a": 1}
    close_now(wsclient.Client("ws://localhost:1/", protocol=read))
