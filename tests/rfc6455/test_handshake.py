"""The HTTP upgrade: the request, and the validation of the response."""

import base64
import hashlib
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsclient._errors import HandshakeError
from wsclient._rfc6455.handshake import (
    REDIRECTS,
    accept_value,
    build_request,
    check_extensions,
    check_headers,
    check_upgrade,
    new_key,
    refusal_error,
)
from wsclient._rfc6455.url import parse
from wsclient._version import USER_AGENT

from ..support.http import ACCEPT, answer, good_head, head

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
"""The key of the example in RFC 6455 §1.3."""


# --- the request ------------------------------------------------------------------------------------------------------


def test_the_request_is_exactly_this_text():
    request = build_request(parse("ws://example.org/chat?room=1"), KEY, {}, [])
    assert request == (
        b"GET /chat?room=1 HTTP/1.1\r\n"
        b"Host: example.org\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Version: 13\r\n"
        b"User-Agent: " + USER_AGENT.encode() + b"\r\n"
        b"\r\n"
    )


def lines_of(request):
    first, *lines, last, end = request.decode("latin-1").split("\r\n")
    assert last == end == ""
    return first, lines


def header_of(request, name):
    """The only value of this header, with a case-insensitive name."""
    found = [line.partition(": ")[2] for line in lines_of(request)[1] if line.lower().startswith(f"{name.lower()}:")]
    assert len(found) <= 1
    return found[0] if found else None


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("ws://example.org/", "example.org"),
        ("ws://example.org:8080/", "example.org:8080"),
        ("wss://example.org:443/", "example.org"),
        ("ws://example.org:443/", "example.org:443"),
        ("ws://[::1]:9000/", "[::1]:9000"),
        ("ws://user:secret@example.org/", "example.org"),
        ("ws://bücher.example/", "xn--bcher-kva.example"),
    ],
)
def test_the_host_header_contains_a_port_other_than_the_default(url, host):
    assert header_of(build_request(parse(url), KEY, {}, []), "Host") == host


def test_origin_and_authorization_are_not_sent_by_default():
    request = build_request(parse("ws://example.org/"), KEY, {}, [])
    assert header_of(request, "Origin") is None
    assert header_of(request, "Authorization") is None
    assert header_of(request, "Sec-WebSocket-Protocol") is None


@pytest.mark.parametrize(
    ("userinfo", "credentials"),
    [("joe:secret", "joe:secret"), ("joe", "joe:"), ("jo%C3%A9:a%3Ab%40c", "joé:a:b@c"), (":secret", ":secret")],
)
def test_user_and_password_become_basic_authentication(userinfo, credentials):
    request = build_request(parse(f"ws://{userinfo}@host/"), KEY, {}, [])
    scheme, _, token = header_of(request, "Authorization").partition(" ")
    assert scheme == "Basic"
    assert base64.b64decode(token).decode() == credentials


def test_the_password_is_in_no_other_header():
    request = build_request(parse("ws://joe:secret@host/path"), KEY, {}, [])
    assert b"secret" not in request
    assert b"joe" not in request


def test_headers_of_the_caller_are_sent_unchanged():
    headers = {"X-Token": "abc", "Cookie": "a=1; b=2", "X-Latin": "grün", "X-Empty": ""}
    request = build_request(parse("ws://host/"), KEY, headers, [])
    assert {name: header_of(request, name) for name in headers} == headers
    assert b"gr\xfcn" in request


@pytest.mark.parametrize("name", ["User-Agent", "user-agent", "HOST", "authorization", "Authorization"])
def test_headers_of_the_caller_take_precedence(name):
    request = build_request(parse("ws://joe:secret@host/"), KEY, {name: "mine"}, [])
    assert header_of(request, name) == "mine"


def test_subprotocols_are_offered_in_order():
    request = build_request(parse("ws://host/"), KEY, {}, ["b", "a"])
    assert header_of(request, "Sec-WebSocket-Protocol") == "b, a"


def test_a_key_is_16_random_bytes_in_base64():
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert {len(base64.b64decode(key, validate=True)) for key in keys} == {16}


def test_the_key_is_verified_as_in_the_example_of_the_rfc():
    assert accept_value(KEY) == ACCEPT


