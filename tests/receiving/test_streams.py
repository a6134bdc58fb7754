"""Streams: which messages a stream receives, and how it ends."""

import gc
import logging
import threading
import time

import pytest

from wsclient._errors import ClientClosed, RequestTimeout, SlowConsumer, WouldDeadlock
from wsclient._receiving.inbox import Inbox
from wsclient._receiving.streams import Stream, Streams
from wsclient._receiving.subscription import Subscription
from wsclient._threads.waiting import NEVER, Deadline

from ..support import LONG, SHORT, eventually
from ..support.logs import make_log


def may_wait(call):
    pass


def listen(streams, *, match=None, key=None, maxsize=100, max_bytes=10_000, overflow="block", check=may_wait):
    inbox = Inbox(maxsize, max_bytes, overflow)
    stream = Stream(inbox, match=match, key=key, reader_closed=streams.discard, check=check, log=make_log()[0])
    streams.add(stream)
    return stream


def offer(streams, *messages, size=1, must_keep_reading=False):
    for message in messages:
        streams.offer(message, size, must_keep_reading=must_keep_reading)


def read(stream):
    """The messages queued in the stream."""
    messages = []
    try:
        while True:
            messages.append(stream.get(0))
    except (TimeoutError, ClientClosed):
        return messages


# --- delivery --------------------------------------------------------------------------------------------------------


def test_every_stream_receives_every_message_in_order():
    streams = Streams()
    a, b = listen(streams), listen(streams)
    offer(streams, None, 0, "", {"n": 1})
    assert read(a) == read(b) == [None, 0, "", {"n": 1}]


def test_a_stream_receives_messages_from_its_creation_on():
    streams = Streams()
    first = listen(streams)
    offer(streams, 1)
    second = listen(streams)
    offer(streams, 2)
    assert read(first) == [1, 2]
    assert read(second) == [2]


def test_a_stream_receives_only_messages_that_match():
    streams = Streams()
    even, every = listen(streams, match=lambda n: n % 2 == 0), listen(streams)
    offer(streams, 1, 2, 3, 4)
    assert read(even) == [2, 4]
    assert read(every) == [1, 2, 3, 4]


def test_latest_with_a_key_keeps_the_newest_message_of_each_key():
    streams = Streams()
    stream = listen(streams, key=lambda message: message[0], overflow="latest")
    offer(streams, "a1", "b1", "a2")
    assert read(stream) == ["a2", "b1"]
    assert stream.dropped == 1


def test_latest_without_a_key_keeps_one_message():
    streams = Streams()
    stream = listen(streams, overflow="latest")
    offer(streams, 1, 2, 3)
    assert read(stream) == [3]


def test_two_readers_share_the_messages():
    streams = Streams()
    stream = listen(streams, maxsize=10_000)
    got = [[], []]
    readers = [threading.Thread(target=mine.extend, args=(stream,), daemon=True) for mine in got]
    for reader in readers:
        reader.start()
    offer(streams, *range(1_000))
    streams.end(None)
    for reader in readers:
        reader.join(LONG)
    assert sorted(got[0] + got[1]) == list(range(1_000))


# --- functions of the user that raise --------------------------------------------------------------------------------


def test_a_match_that_raises_ends_only_its_own_stream_with_that_error():
    streams = Streams()
    broken, sound = listen(streams, match=lambda n: 1 / n), listen(streams)
    offer(streams, 1, 0, 2)
    assert next(broken) == 1
    with pytest.raises(ZeroDivisionError):
        next(broken)
    with pytest.raises(ZeroDivisionError):
        broken.get(0)
    assert read(sound) == [1, 0, 2]


def test_a_key_function_that_raises_ends_its_stream_with_that_error():
    streams = Streams()
    stream = listen(streams, key=lambda message: message["symbol"], overflow="latest")
    offer(streams, {"symbol": "a"}, {})
    assert next(stream) == {"symbol": "a"}
    with pytest.raises(KeyError, match="symbol"):
        next(stream)


def test_a_key_that_is_not_hashable_ends_only_its_own_stream():
    streams = Streams()
    broken = listen(streams, key=lambda message: message, overflow="latest")
    sound = listen(streams)
    offer(streams, ["not hashable"], "next")
    assert read(sound) == [["not hashable"], "next"]
    with pytest.raises(TypeError, match="unhashable"):
        next(broken)


# --- slow readers ----------------------------------------------------------------------------------------------------


def test_a_full_stream_with_block_pauses_reading():
    streams = Streams()
    stream = listen(streams, maxsize=2)
    listen(streams)
    offer(streams, 1)
    assert not streams.full
    offer(streams, 2)
    assert streams.full
    assert stream.get(0) == 1
    assert not streams.full


