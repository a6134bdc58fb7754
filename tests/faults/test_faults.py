"""A request that is answered in spite of each of the faults of a network."""

import json
import threading

import pytest
import tenacity

import wsclient
from wsclient import State

from ..support import AMPLE, LONG, SHORT, FaultProxy, Server, eventually

FAST = {"reconnect": wsclient.Reconnect(wait=tenacity.wait_fixed(0.05)), "ping_interval": 0.2, "ping_timeout": 1.5}


class HeldServer(Server):
    """Holds the answer to a request until the test releases it."""

    def __init__(self):
        self.answers = threading.Event()
        super().__init__(self.answer)

    def answer(self, connection, message):
        if self.answers.wait(LONG):
            call = json.loads(message)
            connection.send(json.dumps({"id": call["id"], "result": call["n"]}))


@pytest.fixture
def held():
    with HeldServer() as held:
        yield held
        held.answers.set()


@pytest.fixture
def line(held):
    with FaultProxy(held.port) as line:
        yield line


def stall(line, held):
    """The server begins a message and never completes it."""
    held.connections[0].socket.sendall(b"\x81\x7e\x10\x00half")
    line.freeze()


FAULTS = {
    "FIN": lambda line, held: line.cut(),
    "RST": lambda line, held: line.reset(),
    "frozen": lambda line, held: line.freeze(),
    "stall in mid-frame": stall,
    "server gone": lambda line, held: held.reset_all(),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_idempotent_request_is_answered_in_spite_of_a_fault(fault, held, line):
    with wsclient.connect(line.url, **FAST) as client:
        future = client.submit({"n": 7}, timeout=LONG, idempotent=True)
        held.wait_for(1)
        FAULTS[fault](line, held)
        eventually(lambda: client.last_disconnect is not None)
        line.thaw()
        held.answers.set()
        reply = future.result(LONG)
        assert reply["result"] == 7
        ids = [json.loads(message)["id"] for message in held.received]
        assert reply["id"] == ids[-1] > ids[0]
        assert client.last_disconnect.initiator == (
            "keepalive" if fault in ("frozen", "stall in mid-frame") else "network"
        )


@pytest.mark.parametrize("fault", FAULTS)
def test_a_request_that_was_sent_fails_at_once_and_is_not_sent_again(fault, held, line):
    with wsclient.connect(line.url, **FAST) as client:
        future = client.submit({"n": 7}, timeout=None)
        held.wait_for(1)
        FAULTS[fault](line, held)
        with pytest.raises(wsclient.ConnectionLost) as caught:
            future.result(LONG)
        assert caught.value.sent is True
        assert caught.value.disconnect.initiator in ("network", "keepalive")
        line.thaw()
        held.answers.set()
        assert client.request({"n": 8}, timeout=LONG, idempotent=True)["result"] == 8
        assert [json.loads(message)["n"] for message in held.received].count(7) == 1


def test_requests_made_while_connections_are_refused_are_answered_afterwards(held, line):
    held.answers.set()
    with wsclient.connect(line.url, **FAST) as client:
        line.refuse()
        line.cut()
        eventually(lambda: client.state is State.WAITING)
        futures = [client.submit({"n": n}, timeout=LONG) for n in range(5)]
        eventually(lambda: client.stats.failed_attempts >= 2)
        line.accept()
        assert [future.result(LONG)["result"] for future in futures] == list(range(5))


def test_a_request_that_times_out_offline_is_not_sent_later(held, line):
    held.answers.set()
    with wsclient.connect(line.url, **FAST) as client:
        line.refuse()
        line.cut()
        eventually(lambda: client.state is State.WAITING)
        with pytest.raises(wsclient.RequestTimeout) as caught:
            client.request({"n": 1}, timeout=SHORT)
        assert caught.value.phase == "queued"
        cancelled = client.submit({"n": 2})
        assert cancelled.cancel()
        timed_out = client.submit({"n": 3}, timeout=SHORT)
        with pytest.raises(wsclient.RequestTimeout):
            timed_out.result(LONG)
        line.accept()
        assert client.request({"n": 4}, timeout=LONG)["result"] == 4
        assert [json.loads(message)["n"] for message in held.received] == [4]


def test_idempotent_requests_keep_their_deadline_over_several_connections(held, line):
    with wsclient.connect(line.url, **FAST) as client:
        for timeout in (3 * SHORT, 4 * AMPLE, LONG / 2):  # a slow machine needs long for the second connection
            before = len(held.received)
            future = client.submit({"n": 7}, timeout=timeout, idempotent=True)
            eventually(lambda before=before, future=future: len(held.received) > before or future.done())
            line.cut()
            with pytest.raises(wsclient.RequestTimeout):
                future.result(LONG)
            if len(held.received) >= before + 2:
                return
    pytest.fail("the request was not sent on two connections before its deadline")


@pytest.mark.slow
def test_many_cuts_under_load_give_each_request_one_outcome_and_its_own_reply(server):
    """Sixteen threads send requests while the connection is cut repeatedly; replies contain the question."""
    done = threading.Event()
    outcomes = []

    def ask(client, thread):
        n = 0
        while not done.is_set():
            n += 1
            try:
                reply = client.request({"method": "echo", "params": [thread, n]}, timeout=LONG, idempotent=n % 2 == 0)
                outcomes.append(reply["result"] == [thread, n])
            except wsclient.ConnectionLost as error:
                outcomes.append(n % 2 == 1 and error.sent is True)

    with FaultProxy(server.port) as line:
        client = wsclient.connect(line.url, reconnect=wsclient.Reconnect(wait=tenacity.wait_none()))
        threads = [threading.Thread(target=ask, args=(client, thread)) for thread in range(16)]
        for thread in threads:
            thread.start()
        for cut in range(30):
            eventually(lambda cut=cut: client.stats.connections == cut + 1 and client.state is State.OPEN)
            before = client.stats.requests_ok
            eventually(lambda before=before: client.stats.requests_ok > before + 20)
            (line.cut if cut % 2 else line.reset)()
        eventually(lambda: client.stats.connections == 31)
        done.set()
        for thread in threads:
            thread.join(LONG)
            assert not thread.is_alive()
        assert all(outcomes)
        assert len(outcomes) > 500
        stats = client.stats
        assert stats.requests_ok + stats.requests_failed == len(outcomes)
        client.close()
