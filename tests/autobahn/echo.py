"""The client for the Autobahn suite: it connects, echoes each message, and ends with the connection."""

import contextlib

import wsclient
from wsclient import protocols


class Echo(wsclient.Protocol):
    """Answers at once, on the I/O thread: a message must be echoed before a later fault closes the connection."""

    def decode(self, payload):
        return protocols.Control(answer=payload)


def echo(url):
    """Run one case."""
    with contextlib.suppress(wsclient.ConnectError, wsclient.ClientClosed):
        wsclient.Client(url, protocol=Echo(), reconnect=None, ping_interval=None, proxy=None).run_forever()
