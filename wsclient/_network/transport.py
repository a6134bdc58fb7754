"""Transports: non-blocking reads and writes on one open connection, TCP or TLS.

Guarantees:
    * ``receive`` and ``send`` never block.
    * One thread may receive while another sends. On TLS a lock serializes the two calls: on CPython below 3.13 a race
      between them can report a false end of file (python/cpython#77271). The lock is held for one non-blocking call.
    * Only one thread at a time may call ``send``. After a result of 0 it must pass the same bytes again first, since
      TLS may have begun a record with them.
    * Only the thread that has opened the connection (the I/O thread) closes the socket, and only while no other thread
      sends: the descriptor of a closed socket may already belong to another file.
"""

from __future__ import annotations

import contextlib
import socket
import ssl

from .._threads.locks import make_lock
from .._threads.sections import this_thread
from .._threads.wakeup import close_socket
from .poller import READ, WRITE

__all__ = ["RECORD", "TLSTransport", "Transport", "abort", "make_transport"]

RECORD = 16 * 1024
"""Bytes of one TLS record (RFC 8446 §5.1). One call sends at most one record: with several records, OpenSSL would not
report those that it sent before the socket's buffer was full, and their content would be sent again on the next
connection."""


class Transport:
    """The transport of one connection: here a TCP or Unix domain socket without TLS; subclasses add TLS.

    Attributes:
        sock: the socket to wait for.
        read_event: the event after which ``receive`` can return more.
        write_event: the event after which ``send`` can accept more.
        is_plain: whether ``sock.send`` is the method of ``socket.socket``, which is C code.
    """

    __slots__ = ("is_plain", "read_event", "sock", "write_event")

    short_means_empty = True
    """Whether the socket's buffer is empty when ``receive`` returns fewer bytes than requested."""

    may_hold = False
    """Whether ``pending`` can be larger than 0."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.is_plain = type(sock) is socket.socket
        self.read_event = READ
        self.write_event = WRITE

    def receive(self, size: int) -> bytes | None:
        """Return at most ``size`` received bytes; ``b""`` at the end of the stream, None if there are no bytes now.

        Raises:
            OSError: the connection is broken.
        """
        try:
            return self.sock.recv(size)
        except BlockingIOError:
            return None

    def send(self, data: bytes | memoryview) -> int:
        """Return how many of the bytes the operating system accepted; 0 if its buffer is full.

        Raises:
            OSError: the connection is broken.
        """
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0

    def pending(self) -> int:
        """How many bytes ``receive`` can return even if the socket itself is not readable."""
        return 0

    def encryption(self) -> tuple[str | None, str | None]:
        """The TLS version and the name of the cipher suite; None and None without TLS."""
        return None, None

    def abort(self) -> None:
        """See the function ``abort``."""
        abort(self.sock)

    def close(self) -> None:
        """Close the socket, unless other code has closed its descriptor."""
        close_socket(self.sock)


class TLSTransport(Transport):
    """A TLS connection."""

    __slots__ = ("_lock", "_tls")

    short_means_empty = False  # one call returns the content of one record
    may_hold = True

    def __init__(self, sock: ssl.SSLSocket) -> None:
        super().__init__(sock)
        self._tls = sock
        # Guards the TLS object: one call at a time, none of which blocks.
        self._lock = make_lock()

    def receive(self, size: int) -> bytes | None:
        try:
            with this_thread.section, self._lock:
                data = self._tls.recv(size)
        except ssl.SSLWantReadError:
            self.read_event = READ
            return None
        except ssl.SSLWantWriteError:
            self.read_event = WRITE
            return None
        self.read_event = READ
        return data

    def send(self, data: bytes | memoryview) -> int:
        try:
            with this_thread.section, self._lock:
                sent = self._tls.send(data[:RECORD])
        except ssl.SSLWantWriteError:
            self.write_event = WRITE
            return 0
        except ssl.SSLWantReadError:
            self.write_event = READ
            return 0
        self.write_event = WRITE
        return sent

    def pending(self) -> int:
        with this_thread.section, self._lock:
            return self._tls.pending()

    def encryption(self) -> tuple[str | None, str | None]:
        with this_thread.section, self._lock:
            cipher = self._tls.cipher()
            return self._tls.version(), None if cipher is None else cipher[0]


def abort(sock: socket.socket) -> None:
    """Shut down a connection, for all threads that use it, without closing the socket. Thread-safe."""
    # Not SSLSocket.shutdown(), which removes TLS, so that a later send() would send unencrypted bytes.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def make_transport(sock: socket.socket) -> Transport:
    """Return the transport for a connected, non-blocking socket."""
    return TLSTransport(sock) if isinstance(sock, ssl.SSLSocket) else Transport(sock)
