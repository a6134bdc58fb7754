"""TLS within TLS: to a ``wss`` server through an ``https`` proxy."""

import contextlib
import os
import socket
import ssl
import threading
import time

import pytest
import tenacity
import trustme

import wsclient
from wsclient import ConnectError, ConnectionLost, ProxyError, State, TLSError
from wsclient._network.connector import Connector
from wsclient._network.nested_tls import NestedTLSTransport, start_nested_tls
from wsclient._network.options import NetworkOptions
from wsclient._network.poller import READ, WRITE
from wsclient._threads.commands import Interrupted

from ..support import LONG, SHORT, RawServer, Server, eventually
from ..support.clients import request_sum
from ..support.figures import descriptors
from ..support.proxies import SecureProxy
from ..support.raw import frame
from ..support.stage import Hangs, Stage, Watcher, close_while_it_hangs, until_the_end, within
from ..support.transports import (
    REFUSED,
    fill,
    read_exactly,
    receive,
    rest_of,
    send_and_reset,
    send_until_refused,
    tls_pair,
    wait_for,
)

SECONDS = float(os.environ.get("WSCLIENT_TLS_SECONDS", "1"))
"""How long the stress test with eight threads runs; 20 in CI and for releases."""


# --- a transport alone -----------------------------------------------------------------------------------------------


class Outer(ssl.SSLSocket):
    """The outer connection of a client, which can be made to return early, or to refuse."""

    before = None
    """Called with ``"send"`` or ``"recv"`` before the call; its exception is raised instead."""

    at_most = None
    """Maximum bytes of one ``send``; None for as many as there is room for."""

    def send(self, data, flags=0):
        if self.before is not None:
            self.before("send")
        return super().send(data[: self.at_most], flags)

    def recv(self, size=1024, flags=0):
        if self.before is not None:
            self.before("recv")
        return super().recv(size, flags)


def refuse(error, *calls):
    """An action before a call: raise the error, if it is one of these calls or none is named."""

    def before(call):
        if not calls or call in calls:
            raise error

    return before


