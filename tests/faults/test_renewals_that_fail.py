"""Renewals that fail, are interrupted, or lose one of their two connections. The server is held at that very point."""

import concurrent.futures
import os
import threading
import time

import pytest
import tenacity

import wsclient
from wsclient import JsonRpc, Renew, State
from wsclient._connection import supervisor

from ..support import LONG, SHORT, SLACK, eventually
from ..support.peers import event, put, reply, results, start_call, subscribed, taken
from ..support.raw import frame
from ..support.renewals import answered_close, await_alone, begin_renewal, close_code, open_renewing, renewed

SOON = wsclient.Reconnect(wait=tenacity.wait_none())
SLOWLY = wsclient.Reconnect(wait=tenacity.wait_fixed(3600))


class Attempts:
    """The failed attempts that a client has reported, and its other hooks."""

    def __init__(self):
        self.failed = []
        self.calls = []
        self.options = {
            "on_connect_error": lambda _, attempt: self.failed.append(attempt),
            "on_close": lambda _, code, reason: self.calls.append(("close", code)),
            "on_reconnect": lambda _: self.calls.append("reconnect"),
            "on_renew": lambda _, reason: self.calls.append("renew"),
        }


@pytest.fixture
def attempts():
    return Attempts()


def works(client, peer):
    """Check that the connection of this peer serves."""
    asked = client.submit({"method": "still here"})
    message = taken(peer)
    put(peer, {"id": message["id"], "result": 1})
    assert asked.result(LONG)["result"] == 1
    assert client.state is State.OPEN


# --- failed attempts -------------------------------------------------------------------------------------------------


def refuse_upgrade(raw):
    raw.accept().respond("503 Busy")


def fail_login(raw):
    peer = raw.accept().upgrade()
    taken(peer)
    put(peer, {"id": None, "login": "refused"})
    close_code(peer)


def close_during_login(raw):
    peer = raw.accept().upgrade()
    taken(peer)
    peer.send_frame(8, b"\x03\xf3try later")
    close_code(peer)


def reset_during_login(raw):
    peer = raw.accept().upgrade()
    taken(peer)
    peer.reset()


def log_in(client, session):
    if session.number > 1:
        session.send({"method": "login"})
        if session.recv(LONG)["login"] != "welcome":
            raise ValueError("refused")


@pytest.mark.parametrize("fail", [refuse_upgrade, fail_login, close_during_login, reset_during_login])
def test_a_failed_attempt_leaves_the_old_connection_in_service_and_is_repeated(raw, attempts, fail):
    client, old = open_renewing(raw, reconnect=SOON, on_session=log_in, **attempts.options)
    renewing = start_call(lambda: client.renew(wait=True, timeout=LONG))
    fail(raw)
    eventually(lambda: attempts.failed)
    assert (attempts.failed[0].number, attempts.failed[0].next_delay) == (1, 0.0)
    assert isinstance(attempts.failed[0].error, wsclient.ConnectError)
    new = raw.accept()
    assert client.last_error is attempts.failed[0].error
    works(client, old)
    new.upgrade()
    assert taken(new)["method"] == "login"
    put(new, {"login": "welcome"})
    assert renewing.result(LONG) is True
    stats = client.stats
    assert (stats.failed_attempts, stats.renewals, stats.connections) == (0, 1, 2)
    assert client.last_error is None
    assert client.last_disconnect is None
    eventually(lambda: attempts.calls == ["renew"])
    works(client, new)
    client.close(timeout=0)


def test_the_back_off_of_renewals_is_that_of_reconnect_and_counts_for_itself(raw, attempts):
    reconnect = wsclient.Reconnect(wait=tenacity.wait_fixed(0.05))
    client, old = open_renewing(raw, reconnect=reconnect, **attempts.options)
    client.renew()
    for _ in range(3):
        refuse_upgrade(raw)
    eventually(lambda: len(attempts.failed) == 3)
    assert [(one.number, one.next_delay) for one in attempts.failed] == [(1, 0.05), (2, 0.05), (3, 0.05)]
    raw.accept().upgrade()
    eventually(lambda: client.stats.renewals == 1)
    answered_close(old)
    client.renew()
    refuse_upgrade(raw)
    eventually(lambda: len(attempts.failed) == 4)
    assert attempts.failed[3].number == 1
    client.close(timeout=0)


