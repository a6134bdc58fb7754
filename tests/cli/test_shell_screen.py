"""The screen of ``wsclient shell``, and the shell with it, in this process."""

import concurrent.futures
import contextlib
import io
import sys
import threading

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input import create_pipe_input

import wsclient
from wsclient.cli import main, shell_screen
from wsclient.cli.shell_input import Call, SlashCommand
from wsclient.cli.shell_screen import Screen
from wsclient.cli.vocabulary import Vocabulary

from ..support import LONG, SHORT, eventually
from ..support.shells import ALT_ENTER, CTRL_C, CTRL_D, ENTER, TAB

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="prompt_toolkit needs a console there")


class Terminal(io.StringIO):
    """A standard stream, and the keys of its user."""

    def __init__(self, keys):
        super().__init__()
        self._keys = keys

    def isatty(self):
        return True

    def type(self, *keys):
        self._keys.send_text("".join(keys))

    def shows(self, text):
        """Wait for a text; only what changes is written, so it must be new at its place."""
        eventually(lambda: text in self.getvalue())

    @contextlib.contextmanager
    def user(self, function):
        """Call a function on another thread; then clear the line and end the shell."""

        def use():
            try:
                function()
            finally:
                self.type(CTRL_C, CTRL_D)

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            using = pool.submit(use)
            yield
            using.result()


@pytest.fixture
def terminal_of_test(monkeypatch, tmp_path):
    """``with terminal_of_test(**environment) as terminal``: stdin, stdout and stderr are this terminal."""

    @contextlib.contextmanager
    def replace(**environment):
        with monkeypatch.context() as patch, create_pipe_input() as keys, create_app_session(input=keys):
            patch.setenv("TERM", "xterm")
            patch.setenv("NO_COLOR", "1")
            patch.setenv("PROMPT_TOOLKIT_NO_CPR", "1")  # it does not report the position of the cursor
            patch.setenv("XDG_STATE_HOME", str(tmp_path))  # for the history
            for name, value in environment.items():
                patch.setenv(name, str(value))
            terminal = Terminal(keys)
            for name in ("stdin", "stdout", "stderr"):
                patch.setattr(sys, name, terminal)
            yield terminal

    return replace


def screen(perform=pytest.fail, *, status=list, vocabulary=None):
    return Screen(status, perform, vocabulary or Vocabulary(), InMemoryHistory(), has_color=False)


def test_standard_streams_are_a_terminal_that_shows_its_text_above_the_input(terminal_of_test):
    with terminal_of_test() as terminal:
        with screen():
            assert sys.stdout is not terminal
            assert sys.stderr is not terminal
            assert sys.stdout.isatty()
            assert sys.stdout.writable()
            sys.stdout.write("a line\n")
        assert sys.stdout is terminal
        assert terminal.getvalue().endswith("a line\n")


def test_a_screen_that_is_left_before_it_runs_ends_at_once(terminal_of_test):
    with terminal_of_test(), screen() as left:
        left.stop()
        left.run()


def test_an_empty_line_is_no_input(terminal_of_test):
    performed = []
    with terminal_of_test() as terminal, screen(performed.append) as shown:
        terminal.type(ENTER, " ", ENTER, "/ping", ENTER, CTRL_D)
        shown.run()
    assert performed == [SlashCommand("ping", "", 5)]


def test_keys_of_messages_are_completed_after_a_slash_command(terminal_of_test):
    performed, vocabulary = [], Vocabulary()
    vocabulary.learn({"params": 1})

    def use():
        terminal.type('/send {"par', TAB)
        terminal.shows('ams":')
        terminal.type("5}", ENTER)
        eventually(lambda: performed)

    with terminal_of_test() as terminal, screen(performed.append, vocabulary=vocabulary) as shown:
        with terminal.user(use):
            shown.run()
    assert performed == [SlashCommand("send", '{"params": 5}', 6)]


def test_a_thread_that_prints_more_than_the_terminal_shows_waits(terminal_of_test, monkeypatch):
    monkeypatch.setattr(shell_screen, "_MOST_TEXTS", 10)
    is_blocked, may_continue, is_almost_full, has_printed = (threading.Event() for _ in range(4))

    def block():
        """The prompt: the terminal is slow."""
        is_blocked.set()
        may_continue.wait(LONG)
        return []

    def print_lines():
        for _ in range(10):
            sys.stdout.write("a line\n")
        is_almost_full.set()
        sys.stdout.write("the last line\n")
        has_printed.set()

    def use():
        assert is_blocked.wait(LONG)
        printing = threading.Thread(target=print_lines)
        printing.start()
        assert is_almost_full.wait(LONG)
        was_early = has_printed.wait(SHORT)
        may_continue.set()
        printing.join(LONG)
        assert not was_early

    with terminal_of_test() as terminal:
        with screen(status=block) as shown, terminal.user(use):
            shown.run()
        assert terminal.getvalue().count("the last line") == 1


