"""The kit's server, with a handler that most tests want."""

import json
import logging

from wsclient import testing
from wsclient.testing._servers.sockets import make_reset as reset

__all__ = ["Server", "json_handler", "reset"]

logging.getLogger("websockets").setLevel(logging.CRITICAL)  # peers that vanish are what these tests are about


def json_handler(connection, message):
    """Answers ``{"id": ..., "method": "add", "params": [...]}`` and a few more; echoes everything else."""
    try:
        call = json.loads(message)
    except ValueError:
        call = None
    if not isinstance(call, dict) or "method" not in call:
        connection.send(message)
        return
    method, params = call["method"], call.get("params")
    if method == "silence":
        return
    if method == "add":
        connection.send(json.dumps({"id": call["id"], "result": sum(params)}))
    elif method == "event":
        connection.send(json.dumps({"event": params}))
    else:
        connection.send(json.dumps({"id": call.get("id"), "result": params}))


class Server(testing.Server):
    """Answers as ``json_handler`` does, unless it is given another."""

    def __init__(self, handler=json_handler, **options):
        super().__init__(handler, **options)
