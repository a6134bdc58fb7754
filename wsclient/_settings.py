"""The options of a client as its parts use them, their defaults, and the checks of most options.

Each check of one option takes the option's name and value, and returns the value that the client stores, or raises a
``TypeError`` or ``ValueError``. The text of this error names the option (or its attribute, such as ``fatal_codes``) and
says what is wrong. ``check_combinations`` checks options against each other. No file or socket is opened, except with
``ssl_ca``: its file, and the file that the environment variable ``SSLKEYLOGFILE`` names.
"""

from __future__ import annotations

import ipaddress
import itertools
import math
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

from ._network.options import ContextOption, NetworkOptions, SocketOption
from ._network.tls import keylog_failure
from ._options import DEFAULT, OVERFLOWS, SEND_OVERFLOWS, Heartbeat, Limits, Queue, Quiet, Renew
from ._recording.options import Recording, checked_recording
from ._rfc6455 import handshake
from ._rfc6455 import url as _url
from ._rfc6455.deflate import Deflate
from ._rfc6455.handshake import redacted
from ._rfc6455.host_names import ascii_host
from ._rfc6455.http11 import is_token
from ._threads.waiting import Deadline
from ._validation import check_callable, check_choice, check_seconds
from .protocols import JsonId, Protocol
from .protocols._codec import checked_json

__all__ = [
    "Bounds",
    "HandshakeOptions",
    "Settings",
    "check_combinations",
    "check_compression",
    "check_handlers",
    "check_headers",
    "check_heartbeat",
    "check_json",
    "check_limits",
    "check_name",
    "check_optional_seconds",
    "check_origin",
    "check_protocol",
    "check_proxy",
    "check_quiet",
    "check_receive_queue",
    "check_record",
    "check_renew",
    "check_send_queue",
    "check_server_hostname",
    "check_sock",
    "check_source_address",
    "check_ssl_ca",
    "check_ssl_context",
    "check_subprotocols",
    "make_settings",
]

UrlOption = str | Sequence[str] | Callable[[], str]

HeadersOption = Mapping[str, str] | Callable[[], Mapping[str, str]] | None

OPEN_TIMEOUT: Final = 10.0
"""Seconds for name look-ups, TCP, proxy, TLS and upgrade together; the same as in ``websockets``."""

SESSION_TIMEOUT: Final = 30.0
"""Seconds for ``on_session``; the same as for a request."""

PING_INTERVAL: Final = 20.0
PING_TIMEOUT: Final = 20.0
"""Seconds. Both are as in ``websockets``, below the 30 to 60 s after which proxies and NATs drop an idle connection."""

REQUEST_TIMEOUT: Final = 30.0
"""Seconds for a reply: more than the 5 s of httpx, less than the 60 s in tutorials of gRPC."""

MAX_MESSAGE_SIZE: Final = 16 * 2**20
"""Largest incoming message, in bytes. ``websockets`` allows 1 MiB, browsers and aiohttp 4 MiB and more, and DevTools
sends messages of 10 MiB."""

_PROXY_PORTS: Final = {"http": 80, "https": 443, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080}

_HOST_NAME: Final = re.compile(r"\w[\w.-]*", re.ASCII)
"""A host name in ASCII. RFC 1123 does not allow the underscore, but many names in test networks contain it."""

_Group = TypeVar("_Group", "HandshakeOptions", NetworkOptions, "Bounds")

_numbers = itertools.count(1)


class HandshakeOptions(NamedTuple):
    """Options of the upgrade request."""

    headers: HeadersOption
    subprotocols: tuple[str, ...]
    origin: str | None
    compression: Deflate | None

    def __repr__(self) -> str:
        return "<HandshakeOptions>"  # headers and subprotocols may be secret


class Bounds(NamedTuple):
    """Limits on time and memory."""

    request_timeout: float | None
    send_queue: Queue
    receive_queue: Queue
    max_message_size: int

    def deadline(self, timeout: float | None) -> Deadline:
        """The deadline of a call, from its option ``timeout``.

        Args:
            timeout: seconds; ``DEFAULT`` for ``request_timeout``, None for no limit.

        Raises:
            TypeError, ValueError: it is not a number of seconds.
        """
        if timeout is DEFAULT:
            timeout = self.request_timeout
        elif timeout is not None and not (type(timeout) is float and 0.0 <= timeout < math.inf):
            timeout = check_seconds("timeout", timeout, zero=True)  # not called in the common case, a valid float
        return Deadline(None if timeout is None else time.monotonic() + timeout, timeout)


