"""Imports on first use, and the lock that prevents a fork during such an import.

Guarantees:
    * ``os.fork()`` waits while another thread of the process imports something under ``import_lock`` (importing the
      whole client takes 60 ms). Without this, the child could inherit a partly imported module. The importing thread
      does not exist in the child, so the next import of that module there would wait forever.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Mapping
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any, Final

from .locks import interrupt_safe

__all__ = ["check_has", "check_not_shadowed", "import_lock", "import_public_name"]

# This lock is held during each fork, and while a module that the client's threads need is imported on first use. It is
# reentrant, since a signal handler that runs during an import may import too. A thread that holds it waits only for an
# import or a fork.
import_lock: Final = interrupt_safe(threading.RLock())

if hasattr(os, "register_at_fork"):  # pragma: no branch  (Windows has no fork)
    os.register_at_fork(
        before=import_lock.acquire, after_in_parent=import_lock.release, after_in_child=import_lock.release
    )


def check_not_shadowed(name: str, library: str) -> None:
    """Check, before a library is imported, that the import will not find a single file of the same name.

    Example: the user's script is named ``websocket.py``, which is also the name of a library that this package needs.
    Python searches the script's folder first, so it would import the script.

    Args:
        name: the name that is imported. The library itself is a package (a folder), so a single file is not the
            library.
        library: the library's name on PyPI.

    Raises:
        ImportError: a single file has this name; the error names it.
    """
    spec = None if name in sys.modules else PathFinder.find_spec(name)
    if spec is not None and spec.submodule_search_locations is None:
        raise _shadowed(name, library, spec.origin)


def check_has(module: ModuleType, attribute: str, library: str) -> None:
    """Check, after a library was imported, that another package was not imported in its place.

    Args:
        module: what was imported.
        attribute: a name that the library has.
        library: the library's name on PyPI.

    Raises:
        ImportError: the module has no such attribute; the error names its file.
    """
    if not hasattr(module, attribute):
        raise _shadowed(module.__name__, library, getattr(module, "__file__", None) or str(module))


def _shadowed(name: str, library: str, path: str | None) -> ImportError:
    text = (
        f"wsclient needs the library {library}, but the import of {name!r} finds {path}. If this file is yours, "
        f"rename it; if it belongs to another package, uninstall that package and install {library} again."
    )
    return ImportError(text, name=name, path=path)


def import_public_name(package: str, modules: Mapping[str, str], name: str) -> Any:
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
    with import_lock:
        module = importlib.import_module(f".{modules[name]}", package)
    return getattr(module, name)
