"""What a client is told when it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Final, Literal

from .._connection.context import Core
from .._connection.lifecycle import Lifecycle
from .._connection.reconnect import Reconnect, checked_reconnect
from .._options import DEFAULT_LIMITS, Limits, Queue, ReceiveQueue, SendQueue
from .._rfc6455.deflate import Deflate
from .._settings import (
    MAX_MESSAGE_SIZE,
    OPEN_TIMEOUT,
    PING_INTERVAL,
    PING_TIMEOUT,
    REQUEST_TIMEOUT,
    SESSION_TIMEOUT,
    make_settings,
)
from .._validation import check_callable
from ..protocols import JsonId, Protocol
from ..protocols._codec import JSON
from .reserved_names import Inside, Named

if TYPE_CHECKING:
    import os
    import socket
    import ssl

    from .._models import Attempt
    from .._recording.recorder import Recording
    from ..protocols._session import Session

__all__ = ["DEFAULT_RECEIVE_QUEUE", "DEFAULT_RECONNECT", "DEFAULT_SEND_QUEUE", "Constructed"]

DEFAULT_RECONNECT: Final = Reconnect()
DEFAULT_SEND_QUEUE: Final = SendQueue()
DEFAULT_RECEIVE_QUEUE: Final = ReceiveQueue()


class Constructed(Named):
    """A client with its options, and nothing opened."""

    def __init__(
        self,
        url: str | Sequence[str] | Callable[[], str],
        *,
        protocol: Protocol | None = None,
        json: Any = JSON,
        headers: Mapping[str, str] | Callable[[], Mapping[str, str]] | None = None,
        subprotocols: Sequence[str] = (),
        origin: str | None = None,
        compression: Literal["deflate"] | Deflate | None = "deflate",
        open_timeout: float = OPEN_TIMEOUT,
        session_timeout: float = SESSION_TIMEOUT,
        ping_interval: float | None = PING_INTERVAL,
        ping_timeout: float | None = PING_TIMEOUT,
        ssl_context: ssl.SSLContext | None = None,
        ssl_ca: str | None = None,
        proxy: str | None = "env",
        source_address: Any = None,
        sock: socket.socket | Callable[[], socket.socket] | None = None,
        reconnect: Reconnect | None = DEFAULT_RECONNECT,
        retry_first: bool = False,
        request_timeout: float | None = REQUEST_TIMEOUT,
        send_queue: Queue = DEFAULT_SEND_QUEUE,
        receive_queue: Queue = DEFAULT_RECEIVE_QUEUE,
        max_message_size: int = MAX_MESSAGE_SIZE,
        limits: Limits = DEFAULT_LIMITS,
        on_open: Callable[[Any], object] | None = None,
        on_reconnect: Callable[[Any], object] | None = None,
        on_message: Callable[[Any, Any], object] | None = None,
        on_close: Callable[[Any, int | None, str | None], object] | None = None,
        on_error: Callable[[Any, BaseException], object] | None = None,
        on_ping: Callable[[Any, bytes], object] | None = None,
        on_pong: Callable[[Any, bytes], object] | None = None,
        on_session: Callable[[Any, Session], object] | None = None,
        on_connect_error: Callable[[Any, Attempt], object] | None = None,
        handlers: Mapping[str, Callable[[Any], Any]] | None = None,
        name: str | None = None,
        record: str | os.PathLike[str] | Recording | None = None,
    ) -> None:
        """
        Args:
            url: where to connect: ``ws://``, ``wss://`` or ``unix://``; a list of such URLs, tried in turn; or a
                function that is asked before every attempt. ``user:password@`` becomes Basic authentication.
            protocol: how a reply finds its request; ``JsonId("id")`` by default. One object serves one client.
            json: the JSON codec, an object with ``dumps`` and ``loads``; None leaves incoming text as it is.
            headers: sent with the upgrade; or a function that is asked before every attempt.
            subprotocols: offered in this order; the server must take one (RFC 6455 §1.9).
            origin: the ``Origin`` header; none is sent by default.
            compression: ``"deflate"`` offers permessage-deflate (RFC 7692), a ``Deflate`` says how; None offers
                nothing. A server that knows it not goes without.
            open_timeout: seconds for TCP, proxy, TLS and upgrade together.
            session_timeout: seconds for ``on_session``.
            ping_interval: seconds between pings; None sends none.
            ping_timeout: seconds of silence after a ping that mean a dead peer; None never does.
            ssl_context: the TLS context; by default one that verifies, TLS 1.2 or newer.
            ssl_ca: a PEM file of the CAs to trust, instead of a context.
            proxy: the proxy's URL, ``"env"`` for the environment's, or None for none.
            source_address: local address to connect from, or ``(address, port)``.
            sock: a connected stream socket to use instead of connecting, for one connection; or a function that is
                asked for one before every attempt. A client that was started closes it. ``wss`` speaks TLS on it.
            reconnect: how to connect again; None for never.
            retry_first: retry the first connection too, instead of raising in ``start()``.
            request_timeout: seconds a request may take if it says nothing else; None waits for ever.
            send_queue: bounds of what waits to be sent.
            receive_queue: bounds of what waits for hooks and streams.
            max_message_size: bytes of an incoming message, when it is decompressed; a larger one closes the connection
                with 1009.
            limits: bounds that hardly anybody needs to change: fragments, header lines, redirects ...
            on_open, on_reconnect, on_message, on_close, on_error, on_ping, on_pong, on_session, on_connect_error: hooks
                as functions; they get the client as their first argument.
            handlers: functions that answer the server's calls, by method, on the hook thread; see ``handle``.
            name: shown in thread names and logs.
            record: a file to which everything that crosses the wire is written, without its secrets, or a
                ``Recording`` that also says what is secret; ``start()`` makes the file anew.
                ``wsclient.testing.Replay`` plays it back.

        Raises:
            TypeError: an option has the wrong type; the message names it.
            ValueError: an option has a value that can't work.
        """
        settings = make_settings(
            url,
            json=json,
            headers=headers,
            subprotocols=subprotocols,
            origin=origin,
            compression=compression,
            open_timeout=open_timeout,
            session_timeout=session_timeout,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            ssl_context=ssl_context,
            ssl_ca=ssl_ca,
            proxy=proxy,
            source_address=source_address,
            sock=sock,
            retry_first=retry_first,
            request_timeout=request_timeout,
            send_queue=send_queue,
            receive_queue=receive_queue,
            max_message_size=max_message_size,
            limits=limits,
            record=record,
            name=name,
        )
        policy = checked_reconnect(reconnect, settings.retry_first)
        given = {
            "on_open": on_open,
            "on_reconnect": on_reconnect,
            "on_message": on_message,
            "on_close": on_close,
            "on_error": on_error,
            "on_ping": on_ping,
            "on_pong": on_pong,
            "on_session": on_session,
            "on_connect_error": on_connect_error,
        }
        for hook, function in given.items():
            check_callable(hook, function)
        if handlers is not None and not isinstance(handlers, Mapping):
            raise TypeError(f"handlers must be a mapping of methods to functions, not {type(handlers).__name__}.")
        core = Core(settings, _claimed(protocol, settings.codec))
        for method, function in (handlers or {}).items():
            core.handlers.handle(method, function, 0)
        self._begin(Inside(core, Lifecycle(core, policy)), given)


def _claimed(protocol: Protocol | None, codec: Any) -> Protocol:
    """The protocol, which from now on belongs to one client."""
    if protocol is None:
        protocol = JsonId()
    if not isinstance(protocol, Protocol):
        raise TypeError(f"protocol must be a wsclient.Protocol such as JsonId(), not {protocol!r}.")
    if not isinstance(protocol.fatal_codes, AbstractSet):
        raise TypeError(f"fatal_codes of {protocol!r} must be a set of close codes, not {protocol.fatal_codes!r}.")
    if "json" in vars(protocol):
        raise ValueError("protocol serves another client already; make one for each client.")
    protocol._serve(codec)
    return protocol
