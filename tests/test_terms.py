"""The terms of a call: may it be made, on which connection, until when; and its reply is read."""

import threading
import time

import pytest

import wsclient
from wsclient import State, _terms
from wsclient._config import DEFAULT
from wsclient._wakeup import Wakeup

from .support.threads import on_thread


@pytest.fixture
def client():
    return wsclient.Client("ws://localhost/", request_timeout=7, on_message=print)


@pytest.fixture
def core(client):
    return client._wsclient.core


@pytest.mark.parametrize(("timeout", "seconds"), [(DEFAULT, 7), (2.5, 2.5), (3, 3), (0, 0), (0.0, 0)])
def test_the_deadline_is_so_many_seconds_from_now(core, timeout, seconds):
    before = time.monotonic()
    at = _terms.deadline(core, timeout).at
    assert before + seconds <= at <= time.monotonic() + seconds


def test_none_is_no_deadline(core):
    assert _terms.deadline(core, None).at is None


@pytest.mark.parametrize(
    ("timeout", "error"),
    [
        (-1, ValueError), (-0.5, ValueError), (float("nan"), ValueError), (float("inf"), ValueError),
        ("5", TypeError), (True, TypeError),
    ],
)  # fmt: skip
def test_what_is_no_number_of_seconds_is_refused(core, timeout, error):
    with pytest.raises(error, match="timeout"):
        _terms.deadline(core, timeout)


def test_what_a_hook_sends_is_bound_to_its_connection_and_nothing_else_is(core):
    core.hooks.bound = 3  # a hook of the third connection runs
    core.hooks.ident = on_thread(lambda: None)
    assert _terms.bound(core) is None, "this is not the hook thread"
    core.hooks.ident = threading.get_ident()
    assert _terms.bound(core) == 3


def test_a_call_wants_a_client_that_runs(client, core):
    with pytest.raises(wsclient.ClientClosed, match=r"^tell\(\): .* does not run yet"):
        _terms.check_started(core, "tell()")
    client.close()
    with pytest.raises(wsclient.ClientClosed, match=r"^tell\(\): .* is closed"):
        _terms.check_started(core, "tell()")


def test_a_client_that_connects_runs(core):
    core.state.move(State.CONNECTING)
    _terms.check_started(core, "tell()")


def test_a_reader_that_pauses_is_woken_and_no_other(core):
    wakeup = Wakeup()
    core.orders.attach(wakeup)
    _terms.read_on(core)
    assert not wakeup._pending
    core.link.paused = True
    _terms.read_on(core)
    assert wakeup._pending
    core.orders.attach(None)
    wakeup.close()
