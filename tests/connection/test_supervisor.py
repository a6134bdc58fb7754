"""Reconnecting: when, to which server, in which order, and when not."""

import json
import queue
import threading

import pytest
import tenacity

import wsclient
from wsclient import State
from wsclient._sending.sender import Sender

from ..support import LONG, FaultProxy, RawServer, Server, eventually
from ..support.clients import request_sum
from ..support.peers import many, open_pair, put
from ..support.raw import frame
from ..support.threads import BlockingCall

SOON = wsclient.Reconnect(wait=tenacity.wait_none())
BATCH = [{"method": "a"}, {"method": "b"}]


class Recorder(wsclient.Client):
    """Records the hooks that were called, in order."""

    def __init__(self, *args, **options):
        self.calls = []
        super().__init__(*args, **options)

    def on_open(self):
        self.calls.append("open")

    def on_reconnect(self):
        self.calls.append("reconnect")

    def on_close(self, code, reason):
        self.calls.append(("close", code, reason))

    def on_error(self, error):
        self.calls.append(("error", error))

    def on_connect_error(self, attempt):
        self.calls.append(("attempt", attempt))


def open_against(raw, *, upgrade=(), **options):
    """A client that is open, and the peer that accepted it."""
    client = Recorder(raw.url, **options)
    starter = threading.Thread(target=client.start)
    starter.start()
    peer = raw.accept().upgrade(*upgrade)
    starter.join(LONG)
    assert client.state is State.OPEN
    return client, peer


# --- which errors end the client and which are retried ---------------------------------------------------------------


def end(peer, code, reason=""):
    """Close like a server: the close frame, then TCP."""
    peer.send(frame(8, b"" if code is None else code.to_bytes(2, "big") + reason.encode()))
    peer.finish()


@pytest.mark.parametrize("code", [None, 1000, 1001, 1006, 1009, 1011, 1012, 1013, 1014, 1015, 3000, 4001, 4999])
def test_a_close_by_the_server_is_followed_by_a_reconnect(raw, code):
    client, peer = open_against(raw, reconnect=SOON)
    end(peer, code)
    raw.accept().upgrade()
    eventually(lambda: client.calls[-1:] == ["reconnect"])
    reported = 1005 if code is None else code
    assert client.calls == ["open", ("close", reported, ""), "reconnect"]
    assert (client.last_disconnect.initiator, client.last_disconnect.code) == ("remote", reported)
    client.close(timeout=0)


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 1010])
def test_a_close_code_for_a_client_error_is_fatal(raw, code):
    client, peer = open_against(raw, reconnect=SOON)
    future = client.submit({"method": "x"})
    queued = client.submit({"method": "y"}, match=None)
    peer.receive_text(), peer.receive_text()
    end(peer, code, "no")
    assert client.wait_closed(LONG)
    assert client.state is State.FAILED
    for waiting in (future, queued):
        with pytest.raises(wsclient.ConnectionLost):
            waiting.result(LONG)
    with pytest.raises(wsclient.ClientClosed) as caught:
        client.send("x")
    assert isinstance(caught.value.__cause__, wsclient.ConnectionLost)
    assert caught.value.__cause__.disconnect.code == code
    with pytest.raises(wsclient.ClientClosed):
        client.wait_until(State.OPEN)
    assert client.calls[1] == ("close", code, "no")
    ((kind, error),) = client.calls[2:]
    assert kind == "error"
    assert error.disconnect.code == code


def test_a_fatal_close_code_of_the_protocol_is_fatal(raw):
    class Strict(wsclient.JsonId):
        fatal_codes = frozenset({4401})

    client, peer = open_against(raw, reconnect=SOON, protocol=Strict())
    end(peer, 4401)
    assert client.wait_closed(LONG)
    assert client.state is State.FAILED


