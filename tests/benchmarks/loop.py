"""The loop of the servers: uvloop's where it exists."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any


def run(serving: Coroutine[Any, Any, None]) -> None:
    """Run a server."""
    try:
        import uvloop
    except ModuleNotFoundError:  # there is none for Windows
        print("uvloop is not installed: the server is slower than it should be", file=sys.stderr)
        asyncio.run(serving)
    else:
        uvloop.run(serving)
