"""``wsclient.connect``: a client that is open when the call returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from .._connection.reconnect import Reconnect
from .._models import Attempt
from .._options import DEFAULT_LIMITS, Limits, Queue
from .._rfc6455.deflate import Deflate
from .._settings import MAX_MESSAGE_SIZE, OPEN_TIMEOUT, PING_INTERVAL, PING_TIMEOUT, REQUEST_TIMEOUT, SESSION_TIMEOUT
from ..protocols import Protocol
from ..protocols._codec import JSON
from .client import DEFAULT_RECEIVE_QUEUE, DEFAULT_RECONNECT, DEFAULT_SEND_QUEUE, Client

if TYPE_CHECKING:
    import os
    import socket
    import ssl

    from .._recording.recorder import Recording
    from ..protocols._session import Session

__all__ = ["connect"]


def connect(
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
    return Client(**locals()).start()
