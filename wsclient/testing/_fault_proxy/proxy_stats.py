"""What a ``FaultProxy`` has counted."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ProxyStats"]


@dataclass(frozen=True)
class ProxyStats:
    """Figures of a ``FaultProxy``, all of one moment.

    Attributes:
        accepted: connections taken from clients, those still open included.
        refused: connections turned away: while ``refuse()`` was in force, or since the target took none.
        open: connections that are open now.
        cut: connections ended by ``cut()`` or ``cut_after()``.
        reset: connections ended by ``reset()``.
        bytes_up: bytes handed on to the target.
        bytes_down: bytes handed on to clients.
        dropped: bytes swallowed by ``drop_direction()``.
    """

    accepted: int = 0
    refused: int = 0
    open: int = 0
    cut: int = 0
    reset: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    dropped: int = 0
