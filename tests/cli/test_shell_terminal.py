"""``wsclient shell`` in a pseudo-terminal, with the screen that its user sees."""

import json
import re
import stat
import sys

import pytest

from wsclient import testing

from ..support import LONG, Server, eventually
from ..support.shells import (
    ALT_ENTER,
    CTRL_A,
    CTRL_C,
    CTRL_D,
    ENTER,
    NEEDS_TERMINAL,
    ROOT,
    TAB,
    UP,
    shells,
    terminal_of,
)

pytestmark = [pytest.mark.slow, *NEEDS_TERMINAL]

COLOR = re.compile(r"\x1b\[[0-9;]*3[0-7]m")


@pytest.fixture
def shell(tmp_path):
    """Starts the shell and waits until it is connected."""
    with shells(tmp_path) as start:
        yield start


def prompt_is(text):
    """Whether the cursor is at the end of a line of input."""
    return lambda terminal: terminal.cursor.rstrip() == f"> {text}".rstrip()


def test_messages_that_arrive_do_not_break_the_line_being_typed(server, shell):
    terminal = shell(server.url)
    connection = server.opened.get(timeout=LONG)
    typed = '{"number": '
    for count, key in enumerate(typed):
        terminal.type(key)
        connection.send(json.dumps({"event": count}))
    terminal.shows('< {"event": 10}')
    terminal.until(prompt_is(typed))
    terminal.type("5}", ENTER)
    terminal.shows('> {"number": 5}')
    terminal.shows('< {"number": 5}')
    assert COLOR.search(terminal.raw.partition("number")[2])
    assert server.wait_for(1) == ['{"number":5}']
    events = [line for line in terminal.all_lines if "event" in line]
    assert events == [f'< {{"event": {count}}}' for count in range(len(typed))]  # each once, in order, on its own line


def test_many_messages_while_typing(server, shell):
    terminal = shell(server.url, NO_COLOR="1")
    connection = server.opened.get(timeout=LONG)
    for number in range(2000):
        connection.send(f"n{number}")
        if number % 50 == 0:
            terminal.type("x")
            terminal.read(0)
    terminal.shows("n1999")
    terminal.until(prompt_is("x" * 40))
    assert COLOR.search(terminal.raw) is None
    assert [line for line in terminal.all_lines if line.startswith("< n")] == [f"< n{number}" for number in range(2000)]


def test_control_characters_of_the_server_do_not_reach_the_terminal(shell):
    evil = "\x1b]0;title\x07\x1b[2J\r\x9b31m"
    with Server(lambda _, text: json.dumps({"method": evil, evil: evil})) as server:
        terminal = shell(server.url)
        connection = server.opened.get(timeout=LONG)
        connection.send(evil)
        terminal.shows('< "\\u001b]0;title')
        terminal.type('"go"', ENTER)
        terminal.shows('"method"')
        terminal.type('{"', TAB)
        terminal.until(prompt_is('{"method": '))  # and not the other key
        connection.close(1008, evil)
        terminal.shows("* the connection has ended")
    assert "\x1b]0;title" not in terminal.raw
    assert "\x9b" not in terminal.raw


def test_a_resize_keeps_the_line_being_typed(server, shell):
    terminal = shell(server.url)
    connection = server.opened.get(timeout=LONG)
    text = json.dumps({"text": "a long line " * 6})
    terminal.type(text)
    terminal.until(lambda terminal: text in "".join(terminal.lines))
    terminal.resize(50, 20)
    connection.send("after the resize")
    terminal.shows("< after the resize")
    terminal.until(lambda terminal: text in "".join(line.ljust(50) for line in terminal.lines))
    terminal.type(ENTER)
    assert json.loads(server.wait_for(1)[0]) == json.loads(text)
    terminal.resize(120, 30)
    terminal.type('"wide"')
    terminal.until(prompt_is('"wide"'))


def test_ctrl_c_clears_the_line_and_ctrl_d_ends(server, shell):
    terminal = shell(server.url)
    terminal.type('{"half": [1,', ENTER, "2")
    terminal.until(lambda terminal: terminal.cursor.strip() == "2")
    terminal.type(CTRL_C)
    terminal.until(prompt_is(""))
    assert not any("Ctrl-D or" in line for line in terminal.all_lines)
    terminal.type(CTRL_C)
    terminal.shows("* Ctrl-D or /quit ends the shell")
    terminal.type("x", CTRL_A, CTRL_D)  # on a line that is not empty it deletes a character
    terminal.until(prompt_is(""))
    terminal.type(CTRL_D)
    assert terminal.exit_code() == 0
    assert server.received == []


