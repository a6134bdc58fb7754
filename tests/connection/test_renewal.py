"""When a renewal is due, and the table of its states; no client and no clock."""

import itertools
import math

import pytest

from wsclient import Renew
from wsclient._connection.renewal import TRANSITIONS, Event, Renewal, RenewalPhase

from ..support.logs import make_log


def make(fraction=0.5, **options):
    return Renewal(Renew(**options), make_log()[0], lambda: fraction)


def begun(renewal):
    """The renewal, after its attempt has begun."""
    renewal.move(Event.BEGUN)
    return renewal


# --- the times -------------------------------------------------------------------------------------------------------


def test_without_a_trigger_nothing_is_ever_due():
    renewal = make()
    renewal.opened(100.0, [])
    assert not renewal.is_used
    assert renewal.next_at() == math.inf
    assert not renewal.is_due(1e9)


def test_a_connection_is_renewed_every_so_many_seconds_after_its_opening():
    renewal = make(every=50)
    renewal.opened(100.0, [])
    assert renewal.is_used
    assert renewal.next_at() == 150.0
    assert not renewal.is_due(149.9)
    assert renewal.is_due(150.0)
    assert renewal.trigger.reason == "every"


@pytest.mark.parametrize(("fraction", "at"), [(0.0, 190.0), (0.5, 200.0), (0.75, 205.0)])
def test_jitter_varies_every_in_both_directions(fraction, at):
    renewal = make(fraction, every=100, jitter=0.1)
    renewal.opened(100.0, [])
    assert renewal.next_at() == pytest.approx(at)


@pytest.mark.parametrize(("fraction", "at"), [(0.0, 640.0), (0.5, 613.0), (1.0, 586.0)])
def test_jitter_only_shortens_the_time_until_an_expiry(fraction, at):
    renewal = make(fraction, before_expiry=60, jitter=0.1)
    renewal.opened(200.0, [(100.0, 600.0)])
    assert renewal.next_at() == pytest.approx(at)


@pytest.mark.parametrize(("expires_in", "at"), [(600.0, 640.0), (120.0, 160.0), (100.0, 150.0), (2.0, 101.0)])
def test_before_expiry_is_at_most_half_of_expires_in(expires_in, at):
    renewal = make(before_expiry=60, jitter=0)
    renewal.opened(100.0, [(100.0, expires_in)])
    assert renewal.next_at() == at


def test_the_first_of_several_moments_counts():
    renewal = make(every=1000, jitter=0)
    renewal.opened(100.0, [(100.0, 600.0), (100.0, 300.0)])
    assert renewal.next_at() == 340.0
    assert renewal.is_due(340.0)
    assert renewal.trigger.reason == "expiry"


def test_each_connection_has_its_own_moments():
    renewal = make(every=50, jitter=0)
    renewal.opened(100.0, [(100.0, 20.0)])
    renewal.move(Event.LOST)
    assert renewal.next_at() == math.inf
    renewal.move(Event.OPENED)
    renewal.opened(200.0, [])
    assert renewal.next_at() == 250.0


# --- a quiet moment --------------------------------------------------------------------------------------------------


def test_when_is_asked_at_most_once_a_second_until_it_returns_true():
    answers = iter([False, False, True])
    asked = []

    def when():
        asked.append(now)
        return next(answers)

    renewal = make(when=when)
    renewal.order("by hand", 100.0)
    for now in itertools.count(100.0, 0.25):
        if renewal.is_due(now):
            break
        assert now < renewal.next_at() <= now + 1.0
    assert asked == [100.0, 101.0, 102.0]


@pytest.mark.parametrize(
    ("latest", "expires_at", "at"),
    [(5.0, math.inf, 105.0), (None, math.inf, 160.0), (None, 130.0, 130.0), (5.0, 130.0, 105.0), (0.0, 130.0, 100.0)],
)
def test_latest_limits_the_wait_for_a_quiet_moment(latest, expires_at, at):
    renewal = make(when=bool, latest=latest)
    renewal.order("why", 100.0, expires_at=expires_at)
    assert renewal.trigger.latest == at
    assert not renewal.is_due(at - 0.1)
    assert renewal.is_due(at)


