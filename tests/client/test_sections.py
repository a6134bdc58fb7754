"""Calls of the client by a function that interrupts the client on the same thread, at each moment in turn.

The function stands for a signal handler, for a finalizer that the garbage collector runs, and for a trace function. It
may run while its thread holds a lock of the client. Then no call may wait for a lock (guarantee 10).
"""

import collections
import contextlib
import gc
import json
import sys
import threading
import time

import pytest

import wsclient
from wsclient import State
from wsclient._threads.sections import this_thread

from ..support import LONG, SHORT, Server, eventually
from ..support.clients import FAST
from ..support.peers import open_pair, start_call, taken
from ..support.stage import PLENTY
from ..support.strikes import disturb, strikes
from ..support.threads import on_thread

MOMENTS = ("call", "c_call", "c_return")


class Log:
    """A server that answers requests, and keeps the messages in their order."""

    def __init__(self):
        self.messages = []
        self.server = Server(self.handle)

    def handle(self, connection, message):
        self.messages.append(message)
        if message.startswith("{"):
            connection.send(message)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.server.close()


@pytest.fixture(scope="module")
def log():
    with Log() as log:
        yield log


@pytest.fixture
def client(log):
    # No pings of its own: they would end a wait for a lost wake-up.
    with wsclient.connect(log.server.url, ping_interval=None) as client:
        yield client


class Inner:
    """A call inside another one. It counts how often it completed and how often it raised ``WouldDeadlock``."""

    def __init__(self, call):
        self.call = call
        self.done = self.refused = 0

    def __call__(self):
        try:
            self.call()
        except wsclient.WouldDeadlock:
            self.refused += 1
        else:
            self.done += 1


def at_each_moment(act, inner):
    """Call ``act`` again and again; call ``inner`` at its first moment, then at its second one, and so on.

    Returns:
        The number of moments; on Python 3.10, ``inner`` may have been called once more.
    """
    moment = 1
    while disturb(act, moment, inner, MOMENTS):
        moment += 1
    return moment - 1


def echo(client):
    assert client.request({"a": 1}, timeout=LONG)["a"] == 1


ACTS = {
    "send": lambda client: client.send("outer"),
    "send with an expiry": lambda client: client.send("outer", expires=60),
    "request": echo,
    "submit": lambda client: client.submit({"a": 1}, timeout=LONG),
    "submit and cancel": lambda client: client.submit({"a": 1}, timeout=LONG).cancel(),
    "state of a delivery": lambda client: client.send("outer", expires=60).state,
    "flush": lambda client: client.flush(LONG),
    "stream and close": lambda client: client.stream({"a": 1}, timeout=LONG).close(),
    "on and remove": lambda client: client.on("topic", print, workers=1).remove(),
}


@pytest.mark.parametrize("act", ACTS)
def test_send_completes_at_any_moment_of_another_call_and_the_message_arrives_once(log, client, act):
    numbers = iter(range(1_000_000))
    sent = []

    def call():
        text = f"{act} {next(numbers)}"
        sent.append(text)
        client.send(text)

    inner = Inner(call)
    moments = at_each_moment(lambda: ACTS[act](client), inner)
    assert inner.done >= moments > 20
    assert not inner.refused
    eventually(lambda: sent[-1] in log.messages)
    assert [message for message in log.messages if message.startswith(f"{act} ")] == sent


@pytest.mark.parametrize("act", ["send", "request", "submit and cancel"])
def test_a_message_of_the_same_thread_is_sent_after_one_that_interrupted_the_call_before(log, client, act):
    numbers = iter(range(1_000_000))

    def outer():
        ACTS[act](client)
        client.send(f"order of {act} {next(numbers)}")

    at_each_moment(lambda: ACTS[act](client), lambda: client.send(f"order of {act} {next(numbers)}"))
    moment, more = 1, True
    while more:
        more = disturb(outer, moment, lambda: client.send(f"order of {act} {next(numbers)}"), MOMENTS)
        client.send(f"order of {act} {next(numbers)}")
        moment += 7
    last = next(numbers)
    client.send(f"order of {act} {last}")
    eventually(lambda: f"order of {act} {last}" in log.messages)
    found = [int(message.split()[-1]) for message in log.messages if message.startswith(f"order of {act} ")]
    assert sorted(found) == list(range(last + 1))


