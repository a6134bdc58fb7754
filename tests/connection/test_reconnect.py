"""Whether to reconnect, and when."""

import collections
import gc
import pickle
import random
import threading

import pytest
import tenacity
from hypothesis import given
from hypothesis import strategies as st

from wsclient._connection.reconnect import Reconnect, ReconnectState, check_reconnect, is_fatal, retry_after
from wsclient._errors import (
    ConnectError,
    ConnectionLost,
    HandshakeError,
    ProxyError,
    SessionError,
    TLSError,
    WebSocketClientError,
)
from wsclient._models import Disconnect
from wsclient._rfc6455.handshake import refusal_error
from wsclient._rfc6455.http11 import Headers, Response

from ..support.logs import make_log

RETRIED_STATUSES = (408, 425, 429, *range(500, 512), 200, 204, 301, 302, 307, 599)
FATAL_STATUSES = tuple(status for status in range(400, 500) if status not in (408, 425, 429))
FATAL_CODES = (1002, 1003, 1007, 1008, 1010)
RETRIED_CODES = (1000, 1001, 1004, 1005, 1006, 1009, 1011, 1012, 1013, 1014, 1015, 3000, 3999, 4000, 4999)


def answered(status, **headers):
    lines = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return refusal_error(Response(status, "", Headers(lines), b""))


def lost(initiator="network", code=None, *, uptime=0.0):
    return ConnectionLost("lost", disconnect=Disconnect(initiator, code, "", None, uptime, 0.0))


def begin(reconnect=None, *, opened=True, retry_first=False, urls=1, fresh=False, fatal_codes=()):
    """A reconnect state; by default its first connection has been opened."""
    state = ReconnectState(
        Reconnect() if reconnect is None else reconnect,
        retry_first=retry_first,
        urls=urls,
        credentials_are_fresh=fresh,
        fatal_codes=frozenset(fatal_codes),
        log=make_log()[0],
    )
    if opened:
        state.opened()
    return state


def begin_without_reconnect(*, opened=True, urls=1):
    state = ReconnectState(
        None, retry_first=False, urls=urls, credentials_are_fresh=False, fatal_codes=frozenset(), log=make_log()[0]
    )
    if opened:
        state.opened()
    return state


def fail(state, *errors, now=0.0):
    """The delays after these failed attempts."""
    return [state.attempt_failed(error, now).delay for error in errors]


def fixed(seconds=1.0, **options):
    return Reconnect(wait=tenacity.wait_fixed(seconds), **options)


# --- the option ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"wait": 5}, TypeError, "wait must be a tenacity wait strategy"),
        ({"wait": tenacity.wait_fixed}, TypeError, "wait must be"),
        ({"stop": 5}, TypeError, "stop must be a tenacity stop strategy"),
        ({"stop": tenacity.stop_after_attempt}, TypeError, "stop must be"),
        ({"min_uptime": -1}, ValueError, "min_uptime"),
        ({"min_uptime": float("nan")}, ValueError, "min_uptime"),
        ({"min_uptime": float("inf")}, ValueError, "min_uptime"),
        ({"min_uptime": "5"}, TypeError, "min_uptime"),
        ({"min_uptime": None}, TypeError, "min_uptime"),
        ({"should_retry": True}, TypeError, "should_retry"),
        ({"grace": -1}, ValueError, "grace"),
        ({"grace": float("nan")}, ValueError, "grace"),
        ({"grace": float("inf")}, ValueError, "grace"),
        ({"grace": "5"}, TypeError, "grace"),
        ({"grace": None}, TypeError, "grace"),
    ],
)
def test_a_wrong_option_is_refused_by_name(options, error, text):
    with pytest.raises(error, match=text):
        Reconnect(**options)


def test_a_coroutine_function_is_refused_as_should_retry():
    async def should_retry(error):
        return True

    with pytest.raises(TypeError, match="should_retry"):
        Reconnect(should_retry=should_retry)


def test_any_function_of_the_state_is_accepted_as_a_strategy():
    reconnect = Reconnect(wait=lambda state: 7, stop=lambda state: state.attempt_number > 1, min_uptime=0)
    assert fail(begin(reconnect), OSError(), OSError()) == [7, None]


def test_the_reconnect_option_of_a_client_is_checked():
    reconnect = Reconnect()
    assert check_reconnect("reconnect", reconnect) is reconnect
    assert check_reconnect("reconnect", None) is None
    for wrong in (True, 5, Reconnect, tenacity.wait_fixed(1)):
        with pytest.raises(TypeError, match="reconnect must be"):
            check_reconnect("reconnect", wrong)


