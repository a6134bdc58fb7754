"""The table of waiting requests: each ends once, ids do not collide, deadlines are in order, futures behave."""

import collections
import concurrent.futures
import dis
import gc
import itertools
import math
import threading

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from wsclient._requests.request import CANCELLED, FAILED, OK, TIMED_OUT, Request, key_of
from wsclient._requests.table import _GIVEN_UP, Clash, RequestTable
from wsclient._threads.waiting import Deadline
from wsclient.protocols._incoming import OLDEST

from ..support import LONG, SHORT

FOREVER = Deadline(None)
OUTCOMES = (OK, FAILED, TIMED_OUT, CANCELLED)


def make(id=None, *, at=None, match=None):
    return Request(b"", 0, id=id, deadline=Deadline(at), match=match)


def added(table, id=None, *, timed=False, **options):
    request = make(id, **options)
    table.add(request, timed=timed)
    return request


def with_id(table, one, id, **options):
    request = added(table, **options)
    assert table.assign_id(request, id, one)
    return request


def connected(**options):
    """A table, and the requests in flight on its one connection."""
    table = RequestTable(**options)
    return table, table.new_connection(1)


def anything(message):
    return True


# --- one outcome for each --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_only_the_first_to_take_a_request_ends_it(outcome):
    table, one = connected()
    request = with_id(table, one, 1)
    assert table.waiting
    assert table.end(request, outcome)
    assert not any(table.end(request, other) for other in OUTCOMES)
    assert request.outcome is outcome
    assert table.counts == {**dict.fromkeys(OUTCOMES, 0), outcome: 1}
    assert not table.waiting
    assert table.in_flight == 0


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_request_that_gets_its_id_before_it_was_added_is_added(outcome):
    table, one = connected()
    request = make()
    assert table.assign_id(request, 1, one)
    assert (table.waiting, table.in_flight, table.everything()) == (1, 1, [request])
    assert table.end(request, outcome)
    assert (table.waiting, table.in_flight, table.everything()) == (0, 0, [])
    assert table.counts == {**dict.fromkeys(OUTCOMES, 0), outcome: 1}


def test_no_interrupt_can_separate_the_steps_that_add_a_request():
    """An interrupt is raised after a call of C code and, on Python 3.10, where the code jumps."""
    names = [step.opname for step in dis.get_instructions(RequestTable.assign_id)]
    first = names.index("STORE_SUBSCR")  # into `by_id`
    last = names.index("STORE_SUBSCR", first + 1)  # into `_begun`
    between = names[first:last]
    assert "STORE_ATTR" in between
    assert not [name for name in between if "JUMP" in name or "CALL" in name]


def test_a_request_that_was_not_added_and_whose_id_is_in_use_is_not_added():
    table, one = connected()
    with_id(table, one, 1)
    request = make()
    with pytest.raises(Clash):
        table.assign_id(request, 1, one)
    assert (table.waiting, table.in_flight) == (1, 1)
    assert not any(table.end(request, outcome) for outcome in (OK, TIMED_OUT, CANCELLED))
    assert table.assign_id(request, 2, one)
    assert (table.waiting, table.in_flight) == (2, 2)


def test_a_request_that_was_not_added_can_fail_and_is_counted():
    table, one = connected()
    request = make()
    assert table.end(request, FAILED)
    assert (table.waiting, table.in_flight, table.counts[FAILED]) == (0, 0, 1)
    assert not table.assign_id(request, 1, one)


def test_a_request_that_has_ended_is_not_written():
    table, one = connected()
    request = added(table)
    table.end(request, TIMED_OUT)
    assert not table.assign_id(request, 1, one)
    assert one.find(1) is None
    assert table.in_flight == 0


class Feed:
    def __init__(self, *, endless):
        self.endless = endless


def fed(table, one, id, *, endless, streaming):
    request = make()
    request.feed = Feed(endless=endless)
    table.add(request, timed=False, streaming=streaming)
    assert table.assign_id(request, id, one)
    return request


