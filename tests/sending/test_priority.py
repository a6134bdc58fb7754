"""What goes out ahead of the queue."""

from wsclient._rfc6455.frames import Opcode
from wsclient._sending.message import Outgoing
from wsclient._sending.priority import MAX_URGENT, Urgent


def entry(opcode=Opcode.TEXT, size=1):
    return Outgoing(opcode, bytes(size), size)


def test_all_are_taken_at_once_in_their_order():
    urgent = Urgent()
    entries = [entry(), entry(Opcode.PING), entry(Opcode.CLOSE)]
    for one in entries:
        urgent.put(one)
    assert len(urgent.entries) == 3
    assert urgent.take() == entries
    assert urgent.take() == []


def test_what_is_put_while_all_are_taken_waits_for_the_next_time():
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


def test_bytes_are_those_that_wait():
    urgent = Urgent()
    for size in (3, 4):
        urgent.put(entry(size=size))
    assert urgent.bytes == 7
    urgent.take()
    assert urgent.bytes == 0
    urgent.put(entry(size=5))
    assert urgent.bytes == 5


def test_pongs_beyond_the_bound_are_dropped_and_nothing_else_is():
    urgent = Urgent()
    for _ in range(MAX_URGENT + 5):
        urgent.put(entry(Opcode.PONG))
    assert len(urgent.entries) == MAX_URGENT
    assert urgent.bytes == MAX_URGENT
    close = entry(Opcode.CLOSE)
    urgent.put(close)
    assert urgent.take()[-1] is close


def test_what_is_put_back_comes_first_and_counts_again():
    urgent = Urgent()
    entries = [entry(), entry(size=2), entry(size=4)]
    for one in entries:
        urgent.put(one)
    _, *unsent = urgent.take()
    last = entry(size=8)
    urgent.put(last)
    urgent.put_back(unsent)
    assert urgent.bytes == 14
    assert urgent.take() == [*unsent, last]
    assert urgent.bytes == 0
