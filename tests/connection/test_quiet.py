"""``quiet=``: a connection whose peer answers pings, but that brings no messages any more."""

import contextlib
import functools
import json
import logging
import math
import threading

import hypothesis
import hypothesis.strategies as st
import pytest

import wsclient
from wsclient import Fifo, GraphQLTransportWs, Heartbeat, JsonId, JsonRpc, Quiet, Reconnect, Request, State
from wsclient._connection.quiet import QuietClock
from wsclient._receiving.router import Router
from wsclient._sending.message import WriteProgress
from wsclient._threads.waiting import Deadline
from wsclient.protocols import End, Event, Failure, Item, Reply
from wsclient.testing import Replay

from ..support import LONG, SHORT, RawServer, Server, eventually
from ..support.peers import (
    SOON,
    await_processed,
    event,
    open_against,
    open_pair,
    put,
    reply,
    start_call,
    subscribed,
    subscribing,
    taken,
)
from ..support.raw import frame

# --- the clock, with the time of the test ----------------------------------------------------------------------------

AFTER = 10


def due(clock, now):
    """Whether the clock is due, as the I/O thread finds out."""
    return now >= clock.next_at and clock.check_due(now, True)


class Model:
    """Counts ticks: those in which the clock runs, since the last message."""

    def __init__(self):
        self.silence = 0
        self.is_paused = False

    def tick(self):
        self.silence += not self.is_paused


@hypothesis.given(
    steps=st.lists(st.tuples(st.sampled_from(["heard", "pause", "resume", "nothing"]), st.integers(0, 2 * AFTER)))
)
def test_the_clock_is_due_when_it_has_run_for_so_long_since_the_last_message(steps):
    clock, model, now = QuietClock(AFTER), Model(), 0
    clock.start(now)
    for step, ticks in steps:
        if step == "heard":
            clock.heard(now)
            model.silence = 0
        elif step == "pause":
            clock.pause(now)
            model.is_paused = True
        elif step == "resume":
            clock.resume(now)
            model.is_paused = False
        for _ in range(ticks):
            assert due(clock, now) == (model.silence >= AFTER and not model.is_paused)
            assert clock.silence(now) == model.silence
            now += 1
            model.tick()


@pytest.mark.parametrize(
    ("steps", "next_at"),
    [
        ((), math.inf),
        ((("start", 5),), 15),
        ((("heard", 5),), math.inf),  # it does not run
        ((("start", 5), ("heard", 8)), 18),
        ((("start", 5), ("stop",)), math.inf),
        ((("start", 5), ("stop",), ("heard", 8), ("resume", 9)), math.inf),
        ((("start", 5), ("pause", 7)), math.inf),
        ((("start", 5), ("pause", 7), ("resume", 100)), 108),
        ((("start", 5), ("pause", 7), ("pause", 9), ("resume", 100), ("resume", 200)), 108),
        ((("start", 5), ("pause", 7), ("heard", 9), ("resume", 100)), 110),
        ((("start", 5), ("pause", 7), ("stop",), ("start", 50)), 60),
        ((("start", 5), ("wait_again", 15)), 25),
        ((("start", 5), ("wait_again", 15), ("pause", 20), ("resume", 30)), 35),
        ((("start", 5), ("wait_again", 15), ("heard", 16)), 26),
        ((("start", 5), ("wait_for_message",), ("pause", 6), ("wait_again", 7)), math.inf),
        ((("start", 5), ("wait_for_message",), ("pause", 6), ("wait_again", 7), ("resume", 9)), 19),
        ((("start", 5), ("wait_for_message",)), math.inf),
        ((("start", 5), ("wait_for_message",), ("heard", 40)), 50),
        ((("start", 5), ("wait_for_message",), ("pause", 6), ("resume", 7)), math.inf),
        ((("start", 5), ("wait_for_message",), ("pause", 6), ("heard", 7), ("resume", 8)), 18),
    ],
)
def test_the_clock_knows_when_it_is_due(steps, next_at):
    clock = QuietClock(AFTER)
    for name, *arguments in steps:
        getattr(clock, name)(*arguments)
    assert clock.next_at == next_at
    assert clock.silence(1000) > 0 or next_at == math.inf


