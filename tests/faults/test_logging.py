"""Logging that raises or blocks, and threads that can't be started: the client and its hooks continue."""

import contextlib
import itertools
import json
import logging
import os
import subprocess
import sys
import threading
import time

import pytest
import tenacity

import wsclient
from wsclient import State

from ..support import LONG, SLACK, eventually
from ..support.children import in_child, needs_fork
from ..support.clients import FAST, request_sum, threads

LOGGER = logging.getLogger("wsclient")


@contextlib.contextmanager
def logging_with(handler, *, level=logging.INFO, name="wsclient"):
    logger = logging.getLogger(name)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


class Keeping(logging.Handler):
    def __init__(self):
        super().__init__()
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


class Raising(logging.Handler):
    """A handler with a filter that needs a web request, for example: it raises on every other thread."""

    def filter(self, record):
        raise LookupError("outside of a request")


class Blocking(logging.Handler):
    """A handler that blocks, with its lock, until the test releases it."""

    def __init__(self):
        super().__init__()
        self.entered, self.go = threading.Event(), threading.Event()

    def emit(self, record):
        self.entered.set()
        self.go.wait(LONG)


# --- logging that raises ---------------------------------------------------------------------------------------------


def test_a_log_filter_that_raises_does_not_end_the_client_and_is_reported(server):
    errors, opened = [], []
    with logging_with(Raising()):
        options = {"on_error": lambda client, error: errors.append(error), "on_open": lambda client: opened.append(1)}
        with wsclient.connect(server.url, **FAST, **options) as client:
            client.reconnect()
            eventually(lambda: len(opened) == 2)
            request_sum(client)
            eventually(lambda: errors)
            assert client.state is State.OPEN
    assert [str(error) for error in errors] == ["outside of a request"]


def test_a_log_filter_that_raises_does_not_end_the_hook_thread(server):
    seen, errors = [], []

    def on_message(client, message):
        seen.append(message)
        if message == "1":
            raise ValueError("no such message")

    def on_error(client, error):
        errors.append(error)
        raise error

    with logging_with(Raising()), wsclient.connect(server.url, on_message=on_message, on_error=on_error):
        server.opened.get(timeout=LONG)
        for number in range(6):
            server.send_all(str(number))
        eventually(lambda: len(seen) == 6)
        eventually(lambda: len(errors) == 2)
    assert seen == list("012345")
    assert {type(error) for error in errors} == {ValueError, LookupError}


def test_a_client_that_failed_has_its_cause_although_logging_raises(server):
    server.reject(404, times=2)
    errors, calls, reported = [], itertools.count(), threading.Event()

    def on_error(client, error):
        errors.append(type(error))
        if isinstance(error, LookupError):
            reported.set()

    def should_retry(error):  # until what logging raised at the first attempt was reported
        return next(calls) == 0 or not reported.wait(LONG)

    policy = wsclient.Reconnect(wait=tenacity.wait_fixed(0.01), should_retry=should_retry)
    with logging_with(Raising()):
        client = wsclient.Client(server.url, retry_first=True, reconnect=policy, on_error=on_error)
        with pytest.raises(wsclient.HandshakeError):
            client.start(LONG)
        assert client.state is State.FAILED
        with pytest.raises(wsclient.ClientClosed) as caught:
            client.request({"a": 1})
        assert isinstance(caught.value.__cause__, wsclient.HandshakeError)
        client.wait_closed(LONG)
    eventually(lambda: wsclient.HandshakeError in errors)
    assert set(errors) == {wsclient.HandshakeError, LookupError}


def test_sys_exit_in_should_retry_is_logged_and_the_rules_decide(server, caplog):
    reconnect = wsclient.Reconnect(wait=tenacity.wait_fixed(0.02), should_retry=lambda error: sys.exit(1))
    with wsclient.connect(server.url, reconnect=reconnect) as client:
        server.opened.get(timeout=LONG)
        server.cut_all()
        server.opened.get(timeout=LONG)
        request_sum(client)
    assert "should_retry raised" in caplog.text


# --- logging that blocks ---------------------------------------------------------------------------------------------


def test_a_program_can_ship_its_logs_through_the_client(server):
    """Its handler holds its lock while ``send()`` waits for room, until the I/O thread has connected again."""

    class Shipping(logging.Handler):
        def emit(self, record):
            if record.name == "app":
                client.send(record.getMessage())

    options = {**FAST, "send_queue": wsclient.SendQueue(max_messages=5)}
    with wsclient.connect(server.url, name="shipping", **options) as client, logging_with(Shipping(), name=None):
        server.opened.get(timeout=LONG)
        server.reject(503, times=10)
        server.cut_all()
        eventually(lambda: client.stats.failed_attempts)
        app = logging.getLogger("app")
        thread = threading.Thread(target=lambda: [app.info("line %d", number) for number in range(30)], daemon=True)
        thread.start()
        thread.join(LONG)
        assert not thread.is_alive()
        client.flush(LONG)


