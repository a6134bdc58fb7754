"""Requests that wait: each ends once, ids don't collide, deadlines come in order, futures behave."""

import concurrent.futures
import gc
import math
import threading

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from wsclient._requests.request import CANCELLED, FAILED, OK, TIMED_OUT, Request, key_of
from wsclient._requests.table import Pending
from wsclient._threads.deadline import Deadline
from wsclient.protocols._incoming import OLDEST

from ..support import LONG, SHORT

FOREVER = Deadline(None)
OUTCOMES = (OK, FAILED, TIMED_OUT, CANCELLED)


def make(id=None, *, at=None, match=None):
    return Request(b"", 0, id=id, deadline=Deadline(at), match=match)


def added(pending, id=None, *, timed=False, **options):
    request = make(id, **options)
    pending.add(request, timed=timed)
    return request


def departed(pending, id, **options):
    request = added(pending, **options)
    assert pending.depart(request, id)
    return request


def anything(message):
    return True


# --- one end for each ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_only_the_first_to_take_a_request_ends_it(outcome):
    pending = Pending()
    request = departed(pending, 1)
    assert pending.waiting
    assert pending.take(request, outcome)
    assert not any(pending.take(request, other) for other in OUTCOMES)
    assert request.outcome is outcome
    assert pending.counts == {**dict.fromkeys(OUTCOMES, 0), outcome: 1}
    assert not pending.waiting
    assert pending.in_flight == 0


def test_a_request_that_has_ended_does_not_depart():
    pending = Pending()
    request = added(pending)
    pending.take(request, TIMED_OUT)
    assert not pending.depart(request, 1)
    assert pending.find(1) is None
    assert pending.in_flight == 0


class Feed:
    def __init__(self, *, endless):
        self.endless = endless


def fed(pending, id, *, endless, streaming):
    request = make()
    request.feed = Feed(endless=endless)
    pending.add(request, timed=False, streaming=streaming)
    assert pending.depart(request, id)
    return request


@pytest.mark.parametrize("end", ["take", "end_connection"])
@pytest.mark.parametrize("streaming", [True, False], ids=["from the start", "later"])
def test_what_has_no_end_is_not_counted_as_in_flight_once_it_is_streaming(streaming, end):
    pending = Pending()
    subscription = fed(pending, 1, endless=True, streaming=streaming)
    assert pending.in_flight == (0 if streaming else 1)
    pending.begin_streaming(subscription)
    assert pending.in_flight == 0
    answers = fed(pending, 2, endless=False, streaming=False)
    pending.begin_streaming(answers)
    assert pending.find(1) is subscription
    assert pending.in_flight == 1, "the answers have an end"
    if end == "take":
        assert pending.take(subscription, CANCELLED)
        assert pending.in_flight == 1
        assert pending.take(answers, OK)
    else:
        pending.end_connection()
    assert pending.in_flight == 0
    departed(pending, 3)
    assert pending.in_flight == 1


def test_what_streams_before_it_departs_is_uncounted_from_its_departure_on():
    pending = Pending()
    subscription = make()
    subscription.feed = Feed(endless=True)
    pending.add(subscription, timed=False)
    pending.begin_streaming(subscription)
    assert pending.in_flight == 0
    assert pending.depart(subscription, 1)
    assert pending.in_flight == 0
    pending.end_connection()
    departed(pending, 2)
    assert pending.in_flight == 1


def test_a_deadline_that_comes_when_nobody_waits_any_more_leaves_a_subscription_uncounted():
    pending = Pending()
    subscription = fed(pending, 1, endless=True, streaming=False)
    pending.begin_streaming(subscription)
    assert not pending.take(subscription, TIMED_OUT)
    assert pending.in_flight == 0
    assert pending.find(1) is subscription


def test_by_order_what_has_no_end_keeps_its_place_in_the_row_and_is_counted():
    pending = Pending(by_order=True)
    subscription = fed(pending, 1, endless=True, streaming=False)
    pending.begin_streaming(subscription)
    assert pending.find(OLDEST) is subscription
    assert pending.in_flight == 1


def test_many_threads_that_end_one_request_agree_on_one_winner():
    pending = Pending()
    requests = [departed(pending, n) for n in range(300)]
    start = threading.Barrier(4)

    def end_all(outcome):
        start.wait(LONG)
        return sum(pending.take(request, outcome) for request in requests)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(end_all, OUTCOMES)) == len(requests)
    assert sum(pending.counts.values()) == len(requests)


