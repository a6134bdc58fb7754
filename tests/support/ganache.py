"""ganache from npm: an Ethereum node. After SIGTERM it closes with 1000, like at the request of the client."""

import tenacity

import wsclient

from .node import NODE, npm
from .program import Program, free_port

SOON = wsclient.Reconnect(wait=tenacity.wait_fixed(0.05))


class Ganache(Program):
    def __init__(self, home):
        self.port = free_port()
        program = npm("ganache") / "dist/node/cli.js"
        super().__init__(home, [
            NODE, program, "--server.host", "127.0.0.1", "--server.port", str(self.port), "--wallet.totalAccounts", "1",
        ])  # fmt: skip

    def connect(self, **options):
        options = {"protocol": wsclient.JsonRpc(), "reconnect": SOON, **options}
        return wsclient.connect(f"ws://127.0.0.1:{self.port}/", **options)