@pytest.mark.parametrize("end", ["end", "end_connection"])
@pytest.mark.parametrize("streaming", [True, False], ids=["from the start", "later"])
def test_a_request_without_an_end_is_not_counted_in_flight_while_it_is_streaming(streaming, end):
    table, one = connected()
    subscription = fed(table, one, 1, endless=True, streaming=streaming)
    assert table.in_flight == (0 if streaming else 1)
    table.begin_streaming(subscription)
    assert table.in_flight == 0
    answers = fed(table, one, 2, endless=False, streaming=False)
    table.begin_streaming(answers)
    assert one.find(1) is subscription
    assert table.in_flight == 1, "the answers are limited"
    if end == "end":
        assert table.end(subscription, CANCELLED)
        assert table.in_flight == 1
        assert table.end(answers, OK)
    else:
        table.end_connection(one)
        one = table.new_connection(2)
    assert table.in_flight == 0
    with_id(table, one, 3)
    assert table.in_flight == 1


def test_a_request_that_streams_before_it_is_written_is_uncounted_from_its_write_on():
    table, one = connected()
    subscription = make()
    subscription.feed = Feed(endless=True)
    table.add(subscription, timed=False)
    table.begin_streaming(subscription)
    assert table.in_flight == 0
    assert table.assign_id(subscription, 1, one)
    assert table.in_flight == 0
    table.end_connection(one)
    with_id(table, table.new_connection(2), 2)
    assert table.in_flight == 1


def test_a_deadline_that_comes_after_the_wait_leaves_a_subscription_uncounted():
    table, one = connected()
    subscription = fed(table, one, 1, endless=True, streaming=False)
    table.begin_streaming(subscription)
    assert not table.end(subscription, TIMED_OUT)
    assert table.in_flight == 0
    assert one.find(1) is subscription


def test_in_fifo_order_a_request_without_an_end_keeps_its_position_and_is_counted():
    table, one = connected(by_order=True)
    subscription = fed(table, one, 1, endless=True, streaming=False)
    table.begin_streaming(subscription)
    assert one.find(OLDEST) is subscription
    assert table.in_flight == 1


def test_of_many_threads_that_end_one_request_exactly_one_wins():
    table, one = connected()
    requests = [with_id(table, one, n) for n in range(300)]
    start = threading.Barrier(4)

    def end_all(outcome):
        start.wait(LONG)
        return sum(table.end(request, outcome) for request in requests)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(end_all, OUTCOMES)) == len(requests)
    assert sum(table.counts.values()) == len(requests)


def test_waiting_requests_are_listed_in_the_order_in_which_they_began():
    table, one = connected()
    a, b, c = (added(table) for _ in range(3))
    table.assign_id(c, 1, one)
    table.end(b, FAILED)
    assert table.everything() == [a, c]


# --- ids -------------------------------------------------------------------------------------------------------------


def test_a_reply_is_matched_to_the_request_with_its_id():
    table, one = connected()
    a, b = with_id(table, one, 1), with_id(table, one, "1")
    assert one.find(1) is a
    assert one.find("1") is b
    assert one.find(2) is None


@pytest.mark.parametrize("id", [[1], {}, {"a": []}, None, math.nan])
def test_an_invalid_id_matches_no_request(id):
    table, one = connected()
    with_id(table, one, 1)
    assert one.find(id) is None


def is_taken(table, one, id):
    """Whether this id is refused for other requests."""
    rival = added(table)
    try:
        table.assign_id(rival, id, one)
    except ValueError:
        return True
    finally:
        table.end(rival, OK)
    return False


def test_true_is_not_equal_to_1_and_false_is_not_equal_to_0():
    table, written = connected()
    one, zero = with_id(table, written, 1), with_id(table, written, 0)
    assert written.find(True) is None
    assert written.find(False) is None
    assert not is_taken(table, written, True)
    true = with_id(table, written, True)
    assert written.find(True) is true
    assert written.find(1) is one
    assert written.find(0) is zero


