"""The bounded queue of incoming items: policies, limits, episodes of loss, the end."""

import functools
import itertools
import math
import threading

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from wsclient._receiving import inbox as _inbox
from wsclient._receiving.inbox import EMPTY, ITEM_BYTES, Inbox, Put
from wsclient._threads.sections import this_thread
from wsclient._threads.waiting import Deadline

from ..support import LONG, eventually
from ..support.strikes import disturb, strikes

POLICIES = ("block", "raise", "drop_oldest", "drop_newest", "latest")
FOREVER = Deadline(None)
PASSED = Deadline(-math.inf)


def make(max_items=100, max_bytes=10_000, overflow="block", on_room=None):
    return Inbox(max_items, max_bytes, overflow, on_room)


def drain(inbox):
    items = []
    while (item := inbox.get(PASSED)) is not EMPTY:
        items.append(item)
    return items


def put_all(inbox, items, size=1, **options):
    return [inbox.put(item, size, **options) for item in items]


# --- order and waiting -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overflow", ["block", "raise", "drop_oldest", "drop_newest"])
def test_items_are_returned_in_order(overflow):
    inbox = make(overflow=overflow)
    items = [None, 0, "", False, [], "last"]
    assert put_all(inbox, items) == [Put.KEPT] * 6
    assert len(inbox) == 6
    assert drain(inbox) == items
    assert len(inbox) == 0


def test_many_waiting_items_are_taken_together_with_the_oldest_last():
    inbox = make()
    put_all(inbox, range(90))
    sizes, items = [], []
    while several := inbox.get_several(PASSED):
        sizes.append(len(several))
        items += reversed(several)
    assert items == list(range(90))
    assert sizes == [_inbox._BATCH_ITEMS] * 2 + [1] * (90 - 2 * _inbox._BATCH_ITEMS)
    assert len(inbox) == 0


@pytest.mark.parametrize("overflow", ["raise", "drop_oldest", "drop_newest", "latest"])
def test_with_a_policy_that_drops_items_one_item_is_taken_at_a_time(overflow):
    inbox = make(overflow=overflow)
    for number in range(90):
        inbox.put(number, 1, key=number)
    assert inbox.get_several(PASSED) == [0]
    assert len(inbox) == 89


def test_items_taken_together_free_exactly_their_own_room():
    inbox = make(max_bytes=200)
    for number in range(80):
        inbox.put(number, 2)
        inbox.put_extra("extra")
    assert inbox.get_several(PASSED)[::-1] == [item for number in range(8) for item in (number, "extra")]
    assert len(inbox) == 72
    assert inbox.put("large", 200 - 2 * 72 - 1) is Put.KEPT
    assert not inbox.full
    inbox.put("last byte", 1)
    assert inbox.full


def test_large_items_are_taken_one_at_a_time():
    inbox = make(max_bytes=10**9)
    put_all(inbox, range(90), size=_inbox._BATCH_BYTES // _inbox._BATCH_ITEMS + 1)
    assert inbox.get_several(PASSED) == [0]
    inbox = make(max_bytes=10**9)
    put_all(inbox, range(90), size=_inbox._BATCH_BYTES // _inbox._BATCH_ITEMS)
    assert len(inbox.get_several(PASSED)) == _inbox._BATCH_ITEMS


def test_a_full_queue_returns_one_item_and_reports_the_room():
    rooms = []
    inbox = make(on_room=lambda: rooms.append(len(inbox)))
    put_all(inbox, range(100))
    assert inbox.full
    assert inbox.get_several(PASSED) == [0]
    assert rooms == [99]
    assert len(inbox.get_several(PASSED)) == _inbox._BATCH_ITEMS


def test_items_are_taken_one_at_a_time_after_the_queue_has_lost_some():
    inbox = make(max_items=200, max_bytes=100)
    put_all(inbox, range(100), must_keep_reading=True)
    assert inbox.put("lost", 1, must_keep_reading=True) is Put.FIRST_LOSS
    sizes = [len(inbox.get_several(PASSED)) for _ in range(40)]
    assert sizes == [1] * 40
    assert inbox.put("a second loss", 100, must_keep_reading=True) is Put.KEPT, "a queue with room keeps new items"


def test_a_reader_of_several_items_waits_like_any_other_reader():
    inbox = make()
    reader = threading.Thread(target=lambda: items.extend(inbox.get_several(FOREVER)))
    items = []
    reader.start()
    inbox.put("item", 1)
    reader.join(LONG)
    assert items == ["item"]


def test_get_returns_empty_at_its_deadline():
    assert make().get(PASSED) is EMPTY


def test_get_returns_an_available_item_even_after_its_deadline():
    inbox = make()
    inbox.put("item", 1)
    assert inbox.get(PASSED) == "item"


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        (lambda inbox: inbox.put("item", 1), "item"),
        (lambda inbox: inbox.put_extra("extra"), "extra"),
        (lambda inbox: inbox.end(), EMPTY),
        (lambda inbox: inbox.end(OSError(), discard=True), EMPTY),
    ],
)
def test_a_waiting_reader_is_released(release, expected):
    inbox = make()
    got = []
    reader = threading.Thread(target=lambda: got.append(inbox.get(FOREVER)), daemon=True)
    reader.start()
    eventually(lambda: inbox._filled.latches)
    release(inbox)
    reader.join(LONG)
    assert got == [expected]


