"""How a reply is matched to its request: ids, encoders, and the meaning of an incoming message."""

import concurrent.futures
import copy
import enum
import json
import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wsclient
from wsclient import Client
from wsclient._errors import ProtocolError, RemoteError, SessionError
from wsclient._rfc6455.frames import Opcode
from wsclient._sending.message import WriteProgress
from wsclient._threads.waiting import Deadline, Waiter
from wsclient.protocols import (
    OLDEST,
    Call,
    Control,
    End,
    Event,
    Failure,
    Fifo,
    GraphQLTransportWs,
    Item,
    JsonId,
    JsonRpc,
    Protocol,
    Reply,
    Request,
    _batch,
    _codec,
    _paths,
)
from wsclient.protocols._batch import Answers
from wsclient.protocols._codec import JSON, StandardJson
from wsclient.protocols._incoming import ABSENT
from wsclient.protocols._numbers import Numbers, SharedNumbers

from ..support import LONG, SHORT
from ..support.strikes import disturb


class Pretty:
    """A codec that returns bytes, with line breaks and an empty line at the end."""

    def dumps(self, value):
        return json.dumps(value, indent=2, allow_nan=False).encode() + b"\n"

    def loads(self, text):
        return json.loads(text)


def standard():
    return _codec.JSON


def orjson():
    return pytest.importorskip("orjson")


CODECS = [standard, orjson, Pretty]


def with_codec(protocol, codec=standard):
    protocol._serve(codec())
    return protocol


def encoder(protocol, message, id):
    """The payload that is sent when the id is known."""
    return protocol._encoder(message).encode(id)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
