"""One connection: keepalive, frames that break the rules, slow readers, unusual peers."""

import json
import socket
import threading
import time

import pytest
import tenacity

import wsclient
from wsclient import State
from wsclient._connection.connection import _address
from wsclient._receiving.router import SLICE

from ..support import LONG, SHORT, FaultProxy, Server, eventually
from ..support.peers import open_pair, start_call
from ..support.raw import frame
from ..support.stage import Hang
from ..support.threads import on_thread

SOON = wsclient.Reconnect(wait=tenacity.wait_none())
QUIET = {"ping_interval": None}


# --- keepalive -------------------------------------------------------------------------------------------------------


def test_pings_are_sent_and_a_matching_pong_gives_the_latency(raw):
    pongs = []
    client, peer = open_pair(raw, ping_interval=0.05, on_pong=lambda _, data: pongs.append(data))
    opcode, first = peer.receive_frame()
    assert opcode == 9
    peer.send_frame(10, b"unasked for")
    opcode, second = peer.receive_frame()
    assert (opcode, second != first) == (9, True)
    assert client.latency is None
    peer.send_frame(10, second)
    eventually(lambda: client.latency is not None)
    assert client.latency > 0
    eventually(lambda: pongs == [b"unasked for", second])
    client.close(timeout=0)


def test_the_statistics_have_the_last_the_shortest_and_the_mean_round_trip(raw):
    pongs, seconds = [], []
    client, peer = open_pair(raw, ping_interval=0.05, on_pong=lambda _, data: pongs.append(data))
    assert (client.stats.rtt_last, client.stats.rtt_min, client.stats.rtt_mean) == (None, None, None)
    for n in range(4):
        ping = peer.receive_frame()[1]
        if n == 3:
            threading.Event().wait(2 * min(seconds))  # the last one is not the shortest
        peer.send_frame(10, ping)
        eventually(lambda: len(pongs) > len(seconds))
        stats = client.stats
        seconds.append(stats.rtt_last)
        assert stats.rtt_min == min(seconds)
        assert stats.rtt_mean == pytest.approx(sum(seconds) / len(seconds))
    client.close(timeout=0)


def test_a_ping_of_the_server_is_answered_and_reported(raw):
    pings = []
    client, peer = open_pair(raw, on_ping=lambda _, data: pings.append(data), **QUIET)
    payloads = [b"one", b"", bytes(range(125))]  # 125 bytes are the most (RFC 6455 §5.5)
    for payload in payloads:
        peer.send_frame(9, payload)
        assert peer.receive_frame() == (10, payload)
    eventually(lambda: pings == payloads)
    client.close(timeout=0)


@pytest.mark.parametrize(("interval", "timeout"), [(0.1, 0.4), (0.4, 0.1), (0.1, 0.1)])
def test_a_silent_peer_is_detected_with_any_combination_of_options(raw, interval, timeout):
    began = time.monotonic()
    client, _ = open_pair(raw, ping_interval=interval, ping_timeout=timeout)
    raw.accept()
    took = time.monotonic() - began
    assert client.last_disconnect.initiator == "keepalive"
    assert client.last_disconnect.idle >= timeout
    assert took >= interval + timeout - 0.02
    client.close(timeout=0)


def test_a_peer_that_is_silent_in_the_middle_of_a_frame_is_detected(raw):
    client, peer = open_pair(raw, ping_interval=0.1, ping_timeout=0.1)
    peer.send(b"\x81\x7e\x10\x00half a frame")
    raw.accept()
    assert client.last_disconnect.initiator == "keepalive"
    client.close(timeout=0)


def test_a_peer_that_stops_reading_is_detected_although_the_socket_is_full(raw):
    client, _ = open_pair(raw, ping_interval=0.1, ping_timeout=0.2)
    for _ in range(16):
        client.send(b"x" * 2**20)
    raw.accept()
    assert client.last_disconnect.initiator == "keepalive"
    client.close(timeout=0)


def test_bytes_of_any_kind_are_a_sign_of_life(raw):
    client, peer = open_pair(raw, ping_interval=0.1, ping_timeout=1.0)
    peer.send(b"\x82\x7e\x05\xdc")  # a message of 1500 bytes, which arrives slowly and delays the pongs
    pause = threading.Event()
    for _ in range(15):
        pause.wait(0.1)
        peer.send(b"x" * 100)
    assert client.stats.connections == 1
    assert client.last_disconnect is None
    client.close(timeout=0)


