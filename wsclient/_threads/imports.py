"""Imports on first use, and the lock that prevents a fork during such an import.

Guarantees:
    * ``os.fork()`` waits while another thread of the process imports something under ``importing`` (importing the whole
      client takes 60 ms). Without this, the child could inherit a partly imported module. The importing thread does not
      exist in the child, so the next import of that module there would wait forever.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Mapping
from typing import Any, Final

from .locks import interrupt_safe

__all__ = ["importing", "loaded"]

# Each fork holds this lock, and so do the imports on first use of modules that the client's threads need. It is
# reentrant, since a signal handler that runs during an import may import too. A thread that holds it waits only for an
# import or a fork.
importing: Final = interrupt_safe(threading.RLock())

if hasattr(os, "register_at_fork"):  # pragma: no branch  (Windows has no fork)
    os.register_at_fork(before=importing.acquire, after_in_parent=importing.release, after_in_child=importing.release)


def loaded(package: str, modules: Mapping[str, str], name: str) -> Any:
    """Import the object behind a public name of a package that loads its names on first use (PEP 562).

    Args:
        package: the package's name.
        modules: for each public name, the module that defines it, relative to the package.
        name: the public name.

    Returns:
        The object.

    Raises:
        AttributeError: the package has no such name.
    """
    if name not in modules:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    with importing:
        module = importlib.import_module(f".{modules[name]}", package)
    return getattr(module, name)