class FarEnd:
    """The other end of a transport: the proxy TLS on a blocking socket, and the server TLS on memory inside of it."""

    def __init__(self, outer, context):
        self.outer = outer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._inner = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def handshake(self):
        self._until_done(self._inner.do_handshake)

    def recv(self, size):
        try:
            return self._until_done(self._inner.read, size)
        except EOFError:
            return b""

    def sendall(self, data):
        self.outer.sendall(self.records(data))

    def records(self, *pieces):
        """The records of these pieces, at least one for each, which have not been sent."""
        for piece in pieces:
            assert self._inner.write(piece) == len(piece)
        return self._outgoing.read()

    def closing_record(self):
        """The record that ends the inner stream."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._inner.unwrap()
        return self._outgoing.read()

    def _until_done(self, call, *args):
        while True:
            try:
                result = call(*args)
            except ssl.SSLWantReadError:
                self._send()
                data = self.outer.recv(65536)
                if not data:
                    raise EOFError("the client ended the outer stream") from None
                self._incoming.write(data)
            else:
                self._send()
                return result

    def _send(self):
        if data := self._outgoing.read():
            self.outer.sendall(data)


@pytest.fixture
def client_tls(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    context.sslsocket_class = Outer
    return context


@pytest.fixture
def outer(client_tls, server_tls):
    """Both ends of a TLS connection: the client's, which does not block, and the proxy's, which does."""
    near, far = tls_pair(client_tls, server_tls)
    near.setblocking(False)
    with pytest.raises(ssl.SSLWantReadError):
        near.recv(1)  # reads the session tickets that follow the handshake
    with near, far:
        yield near, far


@pytest.fixture
def nested(outer, client_tls, server_tls, watcher):
    """A transport, and its other end."""
    near, far = outer
    end = FarEnd(far, server_tls)
    server = threading.Thread(target=end.handshake)
    server.start()
    transport = start_nested_tls(near, "localhost", client_tls, watcher, within(LONG))
    server.join(LONG)
    assert transport.receive(1) is None  # reads the session tickets
    yield transport, end
    transport.close()


def test_receive_returns_none_while_nothing_has_arrived(nested):
    transport, _ = nested
    assert transport.receive(100) is None
    assert transport.read_event == READ


def test_receive_returns_the_bytes_that_have_arrived(nested):
    transport, far = nested
    far.sendall(b"hello")
    assert receive(transport, 100) == b"hello"
    assert transport.receive(100) is None


def test_receive_returns_at_most_the_requested_size(nested):
    transport, far = nested
    far.sendall(b"hello")
    assert receive(transport, 2) == b"he"
    assert receive(transport, 100) == b"llo"


def test_sent_bytes_arrive(nested):
    transport, far = nested
    assert transport.send(b"hello") == 5
    assert transport.send(memoryview(b"world")) == 5
    assert read_exactly(far, 10) == b"helloworld"


@pytest.mark.parametrize("size", [1, 16384, 16385, 65536, 65537, 10**6])
def test_messages_of_any_size_arrive_in_both_directions(nested, size):
    transport, far = nested
    data = os.urandom(size)
    server = threading.Thread(target=lambda: far.sendall(read_exactly(far, size)))
    server.start()
    rest = memoryview(data)
    while rest:
        sent = transport.send(rest)
        if not sent:
            wait_for(transport, transport.write_event)
        rest = rest[sent:]
    arrived = b""
    while len(arrived) < size:
        arrived += receive(transport, 65536)
    server.join(LONG)
    assert arrived == data


def test_the_proxy_can_read_none_of_the_data(nested):
    transport, far = nested
    transport.send(b"hush" * 100)
    data = far.outer.recv(65536)
    assert data[:3] == b"\x17\x03\x03"  # a TLS record
    assert b"hush" not in data


@pytest.mark.parametrize("end", ["inner", "outer", "TCP"])
def test_receive_returns_empty_bytes_at_the_end_of_any_layer(nested, end):
    transport, far = nested
    far.sendall(b"last")
    if end == "inner":
        far.outer.sendall(far.closing_record())
    elif end == "outer":
        far.outer.settimeout(0.0)
        with pytest.raises(ssl.SSLWantReadError):
            far.outer.unwrap()  # sends close_notify, and would wait for the client's
    else:
        socket.socket.shutdown(far.outer, socket.SHUT_WR)
    assert receive(transport, 100) == b"last"
    assert receive(transport, 100) == b""
    assert receive(transport, 100) == b""


def test_an_incomplete_record_is_not_returned(nested):
    transport, far = nested
    far.outer.sendall(far.records(b"hello")[:-1])
    socket.socket.shutdown(far.outer, socket.SHUT_WR)
    assert receive(transport, 100) == b""


def test_a_modified_record_is_an_error(nested):
    transport, far = nested
    record = bytearray(far.records(b"hello"))
    record[-1] ^= 1
    far.outer.sendall(record)
    with pytest.raises(ssl.SSLError):
        receive(transport, 100)


# --- decrypted bytes that poll does not report -----------------------------------------------------------------------


def test_pending_reports_decrypted_bytes(nested):
    transport, far = nested
    assert transport.pending() == 0
    far.sendall(b"x" * 10_000)
    assert receive(transport, 10) == b"x" * 10
    assert transport.pending() == 9990
    assert transport.receive(10_000) == b"x" * 9990
    assert transport.pending() == 0


def test_many_inner_records_in_one_outer_record_are_all_pending(nested):
    transport, far = nested
    records = far.records(*[b"%03d" % n for n in range(300)])
    assert len(records) < 16384, "they must fit into one outer record"
    far.outer.sendall(records)
    got = [receive(transport, 100)]
    while transport.pending():  # without waiting: no more data arrives in the outer layer
        got.append(transport.receive(100))
    assert got == [b"%03d" % n for n in range(300)]


def test_half_an_inner_record_is_not_pending(nested):
    transport, far = nested
    records = far.records(b"hello")
    for part in (records[:3], records[3:-1]):
        far.outer.sendall(part)
        wait_for(transport, READ)
        assert transport.receive(100) is None
        assert transport.pending() == 0, "a caller that relies on it would poll"
    far.outer.sendall(records[-1:])
    assert receive(transport, 100) == b"hello"


def test_an_inner_record_can_arrive_in_any_pieces(nested):
    transport, far = nested
    for byte in far.records(b"hello", b"world"):
        far.outer.sendall(bytes([byte]))
    data = b""
    while len(data) < 10:
        data += receive(transport, 100)
    assert data == b"helloworld"


# --- a full transport ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [5000, 16384, 65536, 200_000])
def test_a_full_transport_accepts_nothing_until_there_is_room_and_loses_no_byte(nested, piece):
    transport, far = nested
    pattern = os.urandom(piece)
    sent, refused = fill(transport, pattern)
    assert sent > 0
    for _ in range(3):
        taken = transport.send(refused)  # usually nothing; a window probe of the operating system may make room
        sent, refused = sent + taken, refused[taken:]
    assert transport.write_event == WRITE
    total = sent + len(refused)
    arrived = []
    server = threading.Thread(target=lambda: arrived.append(read_exactly(far, total)))
    server.start()
    rest = memoryview(refused)
    while rest:
        taken = transport.send(rest)
        if not taken:
            wait_for(transport, transport.write_event)
        rest = rest[taken:]
    server.join(LONG)
    assert arrived == [(pattern * (total // piece + 1))[:total]]
    assert transport.send(b"more") == 4
    assert read_exactly(far, 4) == b"more"


def test_receiving_continues_while_the_transport_is_full(nested):
    transport, far = nested
    fill(transport, b"x" * 16384)
    far.sendall(b"hello")
    assert receive(transport, 100) == b"hello"
    assert transport.read_event == READ


@pytest.mark.parametrize(
    ("refusal", "event"), [(ssl.SSLWantWriteError(), WRITE), (ssl.SSLWantReadError(), READ)], ids=["write", "read"]
)
def test_a_transport_reports_what_its_outer_layer_waits_for(nested, refusal, event):
    transport, far = nested
    transport.sock.before = refuse(refusal)
    assert transport.send(b"hello") == 0
    assert transport.write_event == event
    assert transport.receive(100) is None
    assert transport.read_event == event
    transport.sock.before = None
    assert transport.send(b"hello") == 5
    assert transport.write_event == WRITE
    assert read_exactly(far, 5) == b"hello"
    assert transport.receive(100) is None
    assert transport.read_event == READ


def test_refused_bytes_are_sent_once(nested):
    transport, far = nested
    transport.sock.before = refuse(ssl.SSLWantWriteError())
    for _ in range(5):
        assert transport.send(b"hello") == 0
    transport.sock.before = None
    assert transport.send(b"hello") == 5
    assert transport.send(b"world") == 5
    assert read_exactly(far, 10) == b"helloworld"


@pytest.mark.parametrize("size", [16384, 20000, 65536])
def test_send_counts_every_complete_record_and_receive_sends_none(nested, size):
    """If less of a message is counted than arrived, the message is sent again on the next connection."""
    transport, far = nested
    counted, _ = fill(transport, b"x" * size)
    arrived = 0
    while arrived < counted:
        arrived += len(far.recv(65536))
        transport.receive(1)  # there is room to send now
    socket.socket.shutdown(transport.sock, socket.SHUT_WR)
    assert arrived + len(rest_of(far)) == counted


def test_an_outer_layer_can_accept_records_in_pieces(nested):
    transport, far = nested
    transport.sock.at_most = 7
    assert transport.send(b"hello" * 100) == 500
    transport.sock.at_most = None
    assert transport.send(b"world") == 5
    assert read_exactly(far, 505) == b"hello" * 100 + b"world"


def test_a_short_read_does_not_mean_that_no_more_data_is_available(nested):
    transport, _ = nested
    assert not transport.short_means_empty


# --- the end of a transport ------------------------------------------------------------------------------------------


def test_bytes_before_a_reset_are_received_although_the_transport_is_full(nested):
    transport, far = nested
    fill(transport, b"x" * 16384)
    send_and_reset(far, far.outer, transport)
    assert receive(transport, 100) == b"last words"


def test_bytes_before_a_reset_are_received_after_a_send_has_failed(nested):
    transport, far = nested
    transport.send(b"unread")
    send_and_reset(far, far.outer, transport)
    with pytest.raises(OSError, match=REFUSED):
        send_until_refused(transport)
    assert receive(transport, 100) == b"last words"


def test_an_abort_by_another_thread_ends_the_connection_for_both_sides(nested):
    transport, far = nested
    thread = threading.Thread(target=transport.abort)
    thread.start()
    assert receive(transport, 100) == b""
    thread.join()
    with pytest.raises(OSError, match=REFUSED):
        transport.send(b"secret")
    with socket.socket(fileno=far.outer.detach()) as raw:
        assert raw.recv(65536) == b"", "nothing is sent after an abort, and no plain text"


def test_abort_does_not_close_the_socket_and_can_be_repeated_and_follow_close(nested):
    transport, _ = nested
    transport.abort()
    assert transport.sock.fileno() != -1
    transport.abort()
    transport.close()
    transport.abort()


def test_close_closes_the_socket(nested):
    transport, far = nested
    transport.close()
    assert transport.sock.fileno() == -1
    assert far.outer.recv(100) == b""


@pytest.mark.parametrize("second", ["receive", "send", "pending"])
@pytest.mark.parametrize("first", ["receive", "send"])
def test_only_one_call_at_a_time_is_active(nested, first, second):
    transport, _ = nested
    inside, go_on, over = threading.Event(), threading.Event(), threading.Event()

    def hesitate(call):
        inside.set()
        go_on.wait(LONG)

    transport.sock.before = hesitate
    calls = {
        "receive": lambda: transport.receive(1),
        "send": lambda: transport.send(b"x"),
        "pending": transport.pending,
    }
    threads = [threading.Thread(target=calls[first]), threading.Thread(target=lambda: (calls[second](), over.set()))]
    threads[0].start()
    assert inside.wait(LONG)
    threads[1].start()
    assert not over.wait(SHORT)
    go_on.set()
    assert over.wait(LONG)
    for thread in threads:
        thread.join(LONG)


# --- the inner handshake ---------------------------------------------------------------------------------------------


def test_a_failed_handshake_does_not_close_the_outer_socket(outer, client_tls, watcher):
    near, _ = outer
    with pytest.raises(TimeoutError):
        start_nested_tls(near, "localhost", client_tls, watcher, within(SHORT))
    assert near.fileno() != -1
    assert watcher.count < 20, "it did not wait but polled"
    assert len(set(watcher.deadlines)) == 1


def test_a_command_ends_a_handshake_that_stalls(outer, client_tls, watcher):
    near, far = outer

    def give_an_order():
        assert far.recv(65536)
        watcher.order()

    server = threading.Thread(target=give_an_order)
    server.start()
    with pytest.raises(Interrupted):
        start_nested_tls(near, "localhost", client_tls, watcher, within(LONG))
    server.join(LONG)


@pytest.mark.parametrize(
    ("name", "trusted", "reason"), [("localhost", False, "issuer|self.signed"), ("example.org", True, "mismatch")]
)
def test_an_untrusted_certificate_is_refused(outer, client_tls, server_tls, watcher, name, trusted, reason):
    near, far = outer
    reported = []

    def serve():
        with pytest.raises(ssl.SSLError) as caught:
            FarEnd(far, server_tls).handshake()
        reported.append(caught.value.reason)

    server = threading.Thread(target=serve)
    server.start()
    context = client_tls if trusted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(ssl.SSLCertVerificationError, match=reason):
        start_nested_tls(near, name, context, watcher, within(LONG))
    server.join(LONG)
    (why,) = reported
    assert "ALERT" in why, "the server's log should say why"


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x03"])
def test_an_end_during_the_handshake_is_an_error(outer, client_tls, watcher, said):
    near, far = outer
    far.sendall(said)
    socket.socket.shutdown(far, socket.SHUT_WR)
    with pytest.raises(ssl.SSLEOFError):
        start_nested_tls(near, "localhost", client_tls, watcher, within(LONG))


def test_a_server_without_tls_is_an_error(outer, client_tls, watcher):
    near, far = outer
    far.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(ssl.SSLError) as caught:
        start_nested_tls(near, "localhost", client_tls, watcher, within(LONG))
    assert caught.value.reason == "WRONG_VERSION_NUMBER"


@pytest.mark.parametrize(
    ("refusal", "event"), [(ssl.SSLWantWriteError(), WRITE), (ssl.SSLWantReadError(), READ)], ids=["write", "read"]
)
def test_a_handshake_reports_what_its_outer_layer_waits_for(outer, client_tls, server_tls, watcher, refusal, event):
    near, far = outer
    near.before = refuse(refusal)
    transport = NestedTLSTransport(near, "localhost", client_tls)
    assert transport.handshake() == event
    assert transport.handshake() == event
    near.before = None
    server = threading.Thread(target=FarEnd(far, server_tls).handshake)
    server.start()
    while events := transport.handshake():
        watcher.wait(near, events, within(LONG))
    server.join(LONG)


def test_a_handshake_ends_only_after_its_last_record_is_sent(outer, client_tls, server_tls, watcher):
    near, far = outer
    end = FarEnd(far, server_tls)
    transport = NestedTLSTransport(near, "localhost", client_tls)
    assert transport.handshake() == READ
    server = threading.Thread(target=end.handshake)
    server.start()
    wait_for(transport, READ)  # the server's response, which the client's last record follows
    near.before = refuse(ssl.SSLWantWriteError(), "send")
    while (events := transport.handshake()) == READ:
        watcher.wait(near, events, within(LONG))
    assert events == WRITE
    assert transport.handshake() == WRITE
    near.before = None
    assert transport.handshake() == 0
    server.join(LONG)
    assert transport.send(b"hello") == 5
    assert read_exactly(end, 5) == b"hello"


# --- through a proxy -------------------------------------------------------------------------------------------------


@pytest.fixture
def secure_proxy(server_tls):
    with SecureProxy(server_tls) as proxy:
        yield proxy


@pytest.fixture
def raw_tls(server_tls):
    with RawServer(tls=server_tls) as raw:
        yield raw


@pytest.fixture
def reach(secure_proxy, trusting):
    """``reach(raw, ...)`` returns a client that is connected to the server through the proxy, and the server's end."""
    clients = []

    def connect(raw, **options):
        options = {"ping_interval": None, "reconnect": None, "ssl_context": trusting, **options}
        client = wsclient.Client(raw.url, proxy=secure_proxy.url, **options)
        clients.append(client)
        starter = threading.Thread(target=client.start)
        starter.start()
        peer = raw.accept().upgrade()
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        starter.join(LONG)
        return client, peer

    yield connect
    for client in clients:
        client.close(timeout=0)


