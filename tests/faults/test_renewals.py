"""Renewal: a second connection takes over from the first one while that still serves."""

import concurrent.futures
import gc
import itertools
import json
import os
import socket
import threading
import weakref

import pytest
import tenacity

import wsclient
from wsclient import JsonRpc, Renew, State
from wsclient._receiving import duplicates as duplicates_module

from ..support import LONG, SHORT, eventually
from ..support.peers import await_processed, event, put, reply, results, start_call, subscribed, taken
from ..support.raw import frame
from ..support.renewals import (
    answer_ping,
    answered_close,
    asked_on,
    await_alone,
    begin_renewal,
    close_code,
    is_alone,
    open_renewing,
    renewed,
)

SOON = wsclient.Reconnect(wait=tenacity.wait_none())

HOUR = 3600.0

LARGE = 2**20
"""Bytes of a message that the buffers of ``open_narrow`` can't hold."""


def open_narrow(raw, **options):
    """An open client, and its peer; the buffers between the two are small."""

    def connect():
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**14)
        sock.connect(("127.0.0.1", raw.port))
        return sock

    raw._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)  # accepted sockets inherit it
    return open_renewing(raw, sock=connect, compression=None, **options)


class Hooks:
    """Records the hooks that were called, in order."""

    def __init__(self):
        self.calls = []
        self.options = {
            "on_open": lambda _: self.calls.append("open"),
            "on_reconnect": lambda _: self.calls.append("reconnect"),
            "on_renew": lambda _, reason: self.calls.append(("renew", reason)),
            "on_close": lambda _, code, reason: self.calls.append(("close", code)),
            "on_connect_error": lambda _, attempt: self.calls.append(attempt),
            "on_error": lambda _, error: self.calls.append(error),
        }


@pytest.fixture
def hooks():
    return Hooks()


# --- the switch ------------------------------------------------------------------------------------------------------


def test_the_new_connection_takes_over_and_the_old_one_is_closed(raw, hooks):
    client, old = open_renewing(raw, **hooks.options)
    states = []
    before = client.connection
    new = renewed(client, raw, "by hand")
    states.append(client.state)
    assert client.connection.number == 2
    assert before.number == 1
    assert answered_close(old) == (1000, "by hand")
    client.send("to the new one")
    assert new.receive_text() == "to the new one"
    await_alone(client)
    eventually(lambda: hooks.calls == ["open", ("renew", "by hand")])
    assert (client.state, client.last_disconnect) == (State.OPEN, None)
    stats = client.stats
    assert (stats.connections, stats.renewals, stats.failed_attempts) == (2, 1, 0)
    assert stats.uptime <= client.connection.uptime
    client.close(timeout=0)
    eventually(lambda: hooks.calls[2:] == [("close", 1000)])  # for the new connection only


def test_the_old_connection_serves_while_the_new_one_is_opened_and_set_up(raw):
    def set_up(client, session):
        if session.number > 1:
            assert session.request({"method": "login"}) == {"id": 1, "result": "welcome"}

    client, old = open_renewing(raw, on_session=set_up)
    future, new = begin_renewal(client, raw)
    for step in (lambda: None, new.upgrade):
        step()
        asked = client.submit({"method": "add"})
        put(old, {"id": taken(old)["id"], "result": 7})
        assert asked.result(LONG)["result"] == 7
        assert client.connection.number == 1
    login = taken(new)
    assert login["method"] == "login"
    assert not future.done()
    client.close(timeout=0)


@pytest.mark.parametrize(
    ("given", "called"),
    [
        (("on_open", "on_reconnect", "on_renew"), "on_renew"),
        (("on_open", "on_reconnect"), "on_reconnect"),
        (("on_open",), "on_open"),
    ],
)
def test_without_on_renew_on_reconnect_is_called_and_without_that_on_open(raw, given, called):
    calls = []
    options = {name: lambda *_, name=name: calls.append(name) for name in given}
    client, _ = open_renewing(raw, **options)
    renewed(client, raw)
    eventually(lambda: calls == ["on_open", called])
    client.close(timeout=0)


def test_the_hook_of_a_subclass_may_call_the_default(raw):
    calls = []

    class Mine(wsclient.Client):
        def on_open(self):
            calls.append("open")

        def on_renew(self, reason):
            calls.append(reason)
            super().on_renew(reason)

    client = Mine(raw.url, ping_interval=None, renew=Renew())
    starting = start_call(client.start)
    raw.accept().upgrade()
    starting.result(LONG)
    renewed(client, raw, "why")
    eventually(lambda: calls == ["open", "why", "open"])
    client.close(timeout=0)


def test_the_default_of_on_renew_may_be_called_without_another_hook(raw):
    returned, errors = [], []

    class Mine(wsclient.Client):
        def on_renew(self, reason):
            returned.append(super().on_renew(reason))

        def on_error(self, error):
            errors.append(error)

    client = Mine(raw.url, ping_interval=None, renew=Renew())
    starting = start_call(client.start)
    raw.accept().upgrade()
    starting.result(LONG)
    renewed(client, raw)
    eventually(lambda: returned or errors)
    assert (returned, errors) == ([None], [])
    client.close(timeout=0)


def test_what_on_renew_sends_belongs_to_the_new_connection(raw):
    deliveries = []
    client, _ = open_renewing(raw, on_renew=lambda client, _: deliveries.append(client.send("hello")), reconnect=SOON)
    new = renewed(client, raw)
    assert new.receive_text() == "hello"
    eventually(lambda: deliveries)
    assert deliveries[0]._entry.connection_number == 2
    client.close(timeout=0)


def test_renew_without_the_option_uses_its_defaults(raw):
    client, old = open_renewing(raw, renew=None)
    renewed(client, raw)
    assert answered_close(old) == (1000, "")
    client.close(timeout=0)


def test_renew_without_waiting_returns_false_at_once(raw):
    client, _ = open_renewing(raw)
    assert client.renew("later") is False
    raw.accept().upgrade()
    eventually(lambda: client.stats.renewals == 1)
    client.close(timeout=0)


def test_a_second_call_during_a_renewal_is_merged_into_it(raw):
    client, _ = open_renewing(raw)
    first, new = begin_renewal(client, raw)
    second = start_call(lambda: client.renew("again", wait=True, timeout=LONG))
    eventually(lambda: client._wsclient.context.renew_calls.new)
    new.upgrade()
    assert first.result(LONG)
    assert second.result(LONG)
    assert client.stats.renewals == 1
    with pytest.raises(TimeoutError):
        raw.accept(SHORT)
    client.close(timeout=0)


