"""Who writes a message that nobody waits for: its sender, or the I/O thread together with the next ones.

Guarantees:
    * ``allows`` takes no lock and never waits. Threads that ask in the same moment may be allowed one message too many
      or too few; both ways it is written at once.

A ``send()`` of its own costs a system call of 5 µs and more for each message, however small. A thread that sends for
itself has the least latency, so it does, as long as messages come singly or in short bursts. In a flood one write takes
many: measured with 128 bytes, 12 µs a message become 4.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BURST", "GAP", "Pace"]

BURST: Final = 32
"""Messages in a row that their senders write for themselves."""

GAP: Final = 50e-6
"""Seconds from one to the next at which they still do so for ever."""

_FULL: Final = (BURST + 0.5) * GAP  # half a message for what floats lose


class Pace:
    """A leaky bucket: each message fills it by ``GAP`` and time empties it; whoever finds it full does not write."""

    __slots__ = ("_empty_at",)

    def __init__(self) -> None:
        self._empty_at = 0.0

    def allows(self, now: float) -> bool:
        """Whether a message that is sent now should be written by its sender."""
        empty_at = max(self._empty_at, now) + GAP
        level = empty_at - now
        self._empty_at = empty_at if level < 2 * _FULL else now + 2 * _FULL  # soon calm again when the flood ends
        return level <= _FULL
