"""WebSocket URLs: parsed, printed without secrets, and changed by redirects."""

import os
import re
import socket

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsclient import _url
from wsclient._rfc6455.url import Target, parse, redact, redirected

local = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no unix:// sockets")


def test_the_former_place_of_the_parser_still_has_it():
    assert _url.parse is parse


# --- parsing ----------------------------------------------------------------------------------------------------------


def test_a_url_is_parsed():
    target = parse("wss://example.org:8443/feed?a=1&b=2")
    assert (target.host, target.port, target.secure) == ("example.org", 8443, True)
    assert target.resource == "/feed?a=1&b=2"
    assert (target.user, target.password) == (None, "")
    assert target.url == "wss://example.org:8443/feed?a=1&b=2"


@pytest.mark.parametrize(("url", "port", "scheme"), [("ws://host", 80, "ws"), ("wss://host", 443, "wss")])
def test_each_scheme_has_its_default_port(url, port, scheme):
    target = parse(url)
    assert (target.port, target.scheme) == (port, scheme)
    assert target.secure is (scheme == "wss")


def test_scheme_and_host_can_be_in_capitals():
    target = parse("WSS://Example.ORG/Path")
    assert (target.scheme, target.host, target.port, target.resource) == ("wss", "example.org", 443, "/Path")


@pytest.mark.parametrize(
    ("url", "resource"),
    [
        ("ws://host", "/"),
        ("ws://host/", "/"),
        ("ws://host?a=1", "/?a=1"),
        ("ws://host/?", "/?"),
        ("ws://host/a?b=c?d", "/a?b=c?d"),
        ("ws://host/a;params/b;c=1", "/a;params/b;c=1"),
        ("ws://host//double//", "//double//"),
        ("ws://host/a%2Fb%20c?d=%26", "/a%2Fb%20c?d=%26"),
        ("ws://host/grün?q=€", "/gr%C3%BCn?q=%E2%82%AC"),
        ("ws://host/@user/~x/-_.!$&'()*+,:=", "/@user/~x/-_.!$&'()*+,:="),
        ('ws://host/<"|>[x]{y}', "/%3C%22%7C%3E%5Bx%5D%7By%7D"),
        ("ws://host/a/../b/./c", "/a/../b/./c"),
    ],
)
def test_path_and_query_are_sent_unchanged(url, resource):
    assert parse(url).resource == resource


