"""Latches, signals and the condition that interrupts can't break.

Most tests need no second thread: a deadline is asked how long is left when a wait begins, so it can do what another
thread would have done in that very moment.
"""

import signal
import sys
import threading
import time
import types

import pytest

from wsclient._threads import waiting
from wsclient._threads.deadline import Deadline
from wsclient._threads.waiting import InterruptSafeCondition, Latch, Notifier

from ..support import LONG
from ..support.strikes import disturb, strikes
from ..support.threads import on_thread

EVENTS = ("call", "c_return")
"""When a signal handler may run."""

NOW = Deadline(0.0)
"""A deadline that has passed."""


class Meanwhile(Deadline):
    """While somebody waits for it, something happens, once."""

    def __init__(self, happens):
        super().__init__(time.monotonic() + LONG)
        self.happens = happens

    def left(self, now):
        happens, self.happens = self.happens, lambda: None
        happens()
        return super().left(now)


class Interrupted(Exception):
    pass


class Struck(Deadline):
    """Whoever waits for it, for ever, is interrupted in a moment."""

    def __init__(self):
        super().__init__(None)

    def left(self, now):
        signal.setitimer(signal.ITIMER_REAL, 0.02)


@pytest.fixture
def struck():
    if not hasattr(signal, "setitimer"):
        pytest.skip("this system has no interval timer")

    def strike(*_):
        raise Interrupted

    before = signal.signal(signal.SIGALRM, strike)
    yield Struck()
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


# --- Latch ------------------------------------------------------------------------------------------------------------


def test_a_new_latch_is_shut():
    assert Latch().wait(NOW) is False


def test_an_open_latch_lets_through_at_once():
    latch = Latch()
    latch.open()
    assert latch.wait(NOW) is True


def test_a_latch_without_a_deadline_waits_until_it_opens():
    latch = Latch()
    threading.Thread(target=latch.open).start()
    assert latch.wait(Deadline(None)) is True


def test_a_latch_opened_during_the_wait_lets_through():
    latch = Latch()
    assert latch.wait(Meanwhile(latch.open)) is True


def test_a_latch_that_was_not_opened_in_time_may_be_asked_again():
    latch = Latch()
    assert latch.wait(NOW) is False
    latch.open()
    assert latch.wait(NOW) is True


def test_a_wait_ends_at_its_deadline():
    assert Latch().wait(Deadline(time.monotonic() + 0.01)) is False


class AtTheThirdLook(Deadline):
    """Something happens when somebody looks for the third time how long is left."""

    def __init__(self, at, happens):
        super().__init__(at)
        self.looks = iter([lambda: None, lambda: None, happens])

    def left(self, now):
        next(self.looks)()
        return super().left(now)


@pytest.mark.parametrize("at", [None, time.monotonic() + 3600], ids=["for ever", "for long"])
def test_a_wait_in_slices_goes_on_until_the_latch_opens(at, monkeypatch):
    monkeypatch.setattr(waiting, "_SLICE", 0.001)
    latch = Latch()
    assert latch.wait(AtTheThirdLook(at, latch.open)) is True


def test_a_wait_in_slices_ends_at_its_deadline(monkeypatch):
    monkeypatch.setattr(waiting, "_SLICE", 0.001)
    assert Latch().wait(Deadline(time.monotonic() + 0.01)) is False


def test_a_deadline_too_far_for_the_system_can_be_waited_for():
    latch = Latch()
    latch.open()
    assert latch.wait(Deadline(time.monotonic() + 1e12)) is True


def test_an_interrupt_ends_a_wait_and_the_latch_still_works(struck):
    latch = Latch()
    with pytest.raises(Interrupted):
        latch.wait(struck)
    latch.open()
    assert latch.wait(NOW) is True


# --- Notifier ---------------------------------------------------------------------------------------------------------


def test_an_announcement_opens_every_latch_that_watches():
    changed = Notifier()
    with changed.watch() as one, changed.watch() as other:
        changed.announce()
        assert one.wait(NOW)
        assert other.wait(NOW)


def test_an_announcement_during_the_wait_is_noticed():
    changed = Notifier()
    with changed.watch() as latch:
        assert latch.wait(Meanwhile(changed.announce))


def test_without_an_announcement_the_latch_stays_shut():
    with Notifier().watch() as latch:
        assert not latch.wait(NOW)


