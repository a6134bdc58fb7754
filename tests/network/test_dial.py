"""From a host name to a connected socket."""

import contextlib
import errno
import socket
import ssl
import sys
import threading
import time

import pytest
import trustme

from wsclient._errors import ConnectError
from wsclient._network.dial import _outcome, connect, connect_unix, resolve
from wsclient._network.lookup import Lookups
from wsclient._network.options import NetworkOptions
from wsclient._network.tls import start_tls, tls_context
from wsclient._threads.commands import Interrupted

from ..support import LONG, SHORT
from ..support.figures import descriptors
from ..support.program import free_port
from ..support.sockets import LOOPBACK, Busy, Silent, full_backlogs_wait, listening, local, socket_path
from ..support.stage import Waiter, within


@pytest.fixture
def waiter():
    waiter = Waiter()
    yield waiter
    waiter.close()


@pytest.fixture
def addresses_of(waiter):
    """``addresses_of(host, port)`` looks up a host."""
    return lambda host, port: resolve(host, port, Lookups(waiter, "tester"), within(LONG))


@pytest.fixture
def listener():
    with socket.create_server((LOOPBACK, 0)) as listener:
        yield listener


@pytest.fixture
def address(listener):
    """The address of a server that accepts connections."""
    return socket.AF_INET, listener.getsockname()


@pytest.fixture
def refusing():
    """An address with a closed port."""
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        yield socket.AF_INET, sock.getsockname()


@pytest.fixture(scope="module")
def silent():
    silent = Silent()
    yield silent.address
    silent.close()


def found(*addresses):
    """The result of getaddrinfo for these addresses."""
    return [(family, socket.SOCK_STREAM, 6, "", address) for family, address in addresses]


def options(ssl_context=None):
    return NetworkOptions(10, 30, 20, 20, ssl_context, None, None)


# --- the name --------------------------------------------------------------------------------------------------------


V4 = [(socket.AF_INET, (f"192.0.2.{n}", 80)) for n in range(4)]
V6 = [(socket.AF_INET6, (f"2001:db8::{n}", 80, 0, 0)) for n in range(4)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([*V6[:3], *V4[:3]], [V6[0], V4[0], V6[1], V4[1], V6[2], V4[2]]),
        ([*V4[:2], *V6[:2]], [V4[0], V6[0], V4[1], V6[1]]),
        ([*V6[:3], V4[0]], [V6[0], V4[0], V6[1], V6[2]]),
        ([V6[0], *V4[:3]], [V6[0], V4[0], V4[1], V4[2]]),
        (V4, V4),
        ([V4[0], V4[0], V4[1], V4[0]], [V4[0], V4[1]]),
    ],
)
def test_the_families_alternate(addresses_of, monkeypatch, given, expected):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found(*given))
    assert addresses_of("host", 80) == expected


def test_an_address_is_not_resolved(addresses_of):
    assert addresses_of(LOOPBACK, 81) == [(socket.AF_INET, (LOOPBACK, 81))]


def test_localhost_has_an_address(addresses_of):
    assert (socket.AF_INET, (LOOPBACK, 80)) in addresses_of("localhost", 80)


