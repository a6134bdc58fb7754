"""A real ``websockets`` server in threads of its own."""

import json
import logging
import os
import queue
import socket
import struct
import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

logging.getLogger("websockets").setLevel(logging.CRITICAL)  # peers that vanish are what these tests are about


def json_handler(connection, message):
    """Answers ``{"id": ..., "method": "add", "params": [...]}`` and a few more; echoes everything else."""
    try:
        call = json.loads(message)
    except ValueError:
        call = None
    if not isinstance(call, dict) or "method" not in call:
        connection.send(message)
        return
    method, params = call["method"], call.get("params")
    if method == "silence":
        return
    if method == "add":
        connection.send(json.dumps({"id": call["id"], "result": sum(params)}))
    elif method == "event":
        connection.send(json.dumps({"event": params}))
    else:
        connection.send(json.dumps({"id": call.get("id"), "result": params}))


class Server:
    """Listens on loopback from construction to ``stop()``; keeps what it received.

    ``handler(connection, message)`` is called for each message. ``opened`` is a queue of the connections, in order.
    """

    def __init__(self, handler=json_handler, *, port=0, tls=None, host="127.0.0.1", **options):
        self.received = []
        self.opened = queue.Queue()
        self._handler = handler
        self._host = host
        self._tls = tls
        self._options = options
        self._changed = threading.Condition()
        self._connections = []
        self._server = None
        self.port = port
        self.start()

    def start(self):
        assert self._server is None
        sock = socket.create_server((self._host, self.port), backlog=512)
        self.port = sock.getsockname()[1]
        self._server = serve(self._serve, sock=sock, ssl=self._tls, close_timeout=1, **self._options)
        self._thread = threading.Thread(target=self._server.serve_forever, name="test-server", daemon=True)
        self._thread.start()

    @property
    def url(self):
        return f"{'wss' if self._tls else 'ws'}://{'localhost' if self._tls else self._host}:{self.port}/"

    @property
    def connections(self):
        return list(self._connections)

    def _serve(self, connection):
        self._connections.append(connection)
        if self._server is None:  # stopped between the handshake and here, which older websockets leaves open
            _end(connection.socket)
        self.opened.put(connection)
        try:
            for message in connection:
                with self._changed:
                    self.received.append(message)
                    self._changed.notify_all()
                self._handler(connection, message)
        except (ConnectionClosed, OSError):
            pass
        finally:
            self._connections.remove(connection)

    def wait_for(self, count, timeout=15.0):
        """Wait until so many messages have come; gives them."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.received) >= count, timeout), self.received[-5:]
            return self.received[:count]

    def send_all(self, message):
        for connection in self.connections:
            connection.send(message)

    def close_all(self, code=1000, reason=""):
        for connection in self.connections:
            connection.close(code, reason)

    def cut_all(self):
        """End every line with a FIN and no close frame."""
        for connection in self.connections:
            _end(connection.socket)

    def reset_all(self):
        """End every line with a RST."""
        for connection in self.connections:
            reset(connection.socket)

    def stop(self):
        """Listen no more, and end what is open."""
        if self._server is None:
            return
        server, self._server = self._server, None
        self.cut_all()
        server.shutdown()
        self._thread.join(15)
        for pipe in (getattr(server, "shutdown_watcher", None), getattr(server, "shutdown_notifier", None)):
            if isinstance(pipe, int):  # websockets before 17 leaves both ends open
                os.close(pipe)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()


def _end(sock):
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def reset(sock):
    """Have whoever reads the socket close it with a RST instead of a FIN."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RD)  # wakes a reader, which then closes
    except OSError:
        pass
