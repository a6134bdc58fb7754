"""The state of a delivery: queued, written, confirmed; or expired, lost, unknown."""

import threading
import time

import pytest
import tenacity

import wsclient
from wsclient import State
from wsclient._sending.delivery import Acknowledgements
from wsclient._threads.waiting import Deadline

from ..support import AMPLE, LONG, SHORT, FaultProxy, eventually
from ..support.peers import open_pair

SOON = wsclient.Reconnect(wait=tenacity.wait_none())
NEVER = wsclient.Reconnect(wait=lambda state: 3600.0)


def test_a_message_is_queued_then_written_then_confirmed_by_a_pong(raw):
    client = wsclient.Client(raw.url, ping_interval=0.05)
    delivery = client.send("x")
    assert delivery.state == "queued"
    starter = threading.Thread(target=client.start)
    starter.start()
    peer = raw.accept().upgrade()
    starter.join(LONG)
    eventually(lambda: delivery.state == "written")
    assert peer.receive_frame() == (1, b"x")
    opcode, payload = peer.receive_frame()
    assert opcode == 9
    assert delivery.state == "written"
    peer.send_frame(10, payload)
    eventually(lambda: delivery.state == "confirmed")
    client.close(timeout=0)
    assert delivery.state == "confirmed"


def test_a_later_reply_confirms_a_message_too(raw):
    client, peer = open_pair(raw, ping_interval=None)
    delivery = client.send("x")
    future = client.submit({"a": 1})
    peer.receive_text(), peer.receive_text()
    eventually(lambda: delivery.state == "written")
    peer.send_text('{"id": 1}')
    future.result(LONG)
    assert delivery.state == "confirmed"
    later = client.send("y")
    eventually(lambda: later.state == "written")
    client.close(timeout=0)


def test_an_error_as_reply_confirms_a_message_too(raw):
    client, peer = open_pair(raw, ping_interval=None, protocol=wsclient.JsonId(error="error"))
    delivery = client.send("x")
    future = client.submit({"a": 1})
    peer.receive_text(), peer.receive_text()
    eventually(lambda: delivery.state == "written")
    peer.send_text('{"id": 1, "error": "no"}')
    assert isinstance(future.exception(LONG), wsclient.RemoteError)
    assert delivery.state == "confirmed"
    client.close(timeout=0)


def test_waiting_for_a_delivery_sends_a_ping_at_once(server):
    with wsclient.connect(server.url, ping_interval=3600) as client:
        delivery = client.send("x")
        assert delivery.wait(LONG)
        assert delivery.state == "confirmed"
        assert repr(delivery) == "<Delivery confirmed>"


def test_without_pings_a_wait_ends_when_the_message_is_written(raw):
    client, peer = open_pair(raw, ping_interval=None)
    assert client.send("x").wait(LONG)
    assert peer.receive_text() == "x"
    client.close(timeout=0)


def test_a_wait_ends_at_its_timeout(raw):
    client, _ = open_pair(raw)
    delivery = client.send("x")
    assert not delivery.wait(SHORT)
    assert delivery.state == "written"
    client.close(timeout=0)


def test_a_message_written_completely_and_not_confirmed_is_unknown_after_the_loss(raw):
    client, peer = open_pair(raw)
    delivery = client.send("x")
    assert peer.receive_text() == "x"
    waited = []
    waiter = threading.Thread(target=lambda: waited.append(delivery.wait()))
    waiter.start()
    peer.receive_frame()  # the ping that asks for the confirmation
    peer.reset()
    waiter.join(LONG)
    assert waited == [False]
    assert delivery.state == "unknown"
    client.close(timeout=0)


def test_a_message_cut_in_the_middle_of_a_frame_stays_queued_and_is_sent_again(raw):
    client, peer = open_pair(raw)
    deliveries = [client.send(bytes([n]) * 2**22) for n in range(4)]
    assert deliveries[-1].state == "queued"
    peer.reset()
    second = raw.accept().upgrade()
    frames = []
    while not frames or frames[-1][1][0] < 3:
        opcode, payload = second.receive_frame()
        if opcode == 2:
            frames.append((opcode, payload))
    sent_again = [payload[0] for _, payload in frames]
    assert sent_again == list(range(4 - len(frames), 4))
    assert all(len(payload) == 2**22 for _, payload in frames)
    for n, delivery in enumerate(deliveries):
        assert (delivery.state == "unknown") == (n not in sent_again)
    client.close(timeout=0)


