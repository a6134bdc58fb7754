"""The send queue: order, limits, policies, and the withdrawal of messages."""

import contextlib
import itertools
import math
import threading
import time
from functools import partial

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from wsclient._errors import ClientClosed, MessageTooBig, SendQueueFull
from wsclient._options import SendQueue
from wsclient._requests.batches import Batch
from wsclient._requests.request import Request
from wsclient._rfc6455.frames import Opcode
from wsclient._sending.message import EXPIRED, LOST, Answer, Mark, Outgoing, WriteProgress
from wsclient._sending.priority import MAX_ANSWERS
from wsclient._sending.queue import MessageQueue
from wsclient._threads.sections import this_thread
from wsclient._threads.waiting import Deadline

from ..support import LONG, SHORT, eventually
from ..support.strikes import disturb, strikes

POLICIES = ("block", "raise", "drop_oldest", "drop_newest")
FOREVER = Deadline(None)
PASSED = Deadline(-math.inf)
LONG_AGO = -math.inf
ANY_SIZE = 2**30


def message(size=1, **options):
    return Outgoing(Opcode.BINARY, bytes(size), size, **options)


def request(size=1, **options):
    return Request(bytes(size), size, deadline=FOREVER, **options)


def mark(**options):
    return Outgoing(Opcode.PING, b"", 0, **options)


def make(*entries, **bounds):
    queue = MessageQueue(SendQueue(**bounds))
    for entry in entries:
        queue.put(entry, PASSED, [])
    return queue


def put_in_thread(queue, entry, deadline=FOREVER):
    """Put an entry that must wait for room, in a thread which is waiting when this returns; return its outcome."""
    outcome = []

    def work():
        try:
            queue.put(entry, deadline, [])
            outcome.append(None)
        except Exception as error:
            outcome.append(error)

    watchers = len(queue._room.latches)
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    eventually(lambda: len(queue._room.latches) > watchers or outcome)
    return thread, outcome


# --- order and limits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make_entry", [message, request, lambda: Answer(Opcode.TEXT, b"1", 1)])
def test_an_interrupt_of_put_leaves_correct_counts(make_entry):
    for moment in itertools.count():
        queue, entry = make(), make_entry()
        struck = strikes(moment, partial(queue.put, entry, PASSED, []))
        counts = queue.messages, queue.bytes
        assert counts == ((1, 1) if queue.take(ANY_SIZE, None) else (0, 0))
        assert (queue.messages, queue.bytes) == (0, 0)
        if not struck:
            break
    assert moment > 2


def test_messages_are_taken_in_the_order_in_which_they_were_put():
    entries = [message(), request(), mark(), message()]
    assert make(*entries).take(ANY_SIZE, None) == entries


def test_take_joins_messages_up_to_its_byte_limit():
    a, b, c = message(4), message(6), message(1)
    queue = make(a, b, c)
    assert queue.take(10, None) == [a, b]
    assert queue.take(10, None) == [c]
    assert queue.take(10, None) == []


def test_a_batch_with_more_requests_than_the_limit_allows_is_not_ready():
    """Otherwise the writer would check it in an endless loop."""
    queue = MessageQueue(SendQueue())
    batch = Batch([request(), request()], deadline=FOREVER, connection_number=None)
    queue.put(batch, FOREVER, [])
    assert [queue.ready(room) for room in (3, 2, 1, 0, -1)] == [True, True, False, False, False]
    assert [queue.take(ANY_SIZE, room) for room in (1, 0, -1)] == [[], [], []]
    assert queue.take(ANY_SIZE, 2) == [batch]


def answering(*sizes):
    """A queue with a request, a message, and answers behind them."""
    queue = make(request(), message())
    answers = [Answer(Opcode.TEXT, bytes(size), size) for size in sizes]
    for answer in answers:
        queue.put_answer(answer)
    return queue, answers


def test_answers_pass_a_request_that_waits_for_room_and_what_is_behind_it():
    queue, answers = answering(1, 2)
    assert queue.ready(0)
    assert queue.take(ANY_SIZE, 0) == answers
    assert not queue.ready(0)
    assert (queue.messages, queue.bytes, queue.answer_bytes) == (2, 2, 0)
    queue.restore(answers)
    assert len(queue.take(ANY_SIZE, 1)) == 4
    assert not queue.entries


