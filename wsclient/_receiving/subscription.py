"""``subscribe()``: the stream of a subscription, and the state of the subscription on the server.

A subscription moves through the states of ``TRANSITIONS``. Its present request belongs to one connection. If that
connection is lost, the request is lost too, and a new subscribe request is sent on the next connection.

Guarantees:
    * Every transition runs on the I/O thread. Other threads only post an event (``Subscriptions.post``), which the I/O
      thread applies before it looks up the owner of a message. (A ``close()`` of the client that abandons a blocked I/O
      thread applies the last events instead.)
    * The unsubscribe message is sent at most once for each subscribe request: at the transition to ``ENDED``, which
      happens once, or before the next request if no message came for ``quiet_after`` seconds (``QUIET``).
    * The thread inside ``subscribe()`` is notified once, by the thread that removes the single item of
      ``Caller._open``; that may be any thread.
"""

from __future__ import annotations

import copy
import enum
import logging
import time
import typing
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from .._errors import ClientClosed, ConnectionLost, copy_exception, text_of
from .._requests.request import FAILED, NEW, WAITING, Request
from .._threads.locks import make_lock
from .._threads.sections import this_thread
from .._threads.state import FINAL
from .._threads.waiting import NEVER, Deadline, Waiter
from ..protocols import Request as Wrapped
from ..protocols._incoming import ABSENT
from .definition import SubscriptionDefinition
from .duplicates import Duplicates
from .inbox import Inbox
from .reply_stream import Feed
from .streams import Stream

if TYPE_CHECKING:
    from .._requests.requests import Requests
    from .._requests.table import RequestTable
    from .._sending.sender import Sender
    from .._sending.writer import Writer
    from .._threads.guard import Guard
    from .._threads.log import ClientLog
    from .receivers import Receivers

__all__ = ["TRANSITIONS", "Cause", "Subscription", "SubscriptionFeed", "SubscriptionState"]


class SubscriptionState(enum.Enum):
    """The states of a subscription."""

    NEW = enum.auto()
    """Its request was not written on any connection; it may be queued."""
    ASKING = enum.auto()
    """Its request was written on the present connection; the reply has not come."""
    ACTIVE = enum.auto()
    """The server has confirmed it on the present connection, or no reply is expected."""
    LOST = enum.auto()
    """Its connection has ended, and a new request is sent on the next one. Or no message came for ``quiet_after``
    seconds, and a new request is about to be written on the same connection."""
    CLOSING = enum.auto()
    """The reader closed it before the reply came; the reply may be needed to unsubscribe."""
    ENDED = enum.auto()
    """Final: closed by the reader, refused or ended by the server, or failed."""


class Cause(enum.Enum):
    """The causes of transitions."""

    WRITTEN = enum.auto()
    """The request has its id and is about to be written on the present connection."""
    CONFIRMED = enum.auto()
    """The reply came; or the request is written and no reply is expected."""
    CONNECTION_LOST = enum.auto()
    """The present connection has ended."""
    CLOSED = enum.auto()
    """The reader closed the stream, the stream was garbage-collected, or it ended: by SlowConsumer or with the client.
    """
    FINISHED = enum.auto()
    """The server ended it, or the request failed: refused, timed out, not encodable."""
    QUIET = enum.auto()
    """No message came for ``quiet_after`` seconds: it is unsubscribed and requested again on the same connection."""


