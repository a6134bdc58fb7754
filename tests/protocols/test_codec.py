"""Encoding messages to payloads and decoding payloads."""

import array
import gc
import json
import math
import subprocess
import sys
import weakref
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsclient.protocols import JsonId
from wsclient.protocols._codec import JSON, StandardJson, checked_json, decode, decode_array, encode

leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    leaves | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10
)


def test_a_message_that_contains_itself_is_refused_at_any_recursion_limit():
    program = """if True:
        import sys
        from wsclient.protocols._codec import JSON
        sys.setrecursionlimit(100_000)
        for message in ([], {}):
            message.append(message) if isinstance(message, list) else message.update(again=message)
            try:
                JSON.dumps(message)
            except ValueError as error:
                print(error)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "Circular reference detected\n" * 2)


class BytesJson:
    """A codec that returns bytes, like orjson, and raises its own errors."""

    class Broken(Exception):
        pass

    @staticmethod
    def dumps(value):
        return json.dumps(value).encode()

    @classmethod
    def loads(cls, text):
        try:
            return json.loads(text)
        except ValueError:
            raise cls.Broken from None


# --- encoding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [JSON, None], ids=["json", "no json"])
def test_a_str_is_sent_unchanged(codec):
    assert encode('{"not": touched', codec) == '{"not": touched'


@pytest.mark.parametrize("codec", [JSON, None], ids=["json", "no json"])
def test_bytes_are_sent_as_binary(codec):
    assert encode(b"\x00\xff", codec) == b"\x00\xff"


@pytest.mark.parametrize(
    "message",
    [
        bytearray(b"abcd"),
        memoryview(b"abcd"),
        memoryview(b"a_b_c_d_")[::2],
        memoryview(b"abcd").cast("H"),
        array.array("B", b"abcd"),
    ],
    ids=["bytearray", "memoryview", "every other byte", "memoryview of shorts", "array"],
)
def test_a_bytes_like_object_is_sent_as_binary(message):
    payload = encode(message, JSON)
    assert type(payload) is bytes
    assert payload == b"abcd"


def test_a_bytearray_is_copied():
    message = bytearray(b"abc")
    payload = encode(message, JSON)
    message[:] = b"xyz"
    assert payload == b"abc"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"method": "add", "params": [1, 2]}, '{"method":"add","params":[1,2]}'),
        ([], "[]"),
        ((1, "a"), '[1,"a"]'),
        (None, "null"),
        (True, "true"),
        (7, "7"),
        (1.5, "1.5"),
        ({"a": "grün"}, '{"a":"grün"}'),
    ],
)
def test_any_other_message_is_sent_as_json(message, text):
    assert encode(message, JSON) == text


def test_encoding_does_not_change_the_message():
    message = {"b": [1, {"c": None}], "a": 2}
    encode(message, JSON)
    assert message == {"b": [1, {"c": None}], "a": 2}
    assert list(message) == ["b", "a"]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("wrap", [lambda n: n, lambda n: {"a": [n]}, lambda n: {n: 1}], ids=["bare", "deep", "key"])
def test_nan_and_infinity_are_refused(number, wrap):
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode(wrap(number), JSON)


def test_a_message_that_contains_itself_is_refused():
    message = []
    message.append(message)
    with pytest.raises(ValueError, match="Circular"):
        encode(message, JSON)


def test_a_value_without_a_json_form_is_refused():
    with pytest.raises(TypeError, match="object"):
        encode({"a": object()}, JSON)


@pytest.mark.parametrize("message", [{"a": 1}, None, 5])
def test_without_json_only_str_and_bytes_are_messages(message):
    with pytest.raises(TypeError, match=rf"^This client .*json=None.* not {type(message).__name__}\.$"):
        encode(message, None)


def test_without_json_a_bytearray_is_a_message_too():
    assert encode(bytearray(b"abc"), None) == b"abc"


def test_a_codec_can_return_bytes():
    assert encode({"a": 1}, BytesJson) == '{"a": 1}'


# --- decoding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}', {"a": 1}),
        ("[1, 2]", [1, 2]),
        ("{}", {}),
        ("[]", []),
        (' \t\r\n{"a": 1}\n', {"a": 1}),
        (" [1] ", [1]),
    ],
)
def test_objects_and_arrays_are_decoded(text, message):
    assert decode(text, JSON) == message


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "hello",
        "7",
        "null",
        "true",
        '"quoted"',
        "{",
        "[1,",
        "{'a': 1}",
        "[1] and more",
        "{a}",
        "\ufeff{}",
        "\u00a0{}",
    ],
)
def test_any_other_text_is_returned_unchanged(text):
    assert decode(text, JSON) == text


@pytest.mark.parametrize(("text", "shown"), [("[NaN]", "[nan]"), ("[Infinity, -Infinity]", "[inf, -inf]")])
def test_nan_in_received_json_is_accepted_so_that_its_reply_is_matched(text, shown):
    assert repr(decode(text, JSON)) == shown


def test_binary_is_returned_unchanged():
    assert decode(b'{"a": 1}', JSON) == b'{"a": 1}'


@pytest.mark.parametrize("payload", ['{"a": 1}', b"\x00"])
def test_without_json_every_payload_is_returned_unchanged(payload):
    assert decode(payload, None) == payload


def test_text_with_too_deep_nesting_is_returned_as_text():
    text = "[" * 200_000 + "]" * 200_000
    assert decode(text, JSON) == text


def test_text_with_a_number_that_is_too_long_is_returned_as_text():
    text = "[" + "9" * 10_000 + "]"
    assert decode(text, JSON) == text


def test_a_codec_can_have_its_own_errors():
    assert decode("{oops", BytesJson) == "{oops"
    assert decode('{"a": 1}', BytesJson) == {"a": 1}


def test_a_codec_decodes_only_text_that_may_be_json():
    asked = []
    codec = SimpleNamespace(dumps=json.dumps, loads=lambda text: asked.append(text) or json.loads(text))
    for text in ("hello", "7", '"a"', " x{}", "X{}", "", "[1]"):
        decode(text, codec)
    assert asked == ["[1]"]


@given(json_values)
@example({"a": "\u2028"})
def test_json_values_are_unchanged_by_encoding_and_decoding(value):
    text = JSON.dumps(value)
    assert JSON.loads(text) == value
    assert JSON.loads(text.encode()) == value
    if isinstance(value, (dict, list)):
        assert decode(encode(value, JSON), JSON) == value


STANDARD = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@given(json_values)
@example({7: "a", None: 2.5, True: (1, "\n\u2028")})
def test_the_json_text_is_that_of_the_standard_encoder(value):
    assert JSON.dumps(value) == STANDARD.encode(value)


def test_a_value_without_a_json_form_raises_the_error_of_the_standard_encoder():
    circle = []
    circle.append(circle)
    for value in (circle, {"a": object()}, [float("nan")], {(1,): 2}):
        with pytest.raises((TypeError, ValueError)) as standard:
            STANDARD.encode(value)
        with pytest.raises(standard.type) as ours:
            JSON.dumps(value)
        assert str(ours.value) == str(standard.value)
        assert ours.value.__context__ is None


class Referable(dict):
    """A dict that weak references can refer to."""


def test_after_an_error_the_value_can_be_changed_and_encoded():
    value = {"outer": [{"inner": object()}]}
    with pytest.raises(TypeError):
        JSON.pieces(value, 0)  # without `dumps`, which would forget the objects of this value
    value["outer"][0]["inner"] = 1
    assert JSON.dumps(value) == '{"outer":[{"inner":1}]}'
    assert "".join(JSON.pieces(value, 0)) == '{"outer":[{"inner":1}]}'


class Interrupting(Referable):
    """Its encoding is interrupted."""

    def items(self):
        raise KeyboardInterrupt


@pytest.mark.parametrize("kind", [Referable, Interrupting])
@pytest.mark.parametrize("encode", [JSON.dumps, JsonId()._id_and_encoder, JsonId().encode])
def test_a_value_that_can_not_be_encoded_is_not_kept(encode, kind):
    value = kind(a=object())
    reference = weakref.ref(value)
    with pytest.raises(TypeError if kind is Referable else KeyboardInterrupt) as caught:
        encode({"value": value})
    assert caught.value.__context__ is None
    del value, caught
    gc.collect()
    assert reference() is None


@given(st.text())
def test_no_text_makes_the_decoding_raise(text):
    message = decode(text, JSON)
    assert message == text or isinstance(message, (dict, list))


# --- the option -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [None, JSON, json, BytesJson, StandardJson()])
def test_the_option_accepts_none_and_objects_with_dumps_and_loads(codec):
    assert checked_json(codec) is codec


def test_the_option_accepts_objects_with_encode_and_decode():
    codec = checked_json(SimpleNamespace(encode=BytesJson.dumps, decode=BytesJson.loads))
    assert encode({"a": 1}, codec) == '{"a": 1}'
    assert decode('{"a": 1}', codec) == {"a": 1}


@pytest.mark.parametrize(
    "codec",
    [
        object(),
        "json",
        True,
        SimpleNamespace(dumps=json.dumps),
        SimpleNamespace(loads=json.loads),
        SimpleNamespace(encode=json.dumps),
        SimpleNamespace(dumps=1, loads=2),
    ],
    ids=["object", "str", "bool", "no loads", "no dumps", "no decode", "not callable"],
)
def test_the_option_refuses_other_objects(codec):
    with pytest.raises(TypeError, match=r"^json must be .*\.$"):
        checked_json(codec)


def test_an_invalid_json_text_is_a_value_error():
    with pytest.raises(ValueError, match="Expecting"):
        JSON.loads("{")


@pytest.mark.parametrize(
    "text",
    ["[1]", " \n[1]", " 5", "", "[ 1 , [2, 3] ,\n{\"a\": [4]} ]\r\n", '["x", "]"]', "[]", "[1,]", "[1",
     "[", "[1 2]", "[1],", "[1]]", "[nul]", "[NaN]", "[" * 100_000],
)  # fmt: skip
def test_an_array_that_is_decoded_element_by_element_gives_the_same(text):
    assert repr(decode_array(text, 10)) == repr(decode(text, JSON))


def test_of_a_long_array_only_as_many_elements_are_decoded_as_can_be_used():
    assert decode_array("[1, 2, 3]", 3) == [1, 2, 3]
    assert decode_array("[1, 2, 3, 4, 5, this is not JSON", 3) == [1, 2, 3, 4]
