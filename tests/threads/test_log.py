"""The log of a client: it raises nothing, the I/O thread never waits for it, and no record is lost."""

import gc
import logging
import math
import threading
import time
import weakref

import pytest

from wsclient._threads.guard import Guard
from wsclient._threads.log import MAX_RECORDS, MAX_REPEATS, REPEAT_SECONDS, ClientLog
from wsclient._threads.sections import this_thread
from wsclient._threads.starter import ThreadStarter
from wsclient._threads.state import StateCell
from wsclient._threads.waiting import Deadline

from ..support import LONG, eventually
from ..support.logs import make_log
from ..support.threads import on_thread

LOGGER = logging.getLogger("wsclient")


def soon():
    return Deadline(time.monotonic() + LONG)


def refuse(thread):
    raise RuntimeError("can't start new thread")


class Handler(logging.Handler):
    """Keeps the records and the threads that handled them; it blocks or raises on demand."""

    def __init__(self):
        super().__init__()
        self.records, self.handled_by = [], []
        self.entered, self.go = threading.Event(), threading.Event()
        self.go.set()
        self.error = None

    def handle(self, record):
        self.entered.set()
        assert self.go.wait(LONG)
        if self.error is not None:
            raise self.error
        self.handled_by.append(threading.current_thread().name)
        self.records.append(record)

    @property
    def texts(self):
        return [record.getMessage() for record in self.records]


@pytest.fixture
def handler():
    handler = Handler()
    LOGGER.addHandler(handler)
    yield handler
    LOGGER.removeHandler(handler)
    handler.go.set()


class ReportingLog(ClientLog):
    """A log with a list of what it reported; ``ClientLog`` has slots."""


@pytest.fixture
def log():
    """A log whose I/O thread is the thread of the test, once ``on_io_thread`` was called."""
    log = ReportingLog(Guard("feed", StateCell()), ThreadStarter(bool))
    log.reported = []
    log.report = lambda error: log.reported.append(error) or True
    yield log
    log.finish(soon())


def on_io_thread(log):
    log._guard.io_ident = threading.get_ident()


@pytest.fixture(autouse=True)
def level():
    LOGGER.setLevel(logging.INFO)
    yield
    LOGGER.setLevel(logging.NOTSET)


def test_a_record_has_the_name_of_the_client_the_place_of_the_call_and_the_traceback(log, handler):
    error = OSError("no")
    log.write(logging.WARNING, "%d of %s failed", 3, "four", error=error)
    (record,) = handler.records
    assert record.getMessage() == "feed: 3 of four failed"
    assert (record.name, record.levelname, record.pathname) == ("wsclient", "WARNING", __file__)
    assert record.funcName == "test_a_record_has_the_name_of_the_client_the_place_of_the_call_and_the_traceback"
    assert record.exc_info == (OSError, error, None)


def test_off_the_io_thread_the_caller_handles_the_record(log, handler):
    log.write(logging.INFO, "here")
    assert handler.handled_by == [threading.current_thread().name]


def test_on_the_io_thread_a_helper_thread_handles_the_records_in_order_and_ends(log, handler):
    on_io_thread(log)
    for number in range(100):
        log.write(logging.INFO, "number %d", number)
    log.flush(soon())
    assert handler.texts == [f"feed: number {number}" for number in range(100)]
    assert set(handler.handled_by) == {"feed-log"}
    assert {record.threadName for record in handler.records} == {threading.current_thread().name}
    eventually(lambda: "feed-log" not in [thread.name for thread in threading.enumerate()])


def test_the_io_thread_does_not_wait_for_a_handler_and_a_flush_ends_at_its_deadline(log, handler):
    on_io_thread(log)
    handler.go.clear()
    log.write(logging.INFO, "first")
    assert handler.entered.wait(LONG)
    log.write(logging.INFO, "second")
    log.flush(Deadline(time.monotonic()))
    assert handler.records == []
    handler.go.set()
    log.flush(soon())
    assert handler.texts == ["feed: first", "feed: second"]


def test_the_io_thread_does_not_wait_for_the_lock_of_the_logging_module(log, handler):
    """``logging.config.dictConfig`` holds it while it makes handlers, which may open a client."""
    held, done = threading.Event(), threading.Event()

    def configure():
        with logging._lock:
            held.set()
            assert done.wait(LONG)

    thread = threading.Thread(target=configure)
    thread.start()
    assert held.wait(LONG)
    on_io_thread(log)
    LOGGER._cache.clear()  # as dictConfig does
    try:
        log.write(logging.INFO, "during the configuration")
        assert handler.records == []
    finally:
        done.set()
        thread.join(LONG)
    log.flush(soon())
    assert handler.texts == ["feed: during the configuration"]


