"""``python -m wsclient demo``, in a pipe and on a terminal."""

import os
import re
import subprocess
import sys
import threading
import time

import pytest

import wsclient
from wsclient.cli import main
from wsclient.cli.demo import THREADS, Worker
from wsclient.cli.screen import LiveScreen
from wsclient.cli.server import PASSWORD, DemoServer
from wsclient.testing._servers.sockets import make_reset

from ..support import LONG, SLACK, eventually
from ..support.peers import start_call

DEMO = [sys.executable, "-m", "wsclient", "demo"]


def check(text):
    assert "connection 1: logged in" in text
    assert "connection 2: logged in" in text
    assert "connection lost" in text
    assert re.search(r"answered +\W*\d{2,}", text)
    assert re.search(r"sent twice by mistake +\W*0", text)
    assert re.search(r"notes sent offline +\W*3/3", text)
    assert re.search(r"connections +\W*2", text)


def login(client, session):
    session.request({"params": PASSWORD})


def requests_during_a_restart(server, client):
    """Three requests that the server had not answered when it went away.

    It has come back, and its timers have ended.
    """
    away = start_call(lambda: server.go_away(under_way=3))
    eventually(lambda: server._away)  # it answers no request from now on
    futures = [client.submit({"method": "echo", "params": [n]}, timeout=LONG) for n in range(3)]
    away.result(LONG)
    server.come_back()
    for timer in threading.enumerate():
        if isinstance(timer, threading.Timer):
            timer.join(LONG)
    return futures


def test_requests_of_a_connection_that_was_cut_are_not_counted_as_answered_on_the_next():
    server = DemoServer()
    with wsclient.Client(server.url, on_session=login) as client:
        futures = requests_during_a_restart(server, client)
        assert not server._under_way
        for future in futures:
            with pytest.raises(wsclient.ConnectionLost):
                future.result(LONG)
    server.stop()


def test_requests_of_a_connection_that_is_cut_late_are_not_answered(monkeypatch):
    cut = []
    monkeypatch.setattr("wsclient.cli.server.make_reset", cut.append)
    server = DemoServer()
    with wsclient.Client(server.url, on_session=login) as client:
        futures = requests_during_a_restart(server, client)
        for sock in cut:
            make_reset(sock)
        for future in futures:
            with pytest.raises(wsclient.ConnectionLost):
                future.result(LONG)
    monkeypatch.undo()
    server.stop()


def test_the_demo_prints_plain_text():
    began = time.monotonic()
    done = subprocess.run(DEMO, capture_output=True, text=True, timeout=120)
    assert time.monotonic() - began < 15 + 10 * SLACK
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    check(done.stdout)
    assert int(re.search(r"lost +(\d+)", done.stdout.split("Outcomes")[1])[1]) == THREADS // 2
    assert int(re.search(r"re-sent +(\d+)", done.stdout)[1]) == THREADS // 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX's")
def test_the_demo_draws_on_a_terminal():
    import pty

    master, slave = pty.openpty()
    process = subprocess.Popen(DEMO, stdout=slave, stderr=slave, env={**os.environ, "TERM": "xterm", "COLUMNS": "110"})
    os.close(slave)
    screen = b""
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        screen += data
    os.close(master)
    assert process.wait(60) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.decode())
    check(text)
    assert "● WAITING" in text
    assert "● OPEN" in text


def test_without_the_extra_the_demo_prints_what_to_install():
    program = (
        "import sys; sys.modules['rich'] = sys.modules['rich.console'] = None\n"
        "from wsclient.cli import main; sys.exit(main(['demo']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "pip install 'wsclient-sdk[cli]'" in done.stderr


def test_the_version_is_printed_also_without_the_extra(capsys, monkeypatch):
    assert main(["--version"]) == 0
    monkeypatch.setitem(sys.modules, "click", None)
    monkeypatch.delitem(sys.modules, "wsclient.cli.app", raising=False)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"wsclient-sdk {wsclient.__version__}\n" * 2


def test_the_demo_server_closes_a_connection_with_a_wrong_password():
    server = DemoServer()
    client = wsclient.Client(server.url, on_session=lambda _, session: session.request({"params": "guessed"}))
    with pytest.raises(wsclient.SessionError, match="wrong password"):
        client.start()
    server.stop()


def test_the_screen_of_a_terminal_shows_the_state_the_events_and_the_table(capsys):
    screen = LiveScreen()
    screen.state(wsclient.State.OPEN, "3 connections")
    screen.note("it began")
    screen.close()
    screen.table("Outcomes", [("answered", "5", "in time")])
    text = capsys.readouterr().out
    for words in ("OPEN", "3 connections", "it began", "Outcomes", "answered", "in time"):
        assert words in text


def test_a_worker_of_the_demo_ends_with_its_client():
    client = wsclient.Client("ws://127.0.0.1:9")
    client.close()
    worker = Worker(client, 1, threading.Event())
    worker.thread.join(LONG)
    assert not worker.thread.is_alive()
    assert (len(worker.sent_params), not worker.outcomes) == (1, True)
