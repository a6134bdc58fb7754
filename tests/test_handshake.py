"""The HTTP upgrade: what we ask, and what we believe of the answer."""

import base64
import hashlib
import pickle
import re
import tracemalloc
from collections.abc import Mapping

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wsclient._errors import HandshakeError
from wsclient._handshake import (
    MAX_BODY,
    MAX_HEAD,
    REDIRECTS,
    Headers,
    ResponseReader,
    accept_value,
    build_request,
    check_headers,
    check_upgrade,
    new_key,
    refused,
)
from wsclient._url import parse
from wsclient._version import USER_AGENT

quick = settings(deadline=None, max_examples=150)

# The example of RFC 6455 §1.3.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def head(*lines, status="101 Switching Protocols"):
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1")


def good_head(*more, upgrade="websocket", connection="Upgrade", accept=ACCEPT):
    return head(f"Upgrade: {upgrade}", f"Connection: {connection}", f"Sec-WebSocket-Accept: {accept}", *more)


def answer(data):
    """The response in these bytes."""
    response = ResponseReader("The server").feed(data)
    assert response is not None
    return response


def facts(response):
    names = list(response.headers)
    values = [response.headers.get_all(name) for name in names]
    return response.status, response.phrase, names, values


# --- the request ------------------------------------------------------------------------------------------------------


def test_the_request_is_this():
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
    """The only value of this header, whatever the case of its name."""
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
def test_the_host_header_names_the_port_unless_it_goes_without_saying(url, host):
    assert header_of(build_request(parse(url), KEY, {}, []), "Host") == host


def test_no_origin_and_no_authorization_go_out_unasked():
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


def test_the_password_is_nowhere_else():
    request = build_request(parse("ws://joe:secret@host/path"), KEY, {}, [])
    assert b"secret" not in request
    assert b"joe" not in request


def test_headers_of_the_callers_go_out_as_given():
    headers = {"X-Token": "abc", "Cookie": "a=1; b=2", "X-Latin": "grün", "X-Empty": ""}
    request = build_request(parse("ws://host/"), KEY, headers, [])
    assert {name: header_of(request, name) for name in headers} == headers
    assert b"gr\xfcn" in request


@pytest.mark.parametrize("name", ["User-Agent", "user-agent", "HOST", "authorization", "Authorization"])
def test_headers_of_the_callers_win_over_ours(name):
    request = build_request(parse("ws://joe:secret@host/"), KEY, {name: "mine"}, [])
    assert header_of(request, name) == "mine"


def test_subprotocols_are_offered_in_order():
    request = build_request(parse("ws://host/"), KEY, {}, ["b", "a"])
    assert header_of(request, "Sec-WebSocket-Protocol") == "b, a"


def test_a_key_is_16_random_bytes_in_base64():
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert {len(base64.b64decode(key, validate=True)) for key in keys} == {16}


def test_the_key_is_proven_as_in_the_rfcs_example():
    assert accept_value(KEY) == ACCEPT


@quick
@given(st.binary(min_size=16, max_size=16))
def test_every_key_is_proven_by_its_own_value(nonce):
    key = base64.b64encode(nonce).decode()
    digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    assert base64.b64decode(accept_value(key)) == digest


# --- the caller's headers ---------------------------------------------------------------------------------------------


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
def test_good_headers_are_accepted(headers):
    check_headers(headers)


@pytest.mark.parametrize("headers", [None, [("X", "y")], "X: y", 5, {"X"}], ids=repr)
def test_headers_are_a_mapping(headers):
    with pytest.raises(TypeError, match=f"^headers must be a mapping .* not {type(headers).__name__}"):
        check_headers(headers)


@pytest.mark.parametrize("headers", [{"X": 5}, {"X": None}, {"X": b"y"}, {"X": ["y"]}, {b"X": "y"}, {5: "y"}], ids=repr)
def test_headers_are_pairs_of_str(headers):
    with pytest.raises(TypeError, match=r"^headers must be a mapping of str to str"):
        check_headers(headers)


@pytest.mark.parametrize("name", ["", " ", "X Y", "X:", "X\r\nY", "X\n", "(X)", "X\x00", "grün", "X\t", "X,Y", 'X"'])
def test_a_name_that_is_no_token_is_refused(name):
    with pytest.raises(ValueError, match=r"^headers has .* no header name") as caught:
        check_headers({name: "value"})
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("bad", [chr(i) for i in range(32) if i != 9] + ["\x7f", "\r\n"], ids=ascii)
@pytest.mark.parametrize("around", ["hunter2{}x", "{}", "hunter2{}"])
def test_a_control_character_in_a_value_is_refused_and_the_value_not_shown(bad, around):
    with pytest.raises(ValueError, match=r"^headers\['X-Token'\] contains a line break") as caught:
        check_headers({"X-Token": around.format(bad)})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("value", ["hunter2€", "\u0100", "\ud800"], ids=ascii)