def until_full(client):
    eventually(lambda: client._wsclient.context.sender.writer.blocked)


def opener(watcher, proxy, tls, *, timeout=LONG):
    return Connector(NetworkOptions(timeout, LONG, None, None, tls, proxy, None), (), watcher)


def test_a_client_connects_to_a_wss_server_through_an_https_proxy(secure_proxy, server_tls, trusting):
    with Server(tls=server_tls) as server:
        with wsclient.connect(server.url, proxy=secure_proxy.url, ssl_context=trusting) as client:
            request_sum(client)
            assert secure_proxy.asked == [("localhost", server.port)]


def test_server_hostname_applies_to_the_server_and_not_to_the_proxy(authority, secure_proxy, trusting):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("example.org").configure_cert(context)
    with Server(tls=context) as server:
        options = {"proxy": secure_proxy.url, "ssl_context": trusting, "server_hostname": "example.org"}
        with wsclient.connect(server.url, **options) as client:
            request_sum(client)


def test_messages_of_two_mebibytes_arrive_in_both_directions(secure_proxy, server_tls, trusting):
    text = "ü" * 2**20
    with Server(lambda c, m: c.send(m), tls=server_tls, max_size=None) as server:
        with wsclient.connect(server.url, proxy=secure_proxy.url, ssl_context=trusting, compression=None) as client:
            for _ in range(3):
                assert client.request(text, match=lambda m: True, timeout=LONG) == text
            assert client.stats.connections == 1


