"""The messages of a session of the shell. They are shown, kept for ``/save``, and searched for words to complete."""

from __future__ import annotations

import base64
import json
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from .._recording import private_file
from .exits import ExitCode, exit_code_of, sentence_of
from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from .output import Output

__all__ = ["Transcript"]

_WAITING: Final = 200
"""Received messages that may wait to be shown. At this number, the thread that reads the stream of messages waits; when
the queue of the stream is full too, the client pauses reading. A sent message is shown after those that wait."""

_MOST_BYTES: Final = 64 * 1024 * 1024
"""Size of what is kept for ``/save``; the oldest messages are dropped beyond it."""

_SENT, _RECEIVED, _RESET = "\033[1;32m>\033[0m ", "\033[1;36m<\033[0m ", "\033[0m"


class Transcript:
    """Shows everything on one thread, in order. Each method may be called on any thread. ``received`` waits if too many
    messages wait to be shown, and ``save`` and ``close`` wait until all are shown. The other methods return at once.

    Args:
        output: prints.
        has_marks: whether the line of a sent message begins with ``>``, and that of a received one with ``<``. If not,
            sent messages are not printed.

    Attributes:
        vocabulary: the words of all messages.
        received_count: messages shown that were no replies.
        reply_count: replies shown, including errors.
        code: the exit code of the first error of a request or of a stream of messages; 0 if there is none.
        failure: the first error of printing, such as a closed pipe; or None.
    """

    def __init__(self, output: Output, *, has_marks: bool) -> None:
        self.vocabulary = Vocabulary()
        self.received_count = 0
        self.reply_count = 0
        self.code = ExitCode.OK
        self.failure: BaseException | None = None
        self._output = output
        self._has_marks = has_marks
        self._is_closed = False
        self._kept = _Kept()
        self._room = threading.Semaphore(_WAITING)
        self._jobs: queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="wsclient-show", daemon=True)
        self._thread.start()

    def received(self, message: Any) -> None:
        """Show a message that is no reply."""
        if self._is_closed:
            return
        self._room.acquire()
        self._jobs.put((self._received, (message,)))

    def sent(self, message: Any, number: int | None = None) -> None:
        """Show a message that is sent.

        Args:
            message: the message.
            number: that of the request; None if it is no request.
        """
        self._jobs.put((self._sent, (message, number)))

    def replied(self, number: int, reply: Future[Any], seconds: float) -> None:
        """Show the reply to a request, or its error.

        Args:
            number: that of the request.
            reply: its future, which is done.
            seconds: the round trip.
        """
        self._jobs.put((self._replied, (number, reply, seconds)))

    def typed(self, text: str) -> None:
        """Show a slash command that was typed."""
        self._jobs.put((self._typed, (text,)))

    def note(self, text: str) -> None:
        """Show a line that is no message."""
        self._jobs.put((self._output.notice, (text,)))

    def error(self, text: str) -> None:
        """Show the sentence of an error."""
        self._jobs.put((self._output.error, (text,)))

    def failed(self, error: Exception) -> None:
        """Show the error that has ended a stream of messages."""
        self._jobs.put((self._failed, (error,)))

    def save(self, path: str) -> str:
        """Write all messages so far as NDJSON; only the user of this process may read the file.

        Returns:
            A sentence for the user.

        Raises:
            OSError, ValueError: the file can't be written.
        """
        answer: Future[str] = Future()
        self._jobs.put((self._save, (path, answer)))
        return answer.result()

    def close(self) -> None:
        """Show everything that still waits to be shown, and end the thread."""
        self._jobs.put(None)
        self._thread.join()
        self._is_closed = True
        self._room.release(_WAITING)  # threads that still wait in `received`

    # --- on the thread of this object --------------------------------------------------------------------------------

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, arguments = job
            try:
                function(*arguments)
            except Exception as error:  # a pipe that is closed; the main thread raises it
                self.failure = self.failure or error

    def _received(self, message: Any) -> None:
        self._room.release()
        try:
            self._keep("received", message)
            self._print(_RECEIVED, "< ", self._output.shown(message))
        finally:
            self.received_count += 1

    def _sent(self, message: Any, number: int | None) -> None:
        self._keep("sent", message)
        if self._has_marks:
            self._print(_SENT, "> ", f"{_label(number)}{self._output.shown(message)}")

    def _replied(self, number: int, reply: Future[Any], seconds: float) -> None:
        took = f"{seconds * 1000:.1f} ms"
        try:
            value = reply.result()
        except BaseException as error:
            self.code = self.code or exit_code_of(error) or ExitCode.CONNECTION_LOST
            before = f"< {_label(number)}" if self._has_marks else f"wsclient: request {number}: "
            self._output.error(f"{before}{sentence_of(error)} ({took})")
        else:
            self._keep("received", value)
            shown = self._output.shown(value)
            if self._has_marks and self._output.has_color:
                shown = f"{_label(number)}\033[2m{took}{_RESET} {shown}"
            elif self._has_marks:
                shown = f"{_label(number)}{took} {shown}"
            self._print(_RECEIVED, "< ", shown)
        finally:
            self.reply_count += 1

    def _failed(self, error: Exception) -> None:
        self.code = self.code or exit_code_of(error) or ExitCode.CONNECTION_LOST
        self._output.error(f"* {sentence_of(error)}")

    def _typed(self, text: str) -> None:
        if self._has_marks:
            self._output.notice(f"> {text}")

    def _print(self, colored_mark: str, mark: str, line: str) -> None:
        if self._has_marks:
            line = f"{colored_mark if self._output.has_color else mark}{line}"
        self._output.text(line)

    def _keep(self, direction: str, message: Any) -> None:
        self.vocabulary.learn(message)
        self._kept.add(direction, message)

    def _save(self, path: str, answer: Future[str]) -> None:
        try:
            answer.set_result(self._kept.save(path))
        except Exception as error:  # such as a ValueError for a path with a NUL; the caller waits for the answer
            answer.set_exception(error)


class _Kept:
    """The messages for ``/save``, as lines of NDJSON. Used by one thread."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._dropped = 0

    def add(self, direction: str, message: Any) -> None:
        """Keep a message; the oldest ones are dropped if there are too many."""
        now = datetime.now().astimezone().isoformat(timespec="milliseconds")
        content = {"base64": base64.b64encode(message).decode()} if isinstance(message, bytes) else {"message": message}
        entry = {"time": now, "direction": direction, **content}
        line = json.dumps(entry, ensure_ascii=False, default=str).encode(errors="replace") + b"\n"
        self._lines.append(line)
        self._bytes += len(line)
        while self._bytes > _MOST_BYTES and len(self._lines) > 1:
            self._bytes -= len(self._lines.popleft())
            self._dropped += 1

    def save(self, path: str) -> str:
        """Write the file, and return a sentence for the user."""
        with private_file.create(path) as file:
            for line in self._lines:
                rest = memoryview(line)
                while rest:
                    rest = rest[file.write(rest) or 0 :]
        dropped = f"; {self._dropped} older ones were not kept" if self._dropped else ""
        return f"Saved {len(self._lines)} messages to {path}{dropped}."


def _label(number: int | None) -> str:
    return "" if number is None else f"[{number}] "
