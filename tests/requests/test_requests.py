"""A request that races its reply, its timeout, its cancel, the loss of its connection and close(): one outcome."""

import concurrent.futures
import contextlib
import itertools
import json
import random
import threading
import time

import pytest
import tenacity

import wsclient
from wsclient._threads.waiting import Deadline

from ..support import AMPLE, LONG, FaultProxy, Server, eventually
from ..support.peers import open_pair, put, reply, start_call, taken
from ..support.strikes import strikes
from ..support.threads import on_thread

OUTCOMES = (
    wsclient.RequestTimeout,
    wsclient.ConnectionLost,
    wsclient.ClientClosed,
    concurrent.futures.CancelledError,
)


class Tally:
    """Counts the outcomes that each request received, and collects their kinds."""

    def __init__(self):
        self._lock = threading.Lock()
        self.reported = {}
        self.kinds = set()

    def watch(self, number, future):
        future.add_done_callback(lambda future: self.note(number, outcome(future, number)))

    def note(self, number, kind):
        with self._lock:
            self.reported[number] = self.reported.get(number, 0) + 1
            self.kinds.add(kind)


def outcome(future, number):
    """The kind of its outcome; a reply must be its own."""
    try:
        reply = future.result(LONG)
    except OUTCOMES as error:
        return type(error).__name__
    assert reply["result"] == number
    return "reply"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_all_events_at_once_give_each_request_one_outcome(seed):
    rng = random.Random(seed)
    tally = Tally()
    over = threading.Event()

    def dawdle(connection, message):
        over.wait(rng.random() * 0.004)
        call = json.loads(message)
        connection.send(json.dumps({"id": call["id"], "result": call["n"]}))

    def trouble(futures):
        while not over.wait(rng.random() * 0.002):
            if futures:
                rng.choice(futures).cancel()
            if rng.random() < 0.05 and client.state is wsclient.State.OPEN:
                proxy.cut()

    with Server(dawdle) as server, FaultProxy(server.port) as proxy:
        client = wsclient.connect(proxy.url, reconnect=wsclient.Reconnect(wait=tenacity.wait_none()))
        futures = []
        troubles = [threading.Thread(target=trouble, args=(futures,)) for _ in range(2)]
        for thread in troubles:
            thread.start()
        until = time.monotonic() + LONG
        for number in itertools.count():
            if number >= 600 and (len(tally.kinds) >= 4 or time.monotonic() > until):
                break
            timeout = rng.choice([0.001, 0.01, 0.1, LONG])
            future = client.submit({"n": number}, timeout=timeout, idempotent=rng.random() < 0.5)
            tally.watch(number, future)
            futures.append(future)
            if number % 10 == 0:
                over.wait(rng.random() * 0.01)
        client.close()
        over.set()
        for thread in troubles:
            thread.join(LONG)
        kinds = [outcome(future, number) for number, future in enumerate(futures)]
        eventually(lambda: len(tally.reported) == len(futures))
    assert set(tally.reported.values()) == {1}
    counts = client._wsclient.context.table.counts
    assert counts == {
        "ok": kinds.count("reply"),
        "failed": kinds.count("ConnectionLost") + kinds.count("ClientClosed"),
        "timed_out": kinds.count("RequestTimeout"),
        "cancelled": kinds.count("CancelledError"),
    }
    assert len(set(kinds)) >= 4  # otherwise there was no race


@pytest.mark.parametrize("rival", ["cancel", "close", "cut"])
def test_a_reply_against_one_competing_event(rival):
    """The same event releases the reply and its competitor; over the rounds both win, and the loser changes nothing."""
    winners = set()
    for _ in range(25):
        go = threading.Event()

        def answer(connection, message, go=go):
            assert go.wait(LONG)
            connection.send(json.dumps({"id": 1, "result": 0}))

        with Server(answer) as server:
            client = wsclient.connect(server.url)
            future = client.submit({"n": 0})
            server.wait_for(1)

            def strike(go=go, future=future, client=client, server=server):
                assert go.wait(LONG)
                {"cancel": future.cancel, "close": client.close, "cut": server.reset_all}[rival]()

            striker = threading.Thread(target=strike)
            striker.start()
            go.set()
            winners.add(outcome(future, 0))
            first = outcome(future, 0)
            striker.join(LONG)
            client.close()
            assert outcome(future, 0) == first
    assert winners <= {"reply", "CancelledError", "ClientClosed", "ConnectionLost"}


