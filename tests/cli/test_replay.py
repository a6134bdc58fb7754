"""``wsclient replay``: a recording as a server, and its client's side against a server."""

import concurrent.futures
import contextlib
import json
import signal
import socket
import sys
import threading
import time

import pytest
import tenacity

import wsclient
from wsclient import Client, State
from wsclient._recording import format as recording_format
from wsclient._recording.format import RECEIVED, SENT
from wsclient.cli import main, profiles

from ..support import AMPLE, LONG, SHORT, Server
from ..support.commands import Commands, FullDisk

SECRET = "s3sam3"
GIVEN = ("--set", f"password={SECRET}")


@pytest.fixture
def commands(monkeypatch):
    return Commands(monkeypatch)


def serve(connection, message):
    """Answers calls, sends events, and ends connections in two ways."""
    if isinstance(message, bytes):
        connection.send(message[::-1])
        return
    call = json.loads(message)
    method, params = call["method"], call.get("params")
    if method == "cut":
        with contextlib.suppress(OSError):  # the client may have closed the connection
            connection.socket.shutdown(socket.SHUT_RDWR)
        return
    if method == "leave" or (method == "login" and params["password"] != SECRET):
        connection.close(4000, "bye")
        return
    result = {"login": "welcome", "add": sum(params) if method == "add" else None}.get(method)
    connection.send(json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": result}))
    if method == "watch":
        for n in range(2):
            connection.send(json.dumps({"jsonrpc": "2.0", "method": "tick", "params": {"n": n, "time": n}}))


def script(url, second=2, **options):
    """Uses three connections: the server closes the first one and cuts the second one."""
    logins = []

    def log_in(client, session):
        logins.append(session.call("login", {"password": SECRET}))

    soon = wsclient.Reconnect(wait=tenacity.wait_fixed(0.01))
    options = {"protocol": wsclient.JsonRpc(), "subprotocols": ["v1"], "on_session": log_in, **options}
    options["reconnect"] = soon
    with wsclient.connect(url, **options) as client, client.listen() as stream:
        client.call("watch")
        for _ in range(2):
            stream.get(LONG)
        client.send(b"\0\1")
        stream.get(LONG)
        for ending in ("leave", "cut"):
            client.notify(ending)
            client.wait_until(State.WAITING, LONG)
            client.call("add", [1, second], idempotent=True)
    return logins


def server(handler=serve):
    return Server(handler, subprotocols=["v1"])


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("recordings") / "session.jsonl"
    with server() as real:
        assert script(real.url, record=path) == ["welcome"] * 3
    assert SECRET not in path.read_text()
    return path


# --- as a server -----------------------------------------------------------------------------------------------------


def played(commands, client, *arguments, number=signal.SIGTERM):
    """The exit code of a replay that a client has used, and what it printed after its URL."""
    commands.new_streams()
    used = commands.interrupt_after(lambda: client(commands.out.line()), number)
    result = commands.run("replay", *arguments)
    used()
    return result


@pytest.mark.parametrize(
    ("options", "number"),
    [((), signal.SIGINT), ((), signal.SIGTERM), (("--lenient",), signal.SIGTERM), (("--speed", "50"), signal.SIGTERM)],
)
def test_a_client_that_does_what_was_recorded(commands, recording, options, number):
    assert played(commands, script, recording, *options, number=number) == (0, [], [])
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_client_that_does_something_else(commands, recording):
    def other(url):
        with contextlib.suppress(wsclient.WebSocketClientError):
            script(url, second=3)

    code, out, err = played(commands, other, recording)
    assert (code, out) == (1, [])
    assert err[0].startswith("connection 2, line ")
    assert "[1,2]" in err[0]
    assert "got " in err[0]
    assert any(line.startswith("connection 3, ") and "never sent" in line for line in err[1:])


def test_a_difference_is_printed_when_it_happens(commands, recording):
    def other(url):
        with wsclient.connect(url, subprotocols=["v1"], reconnect=None) as client:
            client.send("something else")
            return commands.err.line()

    commands.new_streams()
    used = commands.interrupt_after(lambda: other(commands.out.line()))
    assert commands.run("replay", recording)[0] == 1
    assert "got something else" in used()


def test_a_client_that_never_comes(commands, recording):
    code, _, err = played(commands, lambda url: None, recording)
    assert code == 1
    assert sum("never sent" in line for line in err) == 9


def test_lenient_names_messages_that_the_recording_lacks(commands, recording):
    def other(url):
        with wsclient.connect(url, subprotocols=["v1"], reconnect=None) as client:
            client.send("something else")
            client.flush(LONG)
            return commands.err.line()

    commands.new_streams()
    used = commands.interrupt_after(lambda: other(commands.out.line()))
    assert commands.run("replay", recording, "--lenient")[0] == 0
    assert used() == "The recording has no such message: 'something else'"


def test_the_port(commands, recording):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = commands("replay", recording, "--port", port)
        assert (code, out) == (2, [])
        assert err[0].startswith(f"wsclient: The replay can't listen on port {port}: ")
    assert played(commands, lambda url: url == f"ws://127.0.0.1:{port}", recording, "--port", port, "--lenient")[0] == 0


def test_on_another_thread_the_handler_of_sigterm_stays(recording, monkeypatch, capsys):
    """Only the main thread may change it. Neither Ctrl-C nor SIGTERM ends this replay; here an error does."""
    monkeypatch.setattr(sys, "stdout", FullDisk())
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert pool.submit(main, ["replay", str(recording)]).result(LONG) == 2
    assert "No space left" in capsys.readouterr().err


def test_a_missing_extra_is_named(commands, recording, monkeypatch):
    monkeypatch.setitem(sys.modules, "wsclient.testing._replay.replay", None)
    for name in [one for one in sys.modules if one.partition(".")[0] == "websockets"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "wsclient.testing._replay.replay")
    monkeypatch.delitem(sys.modules, "wsclient.testing._replay.conversation")
    code, _, err = commands("replay", recording)
    assert (code, len(err)) == (2, 1)
    assert "needs websockets" in err[0]
    assert "pip install 'wsclient-sdk[testing]'" in err[0]


# --- against a server ------------------------------------------------------------------------------------------------


def compare(commands, recording, url, *options):
    return commands("replay", recording, "--to", url, "--timeout", "5", *options)


def test_to_is_the_server_also_if_a_profile_has_another_one(commands, recording, monkeypatch, tmp_path):
    (tmp_path / "profiles.toml").write_text('[other]\nurl = "ws://127.0.0.1:9"\n')
    monkeypatch.setattr(profiles, "profiles_path", lambda: tmp_path / "profiles.toml")
    with server() as real:
        assert compare(commands, recording, f"127.0.0.1:{real.port}", "--profile", "other", *GIVEN)[:2] == (0, [])


def test_the_same_server_shows_no_difference(commands, recording):
    with server() as real:
        code, out, err = compare(commands, recording, real.url, *GIVEN)
        assert (code, out) == (0, [])
        assert err == ["wsclient: 3 connections, 9 sent, 9 received as recorded; 0 differences."]
        assert json.loads(real.received[0])["params"] == {"password": SECRET}
        assert len(real.wait_for(9)) == 9  # it may receive the last ones late


def test_each_difference_is_a_sentence_with_its_place(commands, recording):
    def other(connection, message):
        if isinstance(message, bytes):
            connection.send(b"other")
        elif '"add"' in message:
            connection.send(json.dumps({"jsonrpc": "2.0", "id": json.loads(message)["id"], "result": 4}))
        else:
            serve(connection, message)

    with server(other) as real:
        code, out, _ = compare(commands, recording, real.url, *GIVEN)
    assert code == 1
    lines = recording.read_text().splitlines()
    places = [line.split(":")[0].partition(", line ") for line in out]
    assert [place for place, _, _ in places] == ["connection 1", "connection 2", "connection 3"]
    assert out[0].endswith(": recorded b'\\x01\\x00', now b'other'.")
    assert out[1].endswith(": result: recorded 3, now 4.")
    assert "result" in lines[int(places[1][2]) - 1]


def test_a_message_that_does_not_come_and_one_too_many(commands, recording):
    def other(connection, message):
        if isinstance(message, bytes):
            connection.send("surprise")
        else:
            serve(connection, message)

    with server(other) as real:
        code, out, _ = compare(commands, recording, real.url, *GIVEN, "--timeout", AMPLE)
    assert code == 1
    assert out[0] == "connection 1: the recording has no such message: surprise."
    assert out[1].endswith(": not received: b'\\x01\\x00'.")
    assert len(out) == 2


def test_values_that_may_differ_are_ignored_by_name(commands, recording):
    def late(connection, message):
        if '"watch"' not in str(message):
            serve(connection, message)
            return
        connection.send(json.dumps({"jsonrpc": "2.0", "id": json.loads(message)["id"], "result": None}))
        for n in range(2):
            connection.send(json.dumps({"jsonrpc": "2.0", "method": "tick", "params": {"n": n, "time": 99}}))

    with server(late) as real:
        code, out, _ = compare(commands, recording, real.url, *GIVEN)
        assert code == 1
        assert [line.partition(": ")[2] for line in out] == [f"params.time: recorded {n}, now 99." for n in range(2)]
        assert compare(commands, recording, real.url, *GIVEN, "--ignore", "time")[:2] == (0, [])


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (lambda connection: connection.close(4001, "now"), "now: the server closed with 4001 (now)."),
        (lambda connection: connection.socket.shutdown(2), "now: the connection ended without a close frame."),
        (lambda connection: None, "now: it did not end."),
    ],
)
def test_a_close_of_the_server_is_compared(commands, recording, end, words):
    def other(connection, message):
        if '"leave"' in str(message):
            end(connection)
        else:
            serve(connection, message)

    with server(other) as real:
        code, (line,), _ = compare(commands, recording, real.url, *GIVEN, "--timeout", AMPLE)
    assert code == 1
    assert line.startswith("connection 1, line ")
    assert line.endswith(f": recorded: the server closed with 4000 (bye); {words}")


