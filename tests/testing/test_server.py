"""The server of the testing kit: a real server, used like in a user's test."""

import os
import pathlib
import socket
import tempfile
import threading

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State
from websockets.sync.server import ServerConnection

import wsclient
from wsclient._rfc6455.frames import Opcode, build_frame
from wsclient.testing import Server

from ..support import LONG, SHORT, eventually
from ..support.raw import connect_and_reset

needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no Unix domain sockets")


@pytest.fixture
def socket_path():
    """A path short enough for a socket, which ``tmp_path`` may not be."""
    with tempfile.TemporaryDirectory() as folder:
        yield os.path.join(folder, "s")


def ask(server, message, **options):
    with wsclient.connect(server.url, protocol=wsclient.Fifo(), **options) as client:
        return client.request(message, timeout=LONG)


def test_by_default_it_echoes_messages():
    with Server() as server:
        assert ask(server, "text") == "text"
        assert ask(server, b"\x00bytes") == b"\x00bytes"


@pytest.mark.parametrize(
    ("answer", "arrives"), [("text", "text"), (b"\x01", b"\x01"), ({"a": 1}, {"a": 1}), ([1], [1]), (0, "0")]
)
def test_the_result_of_the_handler_is_sent(answer, arrives):
    with Server(lambda connection, message: answer) as server:
        assert ask(server, "x") == arrives


def test_a_handler_without_a_result_can_send_itself_and_be_replaced():
    def twice(connection, message):
        connection.send(message)
        connection.send(message.upper())

    with Server(twice) as server, wsclient.connect(server.url) as client, client.listen() as heard:
        client.send("a")
        assert [heard.get(LONG), heard.get(LONG)] == ["a", "A"]
        server.handler = lambda connection, message: "new"
        client.send("b")
        assert heard.get(LONG) == "new"


def test_received_has_all_messages_in_order_and_wait_for_waits_for_them():
    with Server() as server, wsclient.connect(server.url) as client:
        sender = threading.Timer(SHORT, lambda: [client.send(text) for text in "abc"])
        sender.start()
        assert server.wait_for(2, LONG) == ["a", "b"]
        assert server.wait_for(3) == server.received == ["a", "b", "c"]
        sender.join()


def test_wait_for_reports_the_received_messages_at_its_timeout():
    with Server() as server, wsclient.connect(server.url) as client:
        client.send("only one")
        server.wait_for(1)
        with pytest.raises(TimeoutError, match=r"1 of 2 messages.*only one"):
            server.wait_for(2, SHORT)


# --- connections that end at once ------------------------------------------------------------------------------------

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def after_handshakes(monkeypatch, action):
    """Let the handshake of ``websockets`` return only after ``action(connection)`` has returned."""
    handshake = ServerConnection.handshake

    def late(connection, *args):
        handshake(connection, *args)
        action(connection)

    monkeypatch.setattr(ServerConnection, "handshake", late)


def is_ended(connection):
    return connection.protocol.state is not State.OPEN


def send_and_close(server, *texts):
    """Connect, send the messages and a close frame with one call, and wait for the end."""
    frames = [build_frame(Opcode.TEXT, text.encode(), bytes(4)) for text in texts]
    with socket.create_connection(("127.0.0.1", server.port), LONG) as sock:
        sock.sendall(REQUEST)
        assert sock.recv(4096).startswith(b"HTTP/1.1 101 ")
        sock.sendall(b"".join([*frames, build_frame(Opcode.CLOSE, b"\x03\xe8", bytes(4))]))
        while sock.recv(4096):
            pass


@pytest.mark.parametrize("answering", [True, False])
def test_the_messages_of_a_client_that_closed_before_its_handler_began_are_received(monkeypatch, answering):
    after_handshakes(monkeypatch, lambda connection: eventually(lambda: is_ended(connection)))
    texts = [str(number) for number in range(100)]
    handled = []
    with Server(None if answering else lambda connection, message: handled.append(message)) as server:
        send_and_close(server, *texts)
        assert server.wait_for(100, LONG) == texts
        assert is_ended(server.opened.get(timeout=LONG))
        eventually(lambda: not server.connections)
        assert handled == ([] if answering else texts)


