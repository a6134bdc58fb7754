"""Values as they are typed: URLs, JSON, parameters and conditions."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsclient.cli.exits import CommandError
from wsclient.cli.urls import completed_url
from wsclient.cli.values import Condition, data_of, items, lines_of, parse_json

# --- URLs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "url"),
    [
        ("localhost:8765", "ws://localhost:8765"),
        ("app.localhost/x", "ws://app.localhost/x"),
        ("127.0.0.1", "ws://127.0.0.1"),
        ("192.168.1.5/ws?a=1", "ws://192.168.1.5/ws?a=1"),
        ("10.0.0.1:80", "ws://10.0.0.1:80"),
        ("[::1]:8000/x", "ws://[::1]:8000/x"),
        ("[fe80::1%eth0]:80", "ws://[fe80::1%eth0]:80"),
        ("example.com", "wss://example.com"),
        ("example.com:8080/feed", "wss://example.com:8080/feed"),
        ("8.8.8.8", "wss://8.8.8.8"),
        ("[2606:4700::1111]", "wss://[2606:4700::1111]"),
        ("http://example.com/x", "ws://example.com/x"),
        ("HTTPS://example.com", "wss://example.com"),
        ("ws://a", "ws://a"),
        ("wss://a", "wss://a"),
        ("unix:///tmp/socket", "unix:///tmp/socket"),
    ],
)
def test_a_url_is_completed(typed, url):
    assert completed_url(typed) == url


@pytest.mark.parametrize("typed", ["", "ftp://x", "a b", "[::1", "host:port", "/path", ":80"])
def test_what_can_be_no_url_is_refused_in_one_sentence(typed):
    with pytest.raises(CommandError) as caught:
        completed_url(typed)
    assert repr(typed) in str(caught.value)
    assert "\n" not in str(caught.value)


# --- parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ([], None),
        (["a=1"], {"a": "1"}),
        (["a:=1", "b:=[1,2]", "c:=null"], {"a": 1, "b": [1, 2], "c": None}),
        (["url=http://x/?a=b"], {"url": "http://x/?a=b"}),
        (["=a", ":=2"], ["a", 2]),
        (["a="], {"a": ""}),
    ],
)
def test_parameters_are_an_object_or_a_list(arguments, value):
    assert items(arguments) == value


@pytest.mark.parametrize("arguments", [["a"], ["a:=x"], ["a=1", "=2"], [":={"]])
def test_a_parameter_that_is_none_is_refused(arguments):
    with pytest.raises(CommandError):
        items(arguments)


# --- JSON ------------------------------------------------------------------------------------------------------------


def test_the_error_of_json_has_its_position():
    with pytest.raises(CommandError, match=r"^--data is not JSON: Expecting value at column 7 of "):
        parse_json('{"a": }', "--data")
    with pytest.raises(CommandError, match="line 2, column 1"):
        parse_json("{\n", "--data")


def test_json_that_is_nested_too_deeply_is_refused():
    with pytest.raises(CommandError, match="nested too deeply"):
        parse_json("[" * 200_000, "--data")


def test_data_comes_from_a_file_as_json_or_as_bytes(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1}\n')
    (tmp_path / "b.bin").write_bytes(b"\xff\x00")
    assert data_of(f"@{tmp_path / 'a.json'}", "--data") == {"a": 1}
    assert data_of(f"@{tmp_path / 'b.bin'}", "--data") == b"\xff\x00"
    with pytest.raises(FileNotFoundError):
        data_of(f"@{tmp_path / 'missing'}", "--data")


def test_lines_are_messages_and_the_error_has_the_number_of_the_line():
    assert list(lines_of(["1\n", "\n", '{"a": 2}'])) == [1, {"a": 2}]
    with pytest.raises(CommandError, match=r"^line 2 of stdin is not JSON"):
        list(lines_of(["1\n", "x\n"]))


# --- conditions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message", "accepted"),
    [
        ("type=a", {"type": "a"}, True),
        ("type=a", {"type": "b"}, False),
        ("type=a", {"other": "a"}, False),
        ("type=a", "a", False),
        ("n=5", {"n": 5}, True),
        ("n=5", {"n": "5"}, True),
        ("n=1", {"n": True}, False),
        ("ok=true", {"ok": True}, True),
        ("a.b=x", {"a": {"b": "x"}}, True),
        ("list.1=x", {"list": [0, "x"]}, True),
        ("list.9=x", {"list": [0]}, False),
        ("result=", {"result": None}, True),
        ("result=", {"error": None}, False),
        ("a=b=c", {"a": "b=c"}, True),
        ("a=b", '{"a": "b"}', True),
        ("a=b", "{not json", False),
        (f"a={'[' * 200_000}", {"a": "[" * 200_000}, True),
    ],
)
def test_a_condition_compares_a_member(text, message, accepted):
    assert Condition(text)(message) is accepted


@pytest.mark.parametrize("text", ["", "a", "=b"])
def test_a_condition_needs_a_name_and_an_equals_sign(text):
    with pytest.raises(CommandError):
        Condition(text)


@given(st.dictionaries(st.text("abc", min_size=1), st.integers() | st.booleans() | st.text("xyz1"), min_size=1))
def test_a_condition_accepts_the_message_it_was_made_from(message):
    for name, value in message.items():
        shown = value if isinstance(value, str) else json.dumps(value)
        assert Condition(f"{name}={shown}")(message)


def test_a_number_with_too_many_digits_is_refused_with_its_place():
    with pytest.raises(CommandError, match=r"^the parameter a is not usable: Exceeds the limit"):
        items(["a:=" + "9" * 5000])
