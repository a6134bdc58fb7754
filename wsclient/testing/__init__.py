"""Servers and network faults for the tests of a program that uses this package. Needs the extra ``testing``::

    from wsclient.testing import FaultProxy, Server

    with Server() as server, FaultProxy(server.url) as proxy:     # an echo server, and a proxy that cuts connections
        with wsclient.connect(proxy.url) as client:
            proxy.cut()                                           # the client reconnects

Each server and proxy listens on loopback, on a free port unless another is given. It is ready when its constructor
returns, is a context manager, and may be used from any thread. Each name is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .._threads.imports import import_public_name

if TYPE_CHECKING:
    from ._fault_proxy.proxy import FaultProxy
    from ._fault_proxy.proxy_stats import ProxyStats
    from ._replay.replay import Replay, ReplayMismatch
    from ._servers.peer import Peer, frame
    from ._servers.raw import RawServer
    from ._servers.server import Server

__all__ = ["FaultProxy", "Peer", "ProxyStats", "RawServer", "Replay", "ReplayMismatch", "Server", "frame"]

_MODULE_OF: Final = {
    "FaultProxy": "_fault_proxy.proxy",
    "Peer": "_servers.peer",
    "ProxyStats": "_fault_proxy.proxy_stats",
    "RawServer": "_servers.raw",
    "Replay": "_replay.replay",
    "ReplayMismatch": "_replay.replay",
    "Server": "_servers.server",
    "frame": "_servers.peer",
}
"""For each public name, the module that defines it."""

# Type checkers do not see these functions: with `__getattr__` they would accept every misspelt name.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        try:
            return import_public_name(__name__, _MODULE_OF, name)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"testing.{name} needs {error.name}: pip install 'wsclient-sdk[testing]'", name=error.name
            ) from error

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
