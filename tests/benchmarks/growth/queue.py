"""Many messages in the send queue: queued before there is a connection, then sent to the server.

CPU time, in microseconds, of queueing one message (``put``) and of sending one (``drain``), and the memory of one in
the queue (``kib``; including its 128 bytes).
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import time
from typing import Any

import wsclient

from ..machine import CLIENT_CORE, pin, resident_memory
from ..texts import text_of

DRAINING = 600.0
"""Maximum seconds for a million messages."""


def measure(url: str, size: int) -> dict[str, float | None]:
    """All figures for one size."""
    drained = threading.Event()

    def heard(client: Any, message: Any) -> None:
        if message == "done":
            drained.set()

    bounds = wsclient.SendQueue(max_messages=size + 1, max_bytes=1024 * (size + 1))
    client = wsclient.Client(
        url, send_queue=bounds, on_message=heard, proxy=None, compression=None, ping_interval=None
    )  # fmt: skip
    text = text_of(128)
    client.send(f"!sink {size}")
    gc.collect()
    memory, cpu = resident_memory(), time.process_time()
    for _ in range(size):
        client.send(text)
    put, used = time.process_time() - cpu, resident_memory()

    cpu = time.process_time()
    with client:
        if not drained.wait(DRAINING):
            raise TimeoutError("the queue was not drained in time")
        drain = time.process_time() - cpu
    return {
        "size": size,
        "put": 1e6 * put / size,
        "drain": 1e6 * drain / size,
        "kib": None if used is None or memory is None else (used - memory) / 1024 / size,
    }


def main(peer: str, url: str, sizes: str) -> None:
    """Each size with a separate client. There is no peer to compare: none has a queue."""
    pin(CLIENT_CORE)
    for size in map(int, sizes.split(",")):
        print(json.dumps(measure(url, size)), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
