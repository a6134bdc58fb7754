"""What other threads may read about the present connection. (Its ``Writer`` object is in ``Sender.writer``.)

Guarantees:
    * Any thread may read. Each attribute changes by one assignment, ``awaited_marks`` and ``replaced`` by atomic
      ``dict`` operations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from .._errors import text_of

if TYPE_CHECKING:
    from .._errors import ConnectError
    from .._models import ConnectionInfo, Disconnect
    from .message import Mark

__all__ = ["ConnectionFacts", "Replaced"]

_MAX_REPLACED: Final = 16
"""How many replaced connections are remembered. A ``flush()`` may fail if more renewals than this happen during it."""


class Replaced(NamedTuple):
    """The end of a connection that a renewal had replaced.

    Attributes:
        disconnect: how it ended.
        has_answered: whether the peer had answered the close frame on it. The close frame was sent after all messages,
            so its answer proves, as a pong does, that all of them arrived.
    """

    disconnect: Disconnect
    has_answered: bool


class ConnectionFacts:
    """What other threads may read about the present connection.

    The I/O thread assigns each attribute except ``awaited_marks``. If the I/O thread does not respond,
    ``Supervisor.abort`` assigns ``connection`` and ``opened_at`` on another thread.

    Attributes:
        opened_at: when the present connection was opened; None if it is not open.
        paused: whether reading is paused. Reasons: hooks, streams or worker pools are slow; messages with an unknown
            subscription key fill their buffer; or the peer does not read the answers to its own messages.
        connection: facts about the present connection while it is open; None while there is none.
        last: how the last present connection ended; None if none has ended. The ends of the connections that a renewal
            had replaced are in ``replaced``.
        replaced: the latest connections that a renewal had replaced and that have ended, by their numbers.
        failure: the error of the last failed attempt to connect, and how many attempts failed in a row; None if no
            attempt has failed since a connection was open.
        awaited_marks: marks whose pong a thread waits for. That thread adds and removes its mark. The I/O thread
            removes a mark when its pong has come or can't come any more. When a connection ends, the I/O thread removes
            all marks of this connection.
    """

    __slots__ = ("awaited_marks", "connection", "failure", "last", "opened_at", "paused", "replaced")

    def __init__(self) -> None:
        self.opened_at: float | None = None
        self.connection: ConnectionInfo | None = None
        self.paused = False
        self.last: Disconnect | None = None
        self.replaced: dict[int, Replaced] = {}
        self.failure: tuple[ConnectError, int] | None = None
        self.awaited_marks: dict[Mark, None] = {}

    def add_replaced(self, number: int, replaced: Replaced) -> None:
        """Record the end of a connection that a renewal had replaced. I/O thread only."""
        self.replaced[number] = replaced
        if len(self.replaced) > _MAX_REPLACED:
            del self.replaced[next(iter(self.replaced))]

    def why_not_open(self) -> tuple[str, BaseException | None]:
        """Say why there is no connection, for the error of a call that waited for one.

        Returns:
            The end of a sentence, and the error that is the cause; None if there is no error.
        """
        failure, last = self.failure, self.last
        if failure is not None:
            error, attempts = failure
            times = f"{attempts} attempts" if attempts != 1 else "1 attempt"
            words = text_of(error, 1000).rstrip(".")
            return f"there was no connection: {times} to connect failed, the last one with: {words}", error
        if last is not None:
            code = "" if last.code is None else f", code {last.code}"
            words = f"the last one ended ({last.initiator}{code}), and no attempt to connect has ended since"
            return f"there was no connection: {words}", None
        return "there was no connection: no attempt to connect has ended yet", None
