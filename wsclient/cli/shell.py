"""``wsclient shell``: talk to a server interactively, or from a script on stdin."""

from __future__ import annotations

import os
import queue
import sys
import threading
import traceback
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import click

from .._errors import printable, text_of
from .._models import State
from .._rfc6455.url import redact
from .exits import CommandError, ExitCode, exit_code_of, in_shell_words, sentence_of
from .options import FOREVER, ClientCommand, Connection
from .output import Output
from .shell_commands import QUIT, perform
from .shell_conversation import Conversation
from .shell_input import Input, InputError, SlashCommand, joined, parse
from .shell_transcript import Transcript

if TYPE_CHECKING:
    from prompt_toolkit.formatted_text import StyleAndTextTuples

    from .shell_screen import Screen

__all__ = ["command"]

_HELP: Final = """\
Talk to a server interactively. What is typed:

\b
  {"id": 1}, [1, 2], 5     JSON: a message. With --protocol, objects and lists are
                           requests, and their reply is shown with the round trip
  "hello" or /text hello   a text message
  add a:=1 name=Ann        the call of a method, as in `wsclient call`
  /help                    the commands, such as /ping, /sub, /record and /save

Enter continues on the next line while a bracket is open; Alt-Enter (or Esc Enter) breaks a line. Tab completes
commands, methods and keys that were seen. Ctrl-C clears the line; Ctrl-D or /quit ends.

What is typed is stored in ~/.local/state/wsclient/history (in $XDG_STATE_HOME, on Windows in %LOCALAPPDATA%);
only you can read this file. Lines that begin with a space or contain a word such as password, token or secret are not
stored.

If stdin is no terminal, its lines are a script: messages and replies are printed on stdout as they come, and the
default of --retry is 0. A slash command waits for the replies to the requests before it. After the last line, the
script waits for the replies to all requests. If other messages were sent, it then waits until as many messages have
arrived, or none has arrived for --wait seconds; after /sub, until none has arrived for --wait seconds. The exit code is
that of the first error.
"""

_EPILOG: Final = """\b
Examples:
  wsclient shell localhost:8765
  wsclient shell --protocol jsonrpc localhost:6800/jsonrpc
  printf 'add a:=1 b:=2\\n/ping\\n' | wsclient shell localhost:8765
"""

_QUIET: Final = 1.0
"""Seconds without a message after which a script ends."""

_LONGEST_REASON: Final = 200
"""Characters of the error that the prompt shows while the client is not connected."""

_STYLES: Final = {
    State.OPEN: "ansigreen",
    State.CONNECTING: "ansiyellow",
    State.WAITING: "ansiyellow",
    State.FAILED: "ansired",
    State.CLOSED: "ansired",
}


@click.command(cls=ClientCommand, help=_HELP, epilog=_EPILOG)
@click.argument("url", required=False)
@click.option(
    "-W",
    "--wait",
    type=click.FloatRange(min=0),
    default=_QUIET,
    metavar="SECONDS",
    help="End a script when no message has arrived for this time.",
)
def command(connection: Connection, url: str | None, wait: float) -> int:
    """Run the command."""
    url, more = connection.arguments(url)
    if more:
        raise CommandError(f"{more[0]!r} is one argument too many.")
    has_cursor = os.environ.get("TERM") not in ("dumb", "unknown")  # without one, stdin is read as a script
    is_interactive = sys.stdin.isatty() and (sys.stdout.isatty() or sys.stderr.isatty()) and has_cursor
    output = connection.output()
    transcript = Transcript(output, has_marks=is_interactive and sys.stdout.isatty())
    conversation = Conversation(
        connection, url, output, transcript, retry=FOREVER if is_interactive else 0, has_waiting_threads=is_interactive
    )
    if is_interactive:
        return _Dialogue(conversation, url, output).run()
    return _run_script(conversation, sys.stdin, wait)


# --- a script -------------------------------------------------------------------------------------------------------


def _run_script(conversation: Conversation, lines: Iterable[str], wait: float) -> int:
    try:
        conversation.start()
        for number, text in joined(lines):
            try:
                given = parse(text)
                if isinstance(given, SlashCommand):
                    conversation.await_replies()
                    if given.name == QUIT:
                        break
                perform(conversation, given)
            except InputError as error:
                raise CommandError(f"line {number} of stdin: {error}") from error
        conversation.await_replies()
        conversation.await_messages(wait)
    finally:
        conversation.end()
        conversation.transcript.close()
    if conversation.transcript.failure is not None:
        raise conversation.transcript.failure
    return conversation.transcript.code


# --- a terminal -----------------------------------------------------------------------------------------------------


class _Dialogue:
    """The shell on a terminal."""

    def __init__(self, conversation: Conversation, url: str, output: Output) -> None:
        self._conversation = conversation
        self._output = output
        self._url = printable(redact(url))
        self._inputs: queue.SimpleQueue[Input | None] = queue.SimpleQueue()
        self._failure: BaseException | None = None
        self._screen: Screen

    def run(self) -> int:
        """Show the screen until the user ends it.

        Returns:
            The exit code.
        """
        from .shell_history import open_history
        from .shell_screen import Screen

        transcript = self._conversation.transcript
        history, warning = open_history()
        self._screen = screen = Screen(
            self._status, self._inputs.put, transcript.vocabulary, history, has_color=self._output.has_color
        )
        performing = threading.Thread(target=self._perform_all, name="wsclient-perform", daemon=True)
        with screen:
            if warning is not None:
                self._output.warn(warning)
            self._conversation.begin(self._failed)
            performing.start()
            try:
                screen.run()
            finally:
                self._conversation.end()
                self._inputs.put(None)
                transcript.close()
        failure = self._failure or transcript.failure
        if failure is not None:
            raise failure
        return ExitCode.OK

    def _failed(self, error: BaseException) -> None:
        self._failure = error
        self._screen.stop()

    def _perform_all(self) -> None:
        while (given := self._inputs.get()) is not None:
            try:
                perform(self._conversation, given)
            except Exception as error:
                if exit_code_of(error) is None:  # a defect, which must not end the shell
                    traceback.print_exc()
                self._conversation.transcript.error(f"* {sentence_of(error)}")

    def _status(self) -> StyleAndTextTuples:
        """Return the prompt: a line with the state, and the mark at the beginning of the input line."""
        client = self._conversation.client
        state, error = client.state, client.last_error
        if state is not State.WAITING or error is None:
            text = self._figures()
        else:
            text = in_shell_words(text_of(error, _LONGEST_REASON))
        style = _STYLES.get(state, "")
        return [
            (style, f"[{state.value}] "),
            ("", f"{text}\n"),
            (f"{style} bold", "> "),
        ]

    def _figures(self) -> str:
        client = self._conversation.client
        stats = client.stats
        parts = [f"{stats.messages_received} received", f"{stats.messages_sent} sent"]
        if client.latency is not None:
            parts.append(f"rtt {client.latency * 1000:.1f} ms")
        if stats.queue_depth:
            parts.append(f"{stats.queue_depth} waiting")
        if self._conversation.recording.path is not None:
            parts.append("recording")
        return f"{self._url}  {', '.join(parts)}"