def test_a_message_that_expires_in_the_queue_is_never_sent(mute_server):
    with FaultProxy(mute_server.port) as proxy:
        client = wsclient.connect(proxy.url, reconnect=wsclient.Reconnect(wait=tenacity.wait_fixed(0.1)))
        proxy.refuse()
        proxy.cut()
        eventually(lambda: client.state is State.WAITING)
        perishable = client.send("perishable", expires=SHORT)
        lasting = client.send("lasting", expires=3600)
        assert not perishable.wait(LONG)
        assert (perishable.state, lasting.state) == ("expired", "queued")
        assert client.stats.queue_depth == 1
        proxy.accept()
        assert lasting.wait(LONG)
        assert mute_server.wait_for(1) == ["lasting"]
        client.close()


def test_messages_still_queued_when_the_client_closes_are_lost(server, proxy):
    client = wsclient.connect(proxy.url, reconnect=NEVER)
    proxy.cut()
    eventually(lambda: client.state is State.WAITING)
    delivery = client.send("x")
    waited = []
    waiter = threading.Thread(target=lambda: waited.append(delivery.wait()))
    waiter.start()
    client.close()
    waiter.join(LONG)
    assert waited == [False]
    assert delivery.state == "lost"


@pytest.mark.parametrize("expires", [0, -1, "5"])
def test_a_wrong_expiry_is_refused(server, expires):
    with wsclient.connect(server.url) as client, pytest.raises((TypeError, ValueError), match="expires"):
        client.send("x", expires=expires)


# --- flush -----------------------------------------------------------------------------------------------------------


def test_flush_waits_for_the_pong_of_the_peer(raw):
    client, peer = open_pair(raw)
    client.send("x")
    flusher = threading.Thread(target=client.flush)
    flusher.start()
    assert peer.receive_frame() == (1, b"x")
    opcode, payload = peer.receive_frame()
    assert opcode == 9
    flusher.join(SHORT)
    assert flusher.is_alive()
    peer.send_frame(10, payload)
    flusher.join(LONG)
    assert not flusher.is_alive()
    client.close(timeout=0)


def test_flush_accepts_a_later_pong(raw):
    client, peer = open_pair(raw)
    flushers = [threading.Thread(target=client.flush) for _ in range(3)]
    for flusher in flushers:
        flusher.start()
    pings = [peer.receive_frame() for _ in flushers]
    peer.send_frame(10, pings[-1][1])
    for flusher in flushers:
        flusher.join(LONG)
        assert not flusher.is_alive()
    client.close(timeout=0)


def test_flush_without_pings_waits_only_until_everything_is_written(raw):
    client, _ = open_pair(raw, ping_interval=None)
    client.send("x")
    client.flush(LONG)
    assert client.stats.messages_sent == 1
    client.close(timeout=0)


def test_flush_raises_when_the_connection_changes(raw):
    client, peer = open_pair(raw)
    errors = []

    def flush():
        try:
            client.flush(LONG)
        except wsclient.ConnectionLost as error:
            errors.append(error)

    flusher = threading.Thread(target=flush)
    flusher.start()
    peer.receive_frame()
    peer.reset()
    raw.accept().upgrade()
    flusher.join(LONG)
    assert errors[0].disconnect is not None
    client.close(timeout=0)


def test_flush_reports_at_its_timeout_in_which_phase_it_was(raw):
    client, _ = open_pair(raw)
    with pytest.raises(wsclient.FlushTimeout) as caught:
        client.flush(AMPLE)
    assert caught.value.phase == "waiting"
    for _ in range(16):
        client.send(b"x" * 2**20)
    with pytest.raises(wsclient.FlushTimeout) as caught:
        client.flush(SHORT)
    assert caught.value.phase == "queued"
    client.close(timeout=0)


def test_flush_waits_for_a_connection(server, proxy):
    client = wsclient.connect(proxy.url, reconnect=wsclient.Reconnect(wait=tenacity.wait_fixed(0.05)))
    proxy.refuse()
    proxy.cut()
    eventually(lambda: client.state is State.WAITING)
    delivery = client.send("x")
    with pytest.raises(wsclient.FlushTimeout) as caught:
        client.flush(SHORT)
    assert caught.value.phase == "queued"
    proxy.accept()
    client.flush(LONG)
    assert delivery.state == "confirmed"
    client.close()
    with pytest.raises(wsclient.ClientClosed):
        client.flush()


def test_flush_before_start_raises():
    with pytest.raises(wsclient.ClientNotStarted):
        wsclient.Client("ws://127.0.0.1:9/").flush()


# --- when reading is paused, and other special moments ---------------------------------------------------------------


@pytest.mark.parametrize(
    "prove", [lambda client: client.send("x").wait(LONG), lambda client: client.flush(LONG) is None]
)
def test_a_hook_can_wait_for_a_confirmation_while_it_blocks_reading(raw, prove, monkeypatch):
    # The wait itself wakes the I/O thread, which otherwise would look again only after this time.
    monkeypatch.setattr("wsclient._connection.connection._PAUSED_CHECK", 4 * LONG)
    proven = []

    def on_message(client, message):
        if message == "first":
            eventually(lambda: client._wsclient.context.facts.paused)
            proven.append(prove(client))

    queue = wsclient.ReceiveQueue(max_messages=2)
    client, peer = open_pair(raw, on_message=on_message, receive_queue=queue, ping_interval=3600)
    for text in ("first", *"23456"):
        peer.send_text(text)
    while (frame := peer.receive_frame())[0] != 9:
        pass
    peer.send_frame(10, frame[1])
    eventually(lambda: proven)
    assert proven == [True]
    client.close(timeout=0)


