"""Taking secrets out of what is written down: JSON members and headers, by their names. Pure.

The text is searched, not decoded: what is left of it stays as it was, to the byte. So secrets are found as well in JSON
that no decoder takes (cut short, nested a thousand deep, behind the digits of a Socket.IO frame), and in JSON that
stands in a string of other JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final

__all__ = ["REDACTED", "SECRET_NAMES", "Redactor", "normal"]

REDACTED: Final = "[redacted]"
"""What stands in a secret's place."""

SECRET_NAMES: Final = (
    "password", "passwd", "pwd", "passphrase", "passcode", "token", "secret", "api_key", "access_key", "secret_key",
    "private_key", "authorization", "auth", "bearer", "jwt", "credential", "credentials", "cookie", "cookies",
    "session", "session_id",
)  # fmt: skip
"""Names whose values are secret, and every name that ends with one of them: ``access_token``, ``clientSecret``,
``X-Api-Key``. Case, ``_`` and ``-`` don't count. The words are those that loggers of the field take out (Sentry's
``DEFAULT_DENYLIST``, Rails' ``filter_parameters``)."""

_HEADER_NAMES: Final = ("setcookie", "cookie", "authorization")
"""Headers that are secret whatever a user says (RFC 9110 §11.6.2, RFC 6265 §4)."""

_STRING: Final = r'"[^"\\]*(?:\\.[^"\\]*)*"?'  # without its end where the text was cut off
_STRINGS: Final = re.compile(_STRING, re.DOTALL)
_TOKENS: Final = re.compile(_STRING + r"|[\[\]{}]", re.DOTALL)
_COLON: Final = re.compile(r"\s*:\s*")
_PLAIN: Final = re.compile(r"[^\s,\]}]*")
_SEPARATORS: Final = re.compile(r"[\W_]+")


def normal(name: str) -> str:
    """A name as it is compared: small letters and digits alone."""
    return _SEPARATORS.sub("", name.lower())


class Redactor:
    """Knows what is secret. Never changes, so threads may share it."""

    __slots__ = ("_endings", "_kept")

    def __init__(self, redact: Iterable[str] = (), keep: Iterable[str] = ()) -> None:
        """
        Args:
            redact: further names, beside ``SECRET_NAMES``.
            keep: names that are no secrets here, though they end like one.
        """
        self._endings = tuple(dict.fromkeys(normal(name) for name in (*SECRET_NAMES, *redact)))
        self._kept = frozenset(normal(name) for name in keep)

    def is_secret(self, name: str) -> bool:
        """Whether what bears this name is secret."""
        plain = normal(name)
        return plain.endswith(self._endings) and plain not in self._kept

    def text(self, text: str) -> str:
        """The text with the value of each secret JSON member replaced by ``"[redacted]"``."""
        pieces: list[str] = []
        done = at = 0  # what has been taken over, and what has been looked at
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
        """The same for a binary payload, if it is UTF-8: some servers send their JSON that way."""
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return data
        redacted = self.text(text)
        return data if redacted is text else redacted.encode()

    def header(self, name: str, value: str) -> str:
        """A header's value, unless that is secret."""
        return REDACTED if self.is_secret(name) or normal(name).endswith(_HEADER_NAMES) else value

    def _in_string(self, string: str) -> str:
        """JSON in a string of JSON, as SockJS and many a log wrap it; each level doubles its backslashes."""
        if '\\"' not in string and "\\u0022" not in string:
            return string
        inner = _unquoted(string)
        redacted = self.text(inner)
        return string if redacted == inner else json.dumps(redacted, ensure_ascii=False)


def _unquoted(string: str) -> str:
    """The value of a JSON string; what is none is taken as it stands."""
    if "\\" in string:
        try:
            value = json.loads(string, strict=False)
        except ValueError:
            pass
        else:
            return str(value)
    return string.strip('"')


def _value_end(text: str, start: int) -> int:
    """Where the JSON value that begins here ends; the end of the text if it was cut off."""
    if text[start : start + 1] == '"':
        string = _STRINGS.match(text, start)
        assert string is not None
        return string.end()
    if text[start : start + 1] not in ("{", "["):
        plain = _PLAIN.match(text, start)
        assert plain is not None
        return plain.end()
    depth = 0
    for token in _TOKENS.finditer(text, start):
        if token[0] in "{[":
            depth += 1
        elif token[0] in "}]":
            depth -= 1
            if depth == 0:
                return token.end()
    return len(text)
