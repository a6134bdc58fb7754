"""Requests on two connections at the same time: each connection has its own replies, room and end."""

import json

import pytest
import tenacity

import wsclient
from wsclient import Fifo, JsonRpc
from wsclient._client import operations
from wsclient._connection.opener import Opener
from wsclient._sending.message import WriteProgress
from wsclient._threads.waiting import Deadline, Waiter

from ..support import eventually

GONE = wsclient.Disconnect("network", None, "", None, 1.0, 1.0)


class Narrow(JsonRpc):
    max_in_flight = 2


class Half:
    """One of two connections of a client that does not run."""

    def __init__(self, context, number):
        self.context = context
        self.number = number
        self.written = context.table.new_connection(number)
        self.backend = context.make_backend(self.written)
        self.router = context.make_router(None, self.written)
        self.router.release()
        self.progress = WriteProgress(number)

    def write(self, request, *, whole=True):
        """From the client's point of view, the request is written on this connection."""
        assert request.payload_for(self.backend) is not None
        self.progress.taken += 1
        if whole:
            self.progress.sent = self.progress.taken
        request.put_on(self.progress, self.progress.taken)

    def ask(self, message=None, *, whole=True, **options):
        """Write a request for which a caller waits."""
        request = self.context.requests.make(message or {"method": "a"}, Deadline(None), **options)
        request.waiter = Waiter()
        self.context.table.add(request, timed=False)
        self.write(request, whole=whole)
        return request

    def receive(self, text):
        self.router.receive(text, len(text))

    def end(self, *cut):
        self.progress.ended = True
        self.context.requests.connection_ended(self.written, cut, GONE)


@pytest.fixture
def halves():
    """Makes the two connections of a client with this protocol."""
    clients = []

    def make(protocol=None):
        client = wsclient.Client("ws://localhost/", protocol=protocol or JsonRpc())
        clients.append(client)
        context = client._wsclient.context
        context.sender.connection_number = 2
        return context, Half(context, 1), Half(context, 2)

    yield make
    for client in clients:
        client.close()


def same_id(context, one, two):
    """A request on each connection; both have the id 5."""
    requests = []
    for half in (one, two):
        request = context.requests.make({"method": "a"}, Deadline(None))
        request.waiter = Waiter()
        context.table.add(request, timed=False)
        assert context.table.assign_id(request, 5, half.written)
        half.progress.taken = half.progress.sent = 1
        request.put_on(half.progress, 1)
        requests.append(request)
    return requests


def reply(id, result):
    return json.dumps({"jsonrpc": "2.0", "id": id, "result": result})


def test_a_reply_answers_the_request_of_its_own_connection(halves):
    context, one, two = halves()
    a, b = same_id(context, one, two)
    two.receive(reply(5, "second"))
    assert (a.outcome, b.outcome) == (None, "ok")
    assert b.waiter.value == "second"
    assert (one.written.in_flight, two.written.in_flight) == (1, 0)
    one.receive(reply(5, "first"))
    assert a.waiter.value == "first"
    assert context.counters.unmatched_replies == 0


def test_a_reply_on_the_wrong_connection_is_late_and_answers_no_request(halves):
    context, one, two = halves()
    request = one.ask()
    two.receive(reply(request.id, "of a server that was restarted"))
    assert request.outcome is None
    assert context.counters.unmatched_replies == 1
    one.end()
    assert isinstance(request.waiter.error, wsclient.ConnectionLost)
    three = Half(context, 3)
    three.receive(reply(request.id, "too late"))
    assert context.counters.unmatched_replies == 2


def test_an_error_and_an_unusual_id_are_looked_up_on_their_own_connection(halves):
    context, one, two = halves()
    request = one.ask({"method": "a", "id": 1.5})
    failure = '{"jsonrpc":"2.0","id":1.5,"error":{"code":1,"message":"no"}}'
    two.receive(failure)
    assert request.outcome is None
    one.receive(failure)
    assert isinstance(request.waiter.error, wsclient.RemoteError)
    assert context.counters.unmatched_replies == 1


@pytest.mark.parametrize("at", [None, 1e9])
def test_in_fifo_order_an_interrupted_request_keeps_its_position_only_if_it_has_a_deadline(halves, at):
    context, _, two = halves(Fifo())
    request = two.ask("ask")
    request.deadline = Deadline(at)
    assert context.requests.cancel(request, interrupted=True)
    assert two.written.in_flight == 1
    assert (not context.commands.drop) == (at is not None)


def test_the_phase_of_a_time_out_tells_whether_the_server_may_have_the_request(halves):
    context, one, _ = halves()
    waiting, sent_before, cut = one.ask(), one.ask(idempotent=True), one.ask(idempotent=True, whole=False)
    context.requests.time_out(waiting)
    one.end(cut)
    assert context.queue.messages == 2  # the next connection will send both
    context.requests.time_out(sent_before)
    context.requests.time_out(cut)
    assert [one.waiter.error.phase for one in (waiting, sent_before, cut)] == ["waiting", "waiting", "queued"]


def test_a_match_request_receives_messages_of_its_own_connection(halves):
    _, one, two = halves(wsclient.JsonId())
    a = one.ask(match=lambda message: "tick" in message)
    b = two.ask(match=lambda message: "tick" in message)
    two.receive('{"tick":2}')
    assert (a.outcome, b.waiter.value) == (None, {"tick": 2})
    two.receive('{"tick":3}')
    assert a.outcome is None
    one.receive('{"tick":1}')
    assert a.waiter.value == {"tick": 1}


