"""The likely cause of each way in which a connection may fail, as a sentence. Pure."""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from .._errors import HandshakeError, printable

if TYPE_CHECKING:
    from .certificates import Certificate

__all__ = [
    "Sent",
    "of_certificate",
    "of_close",
    "of_lookup",
    "of_proxy",
    "of_refusal",
    "of_tcp",
    "of_tls",
    "of_unanswered_upgrade",
]

_HTML: Final = re.compile(rb"\s*(<!doctype html|<html)", re.IGNORECASE)
_PROXY_STATUS: Final = re.compile(r"\bHTTP (\d{3})\b")

_STATUS: Final = {
    400: "the server does not accept the request as a WebSocket upgrade: a proxy in between removes its Upgrade header,"
    " or the server expects a query parameter, a --subprotocol, an --origin or another Host.",
    405: "this path is an HTTP endpoint that accepts other methods; check the path of the URL.",
    408: "the server waited too long for the request; the network or a proxy in between is slow.",
    410: "the endpoint was removed; check the path of the URL.",
    421: "the server does not serve this host name; check the host of the URL and --server-name.",
    429: "the server limits the rate or the number of connections; wait, and open fewer of them.",
    500: "the server's own code failed while it answered the upgrade; its log says more.",
    501: "the server, or a proxy in between, does not support the WebSocket upgrade.",
    502: "a proxy in front of the server answered: it can't reach the server behind it, or got no valid answer.",
    503: "the server is overloaded or in maintenance, or a load balancer has no working server behind it.",
    504: "a proxy in front of the server answered: the server behind it did not answer in time.",
    505: "a proxy in front of the server passes the request on with HTTP/1.0; let it use HTTP/1.1 (in nginx:"
    " proxy_http_version 1.1), with the headers Upgrade and Connection.",
}
"""The likely cause for each HTTP status whose cause does not depend on other parts of the request or the answer."""

_UNREACHABLE: Final = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL)

