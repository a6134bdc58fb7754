"""Waiting for an outcome: a thread inside request(), and a future that behaves like those of the standard library."""

import concurrent.futures
import contextlib
import gc
import math
import threading
import weakref

import pytest

from wsclient._requests.futures import RequestFuture
from wsclient._requests.request import CANCELLED, FAILED, OK, Request
from wsclient._requests.table import RequestTable
from wsclient._threads.waiting import Deadline, Waiter

from ..support import LONG, SHORT, eventually
from ..support.peers import start_call
from ..support.strikes import strikes

# --- waiters ---------------------------------------------------------------------------------------------------------


def test_a_waiter_returns_a_reply_that_came_before_the_wait():
    waiter = Waiter()
    waiter.complete("reply", None)
    assert waiter.wait(Deadline(-math.inf))
    assert (waiter.value, waiter.error) == ("reply", None)


def test_a_waiter_raises_an_error_that_comes_during_the_wait():
    waiter = Waiter()
    error = OSError()
    thread = threading.Thread(target=waiter.complete, args=(None, error))
    assert not waiter.wait(Deadline(-math.inf))
    thread.start()
    assert waiter.wait(Deadline(None))
    thread.join(LONG)
    assert waiter.error is error


# --- futures ---------------------------------------------------------------------------------------------------------


def has_waiting_threads(ask):
    return ask.future._ended is not None and ask.future._ended.latches


class Ask:
    """A request with its future; ``posted`` holds what the hook thread would run."""

    def __init__(self):
        self.table = RequestTable()
        self.request = Request(b"", 0, deadline=Deadline(None))
        self.table.add(self.request, timed=False)
        assert self.table.assign_id(self.request, 1, self.table.new_connection(1))
        self.posted = []
        self.later = []
        self.withdrawn = 0
        self.future = RequestFuture(self.request, self.withdraw, self.posted.append, self.do_later, self.end_overdue)

    def do_later(self, function, argument):
        self.later.append((function, argument))

    def withdraw(self, request):
        assert request is self.request
        self.withdrawn += self.table.end(request, CANCELLED)

    def end_overdue(self, request):
        raise AssertionError("the request has no deadline")

    def answer(self, value=None, error=None):
        assert self.table.end(self.request, OK if error is None else FAILED)
        self.future.complete(value, error)


@pytest.mark.parametrize("ask_for", ["result", "exception"])
def test_an_interrupt_at_any_moment_of_a_wait_is_raised_unchanged_and_the_future_still_works(ask_for):
    ask = Ask()

    def wait():
        with contextlib.suppress(concurrent.futures.TimeoutError):
            getattr(ask.future, ask_for)(0)

    moment = 0
    while strikes(moment, wait):  # a RuntimeError would be raised here
        moment += 1
    assert moment > 10
    waiting = start_call(lambda: getattr(ask.future, ask_for)(LONG))
    ask.answer("reply")
    assert waiting.result(LONG) == ("reply" if ask_for == "result" else None)


@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError])
def test_an_interrupt_at_any_moment_of_a_cancel_is_raised_and_leaves_no_caller_waiting(error):
    moment, struck, cancelled = 0, True, set()
    while struck:
        ask = Ask()
        waiting = start_call(lambda ask=ask: ask.future.result(LONG))
        eventually(lambda ask=ask: has_waiting_threads(ask))
        struck = strikes(moment, ask.future.cancel, error)
        cancelled.add(ask.future.cancelled())
        if not ask.future.cancelled():
            assert ask.future.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            waiting.result(LONG)
        moment += 1
    assert cancelled == {True, False}


def test_an_error_creates_no_reference_cycle():
    ask = Ask()
    ask.answer(error=OSError("gone"))
    future, ask.future = ask.future, None
    gone = weakref.ref(future)
    with contextlib.suppress(OSError):
        future.result(0)
    gc.disable()
    try:
        del future
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("ask_for", ["result", "exception"])
@pytest.mark.parametrize("timeout", [0, -1, SHORT / 10])
def test_a_wait_ends_at_its_timeout(ask_for, timeout):
    ask = Ask()
    for _ in range(2):
        with pytest.raises(concurrent.futures.TimeoutError):
            getattr(ask.future, ask_for)(timeout)
    assert not ask.future._done_callbacks, "repeated calls would fill the memory"
    assert not ask.future._ended.latches


