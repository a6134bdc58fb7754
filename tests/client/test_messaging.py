"""call(), notify() and request([...]): methods of the server, and several requests in one message."""

import json
import threading

import pytest

import wsclient
from wsclient import Fifo, JsonId, JsonRpc

from ..support import AMPLE, LONG, SHORT, eventually
from ..support.peers import open_against
from ..support.threads import BlockingCall


def received(peer):
    return json.loads(peer.receive_text())


def reply(peer, id, result):
    peer.send_text(json.dumps({"jsonrpc": "2.0", "id": id, "result": result}))


# --- call and notify -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("params", [[1, 2], {"a": 1}, None])
def test_a_call_returns_the_result(raw, params):
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    asking = BlockingCall(client.call, "add", params, timeout=LONG)
    sent = received(peer)
    expected = {"jsonrpc": "2.0", "method": "add", "id": sent["id"], "params": params}
    assert sent == {name: value for name, value in expected.items() if value is not None}
    reply(peer, sent["id"], {"sum": 3})
    assert asking.result() == {"sum": 3}
    client.close(timeout=0)


def test_a_call_raises_the_error_of_the_server(raw):
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    asking = BlockingCall(client.call, "add", timeout=LONG)
    id = received(peer)["id"]
    peer.send_text(json.dumps({"id": id, "error": {"code": -32602, "message": "bad params", "data": [1]}}))
    with pytest.raises(wsclient.RemoteError, match="bad params") as caught:
        asking.result()
    assert (caught.value.code, caught.value.message, caught.value.data) == (-32602, "bad params", [1])
    client.close(timeout=0)


def test_an_error_without_a_code_is_raised_too(raw):
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    futures = [client.submit({"method": "x"}) for _ in range(2)]
    for said in ({"message": "no code"}, "words"):
        peer.send_text(json.dumps({"id": received(peer)["id"], "error": said}))
    for future, words in zip(futures, ("no code", "words"), strict=True):
        with pytest.raises(wsclient.RemoteError, match=words) as caught:
            future.result(LONG)
        assert caught.value.code is None
    client.close(timeout=0)


def test_only_an_idempotent_call_is_sent_again_after_a_lost_connection(raw):
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    lost = BlockingCall(client.call, "pay", timeout=LONG)
    received(peer)
    again = BlockingCall(client.call, "look", timeout=LONG, idempotent=True)
    first = received(peer)["id"]
    peer.reset()
    with pytest.raises(wsclient.ConnectionLost) as caught:
        lost.result()
    assert caught.value.sent is True
    second = raw.accept().upgrade()
    sent = received(second)
    assert sent["method"] == "look"
    assert sent["id"] != first
    reply(second, sent["id"], "seen")
    assert again.result() == "seen"
    client.close(timeout=0)


def test_a_call_without_an_answer_times_out(raw):
    client, _, _ = open_against(raw, protocol=JsonRpc())
    with pytest.raises(wsclient.RequestTimeout):
        client.call("add", timeout=SHORT)
    client.close(timeout=0)


def test_a_notification_has_no_id_and_leaves_no_waiting_request(raw):
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    delivery = client.notify("exit", [1])
    assert received(peer) == {"jsonrpc": "2.0", "method": "exit", "params": [1]}
    assert isinstance(delivery, wsclient.Delivery)
    eventually(lambda: delivery.state == "written")
    assert client._wsclient.context.table.in_flight == 0
    client.close(timeout=0)


def test_a_protocol_is_informed_whether_an_answer_is_expected(raw):
    class Telling(JsonId):
        def build(self, method, params, notify):
            return {"method": method, "notify": notify}

    client, peer, _ = open_against(raw, protocol=Telling())
    client.notify("a")
    assert received(peer) == {"method": "a", "notify": True}
    asking = BlockingCall(client.call, "b", timeout=LONG)
    sent = received(peer)
    assert (sent["method"], sent["notify"]) == ("b", False)
    reply(peer, sent["id"], 1)
    asking.result()
    client.close(timeout=0)


def test_a_session_can_call(raw):
    results = []
    client = wsclient.Client(
        raw.url,
        protocol=JsonRpc(),
        on_session=lambda _, session: results.append(session.call("login", {"user": "me"}, timeout=LONG)),
        ping_interval=None,
    )
    starter = threading.Thread(target=client.start)
    starter.start()
    peer = raw.accept().upgrade()
    sent = received(peer)
    assert (sent["method"], sent["params"]) == ("login", {"user": "me"})
    reply(peer, sent["id"], "welcome")
    starter.join(LONG)
    assert results == ["welcome"]
    client.close(timeout=0)


