"""What the package logs on behalf of one client.

Logging runs the user's code: filters, handlers, the record factory. So it may raise, and it may wait, for example for a
handler's lock whose owner waits in ``client.send()`` until the I/O thread has sent something.

Guarantees:
    * An exception of logging does not reach the code that logs. It is passed to ``on_error``; a further one is
      passed only after a record was handled without an error. So an ``on_error`` that raises causes no loop. Without an
      ``on_error`` it is passed to ``threading.excepthook``. One case is different: on the main thread, the code that
      logs receives a KeyboardInterrupt, or another exception that is not an ``Exception``.
    * The I/O thread waits for no handler and for no lock of ``logging``: it makes the record (so the record's thread
      and time are right), and a short-lived helper thread handles it. There is at most one helper thread at a time, and
      only while there are records. ``logging.handlers.QueueListener`` works in the same way with a permanent thread.
    * A record's text is one line of printable characters, whatever the texts of a peer or the user's errors contain
      (see ``printable``); a traceback has several lines.
    * If ``write`` gets many warnings or errors with the same text, it logs ``MAX_REPEATS`` of them in
      ``REPEAT_SECONDS``, and only counts the others. Otherwise a peer could fill the disk. After this time a record
      with their number is logged: together with the next record of this text, at the next ping, or at the client's end.
      If several threads log at the same moment, the number may be wrong by a few.
    * ``queue`` takes no lock and does not wait, on any thread.
    * On a thread other than the I/O thread, ``write`` handles the record before it returns, so it may wait as long as a
      handler does. Exception: on a thread that holds a lock of this package (see ``sections``), ``write`` does the same
      as ``queue``.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from .._errors import ProtocolError, printable, text_of
from .sections import this_thread
from .thread import call_uninterrupted
from .waiting import Notifier

if TYPE_CHECKING:
    from collections.abc import Callable

    from .guard import Guard
    from .starter import ThreadStarter
    from .waiting import Deadline

__all__ = ["FINISH_TIMEOUT", "MAX_RECORDS", "MAX_REPEATS", "REPEAT_SECONDS", "ClientLog", "payload_size"]

MAX_RECORDS: Final = 1000
"""Records that may wait for the helper thread; beyond this number the oldest is dropped, and the number of dropped
records is logged. A peer can cause records, so their memory needs a limit."""

MAX_PAYLOADS: Final = 2**24
"""Limit, in bytes, of all messages that waiting records contain (``ProtocolError.payload``). Beyond this limit the
oldest records are dropped, as beyond ``MAX_RECORDS``. A single message may be larger."""

MAX_REPEATS: Final = 100
"""Records with the same text that are logged in ``REPEAT_SECONDS``. Messages that can't be decoded cause 30 000 records
per second."""

REPEAT_SECONDS: Final = 10.0
"""Length, in seconds, of the period for which records with the same text are counted. At its end, one record reports
how many of them were left out."""

_MAX_TEXTS: Final = 100
"""How many different texts are counted at the same time. Before a further text is added, all counts are logged and
reset."""

_COMPARED: Final = 30
"""Two records count as having the same text if their level, their format, and this many first characters of each of
their first two arguments are equal. The further characters are not compared, since they may contain what the peer
sent."""

FINISH_TIMEOUT: Final = 0.5
"""Seconds for which the end of a client waits until its last records are handled; normally it takes microseconds."""

MAX_TEXT: Final = 2000
"""Characters after which an argument of a record is cut: it may contain a text of the peer, of up to 16 MiB."""

_logger: Final = logging.getLogger("wsclient")


class _ShownError:
    """The text of an error as one printable line. ``str()`` of the error may run the user's code, so this text is made
    only when a handler formats the record.

    Attributes:
        error: the error.
    """

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __str__(self) -> str:
        return text_of(self.error, MAX_TEXT)


def _shown(value: object) -> object:
    if isinstance(value, str):
        return printable(value, MAX_TEXT)
    return _ShownError(value) if isinstance(value, BaseException) else value


def payload_size(error: object) -> int:
    """Return the memory, in bytes, of the message that an error contains; 0 if it contains none."""
    payload = error.payload if isinstance(error, ProtocolError) else None
    return sys.getsizeof(payload) if isinstance(payload, (str, bytes)) else 0


def _payload_size(record: logging.LogRecord) -> int:
    """Return the size of the messages in a record: its arguments may be errors that contain a message."""
    return sum([payload_size(one.error) for one in record.args or () if isinstance(one, _ShownError)])


class _Repeats:
    """How often ``write`` got a text since ``until - REPEAT_SECONDS``, whether it was logged or not.

    Attributes:
        until: the end of the time for which records are counted.
        level: the level of the records.
        example: the first of them, formatted.
        count: the number of records, including those that were logged.
    """

    __slots__ = ("count", "example", "level", "until")

    def __init__(self, until: float, level: int, example: str) -> None:
        self.until = until
        self.level = level
        self.example = example
        self.count = 0


class ClientLog:
    """Logs on behalf of one client. Thread-safe.

    Attributes:
        name: the client's name; each record's text begins with it.
        report: called with an exception that logging raised; it returns False if no hook receives the exception.
    """

    __slots__ = ("_dropped", "_guard", "_handled", "_idle", "_is_healthy", "_records", "_repeats", "_starter", "name",
                 "report")  # fmt: skip

    is_reported = False
    """For ``ThreadStarter``: a failure to start the helper thread is not reported, since it only delays records."""

    def __init__(self, guard: Guard, starter: ThreadStarter) -> None:
        """
        Args:
            guard: identifies the I/O thread and the main thread.
            starter: starts the helper thread, or tries again later.
        """
        self.name = guard.name
        self.report: Callable[[BaseException], bool] = bool
        self._guard = guard
        self._starter = starter
        self._records: list[logging.LogRecord] = []  # a list, since it is nearly always empty: see ARCHITECTURE.md
        self._dropped = 0
        self._repeats: dict[tuple[int, str, str], _Repeats] = {}
        # The thread that removes the single item handles the records, and puts the item back when no record is left. A
        # lock is not used: a finalizer may log on a thread that holds it.
        self._idle = [True]
        self._handled = Notifier()
        self._is_healthy = True

    # --- logging -----------------------------------------------------------------------------------------------------

    def write(self, level: int, text: str, *args: object, error: BaseException | None = None) -> None:
        """Log a text; on the I/O thread a helper thread handles the record, elsewhere this thread.

        Args:
            level: a level of ``logging``.
            text: the format, without the client's name.
            args: the arguments of the format.
            error: an exception whose traceback is logged too.
        """
        if level >= logging.WARNING and self._is_repeated(level, text, args):
            return
        record = self._make(level, text, args, error)
        if record is not None:
            self._pass_on(record)

    def sum_up(self, now: float | None = None) -> None:
        """Log how many records were not logged because they repeated others.

        Args:
            now: the present time; only texts whose time is over are summed up. None for all.
        """
        for key, repeats in list(self._repeats.items()):
            if now is None or now >= repeats.until:
                if self._repeats.pop(key, None) is None:  # another thread sums it up
                    continue
                more = repeats.count - MAX_REPEATS
                if more > 0:
                    text = "%d more records like this one were not logged: %s"
                    record = self._make(repeats.level, text, (more, repeats.example), None)
                    if record is not None:
                        # Not handled at once: the records of the same text may still wait, and must come first.
                        self._keep(record)
                        (self._starter.start_later if this_thread.inside() else self._starter.start)(self)

    def _is_repeated(self, level: int, text: str, args: tuple[object, ...]) -> bool:
        """Count a record. Return True if it must not be logged, since ``MAX_REPEATS`` of the same text were logged."""
        try:
            key = (level, text, "".join([str(one)[:_COMPARED] for one in args[:2]]))
            now = time.monotonic()
            repeats = self._repeats.get(key)
            if repeats is not None and now >= repeats.until:
                self.sum_up(now)
                repeats = None
            if repeats is None:
                if len(self._repeats) >= _MAX_TEXTS:
                    self.sum_up()
                repeats = self._repeats[key] = _Repeats(
                    now + REPEAT_SECONDS, level, (text % args if args else text)[:1000]
                )
            repeats.count += 1
            return repeats.count > MAX_REPEATS
        except Exception:  # str() of a user's object raised; it raises again when the record is handled
            return False

    def _pass_on(self, record: logging.LogRecord) -> None:
        """Handle a record: on the helper thread if this thread must not wait for a handler, else on this thread."""
        if this_thread.inside():
            self._keep(record)
            self._starter.start_later(self)
        elif self._guard.on_io_thread():
            self._keep(record)
            self._starter.start(self)
        else:
            self._handle(record)

    def queue(self, level: int, text: str, *args: object, error: BaseException | None = None) -> None:
        """Log a text on the helper thread, which the I/O thread starts. For finalizers, for threads that hold a lock,
        and for calls that must not wait for a handler. The arguments are those of ``write``.
        """
        record = self._make(level, text, args, error)
        if record is not None:
            self._keep(record)
            self._starter.start_later(self)

    # --- the helper thread -------------------------------------------------------------------------------------------

    def start(self, starter: object) -> None:
        """Start the helper thread, unless there is one or no record waits. See ``Startable``."""
        if self._records:
            call_uninterrupted(self._start)

    def run_here(self) -> None:
        """Handle the records on this thread, unless the helper thread does."""
        if self._claim():
            self._handle_all()

    def flush(self, deadline: Deadline) -> None:
        """Start the helper thread if records wait, and wait until it has handled them or the deadline passes."""
        if self._records:
            self._starter.start(self)
        self._wait(deadline)

    def finish(self, deadline: Deadline) -> None:
        """The same as ``flush``, but where no thread can be started, the records are handled on this thread. Repeated
        records are summed up.
        """
        self.sum_up()
        try:
            self.start(self)
        except RuntimeError:
            self.run_here()
        self._wait(deadline)

    def _wait(self, deadline: Deadline) -> None:
        while not self._idle:
            with self._handled.watch() as latch:
                if not self._idle and not latch.wait(deadline):
                    return

    def _start(self) -> None:
        if not self._claim():
            return
        try:
            threading.Thread(target=self._handle_all, name=f"{self.name}-log", daemon=True).start()
        except BaseException:
            self._idle.append(True)
            raise

    def _claim(self) -> bool:
        """Return True for the one thread that handles the records from now on."""
        try:
            return self._idle.pop()
        except IndexError:
            return False

    def _handle_all(self) -> None:
        """Handle records until none is left; the caller, or the thread that started this one, has called ``_claim``."""
        while True:
            while (record := self._pop()) is not None:
                if self._dropped:
                    self._log_loss()
                self._handle(record)
            self._idle.append(True)
            # Check again: another thread may have added a record after the loop and before the append. It has started
            # no helper thread, since this one was still running.
            if not self._records or not self._claim():
                break
        self._handled.announce()

    # --- records -----------------------------------------------------------------------------------------------------

    def _make(
        self, level: int, text: str, args: tuple[object, ...], error: BaseException | None
    ) -> logging.LogRecord | None:
        """Make a record; its file and line are those of the caller's caller. None if the level is not logged, or if
        making the record raised an error.
        """
        frame = sys._getframe(2)
        try:
            # isEnabledFor() is not called here but in `_handle`: it may wait for the lock of `logging`, which
            # dictConfig() holds while it calls the user's code.
            if level < _logger.getEffectiveLevel():
                return None
            exc_info = None if error is None else (type(error), error, error.__traceback__)
            code = frame.f_code
            shown = (self.name, *map(_shown, args))
            return _logger.makeRecord(
                _logger.name, level, code.co_filename, frame.f_lineno, f"%s: {text}", shown, exc_info, code.co_name
            )  # fmt: skip
        except BaseException as failure:
            self._failed(failure)
            return None

    def _keep(self, record: logging.LogRecord) -> None:
        if len(self._records) >= MAX_RECORDS and self._pop() is not None:
            self._dropped += 1
        size = _payload_size(record)
        while size and size + sum(map(_payload_size, self._records[:])) > MAX_PAYLOADS and self._pop() is not None:
            self._dropped += 1
        self._records.append(record)

    def _pop(self) -> logging.LogRecord | None:
        """Remove and return the oldest record; None if there is none."""
        try:
            return self._records.pop(0)
        except IndexError:
            return None

    def _log_loss(self) -> None:
        dropped, self._dropped = self._dropped, 0
        text = "%d log records were dropped: a handler is too slow, or no thread could be started for some time."
        record = self._make(logging.WARNING, text, (dropped,), None)
        if record is not None:
            self._handle(record)

    def _handle(self, record: logging.LogRecord) -> None:
        try:
            if _logger.isEnabledFor(record.levelno):
                _logger.handle(record)
        except BaseException as error:
            self._failed(error)
        else:
            self._is_healthy = True

    def _failed(self, error: BaseException) -> None:
        """Report an exception that logging raised."""
        if self._guard.on_main_thread() and not isinstance(error, Exception):
            raise error  # Ctrl-C, or a signal handler that ends the program
        if self._is_healthy:
            self._is_healthy = False
            if not self.report(error):
                args = (type(error), error, error.__traceback__, threading.current_thread())
                with contextlib.suppress(Exception):  # from a user's excepthook; it can't be reported
                    threading.excepthook(threading.ExceptHookArgs(args))
