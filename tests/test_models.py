"""The facts callers see."""

import copy
import dataclasses
import inspect
import json
import pickle

import pytest

from wsclient._models import Attempt, DeliveryState, Disconnect, Initiator, Phase, State
from wsclient._stats import Stats

FACTS = [
    Disconnect("remote", 1001, "going away", None, 12.5, 0.25),
    Attempt(OSError("down"), 2, 0.5),
    Stats(messages_sent=3, rtt_last=0.1),
]


def name_of(fact):
    return type(fact).__name__


def test_a_client_has_these_states_and_no_others():
    assert [state.name for state in State] == ["NEW", "CONNECTING", "OPEN", "WAITING", "CLOSING", "CLOSED", "FAILED"]


@pytest.mark.parametrize("state", State)
def test_a_state_reads_as_its_name(state):
    assert state.value == state.name.lower()
    assert pickle.loads(pickle.dumps(state)) is state


def test_reconnecting_is_another_name_of_waiting():
    assert State.RECONNECTING is State.WAITING
    assert State.WAITING.name == "WAITING"


WORDS = [*DeliveryState, *Phase, *Initiator]


def test_the_words_have_these_values_and_no_others():
    assert [*DeliveryState] == ["queued", "written", "confirmed", "expired", "lost", "unknown"]
    assert [*Phase] == ["queued", "waiting"]
    assert [*Initiator] == ["local", "remote", "network", "keepalive"]


@pytest.mark.parametrize("word", WORDS, ids=repr)
def test_a_word_can_stand_for_the_plain_str(word):
    plain = word.value
    assert type(plain) is str
    assert word == plain
    assert {plain: 1}[word] == 1
    assert type(word)(plain) is word


@pytest.mark.parametrize("word", WORDS, ids=repr)
def test_a_word_prints_as_its_value(word):
    assert str(word) == f"{word}" == "{}".format(word) == "%s" % word == word.value  # noqa: UP031, UP032
    assert f"{word:>12}" == word.value.rjust(12)
    assert json.loads(json.dumps([word])) == [word.value]


@pytest.mark.parametrize("word", WORDS, ids=repr)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_word_survives_pickle_and_copying(word, protocol):
    assert pickle.loads(pickle.dumps(word, protocol)) is word
    assert copy.deepcopy(word) is word


@pytest.mark.parametrize("fact", FACTS, ids=name_of)
def test_a_fact_can_not_be_changed(fact):
    for field in dataclasses.fields(fact):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(fact, field.name, None)


@pytest.mark.parametrize("fact", FACTS, ids=name_of)
def test_a_fact_survives_pickle(fact):
    assert repr(pickle.loads(pickle.dumps(fact))) == repr(fact)


@pytest.mark.parametrize("fact", FACTS, ids=name_of)
def test_every_field_of_a_fact_is_explained(fact):
    for field in dataclasses.fields(fact):
        assert f"\n    {field.name}: " in inspect.cleandoc(type(fact).__doc__)


def test_facts_are_equal_if_all_they_say_is():
    one = Disconnect("local", 1000, "", None, 1.0, 0.0)
    assert one == Disconnect("local", 1000, "", None, 1.0, 0.0)
    assert one != Disconnect("local", 1000, "", None, 1.0, 0.5)


def test_a_disconnect_says_who_why_and_when():
    error = OSError("reset")
    disconnect = Disconnect("network", None, "the line broke", error, 60.0, 1.5)
    assert list(vars(disconnect).values()) == ["network", None, "the line broke", error, 60.0, 1.5]
    assert [field.name for field in dataclasses.fields(Disconnect)] == [
        "initiator", "code", "reason", "error", "uptime", "idle",
    ]  # fmt: skip


def test_an_attempt_says_why_which_and_what_next():
    error = OSError("refused")
    attempt = Attempt(error=error, number=3, next_delay=None)
    assert (attempt.error, attempt.number, attempt.next_delay) == (error, 3, None)


def test_the_stats_of_a_client_that_did_nothing_are_zero():
    stats = dataclasses.asdict(Stats())
    unknown = {name for name, value in stats.items() if value is None}
    assert unknown == {"rtt_last", "rtt_min", "rtt_mean"}
    assert all(value == 0 for value in stats.values() if value is not None)


def test_the_stats_tell_what_was_promised():
    assert {field.name for field in dataclasses.fields(Stats)} == {
        "messages_sent", "messages_received", "bytes_sent", "bytes_received", "connections", "failed_attempts",
        "requests_ok", "requests_failed", "requests_timed_out", "requests_late", "requests_in_flight", "queue_depth",
        "queue_bytes", "dropped", "rtt_last", "rtt_min", "rtt_mean", "uptime",
    }  # fmt: skip
