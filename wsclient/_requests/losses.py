"""What becomes of the requests when their connection ends, or the client.

The I/O thread runs it, or whoever closes a client whose I/O thread does not react.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .._errors import ConnectionLost, again
from .._sending.message import LOST, Outgoing
from . import requests as _requests

if TYPE_CHECKING:
    from .._models import Disconnect
    from .context import RequestContext

__all__ = ["after_loss", "end_all", "lose_written", "lost"]


def lose_written(core: RequestContext, disconnect: Disconnect) -> None:
    """The connection is ending: requests it has carried get no reply any more. They are told at once."""
    for request in core.pending.everything():
        if request.written() and not (request.idempotent and request.bound is None):
            _requests.fail(core, request, lost(disconnect, sent=True))


def after_loss(core: RequestContext, number: int, cut: Iterable[Outgoing], disconnect: Disconnect) -> None:
    """The connection has ended: what goes to the next one returns to the queue, the rest ends here.

    Args:
        core: the client.
        number: the connection's number.
        cut: messages cut off before their last byte, in order.
        disconnect: how it ended.
    """
    back: dict[Outgoing, None] = {}  # a batch once, whole: its members that have ended are left out as it departs
    for request in core.pending.end_connection():
        if request.bound is not None:
            _requests.fail(core, request, lost(disconnect, sent=request.written()))
        elif not request.written():
            pass  # it is among those cut off
        elif request.idempotent and request.outcome is None:
            request.sent_before = True
            request.departed = False
            back[request.batch or request] = None
        else:
            _requests.fail(core, request, lost(disconnect, sent=True))
    for entry in cut:
        requests = _requests.requests_in(entry)
        ended = bool(requests) and all(request.outcome is not None for request in requests)
        if entry.counted and entry.bound is None and not ended:
            for request in requests:
                request.departed = False
            back[entry] = None
        else:
            entry.fate = LOST
            for request in requests:
                _requests.fail(core, request, lost(disconnect, sent=False))
    core.outbox.restore(back)
    for entry in core.outbox.sweep(number):
        for request in _requests.requests_in(entry):
            _requests.fail(core, request, lost(disconnect, sent=False))


def end_all(core: RequestContext, error: BaseException) -> None:
    """Every request ends with this error."""
    for request in core.pending.everything():
        _requests.fail(core, request, again(error))


def lost(disconnect: Disconnect, *, sent: bool) -> ConnectionLost:
    """The error for a request that its connection did not outlive."""
    how = f" ({disconnect.reason})" if disconnect.reason else ""
    fate = (
        "the request had been sent, so the server may have acted on it; idempotent=True would send it again"
        if sent
        else "the request was not sent"
    )
    error = ConnectionLost(
        f"The connection ended{how} before the reply came; {fate}.", sent=sent, disconnect=disconnect
    )
    error.__cause__ = disconnect.error
    return error