def test_answers_that_pass_obey_the_limits_on_bytes_and_messages():
    queue, (first, second, third) = answering(10, 10, 5)
    assert queue.take(ANY_SIZE, 0, 0) == []
    assert queue.take(ANY_SIZE, 0, 1) == [first]
    assert queue.take(12, 0) == [second]
    assert queue.take(1, 0) == [third]
    assert [type(entry) for entry in queue.take(ANY_SIZE, 1)] == [Request, Outgoing]


def test_a_message_larger_than_a_batch_is_taken_alone():
    small, large, last = message(1), message(50), message(1)
    queue = make(small, large, last)
    assert queue.take(10, None) == [small]
    assert queue.take(10, None) == [large]
    assert queue.take(10, None) == [last]


def test_a_request_above_the_limit_blocks_the_entries_behind_it():
    first, second, behind = request(), request(), message()
    queue = make(first, second, behind)
    assert queue.take(ANY_SIZE, 1) == [first]
    assert queue.take(ANY_SIZE, 0) == []
    assert queue.take(ANY_SIZE, 1) == [second, behind]


def test_messages_are_not_requests_and_are_not_limited():
    entries = [message(), message()]
    assert make(*entries).take(ANY_SIZE, 0) == entries


def test_ready_reports_whether_an_entry_can_be_taken():
    queue = make()
    assert not queue.entries
    assert not queue.ready(1)
    entry = request()
    queue.put(entry, PASSED, [])
    assert queue.entries
    assert queue.ready(1)
    assert not queue.ready(0)
    assert not queue.ready(-1)
    queue.put(message(), PASSED, [])
    assert not queue.ready(0)
    queue.withdraw(entry)
    assert queue.ready(0)


def test_a_message_larger_than_the_queue_is_refused_at_once_and_changes_nothing():
    queue = make(max_bytes=10)
    with pytest.raises(MessageTooBig, match=r"11 bytes.*takes at most 10"):
        queue.put(message(11), PASSED, [])
    with pytest.raises(MessageTooBig, match=r"11 bytes.*takes at most 10"):
        queue.hand_over(message(11))
    queue.put(message(10), PASSED, [])
    assert (queue.messages, queue.bytes, queue.dropped) == (1, 10, 0)


def test_marks_do_not_count_towards_the_size():
    queue = make(message(), max_messages=1, overflow="raise")
    entry = mark()
    queue.put(entry, PASSED, [])
    assert (queue.messages, queue.bytes) == (1, 1)
    assert entry.queued


def test_restored_entries_may_exceed_the_limits_and_come_first():
    a, b, c = message(3), message(3), message(3)
    queue = make(a, b, max_messages=2, overflow="raise")
    assert queue.take(ANY_SIZE, None) == [a, b]
    queue.put(c, PASSED, [])
    a.put_on(WriteProgress(1), 100)
    queue.restore([a, b])
    assert (queue.messages, queue.bytes) == (3, 9)
    assert a.position is None
    with pytest.raises(SendQueueFull):
        queue.put(message(), PASSED, [])
    assert queue.take(ANY_SIZE, None) == [a, b, c]


# --- the age of the oldest message -----------------------------------------------------------------------------------


def test_the_age_of_the_queue_is_that_of_its_oldest_message():
    removed, old, new = message(), message(), message()
    queue = make(mark(), removed, old, new)
    queue.withdraw(removed)
    old.queued_at, new.queued_at = 100.0, 103.0
    assert queue.head_age(105.0) == 5.0
    assert queue.head_age(99.0) == 0.0
    queue.withdraw(old)
    assert queue.head_age(105.0) == 2.0
    queue.withdraw(new)
    assert queue.head_age(105.0) == 0.0


def test_a_message_that_returns_to_the_queue_keeps_its_age_and_one_that_was_never_queued_begins():
    queued, direct = message(), message()
    queue = make(queued)
    assert queue.take(ANY_SIZE, None) == [queued]
    queued.queued_at = 100.0
    before = time.monotonic()
    queue.restore([queued, direct])
    assert queued.queued_at == 100.0
    assert before <= direct.queued_at <= time.monotonic()


def test_a_message_that_was_handed_over_has_an_age_too():
    queue = make()
    first, second = message(), message()
    for entry in (first, second):
        queue.hand_over(entry)
    first.queued_at, second.queued_at = 100.0, 101.0
    assert queue.head_age(105.0) == 5.0
    queue.put(message(), PASSED, [])
    assert queue.head_age(105.0) == 5.0


