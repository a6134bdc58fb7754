"""Clients at the end of the process and in a forked child; ``test_exit.py`` tests real processes."""

import logging
import os
import sys
import warnings

import pytest

import wsclient
from wsclient._threads import processes

from ..support import LONG


class RunningClient:
    def __init__(self):
        self.forks = 0
        self.exits = []
        self.is_ending = False

    def __repr__(self):
        return "<the client 'feed'>"

    def after_fork(self):
        self.forks += 1

    def at_exit(self, timeout):
        self.exits.append(timeout)


@pytest.fixture
def running():
    running = RunningClient()
    processes.register(running)
    yield running
    processes.unregister(running)


def test_an_open_client_at_exit_causes_a_warning_and_is_closed_in_a_short_time(running):
    with pytest.warns(ResourceWarning, match="^<the client 'feed'> was never closed; use it in a with block"):
        processes._at_exit()
    assert running.exits == [processes.EXIT_TIMEOUT]


def test_a_client_that_is_being_closed_causes_no_warning(running):
    running.is_ending = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        processes._at_exit()
    assert running.exits == [processes.EXIT_TIMEOUT]


def test_an_open_client_is_closed_even_if_warnings_are_errors(running):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ResourceWarning):
            processes._at_exit()
    assert running.exits == [processes.EXIT_TIMEOUT]


@pytest.mark.parametrize("hook_raises", [False, True])
def test_all_open_clients_are_closed_and_reported_even_if_warnings_are_errors(running, monkeypatch, hook_raises):
    printed = []

    def print_error(kind, error, traceback):
        printed.append(kind)
        if hook_raises:
            raise OSError("no stderr")

    monkeypatch.setattr(sys, "excepthook", print_error)
    others = [RunningClient(), RunningClient()]
    for other in others:
        processes.register(other)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(ResourceWarning):
                processes._at_exit()
    finally:
        for other in others:
            processes.unregister(other)
    assert {tuple(one.exits) for one in (running, *others)} == {(processes.EXIT_TIMEOUT,)}
    assert printed == [ResourceWarning] * 2  # and the interpreter prints the one that was raised


@pytest.mark.parametrize("raised", [OSError("defect"), KeyboardInterrupt(), SystemExit(3)], ids=repr)
def test_a_client_that_cannot_be_closed_does_not_keep_others_open(running, raised):
    class Broken(RunningClient):
        def at_exit(self, timeout):
            raise raised

    broken, last = Broken(), RunningClient()
    processes.unregister(running)
    for one in (broken, running, last):
        one.is_ending = True
        processes.register(one)
    try:
        with pytest.raises(type(raised)):
            processes._at_exit()
    finally:
        processes.unregister(broken)
        processes.unregister(last)
    assert running.exits == last.exits == [processes.EXIT_TIMEOUT]


def test_an_unregistered_client_is_not_notified(running):
    processes.unregister(running)
    processes.unregister(running)  # a second call has no effect: a client may be abandoned and end later
    processes._at_exit()
    assert running.exits == []


def test_in_a_forked_child_the_copies_are_notified_once_and_then_unregistered(running):
    kept = dict(processes._running_clients)
    processes._after_fork()
    processes._after_fork()
    assert running.forks == 1
    processes._at_exit()
    assert running.exits == []
    processes._running_clients.update({key: one for key, one in kept.items() if one is not running})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_is_handled_before_any_code_of_the_child(running):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: the tests have threads
        child = os.fork()
    if not child:
        os._exit(running.forks)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert running.forks == 0


class Broken(RunningClient):
    def after_fork(self):
        raise OSError("no such descriptor")


def test_a_copy_whose_cleanup_fails_does_not_prevent_the_cleanup_of_others(caplog):
    kept = dict(processes._running_clients)
    first, second = Broken(), RunningClient()
    for one in (first, second):
        processes.register(one)
    processes._after_fork()
    assert second.forks == 1
    assert "no such descriptor" in caplog.text
    processes._running_clients.update(kept)


def test_a_log_filter_that_raises_in_a_forked_child_does_not_prevent_the_cleanup_of_others():
    def raising(record):
        raise LookupError("the filter's own")

    kept = dict(processes._running_clients)
    first, second = Broken(), RunningClient()
    for one in (first, second):
        processes.register(one)
    logging.getLogger("wsclient").addFilter(raising)
    try:
        with pytest.raises(LookupError):  # os.fork() reports and ignores it
            processes._after_fork()
    finally:
        logging.getLogger("wsclient").removeFilter(raising)
    assert second.forks == 1
    processes._running_clients.update(kept)


def test_a_copy_of_a_client_in_a_forked_child_refuses_calls_and_closes_no_stream(server):
    with wsclient.connect(server.url) as client:
        stream = client.listen()
        guard = client._wsclient.context.guard
        guard.forked = True
        with pytest.raises(wsclient.ForkedClient, match=r"send\(\): the client .* belongs to the parent process"):
            client.send("x")
        stream.close()
        guard.forked = False
        client.send("x")
        assert stream.get(LONG) == "x"
