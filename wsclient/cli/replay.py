"""``wsclient replay``: a recording played as a server, or against a server."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from .exits import CommandError, ExitCode
from .options import ClientCommand, Connection
from .output import Output

if TYPE_CHECKING:
    from ..testing import Replay

__all__ = ["command"]

_POLL: Final = 0.1
"""Seconds after which new differences are printed."""

_EPILOG: Final = """\b
Examples:
  wsclient replay session.jsonl --port 8765
  wsclient replay session.jsonl --lenient --speed 1
  wsclient replay session.jsonl --to localhost:8765 --set token=s3cret --ignore time
"""

_HELP: Final = """Play a recording of `wsclient record`, or of the client's option record=.

As a server: it prints its URL on stdout, and plays until Ctrl-C or SIGTERM. The client must do what was recorded;
differences are printed on stderr, and the exit code is then 1. A message is sent after all messages of the client that
precede it in the recording. With --lenient the client may send messages in another order, leave some out and add
others.

With --to, the client's side is played against a real server: the messages of each recorded connection in their order,
each after the messages of the server that precede it. What the server sends differently is printed on stdout, one
sentence per line, and the exit code is then 1. These are not compared: the order of the server's messages, the values
of ids, redacted values, and the values of the members that --ignore names.
"""


@click.command(cls=ClientCommand, epilog=_EPILOG, help=_HELP, short_help="Play a recording.")
@click.argument("file")
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="Listen here; by default on a free port.")
@click.option("--lenient", is_flag=True, help="Accept messages in any order, and unrecorded ones.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    metavar="FACTOR",
    help="1: with the recorded pauses, 2: with half of them; by default without.",
)
@click.option("--to", "target", metavar="URL", help="Play the client's side against this server.")
@click.option(
    "--set",
    "secrets",
    multiple=True,
    metavar="NAME=TEXT|NAME:=JSON",
    help="With --to: send this instead of redacted values of members with this name; repeatable.",
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="NAME",
    help="With --to: values of members with this name may differ; repeatable.",
)
def command(
    connection: Connection,
    file: str,
    port: int | None,
    lenient: bool,
    speed: float | None,
    target: str | None,
    secrets: tuple[str, ...],
    ignore: tuple[str, ...],
) -> int:
    """Run the command."""
    output = connection.output()
    if target is None:
        if secrets or ignore:
            raise CommandError("--set and --ignore need --to URL.")
        return _serve(file, output, port=port or 0, speed=speed, strict=not lenient)
    if port is not None or lenient:
        raise CommandError("--port and --lenient are for a replay as a server; leave out --to, or these.")
    from .replay_client import play

    url, _ = dataclasses.replace(connection, url=None).arguments(target)  # --to, not the URL of a profile
    return play(file, url, connection, output, secrets=secrets, ignore=ignore, speed=speed)


def _serve(file: str, output: Output, *, port: int, **options: Any) -> int:
    """Play a recording as a server, until Ctrl-C or SIGTERM.

    Returns:
        The exit code: 1 if the client did not do what was recorded.
    """
    replay = _started(file, port, options)
    with _sigterm_interrupts():
        shown = 0
        try:
            output.text(replay.url)
            while True:
                shown = _print_new(replay, shown, output)
                time.sleep(_POLL)
        except KeyboardInterrupt:
            pass
        finally:
            replay.close()
    return _result(replay, shown, output)


def _started(file: str, port: int, options: dict[str, Any]) -> Replay:
    try:
        from ..testing import Replay
    except ModuleNotFoundError as error:
        raise CommandError(str(error)) from error
    try:
        return Replay(file, port=port, **options)
    except OSError as error:
        if error.filename is not None:
            raise
        raise CommandError(f"The replay can't listen on port {port}: {error.strerror}.") from error


def _print_new(replay: Replay, shown: int, output: Output) -> int:
    """Print the differences after the first ``shown`` ones, and return how many there are in all."""
    new = [*replay.mismatches, *map(_unexpected, replay.unexpected)][shown:]  # one of the two is always empty
    for sentence in new:
        output.warn(sentence)
    return shown + len(new)


def _unexpected(payload: str | bytes) -> str:
    return f"The recording has no such message: {payload!r}"


def _result(replay: Replay, shown: int, output: Output) -> int:
    from ..testing import ReplayMismatch

    _print_new(replay, shown, output)
    try:
        replay.check()
    except ReplayMismatch as error:
        for sentence in error.differences[len(replay.mismatches) :]:
            output.warn(sentence)
        return ExitCode.SERVER_ERROR
    return ExitCode.OK


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM end the command as Ctrl-C does.

    A script ends a replay that runs in the background by ``kill``, which sends SIGTERM. SIGINT has no effect there: a
    shell without job control starts background processes with SIGINT ignored (POSIX, 2.11).
    """
    is_main = threading.current_thread() is threading.main_thread()  # only this thread may change a handler
    before = signal.signal(signal.SIGTERM, _interrupt) if is_main else None
    try:
        yield
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