def test_a_time_in_which_no_messages_are_expected_begins_again_and_once_more_at_its_end():
    clock = QuietClock(AFTER)
    clock.start(0)
    results = []
    for is_active in (False, False, True, True):
        now = clock.next_at
        results.append((now, clock.check_due(now, is_active)))
    assert results == [(10, False), (20, False), (30, False), (40, True)]
    assert clock.silence(40) == 10
    assert not clock.check_due(clock.next_at - 1, True)


def test_the_silence_goes_on_while_the_clock_waits_again():
    clock = QuietClock(AFTER)
    clock.start(0)
    clock.wait_again(10)
    assert clock.silence(20) == 20
    assert not clock.has_heard
    clock.heard(20)
    assert (clock.silence(21), clock.has_heard) == (1, True)


# --- a quiet connection is replaced ----------------------------------------------------------------------------------

PROTOCOLS = [JsonId, JsonRpc, Fifo, wsclient.Protocol]


def open_quiet(raw, **options):
    """Like ``open_against``, with a list of the arguments of ``on_quiet``."""
    quiets = []
    client, peer, seen = open_against(raw, on_quiet=lambda _, seconds: quiets.append(seconds), **options)
    return client, peer, seen, quiets


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_connection_whose_peer_only_answers_pings_is_replaced(raw, protocol):
    gate = threading.Event()
    client, peer, _, quiets = open_quiet(raw, protocol=protocol(), quiet=Quiet(SHORT, active=gate.is_set))
    await_processed(peer)
    gate.set()
    assert peer.receive_frame()[:1] == (8,)
    peer.finish()
    raw.accept().upgrade()
    eventually(lambda: client.stats.connections == 2)
    last = client.last_disconnect
    assert (last.initiator, last.code) == ("quiet", 1000)
    assert last.initiator is wsclient.Initiator.QUIET
    assert last.reason.startswith("no message that counts came for ")
    assert last.uptime >= SHORT
    eventually(lambda: quiets)
    assert SHORT <= quiets[0] <= last.uptime
    client.close(timeout=0)


def test_the_server_receives_a_close_frame_with_the_reason_and_requests_fail(raw):
    gate = threading.Event()
    client, peer, _, _ = open_quiet(raw, quiet=Quiet(SHORT, active=gate.is_set))
    future = client.submit({"op": "ask"})
    taken(peer)
    gate.set()
    opcode, payload = peer.receive_frame()
    assert (opcode, payload[:2]) == (8, (1000).to_bytes(2, "big"))
    assert payload[2:].startswith(b"no message that counts came")
    error = future.exception(LONG)
    assert (type(error), error.sent, error.disconnect.initiator) == (wsclient.ConnectionLost, True, "quiet")
    client.close(timeout=0)


def test_a_peer_that_does_not_answer_the_close_frame_is_replaced_soon(raw):
    client, _, _, _ = open_quiet(raw, quiet=SHORT)
    raw.accept().upgrade()
    eventually(lambda: client.stats.connections == 2)
    client.close(timeout=0)


def test_a_message_that_counts_begins_the_time_again(raw):
    client, peer, _, _ = open_quiet(raw, quiet=LONG)
    clock = client._wsclient.context.quiet._clock
    opened = clock.next_at
    await_processed(peer)  # pings and pongs
    assert clock.next_at == opened
    assert not clock.has_heard
    put(peer, {"event": 1})
    await_processed(peer)
    assert clock.next_at > opened
    assert client._wsclient.context.quiet.next_at <= clock.next_at
    client.close(timeout=0)


def test_each_connection_has_its_own_time(raw):
    client, peer, _, quiets = open_quiet(raw, quiet=SHORT)
    for _ in range(2):
        assert peer.receive_frame()[0] == 8
        peer.finish()
        peer = raw.accept().upgrade()
    eventually(lambda: client.stats.connections == 3)
    eventually(lambda: len(quiets) >= 2)
    assert all(seconds >= SHORT for seconds in quiets)
    client.close(timeout=0)


def test_without_on_session_finished_nothing_is_quiet(raw):
    """The clock does not run before the connection is open."""
    released = threading.Event()
    quiets = []

    def hang(client, session):
        session.send("set up")
        with pytest.raises(TimeoutError):
            session.recv(timeout=3 * SHORT)
        released.set()

    client = wsclient.Client(
        raw.url, on_session=hang, quiet=SHORT, on_quiet=lambda _, seconds: quiets.append(released.is_set()),
        reconnect=SOON, ping_interval=None,
    )  # fmt: skip
    starting = start_call(client.start)
    peer = raw.accept().upgrade()
    assert peer.receive_text() == "set up"
    starting.result(LONG)
    eventually(lambda: quiets)
    assert quiets[0] is True
    client.close(timeout=0)


