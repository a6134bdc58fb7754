"""The writer of one connection, from the queue to a real socket whose other end the test reads."""

import contextlib
import functools
import itertools
import math
import random
import socket
import sys
import threading
import time

import pytest

import wsclient
from tests.support import LONG, SHORT, Peer
from tests.support.strikes import strikes
from tests.support.threads import fill, on_thread
from wsclient._network.poller import Poller
from wsclient._network.transport import Transport
from wsclient._requests.request import CANCELLED, FAILED, TIMED_OUT, Request
from wsclient._rfc6455.frames import Opcode, build_frame
from wsclient._sending import writer
from wsclient._sending.message import CONFIRMED, QUEUED, UNKNOWN, WRITTEN, Outgoing
from wsclient._sending.pacing import TokenBucket
from wsclient._sending.writer import JOINED_BYTES, Writer
from wsclient._threads.waiting import Deadline, Waiter
from wsclient._threads.wakeup import Wakeup

PASSED = Deadline(-math.inf)
BIG = 4 * 2**20
"""More bytes than any socket buffer holds."""


class Ends:
    """A writer for the queue of a client that does not run, and the peer that reads what it writes."""

    def __init__(self, near, far, protocol=None):
        self.near = near
        self.peer = Peer(far)
        self.client = wsclient.Client(
            "ws://localhost/", protocol=protocol or wsclient.Fifo(), send_queue=wsclient.SendQueue(max_bytes=2**30)
        )
        self.context = self.client._wsclient.context
        self.queue, self.counters = self.context.queue, self.context.counters
        self.wakeup = Wakeup()
        self.context.commands.attach(self.wakeup)
        self.written = self.context.table.new_connection(7)
        self.writer = Writer(Transport(near), self.context.make_backend(self.written))
        self.writer.is_open = True

    def close(self):
        self.context.commands.attach(None)
        self.wakeup.close()
        self.client.close()

    def woken(self, seconds=0.0):
        poller = Poller(self.wakeup)
        return bool(poller._poll.poll(seconds * 1000)) and not self.wakeup.clear()

    def ask(self, payload):
        """Queue a request for which a caller waits."""
        entry = request(payload)
        self.context.table.add(entry, timed=False)
        self.queue.put(entry, PASSED, [])
        return entry

    def put(self, *payloads):
        entries = [text(payload) for payload in payloads]
        for entry in entries:
            self.queue.put(entry, PASSED, [])
        return entries

    def read_on_thread(self, count):
        """Read this many frames in a thread; return a list that fills, and the thread."""
        frames = []
        thread = threading.Thread(target=lambda: frames.extend(self.peer.receive_frame() for _ in range(count)))
        thread.start()
        return frames, thread

    def write_all(self):
        """What the I/O thread does when the socket has room."""
        while self.writer.blocked or self.writer.has_work():
            self.writer.unblock()


def nothing_follows(ends):
    """Whether the peer has read everything that was written, including what arrived with earlier frames."""
    ends.near.shutdown(socket.SHUT_WR)
    try:
        return not ends.peer.exactly(1)
    except ConnectionError:
        return True


def all_that_follows(ends):
    """The payloads of all frames that were written."""
    ends.near.shutdown(socket.SHUT_WR)
    payloads = []
    with contextlib.suppress(ConnectionError):
        while True:
            payloads.append(ends.peer.receive_frame()[1])
    return payloads


@contextlib.contextmanager
def made(protocol=None):
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        ends = Ends(near, far, protocol)
        yield ends
        ends.context.sender.writer = None
        ends.close()


@pytest.fixture
def ends():
    with made() as ends:
        yield ends


def text(payload):
    data = payload.encode()
    return Outgoing(Opcode.TEXT, data, len(data))


def ping(payload=b"1"):
    return Outgoing(Opcode.PING, payload, 0)


def request(payload):
    return Request(payload, len(payload), deadline=Deadline(None))


def texts(frames):
    return [payload.decode() for _, payload in frames]


def test_queued_messages_are_written_masked_and_in_order(ends):
    ends.put("a", "b", "c")
    ends.writer.flush()
    assert [ends.peer.receive_frame() for _ in range(3)] == [(1, b"a"), (1, b"b"), (1, b"c")]
    assert (ends.counters.messages_sent, ends.counters.bytes_sent) == (3, 3)
    assert ends.writer.idle()


