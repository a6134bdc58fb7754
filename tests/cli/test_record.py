"""``wsclient record``: what it sends, writes and prints, and when it ends."""

import errno
import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading

import pytest
from websockets.protocol import State

from wsclient import Client
from wsclient._recording import format as recording_format
from wsclient.cli.output import Output
from wsclient.cli.record import _Sink
from wsclient.cli.recording_view import RecordingView

from ..support import LONG, Server, eventually
from ..support.commands import Commands, Script


@pytest.fixture
def commands(monkeypatch):
    return Commands(monkeypatch)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "session.jsonl"


def content(path):
    """The messages of a recording: direction and payload."""
    with path.open("rb") as lines:
        session = recording_format.parse(lines, "the recording")
    return [
        (entry.direction, entry.payload)
        for connection in session.connections
        for entry in connection.entries
        if entry.kind == "message"
    ]


def stdin(*lines):
    return io.StringIO("".join(f"{line}\n" for line in lines))


ASK = '{"id":1,"method":"add","params":[1,2],"token":"s3sam3"}'
SHOWN = {"id": 1, "method": "add", "params": [1, 2], "token": "[redacted]"}
ANSWER = {"id": 1, "result": 3}

# --- what is written and printed -------------------------------------------------------------------------------------


def test_lines_of_stdin_are_sent_and_the_session_is_recorded_redacted(commands, server, path):
    code, out, err = commands("record", server.url, path, stdin=stdin(ASK, "", '{"id": 2,"method":"echo"}'))
    assert (code, out) == (0, [])
    assert server.received == [ASK, '{"id": 2,"method":"echo"}']  # the bytes as they were typed
    assert [direction for direction, _ in content(path)].count("received") == 2
    assert "s3sam3" not in path.read_text()
    assert err[-1].startswith("wsclient: 1 connection, 2 sent, 2 received; 2 replies (median ")
    assert err[-1].endswith(f"; recorded in {path}.")
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_show_prints_json_in_a_pipe_and_writes_the_file(commands, server, path):
    code, out, _ = commands.json("record", server.url, path, "--show", stdin=stdin(ASK))
    assert code == 0
    assert [(one["direction"], one["message"]) for one in out] == [("sent", SHOWN), ("received", ANSWER)]
    recorded = [json.loads(line) for line in path.read_text().splitlines()]
    assert [one["at"] for one in recorded if one.get("kind") == "message"] == [one["at"] for one in out]


def test_show_marks_the_direction_on_a_terminal(commands, server, path):
    _, out, _ = commands("record", server.url, path, "--show", "--color", "never", stdin=stdin(ASK), is_terminal=True)
    assert [line.split(maxsplit=1)[1] for line in out] == [f"> {json.dumps(SHOWN)}", f"< {json.dumps(ANSWER)}"]


def test_a_message_cannot_control_the_terminal(commands, path):
    with Server(lambda connection, message: "\x1b[2J\ninjected") as server:
        arguments = ("record", server.url, path, "--show", "--color", "never", "-C", "1")
        _, out, _ = commands(*arguments, stdin=stdin("x"), is_terminal=True)
    assert len(out) == 2
    assert not any("\x1b" in line for line in out)


def test_pairs_prints_requests_with_their_replies_and_times(commands, server, path):
    code, out, _ = commands.json("record", server.url, path, "--pairs", stdin=stdin(ASK))
    (pair,) = out
    assert (code, pair["request"], pair["reply"]) == (0, SHOWN, ANSWER)
    assert 0 < pair["seconds"] < LONG
    assert (0, out, []) == commands.json("record", "--from", path, "--pairs")
    _, text, _ = commands("record", "--from", path, "--pairs", "--color", "never", is_terminal=True)
    assert [line.split()[0] for line in text][1] == "="
    assert " ms > " in text[0]


def test_a_request_without_a_reply_is_printed_at_the_end(commands, mute_server, path):
    arguments = ("record", mute_server.url, path, "--pairs", "--timeout", "0.2")
    code, out, err = commands.json(*arguments, stdin=stdin(ASK))
    assert code == 0
    assert [(one["request"], one["seconds"], one["reply"]) for one in out] == [(SHOWN, None, None)]
    assert "1 request without a reply" in err[-1]


def test_binary_messages_are_base64(commands, path):
    with Server(lambda connection, message: b"\0\1") as server:
        _, out, _ = commands.json("record", server.url, path, "--show", "-C", "1", stdin=stdin("x"))
    assert [(one["direction"], one.get("message"), one.get("base64")) for one in out] == [
        ("sent", "x", None),
        ("received", None, "AAE="),
    ]


