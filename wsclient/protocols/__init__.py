"""Message protocols: what messages mean, and how replies are correlated with requests.

A module that defines a protocol imports from here: ``Protocol``, the classes that its ``decode`` returns (``Reply``,
``Failure``, ``Item``, ``End``, ``Event``, ``Call``, ``Control``), ``OLDEST`` and ``Request``. ``wsclient`` exports the
same names. The package opens no socket, reads no clock and starts no thread. Only ``Protocol.on_session`` sends and
waits for messages, through the ``Session`` that the client passes to it. Only classes of ``_batch`` and ``_numbers``
have locks.

The presets are protocols of well-known servers: ``ChromeDevTools``, ``HomeAssistant``, ``JupyterKernel``,
``ObsWebSocket``, ``Ocpp``, ``OpenAIRealtime``, ``Phoenix`` and ``WebDriverBiDi``. ``wsclient`` does not export them.
Each is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .._threads.imports import import_public_name
from ._base import Protocol
from ._fifo import Fifo
from ._graphql import GraphQLTransportWs
from ._incoming import ABSENT, KINDS, OLDEST, Call, Control, End, Event, Failure, Incoming, Item, Reply, Request
from ._json_id import JsonId
from ._json_rpc import JsonRpc

if TYPE_CHECKING:
    from ._chrome_devtools import ChromeDevTools
    from ._home_assistant import HomeAssistant
    from ._jupyter import JupyterKernel
    from ._obs_websocket import ObsWebSocket
    from ._ocpp import Ocpp
    from ._openai_realtime import OpenAIRealtime
    from ._phoenix import Phoenix
    from ._webdriver_bidi import WebDriverBiDi

__all__ = [
    "ABSENT",
    "KINDS",
    "OLDEST",
    "Call",
    "ChromeDevTools",
    "Control",
    "End",
    "Event",
    "Failure",
    "Fifo",
    "GraphQLTransportWs",
    "HomeAssistant",
    "Incoming",
    "Item",
    "JsonId",
    "JsonRpc",
    "JupyterKernel",
    "ObsWebSocket",
    "Ocpp",
    "OpenAIRealtime",
    "Phoenix",
    "Protocol",
    "Reply",
    "Request",
    "WebDriverBiDi",
]

_MODULE_OF: Final = {
    "ChromeDevTools": "_chrome_devtools",
    "HomeAssistant": "_home_assistant",
    "JupyterKernel": "_jupyter",
    "ObsWebSocket": "_obs_websocket",
    "Ocpp": "_ocpp",
    "OpenAIRealtime": "_openai_realtime",
    "Phoenix": "_phoenix",
    "WebDriverBiDi": "_webdriver_bidi",
}
"""The module that defines each preset."""

# Otherwise a type checker would accept every misspelt name.
if not TYPE_CHECKING:  # pragma: no branch  (TYPE_CHECKING is False at run time)

    def __getattr__(name: str) -> Any:
        value = import_public_name(__name__, _MODULE_OF, name)
        globals()[name] = value  # several threads may do this at the same time, with the same object
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