def test_an_id_of_the_caller_is_taken_from_the_call_to_the_end():
    table, one = connected()
    request = added(table, "mine")
    assert is_taken(table, one, "mine")
    table.assign_id(request, "mine", one)
    assert is_taken(table, one, "mine")
    table.end_connection(one)
    one = table.new_connection(2)
    assert is_taken(table, one, "mine")
    table.end(request, FAILED)
    assert not is_taken(table, one, "mine")


def test_a_generated_id_is_taken_while_it_is_in_flight():
    table, one = connected()
    request = added(table)
    assert not is_taken(table, one, 1)
    table.assign_id(request, 1, one)
    assert is_taken(table, one, 1)
    table.end(request, OK)
    assert not is_taken(table, one, 1)


@pytest.mark.parametrize("id", [1, "a", 1.5])
def test_a_callers_id_that_is_already_waiting_is_refused_and_free_afterwards(id):
    table, one = connected()
    first = added(table, id)
    with pytest.raises(ValueError, match="in flight already"):
        added(table, id)
    assert table.everything() == [first]
    table.assign_id(first, id, one)
    with pytest.raises(ValueError, match="in flight already"):
        added(table, id)
    assert one.find(id) is first
    table.end(first, OK)
    second = added(table, id)
    assert table.assign_id(second, id, one)
    assert one.find(id) is second


def test_a_refused_id_creates_no_timer():
    table = RequestTable()
    added(table, 1, at=1.0, timed=True)
    with pytest.raises(ValueError, match="in flight"):
        added(table, 1, at=0.0, timed=True)
    assert table.next_deadline() == 1.0


def test_a_callers_id_that_was_generated_for_another_request_in_flight_is_refused():
    table, one = connected()
    given = with_id(table, one, 7)
    with pytest.raises(ValueError, match="in flight already"):
        added(table, 7)
    assert one.find(7) is given


def test_a_request_that_is_sent_again_is_found_only_by_its_new_id():
    table, one = connected()
    request = with_id(table, one, 1)
    assert table.end_connection(one) == [request]
    assert one.find(1) is None
    two = table.new_connection(2)
    assert two.find(1) is None
    assert table.assign_id(request, 2, two)
    assert one.find(1) is None
    assert one.find(2) is None
    assert two.find(1) is None
    assert two.find(2) is request
    assert table.in_flight == 1


# --- match -----------------------------------------------------------------------------------------------------------


def test_requests_with_match_are_found_by_it_only_while_in_flight():
    table, one = connected()
    first, second = added(table, match=anything), added(table, match=anything)
    with_id(table, one, 1)
    assert one.matching() == []
    table.assign_id(second, None, one)
    table.assign_id(first, None, one)
    assert one.matching() == [second, first]
    assert one.find(None) is None
    assert table.in_flight == 3
    table.end(second, OK)
    assert one.matching() == [first]
    assert table.in_flight == 2
    table.end_connection(one)
    assert one.matching() == []


# --- the end of a connection -----------------------------------------------------------------------------------------


def test_the_end_of_a_connection_lists_the_requests_in_flight_in_order_and_ends_none():
    table, one = connected()
    queued = added(table)
    b, a = with_id(table, one, 2), with_id(table, one, 1)
    assert table.end_connection(one) == [b, a]
    assert table.end_connection(one) == []
    assert table.in_flight == 0
    assert table.everything() == [queued, b, a]
    assert all(request.outcome is None for request in (queued, a, b))


# --- deadlines -------------------------------------------------------------------------------------------------------


def test_expire_lists_requests_past_their_deadline_in_order_and_once():
    table = RequestTable()
    c, a, b = (added(table, at=at, timed=True) for at in (3.0, 1.0, 2.0))
    assert table.next_deadline() == 1.0
    assert table.expire(0.9) == []
    assert table.expire(2.0) == [a, b]
    assert table.expire(2.0) == []
    assert table.next_deadline() == 3.0
    assert table.expire(9.0) == [c]
    assert table.next_deadline() is None


