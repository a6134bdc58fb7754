"""A chat room: people in browsers and threads of this library talk to each other, over one port.

Run: python examples/chat_room.py                   # three threads talk; a page of another site is refused
     python examples/chat_room.py --serve [PORT]    # for browsers, until Ctrl-C; a thread greets each person
"""

import asyncio
import contextlib
import functools
import json
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from websockets.asyncio.server import broadcast, serve
from websockets.exceptions import ConnectionClosed

import wsclient

PAGE = Path(__file__).with_name("pages") / "chat_room.html"
members = set()
everyone = threading.Barrier(3)


def page(connection, request):
    """Answer with the page; or return None for a WebSocket, whose origin ``serve()`` checks."""
    if "Upgrade" in request.headers:
        return None
    response = connection.respond(200, PAGE.read_text(encoding="utf-8"))
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = "text/html; charset=utf-8"
    return response


async def room(connection):
    members.add(connection)
    with contextlib.suppress(ConnectionClosed):  # a browser that ends sends no close frame
        await connection.send(json.dumps({"from": "room", "text": "Welcome!"}))
        async for message in connection:
            broadcast(members, message)  # does not wait for slow members
    members.discard(connection)


async def run(listener, port, work, forever=False):
    # Browsers send the origin of their page, which no page can change. Other programs send none, or any that they like.
    origins = [f"http://localhost:{port}", None]
    # A browser keeps a spare connection, on which it sends nothing: Ctrl-C would wait for it for 10 seconds.
    options = {"process_request": page, "origins": origins, "open_timeout": 2}
    async with serve(room, sock=listener, **options) as server:
        await asyncio.to_thread(work)  # in a thread, since this loop must go on
        if forever:
            await server.serve_forever()


def chat(name, url):
    client = wsclient.Client(url)
    with client.listen() as messages, client:
        messages.get(timeout=10)  # "Welcome!"
        everyone.wait()  # until all clients are in the room
        client.send({"from": name, "text": "Hello!"})
        print(f"{name} heard {sorted(messages.get(timeout=10)['from'] for _ in range(3))}\n", end="")
        everyone.wait()  # until all clients have received all messages


def demonstrate(url):
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(chat, ("Ann", "Bob", "Cleo"), [url] * 3))
    try:
        wsclient.connect(url, origin="https://elsewhere.example")  # like a browser with a page of that site
    except wsclient.HandshakeError as error:
        print("a page of another site is refused with HTTP", error.status)


class Greeter(wsclient.Client):
    known = frozenset({"room", "Greeter"})

    def on_message(self, message):
        if message["from"] not in self.known:
            self.known |= {message["from"]}
            self.send({"from": "Greeter", "text": f"Hello, {message['from']}! I am a thread of a Python program."})


if __name__ == "__main__":
    serving = sys.argv[1:2] == ["--serve"]
    listener = socket.create_server(("localhost", int(sys.argv[2]) if sys.argv[2:] else 8765 if serving else 0))
    port = listener.getsockname()[1]
    url = f"ws://localhost:{port}/"
    if serving:
        print(f"open http://localhost:{port}/ in two windows; http://127.0.0.1:{port}/ is another origin", flush=True)
        with contextlib.suppress(KeyboardInterrupt), contextlib.closing(Greeter(url)) as greeter:
            asyncio.run(run(listener, port, greeter.start, forever=True))
    else:
        asyncio.run(run(listener, port, functools.partial(demonstrate, url)))
