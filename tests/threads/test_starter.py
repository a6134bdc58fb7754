"""Threads that the operating system refuses are started later, or their work is done at the end."""

import math
import time

from wsclient._threads.starter import RETRY, ThreadStarter


class Work:
    """Work that needs a thread; ``allowed`` says whether there is one."""

    def __init__(self, *, is_reported=True):
        self.is_reported = is_reported
        self.allowed = False
        self.attempts = 0
        self.ran = []

    def start(self, starter):
        self.attempts += 1
        if not self.allowed:
            raise RuntimeError("can't start new thread")
        self.ran.append("there")

    def run_here(self):
        self.ran.append("here")


def make():
    woken, failures = [], []
    starter = ThreadStarter(lambda: woken.append(1))
    starter.on_failure = failures.append
    return starter, woken, failures


def test_what_can_be_started_is_started_at_once():
    starter, woken, failures = make()
    work = Work()
    work.allowed = True
    starter.start(work)
    assert work.ran == ["there"]
    assert (starter.retry_at, woken, failures) == (math.inf, [], [])


def test_a_refusal_is_reported_once_and_tried_again_at_most_once_a_second_until_it_succeeds():
    starter, woken, failures = make()
    work = Work()
    began = time.monotonic()
    starter.start(work)
    for _ in range(1000):
        starter.start(work)  # the next jobs
    assert work.attempts <= 1 + (time.monotonic() - began) / RETRY
    assert began < starter.retry_at <= time.monotonic() + RETRY
    assert woken, "the I/O thread must not sleep longer than that"
    starter.retry()
    assert [str(failure) for failure in failures] == ["can't start new thread"]
    work.allowed = True
    starter.retry()
    assert work.ran == ["there"]
    assert starter.retry_at == math.inf
    work.allowed = False
    starter.start(work)
    assert len(failures) == 2, "a new shortage is reported again"


def test_a_refusal_is_not_reported_again_until_all_threads_are_started():
    starter, _, failures = make()
    refused, started = Work(), Work()
    started.allowed = True
    starter.start(refused)
    starter.start(started)
    starter.retry()
    assert len(failures) == 1
    refused.allowed = True
    starter.retry()
    refused.allowed = False
    starter.start(refused)
    assert len(failures) == 2


def test_the_next_job_tries_again_after_a_second(monkeypatch):
    starter, _, _ = make()
    work = Work()
    starter.start(work)
    work.allowed = True
    starter.retry_at = time.monotonic() - 1  # the second has passed
    starter.start(work)
    assert work.ran == ["there"]


def test_start_later_starts_nothing_itself_and_makes_the_io_thread_do_it():
    starter, woken, _ = make()
    work = Work()
    work.allowed = True
    starter.start_later(work)
    starter.start_later(work)
    assert (work.attempts, woken, starter.retry_at) == (0, [1], -math.inf)
    starter.retry()
    assert work.ran == ["there"]


def test_start_later_does_not_shorten_the_wait_for_a_thread_that_was_refused():
    starter, _, _ = make()
    work = Work()
    starter.start(work)
    retry_at = starter.retry_at
    starter.start_later(work)
    assert starter.retry_at == retry_at


def test_a_failure_is_not_reported_if_is_reported_is_false():
    starter, _, failures = make()
    work = Work(is_reported=False)
    starter.start(work)
    assert failures == []
    assert starter.retry_at < math.inf


def test_at_the_end_the_rest_is_started_or_done_here():
    starter, _, _ = make()
    first, second = Work(), Work()
    starter.start(first)
    starter.start(second)
    second.allowed = True
    starter.finish()
    starter.finish()
    assert (first.ran, second.ran) == (["here"], ["there"])
