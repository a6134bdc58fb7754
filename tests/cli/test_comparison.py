"""What differs between a recorded message and one that is received now, and secrets that are put back."""

import json

import pytest

from wsclient._recording.redaction import REDACTED, Redactor
from wsclient.cli.comparison import Expected, differences, with_secrets
from wsclient.cli.pairs import id_names
from wsclient.testing._replay.matching import ID_KEYS, Matcher, recorded
from wsclient.testing._replay.playing import SEND, RecordedStep


def compared(wanted, got, ids=ID_KEYS):
    return differences(recorded(wanted), recorded(got), ids)


@pytest.mark.parametrize(
    ("wanted", "got", "expected"),
    [
        ('{"id":1,"a":1}', '{"id":2,"a":1}', []),
        ('{"a":{"b":[1,2]}}', '{"a":{"b":[1,3]}}', ["a.b.1: recorded 2, now 3"]),
        ('{"a":1,"b":2}', '{"b":2,"c":"x"}', ["a: recorded 1, now missing", 'c: recorded missing, now "x"']),
        ('{"token":"[redacted]"}', '{"token":"x"}', []),
        ("[1]", "[1,2]", ["1: recorded missing, now 2"]),
        ('[{"id":1,"a":1}]', '[{"id":2,"a":true}]', ["0.a: recorded 1, now true"]),
        ('{"a":{"id":1}}', '{"a":{"id":2}}', ["a.id: recorded 1, now 2"]),
        ('{"5":{"id":1}}', '{"5":{"id":2}}', ["5.id: recorded 1, now 2"]),
        ('[[{"id":1}]]', '[[{"id":2}]]', ["0.0.id: recorded 1, now 2"]),
        ("same", "same", []),
        ("1", "2", ["the message: recorded 1, now 2"]),
        ("hello", "hallo", ["recorded hello, now hallo"]),
        (b"\0", b"\1", ["recorded b'\\x00', now b'\\x01'"]),
        ('{"a":1}', b'{"a":1}', ['recorded {"a":1}, now b\'{"a":1}\'']),
        (
            json.dumps([0] * 9),
            json.dumps([1] * 9),
            [*(f"{n}: recorded 0, now 1" for n in range(5)), "4 more members differ"],
        ),
    ],
)
def test_differences_have_the_path_of_the_member(wanted, got, expected):
    assert compared(wanted, got) == expected


def test_a_difference_cannot_control_the_terminal():
    assert "\x1b" not in "".join(compared('{"a":1}', json.dumps({"a": "\x1b[2J"})) + compared("x", "\x1b[2J"))


@pytest.mark.parametrize(
    ("protocol", "wanted", "got"),
    [
        ("obs", '{"op":7,"d":{"requestId":"a","n":1}}', '{"op":7,"d":{"requestId":"b","n":1}}'),
        (
            "jupyter",
            '{"header":{"msg_id":"a"},"parent_header":{"msg_id":"b"}}',
            '{"header":{"msg_id":"c"},"parent_header":{"msg_id":"b"}}',
        ),
        ("id=a.b", '[{"a":{"b":1}}]', '[{"a":{"b":2}}]'),
    ],
)
def test_ids_in_inner_objects_may_differ(protocol, wanted, got):
    ids = id_names(protocol)
    assert compared(wanted, got, ids) == []
    assert len(compared(wanted, got)) == 1
    step, phrases = expecting('{"x":1}', wanted, ids=ids).take(got)
    assert (step.line, phrases) == (1, [])


def test_a_reply_is_assigned_by_its_id_in_an_inner_object():
    replies = [f'{{"op":7,"d":{{"requestId":"{name}","n":"{name}"}}}}' for name in "ab"]
    expected = expecting(*replies, ids=id_names("obs"))
    changed = replies[1].replace('"n":"b"', '"n":"c"')
    assert expected.take(changed)[1] == ['d.n: recorded "b", now "c"']
    assert expected.take(replies[0])[1] == []


def expecting(*messages, ids=ID_KEYS):
    steps = [RecordedStep(SEND, 0.0, line, recorded(message)) for line, message in enumerate(messages)]
    return Expected(steps, Matcher(Redactor(), ids), ids)


def test_a_reply_is_compared_with_the_recorded_one_of_its_id():
    expected = expecting('{"id":1,"result":1}', '{"id":2,"result":2}', '{"event":"x"}')
    step, phrases = expected.take('{"id":2,"result":1}')
    assert (step.line, phrases) == (1, ["result: recorded 2, now 1"])
    step, phrases = expected.take('{"id":1,"error":1}')
    assert (step.line, len(phrases)) == (0, 2)
    assert [one.line for one in expected.before(9)] == [2]


def test_an_id_that_the_server_chose_may_differ():
    expected = expecting('{"id":"abc","method":"tick"}', '{"id":"abd","method":"tock"}')
    assert [expected.take(f'{{"id":"x","method":"{name}"}}')[0].line for name in ("tock", "tick")] == [1, 0]


def test_the_order_of_messages_is_not_compared_but_their_number():
    expected = expecting('{"n":1}', '{"n":2}', "plain")
    assert [expected.take(message)[1] for message in ("plain", '{"n":2}', '{"n":1}')] == [[], [], []]
    assert expected.take('{"n":1}') == (None, ['the recording has no such message: {"n":1}'])


def test_messages_of_the_same_kind_are_compared():
    step, phrases = expecting('{"type":"a","n":1}', '{"type":"b","n":1}').take('{"type":"b","n":2}')
    assert (step.line, phrases) == (1, ["n: recorded 1, now 2"])


# --- secrets ---------------------------------------------------------------------------------------------------------

SECRET = 'a "quoted" \\ sécret'
MESSAGES = [
    json.dumps({"a": 1, "token": SECRET}),
    json.dumps({"data": json.dumps({"token": SECRET, "b": [{"auth_token": SECRET}]})}),
    json.dumps({"data": json.dumps([json.dumps({"token": SECRET})])}),
    f"42[{json.dumps({'token': SECRET})}]",
    json.dumps({"token": SECRET}).encode(),
]


@pytest.mark.parametrize("message", MESSAGES)
def test_a_redacted_message_with_its_secrets_is_the_message(message):
    redactor = Redactor()
    redacted = redactor.data(message) if isinstance(message, bytes) else redactor.text(message)
    assert redacted != message
    restored, missing = with_secrets(redacted, {"token": SECRET, "authtoken": SECRET})
    assert missing == []
    assert decoded(restored) == decoded(message)
    assert with_secrets(redacted, {})[1][0] == "token"


def decoded(message):
    """The values of JSON, also in strings, whatever their escapes are."""
    text = message.decode() if isinstance(message, bytes) else message
    value = json.loads(text.removeprefix("42"))
    while isinstance(inner := value.get("data") if isinstance(value, dict) else value[0], str):
        value = json.loads(inner)
    return value


def test_a_secret_may_be_any_json():
    text, _ = with_secrets(f'{{"Session-ID" : "{REDACTED}"}}', {"sessionid": {"a": 5}})
    assert json.loads(text) == {"Session-ID": {"a": 5}}


def test_what_is_no_member_stays_redacted():
    assert with_secrets(f'["{REDACTED}"]', {"token": "x"}) == (f'["{REDACTED}"]', [])
    assert with_secrets(b"\xff", {}) == (b"\xff", [])
