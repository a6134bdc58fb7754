"""WebSocket URLs (RFC 6455 §3): parsing, redirects, and removal of secrets before printing."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from typing import NamedTuple
from urllib.parse import SplitResult, quote, unquote, unquote_to_bytes, urljoin, urlsplit, urlunsplit

from .host_names import ascii_host

__all__ = ["Target", "parse", "redact", "redirected"]

_DEFAULT_PORTS = {"ws": 80, "wss": 443}
_WS_SCHEMES = {"http": "ws", "https": "wss"}
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f]")
# Characters that need no quoting in a request target (RFC 3986 §3.3, §3.4). "%" is one of them, since a part of the URL
# may be quoted already.
_TARGET_SAFE = "/:@!$&'()*+,;=-._~?%"


class Target(NamedTuple):
    """A parsed WebSocket URL.

    Attributes:
        url: the URL as the caller passed it, with its secrets; it must never be printed, see ``redact``.
        host: host name or IP address, without brackets, in ASCII.
        port: TCP port.
        secure: whether TLS is used (``wss``).
        resource: path and query for the request line.
        user: user name from ``user:password@``, unquoted; None if there is none.
        password: the password, unquoted; empty if there is none.
        path: path of the server's Unix domain socket (``unix://``); None for a TCP connection.
    """

    url: str
    host: str
    port: int
    secure: bool
    resource: str
    user: str | None = None
    password: str = ""
    path: str | None = None

    def __repr__(self) -> str:
        return f"<Target {redact(self.url)}>"  # tools that report errors show the local variables of each frame

    @property
    def scheme(self) -> str:
        """``"ws"`` or ``"wss"``; ``"ws"`` for a ``unix://`` URL."""
        return "wss" if self.secure else "ws"

    @property
    def host_header(self) -> str:
        """The value of the ``Host`` header; it contains the port only if it is not the scheme's default port."""
        bare = self.host.partition("%")[0]  # the zone of an IPv6 address must not be sent (RFC 6874 §4)
        host = f"[{bare}]" if ":" in bare else bare
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def tls_name(self) -> str:
        """The name that the certificate must be valid for: the host without a final dot (RFC 6066 §3)."""
        return self.host.removesuffix(".")

    @property
    def origin(self) -> tuple[str, str, int, str | None]:
        """The origin (RFC 6454 §4): scheme, host, port and, for a ``unix://`` URL, the socket's path."""
        return self.scheme, self.host.lower(), self.port, self.path


