"""What happens to the line, and when: drawn from a seed before anything runs. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

__all__ = ["KINDS", "Dialing", "Fault", "dialing", "plan"]

SETTLING: Final = 1.0
"""Seconds at the beginning and at the end of a plan without a fault."""

QUICK: Final = (0.05, 0.8)
LONG: Final = (1.8, 2.6)
"""Seconds between the end of a fault and the next one: too short to recover, or long enough to ask for it."""

QUICK_SHARE: Final = 0.4
"""How many of the gaps are quick."""

KINDS: Final[dict[str, tuple[float, float, int, int]]] = {
    "cut": (0.0, 0.0, 0, 0),
    "reset": (0.0, 0.0, 0, 0),
    "cut inside what goes up": (0.0, 0.0, 1, 6000),
    "cut inside what comes down": (0.0, 0.0, 1, 6000),
    "cut inside a burst": (0.0, 0.0, 1, 300_000),
    "server closes": (0.0, 0.0, 0, 3),
    "client reconnects": (0.0, 0.0, 0, 0),
    "nobody there": (0.1, 2.0, 0, 0),
    "frozen": (0.1, 2.5, 0, 0),
    "nothing goes up": (0.1, 2.5, 0, 0),
    "nothing comes down": (0.1, 2.5, 0, 0),
    "slow": (0.3, 1.5, 5, 150),
    "slow, then cut": (0.5, 1.0, 50, 150),
    "narrow": (0.3, 1.5, 5_000, 200_000),
    "narrow, then cut": (0.8, 1.6, 50_000, 400_000),
    "backlog, then deaf": (2.0, 2.0, 50_000, 400_000),
}
"""Each fault: the shortest and the longest time in seconds, the least and the greatest amount.

The amount is bytes until the cut, which close code, milliseconds of delay, or bytes per second. ``backlog, then
deaf``: messages queue up while nobody is there; then the line takes little, and nothing comes down, so the client ends
it in the middle of what it writes; but all that it has written arrives.
"""

_TELLING: Final = "backlog, then deaf"
"""What a plan has besides at its beginning, since it tells most: a line ends with a batch half written."""

_LONG_RUN: Final = 30.0
"""Seconds of a run that has it three times there; how much of the batch was written is the machine's choice."""


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        at: seconds from the beginning.
        kind: one of ``KINDS``.
        seconds: how long it lasts; 0.0 for what happens at once.
        amount: how much, see ``KINDS``.
        spared: seconds from its end to the next fault, or to the end of the plan.
    """

    at: float
    kind: str
    seconds: float
    amount: int
    spared: float


def plan(seed: int, seconds: float) -> list[Fault]:
    """The faults of a run.

    Args:
        seed: the same seed and the same length give the same faults.
        seconds: the length of the run.

    Returns:
        The faults in their order; one begins when the one before has ended. What tells most comes first, then each kind
        before any comes again.
    """
    chance = random.Random(seed)
    faults: list[Fault] = []
    kinds = [_TELLING] * (3 if seconds >= _LONG_RUN else 1)
    at = SETTLING
    while True:
        kinds = kinds or chance.sample(list(KINDS), len(KINDS))
        kind = kinds.pop()
        shortest, longest, least, greatest = KINDS[kind]
        length = chance.uniform(shortest, longest)
        amount = chance.randint(least, greatest)
        spared = chance.uniform(*(QUICK if chance.random() < QUICK_SHARE else LONG))
        if at + length + SETTLING > seconds:
            return faults
        faults.append(Fault(at, kind, length, amount, min(spared, seconds - at - length)))
        at += length + spared


@dataclass(frozen=True)
class Dialing:
    """How the client of a run gets its connections.

    Attributes:
        tls: whether it speaks TLS.
        by_url: whether it connects by itself, and compresses nothing; else it compresses, and connects through
            ``sock=``, with a socket that takes few bytes ahead.
    """

    tls: bool
    by_url: bool

    def __str__(self) -> str:
        return f"{'with' if self.tls else 'without'} TLS, {'by URL' if self.by_url else 'through sock='}"


def dialing(seed: int, tls: bool | None = None) -> Dialing:
    """How a run dials. Four seeds that follow each other have each way once.

    Args:
        seed: the run's.
        tls: with or without it, whatever the seed says.
    """
    return Dialing(tls=seed % 2 == 1 if tls is None else tls, by_url=seed // 2 % 2 == 1)
