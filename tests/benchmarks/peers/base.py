"""The interface of every peer, and the usual way to match replies if a library has none."""

from __future__ import annotations

import itertools
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

QUESTION = {"op": "echo", "data": "x" * 85}
"""With its id it has about 128 bytes."""
TIMEOUT = 60.0


class Peer:
    """A connected client. It does not override what it does not support; the worker reports that.

    Every ``request`` sends ``QUESTION`` with a new id as JSON, and decodes the answer.
    """

    one_thread = False
    """Whether everything must run in the main thread."""

    def order(self, text: str) -> None:
        """Send a command to the server and wait for ``ready``."""
        raise NotImplementedError

    def receive(self, count: int) -> None:
        """Send ``!go``, and receive this many messages."""
        raise NotImplementedError

    def send(self, payloads: list[str]) -> None:
        """Send these, and wait for ``done``."""
        raise NotImplementedError

    def request(self) -> None:
        """Send a request, and wait for the answer."""
        raise NotImplementedError

    def request_many(self, count: int) -> None:
        """Send this many requests at once, and wait for all answers."""
        raise NotImplementedError

    def requests(self, count: int) -> list[float]:
        """Send this many requests, one after the other; return the seconds of each."""
        clock, ask = time.perf_counter, self.request
        took = []
        for _ in range(count):
            began = clock()
            ask()
            took.append(clock() - began)
        return took

    def parallel(self, threads: int, count: int) -> None:
        """Send this many requests in total, from this many threads."""
        with ThreadPoolExecutor(threads) as pool:
            jobs = [pool.submit(self.requests, count // threads) for _ in range(threads)]
        for job in jobs:
            job.result()


class Answers:
    """The usual solution: a table of ids, an ``Event`` and a field for the answer for each."""

    def __init__(self) -> None:
        self._ids = itertools.count()
        self._waiting: dict[int, list[Any]] = {}

    def begin(self) -> tuple[int, str]:
        """A new id and the text to send."""
        id = next(self._ids)
        self._waiting[id] = [threading.Event(), None]
        return id, json.dumps({**QUESTION, "id": id})

    def take(self, text: str) -> None:
        """An answer was received."""
        answer = json.loads(text)
        entry = self._waiting[answer["id"]]
        entry[1] = answer
        entry[0].set()

    def wait(self, id: int) -> Any:
        """The answer to the request of that id."""
        event, _ = self._waiting[id]
        if not event.wait(TIMEOUT):
            raise TimeoutError(f"no answer to {id}")
        return self._waiting.pop(id)[1]


class Countdown:
    """Lets a thread wait for a number of messages."""

    def __init__(self) -> None:
        self._left = 0
        self._reached = threading.Event()

    def expect(self, count: int) -> None:
        """Wait for this many from now on."""
        self._reached.clear()
        self._left = count

    def tick(self) -> None:
        """One more was received."""
        self._left -= 1
        if not self._left:
            self._reached.set()

    def wait(self) -> None:
        """Wait until all were received."""
        if not self._reached.wait(TIMEOUT):
            raise TimeoutError(f"{self._left} messages are missing")