def test_sending_to_a_client_that_closed_before_its_handler_began_raises_in_the_handler(monkeypatch):
    after_handshakes(monkeypatch, lambda connection: eventually(lambda: is_ended(connection)))
    raised = []

    def send(connection, message):
        try:
            connection.send(message)
        except ConnectionClosed as error:
            raised.append(error)
            raise

    with Server(send) as server:
        send_and_close(server, "only")
        server.wait_for(1, LONG)
        eventually(lambda: not server.connections)
    assert len(raised) == 1


def test_a_client_that_disconnects_before_the_response_is_not_in_opened(monkeypatch):
    handshake, ended = ServerConnection.handshake, threading.Event()

    def late(connection, *args):
        eventually(lambda: connection.protocol.state is State.CLOSED)
        try:
            handshake(connection, *args)
        finally:
            ended.set()

    monkeypatch.setattr(ServerConnection, "handshake", late)
    with Server() as server:
        with socket.create_connection(("127.0.0.1", server.port), LONG) as sock:
            sock.sendall(REQUEST)
        assert ended.wait(LONG)
        server.stop()  # waits for the thread of the connection
        assert server.opened.empty()


def test_a_connection_that_is_accepted_while_the_server_stops_is_ended(monkeypatch):
    def stop(connection):
        stopping.start()
        eventually(is_refused)

    def is_refused():
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", server.port)) != 0

    after_handshakes(monkeypatch, stop)
    with Server() as server:
        stopping = threading.Thread(target=server.stop)
        with socket.create_connection(("127.0.0.1", server.port), LONG) as sock:
            sock.sendall(REQUEST)
            assert sock.recv(4096).startswith(b"HTTP/1.1 101 ")
            assert sock.recv(1) == b""
        stopping.join()
        assert server.opened.get(timeout=LONG)


# --- what the test does ----------------------------------------------------------------------------------------------


def test_close_all_closes_with_its_code_and_the_client_reconnects():
    with Server() as server, wsclient.connect(server.url) as client:
        server.opened.get(timeout=LONG)
        server.close_all(4001, "enough")
        server.opened.get(timeout=LONG)
        assert (client.last_disconnect.initiator, client.last_disconnect.code) == ("remote", 4001)
        assert client.last_disconnect.reason == "enough"


def test_reject_refuses_this_number_of_handshakes_and_then_accepts():
    attempts = []
    with Server() as server:
        server.reject(503, {"Retry-After": "0", "X-Why": "test"}, times=2)
        client = wsclient.Client(
            server.url, retry_first=True, on_connect_error=lambda _, attempt: attempts.append(attempt.error)
        )
        with client:
            pass
        assert server.opened.qsize() <= 1  # refused connections are not in it
    assert [error.status for error in attempts] == [503, 503]
    assert attempts[0].headers["x-why"] == "test"


@pytest.mark.parametrize("status", [101, 99, "503", 1000])
def test_reject_accepts_error_statuses(status):
    with Server() as server, pytest.raises(ValueError, match="status"):
        server.reject(status)