@pytest.mark.parametrize("act", ACTS)
def test_submit_completes_at_any_moment_of_another_call_and_gets_its_reply(client, act):
    futures = []
    inner = Inner(lambda: futures.append(client.submit({"a": len(futures)}, timeout=LONG)))
    moments = at_each_moment(lambda: ACTS[act](client), inner)
    assert inner.done >= moments > 20
    assert [future.result(LONG)["a"] for future in futures] == list(range(inner.done))


@pytest.mark.parametrize("act", ["send", "request", "submit and cancel", "flush"])
def test_a_request_at_any_moment_of_another_call_gets_its_reply_or_raises_would_deadlock(client, act):
    inner = Inner(lambda: echo(client))
    at_each_moment(lambda: ACTS[act](client), inner)
    assert inner.done
    assert inner.refused
    echo(client)


@pytest.mark.parametrize("act", ["send", "request", "submit and cancel"])
def test_cancel_completes_at_any_moment_of_another_call(client, act):
    futures = []

    def call():
        futures.append(client.submit({"method": "x", "silent": 1}, match=lambda message: False, timeout=LONG))
        futures[-1].cancel()

    inner = Inner(call)
    moments = at_each_moment(lambda: ACTS[act](client), inner)
    assert inner.done >= moments > 20
    eventually(lambda: all(future.cancelled() for future in futures))
    assert client.stats.requests_in_flight == 0


@pytest.mark.parametrize("act", ["send", "request", "submit and cancel"])
def test_a_stream_can_be_opened_and_closed_at_any_moment_of_another_call(client, act):
    def call():
        client.stream({"a": 1}, timeout=LONG).close()
        client.listen().close()
        client.on("topic", print).remove()

    inner = Inner(call)
    moments = at_each_moment(lambda: ACTS[act](client), inner)
    assert inner.done >= moments > 20
    eventually(lambda: client.stats.requests_in_flight == 0)
    echo(client)


def test_reading_a_stream_can_be_interrupted_by_its_close(log, client):
    stream = client.listen()
    moments = 0
    more = True
    while more:
        stream = client.listen()
        moments += 1

        def read(stream=stream):
            try:
                stream.get(0)
            except (TimeoutError, wsclient.ClientClosed):
                pass

        more = disturb(read, moments, stream.close, MOMENTS)
        stream.close()
        with pytest.raises(wsclient.ClientClosed):
            stream.get(0)
    assert moments > 10


@pytest.mark.parametrize("wait", [False, True])
def test_close_ends_the_client_at_any_moment_of_a_send(log, wait):
    moment, more = 1, True
    while more:
        client = wsclient.connect(log.server.url)

        def act(client=client):
            try:
                client.send("outer")
            except wsclient.ClientClosed:
                pass

        began = time.monotonic()
        more = disturb(act, moment, lambda client=client: client.close(timeout=0, wait=wait), MOMENTS)
        assert time.monotonic() - began < LONG
        client.close()
        assert client.wait_closed(LONG)
        moment += 3


def test_drain_without_a_wait_completes_inside_a_section(log):
    client = wsclient.connect(log.server.url)
    client.send("before the drain")
    with this_thread.section:
        assert client.drain(wait=False) is False
    assert client.wait_closed(LONG)
    eventually(lambda: "before the drain" in log.messages)


def test_drain_inside_a_section_is_logged_and_has_no_effect_where_no_thread_can_be_started(client, monkeypatch, caplog):
    def refuse(*args):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch, this_thread.section:
        patch.setattr("_thread.start_new_thread", refuse)
        assert client.drain(wait=False) is False
    eventually(lambda: "the thread that begins the drain could not be started (can't start" in caplog.text)
    assert client.state is State.OPEN
    assert client.drain() is True


