"""A diagnosis as a tree on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from .._errors import printable

if TYPE_CHECKING:
    from .diagnosis import Diagnosis, Finding

__all__ = ["print_tree"]

_MARKS: Final = {"ok": ("✔", "green"), "warning": ("!", "yellow"), "failed": ("✘", "red")}


def print_tree(diagnosis: Diagnosis, *, has_color: bool) -> None:
    """Print a diagnosis on stdout.

    Args:
        diagnosis: the diagnosis.
        has_color: whether to use colours.
    """
    console = Console(color_system="standard" if has_color else None, highlight=False, emoji=False)
    for one in diagnosis.rounds:
        tree = Tree(Text(printable(one.url), style="bold"), guide_style="dim")
        for finding in one.findings:
            branch = tree.add(_label(finding))
            for detail in finding.details:
                branch.add(Text(printable(detail), style="dim"))
        console.print(tree)
    style = "bold red" if diagnosis.failure is not None else "bold green"
    for line in diagnosis.conclusion():
        console.print(Text(printable(line), style=style))


def _label(finding: Finding) -> Text:
    mark, colour = _MARKS[finding.state]
    label = Text(f"{mark} ", style=colour)
    label.append(f"{finding.phase:8} ", style="bold default")
    label.append(printable(finding.line()), style="default")
    return label