@pytest.mark.parametrize("method", [None, 5, b"add", ["add"]])
def test_a_method_that_is_not_a_string_is_refused(raw, method):
    client, _, _ = open_against(raw, protocol=JsonRpc())
    for call in (client.call, client.notify):
        with pytest.raises(TypeError, match="method must be a str"):
            call(method)
    client.close(timeout=0)


def test_call_is_refused_if_the_protocol_has_no_methods(raw):
    client, _, _ = open_against(raw, protocol=Fifo())
    for call in (client.call, client.notify):
        with pytest.raises(TypeError, match="Fifo has no methods"):
            call("add")
    client.close(timeout=0)


# --- several requests in one message ---------------------------------------------------------------------------------

BATCH = [{"method": "a"}, {"method": "b", "params": [2]}, {"method": "c"}]


def test_a_batch_is_one_frame_with_new_ids_and_its_replies_are_returned_in_request_order(raw):
    client, peer, seen = open_against(raw, protocol=JsonRpc())
    client.submit({"method": "before"})
    before = received(peer)["id"]
    asking = BlockingCall(client.request, BATCH, timeout=LONG)
    opcode, payload = peer.receive_frame()
    sent = json.loads(payload)
    assert opcode == 1
    ids = [one.pop("id") for one in sent]
    assert sent == [{"jsonrpc": "2.0", **one} for one in BATCH]
    assert [before, *ids] == sorted({before, *ids})
    assert all("id" not in one for one in BATCH)
    peer.send_text(json.dumps([{"id": id, "result": f"to {id}"} for id in reversed(ids)]))
    assert asking.result() == [f"to {id}" for id in ids]
    assert seen == []
    client.close(timeout=0)


def test_replies_to_a_batch_can_arrive_one_by_one(raw):
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    asking = BlockingCall(client.request, BATCH, timeout=LONG)
    for one in reversed(received(peer)):
        reply(peer, one["id"], one["method"].upper())
    assert asking.result() == ["A", "B", "C"]
    client.close(timeout=0)


def test_a_batch_with_a_missing_reply_times_out_and_its_error_has_the_other_replies(raw):
    client, peer, seen = open_against(raw, protocol=JsonRpc())
    asking = BlockingCall(client.request, BATCH, timeout=1.5)  # two replies have to come in time
    first, middle, last = (one["id"] for one in received(peer))
    peer.send_text(json.dumps([{"id": first, "result": 1}, {"id": last, "result": 3}]))
    with pytest.raises(wsclient.RequestTimeout) as caught:
        asking.result()
    assert caught.value.phase == "waiting"
    one, missing, three = caught.value.results
    assert (one, three) == (1, 3)
    assert isinstance(missing, wsclient.RequestTimeout)
    reply(peer, middle, "late")
    eventually(lambda: len(seen) == 1)
    assert client._wsclient.context.table.in_flight == 0
    client.close(timeout=0)


def test_an_error_in_a_batch_is_raised(raw):
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    asking = BlockingCall(client.request, BATCH, timeout=LONG)
    ids = [one["id"] for one in received(peer)]
    peer.send_text(json.dumps([
        {"id": ids[1], "error": {"code": 9, "message": "no"}},
        {"id": ids[2], "error": {"code": 8, "message": "nor this"}},
    ]))  # fmt: skip
    reply(peer, ids[0], 1)
    with pytest.raises(wsclient.RemoteError, match="no") as caught:
        asking.result()
    assert [caught.value.code, caught.value.results[0]] == [9, 1]
    assert [error.code for error in caught.value.results[1:]] == [9, 8]
    client.close(timeout=0)


def test_a_batch_whose_connection_is_lost_raises_connection_lost(raw):
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    asking = BlockingCall(client.request, BATCH, timeout=LONG)
    received(peer)
    peer.reset()
    with pytest.raises(wsclient.ConnectionLost) as caught:
        asking.result()
    assert caught.value.sent is True
    client.close(timeout=0)


def test_an_idempotent_batch_is_sent_again_without_the_answered_requests(raw):
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    asking = BlockingCall(client.request, BATCH, timeout=LONG, idempotent=True)
    ids = [one["id"] for one in received(peer)]
    reply(peer, ids[0], "A")
    eventually(lambda: client.stats.requests_ok == 1)
    peer.reset()
    again = raw.accept().upgrade()
    sent = received(again)  # one message, as before
    assert [one["method"] for one in sent] == ["b", "c"]
    for one in sent:
        assert one["id"] > max(ids)
        reply(again, one["id"], one["method"].upper())
    assert asking.result() == ["A", "B", "C"]
    client.close(timeout=0)


