"""A counter for ids that stays above all ids that were used so far."""

from __future__ import annotations

from .._threads.locks import make_reentrant_lock
from .._threads.sections import this_thread

__all__ = ["LARGEST_SAFE_INTEGER", "Numbers"]

LARGEST_SAFE_INTEGER = 2**53 - 1
"""A JavaScript peer can't represent larger integers exactly (RFC 8259 §6), so its reply would have another id."""


class Numbers:
    """A counter that never returns a number twice, nor a number that a caller used as an id. Thread-safe.

    Attributes:
        highest: the highest number that was returned or skipped.
        lock: guards it.
    """

    __slots__ = ("highest", "lock")

    def __init__(self, highest: int = 0) -> None:
        """
        Args:
            highest: the number before the first one that the counter returns.
        """
        # Guards `highest`. It is reentrant: a function that interrupts its holder may encode a message that has an id.
        # The statement that changes `highest` calls no function, so no such function runs half-way through it.
        self.lock = make_reentrant_lock()
        self.highest = highest

    def __reduce__(self) -> tuple[type[Numbers], tuple[int]]:
        return Numbers, (self.highest,)

    def next(self) -> int:
        """The next number: one more than the highest that was returned or skipped."""
        with this_thread.section, self.lock:
            number = self.highest = self.highest + 1
        return number

    def step_over(self, number: float) -> None:
        """Make the counter return only numbers above this one.

        Args:
            number: an id of a caller. An id above ``LARGEST_SAFE_INTEGER`` is ignored: otherwise all numbers after it
                would be above this limit too. The counter exceeds the limit only after an id that is equal to it.
        """
        with this_thread.section, self.lock:
            if self.highest < number <= LARGEST_SAFE_INTEGER:
                self.highest = int(number)  # 7.0 counts too: the reply to it may have the id 7