def test_everything_names_those_who_wait_in_the_order_they_began():
    pending = Pending()
    a, b, c = (added(pending) for _ in range(3))
    pending.depart(c, 1)
    pending.take(b, FAILED)
    assert pending.everything() == [a, c]


# --- ids -------------------------------------------------------------------------------------------------------------


def test_a_reply_finds_the_request_with_its_id():
    pending = Pending()
    a, b = departed(pending, 1), departed(pending, "1")
    assert pending.find(1) is a
    assert pending.find("1") is b
    assert pending.find(2) is None


@pytest.mark.parametrize("id", [[1], {}, {"a": []}, None, math.nan])
def test_an_id_nobody_can_have_finds_nobody(id):
    pending = Pending()
    departed(pending, 1)
    assert pending.find(id) is None


def is_taken(pending, id):
    """Whether no other request may go out under this id."""
    rival = added(pending)
    try:
        pending.depart(rival, id)
    except ValueError:
        return True
    finally:
        pending.take(rival, OK)
    return False


def test_true_is_not_1_and_false_is_not_0():
    pending = Pending()
    one, zero = departed(pending, 1), departed(pending, 0)
    assert pending.find(True) is None
    assert pending.find(False) is None
    assert not is_taken(pending, True)
    true = departed(pending, True)
    assert pending.find(True) is true
    assert pending.find(1) is one
    assert pending.find(0) is zero


def test_an_id_is_taken_from_the_call_to_the_end_if_it_is_the_callers():
    pending = Pending()
    request = added(pending, "mine")
    assert is_taken(pending, "mine")
    pending.depart(request, "mine")
    assert is_taken(pending, "mine")
    pending.end_connection()
    assert is_taken(pending, "mine")
    pending.take(request, FAILED)
    assert not is_taken(pending, "mine")


def test_a_given_id_is_taken_while_it_is_in_flight():
    pending = Pending()
    request = added(pending)
    assert not is_taken(pending, 1)
    pending.depart(request, 1)
    assert is_taken(pending, 1)
    pending.take(request, OK)
    assert not is_taken(pending, 1)


@pytest.mark.parametrize("id", [1, "a", 1.5])
def test_a_callers_id_that_waits_already_is_refused_and_free_afterwards(id):
    pending = Pending()
    first = added(pending, id)
    with pytest.raises(ValueError, match="in flight already"):
        added(pending, id)
    assert pending.everything() == [first]
    pending.depart(first, id)
    with pytest.raises(ValueError, match="in flight already"):
        added(pending, id)
    assert pending.find(id) is first
    pending.take(first, OK)
    second = added(pending, id)
    assert pending.depart(second, id)
    assert pending.find(id) is second


def test_a_refused_id_leaves_no_timer_behind():
    pending = Pending()
    added(pending, 1, at=1.0, timed=True)
    with pytest.raises(ValueError, match="in flight"):
        added(pending, 1, at=0.0, timed=True)
    assert pending.next_deadline() == 1.0


def test_a_callers_id_that_was_given_to_another_request_in_flight_is_refused():
    pending = Pending()
    given = departed(pending, 7)
    with pytest.raises(ValueError, match="in flight already"):
        added(pending, 7)
    assert pending.find(7) is given


def test_a_request_that_is_sent_again_stands_under_its_new_id_only():
    pending = Pending()
    request = departed(pending, 1)
    assert pending.end_connection() == [request]
    assert pending.find(1) is None
    assert pending.depart(request, 2)
    assert pending.find(1) is None
    assert pending.find(2) is request
    assert pending.in_flight == 1


# --- match -----------------------------------------------------------------------------------------------------------


def test_requests_with_match_are_found_by_it_only_while_in_flight():
    pending = Pending()
    first, second = added(pending, match=anything), added(pending, match=anything)
    departed(pending, 1)
    assert pending.matching() == []
    pending.depart(second, None)
    pending.depart(first, None)
    assert pending.matching() == [second, first]
    assert pending.find(None) is None
    assert pending.in_flight == 3
    pending.take(second, OK)
    assert pending.matching() == [first]
    assert pending.in_flight == 2
    pending.end_connection()
    assert pending.matching() == []