def test_a_value_beyond_latin_1_is_refused_and_not_shown(value):
    with pytest.raises(ValueError, match=r"^headers\['X-Token'\] has a character that HTTP can't carry") as caught:
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
def test_what_belongs_to_the_handshake_is_reserved(name, advice, case):
    with pytest.raises(ValueError, match=f"headers can't set '{case(name)}': .*{advice}"):
        check_headers({"X-Fine": "x", case(name): "hunter2"})


@quick
@given(st.dictionaries(st.text(max_size=8), st.text(max_size=12), max_size=3))
@example({"X": "a\x0b"})
@example({"X": "\x85\xa0"})
def test_headers_that_pass_put_nothing_else_into_the_request(headers):
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


def test_a_response_has_status_phrase_headers_and_what_came_behind():
    response = answer(head("Server: x", "X-Y:  z \t", status="403 Not For You") + b"the body")
    assert (response.status, response.phrase, response.rest) == (403, "Not For You", b"the body")
    assert dict(response.headers) == {"server": "x", "x-y": "z"}


@pytest.mark.parametrize(
    ("line", "status", "phrase"),
    [
        (b"HTTP/1.1 200 OK", 200, "OK"),
        (b"HTTP/1.1 200 ", 200, ""),
        (b"HTTP/1.1 200", 200, ""),
        (b"HTTP/1.0 404 Not Found", 404, "Not Found"),
        (b"HTTP/1.1  502  Bad Gateway ", 502, "Bad Gateway"),
        (b"HTTP/1.1 500 gr\xfcn\x07\x1b[31m", 500, "grün[31m"),
        (b"HTTP/1.1 500 " + b"x" * 300, 500, "x" * 100),
    ],
)
def test_status_lines_that_can_be_read(line, status, phrase):
    response = answer(line + b"\r\n\r\n")
    assert (response.status, response.phrase) == (status, phrase)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello",
        b"SSH-2.0-OpenSSH_9.6",
        b"HTTP/2 200 OK",
        b"HTTP/2.0 200 OK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 abc OK",
        b"HTTP/1.1 OK",
        b"HTTP/1.1200 OK",
        b"HTTP/1.10 200 OK",
        b"http/1.1 200 OK",
        b"ICY 200 OK",
        b"x HTTP/1.1 200 OK",
        b"HTTP/1.1 200OK",
        b"HTTP/1.1 \xb2\xb2\xb2 OK",
    ],
)
def test_what_is_no_http_1_1_response_is_refused(line):
    with pytest.raises(HandshakeError, match=r"^The proxy did not answer with HTTP/1.1 but with "):
        ResponseReader("The proxy").feed(line + b"\r\n\r\n")


def test_only_the_beginning_of_nonsense_is_shown():
    with pytest.raises(HandshakeError) as caught:
        answer(b"x" * 1000 + b"\r\n\r\n")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("status", ["000", "099"])
def test_a_status_below_100_is_no_informational_one(status):
    with pytest.raises(HandshakeError):
        ResponseReader("The server").feed(head(status=f"{status} Odd"))


@pytest.mark.parametrize(
    "line", ["no colon", ": no name", " folded: x", "a b: c", "\tX: y", "na\u00efve: x", "X : y", "(X): y"]
)
def test_a_header_line_that_can_not_be_read_is_refused(line):
    with pytest.raises(HandshakeError, match=r"^The server sent a header line that can't be read"):
        answer(head("Server: x", line))


@pytest.mark.parametrize("bad", ["a\rb", "a\x00b", "a\r"], ids=ascii)
def test_no_header_value_holds_a_bare_cr_or_nul(bad):
    try:
        response = answer(head(f"X: {bad}"))
    except HandshakeError:
        return
    assert not set("\r\x00") & set(response.headers["X"])


