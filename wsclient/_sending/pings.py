"""Pings that were sent and not answered yet.

Guarantees:
    * Whoever owns the way out adds, the I/O thread removes; each step is one operation of a ``dict``, so there is no
      lock.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["MAX_PINGS", "Answered", "Pings"]

MAX_PINGS: Final = 4096
"""Unanswered pings of ``flush()`` and ``Delivery.wait()`` whose pongs are still recognised; the keepalive's own come on
top of them, up to as many."""


class _Ping(NamedTuple):
    end: int
    taken_at: float


class Answered(NamedTuple):
    """What a pong proves.

    Attributes:
        end: the offset up to which everything has arrived.
        seconds: the round trip.
        payloads: of all pings that it answers.
    """

    end: int
    seconds: float
    payloads: list[bytes]


class Pings:
    """Those of one connection, by payload and in their order."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[bytes, _Ping] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, payload: bytes, end: int, now: float, *, most: int) -> None:
        """A ping is being written, which ends at that offset; beyond ``most`` its pong will not be recognised."""
        if len(self._waiting) < most:
            self._waiting[payload] = _Ping(end, now)

    def answer(self, payload: bytes, now: float) -> Answered | None:
        """A pong came. It answers the ping with its payload, and every earlier one (RFC 6455 §5.5.3).

        Returns:
            What it proves; None if it matches no ping.
        """
        ping = self._waiting.get(payload)
        if ping is None:
            return None
        answered: list[bytes] = []
        for known in list(self._waiting):
            del self._waiting[known]
            answered.append(known)
            if known == payload:
                break
        return Answered(ping.end, now - ping.taken_at, answered)
