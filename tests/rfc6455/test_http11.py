"""HTTP/1.1 responses: heads and bodies in any pieces, and within limits."""

import pickle
import re
import tracemalloc
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsclient._errors import HandshakeError
from wsclient._options import DEFAULT_LIMITS, Limits
from wsclient._rfc6455.handshake import refusal_error
from wsclient._rfc6455.http11 import NAME_PATTERN, Headers, ResponseReader, is_token

from ..support.http import answer, good_head, head

MAX_HEAD, MAX_BODY = DEFAULT_LIMITS.max_head_bytes, DEFAULT_LIMITS.max_body_bytes


def facts(response):
    names = list(response.headers)
    values = [response.headers.get_all(name) for name in names]
    return response.status, response.phrase, names, values


# --- the response -----------------------------------------------------------------------------------------------------


def test_a_response_has_status_phrase_headers_and_the_bytes_after_its_head():
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
def test_valid_status_lines_are_parsed(line, status, phrase):
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
def test_an_invalid_status_line_is_refused(line):
    with pytest.raises(HandshakeError, match=r"^The proxy did not answer with HTTP/1.1 but with "):
        ResponseReader("The proxy").feed(line + b"\r\n\r\n")


def test_the_error_contains_only_the_beginning_of_an_invalid_response():
    with pytest.raises(HandshakeError) as caught:
        answer(b"x" * 1000 + b"\r\n\r\n")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("status", ["000", "099"])
def test_a_status_below_100_is_not_informational(status):
    with pytest.raises(HandshakeError):
        ResponseReader("The server").feed(head(status=f"{status} Odd"))


@pytest.mark.parametrize(
    "line", ["no colon", ": no name", " folded: x", "a b: c", "\tX: y", "na\u00efve: x", "X : y", "(X): y"]
)
def test_an_invalid_header_line_is_refused(line):
    with pytest.raises(HandshakeError, match=r"^The server sent a header line that can't be read"):
        answer(head("Server: x", line))


@pytest.mark.parametrize("bad", ["a\rb", "a\x00b", "a\r"], ids=ascii)
def test_a_header_value_with_a_bare_cr_or_nul_is_refused(bad):
    try:
        response = answer(head(f"X: {bad}"))
    except HandshakeError:
        return
    assert not set("\r\x00") & set(response.headers["X"])


def test_lines_can_end_with_a_bare_lf():
    response = answer(b"HTTP/1.1 101 Fine\nUpgrade: websocket\nX: y\n\nrest")
    assert (response.status, response.phrase, response.rest) == (101, "Fine", b"rest")
    assert dict(response.headers) == {"upgrade": "websocket", "x": "y"}


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n", b"\n\r\n", b"\r\n\n"])
def test_the_first_empty_line_ends_the_head(end):
    response = answer(b"HTTP/1.1 101 Fine\r\nX: y" + end + b"Z: 1\r\n\r\n\n\n")
    assert dict(response.headers) == {"x": "y"}
    assert response.rest == b"Z: 1\r\n\r\n\n\n"


def test_a_head_can_have_no_headers():
    assert len(answer(b"HTTP/1.1 101 Fine\r\n\r\n").headers) == 0


def test_an_incomplete_head_returns_no_response():
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
    """Feed the pieces until there is a response; return it, and all bytes after its head."""
    source = ResponseReader("The server")
    edges = [0, *cuts, len(data)]
    for start, end in zip(edges[:-1], edges[1:], strict=True):  # noqa: RUF007
        response = source.feed(data[start:end])
        if response is not None:
            return facts(response), response.rest + data[end:]
    raise AssertionError("there was no response in it")


@pytest.mark.parametrize("data", HEADS)
def test_a_head_can_be_split_anywhere(data):
    whole = fed(data, [])
    for cut in range(len(data) + 1):
        assert fed(data, [cut]) == whole
    assert fed(data, range(1, len(data))) == whole


@given(data=st.sampled_from(HEADS), draws=st.data())
def test_a_head_can_arrive_in_any_pieces(data, draws):
    cuts = sorted(draws.draw(st.lists(st.integers(0, len(data)), max_size=8)))
    assert fed(data, cuts) == fed(data, [])


@given(
    st.lists(st.binary(max_size=40) | st.sampled_from([*HEADS, b"HTTP/1.1 ", b"\r\n", b"\n", b"X: y\r\n"]), max_size=8)
)
def test_any_bytes_return_a_response_or_an_error_or_wait_for_more(pieces):
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