def test_lines_may_end_in_a_bare_lf():
    response = answer(b"HTTP/1.1 101 Fine\nUpgrade: websocket\nX: y\n\nrest")
    assert (response.status, response.phrase, response.rest) == (101, "Fine", b"rest")
    assert dict(response.headers) == {"upgrade": "websocket", "x": "y"}


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n", b"\n\r\n", b"\r\n\n"])
def test_the_first_empty_line_ends_the_head(end):
    response = answer(b"HTTP/1.1 101 Fine\r\nX: y" + end + b"Z: 1\r\n\r\n\n\n")
    assert dict(response.headers) == {"x": "y"}
    assert response.rest == b"Z: 1\r\n\r\n\n\n"


def test_a_head_may_have_no_headers():
    assert len(answer(b"HTTP/1.1 101 Fine\r\n\r\n").headers) == 0


def test_half_a_head_is_no_response_yet():
    source = ResponseReader("The server")
    data = good_head()
    assert source.feed(data[:-1]) is None
    assert source.feed(data[-1:] + b"rest").rest == b"rest"


HEADS = [
    good_head("Set-Cookie: a=1", "Set-Cookie: b=2") + b"\x81\x02hi",
    b"HTTP/1.1 101 Fine\nUpgrade: websocket\n\n\r\n\r\n",
    b"HTTP/1.1 403 No\r\nX: y\n\r\nbody",
    head("X: y", status="100 Continue") + head(status="103 Early Hints") + good_head() + b"\n\nrest",
    b"HTTP/1.1 100 Continue\n\n" + good_head(),
]


def fed(data, cuts):
    """Feed the pieces until there is a response; it, and all that came behind its head."""
    source = ResponseReader("The server")
    edges = [0, *cuts, len(data)]
    for start, end in zip(edges[:-1], edges[1:], strict=True):  # noqa: RUF007
        response = source.feed(data[start:end])
        if response is not None:
            return facts(response), response.rest + data[end:]
    raise AssertionError("there was no response in it")


@pytest.mark.parametrize("data", HEADS)
def test_a_head_may_be_split_anywhere(data):
    whole = fed(data, [])
    for cut in range(len(data) + 1):
        assert fed(data, [cut]) == whole
    assert fed(data, range(1, len(data))) == whole


@quick
@given(data=st.sampled_from(HEADS), draws=st.data())
def test_a_head_may_come_in_any_pieces(data, draws):
    cuts = sorted(draws.draw(st.lists(st.integers(0, len(data)), max_size=8)))
    assert fed(data, cuts) == fed(data, [])


@quick
@given(
    st.lists(st.binary(max_size=40) | st.sampled_from([*HEADS, b"HTTP/1.1 ", b"\r\n", b"\n", b"X: y\r\n"]), max_size=8)
)
def test_any_bytes_give_a_response_or_an_error_or_wait_for_more(pieces):
    source = ResponseReader("The server")
    for piece in pieces:
        try:
            response = source.feed(piece)
        except HandshakeError:
            return
        if response is not None:
            assert response.status == 101 or 200 <= response.status <= 999
            return


@pytest.mark.parametrize("status", [100, 102, 103, 110, 199])
def test_informational_responses_are_skipped(status):
    response = answer(head("Link: x", status=f"{status} Wait") + good_head() + b"rest")
    assert (response.status, response.rest) == (101, b"rest")
    assert "Link" not in response.headers


def test_many_informational_responses_are_skipped():
    source = ResponseReader("The server")
    for _ in range(50):
        assert source.feed(head("X: " + "y" * 1000, status="103 Early Hints")) is None
    assert source.feed(good_head()).status == 101


