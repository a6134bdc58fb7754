"""A server that sends exactly what a test tells it, when the test tells it: the peer that breaks every rule.

Half a frame, and its rest when the test says so::

    with RawServer() as raw:
        client = wsclient.Client(raw.url)
        starting = threading.Thread(target=client.start); starting.start()
        peer = raw.accept().upgrade()
        rest = peer.send_half(1, b"hello")          # nothing arrives yet
        peer.send(rest)                             # now it does

A script does the same for every connection, on a thread of its own::

    def trickle(peer):
        peer.upgrade()
        peer.trickle(frame(1, b"hello"), 0.05)      # a byte every 50 ms
        peer.until_closed()

    def wrong_accept_key(peer):
        peer.upgrade(accept="c3VyZWx5IG5vdA==")

    def oversized_header(peer):
        peer.upgrade("X-Filler: " + "x" * 1_000_000)

    def silence(peer):
        peer.receive_head()                         # or not even that
        peer.silence()                              # until peer.release(), or the end of the server

    def close_without_a_frame(peer):
        peer.upgrade()
        peer.finish()                               # a FIN; peer.reset() sends a RST

    with RawServer(trickle) as raw: ...

Guarantees:
    * ``accept``, ``close`` and every wait of a peer are bounded.
    * What a script raises is not lost: logged when it happens, kept in ``errors``, raised by ``close``. Only the end of
      the line (``ConnectionError``, TLS errors) ends a script quietly: that is how most of them end.
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
from ..._threads.deadline import Deadline
from ..._validation import check_callable
from .certificates import certificate_for, client_context_of, url_of
from .peer import PATIENCE, Peer
from .service import Service
from .sockets import listen, shut

__all__ = ["RawServer"]

_LAST_WORDS: Final = 0.5
"""Seconds a script has to find by itself that its line is over, before the socket is closed under it."""

STOP_TIMEOUT: Final = 15.0
"""Seconds a script may take to end once its line is closed under it."""

_log = logging.getLogger("wsclient.testing")


class RawServer(Service):
    """Listens on loopback, from its construction to ``close()``.

    Attributes:
        port: its TCP port.
        errors: what scripts raised; see ``close()``.
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
            script: ``script(peer)`` drives each connection on a thread of its own, and its end closes the line. Without
                one the test takes each connection by ``accept()``.
            host: address to listen at.
            port: TCP port; 0 takes a free one.
            tls: True speaks TLS with a certificate made for this server, which ``client_context`` trusts; or a context
                of your own.
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
        self._closing = False
        self._thread = threading.Thread(target=self._listen, name="wsclient-testing-raw", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens, for a client."""
        return url_of(self._host, self.port, self._certificate)

    @property
    def client_context(self) -> ssl.SSLContext:
        """With ``tls=True``: for clients, ``wsclient.connect(raw.url, ssl_context=raw.client_context)``."""
        return client_context_of(self._certificate)

    def accept(self, timeout: float = PATIENCE) -> Peer:
        """The next connection, before anything was read from it.

        Raises:
            TimeoutError: none came within the timeout (seconds).
        """
        if self._script is not None:
            raise RuntimeError("The connections of this server are driven by its script; accept() has none to give.")
        try:
            return self._waiting.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"No client connected to {self.url} within {timeout:g} s.") from None

    def stop(self) -> None:
        """Listen no more, and close every connection.

        Raises:
            TimeoutError: a script does not return.
        """
        self._closing = True
        shut(self._listener)  # wakes accept() on Linux; elsewhere a connection of our own does
        with contextlib.suppress(OSError):
            socket.create_connection(self._listener.getsockname()[:2], 1.0).close()
        self._listener.close()
        self._thread.join(STOP_TIMEOUT)
        for peer in self._peers:
            shut(peer.sock)  # wakes a script that reads
            peer.release()
        self._join(_LAST_WORDS)  # closed at once, a selector would forget what it was to tell of the socket
        for peer in self._peers:
            peer.close()
        self._join(STOP_TIMEOUT)
        if self._threads:
            raise TimeoutError(
                f"The script of {self.url} has not returned within {STOP_TIMEOUT:g} s, though its line is closed; "
                "let it wait by peer.silence(), which ends then."
            )

    def _join(self, seconds: float) -> None:
        """Wait for the scripts, all in all so long; those that go on are still among the threads."""
        deadline = Deadline.after(seconds, time.monotonic())
        for thread in self._threads:
            thread.join(deadline.left(time.monotonic()))
        self._threads = [thread for thread in self._threads if thread.is_alive()]

    def _listen(self) -> None:
        while not self._closing:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                if self._closing:
                    return
                continue  # the client was gone before it was accepted
            if self._closing:
                sock.close()
                return
            self._welcome(sock)

    def _welcome(self, sock: socket.socket) -> None:
        if self._certificate is not None:
            # The handshake is made on the connection's thread: a client that stalls in it holds up nobody else.
            try:
                sock = wrap_tls(sock, self._certificate.server_context, server_side=True)
            except OSError as error:
                _log.info("A client of %s was gone before its TLS handshake: %s", self.url, error)
                return
        peer = Peer(sock)
        self._peers = [known for known in self._peers if known.sock.fileno() != -1] + [peer]
        if self._certificate is None and self._script is None:
            self._waiting.put(peer)
            return
        thread = threading.Thread(target=self._run, args=(peer,), name="wsclient-testing-peer", daemon=True)
        self._threads = [known for known in self._threads if known.is_alive()] + [thread]
        thread.start()

    def _run(self, peer: Peer) -> None:
        if isinstance(peer.sock, ssl.SSLSocket):
            try:
                peer.sock.do_handshake()
            except (OSError, ValueError) as error:  # ValueError: stop() has closed the socket under it
                _log.info("A client ended the TLS handshake with %s: %s", self.url, error)
                peer.close()
                return
        if self._script is None:
            self._waiting.put(peer)
            return
        try:
            self._script(peer)
        except (ConnectionError, ssl.SSLError):
            pass  # the client, or the test, ended the line
        except Exception as error:
            if not (self._closing and isinstance(error, OSError)):  # its socket was closed under it
                self.errors.append(error)
                _log.exception("The script of %s failed.", self.url)
        finally:
            peer.close()
