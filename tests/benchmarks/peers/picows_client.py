"""picows, on asyncio."""

from __future__ import annotations

import logging

import picows

from .asynchronous import Asynchronous

logging.getLogger("picows").setLevel(logging.ERROR)  # it warns of each write that did not fit into the socket


class _Listener(picows.WSListener):
    def __init__(self, took):
        self._took = took

    def on_ws_frame(self, transport, frame):
        if frame.msg_type is picows.WSMsgType.TEXT:
            self._took(frame.get_payload_as_utf8_text())


class Picows(Asynchronous):
    async def open(self, url, deflated):
        self._transport, _ = await picows.ws_connect(lambda: _Listener(self.took), url, max_frame_size=2**26)

    async def say(self, text):
        self._transport.send(picows.WSMsgType.TEXT, text.encode())


def make(name, url, deflated):
    if deflated:
        raise NotImplementedError("it has no permessage-deflate")
    return Picows(url, deflated)
