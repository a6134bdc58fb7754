"""``SendQueue(rate=, burst=)``: how many messages a connection sends, which of them, and which thread waits."""

import contextlib
import functools
import json
import math
import threading
import time

import pytest

import wsclient
from wsclient import State
from wsclient._network.poller import Poller
from wsclient._requests.request import Request
from wsclient._rfc6455.frames import Opcode
from wsclient._sending.message import Outgoing
from wsclient._sending.priority import MAX_ANSWERS, MAX_URGENT, Urgent
from wsclient._threads.sections import this_thread
from wsclient._threads.waiting import NEVER

from ..support import AMPLE, LONG, SHORT, SLACK, Server, eventually
from ..support.peers import ASK, await_processed, open_pair, put, reply, start_call, subscribing, taken
from ..support.threads import on_thread

EVENLY = 100.0
"""Messages per second, in tests with a clock."""


def only(burst, **options):
    """A queue with no further message for hours after these."""
    return wsclient.SendQueue(rate=1e-4, burst=burst, **options)


def sent(client, peer, count):
    """The next ``count`` messages of the client, and all further ones up to a ping, which does not wait for tokens."""
    messages = [peer.receive_text() for _ in range(count)]
    pinging = start_call(lambda: client.ping(LONG))
    while (frame := peer.receive_frame())[0] != 9:
        messages.append(frame[1].decode())
    peer.send_frame(10, frame[1])
    pinging.result(LONG)
    return messages


@contextlib.contextmanager
def opened(raw, burst, **options):
    """A client that may send this many messages, and its peer."""
    client, peer = open_pair(raw, send_queue=only(burst), ping_interval=None, **options)
    try:
        yield client, peer
    finally:
        client.close(timeout=0)


def allow(client, messages=1):
    """Let the present connection send this many messages more."""
    writer = client._wsclient.context.sender.writer
    for _ in range(messages):
        before = client.stats.messages_sent
        writer.bucket.ready_at = time.monotonic()
        client._wsclient.context.commands.wake()
        eventually(lambda before=before: client.stats.messages_sent > before)


# --- a real server counts --------------------------------------------------------------------------------------------


def answers(message):
    """What a server of any of the protocols answers."""
    if isinstance(message, list):
        return [[{"jsonrpc": "2.0", "id": one["id"], "result": 1} for one in message]]
    if message.get("type") == "connection_init":
        return [{"type": "connection_ack"}]
    if message.get("type") == "subscribe":
        return [
            {"id": message["id"], "type": "next", "payload": {"data": 1}},
            {"id": message["id"], "type": "complete"},
        ]
    if "jsonrpc" in message:
        return [{"jsonrpc": "2.0", "id": message["id"], "result": 1}]
    return [message]


class Counting(Server):
    """A server that notes when each message came."""

    def __init__(self, **options):
        self.times = []
        super().__init__(self._note, **options)

    def _note(self, connection, message):
        self.times.append(time.monotonic())
        if message.startswith(("{", "[")):
            for answer in answers(json.loads(message)):
                connection.send(json.dumps(answer))

    def check(self, began, burst):
        """A slow machine only makes messages later, so that there are fewer of them at any time."""
        for count, at in enumerate((at for at in self.times if at >= began), 1):
            assert count <= burst + EVENLY * (at - began) + 1e-6, f"{count} messages after {at - began:.4f} s"


def send_all(client, count):
    return [client.send(f"message {n}") for n in range(count)]


def send_on_threads(client, count):
    each = count // 4
    for future in [start_call(lambda: send_all(client, each)) for _ in range(4)]:
        future.result(LONG)


def ask_all(client, count):
    client.request_many([{"n": n} for n in range(count)], timeout=LONG)


def call_all(client, count):
    for future in [client.submit({"method": "a"}, timeout=LONG) for _ in range(count)]:
        assert future.result(LONG) == 1


def send_batches(client, count):
    for future in [client.submit([{"method": "a"}, {"method": "b"}], timeout=LONG) for _ in range(count)]:
        assert future.result(LONG) == [1, 1]


def query_all(client, count):
    for future in [client.submit({"query": "{ a }"}, timeout=LONG) for _ in range(count)]:
        future.result(LONG)


