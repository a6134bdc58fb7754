"""The hook thread: runs one hook after the other, survives all exceptions, and exists only if there is a hook."""

import logging
import math
import threading
import time
import traceback
import weakref

import pytest

from wsclient._errors import SlowConsumer
from wsclient._options import ReceiveQueue
from wsclient._receiving.hooks import HOOKS, MAX_EVENTS, Hooks
from wsclient._threads.starter import ThreadStarter
from wsclient._threads.waiting import Deadline

from ..support import FREE_THREADED, LONG, eventually
from ..support.logs import make_log

FOREVER = Deadline(None)
PASSED = Deadline(-math.inf)


def deadline_soon():
    return Deadline(time.monotonic() + LONG)


@pytest.fixture
def make():
    """Hooks that are ended with the test; ``starter`` is what starts their thread."""
    made = []

    def make(on_room=lambda: None, /, *, bounds=None, starter=None, **hooks):
        log, its_starter = make_log()
        one = Hooks(log, starter or its_starter, bounds or ReceiveQueue(), on_room)
        for name, hook in hooks.items():
            one.set(name, hook)
        made.append(one)
        return one

    yield make
    for one in made:
        one.end()
        assert one.join(deadline_soon())


def hook_threads():
    return [thread for thread in threading.enumerate() if thread.name == "tester-hooks"]


def finish(hooks):
    hooks.end()
    assert hooks.join(deadline_soon())


class Gate:
    """A hook that blocks until it is released."""

    def __init__(self):
        self.entered = threading.Semaphore(0)
        self.leave = threading.Semaphore(0)
        self.seen = []

    def __call__(self, *args):
        self.seen.append(args)
        self.entered.release()
        assert self.leave.acquire(timeout=LONG)

    def wait_until_entered(self):
        assert self.entered.acquire(timeout=LONG)

    def release(self, times=1):
        self.leave.release(times)


# --- order -----------------------------------------------------------------------------------------------------------


def test_hooks_run_in_the_order_of_the_events(make):
    seen = []
    names = [name for name in HOOKS if name != "on_message"]
    hooks = make(**{name: lambda *args, name=name: seen.append((name, *args)) for name in HOOKS})
    expected = []
    for n in range(50):
        for name in names:
            hooks.post(name, n)
        hooks.post_message(n, 1, must_keep_reading=False)
        hooks.run_later(lambda n=n: seen.append(("later", n)))
        expected += [(name, n) for name in (*names, "on_message", "later")]
    finish(hooks)
    assert seen == expected


def test_hooks_run_one_at_a_time_on_one_thread_with_the_name_of_the_client(make):
    seen = []
    hooks = make(on_ping=lambda: seen.append(threading.current_thread()))
    posters = [threading.Thread(target=lambda: [hooks.post("on_ping") for _ in range(50)]) for _ in range(4)]
    for poster in posters:
        poster.start()
    for poster in posters:
        poster.join(LONG)
    finish(hooks)
    assert len(seen) == 200
    assert {thread.name for thread in seen} == {"tester-hooks"}
    assert len({thread.ident for thread in seen}) == 1


def test_a_hook_is_looked_up_when_it_is_posted(make):
    seen = []
    hooks = make(on_ping=lambda: seen.append("old"))
    hooks.post("on_ping")
    hooks.set("on_ping", lambda: seen.append("new"))
    hooks.post("on_ping")
    hooks.set("on_ping", None)
    hooks.post("on_ping")
    assert hooks.get("on_ping") is None
    finish(hooks)
    assert seen == ["old", "new"]


class Message:
    """An object that supports weak references."""


def test_the_last_message_is_released_too(make):
    hooks = make(on_message=lambda message: None)
    message = Message()
    reference = weakref.ref(message)
    hooks.post_message(message, 1, must_keep_reading=False)
    del message
    eventually(lambda: reference() is None)


@pytest.mark.skipif(
    FREE_THREADED,
    reason="without the GIL an object that another thread lets go lives until its maker's thread has a moment",
)
def test_messages_are_released_one_by_one_even_if_very_many_wait(make):
    held, alive = threading.Event(), []
    references = []

    def on_message(message):
        held.wait(LONG)
        alive.append(sum(reference() is not None for reference in references))

    hooks = make(on_message=on_message)
    for _ in range(100):
        message = Message()
        references.append(weakref.ref(message))
        hooks.post_message(message, 1, must_keep_reading=False)
    del message
    held.set()
    finish(hooks)
    assert alive == list(range(100, 0, -1))


