"""The end of a client: it refuses new work, ends every wait, and enters its final state.

Accepted race: ``finish`` may run on two threads: on the I/O thread, and in a ``close`` that no longer waits for an I/O
thread which is blocked in user code. Each of its steps has an effect only once, so this is harmless.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._errors import ClientClosed, text_of
from .._models import State

if TYPE_CHECKING:
    from .context import ClientContext

__all__ = ["begin_closing", "finish"]


def begin_closing(context: ClientContext) -> ClientClosed:
    """Refuse new work from now on, and end every request. Return the error with which calls are refused."""
    # If a subscription was closed before `client.close()`, its unsubscribe message is still sent.
    context.subscriptions.apply_events()
    refusal = _closed(context, State.CLOSED, None)
    if context.state.current is not State.CLOSING:
        context.state.move(State.CLOSING)
        context.queue.seal(refusal)
        context.requests.end_all(ClientClosed("The client was closed before the reply came."))
    return refusal


def finish(context: ClientContext, final: State, error: BaseException | None) -> None:
    """End the client: every wait ends, and the state becomes ``final``.

    Args:
        context: the client.
        final: CLOSED or FAILED.
        error: why it ended; None if it was closed on request.
    """
    refusal = _closed(context, final, error)
    context.queue.seal(refusal)
    try:
        context.requests.end_all(refusal if error is None else error)
        context.queue.remove_unsendable(None)
        if final is State.FAILED and error is not None and context.state.current is not State.FAILED:
            context.hooks.post("on_error", error)
    finally:  # even if a step above fails, no thread may wait for this client forever
        context.state.move(final, error)
        context.renew_calls.take()
        context.renew_calls.complete(False)
        context.receivers.end(error if final is State.FAILED else None)
        context.changes.announce()


def _closed(context: ClientContext, final: State, error: BaseException | None) -> ClientClosed:
    name = context.settings.name
    if error is None:
        return ClientClosed(f"The client {name!r} is closed; make a new one.")
    how = "has failed" if final is State.FAILED else "is closed"
    refusal = ClientClosed(f"The client {name!r} {how} ({text_of(error, 1000)}); make a new one.")
    refusal.__cause__ = error
    return refusal
