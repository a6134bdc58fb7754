"""``on_session``: the setup of every connection, before anything else is sent on it."""

import json
import threading

import pytest
import tenacity

import wsclient
from wsclient import State

from ..support import AMPLE, LONG, SHORT, FaultProxy, Server, eventually
from ..support.peers import start_call
from ..support.raw import frame
from ..support.threads import on_thread

SOON = wsclient.Reconnect(wait=tenacity.wait_none())


def client_with(url, on_session, **options):
    options.setdefault("reconnect", SOON)
    return wsclient.Client(url, on_session=lambda client, session: on_session(session), **options)


def failure_of(call):
    """The exception that the call raises."""
    with pytest.raises(wsclient.WebSocketClientError) as caught:
        call()
    return caught.value


def test_the_session_logs_in_before_anything_else_is_sent(server):
    replies = []

    def log_in(session):
        replies.append(session.request({"method": "echo", "params": "token"}))

    client = client_with(server.url, log_in)
    client.send("queued before")
    with client:
        server.wait_for(2)
    assert replies == [{"id": 1, "result": "token"}]
    assert [json.loads(server.received[0])["params"], server.received[1]] == ["token", "queued before"]


def test_the_session_has_its_number_subprotocol_and_headers(raw):
    facts = []

    def look(session):
        facts.append((session.number, session.subprotocol, session.headers["x-server"]))

    client = client_with(raw.url, look, subprotocols=["a", "b"])
    starter = threading.Thread(target=client.start)
    starter.start()
    peer = raw.accept().upgrade("Sec-WebSocket-Protocol: b", "X-Server: one")
    starter.join(LONG)
    assert peer.header("Sec-WebSocket-Protocol") == "a, b"
    peer.finish()
    raw.accept().upgrade("Sec-WebSocket-Protocol: a", "X-Server: two")
    eventually(lambda: client.stats.connections == 2)
    assert facts == [(1, "b", "one"), (2, "a", "two")]
    client.close(timeout=0)


def test_a_failed_session_does_not_count(server):
    numbers = []

    def fail_once(session):
        numbers.append(session.number)
        if len(numbers) == 1:
            raise LookupError("no token yet")

    with client_with(server.url, fail_once, retry_first=True) as client:
        assert numbers == [1, 1]
        assert client.stats.connections == 1
        assert client.stats.failed_attempts == 1


def test_messages_skipped_by_the_session_are_delivered_to_hooks_and_streams_afterwards_in_order():
    def handler(connection, message):
        connection.send('{"event": "before"}')
        connection.send(json.dumps({"id": json.loads(message)["id"], "result": "in"}))
        connection.send('{"event": "after"}')
        connection.send('{"event": "last"}')

    seen = []
    order = []

    class LogsIn(wsclient.Client):
        def on_session(self, session):
            session.request({"method": "login"})
            order.append(session.recv(LONG))

        def on_open(self):
            seen.append("open")

        def on_message(self, message):
            seen.append(message["event"])

    with Server(handler) as server:
        client = LogsIn(server.url)
        stream = client.listen()
        with client:
            assert order == [{"event": "before"}]
            assert [stream.get(LONG), stream.get(LONG)] == [{"event": "after"}, {"event": "last"}]
            eventually(lambda: len(seen) == 3)
    assert seen == ["open", "after", "last"]


def test_match_finds_the_answer_among_events():
    def greet(connection, message):
        connection.send('{"type": "hello"}')
        connection.send('{"type": "auth_ok"}')

    def log_in(session):
        assert session.request({"type": "auth"}, match=lambda m: m["type"] == "auth_ok") == {"type": "auth_ok"}

    with Server(greet) as server, client_with(server.url, log_in) as client:
        assert client.state is State.OPEN
        assert json.loads(server.received[0]) == {"type": "auth"}


def test_a_message_directly_after_the_upgrade_is_received(raw):
    greetings = []
    client = client_with(raw.url, lambda session: greetings.append(session.recv(LONG)))
    starter = threading.Thread(target=client.start)
    starter.start()
    raw.accept().upgrade(then=frame(1, b'{"type": "hello"}'))
    starter.join(LONG)
    assert greetings == [{"type": "hello"}]
    client.close(timeout=0)