class Settings(NamedTuple):
    """The options after their checks, grouped by the part of the client that uses them. Without ``protocol``,
    ``reconnect``, the hooks and ``handlers``.
    """

    urls: tuple[str, ...]
    url_function: Callable[[], str] | None
    handshake: HandshakeOptions
    network: NetworkOptions
    bounds: Bounds
    codec: Any
    retry_first: bool
    name: str
    recording: Recording | None
    heartbeat: Heartbeat | None
    quiet: Quiet | None
    renew: Renew | None
    may_renew: bool

    def __repr__(self) -> str:
        return f"<Settings {self.name!r} {self.shown_url}>"  # URLs and headers may be secret

    @property
    def shown_url(self) -> str:
        """The URLs without their secrets."""
        return ", ".join(map(_url.redact, self.urls)) if self.url_function is None else "<url function>"


def make_settings(url: UrlOption, values: Mapping[str, Any]) -> Settings:
    """Group the options by the part of the client that uses them.

    Args:
        url: the client's ``url``.
        values: all other options, already checked; they are copied to the fields of the same names.

    Raises:
        TypeError: ``url`` has the wrong type.
        ValueError: ``url`` is empty, or one of its URLs is not valid.
    """
    urls, url_function = _checked_url(url)
    return Settings(
        urls=urls,
        url_function=url_function,
        handshake=_picked(HandshakeOptions, values),
        network=_picked(NetworkOptions, {**values, "ssl_context": values["ssl_ca"] or values["ssl_context"]}),
        bounds=_picked(Bounds, values),
        codec=values["json"],
        retry_first=values["retry_first"],
        name=values["name"],
        recording=values["record"],
        heartbeat=values["heartbeat"],
        quiet=values["quiet"],
        renew=values["renew"],
        may_renew=values["reconnect"] is not None and not isinstance(values["sock"], socket.socket),
    )


def _picked(group: type[_Group], values: Mapping[str, Any]) -> _Group:
    return group._make(values[field] for field in group._fields)


def check_combinations(values: Mapping[str, Any]) -> None:
    """Check that the options can be combined.

    Args:
        values: all options but ``url``, already checked one by one.

    Raises:
        ValueError: two options can't be combined; the text contains both names.
    """
    if values["retry_first"] and values["reconnect"] is None:
        raise ValueError("retry_first=True needs reconnect=, which says how to retry, but reconnect= is None.")
    if values["renew"] is not None and values["reconnect"] is None:
        raise ValueError("renew= opens further connections, but reconnect= is None.")
    if values["renew"] is not None and isinstance(values["sock"], socket.socket):
        raise ValueError("renew= needs a socket for each connection: pass a function as sock= that returns one.")
    if values["ssl_context"] is not None and values["ssl_ca"] is not None:
        raise ValueError("ssl_context and ssl_ca exclude each other: load the CA into the context.")
    if values["sock"] is not None and (values["source_address"] is not None or values["proxy"] not in (None, "env")):
        raise ValueError("sock is connected already, so it excludes proxy= and source_address=.")


def _checked_url(url: UrlOption) -> tuple[tuple[str, ...], Callable[[], str] | None]:
    if callable(url):
        return (), check_callable("url", url)
    urls = [url] if isinstance(url, str) else url
    if not isinstance(urls, Sequence) or isinstance(urls, (bytes, bytearray)):
        raise TypeError(f"url must be a str, a list of str or a function that returns one, not {type(url).__name__}.")
    if not urls:
        raise ValueError("url must name at least one server; the list is empty.")
    return tuple(_url.parse(one).url for one in urls), None


def check_headers(name: str, headers: HeadersOption) -> HeadersOption:
    """``headers``: a mapping that can be sent, which is copied; a function that returns one; or None."""
    if headers is None or callable(headers):
        return check_callable(name, headers)  # type: ignore[no-any-return]
    handshake.check_headers(headers)
    return dict(headers)


def check_subprotocols(name: str, subprotocols: Sequence[str]) -> tuple[str, ...]:
    """``subprotocols``: different tokens (RFC 6455 §4.1)."""
    if isinstance(subprotocols, str) or not isinstance(subprotocols, Sequence):
        raise TypeError(f"subprotocols must be a list of str, not {type(subprotocols).__name__}.")
    for one in subprotocols:
        if not isinstance(one, str) or not is_token(one):
            words = repr(redacted(one)) if isinstance(one, str) else redacted(repr(one))
            raise ValueError(f"subprotocols must be tokens without spaces (RFC 6455 §4.1); {words} is not a token.")
    if len(set(subprotocols)) < len(subprotocols):
        words = ", ".join(map(redacted, subprotocols))
        raise ValueError(f"subprotocols must be different from each other (RFC 6455 §4.1), not {words}.")
    return tuple(subprotocols)


