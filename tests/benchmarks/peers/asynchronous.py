"""Shared code of the two asyncio peers: a loop that runs as long as a case, and futures for answers."""

from __future__ import annotations

import asyncio
import itertools
import json
import time

from .base import QUESTION, TIMEOUT, Peer


class Asynchronous(Peer):
    """Subclasses connect in ``open`` and pass each text to ``took``."""

    one_thread = True

    def __init__(self, url, deflated):
        self._loop = asyncio.new_event_loop()
        self._ids = itertools.count()
        self._futures = {}
        self._left = 0
        self._reached = None
        self._loop.run_until_complete(self.open(url, deflated))

    async def open(self, url, deflated):
        raise NotImplementedError

    async def say(self, text):
        """Send a text."""
        raise NotImplementedError

    def took(self, text):
        """A text was received."""
        if self._left:
            self._left -= 1
            if not self._left:
                self._reached.set_result(None)
        else:
            answer = json.loads(text)
            self._futures.pop(answer["id"]).set_result(answer)

    def order(self, text):
        self._loop.run_until_complete(self._say_and_get([text], 1))

    def receive(self, count):
        self._loop.run_until_complete(self._say_and_get(["!go"], count))

    def send(self, payloads):
        self._loop.run_until_complete(self._say_and_get(payloads, 1))

    def requests(self, count):
        return self._loop.run_until_complete(self._requests(count))

    def request_many(self, count):
        self._loop.run_until_complete(self._request_many(count))

    def parallel(self, threads, count):
        self._loop.run_until_complete(self._parallel(threads, count // threads))

    async def _say_and_get(self, texts, count):
        self._reached = self._loop.create_future()
        self._left = count
        for text in texts:
            await self.say(text)
        await asyncio.wait_for(self._reached, TIMEOUT)

    async def _ask(self):
        id = next(self._ids)
        future = self._futures[id] = self._loop.create_future()
        await self.say(json.dumps({**QUESTION, "id": id}))
        return await future

    async def _requests(self, count):
        took = []
        for _ in range(count):
            began = time.perf_counter()
            await self._ask()
            took.append(time.perf_counter() - began)
        return took

    async def _request_many(self, count):
        await asyncio.gather(*(self._ask() for _ in range(count)))

    async def _parallel(self, tasks, count):
        await asyncio.gather(*(self._requests(count) for _ in range(tasks)))
