"""``wsclient listen``: messages as lines, across reconnects, until a condition, Ctrl-C or a closed pipe."""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from wsclient import Client
from wsclient.cli import main
from wsclient.cli.listen import _OnOpen, _StreamReader
from wsclient.testing import Server

from ..support import LONG, SHORT, eventually
from ..support.raw import frame
from ..support.stage import until_the_end
from ..support.standin import put, running, take

EVENTS = [{"type": "a", "n": 1}, {"type": "b", "n": 2}, {"type": "a", "n": 3}]


def feed(connection, message):
    """Answers a subscription with its events."""
    for event in EVENTS:
        connection.send(json.dumps(event))


@pytest.fixture
def server():
    with Server(feed) as server:
        yield server


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_messages_are_printed_until_the_count(server, capsys):
    assert main(["listen", server.url, "--send", '{"op": "subscribe"}', "-C", "3"]) == 0
    assert lines(capsys) == EVENTS


def test_a_filter_prints_and_counts_only_some(server, capsys):
    assert main(["listen", server.url, "--send", "1", "--filter", "type=a", "-C", "2"]) == 0
    assert [line["n"] for line in lines(capsys)] == [1, 3]


def test_until_ends_with_the_first_such_message(server, capsys):
    assert main(["listen", server.url, "--send", "1", "--until", "n=2"]) == 0
    assert [line["n"] for line in lines(capsys)] == [1, 2]