def test_a_message_before_the_end_that_was_not_recorded(commands, recording):
    def other(connection, message):
        if '"leave"' in str(message):
            connection.send("surprise")
        serve(connection, message)

    with server(other) as real:
        code, out, _ = compare(commands, recording, real.url, *GIVEN)
    assert (code, out) == (1, ["connection 1: the recording has no such message: surprise."])


def test_a_cut_is_not_compared_since_it_may_have_been_a_fault_of_the_network(commands, recording):
    def other(connection, message):
        if '"cut"' not in str(message):
            serve(connection, message)

    with server(other) as real:
        assert compare(commands, recording, real.url, *GIVEN)[:2] == (0, [])


def test_a_wrong_secret_shows_how_the_server_ends(commands, recording):
    with server() as real:
        code, out, _ = compare(commands, recording, real.url, "--set", "password=guessed")
    assert code == 1
    assert len(out) == 3
    assert "the server closed with 4000 (bye) too early; 5 recorded messages were not received" in out[0]


def test_secrets_that_are_missing_are_named_before_it_connects(commands, recording):
    with server() as real:
        code, out, err = compare(commands, recording, real.url)
        assert (code, out, len(err)) == (2, [], 1)
        assert err[0].endswith("add --set password=...")
        assert real.received == []
        assert real.opened.empty()


