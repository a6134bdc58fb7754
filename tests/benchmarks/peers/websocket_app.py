"""websocket-client's ``WebSocketApp``: ``run_forever`` in a thread, and an ``Event`` for each request."""

from __future__ import annotations

import threading

import websocket

from .base import TIMEOUT, Answers, Countdown, Peer


class App(Peer):
    def __init__(self, url, tuned):
        self._countdown = Countdown()
        self._answers = Answers()
        opened = threading.Event()
        self._app = websocket.WebSocketApp(
            url, on_open=lambda app: opened.set(), on_message=lambda app, text: self._take(text)
        )
        self._take = self._count
        threading.Thread(target=self._app.run_forever, kwargs={"skip_utf8_validation": tuned}, daemon=True).start()
        if not opened.wait(TIMEOUT):
            raise TimeoutError("not opened")

    def _count(self, text):
        self._countdown.tick()

    def order(self, text):
        self._take = self._count
        self._countdown.expect(1)
        self._app.send(text)
        self._countdown.wait()

    def receive(self, count):
        self._take = self._count
        self._countdown.expect(count)
        self._app.send("!go")
        self._countdown.wait()

    def send(self, payloads):
        self._take = self._count
        self._countdown.expect(1)
        for payload in payloads:
            self._app.send(payload)
        self._countdown.wait()

    def request(self):
        self._take = self._answers.take
        id, text = self._answers.begin()
        self._app.send(text)
        self._answers.wait(id)

    def request_many(self, count):
        self._take = self._answers.take
        ids = []
        for _ in range(count):
            id, text = self._answers.begin()
            self._app.send(text)
            ids.append(id)
        for id in ids:
            self._answers.wait(id)


def make(name, url, deflated):
    if deflated:
        raise NotImplementedError("it has no permessage-deflate")
    return App(url, tuned=name.endswith("tuned"))
