"""Each guarantee of the design's second section with each of four hooks: one sleeps, one always raises, one closes
its client, one starts another client.

Two guarantees do not depend on hooks. Headers, TLS and redirects (7) are decided while a connection is opened, before
any hook; the part of 7 that concerns hooks, secrets in log messages, is tested here. That no timeout uses the wall
clock (5) depends only on the clock that is read.
"""

import concurrent.futures
import json
import logging
import signal
import threading
import time
from collections import Counter

import pytest

import wsclient
from wsclient import State

from ..support import LONG, SHORT, SLACK, eventually
from ..support.children import in_child, needs_fork
from ..support.clients import FAST, add, threads
from ..support.figures import descriptors, needs_proc
from ..support.peers import start_call

KINDS = ("sleeps", "raises", "closes", "starts")
RAISING = ("on_open", "on_reconnect", "on_message", "on_close", "on_error", "on_ping", "on_pong", "on_connect_error")
LIVING = ("sleeps", "raises", "starts")
"""The hooks that leave the client open."""


def of(kinds):
    """Parameters of a test: the first kind is in the plain run; the others are slow."""
    first, *others = kinds
    return pytest.mark.parametrize("kind", [first, *(pytest.param(kind, marks=pytest.mark.slow) for kind in others)])


TIMEOUT = 0.5
"""The timeout of ``close()``."""

LATE = TIMEOUT + 1 + SLACK
"""The longest time of ``close()``: its timeout and a second (guarantee 3), and more on a busy machine."""


class Scene:
    """A client with a hook that misbehaves when it receives "now"; a hook that blocks is released in the end."""

    def __init__(self, kind, server, *, url=None, name="first", **options):
        self.kind = kind
        self.acting, self.go, self.returned = threading.Event(), threading.Event(), threading.Event()
        self.other = None
        self.in_hook = lambda: None
        self._server = server
        hooks = {"on_message": getattr(self, kind)}
        if kind == "raises":
            hooks = dict.fromkeys(RAISING, self.raises)
        if name is not None:
            options["name"] = name
        self.client = wsclient.connect(url or server.url, **{**FAST, **hooks, **options})
        server.opened.get(timeout=LONG)

    def sleeps(self, client, message):
        self.acting.set()
        self.go.wait(LONG)

    def raises(self, client, *args):
        if args == ("now",):
            self.acting.set()
        raise RuntimeError("the hook is broken")

    def closes(self, client, message):
        self.in_hook()
        self.acting.set()
        client.close(timeout=LONG)
        self.returned.set()

    def starts(self, client, message):
        if self.other is None:
            with wsclient.connect(self._server.url, name="second", **FAST) as self.other:
                self._server.opened.get(timeout=LONG)
                assert self.other.request(add(1, 1), timeout=LONG)["result"] == 2
                self.acting.set()
                self.go.wait(LONG)

    def misbehave(self):
        self._server.send_all("now")
        assert self.acting.wait(LONG)

    def end(self):
        """The client is closed; by its hook, if the hook does that."""
        if self.kind != "closes":
            self.client.close(timeout=TIMEOUT)
        else:
            self.misbehave()
            assert self.client.wait_until(State.CLOSED, LONG)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.go.set()
        self.client.close(timeout=TIMEOUT)
        eventually(lambda: not threads(self.client._wsclient.context.settings.name) and not threads("second"))


@pytest.fixture
def scene(server):
    scenes = []

    def make(kind, **options):
        scenes.append(Scene(kind, server, **options))
        return scenes[-1]

    yield make
    for one in scenes:
        one.__exit__()


# --- 1, 2, 3: bounded calls, one end for each request, a bounded close -----------------------------------------------

BOUNDED = {
    "request": lambda client, timeout: client.request({"method": "silence"}, timeout=timeout),
    "submit": lambda client, timeout: client.submit({"method": "silence"}, timeout=timeout).result(),
    "request_many": lambda client, timeout: client.request_many([{"method": "silence"}] * 2, timeout=timeout),
    "subscribe": lambda client, timeout: client.subscribe({"method": "silence"}, timeout=timeout),
    "stream": lambda client, timeout: client.stream({"method": "silence"}, timeout=timeout).get(),
    "get": lambda client, timeout: client.listen(lambda message: False).get(timeout),
    "wait_until": lambda client, timeout: client.wait_until(State.FAILED, timeout),
    "wait_closed": lambda client, timeout: client.wait_closed(timeout),
}
WAITING_FOR_A_REPLY = ("request", "submit", "request_many", "subscribe", "stream")
ENDED_IN_TIME = {**dict.fromkeys(WAITING_FOR_A_REPLY, wsclient.RequestTimeout), "get": TimeoutError}
ENDED_BY_CLOSE = dict.fromkeys(ENDED_IN_TIME, wsclient.ClientClosed)


