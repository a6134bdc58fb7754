"""Enums and data classes that callers see."""

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
def test_the_text_of_a_state_is_its_name(state):
    assert state.value == state.name.lower()
    assert pickle.loads(pickle.dumps(state)) is state


def test_reconnecting_is_an_alias_of_waiting():
    assert State.RECONNECTING is State.WAITING
    assert State.WAITING.name == "WAITING"


WORDS = [*DeliveryState, *Phase, *Initiator]


def test_the_enums_have_exactly_these_values():
    assert [*DeliveryState] == ["queued", "written", "confirmed", "expired", "lost", "unknown", "cancelled"]
    assert [*Phase] == ["queued", "waiting"]
    assert [*Initiator] == ["local", "remote", "network", "keepalive", "quiet", "renewal"]


@pytest.mark.parametrize("word", WORDS, ids=repr)
def test_an_enum_member_can_be_used_like_its_str(word):
    plain = word.value
    assert type(plain) is str
    assert word == plain
    assert {plain: 1}[word] == 1
    assert type(word)(plain) is word


@pytest.mark.parametrize("word", WORDS, ids=repr)
def test_an_enum_member_prints_as_its_value(word):
    assert str(word) == f"{word}" == "{}".format(word) == "%s" % word == word.value  # noqa: UP031, UP032
    assert f"{word:>12}" == word.value.rjust(12)
    assert json.loads(json.dumps([word])) == [word.value]


@pytest.mark.parametrize("word", WORDS, ids=repr)
def test_an_enum_member_can_be_pickled_and_copied(word):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(word, protocol)) is word
        assert copy.deepcopy(word) is word


@pytest.mark.parametrize("fact", FACTS, ids=name_of)
def test_a_data_object_cannot_be_changed(fact):
    for field in dataclasses.fields(fact):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(fact, field.name, None)


@pytest.mark.parametrize("fact", FACTS, ids=name_of)
def test_a_data_object_can_be_pickled(fact):
    assert repr(pickle.loads(pickle.dumps(fact))) == repr(fact)


@pytest.mark.parametrize("fact", FACTS, ids=name_of)
def test_every_field_of_a_data_class_is_documented(fact):
    for field in dataclasses.fields(fact):
        assert f"\n    {field.name}: " in inspect.cleandoc(type(fact).__doc__)


def test_data_objects_are_equal_if_all_their_fields_are_equal():
    one = Disconnect("local", 1000, "", None, 1.0, 0.0)
    assert one == Disconnect("local", 1000, "", None, 1.0, 0.0)
    assert one != Disconnect("local", 1000, "", None, 1.0, 0.5)


def test_the_text_of_a_disconnect_has_initiator_reason_and_time():
    error = OSError("reset")
    disconnect = Disconnect("network", None, "the line broke", error, 60.0, 1.5)
    assert list(vars(disconnect).values()) == ["network", None, "the line broke", error, 60.0, 1.5]
    assert [field.name for field in dataclasses.fields(Disconnect)] == [
        "initiator", "code", "reason", "error", "uptime", "idle",
    ]  # fmt: skip


def test_the_text_of_an_attempt_has_error_number_and_next_step():
    error = OSError("refused")
    attempt = Attempt(error=error, number=3, next_delay=None)
    assert (attempt.error, attempt.number, attempt.next_delay) == (error, 3, None)


def test_the_stats_of_an_unused_client_are_zero():
    stats = dataclasses.asdict(Stats())
    unknown = {name for name, value in stats.items() if value is None}
    assert unknown == {"last_message_age", "rtt_last", "rtt_min", "rtt_mean"}
    assert all(value == 0 for value in stats.values() if value is not None)


def test_the_stats_have_the_documented_fields():
    assert {field.name for field in dataclasses.fields(Stats)} == {
        "messages_sent", "messages_received", "bytes_sent", "bytes_received", "connections", "failed_attempts",
        "requests_ok", "requests_failed", "requests_timed_out", "requests_late", "requests_in_flight", "queue_depth",
        "queue_bytes", "queue_head_age", "dropped", "last_message_age", "rtt_last", "rtt_min", "rtt_mean", "uptime",
        "renewals",
    }  # fmt: skip
