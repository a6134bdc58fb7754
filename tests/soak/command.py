"""``python -m tests.soak``: a client under load on a line that fails by a seed."""

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
        arguments: as on the command line; None takes those of the process.

    Returns:
        The exit code: 0 if every promise was kept, 1 if one was broken or nothing was judged.
    """
    options = _parser().parse_args(arguments)
    seconds = options.seconds if options.seconds is not None else 60.0 * (options.minutes or 1.0)
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    results = soak(seconds, seed, choose(options.plain), options.tls)
    return 0 if results and not any(result.verdict.broken for result in results) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description="Break a client's line at random under load, and judge it.",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=_length, help="how long; 1 by default")
    length.add_argument("--seconds", type=_length, help="how long, in seconds")
    parser.add_argument("--seed", type=int, help="draws faults and load; by chance if not given, and printed")
    parser.add_argument(
        "--tls", action=argparse.BooleanOptionalAction, help="over TLS or in clear; by default as each run's seed says"
    )
    parser.add_argument("--plain", action="store_true", help="plain text, as when the output is no terminal")
    return parser


def _length(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return value
