"""Message protocols: what messages mean, and how replies are correlated with requests.

A module that defines a protocol imports from here: ``Protocol``, the classes that its ``decode`` returns (``Reply``,
``Failure``, ``Item``, ``End``, ``Event``, ``Call``, ``Control``), ``OLDEST`` and ``Request``. ``wsclient`` exports the
same names. The package opens no socket, reads no clock and starts no thread. Only ``Protocol.on_session`` sends and
waits for messages, through the ``Session`` that the client passes to it; ``_batch`` and ``_numbers`` use locks.
"""

from ._base import Protocol
from ._fifo import Fifo
from ._graphql import GraphQLTransportWs
from ._incoming import ABSENT, KINDS, OLDEST, Call, Control, End, Event, Failure, Incoming, Item, Reply, Request
from ._json_id import JsonId
from ._json_rpc import JsonRpc

__all__ = [
    "ABSENT",
    "KINDS",
    "OLDEST",
    "Call",
    "Control",
    "End",
    "Event",
    "Failure",
    "Fifo",
    "GraphQLTransportWs",
    "Incoming",
    "Item",
    "JsonId",
    "JsonRpc",
    "Protocol",
    "Reply",
    "Request",
]
