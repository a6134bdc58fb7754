"""Hooks that misbehave, and consumers that are too slow: the guarantees of a client still hold."""

import contextlib
import json
import logging
import threading
import time

import pytest
import tenacity
from websockets.exceptions import ConnectionClosed

import wsclient
from wsclient import State

from ..support import LONG, SHORT, SLACK, eventually
from ..support.clients import FAST, add, threads

BIG = "x" * 100_000


def send_events(server, *events):
    for event in events:
        for connection in server.connections:
            connection.send(json.dumps(event))


def connect(server, *, name="first", **options):
    """A client, after the server has added its connection to its list."""
    client = wsclient.connect(server.url, name=name, **{**FAST, **options})
    server.opened.get(timeout=LONG)
    return client


def slow_consumer_warnings(caplog):
    warnings = [record.getMessage() for record in list(caplog.records) if record.levelno == logging.WARNING]
    return len([message for message in warnings if "keep up" in message or "too slowly" in message])


def check_warnings(caplog, count):
    """Wait for so many warnings of a slow consumer, which a helper thread logs, and check that there are no more."""
    eventually(lambda: slow_consumer_warnings(caplog) >= count)
    assert slow_consumer_warnings(caplog) == count


class BlockingHook:
    """A hook that blocks at its first message, until the test releases it or has ended."""

    def __init__(self, seconds=LONG):
        self.seconds = seconds
        self.entered = threading.Event()
        self.go = threading.Event()
        self.seen = []

    def __call__(self, client, message):
        self.seen.append(message)
        self.entered.set()
        self.go.wait(self.seconds)

    def rearm(self):
        self.entered.clear()
        self.go.clear()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.go.set()


@contextlib.contextmanager
def sending_events(server, *events):
    """Another thread sends the events: it blocks where the client stops reading. It ends with the test."""
    sender = threading.Thread(target=send_while_possible, args=(server, *events))
    sender.start()
    try:
        yield sender
    finally:
        if sender.is_alive():
            server.reset_all()
        sender.join(LONG)


def send_while_possible(server, *events):
    with contextlib.suppress(ConnectionClosed):
        send_events(server, *events)


# --- one that sleeps -------------------------------------------------------------------------------------------------


def test_a_hook_that_does_not_return_blocks_nothing_else(server):
    sleeper = BlockingHook()
    with connect(server, on_message=sleeper) as client, sleeper, client.listen() as stream:
        server.send_all("good night")
        assert sleeper.entered.wait(LONG)
        assert client.request(add(1, 2), timeout=LONG)["result"] == 3
        server.send_all("a second one")
        assert [stream.get(LONG), stream.get(LONG)] == ["good night", "a second one"]
        server.cut_all()
        assert client.request(add(3, 4), timeout=LONG, idempotent=True)["result"] == 7, "the hook delays a reconnect"
        assert sleeper.seen == ["good night"]
        assert threads("first") == ["hooks", "io"]
        assert client.stats.connections == 2, "the hook was mistaken for a dead peer"
        sleeper.go.set()
        eventually(lambda: sleeper.seen == ["good night", "a second one"])


def test_a_hook_that_sleeps_longer_than_the_keepalive_does_not_make_the_peer_count_as_dead(server):
    """A ping every 0.1 s, each with a timeout of 1 s, and a hook that sleeps for 1.5 s."""
    sleeper = BlockingHook(seconds=1.5)
    options = {**FAST, "ping_interval": 0.1, "ping_timeout": 1.0}
    with connect(server, on_message=sleeper, **options) as client, sleeper:
        server.send_all("good night")
        server.send_all("good morning")
        eventually(lambda: sleeper.seen == ["good night", "good morning"])
        sleeper.go.set()
        assert client.stats.connections == 1
        assert client.latency is not None


def test_close_does_not_wait_for_a_hook_that_sleeps_longer_than_its_timeout(server):
    sleeper = BlockingHook(seconds=LONG)
    client = connect(server, on_message=sleeper)
    try:
        server.send_all("good night")
        assert sleeper.entered.wait(LONG)
        waiting = client.submit({"method": "silence"}, timeout=None)
        began = time.monotonic()
        client.close(timeout=0.3)
        assert time.monotonic() - began < 0.3 + 1 + SLACK
        assert client.state is State.CLOSED
        with pytest.raises(wsclient.ClientClosed):
            waiting.result(0)
    finally:
        sleeper.go.set()
        client.close()