@pytest.mark.parametrize(
    ("url", "host", "header"),
    [
        ("ws://example.org/", "example.org", "example.org"),
        ("ws://example.org:80/", "example.org", "example.org"),
        ("wss://example.org:443/", "example.org", "example.org"),
        ("ws://example.org:443/", "example.org", "example.org:443"),
        ("wss://example.org:80/", "example.org", "example.org:80"),
        ("ws://127.0.0.1:9000/", "127.0.0.1", "127.0.0.1:9000"),
        ("ws://[::1]/", "::1", "[::1]"),
        ("ws://[::1]:9000/", "::1", "[::1]:9000"),
        ("ws://[2001:DB8::1]/", "2001:db8::1", "[2001:db8::1]"),
        ("ws://[fe80::1%eth0]:9000/", "fe80::1%eth0", "[fe80::1]:9000"),
        ("ws://my_service:8000/", "my_service", "my_service:8000"),
        ("ws://bücher.example/", "xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("ws://user:pw@example.org:81/", "example.org", "example.org:81"),
    ],
)
def test_host_and_host_header_of_a_url(url, host, header):
    target = parse(url)
    assert target.host == host
    assert target.host_header == header


def test_the_zone_of_an_address_can_be_written_as_in_rfc_6874():
    assert parse("ws://[fe80::1%25eth0]/").host == "fe80::1%eth0"


@pytest.mark.parametrize(
    ("url", "user", "password"),
    [
        ("ws://joe:secret@host/", "joe", "secret"),
        ("ws://joe@host/", "joe", ""),
        ("ws://joe:@host/", "joe", ""),
        ("ws://:secret@host/", "", "secret"),
        ("ws://us%40er:p%3Aw%2F@host/", "us@er", "p:w/"),
        ("ws://joe:a:b@host/", "joe", "a:b"),
        ("ws://joe:a@b@host/", "joe", "a@b"),
        ("ws://jo%C3%A9:gr%C3%BCn@host/", "joé", "grün"),
    ],
)
def test_user_and_password_are_unquoted(url, user, password):
    target = parse(url)
    assert (target.host, target.user, target.password) == ("host", user, password)


def test_a_target_cannot_be_changed():
    target = parse("ws://host/")
    with pytest.raises(AttributeError):
        target.host = "other"
    assert hash(target) == hash(parse("ws://host/"))


def test_a_target_can_have_no_user():
    target = Target("ws://host/", "host", 80, False, "/")
    assert (target.user, target.password) == (None, "")
    assert target == parse("ws://host/")


def test_the_origin_is_scheme_host_and_port():
    assert parse("wss://u:p@Example.org/a?b").origin == ("wss", "example.org", 443, None)
    assert parse("ws://example.org:443/").origin == ("ws", "example.org", 443, None)


def test_a_network_url_has_no_socket_path():
    assert parse("ws://localhost/run/app.sock").path is None


# --- Unix sockets -----------------------------------------------------------------------------------------------------


@local
def test_a_unix_url_is_parsed():
    target = parse("unix:///run/app.sock")
    assert (target.path, target.resource) == ("/run/app.sock", "/")
    assert (target.host, target.port, target.secure, target.scheme) == ("localhost", 80, False, "ws")
    assert (target.user, target.password) == (None, "")
    assert target.host_header == "localhost"
    assert target.url == "unix:///run/app.sock"


@local
@pytest.mark.parametrize(
    ("url", "path", "resource"),
    [
        ("unix:///run/app.sock:/chat", "/run/app.sock", "/chat"),
        ("unix:///run/app.sock:/chat?a=1&b=2", "/run/app.sock", "/chat?a=1&b=2"),
        ("unix:///run/app.sock?a=1", "/run/app.sock", "/?a=1"),
        ("unix:///run/app.sock:?a=1", "/run/app.sock", "/?a=1"),
        ("unix:///run/app.sock:", "/run/app.sock", "/"),
        ("unix:///run/app.sock:/", "/run/app.sock", "/"),
        ("unix:///run/app.sock:/a:b", "/run/app.sock", "/a:b"),
        ("unix:///run/my%20app.sock:/my%20chat", "/run/my app.sock", "/my%20chat"),
        ("unix:///run/a%3Ab%3Fc%23d.sock:/x", "/run/a:b?c#d.sock", "/x"),
        ("unix:///run/grün.sock:/grün", "/run/grün.sock", "/gr%C3%BCn"),
        ("unix:///run/gr%C3%BCn.sock", "/run/grün.sock", "/"),
        ("unix:///run/%FF.sock", os.fsdecode(b"/run/\xff.sock"), "/"),
        ("unix:///run/app@2.sock:/chat", "/run/app@2.sock", "/chat"),
        ("unix:///run/../tmp/s:/a/../b", "/run/../tmp/s", "/a/../b"),
        ("UNIX:///Run/App", "/Run/App", "/"),
    ],
)
def test_a_colon_separates_the_socket_path_from_the_request_target(url, path, resource):
    target = parse(url)
    assert (target.path, target.resource) == (path, resource)


@local
def test_each_socket_path_is_a_separate_origin():
    assert parse("unix:///a:/x").origin == ("ws", "localhost", 80, "/a")
    assert parse("unix:///a:/x").origin == parse("unix:///a:/y?z").origin
    assert parse("unix:///a").origin != parse("unix:///b").origin
    assert parse("unix:///a").origin != parse("ws://localhost/").origin


@local
@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("unix://run/app.sock", "has a host; unix:// takes three slashes and a path"),
        ("unix://localhost/run/app.sock", "has a host"),
        ("unix://:80/run/app.sock", "has a host"),
        ("unix://joe:hunter2@/run/app.sock", "has a host"),
        ("unix://joe:hunter2@host:99999/run/app.sock", "can't be read"),
        ("unix://", "has no path; write unix:///"),
        ("unix:///", "has no path"),
        ("unix:///:/chat", "has no path"),
        ("unix:///?token=hunter2", "has no path"),
        ("unix:///run/app.sock#hunter2", "has a fragment"),
        ("unix:///run/app.sock:/chat#", "has a fragment"),
        ("unix:///run/my app.sock", "contains a space"),
        ("unix:///run/app.sock:/a\r\nX: hunter2", "control character"),
        ("unix:///run/\ud800", "surrogate"),
        ("unix:///run/\ud800?token=hunter2", "surrogate"),
    ],
)
def test_an_invalid_unix_url_is_refused_with_the_reason(url, why):
    with pytest.raises(ValueError, match=rf"^url .*{re.escape(why)}.*\.$") as caught:
        parse(url)
    assert "hunter2" not in str(caught.value).replace("X: hunter2", "")