class Interfering(float):
    """A time that calls a function when it is first subtracted: what another thread does at this moment."""

    def __new__(cls, value, function):
        self = super().__new__(cls, value)
        self.functions = [function]
        return self

    def __rsub__(self, other):
        while self.functions:
            self.functions.pop()()
        return other - float(self)


def test_the_age_is_computed_again_if_the_queue_has_changed_meanwhile():
    queue, first, second = make(), message(), message()

    def interfere():
        queue.hand_over(second)
        second.queued_at = 101.0

    queue.hand_over(first)
    first.queued_at = Interfering(100.0, interfere)
    assert queue.head_age(105.0) == 5.0
    assert list(queue.handed_over) == [first, second]


def test_the_age_can_be_read_while_other_threads_change_the_queue():
    queue, over = make(), threading.Event()

    def change():
        while not over.is_set():
            for put in (queue.hand_over, lambda entry: queue.put(entry, PASSED, [])):
                put(message())
            queue.take(ANY_SIZE, None)

    changing = threading.Thread(target=change)
    changing.start()
    ages = [queue.head_age(math.inf) for _ in range(5000)]
    over.set()
    changing.join(LONG)
    assert set(ages) <= {0.0, math.inf}


# --- policies --------------------------------------------------------------------------------------------------------


def test_overflow_raise_refuses_without_waiting():
    queue = make(message(), max_messages=1, overflow="raise")
    with pytest.raises(SendQueueFull, match="1 messages, 1 bytes"):
        queue.put(message(), FOREVER, [])


def test_drop_newest_marks_the_new_message_as_lost():
    old, new = message(), message()
    queue = make(old, max_messages=1, overflow="drop_newest")
    queue.put(new, PASSED, [])
    assert (new.state, new.queued, queue.dropped) == (LOST, False, 1)
    assert queue.take(ANY_SIZE, None) == [old]


def test_drop_oldest_reports_the_messages_that_it_dropped():
    a, b, new = message(4), request(4), message(7)
    queue = make(a, b, max_bytes=10, overflow="drop_oldest")
    evicted = []
    queue.put(new, PASSED, evicted)
    assert evicted == [a, b]
    assert [a.state, b.state] == [LOST, LOST]
    assert queue.dropped == 2
    assert queue.take(ANY_SIZE, None) == [new]


def test_drop_oldest_drops_no_more_than_necessary():
    a, b, new = message(4), message(4), message(5)
    queue = make(a, b, max_bytes=10, overflow="drop_oldest")
    evicted = []
    queue.put(new, PASSED, evicted)
    assert evicted == [a]
    assert queue.take(ANY_SIZE, None) == [b, new]


def test_drop_oldest_does_not_report_withdrawn_messages():
    a, b, new = message(), message(), message()
    queue = make(a, b, max_messages=2, overflow="drop_oldest")
    queue.withdraw(a)
    queue.put(new, PASSED, [])
    evicted = []
    queue.put(message(), PASSED, evicted)
    assert evicted == [b]
    assert queue.dropped == 1


def test_drop_oldest_keeps_marks_since_they_have_no_size():
    ping, old, new = mark(), message(), message()
    queue = make(ping, old, max_messages=1, overflow="drop_oldest")
    evicted = []
    queue.put(new, PASSED, evicted)
    assert evicted == [old]
    assert queue.dropped == 1
    assert queue.take(ANY_SIZE, None) == [ping, new]


# --- waiting for room ------------------------------------------------------------------------------------------------


def make_room_by_taking(queue, entry):
    queue.take(ANY_SIZE, None)


def make_room_by_withdrawing(queue, entry):
    queue.withdraw(entry)


def make_room_by_expiry(queue, entry):
    entry.expires_at = LONG_AGO
    queue.expire(entry)


def make_room_by_removing(queue, entry):
    queue.remove_unsendable(entry.connection_number)


@pytest.mark.parametrize(
    "make_room", [make_room_by_taking, make_room_by_withdrawing, make_room_by_expiry, make_room_by_removing]
)
def test_put_waits_until_there_is_room(make_room):
    old, new = message(connection_number=1), message()
    queue = make(old, max_messages=1)
    thread, outcome = put_in_thread(queue, new)
    assert not outcome
    assert not new.queued
    make_room(queue, old)
    thread.join(LONG)
    assert outcome == [None]
    assert queue.take(ANY_SIZE, None) == [new]