@pytest.mark.parametrize(
    ("overflow", "raises"),
    [("block", True), ("raise", True), ("drop_newest", False), ("drop_oldest", False)],
)
def test_inside_a_section_no_call_waits_for_room_in_the_send_queue(overflow, raises):
    client = wsclient.Client("ws://127.0.0.1:9", send_queue=wsclient.SendQueue(max_messages=2, overflow=overflow))
    deliveries = [client.send("1"), client.send("2")]
    with this_thread.section:
        if raises:
            with pytest.raises(wsclient.SendQueueFull):
                client.send("3")
            with pytest.raises(wsclient.SendQueueFull):
                client.submit({"a": 3})
        else:
            deliveries.append(client.send("3"))
    if overflow != "block":
        with pytest.raises(wsclient.SendQueueFull) if raises else contextlib.nullcontext():
            deliveries.append(client.send("4"))
    states = [delivery.state for delivery in deliveries]
    expected = {"drop_newest": ["queued"] * 2 + ["lost"] * 2, "drop_oldest": ["lost"] * 2 + ["queued"] * 2}
    assert states == expected.get(overflow, ["queued"] * 2)
    assert client.stats.dropped == (0 if raises else 2)
    client.close()


def test_messages_and_requests_that_are_made_inside_a_section_before_start_are_sent_in_order(log):
    client = wsclient.Client(log.server.url)
    client.send("early 1")
    with this_thread.section:
        client.send("early 2")
        future = client.submit({"early": 3})
    client.send("early 4")
    assert client.stats.queue_depth >= 3
    with client:
        assert future.result(LONG)["early"] == 3
        eventually(lambda: "early 4" in log.messages)
    found = [message for message in log.messages if "early" in message]
    assert [found[0], found[1], found[3]] == ["early 1", "early 2", "early 4"]


def test_a_closed_client_refuses_calls_inside_a_section():
    client = wsclient.Client("ws://127.0.0.1:9")
    client.close()
    with this_thread.section:
        for call in (lambda: client.send("x"), lambda: client.submit({"a": 1}), lambda: client.request({"a": 1})):
            with pytest.raises((wsclient.ClientClosed, wsclient.WouldDeadlock)):
                call()
        client.close(wait=False)
    assert client.state is State.CLOSED


def test_the_future_of_a_request_that_is_too_late_fails(log):
    client = wsclient.Client(log.server.url)
    with this_thread.section:
        future = client.submit({"a": 1}, timeout=0)
    with client, pytest.raises(wsclient.RequestTimeout):
        future.result(LONG)


def test_every_call_that_waits_raises_would_deadlock_inside_a_section(client):
    stream = client.listen()
    delivery = client.send("x")
    future = client.submit({"a": 1}, match=lambda message: False, timeout=LONG)
    waiting = {
        "request": lambda: client.request({"a": 1}),
        "call": lambda: client.call("a"),
        "request_many": lambda: client.request_many([{"a": 1}]),
        "subscribe": lambda: client.subscribe({"a": 1}, match=bool),
        "flush": client.flush,
        "ping": client.ping,
        "get": lambda: stream.get(1),
        "next": lambda: next(stream),
        "wait of a delivery": lambda: delivery.wait(1),
        "result": lambda: future.result(1),
        "exception": lambda: future.exception(1),
        "wait_until": lambda: client.wait_until(State.CLOSED, 1),
        "wait_closed": lambda: client.wait_closed(1),
        "clear_queue": client.clear_queue,
        "drain": client.drain,
        "renew": lambda: client.renew(wait=True),
        "start": client.start,
    }
    for call in waiting.values():
        with this_thread.section, pytest.raises(wsclient.WouldDeadlock, match="inside the client"):
            call()
    future.cancel()
    stream.close()
    echo(client)


def test_a_renewal_is_begun_inside_a_section(client):
    with this_thread.section:
        assert client.renew("inside") is False
    eventually(lambda: client.stats.renewals == 1)
    echo(client)


