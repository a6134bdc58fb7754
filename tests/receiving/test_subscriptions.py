"""The table of subscriptions: the owners of a message, and the messages that wait for a key."""

import itertools
import threading
from functools import partial

import pytest

from wsclient import ReceiveQueue, SlowConsumer
from wsclient._receiving.subscriptions import Subscriptions

from ..support import LONG


class Member:
    def __init__(self, *, awaits_key=False, wants=lambda message: False):
        self.number = 1
        self.awaits_key = awaits_key
        self.wants = wants
        self.got = []

    def item(self, message, size, must_keep_reading):
        self.got.append((message, size, must_keep_reading))


@pytest.fixture
def table(errors):
    return Subscriptions(ReceiveQueue(max_messages=100, max_bytes=1000), errors.append, wake=int)


@pytest.fixture
def errors():
    """The errors that the table has reported."""
    return []


def offer(table, message, key=None, *, size=1, must_keep_reading=False):
    return table.offer(1, message, "topic", key, size, must_keep_reading=must_keep_reading)


def messages(member):
    return [message for message, _, _ in member.got]


def test_in_an_empty_table_a_message_has_no_owner(table):
    assert not offer(table, "m", "name")
    assert table.take_routed() == []


def test_a_message_goes_to_the_member_with_its_key_together_with_its_size(table):
    a, b = Member(), Member()
    for member, key in ((a, "a"), (b, 7)):
        table.add(member)
        table.set_key(member, 1, key)
    assert offer(table, "m", 7, size=12, must_keep_reading=True)
    assert (a.got, b.got) == ([], [("m", 12, True)])
    assert not offer(table, "m", "7")
    assert not offer(table, "m", None)


def test_a_message_goes_once_to_every_member_that_matches_and_to_the_member_with_its_key(table):
    named, eager, other = Member(wants=lambda message: True), Member(wants=lambda message: True), Member()
    for member in (named, eager, other):
        table.add(member)
    table.set_key(named, 1, "a")
    assert offer(table, "m", "a")
    assert [messages(member) for member in (named, eager, other)] == [["m"], ["m"], []]


def test_events_are_applied_in_order_before_the_owner_of_a_message_is_looked_up(table):
    a, b = Member(), Member()
    table.add(a)
    table.add(b)
    table.events.append((partial(table.set_key, a, 1), "a"))
    table.events.append((partial(table.drop_key, a, 1), "a"))
    table.events.append((partial(table.set_key, b, 1), "a"))
    assert offer(table, "m", "a")
    assert (messages(a), messages(b)) == ([], ["m"])
    assert not table.events


def test_an_event_posted_while_others_are_applied_is_applied_too(table):
    late = Member()

    def more(member):
        table.events.append((partial(table.set_key, member, 1), "late"))

    table.events.append((more, late))
    assert offer(table, "n", "late")
    assert messages(late) == ["n"]


def test_two_threads_apply_each_event_once(table):
    counts = [itertools.count() for _ in range(10_000)]
    for count in counts:
        table.events.append((next, count))
    threads = [threading.Thread(target=table.apply_events) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert [next(count) for count in counts] == [1] * len(counts)


def test_a_key_that_is_not_hashable_has_no_owner(table):
    table.add(Member())
    assert not offer(table, "m", ["not", "hashable"])


def test_a_removed_member_receives_nothing_by_key_or_by_match(table):
    member, other = Member(wants=lambda message: True), Member()
    table.add(member)
    table.add(other)
    table.set_key(member, 1, "a")
    table.remove(member)
    table.drop_key(member, 1, "a")
    table.remove(member)
    table.drop_key(member, 1, "a")
    assert not offer(table, "m", "a")
    assert list(table) == [other]
    assert member.got == []


def test_a_member_can_remove_only_its_own_key(table):
    old, new = Member(), Member()
    table.add(old)
    table.add(new)
    table.set_key(old, 1, "a")
    table.set_key(new, 1, "a")
    table.drop_key(old, 1, "a")
    assert offer(table, "m", "a")
    assert messages(new) == ["m"]


def test_a_message_with_an_unknown_key_waits_while_a_key_is_expected(table):
    member = Member(awaits_key=True)
    table.add(member)
    for message in (1, 2):
        assert offer(table, message, "a")
    assert offer(table, 3, "b")
    assert not offer(table, 4, None)
    assert table.take_routed() == []
    table.set_key(member, 1, "a")
    assert [one.message for one in table.take_routed()] == [1, 2]
    member.awaits_key = False
    assert [(one.message, one.subscription_key, one.topic) for one in table.take_routed()] == [(3, "b", "topic")]
    assert table.take_routed() == []


def test_without_an_expected_key_no_message_waits(table):
    table.add(Member())
    assert not offer(table, 1, "a")
    assert table.take_routed() == []


def test_messages_with_unknown_keys_have_a_byte_limit_and_the_first_one_above_it_is_reported(table, errors):
    member = Member(awaits_key=True)
    table.add(member)
    assert offer(table, 1, "a", size=400)
    assert not table.unrouted.full
    assert offer(table, 2, "a", size=601)
    assert table.unrouted.full
    assert not any(offer(table, n, "a", size=1) for n in (3, 4))
    assert [type(error) for error in errors] == [SlowConsumer]
    table.set_key(member, 1, "a")
    assert [one.message for one in table.take_routed()] == [1, 2]
    assert not table.unrouted.full
    assert offer(table, 5, "b", size=1000)
    assert not offer(table, 6, "b", size=1)
    assert len(errors) == 2


def test_messages_with_unknown_keys_have_a_count_limit(table):
    table.add(Member(awaits_key=True))
    assert all(offer(table, n, "a", size=0) for n in range(100))
    assert table.unrouted.full, "reading should pause"
    assert sum(offer(table, n, "a", size=0) for n in range(1000)) < 10


def test_members_can_be_added_and_removed_during_an_iteration(table):
    class Leaver(Member):
        def item(self, message, size, must_keep_reading):
            super().item(message, size, must_keep_reading)
            table.remove(self)
            table.add(Member())

    leavers = [Leaver(wants=lambda message: True) for _ in range(3)]
    for leaver in leavers:
        table.add(leaver)
    assert offer(table, "m")
    assert [messages(leaver) for leaver in leavers] == [["m"]] * 3
    assert not offer(table, "m")