# --- the first attempt -----------------------------------------------------------------------------------------------


def test_without_retry_first_only_one_first_attempt_is_made():
    error = ConnectError("refused")
    decision = begin(opened=False).attempt_failed(error, 0.0)
    assert (decision.error, decision.number, decision.delay, decision.orderly) == (error, 1, None, True)


def test_the_first_attempt_tries_each_url_of_a_list_once_without_delay():
    state = begin(opened=False, urls=3)
    errors = [answered(404), OSError("two"), OSError("three")]
    first, second, third = (state.attempt_failed(error, 0.0) for error in errors)
    assert [first.delay, second.delay, third.delay] == [0.0, 0.0, None]
    assert [first.number, second.number, third.number] == [1, 2, 3]
    assert [first.error, second.error] == errors[:2]
    assert third.orderly
    assert isinstance(third.error, ConnectError)
    assert "Gave up after 3 attempts; the last error: three" in str(third.error)
    assert (third.error.attempts, third.error.last, third.error.__cause__) == (3, errors[2], errors[2])


def test_with_retry_first_the_first_failure_is_handled_like_any_other():
    state = begin(fixed(), opened=False, retry_first=True)
    assert fail(state, *[OSError()] * 5) == [1.0] * 5


def test_with_retry_first_a_list_is_tried_completely_before_the_first_delay():
    state = begin(fixed(), opened=False, retry_first=True, urls=3)
    assert fail(state, *[OSError()] * 5) == [0.0, 0.0, 1.0, 1.0, 1.0]


def test_with_retry_first_a_fatal_error_is_a_failure():
    decision = begin(opened=False, retry_first=True).attempt_failed(answered(404), 0.0)
    assert (decision.delay, decision.orderly) == (None, False)


def test_with_retry_first_a_list_has_failed_when_all_its_servers_failed_fatally():
    state = begin(opened=False, retry_first=True, urls=3)
    assert fail(state, *[answered(404)] * 3) == [0.0, 0.0, None]


def test_after_a_first_success_a_list_is_retried_with_delays():
    state = begin(fixed(), opened=False, urls=3)
    fail(state, OSError())
    state.opened()
    assert state.connection_lost(lost(uptime=60), 0.0).delay == 1.0
    assert fail(state, OSError()) == [1.0]


# --- delays ----------------------------------------------------------------------------------------------------------


def test_the_first_retry_comes_at_a_random_time_within_half_a_second():
    delays = [begin().connection_lost(lost(uptime=60), 0.0).delay for _ in range(500)]
    assert 0.0 <= min(delays) < 0.1
    assert 0.4 < max(delays) <= 0.5


def test_the_first_retries_of_a_thousand_clients_are_spread_evenly():
    random.seed(1)  # tenacity uses the generator of the module
    drawn = collections.Counter(int(begin().connection_lost(lost(uptime=60), 0.0).delay / 0.1) for _ in range(1000))
    assert set(drawn) == {0, 1, 2, 3, 4}
    assert 150 < min(drawn.values()) <= max(drawn.values()) < 250


def test_the_maximum_delay_doubles_with_each_failure_up_to_10_seconds_with_full_jitter():
    rows = [fail(begin(), *[OSError()] * 12) for _ in range(300)]
    for number, delays in enumerate(zip(*rows, strict=True)):
        bound = min(10.0, 0.5 * 2**number)
        assert 0.0 <= min(delays) < 0.2 * bound
        assert 0.8 * bound < max(delays) <= bound


@pytest.mark.parametrize(
    ("wait", "delays"),
    [
        (tenacity.wait_none(), [0, 0, 0, 0]),
        (tenacity.wait_fixed(3), [3, 3, 3, 3]),
        (tenacity.wait_incrementing(start=1, increment=2), [1, 3, 5, 7]),
        (tenacity.wait_incrementing(start=3, increment=-2), [3, 1, 0, 0]),
        (tenacity.wait_exponential(multiplier=1, max=5), [1, 2, 4, 5]),
        (tenacity.wait_chain(*map(tenacity.wait_fixed, (1, 5))), [1, 5, 5, 5]),
        (tenacity.wait_fixed(1) + tenacity.wait_incrementing(start=1, increment=1), [2, 3, 4, 5]),
    ],
)
def test_any_wait_strategy_of_tenacity_is_used(wait, delays):
    assert fail(begin(Reconnect(wait=wait)), *[OSError()] * 4) == delays


