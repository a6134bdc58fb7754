"""Handlers of calls and events, on the hook thread or on workers."""

import logging
import threading

import pytest

from wsclient._errors import SlowConsumer
from wsclient._options import ReceiveQueue
from wsclient._receiving.handlers import Handlers
from wsclient._receiving.hooks import Hooks

from ..support import LONG, eventually
from ..support.logs import make_log


class Errors:
    def __init__(self):
        self.seen = []
        self.threads = []

    def __call__(self, error):
        self.seen.append(error)
        self.threads.append(threading.current_thread().name)


@pytest.fixture
def errors():
    return Errors()


@pytest.fixture
def make(errors):
    made = []

    def make(on_room=lambda: None, **bounds):
        queue = ReceiveQueue(**bounds)
        hooks = Hooks(*make_log(), queue, on_room)
        hooks.set("on_error", errors)
        handlers = Handlers("tester", queue, hooks, on_room, lambda fn, argument: fn(argument))
        made.append((hooks, handlers))
        return handlers

    yield make
    for hooks, handlers in made:
        handlers.end()
        hooks.end()
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("tester")])


def post(handlers, handler, *args, size=1, must_keep_reading=False, fn=None):
    handlers.post(handler, fn or handler.fn, args, size, must_keep_reading)


class Gate:
    """A function that blocks until it is released."""

    def __init__(self):
        self.entered = threading.Semaphore(0)
        self.leave = threading.Semaphore(0)
        self.seen = []

    def __call__(self, message):
        self.entered.release()
        assert self.leave.acquire(timeout=LONG)
        self.seen.append(message)


# --- the table -------------------------------------------------------------------------------------------------------


def test_a_second_handler_for_a_method_is_refused(make):
    handlers = make()
    handlers.handle("add", sum, 0)
    with pytest.raises(ValueError, match="'add'"):
        handlers.handle("add", max, 0)
    assert handlers.of_method("add").fn is sum
    assert handlers.of_method("other") is None


def test_a_refused_handler_creates_no_pool(make):
    handlers = make()
    handlers.handle("add", sum, 0)
    with pytest.raises(ValueError, match="'add'"):
        handlers.handle("add", max, 4)
    assert handlers.pools == ()


def test_handlers_of_a_topic_run_in_order_and_each_can_be_removed_once(make):
    handlers = make()
    a, b, c = (handlers.on("t", print, 0) for _ in range(3))
    assert handlers.of_topic("t") == (a, b, c)
    for _ in range(2):
        handlers.remove("t", b)
    assert handlers.of_topic("t") == (a, c)
    assert handlers.of_topic("other") == handlers.of_topic(None) == ()
    handlers.remove("t", a)
    handlers.remove("t", c)
    assert handlers._topics == {}


@pytest.mark.parametrize(
    ("name", "fn", "workers", "error"),
    [
        (1, print, 0, TypeError),
        ("m", None, 0, TypeError),
        ("m", "f", 0, TypeError),
        ("m", print, -1, ValueError),
        ("m", print, 1.5, TypeError),
    ],
)
def test_an_invalid_handler_is_refused(make, name, fn, workers, error):
    handlers = make()
    for call in (handlers.handle, handlers.on):
        with pytest.raises(error):
            call(name, fn, workers)
    assert handlers.pools == ()


# --- threads ---------------------------------------------------------------------------------------------------------


def test_without_workers_all_handlers_run_in_order_on_the_hook_thread(make):
    handlers, seen = make(), []
    two = [handlers.on("t", lambda n: seen.append((n, threading.current_thread().name)), 0) for _ in range(2)]
    for n in range(100):
        post(handlers, two[n % 2], n)
    eventually(lambda: len(seen) == 100)
    assert seen == [(n, "tester-hooks") for n in range(100)]


def test_workers_run_at_the_same_time_in_threads_with_the_name_of_their_client(make):
    handlers, names = make(), []
    together = threading.Barrier(3)

    def meet(n):
        together.wait(LONG)
        names.append(threading.current_thread().name)

    handler = handlers.on("t", meet, 3)
    for n in range(3):
        post(handlers, handler, n)
    eventually(lambda: len(names) == 3)
    assert sorted(names) == [f"tester-worker-1-{n}" for n in (1, 2, 3)]


def test_one_worker_keeps_the_order(make):
    handlers, seen = make(), []
    handler = handlers.on("t", seen.append, 1)
    for n in range(1000):
        post(handlers, handler, n)
    eventually(lambda: len(seen) == 1000)
    assert seen == list(range(1000))


def test_a_worker_can_wait_for_the_hook_thread(make):
    handlers, done, seen = make(), threading.Event(), []
    waiting = handlers.on("t", lambda _: seen.append(done.wait(LONG)), 1)
    setting = handlers.on("t", lambda _: done.set(), 0)
    post(handlers, waiting, 1)
    post(handlers, setting, 1)
    eventually(lambda: seen == [True])


def test_threads_start_only_when_there_is_work_and_no_more_than_needed(make):
    handlers, gate = make(), Gate()
    handler = handlers.on("t", gate, 4)
    count = lambda: sum(thread.name.startswith("tester-worker") for thread in threading.enumerate())  # noqa: E731
    assert count() == 0
    post(handlers, handler, 1)
    assert gate.entered.acquire(timeout=LONG)
    assert count() == 1
    gate.leave.release()


