"""The client's state: every transition, and every way to wait for one.

The waits need no second thread here: a wait reads the remaining time of its deadline when it begins, so the deadline
can change the state at that moment.
"""

import functools
import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsclient._models import State
from wsclient._threads.state import FINAL, MOVES, StateCell, reachable
from wsclient._threads.waiting import Deadline

from ..support import LONG

LEGAL = {
    "NEW": "CONNECTING CLOSED",
    "CONNECTING": "OPEN WAITING CLOSING CLOSED FAILED",
    "OPEN": "CONNECTING WAITING CLOSING CLOSED FAILED",
    "WAITING": "CONNECTING CLOSING CLOSED FAILED",
    "CLOSING": "CLOSED",
    "CLOSED": "",
    "FAILED": "",
}
PAIRS = list(itertools.product(State, State))
FOREVER = Deadline(None)
NOW = Deadline(0.0)


def legal(here, to):
    return to.name in LEGAL[here.name].split()


def cell_at(state):
    cell = StateCell()
    cell.current = state
    return cell


def names(pair):
    return pair.name


class NoWaiting(Deadline):
    """A deadline that fails the test if it is waited for."""

    def __init__(self):
        super().__init__(None)

    def left(self, now):
        raise AssertionError("it waited")


class Moves(Deadline):
    """At each wait, the cell makes the next of these transitions."""

    def __init__(self, cell, *moves):
        super().__init__(time.monotonic() + LONG)
        self.cell = cell
        self.moves = list(moves)

    def left(self, now):
        if self.moves:
            self.cell.move(self.moves.pop(0))
        return super().left(now)


# --- the table --------------------------------------------------------------------------------------------------------


def test_a_client_is_new_initially():
    cell = StateCell()
    assert cell.current is State.NEW
    assert cell.error is None


def test_a_transition_in_the_table_is_made():
    for here, to in [pair for pair in PAIRS if legal(*pair)]:
        cell = cell_at(here)
        assert cell.move(to) is True
        assert cell.current is to


@pytest.mark.parametrize(
    ("here", "to"),
    [(here, to) for here, to in PAIRS if here is not to and not legal(here, to) and here not in FINAL],
    ids=names,
)
def test_a_transition_not_in_the_table_is_an_error_and_changes_nothing(here, to):
    cell = cell_at(here)
    with pytest.raises(RuntimeError, match=f"^The client can't go from {here} to {to}; please report this"):
        cell.move(to, OSError("not to be kept"))
    assert cell.current is here
    assert cell.error is None
    assert cell.move(State.CLOSED)


@pytest.mark.parametrize(("here", "to"), [pair for pair in PAIRS if pair[0] in FINAL], ids=names)
def test_a_final_state_does_not_change(here, to):
    cell = cell_at(here)
    assert cell.move(to, OSError("not to be kept")) is False
    assert cell.current is here
    assert cell.error is None


@pytest.mark.parametrize("state", [state for state in State if state not in FINAL])
def test_a_transition_to_the_present_state_changes_nothing(state):
    cell = cell_at(state)
    assert cell.move(state, OSError("not to be kept")) is True
    assert cell.current is state
    assert cell.error is None


def test_the_final_states_have_no_successor():
    assert {State.CLOSED, State.FAILED} == FINAL == {state for state in State if not MOVES[state]}


@given(st.lists(st.sampled_from(State), max_size=12))
def test_any_sequence_of_transitions_follows_the_table(walk):
    cell, here = StateCell(), State.NEW
    for to in walk:
        if here in FINAL:
            assert cell.move(to) is False
        elif to is here or legal(here, to):
            assert cell.move(to) is True
            here = to
        else:
            with pytest.raises(RuntimeError):
                cell.move(to)
        assert cell.current is here


def test_the_reason_is_kept():
    cell, error = cell_at(State.OPEN), OSError("down")
    cell.move(State.FAILED, error)
    assert cell.error is error


def test_a_transition_without_a_reason_keeps_the_last_one():
    cell, error = cell_at(State.CONNECTING), OSError("down")
    cell.move(State.WAITING, error)
    cell.move(State.CONNECTING)
    assert cell.error is error


def test_a_later_reason_replaces_an_earlier_one():
    cell, error = cell_at(State.CONNECTING), OSError("down again")
    cell.move(State.WAITING, OSError("down"))
    cell.move(State.FAILED, error)
    assert cell.error is error


# --- reachable states -------------------------------------------------------------------------------------------------


@functools.cache
def everything_after(start):
    """By brute force: add the successors, as many times as there are states."""
    ends = {start}
    for _ in State:
        ends |= {goal for goal in State for end in ends if legal(end, goal)}
    return ends


@pytest.mark.parametrize("start", State, ids=names)
def test_the_reachable_states_are_those_of_all_paths(start):
    for goal in State:
        assert reachable(start, goal) is (goal in everything_after(start))


# --- waiting for a state ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", State, ids=names)
def test_waiting_for_the_present_state_returns_at_once(state):
    assert cell_at(state).wait_for(state, NoWaiting()) is True
    assert cell_at(state).wait_for(state, NOW) is True


def test_waiting_for_an_unreachable_state_returns_at_once():
    for here, goal in [pair for pair in PAIRS if pair[1] not in everything_after(pair[0])]:
        assert cell_at(here).wait_for(goal, NoWaiting()) is False


def test_waiting_ends_at_the_deadline():
    assert StateCell().wait_for(State.OPEN, NOW) is False
    assert StateCell().wait_for(State.OPEN, Deadline(time.monotonic() + 0.01)) is False


def test_waiting_ends_when_the_state_is_reached():
    cell = cell_at(State.CONNECTING)
    assert cell.wait_for(State.OPEN, Moves(cell, State.OPEN)) is True


def test_waiting_continues_through_other_states():
    cell = StateCell()
    ways = Moves(cell, State.CONNECTING, State.WAITING, State.CONNECTING, State.OPEN)
    assert cell.wait_for(State.OPEN, ways) is True
    assert ways.moves == []


def test_waiting_ends_when_the_state_becomes_unreachable():
    cell = StateCell()
    assert cell.wait_for(State.OPEN, Moves(cell, State.CONNECTING, State.CLOSING)) is False
    assert cell.current is State.CLOSING


def test_waiting_for_one_final_state_ends_with_the_other():
    cell = cell_at(State.OPEN)
    assert cell.wait_for(State.CLOSED, Moves(cell, State.FAILED)) is False


# --- waiting while in some states -------------------------------------------------------------------------------------

BUSY = frozenset({State.CONNECTING, State.WAITING})


def test_another_state_is_returned_at_once():
    assert cell_at(State.OPEN).wait_while(BUSY, NoWaiting()) is State.OPEN


def test_the_state_that_ends_the_wait_is_returned():
    cell = cell_at(State.CONNECTING)
    assert cell.wait_while(BUSY, Moves(cell, State.WAITING, State.CONNECTING, State.OPEN)) is State.OPEN


def test_at_the_deadline_the_present_state_is_returned():
    assert cell_at(State.WAITING).wait_while(BUSY, NOW) is State.WAITING


class MovesAfterCheck(frozenset):
    """The state changes directly after the first check, before the wait begins."""

    def __contains__(self, state):
        found = super().__contains__(state)
        self.happens()
        return found


def test_a_transition_between_the_check_and_the_wait_prevents_the_wait():
    cell = cell_at(State.CONNECTING)
    states = MovesAfterCheck(BUSY)
    states.happens = lambda: cell.move(State.OPEN)
    assert cell.wait_while(states, NoWaiting()) is State.OPEN
