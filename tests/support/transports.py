"""Two sockets that are connected to each other, and functions that send and receive through a transport over one."""

import selectors
import socket
import threading
import time

from wsclient._network.poller import READ, WRITE

from . import LONG

REFUSED = r"reset|[Bb]roken pipe|EOF|BAD_LENGTH"
"""Matches the error of a connection that has ended, as the operating system or OpenSSL words it."""


def tcp_pair():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    for sock in (near, far):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(LONG)
    return near, far


def tls_pair(client, server):
    """Two TLS sockets with these contexts that are connected to each other; the client's is first."""
    near, far = tcp_pair()
    accepted = []
    accepting = threading.Thread(target=lambda: accepted.append(server.wrap_socket(far, server_side=True)))
    accepting.start()
    near = client.wrap_socket(near, server_hostname="localhost")
    accepting.join(LONG)
    return near, accepted[0]


def wait_for(transport, event):
    with selectors.DefaultSelector() as selector:
        selector.register(transport.sock, event)
        assert selector.select(LONG), "nothing came"


def receive(transport, size):
    """The next bytes that the transport returns."""
    deadline = time.monotonic() + LONG
    while (data := transport.receive(size)) is None:
        assert time.monotonic() < deadline
        wait_for(transport, transport.read_event)
    return data


def fill(transport, piece):
    """Send pieces until the socket takes no more bytes.

    Returns:
        How many bytes were sent, and the rest of the last piece, which must be sent again.
    """
    total = 0
    rest = memoryview(piece)
    with selectors.DefaultSelector() as selector:
        selector.register(transport.sock, WRITE)
        while (sent := transport.send(rest)) or selector.select(0.05):
            total += sent
            rest = rest[sent:] or memoryview(piece)
    return total, bytes(rest)


def read_exactly(sock, size):
    data = b""
    while len(data) < size:
        piece = sock.recv(65536)
        assert piece, f"the stream ended {size - len(data)} bytes early"
        data += piece
    return data


def rest_of(sock):
    """All bytes until the end of the stream."""
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


def send_and_reset(far, sock, transport):
    """Send last bytes from the other end, and close its socket with unread bytes, which resets the connection."""
    far.sendall(b"last words")
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        assert selector.select(LONG), "the bytes that must stay unread did not arrive"
    sock.close()
    wait_for(transport, READ)


def send_until_refused(transport):
    """Send single bytes until the transport raises."""
    deadline = time.monotonic() + LONG
    pause = threading.Event()
    while time.monotonic() < deadline:
        transport.send(b"x")
        pause.wait(0.005)
