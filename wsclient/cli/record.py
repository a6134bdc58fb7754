"""``wsclient record``: a session in both directions, written to a file."""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from .._errors import ClientClosed
from .._recording import format as recording_format
from .._recording.options import Recording
from .._recording.private_file import create, write_whole
from .._settings import REQUEST_TIMEOUT
from .exits import CommandError, ExitCode
from .options import CLOSE_TIMEOUT, FOREVER, ClientCommand, Connection
from .recording_view import NOTHING, RecordingView
from .tracing import FramePrinter, OutageNotice
from .values import Condition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .._client.client import Client
    from .._recording.private_file import File

__all__ = ["command"]

_WAITING: Final = 100
"""Pieces of the recording that may wait to be printed. A piece contains at most one received message, and the messages
that were sent before it. The client pauses reading at this number."""


_QUIET: Final = 1.0
"""Seconds without a message after which a session ends, if stdin has ended and one of its messages had no id. The reply
to such a message can't be recognized."""

_POLL: Final = 0.1
"""Seconds after which the conditions that depend on time are checked again."""

_EPILOG: Final = """\b
Examples:
  wsclient record localhost:8765 session.jsonl --show --count 3
  printf '{"id":1,"method":"add"}\\n' | wsclient record localhost:8765 session.jsonl --pairs
  wsclient record --from session.jsonl --pairs
"""

_HELP: Final = """Record a session to FILE, until Ctrl-C: messages in both directions, with their times.

Each line of stdin is sent as a text message, without waiting for replies. If stdin had a line, the session ends after
the end of stdin, when each request with an id has its reply. If a line had no id, the session also waits until no
message has come for a second. The longest wait is --timeout seconds (default 30). With --count, --until or --wait, only
these options end the session.

Secrets are redacted by their names (password, token, cookie and others; see --redact and --keep), also in what is
printed. The file can be played by `wsclient replay` and `wsclient.testing.Replay`.

In a pipe, --show prints {"direction", "at", "message"} for each message, and --pairs {"direction", "at", "seconds",
"request", "reply"} for each request when its reply has come; binary messages are base64. With --from FILE nothing is
recorded: the messages, or with --pairs the requests, of an existing recording are printed.
"""


@click.command(cls=ClientCommand, epilog=_EPILOG, help=_HELP, short_help="Record a session to a file.")
@click.argument("url", required=False)
@click.argument("file", required=False)
@click.option("--show", is_flag=True, help="Print messages as they pass.")
@click.option("--pairs", is_flag=True, help="Print requests with their replies and round-trip times.")
@click.option("--from", "source", metavar="FILE", help="Print a recording, instead of making one.")
@click.option("--redact", multiple=True, metavar="NAME", help="Members with this name are secret; repeatable.")
@click.option("--keep", multiple=True, metavar="NAME", help="Members with this name are not secret; repeatable.")
@click.option("-C", "--count", type=click.IntRange(min=1), metavar="N", help="End after N received messages.")
@click.option(
    "-W", "--wait", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="End after this time."
)
@click.option("--until", type=Condition, metavar="NAME=VALUE", help="End after the first message with this value.")
def command(
    connection: Connection,
    url: str | None,
    file: str | None,
    show: bool,
    pairs: bool,
    source: str | None,
    redact: tuple[str, ...],
    keep: tuple[str, ...],
    count: int | None,
    wait: float | None,
    until: Condition | None,
) -> int:
    """Run the command."""
    output = connection.output()
    if source is not None:
        if url is not None:
            raise CommandError("--from prints an existing recording; leave out the URL.")
        if redact or keep or count is not None or wait is not None or until is not None:
            raise CommandError(
                "--from prints the whole recording as it is; leave out --redact, --keep, --count, --wait and --until."
            )
        view = RecordingView(output, show=show or not pairs, pairs=pairs, protocol=connection.protocol)
        return _print_file(source, view)
    url, more = connection.arguments(url, () if file is None else (file,))
    if len(more) != 1:
        wrong = f"{more[1]!r} is one argument too many." if more else "Which file? Write it after the URL."
        raise CommandError(wrong)
    view = RecordingView(output, show=show, pairs=pairs, protocol=connection.protocol)
    sink = _Sink(more[0], FramePrinter(output) if connection.verbose > 1 else None)
    options: dict[str, Any] = {} if connection.protocol else {"json": None}
    if not connection.verbose:  # with -v, the client's own records report every attempt
        notice = OutageNotice(output)
        options |= {"on_open": notice, "on_connect_error": notice.failed}
    client = connection.client(
        url, output, retry=FOREVER, level=logging.WARNING, record=Recording(sink, redact, keep), **options
    )
    session = _Session(client, sink, view, decodes=connection.protocol is not None)
    timeout = REQUEST_TIMEOUT if connection.timeout is None else connection.timeout
    sink.create()
    try:
        return session.run(_EndConditions(count, wait, until, timeout))
    finally:
        session.end()
        output.notice(f"wsclient: {view.summary()}; recorded in {more[0]}.")