def test_pings_are_answered_during_the_setup(raw):
    client = client_with(raw.url, lambda session: session.recv(LONG))
    starter = threading.Thread(target=client.start)
    starter.start()
    peer = raw.accept().upgrade()
    peer.send_frame(9, b"are you there?")
    assert peer.receive_frame() == (10, b"are you there?")
    peer.send_text("go on")
    starter.join(LONG)
    assert client.state is State.OPEN
    client.close(timeout=0)


def test_an_error_of_the_session_is_a_failed_attempt(server):
    def fail(session):
        raise ZeroDivisionError("oops")

    client = client_with(server.url, fail)
    with pytest.raises(wsclient.SessionError, match="oops") as caught:
        client.start()
    assert isinstance(caught.value, wsclient.ConnectError)
    assert isinstance(caught.value.last, ZeroDivisionError)
    assert client.state is State.CLOSED
    eventually(lambda: server.connections == [])


def test_a_session_error_can_be_fatal(server):
    def refuse(session):
        raise wsclient.SessionError("The account is locked.", retry=False)

    errors = []
    client = client_with(server.url, refuse, retry_first=True, on_error=lambda _, error: errors.append(error))
    with pytest.raises(wsclient.SessionError, match="locked"):
        client.start()
    assert client.state is State.FAILED
    eventually(lambda: [str(error) for error in errors] == ["The account is locked."])


def test_a_server_that_rejects_the_login_with_1008_is_fatal():
    def refuse(connection, message):
        connection.close(1008, "bad token")

    with Server(refuse) as server:
        client = client_with(server.url, lambda s: s.request({"token": "x"}), retry_first=True)
        with pytest.raises(wsclient.SessionError, match="bad token"):
            client.start()
        assert client.state is State.FAILED


def test_a_reply_that_arrives_with_the_end_of_the_connection_is_still_returned(raw):
    replies = []

    def log_in(session):
        replies.append(session.request({"a": 1}))
        replies.append(session.recv(LONG))
        session.recv(LONG)

    client = client_with(raw.url, log_in)
    caught = []
    starter = threading.Thread(target=lambda: caught.append(failure_of(client.start)))
    starter.start()
    peer = raw.accept().upgrade()
    peer.receive_text()
    peer.send(frame(1, b'{"id": 1, "ok": true}') + frame(1, b'"bye"') + frame(8, b"\x03\xe8"))
    starter.join(LONG)
    assert replies == [{"id": 1, "ok": True}, '"bye"']
    assert isinstance(caught[0], wsclient.SessionError)


def test_a_lost_connection_ends_the_session(raw):
    errors = []

    def log_in(session):
        try:
            session.request({"a": 1})
        except wsclient.ConnectionLost as error:
            errors.append(error)
            raise

    client = client_with(raw.url, log_in, retry_first=True)
    starter = threading.Thread(target=client.start)
    starter.start()
    first = raw.accept().upgrade()
    first.receive_text()
    first.finish()
    second = raw.accept().upgrade()
    assert json.loads(second.receive_text()) == {"id": 2, "a": 1}
    second.send_text('{"id": 2}')
    starter.join(LONG)
    assert client.state is State.OPEN
    assert errors[0].disconnect.initiator == "network"
    client.close(timeout=0)


def test_the_session_has_its_own_timeouts(server):
    caught = []

    def try_all(session):
        with pytest.raises(wsclient.RequestTimeout) as timeout:
            session.request({"method": "silence"}, timeout=AMPLE)
        caught.append(timeout.value.phase)
        with pytest.raises(TimeoutError):
            session.recv(SHORT)

    with client_with(server.url, try_all) as client:
        assert caught == ["waiting"]
        assert client.request({"method": "echo", "params": 1}, timeout=LONG)["result"] == 1


@pytest.mark.parametrize("how", ["recv", "request", "own code"])
def test_session_timeout_limits_the_whole_setup(server, how):
    nap = threading.Event()

    def dawdle(session):
        if how == "recv":
            session.recv()
        elif how == "request":
            session.request({"method": "silence"}, timeout=None)
        else:
            nap.wait(SHORT * 2)

    with pytest.raises(wsclient.SessionError, match=r"session_timeout=0\.2"):
        client_with(server.url, dawdle, session_timeout=SHORT).start()


