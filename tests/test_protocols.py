"""How a reply finds its request: ids, drafts, and what an incoming message means."""

import copy
import enum
import json
import math
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsclient import Client, _codec, _departing, _requests
from wsclient._clock import Deadline
from wsclient._errors import ProtocolError
from wsclient._frames import Opcode
from wsclient._outgoing import Passage
from wsclient._waiter import Waiter
from wsclient._router import Router
from wsclient.protocols import OLDEST, Call, Event, Failure, Fifo, JsonId, Protocol, Reply

from .support import LONG, SHORT


class Pretty:
    """A codec that makes bytes, in several lines, and ends them with an empty one."""

    def dumps(self, value):
        return json.dumps(value, indent=2, allow_nan=False).encode() + b"\n"

    def loads(self, text):
        return json.loads(text)


def standard():
    return _codec.JSON


def orjson():
    return pytest.importorskip("orjson")


CODECS = [standard, orjson, Pretty]


def speak(protocol, codec=standard):
    protocol._serve(codec())
    return protocol


def draft(protocol, message, id):
    """What goes over the wire once the id is known."""
    return protocol._draft(message)(id)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
integers = st.integers(-(2**53), 2**53)
values = st.recursive(
    st.none() | st.booleans() | integers | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
messages = st.dictionaries(texts | st.sampled_from(["id", "method", "params"]), values, max_size=5)
ids = integers | texts | st.floats(allow_nan=False, allow_infinity=False)


# --- JsonId: what goes out -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS)
@given(message=messages, id=ids, key=st.sampled_from(["id", "req_id", 'a "quoted" key', "schlüssel\u2028"]))
@settings(deadline=None)
def test_a_draft_says_what_encode_request_says(codec, message, id, key):
    protocol = speak(JsonId(key), codec)
    before = copy.deepcopy(message)
    opcode, payload = draft(protocol, message, id)
    assert opcode is Opcode.TEXT
    assert json.loads(payload) == json.loads(protocol.encode_request(message, id)) == {**before, key: id}
    assert message == before


@pytest.mark.parametrize("codec", CODECS)
def test_the_id_comes_first_so_that_it_is_cheap_to_put_in(codec):
    payload = draft(speak(JsonId(), codec), {"method": "add", "id": None, "params": [1]}, 5)[1]
    assert list(json.loads(payload).items()) == [("id", 5), ("method", "add"), ("params", [1])]


def test_by_default_a_request_is_compact_and_in_utf_8():
    payload = draft(JsonId(), {"method": "größe", "params": [1, 2]}, 1)[1]
    assert payload.decode() == '{"id":1,"method":"größe","params":[1,2]}'
    assert draft(JsonId(), {}, 1)[1] == b'{"id":1}'


def test_a_draft_can_be_given_another_id_and_knows_its_size():
    message = {"method": "add", "params": [1]}
    made = JsonId()._draft(message)
    message["params"].append(2)
    assert json.loads(made(1)[1]) == {"id": 1, "method": "add", "params": [1]}
    assert json.loads(made(2)[1]) == {"id": 2, "method": "add", "params": [1]}
    assert made.size == len(made(7)[1]) - 1


@pytest.mark.parametrize("codec", CODECS)
def test_ids_that_are_no_numbers_are_put_in_as_json(codec):
    class Named(JsonId):
        def new_id(self):
            return f'request "{super().new_id()}"'

    protocol = speak(Named(), codec)
    payload = draft(protocol, {"method": "add"}, protocol.new_id())[1]
    assert json.loads(payload) == {"id": 'request "1"', "method": "add"}


def test_true_as_an_id_is_json_too():
    assert draft(JsonId(), {}, True)[1] == b'{"id":true}'


@pytest.mark.parametrize("message", [{"text": "\ud800"}, {"\udfff": 1}, {"a": [{"b": "x\ud800"}]}])
def test_a_lone_surrogate_is_refused_at_once(message):
    with pytest.raises(ValueError, match="surrogates"):
        JsonId()._draft(message)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_has_no_number_for_is_refused_at_once(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        JsonId()._draft({"params": [value]})


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("value", [object(), b"bytes", {1, 2}])
def test_what_json_has_no_form_for_is_refused_at_once(codec, value):
    with pytest.raises(TypeError):
        speak(JsonId(), codec)._draft({"params": value})


def test_without_json_there_are_no_requests_by_id():
    with pytest.raises(TypeError, match="json=None"):
        speak(JsonId(), lambda: None)._draft({"method": "add"})


@pytest.mark.parametrize("text", ["[1]", "null", "{", "}", "", '"{}"'])
def test_a_codec_that_makes_no_object_of_a_dict_is_refused(text):
    class Odd:
        def dumps(self, value):
            return text

    with pytest.raises(TypeError, match="no JSON object"):
        speak(JsonId(), Odd)._draft({"method": "add"})


def test_a_subclass_that_encodes_requests_in_its_own_way_is_honoured_by_drafts():
    class Enveloped(JsonId):
        def encode_request(self, message, id):
            return json.dumps([id, message]).encode()

    message = {"method": "add", "params": []}
    made = Enveloped()._draft(message)
    message["params"].append(1)
    assert made(5) == (Opcode.BINARY, b'[5, {"method": "add", "params": []}]')
    assert made(6) == (Opcode.BINARY, b'[6, {"method": "add", "params": []}]')


# --- JsonId: ids -----------------------------------------------------------------------------------------------------


def test_ids_count_from_1():
    protocol = JsonId()
    assert [protocol.new_id() for _ in range(3)] == [1, 2, 3]


def test_ids_of_many_threads_differ():
    protocol = JsonId()
    seen = []
    threads = [
        threading.Thread(target=lambda: seen.append([protocol.new_id() for _ in range(2_000)])) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert all(mine == sorted(mine) for mine in seen)
    assert len({id for mine in seen for id in mine}) == 8_000


@pytest.mark.parametrize("id", [5, 5.5, 0, -3, "", "five", 2**80])
def test_the_callers_own_id_stays(id):
    protocol = JsonId()
    message = {"id": id, "method": "add"}
    kept = protocol.id_of(message)
    assert (type(kept), kept) == (type(id), id)
    assert json.loads(protocol.encode_request(message, kept)) == message == {"id": id, "method": "add"}


@pytest.mark.parametrize("message", [{}, {"id": None}, {"ID": 5}, {"params": {"id": 5}}])
def test_a_message_without_an_id_gets_one(message):
    assert JsonId().id_of(message) is None


def test_the_callers_own_ids_raise_the_counter_when_they_go_out_so_that_ids_rise_on_the_wire():
    protocol = JsonId("req")
    assert protocol.id_of({"req": 70}) == 70
    assert protocol.new_id() == 1
    protocol._passed(70)
    assert protocol.new_id() == 71
    for id in (5, "900", -900, 5.5):
        protocol._passed(id)
    assert protocol.new_id() == 72


def test_a_callers_whole_float_raises_the_counter_since_a_reply_to_it_looks_like_one_to_the_int():
    protocol = JsonId()
    protocol._passed(2.0)
    assert protocol.new_id() == 3


def test_an_id_no_counter_will_reach_does_not_raise_it_beyond_what_javascript_can_echo():
    protocol = JsonId()
    protocol._passed(2**53)
    assert protocol.new_id() == 1
    protocol._passed(2**53 - 2)
    assert protocol.new_id() == 2**53 - 1


@given(owned=st.lists(st.none() | st.integers(-5, 40), max_size=30))
@settings(deadline=None)
def test_no_id_is_ever_given_twice_nor_after_a_caller_has_used_it(owned):
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
            protocol._passed(id)


@pytest.mark.parametrize("id", [True, False, [1], {"a": 1}, b"5", (1,)])
def test_an_id_that_is_neither_string_nor_number_is_refused(id):
    with pytest.raises(ValueError, match="must be a string or a number"):
        JsonId().id_of({"id": id})


@pytest.mark.parametrize("message", ["text", b"bytes", [1], None, 5, [("id", 5)]])
def test_a_request_that_is_no_dict_is_refused_with_the_way_out(message):
    with pytest.raises(TypeError, match=r"must be a dict.*'id'.*match=.*Fifo"):
        JsonId().id_of(message)


def test_a_key_that_is_an_enum_is_found_too():
    class Key(str, enum.Enum):
        ID = "id"

    assert JsonId().id_of({Key.ID: 5}) == 5
    assert json.loads(draft(JsonId(), {Key.ID: None, "a": 1}, 6)[1]) == {"id": 6, "a": 1}


@pytest.mark.parametrize(
    "options", [{"key": ""}, {"key": 5}, {"key": None}, {"method": 5}, {"method": ()}, {"key": ("a", "")}]
)
def test_wrong_names_of_members_are_refused(options):
    with pytest.raises(TypeError, match=next(iter(options))):
        JsonId(**options)


# --- JsonId: what comes in -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("id", [1, 0, -1, 1.5, "", "a", True, False, [1], {"a": 1}])
def test_an_object_with_an_id_is_the_reply_to_it(codec, id):
    message = {"id": id, "result": 3}
    assert speak(JsonId(), codec).decode(json.dumps(message)) == Reply(id, message)


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
def test_anything_else_is_an_event(payload, message):
    assert JsonId().decode(payload) == Event(message)


def test_the_names_of_the_members_can_be_chosen():
    protocol = JsonId("req_id", method="op")
    assert protocol.decode('{"req_id":7,"method":"x"}') == Reply(7, {"req_id": 7, "method": "x"})
    assert protocol.decode('{"req_id":7,"op":"x"}') == Call(7, "x", None, {"req_id": 7, "op": "x"})
    assert protocol.decode('{"id":7}') == Event({"id": 7})


def test_an_object_with_a_method_is_an_event_of_that_topic_and_with_an_id_a_call():
    tick, ask = {"method": "tick", "params": [1]}, {"id": 7, "method": "ask", "params": {"a": 1}}
    assert JsonId().decode(json.dumps(tick)) == Event(tick, topic="tick")
    assert JsonId().decode(json.dumps(ask)) == Call(7, "ask", {"a": 1}, ask)


def test_where_no_member_makes_a_call_every_object_with_an_id_is_a_reply():
    message = {"id": 7, "method": "echoed"}
    assert JsonId(method=None).decode(json.dumps(message)) == Reply(7, message)


def test_without_json_everything_that_comes_is_an_event():
    protocol = speak(JsonId(), lambda: None)
    assert protocol.decode('{"id":7}') == Event('{"id":7}')


def test_a_codec_that_makes_dicts_of_a_class_of_its_own_gets_replies_too():
    class Record(dict):
        pass

    class Records:
        def dumps(self, value):
            return json.dumps(value)

        def loads(self, text):
            return json.loads(text, object_pairs_hook=Record)

    meaning = speak(JsonId(), Records).decode('{"id":7,"result":1}')
    assert meaning == Reply(7, {"id": 7, "result": 1})
    assert type(meaning.value) is Record


# --- Fifo ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", ["text", b"bytes", '{"id":7,"method":"x"}', "[1]", "{broken"])
def test_with_fifo_every_message_answers_the_oldest_request(payload):
    meaning = Fifo().decode(payload)
    assert meaning == Reply(OLDEST, _codec.decode(payload, _codec.JSON))
    assert meaning.id is OLDEST


def test_with_fifo_events_are_told_apart_by_the_users_function_of_the_decoded_message():
    protocol = Fifo(event=lambda message: "event" in message)
    assert protocol.decode('{"event":1}') == Event({"event": 1})
    assert protocol.decode('{"result":1}') == Reply(OLDEST, {"result": 1})


def send(core, request):
    """As far as anybody here can tell, it has been written whole."""
    assert _departing.payload_of(core, 1, request) is not None
    request.put_on(Passage(1), 0)


def test_with_fifo_an_event_function_that_raises_gives_nobody_the_reply_to_another():
    """Was it a reply or not? From here on nobody can tell, so the connection may end, but no reply may move up."""
    core = Client("ws://localhost", protocol=Fifo(event=lambda message: message["event"]))._wsclient.core
    asked = []
    for question in ("first", "second"):
        request = _requests.make(core.protocol, question, Deadline(None))
        request.waiter = Waiter()
        _requests.begin(core, request, timed=False)
        send(core, request)
        asked.append(request)
    router = Router(core, wire=None)
    with pytest.raises(ProtocolError, match="nobody can say whose the next one is"):
        router.receive('{"answer":"first"}', 1)
    assert asked[0].waiter.value is None


def test_with_fifo_an_until_function_that_raises_gives_nobody_the_reply_to_another():
    """Had it been an acknowledgement, the answer would be still to come, and be taken for the next request's."""
    core = Client("ws://localhost", protocol=Fifo())._wsclient.core
    request = _requests.make(core.protocol, "ask", Deadline(None), until=lambda reply: reply["done"])
    request.waiter = Waiter()
    _requests.begin(core, request, timed=False)
    send(core, request)
    with pytest.raises(ProtocolError, match="until= raised"):
        Router(core, wire=None).receive('{"answer":"first"}', 1)
    assert isinstance(request.waiter.error, KeyError)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("message", [{"id": 7, "a": [1]}, [1, 2]])
def test_with_fifo_a_request_goes_out_as_it_is(codec, message):
    protocol = speak(Fifo(), codec)
    made = protocol._draft(message)
    assert made(1) == made(2)
    assert json.loads(made(1)[1]) == json.loads(protocol.encode_request(message, 1)) == message
    assert made.size == len(made(1)[1])


def test_with_fifo_texts_and_bytes_go_out_as_they_are():
    assert draft(Fifo(), "grün", 1) == (Opcode.TEXT, "grün".encode())
    assert draft(Fifo(), b"\xff", 1) == (Opcode.BINARY, b"\xff")
    assert draft(Fifo(), bytearray(b"\xff"), 1) == (Opcode.BINARY, b"\xff")


def test_with_fifo_a_lone_surrogate_is_refused_at_once():
    with pytest.raises(ValueError, match="surrogates"):
        Fifo()._draft("\ud800")


def test_with_fifo_no_id_is_the_callers():
    protocol = Fifo()
    assert protocol.id_of({"id": 7}) is None
    assert [protocol.new_id() for _ in range(3)] == [1, 2, 3]


def test_a_subclass_of_fifo_may_encode_in_its_own_way():
    class Lines(Fifo):
        def encode(self, message):
            return f"{message}\n"

    class Numbered(Fifo):
        def encode_request(self, message, id):
            return f"{id} {message}"

    assert draft(Lines(), "ask", 1) == (Opcode.TEXT, b"ask\n")
    assert draft(Numbered(), "ask", 5) == (Opcode.TEXT, b"5 ask")


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


def test_fifo_bounds_what_is_in_flight_if_told_to():
    assert Fifo().max_in_flight is None
    assert Fifo(max_in_flight=1).max_in_flight == 1


# --- a protocol of the user's own ------------------------------------------------------------------------------------


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


def test_a_protocol_of_the_users_own_keeps_a_copy_of_the_message():
    protocol = speak(Tagged())
    message = ["add", "1", "2"]
    made = protocol._draft(message)
    message.append("3")
    assert made("7") == (Opcode.TEXT, b"7 add 1 2")
    assert made("8") == (Opcode.TEXT, b"8 add 1 2")
    assert made.size == len("1 add 1 2")
    assert protocol.decode("7 ok 3") == Reply("7", "3")
    assert protocol.decode("hello") == Event("hello")
    failure = protocol.decode("7 error why")
    assert (failure.id, str(failure.error)) == ("7", "why")


def test_a_protocol_of_the_users_own_that_changes_its_message_changes_a_copy():
    class Writing(Tagged):
        def encode_request(self, message, id):
            message["id"] = id
            return json.dumps(message)

    message = {"params": {"deep": [1]}}
    made = Writing()._draft(message)
    message["params"]["deep"].append(2)
    assert json.loads(made("9")[1]) == {"id": "9", "params": {"deep": [1]}}
    assert message == {"params": {"deep": [1, 2]}}


def test_a_protocol_of_the_users_own_refuses_at_once_what_it_can_not_encode():
    with pytest.raises(TypeError):
        speak(Tagged())._draft([1, 2])
    with pytest.raises(ValueError, match="surrogates"):
        speak(Tagged())._draft(["\ud800"])


def test_new_id_is_asked_by_one_thread_at_a_time():
    """As the contract promises whoever writes a protocol: theirs needs no lock."""
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

    protocol = speak(Watched())
    threads = [threading.Thread(target=protocol._draft, args=(["ask"],)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert not met


def test_what_a_protocol_need_not_say():
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
    assert json.loads(_departing.payload_of(core, 1, request)) == {"sessionId": "a", "id": 5}
    assert core.pending.find(("a", 5)) is request
    client.close()


def test_an_error_of_new_id_is_told_as_it_is():
    class Broken(Tagged):
        asked = 0

        def new_id(self):
            self.asked += 1
            if self.asked > 1:
                raise ValueError("no ids left")
            return 0

    client = Client("ws://localhost", protocol=Broken())
    core = client._wsclient.core
    request = _requests.make(core.protocol, ["ask"], Deadline(None))
    request.waiter = Waiter()
    _requests.begin(core, request, timed=False)
    assert _departing.payload_of(core, 1, request) is None
    assert str(request.waiter.error) == "no ids left"
    assert core.protocol.asked == 2
    client.close()
