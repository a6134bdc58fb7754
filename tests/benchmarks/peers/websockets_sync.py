"""``websockets.sync``: its own thread reads; with several requesting threads, one more distributes the answers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect

from ..texts import LEVEL, MEMORY_LEVEL, WINDOW_BITS
from .base import QUESTION, Answers, Peer, json


class Sync(Peer):
    def __init__(self, url, deflated):
        settings = {"level": LEVEL, "memLevel": MEMORY_LEVEL}
        extensions = [ClientPerMessageDeflateFactory(
            server_max_window_bits=WINDOW_BITS, client_max_window_bits=WINDOW_BITS, compress_settings=settings
        )] if deflated else None  # fmt: skip
        self._connection = connect(
            url, compression=None, extensions=extensions, ping_interval=None, max_size=2**26, proxy=None
        ).__enter__()  # version 17 warns of connections that are used differently
        self._answers = Answers()

    def order(self, text):
        self._connection.send(text)
        self._connection.recv()

    def receive(self, count):
        self._connection.send("!go")
        recv = self._connection.recv
        for _ in range(count):
            recv()

    def send(self, payloads):
        send = self._connection.send
        for payload in payloads:
            send(payload)
        self._connection.recv()

    def request(self):
        self._connection.send(json.dumps({**QUESTION, "id": 1}))
        json.loads(self._connection.recv())

    def request_many(self, count):
        for id in range(count):
            self._connection.send(json.dumps({**QUESTION, "id": id}))
        for _ in range(count):
            json.loads(self._connection.recv())

    def parallel(self, threads, count):
        each = count // threads
        with ThreadPoolExecutor(threads + 1) as pool:
            jobs = [
                pool.submit(self._give_out, each * threads),
                *(pool.submit(self._ask, each) for _ in range(threads)),
            ]
        for job in jobs:
            job.result()

    def _give_out(self, count):
        for _ in range(count):
            self._answers.take(self._connection.recv())

    def _ask(self, count):
        for _ in range(count):
            id, text = self._answers.begin()
            self._connection.send(text)
            self._answers.wait(id)


def make(name, url, deflated):
    return Sync(url, deflated)
