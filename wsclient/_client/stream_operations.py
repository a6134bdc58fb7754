"""The implementation of the public calls that return a stream: functions that take the client's context.

Each may run on any thread.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from .._options import DEFAULT
from .._receiving.inbox import Inbox
from .._receiving.reply_stream import Feed, ReplyFeed
from .._receiving.streams import Stream
from .._receiving.subscription import Subscription
from .._requests import failures
from .._threads.sections import this_thread
from .._threads.state import FINAL
from .._threads.waiting import Latch
from .._validation import check_callable, check_choice, check_count, check_seconds

if TYPE_CHECKING:
    from .._connection.context import ClientContext
    from .._options import Overflow
    from .._requests.request import Request
    from .._threads.waiting import Deadline

__all__ = ["listen", "stream", "subscribe"]


def listen(
    context: ClientContext,
    match: Callable[[Any], bool] | None,
    maxsize: int | None,
    overflow: Overflow,
    key: Callable[[Any], Any] | None,
) -> Stream:
    """See ``Client.listen``."""
    context.guard.check("listen()")
    stream = Stream(
        _inbox(context, maxsize, overflow, key),
        match=check_callable("match", match),
        key=check_callable("key", key),
        reader_closed=context.streams.discard,
        check=partial(context.guard.check_may_wait, instead="Use on_message instead."),
        log=context.log,
        is_forked=context.guard.is_forked,
    )
    context.streams.add(stream)
    if context.state.current in FINAL:
        stream.close()
        raise context.guard.closed_error("listen()")
    return stream


def stream(
    context: ClientContext,
    message: Any,
    until: Callable[[Any], bool] | None,
    timeout: float | None,
    maxsize: int | None,
    overflow: Overflow,
) -> Stream:
    """See ``Client.stream``."""
    context.guard.check_fork("stream()")
    context.guard.check_started("stream()")
    check_callable("until", until)
    request = context.requests.make(
        message,
        context.settings.bounds.deadline(timeout),
        until=until,
        connection_number=context.hooks.connection_of_caller(),
    )
    request.message = copy.deepcopy(message)
    feed = ReplyFeed(
        context.streams, context.protocol, context.requests, context.sender, context.log, context.subscriptions.post
    )
    answers = Stream(
        _inbox(context, maxsize, overflow, None),
        match=None,
        key=None,
        reader_closed=feed.reader_closed,
        check=partial(context.guard.check_may_wait, instead="Use on_message instead."),
        log=context.log,
        is_forked=context.guard.is_forked,
        reply_due=feed.reply_due,
    )
    _attach(context, feed, answers)
    feed.request, request.feed = request, feed
    request.ends_at_first_reply = False
    _begin_feed(context, request, answers, timed=True)
    return answers


def subscribe(
    context: ClientContext,
    message: Any,
    match: Callable[[Any], bool] | None,
    unsubscribe: Any,
    resume: bool,
    key: Callable[[Any], Any] | None,
    on_gap: Callable[[Subscription], object] | None,
    timeout: float | None,
    maxsize: int | None,
    overflow: Overflow,
    quiet_after: float | None,
    identity: Callable[[Any], Any] | None,
) -> Subscription:
    """See ``Client.subscribe``."""
    context.guard.check_may_wait("subscribe()", "Call it on another thread, or use send() and listen().")
    context.guard.check_started("subscribe()")
    connection_number = context.hooks.connection_of_caller()
    if resume is DEFAULT:
        resume = connection_number is None
    elif resume and connection_number is not None:
        raise ValueError(
            "subscribe(resume=True) inside on_open, on_reconnect or on_renew would subscribe once more on each "
            "connection; omit resume= there, or subscribe once outside of the hook."
        )
    feed = context.make_subscription(
        message,
        match=check_callable("match", match),
        unsubscribe=unsubscribe,
        resume=bool(resume),
        quiet_after=None if quiet_after is None else check_seconds("quiet_after", quiet_after),
        identity=check_callable("identity", identity),
    )
    request = feed.make(context.settings.bounds.deadline(timeout), connection_number)
    awaited = feed.is_reply_awaited
    subscription = Subscription(
        _inbox(context, maxsize, overflow, key),
        on_gap=check_callable("on_gap", on_gap),
        key=check_callable("key", key),
        reader_closed=feed.reader_closed,
        check=partial(context.guard.check_may_wait, instead="Use on_message instead."),
        log=context.log,
        is_forked=context.guard.is_forked,
    )
    try:
        _attach(context, feed, subscription)
        context.subscriptions.add(feed)
        _await_events(context, request.deadline)
        _begin_feed(context, request, subscription, timed=awaited, streaming=not awaited)
        if awaited:
            feed.wait()
    except BaseException:
        subscription.close()
        raise
    if feed.caller.error is not None:
        raise feed.caller.error
    return subscription


def _await_events(context: ClientContext, deadline: Deadline) -> None:
    """Wait until the I/O thread has applied all earlier events, and has sent the unsubscribe messages of subscriptions
    that were closed before: the new one may be for the same messages. (In the state ``CLOSING`` the unsubscribe message
    may be sent later.)
    """
    if not context.subscriptions.events:
        return
    latch = Latch()
    context.subscriptions.post(Latch.open, latch)
    # If the state is final, `finish()` is about to apply the event; do not wait.
    if context.state.current not in FINAL and not latch.wait(deadline):
        reason = "the I/O thread is busy in a function of the program, and has not ended earlier subscriptions"
        raise failures.timed_out("queued", "The request", deadline.seconds, reason)


def _inbox(context: ClientContext, maxsize: int | None, overflow: Overflow, key: Any) -> Inbox:
    """Make the queue for the messages of a stream."""
    bounds = context.settings.bounds.receive_queue
    check_choice("overflow", overflow, ("block", "raise", "drop_oldest", "drop_newest", "latest"))
    if key is not None and overflow != "latest":
        raise ValueError("key= groups messages so that the newest of each is kept; use it with overflow='latest' only.")
    most = bounds.max_messages if maxsize is None else check_count("maxsize", maxsize)
    return Inbox(most, bounds.max_bytes, overflow, context.receivers.resume_reading)


def _attach(context: ClientContext, feed: Feed, stream: Stream) -> None:
    feed.attach(stream)
    context.streams.add_fed(stream)


def _begin_feed(
    context: ClientContext, request: Request, stream: Stream, *, timed: bool, streaming: bool = False
) -> None:
    """Send the request of a stream; if that fails, close the stream."""
    try:
        if this_thread.inside():
            context.requests.hand_over(request, request.feed, timed=timed, streaming=streaming)
        else:
            context.requests.begin(request, request.feed, timed=timed, streaming=streaming)
        context.receivers.resume_reading()
        if timed:
            context.commands.wake_by(request.deadline)
    except BaseException:
        stream.close()
        raise
