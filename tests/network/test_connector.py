"""From a URL to an upgraded connection: redirects, one deadline, and no socket left open."""

import contextlib
import socket
import ssl
import threading
import time

import pytest

import wsclient
from wsclient import ClientClosed, ConnectError, HandshakeError, JsonId, ProxyError, TLSError
from wsclient._network.connector import _BODY_TIMEOUT, Connector, _as_text
from wsclient._network.options import NetworkOptions
from wsclient._network.poller import READ
from wsclient._network.transport import TLSTransport, Transport
from wsclient._options import MAX_REDIRECTS
from wsclient._rfc6455.url import parse
from wsclient._threads.commands import Interrupted
from wsclient.protocols import GraphQLTransportWs, HomeAssistant, ObsWebSocket

from ..support import LONG, SHORT, Server, eventually
from ..support.http import basic
from ..support.program import free_port
from ..support.raw import frame
from ..support.sockets import Silent
from ..support.stage import (
    PLENTY,
    Hangs,
    answer_with_bytes,
    close_while_it_hangs,
    hang_up,
    redirect,
    respond,
    trickle,
    until_the_end,
    upgrade,
    within,
)


@pytest.fixture
def opening(watcher):
    """``opening(url, headers, ...)`` opens a connection; in every case, no other socket is left open."""
    transports = []

    def open_connection(url, headers=None, *, timeout=LONG, tls=None, proxy=None, source=None, subprotocols=()):
        options = NetworkOptions(timeout, LONG, None, None, tls, proxy, source)
        opened = Connector(options, subprotocols, watcher).open(url, headers or {})
        transports.append(opened.transport)
        return opened

    yield open_connection
    for transport in transports:
        transport.close()
    assert not watcher.open()


# --- the upgrade -----------------------------------------------------------------------------------------------------


def test_an_upgrade_returns_the_transport_and_the_response_of_the_server(stage, opening):
    server = stage(upgrade("Sec-WebSocket-Protocol: chat", "X-Served-By: me"))
    opened = opening(f"{server.url}feed?a=b", subprotocols=("talk", "chat"))
    assert type(opened.transport) is Transport
    assert opened.target == parse(f"{server.url}feed?a=b")
    assert opened.subprotocol == "chat"
    assert opened.headers["x-served-by"] == "me"
    assert opened.rest == b""
    assert server.requests == ["GET /feed?a=b HTTP/1.1"]
    assert server.peers[0].header("Host") == f"127.0.0.1:{server.port}"
    assert server.peers[0].header("Sec-WebSocket-Protocol") == "talk, chat"


def test_only_the_callers_headers_and_the_required_ones_are_sent(stage, opening):
    server = stage(upgrade())
    opening(server.url, {"X-Token": "abc", "Origin": "https://example.org"})
    (peer,) = server.peers
    assert (peer.header("X-Token"), peer.header("Origin")) == ("abc", "https://example.org")
    assert peer.header("Authorization") is None
    assert peer.header("Cookie") is None


def test_frames_directly_after_the_upgrade_are_kept(stage, opening, watcher):
    opened = opening(stage(upgrade(then=frame(1, b"hello"))).url)
    transport, rest = opened.transport, opened.rest
    while len(rest) < 7:
        watcher.wait(transport.sock, READ, within(LONG))
        rest += transport.receive(100)
    assert rest == frame(1, b"hello")


def test_a_response_can_arrive_byte_by_byte_after_informational_responses(stage, opening):
    def act(peer):
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.receive_head()
        answer = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {peer.accept()}\r\n\r\n"
        for byte in f"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 101 Switching\r\n{answer}".encode():
            peer.send(bytes([byte]))
        until_the_end(peer)

    opened = opening(stage(act).url)
    assert "Link" not in opened.headers
    assert "Upgrade" in opened.headers


def test_a_request_larger_than_the_socket_buffer_is_sent_completely(stage, opening, watcher):
    def act(peer):
        assert watcher.full.wait(LONG)
        upgrade()(peer)

    server = stage(act)
    opening(server.url, {"X-Long": "x" * PLENTY})
    assert server.peers[0].header("X-Long") == "x" * PLENTY


