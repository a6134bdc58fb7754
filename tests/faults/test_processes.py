"""Processes that fork, exec, end or are stopped while a client in them is busy.

The effect of forks on an idle client, and most of the states at the end of the interpreter, are in ``test_exit.py``.
"""

import concurrent.futures
import json
import multiprocessing
import signal
import subprocess
import sys
import threading
import time

import pytest
import tenacity

import wsclient

from ..support import LONG, RawServer, Server, eventually
from ..support.children import Script, in_child, needs_fork
from ..support.figures import needs_proc, sockets
from ..support.peers import start_call

FORKS = 10
STOPPED = 15.0
"""Seconds for which a process is stopped: more than twice the time that the keepalive (2 s and 5 s) allows a peer."""


# --- under load ------------------------------------------------------------------------------------------------------


class Load:
    """Eight threads that send requests, each with a different answer; counts the answers, and keeps other outcomes."""

    def __init__(self, client):
        self._client = client
        self._done = threading.Event()
        self.answered = [0] * 8
        self.wrong = []
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(8)]

    def _ask(self, number):
        while not self._done.is_set():
            mine = [number, self.answered[number]]
            try:
                reply = self._client.request({"method": "echo", "params": mine}, timeout=LONG)
            except wsclient.WebSocketClientError as error:
                self.wrong.append(repr(error))
                return
            if reply["result"] != mine:
                self.wrong.append(reply)
            self.answered[number] += 1

    def wait_for_answers(self, count=20):
        """Wait until each thread has this many more answers."""
        before = list(self.answered)
        eventually(
            lambda: self.wrong or all(now > then + count for now, then in zip(self.answered, before, strict=True))
        )
        assert not self.wrong

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        self.wait_for_answers()
        return self

    def __exit__(self, *exc):
        self._done.set()
        for thread in self._threads:
            thread.join(LONG)
            assert not thread.is_alive()


@pytest.fixture
def server_url():
    """The URL of a server in a separate process: no copy of its sockets is inherited by a forked child."""
    with Script("lean_server", 0) as server:
        yield f"ws://127.0.0.1:{server.read_value()['port']}/"


CALLS = {
    "send": lambda client: client.send({"method": "child"}),
    "request": lambda client: client.request({"method": "child"}, timeout=LONG),
    "submit": lambda client: client.submit({"method": "child"}),
    "flush": lambda client: client.flush(LONG),
    "reconnect": lambda client: client.reconnect(),
    "close": lambda client: client.close(),
}


def refused(client):
    """The calls that are refused, each in a thread: a lock that was held at the fork would block them forever."""
    signal.alarm(int(LONG))
    names = []
    for name, call in CALLS.items():
        try:
            call(client)
        except wsclient.ForkedClient:
            names.append(name)
    return names


@pytest.mark.slow
@needs_proc
@needs_fork
def test_forks_under_load_lose_no_request_of_the_parent_and_give_the_child_a_closed_client(server_url):
    before = sockets()
    with wsclient.connect(server_url, on_message=lambda client, message: None) as client:
        own = sockets() - before
        assert own

        def child():
            return json.dumps([refused(client), client.state.value, sorted(own & sockets())])

        with Load(client) as load:
            for _ in range(FORKS):
                assert json.loads(in_child(child)) == [list(CALLS), "closed", []]
                load.wait_for_answers(1)
            load.wait_for_answers()
        stats = client.stats
        assert stats.connections == 1
        assert stats.requests_ok == sum(load.answered)
        assert stats.requests_failed == stats.requests_timed_out == 0


@needs_fork
def test_a_fork_while_a_client_waits_for_its_next_attempt_gives_the_child_a_closed_client(dead):
    reconnect = wsclient.Reconnect(wait=tenacity.wait_fixed(1000))
    client = wsclient.Client(f"ws://127.0.0.1:{dead}/", retry_first=True, reconnect=reconnect)
    starting = start_call(client.start)
    eventually(lambda: client.state is wsclient.State.WAITING)
    assert json.loads(in_child(lambda: json.dumps([refused(client), client.state.value]))) == [list(CALLS), "closed"]
    assert client.state is wsclient.State.WAITING
    client.close()
    with pytest.raises(wsclient.ClientClosed):
        starting.result(LONG)


@needs_proc
@needs_fork
@pytest.mark.parametrize(
    "method",
    [
        pytest.param(method, marks=() if method == "fork" else pytest.mark.slow)
        for method in multiprocessing.get_all_start_methods()
    ],
)
@pytest.mark.slow
def test_a_process_pool_started_under_load_works_and_inherits_nothing_of_the_client(method, server_url):
    before = sockets()
    with wsclient.connect(server_url) as client:
        own = sockets() - before
        with Load(client) as load:
            context = multiprocessing.get_context(method)
            with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
                held = list(pool.map(held_of, [own] * 8))
                load.wait_for_answers()
            load.wait_for_answers()
        assert held == [set()] * 8
        assert client.stats.connections == 1