integers = st.integers(-(2**53), 2**53)
values = st.recursive(
    st.none() | st.booleans() | integers | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
messages = st.dictionaries(texts | st.sampled_from(["id", "method", "params"]), values, max_size=5)
ids = integers | texts | st.floats(allow_nan=False, allow_infinity=False)


# --- JsonId: encoding ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS)
@given(message=messages, id=ids, key=st.sampled_from(["id", "req_id", 'a "quoted" key', "schlüssel\u2028"]))
def test_an_encoder_has_the_same_result_as_encode_request(codec, message, id, key):
    protocol = with_codec(JsonId(key), codec)
    before = copy.deepcopy(message)
    opcode, payload = encoder(protocol, message, id)
    assert opcode is Opcode.TEXT
    assert json.loads(payload) == json.loads(protocol.encode_request(message, id)) == {**before, key: id}
    assert message == before


@pytest.mark.parametrize("codec", CODECS)
def test_the_id_is_the_first_member_so_that_it_can_be_inserted_quickly(codec):
    payload = encoder(with_codec(JsonId(), codec), {"method": "add", "id": None, "params": [1]}, 5)[1]
    assert list(json.loads(payload).items()) == [("id", 5), ("method", "add"), ("params", [1])]


def test_by_default_a_request_is_compact_and_in_utf_8():
    payload = encoder(JsonId(), {"method": "größe", "params": [1, 2]}, 1)[1]
    assert payload.decode() == '{"id":1,"method":"größe","params":[1,2]}'
    assert encoder(JsonId(), {}, 1)[1] == b'{"id":1}'


def test_an_encoder_can_be_used_with_another_id_and_has_the_size_of_its_payload():
    message = {"method": "add", "params": [1]}
    made = JsonId()._encoder(message)
    message["params"].append(2)
    assert json.loads(made.encode(1)[1]) == {"id": 1, "method": "add", "params": [1]}
    assert json.loads(made.encode(2)[1]) == {"id": 2, "method": "add", "params": [1]}
    assert made.size == len(made.encode(7)[1]) - 1


@pytest.mark.parametrize("codec", CODECS)
def test_ids_other_than_numbers_are_inserted_as_json(codec):
    class Named(JsonId):
        def new_id(self):
            return f'request "{super().new_id()}"'

    protocol = with_codec(Named(), codec)
    payload = encoder(protocol, {"method": "add"}, protocol.new_id())[1]
    assert json.loads(payload) == {"id": 'request "1"', "method": "add"}


# --- the short paths of the default codec: the same results as with any other object of the same functions -----------


def short_and_long():
    """Two protocols: one with the default codec, and one with another object that does the same."""
    return with_codec(JsonId(), lambda: JSON), with_codec(JsonId(), StandardJson)


@given(
    st.one_of(st.dictionaries(texts, values, max_size=3).map(json.dumps), texts),
    st.sampled_from(["", "\n", " ", "\r\n", "x"]),
)
def test_the_short_path_of_decoding_gives_the_same_meaning(text, end):
    short, long = short_and_long()
    for whole in (text + end, "{" + text + end, " " + text):
        assert short.decode(whole) == long.decode(whole)


@pytest.mark.parametrize("text", ["{bad\n", "{\n", "{{a}}\n", '{"a":' * 3000, '{"id":' + "9" * 5000 + "}\n"])
def test_text_that_is_not_json_is_an_event_with_the_text(text):
    short, long = short_and_long()
    assert short.decode(text) == long.decode(text) == Event(text)


@given(st.dictionaries(texts | st.just("id"), values, max_size=3))
def test_the_short_path_of_encoding_gives_the_same_payload(message):
    short, long = short_and_long()
    outcomes = []
    for protocol in (short, long):
        try:
            id, encoder = protocol._id_and_encoder(message)
        except ValueError as error:
            outcomes.append(str(error))
        else:
            outcomes.append((id, encoder and encoder.encode(7)))
    assert outcomes[0] == outcomes[1]


def test_new_id_and_id_of_may_be_set_on_the_object_at_any_time():
    protocol = with_codec(JsonId(), lambda: JSON)
    context = Client("ws://localhost:1/", protocol=JsonId())._wsclient.context
    context.protocol.new_id = lambda: 1000
    request = context.requests.make({"a": 1}, Deadline(None))
    context.table.add(request, timed=False)
    assert request.payload_for(context.make_backend(context.table.new_connection(1))) == b'{"id":1000,"a":1}'
    protocol.id_of = lambda message: 77
    assert protocol._id_and_encoder({"a": 1}) == (77, None)


def test_true_as_an_id_is_inserted_as_json_too():
    assert encoder(JsonId(), {}, True)[1] == b'{"id":true}'


@pytest.mark.parametrize("message", [{"text": "\ud800"}, {"\udfff": 1}, {"a": [{"b": "x\ud800"}]}])
def test_a_lone_surrogate_is_refused_immediately(message):
    with pytest.raises(ValueError, match="surrogates"):
        JsonId()._encoder(message)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_without_a_json_form_is_refused_immediately(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        JsonId()._encoder({"params": [value]})


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("value", [object(), b"bytes", {1, 2}])
def test_a_value_without_a_json_form_is_refused_immediately(codec, value):
    with pytest.raises(TypeError):
        with_codec(JsonId(), codec)._encoder({"params": value})


def test_without_json_requests_by_id_are_refused():
    with pytest.raises(TypeError, match="json=None"):
        with_codec(JsonId(), lambda: None)._encoder({"method": "add"})


@pytest.mark.parametrize("text", ["[1]", "null", "{", "}", "", '"{}"'])
def test_a_codec_that_does_not_encode_a_dict_as_an_object_is_refused(text):
    class Odd:
        def dumps(self, value):
            return text

    with pytest.raises(TypeError, match="encode a dict as a JSON object"):
        with_codec(JsonId(), Odd)._encoder({"method": "add"})


def test_encoders_use_the_encode_request_of_a_subclass():
    class Enveloped(JsonId):
        def encode_request(self, message, id):
            return json.dumps([id, message]).encode()

    message = {"method": "add", "params": []}
    made = Enveloped()._encoder(message)
    message["params"].append(1)
    assert made.encode(5) == (Opcode.BINARY, b'[5, {"method": "add", "params": []}]')
    assert made.encode(6) == (Opcode.BINARY, b'[6, {"method": "add", "params": []}]')


# --- JsonId: ids -----------------------------------------------------------------------------------------------------


def test_ids_start_at_1():
    protocol = JsonId()
    assert [protocol.new_id() for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize("ids", [int, str])
def test_a_function_that_interrupts_new_id_gets_another_id(ids):
    protocol, seen, moment = JsonId(ids=ids), [], 1

    def take():
        seen.append(protocol.new_id())

    while disturb(take, moment, take, ("call", "c_call", "c_return")):
        moment += 1
    assert len(set(seen)) == len(seen) > moment


def test_numbers_of_many_threads_differ():
    numbers = SharedNumbers()
    seen = []
    threads = [threading.Thread(target=lambda: seen.append([numbers.next() for _ in range(2_000)])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert all(mine == sorted(mine) for mine in seen)
    assert len({id for mine in seen for id in mine}) == 8_000


@pytest.mark.parametrize("id", [5, 5.5, 0, -3, "", "five", 2**80])
def test_the_id_of_the_caller_is_kept(id):
    protocol = JsonId()
    message = {"id": id, "method": "add"}
    kept = protocol.id_of(message)
    assert (type(kept), kept) == (type(id), id)
    assert json.loads(protocol.encode_request(message, kept)) == message == {"id": id, "method": "add"}


@pytest.mark.parametrize("message", [{}, {"id": None}, {"ID": 5}, {"params": {"id": 5}}])
def test_a_message_without_an_id_gets_one(message):
    assert JsonId().id_of(message) is None


def test_ids_of_the_caller_advance_the_counter_when_they_are_sent():
    protocol = JsonId("req")
    assert protocol.id_of({"req": 70}) == 70
    assert protocol.new_id() == 1
    protocol._reserve_id(70)
    assert protocol.new_id() == 71
    for id in (5, "900", -900, 5.5):
        protocol._reserve_id(id)
    assert protocol.new_id() == 72


def test_a_whole_float_as_an_id_of_the_caller_advances_the_counter_like_the_int():
    protocol = JsonId()
    protocol._reserve_id(2.0)
    assert protocol.new_id() == 3


def test_an_id_above_the_integer_range_of_javascript_does_not_advance_the_counter():
    protocol = JsonId()
    protocol._reserve_id(2**53)
    assert protocol.new_id() == 1
    protocol._reserve_id(2**53 - 2)
    assert protocol.new_id() == 2**53 - 1


@given(owned=st.lists(st.none() | st.integers(-5, 40), max_size=30))
def test_no_id_is_generated_twice_or_after_a_caller_has_used_it(owned):
    protocol = JsonId()
    used = set()
    last = 0
    for id in owned:
        if id is None:
            given_id = protocol.new_id()
            assert given_id not in used
            assert given_id > last
            last = given_id
            used.add(given_id)
        else:
            used.add(id)
            protocol._reserve_id(id)


class ByContent(Protocol):
    """Matches a reply by the content of the request."""

    def id_of(self, message):
        return message["ask"]


@pytest.mark.parametrize(
    ("protocol", "message", "ids"),
    [
        (JsonId(), {"id": 5, "method": "a"}, (5,)),
        (JsonId(), {"id": "5"}, ("5",)),
        (JsonId(), {"method": "a"}, ()),
        (JsonId(), {"id": True}, ()),
        (JsonId(), {"id": None}, ()),
        (JsonId(), {"id": [1]}, ()),
        (JsonId(), "text", ()),
        (JsonId(), [{"id": 5}], ()),
        (JsonId(), {"id": 5, "result": 1}, ()),
        (JsonId(), {"id": 5, "error": 1}, ()),
        (JsonId(), {"id": 5, "method": "a", "result": 1}, (5,)),
        (JsonId(method=None), {"id": 5, "result": 1}, (5,)),
        (JsonId(result=("ok", "is")), {"id": 5, "ok": {"is": 1}}, ()),
        (JsonId(result=("ok", "is")), {"id": 5, "result": 1}, (5,)),
        (JsonId(("head", "id")), {"head": {"id": 5}}, (5,)),
        (
            JsonRpc(),
            [{"id": 5, "method": "a"}, {"method": "b"}, {"id": 6, "result": 1}, {"id": 7, "method": "c"}],
            (5, 7),
        ),
        (GraphQLTransportWs(), {"id": "5", "type": "subscribe", "payload": {}}, ("5",)),
        (GraphQLTransportWs(), {"id": "5", "type": "complete"}, ()),
        (GraphQLTransportWs(), {"type": "subscribe"}, ()),
        (GraphQLTransportWs(), "text", ()),
        (Fifo(), {"id": 5}, ()),
        (ByContent(), {"ask": "x"}, ("x",)),
        (ByContent(), {"tell": "x"}, ()),
        (ByContent(), "text", ()),
    ],
)
def test_a_sent_message_contains_these_ids_that_a_server_may_answer(protocol, message, ids):
    assert protocol._ids_in(message) == ids


def test_an_override_of_own_id_is_used_for_sent_messages_too():
    class Elsewhere(JsonId):
        def id_of(self, message):
            return message["elsewhere"]

    assert Elsewhere()._ids_in({"elsewhere": 5, "id": 6}) == (5,)


def test_graphql_generates_no_id_that_the_caller_has_used():
    protocol = GraphQLTransportWs()
    protocol._reserve_id("3")
    for id in ("word", 9, "\u0663"):
        protocol._reserve_id(id)
    assert protocol.new_id() == "4"


def test_eight_threads_skip_ids_used_by_callers():
    numbers = Numbers()
    given, used = [], []

    def step(start):
        for number in range(start, 4000, 8):
            numbers.step_over(number)
            used.append((number, len(given)))

    threads = [threading.Thread(target=step, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(3000):
        given.append(numbers.next())  # noqa: PERF401 - the other threads look at how many there are
    for thread in threads:
        thread.join(LONG)
    assert given == sorted(set(given))
    places = {number: place for place, number in enumerate(given)}
    for number, taken in used:  # such an id was generated before its use, not after the skip
        assert places.get(number, 0) <= taken


@pytest.mark.parametrize("id", [True, False, [1], {"a": 1}, b"5", (1,)])
def test_an_id_that_is_neither_string_nor_number_is_refused(id):
    with pytest.raises(ValueError, match="must be a string or a number"):
        JsonId().id_of({"id": id})


@pytest.mark.parametrize("message", ["text", b"bytes", [1], None, 5, [("id", 5)]])
def test_a_request_that_is_not_a_dict_is_refused_with_the_alternative(message):
    with pytest.raises(TypeError, match=r"must be a dict.*'id'.*match=.*Fifo"):
        JsonId().id_of(message)


def test_a_key_that_is_an_enum_member_is_found_too():
    class Key(str, enum.Enum):
        ID = "id"

    assert JsonId().id_of({Key.ID: 5}) == 5
    assert json.loads(encoder(JsonId(), {Key.ID: None, "a": 1}, 6)[1]) == {"id": 6, "a": 1}


@pytest.mark.parametrize(
    "options", [{"key": ""}, {"key": 5}, {"key": None}, {"method": 5}, {"method": ()}, {"key": ("a", "")}]
)
def test_invalid_member_names_are_refused(options):
    with pytest.raises(TypeError, match=next(iter(options))):
        JsonId(**options)


# --- JsonId: decoding ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("id", [1, 0, -1, 1.5, "", "a", True, False, [1], {"a": 1}])
def test_an_object_with_an_id_is_the_reply_to_its_request(codec, id):
    message = {"id": id, "result": 3}
    assert with_codec(JsonId(), codec).decode(json.dumps(message)) == Reply(id, message)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ('{"method":5,"params":[1]}', {"method": 5, "params": [1]}),
        ('{"id":null,"error":{}}', {"id": None, "error": {}}),
        ('{"id":7,"method":null}', {"id": 7, "method": None}),
        ("{}", {}),
        ('[{"id":7}]', [{"id": 7}]),
        ("7", "7"),
        ("hello", "hello"),
        ("{broken", "{broken"),
        (b'{"id":7}', b'{"id":7}'),
    ],
)
def test_any_other_message_is_an_event(payload, message):
    assert JsonId().decode(payload) == Event(message)


def test_the_member_names_can_be_chosen():
    protocol = JsonId("req_id", method="op")
    assert protocol.decode('{"req_id":7,"method":"x"}') == Reply(7, {"req_id": 7, "method": "x"})
    assert protocol.decode('{"req_id":7,"op":"x"}') == Call(7, "x", None, {"req_id": 7, "op": "x"})
    assert protocol.decode('{"id":7}') == Event({"id": 7})


def test_an_object_with_a_method_is_an_event_and_with_an_id_a_call():
    tick, ask = {"method": "tick", "params": [1]}, {"id": 7, "method": "ask", "params": {"a": 1}}
    assert JsonId().decode(json.dumps(tick)) == Event(tick, topic="tick")
    assert JsonId().decode(json.dumps(ask)) == Call(7, "ask", {"a": 1}, ask)


def test_without_a_call_member_every_object_with_an_id_is_a_reply():
    message = {"id": 7, "method": "echoed"}
    assert JsonId(method=None).decode(json.dumps(message)) == Reply(7, message)


def test_without_json_every_message_is_an_event():
    protocol = with_codec(JsonId(), lambda: None)
    assert protocol.decode('{"id":7}') == Event('{"id":7}')


def test_a_codec_that_returns_a_subclass_of_dict_works():
    class Record(dict):
        pass

    class Records:
        def dumps(self, value):
            return json.dumps(value)

        def loads(self, text):
            return json.loads(text, object_pairs_hook=Record)

    meaning = with_codec(JsonId(), Records).decode('{"id":7,"result":1}')
    assert meaning == Reply(7, {"id": 7, "result": 1})
    assert type(meaning.value) is Record


# --- Fifo ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", ["text", b"bytes", '{"id":7,"method":"x"}', "[1]", "{broken"])
def test_with_fifo_every_message_answers_the_oldest_request(payload):
    meaning = Fifo().decode(payload)
    assert meaning == Reply(OLDEST, _codec.decode(payload, _codec.JSON))
    assert meaning.id is OLDEST


def test_with_fifo_the_users_function_selects_events_by_the_decoded_message():
    protocol = Fifo(event=lambda message: "event" in message)
    assert protocol.decode('{"event":1}') == Event({"event": 1})
    assert protocol.decode('{"result":1}') == Reply(OLDEST, {"result": 1})


def send(context, request, written):
    """From the client's point of view, it is completely written."""
    assert request.payload_for(context.make_backend(written)) is not None
    request.put_on(WriteProgress(1), 0)


def test_with_fifo_an_event_function_that_raises_completes_no_request_with_a_wrong_reply():
    """It is unknown whether it was a reply. The connection may end, but no reply may be matched to another request."""
    context = Client("ws://localhost", protocol=Fifo(event=lambda message: message["event"]))._wsclient.context
    written = context.table.new_connection(1)
    asked = []
    for question in ("first", "second"):
        request = context.requests.make(question, Deadline(None))
        context.requests.begin(request, Waiter(), timed=False)
        send(context, request, written)
        asked.append(request)
    router = context.make_router(None, written)
    with pytest.raises(ProtocolError, match="the request of the next reply is unknown"):
        router.receive('{"answer":"first"}', 1)
    assert asked[0].waiter.value is None


def test_with_fifo_an_until_function_that_raises_completes_no_request_with_a_wrong_reply():
    """If it was an acknowledgement, the reply is still to come, and would be matched to the next request."""
    context = Client("ws://localhost", protocol=Fifo())._wsclient.context
    request = context.requests.make("ask", Deadline(None), until=lambda reply: reply["done"])
    context.requests.begin(request, Waiter(), timed=False)
    written = context.table.new_connection(1)
    send(context, request, written)
    with pytest.raises(ProtocolError, match="until= raised"):
        context.make_router(None, written).receive('{"answer":"first"}', 1)
    assert isinstance(request.waiter.error, KeyError)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("message", [{"id": 7, "a": [1]}, [1, 2]])
def test_with_fifo_a_request_is_sent_without_an_id(codec, message):
    protocol = with_codec(Fifo(), codec)
    made = protocol._encoder(message)
    assert made.encode(1) == made.encode(2)
    assert json.loads(made.encode(1)[1]) == json.loads(protocol.encode_request(message, 1)) == message
    assert made.size == len(made.encode(1)[1])


def test_with_fifo_texts_and_bytes_are_sent_unchanged():
    assert encoder(Fifo(), "grün", 1) == (Opcode.TEXT, "grün".encode())
    assert encoder(Fifo(), b"\xff", 1) == (Opcode.BINARY, b"\xff")
    assert encoder(Fifo(), bytearray(b"\xff"), 1) == (Opcode.BINARY, b"\xff")


def test_with_fifo_a_lone_surrogate_is_refused_immediately():
    with pytest.raises(ValueError, match="surrogates"):
        Fifo()._encoder("\ud800")


def test_with_fifo_no_id_is_that_of_the_caller():
    protocol = Fifo()
    assert protocol.id_of({"id": 7}) is None
    assert [protocol.new_id() for _ in range(3)] == [1, 2, 3]


def test_a_subclass_of_fifo_can_encode_differently():
    class Lines(Fifo):
        def encode(self, message):
            return f"{message}\n"

    class Numbered(Fifo):
        def encode_request(self, message, id):
            return f"{id} {message}"

    assert encoder(Lines(), "ask", 1) == (Opcode.TEXT, b"ask\n")
    assert encoder(Numbered(), "ask", 5) == (Opcode.TEXT, b"5 ask")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"event": 5}, TypeError),
        ({"max_in_flight": 0}, ValueError),
        ({"max_in_flight": 1.5}, TypeError),
        ({"max_in_flight": True}, TypeError),
    ],
)
def test_wrong_options_of_fifo_are_refused(options, error):
    with pytest.raises(error, match=next(iter(options))):
        Fifo(**options)


def test_fifo_has_an_option_for_the_limit_of_requests_in_flight():
    assert Fifo().max_in_flight is None
    assert Fifo(max_in_flight=1).max_in_flight == 1


# --- a user-defined protocol -----------------------------------------------------------------------------------------


class Tagged(Protocol):
    """Lines such as ``7 add 1 2``, answered by ``7 ok 3`` or ``7 error why``; anything else is an event."""

    def __init__(self):
        self.last = 0

    def new_id(self):
        self.last += 1
        return f"{self.last}"

    def encode_request(self, message, id):
        return f"{id} {' '.join(message)}"

    def decode(self, payload):
        tag, _, rest = payload.partition(" ")
        status, _, value = rest.partition(" ")
        if status == "ok":
            return Reply(tag, value)
        if status == "error":
            return Failure(tag, ValueError(value))
        return Event(payload)


def test_a_user_defined_protocol_gets_a_copy_of_the_message():
    protocol = with_codec(Tagged())
    message = ["add", "1", "2"]
    made = protocol._encoder(message)
    message.append("3")
    assert made.encode("7") == (Opcode.TEXT, b"7 add 1 2")
    assert made.encode("8") == (Opcode.TEXT, b"8 add 1 2")
    assert made.size == len("1 add 1 2")
    assert protocol.decode("7 ok 3") == Reply("7", "3")
    assert protocol.decode("hello") == Event("hello")
    failure = protocol.decode("7 error why")
    assert (failure.id, str(failure.error)) == ("7", "why")


def test_a_user_defined_protocol_that_changes_its_message_changes_a_copy():
    class Writing(Tagged):
        def encode_request(self, message, id):
            message["id"] = id
            return json.dumps(message)

    message = {"params": {"deep": [1]}}
    made = Writing()._encoder(message)
    message["params"]["deep"].append(2)
    assert json.loads(made.encode("9")[1]) == {"id": "9", "params": {"deep": [1]}}
    assert message == {"params": {"deep": [1, 2]}}


def test_a_user_defined_protocol_refuses_immediately_what_it_cannot_encode():
    with pytest.raises(TypeError):
        with_codec(Tagged())._encoder([1, 2])
    with pytest.raises(ValueError, match="surrogates"):
        with_codec(Tagged())._encoder(["\ud800"])


def test_new_id_is_called_by_one_thread_at_a_time():
    """As the documentation of protocols promises: a user-defined one needs no lock."""
    meeting = threading.Barrier(2)
    met = []

    class Watched(Tagged):
        def new_id(self):
            try:
                meeting.wait(SHORT)
                met.append(True)
            except threading.BrokenBarrierError:
                meeting.reset()
            return super().new_id()

    protocol = with_codec(Watched())
    threads = [threading.Thread(target=protocol._encoder, args=(["ask"],)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert not met


def test_the_optional_methods_of_a_protocol_have_defaults():
    protocol = Protocol()
    assert protocol.id_of({"id": 5}) is None
    assert protocol.encode({"a": 1}) == '{"a":1}'
    assert protocol.encode(b"bytes") == b"bytes"
    assert protocol.decode('{"a":1}') == Event({"a": 1})
    assert protocol.decode(b"bytes") == Event(b"bytes")
    assert protocol.reset() is None
    assert protocol.on_session(None) is None
    assert (protocol.subprotocols, protocol.fatal_codes, protocol.max_in_flight) == ((), frozenset(), None)
    for missing in (protocol.new_id, lambda: protocol.encode_request({}, 1)):
        with pytest.raises(NotImplementedError):
            missing()


# --- JsonId: paths into nested objects -------------------------------------------------------------------------------

JUPYTER = {"key": ("header", "msg_id"), "reply_key": ("parent_header", "msg_id"), "method": None, "topic": None}

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)
paths = st.lists(names, min_size=1, max_size=4).map(tuple)


@given(path=paths, id=ids, others=messages)
def test_an_id_is_inserted_at_its_path_and_found_there(path, id, others):
    message = {name: value for name, value in others.items() if name != path[0]}
    before = copy.deepcopy(message)
    protocol = with_codec(JsonId(path, method=None))
    sent = json.loads(encoder(protocol, message, id)[1])
    assert message == before
    assert _paths.found(sent, path) == id
    assert {name: value for name, value in sent.items() if name != path[0]} == before
    assert protocol.decode(json.dumps(sent)) == Reply(id, sent)
    assert protocol.id_of(sent) == id


def test_other_members_on_the_path_are_kept_and_the_callers_objects_are_not_changed():
    protocol = with_codec(JsonId(**JUPYTER))
    header = {"username": "me", "deep": [1]}
    message = {"header": header, "content": {"code": "1+1"}}
    before = copy.deepcopy(message)
    sent = json.loads(protocol.encode_request(message, "abc"))
    assert sent == {"header": {**header, "msg_id": "abc"}, "content": {"code": "1+1"}}
    assert message == before
    assert message["header"] is header
    made = protocol._encoder(message)
    header["deep"].append(2)
    assert json.loads(made.encode(5)[1])["header"] == {"username": "me", "deep": [1], "msg_id": 5}


def test_a_reply_is_matched_only_by_its_own_path():
    protocol = JsonId(**JUPYTER)
    reply = {"header": {"msg_id": "theirs"}, "parent_header": {"msg_id": "mine"}}
    assert protocol.decode(json.dumps(reply)) == Reply("mine", reply)
    broadcast = {"header": {"msg_id": "theirs"}, "parent_header": {}}
    assert protocol.decode(json.dumps(broadcast)) == Event(broadcast)


@pytest.mark.parametrize("header", [None, 5, "text", [], True])
def test_a_value_on_the_path_that_is_not_an_object_is_refused_immediately(header):
    with pytest.raises(TypeError, match="'header' must be an object"):
        with_codec(JsonId(**JUPYTER))._encoder({"header": header})


@pytest.mark.parametrize("header", [None, 5, "text", [], True])
def test_a_value_on_the_path_of_a_reply_that_is_not_an_object_is_not_followed(header):
    message = {"parent_header": header}
    assert JsonId(**JUPYTER).decode(json.dumps(message)) == Event(message)


def test_a_callers_own_id_inside_nested_objects_is_found():
    protocol = JsonId(**JUPYTER)
    assert protocol.id_of({"header": {"msg_id": "mine"}}) == "mine"
    assert protocol.id_of({"header": {}}) is None
    with pytest.raises(ValueError, match="msg_id"):
        protocol.id_of({"header": {"msg_id": True}})


@given(path=paths, value=values, message=messages)
def test_a_value_placed_at_a_path_is_found(path, value, message):
    start = {name: inner for name, inner in message.items() if name != path[0]}
    assert _paths.found(_paths.placed(start, path, value), path) == value
    assert _paths.found(start, path) is _paths.NOTHING


def test_null_is_found_and_different_from_a_missing_member():
    assert _paths.found({"a": {"b": None}}, ("a", "b")) is None
    assert _paths.found({"a": {"b": None}}, ("a", "b", "c")) is _paths.NOTHING
    assert _paths.found([1], ("a",)) is _paths.NOTHING
    assert _paths.found("text", ("a",)) is _paths.NOTHING


@pytest.mark.parametrize("path", ["", (), ("a", ""), ("a", 5), ["a"], 5, None, b"a"])
def test_an_invalid_path_is_refused(path):
    with pytest.raises(TypeError, match="the_option"):
        _paths.checked_path("the_option", path)
    if path is not None:
        for option in ("key", "reply_key", "result", "method", "topic", "stream", "name", "error"):
            with pytest.raises(TypeError, match=option):
                JsonId(**{option: path})


# --- JsonId: other options -------------------------------------------------------------------------------------------


def test_ids_can_be_numeric_strings_or_come_from_a_function():
    strings = JsonId(ids=str)
    assert [strings.new_id() for _ in range(3)] == ["1", "2", "3"]
    assert encoder(strings, {"a": 1}, "2")[1] == b'{"id":"2","a":1}'
    made = iter(["first", "second"])
    own = with_codec(JsonId(ids=lambda: next(made)))
    assert [own.new_id(), own.new_id()] == ["first", "second"]


def test_numeric_string_ids_skip_those_of_the_caller_too():
    protocol = JsonId(ids=str)
    protocol._reserve_id("41")
    assert protocol.new_id() == "42"
    protocol._reserve_id("abc")
    protocol._reserve_id("²")
    protocol._reserve_id("\u0667\u0667")  # digits of another script: not a number that this protocol makes
    assert protocol.new_id() == "43"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"ids": None}, TypeError),
        ({"ids": "int"}, TypeError),
        ({"item": 5}, TypeError),
        ({"final": "final"}, TypeError),
        ({"batch": 1}, TypeError),
        ({"error": 5}, TypeError),
    ],
)
def test_wrong_options_of_json_id_are_refused(options, error):
    with pytest.raises(error, match=next(iter(options))):
        JsonId(**options)


