"""A recorded session, replayed to the script that was recorded, to a changed one, and to one with other ids."""

import contextlib
import gc
import json
import socket
import threading
import time

import pytest
from websockets.server import ServerProtocol

import wsclient
from wsclient._recording import format as recording_format
from wsclient._recording.format import RECEIVED, SENT
from wsclient._rfc6455.close import build_close_payload
from wsclient._rfc6455.frames import Opcode, build_frame
from wsclient.testing import Replay, ReplayMismatch

from ..support import LONG, SHORT, Server, eventually

SECRET = "s3sam3"


def serve(connection, message):
    """A server with calls, subscriptions, binary messages, faults: everything that a script may use."""
    if isinstance(message, bytes):
        connection.send(message[::-1])
        return
    call = json.loads(message)
    method, params = call["method"], call.get("params")
    if method == "die":
        connection.socket.shutdown(2)
        return
    result = {"login": "welcome", "add": sum(params) if method == "add" else None, "watch": "ticks-1"}.get(method)
    if method == "leave":
        connection.close(1012, "restart")
        return
    connection.send(json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": result}))
    if method == "watch":
        for n in range(3):
            tick = {"jsonrpc": "2.0", "method": "tick", "params": {"subscription": "ticks-1", "result": n}}
            connection.send(json.dumps(tick))


def script(url, **options):
    """An automation script: it logs in, calls, listens, sends binary messages, and survives a cut and a restart."""
    seen = []
    opened = threading.Semaphore(0)
    ended = []
    options = {"protocol": wsclient.JsonRpc(), "subprotocols": ["v2", "v1"], "password": SECRET, "second": 2, **options}
    password, second = options.pop("password"), options.pop("second")
    client = wsclient.Client(
        url,
        on_open=lambda client: opened.release(),
        on_close=lambda client, code, reason: ended.append((code, reason)),
        on_session=lambda client, session: seen.append(session.call("login", {"password": password})),
        **options,
    )
    with client, client.listen() as stream:
        assert opened.acquire(timeout=LONG)
        seen.append(client.call("add", [1, second]))
        seen.append(client.call("watch"))
        seen += [stream.get(LONG)["params"]["result"] for _ in range(3)]
        client.send(b"\0\1\2")
        seen.append(stream.get(LONG))
        client.notify("die")
        assert opened.acquire(timeout=LONG)
        seen.append(client.call("add", [10, 20]))
        client.notify("leave")
        assert opened.acquire(timeout=LONG)
        seen.append(client.call("add", [100, 200]))
    return seen, ended


EXPECTED = ["welcome", 3, "ticks-1", 0, 1, 2, b"\2\1\0", "welcome", 30, "welcome", 300]
ENDED = [(None, None), (1012, "restart"), (1000, "")]


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("recordings") / "session.jsonl"
    with Server(serve, subprotocols=["v1"]) as server:
        assert script(server.url, record=path) == (EXPECTED, ENDED)
    assert SECRET.encode() not in path.read_bytes()
    return path


# --- strict ----------------------------------------------------------------------------------------------------------


def test_the_same_script_gets_the_same_replies_cuts_and_close_codes(recording):
    with Replay(recording) as replay:
        assert script(replay.url, password="another") == (EXPECTED, ENDED)
    assert replay.mismatches == []


def test_the_subprotocol_and_the_headers_are_the_recorded_ones(tmp_path):
    def respond(connection, request, response):
        response.headers["X-Region"] = "north"
        response.headers["X-Auth-Token"] = SECRET

    path = tmp_path / "x.jsonl"
    found = []

    def look(client, session):
        found.append((session.subprotocol, session.headers.get("x-region"), "x-auth-token" in session.headers))

    options = {"subprotocols": ["v2", "v1"], "on_session": look}
    with Server(serve, subprotocols=["v1"], process_response=respond) as server:
        wsclient.connect(server.url, record=path, **options).close()
    with Replay(path) as replay:
        wsclient.connect(replay.url, **options).close()
    assert found == [("v1", "north", True), ("v1", "north", False)]


def test_a_changed_script_gets_the_difference_as_an_error_and_a_close_with_1008(recording):
    with pytest.raises(ReplayMismatch) as caught, Replay(recording) as replay:  # noqa: PT012
        with pytest.raises(wsclient.ConnectionLost):
            script(replay.url, second=3)
        eventually(lambda: replay.mismatches)
    (sentence,) = replay.mismatches
    assert sentence.startswith("connection 1, line ")
    assert 'expected {"id":2,"jsonrpc":"2.0","method":"add","params":[1,2]}' in sentence
    assert 'got {"id":2,"jsonrpc":"2.0","method":"add","params":[1,3]}' in sentence
    line = int(sentence.split("line ")[1].split(":")[0])
    assert "[1,2]" in recording.read_text().splitlines()[line - 1]
    assert caught.value.differences[0] == sentence
    assert any("connection 2" in one and "never sent" in one for one in caught.value.differences)
    assert isinstance(caught.value, AssertionError)
    assert sentence in str(caught.value)


def test_the_close_code_of_a_mismatch(recording):
    replay = Replay(recording)
    client = wsclient.connect(replay.url, subprotocols=["v1"])
    client.send("something else")
    assert client.wait_closed(LONG)
    assert client.last_disconnect.code == 1008
    assert client.last_disconnect.reason == "the recording has another message here"
    client.close()
    replay.close()


def test_a_missing_message_is_reported_at_the_end_of_the_block(recording):
    with pytest.raises(ReplayMismatch, match=r"connection 1, line \d+: never sent: .*login"):
        with Replay(recording) as replay:
            wsclient.connect(replay.url, subprotocols=["v1"]).close()


def test_a_difference_is_reported_although_the_block_raises_first(recording):
    with pytest.raises(ReplayMismatch) as caught, Replay(recording) as replay:
        script(replay.url, second=3)  # raises, since the replay closes the connection at the difference
    assert "[1,3]" in caught.value.differences[0]
    assert not any("never sent" in one for one in caught.value.differences)
    assert isinstance(caught.value.__cause__, wsclient.WebSocketClientError)


def test_an_error_of_the_block_is_not_replaced(recording):
    with pytest.raises(KeyError):
        with Replay(recording):
            raise KeyError


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, pytest.skip.Exception])
def test_an_interrupt_of_the_block_is_not_replaced_by_a_difference(recording, error):
    with pytest.raises(error), Replay(recording) as replay:  # noqa: PT012
        with contextlib.suppress(wsclient.WebSocketClientError):
            script(replay.url, second=3)
        assert replay.mismatches
        raise error


