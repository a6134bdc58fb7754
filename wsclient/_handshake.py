"""The HTTP/1.1 upgrade (RFC 6455 §4): the request's bytes, and what may be believed of the response. No I/O.

Our own and not websocket-client's, because what the contract asks for lies outside of what that one can do when it is
fed from a prepared socket: it reads a byte a call and joins the line each time (55 s and 2.7 GB for a 20 MB header
line), keeps only the last of a repeated header, compares the accept key without case, drops ``;params`` of the path,
and reads and writes a cookie jar shared by the whole process. Beside ``_frames`` this page is shorter than the adapter
and the second look at the recorded head would have been.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from ._errors import HandshakeError
from ._version import USER_AGENT

if TYPE_CHECKING:
    from ._url import Target

__all__ = [
    "MAX_BODY",
    "MAX_HEAD",
    "REDIRECTS",
    "Headers",
    "Response",
    "ResponseReader",
    "build_request",
    "check_headers",
    "check_upgrade",
    "is_token",
    "may_pass",
    "new_key",
    "refused",
]

MAX_HEAD: Final = 64 * 1024
"""Bytes of status line and headers; ``http.client`` allows as much for one line alone."""

MAX_HEADERS: Final = 128
"""Header lines; ``http.client`` allows 100, ``websockets`` 128."""

MAX_BODY: Final = 64 * 1024
"""Bytes of an error's body that are kept."""

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
"""Status codes that name another place (RFC 9110 §15.4)."""

_SHOWN: Final = 8
"""Bytes of a line that is no HTTP that an error shows."""

_LONGEST_NAME: Final = 40
"""Characters of a subprotocol that is a mere name; the longest of IANA's registry has 34."""

_RETRIED_4XX: Final = frozenset({408, 425, 429})
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
_BAD_VALUE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[0-9] +([1-9][0-9]{2})(?: (.*))?")
_OURS: Final = {
    "upgrade": "it is part of the handshake",
    "connection": "it is part of the handshake",
    "sec-websocket-key": "it is part of the handshake",
    "sec-websocket-version": "it is part of the handshake",
    "sec-websocket-accept": "it is part of the handshake",
    "sec-websocket-protocol": "use subprotocols=",
    "sec-websocket-extensions": "use compression=",
}


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

    __slots__ = ("headers", "phrase", "rest", "status")

    def __init__(self, status: int, phrase: str, headers: Headers, rest: bytes) -> None:
        self.status = status
        self.phrase = phrase
        self.headers = headers
        self.rest = rest

    def body_is_whole(self) -> bool:
        """Whether ``rest`` holds all of the body that is worth waiting for."""
        if len(self.rest) >= MAX_BODY or self.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            return True
        if self._is_chunked():  # chunks count more than a length (RFC 9112 §6.3)
            return _unchunked(self.rest)[1]
        length = self.headers.get("Content-Length", "")
        return length.isdecimal() and length.isascii() and len(self.rest) >= int(length[:18])

    def body(self) -> bytes:
        """The body as far as it came, without chunk marks, at most ``MAX_BODY`` bytes."""
        content = _unchunked(self.rest)[0] if self._is_chunked() else self.rest
        return content[:MAX_BODY]

    def _is_chunked(self) -> bool:
        return "chunked" in self.headers.get("Transfer-Encoding", "").lower()


class ResponseReader:
    """Collects bytes until the head of a response is there; its memory is bounded by ``MAX_HEAD``."""

    __slots__ = ("_data", "_peer", "_skipped")

    def __init__(self, peer: str) -> None:
        """
        Args:
            peer: who answers, for the errors: ``"The server"`` or ``"The proxy"``.
        """
        self._data = bytearray()
        self._peer = peer
        self._skipped = 0

    def feed(self, data: bytes) -> Response | None:
        """Take bytes as they came.

        Returns:
            The response once its head is complete. Informational ones (1xx but 101) are skipped (RFC 9110 §15.2).

        Raises:
            HandshakeError: it is no HTTP/1.1 response, or it is over a limit.
        """
        look_from = max(0, len(self._data) - 3)
        self._data += data
        while True:
            end = _head_end(self._data, look_from)
            if end < 0 or end + self._skipped > MAX_HEAD:
                if len(self._data) + self._skipped > MAX_HEAD:
                    raise HandshakeError(f"{self._peer} sent a response whose headers exceed {MAX_HEAD} bytes.")
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
        if len(lines) > MAX_HEADERS:
            raise HandshakeError(f"{self._peer} sent a response with more than {MAX_HEADERS} headers.")
        headers = Headers([self._parse_line(line) for line in lines])
        phrase = "".join(filter(str.isprintable, (match[2] or b"").decode("latin-1"))).strip()[:100]
        return Response(int(match[1]), phrase, headers, b"")

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


def new_key() -> str:
    """A fresh ``Sec-WebSocket-Key``: 16 random bytes in base64 (RFC 6455 §4.1)."""
    return base64.b64encode(os.urandom(16)).decode()


