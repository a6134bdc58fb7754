"""Random faults under load: the results of callers are compared with the messages of the server; each promise holds.

``SOAK_SECONDS`` is the duration (60 in CI, otherwise 15), ``SOAK_SEED`` decides faults and load; random by default.
"""

import faulthandler
import os
import random

import pytest

from ..soak.ledger import PROMISES
from ..soak.run import replay_command, soak

SECONDS = float(os.environ.get("SOAK_SECONDS") or (60 if os.environ.get("CI") else 15))
SEED = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(10**6))
DEPENDENT = {
    "the client recovers in time",
    "no connection is faster than its rate",
    "a renewal ends a request only after the overlap",
    "a quiet connection is replaced in time, and reported",
    "no connection is quiet while messages come",
}
"""Promises that a short soak may not check: its faults, its kind of connection or the machine does not lead to them."""

STUCK = 60.0
"""Seconds after its length in which a soak must end in any case: ending each run takes at most 45."""


@pytest.fixture
def stacks_if_stuck(capfd):
    """Print all stacks, and end the process, when the soak exceeds its limit; replaces the limit of other tests."""
    faulthandler.cancel_dump_traceback_later()
    with capfd.disabled():
        stderr = os.dup(2)
    faulthandler.dump_traceback_later(SECONDS + STUCK * (1 + SECONDS // 60), exit=True, file=stderr)
    yield
    faulthandler.cancel_dump_traceback_later()
    os.close(stderr)


@pytest.mark.slow
@pytest.mark.usefixtures("stacks_if_stuck")
@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_no_promise_is_broken_under_random_faults(capfd, tls):
    results = soak(SECONDS, SEED + 2 * tls, tls=tls)  # so that one of them connects by URL, and one through sock=
    shown = capfd.readouterr().out
    broken = [sentence for result in results for sentence in result.verdict.broken]
    assert not broken, f"again: {replay_command(SEED + 2 * tls, SECONDS, tls)}\n{shown}"
    # A soak without requests proves nothing.
    unchecked = {promise for promise in PROMISES if not sum(result.verdict.checked[promise] for result in results)}
    assert unchecked <= DEPENDENT, f"seed {SEED}: nothing was checked for {unchecked}"
    assert sum(result.faults.total() for result in results) >= SECONDS / 10
    assert sum(result.outcomes["answered"] for result in results) >= 10 * SECONDS
