"""Waiting for a socket, and waking the waiting thread."""

import errno
import itertools
import os
import select
import selectors
import signal
import socket
import sys
import threading
import time

import pytest

from wsclient._network.poller import READ, WRITE, Poller, _SelectPoll
from wsclient._threads.wakeup import Wakeup, close_socket

from ..support import LONG, SHORT
from ..support.strikes import disturb
from ..support.threads import fill


@pytest.fixture
def wakeup():
    wakeup = Wakeup()
    yield wakeup
    wakeup.close()


@pytest.fixture(params=["poll", "select"])
def poller(request, monkeypatch, wakeup):
    if request.param == "select":
        monkeypatch.setattr("wsclient._network.poller._make_poll", _SelectPoll)
    elif not hasattr(select, "poll"):
        pytest.skip("this system has no poll")
    return Poller(wakeup)


@pytest.fixture
def pair():
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        yield near, far


def is_woken(poller, seconds=LONG):
    """Whether a wait ends before its timeout."""
    started = time.monotonic()
    assert poller.wait(None, 0, seconds) == 0
    return time.monotonic() - started < seconds / 2


def has_wake_up(wakeup):
    """Whether the next wait would end at once."""
    with selectors.DefaultSelector() as selector:
        selector.register(wakeup, selectors.EVENT_READ)
        return bool(selector.select(0))


SIGNALS = ("call", "c_return")
"""CPython runs signal handlers when a Python function begins and when a call returns."""

THREADS = (*SIGNALS, "c_call")
"""Other threads can run between these calls as well."""


# --- waking ----------------------------------------------------------------------------------------------------------


def test_a_wake_up_before_the_wait_ends_it_at_once(wakeup, poller):
    wakeup.wake()
    assert is_woken(poller)


def test_a_wake_up_during_the_wait_ends_it(wakeup, poller):
    timer = threading.Timer(SHORT / 2, wakeup.wake)
    timer.start()
    assert is_woken(poller)
    timer.join()


def test_a_wake_up_ends_only_one_wait(wakeup, poller):
    wakeup.wake()
    assert is_woken(poller)
    assert not is_woken(poller, SHORT)


def test_many_wake_ups_end_one_wait(wakeup, poller):
    for _ in range(1000):
        wakeup.wake()
    assert is_woken(poller)
    assert not has_wake_up(wakeup)


def test_a_later_wake_up_works_like_the_first(wakeup, poller):
    for _ in range(100):
        wakeup.wake()
        assert is_woken(poller)


def test_one_byte_is_sent_for_many_wake_ups(wakeup):
    for _ in range(1000):
        wakeup.wake()
    assert wakeup._inner.recv(64) == b"\0"


def test_clear_reads_all_wake_ups(wakeup):
    fill(wakeup._outer)
    wakeup.clear()
    assert not has_wake_up(wakeup)


def test_clear_without_a_wake_up_returns_at_once(wakeup, poller):
    wakeup.clear()
    wakeup.wake()
    assert is_woken(poller)


def test_a_full_pipe_neither_blocks_a_wake_up_nor_makes_it_fail(wakeup, poller):
    fill(wakeup._outer)
    wakeup.wake()
    assert is_woken(poller)


def test_a_wake_up_after_close_has_no_effect(wakeup, poller):
    wakeup.close()
    wakeup.wake()
    assert wakeup.fileno() == -1


def test_a_wake_up_that_races_with_close_does_not_fail(wakeup):
    wakeup._outer.close()
    wakeup.wake()


def test_a_wake_up_that_the_system_refuses_does_not_prevent_the_next_one(wakeup):
    wakeup._inner.close()
    wakeup.wake()
    assert not wakeup._pending


def test_close_closes_both_descriptors():
    wakeup = Wakeup()
    descriptors = [wakeup._inner.fileno(), wakeup._outer.fileno()]
    wakeup.close()
    for descriptor in descriptors:
        with pytest.raises(OSError, match=r"[Bb]ad file descriptor"):
            os.fstat(descriptor)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs POSIX signals")
