"""The target of a ``FaultProxy``, and its URL through the proxy."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from .pipe import Address

__all__ = ["Target", "parse_target"]

_DEFAULT_PORTS: Final = {"ws": 80, "http": 80, "wss": 443, "https": 443}


@dataclass(frozen=True)
class Target:
    """The server that a proxy forwards to.

    Attributes:
        host: its name or address.
        port: its TCP port.
        url: its parsed URL.
    """

    host: str
    port: int
    url: SplitResult

    @property
    def is_local(self) -> bool:
        """Whether the host is this machine, so that its name is valid for the proxy too."""
        return self.host == "localhost" or self._loopback is not None

    @property
    def proxy_host(self) -> str:
        """The address for the proxy to listen on: the target's own one if it is a loopback address."""
        return str(self._loopback or "127.0.0.1")

    @property
    def _loopback(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            return None
        address = getattr(address, "ipv4_mapped", None) or address
        return address if address.is_loopback else None

    def addresses(self) -> list[Address]:
        """The addresses to connect to, in the resolver's order.

        Raises:
            OSError: the name can't be resolved.
        """
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        return [(family, address) for family, _, _, _, address in found]

    def url_through(self, host: str, port: int) -> str:
        """The target's URL with the proxy's host and port. A local host stays, since certificates are made for it."""
        name = self.host if self.is_local else host
        bracketed = f"[{name}]" if ":" in name else name
        user, at, _ = self.url.netloc.rpartition("@")
        return self.url._replace(netloc=f"{user}{at}{bracketed}:{port}").geturl()


def parse_target(target: str | int) -> Target:
    """Parse the argument ``target`` of a proxy.

    Args:
        target: a URL (``ws``, ``wss``, ``http``, ``https``, or any scheme with a port), ``host:port``, or a port on
            this machine.

    Raises:
        TypeError: it is neither a ``str`` nor an ``int``.
        ValueError: it has no host, no port, or port 0.
    """
    if isinstance(target, int) and not isinstance(target, bool):
        target = f"ws://127.0.0.1:{target}/"
    if not isinstance(target, str):
        raise TypeError(f"target must be a URL or a port, not {target!r}.")
    if target.isdecimal():
        target = f"127.0.0.1:{target}"
    has_scheme = "://" in target
    url = urlsplit(target if has_scheme else f"ws://{target}/")
    try:
        port = url.port
    except ValueError:
        port = 0
    if port is None and has_scheme:
        port = _DEFAULT_PORTS.get(url.scheme)
    if not url.hostname or not port:
        raise ValueError(
            f"target {url._replace(netloc=url.netloc.rpartition('@')[2]).geturl()!r} must name a host and a port: "
            "ws://localhost:8765/, localhost:8765 or 8765."
        )
    return Target(url.hostname, port, url)
