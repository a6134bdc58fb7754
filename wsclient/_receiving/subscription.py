"""``subscribe()``: what follows a subscription, which is asked anew on each connection.

The I/O thread gives its feed the messages and loses its connections; any thread may end it. The request under way
belongs to one connection: it is lost with it, and the next connection gets another one.
"""

from __future__ import annotations

import copy
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._errors import ClientClosed, ConnectionLost, again
from .._requests import failures
from .._requests.futures import Waiter
from .._requests.request import FAILED, OK, Request
from .._threads.deadline import NEVER, Deadline
from .._threads.state import closed_error
from ..protocols._incoming import ABSENT
from .inbox import Inbox
from .reply_stream import Feed
from .streams import Stream

if TYPE_CHECKING:
    from .._sending.writer import Wire
    from ..protocols import Request as Wrapped
    from .context import ReceivingContext

__all__ = ["Subscription", "SubscriptionFeed", "connection_lost", "subscribe_anew"]


class Subscription(Stream):
    """What follows a subscription, made by ``client.subscribe()``; it lives through reconnects.

    Where a connection was lost, messages may be missing. ``gaps`` rises, and ``on_gap`` is called, on the reader's
    thread, right before the first message behind the gap is handed out: the moment to fetch what was missed.
    """

    def __init__(self, inbox: Inbox, *, on_gap: Callable[[Subscription], object] | None, **options: Any) -> None:
        """For the client only; use ``client.subscribe()``.

        Args:
            inbox: where its messages wait.
            on_gap: called with the subscription before the first message after a gap.
            options: as for a stream.
        """
        super().__init__(inbox, match=None, **options)
        self._on_gap = on_gap
        self._epoch = 0  # connections lost so far; written by the I/O thread
        self._seen = 0  # how many of them lie before what was handed out last
        self._held: deque[Any] = deque()  # handed out next: their on_gap raised
        self._reply: Any = None

    @property
    def reply(self) -> Any:
        """The server's answer to the latest subscribe; None where none came."""
        return self._reply

    def __next__(self) -> Any:
        self._check("next() of a subscription")
        try:
            return self._held.popleft()
        except IndexError:
            return super().__next__()

    def get(self, timeout: float | None = None) -> Any:
        """The next message, as ``Stream.get`` gives it."""
        self._check("get() of a subscription")
        try:
            return self._held.popleft()
        except IndexError:
            return super().get(timeout)

    def close(self) -> None:
        """Unsubscribe and take no more messages. Any thread may call it, any number of times."""
        super().close()
        self._held.clear()

    def _packed(self, message: Any) -> Any:
        return self._epoch, message

    def _unpacked(self, item: Any) -> Any:
        epoch, message = item
        if epoch > self._seen:
            self._seen = epoch
            self.gaps += 1
            if self._on_gap is not None:
                try:
                    self._on_gap(self)
                except BaseException:
                    self._held.append(message)
                    raise
        return message


def _never(message: Any) -> bool:
    return False


