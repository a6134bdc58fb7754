"""``wsclient shell`` in a pseudo-terminal."""

import contextlib
import importlib.util
import os
import pathlib
import sys

import pytest

import wsclient

MISSING = [name for name in ("pexpect", "pyte", "prompt_toolkit") if importlib.util.find_spec(name) is None]
NEEDS_TERMINAL = [
    pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX's"),
    pytest.mark.skipif(
        bool(MISSING), reason=f"{MISSING} ARE MISSING, so the shell is not driven in a terminal: pip install them"
    ),
]

ROOT = str(pathlib.Path(wsclient.__file__).parent.parent)
CTRL_C, CTRL_D, CTRL_A, UP, TAB, ENTER, ALT_ENTER = "\x03", "\x04", "\x01", "\x1b[A", "\t", "\r", "\x1b\r"


def terminal_of(command, **environment):
    """A program in a ``PseudoTerminal``."""
    from .pseudo_terminal import PseudoTerminal  # not on Windows

    measured = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
    return PseudoTerminal(command, **measured, **environment)


@contextlib.contextmanager
def shells(home):
    """Yields a function that starts a shell, and waits until it is connected.

    Args:
        home: the folder of its history.
    """
    started = []

    def start(url, *options, is_open=True, columns=100, lines=24, **environment):
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": ROOT, "HOME": str(home), **environment}
        command = [sys.executable, "-m", "wsclient", "shell", url, *options]
        terminal = terminal_of(command, columns=columns, lines=lines, **environment)
        started.append(terminal)
        if is_open:
            terminal.shows("[open]")
        return terminal

    try:
        yield start
    finally:
        for terminal in started:
            terminal.close()