def test_the_result_is_the_value_at_its_path_or_the_whole_reply():
    protocol = JsonId(result=("data", "value"))
    assert protocol.decode('{"id":1,"data":{"value":[5]}}') == Reply(1, [5])
    assert protocol.decode('{"id":1,"data":{"value":null}}') == Reply(1, None)
    assert protocol.decode('{"id":1,"data":{}}') == Reply(1, {"id": 1, "data": {}})


def remote(meaning):
    assert isinstance(meaning, Failure)
    assert isinstance(meaning.error, RemoteError)
    return meaning.id, meaning.error.code, meaning.error.message, meaning.error.data


@pytest.mark.parametrize(
    ("said", "code", "message", "data"),
    [
        ({"code": 7, "message": "no", "data": [1]}, 7, "no", [1]),
        ({"code": "E_NO", "reason": "because"}, "E_NO", "because", None),
        ({"message": "words", "reason": "others"}, None, "words", None),
        ({}, None, "", None),
        ({"message": 5}, None, "5", None),
        ("words alone", None, "words alone", None),
        ("", None, "", None),
        (404, None, "", 404),
        ([1], None, "", [1]),
    ],
)
@pytest.mark.parametrize("how", ["path", "nested path", "function"])
def test_an_error_in_a_reply_becomes_a_remote_error(how, said, code, message, data):
    option = {"path": "error", "nested path": ("status", "error"), "function": lambda reply: reply.get("error")}[how]
    reply = {"id": 3, "status": {"error": said}} if how == "nested path" else {"id": 3, "error": said}
    assert remote(JsonId(error=option).decode(json.dumps(reply))) == (3, code, message, data)


