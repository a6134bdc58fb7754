"""``record=``: messages are in the recording, in their order, without secrets; its errors do not affect the client."""

import contextlib
import json
import os
import subprocess
import sys
import textwrap
import threading

import pytest

import wsclient
from wsclient._recording import format as recording_format
from wsclient._recording import recorder as _recording
from wsclient._recording.format import RECEIVED, SENT
from wsclient._recording.redaction import Redactor
from wsclient._rfc6455.frames import Opcode
from wsclient._rfc6455.http11 import Headers

from ..support import AMPLE, LONG, Server, eventually, json_handler
from ..support.peers import close_now


@pytest.fixture
def path(tmp_path):
    return tmp_path / "session.jsonl"


def read(path):
    with path.open("rb") as file:
        return recording_format.parse(file, str(path))


def lines(path, kind=None):
    found = [json.loads(line) for line in path.read_bytes().splitlines()[1:]]
    return [line for line in found if kind in (None, line["kind"])]


def messages(path, direction=None):
    entries = [entry for connection in read(path).connections for entry in connection.entries]
    return [e.payload for e in entries if e.kind == "message" and direction in (None, e.direction)]


# --- the content of the file -----------------------------------------------------------------------------------------


def test_a_session_is_recorded_and_the_file_is_complete_when_close_returns(server, path):
    with wsclient.connect(server.url, record=path, name="feed") as client, client.listen() as stream:
        assert client.request({"method": "add", "params": [1, 2]})["result"] == 3
        client.send("hello")
        client.send(b"\0\1")
        client.flush(LONG)
        assert [stream.get(LONG), stream.get(LONG)] == ["hello", b"\0\1"]
    tape = read(path)
    (connection,) = tape.connections
    assert tape.client == "feed"
    assert dict(connection.headers)["upgrade"] == "websocket"
    assert messages(path, SENT) == ['{"id":1,"method":"add","params":[1,2]}', "hello", b"\0\1"]
    assert messages(path, RECEIVED) == ['{"id": 1, "result": 3}', "hello", b"\0\1"]
    kinds = [(entry.kind, entry.direction, entry.code) for entry in connection.entries if entry.kind != "message"]
    assert kinds == [("ping", SENT, None), ("pong", RECEIVED, None), ("close", SENT, 1000), ("close", RECEIVED, 1000)]
    assert connection.lost == ("local", 1000)
    times = [entry.at for entry in connection.entries]
    assert times == sorted(times)


def test_a_reply_is_never_before_its_request(server, path):
    with wsclient.connect(server.url, record=path) as client:

        def ask():
            for _ in range(100):
                client.request({"method": "add", "params": [1]})

        run_all([ask] * 8)
    asked = set()
    for connection in read(path).connections:
        for entry in connection.entries:
            if entry.kind == "message":
                id = json.loads(entry.payload)["id"]
                assert entry.direction == SENT or id in asked
                asked.add(id)
    assert len(asked) == 800


def test_the_order_of_messages_from_many_threads_is_the_order_at_the_server(mute_server, path):
    with wsclient.connect(mute_server.url, record=path, compression="deflate") as client:

        def send(thread):
            for n in range(200):
                client.send(f"{thread} {n} {'x' * (n % 7 * 100)}")

        run_all([lambda thread=thread: send(thread) for thread in range(16)])
        client.flush(LONG)
        received = mute_server.wait_for(3200)
    assert messages(path, SENT) == received


def run_all(functions):
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()


def test_more_messages_than_the_backlog_holds_are_all_recorded(mute_server, path):
    with wsclient.connect(mute_server.url, record=path, compression=None) as client:
        sent = [f"{n} " + "x" * 50_000 for n in range(100)]
        run_all([lambda: [client.send(message) for message in sent]])
        client.flush(LONG)
    assert sum(map(len, sent)) > 10 * _recording.MAX_BACKLOG
    assert messages(path, SENT) == sent


def test_senders_faster_than_the_file_wait_in_their_queue(server, path):
    reached, go_on = threading.Event(), threading.Event()

    def match(message):  # blocks the I/O thread, which writes the file
        reached.set()
        return go_on.wait(LONG)

    with wsclient.connect(server.url, record=path, compression=None, ping_interval=None) as client:
        client.submit("hello", match=match)
        assert reached.wait(LONG)
        sent = [f"{n} " + "x" * 50_000 for n in range(40)]
        run_all([lambda: [client.send(message) for message in sent]])
        recorder = client._wsclient.context.recorder
        assert recorder.is_full
        assert recorder._noted - recorder._written < _recording.MAX_BACKLOG + 100_000
        assert client.stats.queue_depth > 20
        go_on.set()
        client.flush(LONG)
    assert messages(path, SENT)[1:] == sent