def test_a_call_while_the_old_connection_is_served_waits_for_its_end(raw):
    client, old = open_renewing(raw)
    asked = client.submit({"method": "slow"})
    request = taken(old)
    renewed(client, raw, "first")
    second = start_call(lambda: client.renew("second", wait=True, timeout=LONG))
    with pytest.raises(TimeoutError):
        raw.accept(SHORT)
    put(old, {"id": request["id"], "result": 1})
    assert asked.result(LONG)["result"] == 1
    answered_close(old)
    raw.accept().upgrade()
    assert second.result(LONG)
    assert client.stats.renewals == 2
    client.close(timeout=0)


def test_a_renewal_that_takes_longer_than_the_timeout_returns_false(raw):
    client, _ = open_renewing(raw)
    assert client.renew(wait=True, timeout=SHORT) is False
    raw.accept().upgrade()
    eventually(lambda: client.stats.renewals == 1)
    client.close(timeout=0)


def test_calls_that_can_not_renew_raise(raw, server):
    client = wsclient.Client(raw.url)
    with pytest.raises(wsclient.ClientNotStarted):
        client.renew()
    client.close()
    with pytest.raises(wsclient.ClientClosed):
        client.renew()
    with wsclient.connect(server.url, reconnect=None) as client, pytest.raises(ValueError, match="reconnect"):
        client.renew()
    with wsclient.connect(server.url) as client, pytest.raises(ValueError, match="123"):
        client.renew("x" * 200)


def test_renew_with_wait_on_the_io_thread_raises(raw):
    raised = []

    def match(message):
        try:
            client.renew(wait=True)
        except wsclient.WouldDeadlock as error:
            raised.append(error)
        client.renew("from match")
        return True

    client, peer = open_renewing(raw)
    client.submit({"method": "x"}, match=match)
    peer.receive_text()
    peer.send_text("now")
    raw.accept().upgrade()
    eventually(lambda: client.stats.renewals == 1)
    assert len(raised) == 1
    client.close(timeout=0)


# --- requests --------------------------------------------------------------------------------------------------------


def test_a_request_is_answered_only_by_the_connection_that_carried_it(raw):
    messages = []
    client, old = open_renewing(raw, on_message=lambda _, message: messages.append(message))
    asked = client.submit({"method": "slow"})
    matched = client.submit({"method": "watch"}, match=lambda message: message == {"sign": 1})
    request = taken(old)
    taken(old)
    new = renewed(client, raw)
    put(new, {"id": request["id"], "result": "false"}, {"sign": 1})
    await_processed(new)
    assert not asked.done()
    assert not matched.done()
    put(old, {"sign": 1}, {"id": request["id"], "result": "true"})
    assert asked.result(LONG)["result"] == "true"
    assert matched.result(LONG) == {"sign": 1}
    assert answered_close(old)[0] == 1000
    eventually(lambda: messages == [{"id": request["id"], "result": "false"}, {"sign": 1}])
    client.close(timeout=0)


def test_the_old_connection_stays_until_its_requests_are_answered_and_ids_go_on_rising(raw):
    client, old = open_renewing(raw)
    asked = [client.submit({"n": n}) for n in range(3)]
    ids = [taken(old)["id"] for _ in asked]
    new = renewed(client, raw)
    later = [client.submit({"n": n}) for n in range(3)]
    ids += [taken(new)["id"] for _ in later]
    assert ids == [1, 2, 3, 4, 5, 6]
    for n in (3, 4, 5):
        put(new, {"id": ids[n], "result": n})
    assert [one.result(LONG)["result"] for one in later] == [3, 4, 5]
    for n in (0, 1):
        put(old, {"id": ids[n], "result": n})
    await_processed(old)
    assert not is_alone(client)
    put(old, {"id": ids[2], "result": 2})
    assert [one.result(LONG)["result"] for one in asked] == [0, 1, 2]
    assert answered_close(old) == (1000, "")
    await_alone(client)
    client.close(timeout=0)


def test_ids_of_an_own_protocol_go_on_rising_and_are_asked_for_one_at_a_time(raw):
    class Own(wsclient.JsonId):
        def __init__(self):
            super().__init__()
            self.last = 0
            self.callers = 0

        def new_id(self):
            self.callers += 1
            assert self.callers == 1
            self.last += 1
            self.callers -= 1
            return self.last

    client, old = open_renewing(raw, protocol=Own())
    client.submit({"n": 1})
    first = taken(old)["id"]
    new = renewed(client, raw)
    client.submit({"n": 2})
    assert taken(new)["id"] == first + 1
    client.close(timeout=0)


def test_the_second_connection_is_not_opened_while_a_thread_is_inside_new_id(raw):
    entered, leave = threading.Event(), threading.Event()

    class Own(wsclient.JsonId):
        def new_id(self):
            if threading.current_thread().name == "caller":
                entered.set()
                assert leave.wait(LONG)
            return super().new_id()

    client, old = open_renewing(raw, protocol=Own())
    caller = threading.Thread(target=client.submit, args=({"method": "x"},), name="caller")
    caller.start()
    assert entered.wait(LONG)
    client.renew()
    with pytest.raises(TimeoutError):
        raw.accept(SHORT)
    leave.set()
    caller.join(LONG)
    assert taken(old)["method"] == "x"
    raw.accept().upgrade()
    eventually(lambda: client.stats.renewals == 1)
    client.close(timeout=0)


def test_at_the_end_of_the_overlap_idempotent_requests_are_sent_again_and_others_fail(raw):
    client, old = open_renewing(raw, renew=Renew(overlap=SHORT))
    again = client.submit({"method": "again"}, idempotent=True)
    fails = client.submit({"method": "fails"})
    taken(old), taken(old)
    new = renewed(client, raw, "why")
    with pytest.raises(wsclient.ConnectionLost) as caught:
        fails.result(LONG)
    assert caught.value.sent is True
    assert (caught.value.disconnect.initiator, caught.value.disconnect.code) == ("renewal", 1000)
    assert answered_close(old) == (1000, "why")
    repeated = taken(new)
    assert repeated["method"] == "again"
    put(new, {"id": repeated["id"], "result": 1})
    assert again.result(LONG)["result"] == 1
    assert client.last_disconnect is None
    client.close(timeout=0)


def test_by_order_a_reply_answers_the_oldest_request_of_its_own_connection(raw):
    client, old = open_renewing(raw, protocol=wsclient.Fifo())
    first = client.submit("a")
    assert old.receive_text() == "a"
    new = renewed(client, raw)
    second = client.submit("b")
    assert new.receive_text() == "b"
    new.send_text("to b")
    old.send_text("to a")
    assert (first.result(LONG), second.result(LONG)) == ("to a", "to b")
    assert answered_close(old)[0] == 1000
    client.close(timeout=0)