@pytest.mark.parametrize("error", ["error", lambda reply: reply.get("error")])
def test_a_reply_whose_error_is_null_or_missing_is_not_an_error(error):
    protocol = JsonId(error=error)
    for reply in ({"id": 1, "error": None}, {"id": 1}):
        assert protocol.decode(json.dumps(reply)) == Reply(1, reply)


def test_without_an_error_option_no_reply_is_an_error():
    assert JsonId().decode('{"id":1,"error":{"code":5}}') == Reply(1, {"id": 1, "error": {"code": 5}})
    assert JsonId(error="error").decode('{"error":{"code":5}}') == Event({"error": {"code": 5}})


def test_a_function_that_finds_errors_gets_the_whole_reply():
    protocol = JsonId(error=lambda reply: reply if reply["status"] != "ok" else None, result="value")
    assert protocol.decode('{"id":1,"status":"ok","value":2}') == Reply(1, 2)
    assert remote(protocol.decode('{"id":1,"status":"bad","code":9,"message":"m"}')) == (1, 9, "m", None)


def test_items_are_distinguished_from_replies_and_errors_take_precedence():
    protocol = JsonId(item=lambda reply: reply.get("more", False), result="part", error="error")
    assert protocol.decode('{"id":1,"more":true,"part":5}') == Item(1, 5)
    assert protocol.decode('{"id":1,"part":6}') == Reply(1, 6)
    assert remote(protocol.decode('{"id":1,"more":true,"error":"e"}')) == (1, None, "e", None)
    assert protocol.stream_of({}, 1) == 1
    assert JsonId().stream_of({}, 1) is None


