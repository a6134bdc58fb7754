"""Deadlines hold while the I/O thread waits for something that does not happen, or is busy in the user's code."""

import concurrent.futures
import contextlib
import functools
import json
import threading
import time

import pytest
import tenacity

import wsclient
from wsclient import JsonRpc, State

from ..support import LONG, SHORT, SLACK, eventually
from ..support.raw import frame
from ..support.strikes import strikes

AT_ONCE = wsclient.Reconnect(wait=tenacity.wait_none())

EVENT = frame(1, b'{"method": "event"}')


class Stuck:
    """A client whose I/O thread is stuck.

    Attributes:
        client: the client.
        is_stuck: whether it still is.
    """

    def __init__(self, client, is_stuck):
        self.client = client
        self.is_stuck = is_stuck


# --- situations: each takes a server, a function that hangs, and fixtures; it returns the client's URL and options, and
# --- what the server does


def silent(raw):
    """The server accepts the connection, and reads nothing."""
    raw.accept()


def upgrading(raw):
    return raw.accept().upgrade()


def sending(raw):
    """The server opens the connection and sends an event."""
    upgrading(raw).send(EVENT)


def answering(raw):
    """The server opens the connection, and sends an event after the first message."""
    peer = upgrading(raw)
    peer.receive_text()
    peer.send(EVENT)


def name_lookup(raw, hang, hanging_lookup):
    hanging_lookup("slow.invalid")
    return "ws://slow.invalid/", {}, None


def url(raw, hang, hanging_lookup):
    return hang, {}, None


def headers(raw, hang, hanging_lookup):
    return raw.url, {"headers": hang}, None


def sock(raw, hang, hanging_lookup):
    return raw.url, {"sock": hang}, None


def ssl_context(raw, hang, hanging_lookup):
    return f"wss://127.0.0.1:{raw.port}/", {"ssl_context": hang}, None


def should_retry(raw, hang, hanging_lookup):
    return "ws://127.0.0.1:1/", {"reconnect": wsclient.Reconnect(should_retry=hang)}, None


def on_session(raw, hang, hanging_lookup):
    return raw.url, {"on_session": hang}, upgrading


def tls_handshake(raw, hang, hanging_lookup):
    return f"wss://127.0.0.1:{raw.port}/", {"open_timeout": LONG}, silent


def proxy(raw, hang, hanging_lookup):
    return "ws://far.invalid/", {"proxy": f"socks5h://127.0.0.1:{raw.port}", "open_timeout": LONG}, silent


def upgrade(raw, hang, hanging_lookup):
    return raw.url, {"open_timeout": LONG}, silent


def match(raw, hang, hanging_lookup):
    return raw.url, {"before": lambda client: client.listen(hang)}, sending


def match_of_a_request(raw, hang, hanging_lookup):
    return raw.url, {"before": lambda client: client.submit({"method": "silence"}, match=hang)}, answering


def decode(raw, hang, hanging_lookup):
    return raw.url, {"protocol": type("Slow", (JsonRpc,), {"decode": lambda self, payload: hang()})()}, sending


CONNECTING = [name_lookup, url, headers, sock, ssl_context, should_retry, on_session, tls_handshake, proxy, upgrade]
"""Here the deadline of each request holds, also if no thread waits for it."""

OPEN = [match, match_of_a_request, decode]


@pytest.fixture
def stuck(request, raw, hang, hanging_lookup):
    target, options, act = request.param(raw, hang, hanging_lookup)
    before = options.pop("before", lambda client: None)
    options = {"protocol": JsonRpc(), "reconnect": AT_ONCE, "retry_first": True, **options}
    client = wsclient.Client(target, name="stuck", **options)
    kept = before(client)
    waits_for_peer = act is silent

    def start():
        with contextlib.suppress(wsclient.WebSocketClientError):
            client.start()

    starter = threading.Thread(target=start)
    starter.start()
    if act is not None:
        act(raw)
    if not waits_for_peer:
        assert hang.entered.wait(LONG)
    yield Stuck(client, lambda: waits_for_peer or not hang.returned.is_set())
    client.close(timeout=0, wait=False)
    hang.release()
    client.wait_closed(LONG)
    starter.join(LONG)
    del kept


