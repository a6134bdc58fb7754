"""Values as they are typed: JSON, the items ``name=text`` and ``name:=JSON`` (as in httpie), and conditions."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .exits import CommandError

__all__ = ["Condition", "data_of", "items", "lines_of", "never", "parse_json"]


class Condition:
    """A condition ``name=value`` of the command line: a member of a message has this value.

    ``name`` may be a path such as ``result.state``; each part of it is a member of an object, or the index of a list.
    ``n=5`` accepts the text "5" and, since ``5`` is JSON, also the number 5. ``name=`` without a value accepts every
    message that has the member.

    Args:
        text: the condition as it is typed.

    Raises:
        CommandError: it has no ``=``.
    """

    def __init__(self, text: str) -> None:
        name, mark, value = text.partition("=")
        if not mark or not name:
            raise CommandError(f"{text!r} is not a condition; write NAME=VALUE, such as type=result.")
        self._path = name.split(".")
        self._accepted: list[Any] = [value]
        self._any_value = not value
        # If the value is not JSON, or is nested too deeply, only the text is accepted.
        with contextlib.suppress(ValueError, RecursionError):
            self._accepted.append(json.loads(value))

    def __call__(self, message: Any) -> bool:
        """Return whether a message fulfils the condition. A text is decoded if it is JSON, since ``--raw`` does not
        decode it.
        """
        if isinstance(message, str) and message[:1] in ("{", "["):
            with contextlib.suppress(ValueError, RecursionError):
                message = json.loads(message)
        for part in self._path:
            if isinstance(message, dict) and part in message:
                message = message[part]
            elif isinstance(message, list) and part.isdecimal() and int(part) < len(message):
                message = message[int(part)]
            else:
                return False
        return self._any_value or any(type(one) is type(message) and one == message for one in self._accepted)


def parse_json(text: str, where: str) -> Any:
    """Decode JSON.

    Args:
        text: the JSON.
        where: what contains it, for the error: ``"--data"``, ``"line 3 of stdin"``.

    Raises:
        CommandError: it is not JSON, or can't be decoded. If it is not JSON, the error contains the position.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        shown = text if len(text) <= 60 else f"{text[:60]}…"
        place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        raise CommandError(f"{where} is not JSON: {error.msg} at {place} of {shown!r}.") from error
    except RecursionError as error:
        raise CommandError(f"{where} is not usable: its JSON is nested too deeply.") from error
    except ValueError as error:  # a number with too many digits
        raise CommandError(f"{where} is not usable: {error}.") from error


def data_of(text: str, where: str) -> Any:
    """Return the message that an option contains or refers to.

    Args:
        text: JSON, or ``@FILE``: the content of the file; a file that is not UTF-8 is sent as a binary message.
        where: the option, for errors.

    Raises:
        CommandError: it is not JSON.
        OSError: the file can't be read.
    """
    if not text.startswith("@"):
        return parse_json(text, where)
    content = Path(text[1:]).read_bytes()
    try:
        decoded = content.decode()
    except UnicodeDecodeError:
        return content
    return parse_json(decoded, text[1:])


def lines_of(lines: Iterable[str]) -> Iterator[Any]:
    """Decode NDJSON: one message per line; empty lines are skipped.

    Raises:
        CommandError: a line is not JSON, or the lines are not UTF-8.
    """
    try:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield parse_json(line.strip(), f"line {number} of stdin")
    except UnicodeDecodeError as error:
        raise CommandError(f"stdin is not UTF-8: {error}.") from error


def never(message: object) -> bool:
    """A condition for streams that no message fulfils."""
    return False


def items(arguments: Iterable[str]) -> Any:
    """Return the parameters that items describe: an object for named items, a list for items without a name.

    ``name=text`` is a text, ``name:=JSON`` any JSON value; ``=text`` and ``:=JSON`` are elements of a list.

    Returns:
        The object or list; None without items.

    Raises:
        CommandError: an item has neither ``=`` nor ``:=``, or named and unnamed items are mixed.
    """
    named: dict[str, Any] = {}
    unnamed: list[Any] = []
    for item in arguments:
        name, mark, text = item.partition("=")
        if not mark:
            raise CommandError(f"{item!r} is not a parameter; write NAME=TEXT or NAME:=JSON, such as id:=5.")
        value: Any = text
        if name.endswith(":"):
            name = name[:-1]
            value = parse_json(text, f"the parameter {name}" if name else "a parameter")
        if name:
            named[name] = value
        else:
            unnamed.append(value)
    if named and unnamed:
        raise CommandError("Parameters with and without names can't be mixed; the server expects an object or a list.")
    return named or unnamed or None
