"""The server of all benchmarks: picows on uvloop, so that it is never the slower side. A separate process.

``python -m tests.benchmarks.server`` prints its port and serves until its standard input ends. A text that begins with
``!`` is a command, any other message is echoed:

* ``!prepare COUNT SIZE``: makes the messages of the next flood; answers ``ready``. At ``/deflate`` they are compressed
  here.
* ``!go``: sends them.
* ``!sink COUNT``: answers ``ready``, then discards that many messages and answers ``done``.
* ``!hold COUNT``: answers ``ready``, then delays that many messages; the following ones are echoed at once.
* ``!release``: sends the delayed messages, in order.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import zlib

from picows import (
    WSListener,
    WSMsgType,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from .loop import run
from .machine import SERVER_CORE, allow_many_descriptors, pin
from .texts import LEVEL, MEMORY_LEVEL, WINDOW_BITS, row_of, text_of

logging.getLogger("picows").setLevel(logging.ERROR)  # it warns of each write that did not fit into the socket

_SYNC_TAIL = b"\x00\x00\xff\xff"


class Service(WSListener):
    """One connection."""

    def __init__(self, deflated: bool) -> None:
        self._flood: list[bytes] = []
        self._left = 0
        self._to_hold = 0
        self._held: list[tuple[WSMsgType, bytes]] = []
        self._inflater = zlib.decompressobj(-15) if deflated else None
        self._deflater = zlib.compressobj(LEVEL, zlib.DEFLATED, -WINDOW_BITS, MEMORY_LEVEL) if deflated else None

    def on_ws_frame(self, transport, frame):
        kind = frame.msg_type
        if kind is WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
            return
        if kind is not WSMsgType.TEXT and kind is not WSMsgType.BINARY:
            return
        payload = frame.get_payload_as_bytes()
        if frame.rsv1:
            payload = self._inflater.decompress(payload + _SYNC_TAIL)
        if self._left:
            self._left -= 1
            if not self._left:
                transport.send(WSMsgType.TEXT, b"done")
        elif payload.startswith(b"!"):
            self._obey(transport, payload.decode().split())
        elif self._to_hold:
            self._to_hold -= 1
            self._held.append((kind, payload))
        else:
            transport.send(kind, payload)

    def _obey(self, transport, order):
        if order[0] == "!go":
            for payload in self._flood:
                transport.send(WSMsgType.TEXT, payload, rsv1=self._deflater is not None)
            return
        if order[0] == "!release":
            for kind, payload in self._held:
                transport.send(kind, payload)
            self._held.clear()
            return
        count = int(order[1])
        if order[0] == "!sink":
            self._left = count
        elif order[0] == "!hold":
            self._to_hold += count
        elif self._deflater is None:
            self._flood = [text_of(int(order[2])).encode()] * count
        else:
            self._flood = [self._deflated(row_of(number).encode()) for number in range(count)]
        transport.send(WSMsgType.TEXT, b"ready")

    def _deflated(self, payload):
        return (self._deflater.compress(payload) + self._deflater.flush(zlib.Z_SYNC_FLUSH)).removesuffix(_SYNC_TAIL)


def accept(request):
    """The listener of a new connection."""
    if request.path != b"/deflate":
        return Service(deflated=False)
    agreed = f"permessage-deflate; client_max_window_bits={WINDOW_BITS}; server_max_window_bits={WINDOW_BITS}"
    response = WSUpgradeResponse.create_101_response(extra_headers={"Sec-WebSocket-Extensions": agreed})
    return WSUpgradeResponseWithListener(response, Service(deflated=True))


async def serve() -> None:
    """Serve until standard input ends."""
    server = await ws_create_server(accept, "127.0.0.1", 0, max_frame_size=2**26)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.read)
    os._exit(0)  # open connections are not needed any more


if __name__ == "__main__":
    pin(SERVER_CORE)
    allow_many_descriptors()
    run(serve())