@pytest.mark.parametrize("close", [Stream.close, lambda stream: stream.__exit__(None, None, None)])
def test_a_closed_stream_does_not_pause_reading(close):
    streams = Streams()
    stream = listen(streams, maxsize=1)
    offer(streams, 1)
    close(stream)
    assert not streams.full


def test_a_stream_with_block_ends_when_forced_reading_exceeds_its_byte_limit():
    streams = Streams()
    stream = listen(streams, maxsize=1, max_bytes=10)
    offer(streams, "a", "b", size=5, must_keep_reading=True)
    offer(streams, "c", size=1, must_keep_reading=True)
    offer(streams, "d", size=0, must_keep_reading=True)
    assert [next(stream), next(stream)] == ["a", "b"]
    with pytest.raises(SlowConsumer):
        next(stream)
    assert stream.dropped == streams.dropped == 1


def test_a_stream_with_raise_ends_at_its_limit():
    streams = Streams()
    stream = listen(streams, maxsize=2, overflow="raise")
    offer(streams, 1, 2, 3, 4)
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(SlowConsumer):
        stream.get(0)
    assert not streams.full


@pytest.mark.parametrize(("overflow", "kept"), [("drop_oldest", [3, 4]), ("drop_newest", [1, 2])])
def test_a_stream_that_drops_messages_continues_and_reports_it_once(overflow, kept, caplog):
    streams = Streams()
    stream = listen(streams, maxsize=2, overflow=overflow)
    offer(streams, 1, 2, 3, 4)
    assert read(stream) == kept
    assert stream.dropped == 4 - len(kept)
    offer(streams, 5)
    assert read(stream) == [5]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == f"tester: a stream is read too slowly and loses messages (overflow={overflow!r})."


def test_latest_replaces_messages_without_a_warning_but_reports_a_key_for_which_there_is_no_room(caplog):
    streams = Streams()
    stream = listen(streams, key=lambda message: message[0], overflow="latest", maxsize=2)
    offer(streams, "a1", "b1", "a2", "b2", "a3")
    assert stream.dropped == 3
    assert not caplog.records
    offer(streams, "c1")
    assert read(stream) == ["b2", "c1"]
    (record,) = caplog.records
    assert record.getMessage() == "tester: a stream is read too slowly and loses messages (overflow='latest')."


def test_losses_of_closed_streams_stay_counted():
    streams = Streams()
    closed, kept, forgotten = (listen(streams, maxsize=1, overflow="drop_oldest") for _ in range(3))
    offer(streams, 1, 2)
    closed.close()
    del forgotten
    gc.collect()
    offer(streams, 3)
    assert kept.dropped == 2
    assert streams.dropped == 4


# --- get -------------------------------------------------------------------------------------------------------------


def test_get_without_a_message_in_time_raises_timeout_error():
    with pytest.raises(TimeoutError, match=r"within 0\.001 s"):
        listen(Streams()).get(0.001)


def test_get_waits_for_the_next_message():
    streams = Streams()
    stream = listen(streams)
    got = []
    reader = threading.Thread(target=lambda: got.append(stream.get()), daemon=True)
    reader.start()
    eventually(lambda: stream._inbox._filled.latches)
    offer(streams, "message")
    reader.join(LONG)
    assert got == ["message"]


@pytest.mark.parametrize("read_one", [next, lambda stream: stream.get(0), Stream.get])
def test_reading_is_refused_on_threads_where_it_would_deadlock(read_one):
    calls = []

    def refuse(call):
        calls.append(call)
        raise WouldDeadlock("not here")

    streams = Streams()
    stream = listen(streams, check=refuse)
    offer(streams, 1)
    with pytest.raises(WouldDeadlock):
        read_one(stream)
    assert len(calls) == 1
    assert calls[0] in ("next() of a stream", "get() of a stream")


# --- the end ---------------------------------------------------------------------------------------------------------


def test_after_the_end_of_the_client_a_stream_returns_its_queued_messages_and_stops():
    streams = Streams()
    stream = listen(streams)
    offer(streams, 1, 2)
    streams.end(None)
    offer(streams, 3)
    assert list(stream) == [1, 2]
    assert list(stream) == []
    with pytest.raises(ClientClosed):
        stream.get(0)


def test_after_a_failure_of_the_client_a_stream_returns_its_messages_and_then_raises_each_time():
    streams = Streams()
    stream, other = listen(streams), listen(streams)
    offer(streams, 1)
    error = OSError("refused")
    error.__cause__ = cause = ValueError()
    streams.end(error)
    assert next(stream) == 1
    raised = []
    for read_one in (next, next, lambda stream: stream.get(0), lambda stream: (other.get(0), other.get(0))):
        with pytest.raises(OSError, match="refused") as caught:
            read_one(stream)
        raised.append(caught.value)
    assert len({id(one) for one in (error, *raised)}) == 5
    assert all(one.__cause__ is cause for one in raised)


