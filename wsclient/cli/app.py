"""The commands of ``wsclient``. An error of a command becomes a sentence on stderr and an exit code."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from .._version import __version__
from .exits import CommandError, ExitCode, exit_code_of, sentence_of

__all__ = ["run"]

_COMMANDS: Final[Mapping[str, str]] = {
    "call": "Send one request, and print its reply.",
    "listen": "Print messages as they arrive.",
    "probe": "Diagnose a connection, phase by phase.",
    "record": "Record a session to a file.",
    "replay": "Play a recording as a server, or against one.",
    "bench": "Measure a server under load.",
    "shell": "Talk to a server interactively.",
    "demo": "Cut a client's connection, and show what happens to its requests.",
}
"""Each command, with the text that ``wsclient --help`` shows for it. The module of a command has the same name; its
attribute ``command`` is the ``click`` command."""


class _PipeClosed(Exception):
    """Nothing reads stdout any more."""


class _Commands(click.Group):
    """The group of the commands. It imports the module of a command when that command runs; ``--help`` imports none."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. ``_PipeClosed`` is raised instead of ``BrokenPipeError``, since ``click`` handles the latter
        itself: it ends the process with code 1.
        """
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _PipeClosed from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        found: click.Command = importlib.import_module(f".{cmd_name}", __package__).command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise CommandError(f"There is no command {args[0]!r}; known are: {', '.join(_COMMANDS)}.") from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


def _install_completion(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is None or ctx.resilient_parsing:
        return
    from .completion import install

    click.echo(install(value, ctx.command))
    ctx.exit(0)


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="A WebSocket client that reconnects, matches replies to requests, diagnoses, records and measures.",
    epilog="wsclient COMMAND --help shows the options of a command, with examples.",
)
@click.version_option(__version__, prog_name="wsclient-sdk", message="%(prog)s %(version)s")
@click.option(
    "--install-completion",
    type=click.Choice(("bash", "zsh", "fish")),
    callback=_install_completion,
    expose_value=False,
    is_eager=True,
    help="Install the completion of commands and options for a shell.",
)
def app() -> None:
    """The group of the commands."""


def run(arguments: Sequence[str]) -> int:
    """Run a command; errors become one sentence on stderr and an exit code.

    Args:
        arguments: as on the command line.

    Returns:
        The exit code.
    """
    _prepare_streams()
    try:
        result: Any = app.main(arguments, prog_name="wsclient", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:  # its text is the help
        print(error.format_message(), file=sys.stderr)
        return ExitCode.USAGE
    except click.ClickException as error:
        return _failed(error.format_message(), ExitCode.USAGE)
    except (KeyboardInterrupt, click.Abort):
        return ExitCode.INTERRUPTED
    except (_PipeClosed, BrokenPipeError):
        _discard_stdout()
        return ExitCode.OK
    except Exception as error:
        code = exit_code_of(error)
        if code is None:
            raise
        return _failed(sentence_of(error), code)
    return int(result) if isinstance(result, int) else ExitCode.OK


def _prepare_streams() -> None:
    """Open the standard streams that are closed (``>&-``) as ``/dev/null``, and use UTF-8 in pipes.

    JSON is UTF-8 (RFC 8259 §8.1), but Python gives a pipe the encoding of the locale, which on Windows is a code page.
    UTF-8 can't encode half of a surrogate pair, so that is printed as its JSON escape.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  (open until the exit)
        elif name != "stderr" and isinstance(stream, io.TextIOWrapper):
            wanted = (
                stream.encoding if stream.isatty() else "utf-8",
                "strict" if name == "stdin" else "backslashreplace",
            )
            # Only if needed: `reconfigure` raises an error if stdin was read before.
            if wanted != (stream.encoding, stream.errors):
                stream.reconfigure(encoding=wanted[0], errors=wanted[1])


def _failed(sentence: str, code: ExitCode) -> ExitCode:
    from .output import Output

    Output().error(f"wsclient: {sentence}")
    return code


def _discard_stdout() -> None:
    """Replace stdout by ``/dev/null``, since nothing reads it any more, as in ``wsclient ... | head -1``. Otherwise
    Python would report an error when it flushes stdout at the exit
    (https://docs.python.org/3/library/signal.html#note-on-sigpipe).
    """
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
