"""websocket-client's ``WebSocket``: blocking calls in one thread, and nothing else."""

from __future__ import annotations

import itertools
import json

import websocket

from .base import QUESTION, Peer


class Bare(Peer):
    def __init__(self, url):
        self._socket = websocket.create_connection(url, skip_utf8_validation=True)
        self._ids = itertools.count()

    def order(self, text):
        self._socket.send(text)
        self._socket.recv()

    def receive(self, count):
        self._socket.send("!go")
        for _ in range(count):
            self._socket.recv()

    def send(self, payloads):
        for payload in payloads:
            self._socket.send(payload)
        self._socket.recv()

    def request(self):
        self._socket.send(json.dumps({**QUESTION, "id": next(self._ids)}))
        json.loads(self._socket.recv())

    def parallel(self, threads, count):
        raise NotImplementedError("one thread at a time")


def make(name, url, deflated):
    if deflated:
        raise NotImplementedError("it has no permessage-deflate")
    return Bare(url)
