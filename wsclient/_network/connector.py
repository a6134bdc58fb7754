"""From a URL to a socket on which the server has accepted the WebSocket upgrade: proxy, TCP, TLS, HTTP, redirects.

One deadline (``open_timeout``) covers all steps, name look-ups included. A command to close ends the attempt at once.
"""

from __future__ import annotations

import http
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from .._errors import ConnectError, HandshakeError, ProxyError, printable, text_of
from .._rfc6455 import handshake, http11
from .._rfc6455 import url as _url
from .._threads.waiting import Deadline
from .._threads.wakeup import close_socket
from . import dial, tls, tls_errors
from . import proxy as _proxy
from .lookup import Lookups
from .nested_tls import start_nested_tls
from .transport import TLSTransport, Transport, abort, make_transport

if TYPE_CHECKING:
    from .._rfc6455.deflate import Agreement, Deflate
    from .._rfc6455.http11 import Headers, Response
    from .._rfc6455.url import Target
    from .options import NetworkOptions
    from .poller import Watch

__all__ = ["Connector", "UpgradedConnection"]

_BODY_TIMEOUT: Final = 1.0
"""Seconds to wait for the rest of the body of an error response."""

_SHOWN_URL: Final = 500
"""Characters after which a URL in an error text is cut; the URL of a redirect may have 64 KiB."""

_PIECE: Final = 16 * 1024


class UpgradedConnection(NamedTuple):
    """A connection that has just been upgraded.

    Attributes:
        transport: the transport of the open connection.
        target: the server, after redirects.
        subprotocol: the subprotocol that the server accepted, or None.
        headers: the server's response headers.
        rest: bytes that followed the headers; they belong to frames.
        agreement: how messages are compressed; None if they are not.
        tls_version, cipher: version and cipher suite of the TLS connection to the server; None without TLS.
    """

    transport: Transport
    target: Target
    subprotocol: str | None
    headers: Headers
    rest: bytes
    agreement: Agreement | None = None
    tls_version: str | None = None
    cipher: str | None = None

    def __repr__(self) -> str:
        return f"<UpgradedConnection {self.target!r}>"  # a subprotocol may be a secret token