# --- one that raises -------------------------------------------------------------------------------------------------


def test_with_hooks_that_always_raise_the_client_continues_and_reports_each_error(server, caplog):
    called, on = [], set()

    def raiser(name):
        def hook(*args):
            called.append(name)
            on.add(threading.current_thread().name)
            raise RuntimeError(f"{name} is broken")

        return hook

    names = (
        "on_open", "on_reconnect", "on_message", "on_close", "on_error", "on_ping", "on_pong", "on_connect_error"
    )  # fmt: skip
    with connect(server, **{name: raiser(name) for name in names}) as client:
        server.send_all("one")
        server.connections[0].ping()
        assert client.request(add(1, 2), timeout=LONG)["result"] == 3
        eventually(lambda: {"on_open", "on_message", "on_ping", "on_pong"} <= set(called))
        server.reject(503)
        server.cut_all()
        eventually(lambda: "on_reconnect" in called)
        server.opened.get(timeout=LONG)
        server.send_all("two")
        assert client.request(add(3, 4), timeout=LONG)["result"] == 7
        eventually(lambda: called.count("on_message") == 2)
        assert threads("first") == ["hooks", "io"]
    eventually(lambda: called.count("on_close") == 2)
    assert [called.count(name) for name in ("on_open", "on_reconnect", "on_ping", "on_connect_error")] == [1] * 4
    assert on == {"first-hooks"}, "hooks run on a separate thread"
    eventually(lambda: called.count("on_error") == len(called) - called.count("on_error"))
    reported = [record for record in caplog.records if record.exc_info and "is broken" in str(record.exc_info[1])]
    assert len(reported) == len(called), "a traceback for each"
    assert client.state is State.CLOSED


# --- one that closes the client --------------------------------------------------------------------------------------


ENDINGS = {
    "on_open": lambda server, client: None,
    "on_reconnect": lambda server, client: server.cut_all(),
    "on_message": lambda server, client: server.send_all("close now"),
    "on_close": lambda server, client: server.close_all(1001),
    "on_error": lambda server, client: server.send_all("for a hook that raises"),
    "on_ping": lambda server, client: server.connections[0].ping(),
    "on_pong": lambda server, client: None,  # the keepalive causes it
    "on_connect_error": lambda server, client: (server.reject(503), server.cut_all()),
    "a done-callback": lambda server, client: client.submit(add(1, 2)).add_done_callback(
        lambda future: client.on_error(None)
    ),
}
"""The cause of each call."""


@pytest.mark.parametrize("name", ENDINGS)
def test_a_hook_can_close_its_client_immediately(name, server, caplog):
    """Its ``close()`` does not wait for its own thread, with any timeout."""
    closed = []
    returned, ready = threading.Event(), threading.Event()

    def closes(client, *args):
        if not returned.is_set():
            assert ready.wait(LONG)
            client.close(timeout=10 * LONG)
            returned.set()

    def broken(client, message):
        raise RuntimeError("for on_error")

    hook = "on_error" if name == "a done-callback" else name
    hooks = {"on_close": lambda client, *args: closed.append(args), hook: closes}
    if name == "on_error":
        hooks["on_message"] = broken
    client = wsclient.Client(server.url, name="closes", **hooks, **FAST)
    if name == "a done-callback":
        client.on_error = lambda client, error: closes(client)
    with client.start():
        waiting = client.submit({"method": "silence"}, timeout=None)
        server.wait_for(1)
        ready.set()
        ENDINGS[name](server, client)
        assert returned.wait(LONG), "close() waits for its own thread, the hook thread"
        assert client.wait_closed(LONG)
        assert isinstance(waiting.exception(LONG), (wsclient.ClientClosed, wsclient.ConnectionLost))
        assert client.state is State.CLOSED
        with pytest.raises(wsclient.ClientClosed):
            client.request(add(1, 2))
        eventually(lambda: threads("closes") == [])
        expected = 0 if name == "on_close" else client.stats.connections
        assert len(closed) == expected, "on_close: once per connection"
    # with its name: a record of the test before may come late
    assert "closes: a hook does not return" not in caplog.text


