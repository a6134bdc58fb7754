"""The history file of the shell."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from .shell_input import looks_secret

__all__ = ["history_path", "open_history"]


def history_path() -> Path:
    """Return the path of the file: in ``$XDG_STATE_HOME`` or ``~/.local/state``, on Windows in ``%LOCALAPPDATA%``."""
    if sys.platform == "win32":  # pragma: no cover  (coverage is measured on Linux)
        folder = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    else:
        folder = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(folder) / "wsclient" / "history"


class _PrivateHistory(FileHistory):
    """Stores what was typed, except lines that may contain a secret. Such lines are kept only in memory: the Up key
    shows them until the shell ends.
    """

    def store_string(self, string: str) -> None:
        if not looks_secret(string):
            with contextlib.suppress(OSError):  # a full disk; the shell continues
                super().store_string(string)


def open_history() -> tuple[History, str | None]:
    """Open the file; it is created if it is missing, and only the user of this process may read it (mode 0600).

    Returns:
        The history, and a sentence if it can't be stored.
    """
    path = history_path()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            if hasattr(os, "fchmod"):  # pragma: no branch  (Windows has none before Python 3.13)
                os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
    except OSError as error:
        return InMemoryHistory(), f"* the history is not stored: {path}: {error.strerror}."
    return _PrivateHistory(str(path)), None