class Broken(wsclient.JsonRpc):
    """A protocol of the user that has a defect."""

    def build(self, *arguments):
        raise RuntimeError("it can't build")


def test_a_defect_is_printed_and_the_shell_continues(server, terminal_of_test):
    def use():
        terminal.type("add :=1", ENTER)
        terminal.shows("RuntimeError: it can't build")
        terminal.shows("* it can't build")
        terminal.type("/text still here", ENTER)
        terminal.shows("< still here")

    with terminal_of_test() as terminal, terminal.user(use):
        assert main(["shell", server.url, "--protocol", f"{__name__}:Broken"]) == 0
    assert "Traceback (most recent call last)" in terminal.getvalue()


def test_what_is_typed_in_a_session(server, terminal_of_test, tmp_path):
    recording = tmp_path / "session.jsonl"

    def use():
        terminal.shows("* the history is not stored")
        terminal.type("/nope", ENTER)
        terminal.shows("There is no command /nope; known are: ")
        terminal.type(CTRL_C, '{"a": [', ENTER, '"next line"')
        terminal.shows('"next line"')
        terminal.type("]}", ENTER, "/text one", ALT_ENTER, "two", ENTER)
        assert server.wait_for(2, LONG) == ['{"a":["next line"]}', "one\ntwo"]
        terminal.type(f"/record {tmp_path}/missing/file", ENTER)
        terminal.shows("file: No such file or directory.")
        terminal.type("/ping", ENTER)
        terminal.shows("rtt ")
        terminal.type(f"/record {recording}", ENTER)
        terminal.shows(", recording")
        terminal.type("/quit", ENTER)

    (tmp_path / "file").touch()
    with terminal_of_test(XDG_STATE_HOME=tmp_path / "file") as terminal, terminal.user(use):
        assert main(["shell", server.url]) == 0


def test_the_history_lacks_lines_with_secrets(server, terminal_of_test, tmp_path):
    def use():
        terminal.type('"my password"', ENTER, '"hello"', ENTER)
        server.wait_for(2, LONG)

    with terminal_of_test() as terminal, terminal.user(use):
        assert main(["shell", server.url]) == 0
    history = (tmp_path / "wsclient" / "history").read_text()
    assert "hello" in history
    assert "password" not in history


def test_an_end_before_the_connection_is_open(terminal_of_test, raw):
    def use():
        terminal.type('"early"', ENTER)
        terminal.shows("1 waiting")

    with terminal_of_test() as terminal, terminal.user(use):
        assert main(["shell", raw.url]) == 0


def test_a_server_that_refuses_for_ever_ends_the_shell(dead, terminal_of_test):
    with terminal_of_test() as terminal:
        assert main(["shell", f"ws://127.0.0.1:{dead}", "--retry", "0"]) == 3
        assert "refused" in terminal.getvalue()


@pytest.mark.parametrize(
    ("keys", "rest", "given"),
    [
        ("/st", "ats", SlashCommand("stats", "", 6)),
        ("tick", ".started", Call("tick.started", None)),
        ("/record a_rec", "ording", SlashCommand("record", "a_recording", 8)),
    ],
)
def test_commands_names_and_files_are_completed(terminal_of_test, monkeypatch, tmp_path, keys, rest, given):
    performed, vocabulary = [], Vocabulary()
    vocabulary.learn_name("tick.started")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_recording").touch()

    def use():
        terminal.type(keys, TAB)
        terminal.shows(rest)
        terminal.type(ENTER)
        eventually(lambda: performed)

    with terminal_of_test() as terminal, screen(performed.append, vocabulary=vocabulary) as shown:
        with terminal.user(use):
            shown.run()
    assert performed == [given]


def test_a_screen_may_be_left_twice(terminal_of_test):
    def leave(given):
        shown.stop()
        shown.stop()

    with terminal_of_test() as terminal, screen(leave) as shown:
        terminal.type("/ping", ENTER)
        shown.run()


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_stream_that_is_no_terminal_is_not_replaced(terminal_of_test, monkeypatch, name):
    with terminal_of_test() as terminal:
        file = io.StringIO()
        monkeypatch.setattr(sys, name, file)
        with screen():
            getattr(sys, name).write("a line\n")
        assert file.getvalue() == "a line\n"
        assert "a line" not in terminal.getvalue()
