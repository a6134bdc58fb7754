"""A server as the documentation of ``websockets`` has it, on asyncio, in a process of its own."""

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


class EchoServer:
    def __init__(self):
        self.port = 0
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", ECHO, str(self.port)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.port = int(self.process.stdout.readline())

    @property
    def url(self):
        return f"ws://localhost:{self.port}/"

    def stop(self, with_signal=signal.SIGTERM):
        self.process.send_signal(with_signal)
        self.process.wait(LONG)
        self.process.stdout.close()


@pytest.fixture
def echo():
    echo = EchoServer()
    yield echo
    echo.stop()


def test_text_binary_and_json_are_echoed_in_order(echo):
    with wsclient.connect(echo.url, protocol=wsclient.Fifo()) as client:
        for message in ("Hello world!", b"\x00\xff", {"a": [1, None]}, "ü" * 100_000):
            assert client.request(message, timeout=LONG) == message
        assert client.request_many([str(n) for n in range(1000)], timeout=LONG) == [str(n) for n in range(1000)]
        client.flush(LONG)
        assert client.latency > 0


def test_json_with_ids_is_echoed_to_its_asker(echo):
    with wsclient.connect(echo.url) as client:
        assert client.request({"a": 1}, timeout=LONG) == {"id": 1, "a": 1}


@pytest.mark.skipif(sys.platform == "win32", reason="the signals are POSIX's")
@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_the_client_survives_a_restart_of_the_server(echo, how):
    closes = []
    policy = wsclient.Reconnect(wait=tenacity.wait_fixed(0.05))
    with wsclient.connect(
        echo.url,
        protocol=wsclient.Fifo(),
        reconnect=policy,
        on_close=lambda client, code, reason: closes.append(code),
    ) as client:
        assert client.request("before", timeout=LONG) == "before"
        echo.stop(getattr(signal, how))
        eventually(lambda: client.state is wsclient.State.WAITING)
        future = client.submit("queued meanwhile", timeout=LONG)
        echo.start()
        assert future.result(LONG) == "queued meanwhile"
        assert client.stats.connections == 2
    assert closes == [None, 1000]  # the process dies without a word, and our own close is answered