def outcome(future):
    """The result or the error of a call that must have ended."""
    assert concurrent.futures.wait([future], LONG).done, "it did not end"
    return future.exception() or future.result()


@of(LIVING)
def test_1_each_blocking_call_ends_at_its_timeout(kind, scene):
    one = scene(kind)
    one.misbehave()
    calls = {name: start_call(lambda call=call: call(one.client, SHORT)) for name, call in BOUNDED.items()}
    for name, future in calls.items():
        ended = outcome(future)
        if name in ENDED_IN_TIME:
            assert isinstance(ended, ENDED_IN_TIME[name]), name
        else:
            assert ended is False, name
    delivery = one.client.send("one more")
    assert delivery.wait(LONG), "a pong is counted as a confirmation in addition to the hook"
    one.client.flush(LONG)
    assert one.client.request(add(1, 2), timeout=LONG)["result"] == 3
    began = time.monotonic()
    one.client.drain(TIMEOUT)
    assert time.monotonic() - began < LATE
    assert one.client.state is State.CLOSED


@of(KINDS)
def test_1_and_2_each_call_without_a_timeout_ends_with_close_and_each_request_once(kind, scene, server):
    one = scene(kind)
    if kind in LIVING:
        one.misbehave()
    ends = Counter()
    futures = [one.client.submit({"method": "silence"}, timeout=None) for _ in range(20)]
    answered = [one.client.submit(add(n, 1), timeout=None) for n in range(20)]
    for future in (*futures, *answered):
        future.add_done_callback(lambda future: ends.update([future]))
    assert [future.result(LONG)["result"] for future in answered] == [n + 1 for n in range(20)]
    calls = {name: start_call(lambda call=call: call(one.client, None)) for name, call in BOUNDED.items()}
    server.wait_for(20 + 20 + 6)  # request, submit, the two of request_many, subscribe and stream
    eventually(lambda: len(one.client._wsclient.context.streams.listening) >= 1)
    one.end()
    for future in futures:
        assert isinstance(future.exception(LONG), wsclient.ClientClosed)
    for name, future in calls.items():
        ended = outcome(future)
        if name in ENDED_BY_CLOSE:
            assert isinstance(ended, ENDED_BY_CLOSE[name]), name
        else:
            assert ended is (name == "wait_closed"), name
    one.go.set()
    eventually(lambda: len(ends) == 40)
    eventually(lambda: threads("first") == [])
    assert set(ends.values()) == {1}


@of(KINDS)
def test_2_a_request_lost_or_answered_while_the_hook_acts_has_one_outcome_and_its_own_reply(kind, scene, server):
    """Ten rounds of requests, each cut in the middle; the hook that closes does so in the last."""
    one = scene(kind)
    if kind in LIVING:
        one.misbehave()
    futures = {}
    refused = 0
    ends = Counter()
    for round in range(10):
        if kind == "closes" and round == 9:
            eventually(lambda: server.send_all("now") or one.acting.wait(SHORT))  # it may have no connection now
        for n in range(20):
            try:
                future = one.client.submit(add(round, n), timeout=LONG, idempotent=bool(n % 2))
            except wsclient.ClientClosed:
                assert kind == "closes"
                refused += 1
                continue
            futures[future] = round + n
            future.add_done_callback(lambda future: ends.update([future]))
        server.cut_all()
    done = concurrent.futures.wait(futures, LONG)
    assert not done.not_done
    for future, result in futures.items():
        if future.exception() is None:
            assert future.result()["result"] == result
        else:
            closed = wsclient.ClientClosed if kind == "closes" else ()
            assert isinstance(future.exception(), (wsclient.ConnectionLost, *((closed,) if closed else ())))
    one.go.set()
    one.client.close(timeout=TIMEOUT)
    eventually(lambda: len(ends) == len(futures))
    eventually(lambda: threads("first") == [])
    assert set(ends.values()) == {1}
    stats = one.client.stats
    assert stats.requests_ok + stats.requests_failed == len(futures) + refused, "one outcome was counted for each"
    assert stats.requests_ok == sum(future.exception() is None for future in futures)