def test_records_of_the_library_for_connections_never_reach_a_handler_on_the_io_thread(server):
    handler = Keeping()
    with logging_with(handler, level=logging.DEBUG, name="websocket"):
        with wsclient.connect(server.url, **FAST) as client:
            server.reject(503, times=2)  # the library would log "Websocket connected" for a refused attempt too
            client.reconnect()
            eventually(lambda: client.stats.connections == 2)
            assert client.stats.failed_attempts == 2
            request_sum(client)
        logging.getLogger("websocket").info("of the program")
    assert handler.texts == ["of the program"]


def test_a_handler_that_blocks_does_not_stop_the_io_thread_or_close(server):
    blocking = Blocking()
    with logging_with(blocking):
        try:
            client = wsclient.connect(server.url, **FAST)
            client.reconnect()
            assert blocking.entered.wait(LONG)
            eventually(lambda: client.stats.connections == 2)
            request_sum(client)
            began = time.monotonic()
            client.close(timeout=0.1)
            assert time.monotonic() - began < 0.1 + 1 + SLACK
            assert client.state is State.CLOSED
        finally:
            blocking.go.set()


def test_close_is_bounded_although_a_hook_is_blocked_in_a_logging_handler(server):
    """The warning of ``close()`` about this hook would wait for the same handler's lock."""
    blocking = Blocking()

    def on_open(client):
        raise ValueError("logged by the handler that blocks")

    with logging_with(blocking):
        try:
            client = wsclient.connect(server.url, on_open=on_open, name="bounded")
            assert blocking.entered.wait(LONG)
            closing = threading.Thread(target=client.close, kwargs={"timeout": 0.0}, daemon=True)
            closing.start()
            closing.join(1 + SLACK)
            assert not closing.is_alive()
        finally:
            blocking.go.set()
            eventually(lambda: threads("bounded") == [])


def test_the_records_of_a_closed_client_are_complete_when_close_returns(server):
    class Slow(Keeping):
        def emit(self, record):
            time.sleep(0.05)
            super().emit(record)

    with logging_with(Slow()) as handler:
        for number in range(3):
            name = f"client{number}"
            wsclient.connect(server.url, name=name).close()
            assert [text for text in handler.texts if text.startswith(f"{name}: The connection ended")] != []


EXITING = """
import logging, sys, threading, wsclient
class Handler(logging.Handler):
    def emit(self, record):
        if sys.argv[2] == "blocks":
            self.lock = None  # logging.shutdown() would wait for it
            threading.Event().wait()
        print(record.getMessage(), flush=True)
logging.getLogger("wsclient").addHandler(Handler())
logging.getLogger("wsclient").setLevel("INFO")
client = wsclient.connect(sys.argv[1], name="feed", on_close=lambda *args: print("on_close", flush=True))
"""


def exiting(server, how):
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", EXITING, server.url, how], capture_output=True, text=True, timeout=LONG
    )


def test_at_the_exit_of_the_program_records_and_hooks_are_complete(server):
    done = exiting(server, "prints")
    assert done.returncode == 0
    assert "feed: The connection ended" in done.stdout, done.stderr
    assert "on_close" in done.stdout


def test_a_handler_that_blocks_does_not_delay_the_exit(server):
    assert exiting(server, "blocks").returncode == 0


@needs_fork
def test_a_fork_while_records_wait_leaves_them_to_the_parent(server):
    handler = Keeping()
    blocking = Blocking()
    with logging_with(blocking), logging_with(handler), wsclient.connect(server.url, **FAST) as client:
        client.reconnect()
        assert blocking.entered.wait(LONG)
        assert in_child(lambda: str(len(handler.texts))) == "0"
        blocking.go.set()
        eventually(lambda: handler.texts)


# --- threads that can't be started -----------------------------------------------------------------------------------


@pytest.fixture
def refuse(monkeypatch):
    """Refuse threads, as a limit on processes does; ``refuse.undo()`` allows them again."""
    start = threading.Thread.start

    def refuse(*kinds):
        def limited(thread):
            if thread.name.partition("-")[2].startswith(kinds):
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", limited)
        monkeypatch.setattr("wsclient._threads.starter.RETRY", 0.1)

    refuse.undo = monkeypatch.undo
    return refuse