def test_after_a_fatal_failure_there_is_no_further_attempt_while_the_old_connection_lives(raw, attempts):
    client, old = open_renewing(raw, reconnect=SOON, renew=Renew(on=bool), **attempts.options)
    renewing = start_call(lambda: client.renew(wait=True, timeout=LONG))
    raw.accept().respond("404 Not Found")
    assert renewing.result(LONG) is False
    eventually(lambda: attempts.failed)
    assert attempts.failed[0].next_delay is None
    put(old, {"method": "goaway"})  # `Renew.on` accepts it
    with pytest.raises(TimeoutError):
        raw.accept(SHORT)
    works(client, old)
    old.reset()  # the next connection is made as usual
    works(client, raw.accept().upgrade())
    client.close(timeout=0)


def test_a_session_error_without_retry_is_fatal_for_the_renewal_only(raw, attempts):
    def refuse(client, session):
        if session.number > 1:
            raise wsclient.SessionError("no", retry=False)

    client, old = open_renewing(raw, reconnect=SOON, on_session=refuse, **attempts.options)
    renewing, new = begin_renewal(client, raw)
    new.upgrade()
    assert renewing.result(LONG) is False
    assert close_code(new)[0] == 1000
    works(client, old)
    client.close(timeout=0)


def test_url_and_headers_are_asked_again_and_may_raise(raw, attempts):
    asked = []

    def url():
        asked.append("url")
        if len(asked) == 2:
            raise LookupError("no token")
        return raw.url

    client = wsclient.Client(url, reconnect=SOON, ping_interval=None, **attempts.options)
    starting = start_call(client.start)
    old = raw.accept().upgrade()
    starting.result(LONG)
    renewing, new = begin_renewal(client, raw)
    eventually(lambda: attempts.failed)
    assert isinstance(attempts.failed[0].error.last, LookupError)
    new.upgrade()
    assert renewing.result(LONG)
    assert len(asked) == 3
    assert close_code(old)[0] == 1000
    client.close(timeout=0)


@pytest.mark.parametrize(
    ("url", "words"), [("ws://name.invalid/", "name.invalid"), ("ws://127.0.0.1:1/", "refused"), ("wss://{}/", "TLS")]
)
def test_an_attempt_that_fails_in_dns_tcp_or_tls_leaves_the_old_connection_in_service(raw, attempts, url, words):
    urls = [raw.url]
    client = wsclient.Client(lambda: urls[-1], reconnect=SLOWLY, ping_interval=None, **attempts.options)
    starting = start_call(client.start)
    old = raw.accept().upgrade()
    starting.result(LONG)
    urls.append(url.format(raw.url.partition("//")[2].strip("/")))
    assert client.renew() is False
    if words == "TLS":
        peer = raw.accept()
        peer.sock.recv(3)
        works(client, old)
        peer.send(b"this is no TLS record")
    eventually(lambda: attempts.failed)
    assert words in str(attempts.failed[0].error) or words == "TLS"
    works(client, old)
    client.close(timeout=0)


@pytest.mark.parametrize(("code", "is_fatal"), [(1013, False), (1008, True)])
def test_a_new_connection_that_is_closed_at_once_does_not_take_over(raw, attempts, code, is_fatal):
    client, old = open_renewing(raw, reconnect=SOON, **attempts.options)
    renewing, new = begin_renewal(client, raw)
    new.upgrade(then=frame(8, code.to_bytes(2, "big")))
    eventually(lambda: attempts.failed)
    assert "ended before it took over" in str(attempts.failed[0].error)
    if is_fatal:
        assert renewing.result(LONG) is False
    else:
        raw.accept().upgrade()
        assert renewing.result(LONG) is True
    assert client.stats.renewals == (not is_fatal)
    if is_fatal:
        works(client, old)
    client.close(timeout=0)


# --- the old connection is lost meanwhile ----------------------------------------------------------------------------


def reset(peer):
    peer.reset()


def close_by_the_server(peer):
    peer.send_frame(8, (4001).to_bytes(2, "big"))
    peer.finish()


