"""``wsclient shell`` with servers of other projects: aria2, ganache, graphql-ws and Chromium."""

import os
import subprocess
import sys

import pytest

from ..support import LONG
from ..support.aria2 import ARIA2, TOKEN, Aria2
from ..support.chromium import CHROMIUM, Chromium
from ..support.ganache import Ganache
from ..support.graphql import GraphQL
from ..support.node import npm
from ..support.shells import CTRL_D, ENTER, NEEDS_TERMINAL, ROOT, TAB, shells

pytestmark = NEEDS_TERMINAL


@pytest.fixture
def shell(tmp_path):
    """Starts the shell and waits until it is connected."""
    with shells(tmp_path) as start:
        yield start


def run(script, url, *options):
    """Run a script, and return the exit code, the lines of stdout and stderr."""
    command = [sys.executable, "-m", "wsclient", "shell", url, *options]
    environment = {**os.environ, "PYTHONPATH": ROOT}
    done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=2 * LONG, env=environment)
    return done.returncode, done.stdout.splitlines(), done.stderr


@pytest.mark.skipif(ARIA2 is None, reason="ARIA2 IS MISSING: apt-get install aria2")
def test_aria2_through_a_restart(tmp_path, shell):
    with Aria2(tmp_path) as aria2:
        terminal = shell(aria2.url, "--protocol", "jsonrpc", columns=160)
        terminal.type(f'aria2.getVersion ="{TOKEN}"', ENTER)
        terminal.shows('"version"')
        terminal.type("aria2.addUri =wrong", ENTER)
        terminal.shows("< [2] The server answered with error 1")
        terminal.type("aria2.getVersion", ENTER)
        terminal.type("half")
        aria2.stop()
        terminal.shows("* the connection has ended")
        aria2.start()
        terminal.shows("* connected again")
        terminal.until(lambda terminal: terminal.cursor.rstrip() == "> half")
        terminal.type("\x03aria2.a", TAB)
        terminal.until(lambda terminal: terminal.cursor.rstrip() == "> aria2.addUri")
        terminal.type("\x03", CTRL_D)
        assert terminal.exit_code() == 0
    assert "open sesame" not in (tmp_path / ".local/state/wsclient/history").read_text()


@pytest.mark.skipif(npm("ganache") is None, reason="GANACHE IS MISSING: npm install ganache@7")
def test_a_subscription_of_ganache(tmp_path, shell):
    with Ganache(tmp_path) as ganache:
        url = f"ws://127.0.0.1:{ganache.port}/"
        terminal = shell(url, "--protocol", "jsonrpc", columns=200)
        terminal.type('/sub {"method": "eth_subscribe", "params": ["newHeads"]}', ENTER)
        terminal.shows("ms 0x")
        terminal.type("evm_mine", ENTER)
        terminal.shows('"method": "eth_subscription"')
        code, out, _ = run("eth_blockNumber\nnet_version\n", url, "--protocol", "jsonrpc")
        assert (code, out[0]) == (0, "0x1")
        assert len(out) == 2


@pytest.mark.skipif(npm("graphql-ws", "graphql", "ws") is None, reason="GRAPHQL-WS IS MISSING: npm install graphql-ws")
def test_a_subscription_of_graphql_ws(tmp_path):
    with GraphQL(tmp_path) as graphql:
        script = '{"query": "{ add(a: 1, b: 2) }"}\n/sub {"query": "subscription { count(to: 3) }"}\n'
        code, out, err = run(script, graphql.url, "--protocol", "graphql")
        counted = [f'{{"data": {{"count": {number}}}}}' for number in (1, 2, 3)]
        assert (code, out) == (0, ['{"data": {"add": 3}}', *counted])
        assert "* subscribed" in err
        code, out, err = run('/sub {"query": "subscription { breaks }"}\n', graphql.url, "--protocol", "graphql")
        assert code == 1


@pytest.mark.skipif(CHROMIUM is None, reason="CHROMIUM IS MISSING: apt-get install chromium")
def test_chromium_devtools(tmp_path):
    with Chromium(tmp_path) as chromium:
        script = 'Target.createTarget url="about:blank"\nBrowser.getVersion\n{"method": "Browser.nothing"}\n'
        code, out, err = run(script, chromium.url, "--protocol", "cdp")
    assert code == 1
    assert "targetId" in out[0] + out[1]
    assert "protocolVersion" in out[0] + out[1]
    assert "wasn't found" in err
