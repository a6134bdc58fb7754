"""Several requests as one message: their outcomes, and when the message is sent."""

import concurrent.futures
import itertools
import json
import threading
import time

import pytest

import wsclient
from wsclient import JsonRpc, SendQueue
from wsclient._client import operations
from wsclient._requests.batches import BatchResult
from wsclient._requests.requests import Requests
from wsclient._threads.waiting import Deadline, Waiter

from ..support import LONG, SHORT, eventually
from ..support.peers import open_against, start_call

BATCH = [{"method": "a"}, {"method": "b"}]


class Narrow(JsonRpc):
    max_in_flight = 2


def received(peer):
    return json.loads(peer.receive_text())


def answer(peer, *asked):
    peer.send_text(json.dumps([{"id": one["id"], "result": one["method"].upper()} for one in asked]))


# --- the result of a batch: pure ------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_outcomes_are_in_the_order_of_the_requests_and_not_in_the_order_of_their_arrival(order):
    waiter = Waiter()
    result = BatchResult(3, waiter)
    for place in order:
        assert waiter.value is None
        result.add(place, f"to {place}", None)
    assert waiter.value == ["to 0", "to 1", "to 2"]
    assert waiter.error is None


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_first_error_in_request_order_is_raised_together_with_the_other_outcomes(order):
    waiter = Waiter()
    result = BatchResult(3, waiter)
    errors = {1: wsclient.RemoteError(1), 2: wsclient.RemoteError(2)}
    for place in order:
        result.add(place, "fine", errors.get(place))
    assert waiter.error.code == 1
    assert waiter.error.results == ["fine", errors[1], errors[2]]
    assert waiter.error is not errors[1]  # otherwise it would refer to itself


def test_an_unrelated_error_is_raised_as_it_is():
    waiter = Waiter()
    result = BatchResult(1, waiter)
    error = TypeError("encode_request raised it")
    result.add(0, None, error)
    assert type(waiter.error) is TypeError