def test_a_batch_queued_offline_is_sent_after_the_reconnect(raw):
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    peer.reset()
    waiting = raw.accept()  # it is connecting, and gets no response yet
    asking = BlockingCall(client.request, BATCH, timeout=LONG)
    eventually(lambda: client.stats.queue_depth == 1)
    waiting.upgrade()
    sent = received(waiting)
    assert [one["method"] for one in sent] == ["a", "b", "c"]
    waiting.send_text(json.dumps([{"id": one["id"], "result": one["method"]} for one in sent]))
    assert asking.result() == ["a", "b", "c"]
    client.close(timeout=0)


def test_a_batch_that_times_out_offline_is_not_sent_later(raw):
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    peer.reset()
    waiting = raw.accept()
    with pytest.raises(wsclient.RequestTimeout) as caught:
        client.request(BATCH, timeout=SHORT)
    assert caught.value.phase == "queued"
    client.send("mark")
    waiting.upgrade()
    assert waiting.receive_text() == "mark"
    client.close(timeout=0)


def test_close_withdraws_a_batch_from_the_queue(raw):
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    asking = BlockingCall(client.request, BATCH, timeout=LONG)
    received(peer)
    client.close(timeout=0)
    with pytest.raises(wsclient.ClientClosed):
        asking.result()


def test_an_invalid_batch_is_refused(raw):
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    with pytest.raises(ValueError, match="at least one"):
        client.request([])
    for option in ("match", "until"):
        with pytest.raises(ValueError, match="not for a batch"):
            client.request(BATCH, **{option: bool})
    with pytest.raises(ValueError, match="in flight"):
        client.request([{"id": 5, "method": "a"}, {"id": 5, "method": "b"}])
    with pytest.raises(TypeError):
        client.request([{"method": "a"}, "text"])
    with pytest.raises(TypeError):
        client.request([{"method": "a"}, {"method": "b", "params": object()}])
    assert client._wsclient.context.table.everything() == []
    client.send("mark")
    assert peer.receive_text() == "mark"  # nothing of it was sent
    client.close(timeout=0)


def test_without_support_of_batches_a_list_is_refused(raw):
    client, _, _ = open_against(raw, protocol=JsonId())
    with pytest.raises(TypeError, match="must be a dict"):
        client.request(BATCH)
    client.close(timeout=0)


def test_a_late_error_reaches_on_message_complete(raw):
    client, peer, seen = open_against(raw, protocol=JsonRpc())
    late = {"jsonrpc": "2.0", "id": 99, "error": {"code": 1, "message": "no"}}
    peer.send_text(json.dumps(late))
    eventually(lambda: seen == [late])
    assert client.stats.requests_late == 1
    client.close(timeout=0)


# --- many at once ----------------------------------------------------------------------------------------------------


def test_request_many_returns_the_other_replies_if_parts_of_a_batch_reply_are_missing(raw):
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    asking = BlockingCall(client.request_many, BATCH, timeout=AMPLE, return_exceptions=True)
    ids = [received(peer)["id"] for _ in BATCH]
    peer.send_text(json.dumps([{"id": ids[2], "result": "C"}, {"id": ids[0], "result": "A"}]))
    first, missing, last = asking.result()
    assert (first, last) == ("A", "C")
    assert isinstance(missing, wsclient.RequestTimeout)
    client.close(timeout=0)


def test_three_thousand_replies_in_one_message_reach_their_requests(raw):
    client, peer, seen = open_against(raw, protocol=JsonRpc())
    futures = [client.submit({"method": "n", "params": [n]}) for n in range(3000)]
    asked = [received(peer) for _ in futures]
    peer.send_text(json.dumps([{"id": one["id"], "result": one["params"]} for one in reversed(asked)]))
    assert [future.result(LONG) for future in futures] == [[n] for n in range(3000)]
    assert seen == []
    client.close(timeout=0)


@pytest.mark.parametrize("unmatched", ["1", True, 1.5, 2, None, [1], {"id": 1}])
def test_a_reply_with_another_id_or_an_id_of_another_type_answers_no_request(raw, unmatched):
    client, peer, seen = open_against(raw, protocol=JsonRpc())
    future = client.submit({"method": "x"})
    id = received(peer)["id"]
    assert id == 1
    reply(peer, unmatched, "a stranger's")
    eventually(lambda: len(seen) == 1)
    assert not future.done()
    reply(peer, 1, "its own")
    assert future.result(LONG) == "its own"
    client.close(timeout=0)


def test_an_event_with_the_id_of_a_request_answers_no_request(raw):
    client, peer, _ = open_against(raw, protocol=JsonRpc())
    future = client.submit({"method": "x"})
    id = received(peer)["id"]
    heard = []
    client.on("news", heard.append)
    peer.send_text(json.dumps({"method": "news", "params": {"id": id}}))
    eventually(lambda: heard)
    assert not future.done()
    client.close(timeout=0)
