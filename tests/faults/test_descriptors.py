"""Faults of file descriptors: none is left, or other code of the program closes those of a client."""

import os
import socket
import sys
import threading
import time

import pytest
import tenacity

import wsclient
from wsclient import State

from ..support import LONG, Server, eventually
from ..support.children import Script
from ..support.clients import FAST, request_sum

SOON = wsclient.Reconnect(wait=tenacity.wait_fixed(0.02))

needs_descriptors = pytest.mark.skipif(sys.platform == "win32", reason="sockets are no file descriptors on Windows")


@pytest.mark.slow
@needs_descriptors
def test_without_a_free_descriptor_an_attempt_fails_and_is_retried_like_any_other(server):
    with Script("no_descriptor", server.url) as script:
        text, cause, state = script.read_value()
        assert "Too many open files" in text
        assert "raise the limit" in text
        assert (cause, state) == ("OSError", "closed")
        assert script.read_value() == ["open", 3]
        assert script.read_value() == ["closed"]
        assert script.read_value() == [2, True]
        assert script.read_value() == [[]]
        assert script.process.wait(LONG) == 0


def close_socket(sock):
    sock.close()


def close_descriptor(sock):
    os.close(sock.fileno())


def replace_descriptor(sock):
    """Let the number of the descriptor belong to another file."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, sock.fileno())
    os.close(null)


def shut_down(sock):
    sock.shutdown(socket.SHUT_RDWR)


class Closer:
    """Opens the sockets of a client, and records the errors that the client reports."""

    def __init__(self, server, **options):
        self.sockets = []
        self.errors = []
        self._address = server.host, server.port
        self.client = wsclient.Client(
            server.url,
            sock=self._open,
            on_error=lambda _, error: self.errors.append(error),
            **{**FAST, "reconnect": SOON, **options},
        ).start()
        request_sum(self.client)

    def _open(self):
        self.sockets.append(socket.create_connection(self._address))
        return self.sockets[-1]


CLOSINGS = [
    close_socket,
    pytest.param(close_descriptor, marks=needs_descriptors),
    pytest.param(replace_descriptor, marks=needs_descriptors),
    shut_down,
]


@pytest.mark.parametrize("close", CLOSINGS)
def test_a_socket_that_other_code_closes_is_a_lost_connection(server, close, caplog):
    closer = Closer(server)
    number = closer.sockets[0].fileno()
    close(closer.sockets[0])
    eventually(lambda: closer.client.stats.connections == 2)  # the next ping fails
    request_sum(closer.client)
    lost = closer.client.last_disconnect
    assert lost.initiator == "network"
    if close is not shut_down:
        assert "other code of this program has closed the client's socket" in lost.reason
    if close is replace_descriptor:
        os.fstat(number)  # the file of the other code is still open
        os.close(number)
    if close is close_descriptor:
        closer.sockets[0].detach()
    closer.client.close()
    assert closer.errors == []
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@needs_descriptors
@pytest.mark.parametrize("close", [close_descriptor, replace_descriptor])
def test_a_tls_socket_that_other_code_closes_is_a_lost_connection(close, caplog):
    with Server(tls=True) as server:
        numbers = []
        client = wsclient.Client(server.url, ssl_context=server.client_context, **{**FAST, "reconnect": SOON})
        client.start()
        request_sum(client)
        numbers.append(client._wsclient.lifecycle._supervisor.sockets()[-1].fileno())
        close(Number(numbers[0]))
        eventually(lambda: client.stats.connections == 2)
        request_sum(client)
        assert client.last_disconnect.initiator == "network"
        if close is replace_descriptor:
            os.close(numbers[0])
        client.close()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


class Number:
    """Stands for a socket of which only the descriptor is known."""

    def __init__(self, number):
        self._number = number

    def fileno(self):
        return self._number


@pytest.mark.parametrize("close", CLOSINGS[:1])
def test_a_prepared_socket_that_is_closed_before_the_start_is_a_failed_attempt(server, close):
    with socket.create_connection((server.host, server.port)) as sock:
        close(sock)
        client = wsclient.Client(server.url, sock=sock)
        with pytest.raises(wsclient.ConnectError, match="not connected"):
            client.start()
    assert client.state is State.CLOSED


def test_a_socket_that_is_closed_while_reading_is_paused_is_a_lost_connection(server):
    taken, go = [], threading.Event()

    def on_message(client, message):
        taken.append(message)
        go.wait(LONG)

    queue = wsclient.ReceiveQueue(max_messages=1)
    closer = Closer(server, on_message=on_message, receive_queue=queue, ping_interval=None)
    for number in range(5):
        server.send_all(str(number))
    eventually(lambda: closer.client._wsclient.context.facts.paused)
    closer.sockets[0].close()
    go.set()
    eventually(lambda: closer.client.stats.connections == 2)
    closer.client.close()
    assert closer.errors == []


def wake_up_of(client):
    return client._wsclient.context.commands._wakeup


@needs_descriptors
@pytest.mark.parametrize("end", ["_inner", "_outer"])
@pytest.mark.parametrize("close", [close_descriptor, replace_descriptor])
def test_a_wake_up_that_other_code_closes_is_replaced(server, end, close, caplog):
    closer = Closer(server)
    sock = getattr(wake_up_of(closer.client), end)
    number = sock.fileno()
    close(sock)
    eventually(lambda: closer.client.stats.connections == 2 or poke(closer.client))
    request_sum(closer.client)
    if close is replace_descriptor:
        os.close(number)
    closer.client.close()
    assert closer.errors == []
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def poke(client):
    """Wake the client's thread, which then finds that its wake-up is closed."""
    wake_up = wake_up_of(client)
    if wake_up is not None:  # for a moment there is none
        wake_up._pending = False
        wake_up.wake()
    return False


@needs_descriptors
def test_a_wake_up_that_other_code_closes_during_the_back_off_is_replaced(server):
    failed = threading.Event()
    server.stop()
    client = wsclient.Client(
        server.url,
        retry_first=True,
        reconnect=wsclient.Reconnect(wait=tenacity.wait_fixed(1000)),
        on_connect_error=lambda _, attempt: failed.set(),
    )
    starter = threading.Thread(target=client.start)
    starter.start()
    assert failed.wait(LONG)
    eventually(lambda: client.state is State.WAITING)
    old = wake_up_of(client)
    os.close(old._inner.fileno())
    eventually(lambda: wake_up_of(client) not in (old, None) or poke(client))
    used = time.process_time()
    threading.Event().wait(0.3)
    assert time.process_time() - used < 0.2  # no busy loop
    server.start()
    client.reconnect()
    starter.join(LONG)
    assert client.state is State.OPEN
    client.close()
