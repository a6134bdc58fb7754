"""One recorded connection, replayed without a socket or a clock."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsclient._recording.format import RECEIVED, SENT, Entry, RecordedConnection
from wsclient._recording.redaction import Redactor
from wsclient.testing._replay.matching import Matcher
from wsclient.testing._replay.playing import CLOSE, CUT, PING, SEND, LenientPlayer, Step, StrictPlayer

MATCHER = Matcher(Redactor())


def made(player, *script, lost=("network", None), speed=None):
    """``">text"`` is sent by the client, ``"<text"`` by the server; they are one second apart."""
    entries = []
    for number, one in enumerate(script, 1):
        if isinstance(one, str):
            direction = SENT if one[0] == ">" else RECEIVED
            entries.append(Entry(number + 2, float(number), "message", direction, one[1:]))
        else:
            kind, direction, payload, code = one
            entries.append(Entry(number + 2, float(number), kind, direction, payload, code))
    connection = RecordedConnection(1, 2, 0.0, None, [], entries, lost, len(script) + 1.0)
    found = player(connection, MATCHER, speed)
    found.begin(100.0)
    return found


def said(player, now=100.0):
    return [step.payload if step.what is SEND else step.what for step in player.steps(now)]


# --- strict ----------------------------------------------------------------------------------------------------------


def test_strictly_the_server_sends_after_the_client_has_sent_the_messages_before():
    player = made(StrictPlayer, "<welcome", ">a", "<1", "<2", ">b", "<3")
    assert said(player) == ["welcome"]
    assert said(player) == []
    player.take("a", 100)
    assert said(player) == ["1", "2"]
    player.take("b", 100)
    assert said(player) == ["3", CUT]
    assert player.missing() == []
    assert player.differences == []


def test_early_messages_wait_for_their_turn():
    player = made(StrictPlayer, ">a", "<1", ">b", "<2")
    player.take("a", 100)
    player.take("b", 100)
    assert said(player) == ["1", "2", CUT]


@pytest.mark.parametrize("sent", [["b"], ["a", "c"], ["b", "a"]])
def test_a_different_message_is_a_difference_and_ends_the_connection(sent):
    player = made(StrictPlayer, ">a", ">b", "<1", lost=("local", 1000))
    for one in sent:
        player.take(one, 100)
    (step,) = player.steps(100)
    assert (step.what, step.code) == (CLOSE, 1008)
    assert player.steps(100) == []
    (sentence,) = player.differences
    wanted, got = next((w, g) for w, g in zip("ab", sent, strict=False) if w != g)
    assert sentence == f"connection 1, line {'ab'.index(wanted) + 3}: expected {wanted}, got {got}."
    assert player.missing() == []


def test_a_missing_message_is_reported():
    player = made(StrictPlayer, ">a", "<1", ">b", ">c", lost=("local", 1000))
    player.take("a", 100)
    assert said(player) == ["1"]
    assert player.missing() == ["connection 1, line 5: never sent: b.", "connection 1, line 6: never sent: c."]


def test_an_additional_message_is_a_difference_unless_the_server_has_closed():
    player = made(StrictPlayer, ">a", lost=("local", 1000))
    player.take("a", 100)
    player.take("b", 100)
    assert said(player) == [CLOSE]
    assert player.differences == ["connection 1, line 2: expected nothing more, got b."]
    player = made(StrictPlayer, ">a", lost=None)
    player.take("a", 100)
    player.take("b", 100)
    assert said(player) == [CLOSE]
    assert player.differences == ["connection 1, after its last line: expected nothing more, got b."]
    player = made(StrictPlayer, ">a")
    player.take("a", 100)
    player.take("b", 100)
    assert said(player) == [CUT]
    assert player.differences == []


def test_the_close_code_of_the_client_is_compared():
    for code, differences in ((1000, 0), (4000, 1)):
        player = made(StrictPlayer, ("close", SENT, "", 1000), ("close", RECEIVED, "", 1000))
        assert player.steps(100) == []
        player.client_closed(code)
        assert len(player.differences) == differences
    assert player.differences == ["connection 1, line 3: the client should close with 1000, but closed with 4000."]


@pytest.mark.parametrize("player", [StrictPlayer, LenientPlayer])
def test_the_close_and_pings_of_the_server_are_replayed_and_pings_of_the_client_are_not_compared(player):
    script = (("ping", RECEIVED, b"p", None), ("pong", SENT, b"p", None), ("ping", SENT, b"q", None),
              ("pong", RECEIVED, b"q", None), ("close", RECEIVED, "bye", 1012), ("close", SENT, "", 1012))  # fmt: skip
    assert made(player, *script).steps(100) == [Step(PING, b"p"), Step(CLOSE, "bye", 1012)]


def test_strictly_the_recorded_delays_are_kept_at_the_requested_speed():
    player = made(StrictPlayer, ">a", "<1", "<2", speed=2.0)
    assert player.next_at() is None
    player.take("a", 107)
    assert said(player, 107) == []
    assert player.next_at() == 107.5
    assert said(player, 107.5) == ["1"]
    assert said(player, 107.9) == []
    assert said(player, 108.0) == ["2"]
    assert player.next_at() == 108.5
    assert said(player, 108.5) == [CUT]


@given(st.lists(st.tuples(st.booleans(), st.text(max_size=3)), max_size=12), st.data())
def test_the_recorded_script_is_never_a_difference_with_any_timing(script, data):
    entries = [(">" if by_client else "<") + text for by_client, text in script]
    player = made(StrictPlayer, *entries)
    heard = []
    for entry in entries:
        if entry[0] == ">":
            player.take(entry[1:], 100)
            if data.draw(st.booleans()):
                heard += said(player)
    heard += said(player)
    assert heard == [entry[1:] for entry in entries if entry[0] == "<"] + [CUT]
    assert player.differences == player.missing() == []


# --- lenient ---------------------------------------------------------------------------------------------------------


def ask(id, method="add", **more):
    return json.dumps({"id": id, "method": method, **more}, separators=(",", ":"))


def reply(id, result):
    return json.dumps({"id": id, "result": result}, separators=(",", ":"))


def lenient(*script, **options):
    return made(LenientPlayer, *script, **options)


def test_leniently_replies_use_the_new_ids_in_any_order():
    player = lenient(">" + ask(1, "a"), ">" + ask(2, "b"), "<" + reply(2, "B"), "<" + reply(1, "A"))
    player.take(ask(70, "b"), 100)
    assert said(player) == [reply(70, "B")]
    player.take(ask("x", "a"), 100)
    assert said(player) == [reply("x", "A"), CUT]


def test_leniently_an_equal_message_is_preferred_to_a_similar_one():
    player = lenient(">" + ask(1, params=1), ">" + ask(2, params=2), "<" + reply(1, "one"), "<" + reply(2, "two"))
    player.take(ask(5, params=2), 100)
    assert said(player) == [reply(5, "two")]
    player.take(ask(6, params=9), 100)
    assert said(player) == [reply(6, "one"), CUT]
    player.take(ask(7, params=9), 100)
    assert said(player) == []
    assert player.unexpected == [ask(7, params=9)]


def test_leniently_a_new_message_is_recorded_without_an_answer_and_a_missing_one_is_no_difference():
    player = lenient(">a", "<1", ">b", "<2")
    player.take("new", 100)
    player.take("b", 100)
    assert said(player) == ["2"]
    assert player.unexpected == ["new"]
    assert player.differences == player.missing() == []


def test_leniently_events_are_sent_in_order_after_the_client_has_sent_the_messages_before():
    player = lenient(
        "<hello", ">" + ask(1, "a"), "<tick 1", "<" + reply(1, "A"), "<tick 2", ">" + ask(2, "b"), "<tick 3"
    )
    assert said(player) == ["hello"]
    player.take(ask(8, "b"), 100)
    assert said(player) == ["tick 1", "tick 2", "tick 3"]
    player.take(ask(9, "a"), 100)
    assert said(player) == [reply(9, "A"), CUT]


def test_leniently_without_ids_an_answer_follows_the_message_before_it():
    player = lenient(">a", "<1", ">b", "<2")
    player.take("b", 100)
    player.take("a", 100)
    assert said(player) == ["1", "2", CUT]
    player = lenient(">a", "<1", ">b", "<2")
    player.take("b", 100)
    assert said(player) == ["2"]


def test_leniently_a_call_of_the_server_keeps_its_id_and_answers_nothing():
    call = ask(1, "confirm")
    player = lenient(">" + ask(1, "a"), "<" + call, ">" + reply(1, "yes"), "<" + reply(1, "A"))
    player.take(ask(50, "a"), 100)
    assert call in said(player)
    player.take(reply(1, "yes"), 100)
    assert player.unexpected == []


def test_leniently_a_call_with_the_id_of_a_request_is_an_event():
    call = ask(1, "confirm")
    player = lenient(">" + ask(1, "a"), ">" + ask(2, "b"), "<" + call, "<" + reply(1, "A"), "<" + reply(2, "B"))
    player.take(ask(2, "b"), 100)
    assert said(player) == [call, reply(2, "B")]


def test_leniently_the_answer_to_two_messages_waits_for_both():
    player = lenient(">" + ask(1, "a"), ">" + ask(2, "b"), f"<[{reply(1, 'A')},{reply(2, 'B')}]")
    player.take(ask(1, "a"), 100)
    assert said(player) == []
    player.take(ask(2, "b"), 100)
    assert len(said(player)) == 2


def test_leniently_a_new_batch_gets_the_answers_with_its_ids():
    player = lenient(f">[{ask(1)},{ask(2)}]", f"<[{reply(2, 'B')},{reply(1, 'A')}]")
    player.take(f"[{ask(11)},{ask(12)}]", 100)
    assert json.loads(said(player)[0]) == [{"id": 12, "result": "B"}, {"id": 11, "result": "A"}]


def test_leniently_the_recorded_delays_are_kept_too():
    player = lenient("<hello", ">" + ask(1), "<" + reply(1, 1), "<" + reply(1, 2), speed=1.0)
    assert (said(player), player.next_at()) == ([], 101)
    assert said(player, 101) == ["hello"]
    player.take(ask(4), 110)
    assert (said(player, 110), player.next_at()) == ([], 111)
    assert said(player, 112) == [reply(4, 1), reply(4, 2)]
    assert player.next_at() == 113
    assert said(player, 113) == [CUT]


@given(st.permutations(range(6)), st.integers(1, 1000))
def test_leniently_with_any_order_and_ids_every_request_gets_its_reply(order, first):
    script = [">" + ask(n + 1, f"m{n}") for n in range(6)] + ["<" + reply(n + 1, f"r{n}") for n in range(6)]
    player = lenient(*script)
    for place, n in enumerate(order):
        player.take(ask(first + place, f"m{n}"), 100)
        heard = said(player)
        assert heard[0] == reply(first + place, f"r{n}")
    assert heard[1:] == [CUT]


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc")), max_size=10))
def test_leniently_the_recorded_script_gets_all_recorded_messages(script):
    entries = [(">" if by_client else "<") + text for by_client, text in script]
    player = lenient(*entries)
    heard = said(player)
    for entry in entries:
        if entry[0] == ">":
            player.take(entry[1:], 100)
            heard += said(player)
    assert heard == [entry[1:] for entry in entries if entry[0] == "<"] + [CUT]
    assert player.unexpected == []