def test_final_gets_the_request_and_the_value():
    reported = []
    protocol = JsonId(result="r", final=lambda request, value: reported.append((request, value)) or value == "done")
    assert protocol.final({"ask": 1}, "ack") is False
    assert protocol.final({"ask": 1}, "done") is True
    assert reported == [({"ask": 1}, "ack"), ({"ask": 1}, "done")]
    assert JsonId().final({}, "ack") is True


def test_the_topic_of_an_event_is_at_its_path():
    protocol = JsonId(method=None, topic=("header", "kind"))
    message = {"header": {"kind": "status"}}
    assert protocol.decode(json.dumps(message)) == Event(message, topic="status")
    assert protocol.decode('{"header":{"kind":5}}') == Event({"header": {"kind": 5}})
    assert JsonId(topic=None).decode('{"method":"tick"}') == Event({"method": "tick"})


def test_the_method_is_at_its_path():
    protocol = JsonId(method=("body", "op"), topic=("body", "op"))
    message = {"id": 3, "body": {"op": "ask"}, "params": [1]}
    assert protocol.decode(json.dumps(message)) == Call(3, "ask", [1], message)
    assert protocol.build("ask", [1], False) == {"body": {"op": "ask"}, "params": [1]}


def test_the_stream_key_of_an_event_and_of_its_reply_are_at_their_paths():
    protocol = JsonId(stream=("params", "sub"), name=("result", "sub"), method=None)
    message = {"params": {"sub": "s1", "value": 5}}
    assert protocol.decode(json.dumps(message)) == Event(message, stream="s1")
    assert protocol.decode("{}") == Event({})
    assert protocol.stream_of({}, 1) is None
    assert protocol.stream_of({}, 1, {"result": {"sub": "s1"}}) == "s1"
    for reply in ({"result": {}}, {"result": {"sub": True}}, {"result": {"sub": [1]}}, "s1"):
        assert protocol.stream_of({}, 1, reply) is None
    assert JsonId(stream="sub").stream_of({}, 1, "s2") == "s2"


