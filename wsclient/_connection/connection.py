"""One connection, from the upgrade to the last byte.

The I/O thread runs everything here, except ``claim_on_close``. Other threads write through the connection's ``Writer``,
which is ``Sender.writer`` while the connection is open.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .._errors import MessageTooBig, ProtocolError, WebSocketClientError, text_of
from .._models import ConnectionInfo, Disconnect, Initiator, Uptime
from .._network.poller import READ
from .._requests import failures
from .._rfc6455.close import Close, CloseCode, build_close_payload
from .._rfc6455.deflate import Inflater
from .._rfc6455.frames import MessageReader, Opcode, Received
from .._rfc6455.url import redact
from .._sending.connection_facts import Replaced
from .._sending.message import Outgoing
from .._sending.writer import Writer
from .._threads.waiting import NEVER, Deadline
from .._threads.wakeup import CLOSED_BY_OTHER_CODE
from ..protocols import Request as Wrapped
from .keepalive import Heartbeats, PingSchedule
from .overdue import EndingOverdue

if TYPE_CHECKING:
    from .._network.connector import UpgradedConnection
    from .._network.poller import Poller
    from .._requests.written import WrittenRequests
    from ..protocols import Protocol
    from .context import ClientContext

__all__ = ["Connection"]

_READS_A_TURN: Final = 16
_TURN_SECONDS: Final = 0.05
"""The I/O thread reads at most this often, and for at most this many seconds, before it checks commands and timers
again. One read may contain 30 000 messages."""

_TEXT: Final = Opcode.TEXT
_BINARY: Final = Opcode.BINARY
"""Looked up once: access to an enum member costs more than the comparison that uses it."""

LINGER: Final = 0.5
"""Seconds for the peer to close TCP after both close frames (RFC 6455 §7.1.1 asks the server to close first). If the
peer violated the protocol, it is the time for the whole closing handshake."""

_PAUSED_CHECK: Final = 1.0
"""Seconds after which paused reading is checked again, also if no other thread has woken the I/O thread."""


class Ending(NamedTuple):
    """Why the connection ends. Until the peer closes TCP too, at the latest until the deadline, it is still served.

    Attributes:
        initiator, code, reason, error: as in ``Disconnect``.
        deadline: when to stop waiting for the peer.
        is_answered: whether the peer has answered the close frame with one that has the same code (RFC 6455 §5.5.1).
            Then it has received all messages before the close frame, unless both sides closed at the same moment.
    """

    initiator: Initiator
    code: int | None
    reason: str
    error: BaseException | None
    deadline: Deadline
    is_answered: bool = False


class Connection:
    """An upgraded connection.

    Attributes:
        number: 1 for the client's first connection.
        opened: its transport, subprotocol and headers.
        info: facts about it, for the user.
        writer: its ``Writer``.
        written: the requests in flight on it.
        protocol: its message protocol.
        heartbeats: its heartbeats.
        router: distributes the messages.
        ending: why it ends; None if it is not ending.
        over: whether it has ended, so that ``finish`` can be called.
        paused: whether reading waits, see ``ConnectionFacts.paused``.
    """

    __slots__ = (
        "_context", "_due_at", "_has_more", "_kept", "_on_close", "_opened_at", "_ping_schedule", "_poller",
        "_quiet_clock", "_reader", "_uptime", "ending", "heartbeats", "info", "number", "opened", "over", "paused",
        "protocol", "router", "writer", "written",
    )  # fmt: skip

    def __init__(
        self,
        context: ClientContext,
        poller: Poller,
        opened: UpgradedConnection,
        writer: Writer,
        written: WrittenRequests,
        protocol: Protocol,
    ) -> None:
        """
        Args:
            context: the client.
            poller: waits for the socket.
            opened: the upgraded connection.
            writer: its writer.
            written: the requests in flight on it.
            protocol: its message protocol; no other connection that is served at the same time uses the same object.
        """
        now = time.monotonic()
        self.number = writer.write_progress.number
        self.opened = opened
        self._uptime = Uptime()
        self.info = _facts(self.number, opened, self._uptime)
        self.writer = writer
        self.written = written
        self.protocol = protocol
        self.ending: Ending | None = None
        self.over = False
        self.paused = False
        self._context = context
        self._poller = poller
        self._ping_schedule = PingSchedule(
            context.settings.network.ping_interval, context.settings.network.ping_timeout, now
        )
        inflater = None if opened.agreement is None else Inflater(opened.agreement)
        limits = context.settings.network.limits
        self._reader = MessageReader(
            context.settings.bounds.max_message_size, limits.max_fragments, inflater, limits.max_inflated_bytes
        )
        # The messages that follow an array, while `router.backlog` contains the rest of the array; else None.
        self._kept: Iterator[Received] | None = None
        self._has_more = False  # whether `_kept`, `router.backlog` or `_reader` contains unprocessed input
        self._opened_at: float | None = None
        self._due_at = 0.0  # when the wait that `plan` has prepared ends; then `turn` checks everything that has a time
        self.heartbeats = Heartbeats(
            context.settings.heartbeat,
            protocol=protocol,
            requests=context.requests,
            table=context.table,
            hooks=context.hooks,
            counters=context.counters,
            answer_timeout=context.settings.network.ping_timeout,
        )
        self._quiet_clock = context.quiet.make_clock()
        self.router = context.make_router(writer, written, protocol, self._quiet_clock, self.heartbeats)
        self._on_close = [True]  # one item; the thread that removes it posts `on_close`

    @property
    def was_open(self) -> bool:
        """Whether it was ever open, that is, set up."""
        return self._opened_at is not None

    @property
    def was_useless(self) -> bool:
        """With ``quiet=``: whether no message that counts was received on it. Without: False."""
        return self._quiet_clock is not None and not self._quiet_clock.has_heard

    @property
    def has_unread(self) -> bool:
        """Whether reading is paused, or not everything that was read is processed."""
        return self.paused or self._has_more

    def claim_on_close(self) -> bool:
        """Return True for the first caller, which then posts ``on_close``, and False for all others.

        Any thread may call it: the removal of the item is atomic.
        """
        try:
            return self._on_close.pop()
        except IndexError:
            return False

    def share_on_close(self, old: Connection) -> None:
        """Make ``on_close`` be called once for this connection and ``old``, which it replaces: when this connection
        ends or, if the switch fails, when ``old`` ends. I/O thread only, before this connection opens.
        """
        self._on_close = old._on_close

    # --- called by the supervisor ------------------------------------------------------------------------------------

    def take_early(self) -> None:
        """Process the frames that came together with the response to the upgrade. This may run the user's code."""
        counters = self._context.counters
        before = counters.messages_received
        self._feed(self.opened.rest)
        if counters.messages_received != before:
            counters.last_message = counters.messages_received, time.monotonic()

    def open(self) -> None:
        """The set-up is complete: write what is queued, and let all threads write."""
        self._opened_at = time.monotonic()
        self.writer.is_open = self.ending is None  # the peer may have sent a close frame right after the 101 response
        self.heartbeats.begin(self._opened_at)
        self._context.quiet.opened(self._quiet_clock, self._opened_at)
        self._uptime.start(self._opened_at)
        self._context.facts.opened_at = self._opened_at
        self._context.facts.connection = self.info
        self._context.facts.failure = None
        self._context.sender.writer = self.writer
        self.writer.flush()

    def turn(self, until: Deadline, ready: int | None = None) -> None:
        """Wait until something happens, at most until ``until``, and handle it.

        Args:
            until: when to end the wait.
            ready: the events that are ready, if the caller has waited (for this connection and others, see ``plan``).
        """
        context, transport = self._context, self.opened.transport
        if ready is None:
            try:
                now = time.monotonic()
                events, at = self.plan(now, until)
                ready = self._poller.wait(transport.sock, events, at - now if at > now else 0.0)
            except OSError as error:
                self.break_off(error)
                return
        now = time.monotonic()
        if context.table.timers:
            # Before reading: if replies are correlated by order, a reply that is read now could belong to the next
            # request, but would be assigned to the request that has timed out.
            context.requests.expire(now)
        if context.commands.drop and self._is_to_be_dropped():
            if self.heartbeats.missed:  # its time-out has given the command to drop; report the heartbeat as the reason
                self._end_unanswered()
            return
        if ready & transport.read_event or (
            (self._has_more or (transport.may_hold and transport.pending())) and not self.paused
        ):
            self._read(now)
        if context.counters.messages_received != context.counters.last_message[0]:
            # Here and not in the router, since here it is done once for all messages that were read.
            context.counters.last_message = context.counters.messages_received, now
        if self.writer.blocked and ready & transport.write_event:
            self.writer.unblock()
        if self.ending is not None or self.writer.error is not None or self.heartbeats.missed or now >= self._due_at:
            self._handle_due(now)
        if context.subscriptions.unrouted.items or context.subscriptions.events:
            self.router.deliver_routed()
        writer = self.writer
        if (
            context.queue.entries or context.queue.handed_over or writer.urgent.entries or writer.rest
        ) and not self.over:
            writer.flush()  # at the end: it writes what any step above has queued
        if context.changes.latches:
            context.changes.announce()

    def close(
        self,
        code: int,
        reason: str,
        deadline: Deadline,
        *,
        error: WebSocketClientError | None = None,
        behind_queue: WebSocketClientError | None = None,
        initiator: Initiator = Initiator.LOCAL,
    ) -> None:
        """Start the closing handshake; on a connection that is already ending, only make the deadline earlier.

        Args:
            code: the close code to send.
            reason: the text to send.
            deadline: until when to wait for the peer.
            error: why the client closes the connection.
            behind_queue: the error with which later messages are refused. If it is given, all queued messages and the
                protocol's goodbye are sent before the close frame. None: the close frame is sent at once, and queued
                messages stay in the queue for the next connection.
            initiator: as in ``Disconnect``.
        """
        if self.ending is not None:
            self.ending = self.ending._replace(deadline=self.ending.deadline.sooner(deadline))
            return
        frame = Outgoing(Opcode.CLOSE, build_close_payload(code, reason), 0)
        ending = Ending(initiator, code, reason, error, deadline)
        if behind_queue is not None:
            self.ending = ending
            self.router.is_closing = True
            goodbye = self._make_goodbye()
            self._context.queue.seal(behind_queue, *([] if goodbye is None else [goodbye]), frame)
            self.writer.flush()
        else:
            self._end(ending)
            self.writer.send_first(frame)

    def _make_goodbye(self) -> Outgoing | None:
        """Return the last message of the protocol; None if it has none, or could not make it."""
        context = self._context
        try:
            message = self.protocol.goodbye()
            if message is None:
                return None
            if not isinstance(message, Wrapped):
                return context.requests.encode_one_way(message, connection_number=self.number)
            request = context.requests.make(message.message, NEVER, connection_number=self.number)
            context.table.add(request, timed=False)  # the end of the client ends it
        except BaseException as cause:  # SystemExit too: the client is closed nevertheless
            error = ProtocolError(f"The goodbye of the message protocol could not be created: {text_of(cause)}.")
            error.__cause__ = cause
            context.hooks.post_error(error)
            return None
        return request

    def finish(self) -> Disconnect:
        """Release everything. The connection must not be used afterwards.

        Returns:
            How it ended.
        """
        context = self._context
        now = time.monotonic()
        disconnect = self.disconnect(now)
        self._uptime.stop(now)
        if context.counters.messages_received != context.counters.last_message[0]:  # `_read_rest` has read more
            context.counters.last_message = context.counters.messages_received, now
        # Both are True if a defect has ended the switch, and both are False if the connection was never open.
        is_present, is_retiring = context.sender.writer is self.writer, context.sender.retiring is self.writer
        if is_present:
            context.facts.last = disconnect  # first, since a thread whose message becomes `lost` may read it
            context.sender.writer = None
            context.facts.opened_at = None
            context.facts.connection = None
        elif is_retiring:
            has_answered = self.ending is not None and self.ending.is_answered
            context.facts.add_replaced(self.number, Replaced(disconnect, has_answered))
        if is_retiring:
            context.sender.retiring = None
        context.facts.paused = False
        unwritten = self.writer.end()  # the messages that were not written completely
        if is_retiring:
            unwritten += context.sender.take_for_retiring()
        context.acknowledgements.drop_marks(self.number)
        if self.writer.tap is not None:
            self.writer.tap.lost(disconnect)
        self._poller.forget()
        self.opened.transport.close()
        context.requests.connection_ended(self.written, unwritten, disconnect)
        self.router.deliver_routed(everything=True)
        lost = failures.connection_lost(disconnect, sent=True)
        context.receivers.connection_lost(lost, self.number, is_gap=is_present)
        if is_present:
            context.quiet.closed()
        context.changes.announce()
        return disconnect

    # --- waiting -----------------------------------------------------------------------------------------------------

    def plan(self, now: float, until: Deadline, other_is_paused: bool = False) -> tuple[int, float]:
        """Prepare a wait for the socket, a timer or a command.

        Args:
            now: the time on the monotonic clock.
            until: when to end the wait.
            other_is_paused: whether reading is paused on another connection, for which the thread waits too.

        Returns:
            The events of the socket to wait for, and the time at which the wait must end.
        """
        context, writer, transport = self._context, self.writer, self.opened.transport
        facts, table, receivers, commands = context.facts, context.table, context.receivers, context.commands
        if table.handed_over:
            table.take_handed_over()  # if a request is handed over later, this thread is woken
        if context.recorder is not None:
            context.recorder.write()  # if a note is added later, this thread is woken
        # If another thread sets an earlier timer from now on, it will wake this thread.
        commands.sleeps_until = math.inf
        self.paused = False
        facts.paused = other_is_paused
        events = transport.read_event
        streams = receivers.streams
        others = streams.fed or streams.listening or receivers.handlers.pools or receivers.subscriptions.unrouted.items
        if writer.blocked or writer.bucket is not None or receivers.hooks.inbox.full or (others and receivers.full):
            facts.paused = True  # before the check: if another thread makes room from now on, it will wake this thread
            if facts.awaited_marks:
                context.acknowledgements.drop_finished_marks()
            self.paused = paused = writer.is_flooded_by_answers or (
                receivers.full and not self.router.must_keep_reading
            )
            facts.paused = paused or other_is_paused
            events = (0 if paused else events) | (transport.write_event if writer.blocked else 0)
            if paused and context.quiet.next_at != math.inf and context.sender.writer is writer:
                context.quiet.pause(now)
        if (self._has_more or (transport.may_hold and transport.pending())) and not self.paused:
            until = Deadline(now)
        if table.timers or self.ending is not None or self.paused or until.at is not None:
            at = self._next_timer(now, until)
        else:
            at = self._ping_schedule.next_at
            if self.heartbeats.next_at < at:
                at = self.heartbeats.next_at
            if context.starter.retry_at < at:
                at = context.starter.retry_at
            if context.quiet.next_at < at and context.sender.writer is writer:
                at = context.quiet.next_at
        if writer.bucket is not None or writer.pause.ends:
            at = min(at, writer.continues_at(now))
        commands.sleeps_until = self._due_at = at
        return events, at

    def _is_to_be_dropped(self) -> bool:
        """Return whether the connection must be dropped without further reads: replies are correlated by order, and one
        may be missing.
        """
        return self.number in self._context.commands.drop and self.was_open and self.ending is None

    def _next_timer(self, now: float, until: Deadline) -> float:
        """Return the latest time at which to wake; infinity for never."""
        at = self._context.starter.retry_at if until.at is None else min(until.at, self._context.starter.retry_at)
        if self._context.table.timers:
            at = min(at, self._context.table.next_deadline() or at)
        if self.ending is not None:
            last = self.ending.deadline.at
            return at if last is None else min(at, last)
        if self.paused:  # the clock of `quiet=` stands still
            at = min(at, now + _PAUSED_CHECK)
        elif self._context.sender.writer is self.writer:
            at = min(at, self._context.quiet.next_at)
        return min(at, self._ping_schedule.next_at, self.heartbeats.next_at)

    def _handle_due(self, now: float) -> None:
        """Handle deadlines, keepalive, threads that could not be started, and an error of the writer."""
        if now >= self._context.starter.retry_at:
            self._context.starter.retry()
        self._context.log.sum_up(now)
        if self.over:
            return
        if self.writer.error is not None:
            self._read_rest()
            self._end_now(Initiator.NETWORK, _broke(self.writer.error), self.writer.error)
        elif self.ending is not None:
            is_over = self.ending.deadline.passed(now)
            if is_over and self.ending.initiator is Initiator.RENEWAL:
                self._read_rest()  # deliver what arrived while this thread was busy elsewhere
            self.over = self.over or is_over
            if is_over and self.ending.initiator is Initiator.LOCAL:
                # The close frame may be behind messages that wait for a token. (If it was sent, this has no effect.)
                code, reason = self.ending.code or CloseCode.NORMAL, self.ending.reason
                self.writer.send_first(Outgoing(Opcode.CLOSE, build_close_payload(code, reason), 0))
        elif self.heartbeats.missed:
            self._end_unanswered()
        else:
            self._keep_alive(now)

    def _keep_alive(self, now: float) -> None:
        if self._ping_schedule.dead(now) and not self._read_unread(now):
            silence = now - self._ping_schedule.last_heard
            self._end_now(Initiator.KEEPALIVE, f"the peer was silent for {silence:.1f} s", None)
        else:
            self.heartbeats.send_if_due(self.writer, now, is_alone=self._context.sender.retiring is None)
            if self._ping_schedule.ping_due(now):
                payload = os.urandom(8)
                self._ping_schedule.pinged(payload, now)
                self.writer.send_first(Outgoing(Opcode.PING, payload, 0))
            if now >= self._context.quiet.next_at and self._context.sender.writer is self.writer:
                self._look_for_quiet(now)

    def _look_for_quiet(self, now: float) -> None:
        """Handle what is due for ``quiet=`` and ``quiet_after=``."""
        if not self.paused:
            self._read_unread(now)  # messages that came while this thread waited for the interpreter
        stale = self._context.quiet.handle_due(now, is_paused=self.paused) if self.ending is None else []
        if stale:
            with EndingOverdue(self._context):  # if the message is a function of the user, it is called now
                for subscription in stale:
                    subscription.resubscribe_after_quiet(self.writer, self.number)

    def _end_unanswered(self) -> None:
        self._end_now(Initiator.KEEPALIVE, "a heartbeat was not answered", None)

    def _read_unread(self, now: float) -> bool:
        """Read what has arrived, unless reading is paused; return whether there was anything.

        Called before the peer counts as dead, or the connection as quiet: this thread or the process may have been
        suspended meanwhile.
        """
        transport = self.opened.transport
        try:
            has_bytes = self._has_more or transport.pending() or self._poller.wait(transport.sock, READ, 0.0)
        except OSError:  # pragma: no cover  (other code closes the socket after the wait of this turn)
            return False
        if has_bytes:
            if not self.paused:
                self._read(now)  # pragma: no cover  (they came while the thread was suspended after its wait)
            self._ping_schedule.heard(now)
            return True
        return False

    # --- reading -----------------------------------------------------------------------------------------------------

    def _read(self, now: float) -> bool:
        """Process the unprocessed input of earlier reads, then read what has arrived; return whether there was any."""
        transport, schedule = self.opened.transport, self._ping_schedule
        enough = now + _TURN_SECONDS
        for number in range(_READS_A_TURN):
            if self._has_more:
                self._feed(b"")
            else:
                try:
                    size = self._reader.read_size
                    # For TCP as `Transport.receive`, with one call less.
                    data = transport.sock.recv(size) if transport.is_plain else transport.receive(size)
                except BlockingIOError:
                    return number > 0
                except OSError as error:
                    self._end_now(Initiator.NETWORK, _broke(error), error)
                    return number > 0
                if not data:
                    if data is not None:
                        self._end_now(Initiator.NETWORK, "the peer closed the connection without a close frame", None)
                    return number > 0
                schedule.last_heard = now
                if schedule.unanswered:
                    schedule.heard(now)
                self._feed(data)
                if transport.short_means_empty and len(data) < size and not self._has_more:
                    break
            now = time.monotonic()
            if (
                now > enough
                or self.writer.is_flooded_by_answers
                or (self._context.receivers.full and not self.router.must_keep_reading)
            ):
                break
        return True

    def _read_rest(self) -> None:
        """Read what arrived before the connection broke: the peer's close frame may contain the reason.

        Bytes of earlier reads that are not processed yet are processed first. A pause of reading has no effect here:
        messages for which a queue has no room are dropped and counted. After ``LINGER`` seconds the rest is not read.
        """
        self.router.is_closing = True
        soon = Deadline.after(LINGER, time.monotonic())
        while not (self.over or soon.passed(time.monotonic())):
            if not self._read(time.monotonic()):
                return

    def _feed(self, data: bytes) -> None:
        """Process received bytes. If ``data`` is empty, process the rest of earlier bytes (see ``_has_more``)."""
        tap, router, reader = self.writer.tap, self.router, self._reader
        receive = router.receive
        if tap is not None:
            self.writer.wait_for_writer()  # a message that may have caused these bytes is recorded before them
        messages = self._kept
        try:
            if messages is None:
                messages = iter(reader.feed(data))
            else:
                self._kept = None
                self._continue_array()
            if router.backlog is None:
                for opcode, payload, size in messages:
                    if tap is not None:
                        tap.received(opcode, payload)
                    if opcode is _TEXT or opcode is _BINARY:
                        try:
                            receive(payload, size)
                        except (ProtocolError, MessageTooBig):
                            raise
                        except BaseException as error:  # SystemExit too: the fault concerns only this message
                            self._skip(payload, error)
                        if router.backlog is not None:
                            break
                    else:
                        self._take_control(opcode, payload)
        except (ProtocolError, MessageTooBig) as error:  # raised by the message protocol, the router or `_skip`
            router.backlog = None
            is_large = isinstance(error, MessageTooBig)
            self._refuse(CloseCode.MESSAGE_TOO_BIG if is_large else CloseCode.PROTOCOL_ERROR, error)
        if router.backlog is not None:
            self._kept, self._has_more = messages, True
            return
        self._has_more = reader.is_held
        failure = reader.failure
        if failure is not None:
            self._refuse(failure.code, failure.error)

    def _continue_array(self) -> None:
        """Process further messages of an array."""
        backlog = self.router.backlog
        try:
            self.router.process_backlog()
        except (ProtocolError, MessageTooBig):
            raise
        except BaseException as error:  # SystemExit too: the fault concerns only this message
            self._skip("" if backlog is None else backlog.payload, error)

    def _skip(self, payload: str | bytes, cause: BaseException) -> None:
        """Report a message whose processing raised an error; the next message is processed as usual.

        Raises:
            ProtocolError: replies are correlated by their order alone, and this message may have been one.
        """
        error = ProtocolError(
            f"A message could not be processed and is skipped ({type(cause).__name__}: {text_of(cause)}).",
            payload=payload,
        )
        if self.protocol.replies_in_order:
            raise error from cause
        error.__cause__ = cause
        self._context.log.write(logging.ERROR, "a message could not be processed and is skipped.", error=cause)
        self._context.hooks.post_event("on_error", error)

    def _take_control(self, opcode: Opcode, payload: Any) -> None:
        if opcode is Opcode.PING:
            self.writer.send_first(Outgoing(Opcode.PONG, payload, 0))
            self._context.hooks.post_event("on_ping", payload)
        elif opcode is Opcode.PONG:
            self._take_pong(payload)
        else:
            self._take_close(payload)

    def _take_pong(self, payload: bytes) -> None:
        matched = self.writer.pong(payload, time.monotonic())
        if matched is not None:
            if (
                self._context.sender.writer is self.writer
            ):  # `latency` is that of the connection that takes new messages
                self._context.counters.add_round_trip(matched.seconds)
            for known in matched.payloads:
                self._ping_schedule.answered(known)
        self._context.hooks.post_event("on_pong", payload)

    # --- ending ------------------------------------------------------------------------------------------------------

    def _take_close(self, close: Close) -> None:
        soon = Deadline.after(LINGER, time.monotonic())
        if self.ending is not None:
            is_answered = close.code == self.ending.code
            self.ending = self.ending._replace(deadline=self.ending.deadline.sooner(soon), is_answered=is_answered)
            return
        self._end(Ending(Initiator.REMOTE, close.code, close.reason, None, soon))
        self.writer.send_first(Outgoing(Opcode.CLOSE, build_close_payload(close.answer, ""), 0))

    def _refuse(self, code: CloseCode, error: WebSocketClientError) -> None:
        """Close the connection because the peer violated the protocol, and report this to the user."""
        if self.ending is None:
            self._context.hooks.post_error(error)
            self.close(code, "", Deadline.after(LINGER, time.monotonic()), error=error)

    def _end(self, ending: Ending) -> None:
        """Store why the connection ends. From now on queued messages are not written on it; written requests fail."""
        self.ending = ending
        self.router.is_closing = True
        self.writer.is_open = False
        self._context.requests.fail_written(self.written, self.disconnect(time.monotonic()))

    def _end_now(self, initiator: Initiator, reason: str, error: BaseException | None) -> None:
        """End without a closing handshake, since the connection is broken or the peer does not answer. Queued messages
        wait for the next connection.
        """
        self.over = True
        self.router.is_closing = True
        self.writer.is_open = False
        if self.ending is None:
            self.ending = Ending(initiator, None, reason, error, Deadline(None))

    def break_off(self, error: OSError) -> None:
        """End the connection because of an error of its socket, or of the wait for it."""
        self._end_now(Initiator.NETWORK, _broke(error), error)

    def disconnect(self, now: float) -> Disconnect:
        """Return how it ends, as far as that is known now."""
        ending = self.ending or Ending(Initiator.LOCAL, None, "", None, Deadline(None))
        uptime = 0.0 if self._opened_at is None else now - self._opened_at
        idle = now - self._ping_schedule.last_heard
        code = None if ending.code is None else int(ending.code)  # a plain int, since the enum is private
        return Disconnect(ending.initiator, code, ending.reason, ending.error, uptime, idle)


def _broke(error: OSError) -> str:
    """Return the reason for a connection that ended with this error."""
    if error.errno in CLOSED_BY_OTHER_CODE:
        return f"other code of this program has closed the client's socket: {error}"
    return f"the connection broke: {error}"


def _facts(number: int, opened: UpgradedConnection, uptime: Uptime) -> ConnectionInfo:
    """Return the facts that ``client.connection`` offers."""
    sock = opened.transport.sock
    return ConnectionInfo(
        number=number,
        url=redact(opened.target.url),
        subprotocol=opened.subprotocol,
        headers=opened.headers,
        local_address=_address(sock.getsockname),
        remote_address=_address(sock.getpeername),
        compression=None if opened.agreement is None else "deflate",
        tls_version=opened.tls_version,
        cipher=opened.cipher,
        _uptime=uptime,
    )


def _address(ask: Callable[[], Any]) -> Any:
    """Return the address of one end of a socket; None if the system has none, after a reset by the peer."""
    try:
        return ask()
    except OSError:
        return None
