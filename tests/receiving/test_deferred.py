"""The buffer for messages that cannot be delivered yet."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsclient import ReceiveQueue
from wsclient._receiving.deferred import DeferredMessages
from wsclient._receiving.inbox import ITEM_BYTES, Put


def buffer(max_messages=10, max_bytes=100):
    return DeferredMessages(ReceiveQueue(max_messages=max_messages, max_bytes=max_bytes))


def test_messages_leave_in_the_order_in_which_they_came():
    messages = buffer()
    assert not messages
    assert [messages.add(n, 1) for n in range(4)] == [Put.KEPT] * 4
    assert messages.take() == 0
    assert messages.take_if(lambda n: n == 2) == [2]
    assert list(messages) == [1, 3]
    assert messages.take_all() == [1, 3]
    assert len(messages) == 0


@pytest.mark.parametrize(("count", "size"), [(10, 0), (1, 100), (1, 5000)])
def test_it_is_full_at_either_limit_until_there_is_room_again(count, size):
    messages = buffer()
    for n in range(count):
        assert not messages.full
        messages.add(n, size)
    assert messages.full
    messages.take()
    assert not messages.full


def test_a_message_above_the_byte_limit_is_refused_and_the_first_one_of_an_episode_is_marked():
    messages = buffer()
    messages.add(0, 100)
    assert not messages.is_exceeded
    assert [messages.add(1, 1), messages.add(2, 1)] == [Put.FIRST_LOSS, Put.LOSS]
    assert (messages.lost, messages.is_exceeded) == (2, True)
    assert messages.take_all() == [0]
    messages.add(3, 100)
    assert messages.add(4, 1) is Put.FIRST_LOSS


def test_a_message_above_the_count_limit_exceeds_it_and_counts_its_own_size():
    messages = buffer(max_messages=1, max_bytes=2 * ITEM_BYTES)
    assert [messages.add(n, 0) for n in range(5)] == [Put.KEPT] * 4 + [Put.FIRST_LOSS]
    assert messages.is_exceeded


@given(st.lists(st.one_of(st.integers(0, 60), st.sampled_from(["take", "all", "even"]))))
def test_its_bytes_exceed_the_limit_by_at_most_one_message(steps):
    messages = buffer()
    inside = []
    for step in steps:
        if step == "take":
            if inside:
                assert messages.take() == inside.pop(0)
        elif step == "all":
            assert messages.take_all() == inside
            inside = []
        elif step == "even":
            assert messages.take_if(lambda size: size % 2 == 0) == [size for size in inside if size % 2 == 0]
            inside = [size for size in inside if size % 2]
        elif messages.add(step, step) is Put.KEPT:
            inside.append(step)
        assert list(messages) == inside
        assert messages.full == (len(inside) >= 10 or sum(inside) >= 100)
        assert sum(inside[:-1]) < 100 or sum(inside) <= 100
