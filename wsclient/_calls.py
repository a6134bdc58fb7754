"""What the public calls do: plain functions on the core, one for each.

Each may run on any thread. The main thread may be struck by a KeyboardInterrupt at any point: what was queued by then
is sent once, what was not is not, and nothing stays locked.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from . import _batches, _requests
from ._checks import check_callable, check_choice, check_count, check_seconds
from ._clock import Deadline
from ._close_frames import CloseCode, check_close
from ._config import DEFAULT
from ._core import closed_error
from ._delivery import Delivery
from ._errors import ConnectionLost, WebSocketClientError
from ._events import State, Stats
from ._feeds import AnswersFeed, Feed
from ._inbox import Inbox
from ._outgoing import Batch
from ._pace import SMALL
from ._state import FINAL
from ._streams import Stream, Subscription
from ._subscribing import SubscriptionFeed
from ._waiter import RequestFuture, Waiter

if TYPE_CHECKING:
    from ._config import Overflow
    from ._core import Core
    from ._pending import Request

__all__ = [
    "call_message", "listen", "reconnect", "request", "request_many", "send", "stats", "stream", "submit", "subscribe",
    "wait_until",
]  # fmt: skip

_INSTEAD = "Use submit() and a done-callback."

_OPEN: Final = State.OPEN
"""Looked up once: the common case comes first, and an enum's hash is Python code."""


def send(core: Core, message: Any, timeout: float | None, expires: float | None) -> Delivery:
    """See ``Client.send``."""
    if core.guard.forked or core.guard.setting_up:
        core.guard.check("send()")
    now = time.monotonic()
    expires_at = None if expires is None else now + check_seconds("expires", expires)
    if timeout is not None:
        timeout = check_seconds("timeout", timeout, zero=True)
    bound = None if core.hooks.bound is None else _bound(core)
    entry = _requests.plain(core, message, expires_at=expires_at, bound=bound)
    hurries = expires_at is not None or entry.size > SMALL or (not core.outbox.entries and core.pace.allows(now))
    if hurries and core.write_now(entry):
        return Delivery(core, entry)
    _requests.queue(core, entry, Deadline.after(timeout, now))
    if hurries:
        core.kick()
    else:
        core.leave()
    return Delivery(core, entry)


def request(
    core: Core,
    message: Any,
    timeout: float | None,
    match: Callable[[Any], bool] | None = None,
    until: Callable[[Any], bool] | None = None,
    idempotent: bool = False,
) -> Any:
    """See ``Client.request``."""
    core.guard.check_may_wait("request()", _INSTEAD)
    if core.state.current is not _OPEN:
        _check_started(core, "request()")
    call = _make(core, message, timeout, match, until, idempotent)
    waiter = Waiter()
    try:
        _begin(core, call, waiter, timed=False)
        if not waiter.wait(call.deadline):
            _give_up(core, call, waiter)
    except BaseException:
        _requests.withdraw(core, call, interrupted=True)
        raise
    try:
        if waiter.error is not None:
            raise waiter.error
        return waiter.value
    finally:
        del call, waiter  # else the error, its traceback, this frame and the waiter would hold each other


def request_many(
    core: Core, messages: Iterable[Any], timeout: float | None, return_exceptions: bool, idempotent: bool
) -> list[Any]:
    """See ``Client.request_many``."""
    core.guard.check_may_wait("request_many()", _INSTEAD)
    _check_started(core, "request_many()")
    deadline = _deadline(core, timeout)
    waiters: list[tuple[Request, Waiter]] = []
    replies: list[Any] = []
    try:
        for message in messages:
            call = _requests.make(core.protocol, message, deadline, idempotent=idempotent, bound=_bound(core))
            call.waiter = waiter = Waiter()
            waiters.append((call, waiter))
            try:
                _requests.begin(core, call, timed=False, more=True)
            except WebSocketClientError as error:
                waiter.settle(None, error)
        core.kick()
        _read_on(core)
        for call, waiter in waiters:
            if not waiter.wait(call.deadline):
                _give_up(core, call, waiter)
            if waiter.error is not None and not return_exceptions:
                raise waiter.error
            replies.append(waiter.value if waiter.error is None else waiter.error)
    except BaseException:
        for call, _ in waiters:
            _requests.cancel(core, call, interrupted=True)
        raise
    finally:
        del waiters
        call = waiter = None  # type: ignore[assignment]
    return replies


