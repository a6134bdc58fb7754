"""Each fault of the proxy: with plain TCP, byte by byte, and with a client."""

import contextlib
import os
import socket
import struct
import threading
import time
from urllib.parse import urlsplit

import pytest

import wsclient
from wsclient import State
from wsclient.testing import FaultProxy, Server
from wsclient.testing._fault_proxy import proxy as proxy_module
from wsclient.testing._fault_proxy.loop import Command, Loop
from wsclient.testing._fault_proxy.shaping import Shape
from wsclient.testing._servers.sockets import listen

from ..support import LONG, SHORT, eventually
from ..support.children import Script

needs_limit = pytest.mark.skipif(os.name == "nt", reason="no limit of descriptors can be set here")


class Target:
    """A TCP server that passes its connections to the test."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.listener.settimeout(LONG)
        self.port = self.listener.getsockname()[1]
        self.socks = []

    def accept(self):
        sock, _ = self.listener.accept()
        sock.settimeout(LONG)
        self.socks.append(sock)
        return sock

    def close(self):
        for sock in [*self.socks, self.listener]:
            sock.close()


@pytest.fixture
def target():
    target = Target()
    yield target
    target.close()


@pytest.fixture
def tcp(target):
    """A proxy in front of the target."""
    with FaultProxy(target.port) as proxy:
        yield proxy


@pytest.fixture
def connected(target, tcp):
    """Both ends of a connection through the proxy."""
    with socket.create_connection(("127.0.0.1", tcp.port), LONG) as near:
        yield near, target.accept()


def exactly(sock, size):
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        assert piece, f"the connection ended after {data!r}"
        data += piece
    return data


def silent(sock):
    """Whether nothing arrives for a while, not even the end."""
    sock.settimeout(SHORT)
    try:
        sock.recv(1)
    except TimeoutError:
        return True
    finally:
        sock.settimeout(LONG)
    return False


def is_reset(sock):
    try:
        return sock.recv(1) and False
    except ConnectionResetError:
        return True


def is_rejected(proxy):
    try:
        with socket.create_connection(("127.0.0.1", proxy.port), LONG) as sock:
            return is_reset(sock)
    except ConnectionResetError:  # so early that connecting itself raises it
        return True


# --- bytes -----------------------------------------------------------------------------------------------------------


def test_bytes_are_forwarded_unchanged_in_both_directions_and_counted(tcp, connected):
    near, far = connected
    large = bytes(range(256)) * 4096
    writer = threading.Thread(target=near.sendall, args=(large,))
    writer.start()
    assert exactly(far, len(large)) == large
    writer.join()
    far.sendall(b"back")
    assert exactly(near, 4) == b"back"
    stats = tcp.wait_for(bytes_up=len(large), bytes_down=4)
    assert (stats.accepted, stats.open, stats.bytes_up, stats.bytes_down) == (1, 1, len(large), 4)


def test_an_end_is_forwarded_after_the_bytes_and_the_other_direction_continues(connected):
    near, far = connected
    near.sendall(b"last")
    near.shutdown(socket.SHUT_WR)
    assert exactly(far, 4) == b"last"
    assert far.recv(1) == b""
    far.sendall(b"answer")
    assert exactly(near, 6) == b"answer"


def test_a_reset_of_one_end_is_forwarded(connected):
    near, far = connected
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()
    assert is_reset(near)


def test_a_sender_is_blocked_while_the_receiver_does_not_read(connected):
    near, _ = connected
    near.settimeout(SHORT)
    with pytest.raises(TimeoutError):
        near.sendall(bytes(64 * 2**20))  # far more than any buffer between them


def test_a_blocked_connection_uses_no_processor_time_and_continues_when_the_receiver_reads(connected):
    near, far = connected
    near.settimeout(SHORT)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while True:
            sent += near.send(bytes(2**16))
    used = time.process_time()
    assert silent(near)
    assert time.process_time() - used < SHORT / 2  # a loop that is woken without a reason would use all of it
    assert exactly(far, sent) == bytes(sent)
    near.sendall(b"more")
    assert exactly(far, 4) == b"more"


# --- ends ------------------------------------------------------------------------------------------------------------


def test_cut_closes_both_sides_with_a_fin(tcp, connected):
    near, far = connected
    tcp.cut()
    assert (near.recv(1), far.recv(1)) == (b"", b"")
    assert (tcp.stats.cut, tcp.stats.open) == (1, 0)


def test_cut_sends_a_fin_although_bytes_arrive_meanwhile(tcp, connected):
    near, _ = connected
    tcp.freeze()
    near.sendall(b"unread" * 1000)
    tcp.cut()
    tcp.thaw()
    assert near.recv(1) == b""


def test_cut_does_not_discard_forwarded_bytes(target, tcp):
    """The receiver is slow, so most of the data waits in the proxy's socket, and it has sent more than is read."""
    with socket.socket() as near:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        near.settimeout(SHORT)
        near.connect(("127.0.0.1", tcp.port))
        far = target.accept()
        with contextlib.suppress(TimeoutError):
            while True:
                near.send(bytes(2**16))
        tcp.cut_after(30_000, "down")
        far.sendall(bytes(range(250)) * 120)
        tcp.wait_for(cut=1, bytes_down=30_000)
        near.settimeout(LONG)
        assert exactly(near, 30_000) == bytes(range(250)) * 120
        assert near.recv(1) == b""


