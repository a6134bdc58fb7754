"""The states of a subscription: its table of transitions, and a subscription that follows it in any order of events."""

import concurrent.futures
import json
import socket
import threading

import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.strategies import booleans, integers

import wsclient
from wsclient import JsonRpc
from wsclient._network.transport import Transport
from wsclient._receiving import subscription as subscription_module
from wsclient._receiving.inbox import Inbox
from wsclient._receiving.subscription import TRANSITIONS, Cause, Subscription, SubscriptionState
from wsclient._requests import failures
from wsclient._sending.message import WriteProgress
from wsclient._sending.writer import Writer
from wsclient._threads.waiting import Deadline

from ..support import LONG, SHORT, SLACK
from ..support.peers import ASK, event, has_no_entries, reply, start_call, taken
from ..support.raw import Peer

RARELY = integers(0, 4)
"""A step that ends the subscription is made if this is 0: most runs should be long."""

ON_CONNECTION = (SubscriptionState.ASKING, SubscriptionState.ACTIVE)


def reachable(start):
    seen, ahead = set(), [start]
    while ahead:
        state = ahead.pop()
        seen.add(state)
        ahead.extend(set(TRANSITIONS[state].values()) - seen)
    return seen


def test_every_state_is_reachable_and_the_end_is_final():
    assert reachable(SubscriptionState.NEW) == set(SubscriptionState)
    assert TRANSITIONS[SubscriptionState.ENDED] == {}
    assert all(
        SubscriptionState.NEW not in reachable(state) for state in set(SubscriptionState) - {SubscriptionState.NEW}
    )


@pytest.mark.parametrize("state", [state for state in SubscriptionState if state is not SubscriptionState.ENDED])
def test_in_every_state_a_reader_and_a_failure_can_end_a_subscription(state):
    after = TRANSITIONS[state]
    assert after[Cause.FINISHED] is SubscriptionState.ENDED
    assert after[Cause.CLOSED] in (SubscriptionState.ENDED, SubscriptionState.CLOSING)
    assert set(TRANSITIONS[SubscriptionState.CLOSING].values()) == {SubscriptionState.CLOSING, SubscriptionState.ENDED}


@pytest.mark.parametrize("state", [state for state in SubscriptionState if state is not SubscriptionState.ENDED])
def test_the_loss_of_a_connection_changes_each_state_that_depends_on_it(state):
    after = TRANSITIONS[state][Cause.CONNECTION_LOST]
    assert after not in ON_CONNECTION


def test_only_a_subscription_on_the_present_connection_can_be_quiet():
    after = {state: TRANSITIONS[state].get(Cause.QUIET) for state in SubscriptionState}
    assert {state for state in SubscriptionState if after[state] is not None} == set(ON_CONNECTION)
    assert all(after[state] is SubscriptionState.LOST for state in ON_CONNECTION)


def test_an_event_that_the_table_does_not_have_raises_an_error():
    context = wsclient.Client("ws://localhost", protocol=JsonRpc())._wsclient.context
    feed = context.make_subscription(ASK, match=None, unsubscribe=None, resume=True)
    feed.make(Deadline(None), None)
    with pytest.raises(RuntimeError, match="report this"):
        feed.on_reply("0xa")