def test_from_shows_the_messages_of_a_recording(commands, server, path):
    _, live, _ = commands.json("record", server.url, path, "--show", "-C", "2", stdin=stdin(ASK, "hello"))
    assert commands.json("record", "--from", path) == (0, live, [])


def test_redact_and_keep(commands, server, path):
    line = '{"id":1,"method":"add","params":[1],"pin":"1234","token":"abc"}'
    arguments = ("record", server.url, path, "--show", "--redact", "pin", "--keep", "token")
    _, out, _ = commands.json(*arguments, stdin=stdin(line))
    assert (out[0]["message"]["pin"], out[0]["message"]["token"]) == ("[redacted]", "abc")
    assert "1234" not in path.read_text()


def test_every_frame_is_printed_with_vv_too(commands, server, path):
    _, out, err = commands.json("record", server.url, path, "--show", "-vv", stdin=stdin(ASK))
    assert len(out) == 2
    assert any("> close 1000" in line for line in err)


def test_objects_pass_through_the_protocol_if_one_is_given(commands, server, path):
    lines = stdin('{"jsonrpc":"2.0","id":1,"method":"add","params":[1,2]}', "plain")
    code, out, _ = commands.json("record", server.url, path, "--protocol", "jsonrpc", "-C", "2", "--show", stdin=lines)
    assert code == 0
    assert [one["message"] for one in out if one["direction"] == "received"] == [ANSWER, "plain"]


# --- when it ends ----------------------------------------------------------------------------------------------------


def test_count_until_and_wait(commands, server, path):
    lines = [f'{{"id":{n},"method":"echo","params":{n}}}' for n in range(4)]
    for options, expected in ((("-C", "2"), [0, 1]), (("--until", "result=2"), [0, 1, 2])):
        code, out, _ = commands.json("record", server.url, path, "--show", *options, stdin=stdin(*lines))
        received = [one["message"]["result"] for one in out if one["direction"] == "received"]
        assert (code, received) == (0, expected)
    assert commands("record", server.url, path, "-W", "0.2", stdin=stdin(lines[0]))[0] == 0
    assert commands("record", server.url, path, "-W", "0.2", "-C", "5", stdin=stdin(lines[0]))[0] == 4
    assert content(path)[0] == ("sent", lines[0])  # the answer may be too late


def test_no_more_messages_than_count_are_printed(commands, path):
    def flood(connection, message):
        for number in range(500):
            connection.send(str(number))

    with Server(flood) as server:
        _, out, _ = commands.json("record", server.url, path, "--show", "-C", "3", stdin=stdin("go"))
    assert [one["message"] for one in out] == ["go", 0, 1, 2]
    assert len(content(path)) >= 4


def test_a_request_of_a_lost_connection_is_not_awaited():
    view = RecordingView(Output(), show=False, pairs=False, protocol=None)
    view.add({"at": 0, "kind": "open", "connection": 1})
    view.add({"at": 0, "kind": "message", "connection": 1, "direction": "sent", "text": ASK})
    assert view.waiting == 1
    view.add({"at": 0, "kind": "lost", "connection": 1})
    assert view.waiting == 0
    assert view.summary() == "1 connection, 1 sent, 0 received; 1 request without a reply"


def test_a_heartbeat_is_no_message_of_the_user():
    view = RecordingView(Output(), show=False, pairs=False, protocol=None)
    heartbeat = {"at": 0, "kind": "message", "connection": 1, "heartbeat": True, "text": ASK}
    view.add({**heartbeat, "direction": "sent"})
    view.add({**heartbeat, "direction": "received"})
    assert (view.waiting, view.sent, view.has_message_without_id) == (0, 0, False)


def test_without_ids_it_ends_when_no_message_came_for_some_time(commands, server, path, monkeypatch):
    monkeypatch.setattr("wsclient.cli.record._QUIET", 0.1)
    shown = []

    def until_shown():
        yield "hello\n"
        shown.extend(json.loads(commands.out.line())["message"] for _ in range(2))

    code, out, _ = commands("record", server.url, path, "--show", stdin=Script(until_shown()))
    assert (code, out, shown) == (0, [], ["hello", "hello"])


def test_an_empty_stdin_does_not_end_it_and_ctrl_c_does(commands, server, path):
    def session():
        connection = server.opened.get(timeout=LONG)
        connection.send("event")
        commands.out.line()

    commands.new_streams()
    ended = commands.interrupt_after(session)
    code, _, err = commands.run("record", server.url, path, "--show")
    ended()
    assert code == 130
    assert content(path) == [("received", "event")]
    assert json.loads(path.read_text().splitlines()[-1])["kind"] == "lost"
    assert err[0].startswith("wsclient: 1 connection, 0 sent, 1 received")