@pytest.mark.parametrize(
    "status", ["400 Bad Request", "401 Unauthorized", "403 Forbidden", "404 Not Found", "410 Gone"]
)
def test_a_rejection_is_fatal_and_kept_on_the_error(raw, status):
    client, peer = open_against(raw, reconnect=SOON)
    peer.reset()
    raw.accept().respond(status, "X-Why: because", body=b"go away")
    assert client.wait_closed(LONG)
    assert client.state is State.FAILED
    with pytest.raises(wsclient.ClientClosed) as caught:
        client.send("x")
    error = caught.value.__cause__
    assert isinstance(error, wsclient.HandshakeError)
    assert error.status == int(status[:3])
    assert error.headers["x-why"] == "because"
    assert error.body == b"go away"


def test_a_client_whose_connection_was_healthy_waits_for_a_server_that_rejects_it_for_a_moment(server):
    reconnect = wsclient.Reconnect(wait=tenacity.wait_none(), min_uptime=0.0)
    with Recorder(server.url, reconnect=reconnect).start() as client:
        request_sum(client)  # now the server has the connection
        server.reject(404, times=3)
        server.close_all(1012)
        eventually(lambda: client.stats.connections == 2 and client.state is State.OPEN)
        attempts = lambda: [call[1] for call in client.calls if call[0] == "attempt"]  # noqa: E731
        eventually(lambda: len(attempts()) == 3)
        assert [(one.error.status, one.number, one.next_delay) for one in attempts()] == [
            (404, 1, 0.0),
            (404, 2, 0.0),
            (404, 3, 0.0),
        ]
        assert not [call for call in client.calls if call[0] == "error"]


def test_a_fatal_close_of_a_healthy_connection_is_retried(raw):
    client, peer = open_against(raw, reconnect=wsclient.Reconnect(wait=tenacity.wait_none(), min_uptime=0.0))
    end(peer, 1008, "moving")
    raw.accept().upgrade()
    eventually(lambda: client.calls == ["open", ("close", 1008, "moving"), "reconnect"])
    client.close(timeout=0)


def test_a_server_that_still_rejects_a_client_after_grace_is_fatal(server):
    reconnect = wsclient.Reconnect(wait=tenacity.wait_fixed(0.05), min_uptime=0.0, grace=0.2)
    client = Recorder(server.url, reconnect=reconnect).start()
    request_sum(client)  # now the server has the connection
    server.reject(404, times=1_000_000)
    server.close_all(1012)
    assert client.wait_closed(LONG)
    assert client.state is State.FAILED
    attempts = [call[1] for call in client.calls if call[0] == "attempt"]
    assert attempts[-1].next_delay is None
    assert client.calls[-1] == ("error", attempts[-1].error)
    with pytest.raises(wsclient.ClientClosed) as caught:
        client.send("x")
    assert caught.value.__cause__ is attempts[-1].error


@pytest.mark.parametrize(
    "status", ["408 Request Timeout", "425 Too Early", "429 Slow Down", "500 Oops", "502 Bad", "503 No"]
)
def test_a_temporary_rejection_is_retried(raw, status):
    client, peer = open_against(raw, reconnect=SOON)
    peer.reset()
    raw.accept().respond(status)
    raw.accept().upgrade()
    eventually(lambda: client.calls[-1:] == ["reconnect"])
    (attempt,) = [call[1] for call in client.calls if call[0] == "attempt"]
    assert (attempt.number, attempt.next_delay) == (2, 0.0)
    assert attempt.error.status == int(status[:3])
    client.close(timeout=0)


def test_retry_after_is_obeyed(raw):
    client, peer = open_against(raw, reconnect=SOON)
    peer.reset()
    raw.accept().respond("503 Later", "Retry-After: 7")
    eventually(lambda: client.state is State.WAITING and any(call[0] == "attempt" for call in client.calls))
    (attempt,) = [call[1] for call in client.calls if call[0] == "attempt"]
    assert attempt.next_delay == 7.0
    client.close()


