"""Descriptions of TLS errors, and whether another attempt may succeed. Pure functions."""

from __future__ import annotations

import ssl
from typing import Final

from .._errors import TLSError

__all__ = ["explain", "is_fatal"]

_UNKNOWN_AUTHORITY: Final = (
    "its authority is not trusted here; make the server send its whole chain, or, if the authority is a private one,"
    " pass its certificate as ssl_ca= or load it into ssl_context="
)
# The keys are OpenSSL's verify codes. All these errors are fatal: the certificate must be replaced, or the client must
# trust it.
_REFUSED_CERTIFICATES: Final = {
    9: "it is not valid yet; check the clock of this machine, then the clock of the machine that issued it",
    10: "it or a certificate of its chain has expired; check the clock of this machine, then renew the certificate",
    18: "it is self-signed; to trust it, pass it as ssl_ca= or load it into ssl_context=",
    19: "its chain ends in the self-signed certificate of an authority that is not trusted here; to trust that"
    " certificate, pass it as ssl_ca= or load it into ssl_context=",
    62: "it is not valid for {host!r}; use a name in the URL that the certificate is valid for, or issue a certificate"
    " that contains this name",
    64: "it is not valid for {host!r}; use a host name in the URL that the certificate is valid for, or issue a"
    " certificate that contains this address",
    **dict.fromkeys((2, 20, 21), _UNKNOWN_AUTHORITY),
}

# OpenSSL's reasons if both sides use TLS, but have no version in common. Fatal: a restart of the server has no effect.
_NO_COMMON_VERSION: Final = frozenset({
    "TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "WRONG_SSL_VERSION", "NO_PROTOCOLS_AVAILABLE",
})  # fmt: skip

_NO_TLS: Final = (
    "answered with something that is not TLS; if this happens at every attempt, the scheme or the port is wrong"
)
_NO_CIPHER: Final = (
    "has no TLS cipher in common with this client; allow another cipher on the server, or in ssl_context="
)
_OUR_CERTIFICATE: Final = (
    "requires a client certificate that the server trusts; load one into ssl_context= (load_cert_chain)"
)
# OpenSSL's reasons for a failed handshake with a peer that uses TLS differently, or not at all. Another attempt is
# made, since a load balancer that is restarting may cause the same errors.
_NO_COMMON_TLS: Final = {
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "refused the TLS handshake: there is no cipher in common, or it requires a"
    " client certificate; load one into ssl_context= (load_cert_chain)",
    **dict.fromkeys((
        "WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE",
    ), _NO_TLS),
    **dict.fromkeys(("NO_CIPHERS_AVAILABLE", "TLSV1_ALERT_INSUFFICIENT_SECURITY"), _NO_CIPHER),
    **dict.fromkeys((
        "TLSV13_ALERT_CERTIFICATE_REQUIRED", "TLSV1_ALERT_UNKNOWN_CA", "TLSV1_ALERT_ACCESS_DENIED",
        "SSLV3_ALERT_BAD_CERTIFICATE", "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE", "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED", "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
    ), _OUR_CERTIFICATE),
}  # fmt: skip


def explain(error: ssl.SSLError, where: str, host: str, context: ssl.SSLContext) -> TLSError | None:
    """Return the error to raise instead of an error of OpenSSL.

    Args:
        error: the error of the handshake.
        where: the URL, redacted.
        host: the name or address that the certificate had to be valid for.
        context: the TLS settings of the attempt.

    Returns:
        A ``TLSError`` whose message says what is wrong and what to do; None if TLS is not the reason.
    """
    fatal = is_fatal(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        words = f"The certificate of {host!r} was refused: {_refused_certificate(error, host)}."
        return TLSError(words, last=error, retry=not fatal)
    if fatal:
        words = f"supports no TLS version of this client ({_versions(context)}); enable a newer one on the server"
    elif error.reason in _NO_COMMON_TLS:
        words = _NO_COMMON_TLS[error.reason]
    else:
        return None
    return TLSError(f"{where} {words} (OpenSSL: {error.reason}).", last=error, retry=not fatal)


def is_fatal(error: BaseException) -> bool:
    """Whether a retry can't succeed until a certificate, or the TLS versions of one side, have been changed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return True
    return isinstance(error, ssl.SSLError) and error.reason in _NO_COMMON_VERSION


def _refused_certificate(error: ssl.SSLCertVerificationError, host: str) -> str:
    words = _REFUSED_CERTIFICATES.get(error.verify_code)
    return error.verify_message.rstrip(".") if words is None else words.format(host=host)


def _versions(context: ssl.SSLContext) -> str:
    """Describe the TLS versions that a context allows."""
    oldest, newest = context.minimum_version.name, context.maximum_version.name
    if oldest == "MINIMUM_SUPPORTED":
        return "those that ssl_context= allows"
    words = f"{oldest} or newer" if newest == "MAXIMUM_SUPPORTED" else f"{oldest} to {newest}"
    return words.replace("v", " ").replace("_", ".")
