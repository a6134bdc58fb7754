"""Where a proxy's clients come in: accepts them, and pauses while the system has no descriptor left. One thread's."""

from __future__ import annotations

import errno
import logging
import selectors
import socket
import time
from typing import Final

from ..._network.poller import READ

__all__ = ["Entrance"]

PAUSE: Final = 1.0
"""Seconds until the next try when descriptors or memory were short, as in asyncio (``ACCEPT_RETRY_DELAY``): a listener
whose clients can't be accepted stays readable, and a loop that looked at it would spin."""

_SHORT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What ``accept`` fails with then (accept(2)); the client stays in the backlog."""

_AT_ONCE: Final = 64
_log = logging.getLogger("wsclient.testing")


class Entrance:
    """A listener in a selector."""

    __slots__ = ("_listener", "_resume_at", "_selector")

    def __init__(self, listener: socket.socket, selector: selectors.BaseSelector) -> None:
        """
        Args:
            listener: where clients connect; closed at the end.
            selector: tells when one has.
        """
        listener.setblocking(False)
        selector.register(listener, READ)
        self._listener = listener
        self._selector = selector
        self._resume_at: float | None = None  # in the selector while that is None

    def is_behind(self, fileobj: object) -> bool:
        """Whether this is what the selector has called ready."""
        return fileobj is self._listener

    def next_at(self) -> float | None:
        """When ``resume`` has something to do; None if nothing is paused."""
        return self._resume_at

    def resume(self, now: float) -> None:
        """Look at the listener again if the pause is over."""
        if self._resume_at is not None and now >= self._resume_at:
            self._resume_at = None
            self._selector.register(self._listener, READ)

    def take(self) -> list[socket.socket]:
        """Those who have connected; some of them if there are many."""
        taken: list[socket.socket] = []
        while len(taken) < _AT_ONCE:
            try:
                sock, _ = self._listener.accept()
            except OSError as error:  # mostly: no more of them, or the client is gone already
                if error.errno in _SHORT:
                    self._pause(error)
                break
            taken.append(sock)
        return taken

    def close(self) -> None:
        """Listen no more. The selector is closed by its owner."""
        self._listener.close()

    def _pause(self, error: OSError) -> None:
        if self._resume_at is None:
            self._selector.unregister(self._listener)
        self._resume_at = time.monotonic() + PAUSE
        _log.warning(
            "A FaultProxy can't accept a connection (%s). It tries again in %g s; raise the limit of open files "
            "(ulimit -n), or close something.",
            error,
            PAUSE,
        )
