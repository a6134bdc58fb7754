"""The phases after TLS, made with a client of this package: the upgrade, pings, and the end."""

from __future__ import annotations

import json
import ssl
import statistics
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NoReturn

from .._errors import (
    ClientClosed,
    ConnectError,
    HandshakeError,
    ProxyError,
    RequestTimeout,
    SessionError,
    WebSocketClientError,
    printable,
)
from .._models import State
from .._recording.redaction import Redactor
from .._rfc6455 import url as _url
from .._rfc6455.handshake import REDIRECTS, redacted
from . import causes
from .diagnosis import Diagnosis, Failed, Finding, duration
from .exits import ExitCode, sentence_of

if TYPE_CHECKING:
    from .._client.client import Client
    from .causes import Sent

__all__ = ["Checks", "Redirected", "Tap"]

_PINGS: Final = 5
"""Pings that are sent, one after the other."""

_LONGEST_WAIT: Final = 5.0
"""Seconds to wait for a pong, and for the answer to a close frame. A smaller ``--timeout`` replaces it."""

_SHOWN_LINES: Final = 8
"""Lines of the body of an HTTP response that are printed without ``--json``."""

_SHOWN: Final = 200
"""Characters of each such line, and of a header, that are printed."""

_KEPT: Final = 4000
"""Characters of the body that ``--json`` prints."""

_redactor: Final = Redactor()


class Redirected(Exception):
    """The server redirects the upgrade.

    Args:
        location: the ``Location`` header.
    """

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.location = location


