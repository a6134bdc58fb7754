"""The client's state: the table of transitions, and the wait for a state.

Guarantees:
    * Only the supervisor, on the I/O thread, changes the state, with two exceptions. If user code blocks
      the I/O thread, ``close()`` changes the state to CLOSED on the caller's thread. A client that was never
      started has no I/O thread, so another thread changes its state to CLOSED. If two threads call ``move`` with a
      final state, the second call returns False.
    * CLOSED and FAILED are final.
    * Reading ``current`` takes no lock.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .._models import State
from .locks import make_lock
from .sections import this_thread
from .waiting import Notifier

if TYPE_CHECKING:
    from .waiting import Deadline

__all__ = ["FINAL", "MOVES", "StateCell", "reachable"]

MOVES: dict[State, frozenset[State]] = {
    State.NEW: frozenset({State.CONNECTING, State.CLOSED}),
    State.CONNECTING: frozenset({State.OPEN, State.WAITING, State.CLOSING, State.CLOSED, State.FAILED}),
    State.OPEN: frozenset({State.CONNECTING, State.WAITING, State.CLOSING, State.CLOSED, State.FAILED}),
    State.WAITING: frozenset({State.CONNECTING, State.CLOSING, State.CLOSED, State.FAILED}),
    State.CLOSING: frozenset({State.CLOSED}),
    State.CLOSED: frozenset(),
    State.FAILED: frozenset(),
}
"""For each state, the states that may follow it."""

FINAL = frozenset({State.CLOSED, State.FAILED})
"""The states that no other state follows."""


def reachable(start: State, goal: State) -> bool:
    """Whether ``goal`` is ``start``, or can follow it directly or through other states."""
    seen = {start}
    ahead = [start]
    while ahead:
        state = ahead.pop()
        if state is goal:
            return True
        ahead.extend(MOVES[state] - seen)
        seen |= MOVES[state]
    return False


class StateCell:
    """The client's present state, and the reason why it failed or closed. Thread-safe.

    Attributes:
        current: the present state; reading it takes no lock.
        error: why the client failed or closed; None if there is no error.
    """

    __slots__ = ("_changed", "_lock", "current", "error")

    def __init__(self) -> None:
        # Guards the change from one state to the next.
        self._lock = make_lock()
        self._changed = Notifier()
        self.current = State.NEW
        self.error: BaseException | None = None

    def move(self, to: State, error: BaseException | None = None) -> bool:
        """Change to another state and wake all threads that wait for a state.

        Args:
            to: the next state; the present state is accepted and changes nothing.
            error: the reason; stored in ``error`` unless it is None.

        Returns:
            False if the present state is final, so that nothing changed.

        Raises:
            RuntimeError: the table has no such transition, which is a defect of this package.
        """
        with this_thread.section, self._lock:
            here = self.current
            if here in FINAL:
                return False
            legal = to in MOVES[here]
            if legal:
                if error is not None:
                    self.error = error
                self.current = to
        if not legal and to is not here:
            raise RuntimeError(f"The client can't go from {here} to {to}; please report this.")
        self._changed.announce()
        return True

    def wait_while(self, states: frozenset[State], deadline: Deadline) -> State:
        """Wait until the state is none of ``states``, or until the deadline passes.

        Returns:
            The state at that moment.
        """
        while (state := self.current) in states:
            with self._changed.watch() as latch:
                state = self.current
                if state not in states or not latch.wait(deadline):
                    break
        return state

    def wait_for(self, goal: State, deadline: Deadline) -> bool:
        """Wait for one state.

        Returns:
            True if the client is in this state. False if the deadline passed, or immediately if the client can no
            longer reach this state.
        """
        while (state := self.current) is not goal:
            if not reachable(state, goal) or deadline.passed(time.monotonic()):
                return False
            self.wait_while(frozenset({state}), deadline)
        return True
