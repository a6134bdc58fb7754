"""Live data: a feed whose connection is lost from time to time. The client subscribes again on each connection.

Run: python examples/live_data.py
"""

import itertools
import json
import threading

from websockets.sync.server import serve

import wsclient

prices = itertools.count(100)


def feed(connection):
    assert json.loads(connection.recv()) == {"op": "subscribe", "channel": "prices"}
    for _ in range(5):
        connection.send(json.dumps({"price": next(prices)}))
    connection.close_socket()  # the connection is cut, without a close frame


class Ticker(wsclient.Client):
    def on_open(self):  # called after each reconnect too
        self.send({"op": "subscribe", "channel": "prices"})

    def on_close(self, code, reason):
        print(f"cut: {self.last_disconnect.reason}\n", end="")


if __name__ == "__main__":
    with serve(feed, "localhost", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ticker = Ticker(f"ws://localhost:{server.socket.getsockname()[1]}/")
        with ticker.listen() as messages, ticker:
            for message in itertools.islice(messages, 15):
                print(f"price: {message['price']}\n", end="")
            print(f"{ticker.stats.connections} connections, {messages.gaps} gaps\n", end="")