class Tap:
    """A value for the client's option ``record`` that stores the pings and close frames, and counts the messages.

    Args:
        then: gets the lines too; None for nothing.

    Attributes:
        frames: the decoded lines of pings and close frames, see ``_recording.format``.
        messages: how many messages were received.
    """

    def __init__(self, then: Callable[[bytes], object] | None = None) -> None:
        self._then = then
        self.frames: list[dict[str, Any]] = []
        self.messages = 0

    def __call__(self, lines: bytes) -> None:
        """Read some lines of the recording; called on the client's I/O thread."""
        for line in lines.splitlines():
            entry = json.loads(line)
            if entry.get("kind") in ("ping", "close"):
                self.frames.append(entry)
            elif entry.get("kind") == "message" and entry["direction"] == "received":
                self.messages += 1
        if self._then is not None:
            self._then(lines)

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Return the frames of this kind, in order."""
        return [one for one in list(self.frames) if one["kind"] == kind]


class Checks:
    """Goes through the phases of one client.

    Args:
        client: not started; its socket comes from ``NetworkPhases``, except for TLS within TLS.
        tap: its option ``record``.
        diagnosis: gets the findings.
        timeout: seconds for each phase.
    """

    def __init__(self, client: Client, tap: Tap, diagnosis: Diagnosis, timeout: float) -> None:
        self._client = client
        self._tap = tap
        self._diagnosis = diagnosis
        self._longest_wait = min(timeout, _LONGEST_WAIT)
        self._opened_at = time.monotonic()

    def upgrade(self, sent: Sent, speaks_tls: Callable[[], bool] | None) -> None:
        """Open the connection.

        Args:
            sent: what the request contains.
            speaks_tls: finds out whether the port uses TLS; None if the URL begins with ``wss``.

        Raises:
            Failed: the connection was not opened, or the server ended it at once.
            Redirected: it redirects.
        """
        finding = self._diagnosis.add(Finding("upgrade"))
        began = time.monotonic()
        try:
            self._client.start()
        except HandshakeError as error:
            finding.seconds = time.monotonic() - began
            self._refused(finding, error, sent, speaks_tls)
        except ConnectError as error:
            finding.seconds = time.monotonic() - began
            raise self._unanswered(finding, error, speaks_tls) from error
        except ClientClosed as error:  # the server has accepted, and ended the connection at once
            raise self._lost(finding) from error
        finding.seconds = time.monotonic() - began
        self._opened_at = time.monotonic()
        self._describe(finding)

    def pings(self) -> None:
        """Measure round trips.

        Raises:
            Failed: the connection ended.
        """
        finding = self._diagnosis.add(Finding("pings"))
        trips: list[float] = []
        facts = finding.facts = {"sent": 0, "round_trips": trips, "min": None, "median": None, "max": None}
        for number in range(1, _PINGS + 1):
            facts["sent"] = number
            try:
                trips.append(round(self._client.ping(self._longest_wait), 6))
            except RequestTimeout:
                finding.state = "warning"
                finding.details = ["the server does not answer pings, or is busy; RFC 6455 §5.5.2 demands pongs"]
                break
            except WebSocketClientError as error:
                raise self._lost(finding) from error
        finding.summary = f"{len(trips)} of {facts['sent']} answered"
        if trips:
            low, middle, high = min(trips), round(statistics.median(trips), 6), max(trips)
            facts |= {"min": low, "median": middle, "max": high}
            finding.summary += f": min {duration(low)}, median {duration(middle)}, max {duration(high)}"

    def watch(self, seconds: float) -> None:
        """Wait, and report the pings and messages that the server has sent since the upgrade.

        Raises:
            Failed: the connection ended.
        """
        finding = self._diagnosis.add(Finding("server"))
        if seconds:
            self._client.wait_until(State.CLOSED, seconds)
        if self._client.last_disconnect is not None:
            raise self._lost(finding)
        watched = time.monotonic() - self._opened_at
        pings = [one for one in self._tap.of_kind("ping") if one["direction"] == "received"]
        interval = None
        if len(pings) > 1:
            interval = round((pings[-1]["at"] - pings[0]["at"]) / (len(pings) - 1), 6)
        finding.facts = {"watched": round(watched, 3), "pings": len(pings), "ping_interval": interval,
                         "messages": self._tap.messages}  # fmt: skip
        every = "" if interval is None else f", every {duration(interval)}"
        what = f"{_count(len(pings), 'ping')}{every}" if pings else "no ping"
        hint = "" if pings or seconds else "; --watch SECONDS waits longer"
        finding.summary = f"sent {what} and {_count(self._tap.messages, 'message')} within {duration(watched)}{hint}"

    def close(self) -> None:
        """Close the connection, and report how the server answers.

        Raises:
            Failed: the server had closed it already.
        """
        finding = self._diagnosis.add(Finding("close"))
        began = time.monotonic()
        self._client.close(timeout=self._longest_wait)
        finding.seconds = time.monotonic() - began
        frames = self._tap.of_kind("close")
        if frames and frames[0]["direction"] == "received":  # the server closed first
            raise self._lost(finding)
        answers = frames[1:]
        finding.facts = {"code": None, "reason": None}
        if answers:
            code, reason = answers[0]["code"], answers[0]["reason"]
            finding.facts = {"code": code, "reason": reason}
            words = f" {printable(reason, _SHOWN)!r}" if reason else ""
            finding.summary = f"close code 1000 was answered with {code}{words}"
            return
        finding.state = "warning"
        finding.summary = "the server did not answer the close frame"

    # --- the parts ---------------------------------------------------------------------------------------------------

    def _describe(self, finding: Finding) -> None:
        connection = self._client.connection
        if connection is None:  # pragma: no cover  (it has ended at this moment; the next phase reports it)
            finding.summary = "101"
            return
        extensions = connection.headers.get("Sec-WebSocket-Extensions", "")
        subprotocol = None if connection.subprotocol is None else redacted(connection.subprotocol)
        finding.facts |= {
            "status": 101,
            "url": connection.url,
            "subprotocol": subprotocol,
            "extensions": extensions or None,
            "headers": _headers(connection.headers),
            "tls_version": connection.tls_version,
            "cipher": connection.cipher,
            "remote_address": connection.remote_address,
        }
        finding.summary = "101 Switching Protocols"
        finding.details = [
            f"subprotocol {printable(subprotocol, _SHOWN) if subprotocol else 'none'}",
            f"extensions {printable(extensions, _SHOWN) or 'none'}",
            *_header_lines(connection.headers),
        ]

    def _refused(
        self, finding: Finding, error: HandshakeError, sent: Sent, speaks_tls: Callable[[], bool] | None
    ) -> NoReturn:
        body = _redactor.text(error.body.decode(errors="replace"))
        finding.facts |= {"status": error.status or None, "headers": _headers(error.headers), "body": body[:_KEPT]}
        finding.summary = _status(error.status) if error.status else "the answer is not HTTP"
        finding.details = [*_header_lines(error.headers), *_body_lines(body)]
        if error.status in REDIRECTS and "Location" in error.headers:
            finding.summary += " redirects to " + printable(_url.redact(error.headers["Location"]), _SHOWN)
            finding.state = "warning"
            raise Redirected(error.headers["Location"])
        is_other_protocol = error.status in (0, 400) and speaks_tls is not None and speaks_tls()
        cause = causes.of_refusal(error, sent, speaks_tls=is_other_protocol)
        raise Failed(finding, _refusal(error), cause) from error

    def _unanswered(self, finding: Finding, error: ConnectError, speaks_tls: Callable[[], bool] | None) -> Failed:
        finding.summary = "no connection"
        if isinstance(error, SessionError):
            return Failed(finding, sentence_of(error, 500), "the server refused the log-in of --protocol.")
        # The client itself makes a TLS handshake only for TLS within TLS; `NetworkPhases` makes all other handshakes.
        if isinstance(error.last, ssl.SSLCertVerificationError):
            words = f"The certificate was refused: {error.last.verify_message.rstrip('.')}."
            return Failed(finding, words, "the certificate does not match, has expired, or needs its CA: --ca FILE.")
        if isinstance(error, ProxyError):
            return Failed(finding, sentence_of(error, 500), causes.of_proxy(error.last, sentence_of(error, 500)))
        cause = causes.of_unanswered_upgrade(error.last, speaks_tls=speaks_tls is not None and speaks_tls())
        return Failed(finding, sentence_of(error, 500), cause)

    def _lost(self, finding: Finding) -> Failed:
        """Return the failure of a phase during which the connection ended."""
        ended = self._client.last_disconnect
        code = None if ended is None else ended.code
        reason = "" if ended is None else printable(ended.reason, _SHOWN)
        after = duration(time.monotonic() - self._opened_at)
        how = "without a close frame" if code is None else f"with the code {code}"
        finding.facts |= {"close_code": code, "close_reason": reason}
        finding.summary = "the connection ended"
        words = f"The connection ended {how} {after} after the upgrade{': ' if reason else ''}{reason.rstrip('.')}."
        return Failed(finding, words, causes.of_close(code), ExitCode.CONNECTION_LOST)


def _status(status: int) -> str:
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:  # a status that is not registered, such as 520
        return f"HTTP {status}"


def _refusal(error: HandshakeError) -> str:
    """The sentence about an answer that is not a valid 101."""
    if error.status in (0, HTTPStatus.SWITCHING_PROTOCOLS):
        return sentence_of(error, 500)
    return f"The server refused the upgrade with {_status(error.status)}."


def _headers(headers: Mapping[str, str]) -> list[list[str]]:
    """The headers, redacted, as pairs."""
    found = []
    for name in headers:
        values = headers.get_all(name) if hasattr(headers, "get_all") else [headers[name]]
        found += [[name, _shown_header(name, value)] for value in values]
    return found


def _shown_header(name: str, value: str) -> str:
    if name == "location":
        return _url.redact(value)
    if name == "sec-websocket-protocol":
        return redacted(value)
    return _redactor.header(name, value)


def _header_lines(headers: Mapping[str, str]) -> list[str]:
    return [f"{name}: {printable(value, _SHOWN)}" for name, value in _headers(headers)]


def _body_lines(body: str) -> list[str]:
    """The first lines of a body, for people."""
    lines = [line.strip() for line in body.splitlines() if line.strip()]
    shown = [f"| {printable(line, _SHOWN)}" for line in lines[:_SHOWN_LINES]]
    return [*shown, f"| ... {len(lines) - _SHOWN_LINES} more lines"] if len(lines) > _SHOWN_LINES else shown


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