class Interrupted(wsclient.JsonId):
    """Interrupts the I/O thread at one moment after a message was decoded, until it waits again."""

    def __init__(self):
        super().__init__()
        self.moment = self.left = 0
        self.disturbance = None

    def decode(self, payload):
        if self.moment and self.left == 0:
            self.left = self.moment
            sys.setprofile(self.strike)
        return super().decode(payload)

    def strike(self, frame, event, argument):
        if event in MOMENTS:
            self.left -= 1
            if not self.left:
                sys.setprofile(None)
                self.moment = 0
                self.disturbance()


def test_calls_complete_at_any_moment_of_the_io_thread(log):
    protocol = Interrupted()
    done = []

    def act():
        client.send(f"of the I/O thread {len(done)}")
        done.append(client.submit({"a": len(done)}, timeout=LONG))

    protocol.disturbance = act
    with wsclient.connect(log.server.url, protocol=protocol, ping_interval=None) as client:
        for moment in range(1, 250):
            protocol.moment = moment
            while len(done) < moment:  # the I/O thread may wait before this moment comes
                echo(client)
        assert [future.result(LONG)["a"] for future in done] == list(range(len(done)))
        eventually(lambda: f"of the I/O thread {len(done) - 1}" in log.messages)
        found = [message for message in log.messages if message.startswith("of the I/O thread")]
        assert found == [f"of the I/O thread {n}" for n in range(len(done))]


# --- found by a review: calls that still waited for a lock, and messages that were counted or kept wrongly -----------


def test_a_future_is_read_and_a_callback_is_added_at_any_moment_of_another_call(client):
    future = client.submit({"a": 1}, timeout=LONG)
    assert future.result(LONG)["a"] == 1
    called = []

    def call():
        assert future.done()
        assert not future.cancelled()
        assert future.result()["a"] == 1
        future.add_done_callback(called.append)

    inner = Inner(call)
    moments = at_each_moment(lambda: future.add_done_callback(lambda future: None), inner)
    assert inner.done >= moments > 0
    eventually(lambda: len(called) == inner.done)


def meet(*calls):
    """Run each call on a thread of its own; return whether all ended."""
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG / 6)
    return not any(thread.is_alive() for thread in threads)


def at_line(act, function, is_wanted, disturbance):
    """Call ``act``; call ``disturbance`` once, at the first line of ``function`` at which ``is_wanted(self)``."""
    struck = []

    def trace(frame, event, argument):
        if not struck and frame.f_code.co_name == function and event == "line" and is_wanted(frame.f_locals["self"]):
            struck.append(True)
            disturbance()
        return trace

    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(None)
    assert struck


def test_two_threads_whose_finalizers_use_a_future_and_send_do_not_wait_for_each_other():
    client = wsclient.Client("ws://127.0.0.1:9")
    future = client.submit({"a": 1})
    both = threading.Barrier(2)

    def sends():
        at_line(lambda: client.send("x"), "_try_put", lambda queue: queue._lock.locked(), ask)

    def ask():
        both.wait(LONG)
        future.done()

    def adds():
        at_line(lambda: future.add_done_callback(print), "add_done_callback", is_locked, send)

    def is_locked(future):
        return future._condition._is_owned()

    def send():
        both.wait(LONG)
        client.send("y")

    assert meet(sends, adds)
    future.cancel()
    client.close()


def test_two_clients_whose_finalizers_send_ids_on_each_other_do_not_wait_for_each_other():
    one, other = (wsclient.Client("ws://127.0.0.1:9") for _ in range(2))
    both = threading.Barrier(2)

    def sends(own, foreign):
        def disturb():
            both.wait(LONG)
            foreign.send({"id": 7})

        at_line(lambda: own.send({"id": 5}), "step_over", lambda numbers: numbers._lock._is_owned(), disturb)

    assert meet(lambda: sends(one, other), lambda: sends(other, one))
    one.close()
    other.close()


