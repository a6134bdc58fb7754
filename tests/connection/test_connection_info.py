"""``client.connection`` and ``session.connection``: facts about the open connection."""

import copy
import dataclasses
import inspect
import pickle
import socket
import ssl
import threading

import pytest

import wsclient
from wsclient import ConnectionInfo, JsonId, State

from ..support import LONG, SHORT, Server, eventually
from ..support.peers import close_now, open_pair
from ..support.proxies import Tunnels
from ..support.sockets import local, socket_path

FIELDS = [
    "number", "url", "subprotocol", "headers", "local_address", "remote_address", "compression", "tls_version",
    "cipher",
]  # fmt: skip


def test_the_facts_of_an_unencrypted_connection(server):
    with wsclient.connect(server.url) as client:
        info = client.connection
        assert info.number == 1
        assert info.url == server.url
        assert info.subprotocol is None
        assert info.headers["UPGRADE"] == "websocket"
        assert info.remote_address == ("127.0.0.1", server.port)
        assert info.local_address[0] == "127.0.0.1"
        assert info.local_address[1] not in (0, server.port)
        assert info.compression == "deflate"
        assert (info.tls_version, info.cipher) == (None, None)
        assert client.connection is info


def test_the_facts_without_accepted_compression(raw):
    client, _ = open_pair(raw)
    assert client.connection.compression is None
    client.close(timeout=0)


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_the_facts_of_a_tls_connection(server_tls, trusting, version):
    trusting.minimum_version = trusting.maximum_version = getattr(ssl.TLSVersion, version)
    with Server(tls=server_tls) as server, wsclient.connect(server.url, ssl_context=trusting) as client:
        assert client.connection.tls_version == version.replace("_", ".")
        assert client.connection.cipher in {cipher["name"] for cipher in trusting.get_ciphers()}


@local
def test_the_facts_of_a_connection_to_a_unix_socket():
    with socket_path() as path, Server(path=path) as server, wsclient.connect(server.url) as client:
        assert client.connection.url == server.url
        assert client.connection.remote_address == path


def test_the_facts_of_a_connection_on_a_prepared_socket(server):
    sock = socket.create_connection(("127.0.0.1", server.port))
    address = sock.getsockname()
    with wsclient.connect("ws://example.org/", sock=sock) as client:
        assert client.connection.url == "ws://example.org/"
        assert client.connection.local_address == address
        assert client.connection.remote_address == ("127.0.0.1", server.port)


def test_through_a_proxy_the_remote_address_is_that_of_the_proxy(server):
    with Tunnels() as proxy, wsclient.connect(server.url, proxy=proxy.url) as client:
        assert client.connection.url == server.url
        assert client.connection.remote_address[1] == proxy.port


def test_tls_that_ends_at_the_proxy_is_not_reported_as_tls_of_the_connection(server, server_tls, trusting):
    with (
        Tunnels("https", tls=server_tls) as proxy,
        wsclient.connect(server.url, proxy=proxy.url, ssl_context=trusting) as client,
    ):
        assert (client.connection.tls_version, client.connection.cipher) == (None, None)


def test_tls_to_the_server_through_an_https_proxy_is_reported(server_tls, trusting):
    inner = ssl.TLSVersion.TLSv1_3
    with (
        Server(tls=server_tls) as server,
        Tunnels("https", tls=server_tls) as proxy,
        wsclient.connect(server.url, proxy=proxy.url, ssl_context=trusting) as client,
    ):
        assert client.connection.tls_version == inner.name.replace("_", ".")
        assert client.connection.cipher.startswith("TLS_")


def test_the_url_and_the_repr_contain_no_secrets(raw):
    token = "token." + "x" * 100
    client = wsclient.Client(
        f"ws://joe:hunter2@127.0.0.1:{raw.port}/ws?key=hunter2",
        subprotocols=[token],
        headers={"Authorization": "hunter2"},
    )
    starter = threading.Thread(target=client.start)
    starter.start()
    raw.accept().upgrade(f"Sec-WebSocket-Protocol: {token}", "Set-Cookie: id=hunter2")
    starter.join(LONG)
    info = client.connection
    assert info.url == f"ws://***@127.0.0.1:{raw.port}/ws?key=***"
    assert info.subprotocol == token
    assert info.headers["Set-Cookie"] == "id=hunter2"
    assert repr(info).startswith(f"ConnectionInfo(number=1, url='{info.url}', headers=<Headers ")
    assert "hunter2" not in repr(info)
    assert token not in repr(info)
    client.close(timeout=0)