def check_origin(name: str, origin: str | None) -> str | None:
    """``origin``: the value of a header, or None."""
    if origin is not None:
        if not isinstance(origin, str):
            raise TypeError(f"origin must be a str or None, not {type(origin).__name__}.")
        try:
            handshake.check_headers({"Origin": origin})
        except ValueError as error:
            raise ValueError(f"origin can't be sent: {error}") from None
    return origin


def check_compression(name: str, compression: Any) -> Deflate | None:
    """``compression``: ``"deflate"``, a ``Deflate`` or None."""
    if compression is None or isinstance(compression, Deflate):
        return compression
    if not isinstance(compression, str):
        raise TypeError(f"compression must be 'deflate', a wsclient.Deflate or None, not {compression!r}.")
    check_choice(name, compression, ("deflate",))
    return Deflate()


def check_sock(name: str, sock: Any) -> SocketOption:
    """``sock``: a stream socket, a function that returns one, or None."""
    if isinstance(sock, socket.socket):
        if sock.type != socket.SOCK_STREAM:
            kind = getattr(sock.type, "name", sock.type)  # a number if Python has no name for it
            raise ValueError(f"sock must be a stream socket (SOCK_STREAM), not a socket of type {kind}.")
        return sock
    if sock is not None and not callable(sock):
        raise TypeError(f"sock must be a socket.socket, a function that returns one, or None, not {sock!r}.")
    return check_callable(name, sock)  # type: ignore[no-any-return]


def check_limits(name: str, limits: Any) -> Limits:
    """``limits``: a ``Limits``."""
    if not isinstance(limits, Limits):
        raise TypeError(f"limits must be a wsclient.Limits, not {limits!r}.")
    return limits


def check_renew(name: str, renew: Any) -> Renew | None:
    """``renew``: a ``Renew`` or None."""
    if renew is not None and not isinstance(renew, Renew):
        raise TypeError(f"renew must be a wsclient.Renew or None, not {renew!r}.")
    return renew


def check_optional_seconds(name: str, value: float | None) -> float | None:
    """A number of seconds, or None."""
    return None if value is None else check_seconds(name, value)


def check_ssl_context(name: str, context: Any) -> ContextOption:
    """``ssl_context``: a TLS context for clients, a function that makes one, or None."""
    if isinstance(context, ssl.SSLContext):
        if context.protocol is ssl.PROTOCOL_TLS_SERVER:
            raise ValueError("ssl_context must be a context for clients, not for servers (PROTOCOL_TLS_SERVER).")
        return context
    if context is not None and (isinstance(context, type) or not callable(context)):
        kind = repr(context) if isinstance(context, type) else type(context).__name__  # it may contain a password
        raise TypeError(f"ssl_context must be an ssl.SSLContext, a function that makes one, or None, not {kind}.")
    return check_callable(name, context)  # type: ignore[no-any-return]


def check_ssl_ca(name: str, ca: Any) -> ssl.SSLContext | None:
    """``ssl_ca``: the path of a PEM file, or None. The result is a context that trusts its certificates, or None."""
    if ca is None:
        return None
    if not isinstance(ca, str):
        raise TypeError(f"ssl_ca must be the path of a PEM file, not {type(ca).__name__}.")
    if "-----BEGIN" in ca:  # it may contain a private key
        raise ValueError("ssl_ca must be the path of a PEM file, not its content.")
    if not ca:
        raise ValueError("ssl_ca must be the path of a PEM file, not an empty str.")
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:
        reason = keylog_failure(error)
        if reason is not None:
            raise ValueError(f"No TLS context can be made for ssl_ca: {reason}.") from error
        raise ValueError(f"ssl_ca {ca!r} can't be loaded: {error}.") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def check_server_hostname(name: str, host: Any) -> str | None:
    """``server_hostname``: a host name or an IP address, in ASCII; or None."""
    if host is None:
        return None
    if not isinstance(host, str):
        raise TypeError(f"server_hostname must be a str or None, not {type(host).__name__}.")
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:  # not an address, so it must be a name
        pass
    try:
        ascii_name = ascii_host(host).removesuffix(".")
    except ValueError as error:
        if not host.isascii():
            raise ValueError(f"server_hostname {host!r} is a name {error}.") from None
        ascii_name = ""
    if not _HOST_NAME.fullmatch(ascii_name):
        shown = _url.redact(host)  # it may be a whole URL
        raise ValueError(f"server_hostname must be a host name or an IP address, without a port, not {shown!r}.")
    return ascii_name


