"""Frames that are sent before the queue."""

from wsclient._rfc6455.frames import Opcode
from wsclient._sending.message import MESSAGE_BYTES, Outgoing
from wsclient._sending.priority import MAX_URGENT, Urgent


def entry(opcode=Opcode.TEXT, size=1):
    return Outgoing(opcode, bytes(size), size)


def test_all_entries_are_taken_together_in_their_order():
    urgent = Urgent()
    entries = [entry(), entry(Opcode.PING), entry(Opcode.CLOSE)]
    for one in entries:
        urgent.put(one)
    assert len(urgent.entries) == 3
    assert urgent.take() == entries
    assert urgent.take() == []


def test_entries_added_during_a_take_are_returned_by_the_next_take():
    class Meanwhile(list):
        def __getitem__(self, index):
            taken = super().__getitem__(index)
            urgent.put(late)
            return taken

    urgent, first, late = Urgent(), entry(), entry(size=2)
    urgent.entries = Meanwhile([first])
    assert urgent.take() == [first]
    assert list(urgent.entries) == [late]
    assert urgent.take()[0] is late


def test_the_byte_count_is_that_of_the_waiting_entries():
    urgent = Urgent()
    for size in (3, 4):
        urgent.put(entry(size=size))
    assert urgent.bytes == 7 + 2 * MESSAGE_BYTES
    urgent.take()
    assert urgent.bytes == 0
    urgent.put(entry(size=5))
    assert urgent.bytes == 5 + MESSAGE_BYTES


def test_above_the_limit_only_pongs_are_dropped():
    urgent = Urgent()
    for _ in range(MAX_URGENT + 5):
        urgent.put(entry(Opcode.PONG))
    assert len(urgent.entries) == MAX_URGENT
    assert urgent.bytes == MAX_URGENT * (1 + MESSAGE_BYTES)
    close = entry(Opcode.CLOSE)
    urgent.put(close)
    assert urgent.take()[-1] is close


def test_entries_that_are_put_back_come_first_and_count_again():
    urgent = Urgent()
    entries = [entry(), entry(size=2), entry(size=4)]
    for one in entries:
        urgent.put(one)
    _, *unsent = urgent.take()
    last = entry(size=8)
    urgent.put(last)
    urgent.put_back(unsent)
    assert urgent.bytes == 14 + 3 * MESSAGE_BYTES
    assert urgent.take() == [*unsent, last]
    assert urgent.bytes == 0