def test_an_announcement_before_the_watch_does_not_count():
    changed = Notifier()
    changed.announce()
    with changed.watch() as latch:
        assert not latch.wait(NOW)


def test_two_announcements_in_a_row_do_no_harm():
    changed = Notifier()
    with changed.watch() as latch:
        changed.announce()
        changed.announce()
        assert latch.wait(NOW)


def test_who_watches_no_more_is_not_told():
    changed = Notifier()
    with changed.watch() as gone:
        pass
    with changed.watch() as present:
        changed.announce()
        assert present.wait(NOW)
    assert not gone.wait(NOW)


def test_a_watch_that_ends_in_an_error_is_over_too():
    changed = Notifier()
    with pytest.raises(ZeroDivisionError), changed.watch() as latch:
        raise ZeroDivisionError
    changed.announce()
    assert not latch.wait(NOW)


def test_the_end_of_one_watch_leaves_the_others_alone():
    changed = Notifier()
    with changed.watch() as one:
        with changed.watch():
            pass
        changed.announce()
        assert one.wait(NOW)


def test_an_interrupted_watch_leaves_the_signal_in_order(struck):
    changed = Notifier()
    with pytest.raises(Interrupted), changed.watch() as latch:
        latch.wait(struck)
    with changed.watch() as latch:
        assert latch.wait(Meanwhile(changed.announce))


def test_an_interrupt_at_any_moment_of_an_announcement_opens_all_latches_or_leaves_all_to_the_next():
    moment, struck, opened = 0, True, set()
    while struck:
        changed = Notifier()
        with changed.watch() as one, changed.watch() as other:
            struck = strikes(moment, changed.announce)
            watching = set(changed.latches)
            assert watching in (set(), {one, other})
            if not watching:
                assert one.wait(NOW)
                assert other.wait(NOW)
            opened.add(not watching)
            changed.announce()
        moment += 1
    assert opened == {True, False}


def test_a_signal_handler_may_announce_at_any_moment_of_a_watch_and_of_an_announcement():
    for act in (lambda changed: changed.watch().__enter__(), lambda changed: changed.announce()):
        moment, more = 1, True
        while more:
            changed = Notifier()
            with changed.watch() as latch:
                more = disturb(lambda act=act, changed=changed: act(changed), moment, changed.announce, EVENTS)
                changed.announce()
                assert latch.wait(NOW)
            moment += 1
        assert moment > 2


# --- InterruptSafeCondition -------------------------------------------------------------------------------------------


def test_inside_the_block_the_lock_is_taken_and_after_it_free():
    condition = InterruptSafeCondition()
    with condition:
        assert on_thread(lambda: condition.acquire(blocking=False)) is False
    assert on_thread(lambda: condition.acquire(blocking=False) and (condition.release() or True)) is True


def test_a_block_that_raises_frees_the_lock():
    condition = InterruptSafeCondition()
    with pytest.raises(ZeroDivisionError), condition:
        raise ZeroDivisionError
    assert on_thread(lambda: condition.acquire(blocking=False) and (condition.release() or True)) is True


def test_one_thread_may_enter_the_block_twice():
    condition = InterruptSafeCondition()
    with condition, condition:
        pass
    assert on_thread(lambda: condition.acquire(blocking=False) and (condition.release() or True)) is True


@pytest.mark.parametrize("method", ["__enter__", "__exit__"] if sys.version_info < (3, 14) else ["__exit__"])
def test_the_block_is_entered_and_left_in_c(method):
    condition = InterruptSafeCondition()
    assert isinstance(getattr(condition, method), types.BuiltinMethodType)
    found = getattr(type(condition), method).__get__(condition)  # as the with statement does
    assert isinstance(found, types.BuiltinMethodType)


def test_a_notification_ends_a_wait():
    condition = InterruptSafeCondition()
    ready = []

    def notify():
        with condition:
            ready.append(True)
            condition.notify_all()

    with condition:
        threading.Thread(target=notify).start()
        assert condition.wait_for(lambda: ready, LONG)


def test_it_is_a_condition_for_those_who_check():
    assert isinstance(InterruptSafeCondition(), threading.Condition)


def test_waiting_without_the_lock_is_an_error():
    with pytest.raises(RuntimeError):
        InterruptSafeCondition().wait(0)
