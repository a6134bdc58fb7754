"""What the Autobahn suite wants of a client: connect, send each message back as it came, end with the connection."""

import contextlib

import wsclient
from wsclient import protocols


class Echo(wsclient.Protocol):
    """Answers at once, on the I/O thread: a message must be back before the fault behind it closes the connection."""

    def decode(self, payload):
        return protocols.Control(answer=payload)


def echo(url):
    """Run one case."""
    with contextlib.suppress(wsclient.ConnectError, wsclient.ClientClosed):
        wsclient.Client(url, protocol=Echo(), reconnect=None, ping_interval=None, proxy=None).run_forever()