def test_new_credentials_get_one_more_attempt(raw):
    tokens = iter(["one", "stale", "fresh"])
    client, peer = open_against(raw, reconnect=SOON, headers=lambda: {"Authorization": next(tokens)})
    assert peer.header("Authorization") == "one"
    peer.reset()
    second = raw.accept()
    second.respond("401 Unauthorized")
    third = raw.accept().upgrade()
    assert (second.header("Authorization"), third.header("Authorization")) == ("stale", "fresh")
    eventually(lambda: client.state is State.OPEN)
    client.close(timeout=0)


def test_should_retry_overrides_the_rules(raw):
    asked = queue.Queue()

    def should_retry(error):
        asked.put(error)
        return True

    client, peer = open_against(raw, reconnect=wsclient.Reconnect(wait=tenacity.wait_none(), should_retry=should_retry))
    end(peer, 1008)
    raw.accept().respond("404 Not Found")
    raw.accept().upgrade()
    assert isinstance(asked.get(timeout=LONG), wsclient.ConnectionLost)
    assert isinstance(asked.get(timeout=LONG), wsclient.HandshakeError)
    eventually(lambda: client.state is State.OPEN)
    client.close(timeout=0)


def test_the_client_fails_after_its_last_retry():
    with Server() as server:
        policy = wsclient.Reconnect(wait=tenacity.wait_none(), stop=tenacity.stop_after_attempt(3), min_uptime=0)
        client = Recorder(server.url, reconnect=policy)
        client.start()
        server.stop()
        assert client.wait_closed(LONG)
        assert client.state is State.FAILED
        attempts = [call[1] for call in client.calls if call[0] == "attempt"]
        assert [(a.number, a.next_delay) for a in attempts] == [(1, 0.0), (2, 0.0), (3, None)]
        with pytest.raises(wsclient.ClientClosed) as caught:
            client.send("x")
        assert caught.value.__cause__.attempts == 3
        assert isinstance(caught.value.__cause__.last, wsclient.ConnectError)


@pytest.mark.parametrize(("code", "final"), [(1000, State.CLOSED), (1011, State.FAILED)])
def test_without_reconnect_the_first_end_is_final(raw, code, final):
    client, peer = open_against(raw, reconnect=None)
    end(peer, code)
    assert client.wait_closed(LONG)
    assert client.state is final


def test_the_first_failure_raises_and_is_reported_to_on_connect_error(raw):
    client = Recorder(raw.url)
    starter = threading.Thread(target=lambda: raw.accept().respond("403 Forbidden"))
    starter.start()
    with pytest.raises(wsclient.HandshakeError) as caught:
        client.start()
    starter.join(LONG)
    ((kind, attempt),) = client.calls
    assert kind == "attempt"
    assert (attempt.number, attempt.next_delay) == (1, None)
    assert attempt.error.status == caught.value.status == 403


# --- which server ----------------------------------------------------------------------------------------------------


def test_a_list_of_urls_is_tried_in_order():
    with Server() as first, Server() as second:
        client = Recorder([first.url, second.url], reconnect=SOON)
        client.start()
        first.opened.get(timeout=LONG)
        first.stop()
        second.opened.get(timeout=LONG)
        eventually(lambda: client.calls[-1:] == ["reconnect"])
        client.close()


def test_the_url_function_is_called_before_every_attempt():
    servers = [Server(), Server()]
    urls = iter([servers[0].url, "ws://127.0.0.1:1/", servers[1].url])
    client = Recorder(lambda: next(urls), reconnect=SOON)
    client.start()
    servers[0].close()
    servers[1].opened.get(timeout=LONG)
    client.close()
    servers[1].close()


