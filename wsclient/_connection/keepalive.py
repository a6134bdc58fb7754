"""Keepalive: when to send a ping, when a peer counts as dead, and heartbeats, which are ordinary messages.

``PingSchedule`` reads no clock: callers pass ``now``, from ``time.monotonic()``. I/O thread only.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from .._errors import ProtocolError, RequestTimeout, text_of
from .._models import Phase
from .._threads.waiting import NEVER, Deadline
from ..protocols import Request as Wrapped

if TYPE_CHECKING:
    from .._options import Heartbeat
    from .._receiving.hooks import Hooks
    from .._requests.requests import Requests
    from .._requests.table import RequestTable
    from .._sending.message import Outgoing
    from .._sending.writer import Writer
    from .._stats import Counters
    from ..protocols import Protocol

__all__ = ["Heartbeats", "PingSchedule", "check_encodable"]

_CHECKS: Final = 4
"""How often per interval ``only_if_idle`` checks whether messages were sent."""


class PingSchedule:
    """When to send a WebSocket ping, and when the peer counts as dead (RFC 6455 §5.5.2).

    A ping is due every ``interval`` seconds. The peer counts as dead if a ping is unanswered and no byte has arrived
    for ``timeout`` seconds, counted from the last byte or from the oldest unanswered ping, whichever is later. The time
    of a ping is the moment at which the I/O thread queues it, since its write may be blocked: a peer that no longer
    reads blocks writes, and must be detected too. So a half-open peer is detected at most ``interval + timeout`` after
    its last byte, unless the I/O thread is delayed.

    Any byte shows that the peer is alive, so a pong may be delayed by a large message. Not thread-safe: only the I/O
    thread uses it.

    Attributes:
        last_heard: when bytes arrived last.
        next_at: the next moment at which ``ping_due`` or ``dead`` may change; infinity if never.
        unanswered: payload and time of each ping without a pong; other classes only check whether it is empty.
    """

    __slots__ = ("_interval", "_next_ping", "_timeout", "last_heard", "next_at", "unanswered")

    def __init__(self, interval: float | None, timeout: float | None, now: float) -> None:
        """
        Args:
            interval: seconds between pings; None for no pings.
            timeout: seconds without a byte after which the peer counts as dead; None for no limit.
            now: when the connection opened.
        """
        self._interval = interval
        self._timeout = timeout
        self._next_ping = math.inf if interval is None else now + interval
        self.unanswered: list[tuple[bytes, float]] = []
        self.last_heard = now
        self.next_at = self._next_ping

    def heard(self, now: float) -> None:
        """Called when bytes of any kind have arrived."""
        self.last_heard = now
        if self.unanswered:
            self._update_next_at()

    def ping_due(self, now: float) -> bool:
        """Return whether a ping is due."""
        return now >= self._next_ping

    def pinged(self, payload: bytes, now: float) -> None:
        """Called when the due ping is being sent; ``payload`` identifies its pong."""
        if self._interval is not None:
            self._next_ping = now + self._interval
        # Without a timeout `unanswered` is never read, and would grow if the peer never answers.
        if self._timeout is not None:
            self.unanswered.append((payload, now))
        self._update_next_at()

    def answered(self, payload: bytes) -> None:
        """Remove the pings that a pong answers: its own ping and all earlier ones (RFC 6455 §5.5.3)."""
        if any(known == payload for known, _ in self.unanswered):
            while self.unanswered.pop(0)[0] != payload:
                pass
            self._update_next_at()

    def dead(self, now: float) -> bool:
        """Return whether the peer has been silent for too long."""
        return now >= self._dead_at()

    def _update_next_at(self) -> None:
        self.next_at = min(self._next_ping, self._dead_at())

    def _dead_at(self) -> float:
        """Return when the peer counts as dead if no byte arrives until then; infinity if never."""
        if self._timeout is None or not self.unanswered:
            return math.inf
        return max(self.unanswered[0][1], self.last_heard) + self._timeout


class Heartbeats:
    """The heartbeats on one connection: those of the option ``heartbeat=``, or of the message protocol. I/O thread
    only.

    Attributes:
        every: the interval that ``session.heartbeat()`` has set for this connection, in seconds; None if the configured
            one applies.
        next_at: when the next one may be due; infinity if there is none.
        missed: whether an answer was not received in time.
    """

    __slots__ = ("_answer_timeout", "_checked_at", "_counters", "_hooks", "_idle_since", "_last", "_option",
                 "_protocol", "_requests", "_sent", "_table", "_writer", "every", "missed", "next_at")  # fmt: skip

    def __init__(
        self,
        option: Heartbeat | None,
        *,
        protocol: Protocol,
        requests: Requests,
        table: RequestTable,
        hooks: Hooks,
        counters: Counters,
        answer_timeout: float | None,
    ) -> None:
        """
        Args:
            option: the client's option ``heartbeat``; None for the heartbeat that the protocol defines.
            protocol: may define the messages and their interval.
            requests: encodes them.
            table: the requests that have not ended.
            hooks: reports an error of the user's code.
            counters: count the messages that the client has sent.
            answer_timeout: seconds to wait for an answer; None waits for one interval.
        """
        self._option = option
        self._protocol = protocol
        self._requests = requests
        self._table = table
        self._hooks = hooks
        self._counters = counters
        self._answer_timeout = answer_timeout
        self._last: Outgoing | None = None  # the last heartbeat
        self._writer: Writer | None = None  # of the connection, once a heartbeat was sent that needs an answer
        self.every: float | None = None
        self.next_at = math.inf
        self.missed = False
        # For `only_if_idle`: the number of sent messages at the last check, the time of this check, and the time at
        # which the last message counts as sent (see `_is_idle`).
        self._sent = 0
        self._checked_at = self._idle_since = math.inf

    @property
    def interval(self) -> float | None:
        """Seconds between two heartbeats on this connection; None if there are none."""
        if self._option is not None:
            every = self._option.every
        elif self._protocol.heartbeat is not None:
            every = self._protocol.heartbeat[0]
        else:
            return None
        return every if self.every is None else self.every

    def begin(self, now: float) -> None:
        """Start the interval, when the connection opens."""
        every = self.interval
        if every is not None:
            self._sent = self._counters.messages_sent
            self._checked_at = self._idle_since = now
            self._plan(every, now)

    def send_if_due(self, writer: Writer, now: float, *, is_alone: bool = True) -> None:
        """Send a heartbeat if one is due.

        Args:
            writer: the writer of the connection.
            now: the time on the monotonic clock.
            is_alone: whether the client has no other open connection.
        """
        every = self.interval
        if every is None or now < self.next_at:
            return
        if self._only_if_idle and not self._is_idle(every, now, is_alone=is_alone):
            self._plan(every, now)
            return
        self._idle_since = now
        self._plan(every, now)
        if self._last in writer.urgent.entries:
            return  # it still waits for a token, or for room in the socket; a further heartbeat would wait behind it
        try:
            self._send(writer, self._make(), now, self._answer_timeout or every)
        except BaseException as cause:  # SystemExit too: the fault concerns only this heartbeat
            error = ProtocolError(f"A heartbeat could not be created: {text_of(cause)}.")
            error.__cause__ = cause
            self._hooks.post_error(error)

    def complete(self, value: Any, error: BaseException | None) -> None:
        """Called when the request of a heartbeat ends (this object is its ``waiter``): store whether it timed out.

        A heartbeat that still waits for a token of ``rate=`` is not counted, since the peer could not answer it. One
        that waits for room in the socket is counted, since the peer does not read.
        """
        if isinstance(error, RequestTimeout) and not (error.phase is Phase.QUEUED and self._is_paced):
            self.missed = True

    @property
    def _is_paced(self) -> bool:
        writer = self._writer
        return writer is not None and writer.bucket is not None and not writer.blocked

    @property
    def _only_if_idle(self) -> bool:
        return self._option is not None and self._option.only_if_idle

    def _plan(self, every: float, now: float) -> None:
        """Set the time of the next heartbeat, or of the next check whether messages were sent."""
        self.next_at = min(self._idle_since + every, now + every / _CHECKS) if self._only_if_idle else now + every

    def _is_idle(self, every: float, now: float, *, is_alone: bool) -> bool:
        """Return whether no message was sent for one interval.

        The time of a message is not stored, since this would slow down each message. Instead, a message counts as sent
        at the time of the last check before it. While two connections are open, messages are not considered, since
        they may have been sent on the other connection. Then a heartbeat may be sent that was not needed.
        """
        sent = self._counters.messages_sent
        if sent != self._sent and is_alone:
            self._idle_since = self._checked_at
        self._sent = sent
        self._checked_at = now
        return now >= self._idle_since + every

    def _make(self) -> Any:
        """Return the message of a heartbeat."""
        option = self._option
        if option is not None:
            return option.message() if callable(option.message) else option.message
        assert self._protocol.heartbeat is not None
        return self._protocol.heartbeat[1]()

    def _send(self, writer: Writer, message: Any, now: float, seconds: float) -> None:
        """Send a heartbeat; ``seconds`` is the time for its answer, if it needs one."""
        number = writer.write_progress.number
        if not isinstance(message, Wrapped):
            beat = self._requests.encode_one_way(message, connection_number=number, protocol=self._protocol)
            if writer.tap is not None:
                writer.tap.heartbeat(beat)
            self._last = beat
            writer.send_first(beat)
            return
        request = self._requests.make(
            message.message, Deadline.after(seconds, now), connection_number=number, protocol=self._protocol
        )
        request.waiter = self
        self._writer = writer
        self._table.add(request, timed=True)
        if writer.tap is not None:
            writer.tap.heartbeat(request)
        self._last = request
        writer.send_first(request)


def check_encodable(heartbeat: Heartbeat | None, requests: Requests) -> None:
    """Encode the message of a ``Heartbeat`` once, so that a message that can't be sent is refused at construction. What
    a function returns is not checked.

    Args:
        heartbeat: the option; None for none.
        requests: encodes messages.

    Raises:
        TypeError, ValueError: it can't be encoded, or the protocol has no requests.
    """
    if heartbeat is None or callable(heartbeat.message):
        return
    message = heartbeat.message
    try:
        if isinstance(message, Wrapped):
            requests.make(message.message, NEVER)
        else:
            requests.encode_one_way(message)
    except Exception as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        text = f"The message of heartbeat= can't be encoded ({type(error).__name__}: {text_of(error)})."
        raise kind(text) from error
