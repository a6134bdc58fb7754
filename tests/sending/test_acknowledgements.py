"""Waits for a proof that end because the client or its connection ends, or changes, at that moment."""

import contextlib

import pytest

import wsclient
from wsclient import State
from wsclient._sending.message import WRITTEN, Mark, Outgoing, WriteProgress
from wsclient._threads.waiting import Deadline

from ..support import LONG, SHORT, eventually
from ..support.peers import start_call

CLOSED = wsclient.ClientClosed("It is closed.")
NO_TIME = Deadline(0.0)


@pytest.fixture
def core():
    """The parts of a client that counts as open; it has no connection."""
    with contextlib.closing(wsclient.Client("ws://localhost/")) as client:
        core = client._wsclient.core
        core.state.move(State.CONNECTING)
        core.state.move(State.OPEN)
        core.sender.connection_number = 1
        yield core


def written(core):
    """A message that a connection has written."""
    progress = WriteProgress(1)
    progress.taken = progress.sent = 1
    entry = Outgoing(1, b"x", 1)
    entry.put_on(progress, 1)
    return entry


WAITS = {
    "flush": lambda core, timeout: core.acknowledgements.flush(timeout),
    "ping": lambda core, timeout: core.acknowledgements.ping(timeout),
}


@pytest.mark.parametrize("wait", WAITS)
def test_without_a_queue_that_takes_the_mark_a_wait_ends_at_once(core, wait):
    core.queue.seal(CLOSED)
    with pytest.raises(wsclient.ClientClosed):
        WAITS[wait](core, SHORT)
    assert not core.acknowledgements.wait(written(core), SHORT)


@pytest.mark.parametrize("wait", WAITS)
def test_a_wait_on_a_connection_that_has_just_ended_withdraws_its_mark(core, wait):
    with pytest.raises(wsclient.ConnectionLost):
        WAITS[wait](core, SHORT)  # it ends without a look at the time
    assert not any(entry.queued for entry in core.queue.entries)


@pytest.mark.parametrize("wait", WAITS)
def test_a_wait_ends_with_the_client(core, wait, monkeypatch):
    monkeypatch.setattr(type(core.sender), "is_too_late", lambda sender, mark: False)
    waiting = start_call(lambda: WAITS[wait](core, LONG))
    eventually(lambda: core.changes.latches)
    core.state.move(State.CLOSED)
    core.changes.announce()
    assert isinstance(waiting.exception(LONG), wsclient.ClientClosed)


def test_a_change_before_the_wait_is_seen(core):
    acknowledgements = core.acknowledgements
    entry, mark = written(core), Mark(b"x", 1)
    mark.round_trip = 0.1
    assert acknowledgements._wait_for_change(entry, "queued", NO_TIME)
    assert not acknowledgements._wait_for_change(entry, WRITTEN, NO_TIME)
    assert acknowledgements._wait_for_pong(mark, NO_TIME)
    assert not acknowledgements._wait_for_pong(Mark(b"x", 1), NO_TIME)


def test_the_wait_for_a_queued_message_ends_when_it_expires():
    with contextlib.closing(wsclient.Client("ws://localhost/")) as client:
        delivery = client.send("x", expires=SHORT)
        client._wsclient.core.state.move(State.CONNECTING)
        assert start_call(delivery.wait).result(LONG) is False
        assert delivery.state == "expired"
