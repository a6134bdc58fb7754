"""The raw server of the testing kit: exact bytes at exact times, with a real client."""

import contextlib
import selectors
import socket
import ssl
import threading
import time

import pytest

import wsclient
from wsclient.testing import RawServer, frame

from ..support import LONG, SHORT, eventually
from ..support.raw import connect_and_reset


def started(client):
    """The client's start, in a separate thread; its error is added to the list."""
    errors = []

    def start():
        try:
            client.start()
        except wsclient.WebSocketClientError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    return thread, errors


def test_half_a_frame_has_no_effect_until_the_rest_arrives():
    heard = []
    with RawServer() as raw:
        client = wsclient.Client(raw.url, on_message=lambda _, message: heard.append(message))
        thread, _ = started(client)
        peer = raw.accept().upgrade()
        thread.join(LONG)
        rest = peer.send_half(1, b"hello")
        with pytest.raises(TimeoutError), client.listen() as stream:
            stream.get(SHORT)
        peer.send(rest)
        eventually(lambda: heard == ["hello"])
        client.close(timeout=0)


def test_a_frame_sent_byte_by_byte_arrives_completely():
    def script(peer):
        peer.upgrade()
        peer.trickle(frame(1, b"slow"), 0.005)
        peer.until_closed()

    with RawServer(script) as raw:
        client = wsclient.Client(raw.url)
        with client.listen() as heard:
            client.start()
            assert heard.get(LONG) == "slow"
        client.close(timeout=0)


def test_a_wrong_accept_key_is_refused():
    def script(peer):
        peer.upgrade(accept="c3VyZWx5IG5vdA==")

    with RawServer(script) as raw, pytest.raises(wsclient.HandshakeError, match="Sec-WebSocket-Accept"):
        wsclient.connect(raw.url)


def test_an_oversized_header_is_refused():
    def script(peer):
        peer.upgrade("X-Filler: " + "x" * 1_000_000)

    with RawServer(script) as raw, pytest.raises(wsclient.HandshakeError):
        wsclient.connect(raw.url)


def test_silence_keeps_the_connection_open_until_the_test_ends_it():
    heard = []

    def script(peer):
        peer.receive_head()
        heard.append(peer)
        peer.silence()

    with RawServer(script) as raw:
        client = wsclient.Client(raw.url, open_timeout=SHORT)
        thread, errors = started(client)
        thread.join(LONG)
        assert isinstance(errors[0].last, TimeoutError)
        eventually(lambda: heard)
        heard[0].release()


def test_a_close_without_a_close_frame_is_a_lost_connection():
    def script(peer):
        peer.upgrade()
        peer.finish()

    losses = []
    with RawServer(script) as raw:
        client = wsclient.Client(
            raw.url, reconnect=None, on_close=lambda client, code, reason: losses.append((code, reason))
        )
        started(client)[0].join(LONG)
        assert client.wait_closed(LONG)
        eventually(lambda: losses == [(None, None)])
        assert client.last_disconnect.initiator == "network"


def test_an_exception_of_a_script_is_raised_at_the_end(caplog):
    def script(peer):
        raise ZeroDivisionError("the script's")

    def use():
        with RawServer(script) as raw, pytest.raises(wsclient.ConnectError):
            wsclient.connect(raw.url)

    with pytest.raises(ZeroDivisionError, match="the script's"):
        use()


def test_one_argument_enables_tls():
    def script(peer):
        peer.upgrade()
        peer.send(frame(1, b"in the dark"))
        peer.until_closed()

    with RawServer(script, tls=True) as raw:
        client = wsclient.Client(raw.url, ssl_context=raw.client_context)
        with client.listen() as heard:
            client.start()
            assert heard.get(LONG) == "in the dark"
        client.close(timeout=0)


def test_a_client_that_stalls_in_its_tls_handshake_blocks_neither_other_clients_nor_the_end():
    with RawServer(tls=True) as raw, socket.create_connection(("127.0.0.1", raw.port)):
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", raw.port)) as sock:
            with raw.client_context.wrap_socket(sock, server_hostname="localhost") as secure:
                raw.accept().send(b"hello")
                assert secure.recv(5) == b"hello"
    assert time.monotonic() - began < 10  # the stalled handshake alone would have 15 s


def test_a_tls_handshake_that_begins_after_the_end_reports_no_error(monkeypatch):
    handshake, begun = ssl.SSLSocket.do_handshake, threading.Event()

    def late(sock, *args):
        begun.set()
        assert client.recv(1) == b""  # the server has shut the connection down
        handshake(sock, *args)

    monkeypatch.setattr(ssl.SSLSocket, "do_handshake", late)
    client = socket.socket()
    client.settimeout(LONG)
    with client, RawServer(tls=True) as raw:
        client.connect(("127.0.0.1", raw.port))
        assert begun.wait(LONG)
        raw.close()


def test_clients_that_disconnect_before_their_tls_handshake_do_not_end_the_server():
    with RawServer(tls=True) as raw:
        connect_and_reset(raw.port)
        with socket.create_connection(("127.0.0.1", raw.port), LONG) as sock:
            with raw.client_context.wrap_socket(sock, server_hostname="localhost") as secure:
                raw.accept().send(b"hello")
                assert secure.recv(5) == b"hello"


def test_the_end_wakes_scripts_that_wait_for_several_sockets():
    waiting = threading.Semaphore(0)
    scripts, rounds = 16, 20  # when the sockets were closed too early, a few of them waited until their timeout

    def watch(peer):
        near, far = socket.socketpair()
        with near, far, selectors.DefaultSelector() as selector:
            selector.register(peer.sock, selectors.EVENT_READ)
            selector.register(near, selectors.EVENT_READ)
            waiting.release()
            assert selector.select(LONG), "it was not notified of the end"

    for _ in range(rounds):
        with contextlib.ExitStack() as stack:
            raw = stack.enter_context(RawServer(watch))
            for _ in range(scripts):
                stack.enter_context(socket.create_connection(("127.0.0.1", raw.port)))
            for _ in range(scripts):
                assert waiting.acquire(timeout=LONG)
            raw.close()


def test_the_end_stops_a_script_that_reads_in_an_endless_loop():
    reading = threading.Event()

    def read_on(peer):
        reading.set()
        while True:
            peer.sock.recv(4096)

    with RawServer(read_on) as raw, socket.create_connection(("127.0.0.1", raw.port)):
        assert reading.wait(LONG)
    assert not raw.errors
