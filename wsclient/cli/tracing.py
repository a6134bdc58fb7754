"""The lines on stderr about connections: with ``-v`` the events, with ``-vv`` also every frame."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from .exits import in_shell_words, sentence_of

if TYPE_CHECKING:
    from .._client.client import Client
    from .._models import Attempt
    from .output import Output

__all__ = ["FramePrinter", "OpenNotice", "OutageNotice", "frame_line", "log_to"]

_ARROWS: Final = {"sent": ">", "received": "<"}


class _NoticeHandler(logging.Handler):
    """Prints the records of the client, without tracebacks."""

    def __init__(self, output: Output, level: int) -> None:
        super().__init__(level)
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        show = self._output.warn if record.levelno >= logging.WARNING else self._output.notice
        show(f"* {in_shell_words(record.getMessage())}")


class FramePrinter:
    """A value for the client's option ``record`` that prints every message and control frame, redacted.

    Args:
        output: prints.
    """

    def __init__(self, output: Output) -> None:
        self._output = output

    def __call__(self, lines: bytes) -> None:
        """Print some lines of the recording."""
        for line in lines.splitlines():
            shown = frame_line(json.loads(line))
            if shown is not None:
                self._output.notice(shown)


class OpenNotice:
    """A hook ``on_open`` that prints the address, the TLS version and the extensions of the connection.

    Args:
        output: prints.
        then: another hook ``on_open``, which is called afterwards.
    """

    def __init__(self, output: Output, then: Callable[[Client], object] | None = None) -> None:
        self._output = output
        self._then = then

    def __call__(self, client: Client) -> None:
        """Print a line, and call the other hook."""
        self._print(client)
        if self._then is not None:
            self._then(client)

    def _print(self, client: Client) -> None:
        connection = client.connection
        if connection is None:
            return
        parts = [f"* connected to {connection.url}"]
        if isinstance(connection.remote_address, tuple):  # else a Unix socket, whose address is in the URL
            parts.append(f"({':'.join(map(str, connection.remote_address[:2]))})")
        if connection.tls_version:
            parts.append(f"{connection.tls_version} {connection.cipher}")
        if connection.subprotocol:
            parts.append(f"subprotocol {connection.subprotocol}")
        if connection.compression:
            parts.append(str(connection.compression))
        self._output.notice(" ".join(parts))


class OutageNotice:
    """Prints a line when the first of several attempts to connect has failed, and a line when a connection is open
    after that. The object is the hook ``on_open``, and its method ``failed`` is the hook ``on_connect_error``. Only the
    hook thread uses it.

    Args:
        output: prints.
        then: another hook ``on_open``, which is called afterwards.
    """

    def __init__(self, output: Output, then: Callable[[Client], object] | None = None) -> None:
        self._output = output
        self._then = then
        self._has_failed = False  # an attempt since the last connection

    def failed(self, client: Client, attempt: Attempt) -> None:
        """Print the error of the first failed attempt. The last one is not printed: its error ends the command."""
        if self._has_failed or attempt.next_delay is None:
            return
        self._has_failed = True
        self._output.warn(f"wsclient: {sentence_of(attempt.error)} Further attempts follow; -v prints each of them.")

    def __call__(self, client: Client) -> None:
        """Print that the connection is open if an attempt had failed before, and call the other hook."""
        if self._has_failed:
            self._has_failed = False
            self._output.warn("wsclient: connected.")
        if self._then is not None:
            self._then(client)


def frame_line(entry: dict[str, Any]) -> str | None:
    """Return one line of a recording as text for people; None for the first line, which is the head of the file.

    Args:
        entry: the decoded line, see ``_recording.format``.
    """
    kind = entry.get("kind")
    if kind is None:
        return None
    at = f"{entry['at']:9.3f}"
    if kind in ("message", "ping", "pong", "close"):
        content = entry.get("text")
        if content is None and kind == "close":
            content = f"{entry['code']} {entry['reason']}".rstrip()
        elif content is None:
            content = entry.get("base64", "")
        shown = "" if kind == "message" else f"{kind} "
        return f"{at} {_ARROWS[entry['direction']]} {shown}{content}".rstrip()
    rest = " ".join(f"{name}={value}" for name, value in entry.items() if name not in ("kind", "at", "headers"))
    return f"{at} - {kind} {rest}"


def log_to(output: Output, level: int) -> None:
    """Print the records of all clients as notices, and pass them to no other handler.

    Args:
        output: prints.
        level: of ``logging``; records below it are not printed.
    """
    logger = logging.getLogger("wsclient")
    logger.propagate = False
    logger.setLevel(level)
    logger.handlers = [_NoticeHandler(output, level)]
