"""Starting TLS on a socket: it is closed if that fails, and no other descriptor is."""

import gc
import os
import socket
import ssl

import pytest

from wsclient._network.tls import wrap_tls
from wsclient.testing._servers.sockets import close_with_reset

SIDES = pytest.mark.parametrize("server_side", [False, True], ids=["client", "server"])


@pytest.fixture
def pair():
    """Both ends of a TCP connection; the near one may already be closed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    with near, far:
        yield near, far


def wrap(sock, server_side, server_tls, trusting):
    if server_side:
        return wrap_tls(sock, server_tls, server_side=True)
    return wrap_tls(sock, trusting, server_hostname="localhost")


def is_open(descriptor):
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@SIDES
def test_the_descriptor_belongs_to_the_tls_object_before_the_handshake(pair, server_side, server_tls, trusting):
    near, far = pair
    descriptor = near.fileno()
    with wrap(near, server_side, server_tls, trusting) as tls:
        assert (tls.fileno(), near.fileno()) == (descriptor, -1)
        assert (tls.server_side, tls.version()) == (server_side, None)
        far.setblocking(False)
        with pytest.raises(BlockingIOError):  # no byte of a handshake was sent
            far.recv(1)


@SIDES
@pytest.mark.parametrize("sent", [b"", b"x"], ids=["nothing", "a byte"])
def test_a_connection_that_the_peer_reset_leaves_nothing_open(pair, sent, server_side, server_tls, trusting):
    near, far = pair
    descriptor = near.fileno()
    far.send(sent)
    close_with_reset(far)
    with pytest.raises((OSError, ssl.SSLError)) as caught:  # which one depends on the system
        wrap(near, server_side, server_tls, trusting)
    assert not is_open(descriptor), "the error refers to the socket"
    del caught
    gc.collect()  # an unclosed socket would warn, and warnings are errors


def test_a_server_name_that_the_context_refuses_closes_the_socket_too(pair, trusting):
    descriptor = pair[0].fileno()
    with pytest.raises(ValueError, match="server_hostname"):
        wrap_tls(pair[0], trusting)
    assert not is_open(descriptor)
