"""A background thread: started at most once, or sealed; any thread can wait for it."""

import threading
import time

import pytest

from tests.support import LONG, SHORT, eventually
from wsclient._threads.thread import BackgroundThread, call_uninterrupted
from wsclient._threads.waiting import Deadline

from ..support.threads import on_thread

PASSED = Deadline(0.0)


def soon():
    return Deadline.after(LONG, time.monotonic())


@pytest.fixture
def work():
    """Work that reports its start and then blocks until it is released."""
    return BlockingWork()


class BlockingWork:
    def __init__(self):
        self.runs = []
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def __call__(self):
        self.runs.append(threading.current_thread())
        self.begun.set()
        assert self.go_on.wait(LONG)


def test_a_worker_runs_its_work_in_a_daemon_thread_with_its_name(work):
    worker = BackgroundThread("feed-io", work)
    worker.start("me")
    assert work.begun.wait(LONG)
    (thread,) = work.runs
    assert (thread.name, thread.daemon) == ("feed-io", True)
    assert thread is not threading.current_thread()
    work.go_on.set()
    assert worker.join(soon())
    assert not thread.is_alive()


def test_only_the_first_start_counts(work):
    worker = BackgroundThread("w", work)
    starters = [object() for _ in range(8)]
    threads = [threading.Thread(target=worker.start, args=(starter,)) for starter in starters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    work.go_on.set()
    assert worker.join(soon())
    assert len(work.runs) == 1
    assert worker.starter in starters


def test_a_sealed_worker_never_starts(work):
    worker = BackgroundThread("w", work)
    assert worker.seal()
    assert worker.seal()
    worker.start("me")
    assert worker.starter is None
    assert worker.join(soon())
    assert work.runs == []


def test_a_started_worker_cannot_be_sealed(work):
    worker = BackgroundThread("w", work)
    worker.start("me")
    assert not worker.seal()
    work.go_on.set()
    assert worker.join(soon())


def test_a_join_ends_at_its_deadline_and_many_threads_can_join(work):
    worker = BackgroundThread("w", work)
    worker.start("me")
    assert not worker.join(PASSED)
    results = []
    threads = [threading.Thread(target=lambda: results.append(worker.join(soon()))) for _ in range(5)]
    for thread in threads:
        thread.start()
    threads[0].join(SHORT)
    assert results == []
    work.go_on.set()
    for thread in threads:
        thread.join(LONG)
    assert results == [True] * 5


def test_a_join_returns_false_if_a_thread_does_not_end_after_its_work(monkeypatch):
    monkeypatch.setattr("wsclient._threads.thread._EXIT_TIMEOUT", SHORT)
    local, go_on = threading.local(), threading.Event()

    class Late:
        def __del__(self):
            go_on.wait(LONG)

    def work():
        local.value = Late()  # freed when the thread ends

    worker = BackgroundThread("w", work)
    worker.start("me")
    assert not worker.join(soon())
    go_on.set()
    assert worker.join(soon())


def test_a_worker_recognises_its_own_thread(work):
    here = []
    worker = BackgroundThread("w", lambda: here.append(worker.here()))
    worker.start("me")
    assert worker.join(soon())
    assert here == [True]
    assert not worker.here()


def test_a_join_of_a_worker_whose_work_raised_does_not_wait(monkeypatch):
    seen = []
    monkeypatch.setattr(threading, "excepthook", seen.append)

    def fall():
        raise ValueError("fell")

    worker = BackgroundThread("w", fall)
    worker.start("me")
    assert worker.join(soon())
    assert [hook.exc_type for hook in seen] == [ValueError]


def test_a_thread_that_cannot_start_is_an_error_and_no_join_waits(monkeypatch, work):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    worker = BackgroundThread("w", work)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start"):
        worker.start("me")
    assert worker.join(soon())
    monkeypatch.undo()
    worker.start("me")
    assert work.begun.wait(LONG), "the refusal was not for good"
    work.go_on.set()
    assert worker.join(soon())


def test_a_join_that_waits_for_a_thread_that_cannot_start_ends(monkeypatch, work):
    joined = []
    worker = BackgroundThread("w", work)
    joining = threading.Thread(target=lambda: joined.append(worker.join(soon())))

    def refuse(thread):
        monkeypatch.undo()
        joining.start()
        eventually(lambda: worker._changed.latches)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start"):
        worker.start("me")
    joining.join(LONG)
    assert joined == [True]


def test_a_worker_can_run_on_the_callers_thread_instead(work):
    worker = BackgroundThread("w", work)
    work.go_on.set()
    worker.run_here()
    worker.run_here()
    worker.start("me")
    assert work.runs == [threading.current_thread()]
    assert worker.join(PASSED)


def test_a_started_worker_does_not_run_on_the_callers_thread_too(work):
    worker = BackgroundThread("w", work)
    work.go_on.set()
    worker.start("me")
    worker.run_here()
    assert worker.join(soon())
    assert len(work.runs) == 1


# --- call_uninterrupted ----------------------------------------------------------------------------------------------


def test_in_the_main_thread_a_shielded_call_runs_in_another_thread_and_is_waited_for():
    seen = []
    call_uninterrupted(lambda: seen.append(threading.get_ident()))
    assert len(seen) == 1
    assert seen[0] != threading.get_ident()


def test_in_another_thread_a_shielded_call_runs_in_that_thread():
    seen = []
    thread = threading.Thread(target=lambda: call_uninterrupted(lambda: seen.append(threading.get_ident())))
    thread.start()
    thread.join(LONG)
    assert seen == [thread.ident]


def test_an_exception_of_a_shielded_call_is_raised():
    def fall():
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        call_uninterrupted(fall)


def test_a_worker_whose_thread_cannot_be_started_raises_and_does_not_block_join(work, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    worker = BackgroundThread("w", work)

    def start():
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                worker.start("me")

    on_thread(start)
    assert worker.join(soon())
    assert worker.seal()
    assert work.runs == []
