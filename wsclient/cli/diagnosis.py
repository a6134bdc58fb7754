"""What a diagnosis has found out, as an object for machines and as lines for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from .exits import ExitCode

__all__ = ["Diagnosis", "Failed", "Finding", "Round", "duration"]

State = Literal["ok", "warning", "failed"]

_MARKS: Final = {"ok": "ok", "warning": "!", "failed": "FAILED"}
_INDENT: Final = 20
"""The column of the details in plain text."""


@dataclass
class Finding:
    """The result of one phase.

    Attributes:
        phase: its name.
        summary: one line about it.
        state: ``"warning"`` if the connection works, but the user should read the details; also if Ctrl-C
            ended the phase.
        seconds: how long it took; None if it was not measured.
        details: further lines.
        facts: the values that ``--json`` prints in addition.
    """

    phase: str
    summary: str = ""
    state: State = "ok"
    seconds: float | None = None
    details: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """The summary, with the time."""
        return self.summary if self.seconds is None else f"{self.summary} ({duration(self.seconds)})"

    def as_json(self) -> dict[str, Any]:
        """Return the values for machines."""
        seconds = None if self.seconds is None else round(self.seconds, 6)
        return {"state": self.state, "seconds": seconds, "summary": self.summary, **self.facts}


class Failed(Exception):
    """Ends a diagnosis: the phase did not succeed.

    Args:
        finding: about the phase.
        error: what happened, as a sentence.
        cause: the likely cause, as a sentence; empty if there is none.
        code: the exit code.
    """

    def __init__(self, finding: Finding, error: str, cause: str, code: ExitCode = ExitCode.NOT_CONNECTED) -> None:
        super().__init__(error)
        finding.state = "failed"
        self.finding = finding
        self.error = error
        self.cause = cause
        self.code = code


@dataclass
class Round:
    """The phases with one URL; a redirect begins another round.

    Attributes:
        url: the URL, redacted.
        findings: about the phases, in order.
    """

    url: str
    findings: list[Finding] = field(default_factory=list)


@dataclass
class Diagnosis:
    """The diagnosis of one URL.

    Attributes:
        rounds: the phases; all rounds but the last ended with a redirect.
        failure: what ended it; None if every phase succeeded.
        was_interrupted: whether Ctrl-C ended it, in the last phase.
    """

    rounds: list[Round] = field(default_factory=list)
    failure: Failed | None = None
    was_interrupted: bool = False

    @property
    def code(self) -> ExitCode:
        """The exit code."""
        return ExitCode.OK if self.failure is None else self.failure.code

    def add(self, finding: Finding) -> Finding:
        """Add a finding to the present round."""
        self.rounds[-1].findings.append(finding)
        return finding

    def interrupt(self) -> None:
        """Note that Ctrl-C ended the diagnosis during the phase of the last finding."""
        self.was_interrupted = True
        for finding in self.rounds[-1].findings[-1:]:
            finding.state, finding.summary = "warning", "interrupted"

    def conclusion(self) -> list[str]:
        """The last lines: whether the connection works, else what happened and the likely cause."""
        if self.was_interrupted:
            return [f"Interrupted at {one.phase}." for one in self.rounds[-1].findings[-1:]]
        if self.failure is None:
            warned = [one.phase for one in self.rounds[-1].findings if one.state == "warning"]
            return [f"The connection works; look at: {', '.join(warned)}." if warned else "The connection works."]
        lines = [f"Failed at {self.failure.finding.phase}: {self.failure.error}"]
        return lines + ([f"Likely cause: {self.failure.cause}"] if self.failure.cause else [])

    def as_json(self) -> dict[str, Any]:
        """Return the object for machines. All times are in seconds."""
        failure = self.failure
        return {
            "url": self.rounds[-1].url,
            "ok": failure is None,
            "failed": None if failure is None else failure.finding.phase,
            "error": None if failure is None else failure.error,
            "cause": None if failure is None else failure.cause or None,
            "phases": _phases(self.rounds[-1]),
            "redirects": [{"url": one.url, "phases": _phases(one)} for one in self.rounds[:-1]],
        }

    def lines(self) -> Iterator[str]:
        """The lines for people, as indented text."""
        for one in self.rounds:
            yield one.url
            for finding in one.findings:
                yield f"  {_MARKS[finding.state]:6}  {finding.phase:8}  {finding.line()}".rstrip()
                for detail in finding.details:
                    yield f"{'':{_INDENT}}{detail}"
        yield from self.conclusion()


def duration(seconds: float) -> str:
    """Return a time as text, in milliseconds below one second and in seconds above."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _phases(one: Round) -> dict[str, Any]:
    return {finding.phase: finding.as_json() for finding in one.findings}
