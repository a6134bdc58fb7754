"""A socket of the caller in place of the client's own: ``sock=``."""

import contextlib
import queue
import socket
import ssl
import threading

import pytest
import tenacity

import wsclient
from wsclient import ClientClosed, ConnectError, HandshakeError, State, TLSError
from wsclient._network.connector import Connector
from wsclient._network.options import NetworkOptions
from wsclient._network.transport import TLSTransport, Transport

from ..support import LONG, SHORT, Peer, RawServer, Server
from ..support.peers import close_now
from ..support.stage import redirect, respond, until_the_end, upgrade

AT_ONCE = wsclient.Reconnect(wait=tenacity.wait_none())
USED_UP = "The socket given as sock= was already used for a connection; pass a function as sock="


@pytest.fixture
def pair():
    """Two sockets that are connected to each other: one for the client, one for the test."""
    near, far = socket.socketpair()
    with near, far:
        yield near, Peer(far)


@pytest.fixture
def no_lookups(monkeypatch):
    """Name lookups fail the test."""

    def fail(*_, **__):
        raise AssertionError("a name was looked up")

    monkeypatch.setattr(socket, "getaddrinfo", fail)


def dialled(server):
    """A blocking socket that is connected to the server."""
    sock = socket.socket()
    sock.connect(("127.0.0.1", server.port))
    return sock


def opener(watcher, sock, *, timeout=LONG, tls=None, proxy=None):
    return Connector(NetworkOptions(timeout, LONG, None, None, tls, proxy, None, sock), (), watcher)


def running(function, *args):
    """Run a function in a thread; ``join()`` raises nothing, its errors are in ``errors``."""
    thread = threading.Thread(target=record, args=(function, args, errors := []))
    thread.errors = errors
    thread.start()
    return thread


def record(function, args, errors):
    try:
        function(*args)
    except Exception as error:
        errors.append(error)


def add(client):
    assert client.request({"method": "add", "params": [1, 2]}, timeout=LONG)["result"] == 3


# --- one socket ------------------------------------------------------------------------------------------------------


def test_a_socket_of_the_caller_is_used_with_the_path_and_host_of_the_url(pair, no_lookups):
    near, peer = pair
    client = wsclient.Client("ws://example.org:8080/chat?a=b", sock=near, json=None, reconnect=None)
    starter = running(client.start)
    peer.upgrade()
    starter.join(LONG)
    assert client.state is State.OPEN
    assert peer.request.startswith(b"GET /chat?a=b HTTP/1.1\r\n")
    assert peer.header("Host") == "example.org:8080"
    client.send("hello")
    assert peer.receive_text() == "hello"
    with client.listen() as stream:
        peer.send_text("world")
        assert stream.get(LONG) == "world"
    close_now(client)
    assert near.fileno() == -1, "the client closes the socket of the function"


def test_a_client_works_on_a_socket_connected_to_a_server(server, no_lookups):
    with wsclient.connect("ws://example.org/", sock=dialled(server)) as client:
        add(client)


def test_a_blocking_socket_becomes_non_blocking(server, watcher):
    sock = dialled(server)
    assert sock.gettimeout() is None
    opened = opener(watcher, sock).open("ws://example.org/", {})
    assert opened.transport.sock is sock
    assert sock.gettimeout() == 0.0
    opened.transport.close()


def test_a_socket_with_a_timeout_loses_it(server, watcher):
    sock = dialled(server)
    sock.settimeout(LONG)
    opened = opener(watcher, sock).open("ws://example.org/", {})
    assert sock.gettimeout() == 0.0
    opened.transport.close()


def test_a_proxy_of_the_environment_is_ignored(server, monkeypatch, dead):
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{dead}")
    with wsclient.connect("ws://example.org/", sock=dialled(server)) as client:
        add(client)


def test_user_and_password_of_the_url_are_sent_on_the_socket(stage, watcher):
    server = stage(upgrade())
    opened = opener(watcher, dialled(server)).open("ws://joe:secret@example.org/", {"X-Token": "abc"})
    assert server.peers[0].header("Authorization") == "Basic am9lOnNlY3JldA=="
    assert server.peers[0].header("X-Token") == "abc"
    opened.transport.close()


def test_a_socket_serves_one_connection_and_then_the_client_has_failed(server):
    errors = queue.Queue()
    client = wsclient.connect(
        "ws://example.org/",
        sock=dialled(server),
        reconnect=AT_ONCE,
        on_error=lambda client, error: errors.put(error),
    )
    add(client)
    waiter = client.submit({"method": "silence"})
    server.wait_for(2)
    server.cut_all()
    assert client.wait_closed(LONG)
    assert client.state is State.FAILED
    with pytest.raises(wsclient.ConnectionLost):
        waiter.result(LONG)
    with pytest.raises(ClientClosed) as caught:
        client.send("more")
    assert isinstance(caught.value.__cause__, ConnectError)
    assert str(caught.value.__cause__) == f"{USED_UP} that returns a socket for each connection."
    assert not caught.value.__cause__.retry
    assert client.stats.connections == 1
    assert errors.get(timeout=LONG) is caught.value.__cause__