def parse(url: str) -> Target:
    """Parse a WebSocket URL.

    Args:
        url: a ``ws://`` or ``wss://`` URL; ``user:password@`` is allowed, a fragment is not (RFC 6455 §3). Or
            ``unix:///path/of/the/socket``, optionally followed by a colon and the path and query of the request:
            ``unix:///run/s.sock:/chat?a=b``, as in nginx and in ``ws`` (npm).

    Raises:
        TypeError: the URL is not a ``str``.
        ValueError: a WebSocket client can't use the URL. The error text states the reason and contains no secret.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a str such as 'wss://example.org/ws', not {type(url).__name__}.")
    shown = redact(url)
    if not _is_unicode(url):
        raise ValueError(f"url {shown!r} contains a lone surrogate, which UTF-8 can't encode.")
    if _FORBIDDEN.search(url):
        raise ValueError(f"url {shown!r} contains a space or a control character; quote it as %XX.")
    try:
        parts = urlsplit(url)
    except ValueError:  # its text may contain a part of a password
        raise ValueError(
            f"url {shown!r} can't be read; check it for brackets and unusual characters before the path."
        ) from None
    if not _port_is_valid_or_missing(parts):
        raise ValueError(f"url {shown!r} has a port that can't be read as a number up to 65535.")
    if parts.scheme not in _DEFAULT_PORTS and parts.scheme != "unix":
        raise ValueError(f"url {shown!r} must begin with ws://, wss:// or unix://.")
    if "#" in url:
        raise ValueError(f"url {shown!r} has a fragment, which a WebSocket URL can't have; quote '#' as %23.")
    if parts.scheme == "unix":
        return _parse_unix(url, parts, shown)
    if not parts.hostname:
        raise ValueError(f"url {shown!r} has no host.")
    if parts.port == 0:
        raise ValueError(f"url {shown!r} has port 0.")
    return Target(
        url=url,
        host=_ascii_host(parts.hostname, shown),
        port=parts.port or _DEFAULT_PORTS[parts.scheme],
        secure=parts.scheme == "wss",
        resource=_resource(parts.path, parts.query, url),
        user=None if parts.username is None else unquote(parts.username),
        password=unquote(parts.password or ""),
    )


def _parse_unix(url: str, parts: SplitResult, shown: str) -> Target:
    where, _, path = parts.path.partition(":")
    if path and not path.startswith("/"):
        raise ValueError(f"url {shown!r}: the path of the request, after the colon, must begin with a slash.")
    if parts.netloc:
        raise ValueError(f"url {shown!r} has a host; unix:// takes three slashes and a path: unix:///run/app.sock.")
    if len(where) < 2 or not where.startswith("/") or "%00" in where:
        raise ValueError(f"url {shown!r} has no path; write unix:///run/app.sock.")
    if not hasattr(socket, "AF_UNIX"):
        raise ValueError(f"url {shown!r}: this platform has no unix:// sockets.")
    return Target(
        url=url,
        host="localhost",
        port=_DEFAULT_PORTS["ws"],
        secure=False,
        resource=_resource(path, parts.query, url),
        path=os.fsdecode(unquote_to_bytes(where)),
    )


def _resource(path: str, query: str, url: str) -> str:
    """The request target: path and query, quoted."""
    return quote((path or "/") + (f"?{query}" if "?" in url else ""), safe=_TARGET_SAFE)


def redact(url: str) -> str:
    """The URL for error texts and logs: user, password and the values of the query are replaced by ``***``."""
    if not isinstance(url, str):
        return f"<{type(url).__name__}>"
    try:
        parts = urlsplit(url)
    except ValueError:
        return "<unreadable url>"
    host = _without_user(parts.netloc)
    path = parts.path if host else _without_user(parts.path)
    if "@" in url and not _port_is_valid_or_missing(parts):
        path = _without_user(path)
        host = "***"  # if a password contains "/", "?" or "#", urlsplit returns a part of it as the port
    query = "&".join(_redact_pair(pair) for pair in parts.query.split("&")) if parts.query else ""
    shown = urlunsplit(SplitResult(parts.scheme, host, path, query, "***" if parts.fragment else ""))
    if parts.scheme == "unix" and not host:  # older Python versions leave out the empty host
        shown = "unix://" + shown.removeprefix("unix:").removeprefix("//")
    return shown


def redirected(target: Target, location: str) -> Target:
    """The target of a redirect.

    Args:
        target: the target of the redirected request.
        location: the ``Location`` header: relative, or a URL with ``ws``, ``wss``, ``http`` or ``https``.

    Returns:
        The new target. It keeps user and password only if it has the same origin.

    Raises:
        ValueError: the client must not follow the redirect: it leads from ``wss`` to ``ws``, to a Unix domain socket,
            or to an invalid URL.
    """
    # urljoin supports http, not ws
    base = f"http{target.url[2:]}" if target.path is None else f"http://{target.host}{target.resource}"
    url = urljoin(base, location)
    parts = urlsplit(url)
    scheme = _WS_SCHEMES.get(parts.scheme, parts.scheme)
    if scheme == "unix":
        raise ValueError("The redirect leads to a socket of this machine.")
    found = parse(urlunsplit((scheme, parts.netloc, parts.path, parts.query, "")))
    if target.path is not None and found.origin == (*target.origin[:3], None):
        # A server behind a Unix domain socket uses http://localhost as its own URL, so the redirect leads to the same
        # server.
        return found._replace(path=target.path)
    if target.secure and not found.secure:
        raise ValueError(f"The redirect to {redact(found.url)!r} is not encrypted.")
    if found.origin == target.origin and found.user is None:
        found = found._replace(user=target.user, password=target.password)
    return found


def _port_is_valid_or_missing(parts: SplitResult) -> bool:
    """Whether the port is valid or missing."""
    try:
        return parts.port is None or parts.port >= 0
    except ValueError:
        return False


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _without_user(text: str) -> str:
    _, found, host = text.rpartition("@")
    return f"***@{host}" if found else text


def _redact_pair(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return f"{name}=***" if equals else "***"


def _ascii_host(host: str, shown: str) -> str:
    bare, _, zone = host.partition("%")  # an IPv6 address may have a zone, written "%25eth0" or "%eth0" (RFC 6874)
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        pass
    else:
        return f"{bare}%{zone.removeprefix('25') or zone}" if zone else bare
    try:
        # An underscore is not allowed in a host name (RFC 1123), but names in Docker and in private networks contain
        # it.
        encoded = ascii_host(host)
    except ValueError as error:
        raise ValueError(f"url {shown!r} has a host {error}.") from None
    if _FORBIDDEN.search(encoded):
        raise ValueError(f"url {shown!r} has a host with a space or a control character in it.")
    return encoded
