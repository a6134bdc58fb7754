"""Converts host names with characters outside ASCII to the ASCII form that the DNS uses (``xn--…``).

Browsers, and libraries that follow IDNA 2008 (RFC 5891, in the form of UTS 46), convert ``straße.example`` to
``xn--strae-oqa.example``. The codec ``idna`` of Python follows IDNA 2003 (RFC 3490) and converts it to
``strasse.example``, which may belong to another owner. So the codec is used only for names for which both standards
give the same result. Other names need the package ``idna``.
"""

from __future__ import annotations

import unicodedata

from .._threads.imports import import_lock

__all__ = ["ascii_host"]

_FULL_STOPS = str.maketrans(dict.fromkeys("\u3002\uff0e\uff61", "."))  # RFC 3490 §3.1


def ascii_host(host: str) -> str:
    """Return a host name in ASCII. A name that is in ASCII already is returned unchanged.

    Args:
        host: the name.

    Raises:
        ValueError: the name can't be converted; the error text is the end of a sentence about the name.
    """
    try:
        encoded = host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise ValueError(f"that IDNA can't encode: {error}") from None
    if host.isascii() or _is_same_name(encoded, host):
        return encoded
    try:
        with import_lock:
            import idna
    except ImportError:
        raise ValueError(
            "that Python's codec (IDNA 2003) does not encode as browsers do (IDNA 2008); install the package idna, or "
            "write the host in ASCII (xn--...)"
        ) from None
    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except UnicodeError as error:
        raise ValueError(f"that IDNA 2008 can't encode: {error}") from None


def _is_same_name(encoded: str, host: str) -> bool:
    """Whether decoding the encoded name gives the original name again, except for case and compatibility forms.

    If it does not, IDNA 2003 has replaced or removed a character that IDNA 2008 keeps, such as ``ß``. IDNA 2003 is
    defined for Unicode 3.2. So the result is also False if the name contains a character that Unicode 3.2 does not
    have, except symbols such as emoji.
    """
    if any(unicodedata.ucd_3_2_0.category(one) == "Cn" and unicodedata.category(one) != "So" for one in host):
        return False
    try:
        decoded = encoded.encode("ascii").decode("idna")
    except UnicodeError:
        return False
    return decoded.lower() == unicodedata.normalize("NFKC", host.translate(_FULL_STOPS).lower())
