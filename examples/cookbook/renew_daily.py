"""Renew the connection after 23 hours, because the server closes it after 24.

Why: Binance and others end each connection after a day, at a moment of their choice; what they send until you are back
is lost.
How: with ``Renew(every=23 * 3600)`` a second connection is opened and subscribed while the first one still serves; then
it takes over. For a moment both bring messages: ``identity=`` says which are the same, so that each is delivered once.
The first connection is kept until the server has confirmed the subscription of the second one. With ``match=`` no
confirmation is awaited: a server that is slow to subscribe may then leave a gap.

Change: ``every``, the subscription, and ``identity`` (a number or an id that the server gives each message). A server
that announces the end: ``Renew(on=lambda message: message.get("type") == "goaway")``.
Run: python examples/cookbook/renew_daily.py [SECONDS]
"""

import contextlib
import json
import sys
import threading

from websockets.exceptions import ConnectionClosed

import wsclient
from wsclient.testing import Server

EVERY = float(sys.argv[1]) if len(sys.argv) > 1 else 0.4
sent, subscribed, lock = [], [], threading.Lock()  # of the server


def number(trade):
    return trade["params"]["result"]


def open_trades(url, every=23 * 3600):
    client = wsclient.connect(url, protocol=wsclient.JsonRpc(), renew=wsclient.Renew(every=every))
    return client, client.subscribe({"method": "subscribe", "params": ["trades"]}, identity=number)


def confirm(connection, text):
    with lock:
        connection.send(json.dumps({"jsonrpc": "2.0", "id": json.loads(text)["id"], "result": "key"}))
        subscribed.append(connection)


def trade(ended):
    while not ended.wait(0.01):
        with lock:
            sent.append(len(sent))
            params = {"subscription": "key", "result": sent[-1]}
            for connection in subscribed:
                with contextlib.suppress(ConnectionClosed):
                    connection.send(json.dumps({"jsonrpc": "2.0", "method": "trade", "params": params}))


if __name__ == "__main__":
    ended = threading.Event()
    with Server(confirm) as server:
        client, trades = open_trades(server.url, EVERY)
        feed = threading.Thread(target=trade, args=(ended,), daemon=True)
        feed.start()
        received = []
        while client.stats.renewals < 2:
            received.append(number(trades.get(timeout=30)))
        ended.set()
        feed.join()
        while len(received) < len(sent):
            received.append(number(trades.get(timeout=30)))
        print("each trade once:", sorted(received) == sent)
        print("last disconnect:", client.last_disconnect)
        client.close()