@pytest.mark.parametrize("first", [True, False])
def test_in_on_session_close_is_refused_as_a_deadlock_and_allowed_without_waiting(first, server):
    """``on_session`` runs on the thread that ``close()`` waits for; the close command ends it."""
    said, ended = [], []

    def on_session(client, session):
        if session.number == (1 if first else 2):
            for call in (client.close, client.drain, lambda: client.request(add(1, 2)), client.listen):
                with pytest.raises(wsclient.WouldDeadlock) as caught:
                    call()
                said.append(str(caught.value))
            client.close(wait=False)
            with pytest.raises(wsclient.WebSocketClientError) as caught:
                session.request({"method": "silence"}, timeout=LONG)
            ended.append(caught.value)
            raise caught.value

    client = wsclient.Client(server.url, name="first", on_session=on_session, **FAST)
    if first:
        with pytest.raises(wsclient.ClientClosed):
            client.start(LONG)
    else:
        client.start(LONG)
        server.opened.get(timeout=LONG)
        server.cut_all()
    assert client.wait_closed(LONG)
    assert client.state is State.CLOSED
    assert len(said) == 4
    assert all("use the session" in one for one in said)
    assert len(ended) == 1
    assert threads("first") == []


def test_an_on_session_that_raises_is_a_failed_attempt_that_is_retried(server, caplog):
    attempts, errors, numbers = [], [], []

    def on_session(client, session):
        numbers.append(session.number)
        if len(numbers) not in (3, 6):
            raise RuntimeError("on_session is broken")

    hooks = {
        "on_session": on_session,
        "on_connect_error": lambda client, attempt: attempts.append(attempt),
        "on_error": lambda client, error: errors.append(error),
    }
    client = wsclient.Client(server.url, name="first", retry_first=True, **hooks, **FAST)
    with client.start(LONG):
        assert client.request(add(1, 2), timeout=LONG)["result"] == 3
        assert client.stats.failed_attempts == 2
        server.cut_all()
        eventually(lambda: len(numbers) == 6 and client.state is State.OPEN)
        assert client.request(add(3, 4), timeout=LONG)["result"] == 7
        eventually(lambda: len(attempts) == 4)
        assert threads("first") == ["hooks", "io"]
    assert [type(attempt.error) for attempt in attempts] == [wsclient.SessionError] * 4
    assert all(isinstance(attempt.error.__cause__, RuntimeError) for attempt in attempts)
    assert errors == [], "attempts are reported to on_connect_error"
    reported = [record for record in caplog.records if record.exc_info and "is broken" in str(record.exc_info[1])]
    assert len(reported) == 4, "a traceback for each"


# --- one that starts another client ----------------------------------------------------------------------------------


def test_a_hook_can_start_other_clients_and_each_has_its_own_messages(server):
    """The first client's hook opens a second and sends requests through both; the second's hook opens a third."""
    answers = []
    done = threading.Event()
    alive = []

    def third(client, message):
        with connect(server, name="third", on_message=lambda *args: None) as other:
            answers.append(("third", other.request(add(3, 30), timeout=LONG)))
            answers.append(("second", client.request(add(2, 20), timeout=LONG)))
            alive.append([threads("second"), threads("third")])
        done.set()

    def second(client, message):
        with connect(server, name="second", on_message=third) as other:
            other.send("echo this")
            assert done.wait(LONG)
        answers.append(("first", client.request(add(1, 10), timeout=LONG)))
        finished.set()

    finished = threading.Event()
    with connect(server, name="first", on_message=second) as client:
        client.send("begin")
        assert finished.wait(LONG)
        assert answers == [
            ("third", {"id": 1, "result": 33}),
            ("second", {"id": 1, "result": 22}),
            ("first", {"id": 1, "result": 11}),
        ]
        assert alive == [[["hooks", "io"], ["io"]]]
        assert threads("first") == ["hooks", "io"]
        left = [thread.name for thread in threading.enumerate() if thread.name.startswith(("second-", "third-"))]
        assert left == []


