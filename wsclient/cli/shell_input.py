"""What is typed in the shell: a message, the call of a method, or a slash command. Pure: it sends nothing.

=====================  ==============================================================================================
it begins with          it is
=====================  ==============================================================================================
``/``                   a slash command, see ``shell_commands``
``{ [ "``, a number,    JSON, a message; a JSON string is sent as a text message without the quotation marks
``true false null``
another character       ``METHOD NAME=TEXT NAME:=JSON …``, the call of a method; text is sent with ``/text TEXT``
=====================  ==============================================================================================

A parameter's TEXT ends at white space, unless it is in ``"…"`` (a JSON string) or in ``'…'``, where no character has a
special meaning. A parameter's JSON may contain white space. It may also be in ``'…'``, which a Unix shell requires for
the same parameter of ``wsclient call``.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from .exits import CommandError

__all__ = ["Call", "Input", "InputError", "Message", "SlashCommand", "is_open", "joined", "json_in", "looks_secret",
           "parse", "parse_all"]  # fmt: skip

_JSON: Final = re.compile(r'[{\["]|-?[0-9]|(?:true|false|null)\s*$')
"""The beginning of JSON."""

_METHOD: Final = re.compile(r"[^\s=\"'{}\[\],]+")
"""The name of a method, such as ``aria2.getVersion``, ``eth_call``, ``textDocument/hover``."""

_NAME: Final = re.compile(r"([^\s=:]*(?::[^\s=:]+)*)(:?=)")
_QUOTED: Final = re.compile(r"'([^']*)'")
_WORD: Final = re.compile(r"\S*")
_SPACE: Final = re.compile(r"\s*")

_SECRET: Final = re.compile(
    r"pass(?:word|wd|phrase|code)|pwd|secret|token|credential|auth(?!or)|bearer|jwt|cookie|session.?id"
    r"|(?:api|access|private).?key",
    re.IGNORECASE,
)
"""Words that indicate a secret, anywhere in the line. They are like the names of members that ``Recording`` redacts."""

_OPENING: Final = {"{": "}", "[": "]"}
_PIECE: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"?|(?<==)\'[^\']*\'?|[{}\[\]]')
"""The parts of a text that ``is_open`` reads: brackets, and strings, even without their end."""


class InputError(CommandError):
    """What was typed can't be used.

    Args:
        sentence: what is wrong.
        position: the index of the character where it is wrong.
    """

    def __init__(self, sentence: str, position: int = 0) -> None:
        super().__init__(sentence)
        self.position = position


@dataclass(frozen=True)
class Message:
    """A message to send, as decoded JSON. A ``str`` is sent as a text message."""

    value: Any


@dataclass(frozen=True)
class Call:
    """The call of a method; ``params`` is None without parameters."""

    method: str
    params: Any


@dataclass(frozen=True)
class SlashCommand:
    """A slash command: its name without the slash, and the rest of the text.

    Attributes:
        at: the index at which the rest begins, or the end of the text.
    """

    name: str
    rest: str
    at: int


Input = Message | Call | SlashCommand


def parse(text: str) -> Input:
    """Parse what was typed.

    Args:
        text: one or several lines; not empty.

    Raises:
        InputError: it can't be used; the sentence has the position.
    """
    begin = len(text) - len(text.lstrip())
    if text.startswith("/", begin):
        name = _WORD.match(text, begin + 1)
        assert name is not None
        at = _after_space(text, name.end())
        return SlashCommand(name[0], text[at:].rstrip(), at)
    if _JSON.match(text, begin):
        return Message(json_in(text, begin))
    return _call(text, begin)


def parse_all(text: str) -> list[Input]:
    """Parse what was typed or pasted at once: one input, or several on lines of their own.

    Raises:
        InputError: the text is neither. The error is that of the text as one input.
    """
    try:
        return [parse(text)]
    except InputError:
        with contextlib.suppress(InputError):
            return [parse(piece) for _, piece in joined(text.splitlines(keepends=True))]
        raise


def joined(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Combine lines while a bracket is open. Empty lines are skipped.

    Returns:
        Each input with the number of its last line, from 1.
    """
    text = ""
    number = 0
    for number, line in enumerate(lines, 1):
        text += line
        if not is_open(text):
            if text.strip():
                yield number, text.rstrip("\r\n")
            text = ""
    if text.strip():
        yield number, text