def test_requests_with_equal_deadlines_keep_their_order():
    table = RequestTable()
    requests = [added(table, at=1.0, timed=True) for _ in range(5)]
    assert table.expire(1.0) == requests


def test_a_request_without_a_deadline_or_with_a_waiting_caller_has_no_timer():
    table = RequestTable()
    added(table, at=1.0, timed=False)
    added(table, at=None, timed=True)
    assert table.next_deadline() is None
    assert table.expire(math.inf) == []


@pytest.mark.parametrize("by_order", [False, True])
def test_timers_of_answered_requests_do_not_pile_up(by_order):
    table, one = connected(by_order=by_order)
    waiting = [with_id(table, one, -n, at=1e9 - n, timed=True) for n in range(1, 11)]
    for n in range(3_000):
        table.end(with_id(table, one, n, at=1e6 + n, timed=True), OK)
    named = table.expire(math.inf)
    assert len(named) < 200
    assert [request for request in named if request.outcome is None] == waiting[::-1]


# --- replies by order ------------------------------------------------------------------------------------------------


def test_oldest_is_the_first_written_request_without_an_answer():
    table, one = connected(by_order=True)
    assert one.find(OLDEST) is None
    a, b = added(table), added(table)
    assert one.find(OLDEST) is None
    table.assign_id(b, 1, one)
    table.assign_id(a, 2, one)
    assert one.find(OLDEST) is b
    table.end(b, OK)
    assert one.find(OLDEST) is a


@pytest.mark.parametrize("outcome", [CANCELLED, TIMED_OUT, FAILED])
def test_a_written_request_that_is_cancelled_keeps_its_position_until_its_reply(outcome):
    table, one = connected(by_order=True)
    a, b = with_id(table, one, 1), with_id(table, one, 2)
    assert table.end(a, outcome)
    assert table.holds_position(a)
    assert not table.holds_position(b)
    assert one.find(OLDEST) is a
    assert table.in_flight == 2
    assert table.everything() == [b]
    table.drop_position(a)
    assert not table.holds_position(a)
    assert one.find(OLDEST) is b


def test_a_request_cancelled_before_it_was_written_keeps_no_position():
    table, one = connected(by_order=True)
    a = added(table, at=1.0)
    table.end(a, CANCELLED)
    assert not table.holds_position(a)
    assert one.find(OLDEST) is None
    assert table.next_deadline() is None


def test_a_kept_position_ends_with_its_deadline():
    table, one = connected(by_order=True)
    a = with_id(table, one, 1, at=5.0, timed=False)
    assert table.next_deadline() is None
    table.end(a, CANCELLED)
    assert table.expire(5.0) == [a]
    assert table.holds_position(a)


def test_the_cleanup_of_timers_does_not_remove_a_kept_position():
    table, one = connected(by_order=True)
    a = with_id(table, one, -1, at=5.0, timed=False)
    table.end(a, CANCELLED)
    for n in range(1_000):
        table.end(with_id(table, one, n, at=1e6, timed=True), OK)
    assert a in table.expire(5.0)


def test_an_answered_request_leaves_the_reply_order():
    table, one = connected(by_order=True)
    a, b = with_id(table, one, 1), with_id(table, one, 2)
    table.end(a, OK)
    assert not table.holds_position(a)
    assert one.find(OLDEST) is b


def test_a_kept_position_ends_with_its_connection():
    table, one = connected(by_order=True)
    a = with_id(table, one, 1)
    table.end(a, CANCELLED)
    assert table.end_connection(one) == [a]
    assert not table.holds_position(a)


def test_replies_matched_by_id_keep_no_position():
    table, one = connected()
    a = with_id(table, one, 1)
    table.end(a, CANCELLED)
    assert not table.holds_position(a)
    assert one.find(1) is None


# --- two connections at a time ---------------------------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["by id", "by order"])
def pair(request):
    """A table, and the requests in flight on each of its two connections."""
    table = RequestTable(by_order=request.param)
    return table, table.new_connection(1), table.new_connection(2)


