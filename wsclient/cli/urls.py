"""The URL of the server as it is typed: without a scheme, or with that of HTTP."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from .._rfc6455.url import redact
from .exits import CommandError

__all__ = ["completed_url", "shown"]

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_OF_HTTP: Final = {"http": "ws", "https": "wss"}
_SCHEMES: Final = ("ws", "wss", "unix")


def completed_url(typed: str) -> str:
    """Return the complete WebSocket URL.

    ``http`` becomes ``ws`` and ``https`` becomes ``wss``. Without a scheme, loopback and private addresses (RFC 1918,
    RFC 4193, link-local) and the name ``localhost`` (RFC 6761 §6.3) get ``ws``, other hosts ``wss``.

    Args:
        typed: a URL, or ``host[:port][/path]``.

    Raises:
        CommandError: it can't be a URL.
    """
    found = _SCHEME.match(typed)
    if found is None:
        return _with_scheme(typed)
    scheme = found[1].lower()
    if scheme not in _SCHEMES and scheme not in _OF_HTTP:
        raise CommandError(
            f"{shown(typed)!r} is not a WebSocket URL: it begins with {scheme}://, not with ws:// or wss://."
        )
    return f"{_OF_HTTP.get(scheme, scheme)}{typed[len(scheme) :]}"


def shown(typed: str) -> str:
    """Return the URL as it was typed, but without user, password and the values of the query."""
    if "@" not in typed and "?" not in typed:
        return typed
    return redact(typed) if _SCHEME.match(typed) else redact(f"//{typed}").removeprefix("//")


def _with_scheme(typed: str) -> str:
    try:
        parts = urlsplit(f"//{typed}")
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise CommandError(f"{shown(typed)!r} is not a URL: its host or its port can't be read.") from error
    if not host or re.search(r"\s", typed):
        raise CommandError(f"{shown(typed)!r} is not a URL; write ws://host/path, wss://host/path or host:port.")
    return f"{'ws' if _is_local(host) else 'wss'}://{typed}"


def _is_local(host: str) -> bool:
    """Whether a host is this machine or in a private network."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_private or address.is_link_local
