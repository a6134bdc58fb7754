"""A synchronous WebSocket client that keeps itself connected.

Everything public is here; modules whose name begins with an underscore are not.
"""

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
from ._version import __version__
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
