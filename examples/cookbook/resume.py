"""Resume where the connection broke off: no event is lost, and none is processed twice.

Why: what a server sends while you are away is lost, unless you ask for it.
How: the number of the last event that was processed is kept in ``client.memo``, which lives as long as the client;
``on_session`` sends it on each connection. The comparison in ``take()`` drops what comes twice.

Change: the message in ``on_session()``, the name of the number, and ``print()``. To survive a restart of the program,
too, store the number in a file, together with the result of the processing.
Run: python examples/cookbook/resume.py
"""

import contextlib
import json
import queue
import threading

from websockets.exceptions import ConnectionClosed

import wsclient
from wsclient.testing import Server

events, readers, resumed, lock = [], [], [], threading.Lock()  # of the server


def resume(connection, text):
    with lock:
        readers.append(connection)
        resumed.append(json.loads(text)["after"])
        for event in events[resumed[-1] :]:
            connection.send(json.dumps(event))


def publish(text):
    with lock:
        events.append({"seq": len(events) + 1, "text": text})
        for reader in readers:
            with contextlib.suppress(ConnectionClosed):
                reader.send(json.dumps(events[-1]))


class Reader(wsclient.Client):
    processed = queue.Queue()

    def on_session(self, session):
        session.send({"op": "resume", "after": session.memo.get("seq", 0)})

    def on_message(self, message):
        if message["seq"] > self.memo.get("seq", 0):
            self.processed.put(f"{message['seq']} {message['text']}")
            self.memo["seq"] = message["seq"]


if __name__ == "__main__":
    with Server(resume) as server, Reader(server.url) as reader:
        publish("one")
        print(reader.processed.get(timeout=30))
        server.cut_all()
        publish("two, during the break")
        publish("three")
        print(reader.processed.get(timeout=30))
        print(reader.processed.get(timeout=30))
        print("resumed after:", *resumed)
