"""``wsclient call`` and ``wsclient listen`` against programs of other projects."""

import json
import subprocess
import sys
import threading

import pytest

from wsclient.cli import main

from ..support import LONG, Server, eventually
from ..support.aria2 import ARIA2, TOKEN, Aria2
from ..support.chromium import CHROMIUM, Chromium
from ..support.ganache import Ganache
from ..support.graphql import GraphQL
from ..support.nginx import NGINX, Nginx
from ..support.node import npm

needs_aria2 = pytest.mark.skipif(ARIA2 is None, reason="ARIA2 IS MISSING: apt-get install aria2")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="CHROMIUM IS MISSING: apt-get install chromium")
needs_ganache = pytest.mark.skipif(npm("ganache") is None, reason="GANACHE IS MISSING: npm install ganache@7")
needs_graphql = pytest.mark.skipif(
    npm("graphql-ws", "graphql", "ws") is None,
    reason="GRAPHQL-WS IS MISSING: npm install graphql-ws@6 graphql@16 ws@8",
)
needs_nginx = pytest.mark.skipif(NGINX is None, reason="NGINX IS MISSING: apt-get install nginx-light")


def printed(capsys):
    """The messages on stdout; nothing may be on stderr."""
    out, err = capsys.readouterr()
    assert err == ""
    return [json.loads(line) for line in out.splitlines()]


def start(*arguments):
    """Run a command as a process whose stdout is read."""
    command = [sys.executable, "-m", "wsclient", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stop(process):
    process.terminate()
    process.wait(LONG)


# --- aria2 -----------------------------------------------------------------------------------------------------------


@needs_aria2
def test_a_call_of_aria2(tmp_path, capsys):
    with Aria2(tmp_path) as aria2:
        url = f"127.0.0.1:{aria2.port}/jsonrpc"
        assert main(["call", "--protocol", "jsonrpc", url, "aria2.getVersion", f"={TOKEN}"]) == 0
        assert printed(capsys)[0]["version"].startswith("1.")
        assert main(["call", "--protocol", "jsonrpc", url, "aria2.getVersion", "=token:wrong"]) == 1
        assert capsys.readouterr().err == "wsclient: The server answered with error 1: Unauthorized\n"


@needs_aria2
def test_listen_continues_after_a_restart_of_aria2(tmp_path):
    with Aria2(tmp_path) as aria2:
        url = f"127.0.0.1:{aria2.port}/jsonrpc"
        ask = json.dumps({"jsonrpc": "2.0", "id": "1", "method": "aria2.getVersion", "params": [TOKEN]})
        with start("listen", url, "--send", ask, "-v") as process:
            assert json.loads(process.stdout.readline())["id"] == "1"
            aria2.stop()
            aria2.start()
            assert json.loads(process.stdout.readline())["id"] == "1"  # sent again on the next connection
            stop(process)


# --- graphql-ws ------------------------------------------------------------------------------------------------------


@needs_graphql
def test_a_query_and_a_subscription_of_graphql(tmp_path, capsys):
    with GraphQL(tmp_path) as graphql:
        url = f"127.0.0.1:{graphql.port}"
        query = ["--protocol", "graphql", url, "--data", '{"query": "{ add(a: 1, b: 2) }"}']
        assert main(["call", *query]) == 0
        assert printed(capsys) == [{"data": {"add": 3}}]
        count = '{"query": "subscription { count(to: 3) }"}'
        assert main(["call", "--protocol", "graphql", "--all", url, "--data", count]) == 0
        assert [line["data"]["count"] for line in printed(capsys)] == [1, 2, 3]
        ticks = '{"query": "subscription { ticks }"}'
        assert main(["listen", "--protocol", "graphql", url, "--subscribe", ticks, "-C", "2"]) == 0
        assert [line["data"]["ticks"] for line in printed(capsys)] == [1, 2]


# --- ganache ---------------------------------------------------------------------------------------------------------


@needs_ganache
def test_listen_prints_the_blocks_of_ganache_also_after_a_restart(tmp_path, capsys):
    heads = '{"method": "eth_subscribe", "params": ["newHeads"]}'
    with Ganache(tmp_path) as ganache:
        url = f"127.0.0.1:{ganache.port}"
        mine = ["call", "--protocol", "jsonrpc", url, "evm_mine"]
        with start("listen", "--protocol", "jsonrpc", url, "--subscribe", heads) as process:
            lines = []
            reading = threading.Thread(target=lambda: lines.extend(process.stdout))
            reading.start()
            eventually(lambda: main(mine) == 0 and lines)  # the first blocks may be mined before it has subscribed
            ganache.stop("SIGTERM")
            seen = len(lines)
            ganache.start()
            eventually(lambda: main(mine) == 0 and len(lines) > seen)
            stop(process)
            reading.join(LONG)
        assert all(json.loads(line)["params"]["result"]["parentHash"].startswith("0x") for line in lines)


# --- Chromium --------------------------------------------------------------------------------------------------------


@needs_chromium
def test_calls_of_chromium(tmp_path, capsys):
    with Chromium(tmp_path) as chromium:
        assert main(["call", "--protocol", "cdp", chromium.url, "Browser.getVersion"]) == 0
        assert "Chrom" in printed(capsys)[0]["product"]
        assert main(["call", "--protocol", "cdp", chromium.url, "No.suchMethod"]) == 1
        assert "wasn't found" in capsys.readouterr().err


# --- nginx -----------------------------------------------------------------------------------------------------------


@needs_nginx
def test_calls_through_nginx_with_tls_and_with_a_stopped_upstream(tmp_path, authority, ca_file, trusting, capsys):
    with Server() as server, Nginx(tmp_path, server.port, authority, trusting) as nginx:
        url = nginx.url()
        assert main(["call", "--ca", str(ca_file), url, "add", ":=1", ":=2"]) == 0
        assert printed(capsys)[0]["result"] == 3
        assert main(["call", url, "add"]) == 3
        assert "certificate" in capsys.readouterr().err
        server.stop()
        assert main(["call", "-k", url, "add"]) == 3
        assert "502" in capsys.readouterr().err
