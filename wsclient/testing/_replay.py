"""A server that plays a recording back, so that a script can be tested without the server it was written for.

Each connection has a thread of its own, which alone touches its socket and its player; ``close`` ends them by shutting
the sockets down. What several threads add to (``mismatches``, ``unexpected``, the connections) grows by atomic appends,
or under the one lock.
"""

from __future__ import annotations

import contextlib
import http
import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from websockets.exceptions import ProtocolError
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from .. import _tape
from .._checks import check_bool, check_seconds
from .._clock import Deadline
from .._close_frames import CloseCode, build_close_payload, parse_close
from .._handshake import shown
from .._redaction import REDACTED, Redactor
from .._wakeup import READ, Poller, Wakeup
from ._matching import ID_KEYS, Matcher
from ._playing import CLOSE, CUT, PING, LenientPlayer, Player, Step, StrictPlayer

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Replay", "ReplayMismatch"]

_GREETING_SECONDS: Final = 10.0
"""Seconds a client has for its upgrade request; as long as it gives the server by default."""

_LINGER: Final = 5.0
"""Seconds a client has to close as well, once the server has sent its close frame."""

_LAST_STEPS: Final = 5.0
"""Seconds for threads whose sockets are shut down; they take milliseconds."""

_PIECE: Final = 64 * 1024
_SHORTEST: Final = 0.0005  # a time-out of 0 would mean: do not block
_OWN_HEADERS: Final = frozenset({"date", "server", "upgrade", "connection", "content-length", "transfer-encoding"})

_log = logging.getLogger("wsclient")


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
            self._tape = _tape.parse(file, os.fspath(path))
        self._matcher = Matcher(Redactor(self._tape.redact, self._tape.keep), ids)
        self.mismatches: list[str] = []
        self.unexpected: list[str | bytes] = []
        # Guards which recorded connection comes next, and which are being played.
        self._lock = threading.Lock()
        self._players: list[Player] = []
        self._open: dict[_Conversation, threading.Thread] = {}
        self._closed = False
        self._listener = socket.create_server((host, port), family=_family(host))
        self._host = host
        self.port: int = self._listener.getsockname()[1]
        self._wakeup = Wakeup()
        self._accepting = threading.Thread(target=self._accept, name=f"replay-{self.port}", daemon=True)
        self._accepting.start()

    @property
    def url(self) -> str:
        """Where it listens, for a client to connect to."""
        return f"ws://[{self._host}]:{self.port}/" if ":" in self._host else f"ws://{self._host}:{self.port}/"

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

    def next_player(self) -> Player | None:
        """What the next connection is played by; None if there is nothing left. For the server's own threads."""
        with self._lock:
            number, recorded = len(self._players), self._tape.connections
            if not recorded or (self._strict and number >= len(recorded)):
                return None
            made = StrictPlayer if self._strict else LenientPlayer
            player = made(recorded[min(number, len(recorded) - 1)], self._matcher, self._speed)
            player.differences, player.unexpected = self.mismatches, self.unexpected
            self._players.append(player)
            return player

    def left(self, conversation: _Conversation) -> None:
        """A connection is over. For the server's own threads."""
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
        conversation = _Conversation(self, sock)
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


class _Protocol(ServerProtocol):
    """websockets' protocol, which takes the subprotocol that was recorded."""

    wanted: str | None = None

    def select_subprotocol(self, subprotocols: Sequence[Any]) -> Any:
        return next((one for one in subprotocols if shown(one) == self.wanted), None)