@pytest.mark.parametrize("size", [100, BIG], ids=["at once", "in pieces"])
def test_sent_messages_are_released_from_memory(ends, size, way):
    frames, reader = ends.read_on_thread(1)
    written_directly(ends, text("x" * size), way)
    ends.write_all()
    reader.join(LONG)
    assert len(frames[0][1]) == size
    assert not ends.writer.rest.obj, "an empty slice of the frame keeps it all"


def test_no_queued_message_is_written_before_the_connection_is_open(ends):
    ends.writer.is_open = False
    ends.put("later")
    ends.writer.flush()
    ends.writer.send_first(text("first"))
    assert ends.peer.receive_frame() == (1, b"first")
    ends.writer.is_open = True
    ends.writer.flush()
    assert ends.peer.receive_frame() == (1, b"later")


def test_a_full_socket_stops_the_writers_and_wakes_the_io_thread(ends):
    (big, small) = ends.put("x" * BIG, "behind")
    ends.writer.flush()
    assert ends.writer.blocked
    assert ends.woken()
    assert (big.state, small.state) == (QUEUED, QUEUED)
    assert not big.is_written()
    ends.writer.flush()  # no further attempt while the socket is full
    sent = ends.writer.write_progress.sent
    ends.writer.flush()
    assert ends.writer.write_progress.sent == sent
    frames, thread = ends.read_on_thread(2)
    ends.write_all()
    thread.join(LONG)
    assert texts(frames) == ["x" * BIG, "behind"]
    assert (big.state, small.state) == (WRITTEN, WRITTEN)


def test_many_small_messages_are_joined_and_large_ones_are_written_alone(ends):
    ends.put(*["m" * 1000] * 100)
    batch = ends.queue.take(JOINED_BYTES, None)
    assert len(batch) == JOINED_BYTES // 1000
    ends.queue.restore(batch)
    frames, thread = ends.read_on_thread(100)
    ends.write_all()
    thread.join(LONG)
    assert len(frames) == 100


def test_control_frames_overtake_the_queue_but_never_a_frame_that_has_begun(ends):
    ends.put("x" * BIG, "queued")
    ends.writer.flush()
    assert ends.writer.blocked
    ends.writer.send_first(Outgoing(Opcode.PONG, b"!", 0))
    frames, thread = ends.read_on_thread(3)
    ends.write_all()
    thread.join(LONG)
    assert [opcode for opcode, _ in frames] == [1, 10, 1]
    assert frames[2] == (1, b"queued")


def test_pongs_to_a_peer_that_does_not_read_do_not_fill_the_memory(ends):
    ends.put("x" * BIG)
    ends.writer.flush()
    for _ in range(10_000):
        ends.writer.send_first(Outgoing(Opcode.PONG, b"x" * 125, 0))
    assert len(ends.writer.urgent.entries) < 200


def test_no_frame_follows_a_close_frame(ends):
    ends.put("before")
    ends.queue.seal(ConnectionError(), Outgoing(Opcode.CLOSE, b"\x03\xe8", 2))
    ends.writer.flush()
    ends.writer.send_first(ping())
    ends.writer.flush()
    assert [ends.peer.receive_frame() for _ in range(2)] == [(1, b"before"), (8, b"\x03\xe8")]
    assert not ends.writer.is_open
    assert not ends.writer.has_work()
    assert nothing_follows(ends)


def test_a_ping_taken_at_the_same_time_as_a_close_frame_does_not_follow_it(ends):
    ends.queue.seal(ConnectionError(), Outgoing(Opcode.CLOSE, b"\x03\xe8", 2))
    ends.writer.flush()
    ends.writer.urgent.put(ping())  # the I/O thread had checked before another thread took the close frame
    ends.writer.flush()
    with ends.writer._write_lock:  # and so had the thread that holds the write lock now
        ends.writer._write()
    assert not ends.writer.has_work()
    assert ends.peer.receive_frame()[0] == 8
    assert nothing_follows(ends)


