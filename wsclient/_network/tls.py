"""TLS on a connected socket. If the handshake fails, the socket is closed."""

from __future__ import annotations

import socket
import ssl
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from .._errors import ConnectError
from .._threads.deadline import Deadline
from .poller import READ, WRITE, Watch

if TYPE_CHECKING:
    from .options import NetworkOptions

__all__ = ["start_tls", "tls_context", "wrap_tls"]


def wrap_tls(
    sock: socket.socket, context: ssl.SSLContext, *, server_hostname: str | None = None, server_side: bool = False
) -> ssl.SSLSocket:
    """Wrap a socket in TLS, without the handshake. The socket is closed if that fails.

    Args:
        sock: a connected socket; its descriptor belongs to the returned socket afterwards.
        context: the TLS settings.
        server_hostname: on a client, the name that the server's certificate must have.
        server_side: whether this is the server.

    Raises:
        OSError: the peer has closed the connection already.
        ValueError: the context can't be used for that name.
    """
    try:
        return context.wrap_socket(
            sock, server_side=server_side, server_hostname=server_hostname, do_handshake_on_connect=False
        )
    except BaseException as error:
        _close_half_made(error, sock.fileno())
        sock.close()
        raise


def _close_half_made(error: BaseException, shared: int) -> None:
    """Close the new socket that a failed ``wrap_socket`` left open, if there is one.

    Before Python 3.13 the new socket owns the descriptor already when ``wrap_socket`` finds that the peer has reset the
    connection, and is not closed. Only the frame that raised has a reference to it.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        half_made = frame.f_locals.get("self")
        if isinstance(half_made, ssl.SSLSocket) and half_made.fileno() not in (-1, shared):
            half_made.close()


def tls_context(options: NetworkOptions) -> ssl.SSLContext:
    """The caller's context, or one that verifies and speaks TLS 1.2 or newer (RFC 8996).

    Raises:
        ConnectError: the caller's function raised, or what it returned is no context for clients.
    """
    given = options.ssl_context
    if isinstance(given, ssl.SSLContext):
        return given
    if given is not None:
        return _asked(given)
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _asked(make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    try:
        context = make()
    except Exception as error:
        raise ConnectError(f"The ssl_context function raised {type(error).__name__}: {error}", last=error) from error
    if not isinstance(context, ssl.SSLContext):
        raise ConnectError(f"The ssl_context function returned {context!r}, which is no ssl.SSLContext.", retry=False)
    if context.protocol is ssl.PROTOCOL_TLS_SERVER:
        raise ConnectError(
            "The ssl_context function returned a context for servers (PROTOCOL_TLS_SERVER); make one for clients, such "
            "as ssl.create_default_context().",
            retry=False,
        )
    return context


def start_tls(
    sock: socket.socket, host: str, context: ssl.SSLContext, watch: Watch, deadline: Deadline
) -> ssl.SSLSocket:
    """Make the TLS handshake on a connected socket. The socket is closed if that fails.

    Raises:
        OSError: the handshake failed; ``ssl.SSLError`` where TLS is the reason, ``TimeoutError`` at the deadline.
    """
    tls = wrap_tls(sock, context, server_hostname=host)
    try:
        while True:
            try:
                tls.do_handshake()
                return tls
            except ssl.SSLWantReadError:
                watch.wait(tls, READ, deadline)
            except ssl.SSLWantWriteError:
                watch.wait(tls, WRITE, deadline)
    except BaseException:
        tls.close()
        raise
