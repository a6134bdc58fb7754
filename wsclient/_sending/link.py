"""What other threads see of the present connection, besides its writer.

Guarantees:
    * Any thread reads. Each attribute changes by one assignment, ``proofs`` by one atomic step of a ``dict``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .._models import ConnectionInfo, Disconnect
    from .message import Outgoing

__all__ = ["Link"]


class Link:
    """The present connection, as other threads see it. The I/O thread assigns all but ``proofs``.

    Attributes:
        opened_at: since when the present connection is open; None if it is not.
        paused: whether reading waits for slow hooks or streams.
        connection: facts about the present connection while it is open; None while there is none.
        last: how the last connection ended.
        proofs: marks whose pong a thread waits for; that thread puts its mark in and takes it out.
    """

    __slots__ = ("connection", "last", "opened_at", "paused", "proofs")

    def __init__(self) -> None:
        self.opened_at: float | None = None
        self.connection: ConnectionInfo | None = None
        self.paused = False
        self.last: Disconnect | None = None
        self.proofs: dict[Outgoing, None] = {}
