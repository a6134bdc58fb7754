"""How late a thread of this process wakes up because the machine is busy: measured while the soak runs."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["LagMeter"]

BEAT: Final = 0.01
"""Seconds of one wait."""

LEAST: Final = 0.3
MOST: Final = 2.0
"""Seconds of slack a call has on any machine, and at most: a library that starves all threads is late, not excused."""

WAKES: Final = 3
"""Threads that must wake in turn for one call to end (I/O thread, caller, and one between), each as late as the worst
that was measured."""


class LagMeter:
    """Waits again and again, and keeps the worst delay. A context manager."""

    def __init__(self) -> None:
        self._worst = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="soak-meter", daemon=True)

    def slack(self) -> float:
        """Seconds by which a call may be later than its bound."""
        return min(MOST, LEAST + WAKES * self._worst)

    def _beat(self) -> None:
        while True:
            began = time.monotonic()
            if self._over.wait(BEAT):
                return
            self._worst = max(self._worst, time.monotonic() - began - BEAT)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()