def test_a_secret_of_the_script_is_in_no_error_message(recording):
    replay = Replay(recording)
    with wsclient.connect(replay.url, subprotocols=["v1"]) as client:
        client.send({"method": "logon", "params": {"password": SECRET}})
        eventually(lambda: replay.mismatches)
    replay.close()
    assert "logon" in replay.mismatches[0]
    assert SECRET not in replay.mismatches[0]


def test_a_subprotocol_that_is_no_longer_offered_is_a_difference(recording):
    replay = Replay(recording)
    client = wsclient.Client(replay.url)
    with contextlib.suppress(wsclient.WebSocketClientError):  # closed immediately with 1008
        client.start()
    client.close()
    replay.close()
    (mismatch,) = replay.mismatches
    assert mismatch == "connection 1, line 2: the subprotocol 'v1' was recorded, but the client does not offer it now."


def test_after_the_last_recorded_connection_further_ones_are_refused(tmp_path):
    path = written(tmp_path, opened(1))
    with Replay(path) as replay:
        wsclient.connect(replay.url).close()
        for _ in range(2):
            with pytest.raises(wsclient.HandshakeError) as caught:
                wsclient.connect(replay.url)
            assert caught.value.status == 503


# --- lenient ---------------------------------------------------------------------------------------------------------


def test_leniently_the_same_script_works_with_other_ids(recording):
    class Counting(wsclient.JsonRpc):
        def new_id(self):
            return f"n-{super().new_id()}"

    with Replay(recording, strict=False) as replay:
        assert script(replay.url, protocol=Counting()) == (EXPECTED, ENDED)
    assert replay.unexpected == []


def test_leniently_a_changed_script_gets_the_answers_of_similar_messages(recording):
    with Replay(recording, strict=False) as replay:
        assert script(replay.url, second=3) == (EXPECTED, ENDED)


def test_leniently_a_message_without_a_similar_one_is_recorded_and_not_answered(recording):
    with Replay(recording, strict=False) as replay:
        with wsclient.connect(replay.url, subprotocols=["v1"], protocol=wsclient.JsonRpc()) as client:
            with pytest.raises(wsclient.RequestTimeout):
                client.call("multiply", [2, 3], timeout=SHORT)
            assert client.call("add", [1, 2]) == 3
    (payload,) = replay.unexpected
    assert json.loads(payload)["method"] == "multiply"
    replay.check()


