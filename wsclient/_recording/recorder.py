"""``record=``: writes the messages and control frames of a client's connections to a file.

A *note* is a record in memory that is not written to the file yet.

Guarantees:
    * The lines are in the order in which the messages were sent and received. The writer (the thread that holds the
      write lock) appends a note for each message in one atomic step, after the operating system has accepted the
      message's last byte and before the writer releases the lock. So a message that was partly sent and then sent
      again is recorded once. Before the I/O thread notes an incoming message, it waits until every message sent earlier
      is noted: the incoming message may be the reply.
    * Only the I/O thread redacts and formats the notes and writes them to the file, between its waits. It takes no lock
      for this.
    * The size of the notes is limited: while it exceeds ``MAX_BACKLOG`` bytes, messages stay in the send queue until
      the I/O thread has written the notes.
    * If the file can't be written, the recording ends, and the error is logged and passed to ``on_error`` once. The
      client continues.
    * A forked child writes nothing.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from .._rfc6455.close import parse_close
from .._rfc6455.frames import Opcode
from .._rfc6455.handshake import redacted
from .._rfc6455.url import redact
from .._threads.locks import make_lock
from .._threads.sections import this_thread
from . import format as recording_format
from . import private_file
from .redaction import Redactor

if TYPE_CHECKING:
    from .._models import Disconnect
    from .._rfc6455.http11 import Headers
    from .options import Recording

__all__ = ["Recorder"]

MAX_BACKLOG: Final = 256 * 1024
"""Limit, in bytes, of notes that writers have made and the I/O thread has not written yet. It is four times the size up
to which messages are joined into one write (``JOINED_BYTES`` in ``_sending.writer``). Writing this much to the file
takes the I/O thread about 20 ms."""

_NOTE_BYTES: Final = 100
"""Bytes that are counted for each note in addition to its payload, so that the number of notes is limited too."""

_EVENTS: Final = frozenset({"open", "lost", "failed"})
"""The kinds of notes that describe a connection or an attempt, and not a message or control frame."""

_KINDS: Final = {Opcode.TEXT: "message", Opcode.BINARY: "message", Opcode.PING: "ping", Opcode.PONG: "pong"}


class Recorder:
    """Writes the recording of one client. Only the I/O thread may use it, except ``sent`` and ``is_full``."""

    __slots__ = ("_begun_at", "_connections", "_file", "_lock", "_name", "_noted", "_notes", "_recording", "_redactor",
                 "_report", "_wake", "_whole", "_written")  # fmt: skip

    def __init__(
        self, recording: Recording, name: str, wake: Callable[[], object], report: Callable[[BaseException], object]
    ) -> None:
        """
        Args:
            recording: the file, and what to redact.
            name: the client's name.
            wake: wakes the I/O thread, which then writes the notes.
            report: called with the error that ends the recording; must log it and pass it to ``on_error``.
        """
        self._recording = recording
        self._name = name
        self._wake = wake
        self._report = report
        self._redactor = Redactor(recording.redact, recording.keep)
        self._file: private_file.File | None = None  # None before begin(), after the end, and in a forked child
        self._begun_at = 0.0
        self._connections = 0
        self._notes: deque[tuple[float, Any, Any]] = deque()
        # Guards the next attribute: during a renewal the writers of two connections change it.
        self._lock = make_lock()
        self._noted = 0  # total bytes of the notes of writers
        # Bytes of those notes that were already taken out of `_notes` (written, or discarded by an error); only the I/O
        # thread changes it.
        self._written = 0
        self._whole = 0  # size of the file after the last complete write; up to here it contains only complete lines

    # --- the writer --------------------------------------------------------------------------------------------------

    def sent(self, connection: int, opcode: Opcode, payload: bytes, *, is_heartbeat: bool = False) -> None:
        """Note a message or control frame whose last byte the operating system has accepted.

        Only the thread that holds the write lock may call it.

        Args:
            connection: the number that ``opened`` returned.
            opcode: the opcode of the message or frame.
            payload: its payload, not compressed.
            is_heartbeat: whether it is a heartbeat.
        """
        if self._file is None:
            return
        with this_thread.section, self._lock:
            self._noted += len(payload) + _NOTE_BYTES
        self._notes.append((time.monotonic(), opcode, (connection, recording_format.SENT, payload, is_heartbeat)))
        self._wake()

    @property
    def is_full(self) -> bool:
        """Whether the notes exceed ``MAX_BACKLOG``; then the I/O thread must write before more is sent. Any thread."""
        return self._noted - self._written > MAX_BACKLOG

    # --- the I/O thread ----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Create the file, or overwrite it, and write the head. Only the user of this process may read the file."""
        path = self._recording.path
        try:
            self._file = private_file.function_file(path) if callable(path) else private_file.create(os.fspath(path))
        except OSError as error:
            self._stop(error)
            return
        self._begun_at = time.monotonic()
        self._put(recording_format.head(self._name, self._recording.redact, self._recording.keep))

    def opened(self, url: str, subprotocol: str | None, headers: Headers) -> int:
        """Note that a connection was opened.

        Args:
            url: the server's URL; its secrets are redacted.
            subprotocol: the negotiated subprotocol, or None.
            headers: the headers of the server's response.

        Returns:
            Its number in the recording. Connections whose set-up fails afterwards count too.
        """
        self._connections += 1
        pairs = [[name, self._header(name, value)] for name in headers for value in headers.get_all(name)]
        agreed = None if subprotocol is None else redacted(subprotocol)
        self._note("open", {"url": redact(url), "subprotocol": agreed, "headers": pairs}, self._connections)
        return self._connections

    def received(self, connection: int, opcode: Opcode, payload: Any) -> None:
        """Note a received message or control frame. The arguments are those of ``sent``; for a close frame, the payload
        is a ``Close``.
        """
        if self._file is not None:
            self._notes.append((time.monotonic(), opcode, (connection, recording_format.RECEIVED, payload, False)))
            # In two cases the notes are written immediately. The message is large: decompression can make it a thousand
            # times as large as one read. Or the recording is passed to a function: it must get a message before the
            # client delivers this message.
            if callable(self._recording.path) or (not isinstance(payload, tuple) and len(payload) > MAX_BACKLOG):
                self.write()

    def lost(self, connection: int, disconnect: Disconnect) -> None:
        """Note that a connection has ended."""
        error = None if disconnect.error is None else type(disconnect.error).__name__
        members = {"initiator": disconnect.initiator, "code": disconnect.code, "error": error}
        self._note("lost", {**members, "reason": self._redactor.text(disconnect.reason)}, connection)

    def failed(self, error: BaseException, number: int) -> None:
        """Note a failed attempt to connect.

        Only the error's class and HTTP status are recorded, since its text may contain text of the server or of user
        code.
        """
        self._note(
            "failed", {"number": number, "error": type(error).__name__, "status": getattr(error, "status", None)}
        )

    def write(self) -> None:
        """Write all notes to the file."""
        if not self._notes:
            return
        try:
            self._put(b"".join(self._lines()))
        except Exception as error:  # a defect in the redaction must not end the client
            self._stop(error)

    def close(self) -> None:
        """Write the remaining notes, and close the file."""
        self.write()
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:  # NFS reports a failed write when the file is closed
                self._stop(error)

    def after_fork(self) -> None:
        """Close the file in a forked child: it belongs to the parent. It has no buffer, so nothing is written."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    # --- inside ------------------------------------------------------------------------------------------------------

    def _note(self, kind: str, members: dict[str, Any], connection: int | None = None) -> None:
        if self._file is not None:
            first = {} if connection is None else {"connection": connection}
            self._notes.append((time.monotonic(), kind, {**first, **members}))

    def _header(self, name: str, value: str) -> str:
        if name == "sec-websocket-protocol":
            return redacted(value)
        return self._redactor.header(name, value)

    def _lines(self) -> Iterable[bytes]:
        for _ in range(len(self._notes)):  # a bounded number, since writers may add notes at the same time
            at, kind, members = self._notes.popleft()
            at -= self._begun_at
            if kind in _EVENTS:
                yield recording_format.line(at, kind, **members)
                continue
            connection, direction, payload, is_heartbeat = members
            if direction is recording_format.SENT:
                self._written += len(payload) + _NOTE_BYTES
            first = {"connection": connection, "direction": direction}
            yield self._frame(at, kind, {**first, "heartbeat": True} if is_heartbeat else first, payload)

    def _frame(self, at: float, opcode: Opcode, members: dict[str, Any], payload: Any) -> bytes:
        if opcode is Opcode.CLOSE:
            close = parse_close(payload) if isinstance(payload, bytes) else payload
            reason = self._redactor.text(close.reason)
            return recording_format.line(at, "close", **members, code=int(close.code), reason=reason)
        if opcode is Opcode.TEXT:
            text = payload.decode() if isinstance(payload, bytes) else payload
            payload = self._redactor.text(text)
        elif opcode is Opcode.BINARY:
            payload = self._redactor.data(payload)
        return recording_format.line(at, _KINDS[opcode], **members, **recording_format.payload(payload))

    def _put(self, data: bytes) -> None:
        file = self._file
        if file is None:
            return
        try:
            private_file.write_whole(file, data)
        except BaseException as error:  # of the file, or of the user's function, which may raise SystemExit
            self._stop(error)
            return
        self._whole += len(data)

    def _stop(self, cause: BaseException) -> None:
        """End the recording after an error. If possible, truncate the file to the end of the last complete write."""
        file, self._file = self._file, None
        self._notes.clear()
        self._written = self._noted
        if file is not None:
            with contextlib.suppress(OSError):  # the disk may be full; the error below reports this
                file.truncate(self._whole)
            with contextlib.suppress(OSError):
                file.close()
        path = self._recording.path
        error = OSError(f"The recording to {path!r} has stopped ({cause}); the client continues without it.")
        error.__cause__ = cause
        self._report(error)
