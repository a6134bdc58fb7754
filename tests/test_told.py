"""What `send` tells over TLS is what can have arrived, so nothing arrives twice; the last words of a peer are heard."""

# ruff: noqa: PT012 - what is read until it ends is a loop

import socket
import threading

import pytest
import tenacity

import wsclient

from .support import LONG, RawServer
from .test_line import ca, contexts, fill, receive, tls, wait_for  # noqa: F401
from .test_nested_tls import (  # noqa: F401
    READ,
    SecureProxy,
    client_tls,
    nested,
    outer,
)  # fmt: skip


def arrived(recv, between=lambda: None):
    size = 0
    with pytest.raises(TimeoutError):
        while True:
            size += len(recv(65536))
            between()
    return size


@pytest.mark.parametrize("size", [16384, 20000, 65536])  # 65536 red: 196608 told, 245760 arrived
def test_no_whole_record_is_out_that_send_has_not_told(tls, size):  # noqa: F811
    line, far = tls
    told, _ = fill(line, b"x" * size)
    far.settimeout(0.3)
    assert arrived(far.recv) == told


@pytest.mark.parametrize("size", [16384, 20000, 65536])  # all red: receive() sends what send() did not tell
def test_no_whole_inner_record_is_out_that_send_has_not_told(nested, size):  # noqa: F811
    line, far = nested
    told, _ = fill(line, b"x" * size)
    far.outer.settimeout(0.3)
    assert arrived(far.recv, lambda: line.receive(1)) == told


@pytest.mark.parametrize("kind", ["wss", "wss through https"])
@pytest.mark.parametrize("length", [994, 1001, 1015, 1029])  # most of them red, for both kinds
def test_no_message_arrives_twice_where_a_full_line_is_given_up(server_tls, trusting, kind, length):
    with RawServer(tls=server_tls) as raw, SecureProxy(server_tls) as proxy:
        client = wsclient.Client(
            raw.url, ssl_context=trusting, ping_interval=None, json=None, compression=None,
            reconnect=wsclient.Reconnect(wait=tenacity.wait_none()), proxy=proxy.url if "https" in kind else None,
        )  # fmt: skip
        starter = threading.Thread(target=client.start)
        starter.start()
        slow = raw.accept().upgrade()
        starter.join(LONG)
        slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        count = 0
        while not client._wsclient.core.link.wire.blocked or client.stats.queue_depth < 5000:
            client.send(f"{count:06d}" + "x" * length)
            count += 1
            if not count % 100:
                threading.Event().wait(0.002)
        client.reconnect()  # or a keepalive that times out
        peer = raw.accept().upgrade()
        second = {peer.receive_frame()[1][:6] for _ in range(1000)}
        first = set()
        slow.sock.settimeout(2.0)
        with pytest.raises(OSError):  # noqa: PT011
            while True:
                first.add(slow.receive_frame()[1][:6])
        client.close(timeout=0)
        assert not first & second


@pytest.mark.parametrize("failed", [False, True], ids=["full", "after a send that failed"])
def test_a_tls_line_hears_last_words(tls, failed):  # noqa: F811  (green)
    line, far = tls
    assert last_words(line, far, far, failed) == b"last words"


@pytest.mark.parametrize("failed", [False, True], ids=["full", "after a send that failed"])
def test_a_nested_line_hears_last_words(nested, failed):  # noqa: F811  (both red)
    line, far = nested
    assert last_words(line, far, far.outer, failed) == b"last words"


def last_words(line, far, sock, failed):
    if failed:
        line.send(b"unread")
        threading.Event().wait(0.1)
    else:
        fill(line, b"x" * 16384)
    far.sendall(b"last words")
    sock.close()  # with bytes unread: a RST follows
    wait_for(line, READ)
    if failed:
        with pytest.raises(OSError):  # noqa: PT011
            for _ in range(10):
                line.send(b"x")
                threading.Event().wait(0.01)
    return receive(line, 100)