@pytest.mark.parametrize(
    ("ping_interval", "prove"),
    [
        (3600, lambda client: client.send("x").wait(LONG)),
        (3600, lambda client: client.flush(LONG)),
        (None, lambda client: client.flush(LONG)),
        (None, lambda client: client.ping(LONG)),
    ],
)
def test_after_an_interrupt_at_the_end_of_a_wait_for_a_confirmation_a_full_stream_pauses_reading(
    server, monkeypatch, ping_interval, prove
):
    def interrupted(acknowledgements, mark):
        raise KeyboardInterrupt

    with wsclient.connect(server.url, ping_interval=ping_interval) as client:
        with monkeypatch.context() as patch:
            patch.setattr(Acknowledgements, "_forget_mark", interrupted)
            with pytest.raises(KeyboardInterrupt):
                prove(client)
        stream = client.listen(maxsize=1)
        connection = server.opened.get(timeout=LONG)
        for _ in range(3):
            connection.send("x")
        eventually(lambda: client._wsclient.context.facts.paused)
        stream.close()


def test_a_wait_for_a_message_ends_when_the_queue_drops_the_message(raw):
    client = wsclient.Client(raw.url, send_queue=wsclient.SendQueue(max_messages=1, overflow="drop_oldest"))
    delivery = client.send("old")
    reported = []
    waiting = threading.Thread(target=lambda: reported.append(delivery.wait()))
    waiting.start()
    eventually(lambda: client._wsclient.context.changes.latches)
    client.send("new")
    waiting.join(LONG)
    assert reported == [False]
    assert delivery.state == "lost"
    client.close()


def test_frequent_waits_leave_no_pings_in_the_queue(raw):
    client, _ = open_pair(raw)
    delivery = client.send("x")
    eventually(lambda: delivery.state == "written")
    stuck = client.send("y" * (8 * 2**20))
    eventually(lambda: client._wsclient.context.sender.writer.blocked)
    for _ in range(100):
        assert not delivery.wait(0)
        assert not stuck.wait(0)
        with pytest.raises(wsclient.RequestTimeout):
            client.flush(0.0001)
    assert not [entry for entry in client._wsclient.context.queue.entries if entry.queued]
    assert not client._wsclient.context.facts.awaited_marks
    client.close(timeout=0)


@pytest.mark.parametrize("end", ["time-out", "cancel"])
def test_a_drain_ends_with_the_last_request(mute_server, end):
    with wsclient.connect(mute_server.url, ping_interval=None) as client:
        last = client.submit({"method": "add"}, timeout=AMPLE if end == "time-out" else None)
        mute_server.wait_for(1)
        done = []
        draining = threading.Thread(target=lambda: done.append(client.drain(3600)))
        draining.start()
        if end == "cancel":
            # The I/O thread has checked, and sleeps until the drain's deadline.
            eventually(lambda: client._wsclient.context.commands.sleeps_until < float("inf"))
            last.cancel()
        draining.join(LONG)
        assert done == [True]


def test_a_wait_for_a_confirmation_is_allowed_while_the_client_drains(raw):
    client, peer = open_pair(raw)
    client.submit({"method": "add"}, timeout=None)
    delivery = client.send("x")
    eventually(lambda: delivery.state == "written")
    client.drain(LONG, wait=False)
    with pytest.raises(wsclient.ClientClosed, match="draining"):
        client.send("more")
    proven = []
    waiting = threading.Thread(target=lambda: proven.append(delivery.wait(LONG)))
    waiting.start()
    while (frame := peer.receive_frame())[0] != 9:
        pass
    peer.send_frame(10, frame[1])
    waiting.join(LONG)
    assert proven == [True]
    client.close(timeout=0)


def test_a_position_in_the_reply_order_kept_beyond_its_deadline_ends_the_connection_without_other_events(raw):
    client, peer = open_pair(raw, protocol=wsclient.Fifo(), ping_interval=None)
    context = client._wsclient.context
    request = context.requests.make("ask", Deadline.after(SHORT, time.monotonic()))
    context.requests.begin(request, None, timed=False)
    context.sender.write_queued()
    assert peer.receive_text() == "ask"
    context.requests.cancel(request, interrupted=True)  # as an interrupt of request() does
    assert peer.receive_frame()[0] == 8
    client.close(timeout=0)