@pytest.mark.parametrize("lose", [reset, close_by_the_server])
@pytest.mark.parametrize("point", ["upgrade", "login"])
def test_if_the_old_connection_is_lost_the_running_attempt_becomes_the_reconnect(raw, attempts, lose, point):
    client, old = open_renewing(
        raw, reconnect=SLOWLY, on_session=log_in, protocol=wsclient.JsonId(), **attempts.options
    )
    stream = client.listen()
    asked = client.submit({"method": "lost"})
    taken(old)
    renewing, new = begin_renewal(client, raw)
    if point == "login":
        new.upgrade()
        taken(new)
    lose(old)
    with pytest.raises(wsclient.ConnectionLost):
        asked.result(LONG)
    eventually(lambda: client.state is State.CONNECTING)
    assert client.connection is None
    assert not renewing.done()
    if point == "upgrade":
        new.upgrade()
        taken(new)
    put(new, {"login": "welcome"})
    assert renewing.result(LONG) is True
    works(client, new)
    eventually(lambda: attempts.calls == [("close", 4001 if lose is close_by_the_server else None), "reconnect"])
    stats = client.stats
    assert (stats.renewals, stats.connections, stream.gaps) == (0, 2, 1)
    assert client.last_disconnect is not None
    with pytest.raises(TimeoutError):
        raw.accept(SHORT)
    client.close(timeout=0)


def test_an_old_connection_that_is_closing_when_the_new_one_is_ready_counts_as_lost(raw, attempts):
    client, old = open_renewing(raw, reconnect=SLOWLY, **attempts.options)
    renewing, new = begin_renewal(client, raw)
    old.send_frame(8, (4001).to_bytes(2, "big"))
    assert close_code(old)[0] == 4001  # the client has answered; the server does not close TCP
    new.upgrade()
    assert renewing.result(LONG) is True
    eventually(lambda: attempts.calls == [("close", 4001), "reconnect"])
    assert client.stats.renewals == 0
    works(client, new)
    client.close(timeout=0)


def test_an_old_connection_that_is_dropped_by_order_is_lost_meanwhile(raw, attempts):
    client, old = open_renewing(raw, reconnect=SLOWLY, protocol=wsclient.Fifo(), **attempts.options)
    asked = client.submit("a", timeout=SHORT)
    assert old.receive_text() == "a"
    renewing, new = begin_renewal(client, raw)
    with pytest.raises(wsclient.RequestTimeout):
        asked.result(LONG)
    assert answered_close(old)[0] == 1000
    eventually(lambda: client.state is State.CONNECTING)
    new.upgrade()
    assert renewing.result(LONG) is True
    again = client.submit("b")
    assert new.receive_text() == "b"
    new.send_text("to b")
    assert again.result(LONG) == "to b"
    client.close(timeout=0)


def test_if_both_are_lost_the_failure_counts_as_a_failed_reconnect(raw, attempts):
    client, old = open_renewing(raw, reconnect=SOON, on_session=log_in, **attempts.options)
    _, new = begin_renewal(client, raw)
    new.upgrade()
    taken(new)
    old.reset()
    eventually(lambda: client.state is State.CONNECTING)
    new.reset()
    third = raw.accept().upgrade()
    taken(third)
    put(third, {"login": "welcome"})
    eventually(lambda: client.state is State.OPEN)
    assert client.stats.failed_attempts == 1
    works(client, third)
    client.close(timeout=0)


def test_a_subscription_is_resumed_on_the_connection_that_becomes_the_reconnect(raw):
    def hold(client, session):
        if session.number > 1:
            session.recv(LONG)

    client, old = open_renewing(raw, reconnect=SLOWLY, on_session=hold, protocol=JsonRpc())
    subscription = subscribed(client, old, "0xa")
    renewing, new = begin_renewal(client, raw)
    new.upgrade()
    old.reset()
    eventually(lambda: client.state is State.CONNECTING)
    put(new, {"method": "go", "jsonrpc": "2.0"})
    put(new, reply(taken(new), "0xb"), event("0xb", 1))
    assert results(subscription, 1) == [1]
    assert subscription.gaps == 1
    assert renewing.result(LONG)
    client.close(timeout=0)


