"""The colours of JSON on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.text import Text

__all__ = ["colored_json"]

_console = Console(force_terminal=True, color_system="standard", no_color=False, soft_wrap=True, width=10**6)
_highlighter = JSONHighlighter()


def colored_json(line: str) -> str:
    """Return a line of JSON with the escape sequences of colours."""
    text = Text(line, end="")
    _highlighter.highlight(text)
    with _console.capture() as capture:
        _console.print(text, end="")
    return capture.get()
