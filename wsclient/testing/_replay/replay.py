"""A server that replays a recording, so that a script can be tested without its server.

Each connection has a separate thread; only this thread uses its socket and its player. ``close`` ends the threads by
shutting down the sockets. Several threads add to ``mismatches`` and ``unexpected``, by atomic appends, and to the
players and the open connections, under the lock.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ..._network.poller import READ, Poller
from ..._recording import format as recording_format
from ..._recording.redaction import Redactor
from ..._threads.locks import make_lock
from ..._threads.waiting import Deadline
from ..._threads.wakeup import Wakeup
from ..._typing import Self
from ..._validation import check_bool, check_seconds
from .._servers.certificates import url_of
from .._servers.sockets import listen, pause_after, start_or_close
from .conversation import Conversation
from .matching import ID_KEYS, Matcher
from .playing import LenientPlayer, Player, StrictPlayer, heartbeats

__all__ = ["Replay", "ReplayMismatch"]

_EXIT_TIMEOUT: Final = 5.0
"""Seconds that the threads may take to end after their sockets were shut down; normally they take milliseconds."""


class ReplayMismatch(AssertionError):
    """The client did not do what was recorded.

    Attributes:
        differences: one sentence for each difference.
    """

    def __init__(self, differences: Sequence[str]) -> None:
        self.differences = tuple(differences)
        super().__init__(self.differences)

    def __str__(self) -> str:
        return "\n".join(["The client did not do what was recorded:", *self.differences])


class Replay:
    """A WebSocket server on loopback that replays a recording of ``Client(url, record=path)``.

    It listens from its construction to ``close()``, in separate threads. Use it in a ``with`` block, which calls
    ``check()`` at its end. If the block raises an ``Exception``, and the client sent something else than was recorded,
    the block ends with a ``ReplayMismatch`` whose ``__cause__`` is that exception::

        with Replay("session.jsonl") as replay:
            run_my_script(replay.url)

    On the client's first connection, the first recorded connection is replayed; on its second connection, the second
    one, and so on. Subprotocol and response headers are the recorded ones. The end of a connection is replayed too: the
    server's close frame with its code, or, for a lost connection, the end without a close frame. Failed attempts, pongs
    and the client's pings are not replayed.

    Strict: the client must send the recorded messages in their order. A message or ping of the server is sent after all
    messages of the client that precede it in the recording. JSON is compared as values; redacted values match any
    value. If a message differs, the connection is closed with 1008. After the last recorded connection, further ones
    are refused with 503.

    Heartbeats of the client's message protocol depend on time, so they are not compared: the client need not send any,
    and each heartbeat that equals a recorded one gets the same answer. Heartbeats take ids, and their number depends on
    time. So, if the recording contains heartbeats, the ids of other messages may differ from the recorded ones, and
    answers are sent with the ids that the client uses now.

    Lenient: the client may send messages in any order, leave some out and add others. Each message is assigned to one
    recorded message of the client that has no message yet: to the first one that is equal except for ids; else to the
    first one with the same method or type (or, if it has neither, with the same members). Answers to the recorded
    message are sent with the id that the client uses now; see ``LenientPlayer`` for other messages. A message that
    corresponds to no recorded one is stored in ``unexpected`` and not answered. Connections after the last recorded one
    replay the last one again.

    Attributes:
        mismatches: one sentence for each difference; strict only.
        unexpected: payloads that correspond to no recorded message; lenient only.
        port: the TCP port.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        strict: bool = True,
        speed: float | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        ids: Sequence[str] = ID_KEYS,
    ) -> None:
        """
        Args:
            path: the recording's file.
            strict: see above.
            speed: 1.0 keeps the recorded pauses between the server's messages, 2.0 halves them; None replays as fast as
                possible.
            host: the address to listen on.
            port: the port; 0 for a free one.
            ids: top-level members of messages that contain a request's id; not used by a strict replay without
                heartbeats.

        Raises:
            ValueError: the file is not a recording, is damaged, or has a newer version; the error text contains the
                line's number.
            OSError: the file can't be read, or the server can't listen on the address.
        """
        self._strict = check_bool("strict", strict)
        self._speed = None if speed is None else check_seconds("speed", speed)
        if isinstance(ids, str) or not all(isinstance(key, str) for key in ids):
            raise TypeError(f"ids must be a list of names, not {ids!r}.")
        with Path(path).open("rb") as file:
            self._session = recording_format.parse(file, os.fspath(path))
        self._matcher = Matcher(Redactor(self._session.redact, self._session.keep), ids)
        self._matcher.heartbeats = heartbeats(self._session.connections, self._matcher)
        self.mismatches: list[str] = []
        self.unexpected: list[str | bytes] = []
        # Guards the list of players, whose length selects the next recorded connection, and the open connections.
        self._lock = make_lock()
        self._players: list[Player] = []
        self._open: dict[Conversation, threading.Thread] = {}
        self._closed = False
        self._listener = listen(host, port)
        self._host = host
        self.port: int = self._listener.getsockname()[1]
        self._wakeup = Wakeup()
        self._accepting = threading.Thread(target=self._accept, name=f"replay-{self.port}", daemon=True)
        self._accepting.start()

    @property
    def url(self) -> str:
        """The server's URL, for clients."""
        return url_of(self._host, self.port, None)

    def check(self) -> None:
        """Raise an error if the client did not do what was recorded. Call it after the client was closed.

        Raises:
            ReplayMismatch: the client sent something else, or did not send something; strict only.
        """
        if self._strict:
            differences = [*self.mismatches, *self._missing()]
            if differences:
                raise ReplayMismatch(differences)

    def close(self) -> None:
        """End all connections, and stop listening. Thread-safe; further calls have no effect.

        Raises:
            TimeoutError: the thread of a connection has not ended within 5 s.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._wakeup.wake()
        self._accepting.join()
        self._wakeup.close()
        self._listener.close()
        with self._lock:
            left = dict(self._open)
        for conversation in left:
            conversation.abort()
        until = Deadline.after(_EXIT_TIMEOUT, time.monotonic())
        for thread in left.values():
            thread.join(until.left(time.monotonic()))
        running = sum(thread.is_alive() for thread in left.values())
        if running:
            raise TimeoutError(
                f"Connections of the Replay at {self.url} whose threads have not ended within {_EXIT_TIMEOUT:g} s: "
                f"{running}."
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *rest: object) -> None:
        self.close()
        if kind is None:
            self.check()
        elif self.mismatches and isinstance(error, Exception):
            # The replay has closed the connection at the difference; that is probably why the block raised. Messages
            # that were not sent are left out: the block may have raised before it could send them.
            raise ReplayMismatch(self.mismatches) from error

    # --- the server's threads ----------------------------------------------------------------------------------------

    def _next_player(self) -> Player | None:
        """A player for the next connection; None if no recorded connection is left."""
        with self._lock:
            number, recorded = len(self._players), self._session.connections
            if not recorded or (self._strict and number >= len(recorded)):
                return None
            made = StrictPlayer if self._strict else LenientPlayer
            player = made(recorded[min(number, len(recorded) - 1)], self._matcher, self._speed)
            player.differences, player.unexpected = self.mismatches, self.unexpected
            self._players.append(player)
            return player

    def _conversation_ended(self, conversation: Conversation) -> None:
        """Called when a connection has ended."""
        with self._lock:
            del self._open[conversation]

    def _accept(self) -> None:
        poller = Poller(self._wakeup)
        self._listener.setblocking(False)
        while not self._closed:
            if not poller.wait(self._listener, READ, None):
                continue
            try:
                self._serve(self._listener.accept()[0])
            except OSError as error:  # usually the client disconnected before it was accepted
                poller.wait(None, 0, pause_after(error, "A Replay"))

    def _serve(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        conversation = Conversation(sock, self._next_player, self._conversation_ended)
        thread = threading.Thread(target=conversation.run, name=f"replay-{self.port}", daemon=True)
        with self._lock:
            self._open[conversation] = thread
        if not start_or_close(thread, sock, "A Replay"):
            self._conversation_ended(conversation)

    def _missing(self) -> list[str]:
        with self._lock:
            players = list(self._players)
        found = [sentence for player in players for sentence in player.missing()]
        for connection in self._session.connections[len(players) :]:
            found += StrictPlayer(connection, self._matcher, None).missing()
        return found
