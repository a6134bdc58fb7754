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
def context():
    """The parts of a client that counts as open; it has no connection."""
    with contextlib.closing(wsclient.Client("ws://localhost/")) as client:
        context = client._wsclient.context
        context.state.move(State.CONNECTING)
        context.state.move(State.OPEN)
        context.sender.connection_number = 1
        yield context


def written(context):
    """A message that a connection has written."""
    progress = WriteProgress(1)
    progress.taken = progress.sent = 1
    entry = Outgoing(1, b"x", 1)
    entry.put_on(progress, 1)
    return entry


WAITS = {
    "flush": lambda context, timeout: context.acknowledgements.flush(timeout),
    "ping": lambda context, timeout: context.acknowledgements.ping(timeout),
}


@pytest.mark.parametrize("wait", WAITS)
def test_without_a_queue_that_takes_the_mark_a_wait_ends_at_once(context, wait):
    context.queue.seal(CLOSED)
    with pytest.raises(wsclient.ClientClosed):
        WAITS[wait](context, SHORT)
    assert not context.acknowledgements.wait(written(context), SHORT)


@pytest.mark.parametrize("wait", WAITS)
def test_a_wait_on_a_connection_that_has_just_ended_withdraws_its_mark(context, wait):
    with pytest.raises(wsclient.ConnectionLost):
        WAITS[wait](context, SHORT)  # it ends without a look at the time
    assert not any(entry.queued for entry in context.queue.entries)


@pytest.mark.parametrize("wait", WAITS)
def test_a_wait_ends_with_the_client(context, wait, monkeypatch):
    monkeypatch.setattr(type(context.sender), "is_too_late", lambda sender, mark: False)
    waiting = start_call(lambda: WAITS[wait](context, LONG))
    eventually(lambda: context.changes.latches)
    context.state.move(State.CLOSED)
    context.changes.announce()
    assert isinstance(waiting.exception(LONG), wsclient.ClientClosed)


def test_a_change_before_the_wait_is_seen(context):
    acknowledgements = context.acknowledgements
    entry, mark = written(context), Mark(b"x", 1)
    mark.round_trip = 0.1
    assert acknowledgements._wait_for_change(entry, "queued", NO_TIME)
    assert not acknowledgements._wait_for_change(entry, WRITTEN, NO_TIME)
    assert acknowledgements._wait_for_pong(mark, NO_TIME)
    assert not acknowledgements._wait_for_pong(Mark(b"x", 1), NO_TIME)


def test_the_wait_for_a_queued_message_ends_when_it_expires():
    with contextlib.closing(wsclient.Client("ws://localhost/")) as client:
        delivery = client.send("x", expires=SHORT)
        client._wsclient.context.state.move(State.CONNECTING)
        assert start_call(delivery.wait).result(LONG) is False
        assert delivery.state == "expired"