def test_a_sent_message_is_written_to_the_file_soon_although_nothing_else_happens(mute_server, path):
    with wsclient.connect(mute_server.url, record=path, ping_interval=None) as client:
        eventually(lambda: messages(path) == [])
        run_all([lambda: client.send("hello")])
        eventually(lambda: messages(path) == ["hello"])


def test_a_recording_that_has_stopped_blocks_no_thread(path):
    errors = []
    recorder = _recording.Recorder(wsclient.Recording(path), "x", lambda: None, errors.append)
    recorder.begin()
    recorder.sent(1, Opcode.TEXT, b"\xff")  # not text: only a defect of the library could cause that
    recorder.sent(1, Opcode.BINARY, bytes(_recording.MAX_BACKLOG))
    assert recorder.is_full
    recorder.write()
    assert not recorder.is_full
    assert len(errors) == 1
    recorder.sent(1, Opcode.BINARY, b"more")
    recorder.write()
    recorder.close()
    assert len(errors) == 1
    assert path.read_bytes().count(b"\n") == 1


def test_an_error_at_the_end_of_a_recording_is_reported(path):
    """NFS reports a failed write when the file is closed."""
    errors = []
    recorder = _recording.Recorder(wsclient.Recording(path), "x", lambda: None, errors.append)
    recorder.begin()
    os.close(recorder._file.fileno())
    recorder.close()
    assert [str(error).partition(" has stopped")[0] for error in errors] == [f"The recording to {str(path)!r}"]


def test_a_copy_of_a_recording_in_a_forked_child_is_closed_and_not_written(path):
    recorder = _recording.Recorder(wsclient.Recording(path), "x", lambda: None, pytest.fail)
    recorder.begin()
    recorder.sent(1, Opcode.TEXT, b"noted before the fork")
    file = recorder._file
    recorder.after_fork()
    assert file.closed
    recorder.write()
    recorder.after_fork()
    recorder.close()
    assert path.read_bytes().count(b"\n") == 1


def test_a_large_received_message_is_written_at_once_so_that_few_are_in_memory(path):
    recorder = _recording.Recorder(wsclient.Recording(path), "x", bool, pytest.fail)
    recorder.begin()
    number = recorder.opened("ws://localhost/", None, Headers())
    recorder.received(number, Opcode.BINARY, bytes(_recording.MAX_BACKLOG))
    assert messages(path) == []
    recorder.received(number, Opcode.BINARY, bytes(_recording.MAX_BACKLOG + 1))
    assert [len(message) for message in messages(path)] == [_recording.MAX_BACKLOG, _recording.MAX_BACKLOG + 1]
    recorder.close()


def test_a_large_received_message_is_recorded(server, path):
    text = "x" * 2**20
    with wsclient.connect(server.url, record=path) as client:
        with client.listen() as stream:
            client.send(text)
            assert stream.get(LONG) == text
    assert messages(path) == [text, text]


def test_a_message_cut_in_the_middle_of_a_frame_is_recorded_once(raw, path):
    client = wsclient.Client(raw.url, record=path, compression=None, ping_interval=None)
    starting = threading.Thread(target=client.start)
    starting.start()
    first = raw.accept()
    first.upgrade()
    starting.join(LONG)
    big = b"\1" * (12 * 2**20)  # more than the buffers of the loopback interface hold
    client.send("before")
    delivery = client.send(big)
    assert first.receive_text() == "before"
    eventually(lambda: client._wsclient.context.sender.writer.blocked)
    assert delivery.state == "queued"
    first.reset()
    second = raw.accept()
    second.upgrade()
    assert second.receive_frame() == (2, big)
    close_now(client)
    assert [[len(e.payload) for e in c.entries if e.kind == "message"] for c in read(path).connections] == [
        [6],
        [len(big)],
    ]


def test_batches_are_recorded_as_one_message(server, path):
    with wsclient.connect(server.url, record=path, protocol=wsclient.JsonRpc()) as client:
        with contextlib.suppress(wsclient.WebSocketClientError, TimeoutError):
            client.request([{"method": "a"}, {"method": "b"}], timeout=AMPLE)
    batch = messages(path, SENT)[0]
    assert [one["method"] for one in json.loads(batch)] == ["a", "b"]
    assert json.loads(batch)[0]["id"] != json.loads(batch)[1]["id"]