def test_wss_uses_tls(stage, opening, server_tls, trusting):
    server = stage(upgrade(), tls=server_tls)
    opened = opening(server.url, tls=trusting)
    assert type(opened.transport) is TLSTransport
    assert opened.target.secure


@pytest.mark.parametrize(("scheme", "loads"), [("ws", 0), ("wss", 1)])
def test_the_authorities_of_the_system_are_loaded_once_and_only_for_wss(stage, watcher, monkeypatch, scheme, loads):
    loaded = []
    create = ssl.create_default_context
    monkeypatch.setattr(ssl, "create_default_context", lambda: loaded.append(1) or create())
    server = stage(hang_up, hang_up)
    opener = Connector(NetworkOptions(LONG, LONG, None, None, None, None, None), (), watcher)
    for _ in range(2):
        with pytest.raises(ConnectError):
            opener.open(f"{scheme}://127.0.0.1:{server.port}/", {})
    assert len(loaded) == loads


def test_the_local_address_can_be_chosen(stage, opening):
    source = "127.0.0.1", free_port()
    server = stage(upgrade())
    assert opening(server.url, source=source).transport.sock.getsockname() == source


# --- user and password -----------------------------------------------------------------------------------------------


def with_user(server, user="me:s%40cret"):
    return server.url.replace("://", f"://{user}@")


def test_user_and_password_of_the_url_become_basic_authentication(stage, opening):
    server = stage(upgrade())
    opening(with_user(server))
    assert server.peers[0].header("Authorization") == basic("me:s@cret")


def test_an_authorization_header_of_the_caller_takes_precedence_over_the_url(stage, opening):
    server = stage(upgrade())
    opening(with_user(server), {"authorization": "Bearer abc"})
    assert server.peers[0].request.lower().count(b"authorization") == 1
    assert server.peers[0].header("Authorization") == "Bearer abc"


# --- redirects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_followed(stage, opening, status):
    server = stage(redirect("/there?x=y", status), upgrade())
    opened = opening(f"{server.url}here")
    assert opened.target.resource == "/there?x=y"
    assert server.requests == ["GET /here HTTP/1.1", "GET /there?x=y HTTP/1.1"]


def test_within_the_origin_a_redirect_keeps_headers_and_credentials(stage, opening):
    server = stage(redirect("/there"), upgrade())
    opening(with_user(server), {"X-Token": "abc"})
    first, second = server.peers
    for peer in (first, second):
        assert (peer.header("X-Token"), peer.header("Authorization")) == ("abc", basic("me:s@cret"))
    assert first.header("Sec-WebSocket-Key") != second.header("Sec-WebSocket-Key")


def test_a_redirect_to_another_origin_drops_headers_and_credentials(stage, opening):
    there = stage(upgrade())
    here = stage(redirect(f"http://127.0.0.1:{there.port}/there"))
    opening(with_user(here), {"X-Token": "hush", "Authorization": "hush", "Cookie": "hush"})
    (peer,) = there.peers
    assert b"hush" not in peer.request
    assert peer.header("Authorization") is None
    assert peer.header("Host") == f"127.0.0.1:{there.port}"


def test_another_name_of_the_same_server_is_another_origin(stage, opening):
    server = stage(lambda peer: redirect(f"http://localhost:{server.port}/")(peer), upgrade())
    opening(server.url, {"X-Token": "hush"})
    assert b"hush" not in server.peers[1].request


def test_secrets_dropped_once_are_not_sent_when_a_redirect_returns_to_the_first_origin(stage, opening):
    here = stage(lambda peer: redirect(there.url)(peer), upgrade())
    there = stage(redirect(here.url))
    opening(with_user(here), {"X-Token": "hush"})
    assert here.peers[1].header("X-Token") is None
    assert here.peers[1].header("Authorization") is None


def test_credentials_in_the_url_of_a_redirect_are_sent_to_that_url(stage, opening):
    there = stage(upgrade())
    here = stage(redirect(with_user(there, "guest:pass")))
    opening(with_user(here))
    assert there.peers[0].header("Authorization") == basic("guest:pass")


def test_cookies_of_a_redirect_are_not_sent(stage, opening):
    server = stage(respond("302 Found", "Location: /there", "Set-Cookie: session=hush; Path=/"), upgrade())
    opening(server.url)
    assert server.peers[1].header("Cookie") is None