def test_each_item_goes_to_exactly_one_of_several_readers():
    inbox = make()
    got = [[] for _ in range(3)]

    def read(mine):
        while (item := inbox.get(FOREVER)) is not EMPTY:
            mine.append(item)

    readers = [threading.Thread(target=read, args=(mine,), daemon=True) for mine in got]
    for reader in readers:
        reader.start()
    put_all(inbox, range(2_000))
    inbox.end()
    for reader in readers:
        reader.join(LONG)
    assert sorted(item for mine in got for item in mine) == list(range(2_000))
    assert all(mine == sorted(mine) for mine in got)


MOMENTS = ("call", "c_call", "c_return")


def take(inbox, taken):
    """Take an item as another thread can: not while the present thread holds the lock."""
    if not this_thread.inside() and (item := inbox.get(PASSED)) is not EMPTY:
        taken.append(item)


@pytest.mark.parametrize("overflow", POLICIES)
@pytest.mark.parametrize("queued", range(4))
def test_the_count_is_correct_if_another_thread_takes_an_item_during_put(overflow, queued):
    for moment in itertools.count(1):
        inbox, taken = make(max_items=3, overflow=overflow), []
        for number in range(queued):
            inbox.put(number, 1, key=number)
        put = functools.partial(inbox.put, "item", 1, key="item")
        if not disturb(put, moment, functools.partial(take, inbox, taken), MOMENTS):
            break
        assert inbox.full is (overflow == "block" and len(inbox) >= 3)
        size, rest = len(inbox), drain(inbox)
        assert size == len(rest)
        assert len(inbox) == inbox._bytes == 0
        assert not inbox.full
        assert len(taken) + len(rest) + inbox.dropped == queued + 1
    assert moment > 2


@pytest.mark.parametrize("discard", [False, True])
def test_an_item_put_during_a_discarding_end_is_never_returned(discard):
    for moment in itertools.count(1):
        inbox = make()
        inbox.put("first", 1)
        put = functools.partial(inbox.put, "second", 1)
        end = functools.partial(inbox.end, discard=discard)
        if not disturb(put, moment, end, MOMENTS):
            break
        assert drain(inbox) in ([[]] if discard else [["first"], ["first", "second"]])
        assert len(inbox) == 0
    assert moment > 2


def test_put_takes_no_lock_while_there_is_room():
    inbox = make(max_items=2)
    with inbox._lock:
        assert inbox.put("item", 1) is Put.KEPT
    assert drain(inbox) == ["item"]


# --- block -----------------------------------------------------------------------------------------------------------


def test_block_is_full_at_the_limit_and_loses_nothing_above_it():
    inbox = make(max_items=2)
    inbox.put(1, 1)
    assert not inbox.full
    inbox.put(2, 1)
    assert inbox.full
    assert inbox.put(3, 1) is Put.KEPT
    assert drain(inbox) == [1, 2, 3]
    assert inbox.dropped == 0


def test_block_has_a_byte_limit_too():
    inbox = make(max_bytes=10)
    inbox.put(1, 9)
    assert not inbox.full
    inbox.put(2, 1)
    assert inbox.full
    inbox.get(PASSED)
    assert not inbox.full


def test_forced_reading_exceeds_the_item_limit_and_not_the_byte_limit():
    inbox = make(max_items=1, max_bytes=1000)
    inbox.put(1, 4)
    assert inbox.put(2, 600, must_keep_reading=True) is Put.KEPT
    assert inbox.put(3, 400, must_keep_reading=True) is Put.FIRST_LOSS
    assert inbox.put(4, 0, must_keep_reading=True) is Put.KEPT
    assert drain(inbox) == [1, 2, 4]
    assert inbox.dropped == 1


