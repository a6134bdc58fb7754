"""``wsclient probe`` in this process, and checks of its report."""

import contextlib
import json
import logging

from wsclient.cli import main


@contextlib.contextmanager
def logging_unchanged():
    """A command decides where the records of the client go; afterwards all is as before."""
    logger = logging.getLogger("wsclient")
    before = logger.propagate, logger.level, logger.handlers
    try:
        yield
    finally:
        logger.propagate, logger.level, logger.handlers = before


def run_probe(*arguments):
    """Return the exit code."""
    with logging_unchanged():
        return main(["probe", *map(str, arguments)])


def diagnose(capsys, *arguments):
    """Return the exit code and the object for machines."""
    code = run_probe(*arguments, "--json")
    written = capsys.readouterr()
    assert written.out.count("\n") == 1, written
    return code, json.loads(written.out)


def failed(found, phase, cause):
    """Check that a phase failed, and that the likely cause contains these words; return the report."""
    code, report = found
    assert (code, report["ok"], report["failed"]) == (3, False, phase), report
    assert report["phases"][phase]["state"] == "failed"
    assert cause in report["cause"], report["cause"]
    return report