# --- the end of a connection -----------------------------------------------------------------------------------------


def test_the_end_of_a_connection_names_who_was_in_flight_in_order_and_ends_nobody():
    pending = Pending()
    queued = added(pending)
    b, a = departed(pending, 2), departed(pending, 1)
    assert pending.end_connection() == [b, a]
    assert pending.end_connection() == []
    assert pending.in_flight == 0
    assert pending.everything() == [queued, b, a]
    assert all(request.outcome is None for request in (queued, a, b))


# --- deadlines -------------------------------------------------------------------------------------------------------


def test_expire_names_those_whose_deadline_has_passed_soonest_first_and_once():
    pending = Pending()
    c, a, b = (added(pending, at=at, timed=True) for at in (3.0, 1.0, 2.0))
    assert pending.next_deadline() == 1.0
    assert pending.expire(0.9) == []
    assert pending.expire(2.0) == [a, b]
    assert pending.expire(2.0) == []
    assert pending.next_deadline() == 3.0
    assert pending.expire(9.0) == [c]
    assert pending.next_deadline() is None


def test_requests_with_equal_deadlines_come_in_their_order():
    pending = Pending()
    requests = [added(pending, at=1.0, timed=True) for _ in range(5)]
    assert pending.expire(1.0) == requests


def test_a_request_without_a_deadline_or_with_a_waiting_caller_has_no_timer():
    pending = Pending()
    added(pending, at=1.0, timed=False)
    added(pending, at=None, timed=True)
    assert pending.next_deadline() is None
    assert pending.expire(math.inf) == []


@pytest.mark.parametrize("by_order", [False, True])
def test_timers_of_answered_requests_do_not_pile_up(by_order):
    pending = Pending(by_order=by_order)
    waiting = [departed(pending, -n, at=1e9 - n, timed=True) for n in range(1, 11)]
    for n in range(3_000):
        pending.take(departed(pending, n, at=1e6 + n, timed=True), OK)
    named = pending.expire(math.inf)
    assert len(named) < 200
    assert [request for request in named if request.outcome is None] == waiting[::-1]


# --- replies by order ------------------------------------------------------------------------------------------------


def test_oldest_is_whoever_departed_first_and_is_unanswered():
    pending = Pending(by_order=True)
    assert pending.find(OLDEST) is None
    a, b = added(pending), added(pending)
    assert pending.find(OLDEST) is None
    pending.depart(b, 1)
    pending.depart(a, 2)
    assert pending.find(OLDEST) is b
    pending.take(b, OK)
    assert pending.find(OLDEST) is a


@pytest.mark.parametrize("outcome", [CANCELLED, TIMED_OUT, FAILED])
def test_a_written_request_that_is_given_up_keeps_its_place_until_its_reply(outcome):
    pending = Pending(by_order=True)
    a, b = departed(pending, 1), departed(pending, 2)
    assert pending.take(a, outcome)
    assert pending.holds_place(a)
    assert not pending.holds_place(b)
    assert pending.find(OLDEST) is a
    assert pending.in_flight == 2
    assert pending.everything() == [b]
    pending.drop_place(a)
    assert not pending.holds_place(a)
    assert pending.find(OLDEST) is b


def test_a_request_given_up_before_it_was_written_has_no_place_to_keep():
    pending = Pending(by_order=True)
    a = added(pending, at=1.0)
    pending.take(a, CANCELLED)
    assert not pending.holds_place(a)
    assert pending.find(OLDEST) is None
    assert pending.next_deadline() is None


def test_a_place_that_is_kept_ends_with_its_deadline():
    pending = Pending(by_order=True)
    a = departed(pending, 1, at=5.0, timed=False)
    assert pending.next_deadline() is None
    pending.take(a, CANCELLED)
    assert pending.expire(5.0) == [a]
    assert pending.holds_place(a)


def test_a_place_that_is_kept_survives_the_clearing_of_timers():
    pending = Pending(by_order=True)
    a = departed(pending, -1, at=5.0, timed=False)
    pending.take(a, CANCELLED)
    for n in range(1_000):
        pending.take(departed(pending, n, at=1e6, timed=True), OK)
    assert a in pending.expire(5.0)


