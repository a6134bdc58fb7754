"""``-v`` and ``-vv``: what happens to the connections, and every frame, on stderr."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .._client.client import Client
    from .output import Output

__all__ = ["FramePrinter", "OpenNotice", "frame_line", "log_to"]

_ARROWS: Final = {"sent": ">", "received": "<"}


class _NoticeHandler(logging.Handler):
    """Prints the records of the client, without tracebacks."""

    def __init__(self, output: Output, level: int) -> None:
        super().__init__(level)
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        show = self._output.warn if record.levelno >= logging.WARNING else self._output.notice
        show(f"* {record.getMessage()}")


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
    """A hook ``on_open`` that prints how the connection was made.

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
        if isinstance(connection.remote_address, tuple):  # the URL of a Unix socket is its path
            parts.append(f"({':'.join(map(str, connection.remote_address[:2]))})")
        if connection.tls_version:
            parts.append(f"{connection.tls_version} {connection.cipher}")
        if connection.subprotocol:
            parts.append(f"subprotocol {connection.subprotocol}")
        if connection.compression:
            parts.append(str(connection.compression))
        self._output.notice(" ".join(parts))


def frame_line(entry: dict[str, Any]) -> str | None:
    """Return one line of a recording as text for people; None for the head.

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
