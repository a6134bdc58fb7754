"""Requests and their replies in a recording."""

import pytest

from wsclient.cli.pairs import Pairs

SENT, RECEIVED = "sent", "received"


def found(messages, protocol=None):
    """The requests and replies in the order in which the pairs are complete; then those without a reply."""
    pairs = Pairs(protocol)
    result = []
    for at, (direction, message) in enumerate(messages):
        result += pairs.add(1, direction, at, message)
    result += pairs.finish()
    return [(one.request, one.reply, one.seconds) for one in result]


ASK, ANSWER = {"id": 1, "method": "add"}, {"id": 1, "result": 3}


@pytest.mark.parametrize(
    ("protocol", "request_", "reply"),
    [
        (None, ASK, ANSWER),
        (None, ASK, ASK),  # an echo
        (None, {"reqId": "a"}, {"reqId": "a", "ok": True}),
        (None, [2, "u1", "Heartbeat", {}], [3, "u1", {}]),  # OCPP
        (None, ["1", "2", "room", "join", {}], ["1", "2", "room", "reply", {}]),  # Phoenix
        (None, [{"id": 1, "method": "a"}, {"id": 2, "method": "b"}], [{"id": 2, "result": 0}, {"id": 1, "result": 0}]),
        (None, {"id": "x", "type": "subscribe"}, {"id": "x", "type": "next"}),
        ("id=meta.nr", {"meta": {"nr": 5}}, {"meta": {"nr": 5}, "ok": 1}),
        ("obs", {"op": 6, "d": {"requestId": "q"}}, {"op": 7, "d": {"requestId": "q"}}),
        ("jupyter", {"header": {"msg_id": "m"}}, {"header": {"msg_id": "r"}, "parent_header": {"msg_id": "m"}}),
        ("fifo", "how are you", "fine"),
    ],
)
def test_a_reply_is_found(protocol, request_, reply):
    event = {"id": 77, "result": "of no request"} if protocol != "fifo" else None
    messages = [(SENT, request_), (RECEIVED, event), (RECEIVED, reply)]
    assert found([one for one in messages if one[1] is not None], protocol) == [
        (request_, reply, 2 if event is not None else 1)
    ]


@pytest.mark.parametrize(
    ("direction", "message"),
    [
        (RECEIVED, {"id": 1, "method": "ask"}),  # a call of the server with the same id
        (RECEIVED, {"id": "1", "result": 3}),  # text is not a number
        (RECEIVED, {"id": True, "result": 3}),
        (SENT, ANSWER),
        (RECEIVED, "1"),
        (RECEIVED, b"\x00"),
        (RECEIVED, [1]),
        (RECEIVED, 1),
    ],
)
def test_what_is_no_reply(direction, message):
    assert (ASK, None, None) in found([(SENT, ASK), (direction, message)])


def test_a_call_of_the_server_is_answered_by_the_client():
    pairs = Pairs()
    assert pairs.add(1, RECEIVED, 1.0, ASK) == []
    assert pairs.waiting == 0  # of the client
    (pair,) = pairs.add(1, SENT, 1.5, ANSWER)
    assert pair == (RECEIVED, 1.0, 0.5, ASK, ANSWER)


def test_a_message_that_ends_a_subscription_is_no_request():
    assert found([(SENT, {"id": "1", "type": "complete"}), (SENT, {"id": 9, "result": None})]) == []


@pytest.mark.parametrize("answer", [[3, "u1", {}], [4, "u1", "NotImplemented", "", {}]])
def test_the_answer_of_a_charge_point_to_a_call_that_was_not_recorded_is_no_request(answer):
    assert found([(SENT, answer)]) == []


def test_a_list_with_a_number_as_its_id_is_no_answer_of_a_charge_point():
    join = [3, 4, "room", "join", {}]  # Phoenix, from a client that counts with numbers
    assert found([(SENT, join)]) == [(join, None, None)]


def test_a_reply_on_another_connection_is_none():
    pairs = Pairs()
    pairs.add(1, SENT, 0.0, ASK)
    assert pairs.add(2, RECEIVED, 1.0, ANSWER) == []
    assert pairs.waiting == 1
    assert [one.reply for one in pairs.lost(1)] == [None]
    assert pairs.waiting == 0


def test_the_requests_that_wait_are_limited(monkeypatch):
    monkeypatch.setattr("wsclient.cli.pairs._MOST_WAITING", 3)
    pairs = Pairs()
    dropped = [one for number in range(5) for one in pairs.add(1, SENT, 0.0, {"id": number})]
    assert [one.request for one in dropped] == [{"id": 0}, {"id": 1}]
    assert pairs.waiting == 3


def test_a_later_request_with_an_id_of_a_batch_keeps_its_place():
    batch, later = [{"id": 1, "method": "a"}, {"id": 2, "method": "b"}], {"id": 2, "method": "c"}
    one, two = {"id": 1, "result": 0}, {"id": 2, "result": 0}
    assert found([(SENT, batch), (SENT, later), (RECEIVED, one), (RECEIVED, two)]) == [(batch, one, 2), (later, two, 2)]