def test_close_drops_queued_messages_and_can_be_called_twice():
    streams = Streams()
    stream = listen(streams)
    offer(streams, 1)
    stream.close()
    stream.close()
    offer(streams, 2)
    assert list(stream) == []
    with pytest.raises(ClientClosed):
        stream.get(0)


def test_leaving_the_with_block_closes_only_its_own_stream():
    streams = Streams()
    other = listen(streams)
    with listen(streams) as stream:
        offer(streams, 1)
        assert next(stream) == 1
        assert iter(stream) is stream
    offer(streams, 2)
    assert list(stream) == []
    assert read(other) == [1, 2]


@pytest.mark.parametrize("end", [Stream.close, lambda stream: stream._end(None)])
def test_a_waiting_reader_is_released_by_the_end(end):
    streams = Streams()
    stream = listen(streams)
    got = []
    reader = threading.Thread(target=lambda: got.append(list(stream)), daemon=True)
    reader.start()
    eventually(lambda: stream._inbox._filled.latches)
    end(stream)
    reader.join(LONG)
    assert got == [[]]


def test_close_after_a_failure_still_reports_the_failure():
    streams = Streams()
    stream = listen(streams)
    offer(streams, 1)
    streams.end(OSError("refused"))
    stream.close()
    with pytest.raises(OSError, match="refused"):
        next(stream)


# --- gaps and garbage-collected streams ------------------------------------------------------------------------------


def test_each_lost_connection_is_a_gap_in_the_existing_streams():
    streams = Streams()
    first, closed = listen(streams), listen(streams)
    streams.gap()
    closed.close()
    second = listen(streams)
    streams.gap()
    assert (first.gaps, closed.gaps, second.gaps) == (2, 1, 1)


def test_a_garbage_collected_stream_receives_nothing_and_does_not_block_others():
    streams = Streams()
    asked = []
    forgotten = listen(streams, maxsize=1, match=lambda message: asked.append(message) or True)
    offer(streams, 1)
    assert streams.full
    del forgotten
    gc.collect()
    assert not streams.full
    offer(streams, 2)
    streams.gap()
    streams.end(None)
    assert asked == [1]


def test_garbage_collected_streams_release_their_memory():
    streams = Streams()
    for _ in range(1_000):
        listen(streams)
    gc.collect()
    kept = listen(streams)
    assert len(streams.listening) < 100
    offer(streams, 1)
    assert read(kept) == [1]


def test_closing_a_stream_also_removes_garbage_collected_ones():
    streams = Streams()
    kept = listen(streams)
    for _ in range(10):
        listen(streams)
    gc.collect()
    listen(streams).close()
    assert len(streams.listening) == 1
    offer(streams, 1)
    assert read(kept) == [1]


def test_a_stream_closed_by_the_garbage_collector_does_not_deadlock_with_a_stream_that_closes_at_that_moment():
    """Like a generator that reads a stream in a ``with`` block and becomes part of a reference cycle."""

    class Reader:
        def __init__(self, stream):
            self.stream = stream
            self.itself = self

        def __del__(self):
            self.stream.close()

    def close_many():
        for n in range(3_000):
            Reader(listen(streams))
            gc.set_threshold(1 + n % 60)
            listen(streams).close()

    streams = Streams()
    others = [listen(streams) for _ in range(30)]
    thresholds = gc.get_threshold()
    closer = threading.Thread(target=close_many, daemon=True)  # it may never end
    closer.start()
    closer.join(LONG)
    gc.set_threshold(*thresholds)
    assert not closer.is_alive()
    gc.collect()
    streams.gap()
    assert {stream.gaps for stream in others} == {1}


# --- subscriptions ---------------------------------------------------------------------------------------------------


def subscribe(*, on_gap=None, key=None, overflow="block"):
    inbox = Inbox(100, 10_000, overflow)
    return Subscription(
        inbox, on_gap=on_gap, key=key, reader_closed=lambda stream: None, check=may_wait, log=make_log()[0]
    )


def deliver(subscription, *messages):
    for message in messages:
        subscription._offer(message, 1, False)


def test_a_gap_is_counted_when_the_first_message_after_it_is_returned():
    reported = []
    subscription = subscribe(on_gap=lambda one: reported.append((one, one.gaps)))
    deliver(subscription, 1)
    subscription._epoch += 1
    deliver(subscription, 2, 3)
    assert (subscription.get(0), subscription.gaps, reported) == (1, 0, [])
    assert (next(subscription), subscription.gaps, reported) == (2, 1, [(subscription, 1)])
    assert (subscription.get(0), subscription.gaps) == (3, 1)
    assert len(reported) == 1


