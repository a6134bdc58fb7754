"""``wsclient replay --to``: plays the client's side of a recording against a real server."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .._errors import ClientClosed, WebSocketClientError, printable
from .._recording import format as recording_format
from .._recording.redaction import REDACTED, Redactor, normal
from .._rfc6455.close import SENDABLE_CLOSE_CODES, CloseCode
from .._rfc6455.handshake import redacted
from ..testing._replay.matching import Matcher
from ..testing._replay.playing import CLIENT_CLOSE, CLOSE, CUT, EXPECT, SEND, RecordedStep, recorded_steps
from .comparison import Expected, with_secrets
from .exits import CommandError, ExitCode
from .options import CLOSE_TIMEOUT
from .pairs import id_names
from .recording_view import counted
from .values import items

if TYPE_CHECKING:
    from .._client.client import Client
    from .._receiving.streams import Stream
    from .._recording.format import RecordedConnection
    from .options import Connection
    from .output import Output

__all__ = ["play"]

_TIMEOUT: Final = 10.0
"""Default of ``--timeout``: seconds to wait for a message of the server, in addition to the time that the message took
in the recording."""

_LONGEST_END: Final = 1.0
"""Longest time in seconds for which further messages are read before the client closes the connection. The recorded
time between the last message and the end of the connection is used if it is shorter."""


def play(
    file: str,
    url: str,
    connection: Connection,
    output: Output,
    *,
    secrets: Sequence[str],
    ignore: Sequence[str],
    speed: float | None,
) -> int:
    """Play the client's side of each recorded connection, and print what the server sends differently.

    Args:
        file: the recording.
        url: of the server.
        connection: the shared options of the command line.
        output: prints.
        secrets: what replaces redacted values, as ``NAME=TEXT`` or ``NAME:=JSON``.
        ignore: names of members whose values may differ.
        speed: 1.0 keeps the recorded pauses before the client's messages, 2.0 halves them; None: no pauses.

    Returns:
        The exit code: 1 if something differs.

    Raises:
        CommandError: ``secrets`` lacks the value of a redacted member, or can't be used; or the recorded subprotocol is
            redacted.
        ConnectError: the server can't be reached, or refuses the connection.
        ValueError: the file is not a recording, or is damaged.
        OSError: it can't be read.
    """
    with Path(file).open("rb") as lines:
        session = recording_format.parse(lines, file)
    ids = id_names(connection.protocol)
    matcher = Matcher(Redactor((*session.redact, *ignore), session.keep), ids)
    scripts = [
        _Script(recorded, recorded_steps(recorded, matcher), _subprotocols(recorded, connection))
        for recorded in session.connections
    ]
    payloads = _payloads(scripts, _values(secrets))
    # `--protocol` is left out: a protocol may send its own log-in, but the recorded messages already contain it.
    connection = dataclasses.replace(connection, protocol=None)
    report = _Report(output)
    for script in scripts:
        exchange = _Exchange(script, Expected(script.server_messages, matcher, ids), payloads, report, speed)
        exchange.timeout = _TIMEOUT if connection.timeout is None else connection.timeout
        exchange.play(connection, url, output)
    output.notice(f"wsclient: {report.summary(len(scripts))}.")
    return ExitCode.SERVER_ERROR if report.differences else ExitCode.OK


@dataclass(frozen=True)
class _Script:
    """One recorded connection, with its steps and the subprotocols to offer.

    The names of the steps are those of a server that plays the recording: ``EXPECT`` is a message that the client
    sends, ``SEND`` a message that the server sends.
    """

    recorded: RecordedConnection
    steps: list[RecordedStep]
    subprotocols: tuple[str, ...]

    @property
    def server_messages(self) -> list[RecordedStep]:
        """The server's messages."""
        return [step for step in self.steps if step.what is SEND]


def _subprotocols(recorded: RecordedConnection, connection: Connection) -> tuple[str, ...]:
    if connection.subprotocol or recorded.subprotocol is None:
        return connection.subprotocol
    if recorded.subprotocol.endswith("***"):
        raise CommandError(
            f"The recording has only the beginning of the subprotocol {recorded.subprotocol}; give it by --subprotocol."
        )
    return (recorded.subprotocol,)


