"""Redaction: replaces the values of JSON members and headers that are secret by their name. Pure.

The text is searched, not decoded, so all bytes outside the replaced values stay the same. Therefore secrets are also
found in JSON that no decoder accepts (truncated, nested a thousand levels deep, after the digits of a Socket.IO frame).
Secrets are also found in JSON inside a string of other JSON. Only such a string is decoded and, if it contains a
secret, encoded again, so its escape sequences may change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final

__all__ = ["REDACTED", "SECRET_NAMES", "Redactor", "normal"]

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

_STRING: Final = r'"[^"\\]*(?:\\.[^"\\]*)*"?'  # the closing quote is missing in truncated text
_STRINGS: Final = re.compile(_STRING, re.DOTALL)
_TOKENS: Final = re.compile(_STRING + r"|[\[\]{}]", re.DOTALL)
_COLON: Final = re.compile(r"\s*:\s*")
_SCALAR: Final = re.compile(r"[^\s,\]}]*")
_SEPARATORS: Final = re.compile(r"[\W_]+")


def normal(name: str) -> str:
    """The form of a name for comparisons: lower case, without separators and punctuation."""
    return _SEPARATORS.sub("", name.lower())


class Redactor:
    """Finds and replaces secrets. Immutable, so threads may share it."""

    __slots__ = ("_endings", "_kept")

    def __init__(self, redact: Iterable[str] = (), keep: Iterable[str] = ()) -> None:
        """
        Args:
            redact: names of secrets in addition to ``SECRET_NAMES``.
            keep: names that are not secret, although they end like the name of a secret.
        """
        self._endings = tuple(dict.fromkeys(normal(name) for name in (*SECRET_NAMES, *redact)))
        self._kept = frozenset(normal(name) for name in keep)

    def is_secret(self, name: str) -> bool:
        """Whether the value of a member or header with this name is secret."""
        compared = normal(name)
        return compared.endswith(self._endings) and compared not in self._kept

    def text(self, text: str) -> str:
        """The text, with the value of each secret JSON member replaced by ``"[redacted]"``."""
        pieces: list[str] = []
        done = at = 0  # the text before ``done`` was copied, the text before ``at`` was searched
        while (string := _STRINGS.search(text, at)) is not None:
            at = string.end()
            colon = _COLON.match(text, at)
            if colon is None:
                inner = self._in_string(string[0])
                if inner != string[0]:
                    pieces += text[done : string.start()], inner
                    done = at
            elif self.is_secret(_unquoted(string[0])):
                pieces += text[done : colon.end()], f'"{REDACTED}"'
                done = at = _value_end(text, colon.end())
        return "".join([*pieces, text[done:]]) if pieces else text

    def data(self, data: bytes) -> bytes:
        """As ``text``, for a binary payload that is UTF-8, since some servers send JSON in binary messages."""
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return data
        redacted = self.text(text)
        return data if redacted is text else redacted.encode()

    def header(self, name: str, value: str) -> str:
        """The value of a header, or ``"[redacted]"`` if it is secret."""
        return REDACTED if self.is_secret(name) or normal(name).endswith(_HEADER_NAMES) else value

    def _in_string(self, string: str) -> str:
        """Redact JSON inside a JSON string, as in SockJS and many logs.

        Usually the recursion can't be deep: each level of strings inside strings about doubles the number of
        backslashes, so the size of the text limits the depth. (If each backslash is written as a Unicode escape, a text
        of more than 1 MB can reach the interpreter's limit.)
        """
        if '\\"' not in string and "\\u0022" not in string:
            return string
        inner = _unquoted(string)
        redacted = self.text(inner)
        return string if redacted == inner else json.dumps(redacted, ensure_ascii=False)


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


def _value_end(text: str, start: int) -> int:
    """The end of the JSON value that begins at ``start``; the end of the text if the value is truncated."""
    if text[start : start + 1] == '"':
        string = _STRINGS.match(text, start)
        assert string is not None
        return string.end()
    if text[start : start + 1] not in ("{", "["):
        scalar = _SCALAR.match(text, start)
        assert scalar is not None
        return scalar.end()
    depth = 0
    for token in _TOKENS.finditer(text, start):
        if token[0] in "{[":
            depth += 1
        elif token[0] in "}]":
            depth -= 1
            if depth == 0:
                return token.end()
    return len(text)
