"""What the way out of a connection needs of the client: where messages come from, and where they are noted.

Nothing here does anything; ``_connection.backend`` does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from .message import Carrier

if TYPE_CHECKING:
    from .._models import Disconnect
    from .._rfc6455.frames import Opcode
    from .._threads.waiting import Notifier
    from .message import Outgoing
    from .queue import MessageQueue

__all__ = ["WireTap", "WriterBackend"]


class WriterBackend(Carrier, Protocol):
    """Where messages come from; see ``_connection.backend``."""

    queue: MessageQueue
    progress: Notifier
    nudge: Callable[[bytes], object]

    def ready(self) -> bool:
        """Whether there may be something to take, where the queue is not empty."""

    def take(self, max_bytes: int) -> list[Outgoing]:
        """What goes out next."""

    def is_clear_for(self, entry: Outgoing) -> bool:
        """Whether a message may go out past the queue, since nothing waits in it."""

    def written(self, batch: list[Outgoing]) -> None:
        """The operating system has all of these. Empties the list."""

    def wake(self) -> None:
        """The I/O thread is needed."""

    def is_wanted(self) -> bool:
        """Whether there is time left to send anything."""


class WireTap(Protocol):
    """Where messages are noted that have gone out; see ``_connection.backend.RecordedBackend``."""

    def received(self, opcode: Opcode, payload: Any) -> None:
        """Something has come."""

    def lost(self, disconnect: Disconnect) -> None:
        """The connection is over."""

    def taken(self, entry: Outgoing, payload: bytes) -> None:
        """A message is being framed."""

    def handed_over(self, batch: list[Outgoing]) -> bool:
        """The operating system has more of these. False if no more should go out before the I/O thread has looked."""