def test_giving_up_a_request_by_order_drops_only_its_own_connection(raw):
    client, old = open_renewing(raw, protocol=wsclient.Fifo())
    first = client.submit("a", timeout=SHORT)
    assert old.receive_text() == "a"
    new = renewed(client, raw)
    second = client.submit("b")
    assert new.receive_text() == "b"
    with pytest.raises(wsclient.RequestTimeout):
        first.result(LONG)
    assert close_code(old)[0] == 1000
    old.close()
    new.send_text("to b")
    assert second.result(LONG) == "to b"
    assert client.stats.connections == 2
    client.close(timeout=0)


def test_max_in_flight_is_a_limit_of_one_connection(raw):
    client, old = open_renewing(raw, protocol=wsclient.Fifo(max_in_flight=1))
    client.submit("a")
    assert old.receive_text() == "a"
    client.submit("b")
    new = renewed(client, raw)
    assert new.receive_text() == "b"
    client.close(timeout=0)


def test_calls_of_the_server_are_answered_on_the_connection_that_asked(raw):
    entered, leave = threading.Event(), threading.Event()

    def slow(params):
        entered.set()
        assert leave.wait(LONG)
        return "done"

    client, old = open_renewing(raw, protocol=JsonRpc(), handlers={"slow": slow})
    put(old, {"jsonrpc": "2.0", "id": 7, "method": "slow"})
    assert entered.wait(LONG)
    new = renewed(client, raw)
    put(old, {"jsonrpc": "2.0", "id": 8, "method": "unknown"})
    assert taken(old)["id"] == 8
    assert not is_alone(client)
    leave.set()
    assert taken(old) == {"jsonrpc": "2.0", "id": 7, "result": "done"}
    assert answered_close(old)[0] == 1000
    client.send({"after": "it"})
    assert taken(new)["after"] == "it"
    client.close(timeout=0)


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest"])
def test_calls_of_the_server_that_were_dropped_do_not_keep_the_old_connection(raw, overflow):
    entered, leave = threading.Event(), threading.Event()

    def slow(params):
        entered.set()
        assert leave.wait(LONG)
        return "done"

    client, old = open_renewing(
        raw,
        protocol=JsonRpc(),
        renew=Renew(overlap=HOUR),
        receive_queue=wsclient.Queue(max_messages=1, overflow=overflow),
    )
    client.handle("slow", slow, workers=1)
    put(old, {"jsonrpc": "2.0", "id": 1, "method": "slow"})
    assert entered.wait(LONG)
    put(old, *[{"jsonrpc": "2.0", "id": id, "method": "slow"} for id in (2, 3)])
    await_processed(old)
    renewed(client, raw)
    leave.set()
    assert [taken(old)["id"] for _ in range(2)] == [1, 2 if overflow == "drop_newest" else 3]
    assert answered_close(old)[0] == 1000
    client.close(timeout=0)


# --- deliveries ------------------------------------------------------------------------------------------------------


def test_a_message_can_be_confirmed_while_the_old_connection_is_served(raw):
    client, old = open_renewing(raw, ping_interval=LONG)
    delivery = client.send("x")
    assert old.receive_text() == "x"
    asked = client.submit({"method": "keeps the old connection"})
    taken(old)
    renewed(client, raw)
    waiting = start_call(lambda: delivery.wait(LONG))
    opcode, payload = old.receive_frame()
    assert opcode == 9
    old.send_frame(10, payload)
    assert waiting.result(LONG) is True
    assert delivery.state == "confirmed"
    asked.cancel()
    assert close_code(old)[0] == 1000
    client.close(timeout=0)


def test_an_unconfirmed_message_becomes_unknown_when_the_old_connection_has_ended(raw):
    client, old = open_renewing(raw)
    delivery = client.send("x")
    assert old.receive_text() == "x"
    renewed(client, raw)
    assert delivery.state in ("written", "unknown")
    answered_close(old)
    eventually(lambda: delivery.state == "unknown")
    client.close(timeout=0)


def test_a_message_cut_in_mid_frame_returns_to_the_queue(raw):
    client, _ = open_narrow(raw, renew=Renew(overlap=SHORT))
    large = "x" * LARGE
    delivery = client.send(large)
    eventually(lambda: client._wsclient.context.sender.writer.blocked)
    client.send("behind it")
    new = renewed(client, raw)
    assert new.receive_text() == "behind it"
    assert new.receive_text() == large
    assert client.state is State.OPEN
    eventually(lambda: delivery.state == "written")  # a moment after the peer has it
    client.close(timeout=0)


def test_a_message_cut_in_mid_frame_is_sent_completely_if_the_peer_reads_it(raw):
    client, old = open_narrow(raw)
    large = "x" * LARGE
    client.send(large)
    eventually(lambda: client._wsclient.context.sender.writer.blocked)
    new = renewed(client, raw)
    client.send("later")
    assert new.receive_text() == "later"
    with pytest.raises(TimeoutError):
        raw.accept(5 * SHORT)  # longer than a closing handshake may take
    assert old.receive_text() == large
    assert answered_close(old)[0] == 1000
    client.close(timeout=0)


def test_after_the_switch_the_old_connection_writes_nothing_from_the_queue(raw):
    client, old = open_narrow(raw)
    client.submit({"method": "keeps the old connection"})
    taken(old)
    new = renewed(client, raw)
    client.send("x" * LARGE)
    eventually(lambda: client._wsclient.context.sender.writer.blocked)
    client.send("behind it")
    await_processed(old)  # the I/O thread has served the old connection; its answer is the next frame
    assert new.receive_text() == "x" * LARGE
    assert new.receive_text() == "behind it"
    client.close(timeout=0)


def test_flush_that_began_before_the_switch_waits_for_both_connections(raw):
    client, old = open_renewing(raw, ping_interval=LONG, protocol=wsclient.Fifo(max_in_flight=1))
    client.submit("blocks the queue")
    assert old.receive_text() == "blocks the queue"
    client.submit("queued")  # so flush() stays queued behind it
    flushing = start_call(lambda: client.flush(LONG))
    eventually(lambda: client._wsclient.context.facts.awaited_marks)
    new = renewed(client, raw)
    assert new.receive_text() == "queued"
    opcode, here = new.receive_frame()
    assert opcode == 9
    opcode, there = old.receive_frame()
    assert opcode == 9
    new.send_frame(10, here)
    assert not concurrent.futures.wait([flushing], SHORT).done
    old.send_frame(10, there)
    flushing.result(LONG)
    client.close(timeout=0)


