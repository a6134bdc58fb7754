"""``renew=`` together with ``quiet=``, ``quiet_after=``, ``heartbeat=``, and the memory of sessions."""

import contextlib
import itertools
import json
import math
import threading

import pytest

import wsclient
from wsclient import Heartbeat, JsonRpc, Renew, Request, State

from ..support import LONG, SHORT, eventually
from ..support.peers import await_processed, event, put, reply, results, subscribed, taken
from ..support.raw import RawServer, frame
from ..support.renewals import answered_close, await_alone, is_alone, open_renewing, renewed

SOON = SHORT / 2


# --- quiet -----------------------------------------------------------------------------------------------------------


def test_a_quiet_connection_is_renewed_and_its_request_in_flight_is_answered(raw):
    reasons, quiets, closed = [], [], []
    client, old = open_renewing(
        raw, quiet=SOON, on_renew=lambda _, reason: reasons.append(reason),
        on_quiet=lambda _, seconds: quiets.append(seconds), on_close=lambda _, code, reason: closed.append(code),
    )  # fmt: skip
    asked = client.submit({"method": "slow"})
    request = taken(old)
    new = raw.accept().upgrade()
    eventually(lambda: reasons == ["quiet"])
    assert client.state is State.OPEN
    put(old, {"id": request["id"], "result": 1})
    assert asked.result(LONG)["result"] == 1
    assert answered_close(old) == (1000, "quiet")
    assert quiets[0] >= SOON
    assert (client.last_disconnect, closed) == (None, [])
    raw.accept().upgrade()  # the new one is quiet as well
    eventually(lambda: reasons == ["quiet", "quiet"])
    assert answered_close(new)[0] == 1000
    client.close(timeout=0)


def test_a_quiet_connection_is_not_renewed_after_a_fatal_attempt(raw):
    quiets = []
    client, old = open_renewing(raw, quiet=SOON, on_quiet=lambda _, seconds: quiets.append(seconds))
    raw.accept().respond("404 Not Found")
    eventually(lambda: len(quiets) > 2)
    with pytest.raises(TimeoutError):
        raw.accept(SHORT)
    await_processed(old)
    client.close(timeout=0)


def test_while_the_old_connection_is_served_only_the_new_one_must_bring_messages(raw):
    client, old = open_renewing(raw, quiet=LONG)
    client.submit({"method": "keeps the old connection"})
    taken(old)
    new = renewed(client, raw)
    watch = client._wsclient.context.quiet
    at = watch.next_at
    put(old, {"n": 1})
    await_processed(old)
    await_processed(new)
    assert watch.next_at == at
    put(new, {"n": 2})
    eventually(lambda: watch._clock.next_at > at)
    old.reset()
    await_alone(client)
    assert math.isfinite(watch.next_at)
    assert watch._clock.is_running
    client.close(timeout=0)


def test_a_quiet_subscription_that_stays_quiet_renews_the_connection(raw):
    reasons = []
    client, old = open_renewing(raw, protocol=JsonRpc(), on_renew=lambda _, reason: reasons.append(reason))
    subscription = subscribed(client, old, "0xa", quiet_after=SOON)
    messages = []
    while not any(message.get("method") == "eth_subscribe" for message in messages):
        messages.append(taken(old))
    put(old, reply(messages[-1], "0xb"))
    new = raw.accept().upgrade()
    put(new, reply(taken(new), "0xc"), event("0xc", 1))
    assert results(subscription, 1) == [1]
    eventually(lambda: reasons == ["quiet"])
    assert client.last_disconnect is None
    client.close(timeout=0)


def numbers_of_attempts(script, **options):
    """The first numbers of attempts of a client against ``script(peer, client, numbers)``."""
    numbers, clients = [], []

    def wait(state):
        numbers.append(state.attempt_number)
        return 0.0

    def serve(peer):
        with contextlib.suppress(OSError):  # the test ends
            script(peer, clients[0], numbers)

    reconnect = wsclient.Reconnect(wait=wait, min_uptime=0.0)
    with RawServer(serve) as raw:
        clients.append(wsclient.Client(raw.url, quiet=SOON, reconnect=reconnect, ping_interval=None, **options))
        clients[0].start()
        eventually(lambda: len(numbers) >= 3)
        clients[0].close(timeout=0)
    return numbers[:3]


@pytest.mark.parametrize("overlap", [0.01, 0])
@pytest.mark.parametrize("brings", [False, True])
def test_a_renewal_does_not_end_the_back_off_of_connections_that_bring_nothing(brings, overlap):
    accepted = itertools.count(1)

    def script(peer, client, numbers):
        """Each second connection is that of a renewal, and is closed by the server."""
        is_first = next(accepted) % 2
        peer.upgrade(then=frame(1, b"x") if is_first and brings else b"")
        if not is_first:
            eventually(lambda: client.stats.renewals > len(numbers) or client.state is State.CLOSED)
            peer.finish()
        peer.receive_frame()
        peer.finish()

    assert numbers_of_attempts(script, renew=Renew(overlap=overlap)) == ([1, 1, 1] if brings else [1, 2, 3])