def test_entries_behind_an_urgent_close_frame_are_not_sent(ends):
    ends.writer.is_open = False
    ends.put("x" * BIG)
    ends.writer.is_open = True
    ends.writer.flush()  # full: the following entries wait
    ends.writer.send_first(Outgoing(Opcode.CLOSE, b"\x03\xe8", 2))
    ends.writer.send_first(ping())
    frames, thread = ends.read_on_thread(2)
    ends.write_all()
    thread.join(LONG)
    assert [opcode for opcode, _ in frames] == [1, 8]
    assert ends.writer.idle()
    assert nothing_follows(ends)


def test_a_request_that_has_ended_is_skipped(ends):
    a, b, c = ends.ask(b"a"), ends.ask(b"b"), ends.ask(b"c")
    ends.context.table.end(b, FAILED)
    ends.writer.flush()
    assert [ends.peer.receive_frame() for _ in range(2)] == [(1, b"a"), (1, b"c")]
    assert (a.state, b.position, c.state) == (WRITTEN, None, WRITTEN)


def test_no_more_requests_are_written_than_the_limit_allows(ends):
    for payload in (b"a", b"b", b"c"):
        ends.ask(payload)
    ends.context.protocol.max_in_flight = 2
    ends.writer.flush()
    assert (ends.queue.messages, ends.context.table.in_flight) == (1, 2)
    ends.writer.flush()
    assert ends.queue.messages == 1


def test_a_broken_connection_is_reported_to_the_io_thread_and_not_used_again(ends):
    ends.peer.sock.close()
    (entry,) = ends.put("x")
    ends.writer.flush()
    assert isinstance(ends.writer.error, OSError)
    assert ends.woken()
    assert ends.writer.end() == [entry]


def test_a_frame_that_cannot_be_built_ends_the_connection_since_bytes_are_missing(ends, monkeypatch):
    (entry,) = ends.put("x")

    def fall(*args):
        raise MemoryError

    monkeypatch.setattr("wsclient._sending.writer.build_frame", fall)
    with pytest.raises(MemoryError):
        ends.writer.flush()
    assert isinstance(ends.writer.error, OSError)
    assert ends.woken()
    assert not entry.is_written()


# --- the end ---------------------------------------------------------------------------------------------------------


def test_the_end_reports_the_messages_that_were_cut_and_not_those_that_were_written(ends):
    done, big, behind = ends.put("done", "x" * BIG, "behind")
    ends.writer.flush()
    assert ends.writer.blocked
    ends.writer.send_first(ping())
    cut = ends.writer.end()
    assert [entry.opcode for entry in cut] == [Opcode.TEXT, Opcode.PING]
    assert cut[0] is big
    assert done.state == UNKNOWN
    assert behind.queued
    assert ends.writer.write_progress.ended


def test_nothing_is_written_after_the_end(ends):
    ends.writer.end()
    ends.put("too late")
    ends.writer.flush()
    ends.writer.send_first(ping())
    assert nothing_follows(ends)


@pytest.mark.parametrize("together", [False, True], ids=["after it", "in one batch with it"])
def test_a_request_behind_a_close_frame_is_not_sent_and_is_returned_at_the_end(ends, together):
    """A caller waits for it, and would wait forever if it were dropped silently."""
    request = Request(b"ask", 3, deadline=Deadline(None), match=bool)
    with ends.writer._write_lock if together else contextlib.nullcontext():
        ends.writer.send_first(Outgoing(Opcode.CLOSE, b"\x03\xe8", 2))
        ends.writer.send_first(request)
        ends.writer.send_first(Outgoing(Opcode.TEXT, b"without wait", 12))
    ends.writer.flush()
    assert ends.peer.receive_frame()[0] == 8
    assert nothing_follows(ends)
    assert ends.writer.end()[0] is request


# --- pings -----------------------------------------------------------------------------------------------------------


def test_a_pong_confirms_the_messages_before_its_ping_and_none_behind_it(ends):
    (before,) = ends.put("before")
    ends.writer.flush()
    ends.writer.send_first(ping(b"p1"))
    (behind,) = ends.put("behind")
    ends.writer.flush()
    answered = ends.writer.pong(b"p1", math.inf)
    assert answered.seconds == math.inf
    assert answered.payloads == [b"p1"]
    assert (before.state, behind.state) == (CONFIRMED, WRITTEN)


