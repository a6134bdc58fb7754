"""The computations for slow connections: pure, with a clock that the test sets."""

import random

from hypothesis import given
from hypothesis import strategies as st

from wsclient.testing._fault_proxy.shaping import Flow, Shape


def flow(limit=1000, **shape):
    return Flow(Shape(**shape), random.Random(7), limit)


def drained(flow, now):
    """All bytes that are due at one time."""
    out = b""
    while (data := flow.due(now)) is not None:
        out += bytes(data)
        flow.taken(len(data), now)
    return out


def test_without_shaping_bytes_are_forwarded_at_once():
    line = flow()
    line.feed(b"abc", 5.0)
    assert line.next_at(5.0) <= 5.0
    assert drained(line, 5.0) == b"abc"
    assert line.size == 0
    assert line.next_at(5.0) is None


def test_latency_delays_every_byte_and_the_end():
    line = flow(latency=0.5)
    line.feed(b"abc", 1.0)
    line.end(1.25)
    assert (line.due(1.49), line.next_at(1.0)) == (None, 1.5)
    assert drained(line, 1.5) == b"abc"
    assert not line.over(1.74)
    assert line.next_at(1.5) == 1.75
    assert line.over(1.75)


def test_bandwidth_is_a_number_of_bytes_per_second():
    line = flow(bandwidth=100.0)
    line.feed(bytes(100), 0.0)
    now, out = 0.0, 0
    while line.size:
        out += len(drained(line, now))
        assert out <= 100 * now + 100 * 0.02 + 1
        at = line.next_at(now)
        now = now if at is None else at
    assert 0.9 < now < 1.1


def test_an_idle_connection_does_not_accumulate_bandwidth():
    line = flow(bandwidth=100.0)
    line.feed(b"x", 0.0)
    drained(line, 1.0)
    line.feed(bytes(100), 1000.0)
    assert len(drained(line, 1000.0)) <= 2  # 20 ms' worth, as always


def test_room_decreases_with_the_bytes_under_way_and_is_zero_after_the_end():
    line = flow(limit=10, latency=1.0)
    line.feed(b"12345678", 0.0)
    assert line.room == 2
    drained(line, 1.0)
    assert line.room == 10
    line.end(1.0)
    assert line.room == 0


def test_a_change_of_bandwidth_applies_at_once():
    line = flow(bandwidth=1.0)
    line.feed(b"abcdef", 0.0)
    assert len(drained(line, 0.0)) <= 1
    line.shape = Shape()
    assert line.size >= 5
    assert len(drained(line, 0.0)) >= 5


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=20), st.floats(0, 0.3)), max_size=20),
    st.floats(0, 0.5),
    st.floats(0, 1),
    st.none() | st.floats(1, 10_000),
)
def test_bytes_are_forwarded_in_order_and_once_and_never_too_early(pieces, latency, share, bandwidth):
    line = flow(limit=10**6, latency=latency, jitter=latency * share, bandwidth=bandwidth)
    now, sent, out = 0.0, b"", b""
    for data, pause in pieces:
        now += pause
        line.feed(data, now)
        sent += data
        out += drained(line, now)
        assert sent.startswith(out)
    for _ in range(10_000):
        at = line.next_at(now)
        if at is None and line.due(now) is None:
            break
        now = now if at is None else max(now, at)
        out += drained(line, now)
    assert out == sent
    assert line.size == 0


@given(st.floats(0, 0.5), st.none() | st.floats(1, 10_000), st.floats(0, 2))
def test_bytes_that_become_due_between_two_calls_are_not_delayed_by_the_wait(latency, bandwidth, later):
    """A loop that forwards at one time and asks a little later how long it may sleep."""
    line = flow(latency=latency, bandwidth=bandwidth)
    line.feed(b"abc", 0.0)
    line.end(0.0)
    now = 0.0
    while not line.over(now):
        drained(line, now)
        now += later
        at = line.next_at(now)
        assert at is not None
        now = max(now, at)


@given(st.floats(0.01, 1), st.integers(0, 10))
def test_the_same_seed_produces_the_same_delays(latency, seed):
    def releases():
        line = Flow(Shape(latency=latency, jitter=latency), random.Random(seed))
        moments = []
        for n in range(5):
            line.feed(b"x", float(n))
            moments.append(line.next_at(float(n)))
            drained(line, 1e9)
        return moments

    assert releases() == releases()
