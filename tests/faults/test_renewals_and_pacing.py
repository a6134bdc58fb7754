"""A renewal while ``rate=`` or ``pause_sending()`` holds messages back, or while a connection is quiet."""

import math
import threading
import time

import pytest

import wsclient
from wsclient import JsonRpc, Renew, SendQueue

from ..support import LONG, SHORT, eventually
from ..support.figures import needs_proc
from ..support.peers import await_processed, cut, event, put, reply, results, start_call, subscribed, taken
from ..support.renewals import answered_close, await_alone, begin_renewal, close_code, open_renewing, renewed


def reconnected(client, peer, raw):
    """Cut the connection; return the peer of the second one, which is open."""
    peer = cut(client, peer, raw)
    eventually(lambda: client.connection is not None and client.connection.number == 2)
    return peer


# --- subscriptions ---------------------------------------------------------------------------------------------------


def test_subscriptions_that_still_waited_for_their_turn_on_the_old_connection_are_requested_on_the_new_one(raw):
    client, old = open_renewing(raw, protocol=JsonRpc())
    subscription = subscribed(client, old, "0xa")
    client.pause_sending(LONG)
    old = reconnected(client, old, raw)  # the request waits for the end of the pause
    new = renewed(client, raw)
    client.pause_sending(0)
    put(new, reply(taken(new), "0xb"), event("0xb", 1))
    assert results(subscription, 1) == [1]
    assert answered_close(old)[0] == 1000  # without a further message
    await_alone(client)
    assert len(client._wsclient.context.subscriptions.members) == 1
    client.close(timeout=0)


def test_requests_of_subscriptions_that_waited_for_a_token_move_to_the_new_connection(raw):
    def set_up(client, session):
        if session.number == 2:
            for _ in range(2):
                session.send("takes a token")

    client, old = open_renewing(raw, protocol=JsonRpc(), send_queue=SendQueue(rate=0.001, burst=2), on_session=set_up)
    first, second = subscribed(client, old, "0xa"), subscribed(client, old, "0xb", {"method": "other"})
    reconnected(client, old, raw)
    new = renewed(client, raw)
    for name in ("0xc", "0xd"):
        put(new, reply(taken(new), name), event(name, name))
    assert results(first, 1) == ["0xc"]
    assert results(second, 1) == ["0xd"]
    client.close(timeout=0)


def test_what_a_pause_held_back_is_written_at_its_end_although_on_session_runs_then(raw):
    def set_up(client, session):
        if session.number == 2:
            session.send("ready")
            session.recv()  # still during the pause
            eventually(lambda: time.monotonic() > end[0])  # the program is busy
            session.send("login")
            session.recv()

    end = []
    client, old = open_renewing(raw, on_session=set_up)
    future, new = begin_renewal(client, raw)
    client.pause_sending(2 * SHORT)
    end.append(time.monotonic() + 2 * SHORT)
    client.send("paused")
    new.upgrade()
    assert new.receive_text() == "ready"
    await_processed(new)
    put(new, "hello")
    assert new.receive_text() == "login"
    assert old.receive_text() == "paused"
    assert not future.done()
    put(new, "welcome")
    assert future.result(LONG) is True
    client.close(timeout=0)


def test_the_old_connection_stays_while_an_answer_to_its_call_waits_for_the_end_of_a_pause(raw):
    client, old = open_renewing(raw, protocol=JsonRpc(), handlers={"add": sum})
    client.pause_sending(LONG)
    put(old, {"jsonrpc": "2.0", "id": 7, "method": "add", "params": [1, 2]})
    eventually(lambda: client.stats.queue_depth == 1)
    renewed(client, raw)
    old.sock.settimeout(SHORT)
    with pytest.raises(TimeoutError):
        old.receive_frame()
    old.sock.settimeout(LONG)
    client.pause_sending(0)
    assert taken(old)["result"] == 3
    assert answered_close(old)[0] == 1000
    client.close(timeout=0)


@needs_proc
def test_a_pause_does_not_keep_the_io_thread_busy_while_on_session_waits(raw):
    client, _ = open_renewing(
        raw, name="busy", on_session=lambda client, session: session.number > 1 and session.recv()
    )
    clock = next(
        time.pthread_getcpuclockid(thread.ident) for thread in threading.enumerate() if thread.name == "busy-io"
    )
    future, new = begin_renewal(client, raw)
    client.pause_sending(LONG / 4)  # its end is the next time at which the thread wakes
    client.send("paused")
    new.upgrade()
    await_processed(new)
    before = time.clock_gettime(clock)
    assert not threading.Event().wait(SHORT)
    assert time.clock_gettime(clock) - before < SHORT / 10
    put(new, "welcome")
    assert future.result(LONG) is True
    client.close(timeout=0)


