"""The effect on a client when its process ends, forks or executes another program."""

import concurrent.futures
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

import wsclient

from .support import LONG, RawServer, Server, eventually
from .support.children import in_child, needs_fork


def handler(connection, message):
    if "cut" in message:
        connection.socket.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("state", "warns"),
    [
        ("new", False),
        ("open", True),
        pytest.param("stuck hook", True, marks=pytest.mark.slow),
        pytest.param("waiting", True, marks=pytest.mark.slow),
        pytest.param("connecting", True, marks=pytest.mark.slow),
        pytest.param("stuck session", True, marks=pytest.mark.slow),
        pytest.param("name look-up", True, marks=pytest.mark.slow),
        pytest.param("thread in request", True, marks=pytest.mark.slow),
        pytest.param("closed", False, marks=pytest.mark.slow),
    ],
)
def test_a_client_left_open_does_not_delay_the_exit(state, warns):
    with Server(handler) as server, RawServer() as silent:
        url = silent.url if state == "connecting" else server.url
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-W", "always::ResourceWarning", "-m", "tests.scripts.exits", state, url],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert time.monotonic() - began < LONG
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{state} ends"
    assert "Traceback" not in done.stderr
    assert ("ResourceWarning" in done.stderr) == warns, done.stderr


def answer_no_close_frame(peer):
    peer.upgrade()
    while peer.sock.recv(1000):
        pass


def test_a_client_that_is_being_closed_causes_no_warning_at_the_exit():
    with RawServer(answer_no_close_frame) as server:
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-W", "always::ResourceWarning", "-m", "tests.scripts.exits", "closing", server.url],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert time.monotonic() - began < LONG
    assert (done.returncode, done.stdout, done.stderr) == (0, "closing ends\n", "")


def answering_close_frames(closes):
    """A script that answers close frames and appends their payloads to a list."""

    def answer(peer):
        peer.upgrade()
        while (received := peer.receive_frame())[0] != 8:
            pass
        closes.append(received[1])
        peer.send_frame(*received)

    return answer


def test_the_exit_closes_an_open_connection_with_the_code_1001():
    closes = []
    with RawServer(answering_close_frames(closes)) as server:
        command = [sys.executable, "-W", "ignore", "-m", "tests.scripts.exits", "open", server.url]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        eventually(lambda: closes)
    assert closes == [(1001).to_bytes(2, "big")]


