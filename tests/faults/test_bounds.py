"""What a hostile or careless server can cost: memory, time of the I/O thread, other people's room in the queues."""

import contextlib
import itertools
import json
import threading

import pytest

import wsclient
from wsclient import JsonRpc, Limits, MessageTooBig, ReceiveQueue
from wsclient._receiving.router import SLICE
from wsclient._rfc6455.read_size import READ_SIZE
from wsclient._sending.priority import MAX_ANSWERS
from wsclient._threads.log import MAX_PAYLOADS, MAX_REPEATS

from ..support import LONG, SHORT, eventually
from ..support.frames import Compressor
from ..support.peers import await_processed, open_pair, taken
from ..support.raw import frame
from ..support.stage import PLENTY

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"


def notifications(count, padding):
    """A JSON-RPC array of notifications, and its size in bytes."""
    text = json.dumps([{"jsonrpc": "2.0", "method": "tick", "params": [n, "p" * padding]} for n in range(count)])
    return text, len(text)


class Several(wsclient.Protocol):
    """A protocol whose messages are arrays of events."""

    def __init__(self, *, lazily):
        self.lazily = lazily

    def decode(self, payload):
        events = (wsclient.Event(one) for one in json.loads(payload))
        return events if self.lazily else list(events)


# --- several messages in one -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "protocol", [JsonRpc(), Several(lazily=True), Several(lazily=False)], ids=["JsonRpc", "generator", "list"]
)
def test_each_message_of_an_array_counts_for_its_share_of_the_bytes(raw, protocol):
    text, size = notifications(500, 1000)
    bounds = ReceiveQueue(max_bytes=2 * size, overflow="drop_newest")
    free, got = threading.Event(), []

    def take(_, message):
        free.wait(LONG)
        got.append(message["params"][0])

    client, peer = open_pair(raw, protocol=protocol, on_message=take, receive_queue=bounds)
    peer.send_text(text)
    await_processed(peer)
    free.set()
    eventually(lambda: len(got) + client.stats.dropped == 500)
    assert (got, client.stats.dropped) == (list(range(500)), 0)
    client.close(timeout=0)


