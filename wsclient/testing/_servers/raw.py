"""A server that sends exactly the bytes that a test gives it, so that it can violate any rule of the protocol.

Send half of a frame, and the other half later::

    with RawServer() as raw:
        client = wsclient.Client(raw.url)
        starting = threading.Thread(target=client.start); starting.start()
        peer = raw.accept().upgrade()
        rest = peer.send_half(1, b"hello")          # the client has received no message yet
        peer.send(rest)                             # now it has received the message

A script is called for each connection, on a separate thread::

    def trickle(peer):
        peer.upgrade()
        peer.trickle(frame(1, b"hello"), 0.05)      # a byte every 50 ms
        peer.until_closed()

    def wrong_accept_key(peer):
        peer.upgrade(accept="c3VyZWx5IG5vdA==")

    def oversized_header(peer):
        peer.upgrade("X-Filler: " + "x" * 1_000_000)

    def silence(peer):
        peer.receive_head()                         # optional
        peer.silence()                              # until peer.release() is called, or the server ends

    def close_without_a_frame(peer):
        peer.upgrade()
        peer.finish()                               # a FIN; peer.reset() sends a RST

    with RawServer(trickle) as raw: ...

Guarantees:
    * ``accept``, ``close``, and each read and write of a peer have a timeout. ``silence()`` without ``seconds`` has
      none: it ends when ``release()`` is called or the server is closed.
    * An exception of a script is logged at once, stored in ``errors``, and raised by ``close``. But a
      ``ConnectionError`` or a TLS error ends the script without an error, since most scripts end with the connection.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Final

from ..._network.tls import wrap_tls
from ..._threads.waiting import Deadline
from ..._validation import check_callable
from .certificates import certificate_for, client_context_of, url_of
from .peer import RECEIVE_TIMEOUT, Peer
from .service import Service
from .sockets import listen, pause_after, shut, start_or_close

__all__ = ["RawServer"]

_SCRIPT_GRACE: Final = 0.5
"""Seconds between the shutdown of a script's socket and its close, so that the script's reads report the end."""

STOP_TIMEOUT: Final = 15.0
"""Seconds that a script may take to return after its socket was closed."""

_log = logging.getLogger("wsclient.testing")


class RawServer(Service):
    """A TCP or TLS server on loopback. It listens from its construction to ``close()``.

    Attributes:
        port: its TCP port.
        errors: the exceptions that scripts raised; see ``close()``.
    """

    def __init__(
        self,
        script: Callable[[Peer], object] | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: bool | ssl.SSLContext | None = False,
    ) -> None:
        """
        Args:
            script: ``script(peer)`` is called for each connection, on a separate thread; when it returns, the
                connection is closed. Without a script, the test gets each connection from ``accept()``.
            host: the address to listen on.
            port: the TCP port; 0 for a free one.
            tls: True for TLS with a new certificate, which ``client_context`` trusts; or an ``ssl.SSLContext``.
        """
        super().__init__()
        self._script: Callable[[Peer], object] | None = check_callable("script", script)
        self._host = host
        self._certificate = certificate_for(tls, host)
        self._listener = listen(host, port)
        self.port: int = self._listener.getsockname()[1]
        self._peers: list[Peer] = []
        self._threads: list[threading.Thread] = []
        self._waiting: queue.Queue[Peer] = queue.Queue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="wsclient-testing-raw", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The server's URL, for clients."""
        return url_of(self._host, self.port, self._certificate)

    @property
    def client_context(self) -> ssl.SSLContext:
        """The context for clients of a server with ``tls=True``: ``connect(raw.url, ssl_context=raw.client_context)``.

        Raises:
            AttributeError: the server was constructed without ``tls=True``.
        """
        return client_context_of(self._certificate)

    def accept(self, timeout: float = RECEIVE_TIMEOUT) -> Peer:
        """Wait for the next connection.

        Args:
            timeout: seconds.

        Returns:
            The connection; nothing was read from it yet.

        Raises:
            TimeoutError: no client connected within the timeout.
            RuntimeError: the server has a script.
        """
        if self._script is not None:
            raise RuntimeError("This server passes its connections to its script, so accept() can't return one.")
        try:
            return self._waiting.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"No client connected to {self.url} within {timeout:g} s.") from None

    def stop(self) -> None:
        """Stop listening, and close every connection.

        Raises:
            TimeoutError: a script does not return.
        """
        self._closing.set()
        shut(self._listener)  # ends accept() on Linux; on other systems the connection below ends it
        with contextlib.suppress(OSError):
            socket.create_connection(self._listener.getsockname()[:2], 1.0).close()
        self._listener.close()
        self._thread.join(STOP_TIMEOUT)
        for peer in self._peers:
            shut(peer.sock)  # ends the reads of a script
            peer.release()
        self._join(_SCRIPT_GRACE)  # a script may wait with a selector, which reports no events of a closed socket
        for peer in self._peers:
            peer.close()
        self._join(STOP_TIMEOUT)
        if self._threads:
            raise TimeoutError(
                f"The script of {self.url} has not returned within {STOP_TIMEOUT:g} s after its connection was closed; "
                "let it wait with peer.silence(), which ends in this case."
            )

    def _join(self, seconds: float) -> None:
        """Wait for all scripts together, at most so many seconds; ``_threads`` keeps those that still run."""
        deadline = Deadline.after(seconds, time.monotonic())
        for thread in self._threads:
            thread.join(deadline.left(time.monotonic()))
        self._threads = [thread for thread in self._threads if thread.is_alive()]

    def _listen(self) -> None:
        while not self._closing.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError as error:
                if not self._closing.is_set():  # usually the client disconnected before it was accepted
                    self._closing.wait(pause_after(error, "A RawServer"))
                continue
            if self._closing.is_set():
                sock.close()
                return
            self._begin(sock)

    def _begin(self, sock: socket.socket) -> None:
        if self._certificate is not None:
            # The handshake is made on the connection's thread, so a client that stalls in it delays no other client.
            try:
                sock = wrap_tls(sock, self._certificate.server_context, server_side=True)
            except OSError as error:
                _log.info("A client of %s disconnected before its TLS handshake: %s", self.url, error)
                return
        peer = Peer(sock)
        self._peers = [known for known in self._peers if known.sock.fileno() != -1] + [peer]
        if self._certificate is None and self._script is None:
            self._waiting.put(peer)
            return
        thread = threading.Thread(target=self._run, args=(peer,), name="wsclient-testing-peer", daemon=True)
        if start_or_close(thread, sock, "A RawServer"):
            self._threads = [known for known in self._threads if known.is_alive()] + [thread]

    def _run(self, peer: Peer) -> None:
        if isinstance(peer.sock, ssl.SSLSocket):
            try:
                peer.sock.do_handshake()
            except (OSError, ValueError, AttributeError) as error:  # the last two if stop() has closed the socket
                _log.info("The TLS handshake of a client with %s failed: %s", self.url, error)
                peer.close()
                return
        if self._script is None:
            self._waiting.put(peer)
            return
        try:
            self._script(peer)
        except (ConnectionError, ssl.SSLError):
            pass  # the client, or the test, ended the connection
        except Exception as error:
            if not (self._closing.is_set() and isinstance(error, OSError)):  # stop() has closed its socket
                self.errors.append(error)
                _log.exception("The script of %s failed.", self.url)
        finally:
            peer.close()
