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
_RESET: Final = "\033[0m"
_LONGEST: Final = 1_000_000
"""Characters after which a line on a terminal or on stderr is cut."""


class Output:
    """Prints messages and notices. Any thread may call ``notice`` and ``warn``, since each call writes one whole line.
    One thread uses the other methods.

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
            stamp: the text at the beginning of the line. With ``raw``, it is not printed before a binary message.

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
        """Return the line for a message, with colours if they are used. Bytes become base64, also with ``raw``."""
        line = message if self._raw and isinstance(message, str) else self.line(message)
        if self.is_terminal and not self._raw:
            line = printable(line, _LONGEST)
        if self.has_color and not isinstance(message, (str, bytes)):
            line = _colored(line)
        return line

    def text(self, line: str) -> None:
        """Print a line without changes.

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
        """Print an event as a line on stderr."""
        self._print("notice", text)

    def warn(self, text: str) -> None:
        """Print a warning as a line on stderr."""
        self._print("warning", text)

    def error(self, text: str) -> None:
        """Print the sentence of an error on stderr."""
        self._print("error", text)

    def _print(self, kind: str, text: str) -> None:
        line = printable(text, _LONGEST)
        if self._notices_have_color:
            line = f"{_MARKUP[kind]}{line}{_RESET}"
        with contextlib.suppress(OSError):  # stderr is closed: there is no place for notices
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


def _wants_color(color: Color, is_terminal: bool) -> bool:
    if color == "auto":
        return is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return color == "always"


def _colored(line: str) -> str:
    """Return a line of JSON with colours. ``rich`` is imported here, since the import takes 60 ms."""
    from .coloring import colored_json

    return colored_json(line)