def test_flush_during_the_overlap_waits_for_both_connections(raw):
    client, old = open_renewing(raw, ping_interval=LONG)
    client.submit({"method": "keeps the old connection"})
    taken(old)
    new = renewed(client, raw)
    flushing = start_call(lambda: client.flush(LONG))
    (_, here), (_, there) = new.receive_frame(), old.receive_frame()
    old.send_frame(10, there)
    assert not concurrent.futures.wait([flushing], SHORT).done
    new.send_frame(10, here)
    flushing.result(LONG)
    client.close(timeout=0)


class HeldFlush:
    """A call of ``flush()`` that has read the number of the present connection, and is held before it continues."""

    def __init__(self, client, monkeypatch):
        self._urandom = os.urandom
        self._ident = None
        self._began, self._go_on = threading.Event(), threading.Event()
        monkeypatch.setattr(os, "urandom", self._held)  # called for the payload of the ping
        self._future = start_call(lambda: self._flush(client))
        assert self._began.wait(LONG)

    def _flush(self, client):
        self._ident = threading.get_ident()
        client.flush(LONG)

    def _held(self, size):
        if self._ident == threading.get_ident() and not self._began.is_set():
            self._began.set()
            assert self._go_on.wait(LONG)
        return self._urandom(size)

    def release(self):
        """Let it continue; return the future of its result."""
        self._go_on.set()
        return self._future


def test_a_flush_that_is_overtaken_by_the_switch_waits_for_both_connections(raw, monkeypatch):
    client, old = open_renewing(raw, ping_interval=LONG)
    client.submit({"method": "keeps the old connection"})
    taken(old)
    held = HeldFlush(client, monkeypatch)
    new = renewed(client, raw)
    flushing = held.release()
    (_, here), (_, there) = new.receive_frame(), old.receive_frame()
    old.send_frame(10, there)
    assert not concurrent.futures.wait([flushing], SHORT).done
    new.send_frame(10, here)
    flushing.result(LONG)
    client.close(timeout=0)


def test_a_flush_fails_that_is_overtaken_by_the_loss_of_its_connection(raw, monkeypatch):
    client, old = open_renewing(raw, ping_interval=LONG, reconnect=SOON)
    client.send("x")
    held = HeldFlush(client, monkeypatch)
    old.reset()
    raw.accept().upgrade()
    eventually(lambda: client.stats.connections == 2)
    with pytest.raises(wsclient.ConnectionLost):
        held.release().result(LONG)
    client.close(timeout=0)


@pytest.mark.parametrize("is_answered", [True, False])
def test_a_flush_that_a_whole_renewal_overtakes_fails_only_if_the_old_connection_had_no_proof(
    raw, monkeypatch, is_answered
):
    client, old = open_renewing(raw, ping_interval=LONG)
    client.send("x")
    assert old.receive_text() == "x"
    held = HeldFlush(client, monkeypatch)
    new = renewed(client, raw)
    if is_answered:
        answered_close(old)
    else:
        old.reset()
    await_alone(client)
    flushing = held.release()
    if is_answered:
        answer_ping(new)
        flushing.result(LONG)
    else:
        with pytest.raises(wsclient.ConnectionLost) as caught:
            flushing.result(LONG)
        assert caught.value.disconnect.initiator in ("network", "renewal")
    assert not client._wsclient.context.facts.awaited_marks
    client.close(timeout=0)


def held_in_the_queue(client):
    """A call of ``flush()`` that waits behind a message, since sending is paused."""
    client.pause_sending(HOUR)
    client.send("paused")
    flushing = start_call(lambda: client.flush(LONG))
    eventually(lambda: client._wsclient.context.facts.awaited_marks)
    return flushing


@pytest.mark.parametrize("end", ["pong", "close", "reset"])
def test_a_flush_that_two_renewals_overtake_needs_the_proof_of_the_first_connection(raw, end):
    client, first = open_renewing(raw, ping_interval=LONG)
    client.send("x")
    assert first.receive_text() == "x"
    flushing = held_in_the_queue(client)
    second = renewed(client, raw)
    opcode, ping = first.receive_frame()
    assert opcode == 9
    if end == "pong":
        first.send_frame(10, ping)
        answered_close(first)
    elif end == "close":
        first.send_frame(8, (1000).to_bytes(2, "big"))
        first.finish()
    else:
        first.reset()
    await_alone(client)
    third = renewed(client, raw)
    if end == "pong":
        answer_ping(second)
        client.pause_sending(0)
        assert third.receive_text() == "paused"
        answer_ping(third)
        flushing.result(LONG)
    else:
        with pytest.raises(wsclient.ConnectionLost) as caught:
            flushing.result(LONG)
        assert caught.value.disconnect.initiator == ("remote" if end == "close" else "network")
    assert not client._wsclient.context.facts.awaited_marks
    client.close(timeout=0)


def test_full_queues_do_not_stop_a_flush_that_waits_for_the_old_connection(raw):
    go_on = threading.Event()
    client, old = open_renewing(
        raw,
        ping_interval=LONG,
        renew=Renew(overlap=HOUR),
        on_message=lambda client, message: go_on.wait(LONG),
        receive_queue=wsclient.ReceiveQueue(max_messages=1),
    )
    flushing = held_in_the_queue(client)
    new = renewed(client, raw)
    (opcode, there) = old.receive_frame()
    assert opcode == 9
    put(old, *[{"event": n} for n in range(3)])
    await_processed(old)  # the queue of the hook is full
    client.pause_sending(0)
    assert new.receive_text() == "paused"
    (opcode, here) = new.receive_frame()
    assert opcode == 9
    new.send_frame(10, here)
    marks = client._wsclient.context.facts.awaited_marks
    eventually(lambda: not any(mark.spans for mark in list(marks)))
    await_processed(new)  # the I/O thread has planned its next wait
    old.send_frame(10, there)
    flushing.result(LONG)
    go_on.set()
    client.close(timeout=0)


@pytest.mark.parametrize("is_answered", [True, False])
def test_flush_during_the_closing_handshake_of_the_old_connection_needs_its_answer(raw, is_answered):
    client, old = open_renewing(raw, ping_interval=LONG)
    client.send({"a": 1})
    assert taken(old)["a"] == 1
    new = renewed(client, raw)
    assert close_code(old)[0] == 1000
    flushing = start_call(lambda: client.flush(LONG))
    answer_ping(new)
    if is_answered:
        old.send_frame(8, (1000).to_bytes(2, "big"))
        old.finish()
        flushing.result(LONG)
    else:
        with pytest.raises(wsclient.ConnectionLost) as caught:
            flushing.result(LONG)
        assert caught.value.disconnect.initiator == "renewal"
    client.close(timeout=0)