def test_a_level_that_is_not_logged_starts_no_thread(log, handler, monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", refuse)
    on_io_thread(log)
    log.write(logging.DEBUG, "not logged")
    log.queue(logging.DEBUG, "not logged either")
    assert log._starter.retry_at == math.inf
    log.finish(soon())
    assert handler.records == []


def test_the_level_is_checked_again_by_the_helper_thread(log, handler):
    on_io_thread(log)
    logging.disable(logging.INFO)
    try:
        log.write(logging.INFO, "disabled for the whole process")
        log.write(logging.WARNING, "a warning")
        log.flush(soon())
    finally:
        logging.disable(logging.NOTSET)
    assert handler.texts == ["feed: a warning"]


@pytest.mark.parametrize("io", [False, True])
@pytest.mark.parametrize("error", [LookupError("the filter's own"), SystemExit(1)])
def test_an_exception_of_logging_is_reported_once_until_logging_works_again(log, handler, error, io):
    def write(text):
        thread = threading.Thread(target=log.write, args=(logging.INFO, text))
        if io:
            thread.run()
            log.flush(soon())
        else:  # on the main thread SystemExit is the program's
            thread.start()
            thread.join(LONG)

    if io:
        on_io_thread(log)
    handler.error = error
    write("lost")
    write("lost")
    assert log.reported == [error]
    handler.error = None
    write("kept")
    handler.error = error
    write("lost")
    assert log.reported == [error, error]
    assert handler.texts == ["feed: kept"]


def test_an_interrupt_in_a_handler_is_raised_on_the_main_thread(log, handler):
    handler.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        log.write(logging.INFO, "interrupted")
    assert log.reported == []


def test_a_record_factory_that_raises_is_reported(log, handler):
    def factory(*args, **kwargs):
        raise LookupError("the factory's own")

    on_io_thread(log)
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(factory)
    try:
        log.write(logging.INFO, "lost")
    finally:
        logging.setLogRecordFactory(before)
    assert [str(error) for error in log.reported] == ["the factory's own"]


@pytest.mark.parametrize("fails_too", [False, True])
def test_without_a_hook_for_errors_the_exception_goes_to_the_excepthook(log, handler, monkeypatch, fails_too):
    seen = []

    def excepthook(args):
        seen.append(args.exc_value)
        if fails_too:
            raise ValueError("the excepthook's own")

    monkeypatch.setattr(threading, "excepthook", excepthook)
    log.report = lambda error: False
    handler.error = LookupError()
    log.write(logging.INFO, "lost")
    assert seen == [handler.error]


def write_three_too_many(log, level, monkeypatch):
    """Write three records more than are kept while no thread can be started, then let one handle them."""
    on_io_thread(log)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for number in range(MAX_RECORDS + 3):
            log.write(level, "number %d", number)
    log._starter.retry()
    log.flush(soon())


def test_records_are_kept_while_no_thread_can_be_started_and_the_oldest_are_dropped_and_counted(
    log, handler, monkeypatch
):
    write_three_too_many(log, logging.INFO, monkeypatch)
    loss, *kept = handler.texts
    assert loss.startswith("feed: 3 log records were dropped")
    assert kept == [f"feed: number {number}" for number in range(3, MAX_RECORDS + 3)]


def test_at_the_end_the_caller_handles_the_records_if_no_thread_can_be_started(log, handler, monkeypatch):
    on_io_thread(log)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        patch.setattr("_thread.start_new_thread", lambda *args: refuse(None))
        log.write(logging.INFO, "kept")
        log.finish(soon())
    assert handler.texts == ["feed: kept"]
    assert log.reported == [], "nothing is lost, so there is nothing to report"


def test_at_the_end_the_caller_does_not_handle_records_that_the_helper_thread_handles(log, handler):
    on_io_thread(log)
    handler.go.clear()
    log.write(logging.INFO, "first")
    assert handler.entered.wait(LONG)
    log.write(logging.INFO, "second")
    log.run_here()  # it would wait for the handler
    handler.go.set()
    log.flush(soon())
    assert handler.texts == ["feed: first", "feed: second"]
    assert set(handler.handled_by) == {"feed-log"}


def test_the_number_of_dropped_records_is_not_logged_if_warnings_are_not(log, handler, monkeypatch):
    LOGGER.setLevel(logging.ERROR)
    write_three_too_many(log, logging.ERROR, monkeypatch)
    assert handler.texts == [f"feed: number {number}" for number in range(3, MAX_RECORDS + 3)]


def test_queue_only_asks_for_the_helper_thread(log, handler):
    log.queue(logging.INFO, "later")
    assert handler.records == []
    assert log._starter.retry_at < time.monotonic()
    log._starter.retry()
    log.flush(soon())
    assert handler.handled_by == ["feed-log"]


@pytest.mark.parametrize("io", [False, True])
def test_a_thread_that_holds_a_lock_only_asks_for_the_helper_thread(log, handler, io):
    if io:
        on_io_thread(log)
    with this_thread.section:
        log.write(logging.INFO, "later")
    assert handler.records == []
    assert log._starter.retry_at < time.monotonic()
    log._starter.retry()
    log.flush(soon())
    assert handler.handled_by == ["feed-log"]


def test_a_record_added_just_before_the_helper_thread_ends_is_handled_without_a_further_record(handler):
    class LateLog(ClientLog):
        """A log to which another thread adds a record when the helper thread has found no more."""

        def _pop(self):
            record = super()._pop()
            if record is None and late:
                self.queue(logging.INFO, late.pop())
                self._starter.retry()
            return record

    late = ["late"]
    log = LateLog(Guard("feed", StateCell()), ThreadStarter(bool))
    on_io_thread(log)
    log.write(logging.INFO, "first")
    eventually(lambda: handler.texts == ["feed: first", "feed: late"])


def test_records_of_many_threads_are_handled_once_each(log, handler):
    def write(first):
        for number in range(first, first + 100):
            log.queue(logging.INFO, "%d", number)
            log._starter.retry()

    writers = [threading.Thread(target=write, args=(first,)) for first in range(0, 800, 100)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(LONG)
    log.flush(soon())
    eventually(lambda: len(handler.records) == 800)
    assert sorted(int(text.removeprefix("feed: ")) for text in handler.texts) == list(range(800))


def test_handled_records_are_not_kept(log, handler):
    class Thing:
        pass

    on_io_thread(log)
    handler.error = LookupError()  # so that the handler keeps none either
    things = []
    for _ in range(3):
        thing = Thing()
        log.write(logging.INFO, "%r", thing)
        things.append(weakref.ref(thing))
        del thing
    log.flush(soon())
    log.reported.clear()
    handler.error = None
    gc.collect()
    assert [thing() for thing in things] == [None] * 3


# --- repeated records ------------------------------------------------------------------------------------------------


def test_repeated_warnings_are_counted_and_summed_up_at_the_end(handler):
    log, _ = make_log()
    for n in range(MAX_REPEATS + 50):
        log.write(logging.WARNING, "%s", ValueError(f"the same beginning of the message, then {n}"))
        if n < 5:
            log.write(logging.WARNING, "another text")
            log.write(logging.ERROR, "%s raised %s.", "on_message", "ValueError", error=ValueError(n))
            log.write(logging.ERROR, "%s raised %s.", "on_message", "KeyError", error=KeyError(n))
    assert len(handler.records) == MAX_REPEATS + 15
    log.finish(soon())
    assert handler.texts[MAX_REPEATS + 15 :] == [
        "tester: 50 more records like this one were not logged: the same beginning of the message, then 0"
    ]
    assert handler.records[-1].levelno == logging.WARNING
    log.finish(soon())
    assert len(handler.records) == MAX_REPEATS + 16


def test_when_the_time_is_over_records_are_summed_up_and_logged_again(handler, monkeypatch):
    monkeypatch.setattr("wsclient._threads.log.REPEAT_SECONDS", 0.0)
    log, _ = make_log()
    for _ in range(3 * MAX_REPEATS):
        log.write(logging.WARNING, "so soon is the time over")
    assert len(handler.records) == 3 * MAX_REPEATS
    monkeypatch.undo()
    for _ in range(MAX_REPEATS + 7):
        log.write(logging.WARNING, "once more")
    log.sum_up(time.monotonic())
    assert len(handler.records) == 4 * MAX_REPEATS
    log.sum_up(time.monotonic() + REPEAT_SECONDS)
    log.flush(soon())
    assert handler.texts[-1] == "tester: 7 more records like this one were not logged: once more"


def test_each_text_is_summed_up_once_if_two_threads_do_it_at_the_same_time(handler):
    log, _ = make_log()
    for text in ("one", "two", "three"):
        for _ in range(MAX_REPEATS + 1):
            log.write(logging.WARNING, text)
    before, sums = logging.getLogRecordFactory(), len(handler.records)

    def factory(*args, **options):
        """The other thread works while this one has summed up the first text."""
        logging.setLogRecordFactory(before)
        on_thread(log.sum_up)
        return before(*args, **options)

    logging.setLogRecordFactory(factory)
    log.finish(soon())
    assert sorted(text.rpartition(": ")[2] for text in handler.texts[sums:]) == ["one", "three", "two"]


def test_repeated_records_are_not_summed_up_if_their_level_is_not_logged_any_more(handler):
    log, _ = make_log()
    for _ in range(MAX_REPEATS + 1):
        log.write(logging.WARNING, "often")
    LOGGER.setLevel(logging.ERROR)
    log.finish(soon())
    assert len(handler.records) == MAX_REPEATS


def test_a_record_whose_argument_has_no_text_is_passed_to_the_handlers(handler):
    """It is not counted. The handler that formats it raises, and so the user sees the cause."""

    class Nameless:
        def __str__(self):
            raise LookupError("its own")

    log, _ = make_log()
    log.write(logging.WARNING, "%s is new", Nameless())
    (record,) = handler.records
    with pytest.raises(LookupError, match="its own"):
        record.getMessage()


def test_below_warnings_nothing_is_counted(handler):
    LOGGER.setLevel(logging.DEBUG)
    try:
        log, _ = make_log()
        for _ in range(MAX_REPEATS + 50):
            log.write(logging.INFO, "usual")
    finally:
        LOGGER.setLevel(logging.NOTSET)
    assert len(handler.records) == MAX_REPEATS + 50


def test_the_number_of_texts_that_are_counted_is_limited(handler):
    log, _ = make_log()
    for n in range(1000):
        log.write(logging.WARNING, "%s", f"{n} is new")
    assert len(handler.records) == 1000
    assert len(log._repeats) <= 101
