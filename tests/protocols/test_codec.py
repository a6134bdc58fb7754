"""Messages to payloads and back."""

import array
import json
import math
import subprocess
import sys
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsclient.protocols._codec import JSON, StandardJson, checked_json, decode, encode

leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    leaves | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10
)


def test_a_message_that_contains_itself_is_refused_at_any_limit_of_recursion():
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
    """A codec that gives bytes, as orjson does, and has errors of its own."""

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


# --- out --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [JSON, None], ids=["json", "no json"])
def test_a_str_goes_out_as_it_is(codec):
    assert encode('{"not": touched', codec) == '{"not": touched'


@pytest.mark.parametrize("codec", [JSON, None], ids=["json", "no json"])
def test_bytes_go_out_as_binary(codec):
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
def test_what_is_like_bytes_goes_out_as_binary(message):
    payload = encode(message, JSON)
    assert type(payload) is bytes
    assert payload == b"abcd"


def test_a_bytearray_may_be_changed_as_soon_as_it_was_given():
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
def test_everything_else_goes_out_as_json(message, text):
    assert encode(message, JSON) == text


def test_encoding_changes_nothing():
    message = {"b": [1, {"c": None}], "a": 2}
    encode(message, JSON)
    assert message == {"b": [1, {"c": None}], "a": 2}
    assert list(message) == ["b", "a"]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("wrap", [lambda n: n, lambda n: {"a": [n]}, lambda n: {n: 1}], ids=["bare", "deep", "key"])
def test_nan_and_infinity_are_refused(number, wrap):
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode(wrap(number), JSON)


def test_a_message_that_holds_itself_is_refused():
    message = []
    message.append(message)
    with pytest.raises(ValueError, match="Circular"):
        encode(message, JSON)


def test_what_json_has_no_form_for_is_refused():
    with pytest.raises(TypeError, match="object"):
        encode({"a": object()}, JSON)


@pytest.mark.parametrize("message", [{"a": 1}, None, 5])
def test_without_json_only_str_and_bytes_are_messages(message):
    with pytest.raises(TypeError, match=rf"^This client .*json=None.* not {type(message).__name__}\.$"):
        encode(message, None)


def test_without_json_a_bytearray_is_a_message_too():
    assert encode(bytearray(b"abc"), None) == b"abc"


def test_a_codec_may_give_bytes():
    assert encode({"a": 1}, BytesJson) == '{"a": 1}'


# --- in ---------------------------------------------------------------------------------------------------------------


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
def test_objects_and_arrays_come_in_decoded(text, message):
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
def test_every_other_text_comes_in_as_it_is(text):
    assert decode(text, JSON) == text


@pytest.mark.parametrize(("text", "shown"), [("[NaN]", "[nan]"), ("[Infinity, -Infinity]", "[inf, -inf]")])
def test_nan_of_a_lenient_server_is_read_for_else_its_reply_would_be_nobodys(text, shown):
    assert repr(decode(text, JSON)) == shown


def test_binary_comes_in_as_it_is():
    assert decode(b'{"a": 1}', JSON) == b'{"a": 1}'


@pytest.mark.parametrize("payload", ['{"a": 1}', b"\x00"])
def test_without_json_everything_comes_in_as_it_is(payload):
    assert decode(payload, None) == payload


def test_text_nested_too_deep_comes_in_as_text():
    text = "[" * 200_000 + "]" * 200_000
    assert decode(text, JSON) == text


def test_a_number_too_long_to_be_one_comes_in_as_text():
    text = "[" + "9" * 10_000 + "]"
    assert decode(text, JSON) == text


def test_a_codec_may_have_errors_of_its_own():
    assert decode("{oops", BytesJson) == "{oops"
    assert decode('{"a": 1}', BytesJson) == {"a": 1}


def test_a_codec_is_asked_only_about_what_may_be_json():
    asked = []
    codec = SimpleNamespace(dumps=json.dumps, loads=lambda text: asked.append(text) or json.loads(text))
    for text in ("hello", "7", '"a"', " x{}", "X{}", "", "[1]"):
        decode(text, codec)
    assert asked == ["[1]"]


@given(json_values)
@example({"a": "\u2028"})
def test_json_survives_the_round_trip(value):
    text = JSON.dumps(value)
    assert JSON.loads(text) == value
    assert JSON.loads(text.encode()) == value
    if isinstance(value, (dict, list)):
        assert decode(encode(value, JSON), JSON) == value


STANDARD = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@given(json_values)
@example({7: "a", None: 2.5, True: (1, "\n\u2028")})
def test_json_is_what_the_standard_encoder_makes(value):
    assert JSON.dumps(value) == STANDARD.encode(value)


def test_what_json_has_no_form_for_gets_the_standard_encoders_error():
    circle = []
    circle.append(circle)
    for value in (circle, {"a": object()}, [float("nan")], {(1,): 2}):
        with pytest.raises((TypeError, ValueError)) as standard:
            STANDARD.encode(value)
        with pytest.raises(standard.type) as ours:
            JSON.dumps(value)
        assert str(ours.value) == str(standard.value)
        assert ours.value.__context__ is None


@given(st.text())
def test_no_text_breaks_the_decoding(text):
    message = decode(text, JSON)
    assert message == text or isinstance(message, (dict, list))


# --- the option -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [None, JSON, json, BytesJson, StandardJson()])
def test_the_option_takes_none_and_what_has_dumps_and_loads(codec):
    assert checked_json(codec) is codec


def test_the_option_takes_what_has_encode_and_decode_instead():
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
def test_the_option_refuses_what_is_no_codec(codec):
    with pytest.raises(TypeError, match=r"^json must be .*\.$"):
        checked_json(codec)


def test_a_broken_json_text_is_a_value_error():
    with pytest.raises(ValueError, match="Expecting"):
        JSON.loads("{")
