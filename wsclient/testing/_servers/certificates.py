"""Certificates for servers on loopback, and contexts that trust them.

Each server with ``tls=True`` makes one certificate, and keeps it when it restarts. No certificate is kept in a file.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Final

__all__ = ["Certificate", "certificate_for"]

_LOCALHOST: Final = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0", "::", ""})  # noqa: S104 - compared, not bound
"""Addresses to listen on. If a server listens on one of them, clients can connect to it as ``localhost``."""


@dataclass(frozen=True)
class Certificate:
    """The contexts for both ends of a TLS connection.

    Attributes:
        server_context: the server's context.
        client_context: a context that trusts only this server; None if the user gave the server's context.
    """

    server_context: ssl.SSLContext
    client_context: ssl.SSLContext | None = None


def certificate_for(tls: bool | ssl.SSLContext | None, host: str) -> Certificate | None:
    """Evaluate the option ``tls=`` of a server.

    Args:
        tls: True to make a certificate for ``localhost``, ``127.0.0.1``, ``::1`` and the host (with trustme); a context
            of the user; False or None for no TLS.
        host: the address the server listens on.

    Returns:
        The contexts; None for no TLS.

    Raises:
        TypeError: ``tls`` is none of these.
    """
    if tls is None or tls is False:
        return None
    if isinstance(tls, ssl.SSLContext):
        return Certificate(tls)
    if tls is not True:
        raise TypeError(f"tls must be True, False or an ssl.SSLContext for servers, not {tls!r}.")
    import trustme  # slow to import, and needed only here

    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*sorted({"localhost", "127.0.0.1", "::1", host or "localhost"})).configure_cert(server_context)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client_context)
    return Certificate(server_context, client_context)


def client_context_of(certificate: Certificate | None) -> ssl.SSLContext:
    """The context for clients of a server.

    Raises:
        AttributeError: the server does not use TLS, or uses a context of the user.
    """
    if certificate is None:
        raise AttributeError("This server has no client_context, as it does not use TLS; construct it with tls=True.")
    if certificate.client_context is None:
        raise AttributeError(
            "This server has no client_context, as it uses the SSLContext that was passed as tls=; tls=True makes both."
        )
    return certificate.client_context


def url_of(host: str, port: int, certificate: Certificate | None) -> str:
    """The URL of a server. With TLS its host is ``localhost`` if the server listens there: most certificates for tests
    are made for this name. The empty host, which means all addresses of IPv4, is ``127.0.0.1`` without TLS.
    """
    if certificate is not None and host in _LOCALHOST:
        host = "localhost"
    host = host or "127.0.0.1"
    scheme = "ws" if certificate is None else "wss"
    return f"{scheme}://[{host}]:{port}/" if ":" in host else f"{scheme}://{host}:{port}/"