def test_a_fatal_close_of_the_new_connection_is_retried_since_the_old_one_was_healthy(raw):
    reconnect = wsclient.Reconnect(wait=tenacity.wait_none(), min_uptime=SHORT)
    client, _ = open_renewing(raw, reconnect=reconnect)
    eventually(lambda: client.connection.uptime > SHORT)
    new = renewed(client, raw)
    new.send_frame(8, (1008).to_bytes(2, "big"))
    new.finish()
    works(client, raw.accept().upgrade())
    client.close(timeout=0)


def test_a_server_that_closes_the_old_connection_as_soon_as_the_new_one_logs_in(raw, attempts):
    client, old = open_renewing(raw, reconnect=SOON, protocol=JsonRpc(), **attempts.options)
    subscription = subscribed(client, old, "0xa")
    renewing, new = begin_renewal(client, raw)
    new.upgrade()
    asked = taken(new)  # the new one has taken over
    old.send_frame(8, (4009).to_bytes(2, "big"))
    put(new, reply(asked, "0xb"), event("0xb", 1))
    assert renewing.result(LONG)
    await_alone(client)
    assert results(subscription, 1) == [1]
    assert subscription.gaps == 0
    assert client.last_disconnect is None
    eventually(lambda: attempts.calls == ["renew"])
    client.close(timeout=0)


def test_the_old_connection_is_served_while_the_new_one_is_lost_and_reconnects(raw):
    client, old = open_renewing(raw, reconnect=SOON)
    asked = client.submit({"method": "slow"})
    request = taken(old)
    new = renewed(client, raw)
    new.reset()
    third = raw.accept()
    put(old, {"id": request["id"], "result": 1})
    assert asked.result(LONG)["result"] == 1
    third.upgrade()
    eventually(lambda: client.state is State.OPEN)
    assert close_code(old)[0] == 1000
    client.close(timeout=0)


# --- commands --------------------------------------------------------------------------------------------------------


def held_at(point, client, raw):
    """Begin a renewal, and hold the server at this point. Return the future of ``renew`` and the new peer."""
    renewing, new = begin_renewal(client, raw)
    if point == "upgrade":
        new.receive_head()
    else:
        new.upgrade()
        taken(new)
    if point == "overlap":
        put(new, {"login": "welcome"})
        assert renewing.result(LONG)
    return renewing, new


POINTS = pytest.mark.parametrize("point", ["upgrade", "login", "overlap"])


@POINTS
def test_close_ends_both_connections_within_one_bound(raw, point):
    client, old = open_renewing(raw, on_session=log_in)
    asked = client.submit({"method": "keeps the old connection"})
    taken(old)
    renewing, _ = held_at(point, client, raw)
    began = time.monotonic()
    client.close(timeout=SHORT)  # neither peer answers
    assert time.monotonic() - began < SHORT + 1 + SLACK
    assert client.state is State.CLOSED
    with pytest.raises(wsclient.ClientClosed):
        asked.result(LONG)
    if point != "overlap":
        with pytest.raises(wsclient.ClientClosed):
            renewing.result(LONG)
    assert close_code(old)[0] == 1000


@POINTS
def test_close_is_polite_to_both(raw, point):
    client, old = open_renewing(raw, on_session=log_in)
    client.submit({"method": "keeps the old connection"})
    taken(old)
    _, new = held_at(point, client, raw)
    closing = start_call(lambda: client.close(code=1001, timeout=LONG))
    answering = [
        start_call(lambda peer=peer: answered_close(peer)) for peer in ([old] if point == "upgrade" else [old, new])
    ]
    closing.result(LONG)
    assert answering[0].result(LONG)[0] == 1001
    assert client.state is State.CLOSED


@POINTS
def test_close_without_waiting_ends_both(raw, point):
    client, old = open_renewing(raw, on_session=log_in)
    client.submit({"method": "keeps the old connection"})
    taken(old)
    held_at(point, client, raw)
    client.close(wait=False, timeout=0)
    assert client.wait_closed(LONG)
    assert close_code(old)[0] == 1000