def test_close_ends_the_session(server):
    entered = threading.Event()
    errors = []

    def wait(session):
        entered.set()
        try:
            session.recv()
        except wsclient.ClientClosed as error:
            errors.append(error)
            raise

    caught = []
    client = client_with(server.url, wait, retry_first=True)
    starter = threading.Thread(target=lambda: caught.append(failure_of(client.start)))
    starter.start()
    assert entered.wait(LONG)
    client.close()
    starter.join(LONG)
    assert len(errors) == 1
    assert isinstance(caught[0], wsclient.ClientClosed)
    assert client.stats.connections == 0


def test_the_deadline_of_close_also_limits_the_closing_handshake_of_a_setup_that_it_ends(raw, monkeypatch):
    monkeypatch.setattr("wsclient._connection.supervisor.QUICK_CLOSE", 2 * LONG)
    entered = threading.Event()

    def wait(session):
        entered.set()
        session.recv()

    client = client_with(raw.url, wait, retry_first=True)
    starting = start_call(lambda: failure_of(client.start))
    raw.accept().upgrade()  # it never answers the close frame
    assert entered.wait(LONG)
    client.close(timeout=0, wait=False)  # with wait=True the thread is abandoned if the machine is slow
    assert isinstance(starting.result(LONG), wsclient.ClientClosed)


def test_calls_on_the_client_inside_the_session_raise_an_error_with_the_alternative(server):
    messages = []

    class Confused(wsclient.Client):
        def on_session(self, session):
            for call in (
                lambda: self.request({"a": 1}),
                lambda: self.request_many([{"a": 1}]),
                self.flush,
                self.listen,
                self.drain,
                self.close,
                self.start,
                self.wait_closed,
            ):
                with pytest.raises(wsclient.WouldDeadlock) as caught:
                    call()
                messages.append(str(caught.value))

    with Confused(server.url) as client:
        assert client.state is State.OPEN
        client.send("works")
        client.flush(LONG)
    assert len(messages) == 8
    assert all("session" in message for message in messages)
    assert server.wait_for(1) == ["works"]


def test_messages_of_the_client_inside_the_session_are_sent_when_the_connection_is_open(server, caplog):
    futures = []

    class Confused(wsclient.Client):
        def on_session(self, session):
            self.send("second")
            futures.append(self.submit({"third": 3}))
            session.send("first")

    with Confused(server.url):
        assert futures[0].result(LONG)["third"] == 3
        eventually(lambda: "send() was called on the client inside on_session" in caplog.text)
    assert server.wait_for(3)[:2] == ["first", "second"]


def test_other_threads_can_call_while_a_connection_is_set_up(server):
    entered, go_on = threading.Event(), threading.Event()

    class LogsIn(wsclient.Client):
        def on_session(self, session):
            entered.set()
            assert go_on.wait(LONG)

    client = LogsIn(server.url)
    starter = threading.Thread(target=client.start)
    starter.start()
    assert entered.wait(LONG)
    delivery = client.send("x")
    future = client.submit({"method": "add", "params": [1, 2]})
    assert delivery.state == "queued"
    go_on.set()
    starter.join(LONG)
    assert future.result(LONG)["result"] == 3
    assert server.received[0] == "x"
    client.close()


def test_a_session_is_unusable_after_the_setup(server):
    kept = []
    with client_with(server.url, kept.append):
        with pytest.raises(wsclient.SessionError, match="has ended"):
            kept[0].send("x")
        with pytest.raises(wsclient.SessionError, match="has ended"):
            kept[0].recv()


def test_a_busy_hook_does_not_delay_the_setup(server):
    busy, leave = threading.Event(), threading.Event()

    class Busy(wsclient.Client):
        def on_session(self, session):
            session.request({"method": "echo", "params": session.number})

        def on_message(self, message):
            busy.set()
            leave.wait(LONG)

    with FaultProxy(server.port) as proxy, Busy(proxy.url, reconnect=SOON) as client:
        client.send("x")
        assert busy.wait(LONG)
        proxy.cut()
        eventually(lambda: client.stats.connections == 2)
        assert client.request({"method": "echo", "params": 1}, timeout=LONG)["result"] == 1
        leave.set()


