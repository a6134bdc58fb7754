"""Redaction: replaces the values of JSON members and headers that are secret by their name. Pure.

The text is searched, not decoded, so all bytes outside the replaced values stay the same. Therefore secrets are also
found in JSON that no decoder accepts (truncated, nested a thousand levels deep, after the digits of a Socket.IO frame).
Secrets are also found in JSON inside a string of other JSON. Only such a string is decoded and, if it contains a
secret, encoded again, so its escape sequences may change.

The I/O thread redacts, so the cost of one text is limited. Text without colons and backslashes is skipped by the search
functions of ``str``; each colon or string with a backslash costs 1 to 3 µs. After ``MAX_STEPS`` steps the rest of the
text is replaced, so a secret is never recorded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final

__all__ = ["MAX_DEPTH", "MAX_STEPS", "REDACTED", "SECRET_NAMES", "Redactor", "normal"]

REDACTED: Final = "[redacted]"
"""Replaces the value of a secret."""

SECRET_NAMES: Final = (
    "password", "passwd", "pwd", "passphrase", "passcode", "token", "secret", "api_key", "access_key", "secret_key",
    "private_key", "authorization", "auth", "bearer", "jwt", "credential", "credentials", "cookie", "cookies",
    "session", "session_id",
)  # fmt: skip
"""Values of members and headers are secret if the name ends with one of these: ``access_token``, ``clientSecret``,
``X-Api-Key``. Case and punctuation are ignored. The list follows those of established tools (Sentry's
``DEFAULT_DENYLIST``, Rails' ``filter_parameters``)."""

_HEADER_NAMES: Final = ("setcookie", "cookie", "authorization")
"""Headers that are always secret, even if ``keep=`` names them (RFC 9110 §11.6.2, RFC 6265 §4)."""

MAX_STEPS: Final = 1_500_000
"""Steps that the redaction of one text may take, about a second. A member whose name was seen before takes one; 16 MiB
of usual JSON have 200 000 to 1 000 000 members."""

_LONG_STEP: Final = 4
"""Steps that are counted for a member whose name is new, for a secret value, and for a string with a backslash."""

MAX_DEPTH: Final = 16
"""Levels of strings inside strings that are searched; a deeper string is replaced. SockJS and logs have one or two."""

_CACHED_NAMES: Final = 1000
"""Names whose result is kept; beyond that number, all are forgotten."""

_LONGEST_CACHED: Final = 100
"""Characters of the longest name whose result is kept: a peer may send names of 16 MiB."""

_PART: Final = re.compile(r'[^"\\]*(?:\\.[^"\\]*){0,1000}', re.DOTALL)
"""The next part of a string, with at most 1000 escapes: ``re`` needs 120 bytes of memory for each."""

_TOKENS: Final = re.compile(r'["\[\]{}]')
_COLON: Final = re.compile(r"\s*:\s*")
_SCALAR: Final = re.compile(r"[^\s,\]}]*")
_SEPARATORS: Final = re.compile(r"[\W_]+")


def normal(name: str) -> str:
    """The form of a name for comparisons: lower case, without separators and punctuation."""
    return _SEPARATORS.sub("", name.lower())


class Redactor:
    """Finds and replaces secrets. Threads may share it, since its methods change only a cache, by atomic operations."""

    __slots__ = ("_endings", "_kept", "_known")

    def __init__(self, redact: Iterable[str] = (), keep: Iterable[str] = ()) -> None:
        """
        Args:
            redact: names of secrets in addition to ``SECRET_NAMES``.
            keep: names that are not secret, although they end like the name of a secret.
        """
        self._endings = tuple(dict.fromkeys(normal(name) for name in (*SECRET_NAMES, *redact)))
        self._kept = frozenset(normal(name) for name in keep)
        self._known: dict[str, bool] = {}

    def is_secret(self, name: str) -> bool:
        """Whether the value of a member or header with this name is secret."""
        compared = normal(name)
        return compared.endswith(self._endings) and compared not in self._kept

    def text(self, text: str) -> str:
        """The text, with the value of each secret JSON member replaced by ``"[redacted]"``. After ``MAX_STEPS`` steps,
        the rest of the text is replaced too.
        """
        return self._redacted(text, _Budget(), 0)

    def _redacted(self, text: str, budget: _Budget, depth: int) -> str:
        pieces: list[str] = []
        done = at = 0  # the text before `done` was copied, the text before `at` was searched; `at` is in no string
        size, known = len(text), self._known
        backslash = colon = -1
        while True:
            # `find` is called again only after `at` has passed the last result, so each of the two searches reads the
            # text once.
            if backslash < at:
                backslash = _find(text, "\\", at)
            if colon < at:
                colon = _find(text, ":", at)
            stop = min(colon, backslash)
            if stop == size:
                break
            if budget.left <= 0:
                return "".join([*pieces, text[done:at], f'"{REDACTED}"'])
            if at < stop == colon and text[stop - 1] == '"' and not text.count('"', at, stop) % 2:
                name = text[text.rfind('"', at, stop - 1) : stop]
                if known.get(name) is False:  # the common case, kept short
                    budget.left -= 1
                    at = stop + 1
                    continue
            budget.left -= _LONG_STEP
            start, end, value = _name_before(text, at, stop)
            at = max(end, stop + 1 if value < 0 else value)
            if value >= 0 and self._is_secret(text[start:end]):
                budget.left -= _LONG_STEP
                pieces += text[done:start], text[start:value], f'"{REDACTED}"'
                done = at = _value_end(text, value, budget)
            elif value < 0 <= start:
                at = end
                inner = self._in_string(text[start:end], budget, depth)
                if inner is not None:
                    pieces += text[done:start], inner
                    done = at
        return "".join([*pieces, text[done:]]) if pieces else text

    def _is_secret(self, string: str) -> bool:
        """Whether a member is secret; its name is given as a JSON string. The results are kept, as names repeat."""
        known = self._known.get(string)
        if known is None:
            known = self.is_secret(_unquoted(string))
            if len(string) <= _LONGEST_CACHED:
                if len(self._known) >= _CACHED_NAMES:
                    self._known.clear()
                self._known[string] = known
        return known

    def data(self, data: bytes) -> bytes:
        """Does what ``text`` does, for a binary payload: some servers send JSON in binary messages. A payload that is
        not UTF-8 is returned unchanged.
        """
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return data
        redacted = self.text(text)
        return data if redacted is text else redacted.encode()

    def header(self, name: str, value: str) -> str:
        """The value of a header, or ``"[redacted]"`` if it is secret."""
        return REDACTED if self.is_secret(name) or normal(name).endswith(_HEADER_NAMES) else value

    def _in_string(self, string: str, budget: _Budget, depth: int) -> str | None:
        """Redact JSON inside a JSON string, as in SockJS and many logs. None if nothing changes."""
        if '\\"' not in string and "\\u0022" not in string:
            return None
        if depth >= MAX_DEPTH:
            return f'"{REDACTED}"'
        budget.left -= _LONG_STEP
        inner = _unquoted(string)
        redacted = self._redacted(inner, budget, depth + 1)
        return None if redacted == inner else json.dumps(redacted, ensure_ascii=False)


class _Budget:
    """The steps that are left for one text."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_STEPS


def _find(text: str, character: str, start: int) -> int:
    """The next position of a character; the end of the text if there is none."""
    found = text.find(character, start)
    return len(text) if found < 0 else found


def _name_before(text: str, at: int, stop: int) -> tuple[int, int, int]:
    """Find the string that contains ``stop`` or ends before it.

    Args:
        text: the text.
        at: where to begin; it is not inside a string.
        stop: the first colon or backslash from there.

    Returns:
        Start and end of the string, and where the value begins if the string is the name of a member. The start is -1
        if there is no such string; the beginning of the value is -1 if the string is no name.
    """
    if text.count('"', at, stop) % 2:
        start = text.rfind('"', at, stop)
        end = _string_end(text, start)
        colon = _COLON.match(text, end)
        return start, end, -1 if colon is None else colon.end()
    end = text.rfind('"', at, stop)
    colon = None if end < 0 else _COLON.match(text, end + 1)
    if colon is None:
        return -1, -1, -1
    return text.rfind('"', at, end), end + 1, colon.end()


def _string_end(text: str, start: int) -> int:
    """The end of the string that begins at ``start``; if it is truncated, the end of the text."""
    at = start + 1
    while True:
        part = _PART.match(text, at)
        assert part is not None
        if text[part.end() : part.end() + 1] != "\\" or part.end() + 1 >= len(text):
            return min(part.end() + 1, len(text))
        at = part.end()


def _unquoted(string: str) -> str:
    """The value of a JSON string; if it is not valid, the string without its quotes."""
    if "\\" in string:
        try:
            value = json.loads(string, strict=False)
        except ValueError:
            pass
        else:
            return str(value)
    return string.strip('"')


def _value_end(text: str, start: int, budget: _Budget) -> int:
    """The end of the JSON value that begins at ``start``; the end of the text if the value is truncated, or if no steps
    are left.
    """
    if text[start : start + 1] == '"':
        return _string_end(text, start)
    if text[start : start + 1] not in ("{", "["):
        scalar = _SCALAR.match(text, start)
        assert scalar is not None
        return scalar.end()
    depth, at = 0, start
    while budget.left > 0 and (token := _TOKENS.search(text, at)) is not None:
        budget.left -= 1
        at = token.end()
        if token[0] == '"':
            at = _string_end(text, token.start())
        elif token[0] in "{[":
            depth += 1
        else:
            depth -= 1
            if depth == 0:
                return at
    return len(text)
