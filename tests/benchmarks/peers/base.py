"""What every peer can be asked to do, and the usual way to tell replies apart where a library has none."""

from __future__ import annotations

import itertools
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

QUESTION = {"op": "echo", "data": "x" * 85}
"""With its id it has 128 bytes, about."""
TIMEOUT = 60.0


class Peer:
    """A connected client. What a peer can't do it does not override; the worker tells so.

    Every ``request`` sends ``QUESTION`` with an id of its own as JSON, and decodes the answer.
    """

    one_thread = False
    """Whether everything must run in the main thread."""

    def order(self, text: str) -> None:
        """Send an order to the server and wait for ``ready``."""
        raise NotImplementedError

    def receive(self, count: int) -> None:
        """Say ``!go``, and get so many messages."""
        raise NotImplementedError

    def send(self, payloads: list[str]) -> None:
        """Send these, and wait for ``done``."""
        raise NotImplementedError

    def request(self) -> None:
        """Ask, and wait for the answer."""
        raise NotImplementedError

    def request_many(self, count: int) -> None:
        """Ask so many things at once, and wait for all answers."""
        raise NotImplementedError

    def requests(self, count: int) -> list[float]:
        """Ask so many times, one after the other; gives the seconds that each took."""
        clock, ask = time.perf_counter, self.request
        took = []
        for _ in range(count):
            began = clock()
            ask()
            took.append(clock() - began)
        return took

    def parallel(self, threads: int, count: int) -> None:
        """Ask so many things in all, from so many threads."""
        with ThreadPoolExecutor(threads) as pool:
            jobs = [pool.submit(self.requests, count // threads) for _ in range(threads)]
        for job in jobs:
            job.result()


class Answers:
    """The usual recipe: a table of ids, an ``Event`` and a place for the answer for each."""

    def __init__(self) -> None:
        self._ids = itertools.count()
        self._waiting: dict[int, list[Any]] = {}

    def begin(self) -> tuple[int, str]:
        """A new id and the text to send."""
        id = next(self._ids)
        self._waiting[id] = [threading.Event(), None]
        return id, json.dumps({**QUESTION, "id": id})

    def take(self, text: str) -> None:
        """An answer has come."""
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
        """From now on, so many."""
        self._reached.clear()
        self._left = count

    def tick(self) -> None:
        """One more."""
        self._left -= 1
        if not self._left:
            self._reached.set()

    def wait(self) -> None:
        """Until all have come."""
        if not self._reached.wait(TIMEOUT):
            raise TimeoutError(f"{self._left} messages are missing")
