"""The histogram of ``wsclient bench``."""

import math
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsclient.cli.latencies import Latencies, bounds_of, bucket_of

HOUR = 3600 * 10**9
TIMES = st.integers(0, HOUR) | st.integers(0, 1000) | st.integers(0, 45).map(lambda power: 2**power)
ERROR = 1 / 256


def histogram_of(values):
    latencies = Latencies()
    for value in values:
        latencies.record(value)
    return latencies


def exact(values, percent):
    """Nearest rank, from the values themselves."""
    rank = max(1, math.ceil(round(percent / 100 * len(values), 6)))
    return sorted(values)[rank - 1]


@settings(max_examples=25)
@given(TIMES)
def test_a_value_lies_within_the_bounds_of_its_bucket_and_these_are_close(value):
    low, high = bounds_of(bucket_of(value))
    assert low <= value <= high
    assert high - low <= low / 128


@settings(max_examples=25)
@given(TIMES)
def test_buckets_leave_no_gap(value):
    bucket = bucket_of(value)
    assert bounds_of(bucket)[1] + 1 == bounds_of(bucket + 1)[0]


@settings(max_examples=25)
@given(st.lists(TIMES, min_size=1, max_size=60), st.sampled_from((0, 1, 50, 90, 99, 99.9, 100)))
def test_percentiles_are_those_of_the_values_themselves(values, percent):
    found = histogram_of(values).percentile(percent)
    assert found == pytest.approx(exact(values, percent), rel=ERROR, abs=0.5)


@settings(max_examples=20)
@given(st.lists(TIMES, max_size=30), st.lists(TIMES, max_size=30))
def test_parts_add_up_and_the_difference_is_what_was_added(one, two):
    first, second = histogram_of(one), histogram_of(two)
    both = Latencies.merged((first, second))
    direct = histogram_of(one + two)
    assert (both.count, both.total, both.most, both.least) == (direct.count, direct.total, direct.most, direct.least)
    assert both.percentile(50) == direct.percentile(50)
    added = both.since(first)
    assert (added.count, added.total) == (len(two), sum(two))
    if two:
        assert added.percentile(100) == pytest.approx(max(two), rel=2 * ERROR, abs=0.5)


def test_the_ends_are_exact():
    latencies = histogram_of((1_234_567, 7_654_321, 3_000_000))
    assert (latencies.least, latencies.most) == (1_234_567, 7_654_321)
    assert latencies.percentile(0) == pytest.approx(1_234_567, rel=ERROR)
    assert latencies.percentile(100) <= 7_654_321
    assert latencies.mean == (1_234_567 + 7_654_321 + 3_000_000) / 3


def test_999_of_1000_is_the_percentile_99_9():
    latencies = histogram_of([10] * 999 + [100_000])
    assert latencies.percentiles((50, 99.9, 99.99)) == [10, 10, pytest.approx(100_000, rel=ERROR)]


def test_nothing_recorded_is_zero():
    empty = Latencies.merged(())
    assert (empty.count, empty.percentile(99), empty.mean, empty.ranges(10)) == (0, 0, 0, [])
    assert empty.since(Latencies()).count == 0


def test_a_clock_that_goes_back_counts_as_zero():
    assert histogram_of((-5,)).percentile(50) == 0


def test_memory_is_bounded():
    latencies = histogram_of(int(1.0007**step) for step in range(60_000))
    assert latencies.count == 60_000
    assert latencies.most > HOUR
    assert len(latencies._counts) < 128 * 62
    assert bucket_of(HOUR) < 4600


@settings(max_examples=20)
@given(st.lists(TIMES, min_size=1, max_size=50), st.integers(1, 20))
def test_ranges_hold_every_value(values, number):
    ranges = histogram_of(values).ranges(number)
    assert len(ranges) <= number
    assert sum(count for _, _, count in ranges) == len(values)
    assert all(low < high for low, high, _ in ranges)


def test_a_copy_can_be_made_while_another_thread_records():
    latencies, stop = Latencies(), threading.Event()

    def record():
        value = 1
        while not stop.is_set():
            latencies.record(value)
            value = value * 3 % 10**9 + 1

    thread = threading.Thread(target=record)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread.start()
    try:
        counts = [Latencies.merged((latencies,)).count for _ in range(200)]
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert counts == sorted(counts)
    assert Latencies.merged((latencies,)).count == latencies.count