def test_forced_reading_keeps_one_item_larger_than_the_limit_if_the_queue_has_room():
    """A single item may be larger than the byte limit; a consumer that is fast enough must receive it all the same."""
    inbox = make(max_items=10, max_bytes=100)
    assert inbox.put("large", 101, must_keep_reading=True) is Put.KEPT
    assert inbox.put("lost", 0, must_keep_reading=True) is Put.FIRST_LOSS
    assert drain(inbox) == ["large"]
    assert inbox.put(1, 99, must_keep_reading=True) is Put.KEPT
    assert inbox.put(2, 99, must_keep_reading=True) is Put.KEPT
    assert inbox.put(3, 99, must_keep_reading=True) is not Put.KEPT


def test_forced_reading_counts_empty_items_with_a_minimum_size():
    inbox = make(max_items=10, max_bytes=10_000)
    kept = sum(inbox.put(n, 0, must_keep_reading=True) is Put.KEPT for n in range(100_000))
    assert kept <= 10 + 10_000 // 100


@pytest.mark.parametrize("overflow", ["raise", "drop_oldest", "drop_newest", "latest"])
def test_other_policies_never_pause_reading(overflow):
    inbox = make(max_items=1, overflow=overflow)
    put_all(inbox, [1, 2, 3])
    assert not inbox.full


def test_on_room_is_called_only_when_a_full_queue_has_room_again():
    calls = []
    inbox = make(max_items=2, on_room=lambda: calls.append(len(inbox)))
    put_all(inbox, [1, 2, 3])
    inbox.get(PASSED)
    assert calls == []
    inbox.get(PASSED)
    assert calls == [1]
    inbox.get(PASSED)
    inbox.get(PASSED)
    assert calls == [1]


def test_on_room_is_called_at_the_end_since_no_reader_makes_room_later():
    calls = []
    inbox = make(max_items=1, on_room=lambda: calls.append(None))
    inbox.put(1, 1)
    inbox.end()
    assert len(calls) == 1


def test_on_room_can_use_the_queue():
    inbox = make(max_items=1, on_room=lambda: inbox.put("more", 1))
    inbox.put("first", 1)
    assert inbox.get(PASSED) == "first"
    assert inbox.get(PASSED) == "more"


# --- dropping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overflow", ["raise", "drop_newest"])
def test_the_newest_item_is_dropped_above_the_item_limit(overflow):
    inbox = make(max_items=2, overflow=overflow)
    assert put_all(inbox, [1, 2, 3, 4]) == [Put.KEPT, Put.KEPT, Put.FIRST_LOSS, Put.LOSS]
    assert drain(inbox) == [1, 2]
    assert inbox.dropped == 2


@pytest.mark.parametrize("overflow", ["raise", "drop_newest"])
def test_the_newest_item_is_dropped_above_the_byte_limit(overflow):
    inbox = make(max_bytes=10, overflow=overflow)
    assert inbox.put(1, 4) is Put.KEPT
    assert inbox.put(2, 7) is Put.FIRST_LOSS
    assert inbox.put(3, 6) is Put.KEPT
    assert drain(inbox) == [1, 3]
    assert inbox.dropped == 1


def test_the_oldest_item_is_dropped_above_the_item_limit():
    inbox = make(max_items=2, overflow="drop_oldest")
    assert put_all(inbox, [1, 2, 3, 4]) == [Put.KEPT, Put.KEPT, Put.FIRST_LOSS, Put.LOSS]
    assert drain(inbox) == [3, 4]
    assert inbox.dropped == 2


def test_enough_of_the_oldest_items_are_dropped_for_a_large_one():
    inbox = make(max_bytes=10, overflow="drop_oldest")
    put_all(inbox, [1, 2, 3], size=3)
    assert inbox.put(4, 7) is Put.FIRST_LOSS
    assert inbox.dropped == 2
    assert drain(inbox) == [3, 4]


# --- latest ----------------------------------------------------------------------------------------------------------


def test_latest_without_a_key_keeps_only_the_newest_item():
    inbox = make(overflow="latest")
    assert put_all(inbox, [1, 2, 3]) == [Put.KEPT] * 3
    assert (len(inbox), inbox.dropped) == (1, 2)
    assert drain(inbox) == [3]