@pytest.mark.parametrize("option", ["url", "headers"])
def test_a_url_or_headers_function_that_raises_is_a_failed_attempt(server, option):
    answers = iter([None, "good"])

    def ask():
        if next(answers) is None:
            raise LookupError("not registered yet")
        return server.url if option == "url" else {}

    url = ask if option == "url" else server.url
    client = Recorder(url, headers=ask if option == "headers" else None, reconnect=SOON, retry_first=True)
    client.start()
    eventually(lambda: client.calls)
    assert "not registered yet" in str(client.calls[0][1].error)
    client.close()


@pytest.mark.parametrize(
    ("url", "headers"),
    [(lambda: "http://x/", None), ("ws://127.0.0.1:1/", lambda: {"A": "b\r\nC: d"})],
)
def test_a_url_or_headers_function_that_returns_an_invalid_value_is_fatal(url, headers):
    client = wsclient.Client(url, headers=headers, retry_first=True)
    with pytest.raises(wsclient.ConnectError, match="returned a value that can't be used"):
        client.start()
    assert client.state is State.FAILED


# --- hooks -----------------------------------------------------------------------------------------------------------


def test_on_close_is_called_once_per_connection_and_not_for_attempts(server):
    with FaultProxy(server.port) as proxy:
        client = Recorder(proxy.url, reconnect=SOON)
        client.start()
        for n in range(5):
            proxy.cut()
            eventually(lambda n=n: client.calls.count("reconnect") == n + 1)
        client.close()
    closes = [call for call in client.calls if call[0] == "close"]
    assert closes == [("close", None, None)] * 5 + [("close", 1000, "")]
    assert [call for call in client.calls if isinstance(call, str)] == ["open"] + ["reconnect"] * 5


def test_by_default_on_reconnect_calls_on_open(server, proxy):
    opened = queue.Queue()

    class Subscriber(wsclient.Client):
        def on_open(self):
            opened.put(self.stats.connections)

    with Subscriber(proxy.url, reconnect=SOON):
        assert opened.get(timeout=LONG) == 1
        proxy.cut()
        assert opened.get(timeout=LONG) == 2

    with wsclient.connect(proxy.url, reconnect=SOON, on_open=lambda client: opened.put(client)) as client:
        assert opened.get(timeout=LONG) is client
        proxy.cut()
        assert opened.get(timeout=LONG) is client


# --- the order on a connection ---------------------------------------------------------------------------------------


def test_the_order_is_session_then_old_queue_then_new_messages_then_on_open(mute_server):
    calls = []

    class Ordered(wsclient.Client):
        def on_session(self, session):
            session.send(f"session {session.number}")
            calls.append(("session", self.state))

        def on_open(self):
            calls.append(("open", self.state))
            self.send("from on_open")

    with FaultProxy(mute_server.port) as proxy:
        client = Ordered(proxy.url, reconnect=SOON)
        client.send("before start")
        client.start()
        mute_server.wait_for(3)
        proxy.refuse()
        proxy.cut()
        eventually(lambda: client.state is not State.OPEN)
        client.send("offline 1")
        client.send("offline 2")
        proxy.accept()
        received = mute_server.wait_for(7)
        client.close()
    assert received == [
        "session 1", "before start", "from on_open", "session 2", "offline 1", "offline 2", "from on_open",
    ]  # fmt: skip
    assert calls == [("session", State.CONNECTING), ("open", State.OPEN)] * 2


def test_a_message_sent_in_on_open_is_lost_with_its_connection_and_not_sent_twice():
    entered, held = threading.Event(), threading.Event()
    deliveries = []

    class Subscriber(wsclient.Client):
        def on_open(self):
            if not held.is_set():
                entered.set()
                assert held.wait(LONG)  # until the connection has ended
                try:
                    self.request({"method": "subscribe"})
                except wsclient.ConnectionLost as error:
                    deliveries.append(error.sent)
            deliveries.append(self.send("subscribe"))

    with Server(lambda connection, message: None) as server, FaultProxy(server.port) as proxy:
        client = Subscriber(proxy.url, reconnect=SOON)
        client.start()
        assert entered.wait(LONG)
        proxy.cut()
        eventually(lambda: client.stats.connections == 2)
        held.set()
        server.wait_for(1)
        eventually(lambda: len(deliveries) == 3)
        client.flush(LONG)
        assert deliveries[0] is False
        assert deliveries[1].state == "lost"
        assert deliveries[2].state == "confirmed"
        assert server.received == ["subscribe"]
        client.close()


