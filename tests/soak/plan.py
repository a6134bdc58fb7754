"""The faults of a round and their times, decided by a seed before the round begins. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

__all__ = ["HARMLESS", "KINDS", "Dialing", "Fault", "dialing", "plan"]

SETTLING: Final = 1.0
"""Seconds without a fault at the beginning and at the end of a plan."""

QUICK: Final = (0.05, 0.8)
LONG: Final = (1.8, 2.6)
"""Ranges of the seconds between the end of a fault and the next one: too short for a recovery, or long enough to
measure one."""

QUICK_SHARE: Final = 0.4
"""Share of the short pauses."""

KINDS: Final[dict[str, tuple[float, float, int, int]]] = {
    "cut": (0.0, 0.0, 0, 0),
    "reset": (0.0, 0.0, 0, 0),
    "cut inside what goes up": (0.0, 0.0, 1, 6000),
    "cut inside what comes down": (0.0, 0.0, 1, 6000),
    "cut inside a burst": (0.0, 0.0, 1, 300_000),
    "server closes": (0.0, 0.0, 0, 3),
    "client reconnects": (0.0, 0.0, 0, 0),
    "client renews": (0.0, 0.0, 0, 0),
    "client renews, then cut": (0.0, 0.1, 0, 0),
    "no listener": (0.1, 2.0, 0, 0),
    "frozen": (0.1, 2.5, 0, 0),
    "nothing goes up": (0.1, 2.5, 0, 0),
    "nothing comes down": (0.1, 2.5, 0, 0),
    "slow": (0.3, 1.5, 5, 150),
    "slow, then cut": (0.5, 1.0, 50, 150),
    "narrow": (0.3, 1.5, 5_000, 200_000),
    "narrow, then cut": (0.8, 1.6, 50_000, 400_000),
    "sending paused": (0.1, 1.5, 0, 0),
    "server goes quiet": (1.5, 1.5, 0, 0),
    "backlog, then deaf": (2.0, 2.0, 50_000, 400_000),
}
"""For each kind of fault: its shortest and longest time in seconds, its smallest and largest amount.

The amount is the number of bytes until the cut, the index of the close code, the delay in milliseconds, or bytes per
second. ``backlog, then deaf``: messages queue while there is no server; then the connection is slow, and nothing comes
back, so the client ends it in the middle of a write; everything that it has written arrives. ``server goes quiet``:
it sends no messages of subscriptions until a further connection subscribes; it answers requests and pings.
"""

HARMLESS: Final = frozenset({"client renews", "sending paused", "server goes quiet"})
"""Kinds that lose nothing that the server has sent."""

_TELLING: Final = "backlog, then deaf"
"""A plan begins with this kind, since it finds most defects: a connection ends in the middle of a batch."""

_LONG_RUN: Final = 30.0
"""A plan of at least so many seconds begins with it three times, since the written part of a batch depends on the
machine."""


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        at: seconds from the beginning.
        kind: one of ``KINDS``.
        seconds: how long it lasts; 0.0 if it has no duration.
        amount: see ``KINDS``.
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
        The faults in their order; they do not overlap. After the first kind (see ``_TELLING``), all kinds come in
        random order before one is repeated.
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
    """The kind of connection of a run.

    Attributes:
        tls: whether TLS is used.
        by_url: True: the client connects to a URL, without compression, and with a limit on the messages per second.
            False: it gets sockets with a small send buffer through ``sock=``, compresses, and has no such limit.
        renews: whether the client has ``renew=``: its connections are renewed every few seconds and when they are
            quiet. Otherwise a quiet connection is dropped.
    """

    tls: bool
    by_url: bool
    renews: bool

    def __str__(self) -> str:
        way = f"{'with' if self.tls else 'without'} TLS, {'by URL' if self.by_url else 'through sock='}"
        return f"{way}, {'renewed' if self.renews else 'not renewed'}"


def dialing(seed: int, tls: bool | None = None) -> Dialing:
    """The kind of connection of a run. Eight consecutive seeds give each kind once, four each without ``renews``.

    Args:
        seed: the seed of the run.
        tls: with or without TLS; None if the seed decides.
    """
    return Dialing(
        tls=seed % 2 == 1 if tls is None else tls, by_url=seed // 2 % 2 == 1, renews=(seed // 4 + seed) % 2 == 1
    )
