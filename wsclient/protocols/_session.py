"""The interface of a connection that is being set up, for message protocols and for the user's ``on_session``.

The client passes in an object that implements it, so that protocols do not depend on the modules of connections.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .._models import ConnectionInfo, Disconnect
from .._options import DEFAULT

__all__ = ["Session"]


class Session:
    """A connection that is being set up. Valid only inside ``on_session``, and only on the thread that runs it.

    A message that is not returned by ``request``, ``call`` or ``recv`` is passed to streams and hooks afterwards, in
    the order of arrival.
    """

    __slots__ = ()

    @property
    def number(self) -> int:
        """The number of the connection: 1 for the client's first one, 2 for the next one, and so on."""
        raise NotImplementedError

    @property
    def subprotocol(self) -> str | None:
        """The negotiated subprotocol; None if none was offered."""
        raise NotImplementedError

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the server's response to the upgrade request; names are not case-sensitive."""
        raise NotImplementedError

    @property
    def connection(self) -> ConnectionInfo:
        """Facts about the connection; ``client.connection`` returns the same object once the connection is open."""
        raise NotImplementedError

    @property
    def memo(self) -> dict[str, Any]:
        """Values that one session keeps for later ones: a resume id, the last sequence number.

        ``client.memo`` is the same dict. It begins empty, and lives as long as the client. ``session.memo |= {...}``
        changes it too; another dict can't be assigned.
        """
        raise NotImplementedError

    @memo.setter
    def memo(self, memo: dict[str, Any]) -> None:
        raise NotImplementedError

    @property
    def previous(self) -> Disconnect | None:
        """How the last open connection ended; None if none was open before. ``client.last_disconnect`` is the same."""
        raise NotImplementedError

    def heartbeat(self, every: float) -> None:
        """Change the interval of the heartbeat on this connection, for example to the one that the server demands.

        This is the heartbeat of the option ``heartbeat=``; without this option, that of the message protocol. The next
        connection begins with the configured interval.

        Args:
            every: seconds between two heartbeats, and from the opening of the connection to its first one.

        Raises:
            TypeError: there is no heartbeat; or ``every`` is not a number.
            ValueError: ``every`` is not above 0, or not finite.
        """
        raise NotImplementedError

    def send(self, message: Any) -> None:
        """Send a message now, before all messages in the queue. With ``SendQueue(rate=)`` it may have to wait.

        Args:
            message: as for ``client.send``.

        Raises:
            ConnectionLost: the connection has ended.
            TypeError, ValueError: the message can't be encoded, or a request with the same id is waiting.
        """
        raise NotImplementedError

    def request(
        self, message: Any, *, timeout: float | None = DEFAULT, match: Callable[[Any], bool] | None = None
    ) -> Any:
        """Send a message now and wait for its reply.

        Args:
            message: as for ``client.request``.
            timeout: seconds; the default is the client's ``request_timeout``. ``session_timeout`` limits it too.
            match: replaces correlation for this call: the first message that it returns True for is the reply.

        Returns:
            The decoded reply.

        Raises:
            RequestTimeout: no reply came within ``timeout``.
            RemoteError: the server answered with an error.
            SessionError: ``session_timeout`` has passed.
            ConnectionLost: the connection ended.
            ClientClosed: the client is being closed.
        """
        raise NotImplementedError

    def call(self, method: str, params: Any = None, *, timeout: float | None = DEFAULT) -> Any:
        """Call a method of the server and wait for its result.

        Args:
            method: the method's name.
            params: its parameters; None for none.
            timeout: seconds, as for ``request``.

        Returns:
            The decoded result.

        Raises:
            TypeError: the protocol has no methods to call.
            Exception: those of ``request``.
        """
        raise NotImplementedError

    def recv(self, timeout: float | None = None) -> Any:
        """Return the oldest message that no call has returned yet; wait for one if there is none.

        Args:
            timeout: seconds; None to wait as long as ``session_timeout`` allows.

        Raises:
            TimeoutError: no message came within ``timeout``.
            SessionError: ``session_timeout`` has passed.
            ConnectionLost: the connection ended.
            ClientClosed: the client is being closed.
        """
        raise NotImplementedError