@pytest.mark.parametrize("waits", ["result", "exception"])
def test_an_outcome_wakes_every_waiting_thread(waits):
    ask = Ask()
    waiting = [start_call(lambda: getattr(ask.future, waits)()) for _ in range(4)]
    eventually(lambda: has_waiting_threads(ask))
    error = OSError("gone")
    ask.answer(error=error)
    for wait in waiting:
        if waits == "exception":
            assert wait.result(LONG) is error
        else:
            with pytest.raises(OSError, match="gone"):
                wait.result(LONG)


def test_a_cancel_wakes_every_waiting_thread():
    ask = Ask()
    waiting = [start_call(ask.future.result) for _ in range(4)]
    eventually(lambda: has_waiting_threads(ask))
    assert ask.future.cancel()
    for wait in waiting:
        with pytest.raises(concurrent.futures.CancelledError):
            wait.result(LONG)


def test_a_future_returns_the_reply():
    ask = Ask()
    assert not ask.future.done()
    ask.answer("reply")
    assert ask.future.result(0) == "reply"
    assert ask.future.exception(0) is None


def test_a_future_raises_the_error():
    ask = Ask()
    ask.answer(error=OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        ask.future.result(0)


def test_cancel_withdraws_the_request():
    ask = Ask()
    assert ask.future.cancel()
    assert ask.withdrawn == 1
    assert ask.future.cancelled()
    assert ask.future.done()
    with pytest.raises(concurrent.futures.CancelledError):
        ask.future.result(0)


def test_a_second_cancel_has_no_effect():
    ask = Ask()
    ask.future.add_done_callback(lambda future: None)
    assert ask.future.cancel()
    assert ask.future.cancel()
    assert ask.withdrawn == 1
    assert len(ask.posted) == 1


def test_cancel_after_the_reply_returns_false_and_changes_nothing():
    ask = Ask()
    ask.answer("reply")
    assert not ask.future.cancel()
    assert ask.future.result(0) == "reply"


def test_cancel_between_the_decision_and_the_reply_returns_false():
    ask = Ask()
    ask.table.end(ask.request, OK)
    assert not ask.future.cancel()
    ask.future.complete("reply", None)
    assert ask.future.result(0) == "reply"


def test_a_cancel_whose_withdrawal_is_interrupted_is_still_completed():
    ask = Ask()

    def withdraw(request):
        ask.withdraw(request)
        raise KeyboardInterrupt

    future = RequestFuture(ask.request, withdraw, ask.posted.append, ask.do_later, ask.end_overdue)
    with pytest.raises(KeyboardInterrupt):
        future.cancel()
    assert future.cancelled()
    assert concurrent.futures.wait([future], 0).done == {future}


def test_a_cancelled_future_counts_as_done_for_wait_and_as_completed():
    ask = Ask()
    ask.future.cancel()
    assert concurrent.futures.wait([ask.future], 0).done == {ask.future}
    assert list(concurrent.futures.as_completed([ask.future], 0)) == [ask.future]


@pytest.mark.parametrize("end", [RequestFuture.cancel, lambda future: future.complete("reply", None)])
def test_waits_of_concurrent_futures_are_woken(end):
    asks = [Ask(), Ask()]
    futures = [ask.future for ask in asks]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(concurrent.futures.wait, futures, LONG, concurrent.futures.FIRST_COMPLETED)
        eventually(lambda: futures[1]._waiters)
        end(futures[1])
        assert waiting.result(LONG).done == {futures[1]}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("end", [Ask.answer, lambda ask: ask.future.cancel()])
def test_done_callbacks_are_called_through_post_with_the_future(when, end):
    ask = Ask()
    seen = []
    if when == "after":
        end(ask)
    ask.future.add_done_callback(seen.append)
    if when == "before":
        assert ask.posted == []
        end(ask)
    assert seen == []
    (job,) = ask.posted
    job()
    assert seen == [ask.future]


def test_done_callbacks_keep_their_order():
    ask = Ask()
    seen = []
    for n in range(5):
        ask.future.add_done_callback(lambda future, n=n: seen.append(n))
    ask.answer()
    for job in ask.posted:
        job()
    assert seen == [0, 1, 2, 3, 4]


def test_the_exception_of_a_cancelled_future_is_raised_and_it_never_runs():
    ask = Ask()
    assert not ask.future.running()
    assert ask.future.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        ask.future.exception(LONG)
    assert not ask.future.running()