def test_a_peer_that_sends_nothing_but_informational_responses_is_refused_at_the_limit():
    source = ResponseReader("The server")
    one = head(status="102 Processing")
    for _ in range(MAX_HEAD // len(one)):
        assert source.feed(one) is None
    with pytest.raises(HandshakeError, match="exceed"):
        source.feed(one)


def test_a_flood_of_informational_responses_in_one_piece_is_refused_too():
    with pytest.raises(HandshakeError, match="exceed"):
        ResponseReader("The server").feed(head(status="102 Processing") * MAX_HEAD)


def test_what_a_peer_echoes_is_not_shown_with_its_secrets():
    with pytest.raises(HandshakeError) as caught:
        answer(b"GET /?token=hunter2 HTTP/1.1\r\n\r\n")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(HandshakeError) as caught:
        answer(head("Authorization Bearer hunter2"))
    assert "hunter2" not in str(caught.value)


def test_a_subprotocol_that_may_be_a_token_is_not_shown():
    with pytest.raises(HandshakeError, match=r"took the subprotocol none, where v1.chat, bearer.a\*\*\* was") as caught:
        check_upgrade(answer(good_head()), KEY, ["v1.chat", "bearer.authorization.example." + "hunter2" * 5])
    assert "hunter2" not in str(caught.value)


def test_after_an_informational_response_the_rest_of_the_head_is_waited_for():
    source = ResponseReader("The server")
    assert source.feed(head(status="100 Continue") + good_head()[:-1]) is None
    assert source.feed(b"\n").status == 101


# --- bounds -----------------------------------------------------------------------------------------------------------


def head_of(size):
    return head("X: " + "y" * (size - len(head("X: ", status="200 OK"))), status="200 OK")


def test_a_head_may_have_64_kib():
    assert len(head_of(MAX_HEAD)) == MAX_HEAD == 65536
    assert answer(head_of(MAX_HEAD)).status == 200
    assert answer(head_of(MAX_HEAD) + b"x" * MAX_HEAD).rest == b"x" * MAX_HEAD


@pytest.mark.parametrize("behind", [b"", b"body"])
def test_a_head_of_more_is_refused(behind):
    with pytest.raises(HandshakeError, match="headers exceed 65536 bytes"):
        answer(head_of(MAX_HEAD + 1) + behind)


def test_a_head_without_end_is_refused_at_the_bound():
    source = ResponseReader("The server")
    assert source.feed(b"x" * MAX_HEAD) is None
    with pytest.raises(HandshakeError, match=r"^The server sent a response whose headers exceed"):
        source.feed(b"x")


def test_a_head_without_end_takes_no_more_memory_than_the_bound():
    source = ResponseReader("The server")
    tracemalloc.start()
    try:
        while source.feed(b"X: yyyyyyyyyyyyy") is None:
            pass
    except HandshakeError:
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MAX_HEAD


def test_a_head_may_have_128_headers():
    assert len(answer(head(*[f"X-{i}: y" for i in range(128)])).headers) == 128


def test_a_head_of_more_headers_is_refused():
    with pytest.raises(HandshakeError, match="more than 128 headers"):
        answer(head(*[f"X-{i}: y" for i in range(129)]))


# --- headers ----------------------------------------------------------------------------------------------------------

COOKIES = Headers([("Set-Cookie", "a=1"), ("Server", "x"), ("set-cookie", "b=2; Expires=Thu, 01 Jan")])


def test_headers_are_found_in_any_case():
    for name in ("server", "Server", "SERVER"):
        assert COOKIES[name] == "x"
        assert name in COOKIES
        assert COOKIES.get(name) == "x"


def test_repeated_headers_are_kept():
    assert COOKIES.get_all("Set-Cookie") == ["a=1", "b=2; Expires=Thu, 01 Jan"]
    assert COOKIES.get_all("SET-COOKIE") == ["a=1", "b=2; Expires=Thu, 01 Jan"]
    assert COOKIES["Set-Cookie"] == "a=1, b=2; Expires=Thu, 01 Jan"


def test_a_header_that_is_not_there_is_missing():
    assert COOKIES.get_all("X") == []
    assert COOKIES.get("X") is None
    assert "X" not in COOKIES
    assert 5 not in COOKIES
    with pytest.raises(KeyError, match="X"):
        COOKIES["X"]


def test_an_empty_header_is_there():
    headers = Headers([("X", "")])
    assert "x" in headers
    assert headers["X"] == ""


def test_headers_are_a_mapping_of_distinct_names():
    assert isinstance(COOKIES, Mapping)
    assert list(COOKIES) == ["set-cookie", "server"]
    assert len(COOKIES) == 2
    assert dict(Headers()) == {}


def test_headers_show_no_values():
    assert repr(COOKIES) == "<Headers set-cookie, server>"


def test_headers_survive_pickle():
    twin = pickle.loads(pickle.dumps(COOKIES))
    assert twin == COOKIES
    assert twin.get_all("set-cookie") == COOKIES.get_all("set-cookie")


# --- is it a WebSocket? -----------------------------------------------------------------------------------------------


def test_a_good_upgrade_is_accepted():
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
def test_upgrade_and_connection_are_compared_without_case_among_others(upgrade, connection):
    check_upgrade(answer(good_head(upgrade=upgrade, connection=connection)), KEY, [])


@pytest.mark.parametrize(
    ("upgrade", "connection"),
    [("h2c", "Upgrade"), ("websocket2", "Upgrade"), ("", "Upgrade"), ("websocket", "close"), ("websocket", "")],
)
def test_an_upgrade_to_something_else_is_refused(upgrade, connection):
    with pytest.raises(HandshakeError, match="something else than WebSocket") as caught:
        check_upgrade(answer(good_head(upgrade=upgrade, connection=connection)), KEY, [])
    assert caught.value.status == 101
    assert caught.value.headers["upgrade"] == upgrade
    assert caught.value.retry


def test_an_upgrade_to_something_else_besides_is_refused():
    with pytest.raises(HandshakeError):
        check_upgrade(answer(good_head(upgrade="h2c, websocket")), KEY, [])


@pytest.mark.parametrize("missing", ["Upgrade", "Connection", "Sec-WebSocket-Accept"])
def test_each_header_of_the_upgrade_is_needed(missing):
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
def test_a_proof_that_is_not_exact_is_refused(accept):
    with pytest.raises(HandshakeError, match="Sec-WebSocket-Accept") as caught:
        check_upgrade(answer(good_head(accept=accept)), KEY, [])
    assert caught.value.retry


@pytest.mark.parametrize("second", [ACCEPT, "x"])
def test_a_proof_that_comes_twice_is_refused(second):
    with pytest.raises(HandshakeError, match="Sec-WebSocket-Accept"):
        check_upgrade(answer(good_head(f"Sec-WebSocket-Accept: {second}")), KEY, [])


def test_a_proof_of_another_key_is_refused():
    with pytest.raises(HandshakeError, match="Sec-WebSocket-Accept"):
        check_upgrade(answer(good_head()), new_key(), [])


@pytest.mark.parametrize("extension", ["permessage-deflate", "x", ""])
def test_an_extension_nobody_offered_is_refused(extension):
    with pytest.raises(HandshakeError, match="extension that was not offered"):
        check_upgrade(answer(good_head(f"Sec-WebSocket-Extensions: {extension}")), KEY, [])


@pytest.mark.parametrize("chosen", ["a", "b"])
def test_the_subprotocol_is_the_one_the_server_chose(chosen):
    response = answer(good_head(f"sec-websocket-protocol:  {chosen} "))
    assert check_upgrade(response, KEY, ["a", "b"]) == chosen


@pytest.mark.parametrize(
    ("lines", "offered", "text"),
    [
        ([], ["a", "b"], "took the subprotocol none, where a, b was offered"),
        (["c"], ["a", "b"], "took the subprotocol c, where a, b was offered"),
        (["A"], ["a"], "took the subprotocol A, where a was offered"),
        (["a, b"], ["a", "b"], "took the subprotocol a, b, where a, b was offered"),
        (["a", "b"], ["a", "b"], "took the subprotocol a, b, where a, b was offered"),
        (["a", "a"], ["a"], "took the subprotocol a, a, where a was offered"),
        (["a"], [], "took the subprotocol a, where none was offered"),
    ],
)
def test_a_subprotocol_that_was_not_offered_is_fatal(lines, offered, text):
    response = answer(good_head(*[f"Sec-WebSocket-Protocol: {line}" for line in lines]))
    with pytest.raises(HandshakeError, match=text) as caught:
        check_upgrade(response, KEY, offered)
    assert caught.value.retry is False


def test_a_response_that_is_no_101_is_refused_with_its_status():
    response = answer(head("Content-Length: 2", status="403 No") + b"no")
    with pytest.raises(HandshakeError) as caught:
        check_upgrade(response, KEY, [])
    assert (caught.value.status, caught.value.body, caught.value.retry) == (403, b"no", False)


@pytest.mark.parametrize("status", ["200 OK", "204 No Content"])
def test_a_perfect_upgrade_of_another_status_is_refused(status):
    data = good_head().replace(b"101 Switching Protocols", status.encode())
    with pytest.raises(HandshakeError, match=f"HTTP {status}"):
        check_upgrade(answer(data), KEY, [])


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 407, 409, 410, 421, 422, 426, 428, 431, 451, 499])
def test_most_4xx_are_fatal(status):
    error = refused(answer(head(status=f"{status} No")))
    assert error.retry is False
    assert "trying again won't help" in str(error)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 599, 200, 204, 301, 304, 399])
