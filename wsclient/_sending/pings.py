"""Pings that were sent and not answered yet.

Guarantees:
    * The thread that holds the write lock adds a ping. The I/O thread removes the pings that a pong answers. A thread
      that no longer waits removes its own ping if more than ``MAX_PINGS`` are kept. Each of these steps is one ``dict``
      operation, so there is no lock.
    * The pong of a ping is recognised for as long as a thread waits for it, however many others are unanswered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from .message import Mark

__all__ = ["MAX_PINGS", "Answered", "Pings"]

MAX_PINGS: Final = 4096
"""How many pings are remembered, apart from those whose pong a thread waits for. They are remembered because their
pongs prove deliveries too. While urgent messages (such as keepalive pings) are being written, the limit is twice this.
"""


class _Ping(NamedTuple):
    end: int
    taken_at: float
    mark: Mark | None


class Answered(NamedTuple):
    """What a pong proves.

    Attributes:
        end: the offset up to which everything has arrived.
        seconds: the round trip.
        payloads: the payloads of all pings that it answers.
    """

    end: int
    seconds: float
    payloads: list[bytes]


class Pings:
    """The unanswered pings of one connection, by payload, in the order of sending."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[bytes, _Ping] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, payload: bytes, end: int, now: float, *, most: int, mark: Mark | None = None) -> None:
        """Add a ping that is being written.

        Args:
            payload: what its pong will repeat.
            end: the offset at which it ends.
            now: the time on the monotonic clock.
            most: a ping without a mark is not added if this many are unanswered; its pong is then not recognised.
            mark: receives the round trip.
        """
        if mark is not None or len(self._waiting) < most:
            self._waiting[payload] = _Ping(end, now, mark)

    def answer(self, payload: bytes, now: float) -> Answered | None:
        """Remove the pings that a pong answers: the one with its payload, and every earlier one (RFC 6455 §5.5.3).

        Returns:
            What it proves; None if it matches no ping.
        """
        ping = self._waiting.get(payload)
        if ping is None:
            return None
        answered: list[bytes] = []
        for known in list(self._waiting):  # pragma: no branch  (unless `forget` removes it at this moment)
            earlier = self._waiting.pop(known, None)
            if earlier is not None:  # pragma: no branch  (likewise)
                answered.append(known)
                if earlier.mark is not None:
                    earlier.mark.round_trip = now - earlier.taken_at
            if known == payload:
                break
        return Answered(ping.end, now - ping.taken_at, answered)

    def forget(self, payload: bytes) -> None:
        """Called when no thread waits for this pong any more. Forget the ping if more than ``MAX_PINGS`` are kept."""
        if len(self._waiting) > MAX_PINGS:
            self._waiting.pop(payload, None)