def _print_file(path: str, view: RecordingView) -> int:
    with Path(path).open("rb") as lines:
        recording_format.parse(lines, path)  # a damaged recording is refused before anything is printed
        lines.seek(0)
        for line in lines:
            view.add(json.loads(line))
    view.finish()
    return ExitCode.OK


@dataclass(frozen=True)
class _EndConditions:
    """The options of the command line that determine when a session ends."""

    count: int | None
    wait: float | None
    until: Condition | None
    timeout: float

    @property
    def with_replies(self) -> bool:
        """Whether the session ends after the replies to the lines of stdin."""
        return self.count is None and self.wait is None and self.until is None


class _Failed(NamedTuple):
    """The error that ended one of the threads, or the writing of the file. It ends the session."""

    error: Exception


class _Ended(NamedTuple):
    """The server has closed the connection normally, and ``--retry 0`` was given."""


class _StdinEnd(NamedTuple):
    """Stdin has ended.

    Attributes:
        lines: how many messages were sent.
    """

    lines: int


class _Sink:
    """The function of the client's recording: writes to the file, and passes what is written to the main thread.

    The I/O thread calls it. If nothing reads stdout, the queue becomes full; the call then waits, and the client pauses
    reading.

    Args:
        path: of the file.
        then: called with what was written.

    Raises:
        ValueError: no file can be written at the path.

    Attributes:
        written: a queue with what was written, in pieces of whole lines. It also contains the events of the threads.
        failure: the error that ended the writing, or None.
    """

    def __init__(self, path: str, then: Callable[[bytes], object] | None) -> None:
        self._path = str(Recording(path).path)
        self._then = then
        self._file: File | None = None
        self._whole = 0  # size of the file, in bytes, after the last complete write
        self.failure: CommandError | None = None
        self._queued: list[bytes] = []
        self._rest: deque[bytes] | None = None  # what was written after `end_waiting`; None before
        self.written: queue.Queue[bytes | _Failed | _Ended | _StdinEnd] = queue.Queue(_WAITING)

    def create(self) -> None:
        """Create the file, or empty it.

        Raises:
            OSError: it can't be written.
        """
        self._file = create(self._path)

    def __call__(self, lines: bytes) -> None:
        """Write whole lines."""
        self._write(lines)
        if self._then is not None:
            self._then(lines)
        if self._rest is None:
            self.written.put(lines)
        else:
            self._rest.append(lines)

    def end_waiting(self) -> None:
        """From now on, a call of this object does not wait for room in the queue."""
        self._queued = self._drained()
        self._rest = deque()
        self._queued += self._drained()  # in the meantime the I/O thread may have filled the queue, and be waiting

    def left(self) -> list[bytes]:
        """Return what was written and not taken out of the queue. Call it after the client was closed."""
        return [*self._queued, *self._drained(), *(self._rest or ())]

    def _drained(self) -> list[bytes]:
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self.written.get_nowait())
        return [one for one in found if isinstance(one, bytes)]

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _write(self, lines: bytes) -> None:
        file = self._file
        if file is None:
            return
        try:
            write_whole(file, lines)
        except OSError as error:
            self._file = None
            with contextlib.suppress(OSError):  # the disk may be full; the error below says so
                file.truncate(self._whole)
            with contextlib.suppress(OSError):
                file.close()
            self.failure = CommandError(f"{self._path} can't be written any more: {error.strerror}; recording ended.")
            if self._rest is None:
                self.written.put(_Failed(self.failure))
            return
        self._whole += len(lines)


class _Receiver(threading.Thread):
    """Connects, and reports the end of the client. It reads the client's messages and drops them, since the recording
    contains them.

    Args:
        client: not started.
        then: a thread that is started when the client is connected.
        results: receives the end of the client, as ``_Ended`` or ``_Failed``.
    """

    def __init__(self, client: Client, then: threading.Thread, results: queue.Queue[Any]) -> None:
        super().__init__(name="wsclient-record", daemon=True)
        self._client = client
        self._stream = client.listen()
        self._then = then
        self._results = results

    def run(self) -> None:
        """Read until the client has ended."""
        try:
            with contextlib.suppress(ClientClosed):  # it was open and has ended already; the stream has the reason
                self._client.start()
            self._then.start()
            for _ in self._stream:
                pass
            self._results.put(_Ended())
        except Exception as error:
            self._results.put(_Failed(error))