class Connector:
    """Opens the connections of one client. Only the I/O thread may use it, except ``abort``.

    Attributes:
        sock: the socket of the connection that is being opened, or was opened last. A forked child closes its copy of
            it.
    """

    __slots__ = ("_bare", "_compression", "_context", "_given", "_had_authorities", "_has_left_origin", "_lookups",
                 "_options", "_sends_secret", "_subprotocols", "_watch", "sock")  # fmt: skip

    def __init__(
        self,
        options: NetworkOptions,
        subprotocols: Sequence[str],
        watch: Watch,
        compression: Deflate | None = None,
        name: str = "wsclient",
        *,
        sends_secret: bool = False,
    ) -> None:
        """
        Args:
            options: time-outs, TLS, proxy, source address, limits.
            subprotocols: the subprotocols to offer, in this order.
            watch: waits for sockets.
            compression: the compression to offer; None for none.
            name: the client's name.
            sends_secret: whether the message protocol sends a secret on each connection, so that no redirect to another
                origin is followed.
        """
        self._options = options
        self._compression = compression
        self._given = options.sock  # a socket given by the caller is used for one connection
        self._subprotocols = subprotocols
        self._sends_secret = sends_secret
        self._watch = watch
        self._lookups = Lookups(watch, name)
        self.sock: socket.socket | None = None
        self._context: ssl.SSLContext | None = None  # created for the first wss URL: it loads all CAs of the system
        self._bare: ssl.SSLContext | None = None  # `_context` without a client certificate; None until needed
        self._had_authorities = False  # the argument of `without_certificate`
        self._has_left_origin = False  # whether a redirect has led to another origin, even if a later one leads back

    def close(self) -> None:
        """Close the socket given as ``sock=`` if no connection has used it. No connection is opened afterwards."""
        if isinstance(self._given, socket.socket):
            close_socket(self._given)

    def abort(self) -> None:
        """Abort the connection that is being opened, or was opened last. Thread-safe."""
        sock = self.sock
        if sock is not None:
            abort(sock)

    def open(self, url: str, headers: Mapping[str, str]) -> UpgradedConnection:
        """Open a connection.

        Args:
            url: the server.
            headers: the caller's headers, already checked.

        Raises:
            ConnectError: the connection could not be opened; its class and text say why.
        """
        target = _url.parse(url)
        if callable(self._options.ssl_context):
            self._context = self._bare = None  # the function is called again for each attempt
        self._has_left_origin = False
        deadline: Deadline | None = None
        most = self._options.limits.max_redirects
        for _ in range(most + 1):
            try:
                if target.secure and not isinstance(self._given, ssl.SSLSocket):
                    self._server_tls()  # before a socket is opened, since the caller's function may fail
                if deadline is None:
                    deadline = Deadline.after(self._options.open_timeout, time.monotonic())
                proxy = self._proxy_for(target, deadline)
                if proxy is not None and proxy.scheme == "https":
                    self._bare_tls()  # before a socket is opened, too
                addresses = self._look_up(target, proxy, deadline)
                outcome = self._try(target, headers, addresses, proxy, deadline)
            except OSError as error:
                if isinstance(error, ConnectError):
                    raise
                raise self._explain(error, target) from error
            if isinstance(outcome, UpgradedConnection):
                return outcome
            response = outcome
            target, headers = self._follow(target, headers, response)
        raise HandshakeError(
            f"The server redirected more than {most} times.", status=response.status, headers=response.headers
        )

    def _follow(
        self, target: Target, headers: Mapping[str, str], response: Response
    ) -> tuple[Target, Mapping[str, str]]:
        """Return the target of a redirect, and the headers to send there.

        None of the caller's headers is sent to another origin, since any header may contain a secret. User and password
        of the URL are not sent there either, nor is a client certificate. If the message protocol would send a secret
        there, or a subprotocol may be one, the redirect is not followed.
        """
        try:
            found = _url.redirected(target, _as_text(response.headers.get_all("Location")[0]))
            stays = found.origin == target.origin
            if not stays and any(map(handshake.may_be_secret, self._subprotocols)):
                raise ValueError(
                    "It leads to another origin, and one of subprotocols= is so long that it may be a secret."
                )
            if not stays and self._sends_secret:
                raise ValueError(
                    "It leads to another origin, and the protocol would send its token or password there; give the URL "
                    "of that server if you trust it."
                )
            if isinstance(self._options.sock, socket.socket) or (self._options.sock is not None and not stays):
                raise ValueError("The socket given as sock= is connected to one server only.")
        except ValueError as error:
            raise HandshakeError(
                f"The server sent a redirect that this client does not follow. {text_of(error, _SHOWN_URL)}",
                status=response.status,
                headers=response.headers,
                retry=False,
            ) from error
        self._has_left_origin |= not stays
        return found, headers if stays else {}

    def _needs_address(self, target: Target) -> bool:
        return self._options.sock is None and target.path is None

    def _proxy_for(self, target: Target, deadline: Deadline) -> _proxy.Proxy | None:
        option = self._options.proxy
        if not self._needs_address(target):
            return None
        if option != "env" or not _proxy.environment_may_have_proxy():
            return _proxy.choose(option, target)
        try:  # Windows and macOS look up the target's name
            return self._lookups.run(("proxy", target.origin), partial(_proxy.choose, option, target), deadline)
        except TimeoutError as error:
            raise ProxyError(
                f"The system did not report within open_timeout whether {target.host!r} needs a proxy: it looks up "
                "this name, and the name servers answer too slowly or not at all. proxy=None uses no proxy.",
                last=error,
            ) from error

    def _look_up(self, target: Target, proxy: _proxy.Proxy | None, deadline: Deadline) -> list[dial.Address]:
        if not self._needs_address(target):
            return []
        if proxy is None:
            return dial.resolve(target.host, target.port, self._lookups, deadline)
        try:
            return dial.resolve(proxy.host, proxy.port, self._lookups, deadline)
        except ConnectError as error:
            raise ProxyError(f"The proxy can't be found. {error}", last=error.last) from error

    def _try(
        self,
        target: Target,
        headers: Mapping[str, str],
        addresses: list[dial.Address],
        proxy: _proxy.Proxy | None,
        deadline: Deadline,
    ) -> UpgradedConnection | Response:
        """Return the opened connection, or the response that redirects it."""
        transport = self._open_transport(target, addresses, proxy, deadline)
        try:
            key = handshake.new_key()
            request = handshake.build_request(target, key, headers, self._subprotocols, self._compression)
            response = self._exchange(transport, request, deadline)
            if response.status in handshake.REDIRECTS and "Location" in response.headers:
                transport.close()
                return response
            if response.status != http.HTTPStatus.SWITCHING_PROTOCOLS:
                self._read_body(transport, response, deadline)
            subprotocol = handshake.check_upgrade(response, key, self._subprotocols)
            agreement = handshake.check_extensions(response, self._compression)
        except BaseException:
            transport.close()
            raise
        # A `ws` connection through a proxy has no TLS to the server, although it may have TLS to the proxy.
        to_server = target.secure or proxy is None
        tls_version, cipher = transport.encryption() if to_server else (None, None)
        return UpgradedConnection(
            transport, target, subprotocol, response.headers, response.rest, agreement, tls_version, cipher
        )

    def _open_transport(
        self, target: Target, addresses: list[dial.Address], proxy: _proxy.Proxy | None, deadline: Deadline
    ) -> Transport:
        try:
            self.sock = sock = self._connect(target, addresses, deadline)
            if proxy is not None and proxy.scheme == "https":
                self.sock = sock = tls.start_tls(sock, proxy.host, self._bare_tls(), self._watch, deadline)
        except OSError as error:
            if proxy is None or isinstance(error, ConnectError):
                raise
            raise ProxyError(
                f"The proxy {proxy!r} can't be reached: {_reason(error)}.",
                last=error,
                retry=not tls_errors.is_fatal(error),
            ) from error
        transport = make_transport(sock)
        try:
            if proxy is not None:
                self._tunnel(transport, proxy, target, deadline)
            if target.secure and not isinstance(sock, ssl.SSLSocket):
                # `start_tls` moves the descriptor to a new TLS socket, and waits for that socket during the handshake.
                # A forked child closes it too: `Supervisor.sockets` contains the sockets of the last wait.
                self.sock = None
                transport = TLSTransport(
                    tls.start_tls(sock, self._name(target), self._server_tls(), self._watch, deadline)
                )
            elif isinstance(sock, ssl.SSLSocket) and target.secure and proxy is not None:
                transport = start_nested_tls(sock, self._name(target), self._server_tls(), self._watch, deadline)
        except BaseException:
            transport.close()
            raise
        self.sock = transport.sock
        return transport

    def _connect(self, target: Target, addresses: list[dial.Address], deadline: Deadline) -> socket.socket:
        options = self._options
        if options.sock is not None:
            return self._prepared()
        if target.path is not None:
            return dial.connect_unix(target.path, self._watch, deadline)
        return dial.connect(
            addresses, options.source_address, self._watch, deadline, options.limits.attempt_delay
        )  # fmt: skip

    def _prepared(self) -> socket.socket:
        """Return the connected socket that the caller provides."""
        given = self._given
        if isinstance(given, socket.socket):
            self._given = None
            sock = given
        elif given is None:
            raise ConnectError(
                "The socket given as sock= was already used for a connection; pass a function as sock= that returns a "
                "socket for each connection.",
                retry=False,
            )
        else:
            sock = _call_sock_function(given)
        try:
            sock.getpeername()
            sock.setblocking(False)
        except OSError as error:
            close_socket(sock)
            raise ConnectError(f"The socket given as sock= is not connected: {_reason(error)}.", last=error) from error
        return sock

    def _tunnel(self, transport: Transport, proxy: _proxy.Proxy, target: Target, deadline: Deadline) -> None:
        try:
            _proxy.open_tunnel(transport, proxy, target, self._watch, deadline, self._lookups, self._options.limits)
        except OSError as error:
            if isinstance(error, (ConnectError, socket.gaierror)):  # with socks4 and socks5 the client looks up names
                raise
            raise ProxyError(f"The proxy {proxy!r} opened no tunnel: {_reason(error)}.", last=error) from error

    def _tls(self) -> ssl.SSLContext:
        """The context for the origin of the client's URL."""
        if self._context is None:
            context = tls.tls_context(self._options)
            self._had_authorities = tls.has_authorities(context)
            self._context = context
        return self._context

    def _bare_tls(self) -> ssl.SSLContext:
        """The context for proxies and other origins: it has no client certificate."""
        context = self._tls()
        # With `ssl_ca=`, both options are the same context; by default, both are None. In these two cases this package
        # has made the context, so it has no client certificate.
        if self._options.ssl_context is self._options.ssl_ca:
            return context
        if self._bare is None:
            self._bare = tls.without_certificate(context, had_authorities=self._had_authorities)
        return self._bare

    def _server_tls(self) -> ssl.SSLContext:
        """The context for the target."""
        return self._bare_tls() if self._has_left_origin else self._tls()

    def _name(self, target: Target) -> str:
        """The name that the server's certificate must be valid for."""
        return self._options.server_hostname or target.tls_name

    def _exchange(self, transport: Transport, request: bytes, deadline: Deadline) -> Response:
        try:
            self._send(transport, request, deadline)
        except TimeoutError:
            raise
        except OSError as error:  # a server may respond and reset the connection before it reads the whole request
            try:
                return self._receive_head(transport, deadline)
            except OSError as answer:
                raise (answer if isinstance(answer, (ssl.SSLError, HandshakeError)) else error) from None
        return self._receive_head(transport, deadline)

    def _send(self, transport: Transport, request: bytes, deadline: Deadline) -> None:
        rest = memoryview(request)
        while rest:
            sent = transport.send(rest)
            if not sent:
                self._watch.wait(transport.sock, transport.write_event, deadline)
            rest = rest[sent:]

    def _receive_head(self, transport: Transport, deadline: Deadline) -> Response:
        reader = http11.ResponseReader("The server", self._options.limits)
        while True:
            data = transport.receive(_PIECE)
            if data is None:
                self._watch.wait(transport.sock, transport.read_event, deadline)
                continue
            if not data:
                raise ConnectionError("the server closed the connection instead of answering the upgrade")
            response = reader.feed(data)
            if response is not None:
                return response

    def _read_body(self, transport: Transport, response: Response, deadline: Deadline) -> None:
        """Read the body of an error response, for at most ``_BODY_TIMEOUT`` seconds."""
        soon = Deadline.after(_BODY_TIMEOUT, time.monotonic()).sooner(deadline)
        try:
            while not response.body_is_whole():
                data = transport.receive(_PIECE)
                if data is None:
                    self._watch.wait(transport.sock, transport.read_event, soon)
                elif data:
                    response.rest += data
                else:
                    return
        except OSError:
            return  # an incomplete body is not reported: the error with the status follows

    def _explain(self, error: OSError, target: Target) -> ConnectError:
        where = printable(_url.redact(target.url), _SHOWN_URL)  # after a redirect the URL is a text of the server
        if isinstance(error, ssl.SSLError):
            refusal = tls_errors.explain(error, where, self._options.server_hostname or target.host, self._tls())
            if refusal is not None:
                return refusal
        if isinstance(error, TimeoutError):
            return ConnectError(
                f"The connection to {where} was not open within {self._options.open_timeout:g} s.", last=error
            )
        return ConnectError(f"Could not connect to {where}: {_reason(error)}.", last=error)


def _call_sock_function(give: Callable[[], socket.socket]) -> socket.socket:
    try:
        sock = give()
    except Exception as error:
        raise ConnectError(f"The sock function raised {type(error).__name__}: {text_of(error)}", last=error) from error
    if not isinstance(sock, socket.socket):
        raise ConnectError(f"The sock function returned {sock!r}, which is not a socket.", retry=False)
    return sock


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "it took too long"
    return (error.strerror or str(error) or type(error).__name__).rstrip(".")


def _as_text(value: str) -> str:
    """Decode a header value as UTF-8, the encoding in which servers send a ``Location`` that is not ASCII."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value