def test_the_loss_of_a_healthy_connection_is_not_a_failed_attempt():
    state = begin(Reconnect(wait=tenacity.wait_incrementing(start=1, increment=1)))
    decision = state.connection_lost(lost(uptime=5.0), 0.0)
    assert (decision.number, decision.delay) == (0, 1)
    assert fail(state, OSError(), OSError()) == [1, 2]


def test_attempts_are_counted_from_zero_again_after_a_connection_that_lasted():
    state = begin(Reconnect(wait=tenacity.wait_incrementing(start=1, increment=1), min_uptime=5.0))
    assert fail(state, OSError(), OSError()) == [1, 2]
    state.opened()
    flap = state.connection_lost(lost(uptime=4.99), 0.0)
    assert (flap.number, flap.delay, state.failures) == (3, 3, 3)
    assert fail(state, OSError()) == [4]
    state.opened()
    healthy = state.connection_lost(lost(uptime=5.0), 0.0)
    assert (healthy.number, healthy.delay, state.failures) == (0, 1, 0)


def test_with_min_uptime_0_every_connection_counts_as_healthy():
    state = begin(Reconnect(wait=tenacity.wait_incrementing(start=1, increment=1), min_uptime=0))
    for _ in range(3):
        state.opened()
        assert state.connection_lost(lost(), 0.0).delay == 1


def test_reconnect_called_by_the_user_counts_attempts_from_zero_again():
    state = begin(Reconnect(wait=tenacity.wait_incrementing(start=1, increment=1)))
    fail(state, *[OSError()] * 5)
    state.reset_count()
    assert fail(state, OSError()) == [1]


# --- when to stop ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attempts", [1, 2, 3, 10])
def test_stop_after_attempt_allows_this_number_of_attempts_after_a_loss(attempts):
    state = begin(fixed(stop=tenacity.stop_after_attempt(attempts)))
    assert state.connection_lost(lost(uptime=60), 0.0).delay == 1.0
    delays = fail(state, *[OSError("no")] * attempts)
    assert delays == [1.0] * (attempts - 1) + [None]


def test_the_final_error_reports_the_number_of_attempts_and_the_last_error():
    state = begin(fixed(stop=tenacity.stop_after_attempt(2)))
    fail(state, OSError("first"))
    error = OSError("second")
    decision = state.attempt_failed(error, 0.0)
    assert isinstance(decision.error, ConnectError)
    assert str(decision.error) == "Gave up after 2 attempts; the last error: second"
    assert (decision.error.attempts, decision.error.last, decision.error.__cause__) == (2, error, error)
    assert (decision.number, decision.orderly) == (2, False)


def test_the_final_error_after_one_attempt_is_in_the_singular():
    decision = begin(fixed(stop=tenacity.stop_after_attempt(1))).attempt_failed(OSError("no"), 0.0)
    assert str(decision.error) == "Gave up after 1 attempt; the last error: no"


def test_stop_after_delay_counts_from_the_loss():
    state = begin(fixed(stop=tenacity.stop_after_delay(10)))
    assert state.connection_lost(lost(uptime=60), 1000.0).delay == 1.0
    assert state.attempt_failed(OSError(), 1009.9).delay == 1.0
    assert state.attempt_failed(OSError(), 1010.0).delay is None


def test_stop_after_delay_starts_again_after_a_healthy_connection():
    state = begin(fixed(stop=tenacity.stop_after_delay(10)))
    assert state.attempt_failed(OSError(), 1000.0).delay == 1.0
    state.opened()
    assert state.connection_lost(lost(uptime=60), 2000.0).delay == 1.0
    assert state.attempt_failed(OSError(), 2009.0).delay == 1.0


def test_stop_after_delay_continues_after_a_connection_that_did_not_last():
    state = begin(fixed(stop=tenacity.stop_after_delay(10)))
    assert state.attempt_failed(OSError(), 1000.0).delay == 1.0
    state.opened()
    assert state.connection_lost(lost(uptime=1), 1011.0).delay is None


needs_stop_before_delay = pytest.mark.skipif(
    not hasattr(tenacity, "stop_before_delay"), reason="this tenacity has no stop_before_delay"
)


@needs_stop_before_delay
def test_stop_before_delay_includes_the_next_delay():
    state = begin(fixed(2.0, stop=tenacity.stop_before_delay(10)))
    assert state.attempt_failed(OSError(), 1000.0).delay == 2.0
    assert state.attempt_failed(OSError(), 1007.9).delay == 2.0
    assert state.attempt_failed(OSError(), 1008.0).delay is None


