"""Certificates as a server sends them, decoded for a diagnosis. Pure.

``ssl`` decodes only a certificate that it has verified. A diagnosis also shows a refused certificate, so the package
``cryptography`` decodes the certificates.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

__all__ = ["Certificate", "decode"]

_ATTRIBUTES: Final = {
    NameOID.COMMON_NAME: "CN",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.COUNTRY_NAME: "C",
}
"""The attributes of a name that are shown (RFC 4519)."""


@dataclass(frozen=True)
class Certificate:
    """A certificate of a server or of an authority.

    Attributes:
        subject, issuer: such as ``"CN=example.org, O=Example"``; empty if the name has none of the usual attributes.
        names: the DNS names and IP addresses that it is valid for.
        not_before, not_after: when it is valid.
        is_self_signed: whether it names itself as its issuer; all attributes of the two names are compared.
    """

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    is_self_signed: bool

    def days_left(self, now: datetime) -> int:
        """Whole days until its end; negative after it."""
        return (self.not_after - now).days

    def matches(self, host: str) -> bool:
        """Whether it is valid for a host name or IP address (RFC 9525 §6)."""
        try:
            address = str(ipaddress.ip_address(host.partition("%")[0]))
        except ValueError:
            name = host.lower().rstrip(".")
            wildcard = f"*.{name.partition('.')[2]}"
            return any(one.lower() in (name, wildcard) for one in self.names)
        return address in self.names


def decode(der: bytes) -> Certificate:
    """Decode a certificate.

    Args:
        der: its DER encoding.

    Raises:
        ValueError: it is not a certificate.
    """
    try:
        found = x509.load_der_x509_certificate(der)
        extensions = found.extensions
    except (x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise ValueError(str(error)) from error
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        valid_for = []
    else:
        addresses = names.get_values_for_type(x509.IPAddress)
        valid_for = [*names.get_values_for_type(x509.DNSName), *map(str, addresses)]
    return Certificate(
        _text_of(found.subject),
        _text_of(found.issuer),
        tuple(valid_for),
        found.not_valid_before_utc,
        found.not_valid_after_utc,
        found.subject == found.issuer,
    )


def _text_of(name: x509.Name) -> str:
    return ", ".join(f"{_ATTRIBUTES[one.oid]}={one.value!s}" for one in name if one.oid in _ATTRIBUTES)
