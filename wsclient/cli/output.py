"""What commands print: messages on stdout, one per line, everything else on stderr."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sys
from typing import Any, Final, Literal

from .._errors import printable

__all__ = ["Color", "Output"]

Color = Literal["auto", "always", "never"]

_MARKUP: Final = {"notice": "\033[2m", "warning": "\033[33m", "error": "\033[31m"}
_PLAIN: Final = "\033[0m"
_LONGEST: Final = 1_000_000
"""Characters of a line on a terminal."""


class Output:
    """Prints messages and notices. Used by one thread, except ``notice`` and ``warn``, which any thread may call: each
    writes one whole line.

    Args:
        color: whether to use colours; ``"auto"``: on a terminal, unless the environment has ``NO_COLOR``
            (https://no-color.org) or ``TERM=dumb``.
        raw: print messages as they came: text unchanged, binary messages as bytes.
    """

    def __init__(self, color: Color = "auto", *, raw: bool = False) -> None:
        self._raw = raw
        self.is_terminal = sys.stdout.isatty()
        self.has_color = _wants_color(color, self.is_terminal)
        self._notices_have_color = _wants_color(color, sys.stderr.isatty())

    def message(self, message: Any, *, stamp: str = "") -> None:
        """Print a message as one line: JSON as JSON, text as text, binary as base64.

        A text that is not one line (it contains line breaks) is printed as a JSON string. On a terminal, control
        characters are escaped.

        Args:
            message: the message.
            stamp: begins the line; binary messages as they came have none.

        Raises:
            BrokenPipeError: nothing reads stdout any more.
        """
        if self._raw and isinstance(message, bytes):
            sys.stdout.flush()
            sys.stdout.buffer.write(message)
            sys.stdout.buffer.flush()
            return
        self.text(f"{stamp}{self.shown(message)}")

    def shown(self, message: Any) -> str:
        """Return the line that ``message`` prints for a message that is not printed as bytes."""
        line = message if self._raw and isinstance(message, str) else self.line(message)
        if self.is_terminal and not self._raw:
            line = printable(line, _LONGEST)
        if self.has_color and not isinstance(message, (str, bytes)):
            line = _colored(line)
        return line

    def text(self, line: str) -> None:
        """Print a line that is ready.

        Raises:
            BrokenPipeError: nothing reads stdout any more.
        """
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    @staticmethod
    def line(message: Any) -> str:
        """Return a message as one line of text, without colours."""
        if isinstance(message, bytes):
            return base64.b64encode(message).decode()
        if isinstance(message, str) and len(message.splitlines()) <= 1 and not message.endswith(("\n", "\r")):
            return message
        return json.dumps(message, ensure_ascii=False, default=str)

    def notice(self, text: str) -> None:
        """Print a line on stderr: what happens."""
        self._print("notice", text)

    def warn(self, text: str) -> None:
        """Print a line on stderr: what the user should know."""
        self._print("warning", text)

    def error(self, text: str) -> None:
        """Print the sentence of an error on stderr."""
        self._print("error", text)

    def _print(self, kind: str, text: str) -> None:
        line = printable(text, _LONGEST)
        if self._notices_have_color:
            line = f"{_MARKUP[kind]}{line}{_PLAIN}"
        with contextlib.suppress(OSError):  # stderr is closed: there is no place for notices
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


def _wants_color(color: Color, is_terminal: bool) -> bool:
    if color == "auto":
        return is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return color == "always"


def _colored(line: str) -> str:
    """Return a line of JSON with colours. rich takes 60 ms to import, so only a terminal pays for it."""
    from .coloring import colored_json

    return colored_json(line)