@needs_stop_before_delay
def test_stop_before_delay_includes_the_delay_that_the_server_requested():
    state = begin(fixed(2.0, stop=tenacity.stop_before_delay(10)))
    assert state.attempt_failed(answered(503, Retry_After="7"), 1000.0).delay == 7.0
    assert state.attempt_failed(answered(503, Retry_After="60"), 1007.0).delay is None


def test_any_combination_of_stop_strategies_is_used():
    event = threading.Event()
    stop = tenacity.stop_any(tenacity.stop_after_attempt(5), tenacity.stop_when_event_set(event))
    state = begin(fixed(stop=stop))
    assert fail(state, OSError(), OSError()) == [1.0, 1.0]
    event.set()
    assert fail(state, OSError()) == [None]


def test_strategies_receive_the_same_state_as_from_tenacity():
    seen = []

    def wait(state):
        seen.append((state.attempt_number, state.seconds_since_start, state.idle_for, state.outcome.exception()))
        return 2.0

    state = begin(Reconnect(wait=wait))
    errors = [lost(uptime=60), OSError(), OSError()]
    state.connection_lost(errors[0], 100.0)
    state.attempt_failed(errors[1], 103.0)
    state.attempt_failed(errors[2], 107.0)
    assert seen == [(1, 0.0, 0.0, errors[0]), (1, 3.0, 2.0, errors[1]), (2, 7.0, 4.0, errors[2])]


# --- fatal errors ----------------------------------------------------------------------------------------------------


def test_a_rejection_by_the_server_is_fatal():
    for status in FATAL_STATUSES:
        error = answered(status)
        decision = begin().attempt_failed(error, 0.0)
        assert (decision.error, decision.delay, decision.orderly) == (error, None, False)


def test_a_temporary_error_of_the_server_is_retried():
    for status in RETRIED_STATUSES:
        assert begin().attempt_failed(answered(status), 0.0).delay is not None


def test_a_close_code_for_a_client_error_is_fatal_if_the_server_sent_it():
    for code in FATAL_CODES:
        error = lost("remote", code, uptime=4.9)
        decision = begin().connection_lost(error, 0.0)
        assert (decision.error, decision.delay, decision.orderly) == (error, None, False)


@pytest.mark.parametrize("initiator", ["local", "network", "keepalive"])
def test_a_loss_that_the_server_did_not_request_is_retried(initiator):
    for code in [*FATAL_CODES, *RETRIED_CODES, None]:
        assert begin().connection_lost(lost(initiator, code), 0.0).delay is not None


def test_any_other_close_by_the_server_is_retried():
    for code in [*RETRIED_CODES, None]:
        assert begin().connection_lost(lost("remote", code), 0.0).delay is not None


def test_close_codes_of_the_message_protocol_are_fatal_in_addition_to_the_standard_ones():
    for code in (4400, 4401, *FATAL_CODES):
        assert begin(fatal_codes={4400, 4401}).connection_lost(lost("remote", code), 0.0).delay is None
    assert begin(fatal_codes={4400}).connection_lost(lost("remote", 4401), 0.0).delay is not None
    assert begin(fatal_codes={4400}).connection_lost(lost("network", 4400), 0.0).delay is not None


@pytest.mark.parametrize("kind", [ConnectError, TLSError, ProxyError, SessionError, HandshakeError])
def test_an_error_of_an_attempt_specifies_whether_it_is_fatal(kind):
    assert begin().attempt_failed(kind("no", retry=False), 0.0).delay is None
    assert begin().attempt_failed(kind("no", retry=True), 0.0).delay is not None


@pytest.mark.parametrize("error", [OSError(), TimeoutError(), ConnectionLost("lost"), WebSocketClientError("what")])
def test_all_other_errors_are_retried(error):
    assert not is_fatal(error, frozenset(FATAL_CODES))
    assert begin().attempt_failed(error, 0.0).delay is not None


# --- should_retry ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [answered(404), answered(503), OSError()])
def test_should_retry_overrides_the_rules_in_both_directions(error):
    assert fail(begin(fixed(should_retry=lambda error: True)), error) == [1.0]
    assert fail(begin(fixed(should_retry=lambda error: False)), error) == [None]


@pytest.mark.parametrize("code", [1001, 1008])
def test_should_retry_overrides_the_close_codes_in_both_directions(code):
    error = lost("remote", code, uptime=60)
    assert begin(fixed(should_retry=lambda error: True)).connection_lost(error, 0.0).delay == 1.0
    refusal = begin(fixed(should_retry=lambda error: False)).connection_lost(error, 0.0)
    assert (refusal.error, refusal.delay, refusal.orderly) == (error, None, False)