def test_quit_ends_and_closes_the_connection(server, shell):
    terminal = shell(server.url)
    connection = server.opened.get(timeout=LONG)
    terminal.type("/quit", ENTER)
    assert terminal.exit_code() == 0
    eventually(lambda: connection.close_code == 1000)


def test_the_history_comes_back_and_is_private(server, shell, tmp_path):
    terminal = shell(server.url)
    for line in ('"first"', '"my password"', "[1,"):
        terminal.type(line, ENTER)
    terminal.type("2]", ENTER)
    terminal.shows("< [1, 2]")
    terminal.until(prompt_is(""))
    terminal.type(UP)
    terminal.until(lambda terminal: terminal.lines[-2:] == ["> [1,", "  2]"])
    terminal.type(UP, UP)
    terminal.until(prompt_is('"my password"'))  # until the end of the shell
    terminal.type(CTRL_C, CTRL_D)
    assert terminal.exit_code() == 0
    path = tmp_path / ".local" / "state" / "wsclient" / "history"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "password" not in path.read_text()
    terminal = shell(server.url)
    terminal.type(UP)
    terminal.until(lambda terminal: terminal.lines[-2:] == ["> [1,", "  2]"])
    terminal.type(UP, UP)
    terminal.until(prompt_is('"first"'))


def test_a_history_that_can_not_be_stored_is_a_warning(server, shell, tmp_path):
    (tmp_path / "file").write_text("")
    terminal = shell(server.url, XDG_STATE_HOME=str(tmp_path / "file"))
    terminal.shows("* the history is not stored")
    terminal.type('"x"', ENTER)
    terminal.shows("< x")


def test_input_of_several_lines(server, shell):
    terminal = shell(server.url)
    terminal.type('{"a": [', ENTER)
    terminal.until(lambda terminal: terminal.lines[-1] == '> {"a": [' and not terminal.cursor.strip())
    terminal.type("1", ENTER, "]}", ENTER)
    terminal.type("/text one", ALT_ENTER, "two", ENTER)
    assert server.wait_for(2) == ['{"a":[1]}', "one\ntwo"]


def test_lines_that_are_pasted_are_several_messages(server, shell):
    terminal = shell(server.url)
    terminal.type('\x1b[200~{"a": 1}\n[2,\n3]\n\x1b[201~')
    terminal.until(lambda terminal: terminal.lines[-1].strip() == "3]")
    terminal.type(ENTER)
    assert server.wait_for(2) == ['{"a":1}', "[2,3]"]


def test_a_terminal_without_a_cursor_is_read_as_a_script(server, shell):
    terminal = shell(server.url, is_open=False, TERM="dumb")
    terminal.type("add :=1 :=2\n", CTRL_D)
    assert terminal.exit_code() == 0
    assert '{"id": 1, "result": 3}' in terminal.lines
    assert "\x1b" not in terminal.raw


def test_without_prompt_toolkit_the_command_says_what_to_install(server, tmp_path):
    program = f"""if True:
        import sys
        sys.modules["prompt_toolkit"] = None
        from wsclient.cli import main
        sys.exit(main(["shell", "{server.url}"]))"""
    with terminal_of([sys.executable, "-c", program], PYTHONPATH=ROOT, HOME=str(tmp_path)) as terminal:
        assert terminal.exit_code() == 2
        words = r"This command needs prompt_toolkit[.\w]*: pip install 'wsclient-sdk\[cli\]'"
        assert re.search(words, "".join(terminal.lines))


def test_broken_json_stays_with_the_cursor_at_its_position(server, shell):
    terminal = shell(server.url)
    terminal.type('{"a": [1, 2}', ENTER)
    terminal.shows("This is not JSON: Expecting ',' delimiter at column 12.")
    terminal.until(prompt_is('{"a": [1, 2'))
    terminal.type("]", ENTER)
    assert server.wait_for(1) == ['{"a":[1,2]}']