def test_the_id_of_a_message_that_is_sent_inside_a_section_is_not_given_to_a_later_request(log, client):
    with this_thread.section:
        client.send({"id": 1, "method": "one way"})
    client.flush(LONG)
    assert client.request({"a": 1}, timeout=LONG)["id"] == 2


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="the collector does not run inside C functions")
def test_a_finalizer_may_submit_while_handed_over_requests_are_taken():
    client = wsclient.Client("ws://127.0.0.1:9")

    class Garbage:
        is_live = False

        def __init__(self):
            self.me = self

        def __del__(self):
            if Garbage.is_live:
                Garbage()
                client.submit({"a": 1})

    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(10):
            with this_thread.section:
                for _ in range(200):
                    client.submit({"a": 1})
            pairs = [(number, object()) for number in range(3000)]  # now the interpreter has no unused tuples left
            Garbage.is_live = True
            Garbage()
            client.submit({"a": 1})
            Garbage.is_live = False
    finally:
        Garbage.is_live = False
        gc.set_threshold(*threshold)
    assert pairs
    client.close()


def test_close_inside_a_section_of_the_io_thread_does_not_wait_for_this_thread(log):
    outcome = []

    class Closes(wsclient.JsonId):
        def decode(self, payload):
            for number in range(20):
                client.send(f"before the close {number}")
            with this_thread.section:
                try:
                    client.close(timeout=LONG)
                except wsclient.WouldDeadlock as error:
                    outcome.append(error)
            return super().decode(payload)

    client = wsclient.connect(log.server.url, protocol=Closes())
    client.submit({"a": 1})
    assert client.wait_closed(LONG / 2)
    assert outcome


def test_a_session_that_is_used_inside_a_call_of_it_completes_or_raises_would_deadlock(log):
    results = collections.Counter()
    kinds = {"send": lambda session: session.send("inner"), "request": lambda session: session.request({"inner": 1})}

    def set_up(client, session):
        for kind, call in kinds.items():
            inner = Inner(lambda call=call: call(session))
            at_each_moment(lambda: session.request({"a": 1}), inner)
            results[kind] = inner.done
            results["refused"] += inner.refused

    with wsclient.connect(log.server.url, on_session=set_up, ping_interval=None):
        assert results["send"]
        assert results["request"]
        assert results["refused"]


def test_an_interrupt_while_handed_over_messages_are_taken_leaves_the_counts_right():
    moment, struck = 0, True
    while struck:
        client = wsclient.Client("ws://127.0.0.1:9", send_queue=wsclient.SendQueue(max_messages=3, overflow="raise"))
        with this_thread.section:
            first = client.send("1", expires=0.001)
        eventually(lambda: first.state == "expired")  # noqa: B023
        with this_thread.section:
            client.send("2", expires=0.001)
        struck = strikes(moment, lambda: client.send("3"))  # noqa: B023
        for _ in range(4):
            with contextlib.suppress(wsclient.SendQueueFull):
                client.send("4")
        assert client.stats.queue_depth == 3, moment
        client.close()
        moment += 1
    assert moment > 20


def test_a_message_that_is_handed_over_expires_without_a_connection():
    client = wsclient.Client("ws://127.0.0.1:9")
    with this_thread.section:
        delivery = client.send("x", expires=0.01)
    eventually(lambda: delivery.state == "expired")
    client.close()


def test_messages_that_are_handed_over_are_limited_with_drop_oldest_too():
    bounds = wsclient.SendQueue(max_messages=2, overflow="drop_oldest")
    client = wsclient.Client("ws://127.0.0.1:9", send_queue=bounds)
    with this_thread.section:
        client.send("1")
        client.send("2")
        with pytest.raises(wsclient.SendQueueFull):
            client.send("3")
    client.send("4")
    assert client.stats.queue_depth == 2
    client.close()


def test_drain_of_a_failed_client_raises_inside_a_section(capfd):
    with Server(lambda connection, message: connection.close(1008)) as server:
        client = wsclient.connect(server.url, reconnect=None)
        client.send("x")
        assert client.wait_closed(LONG)
        with this_thread.section, pytest.raises(wsclient.ClientClosed):
            client.drain(wait=False)
    assert capfd.readouterr() == ("", "")