def test_put_continues_to_wait_while_there_is_too_little_room():
    small, large, new = message(1), message(8), message(5)
    queue = make(small, large, max_bytes=10)
    thread, outcome = put_in_thread(queue, new)
    queue.withdraw(small)
    eventually(lambda: queue._room.latches)
    assert not outcome
    queue.withdraw(large)
    thread.join(LONG)
    assert outcome == [None]
    assert new.queued


class InsideASection(Exception):
    """The thread holds the lock of the queue, so no other thread could make room at this moment."""


@pytest.mark.parametrize("is_answer", [False, True])
def test_room_that_is_made_just_before_a_put_waits_is_seen(is_answer):
    watching, moment = [], 0
    while not watching:  # from then on `put` is notified
        if is_answer:
            queue, entry = MessageQueue(SendQueue()), Answer(Opcode.TEXT, b"second", 6)
            queue.put_answer(Answer(Opcode.TEXT, None, 2 * MAX_ANSWERS))
            act = partial(queue.put_answer, entry)
        else:
            queue, entry = make(message(), max_messages=1), message()
            act = partial(queue.put, entry, FOREVER, [])

        def make_room(queue=queue):
            if this_thread.inside():
                raise InsideASection
            watching.extend(queue._room.latches)
            queue.take(ANY_SIZE, None)

        moment += 1
        with contextlib.suppress(InsideASection):
            assert disturb(act, moment, make_room, ("call",))
            assert entry.queued
    assert moment > 3


def test_put_waits_until_its_deadline_at_most():
    queue = make(message(), max_messages=1)
    thread, outcome = put_in_thread(queue, message(), Deadline(time.monotonic() + 0.05))
    thread.join(LONG)
    assert [type(error) for error in outcome] == [SendQueueFull]
    assert queue.messages == 1


@pytest.mark.parametrize(("deadline", "may_wait"), [(PASSED, True), (FOREVER, False)])
def test_put_does_not_wait_without_time_or_where_it_must_not(deadline, may_wait):
    queue = make(message(), max_messages=1)
    with pytest.raises(SendQueueFull):
        queue.put(message(), deadline, [], may_wait=may_wait)


def test_seal_releases_each_waiting_thread_with_a_separate_error():
    queue = make(message(), max_messages=1)
    waits = [put_in_thread(queue, message()) for _ in range(3)]
    error = ClientClosed("over")
    error.__cause__ = cause = OSError("why")
    queue.seal(error)
    for thread, _ in waits:
        thread.join(LONG)
    raised = [outcome[0] for _, outcome in waits]
    assert [str(one) for one in raised] == ["over"] * 3
    assert len({id(one) for one in (error, *raised)}) == 4
    assert {one.__cause__ for one in raised} == {cause}
    assert queue.messages == 1


# --- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overflow", POLICIES)
@pytest.mark.parametrize("entry", [message(), mark()])
def test_a_sealed_queue_refuses_new_entries_and_returns_those_it_has(overflow, entry):
    old, last = message(), mark()
    queue = make(old, overflow=overflow)
    queue.seal(ClientClosed("first"), last)
    queue.seal(ClientClosed("second"))
    with pytest.raises(ClientClosed, match="second"):
        queue.put(entry, PASSED, [])
    assert not entry.queued
    assert queue.take(ANY_SIZE, None) == [old, last]


def test_a_sealed_queue_accepts_unfinished_messages_of_a_connection():
    entry = message()
    queue = make(entry)
    queue.take(ANY_SIZE, None)
    queue.seal(ClientClosed("over"))
    queue.restore([entry])
    assert queue.take(ANY_SIZE, None) == [entry]


# --- withdraw, expire, remove ----------------------------------------------------------------------------------------


def test_a_withdrawn_message_is_never_taken():
    a, b = message(), message()
    queue = make(a, b)
    assert queue.withdraw(a)
    assert not queue.withdraw(a)
    assert (a.state, a.payload) == (LOST, None)
    assert (queue.messages, queue.bytes) == (1, 1)
    assert queue.take(ANY_SIZE, None) == [b]


