"""Move from python-socketio, or stay with it: Socket.IO is a protocol on top of WebSocket, here in 25 lines.

Before:

    sio = socketio.Client()
    sio.connect("http://host:5000", transports=["websocket"])
    total = sio.call("add", [1, 2])
    sio.on("news", print)

After:

    client = wsclient.connect("ws://host:5000/socket.io/?EIO=4&transport=websocket", protocol=SocketIO())
    total = client.call("add", [[1, 2]])            # the arguments are a list
    client.on("news", print)                        # gets ["news", ...]

Why: a call that fails at once when its connection is lost, and a queue for what is sent meanwhile.
How: ``SocketIO`` has the default namespace, events and acknowledgements of Engine.IO 4 and Socket.IO 5. Stay with
python-socketio for other namespaces, binary data, polling, or a server older than Socket.IO 3.

Change: the URL; a log-in goes into the message "40": ``session.send('40{"token": "..."}')``.
Run: python examples/cookbook/from_socketio.py [URL]     (without a URL it brings a small server)
"""

import itertools
import json
import re
import sys
import threading

from websockets.sync.server import serve

import wsclient
from wsclient.protocols import Call, Control, Event, Reply


class SocketIO(wsclient.Protocol):
    def __init__(self):
        self.numbers = itertools.count(1)

    def on_session(self, session):
        session.recv(timeout=10)  # "0{...}": Engine.IO is open
        session.send("40")
        if not (answer := session.recv(timeout=10)).startswith("40"):
            raise wsclient.SessionError(f"The server refuses the connection: {answer}", retry=False)

    def new_id(self):
        return next(self.numbers)

    def build(self, method, params, notify):
        return [method, *(params or ())]

    def encode(self, message):
        return message if isinstance(message, str) else f"42{json.dumps(message)}"

    def encode_request(self, message, id):
        return f"42{id}{json.dumps(message)}"

    def encode_result(self, id, value):
        return f"43{id}{json.dumps([value])}"

    def decode(self, payload):
        if payload == "2":
            return Control(answer="3")
        if not (parts := re.fullmatch(r"4([23])(\d*)(\[.*)", payload, re.DOTALL)):
            return Event(payload)
        kind, id, content = parts[1], parts[2], json.loads(parts[3])
        if kind == "3":
            return Reply(int(id), content[0] if content else None)
        return Call(id, content[0], content[1:]) if id else Event(content, topic=content[0])


def small_server(connection):
    connection.send('0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000}')
    for text in connection:
        if text == "40":
            connection.send('40{"sid":"b"}')
        elif parts := re.fullmatch(r'42(\d+)\["add", ?(\[.*\])\]', text):
            connection.send("2")  # a ping
            connection.send('42["news","somebody adds"]')
            connection.send(f"43{parts[1]}[{sum(json.loads(parts[2]))}]")


def use(url):
    url = f"{url}/socket.io/?EIO=4&transport=websocket"
    with wsclient.connect(url, protocol=SocketIO()) as client, client.listen() as events:
        print("sum:", client.call("add", [[1, 2]], timeout=10))
        print(events.get(timeout=10))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        use(sys.argv[1])
    else:
        with serve(small_server, "localhost", 0) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            use(f"ws://localhost:{server.socket.getsockname()[1]}")
