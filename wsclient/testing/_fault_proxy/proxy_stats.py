"""The counts of a ``FaultProxy``."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ProxyStats"]


@dataclass(frozen=True)
class ProxyStats:
    """The counts of a ``FaultProxy`` at one moment. Immutable.

    Attributes:
        accepted: connections accepted from clients, including those that are still open.
        refused: connections refused, because of ``refuse()`` or because the proxy could not connect to the target.
        open: connections that are open now.
        cut: connections ended by ``cut()`` or ``cut_after()``.
        reset: connections ended by ``reset()``.
        bytes_up: bytes forwarded to the target.
        bytes_down: bytes forwarded to clients.
        dropped: bytes discarded by ``drop_direction()``.
    """

    accepted: int = 0
    refused: int = 0
    open: int = 0
    cut: int = 0
    reset: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    dropped: int = 0