def test_messages_of_the_setup_and_of_the_protocol_are_recorded(path):
    class Protocol(wsclient.JsonId):
        def decode(self, payload):
            return wsclient.Control("answer") if payload == "question" else super().decode(payload)

    def handler(connection, message):
        json_handler(connection, message)
        if message == "go":
            connection.send("question")

    with Server(handler) as server:

        def log_in(client, session):
            session.request({"method": "login", "params": 1})
            session.send("go")
            assert session.recv() == "go"

        with wsclient.connect(server.url, record=path, protocol=Protocol(), on_session=log_in):
            server.wait_for(3)
    assert messages(path, SENT)[1:] == ["go", "answer"]
    assert "question" in messages(path, RECEIVED)


def test_pings_of_the_server_and_pongs_of_the_client_are_recorded(server, path):
    with wsclient.connect(server.url, record=path) as client:
        assert server.opened.get(timeout=LONG).ping("abc").wait(LONG)
        assert client.state is wsclient.State.OPEN
    entries = [(e.kind, e.direction, e.payload) for e in read(path).connections[0].entries]
    assert entries[:2] == [("ping", RECEIVED, b"abc"), ("pong", SENT, b"abc")]


def test_each_connection_and_how_it_ended_is_recorded(server, path):
    again = threading.Event()
    client = wsclient.Client(server.url, record=path, on_reconnect=lambda client: again.set())
    with client:
        server.opened.get(timeout=LONG)
        server.cut_all()
        assert again.wait(LONG)
        again.clear()
        server.opened.get(timeout=LONG)
        server.close_all(1012, "restart")
        assert again.wait(LONG)
    assert [connection.lost for connection in read(path).connections] == [
        ("network", None), ("remote", 1012), ("local", 1000)
    ]  # fmt: skip
    (close,) = [e for e in read(path).connections[1].entries if e.kind == "close" and e.direction == RECEIVED]
    assert (close.code, close.payload) == (1012, "restart")


def test_failed_attempts_are_recorded_only_by_class_and_status(path):
    def refuse(connection, request):
        return connection.respond(403, "the secret is sesame")

    with Server(process_request=refuse) as server, pytest.raises(wsclient.HandshakeError):
        wsclient.connect(server.url, record=path)
    (failed,) = lines(path)
    assert (failed["kind"], failed["number"], failed["error"], failed["status"]) == ("failed", 1, "HandshakeError", 403)
    assert b"sesame" not in path.read_bytes()


def test_a_failed_setup_is_recorded_as_a_separate_connection(server, path):
    def on_session(client, session):
        tried.append(session.number)
        if len(tried) == 1:
            raise wsclient.SessionError("not yet")

    tried = []
    with wsclient.connect(server.url, record=path, on_session=on_session, retry_first=True):
        pass
    assert tried == [1, 1]
    assert [connection.number for connection in read(path).connections] == [1, 2]
    assert [line["error"] for line in lines(path, "failed")] == ["SessionError"]


def test_run_forever_and_drain_leave_a_complete_file(server, path):
    client = wsclient.Client(server.url, record=path, on_open=lambda client: client.send("hello"))
    client.on_message = lambda client, message: client.close(wait=False)
    client.run_forever()
    assert messages(path) == ["hello", "hello"]
    with wsclient.connect(server.url, record=path) as client:
        client.send("bye")
        assert client.drain()
        assert messages(path, SENT) == ["bye"]


def test_a_client_that_fails_leaves_a_complete_file(server, path):
    with wsclient.connect(server.url, record=path) as client:
        server.opened.get(timeout=LONG)
        server.close_all(1008, "no")
        assert client.wait_until(wsclient.State.FAILED, LONG)
        assert read(path).connections[0].lost == ("remote", 1008)


