"""Proxies: selects the proxy for a URL, and requests a tunnel from it.

An HTTP tunnel (RFC 9110 §9.3.6) takes one ``CONNECT`` request; ``socks`` opens a SOCKS tunnel. Both read and
write through ``_Stream``, so the deadline or a command ends each of their waits.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import sys
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from .._errors import HandshakeError, ProxyError
from .._options import DEFAULT_LIMITS, Limits
from .._rfc6455.handshake import is_retryable
from .._rfc6455.host_names import ascii_host
from .._rfc6455.http11 import ResponseReader
from .._threads.imports import import_lock
from .socks import SocksError, open_socks_tunnel

if TYPE_CHECKING:
    from .._rfc6455.url import Target
    from .._threads.waiting import Deadline
    from .lookup import Found, Lookups
    from .poller import Watch
    from .transport import Transport

__all__ = ["Proxy", "choose", "environment_may_have_proxy", "open_tunnel"]

_PORTS: Final = {"http": 80, "https": 443, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080}
_FROM_ENVIRONMENT: Final = {"ws": ("ws", "http", "all"), "wss": ("wss", "https", "all")}
_PIECE: Final = 16 * 1024


class Proxy:
    """The parts of a proxy's URL.

    Attributes:
        scheme: ``http``, ``https`` (TLS to the proxy), ``socks4``, ``socks4a``, ``socks5`` or ``socks5h``. With
            ``socks4`` and ``socks5`` the client looks up the server's name, with the others the proxy does.
        host: its name or address.
        port: its port.
        user: user name; None if there is none.
        password: password; empty if there is none.
    """

    __slots__ = ("host", "password", "port", "scheme", "user")

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:  # not chained: its text may contain a part of a password
            raise ProxyError(
                "The proxy in the environment has a URL that can't be parsed; set proxy=None to use no proxy.",
                retry=False,
            ) from None
        self.scheme = parts.scheme
        try:
            self.host = ascii_host(parts.hostname or "")
        except ValueError as error:
            raise ProxyError(f"The proxy has a host {error}.", retry=False) from None
        self.port = port or _PORTS.get(parts.scheme, 0)
        self.user = None if parts.username is None else unquote(parts.username)
        self.password = unquote(parts.password or "")
        if self.scheme not in _PORTS or not self.host:
            raise ProxyError(
                f"The proxy in the environment is one that this client can't use ({self.scheme or 'no scheme'}); "
                "set proxy=None to use no proxy.",
                retry=False,
            )

    def __repr__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def choose(option: str | None, target: Target) -> Proxy | None:
    """Return the proxy for a target; None for a direct connection.

    Args:
        option: the ``proxy=`` option: a URL, ``"env"`` or None. ``"env"`` takes the first of these variables that is
            set: ``WSS_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` for ``wss``; ``WS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY``
            for ``ws``. There is no proxy for a server in ``NO_PROXY``: a list of host names (with all names below
            them), addresses and networks (``10.0.0.0/8``); an entry may have a port, and ``*`` stands for all servers.
            Names are not looked up, so a network exempts only URLs that contain an address. Without any such variable,
            the settings of macOS and Windows are used.
        target: the server.

    Raises:
        ProxyError: the client can't use the proxy in the environment.
    """
    if option is None:
        return None
    if option != "env":
        return Proxy(option)
    if not environment_may_have_proxy():
        return None
    with import_lock:
        import urllib.request

    found = urllib.request.getproxies()
    url = next((found[kind] for kind in _FROM_ENVIRONMENT[target.scheme] if found.get(kind)), None)
    if url is None or urllib.request.proxy_bypass(f"{target.host}:{target.port}"):
        return None
    if _is_exempt(target, urllib.request.getproxies_environment().get("no", "")):
        return None
    return Proxy(url if "://" in url else f"http://{url}")


def _is_exempt(target: Target, no_proxy: str) -> bool:
    """Whether ``NO_PROXY`` exempts a server by one of the forms that ``urllib`` does not know, but curl, Go and
    ``requests`` do.

    These are ``10.0.0.0/8``, ``*.domain``, ``*`` among other entries, spaces between entries, brackets around an IPv6
    address, a final dot, and names that are not in ASCII.
    """
    host = target.host.partition("%")[0].rstrip(".").lower()
    return any(_matches(entry.lower(), host, target.port) for entry in re.split(r"[,\s]+", no_proxy) if entry)


def _matches(entry: str, host: str, port: int) -> bool:
    """Whether one entry of ``NO_PROXY`` names the host."""
    if entry == "*":
        return True
    found = re.fullmatch(r"\[(.*)\](?::(\d+))?|([^:]*):(\d+)", entry)  # [address], [address]:port or name:port
    if found is not None:
        entry = found[1] or found[3] or ""
        if (found[2] or found[4] or str(port)) != str(port):
            return False
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:  # the host or the entry is a name
        pass
    try:
        name = ascii_host(entry.removeprefix("*").removeprefix(".").rstrip("."))
    except ValueError:  # no valid name, so it names no host
        return False
    return name != "" and (host == name or host.endswith(f".{name}"))


def environment_may_have_proxy() -> bool:
    """Whether ``urllib.request`` may find a proxy. If not, it is not imported, which saves 10 ms.

    On Windows and macOS, ``urllib.request`` also reads the system's settings. On other systems it reads only the
    environment variables whose names end with ``_proxy``.
    """
    return os.name == "nt" or sys.platform == "darwin" or any(name.lower().endswith("_proxy") for name in os.environ)


def open_tunnel(
    transport: Transport,
    proxy: Proxy,
    target: Target,
    watch: Watch,
    deadline: Deadline,
    lookups: Lookups,
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """Make the proxy open a tunnel to the target.

    Args:
        transport: the connection to the proxy.
        proxy: the proxy.
        target: the server.
        watch: waits for the socket.
        deadline: when to give up.
        lookups: looks up the server's name, for ``socks4`` and ``socks5``.
        limits: limits on the proxy's answer.

    Raises:
        ConnectError: the name look-up did not end in time.
        ProxyError: the proxy refused, or its answer violates the protocol.
        OSError: the connection broke; ``TimeoutError`` at the deadline.
    """
    stream = _Stream(transport, watch, deadline, lookups)
    if proxy.scheme in ("http", "https"):
        _http_tunnel(stream, proxy, target, limits)
    else:
        _socks_tunnel(stream, proxy, target)


def _http_tunnel(stream: _Stream, proxy: Proxy, target: Target, limits: Limits) -> None:
    host = f"[{target.host}]" if ":" in target.host else target.host
    lines = [f"CONNECT {host}:{target.port} HTTP/1.1", f"Host: {host}:{target.port}"]
    if proxy.user is not None:
        credentials = base64.b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {credentials}")
    stream.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    reader = ResponseReader("The proxy", limits)
    try:
        # A read may contain bytes after the answer. This is an error, reported below: the proxy must send nothing more
        # before the client sends something.
        while (response := reader.feed(stream.read())) is None:
            pass
    except HandshakeError as error:
        raise ProxyError(str(error), last=error) from error
    if not 200 <= response.status < 300:
        raise ProxyError(
            f"The proxy {proxy!r} refused a tunnel to {host}:{target.port} with HTTP {response.status} "
            f"{response.phrase}.",
            retry=is_retryable(response.status),
        )
    if response.rest:
        raise ProxyError(
            f"The proxy {proxy!r} sent more than its answer before the tunnel was used; check that it is an HTTP proxy."
        )


def _socks_tunnel(stream: _Stream, proxy: Proxy, target: Target) -> None:
    if proxy.scheme.startswith("socks5") and not all(
        text.isascii() and len(text) < 256 for text in (proxy.user or "", proxy.password)
    ):
        raise ProxyError(
            f"The credentials of the proxy {proxy!r} can't be sent: SOCKS 5 takes user and password of at most 255 "
            "ASCII characters.",
            retry=False,
        )
    if proxy.scheme.startswith("socks4") and "\0" in (proxy.user or ""):
        raise ProxyError(
            f"The user of the proxy {proxy!r} can't be sent: it contains a NUL character, which ends it in SOCKS 4.",
            retry=False,
        )
    try:
        open_socks_tunnel(stream, proxy.scheme, proxy.user, proxy.password, target.host, target.port)
    except SocksError as error:
        raise ProxyError(f"The proxy {proxy!r} refused a tunnel: {error}.", last=error, retry=error.retry) from error


class _Stream:
    """The connection to the proxy; its calls wait until they are done or the deadline has passed."""

    def __init__(self, transport: Transport, watch: Watch, deadline: Deadline, lookups: Lookups) -> None:
        self._transport = transport
        self._watch = watch
        self._deadline = deadline
        self._lookups = lookups

    def write(self, data: bytes) -> None:
        """Send all bytes."""
        rest = memoryview(data)
        while rest:
            sent = self._transport.send(rest)
            if not sent:
                self._watch.wait(self._transport.sock, self._transport.write_event, self._deadline)
            rest = rest[sent:]

    def read(self, max_bytes: int = _PIECE) -> bytes:
        """Wait for received bytes and return them, at least one."""
        while (data := self._transport.receive(max_bytes)) is None:
            self._watch.wait(self._transport.sock, self._transport.read_event, self._deadline)
        if not data:
            raise ProxyError("The proxy closed the connection instead of opening a tunnel.")
        return data

    def read_exactly(self, n: int) -> bytes:
        """Return exactly ``n`` bytes."""
        data = b""
        while len(data) < n:
            data += self.read(n - len(data))
        return data

    def look_up(self, host: str, port: int, family: int) -> list[Found]:
        """Return the addresses of a host."""
        return self._lookups.find(host, port, self._deadline, family)
