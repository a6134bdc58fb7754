"""``/record`` of the shell: recordings that begin and end while the client runs.

The option ``record`` of a client can't be changed later. So the client of the shell always has a function as this
option. The function passes the lines to a thread, which writes them while there is a file.

A file that begins later than the client is a complete recording, too. It begins with the head and with the connections
that are open at this time. Their numbers begin with 1, and times count from the beginning of the file.
"""

from __future__ import annotations

import contextlib
import json
import queue
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from .._recording import format as recording_format
from .._recording import private_file

__all__ = ["RecordingSwitch"]

_CONNECTIONS: Final = re.compile(rb'\{"at":[^,]+,"kind":"(?:open|lost)"')
"""The lines that are read although no file is written."""


class RecordingSwitch:
    """A value for the client's option ``record`` that can be switched on and off.

    Threads: ``start`` and ``stop`` may be called on any thread; the file is used only on the thread of this object.

    Args:
        then: another function that gets the lines, such as a ``FramePrinter``; or None.
        report: called with the error if the file can't be written; the recording has ended then.

    Attributes:
        path: the file that is being written; None if there is none.
    """

    def __init__(self, then: Callable[[bytes], object] | None, report: Callable[[Exception], object]) -> None:
        self.path: str | None = None
        self._then = then
        self._report = report
        self._jobs: queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._head = recording_format.head("shell", (), ())
        self._begun_at = 0.0  # of the client's recording, on the monotonic clock
        self._open: dict[int, dict[str, Any]] = {}  # the lines of the open connections, by their number
        self._file: private_file.File | None = None
        self._file_begun_at = 0.0
        self._numbers: dict[int, int] = {}  # of the connections: in the client, and in the file
        self._thread = threading.Thread(target=self._run, name="wsclient-record", daemon=True)
        self._thread.start()

    def __call__(self, lines: bytes) -> None:
        """Take some lines of the client; called on its I/O thread."""
        self._jobs.put((self._take, (lines, time.monotonic())))
        if self._then is not None:
            self._then(lines)

    def start(self, path: str) -> None:
        """Begin to write a file; one that is being written is finished first.

        Raises:
            OSError, ValueError: the file can't be created.
        """
        self._ask(self._start, path)

    def stop(self) -> str | None:
        """Finish the file.

        Returns:
            Its path; None if there was none.
        """
        path: str | None = self._ask(self._stop)
        return path

    def close(self) -> None:
        """Finish the file, and end the thread."""
        self.stop()
        self._jobs.put(None)
        self._thread.join()

    # --- on the thread of this object --------------------------------------------------------------------------------

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function on the thread of this object, and return its result. Only other threads may call this."""
        answer: Future[Any] = Future()
        self._jobs.put((self._answer, (answer, function, arguments)))
        return answer.result()

    def _answer(self, answer: Future[Any], function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        try:
            answer.set_result(function(*arguments))
        except Exception as error:  # such as a ValueError for a path with a NUL; the caller waits for the answer
            answer.set_exception(error)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, arguments = job
            function(*arguments)

    def _start(self, path: str) -> None:
        self._stop()
        self._file = private_file.create(path)
        self.path = path
        self._file_begun_at = time.monotonic()
        self._numbers.clear()
        self._write(self._head)
        for number in sorted(self._open):
            self._write(self._moved(dict(self._open[number])))

    def _stop(self) -> str | None:
        path, self.path = self.path, None
        file, self._file = self._file, None
        if file is not None:
            file.close()
        return path

    def _take(self, lines: bytes, now: float) -> None:
        for line in lines.splitlines(keepends=True):
            if line.startswith(b'{"format"'):
                self._head, self._begun_at = line, now
                self._open.clear()
                continue
            if self._file is None and not _CONNECTIONS.match(line):
                continue
            entry = json.loads(line)
            if entry["kind"] == "open":
                self._open[entry["connection"]] = entry
            elif entry["kind"] == "lost":
                self._open.pop(entry["connection"], None)
            if self._file is not None and (entry["kind"] == "failed" or entry["connection"] in self._known(entry)):
                self._write(self._moved(entry))

    def _known(self, entry: dict[str, Any]) -> Any:
        """Return the numbers of the connections whose lines are written: those in the file, or the number in this line
        if it opens a connection.
        """
        return (entry["connection"],) if entry["kind"] == "open" else self._numbers

    def _moved(self, entry: dict[str, Any]) -> bytes:
        """Return a line with the time since the beginning of the file, and the number of the connection in the file."""
        number = entry.get("connection")
        if number is not None:
            if entry["kind"] == "open":
                self._numbers[number] = max(self._numbers.values(), default=0) + 1
            entry["connection"] = self._numbers[number]
        at = max(0.0, entry.pop("at") + self._begun_at - self._file_begun_at)
        return recording_format.line(at, entry.pop("kind"), **entry)

    def _write(self, line: bytes) -> None:
        file = self._file
        if file is None:
            return
        try:
            private_file.write_whole(file, line)
        except OSError as error:
            with contextlib.suppress(OSError):  # the first error is reported
                self._stop()
            self._report(error)
