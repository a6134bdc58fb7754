"""A WebSocket server for tests, based on the threaded server of ``websockets``.

Guarantees:
    * All methods may be called from any thread, except that a handler must not call ``stop``, ``restart`` and
      ``close``, which wait until all handlers have returned (with ``websockets`` before 17 they do not wait).
    * Each connection whose handshake the server has answered with 101 is in ``opened``, and each message that was
      received is appended to ``received`` and never removed; also if the client closed the connection before the
      server's thread ran.
    * ``wait_for`` and ``stop`` have a timeout.
    * An exception of a handler is logged at once, stored in ``errors``, and raised by ``close``.
"""

from __future__ import annotations

import contextlib
import http
import json
import logging
import queue
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.sync.server import ServerConnection

from ..._threads.waiting import Deadline, Notifier
from ..._validation import check_callable, check_count, check_seconds
from .certificates import certificate_for, client_context_of, url_of
from .listening import Listening
from .service import Service
from .sockets import make_reset, shut

__all__ = ["Server"]

WAIT: Final = 15.0
"""Default timeout of ``wait_for`` in seconds: enough on a machine under load. A passing test never waits so long."""

Handler = Callable[[ServerConnection, Any], Any]
_log = logging.getLogger("wsclient.testing")


class Server(Service):
    """A WebSocket server on loopback. It listens from its construction to ``close()``::

        with Server(lambda connection, message: message.upper()) as server:
            with wsclient.connect(server.url) as client:
                client.send("hello")
            assert server.wait_for(1) == ["hello"]

    Attributes:
        handler: the function that answers messages. It may be assigned at any time; the next message uses it.
        received: all messages that were received (``str`` or ``bytes``), in order, on all connections.
        opened: a ``queue.Queue`` of the connections (``websockets``' ``ServerConnection``), in order.
        errors: the exceptions that handlers raised. ``close()`` raises the first of them, unless the ``with`` block has
            raised an exception itself. Remove expected exceptions with ``clear()``.
        host: the address it listens on.
        port: the TCP port; it stays the same after a restart.
    """

    def __init__(
        self,
        handler: Handler | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        path: str | None = None,
        tls: bool | ssl.SSLContext | None = False,
        **options: Any,
    ) -> None:
        """
        Args:
            handler: ``handler(connection, message)`` is called for each message, on the connection's thread. Its result
                is sent unless it is None: ``str`` as text, ``bytes`` as binary, other objects as JSON. An exception
                closes the connection with 1011; see ``errors``. After a result could not be sent, since the connection
                has ended, it is not called for further messages. By default each message is sent back.
            host: the address to listen on.
            port: the TCP port; 0 for a free one.
            path: the path of a Unix domain socket to listen on instead. A socket that exists there is replaced; any
                other file raises ``FileExistsError``.
            tls: True for TLS with a new certificate, which ``client_context`` trusts; or an ``ssl.SSLContext``.
            options: options of ``websockets.sync.server.serve``: ``subprotocols``, ``max_size``, ``process_request``, …
        """
        super().__init__()
        self.handler: Handler | None = check_callable("handler", handler)
        self.received: list[str | bytes] = []
        self.opened: queue.Queue[ServerConnection] = queue.Queue()
        self.host = host
        self.port = port
        self._path = path
        self._certificate = certificate_for(tls, host)
        self._options = options
        self._connections: dict[ServerConnection, None] = {}
        self._refusals: deque[tuple[int, Mapping[str, str]]] = deque()
        self._changed = Notifier()
        self._listening: Listening | None = None
        self._reserved: socket.socket | None = None
        self._stopping = False
        self.start()

    # --- start and stop ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen again after ``stop()``, on the same port.

        Raises:
            RuntimeError: the server is running.
        """
        if self._listening is not None:
            raise RuntimeError("The server runs already; stop() it first, or call restart().")
        options = {**self._options, "process_request": self._process_request}
        if self._certificate is not None:
            options["ssl"] = self._certificate.server_context
        reserved, self._reserved = self._reserved, None
        self._stopping = False
        self._listening = Listening(self._serve, self.host, self.port, self._path, reserved=reserved, **options)
        self.port = self._listening.port

    def stop(self) -> None:
        """Stop listening, and end all connections with a FIN and no close frame, as if the process had been killed.

        No other program gets the port until ``start()`` or ``close()``. Exception: on Windows, or if you chose the
        port, the system may give it to another program.

        Raises:
            TimeoutError: a handler does not return.
        """
        listening, self._listening = self._listening, None
        if listening is not None:
            self._reserved = listening.reserve()
            self._stopping = True
            self.cut_all()
            listening.stop()

    def _release(self) -> None:
        reserved, self._reserved = self._reserved, None
        if reserved is not None:
            reserved.close()

    def restart(self) -> None:
        """Call ``stop()`` and ``start()``: all connections end; the port and ``received`` do not change."""
        self.stop()
        self.start()

    # --- what the test observes --------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The server's URL, for clients."""
        return url_of(self.host, self.port, self._certificate) if self._path is None else f"unix://{self._path}"

    @property
    def client_context(self) -> ssl.SSLContext:
        """The context for clients, with ``tls=True``: ``connect(server.url, ssl_context=server.client_context)``.

        Raises:
            AttributeError: the server was constructed without ``tls=True``.
        """
        return client_context_of(self._certificate)

    @property
    def connections(self) -> list[ServerConnection]:
        """The open connections, oldest first."""
        return list(self._connections)

    def wait_for(self, count: int, timeout: float = WAIT) -> list[str | bytes]:
        """Wait until ``received`` has at least ``count`` messages.

        Args:
            count: the number of messages, counted from the server's construction.
            timeout: seconds.

        Returns:
            The first ``count`` messages.

        Raises:
            TimeoutError: they were not received within the timeout; the error text shows the messages that were
                received.
        """
        deadline = Deadline.after(check_seconds("timeout", timeout, zero=True), time.monotonic())
        check_count("count", count, zero=True)
        while len(self.received) < count:
            with self._changed.watch() as latch:
                if len(self.received) < count and not latch.wait(deadline):
                    raise TimeoutError(
                        f"{len(self.received)} of {count} messages were received within {timeout:g} s, on "
                        f"{len(self.connections)} open connections. The last of them: {self.received[-5:]!r}"
                    )
        return self.received[:count]

    # --- what the test does ------------------------------------------------------------------------------------------

    def send_all(self, message: str | bytes) -> None:
        """Send a message on every open connection, except those that are closing."""
        for connection in self.connections:
            with contextlib.suppress(ConnectionClosed):
                connection.send(message)

    def close_all(self, code: int = 1000, reason: str = "") -> None:
        """Close every open connection with a close frame, and wait for each peer's close frame (at most 1 s each)."""
        for connection in self.connections:
            connection.close(code, reason)

    def cut_all(self) -> None:
        """End every connection with a FIN and no close frame."""
        for connection in self.connections:
            shut(connection.socket)

    def reset_all(self) -> None:
        """End every connection with a RST."""
        for connection in self.connections:
            make_reset(connection.socket)

    def reject(self, status: int, headers: Mapping[str, str] | None = None, times: int = 1) -> None:
        """Answer the next handshakes with an HTTP status instead of 101.

        Args:
            status: the status, such as 503; from 200 to 999.
            headers: further headers, such as ``{"Retry-After": "2"}``.
            times: the number of handshakes. Several calls apply one after the other.
        """
        if not isinstance(status, int) or not 200 <= status <= 999:
            raise ValueError(f"status must be an HTTP status from 200 on, not {status!r}.")
        check_count("times", times)
        self._refusals.extend([(status, dict(headers or {}))] * times)

    # --- the server's threads ----------------------------------------------------------------------------------------

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        try:
            status, headers = self._refusals.popleft()
        except IndexError:
            own = self._options.get("process_request")
            return own(connection, request) if own is not None else None
        return _refusal(status, headers)

    def _serve(self, connection: ServerConnection) -> None:
        self._connections[connection] = None
        self.opened.put(connection)
        answers = True
        try:
            for message in connection:
                self.received.append(message)
                self._changed.announce()
                answers = answers and self._answer(connection, message)
                if not answers and self._stopping:  # stop() waits for this thread
                    break
        except ConnectionClosed:
            pass  # the peer or the test has ended the connection
        finally:
            self._connections.pop(connection, None)

    def _answer(self, connection: ServerConnection, message: str | bytes) -> bool:
        """Call the handler, and send its result. Returns False if the connection has ended."""
        try:
            answer = message if self.handler is None else self.handler(connection, message)
            if answer is not None:
                if connection.protocol.state is not State.OPEN:
                    # Not left to send(), since with websockets before 14 it discards the messages that were received.
                    return False
                plain = isinstance(answer, (str, bytes, bytearray, memoryview))
                connection.send(answer if plain else json.dumps(answer))
        except ConnectionClosed:  # of this connection, or of another one that the handler uses
            return connection.protocol.state is State.OPEN
        except Exception as error:
            self.errors.append(error)
            _log.exception("The handler of %s failed at message %.200r.", self.url, message)
            connection.close(1011)
        return True


def _refusal(status: int, headers: Mapping[str, str]) -> Response:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:  # a status that is not registered, such as 520
        phrase = "Refused"
    body = f"{status} {phrase}\n".encode()
    lines = Headers([("Connection", "close"), ("Content-Length", str(len(body))), ("Content-Type", "text/plain")])
    for name, value in headers.items():
        lines[name] = value
    return Response(status, phrase, lines, body)