def test_a_name_without_an_address_is_a_connect_error(addresses_of, monkeypatch):
    def fail(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(ConnectError, match=r"'nowhere' has no address: .*Name or service not known") as caught:
        addresses_of("nowhere", 80)
    assert caught.value.retry
    assert isinstance(caught.value.last, socket.gaierror)
    assert caught.value.__cause__ is caught.value.last


def test_an_invalid_host_name_is_a_connect_error(addresses_of):
    with pytest.raises(ConnectError, match="has no address"):
        addresses_of("a" * 70, 80)


# --- the socket ------------------------------------------------------------------------------------------------------


def test_connect_returns_a_connected_non_blocking_socket(waiter, listener, address):
    with connect([address], None, waiter, within(LONG)) as sock:
        assert sock.getpeername() == listener.getsockname()
        assert sock.gettimeout() == 0.0
        peer, _ = listener.accept()
        with peer:
            peer.sendall(b"x")
            waiter.wait(sock, 1, within(LONG))
            assert sock.recv(1) == b"x"


def test_small_messages_are_sent_without_delay(waiter, address):
    with connect([address], None, waiter, within(LONG)) as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_a_closed_port_is_a_connect_error(waiter, refusing):
    before = descriptors()
    with pytest.raises(ConnectionRefusedError) as caught:
        connect([refusing], None, waiter, within(LONG))
    assert descriptors() == before
    assert caught.value.errno == errno.ECONNREFUSED
    assert caught.value.strerror


def test_after_an_address_that_refuses_the_next_one_is_tried(waiter, refusing, address):
    before = descriptors()
    with connect([refusing, refusing, address], None, waiter, within(LONG)) as sock:
        assert sock.getpeername() == address[1]
        assert descriptors() == before + 1


def test_after_an_unusable_address_the_next_one_is_tried(waiter, address):
    # The second is a multicast address: connecting to it fails before anything is sent.
    useless = (socket.AF_INET, ("224.0.0.1", 80))
    before = descriptors()
    with connect([useless, address], None, waiter, within(LONG)) as sock:
        assert sock.getpeername() == address[1]
        assert descriptors() == before + 1


def test_the_last_error_is_raised_if_all_fail(waiter, refusing):
    before = descriptors()
    with pytest.raises(OSError, match=r".") as caught:
        connect([refusing, (socket.AF_INET, ("224.0.0.1", 80))], None, waiter, within(LONG))
    assert caught.value.errno not in (errno.ECONNREFUSED, errno.ENOTCONN)
    with pytest.raises(ConnectionRefusedError):
        connect([(socket.AF_INET, ("224.0.0.1", 80)), refusing], None, waiter, within(LONG))
    assert descriptors() == before


def test_an_empty_list_of_addresses_is_an_error(waiter):
    with pytest.raises(OSError, match="address") as caught:
        connect([], None, waiter, within(LONG))
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_the_second_address_is_used_if_the_first_never_answers(waiter, silent, address):
    before = descriptors()
    started = time.monotonic()
    with connect([silent, address], None, waiter, within(LONG)) as sock:
        assert sock.getpeername() == address[1]
        assert descriptors() == before + 1
    assert time.monotonic() - started < LONG / 2
    assert waiter.tried == 2


def test_the_first_address_is_tried_alone_for_a_while(waiter, address):
    with connect([address, address], None, waiter, within(LONG)):
        assert waiter.tried == 1


def test_the_third_address_is_tried_while_two_do_not_answer(waiter, silent, address):
    with connect([silent, silent, address], None, waiter, within(LONG)) as sock:
        assert sock.getpeername() == address[1]
    assert waiter.tried == 3


def test_the_first_address_can_still_succeed_after_the_second_has_failed(refusing):
    first = Silent()

    class Watch(Waiter):
        def wait_any(self, socks, deadline):
            if len(socks) < self.tried:
                first.accept_all()
            return super().wait_any(socks, deadline)

    waiter = Watch()
    try:
        with connect([first.address, refusing], None, waiter, within(LONG)) as sock:
            assert sock.getpeername() == first.address[1]
        assert waiter.tried == 2
    finally:
        waiter.close()
        first.close()


def test_the_local_port_can_be_chosen(waiter, listener, address):
    source = LOOPBACK, free_port()
    with connect([address], source, waiter, within(LONG)) as sock:
        assert sock.getsockname() == source
        peer, name = listener.accept()
        peer.close()
        assert name == source


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
def test_the_local_address_can_be_chosen(waiter, listener, address):
    with connect([address], ("127.0.0.2", 0), waiter, within(LONG)):
        peer, name = listener.accept()
        peer.close()
        assert name[0] == "127.0.0.2"


def test_a_local_address_of_another_machine_is_an_error(waiter, address):
    before = descriptors()
    with pytest.raises(OSError, match=r".") as caught:
        connect([address], ("192.0.2.250", 0), waiter, within(LONG))
    assert caught.value.errno == errno.EADDRNOTAVAIL
    assert descriptors() == before


def test_an_address_of_another_family_than_the_local_address_is_skipped(waiter, address):
    six = (socket.AF_INET6, ("::1", 80, 0, 0))
    with connect([six, address], (LOOPBACK, 0), waiter, within(LONG)) as sock:
        assert sock.getpeername() == address[1]


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_ipv6_works(waiter, addresses_of):
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with listener, connect(addresses_of("::1", listener.getsockname()[1]), None, waiter, within(LONG)) as sock:
        assert sock.getpeername()[:2] == listener.getsockname()[:2]


def test_the_deadline_ends_the_wait_for_an_answer(waiter, silent):
    before = descriptors()
    started = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        connect([silent], None, waiter, within(SHORT))
    assert time.monotonic() - started < LONG / 2
    assert descriptors() == before
    assert caught.value.errno == errno.ETIMEDOUT


def test_one_deadline_applies_to_all_addresses_together(waiter, silent):
    before = descriptors()
    deadline = within(2 * SHORT)
    with pytest.raises(TimeoutError):
        connect([silent] * 100, None, waiter, deadline)
    assert waiter.tried < 10
    assert max(waiter.deadlines) <= deadline.at, "it waited longer"
    assert descriptors() == before


def test_a_deadline_in_the_past_is_a_timeout(waiter, silent):
    with pytest.raises(TimeoutError):
        connect([silent, silent], None, waiter, within(0))


def test_a_command_ends_the_wait_for_an_answer(waiter, silent):
    before = descriptors()
    timer = threading.Thread(target=lambda: waiter.waits.wait(LONG) and waiter.order())
    timer.start()
    with pytest.raises(Interrupted):
        connect([silent, silent], None, waiter, within(LONG))
    timer.join()
    assert descriptors() == before


def test_a_socket_without_a_peer_is_not_used():
    with socket.socket() as sock:
        assert _outcome(sock).errno == errno.ENOTCONN


def test_a_socket_connected_to_itself_is_an_error(waiter):
    name = LOOPBACK, free_port()
    before = descriptors()
    with pytest.raises(ConnectionRefusedError):
        connect([(socket.AF_INET, name)], name, waiter, within(LONG))
    assert descriptors() == before


def test_the_delay_before_the_next_address_can_be_chosen(waiter, silent, address):
    with pytest.raises(TimeoutError):
        connect([silent, address], None, waiter, within(3 * SHORT), attempt_delay=10 * LONG)
    assert waiter.tried == 1
    with connect([silent, address], None, waiter, within(LONG), attempt_delay=0.001) as sock:
        assert sock.getpeername() == address[1]


# --- Unix sockets ----------------------------------------------------------------------------------------------------


@pytest.fixture
def path():
    with socket_path() as path:
        yield path


@pytest.fixture
def busy(path):
    busy = Busy(path)
    yield busy
    busy.close()


@local
def test_a_unix_socket_is_connected_by_its_path(waiter, path):
    before = descriptors()
    with listening(path) as listener:
        with connect_unix(path, waiter, within(LONG)) as sock:
            assert sock.family is socket.AF_UNIX
            assert sock.type is socket.SOCK_STREAM
            assert sock.gettimeout() == 0.0
            assert sock.getpeername() == path
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b"x")
                waiter.wait(sock, 1, within(LONG))
                assert sock.recv(1) == b"x"
    assert descriptors() == before
    assert waiter.count == 1, "it waited although the result was known"