def test_a_peer_that_sends_only_informational_responses_is_refused_at_the_limit():
    source = ResponseReader("The server")
    one = head(status="102 Processing")
    for _ in range(MAX_HEAD // len(one)):
        assert source.feed(one) is None
    with pytest.raises(HandshakeError, match="exceed"):
        source.feed(one)


def test_many_informational_responses_in_one_piece_are_refused_too():
    one = head(status="102 Processing")
    with pytest.raises(HandshakeError, match="exceed"):
        ResponseReader("The server").feed(one * (2 * MAX_HEAD // len(one)))


def test_secrets_that_a_peer_sends_back_are_not_printed():
    with pytest.raises(HandshakeError) as caught:
        answer(b"GET /?token=hunter2 HTTP/1.1\r\n\r\n")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(HandshakeError) as caught:
        answer(head("Authorization Bearer hunter2"))
    assert "hunter2" not in str(caught.value)


def test_after_an_informational_response_the_rest_of_the_head_is_read():
    source = ResponseReader("The server")
    assert source.feed(head(status="100 Continue") + good_head()[:-1]) is None
    assert source.feed(b"\n").status == 101


# --- limits -----------------------------------------------------------------------------------------------------------


def head_of(size):
    return head("X: " + "y" * (size - len(head("X: ", status="200 OK"))), status="200 OK")


def test_a_head_can_have_64_kib():
    assert len(head_of(MAX_HEAD)) == MAX_HEAD == 65536
    assert answer(head_of(MAX_HEAD)).status == 200
    assert answer(head_of(MAX_HEAD) + b"x" * MAX_HEAD).rest == b"x" * MAX_HEAD


@pytest.mark.parametrize("behind", [b"", b"body"])
def test_a_larger_head_is_refused(behind):
    with pytest.raises(HandshakeError, match="headers exceed 65536 bytes"):
        answer(head_of(MAX_HEAD + 1) + behind)


def test_a_head_without_an_end_is_refused_at_the_limit():
    source = ResponseReader("The server")
    assert source.feed(b"x" * MAX_HEAD) is None
    with pytest.raises(HandshakeError, match=r"^The server sent a response whose headers exceed"):
        source.feed(b"x")


def test_a_head_without_an_end_uses_no_more_memory_than_the_limit():
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


def test_a_head_can_have_128_headers():
    assert len(answer(head(*[f"X-{i}: y" for i in range(128)])).headers) == 128


def test_a_head_with_more_headers_is_refused():
    with pytest.raises(HandshakeError, match="more than 128 headers"):
        answer(head(*[f"X-{i}: y" for i in range(129)]))


def limited(**limits):
    return ResponseReader("The proxy", Limits(**limits))


def test_the_limit_of_the_bytes_of_a_head_can_be_changed():
    assert limited(max_head_bytes=100).feed(head_of(100) + b"x" * 200).status == 200
    with pytest.raises(HandshakeError, match=r"^The proxy sent a response whose headers exceed 100 bytes\.$"):
        limited(max_head_bytes=100).feed(head_of(101))
    assert limited(max_head_bytes=2 * MAX_HEAD).feed(head_of(2 * MAX_HEAD)).status == 200


def test_informational_responses_count_towards_a_changed_limit_too():
    source = limited(max_head_bytes=100)
    assert source.feed(head(status="102 Processing")) is None
    with pytest.raises(HandshakeError, match="exceed 100 bytes"):
        source.feed(head_of(80))


def test_the_limit_of_the_headers_of_a_head_can_be_changed():
    two, three = (head(*[f"X-{i}: y" for i in range(n)], status="200 OK") for n in (2, 3))
    assert len(limited(max_headers=2).feed(two).headers) == 2
    with pytest.raises(HandshakeError, match=r"^The proxy sent a response with more than 2 headers\.$"):
        limited(max_headers=2).feed(three)


# --- headers ----------------------------------------------------------------------------------------------------------

COOKIES = Headers([("Set-Cookie", "a=1"), ("Server", "x"), ("set-cookie", "b=2; Expires=Thu, 01 Jan")])


def test_header_names_are_case_insensitive():
    for name in ("server", "Server", "SERVER"):
        assert COOKIES[name] == "x"
        assert name in COOKIES
        assert COOKIES.get(name) == "x"


def test_repeated_headers_are_kept():
    assert COOKIES.get_all("Set-Cookie") == ["a=1", "b=2; Expires=Thu, 01 Jan"]
    assert COOKIES.get_all("SET-COOKIE") == ["a=1", "b=2; Expires=Thu, 01 Jan"]
    assert COOKIES["Set-Cookie"] == "a=1, b=2; Expires=Thu, 01 Jan"


def test_a_missing_header_returns_none():
    assert COOKIES.get_all("X") == []
    assert COOKIES.get("X") is None
    assert "X" not in COOKIES
    assert 5 not in COOKIES
    with pytest.raises(KeyError, match="X"):
        COOKIES["X"]


def test_an_empty_header_is_present():
    headers = Headers([("X", "")])
    assert "x" in headers
    assert headers["X"] == ""


def test_headers_are_a_mapping_of_unique_names():
    assert isinstance(COOKIES, Mapping)
    assert list(COOKIES) == ["set-cookie", "server"]
    assert len(COOKIES) == 2
    assert dict(Headers()) == {}


def test_the_repr_of_headers_contains_no_values():
    assert repr(COOKIES) == "<Headers set-cookie, server>"


def test_headers_can_be_pickled():
    twin = pickle.loads(pickle.dumps(COOKIES))
    assert twin == COOKIES
    assert twin.get_all("set-cookie") == COOKIES.get_all("set-cookie")


# --- bodies -----------------------------------------------------------------------------------------------------------


def with_body(body, *lines, status="400 Bad Request"):
    return answer(head(*lines, status=status) + body)


@pytest.mark.parametrize(
    ("body", "whole"), [(b"", False), (b"hell", False), (b"hello", True), (b"hello and more", True)]
)
def test_a_content_length_determines_when_the_body_is_complete(body, whole):
    response = with_body(body, "Content-Length: 5")
    assert response.body_is_whole() is whole
    assert response.body() == body


def test_an_empty_body_is_complete_at_once():
    assert with_body(b"", "Content-Length: 0").body_is_whole()


@pytest.mark.parametrize("length", ["five", "-1", "+5", "5.0", "", "5, 5", "\xb2", "0x5"])
def test_an_invalid_content_length_is_ignored(length):
    assert not with_body(b"hello", f"Content-Length: {length}").body_is_whole()


def test_a_content_length_with_many_digits_raises_no_error():
    response = with_body(b"hello", "Content-Length: " + "9" * 5000)
    assert not response.body_is_whole()


def test_a_body_of_unknown_length_is_never_complete():
    assert not with_body(b"hello").body_is_whole()


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_these_responses_have_no_body(status):
    assert with_body(b"", "Content-Length: 5", status=status).body_is_whole()


def test_a_body_is_complete_when_its_kept_size_is_reached():
    assert MAX_BODY == 65536
    assert not with_body(b"x" * (MAX_BODY - 1), "Content-Length: 999999").body_is_whole()
    response = with_body(b"x" * MAX_BODY, "Content-Length: 999999")
    assert response.body_is_whole()
    response.rest += b"y"
    assert response.body() == b"x" * MAX_BODY
    assert len(refusal_error(response).body) == MAX_BODY


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
def test_an_incomplete_chunked_body_is_kept_as_far_as_it_is_valid(raw, body):
    response = with_body(raw, "Transfer-Encoding: chunked")
    assert response.body() == body
    assert not response.body_is_whole()


def test_a_chunked_body_is_limited():
    response = with_body(b"20000\r\n" + b"x" * 0x20000, "Transfer-Encoding: chunked")
    assert response.body() == b"x" * MAX_BODY


def test_chunked_encoding_takes_precedence_over_a_content_length():
    response = with_body(b"5\r\nhel", "Content-Length: 3", "Transfer-Encoding: chunked")
    assert not response.body_is_whole()


def test_chunk_data_that_looks_like_the_last_chunk_is_not_the_end():
    raw = b"20\r\n" + b"\r\n" + b"x" * 30 + b"\r\n0\r\n\r\n"
    assert with_body(raw, "Transfer-Encoding: chunked").body_is_whole()
    assert not with_body(raw[:6], "Transfer-Encoding: chunked").body_is_whole()


def test_a_chunked_body_with_trailers_is_complete_too():
    raw = b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
    assert with_body(raw, "Transfer-Encoding: chunked").body_is_whole()


@given(chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=4))
def test_a_complete_chunked_body_is_its_content(chunks):
    raw = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    response = with_body(raw, "Transfer-Encoding: chunked")
    assert response.body_is_whole()
    assert response.body() == b"".join(chunks)
    for end in range(len(raw)):
        assert b"".join(chunks).startswith(with_body(raw[:end], "Transfer-Encoding: chunked").body())


@pytest.mark.parametrize(("most", "kept"), [(0, b""), (1, b"h"), (5, b"hello"), (6, b"hello")])
def test_the_limit_of_the_kept_body_can_be_changed(most, kept):
    data = head("Content-Length: 5", status="400 Bad Request")
    response = limited(max_body_bytes=most).feed(data)
    assert response.body_is_whole() is (most == 0)
    response.rest += b"hello"
    assert response.body_is_whole()
    assert response.body() == kept


def test_the_limit_of_the_kept_body_applies_to_a_chunked_one_too():
    response = limited(max_body_bytes=4).feed(head("Transfer-Encoding: chunked", status="400 Bad Request"))
    response.rest = b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
    assert response.body() == b"hell"


# --- tokens -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["X", "sec-websocket-key", "!#$%&'*+-.^_`|~09azAZ", "9"])
def test_these_are_tokens(name):
    assert is_token(name)
    assert re.fullmatch(NAME_PATTERN, name)


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a,b", "a;b", "a=b", "a/b", '"a"', "grün", "a\n", "\x00", "a:", "(a)"]
)
def test_these_are_not_tokens(name):
    assert not is_token(name)