@given(st.binary(min_size=16, max_size=16))
def test_every_key_is_verified_by_its_own_accept_value(nonce):
    key = base64.b64encode(nonce).decode()
    digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    assert base64.b64decode(accept_value(key)) == digest


# --- headers of the caller --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Token": "abc"},
        {"X-Tab": "a\tb"},
        {"X-Latin": "gr\xfcn \x80\xff"},
        {"!#$%&'*+-.^_`|~09azAZ": "x"},
        {"Host": "other", "Origin": "https://example.org", "Cookie": "a=b", "Authorization": "Bearer x"},
    ],
    ids=repr,
)
def test_valid_headers_are_accepted(headers):
    check_headers(headers)


@pytest.mark.parametrize("headers", [None, [("X", "y")], "X: y", 5, {"X"}], ids=repr)
def test_headers_must_be_a_mapping(headers):
    with pytest.raises(TypeError, match=f"^headers must be a mapping .* not {type(headers).__name__}"):
        check_headers(headers)


@pytest.mark.parametrize("headers", [{"X": 5}, {"X": None}, {"X": b"y"}, {"X": ["y"]}, {b"X": "y"}, {5: "y"}], ids=repr)
def test_header_names_and_values_must_be_str(headers):
    with pytest.raises(TypeError, match=r"^headers must be a mapping of str to str"):
        check_headers(headers)


@pytest.mark.parametrize("name", ["", " ", "X Y", "X:", "X\r\nY", "X\n", "(X)", "X\x00", "grün", "X\t", "X,Y", 'X"'])
def test_a_header_name_that_is_not_a_token_is_refused(name):
    with pytest.raises(ValueError, match=r"^headers has .* not a valid header name") as caught:
        check_headers({name: "value"})
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("around", ["hunter2{}x", "{}", "hunter2{}"])
def test_a_control_character_in_a_value_is_refused_without_printing_the_value(around):
    for bad in [chr(i) for i in range(32) if i != 9] + ["\x7f", "\r\n"]:
        with pytest.raises(ValueError, match=r"^headers\['X-Token'\] contains a line break") as caught:
            check_headers({"X-Token": around.format(bad)})
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("value", ["hunter2€", "\u0100", "\ud800"], ids=ascii)
def test_a_value_beyond_latin_1_is_refused_without_printing_it(value):
    with pytest.raises(ValueError, match=r"^headers\['X-Token'\] has a character outside Latin-1") as caught:
        check_headers({"X-Token": value})
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("Upgrade", "part of the handshake"),
        ("Connection", "part of the handshake"),
        ("Sec-WebSocket-Key", "part of the handshake"),
        ("Sec-WebSocket-Version", "part of the handshake"),
        ("Sec-WebSocket-Accept", "part of the handshake"),
        ("Sec-WebSocket-Protocol", "use subprotocols="),
        ("Sec-WebSocket-Extensions", "use compression="),
    ],
)
@pytest.mark.parametrize("case", [str, str.lower, str.upper], ids=["as written", "lower", "upper"])
def test_headers_of_the_handshake_are_reserved(name, advice, case):
    with pytest.raises(ValueError, match=f"headers can't set '{case(name)}': .*{advice}"):
        check_headers({"X-Fine": "x", case(name): "hunter2"})


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=12), max_size=3))
@example({"X": "a\x0b"})
@example({"X": "\x85\xa0"})
def test_accepted_headers_add_nothing_else_to_the_request(headers):
    try:
        check_headers(headers)
    except ValueError:
        return
    plain = build_request(parse("ws://host/"), KEY, {}, [])
    request = build_request(parse("ws://host/"), KEY, headers, [])
    assert request.count(b"\n") == plain.count(b"\n") + len(headers)
    assert request.count(b"\r") == request.count(b"\n")
    assert request.count(b"\r\n\r\n") == 1


# --- the response -----------------------------------------------------------------------------------------------------


def test_a_valid_upgrade_is_accepted():
    assert check_upgrade(answer(good_head()), KEY, []) is None