class _StdinSender(threading.Thread):
    """Sends the lines of stdin. It is a daemon, since it may still wait for stdin when the command ends.

    Args:
        client: sends.
        results: receives a ``_StdinEnd``, or the error as ``_Failed``.
        decodes: whether JSON objects and lists are passed to the client's protocol; otherwise each line is sent as it
            is.
    """

    def __init__(self, client: Client, results: queue.Queue[Any], *, decodes: bool) -> None:
        super().__init__(name="wsclient-stdin", daemon=True)
        self._client = client
        self._results = results
        self._decodes = decodes
        self._lines: Iterable[str] = sys.stdin or ()

    def run(self) -> None:
        """Send the lines."""
        sent = 0
        try:
            for line in self._lines:
                text = line.rstrip("\r\n")
                if text:
                    self._client.send(_decoded(text) if self._decodes else text)
                    sent += 1
            self._results.put(_StdinEnd(sent))
        except UnicodeDecodeError as error:
            self._results.put(_Failed(CommandError(f"stdin is not UTF-8: {error}.")))
        except Exception as error:
            self._results.put(_Failed(error))


def _decoded(text: str) -> Any:
    """The object or list of a line of JSON; any other line as it is."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, (dict, list)) else text


class _Session:
    """One session, from the start of the client to its end. The main thread uses it.

    Args:
        client: not started.
        sink: its recording.
        view: prints.
        decodes: whether ``--protocol`` is given, see ``_StdinSender``.
    """

    def __init__(self, client: Client, sink: _Sink, view: RecordingView, *, decodes: bool) -> None:
        self._client = client
        self._sink = sink
        self._view = view
        self._sender = _StdinSender(client, sink.written, decodes=decodes)
        self._lines: deque[bytes] = deque()  # of the recording, to be printed next
        self._is_complete = False  # whether `--count` or `--until` has ended it
        self._input: _StdinEnd | None = None
        self._input_ended_at = 0.0
        self._last_message_at = 0.0

    def run(self, ends: _EndConditions) -> int:
        """Record until the end.

        Returns:
            The exit code: 4 if ``--wait`` ended before ``--count`` or ``--until`` was fulfilled, or before a connection
            was opened; 5 if the client ended before ``--count`` or ``--until`` was fulfilled; else 0.

        Raises:
            Exception: the error that ended a thread, or the writing of the file.
        """
        _Receiver(self._client, self._sender, self._sink.written).start()
        until = None if ends.wait is None else time.monotonic() + ends.wait
        while True:
            now = time.monotonic()
            if until is not None and now >= until:
                is_short = ends.count is not None or ends.until is not None or not self._view.connections
                return ExitCode.TIMEOUT if is_short else ExitCode.OK
            if ends.with_replies and self._has_all_replies(now, ends.timeout):
                return ExitCode.OK
            try:
                result = self._sink.written.get(timeout=_POLL if until is None else min(_POLL, until - now))
            except queue.Empty:
                continue
            code = self._take(result, ends)
            if code is not None:
                return code

    def end(self) -> None:
        """Close the client and the file. Print what was written meanwhile, unless ``--count`` or ``--until`` has ended
        the session.
        """
        self._sink.end_waiting()
        self._client.close(timeout=CLOSE_TIMEOUT)
        self._sink.close()
        for line in () if self._is_complete else [*self._lines, *b"".join(self._sink.left()).splitlines()]:
            self._view.add(json.loads(line))
        self._view.finish()
        if self._sink.failure is not None:
            raise self._sink.failure

    def _take(self, result: bytes | _Failed | _Ended | _StdinEnd, ends: _EndConditions) -> int | None:
        """Print what was written to the recording; return the exit code if the session ends."""
        if isinstance(result, _Failed):
            raise result.error
        if isinstance(result, _Ended):
            return ExitCode.OK if ends.count is None and ends.until is None else ExitCode.CONNECTION_LOST
        if isinstance(result, _StdinEnd):
            self._input = result
            self._input_ended_at = time.monotonic()
            return None
        self._last_message_at = time.monotonic()
        self._lines.extend(result.splitlines())
        while self._lines:
            message = self._view.add(json.loads(self._lines.popleft()))
            if message is NOTHING:
                continue
            if self._view.received == ends.count or (ends.until is not None and ends.until(message)):
                self._is_complete = True
                return ExitCode.OK
        return None

    def _has_all_replies(self, now: float, timeout: float) -> bool:
        """Whether stdin has ended, and each request that was sent has its reply, or the time for the replies has ended.

        The result is False if stdin is not a terminal and had no lines.
        """
        if self._input is None or not (self._input.lines or _is_terminal()):
            return False
        if now >= self._input_ended_at + timeout:
            return True
        if self._view.sent < self._input.lines or self._view.waiting:
            return False
        return not self._view.has_message_without_id or now >= max(self._input_ended_at, self._last_message_at) + _QUIET


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()
