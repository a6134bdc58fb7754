"""How often a sending thread writes directly; and messages that only a replaced connection may send."""

import contextlib
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wsclient
from wsclient._network.transport import Transport
from wsclient._sending.message import Outgoing
from wsclient._sending.sender import BURST, WINDOW, Pace
from wsclient._sending.writer import Writer


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


# --- a replaced connection -------------------------------------------------------------------------------------------


@pytest.fixture
def sender():
    """The sender of a client that does not run: its first connection is replaced, its second one is the present one."""
    here, there = socket.socketpair()
    with here, there, contextlib.closing(wsclient.Client("ws://localhost/")) as client:
        context = client._wsclient.context
        context.sender.connection_number = 2
        context.sender.retiring = Writer(Transport(here), context.make_backend(context.table.new_connection(1)))
        yield context.sender
        context.sender.retiring = None


class EndsMeanwhile(list):
    """The list ``Sender.for_retiring``. The I/O thread ends the replaced connection while another adds a message."""

    def __init__(self, sender, *, takes_it):
        super().__init__()
        self.taken = None
        self._sender, self._takes_it = sender, takes_it

    def append(self, entry):
        if self._takes_it:
            super().append(entry)
        self._sender.retiring = None
        self.taken = self._sender.take_for_retiring()
        if not self._takes_it:
            super().append(entry)


def message_of(number):
    return Outgoing(1, b"x", 1, connection_number=number)


def test_the_present_connection_does_not_write_a_message_of_the_replaced_one(sender):
    bound, free, present = message_of(1), message_of(None), message_of(2)
    assert sender.without_those_for_retiring([bound, free, present], 2) == [free, present]
    assert sender.take_for_retiring() == [bound]


@pytest.mark.parametrize("takes_it", [True, False])
def test_a_message_of_a_replaced_connection_that_ends_at_this_moment_is_decided_by_one_thread(sender, takes_it):
    sender.for_retiring = bound = EndsMeanwhile(sender, takes_it=takes_it)
    entry = message_of(1)
    kept = sender.without_those_for_retiring([entry], 2)
    assert (bound.taken, kept) == (([entry], []) if takes_it else ([], [entry]))
    assert bound == []
