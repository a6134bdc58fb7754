"""Compares what a server sends now with a recording, and puts secrets into recorded messages. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from .._errors import printable
from .._recording.redaction import REDACTED, normal
from ..testing._replay.matching import ABSENT, Matcher, Message, same
from .pairs import ids_of

if TYPE_CHECKING:
    from ..testing._replay.playing import RecordedStep

__all__ = ["Expected", "differences", "with_secrets"]

_MOST: Final = 5
"""Differences of one message that are shown."""

_LONGEST: Final = 200
"""Characters of a value that are shown."""

_SECRET: Final = re.compile(r'(\\*)"([^"\\]*)\1"(\s*:\s*)\1"' + re.escape(REDACTED) + r'\1"')
"""A member whose value is redacted. In JSON inside a string its quotes have backslashes."""


class Expected:
    """The messages of the server on one recorded connection. A message that is received now is assigned to one of them.

    The server may send the messages in another order now. A received message is assigned to the first recorded message
    that is not assigned yet and, in this order of preference:

    1. has the same id,
    2. is equal except for ids,
    3. is of the same kind (see ``Matcher.alike``). Two messages that are not JSON are of the same kind if both are text
       or both are binary.

    Args:
        messages: the recorded messages.
        matcher: compares.
        ids: the members that contain ids, see ``pairs.id_names``.
    """

    def __init__(self, messages: Iterable[RecordedStep], matcher: Matcher, ids: Sequence[str]) -> None:
        self._left = [(step, matcher.read(step.message.payload)) for step in messages]
        self._matcher = matcher
        self._ids = ids
        self._paths = _paths(ids)

    def __len__(self) -> int:
        return len(self._left)

    def before(self, line: int) -> list[RecordedStep]:
        """Return the recorded messages before a line of the file that have not been received."""
        return [step for step, _ in self._left if step.line < line]

    def take(self, payload: str | bytes) -> tuple[RecordedStep | None, list[str]]:
        """Assign a received message to a recorded one, which is then not expected any more.

        Args:
            payload: the received message.

        Returns:
            The recorded message, or None if there is none to which it can be assigned; and a phrase for each
            difference.
        """
        got = self._matcher.read(payload)
        found = self._find(got)
        if found is None:
            return None, [f"the recording has no such message: {printable(str(got))}"]
        step, wanted = self._left.pop(found)
        return step, differences(wanted, got, self._ids)

    def give_up(self, steps: Iterable[RecordedStep]) -> None:
        """Do not expect some messages any more."""
        lines = {step.line for step in steps}
        self._left = [(step, message) for step, message in self._left if step.line not in lines]

    def _find(self, got: Message) -> int | None:
        ids = set(ids_of(got.value, self._ids))
        with_id = [n for n, (_, one) in enumerate(self._left) if ids.intersection(ids_of(one.value, self._ids))]
        for numbers in (with_id, range(len(self._left))):
            for is_similar in (self._are_same_but_ids, self._matcher.alike, _are_of_same_type):
                for number in numbers:
                    if is_similar(self._left[number][1], got):
                        return number
            if with_id:
                return with_id[0]
        return None

    def _are_same_but_ids(self, wanted: Message, got: Message) -> bool:
        return self._matcher.same(wanted, got) or (
            _are_json(wanted, got) and next(_differences(wanted.value, got.value, self._paths), None) is None
        )


def _are_json(wanted: Message, got: Message) -> bool:
    return type(wanted.payload) is type(got.payload) and wanted.value is not ABSENT and got.value is not ABSENT


def _are_of_same_type(wanted: Message, got: Message) -> bool:
    return wanted.value is ABSENT and got.value is ABSENT and type(wanted.payload) is type(got.payload)


def differences(wanted: Message, got: Message, ids: Sequence[str]) -> list[str]:
    """Return the differences of two messages, as phrases with the path of the member.

    Args:
        wanted: the recorded message.
        got: the message that is received now.
        ids: the members whose values may differ, of a message or of each message in a batch; see ``pairs.id_names``.
    """
    if not _are_json(wanted, got):
        is_same = type(wanted.payload) is type(got.payload) and wanted.payload == got.payload
        return [] if is_same else [f"recorded {printable(str(wanted))}, now {printable(str(got))}"]
    found = list(_differences(wanted.value, got.value, _paths(ids)))
    phrases = [f"{path}: recorded {_shown(one)}, now {_shown(other)}" for path, one, other in found[:_MOST]]
    more = len(found) - _MOST
    return [*phrases, f"{more} more members differ"] if more > 0 else phrases


def with_secrets(payload: str | bytes, values: Mapping[str, Any]) -> tuple[str | bytes, list[str]]:
    """Replace redacted values.

    Args:
        payload: a recorded message.
        values: the secrets. Each key is the name of a member, in the form that ``redaction.normal`` returns.

    Returns:
        The message, and the names of the members for which there is no value. Only values of members are replaced.
        So the message may still contain other redacted text, even if the list of names is empty.
    """
    if isinstance(payload, bytes):
        try:
            text, missing = with_secrets(payload.decode(), values)
        except UnicodeDecodeError:
            return payload, []
        return str(text).encode(), missing
    missing = []
    pieces, done = [], 0
    for found in _SECRET.finditer(payload):
        escape, name, colon = found.groups()
        if normal(name) not in values:
            missing.append(name)
            continue
        value = json.dumps(values[normal(name)], ensure_ascii=False)
        # If the JSON is in 1, 2, 3... strings, one in the other, each quote has 1, 3, 7... backslashes.
        for _ in range((len(escape) + 1).bit_length() - 1):
            value = json.dumps(value, ensure_ascii=False)[1:-1]
        pieces += [payload[done : found.start()], f'{escape}"{name}{escape}"{colon}{value}']
        done = found.end()
    return "".join([*pieces, payload[done:]]), missing


def _paths(ids: Iterable[str]) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(name.split(".")) for name in ids)


def _differences(wanted: Any, got: Any, ids: frozenset[tuple[str, ...]]) -> Iterator[tuple[str, Any, Any]]:
    """Yield the path of each member that differs, the recorded value, and the value that is received now."""
    first = 1 if isinstance(wanted, list) else 0  # in a batch, a path begins with the index of the message
    waiting: list[tuple[tuple[str, ...], Any, Any]] = [((), wanted, got)]
    while waiting:  # no recursion, since a peer may nest a message to any depth
        path, one, other = waiting.pop()
        if isinstance(one, dict) and isinstance(other, dict):
            names = [name for name in {**one, **other} if (*path[first:], name) not in ids]
            waiting += [((*path, name), one.get(name, ABSENT), other.get(name, ABSENT)) for name in reversed(names)]
        elif isinstance(one, list) and isinstance(other, list):
            indexes = reversed(range(max(len(one), len(other))))
            waiting += [((*path, str(index)), _at(one, index), _at(other, index)) for index in indexes]
        elif one is ABSENT or other is ABSENT or not same(one, other):
            yield ".".join(path) or "the message", one, other


def _at(values: list[Any], index: int) -> Any:
    return values[index] if index < len(values) else ABSENT


def _shown(value: Any) -> str:
    if value is ABSENT:
        return "missing"
    text = json.dumps(value, ensure_ascii=False)
    return printable(text, _LONGEST)
