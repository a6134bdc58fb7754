"""The client under test, which logs in on every connection and makes requests in its hooks; and its time limits."""

from __future__ import annotations

import itertools
import random
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from wsclient._client.client import Client
from wsclient._connection.reconnect import Reconnect
from wsclient._options import SendQueue
from wsclient.protocols._session import Session

from .plan import Dialing

__all__ = ["LONGEST_WAIT", "PACE", "RECOVERY", "SoakClient"]

LONGEST_WAIT: Final = 0.5
"""Longest pause between two attempts, in seconds."""

RECOVERY: Final = LONGEST_WAIT + 1.0
"""Seconds after the end of a fault within which the client must be open again."""

PING: Final = 0.5
"""``ping_interval`` and ``ping_timeout``, in seconds; half-open connections of the plan last up to 2.5 s."""

OPENING: Final = 1.0
"""``open_timeout``, in seconds."""

SETTING_UP: Final = 2.0
"""``session_timeout``, in seconds."""

SEND_BUFFER: Final = 16 * 1024
"""Bytes of the socket's send buffer: few, so that it is often full and connections end inside messages."""


PACE: Final = (5000.0, 100)
"""Messages per second and messages at once, on a connection by URL: some six times the load, so that also on a busy
machine a backlog is sent within ``RECOVERY``."""


class SoakClient(Client):
    """A client that logs in, and makes a request in ``on_open`` and for each message ``news``."""

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
            port: the proxy's port on this machine.
            dialing: the kind of connection.
            ssl_context: a context that trusts the server; None without TLS.
            chance: draws the pauses between attempts.
            ask: called by the hooks; makes a request with the client and records its outcome.
        """
        self.logins = itertools.count(1)  # numbers of connections; sent to the server, so that both use the same
        self.dialing = dialing
        self.ask = ask
        self.chance = chance
        super().__init__(
            f"{'wss' if dialing.tls else 'ws'}://127.0.0.1:{port}/",
            name="soak",
            sock=None if dialing.by_url else partial(_connect, port),
            ssl_context=ssl_context,
            send_queue=SendQueue(rate=PACE[0], burst=PACE[1]) if dialing.by_url else SendQueue(),
            compression=None if dialing.by_url else "deflate",
            proxy=None,
            reconnect=Reconnect(wait=self.soon),
            ping_interval=PING,
            ping_timeout=PING,
            open_timeout=OPENING,
            session_timeout=SETTING_UP,
        )

    def soon(self, state: object) -> float:
        """Seconds until the next attempt."""
        return self.chance.uniform(0.0, LONGEST_WAIT)

    def on_session(self, session: Session) -> None:
        """Log in before anything else is sent."""
        now = time.monotonic()
        session.request({"op": "login", "key": "login", "connection": next(self.logins), "began": now})

    def on_open(self) -> None:
        """Make a request."""
        self.ask(self)

    def on_message(self, message: Any) -> None:
        """Make a request for each message ``news``. Late replies come here too, and are ignored."""
        if isinstance(message, dict) and message.get("event") == "news":
            self.ask(self)


def _connect(port: int) -> socket.socket:
    """A connected socket with a small send buffer. Runs on the I/O thread."""
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        sock.settimeout(OPENING)
        sock.connect(("127.0.0.1", port))
    except BaseException:
        sock.close()
        raise
    return sock
