"""Descriptions of TLS errors, and whether another attempt may succeed. Pure functions."""

from __future__ import annotations

import ssl
from typing import Final

from .._errors import TLSError

__all__ = ["explain", "is_fatal"]

_UNKNOWN_AUTHORITY: Final = (
    "its authority is unknown here; have the server send its whole chain, and where the authority is one of your own,"
    " pass its certificate as ssl_ca= or load it into ssl_context="
)
# By OpenSSL's verify codes. All are fatal: a certificate has to be renewed or trusted first.
_REFUSED_CERTIFICATES: Final = {
    9: "it is not valid yet; check the clock of this machine, then the clock of the machine that made it",
    10: "it has expired, or one of its chain has; have it renewed, unless the clock of this machine is wrong",
    18: "it is self-signed; if it is to be trusted, pass it as ssl_ca= or load it into ssl_context=",
    19: "its chain ends in a self-signed certificate, of an authority that is unknown here; if that is to be trusted,"
    " pass it as ssl_ca= or load it into ssl_context=",
    62: "it is not for {host!r}; use a name in the URL that it is for, or have this one added to it",
    64: "it is not for {host!r}; use a host name in the URL that it is for, or have this address added to it",
    **dict.fromkeys((2, 20, 21), _UNKNOWN_AUTHORITY),
}

# OpenSSL's reasons where both sides speak TLS, but no common version. Fatal: a restart of the server changes nothing.
_NO_COMMON_VERSION: Final = frozenset({
    "TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "WRONG_SSL_VERSION", "NO_PROTOCOLS_AVAILABLE",
})  # fmt: skip

_NO_TLS: Final = "answered with something that is not TLS; if it always does, the scheme or the port is wrong"
_NO_CIPHER: Final = "has no TLS cipher in common with this client; allow another there, or in ssl_context="
_OUR_CERTIFICATE: Final = (
    "wants a certificate of this client, and one that it trusts; load it into ssl_context= (load_cert_chain)"
)
# OpenSSL's reasons for a failed handshake with a peer that speaks other TLS, or none. Retried like any failure: a load
# balancer that is restarting may cause the same.
_NO_COMMON_TLS: Final = {
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "refused the TLS handshake: there is no cipher in common, or it wants a"
    " certificate of this client; load it into ssl_context= (load_cert_chain)",
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
    """Return the error to raise in place of an error of OpenSSL.

    Args:
        error: the error of the handshake.
        where: the URL, redacted.
        host: the name or address that the certificate had to be for.
        context: the TLS settings of the attempt.

    Returns:
        A ``TLSError`` whose message says what is wrong and what to do; None where TLS is not the reason.
    """
    fatal = is_fatal(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        words = f"The certificate of {host!r} was refused: {_refused_certificate(error, host)}."
        return TLSError(words, last=error, retry=not fatal)
    if fatal:
        words = f"speaks no TLS version of ours ({_versions(context)}); let it speak a newer one"
    elif error.reason in _NO_COMMON_TLS:
        words = _NO_COMMON_TLS[error.reason]
    else:
        return None
    return TLSError(f"{where} {words} (OpenSSL: {error.reason}).", last=error, retry=not fatal)


def is_fatal(error: BaseException) -> bool:
    """Whether a retry can't succeed before a certificate, or the TLS versions of one side, have been changed."""
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