def test_many_threads_add_to_a_result_and_it_completes_its_waiter_once():
    reported = []

    class Once:
        def complete(self, value, error):
            reported.append(value)

    for _ in range(200):
        result = BatchResult(4, Once())
        gate = threading.Barrier(4)

        def tell(place, gate=gate, result=result):
            gate.wait(LONG)
            result.add(place, place, None)

        threads = [threading.Thread(target=tell, args=(place,)) for place in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
    assert reported == [[0, 1, 2, 3]] * 200


# --- futures ---------------------------------------------------------------------------------------------------------


def test_a_batch_can_be_submitted(raw):
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    future = client.submit(BATCH)
    answer(peer, *reversed(received(peer)))
    assert future.result(LONG) == ["A", "B"]
    client.close(timeout=0)


def test_a_submitted_batch_times_out_by_itself(raw):
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    future = client.submit(BATCH, timeout=1.5)  # one reply has to come in time
    answer(peer, received(peer)[1])
    error = future.exception(LONG)
    assert isinstance(error, wsclient.RequestTimeout)
    assert error.results[1] == "B"
    client.close(timeout=0)


def test_a_submitted_batch_can_be_cancelled_after_a_part_of_it_was_answered(raw):
    client, peer, seen = open_against(raw, protocol=JsonRpc())
    future = client.submit(BATCH)
    first, second = received(peer)
    answer(peer, first)
    eventually(lambda: client.stats.requests_ok == 1)
    assert future.cancel()
    assert concurrent.futures.wait([future], LONG).done == {future}
    answer(peer, second)
    eventually(lambda: seen == [{"id": second["id"], "result": "B"}])
    client.close(timeout=0)


def test_an_answered_batch_cannot_be_cancelled(raw):
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    future = client.submit(BATCH)
    answer(peer, *received(peer))
    assert future.result(LONG) == ["A", "B"]
    assert not future.cancel()
    client.close(timeout=0)


def test_a_cancelled_batch_leaves_the_queue(raw):
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    peer.reset()
    waiting = raw.accept()
    future = client.submit(BATCH)
    assert future.cancel()
    assert client.stats.queue_depth == 0
    client.send("mark")
    waiting.upgrade()
    assert waiting.receive_text() == "mark"
    client.close(timeout=0)


# --- the queue -------------------------------------------------------------------------------------------------------


def test_each_member_of_a_batch_counts_as_a_request_in_flight(raw):
    client, peer, _ = open_against(raw, protocol=Narrow())
    alone = client.submit({"method": "alone"})
    batch = client.submit(BATCH)
    behind = client.submit({"method": "behind"})
    first = received(peer)
    assert first["method"] == "alone"
    peer.sock.settimeout(SHORT)
    with pytest.raises(TimeoutError):
        peer.receive_text()  # the batch has no room, and the message behind it does not overtake it
    peer.sock.settimeout(LONG)
    answer(peer, first)
    asked = received(peer)
    assert [one["method"] for one in asked] == ["a", "b"]
    peer.sock.settimeout(SHORT)
    with pytest.raises(TimeoutError):
        peer.receive_text()
    peer.sock.settimeout(LONG)
    answer(peer, asked[0])
    last = received(peer)
    assert last["method"] == "behind"
    answer(peer, asked[1], last)
    assert [future.result(LONG) for future in (alone, batch, behind)] == ["ALONE", ["A", "B"], "BEHIND"]
    client.close(timeout=0)


def test_a_batch_larger_than_the_limit_of_requests_in_flight_is_refused(raw):
    client, _, _ = open_against(raw, protocol=Narrow())
    with pytest.raises(ValueError, match="max_in_flight is 2"):
        client.request([*BATCH, {"method": "c"}])
    client.close(timeout=0)


def test_a_batch_cut_before_its_last_byte_is_queued_again_and_reports_this_at_its_timeout(raw):
    """It cannot have arrived: at its deadline it has never been sent."""
    client, peer, _ = open_against(raw, protocol=JsonRpc(), compression=None)
    large = [{"method": "a", "params": ["x" * 8_000_000]}, {"method": "b"}]
    future = client.submit(large, timeout=LONG)
    peer.exactly(10)  # its write has begun
    peer.reset()
    raw.accept()  # no response: the client stays offline
    eventually(lambda: client.stats.queue_depth == 1)
    client._wsclient.context.requests.expire(time.monotonic() + LONG)  # as if so much time had passed
    error = future.exception(SHORT)
    assert isinstance(error, wsclient.RequestTimeout)
    assert error.phase == "queued"
    assert client.stats.queue_depth == 0
    client.close(timeout=0)


def test_a_full_queue_drops_a_batch_as_a_whole(raw):
    queue = SendQueue(max_messages=1, overflow="drop_newest")
    client, peer, _ = open_against(raw, protocol=JsonRpc(), send_queue=queue)
    peer.reset()
    raw.accept()
    eventually(lambda: client.state is not wsclient.State.OPEN)
    client.send("takes the room")
    error = client.submit(BATCH).exception(LONG)
    assert isinstance(error, wsclient.SendQueueFull)
    assert [type(one) for one in error.results] == [wsclient.SendQueueFull] * 2
    client.close(timeout=0)


def test_a_reply_that_arrives_at_the_deadline_of_a_batch_is_included(raw):
    """The I/O thread has taken one request and not yet notified the caller, whose timeout ends the other request."""
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    context = client._wsclient.context
    batch = context.requests.make_batch(BATCH, Deadline.after(LONG, time.monotonic()))
    waiter = Waiter()
    context.requests.begin(batch, waiter, timed=True)
    received(peer)
    first, second = batch.members
    assert context.table.end(first, "ok")
    batch.deadline = Deadline.after(0, 0)
    waiting = start_call(lambda: operations.give_up(context, batch, waiter))
    assert not concurrent.futures.wait([waiting], SHORT).done
    first.waiter.complete("A", None)
    waiting.result(LONG)
    assert waiter.error.results[0] == "A"
    assert second.outcome == "timed_out"
    client.close(timeout=0)


@pytest.mark.parametrize("message", [BATCH, {"method": "alone"}])
@pytest.mark.parametrize("call", ["request", "submit"])
def test_a_message_that_never_had_room_times_out_as_queued(raw, message, call):
    client, peer, _ = open_against(raw, protocol=JsonRpc(), send_queue=SendQueue(max_messages=1))
    peer.reset()
    raw.accept()
    eventually(lambda: client.state is not wsclient.State.OPEN)
    client.send("takes the room")
    ask = {"request": client.request, "submit": lambda *args, **options: client.submit(*args, **options).result(LONG)}
    with pytest.raises(wsclient.RequestTimeout) as caught:
        ask[call](message, timeout=SHORT)
    assert caught.value.phase == "queued"
    client.close(timeout=0)


def test_an_interrupt_in_the_cancel_of_a_batch_leaves_no_caller_waiting(raw, monkeypatch):
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    future = client.submit(BATCH)
    received(peer)
    cancel, done = Requests.cancel, []

    def interrupted(requests, request, **options):
        if done:
            raise KeyboardInterrupt
        done.append(request)
        return cancel(requests, request, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Requests, "cancel", interrupted)
        with pytest.raises(KeyboardInterrupt):
            future.cancel()
    assert future.cancelled()
    client.close(timeout=0)


def test_a_batch_cut_after_all_its_requests_timed_out_is_not_queued_again(raw):
    client, peer, _ = open_against(raw, protocol=JsonRpc(), compression=None)
    large = {"method": "a", "params": ["x" * 8_000_000]}
    with pytest.raises(wsclient.RequestTimeout):
        client.request([large, large], timeout=1)
    peer.reset()
    raw.accept()
    eventually(lambda: client.state is not wsclient.State.OPEN)
    assert (client.stats.queue_depth, client.stats.queue_bytes) == (0, 0)
    client.close(timeout=0)