@pytest.mark.parametrize(
    ("upgrade", "connection"),
    [
        ("WebSocket", "upgrade"),
        ("WEBSOCKET", "keep-alive, Upgrade"),
        ("websocket", "Upgrade,keep-alive"),
        ("websocket", "UPGRADE"),
    ],
)
def test_upgrade_and_connection_headers_are_compared_without_case_among_other_values(upgrade, connection):
    check_upgrade(answer(good_head(upgrade=upgrade, connection=connection)), KEY, [])


@pytest.mark.parametrize(
    ("upgrade", "connection"),
    [("h2c", "Upgrade"), ("websocket2", "Upgrade"), ("", "Upgrade"), ("websocket", "close"), ("websocket", "")],
)
def test_an_upgrade_to_another_protocol_is_refused(upgrade, connection):
    with pytest.raises(HandshakeError, match="does not upgrade to WebSocket") as caught:
        check_upgrade(answer(good_head(upgrade=upgrade, connection=connection)), KEY, [])
    assert caught.value.status == 101
    assert caught.value.headers["upgrade"] == upgrade
    assert caught.value.retry


def test_an_upgrade_to_several_protocols_is_refused():
    with pytest.raises(HandshakeError):
        check_upgrade(answer(good_head(upgrade="h2c, websocket")), KEY, [])


@pytest.mark.parametrize("missing", ["Upgrade", "Connection", "Sec-WebSocket-Accept"])
def test_each_header_of_the_upgrade_is_required(missing):
    lines = [line for line in good_head().decode().split("\r\n")[1:4] if not line.startswith(f"{missing}:")]
    assert len(lines) == 2
    with pytest.raises(HandshakeError):
        check_upgrade(answer(head(*lines)), KEY, [])


@pytest.mark.parametrize(
    "accept",
    [
        ACCEPT.lower(),
        ACCEPT.upper(),
        ACCEPT.swapcase(),
        ACCEPT[:-1],
        ACCEPT + "=",
        "",
        KEY,
        accept_value(KEY.lower()),
        f"{ACCEPT}, {ACCEPT}",
        f'"{ACCEPT}"',
    ],
)
def test_an_accept_value_that_is_not_exact_is_refused(accept):
    with pytest.raises(HandshakeError, match="Sec-WebSocket-Accept") as caught:
        check_upgrade(answer(good_head(accept=accept)), KEY, [])
    assert caught.value.retry


@pytest.mark.parametrize("second", [ACCEPT, "x"])
def test_a_repeated_accept_value_is_refused(second):
    with pytest.raises(HandshakeError, match="Sec-WebSocket-Accept"):
        check_upgrade(answer(good_head(f"Sec-WebSocket-Accept: {second}")), KEY, [])


def test_an_accept_value_of_another_key_is_refused():
    with pytest.raises(HandshakeError, match="Sec-WebSocket-Accept"):
        check_upgrade(answer(good_head()), new_key(), [])


@pytest.mark.parametrize("extension", ["permessage-deflate", "x", "x; y=z", ", x"])
def test_an_extension_that_was_not_offered_is_refused(extension):
    response = answer(good_head(f"Sec-WebSocket-Extensions: {extension}"))
    with pytest.raises(HandshakeError, match="extensions that were not offered") as caught:
        check_extensions(response, None)
    assert (caught.value.status, caught.value.retry) == (101, True)
    assert caught.value.headers is response.headers


@pytest.mark.parametrize("lines", [[], ["Sec-WebSocket-Extensions:"], ["Sec-WebSocket-Extensions: ,"]], ids=repr)
def test_a_server_without_an_extension_header_uses_none(lines):
    assert check_extensions(answer(good_head(*lines)), None) is None


@pytest.mark.parametrize("extension", ["permessage-deflate", "x", ""])
def test_the_websocket_check_ignores_extensions(extension):
    assert check_upgrade(answer(good_head(f"Sec-WebSocket-Extensions: {extension}")), KEY, []) is None


@pytest.mark.parametrize("chosen", ["a", "b"])
def test_the_subprotocol_is_that_of_the_servers_response(chosen):
    response = answer(good_head(f"sec-websocket-protocol:  {chosen} "))
    assert check_upgrade(response, KEY, ["a", "b"]) == chosen


