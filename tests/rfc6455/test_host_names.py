"""Host names that are not in ASCII: browsers and this client connect to the same host."""

# ruff: noqa: RUF001  (names in other scripts)

import sys

import pytest

from wsclient import Client
from wsclient._rfc6455.host_names import ascii_host
from wsclient._rfc6455.url import parse

DIFFERENT = {  # IDNA 2003 encodes these as names of other hosts (UTS 46, section 4)
    "straße.example": "xn--strae-oqa.example",
    "STRASSE.straße.example": "strasse.xn--strae-oqa.example",
    "βόλος.example": "xn--nxasmm1c.example",
    "نامه\u200cای.example": "xn--mgba3gch31f060k.example",
}


@pytest.mark.parametrize(
    ("host", "encoded"),
    [
        ("example.org", "example.org"),
        ("My_Host", "My_Host"),  # ASCII is not changed
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("日本語。jp", "xn--wgv71a119e.jp"),
        ("ｅｘａｍｐｌｅ.org", "example.org"),
        ("☕.example", "xn--53h.example"),
        ("xn--strae-oqa.example", "xn--strae-oqa.example"),
    ],
)  # fmt: skip
def test_names_that_both_standards_encode_alike_need_no_package(monkeypatch, host, encoded):
    monkeypatch.setitem(sys.modules, "idna", None)
    assert ascii_host(host) == encoded


@pytest.mark.parametrize("host", DIFFERENT)
def test_names_that_the_standards_encode_differently_go_where_browsers_go(host):
    pytest.importorskip("idna")
    assert parse(f"wss://{host}/").host == DIFFERENT[host]


@pytest.mark.parametrize("host", DIFFERENT)
def test_without_the_package_such_a_name_is_refused(monkeypatch, host):
    monkeypatch.setitem(sys.modules, "idna", None)
    with pytest.raises(
        ValueError, match=r"wss://.* has a host that Python's codec .IDNA 2003.*install the package idna"
    ):
        parse(f"wss://{host}/")


def test_a_name_that_idna_2008_forbids_is_refused():
    pytest.importorskip("idna")
    with pytest.raises(ValueError, match="IDNA 2008 can't encode"):
        ascii_host("ß☕.example")


def test_a_name_with_a_label_that_no_standard_decodes_is_refused(monkeypatch):
    host = "bücher.xn--zzzzzz.example"
    with pytest.raises(ValueError, match="IDNA 2008 can't encode"):
        ascii_host(host)
    monkeypatch.setitem(sys.modules, "idna", None)
    with pytest.raises(ValueError, match="install the package idna"):
        ascii_host(host)


def test_the_name_in_the_certificate_and_the_proxy_are_checked_too(monkeypatch):
    monkeypatch.setitem(sys.modules, "idna", None)
    with pytest.raises(ValueError, match=r"server_hostname 'straße.example' is a name that Python's codec"):
        Client("wss://example.org/", server_hostname="straße.example")
    with pytest.raises(ValueError, match=r"proxy 'http://straße.example:1' has a host that Python's codec"):
        Client("wss://example.org/", proxy="http://straße.example:1")
