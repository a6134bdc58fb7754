"""The table of subscriptions: which of them a message belongs to, and what waits for a name."""

import pytest

from wsclient import ReceiveQueue, SlowConsumer
from wsclient._receiving.subscriptions import Subscriptions


class Member:
    def __init__(self, *, awaits_name=False, wants=lambda message: False):
        self.awaits_name = awaits_name
        self.wants = wants
        self.got = []

    def item(self, message, size, pressing):
        self.got.append((message, size, pressing))


@pytest.fixture
def table(errors):
    return Subscriptions(ReceiveQueue(max_messages=100, max_bytes=1000), errors.append)


@pytest.fixture
def errors():
    """What the table has reported."""
    return []


def offer(table, message, name=None, *, size=1, pressing=False):
    return table.offer(message, "topic", name, size, pressing=pressing)


def messages(member):
    return [message for message, _, _ in member.got]


def test_nothing_belongs_to_anyone_in_an_empty_table(table):
    assert not offer(table, "m", "name")
    assert table.take_routed() == []


def test_a_message_goes_to_the_member_of_its_name_with_its_size_and_haste(table):
    a, b = Member(), Member()
    for member, name in ((a, "a"), (b, 7)):
        table.add(member)
        table.set_name(member, name)
    assert offer(table, "m", 7, size=12, pressing=True)
    assert (a.got, b.got) == ([], [("m", 12, True)])
    assert not offer(table, "m", "7")
    assert not offer(table, "m", None)


def test_every_member_that_wants_a_message_gets_it_once_beside_the_one_of_its_name(table):
    named, eager, other = Member(wants=lambda message: True), Member(wants=lambda message: True), Member()
    for member in (named, eager, other):
        table.add(member)
    table.set_name(named, "a")
    assert offer(table, "m", "a")
    assert [messages(member) for member in (named, eager, other)] == [["m"], ["m"], []]


def test_a_name_that_is_noted_while_others_are_taken_in_is_not_forgotten(table):
    class Meanwhile(list):
        def __getitem__(self, index):
            taken = super().__getitem__(index)
            if len(self) == 1:
                table.set_name(late, "late")
            return taken

    first, late = Member(), Member()
    table.notes = Meanwhile()
    table.set_name(first, "first")
    assert offer(table, "m", "first")
    assert offer(table, "n", "late")
    assert (messages(first), messages(late)) == (["m"], ["n"])


def test_a_name_that_can_be_no_key_is_nobodys(table):
    table.add(Member())
    assert not offer(table, "m", ["not", "hashable"])


def test_a_discarded_member_gets_nothing_by_name_nor_by_wish(table):
    member, other = Member(wants=lambda message: True), Member()
    table.add(member)
    table.add(other)
    table.set_name(member, "a")
    table.discard(member, "a")
    table.discard(member, "a")
    assert not offer(table, "m", "a")
    assert list(table) == [other]
    assert member.got == []


def test_a_member_can_only_forget_a_name_that_is_its_own(table):
    old, new = Member(), Member()
    table.add(old)
    table.add(new)
    table.set_name(old, "a")
    table.set_name(new, "a")
    table.forget_name(old, "a")
    table.forget_name(new, None)
    assert offer(table, "m", "a")
    assert messages(new) == ["m"]


def test_a_message_with_an_unknown_name_waits_while_a_name_is_awaited(table):
    member = Member(awaits_name=True)
    table.add(member)
    for message in (1, 2):
        assert offer(table, message, "a")
    assert offer(table, 3, "b")
    assert not offer(table, 4, None)
    assert table.take_routed() == []
    table.set_name(member, "a")
    assert [one.message for one in table.take_routed()] == [1, 2]
    member.awaits_name = False
    assert [(one.message, one.subscription_key, one.topic) for one in table.take_routed()] == [(3, "b", "topic")]
    assert table.take_routed() == []


def test_where_no_name_is_awaited_nothing_waits(table):
    table.add(Member())
    assert not offer(table, 1, "a")
    assert table.take_routed() == []


def test_messages_with_an_unknown_name_are_bounded_by_bytes_and_the_rest_is_nobodys_and_reported_once(table, errors):
    member = Member(awaits_name=True)
    table.add(member)
    assert offer(table, 1, "a", size=400)
    assert not table.unrouted.full
    assert offer(table, 2, "a", size=601)
    assert table.unrouted.full
    assert not any(offer(table, n, "a", size=1) for n in (3, 4))
    assert [type(error) for error in errors] == [SlowConsumer]
    table.set_name(member, "a")
    assert [one.message for one in table.take_routed()] == [1, 2]
    assert not table.unrouted.full
    assert offer(table, 5, "b", size=1000)
    assert not offer(table, 6, "b", size=1)
    assert len(errors) == 2


def test_messages_with_an_unknown_name_are_bounded_by_their_number(table):
    table.add(Member(awaits_name=True))
    assert all(offer(table, n, "a", size=0) for n in range(100))
    assert table.unrouted.full, "reading should pause"
    assert sum(offer(table, n, "a", size=0) for n in range(1000)) < 10


def test_members_may_come_and_go_while_the_table_is_gone_through(table):
    class Leaver(Member):
        def item(self, message, size, pressing):
            super().item(message, size, pressing)
            table.discard(self, None)
            table.add(Member())

    leavers = [Leaver(wants=lambda message: True) for _ in range(3)]
    for leaver in leavers:
        table.add(leaver)
    assert offer(table, "m")
    assert [messages(leaver) for leaver in leavers] == [["m"]] * 3
    assert not offer(table, "m")
