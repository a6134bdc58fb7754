"""The command line: ``python -m wsclient``. What it needs beyond the core is the extra ``cli``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .._version import __version__

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: as on the command line; None takes those of the process.

    Returns:
        The exit code: 0 if all went well, 1 if the demonstration broke a promise, 2 if a command can't run.
    """
    options = _parser().parse_args(arguments)
    try:
        from . import demo
    except ModuleNotFoundError as error:
        print(f"This command needs {error.name}: pip install 'wsclient-sdk[cli]'", file=sys.stderr)
        return 2
    return demo.run(plain=options.plain)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m wsclient", description="A synchronous WebSocket client that keeps itself connected."
    )
    parser.add_argument("--version", action="version", version=f"wsclient-sdk {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo", help="start a server, cut the line under a client's requests, and show what becomes of them"
    )
    demo.add_argument("--plain", action="store_true", help="plain text, as when the output is no terminal")
    return parser