def test_a_flush_whose_pong_is_awaited_keeps_the_old_connection(raw):
    client, old = open_renewing(raw, ping_interval=LONG)
    client.send("x")
    flushing = start_call(lambda: client.flush(LONG))
    assert old.receive_text() == "x"
    opcode, ping = old.receive_frame()
    assert opcode == 9
    renewed(client, raw)
    old.sock.settimeout(SHORT)
    with pytest.raises(TimeoutError):
        old.receive_frame()
    old.sock.settimeout(LONG)
    assert not flushing.done()
    old.send_frame(10, ping)
    flushing.result(LONG)
    assert close_code(old)[0] == 1000
    client.close(timeout=0)


def test_ping_and_latency_mean_the_new_connection(raw):
    client, old = open_renewing(raw, ping_interval=LONG)
    client.submit({"method": "keeps the old connection"})
    delivery = client.send("x")
    taken(old), old.receive_text()
    new = renewed(client, raw)
    waiting = start_call(lambda: delivery.wait(LONG))
    old.send_frame(10, old.receive_frame()[1])
    assert waiting.result(LONG)
    assert client.latency is None
    pinging = start_call(lambda: client.ping(LONG))
    opcode, payload = new.receive_frame()
    assert opcode == 9
    new.send_frame(10, payload)
    assert pinging.result(LONG) > 0
    eventually(lambda: client.latency == pinging.result())
    client.close(timeout=0)


def test_a_full_queue_is_written_to_the_new_connection(raw):
    client, old = open_renewing(
        raw, protocol=wsclient.Fifo(max_in_flight=1), send_queue=wsclient.SendQueue(max_messages=5)
    )
    client.submit("0")
    assert old.receive_text() == "0"
    queued = [client.submit(str(n)) for n in range(1, 6)]
    waiting = start_call(lambda: client.submit("6"))
    new = renewed(client, raw)
    for n in range(1, 7):
        assert new.receive_text() == str(n)
        new.send_text(f"to {n}")
    queued.append(waiting.result(LONG))
    assert [one.result(LONG) for one in queued] == [f"to {n}" for n in range(1, 7)]
    client.close(timeout=0)


# --- subscriptions ---------------------------------------------------------------------------------------------------


def test_what_either_connection_brings_is_delivered_without_a_gap(raw):
    client, old = open_renewing(raw, protocol=JsonRpc())
    everything = client.listen()
    subscription = subscribed(client, old, "0xa")
    new = renewed(client, raw)
    asked = taken(new)
    put(old, event("0xa", 1), {"jsonrpc": "2.0", "method": "news", "params": 1})
    assert results(subscription, 1) == [1]
    put(new, event("0xb", 2), reply(asked, "0xb"), event("0xb", 3), {"jsonrpc": "2.0", "method": "news", "params": 2})
    assert results(subscription, 2) == [2, 3]
    assert answered_close(old)[0] == 1000
    await_alone(client)
    put(new, event("0xb", 4))
    assert results(subscription, 1) == [4]
    assert [everything.get(LONG)["params"] for _ in range(2)] == [1, 2]
    assert (subscription.gaps, everything.gaps) == (0, 0)
    client.close(timeout=0)


def test_the_same_subscription_key_on_both_connections_belongs_to_different_subscriptions(raw):
    client, old = open_renewing(raw, protocol=JsonRpc())
    first, second = subscribed(client, old, "1"), subscribed(client, old, "2", {"method": "eth_subscribe", "params": 2})
    new = renewed(client, raw)
    put(new, reply(taken(new), "2"))
    put(old, event("2", "old second"), event("1", "old first"))
    assert results(first, 1) == ["old first"]
    assert results(second, 1) == ["old second"]
    put(new, event("2", "new first"))
    assert results(first, 1) == ["new first"]
    put(new, reply(taken(new), "1"), event("1", "new second"))
    assert results(second, 1) == ["new second"]
    client.close(timeout=0)


def test_the_old_connection_stays_until_every_resumed_subscription_has_its_reply(raw):
    client, old = open_renewing(raw, protocol=JsonRpc())
    subscription = subscribed(client, old, "0xa")
    new = renewed(client, raw)
    asked = taken(new)
    await_processed(old)
    assert not is_alone(client)
    put(new, reply(asked, "0xb"))
    assert answered_close(old)[0] == 1000
    eventually(lambda: subscription.reply == "0xb")
    client.close(timeout=0)


def test_identity_delivers_a_message_that_both_connections_bring_once(raw):
    client, old = open_renewing(raw, protocol=JsonRpc())
    subscription = subscribed(client, old, "0xa", identity=lambda message: message["params"]["result"])
    put(old, event("0xa", 1), event("0xa", 1))  # not during a renewal
    await_processed(old)
    new = renewed(client, raw)
    asked = taken(new)
    put(old, event("0xa", 2), event("0xa", 3))
    await_processed(old)
    put(new, event("0xb", 2), reply(asked, "0xb"), event("0xb", 3), event("0xb", 4))
    answered_close(old)
    await_alone(client)
    put(new, event("0xb", 4))
    assert results(subscription, 6) == [1, 1, 2, 3, 4, 4]
    client.close(timeout=0)


def text_frames(*messages):
    return b"".join(frame(1, json.dumps(message).encode()) for message in messages)


def test_identity_drops_what_the_new_connection_brings_before_it_takes_over(raw):
    """The server sends to each connection without being asked, here together with its answer to the upgrade."""
    client, old = open_renewing(raw, protocol=JsonRpc())
    subscription = subscribed(client, old, "0xa", identity=lambda message: message["params"]["result"])
    done, new = begin_renewal(client, raw)
    put(old, event("0xa", 1), event("0xa", 2))
    await_processed(old)
    new.upgrade(then=text_frames(event("0xb", 1), event("0xb", 2), event("0xb", 3)))
    assert done.result(LONG)
    put(new, reply(taken(new), "0xb"), event("0xb", 4))
    assert results(subscription, 4) == [1, 2, 3, 4]
    client.close(timeout=0)


def test_identity_drops_nothing_after_an_attempt_that_failed(raw):
    client, old = open_renewing(raw, protocol=JsonRpc())
    subscription = subscribed(client, old, "0xa", identity=lambda message: message["params"]["result"])
    _, new = begin_renewal(client, raw)
    put(old, event("0xa", 1))
    await_processed(old)
    new.reset()
    eventually(lambda: client.last_error is not None)
    put(old, event("0xa", 1), event("0xa", 2))
    assert results(subscription, 3) == [1, 1, 2]
    client.close(timeout=0)