KINDS = {
    "plain": (send_all, {}),
    "threads": (send_on_threads, {}),
    "requests": (ask_all, {}),
    "in order": (ask_all, {"protocol": lambda: wsclient.Fifo(max_in_flight=4)}),
    "calls": (call_all, {"protocol": wsclient.JsonRpc}),
    "batches": (send_batches, {"protocol": wsclient.JsonRpc}),
    "queries": (query_all, {"protocol": wsclient.GraphQLTransportWs}),
    "expiring": (lambda client, count: [client.send("x", expires=LONG) for _ in range(count)], {}),
    "uncompressed": (send_all, {"compression": lambda: None}),
    "pings": (send_on_threads, {"ping_interval": lambda: 0.02}),
}


@pytest.mark.parametrize(
    ("kind", "tls", "is_recorded"),
    [
        *[(kind, False, False) for kind in KINDS],
        ("plain", True, False),
        ("threads", True, True),
        ("uncompressed", False, True),
        ("requests", True, False),
    ],
)
def test_a_server_never_counts_more_messages_than_the_burst_and_the_rate_allow(kind, tls, is_recorded, tmp_path):
    act, options = KINDS[kind]
    options = {name: make() for name, make in options.items()}
    if is_recorded:
        options["record"] = str(tmp_path / "recording")
    queue, count = wsclient.SendQueue(rate=EVENLY, burst=5), 24
    spoken = wsclient.GraphQLTransportWs.subprotocols if kind == "queries" else None
    with Counting(tls=tls, subprotocols=spoken) as server:
        context = server.client_context if tls else None
        with wsclient.connect(server.url, send_queue=queue, ssl_context=context, **options) as client:
            began = time.monotonic()
            act(client, count)
            server.wait_for(count, LONG)
        server.check(began, 5)


def test_a_second_burst_is_sent_only_after_the_time_that_the_rate_demands():
    with Counting() as server:
        queue = wsclient.SendQueue(rate=EVENLY, burst=5)
        with wsclient.connect(server.url, send_queue=queue, reconnect=None) as client:
            began = time.monotonic()
            for _ in range(3):
                send_all(client, 8)
                client.flush(LONG)
        server.check(began, 5)


def test_an_unused_rate_costs_nothing(server):
    with wsclient.connect(server.url) as client:
        assert client._wsclient.context.sender.writer.bucket is None
        assert client.request({"method": "add", "params": [1]}, timeout=LONG)["result"] == 1


# --- which messages take a token -------------------------------------------------------------------------------------


@pytest.mark.parametrize("send", [lambda call: call(), on_thread], ids=["main thread", "another thread"])
@pytest.mark.parametrize("options", [{}, {"compression": None}, {"protocol": wsclient.Fifo}], ids=str)
def test_the_burst_is_sent_and_all_further_messages_wait_in_their_order(raw, send, options):
    options = {name: value() if callable(value) else value for name, value in options.items()}
    with opened(raw, 2, **options) as (client, peer):
        deliveries = send(lambda: [client.send(str(n)) for n in range(5)])
        assert sent(client, peer, 2) == ["0", "1"]
        assert [delivery.state for delivery in deliveries[2:]] == ["queued"] * 3
        assert client.stats.queue_depth == 3
        allow(client, 2)
        assert sent(client, peer, 2) == ["2", "3"]