class Subscribed(RuleBasedStateMachine):
    """A subscription, its client's parts and a socket; the test acts as the I/O thread, the reader and the server.

    The model keeps the state of the server, and compares the state and every message that the server receives.
    """

    def __init__(self):
        super().__init__()
        self.client = wsclient.Client("ws://localhost", protocol=JsonRpc())
        self.context = self.client._wsclient.context
        self.context.guard.io_ident = threading.get_ident()
        self.writer = self.peer = None
        self.number = 0
        self.asked = self.key = None  # what the server has received, and the key that it gave, on this connection
        self.unsubscribed = 0
        self.is_queued = False  # the first request, which belongs to no connection
        self.is_closed = self.has_failed = False
        self.was_active = False  # whether a lost connection is a gap
        self.delivered = []  # the number of gaps before each message that was not read
        self.epoch = self.seen = self.gaps = 0

    @initialize(resume=booleans())
    def subscribe(self, resume):
        context = self.context
        self.resume = resume
        self.feed = context.make_subscription(ASK, match=None, unsubscribe=None, resume=resume)
        request = self.feed.make(Deadline(None), None)
        self.stream = Subscription(
            Inbox(1000, 10**6, "block"),
            on_gap=None,
            key=None,
            reader_closed=self.feed.reader_closed,
            check=str,
            log=context.log,
        )
        self.feed.attach(self.stream)
        context.streams.add_fed(self.stream)
        context.subscriptions.add(self.feed)
        context.requests.begin(request, self.feed, timed=False)
        self.is_queued = True

    # --- the connection ---

    @precondition(lambda self: self.writer is None)
    @rule()
    def connect(self):
        self.number += 1
        sock, other = socket.socketpair()
        sock.setblocking(False)
        self.peer = Peer(other)
        self.peer.sock.settimeout(SLACK)
        self.written = self.context.table.new_connection(self.number)
        self.writer = Writer(Transport(sock), self.context.make_backend(self.written))
        self.router = self.context.make_router(self.writer, self.written)
        self.context.sender.connection_number = self.number
        self.context.subscriptions.resubscribe(self.writer, self.number)
        self.context.sender.writer = self.writer
        self.writer.is_open = True
        self.router.release()
        asks = not self.is_over() and (self.is_queued or self.number > 1)
        self.writer.flush()
        if asks:
            self.asked = self.next_message()
            assert self.asked["method"] == "eth_subscribe"
            self.is_queued = False

    @precondition(lambda self: self.writer is not None)
    @rule()
    def lose_the_connection(self):
        context, writer = self.context, self.writer
        context.sender.writer = None
        cut = writer.end()
        disconnect = wsclient.Disconnect("network", None, "", None, 1.0, 1.0)
        context.requests.connection_ended(self.written, cut, disconnect)
        self.router.deliver_routed(everything=True)
        context.subscriptions.connection_lost(failures.connection_lost(disconnect, sent=True), self.number)
        writer._transport.close()
        self.peer.sock.close()
        if self.asked is not None and not self.is_over():
            self.epoch += self.was_active
            self.has_failed = not self.resume
        if self.is_closed and self.asked is not None:
            self.has_failed = True
        self.writer = self.asked = self.key = None

    # --- the server ---

    @precondition(lambda self: self.asked is not None and self.key is None and not self.has_failed)
    @rule()
    def confirm(self):
        self.key = f"0x{self.number}"
        self.receive(reply(self.asked, self.key))
        if self.is_closed:
            self.expect_unsubscribe()
        else:
            self.was_active = True
            assert self.stream.reply == self.key

    @precondition(lambda self: self.asked is not None and self.key is None and not self.has_failed)
    @rule(chance=RARELY)
    def refuse(self, chance):
        if chance:
            return
        self.receive({"jsonrpc": "2.0", "id": self.asked["id"], "error": {"code": -5, "message": "no"}})
        self.has_failed = True

    @precondition(lambda self: self.writer is not None)
    @rule(is_own=booleans(), is_read=booleans())
    def publish(self, is_own, is_read):
        is_own = is_own and self.key is not None
        self.receive(event(self.key if is_own else "0xstranger", "tick"))
        if is_own and not self.is_over():
            self.delivered.append(self.epoch)
            if is_read:
                self.read()

    @precondition(lambda self: self.key is not None and not self.is_over())
    @rule()
    def become_quiet(self):
        self.feed.resubscribe_after_quiet(self.writer, self.number)
        message = self.next_message()
        assert (message["method"], message["params"]) == ("eth_unsubscribe", [self.key])
        self.receive(reply(message, True))
        self.asked = self.next_message()
        assert self.asked["method"] == "eth_subscribe"
        self.key = None
        self.epoch += 1

    # --- the reader ---

    @rule(chance=RARELY)
    def close(self, chance):
        if chance:
            return
        was_over = self.is_over()
        self.stream.close()
        if not self.has_failed:
            assert list(self.stream) == []
        self.is_closed = True
        self.context.subscriptions.apply_events()
        if not was_over:
            if self.key is not None:
                self.expect_unsubscribe()
            elif self.asked is None:
                self.has_failed = True
                self.is_queued = False

    def read(self):
        while self.delivered:
            epoch = self.delivered.pop(0)
            self.gaps += epoch > self.seen
            self.seen = epoch
            self.stream.get(0)
            assert self.stream.gaps == self.gaps

    # --- the model ---

    def is_over(self):
        return self.is_closed or self.has_failed

    def expect_unsubscribe(self):
        message = self.next_message()
        assert (message["method"], message["params"]) == ("eth_unsubscribe", [self.key])
        self.receive(reply(message, True))
        self.unsubscribed += 1
        self.has_failed = True
        self.asked = None

    def next_message(self):
        self.writer.flush()
        return taken(self.peer)

    def receive(self, message):
        self.router.receive(json.dumps(message), 100)

    def expected_state(self):
        if self.has_failed:
            return SubscriptionState.ENDED
        if self.is_closed:
            return SubscriptionState.CLOSING
        if self.key is not None:
            return SubscriptionState.ACTIVE
        if self.asked is not None:
            return SubscriptionState.ASKING
        return SubscriptionState.NEW if self.is_queued else SubscriptionState.LOST

    @invariant()
    def is_where_the_model_is(self):
        if not hasattr(self, "feed"):
            return
        self.context.subscriptions.apply_events()
        assert self.feed.state is self.expected_state()
        assert self.unsubscribed <= 1
        assert not self.context.queue.messages or self.is_queued
        if self.feed.state is SubscriptionState.ENDED:
            assert has_no_entries(self.client)
            assert self.stream._inbox.ended

    @invariant()
    def the_server_gets_nothing_that_the_model_does_not_expect(self):
        if self.writer is not None:
            self.writer.flush()
            self.peer.sock.setblocking(False)
            try:
                assert self.peer.sock.recv(1) == b""
            except BlockingIOError:
                pass
            self.peer.sock.settimeout(SLACK)

    def teardown(self):
        if self.writer is not None:
            self.lose_the_connection()
        self.context.guard.io_ident = None
        self.client.close()