def submit(core: Core, message: Any, timeout: float | None, *options: Any) -> RequestFuture:
    """See ``Client.submit``; the options are those of ``request``, in their order."""
    core.guard.check("submit()")
    call = _make(core, message, timeout, *options)
    future = RequestFuture(call, partial(_cancel, core), core.hooks.run_later)
    try:
        _begin(core, call, future, timed=True)
    except ConnectionLost as error:
        future.settle(None, error)
    except BaseException:
        _requests.withdraw(core, call, interrupted=True)
        raise
    _requests.mind(core, call.deadline)
    return future


def listen(
    core: Core,
    match: Callable[[Any], bool] | None,
    maxsize: int | None,
    overflow: Overflow,
    key: Callable[[Any], Any] | None,
) -> Stream:
    """See ``Client.listen``."""
    core.guard.check("listen()")
    stream = Stream(
        _inbox(core, maxsize, overflow, key),
        match=check_callable("match", match),
        key=check_callable("key", key),
        leave=partial(_leave_stream, core),
        check=partial(_check_may_read, core),
        name=core.settings.name,
    )
    core.streams.add(stream)
    if core.state.current in FINAL:
        stream.close()
        raise closed_error(core, "listen()")
    return stream


def stream(
    core: Core,
    message: Any,
    until: Callable[[Any], bool] | None,
    timeout: float | None,
    maxsize: int | None,
    overflow: Overflow,
) -> Stream:
    """See ``Client.stream``."""
    core.guard.check("stream()")
    _check_started(core, "stream()")
    check_callable("until", until)
    call = _requests.make(core.protocol, message, _deadline(core, timeout), until=until, bound=_bound(core))
    call.message = copy.deepcopy(message)
    feed = AnswersFeed(core)
    answers = Stream(
        _inbox(core, maxsize, overflow, None),
        match=None,
        key=None,
        leave=feed.leave,
        check=partial(_check_may_read, core),
        name=core.settings.name,
    )
    _attach(core, feed, answers)
    feed.request, call.feed, call.waiter = call, feed, feed
    call.takes_any = False
    _begin_feed(core, call, answers, timed=True)
    return answers


def subscribe(
    core: Core,
    message: Any,
    match: Callable[[Any], bool] | None,
    unsubscribe: Any,
    resume: bool,
    key: Callable[[Any], Any] | None,
    on_gap: Callable[[Subscription], object] | None,
    timeout: float | None,
    maxsize: int | None,
    overflow: Overflow,
) -> Subscription:
    """See ``Client.subscribe``."""
    core.guard.check_may_wait("subscribe()", "Call it outside, or use send() and listen().")
    _check_started(core, "subscribe()")
    bound = _bound(core)
    if resume is DEFAULT:
        resume = bound is None
    elif resume and bound is not None:
        raise ValueError(
            "subscribe(resume=True) inside on_open or on_reconnect would double with each connection; leave resume= "
            "out there, or subscribe once outside of the hook."
        )
    feed = SubscriptionFeed(
        core, message, match=check_callable("match", match), unsubscribe=unsubscribe, resume=bool(resume)
    )
    call = feed.make(_deadline(core, timeout), bound)
    awaited = feed.is_awaited(call)
    subscription = Subscription(
        _inbox(core, maxsize, overflow, key),
        on_gap=check_callable("on_gap", on_gap),
        key=check_callable("key", key),
        leave=feed.leave,
        check=partial(_check_may_read, core),
        name=core.settings.name,
    )
    try:
        _attach(core, feed, subscription)
        core.subscriptions.add(feed)
        _begin_feed(core, call, subscription, timed=awaited, calm=not awaited)
        if awaited:
            feed.wait()
    except BaseException:
        subscription.close()
        raise
    if feed.caller.error is not None:
        raise feed.caller.error
    feed.established()
    return subscription


def call_message(core: Core, method: str, params: Any, *, notify: bool) -> Any:
    """The message of a call or of a notification."""
    if not isinstance(method, str):
        raise TypeError(f"method must be a str, not {method!r}.")
    return core.protocol.build(method, params, notify)


def reconnect(core: Core, reason: str) -> None:
    """See ``Client.reconnect``."""
    core.guard.check("reconnect()")
    check_close(CloseCode.NORMAL, reason)
    _check_started(core, "reconnect()")
    core.orders.order_reconnect(reason)


def wait_until(core: Core, state: State, timeout: float | None) -> bool:
    """See ``Client.wait_until``."""
    if not isinstance(state, State):
        raise TypeError(f"state must be a wsclient.State, not {state!r}.")
    core.guard.check_may_wait("wait_until()", "Look at .state instead.")
    deadline = Deadline.after(timeout, time.monotonic())
    reached = core.state.wait_for(state, deadline)
    if not reached and state is State.OPEN and core.state.current is State.FAILED:
        raise closed_error(core, "wait_until(State.OPEN)")
    return reached


