"""The compared libraries. Each is used as in its documentation, as efficiently as possible."""

from __future__ import annotations

import importlib

MODULES = {
    "wsclient": "ours",
    "WebSocketApp": "websocket_app",
    "WebSocketApp tuned": "websocket_app",
    "WebSocket (no thread)": "websocket_bare",
    "websockets.sync": "websockets_sync",
    "python-socketio": "socketio_call",
    "aiohttp": "aiohttp_client",
    "picows": "picows_client",
}
"""Name in the tables, and module here; a library that is not installed is omitted."""

ASYNCHRONOUS = ("aiohttp", "picows")


def make(name: str, url: str, deflated: bool):
    """Connect a peer.

    Args:
        name: its name.
        url: the server.
        deflated: whether permessage-deflate is negotiated.
    """
    ours = name.split(" without: ")[0]  # there may be variants of this library without an optimisation
    module = importlib.import_module(f".{MODULES[ours]}", __name__)
    return module.make(name, url, deflated)
