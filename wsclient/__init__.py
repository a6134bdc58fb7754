"""A synchronous WebSocket client that keeps itself connected.

The public names of the client are here, those of the test tools in ``wsclient.testing``. ``wsclient.protocols`` has the
names for message protocols (``Reply``, ``Event``, ``Call`` ...). Modules whose name begins with an underscore are not
public.

Each name is imported when it is first used, so ``import wsclient`` is fast. A program that first uses a name where an
import may fail, as in a signal handler or after a ``chroot``, should begin with ``from wsclient import Client``, which
imports the client at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

# Imported now, so that its exit function is registered before the program's exit functions. It then runs after them,
# since exit functions run in reverse order.
from ._threads import processes as _processes  # noqa: F401
from ._threads.imports import import_lock, import_public_name
from ._version import __version__

if TYPE_CHECKING:
    from . import protocols as protocols
    from ._client.client import Client
    from ._client.connect import connect
    from ._client.options import ClientOptions
    from ._connection.reconnect import Reconnect
    from ._errors import (
        ClientClosed,
        ClientNotStarted,
        ConnectError,
        ConnectionLost,
        FlushTimeout,
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
    from ._models import Attempt, ConnectionInfo, DeliveryState, Disconnect, Initiator, Phase, State
    from ._options import Expiring, Heartbeat, Limits, Queue, Quiet, ReceiveQueue, Renew, SendQueue
    from ._receiving.handlers import Registration
    from ._receiving.streams import Stream
    from ._receiving.subscription import Subscription
    from ._recording.options import Recording
    from ._rfc6455.deflate import Deflate
    from ._sending.delivery import Delivery
    from ._stats import Stats
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
    from .protocols._session import Session

__all__ = [
    "OLDEST",
    "Attempt",
    "Call",
    "Client",
    "ClientClosed",
    "ClientNotStarted",
    "ClientOptions",
    "ConnectError",
    "ConnectionInfo",
    "ConnectionLost",
    "Control",
    "Deflate",
    "Delivery",
    "DeliveryState",
    "Disconnect",
    "End",
    "Event",
    "Expiring",
    "Failure",
    "Fifo",
    "FlushTimeout",
    "ForkedClient",
    "GraphQLTransportWs",
    "HandshakeError",
    "Heartbeat",
    "Incoming",
    "Initiator",
    "Item",
    "JsonId",
    "JsonRpc",
    "Limits",
    "MessageTooBig",
    "Phase",
    "Protocol",
    "ProtocolError",
    "ProxyError",
    "Queue",
    "Quiet",
    "ReceiveQueue",
    "Reconnect",
    "Recording",
    "Registration",
    "RemoteError",
    "Renew",
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

_MODULE_OF: Final = {
    "Attempt": "_models",
    "Call": "protocols",
    "Client": "_client.client",
    "ClientClosed": "_errors",
    "ClientNotStarted": "_errors",
    "ClientOptions": "_client.options",
    "ConnectError": "_errors",
    "ConnectionInfo": "_models",
    "ConnectionLost": "_errors",
    "Control": "protocols",
    "Deflate": "_rfc6455.deflate",
    "Delivery": "_sending.delivery",
    "DeliveryState": "_models",
    "Disconnect": "_models",
    "End": "protocols",
    "Event": "protocols",
    "Expiring": "_options",
    "Failure": "protocols",
    "Fifo": "protocols",
    "FlushTimeout": "_errors",
    "ForkedClient": "_errors",
    "GraphQLTransportWs": "protocols",
    "HandshakeError": "_errors",
    "Heartbeat": "_options",
    "Incoming": "protocols",
    "Initiator": "_models",
    "Item": "protocols",
    "JsonId": "protocols",
    "JsonRpc": "protocols",
    "Limits": "_options",
    "MessageTooBig": "_errors",
    "OLDEST": "protocols",
    "Phase": "_models",
    "Protocol": "protocols",
    "ProtocolError": "_errors",
    "ProxyError": "_errors",
    "Queue": "_options",
    "Quiet": "_options",
    "ReceiveQueue": "_options",
    "Reconnect": "_connection.reconnect",
    "Recording": "_recording.options",
    "Registration": "_receiving.handlers",
    "RemoteError": "_errors",
    "Renew": "_options",
    "Reply": "protocols",
    "Request": "protocols",
    "RequestTimeout": "_errors",
    "SendQueue": "_options",
    "SendQueueFull": "_errors",
    "Session": "protocols._session",
    "SessionError": "_errors",
    "SlowConsumer": "_errors",
    "State": "_models",
    "Stats": "_stats",
    "Stream": "_receiving.streams",
    "Subscription": "_receiving.subscription",
    "TLSError": "_errors",
    "WebSocketClientError": "_errors",
    "WouldDeadlock": "_errors",
    "connect": "_client.connect",
}
"""The module that defines each public name."""

# Type checkers do not see these functions: with `__getattr__` they would accept every misspelt name.
if not TYPE_CHECKING:  # pragma: no branch  (it is False at run time)

    def __getattr__(name: str) -> Any:
        if name == "protocols":
            with import_lock:
                return importlib.import_module(".protocols", __name__)
        value = import_public_name(__name__, _MODULE_OF, name)
        globals()[name] = value  # several threads may do this at the same time, with the same object
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, "protocols"})
