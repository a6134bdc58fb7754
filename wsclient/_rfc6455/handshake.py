"""The HTTP/1.1 upgrade (RFC 6455 §4): the request's bytes, and what may be believed of the response. No I/O.

Our own and not websocket-client's, because what the contract asks for lies outside of what that one can do when it is
fed from a prepared socket: it reads a byte a call and joins the line each time (55 s and 2.7 GB for a 20 MB header
line), keeps only the last of a repeated header, compares the accept key without case, drops ``;params`` of the path,
and reads and writes a cookie jar shared by the whole process. Beside ``frames`` this page is shorter than the adapter
and the second look at the recorded head would have been.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from .._errors import HandshakeError
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
    "may_be_secret",
    "may_pass",
    "new_key",
    "refused",
    "shown",
]

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
"""Status codes that name another place (RFC 9110 §15.4)."""

_LONGEST_NAME: Final = 40
"""Characters of a subprotocol that is a mere name; the longest of IANA's registry has 34."""

_SHOWN: Final = 8
"""Characters that are shown of a longer one."""

_RETRIED_4XX: Final = frozenset({408, 425, 429})
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
_BAD_VALUE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_OURS: Final = {
    "upgrade": "it is part of the handshake",
    "connection": "it is part of the handshake",
    "sec-websocket-key": "it is part of the handshake",
    "sec-websocket-version": "it is part of the handshake",
    "sec-websocket-accept": "it is part of the handshake",
    "sec-websocket-protocol": "use subprotocols=",
    "sec-websocket-extensions": "use compression=",
}


def new_key() -> str:
    """A fresh ``Sec-WebSocket-Key``: 16 random bytes in base64 (RFC 6455 §4.1)."""
    return base64.b64encode(os.urandom(16)).decode()


def accept_value(key: str) -> str:
    """The ``Sec-WebSocket-Accept`` that proves the server has read our key (RFC 6455 §4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()


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


def build_request(
    target: Target,
    key: str,
    headers: Mapping[str, str],
    subprotocols: Sequence[str],
    compression: Deflate | None = None,
) -> bytes:
    """The upgrade request.

    Args:
        target: where it goes; user and password become Basic authentication (RFC 7617).
        key: the ``Sec-WebSocket-Key``.
        headers: the caller's headers, checked already; they win over ours of the same name.
        subprotocols: offered in this order.
        compression: offered; None for none.
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
    """Whether the response opens a WebSocket (RFC 6455 §4.1); ``check_extensions`` says how it is to be read.

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
    chosen = headers.get_all("Sec-WebSocket-Protocol")
    if not chosen and not subprotocols:
        return None
    if len(chosen) != 1 or chosen[0] not in subprotocols:
        offered = ", ".join(map(shown, subprotocols)) or "none"
        took = ", ".join(map(shown, chosen)) or "none"
        raise _bad(response, f"The server took the subprotocol {took}, where {offered} was offered.", retry=False)
    return chosen[0]


def check_extensions(response: Response, compression: Deflate | None) -> Agreement | None:
    """How messages are compressed from now on (RFC 6455 §9.1, RFC 7692 §5.1).

    Args:
        response: a response that ``check_upgrade`` has accepted.
        compression: what was offered; None for none.

    Returns:
        The agreement; None if nothing is compressed.

    Raises:
        HandshakeError: the server answers with what was not offered.
    """
    try:
        return deflate.agree(compression, response.headers.get_all("Sec-WebSocket-Extensions"))
    except ValueError as error:
        raise _bad(response, str(error)) from None


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


def may_be_secret(subprotocol: str) -> bool:
    """Whether it is too long for a mere name: some servers take a token that way (Kubernetes does)."""
    return len(subprotocol) > _LONGEST_NAME


def shown(subprotocol: str) -> str:
    """A subprotocol, without what may be secret in it."""
    return f"{subprotocol[:_SHOWN]}***" if may_be_secret(subprotocol) else subprotocol


def _tokens(value: str) -> set[str]:
    return {token.strip().lower() for token in value.split(",")}