def test_on_a_system_without_unix_sockets_a_unix_url_is_refused(monkeypatch):
    monkeypatch.delattr(socket, "AF_UNIX", raising=False)
    with pytest.raises(ValueError, match=r"^url 'unix:///run/app.sock': this platform has no unix:// sockets\.$"):
        parse("unix:///run/app.sock")
    assert parse("ws://host/").host == "host"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("unix:///run/app.sock", "unix:///run/app.sock"),
        ("unix:///run/app.sock:/chat", "unix:///run/app.sock:/chat"),
        ("unix:///run/app.sock:/chat?token=hunter2&x=1", "unix:///run/app.sock:/chat?token=***&x=***"),
        ("unix:///run/app.sock?hunter2", "unix:///run/app.sock?***"),
        ("unix:///run/app.sock#hunter2", "unix:///run/app.sock#***"),
        ("unix:///run/my%20app.sock", "unix:///run/my%20app.sock"),
        ("unix:/run/app.sock", "unix:///run/app.sock"),
        ("unix:///", "unix:///"),
        ("unix://joe:hunter2@/run/app.sock", "unix://***@/run/app.sock"),
    ],
)
def test_a_printed_unix_url_has_its_path_and_no_secret(url, shown):
    assert redact(url) == shown


@local
@given(
    path=st.text(alphabet="ab/.:%20@?=&ü", max_size=12).map("/s".__add__),
    query=st.none() | st.text(alphabet="ab&;=", max_size=8),
)
def test_any_unix_url_returns_a_path_or_raises_value_error(path, query):
    url = f"unix://{path}" + ("" if query is None else f"?{query}")
    try:
        target = parse(url)
    except ValueError as error:
        assert str(error).startswith("url ")  # noqa: PT017
    else:
        assert target.path.startswith("/s")
        assert "\0" not in target.path
        assert re.fullmatch(r"/[!-~]*", target.resource)


# --- invalid URLs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://host/", "must begin with ws://, wss:// or unix://."),
        ("https://host/", "must begin with ws://, wss:// or unix://."),
        ("host/path", "must begin with ws://, wss:// or unix://."),
        ("//host/path", "must begin with ws://, wss:// or unix://."),
        ("", "must begin with ws://, wss:// or unix://."),
        ("ws://", "has no host"),
        ("ws:///path", "has no host"),
        ("ws://:80/", "has no host"),
        ("ws:host", "has no host"),
        ("ws://host/#part", "has a fragment"),
        ("ws://host/#", "has a fragment"),
        ("ws://host:0/", "has port 0"),
        ("ws://host:65536/", "can't be read"),
        ("ws://host:-1/", "can't be read"),
        ("ws://host:http/", "can't be read"),
        ("ws://[::1/", "can't be read"),
        ("ws://host/a b", "contains a space"),
        (" ws://host/", "contains a space"),
        ("ws://host/\r\nX: y", "control character"),
        ("ws://host/\x00", "control character"),
        ("ws://host/\x7f", "control character"),
        ("ws://ho\tst/", "control character"),
        ("ws://ä" + "b" * 70 + ".org/", "IDNA"),
        ("ws://ä..org/", "IDNA"),
        ("ws://a..b/", "IDNA"),
        ("ws://" + "a" * 64 + ".org/", "IDNA"),
    ],
)
def test_an_invalid_websocket_url_is_refused_with_the_reason(url, why):
    with pytest.raises(ValueError, match=re.escape(why)) as caught:
        parse(url)
    assert str(caught.value).startswith("url ")
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("url", [None, 5, b"ws://host/", ["ws://host/"]])
def test_a_url_must_be_a_str(url):
    with pytest.raises(TypeError, match=rf"^url must be a str .* not {type(url).__name__}"):
        parse(url)


