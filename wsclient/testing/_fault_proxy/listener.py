"""The proxy's listening socket: accepts clients, and pauses while the system has no file descriptors left.

Only the proxy's thread uses this module.
"""

from __future__ import annotations

import errno
import logging
import selectors
import socket
import time
from typing import Final

from ..._network.poller import READ

__all__ = ["Listener"]

PAUSE: Final = 1.0
"""Seconds until the next attempt after a lack of file descriptors or memory; the same as in asyncio
(``ACCEPT_RETRY_DELAY``). The listener stays readable, so without a pause the loop would run without waiting."""

_NO_RESOURCES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""The errors of ``accept`` if no file descriptor or no memory is left (accept(2)); the client stays in the backlog."""

_AT_ONCE: Final = 64
_log = logging.getLogger("wsclient.testing")


class Listener:
    """A listening socket that is registered in a selector."""

    __slots__ = ("_listener", "_resume_at", "_selector")

    def __init__(self, listener: socket.socket, selector: selectors.BaseSelector) -> None:
        """
        Args:
            listener: the listening socket; ``close()`` closes it.
            selector: the proxy's selector.
        """
        listener.setblocking(False)
        selector.register(listener, READ)
        self._listener = listener
        self._selector = selector
        self._resume_at: float | None = None  # the end of a pause; while it is None, the listener is in the selector

    def is_listener(self, fileobj: object) -> bool:
        """Whether ``fileobj``, which the selector has reported, is the listening socket."""
        return fileobj is self._listener

    def next_at(self) -> float | None:
        """When the pause ends (monotonic clock, seconds); None if there is no pause."""
        return self._resume_at

    def resume(self, now: float) -> None:
        """Wait for clients again if the pause is over."""
        if self._resume_at is not None and now >= self._resume_at:
            self._resume_at = None
            self._selector.register(self._listener, READ)

    def take(self) -> list[socket.socket]:
        """Accept clients, at most ``_AT_ONCE``."""
        taken: list[socket.socket] = []
        while len(taken) < _AT_ONCE:
            try:
                sock, _ = self._listener.accept()
            except OSError as error:  # usually there are no more clients, or the client has disconnected
                if error.errno in _NO_RESOURCES:
                    self._pause(error)
                break
            taken.append(sock)
        return taken

    def close(self) -> None:
        """Close the listening socket. The owner of the selector closes the selector."""
        self._listener.close()

    def _pause(self, error: OSError) -> None:
        if self._resume_at is None:
            self._selector.unregister(self._listener)
        self._resume_at = time.monotonic() + PAUSE
        _log.warning(
            "A FaultProxy can't accept a connection (%s). It tries again in %g s; raise the limit of open files "
            "(ulimit -n), or close other files and sockets.",
            error,
            PAUSE,
        )
