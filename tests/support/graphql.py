"""graphql-ws from npm: a server of GraphQL's subprotocol ``graphql-transport-ws``."""

import pathlib

import tenacity

import wsclient

from .node import NODE
from .program import Program, free_port

SERVER = pathlib.Path(__file__).parents[1] / "servers" / "graphql_server.cjs"
SOON = wsclient.Reconnect(wait=tenacity.wait_fixed(0.05))


class GraphQL(Program):
    """Its file contains the schema."""

    def __init__(self, home):
        self.port = free_port()
        self.url = f"ws://127.0.0.1:{self.port}/"
        super().__init__(home, [NODE, SERVER, str(self.port)])

    def client(self, params=None, **options):
        """A client for it, not started."""
        protocol = wsclient.GraphQLTransportWs(params)
        return wsclient.Client(self.url, **{"protocol": protocol, "reconnect": SOON, **options})
