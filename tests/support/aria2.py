"""aria2: a download manager with JSON-RPC 2.0 over WebSocket."""

import tenacity

import wsclient

from .program import Program, find, free_port

ARIA2 = find("aria2c")
"""The path of the program; None if there is none."""

TOKEN = "token:open sesame"
SOON = wsclient.Reconnect(wait=tenacity.wait_fixed(0.05))


class Aria2(Program):
    """It stores its downloads in ``downloads``."""

    def __init__(self, home):
        self.port = free_port()
        self.url = f"ws://127.0.0.1:{self.port}/jsonrpc"
        self.downloads = home / "downloads"
        secret = TOKEN.removeprefix("token:")
        super().__init__(home, [
            ARIA2, "--no-conf", "--no-netrc", "--enable-dht=false", "--disable-ipv6", "--file-allocation=none",
            "--enable-rpc", f"--rpc-secret={secret}", f"--rpc-listen-port={self.port}", f"--dir={self.downloads}",
        ])  # fmt: skip

    def connect(self, **options):
        return wsclient.connect(self.url, **{"protocol": wsclient.JsonRpc(), "reconnect": SOON, **options})
