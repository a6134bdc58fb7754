"""Deadlines and keepalive: computed at times that the tests choose."""

import math
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsclient._connection.keepalive import Heartbeat
from wsclient._threads.deadline import Deadline

moments = st.integers(0, 1000)


# --- Deadline ---------------------------------------------------------------------------------------------------------


def test_a_deadline_is_a_number_of_seconds_from_now():
    assert Deadline.after(5, 100).at == 105


def test_a_deadline_after_none_never_passes():
    never = Deadline.after(None, 100)
    assert never.at is None
    assert never.left(10**9) is None
    assert not never.passed(10**9)


def test_a_deadline_of_zero_seconds_has_passed_at_once():
    assert Deadline.after(0, 100).passed(100)


@pytest.mark.parametrize(("now", "left", "passed"), [(99, 6, False), (104, 1, False), (105, 0, True), (200, 0, True)])
def test_the_remaining_time_of_a_deadline_is_never_negative(now, left, passed):
    deadline = Deadline(105)
    assert deadline.left(now) == left
    assert deadline.passed(now) is passed


@pytest.mark.parametrize(
    ("one", "other", "sooner"), [(1, 2, 1), (2, 1, 1), (1, 1, 1), (None, 3, 3), (3, None, 3), (None, None, None)]
)
def test_the_earlier_of_two_deadlines_applies(one, other, sooner):
    assert Deadline(one).sooner(Deadline(other)).at == sooner


# --- Heartbeat --------------------------------------------------------------------------------------------------------


def test_the_first_ping_is_due_one_interval_after_the_opening():
    heartbeat = Heartbeat(20, 5, now=100)
    assert not heartbeat.ping_due(119)
    assert heartbeat.ping_due(120)
    assert heartbeat.next_at == 120


def test_the_next_ping_is_due_one_interval_after_the_last():
    heartbeat = Heartbeat(20, None, now=100)
    heartbeat.pinged(b"a", 123)
    assert not heartbeat.ping_due(142)
    assert heartbeat.ping_due(143)
    assert heartbeat.next_at == 143


def test_incoming_bytes_do_not_delay_a_ping():
    heartbeat = Heartbeat(20, 5, now=100)
    heartbeat.heard(119)
    assert heartbeat.ping_due(120)


def test_a_silent_peer_is_dead_one_timeout_after_the_ping():
    heartbeat = Heartbeat(20, 5, now=100)
    heartbeat.pinged(b"a", 120)
    assert not heartbeat.dead(124)
    assert heartbeat.dead(125)
    assert heartbeat.next_at == 125


def test_a_peer_is_not_dead_before_the_first_ping():
    heartbeat = Heartbeat(20, 5, now=100)
    assert not heartbeat.dead(10**6)


def test_the_oldest_unanswered_ping_applies():
    heartbeat = Heartbeat(2, 5, now=100)
    heartbeat.pinged(b"a", 102)
    heartbeat.pinged(b"b", 104)
    heartbeat.pinged(b"c", 106)
    assert heartbeat.dead(107)


def test_any_byte_is_a_sign_of_life():
    heartbeat = Heartbeat(20, 5, now=100)
    heartbeat.pinged(b"a", 120)
    heartbeat.heard(124)
    assert heartbeat.last_heard == 124
    assert not heartbeat.dead(128)
    assert heartbeat.dead(129)


def test_bytes_from_before_the_ping_do_not_count():
    heartbeat = Heartbeat(20, 5, now=100)
    heartbeat.heard(101)
    heartbeat.pinged(b"a", 120)
    assert not heartbeat.dead(124)
    assert heartbeat.dead(125)


def test_an_answered_ping_has_no_deadline():
    heartbeat = Heartbeat(20, 5, now=100)
    heartbeat.pinged(b"a", 120)
    heartbeat.answered(b"a")
    assert not heartbeat.dead(139)
    assert heartbeat.next_at == 140


def test_a_pong_answers_earlier_pings_too():
    heartbeat = Heartbeat(2, 5, now=100)
    heartbeat.pinged(b"a", 102)
    heartbeat.pinged(b"b", 104)
    heartbeat.answered(b"b")
    assert not heartbeat.dead(10**6)


