"""The names of methods and the keys in the messages of a session, for completion."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

__all__ = ["Vocabulary"]

_NAMING_KEYS: Final = frozenset(
    {"method", "type", "event", "op", "opcode", "action", "cmd", "command", "msg_type", "kind", "topic", "channel"}
)
"""Keys whose values are names of methods or of kinds of messages, in the protocols that are known here."""

_MOST_WORDS: Final = 2000
"""The most names, and the most keys, that are kept. The limit bounds the memory if a peer sends random keys."""

_LONGEST: Final = 80
"""Characters of the longest word that is kept. A longer text is data, and no name."""

_MOST_MEMBERS: Final = 1000
"""The most values of one message that are searched for names and keys."""

_KEY: Final = re.compile(r'[{,]\s*"(?P<word>[^"\\]*)$')
_VALUE: Final = re.compile(r'"(?P<key>[^"\\]*)"\s*:\s*"(?P<word>[^"\\]*)$')
_BARE_KEY: Final = re.compile(r"[{,]\s*(?P<word>)$")
_METHOD: Final = re.compile(r"^\s*(?P<word>[^\s\"{}\[\]/=][^\s\"{}\[\]=]*|)$")
_PARAMETER: Final = re.compile(r"^\s*[^\s\"{}\[\]/=]\S*\s+(?:.*\s)?(?P<word>[^\s=\"{}\[\]]*)$", re.DOTALL)


class Vocabulary:
    """The names and keys that ``learn`` and ``learn_name`` have found. Several threads may call the methods at the same
    time.
    """

    def __init__(self) -> None:
        self._names: dict[str, None] = {}
        self._keys: dict[str, None] = {}

    def learn(self, message: Any) -> None:
        """Keep the names and keys of a message."""
        waiting = [message]
        for _ in range(_MOST_MEMBERS):
            if not waiting:
                return
            value = waiting.pop()
            if isinstance(value, dict):
                for key, member in value.items():
                    _keep(self._keys, key)
                    if key in _NAMING_KEYS:
                        _keep(self._names, member)
                    waiting.append(member)
            elif isinstance(value, list):
                waiting += value[:_MOST_MEMBERS]

    def learn_name(self, method: str) -> None:
        """Keep the name of a method that was called."""
        _keep(self._names, method)

    def completions(self, before: str) -> Iterator[tuple[str, int]]:
        """Return what may be typed next.

        Args:
            before: the text before the cursor, which is no slash command.

        Returns:
            Pairs: the text, and how many characters before the cursor it replaces.
        """
        if found := _VALUE.search(before):
            names: Iterable[str] = self._names if found["key"] in _NAMING_KEYS else ()
            return _matching(names, found["word"], "{}", quoted=True)
        if found := _KEY.search(before):
            return _matching(self._keys, found["word"], '{}": ', quoted=True) if _in_object(before) else iter(())
        if found := _BARE_KEY.search(before):
            return _matching(self._keys, "", '"{}": ', quoted=True) if _in_object(before) else iter(())
        if found := _METHOD.search(before):
            return _matching(self._names, found["word"], "{}", quoted=False)
        if found := _PARAMETER.search(before):
            return _matching(self._keys, found["word"], "{}=", quoted=False)
        return iter(())


def _keep(words: dict[str, None], word: Any) -> None:
    if isinstance(word, str) and 0 < len(word) <= _LONGEST and word.isprintable() and len(words) < _MOST_WORDS:
        words[word] = None


def _matching(words: Iterable[str], begin: str, form: str, *, quoted: bool) -> Iterator[tuple[str, int]]:
    for word in sorted(words):
        if word.startswith(begin) and (quoted or not re.search(r"[\s=\"'{}\[\],]", word)):
            shown = json.dumps(word, ensure_ascii=False)[1:-1] if quoted else word
            yield form.format(shown) if form != "{}" or not quoted else f'{shown}"', len(begin)


def _in_object(before: str) -> bool:
    """Whether the innermost open bracket is that of an object."""
    stack = []
    for piece in re.findall(r'"(?:[^"\\]|\\.)*"?|[{}\[\]]', before):
        if piece in ("{", "["):
            stack.append(piece)
        elif piece in ("}", "]") and stack:
            stack.pop()
    return bool(stack) and stack[-1] == "{"