@pytest.mark.parametrize("taken", [False, True], ids=["withdrawn from the queue", "taken from the queue"])
def test_a_message_sent_in_a_hook_of_an_earlier_connection_is_not_sent_on_a_later_one(raw, monkeypatch, taken):
    """It is queued after the queue was cleared of that connection's messages; the next connection may take it from
    there before the sending thread can withdraw it.
    """
    if taken:
        too_late = Sender.is_too_late

        def late(sender, entry):
            client._wsclient.context.commands.wake()
            eventually(lambda: not entry.queued)
            return too_late(sender, entry)

        monkeypatch.setattr(Sender, "is_too_late", late)
    entered, open_again, over = threading.Event(), threading.Event(), threading.Event()
    sent, ends = [], []

    class Subscriber(wsclient.Client):
        def on_open(self):
            if entered.is_set():
                return
            entered.set()
            assert open_again.wait(LONG)
            for _ in range(10):
                sent.append(self.send("plain"))
                for call in (lambda: self.call("request", timeout=LONG), lambda: self.request(BATCH, timeout=LONG)):
                    try:
                        call()
                    except wsclient.ConnectionLost as error:
                        ends.append(error.sent)
            over.set()

    client = Subscriber(raw.url, protocol=wsclient.JsonRpc(), reconnect=SOON, ping_interval=None)
    starting = BlockingCall(client.start)
    peer = raw.accept().upgrade()
    starting.result()
    assert entered.wait(LONG)
    peer.reset()
    peer = raw.accept().upgrade()
    eventually(lambda: client.stats.connections == 2)
    open_again.set()
    assert over.wait(LONG)
    client.send("mark")
    assert peer.receive_text() == "mark"
    eventually(lambda: {delivery.state for delivery in sent} == {"lost"})  # another thread may be discarding the last
    assert len(sent) == 10
    assert ends == [False, False] * 10
    client.close(timeout=0)


def test_reconnect_resets_the_count_of_failures(raw):
    reconnect = wsclient.Reconnect(wait=tenacity.wait_none(), stop=tenacity.stop_after_attempt(2), min_uptime=3600)
    client, peer = open_against(raw, reconnect=reconnect, ping_interval=None)
    peer.reset()
    peer = raw.accept().upgrade()
    eventually(lambda: client.stats.connections == 2)
    client.reconnect()
    peer = raw.accept().upgrade()
    eventually(lambda: client.stats.connections == 3)
    peer.reset()
    raw.accept().upgrade()
    eventually(lambda: client.stats.connections == 4)
    client.close(timeout=0)


def test_a_command_to_drop_an_earlier_connection_leaves_the_present_one_open(raw):
    """The thread that gives the command may have seen the earlier connection just before it ended."""
    client, peer = open_against(raw, reconnect=SOON, ping_interval=None)
    peer.reset()
    peer = raw.accept().upgrade()
    eventually(lambda: client.stats.connections == 2)
    commands = client._wsclient.context.commands
    commands.order_drop(1, wsclient.ConnectionLost("A request was given up on the first connection."))
    eventually(lambda: not commands.drop)
    peer.send_frame(9, b"open?")
    assert peer.receive_frame() == (10, b"open?")
    client.close(timeout=0)


