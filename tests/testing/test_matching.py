"""Whether a message matches the recorded one: JSON by value, other data by its bytes, secrets by any value."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsclient._recording.redaction import REDACTED, Redactor
from wsclient.testing._replay.matching import ABSENT, Matcher, recorded, same

MATCHER = Matcher(Redactor())

leaves = st.none() | st.booleans() | st.integers() | st.text().filter(lambda text: text != REDACTED) | st.floats()
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


def matches(test, wanted, got):
    return getattr(MATCHER, test)(MATCHER.read(wanted), MATCHER.read(got))  # a recorded one is already redacted


@given(values)
def test_a_value_equals_itself_in_any_formatting(value):
    assert same(value, json.loads(json.dumps(value)))
    assert matches("same", json.dumps(value), json.dumps(value, indent=1, sort_keys=True))


@given(values, values)
def test_two_values_are_equal_if_their_canonical_json_is_equal(one, other):
    def canonical(value):
        if isinstance(value, dict):
            return "dict", sorted((key, canonical(member)) for key, member in value.items())
        if isinstance(value, list):
            return "list", [canonical(member) for member in value]
        if isinstance(value, bool) or value is None:
            return "word", str(value)
        if isinstance(value, (int, float)):
            return "number", "nan" if value != value else value
        return "text", value

    assert same(one, other) == (canonical(one) == canonical(other))


@given(values, values, st.data())
def test_a_redacted_value_equals_any_value(value, instead, data):
    wanted = {"plain": value, "deep": [{"secret": REDACTED}]}
    assert same(wanted, {"plain": value, "deep": [{"secret": instead}]})
    assert not same(wanted, {"plain": value, "deep": [{}]})


@pytest.mark.parametrize(
    ("wanted", "got"), [(1, True), (0, False), (1, "1"), (None, False), ([], {}), ([1], [1, 2]), ({"a": 1}, {"b": 1})]
)
def test_these_messages_differ(wanted, got):
    assert not same(wanted, got)
    assert not same(got, wanted)


def test_text_that_is_not_json_and_binary_are_compared_by_their_bytes():
    assert matches("same", "hello", "hello")
    assert not matches("same", "hello", "hello ")
    assert not matches("same", "5", b"5")
    assert matches("same", b"\xff", b"\xff")
    assert recorded("hello").value is ABSENT


def test_a_secret_in_a_new_message_is_redacted_like_the_recorded_one_at_any_position():
    wanted = '42["login",{"password":"[redacted]"}]'
    assert matches("same", wanted, '42["login",{"password":"other"}]')
    assert not matches("same", wanted, '42["logout",{"password":"other"}]')
    assert "other" not in str(MATCHER.read('{"password":"other"}'))


def test_json_with_too_deep_nesting_is_compared_as_text():
    deep = "[" * 100_000
    assert matches("same", deep, deep)
    assert not matches("same", deep, deep + "[")


@settings(max_examples=10)  # each example is compared three times
@given(st.dictionaries(st.text(), values), st.integers() | st.text(), st.integers() | st.text())
def test_ids_can_be_excluded_from_the_comparison(message, first, second):
    wanted, got = json.dumps({**message, "id": first}), json.dumps({**message, "id": second})
    assert matches("same_but_ids", wanted, got)
    assert matches("same_but_ids", f"[{wanted}]", f"[{got}]")
    assert not matches("same_but_ids", wanted, json.dumps({**message, "id": second, "one more": 1}))


@pytest.mark.parametrize(
    ("wanted", "got", "are"),
    [
        ('{"method":"add","params":[1]}', '{"method":"add","other":2}', True),
        ('{"method":"add","params":[1]}', '{"method":"sub","params":[1]}', False),
        ('{"method":"add","params":[1]}', '{"params":[1]}', False),
        ('{"type":"auth","token":"[redacted]"}', '{"type":"auth"}', True),
        ('{"a":1,"b":2}', '{"b":3,"a":4}', True),
        ('{"a":1,"b":2}', '{"a":1}', False),
        ('[{"method":"a"},{"method":"b"}]', '[{"method":"a"},{"method":"b","x":1}]', True),
        ('[{"method":"a"}]', '[{"method":"b"}]', False),
        ("[]", "[]", False),
        ("hello", "goodbye", False),
        ('{"method":"add"}', b'{"method":"add"}', False),
    ],
)
def test_messages_with_the_same_content_are_similar(wanted, got, are):
    assert matches("alike", wanted, got) is are


def test_ids_are_learned_and_inserted():
    ids = {}
    MATCHER.learn([{"id": 1}, {"id": "b"}], [{"id": 11}, {"id": "z"}], ids)
    assert json.loads(MATCHER.relabelled(recorded('[{"id":"b","result":1},{"id":1}]'), ids)) == [
        {"id": "z", "result": 1},
        {"id": 11},
    ]
    for untouched in ('{"id": "1"}', '{ "x": 1 }', '{"id":1,"method":"ask"}', "hello", '{"id":null}'):
        assert MATCHER.relabelled(recorded(untouched), ids) == untouched  # byte by byte
    assert MATCHER.relabelled(recorded(b'{"id":1}'), ids) == b'{"id":11}'