def accept_value(key: str) -> str:
    """The ``Sec-WebSocket-Accept`` that proves the server has read our key (RFC 6455 §4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


def is_token(text: str) -> bool:
    """Whether it may be the name of a header or of a subprotocol (RFC 9110 §5.6.2)."""
    return _TOKEN.fullmatch(text) is not None


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse what must not go into a request.

    Raises:
        TypeError: a name or value is no ``str``.
        ValueError: a line break or another control character, a name that is no token (RFC 9110 §5.5), or a header
            that belongs to the handshake. The sentence names the header, never its value.
    """
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers must be a mapping of str to str, not {type(headers).__name__}.")
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"headers must be a mapping of str to str; {name!r} is not such a pair.")
        if not is_token(name):
            raise ValueError(f"headers has {name!r}, which is no header name.")
        if _BAD_VALUE.search(value):
            raise ValueError(f"headers[{name!r}] contains a line break or another control character.")
        try:
            value.encode("latin-1")
        except UnicodeEncodeError:
            raise ValueError(f"headers[{name!r}] has a character that HTTP can't carry; encode it first.") from None
        if name.lower() in _OURS:
            raise ValueError(f"headers can't set {name!r}: {_OURS[name.lower()]}.")


def build_request(target: Target, key: str, headers: Mapping[str, str], subprotocols: Sequence[str]) -> bytes:
    """The upgrade request.

    Args:
        target: where it goes; user and password become Basic authentication (RFC 7617).
        key: the ``Sec-WebSocket-Key``.
        headers: the caller's headers, checked already; they win over ours of the same name.
        subprotocols: offered in this order.
    """
    ours = {
        "Host": target.host_header,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": "13",
        "User-Agent": USER_AGENT,
    }
    if subprotocols:
        ours["Sec-WebSocket-Protocol"] = ", ".join(subprotocols)
    if target.user is not None:
        credentials = base64.b64encode(f"{target.user}:{target.password}".encode()).decode()
        ours["Authorization"] = f"Basic {credentials}"
    theirs = {name.lower() for name in headers}
    lines = [f"GET {target.resource} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in ours.items() if name.lower() not in theirs]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def check_upgrade(response: Response, key: str, subprotocols: Sequence[str]) -> str | None:
    """Whether the response opens a WebSocket (RFC 6455 §4.1).

    Args:
        response: a response of status 101.
        key: the key that was sent.
        subprotocols: the ones that were offered.

    Returns:
        The subprotocol that was agreed on; None if none was offered.

    Raises:
        HandshakeError: the status is another, a check fails, or the server took none of the subprotocols.
    """
    if response.status != HTTPStatus.SWITCHING_PROTOCOLS:
        raise refused(response)
    headers = response.headers
    upgrades, wishes = _tokens(headers.get("Upgrade", "")), _tokens(headers.get("Connection", ""))
    if upgrades != {"websocket"} or "upgrade" not in wishes:
        raise _bad(response, "The server's 101 response upgrades to something else than WebSocket.")
    if headers.get_all("Sec-WebSocket-Accept") != [accept_value(key)]:
        raise _bad(
            response, "The server's 101 response does not prove that it has read the key (Sec-WebSocket-Accept)."
        )
    if "Sec-WebSocket-Extensions" in headers:
        raise _bad(response, "The server uses an extension that was not offered.")
    chosen = headers.get_all("Sec-WebSocket-Protocol")
    if not chosen and not subprotocols:
        return None
    if len(chosen) != 1 or chosen[0] not in subprotocols:
        offered = ", ".join(map(_shown, subprotocols)) or "none"
        took = ", ".join(map(_shown, chosen)) or "none"
        raise _bad(response, f"The server took the subprotocol {took}, where {offered} was offered.", retry=False)
    return chosen[0]


def may_pass(status: int) -> bool:
    """Whether a refusal with this status may be another answer next time."""
    return not 400 <= status < 500 or status in _RETRIED_4XX


def refused(response: Response) -> HandshakeError:
    """The error for a response that is no 101; 4xx is fatal but for 408, 425 and 429."""
    phrase = f" {response.phrase}" if response.phrase else ""
    retry = may_pass(response.status)
    advice = "" if retry else "; trying again won't help, look at .headers and .body"
    return HandshakeError(
        f"The server refused the upgrade to WebSocket with HTTP {response.status}{phrase}{advice}.",
        status=response.status,
        headers=response.headers,
        body=response.body(),
        retry=retry,
    )


def _bad(response: Response, text: str, *, retry: bool = True) -> HandshakeError:
    return HandshakeError(text, status=response.status, headers=response.headers, retry=retry)


def _shown(subprotocol: str) -> str:
    """A long one may be a secret: some servers take a token that way (Kubernetes does)."""
    return subprotocol if len(subprotocol) <= _LONGEST_NAME else f"{subprotocol[:_SHOWN]}***"


def _tokens(value: str) -> set[str]:
    return {token.strip().lower() for token in value.split(",")}
