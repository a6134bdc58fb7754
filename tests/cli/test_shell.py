"""``wsclient shell`` from a script, and its parts: what is typed, the vocabulary, the slash commands, recordings."""

import contextlib
import io
import json
import logging
import operator
import os
import queue
import re
import stat
import subprocess
import sys
import threading
from concurrent.futures import Future

import pytest

import wsclient
from wsclient import State, testing
from wsclient.cli import main, profiles, shell_transcript
from wsclient.cli.exits import ExitCode
from wsclient.cli.options import FOREVER, Connection
from wsclient.cli.output import Output
from wsclient.cli.shell_commands import COMMANDS, help_lines, perform, prepared
from wsclient.cli.shell_conversation import Conversation
from wsclient.cli.shell_input import Call, InputError, Message, SlashCommand, is_open, looks_secret, parse, parse_all
from wsclient.cli.shell_recording import RecordingSwitch
from wsclient.cli.shell_transcript import Transcript
from wsclient.cli.vocabulary import Vocabulary

from ..support import LONG, Server, eventually
from ..support.commands import Commands, FullDisk, Script

NEEDS_FULL_DISK = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is Linux's")


@pytest.fixture(autouse=True)
def logger():
    """The command replaces the handlers of the library's logger."""
    logger = logging.getLogger("wsclient")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], level, logger.propagate = before
    logger.setLevel(level)


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the shell with a script, a text or lines, and returns its exit code, stdout lines and stderr."""

    def run_script(script, url, *options):
        monkeypatch.setattr(sys, "stdin", io.StringIO(script) if isinstance(script, str) else Script(script))
        code = main(["shell", url, *options])
        printed = capsys.readouterr()
        return code, printed.out.splitlines(), printed.err

    return run_script


# --- what is typed ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ('{"a": [1, 2]}', Message({"a": [1, 2]})),
        ('  {"a":\n 1}\n', Message({"a": 1})),
        ('"a text"', Message("a text")),
        ("5", Message(5)),
        ("-1.5", Message(-1.5)),
        ("true", Message(True)),
        ("null ", Message(None)),
        ("truely", Call("truely", None)),
        ("aria2.getVersion", Call("aria2.getVersion", None)),
        ("add a:=1 b:=2", Call("add", {"a": 1, "b": 2})),
        ("add =x :=2", Call("add", ["x", 2])),
        ('say to="Ann B" text=\'it is "x"\'', Call("say", {"to": "Ann B", "text": 'it is "x"'})),
        ('put x:={"a": [1, 2]} y:=\'{"b": 1}\'', Call("put", {"x": {"a": [1, 2]}, "y": {"b": 1}})),
        ("get url=http://x/?a=b", Call("get", {"url": "http://x/?a=b"})),
        ("get name=", Call("get", {"name": ""})),
        ("/ping", SlashCommand("ping", "", 5)),
        ("/text  hello {", SlashCommand("text", "hello {", 7)),
        ("/", SlashCommand("", "", 1)),
    ],
)
def test_the_first_character_decides_what_is_typed(text, given):
    assert parse(text) == given
    assert type(getattr(parse(text), "value", None)) is type(getattr(given, "value", None))


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ('{"a": [1, 2}', 11, "Expecting ',' delimiter at column 12"),
        ('{"a":\n  oops}', 8, "Expecting value at line 2, column 3"),
        ('"a', 0, "Unterminated string starting at column 1"),
        ("{} {}", 3, "something follows its end, at column 4"),
        ("hello world", 6, "At column 7 a parameter is expected"),
        ("add a:=1 =2", 11, "can't be mixed"),
        ("add a:=[1", 9, "at column 10"),
        ('add a="x"y', 9, "A space is missing after the value of a, at column 10"),
        ("a=b", 1, "'=' at column 2 can't be in the name of a method"),
        ("}", 0, "'}' at column 1 can't be in the name of a method"),
        ("[" * 100_000 + "]" * 100_000, 0, "nested too deeply"),
        ("1" * 5000, 0, "not usable"),
    ],
)
def test_an_error_has_its_position(text, position, words):
    if words == "not usable" and not hasattr(sys, "get_int_max_str_digits"):
        pytest.skip("this Python converts numbers of any length")
    with pytest.raises(InputError) as caught:
        parse(text)
    assert words in str(caught.value)
    assert caught.value.position == position


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", True),
        ('{"a": [1,', True),
        ('{"a": [1, 2', True),
        ('{"a": "}"', True),
        ('{"a": "{"}', False),
        ('{"a": "\\"{"}', False),
        ('{"a": [1}', False),
        ('{"a": "b', False),
        ("add x:={", True),
        ("add x='{'", False),
        ("/sub {", True),
        ("/text {", False),
        ("hello", False),
        ("}", False),
    ],
)
def test_input_continues_while_a_bracket_is_open(text, expected):
    assert is_open(text) is expected


def test_several_inputs_that_are_pasted_at_once():
    assert parse_all('{"a": 1}\n\n[2,\n3]\nadd a:=1\n/ping') == [
        Message({"a": 1}),
        Message([2, 3]),
        Call("add", {"a": 1}),
        SlashCommand("ping", "", 5),
    ]
    assert parse_all("add a:=1\n b:=2") == [Call("add", {"a": 1, "b": 2})]
    assert parse_all("/text one\n[") == [SlashCommand("text", "one\n[", 6)]
    with pytest.raises(InputError, match="at line 2, column 1"):
        parse_all("{}\n{oops")


def test_lines_that_look_secret_are_not_for_the_history_file():
    for text in ('{"password": "x"}', "login api_key=5", "call =token:x", " add", '{"Authorization": "Bearer x"}'):
        assert looks_secret(text)
    for text in ("add a:=1", '{"id": 1}', "/ping", "authors.list", "session.new"):
        assert not looks_secret(text)


# --- slash commands ---------------------------------------------------------------------------------------------------


def test_each_slash_command_has_a_line_of_help():
    names = ["ping", "stats", "reconnect", "renew", "sub", "send", "text", "record", "save", "close", "help", "quit"]
    assert list(COMMANDS) == names
    text = "\n".join(help_lines())
    assert all(f"/{name}" in text for name in names)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/foo", "no command /foo; known are: /ping, /stats"),
        ("/ping 5", "Nothing may follow /ping"),
        ("/sub", "/sub needs JSON"),
        ('/sub {"a" 1}', "/sub: This is not JSON: Expecting ':' delimiter at column 6"),
        ("/save", "/save needs the name of a file"),
        ("/close done", "/close needs a close code before the reason"),
    ],
)
def test_a_slash_command_that_can_not_be_used_is_an_error(text, words):
    with pytest.raises(InputError) as caught:
        prepared(parse(text))
    assert words in str(caught.value)


def test_arguments_of_slash_commands():
    assert prepared(parse("/close 1001 good bye"))[1] == (1001, "good bye")
    assert prepared(parse("/close"))[1] == (1000, "")
    assert prepared(parse("/record"))[1] is None
    assert prepared(parse("/save ~/x y"))[1] == os.path.expanduser(os.path.join("~", "x y"))


# --- vocabulary -------------------------------------------------------------------------------------------------------


def complete(words, before):
    return [text for text, _ in words.completions(before)]


def test_names_and_keys_of_messages_are_completed():
    words = Vocabulary()
    words.learn({"method": "user.add", "params": {"name": "Ann", "nested": [{"note": 1}]}, "type": "ticker"})
    words.learn([{"event": "user.added"}])
    words.learn("text")
    words.learn_name("user.remove")
    assert complete(words, "user") == ["user.add", "user.added", "user.remove"]
    assert complete(words, "user.add na") == ["name="]
    assert complete(words, "user.add name=x no") == ["note="]
    assert complete(words, '{"par') == ['params": ']
    assert complete(words, '{"method": "user.r') == ['user.remove"']
    assert complete(words, '{"name": "user.r') == []
    assert complete(words, '{"params": {"n') == ['name": ', 'nested": ', 'note": ']
    assert '"method": ' in complete(words, "{")
    assert complete(words, '["me') == []
    assert complete(words, '{"a": [1], "par') == ['params": ']
    assert list(words.completions('{"a": 1, "met')) == [('method": ', 3)]


def test_the_vocabulary_is_limited_and_has_no_control_characters():
    words = Vocabulary()
    words.learn({"\x1b[31mred": 1, "x" * 100: 1, "a b": 1})
    words.learn({f"k{number}": number for number in range(5000)})
    assert complete(words, '{"\x1b') == []
    assert complete(words, '{"xx') == []
    assert complete(words, "f a") == []  # a parameter can't have this name
    assert len(complete(words, '{"')) <= 2000


# --- recordings -------------------------------------------------------------------------------------------------------


def test_a_recording_that_begins_later_is_complete(tmp_path):
    path = tmp_path / "session.jsonl"
    switch = RecordingSwitch(None, pytest.fail)
    opened = {"kind": "open", "url": "ws://x", "subprotocol": None, "headers": []}
    message = {"kind": "message", "direction": "sent"}
    lost = {"kind": "lost", "initiator": "remote", "code": 1000, "reason": "", "error": None}

    def lines(*entries):
        switch(b"".join(json.dumps(entry, separators=(",", ":")).encode() + b"\n" for entry in entries))

    lines({"format": "wsclient-recording", "version": 1, "client": "c", "redact": [], "keep": []})
    lines({"at": 0.1, **opened, "connection": 1}, {"at": 0.2, **message, "connection": 1, "text": "before"})
    lines({"at": 0.3, **lost, "connection": 1}, {"at": 0.4, **opened, "connection": 2})
    switch.start(str(path))
    lines({"at": 0.5, **message, "connection": 2, "text": "during"}, {"at": 0.6, **lost, "connection": 2})
    lines({"at": 0.7, "kind": "failed", "number": 1, "error": "OSError", "status": None})
    lines({"at": 0.8, **opened, "connection": 3})
    assert switch.stop() == str(path)
    assert switch.stop() is None
    lines({"at": 0.9, **message, "connection": 3, "text": "after"})
    switch.close()
    entries = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [(entry.get("kind"), entry.get("connection"), entry.get("text")) for entry in entries] == [
        (None, None, None),
        ("open", 1, None),
        ("message", 1, "during"),
        ("lost", 1, None),
        ("failed", None, None),
        ("open", 2, None),
    ]
    assert all(entry["at"] >= 0 for entry in entries[1:])
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    testing.Replay(path).close()  # it can be read


def test_a_recording_that_can_not_be_written_is_reported(tmp_path):
    switch = RecordingSwitch(None, pytest.fail)
    with pytest.raises(OSError, match="No such file"):
        switch.start(str(tmp_path / "missing" / "file"))
    switch.close()


@NEEDS_FULL_DISK
def test_a_full_disk_ends_the_recording():
    errors = []
    switch = RecordingSwitch(None, errors.append)
    switch(b'{"at":0.1,"kind":"open","connection":1,"url":"ws://x","subprotocol":null,"headers":[]}\n')
    switch.start("/dev/full")
    assert switch.stop() is None
    switch.close()
    assert len(errors) == 1  # although the line of the connection could not be written either
    assert "No space left" in str(errors[0])


# --- what is shown ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("color", ["never", "always"])
def test_each_line_has_a_mark(capsys, color):
    transcript = Transcript(Output(color), has_marks=True)
    reply = Future()
    reply.set_result(3)
    transcript.sent({"method": "add"}, 1)
    transcript.replied(1, reply, 0.0125)
    transcript.received("x")
    transcript.close()
    colored = capsys.readouterr().out
    assert ("\x1b[" in colored) is (color == "always")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", colored).splitlines()
    assert lines == ['> [1] {"method": "add"}', "< [1] 12.5 ms 3", "< x"]


def test_a_transcript_that_is_closed_takes_any_number_of_messages_and_shows_none(capsys):
    transcript = Transcript(Output("never"), has_marks=True)
    transcript.close()
    for number in range(1000):  # more than may wait
        transcript.received(number)
    assert capsys.readouterr().out == ""


# --- beside the input of a terminal -----------------------------------------------------------------------------------


@pytest.fixture
def converse(monkeypatch):
    """``converse(url, **options)``: a conversation as on a terminal, and the lines of its stderr. It is
    connected, unless ``waits`` is False.
    """
    with contextlib.ExitStack() as stack:

        def begin(url, *, waits=True, **options):
            commands = Commands(monkeypatch)
            output = Output("never")
            transcript = Transcript(output, has_marks=True)
            stack.callback(transcript.close)
            conversation = Conversation(
                Connection(**options), url, output, transcript, retry=0, has_waiting_threads=True
            )
            stack.callback(conversation.end)
            if waits:
                conversation.start()
            else:
                conversation.begin(pytest.fail)
            return conversation, commands.err

        yield begin


def test_a_command_that_waits_for_the_server_shows_its_error(server, converse):
    conversation, err = converse(server.url)
    conversation.close()
    perform(conversation, parse("/ping"))
    assert err.line() == "> /ping"
    assert err.line().startswith("* ping(): the client ")


def test_a_defect_of_a_command_that_waits_is_not_hidden(server, converse, monkeypatch):
    defects = queue.Queue()
    monkeypatch.setattr(threading, "excepthook", defects.put)
    conversation, _ = converse(server.url)
    conversation.call_waiting(operator.truediv, 1, 0)
    assert defects.get(timeout=LONG).exc_type is ZeroDivisionError


def test_a_new_connection_that_can_not_be_opened_is_reported_once(server, converse):
    conversation, err = converse(server.url)
    conversation.close()
    server.stop()
    perform(conversation, parse("/reconnect"))
    for thread in threading.enumerate():
        if thread.name in ("wsclient-start", "wsclient-listen"):
            thread.join(LONG)
    conversation.transcript.close()
    command, sentence = err.rest()
    assert command == "> /reconnect"
    assert "refused" in sentence


def test_what_is_given_while_the_connection_is_lost_is_sent_on_the_next_one(server, converse):
    conversation, err = converse(server.url, retry=FOREVER)
    server.stop()
    eventually(lambda: conversation.client.state is State.WAITING)
    perform(conversation, parse('/sub {"op": "sub"}'))
    perform(conversation, parse('"meanwhile"'))
    server.start()
    assert sorted(server.wait_for(2)) == ["meanwhile", '{"op":"sub"}']
    lines = [err.line()]
    while lines[-1] != "* connected again":
        lines.append(err.line())
    assert "* not connected now; the message is sent when the connection is open" in lines
    assert any(line.startswith("* the connection has ended (") for line in lines)


@pytest.fixture
def received_until(server):
    """``received_until(conversation)``: what the server has received when the client is closed."""

    def end(conversation):
        conversation.close()
        eventually(lambda: not server.connections)
        return server.received

    return end


def test_a_subscription_before_the_first_connection_is_sent_on_it(server, converse, received_until):
    server.stop()
    conversation, _ = converse(server.url, waits=False, retry=FOREVER)
    eventually(lambda: conversation.client.state is State.WAITING)
    perform(conversation, parse('/sub {"op": "sub"}'))
    server.start()
    server.wait_for(1)
    assert received_until(conversation) == ['{"op":"sub"}']


def test_a_subscription_while_it_connects_again_is_sent_once(converse):
    allowed = threading.Event()
    allowed.set()

    def wait(connection, request):
        assert allowed.wait(LONG)

    with Server(process_request=wait) as server:
        conversation, err = converse(server.url, retry=FOREVER)
        server.opened.get(timeout=LONG)
        allowed.clear()
        perform(conversation, parse("/reconnect"))
        eventually(lambda: conversation.client.state is State.CONNECTING)
        conversation.subscribe(5)
        allowed.set()
        while err.line() != "* connected again":
            pass
        server.wait_for(1)
        conversation.post(6)
        server.wait_for(2)
        conversation.close()
        eventually(lambda: not server.connections)
        assert server.received == ["5", "6"]


def test_a_subscription_is_sent_on_the_connection_after_a_close(server, converse, received_until):
    conversation, _ = converse(server.url)
    conversation.subscribe(5)
    server.wait_for(1)
    conversation.close()
    with pytest.raises(wsclient.ClientClosed):
        conversation.subscribe("too late, so it is not kept")
    perform(conversation, parse("/reconnect"))
    server.wait_for(2)
    assert received_until(conversation) == ["5", "5"]


def test_a_client_that_fails_shows_its_error(server, converse):
    conversation, err = converse(server.url, retry=FOREVER)
    server.reject(401)
    perform(conversation, parse("/reconnect"))
    while not (line := err.line()).startswith("* The server "):
        pass
    assert "401" in line
    eventually(lambda: conversation.transcript.code == ExitCode.NOT_CONNECTED)


# --- scripts ----------------------------------------------------------------------------------------------------------


def test_a_script_prints_the_replies_and_ends(server, run):
    code, out, err = run('echo :=1 =b\n{"x":\n 2}\n\n"hello"\n/text raw {\n', server.url)
    assert (code, err) == (0, "")
    # The hook thread prints the reply, another thread the other messages.
    reply = next(line for line in out if '"result"' in line)
    assert json.loads(reply) == {"id": 1, "result": [1, "b"]}
    others = [json.loads(line) if line[0] == "{" else line for line in out if line != reply]
    assert others == [{"x": 2}, "hello", "raw {"]
    assert server.received == ['{"id":1,"method":"echo","params":[1,"b"]}', '{"x":2}', "hello", "raw {"]


def test_with_a_protocol_objects_are_requests(server, run):
    script = '{"method": "add", "params": [1, 2]}\nadd :=3 :=4\n/send {"method": "event", "params": "x"}\n'
    code, out, _ = run(script, server.url, "--protocol", "jsonrpc")
    assert code == 0
    assert sorted(out) == ["3", "7", '{"event": "x"}']


def test_the_exit_code_is_that_of_the_first_error(run):
    with Server(
        lambda _, text: {"id": json.loads(text)["id"], "error": {"code": 5, "message": "no\x1b[31m"}}
    ) as server:
        code, out, err = run("a\nb\n", server.url, "--protocol", "jsonrpc")
    assert (code, out) == (1, [])
    assert "request 1: The server answered with error 5" in err
    assert "request 2" in err
    assert "\x1b" not in err


def test_broken_json_in_a_script_has_its_line_and_position(server, run):
    code, _, err = run('"a"\n{"b": oops}\n', server.url)
    assert code == 2
    assert err == "wsclient: line 2 of stdin: This is not JSON: Expecting value at column 7.\n"


def test_a_bracket_that_stays_open_is_an_error(server, run):
    code, _, err = run('{"a":\n1', server.url)
    assert code == 2
    assert "line 2 of stdin: This is not JSON" in err


def test_a_server_that_is_down_ends_a_script(dead, run):
    assert run('"x"\n', f"ws://127.0.0.1:{dead}")[0] == 3


def test_a_connection_that_is_lost_ends_a_script(run):
    with Server(lambda connection, _: connection.close(1001, "bye")) as server:
        code, out, err = run('"x"\n', server.url, "--wait", str(LONG))
    assert (code, out) == (5, [])
    assert "Traceback" not in err


def test_a_script_does_not_wait_for_ever_for_messages(mute_server, run):
    assert run('"x"\n', mute_server.url, "--wait", "0.05")[:2] == (0, [])


def test_slash_commands_print_on_stderr(server, run):
    code, out, err = run("/ping\n/stats\n/help\n/quit\nnever sent\n", server.url)
    assert (code, out) == (0, [])
    assert "pong after" in err
    assert "messages_sent" in err
    assert "/record [FILE]" in err


def test_what_was_seen_is_saved(server, run, tmp_path):
    path = tmp_path / "seen.ndjson"
    code, _, err = run(f"add :=1 :=2\n/save {path}\n", server.url, "--protocol", "jsonrpc")
    assert code == 0
    assert f"Saved 2 messages to {path}" in err
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(entry["direction"], entry["message"]) for entry in entries] == [
        ("sent", {"method": "add", "params": [1, 2]}),
        ("received", 3),
    ]
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_oldest_messages_are_dropped_when_too_many_are_kept(run, tmp_path, monkeypatch):
    monkeypatch.setattr(shell_transcript, "_MOST_BYTES", 500)
    path = tmp_path / "seen"
    with Server() as server:
        script = "".join(f"echo :={number}\n" for number in range(20))
        _, _, err = run(f"{script}/save {path}\n", server.url, "--protocol", "jsonrpc")
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert f"; {40 - len(entries)} older ones were not kept" in err
    assert entries[-1]["message"] == [19]
    assert path.stat().st_size <= 500


def test_a_file_that_can_not_be_written_is_one_sentence(server, run, tmp_path):
    code, _, err = run(f"/save {tmp_path}/missing/x\n", server.url)
    assert code == 2
    assert "No such file" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["record", "save"])
def test_a_file_name_that_can_not_exist_is_one_sentence(server, run, command):
    code, _, err = run(f"/{command} a\0b\n", server.url)
    assert code == 2
    assert "null" in err
    assert "Traceback" not in err


def test_a_recording_of_a_running_client_can_be_replayed(server, run, tmp_path):
    path = tmp_path / "session.jsonl"
    script = f"add :=1 :=1\n/record {path}\nadd :=2 :=2\n/record\nadd :=3 :=3\n/record\n"
    code, out, err = run(script, server.url, "--protocol", "jsonrpc")
    assert (code, out) == (0, ["2", "4", "6"])
    assert "nothing is recorded" in err
    with testing.Replay(path, strict=False) as replay:
        assert run("add :=2 :=2\n", replay.url, "--protocol", "jsonrpc")[:2] == (0, ["4"])


def test_after_close_a_new_connection_can_be_opened(server, run):
    code, out, err = run('/close 1000 done\n/reconnect\n"again"\n', server.url)
    assert (code, out) == (0, ["again"])
    assert "* closed; /reconnect" in err


def test_a_script_connects_again(server, run):
    def script():
        yield "/reconnect\n"
        for _ in range(2):
            server.opened.get(timeout=LONG)
        yield '"again"\n'

    assert run(script(), server.url, "--retry", "5")[:2] == (0, ["again"])


def test_a_script_renews_its_connection(server, run):
    code, out, err = run('/renew\n"again"\n', server.url, "--retry", "5")
    assert (code, out) == (0, ["again"])
    assert "* a new connection has replaced the old one" in err
    for _ in range(2):
        server.opened.get(timeout=LONG)


def test_a_renewal_needs_attempts_to_connect_again(server, run):
    code, _, err = run("/renew\n", server.url)
    assert code == 2
    assert "--retry" in err


def test_a_request_after_the_close_has_an_error(server, run):
    code, out, err = run("/close\nadd :=1\n", server.url, "--protocol", "jsonrpc")
    assert (code, out) == (5, [])
    assert "wsclient: request 1: The client " in err
    assert "it is sent when the connection is open" not in err


@NEEDS_FULL_DISK
def test_a_recording_that_can_not_be_written_does_not_end_a_script(server, run):
    code, out, err = run('/record /dev/full\n"x"\n', server.url)
    assert (code, out) == (0, ["x"])
    assert "The recording has ended: " in err
    assert "No space left" in err


@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("add :=1 :=2\nsilence\n", ("--protocol", "jsonrpc")),  # while it waits for a reply
        ('"first"\n/text {"method": "silence"}\n', ("--wait", str(LONG))),  # while it waits for a message
    ],
)
def test_a_stdout_that_can_not_be_written_ends_a_script(server, run, monkeypatch, script, options):
    monkeypatch.setattr(sys, "stdout", FullDisk())
    code, _, err = run(script, server.url, *options)
    assert code == 2
    assert "No space left" in err


def test_a_stdout_that_can_not_be_written_at_the_end_is_an_error_too(server, run, monkeypatch):
    is_printing = threading.Event()

    def wait():
        is_printing.set()
        eventually(lambda: not server.connections)  # the shell has closed its connection

    def script():
        yield '"x"\n'
        assert is_printing.wait(LONG)

    monkeypatch.setattr(sys, "stdout", FullDisk(wait))
    code, _, err = run(script(), server.url, "--wait", "0")
    assert code == 2
    assert "No space left" in err


@pytest.fixture
def run_until_shown(monkeypatch):
    """Runs the shell with one line, and ends the script when a message is shown; returns as ``run``, without waiting
    for further messages.
    """

    def run_script(line, url, *options):
        commands, shown = Commands(monkeypatch), []

        def script():
            yield line
            shown.append(commands.out.line())

        code, out, err = commands.run("shell", url, "--wait", "0", *options, stdin=Script(script()))
        return code, shown + out, err

    return run_script


def test_a_subscription_is_sent_and_its_messages_are_printed(server, run_until_shown):
    code, out, _ = run_until_shown('/sub {"method": "event", "params": 1}\n', server.url)
    assert (code, out) == (0, ['{"event": 1}'])


def test_a_script_with_a_subscription_waits_for_further_messages(run):
    at_end = threading.Event()

    def tick(connection, message):
        assert at_end.wait(LONG)
        for number in range(3):
            connection.send(str(number))
            threading.Event().wait(0.03)
        connection.close()

    def script():
        yield "/sub 5\n"
        at_end.set()

    with Server(tick) as server:
        code, out, _ = run(script(), server.url, "--wait", str(LONG))
    assert code == 5
    assert out == ["0", "1", "2"][: len(out)]  # messages that arrive just before the end may not be shown


def phoenix(connection, message):
    """Confirms a join, and sends an event of its channel."""
    join_ref, ref, topic, _, _ = json.loads(message)
    connection.send(json.dumps([join_ref, ref, topic, "phx_reply", {"status": "ok", "response": {}}]))
    connection.send(json.dumps([join_ref, None, topic, "tick", {"n": 1}]))


def test_events_that_only_a_subscription_receives_are_printed(run_until_shown):
    with Server(phoenix) as server:
        line = '/sub {"topic": "room", "event": "phx_join"}\n'
        code, out, err = run_until_shown(line, server.url, "--protocol", "phoenix")
    assert code == 0
    assert [json.loads(line)["event"] for line in out] == ["tick"]
    assert any(line.startswith("* subscribed after ") for line in err)


class Topics(wsclient.JsonRpc):
    """A protocol of the user. It knows only requests with a topic."""

    def stream_of(self, request, id, reply=None):
        return request["topic"]


def test_a_subscription_that_is_no_request_of_the_protocol_is_sent_as_it_is(run):
    with Server(lambda _, text: text) as server:
        run("/sub 5\n", server.url, "--protocol", f"{__name__}:Topics", "--wait", "0")
        assert server.wait_for(1) == ["5"]


def test_every_frame_is_printed_with_vv_although_the_shell_records(server, run):
    code, out, err = run('{"x": 2}\n', server.url, "-vv")
    assert (code, out) == (0, ['{"x": 2}'])
    assert '> {"x":2}' in err
    assert '< {"x":2}' in err


def test_one_argument_too_many_is_an_error(server, run, monkeypatch, tmp_path):
    code, _, err = run("", server.url, "more")
    assert code == 2
    assert "Traceback" not in err
    (tmp_path / "profiles.toml").write_text(f'[home]\nurl = "{server.url}"\n')
    monkeypatch.setattr(profiles, "profiles_path", lambda: tmp_path / "profiles.toml")
    code, _, err = run("", "more", "--profile", "home")
    assert (code, err) == (2, "wsclient: 'more' is one argument too many.\n")


def test_neither_parsing_nor_scripts_import_prompt_toolkit():
    program = "import sys, wsclient.cli.shell; sys.exit('prompt_toolkit' in sys.modules or 'rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
