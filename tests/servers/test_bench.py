"""``wsclient bench`` on servers of other projects: aria2 (JSON-RPC), and an echo server of the npm package ``ws``."""

import json
import pathlib

import pytest

from wsclient.cli import main

from ..support.aria2 import ARIA2, Aria2
from ..support.node import NODE, npm
from ..support.program import Program, free_port

ECHO = """
const { WebSocketServer } = require(process.argv[3]);
const server = new WebSocketServer({ port: Number(process.argv[2]), host: "127.0.0.1" });
server.on("connection", peer => peer.on("message", (data, binary) => peer.send(data, { binary })));
"""


class NodeEcho(Program):
    def __init__(self, home):
        self.port = free_port()
        (home / "echo.cjs").write_text(ECHO)
        super().__init__(home, [NODE, str(home / "echo.cjs"), str(self.port), str(pathlib.Path(npm("ws")).resolve())])


def bench(capsys, *arguments):
    assert main(["bench", *arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


@pytest.mark.skipif(ARIA2 is None, reason="ARIA2 IS MISSING, so bench is not tested on it: apt-get install aria2")
def test_calls_of_a_json_rpc_server(tmp_path, capsys):
    with Aria2(tmp_path) as aria2:
        call = (aria2.url, "--protocol", "jsonrpc", "--call", "system.listMethods")  # the only one without a token
        found = bench(capsys, *call, "-n", "200", "-c", "4")
        assert (found["requests"], found["errors"], found["connections"]) == (200, {}, 4)
        found = bench(capsys, *call, "-n", "100", "--rate", "400")
        assert (found["requests"], found["unsent"]) == (100, 0)
        assert found["latency_ms"]["p99"] >= found["latency_ms"]["p50"] > 0
        assert main(["bench", *call[:-1], "aria2.noSuchMethod", "-n", "3"]) == 1
        assert "3 error reply: " in capsys.readouterr().out


@pytest.mark.skipif(npm("ws") is None, reason="THE npm PACKAGE ws IS MISSING, so bench is not tested on it")
def test_an_echo_server_of_node(tmp_path, capsys):
    with NodeEcho(tmp_path) as echo:
        url = f"localhost:{echo.port}"
        found = bench(capsys, url, "--data", '{"n":1}', "-n", "300", "-c", "5", "--pipeline", "4")
        assert (found["requests"], found["messages_received"], found["bytes_received"]) == (300, 300, 2100)
        found = bench(capsys, url, "--data", '"x"', "-t", "0.5", "--warmup", "0.2", "-c", "2")
        assert found["requests"] > 10
        assert found["seconds"] == pytest.approx(0.5)
