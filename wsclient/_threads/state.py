"""The client's state: which moves are legal, waiting for one, and the error for calls that it refuses.

Guarantees:
    * The supervisor is the only one who moves the state, with one exception: a ``close()`` whose background thread is
      stuck in user code moves it to CLOSED itself. Whoever comes second is told so by ``move``.
    * CLOSED and FAILED are final.
    * Reading ``current`` takes no lock.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .._errors import ClientClosed, ClientNotStarted, again
from .._models import State
from .locks import make_lock
from .waiting import Signal

if TYPE_CHECKING:
    from .deadline import Deadline

__all__ = ["FINAL", "MOVES", "StateCell", "closed_error", "reachable"]

MOVES: dict[State, frozenset[State]] = {
    State.NEW: frozenset({State.CONNECTING, State.CLOSED}),
    State.CONNECTING: frozenset({State.OPEN, State.WAITING, State.CLOSING, State.CLOSED, State.FAILED}),
    State.OPEN: frozenset({State.CONNECTING, State.WAITING, State.CLOSING, State.CLOSED, State.FAILED}),
    State.WAITING: frozenset({State.CONNECTING, State.CLOSING, State.CLOSED, State.FAILED}),
    State.CLOSING: frozenset({State.CLOSED}),
    State.CLOSED: frozenset(),
    State.FAILED: frozenset(),
}
"""From each state, the states that may follow."""

FINAL = frozenset({State.CLOSED, State.FAILED})


def reachable(start: State, goal: State) -> bool:
    """Whether ``goal`` is ``start`` or may still follow it."""
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
    """The present state, and why the client failed or closed."""

    __slots__ = ("_changed", "_lock", "current", "error")

    def __init__(self) -> None:
        # Guards the step from one state to the next.
        self._lock = make_lock()
        self._changed = Signal()
        self.current = State.NEW
        self.error: BaseException | None = None

    def move(self, to: State, error: BaseException | None = None) -> bool:
        """Go to another state and wake all who wait.

        Args:
            to: the next state; the present one is accepted and changes nothing.
            error: the reason, kept for those who come later.

        Returns:
            False if the state is final already, so that nothing changed.

        Raises:
            RuntimeError: the table has no such move; a defect of this package.
        """
        with self._lock:
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
        """Wait until the state is none of ``states`` or the deadline passes; returns the state then seen."""
        while (state := self.current) in states:
            with self._changed.watch() as latch:
                state = self.current
                if state not in states or not latch.wait(deadline):
                    break
        return state

    def wait_for(self, goal: State, deadline: Deadline) -> bool:
        """Wait for one state; at once False where it can't come any more."""
        while (state := self.current) is not goal:
            if not reachable(state, goal) or deadline.passed(time.monotonic()):
                return False
            self.wait_while(frozenset({state}), deadline)
        return True


def closed_error(name: str, state: StateCell, call: str) -> ClientClosed:
    """The error for a call that came too early or too late: how the client stands, and what to do.

    Args:
        name: the client's.
        state: the client's.
        call: what was called, for the message.
    """
    now, cause = state.current, state.error
    if now is State.NEW:
        return ClientNotStarted(
            f"{call}: the client {name!r} does not run yet; call start() or use it in a with block."
        )
    how = f"is {now.value}" if cause is None else f"has failed ({cause})"
    error = ClientClosed(f"{call}: the client {name!r} {how}; make a new one.")
    error.__cause__ = None if cause is None else again(cause)
    return error
