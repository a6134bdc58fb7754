"""The options of the network side of a connection."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import NamedTuple

from .._options import DEFAULT_LIMITS, Limits

__all__ = ["ContextOption", "NetworkOptions", "SocketOption"]

SocketOption = socket.socket | Callable[[], socket.socket] | None

ContextOption = ssl.SSLContext | Callable[[], ssl.SSLContext] | None


class NetworkOptions(NamedTuple):
    """How a connection is opened and kept alive; times in seconds. ``Client`` documents the options.

    Attributes:
        limits: limits on peer input.
        ssl_ca: the context that was made for the option ``ssl_ca=`` (``ssl_context`` is then the same object); None
            without this option.
    """

    open_timeout: float
    session_timeout: float
    ping_interval: float | None
    ping_timeout: float | None
    ssl_context: ContextOption
    proxy: str | None
    source_address: tuple[str, int] | None
    sock: SocketOption = None
    limits: Limits = DEFAULT_LIMITS
    server_hostname: str | None = None
    ssl_ca: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return "<NetworkOptions>"  # the URL of the proxy may contain a password