def test_an_id_may_be_in_flight_on_two_connections(pair):
    table, one, two = pair
    a, b = with_id(table, one, 7), with_id(table, two, 7)
    assert (one.find(7), two.find(7)) == (a, b)
    assert (one.find(OLDEST), two.find(OLDEST)) == (a, b)
    assert (one.in_flight, two.in_flight, table.in_flight) == (1, 1, 2)
    assert is_taken(table, one, 7)
    assert is_taken(table, two, 7)
    assert table.end(a, OK)
    assert (one.find(7), two.find(7)) == (None, b)
    assert (one.in_flight, two.in_flight, table.in_flight) == (0, 1, 1)
    assert not is_taken(table, one, 7)
    assert is_taken(table, two, 7)
    assert table.end(b, OK)
    assert (one.find(7), two.find(7)) == (None, None)
    assert table.in_flight == 0


def test_an_id_of_the_caller_is_taken_on_all_connections(pair):
    table, one, two = pair
    request = added(table, "mine")
    assert is_taken(table, one, "mine")
    assert is_taken(table, two, "mine")
    table.assign_id(request, "mine", one)
    assert is_taken(table, two, "mine")
    given = with_id(table, two, 7)
    for id in ("mine", 7):
        with pytest.raises(ValueError, match="in flight already"):
            added(table, id)
        with pytest.raises(ValueError, match="in flight already"):
            table.check_free(id)
    table.end(request, OK)
    table.end_connection(two)
    table.end(given, FAILED)
    for id in ("mine", 7):
        table.check_free(id)
        assert added(table, id).caller_key == id


def test_requests_with_match_are_found_on_their_own_connection():
    table = RequestTable()
    one, two = table.new_connection(1), table.new_connection(2)
    a, b = added(table, match=anything), added(table, match=anything)
    table.assign_id(a, None, one)
    table.assign_id(b, None, two)
    assert (one.matching(), two.matching()) == ([a], [b])
    table.end(a, OK)
    assert (one.matching(), two.matching()) == ([], [b])
    table.end_connection(one)
    assert two.matching() == [b]
    table.end_connection(two)
    assert two.matching() == []


@pytest.mark.parametrize("streaming", [True, False], ids=["from the start", "later"])
def test_a_subscription_is_uncounted_on_its_own_connection(streaming):
    table = RequestTable()
    one, two = table.new_connection(1), table.new_connection(2)
    with_id(table, two, 1)
    subscription = fed(table, one, 1, endless=True, streaming=streaming)
    table.begin_streaming(subscription)
    assert (one.in_flight, two.in_flight, table.in_flight) == (0, 1, 1)
    other = fed(table, two, 3, endless=True, streaming=streaming)
    table.begin_streaming(other)
    assert (one.in_flight, two.in_flight, table.in_flight) == (0, 1, 1)
    table.end(other, CANCELLED)
    assert (one.in_flight, two.in_flight, table.in_flight) == (0, 1, 1)
    table.end_connection(one)
    assert (two.in_flight, table.in_flight) == (1, 1)
    assert table.assign_id(subscription, 2, two)
    assert (two.in_flight, table.in_flight) == (1, 1)
    table.end(subscription, OK)
    assert (two.in_flight, table.in_flight) == (1, 1)


def test_the_end_of_a_connection_removes_only_its_own_requests(pair):
    table, one, two = pair
    a, b, c = with_id(table, one, 1), with_id(table, two, 1), with_id(table, one, 2)
    assert table.end_connection(one) == [a, c]
    assert (one.find(1), two.find(1), two.find(2)) == (None, b, None)
    assert (two.in_flight, table.in_flight) == (1, 1)
    assert table.everything() == [a, b, c]
    assert table.assign_id(a, 3, two)
    assert two.find(3) is a
    assert table.end_connection(two) == [b, a]
    assert table.in_flight == 0