def test_should_retry_can_leave_the_decision_to_the_rules():
    state = begin(fixed(should_retry=lambda error: None))
    assert fail(state, OSError(), answered(404)) == [1.0, None]


def test_should_retry_is_called_with_each_error():
    asked = []
    state = begin(fixed(should_retry=asked.append))
    errors = [lost(uptime=60), OSError(), answered(404)]
    state.connection_lost(errors[0], 0.0)
    fail(state, *errors[1:])
    assert asked == errors


def test_a_should_retry_that_raises_is_logged_and_the_rules_decide(caplog):
    def should_retry(error):
        raise LookupError("the user's own")

    assert fail(begin(fixed(should_retry=should_retry)), OSError(), answered(404)) == [1.0, None]
    assert [record.exc_info[0] for record in caplog.records] == [LookupError, LookupError]


@pytest.mark.parametrize("error", [LookupError("the user's own"), SystemExit(3)])
@pytest.mark.parametrize(
    ("name", "delays"), [("wait", [10.0, 10.0, None]), ("stop", [1.0, 1.0, None]), ("should_retry", [1.0, 1.0, None])]
)
def test_an_error_of_a_function_of_the_user_is_reported_and_the_default_rule_is_used(name, delays, error, caplog):
    def fails(argument):
        raise error

    reported = []
    state = ReconnectState(
        Reconnect(**{"wait": tenacity.wait_fixed(1), name: fails}),
        retry_first=True,
        urls=1,
        credentials_are_fresh=False,
        fatal_codes=frozenset(),
        log=make_log()[0],
        report=reported.append,
    )
    assert fail(state, OSError(), OSError(), answered(404)) == delays
    assert reported == [error] * (3 if name == "should_retry" else 2)
    assert [record.exc_info[1] for record in caplog.records] == reported
    assert name in caplog.text


@pytest.mark.parametrize("delay", [None, "soon"])
def test_a_delay_that_is_no_number_is_replaced(delay):
    assert fail(begin(Reconnect(wait=lambda state: delay)), OSError()) == [10.0]


def test_stop_takes_precedence_over_should_retry():
    reconnect = fixed(should_retry=lambda error: True, stop=tenacity.stop_after_attempt(2))
    assert fail(begin(reconnect), answered(404), answered(404)) == [1.0, None]


# --- grace -----------------------------------------------------------------------------------------------------------

HEALTHY = 60.0
"""Seconds of a connection that is longer than ``min_uptime``."""

THAT_MAY_PASS = [
    answered(404),
    answered(403),
    TLSError("a wrong certificate", retry=False),
    ConnectError("a wrong URL", retry=False),
    lost("remote", 1008),
]


def lose(state, now, error=None):
    """Lose a healthy connection; the delay after it."""
    return state.connection_lost(lost(uptime=HEALTHY) if error is None else error, now).delay


def session_error(cause):
    """The error of a set-up that this error ended, as ``on_session`` makes it."""
    error = SessionError("set-up", retry=False)
    error.last = cause
    return error


def test_the_default_of_grace_is_five_minutes_and_it_is_a_value_of_the_option():
    assert Reconnect().grace == 300.0
    assert Reconnect(grace=7).grace == 7.0
    assert Reconnect(grace=7) == Reconnect(grace=7) != Reconnect(grace=8)
    assert hash(Reconnect(grace=7)) != hash(Reconnect(grace=8))
    assert "grace=7.0" in repr(Reconnect(grace=7))
    assert pickle.loads(pickle.dumps(Reconnect(grace=7))) == Reconnect(grace=7)


@pytest.mark.parametrize("error", THAT_MAY_PASS)
def test_after_a_healthy_connection_a_fatal_error_is_retried_for_the_time_of_grace(error):
    state = begin(fixed(grace=100.0))
    assert lose(state, 1000.0) == 1.0
    assert fail(state, error, now=1001.0) == [1.0]
    assert fail(state, error, now=1099.9) == [1.0]
    decision = state.attempt_failed(error, 1100.0)
    assert (decision.error, decision.delay, decision.orderly) == (error, None, False)


def test_the_close_that_ends_a_healthy_connection_is_retried_too():
    state = begin(fixed(grace=100.0))
    assert lose(state, 1000.0, lost("remote", 1008, uptime=HEALTHY)) == 1.0
    assert fail(state, OSError(), now=1001.0) == [1.0]


def test_fatal_errors_in_grace_have_the_usual_delays_and_count_as_attempts():
    state = begin(Reconnect(wait=tenacity.wait_incrementing(start=1, increment=1)))
    lose(state, 0.0)
    assert fail(state, answered(404), OSError(), answered(404)) == [1, 2, 3]
    assert state.failures == 3