def test_a_pong_answers_earlier_pings_too_and_is_unmatched_the_second_time(ends):
    for payload in (b"p1", b"p2", b"p3"):
        ends.writer.send_first(ping(payload))
    assert ends.writer.pong(b"p2", math.inf).payloads == [b"p1", b"p2"]
    assert ends.writer.pong(b"p2", math.inf) is None
    assert ends.writer.pong(b"p1", math.inf) is None
    assert ends.writer.pong(b"never sent", math.inf) is None
    assert ends.writer.pong(b"p3", math.inf).payloads == [b"p3"]


# --- many writers ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_messages_of_sixteen_writers_all_arrive_in_the_order_of_each_writer(ends):
    writers, each = 16, 500
    stop = threading.Event()

    def write(number):
        for n in range(each):
            ends.put(f"{number} {n} {'.' * random.randint(1, 2000)}")
            ends.writer.flush()

    def look_after():
        """The I/O thread's part: continue when there is room again, or when it is woken."""
        while not stop.is_set():
            ends.woken(0.01)
            ends.writer.unblock()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    carer = threading.Thread(target=look_after)
    for thread in (carer, *threads):
        thread.start()
    last = [-1] * writers
    for count in range(writers * each):
        if count % 1000 == 0:
            stop.wait(0.02)  # the socket fills up
        number, n, _ = ends.peer.receive_frame()[1].split()
        assert int(n) == last[int(number)] + 1
        last[int(number)] = int(n)
    stop.set()
    for thread in (carer, *threads):
        thread.join(LONG)
    assert ends.queue.messages == 0
    assert ends.counters.messages_sent == writers * each


def test_a_writer_is_not_idle_while_a_thread_takes_a_message(ends):
    assert ends.writer.idle()
    with ends.writer._write_lock:
        assert not ends.writer.idle()


def test_a_message_that_stays_queued_because_of_an_idle_check_is_written(ends):
    ends.put("left behind")
    assert ends.writer.idle()
    assert ends.peer.receive_frame() == (1, b"left behind")
    ends.put("left behind too")
    ends.writer.wait_for_writer()
    assert ends.peer.receive_frame() == (1, b"left behind too")


def test_the_ping_of_the_keepalive_is_recognised_with_any_number_of_other_pings(ends):
    frames, thread = ends.read_on_thread(10_001)
    for n in range(10_000):
        ends.queue.put(ping(b"%d" % n), PASSED, [])
    ends.write_all()
    ends.writer.send_first(ping(b"keepalive"))
    ends.write_all()
    thread.join(LONG)
    assert len(frames) == 10_001
    answered = ends.writer.pong(b"keepalive", math.inf).payloads
    assert answered[0] == b"0"
    assert len(answered) < 10_000


def test_a_reply_that_arrives_before_its_write_is_recorded_is_matched(ends):
    entry = ends.ask(b"ask")
    entry.waiter = waiter = Waiter()
    router = ends.context.make_router(ends.writer, ends.written)
    with ends.writer._write_lock:  # like a writer between its send() and the record of it
        (taken,) = ends.writer._next_entries()
        assert taken.payload_for(ends.writer._backend) == b"ask"
        taken.put_on(ends.writer.write_progress, 9)
        reader = threading.Thread(target=router.receive, args=("the answer", 10))
        reader.start()
        reader.join(SHORT)
        assert waiter.value is None
        ends.writer.write_progress.sent = 9
    reader.join(LONG)
    assert waiter.value == "the answer"


def test_a_thread_that_acquires_the_write_lock_after_the_end_takes_no_message(ends):
    """It had checked before the end, and found work to do."""
    ends.writer.end()
    (entry,) = ends.put("for the next connection")
    ends.writer.is_open = True
    with ends.writer._write_lock:
        ends.writer._write()
    assert entry.queued


def test_messages_behind_a_frame_that_could_not_be_built_are_returned_as_cut_off(ends, monkeypatch):
    entries = ends.put("first", "second", "third")

    def fail_second(opcode, payload):
        if payload == b"second":
            raise MemoryError
        return build_frame(opcode, payload)

    monkeypatch.setattr("wsclient._sending.writer.build_frame", fail_second)
    with pytest.raises(MemoryError):
        ends.writer.flush()
    assert ends.writer.end() == entries
    assert not any(entry.is_written() for entry in entries)