def test_a_client_that_waits_for_its_next_connection_is_not_quiet(raw):
    client, _, _, quiets = open_quiet(raw, quiet=SHORT, reconnect=Reconnect())
    raw.stop()
    eventually(lambda: client.state is State.WAITING)
    before = len(quiets)
    eventually(lambda: client.stats.failed_attempts >= 1)
    assert len(quiets) == before
    client.close(timeout=0)


@pytest.mark.parametrize("action", ["reconnect", "report"])
def test_a_hook_that_raises_or_blocks_does_not_delay_the_replacement(raw, action):
    errors, go_on = [], threading.Event()

    def broken(client, seconds):
        if action == "reconnect":
            assert go_on.wait(LONG)
        raise LookupError("no pager")

    client, _ = open_pair(
        raw, quiet=Quiet(SHORT, action=action), on_quiet=broken, on_error=lambda _, error: errors.append(error)
    )
    if action == "reconnect":
        raw.accept().upgrade()
        eventually(lambda: client.stats.connections >= 2)
        go_on.set()
    eventually(lambda: errors)
    assert isinstance(errors[0], LookupError)
    client.close(timeout=0)


def test_one_function_replaces_the_connection_and_it_is_called_again_as_long_as_nothing_comes(raw):
    """A renewal sets another function, which opens the next connection while this one serves."""
    gate, reasons = threading.Event(), []
    client, _, _, quiets = open_quiet(raw, quiet=Quiet(SHORT / 4, active=gate.is_set))
    client._wsclient.context.quiet.replace = reasons.append
    gate.set()
    eventually(lambda: len(reasons) >= 3 and len(quiets) >= 3)
    assert all(reason.startswith("no message that counts came for ") for reason in reasons[:3])
    assert quiets == sorted(quiets)
    assert (client.state, client.stats.connections) == (State.OPEN, 1)
    client.close(timeout=0)


def test_close_and_drain_are_not_delayed_by_a_quiet_connection(mute_server):
    client = wsclient.connect(mute_server.url, quiet=Quiet(SHORT / 8, action="report"), ping_interval=None)
    client.send("last")
    assert client.drain(LONG)
    assert client.state is State.CLOSED
    mute_server.wait_for(1)
    assert client.last_disconnect.initiator == "local"


def test_without_reconnect_a_quiet_connection_ends_the_client_with_its_cause(raw):
    client, peer, _, _ = open_quiet(raw, quiet=SHORT, reconnect=None)
    assert peer.receive_frame()[0] == 8
    peer.finish()
    assert client.wait_closed(LONG)
    assert client.state is State.FAILED
    assert client.last_error.disconnect.initiator == "quiet"


# --- report only -----------------------------------------------------------------------------------------------------


def test_the_action_report_calls_the_hook_once_until_the_next_message(raw):
    client, peer, _, quiets = open_quiet(raw, quiet=Quiet(SHORT, action="report"))
    for count in (1, 2):
        eventually(lambda count=count: len(quiets) == count)
        assert not threading.Event().wait(2 * SHORT)
        assert len(quiets) == count
        put(peer, {"event": count})
    assert client.stats.connections == 1
    assert client.state is State.OPEN
    client.close(timeout=0)


# --- messages that count ---------------------------------------------------------------------------------------------


def noting(raw, *, protocol=None, **options):
    """A client that is not quiet; ``noted`` has each message about which ``counts`` was asked."""
    noted = []
    quiet = Quiet(LONG, counts=lambda message: noted.append(message) or True)
    client, peer, _ = open_against(raw, protocol=protocol, quiet=quiet, **options)
    return client, peer, noted


def test_text_binary_and_json_count_once_and_control_frames_never(raw):
    client, peer, noted = noting(raw)
    peer.send_frame(9, b"ping")
    peer.send_frame(10, b"pong")
    peer.send_text("text")
    peer.send_frame(2, b"binary")
    put(peer, {"event": 1})
    assert peer.receive_frame() == (10, b"ping")
    await_processed(peer)
    assert noted == ["text", b"binary", {"event": 1}]
    client.close(timeout=0)