def test_a_message_that_was_taken_cannot_be_withdrawn():
    entry = message()
    queue = make(entry)
    queue.take(ANY_SIZE, None)
    assert not queue.withdraw(entry)
    assert (entry.discarded_as, entry.payload) == (None, b"\0")


def test_a_withdrawn_request_does_not_count_towards_the_limit_of_requests():
    gone, kept = request(), request()
    queue = make(gone, kept)
    queue.withdraw(gone)
    assert queue.take(ANY_SIZE, 1) == [kept]


def test_withdrawn_messages_release_their_memory():
    first = message()
    queue = make(first)
    for _ in range(5_000):
        entry = message()
        queue.put(entry, PASSED, [])
        queue.withdraw(entry)
    assert len(queue.entries) < 200
    assert queue.take(ANY_SIZE, None) == [first]


def test_withdrawing_keeps_the_order_of_the_others():
    kept, gone = [], []
    queue = make()
    for n in range(600):
        entry = message()
        queue.put(entry, PASSED, [])
        (gone if n % 6 else kept).append(entry)
    for entry in gone:
        queue.withdraw(entry)
    assert queue.take(ANY_SIZE, None) == kept


def test_take_removes_expired_messages_and_returns_the_others():
    stale, fresh = message(expires_at=LONG_AGO), message(expires_at=math.inf)
    queue = make(stale, fresh)
    assert queue.take(ANY_SIZE, None) == [fresh]
    assert (stale.state, stale.payload) == (EXPIRED, None)
    assert (queue.messages, queue.bytes) == (0, 0)


def test_expire_ends_only_messages_that_are_queued_and_past_their_expiry():
    stale, fresh, timeless, taken = (message(expires_at=at) for at in (LONG_AGO, math.inf, None, math.inf))
    queue = make(taken)
    queue.take(ANY_SIZE, None)
    taken.expires_at = LONG_AGO
    for entry in (stale, fresh, timeless):
        queue.put(entry, PASSED, [])
    for entry in (stale, fresh, timeless, taken):
        queue.expire(entry)
    assert [entry.discarded_as for entry in (stale, fresh, timeless, taken)] == [EXPIRED, None, None, None]
    assert queue.messages == 2


def test_remove_unsendable_removes_the_messages_of_the_connection_that_ended():
    a, b, c = message(connection_number=1), message(connection_number=2), message()
    queue = make(a, b, c)
    assert queue.remove_unsendable(1) == [a]
    assert a.state == LOST
    assert queue.take(ANY_SIZE, None) == [b, c]


def test_messages_that_were_handed_over_belong_to_the_queue_for_each_call():
    entry, first, last = message(connection_number=1), Mark(b"", 1), mark()
    queue = make()
    queue.hand_over(entry)
    queue.put_first(first)
    assert queue.take(ANY_SIZE, None) == [first, entry]
    queue.hand_over(entry)
    queue.seal(ClientClosed("over"), last)
    assert queue.take(ANY_SIZE, None) == [entry, last]
    queue = make()
    queue.hand_over(entry)
    assert queue.has_message_of(1)
    assert not queue.has_message_of(2)
    queue = make()
    queue.hand_over(entry)
    assert queue.remove_unsendable(1) == [entry]
    assert entry.state == LOST


def test_answers_that_are_swept_leave_room_for_others():
    queue, answer = make(max_bytes=ANY_SIZE), Answer(Opcode.TEXT, None, 2 * MAX_ANSWERS)
    queue.put_answer(answer)
    assert queue.remove_unsendable(None) == [answer]
    assert (queue.messages, queue.bytes, queue.answer_bytes) == (0, 0, 0)
    queue.put_answer(Answer(Opcode.TEXT, None, 2 * MAX_ANSWERS))  # would wait


def test_remove_unsendable_at_the_end_removes_all_entries():
    a, b, c = message(connection_number=1), message(), mark()
    queue = make(a, b, c)
    queue.withdraw(a)
    assert queue.remove_unsendable(None) == [b, c]
    assert (queue.messages, queue.bytes) == (0, 0)
    assert queue.take(ANY_SIZE, None) == []


# --- all operations, compared with a list ----------------------------------------------------------------------------