def test_reset_closes_both_sides_with_a_rst(tcp, connected):
    near, far = connected
    tcp.reset()
    assert is_reset(near)
    assert is_reset(far)
    assert tcp.stats.reset == 1


@pytest.mark.parametrize("end", ["cut", "reset"])
def test_all_clients_that_wait_to_be_accepted_are_ended(target, end):
    """The loop has no thread here, so all clients wait."""
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    loop = Loop(listener, [(socket.AF_INET, ("127.0.0.1", target.port))], Shape(0.0, 0.0, None), 0)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port), LONG)) for _ in range(100)]
        getattr(loop, end)()
        assert all(is_reset(client) if end == "reset" else client.recv(1) == b"" for client in clients)
        assert getattr(loop.stats(), end) == 100
        loop.stop()
        loop.run()


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("count", [1, 5, 100_000])
def test_cut_after_forwards_exactly_this_number_of_bytes(tcp, connected, direction, count):
    near, far = connected
    sender, receiver = (near, far) if direction == "up" else (far, near)
    tcp.cut_after(count, direction)

    def send():
        with contextlib.suppress(OSError):
            sender.sendall(bytes(count + 1000))

    writer = threading.Thread(target=send)
    writer.start()
    assert exactly(receiver, count) == bytes(count)
    assert receiver.recv(1) == b""
    writer.join()
    assert tcp.wait_for(cut=1).cut == 1


def test_cut_after_takes_effect_once(target, tcp, connected):
    near, _ = connected
    tcp.cut_after(1, "up")
    near.sendall(b"xy")
    tcp.wait_for(cut=1)
    with socket.create_connection(("127.0.0.1", tcp.port), LONG) as again:
        far = target.accept()
        again.sendall(b"all of it")
        assert exactly(far, 9) == b"all of it"


def test_refuse_rejects_new_connections_and_keeps_existing_ones(target, tcp, connected):
    near, far = connected
    tcp.refuse()
    assert is_rejected(tcp)
    near.sendall(b"still")
    assert exactly(far, 5) == b"still"
    tcp.accept()
    with socket.create_connection(("127.0.0.1", tcp.port), LONG) as welcome:
        other = target.accept()
        welcome.sendall(b"hello")
        assert exactly(other, 5) == b"hello"
    assert tcp.stats.refused == 1


def test_a_proxy_whose_target_is_gone_resets_the_connection(dead):
    with FaultProxy(dead) as proxy:
        assert is_rejected(proxy)
        assert proxy.wait_for(refused=1).refused == 1


# --- silence ---------------------------------------------------------------------------------------------------------


def test_freeze_holds_bytes_and_ends_and_thaw_forwards_them_in_order(tcp, connected):
    near, far = connected
    tcp.freeze()
    near.sendall(b"one")
    near.sendall(b"two")
    near.shutdown(socket.SHUT_WR)
    assert silent(far)
    tcp.thaw()
    assert exactly(far, 6) == b"onetwo"
    assert far.recv(1) == b""


def test_a_frozen_proxy_accepts_and_sends_nothing(target, tcp):
    tcp.freeze()
    with socket.create_connection(("127.0.0.1", tcp.port), LONG) as near:
        near.sendall(b"hello")
        assert silent(near)
        tcp.thaw()
        assert exactly(target.accept(), 5) == b"hello"


@pytest.mark.parametrize("direction", ["up", "down", "both"])
def test_drop_direction_discards_one_direction_and_keeps_the_connection(tcp, connected, direction):
    near, far = connected
    tcp.drop_direction(direction)
    for sender, receiver, way in ((near, far, "up"), (far, near, "down")):
        sender.sendall(b"lost?")
        if direction in (way, "both"):
            assert silent(receiver)
        else:
            assert exactly(receiver, 5) == b"lost?"
    assert tcp.stats.dropped == (10 if direction == "both" else 5)
    tcp.drop_direction(None)
    near.sendall(b"new")
    assert exactly(far, 3) == b"new"  # discarded data is not sent later