def test_a_kept_position_holds_on_its_own_connection():
    table = RequestTable(by_order=True)
    one, two = table.new_connection(1), table.new_connection(2)
    a, b, c = with_id(table, one, 1), with_id(table, two, 1), with_id(table, two, 2)
    table.end(a, CANCELLED)
    table.end(b, TIMED_OUT)
    assert (one.find(OLDEST), two.find(OLDEST)) == (a, b)
    table.drop_position(a)
    assert not table.holds_position(a)
    assert table.holds_position(b)
    assert (one.find(OLDEST), two.find(OLDEST)) == (None, b)
    table.end_connection(one)
    assert table.holds_position(b)
    table.drop_position(b)
    assert two.find(OLDEST) is c


def test_the_order_that_the_protocol_reports_late_applies_to_all_connections():
    table = RequestTable()
    one, two = table.new_connection(1), table.new_connection(2)
    a, b = with_id(table, one, 1), with_id(table, two, 1)
    table.keep_order()
    three = table.new_connection(3)
    c = with_id(table, three, 1)
    for request, written in ((a, one), (b, two), (c, three)):
        assert isinstance(written.by_id, collections.OrderedDict)
        table.end(request, CANCELLED)
        assert table.holds_position(request)
        assert written.find(OLDEST) is request


def test_positions_kept_on_another_connection_do_not_cost_a_cleanup_of_timers_for_each_request(monkeypatch):
    cleanups = []
    monkeypatch.setattr("wsclient._requests.table.heapq.heapify", cleanups.append)
    table = RequestTable(by_order=True)
    one, two = table.new_connection(1), table.new_connection(2)
    kept = [with_id(table, one, n, at=5.0) for n in range(200)]
    for request in kept:
        table.end(request, CANCELLED)
    for n in range(100):
        table.end(with_id(table, two, n), OK)
    assert not cleanups
    assert table.expire(5.0) == kept


# --- races -----------------------------------------------------------------------------------------------------------


def test_a_request_written_while_it_ends_is_not_left_in_flight():
    """Between the first attribute that ``end`` reads and the lock, another thread may write the request."""

    class Racing(Request):
        """Is marked as written, by another thread, when its key is read; waits in vain if the lock is held by then."""

        __slots__ = ("racer",)

        @property
        def key(self):
            key = Request.key.__get__(self)
            if self.racer is None:
                self.racer = threading.Thread(target=table.assign_id, args=(self, 7, one))
                self.racer.start()
                self.racer.join(SHORT)
            return key

        @key.setter
        def key(self, value):
            Request.key.__set__(self, value)

    table, one = connected()
    Racing.racer.__set__(request := Racing.__new__(Racing), "not yet")
    request.__init__(b"", 0, deadline=FOREVER)
    table.add(request, timed=False)
    request.racer = None
    assert table.end(request, TIMED_OUT)
    if request.racer is not None:
        request.racer.join(LONG)
    assert table.in_flight == 0


def test_a_request_in_flight_does_not_refer_to_itself():
    table, one = connected()
    request = Request(b"", 0, deadline=FOREVER, match=bool)
    table.add(request, timed=False)
    assert table.assign_id(request, None, one)
    assert request not in gc.get_referents(request)
    assert table.end(request, OK)
    assert table.in_flight == 0


