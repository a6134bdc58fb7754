"""Fixtures of the tests of the command line."""

import logging

import pytest


@pytest.fixture(autouse=True)
def restored_logger():
    """Restore the client's logger: a command prints its records itself, and passes them to no other handler."""
    logger = logging.getLogger("wsclient")
    before = (logger.propagate, logger.level, logger.handlers)
    yield
    logger.propagate, logger.handlers = before[0], before[2]
    logger.setLevel(before[1])
