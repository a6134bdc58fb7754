"""What a message becomes as it is taken to the line: its id, its bytes, or nothing at all."""

import json
import math

import pytest

import wsclient
from wsclient import Client, Fifo, JsonId, JsonRpc, Protocol, _batches, _departing, _requests
from wsclient._clock import Deadline
from wsclient._frames import Opcode
from wsclient._outgoing import Outgoing, Passage
from wsclient._pending import OLDEST
from wsclient._waiter import Waiter

NEVER = Deadline(None)


@pytest.fixture
def core():
    return core_of(None)


def core_of(protocol):
    return Client("ws://localhost", **({} if protocol is None else {"protocol": protocol}))._wsclient.core


def begun(core, message, **options):
    """A request that is queued."""
    request = _requests.make(core.protocol, message, options.pop("deadline", NEVER), **options)
    request.waiter = Waiter()
    _requests.begin(core, request, timed=False)
    return request


def payload_of(core, entry, number=1):
    return _departing.payload_of(core, number, entry)


class Given(Protocol):
    """Its ids are those it is given, in turn; ``ids`` may hold errors too."""

    def __init__(self, *ids):
        self.ids = [None, *ids]  # the first is for the trial encoding
        self.asked = 0

    def new_id(self):
        self.asked += 1
        id = self.ids.pop(0)
        if isinstance(id, Exception):
            raise id
        return id

    def encode_request(self, message, id):
        return f"{id} {message}"


def test_what_is_no_request_goes_out_as_it_is(core):
    assert payload_of(core, Outgoing(Opcode.BINARY, b"\x00", 1)) == b"\x00"


def test_ids_are_given_in_the_order_of_departure_not_of_the_calls(core):
    first, second = begun(core, {"n": 1}), begun(core, {"n": 2})
    assert json.loads(payload_of(core, second)) == {"id": 1, "n": 2}
    assert json.loads(payload_of(core, first)) == {"id": 2, "n": 1}
    assert core.pending.find(1) is second


def test_whoever_departs_again_gets_a_fresh_id(core):
    request = begun(core, {"n": 1}, idempotent=True)
    assert json.loads(payload_of(core, request)) == {"id": 1, "n": 1}
    core.pending.end_connection()
    assert json.loads(payload_of(core, request, 2)) == {"id": 2, "n": 1}
    assert core.pending.find(1) is None


def test_a_callers_own_id_stays_with_each_departure(core):
    request = begun(core, {"id": 40, "n": 1}, idempotent=True)
    first = payload_of(core, request)
    core.pending.end_connection()
    assert payload_of(core, request, 2) == first
    assert json.loads(payload_of(core, begun(core, {}), 2)) == {"id": 41}


def test_whoever_waits_no_more_is_not_sent(core):
    request = begun(core, {"n": 1})
    _requests.cancel(core, request)
    assert payload_of(core, request) is None
    assert core.pending.in_flight == 0


def test_a_match_request_takes_no_id(core):
    assert json.loads(payload_of(core, begun(core, {"n": 1}, match=bool))) == {"n": 1}
    assert json.loads(payload_of(core, begun(core, {}))) == {"id": 1}


def test_new_id_is_asked_again_while_its_answer_is_in_flight():
    core = core_of(Given(7, 7, 7, 8, 7))
    first = begun(core, "a")
    assert payload_of(core, first) == b"7 a"
    assert payload_of(core, begun(core, "b")) == b"8 b"
    assert core.protocol.asked == 5
    _requests.answer(core, first, "reply")
    assert payload_of(core, begun(core, "c")) == b"7 c"


def test_new_id_is_asked_again_while_its_answer_is_the_callers_and_queued():
    class Own(Given):
        def id_of(self, message):
            return message.get("own")

    core = core_of(Own(7, 8))
    owned = begun(core, {"own": 7})
    assert payload_of(core, begun(core, {})) == b"8 {}"
    assert payload_of(core, owned) == b"7 {'own': 7}"


def test_a_protocol_whose_ids_are_all_in_flight_is_not_asked_for_ever(monkeypatch):
    monkeypatch.setattr(_departing, "_MAX_ID_TRIES", 100)
    core = core_of(Given(*[7] * 200))
    payload_of(core, begun(core, "a"))
    second = begun(core, "b")
    assert payload_of(core, second) is None
    assert isinstance(second.waiter.error, wsclient.ProtocolError)
    assert "Given.new_id()" in str(second.waiter.error)


def test_an_error_of_encode_request_is_told_as_it_is_and_keeps_no_place():
    class Fussy(Fifo):
        def encode_request(self, message, id):
            if id == 2:
                raise LookupError("not today")
            return message

    core = core_of(Fussy())  # 1 is for the trial
    refused = begun(core, "a")
    assert payload_of(core, refused) is None
    assert isinstance(refused.waiter.error, LookupError)
    assert core.pending.find(OLDEST) is None