def test_a_slow_hook_does_not_make_the_peer_count_as_dead(server):
    entered, leave = threading.Event(), threading.Event()

    def slow(client, message):
        entered.set()
        leave.wait(LONG)

    with wsclient.connect(server.url, ping_interval=0.1, ping_timeout=1.0, on_message=slow) as client:
        client.send("x")
        assert entered.wait(LONG)
        leave.wait(1.5)
        assert client.stats.connections == 1
        assert client.state is State.OPEN
        leave.set()


def test_without_pings_nothing_is_sent(raw):
    client, peer = open_pair(raw, ping_interval=None, ping_timeout=None)
    peer.sock.settimeout(SHORT)
    with pytest.raises(TimeoutError):
        peer.receive_frame()
    client.close(timeout=0)


def test_with_ping_timeout_none_a_silent_peer_is_never_dropped(raw):
    client, peer = open_pair(raw, ping_interval=0.02, ping_timeout=None)
    for _ in range(20):
        assert peer.receive_frame()[0] == 9
    assert client.state is State.OPEN
    client.close(timeout=0)


# --- rules broken by the peer ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "code", "kind"),
    [
        (frame(1, b"\xff"), 1007, wsclient.ProtocolError),
        (frame(3, b"?"), 1002, wsclient.ProtocolError),
        (frame(1, b"x", rsv=4), 1002, wsclient.ProtocolError),
        (frame(0, b"x"), 1002, wsclient.ProtocolError),
        (b"\x81\x81abcdx", 1002, wsclient.ProtocolError),
        (frame(9, b"x" * 126), 1002, wsclient.ProtocolError),
        (b"\x82\x7f" + (1001).to_bytes(8, "big"), 1009, wsclient.MessageTooBig),
        (frame(2, b"x" * 600, fin=False) + frame(0, b"x" * 600), 1009, wsclient.MessageTooBig),
    ],
)
def test_a_peer_that_breaks_the_rules_gets_a_close_code_and_is_disconnected(raw, data, code, kind):
    errors, closes = [], []
    client, peer = open_pair(
        raw,
        max_message_size=1000,
        on_error=lambda _, error: errors.append(error),
        on_close=lambda _, code, reason: closes.append(code),
        **QUIET,
    )
    peer.send(frame(1, b"before") + data)
    assert peer.receive_frame() == (8, code.to_bytes(2, "big"))
    peer.finish()
    raw.accept().upgrade()
    eventually(lambda: client.stats.connections == 2)
    eventually(lambda: closes == [code])
    ((error,),) = [errors]
    assert isinstance(error, kind)
    assert (client.last_disconnect.initiator, client.last_disconnect.code) == ("local", code)
    assert client.last_disconnect.error is error
    assert client.stats.messages_received == 1
    client.close(timeout=0)


def test_a_decoder_that_raises_skips_the_message(raw):
    class Picky(wsclient.JsonId):
        def decode(self, payload):
            if payload == "bad":
                raise KeyError("bad")
            return super().decode(payload)

    errors, seen = [], []
    client, peer = open_pair(
        raw,
        protocol=Picky(),
        on_error=lambda _, error: errors.append(error),
        on_message=lambda _, message: seen.append(message),
    )
    for text in ("one", "bad", "two"):
        peer.send_text(text)
    eventually(lambda: seen == ["one", "two"])
    assert errors[0].payload == "bad"
    assert isinstance(errors[0].__cause__, KeyError)
    client.close(timeout=0)


def test_a_decoder_can_drop_the_connection(raw):
    class Strict(wsclient.JsonId):
        def decode(self, payload):
            raise wsclient.ProtocolError("Out of step.", payload=payload)

    client, peer = open_pair(raw, protocol=Strict(), **QUIET)
    peer.send_text("x")
    assert peer.receive_frame() == (8, b"\x03\xea")
    peer.finish()
    raw.accept()
    assert client.last_disconnect.error.payload == "x"
    client.close(timeout=0)


def test_invalid_json_arrives_as_text(raw):
    client, peer = open_pair(raw)
    with client.listen() as stream:
        for text in ('{"a": 1', "[1, 2", "{}", " [1]", "plain", "[" * 100_000):
            peer.send_text(text)
        assert [stream.get(LONG) for _ in range(6)] == ['{"a": 1', "[1, 2", {}, [1], "plain", "[" * 100_000]
    client.close(timeout=0)


