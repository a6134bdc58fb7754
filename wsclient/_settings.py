"""What a client is told at construction: the options, their defaults and their validation.

Everything is checked at once, before anything is opened; each error names the option and says what it should be.
"""

from __future__ import annotations

import itertools
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from ._network.options import LineOptions, SocketOption
from ._options import OVERFLOWS, SEND_OVERFLOWS, Limits, Queue
from ._rfc6455 import url as _url
from ._rfc6455.deflate import Deflate
from ._rfc6455.handshake import check_headers, shown
from ._rfc6455.http11 import is_token
from ._threads.imports import importing
from ._validation import check_bool, check_callable, check_choice, check_count, check_seconds
from .protocols._codec import checked_json

if TYPE_CHECKING:
    from ._recording.recorder import Recording

__all__ = ["Bounds", "Greeting", "Settings", "make_settings"]

UrlOption = str | Sequence[str] | Callable[[], str]

HeadersOption = Mapping[str, str] | Callable[[], Mapping[str, str]] | None

OPEN_TIMEOUT: Final = 10.0
"""Seconds for TCP, proxy, TLS and upgrade together; ``websockets`` has the same."""

SESSION_TIMEOUT: Final = 30.0
"""Seconds for ``on_session``; as long as a request may take."""

PING_INTERVAL: Final = 20.0
PING_TIMEOUT: Final = 20.0
"""Seconds; both as in ``websockets``, below the 30-60 s after which proxies and NATs drop an idle line."""

REQUEST_TIMEOUT: Final = 30.0
"""Seconds for a reply; between the 5 s of httpx and the 60 s of gRPC tutorials."""

MAX_MESSAGE_SIZE: Final = 16 * 2**20
"""Bytes of an incoming message; ``websockets`` allows 1 MiB, browsers and aiohttp 4 MiB and more, DevTools sends 10."""

_PROXY_PORTS: Final = {"http": 80, "https": 443, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080}

_numbers = itertools.count(1)


class Greeting(NamedTuple):
    """What the upgrade request says of us."""

    headers: HeadersOption
    subprotocols: tuple[str, ...]
    origin: str | None
    compression: Deflate | None


class Bounds(NamedTuple):
    """How much and how long."""

    request_timeout: float | None
    send_queue: Queue
    receive_queue: Queue
    max_message_size: int


class Settings(NamedTuple):
    """Every option that is plain data, validated."""

    urls: tuple[str, ...]
    ask_url: Callable[[], str] | None
    greeting: Greeting
    line: LineOptions
    bounds: Bounds
    codec: Any
    retry_first: bool
    name: str
    recording: Recording | None

    @property
    def shown_url(self) -> str:
        """The URLs without their secrets."""
        return ", ".join(map(_url.redact, self.urls)) if self.ask_url is None else "<url function>"


def make_settings(
    url: UrlOption,
    *,
    json: Any,
    headers: HeadersOption,
    subprotocols: Sequence[str],
    origin: str | None,
    compression: Any,
    open_timeout: float,
    session_timeout: float,
    ping_interval: float | None,
    ping_timeout: float | None,
    ssl_context: ssl.SSLContext | None,
    ssl_ca: str | None,
    proxy: str | None,
    source_address: Any,
    sock: SocketOption,
    retry_first: bool,
    request_timeout: float | None,
    send_queue: Queue,
    receive_queue: Queue,
    max_message_size: int,
    limits: Limits,
    record: Any,
    name: str | None,
) -> Settings:
    """Validate the options of a client.

    Raises:
        TypeError: an option has the wrong type.
        ValueError: an option has the right type and a value that can't work.
    """
    urls, ask_url = _checked_url(url)
    return Settings(
        urls=urls,
        ask_url=ask_url,
        greeting=Greeting(
            headers=_checked_headers(headers),
            subprotocols=_checked_subprotocols(subprotocols),
            origin=_checked_origin(origin),
            compression=_checked_compression(compression),
        ),
        line=LineOptions(
            open_timeout=check_seconds("open_timeout", open_timeout),
            session_timeout=check_seconds("session_timeout", session_timeout),
            ping_interval=_checked_ping("ping_interval", ping_interval),
            ping_timeout=_checked_ping("ping_timeout", ping_timeout),
            ssl_context=_checked_tls(ssl_context, ssl_ca),
            proxy=_checked_proxy(proxy),
            source_address=_checked_source(source_address),
            sock=_checked_socket(sock, proxy, source_address),
            limits=_checked_limits(limits),
        ),
        bounds=Bounds(
            request_timeout=None if request_timeout is None else check_seconds("request_timeout", request_timeout),
            send_queue=_checked_queue("send_queue", send_queue, SEND_OVERFLOWS),
            receive_queue=_checked_queue("receive_queue", receive_queue, OVERFLOWS),
            max_message_size=check_count("max_message_size", max_message_size),
        ),
        codec=checked_json(json),
        retry_first=check_bool("retry_first", retry_first),
        name=_checked_name(name),
        recording=None if record is None else _checked_recording(record),
    )


def _checked_url(url: UrlOption) -> tuple[tuple[str, ...], Callable[[], str] | None]:
    if callable(url):
        return (), check_callable("url", url)
    urls = [url] if isinstance(url, str) else url
    if not isinstance(urls, Sequence) or isinstance(urls, (bytes, bytearray)):
        raise TypeError(f"url must be a str, a list of str or a function that returns one, not {type(url).__name__}.")
    if not urls:
        raise ValueError("url must name at least one server; the list is empty.")
    return tuple(_url.parse(one).url for one in urls), None


