"""Which pings a pong answers."""

from hypothesis import given
from hypothesis import strategies as st

from wsclient._sending.message import Mark
from wsclient._sending.pings import MAX_PINGS, Pings


def sent(*payloads, most=100):
    pings = Pings()
    for number, payload in enumerate(payloads):
        pings.add(payload, end=10 * number, now=float(number), most=most)
    return pings


def test_a_pong_answers_its_ping_and_every_earlier_one():
    pings = sent(b"a", b"b", b"c")
    answered = pings.answer(b"b", 5.0)
    assert (answered.end, answered.seconds, answered.payloads) == (10, 4.0, [b"a", b"b"])
    assert len(pings) == 1


def test_a_pong_answers_its_pings_only_once():
    pings = sent(b"a")
    assert pings.answer(b"a", 1.0) is not None
    assert pings.answer(b"a", 1.0) is None


def test_a_pong_with_an_unknown_payload_answers_nothing():
    pings = sent(b"a")
    assert pings.answer(b"b", 1.0) is None
    assert len(pings) == 1


def test_a_ping_above_the_limit_is_not_recognised():
    pings = sent(b"a", b"b", b"c", most=2)
    assert pings.answer(b"c", 1.0) is None
    assert pings.answer(b"b", 1.0) is not None


def test_a_ping_for_which_a_thread_waits_is_recognised_above_the_limit():
    pings = sent(b"a", b"b", most=2)
    mark = Mark(b"c", connection_number=1)
    pings.add(b"c", end=20, now=2.0, most=2, mark=mark)
    assert pings.answer(b"c", 5.0) is not None
    assert mark.round_trip == 3.0


def test_a_ping_without_a_waiting_thread_is_kept_up_to_the_limit():
    pings = sent(*(number.to_bytes(2, "big") for number in range(MAX_PINGS)), most=MAX_PINGS)
    pings.forget(b"\0\0")
    assert len(pings) == MAX_PINGS
    pings.add(b"more", end=10, now=0.0, most=MAX_PINGS, mark=Mark(b"more", connection_number=1))
    pings.forget(b"more")
    pings.forget(b"unknown")
    assert len(pings) == MAX_PINGS
    assert pings.answer(b"\0\0", 1.0) is not None


@given(st.lists(st.binary(min_size=1, max_size=2), unique=True, max_size=20), st.data())
def test_any_sequence_of_pongs_answers_each_ping_at_most_once(payloads, data):
    pings = sent(*payloads)
    answered = []
    for pong in data.draw(st.lists(st.sampled_from(payloads or [b""]), max_size=30)):
        result = pings.answer(pong, 100.0)
        answered += result.payloads if result else []
    assert answered == payloads[: len(answered)]
    assert len(pings) == len(payloads) - len(answered)
