"""What the way out takes from the client, and whom it tells."""

import math

import pytest

import wsclient
from wsclient._clock import Deadline
from wsclient._frames import Opcode
from wsclient._outgoing import Outgoing
from wsclient._pending import FAILED, Request
from wsclient._source import Source

PASSED = Deadline(-math.inf)


class TwoAtATime(wsclient.Fifo):
    max_in_flight = 2

    def __init__(self):
        super().__init__(max_in_flight=2)


@pytest.fixture
def core():
    client = wsclient.Client("ws://localhost/", protocol=TwoAtATime())
    yield client._wsclient.core
    client.close()


@pytest.fixture
def source(core):
    return Source(core, 7)


def ask(core, payload=b"ask"):
    request = Request(payload, len(payload), deadline=Deadline(None))
    core.pending.add(request, timed=False)
    core.outbox.put(request, PASSED, [])
    return request


def say(core, payload=b"say", **options):
    entry = Outgoing(Opcode.TEXT, payload, len(payload), **options)
    core.outbox.put(entry, PASSED, [])
    return entry


def test_what_is_queued_is_taken_in_order(core, source):
    assert not source.ready()
    first, second = say(core), say(core)
    assert source.ready()
    assert source.take(1000) == [first, second]
    assert source.take(1000) == []


def test_requests_wait_while_as_many_are_in_flight_as_may_be(core, source):
    requests = [ask(core) for _ in range(3)]
    assert source.take(1000) == requests[:2]
    for request in requests[:2]:
        assert source.payload(request) == b"ask"
    assert not source.ready()
    core.pending.take(requests[0], FAILED)
    core.pending.drop_place(requests[0])
    assert source.ready()
    assert source.take(1000) == requests[2:]


def test_a_message_of_another_connection_has_no_payload_any_more(core, source):
    mine, others = say(core, bound=7), say(core, bound=6)
    assert source.payload(mine) == b"say"
    assert source.payload(others) is None
    assert others.state == "lost"


def test_what_is_written_is_counted_and_its_bytes_forgotten_but_for_requests(core, source):
    message, request, mark = say(core), ask(core), Outgoing(Opcode.PING, b"", 0)
    source.written([message, request, mark])
    assert (core.counters.messages_sent, core.counters.bytes_sent) == (2, 6)
    assert message.payload is None
    assert request.payload == b"ask"  # it may be sent again


def test_who_waits_for_progress_hears_of_it(core, source):
    with core.progress.watch() as latch:
        assert not latch.wait(PASSED)
        core.progress.announce()
        assert latch.wait(PASSED)
