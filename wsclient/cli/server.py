"""The server of the demonstration: a server of ``websockets`` on loopback that can become unavailable for some time."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections import Counter
from http import HTTPStatus
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection

from .._threads.waiting import InterruptSafeCondition
from ..testing._servers.listening import Listening
from ..testing._servers.sockets import make_reset

__all__ = ["DemoServer"]

PASSWORD = "open sesame"  # noqa: S105 - not a secret
_ANSWER_DELAY = (0.02, 0.06)
"""Shortest and longest delay of an answer, in seconds. The delay keeps some requests in flight all the time."""

_LONGEST_WAIT = 5.0
"""Longest wait for requests before the connections are cut, in seconds. The requests normally arrive within 10 ms."""


class DemoServer:
    """Stores texts, and answers ``login``, ``add`` and ``echo`` in JSON. A connection must begin with a login.

    Attributes:
        notes: the texts that it received, in order.
        seen: how often each request arrived, by its ``params``.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.seen: Counter[str] = Counter()
        # Guards _away and _under_way.
        self._changed = InterruptSafeCondition()
        self._away = False
        self._under_way: set[tuple[ServerConnection, Any]] = set()  # unanswered requests: connection and id
        self._connections: set[ServerConnection] = set()
        self._listening = Listening(self._serve, "127.0.0.1", 0, None, process_request=self._process_request)

    @property
    def url(self) -> str:
        """The server's URL, for clients."""
        return f"ws://127.0.0.1:{self._listening.port}/"

    def go_away(self, under_way: int = 0) -> None:
        """Stop answering, then end every connection with a RST, and refuse new ones.

        Args:
            under_way: wait before the RST until this many requests are unanswered, at most ``_LONGEST_WAIT`` seconds.
        """
        end = time.monotonic() + _LONGEST_WAIT
        with self._changed:
            self._away = True
            while len(self._under_way) < under_way and self._changed.wait(end - time.monotonic()):
                pass
        for connection in list(self._connections):
            make_reset(connection.socket)

    def come_back(self) -> None:
        """Accept clients again."""
        with self._changed:
            self._away = False
            self._under_way.clear()

    def stop(self) -> None:
        """Stop listening, and end all connections."""
        self.go_away()
        self._listening.stop()

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "restarting\n") if self._away else None

    def _serve(self, connection: ServerConnection) -> None:
        self._connections.add(connection)
        try:
            login = json.loads(connection.recv())
            if login.get("params") != PASSWORD:
                connection.close(1008, "wrong password")
                return
            self._answer(connection, login["id"], "welcome")
            for message in connection:
                self._process(connection, str(message))
        except (ConnectionClosed, OSError):
            pass
        finally:
            self._connections.discard(connection)

    def _process(self, connection: ServerConnection, message: str) -> None:
        try:
            call = json.loads(message)
        except ValueError:
            self.notes.append(message)
            return
        self.seen[json.dumps(call["params"])] += 1
        with self._changed:
            self._under_way.add((connection, call["id"]))
            self._changed.notify_all()
        timer = threading.Timer(random.uniform(*_ANSWER_DELAY), self._answer_call, (connection, call))  # noqa: S311
        timer.daemon = True
        timer.start()

    def _answer_call(self, connection: ServerConnection, call: dict[str, Any]) -> None:
        with self._changed:
            if self._away or (connection, call["id"]) not in self._under_way:
                return  # the connection is being cut, or was cut before `come_back()`
            self._under_way.discard((connection, call["id"]))
        result = sum(call["params"]) if call["method"] == "add" else call["params"]
        with contextlib.suppress(ConnectionClosed, OSError):
            self._answer(connection, call["id"], result)

    def _answer(self, connection: ServerConnection, id: int, result: object) -> None:
        connection.send(json.dumps({"id": id, "result": result}))
