"""``python -m wsclient.testing soak``."""

from __future__ import annotations

import argparse
import random
import sys

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command understands."""
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=_length, help="how long; 1 by default")
    length.add_argument("--seconds", type=_length, help="how long, in seconds")
    parser.add_argument("--seed", type=int, help="draws faults and load; by chance if not given, and printed")
    parser.add_argument(
        "--tls", action=argparse.BooleanOptionalAction, help="over TLS or in clear; by default as each run's seed says"
    )
    parser.add_argument("--plain", action="store_true", help="plain text, as when the output is no terminal")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run it.

    Returns:
        The exit code: 0 if every promise was kept, 1 if one was broken or nothing was judged, 2 if it can't run.
    """
    try:
        from ._run import soak
        from ._screen import choose
    except ModuleNotFoundError as error:
        print(f"This command needs {error.name}: pip install 'wsclient-sdk[testing]'", file=sys.stderr)
        return 2
    seconds = options.seconds if options.seconds is not None else 60.0 * (options.minutes or 1.0)
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    results = soak(seconds, seed, choose(options.plain), options.tls)
    return 0 if results and not any(result.verdict.broken for result in results) else 1


def _length(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return value