def test_a_client_that_was_never_started_does_not_change_the_file(server, path):
    path.write_text("old")
    wsclient.Client(server.url, record=path).close()
    assert path.read_text() == "old"
    with wsclient.connect(server.url, record=path):
        pass
    assert len(read(path).connections) == 1


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_the_file_contains_no_secret(path):
    secret = "s3sam3"

    def respond(connection, request, response):
        response.headers["Set-Cookie"] = f"sid={secret}"
        response.headers["X-Auth-Token"] = secret

    with Server(process_response=respond) as server:
        url = f"ws://user:{secret}@127.0.0.1:{server.port}/?token={secret}&a={secret}"
        options = {"headers": {"Authorization": secret, "Cookie": secret}, "protocol": wsclient.JsonId(batch=True)}
        with wsclient.connect(url, record=wsclient.Recording(path, redact=["pin"]), proxy=None, **options) as client:
            client.request(
                {"method": "login", "params": {"user": "ann", "password": secret, "list": [{"PIN": secret}]}}
            )
            client.request({"method": "echo", "params": [{"access_token": {"deep": [secret]}}]})
            client.send([{"clientSecret": secret}, {"n": 1}])
            client.send(json.dumps({"wrapped": json.dumps({"password": secret})}))
            client.send(json.dumps({"password": secret}).encode())
            client.flush(LONG)
            server.wait_for(5)
            assert secret in server.received[0]
            client.reconnect(json.dumps({"token": secret}))
            assert server.opened.get(timeout=LONG)
            assert server.opened.get(timeout=LONG)
    text = path.read_bytes()
    assert secret.encode() not in text
    assert b"ann" in text
    for payload in messages(path):
        assert secret.encode() not in (payload if isinstance(payload, bytes) else payload.encode())
    assert len(messages(path)) == 10
    assert ["x-auth-token", "[redacted]"] in lines(path, "open")[0]["headers"]


def test_a_long_subprotocol_is_treated_as_a_secret(path):
    token = "base64url.bearer.authorization.k8s.io." + "s3sam3" * 9
    with Server(subprotocols=[token]) as server, wsclient.connect(server.url, record=path, subprotocols=[token]):
        pass
    assert b"s3sam3" not in path.read_bytes()


# --- errors of the recording -----------------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_reported_once_and_the_client_continues(server, caplog):
    errors = []
    client = wsclient.Client(server.url, record="/dev/full", on_error=lambda client, error: errors.append(error))
    with client:
        assert client.request({"method": "add", "params": [1]})["result"] == 1
        assert client.request({"method": "add", "params": [2]})["result"] == 2
        eventually(lambda: errors)
    (error,) = errors
    assert isinstance(error, OSError)
    assert str(error).startswith("The recording to '/dev/full' has stopped (")
    assert [record.message for record in caplog.records if "recording" in record.message] == [
        f"{client_name(client)}: {error}"
    ]


def client_name(client):
    return client._wsclient.context.settings.name


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of a file's size on Windows")
def test_a_disk_that_becomes_full_in_the_middle_of_a_line_leaves_complete_lines(path):
    program = """
        import resource, sys, wsclient
        from tests.support import Server
        from wsclient._recording import format as recording_format, recorder
        wsclient.Client  # loaded now, like the recorder: under the limit Python would cut their bytecode short
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
        errors = []
        with Server() as server:
            options = {"record": sys.argv[1], "on_error": lambda client, error: errors.append(error)}
            with wsclient.connect(server.url, **options) as client:
                for n in range(100):
                    assert client.request({"method": "add", "params": [n]})["result"] == n
        assert len(errors) == 1, errors
        with open(sys.argv[1], "rb") as file:
            (connection,) = recording_format.parse(file, "tape").connections
        assert connection.entries and connection.lost is None
        print("fine")
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == "fine\n", done.stderr


def test_a_folder_missing_at_the_start_is_reported_and_the_client_continues(server, tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    errors = []
    options = {"record": folder / "x.jsonl", "on_error": lambda client, error: errors.append(error)}
    client = wsclient.Client(server.url, **options)
    folder.rmdir()
    with client:
        assert client.request({"method": "add", "params": [1]})["result"] == 1
        eventually(lambda: errors)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_writes_nothing(path):
    program = """
        import os, sys, warnings, wsclient
        from tests.support import Server
        from wsclient._rfc6455.frames import Opcode
        warnings.simplefilter("ignore", DeprecationWarning)
        with Server() as server:
            client = wsclient.connect(server.url, record=sys.argv[1])
            client.request({"method": "add", "params": [1]})
            recorder = client._wsclient.context.recorder
            child = os.fork()
            if child == 0:
                recorder.sent(1, Opcode.TEXT, b"the child")
                recorder.write()
                recorder.close()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            client.request({"method": "add", "params": [2]})
            client.close()
        text = open(sys.argv[1]).read()
        assert "the child" not in text and text.count('"sent","text"') == 2, text
        print("fine")
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == "fine\n", done.stderr


