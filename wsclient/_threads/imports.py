"""Importing late, and what a fork has to do with it.

Guarantees:
    * A process does not fork while another of its threads imports something under ``importing``; it waits until that is
      done, 60 ms for the whole client. In the child of a fork that struck in between, whoever imported the same module
      would wait for ever: it is marked as being imported, by a thread that is not there.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Mapping
from typing import Any, Final

from .locks import interrupt_safe

__all__ = ["importing", "loaded"]

# Guards no data, but the process: each late import is done under it, and each fork. It is one that its owner may take
# again, for a signal handler that strikes in an import; nothing but imports is waited for under it.
importing: Final = interrupt_safe(threading.RLock())

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=importing.acquire, after_in_parent=importing.release, after_in_child=importing.release)


def loaded(package: str, homes: Mapping[str, str], name: str) -> Any:
    """A public name of a package that loads its names late (PEP 562).

    Args:
        package: its name.
        homes: the module each of its names lives in.
        name: which.

    Raises:
        AttributeError: it has no such name.
    """
    if name not in homes:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    with importing:
        module = importlib.import_module(f".{homes[name]}", package)
    return getattr(module, name)