def test_batch_decides_whether_an_array_is_many_messages():
    text = '[{"id":1},{"event":2},[3],{"id":4,"method":"ask"}]'
    assert JsonId().decode(text) == Event(json.loads(text))
    *plain, call = JsonId(batch=True).decode(text)
    assert plain == [Reply(1, {"id": 1}), Event({"event": 2}), Event([3])]
    assert (call.id, call.method) == (4, "ask")
    assert JsonId(batch=True).decode("[]") == Event([])


def test_a_call_is_an_object_with_params_only_if_there_are_any():
    protocol = JsonId(method="op")
    assert protocol.build("add", None, False) == {"op": "add"}
    assert protocol.build("add", [], True) == {"op": "add", "params": []}
    with pytest.raises(TypeError, match="no methods"):
        JsonId(method=None).build("add", None, False)
    with pytest.raises(TypeError, match="no methods"):
        Fifo().build("add", None, False)


def test_answers_to_calls_use_the_paths_of_replies():
    plain = JsonId()
    assert json.loads(plain.encode_result(7, [1])) == {"id": 7, "result": [1]}
    nested = JsonId(reply_key=("re", "id"), result=("body", "value"), error=("body", "failure"))
    assert json.loads(nested.encode_result("x", None)) == {"re": {"id": "x"}, "body": {"value": None}}
    reported = json.loads(nested.encode_error("x", RemoteError(5, "no", {"why": 1})))
    assert reported == {"re": {"id": "x"}, "body": {"failure": {"code": 5, "message": "no", "data": {"why": 1}}}}
    assert nested.decode(nested.encode_result("x", 5)) == Reply("x", 5)
    assert remote(nested.decode(nested.encode_error("x", RemoteError(5, "no", 6)))) == ("x", 5, "no", 6)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RemoteError(5, "no"), {"code": 5, "message": "no"}),
        (RemoteError(None, "no"), {"code": -32603, "message": "no"}),
        (RemoteError(0, "", False), {"code": 0, "message": "", "data": False}),
        (ValueError("wrong"), {"code": -32603, "message": "ValueError: wrong"}),
    ],
)
def test_an_error_of_a_handler_has_a_code_and_a_message(error, said):
    assert json.loads(JsonId().encode_error(7, error)) == {"id": 7, "error": said}


