"""The table for ``examples/COMPARISON.md``, between two comments that are not displayed. Pure but for the file."""

from __future__ import annotations

from pathlib import Path

from .goals import OURS
from .peers import ASYNCHRONOUS
from .reporting import Report
from .table import header, rows

BEGIN = "<!-- benchmarks: written by python -m tests.benchmarks --publish -->"
END = "<!-- end of benchmarks -->"

LEFT_OF_VERSIONS = ("processor", "system", "python")


def table(report: Report) -> str:
    """The table and a line with the machine and the versions."""
    names = [_name(peer) for peer in header(report)]
    lines = ["| | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]
    for row in rows(report):
        cells = [f"**{cell}**" if name == f"**{OURS}**" else cell for name, cell in zip(names, row.cells, strict=True)]
        lines.append(f"| {row.title} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", _circumstances(report)])


def _name(peer: str) -> str:
    if peer == OURS:
        return f"**{peer}**"
    return f"{peer} \\*" if peer in ASYNCHRONOUS else peer


def _circumstances(report: Report) -> str:
    machine = report["machine"]
    place = ", ".join(machine[name] for name in LEFT_OF_VERSIONS)
    versions = ", ".join(f"{name} {value}" for name, value in machine.items() if name not in LEFT_OF_VERSIONS)
    starred = " \\* asyncio, with C inside." if any(peer in ASYNCHRONOUS for peer in header(report)) else ""
    return (
        "CPU time of one operation, and at the end the wait by the clock; in brackets as a multiple of this library's. "
        f"Medians of {report['rounds']} rounds, {report['date'][:10]}: {place}; {versions}.{starred}"
    )


def placed(document: str, text: str) -> str:
    """The document with this text between the two comments.

    Raises:
        ValueError: the comments are not there, once each and in this order.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in before + after:
        raise ValueError(f"The document needs the line {BEGIN!r} and behind it {END!r}, once each.")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def write(report: Report, page: Path) -> None:
    """Write the table into a page."""
    page.write_text(placed(page.read_text(encoding="utf-8"), table(report)), encoding="utf-8")