@pytest.mark.parametrize(
    "url", ["ws://host/\ud800", "ws://host/?token=\ud800", "ws://\ud800/", "ws://\ud800:x@host/", "ws://x:\ud800@host/"]
)
def test_a_url_with_a_lone_surrogate_is_refused(url):
    with pytest.raises(ValueError, match=r"^url "):
        parse(url)


def test_a_host_with_a_unicode_space_is_refused():
    with pytest.raises(ValueError, match=r"^url "):
        parse("ws://a\u00a0b/")


@given(path=st.text(), query=st.none() | st.text())
@example(path="\x85\u2028", query="\xa0")
def test_with_any_path_the_request_line_is_one_line_without_spaces(path, query):
    url = f"ws://host/{path}" + ("" if query is None else f"?{query}")
    try:
        target = parse(url)
    except ValueError:
        return
    assert re.fullmatch(r"/[!-~]*", target.resource)


@given(st.text(alphabet="wsth:/@?#%[].-_ab01\u00e4\u3002\u2028\x00\x7f ", max_size=30) | st.text(max_size=30))
@example("ws://[")
@example("ws://[]/")
@example("ws://[::1]x/")
def test_any_url_returns_a_target_or_raises_value_error(text):
    for url in (text, f"ws://{text}"):
        try:
            target = parse(url)
        except ValueError as error:
            assert str(error).startswith("url ")  # noqa: PT017
        else:
            assert target.host
            assert 0 < target.port < 65536


# --- printing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("wss://host:81/path", "wss://host:81/path"),
        ("wss://joe:hunter2@host/path", "wss://***@host/path"),
        ("wss://joe@host/path", "wss://***@host/path"),
        ("wss://host/path?token=hunter2&x=1", "wss://host/path?token=***&x=***"),
        ("wss://host/path?hunter2", "wss://host/path?***"),
        ("wss://host/path?a=1;hunter2=3&b", "wss://host/path?a=***&***"),
        ("wss://host/path?token=a=b", "wss://host/path?token=***"),
        ("wss://host/path#hunter2", "wss://host/path#***"),
        ("http://joe:hunter2@proxy:3128", "http://***@proxy:3128"),
        ("ws://joe:hun@ter2@host/", "ws://***@host/"),
        ("ws://[hunter2", "<unreadable url>"),
    ],
)
def test_secrets_are_not_printed(url, shown):
    assert redact(url) == shown


@pytest.mark.parametrize("url", [None, b"ws://joe:hunter2@host/"])
def test_a_value_that_is_not_a_url_is_printed_as_its_type(url):
    assert redact(url) == f"<{type(url).__name__}>"


LEAKS = [
    "ws://joe:hunter2@host:99999/",
    "ws://joe:hunter2@/path",
    "http://joe:hunter2@host/",
    "ws://joe:hunter2@host/#part",
    "ws://joe:hunter2@host/a b",
    "ws://joe:hunter2@host:0/",
    "ws://joe:hunter2@[::1/",
    "ws://host:99999/?token=hunter2",
    "ws://host/?hunter2#part",
    "ws://host/#hunter2",
    "//joe:hunter2@host/",
    "joe:hunter2@host/path",
    "ws:joe:hunter2@host/path",
    "ws:/joe:hunter2@host/path",
    "ws://joe:hunter2/@host/path",
    "ws://joe:hunter2?@host/path",
    "ws://joe:hunter2#@host/path",
    "ws://joe:hun/hunter2@host/path",
]


@pytest.mark.parametrize("url", LEAKS)
def test_the_error_of_an_invalid_url_contains_no_secret(url):
    with pytest.raises(ValueError, match=r"^url ") as caught:
        parse(url)
    assert "hunter2" not in str(caught.value)


