"""Node's inspector: the Chrome DevTools Protocol over WebSocket.

It drops the connection at a ping frame and at a fragmented message, and its URL changes with every start.
"""

import concurrent.futures
import re
import shutil
import subprocess

import pytest
import tenacity

import wsclient

from ..support import LONG, eventually

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="NODE IS MISSING: Node's inspector is not tested here")

SOON = wsclient.Reconnect(wait=tenacity.wait_fixed(0.05))


class Inspector:
    """A Node process that waits for a debugger on a port that it chooses."""

    def __init__(self):
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [NODE, "--inspect=127.0.0.1:0", "-e", "setInterval(() => {}, 1000)"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = next(line for line in self.process.stderr if "ws://" in line)
        self.url = re.search(r"ws://\S+", line)[0]

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()


@pytest.fixture
def inspector():
    inspector = Inspector()
    yield inspector
    inspector.stop()


def evaluate(client, expression, **options):
    message = {"method": "Runtime.evaluate", "params": {"expression": expression, "returnByValue": True}}
    return client.request(message, timeout=LONG, **options)["result"]["result"]["value"]


def connect(inspector, **options):
    """Keepalive is off: the inspector closes the connection at a ping."""
    options.setdefault("reconnect", SOON)
    return wsclient.connect(lambda: inspector.url, ping_interval=None, **options)


def test_expressions_are_evaluated_by_id_from_many_threads(inspector):
    with connect(inspector) as client:
        assert evaluate(client, "6 * 7") == 42
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda n: evaluate(client, f"{n} * {n}"), range(100))) == [n * n for n in range(100)]
        assert len(evaluate(client, "'x'.repeat(3000000)")) == 3_000_000
        assert client.stats.connections == 1


def test_an_error_is_a_normal_reply(inspector):
    with connect(inspector) as client:
        reply = client.request({"method": "No.such"}, timeout=LONG)
        assert reply["error"]["code"] == -32601


def test_events_go_to_hooks_and_streams(inspector):
    seen = []
    with connect(inspector, on_message=lambda _, message: seen.append(message)) as client:
        with client.listen(lambda m: m.get("method") == "Runtime.consoleAPICalled") as console:
            client.request({"method": "Runtime.enable"}, timeout=LONG)
            evaluate(client, "console.log('hello from node'), 1")
            event = console.get(LONG)
            assert event["params"]["args"][0]["value"] == "hello from node"
        assert any(message["method"] == "Runtime.executionContextCreated" for message in seen)


def test_the_client_reconnects_to_another_url(inspector):
    with connect(inspector) as client:
        assert evaluate(client, "1") == 1
        first = inspector.url
        inspector.stop()
        eventually(lambda: client.state is not wsclient.State.OPEN)
        future = client.submit(
            {"method": "Runtime.evaluate", "params": {"expression": "2"}}, timeout=LONG, idempotent=True
        )
        inspector.start()
        assert inspector.url != first
        assert future.result(LONG)["result"]["result"]["value"] == 2
        assert client.stats.connections == 2


def test_a_ping_ends_the_connection_so_keepalive_is_off(inspector):
    with wsclient.connect(inspector.url, ping_interval=0.1, reconnect=None) as client:
        assert client.wait_closed(LONG)
        assert client.last_disconnect.initiator in ("network", "remote")