def test_an_array_that_arrives_during_the_set_up_counts_once(raw):
    text, size = notifications(100, 1000)
    got = []
    ready = threading.Event()

    def set_up(_, session):
        assert session.recv(LONG)["params"][0] == 0
        session.call("login", timeout=LONG)
        ready.set()

    client = wsclient.Client(
        raw.url,
        protocol=JsonRpc(),
        on_session=set_up,
        on_message=lambda _, message: got.append(message["params"][0]),
        receive_queue=ReceiveQueue(max_bytes=2 * size),
    )
    starting = threading.Thread(target=client.start)
    starting.start()
    peer = raw.accept().upgrade()
    peer.send_text(text)
    asked = json.loads(peer.receive_text())
    peer.send_text(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": 1}))
    starting.join(LONG)
    assert ready.is_set()
    eventually(lambda: got == list(range(1, 100)))
    client.close(timeout=0)


class Blocked:
    """A hook that waits until the test releases it; it collects what it gets."""

    def __init__(self):
        self.got = []
        self.free = threading.Event()

    def __call__(self, client, message):
        self.free.wait(LONG)
        self.got.append(message)


def is_paused(client):
    return client._wsclient.context.facts.paused


@pytest.mark.slow
def test_reading_pauses_inside_a_long_array_and_continues_for_a_reply(raw):
    hook, total = Blocked(), 20 * SLICE
    client, peer = open_pair(
        raw, protocol=JsonRpc(), on_message=hook, receive_queue=ReceiveQueue(max_messages=100), ping_interval=None
    )
    text, _ = notifications(total, 0)
    peer.send(frame(TEXT, text.encode()) + frame(PING, b"behind the array"))
    eventually(lambda: is_paused(client))
    assert len(client._wsclient.context.hooks.inbox) <= 100 + SLICE
    future = client.submit({"method": "a request keeps reading"})
    assert json.loads(peer.receive_text())["method"]
    assert peer.receive_frame() == (PONG, b"behind the array")
    peer.send_text('{"jsonrpc": "2.0", "id": 1, "result": 5}')
    assert future.result(LONG) == 5
    hook.free.set()
    eventually(lambda: len(hook.got) == total)
    assert [message["params"][0] for message in hook.got] == list(range(total))
    assert client.stats.dropped == 0
    client.close(timeout=0)


def test_close_is_carried_out_inside_a_long_array(raw):
    begun, closed, seen = threading.Event(), threading.Event(), []

    def match(message):
        seen.append(message)
        begun.set()
        closed.wait(LONG)
        return False

    client, peer = open_pair(raw, protocol=JsonRpc(), ping_interval=None)
    client.submit({"method": "x"}, match=match)
    taken(peer)
    total = 20 * SLICE  # more than one turn processes
    peer.send_text(notifications(total, 0)[0])
    assert begun.wait(LONG)
    client.close(wait=False)
    closed.set()
    assert peer.receive_frame()[0] == CLOSE
    assert len(seen) < total
    client.close(timeout=0)


@pytest.mark.slow
def test_a_peer_whose_pong_is_behind_an_array_is_not_dead(raw):
    hook = Blocked()
    client, peer = open_pair(
        raw, protocol=JsonRpc(), on_message=hook, receive_queue=ReceiveQueue(max_messages=100), ping_interval=SHORT,
        ping_timeout=2,
    )  # fmt: skip
    text, _ = notifications(5 * SLICE, 0)
    opcode, payload = peer.receive_frame()
    assert opcode == PING
    peer.send(frame(TEXT, text.encode()) + frame(PONG, payload))
    eventually(lambda: is_paused(client))
    threading.Event().wait(3)
    assert client.state is wsclient.State.OPEN
    assert client.stats.connections == 1
    hook.free.set()
    client.close(timeout=0)


class Endless(wsclient.Protocol):
    def decode(self, payload):
        return (wsclient.Event(n) for n in itertools.count())


@pytest.mark.parametrize("protocol", [JsonRpc(), Several(lazily=False), Endless()], ids=["JsonRpc", "list", "endless"])
def test_an_array_of_too_many_messages_closes_the_connection(raw, protocol):
    errors = []
    client, peer = open_pair(
        raw, protocol=protocol, limits=Limits(max_batch=10), on_error=lambda _, error: errors.append(error)
    )
    if not isinstance(protocol, Endless):
        peer.send_text(json.dumps(list(range(10))))
        eventually(lambda: client.stats.messages_received)
    peer.send_text(json.dumps(list(range(11))))
    opcode, payload = peer.receive_frame()
    assert (opcode, payload[:2]) == (CLOSE, b"\x03\xf1")  # 1009
    eventually(lambda: errors)
    assert isinstance(errors[0], MessageTooBig)
    assert "max_batch of limits=" in str(errors[0])
    client.close(timeout=0)


def test_messages_of_an_array_that_find_no_room_when_the_connection_breaks_are_counted(raw):
    hook, total = Blocked(), 5 * SLICE
    client, peer = open_pair(
        raw, protocol=JsonRpc(), on_message=hook, receive_queue=ReceiveQueue(max_messages=100), ping_interval=None,
        reconnect=None,
    )  # fmt: skip
    text, _ = notifications(total, 0)
    peer.send(frame(TEXT, text.encode()) + frame(CLOSE, b"\x03\xf0no"))  # 1008
    eventually(lambda: is_paused(client))
    peer.reset()
    while client.last_disconnect is None:
        with contextlib.suppress(wsclient.ClientClosed):
            client.send("x")  # this fails, so the client finds that the connection is broken
    assert client.last_disconnect.code == 1008
    hook.free.set()
    eventually(lambda: len(hook.got) + client.stats.dropped == total)
    assert [message["params"][0] for message in hook.got] == list(range(len(hook.got)))
    client.close(timeout=0)


# --- decompression ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fragments", [(), (500,)], ids=["whole", "fragments"])
@pytest.mark.parametrize("opcode", [TEXT, pytest.param(BINARY, marks=pytest.mark.slow)])
def test_a_read_that_inflates_to_far_more_pauses_at_the_limit_of_the_queue(raw, opcode, fragments):
    hook, count, size = Blocked(), 30, 2**20
    client = wsclient.Client(
        raw.url, on_message=hook, receive_queue=ReceiveQueue(max_bytes=4 * size), ping_interval=None, json=None
    )
    starting = threading.Thread(target=client.start)
    starting.start()
    peer = raw.accept().upgrade(DEFLATE)
    starting.join(LONG)
    compressor = Compressor()
    bombs = b"".join(compressor.frames(opcode, b"a" * size, *fragments) for _ in range(count))
    assert len(bombs) < 65536 * 2
    peer.send(bombs)
    eventually(lambda: is_paused(client))
    assert client.stats.messages_received <= 7  # 4 in the queue, one taken by the hook, and at most 2 of one step
    hook.free.set()
    eventually(lambda: len(hook.got) == count)
    assert all(len(message) == size for message in hook.got)
    client.close(timeout=0)


def test_what_is_left_to_read_of_a_broken_connection_stops_at_the_limit_of_the_queue(raw):
    hook, count, size = Blocked(), 30, 2**20
    begun, broken = threading.Event(), threading.Event()

    class Waiting(wsclient.Protocol):
        def decode(self, payload):
            if payload == "go":
                begun.set()
                broken.wait(LONG)
            return wsclient.Event(payload)

    client = wsclient.Client(
        raw.url, on_message=hook, receive_queue=ReceiveQueue(max_bytes=4 * size), ping_interval=None, reconnect=None,
        protocol=Waiting(),
    )  # fmt: skip
    starting = threading.Thread(target=client.start)
    starting.start()
    peer = raw.accept().upgrade(DEFLATE)
    starting.join(LONG)
    peer.send(frame(TEXT, b"go"))
    assert begun.wait(LONG)
    compressor, ping = Compressor(), frame(PING, b"whose pong can't be written")
    peer.send(b"".join(ping + compressor.frames(TEXT, b"a" * size) for _ in range(count)))
    peer.reset()
    broken.set()
    eventually(lambda: client.stats.connections == 1 and client.last_disconnect is not None)
    hook.free.set()
    client.close()
    eventually(lambda: len(hook.got) + client.stats.dropped == client.stats.messages_received)
    assert 2 <= len(hook.got) <= 9  # "go", 4 in the queue, one taken by the hook, 2 of one step


# --- answers to the server's calls -----------------------------------------------------------------------------------


def call(id):
    return frame(TEXT, json.dumps({"jsonrpc": "2.0", "id": id, "method": "work", "params": None}).encode())


def fill_socket(client):
    """Fill the socket, so that everything later stays queued."""
    client.send({"filler": "f" * PLENTY})
    eventually(lambda: client._wsclient.context.sender.writer.blocked)


def drained(peer, count):
    """The next messages of the client, without the fillers."""
    messages = []
    while len(messages) < count:
        message = taken(peer)
        if "filler" not in message:
            messages.append(message)
    return messages


@pytest.mark.parametrize("workers", [None, 0, 2], ids=["no handler", "hook thread", "workers"])
@pytest.mark.parametrize(
    "overflow",
    ["block", *(pytest.param(one, marks=pytest.mark.slow) for one in ("drop_oldest", "drop_newest", "raise"))],
)
def test_answers_take_no_room_of_the_users_messages(raw, overflow, workers):
    mine, calls = 40, 100
    client, peer = open_pair(
        raw, protocol=JsonRpc(), compression=None, ping_interval=None,
        send_queue=wsclient.SendQueue(max_messages=mine + 10, overflow=overflow),
    )  # fmt: skip
    if workers is not None:
        client.handle("work", lambda params: "done", workers=workers)
    fill_socket(client)
    room = mine + 10 - client.stats.queue_depth
    deliveries = [client.send({"n": n}) for n in range(room - 1)]
    peer.send(b"".join(call(n) for n in range(calls)))
    context = client._wsclient.context
    eventually(lambda: len(context.sender.writer.urgent.entries) + client.stats.queue_depth >= mine + 9 + calls)
    deliveries.append(client.send({"n": room - 1}, timeout=LONG))  # there is room for one more
    assert (client.stats.dropped, {delivery.state for delivery in deliveries}) == (0, {"queued"})
    got = drained(peer, room + calls)
    assert [message["n"] for message in got if "n" in message] == list(range(room))
    assert sorted(message["id"] for message in got if "id" in message) == list(range(calls))
    client.close(timeout=0)


@pytest.mark.parametrize(
    "workers",
    [pytest.param(None, marks=pytest.mark.slow), 0, pytest.param(2, marks=pytest.mark.slow)],
    ids=["no handler", "hook thread", "workers"],
)
def test_reading_pauses_until_the_answers_are_sent(raw, workers):
    client, peer = open_pair(raw, protocol=JsonRpc(), compression=None, ping_interval=None)
    if workers is not None:
        client.handle("work", lambda params: "r" * 2000, workers=workers)
    fill_socket(client)
    calls = 8000
    peer.send(b"".join(call(f"{n:0100}") for n in range(calls)))
    eventually(lambda: is_paused(client))
    queue, writer = client._wsclient.context.queue, client._wsclient.context.sender.writer
    assert queue.answer_bytes <= 2 * MAX_ANSWERS
    assert writer.urgent.bytes <= MAX_ANSWERS + READ_SIZE * 3  # those of one read
    got = [message["id"] for message in drained(peer, calls)]
    assert (sorted(got), len(set(got))) == ([f"{n:0100}" for n in range(calls)], calls)
    eventually(lambda: not client._wsclient.context.queue.answer_bytes)
    client.close(timeout=0)


def test_close_ends_the_wait_of_a_handler_whose_answer_finds_no_room(raw):
    client, peer = open_pair(raw, protocol=JsonRpc(), compression=None, ping_interval=None)
    client.handle("work", lambda params: "r" * 2**20)
    fill_socket(client)
    peer.send(b"".join(call(n) for n in range(5)))
    context = client._wsclient.context
    eventually(lambda: context.queue.answer_bytes > MAX_ANSWERS)
    eventually(lambda: context.queue._room.latches)  # the handler of the next call waits for room
    client.close(timeout=0)
    eventually(lambda: context.hooks.ident is None)


def test_an_answer_is_sent_after_what_its_handler_sent(raw):
    client, peer = open_pair(raw, protocol=JsonRpc(), compression=None, ping_interval=None)

    def work(params):
        client.notify("progress", [1])
        return "done"

    client.handle("work", work)
    fill_socket(client)
    peer.send(call(1))
    first, second = drained(peer, 2)
    assert (first["method"], second["result"]) == ("progress", "done")
    client.close(timeout=0)


# --- logs ------------------------------------------------------------------------------------------------------------


class Undecodable(wsclient.Protocol):
    def decode(self, payload):
        raise LookupError("junk")


def undecoded(client, caplog):
    """The records of this client about messages that could not be decoded; those of earlier tests may come late."""
    texts = [record.getMessage() for record in caplog.records]
    name = client._wsclient.context.log.name
    return [text for text in texts if text.startswith(f"{name}: ") and "could not be decoded" in text]


def test_the_errors_of_large_undecodable_messages_stop_at_the_limit_of_the_queue(raw):
    free, seen, count, size = threading.Event(), [], 60, 2**17

    def on_error(_, error):
        free.wait(LONG)
        seen.append(error)

    queue = ReceiveQueue(max_bytes=8 * size)
    client, peer = open_pair(raw, protocol=Undecodable(), on_error=on_error, ping_interval=None, receive_queue=queue)
    for _ in range(count):
        peer.send_text("\U0001f600" * (size // 4))  # four bytes for each character
    await_processed(peer)
    free.set()
    client.close(timeout=0)
    eventually(lambda: client._wsclient.context.hooks.ident is None)
    assert 2 <= len(seen) <= 9  # 8 in the queue, one taken by the hook
    assert {len(error.payload) for error in seen} == {size // 4}


def test_large_undecodable_messages_do_not_stay_in_memory_while_a_log_handler_is_slow(raw, caplog, monkeypatch):
    free, count, size = threading.Event(), 60, 2**20
    monkeypatch.setattr(caplog.handler, "filter", lambda record: free.wait(LONG))
    client, peer = open_pair(raw, protocol=Undecodable(), ping_interval=None)
    text = "\U0001f600" * (size // 4)  # four bytes for each character
    for _ in range(count):
        peer.send_text(text)
    await_processed(peer)
    free.set()
    client.close(timeout=0)
    eventually(lambda: "log records were dropped" in caplog.text)
    eventually(lambda: not client._wsclient.context.log._records)
    assert 2 <= len(undecoded(client, caplog)) <= 1 + MAX_PAYLOADS // size


def test_many_undecodable_messages_cause_few_warnings(raw, caplog):
    client, peer = open_pair(raw, protocol=Undecodable(), ping_interval=None)
    peer.send(frame(TEXT, b"x") * 3000)
    await_processed(peer)
    client.close(timeout=0)
    summary = f"{3000 - MAX_REPEATS} more records like this one were not logged: A message could not"
    eventually(lambda: summary in caplog.text)  # the records are handled on a thread of their own
    texts = undecoded(client, caplog)
    assert len(texts) == MAX_REPEATS + 1
    assert summary in texts[-1]
