"""The implementation of the public calls: functions that take the client's context, one for each call.

Each may run on any thread. A KeyboardInterrupt may occur on the main thread at any point. If the message was queued
before the interrupt, it is sent once, otherwise it is not sent. No lock stays locked.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .._errors import ConnectionLost, WebSocketClientError
from .._models import State
from .._requests.batches import Batch
from .._requests.futures import RequestFuture
from .._rfc6455.close import CloseCode, check_close
from .._sending.delivery import Delivery
from .._sending.sender import SMALL
from .._stats import Stats
from .._threads.sections import this_thread
from .._threads.state import FINAL
from .._threads.waiting import NEVER, Deadline, Waiter
from .._validation import check_seconds

if TYPE_CHECKING:
    from .._connection.context import ClientContext
    from .._requests.request import Request

__all__ = [
    "INSTEAD",
    "call_message",
    "clear_queue",
    "give_up",
    "pause_sending",
    "reconnect",
    "renew",
    "request_many",
    "send",
    "stats",
    "submit",
    "wait_until",
]

INSTEAD: Final = "Use submit() and a done-callback."


def send(core: ClientContext, message: Any, timeout: float | None, expires: float | None) -> Delivery:
    """See ``Client.send``."""
    if core.guard.forked or core.guard.setting_up:
        _check(core, "send()")
    now = time.monotonic()
    expires_at = None if expires is None else now + check_seconds("expires", expires)
    if timeout is not None:
        timeout = check_seconds("timeout", timeout, zero=True)
    connection_number = None if core.hooks.connection_number is None else core.hooks.connection_of_caller()
    entry = core.requests.encode_one_way(message, expires_at=expires_at, connection_number=connection_number)
    if this_thread.inside():
        core.requests.hand_over_message(entry)
        return Delivery(entry, core.acknowledgements)
    # Whether this thread writes the message at once, if it may write. Otherwise the message is queued, and the I/O
    # thread writes several small messages together.
    at_once = expires_at is not None or entry.size > SMALL or (not core.queue.entries and core.sender.pace.allows(now))
    if at_once and core.sender.write_now(entry):
        return Delivery(entry, core.acknowledgements)
    core.requests.queue(entry, NEVER if timeout is None else Deadline.after(timeout, now))
    if at_once:
        core.sender.write_queued()
    else:
        core.sender.defer_write()
    return Delivery(entry, core.acknowledgements)


def request_many(
    core: ClientContext, messages: Iterable[Any], timeout: float | None, return_exceptions: bool, idempotent: bool
) -> list[Any]:
    """See ``Client.request_many``."""
    core.guard.check_may_wait("request_many()", INSTEAD)
    core.guard.check_started("request_many()")
    deadline = core.settings.bounds.deadline(timeout)
    connection_number = core.hooks.connection_of_caller()
    waiters: list[tuple[Request, Waiter]] = []
    replies: list[Any] = []
    try:
        for message in messages:
            request = core.requests.make(message, deadline, idempotent=idempotent, connection_number=connection_number)
            waiter = Waiter()
            waiters.append((request, waiter))
            try:
                core.requests.begin(request, waiter, timed=False, more=True)
            except WebSocketClientError as error:
                waiter.complete(None, error)
        core.sender.write_queued()
        core.receivers.resume_reading()
        for request, waiter in waiters:
            if not waiter.wait(request.deadline):
                give_up(core, request, waiter)
            if waiter.error is not None and not return_exceptions:
                raise waiter.error
            replies.append(waiter.value if waiter.error is None else waiter.error)
    except BaseException:
        for request, _ in waiters:
            core.requests.cancel(request, interrupted=True)
        raise
    finally:
        del waiters
        request = waiter = None  # type: ignore[assignment]
    return replies


def submit(
    core: ClientContext,
    message: Any,
    timeout: float | None,
    match: Callable[[Any], bool] | None,
    until: Callable[[Any], bool] | None,
    idempotent: bool,
) -> RequestFuture:
    """See ``Client.submit``."""
    if core.guard.forked or core.guard.setting_up:
        _check(core, "submit()")
    connection_number = None if core.hooks.connection_number is None else core.hooks.connection_of_caller()
    request = core.requests.prepare(message, timeout, match, until, idempotent, connection_number)
    later = core.subscriptions.post
    future = RequestFuture(request, partial(_cancel, core), core.hooks.run_later, later, partial(_end_overdue, core))
    if this_thread.inside():
        try:
            core.requests.hand_over(request, future, timed=True)
        except BaseException:
            if core.state.current not in FINAL:
                later(core.requests.withdraw, request)
            raise
        return future
    try:
        core.requests.begin(request, future, timed=True)
        core.receivers.resume_reading()
    except ConnectionLost as error:
        future.complete(None, error)
    except BaseException:
        core.requests.withdraw(request, interrupted=True)
        raise
    core.commands.wake_by(request.deadline)
    return future


def call_message(core: ClientContext, method: str, params: Any, *, notify: bool) -> Any:
    """Return the message of a call or of a notification."""
    if not isinstance(method, str):
        raise TypeError(f"method must be a str, not {type(method).__name__}.")
    return core.protocol.build(method, params, notify)


def clear_queue(core: ClientContext) -> int:
    """See ``Client.clear_queue``."""
    core.guard.check_fork("clear_queue()")
    core.guard.check_not_inside("clear_queue()", "Call cancel() of the deliveries.")
    if core.commands.close is not None or core.state.current in FINAL:
        raise core.guard.closed_error("clear_queue()")
    return core.requests.clear_queue()


def pause_sending(core: ClientContext, seconds: float) -> None:
    """See ``Client.pause_sending``."""
    core.guard.check_fork("pause_sending()")
    seconds = check_seconds("seconds", seconds, zero=True)
    if core.state.current in FINAL:
        raise core.guard.closed_error("pause_sending()")
    if seconds:
        core.sender.pause.begin(time.monotonic() + seconds)
    else:
        core.sender.pause.cancel()
        core.commands.wake()  # the I/O thread writes what has waited


def reconnect(core: ClientContext, reason: str) -> None:
    """See ``Client.reconnect``."""
    core.guard.check("reconnect()")
    check_close(CloseCode.NORMAL, reason)
    core.guard.check_started("reconnect()")
    core.commands.order_reconnect(reason)


def renew(core: ClientContext, reason: str, timeout: float, *, wait: bool) -> bool:
    """See ``Client.renew``."""
    core.guard.check("renew()")
    check_close(CloseCode.NORMAL, reason)
    timeout = check_seconds("timeout", timeout, zero=True)
    if not core.settings.may_renew:
        raise ValueError("renew() needs a further connection, but reconnect= is None, or sock= is a socket.")
    if wait:
        core.guard.check_may_wait("renew()", "Call renew(wait=False).")
    core.guard.check_started("renew()")
    waiter = Waiter() if wait else None
    core.renew(reason, waiter)
    if waiter is None:
        return False
    if core.state.current in FINAL:
        core.renew_calls.take()  # the client has ended meanwhile, perhaps before the I/O thread took this call
        core.renew_calls.complete(False)
    is_renewed = waiter.wait(Deadline.after(timeout, time.monotonic())) and bool(waiter.value)
    if not is_renewed:
        core.guard.check_started("renew()")
    return is_renewed


def wait_until(core: ClientContext, state: State, timeout: float | None) -> bool:
    """See ``Client.wait_until``."""
    if not isinstance(state, State):
        raise TypeError(f"state must be a wsclient.State, not {state!r}.")
    core.guard.check_may_wait("wait_until()", "Look at .state instead.")
    deadline = Deadline.after(timeout, time.monotonic())
    reached = core.state.wait_for(state, deadline)
    if not reached and state is State.OPEN and core.state.current is State.FAILED:
        raise core.guard.closed_error("wait_until(State.OPEN)")
    return reached


def stats(core: ClientContext) -> Stats:
    """See ``Client.stats``."""
    counters, counts, opened_at = core.counters, core.table.counts, core.facts.opened_at
    now = time.monotonic()
    return Stats(
        messages_sent=counters.messages_sent,
        messages_received=counters.messages_received,
        bytes_sent=counters.bytes_sent,
        bytes_received=counters.bytes_received,
        connections=counters.connections,
        failed_attempts=counters.failed_attempts,
        requests_ok=counts["ok"],
        requests_failed=counts["failed"] + counts["cancelled"],
        requests_timed_out=counts["timed_out"],
        requests_late=counters.unmatched_replies,
        # A difference of two counts that are read at different moments, so it may be negative.
        requests_in_flight=max(0, core.table.in_flight),
        queue_depth=core.queue.messages,
        queue_bytes=core.queue.bytes,
        queue_head_age=core.queue.head_age(time.monotonic()),
        dropped=core.queue.dropped + core.receivers.dropped,
        last_message_age=counters.last_message_age(now),
        rtt_last=counters.rtt_last,
        rtt_min=counters.rtt_min,
        rtt_mean=counters.rtt_mean,
        uptime=0.0 if opened_at is None else now - opened_at,
        renewals=counters.renewals,
    )


def give_up(core: ClientContext, entry: Request | Batch, waiter: Waiter) -> None:
    """End a request or batch whose deadline has passed, and wait until its waiter is completed."""
    for request in entry.reply_requests():
        core.requests.time_out(request)
    waiter.wait(NEVER)  # it is completed now, or in a moment by the thread that has ended a request


def _end_overdue(core: ClientContext, request: Request | Batch) -> None:
    core.guard.check_fork("result()")
    core.requests.end_overdue(request)


def _check(core: ClientContext, call: str) -> None:
    """Reject a call in a forked child. Inside ``on_session``, log a warning that the message is sent later: the user
    may expect that it is sent at once.
    """
    core.guard.check_fork(call)
    if core.guard.setting_up and core.guard.on_io_thread():
        text = "%s was called on the client inside on_session: the message is sent when the connection is open. Use %s."
        core.log.queue(logging.WARNING, text, call, "session.send() or session.request()")


def _cancel(core: ClientContext, request: Request | Batch) -> None:
    core.guard.check_fork("cancel()")
    core.requests.withdraw(request)
