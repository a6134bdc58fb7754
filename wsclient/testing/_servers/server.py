"""A real WebSocket server for tests: one of ``websockets``, in threads.

Guarantees:
    * Every method may be called from any thread but a handler's own, where ``stop``, ``restart`` and ``close`` would
      wait for themselves. ``received`` only grows, in the order in which the messages came.
    * ``wait_for`` and ``stop`` are bounded.
    * What a handler raises is not lost: logged when it happens, kept in ``errors``, raised by ``close``.
"""

from __future__ import annotations

import contextlib
import http
import json
import logging
import queue
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection

from ..._threads.deadline import Deadline
from ..._threads.waiting import Signal
from ..._validation import check_callable, check_count, check_seconds
from .certificates import certificate_for, client_context_of, url_of
from .listening import Listening
from .service import Service
from .sockets import make_reset, shut

__all__ = ["Server"]

WAIT: Final = 15.0
"""Seconds ``wait_for`` gives by default: enough on a machine under load; a test that passes never waits so long."""

Handler = Callable[[ServerConnection, Any], Any]
_log = logging.getLogger("wsclient.testing")


class Server(Service):
    """A WebSocket server on loopback, listening from its construction to ``close()``.

        with Server(lambda connection, message: message.upper()) as server:
            with wsclient.connect(server.url) as client:
                client.send("hello")
            assert server.wait_for(1) == ["hello"]

    Attributes:
        handler: the function that answers messages; may be assigned at any time, and counts from the next message on.
        received: every message that came (``str`` or ``bytes``), in order, over all connections.
        opened: a ``queue.Queue`` of the connections (``websockets``' ``ServerConnection``), in order.
        errors: what handlers raised. ``close()`` raises the first of them, unless the ``with`` block fails anyhow; take
            out (``clear()``) what the test expects.
        host: the address it listens at.
        port: the TCP port; the same after a restart.
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
            handler: ``handler(connection, message)`` runs for each message, on the connection's thread; what it
                returns is sent, unless it is None: ``str`` as text, ``bytes`` as binary, everything else as JSON. By
                default each message is sent back. What it raises closes the connection with 1011; see ``errors``.
            host: address to listen at.
            port: TCP port; 0 takes a free one.
            path: a Unix socket to listen at instead of an address.
            tls: True speaks TLS with a certificate made for this server, which ``client_context`` trusts; or a context
                of your own.
            options: any of ``websockets.sync.server.serve``: ``subprotocols``, ``max_size``, ``process_request``, …
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
        self._changed = Signal()
        self._listening: Listening | None = None
        self.start()

    # --- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen again after ``stop()``, at the same port."""
        if self._listening is not None:
            raise RuntimeError("The server runs already; stop() it first, or call restart().")
        options = {**self._options, "process_request": self._greet}
        if self._certificate is not None:
            options["ssl"] = self._certificate.server_context
        self._listening = Listening(self._serve, self.host, self.port, self._path, **options)
        self.port = self._listening.port

    def stop(self) -> None:
        """Listen no more, and cut what is open: a FIN without a close frame, as of a server that was killed.

        Raises:
            TimeoutError: a handler does not return.
        """
        listening, self._listening = self._listening, None
        if listening is not None:
            self.cut_all()
            listening.stop()

    def restart(self) -> None:
        """``stop()`` and ``start()``: every line is cut, and the port is the same. ``received`` is kept."""
        self.stop()
        self.start()

    # --- what the test wants to know ---------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it listens, for a client."""
        return url_of(self.host, self.port, self._certificate) if self._path is None else f"unix://{self._path}"

    @property
    def client_context(self) -> ssl.SSLContext:
        """With ``tls=True``: for clients, ``wsclient.connect(server.url, ssl_context=server.client_context)``."""
        return client_context_of(self._certificate)

    @property
    def connections(self) -> list[ServerConnection]:
        """Those that are open, oldest first."""
        return list(self._connections)

    def wait_for(self, count: int, timeout: float = WAIT) -> list[str | bytes]:
        """Wait until so many messages have come in all.

        Returns:
            The first ``count`` of them.

        Raises:
            TimeoutError: they have not come within the timeout (seconds); the sentence shows what has.
        """
        deadline = Deadline.after(check_seconds("timeout", timeout, zero=True), time.monotonic())
        check_count("count", count, zero=True)
        while len(self.received) < count:
            with self._changed.watch() as latch:
                if len(self.received) < count and not latch.wait(deadline):
                    raise TimeoutError(
                        f"{len(self.received)} of {count} messages came within {timeout:g} s, on "
                        f"{len(self.connections)} open connections. The last of them: {self.received[-5:]!r}"
                    )
        return self.received[:count]

    # --- what the test wants to happen -------------------------------------------------------------------------------

    def send_all(self, message: str | bytes) -> None:
        """Send a message on every open connection; one that is just closing is passed over."""
        for connection in self.connections:
            with contextlib.suppress(ConnectionClosed):
                connection.send(message)

    def close_all(self, code: int = 1000, reason: str = "") -> None:
        """Close every open connection with a close frame, and wait for each peer's answer (1 s at most)."""
        for connection in self.connections:
            connection.close(code, reason)

    def cut_all(self) -> None:
        """End every line with a FIN and no close frame."""
        for connection in self.connections:
            shut(connection.socket)

    def reset_all(self) -> None:
        """End every line with a RST."""
        for connection in self.connections:
            make_reset(connection.socket)

    def reject(self, status: int, headers: Mapping[str, str] | None = None, times: int = 1) -> None:
        """Answer the next handshakes with an HTTP status instead of 101.

        Args:
            status: such as 503; 101 and what lies below are no refusal.
            headers: further header lines, such as ``{"Retry-After": "2"}``.
            times: how many handshakes; several calls queue up.
        """
        if not isinstance(status, int) or not 200 <= status <= 999:
            raise ValueError(f"status must be an HTTP status from 200 on, not {status!r}.")
        check_count("times", times)
        self._refusals.extend([(status, dict(headers or {}))] * times)

    # --- the server's threads ----------------------------------------------------------------------------------------

    def _greet(self, connection: ServerConnection, request: Request) -> Response | None:
        try:
            status, headers = self._refusals.popleft()
        except IndexError:
            own = self._options.get("process_request")
            return own(connection, request) if own is not None else None
        return _refusal(status, headers)

    def _serve(self, connection: ServerConnection) -> None:
        self._connections[connection] = None
        if self._listening is None:  # stopped between the handshake and here, which older websockets leaves open
            shut(connection.socket)
        self.opened.put(connection)
        try:
            for message in connection:
                self._take(connection, message)
        except ConnectionClosed:
            pass  # by the peer, or by the test
        finally:
            self._connections.pop(connection, None)

    def _take(self, connection: ServerConnection, message: str | bytes) -> None:
        self.received.append(message)
        self._changed.announce()
        try:
            answer = message if self.handler is None else self.handler(connection, message)
            if answer is not None:
                plain = isinstance(answer, (str, bytes, bytearray, memoryview))
                connection.send(answer if plain else json.dumps(answer))
        except ConnectionClosed:
            raise
        except Exception as error:
            self.errors.append(error)
            _log.exception("The handler of %s failed at message %.200r.", self.url, message)
            connection.close(1011)


def _refusal(status: int, headers: Mapping[str, str]) -> Response:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:  # a status of somebody's own, such as 520
        phrase = "Refused"
    body = f"{status} {phrase}\n".encode()
    lines = Headers([("Connection", "close"), ("Content-Length", str(len(body))), ("Content-Type", "text/plain")])
    for name, value in headers.items():
        lines[name] = value
    return Response(status, phrase, lines, body)