def test_identity_drops_what_a_reconnect_brings_again_that_began_as_a_renewal(raw):
    client, old = open_renewing(raw, protocol=JsonRpc())
    subscription = subscribed(client, old, "0xa", identity=lambda message: message["params"]["result"])
    _, new = begin_renewal(client, raw)
    put(old, event("0xa", 1), event("0xa", 2))
    await_processed(old)
    old.reset()
    eventually(lambda: client.state is not wsclient.State.OPEN)
    new.upgrade(then=text_frames(event("0xb", 2)))
    put(new, reply(taken(new), "0xb"), event("0xb", 3))
    assert results(subscription, 3) == [1, 2, 3]
    client.close(timeout=0)


def renewed_after_two_events(raw):
    """A client, the peer of its second connection, and a subscription with ``identity=``. The first connection, which
    has ended, brought the events 1 and 2; the second one has brought none.
    """
    client, old = open_renewing(raw, protocol=JsonRpc())
    subscription = subscribed(client, old, "0xa", identity=lambda message: message["params"]["result"])
    new = renewed(client, raw)
    put(old, event("0xa", 1), event("0xa", 2))
    await_processed(old)
    put(new, reply(taken(new), "0xb"))
    answered_close(old)
    await_alone(client)
    return client, new, subscription


def test_identity_also_drops_what_the_new_connection_brings_only_after_the_end_of_the_old_one(raw):
    client, new, subscription = renewed_after_two_events(raw)
    put(new, event("0xb", 1), event("0xb", 3), event("0xb", 2), event("0xb", 4), event("0xb", 2))
    assert results(subscription, 5) == [1, 2, 3, 4, 2]  # the last one is no repetition by another connection
    client.close(timeout=0)


def test_identity_drops_what_comes_late_also_during_the_next_renewal(raw):
    client, new, subscription = renewed_after_two_events(raw)
    newest = renewed(client, raw)
    put(new, event("0xb", 1), event("0xb", 2), event("0xb", 3))
    await_processed(new)
    put(newest, event("0xc", 2), event("0xc", 3), reply(taken(newest), "0xc"), event("0xc", 4))
    assert results(subscription, 4) == [1, 2, 3, 4]
    client.close(timeout=0)


def test_what_came_late_is_forgotten_after_some_time(raw, monkeypatch):
    monkeypatch.setattr(duplicates_module, "DUPLICATES_AFTER", -1.0)  # Windows: the clock may show the same time twice
    client, new, subscription = renewed_after_two_events(raw)
    put(new, event("0xb", 1), event("0xb", 2))
    assert results(subscription, 4) == [1, 2, 1, 2]
    client.close(timeout=0)


@pytest.mark.parametrize("order", ["old first", "new first"])
def test_the_loss_of_both_connections_is_a_gap_although_the_request_was_not_yet_written_on_the_new_one(raw, order):
    client, old = open_renewing(raw, protocol=JsonRpc(), reconnect=SOON)
    subscription = subscribed(client, old, "0xa")
    put(old, event("0xa", 1))
    assert results(subscription, 1) == [1]
    client.pause_sending(HOUR)
    new = renewed(client, raw)
    if order == "old first":
        old.reset()
        await_alone(client)
        new.reset()
    else:
        new.reset()
        eventually(lambda: client.last_disconnect is not None)
        old.reset()
    third = raw.accept().upgrade()
    client.pause_sending(0)
    put(third, reply(taken(third), "0xc"), event("0xc", 2))
    assert results(subscription, 1) == [2]
    assert subscription.gaps == 1
    client.close(timeout=0)


def test_without_identity_both_are_delivered(raw):
    client, old = open_renewing(raw, protocol=JsonRpc())
    subscription = subscribed(client, old, "0xa")
    new = renewed(client, raw)
    put(old, event("0xa", 1))
    await_processed(old)
    put(new, reply(taken(new), "0xb"), event("0xb", 1))
    assert results(subscription, 2) == [1, 1]
    client.close(timeout=0)


def test_an_error_of_identity_is_raised_to_the_reader(raw):
    client, old = open_renewing(raw, protocol=JsonRpc())
    subscription = subscribed(client, old, "0xa", identity=lambda message: message["missing"])
    renewed(client, raw)
    put(old, event("0xa", 1))
    with pytest.raises(KeyError):
        subscription.get(LONG)
    client.close(timeout=0)


def test_a_subscription_that_is_closed_during_the_overlap_is_unsubscribed_on_both(raw):
    client, old = open_renewing(raw, protocol=JsonRpc())
    subscription = subscribed(client, old, "0xa", unsubscribe=lambda message, reply: {"stop": reply})
    new = renewed(client, raw)
    asked = taken(new)
    subscription.close()
    assert taken(old)["stop"] == "0xa"
    put(new, reply(asked, "0xb"))
    assert taken(new)["stop"] == "0xb"
    assert answered_close(old)[0] == 1000
    eventually(lambda: not client._wsclient.context.subscriptions.members)
    client.close(timeout=0)


def test_a_subscription_that_does_not_resume_ends_with_the_old_connection(raw):
    client, old = open_renewing(raw, protocol=JsonRpc())
    subscription = subscribed(client, old, "0xa", resume=False)
    renewed(client, raw)
    answered_close(old)
    with pytest.raises(wsclient.ConnectionLost) as caught:
        subscription.get(LONG)
    assert caught.value.disconnect.initiator == "renewal"
    client.close(timeout=0)


def test_a_subscribe_call_that_waits_at_the_switch_is_answered_by_either_connection(raw):
    for answers in ("old", "new"):
        client, old = open_renewing(raw, protocol=JsonRpc())
        calling = start_call(lambda client=client: client.subscribe({"method": "s"}, timeout=LONG))
        asked = {"old": taken(old)}
        new = renewed(client, raw)
        asked["new"] = taken(new)
        put({"old": old, "new": new}[answers], reply(asked[answers], "0xa"))
        subscription = calling.result(LONG)
        put({"old": old, "new": new}[answers], event("0xa", 1))
        assert results(subscription, 1) == [1]
        client.close(timeout=0)


def test_a_loss_after_a_renewal_is_a_gap_and_resumes_once(raw):
    client, old = open_renewing(raw, protocol=JsonRpc(), reconnect=SOON)
    subscription = subscribed(client, old, "0xa")
    new = renewed(client, raw)
    put(new, reply(taken(new), "0xb"))
    answered_close(old)
    await_alone(client)
    new.reset()
    third = raw.accept().upgrade()
    put(third, reply(taken(third), "0xc"), event("0xc", 5))
    assert results(subscription, 1) == [5]
    assert subscription.gaps == 1
    client.send({"nothing": "else"})
    assert taken(third)["nothing"] == "else"
    client.close(timeout=0)