# --- lifetime --------------------------------------------------------------------------------------------------------


def test_it_is_none_while_no_connection_is_open(raw):
    client = wsclient.Client(raw.url, reconnect=wsclient.Reconnect(wait=lambda state: 3600.0))
    assert client.connection is None
    starter = threading.Thread(target=client.start)
    starter.start()
    peer = raw.accept()
    assert client.connection is None
    peer.upgrade()
    starter.join(LONG)
    assert client.connection.number == 1
    peer.reset()
    assert client.wait_until(State.WAITING, LONG)
    assert client.connection is None
    client.close()
    assert client.connection is None


def test_each_connection_has_its_own_object(raw):
    client, peer = open_pair(raw)
    first = client.connection
    peer.reset()
    raw.accept().upgrade()
    eventually(lambda: client.connection not in (None, first))
    assert (first.number, client.connection.number) == (1, 2)
    assert first.local_address != client.connection.local_address
    client.close(timeout=0)


def test_the_session_has_the_same_object_as_the_client_later(server):
    seen = []

    class Watching(JsonId):
        def on_session(self, session):
            seen.append(session.connection)

    def on_session(client, session):
        seen.extend([session.connection, client.connection, session.connection.uptime])

    with wsclient.connect(server.url, protocol=Watching(), on_session=on_session) as client:
        assert seen[0] is seen[1] is client.connection
        assert seen[2:] == [None, 0.0]


def test_hooks_get_the_connection_of_their_event(server):
    seen = []
    with wsclient.connect(server.url, on_open=lambda client: seen.append(client.connection)) as client:
        eventually(lambda: seen)
        assert seen == [client.connection]


def test_a_client_whose_io_thread_hangs_has_no_connection(raw):
    entered, leave = threading.Event(), threading.Event()

    def hang(message):
        entered.set()
        leave.wait(4 * LONG)

    client, peer = open_pair(raw)
    client.submit({"a": 1}, match=hang)
    peer.receive_text()
    peer.send_text("{}")
    assert entered.wait(LONG)
    client.close(timeout=0)
    assert client.connection is None
    assert client.stats.uptime == 0.0
    leave.set()


def test_the_uptime_increases_while_the_connection_is_open_and_stops_at_its_end(raw):
    client, _ = open_pair(raw)
    info = client.connection
    first = info.uptime
    assert 0.0 <= first <= client.stats.uptime
    eventually(lambda: info.uptime > first)
    close_now(client)
    last = info.uptime
    assert last == client.last_disconnect.uptime
    threading.Event().wait(SHORT)
    assert info.uptime == last


# --- the object ------------------------------------------------------------------------------------------------------


def test_it_cannot_be_changed(server):
    with wsclient.connect(server.url) as client:
        for name in [*FIELDS, "uptime"]:
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(client.connection, name, None)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda info: pickle.loads(pickle.dumps(info))])
def test_a_copy_keeps_all_facts_and_its_uptime(server, copied):
    with wsclient.connect(server.url) as client:
        info = client.connection
        eventually(lambda: info.uptime > 0.0)
        twin = copied(info)
        assert twin == info
        assert hash(twin) == hash(info)
        assert dict(twin.headers) == dict(info.headers)
        assert 0.0 < twin.uptime <= info.uptime
        frozen = twin.uptime
        eventually(lambda: info.uptime > frozen + 0.01)
        assert twin.uptime == frozen


def test_every_attribute_is_documented():
    words = inspect.cleandoc(ConnectionInfo.__doc__)
    assert [field.name for field in dataclasses.fields(ConnectionInfo) if not field.name.startswith("_")] == FIELDS
    assert all(f"{name}: " in words for name in FIELDS)
    assert ConnectionInfo.uptime.__doc__
