"""``record=``: what crossed the wire, written down while it happens.

Guarantees:
    * Whoever writes to the line notes a message by one atomic append, at the moment the operating system has all of it,
      and while it owns the way out: so the notes stand in the order of the wire, and a message that was cut off and
      sent again stands there once. The I/O thread notes what came, after it has seen to it that whatever may have
      provoked it is noted. It alone formats, redacts and writes, in its turns; no lock is held or taken for it.
    * What waits to be written is bounded: beyond ``MAX_BACKLOG`` bytes senders leave their messages in the queue until
      the I/O thread has written.
    * A file that can't be written ends the recording, is logged and told to ``on_error`` once, and harms nobody else.
    * A forked child writes nothing.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .._rfc6455.close import parse_close
from .._rfc6455.frames import Opcode
from .._rfc6455.handshake import shown
from .._rfc6455.url import redact
from . import format as recording_format
from .redaction import Redactor

if TYPE_CHECKING:
    import io

    from .._models import Disconnect
    from .._rfc6455.http11 import Headers

__all__ = ["Recorder", "Recording", "checked_recording"]

MAX_BACKLOG: Final = 256 * 1024
"""Bytes noted by senders and not yet written: four of the largest writes, and some 20 ms of the I/O thread's time."""

_NOTE_BYTES: Final = 100
"""What a note counts for beside its payload, so that many tiny ones are bounded as well."""

_FACTS: Final = frozenset({"open", "lost", "failed"})
_KINDS: Final = {Opcode.TEXT: "message", Opcode.BINARY: "message", Opcode.PING: "ping", Opcode.PONG: "pong"}


@dataclass(frozen=True)
class Recording:
    """Where a session is recorded, and what is secret in it; given as ``record=``. A plain path will mostly do.

    Args:
        path: the file; ``start()`` makes it anew, whatever was in it. Its folder must exist. One client writes to it.
        redact: names of further JSON members and headers that are secret, beside those ending with password, passwd,
            pwd, passphrase, passcode, token, secret, api_key, access_key, secret_key, private_key, authorization, auth,
            bearer, jwt, credential(s), cookie(s), session or session_id. Case, ``_`` and ``-`` don't count.
        keep: names that are not secret here, though they end like one of those.

    Secrets are found by their names: one that stands in a list, in text that is no JSON or in a URL's path is not.
    """

    path: str | os.PathLike[str]
    redact: Sequence[str] = ()
    keep: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", _checked_path(self.path))  # absolute: the program may change its folder
        object.__setattr__(self, "redact", _checked_names("redact", self.redact))
        object.__setattr__(self, "keep", _checked_names("keep", self.keep))


def checked_recording(record: Any) -> Recording:
    """The ``record=`` option where it is given, validated.

    Raises:
        TypeError: it is neither a path nor a ``Recording``.
        ValueError: nothing can be written there.
    """
    return record if isinstance(record, Recording) else Recording(record)