def test_a_fragmented_message_with_a_ping_in_between_is_received(raw):
    client, peer = open_pair(raw, **QUIET)
    with client.listen() as stream:
        peer.send(frame(1, "grüß".encode()[:3], fin=False) + frame(9, b"p") + frame(0, "grüß".encode()[3:]))
        assert stream.get(LONG) == "grüß"
        assert peer.receive_frame() == (10, b"p")
    client.close(timeout=0)


# --- slow readers ----------------------------------------------------------------------------------------------------


def flood(connection, message):
    for n in range(int(message)):
        connection.send(f"{n:06d}" + "x" * 1000)
    connection.send("done")


def test_reading_pauses_at_the_limit_and_nothing_is_lost():
    with Server(flood) as server, wsclient.connect(server.url, ping_interval=0.1, ping_timeout=1.0) as client:
        stream = client.listen(maxsize=10)
        client.send("5000")
        pause = threading.Event()
        eventually(lambda: client._wsclient.context.facts.paused)
        pause.wait(1.5)  # longer than the keepalive allows: unread bytes are a sign of life
        received = client.stats.messages_received
        assert received < 2000
        assert [stream.get(LONG)[:6] for _ in range(5000)] == [f"{n:06d}" for n in range(5000)]
        assert stream.get(LONG) == "done"
        assert stream.dropped == 0
        assert client.stats.connections == 1
        eventually(lambda: not client._wsclient.context.facts.paused)


def test_a_request_continues_reading_although_a_stream_is_full():
    def handler(connection, message):
        if message == "flood":
            for _ in range(100):
                connection.send("x" * 100)
        else:
            connection.send(message)

    with Server(handler) as server, wsclient.connect(server.url) as client, client.listen(maxsize=10) as stream:
        client.send("flood")
        eventually(lambda: client._wsclient.context.facts.paused)
        assert client.request({"a": 1}, timeout=LONG) == {"id": 1, "a": 1}
        assert [stream.get(LONG) for _ in range(100)] == ["x" * 100] * 100


def test_above_the_byte_limit_a_full_stream_ends_and_hooks_lose_the_newest_with_one_error():
    """Compressed, all of it is read at once; yet the client checks after each message whether a request waits."""
    all_sent, entered_match = threading.Event(), threading.Event()

    def handler(connection, message):
        connection.send("hold")
        assert entered_match.wait(LONG)
        for n in range(200):
            connection.send(f"{n:03d}" + "x" * 1000)
        connection.send('{"id": 1}')
        all_sent.set()

    def hold(message):
        entered_match.set()
        return message != "hold" or not all_sent.wait(LONG)

    entered, leave = threading.Event(), threading.Event()
    seen, errors = [], []

    class Slow(wsclient.Client):
        def on_message(self, message):
            entered.set()
            leave.wait(LONG)
            seen.append(message)

        def on_error(self, error):
            errors.append(error)

    queue = wsclient.ReceiveQueue(max_messages=10, max_bytes=50_000)
    with Server(handler) as server, Slow(server.url, receive_queue=queue) as client:
        stream = client.listen(hold)
        assert client.request({"go": 1}, timeout=LONG) == {"id": 1}
        leave.set()
        texts = []
        with pytest.raises(wsclient.SlowConsumer):
            texts.extend(text[:3] for text in iter(lambda: stream.get(LONG), None))
        assert texts == [f"{n:03d}" for n in range(len(texts))]
        assert 10 <= len(texts) < 50
        eventually(lambda: errors)
        assert [type(error) for error in errors] == [wsclient.SlowConsumer]
        eventually(lambda: len(seen) + client._wsclient.context.hooks.dropped == 201)
        assert [text[:3] for text in seen] == ["hol", *(f"{n:03d}" for n in range(len(seen) - 1))]
        assert client.stats.dropped >= client._wsclient.context.hooks.dropped > 0


def test_a_garbage_collected_stream_does_not_block_reading(server):
    with wsclient.connect(server.url) as client:
        client.listen(maxsize=1)  # and no reference is kept
        stream = client.listen()
        for n in range(50):
            client.send(str(n))
        assert [stream.get(LONG) for _ in range(50)] == [str(n) for n in range(50)]


def test_latest_keeps_the_newest_message_of_each_key():
    with Server() as server, wsclient.connect(server.url) as client:
        stream = client.listen(overflow="latest", key=lambda m: m["k"])
        for n in range(10):
            client.send({"k": n % 2, "n": n})
        client.request({"method": "echo", "params": 1}, timeout=LONG)
        assert [stream.get(LONG), stream.get(LONG)] == [{"k": 0, "n": 8}, {"k": 1, "n": 9}]
        assert stream.dropped == 8