def test_a_signal_handler_can_wake_the_thread(wakeup, poller):
    previous = signal.signal(signal.SIGUSR1, lambda *_: wakeup.wake())
    main = threading.get_ident()
    timer = threading.Timer(SHORT / 2, lambda: signal.pthread_kill(main, signal.SIGUSR1))
    try:
        timer.start()
        assert is_woken(poller)
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, previous)


def test_a_signal_handler_can_wake_the_thread_during_a_wake_up(wakeup):
    moment = 1
    while disturb(wakeup.wake, moment, wakeup.wake, SIGNALS):
        assert has_wake_up(wakeup), f"lost at moment {moment}"
        wakeup.clear()
        moment += 1
    assert moment > 1


def test_a_wake_up_that_interrupts_another_one_does_not_rely_on_it():
    for events in (("call",), ("c_call",), ("c_return",)):
        moment, more = 1, True
        while more:
            wakeup, seen = Wakeup(), []

            def nested(wakeup=wakeup, seen=seen):
                wakeup.wake()
                seen.append(has_wake_up(wakeup))

            more = disturb(wakeup.wake, moment, nested, events)
            assert all(seen), f"not woken inside {events} {moment}"
            wakeup.close()
            moment += 1


def test_a_wake_up_during_clear_does_not_prevent_the_next_one(wakeup):
    moment = 1
    wakeup.wake()
    while disturb(wakeup.clear, moment, wakeup.wake, THREADS):
        wakeup.wake()
        assert has_wake_up(wakeup), f"dead after a wake-up at moment {moment}"
        moment += 1
    assert moment > 1


@pytest.mark.parametrize(
    ("kind", "events"),
    [
        *((kind, SIGNALS) for kind in (KeyboardInterrupt, TimeoutError, BlockingIOError, OSError)),
        (KeyboardInterrupt, ("c_call",)),  # a handler that runs inside send(), before the system has taken the byte
    ],
)
def test_an_exception_of_a_signal_handler_during_a_wake_up_is_raised_and_does_not_prevent_the_next_one(
    wakeup, kind, events
):
    def strike():
        raise kind

    for moment in itertools.count(1):
        try:
            if not disturb(wakeup.wake, moment, strike, events):
                break
        except kind:
            wakeup.wake()
        else:
            pytest.fail(f"swallowed at moment {moment}")
        assert has_wake_up(wakeup), f"dead after an interrupt at moment {moment}"
        wakeup.clear()
    assert moment > 1