def test_leniently_the_last_connection_is_replayed_again(tmp_path):
    path = written(tmp_path, opened(1), line("message", SENT, text="a"), line("message", RECEIVED, text="b"))
    with Replay(path, strict=False) as replay:
        for _ in range(3):
            with wsclient.connect(replay.url) as client:
                assert client.request("a", match=lambda message: True) == "b"


# --- both modes ------------------------------------------------------------------------------------------------------


def written(tmp_path, *lines):
    path = tmp_path / "made.jsonl"
    path.write_bytes(b"".join([recording_format.head("x", [], []), *lines]))
    return path


def opened(number):
    return recording_format.line(0, "open", connection=number, url="ws://h/", subprotocol=None, headers=[])


def line(kind, direction, at=0.0, **members):
    return recording_format.line(at, kind, connection=1, direction=direction, **members)


@pytest.mark.parametrize("code", [1000, 1005, 1006, 1011, 4321])
def test_every_received_close_code_is_replayed(tmp_path, code):
    path = written(tmp_path, opened(1), line("close", RECEIVED, code=code, reason="" if code == 1005 else "why"))
    with Replay(path) as replay:
        ended = []
        client = wsclient.Client(replay.url, reconnect=None, on_close=lambda client, *how: ended.append(how))
        with contextlib.suppress(wsclient.WebSocketClientError):
            client.start()
        eventually(lambda: ended)
        client.close()
    assert ended == [(code, "" if code == 1005 else "why")]


