"""python-socketio: ``call()``, over WebSocket from the start, with its own server (``..socketio_server``)."""

from __future__ import annotations

import socketio

from .base import QUESTION, TIMEOUT, Peer


class SocketIO(Peer):
    def __init__(self, url):
        self._client = socketio.Client(reconnection=False)
        self._client.connect(url, transports=["websocket"])

    def request(self):
        self._client.call("echo", QUESTION, timeout=TIMEOUT)


def make(name, url, deflated):
    if deflated:
        raise NotImplementedError("its protocol is another one")
    return SocketIO(url)
