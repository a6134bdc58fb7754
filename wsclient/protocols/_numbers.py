"""A counter for ids that stays above all ids that were used so far."""

from __future__ import annotations

from .._threads.locks import make_reentrant_lock
from .._threads.sections import this_thread

__all__ = ["LARGEST_SAFE_INTEGER", "Numbers", "SharedNumbers"]

LARGEST_SAFE_INTEGER = 2**53 - 1
"""A JavaScript peer can't represent larger integers exactly (RFC 8259 §6), so its reply would have another id."""


class Numbers:
    """A counter that never returns a number twice, nor a number that a caller has used as an id before.

    One thread at a time calls ``next``, as for ``Protocol.new_id``, so ``next`` needs no lock. Any number of threads
    may call ``step_over`` meanwhile.

    Attributes:
        given: the highest number that ``next`` has returned.
        passed: the highest number that was stepped over.
    """

    __slots__ = ("_lock", "given", "passed")

    def __init__(self, given: int = 0) -> None:
        """
        Args:
            given: the number before the first one that the counter returns.
        """
        # Guards changes of `passed`, in `SharedNumbers` also those of `given`. It is reentrant: a function that
        # interrupts its holder may encode a message that has an id. The holder calls no function between its comparison
        # and its assignment, so no such function runs there.
        self._lock = make_reentrant_lock()
        self.given = given
        self.passed = 0

    def __reduce__(self) -> tuple[type[Numbers], tuple[int]]:
        return Numbers, (max(self.given, self.passed),)

    def next(self) -> int:
        """The next number: one more than the highest that was returned or stepped over."""
        # Not max(): a function may interrupt a call, and ask for a number too.
        number = self.given = (self.given if self.given > self.passed else self.passed) + 1  # noqa: FURB136
        return number

    def step_over(self, number: float) -> None:
        """Make the counter return only numbers above this one.

        Args:
            number: an id of a caller. An id above ``LARGEST_SAFE_INTEGER`` is ignored: otherwise all numbers after it
                would be above this limit too. The counter exceeds the limit only after an id that is equal to it.
        """
        if self.passed < number <= LARGEST_SAFE_INTEGER:
            whole = int(number)  # 7.0 counts too: the reply to it may have the id 7
            with this_thread.section, self._lock:
                # Compared again: another thread may have changed it. Not max(), see `next`.
                self.passed = whole if self.passed < whole else self.passed  # noqa: FURB136


class SharedNumbers(Numbers):
    """A counter whose ``next`` any number of threads may call."""

    __slots__ = ()

    def __reduce__(self) -> tuple[type[Numbers], tuple[int]]:
        return SharedNumbers, super().__reduce__()[1]

    def next(self) -> int:
        """The next number; no other call returns it."""
        with this_thread.section, self._lock:
            return super().next()