def test_replies_count_once_as_whole_messages_for_any_kind_of_wait(raw):
    client, peer, noted = noting(raw, protocol=JsonId(result="result", error="error"))
    futures = [client.submit({"n": 1}), client.submit({"n": 2}), client.submit({"n": 3}, until=lambda reply: reply > 1)]
    asked = [taken(peer) for _ in futures]
    messages = [
        {"id": asked[0]["id"], "result": "one"},
        {"id": asked[1]["id"], "error": "no"},
        {"id": asked[2]["id"], "result": 1},
        {"id": asked[2]["id"], "result": 2},
        {"id": asked[0]["id"], "result": "late"},
        {"id": 12345, "result": "unknown"},
    ]
    put(peer, *messages)
    assert futures[0].result(LONG) == "one"
    assert futures[2].result(LONG) == 2
    await_processed(peer)
    assert noted == messages
    client.close(timeout=0)


def test_a_reply_that_match_finds_and_a_late_one_count_once(raw):
    client, peer, noted = noting(raw)
    future = client.submit({"ask": 1}, match=lambda message: message == {"answer": 1})
    taken(peer)
    put(peer, {"answer": 1})
    assert future.result(LONG) == {"answer": 1}
    given_up = client.submit({"ask": 2})
    late = {"id": taken(peer)["id"]}
    assert given_up.cancel()
    put(peer, late)
    await_processed(peer)
    assert noted == [{"answer": 1}, late]
    client.close(timeout=0)


def test_events_calls_and_messages_of_subscriptions_count_once(raw):
    client, peer, noted = noting(raw, protocol=JsonRpc())
    client.on("topic", lambda message: None)
    client.handle("answered", lambda params: "yes")
    subscription = subscribed(client, peer, "0xa")
    noted.clear()
    calls = [{"jsonrpc": "2.0", "id": 1, "method": method} for method in ("answered", "refused")]
    messages = [{"jsonrpc": "2.0", "method": "topic"}, *calls, event("0xa", 1), event("0xunknown", 2)]
    put(peer, *messages)
    assert subscription.get(LONG) == event("0xa", 1)
    assert {taken(peer)["id"], taken(peer)["id"]} == {1}
    await_processed(peer)
    assert [getattr(message, "method", message) for message in noted] == messages
    client.close(timeout=0)


def test_the_reply_to_a_subscription_and_each_message_of_a_batch_count(raw):
    client, peer, noted = noting(raw, protocol=JsonRpc())
    future = subscribing(client)
    asked = taken(peer)
    batch = [reply(asked, "0xa"), event("0xa", 1)]
    put(peer, batch)
    assert future.result(LONG).get(LONG) == event("0xa", 1)
    await_processed(peer)
    assert noted == batch
    client.close(timeout=0)


def test_replies_in_order_count_once(raw):
    client, peer, noted = noting(raw, protocol=Fifo())
    peer.send_text("event")
    await_processed(peer)
    future = client.submit("ask")
    assert peer.receive_text() == "ask"
    peer.send_text("answer")
    assert future.result(LONG) == "answer"
    await_processed(peer)
    assert noted == ["event", "answer"]
    client.close(timeout=0)


class Strange(JsonId):
    """``null`` has no meaning, ``broken`` cannot be decoded, ``several`` are two events."""

    def decode(self, payload):
        if payload == "null":
            return None
        if payload == "broken":
            raise ValueError("broken")
        if payload == "several":
            return (Event(word) for word in ("one", "two"))
        return super().decode(payload)


def test_what_has_no_meaning_or_cannot_be_decoded_does_not_count(raw):
    client, peer, noted = noting(raw, protocol=Strange())
    for text in ("null", "broken", "several"):
        peer.send_text(text)
    await_processed(peer)
    assert noted == ["one", "two"]
    client.close(timeout=0)