def test_no_wake_up_of_many_threads_is_lost(wakeup, poller):
    threads, rounds = 8, 2000
    written = [0] * threads
    start = threading.Event()

    def write(number):
        start.wait()
        for count in range(1, rounds + 1):
            written[number] = count
            wakeup.wake()

    workers = [threading.Thread(target=write, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    start.set()
    while sum(written) < threads * rounds:
        assert is_woken(poller), written
    for worker in workers:
        worker.join()


def test_a_wake_up_that_races_with_clear_is_not_lost(wakeup, poller):
    # One side writes its number and wakes, the other must read it: each round is a race of wake with clear.
    rounds = 5000
    asked = answered = 0
    change = threading.Semaphore(0)

    def ask():
        nonlocal asked
        for _ in range(rounds):
            asked += 1
            wakeup.wake()
            wakeup.wake()
            assert change.acquire(timeout=LONG)

    asker = threading.Thread(target=ask)
    asker.start()
    while answered < rounds:
        while answered == asked:
            assert is_woken(poller), f"lost in round {asked}"
        answered = asked
        change.release()
    asker.join()


class ResetByPeer(socket.socket):
    """A socket of which the system does not know the address any more, as on macOS after a reset."""

    def getsockname(self):
        raise OSError(errno.EINVAL, "Invalid argument")


def test_a_socket_whose_address_is_unknown_is_closed():
    sock = ResetByPeer()
    number = sock.fileno()
    close_socket(sock)
    with pytest.raises(OSError, match=r"[Bb]ad file descriptor"):
        os.fstat(number)


# --- waiting ---------------------------------------------------------------------------------------------------------


def test_a_wait_without_a_socket_takes_the_requested_time(poller):
    assert not is_woken(poller, SHORT)


def test_a_wait_of_zero_seconds_only_polls(poller, pair):
    assert poller.wait(pair[0], READ, 0.0) == 0
    pair[1].send(b"x")
    assert poller.wait(pair[0], READ, 0.0) == READ


@pytest.mark.parametrize("seconds", [None, 1e12])
def test_a_wait_can_have_any_length(wakeup, poller, seconds):
    wakeup.wake()
    assert poller.wait(None, 0, seconds) == 0
    wakeup.wake()
    assert poller.wait_any({}, seconds) == []


def test_wait_returns_the_events_that_are_ready(poller, pair):
    near, far = pair
    assert poller.wait(near, WRITE, LONG) == WRITE
    assert poller.wait(near, READ | WRITE, LONG) == WRITE
    far.send(b"x")
    assert poller.wait(near, READ, LONG) == READ
    assert poller.wait(near, READ | WRITE, LONG) == READ | WRITE


def test_the_end_of_a_stream_is_readable(poller, pair):
    pair[1].close()
    assert poller.wait(pair[0], READ, LONG) == READ


def test_a_socket_with_no_events_is_not_watched(poller, pair):
    near, far = pair
    far.send(b"x")
    assert poller.wait(near, READ, LONG) == READ
    assert poller.wait(near, 0, SHORT) == 0
    assert poller.wait(near, READ, LONG) == READ


def test_an_event_of_a_socket_and_a_wake_up_are_both_returned(wakeup, poller, pair):
    pair[1].send(b"x")
    wakeup.wake()
    assert poller.wait(pair[0], READ, LONG) == READ
    assert not has_wake_up(wakeup)


def test_a_wake_up_ends_the_wait_for_a_socket(wakeup, poller, pair):
    wakeup.wake()
    started = time.monotonic()
    assert poller.wait(pair[0], READ, LONG) == 0
    assert time.monotonic() - started < LONG / 2


def test_another_socket_replaces_the_first(poller, pair):
    near, far = pair
    far.send(b"x")
    assert poller.wait(near, READ, LONG) == READ
    other, peer = socket.socketpair()
    with other, peer:
        assert poller.wait(other, READ, 0.0) == 0
        peer.send(b"x")
        assert poller.wait(other, READ, LONG) == READ


def closed_and_reused(sock):
    """Close a socket, and return a new pair of which one has its descriptor number."""
    number = sock.fileno()
    sock.close()
    near, far = socket.socketpair()
    if near.fileno() != number:
        os.dup2(near.fileno(), number)
        near.close()
        near = socket.socket(fileno=number)
    near.setblocking(False)
    return near, far


@pytest.mark.parametrize("forget", [True, False])
def test_a_descriptor_number_used_before_belongs_to_its_new_socket(poller, pair, forget):
    old, _ = pair
    assert poller.wait(old, READ, 0.0) == 0
    if forget:
        poller.forget()
    new, peer = closed_and_reused(old)
    with new, peer:
        assert poller.wait(new, READ, 0.0) == 0
        peer.send(b"x")
        assert poller.wait(new, READ, LONG) == READ
        assert poller.wait(new, WRITE, LONG) == WRITE


def test_a_forgotten_socket_is_not_watched_by_its_descriptor_number(poller, pair):
    old, _ = pair
    assert poller.wait(old, READ, 0.0) == 0
    poller.forget()
    new, peer = closed_and_reused(old)
    with new, peer:
        peer.send(b"x")
        assert poller._poll.poll(0) == []


def test_a_socket_closed_while_it_was_watched_does_not_disable_the_wake_up(wakeup, poller, pair):
    assert poller.wait(pair[0], READ, 0.0) == 0
    pair[0].close()
    assert not is_woken(poller, SHORT)
    wakeup.wake()
    assert is_woken(poller)


def test_forget_can_be_called_twice_and_without_a_socket(poller, pair):
    poller.forget()
    assert poller.wait(pair[0], READ, 0.0) == 0
    poller.forget()
    poller.forget()
    assert poller.wait(pair[0], WRITE, LONG) == WRITE


@pytest.mark.skipif(not hasattr(select, "poll"), reason="this system has no poll")
def test_waiting_opens_no_descriptor(wakeup):
    lowest = os.dup(0)
    os.close(lowest)
    poller = Poller(wakeup)
    poller.wait(None, 0, 0.0)
    again = os.dup(0)
    os.close(again)
    assert again == lowest


# --- waiting for several sockets -------------------------------------------------------------------------------------


def test_wait_any_returns_the_sockets_that_are_ready(poller, pair):
    near, far = pair
    other, peer = socket.socketpair()
    with other, peer:
        assert poller.wait_any({near: READ, other: READ}, 0.0) == []
        peer.send(b"x")
        assert poller.wait_any({near: READ, other: READ}, LONG) == [other]
        far.send(b"x")
        assert set(poller.wait_any({near: READ, other: READ}, LONG)) == {near, other}
        assert poller.wait_any({near: WRITE}, LONG) == [near]


def test_a_wake_up_ends_wait_any_and_is_not_among_its_results(wakeup, poller, pair):
    wakeup.wake()
    started = time.monotonic()
    assert poller.wait_any({pair[0]: READ}, LONG) == []
    assert time.monotonic() - started < LONG / 2
    pair[1].send(b"x")
    wakeup.wake()
    assert poller.wait_any({pair[0]: READ}, LONG) == [pair[0]]
    assert not has_wake_up(wakeup)


def test_a_socket_that_other_code_has_closed_is_an_error_of_wait_any(poller, pair):
    near, far = pair
    far.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        poller.wait_any({near: READ, far: READ}, LONG)
    assert poller.is_broken


def wait_with_wait(poller, sock):
    poller.wait(sock, READ, LONG)


def wait_with_wait_any(poller, sock):
    poller.wait_any({sock: READ}, LONG)


@pytest.mark.skipif(sys.platform == "win32", reason="on Windows a descriptor may have any number")
@pytest.mark.parametrize("wait", [wait_with_wait, wait_with_wait_any])
def test_a_descriptor_above_the_limit_of_select_is_an_oserror(wait, monkeypatch, wakeup, pair):
    """Where eventlet has removed ``poll``."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr("wsclient._network.poller._make_poll", _SelectPoll)
    poller = Poller(wakeup)
    number = 2000
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], number + 1), limits[1]))
    try:
        os.dup2(pair[0].fileno(), number)
        with socket.socket(fileno=number) as high:
            with pytest.raises(OSError, match="Bad file descriptor"):
                wait(poller, high)
            assert poller.is_broken
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_wake_up_that_other_code_has_closed_is_an_error_of_wait_any(wakeup, poller, pair):
    wakeup._outer.close()
    with pytest.raises(OSError, match="other code has closed a socket that wakes"):
        poller.wait_any({pair[0]: READ}, LONG)
    assert poller.is_broken


def test_wait_any_takes_the_requested_time(poller, pair):
    started = time.monotonic()
    assert poller.wait_any({pair[0]: READ}, SHORT) == []
    assert time.monotonic() - started > SHORT / 2


def test_wait_any_leaves_nothing_registered(poller, pair):
    near, far = pair
    assert poller.wait_any({near: READ}, 0.0) == []
    far.send(b"x")
    assert poller.wait(None, 0, SHORT) == 0
    assert poller._poll.poll(0) == []


def test_wait_and_wait_any_can_alternate_on_one_socket(poller, pair):
    near, far = pair
    far.send(b"x")
    for _ in range(3):
        assert poller.wait(near, READ, LONG) == READ
        assert poller.wait_any({near: READ}, LONG) == [near]


def test_the_watched_socket_is_known_until_it_is_forgotten():
    wakeup = Wakeup()
    poller = Poller(wakeup)
    near, far = socket.socketpair()
    with near, far:
        assert poller.sockets() == []
        poller.wait(near, READ, 0)
        assert poller.sockets() == [near]
        poller.forget()
        assert poller.sockets() == []
    wakeup.close()
