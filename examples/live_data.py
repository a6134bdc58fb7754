"""Live data: a feed whose connection is lost from time to time. The client subscribes again on each connection.

Run: python examples/live_data.py                   # a client prints 15 prices
     python examples/live_data.py --serve [PORT]    # a page plots them, until Ctrl-C
"""

import asyncio
import contextlib
import itertools
import json
import math
import socket
import sys
import time
from pathlib import Path

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

import wsclient

PAGE = Path(__file__).with_name("pages") / "live_data.html"


def page(connection, request):
    """Answer with the page; or return None for a WebSocket, whose origin ``serve()`` checks."""
    if "Upgrade" in request.headers:
        return None
    response = connection.respond(200, PAGE.read_text(encoding="utf-8"))
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = "text/html; charset=utf-8"
    return response


async def feed(connection, lasts):
    with contextlib.suppress(ConnectionClosed):  # the client has left
        assert json.loads(await connection.recv()) == {"op": "subscribe", "channel": "prices"}
        for _ in range(lasts):
            now = time.time()
            price = round(100 + 8 * math.sin(now) + 3 * math.sin(3.1 * now), 2)
            await connection.send(json.dumps({"time": now, "price": price}))
            await asyncio.sleep(0.05)
    connection.transport.abort()  # the connection is cut, without a close frame


async def run(listener, port, lasts, work=None):
    # Only this server's page may read the feed; other programs than browsers send no origin. chat_room.py says more.
    options = {"process_request": page, "origins": [f"http://localhost:{port}", None], "open_timeout": 2}
    async with serve(lambda connection: feed(connection, lasts), sock=listener, **options) as server:
        await (asyncio.to_thread(work, f"ws://localhost:{port}/") if work else server.serve_forever())


class Ticker(wsclient.Client):
    def on_open(self):  # called after each reconnect too
        self.send({"op": "subscribe", "channel": "prices"})

    def on_close(self, code, reason):
        print(f"cut: {self.last_disconnect.reason}\n", end="")


def demonstrate(url):
    ticker = Ticker(url)
    with ticker.listen() as messages, ticker:
        for message in itertools.islice(messages, 15):
            print(f"price: {message['price']}\n", end="")
        print(f"{ticker.stats.connections} connections, {messages.gaps} gaps\n", end="")


if __name__ == "__main__":
    serving = sys.argv[1:2] == ["--serve"]
    listener = socket.create_server(("localhost", int(sys.argv[2]) if sys.argv[2:] else 8765 if serving else 0))
    port = listener.getsockname()[1]
    if serving:
        print(f"open http://localhost:{port}/", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(run(listener, port, 60))
    else:
        asyncio.run(run(listener, port, 5, demonstrate))
