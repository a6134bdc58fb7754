"""Comparison of a client's message with a recorded one. Pure.

JSON is compared as values, other text and binary messages byte by byte. The message is redacted like the recording
before the comparison. A value ``"[redacted]"`` in the recording equals any value.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from ..._recording.redaction import REDACTED, Redactor

__all__ = ["ABSENT", "ID_KEYS", "Ids", "Matcher", "Message", "same"]

ID_KEYS: Final = ("id", "req_id", "reqId", "request_id", "requestId", "msg_id", "seq")
"""Members of a message that contain a request's id; see ``Replay(ids=)``."""

_KINDS: Final = ("method", "type", "op", "action", "command", "cmd", "event", "query")
"""Members that contain the kind of a message; two objects with the same values of these members are alike."""

_SHOWN: Final = 200
"""How many characters of a message an error text shows."""

ABSENT: Final[Any] = object()
"""The value of a message that is not JSON."""

Ids = dict[tuple[bool, Any], Any]
"""For each recorded id, the id that the client uses now. The key contains whether the recorded id is text."""


class Message(NamedTuple):
    """A message, prepared for comparison.

    Attributes:
        payload: text or bytes, redacted.
        value: the decoded JSON; ``ABSENT`` if the message is not JSON.
    """

    payload: str | bytes
    value: Any

    def __str__(self) -> str:
        text = self.payload if isinstance(self.payload, str) else repr(self.payload)
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(self.payload)} in all)"


class Matcher:
    """Compares messages with those of one recording. Immutable once ``heartbeats`` is set, so threads may share it.

    Attributes:
        heartbeats: the recorded heartbeats of the client, each with its answer or None. Their number depends on time,
            and they take ids, so with heartbeats the ids of other messages may differ from the recorded ones.
    """

    __slots__ = ("_keys", "_redactor", "heartbeats")

    def __init__(self, redactor: Redactor, keys: Iterable[str] = ID_KEYS) -> None:
        """
        Args:
            redactor: redacts as the recording was redacted.
            keys: the members that contain ids.
        """
        self._redactor = redactor
        self._keys = tuple(keys)
        self.heartbeats: list[tuple[Message, Message | None]] = []

    def read(self, payload: str | bytes) -> Message:
        """Prepare a message that the client sent now."""
        redacted = self._redactor.text(payload) if isinstance(payload, str) else self._redactor.data(payload)
        return recorded(redacted)

    def same(self, wanted: Message, got: Message) -> bool:
        """Whether a message equals the recorded one."""
        if type(wanted.payload) is not type(got.payload):
            return False
        if wanted.value is ABSENT or got.value is ABSENT:
            return wanted.payload == got.payload
        return same(wanted.value, got.value)

    def same_but_ids(self, wanted: Message, got: Message) -> bool:
        """Whether a message equals the recorded one except for the values of ids."""
        return self.same(self._without_ids(wanted), self._without_ids(got))

    def alike(self, wanted: Message, got: Message) -> bool:
        """Whether a message is of the same kind as the recorded one: the same method or type, else the same members."""
        if type(wanted.payload) is not type(got.payload):
            return False
        if isinstance(wanted.value, list) and isinstance(got.value, list):
            return len(wanted.value) == len(got.value) > 0 and all(map(self._are_alike, wanted.value, got.value))
        return self._are_alike(wanted.value, got.value)

    def ids_of(self, value: Any) -> list[tuple[bool, Any]]:
        """The ids in a message, or in all messages of a batch."""
        found = []
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict):
                ids = (one[key] for key in self._keys if key in one)
                found += [_key(id) for id in ids if isinstance(id, (str, int))]
        return found

    def is_call(self, value: Any) -> bool:
        """Whether a message of the server is a call, so that the server has chosen its id."""
        return isinstance(value, dict) and "method" in value and bool(self.ids_of(value))

    def learn(self, wanted: Any, got: Any, ids: Ids) -> None:
        """Add to ``ids``, for each id in a recorded message, the id in the client's message that corresponds to it. The
        two messages must have been compared before: two lists must have the same length.
        """
        pairs = zip(wanted, got, strict=True) if isinstance(wanted, list) and isinstance(got, list) else [(wanted, got)]
        for one, other in pairs:
            if isinstance(one, dict) and isinstance(other, dict):
                for key in self._keys:
                    if key in one and key in other and isinstance(one[key], (str, int)):
                        ids[_key(one[key])] = other[key]

    def relabelled(self, message: Message, ids: Ids) -> str | bytes:
        """The payload of a recorded message of the server, with the ids that the client uses now."""
        value = message.value
        changed = self._relabelled_list(value, ids) if isinstance(value, list) else self._relabelled(value, ids)
        if changed is value:
            return message.payload
        text = json.dumps(changed, ensure_ascii=False, separators=(",", ":"))
        return text if isinstance(message.payload, str) else text.encode()

    def _relabelled_list(self, values: list[Any], ids: Ids) -> list[Any]:
        changed = [self._relabelled(one, ids) for one in values]
        return changed if any(map(operator.is_not, changed, values)) else values

    def _relabelled(self, value: Any, ids: Ids) -> Any:
        if not isinstance(value, dict) or self.is_call(value):
            return value
        known = {
            key: ids[_key(value[key])]
            for key in self._keys
            if isinstance(value.get(key), (str, int)) and _key(value[key]) in ids
        }
        return {**value, **known} if any(value[key] != id for key, id in known.items()) else value

    def _without_ids(self, message: Message) -> Message:
        value = message.value
        plain = [self._stripped(one) for one in value] if isinstance(value, list) else self._stripped(value)
        return message._replace(value=plain)

    def _stripped(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: REDACTED if key in self._keys else member for key, member in value.items()}

    def _are_alike(self, wanted: Any, got: Any) -> bool:
        if not isinstance(wanted, dict) or not isinstance(got, dict):
            return False
        kinds, others = _kinds(wanted), _kinds(got)
        if kinds or others:
            return kinds.keys() == others.keys() and same(kinds, others)
        return wanted.keys() == got.keys()


def recorded(payload: str | bytes) -> Message:
    """Prepare a recorded message."""
    try:
        return Message(payload, json.loads(payload if isinstance(payload, str) else payload.decode()))
    except (ValueError, RecursionError):
        return Message(payload, ABSENT)


def same(wanted: Any, got: Any) -> bool:
    """Whether two JSON values are equal; ``"[redacted]"`` in the recorded one equals any value."""
    waiting = [(wanted, got)]  # no recursion, since a peer may nest a message to any depth
    while waiting:
        one, other = waiting.pop()
        if isinstance(one, str) and one == REDACTED:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            if one.keys() != other.keys():
                return False
            waiting += [(one[key], other[key]) for key in one]
        elif isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return False
            waiting += zip(one, other, strict=True)
        elif not _same_plain(one, other):
            return False
    return True


def _same_plain(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other  # in Python, True == 1
    return bool(one == other) or (one != one and other != other)  # NaN, which Python's json accepts


def _kinds(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value[key] for key in _KINDS if isinstance(value.get(key), str)}


def _key(id: Any) -> tuple[bool, Any]:
    return isinstance(id, str), id