def test_a_subprotocol_that_may_be_a_secret_is_not_sent_to_another_origin(stage, opening):
    """Kubernetes accepts a token as a subprotocol."""
    other = stage(lambda peer: peer.upgrade())
    server = stage(redirect(f"ws://127.0.0.1:{other.port}/"))
    with pytest.raises(HandshakeError, match="may be a secret") as caught:
        opening(server.url, subprotocols=("v4.channel.k8s.io", "base64url.bearer." + "t" * 40))
    assert not caught.value.retry


@pytest.mark.parametrize(
    ("protocol", "refuses"),
    [
        (HomeAssistant("hush"), True),
        (ObsWebSocket("hush"), True),
        (ObsWebSocket(), False),
        (GraphQLTransportWs({"token": "hush"}), True),
        (GraphQLTransportWs(), False),
        (JsonId(), False),
    ],
    ids=["home assistant", "obs", "obs without a password", "graphql", "graphql without params", "no log-in"],
)
def test_a_protocol_that_logs_in_with_a_secret_follows_no_redirect_to_another_origin(stage, protocol, refuses):
    other = stage(lambda peer: peer.upgrade().close())
    here = stage(redirect("/here"), redirect(f"ws://127.0.0.1:{other.port}/"))
    client = wsclient.Client(here.url, protocol=protocol, reconnect=None)
    with contextlib.suppress(ConnectError, ClientClosed):  # it ends at once
        client.start()
    client.close()
    assert len(other.peers) == (not refuses)
    assert ("would send its token or password there" in str(client.last_error)) is refuses
    assert len(here.peers) == 2


def test_other_subprotocols_are_offered_after_every_redirect(stage, opening):
    there = stage(upgrade("Sec-WebSocket-Protocol: chat"))
    here = stage(redirect(there.url))
    assert opening(here.url, subprotocols=("chat",)).subprotocol == "chat"


def test_a_redirect_can_change_to_tls(stage, opening, server_tls, trusting):
    there = stage(upgrade(), tls=server_tls)
    here = stage(redirect(f"https://localhost:{there.port}/"))
    opened = opening(here.url, {"X-Token": "hush"}, tls=trusting)
    assert type(opened.transport) is TLSTransport
    assert b"hush" not in there.peers[0].request


@pytest.mark.parametrize("scheme", ["ws", "http"])
def test_a_redirect_from_tls_to_no_tls_is_refused(stage, opening, watcher, server_tls, trusting, scheme):
    there = stage()
    here = stage(redirect(f"{scheme}://127.0.0.1:{there.port}/?token=hush"), tls=server_tls)
    with pytest.raises(HandshakeError, match="is not encrypted") as caught:
        opening(here.url, tls=trusting)
    assert not caught.value.retry
    assert caught.value.status == 302
    assert caught.value.headers["Location"].startswith(scheme)
    assert "hush" not in str(caught.value)
    assert not there.peers
    assert not watcher.open()


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/", "http://[::1/", "http://127.0.0.1:99999/", "/a b"])
def test_a_redirect_to_an_invalid_url_is_fatal(stage, opening, watcher, location):
    server = stage(redirect(location))
    with pytest.raises(HandshakeError, match="redirect that this client does not follow") as caught:
        opening(server.url)
    assert not caught.value.retry
    assert isinstance(caught.value.__cause__, ValueError)
    assert not watcher.open()


def test_a_redirect_without_a_location_is_a_rejection(stage, opening):
    server = stage(respond("302 Found", body=b"somewhere else"))
    with pytest.raises(HandshakeError, match="302 Found") as caught:
        opening(server.url)
    assert caught.value.body == b"somewhere else"
    assert caught.value.retry


def test_other_statuses_are_not_redirects(stage, opening):
    server = stage(respond("300 Multiple Choices", "Location: /there"))
    with pytest.raises(HandshakeError, match="300"):
        opening(server.url)