# --- the protocol ----------------------------------------------------------------------------------------------------


class Joining(wsclient.JsonId):
    """Two text messages are one, so it has state between two messages; the login of a connection gives it a token."""

    def __init__(self):
        super().__init__()
        self.part = None
        self.token = None

    def reset(self):
        self.part = None

    def decode(self, payload):
        if self.part is None:
            self.part = payload
            return None
        whole, self.part = self.part + payload, None
        return super().decode(whole)

    def on_session(self, session):
        self.token = f"token {session.number}"

    def encode(self, message):
        return json.dumps([self.token, message])


def test_each_connection_has_its_own_state_of_the_protocol(raw):
    messages = []
    client, old = open_renewing(raw, protocol=Joining(), on_message=lambda _, message: messages.append(message))
    client.submit({"method": "keeps the old connection"})
    old.receive_text()
    old.send_text('{"a": ')
    await_processed(old)
    new = renewed(client, raw)
    new.send_text('{"b": ')
    await_processed(new)
    old.send_text("1}")
    await_processed(old)
    new.send_text("2}")
    eventually(lambda: messages == [{"a": 1}, {"b": 2}])
    client.send("x")
    assert asked_on(new) == ["token 2", "x"]
    client.close(timeout=0)


class Unnamed(wsclient.Protocol):
    """Replies have no id; the protocol remembers which requests were written on its connection."""

    max_in_flight = 1

    def __init__(self):
        self.numbers = itertools.count(1)
        self.reset()

    def reset(self):
        self.written = []

    def new_id(self):
        return next(self.numbers)

    def encode_request(self, message, id):
        if id != self._sample_id:
            self.written.append(id)
        return self.encode(message)

    def decode(self, payload):
        return wsclient.Reply(self.written.pop(0), payload)


def test_a_queued_request_is_encoded_by_the_protocol_of_the_connection_that_writes_it(raw):
    client, old = open_renewing(raw, protocol=Unnamed())
    first, second = client.submit("a"), client.submit("b")
    assert old.receive_text() == "a"
    new = renewed(client, raw)
    assert new.receive_text() == "b"
    new.send_text("of b")
    assert second.result(LONG) == "of b"
    old.send_text("of a")
    assert first.result(LONG) == "of a"
    client.close(timeout=0)


def test_a_request_of_on_session_is_encoded_by_the_protocol_of_its_connection(raw):
    def on_session(client, session):
        if session.number > 1:
            assert session.request("log in", timeout=LONG) == "welcome"

    client, _ = open_renewing(raw, protocol=Unnamed(), on_session=on_session)
    for _ in range(2):
        future, new = begin_renewal(client, raw)
        new.upgrade()
        assert new.receive_text() == "log in"
        new.send_text("welcome")
        assert future.result(LONG) is True
    client.close(timeout=0)


class Registered(wsclient.JsonRpc):
    """Knows its copies, one for each connection."""

    def __init__(self):
        super().__init__()
        self.copies = weakref.WeakSet()

    def reset(self):
        self.copies.add(self)


def test_the_protocol_objects_of_replaced_connections_are_freed(raw):
    protocol = Registered()
    client, _ = open_renewing(raw, protocol=protocol)
    for _ in range(4):
        renewed(client, raw)
    client.close(timeout=0)
    freed = lambda: gc.collect() >= 0 and len(protocol.copies) <= 2  # noqa: E731  (the first one and the last one)
    eventually(freed)


# --- further cases ---------------------------------------------------------------------------------------------------


def test_a_hook_of_the_old_connection_still_sends_on_it(raw):
    go_on, deliveries = threading.Event(), []

    def on_open(client):
        client.submit({"method": "keeps the old connection"})
        assert go_on.wait(LONG)
        deliveries.append(client.send("late"))

    client, old = open_renewing(raw, on_open=on_open, on_renew=lambda client, reason: None)
    taken(old)
    new = renewed(client, raw)
    client.send("to the new one")
    go_on.set()
    assert old.receive_text() == "late"
    assert new.receive_text() == "to the new one"
    eventually(lambda: [delivery.state for delivery in deliveries] == ["written"])
    client.close(timeout=0)


def test_a_bound_message_is_lost_if_the_old_connection_has_ended(raw):
    go_on, deliveries = threading.Event(), []

    def on_open(client):
        assert go_on.wait(LONG)
        deliveries.append(client.send("late"))

    client, old = open_renewing(raw, on_open=on_open, on_renew=lambda client, reason: None)
    new = renewed(client, raw)
    answered_close(old)
    await_alone(client)
    go_on.set()
    eventually(lambda: deliveries)
    eventually(lambda: [delivery.state for delivery in deliveries] == ["lost"])
    client.send("next")
    assert new.receive_text() == "next"
    client.close(timeout=0)


def test_a_flush_fails_if_the_old_connection_is_lost_before_the_proof(raw):
    client, old = open_renewing(raw, ping_interval=LONG)
    client.send("x")
    flushing = start_call(lambda: client.flush(LONG))
    assert old.receive_text() == "x"
    renewed(client, raw)
    old.reset()
    with pytest.raises(wsclient.ConnectionLost) as caught:
        flushing.result(LONG)
    assert caught.value.disconnect.initiator == "network"
    assert client.last_disconnect is None
    client.close(timeout=0)


def test_without_pings_a_flush_waits_until_both_connections_have_written(raw):
    client, old = open_narrow(raw)
    large = "x" * LARGE
    client.send(large)
    eventually(lambda: client._wsclient.context.sender.writer.blocked)
    flushing = start_call(lambda: client.flush(LONG))
    eventually(lambda: client._wsclient.context.facts.awaited_marks)
    renewed(client, raw)
    assert not concurrent.futures.wait([flushing], SHORT).done
    assert old.receive_text() == large
    flushing.result(LONG)
    client.close(timeout=0)


def test_a_subscription_that_the_new_connection_refuses_ends_with_that_error(raw):
    client, old = open_renewing(raw, protocol=JsonRpc())
    subscription = subscribed(client, old, "0xa")
    new = renewed(client, raw)
    put(new, {"jsonrpc": "2.0", "id": taken(new)["id"], "error": {"code": -1, "message": "no"}})
    with pytest.raises(wsclient.RemoteError, match="no"):
        subscription.get(LONG)
    put(old, reply(taken(old), True))  # it is unsubscribed there
    assert answered_close(old)[0] == 1000
    assert client.state is State.OPEN
    client.close(timeout=0)


