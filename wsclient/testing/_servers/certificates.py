"""Certificates for a server on loopback, and contexts that trust them. Made anew for each server; nothing is stored."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

__all__ = ["Certificate", "certificate_for"]


@dataclass(frozen=True)
class Certificate:
    """What the two ends of a TLS connection need.

    Attributes:
        server_context: for the server.
        client_context: trusts the server and nobody else; None where the server's context was given by the user.
    """

    server_context: ssl.SSLContext
    client_context: ssl.SSLContext | None = None


def certificate_for(tls: bool | ssl.SSLContext | None, host: str) -> Certificate | None:
    """What a server's ``tls=`` asks for; None for no TLS.

    Args:
        tls: True makes a certificate for ``localhost``, ``127.0.0.1``, ``::1`` and the host (with trustme).
        host: the address the server listens at.

    Raises:
        TypeError: it is none of these.
    """
    if tls is None or tls is False:
        return None
    if isinstance(tls, ssl.SSLContext):
        return Certificate(tls)
    if tls is not True:
        raise TypeError(f"tls must be True, False or an ssl.SSLContext for servers, not {tls!r}.")
    import trustme  # heavy, and needed for this alone

    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*sorted({"localhost", "127.0.0.1", "::1", host})).configure_cert(server_context)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client_context)
    return Certificate(server_context, client_context)


def client_context_of(certificate: Certificate | None) -> ssl.SSLContext:
    """The context for clients of a server.

    Raises:
        AttributeError: the server speaks no TLS, or with a certificate that isn't ours.
    """
    if certificate is None:
        raise AttributeError("This server speaks no TLS, so there is no client_context; construct it with tls=True.")
    if certificate.client_context is None:
        raise AttributeError(
            "This server was given an SSLContext of your own; only you know which client trusts it. "
            "tls=True makes both."
        )
    return certificate.client_context


def url_of(host: str, port: int, certificate: Certificate | None) -> str:
    """The URL of a server. Over TLS it names ``localhost``, which most certificates for tests are made for."""
    if certificate is not None:
        return f"wss://localhost:{port}/"
    return f"ws://[{host}]:{port}/" if ":" in host else f"ws://{host}:{port}/"