def test_the_body_of_a_redirect_is_not_read(stage, opening, watcher):
    def act(peer):
        peer.receive_head()
        peer.send(b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 5\r\n\r\n")
        until_the_end(peer)

    opening(stage(act, upgrade()).url)
    assert len(set(watcher.deadlines)) == 1, "it waited for a body, with a separate timeout"


def test_up_to_the_limit_redirects_are_followed(stage, opening):
    server = stage(*[redirect(f"/{n}") for n in range(MAX_REDIRECTS)], upgrade())
    assert opening(server.url).target.resource == f"/{MAX_REDIRECTS - 1}"


def test_above_the_limit_a_redirect_is_not_followed(stage, opening, watcher):
    server = stage(*[redirect("/again")] * (MAX_REDIRECTS + 1))
    with pytest.raises(HandshakeError, match="more than 5 times") as caught:
        opening(server.url)
    assert caught.value.status == 302
    assert len(server.peers) == MAX_REDIRECTS + 1
    assert not watcher.open()


@pytest.mark.parametrize("status", ["301 Moved Permanently", "303 See Other", "307 Temporary Redirect", "308 Gone on"])
def test_the_error_above_the_limit_has_the_status_and_the_headers_of_the_last_redirect(stage, opening, status):
    server = stage(*[redirect("/again")] * MAX_REDIRECTS, redirect("/elsewhere", status))
    with pytest.raises(HandshakeError, match="more than 5 times") as caught:
        opening(server.url)
    assert caught.value.status == int(status[:3])
    assert caught.value.headers["location"] == "/elsewhere"


def test_a_redirected_connection_is_closed_before_the_next_one_is_opened(stage, opening):
    over = threading.Event()

    def first(peer):
        peer.receive_head()
        peer.send(b"HTTP/1.1 302 Found\r\nLocation: /there\r\n\r\n")
        until_the_end(peer)
        over.set()

    def second(peer):
        assert over.wait(LONG), "the first connection is still open"
        upgrade()(peer)

    opening(stage(first, second).url)


def test_a_redirect_to_a_closed_port_is_reported_with_that_address(stage, opening, dead):
    server = stage(redirect(f"http://127.0.0.1:{dead}/"))
    with pytest.raises(ConnectError, match=f"ws://127.0.0.1:{dead}/") as caught:
        opening(server.url)
    assert isinstance(caught.value.last, ConnectionRefusedError)


def test_the_proxy_is_chosen_for_each_url_of_a_redirect(stage, opening, monkeypatch):
    here = stage(redirect("http://example.org/"))
    proxy = stage(respond("503 Later"))
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(ProxyError, match=r"example\.org:80 with HTTP 503"):
        opening(here.url, proxy="env")
    assert proxy.requests == ["CONNECT example.org:80 HTTP/1.1"]


# --- rejections ------------------------------------------------------------------------------------------------------


def test_a_rejection_has_the_body_of_the_server(stage, opening, watcher):
    server = stage(respond("403 Forbidden", "X-Why: because", body=b"go away"))
    with pytest.raises(HandshakeError, match="403 Forbidden") as caught:
        opening(server.url)
    assert (caught.value.status, caught.value.body, caught.value.headers["X-Why"]) == (403, b"go away", "because")
    assert not caught.value.retry
    assert not watcher.open()


def test_a_body_can_arrive_after_its_head(stage, opening, watcher):
    def act(peer):
        peer.receive_head()
        waits = watcher.count
        peer.send(b"HTTP/1.1 500 Oops\r\nContent-Length: 7\r\n\r\n")
        eventually(lambda: watcher.count > waits)
        peer.send(b"go away")
        until_the_end(peer)

    with pytest.raises(HandshakeError) as caught:
        opening(stage(act).url)
    assert caught.value.body == b"go away"


def test_a_chunked_body_is_joined_and_its_last_chunk_ends_the_wait(stage, opening, watcher):
    chunked = b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ngo \r\n4\r\naway\r\n0\r\n\r\n"
    with pytest.raises(HandshakeError) as caught:
        opening(stage(answer_with_bytes(chunked)).url)
    assert caught.value.body == b"go away"
    assert not watcher.open()


def test_a_body_of_unknown_length_ends_with_the_connection(stage, opening):
    def act(peer):
        peer.receive_head()
        peer.send(b"HTTP/1.1 500 Oops\r\n\r\ngo away")

    with pytest.raises(HandshakeError) as caught:
        opening(stage(act).url)
    assert caught.value.body == b"go away"


def test_an_incomplete_body_is_kept_as_far_as_it_arrived(stage, opening):
    def act(peer):
        peer.receive_head()
        peer.send(b"HTTP/1.1 500 Oops\r\nContent-Length: 100\r\n\r\ngo away")

    with pytest.raises(HandshakeError) as caught:
        opening(stage(act).url)
    assert caught.value.body == b"go away"


def test_an_endless_body_is_limited(stage, opening):
    def act(peer):
        peer.receive_head()
        peer.send(b"HTTP/1.1 500 Oops\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                peer.send(b"x" * 65536)

    with pytest.raises(HandshakeError) as caught:
        opening(stage(act).url)
    assert caught.value.body == b"x" * 65536


def test_the_wait_for_a_body_that_stalls_is_short(stage, opening, watcher):
    with pytest.raises(HandshakeError) as caught:
        opening(stage(answer_with_bytes(b"HTTP/1.1 500 Oops\r\nContent-Length: 100\r\n\r\ngo away")).url)
    assert (caught.value.status, caught.value.body) == (500, b"go away")
    assert watcher.deadlines[-1] < watcher.deadlines[0]
    assert not watcher.open()


@pytest.mark.parametrize("then", [until_the_end, trickle], ids=["stalls", "arrives slowly"])
def test_the_wait_for_a_body_ends_at_the_deadline(stage, opening, watcher, then):
    def act(peer):
        peer.receive_head()
        peer.send(b"HTTP/1.1 500 Oops\r\n\r\n")
        then(peer)

    with pytest.raises(HandshakeError, match="500"):
        opening(stage(act).url, timeout=_BODY_TIMEOUT - SHORT)
    assert len(set(watcher.deadlines)) == 1


def test_a_subprotocol_that_the_server_did_not_accept_is_fatal(stage, opening, watcher):
    with pytest.raises(HandshakeError, match="subprotocol") as caught:
        opening(stage(upgrade()).url, subprotocols=("chat",))
    assert not caught.value.retry
    assert not watcher.open()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "did not answer with HTTP"),
        (b"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n", "key"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200 OK"),
        (b"HTTP/1.1 101 Yes\r\nX: " + b"x" * 70_000, "exceed"),
    ],
)
def test_a_response_other_than_an_upgrade_is_refused(stage, opening, watcher, answer, why):
    with pytest.raises(HandshakeError, match=why) as caught:
        opening(stage(answer_with_bytes(answer)).url)
    assert caught.value.retry
    assert not watcher.open()