def test_a_socket_whose_upgrade_was_rejected_is_not_used_again(stage):
    server = stage(respond("503 Later"), upgrade())
    failed = []
    client = wsclient.Client(
        "ws://example.org/",
        sock=dialled(server),
        reconnect=AT_ONCE,
        retry_first=True,
        on_connect_error=lambda client, attempt: failed.append(attempt.error),
    )
    with pytest.raises(ConnectError, match=f"^{USED_UP}"):
        client.start(LONG)
    assert client.state is State.FAILED
    assert isinstance(failed[0], HandshakeError)
    assert len(server.peers) == 1


def test_a_socket_stays_open_while_the_client_does_not_need_it(server):
    answers = iter([ValueError("not yet"), {}])

    def headers():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    sock = dialled(server)
    options = {"headers": headers, "reconnect": AT_ONCE, "retry_first": True}
    with wsclient.connect("ws://example.org/", sock=sock, **options) as client:
        add(client)
        assert client.stats.failed_attempts == 1


def test_a_redirect_is_refused_since_it_needs_another_socket(stage, watcher):
    server = stage(redirect("/there"))
    sock = dialled(server)
    with pytest.raises(ConnectError, match="is connected to one server only") as caught:
        opener(watcher, sock).open("ws://example.org/", {})
    assert not caught.value.retry
    assert sock.fileno() == -1


def test_a_function_is_not_called_for_a_socket_to_another_origin(stage, watcher):
    server = stage(redirect("ws://elsewhere.example/"))
    asked = []

    def give():
        asked.append(1)
        return dialled(server)

    with pytest.raises(ConnectError, match="is connected to one server only") as caught:
        opener(watcher, give).open("ws://example.org/", {})
    assert not caught.value.retry
    assert len(asked) == 1


def test_an_unused_socket_is_closed_with_the_client(server):
    def headers():
        raise ValueError("no token")

    sock = dialled(server)
    client = wsclient.Client("ws://example.org/", sock=sock, headers=headers)
    with pytest.raises(ConnectError):
        client.start()
    assert client.wait_closed(LONG)
    assert sock.fileno() == -1


@pytest.mark.parametrize("act", [respond("403 Forbidden"), lambda peer: peer.receive_head()], ids=["refuses", "ends"])
def test_a_socket_whose_upgrade_failed_is_closed(stage, watcher, act):
    sock = dialled(stage(act))
    with pytest.raises(ConnectError):
        opener(watcher, sock).open("ws://example.org/", {})
    assert sock.fileno() == -1


def test_a_server_that_stalls_on_the_socket_ends_at_the_deadline(pair, watcher):
    near, peer = pair
    with pytest.raises(ConnectError, match=r"^The connection to ws://example.org/ was not open within 0\.2 s\.$"):
        opener(watcher, near, timeout=SHORT).open("ws://example.org/", {})
    assert near.fileno() == -1
    assert b"GET / HTTP/1.1" in peer.receive_head()


@pytest.mark.parametrize("kind", ["never connected", "closed", "listening", "its peer has closed"])
@pytest.mark.parametrize("way", ["socket", "function"])
def test_a_socket_that_is_not_connected_is_a_connect_error_and_closed(server, watcher, kind, way):
    sock = socket.socket()
    if kind == "closed":
        sock.close()
    elif kind == "listening":
        sock.bind(("127.0.0.1", 0))
        sock.listen()
    elif kind == "its peer has closed":
        sock.connect(("127.0.0.1", server.port))
        sock.shutdown(socket.SHUT_RDWR)
    with pytest.raises(ConnectError) as caught:
        opener(watcher, sock if way == "socket" else lambda: sock).open("ws://example.org/", {})
    assert sock.fileno() == -1
    assert caught.value.retry
    if kind != "its peer has closed":  # the system may not have noticed that yet
        assert str(caught.value).startswith("The socket given as sock= is not connected: ")
        assert isinstance(caught.value.last, OSError)


def test_the_socket_of_a_connection_during_its_setup_is_known_to_a_fork(pair, watcher):
    near, peer = pair
    opening = opener(watcher, near, timeout=SHORT)
    known = []
    thread = running(lambda: peer.receive_head() and known.append(opening.sock is near))
    with pytest.raises(ConnectError):
        opening.open("ws://example.org/", {})
    thread.join(LONG)
    assert known == [True]


# --- a function ------------------------------------------------------------------------------------------------------


def test_a_function_returns_a_socket_for_each_connection(server, no_lookups):
    given = []

    def give():
        given.append(dialled(server))
        return given[-1]

    with wsclient.connect("ws://example.org/", sock=give, reconnect=AT_ONCE) as client:
        add(client)
        server.opened.get(timeout=LONG)
        for connections in (2, 3):
            server.cut_all()
            server.opened.get(timeout=LONG)
            add(client)
            assert client.stats.connections == connections
        assert len(given) == 3
        assert [sock.fileno() != -1 for sock in given] == [False, False, True]
    assert given[-1].fileno() == -1


