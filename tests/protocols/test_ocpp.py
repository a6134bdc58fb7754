"""``Ocpp``: arrays of calls, results and errors; one call in flight each way."""

import json
import pickle
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wsclient
from wsclient import Call, Event, Failure, Heartbeat, RemoteError, Reply, Request, RequestTimeout
from wsclient.protocols import Ocpp

from ..support import LONG, SHORT
from ..support.peers import await_processed, close_now, start_call, taken

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
payloads = st.dictionaries(texts, st.none() | st.integers(-9, 9) | texts, max_size=3)


def open_charge_point(raw, version="1.6", **options):
    client = wsclient.Client(raw.url, protocol=Ocpp(version), ping_interval=None, **options)
    start = start_call(client.start)
    peer = raw.accept().upgrade(f"Sec-WebSocket-Protocol: ocpp{version}")
    assert peer.header("Sec-WebSocket-Protocol") == f"ocpp{version}"
    start.result(LONG)
    return client, peer


# --- pure ------------------------------------------------------------------------------------------------------------


@given(id=texts, action=texts, payload=payloads)
def test_arrays_are_encoded_and_decoded_as_the_rules_say(id, action, payload):
    ocpp = Ocpp()
    call = ocpp.encode_request(ocpp.build(action, payload, False), id)
    assert json.loads(call) == [2, id, action, payload]
    assert ocpp.decode(call) == Call(id, action, payload, [2, id, action, payload])
    assert ocpp.decode(ocpp.encode_result(id, payload)) == Reply(id, payload)


@given(id=texts, code=texts.filter(bool), text=texts, details=payloads.filter(bool))
def test_an_error_is_decoded_as_it_was_encoded(id, code, text, details):
    failure = Ocpp().decode(Ocpp().encode_error(id, RemoteError(code, text, details)))
    assert type(failure) is Failure
    assert (failure.id, failure.error.code, failure.error.message, failure.error.data) == (id, code, text, details)


@pytest.mark.parametrize(
    ("error", "encoded"),
    [
        (ValueError("bad"), ["InternalError", "ValueError: bad", {}]),
        (RemoteError(None, "x"), ["InternalError", "x", {}]),
        (RemoteError("GenericError", "x" * 1000), ["GenericError", "x" * 255, {}]),
    ],
)
def test_errors_of_handlers_have_a_code_and_a_description_of_limited_length(error, encoded):
    assert json.loads(Ocpp().encode_error("1", error)) == [4, "1", *encoded]


def test_an_empty_payload_is_an_object():
    assert Ocpp().build("Heartbeat", None, False) == ["Heartbeat", {}]
    assert json.loads(Ocpp().encode_result("1", None)) == [3, "1", {}]


@pytest.mark.parametrize(
    "text", ["[]", "[2]", '[2, "1"]', "[2, 1, 2, {}]", '[5, "1", {}]', '["3", "1", {}]', "{}", "x"]
)
def test_anything_else_is_an_event(text):
    assert type(Ocpp().decode(text)) is Event
    assert Ocpp().decode(b"x") == Event(b"x")


def test_an_error_without_description_and_details_is_still_an_error():
    assert Ocpp().decode('[4, "1", "GenericError"]').error.code == "GenericError"
    assert Ocpp().decode('[4, "1", "GenericError", null]').error.message == ""


@pytest.mark.parametrize("message", [{"action": "x"}, ["x"], ["x", {}, 1], [1, {}], "Heartbeat", None])
def test_a_request_is_an_action_and_a_payload(message):
    with pytest.raises(TypeError, match="action"):
        Ocpp().encode_request(message, "1")


def test_there_are_no_notifications_and_only_known_versions():
    with pytest.raises(TypeError, match="notify"):
        Ocpp().build("Heartbeat", {}, True)
    with pytest.raises(ValueError, match="version"):
        Ocpp("2.0")


def test_ids_differ_in_each_process_and_have_at_most_36_characters():
    protocol = Ocpp("2.0.1")
    other = pickle.loads(pickle.dumps(protocol))
    assert other.subprotocols == ("ocpp2.0.1",)
    ids = {one.new_id() for one in (protocol, other) for _ in range(3)}
    assert len(ids) == 6
    assert {len(id) for id in ids} == {36}


# --- with a client ---------------------------------------------------------------------------------------------------


def test_one_call_is_in_flight_and_a_timeout_makes_room(raw):
    client, peer = open_charge_point(raw)
    first = client.submit(["A", {}], timeout=SHORT)
    second, third = client.submit(["B", {}]), client.submit(["C", {}])
    assert taken(peer)[2] == "A"
    with pytest.raises(RequestTimeout, match="'A'"):
        first.result(LONG)
    _, id, action, _ = taken(peer)
    assert action == "B"
    await_processed(peer)  # the pong comes first: C is not sent yet
    assert not third.done()
    peer.send_text(json.dumps([4, id, "NotSupported", "no B", {"a": 1}]))
    with pytest.raises(RemoteError, match="no B") as caught:
        second.result(LONG)
    assert (caught.value.code, caught.value.data) == ("NotSupported", {"a": 1})
    _, id, action, _ = taken(peer)
    peer.send_text(json.dumps([3, id, {"c": 1}]))
    assert third.result(LONG) == {"c": 1}
    close_now(client)


