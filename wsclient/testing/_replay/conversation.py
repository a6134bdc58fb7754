"""One connection of a ``Replay``: passes the client's messages to a player, and performs the player's steps.

The protocol implementation is that of ``websockets`` (``ServerProtocol``, without I/O). This module handles the socket
and the waits, for two reasons: a recorded connection may have ended without a close frame, and each wait must end when
the server is closed.
"""

from __future__ import annotations

import contextlib
import http
import logging
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from websockets.exceptions import ProtocolError
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from ..._recording.redaction import REDACTED
from ..._rfc6455.close import CloseCode, build_close_payload, parse_close
from ..._rfc6455.handshake import redacted
from ..._threads.waiting import Deadline
from .._servers.sockets import shut
from .playing import CLOSE, CUT, PING, Player, Step

__all__ = ["Conversation"]

_HANDSHAKE_SECONDS: Final = 10.0
"""Seconds that a client may take for its upgrade request; the same as the default ``open_timeout``."""

_LINGER: Final = 5.0
"""Seconds that a client may take to close the connection after the server has sent its close frame."""

_PIECE: Final = 64 * 1024
_SHORTEST: Final = 0.0005  # a time-out of 0 would make the socket non-blocking
_OWN_HEADERS: Final = frozenset({"date", "server", "upgrade", "connection", "content-length", "transfer-encoding"})

_log = logging.getLogger("wsclient")


class _Protocol(ServerProtocol):
    """The protocol of ``websockets``. It selects no subprotocol: the recorded one is not known yet when it checks the
    request.

    Attributes:
        offered: the subprotocols that the client offers.
    """

    offered: Sequence[str] = ()

    def select_subprotocol(self, subprotocols: Sequence[Any]) -> None:
        self.offered = subprotocols


class Conversation:
    """One connection. All methods except ``abort`` run on the connection's thread."""

    def __init__(
        self,
        sock: socket.socket,
        next_player: Callable[[], Player | None],
        on_end: Callable[[Conversation], object],
    ) -> None:
        """
        Args:
            sock: the accepted socket.
            next_player: called when the client has sent a valid upgrade request; returns None if no recorded connection
                is left.
            on_end: called when the connection has ended.
        """
        self._next_player = next_player
        self._on_end = on_end
        self._sock = sock
        self._protocol = _Protocol(extensions=[ServerPerMessageDeflateFactory()], max_size=None)
        self._player: Player | None = None
        self._pieces: list[bytes] = []
        self._is_text = False
        self._until = Deadline.after(_HANDSHAKE_SECONDS, time.monotonic())

    def abort(self) -> None:
        """End the connection without a close frame. Any thread; the connection's thread still reads the bytes that were
        received before, unless it has called this method itself.
        """
        shut(self._sock)

    def run(self) -> None:
        """The body of the connection's thread."""
        try:
            with self._sock:
                while self._turn():
                    pass
        except OSError as error:  # the client has disconnected
            _log.debug("A connection to the replay ended: %s", error)
        finally:
            self._on_end(self)

    def _turn(self) -> bool:
        """Perform the steps that are due, and wait for bytes; False at the end of the connection."""
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
                self._answer_handshake(event)
            elif isinstance(event, Frame):
                self._take(event)
        if not data:
            self._act()  # checks the last messages too
        return bool(data)

    def _answer_handshake(self, request: Request) -> None:
        self._until = Deadline(None)
        protocol = self._protocol
        response = protocol.accept(request)
        is_valid = response.status_code == 101
        player = self._next_player() if is_valid else None
        if player is None:
            if is_valid:
                text = "The recording has no further connection.\n"
                response = protocol.reject(http.HTTPStatus.SERVICE_UNAVAILABLE, text)
            protocol.send_response(response)
            self._linger()
            return
        for name, value in player.headers:
            if name not in _OWN_HEADERS and not name.startswith("sec-websocket-") and value != REDACTED:
                response.headers[name] = value
        self._select_subprotocol(player, response)
        protocol.send_response(response)
        self._player = player
        player.begin(time.monotonic())

    def _select_subprotocol(self, player: Player, response: Response) -> None:
        """Select the recorded subprotocol, which ``redacted`` has shortened if it may contain a token."""
        wanted = player.subprotocol
        if wanted is None:
            return
        selected = next((one for one in self._protocol.offered if redacted(one) == wanted), None)
        if selected is None:
            player.differ(f"the subprotocol {wanted!r} was recorded, but the client does not offer it now")
        else:
            response.headers["Sec-WebSocket-Protocol"] = selected

    def _take(self, frame: Frame) -> None:
        player = self._player
        if player is None:
            return
        if frame.opcode is Opcode.CLOSE:
            self._act()  # handles the messages before the close frame first
            player.client_closed(parse_close(bytes(frame.data)).code)
            self._linger()
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if frame.opcode is not Opcode.CONT:
                self._is_text = frame.opcode is Opcode.TEXT
            self._pieces.append(bytes(frame.data))
            if frame.fin:
                data, self._pieces = b"".join(self._pieces), []
                player.take(data.decode(errors="replace") if self._is_text else data, time.monotonic())

    def _act(self) -> bool:
        """Perform the steps that are due; False if the connection was cut."""
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
        except ProtocolError:  # a recorded code that a close frame must not have
            self._flush()
            payload = build_close_payload(code or 0, reason)
            self._sock.sendall(bytes([0x80 | Opcode.CLOSE, len(payload)]) + payload)
            self._protocol.fail(CloseCode.ABNORMAL)
        self._linger()

    def _linger(self) -> None:
        """Limit the time until the client closes the connection."""
        self._until = Deadline.after(_LINGER, time.monotonic())

    def _flush(self) -> None:
        self._sock.settimeout(None)
        for data in self._protocol.data_to_send():
            if data:
                self._sock.sendall(data)
            else:
                with contextlib.suppress(OSError):
                    self._sock.shutdown(socket.SHUT_WR)


def _as_bytes(payload: str | bytes) -> bytes:
    return payload.encode() if isinstance(payload, str) else payload
