"""Locks and interrupts: at every moment of a block, in the main thread and in others."""

import os
import signal
import sys
import threading
import time

import pytest

from wsclient._threads.locks import InterruptSafeLock, interrupt_safe, make_lock
from wsclient._threads.waiting import InterruptSafeCondition

from ..support import LONG, SHORT
from ..support.strikes import strikes
from ..support.threads import on_thread

MADE = {
    "make_lock": make_lock,
    "of a Lock": lambda: InterruptSafeLock(threading.Lock()),
    "of an RLock": lambda: InterruptSafeLock(threading.RLock()),
    "interrupt_safe RLock": lambda: interrupt_safe(threading.RLock()),
    "condition": InterruptSafeCondition,
}


@pytest.fixture(params=MADE)
def lock(request):
    return MADE[request.param]()


class Struck(Exception):
    pass


@pytest.fixture
def alarm():
    """``alarm(seconds)`` raises ``Struck`` in the main thread after this time, and again after ``LONG``, since Python
    discards an exception that is raised in a finalizer; the test would hang.
    """
    if not hasattr(signal, "setitimer"):
        pytest.skip("this system has no interval timer")

    def strike(*_):
        raise Struck

    before = signal.signal(signal.SIGALRM, strike)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds, LONG)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def is_free(lock):
    """Whether another thread could acquire it."""
    return on_thread(lambda: lock.acquire(blocking=False) and (lock.release() or True)) is True


def within(lock):
    with lock:
        return len("x")


def test_the_lock_is_held_inside_the_block_and_released_after_it(lock):
    with lock:
        assert not is_free(lock)
    assert is_free(lock)


def test_a_block_that_raises_releases_the_lock(lock):
    with pytest.raises(ZeroDivisionError), lock:
        raise ZeroDivisionError
    assert is_free(lock)


def test_other_threads_wait_for_the_lock(lock):
    order = []

    def enter():
        with lock:
            order.append("the other")

    with lock:
        other = threading.Thread(target=enter)
        other.start()
        other.join(SHORT)
        order.append("the first")
    other.join(LONG)
    assert order == ["the first", "the other"]


def test_an_interrupt_at_any_moment_of_the_block_leaves_the_lock_released(lock):
    moment = 0
    while strikes(moment, lambda: within(lock)):
        assert is_free(lock), f"it is still held after an interrupt at moment {moment}"
        moment += 1
    assert moment >= 2  # the function's own, and those of its calls
    assert is_free(lock)


@pytest.mark.slow
def test_real_interrupts_leave_the_lock_released(lock, alarm):
    struck = 0
    until = time.monotonic() + 0.3
    while not struck or time.monotonic() < until:
        try:
            alarm(0.0002)
            while True:
                with lock:
                    pass
        except Struck:
            struck += 1
            assert is_free(lock), f"it is still held after {struck} interrupts"


def test_an_interrupt_of_the_wait_acquires_nothing(lock, alarm):
    held, done = threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            done.wait(LONG)

    def enter_in_time():
        alarm(0.02)
        within(lock)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert held.wait(LONG)
        with pytest.raises(Struck):
            enter_in_time()
    finally:
        done.set()
        holder.join(LONG)
    assert is_free(lock)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
def test_the_thread_that_forks_is_the_main_thread_of_the_child():
    from wsclient._threads import locks

    def fork():
        if not (child := os.fork()):
            os._exit(0 if locks.main_thread.ident == threading.get_ident() else 1)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert on_thread(fork) == 0


def test_on_an_interpreter_that_is_safe_it_is_the_standard_lock():
    assert isinstance(make_lock(), type(threading.Lock()) if sys.version_info < (3, 14) else InterruptSafeLock)