def test_blocking_requests_race_their_own_timeout(server):
    """The timeout is as long as the answer takes, so that both win in some rounds."""
    replies = timeouts = 0

    def ask(client):
        results = []
        for n in range(300):
            try:
                results.append(client.request({"method": "echo", "params": n}, timeout=0.0004)["result"] == n)
            except wsclient.RequestTimeout:
                results.append(None)
        return results

    with wsclient.connect(server.url) as client, concurrent.futures.ThreadPoolExecutor(4) as pool:
        for results in pool.map(ask, [client] * 4):
            assert False not in results
            replies += results.count(True)
            timeouts += results.count(None)
        eventually(lambda: not client._wsclient.context.table.in_flight)
        assert replies + timeouts == 1200
        assert (client.stats.requests_ok, client.stats.requests_timed_out) == (replies, timeouts)
        assert not client._wsclient.context.table.waiting


def test_a_request_that_was_sent_once_does_not_end_as_never_sent(mute_server):
    """An idempotent request loses its connection, and is queued again when its timeout ends."""
    with FaultProxy(mute_server.port) as proxy, wsclient.connect(proxy.url) as client:
        sent_again = client.submit({"n": 0}, timeout=3, idempotent=True)
        mute_server.wait_for(1)
        proxy.refuse()
        proxy.reset()
        assert client.wait_until(wsclient.State.WAITING, LONG)
        never_sent = client.submit({"n": 1}, timeout=0.1, idempotent=True)
        assert (sent_again.exception(LONG).phase, never_sent.exception(LONG).phase) == ("waiting", "queued")
        assert len(mute_server.received) == 1


ENDINGS = {
    "reply": lambda context, request: context.requests.answer(request, "the reply"),
    "error": lambda context, request: context.requests.fail(request, OSError("lost")),
    "time-out": lambda context, request: context.requests.time_out(request),
    "cancel": lambda context, request: context.requests.cancel(request),
}


class Count:
    """Receives an outcome."""

    def __init__(self):
        self.outcomes = []

    def complete(self, value, error):
        self.outcomes.append((value, error))


def test_a_request_of_another_connection_ends_when_it_is_about_to_be_written():
    client = wsclient.Client("ws://localhost/")
    context = client._wsclient.context
    request = context.requests.make({"method": "add"}, Deadline(None), connection_number=1)
    request.waiter = Count()
    context.table.add(request, timed=False)
    assert request.payload_for(context.make_backend(context.table.new_connection(2))) is None
    ((value, error),) = request.waiter.outcomes
    assert value is None
    assert isinstance(error, wsclient.ConnectionLost)
    assert error.sent is False
    client.close()


def test_a_request_whose_reply_is_dropped_times_out_although_nothing_else_wakes_the_io_thread(raw):
    client, peer = open_pair(raw, request_timeout=AMPLE, ping_interval=None)
    requests = client._wsclient.context.requests
    on_thread(lambda: requests.send_ignoring_reply(wsclient.protocols.Request({"n": 1}), connection_number=1))
    peer.receive_text()
    eventually(lambda: client.stats.requests_timed_out == 1)
    client.close(timeout=0)


def test_a_batch_with_an_id_twice_is_refused_and_leaves_nothing():
    with contextlib.closing(wsclient.Client("ws://localhost/", protocol=wsclient.JsonRpc())) as client:
        with pytest.raises(ValueError, match="the id 5 is in flight already"):
            client.submit([{"method": "a", "id": 5}, {"method": "b", "id": 5}])
        assert client._wsclient.context.table.everything() == []
        assert not client.submit({"method": "a", "id": 5}).done()


