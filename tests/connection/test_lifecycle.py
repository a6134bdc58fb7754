"""Start, close and drain: in every state, from every thread, in limited time."""

import gc
import math
import os
import signal
import socket
import threading
import time
import weakref

import pytest
import tenacity

import wsclient
from wsclient import State

from ..support import LONG, SHORT, SLACK, FaultProxy, Server, eventually
from ..support.program import free_port
from ..support.stage import respond
from ..support.strikes import strikes
from ..support.threads import on_thread, stacks

CLOSE = 0.5
"""Seconds of timeout for close(); it may take one more."""


def close_in_time(client, timeout=CLOSE, **options):
    """Close, and check that close() takes at most its timeout + 1 s, plus a tolerance for a busy machine."""
    began = time.monotonic()
    client.close(timeout=timeout, **options)
    took = time.monotonic() - began
    assert took < timeout + 1 + SLACK, f"close() took {took:.2f} s"
    assert client.state in (State.CLOSED, State.FAILED)


# --- start -----------------------------------------------------------------------------------------------------------


def test_start_returns_the_open_client(server):
    client = wsclient.Client(server.url)
    assert client.state is State.NEW
    assert client.start() is client
    assert client.state is State.OPEN
    client.close()
    assert client.state is State.CLOSED


def test_start_on_a_running_client_waits_for_open(server):
    with wsclient.connect(server.url) as client:
        assert client.start() is client
        assert client.stats.connections == 1


def test_a_failed_first_attempt_raises_and_leaves_a_closed_client_without_a_thread(dead):
    client = wsclient.Client(f"ws://127.0.0.1:{dead}/", name="refused")
    future = client.submit({"op": "x"})
    with pytest.raises(wsclient.ConnectError, match="refused") as caught:
        client.start()
    assert isinstance(caught.value, ConnectionError)
    assert isinstance(caught.value.last, ConnectionRefusedError)
    assert caught.value.attempts == 1
    assert client.state is State.CLOSED
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("refused")]
    for call in (client.start, lambda: client.send("x")):
        with pytest.raises(wsclient.ClientClosed, match=r"'refused' is closed \(.*refused"):
            call()
    assert isinstance(future.exception(LONG), wsclient.ConnectError)


def test_the_first_attempt_tries_each_url_of_a_list_once(server, dead):
    refused = f"ws://127.0.0.1:{dead}/"
    with wsclient.connect([refused, server.url]) as client:
        assert client.stats.failed_attempts == 1
    with pytest.raises(wsclient.ConnectError) as caught:
        wsclient.connect([refused, refused])
    assert caught.value.attempts == 2


def test_retry_first_continues_until_the_server_is_available():
    port = free_port()
    attempts = threading.Semaphore(0)
    client = wsclient.Client(
        f"ws://127.0.0.1:{port}/",
        retry_first=True,
        reconnect=wsclient.Reconnect(wait=lambda state: 0.01),
        on_connect_error=lambda _, attempt: attempts.release(),
    )
    starter = threading.Thread(target=client.start)
    starter.start()
    for _ in range(3):
        assert attempts.acquire(timeout=LONG)
    with Server(port=port):
        starter.join(LONG)
        assert client.state is State.OPEN
        client.close()


def test_start_fails_at_its_timeout_and_leaves_a_closed_client(raw):
    client = wsclient.Client(raw.url)
    with pytest.raises(wsclient.ConnectError, match="timeout"):
        client.start(timeout=SHORT)
    assert client.state is State.CLOSED