def test_the_function_that_makes_the_subscribe_message_is_called_for_the_new_connection_and_may_raise(raw):
    asked = []

    def ask():
        asked.append(1)
        if len(asked) == 3:
            raise LookupError("mine")
        return {"method": "eth_subscribe", "params": len(asked)}

    client, old = open_renewing(raw, protocol=JsonRpc())
    subscription = subscribed(client, old, "0xa", ask)
    new = renewed(client, raw)
    message = taken(new)
    assert message["params"] == 2
    put(new, reply(message, "0xb"), event("0xb", 1))
    assert results(subscription, 1) == [1]
    answered_close(old)
    await_alone(client)
    renewed(client, raw)
    with pytest.raises(LookupError):
        subscription.get(LONG)
    client.close(timeout=0)


def test_if_the_new_connection_is_lost_at_its_subscriptions_the_client_reconnects(raw):
    client, old = open_renewing(raw, protocol=JsonRpc(), reconnect=SOON)
    subscription = subscribed(client, old, "0xa")
    new = renewed(client, raw)
    taken(new)
    new.reset()
    third = raw.accept()
    old.sock.settimeout(5 * SHORT)
    with pytest.raises(TimeoutError):
        old.receive_frame()
    old.sock.settimeout(LONG)
    third.upgrade()
    asked = taken(third)
    put(old, event("0xa", 1))  # still served
    assert results(subscription, 1) == [1]
    put(third, reply(asked, "0xc"), event("0xc", 2))
    assert results(subscription, 1) == [2]
    assert answered_close(old)[0] == 1000
    client.close(timeout=0)


def test_a_subscription_chosen_by_match_gets_the_messages_of_both_connections(raw):
    client, old = open_renewing(raw)
    subscription = client.subscribe({"subscribe": "prices"}, match=lambda message: "price" in message)
    taken(old)
    client.submit({"method": "keeps the old connection"})
    taken(old)
    new = renewed(client, raw)
    assert taken(new)["subscribe"] == "prices"
    put(old, {"price": 1})
    assert subscription.get(LONG) == {"price": 1}
    put(new, {"price": 2})
    assert subscription.get(LONG) == {"price": 2}
    client.close(timeout=0)


@pytest.mark.parametrize("confirmation", [{"ok": True}, {"price": 2}], ids=["reply", "message"])
def test_the_old_connection_stays_until_a_subscription_chosen_by_match_is_confirmed(raw, confirmation):
    client, old = open_renewing(raw)
    subscription = client.subscribe({"subscribe": "prices"}, match=lambda message: "price" in message)
    taken(old)
    new = renewed(client, raw)
    asked = taken(new)
    put(old, {"price": 1})
    assert subscription.get(LONG) == {"price": 1}
    await_processed(old)
    assert not is_alone(client)
    put(new, {"id": asked["id"], **confirmation} if "ok" in confirmation else confirmation)
    assert answered_close(old)[0] == 1000
    await_alone(client)
    client.close(timeout=0)


def test_a_subscribe_message_that_was_cut_on_the_old_connection_is_not_sent_twice(raw):
    client, _ = open_narrow(raw, renew=Renew(overlap=SHORT))
    subscription = client.subscribe({"large": "y" * LARGE}, match=lambda message: "price" in message, timeout=LONG)
    eventually(lambda: client._wsclient.context.sender.writer.blocked)
    new = renewed(client, raw)
    assert "large" in taken(new)
    await_alone(client)
    client.send({"method": "next"})
    assert taken(new)["method"] == "next"
    put(new, {"price": 1})
    assert subscription.get(LONG) == {"price": 1}
    client.close(timeout=0)


def test_an_incoming_message_half_received_at_the_switch_is_completed(raw):
    messages = []
    client, old = open_renewing(raw, on_message=lambda _, message: messages.append(message))
    client.submit({"method": "keeps the old connection"})
    taken(old)
    rest = old.send_half(1, b'{"event": "half"}')
    renewed(client, raw)
    old.send(rest)
    eventually(lambda: messages == [{"event": "half"}])
    client.close(timeout=0)


def test_the_old_connection_stays_while_its_messages_wait_for_a_slow_reader(raw):
    client, old = open_renewing(raw, receive_queue=wsclient.ReceiveQueue(max_messages=2))
    stream = client.listen()
    put(old, *({"old": n} for n in range(10)))
    eventually(lambda: client._wsclient.context.facts.paused)
    renewed(client, raw)
    old.sock.settimeout(SHORT)
    with pytest.raises(TimeoutError):
        old.receive_frame()
    old.sock.settimeout(LONG)
    assert [stream.get(LONG)["old"] for _ in range(10)] == list(range(10))
    assert close_code(old)[0] == 1000
    assert (stream.dropped, client.stats.dropped) == (0, 0)
    client.close(timeout=0)


def test_a_full_receive_queue_pauses_both_connections_and_both_resume(raw):
    client, old = open_renewing(raw, receive_queue=wsclient.ReceiveQueue(max_messages=2))
    stream = client.listen()
    asked = client.submit({"method": "keeps the old connection"})
    taken(old)
    new = renewed(client, raw)
    put(old, *({"old": n} for n in range(10)))
    put(new, *({"new": n} for n in range(10)))
    asked.cancel()  # now no reply is awaited, so reading pauses
    received = [stream.get(LONG) for _ in range(20)]
    assert [one["old"] for one in received if "old" in one] == list(range(10))
    assert [one["new"] for one in received if "new" in one] == list(range(10))
    client.close(timeout=0)


def test_a_graphql_subscription_continues_under_another_id(raw):
    def accepted():
        peer = raw.accept().upgrade("Sec-WebSocket-Protocol: graphql-transport-ws")
        assert taken(peer)["type"] == "connection_init"
        put(peer, {"type": "connection_ack"})
        return peer

    client = wsclient.Client(raw.url, protocol=wsclient.GraphQLTransportWs(), ping_interval=None)
    starting = start_call(client.start)
    old = accepted()
    starting.result(LONG)
    subscription = client.subscribe({"query": "subscription { price }"}, timeout=LONG)
    first = taken(old)["id"]
    put(old, {"id": first, "type": "next", "payload": {"data": 1}})
    renewing = start_call(lambda: client.renew(wait=True, timeout=LONG))
    new = accepted()
    second = taken(new)["id"]
    assert renewing.result(LONG)
    assert second != first
    put(new, {"id": second, "type": "next", "payload": {"data": 2}})
    assert close_code(old)[0] == 1000
    assert [subscription.get(LONG) for _ in range(2)] == [{"data": 1}, {"data": 2}]
    subscription.close()
    assert taken(new) == {"id": second, "type": "complete"}
    client.close(timeout=0)
