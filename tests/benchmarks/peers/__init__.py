"""Who takes part. Each is written as its own documentation would have it, and no slower than need be."""

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
"""Name in the tables, and module here; who is not installed is left out."""

ASYNCHRONOUS = ("aiohttp", "picows")


def make(name: str, url: str, deflated: bool):
    """Connect a peer.

    Args:
        name: which.
        url: the server.
        deflated: whether permessage-deflate is agreed on.
    """
    ours = name.split(" without: ")[0]  # of ours there may be one that lacks a trick
    module = importlib.import_module(f".{MODULES[ours]}", __name__)
    return module.make(name, url, deflated)
