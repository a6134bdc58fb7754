"""Deadlines and keepalive: computed at times that the tests choose."""

import math
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsclient._connection.keepalive import PingSchedule
from wsclient._threads.waiting import Deadline

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


# --- PingSchedule -----------------------------------------------------------------------------------------------------


def test_the_first_ping_is_due_one_interval_after_the_opening():
    schedule = PingSchedule(20, 5, now=100)
    assert not schedule.ping_due(119)
    assert schedule.ping_due(120)
    assert schedule.next_at == 120


def test_the_next_ping_is_due_one_interval_after_the_last():
    schedule = PingSchedule(20, None, now=100)
    schedule.pinged(b"a", 123)
    assert not schedule.ping_due(142)
    assert schedule.ping_due(143)
    assert schedule.next_at == 143


def test_incoming_bytes_do_not_delay_a_ping():
    schedule = PingSchedule(20, 5, now=100)
    schedule.heard(119)
    assert schedule.ping_due(120)


def test_a_silent_peer_is_dead_one_timeout_after_the_ping():
    schedule = PingSchedule(20, 5, now=100)
    schedule.pinged(b"a", 120)
    assert not schedule.dead(124)
    assert schedule.dead(125)
    assert schedule.next_at == 125


def test_a_peer_is_not_dead_before_the_first_ping():
    schedule = PingSchedule(20, 5, now=100)
    assert not schedule.dead(10**6)


def test_the_oldest_unanswered_ping_applies():
    schedule = PingSchedule(2, 5, now=100)
    schedule.pinged(b"a", 102)
    schedule.pinged(b"b", 104)
    schedule.pinged(b"c", 106)
    assert schedule.dead(107)


def test_any_byte_is_a_sign_of_life():
    schedule = PingSchedule(20, 5, now=100)
    schedule.pinged(b"a", 120)
    schedule.heard(124)
    assert schedule.last_heard == 124
    assert not schedule.dead(128)
    assert schedule.dead(129)


def test_bytes_from_before_the_ping_do_not_count():
    schedule = PingSchedule(20, 5, now=100)
    schedule.heard(101)
    schedule.pinged(b"a", 120)
    assert not schedule.dead(124)
    assert schedule.dead(125)


def test_an_answered_ping_has_no_deadline():
    schedule = PingSchedule(20, 5, now=100)
    schedule.pinged(b"a", 120)
    schedule.answered(b"a")
    assert not schedule.dead(139)
    assert schedule.next_at == 140


def test_a_pong_answers_earlier_pings_too():
    schedule = PingSchedule(2, 5, now=100)
    schedule.pinged(b"a", 102)
    schedule.pinged(b"b", 104)
    schedule.answered(b"b")
    assert not schedule.dead(10**6)


def test_a_pong_does_not_answer_later_pings():
    schedule = PingSchedule(2, 5, now=100)
    schedule.pinged(b"a", 102)
    schedule.pinged(b"b", 104)
    schedule.answered(b"a")
    assert not schedule.dead(108)
    assert schedule.dead(109)


def test_an_unrequested_pong_answers_nothing():
    schedule = PingSchedule(20, 5, now=100)
    schedule.answered(b"")
    schedule.pinged(b"a", 120)
    schedule.answered(b"b")
    assert schedule.dead(125)


def test_a_repeated_pong_counts_once():
    schedule = PingSchedule(2, 5, now=100)
    schedule.pinged(b"a", 102)
    schedule.answered(b"a")
    schedule.pinged(b"b", 104)
    schedule.answered(b"a")
    assert schedule.dead(109)


def test_without_an_interval_no_ping_is_due():
    schedule = PingSchedule(None, 5, now=100)
    assert not schedule.ping_due(10**6)
    assert schedule.next_at == math.inf


def test_without_an_interval_a_ping_of_the_user_has_a_timeout_too():
    schedule = PingSchedule(None, 5, now=100)
    schedule.pinged(b"a", 120)
    assert not schedule.ping_due(10**6)
    assert schedule.next_at == 125
    assert schedule.dead(125)


def test_without_a_timeout_no_peer_is_dead():
    schedule = PingSchedule(20, None, now=100)
    schedule.pinged(b"a", 120)
    assert not schedule.dead(10**6)
    assert schedule.next_at == 140


def test_without_interval_and_timeout_no_event_is_due():
    schedule = PingSchedule(None, None, now=100)
    schedule.pinged(b"a", 120)
    assert (schedule.ping_due(10**6), schedule.dead(10**6), schedule.next_at) == (False, False, math.inf)


def test_the_earlier_of_ping_and_timeout_is_next():
    schedule = PingSchedule(20, 50, now=100)
    schedule.pinged(b"a", 120)
    assert schedule.next_at == 140
    schedule.pinged(b"b", 140)
    schedule.pinged(b"c", 160)
    assert schedule.next_at == 170


def test_a_peer_that_never_answers_uses_no_memory():
    schedule = PingSchedule(1, None, now=0)
    tracemalloc.start()
    try:
        for now in range(10_000):
            schedule.pinged(now.to_bytes(8, "big"), now)
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
    schedule = PingSchedule(interval, timeout, now=0)
    heard_at = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    last_byte, pings = 0, 0
    while True:
        now = schedule.next_at
        while heard_at and heard_at[0] <= now:
            last_byte = heard_at.pop(0)
            schedule.heard(last_byte)
            if answers and pings:
                schedule.answered(pings.to_bytes(8, "big"))
        if schedule.dead(now):
            break
        if schedule.ping_due(now):
            pings += 1
            schedule.pinged(pings.to_bytes(8, "big"), now)
    assert timeout <= now - last_byte <= interval + timeout


@given(
    interval=st.none() | st.integers(1, 30),
    timeout=st.none() | st.integers(1, 30),
    steps=st.lists(st.tuples(st.sampled_from(["ping", "hear", "answer"]), st.integers(0, 20)), max_size=20),
)
def test_nothing_changes_before_the_announced_time(interval, timeout, steps):
    schedule, now, pings = PingSchedule(interval, timeout, now=0), 0, 0
    for step, gap in steps:
        now += gap
        if step == "ping":
            pings += 1
            schedule.pinged(pings.to_bytes(8, "big"), now)
        elif step == "hear":
            schedule.heard(now)
        else:
            schedule.answered(pings.to_bytes(8, "big"))
    at = schedule.next_at
    for moment in range(200):
        assert (schedule.ping_due(moment) or schedule.dead(moment)) is (at is not None and moment >= at)