def test_a_message_with_an_id_that_no_request_can_have_is_sent():
    with contextlib.closing(wsclient.Client("ws://localhost/")) as client:
        assert client._wsclient.context.table.check_free([1]) is None


def test_a_request_with_match_that_gives_up_its_position_is_not_offered_messages():
    client = wsclient.Client("ws://localhost/")
    context = client._wsclient.context
    request = context.requests.make({"method": "add"}, Deadline(None), match=bool)
    context.requests.begin(request, Count(), timed=False)
    written = context.table.new_connection(1)
    assert request.payload_for(context.make_backend(written)) is not None
    assert written.matching() == [request]
    context.table.drop_position(request)
    assert (written.matching(), written.in_flight) == ([], 0)
    client.close()


def test_a_message_of_a_connection_that_has_ended_does_not_stay_in_the_queue():
    client = wsclient.Client("ws://localhost/")
    context = client._wsclient.context
    message = context.requests.encode_one_way("x", connection_number=1)
    context.requests.queue(message, Deadline(None))
    assert message.state == "lost"
    request = context.requests.make({"method": "add"}, Deadline(None), connection_number=1)
    with pytest.raises(wsclient.ConnectionLost) as caught:
        context.requests.begin(request, Count(), timed=False)
    assert caught.value.sent is False
    assert context.queue.messages == 0
    client.close()


@pytest.mark.parametrize("second", ENDINGS)
@pytest.mark.parametrize("first", ENDINGS)
def test_the_first_of_two_events_decides_and_the_second_one_is_informed_of_it(first, second):
    """Both may have found the request before the other one ended it; their calls must not count twice."""
    client = wsclient.Client("ws://localhost/")
    context = client._wsclient.context
    request = context.requests.make({"method": "add"}, Deadline(None))
    context.requests.begin(request, Count(), timed=False)
    assert request.payload_for(context.make_backend(context.table.new_connection(1))) is not None
    ENDINGS[first](context, request)
    reported = list(request.waiter.outcomes)
    assert len(reported) == (first != "cancel")
    assert not ENDINGS[second](context, request)
    assert request.waiter.outcomes == reported
    assert sum(context.table.counts.values()) == 1
    client.close()


def test_an_interrupt_at_any_moment_of_a_send_leaves_no_dropped_request_waiting():
    """``drop_oldest`` drops the requests of another thread."""
    moment, struck, dropped = 0, True, set()
    while struck:
        queue = wsclient.SendQueue(max_messages=2, max_bytes=1000, overflow="drop_oldest")
        with contextlib.closing(wsclient.Client("ws://127.0.0.1:9/", send_queue=queue)) as client:
            futures = [on_thread(lambda client=client: client.submit({"method": "a"})) for _ in range(2)]
            struck = strikes(moment, lambda client=client: client.send("x" * 1000))
            dropped.add(client.stats.dropped)
            for future in futures[: client.stats.dropped]:
                assert isinstance(future.exception(LONG), wsclient.SendQueueFull)
        moment += 1
    assert dropped == {0, 1, 2}


def test_a_request_that_times_out_makes_room_for_the_next_one_while_the_io_thread_is_busy(raw, hang):
    class Narrow(wsclient.JsonId):
        max_in_flight = 1

        def decode(self, payload):
            return hang() if payload == "hang" else super().decode(payload)

    client, peer = open_pair(raw, protocol=Narrow(), ping_interval=None)
    peer.send_text("hang")
    assert hang.entered.wait(LONG)
    first = start_call(lambda: client.request({"n": 1}, timeout=AMPLE))
    assert taken(peer)["n"] == 1
    second = start_call(lambda: client.request({"n": 2}, timeout=LONG))
    assert isinstance(first.exception(LONG), wsclient.RequestTimeout)
    asked = taken(peer)
    assert asked["n"] == 2
    hang.release()
    put(peer, reply(asked, "two"))
    assert second.result(LONG)["result"] == "two"
    client.close(timeout=0)
