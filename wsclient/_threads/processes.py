"""What happens to running clients when the process forks or ends.

Guarantees:
    * In a forked child, the copy of a client is marked as forked before user code runs. Its file descriptors are
      closed, which sends nothing to the peer. No lock is taken: the fork may have copied a locked lock, which no thread
      of the child would release.
    * When the interpreter ends, each client that still runs gets ``EXIT_TIMEOUT`` seconds to close. If ``close()`` was
      not called on it, a ``ResourceWarning`` is issued. If a warnings filter makes it an exception (``-W error``), the
      other clients are closed nevertheless, and all exceptions are printed.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import warnings
from typing import Final, Protocol

__all__ = ["register", "unregister"]

EXIT_TIMEOUT: Final = 1.0
"""Seconds that a client may take to close when the interpreter ends."""


class RunningClient(Protocol):
    """The members of a running client that this module and ``wsclient.testing`` use."""

    @property
    def name(self) -> str:
        """The client's name."""

    @property
    def is_ending(self) -> bool:
        """Whether the command to close was given, for example by ``close()``: the client ends without further calls."""

    def after_fork(self) -> None:
        """Called in a forked child: mark this copy of the client as forked and close its file descriptors."""

    def at_exit(self, timeout: float) -> None:
        """Called when the interpreter ends: close the client.

        Args:
            timeout: seconds it may take.
        """


_log = logging.getLogger("wsclient")
_running_clients: dict[int, RunningClient] = {}


def register(client: RunningClient) -> None:
    """Add a client to the running clients when it starts."""
    _running_clients[id(client)] = client


def unregister(client: RunningClient) -> None:
    """Remove a client from the running clients when it has ended."""
    _running_clients.pop(id(client), None)


def _after_fork() -> None:
    failed: list[tuple[RunningClient, Exception]] = []
    for client in list(_running_clients.values()):
        try:
            client.after_fork()
        except Exception as error:  # the other clients must still be marked
            failed.append((client, error))
    _running_clients.clear()
    for one, failure in failed:  # not before: logging runs user code, which may raise
        _log.error("%r could not close its file descriptors in a forked child.", one, exc_info=failure)


def _at_exit() -> None:
    raised: list[BaseException] = []
    for client in list(_running_clients.values()):
        try:
            _close_at_exit(client)
        except BaseException as error:  # the other clients must still be closed
            raised.append(error)
    for other in raised[1:]:
        with contextlib.suppress(Exception):  # the hook may be the user's
            sys.excepthook(type(other), other, other.__traceback__)
    if raised:
        raise raised[0]  # the interpreter prints it


def _close_at_exit(client: RunningClient) -> None:
    try:
        if not client.is_ending:
            warnings.warn(f"{client!r} was never closed; use it in a with block.", ResourceWarning, stacklevel=1)
    finally:  # a warnings filter may turn the warning into an exception
        client.at_exit(EXIT_TIMEOUT)


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):  # pragma: no branch  (Windows has no fork)
    os.register_at_fork(after_in_child=_after_fork)
