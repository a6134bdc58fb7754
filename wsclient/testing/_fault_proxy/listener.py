"""The proxy's listening socket: accepts clients, and pauses while the system has no file descriptors left.

Only the proxy's thread uses this module.
"""

from __future__ import annotations

import selectors
import socket
import time

from ..._network.poller import READ
from .._servers.sockets import pause_after

__all__ = ["Listener"]


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

    def take(self, most: int) -> list[socket.socket]:
        """Accept clients, at most so many."""
        taken: list[socket.socket] = []
        while len(taken) < most:
            try:
                sock, _ = self._listener.accept()
            except OSError as error:  # usually there are no more clients, or the client has disconnected
                pause = pause_after(error, "A FaultProxy")
                if pause:
                    self._pause(pause)
                break
            taken.append(sock)
        return taken

    def close(self) -> None:
        """Close the listening socket. The owner of the selector closes the selector."""
        self._listener.close()

    def _pause(self, seconds: float) -> None:
        if self._resume_at is None:
            self._selector.unregister(self._listener)
        self._resume_at = time.monotonic() + seconds
