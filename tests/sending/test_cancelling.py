"""``Delivery.cancel()`` and ``client.clear_queue()``: messages that are removed from the queue are not sent."""

import itertools
import threading

import pytest
import tenacity

import wsclient
from wsclient import State
from wsclient._requests.request import ENDED
from wsclient._threads.sections import this_thread

from ..support import LONG, Server, eventually
from ..support.peers import open_pair, start_call, taken
from ..support.strikes import strikes
from ..support.threads import on_thread

URL = "ws://127.0.0.1:9/"
NEVER = wsclient.Reconnect(wait=lambda state: 3600.0)
BIG = 16 * 2**20
"""More bytes than the socket buffers of both ends hold."""


@pytest.fixture
def waiting(server, proxy):
    """A client that has lost its connection and does not connect again."""
    client = wsclient.connect(proxy.url, reconnect=NEVER)
    proxy.cut()
    eventually(lambda: client.state is State.WAITING)
    yield client
    client.close()


@pytest.fixture
def unstarted():
    """A client that is not started, so that its messages stay queued."""
    client = wsclient.Client(URL)
    yield client
    client.close()


# --- cancel() --------------------------------------------------------------------------------------------------------


def test_a_cancelled_message_is_not_sent_and_the_others_keep_their_order(mute_server):
    client = wsclient.Client(mute_server.url)
    first, second, third = [client.send(text) for text in ("first", "second", "third")]
    assert second.cancel()
    assert second.state == "cancelled"
    assert repr(second) == "<Delivery cancelled>"
    assert client.stats.queue_depth == 2
    with client:
        assert third.wait(LONG)
        assert not second.wait(LONG)
        assert second.cancel()
        assert mute_server.wait_for(2) == ["first", "third"]
    assert (first.state, second.state) == ("confirmed", "cancelled")


def test_a_written_message_can_not_be_cancelled(mute_server):
    with wsclient.connect(mute_server.url) as client:
        delivery = client.send("x")
        eventually(lambda: delivery.state == "written")
        assert not delivery.cancel()
        assert delivery.wait(LONG)
        assert not delivery.cancel()
        assert delivery.state == "confirmed"
        assert mute_server.wait_for(1) == ["x"]


def test_a_message_that_is_being_written_can_be_cancelled_once_it_is_back_in_the_queue(raw):
    client, peer = open_pair(raw, reconnect=NEVER)
    delivery = client.send(bytes(BIG))
    eventually(lambda: client._wsclient.context.sender.writer.blocked)
    assert not delivery.cancel()
    assert delivery.state == "queued"
    peer.reset()
    eventually(lambda: client.stats.queue_depth)
    assert delivery.cancel()
    assert (delivery.state, client.stats.queue_depth) == ("cancelled", 0)
    client.close(timeout=0)
    assert delivery.state == "cancelled"


def test_cancel_returns_true_if_the_message_is_not_sent_for_another_reason(waiting):
    expired, lost = waiting.send("x", expires=0.001), waiting.send("y")
    eventually(lambda: expired.state == "expired")
    waiting.close()
    assert (expired.cancel(), expired.state) == (True, "expired")
    assert (lost.cancel(), lost.state) == (True, "lost")


def test_cancel_ends_the_wait_for_the_message(unstarted):
    delivery = unstarted.send("x")
    waiter = start_call(delivery.wait)
    eventually(lambda: unstarted._wsclient.context.changes.latches)
    assert delivery.cancel()
    assert waiter.result(LONG) is False


def test_cancel_makes_room_for_a_sender_that_waits():
    client = wsclient.Client(URL, send_queue=wsclient.SendQueue(max_messages=1))
    old = client.send("old")
    new = start_call(lambda: client.send("new"))
    eventually(lambda: client._wsclient.context.queue._room.latches)
    assert old.cancel()
    assert new.result(LONG).state == "queued"
    client.close()


def test_cancel_inside_a_section_takes_effect_a_moment_later(waiting):
    """As in a finalizer that interrupts ``send()``: no lock may be taken."""
    delivery = waiting.send("x")
    with this_thread.section:
        assert not delivery.cancel()
    eventually(lambda: delivery.state == "cancelled")
    with this_thread.section:
        assert delivery.cancel()


def test_each_message_of_a_busy_client_is_either_cancelled_or_arrives(mute_server):
    """Several threads send; others cancel the same messages at the same time."""
    sent, each = [], 300

    def work(number):
        for n in range(each):
            delivery = client.send(f"{number} {n}")
            sent.append((f"{number} {n}", delivery))
            if n % 2:
                cancelled.append((delivery.cancel(), delivery))

    cancelled = []
    with wsclient.connect(mute_server.url) as client:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
        client.flush(LONG)
        assert all((delivery.state == "cancelled") is success for success, delivery in cancelled)
        expected = {text for text, delivery in sent if delivery.state != "cancelled"}
        assert set(mute_server.wait_for(len(expected))) == expected


@pytest.mark.parametrize("remove", [lambda client, delivery: delivery.cancel(), lambda client, _: client.clear_queue()])
def test_a_drain_ends_when_the_last_message_is_removed(waiting, remove):
    delivery = waiting.send("x")
    draining = start_call(lambda: waiting.drain(3600))
    eventually(lambda: waiting._wsclient.context.commands.drain is not None)
    assert remove(waiting, delivery)
    assert draining.result(LONG) is True


