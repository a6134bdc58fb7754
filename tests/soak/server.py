"""The server of the soak: a server of ``websockets`` that records every message with its connection.

Guarantees:
    * The records of a connection are in the order of its messages, and complete when ``close`` has returned.
    * Answers are sent in another order than the requests came: a request with ``hold`` is answered after further
      messages.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
import time
from typing import Any, Final

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection

from wsclient.testing._servers.listening import Listening
from wsclient.testing._servers.sockets import make_reset

from .history import Connection

__all__ = ["SoakServer"]

CLOSE_CODES: Final = (1000, 1001, 1011, 1012)
"""Close codes of a server after which a client reconnects (RFC 6455 §7.4.1, IANA's registry)."""

TICK: Final = 0.02
"""Seconds between two messages of a subscription."""

NEWS_EVERY: Final = 10
"""After so many ticks comes a message that belongs to no subscription."""

QUEUED_FRAMES: Final = 256
"""Messages that ``websockets`` receives before the handler takes them, so that pongs do not wait for the handler."""


class SoakServer:
    """A server that listens from its construction to ``close()``.

    Attributes:
        connections: the records of all connections, in the order in which they were accepted.
    """

    def __init__(self, ssl_context: ssl.SSLContext | None = None) -> None:
        """
        Args:
            ssl_context: the context for TLS; None for no TLS.
        """
        self.connections: list[Connection] = []
        self._open: dict[ServerConnection, None] = {}
        self._stopping = threading.Event()
        self._listening = Listening(
            self._serve,
            "127.0.0.1",
            0,
            None,
            ping_interval=None,  # only the client's keepalive is tested
            max_queue=QUEUED_FRAMES,
            ssl=ssl_context,
        )
        self.port = self._listening.port

    def close_all(self, which: int) -> None:
        """Send a close frame on every connection, without waiting for the answers.

        Args:
            which: the index of the close code in ``CLOSE_CODES``.
        """
        for connection in list(self._open):
            code = CLOSE_CODES[which % len(CLOSE_CODES)]
            threading.Thread(target=_close, args=(connection, code), name="soak-server-close", daemon=True).start()

    def close(self) -> None:
        """End all connections, and wait for their threads.

        Raises:
            TimeoutError: a thread does not end.
        """
        self._stopping.set()
        for connection in list(self._open):
            make_reset(connection.socket)
        self._listening.stop()

    def _serve(self, connection: ServerConnection) -> None:
        note = Connection(None, [])
        self.connections.append(note)
        self._open[connection] = None
        visit = _Visit(connection, note, self._stopping)
        try:
            for text in connection:
                visit.take(json.loads(text))
        except ConnectionClosed:
            pass
        finally:
            self._open.pop(connection, None)
            visit.over.set()


class _Visit:
    """One connection: records its messages and answers them."""

    def __init__(self, connection: ServerConnection, note: Connection, stopping: threading.Event) -> None:
        self.over = threading.Event()
        self._connection = connection
        self._note = note
        self._stopping = stopping
        self._held: list[tuple[int, dict[str, Any]]] = []  # answers, and after how many further messages to send each
        self._topics: list[str] = []
        self._pusher: threading.Thread | None = None

    def take(self, message: dict[str, Any]) -> None:
        """Record a message, and answer it."""
        op = message["op"]
        self._note.keys.append(message["key"])
        self._note.times.append(time.monotonic())
        if op == "login":
            self._note.number = message["connection"]
            self._note.logged_in_at = time.monotonic()
            self._note.began = message["began"]
        elif op == "subscribe":
            self._topics = [*self._topics, message["topic"]]
            if self._pusher is None:
                self._pusher = threading.Thread(target=self._push, name="soak-server-push", daemon=True)
                self._pusher.start()
        if op != "note":
            reply: dict[str, Any] = {name: message[name] for name in ("id", "key", "pad") if name in message}
            self._held.append((message.get("hold", 0), reply))
        due = [held for left, held in self._held if left <= 0]
        self._held = [(left - 1, held) for left, held in self._held if left > 0]
        for one in due:
            self._send(one)

    def _send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(ConnectionClosed):  # messages that came before the end must still be recorded
            self._connection.send(json.dumps(message))

    def _push(self) -> None:
        counts: dict[str, int] = {}
        ticks = 0
        while not self.over.wait(TICK) and not self._stopping.is_set():
            ticks += 1
            for topic in self._topics:
                counts[topic] = counts.get(topic, -1) + 1
                self._send({"event": topic, "connection": self._note.number, "n": counts[topic]})
            if ticks % NEWS_EVERY == 0:
                self._send({"event": "news", "n": ticks})


def _close(connection: ServerConnection, code: int) -> None:
    with contextlib.suppress(ConnectionClosed, OSError):
        connection.close(code, "requested by the soak")