@pytest.mark.parametrize("final", [State.CLOSED, State.FAILED])
def test_the_end_of_a_client_that_reconnects_closes_the_old_connection(raw, final, monkeypatch):
    monkeypatch.setattr(supervisor, "QUICK_CLOSE", LONG)
    stop = tenacity.stop_never if final is State.CLOSED else tenacity.stop_after_attempt(1)
    reconnect = wsclient.Reconnect(wait=tenacity.wait_none(), stop=stop)
    client, old = open_renewing(raw, renew=Renew(overlap=LONG), reconnect=reconnect)
    stream = client.listen()
    client.submit({"method": "keeps the old connection"})
    taken(old)
    renewed(client, raw).reset()
    if final is State.CLOSED:
        raw.accept()  # it gets no answer
        client.close(wait=False, timeout=LONG)
    assert close_code(old)[0] == 1000
    put(old, {"event": 1})
    old.send_frame(8, (1000).to_bytes(2, "big"))
    old.finish()
    assert stream.get(LONG) == {"event": 1}
    assert client.wait_closed(LONG)
    assert client.state is final


@pytest.mark.parametrize("point", ["upgrade", "login"])
def test_drain_cancels_the_attempt_and_finishes_on_the_old_connection(raw, point):
    client, old = open_renewing(raw, on_session=log_in)
    asked = client.submit({"method": "slow"})
    request = taken(old)
    renewing, _ = held_at(point, client, raw)
    draining = start_call(lambda: client.drain(LONG))
    assert renewing.result(LONG) is False
    put(old, {"id": request["id"], "result": 1})
    assert asked.result(LONG)["result"] == 1
    assert answered_close(old)[0] == 1000
    assert draining.result(LONG) is True


def test_drain_during_the_overlap_waits_for_requests_on_both(raw):
    client, old = open_renewing(raw)
    first = client.submit({"method": "slow"})
    request = taken(old)
    new = renewed(client, raw)
    second = client.submit({"method": "slow"})
    other = taken(new)
    draining = start_call(lambda: client.drain(LONG))
    put(new, {"id": other["id"], "result": 2})
    assert second.result(LONG)["result"] == 2
    assert not concurrent.futures.wait([draining], SHORT).done
    put(old, {"id": request["id"], "result": 1})
    assert first.result(LONG)["result"] == 1
    start_call(lambda: answered_close(new))
    answered_close(old)
    assert draining.result(LONG) is True


@POINTS
def test_reconnect_cancels_a_renewal(raw, point, attempts):
    client, old = open_renewing(raw, on_session=log_in, reconnect=SLOWLY, **attempts.options)
    client.submit({"method": "keeps the old connection"})
    taken(old)
    renewing, _ = held_at(point, client, raw)
    client.reconnect("fresh")
    assert close_code(old) == (1000, "fresh")
    third = raw.accept().upgrade()
    taken(third)
    put(third, {"login": "welcome"})
    assert renewing.result(LONG) is True  # the connection is a new one
    eventually(lambda: client.state is State.OPEN and client.stats.connections == (3 if point == "overlap" else 2))
    await_alone(client)
    works(client, third)
    assert not attempts.failed
    client.close(timeout=0)


def test_a_user_function_that_blocks_during_a_renewal_does_not_hold_up_close(raw):
    entered, leave = threading.Event(), threading.Event()

    def block(client, session):
        if session.number > 1:
            entered.set()
            leave.wait(LONG)

    client, old = open_renewing(raw, on_session=block)
    _, new = begin_renewal(client, raw)
    new.upgrade()
    assert entered.wait(LONG)
    began = time.monotonic()
    client.close(timeout=SHORT)
    assert time.monotonic() - began < SHORT + 1 + SLACK
    assert client.state is State.CLOSED
    for peer in (old, new):
        peer.until_closed()
    leave.set()


def test_if_the_io_thread_is_abandoned_during_an_overlap_on_close_is_called_once(raw, attempts):
    entered, leave = threading.Event(), threading.Event()

    def block(message):
        entered.set()
        leave.wait(LONG)
        return False

    client, old = open_renewing(raw, **attempts.options)
    client.submit({"method": "keeps the old connection"})
    client.submit({"method": "blocks"}, match=block)
    taken(old), taken(old)
    renewed(client, raw)
    put(old, {"event": 1})
    assert entered.wait(LONG)
    client.close(timeout=0)
    assert client.state is State.CLOSED
    leave.set()
    eventually(lambda: attempts.calls == ["renew", ("close", None)])