TestSubscribed = Subscribed.TestCase


# --- events that come late, and streams that are gone ----------------------------------------------------------------


@pytest.fixture
def context():
    """The objects of a client that does not run; the test acts as its I/O thread."""
    client = wsclient.Client("ws://localhost", protocol=JsonRpc())
    context = client._wsclient.context
    context.guard.io_ident = threading.get_ident()
    yield context
    context.guard.io_ident = None
    context.sender.writer = None
    client.close()


def make_feed(context, match=None):
    """A subscription without a stream, as after the stream was garbage-collected."""
    feed = context.make_subscription(ASK, match=match, unsubscribe=None, resume=True)
    context.subscriptions.add(feed)
    return feed


def is_notified(feed):
    """Whether the thread inside ``subscribe()`` would return."""
    return feed.caller.wait(Deadline(0.0))


@pytest.mark.parametrize("late", [
    lambda feed: feed.on_written((1, "key")),
    lambda feed: feed.on_reply("0xa"),
    lambda feed: feed.on_lost(wsclient.ConnectionLost("lost")),
    lambda feed: feed.on_closed(),
    lambda feed: feed.on_failed(OSError("failed")),
    lambda feed: feed.on_finished(None),
    lambda feed: feed.item("message", 7, False),
    lambda feed: feed.complete(None, OSError("failed")),
])  # fmt: skip
def test_an_ended_subscription_ignores_events_that_come_late(context, late):
    feed = make_feed(context)
    feed.make(Deadline(None), None)
    feed.on_closed()
    late(feed)
    assert feed.state is SubscriptionState.ENDED
    assert not feed.has_key
    assert not is_notified(feed)


def test_a_message_for_the_request_of_a_closed_subscription_confirms_it_like_a_reply(context):
    feed = make_feed(context)
    context.table.add(feed.make(Deadline(None), None), timed=False)
    feed.on_written((1, None))
    feed.on_closed()
    assert feed.state is SubscriptionState.CLOSING
    feed.item("message", 7, False)
    assert feed.state is SubscriptionState.ENDED
    assert not context.table.waiting


def test_the_error_of_match_is_raised_by_subscribe_although_its_stream_is_gone(context):
    def match(message):
        raise LookupError("the program's own")

    feed = make_feed(context, match)
    feed.make(Deadline(None), None)
    feed.on_written((1, None))
    assert feed.wants("message") is False
    assert is_notified(feed)
    assert str(feed.caller.error) == "the program's own"


def test_a_subscription_whose_stream_is_gone_is_not_requested_again(context):
    feed = make_feed(context)
    feed.resubscribe(None, 2)  # it needs no writer
    assert feed.state is SubscriptionState.ENDED
    assert feed.request is None
    assert feed not in context.subscriptions.members


