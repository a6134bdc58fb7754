"""The format of recordings: everything written can be read; anything else is refused, with its line number."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsclient._recording import format as recording_format
from wsclient._recording.format import RECEIVED, SENT

HEAD = recording_format.head("feed", ["pin"], ["sessionId"])
OPEN = recording_format.line(0.1, "open", connection=1, url="ws://h/", subprotocol=None, headers=[["server", "x"]])
SAID = recording_format.line(0.2, "message", connection=1, direction=SENT, text="hello")
LOST = recording_format.line(0.3, "lost", connection=1, initiator="network", code=None, reason="", error=None)


def refusal(*lines):
    with pytest.raises(ValueError, match=r"^tape\.jsonl, line \d+: .*\.$") as caught:
        recording_format.parse(lines, "tape.jsonl")
    return str(caught.value)


def test_a_written_record_can_be_read():
    tape = recording_format.parse(
        [
            HEAD,
            recording_format.line(0, "failed", number=1, error="ConnectError", status=503),
            OPEN,
            SAID,
            recording_format.line(0.25, "message", connection=1, direction=RECEIVED, base64="AAE="),
            recording_format.line(0.26, "ping", connection=1, direction=RECEIVED, base64=""),
            recording_format.line(0.27, "pong", connection=1, direction=SENT, base64=""),
            recording_format.line(0.28, "close", connection=1, direction=RECEIVED, code=1001, reason="bye"),
            LOST,
            recording_format.line(0.4, "open", connection=2, url="ws://h/", subprotocol="chat", headers=[]),
        ],
        "tape.jsonl",
    )
    first, second = tape.connections
    assert (tape.client, tape.redact, tape.keep, tape.failed) == ("feed", ("pin",), ("sessionId",), 1)
    assert (first.number, first.at, first.subprotocol, first.headers) == (1, 0.1, None, [("server", "x")])
    assert [(e.line, e.kind, e.direction, e.payload, e.code) for e in first.entries] == [
        (4, "message", SENT, "hello", None),
        (5, "message", RECEIVED, b"\0\1", None),
        (6, "ping", RECEIVED, b"", None),
        (7, "pong", SENT, b"", None),
        (8, "close", RECEIVED, "bye", 1001),
    ]
    assert (first.lost, first.lost_at) == (("network", None), 0.3)
    assert (second.number, second.subprotocol, second.lost) == (2, "chat", None)


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.binary(), st.floats(0, 1e6))
def test_every_payload_is_read_unchanged_and_each_record_is_one_line(payload, at):
    line = recording_format.line(at, "message", connection=1, direction=SENT, **recording_format.payload(payload))
    assert line.count(b"\n") == 1
    (entry,) = recording_format.parse([HEAD, OPEN, line], "x").connections[0].entries
    assert entry.payload == payload
    assert entry.at == round(at, 6)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((), "line 1: the file is empty"),
        ((b"not json\n",), "line 1: this is not JSON"),
        ((b"\xff\n",), "line 1: this is not JSON"),
        ((b"[" * 100_000 + b"\n",), "line 1: this is not JSON"),
        ((b"[]\n",), "line 1: this is not a JSON object"),
        ((b"{}\n",), 'line 1: a recording of wsclient begins with "format"'),
        ((HEAD.replace(b'"version":1', b'"version":2'),), "line 1: the recording has version 2 of the format"),
        ((HEAD.replace(b'"version":1', b'"version":true'),), "line 1: the version"),
        ((HEAD.replace(b'["pin"]', b"5"),), "line 1: the head must have"),
        ((HEAD, OPEN, SAID[:-1]), "line 3: the line is cut off"),
        ((HEAD, OPEN, SAID[:9] + b"\n"), "line 3: this is not JSON"),
        ((HEAD, HEAD), "line 2: kind must be one of"),
        ((HEAD, SAID), "line 2: connection 1 was not opened"),
        ((HEAD, OPEN, OPEN), "line 3: connection 1 is opened, but the next connection is 2"),
        ((HEAD, OPEN, LOST, SAID), "line 4: connection 1 has ended"),
        ((HEAD, OPEN, SAID.replace(b"sent", b"seen")), "line 3: direction must be"),
        ((HEAD, OPEN, SAID.replace(b'"text"', b'"words"')), "line 3: a payload must be either"),
        ((HEAD, OPEN, SAID.replace(b'"text"', b'"base64"')), "line 3: the base64 is damaged"),
        ((HEAD, OPEN, SAID.replace(b'"text":"hello"', b'"base64":"aGVs*bG8="')), "line 3: the base64 is damaged"),
        ((HEAD, OPEN, SAID.replace(b"0.2", b'"0.2"')), "line 3: at must be"),
        ((HEAD, OPEN, SAID.replace(b"0.2", b"NaN")), "line 3: at must be"),
        ((HEAD, OPEN, SAID.replace(b"0.2", b"true")), "line 3: at must be"),
        ((HEAD, OPEN.replace(b'"url"', b'"uri"')), "line 2: the line of kind open lacks a valid 'url'"),
        ((HEAD, OPEN.replace(b'["server","x"]', b'["server"]')), "line 2: headers must be"),
    ],
)  # fmt: skip
def test_an_invalid_line_is_refused_with_its_number(lines, words):
    assert words in refusal(*lines)


@given(st.data())
def test_a_file_with_one_changed_byte_is_read_or_refused_with_a_message(data):
    text = bytearray(HEAD + OPEN + SAID + LOST)
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    lines = bytes(text).splitlines(keepends=True)
    try:
        recording_format.parse(lines, "tape.jsonl")
    except ValueError as error:
        assert str(error).startswith("tape.jsonl, line ")  # noqa: PT017


def test_the_time_has_six_digits():
    assert json.loads(recording_format.line(0.123456789, "failed", number=1, error="E", status=None))["at"] == 0.123457