def test_replies_by_order_answer_the_oldest_request_of_their_connection(halves):
    _, one, two = halves(Fifo())
    a, b, c = one.ask("a"), two.ask("b"), one.ask("c")
    two.receive("for b")
    assert (a.outcome, b.waiter.value, c.outcome) == (None, "for b", None)
    one.receive("for a")
    one.receive("for c")
    assert (a.waiter.value, c.waiter.value) == ("for a", "for c")


def test_a_withdrawn_request_costs_the_connection_on_which_its_position_is_kept(halves):
    context, one, two = halves(Fifo())
    a, b = one.ask("a"), two.ask("b")
    assert context.requests.cancel(a)
    (number,) = context.commands.drop
    assert number == 1
    two.receive("for b")
    assert b.waiter.value == "for b"
    one.end()
    context.commands.drop.clear()
    assert context.requests.cancel(two.ask("c"))
    assert list(context.commands.drop) == [2]


def test_a_request_withdrawn_while_it_is_written_costs_its_own_connection(halves):
    """It has an id and no position yet."""
    context, one, _ = halves(Fifo())
    request = context.requests.make("a", Deadline(None))
    context.table.add(request, timed=False)
    assert request.payload_for(one.backend) is not None
    assert context.requests.cancel(request)
    assert list(context.commands.drop) == [1]


def test_the_end_of_a_connection_ends_or_returns_only_its_own_requests(halves):
    context, one, two = halves()
    mine, repeated, tied = one.ask(), one.ask(idempotent=True), one.ask(idempotent=True, connection_number=1)
    cut = one.ask(whole=False)
    others = [two.ask(), two.ask(idempotent=True), two.ask(connection_number=2), two.ask(whole=False)]
    one.end(cut)
    assert mine.waiter.error.sent is True
    assert tied.waiter.error.sent is True
    assert [request.outcome for request in (repeated, cut, *others)] == [None] * 6
    assert list(context.queue.entries) == [repeated, cut]
    assert (repeated.written_on, cut.written_on) == (None, None)
    assert [request.written_on for request in others] == [two.written] * 4
    assert (one.written.in_flight, two.written.in_flight, context.table.in_flight) == (0, 4, 4)
    for request in context.queue.take(2**20, None):
        two.write(request)
        two.receive(reply(request.id, "again"))
    for request in others:
        two.receive(reply(request.id, "first"))
    assert [request.outcome for request in (repeated, cut, *others)] == ["ok"] * 6
    assert context.table.in_flight == 0


def test_a_connection_that_is_closing_loses_only_its_own_written_requests(halves):
    context, one, two = halves()
    a, repeated, b = one.ask(), one.ask(idempotent=True), two.ask()
    context.requests.fail_written(one.written, GONE)
    assert isinstance(a.waiter.error, wsclient.ConnectionLost)
    assert (repeated.outcome, b.outcome) == (None, None)


def test_a_full_connection_leaves_the_room_of_the_other_one(halves):
    context, one, two = halves(Narrow())
    one.ask()
    last = one.ask()
    two.ask()
    waiting = context.requests.make({"method": "a"}, Deadline(None))
    context.table.add(waiting, timed=False)
    context.requests.queue(waiting, Deadline(None))
    assert not one.backend.has_room_for(waiting)
    assert not one.backend.ready()
    assert one.backend.take(2**20) == []
    assert two.backend.has_room_for(waiting)
    assert two.backend.ready()
    one.receive(reply(last.id, "done"))
    assert one.backend.ready()
    assert two.backend.take(2**20) == [waiting]
    assert context.table.in_flight == 2


def test_an_id_of_the_caller_is_unique_in_the_client(halves):
    context, one, two = halves()
    one.ask({"method": "a", "id": 7})
    with pytest.raises(ValueError, match="in flight already"):
        two.ask({"method": "a", "id": 7})
    context.table.end_connection(one.written)
    with pytest.raises(ValueError, match="in flight already"):
        two.ask({"method": "a", "id": 7})


def test_a_message_with_the_id_of_a_request_is_refused_on_the_connection_of_this_request(halves):
    context, one, two = halves(wsclient.JsonId())
    message = context.requests.encode_one_way({"id": 5, "method": "a"})
    request = context.requests.make({"method": "a"}, Deadline(None))
    context.table.add(request, timed=False)
    assert context.table.assign_id(request, 5, one.written)
    assert message.payload_for(two.backend) is not None
    assert message.payload_for(one.backend) is None
    with pytest.raises(ValueError, match="in flight already"):
        context.requests.encode_one_way({"id": 5, "method": "a"})
    one.end()
    context.requests.encode_one_way({"id": 5, "method": "a"})


def test_the_statistics_sum_up_the_requests_in_flight(halves):
    context, one, two = halves()
    one.ask()
    two.ask()
    two.ask()
    assert operations.stats(context).requests_in_flight == 3
    one.end()
    assert operations.stats(context).requests_in_flight == 2


def test_connections_that_have_ended_or_could_not_be_set_up_leave_nothing_in_the_table(server, monkeypatch):
    fails = [MemoryError("no memory for the compression"), ValueError("refused by on_session")]

    def on_session(client, session):
        if len(fails) == 1:
            raise fails.pop()

    def deflater(*_):
        if len(fails) == 2:
            raise fails.pop(0)

    monkeypatch.setattr(Opener, "_deflater", deflater)
    at_once = wsclient.Reconnect(wait=tenacity.wait_none(), stop=tenacity.stop_after_attempt(5))
    with wsclient.connect(server.url, on_session=on_session, reconnect=at_once, retry_first=True) as client:
        context = client._wsclient.context
        assert (client.stats.failed_attempts, client.stats.connections) == (2, 1)
        (first,) = context.table._connections
        client.reconnect()
        eventually(lambda: client.stats.connections == 2)
        (second,) = context.table._connections
        assert (first.number, second.number) == (1, 2)
    assert context.table._connections == ()