def _values(secrets: Sequence[str]) -> dict[str, Any]:
    values = items(secrets) or {}
    if not isinstance(values, dict):
        raise CommandError("--set needs a name: NAME=TEXT or NAME:=JSON.")
    return {normal(name): value for name, value in values.items()}


def _payloads(scripts: Sequence[_Script], values: Mapping[str, Any]) -> dict[int, str | bytes]:
    """Return the client's messages by their line numbers. The secrets replace the redacted values.

    Raises:
        CommandError: a secret is missing.
    """
    payloads: dict[int, str | bytes] = {}
    missing: dict[str, int] = {}
    for script in scripts:
        for step in script.steps:
            if step.what is EXPECT:
                payloads[step.line], names = with_secrets(step.message.payload, values)
                missing = {**dict.fromkeys(names, step.line), **missing}
                if not names and _is_redacted(payloads[step.line]):
                    raise CommandError(
                        f"Line {step.line} has a redacted value that --set can't replace; record the session again, "
                        "with --keep NAME if the value is not secret."
                    )
    if missing:
        wanted = " ".join(f"--set {name}=..." for name in missing)
        raise CommandError(
            f"The client sent secrets that are redacted in the recording (line {min(missing.values())}); add {wanted}"
        )
    return payloads


def _is_redacted(payload: str | bytes) -> bool:
    return REDACTED in payload if isinstance(payload, str) else REDACTED.encode() in payload


