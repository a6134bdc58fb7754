"""The use of websocket-client. The only importer of ``websocket``.

``WebSocketApp.run_forever`` runs each connection, through two extension points of the library:

* ``header``: called just before connecting; our callable puts our ``WebSocket`` into the app.
* ``create_dispatcher``: returns our loop.

So the app controls the sequence (connect, read until the end, tear down), and our code connects and reads;
ARCHITECTURE.md explains why. The app has no callbacks, and our exceptions do not reach it; otherwise it would call
``on_close`` for connections that never opened, and log headers with their secrets.

The app's own log records ("Websocket connected") are not true here: our code connects, and reports it. The I/O thread
must not wait for a logging handler either. So a filter of the logger ``websocket`` rejects the records of threads that
run an ``AppRunner``.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from typing import Any, Final

from .._threads.imports import check_has, check_not_shadowed

check_not_shadowed("websocket", "websocket-client")

import websocket  # noqa: E402 - first the check that this is the library

check_has(websocket, "WebSocketApp", "websocket-client")

__all__ = ["AppRunner"]

_ANY_URL: Final = "ws://localhost/"
"""The app needs a URL that it can parse. No connection is made to it: ``Connector`` uses the client's URL."""


_running: Final[set[int]] = set()
"""The identifiers of the threads that are inside ``AppRunner.run``."""


def _is_of_another_thread(record: logging.LogRecord) -> bool:
    """The filter of the logger ``websocket``; it keeps the records of a program that uses the library itself."""
    return threading.get_ident() not in _running


logging.getLogger("websocket").addFilter(_is_of_another_thread)


class AppRunner:
    """Runs successive connections on one ``WebSocketApp``. Used only by the I/O thread."""

    def __init__(self) -> None:
        self._app = _App(_ANY_URL, header=self._put_socket)
        self._open: Callable[[], socket.socket] | None = None
        self._serve: Callable[[], None] | None = None
        self._error: BaseException | None = None

    def run(self, open: Callable[[], socket.socket], serve: Callable[[], None]) -> BaseException | None:
        """Run one connection from beginning to end.

        Args:
            open: connects, and returns the socket.
            serve: reads until the connection has ended; not called if ``open`` raised.

        Returns:
            The exception that one of them raised, or None.
        """
        self._open, self._serve, self._error = open, serve, None
        self._app.dispatcher = self
        _running.add(threading.get_ident())
        try:
            self._app.run_forever(skip_utf8_validation=True)
        finally:
            _running.discard(threading.get_ident())
        return self._error

    def _put_socket(self) -> list[str]:
        """Put our ``WebSocket`` into the app, which then connects; return no headers."""
        self._app.sock = _Socket(self._connect)
        return []

    def _connect(self) -> socket.socket | None:
        assert self._open is not None
        try:
            return self._open()
        except BaseException as error:
            self._error = error
            return None

    # --- the interface of the app's dispatcher ----------------------------------------------------------------------

    def read(self, sock: socket.socket | None, read_callback: Any, check_callback: Any) -> None:
        """Read until the connection has ended; ``sock`` is None if it could not be opened."""
        if sock is None:
            return
        assert self._serve is not None
        try:
            self._serve()
        except BaseException as error:
            self._error = error
        finally:
            if self._app.sock is not None:  # pragma: no branch  (only the app's own close() removes it)
                self._app.sock.shutdown()  # type: ignore[no-untyped-call]

    def send(self, sock: socket.socket, data: str | bytes) -> int:
        """Raise: the app must not send anything.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("websocket-client tried to send data that wsclient did not request; please report this.")


class _App(websocket.WebSocketApp):
    dispatcher: AppRunner

    def create_dispatcher(self, *args: Any, **kwargs: Any) -> Any:
        return self.dispatcher


class _Socket(websocket.WebSocket):
    """The app's ``WebSocket``: ``Supervisor`` connects it, and ``Connection`` closes the socket."""

    def __init__(self, open: Callable[[], socket.socket | None]) -> None:
        super().__init__(enable_multithread=False)
        self._open_socket = open

    def connect(self, url: str, **options: Any) -> None:
        self.sock = self._open_socket()
        self.connected = self.sock is not None

    def shutdown(self) -> None:
        self.sock = None
        self.connected = False

    def close(self, *args: Any, **kwargs: Any) -> None:
        self.shutdown()
