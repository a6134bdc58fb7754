"""What is printed where: lines on stdout, notices on stderr, colours on terminals only; and the exit codes."""

import io
import json
import logging
import os
import pathlib
import re
import subprocess
import sys

import pytest

import wsclient
from wsclient.cli import main
from wsclient.cli.exits import _SHELL_WORDS, CommandError, ExitCode, exit_code_of, sentence_of
from wsclient.cli.output import Output
from wsclient.cli.tracing import OpenNotice, OutageNotice, frame_line, log_to
from wsclient.testing import Server


class Terminal(io.StringIO):
    def isatty(self):
        return True


def use_terminal(monkeypatch):
    """Make both streams a terminal. Not a fixture: pytest replaces the streams after the fixtures."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ({"a": "ü"}, '{"a": "ü"}'),
        ([1, None], "[1, null]"),
        ("text", "text"),
        ("", ""),
        ("one\ntwo", '"one\\ntwo"'),
        ("end\n", '"end\\n"'),
        (b"\x00\xff", "AP8="),
        (5, "5"),
    ],
)
def test_each_message_is_one_line(message, line):
    assert Output.line(message) == line
    assert len(line.splitlines()) <= 1


def test_colours_and_escapes_are_for_terminals(monkeypatch):
    terminal = use_terminal(monkeypatch)
    Output().message({"a": 1})
    assert "\033[" in terminal.getvalue()
    assert json.loads(plain(terminal.getvalue())) == {"a": 1}
    terminal.seek(terminal.truncate(0))
    Output().message("\033[2Jclear\x9b2J")
    assert terminal.getvalue() == "\\x1b[2Jclear\\x9b2J\n"


def test_colours_that_were_asked_for_count_more_than_no_color():
    program = "from wsclient.cli.output import Output; Output('always').message({'a': None})"
    done = [
        subprocess.run([sys.executable, "-c", program], env={**os.environ, **more}, capture_output=True, check=True)
        for more in ({"NO_COLOR": "1"}, {"NO_COLOR": ""})
    ]
    assert done[0].stdout == done[1].stdout


def test_a_line_with_a_time_is_escaped_too(monkeypatch):
    terminal = use_terminal(monkeypatch)
    Output().message("\033[2Jclear", stamp="12:00 ")
    assert terminal.getvalue() == "12:00 \\x1b[2Jclear\n"


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_a_pipe_gets_utf_8_and_what_has_no_utf_8_is_escaped(encoding, monkeypatch):
    pipe = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", pipe)
    with Server(lambda connection, message: '["\u20ac\U0001f600", "\\ud800"]') as server:
        assert main(["call", server.url, "-d", "1"]) == 0
    assert pipe.buffer.getvalue() == '["\u20ac\U0001f600", "\\ud800"]\n'.encode()


def test_stdin_is_utf_8(monkeypatch, capsys):
    for content, code in ((b'"\xe2\x82\xac"', 0), (b'"\xff"', 2)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), "latin-1"))
        with Server() as server:
            assert main(["call", server.url, "-d", "-"]) == code
    out, err = capsys.readouterr()
    assert out == "\u20ac\n"
    assert err.startswith("wsclient: stdin is not UTF-8: ")


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
def test_a_closed_stream_is_like_dev_null(name, monkeypatch, capsys):
    with Server() as server:
        with monkeypatch.context() as patch:
            patch.setattr(sys, name, None)
            assert main(["call", server.url, "-d", "-" if name == "stdin" else "1"]) == 0
            getattr(sys, name).close()
    assert "Traceback" not in capsys.readouterr().err


def plain(text):
    return re.sub(r"\033\[[0-9;]*m", "", text)


@pytest.mark.parametrize("variable", [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_the_environment_can_forbid_colours(monkeypatch, variable):
    terminal = use_terminal(monkeypatch)
    monkeypatch.setenv(*variable)
    Output().message({"a": 1})
    Output().warn("careful")
    assert terminal.getvalue() == '{"a": 1}\ncareful\n'


def test_colours_can_be_chosen(monkeypatch):
    terminal = use_terminal(monkeypatch)
    Output("never").message({"a": 1})
    assert terminal.getvalue() == '{"a": 1}\n'
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    Output("always").message({"a": 1})
    assert "\033[" in sys.stdout.getvalue()


def test_raw_messages_are_not_changed(monkeypatch):
    terminal = use_terminal(monkeypatch)
    Output(raw=True).message("\033[2J")
    assert terminal.getvalue() == "\033[2J\n"


def test_notices_have_colours_on_a_terminal_and_control_characters_are_escaped(monkeypatch):
    terminal = use_terminal(monkeypatch)
    Output().notice("all \033 is well")
    Output().error("it is not")
    assert terminal.getvalue() == "\033[2mall \\x1b is well\033[0m\n\033[31mit is not\033[0m\n"


def test_a_notice_without_stderr_is_dropped(monkeypatch):
    class Closed(io.StringIO):
        def write(self, text):
            raise OSError(5, "closed")

    monkeypatch.setattr(sys, "stderr", Closed())
    Output().notice("lost")


# --- exit codes ------------------------------------------------------------------------------------------------------


def failed(cause):
    error = wsclient.ClientClosed("The client failed")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommandError("no"), ExitCode.USAGE),
        (CommandError("late", ExitCode.TIMEOUT), ExitCode.TIMEOUT),
        (wsclient.RemoteError(1, "no"), ExitCode.SERVER_ERROR),
        (wsclient.TLSError("no"), ExitCode.NOT_CONNECTED),
        (failed(wsclient.HandshakeError("no")), ExitCode.NOT_CONNECTED),
        (failed(failed(wsclient.HandshakeError("no"))), ExitCode.NOT_CONNECTED),
        (failed(None), ExitCode.CONNECTION_LOST),
        (wsclient.RequestTimeout("no"), ExitCode.TIMEOUT),
        (wsclient.ConnectionLost("no"), ExitCode.CONNECTION_LOST),
        (FileNotFoundError(2, "No such file", "x"), ExitCode.USAGE),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (AssertionError(), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_error_has_an_exit_code_and_a_defect_has_none(error, code):
    assert exit_code_of(error) == code


def test_the_sentence_of_a_file_names_it_and_that_of_a_failed_client_has_the_cause():
    assert sentence_of(FileNotFoundError(2, "No such file", "x.json")) == "x.json: No such file."
    assert sentence_of(failed(wsclient.HandshakeError("status 401"))) == "The client failed status 401"
    assert sentence_of(failed(ValueError("The client failed"))) == "The client failed"


@pytest.mark.parametrize(
    ("arguments", "proxy", "hint"),
    [
        (["-H", "Sec-WebSocket-Protocol: chat"], "", "use --subprotocol."),
        (["-H", "Sec-WebSocket-Extensions: x"], "", "use --compression."),
        ([], "gopher://proxy.test", "set --proxy none to use no proxy."),
    ],
)
def test_a_hint_names_the_option_of_the_command(arguments, proxy, hint, monkeypatch, capsys):
    for name in ("ws_proxy", "http_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    if proxy:
        monkeypatch.setenv("ws_proxy", proxy)
    assert main(["call", *arguments, "ws://server.test", "-d", "1"]) in (2, 3)
    assert capsys.readouterr().err.endswith(f"{hint}\n")


def test_the_words_of_a_user_or_a_server_are_not_changed():
    assert sentence_of(CommandError("'proxy=None' is not JSON.")) == "'proxy=None' is not JSON."
    assert sentence_of(wsclient.RemoteError(1, "proxy=None")).endswith("proxy=None")


def test_a_record_of_the_client_names_the_option_of_the_command(capsys):
    log_to(Output(), logging.WARNING)
    text = "the %s function has not returned for 20.0 s, longer than open_timeout=%g s."
    logging.getLogger("wsclient").warning(text, "headers", 10)
    shown = "* the command of --token-cmd has not returned for 20.0 s, longer than --timeout 10 s.\n"
    assert capsys.readouterr().err == shown


def test_the_words_that_are_replaced_are_those_of_the_library():
    package = pathlib.Path(wsclient.__file__).parent
    sources = [path.read_text(encoding="utf-8") for path in package.rglob("*.py") if path.parent.name != "cli"]
    text = re.sub(r'"\s*\n\s*f?"', "", "".join(sources)).replace("the %s function", "the headers function")
    assert [words for words, _ in _SHELL_WORDS if words not in text] == []


def test_no_connection_is_shown_if_it_has_ended_already(capsys):
    called = []
    OpenNotice(Output(), called.append)(client := wsclient.Client("ws://127.0.0.1:1"))
    assert called == [client]
    assert capsys.readouterr().err == ""


def test_of_several_failed_attempts_the_first_is_reported_and_the_next_connection(capsys):
    called = []
    notice, client = OutageNotice(Output(), called.append), wsclient.Client("ws://127.0.0.1:1")
    notice(client)
    for number in (1, 2):
        notice.failed(client, wsclient.Attempt(wsclient.HandshakeError("Not now."), number, 0.5))
    notice(client)
    notice(client)
    notice.failed(client, wsclient.Attempt(wsclient.HandshakeError("The last."), 1, None))
    assert called == [client] * 3
    first = "wsclient: Not now. Further attempts follow; -v prints each of them."
    assert capsys.readouterr().err.splitlines() == [first, "wsclient: connected."]


# --- frames ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"format": "wsclient-recording"}, None),
        ({"kind": "message", "at": 1.5, "direction": "sent", "text": "hi"}, "    1.500 > hi"),
        ({"kind": "message", "at": 0, "direction": "received", "base64": "AA=="}, "    0.000 < AA=="),
        ({"kind": "ping", "at": 0, "direction": "sent", "base64": ""}, "    0.000 > ping"),
        (
            {"kind": "close", "at": 0, "direction": "received", "code": 1000, "reason": "bye"},
            "    0.000 < close 1000 bye",
        ),
        ({"kind": "failed", "at": 0, "number": 1, "error": "TLSError"}, "    0.000 - failed number=1 error=TLSError"),
    ],
)
def test_each_line_of_a_recording_is_a_line_for_people(entry, line):
    assert frame_line(entry) == line
