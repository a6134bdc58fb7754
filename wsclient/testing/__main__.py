"""``python -m wsclient.testing``: what the test kit does on a command line."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Final

COMMANDS: Final = {
    "soak": ("_soak._command", "break a client's line at random under load, and check what it promises"),
}
"""By name: the module with ``add_arguments(parser)`` and ``run(options) -> int``, and what the command does."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: as on the command line; None takes those of the process.

    Returns:
        The command's exit code; 2 if it can't run.
    """
    parser = argparse.ArgumentParser(
        prog="python -m wsclient.testing", description="Servers and faults for tests, on a command line."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (module, purpose) in COMMANDS.items():
        try:
            command = importlib.import_module(f".{module}", __package__)
        except ModuleNotFoundError as error:
            print(f"This command needs {error.name}: pip install 'wsclient-sdk[testing]'", file=sys.stderr)
            return 2
        one = commands.add_parser(name, help=purpose)
        command.add_arguments(one)
        one.set_defaults(run=command.run)
    options = parser.parse_args(arguments)
    return int(options.run(options))


if __name__ == "__main__":
    sys.exit(main())