# --- flush() ---------------------------------------------------------------------------------------------------------


def answer_ping(peer):
    opcode, payload = peer.receive_frame()
    assert opcode == 9
    peer.send_frame(10, payload)


def test_a_flush_before_the_switch_spans_both_connections_although_a_pause_outlasts_the_overlap(raw):
    client, old = open_renewing(raw, ping_interval=LONG, renew=Renew(overlap=LONG))
    client.send("written")
    assert old.receive_text() == "written"
    client.pause_sending(LONG)
    client.send("paused")
    flushing = start_call(lambda: client.flush(LONG))
    eventually(lambda: client._wsclient.context.facts.awaited_marks)
    new = renewed(client, raw)
    answer_ping(old)  # it is sent behind "written", and not behind "paused"
    answered_close(old)
    await_alone(client)
    client.pause_sending(0)
    assert new.receive_text() == "paused"
    answer_ping(new)
    assert flushing.result(LONG) is None
    client.close(timeout=0)


def test_a_flush_before_the_switch_fails_if_the_old_connection_proves_nothing(raw):
    client, old = open_renewing(raw, ping_interval=LONG, renew=Renew(overlap=SHORT))
    client.pause_sending(LONG)
    client.send("paused")
    flushing = start_call(lambda: client.flush(LONG))
    eventually(lambda: client._wsclient.context.facts.awaited_marks)
    new = renewed(client, raw)
    close_code(old)
    old.reset()  # neither a pong nor an answer to the close frame
    await_alone(client)
    client.pause_sending(0)
    assert new.receive_text() == "paused"
    answer_ping(new)
    with pytest.raises(wsclient.ConnectionLost) as caught:
        flushing.result(LONG)
    assert caught.value.disconnect.initiator == "renewal"
    client.close(timeout=0)


def test_a_flush_during_the_overlap_proves_the_old_connection_at_once_although_the_queue_is_paused(raw):
    client, old = open_renewing(raw, ping_interval=LONG, renew=Renew(overlap=LONG))
    client.submit({"method": "keeps the old connection"})
    asked = taken(old)
    new = renewed(client, raw)
    client.pause_sending(LONG)
    client.send("paused")
    flushing = start_call(lambda: client.flush(LONG))
    answer_ping(old)
    put(old, {"id": asked["id"]})
    answered_close(old)
    await_alone(client)
    client.pause_sending(0)
    assert new.receive_text() == "paused"
    answer_ping(new)
    assert flushing.result(LONG) is None
    client.close(timeout=0)


def test_a_flush_in_a_hook_of_the_old_connection_waits_for_what_the_hook_has_sent_there(raw):
    go_on, flushed = threading.Event(), threading.Event()

    def on_open(client):
        client.submit({"method": "keeps the old connection"})
        assert go_on.wait(LONG)
        client.send("late")
        client.flush(LONG)
        flushed.set()

    client, old = open_renewing(raw, ping_interval=LONG, on_open=on_open, on_renew=lambda client, reason: None)
    taken(old)
    new = renewed(client, raw)
    client.pause_sending(LONG)
    go_on.set()
    eventually(lambda: len(client._wsclient.context.queue.entries) == 3)  # the message and both marks
    client.pause_sending(0)
    answer_ping(new)
    assert old.receive_text() == "late"
    assert not flushed.is_set()
    answer_ping(old)
    assert flushed.wait(LONG)
    client.close(timeout=0)


# --- quiet_after= ----------------------------------------------------------------------------------------------------


def test_the_end_of_the_old_connection_does_not_stop_the_clocks_while_reading_is_paused(raw):
    client, old = open_renewing(raw, protocol=JsonRpc(), receive_queue=wsclient.ReceiveQueue(max_messages=1))
    subscription = subscribed(client, old, "0xa", quiet_after=LONG)
    stream = client.listen()
    asked = client.submit({"method": "keeps the old connection"})
    taken(old)
    new = renewed(client, raw)
    put(new, reply(taken(new), "0xb"))
    watch = client._wsclient.context.quiet
    eventually(lambda: math.isfinite(watch.next_at))
    asked.cancel()  # otherwise its reply is awaited, and reading does not pause
    put(new, {"n": 1}, {"n": 2}, {"n": 3})
    eventually(lambda: watch.next_at == -math.inf)
    old.reset()
    await_alone(client)
    assert [stream.get(LONG)["n"] for _ in range(3)] == [1, 2, 3]
    eventually(lambda: math.isfinite(watch.next_at))
    assert subscription.gaps == 0
    client.close(timeout=0)