@given(
    scheme=st.sampled_from(["ws", "wss", "http"]),
    user=st.text(alphabet="abc%0:.", max_size=5),
    path=st.text(alphabet="abc/.;=", max_size=8),
    query=st.text(alphabet="abc&;=", max_size=8),
    secret=st.text(alphabet="XYZ:%=+", min_size=3, max_size=8).map("S".__add__),
)
def test_no_password_and_no_query_value_is_printed(scheme, user, path, query, secret):
    shown = redact(f"{scheme}://{user}:{secret}@host/{path}?{query}token={secret}")
    assert "S" not in shown
    assert shown.startswith(f"{scheme}://***@host/{path}")


# --- redirects --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "location", "end"),
    [
        ("ws://host/a/b", "/c", "ws://host/c"),
        ("ws://host/a/b", "c?d=1", "ws://host/a/c?d=1"),
        ("ws://host/a/b", "../c", "ws://host/c"),
        ("ws://host/a?b", "?c", "ws://host/a?c"),
        ("ws://host:81/a", "//other:82/c", "ws://other:82/c"),
        ("ws://host/a", "http://other/c", "ws://other/c"),
        ("ws://host/a", "https://other/c", "wss://other/c"),
        ("ws://host/a", "ws://other/c", "ws://other/c"),
        ("ws://host/a", "wss://other/c", "wss://other/c"),
        ("wss://host/a", "https://other/c", "wss://other/c"),
        ("wss://host/a", "//other/c", "wss://other/c"),
        ("WSS://host/a", "/c", "wss://host/c"),
        ("ws://host/a", "/c#part", "ws://host/c"),
        ("ws://host/a", "HTTPS://Other/c", "wss://Other/c"),
    ],
)
def test_a_redirect_has_this_target(start, location, end):
    assert redirected(parse(start), location) == parse(end)


def test_a_relative_redirect_keeps_user_and_password():
    target = redirected(parse("wss://joe:secret@host/a"), "/b")
    assert (target.user, target.password, target.resource) == ("joe", "secret", "/b")


def test_a_redirect_within_the_origin_keeps_user_and_password():
    target = redirected(parse("wss://joe:secret@host/a"), "https://host/b")
    assert (target.user, target.password, target.resource) == ("joe", "secret", "/b")


@pytest.mark.parametrize("location", ["https://other/b", "https://host:444/b", "//other/b", "wss://other/b"])
def test_a_redirect_to_another_origin_drops_user_and_password(location):
    target = redirected(parse("wss://joe:secret@host/a"), location)
    assert (target.user, target.password) == (None, "")


@pytest.mark.parametrize("location", ["http://host/b", "ws://host/b", "http://other/"])
def test_a_redirect_cannot_leave_tls(location):
    with pytest.raises(ValueError, match="is not encrypted"):
        redirected(parse("wss://host/a"), location)


def test_the_error_of_a_redirect_contains_no_secret():
    with pytest.raises(ValueError, match="is not encrypted") as caught:
        redirected(parse("wss://host/a"), "http://joe:hunter2@host/b?token=hunter2")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "location",
    ["ftp://host/", "javascript:alert(1)", "http://[::1/", "http://host:99999/", "/a b", "/a\x01b"],
)
def test_an_invalid_redirect_is_refused(location):
    with pytest.raises(ValueError, match=r"url|IPv6"):
        redirected(parse("ws://host/a"), location)


@given(st.text(max_size=40))
def test_any_location_returns_a_target_or_is_refused(location):
    try:
        target = redirected(parse("wss://host/a"), location)
    except ValueError:
        return
    assert target.secure


# --- redirects and Unix sockets ---------------------------------------------------------------------------------------


@local
@pytest.mark.parametrize(
    ("start", "location", "resource"),
    [
        ("unix:///run/s:/a/b", "/c", "/c"),
        ("unix:///run/s:/a/b", "c?d=1", "/a/c?d=1"),
        ("unix:///run/s:/a/b", "../c", "/c"),
        ("unix:///run/s:/a?b", "?c", "/a?c"),
        ("unix:///run/s", "c", "/c"),
        ("unix:///run/s", "/c#part", "/c"),
        ("unix:///run/s?next=http://other/x", "c", "/c"),
        ("unix:///run/s", "http://localhost/c", "/c"),
        ("unix:///run/s", "http://localhost:80/c", "/c"),
        ("unix:///run/s", "HTTP://LocalHost/c", "/c"),
        ("unix:///run/s", "ws://localhost/c", "/c"),
        ("unix:///run/s", "//localhost/c", "/c"),
    ],
)
def test_a_redirect_within_the_server_stays_on_its_socket_path(start, location, resource):
    target = redirected(parse(start), location)
    assert (target.path, target.resource, target.host_header) == ("/run/s", resource, "localhost")
    assert target.origin == parse(start).origin
    again = redirected(target, "/again")
    assert (again.path, again.resource) == ("/run/s", "/again")