# --- unusual peers ---------------------------------------------------------------------------------------------------


def test_a_peer_that_answers_the_close_frame_and_keeps_tcp_open_is_disconnected(raw):
    client, peer = open_pair(raw, **QUIET)
    closer = threading.Thread(target=client.close)
    closer.start()
    assert peer.receive_frame() == (8, b"\x03\xe8")
    peer.send_frame(8, b"\x03\xe8")
    closer.join(LONG)
    assert client.state is State.CLOSED


def test_the_close_frame_of_the_peer_is_read_although_a_hook_blocks_reading(raw):
    go = threading.Event()
    client, peer = open_pair(
        raw, on_message=lambda *_: go.wait(LONG), receive_queue=wsclient.ReceiveQueue(max_messages=1), **QUIET
    )
    try:
        peer.send(frame(1, b"x") * 3)
        eventually(lambda: client._wsclient.context.facts.paused)
        closing = start_call(lambda: client.close(timeout=4 * LONG))
        assert peer.receive_frame()[0] == 8
        peer.send(frame(1, b"x") + frame(8, (1000).to_bytes(2, "big")))
        peer.until_closed()  # long before the time-out of close()
    finally:
        go.set()
    closing.result(LONG)
    assert (client.last_disconnect.code, client.last_disconnect.reason) == (1000, "")


def test_messages_that_arrive_during_the_closing_handshake_are_delivered(raw):
    seen = []
    client, peer = open_pair(raw, on_message=lambda _, message: seen.append(message), **QUIET)
    closer = threading.Thread(target=client.close)
    closer.start()
    peer.receive_frame()
    peer.send(frame(1, b"last words") + frame(8, b"\x03\xe8"))
    peer.finish()
    closer.join(LONG)
    assert seen == ["last words"]


def test_a_connection_that_breaks_during_a_write_still_reports_the_close_code_of_the_server(raw):
    client, peer = open_pair(raw, **QUIET)
    peer.send(frame(8, b"\x0f\xa1because"))
    peer.close()  # the next write of the client breaks the connection
    eventually(lambda: client.last_disconnect is not None)
    assert (client.last_disconnect.code, client.last_disconnect.reason) == (4001, "because")
    client.close(timeout=0)


def test_many_pings_do_not_fill_the_memory_with_pongs(raw):
    client, peer = open_pair(raw, **QUIET)
    flood = frame(9, b"p" * 100) * 1000
    for _ in range(20):
        peer.send(flood)  # and reads none of the answers
    peer.send_text("still there")
    with client.listen() as stream:
        peer.send_text("really")
        eventually(lambda: stream.get(LONG) == "really")
    assert len(client._wsclient.context.sender.writer.urgent.entries) <= 128
    client.close(timeout=0)


def test_a_connection_survives_a_pause_of_the_whole_process(server):
    """Like a suspended laptop: time passes for all threads together, and the pong is not yet read."""
    with FaultProxy(server.port) as proxy:
        with wsclient.connect(proxy.url, ping_interval=0.2, ping_timeout=1.0) as client:
            held = threading.Event()

            def hold(message):
                held.wait(1.5)  # the I/O thread, longer than the keepalive allows
                return True

            assert client.request("x", match=hold, timeout=LONG) == "x"
            assert client.request("y", match=lambda m: m == "y", timeout=LONG) == "y"
            assert client.stats.connections == 1


def test_a_close_frame_directly_after_the_upgrade_loses_nothing_of_the_queue(raw):
    client = wsclient.Client(raw.url, reconnect=SOON, ping_interval=None)
    reported = []
    client.on_open = lambda client: reported.append("open")
    client.on_close = lambda client, code, reason: reported.append(code)
    deliveries = [client.send(f"message {n}") for n in range(3)]
    future = client.submit({"method": "add"})
    starter = threading.Thread(target=client.start)
    starter.start()
    first = raw.accept().upgrade(then=frame(8, b"\x03\xf5busy"))
    assert first.receive_frame() == (8, b"\x03\xf5")
    first.finish()
    with pytest.raises(ConnectionError):
        first.receive_frame()  # no frame follows a close frame
    second = raw.accept().upgrade()
    assert [second.receive_text() for _ in range(3)] == ["message 0", "message 1", "message 2"]
    assert second.receive_text() == '{"id":1,"method":"add"}'
    second.send_text('{"id": 1}')
    assert future.result(LONG) == {"id": 1}
    assert all(delivery.state == "confirmed" for delivery in deliveries)
    starter.join(LONG)
    eventually(lambda: reported == ["open", 1013, "open"])
    client.close(timeout=0)


