"""When ``wsclient bench`` sends its requests; the time is a number that the tests choose."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsclient.cli.schedule import SECOND, ClosedSchedule, OpenSchedule, make_schedule

BEGIN = 5_000 * SECOND


def opened(*, rate=10.0, connections=1, warmup=0.0, seconds=None, count=None):
    return make_schedule(BEGIN, warmup=warmup, seconds=seconds, count=count, rate=rate, connections=connections)


def closed(*, warmup=0.0, seconds=None, count=None):
    return make_schedule(BEGIN, warmup=warmup, seconds=seconds, count=count, rate=None, connections=1)


def test_the_rate_decides_between_the_models():
    assert isinstance(closed(count=1), ClosedSchedule)
    assert isinstance(opened(count=1), OpenSchedule)


def test_a_closed_schedule_sends_at_once_until_its_end():
    schedule = closed(seconds=2)
    assert schedule.next(0, 0, BEGIN + 7) == (BEGIN + 7, True)
    assert not schedule.is_over(BEGIN + 2 * SECOND - 1)
    assert schedule.next(0, 1, BEGIN + 2 * SECOND) is None
    assert schedule.is_over(BEGIN + 2 * SECOND)
    assert (schedule.due(0), schedule.planned(BEGIN)) == (None, None)


def test_a_closed_schedule_counts_its_requests_on_all_connections_together():
    schedule = closed(count=3)
    starts = [schedule.next(number % 2, 0, BEGIN + number) for number in range(5)]
    assert [start is not None for start in starts] == [True, True, True, False, False]
    assert schedule.is_over(BEGIN + 3)


def test_requests_of_the_warm_up_do_not_count():
    schedule = closed(warmup=1, count=1, seconds=5)
    assert [schedule.next(0, 0, BEGIN + time) for time in (0, SECOND - 1)] == [
        (BEGIN, False),
        (BEGIN + SECOND - 1, False),
    ]
    assert schedule.next(0, 0, BEGIN + SECOND) == (BEGIN + SECOND, True)
    assert schedule.next(0, 0, BEGIN + SECOND) is None


def test_an_open_schedule_gives_each_request_the_time_at_which_it_is_due():
    schedule = opened(rate=10, connections=2, seconds=1)
    assert schedule.next(0, 0, BEGIN) == (BEGIN, True)
    assert schedule.next(1, 0, BEGIN) is None
    assert schedule.next(1, 0, BEGIN + SECOND // 10) == (BEGIN + SECOND // 10, True)
    # The process was busy for 0.6 s: what was due meanwhile keeps its time.
    late = BEGIN + 6 * SECOND // 10
    assert schedule.next(0, 1, late) == (BEGIN + 2 * SECOND // 10, True)
    assert schedule.next(0, 2, late) == (BEGIN + 4 * SECOND // 10, True)
    assert schedule.next(1, 1, late) == (BEGIN + 3 * SECOND // 10, True)


def test_an_open_schedule_ends_after_its_time_or_its_number_of_requests():
    schedule = opened(rate=10, seconds=1)
    assert schedule.due(9) == BEGIN + 9 * SECOND // 10
    assert schedule.due(10) is None
    assert schedule.next(0, 5, BEGIN + SECOND) is None  # due before the end, but it is too late
    assert schedule.planned(BEGIN + SECOND) == 10
    schedule = opened(rate=10, count=3)
    assert schedule.next(0, 2, BEGIN + 9 * SECOND) == (BEGIN + 2 * SECOND // 10, True)
    assert schedule.next(0, 3, BEGIN + 9 * SECOND) is None
    assert (schedule.is_over(BEGIN + 2 * SECOND // 10), schedule.is_over(BEGIN + SECOND)) == (False, True)
    assert [schedule.planned(BEGIN + time) for time in (0, SECOND // 10, SECOND)] == [1, 2, 3]


def test_an_open_schedule_has_a_warm_up():
    schedule = opened(rate=10, warmup=1, count=2)
    assert schedule.next(0, 9, BEGIN + SECOND) == (BEGIN + 9 * SECOND // 10, False)
    assert schedule.next(0, 10, BEGIN + SECOND) == (BEGIN + SECOND, True)
    assert schedule.next(0, 12, BEGIN + 5 * SECOND) is None
    assert schedule.planned(BEGIN + 5 * SECOND) == 2


@pytest.mark.parametrize("schedule", [closed(seconds=5), opened(seconds=5)])
def test_a_schedule_can_be_stopped(schedule):
    schedule.stop(BEGIN + SECOND)
    schedule.stop(BEGIN + 2 * SECOND)
    assert schedule.stopped_at == BEGIN + SECOND
    assert schedule.next(0, 0, BEGIN) is None
    assert schedule.is_over(BEGIN)


@settings(max_examples=15)
@given(st.floats(0.1, 1e5), st.integers(1, 7), st.floats(0, 3), st.integers(1, 50))
def test_every_request_of_an_open_schedule_is_sent_once_and_none_before_its_time(rate, connections, warmup, count):
    schedule = opened(rate=rate, connections=connections, warmup=warmup, count=count)
    number = counted = 0
    while (due := schedule.due(number)) is not None and number < 1000:
        lane, sent = number % connections, number // connections
        assert schedule.next(lane, sent, due - 1) is None
        start = schedule.next(lane, sent, due)
        assert start == (due, due >= schedule.measured_from)
        counted += start.counts
        assert schedule.planned(due) == counted
        number += 1
    assert counted == count or number == 1000
