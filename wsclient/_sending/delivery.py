"""The state of a sent message, the wait for the proof that it arrived, and the round trip of a ping.

A proof is a pong or a reply whose ping or request was sent after the message: TCP keeps the order, and the peer's
WebSocket layer answers in order. ``Delivery.wait`` and ``flush`` queue a ping of their own behind the message. If pings
are off, they only wait until the operating system has accepted the message. ``ping`` queues its ping before all
messages, also if pings are off.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from .._errors import ClientClosed, ConnectionLost, FlushTimeout, RequestTimeout, copy_exception
from .._models import DeliveryState, Phase, State
from .._threads.sections import this_thread
from .._threads.state import FINAL
from .._threads.waiting import Deadline
from .message import CANCELLED, CONFIRMED, EXPIRED, LOST, QUEUED, UNKNOWN, WRITTEN, Mark, Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._threads.commands import Commands
    from .._threads.guard import Guard
    from .connection_facts import ConnectionFacts, Replaced
    from .sender import Sender

__all__ = ["Acknowledgements", "Delivery"]

_NOT_SENT = frozenset({CANCELLED, EXPIRED, LOST})
_OVER = _NOT_SENT | {UNKNOWN}
_UNTIL_OPEN = frozenset({State.CONNECTING, State.WAITING})


class Delivery:
    """The result of ``send()``: it reports the state of the message. Thread-safe; costs nothing until it is used."""

    __slots__ = ("_acknowledgements", "_entry")

    def __init__(self, entry: Outgoing, acknowledgements: Acknowledgements) -> None:
        """For the client only; ``send()`` makes it."""
        self._entry = entry
        self._acknowledgements = acknowledgements

    @property
    def state(self) -> DeliveryState:
        """The state of the message.

        * ``queued``: the message is not written completely yet.
        * ``written``: the operating system has accepted the whole message.
        * ``confirmed``: a later pong or reply proves that the peer's WebSocket layer has received the message.
        * ``expired``: the message was not sent before its time had passed.
        * ``lost``: the message did not arrive.
        * ``unknown``: the message was written completely, and the connection ended before a proof.
        * ``cancelled``: ``cancel()`` or ``client.clear_queue()`` removed the message from the queue.
        """
        return self._acknowledgements.state_of(self._entry)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the proof that the message arrived; if pings are off, until it is written.

        Args:
            timeout: seconds; None waits without a limit.

        Returns:
            True if the proof came (if pings are off: if it was written); False if the message is ``expired``, ``lost``,
            ``unknown`` or ``cancelled``, or if the timeout passed first.

        Raises:
            WouldDeadlock: called on the I/O thread.
        """
        return self._acknowledgements.wait(self._entry, timeout)

    def cancel(self) -> bool:
        """Remove the message from the queue, if it is still there. Any thread may call it, any number of times.

        Returns:
            True if the message will not be sent: its state is ``cancelled``, or it was ``expired`` or ``lost`` before.
            False if it is written, or the connection has begun to write it. (If that connection ends in the middle of
            the message, it returns to the queue, and can be cancelled there.) Also False inside a critical section of
            the calling thread, as in a finalizer that interrupted a call of the client; the I/O thread then cancels the
            message a moment later.
        """
        return self._acknowledgements.cancel(self._entry)

    def __repr__(self) -> str:
        return f"<Delivery {self.state}>"


