"""HTTP/1.1 responses (RFC 9110, RFC 9112): bytes to status, headers and body. No I/O; bounded in every direction."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Final

from .._errors import HandshakeError
from .._options import DEFAULT_LIMITS, Limits

__all__ = ["NAME_PATTERN", "Headers", "Response", "ResponseReader", "is_token"]

_SHOWN: Final = 8
"""Bytes that an error shows of a line that is no HTTP."""

NAME_PATTERN: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
"""What names are made of (RFC 9110 §5.6.2)."""

_WHOLE_TOKEN: Final = re.compile(NAME_PATTERN)
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[0-9] +([1-9][0-9]{2})(?: (.*))?")


class Headers(Mapping[str, str]):
    """Header lines of a response: look-up by name in any case, repeated ones joined with ``", "`` (RFC 9110 §5.3)."""

    def __init__(self, lines: Sequence[tuple[str, str]] = ()) -> None:
        self._lines = tuple(lines)

    def __getitem__(self, name: str) -> str:
        values = self.get_all(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.lower() for name, _ in self._lines))

    def __len__(self) -> int:
        return len({name.lower() for name, _ in self._lines})

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.get_all(name))

    def get_all(self, name: str) -> list[str]:
        """Every value of one header, in order; ``Set-Cookie`` must be read this way (RFC 6265 §3)."""
        wanted = name.lower()
        return [value for known, value in self._lines if known.lower() == wanted]

    def __repr__(self) -> str:
        return f"<Headers {', '.join(self)}>"  # names only: values may be secret


class Response:
    """A response's head, and of its body what came so far.

    Attributes:
        status: the status code.
        phrase: the text behind it.
        headers: the header lines.
        rest: the bytes after the head.
    """

    __slots__ = ("_max_body", "headers", "phrase", "rest", "status")

    def __init__(
        self, status: int, phrase: str, headers: Headers, rest: bytes, max_body: int = DEFAULT_LIMITS.max_body_bytes
    ) -> None:
        self._max_body = max_body
        self.status = status
        self.phrase = phrase
        self.headers = headers
        self.rest = rest

    def body_is_whole(self) -> bool:
        """Whether ``rest`` holds all of the body that is worth waiting for."""
        if len(self.rest) >= self._max_body or self.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            return True
        if self._is_chunked():  # chunks count more than a length (RFC 9112 §6.3)
            return _unchunked(self.rest)[1]
        length = self.headers.get("Content-Length", "")
        return length.isdecimal() and length.isascii() and len(self.rest) >= int(length[:18])

    def body(self) -> bytes:
        """The body as far as it came, without chunk marks, at most as much as is kept."""
        content = _unchunked(self.rest)[0] if self._is_chunked() else self.rest
        return content[: self._max_body]

    def _is_chunked(self) -> bool:
        return "chunked" in self.headers.get("Transfer-Encoding", "").lower()


class ResponseReader:
    """Collects bytes until the head of a response is there; its memory is bounded."""

    __slots__ = ("_data", "_limits", "_peer", "_skipped")

    def __init__(self, peer: str, limits: Limits = DEFAULT_LIMITS) -> None:
        """
        Args:
            peer: who answers, for the errors: ``"The server"`` or ``"The proxy"``.
            limits: how much it may say.
        """
        self._data = bytearray()
        self._peer = peer
        self._limits = limits
        self._skipped = 0

    def feed(self, data: bytes) -> Response | None:
        """Take bytes as they came.

        Returns:
            The response once its head is complete. Informational ones (1xx but 101) are skipped (RFC 9110 §15.2).

        Raises:
            HandshakeError: it is no HTTP/1.1 response, or it is over a limit.
        """
        look_from = max(0, len(self._data) - 3)
        most = self._limits.max_head_bytes
        self._data += data
        while True:
            end = _head_end(self._data, look_from)
            if end < 0 or end + self._skipped > most:
                if len(self._data) + self._skipped > most:
                    raise HandshakeError(f"{self._peer} sent a response whose headers exceed {most} bytes.")
                return None
            head = bytes(self._data[:end])
            del self._data[:end]
            response = self._parse(head)
            if response.status >= 200 or response.status == HTTPStatus.SWITCHING_PROTOCOLS:
                response.rest = bytes(self._data)
                return response
            look_from = 0
            self._skipped += end  # else a peer that sends nothing else would hold us for ever

    def _parse(self, head: bytes) -> Response:
        first, *lines = head.replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
        match = _STATUS_LINE.fullmatch(first.rstrip())
        if match is None:
            # Little of it is shown: a peer that echoes would have us show our own URL and headers.
            raise HandshakeError(f"{self._peer} did not answer with HTTP/1.1 but with {first[:_SHOWN]!r}.")
        if len(lines) > self._limits.max_headers:
            raise HandshakeError(f"{self._peer} sent a response with more than {self._limits.max_headers} headers.")
        headers = Headers([self._parse_line(line) for line in lines])
        phrase = "".join(filter(str.isprintable, (match[2] or b"").decode("latin-1"))).strip()[:100]
        return Response(int(match[1]), phrase, headers, b"", self._limits.max_body_bytes)

    def _parse_line(self, line: bytes) -> tuple[str, str]:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not is_token(name) or "\r" in value or "\0" in value:  # RFC 9110 §5.5
            raise HandshakeError(f"{self._peer} sent a header line that can't be read: {line[:_SHOWN]!r}.")
        return name, value.strip(" \t")


def _head_end(data: bytearray, look_from: int) -> int:
    """Where the head ends: behind the first empty line; -1 if there is none yet. A bare LF will do (RFC 9112 §2.2)."""
    ends = [
        found + len(mark) for mark in (b"\r\n\r\n", b"\n\n", b"\n\r\n") if (found := data.find(mark, look_from)) >= 0
    ]
    return min(ends, default=-1)


def _unchunked(data: bytes) -> tuple[bytes, bool]:
    """The content of a chunked body as far as it came, and whether its end came too (RFC 9112 §7.1)."""
    content = bytearray()
    at = 0
    while (mark := _CHUNK_SIZE.match(data, at)) is not None:
        size = int(mark[1], 16)
        if not size:
            trailers = mark.end() - 2  # they end, as a head does, in an empty line
            return bytes(content), data.find(b"\r\n\r\n", trailers) >= 0
        content += data[mark.end() : mark.end() + size]
        at = mark.end() + size + 2
    return bytes(content), False


def is_token(text: str) -> bool:
    """Whether it may be the name of a header or of a subprotocol (RFC 9110 §5.6.2)."""
    return _WHOLE_TOKEN.fullmatch(text) is not None
