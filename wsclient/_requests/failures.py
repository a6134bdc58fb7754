"""The errors that end a request, one function per cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._errors import ConnectionLost, RequestTimeout

if TYPE_CHECKING:
    from .._models import Disconnect

__all__ = ["connection_lost", "ended_before", "timed_out"]


def timed_out(phase: str) -> RequestTimeout:
    """Return the error for a request whose deadline has passed.

    Args:
        phase: ``"queued"`` if the request was not sent yet, ``"waiting"`` if it was waiting for its reply.
    """
    if phase == "queued":
        return RequestTimeout("The request could not be sent before its deadline, and will not be.", phase=phase)
    return RequestTimeout("No reply came before the deadline; the server may still act on the request.", phase=phase)


def ended_before() -> ConnectionLost:
    """Return the error for a request whose connection ended before the request was queued or written."""
    return ConnectionLost("The connection this request belongs to has ended already.", sent=False)


def connection_lost(disconnect: Disconnect, *, sent: bool) -> ConnectionLost:
    """Return the error for a request whose connection ended before the reply was received."""
    how = f" ({disconnect.reason})" if disconnect.reason else ""
    consequence = (
        "the request had been sent, so the server may have acted on it; idempotent=True would send it again"
        if sent
        else "the request was not sent"
    )
    error = ConnectionLost(
        f"The connection ended{how} before the reply came; {consequence}.", sent=sent, disconnect=disconnect
    )
    error.__cause__ = disconnect.error
    return error