@pytest.mark.slow
@pytest.mark.parametrize("warnings", ["error::ResourceWarning", "ignore", "error", "default"])
def test_the_exit_closes_every_open_client_whatever_the_warnings_filter_is(warnings):
    closes = []
    program = (
        "import sys, wsclient\n"
        "names = ('one', 'two', 'three')\n"
        "clients = [wsclient.Client(sys.argv[1], name=name).start() for name in names]\n"
        "print('ends')\n"
    )
    with RawServer(answering_close_frames(closes)) as server:
        command = [sys.executable, "-W", warnings, "-c", program, server.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        eventually(lambda: len(closes) == 3)
    assert done.stdout == "ends\n"
    assert closes == [(1001).to_bytes(2, "big")] * 3
    for name in ("one", "two", "three"):
        assert (f"<wsclient.Client '{name}'> was never closed" in done.stderr) == (warnings != "ignore"), done.stderr


def test_nothing_is_printed_in_a_normal_run(server):
    program = (
        "import sys, wsclient\n"
        "with wsclient.connect(sys.argv[1]) as client:\n"
        "    client.request({'method': 'add', 'params': [1, 2]})\n"
        "    client.reconnect()\n"
        "    client.request({'method': 'add', 'params': [1, 2]}, idempotent=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, server.url], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# --- fork ------------------------------------------------------------------------------------------------------------


@needs_fork
def test_a_forked_child_cannot_use_the_client_and_does_not_affect_its_connection(server):
    with wsclient.connect(server.url, on_message=lambda client, message: None) as client:

        def child():
            refusals = []
            for call in (
                lambda: client.send("from the child"),
                lambda: client.request({"a": 1}),
                lambda: client.submit({"a": 1}),
                client.flush,
                client.listen,
                client.close,
                client.start,
                client.reconnect,
                client.drain,
                client.wait_closed,
            ):
                try:
                    call()
                except wsclient.ForkedClient:
                    refusals.append("refused")
            return f"{len(refusals)} {client.state.value}"

        assert in_child(child) == "10 closed"
        assert client.request({"method": "add", "params": [1, 2]}, timeout=LONG)["result"] == 3
        assert client.stats.connections == 1
        assert not any("child" in message for message in server.received)


@needs_fork
def test_a_forked_child_can_create_a_new_client(server):
    with wsclient.connect(server.url):

        def child():
            with wsclient.connect(server.url) as own:
                return str(own.request({"method": "add", "params": [2, 2]}, timeout=LONG)["result"])

        assert in_child(child) == "4"


@needs_fork
def test_the_connection_ends_with_the_parent_although_a_child_is_still_running(server):
    client = wsclient.connect(server.url)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)  # until the parent has seen the end of its server's connection
        os._exit(0)
    os.close(reader)
    client._wsclient.lifecycle._supervisor.abort()
    client.close(timeout=0)
    eventually(lambda: server.connections == [])
    os.close(writer)
    os.waitpid(child, 0)


def square(n):
    return n * n


@needs_fork
def test_a_process_pool_can_be_started_while_a_client_is_open(server):
    with wsclient.connect(server.url) as client:
        context = multiprocessing.get_context("fork")
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            assert list(pool.map(square, range(10))) == [n * n for n in range(10)]
        assert client.request({"method": "add", "params": [1, 2]}, timeout=LONG)["result"] == 3


@needs_fork
def test_a_forked_child_that_ends_normally_prints_nothing(server):
    program = (
        "import os, sys, wsclient\n"
        "client = wsclient.connect(sys.argv[1])\n"
        "if os.fork() == 0:\n"
        "    sys.exit(0)\n"
        "os.wait()\n"
        "print(client.request({'method': 'add', 'params': [1, 2]}, timeout=15)['result'])\n"
        "client.close()\n"
    )
    # Since 3.12 Python itself warns of any fork in a process with threads.
    warnings = ["-W", "always::ResourceWarning", "-W", "ignore::DeprecationWarning"]
    command = [sys.executable, *warnings, "-c", program, server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "3\n", "")


@needs_fork
def test_in_a_forked_child_no_call_waits_for_a_lock_that_was_held_at_the_fork(mute_server):
    with wsclient.connect(mute_server.url) as client:
        context = client._wsclient.context
        future = client.submit({"method": "add"}, timeout=None)
        delivery = client.send("x", expires=3600)
        calls = {
            "close": lambda: client.close(wait=False),
            "drain": lambda: client.drain(wait=False),
            "cancel": future.cancel,
            "delivery": lambda: delivery.state,
            "result": lambda: due.result(LONG),
        }

        def child():
            signal.alarm(int(LONG))  # ends a child that hangs
            refused = []
            for name, call in calls.items():
                try:
                    call()
                except wsclient.ForkedClient:
                    refused.append(name)
            return " ".join(refused)

        due = client.submit({"method": "add"}, timeout=1)  # the child waits until then
        with context.queue._lock, context.table._lock:
            said = in_child(child)
        assert said == "close drain cancel delivery result"
        client.close(timeout=0)


@needs_fork
@pytest.mark.parametrize(
    "make",
    [
        lambda client: client.listen(),
        lambda client: client.stream({"method": "x"}),
        lambda client: client.subscribe({"method": "x"}, match=lambda message: False),
    ],
)
def test_in_a_forked_child_the_close_of_a_stream_has_no_effect_and_waits_for_no_lock(mute_server, make):
    with wsclient.connect(mute_server.url) as client:
        context = client._wsclient.context
        stream = make(client)

        def child():
            signal.alarm(int(LONG))  # ends a child that hangs
            stream.close()
            with stream:
                pass
            try:
                stream.get(0)
            except wsclient.ForkedClient:
                return "closed"

        with context.queue._lock, context.table._lock, stream._inbox._lock:
            said = in_child(child)
        assert said == "closed"
        stream.close()


@needs_fork
def test_a_fork_during_the_setup_of_a_connection_leaves_no_copy_of_its_socket(raw):
    client = wsclient.Client(raw.url, retry_first=True)
    starter = threading.Thread(target=swallow, args=(client.start,))
    starter.start()
    peer = raw.accept()
    peer.receive_head()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)  # runs until the parent ends it
        os._exit(0)
    os.close(reader)
    client.close(timeout=0)
    starter.join(LONG)
    assert peer.sock.recv(100) == b""  # the end of the stream: no other process has the connection
    os.close(writer)
    assert os.waitpid(child, 0) == (child, 0)


def swallow(call):
    try:
        call()
    except wsclient.WebSocketClientError:
        pass