def test_every_other_status_is_retried(status):
    error = refused(answer(head(status=f"{status} Later")))
    assert error.retry is True
    assert "trying again" not in str(error)


def test_a_refusal_has_all_that_the_server_said():
    data = head("Retry-After: 7", "Content-Length: 4", status="503 Service Unavailable") + b"busy"
    error = refused(answer(data))
    assert str(error) == "The server refused the upgrade to WebSocket with HTTP 503 Service Unavailable."
    assert (error.status, error.headers["retry-after"], error.body) == (503, "7", b"busy")


def test_a_refusal_without_a_phrase_reads_well():
    assert re.search("with HTTP 503\\.$", str(refused(answer(b"HTTP/1.1 503\r\n\r\n"))))


def test_redirects_are_those_that_name_another_place():
    assert {301, 302, 303, 307, 308} == REDIRECTS


# --- bodies -----------------------------------------------------------------------------------------------------------


def with_body(body, *lines, status="400 Bad Request"):
    return answer(head(*lines, status=status) + body)


@pytest.mark.parametrize(
    ("body", "whole"), [(b"", False), (b"hell", False), (b"hello", True), (b"hello and more", True)]
)
def test_a_content_length_says_when_the_body_is_whole(body, whole):
    response = with_body(body, "Content-Length: 5")
    assert response.body_is_whole() is whole
    assert response.body() == body