def test_too_many_messages_not_received_by_the_session_end_the_setup(raw):
    queue = wsclient.ReceiveQueue(max_messages=10)
    client = client_with(raw.url, lambda session: session.request({"a": 1}), receive_queue=queue)
    caught = []
    starter = threading.Thread(target=lambda: caught.append(failure_of(client.start)))
    starter.start()
    raw.accept().upgrade(then=frame(1, b"x") * 20)
    starter.join(LONG)
    assert "recv()" in str(caught[0])


def test_calls_of_the_server_during_the_setup_are_limited(raw):
    errors, answered = [], []
    client = client_with(
        raw.url,
        lambda session: session.request({"ask": 1}, match=lambda message: message == "go on"),
        receive_queue=wsclient.ReceiveQueue(max_messages=2),
        handlers={"x": answered.append},
        on_error=lambda _, error: errors.append(error),
    )
    starting = start_call(client.start)
    peer = raw.accept().upgrade()
    peer.receive_text()
    calls = [frame(1, json.dumps({"id": n, "method": "x", "params": n}).encode()) for n in range(3)]
    peer.send(b"".join([*calls, frame(1, b"go on")]))
    starting.result(LONG)
    eventually(lambda: answered == [0, 1] and errors)
    assert [type(error) for error in errors] == [wsclient.SlowConsumer]
    client.close(timeout=0)


def test_a_session_cannot_be_used_on_another_thread(raw):
    errors = []

    def use(session):
        errors.append(on_thread(lambda: failure_of(lambda: session.send("x"))))

    client = client_with(raw.url, use)
    starting = start_call(client.start)
    raw.accept().upgrade()
    starting.result(LONG)
    assert isinstance(errors[0], wsclient.WouldDeadlock)
    client.close(timeout=0)


def test_reconnect_ends_the_setup(raw):
    entered, errors = threading.Event(), []

    def use(session):
        entered.set()
        if not errors:
            try:
                session.recv()
            except wsclient.ConnectionLost as error:
                errors.append(error)
                raise

    client = client_with(raw.url, use)
    starting = start_call(client.start)
    raw.accept().upgrade()
    assert entered.wait(LONG)
    client.reconnect("use another server")
    raw.accept().upgrade()
    starting.result(LONG)
    assert [error.sent for error in errors] == [None]
    client.close(timeout=0)


def test_the_setup_of_the_protocol_comes_first(server):
    order = []

    class HandshakeOptions(wsclient.JsonId):
        def on_session(self, session):
            order.append(session.request({"method": "echo", "params": "protocol"})["result"])

    def ours(session):
        order.append(session.request({"method": "echo", "params": "client"})["result"])

    with client_with(server.url, ours, protocol=HandshakeOptions()):
        assert order == ["protocol", "client"]


def test_an_error_in_on_session_is_logged_with_its_traceback_and_its_name(server, caplog):
    def broken(session):
        return {}["result"]

    client = client_with(server.url, broken)
    error = failure_of(client.start)
    assert isinstance(error, wsclient.SessionError)
    assert "KeyError('result')" in str(error)
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.exc_info[0] is KeyError


def test_a_connection_that_was_never_open_is_not_the_last_disconnect(server):
    def fail_later(client, session):
        if session.number > 1:
            raise wsclient.SessionError("Not again.", retry=False)

    client = wsclient.Client(server.url, on_session=fail_later)
    client.start()
    server.opened.get(timeout=LONG)
    server.close_all(1001, "going away")
    assert client.wait_closed(LONG)
    assert (client.last_disconnect.initiator, client.last_disconnect.code) == ("remote", 1001)
    assert type(client.last_disconnect.code) is int


def test_a_full_queue_of_a_busy_hook_does_not_block_the_setup(raw):
    held, go_on = threading.Event(), threading.Event()

    def on_message(client, message):
        held.set()
        assert go_on.wait(LONG)

    set_up = threading.Semaphore(0)

    def log_in(client, session):
        set_up.release()
        assert session.recv(timeout=LONG) == "who are you?"
        session.send("me")

    client = wsclient.Client(
        raw.url, on_session=log_in, on_message=on_message, reconnect=SOON, ping_interval=None,
        receive_queue=wsclient.ReceiveQueue(max_messages=1),
    )  # fmt: skip
    starter = threading.Thread(target=client.start)
    starter.start()
    for number in (1, 2):
        peer = raw.accept().upgrade()
        assert set_up.acquire(timeout=LONG)  # so that the message does not arrive together with the upgrade
        peer.send_text("who are you?")
        assert peer.receive_text() == "me"
        starter.join(LONG)
        for _ in range(3):
            peer.send_text("news")
        assert held.wait(LONG)
        if number == 1:
            eventually(lambda: client._wsclient.context.facts.paused)
            client.reconnect()
    go_on.set()
    client.close(timeout=0)