TRANSITIONS: Final[dict[SubscriptionState, dict[Cause, SubscriptionState]]] = {
    SubscriptionState.NEW: {
        Cause.WRITTEN: SubscriptionState.ASKING,
        Cause.CONNECTION_LOST: SubscriptionState.NEW,
        Cause.CLOSED: SubscriptionState.ENDED,
        Cause.FINISHED: SubscriptionState.ENDED,
    },
    SubscriptionState.ASKING: {
        Cause.CONFIRMED: SubscriptionState.ACTIVE,
        Cause.QUIET: SubscriptionState.LOST,  # messages came instead of the reply
        Cause.CONNECTION_LOST: SubscriptionState.LOST,
        Cause.CLOSED: SubscriptionState.CLOSING,
        Cause.FINISHED: SubscriptionState.ENDED,
    },
    SubscriptionState.ACTIVE: {
        Cause.CONFIRMED: SubscriptionState.ACTIVE,  # a reply that was not expected
        Cause.QUIET: SubscriptionState.LOST,
        Cause.CONNECTION_LOST: SubscriptionState.LOST,
        Cause.CLOSED: SubscriptionState.ENDED,
        Cause.FINISHED: SubscriptionState.ENDED,
    },
    SubscriptionState.LOST: {
        Cause.WRITTEN: SubscriptionState.ASKING,
        Cause.CONNECTION_LOST: SubscriptionState.LOST,
        Cause.CLOSED: SubscriptionState.ENDED,
        Cause.FINISHED: SubscriptionState.ENDED,
    },
    SubscriptionState.CLOSING: {
        # Two cases: `on_closed` has applied WRITTEN before the writer posted it; or the request is written again, since
        # its connection was lost during the write.
        Cause.WRITTEN: SubscriptionState.CLOSING,
        Cause.CONFIRMED: SubscriptionState.ENDED,
        Cause.CONNECTION_LOST: SubscriptionState.ENDED,
        Cause.CLOSED: SubscriptionState.CLOSING,
        Cause.FINISHED: SubscriptionState.ENDED,
    },
    SubscriptionState.ENDED: {},
}
"""For each state, the state that follows each cause. An ended subscription ignores all causes, which may come late. Any
other cause that the table does not list for the present state is a defect of this package."""

_ON_CONNECTION: Final = (SubscriptionState.ASKING, SubscriptionState.ACTIVE)
"""States in which the subscribe request was written on the present connection."""


class Subscription(Stream):
    """The messages of a subscription, also those after reconnects; made by ``client.subscribe()``. Thread-safe.

    Messages may be missing after a connection was lost, or after ``quiet_after`` seconds without a message. Just before
    the first message after such a gap is returned, ``gaps`` increases by 1 and ``on_gap`` is called on the reader's
    thread. ``on_gap`` can fetch the missed messages.
    """

    def __init__(self, inbox: Inbox, *, on_gap: Callable[[Subscription], object] | None, **options: Any) -> None:
        """For the client only; use ``client.subscribe()``.

        Args:
            inbox: the queue of its messages.
            on_gap: called with the subscription before the first message after a gap is returned.
            options: as for a stream.
        """
        super().__init__(inbox, match=None, **options)
        self._on_gap = on_gap
        self._epoch = 0  # gaps so far; written by the I/O thread
        # Guards the next attribute and `gaps`: several threads may read.
        self._gap_lock = make_lock()
        self._seen = 0  # how many of these gaps occurred before the message that was returned last
        # Messages for which on_gap raised, to be returned next; at most one for each thread that reads.
        self._retry_delivery: deque[Any] = deque()
        self._reply: Any = None

    @property
    def reply(self) -> Any:
        """The server's reply to the latest subscribe request; None if there was none."""
        return self._reply

    def __next__(self) -> Any:
        self._check("next() of a subscription")
        try:
            return self._retry_delivery.popleft()
        except IndexError:
            return super().__next__()

    def get(self, timeout: float | None = None) -> Any:
        """Return the next message; arguments and errors are those of ``Stream.get``."""
        self._check("get() of a subscription")
        try:
            return self._retry_delivery.popleft()
        except IndexError:
            return super().get(timeout)

    def close(self) -> None:
        """Unsubscribe and accept no more messages. Any thread may call it, any number of times.

        Iteration ends at once. The I/O thread sends the unsubscribe message soon, and before a later ``subscribe()`` is
        sent. Exception: if the reply to the subscribe request has not come yet, the unsubscribe message is sent after
        that reply, and a later ``subscribe()`` may be sent before both.
        """
        super().close()
        self._retry_delivery.clear()

    def _packed(self, message: Any) -> Any:
        return self._epoch, message

    def _unpacked(self, item: Any) -> Any:
        epoch, message = item
        if epoch > self._seen and self._is_after_gap(epoch) and self._on_gap is not None:
            try:
                self._on_gap(self)
            except BaseException:
                self._retry_delivery.append(message)
                raise
        return message

    def _is_after_gap(self, epoch: int) -> bool:
        """Count a gap; return False if another reader has counted it."""
        with this_thread.section, self._gap_lock:
            is_first = epoch > self._seen
            if is_first:
                self._seen = epoch
                self.gaps += 1
        return is_first