def test_an_end_that_was_discarded_is_forwarded_afterwards(tcp, connected):
    near, far = connected
    tcp.drop_direction("up")
    near.sendall(b"lost")
    near.shutdown(socket.SHUT_WR)
    assert silent(far)
    far.sendall(b"heard")
    assert exactly(near, 5) == b"heard"
    tcp.drop_direction(None)
    assert far.recv(1) == b""


# --- slowness --------------------------------------------------------------------------------------------------------


def test_latency_delays_later_bytes(tcp, connected):
    near, far = connected
    tcp.latency(0.3, 0.1)
    began = time.monotonic()
    near.sendall(b"late")
    assert exactly(far, 4) == b"late"
    assert time.monotonic() - began >= 0.2
    tcp.latency(0)
    near.sendall(b"soon")
    assert exactly(far, 4) == b"soon"


def test_bytes_that_become_due_between_two_checks_are_forwarded(tcp, connected):
    """A few bytes become due within microseconds, while the proxy's thread is still busy with earlier ones."""
    near, far = connected
    tcp.bandwidth(2_000_000)
    for _ in range(300):
        near.sendall(b"0123456789")
        assert exactly(far, 10) == b"0123456789"


def test_bandwidth_limits_the_rate_and_off_removes_the_limit(tcp, connected):
    near, far = connected
    tcp.bandwidth(20_000)
    began = time.monotonic()
    near.sendall(bytes(10_000))
    exactly(far, 10_000)
    assert time.monotonic() - began >= 0.4
    tcp.bandwidth(None)
    near.sendall(bytes(10_000))
    exactly(far, 10_000)


@pytest.mark.parametrize(
    ("verb", "arguments", "words"),
    [
        ("latency", (-1,), "latency"),
        ("latency", (0.1, 0.2), "jitter"),
        ("bandwidth", (0,), "bandwidth"),
        ("cut_after", (0, "up"), "count"),
        ("cut_after", (1, "sideways"), "direction"),
        ("drop_direction", ("sideways",), "direction"),
    ],
)
def test_an_invalid_argument_is_refused(tcp, verb, arguments, words):
    with pytest.raises(ValueError, match=words):
        getattr(tcp, verb)(*arguments)


# --- the target ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "url"),
    [
        (8765, "ws://127.0.0.1:{}/"),
        ("8765", "ws://127.0.0.1:{}/"),
        ("localhost:8765", "ws://localhost:{}/"),
        ("wss://localhost/x", "wss://localhost:{}/x"),
        ("wss://localhost:8765/a/b?c=d", "wss://localhost:{}/a/b?c=d"),
        ("ws://user:word@127.0.0.1:8765/x", "ws://user:word@127.0.0.1:{}/x"),
        ("ws://93.184.216.34:8765/x", "ws://127.0.0.1:{}/x"),
    ],
)
def test_the_url_of_a_proxy_is_that_of_its_target_with_another_port(target, url):
    with FaultProxy(target) as proxy:
        assert proxy.url == url.format(proxy.port)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1", "0:0:0:0:0:0:0:1", "localhost"])
def test_the_host_of_the_url_leads_to_the_proxy(host):
    bracketed = f"[{host}]" if ":" in host else host
    try:
        proxy = FaultProxy(f"ws://{bracketed}:8765/")
    except OSError:
        pytest.skip(f"this machine does not have {host}")
    with proxy:
        with contextlib.suppress(ConnectionResetError):  # the proxy may already have found that there is no target
            socket.create_connection((urlsplit(proxy.url).hostname, proxy.port), LONG).close()
        proxy.wait_for(accepted=1)


def test_a_client_reaches_a_server_on_another_loopback_address_through_the_proxy():
    try:
        server = Server(host="127.0.0.2")
    except OSError:
        pytest.skip("this machine does not have 127.0.0.2")
    with server, FaultProxy(server.url) as proxy, client_of(proxy) as client:
        assert client.request("x", timeout=LONG) == "x"
        assert proxy.stats.accepted == 1


@pytest.mark.parametrize("target", ["", "ws://", "tcp://host/", "ws://host:notaport/", "host:99999"])
def test_a_target_without_host_or_port_is_refused(target):
    with pytest.raises(ValueError, match="must name a host and a port"):
        FaultProxy(target)


@pytest.mark.parametrize("target", ["localhost", "localhost/path", "[::1]", 0, "0", "localhost:0", "ws://localhost:0/"])
def test_port_80_is_not_the_default_of_a_target_without_a_scheme_or_with_port_0(target):
    with pytest.raises(ValueError, match="must name a host and a port"):
        FaultProxy(target)


@pytest.mark.parametrize("target", [None, 1.5, True, b"ws://localhost/"])
def test_a_target_of_another_type_is_refused(target):
    with pytest.raises(TypeError, match="target"):
        FaultProxy(target)


