"""``wsclient call``: replies on stdout, everything else on stderr, and the exit code."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import threading

import pytest

from wsclient.cli import app, main
from wsclient.testing import Server

from ..support import LONG, SHORT, eventually
from ..support.home_assistant import Home
from ..support.obs import Obs
from ..support.standin import running


def answer(connection, message):
    """A server of several methods; the reply to ``slow`` comes after the next one."""
    request = json.loads(message)
    method, id = request.get("method"), request.get("id")
    if method == "fail":
        return {"jsonrpc": "2.0", "id": id, "error": {"code": -32000, "message": "no such thing"}}
    if method == "many":
        for n in range(3):
            connection.send(json.dumps({"id": id, "n": n, "state": "ready" if n == 2 else "waiting"}))
        return None
    if method == "leave":
        connection.close(1011, "enough")
        return None
    if method == "silent":
        return None
    return {"jsonrpc": "2.0", "id": id, "result": request.get("params")}


@pytest.fixture
def server():
    with Server(answer) as server:
        yield server


def test_a_call_prints_the_result_as_one_line(server, capsys):
    assert main(["call", "--protocol", "jsonrpc", server.url, "echo", "a:=1", "b=ü\n"]) == 0
    out, err = capsys.readouterr()
    assert out == '{"a": 1, "b": "ü\\n"}\n'
    assert err == ""


def test_parameters_can_be_data_and_unnamed(server, capsys):
    assert main(["call", "--protocol", "jsonrpc", server.url, "echo", "-d", "[1, 2]"]) == 0
    assert main(["call", "--protocol", "jsonrpc", server.url, "echo", ":=1", "=x"]) == 0
    assert capsys.readouterr().out == '[1, 2]\n[1, "x"]\n'


def test_options_may_stand_behind_arguments(server, capsys):
    assert main(["call", server.url, "echo", "a:=1", "--timeout", "5", "b:=2"]) == 0
    assert json.loads(capsys.readouterr().out)["result"] == {"a": 1, "b": 2}


def test_an_error_of_the_server_is_exit_code_1(server, capsys):
    assert main(["call", "--protocol", "jsonrpc", server.url, "fail"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "wsclient: The server answered with error -32000: no such thing\n"


def test_without_a_protocol_the_first_message_is_printed(capsys):
    with Server(lambda connection, message: f"not json, {message}") as server:
        assert main(["call", server.url, "-d", '{"id": 1, "method": "x"}']) == 0
        assert main(["call", server.url, "--data", "5"]) == 0
    assert capsys.readouterr().out == 'not json, {"id":1,"method":"x"}\nnot json, 5\n'


def test_an_event_before_the_reply_is_not_printed(capsys):
    with Server(lambda connection, message: connection.send('{"event": 1}') or answer(connection, message)) as server:
        assert main(["call", server.url, "echo", "a:=1"]) == 0
    assert json.loads(capsys.readouterr().out)["result"] == {"a": 1}


def test_bytes_are_printed_as_base64_or_raw(capfdbinary, tmp_path):
    (tmp_path / "data").write_bytes(b"\xff\x00\n")
    with Server() as server:
        assert main(["call", server.url, "--data", f"@{tmp_path / 'data'}"]) == 0
        assert main(["call", server.url, "--data", f"@{tmp_path / 'data'}", "--raw"]) == 0
    assert capfdbinary.readouterr().out == b"/wAK\n\xff\x00\n"


def test_lines_of_stdin_are_pipelined_and_printed_in_order(server, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"[{n}]\n" for n in range(300))))
    assert main(["call", "--protocol", "jsonrpc", server.url, "echo", "-d", "-"]) == 0
    assert capsys.readouterr().out == "".join(f"[{n}]\n" for n in range(300))
    assert server.opened.qsize() == 1


def test_unordered_replies_have_the_index_of_their_line(capsys, monkeypatch):
    held = []

    def reorder(connection, message):
        held.append(message)
        if len(held) == 3:
            for n in (1, 0, 2):
                connection.send(held[n])

    monkeypatch.setattr(sys, "stdin", io.StringIO('{"n": 0}\n{"n": 1}\n{"n": 2}\n'))
    with Server(reorder) as server:
        assert main(["call", "--protocol", "id=id", server.url, "-d", "-", "--unordered"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["index"], line["reply"]["n"]) for line in lines] == [(1, 1), (0, 0), (2, 2)]


def test_an_unordered_reply_may_come_late(capsys, monkeypatch):
    def answer_late(connection, message):
        threading.Event().wait(SHORT)  # many times _POLL
        return message

    monkeypatch.setattr("wsclient.cli.call._POLL", SHORT / 100)
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"n": 0}\n'))
    with Server(answer_late) as server:
        assert main(["call", "--protocol", "id=id", server.url, "-d", "-", "--unordered"]) == 0
    assert json.loads(capsys.readouterr().out)["reply"]["n"] == 0


def test_lines_without_a_protocol_give_as_many_messages(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("1\n2\n3\n"))
    with Server() as server:
        assert main(["call", server.url, "-d", "-"]) == 0
    assert capsys.readouterr().out == "1\n2\n3\n"


def test_one_error_of_many_is_reported_with_its_line_and_the_others_are_printed(server, capsys, monkeypatch):
    requests = [{"method": "echo", "params": [1]}, {"method": "fail"}, {"method": "echo", "params": [3]}]
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{json.dumps(one)}\n" for one in requests)))
    assert main(["call", "--protocol", "jsonrpc", server.url, "-d", "-"]) == 1
    out, err = capsys.readouterr()
    assert out == "[1]\n[3]\n"
    assert err.startswith("wsclient: request 2: The server answered with error -32000: no such thing")


def test_an_error_of_an_unordered_request_has_the_index_of_its_line(server, capsys, monkeypatch):
    requests = [{"method": "echo", "params": [1]}, {"method": "fail"}]
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{json.dumps(one)}\n" for one in requests)))
    assert main(["call", "--protocol", "jsonrpc", server.url, "-d", "-", "--unordered"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out) == {"index": 0, "reply": [1]}
    assert err == "wsclient: request with index 1: The server answered with error -32000: no such thing\n"


@pytest.mark.parametrize("arguments", [["--protocol", "jsonrpc", "echo"], []])
def test_a_line_that_comes_late_is_answered_too(arguments, capsys, monkeypatch):
    def slow():
        yield "[1]\n"
        threading.Event().wait(SHORT)
        yield "[2]\n"

    monkeypatch.setattr(sys, "stdin", slow())
    with Server(answer if arguments else None) as server:
        assert main(["call", server.url, *arguments, "-d", "-"]) == 0
    assert capsys.readouterr().out == "[1]\n[2]\n"


def test_the_timeout_begins_when_the_last_line_is_sent(capsys, monkeypatch):
    def slow():
        threading.Event().wait(4 * SHORT)
        yield "[1]\n"

    def answer_late(connection, message):
        threading.Event().wait(SHORT)  # longer than one poll of the command
        return message

    monkeypatch.setattr(sys, "stdin", slow())
    with Server(answer_late) as server:
        assert main(["call", server.url, "-d", "-", "--timeout", str(3 * SHORT)]) == 0
    assert capsys.readouterr().out == "[1]\n"


def test_skipped_messages_do_not_extend_the_timeout(capsys):
    ended = threading.Event()

    def tick(connection, message):
        with contextlib.suppress(Exception):  # the client has left
            while not ended.wait(SHORT / 20):
                connection.send("{}")

    watch = threading.Timer(LONG, ended.set)
    watch.start()
    with Server(tick) as server:
        assert main(["call", server.url, "-d", "1", "--until", "n=1", "--timeout", str(3 * SHORT)]) == 4
        assert not ended.is_set()
        ended.set()
    watch.cancel()


def test_a_lost_connection_ends_it_while_stdin_is_open(server, capsys, monkeypatch):
    ended = threading.Event()
    was_read = threading.Event()

    def open_stdin():
        yield '{"method": "leave"}\n'
        ended.wait(LONG)
        was_read.set()

    monkeypatch.setattr(sys, "stdin", open_stdin())
    assert main(["call", "--protocol", "jsonrpc", server.url, "-d", "-"]) == 5
    assert not was_read.is_set()
    ended.set()
    assert "enough" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--protocol", "jsonrpc", "echo"], []])
def test_a_line_that_is_not_json_ends_it(arguments, server, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("[\n"))
    assert main(["call", server.url, *arguments, "-d", "-"]) == 2
    assert capsys.readouterr().err.startswith("wsclient: line 1 of stdin is not JSON: ")


def test_until_skips_messages_without_a_protocol_too(capsys):
    with Server(lambda connection, message: connection.send('{"n": 1}') or {"n": 2}) as server:
        assert main(["call", server.url, "-d", "1", "--until", "n=2"]) == 0
    assert json.loads(capsys.readouterr().out) == {"n": 2}


def test_until_skips_acknowledgements(server, capsys):
    assert main(["call", server.url, "many", "--until", "state=ready"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 2


def test_all_prints_every_reply(server, capsys):
    assert main(["call", server.url, "many", "--all", "--until", "state=ready"]) == 0
    assert [json.loads(line)["n"] for line in capsys.readouterr().out.splitlines()] == [0, 1, 2]


# --- exit codes ------------------------------------------------------------------------------------------------------


def test_a_server_that_does_not_listen_is_exit_code_3(capsys):
    with Server() as server:
        url = server.url
        server.stop()
        assert main(["call", url, "x"]) == 3
    assert re.fullmatch(r"wsclient: Could not connect to \S+: .*\n", capsys.readouterr().err)


def test_a_refused_upgrade_is_exit_code_3(capsys):
    with Server(process_request=lambda connection, request: connection.respond(403, "no")) as server:
        assert main(["call", server.url, "x"]) == 3
    assert "403" in capsys.readouterr().err


def test_a_reply_that_does_not_come_is_exit_code_4(server, capsys):
    assert main(["call", server.url, "silent", "--timeout", "0.5"]) == 4
    assert main(["call", server.url, "-d", '{"method": "silent"}', "--timeout", "0.5"]) == 4
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_lost_connection_is_exit_code_5(server, capsys):
    assert main(["call", server.url, "leave"]) == 5
    assert main(["call", server.url, "-d", '{"method": "leave"}']) == 5
    for line in capsys.readouterr().err.splitlines():
        assert line.startswith("wsclient: ")


def test_retry_waits_for_a_server_that_starts_later(server):
    server.stop()
    later = threading.Timer(SHORT, server.start)
    later.start()
    assert main(["call", "--retry", "forever", server.url, "echo", "a:=1"]) == 0
    later.join(LONG)


def test_retry_limits_the_attempts(server, capsys):
    server.stop()
    assert main(["call", "-v", "--retry", "1", server.url, "echo"]) == 3
    assert capsys.readouterr().err.count("next attempt") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Which URL?"),
        (["ftp://x", "m"], "is not a WebSocket URL"),
        (["ws://x"], "What is to be sent?"),
        (["ws://x", "-d", "{"], "--data is not JSON"),
        (["ws://x", "m", "a"], "'a' is not a parameter"),
        (["ws://x", "m", "--protocol", "soap"], "There is no protocol 'soap'"),
        (["ws://x", "m", "--protocol", "json:nothing"], "can't be imported"),
        (["ws://x", "m", "--protocol", "json:dumps"], ""),
        (["ws://x", "m", "--protocol", "json:decoder"], "is not a wsclient.Protocol, but module"),
        (["ws://x", "m", "--protocol", "ha"], "needs a token"),
        (["ws://x", "m", "--profile", "nothing"], "profile"),
        (["ws://x", "m", "-H", "no colon"], "is not a header"),
        (["ws://x", "m", "--auth", "no-colon"], "USER:PASS"),
        (["ws://x", "m", "--ca", "/no/such/file"], "--ca /no/such/file can't be read"),
        (["ws://x", "m", "--timeout", "no"], "'--timeout'"),
        (["ws://x", "m", "--retry", "often"], "--retry must be"),
        (["ws://x", "-d", "@/no/such/file"], "/no/such/file"),
        (["ws://x", "m", "--no-such-option"], "--no-such-option"),
        (["ws://x", "m", "--until", "x"], "is not a condition"),
        (["ws://x", "m", "--proxy", "gopher://x"], "proxy"),
        (["ws://x", "m", "a=1", "-d", "1"], "not both"),
        (["ws://x", "m", "a=1", "-d", "-"], "come from stdin"),
        (["ws://x", "-d", "1", "--all"], "--all needs METHOD or --protocol"),
        (["ws://x", "-d", "-", "--unordered"], "--unordered needs METHOD or --protocol"),
        (["ws://x", "m", "--unordered"], "--unordered needs --data -"),
        (["ws://x", "m", "-d", "-", "--unordered", "--all"], "leave out --all or --unordered"),
        (["ws://x", "m", "--key", "k.pem"], "--key needs --cert"),
        (["ws://x", "m", "--key", "k.pem", "--ca", __file__], "--key needs --cert"),
        (["ws://x", "m", "--cert", __file__], "can't be used"),
        (["ws://x", "m", "--ca", __file__], f"--ca {__file__} can't be used"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, sentence, capsys, monkeypatch):
    monkeypatch.delenv("HASS_TOKEN", raising=False)
    assert main(["call", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    assert err.startswith("wsclient: ")
    assert len(err.splitlines()) == 1


# --- shared options --------------------------------------------------------------------------------------------------


def test_headers_authentication_and_origin_are_sent(server):
    arguments = ["-H", "X-Team: blue", "--auth", "me:pw", "--origin", "https://o.example"]
    assert main(["call", *arguments, server.url, "echo"]) == 0
    headers = server.opened.get().request.headers
    assert (headers["X-Team"], headers["Authorization"], headers["Origin"]) == (
        "blue",
        "Basic bWU6cHc=",
        "https://o.example",
    )


@pytest.mark.parametrize("option", [("--auth", "me:pw"), ("--token-cmd", "echo t0k")])
def test_an_option_replaces_a_header_of_the_same_name_in_any_case(option, server):
    assert main(["call", "-H", "authorization: old", *option, server.url, "echo"]) == 0
    [value] = server.opened.get().request.headers.get_all("Authorization")
    assert value != "old"


@pytest.mark.parametrize(
    ("options", "url", "code"),
    [
        ([], "ftp://me:hunter2@h/?token=hunter2", 2),
        ([], "me:hunter2@h:bad/?token=hunter2", 2),
        ([], "me:hunter2/@h", 2),
        (["-H", "Authorization Bearer hunter2"], "ws://x", 2),
        (["-v"], "me:hunter2@127.0.0.1:{port}/?token=hunter2", 0),
    ],
)
def test_secrets_of_urls_and_headers_are_not_printed(options, url, code, server, capsys):
    assert main(["call", *options, url.format(port=server.port), "echo"]) == code
    assert "hunter2" not in capsys.readouterr().err


def test_the_output_of_the_token_command_is_the_bearer(server):
    command = f'"{sys.executable}" -c "print(\'t0k\')"'
    assert main(["call", "--token-cmd", command, server.url, "echo"]) == 0
    assert server.opened.get().request.headers["Authorization"] == "Bearer t0k"


def test_a_token_command_that_fails_is_reported_with_its_exit_code(server, capsys):
    command = f'"{sys.executable}" -c "raise SystemExit(7)"'
    assert main(["call", "--token-cmd", command, server.url, "echo"]) != 0
    assert "exit code 7" in capsys.readouterr().err


def test_a_certificate_is_verified_unless_insecure_is_given(capsys, tmp_path):
    with Server(answer, tls=True) as server:
        assert main(["call", server.url, "echo"]) == 3
        assert "with --ca" in capsys.readouterr().err
        assert main(["call", "-k", server.url, "echo"]) == 0
        assert "NOT verified" in capsys.readouterr().err


def after_notice(capsys, pattern, answer=answer):
    """A handler that answers when stderr has this: the hook thread prints it, if the connection is still open."""

    def handle(connection, message):
        parts = []
        eventually(lambda: parts.append(capsys.readouterr().err) or re.search(pattern, "".join(parts)))
        return answer(connection, message)

    return handle


def test_subprotocol_and_compression(capsys):
    notice = r"connected to wss://\S+ \(\S+\) TLSv\S+ \S+ subprotocol chat\n"
    with Server(after_notice(capsys, notice, lambda _, message: message), subprotocols=["chat"], tls=True) as server:
        assert main(["call", "-vk", "--subprotocol", "chat", "--no-compression", server.url, "-d", "1"]) == 0
        connection = server.opened.get()
        assert connection.subprotocol == "chat"
        assert "Sec-WebSocket-Extensions" not in connection.request.headers


def test_a_message_that_is_too_large_ends_the_connection(capsys):
    with Server(lambda connection, message: "x" * 2000) as server:
        assert main(["call", "--max-size", "1000", server.url, "-d", "1"]) != 0
    assert "limit of 1000 bytes; raise --max-size to accept it." in capsys.readouterr().err


def test_verbose_prints_connections_and_twice_every_frame_redacted(server, capsys):
    with Server(after_notice(capsys, r"\* connected to ws://127\.0\.0\.1:\d+")) as other:
        assert main(["call", "-v", other.url, "echo", "password=hunter2"]) == 0
    assert "hunter2" in capsys.readouterr().out
    assert main(["call", "-vv", server.url, "echo", "password=hunter2"]) == 0
    err = capsys.readouterr().err
    assert re.search(r' > {.*"method":"echo".*"password":', err)
    assert "< " in err
    assert "hunter2" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="no Unix sockets")
def test_a_unix_socket_has_no_address_to_show(tmp_path, capsys):
    with Server(after_notice(capsys, r"\* connected to unix://\S+\n"), path=str(tmp_path / "s")) as server:
        assert main(["call", "-v", "--no-compression", server.url, "echo"]) == 0


def test_a_url_that_was_completed_is_shown_with_verbose(server, capsys):
    assert main(["call", "-v", f"localhost:{server.port}", "echo"]) == 0
    assert f"* the URL localhost:{server.port} means ws://localhost:{server.port}\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "options", "environment"),
    [
        ("ha", [], {"HASS_TOKEN": "t0k"}),
        ("ha", ["--token-cmd", f'"{sys.executable}" -c "print(\'t0k\')"'], {}),
        ("obs", [], {"OBS_WEBSOCKET_PASSWORD": "t0k"}),
        ("obs", ["--token-cmd", f'"{sys.executable}" -c "print(\'t0k\')"'], {}),
    ],
)
def test_protocols_that_log_in_get_their_secret(name, options, environment, capsys, monkeypatch):
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    stand_in, method = {"ha": (Home, "ping"), "obs": (Obs, "GetSceneList")}[name]
    with running(stand_in("t0k").handle, subprotocols=["obswebsocket.json"] if name == "obs" else None) as url:
        assert main(["call", "--protocol", name, *options, url, method]) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize("line", ["", "import os; os.chdir('/')", "import sys; del sys.path[0]"])
def test_a_protocol_of_the_user_is_imported(server, capsys, tmp_path, monkeypatch, line):
    (tmp_path / "my_protocol.py").write_text(f"import wsclient\n{line}\nclass Mine(wsclient.JsonRpc): pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_protocol", raising=False)
    before = sys.path[:]
    assert main(["call", "--protocol", "my_protocol:Mine", server.url, "echo", "a:=1"]) == 0
    assert sys.path == before
    assert capsys.readouterr().out == '{"a": 1}\n'


# --- as a process ----------------------------------------------------------------------------------------------------


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "wsclient", *arguments], capture_output=True, text=True, timeout=LONG, **options
    )


def test_help_version_and_usage():
    shown = run("--help")
    assert shown.returncode == 0
    assert all(command in shown.stdout for command in ("call", "listen", "probe", "record", "replay", "bench", "shell"))


def test_without_a_command_the_help_is_shown_and_the_exit_code_is_2(capsys):
    assert main([]) == 2
    assert "Usage: wsclient" in capsys.readouterr().err
    assert main(["nothing"]) == 2
    assert capsys.readouterr().err.startswith("wsclient: There is no command 'nothing'; known are: call, ")


@pytest.mark.parametrize(("module", "arguments"), [("click", ["--help"]), ("rich", ["demo"])])
def test_a_missing_package_is_named_with_the_command_that_installs_it(module, arguments, capsys, monkeypatch):
    imported = ("wsclient.cli.app", "wsclient.cli.demo", "wsclient.cli.screen", f"{module}.", module)
    for name in [name for name in sys.modules if name.startswith(imported)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"This command needs {module}: pip install 'wsclient-sdk[cli]'\n"


def test_a_defect_of_the_package_is_no_missing_extra(monkeypatch):
    monkeypatch.setitem(app._COMMANDS, "defect", "a command without a module")
    with pytest.raises(ModuleNotFoundError, match=r"wsclient\.cli\.defect"):
        main(["defect"])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_is_installed_where_the_shell_finds_it(shell, capsys, tmp_path, monkeypatch):
    for variable in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    assert main(["--install-completion", shell]) == 0
    path = next(path for path in tmp_path.rglob("*") if path.is_file())
    assert "_WSCLIENT_COMPLETE" in path.read_text()
    assert str(path) in capsys.readouterr().out


@pytest.mark.slow
def test_commands_options_and_protocols_are_completed():
    def complete(words, position):
        environment = {**os.environ, "_WSCLIENT_COMPLETE": "bash_complete"}
        environment |= {"COMP_WORDS": words, "COMP_CWORD": str(position)}
        return run(env=environment).stdout

    assert "call" in complete("wsclient ca", 1)
    assert "--protocol" in complete("wsclient call --proto", 2)
    assert "jsonrpc" in complete("wsclient call --protocol j", 3)
    assert "forever" in complete("wsclient call --retry f", 3)
    assert "forever" not in complete("wsclient call --retry 5", 3)