@pytest.mark.parametrize("error", THAT_MAY_PASS)
@pytest.mark.parametrize("uptime", [None, 0.0, 4.9])
def test_a_fatal_error_is_fatal_at_once_until_a_connection_was_healthy(error, uptime):
    state = begin(fixed(), opened=uptime is not None, retry_first=True)
    if uptime is not None:
        state.connection_lost(lost(uptime=uptime), 0.0)
    assert fail(state, error) == [None]


def test_short_connections_do_not_prolong_grace():
    state = begin(fixed(grace=100.0))
    lose(state, 1000.0)
    state.opened()
    assert state.connection_lost(lost("remote", 1008, uptime=4), 1090.0).delay == 1.0
    state.opened()
    assert state.connection_lost(lost("remote", 1008, uptime=4), 1100.0).delay is None


def test_each_healthy_connection_begins_grace_again():
    state = begin(fixed(grace=100.0))
    lose(state, 1000.0)
    state.opened()
    lose(state, 2000.0)
    assert fail(state, answered(404), now=2099.0) == [1.0]
    assert fail(state, answered(404), now=2100.0) == [None]


def test_errors_that_are_not_fatal_are_retried_after_grace_as_before():
    state = begin(fixed(grace=100.0))
    lose(state, 0.0)
    assert fail(state, OSError(), now=5000.0) == [1.0]
    assert fail(state, answered(404), now=5001.0) == [None]


def test_grace_0_retries_no_fatal_error():
    state = begin(fixed(grace=0))
    lose(state, 0.0)
    assert fail(state, answered(404)) == [None]
    assert lose(begin(fixed(grace=0)), 0.0, lost("remote", 1008, uptime=HEALTHY)) is None


@pytest.mark.parametrize("code", [4401, 1008])
def test_a_fatal_code_of_the_protocol_is_fatal_in_grace(code):
    state = begin(fixed(), fatal_codes={code})
    assert lose(state, 0.0, lost("remote", code, uptime=HEALTHY)) is None
    state = begin(fixed(), fatal_codes={code})
    lose(state, 0.0)
    assert fail(state, session_error(lost("remote", code))) == [None]


@pytest.mark.parametrize("cause", [ValueError("wrong password"), ConnectError("no", retry=False)])
def test_a_session_error_that_forbids_a_retry_is_fatal_in_grace(cause):
    for error in (SessionError("no", retry=False), session_error(cause)):
        state = begin(fixed())
        lose(state, 0.0)
        assert fail(state, error) == [None]


def test_a_close_by_the_server_during_on_session_is_retried_in_grace():
    state = begin(fixed())
    lose(state, 0.0)
    assert fail(state, session_error(lost("remote", 1008))) == [1.0]


@pytest.mark.parametrize("wish", [True, False])
def test_should_retry_overrides_grace(wish):
    state = begin(fixed(grace=100.0, should_retry=lambda error: None if error.args == ("lost",) else wish))
    lose(state, 0.0)
    expected = 1.0 if wish else None
    assert fail(state, answered(404)) == [expected]
    if wish:
        assert fail(state, answered(404), now=1000.0) == [expected]


def test_stop_ends_the_attempts_before_the_end_of_grace():
    state = begin(fixed(stop=tenacity.stop_after_attempt(2)))
    lose(state, 0.0)
    assert fail(state, answered(404), answered(404)) == [1.0, None]


def test_a_login_that_was_refused_in_grace_gets_no_further_attempt_after_it():
    state = begin(fixed(grace=100.0), fresh=True)
    lose(state, 0.0)
    assert fail(state, *[answered(401)] * 5, now=99.0) == [1.0] * 5
    assert fail(state, answered(401), now=100.0) == [None]


def test_a_login_that_is_first_refused_after_grace_gets_one_more_attempt():
    state = begin(fixed(grace=100.0), fresh=True)
    lose(state, 0.0)
    assert fail(state, OSError(), now=99.0) == [1.0]
    assert fail(state, answered(401), answered(401), now=100.0) == [1.0, None]


def test_after_grace_a_list_of_servers_has_failed_when_all_have_failed_fatally():
    state = begin(fixed(grace=100.0), urls=2)
    lose(state, 0.0)
    assert fail(state, *[answered(404)] * 5, now=99.0) == [1.0] * 5
    assert fail(state, answered(404), now=100.0) == [None]