def test_after_a_close_frame_during_the_setup_a_message_waits_for_the_next_connection(raw):
    client = wsclient.Client(raw.url, reconnect=SOON, **QUIET)
    starting = start_call(client.start)
    peer = raw.accept().upgrade(then=frame(8, (1000).to_bytes(2, "big")))
    starting.result(LONG)
    on_thread(lambda: client.send("hello"))
    assert peer.receive_frame()[0] == 8
    assert peer.until_closed() == b""
    assert raw.accept().upgrade().receive_text() == "hello"
    client.close(timeout=0)


def test_the_address_of_a_socket_that_is_not_connected_is_unknown():
    with socket.socket() as sock:
        assert _address(sock.getpeername) is None


def test_messages_that_arrive_while_a_client_closes_end_no_stream_with_an_error(raw):
    client, peer = open_pair(raw, receive_queue=wsclient.ReceiveQueue(max_messages=2, max_bytes=100), **QUIET)
    stream = client.listen()
    for _ in range(3):
        peer.send_text("x" * 60)
    eventually(lambda: client._wsclient.context.facts.paused)
    closing = threading.Thread(target=client.close, kwargs={"timeout": LONG})
    closing.start()
    assert peer.receive_frame()[0] == 8
    for _ in range(10):
        peer.send_text("x" * 60)
    peer.send_frame(8, b"\x03\xe8")
    peer.finish()
    closing.join(LONG)
    assert set(stream) == {"x" * 60}  # and then it ends without an error
    assert client.last_disconnect.code == 1000


def test_messages_queued_when_the_end_of_the_connection_is_found_wait_for_the_next_one(raw):
    client, peer = open_pair(raw, **QUIET)
    connection = client._wsclient.lifecycle._supervisor._served.present
    connection._end_now("network", "as when the end of the stream is read", None)
    delivery = client.send("for the next one")
    peer.finish()
    second = raw.accept().upgrade()
    assert second.receive_text() == "for the next one"
    eventually(lambda: delivery.state == "written")
    client.close(timeout=0)


def test_drop_and_close_commands_together_still_read_the_close_frame(raw):
    client, peer = open_pair(raw, **QUIET)
    commands = client._wsclient.context.commands
    commands.order_drop(1, wsclient.ConnectionLost("a reply by order was lost"))
    closing = threading.Thread(target=client.close, kwargs={"timeout": 3600})
    closing.start()
    assert peer.receive_frame()[0] == 8
    commands.order_drop(1, wsclient.ConnectionLost("and another one"))
    peer.send_frame(8, b"\x03\xe8")
    peer.finish()
    closing.join(LONG)
    assert not closing.is_alive()


def test_a_peer_that_breaks_the_protocol_after_close_is_not_reported(raw):
    errors = []
    client, peer = open_pair(raw, on_error=lambda _, error: errors.append(error), **QUIET)
    client.close(wait=False, timeout=LONG)
    assert peer.receive_frame()[0] == 8
    peer.send(frame(11, b"a reserved opcode"))
    peer.finish()
    assert client.wait_closed(LONG)
    assert client.last_disconnect.initiator == "local"
    assert errors == []


def test_the_rest_of_a_long_array_is_read_after_a_write_failed(raw, monkeypatch):
    """The peer's close frame behind it has the reason."""
    monkeypatch.setattr("wsclient._connection.connection.LINGER", LONG)  # a slow machine needs longer for the array
    hang, socks = Hang(), []

    def open_socket():
        socks.append(socket.create_connection(("127.0.0.1", raw.port)))
        return socks[-1]

    client, peer = open_pair(raw, protocol=wsclient.JsonRpc(), sock=open_socket, **QUIET)
    seen = []
    client.submit({"method": "x"}, match=lambda message: seen.append(message) or hang())
    peer.receive_frame()
    array = json.dumps([{"jsonrpc": "2.0", "method": "tick", "params": [n]} for n in range(5 * SLICE)])
    peer.send(frame(1, array.encode()) + frame(8, (1001).to_bytes(2, "big") + b"going away"))
    assert hang.entered.wait(LONG)
    socks[0].shutdown(socket.SHUT_WR)
    client.send("fails")
    hang.release()
    eventually(lambda: client.last_disconnect)
    assert (client.last_disconnect.code, client.last_disconnect.reason) == (1001, "going away")
    assert len(seen) == 5 * SLICE
    client.close(timeout=0)
