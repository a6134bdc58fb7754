"""``Server`` of the testing kit, with the handler that most tests need."""

import json
import logging

from wsclient import testing
from wsclient.testing._servers.sockets import make_reset as reset

__all__ = ["Server", "json_handler", "reset"]

logging.getLogger("websockets").setLevel(logging.CRITICAL)  # the tests end connections on purpose


def json_handler(connection, message):
    """Answers ``{"id": ..., "method": "add", "params": [...]}`` and a few other methods; echoes other messages."""
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
    """A server with ``json_handler``, unless another handler is given."""

    def __init__(self, handler=json_handler, **options):
        super().__init__(handler, **options)