def test_the_oldest_request_can_be_read_while_others_are_added_and_removed(fast_switching):
    table, one = connected(by_order=True)
    stop = threading.Event()

    def churn(name):
        n = 0
        while not stop.is_set():
            n += 1
            table.end(with_id(table, one, (name, n)), OK)

    threads = [threading.Thread(target=churn, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20_000):
            one.find(OLDEST)
    finally:
        stop.set()
        for thread in threads:
            thread.join(LONG)


@pytest.fixture
def fast_switching():
    """Threads switch as often as possible."""
    import sys

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


# --- all operations, compared with plain lists -----------------------------------------------------------------------

SOME_IDS = [1, 2, 3, True, 1.5, "1", "a"]


class TableMachine(RuleBasedStateMachine):
    """The model of a table with two connections: which requests wait, which are in flight on which connection in what
    order with which key, and which have a timer.
    """

    @initialize(by_order=st.booleans())
    def begin(self, by_order):
        self.by_order = by_order
        self.table = RequestTable(by_order=by_order)
        self.known = []
        self.live = []
        self.streaming = []  # those of them whose first answer has arrived
        self.numbers = itertools.count(1)
        self.rows = {}  # (key, request) in flight, for each connection
        self.last_ids = {}
        self.ended = None  # the connection that ended last
        self.connect()
        self.connect()
        self.timers = []
        self.counts = dict.fromkeys(OUTCOMES, 0)

    def connect(self):
        written = self.table.new_connection(next(self.numbers))
        self.rows[written] = []
        self.last_ids[written] = 0

    def pick(self, data):
        return data.draw(st.sampled_from(self.known))

    def leave_reply_order(self, request):
        for row in self.rows.values():
            row[:] = [(key, other) for key, other in row if other is not request]

    def keys_taken(self, *connections):
        """The ids in flight on these connections, and those of the callers."""
        return [key for written in connections for key, _ in self.rows[written]] + [
            request.caller_key for request in self.live if request.caller_key is not None
        ]

    @rule(
        requests=st.lists(
            st.tuples(
                st.one_of(st.none(), st.sampled_from(SOME_IDS)),
                st.booleans(),
                st.one_of(st.none(), st.integers(0, 20)),
                st.booleans(),
            ),
            min_size=1,
            max_size=4,
        )
    )
    def add_some(self, requests):
        for id, matched, at, timed in requests:
            if self.by_order:
                id, matched = None, False
            self.add(id, matched, at, timed)

    def add(self, id, matched, at, timed):
        request = make(id, at=at, match=anything if matched and id is None else None)
        if id is not None and key_of(id) in self.keys_taken(*self.rows):
            with pytest.raises(ValueError, match="in flight"):
                self.table.add(request, timed=timed)
            return
        self.table.add(request, timed=timed)
        self.known.append(request)
        self.live.append(request)
        if timed and at is not None:
            self.timers.append(request)

    @precondition(lambda self: any(not is_in_flight(self, request) for request in self.live))
    @rule(data=st.data(), count=st.integers(1, 3))
    def assign_some_ids(self, data, count):
        for _ in range(count):
            queued = [one for one in self.live if not is_in_flight(self, one)]
            if queued:
                self.assign_id(data.draw(st.sampled_from(queued)), data.draw(st.sampled_from(list(self.rows))))

    def assign_id(self, request, written):
        """As the writer does it: the request gets an unused id, unless the caller gave one."""
        id = request.id
        if request.caller_key is None and request.match is None:
            self.last_ids[written] += 1
            while key_of(self.last_ids[written]) in self.keys_taken(written):
                with pytest.raises(ValueError, match="in flight"):
                    self.table.assign_id(request, self.last_ids[written], written)
                self.last_ids[written] += 1
            id = self.last_ids[written]
        assert self.table.assign_id(request, id, written)
        assert request.id is id
        self.rows[written].append((request if request.match else key_of(id), request))

    @precondition(lambda self: any(request not in self.live for request in self.known))
    @rule(data=st.data())
    def assign_an_id_too_late(self, data):
        request = data.draw(st.sampled_from([one for one in self.known if one not in self.live]))
        assert not self.table.assign_id(request, "late", data.draw(st.sampled_from(list(self.rows))))

    @precondition(lambda self: self.known)
    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES))
    def end(self, data, outcome):
        request = self.pick(data)
        ends = request in self.live and not (outcome is TIMED_OUT and request in self.streaming)
        assert self.table.end(request, outcome) is ends
        keeps_position = self.by_order and outcome is not OK
        if ends:
            self.live.remove(request)
            self.counts[outcome] += request not in self.streaming
            assert request.outcome is outcome
            if (
                outcome is CANCELLED
                and keeps_position
                and is_in_flight(self, request)
                and request.deadline.at is not None
            ):
                self.timers.append(request)
            if not keeps_position:
                self.leave_reply_order(request)

    @precondition(lambda self: any(is_in_flight(self, request) for request in self.live))
    @rule(data=st.data(), endless=st.booleans())
    def begin_streaming(self, data, endless):
        request = data.draw(st.sampled_from([one for one in self.live if is_in_flight(self, one)]))
        if request not in self.streaming:
            request.feed = Feed(endless=endless)
            self.streaming.append(request)
            self.counts[OK] += 1
        self.table.begin_streaming(request)

    @precondition(lambda self: any(request not in self.live for request in in_flight(self)))
    @rule(data=st.data())
    def drop_position(self, data):
        request = data.draw(st.sampled_from([one for one in in_flight(self) if one not in self.live]))
        self.table.drop_position(request)
        self.leave_reply_order(request)

    @precondition(lambda self: len(in_flight(self)) > 1)
    @rule(data=st.data())
    def end_connection(self, data):
        self.ended = data.draw(st.sampled_from([written for written, row in self.rows.items() if row]))
        assert self.table.end_connection(self.ended) == [request for _, request in self.rows.pop(self.ended)]
        self.connect()

    @precondition(lambda self: self.timers)
    @rule(now=st.integers(0, 20))
    def expire(self, now):
        named = self.table.expire(now)
        assert [request.deadline.at for request in named] == sorted(request.deadline.at for request in named)
        assert all(request.deadline.at <= now for request in named)
        for request in named:
            self.timers.remove(request)
        assert not [one for one in self.timers if one.deadline.at <= now and is_relevant(self, one)]

    @invariant()
    def tables_agree(self):
        waiting = [request for request in self.live if request not in self.streaming]
        streaming = [request for request in self.live if request in self.streaming]
        endless = [one for one in streaming if one.feed.endless and is_in_flight(self, one) and not self.by_order]
        assert self.table.everything() == waiting + streaming
        assert self.table.waiting == len(waiting)
        assert self.table.unfinished is (len(waiting) > 0 or any(not one.feed.endless for one in streaming))
        assert self.table.in_flight == len(in_flight(self)) - len(endless)
        for written, row in self.rows.items():
            requests = [request for _, request in row]
            assert written.in_flight == len(requests) - len([one for one in endless if one in requests])
            assert written.matching() == [request for request in requests if request.match]
        assert self.table.counts == self.counts
        assert all((request.outcome is None) is (request in self.live) for request in self.known)
        assert all(
            self.table.holds_position(request) is (is_in_flight(self, request) and request not in self.live)
            for request in self.known
        )

    @invariant()
    def every_id_finds_its_own_request(self):
        for written, row in [*self.rows.items(), (self.ended, [])]:
            if written is None:  # no connection has ended
                continue
            assert written.find(OLDEST) is (row[0][1] if row else None)
            for id in [*SOME_IDS, *range(4, 9), None]:
                expected = next((request for key, request in row if key == key_of(id)), None)
                assert written.find(id) is expected

    @invariant()
    def no_deadline_is_missed(self):
        due = [request.deadline.at for request in self.timers if is_relevant(self, request)]
        if due:
            assert self.table.next_deadline() <= min(due)


def in_flight(machine):
    return [request for row in machine.rows.values() for _, request in row]


def is_in_flight(machine, request):
    return any(other is request for other in in_flight(machine))


def is_relevant(machine, request):
    if request in machine.live:
        return request not in machine.streaming
    return is_in_flight(machine, request)


TestTableAgainstAModel = TableMachine.TestCase


def test_a_limited_number_of_requests_without_a_reply_is_known():
    table, one = connected()
    for id in range(_GIVEN_UP + 1):
        assert table.end(with_id(table, one, id), TIMED_OUT)
    assert [table.is_late(id) for id in (0, 1, _GIVEN_UP, _GIVEN_UP + 1)] == [False, True, True, False]
