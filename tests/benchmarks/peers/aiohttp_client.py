"""aiohttp, on asyncio."""

from __future__ import annotations

import asyncio

import aiohttp

from .asynchronous import Asynchronous


class Aiohttp(Asynchronous):
    async def open(self, url, deflated):
        self._session = aiohttp.ClientSession()
        self._line = await self._session.ws_connect(url, max_msg_size=2**26, compress=15 if deflated else 0)
        self._reader = asyncio.create_task(self._read())

    async def say(self, text):
        await self._line.send_str(text)

    async def _read(self):
        async for message in self._line:
            self.took(message.data)


def make(name, url, deflated):
    if deflated:
        raise NotImplementedError("its window can't be set to that of the others")
    return Aiohttp(url, deflated)
