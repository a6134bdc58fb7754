"""An open connection as a stream of bytes, with and without TLS."""

import hashlib
import random
import selectors
import socket
import ssl
import struct
import threading
import time

import pytest
import trustme

from wsclient._network.poller import READ, WRITE
from wsclient._network.transport import RECORD, TLSTransport, Transport, make_transport

from ..support import LONG, SHORT
from ..support.transports import (
    REFUSED,
    fill,
    read_exactly,
    receive,
    rest_of,
    send_and_reset,
    send_until_refused,
    tcp_pair,
    tls_pair,
    wait_for,
)


@pytest.fixture(scope="module")
def ca():
    return trustme.CA()


@pytest.fixture
def contexts(ca):
    """TLS contexts for a client and its server."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(server)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ca.configure_trust(client)
    return client, server


@pytest.fixture
def plain():
    """A transport, and the blocking socket at its other end."""
    near, far = tcp_pair()
    near.setblocking(False)
    transport = make_transport(near)
    with far:
        yield transport, far
    transport.close()


@pytest.fixture
def tls(contexts):
    """A TLS transport, and the blocking TLS socket at its other end."""
    near, far = tls_pair(*contexts)
    near.setblocking(False)
    transport = make_transport(near)
    assert transport.receive(1) is None  # reads the session tickets that follow the handshake
    with far:
        yield transport, far
    transport.close()


@pytest.fixture(params=["plain", "tls"])
def either(request):
    return request.getfixturevalue(request.param)


# --- both kinds ------------------------------------------------------------------------------------------------------


def test_receive_returns_none_while_nothing_has_arrived(either):
    transport, _ = either
    assert transport.receive(100) is None


def test_receive_returns_the_bytes_that_have_arrived(either):
    transport, far = either
    far.sendall(b"hello")
    assert receive(transport, 100) == b"hello"
    assert transport.receive(100) is None


def test_receive_returns_at_most_the_requested_size(either):
    transport, far = either
    far.sendall(b"hello")
    assert receive(transport, 2) == b"he"
    assert receive(transport, 100) == b"llo"


def test_receive_returns_empty_bytes_at_the_end_of_the_stream(either):
    transport, far = either
    far.sendall(b"last")
    socket.socket.shutdown(far, socket.SHUT_WR)
    assert receive(transport, 100) == b"last"
    assert receive(transport, 100) == b""
    assert receive(transport, 100) == b""


def test_a_transport_that_was_reset_raises(plain):
    transport, far = plain
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()
    with pytest.raises(OSError, match="reset"):
        receive(transport, 100)


def test_a_tls_transport_that_was_reset_raises_or_ends(tls):
    transport, far = tls
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()
    try:
        assert receive(transport, 100) == b""  # CPython below 3.13 does not distinguish a reset from an end
    except ConnectionResetError:
        pass


def test_sending_to_a_broken_transport_raises(either):
    transport, far = either
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()
    wait_for(transport, READ)
    with pytest.raises(OSError, match=REFUSED):
        transport.send(b"x")


def test_sent_bytes_arrive(either):
    transport, far = either
    assert transport.send(b"hello") == 5
    assert transport.send(memoryview(b"world")) == 5
    assert read_exactly(far, 10) == b"helloworld"


def test_a_full_transport_accepts_nothing_until_there_is_room(either):
    transport, far = either
    piece = bytes(range(256)) * 64
    sent, refused = fill(transport, piece)
    assert sent > 0
    assert transport.write_event == WRITE
    arrived = read_exactly(far, sent)
    wait_for(transport, transport.write_event)
    more = transport.send(refused)
    assert more > 0
    arrived += read_exactly(far, more)
    expected = (piece * (len(arrived) // len(piece) + 1))[: len(arrived)]
    assert arrived == expected


def test_receiving_continues_while_the_transport_is_full(either):
    transport, far = either
    fill(transport, b"x" * 16384)
    far.sendall(b"hello")
    assert receive(transport, 100) == b"hello"
    assert transport.read_event == READ


def test_an_abort_by_another_thread_ends_the_connection_for_both_sides(either):
    transport, far = either
    thread = threading.Thread(target=transport.abort)
    thread.start()
    assert receive(transport, 100) == b""
    thread.join()
    with pytest.raises(OSError, match=REFUSED):
        transport.send(b"secret")
    far.settimeout(LONG)
    raw = socket.socket(fileno=far.detach())
    with raw:
        assert b"secret" not in raw.recv(65536)


def test_abort_does_not_close_the_socket(either):
    transport, _ = either
    transport.abort()
    assert transport.sock.fileno() != -1


def test_abort_can_be_repeated_and_follow_close(either):
    transport, _ = either
    transport.abort()
    transport.abort()
    transport.close()
    transport.abort()


def test_close_closes_the_socket(either):
    transport, far = either
    transport.close()
    assert transport.sock.fileno() == -1
    assert far.recv(100) == b""


# --- without TLS -----------------------------------------------------------------------------------------------------


def test_an_unencrypted_socket_makes_an_unencrypted_transport(plain):
    transport, far = plain
    assert type(transport) is Transport
    far.sendall(b"hello")
    wait_for(transport, READ)
    assert transport.pending() == 0


# --- TLS -------------------------------------------------------------------------------------------------------------


def test_a_tls_socket_makes_a_tls_transport(tls):
    assert type(tls[0]) is TLSTransport


def test_tls_reports_decrypted_bytes_that_poll_does_not_report(tls):
    transport, far = tls
    assert transport.pending() == 0
    far.sendall(b"x" * 10_000)
    assert receive(transport, 10) == b"x" * 10
    assert transport.pending() == 9990
    assert len(receive(transport, 10_000)) == 9990
    assert transport.pending() == 0


def test_a_tls_close_notify_is_the_end_of_the_stream(tls):
    transport, far = tls
    far.settimeout(0.0)
    with pytest.raises(ssl.SSLWantReadError):
        far.unwrap()  # sends close_notify, and would wait for the client's
    assert receive(transport, 100) == b""


def test_tls_copies_the_bytes_it_refused(tls):
    transport, far = tls
    sent, refused = fill(transport, b"abcdefgh" * 2048)
    digest = hashlib.sha256(read_exactly(far, sent))
    assert transport.send(bytearray(refused)) == len(refused)
    digest.update(read_exactly(far, len(refused)))
    total = sent + len(refused)
    assert digest.digest() == hashlib.sha256((b"abcdefgh" * (total // 8 + 1))[:total]).digest()


@pytest.mark.parametrize("size", [16384, 20000, 65536])
def test_tls_send_counts_every_complete_record(tls, size):
    """If less of a message is counted than arrived, the message is sent again on the next connection."""
    transport, far = tls
    counted, _ = fill(transport, b"x" * size)
    socket.socket.shutdown(transport.sock, socket.SHUT_WR)
    assert len(rest_of(far)) == counted


def test_tls_sends_at_most_one_record_in_a_call_also_if_the_socket_has_room_for_more(tls):
    transport, far = tls
    assert transport.send(b"x" * (RECORD + 1)) == RECORD
    assert transport.send(memoryview(b"y" * 2 * RECORD)) == RECORD
    assert read_exactly(far, 2 * RECORD) == b"x" * RECORD + b"y" * RECORD


def test_bytes_before_a_reset_are_received_although_the_tls_transport_is_full(tls):
    transport, far = tls
    fill(transport, b"x" * 16384)
    send_and_reset(far, far, transport)
    assert receive(transport, 100) == b"last words"


def test_bytes_before_a_reset_are_received_after_a_tls_send_has_failed(tls):
    transport, far = tls
    transport.send(b"unread")
    send_and_reset(far, far, transport)
    with pytest.raises(OSError, match=REFUSED):
        send_until_refused(transport)
    assert receive(transport, 100) == b"last words"


def test_abort_does_not_end_the_tls_layer(tls):
    transport, _ = tls
    transport.abort()
    assert transport.sock.version() is not None


def fill_socket(sock):
    """Send until the operating system accepts no more bytes; return how many it accepted."""
    total = before = 0
    size = 4096
    while True:
        try:
            total += socket.socket.send(sock, b"x" * size)
        except BlockingIOError:
            if total == before:
                return total
            before, size = total, 1
            threading.Event().wait(0.05)  # bytes under way may still make room


def test_tls_reports_that_a_read_waits_until_the_socket_is_writable(contexts):
    # The handshake is done by the first read, on a socket that is full.
    near, far = tcp_pair()
    near.setblocking(False)
    filling = fill_socket(near)
    near = contexts[0].wrap_socket(near, server_hostname="localhost", do_handshake_on_connect=False)
    with near, far:
        transport = make_transport(near)
        assert transport.receive(100) is None
        assert transport.read_event == WRITE
        read_exactly(far, filling)
        wait_for(transport, transport.read_event)
        assert transport.receive(100) is None
        assert transport.read_event == READ
        server = threading.Thread(target=serve_tls, args=(contexts[1], far, lambda peer: peer.sendall(b"hello")))
        server.start()
        assert receive(transport, 100) == b"hello"
        server.join()


def test_tls_waits_for_readability_again_after_it_has_written(ca, contexts):
    # A server that requests a certificate late makes the client's read write one.
    client, server = contexts
    client.post_handshake_auth = True
    server.verify_mode = ssl.CERT_OPTIONAL
    ca.configure_trust(server)
    near, far = tls_pair(*contexts)
    with near, far:
        far.verify_client_post_handshake()
        far.sendall(b"hello")
        near.setblocking(False)
        filling = fill_socket(near)
        transport = make_transport(near)
        wait_for(transport, READ)
        assert transport.receive(100) is None
        assert transport.read_event == WRITE
        raw = socket.socket(fileno=far.detach())
        with raw:
            read_exactly(raw, filling)
            assert receive(transport, 100) == b"hello"
        assert transport.read_event == READ


def test_tls_reports_that_a_write_waits_until_the_socket_is_readable(contexts):
    got = []
    near, far = tcp_pair()
    near.setblocking(False)
    near = contexts[0].wrap_socket(near, server_hostname="localhost", do_handshake_on_connect=False)
    with near, far:
        transport = make_transport(near)
        assert transport.send(b"hello") == 0
        assert transport.write_event == READ
        server = threading.Thread(
            target=serve_tls, args=(contexts[1], far, lambda peer: got.append(read_exactly(peer, 5)))
        )
        server.start()
        while not transport.send(b"hello"):
            wait_for(transport, transport.write_event)
        assert transport.write_event == WRITE
        server.join()
    assert got == [b"hello"]


def serve_tls(context, sock, body):
    with context.wrap_socket(sock, server_side=True) as peer:
        body(peer)


@pytest.mark.parametrize(
    ("first", "second"), [("receive", "send"), ("send", "receive"), ("receive", "pending"), ("send", "pending")]
)
def test_only_one_call_at_a_time_is_active_in_the_tls_object(contexts, monkeypatch, first, second):
    order = []
    first_is_inside, second_is_inside = threading.Event(), threading.Event()

    class Watched(ssl.SSLSocket):
        def recv(self, *arguments):
            return self.noted("receive", super().recv, *arguments)

        def send(self, *arguments):
            return self.noted("send", super().send, *arguments)

        def pending(self):
            return self.noted("pending", super().pending)

        def noted(self, name, call, *arguments):
            order.append(name)
            if name == second:
                second_is_inside.set()
            if name == first:
                first_is_inside.set()
                second_is_inside.wait(SHORT)
            try:
                return call(*arguments)
            finally:
                order.append(name)

    monkeypatch.setattr(contexts[0], "sslsocket_class", Watched)
    near, far = tls_pair(*contexts)
    near.setblocking(False)
    transport = make_transport(near)
    calls = {
        "receive": lambda: transport.receive(1),
        "send": lambda: transport.send(b"x"),
        "pending": transport.pending,
    }
    thread = threading.Thread(target=calls[first])
    thread.start()
    assert first_is_inside.wait(LONG)
    calls[second]()
    thread.join()
    far.close()
    transport.close()
    assert order == [first, first, second, second]


class Direction:
    """One direction of a connection: a thread that sends a known pattern, and a thread that checks it."""

    def __init__(self, name, source, sink, stop):
        self.name = name
        self.source = source
        self.sink = sink
        self.stop = stop
        self.data = random.Random(name).randbytes(100_003)
        self.sent = 0
        self.got = 0
        self.whole = False
        self.problem = None
        self.threads = [threading.Thread(target=self.run, args=(body,)) for body in (self.send, self.receive)]

    def run(self, body):
        try:
            body()
        except BaseException as error:
            self.problem = error

    def send(self):
        while not self.stop.is_set():
            start = self.sent % len(self.data)
            done = self.source.send(memoryview(self.data)[start : start + 5000])
            if done:
                self.sent += done
            else:
                wait_for(self.source, self.source.write_event)
        self.whole = True

    def receive(self):
        doubled = self.data + self.data
        deadline = time.monotonic() + LONG
        while not (self.whole and self.got == self.sent):
            assert time.monotonic() < deadline, f"{self.name}: {self.got} of {self.sent} bytes came"
            piece = self.sink.receive(4096)
            if piece is None:
                with selectors.DefaultSelector() as selector:
                    selector.register(self.sink.sock, self.sink.read_event)
                    selector.select(0.05)
                continue
            start = self.got % len(self.data)
            assert piece, f"{self.name}: the stream ended after {self.got} bytes"
            assert piece == doubled[start : start + len(piece)], f"{self.name}: wrong bytes after {self.got}"
            self.got += len(piece)


@pytest.mark.slow
def test_two_threads_send_and_receive_over_tls_with_every_byte_unchanged(contexts):
    # Without the lock most runs fail on CPython below 3.13 (python/cpython#77271).
    transports = [make_transport(sock) for sock in tls_pair(*contexts)]
    for transport in transports:
        transport.sock.setblocking(False)
    stop = threading.Event()
    ways = [Direction("up", *transports, stop), Direction("down", *transports[::-1], stop)]
    threads = [thread for way in ways for thread in way.threads]
    for thread in threads:
        thread.start()
    stop.wait(1.0)
    stop.set()
    for thread in threads:
        thread.join(2 * LONG)
    for transport in transports:
        transport.close()
    assert [way.problem for way in ways] == [None, None]
    assert all(way.got == way.sent > 100_000 for way in ways)
