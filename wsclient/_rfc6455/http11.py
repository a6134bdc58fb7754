"""HTTP/1.1 responses (RFC 9110, RFC 9112): parses bytes into status, headers and body, within ``Limits``. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Final

from .._errors import HandshakeError
from .._options import DEFAULT_LIMITS, Limits

__all__ = ["NAME_PATTERN", "Headers", "Response", "ResponseReader", "is_token"]

_SHOWN: Final = 8
"""An error text shows this many bytes of a line that is not valid HTTP."""

NAME_PATTERN: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
"""Regular expression for a token: a header's name or a subprotocol (RFC 9110 §5.6.2)."""

_WHOLE_TOKEN: Final = re.compile(NAME_PATTERN)
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[0-9] +([1-9][0-9]{2})(?: (.*))?")


class Headers(Mapping[str, str]):
    """The headers of a response. Names are not case-sensitive; repeated headers are joined by ``", "`` (RFC 9110 §5.3).

    Immutable, so threads may share it.
    """

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
        """All values of one header, in order. ``Set-Cookie`` must be read in this way (RFC 6265 §3)."""
        wanted = name.lower()
        return [value for known, value in self._lines if known.lower() == wanted]

    def __repr__(self) -> str:
        return f"<Headers {', '.join(self)}>"  # names only: values may be secret


class Response:
    """The head of a response, and the part of its body that has been received.

    Attributes:
        status: the status code.
        phrase: the reason phrase.
        headers: the headers.
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
        """Whether ``rest`` contains the whole body, or the limit of ``Limits.max_body_bytes`` is reached."""
        if len(self.rest) >= self._max_body or self.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            return True
        if self._is_chunked():  # Transfer-Encoding overrides Content-Length (RFC 9112 §6.3)
            return _unchunked(self.rest)[1]
        length = self.headers.get("Content-Length", "")
        return length.isdecimal() and length.isascii() and len(self.rest) >= int(length[:18])

    def body(self) -> bytes:
        """The received part of the body, without chunk headers, at most ``Limits.max_body_bytes``."""
        content = _unchunked(self.rest)[0] if self._is_chunked() else self.rest
        return content[: self._max_body]

    def _is_chunked(self) -> bool:
        return "chunked" in self.headers.get("Transfer-Encoding", "").lower()


class ResponseReader:
    """Collects bytes until the head of a response is complete. Its memory is bounded by ``Limits``."""

    __slots__ = ("_data", "_limits", "_peer", "_skipped")

    def __init__(self, peer: str, limits: Limits = DEFAULT_LIMITS) -> None:
        """
        Args:
            peer: ``"The server"`` or ``"The proxy"``, for error texts.
            limits: limits on the size of the head and the body, and on the number of headers.
        """
        self._data = bytearray()
        self._peer = peer
        self._limits = limits
        self._skipped = 0

    def feed(self, data: bytes) -> Response | None:
        """Add received bytes.

        Returns:
            The response once its head is complete, else None. Informational responses (1xx except 101) are skipped
            (RFC 9110 §15.2).

        Raises:
            HandshakeError: the bytes are not an HTTP/1.1 response, or exceed a limit.
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
            self._skipped += end  # part of the limit, since a peer could send any number of informational responses

    def _parse(self, head: bytes) -> Response:
        first, *lines = head.replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
        match = _STATUS_LINE.fullmatch(first.rstrip())
        if match is None:
            # Only a few bytes are shown: the line may be an echo of the request, whose URL and headers may be secret.
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
    """The end of the head, after its first empty line; -1 if there is none yet. LF ends a line too (RFC 9112 §2.2)."""
    ends = [
        found + len(mark) for mark in (b"\r\n\r\n", b"\n\n", b"\n\r\n") if (found := data.find(mark, look_from)) >= 0
    ]
    return min(ends, default=-1)


def _unchunked(data: bytes) -> tuple[bytes, bool]:
    """The received content of a chunked body, and whether the body is complete (RFC 9112 §7.1)."""
    content = bytearray()
    at = 0
    while (mark := _CHUNK_SIZE.match(data, at)) is not None:
        size = int(mark[1], 16)
        if not size:
            trailers = mark.end() - 2  # the trailers end with an empty line, as a head does
            return bytes(content), data.find(b"\r\n\r\n", trailers) >= 0
        content += data[mark.end() : mark.end() + size]
        at = mark.end() + size + 2
    return bytes(content), False


def is_token(text: str) -> bool:
    """Whether the text is a token, so that it may be the name of a header or of a subprotocol (RFC 9110 §5.6.2)."""
    return _WHOLE_TOKEN.fullmatch(text) is not None
