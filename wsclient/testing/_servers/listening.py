"""Runs a server of ``websockets`` from its start to the end of its threads, for all supported releases."""

from __future__ import annotations

import contextlib
import functools
import http
import logging
import os
import socket
import ssl
import stat
import threading
from collections.abc import Callable
from typing import Any, Final

from websockets.http11 import Response
from websockets.server import ServerProtocol
from websockets.sync.server import ServerConnection, serve, unix_serve

from ..._network.tls import wrap_tls
from .sockets import listen, listen_again, pause_after, reserve, shut

__all__ = ["Listening"]

STOP_TIMEOUT: Final = 15.0
"""Seconds that the handlers of a stopping server may take to return after its connections were cut."""

CLOSE_TIMEOUT: Final = 1.0
"""Seconds that a closing handshake may take. The default of ``websockets``, 10, is too long for a test with a peer that
does not answer."""

_websockets_log: Final = logging.getLogger("wsclient.testing.websockets")
_websockets_log.setLevel(logging.CRITICAL)  # tests break connections on purpose; set another level to see the log


class Listening:
    """A ``websockets`` server that runs in a separate thread, with one more thread for each connection.

    Attributes:
        port: its TCP port; 0 for a Unix domain socket.
    """

    __slots__ = ("_connections", "_create", "_gone", "_handler", "_server", "_stopping", "_thread", "port")

    def __init__(
        self,
        handler: Callable[[ServerConnection], None],
        host: str,
        port: int,
        path: str | None,
        *,
        reserved: socket.socket | None = None,
        **options: Any,
    ) -> None:
        """
        Args:
            handler: called for each connection that was accepted, on its thread, even if the client has already closed
                it; the connection ends when it returns.
            host: the address to listen on.
            port: the TCP port; 0 for a free one.
            path: the path of a Unix domain socket to listen on instead.
            reserved: the socket that ``reserve()`` of a stopped server returned; the new server listens on it.
            options: options of ``websockets.sync.server.serve``.

        Raises:
            FileExistsError: there is a file at the path that is not a socket.
        """
        self._handler = handler
        self._create: Callable[..., ServerConnection] = options.pop("create_connection", None) or ServerConnection
        self._connections: set[ServerConnection] = set()
        self._stopping = threading.Event()
        self._gone = socket.socket()
        self._gone.close()
        options = {"close_timeout": CLOSE_TIMEOUT, "logger": _websockets_log, **options}
        options["create_connection"] = self._create_connection
        if path is None:
            if reserved is not None:
                listen_again(reserved)
            sock = reserved or listen(host, port)
            self.port = sock.getsockname()[1]
            self._server = serve(_do_nothing, sock=sock, **options)
        else:
            _remove_socket(path)
            self.port = 0
            self._server = unix_serve(_do_nothing, path, **options)
        if not isinstance(self._server.socket, ssl.SSLSocket):
            self._server.socket = _Listener(fileno=self._server.socket.detach())
        listener = self._server.socket
        listener.accept = functools.partial(self._accept, listener)  # type: ignore[method-assign]
        self._thread = threading.Thread(target=self._server.serve_forever, name="wsclient-testing-server", daemon=True)
        self._thread.start()

    def reserve(self) -> socket.socket | None:
        """A socket that keeps the port for the next server after ``stop()``; see ``sockets.reserve``."""
        return reserve(self._server.socket) if self.port else None

    def stop(self) -> None:
        """Stop listening, end all connections with a FIN, and wait until all handlers have returned.

        With ``websockets`` before 17 the handlers are not awaited; they may return later.

        Raises:
            TimeoutError: a handler has not returned within 15 s.
        """
        self._stopping.set()
        for connection in list(self._connections):
            shut(connection.socket)
        # From websockets 17 on, shutdown() waits for all handlers without a timeout, so a helper thread calls it.
        helper = threading.Thread(target=self._server.shutdown, name="wsclient-testing-stop", daemon=True)
        helper.start()
        helper.join(STOP_TIMEOUT)
        self._thread.join(STOP_TIMEOUT)
        if helper.is_alive() or self._thread.is_alive():
            raise TimeoutError(
                f"A handler of the test server has not returned within {STOP_TIMEOUT:g} s after its connection was "
                "cut; use a timeout for its waits, or end them before the server is closed."
            )
        for pipe in (getattr(self._server, name, None) for name in ("shutdown_watcher", "shutdown_notifier")):
            if isinstance(pipe, int):  # websockets before 17 leaves both ends of this pipe open
                os.close(pipe)

    def _accept(self, listener: socket.socket) -> tuple[socket.socket, Any]:
        """Accept a connection. No OSError is raised before ``stop()``: it would end the loop of ``websockets``' server.

        After an error a closed socket is returned: the thread of the connection gets the same error as for a lost
        connection, and the loop waits for the next client.
        """
        try:
            sock, address = socket.socket.accept(listener)
        except OSError as error:  # no file descriptor is left, or the client has disconnected
            if self._stopping.is_set():
                raise
            self._stopping.wait(pause_after(error, "A Server"))
            return self._gone, None
        if not isinstance(listener, ssl.SSLSocket):
            return sock, address
        try:
            return wrap_tls(sock, listener.context, server_side=True), address
        except OSError as error:  # wrap_tls() has closed the socket
            _websockets_log.info("A client disconnected before its TLS handshake: %s", error)
            return sock, address

    # --- the threads of connections ----------------------------------------------------------------------------------

    def _create_connection(self, sock: socket.socket, protocol: ServerProtocol, *args: Any, **options: Any) -> Any:
        """Make a connection whose ``handshake()`` calls the handler too.

        ``websockets`` calls its handler only if the connection is still open after the handshake. A client may have
        sent messages and closed the connection by then, if the connection's thread is late.
        """
        accepted = threading.Event()
        protocol.send_response = functools.partial(  # type: ignore[method-assign]
            _send_response, protocol.send_response, accepted
        )
        connection = self._create(sock, protocol, *args, **options)
        connection.handshake = functools.partial(  # type: ignore[method-assign]
            self._shake_hands_and_serve, connection.handshake, connection, accepted
        )
        return connection

    def _shake_hands_and_serve(
        self, handshake: Callable[..., None], connection: ServerConnection, accepted: threading.Event, *args: Any
    ) -> None:
        handshake(*args)
        if not accepted.is_set():  # refused, or the client has disconnected
            return
        start_keepalive = getattr(connection, "start_keepalive", None)
        if start_keepalive is not None:  # pragma: no branch  (websockets before 15 has no keepalive)
            start_keepalive()
        self._connections.add(connection)
        try:
            if self._stopping.is_set():  # stop() may have ended the other connections before this one was added
                shut(connection.socket)
            with connection:
                self._handler(connection)
        finally:
            self._connections.discard(connection)


class _Listener(socket.socket):
    """A socket whose ``accept`` can be replaced; that of ``socket.socket`` is read-only."""


def _send_response(send: Callable[[Response], None], accepted: threading.Event, response: Response) -> None:
    send(response)
    if response.status_code == http.HTTPStatus.SWITCHING_PROTOCOLS:
        accepted.set()


def _do_nothing(connection: ServerConnection) -> None:
    """The handler that is passed to ``websockets``. It is never called: ``websockets`` would call it only if the
    connection were still open after ``handshake()``, but ``_shake_hands_and_serve`` closes each accepted connection.
    """


def _remove_socket(path: str) -> None:
    """Remove the socket of an earlier run, which may still exist. No other file is removed."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(
                f"The server can't listen on {path!r}: there is a file that is not a socket. Give another path, or "
                "remove it."
            )
        os.unlink(path)
