"""The errors that end a request, one function per cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._errors import (
    ConnectionLost,
    RequestTimeout,
    SendQueueFull,
    WebSocketClientError,
    copy_exception,
    printable,
)

if TYPE_CHECKING:
    from .._models import Disconnect

__all__ = ["cleared", "connection_lost", "ended_before", "evicted", "timed_out"]


def timed_out(
    phase: str, what: str, seconds: float | None, reason: str, cause: BaseException | None = None
) -> RequestTimeout:
    """Return the error for a request whose deadline has passed.

    Args:
        phase: ``"queued"`` if the request was not sent yet, ``"waiting"`` if it was waiting for its reply.
        what: names the request, such as ``The request 'add' with the id 1``.
        seconds: the timeout of the request; None if unknown.
        reason: why the request was not sent (the end of a sentence), or what arrived meanwhile (a sentence without its
            full stop).
        cause: the error that is the reason; None if there is none.
    """
    within = "before its deadline" if seconds is None else f"within {seconds:g} s"
    if phase == "queued":
        text = f"{what} could not be sent {within}, and will not be sent: {reason}."
    else:
        text = f"{what} got no reply {within}; the server may still act on it. {reason}."
    error = RequestTimeout(text, phase=phase)
    error.__cause__ = None if cause is None else copy_exception(cause)
    return error


def ended_before() -> ConnectionLost:
    """Return the error for a request whose connection ended before the request was queued or written."""
    return ConnectionLost(
        "The connection that this request belongs to has ended, so the request was not sent.", sent=False
    )


def evicted() -> SendQueueFull:
    """Return the error for a request that the full send queue dropped."""
    return SendQueueFull("The request was dropped from the full send queue (drop_oldest).")


def cleared() -> WebSocketClientError:
    """Return the error for a request that ``client.clear_queue()`` removed from the send queue."""
    return WebSocketClientError("The request was removed from the send queue by clear_queue(), so it was not sent.")


def connection_lost(disconnect: Disconnect, *, sent: bool) -> ConnectionLost:
    """Return the error for a request whose connection ended before the reply was received."""
    code = "" if disconnect.code is None else f"code {disconnect.code}"
    how = ": ".join(part for part in (code, printable(disconnect.reason)) if part)
    how = f" ({how})" if how else ""
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