class SubscriptionFeed(Feed):
    """One subscription, on whatever connection it lives.

    Attributes:
        resume: whether it is asked anew on the next connection.
        caller: told of the first answer; whoever called ``subscribe()`` waits there.
    """

    endless = True

    def __init__(
        self,
        core: ReceivingContext,
        message: Any,
        *,
        match: Callable[[Any], bool] | None,
        unsubscribe: Any,
        resume: bool,
    ) -> None:
        """
        Args:
            core: the client.
            message: what subscribes, or a function that is asked for it each time.
            match: claims messages that carry no name.
            unsubscribe: what ends it, a function that makes that of the subscribe message and the reply, or None.
            resume: see above.
        """
        super().__init__(core)
        self.resume = resume
        self.caller = Waiter()
        self._waiting = [self.caller]  # until it is told; once
        self._reply: Any = ABSENT  # the server's, on the present connection
        self._ask = message if callable(message) else None
        self._message = ABSENT if callable(message) else copy.deepcopy(message)
        self._match = match
        self._end_message = unsubscribe
        self._named: Any = None  # its name on the present connection
        self._alive = False  # whether the present connection has it
        self._established = False  # whether the first answer came, or none is awaited
        self._is_awaited = True
        self._deadline: Deadline | None = None  # for the first answer
        self._sent = False  # whether any connection has carried it
        self._goodbyes = [True]  # to be said to the present connection; once

    # --- beginning ---------------------------------------------------------------------------------------------------

    def make(self, deadline: Deadline, connection_number: int | None) -> Request:
        """A request that subscribes.

        Raises:
            TypeError, ValueError: the message can't be encoded; or what the caller's function raised.
        """
        message = self._message if self._ask is None else self._ask()
        if self._deadline is None:
            self._deadline = deadline
        try:
            request = self._core.requests.make(message, deadline, connection_number=connection_number)
        except TypeError:  # no reply to it could be found by an id; where match claims, none is needed
            if self._match is None:
                raise
            request = self._core.requests.make(message, deadline, match=_never, connection_number=connection_number)
        request.message = message if self._ask is None else copy.deepcopy(message)
        request.feed = request.waiter = self
        request.takes_any = False
        request.sent_before = self._sent
        self.request = request
        self._goodbyes = [True]
        return request

    def is_awaited(self, request: Request) -> bool:
        """Whether a reply comes before anything else: not where the name is known, nor where ``match`` claims."""
        protocol = self._core.protocol
        sample = 0 if protocol._sample_id is None else protocol._sample_id
        claimed = self._match is not None and not protocol._by_order
        self._is_awaited = not claimed and protocol.stream_of(request.message, sample) is None
        return self._is_awaited

    def wait(self) -> None:
        """Wait for the first answer, on whatever connection it comes; its error stands in ``caller``.

        On the caller's thread.
        """
        assert self._deadline is not None
        if self.caller.wait(self._deadline):
            return
        request = self.request
        assert request is not None
        if not self._core.requests.time_out(request) and request.outcome is FAILED:
            # It was lost with its connection, and there is no other yet. (A reply that came this moment is told soon.)
            self._failed(failures.timed_out("waiting" if self._sent else "queued"))
        self.caller.wait(NEVER)

    def departed(self, request: Request) -> None:
        """Whoever owns the way out: from here on what follows may come."""
        self._alive = self._sent = True
        self._set_name(self._core.protocol.stream_of(request.message, request.id))

    # --- the I/O thread ----------------------------------------------------------------------------------------------

    @property
    def awaits_name(self) -> bool:
        """Whether a reply is awaited that may tell its name."""
        request = self.request
        return (
            self._is_awaited
            and self._named is None
            and self._match is None
            and request is not None
            and request.outcome is None
        )

    @property
    def has_name(self) -> bool:
        """Whether its messages are known by a name."""
        return self._named is not None

    def wants(self, message: Any) -> bool:
        """Whether ``match`` claims the message; if it raises, the subscription ends with that error."""
        if self._match is None or not self._alive:
            return False
        try:
            return bool(self._match(message))
        except Exception as error:
            self._tell(None, again(error))  # first: the end of the stream would say less
            stream = self._stream()
            if stream is not None:
                stream._end(error)
            return False

    def item(self, value: Any, size: int, pressing: bool) -> None:
        """One of the messages. I/O thread only."""
        if self._open:
            if self._waiting:  # it comes in place of a reply
                self._tell(None, None)
            super().item(value, size, pressing)
        else:  # closed just as a new connection was asked for it
            self._let_go()

    def _let_go(self) -> None:
        request = self.request
        if request is not None:
            self._core.requests.cancel(request)
            self._unsubscribe(request)

    def _tell(self, value: Any, error: BaseException | None) -> None:
        """Whoever called ``subscribe()`` may go on."""
        try:
            waiter = self._waiting.pop()
        except IndexError:
            return
        if error is None:
            self.established()
        waiter.complete(value, error)

    def acknowledge(self, value: Any) -> None:
        """A reply came that ends nothing."""
        self._reply = value
        stream = self._stream()
        if stream is not None:
            stream._reply = value

    def complete(self, value: Any, error: BaseException | None) -> None:
        """The request has ended: with the reply to it, with the end of all answers, or with an error."""
        if error is not None:
            self._failed(error)
        elif value is ABSENT:
            self._finish(None)
            self._tell(None, None)
        else:
            self._replied(value)

    def _replied(self, value: Any) -> None:
        request = self.request
        assert request is not None
        self.acknowledge(value)
        if not self._open:
            self._let_go()
            return
        if self._named is None:
            try:
                self._set_name(self._core.protocol.stream_of(request.message, request.id, value))
            except Exception as error:  # a protocol of the user's own
                self._failed(error)
                return
        if self._named is None and self._match is None:
            self._failed(ValueError(
                "Nothing tells which messages belong to this subscription: the protocol finds no name in the reply "
                f"{value!r:.100}. Give match=."
            ))  # fmt: skip
            return
        self._tell(value, None)

    def _failed(self, error: BaseException) -> None:
        if isinstance(error, ConnectionLost) and self.resume:
            return  # asked anew on the next connection
        self._finish(None if isinstance(error, ClientClosed) else error)  # first: the caller finds nothing left
        self._tell(None, again(error))

    def _finish(self, error: BaseException | None) -> None:
        super()._finish(error)  # first, as in ``leave``
        self._core.subscriptions.discard(self, self._named)
        self._core.orders.wake()  # what was held for its name waits no longer

    def _set_name(self, name: Any) -> None:
        if name is not None and self._open:
            self._named = name
            self._core.subscriptions.set_name(self, name)
            if not self._open:  # closed meanwhile, by someone who may not have seen the name
                self._core.subscriptions.forget_name(self, name)

    def established(self) -> None:
        """The first answer came, or none is awaited. From now on a lost connection is a gap."""
        self._established = True

    def lost(self, error: ConnectionLost) -> None:
        """The connection that had it is over."""
        if not self._alive:
            return
        self._alive = False
        self._core.subscriptions.forget_name(self, self._named)
        self._named = None
        self._reply = ABSENT
        stream = self._stream()
        if stream is None:
            self.leave(None)
        elif self.resume:
            stream._epoch += self._established
        else:
            self._failed(_over(error))

    def ask_anew(self, wire: Wire, number: int) -> None:
        """A new connection is about to open."""
        core = self._core
        under_way = self.request is not None and self.request.outcome is None
        if self._alive or under_way or not self._open:
            return
        if self._stream() is None:
            self.leave(None)
            return
        deadline = Deadline.after(core.settings.bounds.request_timeout, time.monotonic())
        if not self._established and self._deadline is not None:
            deadline = self._deadline  # somebody waits for that one
        try:
            request = self.make(deadline, number)
            awaited = self.is_awaited(request)
            core.pending.add(request, timed=awaited, streaming=not awaited)
        except Exception as error:
            self._failed(error)
            return
        wire.send_first(request)

    # --- the end -----------------------------------------------------------------------------------------------------

    def _forget(self, stream: Stream | None) -> None:
        self._core.subscriptions.discard(self, self._named)
        super()._forget(stream)

    def _left(self) -> None:
        fatal = self._core.state.error
        self._tell(
            None,
            closed_error(self._core.settings.name, self._core.state, "subscribe()") if fatal is None else again(fatal),
        )

    def _must_wait(self) -> bool:
        request = self.request
        if request is None or not self._is_awaited or self._reply is not ABSENT:
            return False
        return request.outcome is OK or (request.outcome is None and request.departed)  # OK: it is about to be told

    def _give_up(self, request: Request) -> bool:
        had_ended = request.outcome is not None  # with the reply to it, behind which messages come
        return super()._give_up(request) or (had_ended and self._alive)

    def _unsubscribe(self, request: Request) -> None:
        try:
            self._goodbyes.pop()
        except IndexError:  # whoever closed it and whoever finds it closed may meet
            return
        super()._unsubscribe(request)

    def _goodbye(self, request: Request) -> Any | Wrapped | None:
        reply = None if self._reply is ABSENT else self._reply
        if callable(self._end_message):
            return self._end_message(request.message, reply)
        if self._end_message is not None:
            return self._end_message
        return self._core.protocol.unsubscribe(request.message, request.id, reply)


def _over(error: ConnectionLost) -> ConnectionLost:
    """The error for a subscription that ends with its connection."""
    words = "The connection of this subscription ended, and it was made with resume=False; subscribe again."
    over = ConnectionLost(words, sent=True, disconnect=error.disconnect)
    over.__cause__ = error.__cause__
    return over


def connection_lost(core: ReceivingContext, error: ConnectionLost) -> None:
    """What lived on the connection lives on without it, or ends. I/O thread only."""
    for feed in core.subscriptions:
        feed.lost(error)


def subscribe_anew(core: ReceivingContext, wire: Wire, number: int) -> None:
    """Every subscription is asked anew on a connection that is about to open, before anything else goes out on it."""
    for feed in core.subscriptions:
        feed.ask_anew(wire, number)