class QueueMachine(RuleBasedStateMachine):
    """The model is a list of the entries in the queue; all counts are computed from it."""

    @initialize(overflow=st.sampled_from(POLICIES), max_messages=st.integers(1, 4), max_bytes=st.sampled_from([5, 9]))
    def begin(self, overflow, max_messages, max_bytes):
        self.overflow, self.max_messages, self.max_bytes = overflow, max_messages, max_bytes
        self.queue = MessageQueue(SendQueue(max_messages=max_messages, max_bytes=max_bytes, overflow=overflow))
        self.line = []
        self.known = []
        self.on_the_line = []
        self.dropped = 0
        self.sealed = False

    def is_full_for(self, entry):
        counted = [one for one in self.line if one.counted]
        return len(counted) >= self.max_messages or sum(one.size for one in counted) + entry.size > self.max_bytes

    def discard(self, entry, discarded_as):
        self.line.remove(entry)
        assert (entry.queued, entry.discarded_as) == (False, discarded_as)

    @rule(
        entries=st.lists(
            st.tuples(
                st.sampled_from([message, message, request, mark]),
                st.integers(0, 6),
                st.sampled_from([None, 1, 2]),
                st.sampled_from([None, None, None, LONG_AGO, math.inf]),
            ),
            min_size=1,
            max_size=5,
        )
    )
    def put_some(self, entries):
        for kind, size, connection_number, expires_at in entries:
            entry = (
                kind(connection_number=connection_number)
                if kind is mark
                else kind(size, connection_number=connection_number)
            )
            entry.expires_at = None if kind is request else expires_at
            self.put(entry)

    def put(self, entry):
        evicted, expected, error = [], [], None
        expired = []
        may_enter = entry.size <= self.max_bytes and not self.sealed and entry.counted
        if may_enter and self.is_full_for(entry):  # expired messages make room
            expired = [one for one in self.line if one.counted and one.expires_at == LONG_AGO]
            self.line = [one for one in self.line if one not in expired]
        if entry.size > self.max_bytes:
            error = MessageTooBig
        elif self.sealed:
            error = ClientClosed
        elif entry.counted and self.is_full_for(entry):
            if self.overflow == "drop_oldest":
                while self.is_full_for(entry):
                    victim = next(one for one in self.line if one.counted)
                    self.line.remove(victim)
                    expected.append(victim)
                self.dropped += len(expected)
                self.line.append(entry)
            elif self.overflow == "drop_newest":
                self.dropped += 1
            else:
                error = SendQueueFull
        else:
            self.line.append(entry)
        if error is None:
            self.queue.put(entry, PASSED, evicted)
        else:
            with pytest.raises(error):
                self.queue.put(entry, PASSED, evicted)
        assert evicted == expected
        assert all(victim.discarded_as == LOST for victim in evicted)
        assert all((one.queued, one.discarded_as) == (False, EXPIRED) for one in expired)
        assert entry.discarded_as == (LOST if error is None and entry not in self.line else None)
        self.known.append(entry)

    @precondition(lambda self: self.line)
    @rule(max_bytes=st.one_of(st.integers(1, 20), st.just(ANY_SIZE)), limit=st.sampled_from([None, 0, 1, 2]))
    def take(self, max_bytes, limit):
        batch = self.queue.take(max_bytes, limit)
        living = [entry for entry in self.line if entry.expires_at != LONG_AGO]
        assert batch == living[: len(batch)]
        assert len(batch) <= 1 or sum(entry.size for entry in batch) <= max_bytes
        requests = sum(entry.requests for entry in batch)
        assert limit is None or requests <= limit
        if not batch and living:
            assert living[0].requests > limit
        if max_bytes == ANY_SIZE and limit is None:
            assert batch == living
        for entry in batch:
            self.discard(entry, None)
        for entry in [one for one in self.line if one.expires_at == LONG_AGO and not one.queued]:
            self.discard(entry, EXPIRED)
        self.on_the_line = batch or self.on_the_line

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def withdraw(self, data):
        entry = data.draw(st.sampled_from(self.known))
        assert self.queue.withdraw(entry) is (entry in self.line)
        if entry in self.line:
            self.discard(entry, LOST)

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def expire(self, data):
        entry = data.draw(st.sampled_from(self.known))
        self.queue.expire(entry)
        if entry in self.line and entry.expires_at == LONG_AGO:
            self.discard(entry, EXPIRED)

    @precondition(lambda self: self.on_the_line)
    @rule(data=st.data())
    def restore(self, data):
        cut = self.on_the_line[data.draw(st.integers(0, len(self.on_the_line) - 1)) :]
        self.on_the_line = []
        for entry in cut:
            entry.put_on(WriteProgress(1), 1)
        self.queue.restore(iter(cut))
        self.line = cut + self.line
        assert all(entry.position is None for entry in cut)

    @precondition(lambda self: len(self.line) > 2)
    @rule(number=st.sampled_from([1, 2, None]))
    def remove_unsendable(self, number):
        gone = [entry for entry in self.line if number is None or entry.connection_number == number]
        assert self.queue.remove_unsendable(number) == gone
        for entry in gone:
            self.discard(entry, LOST)

    @precondition(lambda self: len(self.known) > 20)
    @rule(last=st.sampled_from([None, mark]))
    def seal(self, last):
        last = last and last()
        self.queue.seal(ClientClosed("over"), *([] if last is None else [last]))
        self.sealed = True
        if last is not None:
            self.line.append(last)

    @invariant()
    def counts_agree(self):
        counted = [entry for entry in self.line if entry.counted]
        assert self.queue.messages == len(counted)
        assert self.queue.bytes == sum(entry.size for entry in counted)
        assert self.queue.dropped == self.dropped

    @invariant()
    def every_entry_reports_whether_it_is_queued(self):
        queued = set(map(id, self.line))
        for entry in self.known:
            assert entry.queued is (id(entry) in queued)
            assert not entry.queued or entry.discarded_as is None

    @invariant()
    def ready_misses_nothing(self):
        if self.line:
            assert self.queue.entries
            assert self.queue.ready(0) or self.line[0].requests