def test_an_empty_input_that_ends_at_a_terminal_ends_it(commands, server, path):
    typed = io.StringIO()
    typed.isatty = lambda: True
    assert commands("record", server.url, path, stdin=typed)[0] == 0
    assert content(path) == []


def test_it_reconnects_and_sends_what_came_meanwhile(commands, path):
    reader, writer = os.pipe()
    with Server() as server, os.fdopen(writer, "w") as typed, os.fdopen(reader) as lines:

        def type_lines():
            print(ASK, file=typed, flush=True)
            json.loads(commands.out.line())
            json.loads(commands.out.line())
            server.restart()
            # A line is not sent on a connection that ended in the restart, without the client knowing it yet.
            while server.opened.get(timeout=LONG).protocol.state is not State.OPEN:
                pass
            print(ASK, file=typed, flush=True)
            typed.close()

        commands.new_streams()
        typist = threading.Thread(target=type_lines)
        typist.start()
        code, _, err = commands.run("record", server.url, path, "--show", stdin=lines)
        typist.join(LONG)
    assert code == 0
    assert [payload for direction, payload in content(path) if direction == "received"] == [json.dumps(ANSWER)] * 2
    assert re.match(r"wsclient: \d connections, 2 sent, 2 received", err[-1])


def test_a_server_that_closes_normally_ends_it_without_retries(commands, path):
    with Server(lambda connection, message: connection.close(1000)) as server:
        arguments = ("record", server.url, path, "--retry", "0")
        assert commands(*arguments, stdin=stdin("x"))[0] == 0
        assert commands(*arguments, "-C", "1", stdin=stdin("x"))[0] == 5


def test_it_ends_well_if_the_client_has_ended_before_start_returns(commands, path, monkeypatch):
    start = Client.start

    def start_late(client, *arguments):
        start(client, *arguments)
        assert client.wait_closed(LONG)
        start(client, *arguments)  # raises what it raises if the connection has ended before it returns

    monkeypatch.setattr(Client, "start", start_late)
    with Server() as server:
        closer = threading.Thread(target=lambda: server.opened.get(timeout=LONG).close(1000))
        closer.start()
        assert commands("record", server.url, path, "--retry", "0", stdin=stdin())[0] == 0
        closer.join(LONG)


def test_the_first_of_several_failed_attempts_is_reported(commands, path):
    refused = iter([503, 503])

    def refuse_twice(connection, request):
        status = next(refused, None)
        return None if status is None else connection.respond(status, "later")

    with Server(lambda connection, message: connection.send("1"), process_request=refuse_twice) as server:
        code, _, err = commands("record", server.url, path, "-C", "1", stdin=stdin("x"))
    assert code == 0
    assert re.fullmatch(r"wsclient: .*503.* Further attempts follow; -v prints each of them\.", err[0])
    assert err[1] == "wsclient: connected."


def test_a_stdin_that_is_not_utf_8_ends_it(commands, server, path):
    code, _, err = commands("record", server.url, path, stdin=io.TextIOWrapper(io.BytesIO(b"\xff\n"), "utf-8"))
    assert code == 2
    assert any(line.startswith("wsclient: stdin is not UTF-8: ") for line in err)


def test_a_stdin_that_can_not_be_read_ends_it(commands, server, path):
    def broken():
        yield "one\n"
        raise OSError(errno.EIO, "the terminal is gone")

    code, _, err = commands("record", server.url, path, stdin=Script(broken()))
    assert code == 2
    assert "the terminal is gone" in err[-1]


def test_the_last_messages_before_a_fatal_end_are_printed(commands, path):
    def serve(connection, message):
        connection.send("last words")
        connection.close(1008, "no")

    with Server(serve) as server:
        code, out, err = commands.json("record", server.url, path, "--show", stdin=stdin("x"))
    assert (code, [one["message"] for one in out]) == (5, ["x", "last words"])
    assert any("1008" in line for line in err)


