"""How a request begins, and the ways it ends.

Whoever ends one asks ``pending.take`` first; only the winner tells the waiter. So a reply, a timeout, a cancel, a loss
and a close may come at the same moment: one of them counts.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from .._errors import ConnectionLost, RequestTimeout, SendQueueFull, WebSocketClientError
from .._sending.message import LOST, Batch, Outgoing
from .._threads.deadline import Deadline
from ..protocols import Request as Wrapped
from ..protocols._encoding import encoded
from .request import CANCELLED, FAILED, OK, TIMED_OUT, Request

if TYPE_CHECKING:
    from ..protocols import Protocol
    from .context import RequestContext

__all__ = [
    "NEVER",
    "answer",
    "begin",
    "cancel",
    "ended_before",
    "expire",
    "fail",
    "make",
    "plain",
    "queue",
    "refused",
    "requests_in",
    "send_unseen",
    "time_out",
    "timeout",
    "withdraw",
]

NEVER: Final = Deadline(None)
"""The deadline of what waits as long as it takes."""


def make(
    protocol: Protocol,
    message: Any,
    deadline: Deadline,
    match: Callable[[Any], bool] | None = None,
    until: Callable[[Any], bool] | None = None,
    idempotent: bool = False,
    bound: int | None = None,
) -> Request:
    """Encode a request; nothing is kept of the message itself.

    Args:
        protocol: the client's protocol.
        message: what the caller wants to ask.
        deadline: until when.
        match: as for ``client.request``, like the next two.
        until: see there.
        idempotent: see there.
        bound: the one connection it may go to; None for any.

    Raises:
        TypeError: the message can't be encoded, or no reply to it could be recognised.
        ValueError: likewise.
    """
    if match is not None and protocol._by_order:
        raise ValueError("match= can't be used where replies are told apart by their order, as Fifo does.")
    id = None if match is not None else protocol.id_of(message)
    if match is None and id is None:
        draft = protocol._draft(message)
        request = Request(
            None, draft.size, deadline, draft=draft, until=until, idempotent=idempotent, bound=bound
        )  # fmt: skip
    else:
        opcode, payload = encoded(protocol.encode(message) if id is None else protocol.encode_request(message, id))
        request = Request(
            payload,
            len(payload),
            deadline,
            opcode=opcode,
            id=id,
            match=match,
            until=until,
            idempotent=idempotent,
            bound=bound,
        )
    if match is None and until is None and protocol._is_judge:
        request.message = copy.deepcopy(message)
        request.takes_any = False
    return request


def plain(core: RequestContext, message: Any, *, expires_at: float | None = None, bound: int | None = None) -> Outgoing:
    """Encode a message that wants no answer. If the server might give one all the same, it must be nobody else's: no
    request will get an id that stands in it.

    Args:
        core: the client.
        message: what to send.
        expires_at: as in ``Outgoing``, like the next.
        bound: see there.

    Raises:
        TypeError: it can't be encoded.
        ValueError: likewise; or a request waits under its id.
    """
    protocol = core.protocol
    opcode, payload = encoded(protocol.encode(message))
    entry = Outgoing(opcode, payload, len(payload), expires_at=expires_at, bound=bound)
    entry.ids = protocol._ids_in(message)
    for id in entry.ids:
        protocol._passed(id)
        core.pending.check_free(id)
    return entry


def queue(core: RequestContext, entry: Outgoing, deadline: Deadline) -> None:
    """Put a message into the send queue, without starting to write it.

    Raises:
        RequestTimeout: it is a request, and there was no room until its deadline.
        SendQueueFull, MessageTooBig, ClientClosed: it was not queued.
    """
    evicted: list[Outgoing] = []
    try:
        try:
            core.outbox.put(entry, deadline, evicted, may_wait=False)
        except SendQueueFull:
            if not core.sender.make_room():
                raise
            core.outbox.put(entry, deadline, evicted)
    except SendQueueFull as error:
        if entry.requests and deadline.passed(time.monotonic()):
            raise timeout("queued") from error
        raise
    finally:
        for victim in evicted:
            for request in requests_in(victim):
                fail(core, request, SendQueueFull("The request was dropped from the full send queue (drop_oldest)."))
        if evicted:
            core.progress.announce()
    if entry.bound is not None and core.sender.is_too_late(entry):
        core.outbox.withdraw(entry)  # no later connection may have it


def begin(core: RequestContext, request: Request, *, timed: bool, calm: bool = False, more: bool = False) -> None:
    """The request begins to wait, and is written or queued. Its waiter is set; an error here has told it nothing.

    Args:
        core: the client.
        request: what ``make`` gave.
        timed: whether the I/O thread keeps its deadline; False if the caller waits for it.
        calm: whether nobody waits for its first answer.
        more: whether others follow, with which it is to be written.

    Raises:
        ValueError: the caller's id is in flight.
        RequestTimeout: the send queue had no room until the deadline.
        SendQueueFull, MessageTooBig, ClientClosed, ConnectionLost: it was not queued.
    """
    core.pending.add(request, timed=timed, calm=calm)
    try:
        if not more and core.sender.write_now(request):
            return
        queue(core, request, request.deadline)
    except WebSocketClientError:
        if not core.pending.take(request, FAILED):
            return  # somebody else has ended it meanwhile, and told its waiter
        raise
    except BaseException:
        cancel(core, request, interrupted=True)
        raise
    if request.fate is LOST and core.pending.take(request, FAILED):
        raise refused(core, request)
    if not more:
        core.sender.write_queued()


def refused(core: RequestContext, entry: Outgoing) -> WebSocketClientError:
    """The error for what the queue did not take: its connection is over, or the policy is to drop the newest."""
    if core.sender.is_too_late(entry):
        return ended_before()
    return SendQueueFull("The send queue is full and drops the newest message (drop_newest).")


def requests_in(entry: Outgoing) -> list[Request]:
    """The requests that an entry of the send queue stands for."""
    if isinstance(entry, Request):
        return [entry]
    return entry.members if isinstance(entry, Batch) else []


def ended_before() -> ConnectionLost:
    """The error for a request whose connection has ended before it was queued or written."""
    return ConnectionLost("The connection this request belongs to has ended already.", sent=False)


def answer(core: RequestContext, request: Request, value: Any) -> bool:
    """The reply has come. False if the request had ended before."""
    if not core.pending.take(request, OK):
        return False
    if request.waiter is not None:
        request.waiter.settle(value, None)
    if core.protocol.max_in_flight is not None or core.orders.drain is not None:
        _make_room(core)
    return True


def fail(core: RequestContext, request: Request, error: BaseException) -> bool:
    """The request ends with an error. False if it had ended before."""
    if not core.pending.take(request, FAILED):
        return False
    _take_back(core, request)
    if request.waiter is not None:
        request.waiter.settle(None, error)
    _make_room(core)
    return True


def time_out(core: RequestContext, request: Request) -> bool:
    """The deadline has passed. False if the request had ended before."""
    if not core.pending.take(request, TIMED_OUT):
        return False
    _take_back(core, request)
    error = timeout("waiting" if request.departed or request.sent_before else "queued")
    if request.waiter is not None:
        request.waiter.settle(None, error)
    _drop_if_by_order(core, request, error)
    _make_room(core)
    return True


def cancel(core: RequestContext, request: Request, *, interrupted: bool = False) -> bool:
    """The caller wants no reply any more; nobody is told. True if it was ended so, and may have gone out.

    Args:
        core: the client.
        request: which.
        interrupted: where replies come by order, a request in flight then keeps its place until its deadline, instead
            of costing the connection at once.
    """
    if not core.pending.take(request, CANCELLED):
        return False
    _take_back(core, request)
    went_out = request.departed  # or will, the next moment
    if went_out:
        if not interrupted or request.deadline.at is None:
            given_up = ConnectionLost("A request was given up after it had been sent.", sent=True)
            _drop_if_by_order(core, request, given_up)
        elif core.pending.holds_place(request):
            core.orders.wake()  # for its new timer
    _make_room(core)
    return went_out


def withdraw(core: RequestContext, entry: Outgoing, *, interrupted: bool = False) -> None:
    """Cancel every request that an entry of the send queue stands for."""
    for request in requests_in(entry):
        cancel(core, request, interrupted=interrupted)


def expire(core: RequestContext, now: float) -> None:
    """End the requests whose deadline has passed. I/O thread only."""
    due = core.pending.next_deadline()
    if due is None or due > now:
        return
    for request in core.pending.expire(now):
        if not time_out(core, request):
            _drop_if_by_order(core, request, timeout("waiting"))


def send_unseen(core: RequestContext, message: Any, *, bound: int) -> None:
    """Send a message on one connection; if it is wrapped as a request, its answer is seen by nobody.

    Raises:
        SendQueueFull, MessageTooBig, ClientClosed: it was not queued.
        TypeError, ValueError: it can't be encoded.
    """
    deadline = Deadline.after(core.settings.bounds.request_timeout, time.monotonic())
    if isinstance(message, Wrapped):
        begin(core, make(core.protocol, message.message, deadline, bound=bound), timed=True)
    else:
        queue(core, plain(core, message, bound=bound), deadline)
        core.sender.write_queued()
    core.orders.wake_by(deadline)


def _take_back(core: RequestContext, request: Request) -> None:
    """Take a request that has ended out of the queue, if it is there; a batch, once all its requests have ended."""
    batch = request.batch
    if batch is None:
        core.outbox.withdraw(request)
    # The last one first: mostly they end in their order.
    elif batch.queued and all(one.outcome is not None for one in reversed(batch.members)):
        core.outbox.withdraw(batch)


def timeout(phase: str) -> RequestTimeout:
    """The error for a request whose deadline has passed: still ``"queued"``, or ``"waiting"`` for its reply."""
    if phase == "queued":
        return RequestTimeout("The request could not be sent before its deadline, and will not be.", phase=phase)
    return RequestTimeout("No reply came before the deadline; the server may still act on the request.", phase=phase)


def _make_room(core: RequestContext) -> None:
    """A request has ended: where their number is bounded the next may go out, and a drain may be done."""
    if core.protocol.max_in_flight is not None:
        core.sender.write_queued()
    if core.orders.drain is not None:
        core.orders.wake()


def _drop_if_by_order(core: RequestContext, request: Request, error: WebSocketClientError) -> None:
    """A reply that is found by its order is still to come: later ones could not be told apart from it."""
    if core.pending.holds_place(request):
        # Without a place on the line it is being written just now, on the connection of the moment.
        core.orders.order_drop(request.place[0].number if request.place else core.sender.connection_number, error)
