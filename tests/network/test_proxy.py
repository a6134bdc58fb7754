"""Proxies: which one is used, the requests to it, and its responses."""

import contextlib
import socket
import ssl
import threading

import pytest
import tenacity

import wsclient
from wsclient import ConnectError, HandshakeError, ProxyError
from wsclient._network.connector import Connector
from wsclient._network.dial import connect, resolve
from wsclient._network.lookup import Lookups
from wsclient._network.nested_tls import NestedTLSTransport
from wsclient._network.options import NetworkOptions
from wsclient._network.poller import READ
from wsclient._network.proxy import Proxy, choose, open_tunnel
from wsclient._network.transport import make_transport
from wsclient._rfc6455.url import parse
from wsclient._threads.commands import Interrupted

from ..support import LONG, SHORT, RawServer, Server
from ..support.clients import request_sum
from ..support.http import basic
from ..support.proxies import GRANTED4, GRANTED5, Tunnels, forward
from ..support.stage import (
    PLENTY,
    Hangs,
    answer_with_bytes,
    close_while_it_hangs,
    hang_up,
    respond,
    trickle,
    until_the_end,
    within,
)

SOCKS = ("socks4", "socks4a", "socks5", "socks5h")
SCHEMES = ("http", *SOCKS)


@pytest.fixture(params=SCHEMES)
def scheme(request):
    """Each kind of proxy that is reached without TLS."""
    return request.param


# --- the URL of a proxy ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://proxy", ("http", "proxy", 80, None, "")),
        ("https://proxy", ("https", "proxy", 443, None, "")),
        ("socks4://proxy", ("socks4", "proxy", 1080, None, "")),
        ("socks4a://proxy", ("socks4a", "proxy", 1080, None, "")),
        ("socks5://proxy", ("socks5", "proxy", 1080, None, "")),
        ("socks5h://proxy", ("socks5h", "proxy", 1080, None, "")),
        ("HTTP://Proxy:3128/", ("http", "proxy", 3128, None, "")),
        ("http://[::1]:3128", ("http", "::1", 3128, None, "")),
        ("http://me@proxy", ("http", "proxy", 80, "me", "")),
        ("http://m%40e:s%3Acret@proxy", ("http", "proxy", 80, "m@e", "s:cret")),
    ],
)
def test_the_url_of_a_proxy_is_parsed(url, expected):
    proxy = Proxy(url)
    assert (proxy.scheme, proxy.host, proxy.port, proxy.user, proxy.password) == expected


def test_the_repr_of_a_proxy_has_no_password():
    assert repr(Proxy("http://me:hush@proxy")) == "http://proxy:80"


def test_the_repr_of_a_proxy_has_an_ipv6_address_in_brackets():
    assert repr(Proxy("http://[::1]:3128")) == "http://[::1]:3128"


# --- selection -------------------------------------------------------------------------------------------------------