def test_a_message_is_released_after_its_hook(make):
    hooks = make(on_message=lambda message: None)
    message = Message()
    reference = weakref.ref(message)
    hooks.post_message(message, 1, must_keep_reading=False)
    done = threading.Event()
    hooks.run_later(done.set)
    del message
    assert done.wait(LONG)
    assert reference() is None


# --- the thread ------------------------------------------------------------------------------------------------------


def test_without_hooks_there_is_no_thread(make):
    hooks = make(on_open=lambda: None)
    hooks.post("on_close", 1000, "")
    hooks.post_message("message", 1, must_keep_reading=False)
    hooks.post_error(OSError("no listener"))
    assert hook_threads() == []
    assert len(hooks.inbox) == 0
    assert hooks.join(PASSED)
    hooks.post("on_open")
    finish(hooks)


@pytest.mark.parametrize(
    "post",
    [
        lambda hooks: hooks.post("on_open"),
        lambda hooks: hooks.post_message("message", 1, must_keep_reading=False),
        lambda hooks: hooks.post_error(OSError("oh")),
        lambda hooks: hooks.run_later(lambda: None),
    ],
)
def test_the_thread_starts_once_with_the_first_event(make, post):
    gate = Gate()
    hooks = make(on_open=gate, on_message=gate, on_error=gate)
    post(hooks)
    hooks.post("on_open")
    gate.wait_until_entered()
    post(hooks)
    assert len(hook_threads()) == 1
    gate.release(100)
    finish(hooks)
    assert hook_threads() == []


def test_events_posted_before_the_end_still_run_and_later_ones_do_not(make):
    gate, seen = Gate(), []
    hooks = make(on_open=gate, on_message=seen.append, on_close=seen.append)
    hooks.post("on_open")
    gate.wait_until_entered()
    hooks.post_message("before", 1, must_keep_reading=False)
    hooks.end()
    hooks.post_message("after", 1, must_keep_reading=False)
    hooks.post("on_close", "after")
    gate.release()
    finish(hooks)
    assert seen == ["before"]


def test_join_is_bounded_when_a_hook_does_not_return(make):
    gate = Gate()
    hooks = make(on_open=gate)
    hooks.post("on_open")
    gate.wait_until_entered()
    hooks.end()
    assert not hooks.join(PASSED)
    assert not hooks.join(Deadline(time.monotonic() + 0.05))
    gate.release()
    assert hooks.join(FOREVER)


def test_a_hook_can_end_and_join_its_own_thread(make):
    results = []
    hooks = make(on_open=lambda: results.append((hooks.end(), hooks.on_hook_thread(), hooks.join(FOREVER))))
    assert not hooks.on_hook_thread()
    hooks.post("on_open")
    finish(hooks)
    assert results == [(None, True, True)]
    assert not hooks.on_hook_thread()


def test_after_the_end_of_the_hook_thread_no_other_thread_counts_as_the_hook_thread(make):
    """The operating system reuses the number of a thread that has ended."""
    hooks = make()
    hooks.end()
    hooks.work()
    assert not hooks.on_hook_thread()


def refuse(thread):
    raise RuntimeError("can't start new thread")


def test_hooks_wait_for_a_thread_that_cannot_start_and_the_failure_is_reported_once(make, monkeypatch):
    seen, starter = [], ThreadStarter(bool)
    hooks = make(starter=starter, on_open=lambda: seen.append("open"), on_error=lambda error: seen.append(str(error)))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        hooks.post("on_open")
        hooks.post("on_open")
        starter.retry()
    assert seen == []
    starter.retry()
    finish(hooks)
    assert seen == ["open", "can't start new thread", "open"]


