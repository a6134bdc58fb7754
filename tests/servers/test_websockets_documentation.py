"""Servers of ``websockets``, each in a separate process: one from its documentation, and one from our examples."""

import pathlib
import re
import signal
import subprocess
import sys
import textwrap

import pytest
import tenacity

import wsclient

from ..support import LONG, eventually

ECHO = textwrap.dedent(
    """
    import asyncio, sys
    from websockets.asyncio.server import serve

    async def echo(websocket):
        async for message in websocket:
            await websocket.send(message)

    async def main():
        async with serve(echo, "localhost", int(sys.argv[1])) as server:
            print(server.sockets[0].getsockname()[1], flush=True)
            await server.serve_forever()

    asyncio.run(main())
    """
)


EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "echo_server.py"


class EchoServer:
    def __init__(self, *program):
        self._program = program
        self.port = 0
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, *self._program, str(self.port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.port = int(re.search(r"(\d+)/?$", self.process.stdout.readline())[1])

    @property
    def url(self):
        return f"ws://localhost:{self.port}/"

    def stop(self, with_signal=signal.SIGTERM):
        self.process.send_signal(with_signal)
        self.process.wait(LONG)
        self.process.stdout.close()


@pytest.fixture
def echo():
    echo = EchoServer("-c", ECHO)
    yield echo
    echo.stop()


@pytest.fixture
def example():
    example = EchoServer(str(EXAMPLE))
    yield example
    example.stop()


def test_text_binary_and_json_are_echoed_in_order(echo):
    with wsclient.connect(echo.url, protocol=wsclient.Fifo()) as client:
        for message in ("Hello world!", b"\x00\xff", {"a": [1, None]}, "ü" * 100_000):
            assert client.request(message, timeout=LONG) == message
        assert client.request_many([str(n) for n in range(1000)], timeout=LONG) == [str(n) for n in range(1000)]
        client.flush(LONG)
        assert client.latency > 0


def test_json_with_ids_is_echoed_to_its_sender(echo):
    with wsclient.connect(echo.url) as client:
        assert client.request({"a": 1}, timeout=LONG) == {"id": 1, "a": 1}


def test_the_server_of_the_examples_answers_in_order(example):
    with wsclient.connect(example.url, protocol=wsclient.Fifo()) as client:
        asked = [str(n) if n % 2 else {"id": "mine", "params": [n, 1]} for n in range(200)]
        answers = client.request_many(asked, timeout=LONG)
        assert answers == [f"Echo: {n}" if n % 2 else {"id": "mine", "result": n + 1} for n in range(200)]
        assert client.request(b"\x00\xff", timeout=LONG) == b"\x00\xff"
        assert client.stats.connections == 1


@pytest.mark.skipif(sys.platform == "win32", reason="the signals are POSIX's")
@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("which", ["echo", "example"])
def test_the_client_survives_a_restart_of_the_server(request, which, how):
    echo, prefix = request.getfixturevalue(which), "Echo: " if which == "example" else ""
    closes = []
    policy = wsclient.Reconnect(wait=tenacity.wait_fixed(0.05))
    with wsclient.connect(
        echo.url,
        protocol=wsclient.Fifo(),
        reconnect=policy,
        on_close=lambda client, code, reason: closes.append(code),
    ) as client:
        assert client.request("before", timeout=LONG) == f"{prefix}before"
        echo.stop(getattr(signal, how))
        eventually(lambda: client.state is wsclient.State.WAITING)
        future = client.submit("queued meanwhile", timeout=LONG)
        echo.start()
        assert future.result(LONG) == f"{prefix}queued meanwhile"
        assert client.stats.connections == 2
    assert closes == [None, 1000]  # the process ends without a close frame, and our own close is answered
