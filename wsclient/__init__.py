"""A synchronous WebSocket client that keeps itself connected.

Everything public is here; modules whose name begins with an underscore are not. Each name is loaded when it is first
used, so ``import wsclient`` costs next to nothing. Whoever first uses one where importing is a bad idea, as in a signal
handler or behind a ``chroot``, writes ``from wsclient import Client`` at the top: that loads the client at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from . import _processes as _processes  # what is done at exit is ordered by who asked first, so ask now
from ._import import importing, loaded
from ._version import __version__

if TYPE_CHECKING:
    from . import protocols as protocols
    from ._client import Client
    from ._config import Queue, ReceiveQueue, SendQueue
    from ._connect import connect
    from ._deflate import Deflate
    from ._delivery import Delivery
    from ._errors import (
        ClientClosed,
        ConnectError,
        ConnectionLost,
        ForkedClient,
        HandshakeError,
        MessageTooBig,
        ProtocolError,
        ProxyError,
        RemoteError,
        RequestTimeout,
        SendQueueFull,
        SessionError,
        SlowConsumer,
        TLSError,
        WebSocketClientError,
        WouldDeadlock,
    )
    from ._events import Attempt, Disconnect, State, Stats
    from ._limits import Limits
    from ._recording import Recording
    from ._retry import Reconnect
    from ._session import Session
    from ._streams import Stream, Subscription
    from .protocols import (
        OLDEST,
        Call,
        Control,
        End,
        Event,
        Failure,
        Fifo,
        GraphQLTransportWs,
        Incoming,
        Item,
        JsonId,
        JsonRpc,
        Protocol,
        Reply,
        Request,
    )

__all__ = [
    "OLDEST",
    "Attempt",
    "Call",
    "Client",
    "ClientClosed",
    "ConnectError",
    "ConnectionLost",
    "Control",
    "Deflate",
    "Delivery",
    "Disconnect",
    "End",
    "Event",
    "Failure",
    "Fifo",
    "ForkedClient",
    "GraphQLTransportWs",
    "HandshakeError",
    "Incoming",
    "Item",
    "JsonId",
    "JsonRpc",
    "Limits",
    "MessageTooBig",
    "Protocol",
    "ProtocolError",
    "ProxyError",
    "Queue",
    "ReceiveQueue",
    "Reconnect",
    "Recording",
    "RemoteError",
    "Reply",
    "Request",
    "RequestTimeout",
    "SendQueue",
    "SendQueueFull",
    "Session",
    "SessionError",
    "SlowConsumer",
    "State",
    "Stats",
    "Stream",
    "Subscription",
    "TLSError",
    "WebSocketClientError",
    "WouldDeadlock",
    "__version__",
    "connect",
]

_HOMES: Final = {
    "Attempt": "_events",
    "Call": "protocols",
    "Client": "_client",
    "ClientClosed": "_errors",
    "ConnectError": "_errors",
    "ConnectionLost": "_errors",
    "Control": "protocols",
    "Deflate": "_deflate",
    "Delivery": "_delivery",
    "Disconnect": "_events",
    "End": "protocols",
    "Event": "protocols",
    "Failure": "protocols",
    "Fifo": "protocols",
    "ForkedClient": "_errors",
    "GraphQLTransportWs": "protocols",
    "HandshakeError": "_errors",
    "Incoming": "protocols",
    "Item": "protocols",
    "JsonId": "protocols",
    "JsonRpc": "protocols",
    "Limits": "_limits",
    "MessageTooBig": "_errors",
    "OLDEST": "protocols",
    "Protocol": "protocols",
    "ProtocolError": "_errors",
    "ProxyError": "_errors",
    "Queue": "_config",
    "ReceiveQueue": "_config",
    "Reconnect": "_retry",
    "Recording": "_recording",
    "RemoteError": "_errors",
    "Reply": "protocols",
    "Request": "protocols",
    "RequestTimeout": "_errors",
    "SendQueue": "_config",
    "SendQueueFull": "_errors",
    "Session": "_session",
    "SessionError": "_errors",
    "SlowConsumer": "_errors",
    "State": "_events",
    "Stats": "_events",
    "Stream": "_streams",
    "Subscription": "_streams",
    "TLSError": "_errors",
    "WebSocketClientError": "_errors",
    "WouldDeadlock": "_errors",
    "connect": "_connect",
}
"""Where each public name lives."""

if not TYPE_CHECKING:  # a type checker would take each misspelt name for one that is found when it runs

    def __getattr__(name: str) -> Any:
        if name == "protocols":
            with importing:
                return importlib.import_module(".protocols", __name__)
        value = loaded(__name__, _HOMES, name)
        globals()[name] = value  # threads may do so at once: it is the same object
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, "protocols"})