@pytest.mark.parametrize(("latest", "at"), [(None, 140.0), (100.0, 110.0 + 100.0), (10.0, 120.0)])
def test_an_expiry_ends_the_wait_for_a_quiet_moment_that_another_trigger_began(latest, at):
    renewal = make(when=bool, latest=latest, every=10, before_expiry=5, jitter=0)
    renewal.opened(100.0, [(100.0, 40.0)])
    now = 110.0
    while not renewal.is_due(now):
        assert now < renewal.next_at() <= at
        now = renewal.next_at()
    assert now == at
    assert renewal.trigger.reason == "every"


def test_a_later_trigger_changes_the_url_of_a_renewal_that_waits():
    renewal = make(when=bool)
    renewal.order("on", 100.0, url="ws://a/")
    renewal.order("by hand", 101.0)
    renewal.order("on", 102.0, url="ws://b/")
    assert renewal.trigger == ("on", 160.0, "ws://b/")


def test_a_when_that_raises_counts_as_true_and_is_logged_once(caplog):
    def when():
        raise LookupError("mine")

    renewal = make(when=when)
    for _ in range(3):
        renewal.order("why", 0.0)
        assert renewal.is_due(0.0)
        renewal.move(Event.CANCELLED)
    assert sum("Renew.when raised LookupError" in record.getMessage() for record in caplog.records) == 1


# --- merging ---------------------------------------------------------------------------------------------------------


def test_a_trigger_during_a_renewal_is_merged_into_it():
    renewal = make()
    renewal.order("first", 0.0)
    renewal.order("second", 1.0)
    assert renewal.is_due(1.0)
    begun(renewal).order("third", 2.0)
    assert renewal.phase is RenewalPhase.ATTEMPT
    assert renewal.trigger.reason == "first"
    renewal.move(Event.FAILED)
    renewal.order("fourth", 3.0)
    assert renewal.phase is RenewalPhase.BACKING_OFF
    assert renewal.trigger.reason == "first"


def test_a_trigger_while_the_old_connection_is_served_waits_for_its_end():
    renewal = make()
    renewal.order("first", 0.0)
    begun(renewal).move(Event.SWITCHED)
    renewal.order("second", 1.0)
    renewal.order("third", 1.0)
    assert not renewal.is_due(2.0)
    renewal.move(Event.OVERLAP_ENDED)
    assert renewal.is_due(2.0)
    assert renewal.trigger.reason == "second"


def test_a_url_is_used_for_one_attempt():
    renewal = make()
    renewal.order("first", 0.0)
    assert renewal.take_url() is None
    renewal.order("on", 0.0, url="ws://other")
    assert renewal.take_url() == "ws://other"
    assert renewal.take_url() is None
    assert renewal.trigger.reason == "first"


# --- attempts --------------------------------------------------------------------------------------------------------


def test_after_a_failed_attempt_the_next_one_is_due_after_its_delay():
    renewal = make()
    renewal.order("why", 0.0)
    begun(renewal).retry_at = 7.0
    renewal.move(Event.FAILED)
    assert renewal.next_at() == 7.0
    assert not renewal.is_due(6.9)
    assert renewal.is_due(7.0)
    begun(renewal)
    assert not renewal.is_due(8.0)


def test_after_a_refusal_only_a_command_begins_another_attempt():
    renewal = make(every=10, jitter=0)
    renewal.opened(0.0, [])
    assert renewal.is_due(10.0)
    begun(renewal).move(Event.REFUSED)
    assert not renewal.is_due(1000.0)
    assert renewal.next_at() == math.inf
    renewal.order("by hand", 1000.0)
    assert renewal.is_due(1000.0)


@pytest.mark.parametrize("phase", RenewalPhase)
def test_a_pair_that_the_table_does_not_have_raises(phase):
    for event in set(Event) - set(TRANSITIONS[phase]):
        renewal = make()
        renewal.phase = phase
        with pytest.raises(RuntimeError, match="report this"):
            renewal.move(event)
        assert renewal.phase is phase


def test_every_phase_can_be_reached_and_left():
    reached = {after for row in TRANSITIONS.values() for after in row.values()}
    assert reached == set(RenewalPhase) == set(TRANSITIONS)
    assert all(set(row.values()) - {phase} for phase, row in TRANSITIONS.items())