# --- JSON-RPC --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("params", [[1, 2], {"a": 1}, [], {}])
def test_json_rpc_calls_with_a_list_or_a_dict(params):
    protocol = with_codec(JsonRpc())
    message = protocol.build("add", params, False)
    sent = {"jsonrpc": "2.0", "method": "add", "params": params}
    assert json.loads(encoder(protocol, message, 1)[1]) == {**sent, "id": 1}
    assert json.loads(protocol.encode_request(message, 1)) == {**sent, "id": 1}
    assert json.loads(protocol.encode(protocol.build("add", params, True))) == sent


def test_json_rpc_without_params_omits_the_member():
    assert json.loads(encoder(JsonRpc(), JsonRpc().build("add", None, False), 1)[1]) == {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "add",
    }


def test_json_rpc_without_a_version_omits_the_member():
    protocol = with_codec(JsonRpc(None))
    assert encoder(protocol, {"method": "Page.enable"}, 1)[1] == b'{"id":1,"method":"Page.enable"}'
    assert protocol.encode({"method": "x"}) == '{"method":"x"}'
    assert json.loads(protocol.encode_result(1, {})) == {"id": 1, "result": {}}


@pytest.mark.parametrize("version", ["1.0", 2, 2.0, ""])
def test_json_rpc_accepts_no_other_version(version):
    with pytest.raises(ValueError, match="version"):
        JsonRpc(version)


def test_a_version_of_the_caller_is_kept():
    assert json.loads(JsonRpc().encode({"jsonrpc": "1.1", "method": "x"}))["jsonrpc"] == "1.1"


@given(id=st.integers(-(2**53), 2**53) | texts, result=values)
def test_json_rpc_replies_return_their_result_with_any_id(id, result):
    text = json.dumps({"jsonrpc": "2.0", "id": id, "result": result})
    assert JsonRpc().decode(text) == Reply(id, result)
    assert JsonRpc().decode(JsonRpc().encode_result(id, result)) == Reply(id, result)


@given(id=ids, code=st.integers(-(2**31), 2**31), message=texts, data=values)
def test_json_rpc_errors_are_raised_with_all_their_members(id, code, message, data):
    text = JsonRpc().encode_error(id, RemoteError(code, message, data))
    assert json.loads(text)["jsonrpc"] == "2.0"
    assert remote(JsonRpc().decode(text)) == (id, code, message, data)


def test_json_rpc_errors_without_an_id_answer_no_request():
    message = {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "Parse error"}}
    assert JsonRpc().decode(json.dumps(message)) == Event(message)


def test_json_rpc_notifications_are_events_with_a_topic_and_calls_are_calls():
    note = {"jsonrpc": "2.0", "method": "tick", "params": [1]}
    assert JsonRpc().decode(json.dumps(note)) == Event(note, topic="tick")
    call = {"jsonrpc": "2.0", "id": "x", "method": "ask", "params": {"a": 1}}
    assert JsonRpc().decode(json.dumps(call)) == Call("x", "ask", {"a": 1}, call)
    odd = {"id": 7, "method": 5}
    assert JsonRpc().decode(json.dumps(odd)) == Event(odd)


def test_json_rpc_batches_keep_their_order():
    parts = [
        {"jsonrpc": "2.0", "id": 2, "result": "b"},
        {"jsonrpc": "2.0", "method": "tick"},
        {"jsonrpc": "2.0", "id": 1, "error": {"code": 5, "message": "no"}},
    ]
    reply, event, failure = JsonRpc().decode(json.dumps(parts))
    assert reply == Reply(2, "b")
    assert event == Event(parts[1], topic="tick")
    assert remote(failure) == (1, 5, "no", None)


def test_the_answers_to_a_batch_of_calls_are_sent_together_after_the_last():
    protocol = JsonRpc()
    first, _, second = protocol.decode('[{"id":1,"method":"a"},{"method":"note"},{"id":2,"method":"b"}]')
    assert protocol._answered(second, protocol.encode_result(2, "B")) is None
    whole = protocol._answered(first, protocol._refusal(1, "a"))
    answers = {answer["id"]: answer for answer in json.loads(whole)}
    assert answers[2] == {"jsonrpc": "2.0", "id": 2, "result": "B"}
    assert answers[1]["error"]["code"] == -32601


def test_answers_of_many_threads_make_exactly_one_array():
    answers = _batch.Answers(200)
    start = threading.Barrier(4)

    def add(first):
        start.wait(LONG)
        return [answers.add(str(first + n)) for n in range(50)]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        given_back = [text for texts in pool.map(add, (0, 50, 100, 150)) for text in texts if text is not None]
    (whole,) = given_back
    assert sorted(json.loads(whole)) == list(range(200))


def test_only_json_rpc_refuses_calls_without_a_handler():
    refusal = json.loads(JsonRpc()._refusal("x", "nope"))
    assert (refusal["id"], refusal["error"]["code"]) == ("x", -32601)
    assert "nope" in refusal["error"]["message"]
    assert JsonId()._refusal("x", "nope") is None
    assert Fifo()._refusal("x", "nope") is None


def test_json_rpc_supports_the_subscriptions_of_ethereum():
    protocol = with_codec(JsonRpc())
    news = {"jsonrpc": "2.0", "method": "eth_subscription", "params": {"subscription": "0x9c", "result": {}}}
    assert protocol.decode(json.dumps(news)) == Event(news, topic="eth_subscription", stream="0x9c")
    asked = {"method": "eth_subscribe", "params": ["newHeads"]}
    assert protocol.stream_of(asked, 1) is None
    assert protocol.stream_of(asked, 1, "0x9c") == "0x9c"
    unsubscribe = protocol.unsubscribe(asked, 1, "0x9c")
    assert unsubscribe == Request({"method": "eth_unsubscribe", "params": ["0x9c"]})


@pytest.mark.parametrize("message", [{"method": "watch"}, {"method": 5}, {}, "text", {"method": "subscribe"}])
def test_json_rpc_cannot_unsubscribe_from_other_subscriptions(message):
    assert JsonRpc().unsubscribe(message, 1, "name") is None


# --- GraphQL ---------------------------------------------------------------------------------------------------------