def test_in_fifo_order_a_cancelled_request_keeps_its_position_until_its_last_message(ends):
    router = ends.context.make_router(ends.writer, ends.written)
    first, second = ends.ask(b"first"), ends.ask(b"second")
    first.until = lambda message: message != "ack"
    first.waiter, second.waiter = Waiter(), Waiter()
    ends.writer.flush()
    assert ends.context.table.end(first, TIMED_OUT)
    for message in ("ack", "final of the first"):
        router.receive(message, len(message))
    assert second.waiter.value is None
    router.receive("the second's", 12)
    assert second.waiter.value == "the second's"


def test_in_fifo_order_a_request_cancelled_by_its_own_until_does_not_end_the_connection(ends):
    router = ends.context.make_router(ends.writer, ends.written)
    entry = ends.ask(b"ask")
    entry.until = lambda message: ends.context.table.end(entry, CANCELLED) and False
    ends.writer.flush()
    router.receive("ack", 3)
    assert ends.context.table.holds_position(entry)


# --- direct writes ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["in a row", "alone", "in the main thread"])
def way(request):
    """How a message is written directly."""
    return {"alone": request.param != "in a row", "in_main": request.param == "in the main thread"}


def written_directly(ends, entry, way=None):
    """Whether it was written directly. The main thread leaves to the I/O thread what other threads left queued."""
    way = way or {"alone": False, "in_main": False}
    gone = ends.writer.write_now(entry, **way)
    if way["in_main"] and ends.woken():
        ends.context.changes.announce()
        on_thread(ends.writer.flush)
    return gone


def test_a_message_is_written_directly_if_the_queue_is_empty(ends, way):
    entry = text("now")
    assert written_directly(ends, entry, way)
    assert ends.peer.receive_frame() == (1, b"now")
    assert (entry.state, ends.counters.messages_sent, entry.payload) == (WRITTEN, 1, None)


NOT_CLEAR = {
    "not open": lambda ends: setattr(ends.writer, "is_open", False),
    "full": lambda ends: setattr(ends.writer, "blocked", True),
    "broken": lambda ends: setattr(ends.writer, "error", ConnectionError()),
    "ended": lambda ends: ends.writer.end(),
    "a frame is half written": lambda ends: setattr(ends.writer, "rest", memoryview(b"rest")),
    "an urgent frame waits": lambda ends: ends.writer.urgent.put(ping()),
    "a message is queued": lambda ends: ends.put("first"),
    "the queue is sealed": lambda ends: ends.queue.seal(ConnectionError()),
    "the message is too large": lambda ends: setattr(ends.queue, "largest", 2),
    "another thread is writing": lambda ends: ends.writer._write_lock.acquire(),
}


@pytest.mark.parametrize("why", NOT_CLEAR)
def test_a_message_is_queued_if_other_entries_are_before_it(ends, why, way):
    """The earlier entries are written, since other threads may have left them to the thread that checked."""
    NOT_CLEAR[why](ends)
    entry = text("now")
    assert not written_directly(ends, entry, way)
    assert entry.state == QUEUED
    if ends.writer._write_lock.locked():
        ends.writer._write_lock.release()
    if why != "a frame is half written":
        assert b"now" not in all_that_follows(ends)


def test_direct_writes_obey_the_limit_of_requests_in_flight(ends, way):
    ends.context.protocol.max_in_flight = 1
    first, second = request(b"1"), request(b"2")
    for entry in (first, second):
        ends.context.table.add(entry, timed=False)
    assert written_directly(ends, first, way)
    assert not written_directly(ends, second, way)
    assert written_directly(ends, text("no request"), way)


def test_a_request_that_has_ended_is_not_written_directly_either(ends, way):
    entry = request(b"forgotten")
    ends.context.table.add(entry, timed=False)
    assert ends.context.table.end(entry, CANCELLED)
    assert written_directly(ends, entry, way)
    assert all_that_follows(ends) == []


def test_a_direct_write_to_a_full_socket_stops_the_writers_and_wakes_the_io_thread(ends, way):
    large = text("x" * BIG)
    assert ends.writer.write_now(large, **way)  # the part that fits into the socket
    assert ends.woken()
    on_thread(ends.writer.flush)
    assert (ends.writer.blocked, large.state) == (True, QUEUED)
    frames, reading = ends.read_on_thread(1)
    while reading.is_alive():
        ends.write_all()
    assert frames == [(1, large.payload or b"x" * BIG)]