def test_a_restart_keeps_port_and_received_and_cuts_open_connections():
    with Server() as server, wsclient.connect(server.url) as client:
        client.send("before")
        server.wait_for(1)
        port, first = server.port, server.opened.get(timeout=LONG)
        server.restart()
        assert server.port == port
        assert server.opened.get(timeout=LONG) is not first
        client.send("after")
        assert server.wait_for(2) == ["before", "after"]
        assert client.last_disconnect.code is None  # no close frame: it was cut


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="two sockets can't share a port here")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_no_other_socket_gets_the_port_of_a_stopped_server(host):
    try:
        server = Server(host=host)
    except OSError:
        pytest.skip(f"this machine does not have {host}")
    with server:
        for _ in range(2):
            server.stop()
            with pytest.raises(OSError, match="in use"):
                socket.create_server((host, server.port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
            server.start()
            assert ask(server, "back") == "back"
        server.stop()
    socket.create_server((host, server.port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()


def test_a_stopped_server_refuses_connections_and_can_start_again():
    with Server() as server:
        server.stop()
        with pytest.raises(wsclient.ConnectError):
            wsclient.connect(server.url)
        server.start()
        assert ask(server, "back") == "back"
        with pytest.raises(RuntimeError, match="runs already"):
            server.start()


def test_one_argument_enables_tls():
    with Server(tls=True) as server:
        assert server.url.startswith("wss://localhost:")
        assert ask(server, "secret", ssl_context=server.client_context) == "secret"
        with pytest.raises(wsclient.TLSError):
            wsclient.connect(server.url)  # only the server's own authority trusts it


def test_the_url_with_tls_leads_to_a_server_on_another_loopback_address():
    try:
        server = Server(tls=True, host="127.0.0.2")
    except OSError:
        pytest.skip("this machine does not have 127.0.0.2")
    with server:
        assert server.url.startswith("wss://127.0.0.2:")
        assert ask(server, "secret", ssl_context=server.client_context) == "secret"


@pytest.mark.parametrize("tls", [False, True])
def test_the_url_of_a_server_on_all_addresses_has_a_host(tls):
    with Server(host="", tls=tls) as server:
        assert server.url == f"{'wss://localhost' if tls else 'ws://127.0.0.1'}:{server.port}/"
        assert ask(server, "x", **({"ssl_context": server.client_context} if tls else {})) == "x"


def test_tls_with_a_context_of_the_user(server_tls, trusting):
    with Server(tls=server_tls) as server:
        assert ask(server, "secret", ssl_context=trusting) == "secret"
        with pytest.raises(AttributeError, match="was passed as tls="):
            _ = server.client_context


def test_clients_that_disconnect_before_their_tls_handshake_do_not_end_the_server():
    with Server(tls=True) as server:
        connect_and_reset(server.port)
        assert ask(server, "still here", ssl_context=server.client_context) == "still here"


def test_an_exception_of_a_handler_is_raised_at_the_end_and_closes_with_1011(caplog):
    def broken(connection, message):
        raise KeyError("the handler's")

    def use():
        with Server(broken) as server, wsclient.connect(server.url) as client:
            server.opened.get(timeout=LONG)
            client.send("x")
            server.opened.get(timeout=LONG)  # closed, and reconnected
            assert client.last_disconnect.code == 1011

    with pytest.raises(KeyError, match="the handler's"):
        use()
    assert "failed at message" in caplog.text


def test_an_exception_of_a_handler_does_not_replace_that_of_the_block():
    def broken(connection, message):
        raise KeyError("the handler's")

    def use():
        with Server(broken) as server, wsclient.connect(server.url) as client:
            client.send("x")
            server.wait_for(1)
            raise ZeroDivisionError("the test's own")

    with pytest.raises(ZeroDivisionError):
        use()


def test_cut_all_and_reset_all_end_connections_without_a_close_frame():
    with Server() as server, wsclient.connect(server.url) as client:
        for end in (server.cut_all, server.reset_all):
            server.opened.get(timeout=LONG)
            before = client.stats.connections
            end()
            server.opened.get(timeout=LONG)
            assert client.wait_until(wsclient.State.OPEN, LONG)
            assert client.stats.connections >= before
            assert client.last_disconnect.initiator == "network"
            server.opened.put(server.connections[-1])


def test_options_of_websockets_are_passed_through():
    with Server(subprotocols=["chat"]) as server, wsclient.connect(server.url, subprotocols=["chat"]):
        assert server.opened.get(timeout=LONG).subprotocol == "chat"


# --- Unix domain sockets ---------------------------------------------------------------------------------------------


@needs_unix
def test_the_socket_of_an_earlier_run_is_replaced(socket_path):
    with socket.socket(socket.AF_UNIX) as earlier:
        earlier.bind(socket_path)
    with Server(path=socket_path) as server:
        assert ask(server, "x") == "x"
        server.restart()
        assert ask(server, "y") == "y"


@needs_unix
@pytest.mark.parametrize("kind", ["file", "folder", "link to a file", "link to a socket", "link to nothing"])
def test_no_other_file_is_removed(socket_path, kind):
    path = pathlib.Path(socket_path)
    target = path.with_name("t")
    if kind == "file":
        path.write_text("important")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(target)
    if kind == "link to a file":
        target.write_text("important")
    elif kind == "link to a socket":
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(target))
    before = os.lstat(path)
    with pytest.raises(
        FileExistsError, match=r"can't listen on .*: there is a file that is not a socket\. Give another"
    ):
        Server(path=socket_path)
    assert os.lstat(path).st_ino == before.st_ino
    if kind in ("file", "link to a file"):
        assert path.read_text() == "important"


@needs_unix
def test_a_restart_does_not_remove_a_file_that_replaced_the_socket(socket_path):
    with Server(path=socket_path) as server:
        server.stop()
        os.unlink(socket_path)
        pathlib.Path(socket_path).write_text("important")
        with pytest.raises(FileExistsError):
            server.start()
        assert pathlib.Path(socket_path).read_text() == "important"
