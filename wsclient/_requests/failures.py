"""Errors with which a request ends, each for one cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._errors import ConnectionLost, RequestTimeout

if TYPE_CHECKING:
    from .._models import Disconnect

__all__ = ["connection_lost", "ended_before", "timed_out"]


def timed_out(phase: str) -> RequestTimeout:
    """The error for a request whose deadline has passed: still ``"queued"``, or ``"waiting"`` for its reply."""
    if phase == "queued":
        return RequestTimeout("The request could not be sent before its deadline, and will not be.", phase=phase)
    return RequestTimeout("No reply came before the deadline; the server may still act on the request.", phase=phase)


def ended_before() -> ConnectionLost:
    """The error for a request whose connection has ended before it was queued or written."""
    return ConnectionLost("The connection this request belongs to has ended already.", sent=False)


def connection_lost(disconnect: Disconnect, *, sent: bool) -> ConnectionLost:
    """The error for a request whose connection ended before the reply came."""
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