def test_a_full_socket_and_a_broken_one_are_detected_at_once(way):
    with ends_with_replies() as ends:
        fill(ends.near)
        assert ends.writer.write_now(text("full"), **way)
        assert ends.writer.blocked
        ends.writer.blocked, ends.writer.rest = False, memoryview(b"")
        ends.near.shutdown(socket.SHUT_WR)
        assert ends.writer.write_now(text("broken"), **way)
        assert isinstance(ends.writer.error, BrokenPipeError)
        assert ends.woken()


def test_a_direct_write_notifies_threads_that_wait_for_progress(ends, way):
    with ends.context.changes.watch() as latch:
        assert written_directly(ends, text("now"), way)
        assert latch.wait(PASSED)


def test_messages_with_a_connection_number_or_an_expiry_are_not_written_directly(ends):
    ends.context.sender.writer, ends.context.sender.connection_number = ends.writer, 7
    bound = text("bound")
    bound.connection_number = 7
    assert not on_thread(lambda: ends.context.sender.write_now(bound))
    fleeting = text("fleeting")
    fleeting.expires_at = 0.0
    assert not on_thread(lambda: ends.context.sender.write_now(fleeting))
    assert on_thread(lambda: ends.context.sender.write_now(text("other")))
    ends.context.sender.writer = None
    assert not on_thread(lambda: ends.context.sender.write_now(text("nowhere")))


def test_a_request_with_more_requests_behind_it_waits_for_them(ends):
    ends.context.sender.writer, ends.context.sender.connection_number = ends.writer, 7
    first, second = request(b"1"), request(b"2")
    on_thread(lambda: ends.context.requests.begin(first, None, timed=False, more=True))
    assert ends.queue.messages == 1
    on_thread(lambda: ends.context.requests.begin(second, None, timed=False, more=False))
    assert (first.state, second.state, ends.queue.messages) == (WRITTEN, WRITTEN, 0)
    assert [ends.peer.receive_frame()[1] for _ in range(2)] == [b"1", b"2"]
    ends.context.sender.writer = None


def test_a_sender_with_a_full_queue_waits_for_the_thread_that_holds_the_write_lock(ends, monkeypatch):
    """The I/O thread holds the write lock, and cannot continue while the sender holds the interpreter."""
    monkeypatch.setattr(writer, "_MOMENT", LONG)
    ends.context.sender.writer = ends.writer
    with ends.writer._write_lock:
        ends.put("a", "b")
        monkeypatch.setattr(type(ends.queue), "over_half_full", True)
        leaving = threading.Thread(target=ends.context.sender.defer_write)
        leaving.start()
        leaving.join(SHORT)
        assert leaving.is_alive()
    leaving.join(LONG)
    assert [ends.peer.receive_frame() for _ in range(2)] == [(1, b"a"), (1, b"b")]
    ends.context.sender.writer = None


@contextlib.contextmanager
def ends_with_replies():
    """Replies are correlated by their ids, and the client has a connection."""
    with made(wsclient.JsonId()) as ends:
        ends.context.sender.writer, ends.context.sender.connection_number = ends.writer, 7
        yield ends


def send(ends):
    ends.context.sender.write_now(text("first"))


def ask(ends):
    entry = ends.context.requests.make({"ask": 1}, PASSED)
    try:
        ends.context.requests.begin(entry, None, timed=False)
    except BaseException:  # as request() does
        ends.context.requests.withdraw(entry, interrupted=True)
        raise


def written_in_main(ends, **options):
    entry = ends.context.requests.make({"ask": 1}, PASSED, **options)
    ends.context.table.add(entry, timed=False)
    return ends.context.sender.write_now(entry)


def test_the_main_thread_writes_if_an_interrupt_leaves_nothing_unfinished(ends):
    with ends_with_replies() as plain:
        assert written_in_main(plain)
        assert not written_in_main(plain, until=bool)
        for part in ("is_uncompressed_tcp", "is_open"):
            setattr(plain.writer, part, False)
            assert not written_in_main(plain)
            setattr(plain.writer, part, True)
        assert written_in_main(plain)
        plain.context.sender.replies_in_order = True
        assert not written_in_main(plain)
    ends.context.sender.writer = ends.writer
    assert not ends.context.sender.write_now(text("by order"))
    ends.context.sender.writer = None