def test_the_messages_of_a_graphql_server_count_except_its_own_pings(raw):
    noted = []
    client = wsclient.Client(
        raw.url, protocol=GraphQLTransportWs(), ping_interval=None,
        quiet=Quiet(LONG, counts=lambda message: noted.append(message) or True),
    )  # fmt: skip
    starting = start_call(client.start)
    peer = raw.accept().upgrade("Sec-WebSocket-Protocol: graphql-transport-ws")
    taken(peer)
    put(peer, {"type": "connection_ack"})
    starting.result(LONG)
    subscription = client.subscribe({"query": "subscription { price }"})
    id = taken(peer)["id"]
    first = {"id": id, "type": "next", "payload": {"data": 1}}
    put(peer, {"type": "ping"}, {"type": "pong"}, first)
    assert taken(peer) == {"type": "pong"}
    assert subscription.get(LONG) == {"data": 1}
    put(peer, {"id": id, "type": "complete"})  # of it, the protocol passes on only that it ends the operation
    await_processed(peer)
    assert noted == [first]
    client.close(timeout=0)


@pytest.mark.parametrize(
    ("protocol", "message", "answer"),
    [
        (JsonId, {"op": "beat"}, lambda beat: {"id": beat["id"]}),
        (JsonId, {"method": "beat"}, lambda beat: beat),  # an echo server
        (JsonRpc, {"method": "beat"}, lambda beat: {"jsonrpc": "2.0", "id": beat["id"], "result": 1}),
        (functools.partial(JsonId, final=lambda asked, reply: True), {"op": "beat"}, lambda beat: {"id": beat["id"]}),
        (Fifo, {"op": "beat"}, lambda beat: {"op": "answer"}),
    ],
)
@pytest.mark.parametrize("by", ["option", "protocol"])
def test_the_answers_to_heartbeats_never_count(raw, protocol, message, answer, by):
    one, options = protocol(), {}
    if by == "option":
        options["heartbeat"] = Heartbeat(Request(message), SHORT / 10)
    else:
        one.heartbeat = (SHORT / 10, lambda: Request(message))
    client, peer, noted = noting(raw, protocol=one, **options)
    client.handle("beat", lambda params: None)
    for _ in range(3):
        put(peer, answer(taken(peer)))
    await_answered(peer)
    assert noted == []
    client.close(timeout=0)


def await_answered(peer):
    """Like ``await_processed``, among heartbeats."""
    peer.send_frame(9, b"behind it")
    while peer.receive_frame() != (10, b"behind it"):
        pass


def test_what_comes_during_the_setup_counts_only_if_it_is_delivered_afterwards(raw):
    noted = []

    def set_up(client, session):
        session.request({"op": "login"})
        session.recv(LONG)

    client = wsclient.Client(
        raw.url, on_session=set_up, ping_interval=None, quiet=Quiet(LONG, counts=lambda message: noted.append(message))
    )
    starting = start_call(client.start)
    peer = raw.accept().upgrade()
    id = taken(peer)["id"]
    put(peer, {"event": "received"}, {"event": "deferred"}, {"id": 99}, {"id": id, "result": "in"})
    starting.result(LONG)
    await_processed(peer)
    assert noted == [{"event": "deferred"}, {"id": 99}]
    client.close(timeout=0)


def test_early_calls_count_when_they_are_processed(raw):
    noted = []
    client = wsclient.Client(
        raw.url, protocol=JsonRpc(), on_session=lambda client, session: session.recv(LONG), ping_interval=None,
        handlers={"ask": lambda params: "yes"}, quiet=Quiet(LONG, counts=lambda call: noted.append(call["method"])),
    )  # fmt: skip
    starting = start_call(client.start)
    peer = raw.accept().upgrade()
    put(peer, {"jsonrpc": "2.0", "id": 1, "method": "ask"}, {"jsonrpc": "2.0", "method": "go on"})
    starting.result(LONG)
    assert taken(peer)["result"] == "yes"
    assert noted == ["ask"]
    client.close(timeout=0)


def test_messages_that_do_not_count_do_not_keep_the_connection(raw):
    gate = threading.Event()
    client, peer, seen, _ = open_quiet(
        raw, quiet=Quiet(SHORT, counts=lambda message: message["type"] == "trade", active=gate.is_set)
    )
    put(peer, {"type": "status"})
    await_processed(peer)
    gate.set()
    assert peer.receive_frame()[0] == 8
    eventually(lambda: seen)
    assert seen == [{"type": "status"}]  # it is delivered as usual
    client.close(timeout=0)


# --- times in which no messages are expected, and paused reading -----------------------------------------------------


