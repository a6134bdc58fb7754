"""A server that plays a recording back, so that a script can be tested without the server it was written for.

Each connection has a thread of its own, which alone touches its socket and its player; ``close`` ends them by shutting
the sockets down. What several threads add to (``mismatches``, ``unexpected``, the connections) grows by atomic appends,
or under the one lock.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..._network.poller import READ, Poller
from ..._recording import format as recording_format
from ..._recording.redaction import Redactor
from ..._threads.deadline import Deadline
from ..._threads.locks import make_lock
from ..._threads.wakeup import Wakeup
from ..._validation import check_bool, check_seconds
from .._servers.certificates import url_of
from .._servers.sockets import listen
from .conversation import Conversation
from .matching import ID_KEYS, Matcher
from .playing import LenientPlayer, Player, StrictPlayer

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Replay", "ReplayMismatch"]

_LAST_STEPS: Final = 5.0
"""Seconds for threads whose sockets are shut down; they take milliseconds."""


class ReplayMismatch(AssertionError):
    """The client did not do what was recorded.

    Attributes:
        differences: a sentence for each.
    """

    def __init__(self, differences: Sequence[str]) -> None:
        self.differences = tuple(differences)
        super().__init__(self.differences)

    def __str__(self) -> str:
        return "\n".join(["The client did not do what was recorded:", *self.differences])


class Replay:
    """A WebSocket server on loopback that plays back what ``Client(url, record=path)`` has recorded.

    It listens from its construction to ``close()``, in threads of its own; best used in a ``with`` block, which checks
    at its end::

        with Replay("session.jsonl") as replay:
            run_my_script(replay.url)

    The client's first connection gets the first recorded one, and so on, with its subprotocol and response headers. The
    server's messages and pings come once the client's messages that stand before them have come. How a connection ended
    is played as well: the server's close frame with its code; a lost line by ending it without one. Attempts that
    failed, pongs and the client's pings are not played.

    Strict: the client must send what was recorded, in that order, JSON compared as values; what was redacted matches
    anything. At a difference the connection is closed with 1008. After the last recorded connection further ones are
    refused with 503.

    Lenient: messages may come in any order, be left out or be new. Each finds the first recorded one not yet played
    that is equal but for its ids, else the first with the same method or type (where there is none: with the same
    members). What answered that one by its id is sent under the id that the client gave now; see ``LenientPlayer`` for
    the rest. A message that nothing is like is kept in ``unexpected`` and not answered. After the last recorded
    connection it is played again.

    Attributes:
        mismatches: readable sentences on what the client did otherwise; strict only.
        unexpected: payloads that nothing recorded is like; lenient only.
        port: where it listens.
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
            path: the recording.
            strict: see above.
            speed: 1.0 keeps the recorded gaps between the server's messages, 2.0 halves them; None plays as fast as
                possible.
            host: the address to listen at.
            port: the port; 0 for a free one.
            ids: members, at the top of a message, that tell which request is answered; lenient only.

        Raises:
            ValueError: the file is no recording, is damaged, or is of a newer version; the sentence names the line.
            OSError: it can't be read, or there can't be listened.
        """
        self._strict = check_bool("strict", strict)
        self._speed = None if speed is None else check_seconds("speed", speed)
        if isinstance(ids, str) or not all(isinstance(key, str) for key in ids):
            raise TypeError(f"ids must be a list of names, not {ids!r}.")
        with Path(path).open("rb") as file:
            self._tape = recording_format.parse(file, os.fspath(path))
        self._matcher = Matcher(Redactor(self._tape.redact, self._tape.keep), ids)
        self.mismatches: list[str] = []
        self.unexpected: list[str | bytes] = []
        # Guards which recorded connection comes next, and which are being played.
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
        """Where it listens, for a client to connect to."""
        return url_of(self._host, self.port, None)

    def check(self) -> None:
        """Raise if the client did not do what was recorded; call it when the client is closed. Lenient: never raises.

        Raises:
            ReplayMismatch: it sent something else, or did not send something.
        """
        if self._strict:
            differences = [*self.mismatches, *self._missing()]
            if differences:
                raise ReplayMismatch(differences)

    def close(self) -> None:
        """End every connection, and listen no more. Any thread, any number of times."""
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
        until = Deadline.after(_LAST_STEPS, time.monotonic())
        for thread in left.values():
            thread.join(until.left(time.monotonic()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        self.close()
        if kind is None:
            self.check()

    # --- threads of ours ---------------------------------------------------------------------------------------------

    def _next_player(self) -> Player | None:
        """What the next connection is played by; None if there is nothing left."""
        with self._lock:
            number, recorded = len(self._players), self._tape.connections
            if not recorded or (self._strict and number >= len(recorded)):
                return None
            made = StrictPlayer if self._strict else LenientPlayer
            player = made(recorded[min(number, len(recorded) - 1)], self._matcher, self._speed)
            player.differences, player.unexpected = self.mismatches, self.unexpected
            self._players.append(player)
            return player

    def _left(self, conversation: Conversation) -> None:
        """A connection is over."""
        with self._lock:
            del self._open[conversation]

    def _accept(self) -> None:
        poller = Poller(self._wakeup)
        self._listener.setblocking(False)
        try:
            while not self._closed:
                if not poller.wait(self._listener, READ, None):
                    continue
                with contextlib.suppress(OSError):  # the client has gone before it was let in
                    self._converse(self._listener.accept()[0])
        finally:
            poller.close()

    def _converse(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        conversation = Conversation(sock, self._next_player, self._left)
        thread = threading.Thread(target=conversation.run, name=f"replay-{self.port}", daemon=True)
        with self._lock:
            self._open[conversation] = thread
        thread.start()

    def _missing(self) -> list[str]:
        with self._lock:
            players = list(self._players)
        found = [sentence for player in players for sentence in player.missing()]
        for connection in self._tape.connections[len(players) :]:
            found += StrictPlayer(connection, self._matcher, None).missing()
        return found