def test_a_closed_proxy_refuses_every_command_and_can_be_closed_again(target):
    proxy = FaultProxy(target.port)
    proxy.close()
    proxy.close()
    assert proxy.wait_closed(0)
    with pytest.raises(RuntimeError, match="closed"):
        proxy.cut()


def test_close_raises_if_the_thread_does_not_end(target, monkeypatch):
    monkeypatch.setattr(proxy_module, "COMMAND_TIMEOUT", 0.05)
    release = threading.Event()
    proxy = FaultProxy(target.port)
    proxy._loop.submit(Command(release.wait))  # no public call blocks the thread
    try:
        with pytest.raises(TimeoutError, match="has not ended within"):
            proxy.close()
    finally:
        release.set()
        assert proxy.wait_closed(LONG)


def test_wait_for_reports_the_state_at_its_timeout(tcp):
    with pytest.raises(TimeoutError, match="accepted=0"):
        tcp.wait_for(SHORT, accepted=1)


def test_the_thread_and_the_descriptors_are_released(target):
    before = threading.active_count()
    for _ in range(20):
        with FaultProxy(target.port) as proxy:
            with socket.create_connection(("127.0.0.1", proxy.port), LONG):
                target.accept()
                proxy.cut()
    assert threading.active_count() == before


@pytest.mark.slow
@needs_limit
def test_without_descriptors_a_proxy_pauses_and_closes_connections_it_cannot_forward_and_continues():
    with Script("out_of_descriptors") as script:
        used, paused, turned_away, heard, warnings = script.read_value()
    assert used < 0.25  # of 0.5 s; a busy loop uses all of it
    assert len(paused) == 1
    assert "can't accept" in paused[0]
    assert turned_away
    assert any("can't connect to its target" in warning for warning in warnings)
    assert heard == "hello"


# --- with a client ---------------------------------------------------------------------------------------------------


@pytest.fixture
def pair():
    """An echo server and a proxy in front of it."""
    with Server() as server, FaultProxy(server.url) as proxy:
        yield server, proxy


def client_of(proxy, **options):
    return wsclient.connect(proxy.url, protocol=wsclient.Fifo(), **options)


@pytest.mark.parametrize("end", ["cut", "reset"])
def test_a_client_reconnects_after_the_end_of_a_connection(pair, end):
    _, proxy = pair
    with client_of(proxy) as client:
        getattr(proxy, end)()
        proxy.wait_for(accepted=2)
        assert client.wait_until(State.OPEN, LONG)
        assert client.request("x", timeout=LONG) == "x"
        assert client.last_disconnect.initiator == "network"


@pytest.mark.parametrize("silence", ["freeze", "drop_direction"])
def test_the_keepalive_detects_silence(pair, silence):
    _, proxy = pair
    with client_of(proxy, ping_interval=0.1, ping_timeout=1.0) as client:
        getattr(proxy, silence)()
        eventually(lambda: client.last_disconnect is not None)
        assert client.last_disconnect.initiator == "keepalive"
        proxy.thaw()
        proxy.drop_direction(None)
        assert client.request("x", timeout=LONG) == "x"


def test_attempts_fail_while_the_proxy_refuses(pair):
    _, proxy = pair
    attempts = []
    with client_of(proxy, on_connect_error=lambda _, attempt: attempts.append(attempt)) as client:
        proxy.refuse()
        proxy.cut()
        proxy.wait_for(refused=2)
        proxy.accept()
        assert client.request("x", timeout=LONG) == "x"
    eventually(lambda: len(attempts) >= 2)


@pytest.mark.parametrize("mark", [1, 7, 500])
def test_a_message_cut_by_the_proxy_arrives_once_after_the_reconnect(pair, mark):
    """The proxy has received all of it, so it may have arrived: `unknown`, unless its bytes did not fit in at once."""
    server, proxy = pair
    with client_of(proxy, compression=None) as client:
        proxy.cut_after(mark, "up")
        delivery = client.send("x" * 1000)
        proxy.wait_for(cut=1, accepted=2)
        client.send("behind")
        eventually(lambda: "behind" in server.received)
        arrived = server.received.count("x" * 1000)
        assert arrived == (0 if delivery.state == "unknown" else 1)


def test_a_slow_connection_loses_no_message(pair):
    _, proxy = pair
    with client_of(proxy) as client:
        proxy.latency(0.02, 0.02)
        proxy.bandwidth(200_000)
        texts = [f"{n} " * 50 for n in range(50)]
        assert client.request_many(texts, timeout=LONG) == texts
        assert client.stats.connections == 1


def test_tls_is_forwarded_unchanged():
    with Server(tls=True) as server, FaultProxy(server.url) as proxy:
        with client_of(proxy, ssl_context=server.client_context) as client:
            assert client.request("secret", timeout=LONG) == "secret"