@local
def test_a_missing_path_is_reported(waiter, path):
    before = descriptors()
    with pytest.raises(FileNotFoundError) as caught:
        connect_unix(path, waiter, within(LONG))
    assert caught.value.strerror
    assert descriptors() == before


@local
def test_a_socket_file_without_a_server_is_a_connect_error(waiter, path):
    listening(path).close()
    before = descriptors()
    with pytest.raises(ConnectionRefusedError) as caught:
        connect_unix(path, waiter, within(LONG))
    assert caught.value.errno == errno.ECONNREFUSED
    assert caught.value.strerror
    assert descriptors() == before


@local
def test_a_path_that_is_not_a_socket_is_an_error(waiter, path):
    with open(path, "w"):
        pass
    with pytest.raises(OSError, match=r"."):
        connect_unix(path, waiter, within(LONG))


@local
def test_a_path_that_is_too_long_leaves_no_socket_open(waiter):
    before = descriptors()
    with pytest.raises(OSError, match="too long"):
        connect_unix("/" + "x" * 200, waiter, within(LONG))
    assert descriptors() == before


@local
@full_backlogs_wait
def test_connect_waits_for_a_server_with_a_full_backlog_until_there_is_room(waiter, path, busy):
    def make_room():
        assert waiter.waits.wait(LONG)
        busy.take()

    before = descriptors()
    server = threading.Thread(target=make_room)
    server.start()
    with connect_unix(path, waiter, within(LONG)) as sock:
        server.join()
        assert descriptors() == before + 2
        assert sock.gettimeout() == 0.0
        while len(busy.taken) < len(busy._callers):
            peer = busy.take()
        peer.sendall(b"x")
        waiter.wait(sock, 1, within(LONG))
        assert sock.recv(1) == b"x"