# --- connections that break ------------------------------------------------------------------------------------------


def test_a_closed_port_is_reported_without_secrets(opening, watcher, dead):
    with pytest.raises(ConnectError, match=rf"Could not connect to ws://\*\*\*@127.0.0.1:{dead}/.*refused") as caught:
        opening(f"ws://me:hush@127.0.0.1:{dead}/?token=hush")
    assert isinstance(caught.value.last, ConnectionRefusedError)
    assert caught.value.__cause__ is caught.value.last
    assert caught.value.retry
    assert "hush" not in str(caught.value)
    assert not watcher.open()


def test_a_name_without_an_address_is_reported(opening, monkeypatch):
    def fail(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(ConnectError, match="'nowhere' has no address") as caught:
        opening("ws://nowhere/")
    assert caught.value.retry


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 101 Switching Protocols\r\nUpgr"])
def test_a_server_that_closes_instead_of_answering_is_reported(stage, opening, watcher, said):
    def act(peer):
        peer.receive_head()
        peer.send(said)

    with pytest.raises(ConnectError, match="closed the connection instead of answering") as caught:
        opening(stage(act).url)
    assert not isinstance(caught.value, HandshakeError)
    assert caught.value.retry
    assert not watcher.open()


def test_a_server_that_resets_the_connection_is_reported(stage, opening, watcher):
    def act(peer):
        peer.receive_head()
        peer.reset()

    with pytest.raises(ConnectError, match="Could not connect") as caught:
        opening(stage(act).url)
    assert isinstance(caught.value.last, ConnectionResetError)
    assert not watcher.open()


@pytest.mark.parametrize(("name", "trusted"), [("127.0.0.1", False), ("localhost.localdomain", True)])
def test_an_untrusted_certificate_is_fatal(stage, opening, watcher, server_tls, trusting, monkeypatch, name, trusted):
    server = stage(tls=server_tls)
    address = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: address)
    with pytest.raises(TLSError, match=rf"certificate of '{name}' was refused: .*[^.]\.$") as caught:
        opening(f"wss://me:hush@{name}:{server.port}/", tls=trusting if trusted else None)
    assert isinstance(caught.value.last, ssl.SSLCertVerificationError)
    assert not caught.value.retry
    assert "hush" not in str(caught.value)
    assert not watcher.open()