def test_commands_methods_and_keys_are_completed(server, shell, tmp_path):
    terminal = shell(server.url)
    terminal.type("/pi", TAB)
    terminal.until(prompt_is("/ping"))
    terminal.type(ENTER)
    terminal.shows("pong after")
    server.opened.get(timeout=LONG).send(json.dumps({"method": "tick.started", "params": {"symbol": "X"}}))
    terminal.shows("tick.started")
    terminal.type("tick", TAB)
    terminal.until(prompt_is("tick.started"))
    terminal.type(" sym", TAB)
    terminal.until(prompt_is("tick.started symbol="))
    terminal.type("Y", ENTER)
    terminal.shows('> [1] {"method": "tick.started", "params": {"symbol": "Y"}}')
    terminal.type('{"par', TAB)
    terminal.until(prompt_is('{"params":'))
    terminal.type(CTRL_C, f"/save {tmp_path}/.loc", TAB)
    terminal.until(lambda terminal: ".local" in terminal.lines[-1])


def test_through_a_restart_of_the_server(server, shell):
    terminal = shell(server.url)
    terminal.type('/sub {"op": "sub"}', ENTER)
    server.wait_for(1)
    terminal.type('{"half": ')
    terminal.until(prompt_is('{"half":'))
    server.stop()
    terminal.shows("[waiting]")
    terminal.shows("* the connection has ended")
    terminal.type("1}", ENTER)
    terminal.shows("* not connected now; the message is sent when the connection is open")
    server.start()
    terminal.shows('< {"half": 1}')
    terminal.until(lambda terminal: any(line.startswith("[open]") for line in terminal.lines))
    assert sorted(server.wait_for(3)) == ['{"half":1}', '{"op":"sub"}', '{"op":"sub"}']


def test_it_waits_for_a_server_that_is_not_there_yet(server, shell):
    server.stop()
    terminal = shell(server.url, is_open=False)
    terminal.shows("Connection refused")
    terminal.type('"early"', ENTER)
    terminal.shows("* not connected now")
    server.start()
    terminal.shows("< early")


def test_a_server_that_refuses_for_ever_ends_the_shell(server, shell):
    server.stop()
    terminal = shell(server.url, "--retry", "0", is_open=False)
    assert terminal.exit_code() == 3
    assert "Connection refused" in "".join(terminal.all_lines)


def test_requests_have_numbers_and_times(server, shell):
    terminal = shell(server.url, "--protocol", "jsonrpc")
    terminal.type("silence", ENTER, "add :=1 :=2", ENTER)
    terminal.shows('> [1] {"method": "silence"}')
    terminal.until(
        lambda terminal: any(line.startswith("< [2] ") and line.endswith(" ms 3") for line in terminal.lines)
    )


def test_record_and_save_in_a_running_session(server, shell, tmp_path):
    terminal = shell(server.url, "--protocol", "jsonrpc")
    recording, seen = tmp_path / "session.jsonl", tmp_path / "seen"
    terminal.type("add :=1 :=1", ENTER)
    terminal.shows(" ms 2")
    terminal.type(f"/record {recording}", ENTER)
    terminal.shows("recording")
    terminal.type("add :=2 :=2", ENTER)
    terminal.shows(" ms 4")
    eventually(lambda: '\\"result\\": 4' in recording.read_text())
    terminal.type("/record", ENTER)
    terminal.shows("* recorded to")
    terminal.type(f"/save {seen}", ENTER)
    terminal.shows("Saved 4 messages")
    assert len(seen.read_text().splitlines()) == 4
    with testing.Replay(recording, strict=False) as replay:
        again = shell(replay.url, "--protocol", "jsonrpc")
        again.type("add :=2 :=2", ENTER)
        again.shows(" ms 4")


def test_close_and_reconnect(server, shell):
    terminal = shell(server.url)
    terminal.type("/close 1000 done", ENTER)
    terminal.shows("* closed; /reconnect opens a new connection")
    terminal.until(lambda terminal: any("[closed]" in line for line in terminal.lines))
    terminal.type('"x"', ENTER)
    terminal.shows("is closed")
    terminal.type("/reconnect", ENTER, '"again"', ENTER)
    terminal.shows("< again")


def test_messages_go_to_a_file_while_the_prompt_is_on_the_terminal(server, shell, tmp_path):
    path = tmp_path / "out"
    command = f'exec "{sys.executable}" -m wsclient shell {server.url} > "{path}"'
    with terminal_of(["/bin/sh", "-c", command], PYTHONPATH=ROOT, HOME=str(tmp_path)) as terminal:
        terminal.shows("[open]")
        terminal.type('{"a": 1}', ENTER)
        eventually(lambda: path.read_text() == '{"a": 1}\n')
        terminal.type(CTRL_D)
        assert terminal.exit_code() == 0
    assert path.read_text() == '{"a": 1}\n'