def check_proxy(name: str, proxy: str | bool | None) -> str | None:
    """``proxy``: a URL, ``"env"`` or True for the proxy in the environment, None or False for no proxy."""
    if isinstance(proxy, bool):
        return "env" if proxy else None
    if proxy is None or proxy == "env":
        return proxy
    if not isinstance(proxy, str):
        raise TypeError(f"proxy must be a URL, 'env', True, False or None, not {type(proxy).__name__}.")
    shown = _url.redact(proxy)
    try:
        parts = urlsplit(proxy)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        named = False
    if named:
        try:
            ascii_host(parts.hostname or "")
        except ValueError as error:
            raise ValueError(f"proxy {shown!r} has a host {error}.") from None
    if not named or parts.scheme not in _PROXY_PORTS:
        raise ValueError(f"proxy must be a URL such as 'http://host:port' or 'socks5h://host:port', not {shown!r}.")
    return proxy


def check_source_address(name: str, source: Any) -> tuple[str, int] | None:
    """``source_address``: an address, an address with a port, or None."""
    if source is None:
        return None
    host, port = source if isinstance(source, (tuple, list)) and len(source) == 2 else (source, 0)
    text = f"source_address must be an address or (address, port), not {source!r}."
    if not isinstance(host, str) or isinstance(port, bool) or not isinstance(port, int):
        raise TypeError(text)
    if not 0 <= port < 2**16:
        raise ValueError(text)
    return host, port


def check_send_queue(name: str, queue: Any) -> Queue:
    """``send_queue``: a ``Queue`` with a policy for outgoing messages."""
    return _checked_queue(name, queue, SEND_OVERFLOWS)


def check_receive_queue(name: str, queue: Any) -> Queue:
    """``receive_queue``: a ``Queue``."""
    return _checked_queue(name, queue, OVERFLOWS)


def _checked_queue(name: str, queue: Any, choices: Sequence[str]) -> Queue:
    if not isinstance(queue, Queue):
        raise TypeError(f"{name} must be a wsclient.Queue, not {queue!r}.")
    check_choice(f"{name}.overflow", queue.overflow, choices)
    return queue


def check_record(name: str, record: Any) -> Recording | None:
    """``record``: a path, a function that receives the data, a ``Recording`` or None."""
    if record is None:
        return None
    return checked_recording(record)


def check_heartbeat(name: str, heartbeat: Any) -> Heartbeat | None:
    """``heartbeat``: a ``Heartbeat`` or None."""
    if heartbeat is not None and not isinstance(heartbeat, Heartbeat):
        raise TypeError(f"{name} must be a wsclient.Heartbeat or None, not {type(heartbeat).__name__}.")
    return heartbeat


def check_quiet(name: str, quiet: Any) -> Quiet | None:
    """``quiet``: a ``Quiet``, its ``after`` in seconds, or None."""
    return quiet if quiet is None or isinstance(quiet, Quiet) else Quiet(check_seconds(name, quiet))


def check_json(name: str, codec: Any) -> Any:
    """``json``: a codec, or None. The result is an object with ``dumps`` and ``loads``, or None."""
    return checked_json(codec)


def check_protocol(name: str, protocol: Any) -> Protocol:
    """``protocol``: a ``Protocol`` that no other client uses; with None, a new ``JsonId``."""
    if protocol is None:
        return JsonId()
    if not isinstance(protocol, Protocol):
        raise TypeError(f"protocol must be a wsclient.Protocol such as JsonId(), not {protocol!r}.")
    if not isinstance(protocol.fatal_codes, AbstractSet):
        raise TypeError(f"fatal_codes of {protocol!r} must be a set of close codes, not {protocol.fatal_codes!r}.")
    if "json" in vars(protocol):
        raise ValueError("protocol serves another client already; make one for each client.")
    return protocol


def check_handlers(name: str, handlers: Any) -> dict[str, Callable[[Any], Any]]:
    """``handlers``: a mapping of methods to functions, which is copied; or None."""
    if handlers is not None and not isinstance(handlers, Mapping):
        raise TypeError(f"handlers must be a mapping of methods to functions, not {type(handlers).__name__}.")
    return dict(handlers or {})


def check_name(option: str, name: str | None) -> str:
    """``name``: a printable str; with None, a name with a new number, such as ``wsclient-1``."""
    if name is None:
        return f"wsclient-{next(_numbers)}"
    if not isinstance(name, str):
        raise TypeError(f"name must be a str or None, not {name!r}.")
    if not name.isprintable() or not name:
        raise ValueError(f"name must be a printable str, not {name!r}.")
    return name
