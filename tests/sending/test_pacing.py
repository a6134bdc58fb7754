"""The token bucket and the pause: which messages they allow, and when, at times that the tests choose."""

import copy
import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsclient._sending.pacing import Pause, TokenBucket
from wsclient._threads.commands import Commands
from wsclient._threads.waiting import NEVER

from ..support import LONG

ROUNDING = 1e-4
"""The part of a message by which the sums of times in these tests may be wrong."""

rates = st.sampled_from([0.1, 1.0, 3.0, 5.0, 7.3, 100.0, 9999.0])
bursts = st.sampled_from([1, 2, 3, 10, 50])
starts = st.sampled_from([0.0, 1.5, 86_400.1, 1e6])


def times(rate, start, gaps):
    """Moments that begin at ``start``; the gaps are in units of the time for one message."""
    now, moments = start, []
    for gap in gaps:
        now += gap / rate
        moments.append(now)
    return moments


def sent(bucket, moments):
    """The moments at which a message was allowed, if one is sent as soon as possible at each of them."""
    allowed = []
    for now in moments:
        if now >= bucket.ready_at:
            bucket.take(now)
            allowed.append(now)
    return allowed


def most_in_a_window(moments, rate):
    """The largest number of messages beyond ``rate * t`` in any window of t seconds."""
    return max(
        (last - first + 1 - rate * (moments[last] - moments[first]))
        for first in range(len(moments))
        for last in range(first, len(moments))
    )


gaps = st.lists(st.one_of(st.just(0.0), st.floats(0, 2), st.floats(0, 60)), min_size=1, max_size=80)


@given(rate=rates, burst=bursts, start=starts, gaps=gaps)
def test_no_window_has_more_messages_than_the_burst_and_the_rate_allow(rate, burst, start, gaps):
    allowed = sent(TokenBucket(rate, burst), times(rate, start, gaps))
    assert most_in_a_window(allowed, rate) <= burst + ROUNDING


@given(rate=rates, burst=bursts, start=starts, gaps=gaps)
def test_no_message_waits_although_the_burst_and_the_rate_would_allow_it(rate, burst, start, gaps):
    bucket, allowed = TokenBucket(rate, burst), []
    for now in times(rate, start, gaps):
        if now >= bucket.ready_at:
            bucket.take(now)
            allowed.append(now)
        else:
            assert most_in_a_window([*allowed, now], rate) > burst - ROUNDING


@given(rate=rates, burst=bursts, start=starts, gaps=gaps)
def test_a_message_is_allowed_at_the_announced_time_and_that_is_not_later_than_necessary(rate, burst, start, gaps):
    bucket = TokenBucket(rate, burst)
    allowed = sent(bucket, times(rate, start, gaps))
    ready_at = bucket.ready_at
    if ready_at > allowed[-1]:
        assert ready_at <= allowed[-1] + 1 / rate * (1 + ROUNDING)
        assert most_in_a_window([*allowed, ready_at], rate) > burst - ROUNDING


@given(rate=rates, burst=bursts, start=starts, gaps=gaps)
def test_the_number_of_allowed_messages_is_that_of_the_messages_that_can_be_sent(rate, burst, start, gaps):
    bucket = TokenBucket(rate, burst)
    now = times(rate, start, gaps)[-1]
    sent(bucket, times(rate, start, gaps))
    for later in (now, now + 0.5 / rate, now + 2.5 / rate, now + 1000 / rate):
        expected = bucket.allowed(later)
        copied = copy.copy(bucket)
        assert len(sent(copied, [later + ROUNDING / rate] * (burst + 5))) >= expected
        copied = copy.copy(bucket)
        assert len(sent(copied, [later - ROUNDING / rate] * (burst + 5))) <= expected <= burst


@given(rate=rates, burst=bursts, start=starts)
def test_the_whole_burst_is_allowed_at_one_moment_and_again_after_a_pause(rate, burst, start):
    bucket = TokenBucket(rate, burst)
    assert len(sent(bucket, [start] * (burst + 5))) == burst
    later = start + (burst + 1) / rate
    assert len(sent(bucket, [later] * (burst + 5))) == burst


def test_a_new_bucket_is_full_at_any_time():
    assert TokenBucket(1.0, 1).ready_at == -math.inf


def test_five_messages_per_second_are_200_ms_apart():
    bucket = TokenBucket(5.0, 1)
    moments = []
    now = 100.0
    for _ in range(4):
        now = max(now, bucket.ready_at)
        bucket.take(now)
        moments.append(round(now, 6))
    assert moments == [100.0, 100.2, 100.4, 100.6]


# --- the pause -------------------------------------------------------------------------------------------------------


@given(ends=st.lists(st.floats(101, 200), min_size=1, max_size=10), now=st.floats(100, 200))
def test_the_latest_end_of_several_pauses_counts(ends, now):
    pause = Pause(Commands())
    for end in ends:
        pause.begin(end)
    assert pause.end_or_forget(now) == max([*ends, now])
    assert bool(pause.ends) is (max(ends) > now)


def test_a_pause_that_is_cancelled_is_over_and_another_one_can_begin():
    pause = Pause(Commands())
    pause.begin(110.0)
    pause.cancel()
    assert pause.end_or_forget(100.0) == 100.0
    pause.begin(105.0)
    assert pause.end_or_forget(100.0) == 105.0


def test_frequent_pauses_take_no_memory():
    pause = Pause(Commands())
    for n in range(1000):
        pause.begin(100.0 + n)
    assert pause.ends == [1099.0]
    pause.begin(5.0)
    pause.begin(1099.0)
    assert pause.end_or_forget(50.0) == 1099.0
    assert len(pause.ends) < 4


@pytest.mark.parametrize("end", ["close", "drain"])
def test_close_and_drain_end_a_pause_also_one_that_begins_later(end):
    commands = Commands()
    pause = Pause(commands)
    pause.begin(110.0)
    commands.order_close(1000, "", NEVER) if end == "close" else commands.order_drain(NEVER)
    assert pause.end_or_forget(100.0) == 100.0
    pause.begin(120.0)
    assert pause.end_or_forget(100.0) == 100.0
    assert not pause.ends


def test_the_latest_end_counts_although_several_threads_pause_at_the_same_time():
    pause = Pause(Commands())

    def work(number):
        for n in range(500):
            pause.begin(1000.0 + 10 * n + number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert pause.end_or_forget(0.0) == 1000.0 + 10 * 499 + 3