@local
@full_backlogs_wait
def test_a_server_with_a_full_backlog_ends_at_the_deadline(waiter, path, busy):
    before = descriptors()
    started = time.monotonic()
    deadline = within(SHORT)
    with pytest.raises(TimeoutError) as caught:
        connect_unix(path, waiter, deadline)
    assert SHORT <= time.monotonic() - started < LONG / 2
    assert caught.value.errno == errno.ETIMEDOUT
    assert max(waiter.deadlines) <= deadline.at, "it waited longer"
    assert waiter.count < 100, "it did not wait but polled"
    assert descriptors() == before


@local
@full_backlogs_wait
def test_a_deadline_in_the_past_is_a_timeout_for_unix_sockets_too(waiter, path, busy):
    with pytest.raises(TimeoutError):
        connect_unix(path, waiter, within(0))
    assert waiter.count == 0


@local
@full_backlogs_wait
def test_a_command_ends_the_wait_for_a_server_with_a_full_backlog(waiter, path, busy):
    before = descriptors()
    timer = threading.Thread(target=lambda: waiter.waits.wait(LONG) and waiter.order())
    timer.start()
    with pytest.raises(Interrupted):
        connect_unix(path, waiter, within(LONG))
    timer.join()
    assert descriptors() == before


@local
@full_backlogs_wait
def test_a_server_that_ends_with_a_full_backlog_is_a_connect_error(waiter, path, busy):
    timer = threading.Thread(target=lambda: waiter.waits.wait(LONG) and busy.close())
    timer.start()
    with pytest.raises(ConnectionRefusedError):
        connect_unix(path, waiter, within(LONG))
    timer.join()


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ca():
    return trustme.CA()


@pytest.fixture
def trusting(ca):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ca.configure_trust(context)
    return context


class TLSServer:
    """Accepts one connection and its TLS handshake."""

    def __init__(self, listener, certificate):
        self._listener = listener
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self._context)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        sock, _ = self._listener.accept()
        sock.settimeout(LONG)
        try:
            with self._context.wrap_socket(sock, server_side=True) as tls:
                tls.sendall(b"hello")
                tls.recv(1)
        except OSError:
            sock.close()

    def join(self):
        self._thread.join(LONG)


