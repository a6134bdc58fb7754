"""One run of a ``websockets`` server, from its first ``listen`` to its last thread, whichever release it is."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any, Final

from websockets.sync.server import ServerConnection, serve, unix_serve

from ..._network.tls import wrap_tls
from .sockets import listen

__all__ = ["Listening"]

STOP_TIMEOUT: Final = 15.0
"""Seconds that the handlers of a server that stops may take to return; its connections are cut by then."""

CLOSE_TIMEOUT: Final = 1.0
"""Seconds a closing handshake may take; ``websockets`` gives 10, far too many for a test with a mute peer."""

QUIET: Final = logging.getLogger("wsclient.testing.websockets")
QUIET.setLevel(logging.CRITICAL)  # lines that break are what a test is about; set another level to see them


class Listening:
    """A ``websockets`` server that runs in a thread of its own, and each connection in another."""

    __slots__ = ("_server", "_thread", "port")

    def __init__(
        self, handler: Callable[[ServerConnection], None], host: str, port: int, path: str | None, **options: Any
    ) -> None:
        """
        Args:
            handler: runs for each connection, until it is over.
            host: address to listen at.
            port: TCP port; 0 takes a free one.
            path: a Unix socket to listen at instead.
            options: those of ``websockets.sync.server.serve``.
        """
        options = {"close_timeout": CLOSE_TIMEOUT, "logger": QUIET, **options}
        if path is None:
            sock = listen(host, port)
            self.port = sock.getsockname()[1]
            self._server = serve(handler, sock=sock, **options)
        else:
            with contextlib.suppress(FileNotFoundError):  # one of an earlier run stays behind
                os.unlink(path)
            self.port = 0
            self._server = unix_serve(handler, path, **options)
        listener = self._server.socket
        if isinstance(listener, ssl.SSLSocket):
            listener.accept = functools.partial(_accept, listener)  # type: ignore[assignment, method-assign]
        self._thread = threading.Thread(target=self._server.serve_forever, name="wsclient-testing-server", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Listen no more, and wait for the handlers.

        Raises:
            TimeoutError: a handler has not returned within 15 s.
        """
        # From websockets 17 on shutdown() waits for every handler, however long it takes: so it runs elsewhere.
        helper = threading.Thread(target=self._server.shutdown, name="wsclient-testing-stop", daemon=True)
        helper.start()
        helper.join(STOP_TIMEOUT)
        self._thread.join(STOP_TIMEOUT)
        if helper.is_alive() or self._thread.is_alive():
            raise TimeoutError(
                f"A handler of the test server has not returned within {STOP_TIMEOUT:g} s, though its connection is "
                "cut; let it wait with a timeout, or end its wait before the server is closed."
            )
        for pipe in (getattr(self._server, name, None) for name in ("shutdown_watcher", "shutdown_notifier")):
            if isinstance(pipe, int):  # websockets before 17 leaves both ends open
                os.close(pipe)


def _accept(listener: ssl.SSLSocket) -> tuple[socket.socket, Any]:
    """The next connection, TLS or gone: an error here would end the server, as ``websockets`` takes it for its own end.

    What is gone is a closed socket, which the connection's handler meets with the same error as a lost one.
    """
    sock, address = socket.socket.accept(listener)
    try:
        return wrap_tls(sock, listener.context, server_side=True), address
    except OSError as error:
        QUIET.info("A client was gone before its TLS handshake: %s", error)
        return sock, address