class _Report:
    """Prints differences, one sentence per line.

    Attributes:
        differences: how many there are.
        sent: how many messages were sent.
        received: how many messages were received that equal the recorded ones.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self.differences = 0
        self.sent = 0
        self.received = 0

    def differ(self, number: int, line: int | None, phrase: str) -> None:
        """Print a difference.

        Args:
            number: of the recorded connection.
            line: of the recording, or None.
            phrase: what differs.
        """
        self.differences += 1
        place = f"connection {number}" if line is None else f"connection {number}, line {line}"
        self._output.text(f"{place}: {phrase}.")

    def summary(self, connections: int) -> str:
        """Return what was compared, as a phrase."""
        passed = f"{counted(connections, 'connection')}, {self.sent} sent, {self.received} received as recorded"
        return f"{passed}; {counted(self.differences, 'difference')}"


class _Exchange:
    """Plays one recorded connection.

    Args:
        script: the connection.
        expected: the server's messages.
        payloads: the client's messages by their lines.
        report: prints differences.
        speed: see ``play``.

    Attributes:
        timeout: seconds to wait for a message in addition to the time that it took in the recording.
    """

    timeout = _TIMEOUT

    def __init__(
        self,
        script: _Script,
        expected: Expected,
        payloads: Mapping[int, str | bytes],
        report: _Report,
        speed: float | None,
    ) -> None:
        self._script = script
        self._number = script.recorded.number
        self._expected = expected
        self._payloads = payloads
        self._report = report
        self._speed = speed
        # When the last step was made: in this replay (on the monotonic clock), and in the recording.
        self._step_at, self._recorded_at = 0.0, script.recorded.at
        self._stream: Stream

    def play(self, connection: Connection, url: str, output: Output) -> None:
        """Connect, send the client's messages, and compare the server's.

        Raises:
            ConnectError: the server can't be reached, or refuses the connection.
        """
        client = connection.client(url, output, json=None, subprotocols=self._script.subprotocols)
        with client.listen() as self._stream:
            # If the server has already ended the connection, `start` may raise ClientClosed. `_play` then compares the
            # messages that were received, and the end.
            with contextlib.suppress(ClientClosed):
                client.start()
            try:
                self._step_at = time.monotonic()
                self._check_subprotocol(client)
                self._play(client)
            finally:
                client.close(self._close_code(), timeout=CLOSE_TIMEOUT)

    def _play(self, client: Client) -> None:
        step = None
        try:
            for step in self._script.steps:
                if step.what is EXPECT:
                    self._await(step)
                    self._pause(step)
                    client.send(self._payloads[step.line])
                    self._report.sent += 1
                    self._step_at, self._recorded_at = time.monotonic(), step.at
            self._await(None)
            self._end(step)
        except WebSocketClientError:
            self._check_end(client, step)

    def _await(self, until: RecordedStep | None) -> None:
        """Wait for the server's messages that precede a step in the recording; None: for all."""
        line = until.line if until is not None else 1 + max((one.line for one in self._script.steps), default=0)
        while left := self._expected.before(line):
            took = max(0.0, max(step.at for step in left) - self._recorded_at)
            if not self._take(self._step_at + took + self.timeout):
                for step in left:
                    self._report.differ(self._number, step.line, f"not received: {printable(str(step.message))}")
                self._expected.give_up(left)

    def _pause(self, step: RecordedStep) -> None:
        if self._speed is not None:
            self._read_until(self._step_at + max(0.0, step.at - self._recorded_at) / self._speed)

    def _read_until(self, end: float) -> None:
        while self._take(end):
            pass

    def _take(self, end: float) -> bool:
        """Receive and compare the next message. Return False if none has arrived at the time ``end``."""
        try:
            payload = self._stream.get(max(0.0, end - time.monotonic()))
        except TimeoutError:
            return False
        step, phrases = self._expected.take(payload)
        self._report.received += not phrases
        for phrase in phrases:
            self._report.differ(self._number, None if step is None else step.line, phrase)
        return True

    def _end(self, last: RecordedStep | None) -> None:
        """Wait for the end of the connection, if the server closed it in the recording. Otherwise read further messages
        for a short time.
        """
        steps = self._script.steps
        if last is None or last.what is not CLOSE:  # a cut may have been a fault of the network
            has_end = len(steps) > 1 and steps[-1].what in (CLIENT_CLOSE, CUT)
            self._read_until(time.monotonic() + (min(steps[-1].at - steps[-2].at, _LONGEST_END) if has_end else 0.0))
            return
        self._read_until(self._step_at + max(0.0, last.at - self._recorded_at) + self.timeout)
        self._report.differ(
            self._number,
            last.line,
            f"recorded: {_ended(last.code, str(last.message.payload))}; now: it did not end",
        )

    def _check_end(self, client: Client, reached: RecordedStep | None) -> None:
        """Compare the end of the connection with the recorded one."""
        last = self._script.steps[-1] if self._script.steps else None
        disconnect = client.last_disconnect
        code, reason = (None, "") if disconnect is None else (disconnect.code, disconnect.reason)
        if reached is last and last is not None and not len(self._expected) and last.what in (CLOSE, CUT):
            if last.what is CLOSE and code != last.code:
                self._report.differ(
                    self._number,
                    last.line,
                    f"recorded: {_ended(last.code, str(last.message.payload))}; now: {_ended(code, reason)}",
                )
            return
        line = reached.line if reached is not None else None
        left = f"; {len(self._expected)} recorded messages were not received" if len(self._expected) else ""
        self._report.differ(self._number, line, f"{_ended(code, reason)} too early{left}")

    def _check_subprotocol(self, client: Client) -> None:
        info = client.connection
        chosen = None if info is None or info.subprotocol is None else redacted(info.subprotocol)
        if info is not None and chosen != self._script.recorded.subprotocol:
            wanted = self._script.recorded.subprotocol
            self._report.differ(
                self._number, self._script.recorded.line, f"subprotocol: recorded {wanted}, now {chosen}"
            )

    def _close_code(self) -> int:
        last = self._script.steps[-1] if self._script.steps else None
        if last is not None and last.what is CLIENT_CLOSE and last.code in SENDABLE_CLOSE_CODES:
            return int(last.code or CloseCode.NORMAL)
        return int(CloseCode.NORMAL)


def _ended(code: int | None, reason: str = "") -> str:
    if code is None:
        return "the connection ended without a close frame"
    return f"the server closed with {code}{f' ({printable(reason)})' if reason else ''}"