@pytest.mark.parametrize("rate", [None, 1000.0])
def test_calls_of_the_central_system_are_answered_while_a_call_is_in_flight_and_another_one_is_queued(raw, rate):
    client, peer = open_charge_point(raw, "2.0.1", send_queue=wsclient.SendQueue(rate=rate, burst=50))
    client.handle("Reset", lambda payload: {"status": payload["type"]})
    client.handle("Fails", lambda payload: 1 / 0)
    waiting, queued = client.submit(["BootNotification", {}]), client.submit(["Heartbeat", {}])
    id = taken(peer)[1]
    peer.send_text('[2, "c1", "Reset", {"type": "Soft"}]')
    assert taken(peer) == [3, "c1", {"status": "Soft"}]
    peer.send_text('[2, "c2", "Unknown", {}]')
    assert taken(peer)[:3] == [4, "c2", "NotImplemented"]
    peer.send_text('[2, "c3", "Fails", {}]')
    assert taken(peer)[:3] == [4, "c3", "InternalError"]
    assert not waiting.done()
    peer.send_text(json.dumps([3, id, {}]))
    assert waiting.result(LONG) == {}
    _, id, action, _ = taken(peer)
    assert action == "Heartbeat"
    peer.send_text(json.dumps([3, id, {"currentTime": "now"}]))
    assert queued.result(LONG) == {"currentTime": "now"}
    close_now(client)


def test_a_handler_may_call_the_central_system(raw):
    client, peer = open_charge_point(raw)
    client.handle("TriggerMessage", lambda payload: client.call("StatusNotification", {"connectorId": 1}))
    peer.send_text('[2, "c1", "TriggerMessage", {}]')
    _, id, action, _ = taken(peer)
    assert action == "StatusNotification"
    peer.send_text(json.dumps([3, id, {"a": 1}]))
    assert taken(peer) == [3, "c1", {"a": 1}]
    close_now(client)


def test_a_call_that_is_queued_or_was_sent_is_named_in_its_timeout_unless_it_is_large(raw):
    client, peer = open_charge_point(raw)
    client.submit(["Authorize", {}], timeout=LONG)
    with pytest.raises(RequestTimeout, match="StatusNotification") as caught:
        client.request(["StatusNotification", {}], timeout=SHORT / 4)  # one call is in flight at a time
    assert caught.value.phase == "queued"
    peer.send_text(json.dumps([3, taken(peer)[1], {}]))
    with pytest.raises(RequestTimeout, match="BootNotification"):
        client.request(["BootNotification", {}], timeout=SHORT / 4)
    with pytest.raises(RequestTimeout) as caught:
        client.request(["DataTransfer", {"data": "x" * 5000}], timeout=SHORT / 4)
    assert "DataTransfer" not in str(caught.value)
    close_now(client)


def test_a_slow_handler_with_workers_does_not_wait_for_hooks(raw):
    entered, leave = threading.Event(), threading.Event()

    def on_message(client, message):
        entered.set()
        leave.wait(LONG)

    client, peer = open_charge_point(raw, on_message=on_message)
    client.handle("Reset", lambda payload: {"status": "Accepted"}, workers=1)
    peer.send_text('{"an": "event"}')
    assert entered.wait(LONG)
    peer.send_text('[2, "c1", "Reset", {}]')
    assert taken(peer) == [3, "c1", {"status": "Accepted"}]
    leave.set()
    close_now(client)


def test_the_central_system_sets_the_interval_of_heartbeats_and_calls_wait_for_their_answer(raw):
    def on_session(client, session):
        session.heartbeat(session.call("BootNotification", {})["interval"])

    client = wsclient.Client(
        raw.url,
        protocol=Ocpp(),
        on_session=on_session,
        heartbeat=Heartbeat(Request(["Heartbeat", {}]), 300, only_if_idle=True),
        ping_interval=None,
        ping_timeout=LONG,
    )
    start = start_call(client.start)
    peer = raw.accept().upgrade("Sec-WebSocket-Protocol: ocpp1.6")
    peer.send_text(json.dumps([3, taken(peer)[1], {"interval": 0.3}]))
    start.result(LONG)
    unanswered = [taken(peer)]
    waiting = client.submit(["Authorize", {}])
    peer.send_frame(9, b"behind it")
    while (frame := peer.receive_frame()) != (10, b"behind it"):
        unanswered.append(json.loads(frame[1]))  # on a slow machine a further heartbeat is due
    assert {action for _, _, action, _ in unanswered} == {"Heartbeat"}
    assert not waiting.done()
    for _, id, _, _ in unanswered:
        peer.send_text(json.dumps([3, id, {}]))
    while (call := taken(peer))[2] == "Heartbeat":
        peer.send_text(json.dumps([3, call[1], {}]))
    peer.send_text(json.dumps([3, call[1], {}]))
    assert waiting.result(LONG) == {}
    close_now(client)