@pytest.mark.parametrize(("uptime", "delay"), [(HEALTHY, 1.0), (4.0, None)])
def test_reconnect_called_by_the_user_begins_grace_if_the_connection_was_healthy(uptime, delay):
    state = begin(fixed(grace=100.0))
    state.start_over(uptime=uptime, now=1000.0)
    assert fail(state, answered(404), now=1099.0) == [delay]


def test_without_a_second_connection_there_is_no_grace():
    state = ReconnectState(
        fixed(),
        retry_first=False,
        urls=1,
        credentials_are_fresh=False,
        fatal_codes=frozenset(),
        log=make_log()[0],
        one_connection=True,
    )
    state.opened()
    assert lose(state, 0.0, lost("remote", 1008, uptime=HEALTHY)) is None


# --- rejected logins and lists of servers ----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
def test_a_rejected_login_gets_one_more_attempt_with_new_credentials(status):
    assert fail(begin(fixed(), fresh=True), *[answered(status)] * 2) == [1.0, None]
    assert fail(begin(fixed(), fresh=False), answered(status)) == [None]


@pytest.mark.parametrize("status", [400, 402, 404, 407])
def test_new_credentials_change_nothing_for_other_rejections(status):
    assert fail(begin(fixed(), fresh=True), answered(status)) == [None]


def test_another_rejection_on_the_second_attempt_is_fatal():
    assert fail(begin(fixed(), fresh=True), answered(401), answered(404)) == [1.0, None]


def test_a_successful_login_allows_a_second_attempt_again():
    state = begin(fixed(), fresh=True)
    assert fail(state, answered(401)) == [1.0]
    state.opened()
    state.connection_lost(lost(uptime=4), 0.0)
    assert fail(state, answered(401), answered(401)) == [1.0, None]


def test_a_list_of_servers_has_failed_when_all_have_failed_fatally():
    assert fail(begin(fixed(), urls=3), *[answered(404)] * 3) == [1.0, 1.0, None]


def test_one_server_that_can_recover_keeps_the_list_active():
    errors = [answered(404), OSError(), answered(404), answered(404), OSError()]
    assert fail(begin(fixed(), urls=3), *errors) == [1.0] * 5


def test_rejected_logins_of_a_list_get_one_more_attempt_together():
    assert fail(begin(fixed(), urls=2, fresh=True), *[answered(401)] * 3) == [1.0, 1.0, None]


def test_a_list_of_servers_has_failed_when_all_have_closed_with_fatal_codes():
    state = begin(fixed(), urls=2)
    assert state.connection_lost(lost("remote", 1008, uptime=4), 0.0).delay == 1.0
    state.opened()
    assert state.connection_lost(lost("remote", 1008, uptime=4), 0.0).delay is None


# --- Retry-After -----------------------------------------------------------------------------------------------------

DATE = "Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("300", 300.0),
        ("301", 300.0),
        ("99999999999999999999999", 300.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wednesday, 21-Oct-15 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 09:28:30 GMT", 300.0),
        ("Wed, 21 Oct 2015 07:27:30 GMT", 0.0),
    ],
)
def test_retry_after_is_used_up_to_five_minutes(status, value, seconds):
    error = answered(status, Retry_After=value, Date=DATE)
    assert retry_after(error) == seconds
    assert begin(fixed(2.0)).attempt_failed(error, 0.0).delay == max(2.0, seconds)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "-5",
        "1.5",
        "5 seconds",
        "\u0665",  # a digit, but not ASCII
        "soon",
        "Wed, 99 Oct 2015 07:28:30 GMT",
        "Wed, 21 Oct 99999 07:28:30 GMT",
        "Wed, 21 Oct 999999999999 07:28:30 GMT",
        "Wed, 21 Oct 2015 07:28:30 +99999999999999999999",
        "Wed, 21 Oct 2015 07:28:30 -0000",
        "120, 240",
    ],
)
def test_an_invalid_retry_after_is_ignored(value):
    assert retry_after(answered(503, Retry_After=value, Date=DATE)) == 0.0


numbers = st.integers(-(10**25), 10**25)
dates = st.builds(
    "Wed, {} {} {} {}:{}:{} {}{}".format,
    *(numbers | st.integers(0, 31), st.sampled_from(["Oct", "Feb", "x"]), numbers | st.integers(1990, 2030)),
    *(numbers | st.integers(0, 60) for _ in range(3)),
    *(st.sampled_from(["+", "-", "GMT", ""]), numbers | st.just("")),
)
values = st.one_of(st.just(DATE), dates, st.text(max_size=30))