def test_a_server_without_tls_is_reported_and_retried(stage, opening, watcher):
    def act(peer):
        peer.sock.recv(1)
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        until_the_end(peer)

    server = stage(act)
    with pytest.raises(TLSError, match="answered with something that is not TLS") as caught:
        opening(f"wss://127.0.0.1:{server.port}/")
    assert caught.value.retry
    assert not watcher.open()


def test_a_server_with_another_tls_version_is_fatal(authority, stage, opening, watcher, trusting):
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(old)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    trusting.minimum_version = ssl.TLSVersion.TLSv1_3
    with pytest.raises(TLSError, match=r"supports no TLS version of this client \(TLS 1\.3 or newer\)") as caught:
        opening(stage(tls=old).url, tls=trusting)
    assert not caught.value.retry
    assert not watcher.open()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_requires_a_client_certificate_is_reported(authority, stage, opening, watcher, trusting, version):
    strict = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(strict)
    authority.configure_trust(strict)
    strict.verify_mode = ssl.CERT_REQUIRED
    strict.maximum_version = version

    def act(peer):
        with strict.wrap_socket(peer.sock, server_side=True, do_handshake_on_connect=False) as tls:
            with pytest.raises(ssl.SSLError):
                tls.do_handshake()
            with socket.socket(fileno=tls.detach()) as sock:  # unread bytes would turn the alert into a reset
                sock.settimeout(LONG)
                while sock.recv(65536):
                    pass

    server = stage(act)
    with pytest.raises(TLSError, match=r"requires a client certificate.*load_cert_chain") as caught:
        opening(f"wss://localhost:{server.port}/", tls=trusting)
    assert caught.value.retry
    assert not watcher.open()


def test_a_server_that_closes_during_the_tls_handshake_is_retried(stage, opening, watcher, trusting):
    server = stage(hang_up)
    with pytest.raises(ConnectError, match="Could not connect") as caught:
        opening(f"wss://localhost:{server.port}/", tls=trusting)
    assert caught.value.retry
    assert not watcher.open()


# --- one deadline ----------------------------------------------------------------------------------------------------


def answer_slowly(peer):
    peer.receive_head()
    peer.send(b"HTTP/1.1 101 Switching Protocols\r\nX: ")
    trickle(peer)


@pytest.mark.parametrize(
    ("scheme", "act"),
    [("ws", until_the_end), ("ws", answer_slowly), ("wss", until_the_end)],
    ids=["no answer", "a slow answer", "no TLS"],
)
def test_a_server_that_stalls_ends_at_the_deadline(stage, opening, watcher, scheme, act):
    server = stage(act)
    with pytest.raises(ConnectError, match=r"was not open within 0\.2 s\.$") as caught:
        opening(f"{scheme}://127.0.0.1:{server.port}/", timeout=SHORT)
    assert isinstance(caught.value.last, TimeoutError)
    assert caught.value.retry
    assert len(set(watcher.deadlines)) == 1
    assert not watcher.open()


def test_an_address_that_never_answers_ends_at_the_deadline(opening, watcher):
    silent = Silent()
    with pytest.raises(ConnectError, match=r"was not open within 0\.2 s\.$"):
        opening(f"ws://127.0.0.1:{silent.address[1][1]}/", timeout=SHORT)
    assert not watcher.open()
    silent.close()


def test_a_server_that_does_not_read_ends_at_the_deadline(stage, opening, watcher):
    held = threading.Event()
    server = stage(lambda peer: held.wait(LONG))
    with pytest.raises(ConnectError, match=r"was not open within 0\.2 s\.$"):
        opening(server.url, {"X-Long": "x" * PLENTY}, timeout=SHORT)
    assert not watcher.open()
    held.set()


