"""``wsclient bench`` against servers of the testing kit, in this process."""

import _thread
import io
import json
import logging
import sys
import threading
import xml.etree.ElementTree as ET

import pytest

import wsclient
from tests.support import LONG, Server, eventually
from tests.support.commands import Lines
from tests.support.server import reset
from wsclient.cli import main
from wsclient.cli.load import kind_of
from wsclient.cli.options import Connection


@pytest.fixture(autouse=True)
def _log():
    """A command replaces the handlers of the package's logger."""
    logger = logging.getLogger("wsclient")
    before = (logger.propagate, logger.level, logger.handlers)
    yield
    logger.propagate, logger.level, logger.handlers = before


@pytest.fixture
def server():
    with Server() as one:
        yield one


def bench(capsys, server, *arguments, code=0):
    """Run the command with ``--json``, and return the object."""
    assert main(["bench", server.url, "--json", *arguments]) == code, capsys.readouterr()
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


def failing(capsys, *arguments, code=2):
    """Run a command that must fail, and return its sentence."""
    assert main(["bench", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 1, err
    return err


# --- the models ------------------------------------------------------------------------------------------------------


def test_a_number_of_requests_on_some_connections(capsys, server):
    found = bench(capsys, server, "--data", '{"n":1}', "-n", "50", "-c", "3")
    assert server.received == ['{"n":1}'] * 50
    assert (found["requests"], found["connections"], found["model"]) == (50, 3, "closed")
    assert (found["messages_sent"], found["messages_received"], found["bytes_sent"]) == (50, 50, 350)
    assert (found["errors"], found["unsent"], found["unanswered"], found["reconnects"]) == ({}, 0, 0, 0)
    assert 0 < found["latency_ms"]["min"] <= found["latency_ms"]["p50"] <= found["latency_ms"]["max"]
    assert sum(round(one["requests_per_second"] * found["seconds"]) for one in found["per_second"]) in (49, 50, 51)
    for _ in range(3):
        server.opened.get(timeout=LONG)
    assert server.opened.empty()


def test_the_switch_interval_of_the_interpreter_is_as_before(capsys, server):
    before, during = sys.getswitchinterval(), []
    server.handler = lambda connection, message: during.append(sys.getswitchinterval()) or message
    bench(capsys, server, "--data", "1", "-n", "2", "-c", "1")
    assert sys.getswitchinterval() == before < during[0]


def test_some_time_with_a_warm_up(capsys, server):
    for seconds in (0.2, 2, 20):  # until a reply is in time
        found = bench(capsys, server, "--data", "1", "-t", str(seconds), "--warmup", str(seconds / 2), "-c", "1")
        assert found["seconds"] == pytest.approx(seconds)
        if found["requests"]:
            break
    assert 0 < found["requests"] < len(server.received)


def test_several_requests_in_flight_on_one_connection(capsys):
    waiting, most = [], []

    def answer_in_tens(connection, message):
        waiting.append(message)
        most.append(len(waiting))
        if len(waiting) == 10:
            for one in waiting:
                connection.send(one)
            waiting.clear()

    with Server(answer_in_tens) as server:
        found = bench(capsys, server, "--data", '"x"', "-n", "40", "-c", "1", "--pipeline", "10")
    assert (found["requests"], max(most)) == (40, 10)


def test_calls_of_a_method(capsys, server):
    found = bench(capsys, server, "--call", "add", ":=1", ":=2", "-n", "10", "-c", "2", "--pipeline", "3")
    assert (found["requests"], found["errors"]) == (10, {})
    assert json.loads(server.received[0])["params"] == [1, 2]


@pytest.mark.parametrize("depth", ["1", "100"])
def test_latency_is_counted_from_the_time_at_which_a_request_was_due(capsys, depth):
    """The server stops for 0.3 s. The requests that are due meanwhile, in the first 0.2 s, must all count that, also
    if they are sent later because only one may be in flight."""
    first = threading.Event()

    def stop_once(connection, message):
        if not first.is_set():
            first.set()
            threading.Event().wait(0.3)
        return message

    with Server(stop_once) as server:
        arguments = ("--data", "1", "-n", "40", "-c", "1", "--rate", "200", "--pipeline", depth)
        found = bench(capsys, server, *arguments)
    assert (found["requests"], found["model"], found["rate"]) == (40, "open", 200)
    assert found["latency_ms"]["min"] > 95
    assert found["latency_ms"]["max"] > 295


def test_requests_at_a_rate_that_the_server_can_not_keep_are_reported(capsys):
    release = threading.Event()
    timer = threading.Timer(0.4, release.set)

    def stop(connection, message):
        if not timer.is_alive() and not release.is_set():
            timer.start()
        release.wait(LONG)
        return message

    with Server(stop) as server:
        found = bench(capsys, server, "--data", "1", "-t", "0.2", "-c", "1", "--rate", "100", "--pipeline", "5")
    assert (found["requests"] + found["unsent"], found["errors"]) == (20, {})
    assert 1 <= found["requests"] <= 5
    assert found["requests_per_second"] == 0  # no reply came in time
    assert found["latency_ms"]["min"] > 150


def test_the_rate_is_kept(capsys, server):
    found = bench(capsys, server, "--data", "1", "-n", "20", "--rate", "100", "-c", "4")
    assert found["seconds"] > 0.18
    assert len({connection.id for connection in server.opened.queue}) == 4


# --- errors ----------------------------------------------------------------------------------------------------------


def test_errors_of_the_server_are_counted(capsys):
    def refuse(connection, message):
        return {"jsonrpc": "2.0", "id": json.loads(message)["id"], "error": {"code": -32000, "message": "no"}}

    with Server(refuse) as server:
        found = bench(capsys, server, "--protocol", "jsonrpc", "--call", "add", "-n", "5", "-c", "1", code=1)
    assert (found["errors"], found["requests"]) == ({"error reply": 5}, 0)


@pytest.mark.parametrize("message", [("--data", "1"), ("--call", "echo")])
def test_timeouts_are_counted(capsys, message):
    with Server(lambda connection, message: None) as server:
        found = bench(capsys, server, *message, "-n", "1", "-c", "1", "--timeout", "0.5", code=4)
    assert (found["errors"], found["requests"]) == ({"timeout": 1}, 0)


def test_a_timeout_without_ids_replaces_the_connection_and_costs_no_further_request(capsys):
    seen = []

    def silent_once(connection, message):
        seen.append(message)
        return None if len(seen) == 3 else message

    with Server(silent_once) as server:
        found = bench(capsys, server, "--data", "1", "-n", "20", "-c", "1", "--timeout", "0.5")
    assert (found["errors"], found["requests"], found["reconnects"]) == ({"timeout": 1}, 19, 1)


class Cutting:
    """Resets the connection of the tenth message."""

    def __init__(self):
        self.number = 0

    def __call__(self, connection, message):
        self.number += 1
        if self.number == 10:
            reset(connection.socket)
            return None
        return message


def test_a_lost_connection_is_counted_and_opened_again(capsys):
    with Server(Cutting()) as server:
        found = bench(capsys, server, "--data", "1", "-n", "30", "-c", "1")
    assert (found["errors"], found["requests"]) == ({"connection lost": 1}, 29)
    assert (found["reconnects"], found["connections_ended"]) == (1, 0)


def test_without_retries_the_measurement_ends_with_its_last_connection(capsys):
    with Server(Cutting()) as server:
        found = bench(capsys, server, "--data", "1", "-t", "100", "-c", "1", "--retry", "0", code=5)
    assert (found["errors"], found["requests"], found["connections_ended"]) == ({"connection lost": 1}, 9, 1)
    assert (found["reconnects"], found["unanswered"]) == (0, 0)


WEARY = """
import wsclient

class Weary(wsclient.JsonId):
    made = 0

    def id_of(self, message):
        self.made += 1
        if self.made > 3:
            raise ValueError("Enough.")
        return super().id_of(message)
"""
"""The command encodes the first message as a trial, so two are sent."""


@pytest.mark.parametrize(
    ("times", "requests", "errors"), [(("-t", "100"), 2, {"ValueError": 1}), (("-t", "1", "--warmup", "100"), 0, {})]
)
def test_a_request_that_can_not_be_sent_ends_its_connection(
    capsys, server, tmp_path, monkeypatch, times, requests, errors
):
    (tmp_path / "weary_protocol.py").write_text(WEARY)
    monkeypatch.chdir(tmp_path)
    message = ("--data", '{"method":"echo"}', "--protocol", "weary_protocol:Weary")
    found = bench(capsys, server, *message, "-c", "1", *times, code=5)
    assert (found["requests"], found["errors"], found["unanswered"]) == (requests, errors, 0)
    assert found["connections_ended"] == 1
    server.wait_for(2)
    assert len(server.received) == 2


def test_the_kinds_of_errors():
    errors = (wsclient.RequestTimeout("x"), wsclient.ConnectionLost("x"), wsclient.ClientClosed("x"), KeyError())
    assert [kind_of(error) for error in errors] == ["timeout", "connection lost", "connection lost", "KeyError"]


@pytest.mark.parametrize("model", [(), ("--rate", "500")])
def test_ctrl_c_ends_the_measurement_and_its_summary_is_printed(capsys, model):
    seen = []

    def interrupt(connection, message):
        seen.append(message)
        if len(seen) == 20:
            _thread.interrupt_main()
        return message if len(seen) < 20 else None

    with Server(interrupt) as server:
        found = bench(capsys, server, "--data", "1", "-t", "100", "-c", "1", *model, code=130)
    assert found["interrupted"]
    assert (found["requests"], found["errors"]) == (19, {})
    assert found["unanswered"] >= 1
    eventually(lambda: "wsclient-bench" not in [thread.name for thread in threading.enumerate()])


# --- the output ------------------------------------------------------------------------------------------------------


def test_text_is_for_people(capsys, server):
    assert main(["bench", server.url, "--data", "1", "-n", "5", "-c", "1"]) == 0
    out, err = capsys.readouterr()
    assert "5 answered" in out
    assert "Histogram" in out
    assert (err, "\x1b" in out) == ("", False)


class AsciiTerminal(io.TextIOWrapper):
    def __init__(self):
        super().__init__(io.BytesIO(), "ascii")

    def isatty(self):
        return True


def test_a_terminal_that_shows_only_ascii_gets_ascii(server, monkeypatch):
    terminal = AsciiTerminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["bench", server.url, "--data", "1", "-n", "5", "-c", "1"]) == 0
    text = terminal.buffer.getvalue().decode()
    assert "Histogram" in text
    assert "#####" in text
    assert "\\" not in text  # nothing had to be escaped


def test_a_terminal_shows_that_only_replies_are_awaited(capsys, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Lines(is_terminal=True))
    screen = sys.stderr

    def answer_when_shown(connection, message):
        while "waiting for 1 repl" not in screen.line():
            pass
        return message

    with Server(answer_when_shown) as server:
        # With room for a second request, the connection finds out that there is none.
        assert main(["bench", server.url, "--data", "1", "-n", "1", "-c", "1", "--pipeline", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["requests"] == 1


def test_csv_and_a_chart(capsys, server, tmp_path):
    chart = tmp_path / "out.svg"
    chart.write_text("old")
    assert main(["bench", server.url, "--data", "1", "-n", "5", "--csv", "--svg", str(chart)]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith("second,")
    assert len(lines) == 1
    assert ET.fromstring(chart.read_bytes()).get("viewBox")


def test_secrets_of_the_url_are_not_shown(capsys, server):
    found = bench(capsys, server, "--data", "1", "-n", "1", "-c", "1")
    assert main(["bench", f"{server.url}?token=s3cret", "--json", "--data", "1", "-n", "1", "-c", "1"]) == 0
    assert "s3cret" not in capsys.readouterr().out
    assert found["url"] in f"{server.url}/"


def test_a_file_is_sent_as_a_binary_message(capsys, server, tmp_path):
    (tmp_path / "data").write_bytes(b"\xff\x00")
    found = bench(capsys, server, "--data", f"@{tmp_path / 'data'}", "-n", "2", "-c", "1")
    assert (found["requests"], server.received) == (2, [b"\xff\x00"] * 2)


# --- wrong use -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Which URL?"),
        (("localhost:1",), "What is to be sent?"),
        (("localhost:1", "--data", "{n}"), "column 2"),
        (("localhost:1", "--data", "@/no/such/file"), "/no/such/file"),
        (("localhost:1", "--data", "1", "a:=1"), "one argument too many"),
        (("localhost:1", "--call", "add", "--data", "1", "a:=1"), "one argument too many"),
        (("localhost:1", "--data", "1", "--json", "--csv"), "not both"),
        (("localhost:1", "--data", "1", "--svg", "/no/such/folder/x.svg"), "/no/such/folder/x.svg"),
        (("localhost:1", "--data", "1", "-c", "0"), "--connections"),
        (("localhost:1", "--data", "1", "--rate", "0"), "--rate"),
        (("localhost:1", "--data", "1", "--protocol", "nonsense"), "nonsense"),
        (("ftp://localhost:1", "--data", "1"), "ftp"),
    ],
)
def test_wrong_use_is_one_sentence(capsys, arguments, words):
    assert words in failing(capsys, *arguments)


def test_an_id_of_the_message_allows_one_request_in_flight(capsys, server):
    message = ("--data", '{"id":7,"method":"echo"}', "--protocol", "id=id", "-n", "3")
    assert "id of its own" in failing(capsys, server.url, *message, "--pipeline", "2")
    assert bench(capsys, server, *message, "-c", "1")["requests"] == 3


def test_no_server(capsys):
    with Server() as server:
        url = server.url
    failing(capsys, url, "--data", "1", code=3)


def test_a_refused_connection_ends_all_others(capsys, server):
    server.reject(403, times=1)
    assert "403" in failing(capsys, server.url, "--data", "1", "-c", "5", code=3)
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name.endswith("-io")])
    assert server.received == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on open files")
def test_a_limit_on_open_files_that_is_too_low_is_raised(capsys, server):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (250, hard))
    try:
        assert bench(capsys, server, "--data", "1", "-n", "2", "-c", "2")["requests"] == 2
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 250
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_help_has_examples(capsys):
    assert main(["bench", "--help"]) == 0
    out = capsys.readouterr().out
    assert out.count("wsclient bench ") >= 3
    assert "--pipeline" in out


def test_the_connections_share_the_options_of_the_command_line(capsys, server):
    assert Connection().retry is None
    found = bench(capsys, server, "--data", "1", "-n", "2", "-c", "2", "-H", "X-One: 1")
    assert found["requests"] == 2
    assert all(connection.request.headers["X-One"] == "1" for connection in server.opened.queue)
