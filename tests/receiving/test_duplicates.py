"""``identity=``: which messages of two connections are the first ones. Pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsclient._receiving.duplicates import Duplicates


@pytest.fixture
def duplicates():
    return Duplicates(lambda message: message)


def old(duplicates, *messages):
    return [duplicates.is_first(one, is_replaced=True) for one in messages]


def new(duplicates, *messages):
    return [duplicates.is_first(one, is_replaced=False) for one in messages]


def test_with_one_connection_no_message_is_a_duplicate(duplicates):
    assert new(duplicates, 1, 1) == [True, True]
    duplicates.opening()
    duplicates.opening_ended(has_taken_over=False)
    assert new(duplicates, 1, 1) == [True, True]


def test_while_a_second_connection_is_being_opened_messages_are_recorded(duplicates):
    duplicates.opening()
    assert new(duplicates, 1) == [True]
    duplicates.overlap_began()
    assert new(duplicates, 1, 2) == [False, True]
    duplicates.opening_ended(has_taken_over=False)  # comes late, and concerns no attempt
    assert old(duplicates, 2) == [False]


def test_after_the_loss_of_the_old_connection_what_it_delivered_is_dropped_once(duplicates):
    duplicates.opening()
    assert new(duplicates, 1) == [True]
    duplicates.opening_ended(has_taken_over=True)
    assert new(duplicates, 1, 1) == [False, True]


def test_what_only_the_old_connection_delivered_is_dropped_also_in_the_next_renewal(duplicates):
    duplicates.overlap_began()
    assert old(duplicates, 1, 2) == [True, True]
    assert new(duplicates, 1) == [False]
    duplicates.replaced_ended()
    duplicates.opening()
    assert new(duplicates, 1, 2) == [True, False]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5))))
def test_in_an_overlap_each_identity_is_first_once(delivered):
    duplicates = Duplicates(lambda message: message)
    duplicates.overlap_began()
    first = [message for is_replaced, message in delivered if duplicates.is_first(message, is_replaced=is_replaced)]
    assert sorted(first) == sorted({message for _, message in delivered})
