"""Servers that can't accept a connection: without file descriptors or threads, or since a client has disconnected."""

import contextlib
import errno
import os
import socket
import threading

import pytest

from wsclient._recording import format as recording_format
from wsclient.testing import RawServer, Replay, Server
from wsclient.testing._servers import sockets

from ..support import LONG, SHORT, eventually

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)

ACCEPT = socket.socket.accept


@pytest.fixture(params=["raw", "replay", "server", "server with TLS"])
def start(request, tmp_path):
    """A function that starts a server; each answers ``REQUEST``."""
    if request.param == "raw":
        return lambda: RawServer(lambda peer: peer.upgrade())
    if request.param == "replay":
        path = tmp_path / "empty.jsonl"
        path.write_bytes(recording_format.head("test", (), ()))
        return lambda: contextlib.closing(Replay(path))
    return lambda: Server(tls=request.param == "server with TLS")


class Failing:
    """An ``accept()`` that fails a number of times."""

    def __init__(self, number, times):
        self._number = number
        self._times = times
        self.attempts = 0

    def __call__(self, sock):
        self.attempts += 1
        if self.attempts <= self._times:
            raise OSError(self._number, os.strerror(self._number))
        return ACCEPT(sock)


def failing(monkeypatch, number, times):
    failing = Failing(number, times)
    monkeypatch.setattr(socket.socket, "accept", lambda sock: failing(sock))
    return failing


def is_answered(server):
    with socket.create_connection(("127.0.0.1", server.port), LONG) as sock:
        if server.url.startswith("wss:"):
            sock = server.client_context.wrap_socket(sock, server_hostname="localhost")
        with sock:
            sock.sendall(REQUEST)
            return sock.recv(9) == b"HTTP/1.1 "


def test_without_descriptors_a_server_pauses_and_can_be_closed(start, monkeypatch, caplog):
    accept = failing(monkeypatch, errno.EMFILE, 1_000_000)
    with start() as server, socket.create_connection(("127.0.0.1", server.port), LONG):
        eventually(lambda: "can't accept a connection" in caplog.text)
        threading.Event().wait(SHORT)
        assert accept.attempts <= 2  # a loop without a pause makes thousands


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ECONNABORTED])
def test_a_server_continues_after_an_error_of_accept(start, monkeypatch, number):
    monkeypatch.setattr(sockets, "PAUSE", 0.01)
    failing(monkeypatch, number, 2)
    with start() as server:
        assert is_answered(server)
        assert is_answered(server)


@pytest.mark.parametrize("start", ["raw", "replay"], indirect=True)
def test_a_server_continues_after_the_thread_of_a_connection_could_not_start(start, monkeypatch, caplog):
    begin, refused = threading.Thread.start, []

    def refuse_first(thread):
        if not refused and thread.name.startswith(("replay-", "wsclient-testing-peer")):
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        begin(thread)

    with start() as server:
        monkeypatch.setattr(threading.Thread, "start", refuse_first)
        with socket.create_connection(("127.0.0.1", server.port), LONG) as sock:
            assert sock.recv(1) == b""
        assert is_answered(server)
    assert "can't start a thread for a connection (can't start new thread)" in caplog.text