def test_hooks_that_never_got_a_thread_run_at_the_end_on_the_thread_that_ends_the_client(make, monkeypatch):
    seen, starter = [], ThreadStarter(bool)
    hooks = make(starter=starter, on_close=lambda: seen.append((threading.current_thread(), hooks.on_hook_thread())))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        hooks.post("on_close")
        hooks.end()
        assert hooks.join(PASSED)
        starter.finish()
    assert seen == [(threading.current_thread(), True)]
    assert hooks.join(PASSED)


# --- errors ----------------------------------------------------------------------------------------------------------


def test_an_error_is_logged_with_its_traceback_and_passed_to_on_error(make, caplog):
    def on_open():
        raise OSError("the hook's own")

    errors, after = [], []
    hooks = make(on_open=on_open, on_error=errors.append, on_close=after.append)
    hooks.post("on_open")
    hooks.post("on_close", 1000)
    finish(hooks)
    assert [str(error) for error in errors] == ["the hook's own"]
    assert after == [1000]
    (record,) = caplog.records
    assert record.name == "wsclient"
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "tester: on_open raised OSError."
    assert traceback.extract_tb(record.exc_info[2])[-1].name == "on_open"


def test_an_error_is_reported_before_the_next_hook_runs(make):
    seen = []
    hooks = make(on_message=lambda message: 1 / message, on_error=lambda error: seen.append(type(error)))
    hooks.post_message(0, 1, must_keep_reading=False)
    hooks.run_later(lambda: seen.append("next"))
    finish(hooks)
    assert seen == [ZeroDivisionError, "next"]


def test_an_on_error_that_raises_is_logged_and_not_called_for_its_own_error(make, caplog):
    calls = []

    def on_error(error):
        calls.append(error)
        raise ValueError("on_error's own")

    hooks = make(on_open=lambda: 1 / 0, on_error=on_error, on_close=calls.append)
    hooks.post("on_open")
    hooks.post("on_error", OSError("posted from outside"))
    hooks.post("on_close", "done")
    finish(hooks)
    assert [str(call) for call in calls] == ["division by zero", "posted from outside", "done"]
    assert [record.getMessage() for record in caplog.records] == [
        "tester: on_open raised ZeroDivisionError.",
        "tester: on_error raised ValueError.",
        "tester: on_error raised ValueError.",
    ]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_the_hook_thread_continues_after_exceptions_that_would_end_a_program(make, error):
    def on_open():
        raise error

    errors, after = [], []
    hooks = make(on_open=on_open, on_error=errors.append, on_close=after.append)
    hooks.post("on_open")
    hooks.post("on_close", "after")
    finish(hooks)
    assert [type(one) for one in errors] == [error]
    assert after == ["after"]


def test_a_done_callback_that_raises_is_logged_and_reported(make, caplog):
    errors = []
    hooks = make(on_error=errors.append)
    hooks.run_later(lambda: 1 / 0)
    finish(hooks)
    assert [type(error) for error in errors] == [ZeroDivisionError]
    assert "tester: a done-callback raised ZeroDivisionError." in caplog.text


def test_an_error_that_ends_nothing_is_logged_as_a_warning_and_passed_to_on_error(make, caplog):
    errors = []
    hooks = make(on_error=errors.append)
    error = OSError("the peer's fault")
    hooks.post_error(error)
    finish(hooks)
    assert errors == [error]
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "tester: the peer's fault")
    ]


# --- the connection number -------------------------------------------------------------------------------------------


def test_the_connection_number_is_available_while_its_hook_runs(make):
    seen = []
    hooks = make(
        on_open=lambda: seen.append(hooks.connection_number),
        on_message=lambda message: seen.append(hooks.connection_number),
        on_close=lambda: seen.append(hooks.connection_number),
    )
    hooks.post("on_open", connection_number=1)
    hooks.post_message("message", 1, must_keep_reading=False)
    hooks.post("on_open", connection_number=2)
    hooks.post("on_close")
    hooks.run_later(lambda: seen.append(hooks.connection_number))
    finish(hooks)
    assert seen == [1, None, 2, None, None]
    assert hooks.connection_number is None


def test_the_connection_number_stays_available_in_on_error(make):
    seen = []
    hooks = make(on_open=lambda: 1 / 0, on_error=lambda error: seen.append(hooks.connection_number))
    hooks.post("on_open", connection_number=3)
    hooks.post("on_error", OSError())
    finish(hooks)
    assert seen == [3, None]


