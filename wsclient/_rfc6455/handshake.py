"""The HTTP/1.1 upgrade (RFC 6455 §4): builds the request and checks the response. No I/O.

websocket-client's handshake is not used. With a socket passed in by the caller, it reads one byte per call and builds
the whole line again for each byte (55 s and 2.7 GB for a header line of 20 MB). It keeps only the last value of a
repeated header, ignores case when it compares the accept key, drops ``;params`` of the path, and uses one cookie jar
for the whole process. This module is shorter than an adapter that corrected these points would be.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from .._errors import HandshakeError, text_of
from .._version import USER_AGENT
from . import deflate
from .http11 import is_token

if TYPE_CHECKING:
    from .deflate import Agreement, Deflate
    from .http11 import Response
    from .url import Target

__all__ = [
    "REDIRECTS",
    "build_request",
    "check_extensions",
    "check_headers",
    "check_upgrade",
    "is_retryable",
    "may_be_secret",
    "new_key",
    "redacted",
    "refusal_error",
]

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
"""Status codes of redirects (RFC 9110 §15.4)."""

_LONGEST_NAME: Final = 40
"""Longest subprotocol, in characters, that is shown in full. The longest name in IANA's registry has 34 characters; a
longer subprotocol may be a secret token."""

_SHOWN: Final = 8
"""Characters that an error text shows of a longer subprotocol, and of a header name that is not valid."""

_RETRYABLE_4XX: Final = frozenset({408, 425, 429})
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
_BAD_VALUE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_RESERVED: Final = {
    "upgrade": "it is part of the handshake",
    "connection": "it is part of the handshake",
    "sec-websocket-key": "it is part of the handshake",
    "sec-websocket-version": "it is part of the handshake",
    "sec-websocket-accept": "it is part of the handshake",
    "sec-websocket-protocol": "use subprotocols=",
    "sec-websocket-extensions": "use compression=",
}


def new_key() -> str:
    """A new ``Sec-WebSocket-Key``: 16 random bytes in base64 (RFC 6455 §4.1)."""
    return base64.b64encode(os.urandom(16)).decode()


def accept_value(key: str) -> str:
    """The value of ``Sec-WebSocket-Accept`` that the server must return for this key (RFC 6455 §4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


def check_headers(headers: Mapping[str, str]) -> None:
    """Check headers that a caller wants to add to the request.

    Raises:
        TypeError: a name or value is not a ``str``.
        ValueError: a value contains a control character such as a line break, or a character outside Latin-1; a name
            is not a token (RFC 9110 §5.1, §5.5); or the header is one that the handshake sets. The error text contains
            the header's name, but never its value.
    """
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers must be a mapping of str to str, not {type(headers).__name__}.")
    for name, value in headers.items():
        if not isinstance(name, str):
            raise TypeError(f"headers must be a mapping of str to str; a name has the type {type(name).__name__}.")
        if not isinstance(value, str):
            raise TypeError(f"headers must be a mapping of str to str; the value of {_shown(name)} is not a str.")
        if not is_token(name):
            raise ValueError(f"headers has {_shown(name)}, which is not a valid header name.")
        if _BAD_VALUE.search(value):
            raise ValueError(f"headers[{name!r}] contains a line break or another control character.")
        try:
            value.encode("latin-1")
        except UnicodeEncodeError:
            raise ValueError(
                f"headers[{name!r}] has a character outside Latin-1, which HTTP can't carry; encode it first."
            ) from None
        if name.lower() in _RESERVED:
            raise ValueError(f"headers can't set {name!r}: {_RESERVED[name.lower()]}.")


def _shown(name: str) -> str:
    """A header's name for error texts. Only the beginning of a long name that is not valid is shown, since it may be a
    whole line.
    """
    if is_token(name) or len(name) <= _SHOWN:
        return repr(name)
    return f"{name[:_SHOWN].split(':')[0].split(' ')[0]!r}…"


def build_request(
    target: Target,
    key: str,
    headers: Mapping[str, str],
    subprotocols: Sequence[str],
    compression: Deflate | None = None,
) -> bytes:
    """Build the upgrade request.

    Args:
        target: the server's URL; its user and password are sent as Basic authentication (RFC 7617).
        key: the ``Sec-WebSocket-Key``.
        headers: the caller's headers, accepted by ``check_headers``; they replace the client's headers of the same
            name.
        subprotocols: offered in this order.
        compression: the compression to offer; None for none.

    Returns:
        The bytes of the request.
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
    if compression is not None:
        ours["Sec-WebSocket-Extensions"] = deflate.offer(compression)
    if target.user is not None:
        credentials = base64.b64encode(f"{target.user}:{target.password}".encode()).decode()
        ours["Authorization"] = f"Basic {credentials}"
    theirs = {name.lower() for name in headers}
    lines = [f"GET {target.resource} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in ours.items() if name.lower() not in theirs]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def check_upgrade(response: Response, key: str, subprotocols: Sequence[str]) -> str | None:
    """Check that the response accepts the upgrade (RFC 6455 §4.1). ``check_extensions`` checks its extensions.

    Args:
        response: the response.
        key: the ``Sec-WebSocket-Key`` of the request.
        subprotocols: the subprotocols of the request.

    Returns:
        The negotiated subprotocol; None if none was offered.

    Raises:
        HandshakeError: the status is not 101, a header is wrong, or the server chose none of the subprotocols.
    """
    if response.status != HTTPStatus.SWITCHING_PROTOCOLS:
        raise refusal_error(response)
    headers = response.headers
    upgrades, connection_options = _tokens(headers.get("Upgrade", "")), _tokens(headers.get("Connection", ""))
    if upgrades != {"websocket"} or "upgrade" not in connection_options:
        raise _bad(
            response, "The server's 101 response does not upgrade to WebSocket; see its Upgrade and Connection headers."
        )
    if headers.get_all("Sec-WebSocket-Accept") != [accept_value(key)]:
        raise _bad(
            response, "The server's 101 response has a Sec-WebSocket-Accept that does not match the request's key."
        )
    # Some servers (Arduino mWebSockets, old versions of netty) send an empty value for "none of them".
    chosen = [name for name in headers.get_all("Sec-WebSocket-Protocol") if name]
    if not chosen and not subprotocols:
        return None
    if len(chosen) != 1 or chosen[0] not in subprotocols:
        raise _bad(response, _not_offered(chosen, subprotocols), retry=False)
    return chosen[0]


def check_extensions(response: Response, compression: Deflate | None) -> Agreement | None:
    """Check the extensions of the response (RFC 6455 §9.1, RFC 7692 §5.1).

    Args:
        response: a response that ``check_upgrade`` has accepted.
        compression: the compression of the request; None for none.

    Returns:
        How messages are compressed; None if they are not.

    Raises:
        HandshakeError: the server chose an extension or a parameter that the client did not offer.
    """
    try:
        return deflate.negotiate(compression, response.headers.get_all("Sec-WebSocket-Extensions"))
    except ValueError as error:
        raise _bad(response, str(error)) from None


def is_retryable(status: int) -> bool:
    """Whether another attempt may succeed after a response with this status.

    4xx statuses are final, except 408 (timeout), 425 (too early) and 429 (too many requests).
    """
    return not 400 <= status < 500 or status in _RETRYABLE_4XX


def refusal_error(response: Response) -> HandshakeError:
    """The error for a response whose status is not 101."""
    phrase = f" {response.phrase}" if response.phrase else ""
    retry = is_retryable(response.status)
    advice = "" if retry else "; another attempt won't help: see .headers and .body of this error"
    return HandshakeError(
        f"The server refused the upgrade to WebSocket with HTTP {response.status}{phrase}{advice}.",
        status=response.status,
        headers=response.headers,
        body=response.body(),
        retry=retry,
    )


def _bad(response: Response, text: str, *, retry: bool = True) -> HandshakeError:
    return HandshakeError(text, status=response.status, headers=response.headers, retry=retry)


def may_be_secret(subprotocol: str) -> bool:
    """Whether a subprotocol is so long that it may be a secret token, as Kubernetes clients send it."""
    return len(subprotocol) > _LONGEST_NAME


def redacted(subprotocol: str) -> str:
    """A subprotocol for error texts and recordings, shortened if it may contain a token."""
    return f"{subprotocol[:_SHOWN]}***" if may_be_secret(subprotocol) else subprotocol


def _not_offered(chosen: Sequence[str], offered: Sequence[str]) -> str:
    """The sentence about a server that chose none of the subprotocols, or one that was not offered."""
    answered = f"the subprotocol {_quoted(chosen)}" if chosen else "no subprotocol"
    if not offered:
        return f"The server chose {answered}, but the client offered none; name it in subprotocols= if it is right."
    advice = "" if chosen else "; the server may not support it: check the URL and subprotocols="
    return f"The server chose {answered}; the client had offered {_quoted(offered)}{advice}."


def _quoted(subprotocols: Sequence[str]) -> str:
    return ", ".join(text_of(redacted(one)) for one in subprotocols)


def _tokens(value: str) -> set[str]:
    return {token.strip().lower() for token in value.split(",")}