def test_a_thread_that_has_used_the_last_token_wakes_the_io_thread_for_the_messages_behind(ends):
    """One of them may be of a thread that failed to acquire the write lock, and does not check again."""
    ends.writer.bucket = TokenBucket(1e-4, 1)
    ends.put("a", "b")
    on_thread(ends.writer.flush)
    assert ends.woken()
    assert ends.queue.messages == 1
    at = ends.writer.bucket.ready_at
    assert ends.writer.continues_at(at - 1) == at
    ends.context.commands.sleeps_until = at  # the I/O thread knows
    on_thread(ends.writer.flush)
    assert not ends.woken()
    ends.writer.blocked = True
    assert ends.writer.continues_at(at - 1) == math.inf


def test_the_messages_of_a_burst_are_joined_into_one_write(ends, monkeypatch):
    monkeypatch.setattr(writer, "_ROUNDS", 1)
    ends.writer.bucket = TokenBucket(1e-4, 5)
    ends.put(*"abcdefg")
    on_thread(ends.writer.flush)
    assert (ends.counters.messages_sent, ends.queue.messages) == (5, 2)


def test_a_thread_that_finds_the_pause_over_wakes_the_io_thread_whatever_its_last_wait(ends):
    """It has found no work a moment before, since the pause was not over. The I/O thread no longer sees the pause, so
    its next wait does not consider the message.
    """
    ends.context.sender.pause.begin(time.monotonic())
    ends.put("a")
    ends.context.commands.sleeps_until = 0.0  # its last wait is over, and it has found no message
    ends.writer.continue_later()
    assert not ends.context.sender.pause.ends
    assert ends.woken()


def test_a_text_about_the_pause_leaves_its_end_to_a_thread_that_writes(ends):
    """Otherwise a thread that has queued a message during the pause would not see that there was one."""
    ends.context.sender.pause.begin(time.monotonic())
    assert ends.context.sender.why_held() is None
    assert ends.context.sender.pause.ends


def test_messages_that_wait_for_something_else_than_a_token_do_not_keep_the_io_thread_awake(ends):
    ends.writer.bucket = TokenBucket(1e-4, 5)
    for payload in (b"a", b"b"):
        ends.ask(payload)
    ends.context.protocol.max_in_flight = 1
    on_thread(ends.writer.flush)
    assert (ends.queue.messages, ends.context.table.in_flight) == (1, 1)
    now = time.monotonic()
    assert ends.writer.continues_at(now) == math.inf
    assert not ends.woken()
    ends.context.protocol.max_in_flight = 2
    assert ends.writer.continues_at(now) == now
    with ends.writer._write_lock:  # this thread continues afterwards
        assert ends.writer.continues_at(now) == math.inf


def test_the_main_thread_wakes_the_io_thread_to_write_what_is_queued(ends):
    ends.context.sender.writer = ends.writer
    (entry,) = ends.put("queued")
    ends.context.sender.write_queued()
    assert entry.state == QUEUED
    assert ends.woken()
    on_thread(ends.context.sender.write_queued)
    assert entry.state == WRITTEN
    assert not ends.woken()
    ends.context.sender.writer = None


def test_a_direct_write_wakes_the_thread_that_drains():
    with ends_with_replies() as ends:
        send(ends)
        assert not ends.woken()
        ends.context.commands.drain = PASSED
        send(ends)
        assert ends.woken()


class Limit(int):
    """The largest size that the queue takes. It acts as a writer, which holds the write lock, compares with it."""

    def __new__(cls, size, act):
        limit = super().__new__(cls, size)
        limit.act = act
        return limit

    def __ge__(self, size):
        act, self.act = self.act, lambda: None  # once: the act itself compares, too
        act()
        return int(self) >= size


def left_by_another_thread(ends):
    """Another thread fails to acquire the write lock, which the main thread holds, and leaves its message queued."""
    profile = sys.getprofile()
    sys.setprofile(None)
    ends.put("left")
    on_thread(ends.writer.flush)
    sys.setprofile(profile)