def upgraded(replay):
    """A socket after its upgrade."""
    sock = socket.create_connection(("127.0.0.1", replay.port), LONG)
    lines = ["GET / HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
             "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "", ""]  # fmt: skip
    sock.sendall("\r\n".join(lines).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    return sock


def test_an_empty_close_frame_is_replayed_as_an_empty_one(tmp_path):
    with Replay(written(tmp_path, opened(1), line("close", RECEIVED, code=1005, reason=""))) as replay:
        with upgraded(replay) as sock:
            assert sock.recv(2) == b"\x88\0"


def test_a_last_message_and_a_wrong_close_code_together_are_distinguished(tmp_path):
    path = written(tmp_path, opened(1), line("message", SENT, text="a"), line("close", SENT, code=1000, reason=""))
    replay = Replay(path)
    with upgraded(replay) as sock:
        close = build_frame(Opcode.CLOSE, build_close_payload(4000, ""), bytes(4))
        sock.sendall(build_frame(Opcode.TEXT, b"a", bytes(4)) + close)
        assert sock.recv(4) == b"\x88\x02\x0f\xa0"
    replay.close()
    assert replay.mismatches == ["connection 1, line 4: the client should close with 1000, but closed with 4000."]


def test_fragments_are_one_message(tmp_path):
    with Replay(written(tmp_path, opened(1), line("message", SENT, text="grün"))) as replay, upgraded(replay) as sock:
        first, second = bytearray(build_frame(Opcode.TEXT, "grü".encode()[:-1], bytes(4))), "ü".encode()[1:] + b"n"
        first[0] &= 0x7F  # another fragment follows
        sock.sendall(first + build_frame(Opcode.PING, b"", bytes(4)))
        sock.sendall(build_frame(Opcode.CONTINUATION, second, bytes(4)))
        sock.sendall(build_frame(Opcode.CLOSE, b"", bytes(4)))
        assert sock.recv(2) == b"\x8a\0"
        assert sock.recv(2) == b"\x88\0"


def test_pings_of_the_server_are_replayed(tmp_path):
    pinged = threading.Event()
    with Replay(written(tmp_path, opened(1), line("ping", RECEIVED, base64="YWJj"))) as replay:
        with wsclient.connect(replay.url, on_ping=lambda client, data: data == b"abc" and pinged.set()):
            assert pinged.wait(LONG)


@pytest.mark.parametrize("compression", ["deflate", None])
def test_large_messages_are_replayed_with_and_without_compression(tmp_path, compression):
    text = json.dumps({"text": "x" * 2**20})
    path = written(tmp_path, opened(1), line("message", SENT, text=text), line("message", RECEIVED, text=text))
    with Replay(path) as replay, wsclient.connect(replay.url, compression=compression) as client:
        assert client.request(text, match=lambda message: True) == json.loads(text)


def test_the_recorded_delays_are_kept_and_close_ends_the_wait(tmp_path):
    path = written(
        tmp_path,
        opened(1),
        line("message", RECEIVED, at=SHORT, text="soon"),
        line("message", RECEIVED, at=3600.0, text="later"),
    )
    replay = Replay(path, speed=1.0)
    begun = time.monotonic()
    client = wsclient.Client(replay.url)
    with client.listen() as stream, client:
        assert stream.get(LONG) == "soon"
        assert time.monotonic() - begun >= SHORT
        closing = time.monotonic()
        replay.close()
        assert time.monotonic() - closing < LONG / 3
    replay.check()
    quick = Replay(path)
    client = wsclient.Client(quick.url)
    with client.listen() as stream, client:
        assert [stream.get(LONG), stream.get(LONG)] == ["soon", "later"]
    quick.close()


def test_a_message_directly_before_the_end_of_the_block_counts(tmp_path):
    path = written(tmp_path, opened(1), line("message", SENT, text="last"))
    with Replay(path) as replay:
        client = wsclient.connect(replay.url)
        client.send("last")
        client.close()


def test_close_releases_all_resources(tmp_path):
    path = written(tmp_path, opened(1))
    before = threading.active_count()
    replay = Replay(path)
    clients = [wsclient.connect(replay.url)]
    replay.close()
    replay.close()
    clients[0].close()
    eventually(lambda: threading.active_count() == before)
    with pytest.raises(wsclient.ConnectError):
        wsclient.connect(replay.url)
    del replay
    gc.collect()  # a socket left open would be a ResourceWarning, which is an error here


def test_close_raises_if_the_thread_of_a_connection_has_not_ended(tmp_path, monkeypatch):
    receive_eof, go_on, ended = ServerProtocol.receive_eof, threading.Event(), threading.Event()

    def late(protocol):
        assert go_on.wait(LONG)
        receive_eof(protocol)
        ended.set()

    monkeypatch.setattr(ServerProtocol, "receive_eof", late)
    monkeypatch.setattr(wsclient.testing._replay.replay, "_EXIT_TIMEOUT", SHORT)
    replay = Replay(written(tmp_path, opened(1)))
    with upgraded(replay):
        with pytest.raises(TimeoutError, match=r"whose threads have not ended within 0\.2 s: 1\."):
            replay.close()
        go_on.set()
        assert ended.wait(LONG)
    replay.close()


def test_a_damaged_file_is_refused_with_the_line_number(tmp_path):
    path = written(tmp_path, opened(1), b'{"at":0,"kind":"message"}\n')
    with pytest.raises(ValueError, match=r"made\.jsonl, line 3: "):
        Replay(path)
    path.write_text("hello\n")
    with pytest.raises(ValueError, match=r"made\.jsonl, line 1: "):
        Replay(path)
    with pytest.raises(FileNotFoundError):
        Replay(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("options", "error"), [({"strict": 1}, TypeError), ({"speed": 0}, ValueError), ({"ids": "id"}, TypeError)], ids=repr
)
def test_options_are_checked(tmp_path, options, error):
    with pytest.raises(error, match=next(iter(options))):
        Replay(written(tmp_path, opened(1)), **options)


def test_other_members_for_ids_can_be_set(tmp_path):
    path = written(
        tmp_path,
        opened(1),
        line("message", SENT, text='{"ref":1,"method":"a"}'),
        line("message", RECEIVED, text='{"ref":1,"ok":true}'),
    )
    with Replay(path, strict=False, ids=["ref"]) as replay:
        with wsclient.connect(replay.url, protocol=wsclient.JsonId("ref")) as client:
            assert client.request({"ref": 99, "method": "a"}) == {"ref": 99, "ok": True}


def test_a_client_that_does_not_speak_http_does_not_end_the_server(tmp_path):
    with Replay(written(tmp_path, opened(1))) as replay:
        with socket.create_connection(("127.0.0.1", replay.port), LONG) as sock:
            sock.sendall(b"nonsense\r\n\r\n")
            assert sock.recv(1) == b""
        wsclient.connect(replay.url).close()


def test_a_request_without_a_valid_upgrade_uses_up_no_recorded_connection(tmp_path):
    with Replay(written(tmp_path, opened(1))) as replay:
        with socket.create_connection(("127.0.0.1", replay.port), LONG) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert sock.recv(12) == b"HTTP/1.1 426"
        wsclient.connect(replay.url).close()
