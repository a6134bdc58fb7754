"""The client's side of SOCKS: versions 4 and 4a (the documents "SOCKS" and "SOCKS 4A" by Y. Lee) and 5 (RFC 1928, with
the user name and password of RFC 1929).

It has only what a tunnel needs: the command CONNECT. The library python-socks, which websocket-client uses, is not used
here, since it opens its sockets itself, and its calls block. It contains a part without sockets, but this part is not
public.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, Final, Protocol

from .lookup import address_of

if TYPE_CHECKING:
    from .lookup import Found

__all__ = ["SocksError", "Stream", "open_socks_tunnel"]

_CONNECT: Final = 1
_NO_LOGIN: Final = 0
_PASSWORD: Final = 2
_NO_METHOD: Final = 0xFF
_IPV4: Final = 1
_NAME: Final = 3
_IPV6: Final = 4
"""The command, the methods of authentication and the types of address of RFC 1928 §3 and §4."""

_REPLIES_5: Final = {
    1: "General SOCKS server failure",
    2: "Connection not allowed by ruleset",
    3: "Network unreachable",
    4: "Host unreachable",
    5: "Connection refused by destination host",
    6: "TTL expired",
    7: "Command not supported",
    8: "Address type not supported",
}
"""The reply codes of RFC 1928 §6."""

_GRANTED_4: Final = 0x5A
_REPLIES_4: Final = {
    0x5B: "Request rejected or failed",
    0x5C: "Request rejected: the proxy can't connect to identd on this machine",
    0x5D: "Request rejected: identd reports another user",
}
"""The result codes of the document "SOCKS"."""


class SocksError(Exception):
    """The proxy refused, or its answer violates the protocol.

    Attributes:
        retry: whether another attempt may succeed. It is False if the proxy refuses the credentials or the methods of
            authentication, and for an IPv6 address with SOCKS 4. It is True for every reply code, also for 0x5D of
            SOCKS 4 (identd reports another user).
    """

    def __init__(self, reason: str, *, retry: bool = True) -> None:
        super().__init__(reason)
        self.retry = retry


class Stream(Protocol):
    """The connection to the proxy; its calls wait until they are done or the deadline has passed."""

    def write(self, data: bytes) -> None:
        """Send all bytes."""

    def read_exactly(self, n: int) -> bytes:
        """Return exactly ``n`` bytes."""

    def look_up(self, host: str, port: int, family: int) -> list[Found]:
        """Return the addresses of a host, from ``getaddrinfo``."""


def open_socks_tunnel(stream: Stream, scheme: str, user: str | None, password: str, host: str, port: int) -> None:
    """Make a SOCKS proxy connect to a host.

    ``socks4a`` and ``socks5h`` send the host's name to the proxy; ``socks4`` and ``socks5`` look it up here.

    Args:
        stream: the connection to the proxy.
        scheme: ``socks4``, ``socks4a``, ``socks5`` or ``socks5h``.
        user: the user name; None if there are no credentials.
        password: the password; SOCKS 4 has none.
        host: the host's name or address.
        port: the host's port.

    Raises:
        SocksError: the proxy refused, or its answer violates the protocol.
        OSError: the name has no address or can't be looked up in time, or the connection broke.
    """
    if scheme.startswith("socks4"):
        _connect_by_4(stream, scheme, user, host, port)
    else:
        _log_in(stream, user, password)
        _connect_by_5(stream, scheme, host, port)


def _connect_by_4(stream: Stream, scheme: str, user: str | None, host: str, port: int) -> None:
    address = address_of(host)
    name = b""
    if address is None and scheme == "socks4a":
        address = ipaddress.IPv4Address("0.0.0.1")  # an impossible address: the name follows ("SOCKS 4A")
        name = host.encode("ascii") + b"\0"
    elif address is None:
        address = _look_up(stream, host, port, socket.AF_INET)
    if address.version != 4:
        raise SocksError(f"SOCKS 4 can't connect to the IPv6 address {host}; use socks5://", retry=False)
    user_id = (user or "").encode() + b"\0"
    stream.write(bytes((4, _CONNECT)) + port.to_bytes(2, "big") + address.packed + user_id + name)
    version, code, *_ = stream.read_exactly(8)
    if version != 0:
        raise SocksError(f"Unexpected version of the reply: {version:#04x}")
    if code != _GRANTED_4:
        raise SocksError(_REPLIES_4.get(code, f"Unknown reply code {code:#04x}"))


def _log_in(stream: Stream, user: str | None, password: str) -> None:
    """Agree on a method of authentication (RFC 1928 §3); send the credentials if the proxy requires them (RFC 1929)."""
    methods = (_NO_LOGIN,) if user is None else (_NO_LOGIN, _PASSWORD)
    stream.write(bytes((5, len(methods), *methods)))
    version, method = stream.read_exactly(2)
    if version != 5:
        raise SocksError(f"Unexpected SOCKS version {version:#04x}")
    if method == _NO_METHOD:
        raise SocksError("No acceptable authentication methods were offered", retry=False)
    if method not in methods:
        raise SocksError(f"Unexpected authentication method {method:#04x}")
    if method == _PASSWORD:
        parts = ((user or "").encode(), password.encode())
        stream.write(b"\1" + b"".join(bytes((len(part),)) + part for part in parts))
        _, status = stream.read_exactly(2)
        if status != 0:
            raise SocksError("User name and password authentication failure", retry=False)


def _connect_by_5(stream: Stream, scheme: str, host: str, port: int) -> None:
    address = address_of(host)
    if address is None and scheme == "socks5":
        address = _look_up(stream, host, port, socket.AF_UNSPEC)
    if address is None:
        name = host.encode("ascii")
        target = bytes((_NAME, len(name))) + name
    else:
        target = bytes((_IPV4 if address.version == 4 else _IPV6,)) + address.packed
    stream.write(bytes((5, _CONNECT, 0)) + target + port.to_bytes(2, "big"))
    version, code, _ = stream.read_exactly(3)
    if version != 5:
        raise SocksError(f"Unexpected SOCKS version {version:#04x}")
    if code != 0:
        raise SocksError(_REPLIES_5.get(code, f"Unknown reply code {code:#04x}"))
    kind = stream.read_exactly(1)[0]
    if kind not in (_IPV4, _NAME, _IPV6):
        raise SocksError(f"Unknown address type {kind:#x}")
    size = {_IPV4: 4, _IPV6: 16}.get(kind) or stream.read_exactly(1)[0]
    stream.read_exactly(size + 2)  # the address from which the proxy connects, and its port


def _look_up(stream: Stream, host: str, port: int, family: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The first address of a name, an IPv4 address if there is one."""
    _, _, _, _, (address, *_) = min(stream.look_up(host, port, family), key=lambda one: one[0] != socket.AF_INET)
    return ipaddress.ip_address(str(address).partition("%")[0])
