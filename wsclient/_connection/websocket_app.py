"""websocket-client's part. The only importer of ``websocket``.

``WebSocketApp.run_forever`` runs each connection, through the two seams the library has for that: the ``header``
callable, which it calls right before it connects, puts our ``WebSocket`` into the app; and ``create_dispatcher`` gives
it our loop in place of its own. So the app leads the life (connect, read until the end, tear down), and what connects
and reads is ours; ARCHITECTURE.md says why. The app gets no callbacks, and nothing raised by us ever reaches it: it
would call ``on_close`` for connections that never opened, and log headers with their secrets.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

import websocket

__all__ = ["Transport"]

_ANY_URL: Final = "ws://localhost/"
"""The app wants one that it can parse; where we really connect to is not its affair."""


class Transport:
    """Runs connections, one after the other, on one ``WebSocketApp``. Owned by the I/O thread."""

    def __init__(self) -> None:
        self._app = _App(_ANY_URL, header=self._arm)
        self._open: Callable[[], socket.socket] | None = None
        self._serve: Callable[[], None] | None = None
        self._error: BaseException | None = None

    def run(self, open: Callable[[], socket.socket], serve: Callable[[], None]) -> BaseException | None:
        """Run one connection from beginning to end.

        Args:
            open: connects, and gives the socket.
            serve: reads until the connection is over; not called if ``open`` raised.

        Returns:
            What one of them raised, or None.
        """
        self._open, self._serve, self._error = open, serve, None
        self._app.pilot = self
        self._app.run_forever(skip_utf8_validation=True)
        return self._error

    def _arm(self) -> list[str]:
        self._app.sock = _Socket(self._connect)
        return []

    def _connect(self) -> socket.socket | None:
        assert self._open is not None
        try:
            return self._open()
        except BaseException as error:
            self._error = error
            return None

    # What the app calls its dispatcher.

    def read(self, sock: socket.socket | None, read_callback: Any, check_callback: Any) -> None:
        """Read until the connection is over; ``sock`` is None where it could not be opened."""
        if sock is None:
            return
        assert self._serve is not None
        try:
            self._serve()
        except BaseException as error:
            self._error = error
        finally:
            if self._app.sock is not None:
                self._app.sock.shutdown()  # type: ignore[no-untyped-call]

    def send(self, sock: socket.socket, data: str | bytes) -> int:
        """The app has nothing to send of its own."""
        raise RuntimeError("websocket-client tried to send by itself; please report this.")


class _App(websocket.WebSocketApp):
    pilot: Transport

    def create_dispatcher(self, *args: Any, **kwargs: Any) -> Any:
        return self.pilot


class _Socket(websocket.WebSocket):
    """The app's ``WebSocket``: it connects through us, and closes nothing, since the line has an owner."""

    def __init__(self, open: Callable[[], socket.socket | None]) -> None:
        super().__init__(enable_multithread=False)
        self._open_line = open

    def connect(self, url: str, **options: Any) -> None:
        self.sock = self._open_line()
        self.connected = self.sock is not None

    def shutdown(self) -> None:
        self.sock = None
        self.connected = False

    def close(self, *args: Any, **kwargs: Any) -> None:
        self.shutdown()
