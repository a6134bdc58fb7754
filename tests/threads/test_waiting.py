"""Latches, notifiers and the condition that interrupts cannot break.

Most tests need no second thread: a wait reads the remaining time of its deadline when it begins, so the deadline can
act as another thread at that moment.
"""

import signal
import sys
import threading
import time
import types

import pytest

from wsclient._threads import waiting
from wsclient._threads.waiting import Deadline, InterruptSafeCondition, Latch, Notifier

from ..support import LONG
from ..support.strikes import disturb, strikes
from ..support.threads import on_thread

EVENTS = ("call", "c_return")
"""The events at which a signal handler may run."""

NOW = Deadline(0.0)
"""A deadline that has passed."""


class RunsDuringWait(Deadline):
    """Runs a function once when it is waited for."""

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
    """Interrupts an endless wait for it after a moment."""

    def __init__(self):
        super().__init__(None)

    def left(self, now):
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)  # again: one right before the wait would not end it


@pytest.fixture
def struck():
    if not hasattr(signal, "setitimer"):
        pytest.skip("this system has no interval timer")

    def strike(*_):
        # Not soon again: on a busy machine that would be after the wait. But Python discards an exception that is
        # raised in a finalizer, and then the test would hang.
        signal.setitimer(signal.ITIMER_REAL, LONG)
        raise Interrupted

    before = signal.signal(signal.SIGALRM, strike)
    yield Struck()
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


# --- Latch ------------------------------------------------------------------------------------------------------------


def test_a_new_latch_is_closed():
    assert Latch().wait(NOW) is False


def test_an_open_latch_does_not_wait():
    latch = Latch()
    latch.open()
    assert latch.wait(NOW) is True


def test_a_latch_without_a_deadline_waits_until_it_opens():
    latch = Latch()
    threading.Thread(target=latch.open).start()
    assert latch.wait(Deadline(None)) is True


def test_a_latch_opened_during_the_wait_ends_it():
    latch = Latch()
    assert latch.wait(RunsDuringWait(latch.open)) is True


def test_a_latch_can_be_waited_for_again_after_a_timeout():
    latch = Latch()
    assert latch.wait(NOW) is False
    latch.open()
    assert latch.wait(NOW) is True


def test_a_wait_ends_at_its_deadline():
    assert Latch().wait(Deadline(time.monotonic() + 0.01)) is False


class RunsAtThirdCheck(Deadline):
    """Runs a function when the remaining time is read for the third time."""

    def __init__(self, at, happens):
        super().__init__(at)
        self.looks = iter([lambda: None, lambda: None, happens])

    def left(self, now):
        next(self.looks)()
        return super().left(now)


@pytest.mark.parametrize("at", [None, time.monotonic() + 3600], ids=["no deadline", "a long deadline"])
def test_a_wait_in_slices_continues_until_the_latch_opens(at, monkeypatch):
    monkeypatch.setattr(waiting, "_SLICE", 0.001)
    latch = Latch()
    assert latch.wait(RunsAtThirdCheck(at, latch.open)) is True


def test_a_wait_in_slices_ends_at_its_deadline(monkeypatch):
    monkeypatch.setattr(waiting, "_SLICE", 0.001)
    assert Latch().wait(Deadline(time.monotonic() + 0.01)) is False


def test_a_deadline_too_large_for_the_system_can_be_waited_for():
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


def test_announce_opens_every_latch_that_watches():
    changed = Notifier()
    with changed.watch() as one, changed.watch() as other:
        changed.announce()
        assert one.wait(NOW)
        assert other.wait(NOW)


def test_announce_during_the_wait_ends_it():
    changed = Notifier()
    with changed.watch() as latch:
        assert latch.wait(RunsDuringWait(changed.announce))


def test_without_announce_the_latch_stays_closed():
    with Notifier().watch() as latch:
        assert not latch.wait(NOW)


def test_an_announce_before_the_watch_does_not_count():
    changed = Notifier()
    changed.announce()
    with changed.watch() as latch:
        assert not latch.wait(NOW)


def test_two_announces_in_a_row_have_the_effect_of_one():
    changed = Notifier()
    with changed.watch() as latch:
        changed.announce()
        changed.announce()
        assert latch.wait(NOW)


def test_a_latch_is_not_notified_after_its_watch():
    changed = Notifier()
    with changed.watch() as gone:
        pass
    with changed.watch() as present:
        changed.announce()
        assert present.wait(NOW)
    assert not gone.wait(NOW)


def test_a_watch_that_raises_is_removed():
    changed = Notifier()
    with pytest.raises(ZeroDivisionError), changed.watch() as latch:
        raise ZeroDivisionError
    changed.announce()
    assert not latch.wait(NOW)


def test_the_end_of_one_watch_does_not_affect_the_others():
    changed = Notifier()
    with changed.watch() as one:
        with changed.watch():
            pass
        changed.announce()
        assert one.wait(NOW)


def test_an_interrupted_watch_leaves_the_notifier_consistent(struck):
    changed = Notifier()
    with pytest.raises(Interrupted), changed.watch() as latch:
        latch.wait(struck)
    with changed.watch() as latch:
        assert latch.wait(RunsDuringWait(changed.announce))


def test_an_interrupt_at_any_moment_of_announce_opens_all_latches_or_leaves_all_to_the_next():
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


def test_a_signal_handler_can_announce_at_any_moment_of_a_watch_and_of_announce():
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


def test_inside_the_block_the_lock_is_held_and_after_it_released():
    condition = InterruptSafeCondition()
    with condition:
        assert on_thread(lambda: condition.acquire(blocking=False)) is False
    assert on_thread(lambda: condition.acquire(blocking=False) and (condition.release() or True)) is True


def test_a_block_that_raises_releases_the_lock():
    condition = InterruptSafeCondition()
    with pytest.raises(ZeroDivisionError), condition:
        raise ZeroDivisionError
    assert on_thread(lambda: condition.acquire(blocking=False) and (condition.release() or True)) is True


def test_one_thread_can_enter_the_block_twice():
    condition = InterruptSafeCondition()
    with condition, condition:
        pass
    assert on_thread(lambda: condition.acquire(blocking=False) and (condition.release() or True)) is True


@pytest.mark.parametrize("method", ["__enter__", "__exit__"] if sys.version_info < (3, 14) else ["__exit__"])
def test_the_block_is_entered_and_left_in_c_code(method):
    condition = InterruptSafeCondition()
    assert isinstance(getattr(condition, method), types.BuiltinMethodType)
    found = getattr(type(condition), method).__get__(condition)  # like the with statement
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


def test_it_is_an_instance_of_condition():
    assert isinstance(InterruptSafeCondition(), threading.Condition)


def test_waiting_without_the_lock_raises():
    with pytest.raises(RuntimeError):
        InterruptSafeCondition().wait(0)
