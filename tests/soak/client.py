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
from wsclient._models import Disconnect
from wsclient._options import Quiet, Renew, SendQueue
from wsclient.protocols._session import Session

from .history import FoundQuiet
from .plan import Dialing

__all__ = ["LONGEST_WAIT", "PACE", "QUIET", "RECOVERY", "RENEWING", "SoakClient"]

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

QUIET: Final = 1.0
"""``quiet``, in seconds."""

RENEWING: Final = Renew(every=2.0, overlap=1.0)
"""``renew`` in some runs. The server holds some answers back until further messages come, so the overlap ends while
requests wait."""

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
        # Written by the I/O thread:
        self.fed_by = 0  # the highest number of a connection that has brought a message of a subscription
        self.found_quiet: list[FoundQuiet] = []
        self._fed_at: dict[int, float] = {}  # by connection: when the last such message came
        self._logins_by_number: dict[int, int] = {}
        self._losses = 0
        self._last_loss: Disconnect | None = None
        self.reported_quiet: list[float] = []  # written by the hook thread
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
            quiet=Quiet(QUIET, counts=self.is_fed, active=self.found),
            renew=RENEWING if dialing.renews else None,
        )

    def soon(self, state: object) -> float:
        """Seconds until the next attempt."""
        return self.chance.uniform(0.0, LONGEST_WAIT)

    def on_session(self, session: Session) -> None:
        """Log in before anything else is sent."""
        now = time.monotonic()
        login = self._logins_by_number[session.number] = next(self.logins)
        session.request({"op": "login", "key": "login", "connection": login, "began": now})

    def is_fed(self, message: Any) -> bool:
        """Whether a message belongs to a subscription. Adds when it came, and how many connections were lost before."""
        if not isinstance(message, dict) or "total" not in message:
            return False
        now, loss, number = time.monotonic(), self.last_disconnect, message["connection"]
        self._losses += loss is not self._last_loss
        self._last_loss = loss
        self._fed_at[number] = now
        self.fed_by = max(self.fed_by, number)
        message["at"], message["losses"] = now, self._losses
        return True

    def found(self) -> bool:
        """Called when the connection is quiet: record that. Messages are always expected."""
        info = self.connection
        assert info is not None
        number, now = self._logins_by_number[info.number], time.monotonic()
        seconds = now - self._fed_at[number] if number in self._fed_at else info.uptime
        self.found_quiet.append(FoundQuiet(number, now, seconds))
        return True

    def on_quiet(self, seconds: float) -> None:
        """Record that it was called."""
        self.reported_quiet.append(seconds)

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