@pytest.mark.parametrize("wait", [True, False])
@of(KINDS)
def test_3_close_returns_in_time(kind, wait, scene, caplog):
    one = scene(kind)
    one.misbehave()
    began = time.monotonic()
    one.client.close(timeout=TIMEOUT, wait=wait)
    assert one.client.wait_until(State.CLOSED, LATE)
    assert time.monotonic() - began < LATE
    assert one.client.state is State.CLOSED
    if kind == "closes":
        assert one.returned.wait(LONG / 2), "close() waits for its own thread, the hook thread"
        assert "does not return" not in caplog.text


# --- 4: threads and descriptors --------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_proc
@of(LIVING)
def test_4_reconnects_during_the_hook_leave_threads_and_descriptors_unchanged(kind, scene, server):
    one = scene(kind)
    one.misbehave()
    other = int(kind == "starts")
    seen = []
    for number in range(2, 14):
        before = server.connections
        server.cut_all()
        eventually(lambda number=number: one.client.stats.connections >= number and one.client.state is State.OPEN)
        if other:
            eventually(lambda number=number: one.other.stats.connections >= number and one.other.state is State.OPEN)
        # The server may still list the former connection, and not yet the present one, which is cut next.
        eventually(lambda old=before: len(server.connections) == 1 + other and not {*old} & {*server.connections})
        assert threads("first") == ["hooks", "io"]
        assert threads("second") == ["io"] * other
        seen.append(descriptors())
    assert min(seen[6:]) <= max(seen[:3]), "they grow"


@needs_proc
@of(KINDS)
def test_4_clients_closed_during_such_a_hook_release_all_resources(kind, server):
    counts = []
    for _ in range(6):
        with Scene(kind, server) as one:
            one.misbehave()
            one.go.set()
            one.client.close(timeout=LONG)
        eventually(lambda: not server.connections)
        counts.append(descriptors())
    assert min(counts[3:]) <= max(counts[:3]), "descriptors grow"


# --- 5: effects on the process ---------------------------------------------------------------------------------------


@of(KINDS)
def test_5_nothing_is_printed_and_no_signal_is_handled_and_each_log_line_and_thread_has_the_name(
    kind, scene, server, capfd, caplog
):
    caplog.set_level(logging.DEBUG, "wsclient")
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    queue = wsclient.ReceiveQueue(max_messages=2, overflow="drop_oldest")
    known = set(threading.enumerate())
    one = scene(kind, receive_queue=queue)
    stream = one.client.listen(maxsize=1, overflow="drop_newest")
    one.misbehave()
    for n in range(10):
        server.send_all(f"too much {n}")
    eventually(lambda: one.client.state is State.CLOSED or stream.dropped > 0)
    new = [thread.name for thread in threading.enumerate() if thread not in known]
    ours = [name for name in new if name.endswith(("-io", "-hooks"))]
    assert all(name.startswith(("first-", "second-")) for name in ours)
    if kind in LIVING:
        one.end()
    one.go.set()
    eventually(lambda: threads("first") == [])
    assert {number: signal.getsignal(number) for number in signal.valid_signals()} == handlers
    assert capfd.readouterr() == ("", "")
    records = [record for record in caplog.records if record.name.startswith("wsclient")]
    assert [record for record in records if not record.getMessage().startswith(("first: ", "second: "))] == []
    if kind in LIVING:
        assert [record for record in records if "too slowly" in record.getMessage()]
    assert all(record.exc_info for record in records if "raised RuntimeError" in record.getMessage())


@needs_proc
@of(LIVING)
def test_5_no_thread_wakes_up_without_a_reason_while_the_hook_acts(kind, scene, server):
    """How often each of our threads gave up the processor voluntarily: once for each wait that ended."""
    one = scene(kind, ping_interval=None, receive_queue=wsclient.ReceiveQueue(max_messages=1))
    one.misbehave()
    if kind == "sleeps":  # its queue is full, so that reading pauses
        server.send_all("fills the queue")
        server.send_all("waits in the socket")
        eventually(lambda: one.client._wsclient.context.facts.paused)
    ours = [thread for thread in threading.enumerate() if thread.name in ("first-io", "first-hooks")]
    assert len(ours) == 2
    threading.Event().wait(SHORT)
    woken = [woken_in_a_second(ours)]
    while max(woken[-1]) > 3 and len(woken) < 5:  # a thread on a slow machine may still be on its way into its wait
        woken.append(woken_in_a_second(ours))
    assert max(woken[-1]) <= 3, woken