_REPLY_GRACE: Final = 0.5
"""Seconds beyond its deadline for which ``subscribe()`` waits for the I/O thread to handle a reply that came before the
deadline."""


def _never(message: Any) -> bool:
    return False


class FeedClock(typing.Protocol):
    """Measures for how long a subscription has had no message; see ``_connection.quiet.SubscriptionClock``."""

    @property
    def clock(self) -> Any:
        """The ``QuietClock`` that runs on the present connection."""

    @property
    def was_resubscribed(self) -> bool:
        """Whether the subscription was requested again since its last message, because it was quiet."""

    @was_resubscribed.setter
    def was_resubscribed(self, value: bool) -> None: ...

    def written(self) -> None:
        """Called when the request is written on the present connection."""

    def confirmed(self) -> None:
        """Called when the subscription is confirmed on the present connection."""

    def heard(self) -> None:
        """Called with each message of the subscription."""

    def stopped(self) -> None:
        """Called when the connection has ended."""

    def renewed(self) -> FeedClock:
        """Return a clock for the connection that takes over."""


class Caller(Waiter):
    """The thread inside ``subscribe()``, which waits for the first reply on any connection. Only the first outcome
    counts; any thread may report it.

    Attributes:
        deadline: the end of its wait; None before the first request is made.
    """

    deadline: Deadline | None = None

    def __init__(self) -> None:
        super().__init__()
        self._open = [None]  # the one thread that empties it completes the waiter

    @property
    def is_waiting(self) -> bool:
        """Whether there is no outcome yet."""
        return bool(self._open)

    def notify(self, value: Any, error: BaseException | None) -> None:
        """Report the outcome: the reply, or the error."""
        try:
            self._open.pop()
        except IndexError:
            return
        self.complete(value, error)