def test_the_subprotocol_is_compared(commands, recording):
    with Server(serve, subprotocols=["v2"]) as real:
        code, out, _ = compare(commands, recording, real.url, *GIVEN, "--subprotocol", "v2")
    assert code == 1
    assert [line.partition(": ")[2] for line in out] == ["subprotocol: recorded v1, now v2."] * 3


def test_a_subprotocol_that_is_cut_in_the_recording_must_be_given(commands, tmp_path):
    bearer, path = f"bearer.{SECRET * 30}", tmp_path / "x"
    with Server(subprotocols=[bearer]) as real:
        wsclient.connect(real.url, subprotocols=[bearer], record=path).close()
        real.opened.get(timeout=LONG)
        code, out, err = compare(commands, path, real.url)
        assert (code, out, len(err)) == (2, [], 1)
        assert err[0].endswith("***; give it by --subprotocol.")
        assert real.opened.empty()
        assert compare(commands, path, real.url, "--subprotocol", bearer)[:2] == (0, [])


def test_no_server_is_3(commands, recording):
    assert compare(commands, recording, "ws://127.0.0.1:9", *GIVEN)[0] == 3


def written(path, *messages):
    """A recording with one connection: each message is its time, its direction and its text."""
    lines = [recording_format.head("client", (), ())]
    lines.append(recording_format.line(0, "open", connection=1, url="ws://x/", subprotocol=None, headers=[]))
    for at, direction, text in messages:
        lines.append(recording_format.line(at, "message", connection=1, direction=direction, text=text))
    path.write_bytes(b"".join(lines))
    return path