def test_a_message_sent_in_a_hook_through_another_client_belongs_to_none_of_its_connections(server):
    """Although that client runs its own ``on_open``, whose messages do; it is offline at that moment."""
    opening, sent = BlockingHook(), []

    def through_the_other(client, message):
        sent.append(other.send("from elsewhere"))

    reconnect = wsclient.Reconnect(wait=tenacity.wait_fixed(0.2))
    options = {"on_open": lambda client: opening(client, None), "reconnect": reconnect}
    with connect(server, on_message=through_the_other) as client, connect(server, name="second", **options) as other:
        with opening:
            assert opening.entered.wait(LONG)
            server.reject(503, times=1000)
            (its,) = (one for one in server.connections if one is not server.connections[0])
            its.close(1001)
            eventually(lambda: other.state is State.WAITING)
            server.connections[0].send("now")
            eventually(lambda: sent)
            assert sent[0].state == "queued"
        assert client.stats.connections == 1


# --- consumers that are too slow -------------------------------------------------------------------------------------

KEPT = {
    "drop_oldest": ([7, 8, 9], 6),
    "drop_newest": ([1, 2, 3], 6),
    "latest": ([9], 8),
}
"""Of ten messages, the first of which was taken, in a queue for three: which are kept, and how many are dropped."""


@pytest.mark.parametrize("overflow", KEPT)
def test_a_slow_hook_loses_messages_by_its_policy_with_one_report_per_episode(overflow, server, caplog):
    kept, dropped = KEPT[overflow]
    hook, errors = BlockingHook(), []
    queue = wsclient.ReceiveQueue(max_messages=3, overflow=overflow)
    options = {"on_message": hook, "on_error": lambda client, error: errors.append(error), "receive_queue": queue}
    with connect(server, **options) as client, hook:
        for episode in (1, 2):
            hook.rearm()
            hook.seen.clear()
            send_events(server, {"n": 0})
            assert hook.entered.wait(LONG)
            send_events(server, *({"n": n} for n in range(1, 10)))
            client.request(add(0, 0), timeout=LONG)  # its reply comes after them
            assert client.stats.dropped == episode * dropped
            hook.go.set()
            reports = 0 if overflow == "latest" else episode  # "latest" was asked to replace older messages
            eventually(lambda count=reports: len(errors) == count)
            eventually(lambda: len(hook.seen) == 1 + len(kept))
            assert [message["n"] for message in hook.seen] == [0, *kept]
            check_warnings(caplog, reports)
    assert [type(error) for error in errors] == [wsclient.SlowConsumer] * reports


@pytest.mark.parametrize("overflow", KEPT)
def test_a_slow_stream_loses_messages_by_its_policy_with_one_warning_per_episode(overflow, server, caplog):
    kept, dropped = KEPT[overflow]
    with (
        connect(server) as client,
        client.listen(maxsize=3, overflow=overflow) as stream,
        client.listen(overflow="block") as other,
    ):
        for episode in (1, 2):
            send_events(server, {"n": 0})
            assert stream.get(LONG) == {"n": 0}
            send_events(server, *({"n": n} for n in range(1, 10)))
            client.request(add(0, 0), timeout=LONG)
            assert stream.dropped == client.stats.dropped == episode * dropped
            assert [stream.get(LONG)["n"] for _ in kept] == kept
            with pytest.raises(TimeoutError):
                stream.get(0)
            assert [other.get(LONG)["n"] for _ in range(10)] == list(range(10)), "another stream lost messages too"
            reports = 0 if overflow == "latest" else episode
            check_warnings(caplog, reports)
        assert other.dropped == 0


def test_latest_keeps_the_newest_of_each_key(server):
    with (
        connect(server) as client,
        client.listen(overflow="latest", key=lambda message: message["coin"]) as prices,
    ):
        for price in range(50):
            send_events(server, {"coin": "a", "price": price}, {"coin": "b", "price": -price})
        client.request(add(0, 0), timeout=LONG)
        assert [prices.get(0), prices.get(0)] == [{"coin": "a", "price": 49}, {"coin": "b", "price": -49}]
        assert prices.dropped == 98