def test_functions_of_the_io_thread_never_run_two_at_once(raw):
    running, most, idents = [], [], set()

    def watched(function):
        def run(*arguments):
            running.append(1)
            idents.add(threading.get_ident())
            most.append(len(running))
            try:
                return function(*arguments)
            finally:
                running.pop()

        return run

    def set_up(client, session):
        session.send({"method": "login"})
        session.recv(LONG)

    client = wsclient.Client(raw.url, ping_interval=None, on_session=set_up)
    starting = start_call(client.start)
    old = raw.accept().upgrade()
    taken(old)
    put(old, {"login": "welcome"})
    starting.result(LONG)
    asked = [client.submit({"n": n}, match=watched(lambda message, n=n: message == {"n": n})) for n in range(20)]
    for _ in asked:
        taken(old)
    _, new = begin_renewal(client, raw)
    new.upgrade()
    taken(new)
    for n in range(10):
        put(old, {"n": n})
    for n in range(10):
        assert asked[n].result(LONG) == {"n": n}
    put(new, {"login": "welcome"})
    for n in range(10, 20):
        put(old, {"n": n})
        assert asked[n].result(LONG) == {"n": n}
    assert set(most) == {1}
    assert len(idents) == 1
    client.close(timeout=0)


# --- faults in the program -------------------------------------------------------------------------------------------


def connections(client):
    return client._wsclient.lifecycle._supervisor._served


class Closer:
    """The option ``on`` of ``Renew``; at the message ``"close"`` it closes a socket on the I/O thread.

    Args:
        find: a function of the client that returns the socket.
    """

    def __init__(self, find):
        self.client = None
        self._find = find

    def __call__(self, message):
        if message == "close":
            self._find(self.client).close()
        return False


def test_if_other_code_closes_the_socket_of_the_old_connection_the_new_one_continues(raw):
    closer = Closer(lambda client: connections(client).retiring.opened.transport.sock)
    client, old = open_renewing(raw, renew=Renew(on=closer))
    closer.client = client
    asked = client.submit({"method": "x"})
    taken(old)
    new = renewed(client, raw)
    new.send_text("close")
    with pytest.raises(wsclient.ConnectionLost) as caught:
        asked.result(LONG)
    assert caught.value.disconnect.initiator == "network"
    works(client, new)
    client.close(timeout=0)


@POINTS
def test_if_other_code_closes_the_wake_up_during_a_renewal_the_client_reconnects(raw, point, caplog):
    errors = []
    closer = Closer(lambda client: client._wsclient.context.commands._wakeup._inner)
    client, old = open_renewing(
        raw,
        renew=Renew(on=closer),
        reconnect=SOON,
        on_session=log_in,
        on_error=lambda _, error: errors.append(error),
    )
    closer.client = client
    asked = client.submit({"method": "x"})
    taken(old)
    _, new = held_at(point, client, raw)
    (new if point == "overlap" else old).send_text("close")
    with pytest.raises(wsclient.ConnectionLost) as caught:
        asked.result(LONG)
    assert "other code of this program has closed the client's socket" in caught.value.disconnect.reason
    third = raw.accept().upgrade()
    taken(third)
    put(third, {"login": "welcome"})
    works(client, third)
    client.close(timeout=0)
    assert errors == []
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


class Breaking(wsclient.JsonId):
    """A protocol whose heartbeat raises once, outside of the functions whose errors are expected."""

    is_broken = False

    @property
    def heartbeat(self):
        if self.is_broken:
            self.is_broken = False
            raise LookupError("a defect")
        return 0.02, lambda: {"beat": 1}


