"""Runs the servers of ``examples/services/``."""

import contextlib

import pytest
from serving import running


@pytest.fixture
def run():
    """``run(handler, ...)`` starts a server, and returns its URL."""
    with contextlib.ExitStack() as stack:
        yield lambda handler, **options: stack.enter_context(running(handler, **options))