def test_two_threads_can_start_one_client(server):
    client = wsclient.Client(server.url)
    threads = [threading.Thread(target=client.start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert client.stats.connections == 1
    client.close()


# --- close, in every state -------------------------------------------------------------------------------------------


def test_close_of_a_client_that_was_never_started():
    client = wsclient.Client("ws://127.0.0.1:9/")
    future = client.submit({"a": 1})
    delivery = client.send("x")
    close_in_time(client)
    with pytest.raises(wsclient.ClientClosed):
        future.result(LONG)
    assert delivery.state == "lost"
    close_in_time(client)


@pytest.mark.parametrize("end", [wsclient.Client.close, wsclient.Client.drain])
def test_an_interrupt_at_any_moment_of_the_end_of_a_client_that_was_never_started_leaves_no_caller_waiting(end):
    moment, struck, states = 0, True, set()
    while struck:
        client = wsclient.Client("ws://127.0.0.1:9/")
        future = client.submit({"a": 1})
        struck = strikes(moment, lambda client=client: end(client))
        states.add(client.state)
        if client.state is State.NEW:
            client.close()
        assert isinstance(future.exception(LONG), wsclient.ClientClosed)
        assert client.state is State.CLOSED
        moment += 1
    assert states == {State.NEW, State.CLOSED}


def test_close_ends_a_client_where_no_further_thread_can_be_started(monkeypatch):
    def refuse(function, arguments):
        raise RuntimeError("can't start new thread")

    client = wsclient.Client("ws://127.0.0.1:9/")
    future = client.submit({"a": 1})
    monkeypatch.setattr("_thread.start_new_thread", refuse)
    client.close()
    assert isinstance(future.exception(LONG), wsclient.ClientClosed)


@pytest.mark.parametrize("wait", [True, False])
def test_close_sends_its_code_and_reason(server, wait):
    client = wsclient.connect(server.url)
    connection = server.opened.get(timeout=LONG)
    client.close(4001, "enough", wait=wait)
    assert client.wait_closed(LONG)
    eventually(lambda: connection.close_code is not None)
    assert (connection.close_code, connection.close_reason) == (4001, "enough")
    assert (client.last_disconnect.initiator, client.last_disconnect.code) == ("local", 4001)


@pytest.mark.parametrize("code", [999, 1004, 1005, 1006, 1012, 1015, 2999, 5000, "1000"])
def test_an_invalid_close_code_is_refused(server, code):
    with wsclient.connect(server.url) as client:
        with pytest.raises(ValueError, match="code"):
            client.close(code)
        with pytest.raises(ValueError, match="123"):
            client.close(1000, "x" * 124)
        assert client.state is State.OPEN


def test_close_first_writes_the_queued_messages(mute_server):
    with wsclient.connect(mute_server.url) as client:
        for n in range(1000):
            client.send(str(n))
    assert mute_server.wait_for(1000) == [str(n) for n in range(1000)]


def test_close_ends_requests_at_once(server):
    client = wsclient.connect(server.url)
    waiting = [client.submit({"method": "silence"}) for _ in range(3)]
    server.wait_for(3)
    close_in_time(client)
    for future in waiting:
        with pytest.raises(wsclient.ClientClosed):
            future.result(0)


def test_requests_end_once_when_many_threads_close(mute_server):
    client = wsclient.connect(mute_server.url)
    futures = [client.submit({"method": "silence"}) for _ in range(500)]
    called = []
    for future in futures:
        future.add_done_callback(called.append)
    threads = [threading.Thread(target=client.close) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert all(isinstance(future.exception(0), wsclient.ClientClosed) for future in futures)
    eventually(lambda: len(called) == len(futures))
    assert client.stats.requests_failed == len(futures)


def test_close_is_bounded_with_a_peer_that_never_answers_the_close_frame(raw):
    client = wsclient.Client(raw.url)
    starter = threading.Thread(target=client.start)
    starter.start()
    raw.accept().upgrade()
    starter.join(LONG)
    close_in_time(client)


def test_close_is_bounded_with_a_peer_that_stalls_in_the_middle_of_a_frame(raw):
    client = wsclient.Client(raw.url)
    starter = threading.Thread(target=client.start)
    starter.start()
    raw.accept().upgrade().send(b"\x81\x7e\x10\x00half")
    starter.join(LONG)
    close_in_time(client)


def test_close_is_bounded_with_a_full_socket(raw):
    client = wsclient.Client(raw.url)
    starter = threading.Thread(target=client.start)
    starter.start()
    raw.accept().upgrade()  # the peer does not read any more
    starter.join(LONG)
    deliveries = [client.send(b"x" * 2**20) for _ in range(32)]
    assert deliveries[-1].state == "queued"
    close_in_time(client)
    assert deliveries[-1].state == "lost"


def test_close_is_bounded_during_a_handshake_that_hangs(raw):
    client = wsclient.Client(raw.url, retry_first=True)
    starter = threading.Thread(target=swallow, args=(client.start,))
    starter.start()
    raw.accept().receive_head()
    assert client.state is State.CONNECTING
    close_in_time(client)
    starter.join(LONG)
    assert not starter.is_alive()


def test_close_is_bounded_while_tcp_never_answers(server):
    with socket.socket() as full:  # a full backlog answers no SYN
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        client = wsclient.Client(f"ws://127.0.0.1:{full.getsockname()[1]}/", retry_first=True)
        starter = threading.Thread(target=swallow, args=(client.start,))
        starter.start()
        eventually(lambda: client.state is State.CONNECTING)
        close_in_time(client)
        starter.join(LONG)
        for filler in fillers:
            filler.close()


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_close_is_bounded_with_a_proxy_that_hangs(raw, scheme):
    proxy = f"{scheme}://127.0.0.1:{raw.port}"
    client = wsclient.Client("ws://example.invalid/", proxy=proxy, retry_first=True)
    starter = threading.Thread(target=swallow, args=(client.start,))
    starter.start()
    raw.accept()  # the proxy accepts, and sends nothing
    close_in_time(client)
    starter.join(LONG)


def test_close_ends_the_wait_before_a_reconnect():
    with Server() as server:
        policy = wsclient.Reconnect(wait=lambda state: 3600.0)
        client = wsclient.connect(server.url, reconnect=policy)
        server.stop()
        assert client.wait_until(State.WAITING, LONG)
        delivery = client.send("never")
        close_in_time(client)
        assert delivery.state == "lost"


def test_close_after_a_failure(raw):
    client = wsclient.Client(raw.url)
    starter = threading.Thread(target=client.start)
    starter.start()
    peer = raw.accept().upgrade()
    starter.join(LONG)
    peer.send(b"\x88\x02\x03\xf0")  # close 1008
    assert client.wait_closed(LONG)
    assert client.state is State.FAILED
    close_in_time(client)
    assert client.state is State.FAILED


def test_a_client_that_fails_reports_the_reason_to_all_waiting_callers(stage):
    errors = []
    client = wsclient.Client(
        stage(respond("403 Forbidden")).url, retry_first=True, on_error=lambda _, error: errors.append(error)
    )
    futures = [client.submit({"method": "add"}) for _ in range(2)]
    delivery = client.send("queued")
    stream = client.listen()
    with pytest.raises(wsclient.HandshakeError):
        client.start()
    assert client.state is State.FAILED
    raised = [future.exception(LONG) for future in futures]
    assert [error.status for error in raised] == [403, 403]
    assert raised[0] is not raised[1], "they would share one traceback"
    assert delivery.state == "lost"
    with pytest.raises(wsclient.HandshakeError):
        next(stream)
    for call in (client.send, client.submit, client.request):
        with pytest.raises(wsclient.ClientClosed, match=r"has failed \(.*403.*\); make a new one") as caught:
            call({"method": "add"})
        assert isinstance(caught.value.__cause__, wsclient.HandshakeError)
    close_in_time(client)
    assert client.state is State.FAILED
    eventually(lambda: errors)
    assert [error.status for error in errors] == [403]


def test_close_is_bounded_with_a_hook_that_never_returns(server):
    entered, leave = threading.Event(), threading.Event()

    def stuck(client, message):
        entered.set()
        leave.wait(LONG)

    client = wsclient.connect(server.url, on_message=stuck)
    client.send("x")
    assert entered.wait(LONG)
    close_in_time(client)
    leave.set()


@pytest.mark.parametrize("where", ["on_session", "url", "match"])
def test_close_is_bounded_with_user_code_that_hangs_on_the_io_thread(server, where):
    entered, leave = threading.Event(), threading.Event()

    def stuck(*args):
        entered.set()
        leave.wait(LONG)
        return server.url

    options = {"on_session": stuck} if where == "on_session" else {}
    client = wsclient.Client(stuck if where == "url" else server.url, retry_first=True, **options)
    future = client.submit("x", match=stuck if where == "match" else None) if where == "match" else None
    starter = threading.Thread(target=swallow, args=(client.start,))
    starter.start()
    assert entered.wait(LONG)
    close_in_time(client)
    starter.join(LONG)
    assert not starter.is_alive()
    if future is not None:
        with pytest.raises(wsclient.ClientClosed):
            future.result(0)
    leave.set()


@pytest.mark.ws_no_leaks
def test_close_ends_the_io_thread_during_a_name_lookup(hang, hanging_lookup, caplog):
    hanging_lookup("slow.invalid")
    client = wsclient.Client("ws://slow.invalid/", retry_first=True, name="looking")
    starter = threading.Thread(target=swallow, args=(client.start,))
    starter.start()
    assert hang.entered.wait(LONG)
    close_in_time(client)
    starter.join(LONG)
    assert "abandoned" not in caplog.text
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("looking")] == ["looking-lookup"]
    gone = weakref.ref(client)
    del client, starter
    gc.collect()
    assert gone() is None, "the thread of the look-up has a reference to the client"


def test_reconnect_during_a_name_lookup_waits_for_the_same_lookup(server, hang, monkeypatch):
    asked = []

    def look_up(host, port, **options):
        asked.append(host)
        hang()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    attempts = []

    def headers():
        attempts.append(len(attempts))
        return {}

    client = wsclient.Client(f"ws://slow.invalid:{server.port}/", headers=headers, retry_first=True)
    starter = threading.Thread(target=client.start)
    starter.start()
    assert hang.entered.wait(LONG)
    client.reconnect()
    eventually(lambda: len(attempts) == 2)
    hang.release()
    assert client.wait_until(State.OPEN, LONG)
    starter.join(LONG)
    client.close()
    assert asked == ["slow.invalid"]


def test_close_is_allowed_inside_hooks(server):
    closed = threading.Event()

    class Once(wsclient.Client):
        def on_message(self, message):
            self.close()
            closed.set()

    client = Once(server.url)
    client.start()
    client.send("x")
    assert closed.wait(LONG)
    assert client.wait_closed(LONG)


def test_close_on_the_io_thread_needs_wait_false(server):
    errors = []

    def match(message):
        try:
            client.close()
        except wsclient.WouldDeadlock as error:
            errors.append(str(error))
            client.close(wait=False)
        return True

    with wsclient.connect(server.url) as client:
        client.submit("x", match=match)
        assert client.wait_closed(LONG)
    assert "close(wait=False)" in errors[0]


def test_many_threads_can_close_at_the_same_time(server):
    client = wsclient.connect(server.url)
    threads = [threading.Thread(target=client.close) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert client.state is State.CLOSED


def test_a_close_with_a_short_timeout_shortens_an_earlier_close(raw, caplog):
    client = wsclient.Client(raw.url)
    starter = threading.Thread(target=client.start)
    starter.start()
    raw.accept().upgrade()
    starter.join(LONG)
    patient = threading.Thread(target=client.close, kwargs={"timeout": 3600})
    patient.start()
    eventually(lambda: client.state is State.CLOSING)
    close_in_time(client)
    patient.join(LONG)
    assert not patient.is_alive()
    assert "does not respond" not in caplog.text  # the I/O thread itself has ended the connection


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs POSIX signals")
def test_close_without_waiting_is_allowed_in_a_signal_handler(server):
    client = wsclient.connect(server.url)
    commands = client._wsclient.context.commands
    previous = signal.signal(signal.SIGUSR1, lambda *_: client.close(wait=False))
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert client.wait_closed(LONG), (
            f"{commands.close}, {commands._wakeup and commands._wakeup._pending}\n{stacks()}"
        )
        unstarted = client = wsclient.Client(server.url)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert unstarted.wait_closed(LONG)
    finally:
        signal.signal(signal.SIGUSR1, previous)


# --- drain -----------------------------------------------------------------------------------------------------------


def test_drain_finishes_the_requests_in_flight_and_refuses_new_ones():
    answer = threading.Event()

    def handler(connection, message):
        assert answer.wait(LONG)
        connection.send(message)

    with Server(handler) as server:
        client = wsclient.connect(server.url)
        future = client.submit({"a": 1})
        server.wait_for(1)
        assert client.drain(wait=False) is False
        with pytest.raises(wsclient.ClientClosed, match="drain"):
            client.send("more")
        with pytest.raises(wsclient.ClientClosed, match="drain"):
            client.request({"b": 1})
        answer.set()
        assert future.result(LONG) == {"id": 1, "a": 1}
        assert client.drain() is True
        assert client.state is State.CLOSED


def test_drain_sends_queued_messages_through_a_reconnect(mute_server):
    proxy = FaultProxy(mute_server.port)
    policy = wsclient.Reconnect(wait=lambda state: 0.05)
    client = wsclient.connect(proxy.url, reconnect=policy)
    proxy.refuse()
    proxy.cut()
    assert client.wait_until(State.WAITING, LONG)
    for n in range(10):
        client.send(str(n))
    drained = []
    drainer = threading.Thread(target=lambda: drained.append(client.drain(LONG)))
    drainer.start()
    proxy.accept()
    drainer.join(LONG)
    assert drained == [True]
    assert mute_server.wait_for(10) == [str(n) for n in range(10)]
    proxy.stop()


def test_drain_detects_that_the_last_request_has_ended(server):
    """A request that the sealed queue refuses is withdrawn, without a wake-up."""
    client = wsclient.connect(server.url, ping_interval=None)
    context, table = client._wsclient.context, client._wsclient.context.table
    client.submit({"method": "silence"}, timeout=None)
    assert client.drain(10 * LONG, wait=False) is False
    eventually(lambda: context.commands.sleeps_until < math.inf)  # until the drain's deadline, or its next check
    for request in table.everything():
        assert table.end(request, "failed")
    assert client.wait_closed(LONG)


def test_drain_ends_at_its_timeout(server):
    client = wsclient.connect(server.url)
    future = client.submit({"method": "silence"})
    began = time.monotonic()
    assert client.drain(SHORT) is False
    assert time.monotonic() - began < SHORT + 1 + SLACK
    with pytest.raises(wsclient.ClientClosed):
        future.result(0)
    assert client.state is State.CLOSED


def test_drain_of_a_client_that_was_never_started():
    assert wsclient.Client("ws://127.0.0.1:9/").drain() is True
    client = wsclient.Client("ws://127.0.0.1:9/")
    client.send("x")
    assert client.drain() is False


# --- run_forever -----------------------------------------------------------------------------------------------------


def test_start_succeeds_although_a_hook_closes_the_client_at_once(server):
    class Hasty(wsclient.Client):
        def on_open(self):
            self.close()

    for _ in range(50):  # the scheduler decides which is first, the hook or the thread in start()
        client = Hasty(server.url).start()
        assert client.wait_closed(LONG)


def test_run_forever_blocks_until_the_client_is_closed(server):
    seen = []

    class Once(wsclient.Client):
        def on_open(self):
            self.send("x")

        def on_message(self, message):
            seen.append(message)
            self.close()

        def on_close(self, code, reason):
            seen.append(code)

    Once(server.url).run_forever()
    assert seen == ["x", 1000]


def test_run_forever_raises_the_error_that_made_the_client_fail(server):
    class Refused(wsclient.Client):
        def on_open(self):
            connection = server.opened.get(timeout=LONG)
            connection.close(1008, "who are you?")

    with pytest.raises(wsclient.ClientClosed, match="who are you") as caught:
        Refused(server.url).run_forever()
    assert isinstance(caught.value.__cause__, wsclient.ConnectionLost)


def test_close_is_bounded_with_a_server_that_is_gone(server):
    client = wsclient.connect(server.url)
    server.stop()
    close_in_time(client)


def swallow(call):
    try:
        call()
    except wsclient.WebSocketClientError:
        pass


def test_on_close_is_called_once_although_the_io_thread_hangs(server):
    held, go_on = threading.Event(), threading.Event()

    def stuck(message):
        held.set()
        assert go_on.wait(LONG)
        return False

    reported = []
    client = wsclient.connect(server.url, on_close=lambda client, code, reason: reported.append((code, reason)))
    future = client.submit({"method": "echo", "params": 1}, match=stuck)
    assert held.wait(LONG)
    client.close(timeout=0)
    assert reported == [(None, None)]
    assert isinstance(future.exception(LONG), wsclient.ClientClosed)
    go_on.set()
    assert client.wait_closed(LONG)
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name.endswith("-io")])
    assert reported == [(None, None)]


def test_drain_of_a_failed_client_raises_its_error_and_changes_nothing():
    client = wsclient.Client("ws://127.0.0.1:1/", proxy=None, retry_first=True, reconnect=wsclient.Reconnect(
        wait=tenacity.wait_none(), stop=tenacity.stop_after_attempt(1)
    ))  # fmt: skip
    with pytest.raises(wsclient.ConnectError):
        client.start()
    for call in (client.drain, lambda: client.send("x")):
        with pytest.raises(wsclient.ClientClosed, match="has failed") as caught:
            call()
        assert isinstance(caught.value.__cause__, wsclient.ConnectError)


def test_an_interrupt_of_a_start_leaves_a_client_alone_that_another_thread_started(raw):
    client = wsclient.Client(raw.url)
    thread = threading.Thread(target=client.start)
    thread.start()
    eventually(lambda: client.state is State.CONNECTING)

    def start_now():
        try:
            client.start(timeout=0)
        except wsclient.ConnectError:
            pass

    moment = 0
    while strikes(moment, start_now):
        assert client._wsclient.context.commands.close is None, moment
        moment += 1
    assert moment > 10
    peer = raw.accept().upgrade()
    thread.join(LONG)
    assert client.state is State.OPEN
    client.close(timeout=0)
    peer.finish()


def test_a_start_whose_thread_is_refused_waits_for_the_client_that_another_thread_starts_meanwhile(server, monkeypatch):
    client = wsclient.Client(server.url)

    class Refusal(RuntimeError):
        def __str__(self):
            """Called by the thread that makes the error for the refusal."""
            on_thread(client.start)
            return "can't start new thread"

    def refuse(thread):
        monkeypatch.undo()
        raise Refusal

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert client.start() is client
    assert client.state is State.OPEN
    client.close()


class StartedAtSecondAttempt:
    """A thread for which the system has no room at first."""

    is_reported = False

    def __init__(self):
        self.attempts = 0
        self.started = threading.Event()

    def start(self, starter):
        self.attempts += 1
        if self.attempts == 1:
            raise RuntimeError("can't start new thread")
        self.started.set()

    def run_here(self):
        self.started.set()


def test_a_thread_that_could_not_be_started_is_started_later_although_there_is_no_connection():
    with Server() as server:
        client = wsclient.connect(server.url, reconnect=wsclient.Reconnect(wait=lambda state: 3600.0))
    eventually(lambda: client.state is State.WAITING)
    thread = StartedAtSecondAttempt()
    client._wsclient.context.starter.start(thread)
    assert thread.started.wait(LONG)
    assert thread.attempts == 2
    client.close()


def test_a_client_that_never_started_can_be_closed_on_any_thread_after_its_drain():
    client = wsclient.Client("ws://127.0.0.1:9")
    assert on_thread(lambda: client.drain(timeout=0))
    on_thread(client.close)
    assert client.drain(timeout=0)
    assert client.state is State.CLOSED


def test_an_attempt_ends_at_its_timeout_although_a_name_look_up_hangs(hanging_lookup):
    hanging_lookup("slow.invalid")
    client = wsclient.Client("ws://slow.invalid/", open_timeout=SHORT)
    with pytest.raises(wsclient.ConnectError, match=r"slow\.invalid") as caught:
        client.start()
    assert isinstance(caught.value.last, TimeoutError)


class Failing(socket.socket):
    """A socket of the user with a defect."""

    fails = False

    def recv(self, *args):
        if self.fails:
            raise LookupError("a defect")
        return super().recv(*args)


def test_a_defect_of_the_users_socket_is_reported_and_the_client_reconnects(server):
    errors, socks = [], []

    def open_socket():
        socks.append(Failing())
        socks[-1].connect((server.host, server.port))
        return socks[-1]

    reconnect = wsclient.Reconnect(wait=tenacity.wait_none())
    options = {"sock": open_socket, "reconnect": reconnect, "on_error": lambda _, error: errors.append(error)}
    with wsclient.connect(server.url, **options) as client:
        socks[0].fails = True
        client.send("x")
        eventually(lambda: client.stats.connections == 2)
        assert client.request({"method": "echo", "params": 1}, timeout=LONG)["result"] == 1
    assert [str(error) for error in errors] == ["a defect"]