# --- run_later -------------------------------------------------------------------------------------------------------


def test_run_later_runs_in_the_order_of_the_hooks(make):
    gate, ran = Gate(), threading.Event()
    hooks = make(on_open=gate)
    hooks.post("on_open")
    gate.wait_until_entered()
    hooks.run_later(ran.set)
    assert not ran.is_set()
    gate.release()
    assert ran.wait(LONG)


def test_run_later_runs_at_once_in_the_calling_thread_after_the_end(make, caplog):
    threads, errors = [], []
    hooks = make(on_error=errors.append)
    hooks.end()
    hooks.run_later(lambda: threads.append(threading.current_thread()))
    assert threads == [threading.current_thread()]
    hooks.run_later(lambda: 1 / 0)
    assert [type(error) for error in errors] == [ZeroDivisionError]
    assert "a done-callback raised ZeroDivisionError" in caplog.text


# --- too many messages -----------------------------------------------------------------------------------------------


def test_slow_consumer_is_reported_once_per_episode(make, caplog):
    gate, errors = Gate(), []
    hooks = make(on_message=gate, on_error=errors.append, bounds=ReceiveQueue(max_messages=4, overflow="drop_newest"))
    for episode in (1, 2):
        hooks.post_message("in the hook", 1, must_keep_reading=False)
        gate.wait_until_entered()
        for _ in range(4 + 3):
            hooks.post_message("waiting or lost", 1, must_keep_reading=False)
        assert hooks.dropped == 3 * episode
        gate.release(5)
        for _ in range(4):
            gate.wait_until_entered()
        reported = threading.Event()
        hooks.run_later(reported.set)
        assert reported.wait(LONG)
        assert [type(error) for error in errors] == [SlowConsumer] * episode
    assert len(gate.seen) == 10
    assert "on_message can't keep up: 4 messages wait for the hook thread" in str(errors[0])
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2


def test_a_full_queue_pauses_reading_and_reports_when_there_is_room(make):
    gate, room = Gate(), threading.Event()
    hooks = make(room.set, on_message=gate, bounds=ReceiveQueue(max_messages=2))
    assert not hooks.inbox.full
    hooks.post_message("in the hook", 1, must_keep_reading=False)
    gate.wait_until_entered()
    room.clear()
    hooks.post_message("waits", 1, must_keep_reading=False)
    assert not hooks.inbox.full
    hooks.post_message("waits", 1, must_keep_reading=False)
    assert hooks.inbox.full
    assert not room.is_set()
    gate.release()
    assert room.wait(LONG)
    assert not hooks.inbox.full
    assert hooks.dropped == 0
    gate.release(10)


def test_only_messages_above_the_byte_limit_are_lost_when_reading_must_continue(make):
    gate = Gate()
    hooks = make(on_message=gate, on_close=gate, bounds=ReceiveQueue(max_messages=1, max_bytes=10))
    hooks.post_message("in the hook", 10, must_keep_reading=True)
    gate.wait_until_entered()
    hooks.post_message("fits", 10, must_keep_reading=True)
    hooks.post_message("lost", 1, must_keep_reading=True)
    hooks.post("on_close", "never lost")
    gate.release(10)
    finish(hooks)
    assert gate.seen == [("in the hook",), ("fits",), ("never lost",)]
    assert hooks.dropped == 1


def test_many_pings_and_errors_do_not_fill_the_memory(make):
    held, go_on = threading.Event(), threading.Event()
    seen = []

    def on_ping(data):
        held.set()
        assert go_on.wait(LONG)
        seen.append(data)

    hooks = make(on_ping=on_ping, on_error=seen.append)
    for n in range(5_000):
        hooks.post_event("on_ping", n)
    for n in range(5_000):
        hooks.post_error(OSError(n))
    hooks.post("on_error", "the last one, which is no part of the flood")
    assert held.wait(LONG)
    go_on.set()
    finish(hooks)
    assert len(seen) <= 2 * MAX_EVENTS + 2
    assert sum(isinstance(one, OSError) for one in seen) == MAX_EVENTS  # pings do not count towards the limit of errors
    assert seen[-1] == "the last one, which is no part of the flood"
