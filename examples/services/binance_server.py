"""A server with the rules of Binance's market streams, as they were documented in November 2026.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams; close code and reason of a client that is
too fast: https://github.com/binance/binance-connector-go/issues/90

* ``/ws/NAME`` or ``/stream?streams=NAME/NAME`` (each event with the name of its stream), and SUBSCRIBE, UNSUBSCRIBE,
  LIST_SUBSCRIPTIONS with an id. A connection has at most 1024 streams.
* A connection ends after 24 h. Before a restart it gets the event ``serverShutdown``.
* At most 5 messages per second come in; pings and pongs count. One more, and the connection is closed (1008).
* The server sends a ping every 20 s, as `websockets` does by default.
"""

import contextlib
import json
import threading
import time
from urllib.parse import parse_qs, urlsplit

from websockets.exceptions import ConnectionClosed

CLOSE = 8  # an opcode; a close frame does not count


class Subscriber:
    def __init__(self, connection, names, combined):
        self.connection, self.names, self.combined = connection, names, combined

    def send(self, name, event):
        with contextlib.suppress(ConnectionClosed):
            self.connection.send(json.dumps({"stream": name, "data": event} if self.combined else event))


class Feed:
    def __init__(self, *, lifetime=24 * 3600, rate=5, per=1, streams=1024):
        self.lifetime, self.rate, self.per, self.streams = lifetime, rate, per, streams
        self.subscribers, self.trades, self.lock = {}, 0, threading.Lock()

    def judge(self, connection, frame):
        """Called for each frame, see ``serving.Watched``: the limit of messages per second."""
        now = time.monotonic()
        times = getattr(connection, "times", [])
        connection.times = [at for at in times if at > now - self.per] + ([now] if frame.opcode != CLOSE else [])
        return (1008, "Too many requests") if len(connection.times) > self.rate else None

    def handle(self, connection):
        end = time.monotonic() + self.lifetime
        url = urlsplit(connection.request.path)
        names = parse_qs(url.query).get("streams", [""])[0] if url.path == "/stream" else url.path.removeprefix("/ws")
        subscriber = Subscriber(connection, set(names.strip("/").split("/")) - {""}, url.path == "/stream")
        self.subscribers[subscriber] = None
        try:
            while len(subscriber.names) <= self.streams:
                request = json.loads(connection.recv(timeout=max(0, end - time.monotonic())))
                connection.send(json.dumps(self.reply(subscriber, request)))
            connection.close(1008, "Too many streams")
        except TimeoutError:
            connection.close(1001, "24 hours")  # the documentation has no close code for this
        finally:
            del self.subscribers[subscriber]

    def reply(self, subscriber, request):
        method, names, result = request.get("method"), set(request.get("params", [])), None
        if "id" not in request:
            return {"code": 2, "msg": "Invalid request: request ID must be an unsigned integer"}
        if method == "SUBSCRIBE":
            subscriber.names |= names
        elif method == "UNSUBSCRIBE":
            subscriber.names -= names
        elif method == "LIST_SUBSCRIPTIONS":
            result = sorted(subscriber.names)
        else:
            return {"code": 2, "msg": f"Invalid request: unknown variant {method}", "id": request["id"]}
        return {"result": result, "id": request["id"]}

    def trade(self, symbol, price):
        """Send a trade to all subscribers of its stream; trades are numbered."""
        with self.lock:
            self.trades += 1
            event = {"e": "trade", "E": time.time_ns() // 10**6, "s": symbol.upper(), "t": self.trades, "p": price}
            for subscriber in list(self.subscribers):
                if f"{symbol}@trade" in subscriber.names:
                    subscriber.send(f"{symbol}@trade", event)

    def shut_down(self):
        """Announce the end of all connections, as before a restart."""
        for subscriber in list(self.subscribers):
            subscriber.send("!serverShutdown", {"e": "serverShutdown", "E": time.time_ns() // 10**6})