TestQueueAgainstAModel = QueueMachine.TestCase


# --- expired messages take no room -----------------------------------------------------------------------------------


@pytest.mark.parametrize("overflow", POLICIES)
def test_expired_messages_make_room_before_an_entry_is_refused_or_dropped(overflow):
    old, new = message(expires_at=LONG_AGO), message()
    queue = make(old, max_messages=1, overflow=overflow)
    evicted = []
    queue.put(new, PASSED, evicted)
    assert (old.state, new.state, evicted, queue.dropped) == ("expired", "queued", [], 0)
    assert queue.take(ANY_SIZE, None) == [new]


def test_a_thread_that_waits_for_room_continues_when_a_message_expires():
    old, new = message(expires_at=time.monotonic() + SHORT), message()
    queue = make(old, max_messages=1)
    queue.put(new, Deadline(time.monotonic() + LONG), [])
    assert (old.state, new.state) == ("expired", "queued")


def test_a_restored_message_still_expires():
    old, new = message(expires_at=LONG_AGO), message()
    queue = make(max_messages=1)
    queue.restore([old])
    queue.put(new, PASSED, [])
    assert old.state == "expired"


def test_marks_can_be_queued_behind_a_seal_that_takes_them():
    queue = make(message())
    queue.seal(ClientClosed("draining"), takes_marks=True)
    ping = mark()
    queue.put(ping, PASSED, [])
    assert ping.queued
    with pytest.raises(ClientClosed, match="draining"):
        queue.put(message(), PASSED, [])
    queue.seal(ClientClosed("closed"))
    with pytest.raises(ClientClosed, match="closed"):
        queue.put(mark(), PASSED, [])


def test_a_mark_is_not_put_before_a_closed_queue():
    queue = MessageQueue(SendQueue())
    queue.seal(ClientClosed("It is closed."))
    with pytest.raises(ClientClosed, match="It is closed"):
        queue.put_first(Mark(b"x", 1))
    assert not queue.entries


def test_withdrawn_messages_between_a_mark_and_the_oldest_message_are_removed_when_the_queue_is_full():
    queue = MessageQueue(SendQueue(max_messages=100, overflow="drop_oldest"))
    queue.put_first(Mark(b"x", 1))
    entries = [Outgoing(1, b"x", 1) for _ in range(166)]
    for entry in entries[:100]:
        queue.put(entry, Deadline(None), [])
    for entry in entries[:66]:
        assert queue.withdraw(entry)
    for entry in entries[100:]:
        queue.put(entry, Deadline(None), [])
    assert len(queue.entries) == 167
    evicted = []
    queue.put(Outgoing(1, b"y", 1), Deadline(None), evicted)
    assert evicted == [entries[66]]
    assert len(queue.entries) == 101
