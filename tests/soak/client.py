"""The client under test, with hooks that make requests and a log-in on every connection; and its bounds."""

from __future__ import annotations

import itertools
import random
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from wsclient._client.client import Client
from wsclient._connection.reconnect import Reconnect
from wsclient.protocols._session import Session

from .plan import Dialing

__all__ = ["LONGEST_WAIT", "RECOVERY", "SoakClient"]

LONGEST_WAIT: Final = 0.5
"""Seconds between two attempts, at most."""

RECOVERY: Final = LONGEST_WAIT + 1.0
"""Seconds within which the client is open again when a fault has ended."""

PING: Final = 0.5
"""Seconds between pings, and that a pong may take; the half-open lines of the plan last up to 2.5 s."""

OPENING: Final = 1.0
"""Seconds for a handshake."""

SETTING_UP: Final = 2.0
"""Seconds for the log-in."""

SEND_BUFFER: Final = 16 * 1024
"""Bytes that the operating system keeps for a slow line: few, so that it is often full and messages are cut in it."""


class SoakClient(Client):
    """Logs in, and asks something of the server at each opening and at each piece of news."""

    def __init__(
        self,
        port: int,
        dialing: Dialing,
        ssl_context: ssl.SSLContext | None,
        chance: random.Random,
        ask: Callable[[Client], None],
    ) -> None:
        """
        Args:
            port: the proxy's, on this machine.
            dialing: how it is reached.
            ssl_context: trusts the server; None without TLS.
            chance: draws the waits between attempts.
            ask: what hooks do: makes a request with the client and notes what becomes of it.
        """
        self.logins = itertools.count(1)  # connections tried; the server is told, so that both count alike
        self.dialing = dialing
        self.ask = ask
        self.chance = chance
        super().__init__(
            f"{'wss' if dialing.tls else 'ws'}://127.0.0.1:{port}/",
            name="soak",
            sock=None if dialing.by_url else partial(_connect, port),
            ssl_context=ssl_context,
            compression=None if dialing.by_url else "deflate",
            proxy=None,
            reconnect=Reconnect(wait=self.soon),
            ping_interval=PING,
            ping_timeout=PING,
            open_timeout=OPENING,
            session_timeout=SETTING_UP,
        )

    def soon(self, state: object) -> float:
        """Seconds until the next attempt; the first one may come at once."""
        return self.chance.uniform(0.0, LONGEST_WAIT)

    def on_session(self, session: Session) -> None:
        """Log in before anything else is sent."""
        session.request({"op": "login", "key": "login", "connection": next(self.logins)})

    def on_open(self) -> None:
        """Ask something."""
        self.ask(self)

    def on_message(self, message: Any) -> None:
        """Ask something for each piece of news; late replies come here too, and want nothing."""
        if isinstance(message, dict) and message.get("event") == "news":
            self.ask(self)


def _connect(port: int) -> socket.socket:
    """A connected socket that takes few bytes ahead. On the I/O thread."""
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        sock.settimeout(OPENING)
        sock.connect(("127.0.0.1", port))
    except BaseException:
        sock.close()
        raise
    return sock