def test_many_threads_together_send_no_more_than_the_burst(mute_server):
    with wsclient.connect(mute_server.url, send_queue=only(7)) as client:
        threads = [threading.Thread(target=send_all, args=(client, 20)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
        client.ping(LONG)
        assert (client.stats.messages_sent, client.stats.queue_depth) == (7, 153)
        assert len(mute_server.wait_for(7)) == 7
        client.clear_queue()
    assert len(mute_server.received) == 7


def test_a_batch_is_one_message(raw):
    with opened(raw, 1, protocol=wsclient.JsonRpc()) as (client, peer):
        batch = client.submit([{"method": "a"}, {"method": "b"}, {"method": "c"}])
        client.send("behind")
        (message,) = sent(client, peer, 1)
        assert len(json.loads(message)) == 3
        peer.send_text(json.dumps([{"jsonrpc": "2.0", "id": one["id"], "result": 1} for one in json.loads(message)]))
        assert batch.result(LONG) == [1, 1, 1]


def test_the_messages_of_on_session_count(raw):
    def on_session(client, session):
        session.send("log in")
        session.send("join")

    with opened(raw, 3, on_session=on_session) as (client, peer):
        send_all(client, 3)
        assert sent(client, peer, 3) == ["log in", "join", "message 0"]


def test_on_session_waits_for_its_tokens(raw):
    """The first connection sends one message at once, and the second one after 0.1 s."""

    def on_session(client, session):
        moments.append(time.monotonic())
        session.send("first")
        session.request({"second": 1}, timeout=LONG)
        moments.append(time.monotonic())

    moments = []
    client = wsclient.Client(raw.url, on_session=on_session, send_queue=wsclient.SendQueue(rate=10))
    starting = start_call(client.start)
    peer = raw.accept().upgrade()
    assert peer.receive_text() == "first"
    peer.send_text(json.dumps({"id": taken(peer)["id"]}))
    starting.result(LONG)
    assert moments[1] - moments[0] >= 0.0999
    client.close(timeout=0)


def test_a_request_of_on_session_that_waits_for_a_token_too_long_names_the_rate(raw):
    def on_session(client, session):
        session.send("first")
        with pytest.raises(wsclient.RequestTimeout, match="rate=") as caught:
            session.request({"second": 1}, timeout=0.02)
        phases.append(caught.value.phase)

    phases = []
    with opened(raw, 1, on_session=on_session):
        assert phases == ["queued"]


def subscriptions(client, peer, count):
    """Subscriptions that the peer has confirmed, with the keys ``key 0``, ``key 1`` ..."""
    made = []
    for n in range(count):
        future = subscribing(client)
        put(peer, reply(taken(peer), f"key {n}"))
        made.append(future.result(LONG))
    return made


def test_subscriptions_count_and_open_does_not_wait_for_them(raw):
    with opened(raw, 6, protocol=wsclient.JsonRpc()) as (client, peer):
        made = subscriptions(client, peer, 3)
        client._wsclient.context.queue._bounds = only(2)  # for the next connection
        peer.reset()
        peer = raw.accept().upgrade()
        eventually(lambda: client.stats.connections == 2 and client.state is State.OPEN)
        client.send("new")
        asked = [json.loads(message) for message in sent(client, peer, 2)]
        assert [one["method"] for one in asked] == [ASK["method"]] * 2
        allow(client)
        assert taken(peer)["method"] == ASK["method"]
        allow(client)
        assert peer.receive_text() == "new"
        for subscription in made:
            subscription.close()


def test_a_heartbeat_passes_the_subscriptions_that_wait_to_be_requested_again(raw):
    def beat():
        protocol.heartbeat = None  # one is enough
        return {"jsonrpc": "2.0", "method": "beat"}

    protocol = wsclient.JsonRpc()
    with opened(raw, 6, protocol=protocol) as (client, peer):
        made = subscriptions(client, peer, 3)
        client._wsclient.context.queue._bounds = only(1)
        protocol.heartbeat = (0.01, beat)
        peer.reset()
        peer = raw.accept().upgrade()
        assert taken(peer)["method"] == ASK["method"]
        eventually(lambda: client.state is State.OPEN)
        eventually(lambda: len(client._wsclient.context.sender.writer.urgent.entries) == 3)
        allow(client)
        assert taken(peer)["method"] == "beat"
        allow(client)
        assert taken(peer)["method"] == ASK["method"]
        for subscription in made:
            subscription.close()


def test_only_one_heartbeat_waits_for_a_token(raw):
    """Otherwise a rate that is too low for them would let them fill the memory."""
    made = []
    beat = wsclient.Heartbeat(lambda: made.append(1) or "beat", 0.005)
    with opened(raw, 1, heartbeat=beat) as (client, peer):
        assert peer.receive_text() == "beat"
        urgent = client._wsclient.context.sender.writer.urgent
        eventually(lambda: urgent.entries)
        began = time.monotonic()
        eventually(lambda: time.monotonic() > began + SHORT)
        assert (len(made), len(urgent.entries)) == (2, 1)
        allow(client)
        assert peer.receive_text() == "beat"
        eventually(lambda: len(made) == 3)


def test_a_heartbeat_that_waits_for_a_token_is_not_taken_for_one_without_an_answer(raw):
    beat = wsclient.Heartbeat(wsclient.Request({"a": "beat"}), 0.02)
    first = {"on_session": lambda _, session: session.send("first")}  # it takes the only token, before any heartbeat
    with opened(raw, 1, heartbeat=beat, ping_timeout=SHORT / 2, **first) as (client, peer):
        assert peer.receive_text() == "first"
        eventually(lambda: client.stats.requests_timed_out)
        await_processed(peer)
        allow(client)  # the one that has timed out takes no token
        assert taken(peer)["a"] == "beat"  # on the same connection


def test_the_deadline_of_a_subscription_that_is_requested_again_begins_when_it_is_written(raw):
    """Otherwise those that wait for their turn longer than ``request_timeout`` would end."""
    with opened(raw, 4, protocol=wsclient.JsonRpc(), request_timeout=3600) as (client, peer):
        made = subscriptions(client, peer, 2)
        client._wsclient.context.queue._bounds = only(1)
        peer.reset()
        peer = raw.accept().upgrade()
        asked = taken(peer)
        eventually(lambda: client.state is State.OPEN)
        requests = client._wsclient.context.table.everything()
        assert [request.deadline.seconds for request in requests] == [3600, None]
        allow(client)
        again = taken(peer)
        assert requests[1].deadline.seconds == 3600
        assert requests[1] in [request for _, _, request in client._wsclient.context.table.timers]
        put(peer, reply(asked, "new 0"), reply(again, "new 1"))
        await_processed(peer)
        assert not client._wsclient.context.table.everything()
        for subscription in made:
            subscription.close()


def test_a_subscription_that_is_requested_again_times_out_without_a_reply(raw):
    with opened(raw, 4, protocol=wsclient.JsonRpc(), request_timeout=AMPLE) as (client, peer):
        future = subscribing(client)
        put(peer, reply(taken(peer), "key"))
        subscription = future.result(LONG)
        peer.reset()
        raw.accept().upgrade().receive_text()
        with pytest.raises(wsclient.RequestTimeout) as caught:
            subscription.get(LONG)
        assert caught.value.phase == "waiting"


def test_control_frames_do_not_wait(raw):
    with opened(raw, 1) as (client, peer):
        send_all(client, 3)
        assert peer.receive_text() == "message 0"
        await_processed(peer)  # the client answers a ping

        client.reconnect("next one")
        assert peer.receive_frame() == (8, b"\x03\xe8next one")


def test_a_close_frame_passes_messages_of_on_session_that_wait(raw):
    def on_session(client, session):
        session.send("first")
        session.send("second")
        session.request({"third": 1})

    client = wsclient.Client(raw.url, on_session=on_session, send_queue=only(1), reconnect=None)
    starting = start_call(client.start)
    peer = raw.accept().upgrade()
    assert peer.receive_text() == "first"
    peer.send_frame(8, b"\x03\xe8")
    assert peer.receive_frame()[0] == 8
    assert isinstance(starting.exception(LONG), wsclient.ConnectError)


class Beating(wsclient.JsonId):
    """``decode`` returns the answer to ``{"type": "ping"}``; the protocol also has a heartbeat."""

    def __init__(self, every):
        super().__init__()
        self.heartbeat = (every, lambda: {"type": "beat"})

    def decode(self, payload):
        if json.loads(payload) == {"type": "ping"}:
            return wsclient.Control('{"type": "pong"}')
        return super().decode(payload)


def test_heartbeats_and_answers_of_the_protocol_go_first_but_take_a_token(raw):
    with opened(raw, 1, protocol=Beating(0.02)) as (client, peer):
        assert taken(peer)["type"] == "beat"  # it takes the only token
        client.send("queued")
        peer.send_text('{"type": "ping"}')
        await_processed(peer)
        urgent = client._wsclient.context.sender.writer.urgent
        eventually(lambda: len(urgent.entries) >= 2)
        client._wsclient.context.protocol.heartbeat = None  # no further one
        await_processed(peer)
        left = len(urgent.entries)
        allow(client, left)
        messages = [json.loads(message) for message in sent(client, peer, left)]
        assert len(messages) == left
        assert {one["type"] for one in messages} == {"beat", "pong"}
        allow(client)
        assert peer.receive_text() == "queued"


def test_reading_pauses_while_too_many_answers_wait_for_tokens(raw):
    class Answering(wsclient.JsonId):
        def decode(self, payload):
            return wsclient.Control("x" * 2**16)

    with opened(raw, 1, protocol=Answering()) as (client, peer):
        for _ in range(MAX_ANSWERS // 2**16 + 2):
            peer.send_text("{}")
        eventually(lambda: client._wsclient.context.facts.paused)
        for _ in range(3):
            allow(client)
        eventually(lambda: not client._wsclient.context.facts.paused)


def subscribe_request():
    request = Request(b"", 1000, NEVER)
    request.feed = object()
    return request


def test_subscriptions_that_wait_for_tokens_delay_neither_reading_nor_pongs_nor_heartbeats():
    urgent = Urgent()
    asked = [subscribe_request() for _ in range(2 * MAX_ANSWERS // 1000)]
    for entry in asked:
        urgent.put(entry)
    assert urgent.bytes == 0
    beats = [Outgoing(Opcode.TEXT, b"", 0) for _ in range(2)]
    pongs = [Outgoing(Opcode.PONG, b"", 0) for _ in range(MAX_URGENT + 5)]
    for entry in (beats[0], *pongs, beats[1]):
        urgent.put(entry)
    assert urgent.has_next(has_token=False, is_paused=True)
    assert urgent.take_next(has_token=True, is_paused=True) == pongs[:MAX_URGENT]
    assert not urgent.has_next(has_token=False, is_paused=False)
    assert urgent.take_next(has_token=False, is_paused=False) == []
    assert urgent.has_next(has_token=True, is_paused=True)
    assert urgent.take_next(has_token=True, is_paused=True) == beats[:1]
    assert urgent.take_next(has_token=True, is_paused=False) == beats[1:]
    assert not urgent.has_next(has_token=True, is_paused=True)
    assert urgent.take_next(has_token=True, is_paused=True) == []
    assert urgent.has_next(has_token=True, is_paused=False)
    assert urgent.take_next(has_token=True, is_paused=False) == asked[:1]
    assert urgent.take() == asked[1:]
    urgent.put_back([pongs[0], asked[0]])
    assert urgent.has_next(has_token=False, is_paused=True)
    assert urgent.take_next(has_token=False, is_paused=True) == [pongs[0]]
    assert not urgent.has_next(has_token=True, is_paused=True)
    assert urgent.take() == [asked[0]]
    assert urgent.bytes == 0


# --- requests and other calls that wait ------------------------------------------------------------------------------


def test_the_deadline_of_a_request_includes_the_wait_for_a_token(raw):
    with opened(raw, 1) as (client, peer):
        client.send("first")
        with pytest.raises(wsclient.RequestTimeout, match=r"rate=0\.0001") as caught:
            client.request({"a": 1}, timeout=0.02)
        assert caught.value.phase == "queued"
        future = client.submit({"a": 2}, timeout=0.02)
        assert "rate=" in str(future.exception(LONG))
        assert sent(client, peer, 1) == ["first"]
        assert client.stats.queue_depth == 0


@pytest.mark.parametrize("protocol", [wsclient.JsonId, functools.partial(wsclient.Fifo, max_in_flight=1)])
def test_a_request_that_is_written_in_time_gets_its_reply(raw, protocol):
    with opened(raw, 1, protocol=protocol()) as (client, peer):
        client.send("first")
        future = client.submit({"a": 1}, timeout=LONG)
        assert sent(client, peer, 1) == ["first"]
        allow(client)
        answer = taken(peer)
        peer.send_text(json.dumps(answer))
        assert future.result(LONG) == answer


def test_a_request_without_room_in_the_queue_names_the_rate(raw):
    client, _ = open_pair(raw, send_queue=only(1, max_messages=1))
    send_all(client, 2)
    with pytest.raises(wsclient.RequestTimeout, match=r"no room; rate=") as caught:
        client.request({"a": 1}, timeout=0.02)
    assert caught.value.phase == "queued"
    client.close(timeout=0)


def test_flush_waits_for_the_messages_and_names_the_rate_if_it_gives_up(raw):
    with opened(raw, 1) as (client, peer):
        send_all(client, 2)
        with pytest.raises(wsclient.FlushTimeout, match=r"still queued, since rate=") as caught:
            client.flush(0.02)
        assert caught.value.phase == "queued"
        flushing = start_call(lambda: client.flush(LONG))
        eventually(lambda: client._wsclient.context.facts.awaited_marks)
        assert peer.receive_text() == "message 0"
        allow(client)
        assert peer.receive_text() == "message 1"
        flushing.result(LONG)


def test_a_delivery_is_confirmed_although_other_messages_wait_behind_it(server):
    with wsclient.connect(server.url, send_queue=only(1), ping_interval=3600) as client:
        first, second = send_all(client, 2)
        assert first.wait(LONG)
        assert first.state == "confirmed"
        assert not second.wait(0)
        client.clear_queue()


@pytest.mark.parametrize(
    ("overflow", "left"), [("drop_oldest", ["3", "4"]), ("drop_newest", ["1", "2"]), ("raise", ["1", "2"])]
)
def test_the_policy_for_a_full_queue_applies_to_messages_that_wait_for_a_token(raw, overflow, left):
    client, peer = open_pair(raw, send_queue=only(1, max_messages=2, overflow=overflow), ping_interval=None)
    with contextlib.suppress(wsclient.SendQueueFull):
        for n in range(5):
            client.send(str(n))
            if n == 0:
                assert peer.receive_text() == "0"
    assert client.stats.queue_depth == 2
    allow(client, 2)
    assert sent(client, peer, len(left)) == left
    client.close(timeout=0)


def test_a_sender_waits_for_room_until_the_next_message_is_sent(raw):
    client, peer = open_pair(raw, send_queue=only(1, max_messages=1), ping_interval=None)
    send_all(client, 2)
    assert peer.receive_text() == "message 0"
    with pytest.raises(wsclient.SendQueueFull):
        client.send("too late", timeout=0.02)
    sending = start_call(lambda: client.send("behind"))
    eventually(lambda: client._wsclient.context.queue._room.latches)
    allow(client)
    sending.result(LONG)
    assert sent(client, peer, 1) == ["message 1"]
    client.close(timeout=0)


def test_a_message_that_expires_while_it_waits_takes_no_token(raw):
    with opened(raw, 1) as (client, peer):
        client.send("first")
        expiring = client.send("second", expires=0.01)
        client.send("third")
        eventually(lambda: expiring.state == "expired")
        allow(client)
        assert sent(client, peer, 2) == ["first", "third"]


def test_a_cancelled_request_takes_no_token(raw):
    with opened(raw, 1) as (client, peer):
        client.send("first")
        assert client.submit({"a": 1}).cancel()
        client.send("third")
        allow(client)
        assert sent(client, peer, 2) == ["first", "third"]


def test_a_message_that_is_sent_inside_a_section_waits_too(raw):
    with opened(raw, 1) as (client, peer):
        client.send("first")
        assert peer.receive_text() == "first"
        with this_thread.section:
            client.send("second")
        assert sent(client, peer, 0) == []
        allow(client)
        assert peer.receive_text() == "second"


# --- threads and connections -----------------------------------------------------------------------------------------


def test_no_sender_waits_and_the_io_thread_sleeps_until_the_next_token(raw, monkeypatch):
    waits = []
    wait = Poller.wait

    def counting(poller, *arguments):
        waits.append(arguments)
        return wait(poller, *arguments)

    with opened(raw, 1) as (client, peer):
        began = time.monotonic()
        send_all(client, 50)
        assert time.monotonic() - began < SLACK
        assert sent(client, peer, 1) == ["message 0"]
        commands, bucket = client._wsclient.context.commands, client._wsclient.context.sender.writer.bucket
        eventually(lambda: commands.sleeps_until == bucket.ready_at)
        monkeypatch.setattr(Poller, "wait", counting)
        threading.Event().wait(SHORT)
        assert len(waits) < 5


def test_a_message_is_written_at_the_time_of_its_token_although_nothing_else_happens(raw):
    queue = wsclient.SendQueue(rate=20)
    client, peer = open_pair(raw, send_queue=queue, ping_interval=None)
    for send in (lambda call: call(), on_thread):
        for _ in range(2):
            send(lambda: send_all(client, 2))
            assert [peer.receive_text() for _ in range(2)] == ["message 0", "message 1"]
    client.close(timeout=0)


def test_messages_stay_queued_over_a_reconnect_and_the_next_connection_has_a_full_bucket(raw):
    with opened(raw, 2) as (client, peer):
        send_all(client, 5)
        for numbers in ("01", "23", "4"):
            assert sent(client, peer, len(numbers)) == [f"message {n}" for n in numbers]
            peer.reset()
            peer = raw.accept().upgrade()
            eventually(lambda: client.state is State.OPEN)


def test_a_drain_waits_for_the_messages():
    with Counting() as server:
        client = wsclient.connect(server.url, send_queue=wsclient.SendQueue(rate=EVENLY))
        send_all(client, 10)
        assert client.drain(LONG) is True
        assert len(server.wait_for(10)) == 10


def test_a_drain_does_not_wait_for_messages_that_have_expired(raw):
    with opened(raw, 1) as (client, peer):
        client.send("first")
        assert peer.receive_text() == "first"
        expiring = [client.send("x", expires=0.05) for _ in range(3)]
        draining = start_call(lambda: client.drain(LONG))
        assert peer.receive_frame()[0] == 8
        peer.send_frame(8, b"\x03\xe8")
        assert draining.result(LONG)
        assert [delivery.state for delivery in expiring] == ["expired"] * 3


def test_close_is_bounded_while_messages_wait(raw):
    with opened(raw, 1) as (client, peer):
        deliveries = send_all(client, 3)
        client.close(4000, "bye", timeout=SHORT, wait=False)
        assert client.wait_closed(SHORT + 1 + SLACK)
        assert [delivery.state for delivery in deliveries[1:]] == ["lost"] * 2
        assert peer.receive_text() == "message 0"
        assert peer.receive_frame() == (8, b"\x0f\xa0bye")


def test_the_answer_of_a_handler_takes_a_token_and_keeps_its_place(raw):
    with opened(raw, 2, protocol=wsclient.JsonRpc(), handlers={"twice": lambda number: 2 * number}) as (client, peer):
        client.send("first")
        peer.send_text('{"jsonrpc": "2.0", "id": 7, "method": "twice", "params": 4}')
        assert peer.receive_text() == "first"
        assert taken(peer)["result"] == 8
        peer.send_text('{"jsonrpc": "2.0", "id": 8, "method": "twice", "params": 5}')
        eventually(lambda: client.stats.queue_depth)
        assert sent(client, peer, 0) == []
        allow(client)
        assert taken(peer)["result"] == 10


# --- the options -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0, -1, math.inf, math.nan])
def test_a_rate_that_is_not_a_positive_number_is_refused(rate):
    with pytest.raises(ValueError, match="rate"):
        wsclient.SendQueue(rate=rate)


@pytest.mark.parametrize("rate", ["5", True, [1]])
def test_a_rate_that_is_no_number_is_refused(rate):
    with pytest.raises(TypeError, match="rate"):
        wsclient.SendQueue(rate=rate)


@pytest.mark.parametrize(("burst", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (None, TypeError)])
def test_a_burst_that_is_not_a_count_is_refused(burst, error):
    with pytest.raises(error, match="burst"):
        wsclient.SendQueue(rate=5, burst=burst)


def test_a_queue_with_the_same_rate_is_equal():
    assert wsclient.SendQueue(rate=5, burst=2) == wsclient.SendQueue(rate=5.0, burst=2) != wsclient.SendQueue()
    assert (wsclient.SendQueue().rate, wsclient.SendQueue().burst) == (None, 1)


def test_a_plain_queue_has_no_rate(mute_server):
    with wsclient.connect(mute_server.url, send_queue=wsclient.Queue()) as client:
        client.send("x")
        mute_server.wait_for(1)
