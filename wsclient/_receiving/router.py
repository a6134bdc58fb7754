"""The router of one connection: delivers each incoming message to its request, subscription, stream, handler or hook.

Only the I/O thread uses it.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .._errors import MessageTooBig, ProtocolError, SlowConsumer, text_of
from .._requests.request import FAILED, STREAMING, Request
from .._sending.message import Outgoing
from ..protocols import KINDS, Call, Control, End, Event, Failure, Item, Reply
from ..protocols._batch import batch_too_big
from ..protocols._encoding import encoded
from ..protocols._incoming import ABSENT, OLDEST
from .deferred import DeferredMessages
from .inbox import Put
from .server_calls import UnansweredCall

if TYPE_CHECKING:
    from .._options import Queue
    from .._requests.requests import Requests
    from .._requests.written import WrittenRequests
    from .._sending.connection_facts import ConnectionFacts
    from .._sending.writer import Writer
    from .._stats import Counters
    from ..protocols import Incoming, Protocol
    from .receivers import Receivers
    from .server_calls import ServerCalls

__all__ = ["Router"]

_LONGEST_NUMBER = 19
"""An id of more digits is not compared with ids of the other type (a number with strings, a string with numbers)."""

_JSON_STARTS = frozenset({b"{", b"[", "{", "["})

_BINARY = (
    "Meanwhile a binary message came that looks like JSON; this protocol decodes JSON in text messages only, so a "
    "binary message is never a reply. JsonId(binary=True) and JsonRpc(binary=True) decode it"
)
_NOT_JSON = "Meanwhile a {} message came that begins like JSON, but is not valid JSON, so it was not taken for a reply"

_OUT_OF_ORDER = "{}. Replies are correlated by their order alone, so the request of the next reply is unknown."


SLICE: Final = 1000
"""Messages of one array that are processed before the queues' limits, commands and timers are checked again; they take
about 2 ms."""


class Backlog(NamedTuple):
    """The messages of an array that are not processed yet.

    Attributes:
        meanings: their meanings, in order.
        payload: the payload of the array.
        size: the bytes for which each message counts.
    """

    meanings: deque[Any]
    payload: str | bytes
    size: int


class EarlyMessage(NamedTuple):
    """A message that arrived while the connection was set up.

    Attributes:
        message: the message, decoded.
        size: its bytes.
        is_reply: whether it is a reply for which no request waits.
        is_late: whether it is a reply to a request that has ended.
        topic, subscription_key: as ``topic`` and ``stream`` of ``Event``.
    """

    message: Any
    size: int
    is_reply: bool
    is_late: bool = False
    topic: str | None = None
    subscription_key: Any = None


class Router:
    """Delivers each incoming message to its receivers.

    Attributes:
        early_messages: messages that answer no request, until the connection is open; None afterwards.
        is_closing: whether the connection is ending.
        backlog: the messages of an array that ``process_backlog`` processes, before the next call of ``receive``; None
            if there are none.
        watch: called, for ``Renew.on``, with each message that does not answer a request in flight by its id or by the
            order of replies (a ``match=`` request may still accept the message); None without ``Renew.on``. It does not
            raise.
    """

    __slots__ = ("_counters", "_early_calls", "_facts", "_max_batch", "_protocol", "_receivers", "_reports_replies",
                 "_requests", "_server_calls", "_table", "_writer", "_written", "backlog", "early_messages",
                 "is_closing", "watch")  # fmt: skip

    def __init__(
        self,
        writer: Writer,
        bounds: Queue,
        written: WrittenRequests,
        *,
        protocol: Protocol,
        requests: Requests,
        receivers: Receivers,
        server_calls: ServerCalls,
        facts: ConnectionFacts,
        counters: Counters,
        max_batch: int,
    ) -> None:
        """
        Args:
            writer: the connection's writer, with the write progress.
            bounds: the limits on the early messages and calls that are kept, and on their bytes.
            written: the requests in flight on the connection; only these are looked up.
            protocol: decodes messages.
            requests: ends the requests whose replies arrive.
            receivers: receive the other messages.
            server_calls: answers the server's calls.
            facts: shows whether a thread waits for a pong.
            counters: count the messages.
            max_batch: how many messages a payload may contain.
        """
        self._max_batch = max_batch
        self._writer = writer
        self._written = written
        self._protocol = protocol
        self._requests = requests
        self._table = requests.table
        self._receivers = receivers
        self._server_calls = server_calls
        self._facts = facts
        self._counters = counters
        self.early_messages: DeferredMessages[EarlyMessage] | None = DeferredMessages(bounds)
        self._early_calls: DeferredMessages[tuple[Call, int]] = DeferredMessages(bounds)
        self._reports_replies = False  # True in the subclass
        self.is_closing = False
        self.backlog: Backlog | None = None
        self.watch: Callable[[Any], object] | None = None

    @property
    def must_keep_reading(self) -> bool:
        """Whether reading continues although a queue is full, that is, has reached its limit on messages or on bytes.
        Reading continues if one of these is awaited: a reply, the pong that confirms a delivery, the set-up of the
        connection, the peer's close frame. A slow hook must not delay them. The queue then keeps further messages up to
        its limit on bytes.
        """
        return (
            bool(self._table.waiting or self._facts.awaited_marks) or self.early_messages is not None or self.is_closing
        )

    @property
    def has_unanswered_calls(self) -> bool:
        """Whether a handler of a call of the server has not ended. Calls that a full queue has dropped do not count."""
        return bool(self._server_calls.unanswered)

    def receive(self, payload: str | bytes, size: int) -> None:
        """Process a message.

        Args:
            payload: text or binary payload.
            size: its bytes.

        Raises:
            ProtocolError: the message protocol reports that the connection can't be used any more.
            MessageTooBig: the payload contains too many messages.
        """
        counters = self._counters
        counters.messages_received += 1
        counters.bytes_received += size
        try:
            meaning: Any = self._protocol.decode(payload)
            kind = type(meaning)
            is_one = kind is Reply or kind is Event or isinstance(meaning, KINDS)
        except (ProtocolError, MessageTooBig):
            raise
        except Exception as cause:
            self._undecoded(payload, cause)
            return
        if kind is Reply:
            id = meaning.id
            request = self._written.by_id.get(id) if type(id) is int or type(id) is str else None
            value = meaning.value
            if request is None or not request.ends_at_first_reply or value is ABSENT or self._reports_replies:
                self._route_reply(meaning, size)
                return
            # The most frequent case, with the fewest calls: the only reply to a request without `until`.
            if request.position is not None:
                progress, end = request.position
                if progress.confirmed < end <= progress.sent:
                    progress.confirmed = end
            if not self._requests.answer(request, value):  # it has already ended
                self._table.drop_position(request)
                self._route_unclaimed(meaning, value, size)
        elif kind is Event:
            self.event(meaning.message, size, meaning.topic, meaning.stream)
        elif is_one:
            self._dispatch(meaning, size)
        elif meaning is not None:
            self._dispatch_all(meaning, payload, size)

    def process_backlog(self) -> None:
        """Process the next messages of the array in ``backlog``, at most ``SLICE`` of them.

        Raises:
            ProtocolError: as ``receive``.
            BaseException: the processing of one message raised it. The other messages stay in ``backlog``.
        """
        backlog = self.backlog
        assert backlog is not None
        meanings = backlog.meanings
        try:
            for _ in range(min(SLICE, len(meanings))):
                meaning = meanings.popleft()
                if isinstance(meaning, KINDS):
                    self._dispatch(meaning, backlog.size)
                else:
                    self._undecoded(backlog.payload, TypeError(
                        f"decode() returned {text_of(meaning)}, which is not a meaning of a message (Reply, Event, …)"
                    ))  # fmt: skip
        finally:
            if not meanings:
                self.backlog = None

    def deliver_routed(self, *, everything: bool = False) -> None:
        """Deliver the messages whose subscription key is now known, or can't become known any more.

        Args:
            everything: whether the connection has ended, so that no further key can become known.
        """
        for one in self._receivers.subscriptions.take_routed(self._written.number if everything else None):
            is_too_late = everything and one.number == self._written.number
            key = None if is_too_late else one.subscription_key
            self._deliver(one.message, one.size, one.topic, key, one.number)

    def release(self) -> None:
        """Deliver the early messages, then the early calls, when the connection is open."""
        early_messages, self.early_messages = self.early_messages, None
        for message, size, is_reply, is_late, topic, key in early_messages.take_all() if early_messages else ():
            # Early messages are not passed to `match=` requests, since each of these requests was sent after the
            # message had arrived.
            self._deliver(message, size, topic, key, is_reply=is_reply, is_late=is_late)
        for call, size in self._early_calls.take_all():
            self._route_call(call, size)

    def event(self, message: Any, size: int, topic: str | None = None, subscription_key: Any = None) -> None:
        """Process a message that has no id of a request in flight.

        It goes to a ``match=`` request, else to its subscriptions, else to topic handlers, streams and ``on_message``.

        Args:
            message: the message, decoded.
            size: its bytes.
            topic: its topic; None if it has none.
            subscription_key: the key of its subscription; None if it has none.
        """
        if self.watch is not None:
            self.watch(message)
        if self._written.matches and self._is_matched(message):
            return
        # `Counters.unrecognised` is a part of the error of a request that times out, so it is set only if a request
        # waits now.
        if self._table.waiting and (type(message) is bytes or type(message) is str) and message[:1] in _JSON_STARTS:
            self._counters.unrecognised = self._counters.messages_received, self._why_unrecognised(message)
        if self.early_messages is not None:
            self._defer(self.early_messages, EarlyMessage(message, size, False, False, topic, subscription_key))
            return
        if self.is_closing and self._receivers.full:
            # Drop it here: a full stream would otherwise end with SlowConsumer.
            self._receivers.streams.dropped += 1
            return
        self._deliver(message, size, topic, subscription_key)

    def _why_unrecognised(self, message: str | bytes) -> str:
        """Say why a message that looks like JSON was not decoded, for the error of a request's timeout."""
        if type(message) is bytes and not self._protocol._binary:
            return _BINARY
        return _NOT_JSON.format("binary" if type(message) is bytes else "text")

    def _dispatch_all(self, decoded: Iterable[Incoming], payload: str | bytes, size: int) -> None:
        """Begin to process the messages of an array; those beyond ``SLICE`` stay in ``backlog``."""
        try:
            meanings = deque(itertools.islice(decoded, self._max_batch + 1))
        except (ProtocolError, MessageTooBig):
            raise
        except Exception as cause:
            self._undecoded(payload, cause)
            return
        if len(meanings) > self._max_batch:
            raise batch_too_big(f"more than {self._max_batch}", self._max_batch)
        if meanings:
            # The payload is stored once for all messages, so each one counts for its share of the bytes.
            self.backlog = Backlog(meanings, payload, -(-size // len(meanings)))
            self.process_backlog()

    def _dispatch(self, meaning: Incoming, size: int) -> None:
        if isinstance(meaning, Event):
            self.event(meaning.message, size, meaning.topic, meaning.stream)
        elif isinstance(meaning, Control):
            self._send_protocol_answer(meaning)
        elif isinstance(meaning, Call):
            self._route_call(meaning, size)
        else:
            self._route_reply(meaning, size)

    def _route_reply(self, meaning: Reply | Failure | Item | End, size: int) -> None:
        """Find the request that a message answers, and process the message for it."""
        request = self._written.find(meaning.id)
        if meaning.id is OLDEST and not self._protocol.replies_in_order:
            self._protocol.replies_in_order = True
            self._requests.keep_order()
        value = meaning.error if isinstance(meaning, Failure) else meaning.value
        if meaning.id is OLDEST and not self._is_written(request):
            self.event(value, size)  # no request was written, so the message is not a reply
        elif request is None:
            self._route_unclaimed(meaning, value, size, is_late=self._table.is_late(meaning.id))
        elif request.outcome is not None:
            self._apply_after_end(request, meaning, value, size)
        else:
            self._apply_reply(request, meaning, value, size)
            self.deliver_routed()

    def _apply_after_end(self, request: Request, meaning: Reply | Failure | Item | End, value: Any, size: int) -> None:
        """Process a message for a request that has ended but keeps its position in the order of replies. If it is the
        last message for the request, the request loses its position.
        """
        if not isinstance(meaning, Item) and (
            isinstance(meaning, (Failure, End)) or self._accepts(request, request.until, value)
        ):
            self._table.drop_position(request)
        self._route_unclaimed(meaning, value, size)

    def _apply_reply(self, request: Request, meaning: Reply | Failure | Item | End, value: Any, size: int) -> None:
        """Process a message for a request that has not ended: one of many replies, or the reply that ends it."""
        done: bool | None
        position = request.position
        if position is not None and request.is_written():
            position[0].confirm(position[1])
        if isinstance(meaning, Failure):
            done = self._requests.fail(request, meaning.error)
        elif request.feed is not None:
            done = self._apply_to_feed(request, meaning, value, size)
        else:
            final = self._is_final(request, meaning, value)
            self._check_order(request)
            if not final:
                request.last = value
                return
            if value is ABSENT:
                value = None if request.last is ABSENT else request.last
            done = self._requests.answer(request, value)
        if done is None:
            return
        self._table.drop_position(request)
        if not done:
            self._route_unclaimed(meaning, value, size)

    def _check_order(self, request: Request) -> None:
        """Called after ``until``, or ``final`` of the protocol, was called for a request.

        Raises:
            ProtocolError: this function raised, and replies are correlated by order, so the next reply can't be
                assigned.
        """
        if self._protocol.replies_in_order and request.outcome is FAILED:
            raise ProtocolError(_OUT_OF_ORDER.format("until= raised"))

    def _is_final(self, request: Request, meaning: Reply | Item | End, value: Any) -> bool:
        """Return whether a message ends its request: an ``End`` always, an ``Item`` only if ``until`` accepts it."""
        if isinstance(meaning, End):
            return True
        if isinstance(meaning, Item):
            return request.until is not None and self._accepts(request, request.until, value)
        return self._is_final_reply(request, value)

    def _apply_to_feed(self, request: Request, meaning: Reply | Item | End, value: Any, size: int) -> bool | None:
        """Process one of many replies. Return None if it was not the last, else the result of ``Requests.answer``."""
        feed = request.feed
        if self._receivers.subscriptions.events:
            self._receivers.subscriptions.apply_events()
        is_reply = isinstance(meaning, Reply)
        if is_reply and feed.endless:  # the reply to a subscribe
            final = self._is_final_reply(request, value)
            self._check_order(request)
            if not final:
                return None
            if request.stage is STREAMING and feed.has_key:
                feed.acknowledge(value)
                return None
            return self._requests.answer(request, value)
        final = self._is_final(request, meaning, value)
        self._check_order(request)
        self._table.begin_streaming(request)
        if value is not ABSENT:
            feed.item(value, size, self.must_keep_reading)
        return self._requests.answer(request, ABSENT) if final else None

    def _is_final_reply(self, request: Request, value: Any) -> bool:
        """Return whether a reply is final, and not only an acknowledgement."""
        if request.until is not None or request.message is ABSENT:
            return self._accepts(request, request.until, value)
        try:
            return self._protocol.final(request.message, value)
        except BaseException as error:  # SystemExit too: it concerns one request
            self._requests.fail(request, error)
            return False

    def _route_call(self, call: Call, size: int) -> None:
        """Process a call of the server."""
        if self._is_echo(call, size):
            return
        if self.early_messages is not None:
            if self._early_calls.full:
                self._receivers.hooks.post_error(SlowConsumer(
                    "The server made more calls before the connection was set up than receive_queue= has room for; "
                    "some are not answered. Give receive_queue= more room."
                ))  # fmt: skip
            else:
                self._early_calls.add((call, size), size)
            return
        handler = self._receivers.handlers.of_method(call.method)
        number = self._writer.write_progress.number
        if handler is not None:
            if self.watch is not None:
                self.watch(call if call.message is ABSENT else call.message)
            unanswered = UnansweredCall(handler, call, number)
            self._server_calls.unanswered.add(unanswered)
            self._receivers.handlers.post(
                handler, self._server_calls.answer, (unanswered,), size, self.must_keep_reading
            )
            return
        self.event(call if call.message is ABSENT else call.message, size)
        try:
            self._server_calls.refuse(call, self._writer)
        except ProtocolError as error:
            self._receivers.hooks.post_error(error)

    def _is_echo(self, call: Call, size: int) -> bool:
        """Return whether a call repeats the request in flight under its id. If so, process it as a reply.

        If it does not repeat that request, store a sentence in ``Request.hint``, for the text of the timeout.
        """
        request = self._written.find(call.id)
        if request is None or request.match is not None:
            return False
        if self._protocol._echoes(call.message, request.payload, size):
            self._server_calls.leave_out(call, self._writer)
            self._route_reply(Reply(call.id, call.message, call.message), size)
            return True
        request.hint = (
            f"Meanwhile a message with this id came that has a method ({text_of(call.method, 100)}), so it was taken "
            "for a call of the server's, not for the reply"
        )
        return False

    def _send_protocol_answer(self, control: Control) -> None:
        """Send the answer that the protocol gives to a control message, if there is one."""
        if control.answer is None:
            return
        try:
            opcode, payload = encoded(control.answer)
        except (TypeError, ValueError) as cause:
            error = ProtocolError(
                f"The answer of the message protocol to a message can't be sent ({_named(cause)}).",
                payload=control.answer,
            )
            error.__cause__ = cause
            self._receivers.hooks.post_error(error)
            return
        number = self._writer.write_progress.number
        self._writer.send_first(Outgoing(opcode, payload, len(payload), connection_number=number))

    def _is_written(self, request: Request | None) -> bool:
        """Return whether there is an oldest request and it is written completely, so that a reply to it can come."""
        if request is not None and not request.is_written():
            self._writer.wait_for_writer()
        return request is not None and request.is_written()

    def _defer(self, early_messages: DeferredMessages[EarlyMessage], message: EarlyMessage) -> None:
        verdict = early_messages.add(message, message.size)
        if verdict is not Put.KEPT:
            self._receivers.streams.dropped += 1
        if verdict is Put.FIRST_LOSS:
            self._receivers.hooks.post_error(SlowConsumer(
                f"More than {len(early_messages)} messages came before the connection was set up; receive_queue= has "
                "no room for more, so some are dropped. Give it more room, or take them with session.recv()."
            ))  # fmt: skip

    def _route_unclaimed(
        self, meaning: Reply | Failure | Item | End, value: Any, size: int, *, is_late: bool = True
    ) -> None:
        """Process a late reply, or a reply with an unknown id. The receivers get the whole message, with its id."""
        message = value if meaning.message is ABSENT else meaning.message
        if self.watch is not None and message is not ABSENT:
            self.watch(message)
        if message is ABSENT or self._is_matched(message):  # an end without a message, or a match= request takes it
            return
        self._counters.unmatched_replies += 1
        self._hint_at_other_type(meaning.id)
        if self.early_messages is not None:
            self._defer(self.early_messages, EarlyMessage(message, size, True, is_late))
        else:
            self._deliver(message, size, is_reply=True, is_late=is_late)

    def _hint_at_other_type(self, id: Any) -> None:
        """If a request in flight has the same id as another type (1 instead of ``"1"``, or the reverse), store a
        sentence about this reply in ``Request.hint``, for the text of the timeout.
        """
        if type(id) is str and len(id) <= _LONGEST_NUMBER and id.isdecimal() and id.isascii():
            other: Any = int(id)
        elif type(id) is int and abs(id) < 10**_LONGEST_NUMBER:
            other = str(id)
        else:
            return
        request = self._written.by_id.get(other)
        if request is not None:
            request.hint = (
                f"Meanwhile a reply came with the id {id!r} instead of {other!r}: a number and a string are different "
                "ids (see ids= of JsonId)"
            )

    def _deliver(
        self,
        message: Any,
        size: int,
        topic: str | None = None,
        subscription_key: Any = None,
        number: int | None = None,
        *,
        is_reply: bool = False,
        is_late: bool = False,
    ) -> None:
        """Deliver a message to its subscriptions, else to topic handlers, streams and ``on_message``. A reply with an
        unknown id goes to streams and ``on_message``, a late reply to ``on_message`` alone.
        """
        hooks = self._receivers.hooks
        if not is_reply:
            subscriptions = self._receivers.subscriptions
            if subscriptions.members and subscriptions.offer(
                self._written.number if number is None else number,
                message,
                topic,
                subscription_key,
                size,
                must_keep_reading=self.must_keep_reading,
            ):
                return
            if topic is not None:
                for handler in self._receivers.handlers.of_topic(topic):
                    self._receivers.handlers.post(handler, handler.fn, (message,), size, self.must_keep_reading)
        if not is_late and self._receivers.streams.listening:
            self._receivers.streams.offer(message, size, must_keep_reading=self.must_keep_reading)
        # `must_keep_reading` matters here only if the hooks' own queue is full.
        hooks.post_message(message, size, hooks.inbox.full and self.must_keep_reading)

    def _is_matched(self, message: Any) -> bool:
        """End the ``match=`` request in flight that accepts the message; return whether there was one."""
        for request in self._written.matching():
            if self._accepts(request, request.match, message) and self._accepts(request, request.until, message):
                return self._requests.answer(request, message)
        return False

    def _accepts(self, request: Request, test: Any, message: Any) -> bool:
        """Return whether the caller's function accepts the message; if it raises, its request ends with that error."""
        if test is None:
            return True
        try:
            return bool(test(message))
        except BaseException as error:  # SystemExit too: it concerns one request
            self._requests.fail(request, error)
            return False

    def _undecoded(self, payload: str | bytes, cause: Exception) -> None:
        """Skip a message that the protocol can't decode.

        Raises:
            ProtocolError: replies are correlated by order, so the message may be the reply to the oldest request.
        """
        if self._protocol.replies_in_order:
            raise ProtocolError(_OUT_OF_ORDER.format(f"A message could not be decoded ({_named(cause)})")) from cause
        self._skip(payload, cause)

    def _skip(self, payload: str | bytes, cause: Exception) -> None:
        self._counters.unrecognised = (
            self._counters.messages_received,
            f"Meanwhile a message came that could not be decoded ({_named(cause)})",
        )
        error = ProtocolError(f"A message could not be decoded and is skipped ({_named(cause)}).", payload=payload)
        error.__cause__ = cause
        self._receivers.hooks.post_error(error)


def _named(cause: Exception) -> str:
    """Return the class and the text of an exception of the user's code."""
    return f"{type(cause).__name__}: {text_of(cause)}"