def test_latest_keeps_the_newest_item_of_each_key_in_the_position_of_the_first():
    inbox = make(overflow="latest")
    for item in ("a1", "b1", "a2", "c1", "b2", "a3"):
        inbox.put(item, 1, key=item[0])
    assert (len(inbox), inbox.dropped) == (3, 3)
    assert drain(inbox) == ["a3", "b2", "c1"]


def test_latest_starts_a_new_entry_for_a_key_that_was_read():
    inbox = make(overflow="latest")
    inbox.put("a1", 1, key="a")
    inbox.put("b1", 1, key="b")
    assert inbox.get(PASSED) == "a1"
    assert inbox.put("a2", 1, key="a") is Put.KEPT
    assert drain(inbox) == ["b1", "a2"]
    assert inbox.dropped == 0


def test_latest_drops_the_oldest_key_above_the_limit():
    inbox = make(max_items=2, overflow="latest")
    for key in "abc":
        inbox.put(key, 1, key=key)
    assert inbox.dropped == 1
    inbox.put("a again", 1, key="a")
    assert drain(inbox) == ["c", "a again"]
    assert inbox.dropped == 2


def test_latest_counts_the_bytes_of_the_items_it_keeps():
    inbox = make(max_bytes=10, overflow="latest")
    inbox.put("a1", 8, key="a")
    inbox.put("a2", 2, key="a")
    inbox.put("b", 8, key="b")
    assert inbox.dropped == 1
    inbox.put("c", 1, key="c")
    assert inbox.dropped == 2
    assert drain(inbox) == ["b", "c"]


def test_latest_obeys_the_byte_limit_when_the_newer_item_is_larger():
    inbox = make(max_bytes=10, overflow="latest")
    for key in "abcde":
        inbox.put(key, 2, key=key)
    for key in "abcde":
        inbox.put(key * 9, 9, key=key)
    assert sum(max(2, len(item)) for item in drain(inbox)) <= 10


# --- episodes of loss ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overflow", ["raise", "drop_newest", "drop_oldest"])
def test_an_episode_ends_when_the_queue_stays_half_empty(overflow):
    inbox = make(max_items=4, overflow=overflow)
    put_all(inbox, range(4))
    assert inbox.put("lost", 1) is Put.FIRST_LOSS
    inbox.get(PASSED)
    assert inbox.put("fits", 1) is Put.KEPT
    assert inbox.put("lost", 1) is Put.LOSS
    for _ in range(3):
        inbox.get(PASSED)
    put_all(inbox, range(3))
    assert inbox.put("lost", 1) is Put.FIRST_LOSS


def test_an_episode_of_the_byte_limit_ends_when_half_of_the_bytes_are_read():
    inbox = make(max_bytes=10, overflow="drop_newest")
    for n, size in enumerate((4, 2, 2, 2)):
        inbox.put(n, size)
    assert inbox.put("lost", 1) is Put.FIRST_LOSS
    inbox.get(PASSED)
    inbox.put("fits", 4)
    assert inbox.put("lost", 1) is Put.LOSS
    for _ in range(3):
        inbox.get(PASSED)  # 4 of 10 bytes are left after the third
    inbox.put("fits", 4)
    assert inbox.put("lost", 4) is Put.LOSS, "one check below half does not end it"
    inbox.get(PASSED)
    inbox.get(PASSED)
    inbox.put("fits", 10)
    assert inbox.put("lost", 1) is Put.FIRST_LOSS


@pytest.mark.parametrize(("overflow", "max_items"), [("drop_oldest", 1), ("drop_newest", 1), ("drop_newest", 2)])
def test_a_reader_that_stays_behind_causes_one_episode_although_each_read_empties_the_queue(overflow, max_items):
    inbox = make(max_items=max_items, overflow=overflow)
    verdicts = []
    for n in range(50):
        verdicts += [inbox.put(n, 1), inbox.put(n, 1), inbox.put(n, 1)]
        inbox.get(PASSED)
    assert verdicts.count(Put.FIRST_LOSS) == 1
    assert verdicts.count(Put.LOSS) >= 48


def test_latest_with_several_keys_all_read_between_bursts_causes_one_episode():
    inbox = make(max_items=2, overflow="latest")
    verdicts = []
    for _ in range(20):
        verdicts += [inbox.put(key, 1, key=key) for key in "abcabc"]
        assert len(drain(inbox)) == 2
    assert verdicts.count(Put.FIRST_LOSS) == 1