class ScriptedSession:
    """A session with prepared answers."""

    def __init__(self, answer):
        self.answer = answer
        self.sent = []

    def send(self, message):
        self.sent.append(message)

    def recv(self, timeout=None):
        return self.answer


@pytest.mark.parametrize("params", [{"token": "t"}, lambda: {"token": "t"}])
def test_graphql_sends_connection_init_and_waits_for_the_ack(params):
    session = ScriptedSession({"type": "connection_ack", "payload": {"more": 1}})
    GraphQLTransportWs(params).on_session(session)
    assert session.sent == [{"type": "connection_init", "payload": {"token": "t"}}]


def test_graphql_calls_the_params_function_for_every_connection():
    tokens = iter(["a", "b"])
    protocol = GraphQLTransportWs(lambda: next(tokens))
    session = ScriptedSession({"type": "connection_ack"})
    protocol.on_session(session)
    protocol.on_session(session)
    assert [message["payload"] for message in session.sent] == ["a", "b"]


@pytest.mark.parametrize("protocol", [GraphQLTransportWs(), GraphQLTransportWs(lambda: None)])
def test_graphql_without_params_sends_no_payload(protocol):
    session = ScriptedSession({"type": "connection_ack"})
    protocol.on_session(session)
    assert session.sent == [{"type": "connection_init"}]


@pytest.mark.parametrize("answer", ["text", b"", [], {}, {"type": "connection_error"}, {"type": "CONNECTION_ACK"}])
def test_graphql_accepts_no_other_answer_as_an_ack(answer):
    with pytest.raises(SessionError, match="connection_init"):
        GraphQLTransportWs().on_session(ScriptedSession(answer))


def test_graphql_ids_are_strings_and_an_operation_is_sent_as_subscribe():
    protocol = with_codec(GraphQLTransportWs())
    ids = [protocol.new_id() for _ in range(3)]
    assert all(isinstance(id, str) for id in ids)
    assert len(set(ids)) == 3
    operation = {"query": "{ a }", "variables": {"id": 5}}
    sent = json.loads(encoder(protocol, operation, "7")[1])
    assert sent == {"id": "7", "type": "subscribe", "payload": {"query": "{ a }", "variables": {"id": 5}}}
    assert protocol.id_of({"id": "mine", "query": ""}) is None


@pytest.mark.parametrize("message", ["{ a }", [1], None, b""])
def test_graphql_refuses_an_invalid_operation(message):
    with pytest.raises(TypeError, match="GraphQL operation must be a dict"):
        with_codec(GraphQLTransportWs())._encoder(message)


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ({"type": "next", "id": "1", "payload": {"data": 1}}, Item("1", {"data": 1})),
        ({"type": "complete", "id": "1"}, End("1")),
        ({"type": "ping"}, Control('{"type":"pong"}')),
        ({"type": "ping", "payload": {"a": 1}}, Control('{"type":"pong","payload":{"a":1}}')),
        ({"type": "pong"}, Control()),
        ({"type": "pong", "payload": 5}, Control()),
        ({"type": "connection_ack"}, Event({"type": "connection_ack"})),
        ({"type": "news"}, Event({"type": "news"})),
        ({}, Event({})),
        ([1], Event([1])),
    ],
)
def test_graphql_messages_have_these_meanings(message, meaning):
    assert GraphQLTransportWs().decode(json.dumps(message)) == meaning


@pytest.mark.parametrize(
    ("errors", "code", "message"),
    [
        ([{"message": "no", "extensions": {"code": "DENIED"}}, {"message": "more"}], "DENIED", "no"),
        ([{"message": "no"}], None, "no"),
        ([{"message": "no", "extensions": 5}], None, "no"),
        ({"message": "no"}, None, "no"),
        ([], None, "[]"),
        (["text"], None, "text"),
        ("text", None, "text"),
        (None, None, ""),
    ],
)
def test_graphql_errors_are_raised_with_all_of_them_as_data(errors, code, message):
    meaning = GraphQLTransportWs().decode(json.dumps({"type": "error", "id": "1", "payload": errors}))
    assert remote(meaning) == ("1", code, message, errors)


def test_graphql_operations_have_a_key_before_any_answer_and_end_with_complete():
    protocol = GraphQLTransportWs()
    assert protocol.stream_of({}, "4") == "4"
    assert protocol.unsubscribe({}, "4", None) == {"id": "4", "type": "complete"}
    assert protocol.subprotocols == ("graphql-transport-ws",)
    assert {4400, 4401, 4406, 4409, 4429} <= protocol.fatal_codes
    assert 4408 not in protocol.fatal_codes


def test_params_of_graphql_that_cannot_be_encoded_are_reported_by_the_session():
    class Strict(ScriptedSession):
        def send(self, message):
            json.dumps(message)

    with pytest.raises(TypeError):
        GraphQLTransportWs({"token": object()}).on_session(Strict(None))


class Minimal(wsclient.Protocol):
    """Only what every protocol must have."""

    def new_id(self):
        return 1

    def encode_request(self, message, id):
        return message

    def decode(self, payload):
        return None


def test_a_protocol_without_calls_of_the_server_cannot_answer_one():
    protocol = Minimal()
    assert protocol.final("a request", "its reply")
    for encode in (lambda: protocol.encode_result(1, 2), lambda: protocol.encode_error(1, OSError())):
        with pytest.raises(TypeError, match="Minimal can't answer calls of the server"):
            encode()


def test_the_special_values_have_a_short_repr():
    assert (repr(OLDEST), repr(ABSENT)) == ("OLDEST", "...")


def test_calls_of_a_batch_that_are_not_answered_are_left_out():
    answers = Answers(2)
    assert answers.add(None) is None
    assert answers.add(b'{"id":1}') == '[{"id":1}]'
    answers = Answers(2)
    assert [answers.add(None), answers.add(None)] == [None, None]


def test_a_reply_with_an_object_that_has_no_method_in_it_is_a_reply():
    protocol = JsonId(method=("header", "method"))
    assert protocol.decode('{"header":{},"id":1}') == Reply(1, {"header": {}, "id": 1})


def test_each_message_of_a_json_rpc_array_has_the_version():
    assert (
        JsonRpc().encode([{"method": "a"}, {"jsonrpc": "1.0"}]) == '[{"jsonrpc":"2.0","method":"a"},{"jsonrpc":"1.0"}]'
    )
