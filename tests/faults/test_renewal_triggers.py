"""What begins a renewal other than ``renew()``: time, an expiry, a message of the server; waits for a quiet moment."""

import contextlib
import itertools
import threading

import pytest
import tenacity

import wsclient
from wsclient import Expiring, JsonRpc, Renew, State

from ..support import LONG, SHORT, eventually
from ..support.peers import await_processed, put, start_call, taken
from ..support.renewals import answered_close, await_alone, close_code, open_renewing, renewed

SOON = wsclient.Reconnect(wait=tenacity.wait_none())


def started(url, **options):
    client = wsclient.Client(url, ping_interval=None, **options)
    return client, start_call(client.start)


def test_a_connection_is_renewed_again_and_again(raw):
    reasons = []
    client, old = open_renewing(raw, renew=Renew(every=0.05), on_renew=lambda _, reason: reasons.append(reason))
    for _ in range(3):
        new = raw.accept().upgrade()
        assert answered_close(old) == (1000, "every")
        old = new
    eventually(lambda: len(reasons) >= 3)
    assert set(reasons) == {"every"}
    client.close(timeout=0)


@pytest.mark.parametrize("which", ["url", "headers"])
def test_the_expiry_of_url_or_headers_renews_the_connection(raw, which):
    numbers = itertools.count(1)

    def expiring(make):
        number = next(numbers)
        return Expiring(make(number), expires_in=0.1 if number == 1 else LONG)

    options = {
        "url": {"url": lambda: expiring(lambda number: f"{raw.url}?token={number}")},
        "headers": {"url": raw.url, "headers": lambda: expiring(lambda number: {"X-Token": str(number)})},
    }[which]
    reasons = []
    client, starting = started(**options, renew=Renew(), on_renew=lambda _, reason: reasons.append(reason))
    old, new = raw.accept().upgrade(), raw.accept().upgrade()
    starting.result(LONG)
    for number, peer in enumerate((old, new), 1):
        assert (f"token={number}" in peer.request.decode()) if which == "url" else peer.header("X-Token") == str(number)
    assert close_code(old) == (1000, "expiry")
    eventually(lambda: reasons == ["expiry"])
    with pytest.raises(TimeoutError):
        raw.accept(SHORT)
    client.close(timeout=0)


def test_expiring_without_renew_is_ignored(raw):
    client, starting = started(
        lambda: Expiring(raw.url, expires_in=0.01), headers=lambda: Expiring({}, expires_in=0.01)
    )
    raw.accept().upgrade()
    starting.result(LONG)
    with pytest.raises(TimeoutError):
        raw.accept(SHORT)
    assert client.state is State.OPEN
    client.close(timeout=0)


@pytest.mark.parametrize("value", [5, {"X": "a\r\nb"}])
def test_an_expiring_value_is_checked_like_a_plain_one(raw, value):
    client = wsclient.Client(raw.url, headers=lambda: Expiring(value, expires_in=5), renew=Renew(), reconnect=SOON)
    with pytest.raises(wsclient.ConnectError, match="headers function returned"):
        client.start(LONG)


def goes_away(message):
    return isinstance(message, dict) and message.get("method") == "goaway" and (message.get("url") or True)


@pytest.mark.parametrize("named", [False, True])
def test_a_message_announces_a_renewal_and_may_name_the_url_of_this_attempt(raw, named):
    seen = []
    client, old = open_renewing(raw, renew=Renew(on=goes_away), on_message=lambda _, message: seen.append(message))
    put(old, {"method": "news"}, {"method": "goaway", **({"url": f"{raw.url}special"} if named else {})})
    new = raw.accept().upgrade()
    assert (b"/special" in new.request) is named
    assert close_code(old) == (1000, "on")
    eventually(lambda: len(seen) == 2)  # it is delivered, too
    old.close()
    await_alone(client)
    put(new, {"method": "goaway"})
    assert b"/special" not in raw.accept().upgrade().request
    client.close(timeout=0)


def test_the_announced_url_is_used_for_one_attempt_only(raw):
    client, old = open_renewing(raw, renew=Renew(on=goes_away), reconnect=SOON)
    put(old, {"method": "goaway", "url": f"{raw.url}special"})
    first = raw.accept()
    first.respond("503 Busy")
    assert b"/special" in first.request
    assert b"/special" not in raw.accept().upgrade().request
    eventually(lambda: client.stats.renewals == 1)
    client.close(timeout=0)


def test_an_announced_url_that_can_not_be_used_is_a_failed_attempt(raw):
    failed = []
    client, old = open_renewing(
        raw, renew=Renew(on=goes_away), reconnect=SOON, on_connect_error=lambda _, attempt: failed.append(attempt)
    )
    put(old, {"method": "goaway", "url": "http://not a websocket"})
    raw.accept().upgrade()
    eventually(lambda: client.stats.renewals == 1 and failed)
    assert "Renew.on" in str(failed[0].error)
    client.close(timeout=0)