def test_without_the_option_nothing_is_recorded(server):
    with wsclient.connect(server.url) as client:
        assert client._wsclient.context.recorder is None
        assert client._wsclient.context.sender.writer.tap is None


# --- a function instead of a file -------------------------------------------------------------------------------------


def test_a_function_gets_the_lines_that_a_file_would_contain(server, tmp_path):
    lines = []
    for record in (tmp_path / "x.jsonl", lines.append):
        with wsclient.connect(server.url, record=record) as client:
            client.request({"method": "echo", "password": "hunter2"})
    whole = b"".join(lines)
    assert whole.endswith(b"\n")
    assert b"hunter2" not in whole

    def without_times(data):
        entries = [json.loads(line) for line in data.splitlines()]
        return [(one.get("kind"), one.get("direction"), one.get("text")) for one in entries]

    assert without_times(whole) == without_times((tmp_path / "x.jsonl").read_bytes())


@pytest.mark.parametrize("kind", [RuntimeError, SystemExit])
def test_a_function_that_raises_ends_the_recording_and_not_the_connection(kind, server):
    errors = []

    def fails(data):
        if b'"message"' in data:
            raise kind("no more")

    with wsclient.connect(server.url, record=fails, on_error=lambda _, error: errors.append(error)) as client:
        for _ in range(3):
            client.request({"method": "echo"})
    assert server.opened.qsize() == 1
    assert [type(error) for error in errors] == [OSError]
    assert "fails" in str(errors[0])
    assert "has stopped (no more); the client continues without it." in str(errors[0])


def test_a_function_has_had_a_message_when_the_client_delivers_it(server):
    lines, seen = [], []

    def look(reply):
        seen.append(json.loads(b"".join(lines).splitlines()[-1]))
        return True

    with wsclient.connect(server.url, record=lines.append) as client:
        client.request({"method": "echo", "params": ["hello"]}, until=look)
    assert [(line["direction"], "hello" in line["text"]) for line in seen] == [("received", True)]


# --- the option ------------------------------------------------------------------------------------------------------


def test_a_missing_folder_is_reported_at_construction(tmp_path):
    with pytest.raises(ValueError, match=r"^record: the folder '.*nowhere' does not exist; create it first\.$"):
        wsclient.Client("ws://localhost/", record=tmp_path / "nowhere" / "x.jsonl")


@pytest.mark.parametrize("record", [5, b"x.jsonl", ["x"], True], ids=repr)
def test_a_value_that_is_not_a_path_is_refused(record):
    with pytest.raises(TypeError, match=r"^record must be a path, a function, a wsclient\.Recording or None, not "):
        wsclient.Client("ws://localhost/", record=record)


def test_a_path_that_cannot_be_a_file_is_refused(tmp_path):
    for record in ("", tmp_path, "a\0b"):
        with pytest.raises(ValueError, match="record"):
            wsclient.Client("ws://localhost/", record=record)


def test_a_recording_has_its_redaction_options_and_cannot_be_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recording = wsclient.Recording("x.jsonl", redact=["pin"], keep=("session_id",))
    assert recording.path == str(tmp_path / "x.jsonl")  # independent of the current folder
    assert (recording.redact, recording.keep) == (("pin",), ("session_id",))
    with pytest.raises(AttributeError):
        recording.path = "y"
    for names in ("pin", 5, [1]):
        with pytest.raises(TypeError, match="redact must be a list of names"):
            wsclient.Recording("x.jsonl", redact=names)
    with pytest.raises(ValueError, match=r"^keep contains '', but each name must have a letter or a digit\.$"):
        wsclient.Recording("x.jsonl", keep=[""])


@pytest.mark.parametrize("name", ["", "_", "--", "_-. ", "[]"])
def test_a_name_that_would_make_every_name_secret_is_refused(name):
    with pytest.raises(ValueError, match=r"^redact contains .*, but each name must have a letter or a digit"):
        wsclient.Recording("x.jsonl", redact=["pin", name])


@pytest.mark.parametrize("name", ["x", "_7", "größe"])
def test_a_short_or_foreign_name_can_be_redacted(name):
    assert wsclient.Recording("x.jsonl", redact=[name]).redact == (name,)
    assert Redactor([name]).is_secret(name)
    assert not Redactor([name]).is_secret("another")
