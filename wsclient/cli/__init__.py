"""The command line: ``python -m wsclient``. Its commands need the extra ``cli``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .._version import __version__

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: as on the command line; None for those of the process.

    Returns:
        The exit code: 0 for success, 1 if a check of the demonstration failed, 2 if a command can't run.
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
        prog="python -m wsclient", description="A synchronous WebSocket client that reconnects automatically."
    )
    parser.add_argument("--version", action="version", version=f"wsclient-sdk {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo", help="start a server, cut a client's connection during its requests, and show their outcomes"
    )
    demo.add_argument("--plain", action="store_true", help="plain text, as if the output were not a terminal")
    return parser