def held_of(names):
    return names & sockets()


@pytest.mark.slow
@needs_proc
def test_an_exec_under_load_inherits_nothing_and_the_server_receives_the_end():
    program = (
        "import json, sys; from tests.support.figures import sockets\n"
        "print(json.dumps(sorted(sockets())), flush=True)\n"
        "sys.stdin.readline()\n"
    )
    with Server() as server, Script("busy", server.url, program) as script:
        own = script.read_value()
        assert own
        server.wait_for(200)
        pid = script.process.pid
        script.write_line()
        inherited = script.read_value()
        assert set(own).isdisjoint(inherited)
        eventually(lambda: server.connections == [])
        assert script.process.poll() is None  # the connection did not end because the process ended
        assert script.process.pid == pid
        script.write_line()
        assert script.process.wait(LONG) == 0


# --- the end of the interpreter --------------------------------------------------------------------------------------


HELD = 2 * LONG
"""Seconds for which a peer blocks. A client that ends earlier did not wait; they include an interpreter start."""


class UncooperativeServer:
    """Refuses requests, or never reads until the test ends, depending on the path."""

    def __init__(self):
        self.over = threading.Event()

    def __call__(self, peer):
        peer.upgrade()
        if b"/failed" in peer.request:
            peer.receive_text()
            peer.send_frame(8, (1008).to_bytes(2, "big"))
        self.over.wait(HELD)


@pytest.mark.slow
@pytest.mark.parametrize(("state", "warns"), [("closing", False), ("failed", False), ("stuck line", True)])
def test_the_interpreter_ends_in_the_other_states(state, warns):
    reluctant = UncooperativeServer()
    with RawServer(reluctant) as server:
        began = time.monotonic()
        done = subprocess.run(
            [
                *(sys.executable, "-W", "always::ResourceWarning", "-m", "tests.scripts.exits"),
                *(state, f"{server.url}{state.replace(' ', '-')}"),
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert time.monotonic() - began < HELD
        reluctant.over.set()
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{state} ends"
    assert "Traceback" not in done.stderr
    assert ("ResourceWarning" in done.stderr) == warns, done.stderr


# --- a process that is stopped ---------------------------------------------------------------------------------------


def answer(peer, result):
    call = json.loads(peer.receive_text())
    peer.send_text(json.dumps({"id": call["id"], "result": result}))


def is_stopped(script):
    with open(f"/proc/{script.process.pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] == "T"


def ping_of(peer):
    """The next ping of the client."""
    while True:
        opcode, payload = peer.receive_frame()
        if opcode == 9:
            return payload


@pytest.mark.slow
@needs_proc
def test_after_a_stop_of_fifteen_seconds_a_client_keeps_live_connections_and_reports_lost_ones():
    """Three clients are stopped with a ping and a request under way. The first one's peer answers both meanwhile, the
    second one's answers the ping at once and the request when the client continues, the third one's disconnects."""
    with RawServer() as server:
        scripts, peers = [], []
        try:
            for _ in range(3):
                scripts.append(Script("suspended", server.url))
                peers.append(server.accept().upgrade())
            calls = [json.loads(peer.receive_text()) for peer in peers]
            for script, peer in zip(scripts, peers, strict=True):
                ping = ping_of(peer)
                script.signal("SIGSTOP")
                eventually(lambda script=script: is_stopped(script))
                if peer is not peers[2]:
                    peer.send_frame(10, ping)
            reply = json.dumps({"id": calls[0]["id"], "result": "meanwhile"})
            peers[0].send_text(reply)
            peers[2].reset()
            threading.Event().wait(STOPPED)
            for script in scripts:
                script.signal("SIGCONT")
            peers[1].send_text(json.dumps({"id": calls[1]["id"], "result": "later"}))
            again = server.accept().upgrade()
            for peer in (peers[0], peers[1], again):
                answer(peer, "well")
            assert [script.read_value() for script in scripts] == ["meanwhile", "later", "lost, sent=True"]
            assert [script.read_value() for script in scripts] == ["well"] * 3
            for peer in (peers[0], peers[1], again):
                end(peer)
            kept, gone = {"connections": 1, "last": None}, {"connections": 2, "last": "network"}
            assert [script.read_value() for script in scripts] == [kept, kept, gone]
            assert [script.process.wait(LONG) for script in scripts] == [0, 0, 0]
        finally:
            for script in scripts:
                script.signal("SIGCONT")
                script.end()


def end(peer):
    """Answer the close frame of the client."""
    while peer.receive_frame()[0] != 8:
        pass
    peer.send_frame(8, b"\x03\xe8")
    peer.close()