def _checked_headers(headers: HeadersOption) -> HeadersOption:
    if headers is None or callable(headers):
        return check_callable("headers", headers)  # type: ignore[no-any-return]
    check_headers(headers)
    return dict(headers)


def _checked_subprotocols(subprotocols: Sequence[str]) -> tuple[str, ...]:
    if isinstance(subprotocols, str) or not isinstance(subprotocols, Sequence):
        raise TypeError(f"subprotocols must be a list of str, not {subprotocols!r}.")
    for one in subprotocols:
        if not isinstance(one, str) or not is_token(one):
            words = shown(one) if isinstance(one, str) else one
            raise ValueError(f"subprotocols must be tokens without spaces (RFC 6455 §4.1); {words!r} is none.")
    if len(set(subprotocols)) < len(subprotocols):
        words = ", ".join(map(shown, subprotocols))
        raise ValueError(f"subprotocols must be different from each other (RFC 6455 §4.1), not {words}.")
    return tuple(subprotocols)


def _checked_origin(origin: str | None) -> str | None:
    if origin is not None:
        if not isinstance(origin, str):
            raise TypeError(f"origin must be a str or None, not {origin!r}.")
        try:
            check_headers({"Origin": origin})
        except ValueError as error:
            raise ValueError(f"origin can't be sent: {error}") from None
    return origin


def _checked_compression(compression: Any) -> Deflate | None:
    if compression is None or isinstance(compression, Deflate):
        return compression
    if not isinstance(compression, str):
        raise TypeError(f"compression must be 'deflate', a wsclient.Deflate or None, not {compression!r}.")
    check_choice("compression", compression, ("deflate",))
    return Deflate()


def _checked_socket(sock: Any, proxy: str | None, source: Any) -> SocketOption:
    if sock is None:
        return None
    if source is not None or proxy not in (None, "env"):
        raise ValueError("sock is connected already, so it excludes proxy= and source_address=.")
    if not isinstance(sock, socket.socket):
        if not callable(sock):
            raise TypeError(f"sock must be a socket.socket, a function that returns one, or None, not {sock!r}.")
        check_callable("sock", sock)
    elif sock.type != socket.SOCK_STREAM:
        raise ValueError(f"sock must be a stream socket, not one of {sock.type!r}.")
    return sock  # type: ignore[no-any-return]


def _checked_limits(limits: Any) -> Limits:
    if not isinstance(limits, Limits):
        raise TypeError(f"limits must be a wsclient.Limits, not {limits!r}.")
    return limits


def _checked_ping(name: str, value: float | None) -> float | None:
    return None if value is None else check_seconds(name, value)


def _checked_tls(context: ssl.SSLContext | None, ca: str | None) -> ssl.SSLContext | None:
    if context is not None and ca is not None:
        raise ValueError("ssl_context and ssl_ca exclude each other: load the CA into the context.")
    if context is not None and not isinstance(context, ssl.SSLContext):
        raise TypeError(f"ssl_context must be an ssl.SSLContext or None, not {context!r}.")
    if context is not None and context.protocol is ssl.PROTOCOL_TLS_SERVER:
        raise ValueError("ssl_context must be one for clients; this one is for servers (PROTOCOL_TLS_SERVER).")
    if ca is None:
        return context
    if not isinstance(ca, str):
        raise TypeError(f"ssl_ca must be the path of a PEM file, not {ca!r}.")
    if not ca:
        raise ValueError("ssl_ca must be the path of a PEM file, not an empty str.")
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"ssl_ca {ca!r} can't be loaded: {error}.") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _checked_proxy(proxy: str | None) -> str | None:
    if proxy is None or proxy == "env":
        return proxy
    if not isinstance(proxy, str):
        raise TypeError(f"proxy must be a URL, 'env' or None, not {type(proxy).__name__}.")
    shown = _url.redact(proxy)
    try:
        parts = urlsplit(proxy)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        named = False
    if not named or parts.scheme not in _PROXY_PORTS:
        raise ValueError(f"proxy must be a URL such as 'http://host:port' or 'socks5h://host:port', not {shown!r}.")
    return proxy


def _checked_source(source: Any) -> tuple[str, int] | None:
    if source is None:
        return None
    host, port = (source, 0) if isinstance(source, str) else _pair(source)
    if not isinstance(host, str) or isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 2**16:
        raise ValueError(f"source_address must be an address or (address, port), not {source!r}.")
    return host, port


def _pair(source: Any) -> tuple[Any, Any]:
    if isinstance(source, (tuple, list)) and len(source) == 2:
        return source[0], source[1]
    raise TypeError(f"source_address must be an address or (address, port), not {source!r}.")


def _checked_queue(name: str, queue: Queue, choices: Sequence[str]) -> Queue:
    if not isinstance(queue, Queue):
        raise TypeError(f"{name} must be a wsclient.Queue, not {queue!r}.")
    check_choice(f"{name}.overflow", queue.overflow, choices)
    return queue


def _checked_recording(record: Any) -> Recording:
    with importing:
        from ._recording.recorder import checked_recording  # few clients have one: spares the others 3 ms

    return checked_recording(record)


def _checked_name(name: str | None) -> str:
    if name is None:
        return f"wsclient-{next(_numbers)}"
    if not isinstance(name, str):
        raise TypeError(f"name must be a str or None, not {name!r}.")
    if not name.isprintable() or not name:
        raise ValueError(f"name must be a printable str, not {name!r}.")
    return name