class _Conversation:
    """One connection. Everything but ``abort`` runs on its own thread."""

    def __init__(self, replay: Replay, sock: socket.socket) -> None:
        self._replay = replay
        self._sock = sock
        self._protocol = _Protocol(extensions=[ServerPerMessageDeflateFactory()], max_size=None)
        self._player: Player | None = None
        self._pieces: list[bytes] = []
        self._is_text = False
        self._until = Deadline.after(_GREETING_SECONDS, time.monotonic())

    def abort(self) -> None:
        """End it, from another thread. What has come is still read."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        """The whole of it."""
        try:
            with self._sock:
                while self._turn():
                    pass
        except OSError as error:  # the client has vanished
            _log.debug("A connection to the replay ended: %s", error)
        finally:
            self._replay.left(self)

    def _turn(self) -> bool:
        """Do what is due, and wait for more; False at the end."""
        if not self._act():
            return False
        self._flush()
        at = self._until.at
        if self._player is not None and self._protocol.state is State.OPEN:
            at = self._player.next_at()
        now = time.monotonic()
        if self._until.passed(now):
            return False
        self._sock.settimeout(None if at is None else max(at - now, _SHORTEST))
        try:
            data = self._sock.recv(_PIECE)
        except TimeoutError:
            return True
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._greet(event)
            elif isinstance(event, Frame):
                self._take(event)
        if not data:
            self._act()  # what came last is judged as well
        return bool(data)

    def _greet(self, request: Request) -> None:
        self._until = Deadline(None)
        player = self._replay.next_player()
        protocol = self._protocol
        if player is None:
            protocol.send_response(
                protocol.reject(http.HTTPStatus.SERVICE_UNAVAILABLE, "The recording holds no further connection.\n")
            )
            self._linger()
            return
        protocol.wanted = player.subprotocol
        response = protocol.accept(request)
        if response.status_code == 101:
            for name, value in player.headers:
                if name not in _OWN_HEADERS and not name.startswith("sec-websocket-") and value != REDACTED:
                    response.headers[name] = value
            if protocol.wanted != _shown(protocol.subprotocol):
                player.differ(f"the subprotocol {protocol.wanted!r} was agreed on, and is not offered now")
        protocol.send_response(response)
        if response.status_code == 101:
            self._player = player
            player.begin(time.monotonic())
        else:
            self._linger()

    def _take(self, frame: Frame) -> None:
        player = self._player
        if player is None:
            return
        if frame.opcode is Opcode.CLOSE:
            self._act()  # what came before it comes first
            player.leave(parse_close(bytes(frame.data)).code)
            self._linger()
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if frame.opcode is not Opcode.CONT:
                self._is_text = frame.opcode is Opcode.TEXT
            self._pieces.append(bytes(frame.data))
            if frame.fin:
                data, self._pieces = b"".join(self._pieces), []
                player.take(data.decode(errors="replace") if self._is_text else data, time.monotonic())

    def _act(self) -> bool:
        """Do what the recording says the server does now; False if it cuts the line."""
        if self._player is None:
            return True
        for step in self._player.steps(time.monotonic()):
            if self._protocol.state is not State.OPEN:
                break
            if step.what is CUT:
                self._flush()
                self.abort()
                return False
            self._do(step)
        return True

    def _do(self, step: Step) -> None:
        protocol = self._protocol
        if step.what is CLOSE:
            self._close(step)
        elif step.what is PING:
            protocol.send_ping(_as_bytes(step.payload))
        elif isinstance(step.payload, str):
            protocol.send_text(step.payload.encode())
        else:
            protocol.send_binary(step.payload)

    def _close(self, step: Step) -> None:
        code, reason = step.code, str(step.payload)
        try:
            self._protocol.send_close(None if code == CloseCode.NO_STATUS else code, reason)
        except ProtocolError:  # a code that must not be on the wire, and was
            self._flush()
            payload = build_close_payload(code or 0, reason)
            self._sock.sendall(bytes([0x80 | Opcode.CLOSE, len(payload)]) + payload)
            self._protocol.fail(CloseCode.ABNORMAL)
        self._linger()

    def _linger(self) -> None:
        """The client has only so long to end it as well."""
        self._until = Deadline.after(_LINGER, time.monotonic())

    def _flush(self) -> None:
        self._sock.settimeout(None)
        for data in self._protocol.data_to_send():
            if data:
                self._sock.sendall(data)
            else:
                with contextlib.suppress(OSError):
                    self._sock.shutdown(socket.SHUT_WR)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _shown(subprotocol: str | None) -> str | None:
    return None if subprotocol is None else shown(subprotocol)


def _as_bytes(payload: str | bytes) -> bytes:
    return payload.encode() if isinstance(payload, str) else payload
