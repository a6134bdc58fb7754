"""The fields of a certificate that ``probe`` shows."""

import ssl
from datetime import datetime, timedelta, timezone

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from wsclient.cli.certificates import Certificate, decode

NOW = datetime.now(timezone.utc)


def der_of(blob):
    return ssl.PEM_cert_to_DER_cert(blob.bytes().decode())


def named(*names):
    return Certificate("CN=a", "CN=b", names, NOW, NOW + timedelta(days=3, hours=1), False)


@pytest.fixture(scope="module")
def issued():
    return trustme.CA().issue_cert("localhost", "*.example.org", "127.0.0.1", "::1", common_name="a server")


def test_the_fields_of_a_certificate(issued):
    decoded = decode(der_of(issued.cert_chain_pems[0]))
    assert set(decoded.names) == {"localhost", "*.example.org", "127.0.0.1", "::1"}
    assert decoded.subject.endswith("CN=a server")
    assert decoded.issuer.startswith("O=trustme")
    assert decoded.not_before < NOW < decoded.not_after
    assert not decoded.is_self_signed


def test_the_certificate_of_a_root_authority_is_self_signed():
    assert decode(der_of(trustme.CA().cert_pem)).is_self_signed


def test_names_that_differ_only_in_attributes_that_are_not_shown_are_two_names():
    key = ec.generate_private_key(ec.SECP256R1())
    one, other = (x509.Name([x509.NameAttribute(NameOID.LOCALITY_NAME, town)]) for town in ("Bern", "Basel"))
    builder = x509.CertificateBuilder(one, other, key.public_key(), 1, NOW, NOW + timedelta(1))
    decoded = decode(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))
    assert decoded.subject == decoded.issuer == ""
    assert not decoded.is_self_signed


def test_data_that_is_no_certificate_raises_a_value_error(issued):
    with pytest.raises(ValueError):  # noqa: PT011  (the text is that of cryptography)
        decode(der_of(issued.cert_chain_pems[0])[:-1])


@pytest.mark.parametrize(
    ("part", "other"),
    [
        (b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07"),  # version 8
        (b"\x06\x03\x55\x1d\x23", b"\x06\x03\x55\x1d\x11"),  # two extensions with names
    ],
)
def test_a_certificate_that_violates_its_standard_raises_a_value_error(issued, part, other):
    der = der_of(issued.cert_chain_pems[0])
    assert der.count(part) == 1
    with pytest.raises(ValueError):  # noqa: PT011  (the text is that of cryptography)
        decode(der.replace(part, other))


@pytest.mark.parametrize(
    ("host", "matches"),
    [
        ("example.org", True),
        ("EXAMPLE.org.", True),
        ("a.wild.org", True),
        ("a.b.wild.org", False),
        ("wild.org", False),
        ("127.0.0.1", True),
        ("::1", True),
        ("127.0.0.2", False),
        ("other.org", False),
    ],
)
def test_a_host_matches_a_name_an_address_or_a_wildcard_of_one_label(host, matches):
    assert named("example.org", "*.wild.org", "127.0.0.1", "::1").matches(host) is matches


def test_the_days_left_are_whole_days():
    assert named().days_left(NOW) == 3
    assert named().days_left(NOW + timedelta(days=5)) == -2