def test_one_deadline_applies_to_proxy_tls_upgrade_and_redirects(stage, opening, watcher, server_tls, trusting):
    server = stage(redirect("/there"), upgrade(), tls=server_tls)

    def act(peer):
        peer.receive_head()
        with socket.create_connection(("127.0.0.1", server.port)) as far:
            peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=forward, args=(far, peer.sock))
            back.start()
            forward(peer.sock, far)
            back.join(LONG)

    proxy = stage(act, act)
    before = time.monotonic()
    opened = opening(f"wss://127.0.0.1:{server.port}/", tls=trusting, proxy=f"http://127.0.0.1:{proxy.port}")
    assert opened.target.resource == "/there"
    (at,) = set(watcher.deadlines)
    assert before + LONG <= at <= time.monotonic() + LONG
    opened.transport.close()


def forward(near, far):
    with contextlib.suppress(OSError):
        while data := near.recv(65536):
            far.sendall(data)
        far.shutdown(socket.SHUT_WR)


def test_the_deadline_covers_the_name_lookup(stage, opening, watcher, monkeypatch):
    server = stage(redirect("/there"), upgrade())
    look_up = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda name, *args, **options: look_up("127.0.0.1", *args, **options))
    before = time.monotonic()
    opening(f"ws://here.invalid:{server.port}/")
    (at,) = set(watcher.deadlines)  # of the look-ups, too
    assert before + LONG <= at <= time.monotonic() + LONG


@pytest.mark.parametrize("proxy", [None, "http://slow.invalid"], ids=["direct", "proxy"])
def test_a_name_lookup_that_hangs_ends_at_the_deadline(opening, hanging_lookup, proxy):
    hanging_lookup("slow.invalid")
    error = wsclient.ProxyError if proxy else ConnectError
    with pytest.raises(error, match=r"The name 'slow\.invalid' could not be looked up within open_timeout") as caught:
        opening("ws://slow.invalid/", timeout=SHORT, proxy=proxy)
    assert caught.value.retry
    assert isinstance(caught.value.last, TimeoutError)


@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
def test_a_name_lookup_for_socks_that_hangs_ends_at_the_deadline(stage, opening, hanging_lookup, scheme):
    def act(peer):
        if scheme == "socks5":
            peer.exactly(3)
            peer.send(b"\5\0")
        until_the_end(peer)

    proxy = stage(act)
    hanging_lookup("slow.invalid")
    with pytest.raises(ConnectError, match=r"The name 'slow\.invalid' could not be looked up within open_timeout"):
        opening("ws://slow.invalid/", timeout=5 * SHORT, proxy=f"{scheme}://127.0.0.1:{proxy.port}")


