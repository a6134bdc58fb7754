"""``python -m tests.soak``: a client under load whose connection fails according to a seed."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence

from .run import soak
from .screen import choose

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak.

    Args:
        arguments: as on the command line; None for those of the process.

    Returns:
        The exit code: 0 if every promise was kept, 1 if one was broken or nothing was checked.
    """
    options = _parser().parse_args(arguments)
    seconds = options.seconds if options.seconds is not None else 60.0 * (options.minutes or 1.0)
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    results = soak(seconds, seed, choose(options.plain), options.tls)
    return 0 if results and not any(result.verdict.broken for result in results) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description="Cause random faults in the connection of a client under load, and check its promises.",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=_length, help="length in minutes; 1 by default")
    length.add_argument("--seconds", type=_length, help="length in seconds")
    parser.add_argument("--seed", type=int, help="decides faults and load; by default random, and printed")
    parser.add_argument(
        "--tls", action=argparse.BooleanOptionalAction, help="with or without TLS; by default each run's seed decides"
    )
    parser.add_argument("--plain", action="store_true", help="plain text, as if the output were not a terminal")
    return parser


def _length(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return value
