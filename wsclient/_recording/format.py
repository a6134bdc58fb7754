"""The format of recordings: one JSON object per line, UTF-8. Pure. The client writes it, ``wsclient.testing`` reads it.

The first line is the head: ``{"format": "wsclient-recording", "version": 1, "client": ..., "redact": [...], "keep":
[...]}``. Each further line describes one event, in the order of the events on the connection. ``"at"`` is its time, in
seconds since the recording began:

==========  ========================================================================================================
``kind``    further members
==========  ========================================================================================================
open        ``connection`` (1 for the first), ``url``, ``subprotocol``, ``headers`` (pairs, the server's response)
message     ``connection``, ``direction`` (``sent`` or ``received``), and ``text`` or ``base64``. A heartbeat of the
            message protocol has ``heartbeat`` too, which is true
ping, pong  ``connection``, ``direction``, ``base64``
close       ``connection``, ``direction``, ``code`` (1005 for an empty frame), ``reason``
lost        ``connection``, ``error`` (name of its class), ``initiator``, ``code``, ``reason`` (as in ``Disconnect``)
failed      an attempt that failed, also in the set-up after ``open``: ``number`` (failed attempts in a row), ``error``
            (name of its class), ``status``
==========  ========================================================================================================

A line of an unknown kind is an error: a format with further kinds must have a higher version.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["FORMAT", "RECEIVED", "SENT", "VERSION", "Entry", "RecordedConnection", "RecordedSession", "head", "line",
           "parse", "payload"]  # fmt: skip

FORMAT: Final = "wsclient-recording"
VERSION: Final = 1
SENT: Final = "sent"
RECEIVED: Final = "received"

_DIGITS: Final = 6
"""Decimal places of ``at``: microseconds. The times of two threads can't be compared more precisely."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

_OPTIONAL_TEXT: Final = (str, type(None))
_OPTIONAL_NUMBER: Final = (int, type(None))
_MEMBERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "open": {"connection": int, "url": str, "subprotocol": _OPTIONAL_TEXT, "headers": list},
    "message": {"connection": int, "direction": str},
    "ping": {"connection": int, "direction": str, "base64": str},
    "pong": {"connection": int, "direction": str, "base64": str},
    "close": {"connection": int, "direction": str, "code": int, "reason": str},
    "lost": {"connection": int, "initiator": str, "code": _OPTIONAL_NUMBER, "reason": str, "error": _OPTIONAL_TEXT},
    "failed": {"number": int, "error": str, "status": _OPTIONAL_NUMBER},
}
"""For each kind of line, the members that it must have, with their types."""


@dataclass(frozen=True)
class Entry:
    """A recorded message or control frame.

    Attributes:
        line: the number of its line in the file, from 1.
        at: seconds since the recording began.
        kind: ``"message"``, ``"ping"``, ``"pong"`` or ``"close"``.
        direction: ``"sent"`` by the client, or ``"received"``.
        payload: its text or bytes; for a close frame, the reason.
        code: the code of a close frame; None for other kinds.
        is_heartbeat: whether the client sent it as a heartbeat of its message protocol; then the line has the member
            ``heartbeat``, which is true.
    """

    line: int
    at: float
    kind: str
    direction: str
    payload: str | bytes
    code: int | None = None
    is_heartbeat: bool = False


@dataclass
class RecordedConnection:
    """One connection of a recording.

    Attributes:
        number: its number, from 1.
        line: the number of the line that describes its opening.
        at: when it was opened, in seconds since the recording began.
        subprotocol: the negotiated subprotocol, or None.
        headers: the headers of the server's response.
        entries: its messages and control frames, in order.
        lost: how it ended: ``Disconnect.initiator`` and the close code. None if the recording
            ends before the connection does.
        lost_at: when it ended, in seconds since the recording began.
    """

    number: int
    line: int
    at: float
    subprotocol: str | None
    headers: list[tuple[str, str]]
    entries: list[Entry] = field(default_factory=list)
    lost: tuple[str, int | None] | None = None
    lost_at: float = 0.0


@dataclass
class RecordedSession:
    """The content of a recording file.

    Attributes:
        client: the recorded client's name.
        redact, keep: the options of the recording, see ``Recording``.
        connections: its connections, in order.
        failed: the number of failed attempts to connect.
    """

    client: str
    redact: tuple[str, ...]
    keep: tuple[str, ...]
    connections: list[RecordedConnection] = field(default_factory=list)
    failed: int = 0


# --- writing ----------------------------------------------------------------------------------------------------------


def head(client: str, redact: Iterable[str], keep: Iterable[str]) -> bytes:
    """The first line, encoded.

    Args:
        client: the client's name.
        redact, keep: the options of the recording, see ``Recording``.
    """
    members = {"format": FORMAT, "version": VERSION, "client": client, "redact": list(redact), "keep": list(keep)}
    return _encode(members).encode() + b"\n"


def line(at: float, kind: str, **members: Any) -> bytes:
    """Any other line, encoded.

    Args:
        at: seconds since the recording began.
        kind: the kind of the line, see above.
        members: its further members.
    """
    return _encode({"at": round(at, _DIGITS), "kind": kind, **members}).encode(errors="replace") + b"\n"