def of(situations):
    return pytest.mark.parametrize("stuck", situations, indirect=True, ids=lambda situation: situation.__name__)


# --- the calls -------------------------------------------------------------------------------------------------------


SUBSCRIBE = {"method": "a_subscribe"}
ASK = {"method": "silence"}


def fill_the_queue(client):
    while True:
        client.send("x" * 1_000_000, timeout=SHORT)


CALLS = {
    "request": lambda client: client.request(ASK, timeout=SHORT),
    "call": lambda client: client.call("silence", timeout=SHORT),
    "batch": lambda client: client.request([ASK, ASK], timeout=SHORT),
    "request_many": lambda client: client.request_many([ASK, ASK], timeout=SHORT),
    "result": lambda client: client.submit(ASK, timeout=SHORT).result(),
    "result of a batch": lambda client: client.submit([ASK, ASK], timeout=SHORT).result(),
    "exception": lambda client: client.submit(ASK, timeout=SHORT).exception(),
    "get of a stream": lambda client: client.stream(ASK, timeout=SHORT).get(),
    "next of a stream": lambda client: next(client.stream(ASK, timeout=SHORT)),
    "subscribe": lambda client: client.subscribe(SUBSCRIBE, timeout=SHORT),
    "get of a subscription": lambda client: client.subscribe(SUBSCRIBE, match=lambda message: False, timeout=SHORT).get(
        SHORT
    ),
    "listen": lambda client: client.listen().get(SHORT),
    "flush": lambda client: client.flush(SHORT),
    "ping": lambda client: client.ping(SHORT),
    "delivery": lambda client: client.send("x").wait(SHORT),
    "wait_until": lambda client: client.wait_until(State.CLOSED, SHORT),
    "wait_closed": lambda client: client.wait_closed(SHORT),
}
"""Each has a time-out of ``SHORT`` seconds. None of them can have its reply."""

EXPECTED = {
    "listen": TimeoutError,
    "get of a subscription": TimeoutError,
    "delivery": False,
    "wait_until": False,
    "wait_closed": False,
}
"""The error or the result; by default ``RequestTimeout``."""


def outcome_of(call, client):
    """Return the error's class or the result of a call, and the seconds that it took."""
    began = time.monotonic()
    try:
        outcome = call(client)
    except Exception as error:
        outcome = type(error)
    if isinstance(outcome, Exception):
        outcome = type(outcome)
    return outcome, time.monotonic() - began


@of(CONNECTING + OPEN)
def test_every_call_ends_in_time(stuck):
    with concurrent.futures.ThreadPoolExecutor(len(CALLS)) as threads:
        outcomes = {name: threads.submit(outcome_of, call, stuck.client) for name, call in CALLS.items()}
        outcomes = {name: future.result() for name, future in outcomes.items()}
        assert stuck.is_stuck()
    late = {name: seconds for name, (_, seconds) in outcomes.items() if seconds > 2 * SHORT + SLACK}
    assert not late
    for name, (outcome, _) in outcomes.items():
        expected = EXPECTED.get(name, wsclient.RequestTimeout)
        assert outcome is expected or (isinstance(outcome, type) and issubclass(outcome, expected)), name


@of(CONNECTING)
def test_requests_that_no_thread_waits_for_end_in_time(stuck):
    called = threading.Event()
    stuck.client.submit(ASK, timeout=SHORT).add_done_callback(lambda future: called.set())
    futures = [stuck.client.submit(ASK, timeout=SHORT) for _ in range(3)]
    stream = stuck.client.stream(ASK, timeout=SHORT)
    began = time.monotonic()
    assert concurrent.futures.wait(futures, LONG).done == set(futures)
    assert list(concurrent.futures.as_completed(futures, LONG))
    assert called.wait(LONG)
    eventually(lambda: stuck.client.stats.requests_timed_out == 5)
    assert time.monotonic() - began < 2 * SHORT + SLACK
    assert stuck.is_stuck()
    with pytest.raises(wsclient.RequestTimeout):
        stream.get(LONG)


@of(CONNECTING)
def test_requests_end_in_the_order_of_their_deadlines(stuck):
    futures = [stuck.client.submit(ASK, timeout=seconds) for seconds in (LONG, SHORT, SHORT / 2, 0)]
    done, not_done = concurrent.futures.wait(futures[1:], LONG)
    assert len(done) == 3
    assert not not_done
    assert not futures[0].done()
    assert stuck.is_stuck()