class Recorder:
    """Writes one client's recording. Owned by the I/O thread, but for ``sent``."""

    __slots__ = ("_begun_at", "_connections", "_file", "_name", "_noted", "_notes", "_recording", "_redactor", "_tell",
                 "_wake", "_whole", "_written")  # fmt: skip

    def __init__(
        self, recording: Recording, name: str, wake: Callable[[], object], tell: Callable[[BaseException], object]
    ) -> None:
        """
        Args:
            recording: where to, and what is secret.
            name: the client's.
            wake: has the I/O thread look at the notes.
            tell: gets the error that ends the recording, and logs it.
        """
        self._recording = recording
        self._name = name
        self._wake = wake
        self._tell = tell
        self._redactor = Redactor(recording.redact, recording.keep)
        self._file: io.FileIO | None = None  # None before the beginning, after the end, and in a forked child
        self._begun_at = 0.0
        self._connections = 0
        self._notes: deque[tuple[float, Any, Any]] = deque()
        self._noted = 0  # bytes ever noted by owners of the line, one at a time
        self._written = 0  # bytes of those ever taken off the notes, by the I/O thread
        self._whole = 0  # bytes of the file that are whole lines

    # --- the owner of the line ---------------------------------------------------------------------------------------

    def sent(self, connection: int, opcode: Opcode, payload: bytes) -> None:
        """The operating system has all of a message or control frame."""
        if self._file is None:
            return
        self._noted += len(payload) + _NOTE_BYTES
        self._notes.append((time.monotonic(), opcode, (connection, recording_format.SENT, payload)))
        self._wake()

    @property
    def full(self) -> bool:
        """Whether so much waits to be written that no more should be sent before."""
        return self._noted - self._written > MAX_BACKLOG

    # --- the I/O thread ----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Make the file anew."""
        try:
            self._file = open(self._recording.path, "wb", buffering=0)  # noqa: SIM115
        except OSError as error:
            self._stop(error)
            return
        self._begun_at = time.monotonic()
        self._put(recording_format.head(self._name, self._recording.redact, self._recording.keep))

    def opened(self, url: str, subprotocol: str | None, headers: Headers) -> int:
        """A connection was upgraded; gives its number in the recording, which counts those that fail their set-up."""
        self._connections += 1
        pairs = [[name, self._header(name, value)] for name in headers for value in headers.get_all(name)]
        agreed = None if subprotocol is None else shown(subprotocol)
        self._note("open", {"url": redact(url), "subprotocol": agreed, "headers": pairs}, self._connections)
        return self._connections

    def received(self, connection: int, opcode: Opcode, payload: Any) -> None:
        """A whole message or a control frame has come."""
        if self._file is not None:
            self._notes.append((time.monotonic(), opcode, (connection, recording_format.RECEIVED, payload)))
            if not isinstance(payload, tuple) and len(payload) > MAX_BACKLOG:
                self.write()  # what was inflated may be a thousand times what was read

    def lost(self, connection: int, disconnect: Disconnect) -> None:
        """A connection is over."""
        error = None if disconnect.error is None else type(disconnect.error).__name__
        members = {"initiator": disconnect.initiator, "code": disconnect.code, "error": error}
        self._note("lost", {**members, "reason": self._redactor.text(disconnect.reason)}, connection)

    def failed(self, error: BaseException, number: int) -> None:
        """An attempt to connect failed. Its class and status are told; its text may quote the server, or user code."""
        self._note(
            "failed", {"number": number, "error": type(error).__name__, "status": getattr(error, "status", None)}
        )

    def write(self) -> None:
        """Write what has been noted."""
        if not self._notes:
            return
        try:
            self._put(b"".join(self._lines()))
        except Exception as error:  # a defect here must not end the client either
            self._stop(error)

    def close(self) -> None:
        """Write the rest, and close the file."""
        self.write()
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:  # NFS tells here that a write has failed
                self._stop(error)

    def after_fork(self) -> None:
        """This is a forked child: the file belongs to the parent. Nothing is buffered here that could be written."""
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
            return shown(value)
        return self._redactor.header(name, value)

    def _lines(self) -> Iterable[bytes]:
        for _ in range(len(self._notes)):  # no longer: senders may note more meanwhile
            at, kind, members = self._notes.popleft()
            at -= self._begun_at
            if kind in _FACTS:
                yield recording_format.line(at, kind, **members)
                continue
            connection, direction, payload = members
            if direction is recording_format.SENT:
                self._written += len(payload) + _NOTE_BYTES
            yield self._frame(at, kind, {"connection": connection, "direction": direction}, payload)

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
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[file.write(rest) or 0 :]
        except OSError as error:
            self._stop(error)
            return
        self._whole += len(data)

    def _stop(self, cause: Exception) -> None:
        """No more is recorded. What is in the file ends with a whole line, if it lets us."""
        file, self._file = self._file, None
        self._notes.clear()
        self._written = self._noted
        if file is not None:
            with contextlib.suppress(OSError):  # the disk is full, or gone; that is told below
                file.truncate(self._whole)
            with contextlib.suppress(OSError):
                file.close()
        path = os.fspath(self._recording.path)
        error = OSError(f"The recording to {path!r} has stopped ({cause}); the client goes on without it.")
        error.__cause__ = cause
        self._tell(error)


def _checked_path(path: Any) -> str:
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise TypeError(f"record must be a path, a wsclient.Recording or None, not {path!r}.")
    whole = os.path.abspath(os.fspath(path))
    folder = os.path.dirname(whole)
    if not os.fspath(path) or "\0" in whole:
        raise ValueError(f"record must be the path of a file, not {os.fspath(path)!r}.")
    if not os.path.isdir(folder):
        raise ValueError(f"record: the folder {folder!r} does not exist; make it first.")
    if os.path.exists(whole):
        mode = os.stat(whole).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISCHR(mode):
            raise ValueError(f"record: {whole!r} is no file that can be written anew.")
    return whole


def _checked_names(option: str, names: Any) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{option} must be a list of names, not {names!r}.")
    if not all(names):
        raise ValueError(f"{option} holds an empty name, which every name ends with.")
    return tuple(names)
