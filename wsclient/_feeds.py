"""Many answers to one request: ``stream()``, and ``subscribe()``, which is asked anew on each connection.

A feed stands between the request and its stream. The I/O thread gives it answers, any thread may end it; what decides
is one atomic step (``_claim``). It holds its stream weakly: one that its reader forgot is closed with the next answer.
"""

from __future__ import annotations

import copy
import logging
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _requests
from ._clock import Deadline
from ._errors import ClientClosed, ConnectionLost, WebSocketClientError, again
from ._pending import ABSENT, Request
from ._waiter import Waiter
from .protocols import Request as Wrapped

if TYPE_CHECKING:
    from ._core import Core
    from ._streams import Stream
    from ._wire import Wire

__all__ = ["AnswersFeed", "SubscriptionFeed", "connection_lost", "subscribe_anew"]

_log = logging.getLogger("wsclient")


def _never(message: Any) -> bool:
    return False


class Feed:
    """What both kinds have in common.

    Attributes:
        request: the one under way, or the last; None before the first.
    """

    endless = False
    """Whether a drain must not wait for the end of it."""

    def __init__(self, core: Core) -> None:
        """
        Args:
            core: the client.
        """
        self.request: Request | None = None
        self._core = core
        self._reference: weakref.ref[Any] | None = None
        self._open = [True]

    def attach(self, stream: Stream) -> None:
        """The stream is made; the feed holds it weakly."""
        self._reference = weakref.ref(stream)

    def _stream(self) -> Any:
        """The stream, if its reader still holds it."""
        return None if self._reference is None else self._reference()

    def item(self, value: Any, size: int, pressing: bool) -> None:
        """One of the answers. I/O thread only."""
        stream = self._stream()
        if stream is None:
            self.leave(None)
        else:
            self._core.streams.feed(stream, value, size, pressing)

    def departed(self, request: Request) -> None:
        """The request is about to be written, under its id. Whoever owns the way out."""

    def leave(self, stream: Stream | None) -> None:
        """The reader wants no more, or there is no more to come. Any thread."""
        raise NotImplementedError

    def _claim(self) -> bool:
        """True for the one caller who may end it."""
        try:
            return self._open.pop()
        except IndexError:
            return False

    def _finish(self, error: BaseException | None) -> None:
        """No more will come, and the server need not be told."""
        if self._claim():
            stream = self._stream()
            if stream is not None:
                self._core.streams.discard(stream)
                stream._end(error)

    def _give_up(self, request: Request | None) -> bool:
        """Want no answer any more; True if the server may have seen the request."""
        if request is None:
            return False
        _requests.cancel(self._core, request)
        return request.place is not None

    def _goodbye(self, request: Request) -> Any | Wrapped | None:
        """What ends it on the server's side; None if there is nothing to say."""
        raise NotImplementedError

    def _unsubscribe(self, request: Request) -> None:
        """Tell the server that it may stop; it may be too late for that."""
        core = self._core
        place = request.place
        if place is None or place[0].ended or core.link.wire is None:
            return
        try:
            message = self._goodbye(request)
            if message is not None:
                _requests.send_unseen(core, message, bound=place[0].number)
        except WebSocketClientError as error:
            _log.debug("%s: an unsubscribe was not sent: %s", core.settings.name, error)
        except Exception:  # the caller's function, or a protocol of the user's own
            _log.exception("%s: an unsubscribe could not be made.", core.settings.name)


class AnswersFeed(Feed):
    """All answers to one request."""

    def settle(self, value: Any, error: BaseException | None) -> None:
        """The request has ended: with its last answer, which the stream has already, or with an error."""
        self._finish(None if isinstance(error, ClientClosed) else error)

    def leave(self, stream: Stream | None) -> None:
        """The reader closed the stream, or it ended."""
        core, request = self._core, self.request
        if stream is not None:
            core.streams.discard(stream)
        if not self._claim():
            return
        if self._give_up(request) and request is not None:
            self._unsubscribe(request)

    def _goodbye(self, request: Request) -> Any | Wrapped | None:
        return self._core.protocol.unsubscribe(request.message, request.id, None)