@pytest.mark.parametrize("idle", [True, False])
def test_hooks_without_a_thread_run_as_soon_as_there_is_one(server, refuse, idle, caplog):
    seen, errors = [], []
    options = {"on_message": lambda client, message: seen.append(message), "name": "feed", "ping_interval": None}
    with wsclient.connect(server.url, on_error=lambda client, error: errors.append(error), **options) as client:
        server.opened.get(timeout=LONG)
        refuse("hooks")
        server.send_all("one")
        server.send_all("two")
        eventually(lambda: "feed: hooks or handlers can't run yet: can't start new thread." in caplog.text)
        request_sum(client)
        refuse.undo()
        if not idle:
            server.send_all("three")
        eventually(lambda: len(seen) == (2 if idle else 3))
    assert seen == ["one", "two", "three"][: len(seen)]
    assert [str(error) for error in errors] == ["can't start new thread"]


def test_hooks_without_a_thread_start_while_there_is_no_connection(server, refuse):
    attempts = []
    options = {**FAST, "reconnect": wsclient.Reconnect(wait=tenacity.wait_fixed(LONG), min_uptime=0)}
    with wsclient.connect(
        server.url, on_connect_error=lambda client, attempt: attempts.append(attempt), name="feed", **options
    ) as client:
        server.opened.get(timeout=LONG)
        server.reject(503)
        refuse("hooks")
        client.reconnect()
        assert client.wait_until(State.WAITING, LONG)
        refuse.undo()
        eventually(lambda: attempts)


def test_workers_without_a_thread_run_as_soon_as_there_is_one(server, refuse):
    protocol = wsclient.JsonId("id", topic="topic")
    seen = []
    with wsclient.connect(server.url, protocol=protocol, name="feed") as client:
        client.on("news", seen.append, workers=2)
        server.opened.get(timeout=LONG)
        refuse("worker")
        server.send_all(json.dumps({"topic": "news"}))
        request_sum(client)
        assert seen == []
        refuse.undo()
        eventually(lambda: len(seen) == 1)


def test_hooks_that_never_got_a_thread_are_run_at_the_end(server, refuse):
    seen = []
    refuse("hooks", "worker", "log")
    client = wsclient.connect(
        server.url, name="feed", on_open=lambda client: seen.append("open"), on_close=lambda *args: seen.append("close")
    )
    assert seen == []
    client.close()
    assert seen == ["open", "close"]
    assert threads("feed") == []


def test_a_client_whose_io_thread_cannot_start_is_closed_and_the_error_has_the_reason(server, refuse):
    refuse("io")
    client = wsclient.Client(server.url, name="feed")
    future = client.submit({"a": 1})
    began = time.monotonic()
    with pytest.raises(wsclient.ConnectError, match="I/O thread can't be started") as caught:
        client.start()
    assert time.monotonic() - began < SLACK
    assert (str(caught.value.__cause__), caught.value.attempts) == ("can't start new thread", 0)
    assert client.state is State.CLOSED
    assert future.exception(LONG) is not None
    refuse.undo()
    with wsclient.connect(server.url) as client:
        request_sum(client)


def test_close_without_wait_never_raises_and_the_next_call_ends_the_client(monkeypatch):
    def refuse(*args):
        raise RuntimeError("can't start new thread")

    client = wsclient.Client("ws://127.0.0.1:9/")
    future = client.submit({"a": 1})
    with monkeypatch.context() as patch:
        patch.setattr("_thread.start_new_thread", refuse)
        client.close(wait=False)
        assert client.state is State.NEW
    assert client.wait_closed(LONG)
    assert client.state is State.CLOSED
    assert isinstance(future.exception(LONG), wsclient.ClientClosed)


PROGRAM = """
import logging, os, resource, sys, threading, wsclient
seen = []
with wsclient.connect(sys.argv[1]) as warm:  # all modules are imported
    warm.request({"method": "add", "params": [1, 2]})
os.setuid(65534)
hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
def allow(threads):
    resource.setrlimit(resource.RLIMIT_NPROC, (threads, hard))
with wsclient.connect(sys.argv[1], on_pong=lambda client, data: seen.append(data)) as client:
    allow(1)
    client.ping(timeout=20)
    assert not seen
    allow(hard)
    while not seen:
        threading.Event().wait(0.01)
print(len(seen))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux") or os.geteuid() != 0, reason="needs root on Linux")
def test_a_real_limit_on_threads(server):
    done = subprocess.run([sys.executable, "-c", PROGRAM, server.url], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "1", done.stderr
    assert "can't start new thread" in done.stderr
