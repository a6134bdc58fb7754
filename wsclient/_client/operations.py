"""The implementation of the public calls: functions that take the client's context, one for each call.

Each may run on any thread. A KeyboardInterrupt may occur on the main thread at any point. The message is then sent once
or never: a message of ``send()`` is sent if it was queued before the interrupt; a request is sent only if a thread has
begun to write it, since a queued request is withdrawn. No lock stays locked.
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


def send(context: ClientContext, message: Any, timeout: float | None, expires: float | None) -> Delivery:
    """See ``Client.send``."""
    if context.guard.forked or context.guard.setting_up:
        _check(context, "send()")
    now = time.monotonic()
    expires_at = None if expires is None else now + check_seconds("expires", expires)
    if timeout is not None:
        timeout = check_seconds("timeout", timeout, zero=True)
    connection_number = None if context.hooks.connection_number is None else context.hooks.connection_of_caller()
    entry = context.requests.encode_one_way(message, expires_at=expires_at, connection_number=connection_number)
    if this_thread.inside():
        context.requests.hand_over_message(entry)
        return Delivery(entry, context.acknowledgements)
    # Whether this thread writes the message at once, if it may write. Otherwise the message is queued, and the I/O
    # thread writes several small messages together.
    at_once = (
        expires_at is not None or entry.size > SMALL or (not context.queue.entries and context.sender.pace.allows(now))
    )
    if at_once and context.sender.write_now(entry):
        return Delivery(entry, context.acknowledgements)
    context.requests.queue(entry, NEVER if timeout is None else Deadline.after(timeout, now))
    if at_once:
        context.sender.write_queued()
    else:
        context.sender.defer_write()
    return Delivery(entry, context.acknowledgements)


def request_many(
    context: ClientContext, messages: Iterable[Any], timeout: float | None, return_exceptions: bool, idempotent: bool
) -> list[Any]:
    """See ``Client.request_many``."""
    context.guard.check_may_wait("request_many()", INSTEAD)
    context.guard.check_started("request_many()")
    deadline = context.settings.bounds.deadline(timeout)
    connection_number = context.hooks.connection_of_caller()
    waiters: list[tuple[Request, Waiter]] = []
    replies: list[Any] = []
    try:
        for message in messages:
            request = context.requests.make(
                message, deadline, idempotent=idempotent, connection_number=connection_number
            )
            waiter = Waiter()
            waiters.append((request, waiter))
            try:
                context.requests.begin(request, waiter, more=True)
            except WebSocketClientError as error:
                waiter.complete(None, error)
        context.sender.write_queued()
        context.receivers.resume_reading()
        for request, waiter in waiters:
            if not waiter.wait(request.deadline):
                give_up(context, request, waiter)
            if waiter.error is not None and not return_exceptions:
                raise waiter.error
            replies.append(waiter.value if waiter.error is None else waiter.error)
    except BaseException:
        for request, _ in waiters:
            context.requests.cancel(request, interrupted=True)
        raise
    finally:
        del waiters
        request = waiter = None  # type: ignore[assignment]
    return replies


def submit(
    context: ClientContext,
    message: Any,
    timeout: float | None,
    match: Callable[[Any], bool] | None,
    until: Callable[[Any], bool] | None,
    idempotent: bool,
) -> RequestFuture:
    """See ``Client.submit``."""
    if context.guard.forked or context.guard.setting_up:
        _check(context, "submit()")
    connection_number = None if context.hooks.connection_number is None else context.hooks.connection_of_caller()
    request = context.requests.prepare(message, timeout, match, until, idempotent, connection_number)
    later = context.subscriptions.post
    future = RequestFuture(
        request, partial(_cancel, context), context.hooks.run_later, later, partial(_end_overdue, context)
    )
    if this_thread.inside():
        try:
            context.requests.hand_over(request, future, timed=True)
        except BaseException:
            if context.state.current not in FINAL:
                later(context.requests.withdraw, request)
            raise
        return future
    try:
        context.requests.begin(request, future, timed=True)
        context.receivers.resume_reading()
    except ConnectionLost as error:
        future.complete(None, error)
    except BaseException:
        context.requests.withdraw(request, interrupted=True)
        raise
    context.commands.wake_by(request.deadline)
    return future


def call_message(context: ClientContext, method: str, params: Any, *, notify: bool) -> Any:
    """Return the message of a call or of a notification."""
    if not isinstance(method, str):
        raise TypeError(f"method must be a str, not {type(method).__name__}.")
    return context.protocol.build(method, params, notify)


def clear_queue(context: ClientContext) -> int:
    """See ``Client.clear_queue``."""
    context.guard.check_fork("clear_queue()")
    context.guard.check_not_inside("clear_queue()", "Call cancel() of the deliveries.")
    if context.commands.close is not None or context.state.current in FINAL:
        raise context.guard.closed_error("clear_queue()")
    return context.requests.clear_queue()


def pause_sending(context: ClientContext, seconds: float) -> None:
    """See ``Client.pause_sending``."""
    context.guard.check_fork("pause_sending()")
    seconds = check_seconds("seconds", seconds, zero=True)
    if context.state.current in FINAL:
        raise context.guard.closed_error("pause_sending()")
    if seconds:
        context.sender.pause.begin(time.monotonic() + seconds)
    else:
        context.sender.pause.cancel()
        context.commands.wake()  # the I/O thread writes what has waited


def reconnect(context: ClientContext, reason: str) -> None:
    """See ``Client.reconnect``."""
    context.guard.check("reconnect()")
    check_close(CloseCode.NORMAL, reason)
    context.guard.check_started("reconnect()")
    context.commands.order_reconnect(reason)


def renew(context: ClientContext, reason: str, timeout: float, *, wait: bool) -> bool:
    """See ``Client.renew``."""
    context.guard.check("renew()")
    check_close(CloseCode.NORMAL, reason)
    timeout = check_seconds("timeout", timeout, zero=True)
    if not context.settings.may_renew:
        raise ValueError("renew() needs a further connection, but reconnect= is None, or sock= is a socket.")
    if wait:
        context.guard.check_may_wait("renew()", "Call renew(wait=False).")
    context.guard.check_started("renew()")
    waiter = Waiter() if wait else None
    context.renew(reason, waiter)
    if waiter is None:
        return False
    if context.state.current in FINAL:
        context.renew_calls.take()  # the client has ended meanwhile, perhaps before the I/O thread took this call
        context.renew_calls.complete(False)
    is_renewed = waiter.wait(Deadline.after(timeout, time.monotonic())) and bool(waiter.value)
    if not is_renewed:
        context.guard.check_started("renew()")
    return is_renewed


def wait_until(context: ClientContext, state: State, timeout: float | None) -> bool:
    """See ``Client.wait_until``."""
    if not isinstance(state, State):
        raise TypeError(f"state must be a wsclient.State, not {state!r}.")
    context.guard.check_may_wait("wait_until()", "Look at .state instead.")
    deadline = Deadline.after(timeout, time.monotonic())
    reached = context.state.wait_for(state, deadline)
    if not reached and state is State.OPEN and context.state.current is State.FAILED:
        raise context.guard.closed_error("wait_until(State.OPEN)")
    return reached


def stats(context: ClientContext) -> Stats:
    """See ``Client.stats``."""
    counters, counts, opened_at = context.counters, context.table.counts, context.facts.opened_at
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
        requests_in_flight=max(0, context.table.in_flight),
        queue_depth=context.queue.messages,
        queue_bytes=context.queue.bytes,
        queue_head_age=context.queue.head_age(time.monotonic()),
        dropped=context.queue.dropped + context.receivers.dropped,
        last_message_age=counters.last_message_age(now),
        rtt_last=counters.rtt_last,
        rtt_min=counters.rtt_min,
        rtt_mean=counters.rtt_mean,
        uptime=0.0 if opened_at is None else now - opened_at,
        renewals=counters.renewals,
    )


def give_up(context: ClientContext, entry: Request | Batch, waiter: Waiter) -> None:
    """End a request or batch whose deadline has passed, and wait until its waiter is completed."""
    for request in entry.reply_requests():
        context.requests.time_out(request)
    waiter.wait(NEVER)  # it is completed now, or in a moment by the thread that has ended a request


def _end_overdue(context: ClientContext, request: Request | Batch) -> None:
    context.guard.check_fork("result()")
    context.requests.end_overdue(request)


def _check(context: ClientContext, call: str) -> None:
    """Reject a call in a forked child. Inside ``on_session``, log a warning that the message is sent later: the user
    may expect that it is sent at once.
    """
    context.guard.check_fork(call)
    if context.guard.setting_up and context.guard.on_io_thread():
        text = "%s was called on the client inside on_session: the message is sent when the connection is open. Use %s."
        context.log.queue(logging.WARNING, text, call, "session.send() or session.request()")


def _cancel(context: ClientContext, request: Request | Batch) -> None:
    context.guard.check_fork("cancel()")
    context.requests.withdraw(request)
