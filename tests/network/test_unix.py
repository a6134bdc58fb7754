"""A client and a server on the same machine: ``unix://``."""

import contextlib
import os
import socket
import threading

import pytest
import tenacity

import wsclient
from wsclient import ConnectError, HandshakeError, State
from wsclient._network.connector import Connector
from wsclient._network.options import NetworkOptions
from wsclient._network.transport import Transport
from wsclient._threads.commands import Interrupted

from ..support import LONG, SHORT, Peer, Server, eventually
from ..support.sockets import Busy, full_backlogs_wait, listening, local, socket_path
from ..support.stage import Stage, redirect, respond, start, until_the_end, upgrade

pytestmark = local

AT_ONCE = wsclient.Reconnect(wait=tenacity.wait_none())


@pytest.fixture
def path():
    with socket_path() as path:
        yield path


@pytest.fixture
def server(path):
    with Server(path=path) as server:
        yield server


class LocalStage:
    """Answers each connection on a path with the next action, a function of the peer; keeps the peers."""

    def __init__(self, path, *acts):
        self.peers = []
        self._listener = listening(path)
        self._listener.settimeout(None)
        self._acts = iter(acts)
        self._threads = [threading.Thread(target=self._accept, name="test-local-stage", daemon=True)]
        self._threads[0].start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                peer = Peer(self._listener.accept()[0])
                self.peers.append(peer)
                self._threads.append(threading.Thread(target=self._play, args=(peer,), daemon=True))
                self._threads[-1].start()

    def _play(self, peer):
        with contextlib.suppress(OSError):
            next(self._acts)(peer)
        peer.close()

    @property
    def requests(self):
        return [peer.request.decode().partition("\r\n")[0] for peer in self.peers]

    def stop(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in list(self._threads):
            thread.join(LONG)


@pytest.fixture
def stage(path):
    """``stage(act, ...)`` is a server on this machine that runs these actions."""
    with contextlib.ExitStack() as stack:

        def begin(*acts):
            stage = LocalStage(path, *acts)
            stack.callback(stage.stop)
            return stage

        yield begin


def opener(watcher, *, timeout=LONG, **options):
    return Connector(NetworkOptions(timeout, LONG, None, None, None, None, None, **options), (), watcher)


def add(client):
    assert client.request({"method": "add", "params": [1, 2]}, timeout=LONG)["result"] == 3


# --- connecting ------------------------------------------------------------------------------------------------------


def test_a_client_connects_to_a_unix_socket(server):
    with wsclient.connect(server.url) as client:
        add(client)
        assert client.state is State.OPEN
    assert client.stats.connections == 1


def test_large_messages_arrive_in_both_directions(path):
    text = "ü" * 2**20
    with Server(lambda c, m: c.send(m), path=path, max_size=None) as server:
        with wsclient.connect(server.url) as client:
            assert client.request(text, match=lambda m: True, timeout=LONG) == text


@pytest.mark.parametrize(
    ("behind", "asked"), [("", "/"), (":/chat", "/chat"), (":/chat?a=b", "/chat?a=b"), ("?a=b", "/?a=b")]
)
def test_the_server_is_sent_the_request_target_behind_the_path(stage, path, watcher, behind, asked):
    server = stage(upgrade())
    opened = opener(watcher).open(f"unix://{path}{behind}", {"X-Token": "abc"})
    assert type(opened.transport) is Transport
    assert server.requests == [f"GET {asked} HTTP/1.1"]
    (peer,) = server.peers
    assert (peer.header("Host"), peer.header("X-Token")) == ("localhost", "abc")
    assert peer.header("Authorization") is None
    opened.transport.close()


def test_a_path_can_be_quoted(path):
    with Server(path=os.path.join(os.path.dirname(path), "my app:1")) as server:
        with wsclient.connect(f"unix://{os.path.dirname(path)}/my%20app%3A1") as client:
            add(client)
        server.stop()


def test_no_name_is_looked_up(server, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("a name was looked up")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with wsclient.connect(server.url) as client:
        add(client)


@pytest.mark.parametrize("name", ["WS_PROXY", "HTTP_PROXY", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_ignored(server, monkeypatch, dead, name):
    monkeypatch.setenv(name, f"http://127.0.0.1:{dead}")
    with wsclient.connect(server.url) as client:
        add(client)


def test_a_list_of_urls_can_contain_unix_and_network_servers(server, dead):
    with wsclient.connect([f"ws://127.0.0.1:{dead}/", server.url], reconnect=AT_ONCE, retry_first=True) as client:
        add(client)
    with wsclient.connect([f"{server.url}.none", server.url], reconnect=AT_ONCE, retry_first=True) as client:
        add(client)
        assert client.stats.failed_attempts == 1


# --- reconnecting ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cut_all", "close_all"])
def test_after_the_server_closed_the_connection_the_client_reconnects(server, how):
    with wsclient.connect(server.url, reconnect=AT_ONCE) as client:
        add(client)
        server.opened.get(timeout=LONG)
        getattr(server, how)()
        server.opened.get(timeout=LONG)
        add(client)
        assert client.stats.connections == 2


def test_the_client_reconnects_to_a_server_that_restarts(server):
    again = wsclient.Reconnect(wait=tenacity.wait_fixed(0.01))
    with wsclient.connect(server.url, reconnect=again) as client:
        add(client)
        server.stop()
        os.unlink(server._path)
        eventually(lambda: client.stats.failed_attempts > 0)
        assert client.state in (State.WAITING, State.CONNECTING)
        server.start()
        add(client)


# --- errors ----------------------------------------------------------------------------------------------------------


def test_a_missing_path_is_reported_without_secrets(path):
    with pytest.raises(ConnectError, match=rf"^Could not connect to unix://{path}:/chat\?token=\*\*\*: ") as caught:
        wsclient.connect(f"unix://{path}:/chat?token=hunter2")
    assert isinstance(caught.value.last, FileNotFoundError)
    assert caught.value.retry


def test_a_socket_file_without_a_server_is_a_connect_error(path):
    listening(path).close()
    with pytest.raises(ConnectError, match=rf"^Could not connect to unix://{path}: .*refused\.$") as caught:
        wsclient.connect(f"unix://{path}")
    assert caught.value.retry


def test_a_server_that_stalls_ends_at_the_deadline(stage, path, watcher):
    stage(until_the_end)
    with pytest.raises(
        ConnectError, match=rf"^The connection to unix://{path} was not open within 0\.2 s\.$"
    ) as caught:
        opener(watcher, timeout=SHORT).open(f"unix://{path}", {})
    assert isinstance(caught.value.last, TimeoutError)
    assert len(set(watcher.deadlines)) == 1
    assert not watcher.open()


@full_backlogs_wait
def test_a_server_with_a_full_backlog_ends_at_the_open_timeout(path):
    busy = Busy(path)
    with pytest.raises(ConnectError, match=r"was not open within 0\.2 s"):
        wsclient.connect(f"unix://{path}", open_timeout=SHORT)
    busy.close()


@full_backlogs_wait
def test_close_ends_the_wait_for_a_server_with_a_full_backlog(path):
    busy = Busy(path)
    client = wsclient.Client(f"unix://{path}", open_timeout=10 * LONG, reconnect=None)
    starter = threading.Thread(target=start, args=(client,))
    starter.start()
    assert client.wait_until(State.CONNECTING, LONG)
    client.close()
    starter.join(LONG)
    assert client.state is State.CLOSED
    busy.close()


def test_a_command_ends_the_wait_for_a_server_that_stalls(stage, path, watcher):
    def act(peer):
        peer.receive_head()
        watcher.order()
        until_the_end(peer)

    stage(act)
    with pytest.raises(Interrupted):
        opener(watcher).open(f"unix://{path}", {})
    assert not watcher.open()


def test_a_rejection_is_reported_as_such(stage, path, watcher):
    stage(respond("403 Forbidden", body=b"go away"))
    with pytest.raises(HandshakeError, match="403 Forbidden") as caught:
        opener(watcher).open(f"unix://{path}", {})
    assert (caught.value.status, caught.value.body, caught.value.retry) == (403, b"go away", False)
    assert not watcher.open()


# --- redirects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("location", ["/there", "http://localhost/there", "there"])
def test_a_redirect_within_the_server_keeps_the_headers(stage, path, watcher, location):
    server = stage(redirect(location), upgrade())
    opened = opener(watcher).open(f"unix://{path}", {"X-Token": "abc"})
    assert server.requests == ["GET / HTTP/1.1", "GET /there HTTP/1.1"]
    assert [peer.header("X-Token") for peer in server.peers] == ["abc", "abc"]
    assert [peer.header("Host") for peer in server.peers] == ["localhost", "localhost"]
    assert opened.target.path == path
    opened.transport.close()
    assert not watcher.open()


def test_a_redirect_to_the_network_drops_the_headers(stage, path, watcher):
    with Stage(upgrade()) as there:
        here = stage(redirect(f"http://127.0.0.1:{there.port}/there"))
        opened = opener(watcher).open(f"unix://{path}", {"X-Token": "hush"})
        opened.transport.close()
        assert here.peers[0].header("X-Token") == "hush"
        assert b"hush" not in there.peers[0].request
        assert there.peers[0].header("Host") == f"127.0.0.1:{there.port}"
        assert opened.target.path is None
    assert not watcher.open()


def test_a_redirect_from_the_network_to_a_unix_socket_is_refused(stage, path, watcher):
    there = stage(upgrade())
    with Stage(redirect(f"unix://{path}")) as here:
        with pytest.raises(HandshakeError, match="leads to a socket of this machine") as caught:
            opener(watcher).open(here.url, {})
    assert not caught.value.retry
    assert caught.value.status == 302
    assert not there.peers
    assert not watcher.open()


# --- forks -----------------------------------------------------------------------------------------------------------


def test_the_socket_of_a_connection_during_its_setup_is_known_to_a_fork(stage, path, watcher):
    known = []

    def act(peer):
        peer.receive_head()
        known.append(opening.sock.getpeername() == path)
        until_the_end(peer)

    stage(act)
    opening = opener(watcher, timeout=SHORT)
    with pytest.raises(ConnectError):
        opening.open(f"unix://{path}", {})
    assert known == [True]
    assert not watcher.open()