def json_in(text: str, begin: int = 0) -> Any:
    """Decode the JSON from an index to the end.

    Raises:
        InputError: it is not JSON.
    """
    value, end = _decoded(text, begin)
    end = _after_space(text, end)
    if end < len(text):
        raise InputError(f"This is not JSON: something follows its end, at {_place(text, end)}.", end)
    return value


def is_open(text: str) -> bool:
    """Whether a bracket is open at the end, so that the input continues on the next line.

    The result is False for a wrong bracket and a string without an end, since more lines can't correct these errors.
    """
    stack: list[str] = []
    if re.match(r"\s*/text\b", text):
        return False
    for piece in _PIECE.findall(text):
        if piece in _OPENING:
            stack.append(_OPENING[piece])
        elif piece in ("}", "]"):
            if not stack or stack.pop() != piece:
                return False
        elif len(piece) == 1 or piece[-1] != piece[0]:  # a string without an end
            return False
    return bool(stack)


def looks_secret(text: str) -> bool:
    """Whether a line must not be stored in the history file: it begins with a space, as in other shells, or it
    contains a word such as ``password``, ``token`` or ``authorization``.
    """
    return text.startswith(" ") or _SECRET.search(text) is not None


# --- the parts ------------------------------------------------------------------------------------------------------


def _call(text: str, begin: int) -> Call:
    method = _METHOD.match(text, begin)
    at = begin if method is None else method.end()
    if method is None or (at < len(text) and not text[at].isspace()):
        raise InputError(
            f"{text[at]!r} at {_place(text, at)} can't be in the name of a method; type JSON, METHOD NAME=TEXT, "
            "/text TEXT or /help.",
            at,
        )
    named: dict[str, Any] = {}
    unnamed: list[Any] = []
    while (at := _after_space(text, at)) < len(text):
        name, value, at = _parameter(text, at)
        if name:
            named[name] = value
        else:
            unnamed.append(value)
        if named and unnamed:
            raise InputError("Parameters with and without names can't be mixed.", at)
    return Call(method[0], named or unnamed or None)


def _parameter(text: str, at: int) -> tuple[str, Any, int]:
    """The name and value of the parameter at an index, and the index of its end."""
    found = _NAME.match(text, at)
    if found is None:
        raise InputError(
            f"At {_place(text, at)} a parameter is expected: NAME=TEXT or NAME:=JSON, such as id:=5; text is sent with "
            "/text TEXT.",
            at,
        )
    name, mark = found.groups()
    begin = found.end()
    quoted = _QUOTED.match(text, begin)
    value: Any
    if quoted is not None:
        end = quoted.end()
        value = quoted[1] if mark == "=" else json_in(text[: end - 1], begin + 1)
    elif mark == ":=" or text.startswith('"', begin):
        value, end = _decoded(text, begin)
    else:
        word = _WORD.match(text, begin)
        assert word is not None
        value, end = word[0], word.end()
    if end < len(text) and not text[end].isspace():
        raise InputError(f"A space is missing after the value of {name or 'a parameter'}, at {_place(text, end)}.", end)
    return name, value, end


_decode: Final = json.JSONDecoder().raw_decode


def _decoded(text: str, begin: int) -> tuple[Any, int]:
    try:
        return _decode(text, begin)
    except json.JSONDecodeError as error:
        reason = error.msg.removesuffix(" at")
        raise InputError(f"This is not JSON: {reason} at {_place(text, error.pos)}.", error.pos) from error
    except RecursionError as error:
        raise InputError("This JSON is not usable: it is nested too deeply.", begin) from error
    except ValueError as error:  # a number with more digits than Python converts
        raise InputError(f"This JSON is not usable: {error}.", begin) from error


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()


def _place(text: str, position: int) -> str:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return f"column {column}" if "\n" not in text else f"line {line}, column {column}"