@pytest.mark.parametrize("which", ["old", "new"])
def test_a_defect_ends_the_connection_that_has_it(raw, which, caplog):
    errors = []
    client, old = open_renewing(
        raw, protocol=Breaking(), reconnect=SOON, on_error=lambda _, error: errors.append(error)
    )
    asked = client.submit({"method": "slow"})
    while "beat" in taken(old):
        pass
    new = renewed(client, raw)
    served = connections(client)
    (served.retiring if which == "old" else served.present).protocol.is_broken = True
    with pytest.raises(wsclient.ConnectionLost):
        asked.result(LONG)
    eventually(lambda: any(isinstance(error, LookupError) for error in errors))
    if which == "new":
        new = raw.accept().upgrade()
    client.send({"method": "after it"})
    while "beat" in (message := taken(new)):
        pass
    assert message["method"] == "after it"
    eventually(lambda: "defect" in caplog.text)  # the record is handled on a thread of its own
    client.close(timeout=0)


class BreaksAtTheSwitch(wsclient.JsonId):
    """A protocol whose heartbeat raises when the second connection takes over."""

    number = 0

    def on_session(self, session):
        self.number = session.number

    @property
    def heartbeat(self):
        if self.number == 2:
            raise LookupError("a defect")
        return None


def test_after_a_defect_at_the_switch_the_client_reconnects_and_can_be_renewed(raw, attempts, caplog):
    client, old = open_renewing(raw, protocol=BreaksAtTheSwitch(), reconnect=SOON, **attempts.options)
    renewing, new = begin_renewal(client, raw)
    new.upgrade()
    third = raw.accept().upgrade()
    assert renewing.result(LONG) is True
    for peer in (old, new):
        peer.until_closed()
    assert client.stats.renewals == 0
    works(client, third)
    works(client, renewed(client, raw))
    eventually(lambda: attempts.calls == [("close", None), "reconnect", "renew"])
    eventually(lambda: "defect" in caplog.text)
    client.close(timeout=0)


def test_after_a_defect_before_the_new_connection_opens_flush_works(raw, attempts, monkeypatch, caplog):
    client, _old = open_renewing(raw, ping_interval=LONG, reconnect=SOON, **attempts.options)
    io_ident, urandom = client._wsclient.context.guard.io_ident, os.urandom

    def fails(size):
        if size == 8 and threading.get_ident() == io_ident:  # the payload of a ping
            raise OSError("no random numbers")
        return urandom(size)

    client.pause_sending(LONG)
    client.send("paused")
    flushing = start_call(lambda: client.flush(LONG))
    eventually(lambda: client._wsclient.context.facts.awaited_marks)
    monkeypatch.setattr(os, "urandom", fails)
    _, new = begin_renewal(client, raw)
    new.upgrade()
    with pytest.raises(wsclient.ConnectionLost):
        flushing.result(LONG)
    monkeypatch.undo()
    third = raw.accept().upgrade()
    client.pause_sending(0)
    assert third.receive_text() == "paused"
    flushing = start_call(lambda: client.flush(LONG))
    opcode, ping = third.receive_frame()
    assert opcode == 9
    third.send_frame(10, ping)
    flushing.result(LONG)
    eventually(lambda: attempts.calls == [("close", None), "reconnect"])
    eventually(lambda: "no random numbers" in caplog.text)  # the record is handled on a thread of its own
    client.close(timeout=0)


def test_close_while_a_function_of_the_user_stops_the_switch_calls_on_close_once(raw, attempts):
    go_on, asked = threading.Event(), []

    def ask():
        asked.append(threading.get_ident())
        if len(asked) > 1:
            assert go_on.wait(LONG)
        return {"method": "subscribe"}

    client, old = open_renewing(raw, protocol=JsonRpc(), **attempts.options)
    feed = subscribed(client, old, "feed", ask)
    _, new = begin_renewal(client, raw)
    new.upgrade()
    eventually(lambda: len(asked) > 1)
    client.close(timeout=0)
    with pytest.raises(wsclient.ClientClosed):
        feed.get(LONG)
    eventually(lambda: attempts.calls == [("close", None)])
    go_on.set()
    eventually(lambda: asked[1] not in {thread.ident for thread in threading.enumerate()})
    assert attempts.calls == [("close", None)]


# --- overlap=0 -------------------------------------------------------------------------------------------------------


