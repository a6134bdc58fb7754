"""``python -m wsclient.testing``: a ``FaultProxy`` that is controlled from a shell."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from ._fault_proxy.console import QUIT, carry_out

__all__ = ["main"]

INTERRUPTED: Final = "\nInterrupted."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: as on the command line; None for those of the process.

    Returns:
        The exit code: 0 for success, 2 if the command can't run.
    """
    options = _parser().parse_args(arguments)
    return int(options.run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m wsclient.testing", description="Network faults for tests, controlled from a shell."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_proxy(commands.add_parser("proxy", help="a TCP proxy that cuts, delays or drops traffic on command"))
    return parser


def _add_proxy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="TARGET", help="the server: a URL, host:port, or a port of this machine")
    parser.add_argument("--port", type=int, default=0, help="where to listen on loopback; a free port by default")
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="delay of every byte")
    parser.add_argument("--jitter", type=float, default=0.0, metavar="SECONDS", help="largest variation of the delay")
    parser.add_argument(
        "--bandwidth", type=float, default=None, metavar="BYTES", help="bytes per second in each direction"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the jitter's random numbers")
    parser.set_defaults(run=_run_proxy)


def _run_proxy(options: argparse.Namespace) -> int:
    from ._fault_proxy.proxy import FaultProxy

    try:
        proxy = FaultProxy(
            options.target,
            port=options.port,
            latency=options.latency,
            jitter=options.jitter,
            bandwidth=options.bandwidth,
            seed=options.seed,
        )
    except (ValueError, OSError) as error:
        print(f"The proxy can't start: {error}", file=sys.stderr)
        return 2
    with proxy:
        print(f"{proxy.url} forwards to {options.target}; type help for the commands", flush=True)
        try:
            for line in sys.stdin:
                answer = carry_out(proxy, line)
                if answer == QUIT:
                    return 0
                if answer:
                    print(answer, flush=True)
            # stdin has ended (it may be empty, for example under a process supervisor): run until an interrupt
            proxy.wait_closed()
        except KeyboardInterrupt:
            print(INTERRUPTED, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