@pytest.mark.parametrize("max_items", [1, 100])
def test_a_message_that_is_replaced_by_a_newer_one_is_counted_but_is_no_loss(max_items):
    inbox = make(max_items=max_items, overflow="latest")
    assert {inbox.put(n, 1) for n in range(50)} == {Put.KEPT}
    assert inbox.dropped == 49
    assert inbox.get(PASSED) == 49


def test_a_larger_message_that_pushes_out_another_key_is_a_loss():
    inbox = make(max_bytes=10, overflow="latest")
    assert [inbox.put("a", 4, key="a"), inbox.put("b", 4, key="b")] == [Put.KEPT, Put.KEPT]
    assert inbox.put("larger", 8, key="a") is Put.FIRST_LOSS
    assert (drain(inbox), inbox.dropped) == (["larger"], 2)


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
def test_a_reader_that_has_caught_up_starts_a_new_episode(overflow):
    inbox = make(max_items=1, overflow=overflow)
    for _ in range(3):
        assert [inbox.put(n, 1) for n in range(3)] == [Put.KEPT, Put.FIRST_LOSS, Put.LOSS]
        inbox.get(PASSED)
        assert inbox.put("in time", 1) is Put.KEPT
        inbox.get(PASSED)


# --- extra items -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overflow", POLICIES)
def test_extra_items_keep_their_order_and_have_no_size_and_are_never_dropped(overflow):
    inbox = make(max_items=1, max_bytes=1, overflow=overflow)
    assert inbox.put_extra("first")
    inbox.put("a", 1)
    assert inbox.put_extra("second")
    inbox.put("b", 1)
    assert len(inbox) == (2 if overflow == "block" else 1)
    items = drain(inbox)
    assert items[0] == "first"
    assert "second" in items
    assert len(inbox) == 0


def test_extra_items_alone_do_not_fill_the_queue():
    inbox = make(max_items=1)
    for n in range(10):
        inbox.put_extra(n)
    assert not inbox.full
    assert len(inbox) == 0
    assert drain(inbox) == list(range(10))


# --- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overflow", POLICIES)
def test_after_the_end_queued_items_can_be_taken_and_new_ones_are_refused(overflow):
    inbox = make(max_items=2, overflow=overflow)
    inbox.put("there", 1, key="there")
    inbox.end()
    assert inbox.ended
    for _ in range(3):
        assert inbox.put("late", 1, key="late") is Put.KEPT
    assert not inbox.put_extra("late")
    assert inbox.dropped == 0
    assert inbox.get(FOREVER) == "there"
    assert inbox.get(FOREVER) is EMPTY


def test_the_first_end_counts():
    inbox = make()
    error = OSError()
    inbox.end(error)
    inbox.end(ValueError())
    inbox.end()
    assert inbox.error is error


def test_the_first_end_counts_inside_a_section_too():
    inbox, first = make(), OSError("first")
    with this_thread.section:
        inbox.end(first)
        inbox.end(OSError("second"))
    assert (inbox.ended, inbox.error) == (True, first)


def test_an_end_without_an_error_does_not_become_a_failure_later():
    inbox = make()
    inbox.end()
    inbox.end(OSError())
    assert inbox.error is None


def test_a_discarding_end_drops_queued_items_even_if_it_is_the_second_end():
    inbox = make(max_items=2)
    put_all(inbox, [1, 2])
    inbox.put_extra(3)
    error = OSError()
    inbox.end(error)
    inbox.end(discard=True)
    assert inbox.get(FOREVER) is EMPTY
    assert len(inbox) == 0
    assert not inbox.full
    assert inbox.error is error


# --- all operations, compared with a list ----------------------------------------------------------------------------