def woken_in_a_second(threads):
    before = [waits(thread) for thread in threads]
    threading.Event().wait(1)
    return [waits(thread) - then for thread, then in zip(threads, before, strict=True)]


def waits(thread):
    with open(f"/proc/self/task/{thread.native_id}/status") as status:
        return int(next(line for line in status if line.startswith("voluntary_ctxt_switches")).split()[1])


@of(KINDS)
def test_5_and_7_no_secret_of_the_url_is_logged(kind, scene, server, caplog):
    caplog.set_level(logging.DEBUG, "wsclient")
    url = server.url.replace("ws://", "ws://user:hunter2@") + "?token=hunter2"
    queue = wsclient.ReceiveQueue(max_messages=1, overflow="drop_newest")
    one = scene(kind, url=url, name=None, receive_queue=queue)
    stream = one.client.listen(maxsize=1, overflow="drop_newest")
    one.misbehave()
    if kind in LIVING:
        for n in range(5):
            server.send_all(f"too much {n}")
        server.cut_all()
        eventually(lambda: one.client.stats.connections == 2)
        assert stream.dropped > 0
        eventually(lambda: "too slowly" in caplog.text)
    one.client.close(timeout=TIMEOUT)
    one.go.set()
    assert "hunter2" not in caplog.text
    assert "hunter2" not in repr(one.client)


# --- 6: fork ---------------------------------------------------------------------------------------------------------

CALLS = {
    "send": lambda client: client.send("from the child"),
    "request": lambda client: client.request(add(1, 2), timeout=LONG),
    "submit": lambda client: client.submit(add(1, 2)),
    "listen": lambda client: client.listen(),
    "flush": lambda client: client.flush(LONG),
    "drain": lambda client: client.drain(LONG),
    "wait_closed": lambda client: client.wait_closed(LONG),
    "close": lambda client: client.close(),
}


@needs_fork
@of(KINDS)
def test_6_a_child_forked_while_the_hook_acts_has_a_closed_copy(kind, scene, server):
    """Forked by another thread; the hook that closes forks itself, directly before."""
    one = scene(kind)
    clients = [one.client]

    def child():
        signal.alarm(int(LONG))  # a lock that was held at the fork would block forever
        refused = []
        for name, call in CALLS.items():
            for client in clients:
                try:
                    call(client)
                except wsclient.ForkedClient:
                    refused.append(name)
        return json.dumps([refused, [client.state.value for client in clients]])

    said = []
    if kind == "closes":
        one.in_hook = lambda: said.append(in_child(child))
        one.misbehave()
    else:
        one.misbehave()
        if one.other is not None:
            clients.append(one.other)
        said.append(in_child(child))
        assert one.client.request(add(1, 2), timeout=LONG)["result"] == 3
        assert one.client.stats.connections == 1
    expected = [[name for name in CALLS for _ in clients], ["closed"] * len(clients)]
    assert [json.loads(one) for one in said] == [expected]
    assert not any("child" in message for message in server.received)


# --- 8: the I/O thread -----------------------------------------------------------------------------------------------

WAITING = {
    "request": "submit",
    "flush": "wait",
    "drain": "drain(wait=False)",
    "close": "close(wait=False)",
    "wait_closed": ".state",
    "subscribe": "listen()",
}


@of(KINDS)
def test_8_on_the_io_thread_a_call_that_waits_is_refused_with_the_alternative(kind, scene, server):
    one = scene(kind)
    said = {}
    calls = {**CALLS, "subscribe": lambda client: client.subscribe(add(1, 2), timeout=LONG)}

    def match(message):
        for name in WAITING if not said else ():
            with pytest.raises(wsclient.WouldDeadlock) as caught:
                calls[name](one.client)
            said[name] = str(caught.value)
        return True

    with one.client.listen(match) as stream:
        if kind == "closes":
            server.send_all("now")  # sent before the hook is notified
            assert one.client.wait_until(State.CLOSED, LONG)
        else:
            one.misbehave()
            assert stream.get(LONG) == "now"
    assert list(said) == list(WAITING)
    for name, way_out in WAITING.items():
        assert way_out in said[name], name
