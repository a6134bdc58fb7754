"""The slash commands of the shell, as a table."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .shell_input import Call, Input, InputError, Message, SlashCommand, json_in

if TYPE_CHECKING:
    from .shell_conversation import Conversation

__all__ = ["COMMANDS", "QUIT", "SlashRow", "help_lines", "perform", "prepared"]

QUIT: Final = "quit"
"""The command that ends the shell."""

_RENEWAL: Final = 30.0
"""Seconds for ``/renew``: the default of ``Client.renew``."""


@dataclass(frozen=True)
class SlashRow:
    """A row of the table.

    Attributes:
        argument: the name of its argument for ``/help``, in brackets if the argument may be omitted. Empty if the
            command has no argument.
        help: what it does.
        run: called with the conversation and the argument.
        read: returns the argument from the typed text; raises ``InputError``.
        waits: whether it waits for the server.
        is_path: whether the argument is completed as the name of a file.
    """

    argument: str
    help: str
    run: Callable[[Conversation, Any], object]
    read: Callable[[SlashCommand], Any]
    waits: bool = False
    is_path: bool = False


def prepared(given: SlashCommand) -> tuple[SlashRow, Any]:
    """Return the row of a slash command, and its argument.

    Raises:
        InputError: there is no such command, or its argument can't be used.
    """
    row = COMMANDS.get(given.name)
    if row is None:
        raise InputError(f"There is no command /{given.name}; known are: /{', /'.join(COMMANDS)}.", given.at)
    return row, row.read(given)


def perform(conversation: Conversation, given: Input) -> None:
    """Do what was typed.

    Raises:
        Exception: it can't be done. ``exits.sentence_of`` returns the text for the user.
    """
    if isinstance(given, Message):
        conversation.post(given.value)
    elif isinstance(given, Call):
        conversation.call(given.method, given.params)
    else:
        row, argument = prepared(given)
        conversation.transcript.typed(f"/{given.name} {given.rest}".rstrip())
        if row.waits:
            conversation.call_waiting(row.run, conversation, argument)
        else:
            row.run(conversation, argument)


# --- arguments ------------------------------------------------------------------------------------------------------


def _nothing(given: SlashCommand) -> None:
    if given.rest:
        raise InputError(f"Nothing may follow /{given.name}.", given.at)


def _json(given: SlashCommand) -> Any:
    if not given.rest:
        raise InputError(f'/{given.name} needs JSON, such as /{given.name} {{"id": 1}}.', given.at)
    try:
        return json_in(given.rest)
    except InputError as error:
        raise InputError(f"/{given.name}: {error}", given.at + error.position) from error


def _text(given: SlashCommand) -> str:
    return given.rest


def _path(given: SlashCommand) -> str:
    if not given.rest:
        raise InputError(f"/{given.name} needs the name of a file.", given.at)
    return os.path.abspath(os.path.expanduser(given.rest))


def _path_or_nothing(given: SlashCommand) -> str | None:
    return _path(given) if given.rest else None


def _close_code(given: SlashCommand) -> tuple[int, str]:
    code, _, reason = given.rest.partition(" ")
    if not given.rest:
        return 1000, ""
    if not code.isdecimal():
        raise InputError("/close needs a close code before the reason, such as /close 1000 done.", given.at)
    return int(code), reason.strip()


# --- what they do ---------------------------------------------------------------------------------------------------


def _ping(conversation: Conversation, argument: None) -> None:
    conversation.transcript.note(f"pong after {conversation.client.ping() * 1000:.2f} ms")


def _stats(conversation: Conversation, argument: None) -> None:
    client = conversation.client
    conversation.transcript.note(f"state {client.state.value}")
    for name, value in dataclasses.asdict(client.stats).items():
        shown = "-" if value is None else f"{value:.6g}" if isinstance(value, float) else f"{value}"
        conversation.transcript.note(f"{name:20} {shown}")


def _reconnect(conversation: Conversation, argument: None) -> None:
    if conversation.is_over:
        conversation.reopen()
    else:
        conversation.client.reconnect("/reconnect")


def _renew(conversation: Conversation, argument: None) -> None:
    renewed = conversation.client.renew("/renew", wait=True, timeout=_RENEWAL)
    text = "a new connection has replaced the old one" if renewed else "no new connection could be opened in time"
    conversation.transcript.note(f"* {text}")


def _sub(conversation: Conversation, argument: Any) -> None:
    conversation.subscribe(argument)


def _send(conversation: Conversation, argument: Any) -> None:
    conversation.send(argument)


def _record(conversation: Conversation, argument: str | None) -> None:
    if argument is not None:
        conversation.recording.start(argument)
        conversation.transcript.note(f"* recording to {argument}; /record ends it")
        return
    path = conversation.recording.stop()
    conversation.transcript.note("* nothing is recorded" if path is None else f"* recorded to {path}")


def _save(conversation: Conversation, argument: str) -> None:
    conversation.transcript.note(f"* {conversation.transcript.save(argument)}")


def _close(conversation: Conversation, argument: tuple[int, str]) -> None:
    conversation.close(*argument)
    conversation.transcript.note("* closed; /reconnect opens a new connection, /quit ends the shell")


def _help(conversation: Conversation, argument: None) -> None:
    for line in help_lines():
        conversation.transcript.note(line)


def _quit(conversation: Conversation, argument: None) -> None:
    """Do nothing. The callers of ``perform`` end the shell instead of passing this command on."""


COMMANDS: Final[Mapping[str, SlashRow]] = {
    "ping": SlashRow("", "Measure the round trip of a ping.", _ping, _nothing, waits=True),
    "stats": SlashRow("", "Show the counters of the client.", _stats, _nothing),
    "reconnect": SlashRow("", "Drop the connection and connect again.", _reconnect, _nothing),
    "renew": SlashRow("", "Open a new connection before the old one is closed.", _renew, _nothing, waits=True),
    "sub": SlashRow("JSON", "Subscribe with this request, again after each reconnect.", _sub, _json, waits=True),
    "send": SlashRow("JSON", "Send a message that is no request.", _send, _json),
    "text": SlashRow("TEXT", "Send a text as it is.", _send, _text),
    "record": SlashRow(
        "[FILE]", "Record to FILE from now on, redacted; without FILE, end that.", _record, _path_or_nothing,
        is_path=True,
    ),
    "save": SlashRow("FILE", "Write the messages so far as NDJSON.", _save, _path, is_path=True),
    "close": SlashRow("[CODE [REASON]]", "Close the connection; the shell stays.", _close, _close_code),
    "help": SlashRow("", "Show this.", _help, _nothing),
    QUIT: SlashRow("", "End, as Ctrl-D does.", _quit, _nothing),
}  # fmt: skip
"""The commands, by their name without the slash."""

_INPUT: Final = (
    ("JSON", "Send a message; with --protocol objects and lists are requests."),
    ('"TEXT"', "Send a text message."),
    ("METHOD NAME=TEXT NAME:=JSON", "Call a method, and show its reply with the round trip."),
)
_KEYS: Final = (
    ("Enter", "Send; while a bracket is open, continue on the next line."),
    ("Alt-Enter, Esc Enter", "A line break."),
    ("Tab", "Complete commands, names of methods and keys that were seen."),
    ("Ctrl-C, Ctrl-D", "Clear the line; end."),
)


def help_lines() -> list[str]:
    """Return the text of ``/help``."""
    rows = [*_INPUT, *((f"/{name} {row.argument}".rstrip(), row.help) for name, row in COMMANDS.items()), *_KEYS]
    return [f"{left:28} {right}" for left, right in rows]
