"""WebSocket URLs (RFC 6455 §3): taken apart, compared, and made safe to print."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from typing import NamedTuple
from urllib.parse import SplitResult, quote, unquote, unquote_to_bytes, urljoin, urlsplit, urlunsplit

__all__ = ["Target", "parse", "redact", "redirected"]

_DEFAULT_PORTS = {"ws": 80, "wss": 443}
_HTTP_TWINS = {"http": "ws", "https": "wss"}
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f]")
# What may stand unquoted in a request target (RFC 3986 §3.3, §3.4); "%" too, since the caller may have quoted already.
_TARGET_SAFE = "/:@!$&'()*+,;=-._~?%"


class Target(NamedTuple):
    """Where a connection goes.

    Attributes:
        url: the URL as given, secrets included; never to be printed, see ``redact``.
        host: host name or IP address, without brackets, in ASCII.
        port: TCP port.
        secure: whether TLS is spoken (``wss``).
        resource: path and query for the request line.
        user: user name from ``user:password@``, unquoted; None if there was none.
        password: its password; empty if none was given.
        path: where the server listens on this machine (``unix://``); None for a server on the network.
    """

    url: str
    host: str
    port: int
    secure: bool
    resource: str
    user: str | None = None
    password: str = ""
    path: str | None = None

    @property
    def scheme(self) -> str:
        """``"ws"`` or ``"wss"``; how HTTP speaks over ``unix://`` is ``"ws"``."""
        return "wss" if self.secure else "ws"

    @property
    def host_header(self) -> str:
        """The value of the ``Host`` header: the port stands there only if it is not the scheme's own."""
        bare = self.host.partition("%")[0]  # the zone of an IPv6 address is our own affair (RFC 6874 §4)
        host = f"[{bare}]" if ":" in bare else bare
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def tls_name(self) -> str:
        """What the certificate must be for: a dot that ends a name is for the resolver alone (RFC 6066 §3)."""
        return self.host.removesuffix(".")

    @property
    def origin(self) -> tuple[str, str, int, str | None]:
        """Scheme, host and port: what "same origin" means (RFC 6454 §4); on this machine the socket's path as well."""
        return self.scheme, self.host.lower(), self.port, self.path


def parse(url: str) -> Target:
    """Take a WebSocket URL apart.

    Args:
        url: ``ws://`` or ``wss://`` URL; ``user:password@`` is allowed, a fragment is not (RFC 6455 §3). Or
            ``unix:///path/of/the/socket``, behind which a colon may begin what is asked for: ``unix:///s:/chat?a=b``,
            as in nginx and in ``ws`` (npm).

    Raises:
        TypeError: it is no ``str``.
        ValueError: it is no URL a WebSocket client can use; the sentence says why and shows no secret.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a str such as 'wss://example.org/ws', not {type(url).__name__}.")
    shown = redact(url)
    if not _is_unicode(url):
        raise ValueError(f"url {shown!r} contains half of a surrogate pair, which has no UTF-8 form.")
    if _FORBIDDEN.search(url):
        raise ValueError(f"url {shown!r} contains a space or a control character; quote it as %XX.")
    try:
        parts = urlsplit(url)
    except ValueError:  # its sentence quotes what may be a piece of a password
        raise ValueError(
            f"url {shown!r} can't be read; look for brackets and odd characters before the path."
        ) from None
    if not _has_port(parts):
        raise ValueError(f"url {shown!r} has a port that can't be read as a number up to 65535.")
    if parts.scheme not in _DEFAULT_PORTS and parts.scheme != "unix":
        raise ValueError(f"url {shown!r} must begin with ws://, wss:// or unix://.")
    if "#" in url:
        raise ValueError(f"url {shown!r} has a fragment, which a WebSocket URL can't have; quote '#' as %23.")
    if parts.scheme == "unix":
        return _parse_unix(url, parts, shown)
    if not parts.hostname:
        raise ValueError(f"url {shown!r} names no host.")
    if parts.port == 0:
        raise ValueError(f"url {shown!r} names port 0.")
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
        raise ValueError(f"url {shown!r}: what is asked for, behind the colon, must begin with a slash.")
    if parts.netloc:
        raise ValueError(f"url {shown!r} names a host; unix:// takes three slashes and a path: unix:///run/app.sock.")
    if len(where) < 2 or not where.startswith("/") or "%00" in where:
        raise ValueError(f"url {shown!r} names no path; write unix:///run/app.sock.")
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
    """What the request line asks for."""
    return quote((path or "/") + (f"?{query}" if "?" in url else ""), safe=_TARGET_SAFE)


def redact(url: str) -> str:
    """The URL without what may be secret: user info, and the values of the query."""
    if not isinstance(url, str):
        return f"<{type(url).__name__}>"
    try:
        parts = urlsplit(url)
    except ValueError:
        return "<unreadable url>"
    host = _without_user(parts.netloc)
    path = parts.path if host else _without_user(parts.path)
    if "@" in url and not _has_port(parts):
        path = _without_user(path)
        host = "***"  # a password that holds a "/", "?" or "#" ends up where the port should be
    query = "&".join(_redact_pair(pair) for pair in parts.query.split("&")) if parts.query else ""
    shown = urlunsplit(SplitResult(parts.scheme, host, path, query, "***" if parts.fragment else ""))
    if parts.scheme == "unix" and not host:  # older Pythons write it without the empty host
        shown = "unix://" + shown.removeprefix("unix:").removeprefix("//")
    return shown


def redirected(target: Target, location: str) -> Target:
    """Where a redirect leads.

    Args:
        target: where the request went.
        location: the ``Location`` header; relative, ``ws``/``wss`` or ``http``/``https``.

    Raises:
        ValueError: the location is no URL this client may go to (among them: from ``wss`` to ``ws``).
    """
    # urljoin knows http, not ws
    base = f"http{target.url[2:]}" if target.path is None else f"http://{target.host}{target.resource}"
    url = urljoin(base, location)
    parts = urlsplit(url)
    scheme = _HTTP_TWINS.get(parts.scheme, parts.scheme)
    if scheme == "unix":
        raise ValueError("The redirect leads to a socket of this machine; it is not followed.")
    found = parse(urlunsplit((scheme, parts.netloc, parts.path, parts.query, "")))
    if target.path is not None and found.origin == (*target.origin[:3], None):
        return found._replace(path=target.path)  # what calls itself localhost on a socket of this machine is itself
    if target.secure and not found.secure:
        raise ValueError(f"The redirect to {redact(found.url)!r} leaves TLS; it is not followed.")
    if found.origin == target.origin and found.user is None:
        found = found._replace(user=target.user, password=target.password)
    return found


def _has_port(parts: SplitResult) -> bool:
    """Whether the port can be read, or there is none."""
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
    bare, _, zone = host.partition("%")  # an IPv6 address may carry a zone, written "%25eth0" or "%eth0" (RFC 6874)
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        pass
    else:
        return f"{bare}%{zone.removeprefix('25') or zone}" if zone else bare
    try:
        # An underscore is no letter of a host name (RFC 1123), yet Docker's and many a lab's names have one.
        encoded = host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise ValueError(f"url {shown!r} names a host that IDNA can't encode: {error}.") from None
    if _FORBIDDEN.search(encoded):
        raise ValueError(f"url {shown!r} names a host with a space or a control character in it.")
    return encoded
