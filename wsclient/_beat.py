"""The message protocol's own keepalive: a message every so often, whose answer may be required. I/O thread only."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from . import _requests
from ._clock import Deadline
from ._errors import ProtocolError, RequestTimeout
from .protocols import Request as Wrapped

if TYPE_CHECKING:
    from ._core import Core
    from ._wire import Wire

__all__ = ["Beat"]


class Beat:
    """The heartbeat of one connection.

    Attributes:
        next_at: when the next one is due; infinity if there is none.
        missed: whether an answer did not come in time.
    """

    __slots__ = ("_core", "missed", "next_at")

    def __init__(self, core: Core) -> None:
        """
        Args:
            core: the client.
        """
        self._core = core
        self.next_at = math.inf
        self.missed = False

    def begin(self, now: float) -> None:
        """The connection is open."""
        if self._core.protocol.heartbeat is not None:
            self.next_at = now + self._core.protocol.heartbeat[0]

    def look(self, wire: Wire, now: float) -> None:
        """Send one if it is due."""
        heartbeat = self._core.protocol.heartbeat
        if heartbeat is None or now < self.next_at:
            return
        seconds, make = heartbeat
        self.next_at = now + seconds
        try:
            self._send(wire, make(), now)
        except Exception as cause:
            error = ProtocolError(f"A heartbeat of the message protocol could not be made: {cause}.")
            error.__cause__ = cause
            self._core.hooks.post_error(error)

    def settle(self, value: Any, error: BaseException | None) -> None:
        """An answer came, or none."""
        self.missed = self.missed or isinstance(error, RequestTimeout)

    def _send(self, wire: Wire, message: Any, now: float) -> None:
        protocol, number = self._core.protocol, wire.passage.number
        if not isinstance(message, Wrapped):
            wire.send_first(_requests.plain(self._core, message, bound=number))
            return
        assert protocol.heartbeat is not None
        patience = self._core.settings.line.ping_timeout or protocol.heartbeat[0]
        request = _requests.make(protocol, message.message, Deadline.after(patience, now), bound=number)
        request.waiter = self
        self._core.pending.add(request, timed=True)
        wire.send_first(request)