def test_a_pong_does_not_answer_later_pings():
    heartbeat = Heartbeat(2, 5, now=100)
    heartbeat.pinged(b"a", 102)
    heartbeat.pinged(b"b", 104)
    heartbeat.answered(b"a")
    assert not heartbeat.dead(108)
    assert heartbeat.dead(109)


def test_an_unrequested_pong_answers_nothing():
    heartbeat = Heartbeat(20, 5, now=100)
    heartbeat.answered(b"")
    heartbeat.pinged(b"a", 120)
    heartbeat.answered(b"b")
    assert heartbeat.dead(125)


def test_a_repeated_pong_counts_once():
    heartbeat = Heartbeat(2, 5, now=100)
    heartbeat.pinged(b"a", 102)
    heartbeat.answered(b"a")
    heartbeat.pinged(b"b", 104)
    heartbeat.answered(b"a")
    assert heartbeat.dead(109)


def test_without_an_interval_no_ping_is_due():
    heartbeat = Heartbeat(None, 5, now=100)
    assert not heartbeat.ping_due(10**6)
    assert heartbeat.next_at == math.inf


def test_without_an_interval_a_ping_of_the_user_has_a_timeout_too():
    heartbeat = Heartbeat(None, 5, now=100)
    heartbeat.pinged(b"a", 120)
    assert not heartbeat.ping_due(10**6)
    assert heartbeat.next_at == 125
    assert heartbeat.dead(125)


def test_without_a_timeout_no_peer_is_dead():
    heartbeat = Heartbeat(20, None, now=100)
    heartbeat.pinged(b"a", 120)
    assert not heartbeat.dead(10**6)
    assert heartbeat.next_at == 140


def test_without_interval_and_timeout_no_event_is_due():
    heartbeat = Heartbeat(None, None, now=100)
    heartbeat.pinged(b"a", 120)
    assert (heartbeat.ping_due(10**6), heartbeat.dead(10**6), heartbeat.next_at) == (False, False, math.inf)


def test_the_earlier_of_ping_and_timeout_is_next():
    heartbeat = Heartbeat(20, 50, now=100)
    heartbeat.pinged(b"a", 120)
    assert heartbeat.next_at == 140
    heartbeat.pinged(b"b", 140)
    heartbeat.pinged(b"c", 160)
    assert heartbeat.next_at == 170


def test_a_peer_that_never_answers_uses_no_memory():
    heartbeat = Heartbeat(1, None, now=0)
    tracemalloc.start()
    try:
        for now in range(10_000):
            heartbeat.pinged(now.to_bytes(8, "big"), now)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 10_000


@given(
    interval=st.integers(1, 30),
    timeout=st.integers(1, 30),
    gaps=st.lists(st.integers(1, 40), max_size=20),
    answers=st.booleans(),
)
def test_a_half_open_peer_is_detected_within_interval_and_timeout(interval, timeout, gaps, answers):
    heartbeat = Heartbeat(interval, timeout, now=0)
    heard_at = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    last_byte, pings = 0, 0
    while True:
        now = heartbeat.next_at
        while heard_at and heard_at[0] <= now:
            last_byte = heard_at.pop(0)
            heartbeat.heard(last_byte)
            if answers and pings:
                heartbeat.answered(pings.to_bytes(8, "big"))
        if heartbeat.dead(now):
            break
        if heartbeat.ping_due(now):
            pings += 1
            heartbeat.pinged(pings.to_bytes(8, "big"), now)
    assert timeout <= now - last_byte <= interval + timeout


@given(
    interval=st.none() | st.integers(1, 30),
    timeout=st.none() | st.integers(1, 30),
    steps=st.lists(st.tuples(st.sampled_from(["ping", "hear", "answer"]), st.integers(0, 20)), max_size=20),
)
def test_nothing_changes_before_the_announced_time(interval, timeout, steps):
    heartbeat, now, pings = Heartbeat(interval, timeout, now=0), 0, 0
    for step, gap in steps:
        now += gap
        if step == "ping":
            pings += 1
            heartbeat.pinged(pings.to_bytes(8, "big"), now)
        elif step == "hear":
            heartbeat.heard(now)
        else:
            heartbeat.answered(pings.to_bytes(8, "big"))
    at = heartbeat.next_at
    for moment in range(200):
        assert (heartbeat.ping_due(moment) or heartbeat.dead(moment)) is (at is not None and moment >= at)