@local
@pytest.mark.parametrize(
    ("location", "end"),
    [
        ("http://other/c", "ws://other/c"),
        ("//other/c", "ws://other/c"),
        ("https://other/c", "wss://other/c"),
        ("https://localhost/c", "wss://localhost/c"),
        ("http://localhost:81/c", "ws://localhost:81/c"),
        ("http://127.0.0.1/c", "ws://127.0.0.1/c"),
        ("http://localhost./c", "ws://localhost./c"),
    ],
)
def test_a_redirect_to_another_server_leaves_the_socket_path(location, end):
    target = redirected(parse("unix:///run/s:/a"), location)
    assert target == parse(end)
    assert target.path is None


@local
def test_credentials_in_a_redirect_to_the_socket_are_dropped_by_a_redirect_to_another_server():
    named = redirected(parse("unix:///run/s"), "http://joe:secret@localhost/b")
    assert (named.path, named.user, named.password) == ("/run/s", "joe", "secret")
    left = redirected(named, "http://other/c")
    assert (left.path, left.user, left.password) == (None, None, "")


@local
def test_after_a_redirect_to_the_network_localhost_is_the_network_address():
    left = redirected(parse("unix:///run/s"), "http://other/c")
    assert redirected(left, "http://localhost/c").path is None


@pytest.mark.parametrize("start", ["ws://host/a", "wss://host/a", "ws://localhost/a"])
@pytest.mark.parametrize("location", ["unix:///run/s", "UNIX:///run/s", "unix:/run/s", "unix://localhost/run/s:/c"])
def test_a_redirect_from_the_network_to_a_unix_socket_is_refused(start, location):
    with pytest.raises(ValueError, match=r"^The redirect leads to a socket of this machine\.$"):
        redirected(parse(start), location)


@local
@pytest.mark.parametrize("location", ["unix:///run/other", "unix:///run/s:/c"])
def test_a_redirect_from_a_unix_socket_to_another_is_refused(location):
    with pytest.raises(ValueError, match="leads to a socket of this machine"):
        redirected(parse("unix:///run/s"), location)


@given(st.text(max_size=40) | st.text(alphabet="unixUNIX:/.\\t\t\n ", max_size=12))
@example("unix:///run/s")
@example("\tunix:///run/s")
@example("un\nix:///run/s")
def test_no_location_from_the_network_leads_to_a_unix_socket(location):
    try:
        target = redirected(parse("ws://host/a"), location)
    except ValueError:
        return
    assert target.path is None


def test_the_certificate_name_of_a_host_excludes_a_dot_at_its_end():
    target = parse("wss://example.org./")
    assert target.host == "example.org."
    assert target.tls_name == "example.org"
    assert parse("wss://[::1]/").tls_name == "::1"


@pytest.mark.parametrize("url", ["unix:///s:chat", "unix:///s:http://evil/", "unix:///s%00x", "unix:tmp/s"])
def test_an_ambiguous_unix_url_is_refused(url):
    with pytest.raises(ValueError, match="url 'unix:"):
        parse(url)


def test_a_unix_path_can_contain_any_bytes():
    assert os.fsencode(parse("unix:///tmp/%ff").path) == b"/tmp/\xff"


@pytest.mark.parametrize("url", ["ws://user:[s3cr3t]@host/", "ws://user:s3cr3t\uff1fx@host/"])
def test_an_error_for_an_invalid_url_contains_no_password(url):
    said = ""
    try:
        said = repr(parse(url).host)  # Pythons before 3.11.4 accept the first one: a host in brackets
    except ValueError as error:
        said = str(error)
        assert "s3cr3t" not in said
    assert said