# --- slow handlers ---------------------------------------------------------------------------------------------------


def test_a_full_pool_pauses_reading_and_reports_when_there_is_room(make):
    room = threading.Event()
    handlers, gate = make(room.set, max_messages=1), Gate()
    handler = handlers.on("t", gate, 1)
    post(handlers, handler, 1)
    assert gate.entered.acquire(timeout=LONG)
    assert not handlers.full
    room.clear()
    post(handlers, handler, 2)
    assert handlers.full
    assert not room.is_set()
    gate.leave.release(2)
    assert room.wait(LONG)
    eventually(lambda: gate.seen == [1, 2])
    assert not handlers.full


def test_messages_that_a_full_pool_drops_are_counted_and_reported_once(make, errors):
    handlers, gate = make(max_messages=1, overflow="drop_newest"), Gate()
    handler = handlers.on("t", gate, 1)
    post(handlers, handler, 1)
    assert gate.entered.acquire(timeout=LONG)
    for n in (2, 3, 4):
        post(handlers, handler, n)
    assert handlers.dropped == 2
    gate.leave.release(2)
    eventually(lambda: gate.seen == [1, 2])
    eventually(lambda: errors.seen)
    assert [type(error) for error in errors.seen] == [SlowConsumer]
    assert "on('t')" in str(errors.seen[0])


@pytest.mark.parametrize("workers", [0, 1])
def test_latest_replaces_no_call_and_only_events_of_the_same_topic(make, errors, workers):
    """Each call needs its own answer; of the events of each topic the newest is kept."""
    handlers, gate, seen = make(overflow="latest"), Gate(), []

    def heard(name):
        return lambda n: seen.append((name, n))

    handlers._hooks.set("on_message", heard("message"))
    handlers.handle("m", gate, workers)
    asked = handlers.of_method("m")
    one, other = handlers.on("one", heard("one"), 0), handlers.on("other", heard("other"), 0)
    post(handlers, asked, "holds the worker")
    post(handlers, handlers.on("t", gate, 0), "holds the hook thread")
    for _ in range(2 if workers else 1):
        assert gate.entered.acquire(timeout=LONG)
    for n in range(5):
        post(handlers, asked, n, fn=heard("answered"))
        post(handlers, one, n)
        post(handlers, other, n)
        handlers._hooks.post_message(n, 1, must_keep_reading=False)
    gate.leave.release(2)
    expected = [*(("answered", n) for n in range(5)), ("message", 4), ("one", 4), ("other", 4)]
    eventually(lambda: len(seen) >= len(expected))
    assert sorted(seen) == expected
    assert errors.seen == []  # the policy asks for it


def test_dropped_messages_stay_counted_after_their_pool_is_removed(make):
    handlers, gate = make(max_messages=1, overflow="drop_newest"), Gate()
    handler = handlers.on("t", gate, 1)
    post(handlers, handler, 1)
    assert gate.entered.acquire(timeout=LONG)
    for n in (2, 3, 4):
        post(handlers, handler, n)
    handlers.remove("t", handler)
    gate.leave.release(2)
    assert handlers.dropped == 2


def test_a_removed_pool_does_not_pause_reading(make):
    handlers, gate = make(max_messages=1), Gate()
    handler = handlers.on("t", gate, 1)
    post(handlers, handler, 1)
    assert gate.entered.acquire(timeout=LONG)
    post(handlers, handler, 2)
    assert handlers.full
    handlers.remove("t", handler)
    assert not handlers.full
    gate.leave.release(2)


# --- errors and the end ----------------------------------------------------------------------------------------------


def test_an_error_in_a_worker_is_logged_and_reported_and_the_worker_continues(make, errors, caplog):
    handlers, seen = make(), []

    def fn(n):
        seen.append(n)
        if n == 1:
            raise LookupError("a bug of the user's")

    handler = handlers.on("t", fn, 1)
    post(handlers, handler, 1)
    post(handlers, handler, 2)
    eventually(lambda: seen == [1, 2])
    eventually(lambda: errors.seen)
    assert [str(error) for error in errors.seen] == ["a bug of the user's"]
    (record,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert "on('t')" in record.getMessage()
    assert record.exc_info[0] is LookupError


def test_on_error_for_a_worker_runs_in_the_hook_thread(make, errors):
    handlers = make()
    post(handlers, handlers.on("t", lambda n: 1 / n, 2), 0)
    eventually(lambda: errors.seen)
    assert errors.threads == ["tester-hooks"]


@pytest.mark.parametrize("how", ["end", "remove"])
def test_handlers_queued_before_the_end_still_run_and_then_the_threads_end(make, how):
    handlers, gate = make(), Gate()
    handler = handlers.on("t", gate, 1)
    for n in range(3):
        post(handlers, handler, n)
    assert gate.entered.acquire(timeout=LONG)
    handlers.end() if how == "end" else handlers.remove("t", handler)
    post(handlers, handler, "too late")
    gate.leave.release(4)
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("tester-worker")])
    assert gate.seen == [0, 1, 2]