# --- clear_queue() ---------------------------------------------------------------------------------------------------


def test_clear_queue_removes_all_messages_and_returns_their_number(mute_server):
    client = wsclient.Client(mute_server.url)
    old = [client.send("old") for _ in range(3)]
    expired = client.send("expired", expires=0.001)
    eventually(lambda: expired.state == "expired")
    assert client.clear_queue() == 3
    assert [delivery.state for delivery in old] == ["cancelled"] * 3
    assert (client.stats.queue_depth, client.stats.queue_bytes, client.stats.dropped) == (0, 0, 0)
    assert client.clear_queue() == 0
    assert client.send("new").state == "queued"
    with client:
        assert mute_server.wait_for(1) == ["new"]


@pytest.mark.parametrize("is_main", [True, False])
def test_clear_queue_ends_the_queued_requests(waiting, is_main):
    waiting.send("x")
    asked = start_call(lambda: waiting.request({"a": 1}, timeout=None))
    eventually(lambda: waiting.stats.queue_depth == 2)
    submitted = waiting.submit({"a": 2}, timeout=None)
    subscription = waiting.subscribe({"a": 3}, match=bool)
    assert (waiting.clear_queue() if is_main else start_call(waiting.clear_queue).result(LONG)) == 4
    read = start_call(lambda: subscription.get(LONG))
    for future in (asked, submitted, read):
        error = future.exception(LONG)
        assert type(error) is wsclient.WebSocketClientError
        assert "clear_queue()" in str(error)
    assert waiting.stats.requests_failed == 2
    assert not waiting._wsclient.context.table.everything()


def test_a_batch_is_one_of_the_removed_messages():
    client = wsclient.Client(URL, protocol=wsclient.JsonRpc())
    future = client.submit([{"method": "a"}, {"method": "b"}])
    assert client.clear_queue() == 1
    error = future.exception(LONG)
    assert [type(one) for one in error.results] == [wsclient.WebSocketClientError] * 2
    client.close()


def test_clear_queue_leaves_the_answers_to_the_server_and_a_waiting_ping(raw):
    client, peer = open_pair(raw, protocol=wsclient.JsonRpc(), handlers={"twice": lambda number: 2 * number})
    client.send(bytes(BIG))
    eventually(lambda: client._wsclient.context.sender.writer.blocked)
    peer.send_text('{"jsonrpc": "2.0", "id": 7, "method": "twice", "params": 4}')
    eventually(lambda: client.stats.queue_depth)
    flushing = start_call(lambda: client.flush(LONG))
    eventually(lambda: client._wsclient.context.facts.awaited_marks)
    client.send("removed")
    assert client.clear_queue() == 1
    assert client.stats.queue_depth == 1
    assert peer.receive_frame()[0] == 2
    assert taken(peer)["result"] == 8
    opcode, payload = peer.receive_frame()
    assert opcode == 9
    peer.send_frame(10, payload)
    flushing.result(LONG)
    client.close(timeout=0)


def test_clear_queue_makes_room_for_senders_that_wait():
    client = wsclient.Client(URL, send_queue=wsclient.SendQueue(max_messages=1))
    client.send("old")
    new = start_call(lambda: client.send("new"))
    eventually(lambda: client._wsclient.context.queue._room.latches)
    assert client.clear_queue() == 1
    assert new.result(LONG).state == "queued"
    client.close()


def test_on_session_can_remove_the_messages_of_the_time_without_a_connection():
    removed = []
    with Server(lambda connection, message: None) as server:
        client = wsclient.Client(
            server.url,
            on_session=lambda client, session: removed.append(client.clear_queue()),
            reconnect=wsclient.Reconnect(wait=tenacity.wait_none()),
        )
        stale = client.send("stale")
        with client:
            client.send("fresh")
            assert server.wait_for(1) == ["fresh"]
    assert (removed, stale.state) == ([1], "cancelled")


def test_a_message_that_was_sent_inside_a_section_is_removed_too(unstarted):
    with this_thread.section:
        delivery = unstarted.send("x")
        with pytest.raises(wsclient.WouldDeadlock, match="inside the client"):
            unstarted.clear_queue()
    assert unstarted.clear_queue() == 1
    assert delivery.state == "cancelled"


def test_clear_queue_of_a_closed_client_raises(unstarted):
    unstarted.close()
    with pytest.raises(wsclient.ClientClosed, match=r"clear_queue\(\)"):
        unstarted.clear_queue()


def test_a_client_that_is_closing_sends_its_queue_and_refuses_to_clear_it(raw):
    client, _ = open_pair(raw)
    client.send(bytes(BIG))
    client.close(wait=False, timeout=LONG)
    with pytest.raises(wsclient.ClientClosed):
        client.clear_queue()
    client.close(timeout=0)


def test_an_interrupt_of_clear_queue_leaves_each_request_queued_or_ended():
    for moment in itertools.count():
        client = wsclient.Client(URL)
        context = client._wsclient.context
        futures = [on_thread(lambda n=n: client.submit({"a": n}, timeout=None)) for n in range(2)]  # noqa: B023
        struck = strikes(moment, client.clear_queue)
        for future in futures:
            request = future._request
            assert request.queued is (request.stage not in ENDED)
        client.send("the queue still works")
        assert context.queue.messages == len([entry for entry in context.queue.entries if entry.queued])
        client.close()
        assert all(future.done() for future in futures)
        if not struck:
            break
    assert moment > 10
