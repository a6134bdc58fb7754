"""The suite on every Python that is supported: ``nox``; one of them: ``nox -s tests-3.10``."""

import nox

nox.options.sessions = ["lint", "tests"]


@nox.session
def lint(session):
    """Style, format and types."""
    session.install(".[test]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


@nox.session(python=["3.10", "3.11", "3.12", "3.13"])
def tests(session):
    """The README's test command."""
    session.install(".[test]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def oldest(session):
    """The oldest versions that are allowed of what the core needs."""
    session.install(".[test]", "websocket-client==1.9.2", "tenacity==8.2.3")
    session.run("python", "-m", "pytest", *session.posargs)