class Acknowledgements:
    """Waits for the proof that messages of one client arrived, by means of marks in the send queue. Thread-safe."""

    __slots__ = ("_commands", "_facts", "_guard", "_has_pings", "_later", "_sender")

    def __init__(
        self,
        sender: Sender,
        facts: ConnectionFacts,
        guard: Guard,
        commands: Commands,
        later: Callable[[Callable[[Outgoing], object], Outgoing], object],
        *,
        has_pings: bool,
    ) -> None:
        """
        Args:
            sender: writes the marks.
            facts: holds the marks whose pong is awaited.
            guard: raises for calls that can't work in this state or on this thread.
            commands: wakes the I/O thread.
            later: calls a function with one argument on the I/O thread.
            has_pings: whether pings are on. If they are, a pong is the proof; otherwise the write of the last byte is
                taken as the proof.
        """
        self._sender = sender
        self._facts = facts
        self._guard = guard
        self._commands = commands
        self._later = later
        self._has_pings = has_pings

    def state_of(self, entry: Outgoing) -> DeliveryState:
        """Return the state of a message; see ``Delivery.state``."""
        self._guard.check_fork("state of a delivery")
        if not this_thread.inside():  # no lock may be taken inside a section; `take` drops an expired message later
            self._sender.queue.expire(entry)
        return entry.state

    def cancel(self, entry: Outgoing) -> bool:
        """Remove a message from the queue; see ``Delivery.cancel``."""
        self._guard.check_fork("cancel() of a delivery")
        if entry.state in _NOT_SENT:
            return True
        if this_thread.inside():  # no lock may be taken here
            self._later(self.cancel, entry)
            return False
        try:
            self._sender.queue.withdraw(entry, CANCELLED)
        finally:  # an interrupt may have occurred after the message was removed
            self._sender.changes.announce()
            self._sender.message_removed()
        return entry.state in _NOT_SENT

    def wait(self, entry: Outgoing, timeout: float | None) -> bool:
        """Wait for the proof; see ``Delivery.wait``."""
        self._guard.check_may_wait("wait() of a delivery", "Look at .state instead.")
        deadline = Deadline.after(timeout, time.monotonic())
        mark: Mark | None = None
        try:
            while (state := self.state_of(entry)) not in _OVER:
                if self._is_proven(state):
                    return True
                if state is WRITTEN and mark is None:
                    # Bind the mark to the connection that wrote the message: a pong on another connection proves
                    # nothing.
                    position = entry.position
                    mark = self._make_mark(None if position is None else position[0].number)
                    if not self._queue_mark(mark, first=True):  # the message is written, so the ping is behind it
                        return False
                    continue
                if not self._wait_for_change(entry, state, deadline):
                    return False
            return False
        finally:
            if mark is not None:
                self._forget_mark(mark)

    def flush(self, timeout: float) -> None:
        """Wait until the messages that are queued now are written and, if pings are on, a pong proves that they
        arrived.

        Args:
            timeout: seconds.

        Raises:
            ConnectionLost: the connection ended during the wait.
            FlushTimeout: the timeout passed.
            ClientClosed: the client was closed, failed or was never started.
        """
        deadline = Deadline.after(timeout, time.monotonic())
        self._wait_for_connection("flush()", timeout, deadline, FlushTimeout)
        mark = self._make_mark(self._sender.connection_number, spans=True)
        twin: Mark | None = None
        is_twin = False
        try:
            while not self._register(mark):
                mark = self._make_mark(self._sender.connection_number, spans=True)
            twin = self._make_twin(mark)
            if not (self._queue_mark(mark) and (twin is None or self._queue_mark(twin, first=True, behind_own=True))):
                raise self._guard.closed_error("flush()")
            while (state := mark.state) not in _OVER:  # read once: it may change at any moment
                if self._is_proven(state):
                    if mark.twin is None:
                        return
                    self._forget_mark(mark)
                    mark, is_twin = mark.twin, True  # now wait for the proof on the connection that was replaced
                    continue
                if not self._wait_for_change(mark, state, deadline):
                    if self._guard.state.current in FINAL:
                        raise self._guard.closed_error("flush()")
                    is_queued = mark.state is QUEUED
                    what = "messages are still queued" if is_queued else "no pong came, so the peer may be dead"
                    if is_queued and (held := self._sender.why_held()) is not None:
                        what = f"{what}, since {held}"
                    phase = Phase.QUEUED if is_queued else Phase.WAITING
                    raise FlushTimeout(f"flush() did not finish within {timeout:g} s: {what}.", phase=phase)
        finally:
            for one in (mark, mark.twin, twin):
                if one is not None:
                    self._forget_mark(one)
        replaced = self._replaced(mark)
        if replaced is None or not (is_twin and replaced.has_answered):
            words = "The connection ended before flush() had proof that everything arrived."
            raise ConnectionLost(words, disconnect=self._facts.last if replaced is None else replaced.disconnect)

    def ping(self, timeout: float) -> float:
        """Send a ping and wait for the pong that answers it.

        The ping is written before all queued messages, and after the bytes that are already being written. Its time in
        the queue counts for ``timeout``, not for the round trip.

        Args:
            timeout: seconds, for a connection, the queue and the pong together.

        Returns:
            Seconds from the framing of the ping, just before its write, until the pong was read. A pong that answers a
            later ping answers this one too (RFC 6455 §5.5.3).

        Raises:
            ConnectionLost: the connection ended during the wait.
            RequestTimeout: no pong came in time.
            ClientClosed: the client was closed, failed or was never started.
        """
        deadline = Deadline.after(timeout, time.monotonic())
        self._wait_for_connection("ping()", timeout, deadline, RequestTimeout)
        mark = Mark(os.urandom(8), self._sender.connection_number)
        try:
            if not self._queue_mark(mark, first=True):
                raise self._guard.closed_error("ping()")
            while mark.round_trip is None and not _is_over(mark):
                if not self._wait_for_pong(mark, deadline):
                    if self._guard.state.current in FINAL:
                        raise self._guard.closed_error("ping()")
                    raise _no_pong(mark, timeout)
        finally:
            self._forget_mark(mark)
        if mark.round_trip is None:
            words = "The connection ended before the pong came for ping()."
            raise ConnectionLost(words, disconnect=self._facts.last)
        return mark.round_trip

    # --- marks -------------------------------------------------------------------------------------------------------

    def _is_proven(self, state: DeliveryState) -> bool:
        return state is CONFIRMED or (state is WRITTEN and not self._has_pings)

    def _make_mark(self, connection_number: int | None, *, spans: bool = False) -> Mark:
        return Mark(os.urandom(8) if self._has_pings else None, connection_number, spans=spans)

    def _register(self, mark: Mark) -> bool:
        """Register the mark of a ``flush()`` before it is queued, so that ``span`` finds it.

        Returns:
            False if a renewal has replaced the mark's connection since the mark was made. The mark must not be queued
            then, since ``span`` may not have found it. True otherwise, also if the connection has ended without a
            proof that everything arrived there: the mark then becomes ``lost`` when it is queued.
        """
        sender = self._sender
        self._facts.awaited_marks[mark] = None
        number = mark.connection_number  # read after the registration, since `span` may have changed it
        if number == sender.connection_number:
            return True
        retiring = sender.retiring
        if retiring is None or number != retiring.write_progress.number:
            replaced = self._replaced(mark)  # read after `retiring`
            if replaced is None or not replaced.has_answered:
                return True
        self._facts.awaited_marks.pop(mark, None)
        return False

    def _make_twin(self, mark: Mark) -> Mark | None:
        """Make the twin of a ``flush()``'s mark on the replaced connection, and return it. None if there is no such
        connection any more, or if ``span`` makes the twin.
        """
        retiring = self._sender.retiring
        # The I/O thread assigns `retiring` first. `span` then assigns `mark.twin`, and after that the mark's
        # `connection_number`. So if `span` has changed the number, the twin exists.
        if retiring is None or mark.connection_number == retiring.write_progress.number or mark.twin is not None:
            return None
        mark.twin = twin = self._make_mark(retiring.write_progress.number)
        return twin

    def _queue_mark(self, mark: Mark, *, first: bool = False, behind_own: bool = False) -> bool:
        """Queue a mark; False if the queue accepts no more marks. If its connection has ended, the mark is ``lost``.

        Args:
            mark: the mark.
            first: before everything that is queued.
            behind_own: see ``MessageQueue.put_first``.
        """
        sender = self._sender
        try:
            if first:
                sender.queue.put_first(mark, behind_own=behind_own)
            else:
                sender.queue.put(mark, Deadline(None), [], may_wait=False)
        except ClientClosed:
            return False
        self._facts.awaited_marks[mark] = None
        sender.write_queued()
        if self._facts.paused:
            self._commands.wake()  # the pong must be read even if receive queues are full
        if sender.is_too_late(mark):
            sender.queue.withdraw(mark)
        return True

    def _forget_mark(self, mark: Mark) -> None:
        """Withdraw a mark that the caller no longer waits for; it is not sent if it is still queued."""
        self._facts.awaited_marks.pop(mark, None)
        number = mark.connection_number
        writer = None if number is None else self._sender.writer_of(number)
        if not self._sender.queue.withdraw(mark) and mark.key is not None and writer is not None:
            writer.forget_ping(mark.key)

    def drop_finished_marks(self) -> None:
        """Remove the marks whose result is known (the pong came, or can't come any more). As long as
        ``ConnectionFacts.awaited_marks`` contains a mark, full queues do not pause reading. I/O thread only.

        The waiting thread removes its mark itself, unless an interrupt stops it first.
        """
        for mark in list(self._facts.awaited_marks):
            if mark.round_trip is not None or _is_over(mark) or (mark.key is None and mark.is_written()):
                self._facts.awaited_marks.pop(mark, None)

    def span(self, old: int, new: int) -> None:
        """Extend each running ``flush()`` to both connections of a renewal, if its mark is still queued.

        The mark stays in the queue, so the new connection sends it. A second mark, its twin, is sent on the old
        connection, to prove what was written there. The twin goes before the queue, since ``rate=`` or a pause may hold
        the queue back until the old connection has ended. I/O thread only, while no thread can take messages from the
        queue.

        Args:
            old: the number of the connection that is replaced.
            new: that of the connection that takes over.
        """
        for mark in list(self._facts.awaited_marks):
            if mark.spans and mark.connection_number == old and mark.position is None and mark.discarded_as is None:
                if mark.twin is not None and not self._has_arrived(mark.twin):
                    # The twin is from an earlier renewal. Its connection has ended without a proof, so the flush fails.
                    mark.connection_number = mark.twin.connection_number
                    self._sender.queue.withdraw(mark)
                    continue
                mark.twin = twin = self._make_mark(old)
                mark.connection_number = new
                self._facts.awaited_marks[twin] = None
                with contextlib.suppress(ClientClosed):  # then the flush ends as well
                    self._sender.queue.put_first(twin, behind_own=True)

    def _has_arrived(self, twin: Mark) -> bool:
        """Return whether all messages that were written before a twin have arrived. Its connection has ended."""
        replaced = self._replaced(twin)
        return self._is_proven(twin.state) or (replaced is not None and replaced.has_answered)

    def _replaced(self, mark: Mark) -> Replaced | None:
        """Return how the connection of a mark ended. None if no renewal had replaced it, or if it has not ended."""
        number = mark.connection_number
        return None if number is None else self._facts.replaced.get(number)

    def drop_marks(self, number: int) -> None:
        """Remove the marks of a connection that has ended. I/O thread only."""
        for mark in list(self._facts.awaited_marks):
            if mark.connection_number == number:
                self._facts.awaited_marks.pop(mark, None)

    def is_awaited(self, number: int) -> bool:
        """Return whether a thread waits for a pong on this connection. I/O thread only."""
        return any(
            one is not None and one.connection_number == number and one.round_trip is None and not _is_over(one)
            for mark in list(self._facts.awaited_marks)
            for one in (mark, mark.twin)
        )

    # --- waiting -----------------------------------------------------------------------------------------------------

    def _wait_for_connection(self, call: str, timeout: float, deadline: Deadline, error: type[RequestTimeout]) -> None:
        """Wait until the client is open.

        Raises:
            RequestTimeout: the client was not open in time. The error is of the class ``error``.
            ClientClosed: the client has ended, or was never started.
        """
        state = self._guard.state.wait_while(_UNTIL_OPEN, deadline)
        if state in _UNTIL_OPEN:
            reason, cause = self._facts.why_not_open()
            failure = error(f"{call} waited {timeout:g} s for a connection; {reason}.", phase=Phase.QUEUED)
            failure.__cause__ = None if cause is None else copy_exception(cause)
            raise failure
        if state is not State.OPEN:
            raise self._guard.closed_error(call)

    def _wait_for_pong(self, mark: Mark, deadline: Deadline) -> bool:
        """Wait until a pong answers the mark or no pong can come; False if the deadline passed first, or the client has
        ended.
        """
        with self._sender.changes.watch() as latch:
            if mark.round_trip is not None or _is_over(mark):
                return True
            if self._guard.state.current in FINAL:
                return False
            return latch.wait(deadline) or not deadline.passed(time.monotonic())

    def _wait_for_change(self, entry: Outgoing, state: DeliveryState, deadline: Deadline) -> bool:
        """Wait until the entry's state changes; False if the deadline passed first, or the client has ended."""
        with self._sender.changes.watch() as latch:
            if entry.state != state:
                return True
            if self._guard.state.current in FINAL:
                return False
            until = deadline.sooner(Deadline(entry.expires_at)) if state is QUEUED else deadline
            return latch.wait(until) or not deadline.passed(time.monotonic())


def _no_pong(mark: Mark, timeout: float) -> RequestTimeout:
    """Return the error for a ping without a pong."""
    if mark.state is QUEUED:
        words = "the ping could not be written: the peer reads too slowly, or the network is too slow"
        return RequestTimeout(f"ping() took longer than {timeout:g} s; {words}.", phase=Phase.QUEUED)
    words = f"ping() got no pong within {timeout:g} s of waiting; the peer may be dead."
    return RequestTimeout(words, phase=Phase.WAITING)


def _is_over(mark: Mark) -> bool:
    """Return whether no pong can come any more.

    The state alone is not enough: a later reply may have made the mark ``confirmed``, and the connection may then have
    ended without a pong.
    """
    return mark.state in _OVER or (mark.position is not None and mark.position[0].ended)