def test_nothing_is_quiet_while_no_messages_are_expected(raw):
    calls, quiets = [], []

    def is_open():
        calls.append(len(quiets))
        return len(calls) > 3

    client, peer, _ = open_against(
        raw,
        quiet=Quiet(SHORT / 4, active=is_open, action="report"),
        on_quiet=lambda _, seconds: quiets.append(seconds),
    )
    eventually(lambda: quiets)
    assert calls[:5] == [0] * 5
    assert peer.sock  # the connection is still there
    assert client.stats.connections == 1
    client.close(timeout=0)


def open_paused(raw):
    """A client that does not read until the event ``go_on`` is set; and when its clock was due before that."""
    entered, go_on = threading.Event(), threading.Event()

    def on_message(client, message):
        entered.set()
        assert go_on.wait(LONG)

    client, peer = open_pair(
        raw, on_message=on_message, ping_interval=None, quiet=LONG,
        receive_queue=wsclient.ReceiveQueue(max_messages=1),
    )  # fmt: skip
    watch = client._wsclient.context.quiet
    due_at = watch.next_at
    put(peer, {"n": 1})
    assert entered.wait(LONG)
    put(peer, {"n": 2})
    eventually(lambda: watch.next_at == -math.inf)
    return client, watch, go_on, due_at


def test_the_clock_stands_still_while_reading_is_paused(raw, monkeypatch):
    monkeypatch.setattr("wsclient._connection.connection._PAUSED_CHECK", 0.01)  # it is checked many times in the pause
    client, watch, go_on, opened = open_paused(raw)
    assert not threading.Event().wait(SHORT)  # the pause
    assert watch.next_at == -math.inf
    go_on.set()
    eventually(lambda: watch.next_at != -math.inf)
    assert watch.next_at >= opened + SHORT
    client.close(timeout=0)


def test_a_connection_that_ends_while_reading_is_paused_leaves_no_pause(raw):
    client, watch, go_on, _ = open_paused(raw)
    client.reconnect()
    raw.accept().upgrade()
    go_on.set()
    eventually(lambda: client.stats.connections == 2 and math.isfinite(watch.next_at))
    client.close(timeout=0)


# --- functions that raise --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [LookupError("no such type"), SystemExit("exit")])
def test_counts_that_raises_is_logged_once_and_taken_as_true(raw, error, caplog):
    errors = []

    def broken(message):
        raise error

    client, peer, seen = open_against(
        raw, quiet=Quiet(LONG, counts=broken), on_error=lambda _, error: errors.append(error)
    )
    put(peer, {"n": 1}, {"n": 2}, {"n": 3})
    eventually(lambda: len(seen) == 3)
    assert client._wsclient.context.quiet._clock.has_heard
    client.close(timeout=0)
    assert errors == [error]
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "Quiet.counts raised" in record.message
    assert record.exc_info[1] is error


def test_active_that_raises_is_logged_once_and_taken_as_true(raw, caplog):
    def broken():
        raise LookupError("no calendar")

    client, _, _, quiets = open_quiet(raw, quiet=Quiet(SHORT / 4, active=broken))
    raw.accept().upgrade()
    raw.accept()
    eventually(lambda: len(quiets) >= 2)
    client.close(timeout=0)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "Quiet.active raised LookupError; this counts as True" in record.message


# --- back-off --------------------------------------------------------------------------------------------------------


def attempts_of(script, **options):
    """The numbers of the attempts with which the delays before three further connections were calculated."""
    numbers = []

    def wait(state):
        numbers.append(state.attempt_number)
        return 0.0

    reconnect = Reconnect(wait=wait, min_uptime=0.0)
    with RawServer(script) as raw:
        client = wsclient.connect(raw.url, reconnect=reconnect, ping_interval=None, **options)
        eventually(lambda: client.stats.connections > 3)
        client.close(timeout=0)
    return numbers[:3]


def says_nothing(peer, **options):
    peer.upgrade(**options)
    with contextlib.suppress(OSError):  # close(timeout=0) resets the last connection
        peer.receive_frame()
        peer.finish()


def hangs_up(peer):
    with contextlib.suppress(OSError):  # close(timeout=0) resets the last connection
        peer.upgrade().finish()


def greets(peer):
    says_nothing(peer, then=frame(1, b"hello"))


def test_connections_that_bring_nothing_are_failed_attempts_for_the_back_off():
    assert attempts_of(says_nothing, quiet=SHORT / 8) == [1, 2, 3]