def test_a_function_is_called_again_for_each_redirect(stage, watcher):
    server = stage(redirect("/there"), upgrade())
    opened = opener(watcher, lambda: dialled(server)).open("ws://example.org/", {"X-Token": "abc"})
    assert server.requests == ["GET / HTTP/1.1", "GET /there HTTP/1.1"]
    assert server.peers[1].header("X-Token") == "abc"
    opened.transport.close()
    assert not watcher.open()


def test_a_function_is_not_called_before_a_socket_is_needed(server):
    asked = []
    client = wsclient.Client("ws://example.org/", sock=lambda: asked.append(1) or dialled(server))
    assert not asked
    with client:
        add(client)
    assert asked == [1]


@pytest.mark.parametrize("error", [ValueError("hush"), ConnectionRefusedError(111, "refused")], ids=repr)
def test_a_function_that_raises_is_called_again(server, error):
    failed = []
    answers = iter([error, error, None])

    def give():
        answer = next(answers)
        if answer is not None:
            raise answer
        return dialled(server)

    client = wsclient.Client(
        "ws://example.org/",
        sock=give,
        reconnect=AT_ONCE,
        retry_first=True,
        on_connect_error=lambda client, attempt: failed.append(attempt.error),
    )
    with client:
        add(client)
    assert len(failed) == 2
    for one in failed:
        assert type(one) is ConnectError
        assert str(one).startswith(f"The sock function raised {type(error).__name__}: ")
        assert one.last is one.__cause__ is error
        assert one.retry


@pytest.mark.parametrize("nonsense", [None, 5, "socket", socket.socket], ids=repr)
def test_a_function_that_returns_an_invalid_value_ends_the_client(nonsense):
    client = wsclient.Client("ws://example.org/", sock=lambda: nonsense, reconnect=AT_ONCE, retry_first=True)
    with pytest.raises(ConnectError, match=r"^The sock function returned .*, which is not a socket\.$") as caught:
        client.start(LONG)
    assert not caught.value.retry
    assert repr(nonsense) in str(caught.value)
    assert client.state is State.FAILED


def test_the_client_closes_the_socket_of_a_function(server):
    given = []
    client = wsclient.connect("ws://example.org/", sock=lambda: given.append(dialled(server)) or given[-1])
    client.close()
    assert [sock.fileno() for sock in given] == [-1]


# --- TLS -------------------------------------------------------------------------------------------------------------


def test_wss_uses_tls_on_it_with_the_host_name_of_the_url(server_tls, trusting, no_lookups):
    with Server(tls=server_tls) as server:
        with wsclient.connect("wss://localhost/", sock=dialled(server), ssl_context=trusting) as client:
            add(client)


def test_a_certificate_for_another_host_than_that_of_the_url_is_refused(server_tls, trusting):
    with RawServer(tls=server_tls) as server:
        sock = dialled(server)
        client = wsclient.Client("wss://example.org/", sock=sock, ssl_context=trusting, retry_first=True)
        with pytest.raises(TLSError, match=r"^The certificate of 'example\.org' was refused: "):
            client.start(LONG)
        assert client.state is State.FAILED
        assert sock.fileno() == -1


def test_wss_to_a_server_without_tls_sends_no_request_unencrypted(pair, watcher):
    near, peer = pair
    thread = running(opener(watcher, near, timeout=SHORT).open, "wss://example.org/hush", {"X-Token": "hush"})
    data = b""
    with contextlib.suppress(OSError):
        while piece := peer.sock.recv(65536):
            data += piece
    thread.join(LONG)
    assert data.startswith(b"\x16\x03")  # a TLS handshake
    assert b"hush" not in data
    assert isinstance(thread.errors[0], ConnectError)


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_tls_socket_is_used_unchanged(server_tls, trusting, watcher, scheme):
    with Server(tls=server_tls) as server:
        sock = trusting.wrap_socket(dialled(server), server_hostname="localhost")
        opened = opener(watcher, sock, tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)).open(f"{scheme}://example.org/", {})
        assert type(opened.transport) is TLSTransport
        assert opened.transport.sock is sock
        assert sock.gettimeout() == 0.0
        opened.transport.close()


def test_a_client_works_on_a_tls_socket(server_tls, trusting):
    text = "ü" * 2**20
    with Server(tls=server_tls, max_size=None) as server:
        sock = trusting.wrap_socket(dialled(server), server_hostname="localhost")
        with wsclient.connect("wss://example.org/", sock=sock) as client:
            add(client)
            assert client.request(text, match=lambda message: True, timeout=LONG) == text


def test_without_tls_a_socket_makes_an_unencrypted_transport(server, watcher):
    opened = opener(watcher, dialled(server)).open("ws://example.org/", {})
    assert type(opened.transport) is Transport
    opened.transport.close()


# --- two threads -----------------------------------------------------------------------------------------------------


def test_close_ends_a_handshake_on_it_that_hangs(pair):
    near, peer = pair
    client = wsclient.Client("ws://example.org/", sock=near, open_timeout=10 * LONG, reconnect=None)
    starter = running(client.start)
    peer.receive_head()
    client.close()
    starter.join(LONG)
    assert isinstance(starter.errors[0], ClientClosed)
    assert client.state is State.CLOSED
    assert near.fileno() == -1
    until_the_end(peer)