def test_the_proxy_can_read_neither_the_request_nor_a_message(reach, secure_proxy, raw_tls):
    client, peer = reach(raw_tls, headers={"X-Token": "hush"}, compression=None)
    client.send("hush" * 100)
    assert peer.receive_text() == "hush" * 100
    peer.send_text("hush" * 100)
    assert peer.header("X-Token") == "hush"
    assert len(secure_proxy.seen) > 800
    assert b"hush" not in secure_proxy.seen
    assert b"Upgrade" not in secure_proxy.seen


@pytest.mark.slow
def test_eight_threads_send_requests_and_lose_no_connection(secure_proxy, server_tls, trusting):
    end = time.monotonic() + SECONDS
    answers = []

    def ask(client, thread):
        n = 0
        while time.monotonic() < end:
            n += 1
            size = 10 if n % 50 else 100_000
            message = {"method": "echo", "params": [thread, n, "x" * size]}
            assert client.request(message, timeout=LONG)["result"] == message["params"]
        answers.append(n)

    options = {"proxy": secure_proxy.url, "ssl_context": trusting, "compression": None}
    with Server(tls=server_tls) as server, wsclient.connect(server.url, **options) as client:
        threads = [threading.Thread(target=ask, args=(client, thread)) for thread in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS + LONG)
        assert len(answers) == 8
        assert client.stats.connections == 1
        assert client.last_disconnect is None
        assert client.stats.requests_ok == sum(answers)


