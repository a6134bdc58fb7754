"""What becomes of requests when their connection ends: told at once, sent again, or still to be sent."""

import pytest

import wsclient
from wsclient import _batches, _losses, _requests
from wsclient._clock import Deadline
from wsclient._outgoing import LOST, Passage
from wsclient._waiter import Waiter

NEVER = Deadline(None)
GONE = wsclient.Disconnect("network", None, "the line broke", OSError(104, "reset"), 1.0, 0.5)


@pytest.fixture
def core():
    return wsclient.Client("ws://localhost/", protocol=wsclient.JsonRpc())._wsclient.core


def begun(core, bound=None, **options):
    """A request that is queued, as on an open connection."""
    request = _requests.make(core.protocol, {"method": "x"}, NEVER, **options)
    request.waiter = Waiter()
    _requests.begin(core, request, timed=False)
    request.bound = bound
    return request


def flown(core, *, whole=True, **options):
    """A request that has been taken to the line, and written whole or in part."""
    request = begun(core, **options)
    passage = Passage(1)
    passage.taken, passage.sent = 10, 10 if whole else 9
    (taken,) = core.outbox.take(10**6, None)
    assert taken is request
    assert core.pending.depart(request, core.protocol.new_id())
    request.put_on(passage, 10)
    return request


def error_of(request):
    assert request.waiter.wait(Deadline(0.0)), "it was not told"
    return request.waiter.error


def is_untold(request):
    return not request.waiter.wait(Deadline(0.0))


def queued(core):
    return core.outbox.take(10**6, None)


def test_what_was_written_is_told_at_once_that_it_may_have_arrived(core):
    written, partly, waiting = flown(core), flown(core, whole=False), begun(core)
    _losses.lose_written(core, GONE)
    error = error_of(written)
    assert isinstance(error, wsclient.ConnectionLost)
    assert error.sent is True
    assert error.disconnect is GONE
    assert error.__cause__ is GONE.error
    assert str(error).startswith("The connection ended (the line broke) before the reply came; ")
    assert is_untold(partly)
    assert is_untold(waiting)


def test_what_may_be_repeated_is_not_told_unless_it_belongs_to_this_connection(core):
    repeated, bound = flown(core, idempotent=True), flown(core, idempotent=True, bound=1)
    _losses.lose_written(core, GONE)
    assert is_untold(repeated)
    assert error_of(bound).sent is True


def test_what_may_be_repeated_goes_out_again_before_what_waits(core):
    repeated = flown(core, idempotent=True)
    waiting = begun(core)
    _losses.after_loss(core, 1, [], GONE)
    assert queued(core) == [repeated, waiting]
    assert repeated.sent_before
    assert not repeated.departed
    assert repeated.place is None
    assert is_untold(repeated)
    assert core.pending.in_flight == 0


def test_what_was_cut_off_goes_out_again_whoever_asked(core):
    cut = flown(core, whole=False)
    _losses.after_loss(core, 1, [cut], GONE)
    assert queued(core) == [cut]
    assert not cut.departed
    assert not cut.sent_before, "the server can't have it"
    assert is_untold(cut)


def test_what_belongs_to_the_connection_ends_with_it(core):
    written, cut = flown(core, bound=1), flown(core, whole=False, bound=1)
    waiting, other = begun(core, bound=1), begun(core)
    _losses.after_loss(core, 1, [cut], GONE)
    assert error_of(written).sent is True
    assert error_of(cut).sent is False
    assert error_of(waiting).sent is False
    assert cut.fate is LOST
    assert queued(core) == [other]


def test_what_has_ended_does_not_go_out_again(core):
    repeated, cut = flown(core, idempotent=True), flown(core, whole=False)
    for request in (repeated, cut):
        assert _requests.cancel(core, request)
    _losses.after_loss(core, 1, [cut], GONE)
    assert queued(core) == []


def test_what_has_ended_and_keeps_its_place_by_order_does_not_go_out_again():
    core = wsclient.Client("ws://localhost/", protocol=wsclient.Fifo())._wsclient.core
    kept = flown(core, idempotent=True)
    assert _requests.cancel(core, kept, interrupted=True)
    assert core.pending.holds_place(kept)
    _losses.after_loss(core, 1, [], GONE)
    assert queued(core) == []
    assert not core.pending.holds_place(kept)


def test_a_batch_goes_out_again_once_and_whole(core):
    messages = [{"method": "a"}, {"method": "b"}]
    batch = _batches.make(core, messages, NEVER, bound=None, match=None, until=None, idempotent=True)
    _batches.begin(core, batch, Waiter())
    assert queued(core) == [batch]
    for member in batch.members:
        assert core.pending.depart(member, core.protocol.new_id())
    passage = Passage(1)
    passage.taken = passage.sent = 10
    batch.put_on(passage, 10)
    _losses.after_loss(core, 1, [], GONE)
    assert queued(core) == [batch]


def test_at_the_end_everyone_is_told_an_error_of_their_own(core):
    requests = [flown(core), begun(core)]
    error = wsclient.ClientClosed("The client was closed.")
    _losses.end_all(core, error)
    told = [error_of(request) for request in requests]
    assert [str(one) for one in told] == [str(error)] * 2
    assert told[0] is not told[1], "each gets a traceback of its own"
    assert queued(core) == []
    assert not core.pending.waiting


@pytest.mark.parametrize(("sent", "words"), [(True, "idempotent=True"), (False, "was not sent")])
def test_the_error_says_whether_it_had_been_sent(sent, words):
    error = _losses.lost(GONE, sent=sent)
    assert error.sent is sent
    assert words in str(error)