@pytest.mark.parametrize("act", [send, ask])
def test_an_interrupt_of_the_main_thread_leaves_no_message_of_another_thread_unwritten(act):
    for moment in itertools.count():
        with ends_with_replies() as ends:
            ends.queue.largest = Limit(ends.queue.largest, functools.partial(left_by_another_thread, ends))
            struck = strikes(moment, functools.partial(act, ends))
            assert bool(ends.queue.entries or ends.writer.rest) <= ends.woken()
        if not struck:
            break
    assert moment > 15


def test_no_error_of_a_signal_handler_is_taken_for_that_of_a_wake_up():
    class Alarm(TimeoutError):
        """It is an OSError, like the error of a wake-up that has no room."""

        count = 0

        def __init__(self, *args):
            super().__init__(*args)
            Alarm.count += 1

    for moment in itertools.count():
        with ends_with_replies() as ends:
            ends.queue.largest = Limit(ends.queue.largest, functools.partial(left_by_another_thread, ends))
            if not strikes(moment, functools.partial(send, ends), Alarm):
                break
    assert Alarm.count == moment > 15


def test_the_main_thread_leaves_a_message_of_another_thread_although_the_wake_up_has_no_room(ends):
    fill(ends.wakeup._outer)
    ends.queue.largest = Limit(ends.queue.largest, functools.partial(left_by_another_thread, ends))
    assert ends.writer.write_now(text("mine"), alone=True, in_main=True)
    assert ends.queue.entries
    assert ends.woken(), "the I/O thread sees the bytes that fill the wake-up"
    on_thread(ends.writer.flush)
    assert all_that_follows(ends) == [b"mine", b"left"]


@pytest.mark.parametrize(
    ("act", "error"),
    [(send, KeyboardInterrupt), (send, TimeoutError), (send, BlockingIOError), (ask, KeyboardInterrupt)],
)
def test_an_interrupt_at_any_call_of_the_main_thread_leaves_a_message_written_or_not(act, error):
    """``TimeoutError`` is what handlers of SIGALRM raise, and it is an OSError, like the errors of a socket."""
    seen = set()
    for moment in itertools.count():
        with ends_with_replies() as ends:
            struck = strikes(moment, functools.partial(act, ends), error)
            assert not ends.writer._write_lock.locked()
            assert ends.writer.error is None
            assert bool(ends.writer.rest) <= ends.woken()  # the I/O thread continues
            on_thread(ends.writer.flush)
            on_thread(functools.partial(ends.writer.write_now, text("second"), alone=moment % 2 == 0, in_main=False))
            assert ends.writer.write_progress.sent == ends.writer.write_progress.taken
            received = all_that_follows(ends)
            assert received[-1] == b"second"
            assert len(received) <= 2
            assert ends.counters.messages_sent == len(received)
            if struck:
                assert not ends.context.table.waiting
                assert not ends.context.table.in_flight
            seen.add((struck, len(received)))
            if not struck:
                break
    assert seen == {(True, 1), (True, 2), (False, 2)}
    assert moment > 15


@pytest.mark.parametrize("clear", [True, False], ids=["clear", "not clear"])
def test_a_message_queued_while_a_writer_checks_whether_it_may_pass_the_queue_is_written(ends, clear, way):
    """The writer holds the write lock meanwhile, and may write nothing in the end, since its message is too large."""

    def while_another_thread_queues():
        ends.put("left")
        on_thread(ends.writer.flush)  # fails to acquire the write lock

    ends.queue.largest = Limit(ends.queue.largest if clear else 2, while_another_thread_queues)
    assert written_directly(ends, text("now"), way) is clear
    received = [ends.peer.receive_frame()[1] for _ in range(1 + clear)]
    assert received == ([b"now", b"left"] if clear else [b"left"])


def test_a_sender_under_pressure_waits_for_the_write_lock_only_for_a_moment(ends, monkeypatch):
    monkeypatch.setattr(writer, "_MOMENT", 0.01)
    ends.put("a")
    with ends.writer._write_lock:
        on_thread(ends.writer.flush_under_pressure)
    assert ends.queue.messages == 1
    on_thread(ends.writer.flush_under_pressure)
    assert ends.peer.receive_frame() == (1, b"a")
