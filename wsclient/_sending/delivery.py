"""What became of a message, waiting for the proof that it arrived, and the round trip of a ping.

A proof is a pong or a reply that comes after the message: TCP keeps the order, and the peer's WebSocket layer answers
in order. ``Delivery.wait`` and ``flush`` queue a ping of their own behind the message, unless pings are off; then they
wait only until the operating system has taken the message. ``ping`` queues its ping ahead of everything, whether pings
are on or off.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from .._errors import ClientClosed, ConnectionLost, FlushTimeout, RequestTimeout
from .._models import DeliveryState, Phase, State
from .._threads.deadline import Deadline
from .._threads.state import FINAL, closed_error
from .message import CONFIRMED, EXPIRED, LOST, QUEUED, UNKNOWN, WRITTEN, Mark, Outgoing

if TYPE_CHECKING:
    from .context import SendingContext

__all__ = ["Delivery", "flush", "ping"]

_OVER = frozenset({EXPIRED, LOST, UNKNOWN})
_UNTIL_OPEN = frozenset({State.CONNECTING, State.WAITING})


class Delivery:
    """What ``send()`` returns: it tells what became of the message. Thread-safe; costs nothing until it is asked."""

    __slots__ = ("_core", "_entry")

    def __init__(self, core: SendingContext, entry: Outgoing) -> None:
        """For the client only; ``send()`` makes it."""
        self._core = core
        self._entry = entry

    @property
    def state(self) -> DeliveryState:
        """``queued``, then ``written`` (all of it handed to the operating system), then ``confirmed`` (a later pong or
        reply proves that the peer's WebSocket layer has it); or ``expired``, ``lost`` (it certainly never arrived), or
        ``unknown`` (written whole, and the line was lost before a proof).
        """
        self._core.guard.check_fork("state of a delivery")
        self._core.queue.expire(self._entry)
        return self._entry.state

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the proof that the message arrived; where pings are off, until it is written.

        Args:
            timeout: seconds; None waits until it is decided.

        Returns:
            True with that proof; False if it expired, was lost, its fate is unknown, or the time was over.

        Raises:
            WouldDeadlock: called on the I/O thread.
        """
        core = self._core
        core.guard.check_may_wait("wait() of a delivery", "Look at .state instead.")
        deadline = Deadline.after(timeout, time.monotonic())
        mark: Mark | None = None
        try:
            while (state := self.state) not in _OVER:
                if _is_proven(core, state):
                    return True
                if state is WRITTEN and mark is None:
                    mark = _mark_behind(core, self._entry)
                    if not _queue_mark(core, mark):
                        return False
                    continue
                if not _wait_for_change(core, self._entry, state, deadline):
                    return False
            return False
        finally:
            if mark is not None:
                _forget_mark(core, mark)

    def __repr__(self) -> str:
        return f"<Delivery {self.state}>"


def flush(core: SendingContext, timeout: float) -> None:
    """Wait until all that was queued before is written and, where pings are on, proven to have arrived.

    Args:
        core: the client.
        timeout: seconds.

    Raises:
        ConnectionLost: the connection ended meanwhile.
        FlushTimeout: the time was over.
        ClientClosed: the client was closed, failed or was never started.
    """
    deadline = Deadline.after(timeout, time.monotonic())
    _wait_for_connection(core, "flush()", timeout, deadline, FlushTimeout)
    mark = _make_mark(core, core.sender.connection_number)
    try:
        if not _queue_mark(core, mark):
            raise closed_error(core.settings.name, core.state, "flush()")
        while mark.state not in _OVER:
            if _is_proven(core, mark.state):
                return
            if not _wait_for_change(core, mark, mark.state, deadline):
                if core.state.current in FINAL:
                    raise closed_error(core.settings.name, core.state, "flush()")
                phase = Phase.QUEUED if mark.state is QUEUED else Phase.WAITING
                raise FlushTimeout(f"flush() was not done within {timeout:g} s.", phase=phase)
    finally:
        _forget_mark(core, mark)
    raise ConnectionLost(
        "The connection ended before flush() had proof that everything arrived.", disconnect=core.link.last
    )


def ping(core: SendingContext, timeout: float) -> float:
    """Send a ping of its own and wait for the pong that answers it.

    The ping goes ahead of everything that is queued, behind what is already being written. Its time in the queue counts
    for ``timeout``, not for the round trip.

    Args:
        core: the client.
        timeout: seconds, for a connection, the queue and the pong together.

    Returns:
        Seconds from handing the ping to the socket until the pong was read. A pong that answers a later ping answers
        this one too (RFC 6455 §5.5.3).

    Raises:
        ConnectionLost: the connection ended meanwhile.
        RequestTimeout: no pong came in time.
        ClientClosed: the client was closed, failed or was never started.
    """
    deadline = Deadline.after(timeout, time.monotonic())
    _wait_for_connection(core, "ping()", timeout, deadline, RequestTimeout)
    mark = Mark(os.urandom(8), core.sender.connection_number)
    try:
        if not _queue_mark(core, mark, first=True):
            raise closed_error(core.settings.name, core.state, "ping()")
        while mark.round_trip is None and not _is_over(mark):
            if not _wait_for_pong(core, mark, deadline):
                if core.state.current in FINAL:
                    raise closed_error(core.settings.name, core.state, "ping()")
                raise _no_pong(mark, timeout)
    finally:
        _forget_mark(core, mark)
    if mark.round_trip is None:
        raise ConnectionLost(
            "The connection ended before the pong came that ping() waited for.", disconnect=core.link.last
        )
    return mark.round_trip


def _wait_for_connection(
    core: SendingContext, call: str, timeout: float, deadline: Deadline, error: type[RequestTimeout]
) -> None:
    """Wait until the client is open.

    Raises:
        RequestTimeout: it was not open in time; of the class ``error``.
        ClientClosed: it will not be open, or was never started.
    """
    state = core.state.wait_while(_UNTIL_OPEN, deadline)
    if state in _UNTIL_OPEN:
        raise error(f"{call} waited {timeout:g} s for a connection; there is none.", phase=Phase.QUEUED)
    if state is not State.OPEN:
        raise closed_error(core.settings.name, core.state, call)


def _no_pong(mark: Mark, timeout: float) -> RequestTimeout:
    """The error for a ping without an answer."""
    if mark.state is QUEUED:
        words = "the ping could not be written: the peer reads too slowly, or the network is too slow"
        return RequestTimeout(f"ping() took longer than {timeout:g} s; {words}.", phase=Phase.QUEUED)
    words = f"ping() got no pong within {timeout:g} s of waiting; the peer may be dead."
    return RequestTimeout(words, phase=Phase.WAITING)


def _is_proven(core: SendingContext, state: DeliveryState) -> bool:
    return state is CONFIRMED or (state is WRITTEN and core.settings.line.ping_interval is None)


def _mark_behind(core: SendingContext, entry: Outgoing) -> Mark:
    """A mark on the connection that has the message; it would prove nothing on another one."""
    position = entry.position
    return _make_mark(core, None if position is None else position[0].number)


def _make_mark(core: SendingContext, connection_number: int | None) -> Mark:
    pings = core.settings.line.ping_interval is not None
    return Mark(os.urandom(8) if pings else None, connection_number)


def _queue_mark(core: SendingContext, mark: Mark, *, first: bool = False) -> bool:
    """Queue a mark; False if the queue takes no more. If its connection has ended, the mark is lost."""
    try:
        if first:
            core.queue.put_first(mark)
        else:
            core.queue.put(mark, Deadline(None), [], may_wait=False)
    except ClientClosed:
        return False
    core.link.proofs[mark] = None
    core.sender.write_queued()
    if core.link.paused:
        core.commands.wake()  # the proof must be read, full queues or not
    if core.sender.is_too_late(mark):
        core.queue.withdraw(mark)
    return True


def _forget_mark(core: SendingContext, mark: Mark) -> None:
    """The caller no longer waits for the mark: it leaves the queue, and is not sent if it is still there."""
    core.link.proofs.pop(mark, None)
    writer = core.sender.writer
    if not core.queue.withdraw(mark) and mark.key is not None and writer is not None:
        writer.forget_ping(mark.key)


def _is_over(mark: Mark) -> bool:
    """Whether no pong can come any more. A reply may have confirmed the ping, so its state alone does not say it."""
    return mark.state in _OVER or (mark.position is not None and mark.position[0].ended)


def _wait_for_pong(core: SendingContext, mark: Mark, deadline: Deadline) -> bool:
    """Wait until a pong answers the mark or its state is final; False if the time is over, or the client has ended."""
    with core.progress.watch() as latch:
        if mark.round_trip is not None or _is_over(mark):
            return True
        if core.state.current in FINAL:
            return False
        return latch.wait(deadline) or not deadline.passed(time.monotonic())


def _wait_for_change(core: SendingContext, entry: Outgoing, state: DeliveryState, deadline: Deadline) -> bool:
    """Wait until the entry's state is another; False if the deadline passed first, or the client has ended."""
    with core.progress.watch() as latch:
        if entry.state != state:
            return True
        if core.state.current in FINAL:
            return False
        until = deadline.sooner(Deadline(entry.expires_at)) if state is QUEUED else deadline
        return latch.wait(until) or not deadline.passed(time.monotonic())