@given(value=values, date=values)
def test_no_value_of_retry_after_raises(value, date):
    error = HandshakeError("busy", status=503, headers={"Retry-After": value, "Date": date})
    assert 0.0 <= retry_after(error) <= 300.0


def test_a_retry_after_date_without_a_date_header_is_ignored_since_clocks_differ():
    assert retry_after(answered(503, Retry_After=DATE)) == 0.0


@pytest.mark.parametrize(
    "error", [answered(500, Retry_After="7"), answered(408, Retry_After="7"), answered(503), OSError(), lost()]
)
def test_retry_after_of_other_errors_is_ignored(error):
    assert retry_after(error) == 0.0


def test_retry_after_does_not_shorten_a_delay():
    assert fail(begin(fixed(10.0)), answered(503, Retry_After="7")) == [10.0]


# --- without reconnect -----------------------------------------------------------------------------------------------


def test_without_reconnect_a_failed_first_attempt_is_final():
    error = OSError()
    decision = begin_without_reconnect(opened=False).attempt_failed(error, 0.0)
    assert (decision.error, decision.delay, decision.orderly) == (error, None, True)


def test_without_reconnect_each_url_of_a_list_is_still_tried():
    assert fail(begin_without_reconnect(opened=False, urls=2), OSError(), OSError()) == [0.0, None]


@pytest.mark.parametrize(
    ("initiator", "code", "orderly"),
    [
        ("remote", 1000, True),
        ("remote", 1001, True),
        ("remote", 1005, True),
        ("remote", 1006, False),
        ("remote", 1008, False),
        ("remote", 1011, False),
        ("local", 1000, False),
        ("network", None, False),
        ("keepalive", None, False),
    ],
)
def test_without_reconnect_a_loss_is_final_and_orderly_if_the_server_closed_normally(initiator, code, orderly):
    error = lost(initiator, code, uptime=60)
    decision = begin_without_reconnect().connection_lost(error, 0.0)
    assert (decision.error, decision.delay, decision.orderly) == (error, None, orderly)


def test_without_reconnect_no_failure_after_the_first_connection_is_retried():
    assert fail(begin_without_reconnect(), OSError()) == [None]


# --- many failures ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ten_thousand_failures_use_no_memory():
    state = begin()
    for _ in range(1_000):
        state.attempt_failed(OSError("no"), 0.0)
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(9_000):
        decision = state.attempt_failed(OSError("no"), 0.0)
    gc.collect()
    assert len(gc.get_objects()) - before < 50
    assert decision.number == 10_000
    assert 0.0 <= decision.delay <= 10.0
    assert decision.error.__cause__ is decision.error.__context__ is decision.error.__traceback__ is None


def test_the_final_error_after_many_failures_chains_only_the_last_error():
    state = begin(fixed(stop=tenacity.stop_after_attempt(5_000)))
    for _ in range(5_000):
        decision = state.attempt_failed(OSError("no"), 0.0)
    assert decision.delay is None
    assert decision.error.__cause__ is decision.error.last
    assert decision.error.__context__ is None
    assert decision.error.last.__cause__ is decision.error.last.__context__ is None


# --- sequences of errors ---------------------------------------------------------------------------------------------


def test_each_rejected_login_gets_one_more_attempt():
    state = begin(fixed(), fresh=True)
    for _ in range(3):
        assert fail(state, answered(401)) == [1.0]
        state.opened()
        state.connection_lost(lost(uptime=4), 0.0)
    assert fail(state, answered(401), answered(401)) == [1.0, None]


def test_a_successful_login_clears_the_rejection_even_if_a_command_ends_the_connection():
    state = begin(fixed(), fresh=True)
    assert fail(state, answered(401)) == [1.0]
    state.opened()
    state.start_over(uptime=4.0, now=0.0)
    assert fail(state, answered(401)) == [1.0]


def test_failures_allowed_by_should_retry_do_not_count_against_later_ones():
    state = begin(fixed(should_retry=lambda error: True if isinstance(error, HandshakeError) else None), urls=2)
    assert fail(state, answered(404), answered(404), answered(404)) == [1.0] * 3
    state.opened()
    assert state.connection_lost(lost("remote", 1008, uptime=60), 0.0).delay == 1.0


@pytest.mark.parametrize(("option", "value"), [("wait", tenacity.stop_never), ("stop", tenacity.wait_fixed(1))])
def test_a_wait_strategy_in_place_of_a_stop_strategy_and_vice_versa_is_refused(option, value):
    with pytest.raises(TypeError, match=rf"^{option} must be a tenacity {option} strategy"):
        Reconnect(**{option: value})