def test_a_message_whose_id_a_request_took_in_the_same_moment_is_lost_and_that_is_logged(core, caplog):
    request = begun(core, {"n": 1})
    entry = _requests.plain(core, {"id": 2, "method": "mine"})
    request.id = entry.ids[0]
    core.pending.depart(request, entry.ids[0])
    assert payload_of(core, entry) is None
    assert entry.state == "lost"
    assert "request with its id 2 is in flight" in caplog.text
    (request,) = core.pending.everything()
    assert _requests.answer(core, request, 1)
    assert payload_of(core, _requests.plain(core, {"id": 2, "method": "mine"})) is not None


# --- several as one --------------------------------------------------------------------------------------------------


def batch_of(core, *messages, bound=None):
    batch = _batches.make(core, list(messages), NEVER, bound=bound, match=None, until=None, idempotent=False)
    _batches.begin(core, batch, Waiter())
    assert core.outbox.take(1000, None) == [batch]
    return batch, batch.members


def test_a_batch_is_one_array_with_fresh_ids_in_its_order():
    core = core_of(JsonRpc(None))
    batch, requests = batch_of(core, {"method": "a"}, {"method": "b"})
    payload = payload_of(core, batch)
    assert json.loads(payload) == [{"id": 1, "method": "a"}, {"id": 2, "method": "b"}]
    assert [core.pending.find(id) for id in (1, 2)] == requests


def test_whoever_waits_no_more_is_left_out_of_its_batch():
    core = core_of(JsonRpc(None))
    batch, (gone, stays) = batch_of(core, {"method": "a"}, {"method": "b"})
    _requests.cancel(core, gone)
    (sent,) = json.loads(payload_of(core, batch))
    assert sent == {"id": stays.id, "method": "b"}
    assert core.pending.find(stays.id) is stays


def test_a_batch_that_nobody_waits_for_is_not_sent():
    core = core_of(JsonRpc(None))
    batch, requests = batch_of(core, {"method": "a"}, {"method": "b"})
    for request in requests:
        _requests.cancel(core, request)
    assert payload_of(core, batch) is None


def test_a_batch_of_another_connection_ends_with_it():
    core = core_of(JsonRpc(None))
    requests = [_requests.make(core.protocol, {"method": name}, NEVER, bound=1) for name in "ab"]
    for request in requests:
        request.waiter = Waiter()
        core.pending.add(request, timed=False)
    batch = _requests.Batch(requests, deadline=NEVER, bound=1)
    assert payload_of(core, batch, 2) is None
    assert batch.state == "lost"
    assert all(isinstance(request.waiter.error, wsclient.ConnectionLost) for request in requests)


# --- on the edges ---------------------------------------------------------------------------------------------------


def test_a_request_by_order_that_times_out_while_it_is_written_still_costs_the_connection():
    """Else its reply would be taken for that of the next request."""
    client = Client("ws://localhost", protocol=Fifo())
    core = client._wsclient.core
    request = _requests.make(core.protocol, "ask", Deadline(math.inf))
    request.waiter = Waiter()
    _requests.begin(core, request, timed=False)
    assert core.outbox.take(1000, None) == [request]
    assert payload_of(core, request) == b"ask"
    assert _requests.time_out(core, request)  # its caller's deadline passes here, on another thread
    request.put_on(Passage(1), 9)
    assert core.orders.drop is not None or core.pending.find(OLDEST) is request
    client.close()


def test_what_is_bound_to_a_connection_that_is_over_goes_out_on_no_other():
    """It may have been queued a moment after its connection was swept out of the queue."""
    client = Client("ws://localhost")
    core = client._wsclient.core
    request = _requests.make(core.protocol, {"method": "add"}, Deadline(None), bound=1)
    request.waiter = Waiter()
    core.pending.add(request, timed=False)
    message = Outgoing(Opcode.TEXT, b"hello", 5, bound=1)
    assert payload_of(core, message, 2) is None
    assert payload_of(core, request, 2) is None
    assert message.state == request.state == "lost"
    error = request.waiter.error
    assert isinstance(error, wsclient.ConnectionLost)
    assert error.sent is False
    client.close()


def test_a_subclass_may_have_ids_that_are_no_numbers():
    class Sessions(JsonId):
        def id_of(self, message):
            return (message["sessionId"], message["id"])

        def encode_request(self, message, id):
            return self.encode(message)

    client = Client("ws://localhost", protocol=Sessions())
    core = client._wsclient.core
    request = _requests.make(core.protocol, {"sessionId": "a", "id": 5}, Deadline(None))
    _requests.begin(core, request, timed=False)
    assert json.loads(payload_of(core, request)) == {"sessionId": "a", "id": 5}
    assert core.pending.find(("a", 5)) is request
    client.close()


def test_an_error_of_new_id_is_told_as_it_is():
    core = core_of(Given(ValueError("no ids left")))
    request = begun(core, "ask")
    assert payload_of(core, request) is None
    assert str(request.waiter.error) == "no ids left"
    assert core.protocol.asked == 2
