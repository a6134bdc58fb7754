"""TLS within TLS: to a ``wss`` server through an ``https`` proxy (RFC 9110 §9.3.6).

``SSLContext.wrap_socket`` uses the descriptor of a socket, so it can't write into another TLS connection. So the inner
layer works on memory (``ssl.MemoryBIO``), and its records are sent over the outer layer, the TLS connection to the
proxy.

Guarantees:
    * The guarantees of ``transport``, here with one lock for both layers: each call under it is non-blocking, and no
      other object uses the outer layer.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING, Final

from .._threads.locks import make_lock
from .._threads.sections import this_thread
from .poller import READ, WRITE
from .transport import RECORD, Transport

if TYPE_CHECKING:
    from .._threads.waiting import Deadline
    from .poller import Watch

__all__ = ["NestedTLSTransport", "start_nested_tls"]

_RECORDS: Final = 64 * 1024
"""Bytes read from the outer layer at a time."""


class NestedTLSTransport(Transport):
    """A TLS connection inside another one."""

    __slots__ = ("_incoming", "_inner", "_lock", "_outer", "_outgoing", "_unreported", "_unsent")

    short_means_empty = False  # one call returns the content of one record
    may_hold = True

    def __init__(self, outer: ssl.SSLSocket, host: str, context: ssl.SSLContext) -> None:
        """
        Args:
            outer: the TLS connection to the proxy, which has opened a tunnel.
            host: the name that the server's certificate must have.
            context: the TLS settings of the inner layer.
        """
        super().__init__(outer)
        self._outer = outer
        # Guards all attributes below, and the outer layer.
        self._lock = make_lock()
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._inner = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._unsent = b""  # records that the outer layer has not accepted yet
        self._unreported = 0  # payload bytes in `_unsent` for which `send()` has returned 0 so far

    def handshake(self) -> int:
        """Continue the inner handshake; return 0 once it is complete, else the event to wait for.

        Raises:
            OSError: the handshake failed.
        """
        with this_thread.section, self._lock:
            while True:
                try:
                    self._inner.do_handshake()
                except ssl.SSLWantReadError:
                    if not self._flush():
                        return self.write_event
                    if not self._fill():
                        return self.read_event
                except ssl.SSLError:
                    with contextlib.suppress(OSError):
                        self._flush()  # the alert, which contains the reason why the handshake failed
                    raise
                else:
                    return 0 if self._flush() else self.write_event

    def receive(self, size: int) -> bytes | None:
        with this_thread.section, self._lock:
            while True:
                try:
                    return self._inner.read(size)
                except ssl.SSLWantReadError:
                    # While `_unsent` contains payload bytes, only `send()` may flush it, so that `send()` raises the
                    # error if the flush fails.
                    if not self._unreported:
                        with contextlib.suppress(OSError):  # the next send() raises the error; reading must continue
                            self._flush()  # sends the answer to a TLS key update at once
                    if not self._fill():
                        return None
                except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                    return b""

    def send(self, data: bytes | memoryview) -> int:
        with this_thread.section, self._lock:
            if not self._flush():
                return 0
            if not self._unreported:
                try:
                    self._unreported = self._inner.write(data[:RECORD])
                except ssl.SSLWantReadError:  # pragma: no cover  (a TLS 1.2 renegotiation, not offered by OpenSSL 3)
                    self.write_event = READ
                    return 0
                if not self._flush():
                    return 0  # the caller passes these bytes again, and a later call returns their number
            sent, self._unreported = self._unreported, 0
            return sent

    def pending(self) -> int:
        with this_thread.section, self._lock:
            return self._inner.pending() + self._incoming.pending + self._outer.pending()

    def encryption(self) -> tuple[str | None, str | None]:
        with this_thread.section, self._lock:
            cipher = self._inner.cipher()
            return self._inner.version(), None if cipher is None else cipher[0]

    def _fill(self) -> bool:
        """Read from the outer layer into the inner one; False if there is nothing to read now."""
        try:
            data = self._outer.recv(_RECORDS)
        except ssl.SSLWantReadError:
            self.read_event = READ
            return False
        except ssl.SSLWantWriteError:
            self.read_event = WRITE
            return False
        self.read_event = READ
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        return True

    def _flush(self) -> bool:
        """Send the waiting records; True if none is left."""
        self._unsent += self._outgoing.read()
        while self._unsent:
            try:
                sent = self._outer.send(self._unsent)
            except ssl.SSLWantWriteError:
                self.write_event = WRITE
                return False
            except ssl.SSLWantReadError:
                self.write_event = READ
                return False
            self._unsent = self._unsent[sent:]
        self.write_event = WRITE
        return True


def start_nested_tls(
    outer: ssl.SSLSocket, host: str, context: ssl.SSLContext, watch: Watch, deadline: Deadline
) -> NestedTLSTransport:
    """Make a TLS handshake with the server inside the TLS connection to the proxy.

    If the handshake fails, the connection to the proxy stays open.

    Raises:
        OSError: the handshake failed; ``ssl.SSLError`` if TLS is the reason, ``TimeoutError`` at the deadline.
    """
    transport = NestedTLSTransport(outer, host, context)
    while events := transport.handshake():
        watch.wait(outer, events, deadline)
    return transport
