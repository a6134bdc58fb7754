"""Who writes: the sender of a single message, the I/O thread in a flood."""

import pytest

from wsclient._pace import BURST, GAP, Pace


def test_a_short_burst_is_written_by_its_senders():
    pace = Pace()
    assert [pace.allows(100.0) for _ in range(BURST)] == [True] * BURST


def test_what_goes_on_as_a_flood_is_not():
    pace = Pace()
    allowed = [pace.allows(100.0 + number * GAP / 10) for number in range(10 * BURST)]
    assert allowed[:BURST] == [True] * BURST
    assert not any(allowed[2 * BURST :])


@pytest.mark.parametrize("times", [1.01, 3])
def test_messages_that_come_singly_are_for_ever(times):
    pace = Pace()
    assert all(pace.allows(100.0 + number * GAP * times) for number in range(1000))


def test_soon_after_a_flood_of_any_length_the_sender_writes_again():
    pace = Pace()
    for number in range(100_000):
        pace.allows(100.0 + number * 1e-6)
    assert not pace.allows(100.1)
    assert pace.allows(100.1 + 2 * BURST * GAP)
