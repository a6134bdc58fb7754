"""What becomes of running clients when the process forks or ends.

Guarantees:
    * In a forked child the copy of a client is marked before any code of the user's runs there; its descriptors are
      closed, which sends nothing, and no lock is touched: one may have been held for ever at the fork.
    * At the end of the interpreter a client that is still open gets a ``ResourceWarning`` and a short time to close.
"""

from __future__ import annotations

import atexit
import logging
import os
import warnings
from typing import Final, Protocol

__all__ = ["enter", "leave"]

EXIT_TIMEOUT: Final = 1.0
"""Seconds a forgotten client may take to close when the interpreter ends."""


class Resident(Protocol):
    """A client that runs."""

    @property
    def name(self) -> str:
        """The client's name."""

    @property
    def ends(self) -> bool:
        """Whether it was told to close, and will."""

    def after_fork(self) -> None:
        """This process is a forked child."""

    def at_exit(self, timeout: float) -> None:
        """The interpreter ends; close within the time."""


_log = logging.getLogger("wsclient")
_residents: dict[int, Resident] = {}


def enter(resident: Resident) -> None:
    """A client has started."""
    _residents[id(resident)] = resident


def leave(resident: Resident) -> None:
    """A client has ended."""
    _residents.pop(id(resident), None)


def _after_fork() -> None:
    for resident in list(_residents.values()):
        try:
            resident.after_fork()
        except Exception:  # the others must be marked all the same
            _log.exception("%r could not give back its descriptors in a forked child.", resident)
    _residents.clear()


def _at_exit() -> None:
    for resident in list(_residents.values()):
        try:
            warnings.warn(f"{resident!r} was never closed; use it in a with block.", ResourceWarning, stacklevel=1)
        finally:  # the filter may turn it into an error
            resident.at_exit(EXIT_TIMEOUT)


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
