"""The server for python-socketio, which has a different protocol: its asynchronous server on uvloop, in a process."""

from __future__ import annotations

import asyncio
import os
import sys

import socketio
from aiohttp import web

from .loop import run
from .machine import SERVER_CORE, pin


async def echo(sid, data):
    """Returns the question as the answer."""
    return data


async def serve() -> None:
    """Serve until standard input ends."""
    server = socketio.AsyncServer(async_mode="aiohttp", ping_interval=3600)
    server.on("echo", echo)
    app = web.Application()
    server.attach(app)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)  # open connections are not needed any more


if __name__ == "__main__":
    pin(SERVER_CORE)
    run(serve())