@pytest.mark.parametrize("meaning", [End(5), End(5, 1), Item(5, 1), Failure(5, LookupError("no")), Reply(5, None)])
def test_without_counts_each_answer_counts_also_an_end_without_a_message(meaning):
    context = wsclient.Client("ws://localhost", quiet=30)._wsclient.context
    clock = context.quiet.make_clock()
    router = context.make_router(None, context.table.new_connection(1), clock=clock)
    router.release()
    router._dispatch(meaning, 1)
    assert clock.has_heard


def test_a_late_reply_in_order_counts_once():
    noted = []
    context = wsclient.Client(
        "ws://localhost", protocol=Fifo(), quiet=Quiet(30, counts=lambda message: noted.append(message) or True)
    )._wsclient.context
    written = context.table.new_connection(1)
    router = context.make_router(None, written, clock=context.quiet.make_clock())
    router.release()
    request = context.requests.make("ask", Deadline(None))
    context.table.add(request, timed=False)
    assert request.payload_for(context.make_backend(written)) is not None
    progress = WriteProgress(1)
    request.put_on(progress, 0)
    context.requests.time_out(request)
    router.receive("late", 4)
    assert noted == ["late"]
    assert context.counters.unmatched_replies == 1


def test_connections_that_the_server_ends_without_a_message_are_failed_attempts_too():
    assert attempts_of(hangs_up, quiet=LONG) == [1, 2, 3]
    assert attempts_of(hangs_up) == [1, 1, 1]


def test_a_connection_that_brought_a_message_begins_the_count_again():
    assert attempts_of(greets, quiet=SHORT / 8) == [1, 1, 1]
    assert attempts_of(greets, quiet=Quiet(SHORT / 8, counts=lambda message: message != "hello")) == [1, 2, 3]


# --- TLS, recordings, cost -------------------------------------------------------------------------------------------


def test_it_holds_over_tls_and_a_recording_of_it_can_be_replayed(tmp_path, server_tls, trusting):
    path = tmp_path / "session.jsonl"

    def script(url, **options):
        quiets = []
        with wsclient.connect(
            url, quiet=SHORT, reconnect=SOON, on_quiet=lambda _, seconds: quiets.append(seconds), **options
        ) as client:
            answer = client.request({"method": "add", "params": [1, 2]}, timeout=LONG, idempotent=True)["result"]
            eventually(lambda: client.stats.connections >= 2 and quiets)
            return answer, client.last_disconnect.initiator

    with Server(tls=server_tls) as server:
        assert script(server.url, record=path, ssl_context=trusting) == (3, "quiet")
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert next(line["initiator"] for line in lines if "initiator" in line) == "quiet"
    with Replay(path, strict=False) as replay:
        assert script(replay.url) == (3, "quiet")


def test_a_client_without_the_option_has_a_plain_router_and_no_clock(server):
    with wsclient.connect(server.url) as client:
        context = client._wsclient.context
        router = client._wsclient.lifecycle._supervisor._served.present.router
        assert type(router) is Router
        assert context.quiet.next_at == math.inf
        assert context.quiet._clock is None


# --- checks at construction ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Quiet(0), ValueError, "after must be a finite number of seconds above 0"),
        (lambda: Quiet(None), TypeError, "after must be a number of seconds"),
        (lambda: Quiet(5, counts=5), TypeError, "counts must be a function or None"),
        (lambda: Quiet(5, active=True), TypeError, "active must be a function or None"),
        (lambda: Quiet(5, action="renew"), ValueError, "action must be one of 'reconnect', 'report'"),
        (lambda: Quiet(5, bool), TypeError, "positional"),
        (lambda: wsclient.Client("ws://localhost", quiet=0), ValueError, "^quiet must be a finite number of seconds"),
        (lambda: wsclient.Client("ws://localhost", quiet=True), TypeError, "^quiet must be a number of seconds"),
        (lambda: wsclient.Client("ws://localhost", quiet="30"), TypeError, "^quiet must be a number of seconds"),
    ],
)
def test_the_option_is_checked_at_construction(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_seconds_are_the_same_as_a_quiet_with_its_defaults():
    clients = [wsclient.Client("ws://localhost", quiet=quiet) for quiet in (30, Quiet(30.0))]
    assert [client._wsclient.context.settings.quiet for client in clients] == [Quiet(30)] * 2
