"""This library."""

from __future__ import annotations

import wsclient

from .. import tricks
from ..texts import LEVEL, MEMORY_LEVEL, WINDOW_BITS
from .base import QUESTION, TIMEOUT, Countdown, Peer


class Ours(Peer):
    def __init__(self, url, deflated):
        self._countdown = Countdown()
        deflate = wsclient.Deflate(
            threshold=1, level=LEVEL, memory_level=MEMORY_LEVEL, client_max_window_bits=WINDOW_BITS
        )  # fmt: skip
        # Compressed messages are JSON, and the other libraries do not decode it.
        options = {"compression": deflate, "json": None} if deflated else {"compression": None}
        self._client = wsclient.connect(
            url, ping_interval=None, on_message=self._on_message, proxy=None, **options
        )  # fmt: skip

    def _on_message(self, client, message):
        self._countdown.tick()

    def order(self, text):
        self._countdown.expect(1)
        self._client.send(text)
        self._countdown.wait()

    def receive(self, count):
        self._countdown.expect(count)
        self._client.send("!go")
        self._countdown.wait()

    def send(self, payloads):
        self._countdown.expect(1)
        send = self._client.send
        for payload in payloads:
            send(payload)
        self._countdown.wait()

    def request(self):
        self._client.request(QUESTION, timeout=TIMEOUT)

    def request_many(self, count):
        self._client.request_many([QUESTION] * count, timeout=TIMEOUT)


def make(name, url, deflated):
    if " without: " in name:
        tricks.begin(name)
    return Ours(url, deflated)
