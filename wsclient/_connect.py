"""``wsclient.connect``: a client that is open when the call returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ._client import _RECEIVE_QUEUE, _RECONNECT, _SEND_QUEUE, Client
from ._codec import JSON
from ._config import (
    MAX_MESSAGE_SIZE,
    OPEN_TIMEOUT,
    PING_INTERVAL,
    PING_TIMEOUT,
    REQUEST_TIMEOUT,
    SESSION_TIMEOUT,
    Queue,
)
from ._events import Attempt
from ._retry import Reconnect
from .protocols import Protocol

if TYPE_CHECKING:
    import ssl

    from ._session import Session

__all__ = ["connect"]


def connect(
    url: str | Sequence[str] | Callable[[], str],
    *,
    protocol: Protocol | None = None,
    json: Any = JSON,
    headers: Mapping[str, str] | Callable[[], Mapping[str, str]] | None = None,
    subprotocols: Sequence[str] = (),
    origin: str | None = None,
    open_timeout: float = OPEN_TIMEOUT,
    session_timeout: float = SESSION_TIMEOUT,
    ping_interval: float | None = PING_INTERVAL,
    ping_timeout: float | None = PING_TIMEOUT,
    ssl_context: ssl.SSLContext | None = None,
    ssl_ca: str | None = None,
    proxy: str | None = "env",
    source_address: Any = None,
    reconnect: Reconnect | None = _RECONNECT,
    retry_first: bool = False,
    request_timeout: float | None = REQUEST_TIMEOUT,
    send_queue: Queue = _SEND_QUEUE,
    receive_queue: Queue = _RECEIVE_QUEUE,
    max_message_size: int = MAX_MESSAGE_SIZE,
    on_open: Callable[[Any], object] | None = None,
    on_reconnect: Callable[[Any], object] | None = None,
    on_message: Callable[[Any, Any], object] | None = None,
    on_close: Callable[[Any, int | None, str | None], object] | None = None,
    on_error: Callable[[Any, BaseException], object] | None = None,
    on_ping: Callable[[Any, bytes], object] | None = None,
    on_pong: Callable[[Any, bytes], object] | None = None,
    on_session: Callable[[Any, Session], object] | None = None,
    on_connect_error: Callable[[Any, Attempt], object] | None = None,
    name: str | None = None,
) -> Client:
    """Open a connection: ``Client(url, ...).start()``, most often used in a ``with`` block.

    Args:
        url: where to connect.
        protocol, json, headers, ...: every option of ``Client``, with the same defaults.

    Returns:
        The open client.

    Raises:
        ConnectError: the first attempt failed.
        TypeError, ValueError: an option is wrong; the message names it.
    """
    client = Client(
        url,
        protocol=protocol,
        json=json,
        headers=headers,
        subprotocols=subprotocols,
        origin=origin,
        open_timeout=open_timeout,
        session_timeout=session_timeout,
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        ssl_context=ssl_context,
        ssl_ca=ssl_ca,
        proxy=proxy,
        source_address=source_address,
        reconnect=reconnect,
        retry_first=retry_first,
        request_timeout=request_timeout,
        send_queue=send_queue,
        receive_queue=receive_queue,
        max_message_size=max_message_size,
        on_open=on_open,
        on_reconnect=on_reconnect,
        on_message=on_message,
        on_close=on_close,
        on_error=on_error,
        on_ping=on_ping,
        on_pong=on_pong,
        on_session=on_session,
        on_connect_error=on_connect_error,
        name=name,
    )
    return client.start()
