"""The event loop of the servers: that of uvloop if it exists."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any


def run(serving: Coroutine[Any, Any, None]) -> None:
    """Run a server."""
    try:
        import uvloop
    except ModuleNotFoundError:  # not available for Windows
        print("uvloop is not installed: the server is slower than it should be", file=sys.stderr)
        asyncio.run(serving)
    else:
        uvloop.run(serving)