@of(CONNECTING + OPEN)
@pytest.mark.parametrize(
    "end", ["close", *(pytest.param(end, marks=pytest.mark.slow) for end in ("drain", "start")), "send"]
)
def test_every_call_that_ends_the_client_or_fills_it_ends_in_time(stuck, end):
    client = stuck.client
    call, most = {
        "close": (lambda: client.close(timeout=SHORT), SHORT + 1),
        "drain": (lambda: client.drain(SHORT), SHORT + 1),
        "start": (lambda: client.start(SHORT), SHORT + 1),
        "send": (functools.partial(fill_the_queue, client), SHORT),
    }[end]
    began = time.monotonic()
    with contextlib.suppress(wsclient.WebSocketClientError):
        call()
    assert time.monotonic() - began < most + SLACK
    assert stuck.is_stuck()


@of([on_session])
def test_the_helper_thread_ends_with_the_client_although_the_function_hangs(stuck):
    assert "stuck-deadlines" in [thread.name for thread in threading.enumerate()]
    stuck.client.close(timeout=0)
    eventually(lambda: "stuck-deadlines" not in [thread.name for thread in threading.enumerate()])
    assert stuck.is_stuck()


def test_the_helper_thread_ends_with_the_function(server):
    names = []

    def url():
        names.extend(thread.name for thread in threading.enumerate())
        return server.url

    with wsclient.connect(url, name="brief"):
        assert "brief-deadlines" in names
        eventually(lambda: "brief-deadlines" not in [thread.name for thread in threading.enumerate()])


def test_where_no_thread_can_be_started_the_function_is_called_nevertheless(server, monkeypatch, caplog):
    start = threading.Thread.start

    def refuse(thread):
        if thread.name.endswith("-deadlines"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with wsclient.connect(lambda: server.url) as client:
        assert client.request({"method": "add", "params": [1, 2]}, timeout=LONG)["result"] == 3
    assert "a helper thread could not be started: can't start new thread" in caplog.text


@pytest.mark.slow
def test_subscribe_ends_in_time_while_the_protocol_handles_its_reply(raw, hang):
    class Slow(JsonRpc):
        def stream_of(self, request, id, reply=None):
            return None if reply is None else hang()

    client = wsclient.Client(raw.url, protocol=Slow())
    starter = threading.Thread(target=client.start)
    starter.start()
    peer = upgrading(raw)
    starter.join(LONG)
    with concurrent.futures.ThreadPoolExecutor() as threads:
        began = time.monotonic()
        subscribing = threads.submit(client.subscribe, SUBSCRIBE, timeout=SHORT + SLACK)
        call = json.loads(peer.receive_text())
        peer.send_text(json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": 7}))
        assert hang.entered.wait(LONG)
        assert isinstance(subscribing.exception(LONG), wsclient.RequestTimeout)
        assert time.monotonic() - began < SHORT + 3 * SLACK
    assert not hang.returned.is_set()
    hang.release()
    client.close(timeout=0)


@pytest.mark.parametrize("ask", [ASK, [ASK, ASK]], ids=["one", "batch"])
def test_an_interrupt_at_any_moment_of_a_wait_beyond_the_deadline_leaves_a_future_that_ends(ask):
    """The client is never started, so only the waiting thread can end the request."""
    moment, struck = 0, True
    while struck:
        client = wsclient.Client("ws://127.0.0.1:9/", protocol=JsonRpc())
        future = client.submit(ask, timeout=0)
        struck = strikes(moment, future.exception)
        assert isinstance(future.exception(LONG), wsclient.RequestTimeout)
        assert client.stats.queue_depth == 0
        client.close()
        moment += 1
    assert moment > 1


def test_a_time_out_of_result_that_comes_before_the_deadline_does_not_end_the_request(raw):
    client = wsclient.Client(raw.url)
    future = client.submit(ASK, timeout=LONG)
    with pytest.raises(concurrent.futures.TimeoutError) as caught:
        future.result(0.01)
    assert not isinstance(caught.value, wsclient.RequestTimeout)
    assert not future.done()
    client.close()
