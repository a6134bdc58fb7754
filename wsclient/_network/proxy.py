"""Through a proxy: which one, and how to ask it for a tunnel.

An HTTP tunnel (RFC 9110 §9.3.6) takes one request that ``_rfc6455.handshake`` can build and read. SOCKS is spoken by
python-socks (Apache-2.0), the extra ``proxy``: its connectors do the protocol, the bytes go through here, so that the
one deadline and the order to close hold for a proxy as for a server.
"""

from __future__ import annotations

import base64
import os
import sys
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from .._errors import HandshakeError, ProxyError, WebSocketClientError
from .._options import DEFAULT_LIMITS, Limits
from .._rfc6455.handshake import may_pass
from .._rfc6455.http11 import ResponseReader
from .._threads.imports import importing
from .poller import READ

if TYPE_CHECKING:
    from .._rfc6455.url import Target
    from .._threads.deadline import Deadline
    from .poller import Watch
    from .transport import Line

__all__ = ["Proxy", "choose", "open_tunnel"]

_PORTS: Final = {"http": 80, "https": 443, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080}
_FROM_ENVIRONMENT: Final = {"ws": ("ws", "http", "all"), "wss": ("wss", "https", "all")}
_PIECE: Final = 16 * 1024
_LOGIN_REFUSED: Final = ("authentication failure", "No acceptable authentication methods")
"""What python-socks says of a refused log-in, which has no code of its own there; fatal, as HTTP's 407 is."""


class Proxy:
    """A proxy's URL, taken apart.

    Attributes:
        scheme: ``http``, ``https`` (TLS up to the proxy), ``socks4``, ``socks4a``, ``socks5`` or ``socks5h``; with an
            ``a`` or ``h`` at the end, and with HTTP, the proxy looks names up.
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
        except ValueError:  # its sentence quotes what may be a piece of a password
            raise ProxyError(
                "The environment names a proxy whose URL can't be read; set proxy=None to go without.", retry=False
            ) from None
        self.scheme = parts.scheme
        self.host = parts.hostname or ""
        self.port = port or _PORTS.get(parts.scheme, 0)
        self.user = None if parts.username is None else unquote(parts.username)
        self.password = unquote(parts.password or "")
        if self.scheme not in _PORTS or not self.host:
            raise ProxyError(
                f"The environment names a proxy that this client can't use ({self.scheme or 'no scheme'}); "
                "set proxy=None to go without.",
                retry=False,
            )

    def __repr__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def choose(option: str | None, target: Target) -> Proxy | None:
    """The proxy for a target.

    Args:
        option: the ``proxy=`` option: a URL, ``"env"`` for ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and
            ``NO_PROXY`` (or the system's settings on macOS and Windows), or None.
        target: where the connection is to go.

    Raises:
        ProxyError: the environment names something that is no proxy.
    """
    if option is None:
        return None
    if option != "env":
        return Proxy(option)
    if not _environment_may_name_one():
        return None
    with importing:
        import urllib.request

    found = urllib.request.getproxies()
    url = next((found[kind] for kind in _FROM_ENVIRONMENT[target.scheme] if found.get(kind)), None)
    if url is None or urllib.request.proxy_bypass(f"{target.host}:{target.port}"):
        return None
    return Proxy(url if "://" in url else f"http://{url}")


def _environment_may_name_one() -> bool:
    """Whether ``urllib.request`` is needed to know; it brings ``http.client`` and ``email``, and takes 10 ms to import.

    On Windows and macOS it asks the system's settings as well; elsewhere it looks at these variables alone.
    """
    return os.name == "nt" or sys.platform == "darwin" or any(name.lower().endswith("_proxy") for name in os.environ)


def open_tunnel(
    line: Line, proxy: Proxy, target: Target, watch: Watch, deadline: Deadline, limits: Limits = DEFAULT_LIMITS
) -> None:
    """Have the proxy connect the line to the target.

    Raises:
        ProxyError: it refused, or spoke nonsense.
        OSError: the line broke; ``TimeoutError`` at the deadline.
    """
    stream = _Stream(line, watch, deadline)
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
        # A byte at a time would be safe, and slow; the proxy must be silent after its answer until we speak.
        while (response := reader.feed(stream.read())) is None:
            pass
    except HandshakeError as error:
        raise ProxyError(str(error), last=error) from error
    if not 200 <= response.status < 300:
        raise ProxyError(
            f"The proxy {proxy!r} refused a tunnel to {host}:{target.port} with HTTP {response.status} "
            f"{response.phrase}.",
            retry=may_pass(response.status),
        )
    if response.rest:
        raise ProxyError(f"The proxy {proxy!r} sent more than its answer before the tunnel was used.")


def _socks_tunnel(stream: _Stream, proxy: Proxy, target: Target) -> None:
    try:
        with importing:
            from python_socks import ProxyType
            from python_socks._connectors.factory_sync import create_connector
            from python_socks.sync._resolver import SyncResolver
    except ImportError as error:
        raise ProxyError(
            f"The proxy {proxy!r} speaks SOCKS, which needs python-socks: pip install 'wsclient-sdk[proxy]'.",
            last=error,
            retry=False,
        ) from error
    if proxy.scheme.startswith("socks5") and not all(
        text.isascii() and len(text) < 256 for text in (proxy.user or "", proxy.password)
    ):
        raise ProxyError(f"The proxy {proxy!r} can't be told its credentials.", retry=False)
    connector = create_connector(
        proxy_type=ProxyType.SOCKS4 if proxy.scheme.startswith("socks4") else ProxyType.SOCKS5,
        username=proxy.user,
        password=proxy.password,
        rdns=proxy.scheme in ("socks4a", "socks5h"),
        resolver=SyncResolver(),
    )
    try:
        connector.connect(stream=stream, host=target.host, port=target.port)  # type: ignore[arg-type]
    except (OSError, WebSocketClientError):  # the line broke, or an order ended the wait
        raise
    except Exception as error:  # python-socks has an error tree of its own, and raises ValueError for odd answers
        retry = not any(words in str(error) for words in _LOGIN_REFUSED)
        raise ProxyError(f"The proxy {proxy!r} refused a tunnel: {error}.", last=error, retry=retry) from error


class _Stream:
    """The line as python-socks wants it: blocking calls, though each of them waits under our deadline."""

    def __init__(self, line: Line, watch: Watch, deadline: Deadline) -> None:
        self._line = line
        self._watch = watch
        self._deadline = deadline

    def write(self, data: bytes) -> None:
        """Send all of it."""
        rest = memoryview(data)
        while rest:
            sent = self._line.send(rest)
            if not sent:
                self._watch.wait(self._line.sock, self._line.write_event, self._deadline)
            rest = rest[sent:]

    write_all = write  # its name before python-socks 3

    def read(self, max_bytes: int = _PIECE) -> bytes:
        """What has come, at least one byte."""
        while (data := self._line.receive(max_bytes)) is None:
            self._watch.wait(self._line.sock, self._line.read_event or READ, self._deadline)
        if not data:
            raise ProxyError("The proxy closed the connection instead of opening a tunnel.")
        return data

    def read_exactly(self, n: int) -> bytes:
        """Just so many bytes."""
        data = b""
        while len(data) < n:
            data += self.read(n - len(data))
        return data

    def close(self) -> None:
        """The line is closed by whoever owns it."""