@pytest.mark.parametrize(("number", "is_unsubscribed"), [(1, False), (2, True), (None, False)])
def test_the_unsubscribe_message_is_sent_only_on_the_connection_of_the_request(
    context, caplog, number, is_unsubscribed
):
    sock, other = socket.socketpair()
    with sock, other:
        writer = Writer(Transport(sock), context.make_backend(context.table.new_connection(2)))
        context.sender.writer = None if number is None else writer
        context.sender.connection_number = 2
        feed = context.make_subscription(ASK, match=bool, unsubscribe={"method": "stop"}, resume=True)
        request = feed.make(Deadline(None), None)
        feed.on_written((2, None))
        request.put_on(writer.write_progress if number == 2 else WriteProgress(1), 10)
        feed.on_closed()
        sock.close()
        assert bool(other.recv(100)) is is_unsubscribed
    assert feed.state is SubscriptionState.ENDED
    assert not caplog.records


def test_a_subscription_that_is_written_while_it_is_closed_is_unsubscribed(context, monkeypatch):
    sock, other = socket.socketpair()
    with sock, other:
        writer = Writer(Transport(sock), context.make_backend(context.table.new_connection(2)))
        context.sender.writer, context.sender.connection_number = writer, 2
        feed = context.make_subscription(ASK, match=bool, unsubscribe={"method": "stop"}, resume=True)
        request = feed.make(Deadline(None), None)
        context.table.add(request, timed=False)
        context.subscriptions.add(feed)
        remove = type(context.subscriptions).remove

        def write_and_remove(subscriptions, member):
            assert request.payload_for(writer._backend)  # as another thread that writes at this moment
            remove(subscriptions, member)

        monkeypatch.setattr(type(context.subscriptions), "remove", write_and_remove)
        feed.on_closed()
        assert taken(Peer(other))["method"] == "stop"
    assert feed.state is SubscriptionState.ENDED


# --- renewals --------------------------------------------------------------------------------------------------------


@pytest.fixture
def renewed(context):
    """A subscription whose request waits for its reply, its feed on the connection that takes over, and its stream."""
    feed = make_feed(context)
    context.table.add(feed.make(Deadline(0.0), None), timed=False)
    stream = Subscription(
        Inbox(1000, 10**6, "block"), on_gap=None, key=None, reader_closed=feed.reader_closed, check=str, log=context.log
    )
    feed.attach(stream)
    feed.on_written((1, None))
    successor = feed.succeed()
    context.subscriptions.add(successor)
    context.table.add(successor.make(Deadline(0.0), 2), timed=False)
    successor.on_written((2, None))
    return feed, successor, stream


def test_subscribe_ends_in_time_although_no_connection_of_a_renewal_replies(context, renewed):
    feed, _, _ = renewed
    start_call(feed.wait).result(LONG)
    assert isinstance(feed.caller.error, wsclient.RequestTimeout)


def test_a_reply_on_the_new_connection_that_arrives_at_the_timeout_of_subscribe_counts(context, renewed, monkeypatch):
    monkeypatch.setattr(subscription_module, "_REPLY_GRACE", LONG)
    feed, successor, _ = renewed
    context.table.end(successor.request, "ok")  # the I/O thread has the reply, and has not notified the caller yet
    waiting = start_call(feed.wait)
    assert not concurrent.futures.wait([waiting], SHORT).done
    successor.complete("0xb", None)
    waiting.result(LONG)
    assert (feed.caller.value, feed.caller.error) == ("0xb", None)


def test_the_feed_of_a_replaced_connection_ends_once_and_not_before_a_renewal(context, renewed):
    feed, successor, _ = renewed
    feed.on_lost(wsclient.ConnectionLost("lost"))
    assert (feed.state, successor.state) == (SubscriptionState.ENDED, SubscriptionState.ASKING)
    feed.on_lost(wsclient.ConnectionLost("lost"))
    assert successor.state is SubscriptionState.ASKING


def test_a_subscription_that_was_closed_a_moment_ago_is_not_requested_again(context, renewed):
    _, successor, stream = renewed
    request = successor.request
    stream.close()
    context.subscriptions.apply_events()
    successor.resubscribe_after_quiet(None, 2)  # it needs no writer
    assert successor.request is request


def test_a_quiet_subscription_whose_stream_is_gone_is_closed(context):
    feed = make_feed(context)
    feed.make(Deadline(None), None)
    feed.on_written((1, None))
    feed.resubscribe_after_quiet(None, 1)  # it needs no writer
    assert feed.state is SubscriptionState.CLOSING
    assert feed not in context.subscriptions.members