def test_whoever_has_its_reply_leaves_the_row():
    pending = Pending(by_order=True)
    a, b = departed(pending, 1), departed(pending, 2)
    pending.take(a, OK)
    assert not pending.holds_place(a)
    assert pending.find(OLDEST) is b


def test_a_place_goes_with_its_connection():
    pending = Pending(by_order=True)
    a = departed(pending, 1)
    pending.take(a, CANCELLED)
    assert pending.end_connection() == [a]
    assert not pending.holds_place(a)


def test_replies_found_by_id_keep_no_place():
    pending = Pending()
    a = departed(pending, 1)
    pending.take(a, CANCELLED)
    assert not pending.holds_place(a)
    assert pending.find(1) is None


# --- races -----------------------------------------------------------------------------------------------------------


def test_a_request_that_departs_while_it_is_taken_is_not_left_in_flight():
    """Between the first thing ``take`` reads and the lock, another thread may take the request to the line."""

    class Racing(Request):
        """Departs, on another thread, when its key is read; waits in vain if the lock is held by then."""

        __slots__ = ("racer",)

        @property
        def key(self):
            key = Request.key.__get__(self)
            if self.racer is None:
                self.racer = threading.Thread(target=pending.depart, args=(self, 7))
                self.racer.start()
                self.racer.join(SHORT)
            return key

        @key.setter
        def key(self, value):
            Request.key.__set__(self, value)

    pending = Pending()
    Racing.racer.__set__(request := Racing.__new__(Racing), "not yet")
    request.__init__(b"", 0, deadline=FOREVER)
    pending.add(request, timed=False)
    request.racer = None
    assert pending.take(request, TIMED_OUT)
    if request.racer is not None:
        request.racer.join(LONG)
    assert pending.in_flight == 0


def test_a_request_in_flight_does_not_hold_itself():
    pending = Pending()
    request = Request(b"", 0, deadline=FOREVER, match=bool)
    pending.add(request, timed=False)
    assert pending.depart(request, None)
    assert request not in gc.get_referents(request)
    assert pending.take(request, OK)
    assert pending.in_flight == 0