def test_a_call_of_the_server_may_announce_it_and_the_old_connection_can_not(raw):
    client, old = open_renewing(
        raw, renew=Renew(on=goes_away), protocol=JsonRpc(), handlers={"goaway": lambda params: "ok"}
    )
    asked = client.submit({"method": "keeps the old connection"})
    request = taken(old)
    put(old, {"jsonrpc": "2.0", "id": "1", "method": "goaway"})
    raw.accept().upgrade()
    assert taken(old)["result"] == "ok"
    eventually(lambda: client.stats.renewals == 1)
    put(old, {"jsonrpc": "2.0", "id": 2, "method": "goaway"})
    assert taken(old)["result"] == "ok"
    put(old, {"jsonrpc": "2.0", "id": request["id"], "result": 1})
    assert asked.result(LONG) == 1
    answered_close(old)
    await_alone(client)
    with pytest.raises(TimeoutError):
        raw.accept(SHORT)
    client.close(timeout=0)


def test_a_message_during_the_set_up_of_the_first_connection_renews_it_when_it_is_open(raw):
    def set_up(client, session):
        if session.number == 1:
            session.send("ready")
            session.recv(LONG)

    client, starting = started(raw.url, renew=Renew(on=goes_away), on_session=set_up)
    old = raw.accept().upgrade()
    old.receive_text()
    put(old, {"method": "goaway"})
    raw.accept().upgrade()
    starting.result(LONG)
    eventually(lambda: client.stats.renewals == 1)
    client.close(timeout=0)


def test_an_announcement_in_a_set_up_that_failed_does_not_concern_the_next_connection(raw):
    def set_up(client, session):
        if session.number == 2:
            session.send({"method": "ready"})
            if goes_away(session.recv(LONG)):
                raise ValueError("the server is about to close the connection")

    client, old = open_renewing(raw, renew=Renew(on=goes_away), on_session=set_up, reconnect=SOON)
    old.reset()
    for message in ({"method": "goaway", "url": f"{raw.url}special"}, {"method": "welcome"}):
        peer = raw.accept().upgrade()
        taken(peer)
        put(peer, message)
    await_processed(peer)
    with pytest.raises(TimeoutError):
        raw.accept(SHORT)
    assert (client.stats.connections, client.stats.failed_attempts) == (2, 1)
    client.close(timeout=0)


def test_an_on_that_raises_is_reported_once_and_renews_nothing(raw, caplog):
    def on(message):
        raise LookupError("mine")

    errors = []
    client, old = open_renewing(raw, renew=Renew(on=on), on_error=lambda _, error: errors.append(error))
    put(old, {"n": 1}, {"n": 2})
    await_processed(old)
    eventually(lambda: [type(error) for error in errors] == [LookupError])
    eventually(lambda: "Renew.on raised LookupError" in caplog.text)
    assert client.stats.messages_received == 2
    client.close(timeout=0)


def test_a_renewal_waits_for_a_quiet_moment_and_serves_meanwhile(raw):
    quiet = threading.Event()
    client, old = open_renewing(raw, renew=Renew(when=quiet.is_set))
    renewing = start_call(lambda: client.renew(wait=True, timeout=LONG))
    with pytest.raises(TimeoutError):
        raw.accept(SHORT)
    asked = client.submit({"method": "x"})
    put(old, {"id": taken(old)["id"], "result": 1})
    assert asked.result(LONG)["result"] == 1
    quiet.set()
    raw.accept().upgrade()
    assert renewing.result(LONG)
    client.close(timeout=0)


def test_a_renewal_waits_for_a_quiet_moment_no_longer_than_latest(raw):
    client, _ = open_renewing(raw, renew=Renew(when=lambda: False, latest=SHORT))
    renewed(client, raw)
    client.close(timeout=0)


def test_a_pending_renewal_is_void_if_the_connection_is_lost(raw):
    client, old = open_renewing(raw, renew=Renew(when=lambda: False), reconnect=SOON)
    renewing = start_call(lambda: client.renew(wait=True, timeout=LONG))
    eventually(lambda: client._wsclient.lifecycle._supervisor._renewal.trigger)
    old.reset()
    raw.accept().upgrade()
    assert renewing.result(LONG)  # the connection is a new one
    with pytest.raises(TimeoutError):
        raw.accept(SHORT)
    assert client.stats.renewals == 0
    client.close(timeout=0)


def test_a_renewal_asked_for_while_there_is_no_connection_is_fulfilled_by_the_next_one(raw):
    client, old = open_renewing(raw, reconnect=SOON)
    old.reset()
    peer = raw.accept()
    eventually(lambda: client.state is State.CONNECTING)
    renewing = start_call(lambda: client.renew(wait=True, timeout=LONG))
    eventually(lambda: client._wsclient.context.renew_calls.new)
    peer.upgrade()
    assert renewing.result(LONG)
    assert client.stats.renewals == 0
    client.close(timeout=0)


def test_no_trigger_begins_a_renewal_while_the_client_drains(raw):
    client, old = open_renewing(raw, renew=Renew(every=0.05, jitter=0, on=goes_away))
    asked = client.submit({"method": "slow"})
    request = taken(old)
    draining = start_call(lambda: client.drain(LONG))
    eventually(lambda: client._wsclient.context.commands.drain is not None)
    put(old, {"method": "goaway"})
    with contextlib.suppress(TimeoutError):
        raw.accept(SHORT)  # one that may have begun before the drain
    put(old, {"id": request["id"], "result": 1})
    assert asked.result(LONG)["result"] == 1
    answered_close(old)
    assert draining.result(LONG)


def test_a_renewal_begins_in_a_hook(raw):
    client, _ = open_renewing(raw, on_open=lambda client: client.renew("from on_open"))
    raw.accept().upgrade()
    eventually(lambda: client.stats.renewals == 1)
    client.close(timeout=0)
