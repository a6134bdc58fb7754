"""The messages of TLS errors; test_tls.py tests them with whole connections."""

import ssl

import pytest

from wsclient._network.tls_errors import explain, is_fatal

WHERE = "wss://example.org/feed"


def made(reason):
    error = ssl.SSLError(1, f"[SSL: {reason}] something")
    error.reason = reason
    return error


def refused(code, words="words of OpenSSL."):
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, words
    return error


def explained(error, context=None):
    return explain(error, WHERE, "example.org", context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (2, "authority is not trusted"),
        (9, "not valid yet"),
        (10, "has expired"),
        (18, "is self-signed"),
        (19, "ends in the self-signed certificate"),
        (20, "authority is not trusted"),
        (21, "authority is not trusted"),
        (62, "is not valid for 'example.org'"),
        (64, "is not valid for 'example.org'"),
        (23, "words of OpenSSL"),
    ],
)
def test_a_refused_certificate_is_fatal_and_the_message_contains_the_reason(code, words):
    error = refused(code)
    found = explained(error)
    assert words in str(found)
    assert str(found).startswith("The certificate of 'example.org' was refused: ")
    assert str(found).endswith(".")
    assert not str(found).endswith("..")
    assert not found.retry
    assert found.last is error
    assert is_fatal(error)


@pytest.mark.parametrize("reason", ["UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "NO_PROTOCOLS_AVAILABLE"])
def test_no_common_version_is_fatal_and_the_message_contains_the_supported_ones(reason):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    found = explained(made(reason), context)
    assert not found.retry
    assert f"{WHERE} supports no TLS version of this client (TLS 1.2 or newer)" in str(found)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert "(TLS 1.2 to TLS 1.2)" in str(explained(made(reason), context))
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    assert "(those that ssl_context= allows)" in str(explained(made(reason), context))


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("WRONG_VERSION_NUMBER", "not TLS"),
        ("HTTP_REQUEST", "not TLS"),
        ("NO_CIPHERS_AVAILABLE", "cipher"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "load_cert_chain"),
        ("TLSV1_ALERT_UNKNOWN_CA", "load_cert_chain"),
    ],
)
def test_a_temporary_error_is_reported_and_retried(reason, words):
    found = explained(made(reason))
    assert found.retry
    assert words in str(found)
    assert reason in str(found)


@pytest.mark.parametrize("reason", ["UNEXPECTED_EOF_WHILE_READING", None, "BAD_SIGNATURE"])
def test_other_errors_are_not_tls_errors(reason):
    assert explained(made(reason)) is None
    assert not is_fatal(made(reason))


def test_other_errors_are_not_fatal():
    assert not is_fatal(ConnectionRefusedError())
