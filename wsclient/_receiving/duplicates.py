"""Finds the messages of one subscription that both connections of a renewal deliver, by ``identity=``. I/O thread only.

A subscription has one ``Duplicates``, which its feeds share. It records identities only while a message may come twice:

=========== ==========================================================================================================
``IDLE``    One connection delivers. Nothing is recorded.
``OPENING`` A second connection is being opened. A server that sends without a request may send the same messages on it
            before it takes over, so the identities of the messages of the present connection are recorded.
``OVERLAP`` The second connection has taken over, and the replaced one still delivers. The identities of both are
            recorded.
``AFTER``   The replaced connection has ended. An identity is remembered until the new connection delivers it, for at
            most ``DUPLICATES_AFTER`` seconds.
=========== ==========================================================================================================
"""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Callable
from typing import Any, Final

__all__ = ["Duplicates"]

DUPLICATES_AFTER: Final = 10.0
"""For how many seconds after the end of a replaced connection the new one may still deliver messages that the old one
has already delivered, because the network or the server of the new connection is slower. The same as the default of
``Renew.overlap``."""


class _Phase(enum.Enum):
    """See the module's docstring."""

    IDLE = enum.auto()
    OPENING = enum.auto()
    OVERLAP = enum.auto()
    AFTER = enum.auto()


class Duplicates:
    """The identities of the messages that a subscription has delivered while two connections exist."""

    __slots__ = ("_forgets_at", "_identity", "_phase", "_seen")

    def __init__(self, identity: Callable[[Any], Any]) -> None:
        """
        Args:
            identity: the caller's function, which returns the identity of a message.
        """
        self._identity = identity
        self._phase = _Phase.IDLE
        self._seen: dict[Any, bool] = {}  # True: only the replaced connection has delivered it so far
        self._forgets_at = math.inf  # when the identities may be forgotten

    def opening(self) -> None:
        """A second connection is being opened."""
        # Identities of an earlier renewal stay: their messages may still come again. If this attempt fails, they are
        # forgotten too.
        self._phase = _Phase.OPENING
        self._forgets_at = math.inf

    def opening_ended(self, *, has_taken_over: bool) -> None:
        """The second connection could not be opened, or is now the only one (``has_taken_over``: the present one was
        lost).
        """
        if self._phase is _Phase.OPENING and has_taken_over:
            self.replaced_ended()
        elif self._phase is _Phase.OPENING:
            self._forget()  # otherwise the identities would become more with each attempt

    def overlap_began(self) -> None:
        """The second connection is about to take over."""
        self._phase = _Phase.OVERLAP
        self._forgets_at = math.inf

    def replaced_ended(self) -> None:
        """The replaced connection delivers no further messages."""
        self._phase = _Phase.AFTER
        self._seen = {identity: True for identity, is_awaited in self._seen.items() if is_awaited}
        self._forgets_at = time.monotonic() + DUPLICATES_AFTER

    def is_first(self, message: Any, *, is_replaced: bool) -> bool:
        """Return whether no message with this identity was delivered since the renewal began.

        Args:
            message: a message that a connection has delivered.
            is_replaced: whether another connection has taken over from that one.

        Raises:
            BaseException: raised by the caller's function.
        """
        if self._phase is _Phase.IDLE:
            return True
        if time.monotonic() > self._forgets_at:
            self._forget()
            return True
        identity = self._identity(message)
        is_first = identity not in self._seen
        if self._phase is _Phase.AFTER:
            self._seen.pop(identity, None)
        elif is_replaced or self._phase is _Phase.OPENING:
            self._seen.setdefault(identity, True)
        else:
            self._seen[identity] = False
        return is_first

    def _forget(self) -> None:
        self._phase = _Phase.IDLE
        self._seen = {}
        self._forgets_at = math.inf
