"""The numbers behind ``client.stats``."""

import pytest

from wsclient._counters import Counters

NAMES = [
    "messages_sent", "bytes_sent", "messages_received", "bytes_received", "connections", "failed_attempts", "late",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_counter_begins_at_zero(name):
    assert getattr(Counters(), name) == 0


@pytest.mark.parametrize("name", NAMES)
def test_counters_do_not_touch_each_other(name):
    counters = Counters()
    setattr(counters, name, 5)
    assert {other: getattr(counters, other) for other in NAMES} == {other: 5 * (other == name) for other in NAMES}


def test_there_is_no_counter_nobody_knows():
    with pytest.raises(AttributeError):
        Counters().mesages_sent = 1


def test_before_the_first_round_trip_none_is_known():
    counters = Counters()
    assert (counters.rtt_last, counters.rtt_min, counters.rtt_mean) == (None, None, None)


def test_one_round_trip_is_the_last_the_shortest_and_the_mean():
    counters = Counters()
    counters.add_round_trip(0.5)
    assert (counters.rtt_last, counters.rtt_min, counters.rtt_mean) == (0.5, 0.5, 0.5)


def test_the_last_the_shortest_and_the_mean_of_several_round_trips():
    counters = Counters()
    for seconds in (0.5, 0.25, 1.0, 0.75):
        counters.add_round_trip(seconds)
    assert (counters.rtt_last, counters.rtt_min, counters.rtt_mean) == (0.75, 0.25, 0.625)


def test_a_round_trip_too_short_to_measure_counts():
    counters = Counters()
    counters.add_round_trip(0.0)
    counters.add_round_trip(1.0)
    assert (counters.rtt_last, counters.rtt_min, counters.rtt_mean) == (1.0, 0.0, 0.5)