def test_the_loss_of_a_connection_that_brought_nothing_during_a_renewal_does_not_end_the_back_off():
    attempts = []

    def script(peer, client, numbers):
        """Each second connection begins as a renewal, and becomes a reconnect."""
        attempts.append(peer)
        number = len(attempts)
        if number % 2:
            peer.upgrade()
            eventually(lambda: len(attempts) > number or client.state is State.CLOSED)
        else:
            eventually(lambda: client.state in (State.CONNECTING, State.CLOSED))
            peer.upgrade()
            eventually(lambda: client.stats.connections >= number or client.state is State.CLOSED)
        peer.finish()

    assert numbers_of_attempts(script, renew=Renew()) == [1, 2, 3]


# --- heartbeats ------------------------------------------------------------------------------------------------------


def beats(peer, count=1):
    """The next heartbeats that a peer receives."""
    found = []
    while len(found) < count:
        message = taken(peer)
        if message.get("method") == "beat":
            found.append(message)
    return found


def test_a_heartbeat_in_flight_at_the_switch_is_awaited_and_answered_on_its_own_connection(raw):
    seen = []
    client, old = open_renewing(
        raw, heartbeat=Heartbeat(Request({"method": "beat"}), SOON), ping_timeout=LONG,
        on_message=lambda _, message: seen.append(message),
    )  # fmt: skip
    (first,) = beats(old)
    new = renewed(client, raw)
    (second,) = beats(new)
    assert second["id"] > first["id"]
    put(new, {"id": first["id"], "result": "of the other connection"})
    new.send_frame(9, b"behind it")
    while (frame := new.receive_frame()) != (10, b"behind it"):
        assert json.loads(frame[1])["method"] == "beat"  # on a slow machine a further heartbeat is due
    assert not is_alone(client)
    put(new, {"id": second["id"]})
    put(old, {"id": first["id"]})
    beats(new, 2)
    client.close(timeout=0)


def test_a_heartbeat_that_is_not_answered_on_the_old_connection_ends_only_that_one(raw):
    is_renewed = threading.Event()

    def answer():
        with contextlib.suppress(OSError, EOFError):  # the connection ends
            while not is_renewed.is_set():
                for beat in beats(old):
                    put(old, {"id": beat["id"]})

    def set_up(client, session):
        session.heartbeat(SOON if session.number == 1 else LONG)

    client, old = open_renewing(
        raw, heartbeat=Heartbeat(Request({"method": "beat"}), LONG), ping_timeout=5 * SHORT, on_session=set_up,
        renew=Renew(overlap=LONG),
    )  # fmt: skip
    asked = client.submit({"method": "slow"})
    thread = threading.Thread(target=answer)
    thread.start()
    renewed(client, raw)
    is_renewed.set()
    with pytest.raises(wsclient.ConnectionLost) as caught:
        asked.result(LONG)
    assert caught.value.disconnect.initiator == "keepalive"
    await_alone(client)
    assert (client.connection.number, client.last_disconnect) == (2, None)
    thread.join(LONG)
    client.close(timeout=0)


def test_each_session_sets_the_interval_of_its_own_connection(raw):
    def set_up(client, session):
        session.heartbeat(LONG if session.number == 1 else SOON)

    client, old = open_renewing(raw, heartbeat=Heartbeat({"method": "beat"}, SOON / 2), on_session=set_up)
    client.submit({"method": "slow"})
    assert taken(old)["method"] == "slow"
    new = renewed(client, raw)
    beats(new, 2)
    old.sock.settimeout(SHORT)
    with pytest.raises(TimeoutError):
        old.receive_frame()
    client.close(timeout=0)


@pytest.mark.parametrize("idle", ["old", "new"])
def test_messages_on_one_connection_do_not_delay_the_heartbeat_of_the_other_one(raw, idle):
    """With ``only_if_idle``: what is sent on the other connection does not show the server that this one lives."""
    go_on, stop = threading.Event(), threading.Event()

    def on_open(client):
        client.submit({"method": "keeps the old connection"})
        assert go_on.wait(LONG)
        while idle == "new" and not stop.wait(SOON / 8):
            client.send({"method": "busy"})

    client, old = open_renewing(
        raw, heartbeat=Heartbeat({"method": "beat"}, SOON, only_if_idle=True), on_open=on_open,
        on_renew=lambda client, reason: None, renew=Renew(overlap=LONG),
    )  # fmt: skip
    while taken(old).get("method") == "beat":
        pass  # on a slow machine a heartbeat comes before what on_open sends
    new = renewed(client, raw)
    go_on.set()
    found = []
    reader = threading.Thread(target=lambda: found.extend(beats(old if idle == "old" else new, 2)), daemon=True)
    reader.start()
    while idle == "old" and not stop.wait(SOON / 8) and reader.is_alive():
        client.send({"method": "busy"})
    reader.join(LONG)
    stop.set()
    assert len(found) == 2
    client.close(timeout=0)


# --- the memory of sessions ------------------------------------------------------------------------------------------


def test_memo_and_previous_in_the_session_of_a_renewal(raw):
    noted = []

    def set_up(client, session):
        noted.append((session.memo is client.memo, session.memo.get("resume"), session.previous))
        session.memo["resume"] = session.number

    client, old = open_renewing(raw, on_session=set_up)
    renewed(client, raw)
    answered_close(old)
    await_alone(client)
    assert noted == [(True, None, None), (True, 1, None)]
    assert client.memo == {"resume": 2}
    client.close(timeout=0)
