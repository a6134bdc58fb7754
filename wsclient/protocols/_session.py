"""What a message protocol, or the user's ``on_session``, may do with a connection that is being set up.

An interface: the client passes in an object that implements it, so that protocols need to know nothing of connections.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .._options import DEFAULT

if TYPE_CHECKING:
    from .._models import ConnectionInfo

__all__ = ["Session"]


class Session:
    """One connection being set up; valid only inside ``on_session``, on its thread.

    Messages that no call here takes reach streams and hooks afterwards, in their order.
    """

    __slots__ = ()

    @property
    def number(self) -> int:
        """1 for the client's first connection, 2 for the one after its loss, and so on."""
        raise NotImplementedError

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol agreed on with the server."""
        raise NotImplementedError

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the server's response; look-up is not case-sensitive."""
        raise NotImplementedError

    @property
    def connection(self) -> ConnectionInfo:
        """Facts about the connection; the same object that ``client.connection`` is once the connection is open."""
        raise NotImplementedError

    def send(self, message: Any) -> None:
        """Send a message now, before everything that is queued.

        Raises:
            ConnectionLost: the connection has ended.
            TypeError, ValueError: the message can't be encoded, or a request waits under its id.
        """
        raise NotImplementedError

    def request(
        self, message: Any, *, timeout: float | None = DEFAULT, match: Callable[[Any], bool] | None = None
    ) -> Any:
        """Send a message now and wait for its reply.

        Args:
            message: as for ``client.request``.
            timeout: seconds; the default is the client's ``request_timeout``. ``session_timeout`` bounds it too.
            match: accepts the reply, instead of correlation by id.

        Returns:
            The decoded reply.

        Raises:
            RequestTimeout: no reply in time.
            RemoteError: the server answered with an error.
            SessionError: ``session_timeout`` has passed.
            ConnectionLost: the connection ended.
            ClientClosed: the client is being closed.
        """
        raise NotImplementedError

    def call(self, method: str, params: Any = None, *, timeout: float | None = DEFAULT) -> Any:
        """Call a method of the server's and wait for its result; see ``request`` and ``client.call``."""
        raise NotImplementedError

    def recv(self, timeout: float | None = None) -> Any:
        """The oldest message that nobody has taken yet.

        Args:
            timeout: seconds; None for as long as ``session_timeout`` allows.

        Raises:
            TimeoutError: none came in time.
            SessionError: ``session_timeout`` has passed.
            ConnectionLost: the connection ended.
            ClientClosed: the client is being closed.
        """
        raise NotImplementedError
