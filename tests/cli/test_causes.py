"""Likely causes of failures that need a special network or chain of certificates."""

import errno
from datetime import datetime, timedelta, timezone

import pytest

from wsclient import HandshakeError
from wsclient.cli import causes
from wsclient.cli.certificates import Certificate

NOW = datetime.now(timezone.utc)
REFUSED = OSError(errno.ECONNREFUSED, "refused")
NO_ROUTE = OSError(errno.ENETUNREACH, "unreachable")


def certificate(subject, issuer, *names, days=9, starts=-99):
    """A certificate that begins and ends in so many days."""
    return Certificate(subject, issuer, names, NOW + timedelta(starts), NOW + timedelta(days), subject == issuer)


LEAF = certificate("CN=leaf", "CN=middle", "a.test")
MIDDLE = certificate("CN=middle", "CN=root")
ROOT = certificate("CN=root", "CN=root")
EARLY = certificate("CN=middle", "CN=root", starts=1)
OLD = certificate("CN=middle", "CN=root", days=-9)


@pytest.mark.parametrize(
    ("errors", "cause"),
    [
        ([NO_ROUTE], "this machine has no route to the host"),
        ([NO_ROUTE, REFUSED], "no program listens on this port"),  # it needs less to be correct than a network
        ([OSError(errno.EMFILE, "too many")], ""),
    ],
)
def test_addresses_that_do_not_accept(errors, cause):
    found = causes.of_tcp(errors)
    assert found.startswith(cause) if cause else found == ""


@pytest.mark.parametrize(
    ("code", "chain", "cause"),
    [
        (62, [certificate("CN=leaf", "CN=middle")], "it is valid for no name at all; correct the URL"),
        (10, [LEAF, OLD], "the CA certificate 'CN=middle' expired on "),
        (9, [LEAF, EARLY], "the CA certificate 'CN=middle' is not valid before "),
        (9, [EARLY, MIDDLE], "the certificate is not valid before "),
        (18, [LEAF], "the certificate of 'CN=leaf' is self-signed"),
        (21, [ROOT], "the certificate of 'CN=root' is self-signed"),
        (19, [LEAF, MIDDLE, ROOT], "the root CA 'CN=root' is not trusted here"),
        (20, [LEAF, MIDDLE], "the CA 'CN=root' is missing here"),
        (23, [LEAF, MIDDLE], ""),  # revoked: the words of OpenSSL say so
        (20, [], ""),
    ],
)
def test_certificates_that_the_client_refuses(code, chain, cause):
    found = causes.of_certificate(code, "b.test", chain)
    assert cause in found if cause else found == ""


@pytest.mark.parametrize("status", [0, 400])
def test_a_server_with_tls_that_answers_the_upgrade(status):
    """Some servers say in plain HTTP that they use TLS; others send an alert, or only close the connection."""
    refusal = HandshakeError("no", status=status, headers={}, body=b"")
    sent = causes.Sent("/", has_credentials=False, origin=None)
    assert "use wss://" in causes.of_refusal(refusal, sent, speaks_tls=True)