def test_a_client_that_has_ended_keeps_nothing_of_calls_inside_a_section():
    client = wsclient.Client("ws://127.0.0.1:9")
    client.close()
    context = client._wsclient.context
    with this_thread.section:
        for _ in range(10):
            with pytest.raises(wsclient.ClientClosed):
                client.submit({"a": 1})
            with pytest.raises(wsclient.ClientClosed):
                client.send("x")
    assert not context.table.handed_over
    assert not context.queue.handed_over
    assert not context.subscriptions.events


def test_a_message_of_a_hook_whose_connection_has_ended_is_lost_inside_a_section(log):
    states = []
    entered, cut = threading.Event(), threading.Event()

    def on_open(client):
        if entered.is_set():
            return
        entered.set()
        assert cut.wait(LONG)
        with this_thread.section:
            states.append(str(client.send("of the first connection").state))
            with pytest.raises(wsclient.ConnectionLost):
                client.submit({"of": "the first connection"})

    with wsclient.Client(log.server.url, on_open=on_open, reconnect=FAST["reconnect"]) as client:
        assert entered.wait(LONG)
        client.reconnect()
        eventually(lambda: client.stats.connections == 2)
        cut.set()
        eventually(lambda: states)
    assert states == ["lost"]
    assert "of the first connection" not in log.messages


# --- what is left to the I/O thread ----------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1])
def test_handlers_that_are_registered_and_removed_inside_a_section_get_messages_in_between(workers):
    events, calls = [], []

    def serve(connection, message):
        """Answer a notification with an event and a call."""
        if "method" not in json.loads(message):
            return
        connection.send(json.dumps({"jsonrpc": "2.0", "method": "event", "params": [message]}))
        connection.send(json.dumps({"jsonrpc": "2.0", "method": "call", "params": [message], "id": 1}))

    with Server(serve) as server, wsclient.connect(server.url, protocol=wsclient.JsonRpc()) as client:
        handlers = client._wsclient.context.handlers
        with this_thread.section:
            registrations = [
                client.on("event", events.append, workers=workers),
                client.handle("call", calls.append, workers=workers),
            ]
            with pytest.raises(ValueError, match="has a handler already"):
                client.handle("call", print, workers=workers)
        eventually(lambda: handlers.of_topic("event") and len(handlers.pools) == 2 * workers)
        client.notify("first")
        eventually(lambda: len(events) == len(calls) == 1)
        with this_thread.section:
            for registration in registrations:
                registration.remove()
        eventually(lambda: not handlers.of_topic("event") and not handlers.of_method("call") and not handlers.pools)
        received = client.stats.messages_received
        client.notify("second")
        eventually(lambda: client.stats.messages_received == received + 2)
    assert (len(events), len(calls)) == (1, 1)


def test_a_future_that_is_cancelled_inside_a_section_is_cancelled_a_moment_later(mute_server):
    called = []
    with wsclient.connect(mute_server.url) as client:
        future = client.submit({"a": 1}, timeout=LONG)
        with this_thread.section:
            future.cancel()  # it returns True only if the thread that cancels was quicker
            future.add_done_callback(called.append)
        eventually(future.cancelled)
        eventually(lambda: called == [future])
        assert client.stats.requests_in_flight == 0


def test_a_stream_of_replies_that_is_opened_and_closed_inside_a_section_leaves_no_request(mute_server):
    with wsclient.connect(mute_server.url) as client:
        with this_thread.section:
            stream = client.stream({"a": 1}, timeout=None)
        eventually(lambda: client.stats.requests_in_flight == 1)
        with this_thread.section:
            stream.close()
        eventually(lambda: client.stats.requests_in_flight == 0)
        with pytest.raises(wsclient.ClientClosed):
            stream.get(0)


def test_a_batch_that_is_submitted_inside_a_section_gets_its_replies():
    def answer(connection, message):
        replies = [{"jsonrpc": "2.0", "id": one["id"], "result": one["method"]} for one in json.loads(message)]
        connection.send(json.dumps(replies))

    with Server(answer) as server, wsclient.connect(server.url, protocol=wsclient.JsonRpc()) as client:
        with this_thread.section:
            future = client.submit([{"method": "a"}, {"method": "b"}], timeout=LONG)
        assert future.result(LONG) == ["a", "b"]


