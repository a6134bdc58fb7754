"""Ids that count upwards, above all that have gone by."""

from __future__ import annotations

from .._threads.locks import make_lock

__all__ = ["LARGEST_SAFE_INTEGER", "Numbers"]

LARGEST_SAFE_INTEGER = 2**53 - 1
"""Above it a JavaScript peer can't echo an id exactly (RFC 8259 §6)."""


class Numbers:
    """A counter. Thread-safe: a thread that sends an id of the caller's steps over it."""

    __slots__ = ("_highest", "_lock")

    def __init__(self, highest: int = 0) -> None:
        """
        Args:
            highest: the first number is one more.
        """
        # Guards the highest number that was given or stepped over.
        self._lock = make_lock()
        self._highest = highest

    def __reduce__(self) -> tuple[type[Numbers], tuple[int]]:
        return Numbers, (self._highest,)

    def next(self) -> int:
        """One more than the highest."""
        with self._lock:
            number = self._highest = self._highest + 1
        return number

    def step_over(self, number: float) -> None:
        """From now on give only higher ones; what no peer could echo exactly is let be."""
        with self._lock:
            if self._highest < number <= LARGEST_SAFE_INTEGER:
                self._highest = int(number)  # 7.0 too: its reply may say 7
