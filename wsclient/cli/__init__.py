"""The command line: ``wsclient``, or ``python -m wsclient``. Its commands need the extra ``cli``.

``app`` has the commands; a command's module is imported only when the command runs. ``options`` has the options that
all commands with a URL share, ``output`` prints, ``exits`` has the exit codes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .._version import __version__

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the arguments of the command line; None: those of this process.

    Returns:
        The exit code, see ``exits.ExitCode``.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words == ["--version"]:  # works without the extra
        print(f"wsclient-sdk {__version__}")
        return 0
    try:
        from .app import run

        return run(words)
    except ModuleNotFoundError as error:
        package = (error.name or "wsclient").partition(".")[0]
        if package == "wsclient":
            raise  # a defect of this package
        print(f"This command needs {package}: pip install 'wsclient-sdk[cli]'", file=sys.stderr)
        return 2
