"""Recordings of a message protocol with heartbeats, whose number depends on time."""

import contextlib
import json

import pytest

import wsclient
from wsclient import JsonId, Request
from wsclient._recording import format as recording_format
from wsclient._recording.format import SENT
from wsclient.testing import Replay, ReplayMismatch

from ..support import LONG, Server, eventually


class Beating(JsonId):
    """Sends a heartbeat at an interval; counts those that were made."""

    def __init__(self, seconds, beat):
        super().__init__(result="result")
        self.made = 0
        self.beat = beat
        self.heartbeat = (seconds, self.make)

    def make(self):
        self.made += 1
        return self.beat


BEATS = {"with an id": Request({"op": "beat"}), "one-way": {"op": "beat"}}


def answer(connection, message):
    call = json.loads(message)
    if "id" in call:
        connection.send(json.dumps({"id": call["id"], "result": call.get("n", "beat")}))


def script(url, seconds, beat, *, last=2, beats=0, **options):
    """Two requests, with at least this number of heartbeats after each."""
    protocol = Beating(seconds, beat)
    with wsclient.connect(url, protocol=protocol, ping_timeout=LONG, **options) as client:
        first = client.request({"op": "add", "n": 1}, timeout=LONG)
        eventually(lambda: protocol.made >= beats)
        client.flush(LONG)
        return first, client.request({"op": "add", "n": last}, timeout=LONG)


@pytest.fixture(params=BEATS)
def recording(request, tmp_path):
    path = tmp_path / "session.jsonl"
    beat = BEATS[request.param]
    with Server(answer) as server:
        assert script(server.url, 0.01, beat, beats=3, record=path) == (1, 2)
    return path, beat


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(("seconds", "beats"), [(LONG, 0), (0.01, 6)], ids=["fewer heartbeats", "more heartbeats"])
def test_a_replay_accepts_any_number_of_heartbeats(recording, strict, seconds, beats):
    path, beat = recording
    with Replay(path, strict=strict) as replay:
        assert script(replay.url, seconds, beat, beats=beats) == (1, 2)
    assert replay.unexpected == []


def test_a_heartbeat_with_an_id_is_answered(recording):
    path, _ = recording
    answers = []

    class Asks(Beating):
        def decode(self, payload):
            meaning = super().decode(payload)
            if getattr(meaning, "value", None) == "beat":
                answers.append(meaning)
            return meaning

    protocol = Asks(0.01, BEATS["with an id"])
    if b'"result":"beat"' not in path.read_bytes().replace(b'\\"', b'"').replace(b" ", b""):
        pytest.skip("these heartbeats have no answers")
    with Replay(path) as replay, wsclient.connect(replay.url, protocol=protocol, ping_timeout=LONG) as client:
        client.request({"op": "add", "n": 1}, timeout=LONG)
        eventually(lambda: len(answers) >= 4)
        client.request({"op": "add", "n": 2}, timeout=LONG)


def test_a_changed_script_is_still_a_mismatch(recording):
    path, beat = recording
    with pytest.raises(ReplayMismatch), Replay(path) as replay:
        with pytest.raises(wsclient.ConnectionLost):
            script(replay.url, LONG, beat, last=3)


def test_heartbeats_are_marked_in_the_recording(recording):
    path, _ = recording
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    marked = [line for line in lines if line.get("heartbeat")]
    assert len(marked) >= 3
    assert all("beat" in line["text"] and line["direction"] == "sent" for line in marked)
    sent = [line["text"] for line in lines if line.get("direction") == "sent" and "text" in line]
    assert sum("beat" in text for text in sent) == len(marked)


def test_a_list_of_another_length_is_a_mismatch(tmp_path):
    path = tmp_path / "session.jsonl"
    entries = [{"text": '{"op":"beat","id":1}', "heartbeat": True}, {"text": '[{"id":2},{"id":3}]'}]
    path.write_bytes(
        recording_format.head("x", [], [])
        + recording_format.line(0, "open", connection=1, url="ws://h/", subprotocol=None, headers=[])
        + b"".join(recording_format.line(0, "message", connection=1, direction=SENT, **entry) for entry in entries)
    )
    replay = Replay(path)
    with contextlib.closing(replay), wsclient.connect(replay.url) as client:
        client.send('[{"id":2}]')
        eventually(lambda: replay.mismatches)
    assert replay.mismatches == ['connection 1, line 4: expected [{"id":2},{"id":3}], got [{"id":2}].']
