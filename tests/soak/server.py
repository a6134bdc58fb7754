"""The server of the soak: a server of ``websockets`` that records every message with its connection.

Guarantees:
    * The records of a connection are in the order of its messages, and complete when ``close`` has returned.
    * Answers are sent in another order than the requests came: a request with ``hold`` is answered after further
      messages.
    * The messages of subscriptions have the same numbers on all connections. A new subscription begins with the first
      number that has not been sent yet on the connection before it.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
import time
from collections.abc import Callable
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

SENDING: Final = 0.2
"""Longest wait, in seconds, for the end of a write on another connection; it is longer only if that is blocked."""

NEWS_EVERY: Final = 10
"""After so many ticks comes a message that belongs to no subscription."""

QUEUED_FRAMES: Final = 256
"""Messages that ``websockets`` receives before the handler takes them, so that pongs do not wait for the handler."""


class _Feed:
    """The number of the present message of all subscriptions: it rises with the time, unless the server is quiet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all attributes
        self._began = time.monotonic()
        self._hushed_at: float | None = None
        self.resumed_by: _Visit | None = None  # the connection that has ended the last quiet time

    def total(self) -> int:
        """The number."""
        with self._lock:
            return int(((self._hushed_at or time.monotonic()) - self._began) / TICK)

    def hush(self) -> None:
        """Stand still until a connection subscribes that begins later."""
        with self._lock:
            self.resumed_by = None
            self._hushed_at = self._hushed_at or time.monotonic()

    def resume(self, visit: _Visit | None = None) -> None:
        """Go on. Without effect for a connection that began before the quiet time."""
        with self._lock:
            if self._hushed_at is not None and (visit is None or visit.began > self._hushed_at):
                self._began += time.monotonic() - self._hushed_at
                self._hushed_at = None
                self.resumed_by = visit


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
        self._open: dict[ServerConnection, _Visit] = {}
        self._feed = _Feed()
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

    def hush(self) -> None:
        """Send no messages of subscriptions until a further connection subscribes."""
        self._feed.hush()

    def resume(self) -> int | None:
        """Send messages of subscriptions again; return the number of the connection that had ended the quiet time.

        Returns:
            None if none had.
        """
        number = self.resumed_by
        self._feed.resume()
        return number

    @property
    def resumed_by(self) -> int | None:
        """The number of the connection that has ended the last quiet time; None if none has."""
        visit = self._feed.resumed_by
        return None if visit is None else visit.number

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
        visit = self._open[connection] = _Visit(connection, note, self._stopping, self._feed, self._others)
        try:
            for text in connection:
                visit.take(json.loads(text))
        except ConnectionClosed:
            pass
        finally:
            self._open.pop(connection, None)
            visit.over.set()

    def _others(self) -> list[_Visit]:
        return list(self._open.values())


class _Visit:
    """One connection: records its messages and answers them."""

    def __init__(
        self,
        connection: ServerConnection,
        note: Connection,
        stopping: threading.Event,
        feed: _Feed,
        others: Callable[[], list[_Visit]],
    ) -> None:
        self.began = time.monotonic()
        self.over = threading.Event()
        self.topics: dict[str, int] = {}  # the next number of each; changed by the thread that sends them
        self.sending = threading.Lock()  # held while one is sent and its number is noted
        self._feed = feed
        self._others = others
        self._connection = connection
        self._note = note
        self._stopping = stopping
        self._held: list[tuple[int, dict[str, Any]]] = []  # answers, and after how many further messages to send each
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
            self.topics[message["topic"]] = self._first(message["topic"])
            self._feed.resume(self)
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

    @property
    def number(self) -> int | None:
        """The number of its log-in."""
        return self._note.number

    def _first(self, topic: str) -> int:
        before = [one for one in self._others() if one is not self and topic in one.topics]
        if not before:
            return self._feed.total() + 1
        latest = max(before, key=lambda one: one.number or 0)
        is_idle = latest.sending.acquire(timeout=SENDING)
        try:
            return latest.topics[topic]
        finally:
            if is_idle:
                latest.sending.release()

    def _send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(ConnectionClosed):  # messages that came before the end must still be recorded
            self._connection.send(json.dumps(message))

    def _push(self) -> None:
        counts: dict[str, int] = {}
        ticks = 0
        while not self.over.wait(TICK) and not self._stopping.is_set():
            ticks += 1
            total = self._feed.total()
            for topic in list(self.topics):
                while self.topics[topic] <= total and not self.over.is_set():
                    counts[topic] = counts.get(topic, -1) + 1
                    place = {"connection": self._note.number, "n": counts[topic], "total": self.topics[topic]}
                    with self.sending:
                        self._send({"event": topic, **place})
                        self.topics[topic] += 1
            if ticks % NEWS_EVERY == 0:
                self._send({"event": "news", "n": ticks})


def _close(connection: ServerConnection, code: int) -> None:
    with contextlib.suppress(ConnectionClosed, OSError):
        connection.close(code, "requested by the soak")
