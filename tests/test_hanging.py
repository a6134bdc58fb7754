"""A test that hangs fails with the stacks of all threads, and changes nothing for the next test."""

import signal
import threading

import pytest

from .support import LONG
from .support.hanging import fails_if_it_hangs

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no SIGALRM")


def timer():
    seconds, _ = signal.getitimer(signal.ITIMER_REAL)
    return seconds > 0, signal.getsignal(signal.SIGALRM)


def test_a_test_that_hangs_fails_with_the_stacks_of_all_threads():
    before = timer()
    over = threading.Event()
    other = threading.Thread(target=over.wait, name="the-other-thread")
    other.start()
    with pytest.raises(pytest.fail.Exception) as caught, fails_if_it_hangs(0.05):
        over.wait(LONG)
    over.set()
    other.join()
    assert "hangs: it has not ended after 0.05 s" in caught.value.msg
    assert "\nthe-other-thread:\n" in caught.value.msg
    assert "over.wait(LONG)" in caught.value.msg
    assert timer() == before


def test_each_test_has_this_limit_and_a_block_that_ends_in_time_keeps_it():
    before = timer()
    assert before[0]
    with fails_if_it_hangs(LONG):
        pass
    assert timer() == before
