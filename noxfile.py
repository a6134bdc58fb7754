"""The suite on every Python that is supported: ``nox``; one: ``nox -s tests-3.10``; all sessions: ``nox -l``."""

import pathlib

import nox

nox.options.sessions = ["lint", "tests"]
nox.options.error_on_missing_interpreters = False  # nox would make it an error where CI is set

MARKED = "servers or network", "slow"  # not all at once: the slow ones leave other programs no time to start

SPHINX = "--quiet", "--fail-on-warning", "--keep-going", "--fresh-env", "--conf-dir", "examples/reference"


@nox.session
def lint(session):
    """Style, format and types."""
    session.install(".[test]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


@nox.session(python=["3.10", "3.11", "3.12", "3.13", "3.14", "3.14t"])
def tests(session):
    """The README's test command."""
    session.install(".[test]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def oldest(session):
    """The oldest versions that are allowed of what the core needs."""
    session.install(".[test]", "websocket-client==1.9.2", "tenacity==8.2.3")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def marked(session):
    """What the plain command leaves out: tests that take long, need root, or talk to other programs."""
    session.install(".[test]", "selenium", "fastapi", "uvicorn")
    for marks in MARKED:
        session.run("python", "-m", "pytest", "-n", "2", "-m", marks, *session.posargs)


@nox.session
def coverage(session):
    """Branch coverage of all tests."""
    session.install(".[test]", "coverage>=7.10")
    env = {"COVERAGE_FILE": str(pathlib.Path(session.create_tmp(), "coverage").resolve())}
    session.run("coverage", "erase", env=env)
    session.run("coverage", "run", "-m", "pytest", "-m", "", *session.posargs, env=env, success_codes=[0, 1])
    session.run("coverage", "combine", "--quiet", env=env)
    session.run("coverage", "report", env=env)


@nox.session
def packaging(session):
    """What the sdist and the wheel hold, and how the wheel behaves where it is installed."""
    session.install("build", "hatchling", "twine")
    session.run("bash", ".ci/packaging", "python", external=True)


@nox.session
def docs(session):
    """All pages and the reference, in build/docs. A warning is an error, and so is a link that leads nowhere."""
    session.install(".[docs]")
    session.run("python", "-m", "sphinx", *SPHINX, "-d", session.create_tmp(), ".", "build/docs", *session.posargs)


@nox.session(python=["3.10", "3.11", "3.12", "3.13"])
def reentry(session):
    """Finalizers and signal handlers that call the client inside its own calls: a minute of each kind and policy."""
    session.install(".[test]")
    env = {"REENTRY_SECONDS": "60"}
    session.run("python", "-m", "pytest", "-m", "slow", "tests/faults/test_reentry.py", *session.posargs, env=env)


@nox.session
def long(session):
    """Stress for half an hour: faults at random, interrupts at any moment, new examples for the property tests."""
    session.install(".[test]")
    pytest = ["python", "-m", "pytest", "-m", ""]
    tests = pathlib.Path("tests").rglob("test_*.py")
    properties = [str(test) for test in tests if "hypothesis" in test.read_text("utf-8")]
    session.run("python", "-m", "tests.soak", "--minutes", "10")
    session.run(*pytest, "tests/faults", env={"FAULTS_LONG": "1", "SOAK_SECONDS": "300"})
    session.run(*pytest, "tests/test_interrupts.py", env={"WSCLIENT_INTERRUPT_SECONDS": "60"})
    for _ in range(5):
        session.run(*pytest, *properties, env={"EXPLORE": "1"})