def test_without_an_overlap_requests_in_flight_are_awaited_and_the_connection_is_replaced(raw, attempts):
    client, old = open_renewing(raw, renew=Renew(overlap=0), reconnect=SLOWLY, **attempts.options)
    stream = client.listen()
    asked = client.submit({"method": "slow"})
    request = taken(old)
    renewing = start_call(lambda: client.renew("alone", wait=True, timeout=LONG))
    eventually(lambda: not client._wsclient.context.sender.writer.is_open)
    later = client.submit({"method": "later"})
    with pytest.raises(TimeoutError):
        raw.accept(SHORT)
    put(old, {"id": request["id"], "result": 1})
    assert asked.result(LONG)["result"] == 1
    assert answered_close(old) == (1000, "alone")
    new = raw.accept().upgrade()
    assert renewing.result(LONG) is True
    message = taken(new)
    assert message["method"] == "later"
    put(new, {"id": message["id"], "result": 2})
    assert later.result(LONG)["result"] == 2
    eventually(lambda: attempts.calls == [("close", 1000), "renew"])
    assert (client.stats.renewals, stream.gaps) == (1, 1)
    assert client.last_disconnect.initiator == "renewal"
    client.close(timeout=0)


def test_without_an_overlap_the_wait_for_requests_ends_after_latest(raw):
    client, old = open_renewing(raw, renew=Renew(overlap=0, latest=SHORT), reconnect=SLOWLY)
    asked = client.submit({"method": "never"})
    again = client.submit({"method": "again"}, idempotent=True)
    taken(old), taken(old)
    client.renew()
    with pytest.raises(wsclient.ConnectionLost) as caught:
        asked.result(LONG)
    assert (caught.value.sent, caught.value.disconnect.initiator) == (True, "renewal")
    answered_close(old)
    new = raw.accept().upgrade()
    message = taken(new)
    put(new, {"id": message["id"], "result": 1})
    assert again.result(LONG)["result"] == 1
    client.close(timeout=0)


def test_without_an_overlap_a_connection_that_is_lost_before_its_replacement_is_no_renewal(raw, attempts):
    client, old = open_renewing(raw, renew=Renew(overlap=0), reconnect=SOON, **attempts.options)
    asked = client.submit({"method": "slow"})
    taken(old)
    renewing = start_call(lambda: client.renew(wait=True, timeout=LONG))
    eventually(lambda: not client._wsclient.context.sender.writer.is_open)
    old.reset()
    with pytest.raises(wsclient.ConnectionLost):
        asked.result(LONG)
    new = raw.accept().upgrade()
    assert renewing.result(LONG) is True  # the connection is a new one
    eventually(lambda: attempts.calls == [("close", None), "reconnect"])
    assert (client.stats.renewals, client.last_disconnect.initiator) == (0, "network")
    works(client, new)
    client.close(timeout=0)


@pytest.mark.parametrize("how", ["close", "drain"])
def test_without_an_overlap_the_end_of_the_client_still_writes_the_queue(raw, how):
    client, old = open_renewing(raw, renew=Renew(overlap=0))
    asked = client.submit({"method": "slow"})
    request = taken(old)
    client.renew()
    eventually(lambda: not client._wsclient.context.sender.writer.is_open)
    client.send("queued")
    ending = start_call(lambda: client.drain(LONG) if how == "drain" else client.close(timeout=LONG))
    assert old.receive_text() == "queued"
    if how == "drain":
        put(old, {"id": request["id"], "result": 1})
        assert asked.result(LONG)["result"] == 1
    answered_close(old)
    ending.result(LONG)


# --- processes -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@POINTS
def test_a_forked_child_closes_its_copies_of_both_sockets(raw, point):
    client, old = open_renewing(raw, on_session=log_in)
    client.submit({"method": "keeps the old connection"})
    taken(old)
    _, new = held_at(point, client, raw)
    (receiving, sending), (held, holding) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:  # pragma: no cover
        try:
            try:
                client.renew()
                answer = b"no error"
            except wsclient.ForkedClient:
                answer = b"forked"
            os.write(sending, answer)
            os.read(held, 1)  # nothing comes; the parent kills this process
        finally:
            os._exit(0)
    try:
        os.close(sending)
        assert os.read(receiving, 100) == b"forked"
        if point == "overlap":
            works(client, new)
        client.close(timeout=0)
        for peer in (old, new):
            peer.until_closed()  # only if no copy of the socket is open in the child
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        for end in (receiving, held, holding):
            os.close(end)
