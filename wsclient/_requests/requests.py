"""Requests of one client: how each begins, is sent, and ends.

Guarantees:
    * Any thread may call a ``Requests``, unless a method names the one thread that may.
    * A reply, a timeout, a cancel, a lost connection and a close may occur at the same moment. The code that handles
      one of them calls ``RequestTable.end`` first, and completes the waiter only if the result is True.
    * No lock of this package is held while a waiter is completed or a message is queued. One exception: ``refuse`` ends
      a request that can't be written, while the write lock is held.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .._errors import (
    ConnectionLost,
    ProtocolError,
    RequestTimeout,
    SendQueueFull,
    WebSocketClientError,
    copy_exception,
    text_of,
)
from .._options import DEFAULT
from .._sending.message import LOST, Outgoing
from .._threads.sections import this_thread
from .._threads.thread import call_uninterrupted
from .._threads.waiting import Deadline
from .._validation import check_callable, check_seconds
from ..protocols import Request as Wrapped
from ..protocols._encoding import encoded
from ..protocols._incoming import ABSENT
from . import failures
from .batches import Batch
from .ids import SharedIds
from .request import CANCELLED, FAILED, OK, TIMED_OUT, Completable, Request
from .table import Clash, RequestTable

if TYPE_CHECKING:
    from .._models import Disconnect
    from .._sending.connection_facts import ConnectionFacts
    from .._sending.sender import Sender
    from .._settings import Settings
    from .._stats import Counters
    from .._threads.commands import Commands
    from .._threads.log import ClientLog
    from ..protocols import Protocol
    from .written import WrittenRequests

__all__ = ["Requests"]


_MAX_ID_TRIES: Final = 2**17
"""How many ids that are in flight already may be returned in a row before the request fails. It is greater than the
number of ids of a protocol that uses its ids again (65 535 in MQTT), so a free id is found if there is one."""

_SLOW: Final = "the peer reads too slowly, or the network is too slow"


class Requests:
    """Begins, sends and ends the requests of one client.

    Attributes:
        protocol: the message protocol of the connection that takes new messages; it encodes them.
        table: the requests that have not ended.
    """

    __slots__ = ("_commands", "_counters", "_facts", "_ids", "_log", "_sender", "_settings", "protocol", "table")

    def __init__(
        self,
        protocol: Protocol,
        table: RequestTable,
        sender: Sender,
        commands: Commands,
        settings: Settings,
        log: ClientLog,
        facts: ConnectionFacts,
        counters: Counters,
    ) -> None:
        """
        Args:
            protocol: encodes requests and gives them their ids.
            table: the requests that have not ended.
            sender: writes or queues messages.
            commands: wakes the I/O thread, and gives it the command to drop a connection.
            settings: the client's ``request_timeout``.
            log: the client's log.
            facts: says why there is no connection.
            counters: count the messages received.
        """
        self.protocol = protocol
        # The client's first protocol object assigns every id, since ids must not repeat on a later connection, whose
        # protocol may be a copy.
        self._ids: Protocol | SharedIds = protocol
        self.table = table
        self._sender = sender
        self._commands = commands
        self._settings = settings
        self._log = log
        self._facts = facts
        self._counters = counters

    # --- encoding ----------------------------------------------------------------------------------------------------

    def prepare(
        self,
        message: Any,
        timeout: float | None,
        match: Callable[[Any], bool] | None,
        until: Callable[[Any], bool] | None,
        idempotent: bool,
        connection_number: int | None,
    ) -> Request | Batch:
        """Check the options of a call, and encode its request; a list becomes a batch if the protocol has batches.

        Args:
            message: the caller's message.
            timeout: seconds; ``DEFAULT`` is the client's ``request_timeout``, None has no limit.
            match: as for ``client.request``.
            until: as for ``client.request``.
            idempotent: as for ``client.request``.
            connection_number: the number of the one connection that may take it; None for any.

        Raises:
            TypeError, ValueError: an option is wrong; or an error of ``make`` or ``make_batch``.
        """
        if match is not None or until is not None:
            check_callable("match", match)
            check_callable("until", until)
        if timeout is DEFAULT:
            timeout = self._settings.bounds.request_timeout
        elif timeout is not None:
            timeout = check_seconds("timeout", timeout, zero=True)
        deadline = Deadline(None if timeout is None else time.monotonic() + timeout, timeout)
        if isinstance(message, list) and self.protocol._batches:
            return self.make_batch(message, deadline, match, until, idempotent, connection_number)
        return self.make(message, deadline, match, until, idempotent, connection_number)

    def make(
        self,
        message: Any,
        deadline: Deadline,
        match: Callable[[Any], bool] | None = None,
        until: Callable[[Any], bool] | None = None,
        idempotent: bool = False,
        connection_number: int | None = None,
        protocol: Protocol | None = None,
    ) -> Request:
        """Encode a request. The message itself is not kept.

        Args:
            message: the caller's message.
            deadline: when the request times out.
            match: as for ``client.request``.
            until: as for ``client.request``.
            idempotent: as for ``client.request``.
            connection_number: the number of the one connection that may take it; None for any.
            protocol: the message protocol of that connection; None for that of the present one.

        Raises:
            TypeError, ValueError: the message can't be encoded, or a reply to it could not be recognised.
        """
        if protocol is None:
            protocol = self.protocol
        id = encoder = None
        if match is None:
            id, encoder = protocol._id_and_encoder(message)
        elif protocol.replies_in_order:
            raise ValueError("match= can't be used if replies are correlated by their order alone, as with Fifo.")
        if encoder is not None:
            request = Request(None, encoder.size, deadline, encoder, until, idempotent, connection_number)
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
                connection_number=connection_number,
            )
        if match is None and until is None and protocol._decides_final:
            request.message = copy.deepcopy(message)
            request.ends_at_first_reply = False
        return request

    def make_batch(
        self,
        messages: Sequence[Any],
        deadline: Deadline,
        match: Callable[[Any], bool] | None = None,
        until: Callable[[Any], bool] | None = None,
        idempotent: bool = False,
        connection_number: int | None = None,
    ) -> Batch:
        """Encode several requests that are sent as one message. The messages themselves are not kept.

        Args and errors are those of ``make``.

        Raises:
            ValueError: the messages can't be sent as a batch.
        """
        most = self.protocol.max_in_flight
        if match is not None or until is not None:
            raise ValueError("match= and until= are for one request, not for a batch of them.")
        if not messages:
            raise ValueError("A batch must hold at least one request (JSON-RPC 2.0 §6).")
        if most is not None and len(messages) > most:
            raise ValueError(f"A batch of {len(messages)} requests is too large: max_in_flight is {most}.")
        members = [
            self.make(message, deadline, idempotent=idempotent, connection_number=connection_number)
            for message in messages
        ]
        return Batch(members, deadline=deadline, connection_number=connection_number)

    def encode_one_way(
        self,
        message: Any,
        *,
        expires_at: float | None = None,
        connection_number: int | None = None,
        protocol: Protocol | None = None,
    ) -> Outgoing:
        """Encode a message that expects no reply. If it contains an id, the server may reply to this id nevertheless.
        That reply must not end a request, so no request gets the same id.

        Args:
            message: what to send.
            expires_at: as in ``Outgoing``.
            connection_number: as in ``Outgoing``.
            protocol: as for ``make``.

        Raises:
            TypeError: it can't be encoded.
            ValueError: it can't be encoded; or a request with an id of the message waits for its reply.
        """
        if protocol is None:
            protocol = self.protocol
        opcode, payload = encoded(protocol.encode(message))
        # Positional arguments: keyword arguments of a class cost 0.2 µs.
        entry = Outgoing(opcode, payload, len(payload), expires_at, connection_number)
        entry.ids = protocol._ids_in(message)
        for id in entry.ids:
            # `_reserve_id` takes a lock. Inside a section this thread may take none; then `is_free` calls it later.
            if not this_thread.inside():
                self._ids._reserve_id(id)
            self.table.check_free(id)
        return entry

    # --- beginning ---------------------------------------------------------------------------------------------------

    def begin(
        self,
        request: Request | Batch,
        waiter: Completable | None,
        timed: bool = False,
        streaming: bool = False,
        more: bool = False,
    ) -> None:
        """Add a request or a batch to the table, and write or queue it. If this raises, the waiter is not completed.

        Args:
            request: the result of ``make`` or ``make_batch``.
            waiter: is completed when the request has ended; None if no code waits for that.
            timed: whether the I/O thread ends it at its deadline; False if the caller does.
            streaming: whether it starts as ``STREAMING``, without a wait for the first reply.
            more: whether further requests follow, and it is written together with them.

        The last three are ignored for a batch: its requests are timed, and it is written at once.

        Raises:
            ValueError: a request with the caller's id is in flight.
            RequestTimeout: the send queue had no room until the deadline.
            SendQueueFull, MessageTooBig, ClientClosed, ConnectionLost: it was not queued.
        """
        if isinstance(request, Batch):
            assert waiter is not None
            self._begin_batch(request, waiter)
            return
        request.waiter = waiter
        # If another request is written now, the writer adds it to the table in the same step in which it gets its id.
        add_first = timed or streaming or more or request.caller_key is not None
        if add_first:
            self.table.add(request, timed=timed, streaming=streaming)
        try:
            if not more and self._sender.write_now(request):
                return
            if not add_first:
                self.table.add(request, timed=False)
            self.queue(request, request.deadline)
        except WebSocketClientError:
            if not self.table.end(request, FAILED):
                return  # the request has already ended, and its waiter is completed
            raise
        except BaseException:
            self.cancel(request, interrupted=True)
            raise
        if request.discarded_as is LOST and self.table.end(request, FAILED):
            raise self._not_queued(request)
        if not more:
            self._sender.write_queued()

    def _begin_batch(self, batch: Batch, waiter: Completable) -> None:
        batch.set_waiter(waiter)
        try:
            for request in batch.members:
                self.table.add(request, timed=True)
            self.queue(batch, batch.deadline)
        except BaseException:
            self.withdraw(batch, interrupted=True)
            raise
        if batch.discarded_as is LOST:
            for request in batch.members:
                self.fail(request, self._not_queued(batch))
        self._sender.write_queued()

    def hand_over(self, request: Request | Batch, waiter: Completable, *, timed: bool, streaming: bool = False) -> None:
        """Begin a request or a batch without a lock, for calls inside a critical section (see ``_threads.sections``).
        The I/O thread writes it. Args: see ``begin``.

        If this raises, the request may be in the table; the caller must then post its withdrawal to the I/O thread.

        Raises:
            ValueError: a request with the caller's id is in flight.
            SendQueueFull: no room, also if the queue's policy is ``"block"``.
            MessageTooBig, ClientClosed, ConnectionLost: it was not queued.
        """
        if isinstance(request, Batch):
            request.set_waiter(waiter)
        else:
            request.waiter = waiter
        self._sender.queue.check_open()  # first, since no code removes a request from the table after the client's end
        for one in request.reply_requests():
            self.table.hand_over(one, timed=timed, streaming=streaming)
        self.hand_over_message(request)
        if request.discarded_as is LOST:
            raise self._not_queued(request)

    def hand_over_message(self, entry: Outgoing) -> None:
        """Queue a message without a lock, as ``hand_over`` does; the I/O thread writes it.

        Raises:
            SendQueueFull, MessageTooBig, ClientClosed: it was not queued.
        """
        if self._sender.is_too_late(entry):
            self._sender.queue.check_open()
            entry.discarded_as = LOST  # its connection has ended, and no other one may send it
            return
        self._sender.queue.hand_over(entry)
        self._commands.wake()

    def queue(self, entry: Outgoing, deadline: Deadline) -> None:
        """Put a message into the send queue, without starting to write it.

        Args:
            entry: the message.
            deadline: until when to wait for room, if the queue's policy is ``"block"``.

        Raises:
            RequestTimeout: it is a request, and there was no room until its deadline.
            SendQueueFull, MessageTooBig, ClientClosed: it was not queued.
        """
        evicted: list[Outgoing] = []
        sender = self._sender
        queue = sender.queue
        try:
            try:
                queue.put(entry, deadline, evicted, may_wait=False)
            except SendQueueFull:
                if not sender.make_room():
                    raise
                queue.put(entry, deadline, evicted)
        except SendQueueFull as error:
            if entry.requests and deadline.passed(time.monotonic()):
                raise self._no_room(entry) from error
            if sender.writer is None:
                reason, cause = self._facts.why_not_open()
                text = f"{error} The queued messages are not sent, since {reason}."
                raise SendQueueFull(text) from cause and copy_exception(cause)
            raise
        finally:
            if evicted:
                try:
                    self._fail_removed(evicted, failures.evicted)
                except BaseException:  # an interrupt may have occurred before the uninterrupted call began
                    self._fail_removed(evicted, failures.evicted)
                    raise
        if entry.connection_number is not None and sender.is_too_late(entry):
            queue.withdraw(entry)  # its connection has ended, and no other one may send it

    def send_ignoring_reply(self, message: Any, *, connection_number: int) -> None:
        """Send a message on one connection; if it is wrapped as a request, its reply is dropped.

        Args:
            message: what to send, possibly wrapped in ``protocols.Request``.
            connection_number: the connection's number.

        Raises:
            SendQueueFull, MessageTooBig, ClientClosed: it was not queued.
            TypeError, ValueError: it can't be encoded.
        """
        deadline = Deadline.after(self._settings.bounds.request_timeout, time.monotonic())
        if isinstance(message, Wrapped):
            self.begin(self.make(message.message, deadline, connection_number=connection_number), None, timed=True)
        else:
            self.queue(self.encode_one_way(message, connection_number=connection_number), deadline)
            self._sender.write_queued()
        self._commands.wake_by(deadline)

    def _not_queued(self, entry: Outgoing) -> WebSocketClientError:
        """Return the error for a message that was not queued: its connection has ended, or the queue is full and drops
        the newest message.
        """
        if self._sender.is_too_late(entry):
            return failures.ended_before()
        return SendQueueFull("The send queue is full and drops the newest message (drop_newest).")

    def share_ids(self) -> None:
        """Called before a second connection is opened. From now on only one thread at a time calls ``new_id``, for all
        connections.

        A thread that is writing may still be inside a call of ``new_id`` that began before. So the caller of this
        method acquires the present connection's write lock once, before the second connection writes.
        """
        if not isinstance(self._ids, SharedIds):
            self._ids = SharedIds(self._ids)

    # --- being written: the thread that holds the write lock ---------------------------------------------------------

    def assign_id(self, written: WrittenRequests, request: Request) -> bool:
        """Assign a request the id under which it is written, before its reply can come. False if it has ended.

        Ids are assigned here, so that they increase in the order of writing. Only the writer calls this.

        Args:
            written: the requests in flight on the writer's connection.
            request: the request.

        Raises:
            Exception: the protocol's code raised it, or did not return a free id.
        """
        table, ids = self.table, self._ids
        request.received_before = self._counters.messages_received
        if request.match is not None:
            return table.assign_id(request, request.id, written)
        if request.caller_key is not None:
            ids._reserve_id(request.id)
            return table.assign_id(request, request.id, written)
        try:
            return table.assign_id(request, ids.new_id(), written)
        except Clash:
            return self._assign_next_id(written, request)

    def _assign_next_id(self, written: WrittenRequests, request: Request) -> bool:
        """Try further ids, after the first one of ``assign_id`` was in use."""
        for _ in range(_MAX_ID_TRIES):
            try:
                return self.table.assign_id(request, self._ids.new_id(), written)
            except Clash:
                continue
        raise ProtocolError(f"{type(self.protocol).__name__}.new_id() returned no id that is free.")

    def refuse(self, request: Request, error: BaseException) -> None:
        """End a request that can't be written, with an error. Only the writer calls this."""
        self.fail(request, error)
        self.table.drop_position(request)

    def is_free(self, written: WrittenRequests, ids: Iterable[Any]) -> bool:
        """Return whether no request in flight has one of these ids. If so, also reserve them; if not, log a warning.

        ``encode_one_way`` checked this before; another thread may have sent a request with such an id since. Only the
        writer calls this.

        Args:
            written: the requests in flight on the writer's connection.
            ids: the ids.
        """
        clash = next((id for id in ids if written.find(id) is not None), None)
        if clash is None:
            for id in ids:
                self._ids._reserve_id(id)
            return True
        # This thread holds the write lock, so it must not wait for a log handler.
        text = "a message was not sent: a request with the id %r, which the message contains, is in flight."
        self._log.queue(logging.WARNING, text, clash)
        return False

    # --- ending ------------------------------------------------------------------------------------------------------

    def answer(self, request: Request, value: Any) -> bool:
        """End a request with its reply. False if the request had already ended. I/O thread only.

        Unlike the other methods that end a request, this method need not wake the I/O thread for a drain, since it runs
        on the I/O thread, which checks after each read whether the drain is complete.
        """
        if not self.table.end(request, OK):
            return False
        if request.waiter is not None:
            request.waiter.complete(value, None)
        if self.protocol.max_in_flight is not None:
            self._sender.write_queued()
        return True

    def fail(self, request: Request, error: BaseException) -> bool:
        """End a request with an error. False if it had already ended."""
        if not self.table.end(request, FAILED):
            return False
        self._remove_from_queue(request)
        if request.waiter is not None:
            request.waiter.complete(None, error)
        self._after_end()
        return True

    def time_out(self, request: Request) -> bool:
        """End a request whose deadline has passed. False if it had already ended."""
        if not self.table.end(request, TIMED_OUT):
            return False
        self._remove_from_queue(request)
        error = self.timeout_of(request)
        if request.waiter is not None:
            request.waiter.complete(None, error)
        self._drop_if_by_order(request, error)
        self._after_end()
        return True

    def timeout_of(self, request: Request, phase: str | None = None) -> RequestTimeout:
        """Return the error for a request whose deadline has passed. This method does not raise.

        Args:
            request: the request.
            phase: ``"queued"`` or ``"waiting"``; None if this method is to determine it.
        """
        is_sent = request.written_on is not None or request.sent_before
        phase = phase or ("waiting" if is_sent else "queued")
        cause: BaseException | None = None
        in_session = self._sender.writer is None and request.connection_number is not None
        held = self._sender.why_held(in_session=in_session)
        if phase == "waiting" and (request.written_on is not None or not is_sent):
            reason = self._what_came(request)
        elif self._sender.writer is None and not (held and in_session):
            reason, cause = self._facts.why_not_open()
            if phase == "waiting":
                reason = f"It could not be sent again: {reason}"
        elif self.protocol.max_in_flight is not None:
            reason = (
                f"max_in_flight={self.protocol.max_in_flight} requests were in flight, or the peer reads too slowly"
            )
            reason = f"{held}, or {reason}" if held else reason
        else:
            reason = f"{held}, or the peer reads too slowly" if held else _SLOW
        return failures.timed_out(phase, self._name_of(request), request.deadline.seconds, reason, cause)

    def _what_came(self, request: Request) -> str:
        """Describe the messages that arrived after the request was written and may have been meant as its reply."""
        others = self._counters.messages_received - request.received_before
        if request.hint is not None:
            return request.hint
        if request.last is not ABSENT:
            return "Replies came, but none was accepted as the last one (until=, or the protocol)"
        number, text = self._counters.unrecognised
        if request.match is None and number > request.received_before:
            return text
        if not others:
            return "Meanwhile no message came"
        wanted = "had its id"
        if request.match is not None or self.protocol.replies_in_order:
            wanted = "was accepted by match=" if request.match is not None else "answered it"
        return f"Meanwhile {others} other message{'s' if others > 1 else ''} came, of which none {wanted}"

    def _name_of(self, request: Request) -> str:
        """Name a request by its method and its id, as far as it has them."""
        try:
            method = None
            if request.payload is not None or request.encoder is not None:
                method = self.protocol._method_of(request.payload, request.encoder)
        except Exception:  # the name is only for the text of an error
            method = None
        name = "The request" if method is None else f"The request {text_of(method, 100)}"
        has_id = request.id is not None and request.match is None and not self.protocol.replies_in_order
        return f"{name} with the id {text_of(request.id, 100)}" if has_id else name

    def end_overdue(self, entry: Request | Batch) -> None:
        """End the requests of a message whose deadline has passed, for a thread that waits for them.

        An interrupt does not stop it half-way, since other threads may wait for the same requests.
        """
        try:
            call_uninterrupted(partial(self._time_out_all, entry))
        except BaseException:  # an interrupt may have occurred before the uninterrupted call began
            call_uninterrupted(partial(self._time_out_all, entry))
            raise

    def _time_out_all(self, entry: Request | Batch) -> None:
        for request in entry.reply_requests():
            self.time_out(request)

    def cancel(self, request: Request, *, interrupted: bool = False) -> bool:
        """End a request because the caller no longer waits. The waiter is not completed.

        Args:
            request: the request.
            interrupted: whether an interrupt ended the wait. It has an effect only on a request in flight, if replies
                are correlated by order. True: the request keeps its position until its deadline. False, or no deadline:
                the connection is dropped at once.

        Returns:
            True if this call ended the request, and it may have been sent.
        """
        if not self.table.end(request, CANCELLED):
            return False
        self._remove_from_queue(request)
        may_be_sent = request.written_on is not None  # the writer has taken it, and may not have written it yet
        if may_be_sent:
            if not interrupted or request.deadline.at is None:
                given_up = ConnectionLost("A request was given up after it had been sent.", sent=True)
                self._drop_if_by_order(request, given_up)
            elif self.table.holds_position(request):
                self._commands.wake()  # `table.end` has added a timer, which may shorten the wait of the I/O thread
        self._after_end()
        return may_be_sent

    def withdraw(self, entry: Outgoing, *, interrupted: bool = False) -> None:
        """Cancel every request of a message."""
        for request in entry.reply_requests():
            self.cancel(request, interrupted=interrupted)

    def clear_queue(self) -> int:
        """Remove all messages from the queue, and end the requests among them; see ``Client.clear_queue``."""
        removed: list[Outgoing] = []
        try:
            self._sender.queue.clear(removed)
        finally:  # an interrupt may have occurred after some were removed, or before the uninterrupted call began
            try:
                self._fail_removed(removed, failures.cleared)
            except BaseException:
                self._fail_removed(removed, failures.cleared)
                raise
        self._sender.message_removed()
        return len(removed)

    def expire(self, now: float) -> None:
        """End the requests whose deadline has passed. Called by the I/O thread. While the I/O thread calls certain
        functions of the user, a helper thread calls this method instead (see ``_connection.overdue``).

        Args:
            now: the time on the monotonic clock, in seconds.
        """
        due = self.table.next_deadline()
        if due is None or due > now:
            return
        for request in self.table.expire(now):
            if not self.time_out(request):
                self._drop_if_by_order(request, self.timeout_of(request, "waiting"))

    def keep_order(self) -> None:
        """Switch to correlation by order alone. I/O thread only.

        Called when the protocol returns the first reply with the id ``OLDEST``.
        """
        self._sender.replies_in_order = True
        self.table.keep_order()

    # --- the end of a connection, or of the client -------------------------------------------------------------------

    def fail_written(self, written: WrittenRequests, disconnect: Disconnect) -> None:
        """End the requests that were written on the connection that is ending, since no reply can come any more.
        Requests that may be sent again on the next connection do not end here. I/O thread only.

        Args:
            written: the requests in flight on it.
            disconnect: how it ends.
        """
        for request in self.table.everything():
            may_repeat = request.idempotent and request.connection_number is None
            if request.written_on is written and request.is_written() and not may_repeat:
                self.fail(request, failures.connection_lost(disconnect, sent=True))

    def connection_ended(self, written: WrittenRequests, unwritten: Iterable[Outgoing], disconnect: Disconnect) -> None:
        """Sort the requests of a connection that has ended: put back into the queue the requests that the next
        connection may send, and end the others. I/O thread only.

        Args:
            written: the requests in flight on the connection.
            unwritten: messages that were not written completely, in order.
            disconnect: how it ended.
        """
        # A dict, so that a batch appears once. It goes back as a whole; members that have ended are skipped when it is
        # written.
        back: dict[Outgoing, None] = {}
        for request in self.table.end_connection(written):
            if request.connection_number is not None:
                self.fail(request, failures.connection_lost(disconnect, sent=request.is_written()))
            elif not request.is_written():
                pass  # it is in `unwritten`
            elif request.idempotent and request.outcome is None:
                request.sent_before = True
                request.written_on = None
                back[request.batch or request] = None
            else:
                self.fail(request, failures.connection_lost(disconnect, sent=True))
        for entry in unwritten:
            requests = entry.reply_requests()
            ended = bool(requests) and all(
                request.outcome is not None or (request.feed is not None and request.feed.is_superseded)
                for request in requests
            )
            if entry.counted and entry.connection_number is None and not ended:
                for request in requests:
                    request.written_on = None
                back[entry] = None
            else:
                entry.discarded_as = LOST
                for request in requests:
                    self.fail(request, failures.connection_lost(disconnect, sent=False))
        queue = self._sender.queue
        queue.restore(back)
        for entry in queue.remove_unsendable(written.number):
            for request in entry.reply_requests():
                self.fail(request, failures.connection_lost(disconnect, sent=False))

    def end_all(self, error: BaseException) -> None:
        """End every request with this error. Called by the I/O thread, or by the thread that closes a client whose I/O
        thread does not respond.
        """
        for request in self.table.everything():
            self.fail(request, copy_exception(error))

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _fail_removed(self, removed: Iterable[Outgoing], make_error: Callable[[], BaseException]) -> None:
        """End the requests of messages that were removed from the queue. May be called again after an interrupt."""
        requests = [request for message in removed for request in message.reply_requests()]
        if requests:
            call_uninterrupted(partial(self._fail_all, requests, make_error))  # other threads wait for them
        self._sender.changes.announce()

    def _fail_all(self, requests: Iterable[Request], make_error: Callable[[], BaseException]) -> None:
        for request in requests:
            self.fail(request, make_error())

    def _no_room(self, entry: Outgoing) -> RequestTimeout:
        """Return the error for a request or batch that the full queue did not take until its deadline."""
        reason = "the send queue had no room"
        held = self._sender.why_held()
        if held is not None:
            reason = f"{reason}; {held}"
        if self._sender.writer is None:
            reason = f"{reason}, and {self._facts.why_not_open()[0]}"
        request = entry.reply_requests()[0]
        return failures.timed_out("queued", self._name_of(request), request.deadline.seconds, reason)

    def _remove_from_queue(self, request: Request) -> None:
        """Remove a request that has ended from the queue, if it is there. If it is part of a batch, remove the batch
        when all its requests have ended.
        """
        batch = request.batch
        if batch is None:
            self._sender.queue.withdraw(request)
        elif batch.queued and batch.has_ended:
            self._sender.queue.withdraw(batch)

    def _after_end(self) -> None:
        """Called when a request has ended. If ``max_in_flight`` is set, write the next request. Wake the I/O thread if
        a drain may now be complete, or if a mark that was queued behind the request may now be written.
        """
        if self.protocol.max_in_flight is not None:
            self._sender.write_queued()
        self._sender.message_removed()

    def _drop_if_by_order(self, request: Request, error: WebSocketClientError) -> None:
        """Command the I/O thread to drop the connection if an ended request still keeps its position in the order of
        replies. If its reply never comes, the reply to a later request would be assigned to it.
        """
        written = request.written_on
        if written is not None and self.table.holds_position(request):
            self._commands.order_drop(written.number, error)