@pytest.mark.parametrize("consumer", ["hook", "stream"])
def test_block_stops_reading_at_the_limit_and_continues_for_a_request_and_loses_nothing(consumer, server, caplog):
    """Fifty messages of 100 kB and room for three; a request continues the reading."""
    hook = BlockingHook()
    # Compressed, all of them would arrive in one read.
    options = {"receive_queue": wsclient.ReceiveQueue(max_messages=3), "compression": None}
    if consumer == "hook":
        options["on_message"] = hook
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(connect(server, **options))
        stack.enter_context(hook)
        stream = client.listen() if consumer == "stream" else None
        sender = stack.enter_context(sending_events(server, *({"n": n, "words": BIG} for n in range(50))))
        if stream is None:
            assert hook.entered.wait(LONG)
        eventually(lambda: client._wsclient.context.facts.paused)
        sender.join(SHORT)
        received = client.stats.messages_received
        assert received < 50, "reading continued"
        threading.Event().wait(SHORT)
        assert client.stats.messages_received == received
        assert client.request(add(1, 2), timeout=LONG)["result"] == 3, "the request does not continue the reading"
        sender.join(LONG)
        assert client.stats.connections == 1
        hook.go.set()
        if stream is None:
            eventually(lambda: len(hook.seen) == 50)
            seen = [message["n"] for message in hook.seen]
        else:
            seen = [stream.get(LONG)["n"] for _ in range(50)]
        assert seen == list(range(50))
        assert client.stats.dropped == 0
        assert slow_consumer_warnings(caplog) == 0


@pytest.mark.parametrize("consumer", ["hook", "stream"])
def test_above_the_byte_limit_a_request_makes_a_hook_lose_the_newest_and_ends_a_stream(consumer, server, caplog):
    """Room for a million bytes, and five million before the reply that a request waits for."""
    hook, errors = BlockingHook(), []
    options = {"receive_queue": wsclient.ReceiveQueue(max_bytes=1_000_000)}
    if consumer == "hook":
        options.update(on_message=hook, on_error=lambda client, error: errors.append(error))
    with connect(server, **options) as client, hook:
        stream = client.listen() if consumer == "stream" else None
        waiting = client.submit({"method": "silence", "id": 77}, timeout=LONG)
        server.wait_for(1)
        send_events(server, {"n": 0, "words": BIG})
        if stream is None:
            assert hook.entered.wait(LONG)
        send_events(server, *({"n": n, "words": BIG} for n in range(1, 50)), {"id": 77, "result": "at last"})
        assert waiting.result(LONG)["result"] == "at last"
        hook.go.set()
        if stream is None:
            eventually(lambda: errors)
            assert [type(error) for error in errors] == [wsclient.SlowConsumer]
            eventually(lambda: len(hook.seen) + client.stats.dropped == 50)
            assert [message["n"] for message in hook.seen] == list(range(len(hook.seen)))
            assert client.stats.dropped > 30
        else:
            seen = []
            with pytest.raises(wsclient.SlowConsumer):
                seen.extend(message["n"] for message in iter(lambda: stream.get(LONG), None))
            assert stream.dropped == client.stats.dropped == 1
        check_warnings(caplog, 1)
        assert client.request(add(1, 2), timeout=LONG)["result"] == 3, "the client continues"


def test_paused_reading_does_not_make_the_peer_count_as_dead(server):
    """A consumer that blocks for longer than the keepalive, while unread bytes wait in the socket."""
    hook = BlockingHook()
    options = {**FAST, "ping_interval": 0.1, "ping_timeout": 1.0, "on_message": hook}
    events = [{"n": n, "words": BIG} for n in range(100)]
    with (
        connect(server, receive_queue=wsclient.ReceiveQueue(max_messages=3), **options) as client,
        hook,
        sending_events(server, *events) as sender,
    ):
        assert hook.entered.wait(LONG)
        threading.Event().wait(1.5)
        hook.go.set()
        eventually(lambda: len(hook.seen) == 100)
        sender.join(LONG)
        assert client.stats.connections == 1