def test_an_id_of_the_caller_is_used_once_inside_a_section_too(mute_server):
    with wsclient.connect(mute_server.url) as client:
        first = client.submit({"id": "mine", "a": 1}, timeout=LONG)
        with this_thread.section:
            with pytest.raises(ValueError, match="mine"):
                client.submit({"id": "mine", "a": 2})
            second = client.submit({"id": "other", "a": 3}, timeout=LONG)
        with pytest.raises(ValueError, match="other"):
            client.submit({"id": "other", "a": 4})
        assert first.cancel()
        assert second.cancel()


def test_a_request_that_is_made_inside_a_section_ends_with_a_client_that_never_started():
    client = wsclient.Client("ws://127.0.0.1:9")
    with this_thread.section:
        future = client.submit({"a": 1})
    on_thread(client.close)
    with pytest.raises(wsclient.ClientClosed):
        future.result(LONG)


def test_close_inside_a_section_waits_for_the_end(log):
    client = wsclient.connect(log.server.url)
    with this_thread.section:
        client.close(timeout=LONG)
        assert client.state is State.CLOSED


def test_close_inside_a_section_cuts_the_connection_of_a_client_that_does_not_end(raw, hang):
    client, peer = open_pair(raw, ping_interval=None)
    client.submit({"a": 1}, match=hang)
    taken(peer)
    peer.send_text("{}")
    assert hang.entered.wait(LONG)
    with this_thread.section:
        client.close(timeout=0)
        assert client.state is State.OPEN
    with pytest.raises(ConnectionError):
        peer.exactly(1)
    hang.release()
    assert client.wait_closed(LONG)


def test_a_session_that_is_used_inside_a_section_raises_would_deadlock(log):
    errors = []

    def set_up(client, session):
        with this_thread.section:
            for call in (lambda: session.request({"a": 1}), session.recv):
                with pytest.raises(wsclient.WouldDeadlock, match="inside the client") as caught:
                    call()
                errors.append(caught.value)

    with wsclient.connect(log.server.url, on_session=set_up):
        assert len(errors) == 2


def test_a_session_that_waits_is_not_used_for_another_wait(log):
    errors = []

    class Asks(wsclient.JsonId):
        def decode(self, payload):
            try:
                sessions[0].recv(LONG)
            except wsclient.WouldDeadlock as error:
                errors.append(str(error))
            return super().decode(payload)

    sessions = []

    def set_up(client, session):
        sessions.append(session)
        assert session.request({"a": 1}, timeout=LONG)["a"] == 1

    with wsclient.connect(log.server.url, protocol=Asks(), on_session=set_up):
        assert len(errors) == 1
        assert "interrupted the wait" in errors[0]


def test_a_request_that_is_made_inside_a_section_ends_at_its_deadline_although_it_cannot_be_written(raw):
    client, _ = open_pair(raw, ping_interval=None, compression=None)
    client.send(bytes(PLENTY))
    eventually(lambda: client._wsclient.context.sender.writer.blocked)
    with this_thread.section:
        future = client.submit({"a": 1}, timeout=SHORT)
    eventually(future.done)  # without a thread that waits for it
    with pytest.raises(wsclient.RequestTimeout):
        future.result()
    client.close(timeout=0)


def test_a_request_that_is_made_inside_a_section_ends_at_its_deadline_although_a_function_blocks(hang):
    client = wsclient.Client(hang)
    starting = start_call(client.start)
    assert hang.entered.wait(LONG)
    with this_thread.section:
        future = client.submit({"a": 1}, timeout=SHORT)
    eventually(future.done)
    with pytest.raises(wsclient.RequestTimeout):
        future.result()
    client.close(wait=False)
    hang.release()
    with pytest.raises(wsclient.WebSocketClientError):
        starting.result(LONG)


def test_close_inside_a_section_ends_a_client_that_never_started_a_moment_later():
    client = wsclient.Client("ws://127.0.0.1:9")
    with this_thread.section:
        client.close(timeout=LONG)
    assert client.wait_closed(LONG)
    assert client.state is State.CLOSED
