"""Deadlines of requests while a function of the user occupies the I/O thread.

The I/O thread ends requests at their deadlines in each of its waits. But some functions of the user may take long, for
example to fetch a token: ``url``, ``headers``, ``sock``, ``ssl_context``, ``on_session``, ``should_retry``, and a
function that returns the message of a subscription. While the I/O thread calls one of them, a short-lived helper
thread ends the requests. The helper thread also logs a warning if ``url`` or ``headers``, which have no time limit,
take longer than ``open_timeout``.

The functions that are called for each message (``match``, ``until``, the protocol) have no helper thread: its start
would take longer than the function. While one of them does not return, a request ends at its deadline only if a thread
waits for it (in ``result()`` or ``exception()`` of its future, ``get()`` or ``next()`` of its stream, or a call that
waits).
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from .._threads.state import FINAL
from .._threads.waiting import Deadline, Latch

if TYPE_CHECKING:
    from types import TracebackType

    from .._network.options import NetworkOptions
    from .context import ClientContext

__all__ = ["EndingOverdue", "wrap_functions"]

_CHECK: Final = 0.1
"""Seconds after which the helper thread looks for earlier deadlines: nothing notifies it of a new request."""

_EXIT_TIMEOUT: Final = 1.0
"""Longest wait, in seconds, for the end of the helper thread; normally it takes microseconds."""

SLOW_REPEAT: Final = 60.0
"""Seconds between two warnings about the same call of ``url`` or ``headers`` (DESIGN.md §4.1: every minute)."""

_T = TypeVar("_T")


class EndingOverdue:
    """A context manager: during its block, a helper thread ends requests at their deadlines. I/O thread only.

    The helper thread ends with the block, or with the client, whichever comes first.
    """

    __slots__ = ("_context", "_is_over", "_option", "_thread")

    def __init__(self, context: ClientContext, option: str | None = None) -> None:
        """
        Args:
            context: the client.
            option: the option whose function is called in the block; a warning is logged if the block takes longer than
                ``open_timeout``, and again every minute. None for no warning.
        """
        self._context = context
        self._option = option
        self._is_over = Latch()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> None:
        name = self._context.settings.name
        arguments = (self._context, self._is_over, self._option)
        thread = threading.Thread(target=_work, args=arguments, name=f"{name}-deadlines", daemon=True)
        try:
            thread.start()
            self._thread = thread
        except RuntimeError as error:
            text = "requests may end after their deadlines, since a helper thread could not be started: %s"
            self._context.log.write(logging.WARNING, text, error)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_over.open()
        if self._thread is not None:
            self._thread.join(_EXIT_TIMEOUT)  # so that the helper thread does not run longer than the client


def wrap_functions(context: ClientContext, options: NetworkOptions) -> NetworkOptions:
    """Return the options; each function of the user is replaced by one that calls it inside ``EndingOverdue``."""
    sock, ssl_context = options.sock, options.ssl_context
    if callable(sock):
        options = options._replace(sock=partial(_call, context, sock))
    if callable(ssl_context):
        options = options._replace(ssl_context=partial(_call, context, ssl_context))
    return options


def _call(context: ClientContext, function: Callable[[], _T]) -> _T:
    with EndingOverdue(context):
        return function()


def _work(context: ClientContext, is_over: Latch, option: str | None) -> None:
    """The main function of the helper thread."""
    limit = context.settings.network.open_timeout
    began = time.monotonic()
    warn_at = math.inf if option is None else began + limit
    while True:
        soon = Deadline.after(_CHECK, time.monotonic())
        if is_over.wait(soon.sooner(Deadline(context.table.next_deadline()))) or context.state.current in FINAL:
            return
        if context.table.handed_over:
            context.table.take_handed_over()
        now = time.monotonic()
        context.requests.expire(now)
        if now >= warn_at:
            warn_at = now + SLOW_REPEAT
            text = (
                "the %s function has not returned for %.1f s, longer than open_timeout=%g s. The client can't connect "
                "before it returns; give it a time limit of its own."
            )
            context.log.queue(logging.WARNING, text, option, now - began, limit)
            context.log.flush(Deadline(now))  # starts its thread, since the I/O thread can't; does not wait