def stats(core: Core) -> Stats:
    """See ``Client.stats``."""
    counters, counts, opened_at = core.counters, core.pending.counts, core.link.opened_at
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
        requests_late=counters.late,
        queue_depth=core.outbox.messages,
        queue_bytes=core.outbox.bytes,
        dropped=core.outbox.dropped + core.hooks.dropped + core.handlers.dropped + core.streams.dropped,
        rtt_last=counters.rtt_last,
        rtt_min=counters.rtt_min,
        rtt_mean=counters.rtt_mean,
        uptime=0.0 if opened_at is None else time.monotonic() - opened_at,
    )


def _inbox(core: Core, maxsize: int | None, overflow: Overflow, key: Any) -> Inbox:
    """Where the messages of a stream wait."""
    bounds = core.settings.bounds.receive_queue
    check_choice("overflow", overflow, ("block", "raise", "drop_oldest", "drop_newest", "latest"))
    if key is not None and overflow != "latest":
        raise ValueError("key= says what a message is the newest of, so it goes with overflow='latest' only.")
    most = bounds.max_messages if maxsize is None else check_count("maxsize", maxsize)
    return Inbox(most, bounds.max_bytes, overflow, core.resume_reading)


def _attach(core: Core, feed: Feed, stream: Stream) -> None:
    feed.attach(stream)
    core.streams.add_fed(stream)


def _begin_feed(core: Core, call: Request, stream: Stream, *, timed: bool, calm: bool = False) -> None:
    """Send what brings the answers; if that can't be, there is no stream."""
    try:
        _requests.begin(core, call, timed=timed, calm=calm)
        _read_on(core)
        if timed:
            _requests.mind(core, call.deadline)
    except BaseException:
        stream.close()
        raise


def _make(
    core: Core,
    message: Any,
    timeout: float | None,
    match: Callable[[Any], bool] | None,
    until: Callable[[Any], bool] | None,
    idempotent: bool,
) -> Request | Batch:
    """The request, or the batch where a list is one."""
    if match is not None or until is not None:
        check_callable("match", match)
        check_callable("until", until)
    deadline = _deadline(core, timeout)
    bound = None if core.hooks.bound is None else _bound(core)
    if isinstance(message, list) and core.protocol._batches:
        return _batches.make(
            core, message, deadline, bound=bound, match=match, until=until, idempotent=idempotent
        )  # fmt: skip
    return _requests.make(core.protocol, message, deadline, match, until, idempotent, bound)


def _deadline(core: Core, timeout: float | None) -> Deadline:
    if timeout is DEFAULT:
        timeout = core.settings.bounds.request_timeout
    elif timeout is not None and not (type(timeout) is float and 0.0 <= timeout < math.inf):  # mostly it is
        timeout = check_seconds("timeout", timeout, zero=True)
    return Deadline(None if timeout is None else time.monotonic() + timeout)


def _read_on(core: Core) -> None:
    """Have the reply read even if reading is paused."""
    if core.link.paused:
        core.orders.wake()


def _begin(core: Core, call: Request | Batch, waiter: Waiter | RequestFuture, *, timed: bool) -> None:
    """It begins to wait, and is written or queued."""
    if isinstance(call, Batch):
        _batches.begin(core, call, waiter)
    else:
        call.waiter = waiter
        _requests.begin(core, call, timed=timed)
    _read_on(core)


def _give_up(core: Core, call: Request | Batch, waiter: Waiter) -> None:
    """The time is over."""
    for request in _requests.requests_in(call):
        _requests.time_out(core, request)
    waiter.wait(Deadline(None))  # told by now; or in a moment, by whoever else has ended one of them


def _bound(core: Core) -> int | None:
    """The connection to which belongs what a hook sends; None for any."""
    return core.hooks.bound if core.hooks.here() else None


def _check_started(core: Core, call: str) -> None:
    if core.state.current is State.NEW or core.state.current in FINAL:
        raise closed_error(core, call)


def _cancel(core: Core, call: Request | Batch) -> None:
    core.guard.check_fork("cancel()")
    _requests.withdraw(core, call)


def _leave_stream(core: Core, stream: Stream) -> None:
    core.guard.check_fork("close() of a stream")
    core.streams.discard(stream)


def _check_may_read(core: Core, call: str) -> None:
    core.guard.check_may_wait(call, "Use on_message instead.")
