"""``--install-completion``: the completion script of a shell, made by click, in the folder where the shell finds it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click
from click.shell_completion import get_completion_class

__all__ = ["install"]

_PLACES: Final[Mapping[str, tuple[str, str, str, str]]] = {
    "bash": ("XDG_DATA_HOME", ".local/share", "bash-completion/completions/wsclient", "Start a new shell."),
    "fish": ("XDG_CONFIG_HOME", ".config", "fish/completions/wsclient.fish", "Start a new shell."),
    "zsh": (
        "ZDOTDIR",
        "",
        ".zfunc/_wsclient",
        "Add to .zshrc, before compinit: fpath+=({folder}). Then start a new shell.",
    ),
}
"""For each shell: the variable of the folder, its default in the home folder, the file in it, and what remains to do.
bash-completion and fish load files in these folders by themselves."""


def install(shell: str, command: click.Command) -> str:
    """Write the completion script of a shell.

    Args:
        shell: ``bash``, ``zsh`` or ``fish``.
        command: the command that is completed.

    Returns:
        A sentence: where it is, and what remains to do.
    """
    variable, default, name, rest = _PLACES[shell]
    folder = os.environ.get(variable)
    path = (Path(folder) if folder else Path.home() / default) / name
    found = get_completion_class(shell)
    assert found is not None
    script = found(command, {}, "wsclient", "_WSCLIENT_COMPLETE").source()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script, encoding="utf-8")
    return f"The completion is in {path}. {rest.format(folder=path.parent)}"
