"""How often a sending thread writes directly."""

from hypothesis import given
from hypothesis import strategies as st

from wsclient._sending.sender import BURST, WINDOW, Pace


def test_a_few_messages_in_a_row_are_written_directly_and_no_more():
    pace = Pace()
    assert [pace.allows(100.0) for _ in range(BURST + 3)] == [True] * BURST + [False] * 3


def test_a_new_window_allows_a_few_direct_writes_again():
    pace = Pace()
    for _ in range(50):
        pace.allows(100.0)
    assert not pace.allows(100.0 + WINDOW * 0.99)
    assert [pace.allows(100.0 + WINDOW) for _ in range(BURST + 1)] == [True] * BURST + [False]


def test_rare_messages_are_always_written_directly():
    pace = Pace()
    assert all(pace.allows(n * WINDOW / BURST * 1.01) for n in range(1000))


@given(gaps=st.lists(st.floats(0, 3 * WINDOW), min_size=1, max_size=200))
def test_no_window_has_more_than_two_bursts_and_its_first_message_is_written_directly(gaps):
    pace, now, let, quiet_since = Pace(), 1.0, [], 0.0
    for gap in gaps:
        now += gap
        allowed = pace.allows(now)
        assert allowed or now - quiet_since < WINDOW
        if allowed:
            let.append(now)
            quiet_since = now
    for began in let:
        assert sum(began <= one < began + WINDOW for one in let) <= 2 * BURST
