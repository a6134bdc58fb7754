"""Many requests in flight at once: the cost of one more, and of timeouts.

The server delays the answers to the first ``size`` requests. CPU time, in microseconds, for each of

* ``begin``: those requests, until the server has them;
* ``round_trip``: a request that is answered, while they are in flight;
* ``time_out``: a request that is not answered in time, while they are in flight;
* ``reply``: the answers to all of them, when the server finally sends them.

``kib`` is the memory of one request in flight.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import wsclient

from ..machine import CLIENT_CORE, pin, resident_memory
from ..peers.base import QUESTION, TIMEOUT

ASKED = 2000
"""Requests that are answered at once."""
EXPIRING = 1000
"""Requests that time out."""
SHORT = 0.5
"""Their timeout in seconds: enough to begin them all."""
LONG = 600.0
"""The timeout in seconds of the requests whose answers are delayed."""


class Asker:
    """A client, and the server's ``ready``."""

    def __init__(self, url: str) -> None:
        self._ready = threading.Event()
        self.client = wsclient.connect(url, on_message=self._heard, proxy=None, compression=None, ping_interval=None)

    def _heard(self, client: Any, message: Any) -> None:
        if message == "ready":  # other messages are late answers to requests that timed out
            self._ready.set()

    def order(self, text: str) -> None:
        """Send a command to the server, and wait until it is ready."""
        self._ready.clear()
        self.client.send(text)
        if not self._ready.wait(TIMEOUT):
            raise TimeoutError(f"no answer to {text}")

    def begin(self, count: int, timeout: float) -> list[Any]:
        """Send this many requests without waiting, until all are written and the server has received them."""
        futures = [self.client.submit(QUESTION, timeout=timeout) for _ in range(count)]
        self.client.flush(TIMEOUT)
        return futures


def measure(asker: Asker, size: int) -> dict[str, float | None]:
    """All figures for one size."""
    asker.order(f"!hold {size}")
    gc.collect()
    memory, cpu = resident_memory(), time.process_time()
    futures = asker.begin(size, LONG)
    begin = time.process_time() - cpu
    used = resident_memory()

    cpu = time.process_time()
    for _ in range(ASKED):
        asker.client.request(QUESTION, timeout=TIMEOUT)
    round_trip = time.process_time() - cpu

    asker.order(f"!hold {EXPIRING}")
    cpu = time.process_time()
    for future in asker.begin(EXPIRING, SHORT):
        with contextlib.suppress(wsclient.RequestTimeout):
            raise RuntimeError(f"answered, though the server keeps it: {future.result()}")
    time_out = time.process_time() - cpu

    cpu = time.process_time()
    asker.client.send("!release")
    futures[-1].result(TIMEOUT)  # answers are in the order of the requests
    reply = time.process_time() - cpu
    if not all(future.done() for future in futures):
        raise RuntimeError("some were not answered")
    return {
        "size": size,
        "begin": 1e6 * begin / size,
        "round_trip": 1e6 * round_trip / ASKED,
        "time_out": 1e6 * time_out / EXPIRING,
        "reply": 1e6 * reply / size,
        "kib": None if used is None or memory is None else (used - memory) / 1024 / size,
    }


def main(peer: str, url: str, sizes: str) -> None:
    """Each size with a separate client. There is no peer to compare: none has a table of requests."""
    pin(CLIENT_CORE)
    for size in map(int, sizes.split(",")):
        with ThreadPoolExecutor(1) as pool:  # not the main thread, which leaves the writing to another one
            asker = Asker(url)
            print(json.dumps(pool.submit(measure, asker, size).result()), flush=True)
        asker.client.close()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