def chosen(monkeypatch, url, option="env", **environment):
    """The proxy that is selected in this environment, as a str; None if there is none."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    proxy = choose(option, parse(url))
    return None if proxy is None else repr(proxy)


HTTP, HTTPS, ALL, OWN = "http://http:1", "http://https:2", "http://all:3", "http://own:4"


@pytest.mark.parametrize(
    ("environment", "ws", "wss"),
    [
        ({}, None, None),
        ({"HTTP_PROXY": HTTP}, HTTP, None),
        ({"HTTPS_PROXY": HTTPS}, None, HTTPS),
        ({"ALL_PROXY": ALL}, ALL, ALL),
        ({"HTTP_PROXY": HTTP, "HTTPS_PROXY": HTTPS, "ALL_PROXY": ALL}, HTTP, HTTPS),
        ({"HTTP_PROXY": HTTP, "WS_PROXY": OWN}, OWN, None),
        ({"HTTPS_PROXY": HTTPS, "WSS_PROXY": OWN}, None, OWN),
        ({"http_proxy": HTTP, "https_proxy": HTTPS}, HTTP, HTTPS),
        ({"HTTP_PROXY": "", "HTTPS_PROXY": "", "ALL_PROXY": ""}, None, None),
        ({"FTP_PROXY": HTTP, "SOCKS_PROXY": HTTP, "NO_PROXY": "example.org"}, None, None),
    ],
)
def test_the_environment_has_a_proxy_for_each_scheme(monkeypatch, environment, ws, wss):
    assert chosen(monkeypatch, "ws://example.org/", **environment) == ws
    assert chosen(monkeypatch, "wss://example.org/", **environment) == wss


@pytest.mark.parametrize(
    ("url", "exceptions"),
    [
        ("ws://example.org/", "*"),
        ("ws://example.org/", "example.org"),
        ("ws://Example.org/", "other, EXAMPLE.org"),
        ("ws://api.example.org/", "example.org"),
        ("ws://api.example.org/", ".example.org"),
        ("ws://example.org:8080/", "example.org"),
        ("ws://example.org:8080/", "example.org:8080"),
        ("ws://example.org/", "example.org:80"),
        ("ws://127.0.0.1:8080/", "localhost,127.0.0.1"),
        ("ws://[::1]:8080/", "::1"),
        ("ws://[::1]:8080/", "[::1]"),
        ("ws://[::1]:8080/", "[::1]:8080"),
        ("ws://[::1]:8080/", "0:0:0:0:0:0:0:1"),
        ("ws://10.1.2.3/", "10.0.0.0/8,example.org"),
        ("ws://10.1.2.3/", "example.org, 10.1.2.3/32"),
        ("ws://10.1.2.3/", "10.1.2.3/8"),
        ("ws://[fd00::1]/", "fd00::/8"),
        ("ws://api.example.org/", "*.example.org"),
        ("ws://api.example.org/", "other *.example.org:80"),
        ("ws://example.org/", "other,*"),
        ("ws://example.org/", "other example.org"),
        ("ws://example.org./", "example.org"),
        ("ws://example.org/", "example.org."),
        ("ws://bücher.example/", "bücher.example"),
        ("ws://api.bücher.example/", "*.BÜCHER.example"),
    ],
)
def test_no_proxy_exempts_hosts(monkeypatch, url, exceptions):
    assert chosen(monkeypatch, url, HTTP_PROXY=HTTP, NO_PROXY=exceptions) is None


@pytest.mark.parametrize(
    "exceptions",
    ["", "other", "ample.org", "api.example.org", "example.org:81", "*.ample.org", "10.0.0.0/8", "0.0.0.0/0", ".", ",",
     "*:81", "[", "example..org", "ß" * 70],
)  # fmt: skip
def test_no_proxy_does_not_exempt_other_hosts(monkeypatch, exceptions):
    assert chosen(monkeypatch, "ws://example.org/", HTTP_PROXY=HTTP, NO_PROXY=exceptions) == HTTP


@pytest.mark.parametrize("exceptions", ["11.0.0.0/8", "10.1.2.4/32", "10.1.2.3/33", "fd00::/8", "10.1.2.3:81"])
def test_no_proxy_does_not_exempt_addresses_of_other_networks(monkeypatch, exceptions):
    assert chosen(monkeypatch, "ws://10.1.2.3/", HTTP_PROXY=HTTP, NO_PROXY=exceptions) == HTTP


def test_the_name_of_a_proxy_is_encoded_as_browsers_do(monkeypatch):
    pytest.importorskip("idna")
    assert chosen(monkeypatch, "ws://host/", HTTP_PROXY="http://straße.example:1") == "http://xn--strae-oqa.example:1"


def test_a_proxy_in_the_environment_whose_name_cannot_be_encoded_is_an_error(monkeypatch):
    with pytest.raises(ProxyError, match="IDNA can't encode"):
        chosen(monkeypatch, "ws://host/", HTTP_PROXY="http://a..b:1")


def test_a_proxy_without_a_scheme_is_an_http_proxy(monkeypatch):
    assert chosen(monkeypatch, "ws://example.org/", HTTP_PROXY="me:secret@proxy:3128") == "http://proxy:3128"


def test_proxy_none_disables_the_environment(monkeypatch):
    assert chosen(monkeypatch, "ws://example.org/", None, HTTP_PROXY=HTTP, ALL_PROXY=ALL) is None


def test_a_proxy_of_the_caller_takes_precedence_over_the_environment(monkeypatch):
    assert chosen(monkeypatch, "ws://example.org/", OWN, HTTP_PROXY=HTTP, NO_PROXY="*") == OWN


@pytest.mark.parametrize("url", ["ftp://me:hush@proxy:21", "socks://me:hush@proxy:1080", "http://", "http://me:hush@"])
def test_another_kind_of_url_in_the_environment_is_a_fatal_proxy_error(monkeypatch, url):
    with pytest.raises(ProxyError, match="proxy=None") as caught:
        chosen(monkeypatch, "ws://example.org/", ALL_PROXY=url)
    assert not caught.value.retry
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://me:hush@proxy:port", "http://proxy:99999", "http://[::1", "http://me:hush#@proxy", "proxy:hush/"]
)
def test_an_invalid_url_in_the_environment_is_a_fatal_proxy_error(monkeypatch, url):
    with pytest.raises(ProxyError) as caught:
        chosen(monkeypatch, "ws://example.org/", ALL_PROXY=url)
    assert not caught.value.retry
    assert "hush" not in str(caught.value)


# --- the tunnel ------------------------------------------------------------------------------------------------------


@pytest.fixture
def tunnel(stage, watcher):
    """``tunnel(act, ...)`` requests a tunnel from a proxy that runs ``act``, and returns the transport."""
    transports = []

    def ask(act, url="ws://example.org/", scheme="http", user="", timeout=LONG):
        proxy = Proxy(f"{scheme}://{user}127.0.0.1:{stage(act).port}")
        deadline = within(timeout)
        lookups = Lookups(watcher, "tester")
        addresses = resolve(proxy.host, proxy.port, lookups, deadline)
        transports.append(make_transport(connect(addresses, None, watcher, deadline)))
        open_tunnel(transports[-1], proxy, parse(url), watcher, deadline, lookups)
        return transports[-1]

    yield ask
    for transport in transports:
        transport.close()


def answered(asked, answer=b"HTTP/1.1 200 Connection established\r\n\r\n"):
    """An HTTP proxy that opens the tunnel and keeps the requests."""

    def act(peer):
        asked.append(peer.receive_head().decode())
        peer.send(answer)
        until_the_end(peer)

    return act


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("ws://example.org/path", "example.org:80"),
        ("wss://example.org/path", "example.org:443"),
        ("ws://Example.org:8080/", "example.org:8080"),
        ("ws://[2001:db8::1]/", "[2001:db8::1]:80"),
        ("ws://192.0.2.1/", "192.0.2.1:80"),
        ("ws://bücher.example/", "xn--bcher-kva.example:80"),
        ("ws://you:hush@example.org/?hush", "example.org:80"),
    ],
)
def test_an_http_proxy_is_sent_host_and_port(tunnel, url, name):
    asked = []
    tunnel(answered(asked), url)
    assert asked == [f"CONNECT {name} HTTP/1.1\r\nHost: {name}"]


@pytest.mark.parametrize(
    ("user", "credentials"),
    [("me:s%40cret@", "me:s@cret"), ("me@", "me:"), ("m%C3%BC:%E2%82%AC@", "mü:€"), ("me:a:b@", "me:a:b")],
)
def test_an_http_proxy_is_sent_the_credentials_of_its_url(tunnel, user, credentials):
    asked = []
    tunnel(answered(asked), user=user)
    assert asked[0].split("\r\n")[2:] == [f"Proxy-Authorization: {basic(credentials)}"]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 Connection established\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nVia: squid\r\n\r\n",
        b"HTTP/1.1 204\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_any_2xx_opens_the_tunnel(tunnel, answer):
    asked = []
    tunnel(answered(asked, answer))
    assert asked


@pytest.mark.parametrize("url", ["ws://example.org/", "wss://you:hush@[2001:db8::1]:8080/?hush"])
def test_a_rejection_names_the_proxy_and_the_target_and_contains_no_secret(tunnel, url):
    with pytest.raises(ProxyError) as caught:
        tunnel(respond("403 Forbidden"), url, user="me:hush@")
    name = "example.org:80" if "example" in url else "[2001:db8::1]:8080"
    sentence = str(caught.value)
    assert f" refused a tunnel to {name} with HTTP 403 Forbidden." in sentence
    assert sentence.startswith("The proxy http://127.0.0.1:")
    assert "hush" not in sentence


@pytest.mark.parametrize("status", ["400 Bad Request", "403 Forbidden", "404 Not Found", "407 Authenticate"])
def test_a_permanent_rejection_is_fatal(tunnel, status):
    with pytest.raises(ProxyError, match=status) as caught:
        tunnel(respond(status, body=b"go away"))
    assert not caught.value.retry


@pytest.mark.parametrize("status", ["101 Switching", "302 Found", "500 Oops", "502 Bad Gateway", "503 No", "504 Late"])
def test_a_temporary_rejection_is_not_fatal(tunnel, status):
    with pytest.raises(ProxyError, match=status) as caught:
        tunnel(respond(status, "Location: http://example.com/", body=b"go away"))
    assert caught.value.retry


@pytest.mark.parametrize("status", ["408 Request Timeout", "425 Too Early", "429 Slow Down"])
def test_temporary_4xx_statuses_are_not_fatal_from_a_proxy_either(tunnel, status):
    with pytest.raises(ProxyError, match=status) as caught:
        tunnel(respond(status))
    assert caught.value.retry


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "The proxy did not answer with HTTP"),
        (b"\x05\x00\r\n\r\n", "The proxy did not answer with HTTP"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "The proxy sent a header line that can't be read"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, "The proxy sent a response whose headers exceed"),
    ],
)
def test_an_invalid_response_of_a_proxy_is_a_proxy_error(tunnel, answer, why):
    with pytest.raises(ProxyError, match=why) as caught:
        tunnel(answer_with_bytes(answer))
    assert caught.value.retry
    assert isinstance(caught.value.__cause__, HandshakeError)


@pytest.mark.parametrize("url", ["ws://example.org/", "wss://example.org/"])
def test_bytes_after_the_response_are_an_error(tunnel, url):
    with pytest.raises(ProxyError, match="more than its answer"):
        tunnel(answered([], b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n"), url)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nVia:"])
def test_a_proxy_that_closes_instead_of_answering_is_an_error(tunnel, said):
    def act(peer):
        peer.receive_head()
        peer.send(said)

    with pytest.raises(ProxyError, match="closed the connection"):
        tunnel(act)


def test_a_proxy_can_answer_byte_by_byte(tunnel):
    def act(peer):
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.receive_head()
        for byte in b"HTTP/1.1 200 OK\r\nVia: squid\r\n\r\n":
            peer.send(bytes([byte]))
        until_the_end(peer)

    tunnel(act)


@pytest.mark.slow
def test_a_request_larger_than_the_socket_buffer_is_sent_completely(tunnel, watcher):
    asked = []

    def act(peer):
        assert watcher.full.wait(LONG)
        answered(asked)(peer)

    tunnel(act, user=f"me:{'x' * PLENTY}@")
    assert asked[0].endswith(basic(f"me:{'x' * PLENTY}"))


def test_a_proxy_that_does_not_read_ends_at_the_deadline(tunnel):
    held = threading.Event()
    with pytest.raises(TimeoutError):
        tunnel(lambda peer: held.wait(LONG), user=f"me:{'x' * PLENTY}@", timeout=SHORT)
    held.set()


# --- all kinds of proxies --------------------------------------------------------------------------------------------


def test_a_proxy_that_does_not_answer_ends_at_the_deadline(tunnel, scheme):
    with pytest.raises(TimeoutError):
        tunnel(until_the_end, "ws://127.0.0.1/", scheme, timeout=SHORT)


def test_a_proxy_that_answers_slowly_ends_at_the_deadline(tunnel, watcher):
    def act(peer):
        peer.send(b"HTTP/1.1 200 OK\r\nX: ")
        trickle(peer)

    with pytest.raises(TimeoutError):
        tunnel(act, timeout=SHORT)
    assert len(set(watcher.deadlines)) == 1


def test_a_proxy_that_closes_is_an_error(tunnel, scheme):
    with pytest.raises(ProxyError, match="closed the connection"):
        tunnel(hang_up, "ws://127.0.0.1/", scheme)


def test_a_proxy_that_resets_the_connection_is_an_error(tunnel, scheme):
    def act(peer):
        peer.sock.recv(65536)
        peer.reset()

    with pytest.raises(ConnectionError):
        tunnel(act, "ws://127.0.0.1/", scheme)


def test_a_command_ends_the_wait_for_a_proxy(tunnel, watcher, scheme):
    def act(peer):
        peer.sock.recv(65536)
        watcher.order()
        until_the_end(peer)

    with pytest.raises(Interrupted):
        tunnel(act, "ws://127.0.0.1/", scheme)


# --- SOCKS -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def known(monkeypatch):
    """Names have addresses here; returns the names that were looked up."""
    asked = []
    look_up = socket.getaddrinfo

    def getaddrinfo(host, port, *args, **options):
        if host != "example.org":
            return look_up(host, port, *args, **options)
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def conversation(*turns):
    """Expects the first of each pair, and answers with the second."""

    def act(peer):
        for expected, answer in turns:
            assert peer.exactly(len(expected)) == expected
            peer.send(answer)
        until_the_end(peer)

    return act


HELLO5 = (b"\x05\x01\x00", b"\x05\x00")
HELLO5_WITH_PASSWORD = (b"\x05\x02\x00\x02", b"\x05\x02")
ASK5 = b"\x05\x01\x00\x03\x0bexample.org\x00\x50"


@pytest.mark.parametrize(
    ("scheme", "turns"),
    [
        ("socks4", [(b"\x04\x01\x00\x50\xc0\x00\x02\x07\x00", GRANTED4)]),
        ("socks5", [HELLO5, (b"\x05\x01\x00\x01\xc0\x00\x02\x07\x00\x50", GRANTED5)]),
    ],
)
def test_socks_is_sent_an_address_that_the_client_looks_up(tunnel, known, scheme, turns):
    tunnel(conversation(*turns), scheme=scheme)
    assert known == ["example.org"]


@pytest.mark.parametrize(
    ("scheme", "turns"),
    [
        ("socks4a", [(b"\x04\x01\x00\x50\x00\x00\x00\x01\x00example.org\x00", GRANTED4)]),
        ("socks5h", [HELLO5, (ASK5, GRANTED5)]),
    ],
)
def test_socks5h_and_socks4a_are_sent_the_name(tunnel, known, scheme, turns):
    tunnel(conversation(*turns), scheme=scheme)
    assert not known


@pytest.mark.parametrize(
    ("scheme", "url", "turns"),
    [
        ("socks4a", "ws://192.0.2.9:81/", [(b"\x04\x01\x00\x51\xc0\x00\x02\x09\x00", GRANTED4)]),
        ("socks5h", "ws://192.0.2.9:81/", [HELLO5, (b"\x05\x01\x00\x01\xc0\x00\x02\x09\x00\x51", GRANTED5)]),
        (
            "socks5h",
            "wss://[2001:db8::1]/",
            [HELLO5, (b"\x05\x01\x00\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01\x01\xbb", GRANTED5)],
        ),
    ],
)
def test_an_address_is_sent_as_an_address(tunnel, scheme, url, turns):
    tunnel(conversation(*turns), url, scheme)


@pytest.mark.parametrize(
    ("scheme", "turns"),
    [
        ("socks4a", [(b"\x04\x01\x00\x50\x00\x00\x00\x01m@e\x00example.org\x00", GRANTED4)]),
        ("socks5h", [HELLO5_WITH_PASSWORD, (b"\x01\x03m@e\x06s:cret", b"\x01\x00"), (ASK5, GRANTED5)]),
        ("socks5h", [(HELLO5_WITH_PASSWORD[0], b"\x05\x00"), (ASK5, GRANTED5)]),
    ],
    ids=["4a", "5h", "5h without authentication"],
)
def test_socks_is_sent_the_credentials_of_its_url(tunnel, scheme, turns):
    tunnel(conversation(*turns), scheme=scheme, user="m%40e:s%3Acret@")


@pytest.mark.parametrize("credentials", ["me:h%C3%BCsh@", f"me:{'h' * 256}@"], ids=["not ASCII", "too long"])
def test_credentials_that_socks_cannot_transmit_are_fatal_and_not_printed(tunnel, credentials):
    def act(peer):
        peer.exactly(4)
        peer.send(b"\x05\x02")
        until_the_end(peer)

    with pytest.raises(ProxyError) as caught:
        tunnel(act, scheme="socks5h", user=credentials)
    assert not caught.value.retry
    assert "hüsh" not in repr(caught.value.last)


@pytest.mark.parametrize(
    ("scheme", "turns", "why"),
    [
        ("socks4a", [(b"\x04", b"\x00\x5b" + bytes(6))], "rejected or failed"),
        ("socks4a", [(b"\x04", b"\x00\x99" + bytes(6))], "0x99"),
        ("socks4a", [(b"\x04", b"HTTP/1.1 400 Bad Request\r\n\r\n")], "0x48"),
        ("socks5h", [HELLO5, (ASK5, b"\x05\x05\x00")], "Connection refused by destination"),
        ("socks5h", [HELLO5, (ASK5, b"\x05\x00\x00\x07")], "0x7"),
        ("socks5h", [(HELLO5[0], b"HTTP/1.1 400 Bad Request\r\n\r\n")], "version"),
    ],
)
def test_a_rejection_by_socks_is_a_proxy_error(tunnel, scheme, turns, why):
    with pytest.raises(ProxyError, match=rf"(?i)socks.* refused a tunnel: .*{why}") as caught:
        tunnel(conversation(*turns), scheme=scheme)
    assert caught.value.retry
    assert caught.value.__cause__ is caught.value.last


def test_a_user_that_socks_4_would_cut_is_fatal(tunnel):
    with pytest.raises(ProxyError, match="contains a NUL character") as caught:
        tunnel(until_the_end, scheme="socks4a", user="m%00e@")
    assert not caught.value.retry


def test_a_socks_proxy_that_rejects_the_password_is_a_proxy_error_without_it(tunnel):
    turns = [HELLO5_WITH_PASSWORD, (b"\x01\x02me\x04hush", b"\x01\x01")]
    with pytest.raises(ProxyError, match="authentication failure") as caught:
        tunnel(conversation(*turns), scheme="socks5h", user="me:hush@")
    assert "hush" not in str(caught.value)
    assert not caught.value.retry


def test_a_socks_proxy_that_requires_another_authentication_is_fatal(tunnel):
    with pytest.raises(ProxyError, match="No acceptable authentication") as caught:
        tunnel(conversation((HELLO5[0], b"\x05\xff")), scheme="socks5h")
    assert not caught.value.retry


@pytest.mark.parametrize(
    ("scheme", "answers"),
    [
        ("socks4a", [(b"\x04\x01\x00\x50\x00\x00\x00\x01\x00example.org\x00", GRANTED4)]),
        ("socks5h", [HELLO5, (ASK5, GRANTED5)]),
        ("socks5h", [HELLO5, (ASK5, b"\x05\x00\x00\x03\x05proxy\x04\x38")]),
        ("socks5h", [HELLO5, (ASK5, b"\x05\x00\x00\x04" + bytes(18))]),
    ],
)
def test_socks_can_answer_byte_by_byte_and_later_bytes_are_not_read(tunnel, watcher, scheme, answers):
    def act(peer):
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for expected, answer in answers:
            assert peer.exactly(len(expected)) == expected
            for byte in answer[:-1]:
                peer.send(bytes([byte]))
            peer.send(answer[-1:] + (b"hello" if answer is answers[-1][1] else b""))
        until_the_end(peer)

    transport = tunnel(act, scheme=scheme)
    data = b""
    while len(data) < 5:
        watcher.wait(transport.sock, READ, within(LONG))
        data += transport.receive(100)
    assert data == b"hello"


@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
def test_a_name_without_an_address_is_reported(stage, watcher, monkeypatch, scheme):
    look_up = socket.getaddrinfo

    def getaddrinfo(host, *args, **options):
        if host == "nowhere":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    proxy = stage(conversation(HELLO5) if scheme == "socks5" else until_the_end)
    with pytest.raises(ConnectError, match="ws://nowhere/: Name or service not known") as caught:
        opener(watcher, f"{scheme}://127.0.0.1:{proxy.port}").open("ws://nowhere/", {})
    assert caught.value.retry
    assert not watcher.open()


# --- errors, without a socket left open ------------------------------------------------------------------------------


def opener(watcher, proxy, *, timeout=LONG, tls=None):
    return Connector(NetworkOptions(timeout, LONG, None, None, tls, proxy, None), (), watcher)


def test_an_unreachable_proxy_is_reported_without_its_password(watcher, dead):
    with pytest.raises(ProxyError, match=rf"proxy http://127.0.0.1:{dead} can't be reached: .*refused") as caught:
        opener(watcher, f"http://me:hush@127.0.0.1:{dead}").open("ws://example.org/", {})
    assert isinstance(caught.value.last, ConnectionRefusedError)
    assert caught.value.retry
    assert not watcher.open()


def test_a_proxy_whose_name_has_no_address_is_a_proxy_error(watcher, monkeypatch):
    def fail(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(ProxyError, match=r"The proxy can't be found\. The name 'proxy' has no address") as caught:
        opener(watcher, "http://me:hush@proxy").open("ws://example.org/", {})
    assert isinstance(caught.value.last, socket.gaierror)
    assert caught.value.retry
    assert "hush" not in str(caught.value)


def test_with_a_proxy_the_name_of_the_server_is_not_looked_up(stage, watcher, known):
    proxy = stage(respond("503 Later"))
    with pytest.raises(ProxyError, match="503"):
        opener(watcher, f"http://127.0.0.1:{proxy.port}").open("ws://example.org/", {})
    assert not known
    assert not watcher.open()


@pytest.mark.parametrize(
    "act",
    [
        respond("407 Authenticate"),
        respond("502 Bad Gateway"),
        answer_with_bytes(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
        hang_up,
        answer_with_bytes(b"HTTP/1.1 200 OK\r\n\r\nmore"),
    ],
    ids=["refuses", "fails", "invalid response", "closes", "sends more"],
)
@pytest.mark.parametrize("url", ["ws://example.org/", "wss://example.org/"])
def test_a_proxy_that_opens_no_tunnel_leaves_no_socket_open(stage, watcher, url, act):
    with pytest.raises(ProxyError):
        opener(watcher, f"http://127.0.0.1:{stage(act).port}").open(url, {})
    assert not watcher.open()


def test_a_proxy_that_stalls_ends_at_the_open_timeout(stage, watcher, scheme):
    proxy = stage(until_the_end)
    with pytest.raises(ProxyError, match=rf"The proxy {scheme}://127\.0\.0\.1:\d+ opened no tunnel: it took too long"):
        opener(watcher, f"{scheme}://127.0.0.1:{proxy.port}", timeout=SHORT).open("ws://127.0.0.1:9/", {})
    assert not watcher.open()


def test_a_tunnel_without_a_server_leaves_no_socket_open(stage, watcher):
    proxy = stage(answer_with_bytes(b"HTTP/1.1 200 OK\r\n\r\n"))
    with pytest.raises(ConnectError, match=r"wss://example.org/ was not open within"):
        opener(watcher, f"http://127.0.0.1:{proxy.port}", timeout=SHORT).open("wss://example.org/", {})
    assert not watcher.open()


def test_the_certificate_behind_the_tunnel_must_be_that_of_the_server(watcher, server_tls, trusting):
    with Tunnels() as proxy, RawServer(tls=server_tls) as server:
        proxy.leads_to = server.port
        with pytest.raises(wsclient.TLSError, match=r"certificate of 'example\.org' was refused"):
            opener(watcher, proxy.url, tls=trusting).open("wss://example.org/", {})
    assert not watcher.open()


# --- proxies with TLS ------------------------------------------------------------------------------------------------


def test_wss_through_an_https_proxy_is_tls_within_tls(watcher, server_tls, trusting):
    with Server(tls=server_tls) as server, Tunnels("https", tls=server_tls) as proxy:
        opened = opener(watcher, f"https://localhost:{proxy.port}", tls=trusting).open(server.url, {})
        assert type(opened.transport) is NestedTLSTransport
        assert proxy.asked == [("localhost", server.port)]
        opened.transport.close()
    assert not watcher.open()


def test_an_https_proxy_is_sent_the_same_request_for_wss(stage, watcher, server_tls, trusting):
    proxy = stage(respond("403 Forbidden"), tls=server_tls)
    with pytest.raises(ProxyError, match=r"refused a tunnel to example\.org:443 with HTTP 403 Forbidden") as caught:
        opener(watcher, f"https://me:hush@localhost:{proxy.port}", tls=trusting).open("wss://example.org/", {})
    assert proxy.requests == ["CONNECT example.org:443 HTTP/1.1"]
    assert proxy.peers[0].header("Proxy-Authorization") == basic("me:hush")
    assert not caught.value.retry
    assert not watcher.open()


def test_the_certificate_of_an_https_proxy_is_verified(stage, watcher, server_tls):
    proxy = stage(tls=server_tls)
    with pytest.raises(ProxyError, match=r"proxy https://localhost:\d+ can't be reached: .*certificate") as caught:
        opener(watcher, f"https://me:hush@localhost:{proxy.port}").open("ws://example.org/", {})
    assert isinstance(caught.value.last, ssl.SSLCertVerificationError)
    assert not watcher.open()


def test_a_certificate_of_an_https_proxy_that_was_refused_is_fatal(stage, watcher, server_tls):
    proxy = stage(tls=server_tls)
    with pytest.raises(ProxyError) as caught:
        opener(watcher, f"https://localhost:{proxy.port}").open("ws://example.org/", {})
    assert not caught.value.retry


def test_an_https_proxy_without_tls_is_a_proxy_error(stage, watcher):
    def act(peer):
        peer.sock.recv(1)
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        until_the_end(peer)

    proxy = stage(act)
    with pytest.raises(ProxyError, match="can't be reached") as caught:
        opener(watcher, f"https://localhost:{proxy.port}").open("ws://example.org/", {})
    assert isinstance(caught.value.last, ssl.SSLError)
    assert not watcher.open()


def test_an_https_proxy_whose_tls_stalls_ends_at_the_deadline(stage, watcher):
    proxy = stage(until_the_end)
    with pytest.raises(ProxyError) as caught:
        opener(watcher, f"https://localhost:{proxy.port}", timeout=SHORT).open("ws://example.org/", {})
    assert isinstance(caught.value.last, TimeoutError)
    assert not watcher.open()


def test_a_timeout_of_an_https_proxy_is_reported_with_a_message(stage, watcher):
    proxy = stage(until_the_end)
    with pytest.raises(ProxyError) as caught:
        opener(watcher, f"https://localhost:{proxy.port}", timeout=SHORT).open("ws://example.org/", {})
    assert "TimeoutError" not in str(caught.value)


# --- end to end ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("login", [None, ("me", "secret")], ids=["open", "with credentials"])
def test_a_client_connects_by_ws_through_a_proxy(server, scheme, login):
    with Tunnels(scheme, login=login) as proxy:
        with wsclient.connect(f"ws://localhost:{server.port}/", proxy=proxy.url) as client:
            request_sum(client)
    named = "127.0.0.1" if scheme in ("socks4", "socks5") else "localhost"
    assert proxy.asked == [(named, server.port)]


def test_a_client_connects_by_wss_through_a_proxy(scheme, server_tls, trusting):
    with Server(tls=server_tls) as server, Tunnels(scheme) as proxy:
        with wsclient.connect(server.url, proxy=proxy.url, ssl_context=trusting) as client:
            request_sum(client)
            text = "ü" * 2**18
            assert client.request(text, match=lambda message: True, timeout=LONG) == text
    assert len(proxy.asked) == 1


def test_a_client_connects_by_wss_through_an_https_proxy(server_tls, trusting):
    with Server(tls=server_tls) as server:
        with Tunnels("https", tls=server_tls, login=("me", "secret")) as proxy:
            with wsclient.connect(server.url, proxy=proxy.url, ssl_context=trusting) as client:
                request_sum(client)
    assert proxy.asked == [("localhost", server.port)]


def test_a_client_connects_by_ws_through_an_https_proxy(server, server_tls, trusting):
    with Tunnels("https", tls=server_tls, login=("me", "secret")) as proxy:
        with wsclient.connect(server.url, proxy=proxy.url, ssl_context=trusting) as client:
            request_sum(client)
    assert proxy.asked == [("127.0.0.1", server.port)]


def test_the_proxy_of_the_environment_and_its_exceptions_are_used(server, monkeypatch):
    with Tunnels() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        for exceptions, through in [("", 1), ("127.0.0.1", 1), ("example.org", 2)]:
            monkeypatch.setenv("NO_PROXY", exceptions)
            with wsclient.connect(server.url) as client:
                request_sum(client)
            assert len(proxy.asked) == through


def test_with_proxy_none_the_client_connects_directly(server, monkeypatch, dead):
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{dead}")
    with wsclient.connect(server.url, proxy=None) as client:
        request_sum(client)


def test_the_credentials_of_the_proxy_are_not_sent_to_the_server(raw):
    with Tunnels(login=("me", "hush")) as proxy:
        client = wsclient.Client(raw.url, proxy=proxy.url, reconnect=None)
        starter = threading.Thread(target=client.start)
        starter.start()
        peer = raw.accept().upgrade()
        starter.join(LONG)
        assert b"Proxy" not in peer.request
        assert b"Authorization" not in peer.request
        client.close(timeout=0)


def test_a_proxy_that_fails_for_a_while_is_retried(stage, server):
    again = wsclient.Reconnect(wait=tenacity.wait_none())

    def act(peer):
        peer.receive_head()
        with socket.create_connection(("127.0.0.1", server.port)) as far:
            peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
            forward(peer.sock, far)

    proxy = stage(respond("502 Bad Gateway"), hang_up, act)
    options = {"proxy": f"http://127.0.0.1:{proxy.port}", "reconnect": again, "retry_first": True}
    with wsclient.connect(server.url, **options) as client:
        request_sum(client)
    assert len(proxy.peers) == 3


def test_a_proxy_that_requires_a_password_ends_the_client(stage):
    proxy = stage(respond("407 Proxy Authentication Required"))
    options = {"proxy": f"http://127.0.0.1:{proxy.port}", "retry_first": True}
    client = wsclient.Client("ws://example.org/", **options)
    with pytest.raises(ProxyError, match="407 Proxy Authentication Required"):
        client.start()
    assert client.state is wsclient.State.FAILED
    assert len(proxy.peers) == 1


def test_close_ends_the_wait_for_a_proxy_that_hangs(stage, scheme):
    act = Hangs(lambda peer: peer.sock.recv(65536))

    proxy = f"{scheme}://127.0.0.1:{stage(act).port}"
    client = wsclient.Client("ws://127.0.0.1:9/", proxy=proxy, open_timeout=10 * LONG, reconnect=None)
    close_while_it_hangs(client, act)


def try_to_start(client):
    with contextlib.suppress(ConnectError):
        client.start()


class HangsOnce(Tunnels):
    """Forwards all but the first connection, which gets no answer."""

    def __init__(self, *args, **options):
        self.hangs = threading.Event()
        super().__init__(*args, **options)

    def _serve(self, peer):
        if self.hangs.is_set():
            super()._serve(peer)
        peer.sock.recv(65536)
        self.hangs.set()
        until_the_end(peer)


def test_reconnect_ends_an_attempt_at_a_proxy_that_hangs_without_a_failed_attempt(server, scheme):
    with HangsOnce(scheme) as proxy:
        client = wsclient.Client(f"ws://localhost:{server.port}/", proxy=proxy.url, open_timeout=10 * LONG)
        starter = threading.Thread(target=try_to_start, args=(client,))
        starter.start()
        assert proxy.hangs.wait(LONG)
        client.reconnect()
        starter.join(LONG)
        request_sum(client)
        assert client.stats.failed_attempts == 0
        client.close()


def test_no_secret_of_a_proxy_is_logged(stage, dead, caplog):
    caplog.set_level("DEBUG")
    for port in (dead, stage(respond("502 Bad Gateway")).port):
        with pytest.raises(ProxyError) as caught:
            wsclient.connect("ws://example.org/", proxy=f"http://me:hush@127.0.0.1:{port}")
        assert "hush" not in str(caught.value)
    assert "hush" not in caplog.text


@pytest.mark.parametrize(
    ("turns", "why"),
    [
        ([(HELLO5[0], b"\x05\x02")], "Unexpected authentication method 0x02"),
        ([HELLO5, (ASK5, b"\x04\x00\x00")], "Unexpected SOCKS version 0x04"),
    ],
)
def test_a_socks_5_proxy_that_breaks_the_protocol_is_a_proxy_error(tunnel, turns, why):
    with pytest.raises(ProxyError, match=why):
        tunnel(conversation(*turns), scheme="socks5h")


def test_socks_4_cannot_connect_to_an_ipv6_address(tunnel):
    with pytest.raises(ProxyError, match=r"can't connect to the IPv6 address 2001:db8::1; use socks5://") as caught:
        tunnel(until_the_end, scheme="socks4", url="ws://[2001:db8::1]/")
    assert not caught.value.retry