def test_losses_without_a_message_in_between_are_one_gap():
    subscription = subscribe()
    subscription._epoch += 2
    assert subscription.gaps == 0
    deliver(subscription, 1)
    assert (subscription.get(0), subscription.gaps) == (1, 1)


@pytest.mark.parametrize("read_one", [next, lambda one: one.get(0)])
def test_an_on_gap_that_raises_keeps_the_message_and_is_not_called_again_for_it(read_one):
    def on_gap(subscription):
        reported.append(subscription.gaps)
        raise RuntimeError("no back-fill")

    reported = []
    subscription = subscribe(on_gap=on_gap)
    subscription._epoch += 1
    deliver(subscription, 1, 2)
    with pytest.raises(RuntimeError, match="no back-fill"):
        read_one(subscription)
    assert [read_one(subscription), read_one(subscription)] == [1, 2]
    assert reported == [1]


def test_a_gap_that_another_reader_counts_at_the_same_moment_is_reported_once():
    class OtherReader:
        """Takes the place of the lock: when this reader acquires it, another one has just released it."""

        def __enter__(self):
            subscription._seen, subscription.gaps = 1, 1

        def __exit__(self, *error):
            pass

    reported = []
    subscription = subscribe(on_gap=reported.append)
    subscription._gap_lock = OtherReader()
    subscription._epoch += 1
    deliver(subscription, 1)
    assert (subscription.get(0), subscription.gaps, reported) == (1, 1, [])


def test_close_drops_also_the_message_kept_after_a_failed_on_gap():
    def on_gap(subscription):
        raise RuntimeError("no back-fill")

    subscription = subscribe(on_gap=on_gap)
    subscription._epoch += 1
    deliver(subscription, 1)
    with pytest.raises(RuntimeError, match="no back-fill"):
        next(subscription)
    subscription.close()
    assert list(subscription) == []


def test_on_gap_can_read_the_subscription():
    subscription = subscribe(on_gap=lambda one: read_on.append(one.get(0)))
    read_on = []
    subscription._epoch += 1
    deliver(subscription, 1, 2)
    assert subscription.get(0) == 1
    assert read_on == [2]


def test_latest_reports_the_gap_before_the_newest_message():
    subscription = subscribe(overflow="latest", key=lambda message: message[0])
    deliver(subscription, "a1", "b1")
    subscription._epoch += 1
    deliver(subscription, "b2")
    assert (subscription.get(0), subscription.gaps) == ("a1", 0)
    assert (subscription.get(0), subscription.gaps) == ("b2", 1)
    assert subscription.dropped == 1


def test_a_subscription_has_no_reply_before_the_server_replied():
    subscription = subscribe()
    assert subscription.reply is None
    subscription._reply = {"name": 1}
    assert subscription.reply == {"name": 1}


# --- the deadline of the first reply ---------------------------------------------------------------------------------


class FirstReply:
    """The request of a stream: its deadline, and how it ends the stream."""

    def __init__(self, deadline, end=lambda: None):
        self.asked = 0
        self._deadlines = iter([deadline])
        self._end = end

    def due(self):
        self.asked += 1
        for deadline in self._deadlines:
            return deadline
        self._end()
        return NEVER


def stream_of(inbox, first_reply):
    return Stream(
        inbox, match=None, key=None, reader_closed=bool, check=bool, log=make_log()[0], reply_due=first_reply.due
    )


@pytest.mark.parametrize("take", [next, lambda stream: stream.get(LONG), lambda stream: stream.get(SHORT)])
def test_the_reader_ends_the_stream_at_the_deadline_of_its_first_reply(take):
    inbox = Inbox(10, 1000, "block")
    failure = RequestTimeout("late", phase="waiting")
    first_reply = FirstReply(Deadline(time.monotonic() + SHORT / 2), lambda: inbox.end(failure))
    with pytest.raises(RequestTimeout):
        take(stream_of(inbox, first_reply))
    assert first_reply.asked == 2


def test_get_with_a_shorter_timeout_does_not_end_the_stream():
    inbox = Inbox(10, 1000, "block")
    stream = stream_of(inbox, FirstReply(Deadline(time.monotonic() + LONG)))
    with pytest.raises(TimeoutError, match="No message came within 0"):
        stream.get(0)
    assert not inbox.ended


def test_after_the_first_reply_the_deadline_is_not_read_again():
    inbox = Inbox(10, 1000, "block")
    first_reply = FirstReply(NEVER)
    stream = stream_of(inbox, first_reply)
    for number in range(3):
        inbox.put(number, 1)
        assert stream.get(LONG) == number
    assert first_reply.asked == 1
