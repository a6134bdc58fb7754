"""Measures how late a thread of this process wakes up because of other load on the machine."""

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
"""Smallest and largest tolerance of a call, in seconds. The largest one exists since the library itself may keep all
threads from running."""

WAKES: Final = 3
"""How many threads must wake one after the other to end a call (I/O thread, caller, and one between); each may be as
late as the longest measured delay."""


class LagMeter:
    """Measures the longest delay of short waits, in a thread of its own. A context manager."""

    def __init__(self) -> None:
        self._worst = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="soak-meter", daemon=True)

    def slack(self) -> float:
        """Seconds by which a call may exceed its time limit."""
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