class SubscriptionFeed(Feed):
    """The feed of one subscription. After a reconnect, the same feed continues on the new connection. During a renewal,
    the subscription has one feed for each connection.

    Attributes:
        state: its state. Assigned by the I/O thread.
        number: the number of the connection on which the present request was written; 0 while there is none.
        quiet: the clock of ``quiet_after=``; None without this option.
        caller: the thread inside ``subscribe()``.
    """

    endless = True

    def __init__(
        self,
        definition: SubscriptionDefinition,
        *,
        quiet: FeedClock | None,
        duplicates: Duplicates | None,
        requests: Requests,
        table: RequestTable,
        receivers: Receivers,
        sender: Sender,
        guard: Guard,
        log: ClientLog,
    ) -> None:
        """
        Args:
            definition: what the caller has given.
            quiet: see above.
            duplicates: finds messages that both connections of a renewal deliver; None without ``identity=``.
            requests: makes and ends the requests; its protocol finds subscription keys, and makes unsubscribe messages.
            table: the requests that have not ended.
            receivers: the client's streams and subscriptions.
            sender: holds the writer of the present connection.
            guard: holds the identity of the I/O thread and the client's state.
            log: the client's log.
        """
        super().__init__(receivers.streams)
        self.state = SubscriptionState.NEW
        self.quiet = quiet
        self.caller = Caller()
        self._definition = definition
        self._duplicates = duplicates
        self._requests = requests
        self._table = table
        self._hooks = receivers.hooks
        self._subscriptions = receivers.subscriptions
        self._sender = sender
        self._guard = guard
        self._log = log
        self._is_timed_later = False  # whether the time limit of the present request begins when it is written
        self._is_reply_awaited = True
        # Whether it was ACTIVE, or received a message, on any connection so far; only then is the loss of a connection
        # a gap.
        self._was_active = False
        # During a renewal, the subscription has a feed for each connection, and these refer to each other:
        self._successor: SubscriptionFeed | None = None
        self._predecessor: SubscriptionFeed | None = None
        # On the present connection:
        self._is_known = False  # whether a reply or a message came
        self.number = 0
        self._key: Any = None
        self._reply: Any = ABSENT

    # --- the caller's thread, before other threads know the feed -----------------------------------------------------

    def make(self, deadline: Deadline, connection_number: int | None) -> Request:
        """Make a request that subscribes. Later requests are made on the I/O thread.

        Args:
            deadline: the deadline of the reply.
            connection_number: the number of the one connection it may be sent on; None for any.

        Raises:
            TypeError, ValueError: the message can't be encoded.
            Exception: raised by the caller's function.
        """
        message = self._definition.subscribe_message()
        match, protocol = self._definition.match, self._requests.protocol
        if self.caller.deadline is None:
            self.caller.deadline = deadline
        try:
            request = self._requests.make(message, deadline, connection_number=connection_number)
        except TypeError:  # a reply could not be correlated by an id; with match, no reply is needed
            if match is None:
                raise
            request = self._requests.make(message, deadline, match=_never, connection_number=connection_number)
        request.message = message
        request.feed = request.waiter = self
        request.ends_at_first_reply = False
        request.sent_before = self.state is not SubscriptionState.NEW
        sample = 0 if protocol._sample_id is None else protocol._sample_id
        is_claimed = match is not None and not protocol.replies_in_order
        self._is_reply_awaited = not is_claimed and protocol.stream_of(request.message, sample) is None
        self.request = request
        return request

    # --- any thread --------------------------------------------------------------------------------------------------

    @property
    def is_superseded(self) -> bool:
        """See ``Feed``."""
        return self._successor is not None

    @property
    def is_reply_awaited(self) -> bool:
        """Whether a reply to the present request is expected. False if the request contains the subscription key, or if
        ``match`` selects the messages.
        """
        return self._is_reply_awaited

    def wait(self) -> None:
        """Wait on the caller's thread for the first reply, on any connection; ``caller`` then holds it or the error."""
        caller = self.caller
        assert caller.deadline is not None
        if caller.wait(caller.deadline):
            return
        if self._successor is not None:
            self._successor.wait()
            return
        request = self.request
        assert request is not None
        if not self._requests.time_out(request):
            if request.outcome is FAILED:
                # The request was lost with its connection and no new one was made.
                phase = "queued" if self.state is SubscriptionState.NEW else "waiting"
                self.complete(None, self._requests.timeout_of(request, phase))
            elif caller.wait(Deadline.after(_REPLY_GRACE, time.monotonic())):
                return
            else:  # the reply came, but the I/O thread is busy in the user's code that handles it
                self.caller.notify(None, self._requests.timeout_of(request, "waiting"))
        caller.wait(NEVER)

    def id_assigned(self, request: Request) -> None:
        """Post the event ``on_written``, since the request is about to be written and its messages may arrive
        immediately afterwards. Runs on the writer's thread.
        """
        key = self._requests.protocol.stream_of(request.message, request.id)
        hash(key)  # here, because a TypeError at this point ends the request
        written_with = request.written_on.number, key
        if self._is_timed_later:
            request.deadline = Deadline.after(self._definition.request_timeout, time.monotonic())
            self._table.start_timer(request)
            self._subscriptions.post(self.on_written, written_with)
        elif self.quiet is None:
            self._subscriptions.events.append((self.on_written, written_with))
        else:
            # `post` also wakes the I/O thread, which must not wait longer than the clock allows.
            self._subscriptions.post(self.on_written, written_with)

    def complete(self, value: Any, error: BaseException | None) -> None:
        """Handle the end of the request: its reply, the end of all messages (``ABSENT``), or an error."""
        event: tuple[Callable[[Any], None], Any] = (self.on_reply, value)
        if error is not None:
            event = (self.on_failed, error)
        elif value is ABSENT:
            event = (self.on_finished, None)
        if self._guard.on_io_thread():
            self._subscriptions.apply(*event)
            return
        self._subscriptions.post(*event)
        if error is not None and not self._is_resumable(error):
            self.caller.notify(None, copy_exception(error))  # at once: the I/O thread may be busy in the user's code

    def reader_closed(self, stream: Stream) -> None:
        """Called when the stream was closed by its reader, or ended."""
        self._streams.discard(stream)
        for one in (self._predecessor, self._successor):
            if one is not None and one.state is not SubscriptionState.ENDED:
                self._subscriptions.post(one.on_closed, None)
        if self.state is SubscriptionState.ENDED:
            return
        self._subscriptions.post(self.on_closed, None)
        if self.caller.is_waiting:
            fatal = self._guard.state.error
            closed = self._guard.closed_error("subscribe()") if fatal is None else copy_exception(fatal)
            self.caller.notify(None, closed)

    def _is_resumable(self, error: BaseException) -> bool:
        return self._definition.resume and isinstance(error, ConnectionLost)

    # --- the I/O thread: transitions ---------------------------------------------------------------------------------

    def on_written(self, written_with: tuple[int, Any]) -> None:
        """Called when the request is written.

        Args:
            written_with: the connection's number, and the subscription key; None for a key that is not in the request.
        """
        number, key = written_with
        if self._move(Cause.WRITTEN) and self.state is SubscriptionState.ASKING:
            self.number = number
            self._set_key(key)
            if self.quiet is not None:
                self.quiet.written()
            if not self._is_reply_awaited:
                self._confirm()

    def on_reply(self, reply: Any) -> None:
        """Handle the reply, which ends the request."""
        if self.state is SubscriptionState.ENDED:
            return
        request = self.request
        assert request is not None
        self.acknowledge(reply)
        if self._key is None and self.state is not SubscriptionState.CLOSING:
            try:
                self._set_key(self._requests.protocol.stream_of(request.message, request.id, reply))
            except BaseException as error:  # raised by a user-defined protocol; SystemExit too
                self.on_failed(error)
                return
        if self._key is None and self._definition.match is None and self.state is not SubscriptionState.CLOSING:
            self.on_failed(ValueError(
                "The messages of this subscription can't be recognised: the protocol finds no subscription key in the "
                f"reply {text_of(reply)}. Give match=."
            ))  # fmt: skip
            return
        self._confirm()
        self.caller.notify(reply, None)

    def on_lost(self, error: ConnectionLost) -> None:
        """Handle the end of the present connection."""
        was_written = self.state in _ON_CONNECTION
        if self.quiet is not None:
            self.quiet.stopped()
        successor = self._successor
        if successor is not None:
            self._retire()
            stream = self._stream()
            if stream is not None and not successor.number:  # its request was not written, so messages may be missing
                stream._epoch += successor._was_active
            return
        if not self._move(Cause.CONNECTION_LOST) or not was_written:
            return
        self._drop_key()
        self._reply = ABSENT
        self.number = 0
        stream = self._stream()
        if stream is None:
            self.on_closed()
        elif self._definition.resume:
            stream._epoch += self._was_active
        else:
            self.on_failed(_ended_with_connection(error))

    def on_closed(self, _: Any = None) -> None:
        """Called when the stream was closed by its reader, was garbage-collected, or ended."""
        request = self.request
        written_on = None if request is None or request.outcome is not None else request.written_on
        if written_on is not None and self.state in (SubscriptionState.NEW, SubscriptionState.LOST):
            # The writer has just assigned its id, and is about to post WRITTEN.
            self.on_written((written_on.number, None))
        is_confirmed = self.state is SubscriptionState.ACTIVE
        if not self._move(Cause.CLOSED):
            return
        self._subscriptions.remove(self)
        self._drop_key()
        if self.state is SubscriptionState.ENDED:
            self._give_up(is_confirmed=is_confirmed)

    def on_failed(self, error: BaseException) -> None:
        """Handle a failed request. If it was lost with its connection, a new one is made on the next connection."""
        if not self._is_resumable(error) or self.state is SubscriptionState.CLOSING:
            self.on_finished(error)

    def on_finished(self, error: BaseException | None) -> None:
        """End the subscription. Unsubscribe only if its request has not ended, since the server may still receive the
        request.
        """
        if self._successor is not None and self.state is not SubscriptionState.CLOSING:
            self._retire()
            return
        request, is_confirmed = self.request, self.state is SubscriptionState.ACTIVE
        if not self._move(Cause.FINISHED):
            return
        self._subscriptions.remove(self)
        self._drop_key()
        if request is not None and request.outcome is None:
            self._give_up(is_confirmed=is_confirmed)
        stream = self._stream()
        if stream is not None:
            stream._end(None if isinstance(error, ClientClosed) else error)
        self.caller.notify(None, None if error is None else copy_exception(error))  # last: cleanup is complete

    def _confirm(self) -> None:
        was_closing = self.state is SubscriptionState.CLOSING
        self._move(Cause.CONFIRMED)
        if was_closing:
            self._give_up(is_confirmed=True)
        else:
            self._was_active = True
            if self.quiet is not None:
                self.quiet.confirmed()

    def _move(self, cause: Cause) -> bool:
        """Change the state as the table says for this cause; False if the subscription has ended.

        Raises:
            RuntimeError: the table has no such transition, which is a defect of this package.
        """
        before = self.state
        if before is SubscriptionState.ENDED:
            return False
        after = TRANSITIONS[before].get(cause)
        if after is None:
            raise RuntimeError(f"No transition from the state {before.name} at {cause.name}; please report this.")
        self.state = after
        return True

    def _give_up(self, *, is_confirmed: bool) -> None:
        """Cancel the request, and unsubscribe if the server has the subscription (``is_confirmed``), or may receive the
        request.
        """
        request = self.request
        if request is not None and (self._requests.cancel(request) or is_confirmed):
            self._unsubscribe(request)

    def _set_key(self, key: Any) -> None:
        if key is not None:
            self._subscriptions.set_key(self, self.number, key)
            self._key = key

    def _drop_key(self) -> None:
        if self._key is not None:
            self._subscriptions.drop_key(self, self.number, self._key)
            self._key = None

    # --- the I/O thread: renewal -------------------------------------------------------------------------------------

    def begin_overlap(self) -> None:
        """Called when a second connection is about to be opened."""
        if self._duplicates is not None:
            self._duplicates.opening()

    def end_overlap(self, *, has_taken_over: bool) -> None:
        """Called when the second connection could not be opened, or is now the only one (``has_taken_over``)."""
        if self._duplicates is not None:
            self._duplicates.opening_ended(has_taken_over=has_taken_over)

    def succeed(self) -> SubscriptionFeed | None:
        """Return a feed that continues the subscription on the connection that is about to take over. This feed stays
        for the messages of the present connection, until that ends.

        Returns:
            The new feed. None if none is made: the request was not written on the present connection (then
            ``Subscriptions.renew`` moves this feed to the new connection), the subscription ends with the present
            connection (``resume=False``) or was closed, or this feed already has a successor.
        """
        stream = self._stream()
        is_resumed = self.state in _ON_CONNECTION and self._definition.resume
        if not is_resumed or stream is None or self._successor is not None:
            return None
        if self._duplicates is not None:
            self._duplicates.overlap_began()
        successor = copy.copy(self)
        successor.state = SubscriptionState.LOST
        successor.request = None
        successor.number, successor._key = 0, None
        successor._reply = ABSENT
        successor._is_known = False
        quiet = self.quiet
        if quiet is not None:  # only the connection that takes over is watched
            quiet.stopped()
            self.quiet, successor.quiet = None, quiet.renewed()
        successor._predecessor, self._successor = self, successor
        stream._reader_closed = (
            successor.reader_closed
        )  # assigned after the two references, which `reader_closed` reads
        return successor

    def _retire(self) -> None:
        """End this feed but not its stream, since the successor of this feed continues the subscription."""
        successor = self._successor
        if self.state is SubscriptionState.ENDED or successor is None:
            return
        self.state = TRANSITIONS[self.state][Cause.FINISHED]
        self._subscriptions.remove(self)
        self._drop_key()
        successor._was_active = successor._was_active or self._was_active
        successor._predecessor = None
        if self._duplicates is not None:
            self._duplicates.replaced_ended()
        # An ended feed needs this reference only for a thread inside `wait`. If it stayed, each renewal would leave one
        # more old feed in memory.
        if not self.caller.is_waiting:
            self._successor = None

    def _is_first(self, stream: Subscription, message: Any) -> bool:
        """Return whether the message was not delivered before, on the other connection of a renewal."""
        if self._duplicates is None:
            return True
        try:
            return self._duplicates.is_first(message, is_replaced=self._successor is not None)
        except BaseException as error:  # raised by the caller's function, so the reader receives it
            stream._end(error)
            return False

    # --- the I/O thread: messages ------------------------------------------------------------------------------------

    @property
    def is_unconfirmed(self) -> bool:
        """Whether the server has not confirmed the subscription yet on its present connection. The replaced connection
        of a renewal is closed only when no subscription is unconfirmed, or after ``overlap`` seconds.

        A reply confirms a subscription. If ``match`` selects its messages, or the request contains the subscription
        key, no reply is needed: it becomes ``ACTIVE`` when its request is written. A later reply or message then
        confirms it.
        """
        if self.state is SubscriptionState.ACTIVE:
            return self._predecessor is not None and not self._is_known
        return self.state is SubscriptionState.ASKING or self.state is SubscriptionState.LOST

    @property
    def awaits_key(self) -> bool:
        """Whether a reply is expected that may contain its subscription key."""
        if not self._is_reply_awaited or self._key is not None or self._definition.match is not None:
            return False
        # If the request is STREAMING, a message was already recognised as an answer to it, so no key is needed.
        return self.request is not None and self.request.stage in (NEW, WAITING)

    @property
    def has_key(self) -> bool:
        """Whether its messages are recognised by a subscription key."""
        return self._key is not None

    def wants(self, message: Any) -> bool:
        """Return whether ``match`` accepts the message; if it raises, the subscription ends with that error."""
        if self._definition.match is None or self.state not in _ON_CONNECTION:
            return False
        try:
            return bool(self._definition.match(message))
        except BaseException as error:  # SystemExit too: it concerns one subscription
            # Before the stream is ended: ending it would report a less specific error to the caller of `subscribe()`.
            self.caller.notify(None, copy_exception(error))
            stream = self._stream()
            if stream is not None:
                stream._end(error)
            return False

    def item(self, value: Any, size: int, must_keep_reading: bool) -> None:
        """Deliver one of its messages."""
        self._is_known = True
        if self.state is SubscriptionState.CLOSING:  # a message confirms the subscription like a reply
            self._confirm()
        elif self.state is not SubscriptionState.ENDED:
            if self.caller.is_waiting:  # a message came instead of the reply
                self._was_active = True
                self.caller.notify(None, None)
            if self.quiet is not None:
                self.quiet.heard()
            stream = self._stream()
            if stream is None:
                self.on_closed()
            elif self._is_first(stream, value):
                self._streams.feed(stream, value, size, must_keep_reading)

    def acknowledge(self, reply: Any) -> None:
        """Store a reply, which may not be the last message for the request."""
        self._is_known = True
        self._reply = reply
        stream = self._stream()
        if stream is not None:
            stream._reply = reply

    # --- the I/O thread: requests ------------------------------------------------------------------------------------

    def resubscribe(self, writer: Writer, number: int) -> None:
        """Subscribe again on a connection that is about to open.

        Args:
            writer: the connection's writer.
            number: the connection's number.
        """
        is_under_way = self.request is not None and self.request.outcome is None
        if is_under_way or self.state not in (SubscriptionState.NEW, SubscriptionState.LOST):
            return
        if self._stream() is None:
            self.on_closed()
            return
        deadline, is_timed_later = NEVER, True  # the time begins with the write, which `rate=` may delay
        if not self._was_active and self.caller.deadline is not None:
            deadline, is_timed_later = self.caller.deadline, False  # a thread waits inside subscribe() until then
        self._ask_on(writer, number, deadline, is_timed_later=is_timed_later)

    def resubscribe_after_quiet(self, writer: Writer, number: int) -> None:
        """Unsubscribe, and subscribe again on the same connection, since no message came for ``quiet_after`` seconds.

        Args:
            writer: the connection's writer.
            number: the connection's number.
        """
        stream = self._stream()
        if stream is None:
            self.on_closed()
            return
        if self.state not in _ON_CONNECTION:  # it was closed a moment ago
            return
        self._move(Cause.QUIET)
        self._drop_key()
        self._give_up(is_confirmed=True)
        self._reply = ABSENT
        stream._epoch += self._was_active
        # No deadline: if the reply does not come, the clock is due once more, and the connection is replaced.
        self._ask_on(writer, number, NEVER, is_timed_later=False)

    def _ask_on(self, writer: Writer, number: int, deadline: Deadline, *, is_timed_later: bool) -> None:
        try:
            request = self.make(deadline, number)
            self._is_timed_later = is_timed_later and self._is_reply_awaited
            self._table.add(request, timed=self._is_reply_awaited, streaming=not self._is_reply_awaited)
        except BaseException as error:  # SystemExit too: it concerns one subscription
            self.on_finished(error)
            return
        writer.send_first(request)

    def _unsubscribe(self, request: Request) -> None:
        """Send the unsubscribe message on the request's connection, before the queue, which may be full or closed."""
        writer, position = self._sender.writer, request.position
        if self.number:
            writer = self._sender.writer_of(self.number)
        if writer is None or self._guard.state.current in FINAL:
            return
        if position is not None and position[0] is not writer.write_progress:
            # The request was written on another connection. (Without a position, it is being written now, on this one.)
            return
        deadline = Deadline.after(self._definition.request_timeout, time.monotonic())
        number = writer.write_progress.number
        try:
            message = self._definition.unsubscribe_message(request, self._reply, self._requests.protocol)
            if isinstance(message, Wrapped):
                unseen = self._requests.make(message.message, deadline, connection_number=number)
                self._table.add(unseen, timed=True)
                writer.send_first(unseen)
            elif message is not None:
                writer.send_first(self._requests.encode_one_way(message, connection_number=number))
        except BaseException as error:  # raised by the caller's function; SystemExit too must not end the I/O thread
            self._log.write(logging.ERROR, "an unsubscribe message could not be made.", error=error)
            self._hooks.post_event("on_error", error)


def _ended_with_connection(error: ConnectionLost) -> ConnectionLost:
    """Return the error for a subscription that ends with its connection."""
    words = (
        "The connection of this subscription ended, and the subscription was made with resume=False; subscribe again."
    )
    over = ConnectionLost(words, sent=True, disconnect=error.disconnect)
    over.__cause__ = error.__cause__
    return over