def test_the_time_can_be_limited(server, capsys):
    assert main(["listen", server.url, "-W", str(2 * SHORT)]) == 0
    assert main(["listen", server.url, "-W", str(2 * SHORT), "-C", "1"]) == 4  # less than was asked for
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("wait", ["nan", "inf"])
def test_a_time_that_is_not_finite_is_a_usage_error(wait, server, capsys):
    assert main(["listen", server.url, "-W", wait]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_any_finite_time_can_be_waited(server, capsys):
    assert main(["listen", server.url, "--send", "1", "-C", "1", "-W", "1e300"]) == 0
    assert lines(capsys) == EVENTS[:1]


def test_the_time_ends_although_no_connection_opens(server, capsys):
    server.stop()
    assert main(["listen", server.url, "-W", str(2 * SHORT)]) == 3
    sentences = [line for line in capsys.readouterr().err.splitlines() if "Further attempts follow" not in line]
    assert len(sentences) == 1
    assert not re.search(r"start\(\)|timeout=", sentences[0])


def test_the_time_to_connect_counts(server, capsys, monkeypatch):
    start = Client.start

    def start_late(client, timeout):
        end = time.monotonic() + timeout
        start(client, LONG)
        eventually(lambda: time.monotonic() > end)

    monkeypatch.setattr(Client, "start", start_late)
    assert main(["listen", server.url, "--send", "1", "-C", "1", "-W", str(SHORT)]) == 4
    assert capsys.readouterr().out == ""


def test_the_time_ends_although_no_reply_comes_to_the_subscription(capsys):
    with Server(lambda connection, message: None) as server:
        assert main(["listen", server.url, "--subscribe", "{}", "-W", str(2 * SHORT)]) == 4
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_time_ends_although_messages_wait_to_be_handled(capfd):
    def many(connection, message):
        for _ in range(400):
            connection.send("x")

    program = f'"{sys.executable}" -S -E -c "print(1)"'
    with Server(many) as server:
        assert main(["listen", server.url, "--send", "1", "-W", str(2 * SHORT), "--exec", program]) == 0
    assert len(capfd.readouterr().out.splitlines()) < 400


def test_timestamps_begin_the_lines(server, capsys):
    assert main(["listen", server.url, "--send", "1", "--timestamps", "-C", "1"]) == 0
    out = capsys.readouterr().out
    assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d \{"type": "a", "n": 1\}\n', out)


def test_replies_answer_messages(capsys):
    pongs = []

    def ping(connection, message):
        pongs.append(message)
        if len(pongs) == 1:
            connection.send('{"type": "ping"}')
        else:
            connection.send('{"type": "end"}')

    with Server(ping) as server:
        arguments = ["--send", '"hello"', "--reply", 'type=ping={"type":"pong","eq":"a=b"}', "--until", "type=end"]
        assert main(["listen", server.url, *arguments]) == 0
    assert json.loads(pongs[1]) == {"type": "pong", "eq": "a=b"}


def test_a_program_gets_each_message_on_its_stdin(server, capfd, tmp_path):
    program = tmp_path / "program.py"
    program.write_text("import sys; print('got', sys.stdin.read().strip())")
    assert main(["listen", server.url, "--send", "1", "-C", "2", "--exec", f'"{sys.executable}" "{program}"']) == 0
    assert capfd.readouterr().out.splitlines() == ['got {"type": "a", "n": 1}', 'got {"type": "b", "n": 2}']


def test_a_program_gets_half_of_a_surrogate_pair_escaped(capfd):
    program = f'"{sys.executable}" -c "import sys; sys.stdout.write(sys.stdin.read())"'
    with Server(lambda connection, message: '["\\ud800"]') as server:
        assert main(["listen", server.url, "--send", "1", "-C", "1", "--exec", program]) == 0
    assert capfd.readouterr().out == '["\\ud800"]\n'


def test_a_subscription_is_made_again_after_a_restart_of_the_server(capsys):
    def subscribe(connection, message):
        request = json.loads(message)
        connection.send(json.dumps({"id": request["id"], "result": "ok"}))
        connection.send(json.dumps({"type": "event", "request": len(server.received)}))
        if len(server.received) == 1:
            threading.Thread(target=server.restart).start()

    with Server(subscribe) as server:
        assert main(["listen", server.url, "--subscribe", '{"op": "subscribe"}', "-C", "2"]) == 0
    first, second = [line["request"] for line in lines(capsys)]
    assert first == 1
    assert second > 1  # a further connection may have ended during the restart


def test_a_subscription_is_made_again_if_the_hook_of_the_first_connection_runs_after_its_end(monkeypatch, capsys):
    on_open, first = _OnOpen.__call__, threading.Event()

    def late(self, client):
        if not first.is_set():
            first.set()
            eventually(lambda: client.stats.connections >= 2)
        on_open(self, client)

    def subscribe(connection, message):
        connection.send(json.dumps({"id": json.loads(message)["id"], "result": "ok"}))
        connection.send('{"type": "event"}')
        if len(server.received) == 1:
            threading.Thread(target=server.restart).start()

    monkeypatch.setattr(_OnOpen, "__call__", late)
    with Server(subscribe) as server:
        assert main(["listen", server.url, "--subscribe", '{"op": "subscribe"}', "-C", "2"]) == 0
    assert lines(capsys) == [{"type": "event"}] * 2


def test_what_is_sent_is_sent_again_after_every_reconnect(capsys):
    def drop(connection, message):
        connection.send(message)
        connection.close(1012)

    with Server(drop) as server:
        assert main(["listen", server.url, "--send", '{"op": 1}', "-C", "2"]) == 0
    assert lines(capsys) == [{"op": 1}, {"op": 1}]


@pytest.mark.parametrize("verbose", [False, True])
def test_a_failed_attempt_is_reported_and_the_connection_after_it(verbose, capsys):
    def refuse(connection, request):
        attempts.append(request)
        return connection.respond(503, "restarting\n") if len(attempts) == 1 else None

    attempts = []
    with Server(lambda connection, message: "1", process_request=refuse) as server:
        assert main(["listen", *(["-v"] if verbose else []), server.url, "--send", "1", "-C", "1"]) == 0
    err = capsys.readouterr().err
    if verbose:  # by the records of the client
        assert "503" in err
        assert "Further attempts follow" not in err
    else:
        failed, connected = err.splitlines()
        assert re.fullmatch(r"wsclient: .*503.* Further attempts follow; -v prints each of them\.", failed)
        assert connected == "wsclient: connected."


def test_a_quiet_connection_is_replaced(capsys):
    with Server(lambda connection, message: None) as server:
        waiting = threading.Thread(
            target=main, args=(["listen", server.url, "--quiet-after", str(SHORT), "--until", "type=end"],)
        )
        waiting.start()
        server.opened.get(timeout=LONG)
        server.opened.get(timeout=LONG)

        def has_ended():
            server.send_all('{"type": "end"}')  # the second connection may have been replaced too
            return not waiting.is_alive()

        eventually(has_ended)


def test_raw_text_is_printed_as_it_came(capsys):
    text = '{ "a":1.50, "b" : 1e400 }'
    with Server(lambda connection, message: text) as server:
        assert main(["listen", server.url, "--send", "1", "--raw", "-C", "1"]) == 0
    assert capsys.readouterr().out == f"{text}\n"


def test_text_of_several_lines_stays_one_line(capsys):
    with Server(lambda connection, message: "one\ntwo") as server:
        assert main(["listen", server.url, "--send", "1", "-C", "1"]) == 0
    assert capsys.readouterr().out == '"one\\ntwo"\n'


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--send", "{"], "--send is not JSON: Expecting property name enclosed in double quotes at column 2 of '{'."),
        (["--reply", "a=b"], "has no answer"),
        (["--filter", "a"], "is not a condition"),
        (["--exec", "cat", "--timestamps"], "leave out --exec or --timestamps"),
        (["-C", "0"], "-C"),
        (["more"], "unexpected extra argument (more)"),
        (["--exec"], "--exec"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, sentence, capsys):
    assert main(["listen", "ws://127.0.0.1:1", *arguments]) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert len(err.splitlines()) == 1


def test_a_server_that_refuses_every_attempt_ends_it(capsys):
    with Server(process_request=lambda connection, request: connection.respond(401, "no")) as server:
        assert main(["listen", server.url]) == 3
    assert "401" in capsys.readouterr().err


def test_without_retries_the_end_of_the_connection_ends_it(capsys):
    with Server(lambda connection, message: connection.close(1011, "enough")) as server:
        assert main(["listen", "--retry", "0", server.url, "--send", "1"]) == 5
    assert "enough" in capsys.readouterr().err


@pytest.mark.parametrize(("count", "code"), [([], 0), (["-C", "2"], 5)])
def test_without_retries_it_ends_when_the_server_closes_the_connection(count, code, capsys):
    with Server(lambda connection, message: connection.send("1") or connection.close()) as server:
        assert main(["listen", "--retry", "0", server.url, "--send", "1", *count]) == code
    assert capsys.readouterr().out == "1\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGUSR1")
@pytest.mark.parametrize(("count", "code"), [([], 0), (["-C", "2"], 5), (["--subscribe", '{"op": 5}'], 5)])
def test_messages_are_printed_although_the_connection_ends_before_the_command_knows_that_it_is_open(
    count, code, stage, capsys
):
    ended = threading.Event()

    def say_and_close(peer):
        os.kill(os.getpid(), signal.SIGUSR1)  # the main thread, which waits for the connection, stops
        peer.upgrade(then=frame(1, b"1") + frame(8, b"\x03\xe8"))
        until_the_end(peer)
        ended.set()

    before = signal.signal(signal.SIGUSR1, lambda *_: ended.wait(LONG))
    try:
        with stage(say_and_close) as raw:
            assert main(["listen", "--retry", "0", raw.url, *count]) == code
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert capsys.readouterr().out == "1\n"


def test_a_subscription_that_the_server_refuses_is_requested_once(capsys):
    def refuse(connection, message):
        connection.send(json.dumps({"id": json.loads(message)["id"], "error": {"code": 5, "message": "no"}}))

    with Server(refuse) as server:
        arguments = ["--protocol", "jsonrpc", "--subscribe", '{"method": "s"}']
        assert main(["listen", server.url, *arguments]) == 1
        assert len(server.received) == 1


def test_the_messages_of_a_subscription_that_its_protocol_recognises_are_printed(capsys):
    def serve(connection):
        assert take(connection)["type"] == "connection_init"
        put(connection, {"type": "connection_ack"})
        id = take(connection)["id"]
        for n in (1, 2):
            put(connection, {"id": id, "type": "next", "payload": {"n": n}})
        while True:
            take(connection)

    subscribe = ["--protocol", "graphql", "--subscribe", '{"query": "subscription { n }"}']
    with running(serve, subprotocols=["graphql-transport-ws"]) as url:
        assert main(["listen", url, *subscribe, "-C", "2"]) == 0
    assert lines(capsys) == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize(("is_subscription", "ends"), [(True, 0), (False, 1)])
def test_other_messages_may_come_after_the_end_of_a_subscription(is_subscription, ends):
    messages = queue.Queue()
    _StreamReader(iter([1, 2]), messages, is_subscription=is_subscription).run()
    assert [messages.get_nowait(), messages.get_nowait()] == [1, 2]
    assert messages.qsize() == ends


def test_a_subscription_that_can_not_be_sent_is_one_sentence(server, capsys):
    assert main(["listen", server.url, "--subscribe", '{"id": [1]}']) == 2
    err = capsys.readouterr().err
    assert "must be a string or a number, not [1]" in err
    assert len(err.splitlines()) == 1
    assert server.received == []


# --- as a process ----------------------------------------------------------------------------------------------------


def start(*arguments, **options):
    command = [sys.executable, "-m", "wsclient", "listen", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a process can't get a Ctrl-C alone")
def test_ctrl_c_ends_it_with_exit_code_130_and_no_traceback(server):
    with start(server.url, "--send", "1") as process:
        assert json.loads(process.stdout.readline()) == EVENTS[0]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LONG)
    assert (process.returncode, err) == (130, "\n")


@pytest.mark.slow
def test_a_closed_pipe_ends_it_quietly():
    stop = threading.Event()

    def flood(connection, message):
        while not stop.is_set():
            connection.send("x" * 1000)

    with Server(flood) as server:
        with start(server.url, "--send", "1") as process:
            process.stdout.readline()
            process.stdout.close()  # as `| head -1` does
            assert process.stderr.read() == ""
            assert process.wait(LONG) == 0
        stop.set()