def test_a_system_that_hangs_in_the_choice_of_a_proxy_ends_at_the_deadline(opening, hang, monkeypatch):
    """Windows and macOS look up the name of the server."""
    monkeypatch.setenv("ws_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr("urllib.request.proxy_bypass", hang)
    with pytest.raises(wsclient.ProxyError, match=r"within open_timeout whether 'slow\.invalid' needs a proxy"):
        opening("ws://slow.invalid/", timeout=SHORT, proxy="env")


def test_the_proxy_of_the_environment_is_chosen_for_each_target(stage, opening, monkeypatch):
    proxy, server = stage(hang_up), stage(redirect("/there"), upgrade())
    monkeypatch.setenv("ws_proxy", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert opening(server.url, proxy="env").target.resource == "/there"
    assert not proxy.peers
    with pytest.raises(wsclient.ProxyError, match="closed the connection"):
        opening("ws://elsewhere.invalid/", proxy="env")


# --- commands --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_command_ends_the_wait_for_a_server_that_stalls(stage, opening, watcher, scheme):
    def act(peer):
        peer.sock.recv(1)
        watcher.order()
        until_the_end(peer)

    server = stage(act)
    with pytest.raises(Interrupted):
        opening(f"{scheme}://127.0.0.1:{server.port}/")
    assert not watcher.open()


def test_a_command_ends_the_wait_for_a_body(stage, opening, watcher):
    def act(peer):
        peer.receive_head()
        peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\n")
        watcher.order()
        until_the_end(peer)

    with pytest.raises(Interrupted):
        opening(stage(act).url)
    assert not watcher.open()


# --- through the client ----------------------------------------------------------------------------------------------


def test_a_headers_function_is_called_once_and_its_headers_are_kept_within_the_origin(stage):
    asked = iter(["first", "second"])
    server = stage(redirect("/there"), upgrade())
    client = wsclient.Client(server.url, headers=lambda: {"X-Token": next(asked)}, reconnect=None)
    client.start()
    assert [peer.header("X-Token") for peer in server.peers] == ["first", "first"]
    client.close(timeout=0)


def test_the_headers_of_a_headers_function_are_not_sent_to_another_origin(stage):
    there = stage(upgrade())
    here = stage(redirect(there.url))
    client = wsclient.Client(with_user(here), headers=lambda: {"X-Token": "hush"}, origin="https://hush.example")
    client.start()
    assert here.peers[0].header("Origin") == "https://hush.example"
    assert b"hush" not in there.peers[0].request
    client.close(timeout=0)


def test_an_origin_in_the_headers_takes_precedence_over_the_option(stage):
    server = stage(upgrade())
    client = wsclient.Client(server.url, headers={"Origin": "https://a"}, origin="https://b", reconnect=None)
    client.start()
    assert server.peers[0].request.lower().count(b"\r\norigin:") == 1
    assert server.peers[0].header("Origin") == "https://a"
    client.close(timeout=0)


def test_the_client_passes_its_open_timeout(stage):
    server = stage(until_the_end)
    with pytest.raises(ConnectError, match=r"was not open within 0\.2 s"):
        wsclient.connect(server.url, open_timeout=SHORT)


def test_close_ends_a_handshake_that_hangs(stage):
    act = Hangs(lambda peer: peer.receive_head())

    client = wsclient.Client(stage(act).url, open_timeout=10 * LONG, reconnect=None)
    close_while_it_hangs(client, act)


def test_the_client_connects_to_a_real_server_after_a_redirect(stage):
    with Server() as server:
        here = stage(redirect(server.url))
        with wsclient.connect(here.url) as client:
            assert client.request({"method": "add", "params": [1, 2]}, timeout=LONG)["result"] == 3


def test_a_response_before_the_request_was_read_is_reported_instead_of_the_reset(stage, opening, watcher):
    def act(peer):
        peer.sock.recv(1000)
        peer.send(b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\n\r\n")
        peer.sock.close()  # with unread bytes, so that the rest of the request causes a reset

    with pytest.raises(HandshakeError) as caught:
        opening(stage(act).url, {"X-Large": "x" * (8 * 2**20)})
    assert caught.value.status == 431
    assert not watcher.open()


def test_a_redirect_to_a_path_in_utf_8_is_decoded_correctly(stage, opening):
    server = stage(respond("302 Found", "Location: /caf\u00c3\u00a9"), upgrade())  # UTF-8 bytes read as latin-1
    assert opening(server.url).target.resource == "/caf%C3%A9"
    assert server.requests[1] == "GET /caf%C3%A9 HTTP/1.1"


@pytest.mark.parametrize("secure", [False, True])
def test_the_socket_of_a_connection_during_its_setup_is_known_to_a_fork(stage, watcher, server_tls, trusting, secure):
    known = []

    def act(peer):
        peer.receive_head()  # so the client waits for its response
        known.append(opener.sock.fileno() > 0 and opener.sock.getpeername() == peer.sock.getsockname())
        until_the_end(peer)

    options = NetworkOptions(5 * SHORT, LONG, None, None, trusting if secure else None, None, None)
    opener = Connector(options, (), watcher)
    server = stage(act, tls=server_tls if secure else None)
    with pytest.raises(ConnectError):
        opener.open(server.url, {})
    assert known == [True]
    assert not watcher.open()


def test_a_location_that_is_not_utf_8_is_read_as_latin_1():
    assert (_as_text("/caf\u00c3\u00a9"), _as_text("/caf\u00e9")) == ("/caf\u00e9", "/caf\u00e9")
