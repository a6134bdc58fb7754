"""What became of a message, and waiting for the proof that it arrived.

A proof is a pong or a reply that comes after it: TCP keeps the order, and the peer's WebSocket layer answers in order.
Who waits sends a ping of its own through the same queue, behind the message, unless pings are off; then all there is to
wait for is that the operating system has taken it.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from .._errors import ClientClosed, ConnectionLost, FlushTimeout
from .._models import DeliveryState, Phase, State
from .._rfc6455.frames import Opcode
from .._threads.deadline import Deadline
from .._threads.state import closed_error
from .message import CONFIRMED, EXPIRED, LOST, QUEUED, UNKNOWN, WRITTEN, Outgoing

if TYPE_CHECKING:
    from .context import SendingContext

__all__ = ["Delivery", "flush"]

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
        self._core.outbox.expire(self._entry)
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
        mark: Outgoing | None = None
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
    state = core.state.wait_while(_UNTIL_OPEN, deadline)
    if state in _UNTIL_OPEN:
        raise FlushTimeout(f"flush() waited {timeout:g} s for a connection; there is none.", phase=Phase.QUEUED)
    mark = _make_mark(core, core.sender.connection_number)
    try:
        if state is not State.OPEN or not _queue_mark(core, mark):
            raise closed_error(core.settings.name, core.state, "flush()")
        while mark.state not in _OVER:
            if _is_proven(core, mark.state):
                return
            if not _wait_for_change(core, mark, mark.state, deadline):
                phase = Phase.QUEUED if mark.state is QUEUED else Phase.WAITING
                raise FlushTimeout(f"flush() was not done within {timeout:g} s.", phase=phase)
    finally:
        _forget_mark(core, mark)
    raise ConnectionLost(
        "The connection ended before flush() had proof that everything arrived.", disconnect=core.link.last
    )


def _is_proven(core: SendingContext, state: DeliveryState) -> bool:
    return state is CONFIRMED or (state is WRITTEN and core.settings.line.ping_interval is None)


def _mark_behind(core: SendingContext, entry: Outgoing) -> Outgoing:
    """A mark on the connection that has the message; it would prove nothing on another one."""
    position = entry.position
    return _make_mark(core, None if position is None else position[0].number)


def _make_mark(core: SendingContext, connection_number: int | None) -> Outgoing:
    pings = core.settings.line.ping_interval is not None
    return Outgoing(Opcode.PING, os.urandom(8) if pings else None, 0, connection_number=connection_number)


def _queue_mark(core: SendingContext, mark: Outgoing) -> bool:
    """False if the queue takes no more, or the mark's connection has ended."""
    try:
        core.outbox.put(mark, Deadline(None), [], may_wait=False)
    except ClientClosed:
        return False
    core.link.proofs[mark] = None
    core.sender.write_queued()
    if core.link.paused:
        core.orders.wake()  # the proof must be read, full queues or not
    if core.sender.is_too_late(mark):
        core.outbox.withdraw(mark)
    return True


def _forget_mark(core: SendingContext, mark: Outgoing) -> None:
    """Nobody waits for it any more; one that is still queued would be a ping for nobody."""
    core.link.proofs.pop(mark, None)
    core.outbox.withdraw(mark)


def _wait_for_change(core: SendingContext, entry: Outgoing, state: DeliveryState, deadline: Deadline) -> bool:
    """Wait until the entry's state is another; False if the deadline passed first."""
    with core.progress.watch() as latch:
        if entry.state != state:
            return True
        until = deadline.sooner(Deadline(entry.expires_at)) if state is QUEUED else deadline
        return latch.wait(until) or not deadline.passed(time.monotonic())