def test_an_empty_body_is_whole_at_once():
    assert with_body(b"", "Content-Length: 0").body_is_whole()


@pytest.mark.parametrize("length", ["five", "-1", "+5", "5.0", "", "5, 5", "\xb2", "0x5"])
def test_a_content_length_that_is_none_says_nothing(length):
    assert not with_body(b"hello", f"Content-Length: {length}").body_is_whole()


def test_a_content_length_of_many_digits_does_no_harm():
    response = with_body(b"hello", "Content-Length: " + "9" * 5000)
    assert not response.body_is_whole()


def test_a_body_of_unknown_length_is_never_whole():
    assert not with_body(b"hello").body_is_whole()


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_these_have_no_body_to_wait_for(status):
    assert with_body(b"", "Content-Length: 5", status=status).body_is_whole()


def test_a_body_is_whole_when_no_more_of_it_would_be_kept():
    assert MAX_BODY == 65536
    assert not with_body(b"x" * (MAX_BODY - 1), "Content-Length: 999999").body_is_whole()
    response = with_body(b"x" * MAX_BODY, "Content-Length: 999999")
    assert response.body_is_whole()
    response.rest += b"y"
    assert response.body() == b"x" * MAX_BODY
    assert len(refused(response).body) == MAX_BODY


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n", b"hello, world"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"005;x=y\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"5 \r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
        (b"0\r\n\r\n", b""),
    ],
)
def test_the_chunks_of_a_body_are_joined(raw, body):
    response = with_body(raw, "Transfer-Encoding: Chunked")
    assert response.body() == body
    assert response.body_is_whole()


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"", b""),
        (b"5", b""),
        (b"5\r\n", b""),
        (b"5\r\nhel", b"hel"),
        (b"5\r\nhello", b"hello"),
        (b"5\r\nhello\r\n", b"hello"),
        (b"5\r\nhello\r\nnonsense\r\nmore", b"hello"),
        (b"5\r\nhello\r\n-1\r\nmore", b"hello"),
        (b"5\r\nhello\r\nfffffffff\r\nmore", b"hello"),
    ],
)
def test_of_a_broken_chunked_body_there_is_what_came(raw, body):
    response = with_body(raw, "Transfer-Encoding: chunked")
    assert response.body() == body
    assert not response.body_is_whole()


def test_a_chunked_body_is_bounded():
    response = with_body(b"20000\r\n" + b"x" * 0x20000, "Transfer-Encoding: chunked")
    assert response.body() == b"x" * MAX_BODY


def test_chunks_count_more_than_a_content_length():
    response = with_body(b"5\r\nhel", "Content-Length: 3", "Transfer-Encoding: chunked")
    assert not response.body_is_whole()


def test_a_chunk_that_looks_like_the_end_is_not_the_end():
    raw = b"20\r\n" + b"\r\n" + b"x" * 30 + b"\r\n0\r\n\r\n"
    assert with_body(raw, "Transfer-Encoding: chunked").body_is_whole()
    assert not with_body(raw[:6], "Transfer-Encoding: chunked").body_is_whole()


def test_a_chunked_body_with_trailers_is_whole_too():
    raw = b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
    assert with_body(raw, "Transfer-Encoding: chunked").body_is_whole()


@quick
@given(chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=4))
def test_the_whole_of_a_chunked_body_is_its_content(chunks):
    raw = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    response = with_body(raw, "Transfer-Encoding: chunked")
    assert response.body_is_whole()
    assert response.body() == b"".join(chunks)
    for end in range(len(raw)):
        assert b"".join(chunks).startswith(with_body(raw[:end], "Transfer-Encoding: chunked").body())