@pytest.mark.parametrize(
    ("code", "differences"),
    [(4001, []), (4000, ["recorded: the server closed with 4000; now: the server closed with 4001 (now)."])],
)
def test_an_end_of_the_connection_before_start_returns_is_compared(commands, tmp_path, monkeypatch, code, differences):
    path = written(tmp_path / "x")
    with path.open("ab") as file:
        file.write(recording_format.line(0, "close", connection=1, direction=RECEIVED, code=code, reason=""))
    start = Client.start

    def start_late(client):
        start(client)
        assert client.wait_closed(LONG)
        start(client)  # raises what it raises if the connection has ended before it returns

    monkeypatch.setattr(Client, "start", start_late)
    with Server() as real:
        closer = threading.Thread(target=lambda: real.opened.get(timeout=LONG).close(4001, "now"))
        closer.start()
        exit_code, out, _ = compare(commands, path, real.url)
        closer.join(LONG)
    assert exit_code == len(differences)
    assert [line.partition(", line 3: ")[2] for line in out] == differences


def test_a_redacted_value_that_no_secret_can_replace_is_an_error(commands, tmp_path):
    path = written(tmp_path / "x", (0, SENT, "the password is [redacted]"))
    code, out, err = compare(commands, path, "ws://127.0.0.1:9", *GIVEN)
    assert (code, out, len(err)) == (2, [], 1)
    assert "Line 3 has a redacted value that --set can't replace" in err[0]


def test_a_message_is_sent_after_the_messages_of_the_server_that_precede_it(commands, tmp_path):
    path = written(tmp_path / "x", (0, SENT, "a"), (0, RECEIVED, "A"), (0, SENT, "b"), (0, RECEIVED, "B"))
    early = []

    def upper(connection, message):
        with contextlib.suppress(TimeoutError):
            early.append(connection.recv(timeout=SHORT))
        return message.upper()

    with Server(upper) as real:
        assert compare(commands, path, real.url)[:2] == (0, [])
    assert early == []


def test_a_message_may_take_as_long_as_in_the_recording(commands, tmp_path):
    path = written(tmp_path / "x", (0, SENT, "a"), (LONG, RECEIVED, "A"))

    def late(connection, message):
        threading.Event().wait(3 * SHORT)
        return message.upper()

    with Server(late) as real:
        assert compare(commands, path, real.url, "--timeout", SHORT)[:2] == (0, [])


def test_the_speed_keeps_the_pauses_before_messages(commands, tmp_path):
    path = written(tmp_path / "x", (0, SENT, "a"), (0, RECEIVED, "a"), (2, SENT, "b"), (2, RECEIVED, "b"))
    times = []

    def note(connection, message):
        times.append(time.monotonic())
        return message

    began = time.monotonic()  # before the first message is sent; the server may receive it late
    with Server(note) as real:
        assert compare(commands, path, real.url, "--speed", "10")[:2] == (0, [])
    assert times[1] - began > 0.15


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "a=b"], "need --to"),
        (["--ignore", "a"], "need --to"),
        (["--to", "ws://127.0.0.1:9", "--lenient"], "leave out --to"),
        (["--to", "ws://127.0.0.1:9", "--port", "1"], "leave out --to"),
        (["--to", "ws://127.0.0.1:9", "--set", "x"], "not a parameter"),
        (["--to", "ws://127.0.0.1:9", "--set", "=x"], "needs a name"),
        (["--to", "ftp://x"], "not a WebSocket URL"),
        (["--port", "99999"], "--port"),
    ],
)
def test_bad_options_are_one_sentence(commands, recording, options, words):
    code, out, err = commands("replay", recording, *options)
    assert (code, out, len(err)) == (2, [], 1)
    assert words in err[0]


@pytest.mark.parametrize("options", [(), ("--to", "ws://127.0.0.1:9")])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ": No such file"),
        (b"", "the file is empty"),
        (b"hello\n", "line 1: this is not JSON"),
        (b'{"format":"wsclient-recording","version":1,"client":"c","redact":[],"keep":[]}\n{"at":', "line 2: the line"),
    ],
)
def test_a_damaged_file_is_one_sentence(commands, tmp_path, content, words, options):
    path = tmp_path / "x.jsonl"
    if content is not None:
        path.write_bytes(content)
    code, out, err = commands("replay", path, *options)
    assert (code, out, len(err)) == (2, [], 1)
    assert words in err[0]