class InboxMachine(RuleBasedStateMachine):
    """The model is a list of [item, size, key]; extra items have no size. With "latest", each key has a fixed size."""

    @initialize(overflow=st.sampled_from(POLICIES), max_items=st.integers(1, 8), max_bytes=st.sampled_from([6, 30]))
    def begin(self, overflow, max_items, max_bytes):
        self.overflow, self.max_items, self.max_bytes = overflow, max_items, max_bytes
        self.rooms = self.expected_rooms = 0
        self.inbox = Inbox(max_items, max_bytes, overflow, self.note_room)
        self.cells = []
        self.dropped = 0
        self.losing = 0  # how often the reader must be seen to keep up before the episode ends
        self.ended = False
        self.number = 0

    def note_room(self):
        self.rooms += 1

    def counted(self):
        return [cell for cell in self.cells if cell[1] is not None]

    def size(self):
        return sum(cell[1] for cell in self.counted())

    def lacks_room(self, size):
        return len(self.counted()) >= self.max_items or self.size() + size > self.max_bytes

    def is_full(self):
        return self.overflow == "block" and (len(self.counted()) >= self.max_items or self.size() >= self.max_bytes)

    @rule(items=st.lists(st.tuples(st.integers(0, 4), st.sampled_from("abc"), st.booleans()), min_size=1, max_size=5))
    def put_some(self, items):
        for size, key, must_keep_reading in items:
            self.put("abc".index(key) + 1 if self.overflow == "latest" else size, key, must_keep_reading)

    def put(self, size, key, must_keep_reading):
        self.number += 1
        cell = [self.number, size, key]
        verdict = self.inbox.put(self.number, size, key=key, must_keep_reading=must_keep_reading)
        lost = replaced = 0
        if self.ended:
            pass
        elif self.overflow == "block":
            excess = max(0, len(self.counted()) - self.max_items) * ITEM_BYTES
            lost = int(must_keep_reading and self.is_full() and self.size() + size + excess > self.max_bytes)
            self.cells += [] if lost else [cell]
        elif self.overflow in ("raise", "drop_newest"):
            lost = int(self.lacks_room(size))
            self.cells += [] if lost else [cell]
        elif self.overflow == "latest" and any(one[2] == key for one in self.counted()):
            lost = replaced = 1
            next(one for one in self.counted() if one[2] == key)[:] = cell
        else:
            while self.counted() and self.lacks_room(size):
                self.cells.remove(self.counted()[0])
                lost += 1
            self.cells.append(cell)
        self.dropped += lost
        lost -= replaced
        assert verdict is (Put.KEPT if not lost else Put.LOSS if self.losing else Put.FIRST_LOSS)
        self.losing = 2 if lost else self.losing

    @rule()
    def put_extra(self):
        self.number += 1
        assert self.inbox.put_extra(self.number) is not self.ended
        if not self.ended:
            self.cells.append([self.number, None, None])

    @rule(count=st.integers(1, 4))
    def get_some(self, count):
        for _ in range(count):
            item = self.inbox.get(PASSED)
            if not self.cells:
                assert item is EMPTY
                return
            self.was_taken(item)

    def was_taken(self, item):
        was_full = self.is_full()
        taken = self.cells.pop(0)
        assert item == taken[0]
        self.expected_rooms += was_full and not self.is_full()
        eased = 2 * len(self.counted()) <= self.max_items and 2 * self.size() <= self.max_bytes
        if self.overflow == "latest":
            eased = not self.counted()
        if taken[1] is not None and eased:
            self.losing = max(0, self.losing - 1)

    @rule()
    def get_several(self):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_inbox, "_BATCH_ITEMS", 2)
            patch.setattr(_inbox, "_BATCH_FROM", 2)
            several = self.inbox.get_several(PASSED)
        crowded = self.overflow == "block" and len(self.counted()) > 2 and not self.is_full() and not self.losing
        assert len(several) == (2 if crowded else min(1, len(self.cells)))
        for item in reversed(several):
            self.was_taken(item)

    @precondition(lambda self: self.number > 25)
    @rule(discard=st.booleans())
    def end(self, discard):
        self.inbox.end(discard=discard)
        self.ended = True
        self.expected_rooms += 1
        if discard:
            self.cells = []

    @invariant()
    def counts_agree(self):
        assert len(self.inbox) == len(self.counted())
        assert self.inbox.full is self.is_full()
        assert self.inbox.dropped == self.dropped
        assert self.inbox.ended is self.ended
        assert self.rooms == self.expected_rooms

    @invariant()
    def bounds_hold(self):
        if self.overflow != "block":
            assert len(self.inbox) <= self.max_items
            assert self.size() <= self.max_bytes


TestInboxAgainstAModel = InboxMachine.TestCase


def test_an_interrupt_of_a_reader_leaves_the_inbox_marked_full_only_while_it_is_full():
    for moment in itertools.count():
        inbox = Inbox(1, 100, "block")
        inbox.put("item", 100)
        struck = strikes(moment, functools.partial(inbox.get, PASSED))
        assert inbox.full is (len(inbox) == 1)
        assert inbox.put("next", 1) is Put.KEPT
        if not struck:
            break
    assert moment >= 3
