"""Who may call what, and from where."""

import pickle
import threading

import pytest

import wsclient
from tests.support import LONG
from wsclient._core import Guard


@pytest.fixture
def guard():
    return Guard("feed")


def on_thread(function):
    """Run it on another thread; gives what it raised."""
    raised = []

    def run():
        try:
            function()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(LONG)
    return raised[0] if raised else None


def test_everything_is_allowed_as_a_rule(guard):
    guard.check("send()")
    guard.check_may_wait("request()", "Use submit().")
    assert on_thread(lambda: guard.check_may_wait("request()", "Use submit().")) is None


def test_on_the_io_thread_a_call_that_waits_is_refused_with_the_way_out(guard):
    guard.io_ident = threading.get_ident()
    guard.check("send()")
    with pytest.raises(wsclient.WouldDeadlock, match=r"^request\(\) was called on .* Use submit\(\)\.$"):
        guard.check_may_wait("request()", "Use submit().")
    assert on_thread(lambda: guard.check_may_wait("request()", "Use submit().")) is None


def test_inside_on_session_every_call_on_the_client_is_refused_there_and_nowhere_else(guard):
    guard.io_ident = threading.get_ident()
    guard.setting_up = True
    with pytest.raises(wsclient.WouldDeadlock, match=r"^send\(\) .*; use the session that on_session was given\.$"):
        guard.check("send()")
    assert on_thread(lambda: guard.check("send()")) is None


def test_in_a_forked_child_every_call_is_refused_before_anything_else_is_looked_at(guard):
    guard.io_ident = threading.get_ident()
    guard.setting_up = guard.forked = True
    for check in (guard.check, lambda call: guard.check_may_wait(call, "Don't.")):
        with pytest.raises(wsclient.ForkedClient, match=r"'feed' belongs to the parent process; make a new client"):
            check("send()")


def test_the_main_thread_is_told_from_the_others(guard):
    assert guard.on_main_thread()
    answers = []
    on_thread(lambda: answers.append(guard.on_main_thread()))
    assert answers == [False]


def test_a_client_can_not_be_pickled_into_another_process():
    client = wsclient.Client("ws://localhost/")
    with pytest.raises(TypeError):
        pickle.dumps(client)
    client.close()