def payload(data: str | bytes) -> dict[str, str]:
    """The member that contains a payload: ``text`` or ``base64``."""
    return {"text": data} if isinstance(data, str) else {"base64": base64.b64encode(data).decode()}


# --- reading ----------------------------------------------------------------------------------------------------------


def parse(lines: Iterable[bytes], name: str) -> RecordedSession:
    """Parse a recording.

    Args:
        lines: the lines of the file.
        name: the file's name, for error texts.

    Raises:
        ValueError: the file is not a recording, is damaged, or has a newer version. The error text contains the line's
            number.
    """
    session: RecordedSession | None = None
    for number, text in enumerate(lines, 1):
        try:
            members = _members(text)
            if session is None:
                session = _head(members)
            else:
                _add(session, number, members)
        except ValueError as error:
            raise ValueError(f"{name}, line {number}: {error}") from error
    if session is None:
        raise ValueError(f"{name}, line 1: the file is empty, so it is not a recording of wsclient.")
    return session


def _members(text: bytes) -> dict[str, Any]:
    if not text.endswith(b"\n"):
        raise ValueError("the line is cut off; record the session again.")
    try:
        members = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"this is not JSON ({error}); the file is damaged or not a recording.") from error
    if not isinstance(members, dict):
        raise ValueError("this is not a JSON object; the file is damaged or not a recording.")
    return members


def _head(members: Mapping[str, Any]) -> RecordedSession:
    if members.get("format") != FORMAT:
        raise ValueError(f'a recording of wsclient begins with "format": "{FORMAT}"; this file does not.')
    version = members.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"the version of the format must be a whole number, at least 1, not {version!r}.")
    if version > VERSION:
        raise ValueError(
            f"the recording has version {version} of the format, but this wsclient reads up to version {VERSION}; "
            "use a newer wsclient."
        )
    redact: Any
    keep: Any
    client, redact, keep = members.get("client"), members.get("redact"), members.get("keep")
    if not isinstance(client, str) or not _is_texts(redact) or not _is_texts(keep):
        raise ValueError("the head must have the client's name, redact and keep.")
    return RecordedSession(client, tuple(redact), tuple(keep))


def _add(session: RecordedSession, number: int, members: Mapping[str, Any]) -> None:
    kind, at = members.get("kind"), members.get("at")
    if not isinstance(kind, str) or kind not in _MEMBERS:
        raise ValueError(f"kind must be one of {', '.join(_MEMBERS)}, not {kind!r}.")
    if isinstance(at, bool) or not isinstance(at, (int, float)) or not 0 <= at < float("inf"):
        raise ValueError(f"at must be a number of seconds, at least 0, not {at!r}.")
    for name, wanted in _MEMBERS[kind].items():
        if not _is(members.get(name, ...), wanted):
            raise ValueError(f"the line of kind {kind} lacks a valid {name!r}.")
    if kind == "failed":
        session.failed += 1
    elif kind == "open":
        session.connections.append(_opened(session, number, float(at), members))
    else:
        _extend(_connection(session, members["connection"]), number, float(at), kind, members)


def _opened(session: RecordedSession, number: int, at: float, members: Mapping[str, Any]) -> RecordedConnection:
    expected = len(session.connections) + 1
    if members["connection"] != expected:
        raise ValueError(f"connection {members['connection']} is opened, but the next connection is {expected}.")
    headers = members["headers"]
    if not all(isinstance(pair, list) and len(pair) == 2 and _is_texts(pair) for pair in headers):
        raise ValueError("headers must be a list of pairs of text.")
    return RecordedConnection(expected, number, at, members["subprotocol"], [(name, value) for name, value in headers])


def _connection(session: RecordedSession, number: int) -> RecordedConnection:
    if not 1 <= number <= len(session.connections):
        raise ValueError(f"connection {number} was not opened.")
    connection = session.connections[number - 1]  # not always the last one: a renewal has two for some time
    if connection.lost is not None:
        raise ValueError(f"connection {number} has ended before this line.")
    return connection


def _extend(connection: RecordedConnection, number: int, at: float, kind: str, members: Mapping[str, Any]) -> None:
    if kind == "lost":
        connection.lost, connection.lost_at = (members["initiator"], members["code"]), at
        return
    direction = members["direction"]
    if direction not in (SENT, RECEIVED):
        raise ValueError(f"direction must be {SENT!r} or {RECEIVED!r}, not {direction!r}.")
    if kind == "close":
        entry = Entry(number, at, kind, direction, members["reason"], members["code"])
    else:
        is_heartbeat = kind == "message" and direction == SENT and members.get("heartbeat") is True
        entry = Entry(number, at, kind, direction, _payload(members), is_heartbeat=is_heartbeat)
    connection.entries.append(entry)


def _payload(members: Mapping[str, Any]) -> str | bytes:
    text, data = members.get("text"), members.get("base64")
    if isinstance(text, str) and data is None:
        return text
    if not isinstance(data, str) or text is not None:
        raise ValueError("a payload must be either text or base64.")
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise ValueError(f"the base64 is damaged ({error}).") from error


def _is(value: Any, wanted: Any) -> bool:
    return isinstance(value, wanted) and not isinstance(value, bool)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)
