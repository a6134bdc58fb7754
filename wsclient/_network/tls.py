"""TLS on a connected socket. If TLS can't be set up, the socket is closed."""

from __future__ import annotations

import os
import socket
import ssl
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from .._errors import ConnectError
from .._threads.waiting import Deadline
from .poller import READ, WRITE, Watch

if TYPE_CHECKING:
    from .options import NetworkOptions

__all__ = ["has_authorities", "keylog_failure", "start_tls", "tls_context", "without_certificate", "wrap_tls"]


def wrap_tls(
    sock: socket.socket, context: ssl.SSLContext, *, server_hostname: str | None = None, server_side: bool = False
) -> ssl.SSLSocket:
    """Wrap a socket in TLS, without the handshake. If that fails, the socket is closed.

    Args:
        sock: a connected socket; its descriptor belongs to the returned socket afterwards.
        context: the TLS settings.
        server_hostname: on a client, the name that the server's certificate must have.
        server_side: whether this side is the server.

    Raises:
        OSError: the peer has already closed the connection.
        ValueError: the context can't be used for that name.
    """
    try:
        return context.wrap_socket(
            sock, server_side=server_side, server_hostname=server_hostname, do_handshake_on_connect=False
        )
    except BaseException as error:
        _close_leftover(error, sock.fileno())
        sock.close()
        raise


def _close_leftover(error: BaseException, shared: int) -> None:
    """Close the new socket that a failed ``wrap_socket`` left open, if there is one.

    If the peer has reset the connection, ``wrap_socket`` of Python below 3.13 raises after the new socket has taken
    over the descriptor, and leaves this socket open. Only the frame that raised has a reference to the socket.

    Args:
        error: what ``wrap_socket`` raised.
        shared: the descriptor of the original socket, which the caller closes; -1 if the new socket has taken it over.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        leftover = frame.f_locals.get("self")
        if isinstance(leftover, ssl.SSLSocket) and leftover.fileno() not in (-1, shared):  # pragma: no branch
            leftover.close()  # pragma: no cover  (Python below 3.13)


def tls_context(options: NetworkOptions) -> ssl.SSLContext:
    """The caller's context, or a default one that verifies certificates and requires TLS 1.2 or newer (RFC 8996).

    Raises:
        ConnectError: the caller's function raised an error, or returned something other than a context for clients; or
            the file of ``SSLKEYLOGFILE`` can't be opened.
    """
    given = options.ssl_context
    if isinstance(given, ssl.SSLContext):
        return given
    if given is not None:
        return _call_context_function(given)
    try:
        context = ssl.create_default_context()
    except OSError as error:
        reason = keylog_failure(error)
        if reason is None:
            raise
        raise ConnectError(f"No TLS context can be made: {reason}.", last=error, retry=False) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def keylog_failure(error: OSError) -> str | None:
    """Describe the error of ``ssl.create_default_context`` for a key log file that can't be opened.

    ``ssl`` writes the keys of connections to the file that the environment variable ``SSLKEYLOGFILE`` names, for tools
    that decrypt recorded traffic.

    Returns:
        The reason and what to do; None if the error has another cause.
    """
    path = os.environ.get("SSLKEYLOGFILE")
    if not path or error.filename != path:
        return None
    return (
        f"the environment variable SSLKEYLOGFILE names {path!r}, which can't be opened for writing "
        f"({error.strerror}); correct or unset the variable"
    )


def _call_context_function(make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    try:
        context = make()
    except Exception as error:
        reason = keylog_failure(error) if isinstance(error, OSError) else None
        text = f"The ssl_context function raised {type(error).__name__}: {reason or error}"
        raise ConnectError(text, last=error, retry=reason is None) from error
    if not isinstance(context, ssl.SSLContext):
        raise ConnectError(
            f"The ssl_context function returned {_kind(context)}, which is not an ssl.SSLContext.", retry=False
        )
    if context.protocol is ssl.PROTOCOL_TLS_SERVER:
        raise ConnectError(
            "The ssl_context function returned a context for servers (PROTOCOL_TLS_SERVER); make one for clients, such "
            "as ssl.create_default_context().",
            retry=False,
        )
    return context


def _kind(value: object) -> str:
    """The type of a wrong value, for an error text. The value itself may contain the password of a key."""
    return "None" if value is None else f"an object of type {type(value).__name__}"


def has_authorities(context: ssl.SSLContext) -> bool:
    """Whether a context has loaded trusted certificates, of CAs or of single servers. The result is also False for a
    context that can't list them. Example: a context of truststore, which asks the operating system.
    """
    try:
        return bool(context.cert_store_stats()["x509"])
    except NotImplementedError:
        return False


def without_certificate(context: ssl.SSLContext, *, had_authorities: bool) -> ssl.SSLContext:
    """A context like the caller's, but without a client certificate, for proxies and for other origins.

    ``ssl`` can't copy a context, and does not show whether a context has a client certificate. So this function makes a
    new context, and copies the authorities (CAs), the verification, the TLS versions and the ciphers to it.

    Args:
        context: the caller's context.
        had_authorities: whether the context had loaded authorities before its first handshake. If not, it probably uses
            a folder (``capath``); ``ssl`` lists the authorities of a folder only after their use. Many systems store
            their own authorities in a folder, so the caller's folder is probably the system's. In this case the new
            context trusts the system's authorities.

    Raises:
        ConnectError: the settings can't be copied.
    """
    try:
        twin = type(context)(ssl.PROTOCOL_TLS_CLIENT)  # not always ssl.SSLContext: truststore has a subclass
        twin.check_hostname = False  # otherwise verify_mode can't be set to CERT_NONE
        twin.verify_mode = context.verify_mode
        twin.check_hostname = context.check_hostname
        twin.verify_flags = context.verify_flags
        twin.options |= context.options
        if twin.minimum_version != context.minimum_version:
            twin.minimum_version = context.minimum_version
        if twin.maximum_version != context.maximum_version:
            twin.maximum_version = context.maximum_version
        ciphers = [cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"]
        if ciphers:  # pragma: no branch  (OpenSSL refuses to remove the last one)
            twin.set_ciphers(":".join([*ciphers, f"@SECLEVEL={context.security_level}"]))
        if context.keylog_filename:
            twin.keylog_filename = context.keylog_filename
        try:
            authorities = b"".join(context.get_ca_certs(binary_form=True))
        except NotImplementedError:  # as in `has_authorities`
            authorities = b""
        if authorities:
            twin.load_verify_locations(cadata=authorities)
        if not had_authorities and context.verify_mode is not ssl.CERT_NONE:
            twin.load_default_certs()
    except Exception as error:
        raise ConnectError(
            "Only the server of url= may get the client certificate of ssl_context=, and a context without it could "
            f"not be made for a proxy or another origin: {type(error).__name__}: {error}",
            last=error,
            retry=False,
        ) from error
    return twin


def start_tls(
    sock: socket.socket, host: str, context: ssl.SSLContext, watch: Watch, deadline: Deadline
) -> ssl.SSLSocket:
    """Make the TLS handshake on a connected socket. If it fails, the socket is closed.

    Raises:
        OSError: the handshake failed; ``ssl.SSLError`` if TLS is the reason, ``TimeoutError`` at the deadline.
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