def test_records_already_decrypted_are_processed(reach, raw_tls):
    """Many frames in one record, and many records in one of the outer layer: poll() does not report the rest."""
    client, peer = reach(raw_tls)
    with client.listen() as stream:
        for _ in range(20):
            peer.send(b"".join(frame(2, bytes([n]) * 200) for n in range(75)))  # 15 KiB: nearly a whole record
        for n in range(300):
            peer.send(frame(2, bytes([n % 75]) * 20))
        assert [stream.get(LONG)[0] for _ in range(1800)] == list(range(75)) * 24


def test_messages_on_a_full_connection_arrive_complete_and_in_order(reach, raw_tls):
    client, peer = reach(raw_tls, compression=None, json=None)
    messages = [f"{n:06d}" + "x" * (n % 3000) for n in range(6000)]  # 9 MB: more than the capacity of all the sockets
    deliveries = [client.send(message) for message in messages]
    until_full(client)
    assert deliveries[-1].state == "queued"
    for message in messages:
        assert peer.receive_frame() == (1, message.encode())
    eventually(lambda: deliveries[-1].state == "written")
    assert client.stats.messages_sent == 6000


def test_messages_are_received_while_the_connection_is_full(reach, raw_tls):
    client, peer = reach(raw_tls, compression=None, json=None)
    for _ in range(200):
        client.send("x" * 65536)
    until_full(client)
    with client.listen() as stream:
        for n in range(100):
            peer.send_text(f"{n}")
        assert [stream.get(LONG) for _ in range(100)] == [f"{n}" for n in range(100)]


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def untrusted_tls():
    """A server certificate of an untrusted authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    return context


def test_the_certificate_of_the_server_is_verified(secure_proxy, untrusted_tls, trusting, watcher):
    with RawServer(tls=untrusted_tls) as server:
        with pytest.raises(TLSError, match=r"^The certificate of 'localhost' was refused: ") as caught:
            opener(watcher, secure_proxy.url, trusting).open(server.url, {})
    assert isinstance(caught.value.last, ssl.SSLCertVerificationError)
    assert not caught.value.retry
    assert not watcher.open()


def test_the_certificate_of_the_server_must_match_its_own_name(secure_proxy, raw_tls, trusting, watcher):
    secure_proxy.leads_to = raw_tls.port
    with pytest.raises(TLSError, match=r"^The certificate of 'example\.org' was refused: ") as caught:
        opener(watcher, secure_proxy.url, trusting).open("wss://example.org/", {})
    assert secure_proxy.asked == [("example.org", 443)]
    assert not caught.value.retry
    assert not watcher.open()


def test_the_certificate_of_the_proxy_is_verified_before_the_connect_request(untrusted_tls, raw_tls, trusting, watcher):
    with SecureProxy(untrusted_tls) as proxy:
        with pytest.raises(ProxyError, match=r"^The proxy https://localhost:\d+ can't be reached: ") as caught:
            opener(watcher, proxy.url, trusting).open(raw_tls.url, {})
        assert not proxy.asked
    assert isinstance(caught.value.last, ssl.SSLCertVerificationError)
    assert not caught.value.retry
    assert not watcher.open()


def test_an_untrusted_server_certificate_ends_the_client(secure_proxy, untrusted_tls, trusting):
    with RawServer(tls=untrusted_tls) as server:
        client = wsclient.Client(server.url, proxy=secure_proxy.url, ssl_context=trusting, retry_first=True)
        with pytest.raises(TLSError, match="localhost"):
            client.start(LONG)
        assert client.state is State.FAILED


def test_a_server_without_tls_behind_the_tunnel_is_reported(secure_proxy, trusting, watcher):
    def act(peer):
        peer.sock.recv(1)
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        until_the_end(peer)

    with Stage(act) as server:
        with pytest.raises(TLSError, match="not TLS") as caught:
            opener(watcher, secure_proxy.url, trusting).open(f"wss://localhost:{server.port}/", {})
    assert caught.value.retry
    assert not watcher.open()


class ExpiringWaiter(Watcher):
    """A deadline that has passed when ``over`` is set; keeps the deadlines it was given."""

    def __init__(self):
        super().__init__()
        self.over = threading.Event()
        self.given = set()

    def wait(self, sock, events, deadline):
        self.given.add(deadline.at)
        while not self.over.is_set():
            with contextlib.suppress(TimeoutError):
                return super().wait(sock, events, deadline.sooner(within(0.02)))
            if deadline.passed(time.monotonic()):
                raise TimeoutError
        return super().wait(sock, events, within(0))


def test_a_stall_in_the_inner_handshake_ends_at_the_open_timeout(secure_proxy, trusting):
    """However long the outer one took: the timeout ends after the server has received the inner client hello."""
    watcher = ExpiringWaiter()

    def act(peer):
        peer.sock.recv(1)
        watcher.over.set()
        until_the_end(peer)

    with contextlib.closing(watcher), Stage(act) as server:
        url = f"wss://localhost:{server.port}/"
        with pytest.raises(
            ConnectError, match=rf"^The connection to {url} was not open within {LONG:g} s\.$"
        ) as caught:
            opener(watcher, secure_proxy.url, trusting).open(url, {})
    assert watcher.over.is_set()
    assert isinstance(caught.value.last, TimeoutError)
    assert type(caught.value) is ConnectError, "the proxy forwarded it"
    assert len(watcher.given) == 1, "all waits have one deadline"
    assert not watcher.open()


def test_an_end_during_the_inner_handshake_is_retried(secure_proxy, trusting, watcher):
    with Stage(lambda peer: peer.sock.recv(65536)) as server:
        with pytest.raises(ConnectError, match=r"^Could not connect to wss://localhost") as caught:
            opener(watcher, secure_proxy.url, trusting).open(f"wss://localhost:{server.port}/", {})
    assert caught.value.retry
    assert not watcher.open()


def test_close_ends_an_inner_handshake_that_stalls(secure_proxy, trusting):
    act = Hangs(lambda peer: peer.sock.recv(1))

    with Stage(act) as server:
        client = wsclient.Client(
            f"wss://localhost:{server.port}/",
            proxy=secure_proxy.url,
            ssl_context=trusting,
            open_timeout=10 * LONG,
            reconnect=None,
        )
        close_while_it_hangs(client, act)


@pytest.mark.parametrize("full", [False, True], ids=["idle", "full"])
def test_close_is_bounded_if_the_proxy_forwards_nothing(reach, secure_proxy, raw_tls, full):
    client, _ = reach(raw_tls, compression=None)
    waiter = client.submit({"method": "silence"})
    secure_proxy.freeze()
    if full:
        for _ in range(200):
            client.send("x" * 65536)
        until_full(client)
    began = time.monotonic()
    client.close(timeout=0.3)
    assert time.monotonic() - began < LONG / 3
    assert client.state is State.CLOSED
    with pytest.raises(wsclient.ClientClosed):
        waiter.result(0)


def test_a_cut_in_the_middle_of_a_message_is_a_loss_at_once(reach, secure_proxy, raw_tls):
    client, peer = reach(raw_tls)
    waiter = client.submit({"method": "get"})
    peer.receive_text()
    peer.send(frame(1, b"x" * 100_000)[:50_000])
    bytes_in = client.stats.bytes_received
    eventually(lambda: len(secure_proxy.seen) > 50_000)
    secure_proxy.cut()
    with pytest.raises(ConnectionLost) as caught:
        waiter.result(LONG)
    assert caught.value.sent
    assert client.wait_closed(LONG)
    last = client.last_disconnect
    assert (last.initiator, last.code) == ("network", None)
    assert client.stats.bytes_received == bytes_in, "half a message was delivered"


def test_after_a_cut_the_client_reconnects_through_the_proxy(secure_proxy, server_tls, trusting):
    with Server(tls=server_tls) as server:
        again = wsclient.Reconnect(wait=tenacity.wait_none())
        options = {"proxy": secure_proxy.url, "ssl_context": trusting, "reconnect": again}
        with wsclient.connect(server.url, **options) as client:
            request_sum(client)
            server.opened.get(timeout=LONG)
            for connections in (2, 3):
                secure_proxy.cut()
                server.opened.get(timeout=LONG)
                request_sum(client)
                assert client.stats.connections == connections
    assert secure_proxy.asked == [("localhost", server.port)] * 3


def test_a_close_by_the_server_arrives_with_its_reason(reach, raw_tls):
    client, peer = reach(raw_tls)
    peer.send_frame(8, (4001).to_bytes(2, "big") + b"enough")
    assert peer.receive_frame() == (8, (4001).to_bytes(2, "big"))
    peer.finish()
    assert client.wait_closed(LONG)
    last = client.last_disconnect
    assert (last.initiator, last.code, last.reason) == ("remote", 4001, "enough")


def test_connections_leave_no_descriptor_open(server_tls, trusting):
    before = descriptors()
    with Server(tls=server_tls) as server, SecureProxy(server_tls) as proxy:
        for _ in range(5):
            with wsclient.connect(server.url, proxy=proxy.url, ssl_context=trusting) as client:
                request_sum(client)
    eventually(lambda: descriptors() <= before)


def test_the_socket_of_a_connection_during_its_setup_is_known_to_a_fork(secure_proxy, trusting, watcher):
    known = []

    def act(peer):
        peer.sock.recv(1)  # so the client waits for the server's TLS
        known.append(opening.sock.fileno() > 0 and opening.sock.getpeername()[1] == secure_proxy.port)
        until_the_end(peer)

    opening = opener(watcher, secure_proxy.url, trusting, timeout=1.5)
    with Stage(act) as server:
        with pytest.raises(ConnectError):
            opening.open(f"wss://localhost:{server.port}/", {})
    assert known == [True]
    assert not watcher.open()
