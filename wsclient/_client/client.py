"""The public face: a client's life, and a look at it. Each method says what it promises, and hands over."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from .._errors import ClientClosed
from .._models import Disconnect, State
from .._stats import Stats
from .._threads.deadline import Deadline
from .._validation import check_seconds
from ..protocols import Protocol
from . import operations
from .messaging import Messaging

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Client"]

_CLOSE_TIMEOUT: Final = 3.0
"""Seconds for the closing handshake; websocket-client has the same, websockets 10."""


class Client(Messaging):
    """A WebSocket client that keeps itself connected.

    A background thread opens the connection, keeps it alive and opens it anew when it is lost; any number of threads
    send and make requests. Hooks are methods to override, functions to pass, or attributes to assign::

        with wsclient.connect("ws://localhost:8000/ws") as client:
            total = client.request({"method": "add", "params": [1, 2]}, timeout=5)
            client.send("Hello, server!")

    Every method may be called from any thread, hooks included, unless it says otherwise.
    """

    # --- life --------------------------------------------------------------------------------------------------------

    def start(self, timeout: float | None = None) -> Self:
        """Start the background thread and wait until the client is open; on a running client, only wait.

        Args:
            timeout: seconds to wait; None for as long as the attempt takes.

        Returns:
            The client itself.

        Raises:
            ConnectError: the first attempt failed (with a list of URLs: each of them), or the time was over. The client
                is closed then. With ``retry_first=True`` only a fatal error ends the attempts.
            ClientClosed: the client is closed, or failed.
            WouldDeadlock: called on the I/O thread.
        """
        self._wsclient.lifecycle.start(None if timeout is None else check_seconds("timeout", timeout, zero=True))
        return self

    def run_forever(self) -> None:
        """Start, and block until the client is closed. Ctrl-C closes it, and is raised on.

        Raises:
            ConnectError: as in ``start()``.
            ClientClosed: the client failed; the reason is the cause.
        """
        with self:
            self.wait_closed()
        core = self._wsclient.core
        if core.state.current is State.FAILED:
            raise ClientClosed(f"The client failed: {core.state.error}") from core.state.error

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()

    def reconnect(self, reason: str = "") -> None:
        """Drop this connection (close code 1000), ask ``url`` and ``headers`` anew, and connect at once.

        Returns at once. Requests in flight fail as on any loss of the connection.

        Args:
            reason: told to the server, at most 123 bytes.

        Raises:
            ClientClosed: the client is not running.
        """
        operations.reconnect(self._wsclient.core, reason)

    def drain(self, timeout: float = 30, *, wait: bool = True) -> bool:
        """Refuse new work, finish what is queued and in flight, and close.

        Args:
            timeout: seconds after which the rest is given up.
            wait: False returns at once.

        Returns:
            True if everything was finished (without waiting: so far).
        """
        return self._wsclient.lifecycle.drain(timeout, wait=wait)

    def close(self, code: int = 1000, reason: str = "", timeout: float = _CLOSE_TIMEOUT, *, wait: bool = True) -> None:
        """Close for good. Any state, any number of times.

        What is queued is still written, as far as the time allows and the line is up. Requests fail with
        ``ClientClosed`` at once.

        Args:
            code: close code for the server: 1000-1003, 1007-1011 or 3000-4999 (RFC 6455 §7.4).
            reason: text for the server, at most 123 bytes.
            timeout: seconds for the server to answer; the call returns within one second more, whatever the server, the
                network or a hook does.
            wait: False only gives the order; it takes no lock, so it is legal in a signal handler and in ``match``,
                ``until`` and their like.

        Raises:
            ValueError: the code or the reason can't be sent.
            WouldDeadlock: ``wait=True`` on the I/O thread.
        """
        self._wsclient.lifecycle.close(code, reason, timeout, wait=wait)

    def wait_until(self, state: State, timeout: float | None = None) -> bool:
        """Wait until the client is in a state.

        Args:
            state: which; a state it leaves at once may be missed.
            timeout: seconds; None waits as long as the state can still come.

        Returns:
            True if it is in that state; False if the time was over, or it can't come any more.

        Raises:
            ClientClosed: it waits for ``State.OPEN`` and the client failed.
        """
        return operations.wait_until(self._wsclient.core, state, timeout)

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Wait until the client is closed or failed; False if the time was over first."""
        self._wsclient.core.guard.check_may_wait("wait_closed()", "Look at .state instead.")
        return self._wsclient.lifecycle.join(Deadline.after(timeout, time.monotonic()))

    # --- looking -----------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Where the client stands now."""
        core = self._wsclient.core
        return State.CLOSED if core.guard.forked else core.state.current

    @property
    def stats(self) -> Stats:
        """Counters and a few present facts, as of now."""
        return operations.stats(self._wsclient.core)

    @property
    def latency(self) -> float | None:
        """Seconds from the last matched ping to its pong; None before the first."""
        return self._wsclient.core.counters.rtt_last

    @property
    def last_disconnect(self) -> Disconnect | None:
        """How the last connection ended; None before the first end."""
        return self._wsclient.core.link.last

    @property
    def protocol(self) -> Protocol:
        """The message protocol."""
        return self._wsclient.core.protocol

    def __repr__(self) -> str:
        core = self._wsclient.core
        return f"<{type(self).__name__} {core.settings.name!r} {self.state.value} {core.settings.shown_url}>"
