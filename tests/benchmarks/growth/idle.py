"""Many idle clients in one process: memory, threads, CPU time.

Each follows its documentation, keepalive included, has sent one message and has received one. Memory and
threads are the increase over a process with one client, with all modules loaded.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from ..machine import CLIENT_CORE, allow_many_descriptors, pin, resident_memory
from ..peers.base import TIMEOUT

REST = 20.0
"""Seconds of doing nothing, to see what that costs: the interval of two libraries' pings, so each client's is in."""


class Arrival:
    """Waits for the message of one client after the other: shared by all, since it is not part of a client."""

    def __init__(self) -> None:
        self._arrived = threading.Event()

    def note(self, *ignored: object) -> None:
        """The message has arrived."""
        self._arrived.set()

    def wait(self) -> None:
        """Wait for it, and prepare for the next one."""
        if not self._arrived.wait(TIMEOUT):
            raise TimeoutError("a client got no answer")
        self._arrived.clear()


OPENED: Final = Arrival()
MESSAGE: Final = Arrival()


def ours(url: str) -> Any:
    """A client of this library."""
    import wsclient

    client = wsclient.connect(url, on_message=MESSAGE.note, proxy=None)
    client.send("hello")
    MESSAGE.wait()
    return client


def websocket_app(url: str) -> Any:
    """A ``WebSocketApp`` with its thread."""
    import websocket

    app = websocket.WebSocketApp(url, on_open=OPENED.note, on_message=MESSAGE.note)
    threading.Thread(target=app.run_forever, daemon=True).start()
    OPENED.wait()
    app.send("hello")
    MESSAGE.wait()
    return app


def websockets_sync(url: str) -> Any:
    """A connection of ``websockets.sync``."""
    from websockets.sync.client import connect

    connection = connect(url, proxy=None).__enter__()
    connection.send("hello")
    connection.recv(TIMEOUT)
    return connection


MAKERS: dict[str, Callable[[str], Any]] = {
    "wsclient": ours,
    "WebSocketApp": websocket_app,
    "websockets.sync": websockets_sync,
}


def figures(clients: int, seconds: float, memory: int | None, threads: int, rest: float) -> dict[str, float | None]:
    """Measure the process, then the cost while it is idle."""
    gc.collect()
    used = resident_memory()
    cpu = time.process_time()
    time.sleep(rest)
    cpu = time.process_time() - cpu
    return {
        "size": clients,
        "kib": None if used is None or memory is None else (used - memory) / 1024 / clients,
        "threads": (threading.active_count() - threads) / clients,
        "idle_percent": 100 * cpu / rest,
        "connect_cpu_ms": 1000 * seconds / clients,
    }


def main(peer: str, url: str, sizes: str, rest: str = str(REST)) -> None:
    """Connect more and more clients; each size keeps those of the smaller sizes."""
    pin(CLIENT_CORE)
    allow_many_descriptors()
    make = MAKERS[peer]
    # Loads all modules of the first use, which belong to no client. Kept, so that its end is not measured.
    first = make(url)
    gc.collect()
    memory, threads = resident_memory(), threading.active_count()
    clients: list[Any] = []
    spent = 0.0
    for size in map(int, sizes.split(",")):
        began = time.process_time()
        clients.extend(make(url) for _ in range(size - len(clients)))
        spent += time.process_time() - began
        print(json.dumps(figures(size, spent, memory, threads, float(rest))), flush=True)
    del first
    os._exit(0)  # closing is not measured


if __name__ == "__main__":
    main(*sys.argv[1:])
