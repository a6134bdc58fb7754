"""Assigns ids to requests after the client has begun to renew a connection: it may then have two connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._threads.locks import make_lock
from .._threads.sections import this_thread

if TYPE_CHECKING:
    from ..protocols import Protocol

__all__ = ["SharedIds"]


class SharedIds:
    """Gets the ids for several connections from one protocol object; one thread at a time calls ``new_id``.

    While there is one connection, its write lock ensures this. With two connections, two threads may assign ids at the
    same moment, and ``Protocol.new_id`` need not permit that. Thread-safe.
    """

    __slots__ = ("_lock", "_protocol")

    def __init__(self, protocol: Protocol) -> None:
        """
        Args:
            protocol: the first protocol object of the client.
        """
        # Guards the call of `new_id`. Its holder also holds a write lock, acquired before; it acquires no other lock.
        self._lock = make_lock()
        self._protocol = protocol

    def new_id(self) -> Any:
        """See ``Protocol.new_id``."""
        with this_thread.section, self._lock:
            return self._protocol.new_id()

    def _reserve_id(self, id: Any) -> None:
        """See ``Protocol._reserve_id``."""
        self._protocol._reserve_id(id)