def test_messages_that_come_with_the_last_reply_of_the_session_are_limited_too(raw):
    client = client_with(
        raw.url, lambda session: session.request({"a": 1}), receive_queue=wsclient.ReceiveQueue(max_bytes=10)
    )  # fmt: skip
    starting = start_call(client.start)
    peer = raw.accept().upgrade()
    id = json.loads(peer.receive_text())["id"]
    texts = ['"one"', '"two"', '"three"', '"four"', json.dumps({"id": id, "result": 1})]
    peer.send(b"".join(frame(1, text.encode()) for text in texts))
    with pytest.raises(wsclient.SessionError, match="or 10 bytes arrived during on_session"):
        starting.result(LONG)


# --- what one session keeps for the next one -------------------------------------------------------------------------


def test_the_memo_is_one_dict_that_lives_as_long_as_the_client(raw):
    memos, resumed = [], []

    def resume(session):
        memos.append(session.memo)
        resumed.append(session.memo.get("sequence"))
        session.memo["sequence"] = session.number

    client = client_with(raw.url, resume)
    other = wsclient.Client(raw.url)
    assert client.memo == {}
    client.memo["sequence"] = "from the program"
    starting = start_call(client.start)
    peer = raw.accept().upgrade()
    starting.result(LONG)
    peer.reset()
    raw.accept().upgrade()
    eventually(lambda: client.stats.connections == 2)
    assert resumed == ["from the program", 1]
    assert all(memo is client.memo for memo in memos)
    client.close(timeout=0)
    assert client.memo == {"sequence": 2}
    assert other.memo == {}


def test_a_memo_can_be_changed_by_an_assignment_but_not_replaced(server):
    refused = []

    def assign(session):
        session.memo |= {"session": 1}
        with pytest.raises(AttributeError, match="can't be replaced") as caught:
            session.memo = {"session": 2}
        refused.append(caught.value)

    client = client_with(server.url, assign)
    memo = client.memo
    client.memo |= {"client": 1}
    with pytest.raises(AttributeError, match="can't be replaced"):
        client.memo = {"client": 2}
    with client:
        assert client.memo is memo
        assert (memo, len(refused)) == ({"client": 1, "session": 1}, 1)


def test_the_memo_survives_a_failed_setup(server):
    def fail_once(session):
        session.memo["attempts"] = session.memo.get("attempts", 0) + 1
        if session.memo["attempts"] == 1:
            raise LookupError("no token yet")

    with client_with(server.url, fail_once, retry_first=True) as client:
        assert client.memo == {"attempts": 2}


def test_the_session_of_a_protocol_has_the_memo_too(server):
    class Resuming(wsclient.JsonId):
        def on_session(self, session):
            session.memo["by"] = "the protocol"

    with wsclient.connect(server.url, protocol=Resuming()) as client:
        assert client.memo == {"by": "the protocol"}


def test_previous_is_how_the_last_open_connection_ended(raw):
    previous = []

    def look(session):
        previous.append(session.previous)
        if len(previous) == 2:
            raise LookupError("the second set-up fails")

    client = client_with(raw.url, look)
    starting = start_call(client.start)
    peer = raw.accept().upgrade()
    starting.result(LONG)
    peer.send_frame(8, b"\x0f\xa1" + b"enough")
    peer.finish()
    raw.accept().upgrade()
    raw.accept().upgrade()
    eventually(lambda: client.stats.connections == 2)
    assert previous[0] is None
    assert (previous[1].initiator, previous[1].code, previous[1].reason) == ("remote", 4001, "enough")
    assert previous[2] is previous[1] is client.last_disconnect
    client.close(timeout=0)


@pytest.mark.parametrize("name", ["memo", "previous"])
def test_the_memo_of_a_session_that_has_ended_is_refused(server, name):
    sessions = []
    with client_with(server.url, sessions.append), pytest.raises(wsclient.SessionError, match="only inside on_session"):
        getattr(sessions[0], name)