def test_the_oldest_can_be_looked_for_while_others_come_and_go(fast_switching):
    pending = Pending(by_order=True)
    stop = threading.Event()

    def churn(name):
        n = 0
        while not stop.is_set():
            n += 1
            pending.take(departed(pending, (name, n)), OK)

    threads = [threading.Thread(target=churn, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20_000):
            pending.find(OLDEST)
    finally:
        stop.set()
        for thread in threads:
            thread.join(LONG)


@pytest.fixture
def fast_switching():
    """Threads take turns as often as they can."""
    import sys

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


# --- everything at once, against plain lists -------------------------------------------------------------------------

SOME_IDS = [1, 2, 3, True, 1.5, "1", "a"]


class PendingMachine(RuleBasedStateMachine):
    """The model: who waits, who is in flight in which order under which key, and whose timer is set."""

    @initialize(by_order=st.booleans())
    def begin(self, by_order):
        self.by_order = by_order
        self.pending = Pending(by_order=by_order)
        self.known = []
        self.live = []
        self.streaming = []  # those of them whose first answer has come
        self.row = []  # (key, request) in flight
        self.timers = []
        self.counts = dict.fromkeys(OUTCOMES, 0)
        self.last_id = 0

    def pick(self, data):
        return data.draw(st.sampled_from(self.known))

    def leave_row(self, request):
        self.row = [(key, other) for key, other in self.row if other is not request]

    def keys_taken(self):
        return [key for key, _ in self.row] + [
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
        if id is not None and key_of(id) in self.keys_taken():
            with pytest.raises(ValueError, match="in flight"):
                self.pending.add(request, timed=timed)
            return
        self.pending.add(request, timed=timed)
        self.known.append(request)
        self.live.append(request)
        if timed and at is not None:
            self.timers.append(request)

    @precondition(lambda self: any(not flying(self, request) for request in self.live))
    @rule(data=st.data(), count=st.integers(1, 3))
    def depart_some(self, data, count):
        for _ in range(count):
            queued = [one for one in self.live if not flying(self, one)]
            if queued:
                self.depart(data.draw(st.sampled_from(queued)))

    def depart(self, request):
        """As the owner of the line does it: the request gets an id that nobody has, unless it has one of its own."""
        id = request.id
        if request.caller_key is None and request.match is None:
            self.last_id += 1
            while key_of(self.last_id) in self.keys_taken():
                with pytest.raises(ValueError, match="in flight"):
                    self.pending.depart(request, self.last_id)
                self.last_id += 1
            id = self.last_id
        assert self.pending.depart(request, id)
        assert request.id is id
        self.row.append((request if request.match else key_of(id), request))

    @precondition(lambda self: any(request not in self.live for request in self.known))
    @rule(data=st.data())
    def depart_too_late(self, data):
        request = data.draw(st.sampled_from([one for one in self.known if one not in self.live]))
        assert not self.pending.depart(request, "late")

    @precondition(lambda self: self.known)
    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES))
    def take(self, data, outcome):
        request = self.pick(data)
        ends = request in self.live and not (outcome is TIMED_OUT and request in self.streaming)
        assert self.pending.take(request, outcome) is ends
        keeps_place = self.by_order and outcome is not OK
        if ends:
            self.live.remove(request)
            self.counts[outcome] += request not in self.streaming
            assert request.outcome is outcome
            if outcome is CANCELLED and keeps_place and flying(self, request) and request.deadline.at is not None:
                self.timers.append(request)
            if not keeps_place:
                self.leave_row(request)

    @precondition(lambda self: any(flying(self, request) for request in self.live))
    @rule(data=st.data(), endless=st.booleans())
    def begin_streaming(self, data, endless):
        request = data.draw(st.sampled_from([one for one in self.live if flying(self, one)]))
        if request not in self.streaming:
            request.feed = Feed(endless=endless)
            self.streaming.append(request)
            self.counts[OK] += 1
        self.pending.begin_streaming(request)

    @precondition(lambda self: any(request not in self.live for _, request in self.row))
    @rule(data=st.data())
    def drop_place(self, data):
        request = data.draw(st.sampled_from([one for _, one in self.row if one not in self.live]))
        self.pending.drop_place(request)
        self.leave_row(request)

    @precondition(lambda self: len(self.row) > 1)
    @rule()
    def end_connection(self):
        assert self.pending.end_connection() == [request for _, request in self.row]
        self.row = []

    @precondition(lambda self: self.timers)
    @rule(now=st.integers(0, 20))
    def expire(self, now):
        named = self.pending.expire(now)
        assert [request.deadline.at for request in named] == sorted(request.deadline.at for request in named)
        assert all(request.deadline.at <= now for request in named)
        for request in named:
            self.timers.remove(request)
        assert not [one for one in self.timers if one.deadline.at <= now and matters(self, one)]

    @invariant()
    def tables_agree(self):
        waiting = [request for request in self.live if request not in self.streaming]
        streaming = [request for request in self.live if request in self.streaming]
        endless = [one for one in streaming if one.feed.endless and flying(self, one) and not self.by_order]
        assert self.pending.everything() == waiting + streaming
        assert self.pending.waiting == len(waiting)
        assert self.pending.unfinished is (len(waiting) > 0 or any(not one.feed.endless for one in streaming))
        assert self.pending.in_flight == len(self.row) - len(endless)
        assert self.pending.matching() == [request for _, request in self.row if request.match]
        assert self.pending.counts == self.counts
        assert all((request.outcome is None) is (request in self.live) for request in self.known)
        assert all(
            self.pending.holds_place(request) is (flying(self, request) and request not in self.live)
            for request in self.known
        )

    @invariant()
    def every_id_finds_its_own_request(self):
        assert self.pending.find(OLDEST) is (self.row[0][1] if self.row else None)
        for id in [*SOME_IDS, *range(4, 9), None]:
            expected = next((request for key, request in self.row if key == key_of(id)), None)
            assert self.pending.find(id) is expected

    @invariant()
    def no_deadline_is_missed(self):
        due = [request.deadline.at for request in self.timers if matters(self, request)]
        if due:
            assert self.pending.next_deadline() <= min(due)


def flying(machine, request):
    return any(other is request for _, other in machine.row)


def matters(machine, request):
    if request in machine.live:
        return request not in machine.streaming
    return flying(machine, request)


TestPendingAgainstAModel = PendingMachine.TestCase