class SubscriptionFeed(Feed):
    """One subscription, on whatever connection it lives.

    Attributes:
        resume: whether it is asked anew on the next connection.
        caller: told of the first answer; whoever called ``subscribe()`` waits there.
    """

    endless = True

    def __init__(
        self,
        core: Core,
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

    # --- beginning ---------------------------------------------------------------------------------------------------

    def make(self, deadline: Deadline, bound: int | None) -> Request:
        """A request that subscribes.

        Raises:
            TypeError, ValueError: the message can't be encoded; or what the caller's function raised.
        """
        message = self._message if self._ask is None else self._ask()
        protocol = self._core.protocol
        again_if_lost = self.resume and bound is None
        try:
            request = _requests.make(protocol, message, deadline, idempotent=again_if_lost, bound=bound)
        except TypeError:  # no reply to it could be found by an id; where match claims, none is needed
            if self._match is None:
                raise
            request = _requests.make(protocol, message, deadline, match=_never, idempotent=again_if_lost, bound=bound)
        request.message = message if self._ask is None else copy.deepcopy(message)
        request.feed = request.waiter = self
        self.request = request
        return request

    def is_awaited(self, request: Request) -> bool:
        """Whether a reply comes before anything else: not where the name is known, nor where ``match`` claims."""
        protocol = self._core.protocol
        sample = 0 if protocol._sample_id is None else protocol._sample_id
        claimed = self._match is not None and not protocol._by_order
        self._is_awaited = not claimed and protocol.stream_of(request.message, sample) is None
        return self._is_awaited

    def departed(self, request: Request) -> None:
        """Whoever owns the way out: from here on what follows may come."""
        self._alive = True
        self._set_name(self._core.protocol.stream_of(request.message, request.id))

    # --- the I/O thread ----------------------------------------------------------------------------------------------

    @property
    def awaits_name(self) -> bool:
        """Whether a reply is awaited that may tell its name."""
        request = self.request
        return self._named is None and self._match is None and request is not None and request.outcome is None

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
            _requests.cancel(self._core, request)
            self._unsubscribe(request)

    def _tell(self, value: Any, error: BaseException | None) -> None:
        """Whoever called ``subscribe()`` may go on."""
        try:
            waiter = self._waiting.pop()
        except IndexError:
            return
        if error is None:
            self.established()
        waiter.settle(value, error)

    def acknowledge(self, value: Any) -> None:
        """A reply came that ends nothing."""
        self._reply = value
        stream = self._stream()
        if stream is not None:
            stream._reply = value

    def settle(self, value: Any, error: BaseException | None) -> None:
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
        if isinstance(error, ConnectionLost) and self.resume and self._established:
            return  # asked anew on the next connection
        self._finish(None if isinstance(error, ClientClosed) else error)  # first: the caller finds nothing left
        self._tell(None, again(error))

    def _finish(self, error: BaseException | None) -> None:
        self._core.subscriptions.discard(self, self._named)
        self._core.orders.wake()  # what was held for its name waits no longer
        super()._finish(error)

    def _set_name(self, name: Any) -> None:
        if name is not None and self._open:
            self._named = name
            self._core.subscriptions.set_name(self, name)

    def established(self) -> None:
        """The first answer came, or none is awaited. From now on each new connection gets a fresh message."""
        self._established = True
        if self.request is not None:
            self.request.idempotent = False

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
        try:
            request = self.make(deadline, number)
            awaited = self.is_awaited(request)
            core.pending.add(request, timed=awaited, calm=not awaited)
        except Exception as error:
            self._failed(error)
            return
        wire.send_first(request)

    # --- the end -----------------------------------------------------------------------------------------------------

    def leave(self, stream: Stream | None) -> None:
        """The reader closed the stream, or it ended."""
        core, request = self._core, self.request
        core.subscriptions.discard(self, self._named)
        if stream is not None:
            core.streams.discard(stream)
        if not self._claim():
            return
        in_flight = request is not None and request.outcome is None and request.place is not None
        if in_flight and self._is_awaited and self._reply is ABSENT:
            return  # its reply, when it comes, tells what to unsubscribe from
        if self._give_up(request) and request is not None and self._alive:
            self._unsubscribe(request)

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


def connection_lost(core: Core, error: ConnectionLost) -> None:
    """What lived on the connection lives on without it, or ends. I/O thread only."""
    for feed in core.subscriptions:
        feed.lost(error)


def subscribe_anew(core: Core, wire: Wire, number: int) -> None:
    """Every subscription is asked anew on a connection that is about to open, before anything else goes out on it."""
    for feed in core.subscriptions:
        feed.ask_anew(wire, number)