def test_the_default_context_verifies_and_requires_a_new_tls_version():
    context = tls_context(options())
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_an_error_of_the_default_context_that_has_another_cause_is_raised_unchanged(monkeypatch):
    error = OSError(12, "no memory")

    def fail():
        raise error

    monkeypatch.setattr(ssl, "create_default_context", fail)
    with pytest.raises(OSError, match="no memory") as caught:
        tls_context(options())
    assert caught.value is error


def test_a_context_of_the_caller_is_used_unchanged(trusting):
    assert tls_context(options(trusting)) is trusting


def test_tls_is_started_on_a_connected_socket(ca, trusting, waiter, listener, address):
    server = TLSServer(listener, ca.issue_cert("localhost"))
    sock = connect([address], None, waiter, within(LONG))
    with start_tls(sock, "localhost", trusting, waiter, within(LONG)) as tls:
        assert tls.gettimeout() == 0.0
        assert tls.version() is not None
        assert tls.server_hostname == "localhost"
        waiter.wait(tls, 1, within(LONG))
    server.join()


@pytest.mark.parametrize(
    ("name", "trusted", "reason"),
    [("localhost", False, "self.signed certificate|unable to get local issuer"), ("example.org", True, "mismatch")],
)
def test_an_untrusted_certificate_is_refused(ca, trusting, waiter, listener, address, name, trusted, reason):
    server = TLSServer(listener, ca.issue_cert("localhost"))
    before = descriptors()
    sock = connect([address], None, waiter, within(LONG))
    context = trusting if trusted else tls_context(options())
    with pytest.raises(ssl.SSLCertVerificationError, match=reason):
        start_tls(sock, name, context, waiter, within(LONG))
    server.join()
    assert descriptors() == before


def test_a_tls_handshake_that_stalls_ends_at_the_deadline(trusting, waiter, address):
    before = descriptors()
    sock = connect([address], None, waiter, within(LONG))
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        start_tls(sock, "localhost", trusting, waiter, within(SHORT))
    assert time.monotonic() - started < LONG / 2
    assert waiter.count < 20, "it did not wait but polled"
    assert descriptors() == before


def test_a_command_ends_a_tls_handshake_that_stalls(trusting, waiter, address):
    before = descriptors()
    sock = connect([address], None, waiter, within(LONG))
    waiter.waits.clear()
    timer = threading.Thread(target=lambda: waiter.waits.wait(LONG) and waiter.order())
    timer.start()
    with pytest.raises(Interrupted):
        start_tls(sock, "localhost", trusting, waiter, within(LONG))
    timer.join()
    assert descriptors() == before


def test_a_server_that_closes_during_the_tls_handshake_is_an_error(trusting, waiter, listener, address):
    before = descriptors()
    sock = connect([address], None, waiter, within(LONG))
    listener.accept()[0].close()
    with pytest.raises(OSError, match=r"EOF|reset"):
        start_tls(sock, "localhost", trusting, waiter, within(LONG))
    assert descriptors() == before


def test_a_host_name_that_tls_refuses_leaves_no_socket_open(trusting, waiter, address):
    before = descriptors()
    sock = connect([address], None, waiter, within(LONG))
    with pytest.raises(ValueError, match="server_hostname"):
        start_tls(sock, "", trusting, waiter, within(LONG))
    assert descriptors() == before


def test_tls_on_a_slow_socket_waits_until_it_is_writable(trusting, waiter, ca):
    # A socket that is full already: TLS has to wait first until it is writable.
    near, far = socket.socketpair()
    near.setblocking(False)
    filled = 0
    try:
        while True:
            filled += near.send(b"x")
    except BlockingIOError:
        pass
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(server_context)

    def serve():
        left = filled
        assert waiter.waits.wait(LONG)
        while left:
            left -= len(far.recv(left))
        with contextlib.suppress(OSError), server_context.wrap_socket(far, server_side=True) as peer:
            peer.recv(1)

    server = threading.Thread(target=serve)
    server.start()
    with start_tls(near, "localhost", trusting, waiter, within(LONG)) as tls:
        assert tls.version() is not None
    server.join()
