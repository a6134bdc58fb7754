"""A client of ``websockets`` for the servers in ``examples/services/``: it follows no rules of its own."""

import json

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from . import LONG


def guest(url):
    """A connection, without pings of its own."""
    return connect(url, ping_interval=None, close_timeout=1)


def take(connection):
    """The next message, decoded."""
    return json.loads(connection.recv(LONG))


def put(connection, *messages):
    for message in messages:
        connection.send(json.dumps(message))


def closing(connection, call=None):
    """Receive messages, or call this function, until the server closes the connection: its close code and reason."""
    try:
        while True:
            call() if call else connection.recv(LONG)
    except ConnectionClosed as closed:
        return closed.rcvd.code, closed.rcvd.reason