_ALERTS: Final = {
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the server has no cipher in common with this client, or requires a client"
    " certificate (--cert, --key), or does not know the host name.",
    "TLSV1_UNRECOGNIZED_NAME": "the server has no certificate for this host name; check the host and --server-name.",
    **dict.fromkeys(
        ("TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "WRONG_SSL_VERSION", "NO_PROTOCOLS_AVAILABLE"),
        "the two sides have no TLS version in common; the server may only support versions before TLS 1.2.",
    ),
    **dict.fromkeys(
        (
            "TLSV13_ALERT_CERTIFICATE_REQUIRED",
            "TLSV1_ALERT_UNKNOWN_CA",
            "TLSV1_ALERT_ACCESS_DENIED",
            "SSLV3_ALERT_BAD_CERTIFICATE",
            "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
            "SSLV3_ALERT_CERTIFICATE_REVOKED",
            "SSLV3_ALERT_CERTIFICATE_EXPIRED",
            "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        ),
        "the server requires a client certificate that it trusts; pass one with --cert and --key.",
    ),
}
"""The cause for each reason of OpenSSL (https://docs.python.org/3/library/ssl.html#ssl.SSLError.reason)."""

_CLOSES: Final = {
    1002: "the server says that the client violated the protocol; a proxy in between may change the frames.",
    1008: "the server refuses this client by its policy: mostly a missing or wrong token, or the Origin.",
    1011: "the server's own code failed; its log says more.",
    1012: "the server restarts.",
    1013: "the server is overloaded; try again later.",
}
"""The cause for each code of a close frame (RFC 6455 §7.4.1 and the IANA registry)."""


@dataclass(frozen=True)
class Sent:
    """The parts of the upgrade request that may be the cause of a refusal.

    Attributes:
        path: of the URL.
        has_credentials: whether it had a header or a parameter of the query that looks like a secret.
        origin: its ``Origin`` header, or None.
    """

    path: str
    has_credentials: bool
    origin: str | None


# --- before the upgrade -----------------------------------------------------------------------------------------------


def of_lookup(error: BaseException, host: str) -> str:
    """The cause if a name was not found."""
    if isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN:
        return f"there is no such name; check the spelling of {host!r}, or whether it exists only in a VPN."
    return "the name servers of this system can't be reached or answer too slowly; check the network connection."


def of_tcp(errors: Sequence[OSError]) -> str:
    """The cause if no address accepted a connection."""
    if any(isinstance(error, ConnectionRefusedError) for error in errors):
        return "no program listens on this port; the server is not running, or the port is wrong."
    if any(isinstance(error, TimeoutError) for error in errors):
        return "a firewall drops the packets, the host is down, or the address is wrong."
    if any(error.errno in _UNREACHABLE for error in errors):
        return "this machine has no route to the host; check the network connection, which may lack IPv6."
    if any(isinstance(error, FileNotFoundError) for error in errors):
        return "there is no such socket; the server is not running, or the path is wrong."
    return ""


def of_proxy(error: BaseException, sentence: str) -> str:
    """The cause if the proxy opened no tunnel.

    Args:
        error: the error that caused the ``ProxyError``.
        sentence: the text of the ``ProxyError``.
    """
    found = _PROXY_STATUS.search(sentence)
    status = int(found[1]) if found else 0
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return "the proxy needs a user and a password: --proxy http://USER:PASS@HOST:PORT."
    if status in (HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED):
        return "the rules of the proxy forbid this host or port."
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "the proxy can't reach the server."
    if isinstance(error, TimeoutError):
        return "the proxy can't reach the server, or is another kind of proxy than the scheme of its URL says."
    return (
        "the proxy is another kind of proxy than the scheme of its URL says, or does not permit this server;"
        " --proxy none connects directly."
    )


def of_tls(error: OSError, *, answers_http: bool) -> str:
    """The cause if the TLS handshake failed, except for a refused certificate.

    Args:
        error: the error.
        answers_http: whether the port answers HTTP without TLS.
    """
    if answers_http:
        return "the port does not use TLS but answers plain HTTP; use ws:// instead of wss://."
    if isinstance(error, TimeoutError):
        return "the port does not use TLS and waits for other data, or the server is overloaded."
    if isinstance(error, ssl.SSLError) and error.reason in _ALERTS:
        return _ALERTS[error.reason]
    return "the port does not use TLS, or a firewall or proxy in between interrupts TLS."


def of_certificate(code: int, host: str, chain: Sequence[Certificate]) -> str:
    """The cause if this client refused the server's certificate.

    Args:
        code: OpenSSL's verify code (``openssl verify``).
        host: the name it had to be valid for.
        chain: the certificates that the server sent, its own first.
    """
    if not chain:
        return ""
    leaf, last = chain[0], chain[-1]
    now = datetime.now(timezone.utc)
    if code in (62, 64):
        names = ", ".join(leaf.names) or "no name at all"
        return f"the certificate does not match {host!r}: it is valid for {names}; correct the URL, or --server-name."
    if code == 10:
        ended = next((one for one in chain if one.not_after < now), leaf)
        which = _which(ended, leaf)
        return f"{which} expired on {ended.not_after:%Y-%m-%d}; renew it, or correct the clock of this machine."
    if code == 9:
        early = next((one for one in chain if one.not_before > now), leaf)
        return (
            f"{_which(early, leaf)} is not valid before {early.not_before:%Y-%m-%d}; check the clock of this machine."
        )
    if code == 18 or (len(chain) == 1 and leaf.is_self_signed):
        return f"the certificate of {leaf.subject!r} is self-signed; pass it with --ca FILE if it is the right one."
    if code == 19:
        return f"the root CA {last.subject!r} is not trusted here; pass its certificate with --ca FILE."
    if code in (2, 20, 21):
        return (
            f"the CA {last.issuer!r} is missing here; pass its certificate with --ca FILE or, if it is an intermediate"
            " CA, let the server send its whole chain."
        )
    return ""


def _which(certificate: Certificate, leaf: Certificate) -> str:
    return "the certificate" if certificate is leaf else f"the CA certificate {certificate.subject!r}"


# --- the upgrade ------------------------------------------------------------------------------------------------------


def of_refusal(refusal: HandshakeError, sent: Sent, *, speaks_tls: bool) -> str:
    """The cause if the answer to the upgrade is not a valid 101.

    Args:
        refusal: the error with the answer.
        sent: what was sent.
        speaks_tls: whether the port of a ``ws`` URL accepts TLS.
    """
    status, headers = refusal.status, refusal.headers
    if speaks_tls:
        return "the port uses TLS; use wss:// instead of ws://."
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return _of_forbidden(status, headers, sent)
    if status == HTTPStatus.NOT_FOUND:
        return f"there is no WebSocket endpoint at the path {printable(sent.path)!r}; check the path of the URL."
    if status == HTTPStatus.UPGRADE_REQUIRED:
        return _of_upgrade_required(headers)
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE) and "Retry-After" in headers:
        return f"{_STATUS[status][:-1]} (Retry-After: {printable(headers['Retry-After'], 40)})."
    if 300 <= status < 400:
        return "the redirect can't be followed; give the URL that it should lead to."
    if status == HTTPStatus.SWITCHING_PROTOCOLS and "subprotocol" in str(refusal):
        return "the server supports other subprotocols; name one of them with --subprotocol."
    if status == HTTPStatus.SWITCHING_PROTOCOLS:
        return "the server, or a proxy in between, does not implement RFC 6455 correctly."
    if 200 <= status < 300:
        page = "with an HTML page" if _is_html(refusal) else f"like an HTTP server ({status})"
        return (
            f"this is not a WebSocket endpoint: it answers {page}; check the path, and whether a proxy removes Upgrade."
        )
    if status == 0:
        return "the port belongs to another protocol than HTTP; check the port of the URL."
    return _STATUS.get(status, "")


def of_unanswered_upgrade(error: BaseException, *, speaks_tls: bool) -> str:
    """The cause if the upgrade was not answered at all."""
    if speaks_tls:
        return "the port uses TLS; use wss:// instead of ws://."
    if isinstance(error, TimeoutError):
        return "the server accepted the connection but did not answer the upgrade: it hangs, or expects no HTTP here."
    return "the server closed the connection instead of answering: it expects no HTTP here, or refuses this client."


def of_close(code: int | None) -> str:
    """The cause if the server ended a connection that it had just accepted."""
    if code is None:
        return "the server, or a proxy in between, cut the connection without a close frame."
    if code >= 4000:
        return f"the code {code} is one of the application's own codes, often for a wrong token; see its documentation."
    return _CLOSES.get(code, "")


def _of_forbidden(status: int, headers: Mapping[str, str], sent: Sent) -> str:
    if status == HTTPStatus.UNAUTHORIZED:
        asked = headers.get("WWW-Authenticate", "").split(" ")[0]
        scheme = f" (it asks for {printable(asked, 40)})" if asked else ""
        if sent.has_credentials:
            return f"the token or the password is wrong or has expired{scheme}."
        return f"the server wants credentials{scheme}: --auth USER:PASS, --token-cmd CMD or -H 'Authorization: ...'."
    token = "the token has no right to connect" if sent.has_credentials else "a token is missing"
    origin = "no Origin was sent (--origin)" if sent.origin is None else f"the Origin {sent.origin!r} is not allowed"
    return f"{token}, or {origin}."


def _of_upgrade_required(headers: Mapping[str, str]) -> str:
    versions = headers.get("Sec-WebSocket-Version")
    if versions and "13" not in versions:
        return f"the server supports only the version {printable(versions, 40)} of the protocol, not 13 (RFC 6455)."
    return "a proxy in between removes the Upgrade header; let it pass Upgrade and Connection on, with HTTP/1.1."


def _is_html(refusal: HandshakeError) -> bool:
    return "html" in refusal.headers.get("Content-Type", "").lower() or _HTML.match(refusal.body) is not None