@pytest.mark.parametrize("values", [[""], [" "], ["", ""]])
def test_an_empty_subprotocol_in_the_response_is_none(values):
    response = answer(good_head(*[f"Sec-WebSocket-Protocol: {value}" for value in values]))
    assert check_upgrade(response, KEY, []) is None


@pytest.mark.parametrize(
    ("lines", "offered", "text"),
    [
        ([], ["a", "b"], r"^The server chose no subprotocol; the client had offered 'a', 'b'; the server may not"),
        ([""], ["a"], r"^The server chose no subprotocol; the client had offered 'a'; the server may not"),
        (["c"], ["a", "b"], r"chose the subprotocol 'c'; the client had offered 'a', 'b'\."),
        (["A"], ["a"], r"chose the subprotocol 'A'; the client had offered 'a'\."),
        (["a, b"], ["a", "b"], r"chose the subprotocol 'a, b'; the client had offered 'a', 'b'\."),
        (["a", "b"], ["a", "b"], r"chose the subprotocol 'a', 'b'; the client had offered 'a', 'b'\."),
        (["a", "a"], ["a"], r"chose the subprotocol 'a', 'a'; the client had offered 'a'\."),
        (
            ["a"],
            [],
            r"^The server chose the subprotocol 'a', but the client offered none; name it in subprotocols= if it",
        ),
        (["none"], [], r"chose the subprotocol 'none', but the client offered none;"),
    ],
)
def test_a_subprotocol_that_was_not_offered_is_fatal(lines, offered, text):
    response = answer(good_head(*[f"Sec-WebSocket-Protocol: {line}" for line in lines]))
    with pytest.raises(HandshakeError, match=text) as caught:
        check_upgrade(response, KEY, offered)
    assert caught.value.retry is False


def test_a_subprotocol_that_may_be_a_token_is_not_printed():
    with pytest.raises(HandshakeError, match=r"no subprotocol; .* had offered 'v1.chat', 'bearer.a\*\*\*';") as caught:
        check_upgrade(answer(good_head()), KEY, ["v1.chat", "bearer.authorization.example." + "hunter2" * 5])
    assert "hunter2" not in str(caught.value)


def test_a_response_other_than_101_is_refused_with_its_status():
    response = answer(head("Content-Length: 2", status="403 No") + b"no")
    with pytest.raises(HandshakeError) as caught:
        check_upgrade(response, KEY, [])
    assert (caught.value.status, caught.value.body, caught.value.retry) == (403, b"no", False)


@pytest.mark.parametrize("status", ["200 OK", "204 No Content"])
def test_a_complete_upgrade_with_another_status_is_refused(status):
    data = good_head().replace(b"101 Switching Protocols", status.encode())
    with pytest.raises(HandshakeError, match=f"HTTP {status}"):
        check_upgrade(answer(data), KEY, [])


# --- rejections -------------------------------------------------------------------------------------------------------


def test_most_4xx_are_fatal():
    for status in [400, 401, 402, 403, 404, 405, 407, 409, 410, 421, 422, 426, 428, 431, 451, 499]:
        error = refusal_error(answer(head(status=f"{status} No")))
        assert error.retry is False
        assert "another attempt won't help: see .headers and .body of this error" in str(error)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 599, 200, 204, 301, 304, 399])
def test_every_other_status_is_retried(status):
    error = refusal_error(answer(head(status=f"{status} Later")))
    assert error.retry is True
    assert "another attempt" not in str(error)


def test_a_rejection_has_status_headers_and_body():
    data = head("Retry-After: 7", "Content-Length: 4", status="503 Service Unavailable") + b"busy"
    error = refusal_error(answer(data))
    assert str(error) == "The server refused the upgrade to WebSocket with HTTP 503 Service Unavailable."
    assert (error.status, error.headers["retry-after"], error.body) == (503, "7", b"busy")


def test_a_rejection_without_a_reason_phrase_has_a_readable_message():
    assert re.search("with HTTP 503\\.$", str(refusal_error(answer(b"HTTP/1.1 503\r\n\r\n"))))


def test_redirects_are_the_statuses_with_another_location():
    assert {301, 302, 303, 307, 308} == REDIRECTS
