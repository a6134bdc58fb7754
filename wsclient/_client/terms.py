"""The terms of a call: whether it may be made, on which connection, until when, and that its reply is read."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from .._models import State
from .._options import DEFAULT
from .._threads.deadline import Deadline
from .._threads.state import FINAL, closed_error
from .._validation import check_seconds

if TYPE_CHECKING:
    from .._connection.context import Core

__all__ = ["check_started", "connection_number", "deadline", "read_on"]


def check_started(core: Core, call: str) -> None:
    """Refuse a call on a client that does not run.

    Raises:
        ClientClosed: it was not started, or has ended.
    """
    if core.state.current is State.NEW or core.state.current in FINAL:
        raise closed_error(core.settings.name, core.state, call)


def deadline(core: Core, timeout: float | None) -> Deadline:
    """The one deadline of a call, from its option ``timeout`` (seconds; ``DEFAULT`` is the client's, None never).

    Raises:
        TypeError, ValueError: it is no number of seconds.
    """
    if timeout is DEFAULT:
        timeout = core.settings.bounds.request_timeout
    elif timeout is not None and not (type(timeout) is float and 0.0 <= timeout < math.inf):  # mostly it is
        timeout = check_seconds("timeout", timeout, zero=True)
    return Deadline(None if timeout is None else time.monotonic() + timeout)


def connection_number(core: Core) -> int | None:
    """The connection to which belongs what a hook sends; None for any."""
    return core.hooks.connection_number if core.hooks.here() else None


def read_on(core: Core) -> None:
    """Have the reply read even if reading is paused."""
    if core.link.paused:
        core.commands.wake()