def test_a_stdout_without_a_reader_pauses_the_client_and_ends_with_it(commands, path, monkeypatch):
    """The queue between the I/O thread and the printing is limited, and a full one does not keep the client open."""
    monkeypatch.setattr("wsclient.cli.record._WAITING", 2)
    stuck = threading.Event()

    def flood(connection, message):
        for number in range(2000):
            connection.send(str(number) * 100)

    with Server(flood) as server:
        commands.new_streams()
        write = commands.out.write
        monkeypatch.setattr(commands.out, "write", lambda text: (write(text), stuck.wait(LONG)))

        def session():
            commands.out.line()
            stuck.set()

        ended = commands.interrupt_after(session)
        code, out, _ = commands.run("record", server.url, path, "--show", stdin=stdin("go"))
        ended()
    assert code == 130
    assert 1 + len(out) >= len(content(path)) - 1  # the rest is printed at the end, except what Ctrl-C interrupted
    assert json.loads(path.read_text().splitlines()[-1])["kind"] == "lost"


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ws://127.0.0.1:9"], "Which file?"),
        (["ws://127.0.0.1:9", "no/such/folder/x"], "does not exist"),
        (["--from", "missing.jsonl"], "missing.jsonl: No such file"),
        (["ws://127.0.0.1:9", "--from", "x"], "leave out the URL"),
        (["--from", "x", "--redact", "name"], "leave out --redact"),
        (["--from", "x", "--keep", "name"], "leave out --redact, --keep"),
        (["--from", "x", "--count", "1"], "leave out --redact, --keep, --count"),
        (["--from", "x", "--wait", "1"], "--wait"),
        (["--from", "x", "--until", "a=b"], "--until"),
        ([], "Which URL?"),
        (["ws://127.0.0.1:9", "x", "--redact", "--", "y"], "unexpected extra argument"),
        (["ws://127.0.0.1:9", "x", "--redact", "_"], "must have a letter"),
    ],
)
def test_bad_input_is_one_sentence(commands, arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = commands("record", *arguments)
    assert (code, out, len(err)) == (2, [], 1)
    assert words in err[0]


def test_a_damaged_recording_is_refused_before_anything_is_printed(commands, server, path):
    commands("record", server.url, path, stdin=stdin(ASK))
    path.write_bytes(path.read_bytes()[:-5])
    code, out, err = commands("record", "--from", path)
    assert (code, out, len(err)) == (2, [], 1)
    assert "is cut off" in err[0]


def test_an_old_recording_survives_options_that_are_wrong(commands, server, path):
    path.write_text("precious")
    assert commands("record", server.url, path, "--protocol", "nonsense")[0] == 2
    assert path.read_text() == "precious"


def test_no_connection_is_3(commands, path):
    assert commands("record", "ws://127.0.0.1:9", path, "--retry", "0")[0] == 3
    assert commands("record", "ws://127.0.0.1:9", path, "-W", "0.1")[0] == 4


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is full")
def test_a_full_disk_ends_the_session(commands, server):
    code, _, err = commands("record", server.url, "/dev/full")
    assert code == 2
    assert any("/dev/full can't be written any more: No space left" in line for line in err)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is full")
def test_after_a_full_disk_nothing_more_is_written_but_all_is_printed():
    sink = _Sink("/dev/full", None)
    sink.create()
    for line in (b"1\n", b"2\n"):
        sink(line)
    failed, *lines = [sink.written.get_nowait() for _ in range(3)]
    assert failed.error is sink.failure
    assert "No space left" in str(sink.failure)
    assert lines == [b"1\n", b"2\n"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is full")
def test_a_full_disk_at_the_end_of_the_session_is_reported_too():
    sink = _Sink("/dev/full", None)
    sink.create()
    sink.end_waiting()
    sink(b"1\n")
    assert sink.written.empty()  # nothing takes the failure out of it any more
    assert sink.left() == [b"1\n"]
    assert "No space left" in str(sink.failure)


def test_a_stdin_that_is_not_utf_8_ends_the_session(commands, server, path):
    code, _, err = commands("record", server.url, path, stdin=io.TextIOWrapper(io.BytesIO(b"one\n\xff\n"), "latin-1"))
    assert code == 2
    assert "utf-8" in err[-1].lower()
    assert server.received in ([], ["one"])  # stdin is read in blocks


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes of a shell are POSIX's")
def test_as_a_process_ctrl_c_ends_it_while_stdin_is_open(server, path):
    process = subprocess.Popen(
        [sys.executable, "-m", "wsclient", "record", server.url, str(path), "--show"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        print(ASK, file=process.stdin, flush=True)
        assert json.loads(process.stdout.readline())["message"] == SHOWN
        assert json.loads(process.stdout.readline())["message"] == ANSWER
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        err = process.stderr.read()
        assert process.wait(LONG) == 130
    assert err.strip().count("\n") == 0, err
    assert len(content(path)) == 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes of a shell are POSIX's")
def test_a_closed_pipe_ends_it_quietly(server, path):
    command = f"{sys.executable} -m wsclient record {server.url} {path} --show | head -1"
    process = subprocess.Popen(command, shell=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    with process:
        print(ASK, file=process.stdin, flush=True)
        eventually(lambda: server.received)
        server.send_all("more")
        server.send_all("more")
        out, err = process.stdout.read(), process.stderr.read()
    assert len(out.splitlines()) == 1
    assert "Traceback" not in err