def test_a_message_sent_in_a_hook_and_cut_in_the_middle_of_a_frame_is_lost_and_not_sent_again(raw):
    sent = []

    class Subscriber(wsclient.Client):
        def on_open(self):
            if self.stats.connections == 1:
                sent.append(self.submit({"method": "x" * 2**24}))
                sent.append(self.submit({"method": "behind it"}))
                sent.append(self.send("behind it"))

    client = Subscriber(raw.url, reconnect=SOON, ping_interval=None)
    starting = BlockingCall(client.start)
    peer = raw.accept().upgrade()
    starting.result()
    peer.exactly(2**20)
    eventually(lambda: len(sent) == 3)
    peer.reset()
    peer = raw.accept().upgrade()
    client.send("mark")
    assert peer.receive_text() == "mark"
    *futures, delivery = sent
    errors = [future.exception(LONG) for future in futures]
    assert all(isinstance(error, wsclient.ConnectionLost) for error in errors)
    assert [error.sent for error in errors] == [False, False]
    assert delivery.state == "lost"
    client.close(timeout=0)


def test_a_request_cut_in_the_middle_of_a_frame_is_sent_again_unless_it_has_ended(raw):
    client, peer = open_pair(raw, ping_interval=None)
    future = client.submit({"method": "x" * 2**24})
    peer.exactly(2**20)
    peer.reset()
    peer = raw.accept().upgrade()
    peer.exactly(2**20)
    assert not future.done()
    assert future.cancel()
    peer.reset()
    peer = raw.accept().upgrade()
    client.send("mark")
    assert peer.receive_text() == "mark"
    client.close(timeout=0)


def test_a_stream_whose_request_was_cut_in_the_middle_of_its_frame_is_sent_again(raw):
    client, peer = open_pair(raw, ping_interval=None, protocol=many())
    stream = client.stream({"method": "x" * 2**23})
    peer.exactly(2**20)
    peer.reset()
    peer = raw.accept().upgrade()
    id = json.loads(peer.receive_text())["id"]
    put(peer, {"id": id, "v": 1, "more": True}, {"id": id, "v": 2})
    assert list(stream) == [1, 2]
    client.close(timeout=0)


def test_ids_continue_to_increase_over_connections(server, proxy):
    class LogsIn(wsclient.Client):
        def on_session(self, session):
            session.request({"method": "echo", "params": "login"})

    client = LogsIn(proxy.url, reconnect=SOON)
    early = [client.submit({"method": "echo", "params": n}) for n in range(3)]
    client.start()
    [future.result(LONG) for future in early]
    proxy.refuse()
    proxy.cut()
    eventually(lambda: client.state is not State.OPEN)
    late = [client.submit({"method": "echo", "params": n}) for n in range(3)]
    proxy.accept()
    [future.result(LONG) for future in late]
    client.close()
    ids = [json.loads(message)["id"] for message in server.received]
    assert len(ids) == 8
    assert ids == sorted(set(ids))


# --- names and logs --------------------------------------------------------------------------------------------------


def test_the_names_of_the_threads_contain_the_name_of_the_client(server):
    with wsclient.connect(server.url, name="ticker", on_open=lambda client: None):
        eventually(lambda: {"ticker-io", "ticker-hooks"} <= {thread.name for thread in threading.enumerate()})


def test_without_hooks_there_is_no_hook_thread(server):
    with wsclient.connect(server.url, name="quiet") as client:
        client.send("x")
        client.flush(LONG)
        assert not [thread for thread in threading.enumerate() if thread.name == "quiet-hooks"]


def test_no_secret_is_logged_or_printed(caplog, dead):
    caplog.set_level("DEBUG")
    with RawServer(lambda peer: (peer.upgrade("Set-Cookie: session=hush"), peer.receive_frame())) as raw:
        url = raw.url.replace("ws://", "ws://me:hush@") + "?token=hush"
        client = wsclient.Client(url, headers={"X-Token": "hush"}, reconnect=None)
        client.start()
        client.close()
        shown = repr(client) + str(client)
    with pytest.raises(wsclient.ConnectError) as caught:
        wsclient.connect(f"ws://me:hush@127.0.0.1:{dead}/?token=hush")
    assert "hush" not in caplog.text + shown + str(caught.value)
